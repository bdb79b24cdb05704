//! What can go wrong, in the words of the reference implementation.
//!
//! AWS shows these messages, so the codes and the templates are jsonata.js 2.0.6's (facts of the language, MIT).

use std::fmt;

/// The bounds of an evaluation have no code of their own in what AWS shows.
const LIMIT: &str = "U1001";

/// An expression that could not be read or evaluated.
///
/// Displays as AWS shows it: `T2001: The left side of the "+" operator must evaluate to a number`. A bound that was
/// reached ([`Error::is_limit`]) has no code in front, and AWS joins it to its sentence with `: ` in place of `. `.
#[derive(Clone, PartialEq)]
pub struct Error(Box<Inner>);

#[derive(Clone, PartialEq)]
struct Inner {
    code: &'static str,
    /// Where in the expression, in characters, just behind what was read last; unknown until a call has been left.
    position: Option<usize>,
    token: Option<String>,
    /// What the template's other placeholders stand for, as they are shown.
    details: Vec<(&'static str, String)>,
}

impl Error {
    pub(crate) fn new(code: &'static str) -> Error {
        Error(Box::new(Inner { code, position: None, token: None, details: Vec::new() }))
    }

    pub(crate) fn stack_overflow() -> Error {
        Error::new(LIMIT).detail(
            "limit",
            "Stack overflow error: Check for non-terminating recursive function. Consider rewriting as tail-recursive",
        )
    }

    pub(crate) fn too_much_memory() -> Error {
        Error::new(LIMIT)
            .detail("limit", "Expression evaluation memory limit exceeded: Check for excessive memory usage")
    }

    pub(crate) fn too_many_steps() -> Error {
        Error::new(LIMIT).detail("limit", "Expression evaluation timeout: Check for infinite loop")
    }

    pub(crate) fn at(mut self, position: usize) -> Error {
        self.0.position.get_or_insert(position);
        self
    }

    pub(crate) fn token(mut self, token: &str) -> Error {
        self.0.token.get_or_insert_with(|| token.to_owned());
        self
    }

    /// The template's `{{value}}`, already written as JSON.
    pub(crate) fn value(self, json: impl Into<String>) -> Error {
        self.detail("value", json)
    }

    pub(crate) fn detail(mut self, name: &'static str, shown: impl Into<String>) -> Error {
        self.0.details.push((name, shown.into()));
        self
    }

    /// The code of the reference implementation, such as `T2001`; `U1001` for a bound.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// Where in the expression, in characters from its start; 0 where that is unknown.
    pub fn position(&self) -> usize {
        self.0.position.unwrap_or(0)
    }

    /// The operator, function or symbol it is about.
    pub fn token_text(&self) -> Option<&str> {
        self.0.token.as_deref()
    }

    /// Whether a bound of this engine was reached: depth, steps or memory.
    pub fn is_limit(&self) -> bool {
        self.0.code == LIMIT
    }

    /// The message without the code, as AWS shows it for a definition that it refuses.
    pub fn message(&self) -> String {
        let mut message = String::new();
        let mut rest = template(self.0.code);
        while let Some(start) = rest.find("{{") {
            message.push_str(&rest[..start]);
            let (raw, open) = if rest[start..].starts_with("{{{") { (true, 3) } else { (false, 2) };
            let name = &rest[start + open..];
            let end = name.find('}').unwrap_or(name.len());
            self.fill(&name[..end], raw, &mut message);
            rest = name.get(end + open..).unwrap_or_default();
        }
        message.push_str(rest);
        message
    }

    fn fill(&self, name: &str, raw: bool, message: &mut String) {
        if name == "token" {
            let token = self.0.token.as_deref().unwrap_or_default();
            message.push_str(&if raw { token.to_owned() } else { quoted(token) });
        } else if let Some((_, shown)) = self.0.details.iter().find(|(other, _)| *other == name) {
            message.push_str(shown);
        }
    }
}

/// A text as JSON writes it.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_limit() { f.write_str(&self.message()) } else { write!(f, "{}: {}", self.0.code, self.message()) }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} (at {})", self.position())
    }
}

impl std::error::Error for Error {}

