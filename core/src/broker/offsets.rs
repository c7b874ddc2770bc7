//! ListOffsets and OffsetForLeaderEpoch: offsets by time and by epoch.
//!
//! The earliest offset is known at once, the latest after a leadership confirmation; the store looks a timestamp up,
//! below the high watermark, once it has all records below that. Every client is a consumer here, whatever replica id
//! it names: no offset above the high watermark is returned. A leader whose opening is not committed has no latest
//! offset yet, and returns `OFFSET_NOT_AVAILABLE`, in older versions `LEADER_NOT_AVAILABLE`: the leader before it may
//! have returned a higher one (KIP-207). There is no remote storage, so the local log is everything, and nothing is
//! tiered.
//!
//! Only the current leader can know where a log ends, which record has the greatest timestamp or is the first from a
//! timestamp on, and that a leader epoch does not exist: a leader that was paused, is cut off, or has transferred
//! leadership may have been deposed, and its log outdated (counter-example 13). So these answers need a leadership
//! confirmation, see `replica::confirmation`. The start of a log and the end of a known epoch need none.
//!
//! Sources: `ReplicaManager.fetchOffset`, `UnifiedLog.fetchOffsetByTimestamp`, `Partition.fetchOffsetForTimestamp`,
//! KIP-207, KIP-320, KIP-405, KIP-734, KIP-1005, KIP-1023.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::effect::{Effects, RequestId};
use crate::hooks::Mutant;
use crate::ids::{LeaderEpoch, Offset, Timestamp, TopicPartition};
use crate::input::RequestContext;
use crate::queries::{Lookup, Waiter};
use crate::replica::Confirmation;
use crate::store::{QueryKind, QueryResult};
use crate::wire::list_offsets::{
    EARLIEST_LOCAL_TIMESTAMP, EARLIEST_PENDING_UPLOAD_TIMESTAMP, EARLIEST_TIMESTAMP,
    LATEST_TIERED_TIMESTAMP, LATEST_TIMESTAMP, ListOffsetsPartition, ListOffsetsPartitionResponse,
    ListOffsetsTopic, ListOffsetsTopicResponse, MAX_TIMESTAMP,
};
use crate::wire::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};
use crate::wire::{
    ErrorCode, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse, Response, Str,
};

use super::Broker;
use super::lookup::{PendingConfirmation, TopicReference, end_of_epoch};
use super::purgatory::Delayed;

/// Kafka's `UNDEFINED_EPOCH`: no leader epoch, in requests and responses.
const UNDEFINED_LEADER_EPOCH: i32 = -1;
/// From this version on clients know `OFFSET_NOT_AVAILABLE`.
const NOT_AVAILABLE_FROM: i16 = 5;
/// How long a lookup may take where the request has no timeout.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a request waits for leadership confirmations alone. The connection takes no other request meanwhile.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(1);

/// A ListOffsets or OffsetForLeaderEpoch request with partitions that are still open.
#[derive(Debug)]
struct WaitingOffsets {
    context: RequestContext,
    /// The response as it is if every leader is confirmed; results of the store are filled in.
    response: Response,
    /// The open partitions, by a number.
    open: BTreeMap<usize, OpenPartition>,
}

/// A partition that waits for a lookup or a confirmation.
#[derive(Debug)]
struct OpenPartition {
    partition: TopicPartition,
    /// Indexes of topic and partition in the response.
    place: (usize, usize),
    /// The leadership confirmation; its leader must not be deposed until the partition is complete. `None` where a
    /// mutant skips it.
    confirmation: Option<PendingConfirmation>,
    /// The lookup, until the store has answered.
    lookup: Option<PendingLookup>,
}

/// A lookup that the store has not answered.
#[derive(Debug)]
enum PendingLookup {
    /// The store does not have all records below this offset yet.
    Planned(QueryKind, Offset),
    /// The query is pending.
    Querying,
}

/// The result of ListOffsets for one partition.
enum OffsetResult {
    /// This response, whoever leads.
    Known(ListOffsetsPartitionResponse),
    /// This response, or the result of the lookup in its place, once the leader is confirmed.
    IfCurrentLeader(
        ListOffsetsPartitionResponse,
        TopicPartition,
        Option<PendingLookup>,
    ),
}

