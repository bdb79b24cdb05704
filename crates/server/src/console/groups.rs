//! Log groups, as CloudWatch Logs has them: those of functions, and those that clients made; their streams and events.
//!
//! Everything here is asked of the Logs API, so that a page shows what a client is told.

use std::sync::Arc;

use serde_json::{Value, json};
use starmap_asl::Timestamp;

use super::html::{Html, html, put};
use super::page::{Page, Section, commands, empty};
use super::request::{Pairs, Request, path};
use super::words;
use super::{Console, Failure};
use crate::error::ApiError;

/// Carries out an action of CloudWatch Logs.
pub type LogGroups = Arc<dyn Fn(&str, &Value) -> Result<Value, ApiError> + Send + Sync>;

/// Groups and streams of a page, as many as the API tells at once.
const PAGE: u64 = 50;
/// Events of a page.
const EVENTS: u64 = 500;
/// Letters of a message.
const LETTERS_MAX: usize = 2_000;

impl Console {
    fn logs_api(&self, action: &str, members: &Value) -> Result<Value, Failure> {
        let Some(groups) = &self.log_groups else {
            return Err(Failure::missing("There are no log groups here: `starmap serve` keeps them.".to_owned()));
        };
        groups(action, members).map_err(Failure::from)
    }

    /// Members of a request for a page, with what the query asks for.
    fn paged(mut members: Value, query: &Pairs) -> Value {
        if let Some(token) = query.get("next") {
            members["nextToken"] = token.into();
        }
        members
    }

    fn groups(&self, query: &Pairs) -> Result<Value, Failure> {
        let mut members = json!({ "limit": PAGE });
        if let Some(text) = query.get("q") {
            members["logGroupNamePattern"] = text.into();
        }
        self.logs_api("DescribeLogGroups", &Self::paged(members, query))
    }

    pub(super) fn groups_page(&self, request: &Request) -> Result<Page, Failure> {
        let told = self.groups(&request.query)?;
        let mut page = Page::new(Section::Logs, "Log groups");
        page.crumbs(&[("Logs", path(&["logs"]))]);
        let own = path(&["logs", "groups"]);
        put!(
            page.body,
            "<div class=\"head\"><h1>Log groups</h1></div><form class=\"filters\" method=\"get\" action=\"{}\" role=\"search\">\
             <label>Name has<input type=\"search\" name=\"q\" value=\"{}\" data-search></label>\
             <div class=\"buttons\"><button class=\"button\">Filter</button></div></form>",
            own,
            request.query.get("q").unwrap_or_default().to_owned()
        );
        let groups = list(&told, "logGroups");
        if groups.is_empty() {
            page.body.add(&empty("There are none."));
        } else {
            put!(
                page.body,
                "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Log groups\"><table><thead><tr>\
                 <th scope=\"col\">Name</th><th scope=\"col\">Kept for</th><th scope=\"col\" class=\"number\">Bytes</th>\
                 <th scope=\"col\" class=\"wide\">Created</th></tr></thead><tbody>"
            );
            for group in groups {
                let name = text(group, "logGroupName");
                let days = group["retentionInDays"].as_u64().map(|days| words::counted(days, "day", "days"));
                put!(
                    page.body,
                    "<tr><td class=\"main\"><a href=\"{}\">{}</a></td><td>{}</td><td class=\"number\">{}</td><td class=\"wide\">{}</td></tr>",
                    path(&["logs", "groups", name]),
                    name,
                    days.unwrap_or_else(|| "ever".to_owned()),
                    words::count(group["storedBytes"].as_u64().unwrap_or(0)),
                    time(group, "creationTime")
                );
            }
            put!(page.body, "</tbody></table></div>");
        }
        page.body.add(&more(&told, &request.query, &own));
        page.body.add(&commands("From the command line", &[logs(request, "describe-log-groups", "")]));
        Ok(page)
    }

    pub(super) fn groups_json(&self, request: &Request) -> Result<Value, Failure> {
        self.groups(&request.query)
    }

    /// The events of a group, or of a stream of it: the last ones, or those that a pattern finds.
    fn events(&self, group: &str, query: &Pairs) -> Result<Value, Failure> {
        let (stream, pattern) = (query.get("stream"), query.get("q"));
        if let (Some(stream), None) = (stream, pattern) {
            let members =
                json!({ "logGroupName": group, "logStreamName": stream, "limit": EVENTS, "startFromHead": false });
            return self.logs_api("GetLogEvents", &Self::paged(members, query));
        }
        let mut members = json!({ "logGroupName": group, "limit": EVENTS });
        if let Some(stream) = stream {
            members["logStreamNames"] = json!([stream]);
        }
        if let Some(pattern) = pattern {
            members["filterPattern"] = pattern.into();
        }
        self.logs_api("FilterLogEvents", &Self::paged(members, query))
    }

    fn streams(&self, group: &str) -> Result<Value, Failure> {
        let members = json!({ "logGroupName": group, "orderBy": "LastEventTime", "descending": true, "limit": PAGE });
        self.logs_api("DescribeLogStreams", &members)
    }

