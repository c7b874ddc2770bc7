//! What must be synced for a group commit or a checkpoint, apart from the store.
//!
//! A ticket owns handles of all it syncs, so the store can go on taking orders and queries meanwhile.

use crate::store::failed_sync::FailedSync;
use crate::store::journal::{GroupNumber, JournalPlace};
use crate::store::unsynced_names::NamesToSync;
use crate::store::{Disk, DiskError, DiskFile, bad_sectors, checkpoint};

/// A group commit: everything that was executed before it.
#[derive(Clone, Debug)]
pub struct CommitTicket<D: Disk> {
    /// Where the names are.
    pub(super) disk: D,
    /// Where a sync that fails is noted.
    pub(super) failed_sync: FailedSync<D::File>,
    /// Everything up to this group becomes durable.
    pub(super) number: GroupNumber,
    /// The files of replicas that it syncs first.
    pub(super) segments: Vec<D::File>,
    /// The names that it syncs then.
    pub(super) names: NamesToSync,
    /// The journal's files that it syncs last.
    pub(super) journal: Vec<D::File>,
}

impl<D: Disk> CommitTicket<D> {
    /// Makes it durable. Waits for the disk; to be called without holding the store.
    ///
    /// # Errors
    /// Whatever the disk says. Never try again: hand the error to [`crate::store::LogStore::finish_commit`], which knows
    /// what may be.
    pub fn sync(&self) -> Result<(), DiskError> {
        self.failed_sync.record(self.sync_all())
    }

    fn sync_all(&self) -> Result<(), DiskError> {
        // Segments before the journal: a journal that is durable names only what is there.
        // Names come behind the segments' bytes: where a directory cannot be opened for the moment, those are done.
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
    /// Where the names and the checkpoint's file are.
    pub(super) disk: D,
    /// Where a sync that fails is noted.
    pub(super) failed_sync: FailedSync<D::File>,
    /// Its number.
    pub(super) generation: u64,
    /// Everything before this place is in it.
    pub(super) place: JournalPlace,
    /// The files of replicas that it syncs first.
    pub(super) segments: Vec<D::File>,
    /// The names that it syncs then.
    pub(super) names: NamesToSync,
    /// What it writes last.
    pub(super) bytes: Vec<u8>,
}

impl<D: Disk> CheckpointTicket<D> {
    /// Syncs and writes it. Waits for the disk; to be called without holding the store.
    ///
    /// # Errors
    /// Whatever the disk says. Never try again: hand the error to [`crate::store::LogStore::finish_checkpoint`].
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
