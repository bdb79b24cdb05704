//! The frame of every page, and the pieces that pages have in common.

use super::Console;
use super::html::{Html, html, put};
use super::request::{PREFIX, path};
use super::words;

/// Which entry of the navigation a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Executions,
    StateMachines,
    Functions,
    Logs,
    Roles,
}

/// A page without its frame. What is a part of it is sent again whenever it has changed.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) title: String,
    pub(super) section: Section,
    pub(super) body: Html,
    pub(super) parts: Vec<(&'static str, Html)>,
    /// Whether anything on it can still change by itself.
    pub(super) is_live: bool,
    pub(super) status: u16,
}

impl Page {
    pub(super) fn new(section: Section, title: &str) -> Self {
        Self { title: title.to_owned(), section, body: Html::new(), parts: Vec::new(), is_live: false, status: 200 }
    }

    /// Adds something that may change.
    pub(super) fn part(&mut self, id: &'static str, piece: Html) {
        put!(self.body, "<div id=\"{}\" class=\"part\">{}</div>", id, piece);
        self.parts.push((id, piece));
    }

    /// Adds the way here: links, and the page's own name at the end.
    pub(super) fn crumbs(&mut self, crumbs: &[(&str, String)]) {
        put!(self.body, "<nav class=\"crumbs\" aria-label=\"Breadcrumb\"><ol>");
        for (name, link) in crumbs {
            put!(self.body, "<li><a href=\"{}\">{}</a></li>", link, name);
        }
        put!(self.body, "</ol></nav>");
    }
}

/// What stands around a page's own content.
pub(super) struct Frame<'a> {
    pub(super) nonce: &'a str,
    pub(super) notice: Option<(&'static str, String)>,
}

impl Console {
    /// The whole document.
    pub(super) fn document(&self, page: &Page, frame: &Frame<'_>) -> Html {
        let mut document = html!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\"><title>{} · Starmap</title>\
             <link rel=\"icon\" href=\"{}\"><link rel=\"stylesheet\" href=\"{}\">\
             <script nonce=\"{}\" src=\"{}\"></script></head><body data-live=\"{}\">",
            page.title,
            self.assets.link("icon.svg"),
            self.assets.link("console.css"),
            frame.nonce,
            self.assets.link("console.js"),
            if page.is_live { "on" } else { "off" }
        );
        document.add(&Html::trusted(super::assets::SPRITE));
        put!(
            document,
            "<a class=\"skip\" href=\"#main\">Skip to content</a><header class=\"top\"><a class=\"brand\" href=\"{}\">\
             <svg aria-hidden=\"true\"><use href=\"#logo\"/></svg>Starmap</a><nav aria-label=\"Main\"><ul>",
            path(&["executions"])
        );
        for (section, name, link) in [
            (Section::Executions, "Executions", "executions"),
            (Section::StateMachines, "State machines", "machines"),
            (Section::Functions, "Functions", "functions"),
            (Section::Logs, "Logs", "logs"),
            (Section::Roles, "Roles", "roles"),
        ] {
            if section == Section::Roles && self.directory.is_none() {
                continue;
            }
            let current = if section == page.section { " aria-current=\"page\"" } else { "" };
            put!(document, "<li><a href=\"{}\"{}>{}</a></li>", path(&[link]), Html::trusted(current), name);
        }
        put!(
            document,
            "</ul></nav><div class=\"tools\"><span id=\"live\" class=\"live\" role=\"status\"></span>\
             <button type=\"button\" id=\"zone\" class=\"quiet\" hidden>UTC</button>\
             <button type=\"button\" id=\"theme\" class=\"quiet\" hidden aria-label=\"Colours\">\
             <svg aria-hidden=\"true\"><use href=\"#theme-icon\"/></svg><span></span></button></div></header><main id=\"main\">"
        );
        if let Some((kind, text)) = &frame.notice {
            let role = if *kind == "error" { "alert" } else { "status" };
            put!(document, "<div class=\"notice notice-{}\" role=\"{}\">{}</div>", kind, role, text);
        }
        document.add(&page.body);
        put!(document, "</main><footer class=\"foot\"><span>Starmap {}</span><a href=\"", env!("CARGO_PKG_VERSION"));
        put!(document, "{}\">Keyboard</a></footer></body></html>\n", path(&["keyboard"]));
        document
    }

    /// The hidden field that every form with consequences has.
    pub(super) fn token_field(&self) -> Html {
        html!("<input type=\"hidden\" name=\"token\" value=\"{}\">", self.token)
    }
}

