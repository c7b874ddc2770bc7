//! Executing the orders that are neither an append nor a fill, and opening files for all orders.

use bytes::Bytes;

use crate::ids::{Offset, TopicPartition, Voter};
use crate::log::Position;
use crate::store::open_files::{FileName, Opened};
use crate::store::record::JournalRecord;
use crate::store::removals::Removal;
use crate::store::replica::{Hole, Snapshot, StoredReplica};
use crate::store::replica_log::ReplicaLog;
use crate::store::segment::{self, FileKind};
use crate::store::store::LogStore;
use crate::store::{Disk, DiskError, DiskFile, OrderKind, journal};

impl<D: Disk> LogStore<D> {
    /// Executes everything but an append and a fill.
    pub(super) fn execute_small(
        &mut self,
        replica: TopicPartition,
        kind: &OrderKind,
    ) -> Result<(), DiskError> {
        match kind {
            OrderKind::Create { voters } => {
                self.create(replica, voters.clone());
                Ok(())
            }
            OrderKind::Append { .. } | OrderKind::Fill { .. } => {
                unreachable!("appends and fills have functions of their own")
            }
            OrderKind::Truncate { to } => self.truncate(replica, *to),
            OrderKind::StoreVote(vote) => {
                self.state_of(replica).vote = *vote;
                self.stage(replica, &JournalRecord::Vote(*vote));
                Ok(())
            }
            OrderKind::SetMark(mark) => {
                self.state_of(replica).set_mark(*mark);
                self.stage(replica, &JournalRecord::Mark(*mark));
                Ok(())
            }
            OrderKind::Probe => {
                let mark = self.state_of(replica).mark;
                self.stage(replica, &JournalRecord::Mark(mark));
                Ok(())
            }
            OrderKind::AcceptLoss { range } => {
                self.state_of(replica).accept_loss(range);
                let range = range.clone();
                self.stage(replica, &JournalRecord::Loss { range });
                Ok(())
            }
            OrderKind::SaveSnapshot { at, image } => self.save_snapshot(replica, *at, image),
            OrderKind::Delete => self.delete(replica),
        }
    }

    pub(super) fn log_of(&mut self, replica: TopicPartition) -> &mut ReplicaLog {
        self.replicas
            .get_mut(&replica)
            .expect("a replica is created before it gets any other order")
    }

    pub(super) fn state_of(&mut self, replica: TopicPartition) -> &mut StoredReplica {
        &mut self.log_of(replica).state
    }

    fn create(&mut self, replica: TopicPartition, voters: Vec<Voter>) {
        assert!(
            !self.replicas.contains_key(&replica),
            "a replica is created once"
        );
        let record = JournalRecord::Create {
            voters: voters.clone(),
        };
        let state = StoredReplica::new(voters);
        self.replicas.insert(replica, ReplicaLog::new(state));
        self.names.on_created(replica);
        self.names.sync_with_commit(String::new());
        self.stage(replica, &record);
    }

    fn truncate(&mut self, replica: TopicPartition, to: Position) -> Result<(), DiskError> {
        let log = self.log_of(replica);
        if log.refused.is_some() && to > log.state.end {
            return Ok(()); // the append up to `to` was refused as well
        }
        log.refused = None;
        let emptied = log.truncate(to);
        let last = log
            .state
            .segments
            .last()
            .map(|last| (last.base_offset, last.length));
        self.stage(replica, &JournalRecord::Truncate { to });
        self.log_of(replica).truncated = Some(self.journal.number());
        for segment in emptied {
            self.remove_when_durable(Removal::Segment(replica, segment))?;
        }
        match last {
            Some((segment, length)) => {
                self.remove_when_durable(Removal::Tail(replica, segment, length))
            }
            None => Ok(()),
        }
    }

    fn delete(&mut self, replica: TopicPartition) -> Result<(), DiskError> {
        self.replicas
            .remove(&replica)
            .expect("only a replica that exists is deleted");
        self.files.forget_replica(replica);
        self.names.forget_replica(replica);
        self.stage(replica, &JournalRecord::Delete);
        self.remove_when_durable(Removal::Replica(replica))
    }

    fn save_snapshot(
        &mut self,
        replica: TopicPartition,
        at: Position,
        image: &Bytes,
    ) -> Result<(), DiskError> {
        let snapshot = Snapshot {
            at,
            length: u32::try_from(image.len()).expect("an image is shorter than 4 GiB"),
            crc: crc32c::crc32c_append(journal::seed(self.identity.directory), image),
        };
        let written = self.write_snapshot(replica, &snapshot, image);
        if self.health.or_do_without(written)?.is_none() {
            // The previous snapshot still holds. What was written of this one is removed with the next durable group.
            return self.remove_when_durable(Removal::Snapshot(replica, snapshot));
        }
        self.names.sync_replica_with_commit(replica);
        let before = self.state_of(replica).snapshot.replace(snapshot);
        self.stage(replica, &JournalRecord::Snapshot(snapshot));
        match before {
            Some(before) => self.remove_when_durable(Removal::Snapshot(replica, before)),
            None => Ok(()),
        }
    }

    fn write_snapshot(
        &mut self,
        replica: TopicPartition,
        snapshot: &Snapshot,
        image: &Bytes,
    ) -> Result<(), DiskError> {
        let name = (replica, snapshot.at.end_offset, FileKind::Snapshot);
        let path = segment::snapshot_path(replica, snapshot);
        let (file, opened) = self.files.open_at(&self.disk, name, &path)?;
        if opened == Opened::Created {
            self.names.on_created(replica);
        }
        self.files.sync_with_commit(name);
        let seed = journal::seed(self.identity.directory);
        if segment::read_snapshot(&self.disk, replica, snapshot, seed)?.is_none() {
            file.truncate(0)?;
            file.write_at(0, &[image])?;
        }
        Ok(())
    }

    /// Opens a segment's file for writing, to be synced by the next group commit.
    pub(super) fn open_for_commit(
        &mut self,
        replica: TopicPartition,
        segment: Offset,
    ) -> Result<D::File, DiskError> {
        let name = (replica, segment, FileKind::Log);
        let (file, opened) = self.open_file(name)?;
        self.files.sync_with_commit(name);
        if opened == Opened::Created {
            self.names.sync_replica_with_commit(replica);
        }
        Ok(file)
    }

    /// Opens a file for writing, and tracks its name if it was created.
    pub(super) fn open_file(&mut self, name: FileName) -> Result<(D::File, Opened), DiskError> {
        let (file, opened) = self.files.open(&self.disk, name)?;
        if opened == Opened::Created {
            self.names.on_created(name.0);
        }
        Ok((file, opened))
    }

    /// Adds a hole to the state and journals it.
    pub(super) fn add_hole(&mut self, replica: TopicPartition, hole: Hole) {
        self.state_of(replica).add_hole(hole.clone());
        self.stage(replica, &JournalRecord::Hole(hole));
    }
}
