//! Roles: what each may do, who may take it on, when it was used last, and its sessions.
//!
//! Credentials of sessions are never shown, on no page and in no twin.

use serde_json::{Value, json};
use starmap_asl::Timestamp;
use starmap_iam::directory::Role;
use starmap_iam::{Directory, Policy, Principal};

use super::html::{Html, html, put};
use super::page::{Facts, Page, Section, commands, empty, tabs};
use super::request::{Request, path};
use super::words;
use super::{Console, Failure, json as values};

/// The services that may do so much that a smaller policy is worth a thought.
const FULL_ACCESS: &str = "FullAccess";

impl Console {
    /// The roles of the account as they are now.
    fn directory(&self) -> Result<Directory, Failure> {
        let directory = self.directory.as_ref().map(|directory| directory());
        directory.ok_or_else(|| Failure::missing("There are no roles here: `starmap serve` keeps them.".to_owned()))
    }

    fn role(&self, name: &str) -> Result<(Directory, Role), Failure> {
        let directory = self.directory()?;
        let by_name = directory.roles.get(name).or_else(|| directory.role_of_arn(name)).cloned();
        let role = by_name.ok_or_else(|| Failure::missing(format!("There is no role {name}.")))?;
        Ok((directory, role))
    }

    /// The page of a role by its ARN, if it is one of this account's.
    pub(super) fn role_link(&self, arn: &str) -> Option<String> {
        let directory = self.directory.as_ref()?();
        directory.role_of_arn(arn).map(|role| path(&["roles", &role.name]))
    }

    pub(super) fn roles_page(&self, request: &Request) -> Result<Page, Failure> {
        let directory = self.directory()?;
        let mut page = Page::new(Section::Roles, "Roles");
        page.is_live = true;
        put!(page.body, "<div class=\"head\"><h1>Roles</h1></div>");
        let mut part = Html::new();
        if directory.roles.is_empty() {
            part = empty("There are none yet. Create one with the AWS CLI, an SDK or Terraform.");
        } else {
            put!(
                part,
                "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Roles\"><table><thead><tr><th scope=\"col\">Name</th>\
                 <th scope=\"col\">Trusted by it</th><th scope=\"col\" class=\"number\">Policies</th>\
                 <th scope=\"col\">Last activity</th><th scope=\"col\" class=\"wide\">Created</th></tr></thead><tbody>"
            );
            for role in directory.roles.values() {
                put!(
                    part,
                    "<tr><td class=\"main\"><a href=\"{}\">{}</a><small>{}</small></td><td>{}</td><td class=\"number\">{}</td><td>{}</td>\
                     <td class=\"wide\">{}</td></tr>",
                    path(&["roles", &role.name]),
                    role.name,
                    role.description,
                    trusted(&role.trust).join(", "),
                    (role.grants.attached.len() + role.grants.inline.len()) as u64,
                    last_activity(role),
                    words::time(Timestamp(role.created_at_ms))
                );
            }
            put!(part, "</tbody></table></div>");
        }
        page.part("rows", part);
        page.body.add(&commands("From the command line", &[iam(request, "list-roles", "")]));
        Ok(page)
    }

    pub(super) fn role_page(&self, request: &Request, name: &str) -> Result<Page, Failure> {
        let (directory, role) = self.role(name)?;
        let own = path(&["roles", &role.name]);
        let mut page = Page::new(Section::Roles, &role.name);
        page.is_live = true;
        page.crumbs(&[("Roles", path(&["roles"]))]);
        put!(page.body, "<div class=\"head\"><h1>{}</h1></div>", role.name);
        if let Some(description) = &role.description {
            put!(page.body, "<p class=\"lead\">{}</p>", description);
        }
        page.part("facts", self.role_facts(&role));
        let now = self.now().0;
        let alive = role.sessions.iter().filter(|session| session.is_alive(now)).count();
        let policies = role.grants.attached.len() + role.grants.inline.len();
        let views = [
            ("permissions", format!("Permissions ({policies})")),
            ("trust", "Trust relationships".to_owned()),
            ("tags", format!("Tags ({})", role.tags.len())),
            ("accessed", "Last accessed".to_owned()),
            ("sessions", format!("Sessions ({alive})")),
        ];
        let asked = request.query.get("view").unwrap_or_default();
        let view = views.iter().find(|(key, _)| *key == asked).map_or("permissions", |(key, _)| *key);
        let links: Vec<(&str, &str, String)> =
            views.iter().map(|(key, word)| (*key, word.as_str(), format!("{own}?view={key}"))).collect();
        page.body.add(&tabs("Views of the role", &links, view));
        page.part(
            "view",
            match view {
                "trust" => trust_view(&role),
                "tags" => tags_view(&role),
                "accessed" => accessed_view(&role),
                "sessions" => sessions_view(&role, now),
                _ => permissions_view(&directory, &role),
            },
        );
        let named = format!(" --role-name {}", words::quoted(&role.name));
        let mut lines = vec![format!("starmap iam show {}{}", words::quoted(&role.name), self.data_argument())];
        lines.extend(
            ["get-role", "list-attached-role-policies", "list-role-policies", "list-role-tags"]
                .map(|action| iam(request, action, &named)),
        );
        page.body.add(&commands("From the command line", &lines));
        Ok(page)
    }

