//! Metadata responses wait while they would name a leader that this broker has just lost the connection to.
//!
//! A client that loses the connection to its leader asks for the metadata at once, usually at a broker that has lost its
//! own connection to that leader at the same moment: the leader's process has been killed, and another leader will be
//! elected within some milliseconds. A client that gets the former leader until then, or no leader, retries after a second
//! (librdkafka) or more (franz-go). So a response that would name such a leader waits until the leader of each of its
//! partitions has been announced anew, or the connection is up again, or [`ELECTION_WAIT_MAX`] has passed since it broke.
//! A broken connection does not depose a leader: when the wait is over, the response names the leader that is known.

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

/// How long responses wait for an election after the connection to a leader has broken. Elections take some tens of
/// milliseconds.
const ELECTION_WAIT_MAX: Duration = Duration::from_millis(300);

/// Leaders to which the connection has just broken, and the requests that wait for other leaders.
#[derive(Debug, Default)]
pub(super) struct DisconnectedLeaders {
    /// The partitions that they lead by the latest announcement, each with its leader and the end of the wait.
    partitions: BTreeMap<TopicPartition, (BrokerId, Instant)>,
    waiting: BTreeSet<RequestId>,
}

/// A request whose response would name a disconnected leader.
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
        broker.requests.disconnected_leaders.partitions.clear();
        broker.answer_from_image(self.0, true, fx);
    }

    fn forget(&self, broker: &mut Broker) {
        let disconnected = &mut broker.requests.disconnected_leaders;
        disconnected.waiting.remove(&self.0.context.id);
    }
}

impl DisconnectedLeaders {
    fn drop_expired(&mut self, now: Instant) {
        self.partitions.retain(|_, (_, until)| *until > now);
    }

    /// Whether the connection to the partition's leader has just broken.
    pub(super) fn lead(&self, partition: TopicPartition, now: Instant) -> bool {
        let entry = self.partitions.get(&partition);
        entry.is_some_and(|(_, until)| *until > now)
    }

    /// Until when a response waits; `None` where it names no disconnected leader.
    fn wait_until(&self, now: Instant, response: &Response) -> Option<Instant> {
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
        let disconnected = named.filter_map(|partition| self.partitions.get(&partition));
        let until = disconnected.map(|&(_, until)| until).max()?;
        (until > now).then_some(until)
    }
}

impl Broker {
    /// A connection with a peer has broken: responses that would name it as leader wait.
    pub(super) fn on_leader_disconnected(&mut self, leader: BrokerId) {
        let until = self.now + ELECTION_WAIT_MAX;
        let led = self.leaders.iter();
        let led = led.filter(|(_, known)| known.announcement.leader == Some(leader));
        // A partition with one voter has no other leader to wait for.
        let has_other_voters = |partition: &TopicPartition| {
            let image = self.image().partition(*partition);
            image.is_some_and(|partition| partition.voters().len() > 1)
        };
        let led: Vec<TopicPartition> = led.map(|(&id, _)| id).filter(has_other_voters).collect();
        let disconnected = &mut self.requests.disconnected_leaders;
        disconnected.drop_expired(self.now);
        for partition in led {
            let entry = (leader, until);
            disconnected.partitions.entry(partition).or_insert(entry);
        }
    }

    /// Both connections with a peer are up again: responses may name it as leader.
    pub(super) fn on_leader_reconnected(&mut self, leader: BrokerId, fx: &mut Effects) {
        let disconnected = &mut self.requests.disconnected_leaders;
        disconnected.partitions.retain(|_, (of, _)| *of != leader);
        self.answer_waiting_for_leader(fx);
    }

    /// The leader of a partition has been announced.
    pub(super) fn on_leader_announced(&mut self, partition: TopicPartition, fx: &mut Effects) {
        if partition == TopicPartition::METADATA {
            self.query_new_controller(fx);
        }
        let disconnected = &mut self.requests.disconnected_leaders;
        if disconnected.partitions.remove(&partition).is_some() {
            self.answer_waiting_for_leader(fx);
        }
    }

    /// Puts a request into the purgatory if its response names a disconnected leader. Returns whether it does.
    pub(super) fn delay_for_leader(
        &mut self,
        request: &ImageRequest,
        response: &Response,
        fx: &mut Effects,
    ) -> bool {
        let disconnected = &mut self.requests.disconnected_leaders;
        let until = disconnected.wait_until(self.now, response);
        let Some(until) = until.filter(|_| !fx.mutant(Mutant::NamesBrokenLeaders)) else {
            return false;
        };
        fx.probe(Probe::LeaderDisconnected);
        disconnected.waiting.insert(request.context.id);
        let waiting = Box::new(WaitingForLeader(request.clone()));
        self.requests.purgatory.insert(until, waiting);
        true
    }

    /// Answers the waiting requests once there is no disconnected leader left. They are not examined earlier: each names
    /// many partitions, and all of these change at the same time.
    fn answer_waiting_for_leader(&mut self, fx: &mut Effects) {
        let disconnected = &mut self.requests.disconnected_leaders;
        disconnected.drop_expired(self.now);
        if !disconnected.partitions.is_empty() {
            return;
        }
        for id in std::mem::take(&mut disconnected.waiting) {
            if let Some(waiting) = self.requests.purgatory.take::<WaitingForLeader>(id) {
                self.answer_from_image(waiting.0, true, fx);
            }
        }
    }
}
