//! What a step costs: medians for a leader of replication factor 1 and 3, among 1 and 1,000 partitions, and how many
//! allocations it makes.
//!
//! ```sh
//! cargo run --release -p varve-core --example step_cost
//! ```
//!
//! Three brokers are wired together with disks and links that do at once what they are told. Only the leader's own
//! steps are timed: a produce, the completion of its append, a follower's acknowledgement, a fetch that names its
//! partition, one by a fetch session, and a tick that sends heartbeats. Nothing here touches a socket or a file.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "an example measures with a real clock, and stops where anything is unexpected"
)]

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant as Clock};

use varve_core::broker::{Broker, Setup};
use varve_core::cluster::{BrokerConfig, BrokerRegistration, ConfigMap, Endpoint};
use varve_core::effect::{Effect, Effects, RequestId};
use varve_core::ids::{
    BrokerId, ClusterId, DirectoryId, Incarnation, PartitionIndex, Timestamp, TopicPartition, Voter,
};
use varve_core::input::{ClientRequest, ConnectionId, Input, RequestContext};
use varve_core::log::Position;
use varve_core::peer::{AppendReply, PeerIdentity, PeerMessage, ReplicaBody};
use varve_core::record::{Batch, BatchBuilder, Compression, Depth, Limits, examine};
use varve_core::store::{Completion, QueryResult, ReadError, Recovered, RecoveredReplica, Stage};
use varve_core::time::{Instant, Now};
use varve_core::wire::create_topics::CreatableTopic;
use varve_core::wire::fetch::{FetchPartition, FetchTopic};
use varve_core::wire::produce::{PartitionProduceData, TopicProduceData};
use varve_core::wire::{CreateTopicsRequest, FetchRequest, ProduceRequest, Request, Response};

/// Steps of each kind that are measured; the median is told.
const ROUNDS: usize = 5_000;
/// Bytes of the one record in a batch.
const VALUE_BYTES: usize = 1_000;

fn voter(id: i32) -> Voter {
    Voter {
        broker: BrokerId(id),
        directory: DirectoryId(id as u128),
    }
}

fn identity(id: i32) -> PeerIdentity {
    PeerIdentity {
        cluster: Some(ClusterId(7)),
        broker: BrokerId(id),
        directory: voter(id).directory,
        incarnation: Incarnation(1),
    }
}

/// This time, by a wall clock that stands still.
const fn at(instant: Instant) -> Now {
    Now {
        instant,
        wall: Timestamp(1_700_000_000_000),
    }
}

/// Three brokers, number 1 to 3.
struct Cluster {
    now: Instant,
    brokers: Vec<Broker>,
    fx: Effects,
    mail: VecDeque<(i32, i32, PeerMessage)>,
    answers: BTreeMap<u64, Response>,
    requests: u64,
}

impl Cluster {
    fn new() -> Self {
        let mut cluster = Self {
            now: Instant(1_000_000),
            brokers: Vec::new(),
            fx: Effects::new(),
            mail: VecDeque::new(),
            answers: BTreeMap::new(),
            requests: 0,
        };
        for id in 1..=3 {
            let mut fx = Effects::new();
            let broker = Broker::new(
                setup(id),
                recovered(id),
                id as u64,
                at(cluster.now),
                &mut fx,
            );
            cluster.brokers.push(broker);
            let effects: Vec<Effect> = fx.drain().collect();
            for effect in effects {
                cluster.carry_out(id, effect);
            }
        }
        for from in 1..=3 {
            for to in (1..=3).filter(|&to| to != from) {
                cluster.step(from, Input::LinkUp(identity(to)));
            }
        }
        cluster.run(Duration::from_secs(20));
        cluster
    }

    fn broker(&mut self, id: i32) -> &mut Broker {
        &mut self.brokers[id as usize - 1]
    }

    /// One step, and everything that follows from it.
    fn step(&mut self, id: i32, input: Input) {
        self.step_alone(id, input);
        self.settle();
    }

    /// One step; its effects are carried out, but what it sends waits.
    fn step_alone(&mut self, id: i32, input: Input) {
        let now = self.now;
        let mut fx = std::mem::take(&mut self.fx);
        self.broker(id).step(at(now), input, &mut fx);
        let effects: Vec<Effect> = fx.drain().collect();
        self.fx = fx;
        for effect in effects {
            self.carry_out(id, effect);
        }
    }

