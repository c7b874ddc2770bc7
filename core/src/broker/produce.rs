//! Produce: what is appended, what is refused, and when a batch is acknowledged.
//!
//! A batch has been examined before it arrives here, so only its facts are checked against the topic's configuration.
//! Then the partition's replica checks sequence and ISR, and appends. The response waits until the log up to the
//! batch's end meets the acks policy: for `acks=1` this leader has it, for `acks=all` a majority and at least
//! `min.insync.replicas` voters have it, each by the topic's `flush`. A duplicate waits for its original like the
//! original itself: its acknowledgement promises the same (counter-example 12). Only the leader epoch in which a batch
//! was appended can acknowledge it: after a change of leader this broker does not know whether the batch survives, and
//! the producer retries at the next leader.
//!
//! Only the current leader can reject a batch as out of sequence or as of a fenced producer epoch: a deposed leader
//! does not know what the producer has written since, and clients treat these errors as final. So such a rejection
//! needs a leadership confirmation, see `replica::confirmation`. It begins when the response could be sent at once: no
//! earlier request of the connection waits, and no other batch of the request; else the rejection could be stale. Where
//! one request has several rejections, or its response has to wait for a read index, the others get
//! `NOT_LEADER_OR_FOLLOWER`, and the client retries.
//!
//! Where this differs from Kafka: a partition's batches keep their codec, whatever `compression.type` says; there are
//! no transactions yet, so transactional batches are refused with `INVALID_TXN_STATE`, Kafka's error for a batch of a
//! transaction that has not begun.
//!
//! Sources: `ReplicaManager.appendRecords`, `Partition.appendRecordsToLeader`, `LogValidator`, KIP-467, KIP-951.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::{TopicConfig, is_internal};
use crate::effect::{Effects, RequestId};
use crate::hooks::{Mutant, Probe};
use crate::ids::{BrokerId, LeaderEpoch, Offset, Timestamp, TopicId, TopicPartition};
use crate::input::RequestContext;
use crate::peer::LeadershipRound;
use crate::record::{Examined, RecordError, TimestampType};
use crate::replica::{Appended, ProduceRefusal, Replica};
use crate::wire::produce::{
    BatchIndexAndErrorMessage, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use crate::wire::{ErrorCode, ProduceRequest, ProduceResponse, Str};

use super::Broker;
use super::lookup::{TopicReference, refusal_of_leader};
use super::purgatory::Delayed;

/// From this version on topics are named by id.
const BY_ID_FROM: i16 = 13;
/// From this version on a response can name the current leader (KIP-951).
const HINTS_FROM: i16 = 10;

/// A produce request with batches that are neither acknowledged nor refused.
#[derive(Debug)]
struct WaitingProduce {
    context: RequestContext,
    /// The response, complete except for the open batches.
    response: ProduceResponse,
    open: Vec<(TopicPartition, OpenBatch)>,
}

/// The batches of one partition that are neither acknowledged nor refused.
#[derive(Debug, Default)]
pub(super) struct OpenBatches {
    /// Waiting for this leader to have them.
    acks_one: BTreeSet<OpenBatch>,
    /// Waiting for the voters to have them.
    acks_all: BTreeSet<OpenBatch>,
    /// Rejections, held or waiting for a leadership confirmation.
    rejected: BTreeSet<OpenBatch>,
}

/// A batch that is neither acknowledged nor refused. Of batches that wait for the same kind of event, the lesser is
/// answered first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct OpenBatch {
    leader_epoch: LeaderEpoch,
    awaits: Awaits,
    request: RequestId,
    /// Indexes of topic and partition in the request.
    place: (usize, usize),
}

/// What a batch waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Awaits {
    /// `acks=1`: this leader has it. Its end, exclusive.
    AcksOne(Offset),
    /// `acks=all`: the voters have it. Its end, exclusive.
    AcksAll(Offset),
    /// It was not appended: its rejection by the producer state waits for a leadership confirmation.
    Rejection(LeadershipRound, ErrorCode),
    /// The same; the confirmation begins once nothing else delays the response.
    HeldRejection(ErrorCode),
}

