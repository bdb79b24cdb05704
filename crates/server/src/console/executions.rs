//! The list of executions: filtered, sorted, paged; and what is done to several at once.

use std::sync::Arc;

use serde_json::{Value, json};
use starmap_asl::Timestamp;
use starmap_engine::journal::browse::{Listing, Order};
use starmap_engine::journal::condition::Condition;
use starmap_engine::journal::{ExecutionSummary, ExecutionsOf, Status};

use super::html::{Html, html, put};
use super::page::{Page, Section, aws, commands, empty, pager};
use super::request::{Pairs, Request, path};
use super::routes::Done;
use super::words::{self, badge, status_word};
use super::{Console, Failure};

/// Rows of a page unless told otherwise, and at most.
const SIZE: u64 = 50;
const SIZE_MAX: u64 = 500;
/// Actions on so many at once.
const CHOSEN_MAX: usize = 500;
/// What a query can filter by.
const FILTERS: [&str; 7] = ["q", "machine", "status", "version", "input", "from", "to"];

pub(super) const STATUSES: [Status; 5] =
    [Status::Running, Status::Succeeded, Status::Failed, Status::TimedOut, Status::Aborted];

/// What a query asks for, and where on which page.
pub(super) fn listing_of(query: &Pairs, of: ExecutionsOf) -> Result<(Listing, u64), Failure> {
    let number = |name: &str, default: u64| query.get(name).and_then(|value| value.parse().ok()).unwrap_or(default);
    let size = number("size", SIZE).clamp(1, SIZE_MAX);
    let page = number("page", 1).max(1);
    let order = match query.get("sort") {
        Some("name") => Order::Name,
        Some("status") => Order::Status,
        Some("duration") => Order::Duration,
        Some("stopped") => Order::Stopped,
        Some("version") => Order::Version,
        Some("alias") => Order::Alias,
        Some("redrives") => Order::Redrives,
        _ => Order::Started,
    };
    let statuses = query.all("status").flat_map(|value| value.split(','));
    let statuses = statuses.filter_map(|value| Status::parse(&value.to_uppercase().replace('-', "_"))).collect();
    let date = |name: &str| match query.get(name) {
        None => Ok(None),
        Some(text) => {
            day(text).map(Some).ok_or_else(|| Failure::wrong(format!("{name}: {text:?} is no date as in 2026-11-27")))
        }
    };
    let listing = Listing {
        name_has: query.get("q").map(str::to_owned),
        statuses,
        started_from: date("from")?,
        // The day itself is in.
        started_before: date("to")?.map(|day| Timestamp(day.0 + 24 * 60 * 60 * 1000)),
        version: query.get("version").map(str::to_owned),
        input: Condition::parse_all(query.get("input").unwrap_or_default())
            .map_err(|error| Failure::wrong(format!("Input: {error}")))?,
        order,
        is_descending: query.get("dir").map_or(order != Order::Name, |dir| dir == "desc"),
        offset: (page - 1).saturating_mul(size),
        ..Listing::new(of, usize::try_from(size).unwrap_or(usize::MAX))
    };
    Ok((listing, size))
}

/// Midnight of a day, UTC.
fn day(text: &str) -> Option<Timestamp> {
    let midnight: jiff::Timestamp = format!("{text}T00:00:00Z").parse().ok()?;
    Some(Timestamp(midnight.as_millisecond()))
}

impl Console {
    pub(super) fn executions_page(&self, request: &Request) -> Result<Page, Failure> {
        let query = &request.query;
        let of = query.get("machine").map_or(ExecutionsOf::Everyone, |arn| ExecutionsOf::StateMachine(arn.to_owned()));
        let (listing, size) = listing_of(query, of)?;
        let found = self.reader.listing(&listing)?;
        let mut page = Page::new(Section::Executions, "Executions");
        page.is_live = true;
        put!(
            page.body,
            "<div class=\"head\"><h1>Executions</h1><a class=\"button primary\" href=\"{}\">Start execution</a></div>",
            path(&["machines"])
        );
        page.body.add(&self.filters(query));
        put!(
            page.body,
            "<form method=\"post\" action=\"{}\" class=\"many\">{}",
            path(&["executions"]),
            self.token_field()
        );
        put!(
            page.body,
            "<div class=\"actions\" role=\"group\" aria-label=\"With those that are chosen\">\
             <span class=\"chosen\" data-chosen>Choose executions to</span>\
             <button name=\"action\" value=\"stop\" class=\"button\" data-needs=\"1\" data-sure=\"Stop the chosen executions?\">Stop</button>\
             <button name=\"action\" value=\"redrive\" class=\"button\" data-needs=\"1\">Redrive</button>\
             <button class=\"button\" formmethod=\"get\" formaction=\"{}\" data-needs=\"2\">Compare</button></div>",
            path(&["compare"])
        );
        let rows = self.rows(&found.rows, query);
        let link = |to: u64| {
            format!("{}{}", path(&["executions"]), query.with("page", &to.to_string()).with("done", "").to_query())
        };
        let mut part = rows;
        part.add(&pager(listing.offset, found.rows.len() as u64, found.total, size, &link));
        page.part("rows", part);
        put!(page.body, "</form>");
        let endpoint = request.endpoint();
        let mut asked = vec![("state-machine-arn", query.get("machine").unwrap_or("ARN"))];
        let status = query.get("status").map(str::to_uppercase);
        asked.extend(status.as_deref().map(|status| ("status-filter", status)));
        page.body.add(&commands(
            "From the command line",
            &[
                "starmap executions list".to_owned() + &self.data_argument(),
                format!(
                    "curl -s {}",
                    words::quoted(&format!("{endpoint}{}.json{}", path(&["executions"]), query.to_query()))
                ),
                aws(&endpoint, "list-executions", &asked),
                aws(&endpoint, "stop-execution", &[("execution-arn", "ARN")]),
                aws(&endpoint, "redrive-execution", &[("execution-arn", "ARN")]),
            ],
        ));
        Ok(page)
    }

