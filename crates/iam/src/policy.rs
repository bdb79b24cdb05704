//! A policy document: what it says, and everything that is wrong with it.
//!
//! # Source
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>, read 2026-11.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::condition::{Condition, Operator};
use crate::pattern::Pattern;
use crate::request::{Caller, Context, Request, session_arn};

/// What a document is for; the grammars differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What a user or role may do: also permissions boundaries and session policies. Has resources, no principals.
    Identity,
    /// Who may assume a role. Has principals, no resources.
    Trust,
    /// Who may do what to a resource. Has principals and resources.
    Resource,
}

/// The language of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Without variables. What a document without `Version` is.
    V2008,
    /// With variables.
    V2012,
}

/// A document that keeps to the grammar.
///
/// Equal if their texts are; serialised as its text.
#[derive(Clone)]
pub struct Policy(Arc<Parsed>);

struct Parsed {
    text: String,
    version: Version,
    id: Option<String>,
    statements: Vec<Statement>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// `Sid`
    pub sid: Option<String>,
    /// Whether `Effect` is `Allow` or `Deny`.
    pub is_allow: bool,
    /// `Principal` or `NotPrincipal`.
    pub principals: Option<Listed<Principal>>,
    /// `Action` or `NotAction`.
    pub actions: Listed<String>,
    /// `Resource` or `NotResource`.
    pub resources: Option<Listed<String>>,
    /// `Condition`
    pub conditions: Vec<Condition>,
}

/// An element and its `Not…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// What is listed.
    pub values: Vec<T>,
    /// Whether it is everything but that.
    pub is_negated: bool,
}

/// One principal of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// `*`: everyone.
    Everyone,
    /// A whole account, by its digits or by the ARN of its root.
    Account(String),
    /// A user, a role or a session, by ARN.
    Arn(String),
    /// A service, as in `lambda.amazonaws.com`.
    Service(String),
    /// A provider of identities.
    Federated(String),
    /// An S3 canonical user.
    CanonicalUser(String),
}

/// How a principal of a policy names a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Through the account, which leaves it to the account's own policies.
    Account,
    /// Through the role whose session the caller is.
    Role,
    /// The caller itself, or everyone.
    Itself,
}

/// Something that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where: a JSON pointer.
    pub pointer: String,
    /// What.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pointer = if self.pointer.is_empty() { "/" } else { &self.pointer };
        write!(f, "{pointer}: {}", self.message)
    }
}

/// Problems as one sentence.
pub fn sentence(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Policy {
    /// Parses a document.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the document.
    pub fn parse(text: &str, kind: Kind) -> Result<Self, Vec<Problem>> {
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) => {
                return Err(vec![Problem { pointer: String::new(), message: format!("is not JSON: {error}") }]);
            }
        };
        let mut reader = Reader { kind, problems: Vec::new() };
        let parsed = reader.document(text, &value);
        if reader.problems.is_empty() { Ok(Self(Arc::new(parsed))) } else { Err(reader.problems) }
    }

    /// The document as it was written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Its language.
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// `Id`
    pub fn id(&self) -> Option<&str> {
        self.0.id.as_deref()
    }

    /// What it says.
    pub fn statements(&self) -> &[Statement] {
        &self.0.statements
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Policy").field(&self.0.text).finish()
    }
}

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Policy {}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

impl<'de> Deserialize<'de> for Policy {
    /// Of any kind: what was kept has been checked.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut problems = Vec::new();
        for kind in [Kind::Identity, Kind::Trust, Kind::Resource] {
            match Self::parse(&text, kind) {
                Ok(policy) => return Ok(policy),
                Err(found) if problems.is_empty() => problems = found,
                Err(_) => {}
            }
        }
        Err(serde::de::Error::custom(sentence(&problems)))
    }
}

impl Statement {
    /// Whether it is about this action.
    pub fn is_about_action(&self, action: &str) -> bool {
        let is_listed = self.actions.values.iter().any(|value| Pattern::plain(value).matches_ignoring_case(action));
        is_listed != self.actions.is_negated
    }

