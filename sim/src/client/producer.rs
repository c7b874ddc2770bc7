//! A producer that retries, idempotent or not: its batches, in order, and what becomes of them.
//!
//! Which batch may be under way beside which other is decided here; whom to send it to is what the [`NetworkClient`] knows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use varve_core::ids::{Offset, ProducerEpoch, ProducerId, Timestamp, TopicPartition};
use varve_core::record::{BatchBuilder, Compression};
use varve_core::wire::produce::{PartitionProduceData, TopicProduceData};
use varve_core::wire::{
    ErrorCode, InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse,
    Records, Request, Response, Str,
};

use crate::checkers::show_partition;
use crate::client::backoff::Backoff;
use crate::client::{ClientAction, NetworkClient, Work};
use crate::clock::SimTime;
use crate::draw::Draw;
use crate::history::{Fate, History, Produced, Promise, Value};

const PRODUCE_VERSION: i16 = 13;
const INIT_PRODUCER_ID_VERSION: i16 = 4;

/// A producer's settings and state.
#[derive(Clone, Debug)]
pub struct Producer {
    /// Kafka's `enable.idempotence`.
    pub idempotent: bool,
    /// 0, 1 or -1.
    pub acks: i16,
    /// Batches of one partition that may be under way at once.
    pub in_flight_max: usize,
    /// Mean time between two batches.
    pub interval_mean: Duration,
    /// Records of a batch, at most.
    pub records_max: u64,
    /// Bytes of padding of a record, at most.
    pub padding_max: u64,
    /// Batches still to be made; the cluster's run sets it to 0 when it is time to stop.
    pub batches_left: u64,
    /// Give a batch up after its first answer instead of trying again: for scenarios.
    pub retries: bool,
    /// Kafka's `request.timeout.ms`, as the broker is told.
    pub timeout_ms: i32,
    next_batch_at: SimTime,
    identity: Option<(ProducerId, ProducerEpoch)>,
    identity_backoff: Backoff,
    /// What has been asked and not been answered.
    calls: BTreeMap<u64, Purpose>,
    partitions: BTreeMap<TopicPartition, VecDeque<PendingBatch>>,
    next_sequences: BTreeMap<TopicPartition, i32>,
    next_places: BTreeMap<TopicPartition, u64>,
    /// Partitions in which a batch has been acknowledged.
    known_in: BTreeSet<TopicPartition>,
    batches: u64,
    /// Of the batch that is being made.
    padding: usize,
}

/// What a call is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Purpose {
    /// A producer id.
    Identity,
    /// To append this batch of this partition.
    Produce(TopicPartition, u64),
}

#[derive(Clone, Debug)]
struct PendingBatch {
    /// Counts the producer's batches.
    id: u64,
    /// Counts those of its partition.
    place: u64,
    values: Vec<Value>,
    sequence: i32,
    timestamp: Timestamp,
    padding: usize,
    /// The batch itself, once it has been made to be sent.
    records: Option<Records>,
    under_way: bool,
    backoff: Backoff,
}

impl PendingBatch {
    /// The batch as it is sent, however often.
    fn build(&self, identity: Option<(ProducerId, ProducerEpoch)>) -> Records {
        let mut builder = BatchBuilder::new(Compression::None);
        if let Some((producer_id, producer_epoch)) = identity {
            builder = builder.producer(producer_id, producer_epoch, self.sequence);
        }
        let mut bytes = vec![0; 8 + self.padding];
        for value in &self.values {
            bytes[..8].copy_from_slice(&value.0.to_be_bytes());
            builder
                .push(self.timestamp, Some(b"key"), Some(&bytes), &[])
                .expect("batches are small");
        }
        let built = builder.build();
        let mut bytes = built.header.to_bytes().to_vec();
        bytes.extend_from_slice(&built.body);
        Records::from(Bytes::from(bytes))
    }
}

impl Producer {
    /// A producer as most are: idempotent, `acks=all`.
    #[must_use]
    pub fn new(batches: u64, interval_mean: Duration) -> Self {
        Self {
            idempotent: true,
            acks: -1,
            in_flight_max: 5,
            interval_mean,
            records_max: 3,
            padding_max: 40,
            batches_left: batches,
            retries: true,
            timeout_ms: 1500,
            next_batch_at: SimTime::default(),
            identity: None,
            identity_backoff: Backoff::default(),
            calls: BTreeMap::new(),
            partitions: BTreeMap::new(),
            next_sequences: BTreeMap::new(),
            next_places: BTreeMap::new(),
            known_in: BTreeSet::new(),
            batches: 0,
            padding: 0,
        }
    }

    /// Whether the cluster has given it a producer id.
    #[must_use]
    pub const fn is_identified(&self) -> bool {
        self.identity.is_some()
    }

    fn make_batch(
        &mut self,
        client: u8,
        partition: TopicPartition,
        now: SimTime,
        wall: i64,
        draw: &mut Draw,
        history: &mut History,
    ) {
        let queue = self.partitions.entry(partition).or_default();
        self.next_batch_at = now + draw.exponential(self.interval_mean);
        if queue.len() >= self.in_flight_max * 2 {
            return;
        }
        let records = draw.between(1, self.records_max.max(1));
        self.padding = usize::try_from(draw.between(0, self.padding_max)).unwrap_or(0);
        self.batches_left -= 1;
        self.queue_batch(client, partition, records, wall, history);
    }

