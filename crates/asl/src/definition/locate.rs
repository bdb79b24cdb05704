//! JSON pointer → line and column.

use crate::diagnostics::Position;

/// Where the value that `pointer` points at begins in `text`, which must be JSON. For a value that is not there,
/// the place of the innermost one that is.
pub(crate) fn locate(text: &str, pointer: &str) -> Position {
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 0 };
    scanner.space();
    let mut found = scanner.at;
    for step in pointer.split('/').skip(1) {
        let (name, indices) = parts(step);
        let name = name.replace("~1", "/").replace("~0", "~");
        // A name may itself end in brackets.
        let start = scanner.at;
        let entered = scanner.enter(&step.replace("~1", "/").replace("~0", "~")).or_else(|| {
            scanner.at = start;
            let mut at = scanner.enter(&name)?;
            for index in indices {
                at = scanner.enter(index)?;
            }
            Some(at)
        });
        match entered {
            Some(at) => found = at,
            None => break,
        }
    }
    position(text, found)
}

/// `Choices[0][1]` → `Choices`, `0`, `1`.
fn parts(step: &str) -> (&str, Vec<&str>) {
    let mut name = step;
    let mut indices = Vec::new();
    while let Some((rest, index)) = name.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')) {
        if index.is_empty() || !index.bytes().all(|byte| byte.is_ascii_digit()) {
            break;
        }
        name = rest;
        indices.push(index);
    }
    indices.reverse();
    (name, indices)
}

/// The line and column of a byte offset.
fn position(text: &str, offset: usize) -> Position {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Position { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
}

/// Walks over text that is known to be JSON; on anything else it gives up quietly.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    /// From the beginning of an object or array to the beginning of its member `step`.
    fn enter(&mut self, step: &str) -> Option<usize> {
        let is_object = match self.peek()? {
            b'{' => true,
            b'[' => false,
            _ => return None,
        };
        self.at += 1;
        for index in 0.. {
            self.space();
            let is_wanted = if is_object {
                let name = self.string()?;
                self.space();
                self.at += 1; // The colon.
                self.space();
                name == step
            } else {
                step.parse() == Ok(index)
            };
            if is_wanted {
                return Some(self.at);
            }
            self.skip_value()?;
            self.space();
            if self.peek()? != b',' {
                return None;
            }
            self.at += 1;
        }
        None
    }

    /// Brackets inside strings are skipped with their strings, so counting the others finds the end.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' => {
                    self.at += 1;
                    continue;
                }
                _ => {
                    while self.peek().is_some_and(|byte| !b",:]} \n\r\t".contains(&byte)) {
                        self.at += 1;
                    }
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        let start = self.at;
        if self.peek()? != b'"' {
            return None;
        }
        self.at += 1;
        while self.peek()? != b'"' {
            self.at += if self.peek()? == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        serde_json::from_slice(&self.bytes[start..self.at]).ok()
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn finds_members_behind_anything() {
        let text = "{\n  \"a\": {\"]\": [1, {\"x\": \"\\\"}\"}, null]},\n  \"b/c\": [10,\n    20]\n}";
        let at = |pointer: &str| {
            let Position { line, column } = locate(text, pointer);
            (line, column)
        };
        assert_eq!(at(""), (1, 1));
        assert_eq!(at("/a"), (2, 8));
        assert_eq!(at("/a/]/1/x"), (2, 24));
        assert_eq!(at("/b~1c/1"), (4, 5));
        assert_eq!(at("/b~1c/7"), (3, 10));
        assert_eq!(at("/nothing/here"), (1, 1));
        assert_eq!(at("/b~1c[1]"), (4, 5));
        assert_eq!(at("/a/][1]/x"), (2, 24));
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*", pointer in r"(/[a-z0-9]*(\[[0-9]\])?){0,3}") {
            locate(&text, &pointer);
        }
    }
}
