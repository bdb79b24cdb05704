//! Where executions are: in the journal of a data root on this machine, or on AWS.
//!
//! One seam for all of `starmap executions`: what is read of an execution is a journal's [`Reader`] in both cases (for AWS a
//! mirror of it, see `aws::mirror`), and what goes on is asked for through [`Executions`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use starmap_engine::journal::sqlite::SqliteReader;
use starmap_engine::journal::{ExecutionRecord, HistoryRow, Reader, Status};
use starmap_pipeline::store::{S3Access, Store};

use crate::aws::executions::Remote;
use crate::aws::{Aws, AwsArgs, Service};
use crate::commands::run::runtime;
use crate::{exit, session};

/// Rows of a local history that are read at once.
const HISTORY_PAGE: usize = 1_000;

/// Where an execution is carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// On this machine
    #[default]
    Local,
    /// On AWS: Step Functions, Lambda and S3
    Aws,
}

/// Which executions are meant.
#[derive(Debug, Clone, Default, Args)]
pub struct TargetArgs {
    /// Where executions are: on this machine, or on AWS itself (docs/target-aws.md)
    #[arg(long, value_name = "WHERE", default_value = "local")]
    pub target: Target,
    /// State machine, by name or ARN; on AWS the one that is meant [default there: starmap]
    #[arg(long, value_name = "NAME")]
    pub state_machine: Option<String>,
    #[command(flatten)]
    pub aws: AwsArgs,
}

impl TargetArgs {
    /// Whether AWS is meant.
    pub fn is_aws(&self) -> bool {
        self.target == Target::Aws
    }

    /// The state machine on AWS.
    pub async fn connect(&self) -> anyhow::Result<Remote> {
        Remote::connect(&self.aws, self.state_machine.as_deref()).await
    }

    /// Refuses what says something about AWS where AWS is not meant.
    pub fn check_local(&self, takes_state_machine: bool) -> anyhow::Result<()> {
        let given = [
            ("--region", self.aws.region.is_some()),
            ("--profile", self.aws.profile.is_some()),
            ("--state-machine", self.state_machine.is_some() && !takes_state_machine),
        ];
        match given.iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((name, _)) => Err(exit::usage(format!("{name} says where on AWS; add --target aws, or leave it out"))),
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub enum Executions {
    /// In the journal of a data root.
    Local {
        /// Its journal.
        journal: SqliteReader,
        /// The data root.
        data: PathBuf,
    },
    /// On AWS.
    Aws {
        /// The state machine that runs them.
        remote: Remote,
        /// What its calls are made on.
        runtime: tokio::runtime::Runtime,
    },
}

impl Executions {
    /// Opens the journal, or finds the state machine on AWS.
    pub fn open(target: &TargetArgs, data: &Path) -> anyhow::Result<Self> {
        if target.is_aws() {
            let runtime = runtime()?;
            let remote = runtime.block_on(target.connect())?;
            return Ok(Self::Aws { remote, runtime });
        }
        target.check_local(false)?;
        Ok(Self::Local { journal: session::reader(data)?, data: data.to_owned() })
    }

    /// An execution by name or ARN.
    pub fn find(&self, execution: &str) -> anyhow::Result<ExecutionRecord> {
        match self {
            Self::Local { journal, data } => journal.find_execution(execution)?.ok_or_else(|| {
                exit::usage(format!(
                    "there is no execution {execution} in data root {}\n\
                     hint: `starmap executions list` shows those that are",
                    data.display()
                ))
            }),
            Self::Aws { remote, runtime } => runtime.block_on(remote.find(execution))?.ok_or_else(|| {
                exit::usage(format!(
                    "there is no execution {execution} of state machine {}\n\
                     hint: `starmap executions list --target aws` shows those that are; AWS forgets them 90 days after they ended",
                    remote.machine
                ))
            }),
        }
    }

    /// Whether an execution goes on.
    pub fn is_running(&self, record: &ExecutionRecord) -> anyhow::Result<bool> {
        let now = match self {
            Self::Local { journal, .. } => journal.execution(record.id)?,
            Self::Aws { remote, runtime } => runtime.block_on(remote.find(&record.arn))?,
        };
        Ok(now.is_some_and(|record| record.status == Status::Running))
    }

    /// Some rows of a history after one, oldest first; none if there are no more so far.
    pub fn history(&self, record: &ExecutionRecord, after: u64) -> anyhow::Result<Vec<HistoryRow>> {
        match self {
            Self::Local { journal, .. } => Ok(journal.history(record.id, after, HISTORY_PAGE)?),
            Self::Aws { remote, runtime } => Ok(runtime.block_on(remote.history(&record.arn, after))?),
        }
    }

    /// All that is known of an execution and its children.
    pub fn journal(&self, record: &ExecutionRecord) -> anyhow::Result<Box<dyn Reader + '_>> {
        match self {
            Self::Local { data, .. } => Ok(Box::new(session::reader(data)?)),
            Self::Aws { remote, runtime } => Ok(Box::new(runtime.block_on(remote.mirror(record))?)),
        }
    }

    /// How often a command that follows looks again. AWS limits how often it is asked.
    pub fn follow_interval(&self) -> Duration {
        match self {
            Self::Local { .. } => Duration::from_millis(250),
            Self::Aws { .. } => Duration::from_secs(3),
        }
    }

    /// What a command has to say to mean the same executions; empty for those on this machine.
    pub fn option(&self) -> &'static str {
        match self {
            Self::Local { .. } => "",
            Self::Aws { .. } => " --target aws",
        }
    }
}

/// The buckets, read and written with the same credentials as everything else.
pub fn store(aws: &Aws) -> anyhow::Result<Store> {
    let credentials = aws.credentials();
    Ok(Store::s3(S3Access {
        access_key_id: credentials.access_key_id.clone(),
        secret_access_key: credentials.secret_access_key.clone(),
        session_token: credentials.session_token.clone(),
        region: aws.region().to_owned(),
        endpoint: aws.custom_endpoint(Service::S3),
    })?)
}
