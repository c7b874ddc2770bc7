//! Clients that behave like real ones: a producer that retries with fresh metadata, idempotent or not, and a
//! consumer that reads its partitions by assignment.
//!
//! A client knows the cluster by what brokers answer it, dials who leads, gives requests up after a while, and
//! backs off. It never looks behind the wire. What it did and saw goes into the [`History`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use varve_core::ids::{
    Offset, PartitionIndex, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition,
};
use varve_core::record::{Batch, BatchBuilder, Compression};
use varve_core::wire::create_topics::{CreatableTopic, CreatableTopicConfig};
use varve_core::wire::fetch::{FetchPartition, FetchTopic};
use varve_core::wire::list_offsets::{LATEST_TIMESTAMP, ListOffsetsPartition, ListOffsetsTopic};
use varve_core::wire::metadata::MetadataRequestTopic;
use varve_core::wire::produce::{PartitionProduceData, TopicProduceData};
use varve_core::wire::{
    CreateTopicsRequest, ErrorCode, FetchRequest, FetchResponse, InitProducerIdRequest,
    ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse, ProduceRequest,
    ProduceResponse, Records, Request, Response, Str,
};

use crate::clock::SimTime;
use crate::draw::{Draw, Draws, Subsystem};
use crate::history::{Fate, History, Produced, Promise, Value};

/// The versions that clients speak, by API; all have topic ids.
const PRODUCE_VERSION: i16 = 13;
const FETCH_VERSION: i16 = 13;
const METADATA_VERSION: i16 = 12;
const INIT_PRODUCER_ID_VERSION: i16 = 4;
const CREATE_TOPICS_VERSION: i16 = 7;
const LIST_OFFSETS_VERSION: i16 = 7;
/// A consumer asks for the latest offsets after so many fetches.
const FETCHES_PER_LATEST: u64 = 16;

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Call {
    /// Chosen by the client, named in the answer: Kafka's correlation id.
    pub number: u64,
    /// The API version.
    pub api_version: i16,
    /// The request.
    pub body: Request,
}

/// What a client wants done.
#[derive(Clone, Debug)]
pub enum ClientAction {
    /// Connect to this node.
    Dial(u8),
    /// Send to this node, which is connected.
    Send(u8, Call),
    /// Drop the connection to this node.
    Close(u8),
    /// Something worth telling in a trace.
    Told(String),
}

/// What a client is for.
#[derive(Clone, Debug)]
pub enum Work {
    /// Creates the topic and is done.
    CreateTopic {
        /// Partitions.
        partitions: i32,
        /// Replicas of each.
        replication_factor: i16,
        /// Configuration.
        configs: Vec<(String, String)>,
        /// It exists.
        done: bool,
    },
    /// Produces.
    Produce(Box<Producer>),
    /// Reads everything from offset 0.
    Consume(Consumer),
}

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
    under_way: bool,
    not_before: SimTime,
}

/// A consumer's state.
#[derive(Clone, Debug, Default)]
pub struct Consumer {
    positions: BTreeMap<i32, Offset>,
    /// High watermarks as last seen.
    high_watermarks: BTreeMap<i32, Offset>,
    /// Fetches sent so far.
    fetches: u64,
    /// It is to ask for the latest offsets as soon as it can.
    pub wants_latest: bool,
    /// Answers to that without an error, so far.
    pub latest_told: u64,
}

/// What the client knows of its topic.
#[derive(Clone, Debug)]
struct Known {
    topic: TopicId,
    /// Leader and epoch by partition.
    leaders: BTreeMap<i32, (u8, i32)>,
}

