//! STS: who am I, and the credentials of a role's session.
//!
//! # Source
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_Operations.html>, read 2026-11.

use std::sync::Arc;

use starmap_asl::Timestamp;
use starmap_engine::names::Naming;
use starmap_iam::directory::Role;
use starmap_iam::request::session_arn;
use starmap_iam::{Caller, Kind, Policy, evaluate_trust};

use crate::iam::{Identity, Store, Wanted};
use crate::query::{Form, Refusal, Result};
use crate::times::iso_seconds;
use crate::xml::Writer;

/// Shortest session.
const SECONDS_MIN: u32 = 900;
/// Unless told otherwise.
const SECONDS_DEFAULT: u32 = 3_600;

/// The actions of STS.
#[derive(Debug)]
pub struct Sts {
    naming: Naming,
    store: Arc<Store>,
}

impl Sts {
    /// Over these roles. Who did not have to sign is the account itself.
    pub fn new(naming: Naming, store: Arc<Store>) -> Self {
        Self { naming, store }
    }

    pub(crate) fn call(&self, action: &str, form: &Form, identity: Option<&Identity>) -> Result {
        let root = || Caller::Root { account: self.naming.account.clone() };
        let caller = identity.map_or_else(root, |identity| identity.caller.clone());
        match action {
            "GetCallerIdentity" => Ok(Some(self.caller_identity(&caller))),
            "AssumeRole" => self.assume_role(form, caller, identity).map(Some),
            _ => Err(Refusal::unknown_action(action, form)),
        }
    }

    fn caller_identity(&self, caller: &Caller) -> Writer {
        let account = caller.account().unwrap_or(&self.naming.account);
        let id = match caller {
            Caller::User { id, .. } => id.clone(),
            Caller::Session { role_id, session, .. } => format!("{role_id}:{session}"),
            _ => account.to_owned(),
        };
        let mut xml = Writer::inside();
        xml.text("Arn", caller.arn()).text("UserId", id).text("Account", account);
        xml
    }

    fn assume_role(
        &self,
        form: &Form,
        caller: Caller,
        identity: Option<&Identity>,
    ) -> std::result::Result<Writer, Refusal> {
        let arn = form.required("RoleArn")?;
        let name = form.required("RoleSessionName")?;
        if !is_session_name(name) {
            return Err(Refusal::validation(format!(
                "1 validation error detected: Value '{name}' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]*, and have 2 to 64 characters"
            )));
        }
        let seconds = form.number("DurationSeconds")?.unwrap_or(SECONDS_DEFAULT);
        let policy = match form.get("Policy") {
            Some(text) => Some(Policy::parse(text, Kind::Identity).map_err(malformed)?),
            None => None,
        };
        let each = form.each("PolicyArns");
        let policy_arns = each.filter_map(|prefix| form.get(&format!("{prefix}.arn")).map(str::to_owned)).collect();

        // A role that is not there is refused as one that may not be had.
        let denied = || {
            let message =
                format!("User: {} is not authorized to perform: sts:AssumeRole on resource: {arn}", caller.arn());
            Refusal::new("AccessDenied", 403, message)
        };
        let policies = identity.map(|identity| self.store.policies_of(identity)).unwrap_or_default();
        let role: Role = self
            .store
            .read(|directory| {
                let role = directory.role_of_arn(arn)?;
                let request = starmap_iam::Request::new(caller.clone(), "sts:AssumeRole", arn);
                let request = directory.tagged(request).with("sts:RoleSessionName", [name]);
                let request = request.with("sts:ExternalId", form.get("ExternalId"));
                evaluate_trust(&request, &role.trust, &policies).is_allowed().then(|| role.clone())
            })
            .ok_or_else(denied)?;
        if !(SECONDS_MIN..=role.session_s_max).contains(&seconds) {
            let message = if seconds < SECONDS_MIN {
                format!(
                    "1 validation error detected: Value '{seconds}' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to {SECONDS_MIN}"
                )
            } else {
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.".to_owned()
            };
            return Err(Refusal::validation(message));
        }
        let wanted =
            Wanted { name: name.to_owned(), source: caller.arn(), seconds, policy, policy_arns, replaces: false };
        let session = self.store.start_session(&role.name, wanted)?;
        let mut xml = Writer::inside();
        xml.element("AssumedRoleUser", |user| {
            user.text("AssumedRoleId", format!("{}:{name}", role.id)).text("Arn", session_arn(&role.arn, name));
        });
        xml.element("Credentials", |credentials| {
            credentials.text("AccessKeyId", &session.key_id).text("SecretAccessKey", &session.secret);
            credentials.text("SessionToken", &session.token);
            credentials.text("Expiration", iso_seconds(Timestamp(session.expires_at_ms)));
        });
        Ok(xml)
    }
}

fn is_session_name(name: &str) -> bool {
    (2..=64).contains(&name.len()) && name.chars().all(|char| char.is_ascii_alphanumeric() || "_+=,.@-".contains(char))
}

fn malformed(problems: Vec<starmap_iam::Problem>) -> Refusal {
    starmap_iam::directory::Error::MalformedPolicyDocument(problems).into()
}
