//! Idempotent producers: what a partition remembers of each producer id.
//!
//! Producer state is a *function of the log prefix*. [`ProducerTable::apply`] takes the headers of the log in
//! order and nothing else: no wall clock, no sweep that runs now and then. So every replica arrives at the
//! same table, and a [`ProducerLog`] can take back what truncation removed.
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
//! **Expiry** is ours. Kafka forgets a producer once the *wall clock* is `producer.id.expiration.ms` past its
//! last timestamp; here the clock is the log's own, the greatest timestamp of the prefix, and a producer's age
//! counts from what that clock showed when its last batch was appended. A producer that writes last year's
//! rows is therefore not old at once. Since record timestamps can jump, age alone forgets nobody among the
//! [`Expiry::kept_min`] producers that wrote last: a retry that arrives behind another producer's jump must
//! still find its original. [`Expiry::kept_max`] bounds the memory that a flood of producer ids can take.
//!
//! Not here: open transactions and coordinator epochs, which need a control batch's body.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::mem;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};

use crate::ids::{Offset, ProducerEpoch, ProducerId, Timestamp};
use crate::record::BatchHeader;

/// How many batches of a producer are remembered, as in Kafka: what a client may have in flight.
pub const BATCHES_REMEMBERED: usize = 5;

/// When a producer is forgotten. Part of the table, so that whoever applies the same log to it forgets the
/// same producers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Expiry {
    /// Kafka's `producer.id.expiration.ms`: a producer of this age, or older, may be forgotten. Milliseconds by
    /// the log's own clock.
    pub age_ms: i64,
    /// This many producers, those that wrote last, are not forgotten for their age.
    pub kept_min: usize,
    /// No more producers than this are kept, whatever their age. At least 1.
    pub kept_max: usize,
}

impl Default for Expiry {
    /// Kafka's default of one day.
    fn default() -> Self {
        Self {
            age_ms: 86_400_000,
            kept_min: 64,
            kept_max: 100_000,
        }
    }
}

/// Producer state of one partition at one offset.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProducerTable {
    producers: BTreeMap<ProducerId, ProducerState>,
    /// Every producer by its `last_offset`, so the one that wrote least recently is first.
    recency: BTreeMap<Offset, ProducerId>,
    /// The greatest timestamp of the prefix; [`Timestamp::NONE`] before the first.
    log_time: Timestamp,
    expiry: Expiry,
}

/// What is remembered of one producer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct ProducerState {
    /// The highest epoch seen.
    pub producer_epoch: ProducerEpoch,
    /// Its last batches in this epoch, oldest first, [`BATCHES_REMEMBERED`] at most.
    pub batches: Vec<ProducedBatch>,
    /// Greatest timestamp of its last batch, as Kafka's `DescribeProducers` tells it.
    pub last_timestamp: Timestamp,
    /// Offset of the last record of its last batch, inclusive; control batches count.
    pub last_offset: Offset,
    /// The log's clock behind its last batch, from which its age counts.
    pub log_time: Timestamp,
}

/// One remembered batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
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

/// What a batch is to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceCheck {
    /// Not idempotent, or next in line.
    InOrder,
    /// The very batch is in the log already.
    Duplicate(ProducedBatch),
    /// There is a gap, or it is older than what is remembered: `OUT_OF_ORDER_SEQUENCE_NUMBER`.
    OutOfOrder {
        /// The sequence that would be in order.
        expected: i32,
    },
    /// Of an epoch that is over: `INVALID_PRODUCER_EPOCH`.
    Fenced,
}

impl Default for ProducerTable {
    fn default() -> Self {
        Self::new(Expiry::default())
    }
}

impl ProducerTable {
    /// The table of an empty log.
    ///
    /// # Panics
    /// Where `expiry` would keep nobody.
    #[must_use]
    pub fn new(expiry: Expiry) -> Self {
        let mut table = Self {
            producers: BTreeMap::new(),
            recency: BTreeMap::new(),
            log_time: Timestamp::NONE,
            expiry,
        };
        table.set_expiry(expiry);
        table
    }

