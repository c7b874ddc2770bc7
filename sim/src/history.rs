//! What clients did and saw: the judge from outside.
//!
//! Every record carries a value of its own, so that what was sent, acknowledged and read can be told apart.
//! Some anomalies show at once (two values at one offset, a record read that nobody sent); the others are judged
//! when everything has been read at the end.

use std::collections::BTreeMap;

use varve_core::ids::{Offset, Timestamp, TopicPartition};

use crate::checkers::{Violation, show_partition};

/// Names a record by what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub u64);

/// What became of a record, as its producer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// No answer yet, and never one for `acks=0`.
    Unknown,
    /// Acknowledged at this offset.
    Acknowledged(Offset),
    /// Refused for good: it is in no log, unless an earlier try put it there.
    Refused,
}

/// What a client was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Nothing: `acks=0`.
    None,
    /// The leader has it: it may be lost with the leader.
    Leader,
    /// It survives.
    Committed,
}

/// One record.
#[derive(Clone, Copy, Debug)]
pub struct Produced {
    /// Which client.
    pub client: u8,
    /// Where to.
    pub partition: TopicPartition,
    /// Whether its producer is idempotent: then it is there once.
    pub idempotent: bool,
    /// What its acknowledgement means.
    pub promise: Promise,
    /// Its timestamp: its producer's, or the log's as the producer hears it.
    pub timestamp: Timestamp,
    /// What became of it.
    pub fate: Fate,
}

/// Everything that clients did and saw.
#[derive(Clone, Debug, Default)]
pub struct History {
    produced: Vec<Produced>,
    /// What has been read at each offset.
    read: BTreeMap<(TopicPartition, Offset), Value>,
    /// What has been acknowledged at each offset.
    acknowledged: BTreeMap<(TopicPartition, Offset), Value>,
    violation: Option<Violation>,
}

impl History {
    /// A record is about to be sent for the first time.
    pub fn produce(&mut self, produced: Produced) -> Value {
        self.produced.push(produced);
        Value(self.produced.len() as u64 - 1)
    }

    /// Records produced so far.
    #[must_use]
    pub fn produced(&self) -> &[Produced] {
        &self.produced
    }

    /// Records read so far.
    #[must_use]
    pub fn read_count(&self) -> usize {
        self.read.len()
    }

    /// What became of a record.
    #[must_use]
    pub fn fate(&self, value: Value) -> Option<Fate> {
        let place = usize::try_from(value.0).ok()?;
        self.produced.get(place).map(|produced| produced.fate)
    }

    /// Behind the last record of a partition that was acknowledged for good; 0 where none was.
    #[must_use]
    pub fn acknowledged_end(&self, partition: TopicPartition) -> Offset {
        let all = (partition, Offset(0))..=(partition, Offset(i64::MAX));
        let last = self.acknowledged.range(all).next_back();
        last.map_or(Offset(0), |((_, offset), _)| offset.plus(1))
    }

    /// The timestamps of the records of a partition that were acknowledged for good, by offset.
    #[must_use]
    pub fn stamps(&self, partition: TopicPartition) -> Vec<(Offset, Timestamp)> {
        let all = (partition, Offset(0))..=(partition, Offset(i64::MAX));
        let acknowledged = self.acknowledged.range(all);
        acknowledged
            .map(|((_, offset), value)| (*offset, self.record(*value).timestamp))
            .collect()
    }

    /// The timestamp of a record, if it was acknowledged for good.
    #[must_use]
    pub fn stamp_at(&self, partition: TopicPartition, offset: Offset) -> Option<Timestamp> {
        let value = self.acknowledged.get(&(partition, offset))?;
        Some(self.record(*value).timestamp)
    }

    /// A record's log has given it this timestamp.
    pub fn stamp(&mut self, value: Value, timestamp: Timestamp) {
        self.produced[place_of(value)].timestamp = timestamp;
    }

    fn record(&self, value: Value) -> &Produced {
        &self.produced[place_of(value)]
    }

    /// How many records were acknowledged.
    #[must_use]
    pub fn acknowledged_count(&self) -> usize {
        self.produced
            .iter()
            .filter(|produced| matches!(produced.fate, Fate::Acknowledged(_)))
            .count()
    }

