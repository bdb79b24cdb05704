//! JSON pointer → line and column.

use std::collections::BTreeMap;

use crate::diagnostics::Position;

/// Where the values that `pointers` point at begin in `text`, which must be JSON. For a value that is not there, that is
/// the place of the innermost one that is.
///
/// One pass over the text, however many pointers there are: a megabyte of unknown fields is refused in no time, too.
pub(crate) fn locate(text: &str, pointers: &[String]) -> Vec<Position> {
    let mut wanted = Wanted::default();
    for (index, pointer) in pointers.iter().enumerate() {
        let mut node = &mut wanted;
        for step in pointer.split('/').skip(1) {
            node = node.inside(&step.replace("~1", "/").replace("~0", "~"));
        }
        node.findings.push(index);
    }
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 0, found: Vec::with_capacity(pointers.len()) };
    scanner.space();
    scanner.visit(&mut wanted);
    // Where the scanner gave up, everything that is left has the place of the whole.
    wanted.place_all(0, &mut scanner.found);
    let mut found = scanner.found;
    found.sort_unstable();
    let mut positions = vec![Position { line: 1, column: 1 }; pointers.len()];
    let mut counter = Counter { text, at: 0, position: Position { line: 1, column: 1 } };
    for (offset, index) in found {
        positions[index] = counter.advance(offset);
    }
    positions
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

/// Findings by the steps of their pointers.
#[derive(Default)]
struct Wanted {
    findings: Vec<usize>,
    inside: BTreeMap<String, Wanted>,
}

impl Wanted {
    /// What is wanted behind a step; it is made if nothing was.
    fn inside(&mut self, step: &str) -> &mut Wanted {
        let (name, indices) = parts(step);
        let mut node = self.inside.entry(name.to_owned()).or_default();
        for index in indices {
            node = node.inside.entry(index.to_owned()).or_default();
        }
        node
    }

    /// What is wanted in a member; its name may itself end in brackets.
    fn member(&mut self, name: &str) -> Option<&mut Wanted> {
        let (stem, indices) = parts(name);
        let mut node = self.inside.get_mut(stem)?;
        for index in indices {
            node = node.inside.get_mut(index)?;
        }
        Some(node)
    }

    /// Everything that is still wanted here and inside is at `offset`.
    fn place_all(&mut self, offset: usize, found: &mut Vec<(usize, usize)>) {
        let mut nodes = vec![self];
        while let Some(node) = nodes.pop() {
            found.extend(node.findings.drain(..).map(|index| (offset, index)));
            nodes.extend(node.inside.values_mut());
        }
    }
}

/// Turns byte offsets, given in ascending order, into lines and columns.
struct Counter<'a> {
    text: &'a str,
    at: usize,
    position: Position,
}

impl Counter<'_> {
    fn advance(&mut self, offset: usize) -> Position {
        for character in self.text.get(self.at..offset).unwrap_or_default().chars() {
            if character == '\n' {
                self.position = Position { line: self.position.line + 1, column: 1 };
            } else {
                self.position.column += 1;
            }
        }
        self.at = self.at.max(offset);
        self.position
    }
}

/// Walks over text that is known to be JSON; on anything else it gives up quietly.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Offset of the value, index of the finding.
    found: Vec<(usize, usize)>,
}

impl Scanner<'_> {
    /// Goes over the value that begins here, deep enough to find what is wanted in it.
    ///
    /// Recursion is as deep as the pointers are, and those are as deep as the JSON that was read.
    fn visit(&mut self, wanted: &mut Wanted) -> Option<()> {
        let start = self.at;
        self.found.extend(wanted.findings.drain(..).map(|index| (start, index)));
        if wanted.inside.is_empty() {
            return self.skip_value();
        }
        let is_through = self.enter(wanted).is_some();
        wanted.place_all(start, &mut self.found);
        if is_through {
            return Some(());
        }
        self.at = start;
        self.skip_value()
    }

    /// From the beginning of an object or array through its members to its end; `None` if it is neither, or empty.
    fn enter(&mut self, wanted: &mut Wanted) -> Option<()> {
        let (is_object, close) = match self.peek()? {
            b'{' => (true, b'}'),
            b'[' => (false, b']'),
            _ => return None,
        };
        self.at += 1;
        for index in 0_usize.. {
            self.space();
            let name = if is_object {
                let name = self.string()?;
                self.space();
                self.at += 1; // The colon.
                self.space();
                name
            } else {
                index.to_string()
            };
            match wanted.member(&name) {
                Some(inside) => self.visit(inside)?,
                None => self.skip_value()?,
            }
            self.space();
            match self.peek()? {
                b',' => self.at += 1,
                end if end == close => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
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
    use proptest::prelude::*;

    use super::*;

    fn located(text: &str, pointers: &[&str]) -> Vec<(usize, usize)> {
        let pointers: Vec<String> = pointers.iter().map(|pointer| (*pointer).to_owned()).collect();
        locate(text, &pointers).iter().map(|place| (place.line, place.column)).collect()
    }

    #[test]
    fn finds_members_behind_anything() {
        let text = "{\n  \"a\": {\"]\": [1, {\"x\": \"\\\"}\"}, null]},\n  \"b/c\": [10,\n    20]\n}";
        let pointers = ["/b~1c/1", "", "/a", "/a/]/1/x", "/b~1c/7", "/nothing/here", "/a", "/a/]/1/x/y"];
        let expected = [(4, 5), (1, 1), (2, 8), (2, 24), (3, 10), (1, 1), (2, 8), (2, 24)];
        assert_eq!(located(text, &pointers), expected);
        assert_eq!(located(text, &["/b~1c[1]", "/a/][1]/x"]), [(4, 5), (2, 24)]);
        assert_eq!(located("{\"a[0]\": [1, 2]}", &["/a[0][1]"]), [(1, 14)]);
    }

    #[test]
    fn many_findings_cost_no_more_than_a_look() {
        // With a scan for each finding, this took minutes.
        let fields: Vec<String> = (0..50_000).map(|index| format!("\"{index}\":1")).collect();
        let text = format!("{{{}}}", fields.join(",\n"));
        let pointers: Vec<String> = (0..50_000).map(|index| format!("/{index}")).collect();
        let pointers: Vec<&str> = pointers.iter().map(String::as_str).collect();
        let places = located(&text, &pointers);
        assert_eq!((places[0], places[49_999]), ((1, 6), (50_000, 9)));
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*", pointer in r"(/[a-z0-9]*(\[[0-9]\])?){0,3}") {
            located(&text, &[&pointer, ""]);
        }
    }
}
