//! The actions by their names, and those that make, change, show and remove functions.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use starmap_workers::Function;
use starmap_workers::function::{LATEST, split};
use tokio::sync::Semaphore;

use super::catalog::{Catalog, Meant};
use super::check::{self, Members, required, text};
use super::error::Error;
use super::record::{Code, Record, Version};
use super::runtimes::Runtime;
use crate::s3::Buckets;

/// The most memory of a function, MiB.
const MEMORY_MIB_MAX: u32 = 10_240;
/// The most time of a function, seconds.
const TIMEOUT_S_MAX: u32 = 900;
/// Largest archive that may come inside a request.
const ARCHIVE_BYTES_MAX: usize = 50 << 20;
/// Functions on a page.
const PAGE: usize = 50;
/// Events that wait or run, at most.
const EVENTS_MAX: usize = 1000;

/// The Lambda API, whatever protocol it comes by.
#[derive(Debug)]
pub struct Lambda {
    pub(crate) catalog: Arc<Catalog>,
    buckets: Arc<Buckets>,
    pub(crate) events: Arc<Semaphore>,
}

/// An answer: status and members.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// None is an empty body.
    pub body: Option<Value>,
}

impl Reply {
    pub(crate) fn ok(body: Value) -> Self {
        Self { status: 200, body: Some(body) }
    }

    pub(crate) fn created(body: Value) -> Self {
        Self { status: 201, body: Some(body) }
    }

    pub(crate) fn empty() -> Self {
        Self { status: 204, body: None }
    }
}

impl Lambda {
    /// The functions of a catalogue; code may come from these buckets.
    pub fn new(catalog: Arc<Catalog>, buckets: Arc<Buckets>) -> Self {
        Self { catalog, buckets, events: Arc::new(Semaphore::new(EVENTS_MAX)) }
    }

    /// The ARN of a function by its name, which may be an ARN or a part of one.
    pub(crate) fn arn_of(&self, name: &str, qualifier: Option<&str>) -> String {
        let (plain, in_name) = split(name);
        self.catalog.arn(plain, qualifier.or(in_name))
    }

    /// Carries out an action, all but `Invoke` (see [`invoke`](Self::invoke)), whose payload is no member.
    ///
    /// # Errors
    /// Lambda's.
    pub async fn call(&self, action: &str, members: Members) -> Result<Reply, Error> {
        let archive = match action {
            "CreateFunction" => self.archive(members.get("Code").and_then(Value::as_object)).await?,
            "UpdateFunctionCode" => self.archive(Some(&members)).await?,
            _ => None,
        };
        let (catalog, action) = (Arc::clone(&self.catalog), action.to_owned());
        let acting = tokio::task::spawn_blocking(move || catalog.act(&action, &members, archive.as_deref()));
        acting.await.map_err(|error| Error::internal("an action", &error))?
    }

    /// The archive that a request brings or names.
    async fn archive(&self, code: Option<&Members>) -> Result<Option<Bytes>, Error> {
        let Some(code) = code else { return Ok(None) };
        if let Some(encoded) = text(code, "ZipFile")? {
            let archive = BASE64.decode(encoded).map_err(|_| Error::request_content("ZipFile is not base64"))?;
            if archive.len() > ARCHIVE_BYTES_MAX {
                return Err(Error::too_large(ARCHIVE_BYTES_MAX, "CreateFunction"));
            }
            return Ok(Some(archive.into()));
        }
        let (Some(bucket), Some(key)) = (text(code, "S3Bucket")?, text(code, "S3Key")?) else { return Ok(None) };
        let got = self.buckets.get(bucket, key, None).await;
        got.map(Some).map_err(|error| {
            Error::invalid(format!(
                "Error occurred while GetObject. S3 Error Code: {}. S3 Error Message: {}",
                error.code, error.message
            ))
        })
    }
}

