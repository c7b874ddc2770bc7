//! Idempotent producers: what a partition remembers of each producer id.
//!
//! Producer state is a *function of the log prefix*. [`ProducerTable::apply`] takes the headers of the log in order,
//! each with the log clock at its place, and nothing else: no clock of the node, no configuration, no periodic sweep.
//! So every replica arrives at the same table, and a [`ProducerLog`] can take back what truncation removed.
//!
//! Rules of Kafka's `ProducerStateManager` and `ProducerAppendInfo`, in their words:
//!
//! - The last [`BATCHES_REMEMBERED`] batches of a producer's epoch are remembered; a batch with exactly the
//!   sequences of one of them is a duplicate and is answered with the original's offsets.
//! - Any other batch of the same epoch must start where the last one ended (`i32::MAX` is followed by 0), else
//!   it is out of order. One that is older than what is remembered is out of order too.
//! - A newer epoch starts at sequence 0. An older epoch is fenced.
//! - A producer that the partition does not know may start at any epoch and sequence (KIP-360): its state may
//!   have expired. An epoch that is known by a control batch only has no sequence yet, so it starts at 0.
//!
//! **Expiry** is ours. Kafka forgets a producer once the wall clock is `producer.id.expiration.ms` past its last
//! timestamp, on each replica at another moment, and all at once where the clock jumps. Here the log has a clock: a
//! leader that appends a batch of a producer puts a *clock tick* before it, a note, where a fourth of the expiration
//! has passed since it took the last one. A producer is forgotten when more than [`TICKS_REMEMBERED`] ticks stand
//! behind its last batch. The first of these may come at once, and every other at least a fourth of the expiration
//! after the one before, so a producer that has written within the expiration is remembered. A jump of a clock, an
//! outage, or a time without writes is one tick at most. [`PRODUCERS_MAX`] bounds the memory for a flood of producer
//! ids.
//!
//! Not here: open transactions and coordinator epochs, which need a control batch's body.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::mem;

use crate::ids::{LogClock, Offset, ProducerEpoch, ProducerId, Timestamp};
use crate::record::BatchHeader;

/// How many batches of a producer are remembered, as in Kafka: what a client may have in flight.
pub const BATCHES_REMEMBERED: usize = 5;

/// This many ticks of the log's clock may stand behind the last batch of a producer that is remembered. Ticks are
/// this part of `producer.id.expiration.ms` apart.
pub const TICKS_REMEMBERED: u32 = 4;

/// No more producers than this are remembered, whatever their age: above it, those that wrote least recently are
/// forgotten. Replicas of one partition must agree on it.
pub const PRODUCERS_MAX: usize = 100_000;

/// A batch removes at most this many producers, so that no step takes long. It adds one at most.
const FORGOTTEN_AT_ONCE: usize = 2;

/// Producer state of one partition at one offset.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProducerTable {
    producers: BTreeMap<ProducerId, ProducerState>,
    /// Every producer by its `last_offset`, so the one that wrote least recently is first.
    recency: BTreeMap<Offset, ProducerId>,
    /// [`PRODUCERS_MAX`], but for tests.
    producers_max: usize,
}

/// What is remembered of one producer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProducerState {
    /// The highest epoch seen.
    pub producer_epoch: ProducerEpoch,
    /// Its last batches in this epoch, oldest first, [`BATCHES_REMEMBERED`] at most.
    pub batches: Vec<ProducedBatch>,
    /// Greatest timestamp of its last batch, for Kafka's `DescribeProducers`.
    pub last_timestamp: Timestamp,
    /// Offset of the last record of its last batch, inclusive; control batches count.
    pub last_offset: Offset,
    /// The log clock at its last batch, from which its age counts.
    pub clock: LogClock,
}

/// One remembered batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProducedBatch {
    /// Sequence of its first record.
    pub base_sequence: i32,
    /// Sequence of its last record, inclusive.
    pub last_sequence: i32,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record, inclusive.
    pub last_offset: Offset,
    /// Its greatest timestamp.
    pub timestamp: Timestamp,
}

