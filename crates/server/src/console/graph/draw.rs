//! A laid out definition as SVG. Every state is a link, so that the keyboard and a screen reader get at it; every
//! status has a colour, a mark and a word.

use super::Graph;
use super::layout::{HEADER_HEIGHT, Placed, PlacedBox, STATE_HEIGHT, TERMINAL_HEIGHT};
use super::model::{Edge, Node, Scope, shortened};
use crate::console::html::{Html, html, put};
use crate::console::words::{self, Mark};

/// Around the whole.
const MARGIN: f64 = 12.0;

/// What an execution has done in a state.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::console) struct Look {
    pub(in crate::console) mark: Mark,
    /// As in `3 times` or `2nd attempt`; in the place of what the state does.
    pub(in crate::console) note: String,
    /// Of a Map.
    pub(in crate::console) counts: Option<Counts>,
}

/// How far a Map's items have come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::console) struct Counts {
    pub(in crate::console) total: u64,
    pub(in crate::console) running: u64,
    pub(in crate::console) succeeded: u64,
    pub(in crate::console) failed: u64,
    pub(in crate::console) cancelled: u64,
}

/// What is drawn besides the definition.
pub(in crate::console) struct Picture<'a> {
    /// What an execution has done in a state.
    pub(in crate::console) look: &'a dyn Fn(&str) -> Look,
    /// Whether it went from one to the other.
    pub(in crate::console) is_taken: &'a dyn Fn(&str, &str) -> bool,
    /// Where a state's link leads.
    pub(in crate::console) link: &'a dyn Fn(&str) -> String,
    /// The state that is looked at.
    pub(in crate::console) selected: Option<&'a str>,
    /// Whether statuses are said at all: a definition by itself has none.
    pub(in crate::console) is_live: bool,
    /// What the whole is, in words.
    pub(in crate::console) title: &'a str,
}

impl Graph {
    /// Draws it.
    pub(in crate::console) fn draw(&self, picture: &Picture<'_>) -> Html {
        let (width, height) = (self.placed.width + 2.0 * MARGIN, self.placed.height + 2.0 * MARGIN);
        let mut svg = html!(
            "<svg class=\"graph\" role=\"group\" aria-label=\"{}\" viewBox=\"0 0 {} {}\" width=\"{}\" height=\"{}\">\
             <defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
             <path class=\"tip\" d=\"M0 0.6L7.4 4L0 7.4z\"/></marker><marker id=\"arrow-taken\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" \
             markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path class=\"tip taken\" d=\"M0 0.6L7.4 4L0 7.4z\"/></marker></defs>",
            picture.title,
            width.ceil(),
            height.ceil(),
            width.ceil(),
            height.ceil()
        );
        draw_scope(&mut svg, &self.scope, &self.placed, (MARGIN, MARGIN), picture);
        put!(svg, "</svg>");
        svg
    }
}

fn draw_scope(svg: &mut Html, scope: &Scope, placed: &Placed, (x, y): (f64, f64), picture: &Picture<'_>) {
    put!(svg, "<g transform=\"translate({} {})\">", one(x), one(y));
    let is_taken =
        |edge: &Edge| picture.is_live && (picture.is_taken)(&scope.nodes[edge.from].name, &scope.nodes[edge.to].name);
    let mut edges: Vec<_> =
        scope.edges.iter().zip(&placed.arrows).map(|(edge, arrow)| (is_taken(edge), edge, arrow)).collect();
    // The ways that were taken over those that were not.
    edges.sort_by_key(|(is_taken, ..)| *is_taken);
    for (is_taken, edge, arrow) in edges {
        let class = match (edge.is_catch, is_taken) {
            (true, true) => "edge catch taken",
            (true, false) => "edge catch",
            (false, true) => "edge taken",
            (false, false) => "edge",
        };
        let tip = if is_taken { "arrow-taken" } else { "arrow" };
        put!(svg, "<path class=\"{}\" d=\"{}\" marker-end=\"url(#{})\"/>", class, arrow.path, tip);
    }
    for (node, place) in scope.nodes.iter().zip(&placed.boxes) {
        if node.is_state {
            draw_state(svg, node, place, picture);
        } else {
            draw_terminal(svg, node, place, picture);
        }
    }
    // Above the boxes, where a long label may reach into one.
    for (edge, arrow) in scope.edges.iter().zip(&placed.arrows).filter(|(edge, _)| !edge.label.is_empty()) {
        put!(
            svg,
            "<text class=\"label\" x=\"{}\" y=\"{}\">{}</text>",
            one(arrow.label.0),
            one(arrow.label.1),
            edge.label
        );
    }
    put!(svg, "</g>");
}

fn draw_terminal(svg: &mut Html, node: &Node, place: &PlacedBox, picture: &Picture<'_>) {
    let is_reached = picture.is_live && (picture.look)(&node.name).mark != Mark::NotStarted;
    put!(
        svg,
        "<g class=\"terminal{}\"><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{}\"/>\
         <text x=\"{}\" y=\"{}\">{}</text></g>",
        if is_reached { " reached" } else { "" },
        one(place.x),
        one(place.y),
        one(place.width),
        one(place.height),
        TERMINAL_HEIGHT / 2.0,
        one(place.x + place.width / 2.0),
        one(place.y + place.height / 2.0 + 4.5),
        node.name
    );
}

