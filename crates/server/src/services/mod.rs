//! AWS services as Tasks call them: `arn:aws:states:::aws-sdk:s3:getObject` and its like.
//!
//! A service is a file here and a line in [`AwsServices::new`]: it takes an action's name and its parameters as the
//! definition has them (`PascalCase`), and gives its answer or AWS's error, both as a state machine sees them.
//!
//! - `s3`: over our buckets.
//! - `lambda`: the Lambda API's own actions.
//! - `sfn`: the Step Functions API's own actions. `states`: the optimised `startExecution`, which waits if told to.
//! - `http`: HTTP APIs wherever they are.
//! - `absent`: what is not served fails by the name that AWS's SDK would give it, and says so.

mod absent;
pub mod http;
mod lambda;
mod s3;
mod sfn;
mod states;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use serde_json::{Map, Value};
use starmap_engine::services::{Answering, ServiceCall, ServiceError, Services};
use tokio::sync::watch;

use crate::lambda::Lambda;
use crate::s3::Buckets;
pub(crate) use absent::prefix;
pub use sfn::Actions;

/// One service.
trait Service: Send + Sync + 'static {
    /// Calls an action; `action` begins in lower case, as resources have it.
    fn call(self: Arc<Self>, action: String, arguments: Map<String, Value>, call: ServiceCall) -> Answering;
}

/// The services that are served here, see the [module](self).
pub struct AwsServices {
    services: BTreeMap<&'static str, Arc<dyn Service>>,
    step_functions: Arc<sfn::Sfn>,
}

impl std::fmt::Debug for AwsServices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AwsServices").field("services", &self.services.keys()).finish_non_exhaustive()
    }
}

impl AwsServices {
    /// S3 over these buckets, Lambda over these functions, HTTP from this region.
    pub fn new(buckets: Arc<Buckets>, lambda: Arc<Lambda>, web: Arc<dyn http::Web>, region: String) -> Arc<Self> {
        let step_functions = Arc::new(sfn::Sfn { actions: watch::Sender::new(None) });
        let services: [(&'static str, Arc<dyn Service>); 5] = [
            ("http", Arc::new(http::Http { web, region })),
            ("lambda", Arc::new(lambda::LambdaService { lambda })),
            ("s3", Arc::new(s3::S3Service { buckets })),
            ("sfn", Arc::clone(&step_functions) as _),
            ("states", Arc::new(states::States { sfn: Arc::clone(&step_functions) })),
        ];
        Arc::new(Self { services: services.into(), step_functions })
    }

    /// Step Functions itself, which needs the engine, which needs these services: given once all of them are there.
    pub fn serve_step_functions(&self, actions: Weak<dyn Actions>) {
        self.step_functions.actions.send_replace(Some(actions));
    }
}

impl Services for AwsServices {
    fn call(self: Arc<Self>, call: ServiceCall) -> Answering {
        let Some(service) = self.services.get(call.service.as_str()) else {
            let error = absent::service(&call.service, &call.action);
            return Box::pin(async move { Err(error) });
        };
        let arguments = match &call.arguments {
            Value::Object(arguments) => arguments.clone(),
            Value::Null => Map::new(),
            other => {
                let cause =
                    format!("the parameters of {}:{} must be an object, found {other}", call.service, call.action);
                return Box::pin(async move { Err(ServiceError { error: "States.Runtime".to_owned(), cause }) });
            }
        };
        Arc::clone(service).call(call.action.clone(), arguments, call)
    }
}

/// A parameter that must be a string.
fn text<'a>(arguments: &'a Map<String, Value>, name: &str) -> Result<&'a str, ServiceError> {
    match arguments.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => {
            Err(invalid(arguments, &format!("The value for the field '{name}' must be a STRING, found {other}")))
        }
        None => Err(invalid(arguments, &format!("The field '{name}' is required but was missing"))),
    }
}

/// A parameter that is a string if it is there.
fn optional<'a>(arguments: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, ServiceError> {
    match arguments.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => text(arguments, name).map(Some),
    }
}

/// Parameters that can't be what was meant, in AWS's words.
fn invalid(arguments: &Map<String, Value>, problem: &str) -> ServiceError {
    let parameters = Value::Object(arguments.clone());
    let cause = format!("The Parameters '{parameters}' could not be used to start the Task: [{problem}]");
    ServiceError { error: "States.Runtime".to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_are_missing_are_named() {
        let arguments = Map::from_iter([("Key".to_owned(), Value::from(1))]);
        assert_eq!(
            text(&arguments, "Bucket").unwrap_err().cause,
            "The Parameters '{\"Key\":1}' could not be used to start the Task: [The field 'Bucket' is required but \
             was missing]"
        );
        assert!(optional(&arguments, "Key").is_err());
        assert_eq!(optional(&arguments, "Range"), Ok(None));
    }
}
