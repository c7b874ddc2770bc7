//! One broker that is its own cluster, with a disk that answers at once or is held.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::broker::{Setup, UNWRITTEN_BYTES_MAX};
use crate::cluster::{BrokerConfig, BrokerRegistration, ConfigMap, Endpoint};
use crate::effect::RequestId;
use crate::hooks::{Hooks, Mutant, Probe};
use crate::ids::{
    BrokerId, ClusterId, DirectoryId, Incarnation, Offset, ProducerEpoch, ProducerId, Timestamp,
    TopicId, Voter,
};
use crate::input::{Input, RequestContext};
use crate::links::Timing;
use crate::log::{Entry, Position};
use crate::record::{Batch, BatchBuilder, Compression, Depth, Limits, examine};
use crate::store::{
    Completion, OrderKind, Query, QueryKind, QueryResult, ReadError, Recovered, RecoveredReplica,
    Refusal, Roll, Stage,
};
use crate::time::{Instant, Now};
use crate::wire::create_topics::{CreatableTopic, CreatableTopicConfig};
use crate::wire::fetch::{FetchPartition, FetchTopic, PartitionData};
use crate::wire::find_coordinator::KEY_TRANSACTION;
use crate::wire::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use crate::wire::metadata::MetadataRequestTopic;
use crate::wire::offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use crate::wire::produce::{PartitionProduceData, PartitionProduceResponse, TopicProduceData};
use crate::wire::{
    ApiVersionsRequest, CreateTopicsRequest, DeleteTopicsRequest, FetchRequest, FetchResponse,
    InitProducerIdRequest, ListOffsetsRequest, MetadataRequest, OffsetForLeaderEpochRequest,
    ProduceRequest, Response, Str,
};

const ME: Voter = Voter {
    broker: BrokerId(1),
    directory: DirectoryId(11),
};
const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// This time, by a wall clock that stands still.
const fn at(instant: Instant) -> Now {
    Now { instant, wall: NOW }
}

/// A cluster of one.
struct Node {
    broker: Broker,
    now: Instant,
    fx: Effects,
    logs: BTreeMap<TopicPartition, Vec<Batch>>,
    /// What the last append was ordered with.
    roll: Roll,
    /// A hole that reads find.
    damage: Option<std::ops::Range<Offset>>,
    /// Answers of the disk for topics while it is held.
    held: Option<Vec<Input>>,
    /// The disk has no room for records.
    is_full: bool,
    answers: BTreeMap<u64, Response>,
    closed: Vec<ConnectionId>,
    stopped: bool,
    /// How long a produce waits.
    timeout_ms: i32,
    queries: usize,
    requests: u64,
}

impl Node {
    fn new(mutant: Option<Mutant>) -> Self {
        Self::configured(mutant, ConfigMap::new())
    }

    /// A node with this configuration file.
    fn configured(mutant: Option<Mutant>, kafka: ConfigMap) -> Self {
        let registration = BrokerRegistration {
            broker: ME.broker,
            directory: ME.directory,
            incarnation: Incarnation(1),
            rack: None,
            listeners: vec![Endpoint {
                name: "PLAINTEXT".to_owned(),
                host: "localhost".to_owned(),
                port: 9092,
            }],
            peer_address: "localhost:9192".to_owned(),
        };
        let setup = Setup {
            registration,
            timing: Timing::default(),
            kafka: BrokerConfig::new(ME.broker, kafka).expect("the test sets what there is"),
            metadata_voters_max: 3,
            snapshot_interval: 1000,
            session_timeout: Duration::from_secs(9),
            unwritten_bytes_max: UNWRITTEN_BYTES_MAX,
        };
        let metadata = RecoveredReplica::empty(TopicPartition::METADATA, vec![ME]);
        let recovered = Recovered {
            cluster: Some(ClusterId(7)),
            broker: ME.broker,
            directory: ME.directory,
            incarnation: Incarnation(1),
            replicas: vec![metadata],
        };
        let mut fx = Effects::with_hooks(Hooks::with_mutant(mutant));
        let now = Instant(1_000_000);
        let broker = Broker::new(setup, recovered, 42, at(now), &mut fx);
        let mut node = Self {
            broker,
            now,
            fx,
            logs: BTreeMap::new(),
            roll: Roll::default(),
            damage: None,
            held: None,
            is_full: false,
            answers: BTreeMap::new(),
            closed: Vec::new(),
            stopped: false,
            timeout_ms: 1500,
            queries: 0,
            requests: 0,
        };
        node.pump();
        node.run(Duration::from_secs(5));
        node
    }

    /// A node with the topic `t` of two partitions, configured so.
    fn with_topic(mutant: Option<Mutant>, configs: &[(&str, &str)]) -> Self {
        let mut node = Self::new(mutant);
        node.create_topic(configs);
        node
    }