/// Why a batch was not appended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct BatchError {
    code: ErrorCode,
    message: Option<Str>,
    /// The index of the record that it was refused for, and what is wrong with it.
    record: Option<(i32, Str)>,
}

/// How a batch was rejected.
enum Rejected {
    Now(BatchError),
    /// Once a leadership confirmation succeeds.
    OnceConfirmed(TopicPartition, ErrorCode),
}

impl<T: Into<BatchError>> From<T> for Rejected {
    fn from(refusal: T) -> Self {
        Self::Now(refusal.into())
    }
}

impl From<ErrorCode> for BatchError {
    fn from(code: ErrorCode) -> Self {
        Self {
            code,
            ..Self::default()
        }
    }
}

impl BatchError {
    fn with(code: ErrorCode, message: impl Into<Str>) -> Self {
        Self {
            code,
            message: Some(message.into()),
            ..Self::default()
        }
    }
}

/// A batch to be appended.
struct IncomingBatch {
    acks: i16,
    batch: Result<Examined, RecordError>,
}

/// A batch that was appended, or whose original is in the log.
struct AppendedBatch {
    partition: TopicPartition,
    appended: Appended,
    log_append_time: Timestamp,
    log_start_offset: Offset,
}

impl Broker {
    pub(super) fn on_produce(
        &mut self,
        context: RequestContext,
        body: ProduceRequest,
        examined: Vec<Result<Examined, RecordError>>,
        fx: &mut Effects,
    ) {
        let (connection, acks) = (context.id.connection, body.acks);
        let is_transactional = |examined: &Result<Examined, RecordError>| matches!(examined, Ok(examined) if examined.batch.header.is_transactional());
        // As in Kafka: a transactional batch needs a request with a transactional id.
        let is_anonymous = body.transactional_id.is_none() && examined.iter().any(is_transactional);
        let mut examined = examined.into_iter();
        let mut failed = false;
        let mut produce = WaitingProduce {
            context,
            response: ProduceResponse {
                responses: Vec::with_capacity(body.topic_data.len()),
                ..ProduceResponse::default()
            },
            open: Vec::new(),
        };
        for (topic_place, topic) in body.topic_data.into_iter().enumerate() {
            let named = if produce.context.api_version >= BY_ID_FROM {
                TopicReference::Id(topic.topic_id)
            } else {
                TopicReference::Name(&topic.name)
            };
            let found = self.find_topic(named);
            let mut answers = Vec::with_capacity(topic.partition_data.len());
            for (place, partition) in topic.partition_data.iter().enumerate() {
                let batch = examined
                    .next()
                    .expect("the driver examines every partition of a produce request");
                let appended = if is_anonymous {
                    Err(ErrorCode::TransactionalIdAuthorizationFailed.into())
                } else {
                    found.map_err(Rejected::from).and_then(|topic| {
                        self.append(topic, partition.index, IncomingBatch { acks, batch }, fx)
                    })
                };
                failed |= appended.is_err();
                let place = (topic_place, place);
                let answer = match appended {
                    Ok(appended) => self.appended(&appended, acks, place, &mut produce, fx),
                    Err(rejected) => {
                        let known =
                            found.and_then(|topic| self.find_partition(topic, partition.index));
                        self.rejected(rejected, known.ok(), place, &mut produce)
                    }
                };
                let index = partition.index;
                answers.push(PartitionProduceResponse { index, ..answer });
            }
            produce.response.responses.push(TopicProduceResponse {
                name: topic.name,
                topic_id: topic.topic_id,
                partition_responses: answers,
            });
        }
        if acks == 0 {
            // There is no response that could carry the error; a closed connection makes the producer refresh its
            // metadata.
            if failed {
                self.close(connection, fx);
            }
            return;
        }
        if produce.open.is_empty() {
            self.respond_data(produce.context, produce.response, fx);
            return;
        }
        for (partition, batch) in &produce.open {
            let open = self.requests.open_batches.entry(*partition).or_default();
            open.set_for(batch.awaits).insert(*batch);
        }
        let timeout = Duration::from_millis(u64::try_from(body.timeout_ms).unwrap_or(0));
        let deadline = self.now + timeout;
        self.requests.purgatory.insert(deadline, Box::new(produce));
    }

