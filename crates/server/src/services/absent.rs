//! Services and actions that are not served: they fail as AWS's SDK names errors, and say what is missing.

use starmap_engine::services::ServiceError;

/// How the SDK for Java writes the names of services whose resource says it otherwise.
///
/// # Source
/// <https://docs.aws.amazon.com/step-functions/latest/dg/supported-services-awssdk.html>, "exception prefix"; read
/// 2026-11.
const PREFIXES: [(&str, &str); 18] = [
    ("apigateway", "ApiGateway"),
    ("athena", "Athena"),
    ("batch", "Batch"),
    ("bedrockruntime", "BedrockRuntime"),
    ("cloudwatch", "CloudWatch"),
    ("codebuild", "CodeBuild"),
    ("dynamodb", "DynamoDb"),
    ("ec2", "Ec2"),
    ("ecs", "Ecs"),
    ("eventbridge", "EventBridge"),
    ("events", "EventBridge"),
    ("glue", "Glue"),
    ("http", "Http"),
    ("kms", "Kms"),
    ("sagemaker", "SageMaker"),
    ("secretsmanager", "SecretsManager"),
    ("sns", "Sns"),
    ("sqs", "Sqs"),
];

/// The name that errors of a service begin with.
pub(crate) fn prefix(service: &str) -> String {
    if let Some((_, prefix)) = PREFIXES.iter().find(|(known, _)| *known == service) {
        return (*prefix).to_owned();
    }
    let mut letters = service.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A service that is not served at all.
pub(crate) fn service(service: &str, action: &str) -> ServiceError {
    let prefix = prefix(service);
    let cause = format!(
        "{service}:{action} is not served here; this server's tasks reach Lambda, S3, HTTP APIs and Step Functions itself"
    );
    ServiceError { error: format!("{prefix}.{prefix}Exception"), cause }
}

/// An action that is not served, of a service that is.
pub(crate) fn action(service: &str, action: &str, served: &[&str]) -> ServiceError {
    let prefix = prefix(service);
    let cause = format!("aws-sdk:{service}:{action} is not served here; of {service}, {} are", served.join(", "));
    ServiceError { error: format!("{prefix}.{prefix}Exception"), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_served_fails_by_name() {
        let error = service("dynamodb", "putItem");
        assert_eq!(error.error, "DynamoDb.DynamoDbException");
        assert!(error.cause.starts_with("dynamodb:putItem is not served here"));
        assert_eq!(service("rekognition", "x").error, "Rekognition.RekognitionException");
        assert_eq!(service("", "x").error, ".Exception");
    }
}