    /// Creates the topic `t` of two partitions.
    fn create_topic(&mut self, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|&(name, value)| CreatableTopicConfig {
            name: name.into(),
            value: Some(value.into()),
        });
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: Str::from_static("t"),
                num_partitions: 2,
                replication_factor: 1,
                configs: configs.collect(),
                ..CreatableTopic::default()
            }],
            ..CreateTopicsRequest::default()
        };
        let id = self.send(7, request.into(), Vec::new());
        let Some(Response::CreateTopics(response)) = self.answers.remove(&id) else {
            panic!("the topic is created at once");
        };
        assert_eq!(response.topics[0].error_code, ErrorCode::None);
        self.run(Duration::from_secs(3));
    }

    /// Deletes the topic `t`.
    fn delete_topic(&mut self) {
        let request = DeleteTopicsRequest {
            topic_names: vec![Str::from_static("t")],
            ..DeleteTopicsRequest::default()
        };
        let id = self.send(5, request.into(), Vec::new());
        match self.answers.remove(&id) {
            Some(Response::DeleteTopics(response)) => {
                assert_eq!(response.responses[0].error_code, ErrorCode::None);
            }
            other => panic!("{other:?} answers no DeleteTopics"),
        }
    }

    fn step(&mut self, input: Input) {
        self.broker.step(at(self.now), input, &mut self.fx);
        self.pump();
    }

    /// Advances the time, and fires every deadline on time.
    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.broker.next_deadline().filter(|at| *at <= end) {
            if self.stopped {
                return;
            }
            self.now = at.max(self.now);
            self.step(Input::Tick);
        }
        self.now = end;
        self.step(Input::Tick);
    }

    /// Executes effects until there are none.
    fn pump(&mut self) {
        loop {
            let effects: Vec<Effect> = self.fx.drain().collect();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                self.carry_out(effect);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Store(order) => {
                let mut stage = Stage::Durable;
                if let OrderKind::Append { entries, roll, .. } = order.kind {
                    self.roll = roll;
                    if self.is_full && entries.iter().any(|entry| matches!(entry, Entry::Batch(_)))
                    {
                        stage = Stage::Refused(Refusal::DiskFull);
                    }
                    let log = self.logs.entry(order.replica).or_default();
                    log.extend(entries.into_iter().filter_map(|entry| match entry {
                        Entry::Batch(batch) if stage == Stage::Durable => Some(batch),
                        Entry::Batch(_) | Entry::Note(_) => None,
                    }));
                }
                let done = Completion {
                    replica: order.replica,
                    seq: order.seq,
                    position: Position::default(),
                    stage,
                };
                self.answer(order.replica, Input::Stored(vec![done]));
            }
            Effect::Query(query) => {
                self.queries += 1;
                let result = self.look_up(&query);
                let done = Input::QueryDone {
                    id: query.id,
                    result,
                };
                self.answer(query.replica, done);
            }
            Effect::Respond { request, response } => {
                let again = self.answers.insert(request.number, *response);
                assert_eq!(again, None, "a request is answered once");
            }
            Effect::Close(connection) => self.closed.push(connection),
            Effect::Send { .. } => panic!("a cluster of one has nobody to send to"),
            Effect::CloseClients => {
                self.broker
                    .step(at(self.now), Input::ClientsClosed, &mut self.fx)
            }
            Effect::Stopped => self.stopped = true,
            Effect::Peers { .. }
            | Effect::Redial(_)
            | Effect::CloseSession { .. }
            | Effect::AcceptPeer { .. }
            | Effect::RejectPeer { .. }
            | Effect::Joined(_)
            | Effect::Ready
            | Effect::Notice(_) => {}
        }
    }

    /// Passes on the answer of the disk, unless it is held.
    fn answer(&mut self, replica: TopicPartition, done: Input) {
        match &mut self.held {
            Some(held) if replica != TopicPartition::METADATA => held.push(done),
            Some(_) | None => self.broker.step(at(self.now), done, &mut self.fx),
        }
    }

    fn look_up(&self, query: &Query) -> QueryResult {
        let empty = Vec::new();
        let log = self.logs.get(&query.replica).unwrap_or(&empty);
        match query.kind {
            QueryKind::Read { offset, end, .. } => {
                if let Some(damage) = &self.damage
                    && offset < damage.end
                    && damage.start < end
                {
                    return QueryResult::Failed(ReadError::Hole(damage.clone()));
                }
                let mut bytes = Vec::new();
                let wanted = |batch: &&Batch| {
                    batch.header.next_offset() > offset && batch.header.next_offset() <= end
                };
                for batch in log.iter().filter(wanted) {
                    bytes.extend_from_slice(&batch.to_bytes());
                }
                QueryResult::Records(Bytes::from(bytes))
            }
            QueryKind::OffsetForTimestamp { timestamp, end } => {
                let found = records(log).find(|(offset, at, _)| *at >= timestamp && *offset < end);
                QueryResult::Found(found)
            }
            QueryKind::MaxTimestamp { end } => QueryResult::Found(
                records(log)
                    .filter(|(offset, _, _)| *offset < end)
                    .max_by_key(|(offset, at, _)| (*at, std::cmp::Reverse(*offset))),
            ),
        }
    }

    fn hold_disk(&mut self) {
        self.held = Some(Vec::new());
    }

    fn release_disk(&mut self) {
        for done in self.held.take().unwrap_or_default() {
            self.step(done);
        }
    }

    fn send(
        &mut self,
        api_version: i16,
        body: Request,
        examined: Vec<Result<crate::record::Examined, crate::record::RecordError>>,
    ) -> u64 {
        self.requests += 1;
        let request = ClientRequest {
            context: RequestContext {
                id: RequestId {
                    connection: ConnectionId(1),
                    number: self.requests,
                },
                api_version,
                ..RequestContext::default()
            },
            body,
            examined,
        };
        self.step(Input::Request(Box::new(request)));
        self.requests
    }

    fn produce(&mut self, topic: &str, acks: i16, batch: Batch) -> u64 {
        self.produce_to(topic, 0, acks, batch)
    }

    fn produce_to(&mut self, topic: &str, index: i32, acks: i16, batch: Batch) -> u64 {
        let examined = examine(batch.to_bytes(), 12, Depth::Records, Limits::default());
        let request = ProduceRequest {
            acks,
            timeout_ms: self.timeout_ms,
            topic_data: vec![TopicProduceData {
                name: topic.into(),
                partition_data: vec![PartitionProduceData {
                    index,
                    ..PartitionProduceData::default()
                }],
                ..TopicProduceData::default()
            }],
            ..ProduceRequest::default()
        };
        self.send(12, request.into(), vec![examined])
    }

    fn produced(&mut self, id: u64) -> Option<PartitionProduceResponse> {
        match self.answers.remove(&id)? {
            Response::Produce(response) => {
                Some(response.responses[0].partition_responses[0].clone())
            }
            other => panic!("{other:?} answers no produce"),
        }
    }

    fn refused(&mut self, topic: &str, acks: i16, batch: Batch) -> ErrorCode {
        let id = self.produce(topic, acks, batch);
        self.produced(id).expect("it is refused at once").error_code
    }

    fn fetch(&mut self, request: FetchRequest) -> u64 {
        self.send(12, request.into(), Vec::new())
    }

    fn fetched(&mut self, id: u64) -> Option<PartitionData> {
        match self.answers.remove(&id)? {
            Response::Fetch(response) => {
                assert_eq!(response.error_code, ErrorCode::None);
                Some(response.responses[0].partitions[0].clone())
            }
            other => panic!("{other:?} answers no fetch"),
        }
    }

    fn topic_id(&self) -> TopicId {
        self.broker.image().topic_id("t").expect("it was created")
    }

    fn reached(&self, probe: Probe) -> bool {
        self.fx.hooks().reached().any(|reached| reached == probe)
    }
}

