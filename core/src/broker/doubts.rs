//! Clients are not sent to a leader whose connection to this broker has just broken.
//!
//! Who loses the connection to its leader asks for the metadata at once, at a broker that has mostly lost its own at the
//! same moment: the leader's process has been killed, and others will have elected another within some milliseconds. A
//! client that is told the former leader until then, or none, asks again after a second (librdkafka) or more (franz-go).
//! So an answer that would name such a leader waits, until who leads each of its partitions has been announced anew, or the
//! connection is there again, or it has taken [`PATIENCE`] since the break. A broken connection moves no leader: whoever
//! waits in vain is told what is known.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::effect::{Effects, RequestId};
use crate::hooks::{Mutant, Probe};
use crate::ids::{BrokerId, PartitionIndex, TopicPartition};
use crate::input::RequestContext;
use crate::time::Instant;
use crate::wire::{MetadataResponse, Response};

use super::Broker;
use super::listing::ImageRequest;
use super::purgatory::Delayed;

/// How long after its connection has broken a leader is in doubt. Elections take some tens of milliseconds.
const PATIENCE: Duration = Duration::from_millis(300);

/// The leaders in doubt, and who waits to be told of others.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// The partitions that they lead, as far as has been heard, and until when this is doubted.
    partitions: BTreeMap<TopicPartition, (BrokerId, Instant)>,
    waiting: BTreeSet<RequestId>,
}

/// A request of which the answer would name a leader in doubt.
#[derive(Debug)]
struct WaitingForLeader(ImageRequest);

impl Delayed for WaitingForLeader {
    fn context(&self) -> &RequestContext {
        &self.0.context
    }

    fn expire(self: Box<Self>, broker: &mut Broker, fx: &mut Effects) {
        broker.answer_from_image(self.0, true, fx);
    }

    fn fail(self: Box<Self>, broker: &mut Broker, fx: &mut Effects) {
        // This broker has no time left to wait.
        broker.requests.doubts.partitions.clear();
        broker.answer_from_image(self.0, true, fx);
    }

    fn forget(&self, broker: &mut Broker) {
        broker.requests.doubts.waiting.remove(&self.0.context.id);
    }
}

impl Doubts {
    fn drop_past(&mut self, now: Instant) {
        self.partitions.retain(|_, (_, until)| *until > now);
    }

    /// Whether the partition's leader is in doubt.
    pub(super) fn contain(&self, partition: TopicPartition, now: Instant) -> bool {
        let doubt = self.partitions.get(&partition);
        doubt.is_some_and(|(_, until)| *until > now)
    }

    /// Until when an answer waits, where it names a partition whose leader is in doubt.
    fn until(&self, now: Instant, response: &Response) -> Option<Instant> {
        let Response::Metadata(MetadataResponse { topics, .. }) = response else {
            return None;
        };
        if self.partitions.is_empty() {
            return None;
        }
        let named = topics.iter().flat_map(|topic| {
            let partitions = topic.partitions.iter();
            partitions.map(|partition| TopicPartition {
                topic: topic.topic_id,
                partition: PartitionIndex(partition.partition_index),
            })
        });
        let doubted = named.filter_map(|partition| self.partitions.get(&partition));
        let until = doubted.map(|&(_, until)| until).max()?;
        (until > now).then_some(until)
    }
}

impl Broker {
    /// A connection with a peer is broken.
    pub(super) fn doubt(&mut self, leader: BrokerId) {
        let until = self.now + PATIENCE;
        let led = self.leaders.iter();
        let led = led.filter(|(_, told)| told.announcement.leader == Some(leader));
        // Nobody but its only replica leads a partition.
        let others_can = |partition: &TopicPartition| {
            let image = self.image().partition(*partition);
            image.is_some_and(|partition| partition.voters().len() > 1)
        };
        let led: Vec<TopicPartition> = led.map(|(&id, _)| id).filter(others_can).collect();
        let doubts = &mut self.requests.doubts;
        doubts.drop_past(self.now);
        for partition in led {
            let doubt = (leader, until);
            doubts.partitions.entry(partition).or_insert(doubt);
        }
    }

    /// Both connections with a peer are there again.
    pub(super) fn trust_again(&mut self, leader: BrokerId, fx: &mut Effects) {
        let doubts = &mut self.requests.doubts;
        doubts.partitions.retain(|_, (of, _)| *of != leader);
        self.answer_undoubted(fx);
    }

    /// Who leads a partition is announced.
    pub(super) fn end_doubt(&mut self, partition: TopicPartition, fx: &mut Effects) {
        if partition == TopicPartition::METADATA {
            self.ask_new_controller(fx);
        }
        if self.requests.doubts.partitions.remove(&partition).is_some() {
            self.answer_undoubted(fx);
        }
    }

    /// Lets a request wait whose answer names a leader in doubt.
    pub(super) fn waits_for_leader(
        &mut self,
        request: &ImageRequest,
        response: &Response,
        fx: &mut Effects,
    ) -> bool {
        let until = self.requests.doubts.until(self.now, response);
        let Some(until) = until.filter(|_| !fx.mutant(Mutant::NamesBrokenLeaders)) else {
            return false;
        };
        fx.probe(Probe::LeaderInDoubt);
        self.requests.doubts.waiting.insert(request.context.id);
        let waiting = Box::new(WaitingForLeader(request.clone()));
        self.requests.purgatory.insert(until, waiting);
        true
    }

    /// Answers who waits once no leader is in doubt. They are not looked at before: each names many partitions, and all of
    /// these change at the same time.
    fn answer_undoubted(&mut self, fx: &mut Effects) {
        self.requests.doubts.drop_past(self.now);
        if !self.requests.doubts.partitions.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.requests.doubts.waiting) {
            if let Some(waiting) = self.requests.purgatory.take::<WaitingForLeader>(id) {
                self.answer_from_image(waiting.0, true, fx);
            }
        }
    }
}
