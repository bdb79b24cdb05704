//! State machines: the list, a definition with its picture and what is wrong with it, versions and aliases; and the
//! form that starts an execution.

use std::sync::Arc;

use serde_json::{Value, json};
use starmap_asl::{ExecutionType, Severity};
use starmap_engine::INPUT_TEXT;
use starmap_engine::journal::ExecutionsOf;
use starmap_engine::journal::browse::Listing;
use starmap_engine::registry::{AliasRecord, MachineKind, Revision, StateMachineRecord, VersionRecord};

use super::graph::{Graph, Look, Picture};
use super::html::{Html, html, put};
use super::page::{Facts, Page, Section, aws, commands, empty, tabs};
use super::request::{Pairs, Request, path};
use super::routes::{Done, Refused};
use super::words::{self, Mark, badge};
use super::{Console, Failure};

/// Findings that are shown.
const FINDINGS_MAX: usize = 100;
/// Executions whose inputs a form offers.
const INPUTS_MAX: usize = 8;

/// A state machine with what belongs to it.
struct Machine {
    record: StateMachineRecord,
    revision: Arc<Revision>,
    versions: Vec<VersionRecord>,
    aliases: Vec<AliasRecord>,
}

impl Console {
    fn machine(&self, name: &str) -> Result<Machine, Failure> {
        let found = self.engine.resources(|resources| {
            let record = resources.state_machine_named(name).or_else(|| resources.state_machine(name))?;
            Some(Machine {
                record: record.clone(),
                revision: resources.revision(record.revision)?.clone(),
                versions: resources.versions_of(&record.arn).into_iter().cloned().collect(),
                aliases: resources.aliases_of(&record.arn).cloned().collect(),
            })
        });
        found.ok_or_else(|| Failure::missing(format!("There is no state machine {name}.")))
    }

    /// The last executions of a state machine, newest first.
    fn last_executions(
        &self,
        arn: &str,
        limit: usize,
    ) -> Result<Vec<starmap_engine::journal::ExecutionSummary>, Failure> {
        let of = ExecutionsOf::StateMachine(arn.to_owned());
        let listing = Listing { is_descending: true, is_counted: false, ..Listing::new(of, limit) };
        Ok(self.reader.listing(&listing)?.rows)
    }

    pub(super) fn machines_page(&self, request: &Request) -> Result<Page, Failure> {
        let mut page = Page::new(Section::StateMachines, "State machines");
        put!(page.body, "<div class=\"head\"><h1>State machines</h1></div>");
        page.is_live = true;
        let machines: Vec<StateMachineRecord> =
            self.engine.resources(|resources| resources.state_machines().cloned().collect());
        let mut part = Html::new();
        if machines.is_empty() {
            part = empty(
                "There are none yet. Create one with the AWS CLI, an SDK or Terraform, or let `starmap demo` make one.",
            );
        } else {
            put!(
                part,
                "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"State machines\"><table><thead><tr>\
                 <th scope=\"col\">Name</th><th scope=\"col\">Type</th><th scope=\"col\">Last execution</th>\
                 <th scope=\"col\" class=\"wide\">Updated</th><th scope=\"col\"><span class=\"unseen\">Actions</span></th></tr></thead><tbody>"
            );
            for machine in &machines {
                let last = self.last_executions(&machine.arn, 1)?.into_iter().next();
                let last = last.map(|last| {
                    html!(
                        "<a href=\"{}\">{}</a> {}",
                        path(&["executions", &last.id.0.to_string()]),
                        last.name,
                        badge(last.status)
                    )
                });
                put!(
                    part,
                    "<tr><td class=\"main\"><a href=\"{}\">{}</a></td><td>{}</td><td>{}</td><td class=\"wide\">{}</td>\
                     <td class=\"number\"><a class=\"button\" href=\"{}\" aria-label=\"Start an execution of {}\">Start</a></td></tr>",
                    path(&["machines", &machine.name]),
                    machine.name,
                    kind_word(machine.kind),
                    last,
                    words::time(machine.updated_at),
                    path(&["machines", &machine.name, "start"]),
                    machine.name
                );
            }
            put!(part, "</tbody></table></div>");
        }
        page.part("rows", part);
        let endpoint = request.endpoint();
        page.body.add(&commands(
            "From the command line",
            &[
                aws(&endpoint, "list-state-machines", &[]),
                aws(
                    &endpoint,
                    "create-state-machine",
                    &[
                        ("name", "NAME"),
                        ("role-arn", "arn:aws:iam::123456789012:role/any"),
                        ("definition", "file://state-machine.asl.json"),
                    ],
                ),
            ],
        ));
        Ok(page)
    }

