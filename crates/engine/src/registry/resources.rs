//! All resources in memory: what calls look up and decide on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::records::{
    ActivityRecord, AliasRecord, Change, Revision, RevisionRow, StateMachineRecord, Tag, VersionRecord,
};

/// See the [module](self). Keyed by ARN.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resources {
    state_machines: BTreeMap<String, StateMachineRecord>,
    deleting: BTreeSet<String>,
    versions: BTreeMap<String, VersionRecord>,
    aliases: BTreeMap<String, AliasRecord>,
    activities: BTreeMap<String, ActivityRecord>,
    tags: HashMap<String, Vec<Tag>>,
    /// Those that a state machine or a version stands for; others are in the journal only.
    revisions: HashMap<RevisionRow, Arc<Revision>>,
    last_revision: u64,
}

impl Resources {
    /// A state machine by ARN.
    pub fn state_machine(&self, arn: &str) -> Option<&StateMachineRecord> {
        self.state_machines.get(arn)
    }

    /// A state machine by name.
    pub fn state_machine_named(&self, name: &str) -> Option<&StateMachineRecord> {
        self.state_machines.values().find(|machine| machine.name == name)
    }

    /// All state machines, by ARN.
    pub fn state_machines(&self) -> impl Iterator<Item = &StateMachineRecord> {
        self.state_machines.values()
    }

    /// Whether a state machine, by ARN, is to go once nothing of it runs.
    pub fn is_deleting(&self, arn: &str) -> bool {
        self.deleting.contains(arn)
    }

    /// The state machines that are to go once nothing of them runs, by ARN.
    pub fn deleting(&self) -> impl Iterator<Item = &str> {
        self.deleting.iter().map(String::as_str)
    }

    /// What a state machine or a version stands for.
    pub fn revision(&self, row: RevisionRow) -> Option<&Arc<Revision>> {
        self.revisions.get(&row)
    }

    /// The row for a revision that is being made.
    pub fn next_revision(&self) -> RevisionRow {
        RevisionRow(self.last_revision + 1)
    }

    /// A version by ARN.
    pub fn version(&self, arn: &str) -> Option<&VersionRecord> {
        self.versions.get(arn)
    }

    /// The versions of a state machine, by number.
    pub fn versions_of(&self, state_machine_arn: &str) -> Vec<&VersionRecord> {
        let own = self.versions.values().filter(|version| version.state_machine_arn == state_machine_arn);
        let mut own: Vec<_> = own.collect();
        own.sort_by_key(|version| version.number);
        own
    }

    /// An alias by ARN.
    pub fn alias(&self, arn: &str) -> Option<&AliasRecord> {
        self.aliases.get(arn)
    }

    /// The aliases of a state machine, by name.
    pub fn aliases_of<'a>(&'a self, state_machine_arn: &'a str) -> impl Iterator<Item = &'a AliasRecord> {
        self.aliases.values().filter(move |alias| alias.state_machine_arn == state_machine_arn)
    }

    /// An activity by ARN.
    pub fn activity(&self, arn: &str) -> Option<&ActivityRecord> {
        self.activities.get(arn)
    }

    /// All activities, by ARN.
    pub fn activities(&self) -> impl Iterator<Item = &ActivityRecord> {
        self.activities.values()
    }

    /// The tags of a resource, in the order in which they were given.
    pub fn tags(&self, arn: &str) -> &[Tag] {
        self.tags.get(arn).map_or(&[], Vec::as_slice)
    }

    /// Carries out a change.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::StateMachine(record) => {
                let old = self.state_machines.insert(record.arn.clone(), record);
                self.forget_revision(old.map(|old| old.revision));
            }
            Change::StateMachineDeleting { arn } => drop(self.deleting.insert(arn)),
            Change::StateMachineDeleted { arn } => {
                self.deleting.remove(&arn);
                self.versions.retain(|_, version| version.state_machine_arn != arn);
                self.aliases.retain(|_, alias| alias.state_machine_arn != arn);
                self.tags.remove(&arn);
                self.state_machines.remove(&arn);
                self.revisions.retain(|_, revision| revision.state_machine_arn != arn);
            }
            Change::Revision(revision) => {
                self.last_revision = self.last_revision.max(revision.row.0);
                self.revisions.insert(revision.row, revision);
            }
            Change::Version(record) => drop(self.versions.insert(record.arn.clone(), record)),
            Change::VersionDeleted { arn } => {
                let old = self.versions.remove(&arn);
                self.forget_revision(old.map(|old| old.revision));
            }
            Change::Alias(record) => drop(self.aliases.insert(record.arn.clone(), record)),
            Change::AliasDeleted { arn } => drop(self.aliases.remove(&arn)),
            Change::Activity(record) => drop(self.activities.insert(record.arn.clone(), record)),
            Change::ActivityDeleted { arn } => {
                self.activities.remove(&arn);
                self.tags.remove(&arn);
            }
            Change::Tags { arn, tags } if tags.is_empty() => drop(self.tags.remove(&arn)),
            Change::Tags { arn, tags } => drop(self.tags.insert(arn, tags)),
        }
    }

    /// Lets a revision go if nothing stands for it any more.
    fn forget_revision(&mut self, row: Option<RevisionRow>) {
        let Some(row) = row else { return };
        let is_used = self.state_machines.values().any(|machine| machine.revision == row)
            || self.versions.values().any(|version| version.revision == row);
        if !is_used {
            self.revisions.remove(&row);
        }
    }

    /// Revisions continue after this one.
    pub(crate) fn set_last_revision(&mut self, row: u64) {
        self.last_revision = self.last_revision.max(row);
    }
}