    fn role_facts(&self, role: &Role) -> Html {
        let mut facts = Facts::new();
        facts.add("Created", words::time(Timestamp(role.created_at_ms)));
        facts.add("Last activity", last_activity(role));
        facts.add("Longest session", words::duration(i64::from(role.session_s_max) * 1_000));
        facts.add("Path", role.path.as_str());
        if let Some(boundary) = &role.grants.boundary {
            facts.add("Permissions boundary", html!("<code class=\"arn\">{}</code>", boundary));
        }
        let machines: Vec<String> = self.engine.resources(|resources| {
            let has = |machine: &&starmap_engine::registry::StateMachineRecord| {
                resources.revision(machine.revision).is_some_and(|revision| revision.role_arn == role.arn)
            };
            resources.state_machines().filter(has).map(|machine| machine.name.clone()).collect()
        });
        if !machines.is_empty() {
            let mut links = Html::new();
            for machine in machines.iter().take(10) {
                put!(links, "<a href=\"{}\">{}</a> ", path(&["machines", machine]), machine);
            }
            facts.add("State machines with it", links);
        }
        facts.add("ARN", html!("<code class=\"arn\">{}</code>", role.arn));
        facts.done()
    }

    pub(super) fn roles_json(&self) -> Result<Value, Failure> {
        let directory = self.directory()?;
        let now = self.now().0;
        Ok(
            json!({ "roles": directory.roles.values().map(|role| role_json(&directory, role, now)).collect::<Vec<_>>() }),
        )
    }

    pub(super) fn role_json(&self, name: &str) -> Result<Value, Failure> {
        let (directory, role) = self.role(name)?;
        Ok(role_json(&directory, &role, self.now().0))
    }
}

/// Whom a trust policy names.
fn trusted(trust: &Policy) -> Vec<String> {
    let principals = trust.statements().iter().filter(|statement| statement.is_allow);
    let principals = principals.filter_map(|statement| statement.principals.as_ref());
    let mut names = Vec::new();
    for principal in principals.filter(|principals| !principals.is_negated).flat_map(|principals| &principals.values) {
        let name = match principal {
            Principal::Everyone => "everyone".to_owned(),
            Principal::Account(account) => format!("account {account}"),
            Principal::Arn(text)
            | Principal::Service(text)
            | Principal::Federated(text)
            | Principal::CanonicalUser(text) => text.clone(),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn last_activity(role: &Role) -> Html {
    match &role.last_used {
        Some(used) => html!("{} <small>{}</small>", words::time(Timestamp(used.at_ms)), used.service),
        None => html!("<span class=\"aside\">never</span>"),
    }
}

fn document(label: &str, policy: &Policy) -> Html {
    match serde_json::from_str::<Value>(policy.text()) {
        Ok(value) => values::block(label, &value),
        Err(_) => html!("<pre class=\"json\" tabindex=\"0\">{}</pre>", policy.text()),
    }
}

fn permissions_view(directory: &Directory, role: &Role) -> Html {
    let grants = &role.grants;
    if grants.attached.is_empty() && grants.inline.is_empty() {
        return empty("It has no policy, and may do nothing.");
    }
    let mut html = html!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Policies\"><table class=\"policies\"><thead><tr>\
         <th scope=\"col\">Policy</th><th scope=\"col\">Kind</th></tr></thead><tbody>"
    );
    let row = |html: &mut Html, name: &str, note: &str, kind: &str, policy: Option<&Policy>| {
        put!(
            html,
            "<tr><td class=\"main\"><details><summary>{}</summary>{}</details><small>{}</small></td><td>{}</td></tr>",
            name,
            policy.map_or_else(|| empty("It is not there any more."), |policy| document(name, policy)),
            note,
            kind
        );
    };
    for arn in &grants.attached {
        let found = directory.policy(arn).ok();
        let name = found.as_ref().map_or_else(|| arn.rsplit('/').next().unwrap_or(arn), |policy| policy.name.as_str());
        let kind = if arn.contains(":aws:policy/") { "AWS managed" } else { "Customer managed" };
        row(&mut html, name, arn, kind, found.as_ref().map(|policy| &policy.policy));
    }
    for (name, policy) in &grants.inline {
        row(&mut html, name, "", "Customer inline", Some(policy));
    }
    put!(html, "</tbody></table></div>");
    if grants.attached.iter().any(|arn| arn.ends_with(FULL_ACCESS)) {
        put!(
            html,
            "<p class=\"note\">A policy for full access allows more than a state machine needs: <code>starmap iam least-privilege</code> \
             writes the smallest one that lets it run.</p>"
        );
    }
    html
}

fn trust_view(role: &Role) -> Html {
    let mut html = html!("<p class=\"note\">Who may take this role on.</p>");
    html.add(&document("Trust policy", &role.trust));
    html
}

fn tags_view(role: &Role) -> Html {
    if role.tags.is_empty() {
        return empty("It has no tags.");
    }
    let mut html = html!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Tags\"><table><thead><tr><th scope=\"col\">Key</th>\
         <th scope=\"col\">Value</th></tr></thead><tbody>"
    );
    for (key, value) in &role.tags {
        put!(html, "<tr><td class=\"main\">{}</td><td>{}</td></tr>", key, value);
    }
    put!(html, "</tbody></table></div>");
    html
}

fn accessed_view(role: &Role) -> Html {
    let Some(used) = &role.last_used else { return empty("It was not used yet.") };
    html!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Last accessed\"><table><thead><tr><th scope=\"col\">Service</th>\
         <th scope=\"col\">Region</th><th scope=\"col\">Last accessed</th></tr></thead><tbody><tr><td class=\"main\">{}</td><td>{}</td>\
         <td>{}</td></tr></tbody></table></div>",
        if used.service.is_empty() { "not known" } else { used.service.as_str() },
        used.region,
        words::time(Timestamp(used.at_ms))
    )
}

