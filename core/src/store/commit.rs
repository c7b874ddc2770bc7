//! Tickets: what a group commit or a checkpoint has to sync, detached from the store.
//!
//! A ticket owns handles of everything that it syncs, so the store can execute orders and queries meanwhile.

use crate::store::failed_sync::FailedSync;
use crate::store::journal::{GroupNumber, JournalPlace};
use crate::store::unsynced_names::NamesToSync;
use crate::store::{Disk, DiskError, DiskFile, bad_sectors, checkpoint};

/// A group commit of everything that was executed before it.
#[derive(Clone, Debug)]
pub struct CommitTicket<D: Disk> {
    /// The directory of the names.
    pub(super) disk: D,
    /// Where a failed sync is recorded.
    pub(super) failed_sync: FailedSync<D::File>,
    /// Everything up to this group becomes durable.
    pub(super) number: GroupNumber,
    /// Segment, index and snapshot files, synced first.
    pub(super) segments: Vec<D::File>,
    /// Names, synced after those files.
    pub(super) names: NamesToSync,
    /// Journal files, synced last.
    pub(super) journal: Vec<D::File>,
}

impl<D: Disk> CommitTicket<D> {
    /// Syncs everything. Waits for the disk; call it without holding the store.
    ///
    /// # Errors
    /// The disk's. Do not retry: hand the error to [`crate::store::LogStore::finish_commit`], which knows what may be
    /// retried.
    pub fn sync(&self) -> Result<(), DiskError> {
        self.failed_sync.record(self.sync_all())
    }

    fn sync_all(&self) -> Result<(), DiskError> {
        // Segments before the journal: a durable journal then refers only to durable segments. Names after the segments:
        // if a directory cannot be opened at the moment, only the names and the journal have to be synced again.
        for file in &self.segments {
            file.sync()?;
        }
        self.names.sync(&self.disk)?;
        for file in &self.journal {
            file.sync()?;
        }
        Ok(())
    }
}

/// A checkpoint: the segments written since the last one, and then the checkpoint's own file.
#[derive(Clone, Debug)]
pub struct CheckpointTicket<D: Disk> {
    /// The directory of the names and of the checkpoint's file.
    pub(super) disk: D,
    /// Where a failed sync is recorded.
    pub(super) failed_sync: FailedSync<D::File>,
    /// The checkpoint's generation.
    pub(super) generation: u64,
    /// Everything before this place in the journal is in the checkpoint.
    pub(super) place: JournalPlace,
    /// Segment, index and snapshot files, synced first.
    pub(super) segments: Vec<D::File>,
    /// Names, synced after those files.
    pub(super) names: NamesToSync,
    /// The checkpoint's bytes, written last.
    pub(super) bytes: Vec<u8>,
}

impl<D: Disk> CheckpointTicket<D> {
    /// Syncs the segments, then writes and syncs the checkpoint. Waits for the disk; call it without holding the store.
    ///
    /// # Errors
    /// The disk's. Do not retry: hand the error to [`crate::store::LogStore::finish_checkpoint`].
    pub fn run(&self) -> Result<(), DiskError> {
        self.failed_sync.record(self.sync_and_write())
    }

    fn sync_and_write(&self) -> Result<(), DiskError> {
        for file in &self.segments {
            file.sync()?;
        }
        self.names.sync(&self.disk)?;
        let file = self.disk.open(&checkpoint::path(self.generation))?;
        bad_sectors::overwrite(&file, 0, &[&self.bytes])?;
        file.sync()
    }
}