    /// Whether it is about this resource. A statement without resources, as in a trust policy, is about all.
    pub fn is_about_resource(&self, version: Version, resource: &str, context: &Context) -> bool {
        let Some(resources) = &self.resources else { return true };
        let is_listed = resources
            .values
            .iter()
            .any(|value| Pattern::new(value, version, context).is_some_and(|pattern| pattern.matches_arn(resource)));
        is_listed != resources.is_negated
    }

    /// The conditions that do not hold.
    pub fn unmet(&self, version: Version, context: &Context) -> Vec<&Condition> {
        self.conditions.iter().filter(|condition| !condition.holds(version, context)).collect()
    }

    /// How it names who asks, if it does.
    pub fn reach(&self, request: &Request) -> Option<Reach> {
        let Some(principals) = &self.principals else { return Some(Reach::Itself) };
        let reached = principals.values.iter().filter_map(|principal| principal.reach(&request.principal)).max();
        match (principals.is_negated, reached) {
            (false, reached) => reached,
            // Everyone but those who are named, and everyone of an account is but one of them.
            (true, Some(_)) => None,
            (true, None) => Some(Reach::Itself),
        }
    }
}

impl Principal {
    /// How it names a caller, if it does.
    pub fn reach(&self, caller: &Caller) -> Option<Reach> {
        match (self, caller) {
            (Self::Everyone, _) => Some(Reach::Itself),
            (Self::Account(account), Caller::Root { account: own }) => (account == own).then_some(Reach::Itself),
            (Self::Account(account), caller) => {
                caller.account().is_some_and(|own| own == account).then_some(Reach::Account)
            }
            (Self::Arn(arn), Caller::User { arn: own, .. }) => (arn == own).then_some(Reach::Itself),
            (Self::Arn(arn), Caller::Session { role_arn, session, .. }) => {
                if *arn == session_arn(role_arn, session) {
                    Some(Reach::Itself)
                } else {
                    (arn == role_arn).then_some(Reach::Role)
                }
            }
            (Self::Service(name), Caller::Service { name: own }) => (name == own).then_some(Reach::Itself),
            (Self::Federated(name), Caller::Federated { provider }) => (name == provider).then_some(Reach::Itself),
            _ => None,
        }
    }
}

struct Reader {
    kind: Kind,
    problems: Vec<Problem>,
}

const ELEMENTS: [&str; 9] =
    ["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"];

impl Reader {
    fn problem(&mut self, pointer: &str, message: impl Into<String>) {
        self.problems.push(Problem { pointer: pointer.to_owned(), message: message.into() });
    }

    fn document(&mut self, text: &str, value: &Value) -> Parsed {
        let mut parsed = Parsed { text: text.to_owned(), version: Version::V2008, id: None, statements: Vec::new() };
        let Value::Object(document) = value else {
            self.problem("", format!("must be an object, found {}", kind_of(value)));
            return parsed;
        };
        for (name, value) in document {
            let pointer = pointer("", name);
            match name.as_str() {
                "Version" => match value.as_str() {
                    Some("2012-10-17") => parsed.version = Version::V2012,
                    Some("2008-10-17") => {}
                    _ => self.problem(&pointer, format!("must be \"2012-10-17\" or \"2008-10-17\", found {value}")),
                },
                "Id" => match value {
                    Value::String(id) => parsed.id = Some(id.clone()),
                    other => self.problem(&pointer, format!("must be a string, found {}", kind_of(other))),
                },
                "Statement" => {}
                _ => self.problem(&pointer, "is not an element of a policy: Version, Id and Statement are"),
            }
        }
        match document.get("Statement") {
            None => self.problem("", "Statement is missing"),
            Some(Value::Array(statements)) if statements.is_empty() => self.problem("/Statement", "is empty"),
            Some(Value::Array(statements)) => {
                for (index, statement) in statements.iter().enumerate() {
                    parsed.statements.extend(self.statement(&format!("/Statement/{index}"), statement));
                }
            }
            Some(statement) => parsed.statements.extend(self.statement("/Statement", statement)),
        }
        let mut sids: Vec<&str> = parsed.statements.iter().filter_map(|statement| statement.sid.as_deref()).collect();
        sids.sort_unstable();
        if let Some(twice) = sids.windows(2).find(|pair| pair[0] == pair[1]) {
            let message =
                format!("Statement IDs (SID) in a single policy must be unique, {:?} is there twice", twice[0]);
            self.problem("/Statement", message);
        }
        parsed
    }

