//! Roles and their sessions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::limits::{self, check_name, check_path, check_tags, document};
use super::{Directory, Error, Grants, Stamp};
use crate::policy::{Kind, Policy};
use crate::request::Caller;

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Unique in the account.
    pub name: String,
    /// `/` unless given.
    pub path: String,
    /// `AROA…`
    pub id: String,
    /// `arn:aws:iam::123456789012:role/path/name`
    pub arn: String,
    /// Who may take it on.
    pub trust: Policy,
    /// For people.
    #[serde(default)]
    pub description: Option<String>,
    /// How long a session may be, seconds.
    pub session_s_max: u32,
    /// Its tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// What it may do.
    #[serde(default)]
    pub grants: Grants,
    /// When it was made, milliseconds since 1970.
    pub created_at_ms: i64,
    /// When it was used last, if ever.
    #[serde(default)]
    pub last_used: Option<LastUsed>,
    /// Who has taken it on.
    #[serde(default)]
    pub sessions: Vec<Session>,
}

/// When and where a role was used last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUsed {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// As in `us-east-1`.
    pub region: String,
    /// For which service, as in `s3`; empty if not known.
    #[serde(default)]
    pub service: String,
}

/// A role taken on for a while, with credentials of its own.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its name.
    pub name: String,
    /// `ASIA…`
    pub key_id: String,
    /// What signatures are made with.
    pub secret: String,
    /// What must come along with them.
    pub token: String,
    /// Who took the role on, as messages name them.
    #[serde(default)]
    pub source: String,
    /// Milliseconds since 1970.
    pub started_at_ms: i64,
    /// Milliseconds since 1970.
    pub expires_at_ms: i64,
    /// The most that it may do, if limited.
    #[serde(default)]
    pub policy: Option<Policy>,
    /// Managed policies that limit it, too.
    #[serde(default)]
    pub policy_arns: Vec<String>,
}

impl std::fmt::Debug for Session {
    /// Without its credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("name", &self.name).field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl Session {
    /// Whether its credentials count.
    pub fn is_alive(&self, at_ms: i64) -> bool {
        self.started_at_ms <= at_ms && at_ms < self.expires_at_ms
    }
}

/// What a role is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewRole {
    /// Its name.
    pub name: String,
    /// `/` unless given.
    pub path: Option<String>,
    /// The trust policy, JSON text.
    pub trust: String,
    /// For people.
    pub description: Option<String>,
    /// 3,600 unless given.
    pub session_s_max: Option<u32>,
    /// ARN of a managed policy.
    pub boundary: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// What `UpdateRole` changes; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleUpdate {
    /// For people.
    pub description: Option<String>,
    /// How long a session may be, seconds.
    pub session_s_max: Option<u32>,
}

impl Role {
    /// A session of it as one who asks.
    pub fn caller(&self, session: &str) -> Caller {
        Caller::Session { role_arn: self.arn.clone(), role_id: self.id.clone(), session: session.to_owned() }
    }
}

impl Directory {
    /// `CreateRole`.
    ///
    /// # Errors
    /// `ValidationError`, `MalformedPolicyDocument`, `EntityAlreadyExists`, `LimitExceeded`, `NoSuchEntity`.
    pub fn create_role(&mut self, new: NewRole, stamp: Stamp) -> Result<&Role, Error> {
        let NewRole { name, path, trust, description, session_s_max, boundary, tags } = new;
        check_name("roleName", &name, 64)?;
        let path = path.unwrap_or_else(|| "/".to_owned());
        check_path(&path)?;
        check_tags(&tags)?;
        let trust = trust_policy(&trust)?;
        let session_s_max = check_session(session_s_max.unwrap_or(*limits::SESSION_S.start()))?;
        if let Some(arn) = &boundary {
            self.attachable(arn)?;
        }
        // Names have no case where it is asked whether they are taken.
        if self.roles.keys().any(|other| other.eq_ignore_ascii_case(&name)) {
            return Err(Error::EntityAlreadyExists(format!("Role with name {name} already exists.")));
        }
        let role = Role {
            arn: format!("arn:aws:iam::{}:role{path}{name}", self.account),
            id: stamp.id("AROA"),
            path,
            trust,
            description,
            session_s_max,
            tags,
            grants: Grants { boundary, ..Grants::default() },
            created_at_ms: stamp.at_ms,
            last_used: None,
            sessions: Vec::new(),
            name: name.clone(),
        };
        Ok(self.roles.entry(name).or_insert(role))
    }

