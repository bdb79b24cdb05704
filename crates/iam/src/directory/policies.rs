//! Managed policies: the account's own, with versions, and AWS's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::limits::{self, check_name, check_path, check_tags, document};
use super::{Directory, Error, Stamp};
use crate::managed;
use crate::policy::{Kind, Policy};

/// A managed policy of the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerManaged {
    /// Unique in the account.
    pub name: String,
    /// `/` unless given.
    pub path: String,
    /// `ANPA…`
    pub id: String,
    /// `arn:aws:iam::123456789012:policy/path/name`
    pub arn: String,
    /// For people.
    #[serde(default)]
    pub description: Option<String>,
    /// Its tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Its versions, oldest first; never none.
    pub versions: Vec<PolicyVersion>,
    /// Which of them counts, as in `v1`.
    pub default_version: String,
    /// The number that the next version gets.
    pub next_version: u32,
    /// When it was made, milliseconds since 1970.
    pub created_at_ms: i64,
    /// When it was changed last, milliseconds since 1970.
    pub updated_at_ms: i64,
}

/// One version of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyVersion {
    /// As in `v1`.
    pub id: String,
    /// What it says.
    pub policy: Policy,
    /// When it was made, milliseconds since 1970.
    pub created_at_ms: i64,
}

/// A managed policy as the API shows it, the account's or AWS's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyView {
    /// Its name.
    pub name: String,
    /// Its path.
    pub path: String,
    /// `ANPA…`
    pub id: String,
    /// Its ARN.
    pub arn: String,
    /// For people.
    pub description: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Which version counts.
    pub default_version: String,
    /// What that says.
    pub policy: Policy,
    /// When it was made, milliseconds since 1970.
    pub created_at_ms: i64,
    /// When it was changed last, milliseconds since 1970.
    pub updated_at_ms: i64,
    /// On how many roles and users it is.
    pub attachments: usize,
    /// For how many roles and users it is the boundary.
    pub boundaries: usize,
}

impl CustomerManaged {
    fn default_policy(&self) -> Policy {
        let found = self.versions.iter().find(|version| version.id == self.default_version);
        found.or(self.versions.last()).expect("a managed policy has a version").policy.clone()
    }
}

impl Directory {
    /// `CreatePolicy`.
    ///
    /// # Errors
    /// `ValidationError`, `MalformedPolicyDocument`, `LimitExceeded`, `EntityAlreadyExists`, `InvalidInput`.
    pub fn create_policy(
        &mut self,
        name: &str,
        path: Option<&str>,
        text: &str,
        description: Option<String>,
        tags: BTreeMap<String, String>,
        stamp: Stamp,
    ) -> Result<PolicyView, Error> {
        check_name("policyName", name, 128)?;
        let path = path.unwrap_or("/");
        check_path(path)?;
        check_tags(&tags)?;
        let policy = managed_policy(text)?;
        if self.policies.values().any(|other| other.name.eq_ignore_ascii_case(name)) {
            return Err(Error::EntityAlreadyExists(format!(
                "A policy called {name} already exists. Duplicate names are not allowed."
            )));
        }
        let arn = format!("arn:aws:iam::{}:policy{path}{name}", self.account);
        let managed = CustomerManaged {
            name: name.to_owned(),
            path: path.to_owned(),
            id: stamp.id("ANPA"),
            arn: arn.clone(),
            description,
            tags,
            versions: vec![PolicyVersion { id: "v1".to_owned(), policy, created_at_ms: stamp.at_ms }],
            default_version: "v1".to_owned(),
            next_version: 2,
            created_at_ms: stamp.at_ms,
            updated_at_ms: stamp.at_ms,
        };
        self.policies.insert(arn.clone(), managed);
        self.policy(&arn)
    }