    pub(super) fn machine_page(&self, request: &Request, name: &str) -> Result<Page, Failure> {
        let machine = self.machine(name)?;
        let own = path(&["machines", &machine.record.name]);
        let mut page = Page::new(Section::StateMachines, &machine.record.name);
        page.crumbs(&[("State machines", path(&["machines"]))]);
        put!(
            page.body,
            "<div class=\"head\"><h1>{}</h1><a class=\"button primary\" href=\"{}/start\">Start execution</a>\
             <a class=\"button\" href=\"{}{}\">Executions</a></div>",
            machine.record.name,
            own,
            path(&["executions"]),
            Pairs::default().with("machine", &machine.record.arn).to_query()
        );
        let mut facts = Facts::new();
        facts.add("Type", kind_word(machine.record.kind));
        facts.add("Created", words::time(machine.record.created_at));
        facts.add("Updated", words::time(machine.record.updated_at));
        facts.add("Revision", machine.revision.id.as_deref().unwrap_or("INITIAL"));
        let role = html!("<code class=\"arn\">{}</code>", machine.revision.role_arn);
        let link = self.role_link(&machine.revision.role_arn);
        facts.add("Role", link.map_or_else(|| role.clone(), |link| html!("<a href=\"{}\">{}</a>", link, role)));
        facts.add("ARN", html!("<code class=\"arn\">{}</code>", machine.record.arn));
        page.body.add(&facts.done());
        let view = request.query.get("view").unwrap_or("definition");
        let versions = format!("Versions ({})", machine.versions.len());
        let aliases = format!("Aliases ({})", machine.aliases.len());
        page.body.add(&tabs(
            "Views of the state machine",
            &[
                ("definition", "Definition", own.clone()),
                ("versions", &versions, format!("{own}?view=versions")),
                ("aliases", &aliases, format!("{own}?view=aliases")),
            ],
            view,
        ));
        let shown = match view {
            "versions" => versions_view(&machine, &own),
            "aliases" => aliases_view(&machine, &own),
            _ => self.definition_view(request, &machine, &own),
        };
        page.part("view", shown);
        let endpoint = request.endpoint();
        let arn = machine.record.arn.as_str();
        page.body.add(&commands(
            "From the command line",
            &[
                aws(&endpoint, "describe-state-machine", &[("state-machine-arn", arn)]),
                aws(
                    &endpoint,
                    "update-state-machine",
                    &[("state-machine-arn", arn), ("definition", "file://state-machine.asl.json")],
                ),
                aws(&endpoint, "publish-state-machine-version", &[("state-machine-arn", arn)]),
                "starmap asl check state-machine.asl.json".to_owned(),
            ],
        ));
        Ok(page)
    }

    fn definition_view(&self, request: &Request, machine: &Machine, own: &str) -> Html {
        let (graph, chosen) = (self.graph(&machine.revision), request.query.get("state"));
        let mut html = html!(
            "<div class=\"graph-page beside\"><div class=\"canvas\" tabindex=\"0\" role=\"region\" aria-label=\"Graph\">"
        );
        match &*graph {
            Ok(graph) => html.add(&still(graph, own, chosen)),
            Err(reason) => html.add(&empty(&format!("There is no picture of this definition: {reason}."))),
        };
        put!(html, "</div><div class=\"panel\">{}</div></div>", with_findings(&machine.revision));
        html
    }

