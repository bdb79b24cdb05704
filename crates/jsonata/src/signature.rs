//! Signatures of functions: `<s-n?:b>` and what they do to arguments.

use crate::error::{Error, quoted};
use crate::value::Value;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Signature {
    parameters: Vec<Parameter>,
}

#[derive(Clone, Debug, PartialEq)]
struct Parameter {
    /// The letters of [`letter`] that it takes.
    takes: String,
    /// `a`: what is not an array becomes one.
    is_array: bool,
    /// The only type of the array's elements.
    element: Option<String>,
    /// `-`: the context stands in when it is missing.
    is_context: bool,
    quantifier: Quantifier,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Quantifier {
    One,
    Optional,
    Many,
}

impl Signature {
    /// Reads `<…>`.
    ///
    /// # Errors
    /// S0401 and S0402, without a position.
    pub(crate) fn parse(text: &str) -> Result<Signature, Error> {
        let chars: Vec<char> = text.chars().collect();
        let mut parameters: Vec<Parameter> = Vec::new();
        let mut index = 1;
        while let Some(&char) = chars.get(index) {
            let parameter = |takes: String, is_array| Parameter {
                takes,
                is_array,
                element: None,
                is_context: false,
                quantifier: Quantifier::One,
            };
            match char {
                ':' => break,
                's' | 'n' | 'b' | 'l' | 'o' => parameters.push(parameter(format!("{char}m"), false)),
                'a' => parameters.push(parameter("asnblfom".to_owned(), true)),
                'f' => parameters.push(parameter("f".to_owned(), false)),
                'j' => parameters.push(parameter("asnblom".to_owned(), false)),
                'x' => parameters.push(parameter("asnblfom".to_owned(), false)),
                '-' | '?' | '+' => {
                    if let Some(last) = parameters.last_mut() {
                        last.is_context |= char == '-';
                        last.quantifier = if char == '+' { Quantifier::Many } else { Quantifier::Optional };
                    }
                }
                '(' => {
                    let end = closing(&chars, index, '(', ')');
                    let choice: String = chars[index + 1..end].iter().collect();
                    if choice.contains('<') {
                        return Err(Error::new("S0402").value(quoted(&choice)));
                    }
                    parameters.push(parameter(format!("{choice}m"), false));
                    index = end;
                }
                '<' => {
                    let end = closing(&chars, index, '<', '>');
                    let element: String = chars[index + 1..end].iter().collect();
                    match parameters.last_mut() {
                        Some(last) if last.is_array => last.element = Some(element),
                        Some(last) if last.takes == "f" => {}
                        _ => return Err(Error::new("S0401").value(quoted(&element))),
                    }
                    index = end;
                }
                _ => {}
            }
            index += 1;
        }
        Ok(Signature { parameters })
    }

    /// Checks arguments, puts the context where one is missing, and makes arrays of what should be one.
    ///
    /// # Errors
    /// T0410, T0411 and T0412, without a position or the function's name.
    pub(crate) fn apply<'v>(&self, arguments: Vec<Value<'v>>, context: &Value<'v>) -> Result<Vec<Value<'v>>, Error> {
        let supplied: Vec<char> = arguments.iter().map(letter).collect();
        let Some(counts) = self.assign(0, &supplied) else { return Err(self.mismatch(&arguments, &supplied)) };
        let mut checked = Vec::with_capacity(arguments.len().max(self.parameters.len()));
        let mut arguments = arguments.into_iter();
        let mut index = 0;
        for (parameter, count) in self.parameters.iter().zip(counts) {
            if count == 0 {
                checked.push(match parameter.is_context {
                    false => Value::Undefined,
                    true if parameter.takes.contains(letter(context)) => context.clone(),
                    true => return Err(Error::new("T0411").detail("index", (index + 1).to_string())),
                });
            }
            for argument in arguments.by_ref().take(count) {
                index += 1;
                checked.push(if parameter.is_array { parameter.as_array(argument, index)? } else { argument });
            }
        }
        Ok(checked)
    }

