//! Functions and their names.
//!
//! A definition may name a function in every way AWS takes: plain, partial ARN or full ARN, each with or
//! without a qualifier. All of them lead to one [`Function`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The version that is not published yet, and what a name without a qualifier means.
pub const LATEST: &str = "$LATEST";

/// One version of a function: an executable that speaks the Lambda Runtime API, with its limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// Plain name: letters, digits, `-` and `_`.
    pub name: String,
    /// [`LATEST`], or the number of a published version.
    pub version: String,
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// The folder of its code: `LAMBDA_TASK_ROOT`, and where the worker starts. By default the program's folder is
    /// the former, and our own working directory the latter.
    pub task_root: Option<PathBuf>,
    /// Set in the worker's environment, over what it inherits. Lambda's own variables win over these.
    pub environment: Vec<(String, String)>,
    /// Given to the worker as `_HANDLER`.
    pub handler: String,
    /// Resident memory at which a worker is killed, MiB.
    pub memory_mib: u32,
    /// Longest invocation.
    pub timeout: Duration,
    /// Most workers of this function at once, over all its versions. Zero throttles every invocation, as a
    /// reserved concurrency of zero does on Lambda.
    pub concurrency_max: usize,
}

impl Function {
    /// Everything that is wrong with it, a sentence each.
    fn problems(&self) -> Vec<String> {
        let name = &self.name;
        let mut problems = Vec::new();
        if !is_plain(name) {
            problems.push(format!("function {name:?}: a name has letters, digits, - and _ only"));
        }
        if self.version != LATEST
            && (self.version.is_empty() || !self.version.bytes().all(|byte| byte.is_ascii_digit()))
        {
            problems.push(format!("function {name}: version {:?}, expected {LATEST} or a number", self.version));
        }
        if self.command.is_empty() {
            problems.push(format!("function {name}: the command is empty, expected a program and its arguments"));
        }
        if self.memory_mib == 0 {
            problems.push(format!("function {name}: memory is 0 MiB, expected at least 1"));
        }
        if self.timeout.is_zero() {
            problems.push(format!("function {name}: the timeout is 0 s, expected more"));
        }
        problems
    }
}

/// Looks functions up by what a definition calls them. `T` is what is kept of each.
#[derive(Debug)]
pub(crate) struct Names<T> {
    /// Plain name, then version.
    functions: BTreeMap<String, BTreeMap<String, T>>,
    /// Other plain names, each with the function's.
    aliases: BTreeMap<String, String>,
}

impl<T> Names<T> {
    /// Checks the functions and the aliases (extra name, function), naming everything that is wrong.
    pub(crate) fn new<'a>(
        functions: impl IntoIterator<Item = (&'a Function, T)>,
        aliases: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut names = Self { functions: BTreeMap::new(), aliases: BTreeMap::new() };
        for (function, kept) in functions {
            problems.extend(function.problems());
            if names.insert(function, kept).is_some() {
                problems.push(format!("function {}: defined twice", function.name));
            }
        }
        let known = names.known();
        for (alias, function) in aliases {
            let alias = plain(alias);
            if !names.functions.contains_key(function) {
                problems.push(format!("alias {alias}: function {function} does not exist; known: {known}"));
                continue;
            }
            let is_a_function = names.functions.contains_key(alias) && alias != function;
            let before = names.aliases.insert(alias.to_owned(), function.clone());
            if is_a_function || before.is_some_and(|other| other != *function) {
                problems.push(format!("alias {alias}: already the name of another function"));
            }
        }
        if problems.is_empty() { Ok(names) } else { Err(problems) }
    }

    /// Adds a checked function; what was kept of the one in its place.
    ///
    /// # Errors
    /// What is wrong with the function, a sentence each.
    pub(crate) fn put(&mut self, function: &Function, kept: T) -> Result<Option<T>, Vec<String>> {
        let mut problems = function.problems();
        if self.aliases.contains_key(&function.name) {
            problems.push(format!("function {}: already an alias of another function", function.name));
        }
        if problems.is_empty() { Ok(self.insert(function, kept)) } else { Err(problems) }
    }

    fn insert(&mut self, function: &Function, kept: T) -> Option<T> {
        self.functions.entry(function.name.clone()).or_default().insert(function.version.clone(), kept)
    }

    /// Takes a version out, or all of them; what was kept of them.
    pub(crate) fn remove(&mut self, name: &str, version: Option<&str>) -> Vec<T> {
        let Some(versions) = self.functions.get_mut(name) else { return Vec::new() };
        let removed: Vec<T> = match version {
            Some(version) => versions.remove(version).into_iter().collect(),
            None => std::mem::take(versions).into_values().collect(),
        };
        if versions.is_empty() {
            self.functions.remove(name);
        }
        removed
    }

    /// What is kept of the function that `name` means: its version of that number, else the latest one, whatever the
    /// qualifier says. (Lambda's aliases are resolved before, see `starmap-server`.)
    pub(crate) fn resolve(&self, name: &str) -> Option<&T> {
        let (plain, qualifier) = split(name);
        let plain = self.aliases.get(plain).map_or(plain, String::as_str);
        let versions = self.functions.get(plain)?;
        qualifier.and_then(|version| versions.get(version)).or_else(|| versions.get(LATEST))
    }

    /// What is kept of the latest versions, by name.
    pub(crate) fn latest(&self) -> impl Iterator<Item = &T> {
        self.functions.values().filter_map(|versions| versions.get(LATEST))
    }