    /// The response for a batch that is in the log, for when its acks policy is met.
    fn appended(
        &mut self,
        batch: &AppendedBatch,
        acks: i16,
        place: (usize, usize),
        produce: &mut WaitingProduce,
        fx: &mut Effects,
    ) -> PartitionProduceResponse {
        if let Some(open) = self.await_acks(batch, acks, produce.context.id, place, fx) {
            produce.open.push((batch.partition, open));
        }
        PartitionProduceResponse {
            base_offset: batch.appended.base_offset.0,
            log_append_time_ms: batch.log_append_time.0,
            log_start_offset: batch.log_start_offset.0,
            ..PartitionProduceResponse::default()
        }
    }

    /// The response for a rejected batch.
    fn rejected(
        &mut self,
        rejected: Rejected,
        partition: Option<TopicPartition>,
        place: (usize, usize),
        produce: &mut WaitingProduce,
    ) -> PartitionProduceResponse {
        let mut answer = PartitionProduceResponse {
            base_offset: -1,
            ..PartitionProduceResponse::default()
        };
        match rejected {
            Rejected::OnceConfirmed(partition, code) => {
                let request = produce.context.id;
                let replica = self.replica(partition);
                let batch = OpenBatch {
                    leader_epoch: replica.expect("it leads").leader_epoch(),
                    awaits: Awaits::HeldRejection(code),
                    request,
                    place,
                };
                produce.open.push((partition, batch));
                self.requests.held_rejections.insert(request);
                self.requests
                    .purgatory
                    .progressed
                    .insert(request.connection);
            }
            Rejected::Now(refusal) => {
                answer.error_code = refusal.code;
                answer.error_message = refusal.message;
                let records = refusal
                    .record
                    .map(|(index, message)| BatchIndexAndErrorMessage {
                        batch_index: index,
                        batch_index_error_message: Some(message),
                    });
                answer.record_errors.extend(records);
                let hint = partition.and_then(|partition| {
                    let RequestContext {
                        api_version,
                        listener,
                        ..
                    } = produce.context;
                    self.produce_hint(partition, api_version, listener, answer.error_code)
                });
                set_hint(&mut answer, &mut produce.response.node_endpoints, hint);
            }
        }
        answer
    }

    /// Checks a batch and appends it to its partition.
    fn append(
        &mut self,
        topic: TopicId,
        index: i32,
        arrival: IncomingBatch,
        fx: &mut Effects,
    ) -> Result<AppendedBatch, Rejected> {
        if !(-1..=1).contains(&arrival.acks) {
            return Err(ErrorCode::InvalidRequiredAcks.into());
        }
        if self
            .image()
            .topic(topic)
            .is_some_and(|topic| is_internal(&topic.name))
        {
            // Internal topics hold the state of coordinators; a client's batch would be read as such.
            return Err(ErrorCode::InvalidTopicException.into());
        }
        let partition = self.find_partition(topic, index)?;
        let replica = self.led_replica(partition, -1)?;
        let (voters, log_start_offset) = (replica.voters().len(), replica.log_start_offset());
        if self.failure.is_some() {
            let message = "The leader's log directory is offline.";
            return Err(BatchError::with(ErrorCode::KafkaStorageError, message).into());
        }
        if self.full {
            let message = "The leader's disk is full.";
            return Err(BatchError::with(ErrorCode::KafkaStorageError, message).into());
        }
        let examined = arrival.batch.map_err(|error| malformed(&error))?;
        let config = self.acks_config(topic, fx);
        check_batch(&examined, &config, self.wall)?;
        let stamps = config.message_timestamp_type == TimestampType::LogAppendTime;
        let stamp = stamps.then_some((self.wall, examined.facts.body_crc));
        let insync_min = (arrival.acks == -1).then(|| insync_min(&config, voters));
        let producer = examined.batch.header.producer_id;
        let appended = self
            .with_replica(partition, fx, |replica, cx| {
                Some(replica.produce(examined.batch, stamp, insync_min, cx))
            })
            .expect("the replica was just seen")
            .map_err(|refusal| {
                let confirms = arrival.acks != 0 && !fx.mutant(Mutant::RefusesUnconfirmed);
                let told = refused(refusal, insync_min);
                if confirms && refusal.depends_on_producer_state() {
                    Rejected::OnceConfirmed(partition, told.code)
                } else {
                    Rejected::Now(told)
                }
            })?;
        let log_append_time = if appended.duplicate {
            // As in Kafka, the original's greatest timestamp, whether CreateTime or LogAppendTime.
            self.replica(partition)
                .and_then(|replica| replica.producers().table().get(producer))
                .and_then(|state| {
                    let original = |batch: &&crate::producer::ProducedBatch| {
                        batch.base_offset == appended.base_offset
                    };
                    state.batches.iter().find(original)
                })
                .map_or(Timestamp::NONE, |original| original.timestamp)
        } else {
            stamp.map_or(Timestamp::NONE, |(now, _)| now)
        };
        Ok(AppendedBatch {
            partition,
            appended,
            log_append_time,
            log_start_offset,
        })
    }

