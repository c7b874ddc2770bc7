//! When a checkpoint is due, and which is the latest.
//!
//! A checkpoint is due after a number of bytes of journal, or of direct appends (which go to their segments without the
//! journal): recovery has to read both again. At most one checkpoint is in progress.

use crate::store::StoreOptions;
use crate::store::journal::JournalPlace;

/// The checkpoints of one directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckpointSchedule {
    /// Generation of the latest durable checkpoint.
    generation: u64,
    /// Its place in the journal.
    place: JournalPlace,
    /// Whether one is being written.
    is_running: bool,
    /// Whether the last checkpoint could not be written for lack of a descriptor or memory.
    is_postponed: bool,
    /// Bytes of journal that this incarnation had written when the last checkpoint began.
    journal_written: u64,
    /// Bytes of direct appends since the last checkpoint began.
    direct_written: u64,
}

impl CheckpointSchedule {
    /// The schedule after recovery from the checkpoint of this generation and place.
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

    /// Whether a checkpoint should begin; `journal_written` is how many bytes of journal this incarnation has written.
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

    /// Counts the bytes of a direct append.
    pub(super) const fn count_direct_append(&mut self, bytes: u64) {
        self.direct_written += bytes;
    }

    /// The next checkpoint begins.
    pub(super) const fn begin(&mut self, journal_written: u64) {
        self.is_running = true;
        self.is_postponed = false;
        self.journal_written = journal_written;
        self.direct_written = 0;
    }

    /// The checkpoint in progress has ended, with whatever outcome.
    pub(super) const fn end(&mut self) {
        self.is_running = false;
    }

    /// Makes the next checkpoint due at once.
    pub(super) const fn postpone(&mut self) {
        self.is_postponed = true;
    }

    /// A checkpoint is durable. Returns the place of the one before it, which recovery uses if this one rots: the
    /// journal is needed from that place on.
    pub(super) const fn complete(&mut self, generation: u64, place: JournalPlace) -> JournalPlace {
        self.generation = generation;
        std::mem::replace(&mut self.place, place)
    }
}
