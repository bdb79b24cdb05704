//! Aliases of a state machine's versions: create, update, describe, list, delete.

use serde_json::{Value, json};
use starmap_engine::registry::{AliasRecord, Change, Resources, Route};

use super::arn::{Named, named, wrong_kind};
use super::paging;
use super::state_machines::{DESCRIPTION, does_not_exist, refused_if_deleting};
use super::tags::resource_not_found;
use super::versions::ListOf;
use super::{StepFunctions, unexpected};
use crate::error::{Answer, ApiError};
use crate::wire::members::{ARN, Is, Members, NAME};
use crate::wire::values::{object, time};

/// Aliases that a state machine may have.
/// <https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>, read 2026-11.
const ALIASES_MAX: usize = 100;

const NAME_PATTERN: &str = r"^(?=.*[a-zA-Z_\-\.])[a-zA-Z0-9_\-\.]+$";

pub(super) struct Create {
    name: String,
    description: Option<String>,
    routes: Vec<Route>,
}

impl Create {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        let name = members.required("name", NAME)?;
        let is_legal = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
        let is_only_digits = name.chars().all(|letter| letter.is_ascii_digit());
        if !name.is_empty() && (!name.chars().all(is_legal) || is_only_digits) {
            members.violation(name, "name", &format!("Member must satisfy regular expression pattern: {NAME_PATTERN}"));
        }
        let routes = read_routes(members)?;
        if routes.is_none() {
            members.missing("routingConfiguration");
        }
        Ok(Self {
            name: name.to_owned(),
            description: members.string("description", DESCRIPTION)?.map(str::to_owned),
            routes: routes.unwrap_or_default(),
        })
    }
}

pub(super) struct Update {
    arn: String,
    description: Option<String>,
    routes: Option<Vec<Route>>,
}

impl Update {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            arn: members.required("stateMachineAliasArn", ARN)?.to_owned(),
            description: members.string("description", DESCRIPTION)?.map(str::to_owned),
            routes: read_routes(members)?,
        })
    }
}

/// A request that names an alias and nothing else.
pub(super) struct One {
    arn: String,
}

impl One {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self { arn: members.required("stateMachineAliasArn", ARN)?.to_owned() })
    }
}

fn read_routes(members: &Members<'_>) -> Result<Option<Vec<Route>>, ApiError> {
    let Some(items) = members.structures("routingConfiguration")? else { return Ok(None) };
    let mut routes = Vec::new();
    for item in items {
        let version_arn = item.required("stateMachineVersionArn", ARN)?.to_owned();
        let weight = item.integer("weight", Is::Range(0, 100))?;
        if weight.is_none() {
            item.missing("weight");
        }
        routes.push(Route { version_arn, weight: weight.and_then(|weight| u32::try_from(weight).ok()).unwrap_or(0) });
    }
    if !(1..=2).contains(&routes.len()) {
        let bound = if routes.is_empty() { "greater than or equal to 1" } else { "less than or equal to 2" };
        let shown = routes.iter().map(|route| {
            let Route { version_arn, weight } = route;
            format!("RoutingConfigurationListItem(stateMachineVersionArn={version_arn}, weight={weight})")
        });
        let shown = format!("[{}]", shown.collect::<Vec<_>>().join(", "));
        members.violation(&shown, "routingConfiguration", &format!("Member must have length {bound}"));
    }
    Ok(Some(routes))
}

impl StepFunctions {
    pub(super) async fn create_state_machine_alias(&self, create: Create) -> Answer {
        let Create { name, description, routes } = create;
        let state_machine = check_routes(&routes)?.to_owned();
        let (arn, at) = (format!("{state_machine}:{name}"), self.now());
        let made = self.engine.change(|resources| {
            refused_if_deleting(resources, &state_machine)?;
            if let Some(there) = resources.alias(&arn) {
                if there.description == description && there.routes == routes {
                    return Ok((there.created_at, Vec::new()));
                }
                return Err(ApiError::new(
                    "ConflictException",
                    "Failed to create alias because an alias with the same name and a different routing configuration \
                     already exists.",
                ));
            }
            check_versions(resources, &routes)?;
            if resources.aliases_of(&state_machine).count() >= ALIASES_MAX {
                let message = format!("The state machine has {ALIASES_MAX} aliases already; delete some of them.");
                return Err(ApiError::new("ServiceQuotaExceededException", message));
            }
            let alias = AliasRecord {
                arn: arn.clone(),
                name: name.clone(),
                state_machine_arn: state_machine.clone(),
                description: description.clone(),
                routes: routes.clone(),
                created_at: at,
                updated_at: at,
            };
            Ok((at, vec![Change::Alias(alias)]))
        });
        let created_at = made.await.map_err(unexpected("creating an alias"))??;
        Ok(json!({ "stateMachineAliasArn": arn, "creationDate": time(created_at) }))
    }

