//! Makes responses about the cluster current, by Raft's read index (dissertation, 6.4): the broker that responds
//! queries the voters of the metadata log.
//!
//! A broker's image is a committed prefix of the metadata, and may be old: the broker has just been started, follows
//! slowly, or is cut off. The image may lack what another broker has already shown or acknowledged, and clients treat
//! *does not exist* as final: librdkafka fails the records of a topic whose number of partitions shrinks. So a response
//! from the image waits until the image is known to have everything that any broker had shown when the request arrived.
//! A *round* finds that out: one message to each voter of the metadata log, one round at a time, for all requests that
//! arrived before it began.
//!
//! A voter answers with the latest leader epoch that it has entered, and a leader also with its high watermark. When a
//! leader of epoch *e* has answered, and a majority of its voters had entered no epoch above *e* when the round began,
//! then nothing had been committed in a later epoch by then: the leader of a later epoch has the votes of a majority,
//! and two majorities share a voter. So everything committed by then is below that leader's high watermark. No clock is
//! involved.
//!
//! A round queries the other live brokers too, and confirms nothing before each has answered or its connection has
//! broken: they may lead partitions that the response names, and a process that ended just before the request arrived
//! is then known to be disconnected (`disconnected_leaders`). A broker that has not answered when the voters are
//! queried again is not awaited: it may be paused.
//!
//! Where no round succeeds in time, the response has the topics of the image as they are, since partitions work without
//! a controller, and `LEADER_NOT_AVAILABLE` for those that the image lacks, which every client retries and none treats
//! as *does not exist*. A list of all topics cannot say that something may be missing: the connection is closed, and
//! the client tries another broker.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::effect::{Effect, Effects, RequestId};
use crate::hooks::{Mutant, Probe};
use crate::ids::{BrokerId, LeaderEpoch, Offset, TopicId, TopicPartition, Voter};
use crate::input::RequestContext;
use crate::peer::{PeerIdentity, PeerMessage, ReadIndex, ReadIndexReply};
use crate::replica::Replica;
use crate::time::Instant;
use crate::wire::{ErrorCode, Response};

use super::Broker;
use super::listing::ImageRequest;
use super::lookup::TopicReference;
use super::purgatory::Delayed;

/// How long a request waits for a successful round.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(1);
/// The same after a request has timed out, until a round succeeds: clients of a broker that is cut off should not wait
/// long for each response.
const CONFIRMATION_TIMEOUT_CUT_OFF: Duration = Duration::from_millis(100);
/// After this long the voters are queried again, since messages are lost and leaders change.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// A request or response that waits until the image is known to be current.
#[derive(Debug)]
pub(super) enum Unconfirmed {
    /// A request that is answered from the image.
    Request(ImageRequest),
    /// A response that says that a topic or partition of the request does not exist.
    Answer(RequestContext, Box<Response>),
}

/// The same in the purgatory, with the first round that can confirm it.
#[derive(Debug)]
struct WaitingUnconfirmed {
    round: u64,
    what: Unconfirmed,
}

impl Unconfirmed {
    const fn context(&self) -> &RequestContext {
        match self {
            Self::Request(request) => &request.context,
            Self::Answer(context, _) => context,
        }
    }
}

impl Delayed for WaitingUnconfirmed {
    fn context(&self) -> &RequestContext {
        self.what.context()
    }

    fn expire(self: Box<Self>, broker: &mut Broker, fx: &mut Effects) {
        fx.probe(Probe::ReadIndexTimedOut);
        broker.requests.read_indexes.cut_off = true;
        let denies = fx.mutant(Mutant::DeniesUnconfirmed);
        broker.answer_unconfirmed(self.what, denies, fx);
    }

    /// This broker has no time left for a round. Clients that wait for its image try another broker.
    fn fail(self: Box<Self>, broker: &mut Broker, fx: &mut Effects) {
        match self.what {
            Unconfirmed::Request(request) => broker.close(request.context.id.connection, fx),
            answer @ Unconfirmed::Answer(..) => broker.answer_unconfirmed(answer, false, fx),
        }
    }

    fn forget(&self, broker: &mut Broker) {
        let waiting = &mut broker.requests.read_indexes.waiting;
        waiting.remove(&(self.round, self.what.context().id));
    }

    /// The leader of the metadata, wherever it is, soon confirms it.
    fn outlasts_leaderships(&self) -> bool {
        true
    }
}

/// Read-index rounds, and the requests that wait for them.
#[derive(Debug, Default)]
pub(super) struct ReadIndexes {
    last_round: u64,
    round: Option<Round>,
    /// The waiting requests, by the first round that can confirm them.
    waiting: BTreeSet<(u64, RequestId)>,
    /// When the voters are queried again.
    retry_at: Option<Instant>,
    /// A request has timed out, and no round has succeeded since.
    cut_off: bool,
    /// Brokers that have queried this broker, as leader of the metadata, before its opening was committed: the latest
    /// round of each.
    early: BTreeMap<BrokerId, u64>,
}