/// The result of checking a batch against the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceCheck {
    /// Not idempotent, or the next in sequence.
    InOrder,
    /// The same batch is in the log already.
    Duplicate(ProducedBatch),
    /// There is a gap, or it is older than what is remembered: `OUT_OF_ORDER_SEQUENCE_NUMBER`.
    OutOfOrder {
        /// The sequence that would be in order.
        expected: i32,
    },
    /// It has an earlier producer epoch: `INVALID_PRODUCER_EPOCH`.
    Fenced,
}

impl Default for ProducerTable {
    /// The table of an empty log.
    fn default() -> Self {
        Self::of_at_most(PRODUCERS_MAX)
    }
}

impl ProducerTable {
    fn of_at_most(producers_max: usize) -> Self {
        assert!(
            producers_max >= 1,
            "the producer of the last batch is always known"
        );
        Self {
            producers: BTreeMap::new(),
            recency: BTreeMap::new(),
            producers_max,
        }
    }

    /// Judges a batch that would be next in the log.
    #[must_use]
    pub fn check(&self, header: &BatchHeader) -> SequenceCheck {
        check_state(self.producers.get(&header.producer_id), header)
    }

    /// The state of one producer.
    #[must_use]
    pub fn get(&self, producer_id: ProducerId) -> Option<&ProducerState> {
        self.producers.get(&producer_id)
    }

    /// All producers, by id.
    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &ProducerState)> {
        self.producers.iter().map(|(&id, state)| (id, state))
    }

    /// Rebuilds a table from the states that [`ProducerTable::iter`] listed.
    #[must_use]
    pub fn restore(states: impl IntoIterator<Item = (ProducerId, ProducerState)>) -> Self {
        let mut table = Self::default();
        for (id, state) in states {
            table.recency.insert(state.last_offset, id);
            table.producers.insert(id, state);
        }
        table
    }

    /// How many producers are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether no producer is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Applies the next batch of the log, at which the log clock is `clock`. It is in the log, so nothing is checked.
    pub fn apply(&mut self, header: &BatchHeader, clock: LogClock) {
        self.apply_undoably(header, clock);
    }

    /// Applies the next batch of the log and returns how to undo it; `None` where it changes nothing.
    fn apply_undoably(&mut self, header: &BatchHeader, clock: LogClock) -> Option<Undo> {
        if header.producer_id == ProducerId::NONE {
            return None;
        }
        let before = self.advance(header, clock);
        Some(Undo {
            producer_id: header.producer_id,
            before,
            forgotten: self.forget(clock),
        })
    }

    /// Updates the producer of `header`, which has one, with that batch.
    fn advance(&mut self, header: &BatchHeader, clock: LogClock) -> PreviousState {
        let last_offset = header.last_offset();
        let before = match self.producers.entry(header.producer_id) {
            Entry::Vacant(entry) => {
                let mut state = ProducerState {
                    producer_epoch: header.producer_epoch,
                    batches: Vec::with_capacity(BATCHES_REMEMBERED),
                    last_timestamp: header.max_timestamp,
                    last_offset,
                    clock,
                };
                state.remember(header);
                entry.insert(state);
                PreviousState::Unknown
            }
            Entry::Occupied(mut entry) => {
                let state = entry.get_mut();
                self.recency.remove(&state.last_offset);
                let whole = state.producer_epoch != header.producer_epoch;
                let last = LastBatch {
                    timestamp: mem::replace(&mut state.last_timestamp, header.max_timestamp),
                    offset: mem::replace(&mut state.last_offset, last_offset),
                    clock: mem::replace(&mut state.clock, clock),
                };
                if whole {
                    let epoch = mem::replace(&mut state.producer_epoch, header.producer_epoch);
                    let batches = mem::take(&mut state.batches);
                    state.remember(header);
                    PreviousState::OtherEpoch(epoch, batches, last)
                } else {
                    PreviousState::SameEpoch(state.remember(header), last)
                }
            }
        };
        self.recency.insert(last_offset, header.producer_id);
        before
    }

    /// Removes producers that are too old or too many, those that wrote least recently first: the log clock never goes
    /// back, so they are also the oldest. Never the one that wrote last.
    fn forget(&mut self, clock: LogClock) -> Vec<(ProducerId, ProducerState)> {
        let mut forgotten = Vec::new();
        while forgotten.len() < FORGOTTEN_AT_ONCE
            && let Some(oldest) = self.recency.first_entry()
        {
            let id = *oldest.get();
            let state = self
                .producers
                .get(&id)
                .expect("recency names producers of the table");
            let age = clock.0.saturating_sub(state.clock.0);
            let is_old = age > u64::from(TICKS_REMEMBERED);
            if !is_old && self.producers.len() <= self.producers_max {
                break;
            }
            oldest.remove();
            forgotten.extend(self.producers.remove_entry(&id));
        }
        forgotten
    }

    /// Undoes the last batch that changed the table.
    fn undo(&mut self, undo: Undo) {
        let Undo {
            producer_id: id,
            before,
            forgotten,
        } = undo;
        // A batch never removes its own producer, so the two kinds of change do not interfere.
        for (id, state) in forgotten {
            self.recency.insert(state.last_offset, id);
            self.producers.insert(id, state);
        }
        let state = self
            .producers
            .get_mut(&id)
            .expect("a batch leaves its producer known");
        self.recency.remove(&state.last_offset);
        let last = match before {
            PreviousState::Unknown => {
                self.producers.remove(&id);
                return;
            }
            PreviousState::SameEpoch(remembered, last) => {
                state.forget(remembered);
                last
            }
            PreviousState::OtherEpoch(epoch, batches, last) => {
                state.producer_epoch = epoch;
                state.batches = batches;
                last
            }
        };
        state.last_timestamp = last.timestamp;
        state.last_offset = last.offset;
        state.clock = last.clock;
        self.recency.insert(last.offset, id);
    }
}

