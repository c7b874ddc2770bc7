//! A producer that retries, idempotent or not: its batches, in order, and what becomes of them.
//!
//! Which batch may be under way beside which other is decided here; whom to send it to is what the client knows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use varve_core::ids::{
    Offset, PartitionIndex, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition,
};
use varve_core::record::{BatchBuilder, Compression};
use varve_core::wire::produce::{PartitionProduceData, TopicProduceData};
use varve_core::wire::{
    ErrorCode, InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse,
    Records, Request, Str,
};

use crate::client::backoff::Backoff;
use crate::client::{Client, ClientAction, Purpose, Work};
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
    identity_asked: bool,
    identity_backoff: Backoff,
    partitions: BTreeMap<i32, VecDeque<PendingBatch>>,
    next_sequences: BTreeMap<i32, i32>,
    next_places: BTreeMap<i32, u64>,
    /// Partitions in which a batch has been acknowledged.
    known_in: BTreeSet<i32>,
    batches: u64,
    /// Of the batch that is being made.
    padding: usize,
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
            identity_asked: false,
            identity_backoff: Backoff::default(),
            partitions: BTreeMap::new(),
            next_sequences: BTreeMap::new(),
            next_places: BTreeMap::new(),
            known_in: BTreeSet::new(),
            batches: 0,
            padding: 0,
        }
    }

    /// Whether nothing is left to be made or answered.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.batches_left == 0 && self.partitions.values().all(VecDeque::is_empty)
    }

    /// Whether the cluster has given it a producer id.
    #[must_use]
    pub const fn is_identified(&self) -> bool {
        self.identity.is_some()
    }

    /// It has not been given a producer id, and asks again in a while.
    pub(super) fn identity_failed(&mut self, now: SimTime, draw: &mut Draw) {
        self.identity_asked = false;
        self.identity_backoff.failed(now, draw);
    }

    /// When it has something to do by itself.
    pub(super) fn next_wake(&self) -> Option<SimTime> {
        let next = (self.batches_left > 0).then_some(self.next_batch_at);
        let waiting = self.partitions.values().flatten();
        let pending = waiting
            .filter(|batch| !batch.under_way)
            .map(|batch| batch.backoff.until())
            .min();
        next.into_iter().chain(pending).min()
    }

    fn make_batch(
        &mut self,
        client: u8,
        partition: i32,
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
        partition: i32,
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
    fn ready(&self, now: SimTime) -> Vec<(i32, u64)> {
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

    fn find(&mut self, partition: i32, id: u64) -> Option<&mut PendingBatch> {
        self.partitions
            .get_mut(&partition)?
            .iter_mut()
            .find(|batch| batch.id == id)
    }

    fn is_first(&self, partition: i32, id: u64) -> bool {
        self.partitions
            .get(&partition)
            .and_then(VecDeque::front)
            .is_some_and(|batch| batch.id == id)
    }

    fn sent(&mut self, partition: i32, id: u64) {
        if let Some(batch) = self.find(partition, id) {
            batch.under_way = true;
        }
    }

    pub(super) fn try_again(&mut self, partition: i32, id: u64, now: SimTime, draw: &mut Draw) {
        if let Some(batch) = self.find(partition, id) {
            batch.under_way = false;
            batch.backoff.failed(now, draw);
        }
    }

    fn take(&mut self, partition: i32, id: u64) -> Option<PendingBatch> {
        let queue = self.partitions.get_mut(&partition)?;
        let place = queue.iter().position(|batch| batch.id == id)?;
        queue.remove(place)
    }

    fn request(&mut self, topic: TopicId, partition: i32, id: u64) -> Option<ProduceRequest> {
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
                topic_id: topic,
                partition_data: vec![PartitionProduceData {
                    index: partition,
                    records,
                }],
            }],
        })
    }
}