impl Catalog {
    fn act(&self, action: &str, members: &Members, archive: Option<&[u8]>) -> Result<Reply, Error> {
        // One change at a time: code that two functions share must not go while one of them is made.
        let is_change = !action.starts_with("Get") && !action.starts_with("List");
        let _turn = is_change.then(|| self.turn());
        match action {
            "CreateFunction" => self.create_function(members, archive),
            "GetFunction" => self.get_function(members),
            "GetFunctionConfiguration" => self.get_configuration(members),
            "ListFunctions" => self.list_functions(members),
            "UpdateFunctionCode" => self.update_code(members, archive),
            "UpdateFunctionConfiguration" => self.update_configuration(members),
            "DeleteFunction" => self.delete_function(members),
            "GetAccountSettings" => Ok(self.account_settings()),
            other => self.act_on_versions(other, members),
        }
    }

    fn create_function(&self, members: &Members, archive: Option<&[u8]>) -> Result<Reply, Error> {
        let (name, _) = split(check::function_name(members)?);
        let role = required(members, "Role")?.to_owned();
        refuse_layers(members)?;
        if self.records().contains_key(name) || self.built_in(name).is_some() {
            return Err(Error::conflict(format!("Function already exist: {name}")));
        }
        let code = members.get("Code").and_then(Value::as_object).cloned().unwrap_or_default();
        let version = self.version(members, &code, archive, role)?;
        let tags = check::strings(members.get("Tags"), "Tags")?.unwrap_or_default();
        let name = name.to_owned();
        let mut record = Record {
            name,
            latest: version,
            versions: Default::default(),
            version_last: 0,
            aliases: Default::default(),
            concurrency: None,
            tags,
            permissions: Vec::new(),
        };
        let is_published = members.get("Publish") == Some(&Value::Bool(true));
        if is_published {
            record.versions.insert(1, record.latest.clone());
            record.version_last = 1;
        }
        let shown = if is_published { "1" } else { LATEST };
        let answer = self.configuration(&record.name, shown, &record.latest, is_published);
        self.create(record)?;
        Ok(Reply::created(answer))
    }

    /// A version as a request describes it, with its defaults.
    fn version(
        &self,
        members: &Members,
        code: &Members,
        archive: Option<&[u8]>,
        role: String,
    ) -> Result<Version, Error> {
        let runtime = text(members, "Runtime")?.map(str::to_owned);
        let is_image = text(members, "PackageType")? == Some("Image");
        if let Some(runtime) = &runtime {
            Runtime::parse(runtime)?;
        } else if !is_image {
            return Err(Error::invalid(
                "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
            ));
        }
        let handler = text(members, "Handler")?.map(str::to_owned);
        if handler.is_none() && !is_image {
            return Err(Error::invalid(
                "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
            ));
        }
        Ok(Version {
            code: self.code(code, archive)?,
            runtime,
            role,
            handler: handler.unwrap_or_default(),
            description: text(members, "Description")?.unwrap_or_default().to_owned(),
            timeout_s: check::number(members, "Timeout", (1, TIMEOUT_S_MAX), 3)?,
            memory_mib: check::number(members, "MemorySize", (128, MEMORY_MIB_MAX), 128)?,
            environment: check::environment(members)?.unwrap_or_default(),
            architecture: architecture(members)?.unwrap_or_else(|| "x86_64".to_owned()),
            ephemeral_storage_mib: ephemeral_storage(members)?.unwrap_or(512),
            is_traced: is_traced(members)?.unwrap_or(false),
            modified_at_ms: self.now().0,
            revision_id: uuid::Uuid::new_v4().to_string(),
        })
    }

    fn code(&self, code: &Members, archive: Option<&[u8]>) -> Result<Code, Error> {
        if let Some(uri) = text(code, "ImageUri")? {
            return Ok(Code::Path { path: check::local_path(uri)?.to_owned() });
        }
        let Some(archive) = archive else {
            return Err(Error::invalid("Please provide a source for function code."));
        };
        let size = |record: &Record| {
            let versions = record.versions.values().chain([&record.latest]);
            versions.map(|version| if let Code::Archive { bytes, .. } = version.code { bytes } else { 0 }).sum::<u64>()
        };
        let stored = self.records().values().map(size).sum();
        self.store.keep(archive, stored)
    }

