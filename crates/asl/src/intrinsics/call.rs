//! A parsed call and its evaluation.

use std::borrow::Cow;

use serde_json::Value;

use super::{arrays, encoding, json, math, strings};
use crate::expression::{Environment, Variable};
use crate::jsonpath::JsonPath;
use crate::random::Random;

/// `States.Name(argument, …)`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(super) text: String,
    pub(super) function: Function,
    pub(super) arguments: Vec<Argument>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Argument {
    /// A quoted text. `raw` keeps its escapes, which `States.Format` needs to tell `\{` from `{`.
    Text {
        value: String,
        raw: String,
    },
    /// A number, true, false or null.
    Literal(Value),
    /// `$…`: from the input.
    Path(JsonPath),
    /// `$$…`: from the context object. The path is stored with one `$`.
    Context(JsonPath),
    /// `$name…`: from a workflow variable.
    Variable(Variable),
    Call(Call),
}

/// Why a call gave no value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    /// An argument's path points at nothing.
    PathNotFound { function: String, path: String, input: String },
    /// The function cannot work with its arguments.
    Function { function: String, problem: String },
}

macro_rules! functions {
    ($($variant:ident $name:literal $least:literal ..= $most:expr;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Function { $($variant),* }

        impl Function {
            pub(super) const ALL: &[Function] = &[$(Function::$variant),*];

            pub(super) fn name(self) -> &'static str {
                match self { $(Function::$variant => concat!("States.", $name)),* }
            }

            /// Fewest and most arguments.
            pub(super) fn arity(self) -> (usize, usize) {
                match self { $(Function::$variant => ($least, $most)),* }
            }
        }
    };
}

functions! {
    Format "Format" 1 ..= usize::MAX;
    StringToJson "StringToJson" 1 ..= 1;
    JsonToString "JsonToString" 1 ..= 1;
    Array "Array" 0 ..= usize::MAX;
    ArrayPartition "ArrayPartition" 2 ..= 2;
    ArrayContains "ArrayContains" 2 ..= 2;
    ArrayRange "ArrayRange" 3 ..= 3;
    ArrayGetItem "ArrayGetItem" 2 ..= 2;
    ArrayLength "ArrayLength" 1 ..= 1;
    ArrayUnique "ArrayUnique" 1 ..= 1;
    Base64Encode "Base64Encode" 1 ..= 1;
    Base64Decode "Base64Decode" 1 ..= 1;
    Hash "Hash" 2 ..= 2;
    JsonMerge "JsonMerge" 3 ..= 3;
    MathRandom "MathRandom" 2 ..= 3;
    MathAdd "MathAdd" 2 ..= 2;
    StringSplit "StringSplit" 2 ..= 2;
    Uuid "UUID" 0 ..= 0;
}

impl Call {
    /// The call as written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Names the workflow variables that are read.
    pub(crate) fn variables(&self, note: &mut dyn FnMut(&str)) {
        for argument in &self.arguments {
            match argument {
                Argument::Variable(variable) => note(&variable.name),
                Argument::Call(call) => call.variables(note),
                Argument::Text { .. } | Argument::Literal(_) | Argument::Path(_) | Argument::Context(_) => {}
            }
        }
    }

    pub(crate) fn evaluate(&self, environment: &mut Environment<'_>) -> Result<Value, Failure> {
        let mut values = Vec::with_capacity(self.arguments.len());
        for argument in &self.arguments {
            values.push(match argument {
                Argument::Text { value, .. } => Value::String(value.clone()),
                Argument::Literal(value) => value.clone(),
                Argument::Path(path) => {
                    let found = path.query(environment.input).ok();
                    self.found(found, || (path.to_string(), environment.input.to_string()))?
                }
                Argument::Context(path) => {
                    let found = environment.context.query(path).ok();
                    self.found(found, || (format!("${path}"), environment.context.value().to_string()))?
                }
                Argument::Variable(variable) => {
                    let found = variable.query(environment.variables).ok();
                    self.found(found, || (variable.to_string(), environment.input.to_string()))?
                }
                Argument::Call(call) => call.evaluate(environment)?,
            });
        }
        self.apply(values, environment.random)
            .map_err(|problem| Failure::Function { function: self.text.clone(), problem })
    }

