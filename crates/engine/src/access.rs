//! What a map run itself does under its execution's role, before it does it.
//!
//! Tasks act through [`Invoker`](crate::invoker::Invoker) and [`Services`](crate::services::Services), which are told the
//! role and may refuse. A Distributed Map starts its children, reads its items and writes its results by the engine's
//! own hands; whether its role may is asked here, once, when the run begins.

use std::sync::Arc;

use starmap_asl::{Destination, ItemSource, MapRunSpec, ReaderRequest};

use crate::items::Failed;

/// What a map run is about to do.
#[derive(Debug, Clone, Copy)]
pub struct MapRunWish<'a> {
    /// Of which execution.
    pub execution_arn: &'a str,
    /// As whom.
    pub role_arn: &'a str,
    /// The state machine whose executions its children are.
    pub state_machine_arn: &'a str,
    /// Whether it ran before and is to run again.
    pub is_redrive: bool,
    /// What it does.
    pub spec: &'a MapRunSpec,
}

impl<'a> MapRunWish<'a> {
    /// What it reads its items from, if that is in object storage.
    pub fn reader(&self) -> Option<&'a ReaderRequest> {
        match &self.spec.items {
            ItemSource::Given(_) => None,
            ItemSource::Reader(request) => Some(request),
        }
    }

    /// Where it writes its results, if it does.
    pub fn destination(&self) -> Option<&'a Destination> {
        self.spec.writer.destination.as_ref()
    }
}

/// Who says what map runs may do.
pub trait Access: std::fmt::Debug + Send + Sync + 'static {
    /// Whether a map run may begin; the error is the Map state's. Called on the engine's own thread: must not block.
    ///
    /// # Errors
    /// [`Failed`] with the error's name and its cause.
    fn check(&self, wish: &MapRunWish<'_>) -> Result<(), Failed>;
}

/// Everything is allowed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Everything;

impl Access for Everything {
    fn check(&self, _: &MapRunWish<'_>) -> Result<(), Failed> {
        Ok(())
    }
}

/// [`Everything`], shared.
pub fn everything() -> Arc<dyn Access> {
    Arc::new(Everything)
}
