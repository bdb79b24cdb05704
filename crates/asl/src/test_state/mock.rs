//! A mocked result against the response that the service would give.

use serde_json::{Map, Value};

use super::request::ValidationMode;
use super::shapes::{Limits, Scalar, Shape, Shapes};
use crate::resource::{Pattern, Resource};

/// What became of the comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// Nothing is wrong with it.
    Right,
    /// There is no shape to compare with, and why.
    Unknown(String),
    /// In AWS's words.
    Wrong(String),
}

/// Compares the mocked result of a Task with the response shape of what the Task calls.
pub(super) fn check(resource: &Resource, mode: ValidationMode, result: &Value) -> Checked {
    if mode == ValidationMode::None {
        return Checked::Right;
    }
    let Resource::Service { service, action, pattern, .. } = resource else {
        return Checked::Unknown("a function or an activity gives what it likes".to_owned());
    };
    if *pattern == Pattern::WaitForTaskToken {
        return Checked::Unknown("whoever holds the task token gives what they like".to_owned());
    }
    let Some(call) = Call::of(service, action, *pattern) else {
        return Checked::Unknown(format!("the responses of {service}:{action} are not known here"));
    };
    let Some(shapes) = Shapes::of(call.service) else {
        return Checked::Unknown(format!("the responses of the service {} are not known here", call.service));
    };
    let response = match shapes.response(&call.operation) {
        None => return Checked::Unknown(format!("{} has no operation {} here", call.service, call.operation)),
        Some(None) => return Checked::Right,
        Some(Some(response)) => response,
    };
    let comparison = Comparison { shapes: &shapes, mode, free: call.free, is_optimised: call.is_optimised };
    match comparison.value(result, response, None, 0) {
        Ok(()) => Checked::Right,
        Err(problem) => Checked::Wrong(format!("Mock result schema validation error: {problem}")),
    }
}

/// An operation of a service whose response is the task's result.
struct Call {
    /// By botocore's name.
    service: &'static str,
    operation: String,
    /// Fields that the integration reads as JSON, so that anything may be in them.
    free: &'static [&'static str],
    is_optimised: bool,
}

impl Call {
    fn of(service: &str, action: &str, pattern: Pattern) -> Option<Call> {
        let operation = capitalised(action);
        if let Some(service) = service.strip_prefix("aws-sdk:") {
            return Some(Call { service: sdk_service(service)?, operation, free: &[], is_optimised: false });
        }
        let is_sync = matches!(pattern, Pattern::Sync | Pattern::Sync2);
        let (service, operation, free): (_, _, &[&str]) = match (service, action, is_sync) {
            ("lambda", "invoke", _) => ("lambda", operation, &["Payload"]),
            ("states", "startExecution", false) => ("stepfunctions", operation, &[]),
            // The result of a job's end is what the service says when it is asked about the job.
            ("states", "startExecution", true) => {
                let free: &[&str] = if pattern == Pattern::Sync2 { &["Input", "Output"] } else { &[] };
                ("stepfunctions", "DescribeExecution".to_owned(), free)
            }
            ("ecs" | "batch" | "glue" | "codebuild" | "elasticmapreduce" | "emr-serverless", _, true) => return None,
            ("athena", "startQueryExecution", true) => ("athena", "GetQueryExecution".to_owned(), &[]),
            ("bedrock", "invokeModel", _) => ("bedrock-runtime", operation, &["Body"]),
            ("athena", ..) => ("athena", operation, &[]),
            ("batch", ..) => ("batch", operation, &[]),
            ("codebuild", ..) => ("codebuild", operation, &[]),
            ("dynamodb", ..) => ("dynamodb", operation, &[]),
            ("ecs", ..) => ("ecs", operation, &[]),
            ("emr-serverless", ..) => ("emr-serverless", operation, &[]),
            ("events", ..) => ("events", operation, &[]),
            ("glue", ..) => ("glue", operation, &[]),
            ("sns", ..) => ("sns", operation, &[]),
            ("sqs", ..) => ("sqs", operation, &[]),
            _ => return None,
        };
        Some(Call { service, operation, free, is_optimised: true })
    }
}

/// botocore's name of a service that a definition calls by the name it has in the SDK for Java.
fn sdk_service(name: &str) -> Option<&'static str> {
    Some(match name {
        "athena" => "athena",
        "batch" => "batch",
        "bedrockruntime" => "bedrock-runtime",
        "cloudwatch" => "cloudwatch",
        "cloudwatchlogs" => "logs",
        "codebuild" => "codebuild",
        "dynamodb" => "dynamodb",
        "ecs" => "ecs",
        "emr" => "emr",
        "emrserverless" => "emr-serverless",
        "eventbridge" => "events",
        "glue" => "glue",
        "kinesis" => "kinesis",
        "kms" => "kms",
        "lambda" => "lambda",
        "rdsdata" => "rds-data",
        "redshiftdata" => "redshift-data",
        "s3" => "s3",
        "scheduler" => "scheduler",
        "secretsmanager" => "secretsmanager",
        "sfn" => "stepfunctions",
        "sns" => "sns",
        "sqs" => "sqs",
        "ssm" => "ssm",
        "sts" => "sts",
        _ => return None,
    })
}

