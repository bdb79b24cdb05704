//! The APIs that `starmap serve` offers beside Step Functions, and what Tasks reach through them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use starmap_engine::names::Naming;
use starmap_server::console;
use starmap_server::iam::{Iam, Store, Wanted};
use starmap_server::lambda::{Catalog, Credentials, Lambda, LambdaRest, Place};
use starmap_server::logs::{self, Logs, LogsJson};
use starmap_server::s3::{Buckets, S3};
use starmap_server::services::AwsServices;
use starmap_server::sts::Sts;
use starmap_server::{AwsJson, AwsQuery, Page, Router, StepFunctions};
use starmap_workers::Options;

use crate::functions;
use crate::printer::Printer;
use crate::session::{Ground, Settings, now};
use crate::web::Client;

/// Workers at once, over all functions that are created; ours compute, and keep to `--concurrency`. AWS's limit for a
/// new account.
const FUNCTIONS_AT_ONCE: usize = 10;

/// See the [module](self).
#[derive(Debug)]
pub struct Apis {
    buckets: Arc<Buckets>,
    lambda: Arc<Lambda>,
    logs: Arc<Logs>,
    /// Roles, users and policies.
    pub iam: Arc<Store>,
    /// Who runs functions by their names.
    pub catalog: Arc<Catalog>,
    /// What Tasks call.
    pub services: Arc<AwsServices>,
}

impl Apis {
    /// Over what a session stands on, at an address where functions reach them, too; as their roles, if whoever asks must
    /// sign.
    pub fn open(ground: &Ground, settings: &Settings, address: SocketAddr, is_guarded: bool) -> anyhow::Result<Self> {
        let naming = Naming::default();
        let folder = ground.data_root.path();
        let objects = Arc::clone(&ground.objects) as _;
        let buckets = Arc::new(Buckets::new(objects, &folder.join("s3"), Arc::new(now), naming.region.clone()));
        let iam = Arc::new(Store::open(&iam_in(folder), &naming.account, Arc::new(now))?);
        let logs = Logs::open(logs::Place {
            workers: ground.data_root.logs(),
            folder: folder.join("cloudwatch"),
            naming: naming.clone(),
            clock: Arc::new(now),
        })?;
        let place = Place {
            folder: folder.join("lambda"),
            logs: Some(ground.data_root.logs()),
            workers: Arc::clone(&ground.workers),
            built_in: functions::all(settings, &ground.data_root)?,
            concurrency_max: FUNCTIONS_AT_ONCE.max(settings.concurrency),
            environment: environment(address, is_guarded),
            credentials: is_guarded.then(|| credentials(&iam)),
            naming,
            clock: Arc::new(now),
        };
        let functions = place.folder.display().to_string();
        let catalog = Catalog::open(place).with_context(|| format!("functions in {functions}"))?;
        let lambda = Arc::new(Lambda::new(Arc::clone(&catalog), Arc::clone(&buckets)));
        let (web, region) = (Arc::new(Client::new()?), Naming::default().region);
        let services = AwsServices::new(Arc::clone(&buckets), Arc::clone(&lambda), web, region);
        Ok(Self { buckets, lambda, logs: Arc::new(logs), iam, catalog, services })
    }

    /// The roles as they are, for the console.
    pub fn roles(&self) -> console::Roles {
        let iam = Arc::clone(&self.iam);
        Arc::new(move || iam.read(Clone::clone))
    }

    /// The actions of CloudWatch Logs, for the console.
    pub fn log_groups(&self) -> console::LogGroups {
        let logs = Arc::clone(&self.logs);
        Arc::new(move |action, members| logs.call(action, members.to_string().as_bytes()))
    }