    fn settle(&mut self) {
        while let Some((from, to, message)) = self.mail.pop_front() {
            let input = Input::Peer {
                from: identity(from),
                session: 1,
                message,
            };
            self.step_alone(to, input);
        }
    }

    fn carry_out(&mut self, id: i32, effect: Effect) {
        match effect {
            Effect::Store(order) => {
                let done = Completion {
                    replica: order.replica,
                    seq: order.seq,
                    position: Position::default(),
                    stage: Stage::Durable,
                };
                self.step_alone(id, Input::Stored(vec![done]));
            }
            Effect::Send { to, message } => self.mail.push_back((id, to.0, message)),
            Effect::Respond { request, response } => {
                self.answers.insert(request.number, *response);
            }
            Effect::Query(query) => {
                let result = QueryResult::Failed(ReadError::Unavailable);
                self.step_alone(
                    id,
                    Input::QueryDone {
                        id: query.id,
                        result,
                    },
                );
            }
            Effect::Close(_)
            | Effect::Peers { .. }
            | Effect::Redial(_)
            | Effect::CloseSession { .. }
            | Effect::AcceptPeer { .. }
            | Effect::RejectPeer { .. }
            | Effect::Joined(_)
            | Effect::Ready
            | Effect::CloseClients
            | Effect::Stopped
            | Effect::Notice(_) => {}
        }
    }

    /// Lets time pass, with every deadline on its time.
    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let due = (1..=3).filter_map(|id| Some((self.broker(id).next_deadline()?, id)));
            let Some((at, id)) = due.min().filter(|(at, _)| *at <= end) else {
                break;
            };
            self.now = at.max(self.now);
            self.step(id, Input::Tick);
        }
        self.now = end;
    }

    fn request(&mut self, api_version: i16, body: Request, batch: Option<Batch>) -> Input {
        self.requests += 1;
        let examined = batch
            .map(|batch| examine(batch.to_bytes(), 12, Depth::Header, Limits::default()))
            .into_iter()
            .collect();
        Input::Request(Box::new(ClientRequest {
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
        }))
    }

    fn answer(&mut self) -> Response {
        let answer = self.answers.remove(&self.requests);
        answer.expect("the request is answered")
    }

    fn create(&mut self, name: &str, partitions: i32, replication_factor: i16) {
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: name.into(),
                num_partitions: partitions,
                replication_factor,
                ..CreatableTopic::default()
            }],
            timeout_ms: 30_000,
            ..CreateTopicsRequest::default()
        };
        let input = self.request(7, request.into(), None);
        self.step(1, input);
        self.run(Duration::from_secs(20));
        let Response::CreateTopics(answer) = self.answer() else {
            panic!("an answer of another kind");
        };
        assert!(answer.topics[0].error_code.is_none(), "{answer:?}");
    }

    /// Who leads the partition, and its place in the brokers.
    fn leader(&self, partition: TopicPartition) -> i32 {
        let leads = |id: &i32| {
            self.brokers[*id as usize - 1]
                .replica(partition)
                .is_some_and(|replica| replica.is_leader())
        };
        (1..=3).find(leads).expect("the partition has a leader")
    }
}

fn setup(id: i32) -> Setup {
    Setup {
        registration: BrokerRegistration {
            broker: BrokerId(id),
            directory: voter(id).directory,
            incarnation: Incarnation(1),
            rack: None,
            listeners: vec![Endpoint {
                name: "PLAINTEXT".to_owned(),
                host: "localhost".to_owned(),
                port: 9092,
            }],
            peer_address: format!("localhost:{}", 9190 + id),
        },
        timing: varve_core::links::Timing::default(),
        kafka: BrokerConfig::new(BrokerId(id), ConfigMap::new()).unwrap(),
        metadata_voters_max: 3,
        snapshot_interval: 1000,
        session_timeout: Duration::from_secs(9),
        unwritten_bytes_max: varve_core::broker::UNWRITTEN_BYTES_MAX,
    }
}

fn recovered(id: i32) -> Recovered {
    Recovered {
        cluster: Some(ClusterId(7)),
        broker: BrokerId(id),
        directory: voter(id).directory,
        incarnation: Incarnation(1),
        replicas: vec![RecoveredReplica::empty(
            TopicPartition::METADATA,
            (1..=3).map(voter).collect(),
        )],
    }
}

/// Durations of one kind of step, with what it allocated.
#[derive(Default)]
struct Times {
    nanos: Vec<u64>,
    allocations: u64,
}