    pub(super) async fn update_state_machine_alias(&self, update: Update) -> Answer {
        let Update { arn, description, routes } = update;
        let Named::Alias { state_machine } = named(&arn)? else { return Err(wrong_kind(&arn)) };
        if description.is_none() && routes.is_none() {
            let message = "Either the description or the routing configuration must be specified";
            return Err(ApiError::new("ValidationException", message));
        }
        if let Some(routes) = &routes
            && check_routes(routes)? != state_machine
        {
            let message = "Routing configuration must contain versions of the alias's state machine.";
            return Err(ApiError::new("ValidationException", message));
        }
        let at = self.now();
        let made = self.engine.change(|resources| {
            refused_if_deleting(resources, state_machine)?;
            let mut alias = resources.alias(&arn).ok_or_else(|| resource_not_found(&arn))?.clone();
            if let Some(routes) = &routes {
                check_versions(resources, routes)?;
                alias.routes.clone_from(routes);
            }
            if description.is_some() {
                alias.description.clone_from(&description);
            }
            alias.updated_at = at;
            Ok::<_, ApiError>(((), vec![Change::Alias(alias)]))
        });
        made.await.map_err(unexpected("updating an alias"))??;
        Ok(json!({ "updateDate": time(at) }))
    }

    pub(super) fn describe_state_machine_alias(&self, one: &One) -> Answer {
        let Named::Alias { .. } = named(&one.arn)? else { return Err(wrong_kind(&one.arn)) };
        let found = self.engine.resources(|resources| resources.alias(&one.arn).cloned());
        let alias = found.ok_or_else(|| resource_not_found(&one.arn))?;
        let routes = alias
            .routes
            .iter()
            .map(|route| json!({ "stateMachineVersionArn": route.version_arn, "weight": route.weight }));
        Ok(object([
            ("stateMachineAliasArn", Some(Value::from(alias.arn.as_str()))),
            ("name", Some(Value::from(alias.name.as_str()))),
            ("description", alias.description.clone().map(Value::String)),
            ("routingConfiguration", Some(Value::Array(routes.collect()))),
            ("creationDate", Some(time(alias.created_at))),
            ("updateDate", Some(time(alias.updated_at))),
        ]))
    }

    pub(super) fn list_state_machine_aliases(&self, list: &ListOf) -> Answer {
        let arn = list.arn.as_str();
        let (of, version) = match named(arn)? {
            Named::StateMachine => (arn, None),
            Named::Version { state_machine } => (state_machine, Some(arn)),
            _ => return Err(wrong_kind(arn)),
        };
        let (question, now) = (format!("ListStateMachineAliases {arn}"), self.now());
        let after = paging::key(&question, list.token.as_deref(), now)?;
        let found = self.engine.resources(|resources| {
            resources.state_machine(of)?;
            if let Some(version) = version {
                resources.version(version)?;
            }
            let leads_there = |alias: &&AliasRecord| {
                version.is_none_or(|version| alias.routes.iter().any(|route| route.version_arn == version))
            };
            let keyed = |alias: &AliasRecord| (format!("{:020} {}", alias.created_at.0, alias.name), alias.clone());
            Some(resources.aliases_of(of).filter(leads_there).map(keyed).collect::<Vec<_>>())
        });
        let mut aliases = found.ok_or_else(|| does_not_exist(arn))?;
        aliases.sort_by(|(a, _), (b, _)| a.cmp(b));
        let (page, next) = paging::page(aliases, after.as_deref(), list.size, &question, now);
        let listed = page
            .into_iter()
            .map(|alias| json!({ "stateMachineAliasArn": alias.arn, "creationDate": time(alias.created_at) }));
        Ok(object([
            ("stateMachineAliases", Some(Value::Array(listed.collect()))),
            ("nextToken", next.map(Value::String)),
        ]))
    }

    pub(super) async fn delete_state_machine_alias(&self, one: &One) -> Answer {
        let Named::Alias { .. } = named(&one.arn)? else { return Err(wrong_kind(&one.arn)) };
        let deleted = self.engine.change(|resources| {
            let change = resources.alias(&one.arn).map(|alias| Change::AliasDeleted { arn: alias.arn.clone() });
            Ok::<_, ApiError>(((), change.into_iter().collect()))
        });
        deleted.await.map_err(unexpected("deleting an alias"))??;
        Ok(json!({}))
    }
}

/// The state machine whose versions the routes lead to.
fn check_routes(routes: &[Route]) -> Result<&str, ApiError> {
    let refused = |message: String| ApiError::new("ValidationException", message);
    let arns = || routes.iter().map(|route| route.version_arn.as_str()).collect::<Vec<_>>().join(", ");
    let mut state_machine = None;
    for route in routes {
        match named(&route.version_arn) {
            Ok(Named::Version { state_machine: of }) => {
                if state_machine.is_some_and(|other| other != of) {
                    let message = "Routing configuration must contain versions of one state machine. Received: ";
                    return Err(refused(format!("{message}[{}]", arns())));
                }
                state_machine = Some(of);
            }
            _ => {
                let message = "Routing configuration must contain state machine version ARNs. Received: ";
                return Err(refused(format!("{message}[{}]", arns())));
            }
        }
    }
    if let [one, other] = routes
        && one.version_arn == other.version_arn
    {
        let message = "Routing configuration must contain distinct state machine version ARNs. Received: ";
        return Err(refused(format!("{message}[{}]", arns())));
    }
    let weights: Vec<String> = routes.iter().map(|route| route.weight.to_string()).collect();
    if routes.iter().map(|route| route.weight).sum::<u32>() != 100 {
        let message = "Sum of routing configuration weights must equal 100. Received: ";
        return Err(refused(format!("{message}[{}]", weights.join(", "))));
    }
    Ok(state_machine.unwrap_or_default())
}

fn check_versions(resources: &Resources, routes: &[Route]) -> Result<(), ApiError> {
    let missing = routes.iter().find(|route| resources.version(&route.version_arn).is_none());
    missing.map_or(Ok(()), |route| Err(resource_not_found(&route.version_arn)))
}