    fn get_function(&self, members: &Members) -> Result<Reply, Error> {
        let (name, _) = split(check::function_name(members)?);
        let configuration = self.shown(members)?;
        let mut answer = Map::new();
        let records = self.records();
        let code = match records.get(name) {
            Some(record) => match &record
                .version(configuration["Version"].as_str().unwrap_or(LATEST))
                .unwrap_or(&record.latest)
                .code
            {
                Code::Archive { sha256, .. } => {
                    json!({ "RepositoryType": "S3", "Location": format!("file://{}", self.store.archive(sha256).display()) })
                }
                Code::Path { path } => {
                    let uri = format!("file://{path}");
                    json!({ "RepositoryType": "ECR", "ImageUri": uri, "ResolvedImageUri": uri })
                }
            },
            None => json!({ "RepositoryType": "S3", "Location": "" }),
        };
        answer.insert("Configuration".to_owned(), configuration);
        answer.insert("Code".to_owned(), code);
        if let Some(record) = records.get(name) {
            if !record.tags.is_empty() {
                answer.insert("Tags".to_owned(), json!(record.tags));
            }
            if let Some(limit) = record.concurrency {
                answer.insert("Concurrency".to_owned(), json!({ "ReservedConcurrentExecutions": limit }));
            }
        }
        Ok(Reply::ok(Value::Object(answer)))
    }

    fn get_configuration(&self, members: &Members) -> Result<Reply, Error> {
        Ok(Reply::ok(self.shown(members)?))
    }

    /// The configuration that a request is about.
    pub(crate) fn shown(&self, members: &Members) -> Result<Value, Error> {
        let name = check::function_name(members)?;
        let qualifier = text(members, "Qualifier")?;
        // An alias shows its own version, never one that it shares with.
        let Meant { function, version } = self.resolve(name, qualifier, 1.0)?;
        if let Some(built_in) = self.built_in(&function) {
            return Ok(self.built_in_configuration(built_in));
        }
        let records = self.records();
        let shown = records.get(&function).and_then(|record| record.version(&version));
        let shown = shown.ok_or_else(|| self.missing(&function, qualifier))?;
        let is_qualified = qualifier.is_some() || split(name).1.is_some();
        Ok(self.configuration(&function, &version, shown, is_qualified))
    }

    fn list_functions(&self, members: &Members) -> Result<Reply, Error> {
        let is_all = text(members, "FunctionVersion")? == Some("ALL");
        let mut all: Vec<(String, Value)> = Vec::new();
        for function in &self.place.built_in {
            all.push((function.name.clone(), self.built_in_configuration(function)));
        }
        for (name, record) in self.records().iter() {
            all.push((format!("{name}:{LATEST}"), self.configuration(name, LATEST, &record.latest, is_all)));
            if is_all {
                for (number, version) in &record.versions {
                    let shown = self.configuration(name, &number.to_string(), version, true);
                    all.push((format!("{name}:{number:020}"), shown));
                }
            }
        }
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        paged(members, all, "Functions")
    }

