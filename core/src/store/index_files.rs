//! Bringing what the indexes have gathered in memory to their files.
//!
//! An index is a hint: where there is no room or no descriptor its entries are left out. What they would point at is found by
//! reading on from the entry before, and the scrub writes the index anew.

use crate::ids::{Offset, TopicPartition};
use crate::store::index::IndexTail;
use crate::store::segment::FileKind;
use crate::store::store::LogStore;
use crate::store::{Disk, DiskError, StoreFailure};

/// Which of the indexes that have gathered entries are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Indexes {
    All,
    /// As many as there are descriptors for.
    WhereRoom,
}

impl<D: Disk> LogStore<D> {
    /// Writes what the indexes have gathered.
    pub(super) fn write_indexes(&mut self, extent: Indexes) -> Result<(), DiskError> {
        let logs = self.replicas.iter();
        let unwritten = logs.filter(|(_, log)| log.unwritten_index().is_some());
        let replicas: Vec<_> = unwritten.map(|(&replica, _)| replica).collect();
        for replica in replicas {
            if extent == Indexes::WhereRoom && !self.files.has_room() {
                break; // each of the others would wait for a sync: a later checkpoint writes more of them
            }
            self.write_index(replica)?;
        }
        Ok(())
    }

    /// Writes what a replica's index has gathered.
    pub(super) fn write_index(&mut self, replica: TopicPartition) -> Result<(), DiskError> {
        let log = self.replicas.get(&replica);
        let Some(segment) = log.and_then(|log| log.unwritten_index()) else {
            return Ok(());
        };
        let files = self.index_files(replica, segment);
        let written = files.and_then(|(offsets, times)| {
            let log = self.log_of(replica);
            log.write_index(&offsets, &times)
        });
        self.health.or_do_without(written).map(|_| ())
    }

    /// Writes the indexes of a segment anew. What it has grown by since they were made is written in its time, and what
    /// of it was truncated is not counted.
    pub(super) fn rewrite_index(
        &mut self,
        replica: TopicPartition,
        mut index: IndexTail,
    ) -> Result<(), StoreFailure> {
        let is_there = self.replicas.get(&replica).is_some_and(|log| {
            let mut segments = log.state.segments.iter();
            segments.any(|known| known.base_offset == index.segment())
        });
        if !is_there || index.is_empty() {
            return Ok(());
        }
        let files = self.index_files(replica, index.segment());
        let written = files.and_then(|(offsets, times)| index.write(&offsets, &times));
        self.health.or_retry_later(written).map(|_| ())
    }

    fn index_files(
        &mut self,
        replica: TopicPartition,
        segment: Offset,
    ) -> Result<(D::File, D::File), DiskError> {
        let (offsets, _) = self.open_file((replica, segment, FileKind::OffsetIndex))?;
        let (times, _) = self.open_file((replica, segment, FileKind::TimeIndex))?;
        Ok((offsets, times))
    }
}
