//! A consumer that reads its partitions by assignment, from the beginning, and now and then asks how far they reach.

use std::collections::BTreeMap;

use bytes::Bytes;
use varve_core::ids::{Offset, PartitionIndex, TopicId, TopicPartition};
use varve_core::record::Batch;
use varve_core::wire::fetch::{FetchPartition, FetchTopic, PartitionData};
use varve_core::wire::list_offsets::{LATEST_TIMESTAMP, ListOffsetsPartition, ListOffsetsTopic};
use varve_core::wire::{
    ErrorCode, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, Records,
    Request, Str,
};

use crate::client::backoff::Backoff;
use crate::client::{Client, ClientAction, Purpose, Work};
use crate::clock::SimTime;
use crate::history::{History, Value};

const FETCH_VERSION: i16 = 13;
const LIST_OFFSETS_VERSION: i16 = 7;
/// A consumer asks for the latest offsets after so many fetches.
const FETCHES_PER_LATEST: u64 = 16;

/// A consumer's state.
#[derive(Clone, Debug, Default)]
pub struct Consumer {
    positions: BTreeMap<i32, Offset>,
    /// High watermarks as last seen.
    high_watermarks: BTreeMap<i32, Offset>,
    /// Partitions whose last fetch has failed.
    backoffs: BTreeMap<i32, Backoff>,
    /// Fetches sent so far.
    fetches: u64,
    /// It names no leader epoch, as clients from before KIP-320: a former leader does not see from its request that there is
    /// a later one.
    knows_no_epochs: bool,
    /// It is to ask for the latest offsets as soon as it can.
    pub wants_latest: bool,
    /// Answers to that without an error, so far.
    pub latest_told: u64,
}

impl Consumer {
    /// A consumer that names no leader epoch.
    #[must_use]
    pub fn without_epochs() -> Self {
        Self {
            knows_no_epochs: true,
            ..Self::default()
        }
    }

    /// Whether it is time to fetch this partition.
    fn is_due(&self, partition: i32, now: SimTime) -> bool {
        self.backoffs
            .get(&partition)
            .is_none_or(|backoff| backoff.until() <= now)
    }

    /// When it has something to do by itself.
    pub(super) fn next_wake(&self, now: SimTime) -> Option<SimTime> {
        let waiting = self.backoffs.values().map(|backoff| backoff.until());
        waiting.filter(|&until| until > now).min()
    }

    /// The next offset of a partition.
    #[must_use]
    pub fn position(&self, partition: i32) -> Offset {
        self.positions.get(&partition).copied().unwrap_or_default()
    }

    /// The high watermark of a partition as last seen.
    #[must_use]
    pub fn high_watermark(&self, partition: i32) -> Offset {
        self.high_watermarks
            .get(&partition)
            .copied()
            .unwrap_or_default()
    }

    /// Takes what was fetched of a partition.
    fn take_data(
        &mut self,
        client: u8,
        topic: TopicId,
        data: &PartitionData,
        history: &mut History,
    ) {
        let partition = data.partition_index;
        let name = TopicPartition {
            topic,
            partition: PartitionIndex(partition),
        };
        self.high_watermarks
            .insert(partition, Offset(data.high_watermark));
        let mut bytes = data
            .records
            .as_ref()
            .map_or(Bytes::new(), Records::to_bytes);
        while let Ok(batch) = Batch::split_from(&mut bytes) {
            let position = self.position(partition);
            let next = batch.header.next_offset();
            if next <= position {
                continue;
            }
            if next.0 > data.high_watermark {
                history.fail(
                    "ReadsStopAtHighWatermark",
                    format!(
                        "c{client} was given offset {} of partition {partition}, behind the high watermark {}",
                        batch.header.last_offset(),
                        data.high_watermark
                    ),
                );
            }
            if let Err(what) = consume(&batch, position, name, history) {
                history.fail("BatchesAreSound", format!("c{client}: {what}"));
            }
            self.positions.insert(partition, next);
        }
    }
}

impl Client {
    pub(super) fn pump_consumer(&mut self, now: SimTime, actions: &mut Vec<ClientAction>) {
        let Some(known) = self.known.clone() else {
            return;
        };
        for (leader, partitions) in known.by_leader() {
            if self.is_waiting_for(leader, &Purpose::Fetch) {
                continue;
            }
            let Work::Consume(consumer) = &self.work else {
                return;
            };
            let due: Vec<i32> = partitions
                .into_iter()
                .filter(|&partition| consumer.is_due(partition, now))
                .collect();
            if due.is_empty() {
                continue;
            }
            let request = FetchRequest {
                max_wait_ms: 300,
                min_bytes: 1,
                max_bytes: 64 << 10,
                topics: vec![FetchTopic {
                    topic: Str::default(),
                    topic_id: known.topic,
                    partitions: due
                        .iter()
                        .map(|&partition| FetchPartition {
                            partition,
                            current_leader_epoch: if consumer.knows_no_epochs {
                                -1
                            } else {
                                known.leaders[&partition].1
                            },
                            fetch_offset: consumer.position(partition).0,
                            partition_max_bytes: 16 << 10,
                            ..FetchPartition::default()
                        })
                        .collect(),
                }],
                ..FetchRequest::default()
            };
            let sent = self.call(
                now,
                leader,
                Purpose::Fetch,
                FETCH_VERSION,
                Request::Fetch(request),
                actions,
            );
            if !sent && !self.links.contains_key(&leader) {
                self.want_metadata(now);
            }
            if sent && let Work::Consume(consumer) = &mut self.work {
                consumer.fetches += 1;
                consumer.wants_latest |= consumer.fetches.is_multiple_of(FETCHES_PER_LATEST);
            }
        }
    }

