//! What a Task's `Resource` asks for.

use std::fmt;
use std::sync::Arc;

/// The optimised integrations and their actions.
const OPTIMISED: &[(&str, &[&str])] = &[
    ("apigateway", &["invoke"]),
    ("athena", &["getQueryExecution", "getQueryResults", "startQueryExecution", "stopQueryExecution"]),
    ("batch", &["submitJob"]),
    ("bedrock", &["createModelCustomizationJob", "invokeModel"]),
    (
        "codebuild",
        &[
            "batchDeleteBuilds",
            "batchGetReports",
            "deleteBuildBatch",
            "retryBuildBatch",
            "startBuild",
            "startBuildBatch",
            "stopBuild",
            "stopBuildBatch",
        ],
    ),
    ("databrew", &["startJobRun"]),
    ("dynamodb", &["deleteItem", "getItem", "putItem", "updateItem"]),
    ("ecs", &["runTask"]),
    (
        "eks",
        &[
            "call",
            "createCluster",
            "createFargateProfile",
            "createNodegroup",
            "deleteCluster",
            "deleteFargateProfile",
            "deleteNodegroup",
            "runJob",
        ],
    ),
    (
        "elasticmapreduce",
        &[
            "addStep",
            "cancelStep",
            "createCluster",
            "modifyInstanceFleetByName",
            "modifyInstanceGroupByName",
            "setClusterTerminationProtection",
            "terminateCluster",
        ],
    ),
    ("emr-containers", &["createVirtualCluster", "deleteVirtualCluster", "startJobRun"]),
    (
        "emr-serverless",
        &[
            "cancelJobRun",
            "createApplication",
            "deleteApplication",
            "startApplication",
            "startJobRun",
            "stopApplication",
        ],
    ),
    ("events", &["putEvents"]),
    ("glue", &["startJobRun"]),
    ("http", &["invoke"]),
    ("lambda", &["invoke"]),
    ("mediaconvert", &["createJob"]),
    (
        "sagemaker",
        &[
            "createEndpoint",
            "createEndpointConfig",
            "createHyperParameterTuningJob",
            "createLabelingJob",
            "createModel",
            "createProcessingJob",
            "createTrainingJob",
            "createTransformJob",
            "updateEndpoint",
        ],
    ),
    ("sns", &["publish"]),
    ("sqs", &["sendMessage"]),
    ("states", &["startExecution"]),
];

/// A Task's `Resource`, taken apart. Nothing here says that the resource exists.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// A Lambda function by its own ARN: `arn:aws:lambda:us-east-1:000000000000:function:infer`, with or without qualifier.
    Function {
        /// The ARN as written.
        arn: Arc<str>,
    },
    /// An activity: `arn:aws:states:us-east-1:000000000000:activity:name`.
    Activity {
        /// The ARN as written.
        arn: Arc<str>,
    },
    /// A service integration: `arn:aws:states:::lambda:invoke`, `arn:aws:states:::aws-sdk:s3:getObject`, ….
    Service {
        /// The ARN as written.
        arn: Arc<str>,
        /// `lambda`, `sqs`, `aws-sdk:s3`: AWS's `resourceType`.
        service: Arc<str>,
        /// `invoke`, `sendMessage`: without the pattern.
        action: Arc<str>,
        /// How the Task waits for the answer.
        pattern: Pattern,
    },
}

/// How a service integration waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// The service's answer is the result.
    RequestResponse,
    /// `.sync`: the started job's end is the result, as the service describes it.
    Sync,
    /// `.sync:2`: as `.sync`, with JSON output instead of a JSON string.
    Sync2,
    /// `.waitForTaskToken`: whoever holds the token gives the result.
    WaitForTaskToken,
}

impl Pattern {
    /// The suffix of a resource, with its dot: `""`, `".sync"`, `".sync:2"`, `".waitForTaskToken"`.
    pub fn suffix(self) -> &'static str {
        match self {
            Pattern::RequestResponse => "",
            Pattern::Sync => ".sync",
            Pattern::Sync2 => ".sync:2",
            Pattern::WaitForTaskToken => ".waitForTaskToken",
        }
    }
}