fn sessions_view(role: &Role, now: i64) -> Html {
    if role.sessions.is_empty() {
        return empty("Nobody has taken it on with credentials.");
    }
    let mut html = html!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Sessions\"><table><thead><tr><th scope=\"col\">Session</th>\
         <th scope=\"col\">Taken on by</th><th scope=\"col\">From</th><th scope=\"col\">Until</th><th scope=\"col\">Access key</th></tr></thead><tbody>"
    );
    for session in role.sessions.iter().rev() {
        put!(
            html,
            "<tr><td class=\"main\">{}<small>{}</small></td><td>{}</td><td>{}</td><td>{}</td><td><code>{}</code></td></tr>",
            session.name,
            if session.is_alive(now) { "" } else { "has ended" },
            session.source,
            words::time(Timestamp(session.started_at_ms)),
            words::time(Timestamp(session.expires_at_ms)),
            session.key_id
        );
    }
    put!(html, "</tbody></table></div>");
    html
}

fn role_json(directory: &Directory, role: &Role, now: i64) -> Value {
    let parsed = |policy: &Policy| serde_json::from_str::<Value>(policy.text()).unwrap_or_default();
    let attached = |arn: &String| {
        let found = directory.policy(arn).ok();
        json!({ "policyArn": arn, "document": found.map(|policy| parsed(&policy.policy)) })
    };
    let session = |session: &starmap_iam::directory::Session| {
        json!({
            "name": session.name, "accessKeyId": session.key_id, "source": session.source, "isAlive": session.is_alive(now),
            "startDate": Timestamp(session.started_at_ms).to_string(), "expiration": Timestamp(session.expires_at_ms).to_string(),
        })
    };
    json!({
        "roleName": role.name,
        "roleId": role.id,
        "arn": role.arn,
        "path": role.path,
        "description": role.description,
        "createDate": Timestamp(role.created_at_ms).to_string(),
        "maxSessionDuration": role.session_s_max,
        "permissionsBoundary": role.grants.boundary,
        "assumeRolePolicyDocument": parsed(&role.trust),
        "attachedPolicies": role.grants.attached.iter().map(attached).collect::<Vec<_>>(),
        "inlinePolicies": role.grants.inline.iter()
            .map(|(name, policy)| json!({ "policyName": name, "document": parsed(policy) })).collect::<Vec<_>>(),
        "tags": role.tags,
        "lastUsed": role.last_used.as_ref().map(|used| {
            json!({ "date": Timestamp(used.at_ms).to_string(), "region": used.region, "service": used.service })
        }),
        "sessions": role.sessions.iter().map(session).collect::<Vec<_>>(),
    })
}

fn iam(request: &Request, action: &str, rest: &str) -> String {
    format!("aws iam {action}{rest} --endpoint-url {}", words::quoted(&request.endpoint()))
}
