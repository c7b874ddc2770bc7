//! Writing index entries that are buffered in memory to the index files.
//!
//! An index is a hint: without room or a descriptor its entries are not written. Batches are then found by reading on
//! from the entry before, and the scrub rebuilds the index.

use crate::ids::{Offset, TopicPartition};
use crate::store::index::IndexTail;
use crate::store::segment::FileKind;
use crate::store::store::LogStore;
use crate::store::{Disk, DiskError, StoreFailure};

/// Which of the indexes with buffered entries are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Indexes {
    All,
    /// As many as can be opened without syncing another file.
    WhereRoom,
}

impl<D: Disk> LogStore<D> {
    /// Writes the buffered entries of all replicas' indexes.
    pub(super) fn write_indexes(&mut self, extent: Indexes) -> Result<(), DiskError> {
        let logs = self.replicas.iter();
        let unwritten = logs.filter(|(_, log)| log.unwritten_index().is_some());
        let replicas: Vec<_> = unwritten.map(|(&replica, _)| replica).collect();
        for replica in replicas {
            if extent == Indexes::WhereRoom && !self.files.has_room() {
                break; // each further file would wait for a sync; a later checkpoint writes more of them
            }
            self.write_index(replica)?;
        }
        Ok(())
    }

    /// Writes the buffered entries of one replica's indexes.
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

    /// Rewrites the indexes of a segment. Entries for batches that were appended since `index` was built are written
    /// later; entries for batches that were truncated since lie beyond the counted ones.
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