    pub(super) fn start_page(&self, request: &Request, name: &str) -> Result<Page, Failure> {
        let machine = self.machine(name)?;
        let mut input = "{\n}\n".to_owned();
        if let Some(from) = request.query.get("from") {
            let record = self.execution(from)?;
            let own_text = record.annotations.get(INPUT_TEXT).and_then(Value::as_str);
            input = own_text.map_or_else(|| format!("{:#}", record.input), str::to_owned);
        } else if let Some(last) = self.last_executions(&machine.record.arn, 1)?.first() {
            input = self.reader.execution(last.id)?.map_or(input, |record| format!("{:#}", record.input));
        }
        self.start_form(request, &machine, "", &input, request.query.get("target").unwrap_or(&machine.record.arn))
    }

    fn start_form(
        &self,
        request: &Request,
        machine: &Machine,
        name: &str,
        input: &str,
        target: &str,
    ) -> Result<Page, Failure> {
        let own = path(&["machines", &machine.record.name]);
        let mut page = Page::new(Section::StateMachines, "Start execution");
        page.crumbs(&[("State machines", path(&["machines"])), (&machine.record.name, own.clone())]);
        put!(
            page.body,
            "<h1>Start execution</h1><form method=\"post\" action=\"{}/start\" class=\"stack\">{}",
            own,
            self.token_field()
        );
        put!(page.body, "<label>State machine<select name=\"target\">");
        let mut targets = vec![(machine.record.arn.clone(), format!("{}, as it is now", machine.record.name))];
        targets.extend(machine.aliases.iter().map(|alias| (alias.arn.clone(), format!("alias {}", alias.name))));
        targets.extend(
            machine.versions.iter().rev().map(|version| (version.arn.clone(), format!("version {}", version.number))),
        );
        for (arn, word) in targets {
            let selected = if arn == target { " selected" } else { "" };
            put!(page.body, "<option value=\"{}\"{}>{}</option>", arn, Html::trusted(selected), word);
        }
        put!(
            page.body,
            "</select></label><label>Name<input name=\"name\" value=\"{}\" maxlength=\"80\" autocomplete=\"off\" aria-describedby=\"name-note\"></label>\
             <p class=\"note\" id=\"name-note\">Up to 80 letters, digits, - and _. Without one it gets a random name.</p>\
             <label for=\"input\">Input</label>\
             <textarea id=\"input\" name=\"input\" rows=\"18\" spellcheck=\"false\" data-json aria-describedby=\"input-check\">\n{}</textarea>\
             <p class=\"note\" id=\"input-check\" role=\"status\">JSON, up to 262 144 bytes.</p>\
             <div class=\"buttons\"><button class=\"button primary\">Start execution</button>\
             <button type=\"button\" class=\"button\" data-format hidden>Format</button></div></form>",
            name,
            input
        );
        let last = self.last_executions(&machine.record.arn, INPUTS_MAX)?;
        if !last.is_empty() {
            put!(page.body, "<section><h2>Last inputs</h2><ul class=\"plain\">");
            for execution in &last {
                put!(
                    page.body,
                    "<li><a href=\"{}/start?from={}\">{}</a> {} <small>{}</small></li>",
                    own,
                    execution.id.0,
                    execution.name,
                    badge(execution.status),
                    words::time(execution.started_at)
                );
            }
            put!(page.body, "</ul></section>");
        }
        page.body.add(&commands(
            "From the command line",
            &[aws(
                &request.endpoint(),
                "start-execution",
                &[("state-machine-arn", target), ("input", "file://input.json")],
            )],
        ));
        Ok(page)
    }

    pub(super) async fn start_execution(self: &Arc<Self>, request: &Request, name: &str, form: &Pairs) -> Done {
        let machine = self.machine(name)?;
        let target = form.get("target").unwrap_or(&machine.record.arn).to_owned();
        let mut members = json!({ "stateMachineArn": target, "input": form.get("input").unwrap_or("{}") });
        if let Some(name) = form.get("name") {
            members["name"] = name.trim().into();
        }
        match self.call("StartExecution", members).await {
            Ok(started) => {
                let arn = started["executionArn"].as_str().unwrap_or_default();
                match self.reader.execution_by_arn(arn).map_err(Failure::from)? {
                    Some(record) => Ok(format!("{}?done=started", path(&["executions", &record.id.0.to_string()]))),
                    // An Express execution is in no list.
                    None => Ok(format!("{}?done=started", path(&["machines", name]))),
                }
            }
            Err(error) => {
                let page = self.start_form(
                    request,
                    &machine,
                    form.get("name").unwrap_or_default(),
                    form.get("input").unwrap_or_default(),
                    &target,
                )?;
                Err(Box::new(Refused { failure: error.into(), page: Some(page) }))
            }
        }
    }

