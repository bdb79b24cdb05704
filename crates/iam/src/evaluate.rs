//! Whether policies allow a request, and which statement decided.
//!
//! Within one account:
//! 1. A `Deny` that applies, in any of the policies, decides.
//! 2. A resource policy that allows the caller itself decides; one that allows the role of the caller's session is still
//!    limited by the boundary and the session's policies; one that allows the account leaves it to the next.
//! 3. Otherwise an identity policy must allow it, and the boundary and a session policy, where there are any.
//!
//! # Source
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-basics.html> and
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html>; the
//! words of a refusal: <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html>; read 2026-11.

use std::fmt;

use crate::policy::{Policy, Reach, Statement};
use crate::request::{Caller, Request};

/// A policy and what people know it by: its name or its ARN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// For explanations.
    pub name: String,
    /// What it says.
    pub policy: Policy,
}

impl Named {
    /// A policy under a name.
    pub fn new(name: impl Into<String>, policy: Policy) -> Self {
        Self { name: name.into(), policy }
    }
}

/// The policies that a request meets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies {
    /// Of the user or role: inline and attached.
    pub identity: Vec<Named>,
    /// The most that they can grant, if limited.
    pub boundary: Option<Named>,
    /// Of the session, if it has any: the most that it may do.
    pub session: Option<Vec<Named>>,
    /// Of the resource, if it has one.
    pub resource: Option<Named>,
}

/// Which of the policies a statement is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Of the user or role.
    Identity,
    /// The boundary.
    Boundary,
    /// Of the session.
    Session,
    /// Of the resource.
    Resource,
    /// Of the role to be assumed.
    Trust,
}

impl Source {
    /// As refusals name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity-based policy",
            Self::Boundary => "permissions boundary",
            Self::Session => "session policy",
            Self::Resource => "resource-based policy",
            Self::Trust => "role trust policy",
        }
    }
}

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It is allowed.
    Allowed,
    /// A statement forbids it.
    ExplicitDeny,
    /// Nothing allows it.
    ImplicitDeny,
}

/// One statement of one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which of the policies.
    pub source: Source,
    /// Its name.
    pub policy: String,
    /// Which statement, from 0.
    pub index: usize,
    /// Its `Sid`.
    pub sid: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "statement {}", self.index + 1)?;
        if let Some(sid) = &self.sid {
            write!(f, " ({sid})")?;
        }
        write!(f, " of {} {}", self.source.name(), self.policy)
    }
}

/// A statement that is about the action and still did not apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Near {
    /// Which one.
    pub place: Place,
    /// Whether it would have allowed it.
    pub is_allow: bool,
    /// Why it did not apply.
    pub why: String,
}

/// Whether a request is allowed, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What came out.
    pub effect: Effect,
    /// The statements that decided: all that allow or deny it.
    pub decided_by: Vec<Place>,
    /// Which kind of policy is to blame for a refusal.
    pub blamed: Option<Source>,
    /// Statements that are about the action, but not about this request.
    pub near: Vec<Near>,
    /// One sentence for people.
    pub explanation: String,
    request: (String, String, String),
}

impl Decision {
    /// Whether it is allowed.
    pub fn is_allowed(&self) -> bool {
        self.effect == Effect::Allowed
    }

    /// A refusal in AWS's words: `User: … is not authorized to perform: … on resource: … because no identity-based
    /// policy allows the … action`. Of an allowed request it is empty.
    pub fn refusal(&self) -> String {
        let (caller, action, resource) = &self.request;
        let source = self.blamed.unwrap_or(Source::Identity);
        let why = match self.effect {
            Effect::Allowed => return String::new(),
            Effect::ExplicitDeny => {
                let article = if source == Source::Identity { "an" } else { "a" };
                format!("with an explicit deny in {article} {}", source.name())
            }
            Effect::ImplicitDeny => format!("because no {} allows the {action} action", source.name()),
        };
        format!("User: {caller} is not authorized to perform: {action} on resource: {resource} {why}")
    }
}

/// What a set of policies says by itself.
#[derive(Default)]
struct Verdict {
    allows: Vec<(Place, Reach)>,
    denies: Vec<Place>,
    near: Vec<Near>,
}

impl Verdict {
    fn of<'a>(source: Source, policies: impl IntoIterator<Item = &'a Named>, request: &Request) -> Self {
        let mut verdict = Self::default();
        for Named { name, policy } in policies {
            for (index, statement) in policy.statements().iter().enumerate() {
                let place = Place { source, policy: name.clone(), index, sid: statement.sid.clone() };
                match applies(policy, statement, request) {
                    Applies::Yes(reach) if statement.is_allow => verdict.allows.push((place, reach)),
                    Applies::Yes(_) => verdict.denies.push(place),
                    Applies::Nearly(why) => verdict.near.push(Near { place, is_allow: statement.is_allow, why }),
                    Applies::No => {}
                }
            }
        }
        verdict
    }
}

enum Applies {
    Yes(Reach),
    /// It is about the action.
    Nearly(String),
    No,
}

fn applies(policy: &Policy, statement: &Statement, request: &Request) -> Applies {
    if !statement.is_about_action(&request.action) {
        return Applies::No;
    }
    let Some(reach) = statement.reach(request) else {
        return Applies::Nearly(format!("its principals do not include {}", request.principal.arn()));
    };
    if !statement.is_about_resource(policy.version(), &request.resource, &request.context) {
        let resources = statement.resources.as_ref();
        let listed = resources.map(|listed| listed.values.join(", ")).unwrap_or_default();
        let verb =
            if resources.is_some_and(|listed| listed.is_negated) { "it is about all but" } else { "it is about" };
        return Applies::Nearly(format!("{verb} {listed}"));
    }
    let unmet = statement.unmet(policy.version(), &request.context);
    if let Some(condition) = unmet.first() {
        let found = match request.context.get(&condition.key) {
            Some(values) => format!("is {}", values.join(", ")),
            None => "is not there".to_owned(),
        };
        return Applies::Nearly(format!("its condition on {} does not hold: the key {found}", condition.key));
    }
    Applies::Yes(reach)
}