impl Client {
    pub(super) fn pump_producer(
        &mut self,
        now: SimTime,
        history: &mut History,
        actions: &mut Vec<ClientAction>,
    ) {
        let Some(known) = self.known.clone() else {
            return;
        };
        let mut draw = self.draw();
        let number = self.number;
        let wall = self.wall_start + i64::try_from(now.millis()).unwrap_or(i64::MAX);
        let Work::Produce(producer) = &mut self.work else {
            return;
        };
        if producer.idempotent && producer.identity.is_none() {
            self.ask_identity(now, actions);
            return;
        }
        if producer.batches_left > 0 && producer.next_batch_at <= now {
            let partitions: Vec<i32> = known.leaders.keys().copied().collect();
            if let Some(&partition) = draw.pick(&partitions) {
                producer.make_batch(number, partition, now, wall, &mut draw, history);
            }
        }
        let ready: Vec<(i32, u64)> = producer.ready(now);
        for (partition, id) in ready {
            let Some(&(leader, _)) = known.leaders.get(&partition) else {
                self.want_metadata(now);
                continue;
            };
            let Work::Produce(producer) = &mut self.work else {
                return;
            };
            let Some(request) = producer.request(known.topic, partition, id) else {
                continue;
            };
            let acks = producer.acks;
            if self.call(
                now,
                leader,
                Purpose::Produce(partition, id),
                PRODUCE_VERSION,
                Request::Produce(request),
                actions,
            ) && let Work::Produce(producer) = &mut self.work
            {
                if acks == 0 {
                    producer.take(partition, id);
                } else {
                    producer.sent(partition, id);
                }
            } else if !self.links.contains_key(&leader) {
                self.want_metadata(now);
            }
        }
    }

    pub(super) fn on_produced(
        &mut self,
        now: SimTime,
        partition: i32,
        id: u64,
        response: &ProduceResponse,
        history: &mut History,
    ) {
        let Some(answer) = response
            .responses
            .first()
            .and_then(|topic| topic.partition_responses.first())
        else {
            return;
        };
        let mut draw = self.draw();
        let topic = self.topic_id().expect("it has produced");
        let name = TopicPartition {
            topic,
            partition: PartitionIndex(partition),
        };
        let Work::Produce(producer) = &mut self.work else {
            return;
        };
        match answer.error_code {
            ErrorCode::None => {
                producer.known_in.insert(partition);
                if let Some(batch) = producer.take(partition, id) {
                    let mut offset = Offset(answer.base_offset);
                    let stamped = answer.log_append_time_ms >= 0;
                    for value in batch.values {
                        history.settle(value, name, Fate::Acknowledged(offset));
                        if stamped {
                            history.stamp(value, Timestamp(answer.log_append_time_ms));
                        }
                        offset = offset.plus(1);
                    }
                }
            }
            ErrorCode::DuplicateSequenceNumber => {
                producer.take(partition, id);
            }
            ErrorCode::OutOfOrderSequenceNumber if producer.is_first(partition, id) => {
                history.fail(
                    "SequencesAreKept",
                    format!(
                        "c{}: the oldest batch of partition {partition} that waits was answered {}",
                        self.number,
                        answer.error_code.name()
                    ),
                );
            }
            error if error.is_retriable() || error == ErrorCode::OutOfOrderSequenceNumber => {
                if producer.retries {
                    producer.try_again(partition, id, now, &mut draw);
                } else {
                    // It may still be appended and committed: nobody knows.
                    producer.take(partition, id);
                }
                self.want_metadata(now);
            }
            error => {
                if let Some(batch) = producer.take(partition, id) {
                    for value in batch.values {
                        history.settle(value, name, Fate::Refused);
                    }
                }
                if producer.idempotent {
                    history.fail(
                        "ProducersAreServed",
                        format!(
                            "c{}: a sound batch was refused with {}",
                            self.number,
                            error.name()
                        ),
                    );
                }
            }
        }
    }

    /// Asks for a producer id, unless that has been done.
    fn ask_identity(&mut self, now: SimTime, actions: &mut Vec<ClientAction>) {
        let Work::Produce(producer) = &self.work else {
            return;
        };
        if producer.identity_asked || producer.identity_backoff.until() > now {
            return;
        }
        let Some(node) = self.adviser(now) else {
            return;
        };
        let request = InitProducerIdRequest {
            transaction_timeout_ms: 60_000,
            ..InitProducerIdRequest::default()
        };
        if self.call(
            now,
            node,
            Purpose::Identity,
            INIT_PRODUCER_ID_VERSION,
            Request::InitProducerId(request),
            actions,
        ) && let Work::Produce(producer) = &mut self.work
        {
            producer.identity_asked = true;
        }
    }

    pub(super) fn on_identity(&mut self, now: SimTime, response: &InitProducerIdResponse) {
        let mut draw = self.draw();
        let Work::Produce(producer) = &mut self.work else {
            return;
        };
        if response.error_code == ErrorCode::None {
            producer.identity = Some((
                ProducerId(response.producer_id),
                ProducerEpoch(response.producer_epoch),
            ));
        } else {
            producer.identity_failed(now, &mut draw);
            self.want_metadata(now);
        }
    }
}
