//! What roles and users have in common: inline and attached policies and a boundary.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::limits::{self, check_name};
use super::{Directory, Error, Session};
use crate::evaluate::Named;
use crate::policy::{Kind, Policy};

/// The policies of a role or user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// Inline policies by name.
    #[serde(default)]
    pub inline: BTreeMap<String, Policy>,
    /// ARNs of attached managed policies, in the order in which they were attached.
    #[serde(default)]
    pub attached: Vec<String>,
    /// ARN of the managed policy that limits them.
    #[serde(default)]
    pub boundary: Option<String>,
}

/// Whose policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner<'a> {
    /// A role by name.
    Role(&'a str),
    /// A user by name.
    User(&'a str),
}

impl Owner<'_> {
    fn sentence(self) -> String {
        match self {
            Self::Role(name) => format!("role {name}"),
            Self::User(name) => format!("user {name}"),
        }
    }
}

impl Directory {
    /// The policies of a role or user.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn grants(&self, owner: Owner<'_>) -> Result<&Grants, Error> {
        match owner {
            Owner::Role(name) => self.role(name).map(|role| &role.grants),
            Owner::User(name) => self.user(name).map(|user| &user.grants),
        }
    }

    fn grants_mut(&mut self, owner: Owner<'_>) -> Result<&mut Grants, Error> {
        match owner {
            Owner::Role(name) => self.role_mut(name).map(|role| &mut role.grants),
            Owner::User(name) => self.user_mut(name).map(|user| &mut user.grants),
        }
    }

    /// `PutRolePolicy`, `PutUserPolicy`: adds an inline policy or replaces it.
    ///
    /// # Errors
    /// `NoSuchEntity`, `ValidationError`, `MalformedPolicyDocument`, `LimitExceeded`.
    pub fn put_inline(&mut self, owner: Owner<'_>, name: &str, document: &str) -> Result<(), Error> {
        check_name("policyName", name, 128)?;
        let (chars_max, what) = match owner {
            Owner::Role(_) => (limits::ROLE_INLINE_CHARS_MAX, "the policies of a role"),
            Owner::User(_) => (limits::USER_INLINE_CHARS_MAX, "the policies of a user"),
        };
        let grants = self.grants_mut(owner)?;
        let policy = Policy::parse(document, Kind::Identity).map_err(Error::MalformedPolicyDocument)?;
        let others = grants.inline.iter().filter(|(other, _)| *other != name).map(|(_, policy)| limits::chars(policy));
        if others.sum::<usize>() + limits::chars(&policy) > chars_max {
            let message = format!("Maximum policy size of {chars_max} bytes exceeded for {}: {what}", owner.sentence());
            return Err(Error::LimitExceeded(message));
        }
        grants.inline.insert(name.to_owned(), policy);
        Ok(())
    }

    /// `GetRolePolicy`, `GetUserPolicy`.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn inline(&self, owner: Owner<'_>, name: &str) -> Result<&Policy, Error> {
        let found = self.grants(owner)?.inline.get(name);
        found.ok_or_else(|| no_such_inline(owner, name))
    }

    /// `DeleteRolePolicy`, `DeleteUserPolicy`.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn delete_inline(&mut self, owner: Owner<'_>, name: &str) -> Result<(), Error> {
        let removed = self.grants_mut(owner)?.inline.remove(name);
        removed.map(|_| ()).ok_or_else(|| no_such_inline(owner, name))
    }

    /// `AttachRolePolicy`, `AttachUserPolicy`. What is attached already stays so.
    ///
    /// # Errors
    /// `NoSuchEntity`, `LimitExceeded`.
    pub fn attach(&mut self, owner: Owner<'_>, arn: &str) -> Result<(), Error> {
        self.attachable(arn)?;
        let grants = self.grants_mut(owner)?;
        if grants.attached.iter().any(|attached| attached == arn) {
            return Ok(());
        }
        if grants.attached.len() >= limits::ATTACHED_MAX {
            let what = if matches!(owner, Owner::Role(_)) { "PoliciesPerRole" } else { "PoliciesPerUser" };
            return Err(Error::LimitExceeded(format!("Cannot exceed quota for {what}: {}", limits::ATTACHED_MAX)));
        }
        grants.attached.push(arn.to_owned());
        Ok(())
    }

    /// `DetachRolePolicy`, `DetachUserPolicy`.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn detach(&mut self, owner: Owner<'_>, arn: &str) -> Result<(), Error> {
        let grants = self.grants_mut(owner)?;
        let Some(index) = grants.attached.iter().position(|attached| attached == arn) else {
            return Err(Error::NoSuchEntity(format!("Policy {arn} was not found.")));
        };
        grants.attached.remove(index);
        Ok(())
    }

    /// `PutRolePermissionsBoundary`, `DeleteRolePermissionsBoundary`, and those of users.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn set_boundary(&mut self, owner: Owner<'_>, arn: Option<&str>) -> Result<(), Error> {
        if let Some(arn) = arn {
            self.attachable(arn)?;
        }
        self.grants_mut(owner)?.boundary = arn.map(str::to_owned);
        Ok(())
    }

    /// Whether there is such a managed policy.
    pub(super) fn attachable(&self, arn: &str) -> Result<(), Error> {
        match self.policy(arn) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::NoSuchEntity(format!("Policy {arn} does not exist or is not attachable."))),
        }
    }

    /// All policies of a role or user by name or ARN. An attached policy that is not known here grants nothing.
    pub(super) fn named(&self, grants: &Grants) -> Vec<Named> {
        let inline = grants.inline.iter().map(|(name, policy)| Named::new(name, policy.clone()));
        let attached = grants.attached.iter().filter_map(|arn| Some(Named::new(arn, self.policy(arn).ok()?.policy)));
        inline.chain(attached).collect()
    }

    /// A policy that limits others. One that is not known here allows nothing.
    pub(super) fn limiting(&self, arn: &str) -> Named {
        let nothing = || {
            let text = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}"#;
            Policy::parse(text, Kind::Identity).expect("it keeps to the grammar")
        };
        Named::new(arn, self.policy(arn).map_or_else(|_| nothing(), |view| view.policy))
    }

    /// The policies of a session, if it has any.
    pub(super) fn session_policies(&self, session: &Session) -> Option<Vec<Named>> {
        let inline = session.policy.iter().map(|policy| Named::new("of the session", policy.clone()));
        let all: Vec<Named> = inline.chain(session.policy_arns.iter().map(|arn| self.limiting(arn))).collect();
        (!all.is_empty()).then_some(all)
    }
}

fn no_such_inline(owner: Owner<'_>, name: &str) -> Error {
    let kind = if matches!(owner, Owner::Role(_)) { "role" } else { "user" };
    Error::NoSuchEntity(format!("The {kind} policy with name {name} cannot be found."))
}
