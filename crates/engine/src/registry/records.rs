//! What is kept of each resource, and how it changes.

use std::sync::{Arc, OnceLock};

use serde_json::Value;
use starmap_asl::{Diagnostic, ExecutionType, StateMachine, Timestamp};

/// A revision's row in the journal. Allocated by the registry, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RevisionRow(pub u64);

/// The two kinds of state machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MachineKind {
    /// Journaled, up to a year, each execution exactly once.
    Standard,
    /// Up to five minutes, not in any list.
    Express,
}

impl MachineKind {
    /// AWS's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::Express => "EXPRESS",
        }
    }

    /// The kind spelled `text`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Standard, Self::Express].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A state machine as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct StateMachineRecord {
    /// Its ARN.
    pub arn: String,
    /// Its name, unique.
    pub name: String,
    /// Standard or Express; never changes.
    pub kind: MachineKind,
    /// What executions that start now run.
    pub revision: RevisionRow,
    /// The highest version number given out so far; numbers of deleted versions are not given out again.
    pub last_version: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was created or updated last.
    pub updated_at: Timestamp,
}

/// What a state machine is between two updates. Never changes.
#[derive(Debug, Clone)]
pub struct Revision {
    /// Its row.
    pub row: RevisionRow,
    /// The state machine's ARN.
    pub state_machine_arn: String,
    /// The state machine's name.
    pub state_machine_name: String,
    /// Standard or Express.
    pub kind: MachineKind,
    /// What the API calls the revision; the first one has none.
    pub id: Option<String>,
    /// The definition as given, ASL text.
    pub definition: String,
    /// The role that executions run under.
    pub role_arn: String,
    /// Settings that the API gives back as they were given; the engine never looks inside.
    pub settings: Value,
    /// When.
    pub created_at: Timestamp,
    machine: OnceLock<Result<StateMachine, Vec<Diagnostic>>>,
}

impl PartialEq for Revision {
    fn eq(&self, other: &Self) -> bool {
        self.row == other.row && self.stored() == other.stored()
    }
}

impl Revision {
    /// A revision whose definition has not been parsed yet.
    #[allow(clippy::too_many_arguments, reason = "one per column")]
    pub fn new(
        row: RevisionRow,
        state_machine_arn: String,
        state_machine_name: String,
        kind: MachineKind,
        id: Option<String>,
        definition: String,
        role_arn: String,
        settings: Value,
        created_at: Timestamp,
    ) -> Self {
        let machine = OnceLock::new();
        Self {
            row,
            state_machine_arn,
            state_machine_name,
            kind,
            id,
            definition,
            role_arn,
            settings,
            created_at,
            machine,
        }
    }

    fn stored(&self) -> (&str, &str, Option<&str>, &str, &str, &Value, Timestamp) {
        (
            &self.state_machine_arn,
            self.kind.as_str(),
            self.id.as_deref(),
            &self.definition,
            &self.role_arn,
            &self.settings,
            self.created_at,
        )
    }

    /// The definition, ready to run; parsed once.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn machine(&self) -> Result<&StateMachine, &[Diagnostic]> {
        let machine_type = match self.kind {
            MachineKind::Standard => ExecutionType::Standard,
            MachineKind::Express => ExecutionType::Express,
        };
        let parse = || match StateMachine::parse_as(&self.definition, machine_type) {
            (Some(machine), _) => Ok(machine),
            (None, diagnostics) => Err(diagnostics),
        };
        self.machine.get_or_init(parse).as_ref().map_err(Vec::as_slice)
    }
}

/// A published version: a number for a revision.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionRecord {
    /// Its ARN: the state machine's and the number.
    pub arn: String,
    /// The state machine's ARN.
    pub state_machine_arn: String,
    /// From 1.
    pub number: u64,
    /// What it stands for.
    pub revision: RevisionRow,
    /// As given.
    pub description: Option<String>,
    /// When.
    pub created_at: Timestamp,
}

/// Where an alias leads, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// A version of the alias's state machine.
    pub version_arn: String,
    /// Of 100 executions.
    pub weight: u32,
}

/// A name for one or two versions.
#[derive(Debug, Clone, PartialEq)]
pub struct AliasRecord {
    /// Its ARN: the state machine's and the name.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// The state machine's ARN.
    pub state_machine_arn: String,
    /// As given.
    pub description: Option<String>,
    /// Weights add up to 100.
    pub routes: Vec<Route>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was created or updated last.
    pub updated_at: Timestamp,
}

/// An activity.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityRecord {
    /// Its ARN.
    pub arn: String,
    /// Its name, unique.
    pub name: String,
    /// Settings that the API gives back as they were given.
    pub settings: Value,
    /// When.
    pub created_at: Timestamp,
}

/// One tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Unique among the tags of a resource.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// One change to the resources. Carrying out the same one again changes nothing.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields say it: what changed, and to what")]
pub enum Change {
    /// A state machine was created or is another one now.
    StateMachine(StateMachineRecord),
    /// A state machine is to go once nothing of it runs: until then nothing of it can be started or changed.
    StateMachineDeleting { arn: String },
    /// A state machine is gone, with its versions, aliases and tags; its revisions stay.
    StateMachineDeleted { arn: String },
    /// A revision was made.
    Revision(Arc<Revision>),
    /// A version was published.
    Version(VersionRecord),
    /// A version is gone.
    VersionDeleted { arn: String },
    /// An alias was created or is another one now.
    Alias(AliasRecord),
    /// An alias is gone.
    AliasDeleted { arn: String },
    /// An activity was created.
    Activity(ActivityRecord),
    /// An activity is gone, with its tags.
    ActivityDeleted { arn: String },
    /// All tags of a resource.
    Tags { arn: String, tags: Vec<Tag> },
}