/// Whether policies allow a request within one account.
///
/// A root user is allowed what no policy denies. A service and whoever did not sign have no identity policies: what they
/// may do, a resource policy must allow.
pub fn evaluate(request: &Request, policies: &Policies) -> Decision {
    let identity = Verdict::of(Source::Identity, &policies.identity, request);
    let boundary = policies.boundary.as_ref().map(|boundary| Verdict::of(Source::Boundary, [boundary], request));
    let session = policies.session.as_ref().map(|session| Verdict::of(Source::Session, session, request));
    let resource = policies.resource.as_ref().map(|resource| Verdict::of(Source::Resource, [resource], request));

    let all = [Some(&identity), boundary.as_ref(), session.as_ref(), resource.as_ref()];
    let near: Vec<Near> = all.iter().flatten().flat_map(|verdict| verdict.near.iter().cloned()).collect();
    let denies: Vec<Place> = all.iter().flatten().flat_map(|verdict| verdict.denies.iter().cloned()).collect();
    if let Some(first) = denies.first() {
        let blamed = first.source;
        return decision(request, Effect::ExplicitDeny, denies, Some(blamed), near);
    }
    if matches!(request.principal, Caller::Root { .. }) {
        return decision(request, Effect::Allowed, Vec::new(), None, near);
    }
    let granted = resource.as_ref().map_or(&[][..], |verdict| verdict.allows.as_slice());
    let reach = granted.iter().map(|(_, reach)| *reach).max();
    let places = |allows: &[(Place, Reach)]| allows.iter().map(|(place, _)| place.clone()).collect::<Vec<_>>();
    if reach == Some(Reach::Itself) {
        return decision(request, Effect::Allowed, places(granted), None, near);
    }
    if identity.allows.is_empty() && reach != Some(Reach::Role) {
        let has_identity = matches!(request.principal, Caller::User { .. } | Caller::Session { .. });
        let blamed = if has_identity { Source::Identity } else { Source::Resource };
        return decision(request, Effect::ImplicitDeny, Vec::new(), Some(blamed), near);
    }
    for (limit, source) in [(&boundary, Source::Boundary), (&session, Source::Session)] {
        if limit.as_ref().is_some_and(|verdict| verdict.allows.is_empty()) {
            return decision(request, Effect::ImplicitDeny, Vec::new(), Some(source), near);
        }
    }
    let mut decided = places(&identity.allows);
    if reach == Some(Reach::Role) {
        decided.extend(places(granted));
    }
    for limit in [&boundary, &session].into_iter().flatten() {
        decided.extend(places(&limit.allows));
    }
    decision(request, Effect::Allowed, decided, None, near)
}

/// Whether a caller may assume a role: its trust policy must allow it, whatever else does. If it allows the caller's
/// account only, the caller's own policies must allow it, too. `policies` are the caller's; their resource policy is not
/// looked at.
///
/// # Source
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_update-role-trust-policy.html> and
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>, read 2026-11.
pub fn evaluate_trust(request: &Request, trust: &Policy, policies: &Policies) -> Decision {
    let trust = Verdict::of(Source::Trust, [&Named::new("of the role", trust.clone())], request);
    let blamed = Some(Source::Trust);
    if !trust.denies.is_empty() {
        return decision(request, Effect::ExplicitDeny, trust.denies, blamed, trust.near);
    }
    let Some(reach) = trust.allows.iter().map(|(_, reach)| *reach).max() else {
        return decision(request, Effect::ImplicitDeny, Vec::new(), blamed, trust.near);
    };
    let places: Vec<Place> = trust.allows.into_iter().map(|(place, _)| place).collect();
    let own = evaluate(request, &Policies { resource: None, ..policies.clone() });
    let is_granted = match reach {
        Reach::Account => own.is_allowed(),
        Reach::Role => own.is_allowed() || !matches!(own.blamed, Some(Source::Boundary | Source::Session)),
        Reach::Itself => true,
    };
    if own.effect == Effect::ExplicitDeny || !is_granted {
        return own;
    }
    decision(request, Effect::Allowed, places, None, own.near)
}

fn decision(
    request: &Request,
    effect: Effect,
    decided_by: Vec<Place>,
    blamed: Option<Source>,
    near: Vec<Near>,
) -> Decision {
    let caller = request.principal.arn();
    let what = format!("{} on {}", request.action, request.resource);
    let list = decided_by.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let explanation = match (effect, blamed) {
        (Effect::Allowed, _) if decided_by.is_empty() => format!("{what} is allowed: {caller} is the account itself"),
        (Effect::Allowed, _) => format!("{what} is allowed by {list}"),
        (Effect::ExplicitDeny, _) => format!("{what} is denied by {list}"),
        (Effect::ImplicitDeny, source) => {
            let source = source.unwrap_or(Source::Identity);
            let nearest = near.iter().find(|near| near.is_allow && near.place.source == source);
            match nearest {
                Some(near) => {
                    format!("{what} is not allowed by any {}; nearest: {}, but {}", source.name(), near.place, near.why)
                }
                None => format!("{what} is not allowed by any {}: none is about the action", source.name()),
            }
        }
    };
    let request = (caller, request.action.clone(), request.resource.clone());
    Decision { effect, decided_by, blamed, near, explanation, request }
}