impl Times {
    /// Times one step of one broker and leaves its effects in the buffer.
    fn time(&mut self, broker: &mut Broker, now: Instant, input: Input, fx: &mut Effects) {
        let mut nanos = 0;
        let counted = allocation_counter::measure(|| {
            let start = Clock::now();
            broker.step(at(now), input, fx);
            nanos = start.elapsed().as_nanos() as u64;
        });
        self.allocations += counted.count_total;
        self.nanos.push(nanos);
    }

    fn say(mut self, what: &str) {
        self.nanos.sort_unstable();
        let at = |part: usize| self.nanos[(self.nanos.len() - 1) * part / 100];
        println!(
            "  {what:<28} median {:>6} ns   p99 {:>7} ns   {:>3} allocations",
            at(50),
            at(99),
            self.allocations / self.nanos.len() as u64
        );
    }
}

fn batch() -> Batch {
    let mut batch = BatchBuilder::new(Compression::None);
    let value = vec![7; VALUE_BYTES];
    batch
        .push(Timestamp(1_700_000_000_000), None, Some(&value), &[])
        .unwrap();
    batch.build()
}

fn produce_request(topic: &str) -> ProduceRequest {
    ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: topic.into(),
            partition_data: vec![PartitionProduceData {
                index: 0,
                ..PartitionProduceData::default()
            }],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    }
}

fn fetch_request(topic: &str, offset: i64) -> FetchRequest {
    FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: topic.into(),
            partitions: vec![FetchPartition {
                partition: 0,
                fetch_offset: offset,
                current_leader_epoch: -1,
                last_fetched_epoch: -1,
                partition_max_bytes: VALUE_BYTES as i32 + 200,
                ..FetchPartition::default()
            }],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    }
}

/// Measures one leader.
fn measure(partitions: i32, replication_factor: i16) {
    let mut cluster = Cluster::new();
    cluster.create("t", partitions, replication_factor);
    let topic = cluster.brokers[0]
        .image()
        .topic_named("t")
        .expect("it was created")
        .id;
    let partition = TopicPartition {
        topic,
        partition: PartitionIndex(0),
    };
    let leader = cluster.leader(partition);
    println!("{partitions} partitions, replication factor {replication_factor}");
    let [mut produce, mut stored, mut acknowledged] = <[Times; 3]>::default();
    let mut fx = Effects::new();
    for _ in 0..ROUNDS {
        let input = cluster.request(9, produce_request("t").into(), Some(batch()));
        let now = cluster.now;
        produce.time(cluster.broker(leader), now, input, &mut fx);
        let mut append = None;
        let effects: Vec<Effect> = fx.drain().collect();
        for effect in effects {
            match effect {
                Effect::Store(order) => append = Some(order),
                other @ (Effect::Query(_)
                | Effect::Send { .. }
                | Effect::Respond { .. }
                | Effect::Close(_)
                | Effect::Peers { .. }
                | Effect::Redial(_)
                | Effect::CloseSession { .. }
                | Effect::AcceptPeer { .. }
                | Effect::RejectPeer { .. }
                | Effect::Joined(_)
                | Effect::Ready
                | Effect::CloseClients
                | Effect::Stopped
                | Effect::Notice(_)) => cluster.carry_out(leader, other),
            }
        }
        let order = append.expect("it appends");
        let done = Completion {
            replica: partition,
            seq: order.seq,
            position: Position::default(),
            stage: Stage::Durable,
        };
        let input = Input::Stored(vec![done]);
        stored.time(cluster.broker(leader), now, input, &mut fx);
        let effects: Vec<Effect> = fx.drain().collect();
        for effect in effects {
            cluster.carry_out(leader, effect);
        }
        // Followers take what they were sent; their acknowledgements are the leader's steps again.
        while let Some((from, to, message)) = cluster.mail.pop_front() {
            let input = Input::Peer {
                from: identity(from),
                session: 1,
                message: message.clone(),
            };
            let acknowledges = matches!(
                &message,
                PeerMessage::Replica(message)
                    if matches!(message.body, ReplicaBody::AppendReply(AppendReply::Matched { .. }))
            );
            if to != leader || !acknowledges {
                cluster.step_alone(to, input);
                continue;
            }
            acknowledged.time(cluster.broker(leader), now, input, &mut fx);
            let effects: Vec<Effect> = fx.drain().collect();
            for effect in effects {
                cluster.carry_out(leader, effect);
            }
        }
        let Response::Produce(answer) = cluster.answer() else {
            panic!("an answer of another kind");
        };
        assert!(
            answer.responses[0].partition_responses[0]
                .error_code
                .is_none()
        );
        cluster.now = cluster.now + Duration::from_micros(50);
    }
    produce.say("produce");
    stored.say("own append done");
    if replication_factor > 1 {
        acknowledged.say("follower's acknowledgement");
    }
    fetches(&mut cluster, leader, partition);
    idle(&mut cluster, leader);
}