    /// The topic's configuration for checks and acknowledgements.
    fn acks_config(&self, topic: TopicId, fx: &Effects) -> Arc<TopicConfig> {
        let mut config = self.topic_config(topic);
        if fx.mutant(Mutant::IgnoresMinInsync) {
            Arc::make_mut(&mut config).min_insync_replicas = 1;
        }
        config
    }

    /// What a batch in the log waits for; `None` where its response can be sent.
    fn await_acks(
        &self,
        batch: &AppendedBatch,
        acks: i16,
        request: RequestId,
        place: (usize, usize),
        fx: &mut Effects,
    ) -> Option<OpenBatch> {
        let appended = &batch.appended;
        let early = acks == 1 && fx.mutant(Mutant::AnswersOneEarly);
        if acks == 0 || early || appended.duplicate && fx.mutant(Mutant::AnswersDuplicateEarly) {
            return None;
        }
        let awaits = if acks == 1 || fx.mutant(Mutant::AnswersAllAsOne) {
            Awaits::AcksOne(appended.end_offset)
        } else {
            Awaits::AcksAll(appended.end_offset)
        };
        let open = OpenBatch {
            leader_epoch: appended.leader_epoch,
            awaits,
            request,
            place,
        };
        if appended.duplicate {
            let config = self.acks_config(batch.partition.topic, fx);
            let replica = self.replica(batch.partition);
            if open.verdict(replica, &config).is_none() {
                fx.probe(Probe::DuplicateWaited);
            }
        }
        Some(open)
    }

    /// A partition has changed: acknowledges the batches that meet their acks policy, and fails those that never can.
    pub(super) fn wake_produces(&mut self, partition: TopicPartition, fx: &mut Effects) {
        let Some(open) = self.requests.open_batches.get(&partition) else {
            return;
        };
        let config = self.acks_config(partition.topic, fx);
        let decided = open.decided(self.replica(partition), &config);
        for (batch, code) in decided {
            self.decide(partition, batch, code, fx);
        }
    }

    /// Records the result of a batch, and answers its request if it was the last.
    fn decide(
        &mut self,
        partition: TopicPartition,
        batch: OpenBatch,
        code: ErrorCode,
        fx: &mut Effects,
    ) {
        self.forget_open(partition, batch);
        let purgatory = &mut self.requests.purgatory;
        let Some(produce) = purgatory.get_mut::<WaitingProduce>(batch.request) else {
            unreachable!("a batch waits as long as its request");
        };
        produce.open.retain(|(_, open)| *open != batch);
        let last = produce.open.is_empty();
        // It could be stale by the time the others are decided: the producer retries.
        let code = if matches!(batch.awaits, Awaits::Rejection(..)) && !last {
            ErrorCode::NotLeaderOrFollower
        } else {
            code
        };
        if last {
            self.requests.held_rejections.remove(&batch.request);
        }
        if !code.is_none() {
            let (api_version, listener) = (produce.context.api_version, produce.context.listener);
            let hint = self.produce_hint(partition, api_version, listener, code);
            let purgatory = &mut self.requests.purgatory;
            if let Some(produce) = purgatory.get_mut::<WaitingProduce>(batch.request) {
                produce.fail_place(batch.place, code, hint);
            }
        }
        let purgatory = &mut self.requests.purgatory;
        if last && let Some(produce) = purgatory.take::<WaitingProduce>(batch.request) {
            self.respond_data(produce.context, produce.response, fx);
        } else {
            purgatory.progressed.insert(batch.request.connection);
        }
    }