    /// Takes a changed configuration; it tells from the next batch on.
    ///
    /// # Panics
    /// Where `expiry` would keep nobody.
    pub fn set_expiry(&mut self, expiry: Expiry) {
        assert!(
            expiry.kept_max >= 1,
            "the producer of the last batch is always kept"
        );
        self.expiry = expiry;
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

    /// The table that once listed these states, by [`ProducerTable::iter`], with this [`ProducerTable::log_time`].
    ///
    /// # Panics
    /// Where `expiry` would keep nobody.
    #[must_use]
    pub fn restore(
        states: impl IntoIterator<Item = (ProducerId, ProducerState)>,
        log_time: Timestamp,
        expiry: Expiry,
    ) -> Self {
        let mut table = Self::new(expiry);
        table.log_time = log_time;
        for (id, state) in states {
            table.recency.insert(state.last_offset, id);
            table.producers.insert(id, state);
        }
        table
    }

    /// The greatest timestamp of the prefix; [`Timestamp::NONE`] before the first batch.
    #[must_use]
    pub const fn log_time(&self) -> Timestamp {
        self.log_time
    }

    /// When producers are forgotten.
    #[must_use]
    pub const fn expiry(&self) -> Expiry {
        self.expiry
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

    /// Takes the next batch of the log. It is in the log: nothing is judged here.
    pub fn apply(&mut self, header: &BatchHeader) {
        self.apply_undoably(header);
    }

    /// Takes the next batch of the log and tells how to take it back.
    fn apply_undoably(&mut self, header: &BatchHeader) -> Undo {
        let log_time = self.log_time;
        self.log_time = log_time.max(header.max_timestamp);
        let changed = (header.producer_id != ProducerId::NONE)
            .then(|| (header.producer_id, self.advance(header)));
        Undo {
            log_time,
            changed,
            expired: self.expire(),
        }
    }

    /// Moves the producer of `header`, which has one, behind that batch.
    fn advance(&mut self, header: &BatchHeader) -> Before {
        let last_offset = header.last_offset();
        let before = match self.producers.entry(header.producer_id) {
            Entry::Vacant(entry) => {
                let mut state = ProducerState {
                    producer_epoch: header.producer_epoch,
                    batches: Vec::with_capacity(BATCHES_REMEMBERED),
                    last_timestamp: header.max_timestamp,
                    last_offset,
                    log_time: self.log_time,
                };
                state.remember(header);
                entry.insert(state);
                Before::Unknown
            }
            Entry::Occupied(mut entry) => {
                let state = entry.get_mut();
                self.recency.remove(&state.last_offset);
                let whole = state.producer_epoch != header.producer_epoch;
                let last = LastBatch {
                    timestamp: mem::replace(&mut state.last_timestamp, header.max_timestamp),
                    offset: mem::replace(&mut state.last_offset, last_offset),
                    log_time: mem::replace(&mut state.log_time, self.log_time),
                };
                if whole {
                    let epoch = mem::replace(&mut state.producer_epoch, header.producer_epoch);
                    let batches = mem::take(&mut state.batches);
                    state.remember(header);
                    Before::OtherEpoch(epoch, batches, last)
                } else {
                    Before::SameEpoch(state.remember(header), last)
                }
            }
        };
        self.recency.insert(last_offset, header.producer_id);
        before
    }

    /// Forgets the producers that are too old or too many, those that wrote least recently first. The log's
    /// clock never goes back, so they are also the oldest.
    fn expire(&mut self) -> Vec<(ProducerId, ProducerState)> {
        let mut expired = Vec::new();
        while let Some(oldest) = self.recency.first_entry() {
            let id = *oldest.get();
            let state = self
                .producers
                .get(&id)
                .expect("recency names producers of the table");
            let age_ms = self.log_time.0.saturating_sub(state.log_time.0);
            let many = self.producers.len() > self.expiry.kept_max;
            let old = self.producers.len() > self.expiry.kept_min && age_ms >= self.expiry.age_ms;
            // The last batch's own producer has age 0, and an `age_ms` of 0 must not forget it.
            if !many && (!old || self.producers.len() == 1) {
                break;
            }
            oldest.remove();
            expired.extend(self.producers.remove_entry(&id));
        }
        expired
    }

    /// Takes back the last batch.
    fn undo(&mut self, undo: Undo) {
        self.log_time = undo.log_time;
        // A batch never expires its own producer, so the two kinds of change do not meet.
        for (id, state) in undo.expired {
            self.recency.insert(state.last_offset, id);
            self.producers.insert(id, state);
        }
        let Some((id, before)) = undo.changed else {
            return;
        };
        let state = self
            .producers
            .get_mut(&id)
            .expect("a batch leaves its producer known");
        self.recency.remove(&state.last_offset);
        let last = match before {
            Before::Unknown => {
                self.producers.remove(&id);
                return;
            }
            Before::SameEpoch(remembered, last) => {
                state.forget(remembered);
                last
            }
            Before::OtherEpoch(epoch, batches, last) => {
                state.producer_epoch = epoch;
                state.batches = batches;
                last
            }
        };
        state.last_timestamp = last.timestamp;
        state.last_offset = last.offset;
        state.log_time = last.log_time;
        self.recency.insert(last.offset, id);
    }
}

impl ProducerState {
    /// Remembers a batch of its epoch, if it has sequences, in place of the oldest where there are too many.
    fn remember(&mut self, header: &BatchHeader) -> Remembered {
        if !has_sequence(header) {
            return Remembered::Nothing;
        }
        let dropped = (self.batches.len() == BATCHES_REMEMBERED).then(|| self.batches.remove(0));
        self.batches.push(ProducedBatch {
            base_sequence: header.base_sequence,
            last_sequence: last_sequence(header),
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            timestamp: header.max_timestamp,
        });
        Remembered::Batch { dropped }
    }

    /// Takes [`ProducerState::remember`] back.
    fn forget(&mut self, remembered: Remembered) {
        let Remembered::Batch { dropped } = remembered else {
            return;
        };
        self.batches.pop();
        if let Some(dropped) = dropped {
            self.batches.insert(0, dropped);
        }
    }
}

/// What one batch changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Undo {
    /// The log's clock before it.
    log_time: Timestamp,
    /// Its producer with what was known of it before.
    changed: Option<(ProducerId, Before)>,
    /// Those that it made the table forget.
    expired: Vec<(ProducerId, ProducerState)>,
}

/// What was known of a producer, as far as its next batch changed it: the common case takes no allocation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Before {
    Unknown,
    SameEpoch(Remembered, LastBatch),
    OtherEpoch(ProducerEpoch, Vec<ProducedBatch>, LastBatch),
}