impl ProducerState {
    /// Remembers a batch of its epoch, if it has sequences, in place of the oldest where there are too many.
    fn remember(&mut self, header: &BatchHeader) -> BatchListChange {
        if !has_sequence(header) {
            return BatchListChange::Nothing;
        }
        let dropped = (self.batches.len() == BATCHES_REMEMBERED).then(|| self.batches.remove(0));
        self.batches.push(ProducedBatch {
            base_sequence: header.base_sequence,
            last_sequence: last_sequence(header),
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            timestamp: header.max_timestamp,
        });
        BatchListChange::Batch { dropped }
    }

    /// Takes [`ProducerState::remember`] back.
    fn forget(&mut self, remembered: BatchListChange) {
        let BatchListChange::Batch { dropped } = remembered else {
            return;
        };
        self.batches.pop();
        if let Some(dropped) = dropped {
            self.batches.insert(0, dropped);
        }
    }
}

/// What one batch of a producer changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Undo {
    producer_id: ProducerId,
    /// The state of its producer before.
    before: PreviousState,
    /// The producers that it removed.
    forgotten: Vec<(ProducerId, ProducerState)>,
}

/// The part of a producer's state that its next batch changed: the common case takes no allocation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum PreviousState {
    Unknown,
    SameEpoch(BatchListChange, LastBatch),
    OtherEpoch(ProducerEpoch, Vec<ProducedBatch>, LastBatch),
}

/// What a batch changed in the list of remembered batches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum BatchListChange {
    /// It has no sequences.
    Nothing,
    /// It was added as the last.
    Batch {
        /// The first batch, which it displaced.
        dropped: Option<ProducedBatch>,
    },
}

/// The fields of [`ProducerState`] that every batch moves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct LastBatch {
    timestamp: Timestamp,
    offset: Offset,
    clock: LogClock,
}

/// Producer state at the end of a log whose tail may still be truncated.
///
/// A batch is checked against all batches before it, committed or not, since a producer sends the next batch before the
/// last is acknowledged. Each batch above the committed offset is kept with its changes, so truncation undoes batch
/// after batch. `O(log n)` per batch in the number of producers; a batch without a producer costs a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProducerLog {
    /// The state at the end.
    table: ProducerTable,
    /// Below this offset, exclusive, nothing is truncated.
    committed: Offset,
    /// The batches from `committed` on, in order.
    pending: VecDeque<UncommittedBatch>,
}

/// A batch that may still be truncated.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct UncommittedBatch {
    base_offset: Offset,
    next_offset: Offset,
    undo: Option<Undo>,
}

impl ProducerLog {
    /// The state at `committed`, an exclusive end that is never truncated, as recovery or a reset installs it.
    #[must_use]
    pub const fn new(table: ProducerTable, committed: Offset) -> Self {
        Self {
            table,
            committed,
            pending: VecDeque::new(),
        }
    }