/// The answers in a round.
#[derive(Debug)]
struct Round {
    number: u64,
    /// For each voter, the earliest leader epoch in its answers: it had entered no later one when the round began.
    epochs: BTreeMap<Voter, LeaderEpoch>,
    /// The answer of the leader with the latest epoch.
    leader: Option<(LeaderEpoch, ReadIndex)>,
    /// Brokers that have been queried, may lead a partition of the response, and have not answered.
    awaited: BTreeSet<BrokerId>,
}

impl Round {
    fn add_reply(&mut self, from: Voter, reply: ReadIndexReply) {
        self.awaited.remove(&from.broker);
        let epoch = self.epochs.entry(from).or_insert(reply.leader_epoch);
        *epoch = reply.leader_epoch.min(*epoch);
        let known = self.leader.as_ref().map(|(epoch, _)| *epoch);
        if let Some(leader) = reply.leader
            && known <= Some(reply.leader_epoch)
        {
            self.leader = Some((reply.leader_epoch, leader));
        }
    }

    /// The end of everything that any broker had shown when the round began; `None` while that is not known.
    fn end(&self, alone: bool) -> Option<Offset> {
        if !self.awaited.is_empty() {
            return None;
        }
        let (leader_epoch, leader) = self.leader.as_ref()?;
        let follows = |voter: &&Voter| {
            let entered = self.epochs.get(voter);
            entered.is_some_and(|entered| entered <= leader_epoch)
        };
        let count = leader.voters.iter().filter(follows).count();
        (alone || count > leader.voters.len() / 2).then_some(leader.end)
    }
}

impl ReadIndexes {
    /// When the voters are queried again.
    pub(super) const fn next_deadline(&self) -> Option<Instant> {
        self.retry_at
    }
}

impl Broker {
    /// Answers once the image is known to have everything that any broker has shown by now.
    pub(super) fn await_read_index(&mut self, what: Unconfirmed, fx: &mut Effects) {
        if fx.mutant(Mutant::AnswersUnconfirmed) {
            self.answer_unconfirmed(what, true, fx);
            return;
        }
        let reads = &mut self.requests.read_indexes;
        let late = reads.round.is_some() && !fx.mutant(Mutant::JoinsRoundUnderWay);
        let next = reads.last_round + u64::from(late || reads.round.is_none());
        reads.waiting.insert((next, what.context().id));
        let timeout = if reads.cut_off {
            CONFIRMATION_TIMEOUT_CUT_OFF
        } else {
            CONFIRMATION_TIMEOUT
        };
        let deadline = self.now + timeout;
        let waiting = WaitingUnconfirmed { round: next, what };
        self.requests.purgatory.insert(deadline, Box::new(waiting));
        if self.requests.read_indexes.round.is_none() {
            self.begin_read_index_round(fx);
        }
    }

    fn begin_read_index_round(&mut self, fx: &mut Effects) {
        let reads = &mut self.requests.read_indexes;
        reads.last_round += 1;
        reads.round = Some(Round {
            number: reads.last_round,
            epochs: BTreeMap::new(),
            leader: None,
            awaited: BTreeSet::new(),
        });
        let heard = |peer: &PeerIdentity| {
            let timing = &self.setup.timing;
            self.links.is_alive(peer.broker, self.now, timing) && !self.links.is_broken(peer.broker)
        };
        let others: BTreeSet<BrokerId> = self
            .links
            .reachable()
            .filter(heard)
            .map(|peer| peer.broker)
            .collect();
        if let Some(round) = &mut self.requests.read_indexes.round
            && !fx.mutant(Mutant::TellsOfLeadersUnasked)
        {
            round.awaited.clone_from(&others);
        }
        self.query_voters(others, fx);
    }

    /// A connection with a peer has broken: its answer is not awaited.
    pub(super) fn stop_awaiting(&mut self, peer: BrokerId, fx: &mut Effects) {
        if let Some(round) = &mut self.requests.read_indexes.round
            && round.awaited.remove(&peer)
        {
            self.finish_read_index_round(fx);
        }
    }