    pub(super) fn group_page(&self, request: &Request, group: &str) -> Result<Page, Failure> {
        let streams = self.streams(group)?;
        let own = path(&["logs", "groups", group]);
        let query = &request.query;
        let mut page = Page::new(Section::Logs, group);
        page.crumbs(&[("Logs", path(&["logs"])), ("Log groups", path(&["logs", "groups"]))]);
        let value = |name: &str| query.get(name).unwrap_or_default().to_owned();
        put!(
            page.body,
            "<div class=\"head\"><h1>{}</h1></div><form class=\"filters\" method=\"get\" action=\"{}\" role=\"search\">\
             <label>Filter pattern<input type=\"search\" name=\"q\" value=\"{}\" placeholder=\"ERROR -timeout\" data-search></label>\
             <label>Log stream<input name=\"stream\" value=\"{}\" autocomplete=\"off\"></label>\
             <div class=\"buttons\"><button class=\"button\">Search</button>",
            group,
            own,
            value("q"),
            value("stream")
        );
        if query.get("q").is_some() || query.get("stream").is_some() {
            put!(page.body, "<a class=\"button quiet\" href=\"{}\">Clear</a>", own);
        }
        put!(page.body, "</div></form><h2>Streams</h2>");
        page.body.add(&streams_table(list(&streams, "logStreams"), &own));
        put!(page.body, "<h2>Events</h2>");
        let events = self.events(group, query)?;
        page.body.add(&events_table(list(&events, "events")));
        // Of a stream alone the API always has a token for what may come; only what was searched goes on.
        if query.get("q").is_some() || query.get("stream").is_none() {
            page.body.add(&more(&events, query, &own));
        }
        let named = format!(" --log-group-name {}", words::quoted(group));
        let pattern =
            query.get("q").map(|pattern| format!(" --filter-pattern {}", words::quoted(pattern))).unwrap_or_default();
        page.body.add(&commands(
            "From the command line",
            &[
                logs(request, "describe-log-streams", &named),
                logs(request, "filter-log-events", &format!("{named}{pattern}")),
                logs(request, "tail", &format!(" {}", words::quoted(group))),
            ],
        ));
        Ok(page)
    }

    pub(super) fn group_json(&self, request: &Request, group: &str) -> Result<Value, Failure> {
        let (streams, events) = (self.streams(group)?, self.events(group, &request.query)?);
        Ok(json!({
            "logGroupName": group, "logStreams": streams["logStreams"], "events": events["events"], "nextToken": events["nextToken"],
        }))
    }
}

fn streams_table(streams: &[Value], own: &str) -> Html {
    if streams.is_empty() {
        return empty("There are none.");
    }
    let mut html = html!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Streams\"><table><thead><tr><th scope=\"col\">Stream</th>\
         <th scope=\"col\">Last event</th><th scope=\"col\" class=\"wide\">First event</th></tr></thead><tbody>"
    );
    for stream in streams {
        let name = text(stream, "logStreamName");
        put!(
            html,
            "<tr><td class=\"main\"><a href=\"{}{}\">{}</a></td><td>{}</td><td class=\"wide\">{}</td></tr>",
            own,
            Pairs::default().with("stream", name).to_query(),
            name,
            time(stream, "lastEventTimestamp"),
            time(stream, "firstEventTimestamp")
        );
    }
    put!(html, "</tbody></table></div>");
    html
}

fn events_table(events: &[Value]) -> Html {
    if events.is_empty() {
        return empty("There are none.");
    }
    let mut html = html!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Events\"><table class=\"events\"><thead><tr>\
         <th scope=\"col\">Time</th><th scope=\"col\">Message</th></tr></thead><tbody>"
    );
    for event in events {
        let message: String = text(event, "message").trim_end().chars().take(LETTERS_MAX).collect();
        let at = event["timestamp"].as_i64().map(|at| words::precise_time(Timestamp(at)));
        put!(html, "<tr><td>{}</td><td class=\"message\">{}</td></tr>", at, message);
    }
    put!(html, "</tbody></table></div>");
    html
}

/// The way to what the API has not told yet.
fn more(told: &Value, query: &Pairs, own: &str) -> Html {
    match told["nextToken"].as_str() {
        Some(token) => html!(
            "<nav class=\"pager\" aria-label=\"Pages\"><span>There are more.</span><a class=\"button\" data-boost href=\"{}{}\">Next</a></nav>",
            own,
            query.with("next", token).to_query()
        ),
        None => Html::new(),
    }
}

fn list<'a>(told: &'a Value, name: &str) -> &'a [Value] {
    told[name].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn time(value: &Value, name: &str) -> Option<Html> {
    value[name].as_i64().map(|at| words::time(Timestamp(at)))
}

fn logs(request: &Request, action: &str, rest: &str) -> String {
    format!("aws logs {action}{rest} --endpoint-url {}", words::quoted(&request.endpoint()))
}