    /// Judges a batch that would be next in the log.
    #[must_use]
    pub fn check(&self, header: &BatchHeader) -> SequenceCheck {
        self.table.check(header)
    }

    /// Applies the next batch of the log, whose offsets are assigned and at which the log clock is `clock`.
    ///
    /// # Panics
    /// Where it does not stand behind the last one.
    pub fn append(&mut self, header: &BatchHeader, clock: LogClock) {
        assert!(
            header.base_offset >= self.end_offset(),
            "batches are appended in order"
        );
        self.pending.push_back(UncommittedBatch {
            base_offset: header.base_offset,
            next_offset: header.next_offset(),
            undo: self.table.apply_undoably(header, clock),
        });
    }

    /// Batches below `offset`, exclusive, will not be truncated any more. An offset within a batch, behind the end, or
    /// below an earlier one does no harm: whole batches commit, and no commit is undone.
    pub fn commit_to(&mut self, offset: Offset) {
        while let Some(first) = self.pending.front()
            && first.next_offset <= offset
        {
            self.committed = first.next_offset;
            self.pending.pop_front();
        }
    }

    /// Undoes every batch from `offset` on.
    ///
    /// # Panics
    /// Where `offset` is below what is committed or within a batch.
    pub fn truncate_to(&mut self, offset: Offset) {
        assert!(
            offset >= self.committed,
            "what is committed is never truncated"
        );
        while let Some(last) = self.pending.pop_back_if(|last| last.next_offset > offset) {
            assert!(
                last.base_offset >= offset,
                "a log is truncated between batches"
            );
            if let Some(undo) = last.undo {
                self.table.undo(undo);
            }
        }
    }

    /// The state at the end of the log.
    #[must_use]
    pub const fn table(&self) -> &ProducerTable {
        &self.table
    }

    /// The state behind the committed batches, and its offset: for a checkpoint or a follower's reset. Costs a copy of
    /// the table.
    #[must_use]
    pub fn committed(&self) -> (ProducerTable, Offset) {
        let mut table = self.table.clone();
        let pending = self.pending.iter().rev();
        for undo in pending.filter_map(|pending| pending.undo.clone()) {
            table.undo(undo);
        }
        (table, self.committed)
    }

    /// Where the next batch stands at the earliest.
    fn end_offset(&self) -> Offset {
        self.pending
            .back()
            .map_or(self.committed, |last| last.next_offset)
    }
}

/// Kafka's rules for a batch of an idempotent producer, given the producer's state.
fn check_state(state: Option<&ProducerState>, header: &BatchHeader) -> SequenceCheck {
    if header.producer_id == ProducerId::NONE {
        return SequenceCheck::InOrder;
    }
    let Some(state) = state else {
        return SequenceCheck::InOrder;
    };
    if header.producer_epoch < state.producer_epoch {
        return SequenceCheck::Fenced;
    }
    if !has_sequence(header) {
        return SequenceCheck::InOrder;
    }
    let mut expected = 0;
    if header.producer_epoch == state.producer_epoch {
        let last_sequence = last_sequence(header);
        let same = |batch: &&ProducedBatch| {
            batch.base_sequence == header.base_sequence && batch.last_sequence == last_sequence
        };
        if let Some(batch) = state.batches.iter().find(same) {
            return SequenceCheck::Duplicate(*batch);
        }
        if let Some(last) = state.batches.last() {
            expected = sequence_after(last.last_sequence, 1);
        }
    }
    if header.base_sequence == expected {
        SequenceCheck::InOrder
    } else {
        SequenceCheck::OutOfOrder { expected }
    }
}

/// Control batches, and what coordinators write on a producer's behalf, carry an epoch but no sequence.
const fn has_sequence(header: &BatchHeader) -> bool {
    !header.is_control() && header.base_sequence >= 0
}

fn last_sequence(header: &BatchHeader) -> i32 {
    sequence_after(header.base_sequence, header.last_offset_delta)
}

/// Sequences count from 0 to `i32::MAX` and begin again.
const fn sequence_after(sequence: i32, n: i32) -> i32 {
    sequence.wrapping_add(n) & i32::MAX
}

#[cfg(test)]
mod tests;
