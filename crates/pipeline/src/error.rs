//! Every way the pipeline can fail, and the names under which `Retry` and `Catch` know them.
//!
//! The names are public API: they are what a state machine matches on, here and on AWS. `Starmap.Storage` is the
//! only one that is worth a retry; all others say that the input, the data or the code must change first.

use std::fmt;

use lambda_runtime::Diagnostic;
use starmap_astromae::Precision;

use crate::calibrate::Calibration;
use crate::payload::InputError;

/// How many problems are written out before the rest is only counted.
const PROBLEMS_SHOWN_MAX: usize = 20;

/// See the [module](self). The text of each error says what was being done, to which thing, and what was found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The payload is not one we can run: keys missing, of the wrong type or out of range; all of them are named.
    #[error("{0}")]
    InvalidInput(#[from] InputError),

    /// A bucket that the input names is not there.
    #[error("bucket {bucket}: not found in {place}{}", present_hint("buckets that are there", .present))]
    BucketNotFound {
        /// The bucket asked for.
        bucket: String,
        /// Where it was looked for: a folder, or S3.
        place: String,
        /// What is there instead, if that can be listed.
        present: Vec<String>,
    },

    /// There is no partition directly under the prefix.
    #[error("{location}: no partitions, expected files named *.pt, *.safetensors or *.npz directly under this prefix{}", present_hint("what is there", .present))]
    NoPartitions {
        /// `s3://bucket/prefix/`.
        location: String,
        /// Names beside or below the prefix that the reader may have meant.
        present: Vec<String>,
    },

    /// Partitions that can't be read as partitions.
    #[error("{0}")]
    PartitionInvalid(Problems),

    /// The model file is there but is not a model of ours.
    #[error("{0}")]
    CheckpointInvalid(String),

    /// There is no model where the input says.
    #[error("{looked_for}: no model there{}", present_hint("what is there", .present))]
    CheckpointNotFound {
        /// What was looked for.
        looked_for: String,
        /// What is in that folder.
        present: Vec<String>,
    },

    /// The result path holds results of another run.
    #[error(
        "{location}: holds results of {owner}, expected an empty result path\n\
         hint: choose another result_path, or replace them with \"overwrite\": true"
    )]
    ResultPathInUse {
        /// `s3://bucket/result_path/`.
        location: String,
        /// Whose results they are.
        owner: String,
    },

    /// A reduced precision changes redshifts more than its bound, on the first partition.
    #[error(
        "{location}: {} changes redshifts by up to {:.1e} (rms {:.1e}) on {} galaxies{}, expected at most {:.0e}, and NMAD within {:.0} %\n\
         hint: use \"precision\": {}, or accept the change with \"force_precision\": true",
        .calibration.precision, .calibration.dz_max, .calibration.dz_rms, .calibration.galaxies, nmad_change(.calibration),
        .calibration.dz_bound, .calibration.nmad_change_bound * 100.0, closer(.calibration)
    )]
    PrecisionRefused {
        /// `s3://bucket/key` of the partition.
        location: String,
        /// Everything that was found.
        calibration: Box<Calibration>,
    },

    /// Galaxies with NaN or infinite pixels or magnitudes, under the policy `refuse`.
    #[error(
        "{partition}: {count} of {galaxies} galaxies have NaN or infinite pixels or magnitudes (first rows {rows:?})\n\
         hint: repair them, or store no redshift for them with \"bad_pixels\": \"flag\""
    )]
    NonFinitePixels {
        /// `s3://bucket/key` of the partition.
        partition: String,
        /// The first of the rows.
        rows: Vec<u64>,
        /// How many rows.
        count: u64,
        /// How many rows the partition has.
        galaxies: u64,
    },

    /// The results of a run do not prove that every galaxy was predicted.
    #[error("{problems}")]
    Unproven {
        /// The gravest thing found; decides the error's name.
        gravest: Unproven,
        /// Everything found.
        problems: Problems,
    },

    /// No room to write.
    #[error(
        "{location}: no space left while writing {bytes} bytes\nhint: free space, or give another folder with --buckets"
    )]
    StorageFull {
        /// `s3://bucket/key`, and the folder if it is one.
        location: String,
        /// Size of what was being written.
        bytes: u64,
    },

    /// Object storage failed in a way that may pass.
    #[error("{doing} {location}: {reason}")]
    Storage {
        /// `reading`, `writing`, `listing`, ….
        doing: &'static str,
        /// `s3://bucket/key`.
        location: String,
        /// What the store said.
        reason: String,
    },

    /// A bug of ours.
    #[error("{0}\nhint: this is a bug in starmap; please report it with the input")]
    Internal(String),
}

/// What [`Error::Unproven`] found, gravest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unproven {
    /// Results are there but short, doubled or damaged.
    Incomplete,
    /// Results are not there.
    Missing,
    /// Results belong to another run.
    Stale,
}

