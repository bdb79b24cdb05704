//! JSON as people read it: indented, with keys told from values.

use serde_json::Value;

use super::html::{Html, html, put};

/// Most of a value that a page shows; the twin has all of it.
const SHOWN_BYTES_MAX: usize = 48 * 1024;

/// A value in a box of its own.
pub(super) fn block(label: &str, value: &Value) -> Html {
    let mut lines = Html::new();
    let is_whole = write(&mut lines, value, 0);
    let note = if is_whole { "" } else { "<p class=\"note\">The rest is in the JSON of this page.</p>" };
    html!(
        "<pre class=\"json\" tabindex=\"0\" role=\"group\" aria-label=\"{}\"><code>{}</code></pre>{}",
        label,
        lines,
        Html::trusted(note)
    )
}

/// Whether all of it fitted.
fn write(html: &mut Html, value: &Value, depth: usize) -> bool {
    if html.as_str().len() > SHOWN_BYTES_MAX || depth > 64 {
        put!(html, "…");
        return false;
    }
    match value {
        Value::Null | Value::Bool(_) => put!(html, "<span class=\"w\">{}</span>", value),
        Value::Number(_) => put!(html, "<span class=\"n\">{}</span>", value),
        Value::String(text) if text.len() > SHOWN_BYTES_MAX => {
            let short: String = text.chars().take(SHOWN_BYTES_MAX / 4).collect();
            put!(html, "<span class=\"s\">{}…</span>", Value::String(short));
            return false;
        }
        Value::String(_) => put!(html, "<span class=\"s\">{}</span>", value),
        Value::Array(items) if items.is_empty() => put!(html, "[]"),
        Value::Object(fields) if fields.is_empty() => put!(html, "{{}}"),
        Value::Array(items) => {
            put!(html, "[");
            for (index, item) in items.iter().enumerate() {
                line(html, depth + 1);
                let is_whole = write(html, item, depth + 1);
                put!(html, "{}", if index + 1 < items.len() { "," } else { "" });
                if !is_whole {
                    return false;
                }
            }
            line(html, depth);
            put!(html, "]");
        }
        Value::Object(fields) => {
            put!(html, "{{");
            for (index, (name, field)) in fields.iter().enumerate() {
                line(html, depth + 1);
                put!(html, "<span class=\"k\">{}</span>: ", Value::String(name.clone()));
                let is_whole = write(html, field, depth + 1);
                put!(html, "{}", if index + 1 < fields.len() { "," } else { "" });
                if !is_whole {
                    return false;
                }
            }
            line(html, depth);
            put!(html, "}}");
        }
    }
    true
}

fn line(html: &mut Html, depth: usize) {
    put!(html, "\n{}", "  ".repeat(depth));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_indented_and_escaped() {
        let shown = block("Input", &json!({ "<a>": [1, "</code>", null], "b": {} }));
        let expected = "<span class=\"k\">&quot;&lt;a&gt;&quot;</span>: [\n    <span class=\"n\">1</span>,\n    \
                        <span class=\"s\">&quot;&lt;/code&gt;&quot;</span>,\n    <span class=\"w\">null</span>\n  ]";
        assert!(shown.as_str().contains(expected), "{}", shown.as_str());
    }

    #[test]
    fn of_a_large_value_the_beginning_is_shown() {
        let large = block("Output", &Value::from(vec!["x".repeat(100); 100_000]));
        assert!(large.as_str().len() < 2 * SHOWN_BYTES_MAX);
        assert!(large.as_str().contains("The rest is in the JSON"));
    }
}