    fn update_code(&self, members: &Members, archive: Option<&[u8]>) -> Result<Reply, Error> {
        let name = self.changeable(members)?;
        let architecture = architecture(members)?;
        let code = self.code(members, archive)?;
        let is_dry = members.get("DryRun") == Some(&Value::Bool(true));
        let is_published = members.get("Publish") == Some(&Value::Bool(true));
        let revision = text(members, "RevisionId")?.map(str::to_owned);
        let now = self.now().0;
        let preview = |record: &mut Record| {
            check_revision(&record.latest.revision_id, revision.as_deref())?;
            record.latest.code = code;
            if let Some(architecture) = architecture {
                record.latest.architecture = architecture;
            }
            record.latest.modified_at_ms = now;
            record.latest.revision_id = uuid::Uuid::new_v4().to_string();
            let mut shown = LATEST.to_owned();
            if is_published {
                shown = publish(record, None);
            }
            let version = record.version(&shown).unwrap_or(&record.latest).clone();
            Ok((shown, version))
        };
        let (shown, version) = if is_dry {
            let mut copy = self.records().get(&name).cloned().ok_or_else(|| self.missing(&name, None))?;
            preview(&mut copy)?
        } else {
            self.change(&name, preview)?
        };
        Ok(Reply::ok(self.configuration(&name, &shown, &version, is_published)))
    }

    fn update_configuration(&self, members: &Members) -> Result<Reply, Error> {
        let name = self.changeable(members)?;
        refuse_layers(members)?;
        let runtime = text(members, "Runtime")?.map(str::to_owned);
        if let Some(runtime) = &runtime {
            Runtime::parse(runtime)?;
        }
        let (role, handler) = (text(members, "Role")?, text(members, "Handler")?);
        let description = text(members, "Description")?;
        let environment = check::environment(members)?;
        let (storage, traced) = (ephemeral_storage(members)?, is_traced(members)?);
        let revision = text(members, "RevisionId")?;
        let now = self.now().0;
        let version = self.change(&name, |record| {
            let version = &mut record.latest;
            check_revision(&version.revision_id, revision)?;
            version.timeout_s = check::number(members, "Timeout", (1, TIMEOUT_S_MAX), version.timeout_s)?;
            version.memory_mib = check::number(members, "MemorySize", (128, MEMORY_MIB_MAX), version.memory_mib)?;
            version.runtime = runtime.or(version.runtime.take());
            for (given, kept) in
                [(role, &mut version.role), (handler, &mut version.handler), (description, &mut version.description)]
            {
                if let Some(given) = given {
                    given.clone_into(kept);
                }
            }
            if let Some(environment) = environment {
                version.environment = environment;
            }
            version.ephemeral_storage_mib = storage.unwrap_or(version.ephemeral_storage_mib);
            version.is_traced = traced.unwrap_or(version.is_traced);
            version.modified_at_ms = now;
            version.revision_id = uuid::Uuid::new_v4().to_string();
            Ok(version.clone())
        })?;
        Ok(Reply::ok(self.configuration(&name, LATEST, &version, false)))
    }

    fn delete_function(&self, members: &Members) -> Result<Reply, Error> {
        let given = check::function_name(members)?;
        let name = self.changeable(members)?;
        let Some(qualifier) = text(members, "Qualifier")?.or(split(given).1) else {
            self.delete(&name)?;
            return Ok(Reply::empty());
        };
        if qualifier == LATEST {
            return Err(Error::invalid("$LATEST version cannot be deleted without deleting the function."));
        }
        self.change(&name, |record| {
            if record.aliases.contains_key(qualifier) {
                return Err(Error::invalid(format!("Deletion of aliases is not currently supported: {qualifier}")));
            }
            let is_used =
                |alias: &super::record::Alias| alias.version == qualifier || alias.weights.contains_key(qualifier);
            if record.aliases.values().any(is_used) {
                let arn = self.arn(&name, Some(qualifier));
                return Err(Error::conflict(format!("Function version is referenced by an alias: {arn}")));
            }
            // One that is not there is removed already.
            if let Ok(number) = qualifier.parse::<u64>() {
                record.versions.remove(&number);
            }
            Ok(())
        })?;
        Ok(Reply::empty())
    }