    /// ` --data DIR` as far as it is needed.
    pub(super) fn data_argument(&self) -> String {
        self.data.as_ref().map_or_else(String::new, |data| format!(" --data {}", words::quoted(data)))
    }

    fn filters(&self, query: &Pairs) -> Html {
        let value = |name: &str| query.get(name).unwrap_or_default().to_owned();
        let mut html = html!(
            "<form class=\"filters\" method=\"get\" action=\"{}\" role=\"search\"><label>Name has\
             <input type=\"search\" name=\"q\" value=\"{}\" data-search></label><label>State machine<select name=\"machine\">\
             <option value=\"\">All</option>",
            path(&["executions"]),
            value("q")
        );
        let machines: Vec<(String, String)> = self.engine.resources(|resources| {
            resources.state_machines().map(|machine| (machine.arn.clone(), machine.name.clone())).collect()
        });
        for (arn, name) in machines {
            let selected = if query.get("machine") == Some(&arn) { " selected" } else { "" };
            put!(html, "<option value=\"{}\"{}>{}</option>", arn, Html::trusted(selected), name);
        }
        put!(html, "</select></label><label>Status<select name=\"status\"><option value=\"\">All</option>");
        for status in STATUSES {
            let selected = if query.get("status").is_some_and(|given| given.eq_ignore_ascii_case(status.as_str())) {
                " selected"
            } else {
                ""
            };
            put!(
                html,
                "<option value=\"{}\"{}>{}</option>",
                status.as_str(),
                Html::trusted(selected),
                status_word(status)
            );
        }
        put!(
            html,
            "</select></label><label>Version or alias<input name=\"version\" value=\"{}\" class=\"short\"></label>\
             <label>Input has<input name=\"input\" value=\"{}\" placeholder=\"$.batch_size = 256\" list=\"input-examples\" \
             autocomplete=\"off\" spellcheck=\"false\"></label><datalist id=\"input-examples\"><option value=\"$.batch_size = 256\">\
             <option value=\"$.batch_size &gt;= 256 and $.overwrite = true\"><option value=\"$.bucket ~ sky\"></datalist>\
             <label>Started from<input type=\"date\" name=\"from\" value=\"{}\"></label>\
             <label>to<input type=\"date\" name=\"to\" value=\"{}\"></label>",
            value("version"),
            value("input"),
            value("from"),
            value("to")
        );
        for name in ["sort", "dir", "size"] {
            if let Some(value) = query.get(name) {
                put!(html, "<input type=\"hidden\" name=\"{}\" value=\"{}\">", name, value);
            }
        }
        put!(html, "<div class=\"buttons\"><button class=\"button\">Filter</button>");
        if is_filtered(query) {
            put!(html, "<a class=\"button quiet\" href=\"{}\">Clear</a>", path(&["executions"]));
        }
        put!(html, "</div></form>");
        html
    }

    fn rows(&self, rows: &[ExecutionSummary], query: &Pairs) -> Html {
        if rows.is_empty() {
            return empty(if is_filtered(query) {
                "No execution matches."
            } else {
                "Nothing has run here yet. Start an execution of a state machine, or let `starmap demo` make one."
            });
        }
        let mut html = html!(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Executions\"><table><thead><tr>\
             <th class=\"pick\"><input type=\"checkbox\" data-all aria-label=\"Choose all on this page\"></th>"
        );
        for (key, name, class) in [
            ("name", "Name", ""),
            ("status", "Status", ""),
            ("started", "Started", ""),
            ("stopped", "Ended", "wide"),
            ("duration", "Duration", "number"),
            ("version", "Version", "wide number"),
            ("alias", "Alias", "wide"),
            ("redrives", "Redrives", "wide number"),
        ] {
            html.add(&sortable(query, &path(&["executions"]), key, name, class, "started"));
        }
        put!(html, "</tr></thead><tbody>");
        let now = self.now();
        for row in rows {
            let machine = row.state_machine_arn.rsplit(':').next().unwrap_or_default();
            let id = row.id.0.to_string();
            put!(
                html,
                "<tr id=\"e{}\"><td class=\"pick\"><input type=\"checkbox\" name=\"id\" value=\"{}\" aria-label=\"Choose {}\"></td>\
                 <td class=\"main\"><a href=\"{}\">{}</a><small>{}</small></td><td>{}</td><td>{}</td><td class=\"wide\">{}</td>\
                 <td class=\"number\">{}</td>",
                id,
                id,
                row.name,
                path(&["executions", &id]),
                row.name,
                machine,
                badge(row.status),
                words::time(row.started_at),
                row.stopped_at.map(words::time),
                took(row, now)
            );
            let last = |arn: &Option<String>| arn.as_ref().and_then(|arn| arn.rsplit(':').next()).map(str::to_owned);
            put!(
                html,
                "<td class=\"wide number\">{}</td><td class=\"wide\">{}</td><td class=\"wide number\">{}</td></tr>",
                last(&row.version_arn),
                last(&row.alias_arn),
                (row.redrive_count > 0).then_some(row.redrive_count)
            );
        }
        put!(html, "</tbody></table></div>");
        html
    }

