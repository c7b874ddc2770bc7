//! When a checkpoint is due, and which one is the latest.
//!
//! The next one is due after so much of journal, or of appends that went straight to their segments: recovery reads both
//! again. One is under way at most.

use crate::store::StoreOptions;
use crate::store::journal::JournalPlace;

/// Where the checkpoints of one directory stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckpointSchedule {
    /// Generation of the latest one that is durable.
    generation: u64,
    /// Its place in the journal.
    place: JournalPlace,
    /// Whether one is being written.
    is_running: bool,
    /// Whether the last one could not be written for want of a descriptor or of memory.
    is_postponed: bool,
    /// Bytes of journal that this incarnation had written when the last one was begun.
    journal_written: u64,
    /// Bytes of direct appends since then.
    direct_written: u64,
}

impl CheckpointSchedule {
    /// After a start from the checkpoint of this generation and place.
    pub(super) const fn new(generation: u64, place: JournalPlace) -> Self {
        Self {
            generation,
            place,
            is_running: false,
            is_postponed: false,
            journal_written: 0,
            direct_written: 0,
        }
    }

    /// Whether one should begin, now that this incarnation has written so many bytes of journal.
    pub(super) const fn is_due(&self, journal_written: u64, options: &StoreOptions) -> bool {
        self.is_postponed
            || journal_written - self.journal_written >= options.checkpoint_journal_bytes
            || self.direct_written >= options.checkpoint_direct_bytes
    }

    pub(super) const fn is_running(&self) -> bool {
        self.is_running
    }

    pub(super) const fn next_generation(&self) -> u64 {
        self.generation + 1
    }

    /// Counts bytes of a direct append.
    pub(super) const fn count_direct_append(&mut self, bytes: u64) {
        self.direct_written += bytes;
    }

    /// Learns that the next one is being written.
    pub(super) const fn begin(&mut self, journal_written: u64) {
        self.is_running = true;
        self.is_postponed = false;
        self.journal_written = journal_written;
        self.direct_written = 0;
    }

    /// Learns that the writing is over, with whatever outcome.
    pub(super) const fn end(&mut self) {
        self.is_running = false;
    }

    /// Has it tried again as soon as possible.
    pub(super) const fn postpone(&mut self) {
        self.is_postponed = true;
    }

    /// Learns that one is durable. Returns the place of the one before, which stands in for it should it rot: from there on
    /// the journal is needed.
    pub(super) const fn complete(&mut self, generation: u64, place: JournalPlace) -> JournalPlace {
        self.generation = generation;
        std::mem::replace(&mut self.place, place)
    }
}
