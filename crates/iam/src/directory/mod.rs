//! One account's roles, users, access keys and managed policies, as data, and the actions that change them.
//!
//! Whoever serves the API puts its wire protocol and its files around this; whoever decides about a request asks for
//! [`Directory::policies_of`] its caller.

mod error;
mod grants;
pub mod limits;
mod policies;
mod roles;
mod users;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::evaluate::{Decision, Policies, evaluate_trust};
use crate::request::{Caller, Context, Request};

pub use error::Error;
pub use grants::{Grants, Owner};
pub use policies::{CustomerManaged, PolicyVersion, PolicyView};
pub use roles::{LastUsed, NewRole, Role, RoleUpdate, Session};
pub use users::{AccessKey, User};

/// When something is done, and a number that no one has had yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// Random.
    pub random: u128,
}

impl Stamp {
    /// An id as IAM has them: a prefix (`AROA`, `AIDA`, `ANPA`, `AKIA`, `ASIA`, …) and 17 characters.
    pub fn id(self, prefix: &str) -> String {
        const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let letter = |index: u32| char::from(LETTERS[usize::try_from((self.random >> (5 * index)) & 31).unwrap_or(0)]);
        format!("{prefix}{}", (0..17).map(letter).collect::<String>())
    }
}

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// Twelve digits.
    pub account: String,
    /// By name.
    #[serde(default)]
    pub roles: BTreeMap<String, Role>,
    /// By name.
    #[serde(default)]
    pub users: BTreeMap<String, User>,
    /// The account's own managed policies, by ARN.
    #[serde(default)]
    pub policies: BTreeMap<String, CustomerManaged>,
}

/// A role as a service takes it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assumed {
    /// The session.
    pub caller: Caller,
    /// What it may do.
    pub policies: Policies,
}

/// Why a role can't be taken on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAssumed {
    /// There is no such role.
    Missing,
    /// Its trust policy does not have it.
    NotTrusted(Box<Decision>),
}

impl Directory {
    /// Nothing but the account.
    pub fn new(account: impl Into<String>) -> Self {
        Self { account: account.into(), roles: BTreeMap::new(), users: BTreeMap::new(), policies: BTreeMap::new() }
    }

    /// The policies of whoever asks, without a resource's: what the identity has, its boundary, and `session`'s.
    ///
    /// Nobody of this account has none, and so may do nothing.
    pub fn policies_of(&self, caller: &Caller, session: Option<&Session>) -> Policies {
        let grants = match caller {
            Caller::User { arn, .. } => self.users.values().find(|user| user.arn == *arn).map(|user| &user.grants),
            Caller::Session { role_arn, .. } => self.role_of_arn(role_arn).map(|role| &role.grants),
            _ => None,
        };
        let Some(grants) = grants else { return Policies::default() };
        let identity = self.named(grants);
        let boundary = grants.boundary.as_ref().map(|arn| self.limiting(arn));
        let session = session.and_then(|session| self.session_policies(session));
        Policies { identity, boundary, session, resource: None }
    }

    /// The keys that come from the tags of whoever asks: `aws:PrincipalTag/…`.
    #[must_use]
    pub fn tagged(&self, request: Request) -> Request {
        let tags = match &request.principal {
            Caller::User { arn, .. } => self.users.values().find(|user| user.arn == *arn).map(|user| &user.tags),
            Caller::Session { role_arn, .. } => self.role_of_arn(role_arn).map(|role| &role.tags),
            _ => None,
        };
        let Some(tags) = tags else { return request };
        let mut request = request;
        for (key, value) in tags {
            request.context.set(&format!("aws:PrincipalTag/{key}"), [value]);
        }
        request
    }

    /// A service takes on a role, as Step Functions and Lambda do before they act for it.
    ///
    /// # Errors
    /// [`NotAssumed`].
    pub fn assume(&self, role_arn: &str, service: &str, session: &str) -> Result<Assumed, NotAssumed> {
        self.assume_in(role_arn, service, session, &Context::default())
    }

    /// The same with keys that the service sends along, as in `aws:SourceAccount`.
    ///
    /// # Errors
    /// [`NotAssumed`].
    pub fn assume_in(
        &self,
        role_arn: &str,
        service: &str,
        session: &str,
        context: &Context,
    ) -> Result<Assumed, NotAssumed> {
        let role = self.role_of_arn(role_arn).ok_or(NotAssumed::Missing)?;
        let mut request = Request::new(Caller::Service { name: service.to_owned() }, "sts:AssumeRole", role_arn);
        for (key, values) in context.iter() {
            request.context.set(key, values);
        }
        let decision = evaluate_trust(&request, &role.trust, &Policies::default());
        if !decision.is_allowed() {
            return Err(NotAssumed::NotTrusted(Box::new(decision)));
        }
        let caller = role.caller(session);
        let policies = self.policies_of(&caller, None);
        Ok(Assumed { caller, policies })
    }

