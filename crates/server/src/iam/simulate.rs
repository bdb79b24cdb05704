//! `SimulatePrincipalPolicy` and `SimulateCustomPolicy`: what would be decided, and by which statements.

use starmap_iam::directory::Error;
use starmap_iam::evaluate::{Decision, Named, Source};
use starmap_iam::{Caller, Context, Directory, Effect, Kind, Policies, Policy, Request, evaluate};

use super::answers::list;
use crate::query::{Form, Refusal};
use crate::xml::Writer;

/// Of a role or user, with policies that are added.
pub(super) fn principal(directory: &Directory, form: &Form) -> Result<Writer, Refusal> {
    let arn = form.required("PolicySourceArn")?;
    let missing = || Refusal::new("NoSuchEntity", 404, format!("{arn} cannot be found."));
    let role = directory.role_of_arn(arn).map(|role| role.caller("simulation"));
    let user = || directory.users.values().find(|user| user.arn == arn).map(|user| user.caller());
    let caller = role.or_else(user).ok_or_else(missing)?;
    let mut policies = directory.policies_of(&caller, None);
    policies.identity.extend(named(form, "PolicyInputList")?);
    simulate(directory, form, caller, policies)
}

/// Of policies that are given.
pub(super) fn custom(directory: &Directory, form: &Form) -> Result<Writer, Refusal> {
    let account = &directory.account;
    let arn = form.get("CallerArn").map_or_else(|| format!("arn:aws:iam::{account}:user/simulation"), str::to_owned);
    let caller = Caller::User { arn, id: "AIDASIMULATION".to_owned() };
    let identity = named(form, "PolicyInputList")?;
    if identity.is_empty() {
        form.required("PolicyInputList")?;
    }
    simulate(directory, form, caller, Policies { identity, ..Policies::default() })
}

fn named(form: &Form, list: &str) -> Result<Vec<Named>, Refusal> {
    let parse = |(index, text): (usize, String)| {
        let policy = Policy::parse(&text, Kind::Identity).map_err(Error::MalformedPolicyDocument)?;
        Ok(Named::new(format!("{list}.{}", index + 1), policy))
    };
    form.list(list).into_iter().enumerate().map(parse).collect::<Result<_, Error>>().map_err(Refusal::from)
}

fn simulate(directory: &Directory, form: &Form, caller: Caller, mut policies: Policies) -> Result<Writer, Refusal> {
    if let Some(boundary) = named(form, "PermissionsBoundaryPolicyInputList")?.into_iter().next() {
        policies.boundary = Some(boundary);
    }
    if let Some(text) = form.get("ResourcePolicy") {
        let policy = Policy::parse(text, Kind::Resource)
            .map_err(|problems| Refusal::from(Error::MalformedPolicyDocument(problems)))?;
        policies.resource = Some(Named::new("ResourcePolicy", policy));
    }
    let actions = form.list("ActionNames");
    if actions.is_empty() {
        form.required("ActionNames")?;
    }
    let mut resources = form.list("ResourceArns");
    if resources.is_empty() {
        resources.push("*".to_owned());
    }
    let entries = form.each("ContextEntries").filter_map(|prefix| {
        let name = form.get(&format!("{prefix}.ContextKeyName"))?.to_owned();
        Some((name, form.list(&format!("{prefix}.ContextKeyValues"))))
    });
    let context: Vec<(String, Vec<String>)> = entries.collect();
    let asked = actions.iter().flat_map(|action| resources.iter().map(move |resource| (action, resource)));
    let decided: Vec<_> = asked
        .map(|(action, resource)| {
            let mut request = directory.tagged(Request::new(caller.clone(), action, resource));
            set(&mut request.context, &context);
            (action, resource, evaluate(&request, &policies))
        })
        .collect();
    let mut xml = Writer::inside();
    list(&mut xml, "EvaluationResults", decided, |xml, (action, resource, decision)| {
        xml.text("EvalActionName", action).text("EvalResourceName", resource).text("EvalDecision", word(&decision));
        list(xml, "MatchedStatements", &decision.decided_by, |xml, place| {
            xml.text("SourcePolicyId", &place.policy);
            xml.text(
                "SourcePolicyType",
                if place.source == Source::Resource { "Resource Policy" } else { "IAM Policy" },
            );
        });
        xml.element("MissingContextValues", |_| {});
        if policies.boundary.is_some() {
            let is_allowed = decision.blamed != Some(Source::Boundary);
            xml.element("PermissionsBoundaryDecisionDetail", |xml| {
                xml.text("AllowedByPermissionsBoundary", is_allowed.to_string());
            });
        }
    });
    xml.text("IsTruncated", "false");
    Ok(xml)
}

fn set(context: &mut Context, entries: &[(String, Vec<String>)]) {
    for (name, values) in entries {
        context.set(name, values.iter().cloned());
    }
}

fn word(decision: &Decision) -> &'static str {
    match decision.effect {
        Effect::Allowed => "allowed",
        Effect::ExplicitDeny => "explicitDeny",
        Effect::ImplicitDeny => "implicitDeny",
    }
}
