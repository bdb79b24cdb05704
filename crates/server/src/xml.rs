//! The little XML that S3, IAM and STS speak.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Writes elements in order; text is escaped.
#[derive(Debug)]
pub(crate) struct Writer {
    text: String,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self { text: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned() }
    }

    /// Elements that are to go into another document.
    pub(crate) fn inside() -> Self {
        Self { text: String::new() }
    }

    /// Puts elements of [`Writer::inside`] here.
    pub(crate) fn push(&mut self, other: Self) {
        self.text.push_str(&other.text);
    }

    /// An element with only text.
    pub(crate) fn text(&mut self, name: &str, text: impl AsRef<str>) -> &mut Self {
        self.text.push_str(&format!("<{name}>"));
        escape(text.as_ref(), &mut self.text);
        self.text.push_str(&format!("</{name}>"));
        self
    }

    /// An element with only text, if there is any.
    pub(crate) fn optional(&mut self, name: &str, text: Option<impl AsRef<str>>) -> &mut Self {
        match text {
            Some(text) => self.text(name, text),
            None => self,
        }
    }

    /// An element with others in it.
    pub(crate) fn element(&mut self, name: &str, inside: impl FnOnce(&mut Self)) -> &mut Self {
        self.text.push_str(&format!("<{name}>"));
        inside(self);
        // An attribute is part of what begins an element and not of what ends it.
        let name = name.split(' ').next().unwrap_or(name);
        self.text.push_str(&format!("</{name}>"));
        self
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }
}

/// Escapes what XML 1.0 takes for markup; what it can't carry at all becomes a reference that S3 writes too.
fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{0}'..='\u{1f}' | '\u{7f}' => out.push_str(&format!("&#x{:x};", u32::from(character))),
            _ => out.push(character),
        }
    }
}

/// An element that was read: its name without prefix, its text, the elements in it.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) children: Vec<Element>,
}

/// Elements in elements, at most.
const DEPTH_MAX: usize = 16;
/// Elements in all; a request has at most 10,000 parts of 7 elements each.
const ELEMENTS_MAX: usize = 100_000;

impl Element {
    /// Reads a document; none if it is not well-formed or is absurd. Entities beyond XML's own are refused.
    pub(crate) fn parse(xml: &[u8]) -> Option<Self> {
        let mut reader = Reader::from_reader(xml);
        let mut open = vec![Self::default()];
        let mut count = 0;
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => {
                    count += 1;
                    if open.len() > DEPTH_MAX || count > ELEMENTS_MAX {
                        return None;
                    }
                    open.push(Self { name: name(start.local_name().as_ref())?, ..Self::default() });
                }
                Event::Empty(empty) => {
                    let element = Self { name: name(empty.local_name().as_ref())?, ..Self::default() };
                    open.last_mut()?.children.push(element);
                }
                Event::End(_) => {
                    let done = open.pop()?;
                    open.last_mut()?.children.push(done);
                }
                Event::Text(text) => open.last_mut()?.text.push_str(std::str::from_utf8(&text).ok()?),
                Event::CData(text) => open.last_mut()?.text.push_str(std::str::from_utf8(&text).ok()?),
                Event::GeneralRef(reference) => {
                    let name = std::str::from_utf8(&reference).ok()?.to_owned();
                    let resolved = quick_xml::escape::unescape(&format!("&{name};")).ok()?.into_owned();
                    open.last_mut()?.text.push_str(&resolved);
                }
                Event::Eof => break,
                Event::DocType(_) => return None,
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            }
        }
        let mut document = open.pop().filter(|_| open.is_empty())?;
        if document.children.len() == 1 { document.children.pop() } else { None }
    }

    /// The text of the first element of that name in this one.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.children.iter().find(|child| child.name == name).map(|child| child.text.trim())
    }

    /// The elements of that name in this one.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

fn name(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let awkward = "a & b < c > \"d\" 'e' é\u{1f30c}";
        let mut writer = Writer::new();
        writer.element("Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"", |delete| {
            delete.text("Quiet", "true");
            delete.element("Object", |object| {
                object.text("Key", awkward);
            });
        });
        let read = Element::parse(writer.finish().as_bytes()).unwrap();
        assert_eq!((read.name.as_str(), read.get("Quiet")), ("Delete", Some("true")));
        assert_eq!(read.all("Object").next().unwrap().get("Key"), Some(awkward));
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let deep = format!("{}{}", "<a>".repeat(40), "</a>".repeat(40));
        let bomb = "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>";
        for broken in ["", "text", "<a>", "<a></b>", "<a/><b/>", "<a>&b;</a>", &deep, bomb, "<a>\u{0}</"] {
            assert_eq!(Element::parse(broken.as_bytes()), None, "{broken}");
        }
    }
}