/// Fetches of the last record: alone, and by a session.
fn fetches(cluster: &mut Cluster, leader: i32, partition: TopicPartition) {
    let end = cluster.brokers[leader as usize - 1]
        .replica(partition)
        .expect("it leads")
        .high_watermark()
        .expect("it is open");
    let mut fx = Effects::new();
    let [mut alone, mut by_session] = <[Times; 2]>::default();
    let now = cluster.now;
    for _ in 0..ROUNDS {
        let input = cluster.request(12, fetch_request("t", end.0 - 1).into(), None);
        alone.time(cluster.broker(leader), now, input, &mut fx);
        assert!(answered_bytes(cluster, leader, &mut fx).1 > VALUE_BYTES);
    }
    alone.say("fetch");
    let mut first = fetch_request("t", end.0 - 1);
    first.session_epoch = 0;
    let input = cluster.request(12, first.into(), None);
    cluster.broker(leader).step(at(now), input, &mut fx);
    let (session_id, _) = answered_bytes(cluster, leader, &mut fx);
    assert_ne!(session_id, 0, "a session is made");
    for epoch in 1..=ROUNDS {
        let request = FetchRequest {
            session_id,
            session_epoch: epoch as i32,
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: 1 << 20,
            ..FetchRequest::default()
        };
        let input = cluster.request(12, request.into(), None);
        by_session.time(cluster.broker(leader), now, input, &mut fx);
        assert!(answered_bytes(cluster, leader, &mut fx).1 > VALUE_BYTES);
    }
    by_session.say("fetch by session");
}

/// The session and the bytes of records of the fetch just sent.
fn answered_bytes(cluster: &mut Cluster, leader: i32, fx: &mut Effects) -> (i32, usize) {
    let effects: Vec<Effect> = fx.drain().collect();
    for effect in effects {
        cluster.carry_out(leader, effect);
    }
    let Response::Fetch(answer) = cluster.answer() else {
        panic!("an answer of another kind");
    };
    let records = answer.responses[0].partitions[0].records.as_ref();
    (
        answer.session_id,
        records.map_or(0, |records| records.len()),
    )
}

/// Steps that send heartbeats or do nothing, an hour of them at the worst.
fn idle(cluster: &mut Cluster, leader: i32) {
    cluster.run(Duration::from_secs(5));
    let [mut tick, mut beat] = <[Times; 2]>::default();
    let mut fx = Effects::new();
    for _ in 0..ROUNDS / 10 {
        let at = cluster.now + Duration::from_millis(100);
        while let Some((due, id)) = (1..=3)
            .filter_map(|id| Some((cluster.broker(id).next_deadline()?, id)))
            .min()
            .filter(|(due, _)| *due <= at)
        {
            cluster.now = due.max(cluster.now);
            if id != leader {
                cluster.step(id, Input::Tick);
                continue;
            }
            let now = cluster.now;
            tick.time(cluster.broker(leader), now, Input::Tick, &mut fx);
            let effects: Vec<Effect> = fx.drain().collect();
            for effect in effects {
                cluster.carry_out(leader, effect);
            }
            cluster.settle();
        }
        cluster.now = at;
        let now = cluster.now;
        let peer = leader % 3 + 1;
        let message = PeerMessage::Heartbeat(varve_core::peer::Heartbeat {
            directory: varve_core::peer::DirectoryState::Online,
            sent_at: now,
            echo: None,
            disk_stalled: Duration::ZERO,
        });
        let input = Input::Peer {
            from: identity(peer),
            session: 1,
            message,
        };
        beat.time(cluster.broker(leader), now, input, &mut fx);
        let effects: Vec<Effect> = fx.drain().collect();
        for effect in effects {
            cluster.carry_out(leader, effect);
        }
        cluster.settle();
    }
    tick.say("tick while idle");
    beat.say("heartbeat taken");
}

fn main() {
    for replication_factor in [1, 3] {
        for partitions in [1, 1_000] {
            measure(partitions, replication_factor);
        }
    }
    measure(10_000, 1);
}
