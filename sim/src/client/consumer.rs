//! A consumer that reads its partitions by assignment, from the beginning, and now and then asks how far they reach.

use std::collections::BTreeMap;

use bytes::Bytes;
use varve_core::ids::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicPartition};
use varve_core::record::Batch;
use varve_core::wire::fetch::{FetchPartition, FetchTopic, PartitionData};
use varve_core::wire::{ErrorCode, FetchRequest, FetchResponse, Records, Request, Response, Str};

use crate::checkers::show_partition;
use crate::client::backoff::Backoff;
use crate::client::network_client::by_topic;
use crate::client::offset_queries::{Floor, on_epoch_ends, on_offsets};
use crate::client::{ClientAction, ClusterMetadata, NetworkClient, OffsetQuery, Work};
use crate::clock::SimTime;
use crate::draw::Draw;
use crate::history::{History, Value};

const FETCH_VERSION: i16 = 13;
/// A consumer asks for offsets after so many fetches.
const FETCHES_PER_QUERY: u64 = 16;

/// A consumer's state.
#[derive(Clone, Debug, Default)]
pub struct Consumer {
    positions: BTreeMap<TopicPartition, Offset>,
    /// Of which epoch the last record was that has been read.
    epochs: BTreeMap<TopicPartition, LeaderEpoch>,
    /// High watermarks as last seen.
    high_watermarks: BTreeMap<TopicPartition, Offset>,
    /// Partitions whose last fetch has failed.
    backoffs: BTreeMap<TopicPartition, Backoff>,
    /// What has been asked and not been answered.
    pub(super) calls: BTreeMap<u64, Purpose>,
    /// Fetches sent so far.
    fetches: u64,
    /// It names no leader epoch, as clients from before KIP-320: a former leader does not see from its request that there is
    /// a later one.
    knows_no_epochs: bool,
    /// It names in its fetches of which epoch the last record was that it has read.
    pub names_last_epoch: bool,
    /// It begins where no log reaches, and is to be told that this is out of range.
    beyond: bool,
    /// How often it has been.
    pub out_of_range_told: u64,
    /// What it is to ask as soon as it can.
    pub wants: Option<OffsetQuery>,
}