    /// Sends a query to the voters of the metadata, and to `others`.
    fn query_voters(&mut self, others: BTreeSet<BrokerId>, fx: &mut Effects) {
        let Some(round) = &self.requests.read_indexes.round else {
            return;
        };
        let number = round.number;
        self.requests.read_indexes.retry_at = Some(self.now + RETRY_INTERVAL);
        let voters = self.replica(TopicPartition::METADATA);
        let voters = voters.map_or(&[][..], Replica::voters).iter();
        let mut asked = others;
        asked.extend(voters.map(|voter| voter.broker));
        // The voters may have changed beyond this broker's log.
        asked.extend(self.controller_id());
        for to in asked {
            if self.links.reachable().any(|peer| peer.broker == to) {
                fx.push(Effect::Send {
                    to,
                    message: PeerMessage::ReadIndex { round: number },
                });
            }
        }
        let own = self.read_index(number);
        self.on_read_index_reply(self.me, own, fx);
    }

    fn read_index(&self, round: u64) -> ReadIndexReply {
        let replica = self.replica(TopicPartition::METADATA);
        let leader = replica.filter(|replica| replica.is_leader());
        ReadIndexReply {
            round,
            leader_epoch: replica.map_or(LeaderEpoch(0), Replica::leader_epoch),
            leader: leader.and_then(|replica| {
                Some(ReadIndex {
                    end: replica.high_watermark()?,
                    voters: replica.voters().to_vec(),
                })
            }),
        }
    }

    /// A broker queries the read index.
    pub(super) fn on_read_index(&mut self, from: PeerIdentity, round: u64, fx: &mut Effects) {
        let reply = self.read_index(round);
        let leads = self.replica(TopicPartition::METADATA);
        if reply.leader.is_none() && leads.is_some_and(Replica::is_leader) {
            let early = &mut self.requests.read_indexes.early;
            early.insert(from.broker, round);
        }
        fx.push(Effect::Send {
            to: from.broker,
            message: PeerMessage::ReadIndexReply(reply),
        });
    }

    /// The metadata replica was touched: as leader it may have a read index now.
    pub(super) fn answer_early_read_indexes(&mut self, fx: &mut Effects) {
        let reads = &self.requests.read_indexes;
        if reads.early.is_empty() && reads.round.is_none() {
            return; // nobody waits for it, as nearly always
        }
        let number = reads.round.as_ref().map_or(0, |round| round.number);
        let own = self.read_index(number);
        if own.leader.is_none() {
            return;
        }
        for (to, round) in std::mem::take(&mut self.requests.read_indexes.early) {
            let mut reply = own.clone();
            reply.round = round;
            fx.push(Effect::Send {
                to,
                message: PeerMessage::ReadIndexReply(reply),
            });
        }
        let round = self.requests.read_indexes.round.as_ref();
        let known = round.map(|round| round.leader.as_ref().map(|(epoch, _)| *epoch));
        if known.is_some_and(|known| known < Some(own.leader_epoch)) {
            self.on_read_index_reply(self.me, own, fx);
        }
    }

    pub(super) fn on_read_index_reply(
        &mut self,
        from: PeerIdentity,
        reply: ReadIndexReply,
        fx: &mut Effects,
    ) {
        if let Some(round) = &mut self.requests.read_indexes.round
            && round.number == reply.round
        {
            round.add_reply(from.voter(), reply);
            self.finish_read_index_round(fx);
        }
    }

    /// Answers the requests that the present round confirms, once the image has reached its read index.
    pub(super) fn finish_read_index_round(&mut self, fx: &mut Effects) {
        let applied = self.metadata_offset();
        let reads = &mut self.requests.read_indexes;
        let alone = fx.mutant(Mutant::ConfirmsByLeaderAlone);
        let confirmed = |round: &mut Round| round.end(alone).is_some_and(|end| end <= applied);
        let Some(round) = reads.round.take_if(confirmed) else {
            return;
        };
        reads.cut_off = false;
        let later = (round.number + 1, RequestId::default());
        let waiting = reads.waiting.split_off(&later);
        let confirmed = std::mem::replace(&mut reads.waiting, waiting);
        for (_, id) in confirmed {
            if let Some(waiting) = self.requests.purgatory.take::<WaitingUnconfirmed>(id) {
                self.answer_unconfirmed(waiting.what, true, fx);
            }
        }
        if self.requests.read_indexes.waiting.is_empty() {
            self.requests.read_indexes.retry_at = None;
        } else if self.requests.read_indexes.round.is_none() {
            self.begin_read_index_round(fx);
        }
    }

    /// The metadata have a new leader, which may answer the round where its predecessor has not.
    pub(super) fn query_new_controller(&mut self, fx: &mut Effects) {
        self.query_voters(BTreeSet::new(), fx);
    }

    /// Queries the voters again while a request waits.
    pub(super) fn retry_read_index(&mut self, fx: &mut Effects) {
        let reads = &mut self.requests.read_indexes;
        if reads.retry_at.is_none_or(|at| at > self.now) {
            return;
        }
        if reads.waiting.is_empty() {
            reads.round = None;
            reads.retry_at = None;
        } else {
            if let Some(round) = &mut self.requests.read_indexes.round {
                round.awaited.clear();
            }
            self.query_voters(BTreeSet::new(), fx);
        }
    }

