//! Why an action of IAM was refused: AWS's names and sentences.
//!
//! # Source
//! The errors of each action in <https://docs.aws.amazon.com/IAM/latest/APIReference/>, read 2026-11.

use crate::policy::{Problem, sentence};

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such thing.
    #[error("{0}")]
    NoSuchEntity(String),
    /// There is one already.
    #[error("{0}")]
    EntityAlreadyExists(String),
    /// A document that keeps not to the grammar.
    #[error("{}", sentence(.0))]
    MalformedPolicyDocument(Vec<Problem>),
    /// Something else still needs it.
    #[error("{0}")]
    DeleteConflict(String),
    /// More than there may be.
    #[error("{0}")]
    LimitExceeded(String),
    /// An argument that can't be right.
    #[error("{0}")]
    ValidationError(String),
    /// A policy that can't be attached to this.
    #[error("{0}")]
    PolicyNotAttachable(String),
    /// An argument that is no such value.
    #[error("{0}")]
    InvalidInput(String),
}

impl Error {
    /// The name on the wire.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSuchEntity(_) => "NoSuchEntity",
            Self::EntityAlreadyExists(_) => "EntityAlreadyExists",
            Self::MalformedPolicyDocument(_) => "MalformedPolicyDocument",
            Self::DeleteConflict(_) => "DeleteConflict",
            Self::LimitExceeded(_) => "LimitExceeded",
            Self::ValidationError(_) => "ValidationError",
            Self::PolicyNotAttachable(_) => "PolicyNotAttachable",
            Self::InvalidInput(_) => "InvalidInput",
        }
    }

    /// The status on the wire.
    pub fn status(&self) -> u16 {
        match self {
            Self::NoSuchEntity(_) => 404,
            Self::EntityAlreadyExists(_) | Self::DeleteConflict(_) | Self::LimitExceeded(_) => 409,
            _ => 400,
        }
    }
}