impl Broker {
    pub(super) fn on_list_offsets(
        &mut self,
        context: RequestContext,
        body: ListOffsetsRequest,
        fx: &mut Effects,
    ) {
        let api_version = context.api_version;
        let mut response = ListOffsetsResponse::default();
        let mut open = BTreeMap::new();
        let twice = named_twice(&body.topics);
        let mut told = BTreeSet::new();
        for (topic_place, topic) in body.topics.into_iter().enumerate() {
            let mut answers = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let key = (topic.name.clone(), partition.partition_index);
                let is_twice = twice.contains(&key);
                if is_twice && !told.insert(key) {
                    continue; // it has its answer
                }
                let mut answer = ListOffsetsPartitionResponse {
                    partition_index: partition.partition_index,
                    ..ListOffsetsPartitionResponse::default()
                };
                let found = if is_twice {
                    Err(ErrorCode::InvalidRequest)
                } else {
                    self.find_offset(&topic.name, partition, api_version)
                };
                match found {
                    Ok(OffsetResult::Known(known)) => answer = known,
                    Ok(OffsetResult::IfCurrentLeader(known, of, lookup)) => {
                        answer = known;
                        let confirms = partition.timestamp == LATEST_TIMESTAMP
                            || !fx.mutant(Mutant::TellsTimesUnconfirmed);
                        let unknown = OpenPartition {
                            partition: of,
                            place: (topic_place, answers.len()),
                            confirmation: confirms.then(|| self.confirm_leadership(of, fx)),
                            lookup,
                        };
                        open.insert(open.len(), unknown);
                    }
                    Err(code) => answer.error_code = code,
                }
                answers.push(answer);
            }
            response.topics.push(ListOffsetsTopicResponse {
                name: topic.name,
                partitions: answers,
            });
        }
        let timeout = match u64::try_from(body.timeout_ms) {
            Ok(timeout_ms) if timeout_ms > 0 => Duration::from_millis(timeout_ms),
            Ok(_) | Err(_) => LOOKUP_TIMEOUT,
        };
        self.answer_offsets(context, response.into(), open, timeout, fx);
    }

    /// Answers once no partition is open.
    fn answer_offsets(
        &mut self,
        context: RequestContext,
        response: Response,
        open: BTreeMap<usize, OpenPartition>,
        timeout: Duration,
        fx: &mut Effects,
    ) {
        if open.is_empty() {
            self.respond_data(context, response, fx);
            return;
        }
        let id = context.id;
        for (&number, open) in &open {
            self.requests.offsets.add(open.partition, id, number);
        }
        let numbers = 0..open.len();
        let waiting = WaitingOffsets {
            context,
            response,
            open,
        };
        let looks_up = waiting.open.values().any(|open| open.lookup.is_some());
        let timeout = if looks_up {
            timeout
        } else {
            timeout.min(CONFIRMATION_TIMEOUT)
        };
        let deadline = self.now + timeout;
        self.requests.purgatory.insert(deadline, Box::new(waiting));
        for number in numbers {
            self.look_up_offset(id, number, fx);
            self.finish_offset(id, number, fx);
        }
    }

    fn find_offset(
        &self,
        topic: &str,
        asked: &ListOffsetsPartition,
        api_version: i16,
    ) -> Result<OffsetResult, ErrorCode> {
        let topic = self.find_topic(TopicReference::Name(topic))?;
        let partition = self.find_partition(topic, asked.partition_index)?;
        if !is_known_time(asked.timestamp, api_version) {
            return Err(ErrorCode::UnsupportedVersion);
        }
        let replica = self.led_replica(partition, asked.current_leader_epoch)?;
        let answer = |offset: i64, leader_epoch: LeaderEpoch| ListOffsetsPartitionResponse {
            partition_index: asked.partition_index,
            offset,
            leader_epoch: client_epoch(leader_epoch, api_version),
            ..ListOffsetsPartitionResponse::default()
        };
        let start = replica.log_start_offset();
        match asked.timestamp {
            EARLIEST_TIMESTAMP | EARLIEST_LOCAL_TIMESTAMP => {
                let leader_epoch = replica.epoch_of_record(start);
                return Ok(OffsetResult::Known(answer(start.0, leader_epoch)));
            }
            LATEST_TIERED_TIMESTAMP | EARLIEST_PENDING_UPLOAD_TIMESTAMP => {
                return Ok(OffsetResult::Known(answer(-1, LeaderEpoch(0))));
            }
            _ => {}
        }
        let end = replica
            .high_watermark()
            .ok_or(if api_version >= NOT_AVAILABLE_FROM {
                ErrorCode::OffsetNotAvailable
            } else {
                ErrorCode::LeaderNotAvailable
            })?;
        if asked.timestamp == LATEST_TIMESTAMP {
            let latest = answer(end.0, replica.leader_epoch());
            return Ok(OffsetResult::IfCurrentLeader(latest, partition, None));
        }
        let kind = if asked.timestamp == MAX_TIMESTAMP {
            QueryKind::MaxTimestamp { end }
        } else {
            let timestamp = Timestamp(asked.timestamp);
            QueryKind::OffsetForTimestamp { timestamp, end }
        };
        let none = answer(-1, LeaderEpoch(0));
        let lookup = (start < end).then_some(PendingLookup::Planned(kind, end));
        Ok(OffsetResult::IfCurrentLeader(none, partition, lookup))
    }

    /// Sends the lookup in a partition to the store, if the store has all records that it is about.
    fn look_up_offset(&mut self, id: RequestId, number: usize, fx: &mut Effects) {
        let purgatory = &mut self.requests.purgatory;
        let offsets = purgatory.get_mut::<WaitingOffsets>(id);
        let open = offsets.and_then(|offsets| offsets.open.get_mut(&number));
        let Some(OpenPartition {
            partition,
            lookup: Some(lookup),
            ..
        }) = open
        else {
            return;
        };
        let PendingLookup::Planned(kind, end) = *lookup else {
            return;
        };
        let replica = self.replicas.get(partition);
        let is_written = replica.is_some_and(|replica| replica.is_written(end));
        if is_written || fx.mutant(Mutant::LooksUpUnwritten) {
            *lookup = PendingLookup::Querying;
            let lookup = Lookup {
                request: id,
                place: number,
                end,
            };
            let waiter = Waiter::ListOffsets(lookup);
            self.queries.ask(*partition, kind, waiter, fx);
        }
    }

    /// The store has answered.
    pub(super) fn on_offset_found(
        &mut self,
        lookup: Lookup,
        result: QueryResult,
        fx: &mut Effects,
    ) {
        let (id, number) = (lookup.request, lookup.place);
        let purgatory = &mut self.requests.purgatory;
        let Some(offsets) = purgatory.get_mut::<WaitingOffsets>(id) else {
            return; // the client is gone
        };
        let Some(open) = offsets.open.get_mut(&number) else {
            return; // its leader has been deposed
        };
        open.lookup = None;
        match result {
            QueryResult::Found(Some(found)) => offsets.fill_in(number, found),
            QueryResult::Found(None) => {}
            QueryResult::Failed(_) | QueryResult::Records(_) => {
                self.refuse_offset(id, number, ErrorCode::KafkaStorageError);
            }
        }
        self.finish_offset(id, number, fx);
    }

    /// A partition has changed: what its disk has, whether its leader is confirmed, or its leader.
    pub(super) fn wake_offsets(&mut self, partition: TopicPartition, fx: &mut Effects) {
        for (id, number) in self.requests.offsets.of(partition) {
            self.look_up_offset(id, number, fx);
            self.finish_offset(id, number, fx);
        }
    }

    /// Completes a partition with an error.
    fn refuse_offset(&mut self, id: RequestId, number: usize, code: ErrorCode) {
        let purgatory = &mut self.requests.purgatory;
        if let Some(offsets) = purgatory.get_mut::<WaitingOffsets>(id)
            && let Some(open) = offsets.open.get(&number)
        {
            offsets.refuse(open.place, code);
        }
    }

    /// Answers a request if this partition is complete, and was the last.
    fn finish_offset(&mut self, id: RequestId, number: usize, fx: &mut Effects) {
        let purgatory = &self.requests.purgatory;
        let offsets = purgatory.get::<WaitingOffsets>(id);
        let Some(open) = offsets.and_then(|offsets| offsets.open.get(&number)) else {
            return;
        };
        let (partition, looks_up) = (open.partition, open.lookup.is_some());
        let is_known = match open.confirmation.map(|pending| self.confirmation(pending)) {
            Some(Confirmation::LeadershipLost) if !fx.mutant(Mutant::KeepsWaitingWhenDeposed) => {
                self.refuse_offset(id, number, ErrorCode::NotLeaderOrFollower);
                true
            }
            None | Some(Confirmation::Confirmed) => !looks_up,
            Some(Confirmation::Pending | Confirmation::LeadershipLost) => false,
        };
        let purgatory = &mut self.requests.purgatory;
        let Some(offsets) = purgatory.get_mut::<WaitingOffsets>(id) else {
            return;
        };
        if is_known {
            offsets.open.remove(&number);
        }
        let is_last = offsets.open.is_empty();
        let waits_for_voters = offsets.open.values().all(|open| open.lookup.is_none());
        if waits_for_voters && !is_last {
            purgatory.shorten_deadline(id, self.now + CONFIRMATION_TIMEOUT);
        }
        if is_known {
            self.requests.offsets.remove(partition, id, number);
        }
        let purgatory = &mut self.requests.purgatory;
        if is_last && let Some(offsets) = purgatory.take::<WaitingOffsets>(id) {
            self.respond_data(offsets.context, offsets.response, fx);
        }
    }

    pub(super) fn on_offset_for_leader_epoch(
        &mut self,
        context: RequestContext,
        body: OffsetForLeaderEpochRequest,
        fx: &mut Effects,
    ) {
        let mut response = OffsetForLeaderEpochResponse::default();
        let mut open = BTreeMap::new();
        for (topic_place, topic) in body.topics.into_iter().enumerate() {
            let found = self.find_topic(TopicReference::Name(&topic.topic));
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for (place, asked) in topic.partitions.iter().enumerate() {
                let mut answer = EpochEndOffset {
                    partition: asked.partition,
                    ..EpochEndOffset::default()
                };
                match found.and_then(|topic| self.end_of_requested_epoch(topic, asked)) {
                    Ok((_, Some((leader_epoch, end_offset)))) => {
                        answer.leader_epoch = leader_epoch.0;
                        answer.end_offset = end_offset.0;
                    }
                    Ok((partition, None))
                        if asked.leader_epoch != UNDEFINED_LEADER_EPOCH
                            && !fx.mutant(Mutant::TellsEpochsUnconfirmed) =>
                    {
                        let number = open.len();
                        let unknown = OpenPartition {
                            partition,
                            place: (topic_place, place),
                            confirmation: Some(self.confirm_leadership(partition, fx)),
                            lookup: None,
                        };
                        open.insert(number, unknown);
                    }
                    Ok((_, None)) => {}
                    Err(code) => answer.error_code = code,
                }
                partitions.push(answer);
            }
            response.topics.push(OffsetForLeaderTopicResult {
                topic: topic.topic,
                partitions,
            });
        }
        self.answer_offsets(context, response.into(), open, LOOKUP_TIMEOUT, fx);
    }

    /// The partition with the end of the requested epoch, or of the one before; `None` for an unknown epoch.
    fn end_of_requested_epoch(
        &self,
        topic: crate::ids::TopicId,
        asked: &OffsetForLeaderPartition,
    ) -> Result<(TopicPartition, Option<(LeaderEpoch, Offset)>), ErrorCode> {
        let partition = self.find_partition(topic, asked.partition)?;
        let replica = self.led_replica(partition, asked.current_leader_epoch)?;
        let end = end_of_epoch(replica, LeaderEpoch(asked.leader_epoch));
        Ok((partition, end))
    }
}

