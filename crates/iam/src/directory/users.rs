//! Users and their access keys.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::limits::{self, check_name, check_path, check_tags};
use super::{Directory, Error, Grants, LastUsed, Stamp};
use crate::request::Caller;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Unique in the account.
    pub name: String,
    /// `/` unless given.
    pub path: String,
    /// `AIDA…`
    pub id: String,
    /// `arn:aws:iam::123456789012:user/path/name`
    pub arn: String,
    /// Its tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// What it may do.
    #[serde(default)]
    pub grants: Grants,
    /// Its access keys.
    #[serde(default)]
    pub keys: Vec<AccessKey>,
    /// When it was made, milliseconds since 1970.
    pub created_at_ms: i64,
}

/// A key that lasts.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// `AKIA…`
    pub id: String,
    /// What signatures are made with.
    pub secret: String,
    /// Whether it counts.
    pub is_active: bool,
    /// When it was made, milliseconds since 1970.
    pub created_at_ms: i64,
    /// When it was used last, if ever.
    #[serde(default)]
    pub last_used: Option<LastUsed>,
}

impl std::fmt::Debug for AccessKey {
    /// Without its secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).field("is_active", &self.is_active).finish_non_exhaustive()
    }
}

impl User {
    /// It as one who asks.
    pub fn caller(&self) -> Caller {
        Caller::User { arn: self.arn.clone(), id: self.id.clone() }
    }
}

impl Directory {
    /// `CreateUser`.
    ///
    /// # Errors
    /// `ValidationError`, `EntityAlreadyExists`, `InvalidInput`, `LimitExceeded`.
    pub fn create_user(
        &mut self,
        name: &str,
        path: Option<&str>,
        tags: BTreeMap<String, String>,
        stamp: Stamp,
    ) -> Result<&User, Error> {
        check_name("userName", name, 64)?;
        let path = path.unwrap_or("/");
        check_path(path)?;
        check_tags(&tags)?;
        if self.users.keys().any(|other| other.eq_ignore_ascii_case(name)) {
            return Err(Error::EntityAlreadyExists(format!("User with name {name} already exists.")));
        }
        let user = User {
            name: name.to_owned(),
            path: path.to_owned(),
            id: stamp.id("AIDA"),
            arn: format!("arn:aws:iam::{}:user{path}{name}", self.account),
            tags,
            grants: Grants::default(),
            keys: Vec::new(),
            created_at_ms: stamp.at_ms,
        };
        Ok(self.users.entry(name.to_owned()).or_insert(user))
    }

    /// `GetUser`.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn user(&self, name: &str) -> Result<&User, Error> {
        self.users.get(name).ok_or_else(|| no_such_user(name))
    }

    /// The same, to change what the actions here do not.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn user_mut(&mut self, name: &str) -> Result<&mut User, Error> {
        self.users.get_mut(name).ok_or_else(|| no_such_user(name))
    }

    /// `DeleteUser`: a user without policies and keys.
    ///
    /// # Errors
    /// `NoSuchEntity`, `DeleteConflict`.
    pub fn delete_user(&mut self, name: &str) -> Result<(), Error> {
        let user = self.user(name)?;
        let first = if !user.grants.attached.is_empty() {
            Some("detach all policies")
        } else if !user.grants.inline.is_empty() {
            Some("delete policies")
        } else if !user.keys.is_empty() {
            Some("delete access keys")
        } else {
            None
        };
        if let Some(first) = first {
            return Err(Error::DeleteConflict(format!("Cannot delete entity, must {first} first.")));
        }
        self.users.remove(name);
        Ok(())
    }

    /// `CreateAccessKey`. `secret` is 40 random characters of base64.
    ///
    /// # Errors
    /// `NoSuchEntity`, `LimitExceeded`.
    pub fn create_access_key(&mut self, user: &str, secret: String, stamp: Stamp) -> Result<&AccessKey, Error> {
        let keys = &mut self.user_mut(user)?.keys;
        if keys.len() >= limits::ACCESS_KEYS_MAX {
            let message = format!("Cannot exceed quota for AccessKeysPerUser: {}", limits::ACCESS_KEYS_MAX);
            return Err(Error::LimitExceeded(message));
        }
        let id = stamp.id("AKIA");
        // As long as AWS's: 20 characters with the prefix.
        let id = id[..20].to_owned();
        keys.push(AccessKey { id, secret, is_active: true, created_at_ms: stamp.at_ms, last_used: None });
        Ok(&keys[keys.len() - 1])
    }

    /// `UpdateAccessKey`.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn set_access_key(&mut self, user: &str, id: &str, is_active: bool) -> Result<(), Error> {
        let keys = &mut self.user_mut(user)?.keys;
        let key = keys.iter_mut().find(|key| key.id == id).ok_or_else(|| no_such_key(id))?;
        key.is_active = is_active;
        Ok(())
    }

    /// `DeleteAccessKey`.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn delete_access_key(&mut self, user: &str, id: &str) -> Result<(), Error> {
        let keys = &mut self.user_mut(user)?.keys;
        let index = keys.iter().position(|key| key.id == id).ok_or_else(|| no_such_key(id))?;
        keys.remove(index);
        Ok(())
    }

    /// Whose key it is; it may be inactive.
    pub fn user_of_key(&self, key_id: &str) -> Option<(&User, &AccessKey)> {
        self.users.values().find_map(|user| Some((user, user.keys.iter().find(|key| key.id == key_id)?)))
    }
}

fn no_such_user(name: &str) -> Error {
    Error::NoSuchEntity(format!("The user with name {name} cannot be found."))
}

fn no_such_key(id: &str) -> Error {
    Error::NoSuchEntity(format!("The Access Key with id {id} cannot be found."))
}