fn records(
    log: &[Batch],
) -> impl Iterator<Item = (Offset, Timestamp, crate::ids::LeaderEpoch)> + '_ {
    log.iter().flat_map(|batch| {
        let epoch = batch.header.leader_epoch;
        let records = batch.records(1 << 20).expect("it can be read");
        records.map(move |record| {
            let record = record.expect("it can be read");
            (record.offset, record.timestamp, epoch)
        })
    })
}

/// A batch of `count` records, a second apart.
fn batch(count: i64) -> Batch {
    build(BatchBuilder::default(), count)
}

/// A batch of one record of producer 5.
fn idempotent(sequence: i32) -> Batch {
    let builder = BatchBuilder::default().producer(ProducerId(5), ProducerEpoch(0), sequence);
    build(builder, 1)
}

/// A batch of which memory keeps a few.
fn large() -> Batch {
    let mut builder = BatchBuilder::default();
    builder
        .push(NOW, None, Some(&[7; 400_000]), &[])
        .expect("it fits");
    builder.build()
}

fn build(mut builder: BatchBuilder, count: i64) -> Batch {
    for n in 0..count {
        let timestamp = Timestamp(NOW.0 + 1000 * n);
        builder
            .push(timestamp, Some(b"key"), Some(b"value"), &[])
            .expect("it fits");
    }
    builder.build()
}

