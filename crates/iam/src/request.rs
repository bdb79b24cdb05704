//! Who asks to do what to which resource, under which circumstances.
//!
//! # Source
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html>, read 2026-11.

use std::collections::BTreeMap;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// The account itself, which no identity policy limits.
    Root {
        /// Twelve digits.
        account: String,
    },
    /// A user.
    User {
        /// `arn:aws:iam::123456789012:user/path/name`
        arn: String,
        /// `AIDA…`
        id: String,
    },
    /// A session of a role.
    Session {
        /// `arn:aws:iam::123456789012:role/path/name`
        role_arn: String,
        /// `AROA…`
        role_id: String,
        /// Its name.
        session: String,
    },
    /// An AWS service on its own behalf, as in `states.amazonaws.com`.
    Service {
        /// Its principal.
        name: String,
    },
    /// Someone whom another provider vouches for (`sts:AssumeRoleWithWebIdentity`, …).
    Federated {
        /// The provider: an ARN or a host name.
        provider: String,
    },
    /// Nobody signed.
    Anonymous,
}

impl Caller {
    /// As messages name them: for a session `arn:aws:sts::123456789012:assumed-role/name/session`.
    pub fn arn(&self) -> String {
        match self {
            Self::Root { account } => format!("arn:aws:iam::{account}:root"),
            Self::User { arn, .. } => arn.clone(),
            Self::Session { role_arn, session, .. } => session_arn(role_arn, session),
            Self::Service { name } => name.clone(),
            Self::Federated { provider } => provider.clone(),
            Self::Anonymous => "anonymous".to_owned(),
        }
    }

    /// Twelve digits, for those who belong to an account.
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::Root { account } => Some(account),
            Self::User { arn, .. } | Self::Session { role_arn: arn, .. } => arn.split(':').nth(4),
            Self::Service { .. } | Self::Federated { .. } | Self::Anonymous => None,
        }
    }

    /// The keys that follow from who asks.
    fn context(&self) -> Context {
        let mut context = Context::default();
        if let Some(account) = self.account() {
            context.set("aws:PrincipalAccount", [account]);
        }
        match self {
            Self::Root { account } => {
                context.set("aws:PrincipalArn", [self.arn()]);
                context.set("aws:PrincipalType", ["Account"]);
                context.set("aws:userid", [account]);
            }
            Self::User { arn, id } => {
                context.set("aws:PrincipalArn", [arn]);
                context.set("aws:PrincipalType", ["User"]);
                context.set("aws:userid", [id]);
                context.set("aws:username", arn.rsplit('/').next());
            }
            Self::Session { role_arn, role_id, session } => {
                context.set("aws:PrincipalArn", [role_arn]);
                context.set("aws:PrincipalType", ["AssumedRole"]);
                context.set("aws:userid", [format!("{role_id}:{session}")]);
            }
            Self::Service { name } => context.set("aws:PrincipalServiceName", [name]),
            Self::Federated { provider } => {
                context.set("aws:PrincipalType", ["FederatedUser"]);
                context.set("aws:FederatedProvider", [provider]);
            }
            Self::Anonymous => context.set("aws:PrincipalType", ["Anonymous"]),
        }
        let is_service = matches!(self, Self::Service { .. });
        context.set("aws:PrincipalIsAWSService", [is_service.to_string()]);
        context
    }
}

/// The ARN of a role's session. The role's path is not in it.
pub fn session_arn(role_arn: &str, session: &str) -> String {
    let account = role_arn.split(':').nth(4).unwrap_or_default();
    let partition = role_arn.split(':').nth(1).unwrap_or("aws");
    let name = role_arn.rsplit('/').next().unwrap_or_default();
    format!("arn:{partition}:sts::{account}:assumed-role/{name}/{session}")
}

/// Keys and their values. The names of keys have no case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context(BTreeMap<String, Vec<String>>);

impl Context {
    /// Sets a key's values; without values the key is not there.
    pub fn set<V: Into<String>>(&mut self, key: &str, values: impl IntoIterator<Item = V>) {
        let values: Vec<String> = values.into_iter().map(Into::into).collect();
        if values.is_empty() {
            self.0.remove(&key.to_lowercase());
        } else {
            self.0.insert(key.to_lowercase(), values);
        }
    }

    /// A key's values; `None` if the key is not there.
    pub fn get(&self, key: &str) -> Option<&[String]> {
        self.0.get(&key.to_lowercase()).map(Vec::as_slice)
    }

    /// All keys, in lower case, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(key, values)| (key.as_str(), values.as_slice()))
    }
}

impl<K: AsRef<str>, V: Into<String>> FromIterator<(K, V)> for Context {
    /// A key that comes again has several values.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut context = Self::default();
        for (key, value) in pairs {
            context.0.entry(key.as_ref().to_lowercase()).or_default().push(value.into());
        }
        context
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who asks.
    pub principal: Caller,
    /// `service:Action`
    pub action: String,
    /// An ARN; `*` for actions that are about no resource.
    pub resource: String,
    /// Under which circumstances. What follows from the caller is there.
    pub context: Context,
}

impl Request {
    /// With the keys that follow from who asks: `aws:PrincipalArn`, `aws:PrincipalAccount`, `aws:PrincipalType`,
    /// `aws:userid`, `aws:username`, `aws:PrincipalIsAWSService`.
    pub fn new(principal: Caller, action: impl Into<String>, resource: impl Into<String>) -> Self {
        let context = principal.context();
        Self { principal, action: action.into(), resource: resource.into(), context }
    }

    /// With a key more, or other values for one that is there.
    #[must_use]
    pub fn with<V: Into<String>>(mut self, key: &str, values: impl IntoIterator<Item = V>) -> Self {
        self.context.set(key, values);
        self
    }
}