    /// `GetRole`.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn role(&self, name: &str) -> Result<&Role, Error> {
        self.roles.get(name).ok_or_else(|| no_such_role(name))
    }

    /// The same, to change what the actions here do not.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn role_mut(&mut self, name: &str) -> Result<&mut Role, Error> {
        self.roles.get_mut(name).ok_or_else(|| no_such_role(name))
    }

    /// `ListRoles`: those under a path, by name.
    pub fn list_roles<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a Role> {
        self.roles.values().filter(move |role| role.path.starts_with(path))
    }

    /// `UpdateRole`.
    ///
    /// # Errors
    /// `NoSuchEntity`, `ValidationError`.
    pub fn update_role(&mut self, name: &str, update: RoleUpdate) -> Result<(), Error> {
        let role = self.role_mut(name)?;
        if let Some(session_s_max) = update.session_s_max {
            role.session_s_max = check_session(session_s_max)?;
        }
        if let Some(description) = update.description {
            role.description = Some(description);
        }
        Ok(())
    }

    /// `UpdateAssumeRolePolicy`.
    ///
    /// # Errors
    /// `NoSuchEntity`, `MalformedPolicyDocument`, `LimitExceeded`.
    pub fn update_trust(&mut self, name: &str, trust: &str) -> Result<(), Error> {
        let role = self.role_mut(name)?;
        role.trust = trust_policy(trust)?;
        Ok(())
    }

    /// `DeleteRole`: a role without policies.
    ///
    /// # Errors
    /// `NoSuchEntity`, `DeleteConflict`.
    pub fn delete_role(&mut self, name: &str) -> Result<(), Error> {
        let grants = &self.role(name)?.grants;
        if !grants.attached.is_empty() {
            return Err(Error::DeleteConflict("Cannot delete entity, must detach all policies first.".to_owned()));
        }
        if !grants.inline.is_empty() {
            return Err(Error::DeleteConflict("Cannot delete entity, must delete policies first.".to_owned()));
        }
        self.roles.remove(name);
        Ok(())
    }

    /// `TagRole`: adds tags or replaces their values.
    ///
    /// # Errors
    /// `NoSuchEntity`, `InvalidInput`, `LimitExceeded`.
    pub fn tag_role(&mut self, name: &str, tags: BTreeMap<String, String>) -> Result<(), Error> {
        let role = self.role_mut(name)?;
        let mut all = role.tags.clone();
        all.extend(tags);
        check_tags(&all)?;
        role.tags = all;
        Ok(())
    }

    /// `UntagRole`. Tags that are not there are gone already.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn untag_role(&mut self, name: &str, keys: &[String]) -> Result<(), Error> {
        self.role_mut(name)?.tags.retain(|key, _| !keys.contains(key));
        Ok(())
    }

    /// A role has been used.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn used(&mut self, name: &str, last_used: LastUsed) -> Result<(), Error> {
        let role = self.role_mut(name)?;
        if role.last_used.as_ref().is_none_or(|before| before.at_ms <= last_used.at_ms) {
            role.last_used = Some(last_used);
        }
        Ok(())
    }

    /// Someone has taken on a role. Sessions that are over by then are forgotten.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn add_session(&mut self, name: &str, session: Session) -> Result<(), Error> {
        let role = self.role_mut(name)?;
        role.sessions.retain(|other| other.expires_at_ms > session.started_at_ms);
        role.sessions.push(session);
        Ok(())
    }

    /// The session that a key belongs to, with its role; it may be over.
    pub fn session_of_key(&self, key_id: &str) -> Option<(&Role, &Session)> {
        self.roles.values().find_map(|role| {
            let session = role.sessions.iter().find(|session| session.key_id == key_id)?;
            Some((role, session))
        })
    }
}

fn trust_policy(text: &str) -> Result<Policy, Error> {
    document(text, Kind::Trust, limits::TRUST_CHARS_MAX, "ACLSizePerRole")
}

fn check_session(seconds: u32) -> Result<u32, Error> {
    if limits::SESSION_S.contains(&seconds) {
        return Ok(seconds);
    }
    let (start, end) = (limits::SESSION_S.start(), limits::SESSION_S.end());
    Err(Error::ValidationError(format!("maxSessionDuration is {seconds} s, expected {start} to {end}")))
}

fn no_such_role(name: &str) -> Error {
    Error::NoSuchEntity(format!("The role with name {name} cannot be found."))
}