/// Deeper than any response; some shapes contain themselves.
const DEPTH_MAX: usize = 64;

struct Comparison<'a> {
    shapes: &'a Shapes,
    mode: ValidationMode,
    free: &'a [&'a str],
    is_optimised: bool,
}

impl Comparison<'_> {
    /// `field` is the innermost field the value is in; messages name no more than that.
    fn value(&self, value: &Value, shape: &str, field: Option<&str>, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Ok(());
        }
        let must = |what: &str| match field {
            Some(field) => format!("Field '{field}' must be {what}"),
            None => format!("Mock result must be {what}"),
        };
        match self.shapes.shape(shape) {
            Shape::Anything => Ok(()),
            Shape::Structure(fields) => {
                let object = value.as_object().ok_or_else(|| must("an object"))?;
                self.structure(object, &fields, depth)
            }
            Shape::List(member) => {
                let items = value.as_array().ok_or_else(|| must("an array"))?;
                items.iter().try_for_each(|item| self.value(item, member, field, depth + 1))
            }
            Shape::Map(member) => {
                let object = value.as_object().ok_or_else(|| must("an object"))?;
                object.values().try_for_each(|item| self.value(item, member, field, depth + 1))
            }
            Shape::Enumeration(values) => {
                let text = value.as_str().ok_or_else(|| must("a string"))?;
                match values.contains(&text) {
                    true => Ok(()),
                    false => Err(format!("Field '{}' is not an expected value", field.unwrap_or_default())),
                }
            }
            Shape::Scalar(scalar, limits) => {
                let field = field.unwrap_or_default();
                match scalar {
                    Scalar::Boolean => value.as_bool().map(drop).ok_or_else(|| must("a boolean")),
                    Scalar::Timestamp => value.as_str().map(drop).ok_or_else(|| must("a string")),
                    Scalar::Number => {
                        let number = value.as_f64().ok_or_else(|| must("a number"))?;
                        within(number, limits, field, ["is less than the minimum value", "exceeds the maximum value"])
                    }
                    Scalar::String => {
                        let text = value.as_str().ok_or_else(|| must("a string"))?;
                        within(text.chars().count() as f64, limits, field, LENGTHS)
                    }
                    Scalar::Blob => {
                        let text = value.as_str().ok_or_else(|| must("a string"))?;
                        within(decoded_length(text) as f64, limits, field, LENGTHS)
                    }
                }
            }
        }
    }

    fn structure(
        &self,
        object: &Map<String, Value>,
        fields: &[super::shapes::Field],
        depth: usize,
    ) -> Result<(), String> {
        if self.mode == ValidationMode::Strict {
            for field in fields.iter().filter(|field| field.is_required) {
                if !self.names(field.name).any(|name| object.contains_key(&name)) {
                    return Err(format!("Required field '{}' is missing", sdk_name(field.name)));
                }
            }
        }
        for (name, value) in object {
            // A field that the model does not have may be one that came later.
            let Some(field) = fields.iter().find(|field| self.names(field.name).any(|known| known == *name)) else {
                continue;
            };
            if depth == 0 && self.free.contains(&name.as_str()) {
                continue;
            }
            self.value(value, field.shape, Some(name), depth + 1)?;
        }
        Ok(())
    }

    /// How the result may call a field: as the SDK for Java does; optimised integrations keep the service's own capitals, too.
    fn names(&self, field: &str) -> impl Iterator<Item = String> {
        let own = self.is_optimised.then(|| capitalised(field));
        std::iter::once(sdk_name(field)).chain(own)
    }
}

const LENGTHS: [&str; 2] = ["is smaller than the minimum length", "exceeds the maximum length"];

fn within(value: f64, limits: Limits, field: &str, [below, above]: [&str; 2]) -> Result<(), String> {
    if limits.least.is_some_and(|least| value < least) {
        return Err(format!("Field '{field}' {below}"));
    }
    if limits.most.is_some_and(|most| value > most) {
        return Err(format!("Field '{field}' {above}"));
    }
    Ok(())
}

/// Bytes that a Base64 text stands for, without looking at them.
fn decoded_length(text: &str) -> usize {
    text.trim_end_matches('=').len() * 3 / 4
}

fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A field's name as the SDK for Java has it, with a capital first: `executionArn` → `ExecutionArn`,
/// `SSEKMSKeyId` → `SsekmsKeyId`, `MD5OfMessageBody` → `Md5OfMessageBody`, `ETag` and `ChecksumCRC32` as they are.
///
/// Of a run of capitals that a name begins with, the SDK keeps only those that begin a word.
fn sdk_name(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let begins_word = |index: usize| {
        let (letter, next) = (letters[index], letters.get(index + 1));
        !letter.is_uppercase() || next.is_some_and(|next| next.is_lowercase())
    };
    let run = (1..letters.len()).find(|index| begins_word(*index)).unwrap_or(letters.len());
    let (run, rest) = letters.split_at(run);
    let lower: String = run.iter().flat_map(|letter| letter.to_lowercase()).chain(rest.iter().copied()).collect();
    capitalised(&lower)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(arn: &str, mode: ValidationMode, result: Value) -> String {
        match check(&Resource::parse(arn).unwrap(), mode, &result) {
            Checked::Right => "right".to_owned(),
            Checked::Unknown(why) => format!("not checked: {why}"),
            Checked::Wrong(problem) => problem,
        }
    }

    fn strict(arn: &str, result: Value) -> String {
        told(arn, ValidationMode::Strict, result)
    }

    #[test]
    fn what_is_wrong_is_told_in_awss_words() {
        let function = "arn:aws:states:::aws-sdk:lambda:getFunction";
        let prefix = "Mock result schema validation error: ";
        assert_eq!(
            strict(function, json!({"Configuration": {"MemorySize": 127}})),
            format!("{prefix}Field 'MemorySize' is less than the minimum value")
        );
        let object = "arn:aws:states:::aws-sdk:s3:getObject";
        assert_eq!(
            strict(object, json!({"StorageClass": "Papyrus"})),
            format!("{prefix}Field 'StorageClass' is not an expected value")
        );
        assert_eq!(
            strict(object, json!({"ContentLength": "9"})),
            format!("{prefix}Field 'ContentLength' must be a number")
        );
        assert_eq!(strict(object, json!({"Metadata": {"a": 1}})), format!("{prefix}Field 'Metadata' must be a string"));
        assert_eq!(
            strict(object, json!({"DeleteMarker": "no"})),
            format!("{prefix}Field 'DeleteMarker' must be a boolean")
        );
        let start = "arn:aws:states:::states:startExecution";
        assert_eq!(
            strict(start, json!({"executionArn": "a"})),
            format!("{prefix}Required field 'ExecutionArn' is missing")
        );
        assert_eq!(told(start, ValidationMode::Present, json!({"executionArn": "a"})), "right");
        let encrypt = "arn:aws:states:::aws-sdk:kms:encrypt";
        assert_eq!(
            strict(encrypt, json!({"CiphertextBlob": ""})),
            format!("{prefix}Field 'CiphertextBlob' is smaller than the minimum length")
        );
        assert_eq!(strict(encrypt, json!([])), format!("{prefix}Mock result must be an object"));
    }

    #[test]
    fn integrations_that_read_json_are_not_held_to_blobs() {
        let payload = json!({"StatusCode": 200, "Payload": {"z": 0.3}});
        assert_eq!(strict("arn:aws:states:::lambda:invoke", payload.clone()), "right");
        assert!(
            strict("arn:aws:states:::aws-sdk:lambda:invoke", payload).ends_with("Field 'Payload' must be a string")
        );
    }

    #[test]
    fn what_is_not_known_is_said() {
        assert!(strict("arn:aws:states:::aws-sdk:nosuchservice:doThis", json!(1)).starts_with("not checked"));
        assert!(strict("arn:aws:states:::http:invoke", json!(1)).starts_with("not checked"));
        assert!(strict("arn:aws:states:::sqs:sendMessage.waitForTaskToken", json!(1)).starts_with("not checked"));
        assert!(strict("arn:aws:lambda:us-east-1:000000000000:function:f", json!(1)).starts_with("not checked"));
    }

    #[test]
    fn names_are_those_of_the_sdk_for_java() {
        for (name, expected) in [
            ("executionArn", "ExecutionArn"),
            ("ETag", "ETag"),
            ("SSEKMSKeyId", "SsekmsKeyId"),
            ("MD5OfMessageBody", "Md5OfMessageBody"),
            ("AWSAccountId", "AwsAccountId"),
            ("ARN", "Arn"),
            ("s3Key", "S3Key"),
            ("ChecksumCRC32", "ChecksumCRC32"),
            ("", ""),
        ] {
            assert_eq!(sdk_name(name), expected);
        }
    }
}
