//! Stands before whatever an execution does, and asks whether its role may.
//!
//! One [`Guard`] is all three of what an engine acts through: it wraps the [`Invoker`] and the [`Services`], and it is the
//! [`Access`] of map runs. What is refused fails with AWS's error names, in AWS's words.

use std::sync::Arc;

use starmap_asl::{ReaderAction, Timestamp};
use starmap_engine::access::{Access, MapRunWish};
use starmap_engine::invoker::{self, Invocation, InvokeError, Invoker, Invoking, Outcome};
use starmap_engine::items::Failed;
use starmap_engine::names::Naming;
use starmap_engine::services::{Answering, ServiceCall, ServiceError, Services};
use starmap_iam::directory::{Assumed, NotAssumed};
use starmap_iam::{Caller, Context, Directory, Request, evaluate};

use super::definition::managed_rules;
use super::required::{self, Call, Permission};
use crate::error::ApiError;
use crate::iam::{Identity, Store};
use crate::services::prefix;
use crate::times::iso_seconds;

/// Who acts for executions.
const STATES: &str = "states.amazonaws.com";

/// Where the account's roles are.
pub trait Accounts: std::fmt::Debug + Send + Sync + 'static {
    /// Looks at the directory. Must not block for long: executions wait.
    fn look(&self, look: &mut dyn FnMut(&Directory));

    /// A role was used, in a region, for a service.
    fn used(&self, role: &Caller, region: &str, service: &str);
}

impl Accounts for Store {
    fn look(&self, look: &mut dyn FnMut(&Directory)) {
        self.read(look);
    }

    fn used(&self, role: &Caller, region: &str, service: &str) {
        let identity = Identity { caller: role.clone(), session: None };
        Store::used(self, &identity, region, service);
    }
}

/// See the [module](self).
pub struct Guard {
    accounts: Arc<dyn Accounts>,
    naming: Naming,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("accounts", &self.accounts).finish_non_exhaustive()
    }
}