    /// Queues a batch of this many records and returns their values: for scenarios.
    pub fn queue_batch(
        &mut self,
        client: u8,
        partition: TopicPartition,
        records: u64,
        wall: i64,
        history: &mut History,
    ) -> Vec<Value> {
        let promise = match self.acks {
            0 => Promise::None,
            1 => Promise::Leader,
            _all => Promise::Committed,
        };
        let values: Vec<Value> = (0..records)
            .map(|_| {
                history.produce(Produced {
                    client,
                    partition,
                    idempotent: self.idempotent,
                    promise,
                    timestamp: Timestamp(wall),
                    fate: Fate::Unknown,
                })
            })
            .collect();
        let sequence = self.next_sequences.entry(partition).or_default();
        let base_sequence = *sequence;
        *sequence += i32::try_from(values.len()).expect("batches are small");
        self.batches += 1;
        let next_place = self.next_places.entry(partition).or_default();
        let place = *next_place;
        *next_place += 1;
        self.partitions
            .entry(partition)
            .or_default()
            .push_back(PendingBatch {
                id: self.batches,
                place,
                values: values.clone(),
                sequence: base_sequence,
                timestamp: Timestamp(wall),
                padding: self.padding,
                records: None,
                under_way: false,
                backoff: Backoff::default(),
            });
        values
    }

    /// Batches that may be sent, in order.
    ///
    /// None is sent that is `in_flight_max` batches or more behind one that waits for its answer, however many between
    /// the two have been answered by another leader: a log remembers five batches of a producer, and would not know the
    /// one that waits for a duplicate any more.
    ///
    /// Until a partition has acknowledged the first batch there is one under way: a log in which nothing of the
    /// producer is committed has no sequence to compare with, and as in Kafka takes the second batch for the first
    /// where that was refused a moment before.
    fn ready(&self, now: SimTime) -> Vec<(TopicPartition, u64)> {
        let mut ready = Vec::new();
        for (&partition, queue) in &self.partitions {
            let known = self.known_in.contains(&partition);
            let width = if known { self.in_flight_max } else { 1 };
            let first = queue.front().map_or(0, |batch| batch.place);
            for batch in queue
                .iter()
                .take_while(|it| it.place - first < width as u64)
            {
                if batch.under_way {
                    continue;
                }
                if batch.backoff.until() > now {
                    break;
                }
                ready.push((partition, batch.id));
            }
        }
        ready
    }

    fn find(&mut self, partition: TopicPartition, id: u64) -> Option<&mut PendingBatch> {
        self.partitions
            .get_mut(&partition)?
            .iter_mut()
            .find(|batch| batch.id == id)
    }

    fn is_first(&self, partition: TopicPartition, id: u64) -> bool {
        self.partitions
            .get(&partition)
            .and_then(VecDeque::front)
            .is_some_and(|batch| batch.id == id)
    }

    fn sent(&mut self, partition: TopicPartition, id: u64) {
        if let Some(batch) = self.find(partition, id) {
            batch.under_way = true;
        }
    }

    fn try_again(&mut self, partition: TopicPartition, id: u64, now: SimTime, draw: &mut Draw) {
        if let Some(batch) = self.find(partition, id) {
            batch.under_way = false;
            batch.backoff.failed(now, draw);
        }
    }

    fn take(&mut self, partition: TopicPartition, id: u64) -> Option<PendingBatch> {
        let queue = self.partitions.get_mut(&partition)?;
        let place = queue.iter().position(|batch| batch.id == id)?;
        queue.remove(place)
    }

    fn request(&mut self, partition: TopicPartition, id: u64) -> Option<ProduceRequest> {
        let identity = self.identity;
        let batch = self.find(partition, id)?;
        if batch.records.is_none() {
            batch.records = Some(batch.build(identity));
        }
        let records = batch.records.clone();
        Some(ProduceRequest {
            transactional_id: None,
            acks: self.acks,
            timeout_ms: self.timeout_ms,
            topic_data: vec![TopicProduceData {
                name: Str::default(),
                topic_id: partition.topic,
                partition_data: vec![PartitionProduceData {
                    index: partition.partition.0,
                    records,
                }],
            }],
        })
    }

    /// Asks for a producer id, unless that has been done.
    fn ask_identity(
        &mut self,
        now: SimTime,
        network: &mut NetworkClient,
        actions: &mut Vec<ClientAction>,
    ) {
        let asked = self.calls.values().any(|it| *it == Purpose::Identity);
        if asked || self.identity_backoff.until() > now {
            return;
        }
        let Some(node) = network.adviser(now) else {
            return;
        };
        let request = Request::InitProducerId(InitProducerIdRequest {
            transaction_timeout_ms: 60_000,
            ..InitProducerIdRequest::default()
        });
        if let Some(call) = network.call(now, node, INIT_PRODUCER_ID_VERSION, request, actions) {
            self.calls.insert(call, Purpose::Identity);
        }
    }

