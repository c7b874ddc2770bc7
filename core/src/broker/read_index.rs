//! What clients are told of the cluster is current: Raft's read index (dissertation, 6.4), asked of the voters of the
//! metadata by whichever broker is to answer.
//!
//! A broker's image is a committed prefix of the metadata, and may be an old one: the broker has just been started,
//! follows slowly, or is cut off. What another broker has told of, or has acknowledged, may be missing in it, and
//! clients take *does not exist* for the truth: librdkafka fails the records of a topic that it is told has fewer
//! partitions. So whatever is answered from the image waits until the image is known to have all that anybody had been
//! told of when the request came. That is asked in *rounds*: one message to each voter of the metadata, one round under
//! way at a time, for all requests that came before it was begun.
//!
//! A voter answers with the latest leader epoch that it has entered, and a leader with its high watermark besides. When
//! a leader of epoch *e* has answered, and a majority of its voters has entered no epoch above *e* since the round
//! began, then nobody had committed anything in a later epoch by then: who leads a later epoch has the votes of a
//! majority, and two majorities share a voter. What the leader has committed is therefore all there was. No clock is
//! asked.
//!
//! A round asks the other brokers too, and has an answer of each that is heard, or sees its connection break, before it
//! confirms anything: they may lead what is told of, and a process that ended just before the request came has nothing to
//! say any more (`disconnected_leaders`). Whoever has not answered when the voters are asked again is not waited for: it may be paused.
//!
//! Where no round succeeds in time, topics that the image has are told of as it has them, since partitions go on without
//! a controller, and what it lacks is `LEADER_NOT_AVAILABLE`, which every client retries and none takes for *does not
//! exist*. A list of all topics cannot say that something may be missing: the connection is closed, and the client asks
//! another broker.

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

/// How long a request waits for a round to succeed.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(1);
/// The same from when one has waited in vain until a round succeeds: whoever asks a broker that is cut off is not to wait
/// long for each answer.
const CONFIRMATION_TIMEOUT_CUT_OFF: Duration = Duration::from_millis(100);
/// After this long the voters are asked again, since messages are lost and leaders change.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// What waits until the image is known to be current.
#[derive(Debug)]
pub(super) enum Unconfirmed {
    /// A request that is answered from the image.
    Request(ImageRequest),
    /// An answer by which something that the request names does not exist.
    Answer(RequestContext, Box<Response>),
}

/// The same in the purgatory, with the first round that counts for it.
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

    /// This broker has no time left to find out. Whoever waits for its image asks another.
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

    /// It is soon confirmed, by whoever leads the metadata.
    fn outlasts_leaderships(&self) -> bool {
        true
    }
}

/// Rounds, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct ReadIndexes {
    last_round: u64,
    round: Option<Round>,
    /// The requests that wait, by the first round that counts for them.
    waiting: BTreeSet<(u64, RequestId)>,
    /// When the voters are asked again.
    retry_at: Option<Instant>,
    /// A request has waited in vain, and no round has succeeded since.
    cut_off: bool,
    /// Who has asked this broker, as leader of the metadata, before its opening was committed: the latest round of each.
    early: BTreeMap<BrokerId, u64>,
}

/// What was heard in a round.
#[derive(Debug)]
struct Round {
    number: u64,
    /// Of each voter, the earliest leader epoch that it has named: it had entered no later one when the round began.
    epochs: BTreeMap<Voter, LeaderEpoch>,
    /// Of those that lead, the latest.
    leader: Option<(LeaderEpoch, ReadIndex)>,
    /// Who has been asked, may lead what is told of, and has not answered.
    awaited: BTreeSet<BrokerId>,
}

impl Round {
    fn hear(&mut self, from: Voter, reply: ReadIndexReply) {
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

    /// Where everything ended that anybody had been told of when the round began; `None` while that is not known.
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
    /// When the voters are asked again.
    pub(super) const fn next_deadline(&self) -> Option<Instant> {
        self.retry_at
    }
}

impl Broker {
    /// Answers once the image is known to have all that anybody has been told of by now.
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

    /// A connection with a peer is broken: it is not waited for.
    pub(super) fn stop_awaiting(&mut self, peer: BrokerId, fx: &mut Effects) {
        if let Some(round) = &mut self.requests.read_indexes.round
            && round.awaited.remove(&peer)
        {
            self.finish_read_index_round(fx);
        }
    }

    /// Asks the voters of the metadata, and the others as well.
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
        // The voters may be others than this broker's log has it.
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

    /// A broker asks where the metadata end.
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

    /// The metadata replica was touched: as leader it may know now where the metadata end.
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
            round.hear(from.voter(), reply);
            self.finish_read_index_round(fx);
        }
    }

    /// Answers what the present round confirms, once the image has all that it has found.
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

    /// Another leads the metadata, and may answer what its predecessor has not.
    pub(super) fn query_new_controller(&mut self, fx: &mut Effects) {
        self.query_voters(BTreeSet::new(), fx);
    }

    /// Asks the voters again, as long as somebody waits.
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

    /// Answers a request for data: at once, but where the answer says that something does not exist.
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

/// Errors that a client takes for final may be stale when this response has waited: they become
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

/// Visits every partition of which an answer says that there is no such topic or partition.
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

/// Visits every partition of an answer to a request for data.
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

/// A topic as an answer names it: by id from the version on that has no names.
fn named(name: &str, id: TopicId) -> TopicReference<'_> {
    if id == TopicId::ZERO {
        TopicReference::Name(name)
    } else {
        TopicReference::Id(id)
    }
}