/// The commands that do the same as an action here.
pub(super) fn commands(title: &str, lines: &[String]) -> Html {
    let mut html = html!("<details class=\"cli\"><summary>{}</summary>", title);
    for line in lines {
        put!(html, "<div class=\"command\"><pre tabindex=\"0\"><code>{}</code></pre>", line);
        put!(
            html,
            "<button type=\"button\" class=\"copy quiet\" hidden aria-label=\"Copy the command\">Copy</button></div>"
        );
    }
    put!(html, "</details>");
    html
}

/// `aws stepfunctions ACTION --a b …` against this server.
pub(super) fn aws(endpoint: &str, action: &str, arguments: &[(&str, &str)]) -> String {
    let mut line = format!("aws stepfunctions {action}");
    for (name, value) in arguments {
        line.push_str(&format!(" --{name} {}", words::quoted(value)));
    }
    line.push_str(&format!(" --endpoint-url {}", words::quoted(endpoint)));
    line
}

/// A list of a page's facts.
pub(super) struct Facts(Html);

impl Facts {
    pub(super) fn new() -> Self {
        Self(html!("<dl class=\"facts\">"))
    }

    pub(super) fn add(&mut self, name: &str, value: impl super::html::Shown) {
        put!(self.0, "<div><dt>{}</dt><dd>{}</dd></div>", name, value);
    }

    pub(super) fn done(mut self) -> Html {
        put!(self.0, "</dl>");
        self.0
    }
}

/// Tabs: links to views of the same thing.
pub(super) fn tabs(label: &str, tabs: &[(&str, &str, String)], current: &str) -> Html {
    let mut html = html!("<nav class=\"tabs\" aria-label=\"{}\"><ul>", label);
    for (key, name, link) in tabs {
        let is_current = if *key == current { " aria-current=\"page\"" } else { "" };
        put!(html, "<li><a href=\"{}\" data-boost{}>{}</a></li>", link, Html::trusted(is_current), name);
    }
    put!(html, "</ul></nav>");
    html
}

/// Which rows of how many, and the ways to the others.
pub(super) fn pager(from: u64, shown: u64, total: u64, size: u64, link: &dyn Fn(u64) -> String) -> Html {
    let mut html = html!("<nav class=\"pager\" aria-label=\"Pages\"><span>");
    if total == 0 {
        put!(html, "None");
    } else if shown == 0 {
        put!(html, "None here, {} in all", words::count(total));
    } else {
        put!(html, "{}–{} of {}", words::count(from + 1), words::count(from + shown), words::count(total));
    }
    put!(html, "</span>");
    if total > size {
        let (page, last) = (from / size, total.saturating_sub(1) / size);
        for (name, to, is_there) in [
            ("First", 0, page > 0),
            ("Previous", page.saturating_sub(1), page > 0),
            ("Next", page + 1, page < last),
            ("Last", last, page < last),
        ] {
            match is_there {
                true => put!(html, "<a class=\"button\" data-boost href=\"{}\">{}</a>", link(to + 1), name),
                false => put!(html, "<span class=\"button off\" aria-hidden=\"true\">{}</span>", name),
            }
        }
    }
    put!(html, "</nav>");
    html
}

/// What a table says when it is empty.
pub(super) fn empty(text: &str) -> Html {
    html!("<p class=\"empty\">{}</p>", text)
}

/// Where everything begins.
pub(super) fn start() -> String {
    format!("{PREFIX}/executions")
}
