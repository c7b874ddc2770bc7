//! Whether the directory can still be used, and what the outcome of a disk operation means for that.
//!
//! A failure takes the directory offline until it is opened again. A want of room, of a descriptor or of memory says nothing
//! of the disk: whoever meets it does without, or tries again in a while.

use crate::hooks::{Hooks, Mutant};
use crate::store::failed_sync::FailedSync;
use crate::store::{DiskError, DiskFile, Refusal, StoreFailure};

/// The health of one directory.
#[derive(Debug)]
pub(super) struct Health<F> {
    /// What a simulator has planted.
    hooks: Hooks,
    /// Where a sync that fails is noted for the next start.
    failed_sync: FailedSync<F>,
    /// Why the directory is offline, once it is. The first reason stays.
    failure: Option<String>,
}

impl<F: DiskFile> Health<F> {
    /// That of a directory that is online.
    pub(super) const fn new(failed_sync: FailedSync<F>, hooks: Hooks) -> Self {
        Self {
            hooks,
            failed_sync,
            failure: None,
        }
    }

    pub(super) const fn is_online(&self) -> bool {
        self.failure.is_none()
    }

    pub(super) fn check_online(&self) -> Result<(), StoreFailure> {
        match &self.failure {
            None => Ok(()),
            Some(reason) => Err(StoreFailure::Offline(reason.clone())),
        }
    }

    /// Takes the directory offline.
    pub(super) fn fail(&mut self, reason: String) {
        self.failure.get_or_insert(reason);
    }

    /// Where a ticket notes a sync that fails.
    pub(super) fn failed_sync(&self) -> FailedSync<F> {
        self.failed_sync.clone()
    }

    /// Takes the outcome of disk operations: a failure takes the directory offline.
    pub(super) fn or_offline<T>(
        &mut self,
        outcome: Result<T, DiskError>,
    ) -> Result<T, StoreFailure> {
        self.failed_sync.record(outcome).map_err(|error| {
            self.fail(error.to_string());
            StoreFailure::Offline(error.to_string())
        })
    }

    /// The same, but `None` where it is to be tried again: what has no room, no descriptor and no memory is no failure.
    pub(super) fn or_retry_later<T>(
        &mut self,
        outcome: Result<T, DiskError>,
    ) -> Result<Option<T>, StoreFailure> {
        let outcome = self.or_do_without(outcome);
        self.or_offline(outcome)
    }

    /// The outcome for one who can do without what failed: `None` where that is for want of room, of a descriptor or of
    /// memory.
    pub(super) fn or_do_without<T>(
        &self,
        outcome: Result<T, DiskError>,
    ) -> Result<Option<T>, DiskError> {
        match outcome {
            Err(error) if self.refusal(&error).is_some() => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    /// Why an append is refused that met this error; `None` where the disk has failed.
    pub(super) fn refusal(&self, error: &DiskError) -> Option<Refusal> {
        let blames_disk = self.hooks.is(Mutant::TakesShortageForFailure);
        match error {
            DiskError::NoSpace => Some(Refusal::DiskFull),
            DiskError::OutOfResources(_) if !blames_disk => Some(Refusal::OutOfResources),
            DiskError::OutOfResources(_)
            | DiskError::NotFound
            | DiskError::Exists
            | DiskError::SyncFailed(_)
            | DiskError::Io(_) => None,
        }
    }
}