    fn statement(&mut self, at: &str, value: &Value) -> Option<Statement> {
        let Value::Object(statement) = value else {
            self.problem(at, format!("must be an object, found {}", kind_of(value)));
            return None;
        };
        for name in statement.keys().filter(|name| !ELEMENTS.contains(&name.as_str())) {
            self.problem(&pointer(at, name), format!("is not an element of a statement: {} are", ELEMENTS.join(", ")));
        }
        let sid = match statement.get("Sid") {
            None => None,
            Some(Value::String(sid)) => {
                let is_plain = sid.chars().all(|char| char.is_ascii_alphanumeric());
                // Only what IAM keeps itself is so strict; S3 takes any text in the policies of its buckets.
                if !is_plain && self.kind != Kind::Resource {
                    self.problem(&pointer(at, "Sid"), format!("may have letters and digits only, found {sid:?}"));
                }
                Some(sid.clone()).filter(|sid| !sid.is_empty())
            }
            Some(other) => {
                self.problem(&pointer(at, "Sid"), format!("must be a string, found {}", kind_of(other)));
                None
            }
        };
        let is_allow = match statement.get("Effect").map(Value::as_str) {
            Some(Some("Allow")) => true,
            Some(Some("Deny")) => false,
            Some(_) => {
                self.problem(&pointer(at, "Effect"), format!("must be Allow or Deny, found {}", statement["Effect"]));
                false
            }
            None => {
                self.problem(at, "Effect is missing");
                false
            }
        };
        let principals = self.principals(at, statement);
        let actions = self.listed(at, statement, "Action");
        if actions.is_none() {
            self.problem(at, "Action or NotAction is missing");
        }
        let actions = actions.unwrap_or(Listed { values: Vec::new(), is_negated: false });
        self.check(at, &actions, "Action", action_problem);
        let resources = self.listed(at, statement, "Resource");
        match (&resources, self.kind) {
            (Some(_), Kind::Trust) => self.problem(at, "a trust policy has no Resource: it is about its role"),
            (None, Kind::Identity | Kind::Resource) => self.problem(at, "Resource or NotResource is missing"),
            (Some(resources), _) => self.check(at, resources, "Resource", resource_problem),
            (None, Kind::Trust) => {}
        }
        let conditions = self.conditions(at, statement);
        Some(Statement { sid, is_allow, principals, actions, resources, conditions })
    }

    fn check(&mut self, at: &str, listed: &Listed<String>, name: &str, problem: fn(&str) -> Option<String>) {
        let name = if listed.is_negated { format!("Not{name}") } else { name.to_owned() };
        for value in &listed.values {
            if let Some(message) = problem(value) {
                self.problem(&pointer(at, &name), message);
            }
        }
    }

    /// `name` or `Not` + `name`.
    fn listed(&mut self, at: &str, statement: &Map<String, Value>, name: &str) -> Option<Listed<String>> {
        let negated = format!("Not{name}");
        let (value, is_negated, name) = match (statement.get(name), statement.get(&negated)) {
            (Some(_), Some(_)) => {
                self.problem(at, format!("has {name} and {negated}, expected one of them"));
                return None;
            }
            (Some(value), None) => (value, false, name),
            (None, Some(value)) => (value, true, negated.as_str()),
            (None, None) => return None,
        };
        Some(Listed { values: self.strings(&pointer(at, name), value), is_negated })
    }

