//! HTML that can't be broken by what is written into it: [`Html`] grows by [`put!`], whose template is a literal of
//! ours and whose values are escaped by their type. Only [`Html`] itself goes in as it is.
//!
//! Every value stands between tags or between the double quotes of an attribute. Nothing from outside is ever
//! written into a script, a style, or the name of a tag or an attribute.

use std::fmt::{self, Display, Write};

/// A piece of HTML.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Html(String);

impl Html {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Takes a text that was written here, in this program.
    pub(super) fn trusted(text: &'static str) -> Self {
        Self(text.to_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }

    /// Adds a piece.
    pub(super) fn add(&mut self, piece: &Html) {
        self.0.push_str(&piece.0);
    }

    /// For [`put!`] alone.
    pub(super) fn write(&mut self, pieces: fmt::Arguments<'_>) {
        // Writing to a string fails only when a `Display` does, and then as much as it wrote is there.
        let _ = self.0.write_fmt(pieces);
    }
}

/// What can be written into HTML, and how.
pub(super) trait Shown {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

impl Shown for Html {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<T: Shown + ?Sized> Shown for &T {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).show(f)
    }
}

impl<T: Shown> Shown for Option<T> {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().map_or(Ok(()), |value| value.show(f))
    }
}

macro_rules! escaped {
    ($($type:ty),*) => {$(
        impl Shown for $type {
            fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(Escaping(f), "{self}")
            }
        }
    )*};
}
escaped!(str, String, std::borrow::Cow<'_, str>, serde_json::Value, fmt::Arguments<'_>);

macro_rules! plain {
    ($($type:ty),*) => {$(
        impl Shown for $type {
            fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Display::fmt(self, f)
            }
        }
    )*};
}
plain!(u16, u32, u64, usize, i32, i64, f32, f64);

/// A value in a template: see [`put!`].
pub(super) struct Value<T>(pub(super) T);

impl<T: Shown> Display for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show(f)
    }
}

/// Writes with the five characters replaced that mean something in HTML, and without those that no document may have.
struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(|letter: char| {
            matches!(letter, '&' | '<' | '>' | '"' | '\'') || letter.is_control() && !"\n\t".contains(letter)
        }) {
            let (before, from) = rest.split_at(at);
            self.0.write_str(before)?;
            let letter = from.chars().next().unwrap_or_default();
            self.0.write_str(match letter {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                '"' => "&quot;",
                '\'' => "&#39;",
                '\r' => "",
                _ => "\u{fffd}",
            })?;
            rest = &from[letter.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// Adds to an [`Html`]: a template, and a value for each `{}` in it.
///
/// The template goes through `concat!`, so that the compiler refuses names in it (`{name}`): they would go in as they
/// are.
macro_rules! put {
    ($html:expr, $template:literal $(, $value:expr)* $(,)?) => {
        $html.write(format_args!(concat!($template) $(, $crate::console::html::Value(&$value))*))
    };
}
pub(super) use put;

/// A new [`Html`] of one template.
macro_rules! html {
    ($template:literal $(, $value:expr)* $(,)?) => {{
        let mut html = $crate::console::html::Html::new();
        $crate::console::html::put!(html, $template $(, $value)*);
        html
    }};
}
pub(super) use html;

#[cfg(test)]
mod tests {

    #[test]
    fn what_is_put_in_is_text() {
        let hostile = "<script>alert('x')</script>\"&\u{0}\r\n\u{1b}[31m";
        let html = html!("<p title=\"{}\">{}{}</p>", hostile, hostile, html!("<b>{}</b>", 1));
        let shown = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;\u{fffd}\n\u{fffd}[31m";
        assert_eq!(html.as_str(), format!("<p title=\"{shown}\">{shown}<b>1</b></p>"));
        assert_eq!(html!("{}", serde_json::json!({ "<": "\"" })).as_str(), "{&quot;&lt;&quot;:&quot;\\&quot;&quot;}");
        assert_eq!(html!("{}{}", Some("a<"), None::<&str>).as_str(), "a&lt;");
    }
}