    fn found(&self, found: Option<Cow<'_, Value>>, told: impl FnOnce() -> (String, String)) -> Result<Value, Failure> {
        match found {
            Some(value) => Ok(value.into_owned()),
            None => {
                let (path, input) = told();
                Err(Failure::PathNotFound { function: self.text.clone(), path, input })
            }
        }
    }

    fn apply(&self, values: Vec<Value>, random: &mut Random) -> Result<Value, String> {
        match (self.function, values.as_slice()) {
            (Function::Format, [template, arguments @ ..]) => {
                let raw = match self.arguments.first() {
                    Some(Argument::Text { raw, .. }) => raw,
                    _ => strings::text(template, "the template")?,
                };
                strings::format(raw, arguments)
            }
            (Function::StringSplit, [text, separators]) => strings::split(text, separators),
            (Function::StringToJson, [text]) => json::from_text(text),
            (Function::JsonToString, [value]) => Ok(value.to_string().into()),
            (Function::JsonMerge, [first, second, deep]) => json::merge(first, second, deep),
            (Function::Array, values) => Ok(values.to_vec().into()),
            (Function::ArrayPartition, [array, size]) => arrays::partition(array, size),
            (Function::ArrayContains, [array, item]) => arrays::contains(array, item),
            (Function::ArrayRange, [first, last, step]) => arrays::range(first, last, step),
            (Function::ArrayGetItem, [array, index]) => arrays::get_item(array, index),
            (Function::ArrayLength, [array]) => arrays::length(array),
            (Function::ArrayUnique, [array]) => arrays::unique(array),
            (Function::Base64Encode, [text]) => encoding::base64_encode(text),
            (Function::Base64Decode, [text]) => encoding::base64_decode(text),
            (Function::Hash, [text, algorithm]) => encoding::hash(text, algorithm),
            (Function::MathAdd, [a, b]) => math::add(a, b),
            (Function::MathRandom, [start, end]) => math::random(start, end, random),
            (Function::MathRandom, [start, end, seed]) => {
                let mut seeded = Random::new(math::integer(seed, "the seed")? as u64);
                math::random(start, end, &mut seeded)
            }
            (Function::Uuid, []) => Ok(random.uuid().into()),
            (function, values) => Err(format!("{} does not take {} arguments", function.name(), values.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::parse;
    use super::*;
    use crate::testing::in_environment;

    fn check(text: &str, input: &Value, expected: Value) {
        let call = parse(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
        assert_eq!(in_environment(input, |environment| call.evaluate(environment)), Ok(expected), "{text}");
    }

    fn fails(text: &str, input: &Value) -> Failure {
        let call = parse(text).unwrap();
        in_environment(input, |environment| call.evaluate(environment)).unwrap_err()
    }

    #[test]
    fn formats() {
        let input = json!({"name": "Ada", "n": 3, "list": [1], "null": null});
        check("States.Format('Hello {}, {} {}!', $.name, $.n, $.list)", &input, json!("Hello Ada, 3 [1]!"));
        check(r"States.Format('\{{}\} it\'s {} \\', 1, $.null)", &input, json!(r"{1} it's null \"));
        check("States.Format('{}', $$.Execution.Name)", &input, json!("run-1"));
        check("States.Format('no holes')", &input, json!("no holes"));
        assert!(matches!(fails("States.Format('{}')", &input), Failure::Function { .. }));
        assert!(matches!(fails("States.Format('{}', 1, 2)", &input), Failure::Function { .. }));
    }

    #[test]
    fn nests() {
        let input = json!({"s": "a-b-c"});
        check("States.ArrayGetItem(States.StringSplit($.s, '-'), States.MathAdd(0, 1))", &input, json!("b"));
    }

    #[test]
    fn arrays() {
        let input = json!({"a": [1, 2, 3, 4, 5, 1, 1.0, "1"]});
        check("States.Array('x', 1, null, true)", &input, json!(["x", 1, null, true]));
        check("States.Array()", &input, json!([]));
        check("States.ArrayPartition($.a, 3)", &input, json!([[1, 2, 3], [4, 5, 1], [1.0, "1"]]));
        check("States.ArrayContains($.a, 5.0)", &input, json!(true));
        check("States.ArrayContains($.a, '5')", &input, json!(false));
        check("States.ArrayRange(1, 9, 2)", &input, json!([1, 3, 5, 7, 9]));
        check("States.ArrayRange(3, 1, -1)", &input, json!([3, 2, 1]));
        check("States.ArrayLength($.a)", &input, json!(8));
        check("States.ArrayUnique($.a)", &input, json!([1, 2, 3, 4, 5, "1"]));
        for text in [
            "States.ArrayGetItem($.a, 8)",
            "States.ArrayGetItem($.a, -1)",
            "States.ArrayPartition($.a, 0)",
            "States.ArrayRange(0, 5, 0)",
            "States.ArrayRange(0, 5000, 1)",
            "States.ArrayLength('a')",
        ] {
            assert!(matches!(fails(text, &input), Failure::Function { .. }), "{text}");
        }
    }

    #[test]
    fn encodings_and_hashes() {
        let input = json!({});
        check("States.Base64Encode('Data to encode')", &input, json!("RGF0YSB0byBlbmNvZGU="));
        check("States.Base64Decode('RGF0YSB0byBlbmNvZGU=')", &input, json!("Data to encode"));
        check("States.Base64Encode('')", &input, json!(""));
        // Digests of "abc" from RFC 1321 and FIPS 180-4.
        check("States.Hash('abc', 'MD5')", &input, json!("900150983cd24fb0d6963f7d28e17f72"));
        check("States.Hash('abc', 'SHA-1')", &input, json!("a9993e364706816aba3e25717850c26c9cd0d89d"));
        check(
            "States.Hash('abc', 'SHA-256')",
            &input,
            json!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        );
        assert!(matches!(fails("States.Hash('abc', 'CRC32')", &input), Failure::Function { .. }));
        assert!(matches!(fails("States.Base64Decode('?')", &input), Failure::Function { .. }));
    }

    #[test]
    fn json() {
        let input = json!({"a": {"x": {"p": 1}, "y": 2}, "b": {"x": {"q": 1}, "z": 3}, "s": "{\"k\": [1]}"});
        check("States.JsonMerge($.a, $.b, false)", &input, json!({"x": {"q": 1}, "y": 2, "z": 3}));
        check("States.StringToJson($.s)", &input, json!({"k": [1]}));
        check("States.JsonToString($.a)", &input, json!("{\"x\":{\"p\":1},\"y\":2}"));
        assert!(matches!(fails("States.JsonMerge($.a, $.b, true)", &input), Failure::Function { .. }));
        assert!(matches!(fails("States.StringToJson('{')", &input), Failure::Function { .. }));
    }

    /// Every row is from AWS's recorded `test_math_add`.
    #[test]
    fn adds_as_aws_does_rounding_each_half_up() {
        for (a, b, sum) in [
            (json!(-9), json!(3), -6),
            (json!(1.49), json!(1.5), 3),
            (json!(1.5), json!(1.51), 4),
            (json!(-1.49), json!(-1.5), -2),
            (json!(-1.5), json!(-1.51), -3),
            (json!(-0.5), json!(0.5), 1),
            (json!(-2.5), json!(0), -2),
        ] {
            check("States.MathAdd($.a, $.b)", &json!({"a": a, "b": b}), json!(sum));
        }
    }

    /// From AWS's recorded `test_string_split`: any of the separators splits, and empty parts are dropped.
    #[test]
    fn splits_at_any_of_the_characters() {
        check(
            "States.StringSplit('This.is+a,test=string', '.+,=')",
            &json!({}),
            json!(["This", "is", "a", "test", "string"]),
        );
        check("States.StringSplit('a,,b,', ',')", &json!({}), json!(["a", "b"]));
    }

    #[test]
    fn random_numbers_stay_in_range_and_follow_the_seed() {
        for seed in 0..100 {
            let call = parse(&format!("States.MathRandom(3, 5, {seed})")).unwrap();
            let draw = || in_environment(&json!({}), |environment| call.evaluate(environment)).unwrap();
            assert!([json!(3), json!(4)].contains(&draw()));
            assert_eq!(draw(), draw());
        }
    }

    #[test]
    fn a_missing_argument_says_which() {
        assert_eq!(
            fails("States.Format('{}', $.x)", &json!({"y": 1})),
            Failure::PathNotFound {
                function: "States.Format('{}', $.x)".to_owned(),
                path: "$.x".to_owned(),
                input: "{\"y\":1}".to_owned(),
            }
        );
    }
}