    /// A record's producer hears of it.
    pub fn settle(&mut self, value: Value, fate: Fate) {
        let produced = &mut self.produced[place_of(value)];
        produced.fate = fate;
        let Fate::Acknowledged(offset) = fate else {
            return;
        };
        if produced.promise != Promise::Committed {
            return;
        }
        let partition = produced.partition;
        let known = *self
            .acknowledged
            .entry((partition, offset))
            .or_insert(value);
        if known != value {
            self.fail(
                "InconsistentOffsets",
                format!(
                    "records {} and {} were both acknowledged at {offset} of {}",
                    known.0,
                    value.0,
                    show_partition(partition)
                ),
            );
        }
    }

    /// A consumer has read a record.
    pub fn consume(&mut self, partition: TopicPartition, offset: Offset, value: Value) {
        let sent = usize::try_from(value.0)
            .ok()
            .and_then(|place| self.produced.get(place));
        if sent.is_none_or(|produced| produced.partition != partition) {
            self.fail(
                "ReadWhatWasSent",
                format!(
                    "a record {} was read at {offset} of {} where nobody sent it",
                    value.0,
                    show_partition(partition)
                ),
            );
        }
        let known = *self.read.entry((partition, offset)).or_insert(value);
        if known != value {
            self.fail(
                "InconsistentOffsets",
                format!(
                    "record {} and then record {} was read at {offset} of {}",
                    known.0,
                    value.0,
                    show_partition(partition)
                ),
            );
        }
    }

    /// Something is wrong from a client's point of view.
    pub fn fail(&mut self, checker: &'static str, what: String) {
        self.violation.get_or_insert(Violation { checker, what });
    }

    /// The first violation, once.
    pub fn take_violation(&mut self) -> Option<Violation> {
        self.violation.take()
    }

    /// Judges the whole, when everything has been read.
    ///
    /// # Errors
    /// The first property that does not hold.
    pub fn judge(&self) -> Result<(), Violation> {
        let violation = |checker, what| Err(Violation { checker, what });
        for ((partition, offset), value) in &self.acknowledged {
            match self.read.get(&(*partition, *offset)) {
                Some(read) if read == value => {}
                Some(read) => {
                    return violation(
                        "AcknowledgedRecordsSurvive",
                        format!(
                            "record {} was acknowledged at {offset} of {}, where record {} was read",
                            value.0,
                            show_partition(*partition),
                            read.0
                        ),
                    );
                }
                None => {
                    return violation(
                        "AcknowledgedRecordsSurvive",
                        format!(
                            "record {} was acknowledged at {offset} of {} and cannot be read",
                            value.0,
                            show_partition(*partition)
                        ),
                    );
                }
            }
        }
        let mut next: BTreeMap<TopicPartition, Offset> = BTreeMap::new();
        let mut latest: BTreeMap<(TopicPartition, u8), Value> = BTreeMap::new();
        let mut seen: BTreeMap<Value, Offset> = BTreeMap::new();
        for ((partition, offset), value) in &self.read {
            let expected = next.insert(*partition, offset.plus(1)).unwrap_or_default();
            if *offset != expected {
                return violation(
                    "OffsetsHaveNoGaps",
                    format!(
                        "{} has records at {} and at {offset} and none between",
                        show_partition(*partition),
                        expected.0 - 1
                    ),
                );
            }
            let produced = self.produced[usize::try_from(value.0).expect("checked when read")];
            if !produced.idempotent {
                continue;
            }
            if let Some(first) = seen.insert(*value, *offset) {
                return violation(
                    "ExactlyOnce",
                    format!(
                        "record {} of an idempotent producer is in {} twice, at {first} and {offset}",
                        value.0,
                        show_partition(*partition)
                    ),
                );
            }
            if let Some(before) = latest.insert((*partition, produced.client), *value)
                && before > *value
            {
                return violation(
                    "OrderKept",
                    format!(
                        "record {} was sent before record {} and stands behind it in {}",
                        value.0,
                        before.0,
                        show_partition(*partition)
                    ),
                );
            }
        }
        Ok(())
    }
}

/// The place of a record among those produced.
fn place_of(value: Value) -> usize {
    usize::try_from(value.0).expect("values count what is in memory")
}
