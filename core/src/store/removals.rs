//! Files and bytes that are removed once a journal group is durable.
//!
//! A truncation, deletion or snapshot makes files or bytes obsolete, but while its own journal record can still be
//! lost, recovery may need them. So they wait here until the group with that record is durable, and are then removed in
//! the order given.

use std::collections::VecDeque;

use crate::hooks::Mutant;
use crate::ids::{Offset, TopicPartition};
use crate::store::journal::GroupNumber;
use crate::store::replica::Snapshot;
use crate::store::segment::{self, FileKind};
use crate::store::store::LogStore;
use crate::store::{Disk, DiskError, DiskFile, StoreFailure, bad_sectors};

/// What is obsolete once a group is durable.
#[derive(Clone, Copy, Debug)]
pub(super) enum Removal {
    /// Everything of a replica that was deleted.
    Replica(TopicPartition),
    /// A segment of which a truncation left nothing.
    Segment(TopicPartition, Offset),
    /// The bytes after a segment's end.
    Tail(TopicPartition, Offset, u32),
    /// A snapshot that was replaced, unless it is the latest again.
    Snapshot(TopicPartition, Snapshot),
}

/// The pending removals of one directory.
#[derive(Debug, Default)]
pub(super) struct Removals {
    /// Each with the group that must be durable first; groups ascending.
    waiting: VecDeque<(GroupNumber, Removal)>,
}

impl Removal {
    const fn replica(&self) -> TopicPartition {
        match self {
            Self::Replica(replica)
            | Self::Segment(replica, _)
            | Self::Tail(replica, _, _)
            | Self::Snapshot(replica, _) => *replica,
        }
    }
}

impl Removals {
    fn push(&mut self, group: GroupNumber, removal: Removal) {
        self.waiting.push_back((group, removal));
    }

    /// The first removal, if its group is durable.
    fn first_due(&self, durable: GroupNumber) -> Option<Removal> {
        let &(group, removal) = self.waiting.front()?;
        (group <= durable).then_some(removal)
    }

    /// The first removal is done.
    fn pop(&mut self) {
        self.waiting.pop_front();
    }

    /// Whether the first removal can be done.
    pub(super) fn is_due(&self, durable: GroupNumber) -> bool {
        self.first_due(durable).is_some()
    }

    /// Whether a replica was deleted here whose files have not been removed yet.
    pub(super) fn has_deleted(&self, replica: TopicPartition) -> bool {
        let mut removals = self.waiting.iter().map(|(_, removal)| removal);
        removals.any(|it| matches!(it, Removal::Replica(other) if *other == replica))
    }

    /// Whether a removal of this replica waits for `group` or an earlier one.
    fn has_any(&self, replica: TopicPartition, group: GroupNumber) -> bool {
        let mut waiting = self.waiting.iter();
        waiting.any(|(at, removal)| *at <= group && removal.replica() == replica)
    }
}

impl<D: Disk> LogStore<D> {
    /// Schedules a removal for when the group being staged is durable.
    pub(super) fn remove_when_durable(&mut self, removal: Removal) -> Result<(), DiskError> {
        if self.hooks.is(Mutant::RemovesBeforeDurable) {
            return self.remove(&removal);
        }
        self.removals.push(self.journal.number(), removal);
        Ok(())
    }

    /// Does the removals whose groups are durable, in order; stops at one that finds no descriptor, to retry it later.
    pub(super) fn remove_due(&mut self) -> Result<(), StoreFailure> {
        while let Some(removal) = self.removals.first_due(self.journal.durable()) {
            let removed = self.remove(&removal);
            if self.health.or_retry_later(removed)?.is_none() {
                break;
            }
            self.removals.pop();
        }
        Ok(())
    }

    /// Whether the truncation in this group is durable and everything that it dropped is removed.
    pub(super) fn is_truncation_done(&self, replica: TopicPartition, group: GroupNumber) -> bool {
        group <= self.journal.durable() && !self.removals.has_any(replica, group)
    }

    fn remove(&mut self, removal: &Removal) -> Result<(), DiskError> {
        match removal {
            Removal::Replica(replica) => remove_replica(&self.disk, *replica),
            Removal::Segment(replica, segment) => {
                for kind in FileKind::ALL {
                    self.files.forget((*replica, *segment, kind));
                    segment::remove(&self.disk, &segment::path(*replica, *segment, kind))?;
                }
                Ok(())
            }
            Removal::Tail(replica, segment, length) => {
                let path = segment::path(*replica, *segment, FileKind::Log);
                let open = self.files.get((*replica, *segment, FileKind::Log));
                match open.map_or_else(|| self.disk.open(&path), |file| Ok(file.clone())) {
                    Ok(file) if file.length()? > u64::from(*length) => {
                        bad_sectors::truncate(&file, u64::from(*length))
                    }
                    Ok(_) => Ok(()),
                    Err(DiskError::NotFound) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Removal::Snapshot(replica, snapshot) => {
                let log = self.replicas.get(replica);
                if log.is_some_and(|log| log.state.snapshot == Some(*snapshot)) {
                    return Ok(());
                }
                segment::remove(&self.disk, &segment::snapshot_path(*replica, snapshot))
            }
        }
    }
}

/// Removes all files of a replica.
pub(super) fn remove_replica<D: Disk>(disk: &D, replica: TopicPartition) -> Result<(), DiskError> {
    let directory = segment::directory(replica);
    let names = match disk.list(&directory) {
        Ok(names) => names,
        Err(DiskError::NotFound) => return Ok(()),
        Err(error) => return Err(error),
    };
    for name in names {
        segment::remove(disk, &format!("{directory}/{name}"))?;
    }
    disk.remove_directory(&directory)
}