fn template(code: &str) -> &'static str {
    match code {
        "S0101" => "String literal must be terminated by a matching quote",
        "S0102" => "Number out of range: {{token}}",
        "S0103" => "Unsupported escape sequence: \\{{token}}",
        "S0104" => "The escape sequence \\u must be followed by 4 hex digits",
        "S0105" => "Quoted property name must be terminated with a backquote (`)",
        "S0106" => "Comment has no closing tag",
        "S0201" => "Syntax error: {{token}}",
        "S0202" => "Expected {{value}}, got {{token}}",
        "S0203" => "Expected {{value}} before end of expression",
        "S0204" => "Unknown operator: {{token}}",
        "S0205" => "Unexpected token: {{token}}",
        "S0206" => "Unknown expression type: {{token}}",
        "S0207" => "Unexpected end of expression",
        "S0208" => "Parameter {{value}} of function definition must be a variable name (start with $)",
        "S0209" => "A predicate cannot follow a grouping expression in a step",
        "S0210" => "Each step can only have one grouping expression",
        "S0211" => "The symbol {{token}} cannot be used as a unary operator",
        "S0212" => "The left side of := must be a variable name (start with $)",
        "S0213" => "The literal value {{value}} cannot be used as a step within a path expression",
        "S0214" => "The right side of {{token}} must be a variable name (start with $)",
        "S0215" => "A context variable binding must precede any predicates on a step",
        "S0216" => "A context variable binding must precede the 'order-by' clause on a step",
        "S0217" => "The object representing the 'parent' cannot be derived from this expression",
        "S0301" => "Empty regular expressions are not allowed",
        "S0302" => "No terminating / in regular expression",
        "S0402" => "Choice groups containing parameterized types are not supported",
        "S0401" => "Type parameters can only be applied to functions and arrays",
        "T0410" => "Argument {{index}} of function {{token}} does not match function signature",
        "T0411" => "Context value is not a compatible type with argument {{index}} of function {{token}}",
        "T0412" => "Argument {{index}} of function {{token}} must be an array of {{type}}",
        "D1001" => "Number out of range: {{value}}",
        "D1002" => "Cannot negate a non-numeric value: {{value}}",
        "T1003" => "Key in object structure must evaluate to a string; got: {{value}}",
        "D1004" => "Regular expression matches zero length string",
        "T1005" => "Attempted to invoke a non-function. Did you mean ${{{token}}}?",
        "T1006" => "Attempted to invoke a non-function",
        "T1007" => "Attempted to partially apply a non-function. Did you mean ${{{token}}}?",
        "T1008" => "Attempted to partially apply a non-function",
        "D1009" => "Multiple key definitions evaluate to same key: {{value}}",
        "T1010" => {
            "The matcher function argument passed to function {{token}} does not return the correct object structure"
        }
        "T2001" => "The left side of the {{token}} operator must evaluate to a number",
        "T2002" => "The right side of the {{token}} operator must evaluate to a number",
        "T2003" => "The left side of the range operator (..) must evaluate to an integer",
        "T2004" => "The right side of the range operator (..) must evaluate to an integer",
        "T2006" => "The right side of the function application operator ~> must be a function",
        "T2007" => "Type mismatch when comparing values {{value}} and {{value2}} in order-by clause",
        "T2008" => "The expressions within an order-by clause must evaluate to numeric or string values",
        "T2009" => {
            "The values {{value}} and {{value2}} either side of operator {{token}} must be of the same data type"
        }
        "T2010" => "The expressions either side of operator {{token}} must evaluate to numeric or string values",
        "T2011" => "The insert/update clause of the transform expression must evaluate to an object: {{value}}",
        "T2012" => {
            "The delete clause of the transform expression must evaluate to a string or array of strings: {{value}}"
        }
        "T2013" => {
            "The transform expression clones the input object using the $clone() function.  This has been overridden in the current scope by a non-function."
        }
        "D2014" => {
            "The size of the sequence allocated by the range operator (..) must not exceed 1e6.  Attempted to allocate {{value}}."
        }
        "D3001" => "Attempting to invoke string function on Infinity or NaN",
        "D3010" => "Second argument of replace function cannot be an empty string",
        "D3011" => "Fourth argument of replace function must evaluate to a positive number",
        "D3012" => "Attempted to replace a matched string with a non-string value",
        "D3020" => "Third argument of split function must evaluate to a positive number",
        "D3030" => "Unable to cast value to a number: {{value}}",
        "D3040" => "Third argument of match function must evaluate to a positive number",
        "D3050" => "The second argument of reduce function must be a function with at least two arguments",
        "D3060" => "The sqrt function cannot be applied to a negative number: {{value}}",
        "D3061" => {
            "The power function has resulted in a value that cannot be represented as a JSON number: base={{value}}, exponent={{exp}}"
        }
        "D3070" => {
            "The single argument form of the sort function can only be applied to an array of strings or an array of numbers.  Use the second argument to specify a comparison function"
        }
        "D3080" => "The picture string must only contain a maximum of two sub-pictures",
        "D3081" => "The sub-picture must not contain more than one instance of the 'decimal-separator' character",
        "D3082" => "The sub-picture must not contain more than one instance of the 'percent' character",
        "D3083" => "The sub-picture must not contain more than one instance of the 'per-mille' character",
        "D3084" => "The sub-picture must not contain both a 'percent' and a 'per-mille' character",
        "D3085" => {
            "The mantissa part of a sub-picture must contain at least one character that is either an 'optional digit character' or a member of the 'decimal digit family'"
        }
        "D3086" => {
            "The sub-picture must not contain a passive character that is preceded by an active character and that is followed by another active character"
        }
        "D3087" => {
            "The sub-picture must not contain a 'grouping-separator' character that appears adjacent to a 'decimal-separator' character"
        }
        "D3088" => "The sub-picture must not contain a 'grouping-separator' at the end of the integer part",
        "D3089" => "The sub-picture must not contain two adjacent instances of the 'grouping-separator' character",
        "D3090" => {
            "The integer part of the sub-picture must not contain a member of the 'decimal digit family' that is followed by an instance of the 'optional digit character'"
        }
        "D3091" => {
            "The fractional part of the sub-picture must not contain an instance of the 'optional digit character' that is followed by a member of the 'decimal digit family'"
        }
        "D3092" => {
            "A sub-picture that contains a 'percent' or 'per-mille' character must not contain a character treated as an 'exponent-separator'"
        }
        "D3093" => {
            "The exponent part of the sub-picture must comprise only of one or more characters that are members of the 'decimal digit family'"
        }
        "D3100" => "The radix of the formatBase function must be between 2 and 36.  It was given {{value}}",
        "D3110" => "The argument of the toMillis function must be an ISO 8601 formatted timestamp. Given {{value}}",
        "D3130" => {
            "Formatting or parsing an integer as a sequence starting with {{value}} is not supported by this implementation"
        }
        "D3131" => "In a decimal digit pattern, all digits must be from the same decimal group",
        "D3132" => "Unknown component specifier {{value}} in date/time picture string",
        "D3133" => {
            "The 'name' modifier can only be applied to months and days in the date/time picture string, not {{value}}"
        }
        "D3134" => "The timezone integer format specifier cannot have more than four digits",
        "D3135" => "No matching closing bracket ']' in date/time picture string",
        "D3136" => "The date/time picture string is missing specifiers required to parse the timestamp",
        "D3137" => "{{{message}}}",
        "D3138" => "The $single() function expected exactly 1 matching result.  Instead it matched more.",
        "D3139" => "The $single() function expected exactly 1 matching result.  Instead it matched 0.",
        "D3140" => "Malformed URL passed to ${{{functionName}}}(): {{value}}",
        "D3141" => "{{{message}}}",
        _ => "{{{limit}}}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_as_the_reference_fills_them() {
        let error = Error::new("T0410").token("abs").detail("index", "1");
        assert_eq!(error.to_string(), "T0410: Argument 1 of function \"abs\" does not match function signature");
        let error = Error::new("T1005").token("sum");
        assert_eq!(error.message(), "Attempted to invoke a non-function. Did you mean $sum?");
        assert_eq!(Error::new("D3137").detail("message", "x").message(), "x");
        assert_eq!(Error::too_many_steps().to_string(), "Expression evaluation timeout: Check for infinite loop");
    }
}
