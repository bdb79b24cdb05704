//! `starmap iam`: roles and what they allow.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use starmap_engine::names::Naming;
use starmap_iam::directory::{NewRole, Owner, Role};
use starmap_iam::evaluate::Named;
use starmap_iam::{Caller, Directory, Effect, Kind, Policies, Policy, Request, evaluate, managed};
use starmap_pipeline::access;
use starmap_pipeline::payload::InitializeRequest;
use starmap_server::iam::Store;
use starmap_server::roles::{self, Optional, Permission, needs};

use crate::apis::iam_in;
use crate::data_root::DataRoot;
use crate::printer::Printer;
use crate::session::now;
use crate::{definition, exit, table, variables};

/// Roles of a data root, and policies in files.
#[derive(Debug, Subcommand)]
pub enum IamCommand {
    /// Say whether a role may do something, and which statement decided
    Simulate(SimulateArgs),
    /// Write the smallest policies that let a state machine and its functions do their work
    LeastPrivilege(LeastPrivilegeArgs),
    /// Show a role: summary, policies, trust relationship, tags, last accessed, sessions
    Show(ShowArgs),
}

/// Arguments of `starmap iam simulate`.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// A role of the data root, or a JSON file: a policy, a list of policies (documents or ARNs of AWS's), or an object
    /// with `identity`, `boundary`, `session` and `resource`
    #[arg(long, value_name = "NAME|FILE")]
    role: String,
    /// What is to be done, as in s3:GetObject
    #[arg(long, value_name = "ACTION")]
    action: String,
    /// To what: an ARN, or * for actions that are about nothing in particular
    #[arg(long, value_name = "ARN", default_value = "*")]
    resource: String,
    /// A condition key of the request; again for further values
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    context: Vec<(String, String)>,
    /// Folder of the data root
    #[arg(long, env = variables::DATA, value_name = "DIR", default_value = "starmap-data")]
    data: PathBuf,
}

/// Arguments of `starmap iam least-privilege`.
#[derive(Debug, Args)]
pub struct LeastPrivilegeArgs {
    /// The definition of the state machine
    #[arg(value_name = "DEFINITION")]
    definition: PathBuf,
    /// The input of the execution: buckets and prefixes are its
    #[arg(value_name = "INPUT")]
    input: PathBuf,
    /// Name of the state machine, for the ARNs of its executions
    #[arg(long, value_name = "NAME", default_value = "redshift")]
    name: String,
    /// Name of the state machine's role; those of the functions are named as the functions
    #[arg(long, value_name = "NAME", default_value = "starmap")]
    role: String,
    /// Account that ARNs are written for
    #[arg(long, value_name = "DIGITS")]
    account: Option<String>,
    /// Region that ARNs are written for
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// What a function of the definition is: NAME=initialize, NAME=infer or NAME=summarize
    #[arg(long = "function", value_name = "NAME=HANDLER", value_parser = definition::parse_alias)]
    functions: Vec<(String, String)>,
    /// Allow the state machine to log to CloudWatch Logs, and the functions to write their logs
    #[arg(long)]
    logging: bool,
    /// Allow traces to X-Ray
    #[arg(long)]
    tracing: bool,
    /// Allow map runs to be redriven
    #[arg(long)]
    redrives: bool,
    /// Make these roles in the data root, or give them these policies, for `starmap serve --enforce-iam`
    #[arg(long)]
    apply: bool,
    /// Folder of the data root
    #[arg(long, env = variables::DATA, value_name = "DIR", default_value = "starmap-data")]
    data: PathBuf,
}

/// Arguments of `starmap iam show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The role's name
    #[arg(value_name = "ROLE")]
    role: String,
    /// Folder of the data root
    #[arg(long, env = variables::DATA, value_name = "DIR", default_value = "starmap-data")]
    data: PathBuf,
}

