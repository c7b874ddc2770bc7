//! Idempotent producers: what a partition remembers of each producer id.
//!
//! Producer state is a *function of the log prefix*: [`ProducerTable::apply`] takes the headers of the log in
//! order and nothing else, so truncation rolls it back by taking an earlier table and applying again, and
//! every replica arrives at the same table. Source: Kafka's `ProducerStateManager` and `ProducerStateEntry`.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use crate::ids::{Offset, ProducerEpoch, ProducerId, Timestamp};
use crate::record::BatchHeader;

/// How many batches of a producer are remembered, as in Kafka: what a client may have in flight.
pub const BATCHES_REMEMBERED: usize = 5;

/// Producer state of one partition at one offset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub struct ProducerTable {
    producers: BTreeMap<ProducerId, ProducerState>,
}

/// What is remembered of one producer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct ProducerState {
    /// The highest epoch seen.
    pub producer_epoch: ProducerEpoch,
    /// Its last batches in this epoch, oldest first, [`BATCHES_REMEMBERED`] at most.
    pub batches: Vec<ProducedBatch>,
    /// Timestamp of the last batch, for expiry.
    pub last_timestamp: Timestamp,
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
    /// There is a gap, or it is older than what is remembered.
    OutOfOrder {
        /// The sequence that would be in order.
        expected: i32,
    },
    /// Of an epoch that is over.
    Fenced,
}

impl ProducerTable {
    /// Judges a batch against the state, whose `later` entries (not yet committed) come from the caller's overlay.
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

    /// Takes the next batch of the log.
    pub fn apply(&mut self, header: &BatchHeader) {
        if header.producer_id == ProducerId::NONE {
            return;
        }
        let state = self
            .producers
            .entry(header.producer_id)
            .or_insert_with(|| ProducerState {
                producer_epoch: header.producer_epoch,
                batches: Vec::new(),
                last_timestamp: header.max_timestamp,
            });
        if state.producer_epoch != header.producer_epoch {
            state.producer_epoch = header.producer_epoch;
            state.batches.clear();
        }
        state.last_timestamp = header.max_timestamp;
        if header.base_sequence < 0 {
            return; // a control batch: an epoch, but no sequence
        }
        if state.batches.len() == BATCHES_REMEMBERED {
            state.batches.remove(0);
        }
        state.batches.push(ProducedBatch {
            base_sequence: header.base_sequence,
            last_sequence: last_sequence(header),
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            timestamp: header.max_timestamp,
        });
    }
}

/// Kafka's rules for a batch of an idempotent producer, given what is known of the producer.
fn check_state(state: Option<&ProducerState>, header: &BatchHeader) -> SequenceCheck {
    if header.producer_id == ProducerId::NONE {
        return SequenceCheck::InOrder;
    }
    // A producer that the partition does not know (any more) may start anywhere: its state may have expired.
    let Some(state) = state else {
        return SequenceCheck::InOrder;
    };
    if header.producer_epoch < state.producer_epoch {
        return SequenceCheck::Fenced;
    }
    if header.producer_epoch > state.producer_epoch {
        return if header.base_sequence == 0 {
            SequenceCheck::InOrder
        } else {
            SequenceCheck::OutOfOrder { expected: 0 }
        };
    }
    let last_sequence = last_sequence(header);
    let same = |batch: &&ProducedBatch| {
        batch.base_sequence == header.base_sequence && batch.last_sequence == last_sequence
    };
    if let Some(batch) = state.batches.iter().find(same) {
        return SequenceCheck::Duplicate(*batch);
    }
    let Some(last) = state.batches.last() else {
        return SequenceCheck::InOrder;
    };
    let expected = sequence_after(last.last_sequence, 1);
    if header.base_sequence == expected {
        SequenceCheck::InOrder
    } else {
        SequenceCheck::OutOfOrder { expected }
    }
}

fn last_sequence(header: &BatchHeader) -> i32 {
    sequence_after(header.base_sequence, header.last_offset_delta)
}

/// Sequences count from 0 to `i32::MAX` and begin again.
const fn sequence_after(sequence: i32, n: i32) -> i32 {
    ((sequence as i64 + n as i64) & i32::MAX as i64) as i32
}
