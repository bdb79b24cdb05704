//! Versions, aliases, limits and tags.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use starmap_workers::function::{LATEST, split};

use super::actions::{Reply, check_revision, paged, publish};
use super::catalog::Catalog;
use super::check::{self, Members, required, text};
use super::error::Error;
use super::record::{Alias, Record};

impl Catalog {
    pub(crate) fn act_on_versions(&self, action: &str, members: &Members) -> Result<Reply, Error> {
        match action {
            "PublishVersion" => self.publish_version(members),
            "ListVersionsByFunction" => self.list_versions(members),
            "CreateAlias" => self.create_alias(members),
            "GetAlias" => self.get_alias(members),
            "UpdateAlias" => self.update_alias(members),
            "DeleteAlias" => self.delete_alias(members),
            "ListAliases" => self.list_aliases(members),
            "PutFunctionConcurrency" => self.put_concurrency(members),
            "GetFunctionConcurrency" => self.get_concurrency(members),
            "DeleteFunctionConcurrency" => self.delete_concurrency(members),
            "TagResource" => self.tag(members),
            "UntagResource" => self.untag(members),
            "ListTags" => self.list_tags(members),
            // Asked by Terraform about every function.
            "GetFunctionCodeSigningConfig" => {
                let name = self.existing(members)?;
                Ok(Reply::ok(json!({ "FunctionName": name })))
            }
            "AddPermission" => self.add_permission(members),
            "GetPolicy" => self.get_policy(members),
            "RemovePermission" => self.remove_permission(members),
            "GetFunctionEventInvokeConfig" | "GetFunctionUrlConfig" => {
                self.existing(members)?;
                Err(Error::not_found("The resource you requested does not exist."))
            }
            "ListEventSourceMappings" => Ok(Reply::ok(json!({ "EventSourceMappings": [] }))),
            other => Err(Error::not_served(&format!("the action {other}"))),
        }
    }

    /// The plain name of a function that is there.
    pub(super) fn existing(&self, members: &Members) -> Result<String, Error> {
        let (name, _) = split(check::function_name(members)?);
        if self.built_in(name).is_none() && !self.records().contains_key(name) {
            return Err(self.missing(name, None));
        }
        Ok(name.to_owned())
    }

    fn publish_version(&self, members: &Members) -> Result<Reply, Error> {
        let name = self.changeable(members)?;
        let (description, hash) = (text(members, "Description")?, text(members, "CodeSha256")?);
        let revision = text(members, "RevisionId")?;
        let (number, version) = self.change(&name, |record| {
            check_revision(&record.latest.revision_id, revision)?;
            let current = record.latest.code_sha256();
            if let Some(hash) = hash.filter(|hash| *hash != current) {
                return Err(Error::invalid(format!(
                    "CodeSHA256 ({hash}) is different from current CodeSHA256 in $LATEST ({current}). Please try \
                     again with the CodeSHA256 in $LATEST."
                )));
            }
            let number = publish(record, description);
            let version = record.version(&number).unwrap_or(&record.latest).clone();
            Ok((number, version))
        })?;
        Ok(Reply::created(self.configuration(&name, &number, &version, true)))
    }

    fn list_versions(&self, members: &Members) -> Result<Reply, Error> {
        let name = self.existing(members)?;
        let records = self.records();
        let Some(record) = records.get(&name) else {
            drop(records);
            return Ok(Reply::ok(json!({ "Versions": [self.shown(members)?] })));
        };
        let mut all = vec![(format!("{:020}", 0), self.configuration(&name, LATEST, &record.latest, true))];
        for (number, version) in &record.versions {
            all.push((format!("{number:020}"), self.configuration(&name, &number.to_string(), version, true)));
        }
        paged(members, all, "Versions")
    }