    /// A string or a list of strings, at least one.
    fn strings(&mut self, at: &str, value: &Value) -> Vec<String> {
        match value {
            Value::String(text) => vec![text.clone()],
            Value::Array(values) if values.is_empty() => {
                self.problem(at, "is empty");
                Vec::new()
            }
            Value::Array(values) => {
                let mut strings = Vec::with_capacity(values.len());
                for (index, value) in values.iter().enumerate() {
                    match value {
                        Value::String(text) => strings.push(text.clone()),
                        other => self
                            .problem(&format!("{at}/{index}"), format!("must be a string, found {}", kind_of(other))),
                    }
                }
                strings
            }
            other => {
                self.problem(at, format!("must be a string or a list of strings, found {}", kind_of(other)));
                Vec::new()
            }
        }
    }

    fn principals(&mut self, at: &str, statement: &Map<String, Value>) -> Option<Listed<Principal>> {
        let (value, is_negated, name) = match (statement.get("Principal"), statement.get("NotPrincipal")) {
            (Some(_), Some(_)) => {
                self.problem(at, "has Principal and NotPrincipal, expected one of them");
                return None;
            }
            (Some(value), None) => (value, false, "Principal"),
            (None, Some(value)) => (value, true, "NotPrincipal"),
            (None, None) => {
                if self.kind != Kind::Identity {
                    self.problem(at, "Principal or NotPrincipal is missing");
                }
                return None;
            }
        };
        let at = pointer(at, name);
        if self.kind == Kind::Identity {
            self.problem(&at, "Policy document should not specify a principal: it is about whom it is attached to");
        }
        let mut values = Vec::new();
        match value {
            Value::String(text) if text == "*" => values.push(Principal::Everyone),
            Value::Object(by_kind) if !by_kind.is_empty() => {
                for (kind, value) in by_kind {
                    let at = pointer(&at, kind);
                    for text in self.strings(&at, value) {
                        match principal(kind, text) {
                            Ok(principal) => values.push(principal),
                            Err(message) => self.problem(&at, message),
                        }
                    }
                }
            }
            other => self.problem(
                &at,
                format!("must be \"*\" or an object of AWS, Service, Federated or CanonicalUser, found {other}"),
            ),
        }
        Some(Listed { values, is_negated })
    }

    fn conditions(&mut self, at: &str, statement: &Map<String, Value>) -> Vec<Condition> {
        let Some(value) = statement.get("Condition") else { return Vec::new() };
        let at = pointer(at, "Condition");
        let Value::Object(operators) = value else {
            self.problem(&at, format!("must be an object, found {}", kind_of(value)));
            return Vec::new();
        };
        let mut conditions = Vec::new();
        for (name, keys) in operators {
            let at = pointer(&at, name);
            let Some(operator) = Operator::parse(name) else {
                self.problem(&at, "is not a condition operator");
                continue;
            };
            let Value::Object(keys) = keys else {
                self.problem(&at, format!("must be an object of keys, found {}", kind_of(keys)));
                continue;
            };
            for (key, values) in keys {
                let at = pointer(&at, key);
                if key.is_empty() || !key.contains(':') {
                    self.problem(&at, "is not a condition key: expected prefix:name, as in aws:SourceIp");
                }
                let values = self.values(&at, values);
                for value in &values {
                    if let Some(expected) = operator.invalid(value) {
                        self.problem(&at, format!("{expected}, found {value:?}"));
                    }
                }
                conditions.push(Condition { operator, key: key.clone(), values });
            }
        }
        conditions
    }

    /// Values of a condition: strings, numbers and booleans, or lists of them.
    fn values(&mut self, at: &str, value: &Value) -> Vec<String> {
        let list = match value {
            Value::Array(values) => values.as_slice(),
            single => std::slice::from_ref(single),
        };
        let mut texts = Vec::with_capacity(list.len());
        for value in list {
            match value {
                Value::String(text) => texts.push(text.clone()),
                Value::Bool(_) | Value::Number(_) => texts.push(value.to_string()),
                other => self.problem(
                    at,
                    format!("must be a string, a number, a boolean or a list of them, found {}", kind_of(other)),
                ),
            }
        }
        texts
    }
}