fn fetch_of(fetch_offset: i64, max_wait_ms: i32) -> FetchRequest {
    FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        topics: vec![FetchTopic {
            topic: Str::from_static("t"),
            partitions: vec![FetchPartition {
                fetch_offset,
                partition_max_bytes: 1 << 20,
                ..FetchPartition::default()
            }],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    }
}

fn bytes_of(data: &PartitionData) -> Bytes {
    data.records.as_ref().expect("never null").to_bytes()
}

#[test]
fn what_is_produced_is_fetched_as_it_came_but_for_offset_and_epoch() {
    let mut node = Node::with_topic(None, &[]);
    for base_offset in [0, 3] {
        let id = node.produce("t", -1, batch(3));
        let answer = node.produced(id).expect("the disk answers at once");
        assert_eq!(answer.error_code, ErrorCode::None);
        assert_eq!(answer.base_offset, base_offset);
        assert_eq!(answer.log_append_time_ms, -1);
    }
    let id = node.fetch(fetch_of(0, 500));
    let data = node.fetched(id).expect("there are records");
    assert_eq!(data.high_watermark, 6);
    let mut bytes = bytes_of(&data);
    let first = Batch::split_from(&mut bytes).expect("a batch");
    let second = Batch::split_from(&mut bytes).expect("another");
    assert!(bytes.is_empty());
    assert_eq!(second.header.base_offset, Offset(3));
    assert_eq!(first.body, batch(3).body);
    first
        .verify()
        .expect("the CRC does not cover what was stamped");
}

#[test]
fn a_produce_with_acks_waits_for_the_disk_and_then_times_out() {
    let mut node = Node::with_topic(None, &[]);
    node.hold_disk();
    let ids = [1, -1].map(|acks| node.produce("t", acks, batch(1)));
    node.run(Duration::from_millis(1400));
    assert!(node.answers.is_empty());
    node.run(Duration::from_millis(200));
    for id in ids {
        let answer = node.produced(id).expect("its time is over");
        assert_eq!(answer.error_code, ErrorCode::RequestTimedOut);
    }
    let ids = [1, -1].map(|acks| node.produce("t", acks, batch(1)));
    node.release_disk();
    for id in ids {
        assert_eq!(
            node.produced(id).expect("it is durable").error_code,
            ErrorCode::None
        );
    }
    let requests = &node.broker.requests;
    assert_eq!(requests.purgatory.len(), 0);
    assert_eq!(requests.purgatory.next_deadline(), None);
    assert!(requests.open_batches.is_empty());
}

#[test]
fn a_produce_with_acks_none_is_not_answered_and_its_failure_closes_the_connection() {
    let mut node = Node::with_topic(None, &[]);
    node.produce("t", 0, batch(1));
    assert!(node.closed.is_empty());
    node.produce("unknown", 0, batch(1));
    assert_eq!(node.closed, [ConnectionId(1)]);
    assert!(node.answers.is_empty());
}

#[test]
fn a_duplicate_is_answered_when_its_original_is_durable_with_the_originals_offset() {
    let mut node = Node::with_topic(None, &[]);
    node.hold_disk();
    let ids = [0, 0].map(|sequence| node.produce("t", -1, idempotent(sequence)));
    assert!(node.answers.is_empty());
    assert!(node.reached(Probe::DuplicateWaited));
    node.release_disk();
    for (id, time) in ids.into_iter().zip([-1, NOW.0]) {
        let answer = node.produced(id).expect("it is durable");
        assert_eq!(
            (answer.error_code, answer.base_offset),
            (ErrorCode::None, 0)
        );
        // As in Kafka: for a duplicate the timestamp of its records.
        assert_eq!(answer.log_append_time_ms, time);
    }
}

#[test]
fn mutants_answer_before_the_original_is_durable() {
    let mut node = Node::with_topic(Some(Mutant::AnswersDuplicateEarly), &[]);
    node.hold_disk();
    let original = node.produce("t", -1, idempotent(0));
    let duplicate = node.produce("t", -1, idempotent(0));
    assert!(node.produced(original).is_none());
    assert!(node.produced(duplicate).is_some());
}

#[test]
fn a_record_of_a_compressed_batch_is_no_larger_than_its_topic_takes() {
    let compressed = || build(BatchBuilder::new(Compression::Gzip), 1);
    let topic_for = |size| Node::with_topic(None, &[("max.decompressed.message.bytes", size)]);
    // Attributes, two deltas, the lengths of key and value, both, and the number of headers.
    let mut node = topic_for("14");
    let taken = node.produce("t", -1, compressed());
    assert_eq!(
        node.produced(taken).map(|answer| answer.error_code),
        Some(ErrorCode::None)
    );
    let mut node = topic_for("13");
    assert_eq!(
        node.refused("t", -1, compressed()),
        ErrorCode::InvalidRecord
    );
    // The other batch is not decompressed, and Kafka does not check it.
    let plain = node.produce("t", -1, batch(1));
    assert_eq!(
        node.produced(plain).map(|answer| answer.error_code),
        Some(ErrorCode::None)
    );
}

#[test]
fn what_cannot_be_appended_is_refused_with_kafkas_error() {
    let mut node = Node::with_topic(
        None,
        &[
            ("max.message.bytes", "200"),
            ("message.timestamp.after.max.ms", "1500"),
            ("cleanup.policy", "compact"),
        ],
    );
    let mut keyless = BatchBuilder::default();
    keyless.push(NOW, None, None, &[]).expect("it fits");
    let mut broken = batch(1);
    broken.header.crc ^= 1;
    for (topic, acks, batch, code) in [
        ("unknown", -1, batch(1), ErrorCode::UnknownTopicOrPartition),
        ("t", 2, batch(1), ErrorCode::InvalidRequiredAcks),
        ("t", -1, batch(20), ErrorCode::MessageTooLarge),
        ("t", -1, batch(3), ErrorCode::InvalidTimestamp),
        ("t", -1, keyless.build(), ErrorCode::InvalidRecord),
        ("t", -1, broken, ErrorCode::CorruptMessage),
        (
            "t",
            -1,
            build(
                BatchBuilder::default()
                    .producer(ProducerId(5), ProducerEpoch(0), 0)
                    .transactional(),
                1,
            ),
            ErrorCode::TransactionalIdAuthorizationFailed,
        ),
    ] {
        assert_eq!(node.refused(topic, acks, batch), code);
    }
    let id = node.produce("t", -1, idempotent(0));
    assert!(node.produced(id).is_some());
    assert_eq!(
        node.refused("t", -1, idempotent(2)),
        ErrorCode::OutOfOrderSequenceNumber
    );
    // The disk is full: batches in flight are given up, and new ones are refused.
    node.is_full = true;
    assert_eq!(
        node.refused("t", -1, batch(1)),
        ErrorCode::NotLeaderOrFollower
    );
    node.step(Input::Tick);
    assert_eq!(
        node.refused("t", -1, batch(1)),
        ErrorCode::KafkaStorageError
    );
    node.is_full = false;
    node.step(Input::SpaceReturned);
    let id = node.produce("t", -1, batch(1));
    assert_eq!(
        node.produced(id).expect("there is room again").error_code,
        ErrorCode::None
    );
}

#[test]
fn a_batch_is_rejected_as_out_of_sequence_when_all_before_it_on_the_connection_is_answered() {
    let mut node = Node::with_topic(None, &[]);
    let first = node.produce_to("t", 1, 1, idempotent(0));
    assert!(node.produced(first).is_some());
    node.hold_disk();
    let waits = node.produce("t", 1, batch(1));
    let rejected = node.produce_to("t", 1, 1, idempotent(5));
    assert_eq!(
        node.produced(rejected),
        None,
        "its answer would have to wait"
    );
    node.release_disk();
    assert!(node.produced(waits).is_some());
    let code = node.produced(rejected).map(|answer| answer.error_code);
    assert_eq!(code, Some(ErrorCode::OutOfOrderSequenceNumber));
    // And where it times out before.
    node.hold_disk();
    let waits = node.produce("t", 1, batch(1));
    node.timeout_ms = 500;
    let rejected = node.produce_to("t", 1, 1, idempotent(5));
    node.run(Duration::from_millis(600));
    let code = node.produced(rejected).map(|answer| answer.error_code);
    assert_eq!(code, Some(ErrorCode::NotLeaderOrFollower));
    assert_eq!(node.produced(waits), None);
    assert!(node.broker.requests.held_rejections.is_empty());
}

#[test]
fn a_batch_that_decompresses_to_too_much_is_refused_with_the_limit() {
    let mut node = Node::with_topic(None, &[]);
    let value = vec![0; 129 << 20];
    let mut builder = BatchBuilder::new(Compression::Zstd);
    builder.push(NOW, None, Some(&value), &[]).expect("it fits");
    let id = node.produce("t", -1, builder.build());
    let answer = node.produced(id).expect("it is refused at once");
    assert_eq!(answer.error_code, ErrorCode::MessageTooLarge);
    let words = answer.error_message.expect("it says why");
    assert!(words.contains("134217728 bytes at most"), "{words}");
}

#[test]
fn the_least_and_the_greatest_timestamp_are_refused() {
    let mut node = Node::with_topic(None, &[]);
    for (timestamp, code) in [
        (i64::MIN, ErrorCode::InvalidTimestamp),
        (i64::MAX, ErrorCode::InvalidTimestamp),
        (0, ErrorCode::None),
    ] {
        let mut builder = BatchBuilder::default();
        let timestamp = Timestamp(timestamp);
        builder.push(timestamp, None, None, &[]).expect("it fits");
        let id = node.produce("t", -1, builder.build());
        let answer = node.produced(id).expect("the disk answers at once");
        assert_eq!(answer.error_code, code, "{timestamp}");
    }
}

#[test]
fn a_topic_with_log_append_time_stamps_its_batches_and_says_so() {
    let mut node = Node::with_topic(None, &[("message.timestamp.type", "LogAppendTime")]);
    for _ in 0..2 {
        let id = node.produce("t", -1, idempotent(0));
        let answer = node.produced(id).expect("the disk answers at once");
        assert_eq!(answer.log_append_time_ms, NOW.0);
    }
    let id = node.fetch(fetch_of(0, 0));
    let data = node.fetched(id).expect("there are records");
    let stamped = Batch::split_from(&mut bytes_of(&data)).expect("a batch");
    stamped.verify().expect("the CRC goes with the stamp");
    assert_eq!(stamped.header.max_timestamp, NOW);
}

#[test]
fn a_fetch_waits_for_records_below_the_high_watermark() {
    let mut node = Node::with_topic(None, &[]);
    let id = node.fetch(fetch_of(0, 500));
    node.run(Duration::from_millis(499));
    assert!(node.fetched(id).is_none());
    node.run(Duration::from_millis(1));
    let data = node.fetched(id).expect("its time is over");
    assert_eq!((data.error_code, data.high_watermark), (ErrorCode::None, 0));

    let id = node.fetch(fetch_of(0, 500));
    node.hold_disk();
    node.produce("t", 1, batch(2));
    assert!(node.fetched(id).is_none(), "it is not committed");
    node.release_disk();
    assert_eq!(node.fetched(id).expect("it is committed").high_watermark, 2);
    assert!(node.broker.requests.readers.is_empty());
}

#[test]
fn a_partition_that_there_is_not_is_told_of_when_the_wait_for_others_is_over() {
    let mut node = Node::with_topic(None, &[]);
    let told = |node: &mut Node, id| {
        let Some(Response::Fetch(response)) = node.answers.remove(&id) else {
            return None;
        };
        let partitions = response.responses.into_iter().flat_map(|it| it.partitions);
        Some(partitions.map(|it| it.error_code).collect::<Vec<_>>())
    };
    let mut request = fetch_of(0, 500);
    let mut unknown = request.topics[0].partitions[0].clone();
    unknown.partition = 9;
    request.topics[0].partitions.push(unknown.clone());
    let both = node.fetch(request.clone());
    request.topics[0].partitions = vec![unknown];
    let alone = node.fetch(request);
    let error = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(
        told(&mut node, alone),
        Some(vec![error]),
        "nothing to wait for"
    );
    assert_eq!(told(&mut node, both), None);
    node.produce("t", -1, batch(1));
    assert_eq!(told(&mut node, both), Some(vec![ErrorCode::None, error]));
}

#[test]
fn an_epoch_before_the_first_ends_where_the_log_starts() {
    let mut node = Node::with_topic(None, &[]);
    node.produce("t", -1, batch(1));
    let mut end_of = |leader_epoch| {
        let request = OffsetForLeaderEpochRequest {
            topics: vec![OffsetForLeaderTopic {
                topic: Str::from_static("t"),
                partitions: vec![OffsetForLeaderPartition {
                    leader_epoch,
                    ..OffsetForLeaderPartition::default()
                }],
            }],
            ..OffsetForLeaderEpochRequest::default()
        };
        let id = node.send(4, request.into(), Vec::new());
        match node.answers.remove(&id) {
            Some(Response::OffsetForLeaderEpoch(response)) => {
                let end = &response.topics[0].partitions[0];
                (end.leader_epoch, end.end_offset)
            }
            other => panic!("{other:?} answers no OffsetForLeaderEpoch"),
        }
    };
    assert_eq!(end_of(0), (0, 0));
    assert_eq!(end_of(-2), (-2, 0));
    assert_eq!(end_of(-1), (-1, -1), "it is no epoch");
    assert_eq!(end_of(100), (-1, -1));
}

#[test]
fn a_fetch_out_of_range_or_in_another_epoch_is_refused() {
    let mut node = Node::with_topic(None, &[]);
    let partition = TopicPartition {
        topic: node.topic_id(),
        ..TopicPartition::default()
    };
    let epoch = node
        .broker
        .replica(partition)
        .expect("it is led here")
        .leader_epoch()
        .0;
    let mut check = |fetch_offset, current_leader_epoch| {
        let mut request = fetch_of(fetch_offset, 500);
        request.topics[0].partitions[0].current_leader_epoch = current_leader_epoch;
        let id = node.fetch(request);
        node.fetched(id).map(|data| data.error_code)
    };
    assert_eq!(check(1, -1), Some(ErrorCode::OffsetOutOfRange));
    assert_eq!(check(0, epoch - 1), Some(ErrorCode::FencedLeaderEpoch));
    assert_eq!(check(0, epoch + 1), Some(ErrorCode::UnknownLeaderEpoch));
    assert_eq!(check(0, epoch), None, "it waits");
}

#[test]
fn what_memory_has_dropped_is_read_from_disk_and_damage_is_never_skipped() {
    let mut node = Node::with_topic(None, &[]);
    let large = large();
    for _ in 0..6 {
        node.produce("t", -1, large.clone());
    }
    node.answers.clear();
    let id = node.fetch(fetch_of(0, 500));
    let data = node.fetched(id).expect("the disk answers at once");
    assert_eq!(node.queries, 1);
    let first = Batch::split_from(&mut bytes_of(&data)).expect("a batch");
    assert_eq!(first.body, large.body);

    node.damage = Some(Offset(0)..Offset(1));
    let id = node.fetch(fetch_of(0, 500));
    let data = node.fetched(id).expect("an error is told at once");
    assert_eq!(data.error_code, ErrorCode::CorruptMessage);
    assert!(bytes_of(&data).is_empty());
    assert!(node.reached(Probe::HoleFound));
}

#[test]
fn what_was_read_of_a_topic_is_not_served_once_it_is_deleted_however_long_another_read_takes() {
    let mut node = Node::with_topic(None, &[]);
    node.produce("t", -1, batch(1));
    for _ in 0..6 {
        node.produce_to("t", 1, -1, large());
    }
    node.hold_disk();
    let mut request = fetch_of(0, 500);
    let mut on_disk = request.topics[0].partitions[0].clone();
    on_disk.partition = 1;
    request.topics[0].partitions.push(on_disk);
    let id = node.fetch(request);
    node.run(Duration::from_secs(1));
    assert_eq!(node.queries, 1);
    assert!(!node.answers.contains_key(&id), "the disk is slow");
    node.delete_topic();
    node.release_disk();
    let Some(Response::Fetch(response)) = node.answers.remove(&id) else {
        panic!("there is nothing to wait for");
    };
    let [first, second] = &response.responses[0].partitions[..] else {
        panic!("{response:?} tells of both");
    };
    assert_eq!(first.error_code, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(second.error_code, ErrorCode::NotLeaderOrFollower);
    assert!(bytes_of(first).is_empty() && bytes_of(second).is_empty());
}

#[test]
fn the_first_batch_is_fetched_whatever_its_size_and_no_more_than_asked_for_after_it() {
    let mut node = Node::with_topic(None, &[]);
    for _ in 0..3 {
        node.produce("t", -1, batch(1));
    }
    let size = batch(1).size();
    for (bytes_max, batches) in [(1, 1), (size, 1), (2 * size, 2), (10 * size, 3)] {
        let mut request = fetch_of(0, 0);
        request.max_bytes = i32::try_from(bytes_max).expect("it is small");
        let id = node.fetch(request);
        let data = node.fetched(id).expect("it does not wait");
        assert_eq!(
            bytes_of(&data).len(),
            batches * size,
            "max_bytes {bytes_max}"
        );
    }
}

#[test]
fn offsets_are_found_by_name_and_by_time() {
    let mut node = Node::with_topic(None, &[]);
    let find = |node: &mut Node, timestamp, api_version| {
        let request = ListOffsetsRequest {
            topics: vec![ListOffsetsTopic {
                name: Str::from_static("t"),
                partitions: vec![ListOffsetsPartition {
                    timestamp,
                    ..ListOffsetsPartition::default()
                }],
            }],
            ..ListOffsetsRequest::default()
        };
        let id = node.send(api_version, request.into(), Vec::new());
        match node.answers.remove(&id) {
            Some(Response::ListOffsets(response)) => {
                let answer = &response.topics[0].partitions[0];
                answer
                    .error_code
                    .is_none()
                    .then_some(answer.offset)
                    .ok_or(answer.error_code)
            }
            other => panic!("{other:?} answers no ListOffsets"),
        }
    };
    for timestamp in [NOW.0, -3] {
        assert_eq!(find(&mut node, timestamp, 11), Ok(-1), "there is no record");
    }
    node.produce("t", -1, batch(3));
    for (timestamp, offset) in [
        (-1, 3),
        (-2, 0),
        (-3, 2),
        (-4, 0),
        (-5, -1),
        (-6, -1),
        (0, 0),
        (NOW.0 + 1, 1),
        (NOW.0 + 9000, -1),
    ] {
        assert_eq!(
            find(&mut node, timestamp, 11),
            Ok(offset),
            "timestamp {timestamp}"
        );
    }
    assert_eq!(find(&mut node, -3, 6), Err(ErrorCode::UnsupportedVersion));
    let request = ListOffsetsRequest {
        topics: vec![ListOffsetsTopic {
            name: Str::from_static("t"),
            partitions: vec![ListOffsetsPartition::default(); 2],
        }],
        ..ListOffsetsRequest::default()
    };
    let id = node.send(11, request.into(), Vec::new());
    let Some(Response::ListOffsets(response)) = node.answers.remove(&id) else {
        panic!("it is answered");
    };
    let [answer] = &response.topics[0].partitions[..] else {
        panic!("a partition that is named twice is refused once");
    };
    assert_eq!(answer.error_code, ErrorCode::InvalidRequest);
}

#[test]
fn producer_ids_are_never_given_twice() {
    let mut node = Node::new(None);
    let mut given = BTreeSet::new();
    for _ in 0..2500 {
        let id = node.send(5, InitProducerIdRequest::default().into(), Vec::new());
        match node.answers.remove(&id) {
            Some(Response::InitProducerId(response)) => {
                assert_eq!(response.error_code, ErrorCode::None);
                assert!(given.insert(response.producer_id));
            }
            other => panic!("{other:?} answers no InitProducerId"),
        }
    }
}

#[test]
fn a_groups_coordinator_is_to_be_waited_for_and_a_transactions_is_not() {
    for (key_type, error_code) in [
        (KEY_GROUP, ErrorCode::CoordinatorNotAvailable),
        (KEY_TRANSACTION, ErrorCode::UnsupportedVersion),
    ] {
        for api_version in [3, 4] {
            let mut request = FindCoordinatorRequest {
                key_type,
                ..FindCoordinatorRequest::default()
            };
            if api_version < 4 {
                request.key = Str::from_static("g");
            } else {
                request.coordinator_keys = vec![Str::from_static("g")];
            }
            let mut node = Node::new(None);
            let id = node.send(api_version, request.into(), Vec::new());
            match node.answers.remove(&id) {
                Some(Response::FindCoordinator(response)) => {
                    let told = response.coordinators.first();
                    let told = told.map_or(response.error_code, |one| one.error_code);
                    assert_eq!(told, error_code);
                }
                other => panic!("{other:?} answers no FindCoordinator"),
            }
        }
    }
}

#[test]
fn a_session_answers_with_what_is_new() {
    let mut node = Node::with_topic(None, &[]);
    node.produce("t", -1, batch(1));
    let mut first = fetch_of(0, 0);
    first.session_epoch = 0;
    let id = node.fetch(first);
    let Some(Response::Fetch(response)) = node.answers.remove(&id) else {
        panic!("it is answered");
    };
    let session_id = response.session_id;
    assert_ne!(session_id, 0);
    let next = |node: &mut Node, session_epoch, fetch_offset| {
        let mut request = fetch_of(fetch_offset, 0);
        request.session_id = session_id;
        request.session_epoch = session_epoch;
        let id = node.fetch(request);
        match node.answers.remove(&id) {
            Some(Response::Fetch(response)) => (response.error_code, response.responses.len()),
            other => panic!("{other:?} answers no Fetch"),
        }
    };
    assert_eq!(next(&mut node, 1, 1), (ErrorCode::None, 0));
    node.produce("t", -1, batch(1));
    assert_eq!(next(&mut node, 2, 1), (ErrorCode::None, 1));
    assert_eq!(
        next(&mut node, 2, 2),
        (ErrorCode::InvalidFetchSessionEpoch, 0)
    );
}

#[test]
fn a_fetch_waits_for_as_many_bytes_as_it_asks_for() {
    let mut node = Node::with_topic(None, &[]);
    let mut request = fetch_of(0, 500);
    request.min_bytes = i32::try_from(2 * batch(1).size()).expect("it is small");
    let id = node.fetch(request);
    node.produce("t", -1, batch(1));
    assert!(node.fetched(id).is_none(), "it is half of that");
    node.produce("t", -1, batch(1));
    let data = node.fetched(id).expect("there is enough");
    assert_eq!(bytes_of(&data).len(), 2 * batch(1).size());
}

#[test]
fn topics_are_named_by_id_where_the_version_says_so() {
    let mut node = Node::with_topic(None, &[]);
    let known = node.topic_id();
    let mut produce = |topic_id| {
        let examined = examine(batch(1).to_bytes(), 13, Depth::Records, Limits::default());
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 1500,
            topic_data: vec![TopicProduceData {
                topic_id,
                partition_data: vec![PartitionProduceData::default()],
                ..TopicProduceData::default()
            }],
            ..ProduceRequest::default()
        };
        let id = node.send(13, request.into(), vec![examined]);
        node.produced(id).map(|answer| answer.error_code)
    };
    assert_eq!(produce(known), Some(ErrorCode::None));
    assert_eq!(produce(TopicId(99)), Some(ErrorCode::UnknownTopicId));
    let mut fetch = |topic_id| {
        let mut request = fetch_of(0, 0);
        request.topics[0].topic = Str::EMPTY;
        request.topics[0].topic_id = topic_id;
        let id = node.send(13, request.into(), Vec::new());
        node.fetched(id).map(|data| data.error_code)
    };
    assert_eq!(fetch(known), Some(ErrorCode::None));
    assert_eq!(fetch(TopicId(99)), Some(ErrorCode::UnknownTopicId));
}

/// KIP-1242.
#[test]
fn a_client_that_means_another_broker_is_told_to_start_from_its_bootstrap_servers() {
    let mut node = Node::new(None);
    let (own, other) = (ClusterId(7).to_string(), ClusterId(8).to_string());
    let mut ask = |version, cluster: Option<&str>, node_id| {
        let request = ApiVersionsRequest {
            client_software_name: Str::from_static("test"),
            client_software_version: Str::from_static("1"),
            cluster_id: cluster.map(Str::from),
            node_id,
        };
        let id = node.send(version, request.into(), Vec::new());
        match node.answers.remove(&id) {
            Some(Response::ApiVersions(response)) => {
                assert_eq!(response.api_keys.is_empty(), !response.error_code.is_none());
                response.error_code
            }
            other => panic!("{other:?} answers no ApiVersions"),
        }
    };
    let (here, elsewhere) = (ME.broker.0, ME.broker.0 + 1);
    assert_eq!(ask(5, Some(&own), here), ErrorCode::None);
    assert_eq!(ask(5, None, -1), ErrorCode::None);
    for (cluster, node_id) in [(&other, here), (&own, elsewhere)] {
        let answer = ask(5, Some(cluster), node_id);
        assert_eq!(answer, ErrorCode::RebootstrapRequired);
    }
    for (cluster, node_id) in [(Some(&*own), -1), (None, here)] {
        assert_eq!(ask(5, cluster, node_id), ErrorCode::InvalidRequest);
    }
}

#[test]
fn a_fetch_by_the_id_of_a_topic_that_is_deleted_and_made_again_is_told_so_and_does_not_wait() {
    let mut node = Node::with_topic(None, &[]);
    let topic_id = node.topic_id();
    let request = |session_id, session_epoch, partitions: i32| {
        let mut request = fetch_of(0, 30_000);
        (request.session_id, request.session_epoch) = (session_id, session_epoch);
        let partition = request.topics[0].partitions[0].clone();
        let named = FetchTopic {
            topic: Str::EMPTY,
            topic_id,
            partitions: (0..partitions)
                .map(|index| FetchPartition {
                    partition: index,
                    ..partition.clone()
                })
                .collect(),
        };
        request.topics = vec![named];
        request
    };
    let ask = |node: &mut Node, request: FetchRequest| {
        let id = node.send(13, request.into(), Vec::new());
        match node.answers.remove(&id) {
            Some(Response::Fetch(response)) => response,
            other => panic!("{other:?} answers no Fetch"),
        }
    };
    let code = |response: &FetchResponse| response.responses[0].partitions[0].error_code;

    // With a record to tell of, the session begins at once.
    node.produce("t", -1, batch(1));
    let session = ask(&mut node, request(0, 0, 1)).session_id;
    assert_ne!(session, 0);
    let waiting = {
        let mut from_the_end = request(0, -1, 1);
        from_the_end.topics[0].partitions[0].fetch_offset = 1;
        node.send(13, from_the_end.into(), Vec::new())
    };
    assert!(!node.answers.contains_key(&waiting));

    node.delete_topic();
    match node.answers.remove(&waiting) {
        Some(Response::Fetch(response)) => {
            assert_eq!(code(&response), ErrorCode::UnknownTopicOrPartition);
        }
        other => panic!("{other:?}: there is nothing to wait for"),
    }
    let told = ask(&mut node, request(session, 1, 0));
    assert_eq!(code(&told), ErrorCode::UnknownTopicOrPartition);
    let stranger = ask(&mut node, request(0, -1, 1));
    assert_eq!(code(&stranger), ErrorCode::UnknownTopicId);

    node.create_topic(&[]);
    assert_ne!(node.topic_id(), topic_id);
    let told = ask(&mut node, request(session, 2, 0));
    assert_eq!(code(&told), ErrorCode::InconsistentTopicId);
    let told = ask(&mut node, request(session, 3, 1));
    assert_eq!(code(&told), ErrorCode::InconsistentTopicId);
    let stranger = ask(&mut node, request(0, -1, 1));
    assert_eq!(code(&stranger), ErrorCode::UnknownTopicId);
}

#[test]
fn a_topic_that_was_asked_about_is_created_and_one_that_is_deleted_leaves_nobody_waiting() {
    let mut node = Node::new(None);
    let ask = |node: &mut Node| {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(Str::from_static("t")),
                ..MetadataRequestTopic::default()
            }]),
            ..MetadataRequest::default()
        };
        let id = node.send(12, request.into(), Vec::new());
        match node.answers.remove(&id) {
            Some(Response::Metadata(response)) => {
                let topic = &response.topics[0];
                (topic.error_code, topic.partitions.len())
            }
            other => panic!("{other:?} answers no Metadata"),
        }
    };
    assert_eq!(ask(&mut node), (ErrorCode::UnknownTopicOrPartition, 0));
    node.run(Duration::from_secs(3));
    assert_eq!(ask(&mut node), (ErrorCode::None, 1));

    let fetch = node.fetch(fetch_of(0, 30_000));
    node.hold_disk();
    let produce = node.produce("t", -1, batch(1));
    node.delete_topic();
    let fetched = node.fetched(fetch).expect("there is nothing to wait for");
    assert_eq!(fetched.error_code, ErrorCode::UnknownTopicOrPartition);
    let produced = node.produced(produce).expect("nobody will acknowledge it");
    assert_eq!(produced.error_code, ErrorCode::NotLeaderOrFollower);
}