/// What a call is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Records, from this node.
    Fetch(u8),
    /// With the least that may be answered, by partition.
    Offsets(OffsetQuery, BTreeMap<TopicPartition, Floor>),
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

    /// A consumer whose positions in these partitions are beyond the end of any log.
    #[must_use]
    pub fn beyond(partitions: &[TopicPartition]) -> Self {
        let position = |&partition: &TopicPartition| (partition, Offset(1 << 40));
        Self {
            positions: partitions.iter().map(position).collect(),
            beyond: true,
            ..Self::default()
        }
    }

    /// How far it has read a partition, and of which epoch the last record was; `None` where it has read nothing.
    pub(super) fn has_read(&self, partition: TopicPartition) -> Option<(Offset, LeaderEpoch)> {
        let epoch = self.epochs.get(&partition)?;
        Some((self.position(partition), *epoch))
    }

    /// The current leader epoch that it names, where it knows this one.
    pub(super) const fn named_epoch(&self, known: i32) -> i32 {
        if self.knows_no_epochs { -1 } else { known }
    }

    /// Whether it is time to fetch this partition.
    fn is_due(&self, partition: TopicPartition, now: SimTime) -> bool {
        self.backoffs
            .get(&partition)
            .is_none_or(|backoff| backoff.until() <= now)
    }

    /// The next offset of a partition.
    #[must_use]
    pub fn position(&self, partition: TopicPartition) -> Offset {
        self.positions.get(&partition).copied().unwrap_or_default()
    }

    /// The high watermark of a partition as last seen.
    #[must_use]
    pub fn high_watermark(&self, partition: TopicPartition) -> Offset {
        self.high_watermarks
            .get(&partition)
            .copied()
            .unwrap_or_default()
    }

    /// Takes what was fetched of a partition.
    fn take_data(
        &mut self,
        client: u8,
        partition: TopicPartition,
        data: &PartitionData,
        history: &mut History,
    ) {
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
                        "c{client} was given offset {} of {}, behind the high watermark {}",
                        batch.header.last_offset(),
                        show_partition(partition),
                        data.high_watermark
                    ),
                );
            }
            if let Err(what) = consume(&batch, position, partition, history) {
                history.fail("BatchesAreSound", format!("c{client}: {what}"));
            }
            self.positions.insert(partition, next);
            self.epochs.insert(partition, batch.header.leader_epoch);
        }
    }

    /// Asks every leader for what is due, unless it has been asked and has not answered.
    fn fetch(
        &mut self,
        now: SimTime,
        network: &mut NetworkClient,
        actions: &mut Vec<ClientAction>,
    ) {
        let metadata = network.metadata().clone();
        for (leader, partitions) in metadata.by_leader() {
            let purpose = Purpose::Fetch(leader);
            if self.calls.values().any(|it| *it == purpose) {
                continue;
            }
            let due: Vec<TopicPartition> = partitions
                .into_iter()
                .filter(|&partition| self.is_due(partition, now))
                .collect();
            if due.is_empty() {
                continue;
            }
            let request = Request::Fetch(self.fetch_request(&metadata, due));
            let call = network.call_leader(now, leader, FETCH_VERSION, request, actions);
            if let Some(call) = call {
                self.calls.insert(call, purpose);
                self.fetches += 1;
                if self.fetches.is_multiple_of(FETCHES_PER_QUERY) {
                    let asked = self.fetches / FETCHES_PER_QUERY;
                    let place = usize::try_from(asked).unwrap_or_default() % OffsetQuery::ALL.len();
                    self.wants = Some(OffsetQuery::ALL[place]);
                }
            }
        }
    }

    fn fetch_request(&self, metadata: &ClusterMetadata, due: Vec<TopicPartition>) -> FetchRequest {
        let partition = |&partition: &TopicPartition| FetchPartition {
            partition: partition.partition.0,
            current_leader_epoch: self.named_epoch(metadata.leaders[&partition].1),
            fetch_offset: self.position(partition).0,
            last_fetched_epoch: self
                .epochs
                .get(&partition)
                .filter(|_| self.names_last_epoch)
                .map_or(-1, |epoch| epoch.0),
            partition_max_bytes: 16 << 10,
            ..FetchPartition::default()
        };
        let topic = |(topic_id, partitions): (TopicId, Vec<TopicPartition>)| FetchTopic {
            topic: Str::default(),
            topic_id,
            partitions: partitions.iter().map(partition).collect(),
        };
        FetchRequest {
            max_wait_ms: 300,
            min_bytes: 1,
            max_bytes: 64 << 10,
            topics: by_topic(due).into_iter().map(topic).collect(),
            ..FetchRequest::default()
        }
    }

    fn on_fetched(
        &mut self,
        now: SimTime,
        response: &FetchResponse,
        network: &mut NetworkClient,
        history: &mut History,
    ) {
        let mut draw = network.draw();
        let mut failed = response.error_code != ErrorCode::None;
        let number = network.number;
        let fetched = response.responses.iter().flat_map(|topic| {
            let name = |data: &PartitionData| TopicPartition {
                topic: topic.topic_id,
                partition: PartitionIndex(data.partition_index),
            };
            topic.partitions.iter().map(move |data| (name(data), data))
        });
        for (partition, data) in fetched {
            let backoff = self.backoffs.entry(partition).or_default();
            let is_cut = data.diverging_epoch.epoch >= 0;
            if data.error_code == ErrorCode::None && !is_cut {
                backoff.succeeded();
                self.take_data(number, partition, data, history);
            } else if data.error_code == ErrorCode::OffsetOutOfRange && self.beyond {
                self.out_of_range_told += 1;
                backoff.failed(now, &mut draw);
            } else if is_cut || data.error_code == ErrorCode::OffsetOutOfRange {
                history.fail(
                    "PositionsStayInRange",
                    format!(
                        "c{number} has read {} up to {} and is told that this is out of range or was cut",
                        show_partition(partition),
                        self.position(partition)
                    ),
                );
            } else {
                failed = true;
                backoff.failed(now, &mut draw);
            }
        }
        if failed {
            network.want_metadata(now);
        }
    }
}

impl Work for Consumer {
    fn pump(
        &mut self,
        now: SimTime,
        network: &mut NetworkClient,
        history: &mut History,
        actions: &mut Vec<ClientAction>,
    ) {
        self.query_offsets(now, network, history, actions);
        self.fetch(now, network, actions);
    }

    fn on_response(
        &mut self,
        now: SimTime,
        call: u64,
        response: Response,
        network: &mut NetworkClient,
        history: &mut History,
    ) {
        let purpose = self.calls.remove(&call).expect("it has made the call");
        match (purpose, response) {
            (Purpose::Fetch(_), Response::Fetch(response)) => {
                self.on_fetched(now, &response, network, history);
            }
            (Purpose::Offsets(query, floors), Response::ListOffsets(response)) => {
                on_offsets(query, &floors, &response, network, history);
            }
            (Purpose::Offsets(_, floors), Response::OffsetForLeaderEpoch(response)) => {
                on_epoch_ends(&floors, &response, network, history);
            }
            (purpose, response) => network.refuse_answer(purpose, &response, history),
        }
    }

    fn on_failure(&mut self, _now: SimTime, call: u64, _draw: &mut Draw) {
        self.calls.remove(&call);
    }

    fn next_wake(&self, now: SimTime) -> Option<SimTime> {
        let waiting = self.backoffs.values().map(|backoff| backoff.until());
        waiting.filter(|&until| until > now).min()
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