    fn create_alias(&self, members: &Members) -> Result<Reply, Error> {
        let name = self.changeable(members)?;
        let alias_name = required(members, "Name")?.to_owned();
        let is_number = alias_name.bytes().all(|byte| byte.is_ascii_digit());
        let is_word = alias_name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if alias_name.is_empty() || is_number || !is_word || alias_name.len() > 128 {
            let pattern = "satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)";
            return Err(Error::constraint("name", &alias_name, pattern));
        }
        let alias = Alias {
            version: required(members, "FunctionVersion")?.to_owned(),
            description: text(members, "Description")?.unwrap_or_default().to_owned(),
            weights: weights(members)?.unwrap_or_default(),
            revision_id: uuid::Uuid::new_v4().to_string(),
        };
        self.change(&name, |record| {
            if record.aliases.contains_key(&alias_name) {
                return Err(Error::conflict(format!("Alias already exists: {}", self.arn(&name, Some(&alias_name)))));
            }
            self.check_alias(record, &alias)?;
            record.aliases.insert(alias_name.clone(), alias.clone());
            Ok(())
        })?;
        Ok(Reply::created(self.alias(&name, &alias_name, &alias)))
    }

    fn get_alias(&self, members: &Members) -> Result<Reply, Error> {
        let (name, alias) = (self.existing(members)?, required(members, "Name")?);
        let records = self.records();
        let found = records.get(&name).and_then(|record| record.aliases.get(alias));
        let found = found.ok_or_else(|| self.no_alias(&name, alias))?;
        Ok(Reply::ok(self.alias(&name, alias, found)))
    }

    fn update_alias(&self, members: &Members) -> Result<Reply, Error> {
        let (name, alias_name) = (self.changeable(members)?, required(members, "Name")?.to_owned());
        let (version, description) = (text(members, "FunctionVersion")?, text(members, "Description")?);
        let (weights, revision) = (weights(members)?, text(members, "RevisionId")?);
        let alias = self.change(&name, |record| {
            let mut alias =
                record.aliases.get(&alias_name).cloned().ok_or_else(|| self.no_alias(&name, &alias_name))?;
            check_revision(&alias.revision_id, revision)?;
            alias.version = version.map_or(alias.version, str::to_owned);
            alias.description = description.map_or(alias.description, str::to_owned);
            alias.weights = weights.unwrap_or(alias.weights);
            alias.revision_id = uuid::Uuid::new_v4().to_string();
            self.check_alias(record, &alias)?;
            record.aliases.insert(alias_name.clone(), alias.clone());
            Ok(alias)
        })?;
        Ok(Reply::ok(self.alias(&name, &alias_name, &alias)))
    }

    fn delete_alias(&self, members: &Members) -> Result<Reply, Error> {
        let (name, alias) = (self.changeable(members)?, required(members, "Name")?);
        // One that is not there is removed already.
        self.change(&name, |record| {
            record.aliases.remove(alias);
            Ok(())
        })?;
        Ok(Reply::empty())
    }

    fn list_aliases(&self, members: &Members) -> Result<Reply, Error> {
        let (name, version) = (self.existing(members)?, text(members, "FunctionVersion")?);
        let records = self.records();
        let aliases = records.get(&name).into_iter().flat_map(|record| &record.aliases);
        let wanted = aliases.filter(|(_, alias)| version.is_none_or(|version| alias.version == version));
        let all = wanted.map(|(alias_name, alias)| (alias_name.clone(), self.alias(&name, alias_name, alias)));
        paged(members, all.collect(), "Aliases")
    }

    /// An alias leads to versions that are there, and shares out no more than there is.
    fn check_alias(&self, record: &Record, alias: &Alias) -> Result<(), Error> {
        for version in alias.weights.keys().chain([&alias.version]) {
            if record.version(version).is_none() {
                return Err(self.missing(&record.name, Some(version)));
            }
        }
        if alias.weights.is_empty() {
            return Ok(());
        }
        if alias.version == LATEST || alias.weights.contains_key(LATEST) {
            return Err(Error::invalid("$LATEST is not supported for an alias pointing to more than 1 version"));
        }
        if alias.weights.contains_key(&alias.version) {
            let message = format!(
                "Invalid function version {}. Function version {0} is already included in routing configuration.",
                alias.version
            );
            return Err(Error::invalid(message));
        }
        let total: f64 = alias.weights.values().sum();
        if alias.weights.len() > 1 || alias.weights.values().any(|weight| !(0.0..=1.0).contains(weight)) || total > 1.0
        {
            let message = "The routing configuration takes one further version, with a weight from 0.0 to 1.0";
            return Err(Error::invalid(message));
        }
        Ok(())
    }

    fn no_alias(&self, name: &str, alias: &str) -> Error {
        Error::not_found(format!("Cannot find alias arn: {}", self.arn(name, Some(alias))))
    }