/// Runs the command.
pub fn run(command: &IamCommand, printer: &Printer) -> anyhow::Result<ExitCode> {
    match command {
        IamCommand::Simulate(args) => simulate(args, printer),
        IamCommand::LeastPrivilege(args) => least_privilege(args, printer),
        IamCommand::Show(args) => show(args, printer),
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, as in aws:SourceIp=203.0.113.5")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn simulate(args: &SimulateArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let SimulateArgs { role, action, resource, context, data } = args;
    if !action.contains(':') {
        return Err(exit::usage(format!("action {action:?}: expected service:Action, as in s3:GetObject")));
    }
    let (caller, policies, request_of) = if Path::new(role).is_file() {
        let name = Path::new(role).file_stem().unwrap_or_default().to_string_lossy();
        let arn = format!("arn:aws:iam::{}:role/{name}", Naming::default().account);
        let caller = Caller::Session { role_arn: arn, role_id: "AROA".to_owned(), session: "simulate".to_owned() };
        (caller, policies_in(Path::new(role))?, None)
    } else {
        let directory = directory(data)?;
        let found = role_of(&directory, role, data)?;
        let caller = found.caller("simulate");
        (caller.clone(), directory.policies_of(&caller, None), Some(directory))
    };
    let mut request = Request::new(caller, action, resource);
    if let Some(directory) = &request_of {
        request = directory.tagged(request);
    }
    let mut given: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, value) in context {
        given.entry(key).or_default().push(value);
    }
    for (key, values) in given {
        request.context.set(key, values);
    }
    let decision = evaluate(&request, &policies);
    let effect = match decision.effect {
        Effect::Allowed => "allowed",
        Effect::ExplicitDeny => "explicitDeny",
        Effect::ImplicitDeny => "implicitDeny",
    };
    let place = |place: &starmap_iam::evaluate::Place| {
        json!({
            "source": place.source.name(), "policy": place.policy, "statement": place.index + 1, "sid": place.sid,
        })
    };
    let near = decision.near.iter().map(|near| {
        let mut object = place(&near.place);
        object["effect"] = json!(if near.is_allow { "Allow" } else { "Deny" });
        object["why_not"] = json!(near.why);
        object
    });
    printer.object(&json!({
        "decision": effect,
        "explanation": decision.explanation,
        "refusal": Some(decision.refusal()).filter(|refusal| !refusal.is_empty()),
        "decided_by": decision.decided_by.iter().map(place).collect::<Vec<_>>(),
        "near": near.collect::<Vec<_>>(),
    }));
    let mut text = format!("{effect}: {}", decision.explanation);
    for near in &decision.near {
        let kind = if near.is_allow { "Allow" } else { "Deny" };
        let _ = write!(text, "\n  {}, {kind}, does not apply: {}", near.place, near.why);
    }
    printer.result(&text);
    Ok(if decision.is_allowed() { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

/// The policies in a file, in any of its forms.
fn policies_in(file: &Path) -> anyhow::Result<Policies> {
    let text = std::fs::read_to_string(file).with_context(|| format!("policies {}", file.display()))?;
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| exit::usage(format!("policies {}: not JSON: {error}", file.display())))?;
    let one = |value: &Value, kind, name: String| -> anyhow::Result<Named> {
        if let Some(arn) = value.as_str() {
            let found = managed::get(arn).ok_or_else(|| {
                let known: Vec<&str> = managed::all().iter().map(|managed| managed.arn.as_str()).collect();
                exit::usage(format!(
                    "policies {}: {arn} is not built in\nhint: give its document instead; built in are {}",
                    file.display(),
                    known.join(", ")
                ))
            })?;
            return Ok(Named::new(arn, found.policy.clone()));
        }
        // Beside its text a document may have a name, as inline policies do.
        let (name, document) = match (value.get("name").and_then(Value::as_str), value.get("document")) {
            (Some(name), Some(document)) => (name.to_owned(), document),
            _ => (name, value),
        };
        let policy = Policy::parse(&document.to_string(), kind).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(|problem| format!("  {problem}")).collect();
            exit::usage(format!("policies {}: {name}:\n{}", file.display(), problems.join("\n")))
        })?;
        Ok(Named::new(name, policy))
    };
    let list = |value: &Value, kind, name: &str| -> anyhow::Result<Vec<Named>> {
        match value {
            Value::Array(values) => {
                let named = |(index, value)| one(value, kind, format!("{name} {}", index + 1));
                values.iter().enumerate().map(named).collect()
            }
            value => Ok(vec![one(value, kind, name.to_owned())?]),
        }
    };
    let is_object_of_policies =
        ["identity", "boundary", "session", "resource"].iter().any(|key| value.get(key).is_some());
    if !is_object_of_policies {
        return Ok(Policies { identity: list(&value, Kind::Identity, "policy")?, ..Policies::default() });
    }
    let optional = |key: &str, kind| value.get(key).map(|value| one(value, kind, key.to_owned())).transpose();
    Ok(Policies {
        identity: value.get("identity").map_or(Ok(Vec::new()), |value| list(value, Kind::Identity, "identity"))?,
        boundary: optional("boundary", Kind::Identity)?,
        session: value.get("session").map(|value| list(value, Kind::Identity, "session")).transpose()?,
        resource: optional("resource", Kind::Resource)?,
    })
}