fn draw_state(svg: &mut Html, node: &Node, place: &PlacedBox, picture: &Picture<'_>) {
    let look = (picture.look)(&node.name);
    let is_container = !place.inner.is_empty();
    let selected = picture.selected == Some(node.name.as_str());
    let counts = look.counts.filter(|counts| picture.is_live && counts.total > 0);
    let shown = match &counts {
        Some(counts) => said(counts),
        None if look.note.is_empty() => node.detail.clone(),
        None => look.note.clone(),
    };
    let spoken = spoken(node, &shown, &look, picture.is_live);
    put!(
        svg,
        "<g class=\"state is-{}{}{}\" transform=\"translate({} {})\">",
        look.mark.key(),
        if is_container { " container" } else { "" },
        if selected { " selected" } else { "" },
        one(place.x),
        one(place.y)
    );
    put!(svg, "<a href=\"{}\" data-boost aria-label=\"{}\"", (picture.link)(&node.name), spoken);
    if selected {
        put!(svg, " aria-current=\"true\"");
    }
    put!(svg, ">");
    if is_container && node.kind == "Map" {
        // One behind the other: what is inside happens many times.
        for step in [8.0, 4.0] {
            put!(
                svg,
                "<rect class=\"behind\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"10\"/>",
                step,
                step,
                one(place.width),
                one(place.height)
            );
        }
    }
    put!(svg, "<rect class=\"frame\" width=\"{}\" height=\"{}\" rx=\"10\"/>", one(place.width), one(place.height));
    if is_container {
        put!(svg, "<path class=\"rule\" d=\"M0 {}H{}\"/>", HEADER_HEIGHT - 14.0, one(place.width));
    }
    put!(svg, "<rect class=\"tile\" x=\"11\" y=\"12\" width=\"30\" height=\"30\" rx=\"7\"/>");
    put!(svg, "<use class=\"sign\" href=\"#t-{}\" x=\"16\" y=\"17\" width=\"20\" height=\"20\"/>", node.sign);
    let room = ((place.width - 86.0) / 8.2) as usize;
    put!(svg, "<text class=\"name\" x=\"51\" y=\"24\">{}</text> ", shortened(&node.name, room));
    let detail_room = ((place.width - 86.0) / 7.0) as usize;
    if let Some(counts) = &counts {
        draw_counts(svg, counts, place.width);
    }
    let y = if counts.is_some() { 40 } else { 41 };
    put!(svg, "<text class=\"detail\" x=\"51\" y=\"{}\">{}</text>", y, shortened(&shown, detail_room));
    if look.mark != Mark::NotStarted {
        let x = place.width - 29.0;
        put!(
            svg,
            "<use class=\"mark mark-{}\" href=\"#m-{}\" x=\"{}\" y=\"{}\" width=\"18\" height=\"18\"/>",
            look.mark.key(),
            look.mark.key(),
            one(x),
            (STATE_HEIGHT - 18.0) / 2.0
        );
    }
    put!(svg, "</a>");
    for ((x, y, placed), scope) in place.inner.iter().zip(&node.inner) {
        draw_scope(svg, scope, placed, (*x, *y), picture);
    }
    put!(svg, "</g>");
}

/// A bar of how many items are where, and the figures.
fn draw_counts(svg: &mut Html, counts: &Counts, width: f64) {
    let (x, full) = (51.0, width - 51.0 - 40.0);
    let mut at = x;
    put!(svg, "<rect class=\"bar\" x=\"{}\" y=\"46\" width=\"{}\" height=\"5\" rx=\"2.5\"/>", one(x), one(full));
    for (key, number) in [
        ("ok", counts.succeeded),
        ("failed", counts.failed),
        ("cancelled", counts.cancelled),
        ("running", counts.running),
    ] {
        if number > 0 {
            let part = full * number as f64 / counts.total as f64;
            put!(svg, "<rect class=\"bar-{}\" x=\"{}\" y=\"46\" width=\"{}\" height=\"5\"/>", key, one(at), one(part));
            at += part;
        }
    }
}

fn said(counts: &Counts) -> String {
    let mut text = format!("{} of {}", words::count(counts.succeeded), words::count(counts.total));
    for (word, number) in [("running", counts.running), ("failed", counts.failed), ("aborted", counts.cancelled)] {
        if number > 0 {
            text.push_str(&format!(" · {} {word}", words::count(number)));
        }
    }
    text
}

/// What is to be read on a state, and how it stands.
fn spoken(node: &Node, shown: &str, look: &Look, is_live: bool) -> String {
    let mut text = format!("{} {shown}", node.name);
    if !node.detail.is_empty() && node.detail != shown {
        text.push_str(&format!(", {}", node.detail));
    }
    if is_live {
        text.push_str(&format!(", {}", look.mark.word().to_lowercase()));
    }
    text
}

/// The five statuses, as the picture shows them.
pub(in crate::console) fn legend() -> Html {
    let mut list = html!("<ul class=\"legend\" aria-label=\"Legend\">");
    for mark in [Mark::InProgress, Mark::Failed, Mark::Caught, Mark::Cancelled, Mark::Succeeded] {
        put!(list, "<li>{}{}</li>", mark.icon(), mark.word());
    }
    put!(list, "</ul>");
    list
}

fn one(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
