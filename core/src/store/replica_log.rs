//! One replica's log in memory: its state, its last segment's index, and what the next append depends on.

use crate::ids::Offset;
use crate::log::Position;
use crate::record::BatchHeader;
use crate::store::index::IndexTail;
use crate::store::journal::GroupNumber;
use crate::store::replica::{Place, Segment, StoredReplica};
use crate::store::{DiskError, DiskFile, Refusal};

/// One replica.
#[derive(Debug)]
pub(super) struct ReplicaLog {
    /// The state that follows from the journal.
    pub(super) state: StoredReplica,
    /// The index of its last segment; `None` where there is no segment.
    index: Option<IndexTail>,
    /// The group of the last truncation, which must be durable, with everything that it dropped removed, before the log
    /// grows again.
    pub(super) truncated: Option<GroupNumber>,
    /// Why an append was refused, if one was: the appends after it are refused too.
    pub(super) refused: Option<Refusal>,
}

impl ReplicaLog {
    /// A log whose index entries are all in the files.
    pub(super) fn new(state: StoredReplica) -> Self {
        let index = state.segments.last().map(IndexTail::written);
        Self {
            state,
            index,
            truncated: None,
            refused: None,
        }
    }

    /// A copy with what a reader needs.
    pub(super) fn for_reading(&self) -> Self {
        let state = &self.state;
        Self {
            state: StoredReplica {
                log_start_offset: state.log_start_offset,
                notes_below: state.notes_below,
                notes: state.notes.clone(),
                end: state.end,
                high_watermark: state.high_watermark,
                holes: state.holes.clone(),
                segments: state.segments.clone(),
                tail: state.tail.clone(),
                ..StoredReplica::default()
            },
            index: self.index.clone(),
            truncated: None,
            refused: None,
        }
    }

    pub(super) const fn index(&self) -> Option<&IndexTail> {
        self.index.as_ref()
    }

    /// The segment whose index has buffered entries, if there is one.
    pub(super) fn unwritten_index(&self) -> Option<Offset> {
        let index = self.index.as_ref().filter(|index| !index.is_empty());
        index.map(IndexTail::segment)
    }

    /// Writes the buffered entries to the index files.
    pub(super) fn write_index<F: DiskFile>(
        &mut self,
        offsets: &F,
        times: &F,
    ) -> Result<(), DiskError> {
        match &mut self.index {
            Some(index) => index.write(offsets, times),
            None => Ok(()),
        }
    }

    /// Truncates the log to `to`. Returns the segments that are left without a batch.
    ///
    /// # Panics
    /// As [`StoredReplica::truncate`].
    pub(super) fn truncate(&mut self, to: Position) -> Vec<Offset> {
        let emptied = self.state.truncate(to);
        match (self.state.segments.last(), &mut self.index) {
            (Some(last), Some(index)) => index.truncate(last),
            (_, index) => *index = None,
        }
        emptied
    }

    /// Whether a batch at this place starts a new segment: the index of the previous one must then be written first.
    pub(super) fn opens_segment(&self, place: Place) -> bool {
        let index = self.index.as_ref();
        index.is_none_or(|index| index.segment() != place.segment)
    }

    /// Adds a batch at its place to state and index.
    pub(super) fn push_batch(&mut self, header: BatchHeader, place: Place, interval: u32) {
        let is_first = self.opens_segment(place);
        let entries = self.state.push_batch(header, place, interval);
        if is_first {
            self.index = Some(IndexTail::written(&Segment::new(place.segment)));
        }
        let index = self.index.as_mut();
        index
            .expect("created above if there was none")
            .push(entries);
    }
}