    /// The functions there are, for a message.
    pub(crate) fn known(&self) -> String {
        self.functions.keys().cloned().collect::<Vec<_>>().join(", ")
    }
}

/// The plain name in a name, a partial ARN or a full ARN; a qualifier is left out.
///
/// ```
/// # use starmap_workers::function::plain;
/// assert_eq!(plain("infer"), "infer");
/// assert_eq!(plain("infer:$LATEST"), "infer");
/// assert_eq!(plain("123456789012:function:infer:PROD"), "infer");
/// assert_eq!(plain("arn:aws:lambda:us-east-1:123456789012:function:infer"), "infer");
/// ```
///
/// # Source
/// docs.aws.amazon.com/lambda/latest/api/API_Invoke.html, `FunctionName`.
pub fn plain(name: &str) -> &str {
    split(name).0
}

/// The plain name and the qualifier in a name, a partial ARN or a full ARN.
///
/// ```
/// # use starmap_workers::function::split;
/// assert_eq!(split("infer"), ("infer", None));
/// assert_eq!(split("arn:aws:lambda:us-east-1:123456789012:function:infer:PROD"), ("infer", Some("PROD")));
/// ```
pub fn split(name: &str) -> (&str, Option<&str>) {
    let after_resource = match name.rsplit_once(":function:") {
        Some((_, rest)) => rest,
        None => name.strip_prefix("function:").unwrap_or(name),
    };
    match after_resource.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (after_resource, None),
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str) -> Function {
        Function {
            name: name.to_owned(),
            version: LATEST.to_owned(),
            command: vec!["bootstrap".into()],
            task_root: None,
            environment: Vec::new(),
            handler: "handler".to_owned(),
            memory_mib: 128,
            timeout: Duration::from_secs(3),
            concurrency_max: 1,
        }
    }

    fn names(aliases: &[(&str, &str)]) -> Result<Names<usize>, Vec<String>> {
        let aliases: Vec<(String, String)> =
            aliases.iter().map(|(alias, name)| (alias.to_string(), name.to_string())).collect();
        let functions = [function("initialize"), function("infer")];
        Names::new(functions.iter().zip(0..), aliases.iter().map(|(alias, name)| (alias, name)))
    }

    #[test]
    fn every_spelling_of_a_name_resolves() {
        let names = names(&[]).unwrap();
        for spelling in [
            "infer",
            "infer:$LATEST",
            "infer:PROD",
            "function:infer",
            "123456789012:function:infer",
            "123456789012:function:infer:7",
            "arn:aws:lambda:us-east-1:123456789012:function:infer",
            "arn:aws:lambda:us-east-1:123456789012:function:infer:$LATEST",
            "arn:aws-cn:lambda:cn-north-1:123456789012:function:infer:v1",
        ] {
            assert_eq!(names.resolve(spelling), Some(&1), "{spelling}");
        }
        for stranger in
            ["", "Infer", "infe", "infer2", "arn:aws:lambda:us-east-1:123456789012:function:other", ":infer"]
        {
            assert_eq!(names.resolve(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn aliases_may_be_plain_or_arns() {
        let names = names(&[
            ("cosmic-ai-inference", "infer"),
            ("arn:aws:lambda:us-east-1:123456789012:function:cosmic-init:$LATEST", "initialize"),
        ])
        .unwrap();
        assert_eq!(names.resolve("arn:aws:lambda:us-west-2:1:function:cosmic-ai-inference:$LATEST"), Some(&1));
        assert_eq!(names.resolve("cosmic-init"), Some(&0));
        assert_eq!(names.known(), "infer, initialize");
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let broken =
            Function { command: Vec::new(), memory_mib: 0, timeout: Duration::ZERO, ..function("in fer/../x") };
        let aliases = [("a".to_owned(), "nobody".to_owned()), ("infer".to_owned(), "initialize".to_owned())];
        let functions = [broken, function("infer"), function("infer"), function("initialize")];
        let problems =
            Names::new(functions.iter().zip(0..), aliases.iter().map(|(alias, name)| (alias, name))).unwrap_err();
        for (problem, expected) in problems.iter().zip([
            "letters, digits",
            "command is empty",
            "memory is 0",
            "timeout is 0",
            "function infer: defined twice",
            "alias a: function nobody does not exist",
            "alias infer: already the name of another function",
        ]) {
            assert!(problem.contains(expected), "{problem} should contain {expected}");
        }
        assert_eq!(problems.len(), 7, "{problems:#?}");
    }

    #[test]
    fn versions_are_found_by_their_number_and_go_one_by_one() {
        let mut names = names(&[]).unwrap();
        let published = Function { version: "3".to_owned(), ..function("infer") };
        assert_eq!(names.put(&published, 3), Ok(None));
        assert_eq!(names.resolve("arn:aws:lambda:us-east-1:123456789012:function:infer:3"), Some(&3));
        assert_eq!(names.resolve("infer:2"), Some(&1), "a qualifier that is no version here is left out");
        assert_eq!(names.put(&published, 4), Ok(Some(3)));
        assert_eq!(names.remove("infer", Some(LATEST)), [1]);
        assert_eq!(names.resolve("infer"), None);
        assert_eq!(names.remove("infer", None), [4]);
        assert_eq!(names.known(), "initialize");
        let broken = Function { version: "live".to_owned(), ..function("infer") };
        assert!(names.put(&broken, 5).unwrap_err()[0].contains("version \"live\""));
    }
}