    fn on_identity(
        &mut self,
        now: SimTime,
        response: &InitProducerIdResponse,
        network: &mut NetworkClient,
    ) {
        let mut draw = network.draw();
        if response.error_code == ErrorCode::None {
            self.identity = Some((
                ProducerId(response.producer_id),
                ProducerEpoch(response.producer_epoch),
            ));
        } else {
            self.identity_backoff.failed(now, &mut draw);
            network.want_metadata(now);
        }
    }

    fn on_produced(
        &mut self,
        now: SimTime,
        partition: TopicPartition,
        id: u64,
        response: &ProduceResponse,
        network: &mut NetworkClient,
        history: &mut History,
    ) {
        let Some(answer) = response
            .responses
            .first()
            .and_then(|topic| topic.partition_responses.first())
        else {
            return;
        };
        let mut draw = network.draw();
        match answer.error_code {
            ErrorCode::None => {
                self.known_in.insert(partition);
                if let Some(batch) = self.take(partition, id) {
                    let mut offset = Offset(answer.base_offset);
                    let stamped = answer.log_append_time_ms >= 0;
                    for value in batch.values {
                        history.settle(value, Fate::Acknowledged(offset));
                        if stamped {
                            history.stamp(value, Timestamp(answer.log_append_time_ms));
                        }
                        offset = offset.plus(1);
                    }
                }
            }
            ErrorCode::DuplicateSequenceNumber => {
                self.take(partition, id);
            }
            ErrorCode::OutOfOrderSequenceNumber if self.is_first(partition, id) => {
                history.fail(
                    "SequencesAreKept",
                    format!(
                        "c{}: the oldest batch of {} that waits was answered {}",
                        network.number,
                        show_partition(partition),
                        answer.error_code.name()
                    ),
                );
            }
            error if error.is_retriable() || error == ErrorCode::OutOfOrderSequenceNumber => {
                if self.retries {
                    self.try_again(partition, id, now, &mut draw);
                } else {
                    // It may still be appended and committed: nobody knows.
                    self.take(partition, id);
                }
                network.want_metadata(now);
            }
            error => {
                if let Some(batch) = self.take(partition, id) {
                    for value in batch.values {
                        history.settle(value, Fate::Refused);
                    }
                }
                if self.idempotent {
                    history.fail(
                        "ProducersAreServed",
                        format!(
                            "c{}: a sound batch was refused with {}",
                            network.number,
                            error.name()
                        ),
                    );
                }
            }
        }
    }
}

impl Work for Producer {
    fn pump(
        &mut self,
        now: SimTime,
        network: &mut NetworkClient,
        history: &mut History,
        actions: &mut Vec<ClientAction>,
    ) {
        let metadata = network.metadata().clone();
        if metadata.is_empty() {
            return;
        }
        let mut draw = network.draw();
        if self.idempotent && self.identity.is_none() {
            self.ask_identity(now, network, actions);
            return;
        }
        if self.batches_left > 0 && self.next_batch_at <= now {
            let partitions: Vec<TopicPartition> = metadata.leaders.keys().copied().collect();
            if let Some(&partition) = draw.pick(&partitions) {
                let wall = network.wall(now);
                self.make_batch(network.number, partition, now, wall, &mut draw, history);
            }
        }
        for (partition, id) in self.ready(now) {
            let Some(&(leader, _)) = metadata.leaders.get(&partition) else {
                network.want_metadata(now);
                continue;
            };
            let Some(request) = self.request(partition, id) else {
                continue;
            };
            let request = Request::Produce(request);
            let Some(call) = network.call_leader(now, leader, PRODUCE_VERSION, request, actions)
            else {
                continue;
            };
            if self.acks == 0 {
                self.take(partition, id);
            } else {
                self.sent(partition, id);
                self.calls.insert(call, Purpose::Produce(partition, id));
            }
        }
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
            (Purpose::Identity, Response::InitProducerId(response)) => {
                self.on_identity(now, &response, network);
            }
            (Purpose::Produce(partition, id), Response::Produce(response)) => {
                self.on_produced(now, partition, id, &response, network, history);
            }
            (purpose, response) => network.refuse_answer(purpose, &response, history),
        }
    }

    fn on_failure(&mut self, now: SimTime, call: u64, draw: &mut Draw) {
        match self.calls.remove(&call).expect("it has made the call") {
            Purpose::Identity => self.identity_backoff.failed(now, draw),
            Purpose::Produce(partition, id) => self.try_again(partition, id, now, draw),
        }
    }

    fn next_wake(&self, _now: SimTime) -> Option<SimTime> {
        let next = (self.batches_left > 0).then_some(self.next_batch_at);
        let waiting = self.partitions.values().flatten();
        let pending = waiting
            .filter(|batch| !batch.under_way)
            .map(|batch| batch.backoff.until())
            .min();
        next.into_iter().chain(pending).min()
    }

    fn is_done(&self) -> bool {
        self.batches_left == 0 && self.partitions.values().all(VecDeque::is_empty)
    }
}