    fn answer_unconfirmed(&mut self, what: Unconfirmed, confirmed: bool, fx: &mut Effects) {
        match what {
            Unconfirmed::Request(request) => self.answer_from_image(request, confirmed, fx),
            Unconfirmed::Answer(context, mut response) => {
                for_each_missing(&mut response, |topic, partition, code| {
                    let exists = self
                        .find_topic(topic)
                        .and_then(|topic| self.find_partition(topic, partition))
                        .is_ok();
                    if exists || !confirmed {
                        *code = ErrorCode::NotLeaderOrFollower;
                    }
                });
                fx.respond(context.id, *response);
            }
        }
    }

    /// Answers a data request: at once, unless the response says that a topic or partition does not exist.
    pub(super) fn respond_data(
        &mut self,
        context: RequestContext,
        response: impl Into<Response>,
        fx: &mut Effects,
    ) {
        let mut response = response.into();
        let mut missing = false;
        for_each_missing(&mut response, |_, _, _| missing = true);
        if missing {
            make_stale_errors_retriable(&mut response);
            self.await_read_index(Unconfirmed::Answer(context, Box::new(response)), fx);
        } else {
            fx.respond(context.id, response);
        }
    }
}

/// Errors that a client treats as final may be stale once the response has waited: they become
/// `NOT_LEADER_OR_FOLLOWER`, so the client retries.
fn make_stale_errors_retriable(response: &mut Response) {
    for_each_partition(response, |_, _, code| {
        if [
            ErrorCode::OutOfOrderSequenceNumber,
            ErrorCode::InvalidProducerEpoch,
            ErrorCode::OffsetOutOfRange,
        ]
        .contains(code)
        {
            *code = ErrorCode::NotLeaderOrFollower;
        }
    });
}

/// Visits every partition with an error that says that the topic or partition does not exist.
fn for_each_missing(
    response: &mut Response,
    mut visit: impl FnMut(TopicReference<'_>, i32, &mut ErrorCode),
) {
    for_each_partition(response, |topic, partition, code| {
        if [
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::UnknownTopicId,
        ]
        .contains(code)
        {
            visit(topic, partition, code);
        }
    });
}

/// Visits every partition of the response to a data request.
fn for_each_partition(
    response: &mut Response,
    mut visit: impl FnMut(TopicReference<'_>, i32, &mut ErrorCode),
) {
    match response {
        Response::Produce(response) => {
            for topic in &mut response.responses {
                for answer in &mut topic.partition_responses {
                    let named = named(&topic.name, topic.topic_id);
                    visit(named, answer.index, &mut answer.error_code);
                }
            }
        }
        Response::Fetch(response) => {
            for topic in &mut response.responses {
                for answer in &mut topic.partitions {
                    let named = named(&topic.topic, topic.topic_id);
                    visit(named, answer.partition_index, &mut answer.error_code);
                }
            }
        }
        Response::ListOffsets(response) => {
            for topic in &mut response.topics {
                for answer in &mut topic.partitions {
                    let named = TopicReference::Name(&topic.name);
                    visit(named, answer.partition_index, &mut answer.error_code);
                }
            }
        }
        Response::OffsetForLeaderEpoch(response) => {
            for topic in &mut response.topics {
                for answer in &mut topic.partitions {
                    let named = TopicReference::Name(&topic.topic);
                    visit(named, answer.partition, &mut answer.error_code);
                }
            }
        }
        Response::Metadata(_)
        | Response::FindCoordinator(_)
        | Response::ApiVersions(_)
        | Response::CreateTopics(_)
        | Response::DeleteTopics(_)
        | Response::InitProducerId(_)
        | Response::DescribeConfigs(_)
        | Response::CreatePartitions(_)
        | Response::AlterPartitionReassignments(_)
        | Response::ListPartitionReassignments(_)
        | Response::DescribeCluster(_)
        | Response::DescribeTopicPartitions(_)
        | Response::OffsetCommit(_)
        | Response::OffsetFetch(_)
        | Response::JoinGroup(_)
        | Response::Heartbeat(_)
        | Response::LeaveGroup(_)
        | Response::SyncGroup(_)
        | Response::DescribeGroups(_)
        | Response::ListGroups(_)
        | Response::DeleteGroups(_)
        | Response::OffsetDelete(_)
        | Response::ConsumerGroupHeartbeat(_)
        | Response::ConsumerGroupDescribe(_) => {}
    }
}

/// The reference to a topic in a response: by id in versions without names.
fn named(name: &str, id: TopicId) -> TopicReference<'_> {
    if id == TopicId::ZERO {
        TopicReference::Name(name)
    } else {
        TopicReference::Id(id)
    }
}