fn action_problem(action: &str) -> Option<String> {
    let is_action = action == "*"
        || action.split_once(':').is_some_and(|(service, name)| {
            let is_service = service == "*" || service.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || "*?_-".contains(c));
            is_service && is_name && !service.is_empty() && !name.is_empty()
        });
    (!is_action).then(|| {
        format!("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.; found {action:?}, expected as in \"s3:GetObject\"")
    })
}

fn resource_problem(resource: &str) -> Option<String> {
    if resource == "*" || resource.starts_with("${") {
        return None;
    }
    if !resource.starts_with("arn:") {
        return Some(format!("Resource {resource} must be in ARN format or \"*\"."));
    }
    let fields = resource.splitn(6, ':').count();
    (fields < 6 && !resource.ends_with('*')).then(|| {
        format!("Resource {resource} has {fields} fields, expected 6: arn:partition:service:region:account:resource")
    })
}

fn principal(kind: &str, text: String) -> Result<Principal, String> {
    match kind {
        "AWS" if text == "*" => Ok(Principal::Everyone),
        "AWS" if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Principal::Account(text)),
        "AWS" => {
            let fields: Vec<&str> = text.splitn(6, ':').collect();
            match fields[..] {
                ["arn", _, "iam", "", account, "root"] => Ok(Principal::Account(account.to_owned())),
                ["arn", _, "iam" | "sts", "", _, name] if !name.is_empty() && !text.contains(['*', '?']) => {
                    Ok(Principal::Arn(text))
                }
                // What is left in a policy of a user or role that has been deleted.
                _ if text.starts_with("AIDA") || text.starts_with("AROA") => Ok(Principal::Arn(text)),
                _ => Err(format!("Invalid principal in policy: \"AWS\":\"{text}\"")),
            }
        }
        "Service" if text.contains('.') => Ok(Principal::Service(text)),
        "Federated" if !text.is_empty() => Ok(Principal::Federated(text)),
        "CanonicalUser" => Ok(Principal::CanonicalUser(text)),
        _ => Err(format!("Invalid principal in policy: \"{kind}\":\"{text}\"")),
    }
}

fn pointer(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str, kind: Kind) -> Vec<String> {
        Policy::parse(text, kind).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn everything_that_is_wrong_is_said_with_its_place() {
        let text = r#"{"Version": "2013", "Statement": [
            {"Effect": "allow", "Action": ["s3", "s3:GetObject", 1], "Resource": "sky", "Condition": {"StringIs": {}}},
            {"Effect": "Deny", "Action": "*", "NotAction": "*", "Resource": "*", "Principal": "*",
             "Condition": {"NumericEquals": {"s3:max-keys": "ten"}}, "Extra": 1}
        ]}"#;
        let found = problems(text, Kind::Identity);
        for expected in [
            "/Version: must be",
            "/Statement/0/Effect: must be Allow or Deny, found \"allow\"",
            "/Statement/0/Action/2: must be a string, found a number",
            "/Statement/0/Action: Actions/Conditions must be prefaced by a vendor",
            "/Statement/0/Resource: Resource sky must be in ARN format",
            "/Statement/0/Condition/StringIs: is not a condition operator",
            "/Statement/1/Extra: is not an element",
            "/Statement/1/Principal: Policy document should not specify a principal",
            "/Statement/1: has Action and NotAction",
            "/Statement/1/Condition/NumericEquals/s3:max-keys: expected a number, found \"ten\"",
        ] {
            assert!(found.iter().any(|problem| problem.starts_with(expected)), "{expected} is not among {found:#?}");
        }
        assert!(problems("{", Kind::Identity)[0].starts_with("/: is not JSON"));
        let trust = r#"{"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}}"#;
        assert_eq!(problems(trust, Kind::Trust).len(), 2);
    }

    #[test]
    fn a_document_keeps_its_text() {
        let text = "{ \"Statement\":\n {\"Effect\":\"Allow\",\"Action\":\"s3:*\",\"Resource\":\"*\"}}";
        let policy = Policy::parse(text, Kind::Identity).unwrap();
        assert_eq!(policy.text(), text);
        assert_eq!(policy.version(), Version::V2008);
        let kept = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&kept).unwrap(), policy);
    }
}