    pub(super) fn machines_json(&self) -> Result<Value, Failure> {
        let machines: Vec<Value> =
            self.engine.resources(|resources| resources.state_machines().map(record_json).collect());
        Ok(json!({ "stateMachines": machines }))
    }

    pub(super) fn machine_json(&self, _request: &Request, name: &str) -> Result<Value, Failure> {
        let machine = self.machine(name)?;
        let mut value = record_json(&machine.record);
        value["roleArn"] = machine.revision.role_arn.as_str().into();
        value["definition"] = machine.revision.definition.as_str().into();
        value["diagnostics"] = findings(&machine.revision)
            .iter()
            .map(|finding| {
                json!({
                    "severity": if finding.severity == Severity::Error { "ERROR" } else { "WARNING" },
                    "code": finding.code.as_str(),
                    "message": finding.message,
                    "location": finding.location(),
                    "line": finding.position.map(|position| position.line),
                })
            })
            .collect();
        value["versions"] = machine
            .versions
            .iter()
            .map(|version| json!({ "arn": version.arn, "number": version.number, "description": version.description, "creationDate": version.created_at.to_string() }))
            .collect();
        let routes = |alias: &AliasRecord| -> Value {
            alias
                .routes
                .iter()
                .map(|route| json!({ "stateMachineVersionArn": route.version_arn, "weight": route.weight }))
                .collect()
        };
        value["aliases"] = machine
            .aliases
            .iter()
            .map(|alias| json!({ "arn": alias.arn, "name": alias.name, "routingConfiguration": routes(alias) }))
            .collect();
        Ok(value)
    }

    /// What the form offers.
    pub(super) fn start_json(&self, name: &str) -> Result<Value, Failure> {
        let machine = self.machine(name)?;
        let last = self.last_executions(&machine.record.arn, INPUTS_MAX)?;
        let inputs = last.iter().map(|execution| {
            let record = self.reader.execution(execution.id)?;
            Ok(json!({ "name": execution.name, "status": execution.status.as_str(), "input": record.map(|record| record.input) }))
        });
        let inputs: Vec<Value> = inputs.collect::<Result<_, Failure>>()?;
        let mut targets = vec![machine.record.arn.clone()];
        targets.extend(machine.aliases.into_iter().map(|alias| alias.arn));
        targets.extend(machine.versions.into_iter().map(|version| version.arn));
        Ok(json!({ "stateMachineArn": machine.record.arn, "targets": targets, "lastInputs": inputs }))
    }
}

/// A picture of a definition by itself.
fn still(graph: &Graph, own: &str, chosen: Option<&str>) -> Html {
    let look = |_: &str| Look { mark: Mark::NotStarted, note: String::new(), counts: None };
    graph.draw(&Picture {
        look: &look,
        is_taken: &|_, _| false,
        link: &|name| format!("{own}{}", Pairs::default().with("state", name).to_query()),
        selected: chosen,
        is_live: false,
        title: "State machine",
    })
}

fn findings(revision: &Revision) -> Vec<starmap_asl::Diagnostic> {
    let kind = match revision.kind {
        MachineKind::Standard => ExecutionType::Standard,
        MachineKind::Express => ExecutionType::Express,
    };
    let mut found = starmap_asl::check(&revision.definition, kind).1;
    found.truncate(FINDINGS_MAX);
    found
}