impl Delayed for WaitingOffsets {
    fn context(&self) -> &RequestContext {
        &self.context
    }

    fn expire(self: Box<Self>, broker: &mut Broker, fx: &mut Effects) {
        let code = if self.open.values().any(|open| open.lookup.is_some()) {
            ErrorCode::RequestTimedOut
        } else {
            ErrorCode::NotLeaderOrFollower
        };
        self.end(code, broker, fx);
    }

    fn fail(self: Box<Self>, broker: &mut Broker, fx: &mut Effects) {
        self.end(ErrorCode::NotLeaderOrFollower, broker, fx);
    }

    fn forget(&self, broker: &mut Broker) {
        let offsets = &mut broker.requests.offsets;
        for (&number, open) in &self.open {
            offsets.remove(open.partition, self.context.id, number);
        }
    }
}

impl WaitingOffsets {
    /// Answers with the complete partitions, and this error for the others.
    fn end(mut self, code: ErrorCode, broker: &mut Broker, fx: &mut Effects) {
        for open in std::mem::take(&mut self.open).into_values() {
            self.refuse(open.place, code);
        }
        broker.respond_data(self.context, self.response, fx);
    }

    /// Fills in the result of the store.
    fn fill_in(&mut self, number: usize, found: (Offset, Timestamp, LeaderEpoch)) {
        let (topic, partition) = self.open[&number].place;
        let (offset, timestamp, leader_epoch) = found;
        if let Response::ListOffsets(response) = &mut self.response {
            let answer = &mut response.topics[topic].partitions[partition];
            answer.offset = offset.0;
            answer.timestamp = timestamp.0;
            answer.leader_epoch = client_epoch(leader_epoch, self.context.api_version);
        }
    }