impl Error {
    /// The name that `Retry` and `Catch` match on.
    pub fn error_name(&self) -> &'static str {
        match self {
            Self::InvalidInput(_) => "Starmap.InvalidInput",
            Self::BucketNotFound { .. } => "Starmap.BucketNotFound",
            Self::NoPartitions { .. } => "Starmap.NoPartitions",
            Self::PartitionInvalid(_) => "Starmap.PartitionInvalid",
            Self::CheckpointInvalid(_) => "Starmap.CheckpointInvalid",
            Self::CheckpointNotFound { .. } => "Starmap.CheckpointNotFound",
            Self::ResultPathInUse { .. } => "Starmap.ResultPathInUse",
            Self::PrecisionRefused { .. } => "Starmap.PrecisionRefused",
            Self::NonFinitePixels { .. } => "Starmap.NonFinitePixels",
            Self::Unproven { gravest: Unproven::Missing, .. } => "Starmap.MissingResult",
            Self::Unproven { gravest: Unproven::Stale, .. } => "Starmap.StaleResult",
            Self::Unproven { gravest: Unproven::Incomplete, .. } => "Starmap.IncompleteResult",
            Self::StorageFull { .. } => "Starmap.StorageFull",
            Self::Storage { .. } => "Starmap.Storage",
            Self::Internal(_) => "Starmap.Internal",
        }
    }
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        Self { error_type: error.error_name().to_owned(), error_message: error.to_string() }
    }
}

/// Everything that is wrong, found in one go; shown as a headline and the first 20.
#[derive(Debug, Clone)]
pub struct Problems {
    headline: String,
    shown: Vec<String>,
    count: usize,
}

impl Problems {
    /// None yet. `headline` is what they are problems of, such as `s3://sky/100MB/`.
    pub fn of(headline: impl Into<String>) -> Self {
        Self { headline: headline.into(), shown: Vec::new(), count: 0 }
    }

    /// None yet, and each says itself what it is a problem of. For a single one.
    pub fn alone() -> Self {
        Self::of("")
    }

    /// Adds one.
    pub fn push(&mut self, problem: impl Into<String>) {
        self.count += 1;
        if self.shown.len() < PROBLEMS_SHOWN_MAX {
            self.shown.push(problem.into());
        }
    }

    /// Those that are shown.
    pub fn shown(&self) -> &[String] {
        &self.shown
    }

    /// How many there are, shown or not.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.headline.is_empty() {
            return f.write_str(&self.shown.join("\n"));
        }
        let noun = if self.count == 1 { "problem" } else { "problems" };
        write!(f, "{}: {} {noun}", self.headline, self.count)?;
        for problem in &self.shown {
            write!(f, "\n- {}", problem.replace('\n', "\n  "))?;
        }
        if self.count > self.shown.len() {
            write!(f, "\n- and {} more", self.count - self.shown.len())?;
        }
        Ok(())
    }
}

/// An error and what caused it, in one line; a hint stays at the end.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let (mut text, hint) = match text.split_once("\nhint:") {
        Some((text, hint)) => (text.to_owned(), format!("\nhint:{hint}")),
        None => (text, String::new()),
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text + &hint
}

fn nmad_change(calibration: &Calibration) -> String {
    match (&calibration.before, &calibration.after) {
        (Some(before), Some(after)) => format!(", NMAD from {:.5} to {:.5}", before.nmad, after.nmad),
        _ => String::new(),
    }
}

/// What changes redshifts less.
fn closer(calibration: &Calibration) -> &'static str {
    if calibration.precision == Precision::Int16.name() { "\"f32\"" } else { "\"int16\" or \"f32\"" }
}

fn present_hint(what: &str, present: &[String]) -> String {
    if present.is_empty() {
        return String::new();
    }
    let shown = present.iter().take(PROBLEMS_SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = present.len().saturating_sub(PROBLEMS_SHOWN_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("\nhint: {what}: {shown}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_problems_are_counted_and_the_first_are_shown() {
        let mut problems = Problems::of("s3://sky/small/");
        (1..=23).for_each(|i| problems.push(format!("{i}.pt: bad\nhint: mend it")));
        let text = problems.to_string();
        assert!(text.starts_with("s3://sky/small/: 23 problems\n- 1.pt: bad\n  hint: mend it\n- 2.pt"), "{text}");
        assert!(text.ends_with("- 20.pt: bad\n  hint: mend it\n- and 3 more"), "{text}");
    }

    #[test]
    fn lambda_gets_our_names_and_never_a_rust_type() {
        let diagnostic = Diagnostic::from(Error::Unproven { gravest: Unproven::Stale, problems: Problems::of("x") });
        assert_eq!(diagnostic.error_type, "Starmap.StaleResult");
        let diagnostic = Diagnostic::from(Error::BucketNotFound {
            bucket: "skyy".into(),
            place: "/data".into(),
            present: vec!["sky".into()],
        });
        assert_eq!(diagnostic.error_type, "Starmap.BucketNotFound");
        assert_eq!(diagnostic.error_message, "bucket skyy: not found in /data\nhint: buckets that are there: sky");
    }
}