    /// `GetPolicy`, the account's own or AWS's.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn policy(&self, arn: &str) -> Result<PolicyView, Error> {
        let all = self.roles.values().map(|role| &role.grants).chain(self.users.values().map(|user| &user.grants));
        let attachments = all.clone().filter(|grants| grants.attached.iter().any(|attached| attached == arn)).count();
        let boundaries = all.filter(|grants| grants.boundary.as_deref() == Some(arn)).count();
        if let Some(own) = self.policies.get(arn) {
            return Ok(PolicyView {
                name: own.name.clone(),
                path: own.path.clone(),
                id: own.id.clone(),
                arn: own.arn.clone(),
                description: own.description.clone(),
                tags: own.tags.clone(),
                default_version: own.default_version.clone(),
                policy: own.default_policy(),
                created_at_ms: own.created_at_ms,
                updated_at_ms: own.updated_at_ms,
                attachments,
                boundaries,
            });
        }
        let aws = managed::get(arn).ok_or_else(|| no_such_policy(arn))?;
        // AWS's own ids are not published; this one is the same everywhere.
        let random =
            aws.name.bytes().fold(0_u128, |hash, byte| hash.wrapping_mul(0x100_0000_01b3).wrapping_add(byte.into()));
        Ok(PolicyView {
            name: aws.name.clone(),
            path: aws.path.clone(),
            id: Stamp { at_ms: 0, random }.id("ANPA"),
            arn: aws.arn.clone(),
            description: None,
            tags: BTreeMap::new(),
            default_version: aws.version.clone(),
            policy: aws.policy.clone(),
            created_at_ms: aws.created_at_ms,
            updated_at_ms: aws.updated_at_ms,
            attachments,
            boundaries,
        })
    }

    /// The ARNs of all managed policies: the account's own, then AWS's.
    pub fn policy_arns(&self) -> impl Iterator<Item = &str> {
        self.policies.keys().map(String::as_str).chain(managed::all().iter().map(|managed| managed.arn.as_str()))
    }

    /// `GetPolicyVersion`. Of AWS's policies there is the default version only.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn policy_version(&self, arn: &str, version: &str) -> Result<PolicyVersion, Error> {
        let found = self.policy_versions(arn)?.into_iter().find(|found| found.id == version);
        found.ok_or_else(|| no_such_version(arn, version))
    }

    /// `ListPolicyVersions`, newest first.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn policy_versions(&self, arn: &str) -> Result<Vec<PolicyVersion>, Error> {
        if let Some(own) = self.policies.get(arn) {
            return Ok(own.versions.iter().rev().cloned().collect());
        }
        let aws = managed::get(arn).ok_or_else(|| no_such_policy(arn))?;
        Ok(vec![PolicyVersion {
            id: aws.version.clone(),
            policy: aws.policy.clone(),
            created_at_ms: aws.updated_at_ms,
        }])
    }

    /// `CreatePolicyVersion`.
    ///
    /// # Errors
    /// `NoSuchEntity`, `MalformedPolicyDocument`, `LimitExceeded`.
    pub fn create_policy_version(
        &mut self,
        arn: &str,
        text: &str,
        is_default: bool,
        at_ms: i64,
    ) -> Result<PolicyVersion, Error> {
        let own = self.own_mut(arn)?;
        let policy = managed_policy(text)?;
        if own.versions.len() >= limits::VERSIONS_MAX {
            return Err(Error::LimitExceeded(format!(
                "A managed policy can have up to {} versions. Before you create a new version, you must delete an \
                 existing version.",
                limits::VERSIONS_MAX
            )));
        }
        let version = PolicyVersion { id: format!("v{}", own.next_version), policy, created_at_ms: at_ms };
        own.next_version += 1;
        own.updated_at_ms = at_ms;
        if is_default {
            own.default_version.clone_from(&version.id);
        }
        own.versions.push(version.clone());
        Ok(version)
    }

    /// `SetDefaultPolicyVersion`.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn set_default_version(&mut self, arn: &str, version: &str, at_ms: i64) -> Result<(), Error> {
        let own = self.own_mut(arn)?;
        if !own.versions.iter().any(|found| found.id == version) {
            return Err(no_such_version(arn, version));
        }
        version.clone_into(&mut own.default_version);
        own.updated_at_ms = at_ms;
        Ok(())
    }

    /// `DeletePolicyVersion`: one that does not count.
    ///
    /// # Errors
    /// `NoSuchEntity`, `DeleteConflict`.
    pub fn delete_policy_version(&mut self, arn: &str, version: &str) -> Result<(), Error> {
        let own = self.own_mut(arn)?;
        let Some(index) = own.versions.iter().position(|found| found.id == version) else {
            return Err(no_such_version(arn, version));
        };
        if own.default_version == version {
            return Err(Error::DeleteConflict("Cannot delete the default version of a policy.".to_owned()));
        }
        own.versions.remove(index);
        Ok(())
    }

    /// `DeletePolicy`: one that is attached to nothing and has one version.
    ///
    /// # Errors
    /// `NoSuchEntity`, `DeleteConflict`.
    pub fn delete_policy(&mut self, arn: &str) -> Result<(), Error> {
        let view = self.policy(arn)?;
        let own = self.own_mut(arn)?;
        if view.attachments + view.boundaries > 0 {
            return Err(Error::DeleteConflict("Cannot delete a policy attached to entities.".to_owned()));
        }
        if own.versions.len() > 1 {
            return Err(Error::DeleteConflict(
                "This policy has more than one version. Before you delete a policy, you must delete the policy's \
                 versions. The default version is deleted with the policy."
                    .to_owned(),
            ));
        }
        self.policies.remove(arn);
        Ok(())
    }

    /// `TagPolicy`: adds tags or replaces their values.
    ///
    /// # Errors
    /// `NoSuchEntity`, `InvalidInput`, `LimitExceeded`.
    pub fn tag_policy(&mut self, arn: &str, tags: BTreeMap<String, String>) -> Result<(), Error> {
        let own = self.own_mut(arn)?;
        let mut all = own.tags.clone();
        all.extend(tags);
        check_tags(&all)?;
        own.tags = all;
        Ok(())
    }

    /// `UntagPolicy`.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub fn untag_policy(&mut self, arn: &str, keys: &[String]) -> Result<(), Error> {
        self.own_mut(arn)?.tags.retain(|key, _| !keys.contains(key));
        Ok(())
    }

    fn own_mut(&mut self, arn: &str) -> Result<&mut CustomerManaged, Error> {
        self.policies.get_mut(arn).ok_or_else(|| no_such_policy(arn))
    }
}

fn managed_policy(text: &str) -> Result<Policy, Error> {
    document(text, Kind::Identity, limits::MANAGED_CHARS_MAX, "PolicySize")
}

fn no_such_policy(arn: &str) -> Error {
    Error::NoSuchEntity(format!("Policy {arn} was not found."))
}

fn no_such_version(arn: &str, version: &str) -> Error {
    Error::NoSuchEntity(format!("Policy {arn} version {version} does not exist or is not attachable."))
}