    /// Turns the response for a partition into an error.
    fn refuse(&mut self, (topic, partition): (usize, usize), code: ErrorCode) {
        if let Response::ListOffsets(response) = &mut self.response {
            let answer = &mut response.topics[topic].partitions[partition];
            *answer = ListOffsetsPartitionResponse {
                partition_index: answer.partition_index,
                error_code: code,
                ..ListOffsetsPartitionResponse::default()
            };
        }
        if let Response::OffsetForLeaderEpoch(response) = &mut self.response {
            let answer = &mut response.topics[topic].partitions[partition];
            *answer = EpochEndOffset {
                partition: answer.partition,
                error_code: code,
                ..EpochEndOffset::default()
            };
        }
    }
}

/// The partitions that a request names more than once, which makes it ambiguous.
fn named_twice(topics: &[ListOffsetsTopic]) -> BTreeSet<(Str, i32)> {
    let mut seen = BTreeSet::new();
    let all = topics.iter().flat_map(|topic| {
        let named = |asked: &ListOffsetsPartition| (topic.name.clone(), asked.partition_index);
        topic.partitions.iter().map(named)
    });
    all.filter(|key| !seen.insert(key.clone())).collect()
}

/// Whether this version knows a timestamp: a real one, or one of the special values of this version.
const fn is_known_time(timestamp: i64, api_version: i16) -> bool {
    match timestamp {
        LATEST_TIMESTAMP | EARLIEST_TIMESTAMP => true,
        MAX_TIMESTAMP => api_version >= 7,
        EARLIEST_LOCAL_TIMESTAMP => api_version >= 8,
        LATEST_TIERED_TIMESTAMP => api_version >= 9,
        EARLIEST_PENDING_UPLOAD_TIMESTAMP => api_version >= 11,
        timestamp => timestamp >= 0,
    }
}

/// A leader epoch for a client: -1 where there is none, or the version has no such field.
const fn client_epoch(leader_epoch: LeaderEpoch, api_version: i16) -> i32 {
    if leader_epoch.0 == 0 || api_version < 4 {
        -1
    } else {
        leader_epoch.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_time_is_refused_by_versions_that_came_before_it() {
        for (timestamp, first) in [
            (LATEST_TIMESTAMP, 1),
            (EARLIEST_TIMESTAMP, 1),
            (MAX_TIMESTAMP, 7),
            (EARLIEST_LOCAL_TIMESTAMP, 8),
            (LATEST_TIERED_TIMESTAMP, 9),
            (EARLIEST_PENDING_UPLOAD_TIMESTAMP, 11),
        ] {
            assert!(is_known_time(timestamp, first), "{timestamp}");
            assert!(
                first == 1 || !is_known_time(timestamp, first - 1),
                "{timestamp}"
            );
        }
        assert!(is_known_time(0, 1));
        assert!(!is_known_time(-7, 11));
    }
}