    /// Begins leadership confirmations for held rejections that nothing else delays. Returns whether there were any.
    pub(super) fn confirm_due_rejections(&mut self, fx: &mut Effects) -> bool {
        let moved = std::mem::take(&mut self.requests.purgatory.progressed);
        if self.requests.held_rejections.is_empty() {
            return false;
        }
        let purgatory = &self.requests.purgatory;
        let first = moved.into_iter().filter_map(|it| purgatory.first_of(it));
        let due: Vec<RequestId> = first
            .filter(|&id| {
                let produce = purgatory.get::<WaitingProduce>(id);
                produce.is_some_and(WaitingProduce::has_only_rejections)
            })
            .filter(|id| self.requests.held_rejections.contains(id))
            .collect();
        for &id in &due {
            self.requests.held_rejections.remove(&id);
            let produce = self.requests.purgatory.get::<WaitingProduce>(id);
            let open = produce.map_or_else(Vec::new, |produce| produce.open.clone());
            for (place, (partition, batch)) in open.into_iter().enumerate() {
                self.confirm_rejection(id, place, partition, batch, fx);
            }
        }
        !due.is_empty()
    }

    fn confirm_rejection(
        &mut self,
        id: RequestId,
        place: usize,
        partition: TopicPartition,
        batch: OpenBatch,
        fx: &mut Effects,
    ) {
        let Awaits::HeldRejection(code) = batch.awaits else {
            return;
        };
        self.touched.insert(partition); // it may be decided already
        let replica = self.replica(partition);
        if !replica.is_some_and(Replica::is_leader) {
            return;
        }
        let pending = self.confirm_leadership(partition, fx);
        let confirmed = OpenBatch {
            awaits: Awaits::Rejection(pending.round, code),
            ..batch
        };
        let open = self.requests.open_batches.entry(partition).or_default();
        open.rejected.remove(&batch);
        open.rejected.insert(confirmed);
        let purgatory = &mut self.requests.purgatory;
        if let Some(produce) = purgatory.get_mut::<WaitingProduce>(id) {
            produce.open[place].1 = confirmed;
        }
    }

    fn forget_open(&mut self, partition: TopicPartition, batch: OpenBatch) {
        let open_batches = &mut self.requests.open_batches;
        if let Some(of_partition) = open_batches.get_mut(&partition) {
            of_partition.set_for(batch.awaits).remove(&batch);
            if of_partition.is_empty() {
                open_batches.remove(&partition);
            }
        }
    }

    /// The current leader, where the response can name it and the client has sent its request to the wrong broker.
    fn produce_hint(
        &self,
        partition: TopicPartition,
        api_version: i16,
        listener: u16,
        code: ErrorCode,
    ) -> Option<Hint> {
        if api_version < HINTS_FROM || code != ErrorCode::NotLeaderOrFollower {
            return None;
        }
        let (leader, leader_epoch) = self.leader_hint(partition)?;
        let endpoint = self
            .address_of(leader, listener)
            .map(|address| NodeEndpoint {
                node_id: leader.0,
                host: address.host.into(),
                port: i32::from(address.port),
                rack: address.rack.map(Str::from),
            });
        Some(Hint {
            leader,
            leader_epoch,
            endpoint,
        })
    }
}

/// The current leader of a partition.
struct Hint {
    leader: BrokerId,
    leader_epoch: LeaderEpoch,
    endpoint: Option<NodeEndpoint>,
}

fn set_hint(
    answer: &mut PartitionProduceResponse,
    endpoints: &mut Vec<NodeEndpoint>,
    hint: Option<Hint>,
) {
    let Some(hint) = hint else { return };
    answer.current_leader.leader_id = hint.leader.0;
    answer.current_leader.leader_epoch = hint.leader_epoch.0;
    if let Some(endpoint) = hint.endpoint
        && !endpoints
            .iter()
            .any(|known| known.node_id == endpoint.node_id)
    {
        endpoints.push(endpoint);
    }
}

