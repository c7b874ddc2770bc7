//! Clients that behave like real ones: a producer that retries with fresh metadata, idempotent or not, a consumer that
//! reads its partitions by assignment, and whoever creates a topic.
//!
//! A [`Client`] has two halves. The [`NetworkClient`] is what all kinds share: connections, calls that wait for an answer,
//! what brokers have told of the cluster, back-off. Its [`Work`] is what a kind decides: what to send when it is woken, and
//! what to make of an answer or a failure. Neither looks behind the wire. What a client did and saw goes into the
//! [`History`].

mod backoff;
mod network_client;
mod topic_creator;
mod producer;
mod consumer;
mod offset_queries;

use std::any::Any;
use std::fmt;

use varve_core::wire::{Request, Response};

use crate::clock::SimTime;
use crate::draw::{Draw, Draws};
use crate::history::History;

pub use consumer::Consumer;
pub use network_client::{ClusterMetadata, NetworkClient};
pub use offset_queries::OffsetQuery;
pub use producer::Producer;
pub use topic_creator::TopicCreator;

use network_client::LOOK_INTERVAL;

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
#[allow(
    clippy::large_enum_variant,
    reason = "most actions send something, and they are carried out one by one"
)]
pub enum ClientAction {
    /// Connect to this node.
    Dial(u8),
    /// Send to this node, which is connected.
    Send(u8, Call),
    /// Drop the connection to this node.
    Close(u8),
}

/// What a client is for.
///
/// Everything is sent by [`Self::pump`], which also follows every answer and every failure. [`NetworkClient::call`] numbers
/// the calls; what each is for is remembered by the kind that made it, which hears of each once: of its answer or of its
/// failure.
pub trait Work: Any + fmt::Debug {
    /// Sends what can be sent now.
    fn pump(
        &mut self,
        now: SimTime,
        network: &mut NetworkClient,
        history: &mut History,
        actions: &mut Vec<ClientAction>,
    );

    /// A call has been answered.
    fn on_response(
        &mut self,
        now: SimTime,
        call: u64,
        response: Response,
        network: &mut NetworkClient,
        history: &mut History,
    );

    /// A call is not going to be answered: it has waited for too long, or its connection is gone.
    fn on_failure(&mut self, now: SimTime, call: u64, draw: &mut Draw);

    /// When it has something to do by itself.
    fn next_wake(&self, _now: SimTime) -> Option<SimTime> {
        None
    }

    /// Nothing is left to do.
    fn is_done(&self) -> bool {
        false
    }

    /// Whether it calls the leaders of its topics' partitions. Where it does not, it needs no more of the metadata than a
    /// broker that answers.
    fn needs_leaders(&self) -> bool {
        true
    }
}

/// One client.
#[derive(Debug)]
pub struct Client {
    /// What all kinds share.
    pub network: NetworkClient,
    work: Box<dyn Work>,
}

impl Client {
    /// A client that knows how many nodes the cluster has and the names of its topics.
    #[must_use]
    pub fn new(
        number: u8,
        nodes: u8,
        topics: &[&str],
        work: Box<dyn Work>,
        draws: Draws,
        wall_start: i64,
    ) -> Self {
        Self {
            network: NetworkClient::new(number, nodes, topics, draws, wall_start),
            work,
        }
    }

    /// The same where no node but this one can be reached.
    #[must_use]
    pub fn that_reaches_only(mut self, node: u8) -> Self {
        if !self.work.needs_leaders() {
            self.network.need_no_metadata(); // it has nobody else to learn of
        }
        self.network.reach_only(node);
        self
    }

    /// What it is for, which is of this kind.
    ///
    /// # Panics
    /// Where it is of another kind.
    #[must_use]
    #[track_caller]
    pub fn work<W: Work>(&self) -> &W {
        let work: &dyn Any = self.work.as_ref();
        work.downcast_ref().expect("the client is of this kind")
    }

    /// The same, to be changed.
    ///
    /// # Panics
    /// Where it is of another kind.
    #[must_use]
    #[track_caller]
    pub fn work_mut<W: Work>(&mut self) -> &mut W {
        let work: &mut dyn Any = self.work.as_mut();
        work.downcast_mut().expect("the client is of this kind")
    }

    /// Nothing is left to do.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.work.is_done()
    }

    /// Does everything that can be done now, and says when to be woken.
    pub fn pump(
        &mut self,
        now: SimTime,
        history: &mut History,
        actions: &mut Vec<ClientAction>,
    ) -> Option<SimTime> {
        for node in self.network.overdue(now) {
            actions.push(ClientAction::Close(node));
            self.on_broken(now, node);
        }
        self.network.fetch_metadata(now, actions);
        self.work.pump(now, &mut self.network, history, actions);
        self.next_wake(now)
    }

    fn next_wake(&self, now: SimTime) -> Option<SimTime> {
        let network = self.network.next_wake();
        let next = network.into_iter().chain(self.work.next_wake(now)).min()?;
        // What is due and could not be done waits for a connection or an answer, or is tried again soon.
        Some(if next > now {
            next
        } else {
            now + LOOK_INTERVAL
        })
    }

    /// A dial has failed or a connection is gone, and the answers with it that were to come.
    pub fn on_broken(&mut self, now: SimTime, node: u8) {
        for call in self.network.on_broken(now, node) {
            let mut draw = self.network.draw();
            if self.network.is_for_metadata(call) {
                self.network.on_metadata_failed();
            } else {
                self.work.on_failure(now, call, &mut draw);
            }
        }
    }

    /// An answer has come.
    pub fn on_response(
        &mut self,
        now: SimTime,
        node: u8,
        call: u64,
        response: Response,
        history: &mut History,
    ) {
        let network = &mut self.network;
        if !network.complete(node, call) {
            return;
        }
        if !network.is_for_metadata(call) {
            self.work.on_response(now, call, response, network, history);
        } else if let Response::Metadata(response) = response {
            network.on_metadata(now, &response, self.work.needs_leaders());
        } else {
            network.refuse_answer("metadata", &response, history);
        }
    }
}
