//! Whether the directory is online, and what the outcome of a disk operation means for that.
//!
//! A failure takes the directory offline until it is opened again. A shortage of space, descriptors or memory says
//! nothing about the disk: the caller does without, or retries later.

use crate::hooks::{Hooks, Mutant};
use crate::store::failed_sync::FailedSync;
use crate::store::{DiskError, DiskFile, Refusal, StoreFailure};

/// The health of one directory.
#[derive(Debug)]
pub(super) struct Health<F> {
    /// What a simulator has planted.
    hooks: Hooks,
    /// Where a failed sync is recorded for the next start.
    failed_sync: FailedSync<F>,
    /// Why the directory is offline: the first failure; `None` while it is online.
    failure: Option<String>,
}

impl<F: DiskFile> Health<F> {
    /// The health of a directory that is online.
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

    /// Where a ticket records a failed sync.
    pub(super) fn failed_sync(&self) -> FailedSync<F> {
        self.failed_sync.clone()
    }

    /// Any error takes the directory offline.
    pub(super) fn or_offline<T>(
        &mut self,
        outcome: Result<T, DiskError>,
    ) -> Result<T, StoreFailure> {
        self.failed_sync.record(outcome).map_err(|error| {
            self.fail(error.to_string());
            StoreFailure::Offline(error.to_string())
        })
    }

    /// As [`Self::or_offline`], but `None` for a shortage of space, descriptors or memory: the caller retries later.
    pub(super) fn or_retry_later<T>(
        &mut self,
        outcome: Result<T, DiskError>,
    ) -> Result<Option<T>, StoreFailure> {
        let outcome = self.or_do_without(outcome);
        self.or_offline(outcome)
    }

    /// `None` for a shortage of space, descriptors or memory: the caller does without. Any other error is returned.
    pub(super) fn or_do_without<T>(
        &self,
        outcome: Result<T, DiskError>,
    ) -> Result<Option<T>, DiskError> {
        match outcome {
            Err(error) if self.refusal(&error).is_some() => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    /// The refusal for an append that met this error; `None` if the disk has failed.
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