/// A role as least-privilege makes it.
#[derive(Debug)]
struct Made {
    name: String,
    service: &'static str,
    policy: Option<Value>,
}

fn least_privilege(args: &LeastPrivilegeArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let (made, notes) = made(args)?;
    if args.apply {
        apply(args, &made)?;
    }
    let shown = |role: &Made| json!({ "role": role.name, "trust": roles::trust(role.service), "policy": role.policy });
    let functions: serde_json::Map<String, Value> =
        made[1..].iter().map(|role| (role.name.clone(), shown(role))).collect();
    printer.object(&json!({ "state_machine": shown(&made[0]), "functions": functions, "notes": notes }));
    let mut text = String::new();
    for role in &made {
        let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
        let _ = writeln!(text, "# role {}: trust policy\n{}", role.name, pretty(&roles::trust(role.service)));
        if let Some(policy) = &role.policy {
            let _ = writeln!(text, "# role {}: policy\n{}", role.name, pretty(policy));
        }
    }
    printer.result(text.trim_end());
    for note in &notes {
        printer.warning(note);
    }
    if args.apply {
        printer.note(&format!("roles of {}: {} made or changed", args.data.display(), made.len()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The roles, the state machine's first, and what is to be known of them.
fn made(args: &LeastPrivilegeArgs) -> anyhow::Result<(Vec<Made>, Vec<String>)> {
    let read = |what: &str, file: &Path| -> anyhow::Result<(String, Value)> {
        let text = std::fs::read_to_string(file).with_context(|| format!("{what} {}", file.display()))?;
        let value = serde_json::from_str(&text)
            .map_err(|error| exit::usage(format!("{what} {}: not JSON: {error}", file.display())))?;
        Ok((text, value))
    };
    let (text, definition) = read("definition", &args.definition)?;
    let (_, input) = read("input", &args.input)?;
    if let (None, diagnostics) = starmap_asl::StateMachine::parse(&text) {
        let problems: Vec<String> = diagnostics.iter().map(|diagnostic| format!("  {}", diagnostic.message)).collect();
        let hint = format!("hint: starmap asl check {}", args.definition.display());
        return Err(exit::usage(format!("definition {}:\n{}\n{hint}", args.definition.display(), problems.join("\n"))));
    }
    let default = Naming::default();
    let naming = Naming {
        region: args.region.clone().unwrap_or(default.region),
        account: args.account.clone().unwrap_or(default.account),
    };
    if naming.account.len() != 12 || !naming.account.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(exit::usage(format!("account {:?}: expected 12 digits", naming.account)));
    }
    let LeastPrivilegeArgs { logging, tracing, redrives, .. } = *args;
    let optional = Optional { logging, tracing, redrives };
    let needs = needs(&definition, &naming.state_machine(&args.name), Some(&input), &naming, optional);
    let mut notes = Vec::new();
    let mut permissions: Vec<Permission> = Vec::new();
    for need in &needs {
        if let Some(role_arn) = &need.role_arn {
            permissions.push(Permission::new("sts:AssumeRole", role_arn.as_str()));
            notes.push(format!(
                "state {:?} takes on {role_arn} for its call: that role needs the permissions",
                need.state
            ));
            continue;
        }
        if !need.open.is_empty() {
            let fields = need.open.join(", ");
            notes.push(format!(
                "state {:?}: {fields} of its call is only known when it runs, * stands for it",
                need.state
            ));
        }
        permissions.extend(need.permissions.iter().cloned());
    }
    let policy = roles::policy(&permissions);
    let mut made = vec![Made { name: args.role.clone(), service: "states.amazonaws.com", policy }];
    functions(args, &definition, &input, &naming, &mut made, &mut notes)?;
    Ok((made, notes))
}

/// One role for each function of the pipeline that the definition calls.
fn functions(
    args: &LeastPrivilegeArgs,
    definition: &Value,
    input: &Value,
    naming: &Naming,
    made: &mut Vec<Made>,
    notes: &mut Vec<String>,
) -> anyhow::Result<()> {
    let called = definition::functions(definition);
    if called.is_empty() {
        return Ok(());
    }
    let Ok(request) = InitializeRequest::parse(input) else {
        notes.push(
            "the input is not the pipeline's, so nothing is known of what the functions read and write".to_owned(),
        );
        return Ok(());
    };
    let told = definition::known(definition, &args.functions);
    for function in called {
        let handler = match told.get(&function).map(String::as_str).or(function.strip_prefix("starmap-")) {
            Some(handler) => handler.to_owned(),
            None => {
                notes.push(format!("function {function}: not one of the pipeline's; say what it is with --function, or write its policy"));
                continue;
            }
        };
        let Some((_, accesses)) = access::of(&request.input).into_iter().find(|(name, _)| *name == handler) else {
            notes.push(format!(
                "function {function}: not one of the pipeline's, so nothing is known of what it reads and writes"
            ));
            continue;
        };
        let mut statements: Vec<Value> = accesses
            .into_iter()
            .map(|access| {
                let places: Vec<String> = access.places.iter().map(|place| format!("arn:aws:s3:::{place}")).collect();
                json!({ "Sid": access.purpose, "Effect": "Allow", "Action": access.actions, "Resource": places })
            })
            .collect();
        let Naming { region, account } = naming;
        if args.logging {
            statements.push(json!({
                "Sid": "WriteLogs", "Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
                "Resource": [format!("arn:aws:logs:{region}:{account}:log-group:/aws/lambda/{function}:*")],
            }));
        }
        if args.tracing {
            statements.push(json!({
                "Sid": "WriteTraces", "Effect": "Allow", "Action": ["xray:PutTraceSegments", "xray:PutTelemetryRecords"],
                "Resource": ["*"],
            }));
        }
        let policy = Some(json!({ "Version": "2012-10-17", "Statement": statements }));
        made.push(Made { name: function, service: "lambda.amazonaws.com", policy });
    }
    Ok(())
}

/// Makes the roles in the data root, each with its one policy.
fn apply(args: &LeastPrivilegeArgs, made: &[Made]) -> anyhow::Result<()> {
    // Nobody serves it meanwhile.
    let root = DataRoot::take(&args.data)?;
    let account = Naming::default().account;
    let folder = iam_in(root.path());
    let store = Store::open(&folder, &account, std::sync::Arc::new(now))
        .with_context(|| format!("roles in {}", folder.display()))?;
    for role in made {
        let trust = roles::trust(role.service).to_string();
        store.change(|directory, stamp| {
            if directory.role(&role.name).is_ok() {
                directory.update_trust(&role.name, &trust)?;
            } else {
                let description = Some("Made by starmap iam least-privilege".to_owned());
                let new = NewRole { name: role.name.clone(), trust, description, ..NewRole::default() };
                directory.create_role(new, stamp)?;
            }
            match &role.policy {
                Some(policy) => directory.put_inline(Owner::Role(&role.name), INLINE, &policy.to_string()),
                None => Ok(()),
            }
        })?;
    }
    Ok(())
}

/// Name of the policy that `--apply` gives a role.
const INLINE: &str = "least-privilege";

fn show(args: &ShowArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let directory = directory(&args.data)?;
    let role = role_of(&directory, &args.role, &args.data)?;
    let at_ms = now().0;
    let time = |at_ms: i64| starmap_asl::Timestamp(at_ms).to_string();
    let parsed = |policy: &Policy| serde_json::from_str::<Value>(policy.text()).unwrap_or_default();
    let attached = role.grants.attached.iter().map(|arn| {
        let version = directory.policy(arn).map(|view| view.default_version).ok();
        json!({ "arn": arn, "version": version })
    });
    let sessions = role.sessions.iter().filter(|session| session.is_alive(at_ms));
    printer.object(&json!({
        "name": role.name, "arn": role.arn, "id": role.id, "path": role.path, "description": role.description,
        "created": time(role.created_at_ms), "max_session_s": role.session_s_max,
        "inline": role.grants.inline.iter().map(|(name, policy)| (name.clone(), parsed(policy))).collect::<serde_json::Map<_, _>>(),
        "attached": attached.collect::<Vec<_>>(),
        "boundary": role.grants.boundary,
        "trust": parsed(&role.trust),
        "tags": role.tags,
        "last_used": role.last_used.as_ref().map(|used| json!({
            "at": time(used.at_ms), "region": used.region, "service": used.service,
        })),
        "sessions": sessions.clone().map(|session| json!({
            "name": session.name, "key": session.key_id, "source": session.source,
            "started": time(session.started_at_ms), "expires": time(session.expires_at_ms),
        })).collect::<Vec<_>>(),
    }));
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    row("role", role.name.clone());
    row("ARN", role.arn.clone());
    if let Some(description) = &role.description {
        row("description", description.clone());
    }
    row("created", time(role.created_at_ms));
    row("longest session", format!("{} s", role.session_s_max));
    let last_used =
        role.last_used.as_ref().map(|used| format!("{} in {} for {}", time(used.at_ms), used.region, used.service));
    row("last accessed", last_used.unwrap_or_else(|| "never".to_owned()));
    for (key, value) in &role.tags {
        row("tag", format!("{key} = {value}"));
    }
    for arn in &role.grants.attached {
        let version = directory
            .policy(arn)
            .map_or_else(|_| "not known here: it grants nothing".to_owned(), |view| view.default_version);
        row("policy", format!("{arn} ({version})"));
    }
    for (name, policy) in &role.grants.inline {
        row("policy", format!("{name} (inline, {} statements)", policy.statements().len()));
    }
    if let Some(boundary) = &role.grants.boundary {
        row("boundary", boundary.clone());
    }
    let alive: Vec<_> = sessions.collect();
    row("sessions", alive.len().to_string());
    for session in alive {
        row(
            "",
            format!(
                "{} by {}, {} to {}",
                session.name,
                session.source,
                time(session.started_at_ms),
                time(session.expires_at_ms)
            ),
        );
    }
    let pretty = |policy: &Policy| serde_json::to_string_pretty(&parsed(policy)).unwrap_or_default();
    let mut text = table::aligned(&rows);
    let _ = write!(text, "\n\n# trust relationship\n{}", pretty(&role.trust));
    for (name, policy) in &role.grants.inline {
        let _ = write!(text, "\n# policy {name}\n{}", pretty(policy));
    }
    printer.result(&text);
    Ok(ExitCode::SUCCESS)
}

fn directory(data: &Path) -> anyhow::Result<Directory> {
    let folder = iam_in(data);
    let found = Store::load(&folder).with_context(|| format!("roles in {}", folder.display()))?;
    found.ok_or_else(|| {
        exit::usage(format!(
            "data root {}: there are no roles in it\nhint: name the folder with --data DIR, or make roles with starmap iam \
             least-privilege --apply",
            data.display()
        ))
    })
}

fn role_of<'a>(directory: &'a Directory, name: &str, data: &Path) -> anyhow::Result<&'a Role> {
    directory.roles.get(name).ok_or_else(|| {
        let known: Vec<&str> = directory.roles.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        exit::usage(format!("role {name:?}: neither a role of {} nor a file; roles there: {known}", data.display()))
    })
}