#[derive(Clone, Debug, Default)]
struct ClientLink {
    up: bool,
    /// Requests that wait for an answer, with what they are for and when they are given up.
    calls: BTreeMap<u64, (Purpose, SimTime)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Purpose {
    Metadata,
    Identity,
    Create,
    Produce(i32, u64),
    Fetch,
    /// With the least that may be answered, by partition.
    Latest(BTreeMap<i32, Offset>),
}

/// One client.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its number, from 1.
    pub number: u8,
    /// What it is for.
    pub work: Work,
    /// The topic's name.
    pub topic: String,
    nodes: u8,
    draws: Draws,
    ordinal: u64,
    known: Option<Known>,
    /// Metadata is to be fetched, not before this time.
    metadata_wanted: Option<SimTime>,
    metadata_asked: bool,
    links: BTreeMap<u8, ClientLink>,
    /// Nodes that could not be reached are not dialled again before this time.
    unreachable: BTreeMap<u8, SimTime>,
    next_call: u64,
    /// Milliseconds since the epoch when the run began, for record timestamps.
    wall_start: i64,
    /// Answers with an error, and requests without an answer.
    pub setbacks: u64,
}

const CALL_PATIENCE: Duration = Duration::from_millis(4000);
const BACKOFF: Duration = Duration::from_millis(50);

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

    /// Batches that wait for an answer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.partitions.values().map(VecDeque::len).sum()
    }
}

impl Consumer {
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
}

impl Client {
    /// A client that knows the first node of the cluster and the topic's name.
    #[must_use]
    pub fn new(
        number: u8,
        nodes: u8,
        topic: &str,
        work: Work,
        draws: Draws,
        wall_start: i64,
    ) -> Self {
        Self {
            number,
            work,
            topic: topic.to_owned(),
            nodes,
            draws,
            ordinal: 0,
            known: None,
            metadata_wanted: Some(SimTime::default()),
            metadata_asked: false,
            links: BTreeMap::new(),
            unreachable: BTreeMap::new(),
            next_call: 0,
            wall_start,
            setbacks: 0,
        }
    }

    /// The same where no node but this one can be reached.
    #[must_use]
    pub fn that_reaches_only(mut self, node: u8) -> Self {
        let others = (1..=self.nodes).filter(|&other| other != node);
        self.unreachable = others.map(|other| (other, SimTime(u64::MAX))).collect();
        self
    }

    /// The topic's id, once known.
    #[must_use]
    pub fn topic_id(&self) -> Option<TopicId> {
        self.known.as_ref().map(|known| known.topic)
    }

    /// Whom the client takes for the leader of a partition.
    #[must_use]
    pub fn leader_of(&self, partition: i32) -> Option<u8> {
        self.known
            .as_ref()?
            .leaders
            .get(&partition)
            .map(|&(node, _)| node)
    }