    /// A role by its ARN.
    pub fn role_of_arn(&self, arn: &str) -> Option<&Role> {
        let role = self.roles.get(arn.rsplit('/').next()?)?;
        (role.arn == arn).then_some(role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { at_ms: 1_000, random: 0x1234_5678_9abc_def0_1234_5678_9abc_def0 };
    const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"states.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    const ALLOW: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;
    const S3: &str = "arn:aws:iam::aws:policy/AmazonS3FullAccess";

    fn directory() -> Directory {
        let mut directory = Directory::new("123456789012");
        let new = NewRole { name: "sky".to_owned(), trust: TRUST.to_owned(), ..NewRole::default() };
        directory.create_role(new, STAMP).unwrap();
        directory
    }

    fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
        result.unwrap_err().code()
    }

    #[test]
    fn a_role_lives_and_dies_as_on_aws() {
        let mut directory = directory();
        let role = directory.role("sky").unwrap();
        assert_eq!(role.arn, "arn:aws:iam::123456789012:role/sky");
        assert_eq!(role.id.len(), 21);
        let again = NewRole { name: "SKY".to_owned(), trust: TRUST.to_owned(), ..NewRole::default() };
        assert_eq!(code(directory.create_role(again, STAMP)), "EntityAlreadyExists");
        let wrong = NewRole { name: "other".to_owned(), trust: ALLOW.to_owned(), ..NewRole::default() };
        assert_eq!(code(directory.create_role(wrong, STAMP)), "MalformedPolicyDocument");
        let owner = Owner::Role("sky");
        directory.put_inline(owner, "own", ALLOW).unwrap();
        directory.attach(owner, S3).unwrap();
        assert_eq!(code(directory.attach(owner, "arn:aws:iam::aws:policy/None")), "NoSuchEntity");
        assert_eq!(code(directory.delete_role("sky")), "DeleteConflict");
        directory.detach(owner, S3).unwrap();
        assert_eq!(code(directory.delete_role("sky")), "DeleteConflict");
        directory.delete_inline(owner, "own").unwrap();
        assert_eq!(code(directory.delete_inline(owner, "own")), "NoSuchEntity");
        directory.delete_role("sky").unwrap();
        assert_eq!(code(directory.role("sky")), "NoSuchEntity");
    }

    #[test]
    fn a_managed_policy_has_versions() {
        let mut directory = directory();
        let arn = directory.create_policy("own", None, ALLOW, None, BTreeMap::new(), STAMP).unwrap().arn;
        let deny = ALLOW.replace("Allow", "Deny");
        for expected in ["v2", "v3", "v4", "v5"] {
            assert_eq!(directory.create_policy_version(&arn, &deny, true, 2_000).unwrap().id, expected);
        }
        assert_eq!(code(directory.create_policy_version(&arn, &deny, true, 2_000)), "LimitExceeded");
        assert_eq!(directory.policy(&arn).unwrap().policy.text(), deny);
        directory.set_default_version(&arn, "v1", 3_000).unwrap();
        assert_eq!(directory.policy(&arn).unwrap().policy.text(), ALLOW);
        assert_eq!(code(directory.delete_policy_version(&arn, "v1")), "DeleteConflict");
        directory.attach(Owner::Role("sky"), &arn).unwrap();
        assert_eq!(directory.policy(&arn).unwrap().attachments, 1);
        assert_eq!(code(directory.delete_policy(&arn)), "DeleteConflict");
        directory.detach(Owner::Role("sky"), &arn).unwrap();
        for version in ["v2", "v3", "v4", "v5"] {
            directory.delete_policy_version(&arn, version).unwrap();
        }
        directory.delete_policy(&arn).unwrap();
    }

    #[test]
    fn a_service_takes_on_a_role_that_trusts_it() {
        let mut directory = directory();
        directory.attach(Owner::Role("sky"), S3).unwrap();
        let arn = "arn:aws:iam::123456789012:role/sky";
        let assumed = directory.assume(arn, "states.amazonaws.com", "run").unwrap();
        assert_eq!(assumed.caller.arn(), "arn:aws:sts::123456789012:assumed-role/sky/run");
        assert_eq!(assumed.policies.identity.len(), 1);
        let refused = directory.assume(arn, "lambda.amazonaws.com", "run").unwrap_err();
        assert!(matches!(refused, NotAssumed::NotTrusted(_)));
        assert_eq!(directory.assume("arn:aws:iam::123456789012:role/x", "a", "b"), Err(NotAssumed::Missing));
    }

    #[test]
    fn users_have_keys_and_everything_is_kept() {
        let mut directory = directory();
        directory.create_user("kim", Some("/team/"), BTreeMap::new(), STAMP).unwrap();
        let id = directory.create_access_key("kim", "secret".to_owned(), STAMP).unwrap().id.clone();
        assert_eq!(id.len(), 20);
        directory.create_access_key("kim", "secret".to_owned(), STAMP).unwrap();
        assert_eq!(code(directory.create_access_key("kim", "secret".to_owned(), STAMP)), "LimitExceeded");
        assert_eq!(directory.user_of_key(&id).unwrap().0.name, "kim");
        assert_eq!(code(directory.delete_user("kim")), "DeleteConflict");
        let kept = serde_json::to_string(&directory).unwrap();
        assert_eq!(serde_json::from_str::<Directory>(&kept).unwrap(), directory);
    }
}
