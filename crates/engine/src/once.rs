//! One task, carried out once and outside of any execution: what `TestState` needs.

use std::sync::Arc;

use serde_json::Value;
use starmap_asl::{Resource, TaskInvocation};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::integration::{self, Call};
use crate::invoker::{Caller, Invocation, Invoker, Outcome};
use crate::names::derived_uuid;
use crate::services::{ServiceCall, Services};

/// Who carries out tasks.
#[derive(Clone)]
pub(crate) struct Callee {
    pub invoker: Arc<dyn Invoker>,
    pub services: Arc<dyn Services>,
    pub clock: Arc<dyn Clock>,
}

impl Callee {
    /// The raw result, or the error's name and its cause.
    pub async fn call(
        &self,
        invocation: TaskInvocation,
        execution_arn: &str,
        role_arn: &str,
    ) -> Result<Value, (String, String)> {
        let request_id = derived_uuid(&[execution_arn, "once"]);
        let TaskInvocation { resource, arguments, role_arn: credentials, .. } = invocation;
        if let Resource::Service { service, action, pattern, .. } = &resource
            && !resource.is_lambda_invoke()
        {
            let sdk = service.strip_prefix("aws-sdk:");
            let call = ServiceCall {
                service: sdk.unwrap_or(service).to_owned(),
                action: action.to_string(),
                is_sdk: sdk.is_some(),
                pattern: *pattern,
                arguments: Arc::unwrap_or_clone(arguments),
                request_id,
                execution_arn: execution_arn.to_owned(),
                role_arn: credentials.unwrap_or_else(|| role_arn.to_owned()),
            };
            let answered = Arc::clone(&self.services).call(call).await;
            return answered.map_err(|refused| (refused.error, refused.cause));
        }
        let refused = |refused: integration::Refused| (refused.error.to_owned(), refused.cause);
        let caller = Some(Caller {
            execution_arn: execution_arn.to_owned(),
            role_arn: credentials.unwrap_or_else(|| role_arn.to_owned()),
            is_direct: matches!(resource, Resource::Function { .. }),
        });
        let Call { function, payload, enveloped } = integration::call(&resource, &arguments).map_err(refused)?;
        let (started, _) = oneshot::channel();
        let payload = payload.to_string().into_bytes();
        let invocation =
            Invocation { request_id, function: function.clone(), payload, started, execution: None, caller };
        let Outcome { result, report } = Arc::clone(&self.invoker).invoke(invocation).await;
        match result {
            Ok(answer) => {
                let at = self.clock.now();
                integration::answer(enveloped, &function, &answer, at, report.as_ref()).map_err(refused)
            }
            Err(error) => Err((error.error_name().to_owned(), error.cause())),
        }
    }
}