    /// How many arguments each parameter takes: as many as it can, as few as the rest needs.
    fn assign(&self, from: usize, supplied: &[char]) -> Option<Vec<usize>> {
        let parameters = &self.parameters[from..];
        // fits[p][s]: the parameters from `p` on can take exactly the arguments from `s` on.
        let mut fits = vec![vec![false; supplied.len() + 2]; parameters.len() + 1];
        fits[parameters.len()][supplied.len()] = true;
        for (p, parameter) in parameters.iter().enumerate().rev() {
            for s in (0..=supplied.len()).rev() {
                let takes = supplied.get(s).is_some_and(|letter| parameter.takes.contains(*letter));
                fits[p][s] = match parameter.quantifier {
                    Quantifier::One => takes && fits[p + 1][s + 1],
                    Quantifier::Optional => takes && fits[p + 1][s + 1] || fits[p + 1][s],
                    Quantifier::Many => takes && (fits[p][s + 1] || fits[p + 1][s + 1]),
                };
            }
        }
        if !fits[0][0] {
            return None;
        }
        let mut counts = Vec::with_capacity(parameters.len());
        let mut s = 0;
        for (p, parameter) in parameters.iter().enumerate() {
            let start = s;
            let takes = |s: usize| supplied.get(s).is_some_and(|letter| parameter.takes.contains(*letter));
            match parameter.quantifier {
                Quantifier::Optional if !(takes(s) && fits[p + 1][s + 1]) => {}
                Quantifier::Many => {
                    while fits[p][s + 1] {
                        s += 1;
                    }
                    s += 1;
                }
                _ => s += 1,
            }
            counts.push(s - start);
        }
        Some(counts)
    }

    /// Names the first argument that cannot be taken, by how far the parameters go from the left.
    fn mismatch(&self, arguments: &[Value<'_>], supplied: &[char]) -> Error {
        let mut reached = vec![false; supplied.len() + 1];
        reached[0] = true;
        let mut good = 0;
        for parameter in &self.parameters {
            let mut next = vec![false; supplied.len() + 1];
            for s in 0..=supplied.len() {
                let from_before = reached[s] && parameter.quantifier == Quantifier::Optional;
                let taken = s > 0 && parameter.takes.contains(supplied[s - 1]);
                let again = s > 0 && parameter.quantifier == Quantifier::Many && next[s - 1];
                next[s] = from_before || taken && (reached[s - 1] || again);
            }
            match next.iter().rposition(|reached| *reached) {
                Some(end) => good = end,
                None => break,
            }
            reached = next;
        }
        let value = arguments.get(good).map(Value::shown).unwrap_or_default();
        Error::new("T0410").value(value).detail("index", (good + 1).to_string())
    }
}

impl Parameter {
    fn as_array<'v>(&self, argument: Value<'v>, index: usize) -> Result<Value<'v>, Error> {
        if argument.is_undefined() {
            return Ok(argument);
        }
        if let Some(element) = &self.element {
            let first = element.chars().next().unwrap_or('x');
            let fits = match argument.as_list() {
                None => element.starts_with(letter(&argument)),
                Some(list) => list.iter().all(|item| letter(&item) == first),
            };
            if !fits {
                let name = match element.as_str() {
                    "a" => "arrays",
                    "b" => "booleans",
                    "f" => "functions",
                    "n" => "numbers",
                    "o" => "objects",
                    "s" => "strings",
                    _ => "",
                };
                let error = Error::new("T0412").value(argument.shown()).detail("index", index.to_string());
                return Err(error.detail("type", if name.is_empty() { String::new() } else { quoted(name) }));
            }
        }
        if argument.is_array() { Ok(argument) } else { Value::array_of_one(argument) }
    }
}

/// The letter of a value's type; `m` for a missing one.
fn letter(value: &Value<'_>) -> char {
    match value {
        Value::Undefined => 'm',
        Value::Null => 'l',
        Value::Bool(_) => 'b',
        Value::Number(_) => 'n',
        Value::String(_) => 's',
        Value::Function(_) => 'f',
        _ if value.is_array() => 'a',
        _ => 'o',
    }
}

/// Where the bracket that opens at `start` closes; the end if it never does.
fn closing(chars: &[char], start: usize, open: char, close: char) -> usize {
    let mut depth = 0;
    for (index, char) in chars.iter().enumerate().skip(start) {
        if *char == open {
            depth += 1;
        } else if *char == close {
            depth -= 1;
            if depth == 0 {
                return index;
            }
        }
    }
    chars.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(signature: &str, arguments: Vec<Value<'static>>) -> String {
        let signature = Signature::parse(signature).expect("it is well-formed");
        match signature.apply(arguments, &Value::from("context")) {
            Ok(arguments) => arguments.iter().map(Value::shown).collect::<Vec<_>>().join(" "),
            Err(error) => error.message(),
        }
    }

    #[test]
    fn the_context_stands_in_for_what_is_missing() {
        assert_eq!(apply("<s-n:s>", vec![Value::from(1.0)]), r#""context" 1"#);
        assert_eq!(apply("<s-n:s>", vec![Value::from("a"), Value::from(1.0)]), r#""a" 1"#);
        assert_eq!(apply("<a<n>:n>", vec![Value::from(1.0)]), "[1]");
    }

    #[test]
    fn signatures_that_cannot_be_are_refused() {
        let code = |text| Signature::parse(text).expect_err("it is malformed").code();
        assert_eq!(code("<n<n>>"), "S0401");
        assert_eq!(code("<(sa<n>)>"), "S0402");
    }
}