    /// The pipeline's functions run under roles of their own, named as they are: they reach the buckets through this server
    /// only, with credentials of their role, and the server asks what that may do. A check in the worker would be one that
    /// the worker could leave out.
    pub fn take_roles(
        &self,
        ground: &Ground,
        settings: &Settings,
        address: SocketAddr,
        printer: &Printer,
    ) -> anyhow::Result<()> {
        let credentials = credentials(&self.iam);
        for mut function in functions::all(settings, &ground.data_root)? {
            let role_arn = format!("arn:aws:iam::{}:role/{}", Naming::default().account, function.name);
            let assumed =
                self.iam.read(|directory| directory.assume(&role_arn, "lambda.amazonaws.com", &function.name));
            if assumed.is_err() {
                printer.warning(&format!(
                    "function {}: there is no role of that name that lambda.amazonaws.com may assume, so it can reach nothing\n\
                     hint: starmap iam least-privilege DEFINITION INPUT --apply makes it",
                    function.name
                ));
            }
            functions::through_server(&mut function, &environment(address, true));
            function.environment.extend(credentials(&role_arn, &function.name));
            ground.workers.put(function)?;
        }
        Ok(())
    }

    /// All protocols, those that are told by more first.
    pub fn router(&self, step_functions: &Arc<StepFunctions>, metrics: Arc<Page>) -> Router {
        self.services.serve_step_functions(Arc::downgrade(step_functions) as _);
        Router::new()
            .with(metrics)
            .with(Arc::new(LogsJson::new(Arc::clone(&self.logs))))
            .with(Arc::new(AwsJson::new(Arc::clone(step_functions))))
            .with(Arc::new(LambdaRest::new(Arc::clone(&self.lambda))))
            .with(Arc::new(AwsQuery::new(
                Iam::new(Arc::clone(&self.iam)).into(),
                Sts::new(Naming::default(), Arc::clone(&self.iam)),
            )))
            .with(Arc::new(S3::new(Arc::clone(&self.buckets))))
    }
}

/// How workers run under `serve`.
pub fn options(settings: &Settings, ground: &crate::data_root::DataRoot) -> Options {
    let options = functions::options(settings, &ground.logs());
    Options {
        concurrency_max: FUNCTIONS_AT_ONCE.max(options.concurrency_max),
        region: Some(Naming::default().region),
        ..options
    }
}

/// Where roles, users and policies are in a data root.
pub fn iam_in(data_root: &Path) -> PathBuf {
    data_root.join("iam")
}

/// How long the credentials of a function hold. They are made anew when the server starts and when the function changes.
const CREDENTIALS_SECONDS: u32 = 30 * 24 * 60 * 60;

/// Credentials for functions: a session of the function's role. A role that is not there has none, and can do nothing.
fn credentials(iam: &Arc<Store>) -> Credentials {
    let iam = Arc::clone(iam);
    Arc::new(move |role_arn, function| {
        let name = iam.read(|directory| directory.role_of_arn(role_arn).map(|role| role.name.clone()));
        let wanted = Wanted {
            name: function.to_owned(),
            source: "lambda.amazonaws.com".to_owned(),
            seconds: CREDENTIALS_SECONDS,
            replaces: true,
            ..Wanted::default()
        };
        let session = name.and_then(|name| {
            let started = iam.start_session(&name, wanted);
            started.inspect_err(|error| tracing::warn!(function, %error, "function has no credentials")).ok()
        });
        let none = || "none".to_owned();
        let (id, secret, token) =
            session.map_or_else(|| (none(), none(), none()), |session| (session.key_id, session.secret, session.token));
        [("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret), ("AWS_SESSION_TOKEN", token)]
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec()
    })
}

/// What a created function finds in its environment unless it has its own: this server, where it would find AWS, and
/// credentials, if there are none and nobody checks them.
fn environment(address: SocketAddr, is_guarded: bool) -> Vec<(String, String)> {
    let reached =
        if address.ip().is_unspecified() { SocketAddr::from(([127, 0, 0, 1], address.port())) } else { address };
    let mut environment = vec![("AWS_ENDPOINT_URL".to_owned(), format!("http://{reached}"))];
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        if !is_guarded && std::env::var_os(name).is_none() {
            environment.push((name.to_owned(), "local".to_owned()));
        }
    }
    environment
}