    pub(super) fn executions_json(&self, request: &Request) -> Result<Value, Failure> {
        let query = &request.query;
        let of = query.get("machine").map_or(ExecutionsOf::Everyone, |arn| ExecutionsOf::StateMachine(arn.to_owned()));
        let (listing, size) = listing_of(query, of)?;
        let found = self.reader.listing(&listing)?;
        let rows: Vec<Value> = found.rows.iter().map(summary_json).collect();
        Ok(json!({ "total": found.total, "page": listing.offset / size + 1, "size": size, "executions": rows }))
    }

    /// Stops or redrives all that were chosen; what is refused is said at the end.
    pub(super) async fn act_on_executions(self: &Arc<Self>, form: &Pairs) -> Done {
        let chosen: Vec<String> = form.all("id").map(str::to_owned).collect();
        if chosen.is_empty() || chosen.len() > CHOSEN_MAX {
            return Err(Failure::wrong(format!("Choose 1 to {CHOSEN_MAX} executions.")).into());
        }
        let action = match form.get("action") {
            Some("stop") => "StopExecution",
            Some("redrive") => "RedriveExecution",
            _ => return Err(Failure::wrong("What to do with the chosen executions was not said.").into()),
        };
        let mut refused = Vec::new();
        for id in &chosen {
            let record = self.execution(id)?;
            if let Err(error) = self.call(action, json!({ "executionArn": record.arn })).await {
                refused.push(format!("{}: {}", record.name, error.message));
            }
        }
        if refused.is_empty() {
            return Ok(format!("{}?done=several", path(&["executions"])));
        }
        let message = format!("{} of {} were refused. {}", refused.len(), chosen.len(), refused.join("; "));
        Err(Failure { status: 409, message }.into())
    }
}

fn is_filtered(query: &Pairs) -> bool {
    FILTERS.iter().any(|name| query.get(name).is_some())
}

/// The head of a column, and the way to sort by it.
pub(super) fn sortable(query: &Pairs, base: &str, key: &str, name: &str, class: &str, default: &str) -> Html {
    if key.is_empty() {
        return html!("<th scope=\"col\" class=\"{}\">{}</th>", class, name);
    }
    let is_sorted = query.get("sort").unwrap_or(default) == key;
    let is_descending = query.get("dir").map_or(key != "name", |dir| dir == "desc");
    let dir = match is_sorted {
        true if is_descending => "asc",
        true => "desc",
        false if key == "name" => "asc",
        false => "desc",
    };
    let link =
        format!("{base}{}", query.with("sort", key).with("dir", dir).with("page", "").with("done", "").to_query());
    let (aria, arrow) = match (is_sorted, is_descending) {
        (true, true) => ("descending", "↓"),
        (true, false) => ("ascending", "↑"),
        (false, _) => ("none", ""),
    };
    html!(
        "<th scope=\"col\" class=\"{}\" aria-sort=\"{}\"><a href=\"{}\" data-boost>{}<span aria-hidden=\"true\">{}</span></a></th>",
        class,
        aria,
        link,
        name,
        arrow
    )
}

/// How long it took, or has taken so far.
pub(super) fn took(row: &ExecutionSummary, now: Timestamp) -> String {
    words::duration(row.stopped_at.unwrap_or(now).0 - row.started_at.0)
}

/// An execution in a list, as data.
pub(super) fn summary_json(row: &ExecutionSummary) -> Value {
    json!({
        "id": row.id.0,
        "executionArn": row.arn,
        "name": row.name,
        "stateMachineArn": row.state_machine_arn,
        "stateMachineVersionArn": row.version_arn,
        "stateMachineAliasArn": row.alias_arn,
        "itemIndex": row.parent.map(|parent| parent.item_index),
        "status": row.status.as_str(),
        "error": row.error,
        "cause": row.cause,
        "startDate": row.started_at.to_string(),
        "stopDate": row.stopped_at.map(|at| at.to_string()),
        "durationMs": row.stopped_at.map(|at| at.0 - row.started_at.0),
        "redriveCount": row.redrive_count,
    })
}
