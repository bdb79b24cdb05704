//! Logging, tracing and encryption of a state machine or an activity: checked, kept, given back.

use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::wire::members::{Is, Members};
use crate::wire::values::object;

const LEVEL: Is = Is::OneOf(&["ALL", "ERROR", "FATAL", "OFF"]);
const KEY_TYPE: Is = Is::OneOf(&["AWS_OWNED_KEY", "CUSTOMER_MANAGED_KMS_KEY"]);

/// Keys in the settings that a revision keeps; wire names, because they are given back as they were given.
const LOGGING: &str = "loggingConfiguration";
const TRACING: &str = "tracingConfiguration";
const ENCRYPTION: &str = "encryptionConfiguration";

/// What a request says about logging, tracing and encryption; absent is absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Configuration {
    pub(super) logging: Option<Value>,
    pub(super) tracing: Option<Value>,
    pub(super) encryption: Option<Value>,
}

impl Configuration {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            logging: members.structure(LOGGING)?.map(|logging| read_logging(&logging)).transpose()?,
            tracing: read_tracing(members)?,
            encryption: read_encryption(members)?,
        })
    }

    /// Refuses what AWS refuses beyond types and ranges.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        if let Some(logging) = &self.logging {
            check_logging(logging)?;
        }
        self.encryption.as_ref().map_or(Ok(()), check_encryption)
    }

    /// The settings of a revision after `before`.
    pub(super) fn over(&self, before: &Value) -> Value {
        let mut settings = before.as_object().cloned().unwrap_or_default();
        for (name, given) in [(LOGGING, &self.logging), (TRACING, &self.tracing), (ENCRYPTION, &self.encryption)] {
            if let Some(given) = given {
                settings.insert(name.to_owned(), given.clone());
            }
        }
        Value::Object(settings)
    }

    /// Adds what a description says of them to it.
    pub(super) fn describe(settings: &Value, into: &mut Map<String, Value>) {
        let logging = || json!({ "level": "OFF", "includeExecutionData": false });
        let tracing = || json!({ "enabled": false });
        into.insert(LOGGING.to_owned(), settings.get(LOGGING).cloned().unwrap_or_else(logging));
        into.insert(TRACING.to_owned(), settings.get(TRACING).cloned().unwrap_or_else(tracing));
        into.insert(ENCRYPTION.to_owned(), encryption_of(settings));
    }
}

/// The encryption that a description says.
pub(super) fn encryption_of(settings: &Value) -> Value {
    settings.get(ENCRYPTION).cloned().unwrap_or_else(|| json!({ "type": "AWS_OWNED_KEY" }))
}

fn read_logging(logging: &Members<'_>) -> Result<Value, ApiError> {
    let level = logging.string("level", LEVEL)?.unwrap_or("OFF");
    let has_data = logging.boolean("includeExecutionData")?.unwrap_or(false);
    let mut destinations = Vec::new();
    for destination in logging.structures("destinations")?.unwrap_or_default() {
        let group = destination.structure("cloudWatchLogsLogGroup")?;
        let arn = group.map(|group| group.string("logGroupArn", Is::Length(1, 256))).transpose()?.flatten();
        destinations.push(match arn {
            Some(arn) => json!({ "cloudWatchLogsLogGroup": { "logGroupArn": arn } }),
            None => json!({}),
        });
    }
    let destinations = (!destinations.is_empty()).then_some(Value::Array(destinations));
    Ok(object([
        ("level", Some(Value::from(level))),
        ("includeExecutionData", Some(Value::from(has_data))),
        ("destinations", destinations),
    ]))
}

fn check_logging(logging: &Value) -> Result<(), ApiError> {
    let refused =
        |reason: &str| ApiError::new("InvalidLoggingConfiguration", format!("Invalid Logging Configuration: {reason}"));
    let destinations = logging.get("destinations").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if logging.get("level") == Some(&Value::from("OFF")) && destinations.is_empty() {
        return Ok(());
    }
    let [destination] = destinations else {
        return Err(refused("Must specify exactly one Log Destination."));
    };
    let arn = destination.pointer("/cloudWatchLogsLogGroup/logGroupArn").and_then(Value::as_str);
    match arn {
        Some(arn) if arn.starts_with("arn:") && arn.contains(":log-group:") && arn.ends_with(":*") => Ok(()),
        Some(_) => Err(refused("Log Group ARN is not valid; it must end with ':*'.")),
        None => Err(refused("Must specify exactly one Log Destination.")),
    }
}

fn read_tracing(members: &Members<'_>) -> Result<Option<Value>, ApiError> {
    let Some(tracing) = members.structure(TRACING)? else { return Ok(None) };
    Ok(Some(json!({ "enabled": tracing.boolean("enabled")?.unwrap_or(false) })))
}

/// Reads `encryptionConfiguration`.
pub(super) fn read_encryption(members: &Members<'_>) -> Result<Option<Value>, ApiError> {
    let Some(encryption) = members.structure(ENCRYPTION)? else { return Ok(None) };
    let key_type = encryption.required("type", KEY_TYPE)?;
    let key = encryption.string("kmsKeyId", Is::Length(1, 2_048))?;
    let reuse = encryption.integer("kmsDataKeyReusePeriodSeconds", Is::Range(60, 900))?;
    Ok(Some(object([
        ("kmsKeyId", key.map(Value::from)),
        ("kmsDataKeyReusePeriodSeconds", reuse.map(Value::from)),
        ("type", Some(Value::from(key_type))),
    ])))
}

/// Refuses a key without its kind, or a kind without its key.
pub(super) fn check_encryption(encryption: &Value) -> Result<(), ApiError> {
    let refused = |reason: &str| {
        ApiError::new("InvalidEncryptionConfiguration", format!("Invalid Encryption Configuration: {reason}"))
    };
    let is_customers = encryption.get("type") == Some(&Value::from("CUSTOMER_MANAGED_KMS_KEY"));
    let has_key = encryption.get("kmsKeyId").is_some();
    let has_reuse = encryption.get("kmsDataKeyReusePeriodSeconds").is_some();
    match (is_customers, has_key, has_reuse) {
        (true, false, _) => Err(refused("kmsKeyId is required for type CUSTOMER_MANAGED_KMS_KEY")),
        (false, true, _) | (false, _, true) => {
            Err(refused("kmsKeyId and kmsDataKeyReusePeriodSeconds can't be set for type AWS_OWNED_KEY"))
        }
        _ => Ok(()),
    }
}