#[test]
fn whatever_waits_is_answered_when_the_broker_stops_and_forgotten_when_its_connection_goes() {
    let mut node = Node::with_topic(None, &[]);
    node.hold_disk();
    node.produce("t", -1, batch(1));
    node.fetch(fetch_of(0, 30_000));
    node.step(Input::Disconnected(ConnectionId(1)));
    assert_eq!(node.broker.requests.purgatory.len(), 0);
    assert!(
        node.broker.requests.open_batches.is_empty() && node.broker.requests.readers.is_empty()
    );
    node.timeout_ms = 30_000;
    let produce = node.produce("t", -1, batch(1));
    let fetch = node.fetch(fetch_of(0, 30_000));
    node.step(Input::Stop);
    node.run(Duration::from_secs(11));
    let answer = node.produced(produce).expect("the broker has stopped");
    assert_eq!(answer.error_code, ErrorCode::NotLeaderOrFollower);
    assert!(node.fetched(fetch).is_some());
}

#[test]
fn a_broker_that_has_stopped_has_no_deadline_and_gives_no_orders() {
    let mut node = Node::with_topic(None, &[]);
    node.step(Input::Stop);
    node.run(Duration::from_secs(11));
    assert!(node.stopped);
    assert_eq!(node.broker.next_deadline(), None);
    node.broker.step(at(node.now), Input::Tick, &mut node.fx);
    assert_eq!(node.fx.as_slice(), []);
}