    fn account_settings(&self) -> Reply {
        let concurrency = self.place.concurrency_max;
        let count = self.records().len() + self.place.built_in.len();
        Reply::ok(json!({
            "AccountLimit": {
                "TotalCodeSize": 80_530_636_800_u64, "CodeSizeUnzipped": 262_144_000, "CodeSizeZipped": 52_428_800,
                "ConcurrentExecutions": concurrency, "UnreservedConcurrentExecutions": concurrency,
            },
            "AccountUsage": { "TotalCodeSize": 0, "FunctionCount": count },
        }))
    }

    /// The plain name of a function that may be changed.
    pub(crate) fn changeable(&self, members: &Members) -> Result<String, Error> {
        let (name, _) = split(check::function_name(members)?);
        if self.built_in(name).is_some() {
            return Err(Error::invalid(format!("{name} is built in and can't be changed")));
        }
        if !self.records().contains_key(name) {
            return Err(self.missing(name, None));
        }
        Ok(name.to_owned())
    }

    /// A configuration as Lambda shows it.
    pub(crate) fn configuration(&self, name: &str, number: &str, version: &Version, is_qualified: bool) -> Value {
        let (sha256, bytes, is_image) = match &version.code {
            Code::Archive { sha256, bytes } => (base64_of_hex(sha256), *bytes, false),
            Code::Path { .. } => (String::new(), 0, true),
        };
        let mut shown = json!({
            "FunctionName": name,
            "FunctionArn": self.arn(name, is_qualified.then_some(number)),
            "Role": version.role,
            "CodeSize": bytes,
            "Description": version.description,
            "Timeout": version.timeout_s,
            "MemorySize": version.memory_mib,
            "LastModified": version.last_modified(),
            "CodeSha256": sha256,
            "Version": number,
            "TracingConfig": { "Mode": if version.is_traced { "Active" } else { "PassThrough" } },
            "RevisionId": version.revision_id,
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "PackageType": if is_image { "Image" } else { "Zip" },
            "Architectures": [version.architecture],
            "EphemeralStorage": { "Size": version.ephemeral_storage_mib },
            "SnapStart": { "ApplyOn": "None", "OptimizationStatus": "Off" },
            "LoggingConfig": { "LogFormat": "Text", "LogGroup": format!("/aws/lambda/{name}") },
        });
        if let Some(members) = shown.as_object_mut() {
            if let Some(runtime) = &version.runtime {
                members.insert("Runtime".to_owned(), json!(runtime));
            }
            if !version.handler.is_empty() {
                members.insert("Handler".to_owned(), json!(version.handler));
            }
            if !version.environment.is_empty() {
                members.insert("Environment".to_owned(), json!({ "Variables": version.environment }));
            }
        }
        shown
    }

    fn built_in_configuration(&self, function: &Function) -> Value {
        let version = Version {
            code: Code::Archive { sha256: String::new(), bytes: 0 },
            runtime: Some("provided.al2023".to_owned()),
            role: self.place.naming.role(),
            handler: function.handler.clone(),
            description: "Built into this server".to_owned(),
            timeout_s: u32::try_from(function.timeout.as_secs()).unwrap_or(u32::MAX),
            memory_mib: function.memory_mib,
            environment: Default::default(),
            architecture: "x86_64".to_owned(),
            ephemeral_storage_mib: 512,
            is_traced: false,
            modified_at_ms: 0,
            revision_id: "00000000-0000-0000-0000-000000000000".to_owned(),
        };
        self.configuration(&function.name, LATEST, &version, false)
    }
}

impl Version {
    /// As in `2026-11-27T00:28:09.123+0000`.
    fn last_modified(&self) -> String {
        starmap_asl::Timestamp(self.modified_at_ms).to_string().replace('Z', "+0000")
    }

    /// The hash as Lambda writes it.
    pub(crate) fn code_sha256(&self) -> String {
        match &self.code {
            Code::Archive { sha256, .. } => base64_of_hex(sha256),
            Code::Path { .. } => String::new(),
        }
    }
}