impl Guard {
    /// Over an account's roles.
    pub fn new(
        accounts: Arc<dyn Accounts>,
        naming: Naming,
        clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Arc<Self> {
        Arc::new(Self { accounts, naming, clock })
    }

    /// An invoker that invokes what the execution's role may invoke.
    pub fn invoker(self: &Arc<Self>, inner: Arc<dyn Invoker>) -> Arc<dyn Invoker> {
        Arc::new(GuardedInvoker { guard: Arc::clone(self), inner })
    }

    /// Services that are called as the execution's role may call them.
    pub fn services(self: &Arc<Self>, inner: Arc<dyn Services>) -> Arc<dyn Services> {
        Arc::new(GuardedServices { guard: Arc::clone(self), inner })
    }

    /// Whether executions of a state machine can run under a role; AWS's refusal if not.
    ///
    /// # Errors
    /// `AccessDeniedException`, in the words of CreateStateMachine.
    pub(crate) fn check_role(&self, role_arn: &str, definition: &str) -> Result<(), ApiError> {
        let denied = |message: String| ApiError::new("AccessDeniedException", message);
        if self.assume(role_arn, "create").is_err() {
            let message = "Neither the global service principal states.amazonaws.com, nor the regional one is authorized to \
                           assume the provided role.";
            return Err(denied(message.to_owned()));
        }
        let definition = serde_json::from_str(definition).unwrap_or_default();
        for rule in managed_rules(&definition, &self.naming) {
            if self.decide(role_arn, "create", &rule).is_err() {
                return Err(denied(format!("'{role_arn}' is not authorized to create managed-rule.")));
            }
        }
        Ok(())
    }

    fn assume(&self, role_arn: &str, session: &str) -> Result<Assumed, NotAssumed> {
        let regional = format!("states.{}.amazonaws.com", self.naming.region);
        let context = Context::from_iter([("aws:SourceAccount", self.naming.account.as_str())]);
        let mut assumed = Err(NotAssumed::Missing);
        self.accounts.look(&mut |directory| {
            assumed = [STATES, regional.as_str()]
                .into_iter()
                .map(|service| directory.assume_in(role_arn, service, session, &context))
                .reduce(|first, second| if first.is_ok() { first } else { second })
                .unwrap_or(Err(NotAssumed::Missing));
        });
        assumed
    }

    /// Why a role may not do something, in AWS's words.
    fn decide(&self, role_arn: &str, execution_arn: &str, needed: &Permission) -> Result<(), String> {
        let session = session_name(execution_arn);
        let assumed = self.assume(role_arn, &session).map_err(|refused| match refused {
            NotAssumed::Missing => format!("The role {role_arn} does not exist, so nothing can be done under it"),
            NotAssumed::NotTrusted(_) => format!("{STATES} is not authorized to assume the role {role_arn}"),
        })?;
        let (now, caller) = ((self.clock)(), assumed.caller.clone());
        let mut request = Request::new(assumed.caller, &needed.action, &needed.resource)
            .with("aws:CurrentTime", [iso_seconds(now)])
            .with("aws:EpochTime", [now.0.div_euclid(1000).to_string()])
            .with("aws:RequestedRegion", [&self.naming.region])
            .with("aws:SecureTransport", ["true"]);
        for (key, value) in &needed.context {
            request.context.set(key, [value]);
        }
        let mut request = Some(request);
        let mut decision = None;
        self.accounts.look(&mut |directory| {
            decision = request.take().map(|request| evaluate(&directory.tagged(request), &assumed.policies));
        });
        let Some(decision) = decision else { return Err("the account's roles are not there".to_owned()) };
        if !decision.is_allowed() {
            tracing::info!(execution_arn, explanation = decision.explanation, "refused by the execution's role");
            return Err(decision.refusal());
        }
        let service = needed.action.split(':').next().unwrap_or_default();
        self.accounts.used(&caller, &self.naming.region, service);
        Ok(())
    }

    fn decide_all(&self, role_arn: &str, execution_arn: &str, needed: &[Permission]) -> Result<(), String> {
        needed.iter().try_for_each(|needed| self.decide(role_arn, execution_arn, needed))
    }
}

/// As on AWS a session's name says nothing; this one is the same for all that an execution does.
fn session_name(execution_arn: &str) -> String {
    let hash = execution_arn.bytes().fold([0xcbf2_9ce4_8422_2325_u64, 0x9e37_79b9_7f4a_7c15], |[a, b], byte| {
        let prime = 0x0000_0100_0000_01b3;
        [(a ^ u64::from(byte)).wrapping_mul(prime), (b ^ u64::from(byte).rotate_left(7)).wrapping_mul(prime)]
    });
    format!("{:016x}{:016x}", hash[0], hash[1])
}

/// What is behind a refusal as the SDK for Java words it.
fn older_sdk(refusal: &str, service: &str, status: u16) -> String {
    let id = uuid::Uuid::new_v4();
    format!(
        "{refusal} (Service: {service}; Status Code: {status}; Error Code: AccessDeniedException; Request ID: {id}; Proxy: null)"
    )
}

struct GuardedInvoker {
    guard: Arc<Guard>,
    inner: Arc<dyn Invoker>,
}

impl Invoker for GuardedInvoker {
    fn invoke(self: Arc<Self>, invocation: Invocation) -> Invoking {
        // A client of Lambda invokes as itself: the API has asked already.
        if let Some(invoker::Caller { execution_arn, role_arn, .. }) = &invocation.caller {
            let needed = required::invoke(&invocation.function, &self.guard.naming);
            if let Err(refusal) = self.guard.decide(role_arn, execution_arn, &needed) {
                // Recorded in awslabs/aws-deployment-framework, issue 460.
                let error = "Lambda.AWSLambdaException".to_owned();
                let cause = older_sdk(&refusal, "AWSLambda", 403);
                let result = Err(InvokeError::Refused { error, cause });
                return Box::pin(async move { Outcome { result, report: None } });
            }
        }
        Arc::clone(&self.inner).invoke(invocation)
    }
}

struct GuardedServices {
    guard: Arc<Guard>,
    inner: Arc<dyn Services>,
}

impl Services for GuardedServices {
    fn call(self: Arc<Self>, call: ServiceCall) -> Answering {
        let asked = Call {
            service: &call.service,
            action: &call.action,
            is_sdk: call.is_sdk,
            pattern: call.pattern,
            arguments: &call.arguments,
        };
        let needed = required::call(asked, &self.guard.naming);
        if let Err(refusal) = self.guard.decide_all(&call.role_arn, &call.execution_arn, &needed) {
            let error = refused(&call, &refusal);
            return Box::pin(async move { Err(error) });
        }
        Arc::clone(&self.inner).call(call)
    }
}

fn refused(call: &ServiceCall, refusal: &str) -> ServiceError {
    let (error, cause) = match (call.is_sdk, call.service.as_str()) {
        (false, "states") => {
            ("StepFunctions.AWSStepFunctionsException".to_owned(), older_sdk(refusal, "AWSStepFunctions", 400))
        }
        (false, "http") => ("States.Http.AccessDeniedException".to_owned(), refusal.to_owned()),
        (_, service) => {
            let prefix = prefix(service);
            let id = uuid::Uuid::new_v4();
            let status = if matches!(service, "s3" | "lambda" | "sqs" | "sns") { 403 } else { 400 };
            (
                format!("{prefix}.{prefix}Exception"),
                format!("{refusal} (Service: {prefix}, Status Code: {status}, Request ID: {id})"),
            )
        }
    };
    ServiceError { error, cause }
}

impl Access for Guard {
    fn check(&self, wish: &MapRunWish<'_>) -> Result<(), Failed> {
        let MapRunWish { execution_arn, role_arn, state_machine_arn, is_redrive, .. } = *wish;
        let own = required::map_run(state_machine_arn, is_redrive);
        self.decide_all(role_arn, execution_arn, &own).map_err(|refusal| Failed {
            error: "StepFunctions.AWSStepFunctionsException".to_owned(),
            cause: older_sdk(&refusal, "AWSStepFunctions", 400),
        })?;
        let advice = "Ensure the correct permissions are added to your state machine's execution role.";
        if let Some(reader) = wish.reader() {
            let needed = required::item_reader(reader.action == ReaderAction::ListObjects, &reader.arguments);
            self.decide_all(role_arn, execution_arn, &needed).map_err(|refusal| Failed {
                error: "States.ItemReaderFailed".to_owned(),
                cause: format!("Access denied. {advice} | Message from S3: {refusal}"),
            })?;
        }
        if let Some(destination) = wish.destination() {
            let needed = required::result_writer(&destination.bucket, &destination.prefix);
            // Recorded in aws/aws-cdk, issue 32144: AWS writes a test object first.
            self.decide_all(role_arn, execution_arn, &needed).map_err(|refusal| Failed {
                error: "States.ResultWriterFailed".to_owned(),
                cause: format!(
                    "Failed to write a test manifest into the specified output bucket. Access denied. {advice} | Message \
                     from S3: {refusal}"
                ),
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use serde_json::{Value, json};
    use starmap_asl::Pattern;
    use starmap_iam::directory::{NewRole, Owner, Stamp};

    use super::*;

    const ROLE: &str = "arn:aws:iam::000000000000:role/r";

    #[derive(Debug)]
    struct Kept(Mutex<Directory>);

    impl Accounts for Kept {
        fn look(&self, look: &mut dyn FnMut(&Directory)) {
            look(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
        }

        fn used(&self, _: &Caller, _: &str, _: &str) {}
    }

    #[derive(Debug)]
    struct Anything;

    impl Services for Anything {
        fn call(self: Arc<Self>, _: ServiceCall) -> Answering {
            Box::pin(async { Ok(json!("called")) })
        }
    }

    impl Invoker for Anything {
        fn invoke(self: Arc<Self>, _: Invocation) -> Invoking {
            Box::pin(async { Outcome { result: Ok(b"1".to_vec()), report: None } })
        }
    }

    /// A guard over one role with one statement.
    fn guard(service: &str, action: &str, resource: &str) -> Arc<Guard> {
        let mut directory = Directory::new("000000000000");
        let trust = crate::roles::trust(service).to_string();
        let new = NewRole { name: "r".to_owned(), trust, ..NewRole::default() };
        directory.create_role(new, Stamp { at_ms: 0, random: 1 }).unwrap();
        let policy = crate::roles::policy(&[Permission::new(action, resource)]).unwrap().to_string();
        directory.put_inline(Owner::Role("r"), "p", &policy).unwrap();
        Guard::new(Arc::new(Kept(Mutex::new(directory))), Naming::default(), Arc::new(|| Timestamp(0)))
    }

    async fn call(
        guard: &Arc<Guard>,
        service: &str,
        action: &str,
        is_sdk: bool,
        arguments: Value,
    ) -> Result<Value, ServiceError> {
        let call = ServiceCall {
            service: service.to_owned(),
            action: action.to_owned(),
            is_sdk,
            pattern: Pattern::RequestResponse,
            arguments,
            request_id: String::new(),
            execution_arn: "arn:e".to_owned(),
            role_arn: ROLE.to_owned(),
        };
        guard.services(Arc::new(Anything)).call(call).await
    }

    #[tokio::test]
    async fn services_are_called_as_the_role_may() {
        let guard = guard(STATES, "s3:GetObject", "arn:aws:s3:::sky/*");
        let get = |key: &str| json!({ "Bucket": "sky", "Key": key });
        assert_eq!(call(&guard, "s3", "getObject", true, get("a")).await, Ok(json!("called")));
        let refused = call(&guard, "s3", "putObject", true, get("a")).await.unwrap_err();
        assert_eq!(refused.error, "S3.S3Exception");
        let expected = "/r/";
        assert!(refused.cause.contains(expected), "{}", refused.cause);
        let words = "is not authorized to perform: s3:PutObject on resource: arn:aws:s3:::sky/a because no identity-based \
                     policy allows the s3:PutObject action (Service: S3, Status Code: 403, Request ID: ";
        assert!(refused.cause.contains(words), "{}", refused.cause);
        let machine = json!({ "StateMachineArn": "arn:aws:states:us-east-1:000000000000:stateMachine:m" });
        let refused = call(&guard, "states", "startExecution", false, machine).await.unwrap_err();
        assert_eq!(refused.error, "StepFunctions.AWSStepFunctionsException");
    }

    #[tokio::test]
    async fn functions_are_invoked_as_the_role_may_and_by_clients_as_before() {
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:f";
        let guard = guard(STATES, "lambda:InvokeFunction", arn);
        let invoke = async |function: &str, is_execution: bool| {
            let caller = is_execution.then(|| invoker::Caller {
                execution_arn: "arn:e".to_owned(),
                role_arn: ROLE.to_owned(),
                is_direct: false,
            });
            let (started, _) = tokio::sync::oneshot::channel();
            let (function, request_id) = (function.to_owned(), String::new());
            let payload = Vec::new();
            let invocation = Invocation { request_id, function, payload, started, execution: None, caller };
            guard.invoker(Arc::new(Anything)).invoke(invocation).await.result
        };
        assert!(invoke("f", true).await.is_ok());
        assert!(invoke("g", false).await.is_ok());
        let refused = invoke("g", true).await.unwrap_err();
        assert_eq!(refused.error_name(), "Lambda.AWSLambdaException");
        assert!(refused.cause().contains("(Service: AWSLambda; Status Code: 403; Error Code: AccessDeniedException;"));
    }

    #[test]
    fn a_state_machine_needs_a_role_that_trusts_step_functions() {
        let other = "arn:aws:iam::000000000000:role/other";
        let trusted = guard(STATES, "s3:GetObject", "*");
        assert_eq!(trusted.check_role(ROLE, "").err().map(|error| error.message), None);
        let refused = trusted.check_role(other, "").unwrap_err();
        assert_eq!(refused.name, "AccessDeniedException");
        assert!(guard("lambda.amazonaws.com", "s3:GetObject", "*").check_role(ROLE, "").is_err());
        assert!(guard("states.us-east-1.amazonaws.com", "s3:GetObject", "*").check_role(ROLE, "").is_ok());
        // What waits for an execution's end needs a rule, which is made with the state machine.
        let definition = json!({ "States": { "a": {
            "Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync:2",
            "Parameters": { "StateMachineArn": "arn:aws:states:us-east-1:000000000000:stateMachine:m" },
        } } });
        let refused = trusted.check_role(ROLE, &definition.to_string()).unwrap_err();
        assert_eq!(refused.message, format!("'{ROLE}' is not authorized to create managed-rule."));
    }
}
