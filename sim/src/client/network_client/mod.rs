//! What all clients share, as Kafka's do in their class of this name: connections to nodes, calls that wait for an answer
//! and are given up after a while, and whom to ask. It does not know what a call is for, but for its own, which are for
//! metadata.

mod metadata;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use varve_core::wire::{Request, Response};

use crate::client::backoff::Backoff;
use crate::client::{Call, ClientAction};
use crate::clock::SimTime;
use crate::draw::{Draw, Draws, Subsystem};
use crate::history::History;

pub use metadata::ClusterMetadata;
pub(super) use metadata::by_topic;

const CALL_PATIENCE: Duration = Duration::from_millis(4000);
/// A node that could not be reached is left alone for so long.
const RECONNECT_BACKOFF: Duration = Duration::from_millis(200);
/// What is due and could not be done is tried again after this.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Clone, Debug, Default)]
struct ClientLink {
    up: bool,
    /// Calls that wait for an answer, with when they are given up.
    calls: BTreeMap<u64, SimTime>,
}

/// What a client of any kind has.
#[derive(Clone, Debug)]
pub struct NetworkClient {
    /// The client's number, from 1.
    pub number: u8,
    /// The names of the topics that it uses.
    pub topics: Vec<String>,
    nodes: u8,
    draws: Draws,
    ordinal: u64,
    metadata: ClusterMetadata,
    /// Metadata is to be fetched, not before this time.
    metadata_wanted: Option<SimTime>,
    /// The call for metadata that waits for its answer.
    metadata_call: Option<u64>,
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

impl NetworkClient {
    pub(super) fn new(
        number: u8,
        nodes: u8,
        topics: &[&str],
        draws: Draws,
        wall_start: i64,
    ) -> Self {
        Self {
            number,
            topics: topics.iter().map(|&topic| topic.to_owned()).collect(),
            nodes,
            draws,
            ordinal: 0,
            metadata: ClusterMetadata::default(),
            metadata_wanted: Some(SimTime::default()),
            metadata_call: None,
            metadata_backoff: Backoff::default(),
            adviser: None,
            advisers_tried: BTreeSet::new(),
            links: BTreeMap::new(),
            unreachable: BTreeMap::new(),
            next_call: 0,
            wall_start,
        }
    }

    /// No node but this one can be reached.
    pub(super) fn reach_only(&mut self, node: u8) {
        let others = (1..=self.nodes).filter(|&other| other != node);
        self.unreachable = others.map(|other| (other, SimTime(u64::MAX))).collect();
    }

    /// The client's next draw.
    pub fn draw(&mut self) -> Draw {
        self.ordinal += 1;
        self.draws
            .at(Subsystem::Client, u64::from(self.number), self.ordinal)
    }

    /// What the client's wall clock shows, in milliseconds since the epoch.
    #[must_use]
    pub fn wall(&self, now: SimTime) -> i64 {
        self.wall_start + i64::try_from(now.millis()).unwrap_or(i64::MAX)
    }

    /// Whether it has a connection to this node.
    #[must_use]
    pub fn is_connected(&self, node: u8) -> bool {
        self.links.get(&node).is_some_and(|link| link.up)
    }

    /// When it has something to do by itself.
    pub(super) fn next_wake(&self) -> Option<SimTime> {
        let links = self.links.values();
        let deadlines = links.flat_map(|link| link.calls.values().copied());
        let metadata = self
            .metadata_wanted
            .filter(|_| self.metadata_call.is_none());
        deadlines.chain(metadata).min()
    }

    /// Nodes that have let a call wait for too long.
    pub(super) fn overdue(&self, now: SimTime) -> Vec<u8> {
        self.links
            .iter()
            .filter(|(_, link)| link.calls.values().any(|deadline| *deadline <= now))
            .map(|(&node, _)| node)
            .collect()
    }

    /// Sends where the node is connected, and dials where it is not. Returns the call's number where it has been sent.
    pub fn call(
        &mut self,
        now: SimTime,
        node: u8,
        api_version: i16,
        body: Request,
        actions: &mut Vec<ClientAction>,
    ) -> Option<u64> {
        if !self.connect(now, node, actions) {
            return None;
        }
        self.next_call += 1;
        let number = self.next_call;
        let link = self.links.get_mut(&node).expect("it is connected");
        if !matches!(&body, Request::Produce(request) if request.acks == 0) {
            link.calls.insert(number, now + CALL_PATIENCE);
        }
        actions.push(ClientAction::Send(
            node,
            Call {
                number,
                api_version,
                body,
            },
        ));
        Some(number)
    }

    /// The same where the node is called as a partition's leader: if it cannot be reached, there may be another.
    pub fn call_leader(
        &mut self,
        now: SimTime,
        node: u8,
        api_version: i16,
        body: Request,
        actions: &mut Vec<ClientAction>,
    ) -> Option<u64> {
        let call = self.call(now, node, api_version, body, actions);
        if call.is_none() && !self.links.contains_key(&node) {
            self.want_metadata(now);
        }
        call
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

    /// A dial has failed or a connection is gone. Returns the calls that waited for an answer on it.
    pub(super) fn on_broken(&mut self, now: SimTime, node: u8) -> Vec<u64> {
        let Some(link) = self.links.remove(&node) else {
            return Vec::new();
        };
        if !link.up {
            self.unreachable.insert(node, now + RECONNECT_BACKOFF);
        }
        if self.adviser == Some(node) {
            self.adviser = None;
        }
        self.want_metadata(now);
        link.calls.into_keys().collect()
    }

    /// An answer has come: whether this call waits for it, which then waits no more.
    pub(super) fn complete(&mut self, node: u8, call: u64) -> bool {
        let link = self.links.get_mut(&node);
        link.is_some_and(|link| link.calls.remove(&call).is_some())
    }

    /// An answer does not fit what the call was for.
    pub fn refuse_answer(
        &self,
        purpose: impl fmt::Debug,
        response: &Response,
        history: &mut History,
    ) {
        history.fail(
            "AnswersFitRequests",
            format!(
                "c{} asked for {purpose:?} and was answered a {}",
                self.number,
                response.api_key().name()
            ),
        );
    }
}