/// Publishes the latest version, unless it is what was published last; its number.
pub(crate) fn publish(record: &mut Record, description: Option<&str>) -> String {
    let last = record.versions.last_key_value();
    if let Some((number, last)) = last {
        let same = Version {
            revision_id: last.revision_id.clone(),
            modified_at_ms: last.modified_at_ms,
            description: last.description.clone(),
            ..record.latest.clone()
        };
        if same == *last {
            return number.to_string();
        }
    }
    record.version_last += 1;
    let mut published = record.latest.clone();
    if let Some(description) = description {
        description.clone_into(&mut published.description);
    }
    published.revision_id = uuid::Uuid::new_v4().to_string();
    record.versions.insert(record.version_last, published);
    record.version_last.to_string()
}

/// Someone who changes what they saw must have seen the newest.
pub(crate) fn check_revision(revision: &str, seen: Option<&str>) -> Result<(), Error> {
    if seen.is_none_or(|seen| seen == revision) {
        return Ok(());
    }
    Err(Error::precondition(
        "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to \
         retrieve the latest Revision Id",
    ))
}

/// One page of what was found, in order of the keys.
pub(crate) fn paged(members: &Members, all: Vec<(String, Value)>, list: &str) -> Result<Reply, Error> {
    let page = check::number(members, "MaxItems", (1, 10_000), PAGE as u32)? as usize;
    let after = match text(members, "Marker")?.filter(|marker| !marker.is_empty()) {
        Some(marker) => {
            let key = BASE64.decode(marker).ok().and_then(|key| String::from_utf8(key).ok());
            Some(key.ok_or_else(|| Error::invalid("Invalid pagination token"))?)
        }
        None => None,
    };
    let mut rest = all.into_iter().filter(|(key, _)| after.as_ref().is_none_or(|after| key > after)).peekable();
    let (mut shown, mut last) = (Vec::new(), String::new());
    while shown.len() < page
        && let Some((key, value)) = rest.next()
    {
        shown.push(value);
        last = key;
    }
    let mut answer = Map::new();
    if rest.peek().is_some() {
        answer.insert("NextMarker".to_owned(), json!(BASE64.encode(last)));
    }
    answer.insert(list.to_owned(), Value::Array(shown));
    Ok(Reply::ok(Value::Object(answer)))
}

fn refuse_layers(members: &Members) -> Result<(), Error> {
    if members.get("Layers").and_then(Value::as_array).is_some_and(|layers| !layers.is_empty()) {
        let message = "Layers are not served here; put what the function needs into its archive";
        return Err(Error::invalid(message));
    }
    Ok(())
}

fn architecture(members: &Members) -> Result<Option<String>, Error> {
    match members.get("Architectures").and_then(Value::as_array).map(Vec::as_slice) {
        None | Some([]) => Ok(None),
        Some([Value::String(one)]) if one == "x86_64" || one == "arm64" => Ok(Some(one.clone())),
        Some(other) => Err(Error::constraint(
            "architectures",
            &Value::Array(other.to_vec()).to_string(),
            "satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64]]",
        )),
    }
}

/// Of a request that says whether X-Ray is to be told.
fn is_traced(members: &Members) -> Result<Option<bool>, Error> {
    match members.get("TracingConfig").and_then(|config| config.get("Mode")).and_then(Value::as_str) {
        None => Ok(None),
        Some("Active") => Ok(Some(true)),
        Some("PassThrough") => Ok(Some(false)),
        Some(other) => {
            let constraint = "satisfy enum value set: [Active, PassThrough]";
            Err(Error::constraint("tracingConfig.mode", other, constraint))
        }
    }
}

fn ephemeral_storage(members: &Members) -> Result<Option<u32>, Error> {
    match members.get("EphemeralStorage").and_then(Value::as_object) {
        Some(storage) => check::number(storage, "Size", (512, 10_240), 512).map(Some),
        None => Ok(None),
    }
}

fn base64_of_hex(hex: &str) -> String {
    let digits: Vec<u8> = hex.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    BASE64.encode(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect::<Vec<_>>())
}
