//! Clients that behave like real ones: a producer that retries with fresh metadata, idempotent or not, and a
//! consumer that reads its partitions by assignment.
//!
//! A client knows the cluster by what brokers answer it, dials who leads, gives requests up after a while, and
//! backs off. It never looks behind the wire. What it did and saw goes into the [`History`].

mod backoff;
mod metadata;
mod create_topic;
mod producer;
mod consumer;
mod offset_queries;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use varve_core::wire::{Request, Response};

use crate::clock::SimTime;
use crate::draw::{Draw, Draws, Subsystem};
use crate::history::History;

pub use consumer::Consumer;
pub use offset_queries::OffsetQuery;
pub use producer::Producer;

use backoff::Backoff;
use metadata::Known;
use offset_queries::Floor;

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
    Offsets(OffsetQuery, BTreeMap<i32, Floor>),
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
    metadata_backoff: Backoff,
    /// Whom it asks what any broker can answer.
    adviser: Option<u8>,
    /// Whom it has taken for that since it last began with all of them again.
    advisers_tried: BTreeSet<u8>,
    links: BTreeMap<u8, ClientLink>,
    /// Nodes that could not be reached are not dialled again before this time.
    unreachable: BTreeMap<u8, SimTime>,
    next_call: u64,
    /// Milliseconds since the epoch when the run began, for record timestamps.
    wall_start: i64,
}

const CALL_PATIENCE: Duration = Duration::from_millis(4000);
/// A node that could not be reached is left alone for so long.
const RECONNECT_BACKOFF: Duration = Duration::from_millis(200);
/// What is due and could not be done is tried again after this.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

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
            metadata_backoff: Backoff::default(),
            adviser: None,
            advisers_tried: BTreeSet::new(),
            links: BTreeMap::new(),
            unreachable: BTreeMap::new(),
            next_call: 0,
            wall_start,
        }
    }

    /// The same where no node but this one can be reached.
    #[must_use]
    pub fn that_reaches_only(mut self, node: u8) -> Self {
        if matches!(self.work, Work::CreateTopic { .. }) {
            self.metadata_wanted = None; // it has nobody else to learn of
        }
        let others = (1..=self.nodes).filter(|&other| other != node);
        self.unreachable = others.map(|other| (other, SimTime(u64::MAX))).collect();
        self
    }

    /// Whether it has a connection to this node.
    #[must_use]
    pub fn is_connected(&self, node: u8) -> bool {
        self.links.get(&node).is_some_and(|link| link.up)
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
                self.query_offsets(now, history, actions);
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
            Work::Produce(producer) => producer.next_wake(),
            Work::Consume(consumer) => consumer.next_wake(now),
            Work::CreateTopic { .. } => None,
        };
        let next = deadlines.chain(metadata).chain(work).min()?;
        // What is due and could not be done waits for a connection or an answer, or is tried again soon.
        Some(if next > now {
            next
        } else {
            now + LOOK_INTERVAL
        })
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

    /// Whether this node has such a request and has not answered it.
    fn is_waiting_for(&self, node: u8, purpose: &Purpose) -> bool {
        self.links
            .get(&node)
            .is_some_and(|link| link.calls.values().any(|(known, _)| known == purpose))
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
            self.unreachable.insert(node, now + RECONNECT_BACKOFF);
        }
        if self.adviser == Some(node) {
            self.adviser = None;
        }
        self.want_metadata(now);
        for (purpose, _) in link.calls.into_values() {
            self.give_up(now, &purpose);
        }
    }

    fn give_up(&mut self, now: SimTime, purpose: &Purpose) {
        let mut draw = self.draw();
        match purpose {
            Purpose::Metadata => self.metadata_asked = false,
            Purpose::Create | Purpose::Fetch | Purpose::Offsets(..) => {}
            Purpose::Identity => {
                if let Work::Produce(producer) = &mut self.work {
                    producer.identity_failed(now, &mut draw);
                }
            }
            Purpose::Produce(partition, id) => {
                if let Work::Produce(producer) = &mut self.work {
                    producer.try_again(*partition, *id, now, &mut draw);
                }
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
                self.on_identity(now, &response);
            }
            (Purpose::Create, Response::CreateTopics(response)) => {
                self.on_created(now, &response);
            }
            (Purpose::Produce(partition, id), Response::Produce(response)) => {
                self.on_produced(now, partition, id, &response, history);
            }
            (Purpose::Fetch, Response::Fetch(response)) => {
                self.on_fetched(now, &response, history);
            }
            (Purpose::Offsets(query, floors), Response::ListOffsets(response)) => {
                self.on_offsets(query, &floors, &response, history);
            }
            (Purpose::Offsets(_, floors), Response::OffsetForLeaderEpoch(response)) => {
                self.on_epoch_ends(&floors, &response, history);
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
}