impl Resource {
    /// Takes an ARN apart; `None` if it is none of the three kinds.
    pub fn parse(arn: &str) -> Option<Resource> {
        let mut parts = arn.splitn(6, ':');
        let (prefix, partition) = (parts.next()?, parts.next()?);
        let (service, region, account, rest) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if prefix != "arn" || !partition.starts_with("aws") {
            return None;
        }
        match service {
            "lambda" if rest.strip_prefix("function:").is_some_and(|name| !name.is_empty()) => {
                Some(Resource::Function { arn: arn.into() })
            }
            "states" if rest.strip_prefix("activity:").is_some_and(|name| !name.is_empty()) => {
                Some(Resource::Activity { arn: arn.into() })
            }
            "states" if region.is_empty() && account.is_empty() => {
                let patterns = [Pattern::WaitForTaskToken, Pattern::Sync2, Pattern::Sync];
                let suffixed = patterns.into_iter().find_map(|p| Some((rest.strip_suffix(p.suffix())?, p)));
                let (call, pattern) = suffixed.unwrap_or((rest, Pattern::RequestResponse));
                let (service, action) = call.rsplit_once(':')?;
                let well_formed = !service.is_empty() && !action.is_empty() && !action.contains('.');
                well_formed.then(|| Resource::Service {
                    arn: arn.into(),
                    service: service.into(),
                    action: action.into(),
                    pattern,
                })
            }
            _ => None,
        }
    }

    /// True unless it asks an optimised integration for an action that it does not have.
    ///
    /// # Source
    /// <https://docs.aws.amazon.com/step-functions/latest/dg/integrate-optimized.html>, read 2026-11-27. What
    /// `aws-sdk` integrations have is not looked up.
    pub fn is_recognized(&self) -> bool {
        let Resource::Service { service, action, .. } = self else { return true };
        service.starts_with("aws-sdk:")
            || OPTIMISED.iter().any(|(known, actions)| *known == &**service && actions.contains(&&**action))
    }

    /// The ARN as the definition has it.
    pub fn arn(&self) -> &str {
        match self {
            Resource::Function { arn } | Resource::Activity { arn } | Resource::Service { arn, .. } => arn,
        }
    }

    /// True for `arn:aws:states:::lambda:invoke` with any pattern.
    pub fn is_lambda_invoke(&self) -> bool {
        matches!(self, Resource::Service { service, action, .. } if &**service == "lambda" && &**action == "invoke")
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.arn())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_kinds_apart() {
        let function = "arn:aws:lambda:us-east-1:000000000000:function:infer:live";
        assert_eq!(Resource::parse(function), Some(Resource::Function { arn: function.into() }));
        let invoke = Resource::parse("arn:aws:states:::lambda:invoke").unwrap();
        assert!(invoke.is_lambda_invoke());
        let sync = Resource::parse("arn:aws:states:::states:startExecution.sync:2").unwrap();
        assert!(matches!(&sync, Resource::Service { service, action, pattern: Pattern::Sync2, .. }
            if &**service == "states" && &**action == "startExecution"));
        let sdk = Resource::parse("arn:aws:states:::aws-sdk:s3:getObject").unwrap();
        assert!(
            matches!(&sdk, Resource::Service { service, action, .. } if &**service == "aws-sdk:s3" && &**action == "getObject")
        );
        assert!(matches!(
            Resource::parse("arn:aws:states:us-east-1:000000000000:activity:label"),
            Some(Resource::Activity { .. })
        ));
    }

    #[test]
    fn knows_what_the_optimised_integrations_do() {
        let is_recognized = |arn: &str| Resource::parse(arn).unwrap().is_recognized();
        assert!(is_recognized("arn:aws:states:::dynamodb:getItem"));
        assert!(is_recognized("arn:aws:states:::states:startExecution.sync:2"));
        assert!(is_recognized("arn:aws:states:::aws-sdk:dynamodb:query"));
        // Recorded: test_invalid_integration.
        assert!(!is_recognized("arn:aws:states:::dynamodb:query"));
        assert!(!is_recognized("arn:aws:states:::lambda:invokeAsync"));
    }

    #[test]
    fn refuses_other_arns() {
        for arn in
            ["", "infer", "arn:aws:s3:::bucket", "arn:aws:states:::lambda", "arn:aws:lambda:us-east-1:0:function:"]
        {
            assert_eq!(Resource::parse(arn), None, "{arn}");
        }
    }
}