impl WaitingProduce {
    fn has_only_rejections(&self) -> bool {
        let mut open = self.open.iter();
        open.all(|(_, batch)| {
            matches!(
                batch.awaits,
                Awaits::Rejection(..) | Awaits::HeldRejection(_)
            )
        })
    }

    fn fail_place(&mut self, place: (usize, usize), code: ErrorCode, hint: Option<Hint>) {
        let answer = &mut self.response.responses[place.0].partition_responses[place.1];
        answer.error_code = code;
        set_hint(answer, &mut self.response.node_endpoints, hint);
    }
}

impl Delayed for WaitingProduce {
    fn context(&self) -> &RequestContext {
        &self.context
    }

    fn expire(mut self: Box<Self>, broker: &mut Broker, fx: &mut Effects) {
        for (_, batch) in std::mem::take(&mut self.open) {
            let code = match batch.awaits {
                Awaits::AcksOne(_) | Awaits::AcksAll(_) => ErrorCode::RequestTimedOut,
                // `REQUEST_TIMED_OUT` would say that the batch may be in the log.
                Awaits::Rejection(..) | Awaits::HeldRejection(_) => ErrorCode::NotLeaderOrFollower,
            };
            self.fail_place(batch.place, code, None);
        }
        broker.respond_data(self.context, self.response, fx);
    }

    fn fail(mut self: Box<Self>, broker: &mut Broker, fx: &mut Effects) {
        let code = ErrorCode::NotLeaderOrFollower;
        let (api_version, listener) = (self.context.api_version, self.context.listener);
        for (partition, batch) in std::mem::take(&mut self.open) {
            let hint = broker.produce_hint(partition, api_version, listener, code);
            self.fail_place(batch.place, code, hint);
        }
        broker.respond_data(self.context, self.response, fx);
    }

    fn forget(&self, broker: &mut Broker) {
        for (partition, batch) in &self.open {
            broker.forget_open(*partition, *batch);
        }
        broker.requests.held_rejections.remove(&self.context.id);
    }
}

impl OpenBatches {
    /// The batches that can be answered, each with its error code, in order. Examines only those and one more of each
    /// kind.
    fn decided(
        &self,
        replica: Option<&Replica>,
        config: &TopicConfig,
    ) -> Vec<(OpenBatch, ErrorCode)> {
        let mut decided = Vec::new();
        for waits in [&self.acks_one, &self.acks_all, &self.rejected] {
            for batch in waits {
                let Some(code) = batch.verdict(replica, config) else {
                    break;
                };
                decided.push((*batch, code));
            }
        }
        decided
    }

    /// The batches that wait for the same kind of event.
    const fn set_for(&mut self, awaits: Awaits) -> &mut BTreeSet<OpenBatch> {
        match awaits {
            Awaits::AcksOne(_) => &mut self.acks_one,
            Awaits::AcksAll(_) => &mut self.acks_all,
            Awaits::Rejection(..) | Awaits::HeldRejection(_) => &mut self.rejected,
        }
    }

    fn is_empty(&self) -> bool {
        self.acks_one.is_empty() && self.acks_all.is_empty() && self.rejected.is_empty()
    }
}

impl OpenBatch {
    /// The result for the producer; `None` while it is open.
    fn verdict(&self, replica: Option<&Replica>, config: &TopicConfig) -> Option<ErrorCode> {
        let leads =
            |replica: &&Replica| replica.is_leader() && replica.leader_epoch() == self.leader_epoch;
        let Some(replica) = replica.filter(leads) else {
            return Some(ErrorCode::NotLeaderOrFollower);
        };
        match self.awaits {
            Awaits::AcksOne(end_offset) => replica
                .meets_acks_one(end_offset)
                .then_some(ErrorCode::None),
            Awaits::AcksAll(end_offset) => {
                let insync_min = insync_min(config, replica.voters().len());
                if replica.meets_acks_all(end_offset, insync_min) {
                    return Some(ErrorCode::None);
                }
                let committed = replica.high_watermark() >= Some(end_offset);
                let too_few = committed && replica.isr().len() < insync_min;
                too_few.then_some(ErrorCode::NotEnoughReplicasAfterAppend)
            }
            Awaits::Rejection(round, code) => {
                refusal_of_leader(replica.confirmation(self.leader_epoch, round), code)
            }
            Awaits::HeldRejection(_) => None,
        }
    }
}