    /// Nothing is left to do.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match &self.work {
            Work::CreateTopic { done, .. } => *done,
            Work::Produce(producer) => producer.is_done(),
            Work::Consume(_) => false,
        }
    }

    fn draw(&mut self) -> Draw {
        self.ordinal += 1;
        self.draws
            .at(Subsystem::Client, u64::from(self.number), self.ordinal)
    }

    /// Does everything that can be done now, and says when to be woken.
    pub fn pump(
        &mut self,
        now: SimTime,
        history: &mut History,
        actions: &mut Vec<ClientAction>,
    ) -> Option<SimTime> {
        self.expire(now, actions);
        self.fetch_metadata(now, actions);
        match &self.work {
            Work::CreateTopic { done: true, .. } => {}
            Work::CreateTopic { .. } => self.pump_create(now, actions),
            Work::Produce(_) => self.pump_producer(now, history, actions),
            Work::Consume(_) => {
                self.ask_latest(now, history, actions);
                self.pump_consumer(now, actions);
            }
        }
        self.next_wake(now)
    }

    fn next_wake(&self, now: SimTime) -> Option<SimTime> {
        let deadlines = self
            .links
            .values()
            .flat_map(|link| link.calls.values().map(|(_, deadline)| *deadline));
        let metadata = self.metadata_wanted.filter(|_| !self.metadata_asked);
        let work = match &self.work {
            Work::Produce(producer) => {
                let next = (producer.batches_left > 0).then_some(producer.next_batch_at);
                let pending = producer
                    .partitions
                    .values()
                    .flatten()
                    .filter(|batch| !batch.under_way)
                    .map(|batch| batch.not_before)
                    .min();
                next.into_iter().chain(pending).min()
            }
            Work::CreateTopic { .. } | Work::Consume(_) => None,
        };
        let next = deadlines.chain(metadata).chain(work).min()?;
        // What is due and could not be done waits for a connection or an answer, or is tried again soon.
        Some(if next > now { next } else { now + BACKOFF })
    }

    /// Gives up requests that have waited too long, and their connection with them.
    fn expire(&mut self, now: SimTime, actions: &mut Vec<ClientAction>) {
        let slow: Vec<u8> = self
            .links
            .iter()
            .filter(|(_, link)| link.calls.values().any(|(_, deadline)| *deadline <= now))
            .map(|(&node, _)| node)
            .collect();
        for node in slow {
            actions.push(ClientAction::Close(node));
            self.on_broken(now, node);
        }
    }

    /// Some node to ask, connected where one is.
    fn any_node(&mut self, now: SimTime) -> Option<u8> {
        let open = |node: &u8| self.unreachable.get(node).is_none_or(|until| *until <= now);
        let candidates: Vec<u8> = (1..=self.nodes).filter(open).collect();
        let mut draw = self.draw();
        draw.pick(&candidates).copied()
    }

    /// Sends where the node is connected, and dials where it is not.
    fn call(
        &mut self,
        now: SimTime,
        node: u8,
        purpose: Purpose,
        api_version: i16,
        body: Request,
        actions: &mut Vec<ClientAction>,
    ) -> bool {
        if !self.connect(now, node, actions) {
            return false;
        }
        self.next_call += 1;
        let number = self.next_call;
        let link = self.links.get_mut(&node).expect("it is connected");
        if !matches!(&body, Request::Produce(request) if request.acks == 0) {
            link.calls.insert(number, (purpose, now + CALL_PATIENCE));
        }
        actions.push(ClientAction::Send(
            node,
            Call {
                number,
                api_version,
                body,
            },
        ));
        true
    }

    /// Whether the node is connected; dials it where it is not.
    fn connect(&mut self, now: SimTime, node: u8, actions: &mut Vec<ClientAction>) -> bool {
        match self.links.get(&node) {
            Some(link) => link.up,
            None => {
                if self
                    .unreachable
                    .get(&node)
                    .is_none_or(|until| *until <= now)
                {
                    self.links.insert(node, ClientLink::default());
                    actions.push(ClientAction::Dial(node));
                }
                false
            }
        }
    }

    /// A dial has succeeded.
    pub fn on_connected(&mut self, node: u8) {
        if let Some(link) = self.links.get_mut(&node) {
            link.up = true;
        }
    }

    /// A dial has failed or a connection is gone.
    pub fn on_broken(&mut self, now: SimTime, node: u8) {
        let Some(link) = self.links.remove(&node) else {
            return;
        };
        if !link.up {
            self.unreachable.insert(node, now + BACKOFF * 4);
        }
        self.want_metadata(now);
        for (purpose, _) in link.calls.into_values() {
            self.setbacks += 1;
            self.give_up(now, &purpose);
        }
    }

    fn give_up(&mut self, now: SimTime, purpose: &Purpose) {
        match purpose {
            Purpose::Metadata => self.metadata_asked = false,
            Purpose::Create | Purpose::Fetch | Purpose::Latest(_) => {}
            Purpose::Identity => {
                if let Work::Produce(producer) = &mut self.work {
                    producer.identity_asked = false;
                }
            }
            Purpose::Produce(partition, id) => {
                if let Work::Produce(producer) = &mut self.work {
                    producer.try_again(*partition, *id, now);
                }
            }
        }
    }

    fn want_metadata(&mut self, now: SimTime) {
        if self.metadata_wanted.is_none() {
            self.metadata_wanted = Some(now + BACKOFF);
        }
    }

    fn fetch_metadata(&mut self, now: SimTime, actions: &mut Vec<ClientAction>) {
        if self.metadata_asked || self.metadata_wanted.is_none_or(|at| at > now) {
            return;
        }
        // A connection that is being made is waited for.
        let ready = self
            .links
            .iter()
            .find(|(_, link)| link.up)
            .map(|(&node, _)| node);
        let dialling = self.links.values().any(|link| !link.up);
        let node = match ready {
            Some(node) => Some(node),
            None if dialling => None,
            None => self.any_node(now),
        };
        let Some(node) = node else {
            return;
        };
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                topic_id: TopicId::ZERO,
                name: Some(Str::from(&self.topic)),
            }]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        if self.call(
            now,
            node,
            Purpose::Metadata,
            METADATA_VERSION,
            Request::Metadata(request),
            actions,
        ) {
            self.metadata_asked = true;
        }
    }

    fn pump_create(&mut self, now: SimTime, actions: &mut Vec<ClientAction>) {
        let waiting = self.links.values().any(|link| {
            link.calls
                .values()
                .any(|(purpose, _)| *purpose == Purpose::Create)
        });
        let Work::CreateTopic {
            partitions,
            replication_factor,
            configs,
            ..
        } = &self.work
        else {
            return;
        };
        if waiting || self.metadata_wanted.is_some() {
            return;
        }
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: Str::from(&self.topic),
                num_partitions: *partitions,
                replication_factor: *replication_factor,
                assignments: Vec::new(),
                configs: configs
                    .iter()
                    .map(|(name, value)| CreatableTopicConfig {
                        name: Str::from(name),
                        value: Some(Str::from(value)),
                    })
                    .collect(),
            }],
            timeout_ms: 2000,
            validate_only: false,
        };
        let node = self
            .links
            .iter()
            .find(|(_, link)| link.up)
            .map(|(&node, _)| node);
        if let Some(node) = node {
            self.call(
                now,
                node,
                Purpose::Create,
                CREATE_TOPICS_VERSION,
                Request::CreateTopics(request),
                actions,
            );
        } else {
            self.want_metadata(now);
        }
    }

    fn pump_producer(
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
            if !producer.identity_asked {
                let node = self
                    .links
                    .iter()
                    .find(|(_, link)| link.up)
                    .map(|(&node, _)| node);
                let request = InitProducerIdRequest {
                    transaction_timeout_ms: 60_000,
                    ..InitProducerIdRequest::default()
                };
                let Some(node) = node else {
                    self.want_metadata(now);
                    return;
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
            let Work::Produce(producer) = &self.work else {
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
                    producer.forget(partition, id);
                } else {
                    producer.sent(partition, id);
                }
            } else if !self.links.contains_key(&leader) {
                self.want_metadata(now);
            }
        }
    }

    fn pump_consumer(&mut self, now: SimTime, actions: &mut Vec<ClientAction>) {
        let Some(known) = self.known.clone() else {
            return;
        };
        let mut by_leader: BTreeMap<u8, Vec<i32>> = BTreeMap::new();
        for (&partition, &(leader, _)) in &known.leaders {
            by_leader.entry(leader).or_default().push(partition);
        }
        for (leader, partitions) in by_leader {
            let busy = self.links.get(&leader).is_some_and(|link| {
                link.calls
                    .values()
                    .any(|(purpose, _)| *purpose == Purpose::Fetch)
            });
            if busy {
                continue;
            }
            let Work::Consume(consumer) = &self.work else {
                return;
            };
            let request = FetchRequest {
                max_wait_ms: 300,
                min_bytes: 1,
                max_bytes: 64 << 10,
                topics: vec![FetchTopic {
                    topic: Str::default(),
                    topic_id: known.topic,
                    partitions: partitions
                        .iter()
                        .map(|&partition| FetchPartition {
                            partition,
                            current_leader_epoch: known.leaders[&partition].1,
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
    fn ask_latest(&mut self, now: SimTime, history: &History, actions: &mut Vec<ClientAction>) {
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
        let mut by_leader: BTreeMap<u8, Vec<i32>> = BTreeMap::new();
        for (&partition, &(leader, _)) in &known.leaders {
            by_leader.entry(leader).or_default().push(partition);
        }
        for (leader, partitions) in by_leader {
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
    fn on_latest(
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

    /// An answer has come.
    pub fn on_response(
        &mut self,
        now: SimTime,
        node: u8,
        number: u64,
        response: Response,
        history: &mut History,
        actions: &mut Vec<ClientAction>,
    ) {
        let Some((purpose, _)) = self
            .links
            .get_mut(&node)
            .and_then(|link| link.calls.remove(&number))
        else {
            return;
        };
        match (purpose, response) {
            (Purpose::Metadata, Response::Metadata(response)) => {
                self.on_metadata(now, &response);
            }
            (Purpose::Identity, Response::InitProducerId(response)) => {
                if let Work::Produce(producer) = &mut self.work {
                    producer.identity_asked = false;
                    if response.error_code == ErrorCode::None {
                        producer.identity = Some((
                            ProducerId(response.producer_id),
                            ProducerEpoch(response.producer_epoch),
                        ));
                    } else {
                        self.setbacks += 1;
                    }
                }
            }
            (Purpose::Create, Response::CreateTopics(response)) => {
                let error = response.topics.first().map(|topic| topic.error_code);
                let exists = matches!(error, Some(ErrorCode::None | ErrorCode::TopicAlreadyExists));
                if exists && let Work::CreateTopic { done, .. } = &mut self.work {
                    *done = true;
                }
                if !exists {
                    self.setbacks += 1;
                    self.want_metadata(now);
                }
            }
            (Purpose::Produce(partition, id), Response::Produce(response)) => {
                self.on_produced(now, partition, id, &response, history, actions);
            }
            (Purpose::Fetch, Response::Fetch(response)) => {
                self.on_fetched(now, &response, history);
            }
            (Purpose::Latest(floors), Response::ListOffsets(response)) => {
                self.on_latest(&floors, &response, history);
            }
            (purpose, response) => history.fail(
                "AnswersFitRequests",
                format!(
                    "c{} asked n{node} for {purpose:?} and was answered a {}",
                    self.number,
                    response.api_key().name()
                ),
            ),
        }
    }

    fn on_metadata(&mut self, now: SimTime, response: &MetadataResponse) {
        self.metadata_asked = false;
        self.metadata_wanted = None;
        let Some(topic) = response.topics.first() else {
            self.want_metadata(now);
            return;
        };
        if topic.error_code != ErrorCode::None {
            if !matches!(self.work, Work::CreateTopic { .. }) {
                self.want_metadata(now);
            }
            return;
        }
        let known = self.known.get_or_insert_with(|| Known {
            topic: topic.topic_id,
            leaders: BTreeMap::new(),
        });
        let mut leaderless = topic.partitions.is_empty();
        for partition in &topic.partitions {
            let Ok(leader) = u8::try_from(partition.leader_id) else {
                leaderless = true;
                continue;
            };
            // As Kafka's clients: an older epoch than the one known is ignored.
            let newer = known
                .leaders
                .get(&partition.partition_index)
                .is_none_or(|(_, epoch)| *epoch <= partition.leader_epoch);
            if newer {
                known
                    .leaders
                    .insert(partition.partition_index, (leader, partition.leader_epoch));
            }
        }
        if leaderless {
            self.want_metadata(now);
        }
    }

    fn on_produced(
        &mut self,
        now: SimTime,
        partition: i32,
        id: u64,
        response: &ProduceResponse,
        history: &mut History,
        actions: &mut Vec<ClientAction>,
    ) {
        let Some(answer) = response
            .responses
            .first()
            .and_then(|topic| topic.partition_responses.first())
        else {
            return;
        };
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
                    for value in batch.values {
                        history.settle(value, name, Fate::Acknowledged(offset));
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
                self.setbacks += 1;
                if producer.retries {
                    producer.try_again(partition, id, now);
                } else {
                    // It may still be appended and committed: nobody knows.
                    producer.take(partition, id);
                }
                self.want_metadata(now);
                actions.push(ClientAction::Told(error.name().to_owned()));
            }
            error => {
                self.setbacks += 1;
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

    fn on_fetched(&mut self, now: SimTime, response: &FetchResponse, history: &mut History) {
        let number = self.number;
        let Some(topic) = self.topic_id() else {
            return;
        };
        let mut stale = response.error_code != ErrorCode::None;
        let Work::Consume(consumer) = &mut self.work else {
            return;
        };
        for data in response
            .responses
            .iter()
            .flat_map(|topic| &topic.partitions)
        {
            let partition = data.partition_index;
            let name = TopicPartition {
                topic,
                partition: PartitionIndex(partition),
            };
            if data.error_code == ErrorCode::OffsetOutOfRange {
                history.fail(
                    "PositionsStayInRange",
                    format!(
                        "c{number} has read partition {partition} up to {} and is told that this is out of range",
                        consumer.position(partition)
                    ),
                );
                continue;
            }
            if data.error_code != ErrorCode::None {
                stale = true;
                continue;
            }
            consumer
                .high_watermarks
                .insert(partition, Offset(data.high_watermark));
            let mut bytes = data
                .records
                .as_ref()
                .map_or(Bytes::new(), Records::to_bytes);
            while let Ok(batch) = Batch::split_from(&mut bytes) {
                let position = consumer.position(partition);
                if batch.header.next_offset() <= position {
                    continue;
                }
                if batch.header.next_offset().0 > data.high_watermark {
                    history.fail(
                        "ReadsStopAtHighWatermark",
                        format!(
                            "c{number} was given offset {} of partition {partition}, behind the high watermark {}",
                            batch.header.last_offset(),
                            data.high_watermark
                        ),
                    );
                }
                if let Err(what) = consume(&batch, position, name, history) {
                    history.fail("BatchesAreSound", format!("c{number}: {what}"));
                }
                consumer
                    .positions
                    .insert(partition, batch.header.next_offset());
            }
        }
        if stale {
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

impl Producer {
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
        self.queue_batch(client, partition, records, now, wall, history);
    }

    /// Queues a batch of this many records and returns their values: for scenarios.
    pub fn queue_batch(
        &mut self,
        client: u8,
        partition: i32,
        records: u64,
        now: SimTime,
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
                under_way: false,
                not_before: now,
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
                if batch.not_before > now {
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

    fn forget(&mut self, partition: i32, id: u64) {
        self.take(partition, id);
    }

    fn try_again(&mut self, partition: i32, id: u64, now: SimTime) {
        if let Some(batch) = self.find(partition, id) {
            batch.under_way = false;
            batch.not_before = now + BACKOFF;
        }
    }

    fn take(&mut self, partition: i32, id: u64) -> Option<PendingBatch> {
        let queue = self.partitions.get_mut(&partition)?;
        let place = queue.iter().position(|batch| batch.id == id)?;
        queue.remove(place)
    }

    fn request(&self, topic: TopicId, partition: i32, id: u64) -> Option<ProduceRequest> {
        let batch = self
            .partitions
            .get(&partition)?
            .iter()
            .find(|batch| batch.id == id)?;
        let mut builder = BatchBuilder::new(Compression::None);
        if let Some((producer_id, producer_epoch)) = self.identity {
            builder = builder.producer(producer_id, producer_epoch, batch.sequence);
        }
        for value in &batch.values {
            let mut bytes = vec![0; 8 + batch.padding];
            bytes[..8].copy_from_slice(&value.0.to_be_bytes());
            builder
                .push(batch.timestamp, Some(b"key"), Some(&bytes), &[])
                .expect("batches are small");
        }
        let built = builder.build();
        let mut bytes = built.header.to_bytes().to_vec();
        bytes.extend_from_slice(&built.body);
        Some(ProduceRequest {
            transactional_id: None,
            acks: self.acks,
            timeout_ms: self.timeout_ms,
            topic_data: vec![TopicProduceData {
                name: Str::default(),
                topic_id: topic,
                partition_data: vec![PartitionProduceData {
                    index: partition,
                    records: Some(Records::from(Bytes::from(bytes))),
                }],
            }],
        })
    }
}