    /// Asks every leader for the latest offsets, where that is wanted and all of them can be asked.
    pub(super) fn ask_latest(
        &mut self,
        now: SimTime,
        history: &History,
        actions: &mut Vec<ClientAction>,
    ) {
        let Work::Consume(consumer) = &mut self.work else {
            return;
        };
        if !consumer.wants_latest {
            return;
        }
        let Some(known) = self.known.clone() else {
            return;
        };
        let up = |(leader, _): &(u8, i32)| self.links.get(leader).is_some_and(|link| link.up);
        if !known.leaders.values().all(up) {
            return;
        }
        consumer.wants_latest = false;
        for (leader, partitions) in known.by_leader() {
            let asked = |&partition: &i32| ListOffsetsPartition {
                partition_index: partition,
                timestamp: LATEST_TIMESTAMP,
                ..ListOffsetsPartition::default()
            };
            let request = ListOffsetsRequest {
                topics: vec![ListOffsetsTopic {
                    name: Str::from(&self.topic),
                    partitions: partitions.iter().map(asked).collect(),
                }],
                ..ListOffsetsRequest::default()
            };
            let floor = |&index: &i32| {
                let partition = TopicPartition {
                    topic: known.topic,
                    partition: PartitionIndex(index),
                };
                (index, history.acknowledged_end(partition))
            };
            self.call(
                now,
                leader,
                Purpose::Latest(partitions.iter().map(floor).collect()),
                LIST_OFFSETS_VERSION,
                Request::ListOffsets(request),
                actions,
            );
        }
    }

    /// The latest offsets, as a leader tells them: not below what was acknowledged before it was asked.
    pub(super) fn on_latest(
        &mut self,
        floors: &BTreeMap<i32, Offset>,
        response: &ListOffsetsResponse,
        history: &mut History,
    ) {
        let Work::Consume(consumer) = &mut self.work else {
            return;
        };
        for data in response.topics.iter().flat_map(|topic| &topic.partitions) {
            if data.error_code != ErrorCode::None {
                self.setbacks += 1;
                continue;
            }
            consumer.latest_told += 1;
            let floor = floors.get(&data.partition_index).copied();
            if let Some(floor) = floor.filter(|floor| data.offset < floor.0) {
                history.fail(
                    "LatestIsLatest",
                    format!(
                        "c{} was told that partition {} ends at {}, when {floor} had been acknowledged before it asked",
                        self.number, data.partition_index, data.offset
                    ),
                );
            }
        }
    }

    pub(super) fn on_fetched(
        &mut self,
        now: SimTime,
        response: &FetchResponse,
        history: &mut History,
    ) {
        let Some(topic) = self.topic_id() else {
            return;
        };
        let mut draw = self.draw();
        let mut failed = response.error_code != ErrorCode::None;
        let number = self.number;
        let Work::Consume(consumer) = &mut self.work else {
            return;
        };
        let topics = response.responses.iter();
        for data in topics.flat_map(|topic| &topic.partitions) {
            let backoff = consumer.backoffs.entry(data.partition_index).or_default();
            if data.error_code == ErrorCode::None {
                backoff.succeeded();
                consumer.take_data(number, topic, data, history);
            } else if data.error_code == ErrorCode::OffsetOutOfRange {
                history.fail(
                    "PositionsStayInRange",
                    format!(
                        "c{number} has read partition {} up to {} and is told that this is out of range",
                        data.partition_index,
                        consumer.position(data.partition_index)
                    ),
                );
            } else {
                failed = true;
                backoff.failed(now, &mut draw);
            }
        }
        if failed {
            self.setbacks += 1;
            self.want_metadata(now);
        }
    }
}

/// Reads a batch's records from `position` on.
fn consume(
    batch: &Batch,
    position: Offset,
    partition: TopicPartition,
    history: &mut History,
) -> Result<(), String> {
    batch.verify().map_err(|error| error.to_string())?;
    let records = batch.records(1 << 20).map_err(|error| error.to_string())?;
    for record in records {
        let record = record.map_err(|error| error.to_string())?;
        if record.offset < position {
            continue;
        }
        let value = record
            .value
            .as_ref()
            .and_then(|value| value.first_chunk::<8>())
            .map(|value| Value(u64::from_be_bytes(*value)))
            .ok_or("a record without a value")?;
        history.consume(partition, record.offset, value);
    }
    Ok(())
}