    fn alias(&self, name: &str, alias_name: &str, alias: &Alias) -> Value {
        let mut shown = json!({
            "AliasArn": self.arn(name, Some(alias_name)),
            "Name": alias_name,
            "FunctionVersion": alias.version,
            "Description": alias.description,
            "RevisionId": alias.revision_id,
        });
        if !alias.weights.is_empty() {
            shown["RoutingConfig"] = json!({ "AdditionalVersionWeights": alias.weights });
        }
        shown
    }

    fn put_concurrency(&self, members: &Members) -> Result<Reply, Error> {
        let name = self.changeable(members)?;
        if members.get("ReservedConcurrentExecutions").is_none_or(Value::is_null) {
            return Err(Error::constraint("reservedConcurrentExecutions", "null", "not be null"));
        }
        let limit = check::number(members, "ReservedConcurrentExecutions", (0, u32::MAX), 0)?;
        self.change(&name, |record| {
            record.concurrency = Some(limit);
            Ok(())
        })?;
        Ok(Reply::ok(json!({ "ReservedConcurrentExecutions": limit })))
    }

    fn get_concurrency(&self, members: &Members) -> Result<Reply, Error> {
        let name = self.existing(members)?;
        let limit = self.records().get(&name).and_then(|record| record.concurrency);
        let member = limit.map(|limit| ("ReservedConcurrentExecutions".to_owned(), json!(limit)));
        Ok(Reply::ok(Value::Object(Map::from_iter(member))))
    }

    fn delete_concurrency(&self, members: &Members) -> Result<Reply, Error> {
        let name = self.changeable(members)?;
        self.change(&name, |record| {
            record.concurrency = None;
            Ok(())
        })?;
        Ok(Reply::empty())
    }

    /// The function that a tagged ARN is of.
    fn tagged(&self, members: &Members) -> Result<String, Error> {
        let arn = required(members, "Resource")?;
        let members = Members::from_iter([("FunctionName".to_owned(), json!(arn))]);
        self.changeable(&members)
    }

    fn tag(&self, members: &Members) -> Result<Reply, Error> {
        const TAGS_MAX: usize = 50;
        let name = self.tagged(members)?;
        let tags = check::strings(members.get("Tags"), "Tags")?.unwrap_or_default();
        self.change(&name, |record| {
            record.tags.extend(tags);
            if record.tags.len() > TAGS_MAX {
                return Err(Error::invalid(format!("a function has at most {TAGS_MAX} tags")));
            }
            Ok(())
        })?;
        Ok(Reply::empty())
    }

    fn untag(&self, members: &Members) -> Result<Reply, Error> {
        let name = self.tagged(members)?;
        let keys = members.get("TagKeys").and_then(Value::as_array).cloned().unwrap_or_default();
        self.change(&name, |record| {
            record.tags.retain(|tag, _| !keys.iter().any(|key| key == tag.as_str()));
            Ok(())
        })?;
        Ok(Reply::empty())
    }

    fn list_tags(&self, members: &Members) -> Result<Reply, Error> {
        let arn = required(members, "Resource")?;
        let members = Members::from_iter([("FunctionName".to_owned(), json!(arn))]);
        let name = self.existing(&members)?;
        let tags: BTreeMap<String, String> =
            self.records().get(&name).map(|record| record.tags.clone()).unwrap_or_default();
        Ok(Reply::ok(json!({ "Tags": tags })))
    }
}

fn weights(members: &Members) -> Result<Option<BTreeMap<String, f64>>, Error> {
    let Some(routing) = members.get("RoutingConfig").filter(|routing| !routing.is_null()) else { return Ok(None) };
    let wrong = || Error::request_content("RoutingConfig.AdditionalVersionWeights must be an object of numbers");
    let weights = match routing.get("AdditionalVersionWeights") {
        None | Some(Value::Null) => return Ok(Some(BTreeMap::new())),
        Some(weights) => weights.as_object().ok_or_else(wrong)?,
    };
    let pair = |(version, weight): (&String, &Value)| {
        weight.as_f64().map(|weight| (version.clone(), weight)).ok_or_else(wrong)
    };
    weights.iter().map(pair).collect::<Result<_, _>>().map(Some)
}