/// The text of a definition by lines, with what is wrong under the line where it is.
fn with_findings(revision: &Revision) -> Html {
    let found = findings(revision);
    let mut html = Html::new();
    let text = match serde_json::from_str::<Value>(&revision.definition) {
        // Written in one line it can't be read by anyone.
        Ok(value) if revision.definition.lines().count() < 4 && found.is_empty() => format!("{value:#}"),
        _ => revision.definition.clone(),
    };
    if !found.is_empty() {
        put!(html, "<p class=\"note\">{}</p>", words::counted(found.len() as u64, "finding", "findings"));
    }
    put!(html, "<pre class=\"code\" tabindex=\"0\" role=\"group\" aria-label=\"Definition\"><code>");
    for (index, line) in text.lines().enumerate() {
        let here =
            || found.iter().filter(move |finding| finding.position.map_or(0, |position| position.line) == index + 1);
        let class = if here().next().is_some() { "l has-finding" } else { "l" };
        put!(html, "<span class=\"{}\">{}\n</span>", class, line);
        for finding in here() {
            html.add(&shown_finding(finding));
        }
    }
    for finding in found.iter().filter(|finding| finding.position.is_none()) {
        html.add(&shown_finding(finding));
    }
    put!(html, "</code></pre>");
    html
}

fn shown_finding(finding: &starmap_asl::Diagnostic) -> Html {
    let (class, word) = match finding.severity {
        Severity::Error => ("finding error", "Error"),
        Severity::Warning => ("finding warning", "Warning"),
    };
    html!("<span class=\"{}\">{}: {} <small>{}</small></span>", class, word, finding.message, finding.pointer)
}

fn versions_view(machine: &Machine, own: &str) -> Html {
    if machine.versions.is_empty() {
        return empty("No version was published yet.");
    }
    let mut html = html!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Versions\"><table><thead><tr><th scope=\"col\">Version</th>\
         <th scope=\"col\">Description</th><th scope=\"col\">Created</th><th scope=\"col\">Aliases</th></tr></thead><tbody>"
    );
    for version in machine.versions.iter().rev() {
        let leads = |alias: &&AliasRecord| alias.routes.iter().any(|route| route.version_arn == version.arn);
        let aliases: Vec<&str> = machine.aliases.iter().filter(leads).map(|alias| alias.name.as_str()).collect();
        put!(
            html,
            "<tr><td class=\"main\"><a href=\"{}/start{}\">{}</a></td><td>{}</td><td>{}</td><td>{}</td></tr>",
            own,
            Pairs::default().with("target", &version.arn).to_query(),
            version.number,
            version.description,
            words::time(version.created_at),
            aliases.join(", ")
        );
    }
    put!(html, "</tbody></table></div>");
    html
}

fn aliases_view(machine: &Machine, own: &str) -> Html {
    if machine.aliases.is_empty() {
        return empty("There is no alias.");
    }
    let mut html = html!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Aliases\"><table><thead><tr><th scope=\"col\">Alias</th>\
         <th scope=\"col\">Routes</th><th scope=\"col\">Description</th><th scope=\"col\">Updated</th></tr></thead><tbody>"
    );
    for alias in &machine.aliases {
        let route = |route: &starmap_engine::registry::Route| {
            format!("{} % to version {}", route.weight, route.version_arn.rsplit(':').next().unwrap_or_default())
        };
        let routes: Vec<String> = alias.routes.iter().map(route).collect();
        put!(
            html,
            "<tr><td class=\"main\"><a href=\"{}/start{}\">{}</a></td><td>{}</td><td>{}</td><td>{}</td></tr>",
            own,
            Pairs::default().with("target", &alias.arn).to_query(),
            alias.name,
            routes.join(", "),
            alias.description,
            words::time(alias.updated_at)
        );
    }
    put!(html, "</tbody></table></div>");
    html
}

fn record_json(machine: &StateMachineRecord) -> Value {
    json!({
        "stateMachineArn": machine.arn,
        "name": machine.name,
        "type": machine.kind.as_str(),
        "creationDate": machine.created_at.to_string(),
        "updateDate": machine.updated_at.to_string(),
    })
}

fn kind_word(kind: MachineKind) -> &'static str {
    match kind {
        MachineKind::Standard => "Standard",
        MachineKind::Express => "Express",
    }
}
