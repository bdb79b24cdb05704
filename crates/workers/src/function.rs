//! Functions and their names.
//!
//! A definition may name a function in every way AWS takes: plain, partial ARN or full ARN, each with or
//! without a qualifier. All of them lead to one [`Function`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

/// A function: an executable that speaks the Lambda Runtime API, with its limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// Plain name: letters, digits, `-` and `_`.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// Set in the worker's environment, over what it inherits. Lambda's own variables win over these.
    pub environment: Vec<(String, String)>,
    /// Given to the worker as `_HANDLER`.
    pub handler: String,
    /// Resident memory at which a worker is killed, MiB.
    pub memory_mib: u32,
    /// Longest invocation.
    pub timeout: Duration,
    /// Most workers of this function at once. Zero throttles every invocation, as a reserved concurrency
    /// of zero does on Lambda.
    pub concurrency_max: usize,
}

/// Looks functions up by what a definition calls them.
#[derive(Debug)]
pub(crate) struct Names {
    /// Plain names and aliases, each with the function's index.
    index: BTreeMap<String, usize>,
    /// For messages.
    known: String,
}

impl Names {
    /// Checks the functions and the aliases (extra name, function), naming everything that is wrong.
    pub(crate) fn new<'a>(
        functions: &[Function],
        aliases: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut index = BTreeMap::new();
        for (position, function) in functions.iter().enumerate() {
            let name = &function.name;
            if !is_plain(name) {
                problems.push(format!("function {name:?}: a name has letters, digits, - and _ only"));
            }
            if function.command.is_empty() {
                problems.push(format!("function {name}: the command is empty, expected a program and its arguments"));
            }
            if function.memory_mib == 0 {
                problems.push(format!("function {name}: memory is 0 MiB, expected at least 1"));
            }
            if function.timeout.is_zero() {
                problems.push(format!("function {name}: the timeout is 0 s, expected more"));
            }
            if index.insert(name.clone(), position).is_some() {
                problems.push(format!("function {name}: defined twice"));
            }
        }
        let known = index.keys().cloned().collect::<Vec<_>>().join(", ");
        for (alias, function) in aliases {
            match index.get(function).copied() {
                None => problems.push(format!("alias {alias}: function {function} does not exist; known: {known}")),
                Some(position) => {
                    if index.insert(plain(alias).to_owned(), position).is_some_and(|other| other != position) {
                        problems.push(format!("alias {alias}: already the name of another function"));
                    }
                }
            }
        }
        if problems.is_empty() { Ok(Self { index, known }) } else { Err(problems) }
    }

    /// The position of the function that `name` means.
    pub(crate) fn resolve(&self, name: &str) -> Option<usize> {
        self.index.get(plain(name)).copied()
    }

    /// The functions there are, for a message.
    pub(crate) fn known(&self) -> &str {
        &self.known
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
    let after_resource = match name.rsplit_once(":function:") {
        Some((_, rest)) => rest,
        None => name.strip_prefix("function:").unwrap_or(name),
    };
    after_resource.split_once(':').map_or(after_resource, |(name, _qualifier)| name)
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
            command: vec!["bootstrap".into()],
            environment: Vec::new(),
            handler: "handler".to_owned(),
            memory_mib: 128,
            timeout: Duration::from_secs(3),
            concurrency_max: 1,
        }
    }

    fn names(aliases: &[(&str, &str)]) -> Result<Names, Vec<String>> {
        let aliases: Vec<(String, String)> =
            aliases.iter().map(|(alias, name)| (alias.to_string(), name.to_string())).collect();
        Names::new(&[function("initialize"), function("infer")], aliases.iter().map(|(alias, name)| (alias, name)))
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
            assert_eq!(names.resolve(spelling), Some(1), "{spelling}");
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
        assert_eq!(names.resolve("arn:aws:lambda:us-west-2:1:function:cosmic-ai-inference:$LATEST"), Some(1));
        assert_eq!(names.resolve("cosmic-init"), Some(0));
        assert_eq!(names.known(), "infer, initialize");
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let broken =
            Function { command: Vec::new(), memory_mib: 0, timeout: Duration::ZERO, ..function("in fer/../x") };
        let aliases = [("a".to_owned(), "nobody".to_owned()), ("infer".to_owned(), "initialize".to_owned())];
        let problems = Names::new(
            &[broken, function("infer"), function("infer"), function("initialize")],
            aliases.iter().map(|(alias, name)| (alias, name)),
        )
        .unwrap_err();
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
}