#[test]
fn a_partition_forgets_a_producer_when_the_brokers_setting_says() {
    let mut kafka = ConfigMap::new();
    kafka.insert("producer.id.expiration.ms".to_owned(), "8000".to_owned());
    let mut node = Node::configured(None, kafka);
    node.create_topic(&[]);
    let topic = node
        .broker
        .image()
        .topic_named("t")
        .expect("it was created")
        .id;
    let partition = TopicPartition {
        topic,
        partition: crate::ids::PartitionIndex(0),
    };
    let silent = node.produce("t", 1, idempotent(0));
    assert!(node.produced(silent).is_some());
    let mut known = Vec::new();
    for sequence in 0..6 {
        node.run(Duration::from_secs(2));
        let other = BatchBuilder::default().producer(ProducerId(6), ProducerEpoch(0), sequence);
        let id = node.produce("t", 1, build(other, 1));
        assert!(node.produced(id).is_some());
        let replica = node.broker.replica(partition).expect("it is held");
        known.push(replica.producers().table().len());
    }
    // After 8 s it is known; the fifth tick behind its batch comes with the next batch.
    assert_eq!(known, [2, 2, 2, 2, 1, 1]);
}

#[test]
fn records_are_ordered_into_segments_of_the_topics_size_and_age() {
    let configs = [("segment.bytes", "2097152"), ("segment.ms", "60000")];
    let mut node = Node::with_topic(None, &configs);
    let id = node.produce("t", -1, batch(1));
    let produced = node.produced(id).expect("it is answered at once");
    assert_eq!(produced.error_code, ErrorCode::None);
    let roll = Roll {
        bytes: 2 << 20,
        ms: 60_000,
    };
    assert_eq!(node.roll, roll);
}
