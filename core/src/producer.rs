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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::LeaderEpoch;

    const CONTROL_AND_TRANSACTIONAL: i16 = 0x30;

    /// `records` records of a producer, at `base_offset`, in the same second for all.
    fn batch(
        producer_id: i64,
        producer_epoch: i16,
        base_sequence: i32,
        base_offset: i64,
        records: i32,
    ) -> BatchHeader {
        BatchHeader {
            base_offset: Offset(base_offset),
            body_length: 100,
            leader_epoch: LeaderEpoch(1),
            crc: 0,
            attributes: 0,
            last_offset_delta: records - 1,
            base_timestamp: Timestamp(1000),
            max_timestamp: Timestamp(1000),
            producer_id: ProducerId(producer_id),
            producer_epoch: ProducerEpoch(producer_epoch),
            base_sequence,
            record_count: records,
        }
    }

    fn at(mut header: BatchHeader, timestamp: i64) -> BatchHeader {
        header.max_timestamp = Timestamp(timestamp);
        header
    }

    fn marker(producer_id: i64, producer_epoch: i16, base_offset: i64) -> BatchHeader {
        let mut header = batch(producer_id, producer_epoch, -1, base_offset, 1);
        header.attributes = CONTROL_AND_TRANSACTIONAL;
        header
    }

    fn table_of<'a>(
        expiry: Expiry,
        headers: impl IntoIterator<Item = &'a BatchHeader>,
    ) -> ProducerTable {
        let mut table = ProducerTable::new(expiry);
        for header in headers {
            table.apply(header);
        }
        table
    }

    fn after(headers: &[BatchHeader]) -> ProducerTable {
        table_of(Expiry::default(), headers)
    }

    #[test]
    fn a_batch_without_a_producer_is_always_in_order_and_leaves_nobody_known() {
        let header = batch(-1, -1, -1, 0, 3);
        let table = after(&[header]);
        assert!(table.is_empty());
        assert_eq!(table.check(&header), SequenceCheck::InOrder);
    }

    #[test]
    fn an_unknown_producer_may_start_at_any_epoch_and_sequence() {
        let table = after(&[batch(1, 0, 0, 0, 1)]);
        assert_eq!(
            table.check(&batch(2, 7, 4711, 1, 1)),
            SequenceCheck::InOrder
        );
    }

    #[test]
    fn the_next_batch_starts_where_the_last_one_ended() {
        let table = after(&[batch(1, 0, 10, 0, 3)]);
        assert_eq!(table.check(&batch(1, 0, 13, 3, 1)), SequenceCheck::InOrder);
        let expected = SequenceCheck::OutOfOrder { expected: 13 };
        assert_eq!(table.check(&batch(1, 0, 14, 3, 1)), expected);
        assert_eq!(table.check(&batch(1, 0, 12, 3, 1)), expected);
        assert_eq!(table.check(&batch(1, 0, 0, 3, 1)), expected);
    }

    #[test]
    fn each_of_the_last_five_batches_is_known_as_a_duplicate_with_its_offsets() {
        let log: Vec<_> = (0..6)
            .map(|n| batch(1, 0, 2 * n, 100 + 2 * i64::from(n), 2))
            .collect();
        let table = after(&log);
        for header in &log[1..] {
            let SequenceCheck::Duplicate(original) = table.check(header) else {
                panic!("{header:?} is in the log");
            };
            assert_eq!(original.base_offset, header.base_offset);
            assert_eq!(original.last_offset, header.last_offset());
        }
        assert_eq!(
            table.check(&log[0]),
            SequenceCheck::OutOfOrder { expected: 12 },
            "the sixth from the end is not remembered"
        );
    }

    #[test]
    fn a_batch_that_only_overlaps_a_remembered_one_is_out_of_order() {
        let table = after(&[batch(1, 0, 0, 0, 4)]);
        assert_eq!(
            table.check(&batch(1, 0, 0, 4, 3)),
            SequenceCheck::OutOfOrder { expected: 4 }
        );
    }

    #[test]
    fn sequences_wrap_from_the_greatest_to_zero() {
        let table = after(&[batch(1, 0, i32::MAX, 0, 1)]);
        assert_eq!(table.check(&batch(1, 0, 0, 1, 1)), SequenceCheck::InOrder);

        let across = batch(1, 0, i32::MAX - 1, 0, 5);
        let table = after(&[across]);
        let original = table.get(ProducerId(1)).expect("it wrote").batches[0];
        assert_eq!(original.last_sequence, 2);
        assert_eq!(table.check(&across), SequenceCheck::Duplicate(original));
        assert_eq!(table.check(&batch(1, 0, 3, 5, 1)), SequenceCheck::InOrder);
    }

    #[test]
    fn a_newer_epoch_starts_at_zero_and_forgets_the_older_batches() {
        let old = batch(1, 0, 0, 0, 1);
        let mut table = after(&[old]);
        assert_eq!(
            table.check(&batch(1, 1, 1, 1, 1)),
            SequenceCheck::OutOfOrder { expected: 0 }
        );
        let new = batch(1, 1, 0, 1, 1);
        assert_eq!(table.check(&new), SequenceCheck::InOrder);
        table.apply(&new);
        assert_eq!(table.get(ProducerId(1)).expect("it wrote").batches.len(), 1);
        assert_eq!(table.check(&old), SequenceCheck::Fenced);
    }

    #[test]
    fn an_epoch_known_by_a_control_batch_alone_starts_at_zero() {
        let table = after(&[marker(1, 3, 0)]);
        assert_eq!(table.check(&batch(1, 3, 0, 1, 1)), SequenceCheck::InOrder);
        assert_eq!(
            table.check(&batch(1, 3, 8, 1, 1)),
            SequenceCheck::OutOfOrder { expected: 0 }
        );
        assert_eq!(table.check(&batch(1, 2, 0, 1, 1)), SequenceCheck::Fenced);
    }

    #[test]
    fn a_control_batch_keeps_the_sequences_of_its_epoch_and_fences_older_ones() {
        let table = after(&[batch(1, 3, 0, 0, 2), marker(1, 3, 2)]);
        assert_eq!(table.check(&batch(1, 3, 2, 3, 1)), SequenceCheck::InOrder);
        assert_eq!(table.check(&marker(1, 3, 3)), SequenceCheck::InOrder);
        assert_eq!(table.check(&marker(1, 2, 3)), SequenceCheck::Fenced);
    }

    const SMALL: Expiry = Expiry {
        age_ms: 100,
        kept_min: 1,
        kept_max: 3,
    };

    #[test]
    fn a_producer_is_forgotten_once_the_logs_clock_is_past_its_age() {
        let first = at(batch(1, 0, 0, 0, 1), 1000);
        let table = table_of(SMALL, [&first, &at(batch(2, 0, 0, 1, 1), 1099)]);
        assert_eq!(table.len(), 2);
        let table = table_of(SMALL, [&first, &at(batch(2, 0, 0, 1, 1), 1100)]);
        assert_eq!(table.get(ProducerId(1)), None);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn batches_without_a_producer_move_the_logs_clock_too() {
        let log = [
            at(batch(1, 0, 0, 0, 1), 1000),
            at(batch(2, 0, 0, 1, 1), 1000),
            at(batch(-1, -1, -1, 2, 1), 1100),
        ];
        assert_eq!(table_of(SMALL, &log).len(), 1);
    }

    #[test]
    fn a_producer_of_old_timestamps_is_as_young_as_its_last_batch() {
        let log = [
            at(batch(1, 0, 0, 0, 1), 1_000_000),
            at(batch(2, 0, 0, 1, 1), 5),
            at(batch(1, 0, 1, 2, 1), 1_000_099),
        ];
        let table = table_of(SMALL, &log);
        assert!(matches!(
            table.check(&log[1]),
            SequenceCheck::Duplicate(original) if original.timestamp == Timestamp(5)
        ));
    }

    #[test]
    fn a_jump_in_the_timestamps_does_not_make_a_retry_a_new_batch() {
        let first = at(batch(1, 0, 0, 0, 1), 0);
        let jump = at(batch(2, 0, 0, 1, 1), i64::MAX);
        assert!(matches!(
            after(&[first, jump]).check(&first),
            SequenceCheck::Duplicate(_)
        ));
    }

    #[test]
    fn a_flood_of_producers_costs_bounded_memory_and_forgets_who_wrote_least_recently() {
        let mut log: Vec<_> = (0..3).map(|id| batch(id, 0, 0, id, 1)).collect();
        log.push(batch(0, 0, 1, 3, 1));
        log.push(batch(9, 0, 0, 4, 1));
        let table = table_of(SMALL, &log);
        let ids: Vec<_> = table.iter().map(|(id, _)| id.0).collect();
        assert_eq!(ids, [0, 2, 9]);
    }

    #[test]
    fn an_uncommitted_batch_is_a_duplicate_until_it_is_truncated() {
        let mut log = ProducerLog::default();
        let (first, second) = (batch(1, 0, 0, 0, 1), batch(1, 0, 1, 1, 1));
        log.append(&first);
        log.commit_to(Offset(1));
        log.append(&second);
        assert!(matches!(log.check(&second), SequenceCheck::Duplicate(_)));
        log.truncate_to(Offset(1));
        assert_eq!(log.check(&second), SequenceCheck::InOrder);
        assert!(matches!(log.check(&first), SequenceCheck::Duplicate(_)));
    }

    #[test]
    fn committing_within_a_batch_or_behind_the_end_takes_whole_batches() {
        let mut log = ProducerLog::default();
        log.append(&batch(1, 0, 0, 0, 3));
        log.commit_to(Offset(2));
        assert_eq!(log.committed(), (ProducerTable::default(), Offset(0)));
        log.commit_to(Offset(900));
        assert_eq!(log.committed().1, Offset(3));
        log.append(&batch(1, 0, 3, 3, 1));
        log.truncate_to(Offset(3));
    }

    #[test]
    #[should_panic(expected = "what is committed is never truncated")]
    fn truncating_what_is_committed_is_a_bug() {
        let mut log = ProducerLog::default();
        log.append(&batch(1, 0, 0, 0, 3));
        log.commit_to(Offset(3));
        log.truncate_to(Offset(0));
    }

    fn round_trip(table: &ProducerTable) -> ProducerTable {
        let config = bincode::config::standard();
        let bytes = bincode::encode_to_vec(table, config).expect("memory takes all");
        let (decoded, read) =
            bincode::decode_from_slice(&bytes, config).expect("it was just encoded");
        assert_eq!(read, bytes.len());
        decoded
    }

    /// What happens to a log.
    #[derive(Clone, Debug)]
    enum Step {
        /// Few producers, so that they meet; timestamps that jump, so that some expire.
        Append {
            producer_id: i64,
            producer_epoch: i16,
            base_sequence: i32,
            records: i32,
            timestamp: i64,
        },
        /// To the end of the batch at this share of the uncommitted ones.
        Commit(u8),
        /// To the start of the batch at this share of the uncommitted ones.
        Truncate(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (-1..6_i64, 0..2_i16, -1..4_i32, 1..4_i32, -1..400_i64).prop_map(
                |(producer_id, producer_epoch, base_sequence, records, timestamp)| Step::Append {
                    producer_id,
                    producer_epoch,
                    base_sequence,
                    records,
                    timestamp,
                }
            ),
            1 => any::<u8>().prop_map(Step::Commit),
            1 => any::<u8>().prop_map(Step::Truncate),
        ]
    }

    proptest! {
        /// The model: the headers that are in the log, and a table made of nothing else.
        #[test]
        fn producer_state_is_a_function_of_the_log_prefix(
            steps in prop::collection::vec(step(), 0..60),
        ) {
            let mut log = ProducerLog::new(ProducerTable::new(SMALL), Offset(0));
            let mut headers: Vec<BatchHeader> = Vec::new();
            let mut committed = 0;
            for step in steps {
                let share =
                    |share: u8, headers: &[BatchHeader]| usize::from(share) * (headers.len() - committed) / 255;
                match step {
                    Step::Append { producer_id, producer_epoch, base_sequence, records, timestamp } => {
                        let end = headers.last().map_or(Offset(0), BatchHeader::next_offset);
                        let header = at(
                            batch(producer_id, producer_epoch, base_sequence, end.0, records),
                            timestamp,
                        );
                        log.append(&header);
                        headers.push(header);
                    }
                    Step::Commit(part) => {
                        committed += share(part, &headers);
                        if let Some(last) = committed.checked_sub(1) {
                            log.commit_to(headers[last].next_offset());
                        }
                    }
                    Step::Truncate(part) => {
                        let kept = committed + share(part, &headers);
                        if let Some(first) = headers.get(kept) {
                            log.truncate_to(first.base_offset);
                        }
                        headers.truncate(kept);
                    }
                }
                let prefix = table_of(SMALL, &headers);
                prop_assert_eq!(log.table(), &prefix);
                prop_assert!(prefix.len() <= SMALL.kept_max);
                prop_assert_eq!(log.committed().0, table_of(SMALL, &headers[..committed]));
                prop_assert_eq!(round_trip(&prefix), prefix);
            }
        }
    }
}
