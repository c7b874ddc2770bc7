//! Which file names are not durable yet.
//!
//! Syncing a file makes its bytes durable, but not its name: that takes a sync of its directory. The next checkpoint
//! syncs every directory in which a file was created. Names that must be durable earlier are synced by the group
//! commit.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::TopicPartition;
use crate::store::segment;
use crate::store::{Disk, DiskError};

/// The directories of one store with unsynced names. The log directory itself is the empty path.
#[derive(Debug)]
pub(super) struct UnsyncedNames {
    /// Number of names created so far.
    made: u64,
    /// Directories with names that are not durable, each with the number of the last such name.
    last_made: BTreeMap<String, u64>,
    /// Directories that the next group commit must sync.
    for_commit: BTreeSet<String>,
    /// Directories in which names were created since the last checkpoint began.
    for_checkpoint: BTreeSet<String>,
}

/// Directories that a ticket syncs.
#[derive(Clone, Debug)]
pub(super) struct NamesToSync {
    directories: BTreeSet<String>,
    /// How many names had been created when the ticket was taken: its sync may miss later ones.
    made: u64,
}

impl UnsyncedNames {
    /// After a recovery that has written files of these replicas: none of their names is known to be durable.
    pub(super) fn of_recovery(written: impl Iterator<Item = TopicPartition>) -> Self {
        let mut for_checkpoint: BTreeSet<_> = written.map(segment::directory).collect();
        if !for_checkpoint.is_empty() {
            for_checkpoint.insert(String::new());
        }
        Self {
            made: 0,
            last_made: BTreeMap::new(),
            for_commit: BTreeSet::new(),
            for_checkpoint,
        }
    }

    /// A file was created in a replica's directory, and perhaps the directory itself.
    pub(super) fn on_created(&mut self, replica: TopicPartition) {
        self.made += 1;
        for directory in [String::new(), segment::directory(replica)] {
            self.for_checkpoint.insert(directory.clone());
            self.last_made.insert(directory, self.made);
        }
    }

    /// Whether the names in a replica's directory are durable.
    pub(super) fn are_durable(&self, replica: TopicPartition) -> bool {
        !self.last_made.contains_key(&segment::directory(replica))
    }

    /// Makes the next group commit sync the names in a directory.
    pub(super) fn sync_with_commit(&mut self, directory: String) {
        self.for_commit.insert(directory);
    }

    /// Makes the next group commit sync the names in a replica's directory, and the directory's own name.
    pub(super) fn sync_replica_with_commit(&mut self, replica: TopicPartition) {
        self.sync_with_commit(String::new());
        self.sync_with_commit(segment::directory(replica));
    }

    /// Forgets a replica that was deleted.
    pub(super) fn forget_replica(&mut self, replica: TopicPartition) {
        let directory = segment::directory(replica);
        self.last_made.remove(&directory);
        self.for_commit.remove(&directory);
        self.for_checkpoint.remove(&directory);
    }

    /// Takes the names that a group commit has to sync.
    pub(super) fn take_for_commit(&mut self) -> NamesToSync {
        NamesToSync {
            directories: std::mem::take(&mut self.for_commit),
            made: self.made,
        }
    }

    /// Takes the names that a checkpoint has to sync.
    pub(super) fn take_for_checkpoint(&mut self) -> NamesToSync {
        NamesToSync {
            directories: std::mem::take(&mut self.for_checkpoint),
            made: self.made,
        }
    }

    /// Puts back the names that a group commit could not sync for lack of a descriptor.
    pub(super) fn requeue_for_commit(&mut self, names: &NamesToSync) {
        self.for_commit.extend(names.directories.iter().cloned());
    }

    /// Puts back the names that a checkpoint could not sync.
    pub(super) fn requeue_for_checkpoint(&mut self, names: &NamesToSync) {
        self.for_checkpoint
            .extend(names.directories.iter().cloned());
    }

    /// A sync has made these names durable.
    pub(super) fn on_synced(&mut self, synced: &NamesToSync) {
        self.last_made.retain(|directory, last| {
            !synced.directories.contains(directory) || *last > synced.made
        });
    }
}

impl NamesToSync {
    /// Syncs the directories.
    pub(super) fn sync<D: Disk>(&self, disk: &D) -> Result<(), DiskError> {
        for directory in &self.directories {
            match disk.sync_directory(directory) {
                // The directory of a replica that was deleted meanwhile.
                Err(DiskError::NotFound) => {}
                synced => synced?,
            }
        }
        Ok(())
    }
}