/// What a batch did to the list of those that are remembered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Remembered {
    /// It has no sequences.
    Nothing,
    /// It is the last.
    Batch {
        /// The first, which it drove out.
        dropped: Option<ProducedBatch>,
    },
}

/// The fields of [`ProducerState`] that every batch moves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct LastBatch {
    timestamp: Timestamp,
    offset: Offset,
    log_time: Timestamp,
}

/// Producer state at the end of a log whose tail may still be truncated.
///
/// A batch is judged by all that is before it, committed or not, since the next one is sent before the last
/// is acknowledged. Each batch above the committed offset is kept with what it changed, so truncation takes
/// back batch after batch. `O(log n)` a batch in the number of producers; a batch without a producer costs a
/// comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProducerLog {
    /// The state at the end.
    table: ProducerTable,
    /// Below this offset, exclusive, nothing is truncated.
    committed: Offset,
    /// The batches from `committed` on, in order.
    pending: VecDeque<Pending>,
}

/// A batch that may still be truncated.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pending {
    base_offset: Offset,
    next_offset: Offset,
    undo: Undo,
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

    /// Takes the next batch of the log, whose offsets are assigned.
    ///
    /// # Panics
    /// Where it does not stand behind the last one.
    pub fn append(&mut self, header: &BatchHeader) {
        assert!(
            header.base_offset >= self.end_offset(),
            "batches are appended in order"
        );
        self.pending.push_back(Pending {
            base_offset: header.base_offset,
            next_offset: header.next_offset(),
            undo: self.table.apply_undoably(header),
        });
    }

    /// Batches below `offset`, exclusive, will not be truncated any more. An offset within a batch, behind the
    /// end, or below an earlier one does no harm: whole batches commit, and none is taken back.
    pub fn commit_to(&mut self, offset: Offset) {
        while let Some(first) = self.pending.front()
            && first.next_offset <= offset
        {
            self.committed = first.next_offset;
            self.pending.pop_front();
        }
    }

    /// Takes back every batch from `offset` on.
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
            self.table.undo(last.undo);
        }
    }

    /// The state at the end of the log.
    #[must_use]
    pub const fn table(&self) -> &ProducerTable {
        &self.table
    }

    /// The state behind the committed batches, and the offset it stands at: what a checkpoint or a follower's
    /// reset takes. Costs a copy of the table.
    #[must_use]
    pub fn committed(&self) -> (ProducerTable, Offset) {
        let mut table = self.table.clone();
        for pending in self.pending.iter().rev() {
            table.undo(pending.undo.clone());
        }
        (table, self.committed)
    }

    /// Takes a changed configuration; it tells from the next batch on.
    ///
    /// # Panics
    /// Where `expiry` would keep nobody.
    pub fn set_expiry(&mut self, expiry: Expiry) {
        self.table.set_expiry(expiry);
    }

    /// Where the next batch stands at the earliest.
    fn end_offset(&self) -> Offset {
        self.pending
            .back()
            .map_or(self.committed, |last| last.next_offset)
    }
}

/// Kafka's rules for a batch of an idempotent producer, given what is known of the producer.
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

// The order of recency follows from the states, so it is not encoded: bytes cannot contradict it.

impl Encode for ProducerTable {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.producers.encode(encoder)?;
        self.log_time.encode(encoder)?;
        self.expiry.encode(encoder)
    }
}

impl<Context> Decode<Context> for ProducerTable {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let producers: BTreeMap<ProducerId, ProducerState> = Decode::decode(decoder)?;
        let log_time = Decode::decode(decoder)?;
        let expiry: Expiry = Decode::decode(decoder)?;
        let recency: BTreeMap<_, _> = producers
            .iter()
            .map(|(&id, state)| (state.last_offset, id))
            .collect();
        if recency.len() != producers.len() {
            return Err(DecodeError::Other(
                "two producers cannot have written the same record",
            ));
        }
        if expiry.kept_max == 0 {
            return Err(DecodeError::Other("a producer table keeps somebody"));
        }
        Ok(Self {
            producers,
            recency,
            log_time,
            expiry,
        })
    }
}

impl<'de, Context> BorrowDecode<'de, Context> for ProducerTable {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

#[cfg(test)]
mod tests;