/// The least number of voters that must have a batch: never more than there are, as in Kafka since KIP-966.
fn insync_min(config: &TopicConfig, voters: usize) -> usize {
    usize::try_from(config.min_insync_replicas)
        .unwrap_or(usize::MAX)
        .min(voters)
}

/// Checks a batch against its topic's configuration.
fn check_batch(
    examined: &Examined,
    config: &TopicConfig,
    now: Timestamp,
) -> Result<(), BatchError> {
    let Examined { batch, facts } = examined;
    let size = batch.size();
    let exceeds = |max: u32| usize::try_from(max).is_ok_and(|max| size > max);
    if exceeds(config.max_message_bytes) {
        return Err(BatchError::with(
            ErrorCode::MessageTooLarge,
            format!(
                "The record batch size is {size} bytes which exceeds the maximum configured value of {}.",
                config.max_message_bytes
            ),
        ));
    }
    if exceeds(config.segment_bytes) {
        return Err(BatchError::with(
            ErrorCode::RecordListTooLarge,
            format!(
                "The record batch size is {size} bytes, which exceeds the segment size of {}.",
                config.segment_bytes
            ),
        ));
    }
    if batch.header.is_transactional() {
        return Err(no_transactions());
    }
    let largest_max = config.max_decompressed_message_bytes;
    if let Some(largest) = facts.largest_record
        && largest > largest_max.into()
    {
        return Err(BatchError::with(
            ErrorCode::InvalidRecord,
            format!(
                "Invalid record size: {largest} exceeds the configured maximum record size of {largest_max}."
            ),
        ));
    }
    if config.cleanup_compact
        && let Some(index) = facts.null_key
    {
        return Err(BatchError {
            code: ErrorCode::InvalidRecord,
            message: Some(Str::from_static("One or more records have been rejected.")),
            record: Some((
                index,
                Str::from_static("Compacted topic cannot accept message without key."),
            )),
        });
    }
    let (before, after) = (
        config.message_timestamp_before_max_ms,
        config.message_timestamp_after_max_ms,
    );
    if config.message_timestamp_type == TimestampType::CreateTime
        && !facts.timestamps_within(now, before, after)
    {
        return Err(BatchError::with(
            ErrorCode::InvalidTimestamp,
            format!(
                "One or more records have been rejected due to invalid timestamp: they are from {} to {}, \
                 and the topic takes from {before} ms before to {after} ms after {now}.",
                facts.min_timestamp, facts.max_timestamp
            ),
        ));
    }
    Ok(())
}

/// The error for a malformed batch.
fn malformed(error: &RecordError) -> BatchError {
    let message = Str::from(error.to_string());
    BatchError {
        code: error.error_code(),
        record: error.record_index().map(|index| (index, message.clone())),
        message: Some(message),
    }
}

/// The replica's refusal as Kafka's error.
fn refused(refusal: ProduceRefusal, insync_min: Option<usize>) -> BatchError {
    match refusal {
        ProduceRefusal::NotLeader => ErrorCode::NotLeaderOrFollower.into(),
        ProduceRefusal::NotEnoughReplicas => BatchError::with(
            ErrorCode::NotEnoughReplicas,
            format!(
                "Fewer replicas are in sync than the {} that min.insync.replicas asks for.",
                insync_min.unwrap_or_default()
            ),
        ),
        ProduceRefusal::OutOfOrderSequence => ErrorCode::OutOfOrderSequenceNumber.into(),
        ProduceRefusal::Fenced => ErrorCode::InvalidProducerEpoch.into(),
    }
}

fn no_transactions() -> BatchError {
    BatchError::with(
        ErrorCode::InvalidTxnState,
        "Transactions are not served, so none was begun that this batch could belong to.",
    )
}
