//! `starmap serve`: the AWS APIs on a local address.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use starmap_engine::access::everything;
use starmap_engine::limits::Limits;
use starmap_engine::names::Naming;
use starmap_iam::directory::AccessKey;
use starmap_server::iam::Store;
use starmap_server::roles::Guard;
use starmap_server::{Auth, Hosts, Page, Router, Server, StepFunctions};
use tokio::signal::unix::{SignalKind, signal};

use crate::apis::{self, Apis};
use crate::commands::run::{PlaceArgs, runtime, settings};
use crate::data_root::DataRoot;
use crate::exit;
use crate::metrics::{self, Metrics};
use crate::printer::Printer;
use crate::session::{Ground, Hands, Session, now};
use crate::{traces, variables};

/// Arguments of `starmap serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8083")]
    listen: SocketAddr,
    /// Requests must be signed with a known access key, and the policies of its owner must allow them
    ///
    /// The key of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY becomes the administrator's if both are set; otherwise one is
    /// made on the first start and printed once. The console is opened by an address with a token, printed at every start.
    #[arg(long)]
    auth: bool,
    /// Executions run under the role of their state machine, and functions under theirs; what the role's policies do not
    /// allow fails as on AWS. Includes --auth
    #[arg(long)]
    enforce_iam: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Who may do everything under `--auth`.
pub const ADMINISTRATOR: &str = "administrator";

/// Runs the command.
pub fn run(args: &ServeArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let mut data_root = DataRoot::take(&args.place.data)?;
    let default_buckets: PathBuf = data_root.path().join("buckets");
    std::fs::create_dir_all(&default_buckets).with_context(|| format!("buckets {}", default_buckets.display()))?;
    let settings = settings(&args.place)?;
    let is_guarded = args.auth || args.enforce_iam;
    if !args.listen.ip().is_loopback() && !is_guarded {
        printer.warning(&format!(
            "{} is not a loopback address: whoever reaches it can start work here, nothing asks for credentials (--auth does)",
            args.listen
        ));
    }
    runtime()?.block_on(async {
        let bound = Server::bind(args.listen, Router::new()).await;
        let server = bound.map_err(|error| exit::usage(format!("listening on {}: {error}", args.listen)))?;
        let address = server.local_addr().context("asking for the address")?;
        data_root.serves_at(address)?;
        let mut apis = None;
        let options = apis::options(&settings, &data_root);
        let mut roles = None;
        let connect = |ground: &Ground| {
            let opened = apis.insert(Apis::open(ground, &settings, address, is_guarded)?);
            let (invoker, services) = (Arc::clone(&opened.catalog) as _, Arc::clone(&opened.services) as _);
            if !args.enforce_iam {
                return Ok(Hands { invoker, services, access: everything() });
            }
            opened.take_roles(ground, &settings, address, printer)?;
            let iam = Arc::clone(&opened.iam) as _;
            let guard = roles.insert(Guard::new(iam, Naming::default(), Arc::new(now)));
            let (invoker, services) = (guard.invoker(invoker), guard.services(services));
            Ok(Hands { invoker, services, access: Arc::clone(guard) as _ })
        };
        let session = Session::open_with(data_root, &settings, options, Limits::default(), connect).await?;
        let step_functions = StepFunctions::new(Arc::clone(&session.engine), Arc::new(now));
        let step_functions = Arc::new(match roles {
            Some(roles) => step_functions.under(roles),
            None => step_functions,
        });
        let console = session.console(&step_functions, apis.as_ref())?;
        if let Some(endpoint) = args.place.otlp.clone() {
            tokio::spawn(traces::follow(Arc::clone(&session.engine), settings.clone(), endpoint));
        }
        let metrics = Metrics::start(Arc::clone(&session.engine), session.workers());
        let page = Arc::new(Page::new("/metrics", metrics::CONTENT_TYPE, move || metrics.text()));
        let auth = apis.as_ref().filter(|_| is_guarded).map(|apis| guard(&apis.iam)).transpose()?;
        let router = apis.map_or_else(Router::new, |apis| apis.router(&step_functions, page)).with_console(console);
        let router = auth.iter().fold(router, |router, (auth, _)| router.guarded(Arc::clone(auth)));
        // Whoever listens where others reach it is known by names of theirs.
        let hosts = if args.listen.ip().is_loopback() { Hosts::Loopback } else { Hosts::Any };
        let server = server.with_router(router.known_as(hosts));
        // What was running goes on before anyone asks for it: a task token is good only once its execution is there.
        session.engine.recover().await?;
        let token = auth.as_ref().map(|(auth, _)| format!("?token={}", auth.console_token())).unwrap_or_default();
        let console = format!("http://{address}/console/{token}");
        printer.result(&format!("listening on http://{address}\nconsole      {console}"));
        let key = auth.and_then(|(_, key)| key);
        if let Some(key) = &key {
            printer.result(&format!(
                "access key   {}\nsecret       {}\n             of {ADMINISTRATOR}, who may do everything; they are not shown again",
                key.id, key.secret
            ));
        }
        printer.object(&json!({
            "listening": format!("http://{address}"), "console": console,
            "access_key_id": key.as_ref().map(|key| &key.id), "secret_access_key": key.as_ref().map(|key| &key.secret),
        }));
        server.run(interrupted()?).await;
        session.close().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Who asks is verified, and there is somebody who may do everything. A key that was made is answered.
fn guard(iam: &Arc<Store>) -> anyhow::Result<(Arc<Auth>, Option<AccessKey>)> {
    let given = [variables::AWS_ACCESS_KEY_ID, variables::AWS_SECRET_ACCESS_KEY].map(|name| std::env::var(name).ok());
    let given = match given {
        [Some(id), Some(secret)] if !id.is_empty() && !secret.is_empty() => Some((id, secret)),
        _ => None,
    };
    let key = iam.administrator(ADMINISTRATOR, given).context("making the administrator")?;
    let auth = Auth::new(Arc::clone(iam), Naming::default().region, Arc::new(now));
    Ok((Arc::new(auth), key))
}

/// Ready at Ctrl-C or SIGTERM.
fn interrupted() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminated = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
    Ok(async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
    })
}
