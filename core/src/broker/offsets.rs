//! ListOffsets and OffsetForLeaderEpoch: offsets by time and by epoch.
//!
//! Earliest and latest are known at once; a time is looked up by the store, below the high watermark. Every client is
//! a consumer here, whatever replica id it names: nothing above the high watermark is told. A leader whose opening is
//! not committed has no latest offset to tell yet, and says `OFFSET_NOT_AVAILABLE`, in older versions
//! `LEADER_NOT_AVAILABLE`: the one before it may have told more (KIP-207). There is no remote storage, so what is
//! local is everything, and nothing is tiered.
//!
//! The latest offset is told only by the latest leader: one that was asleep, is cut off, or has handed leadership over may
//! have been succeeded, and its latest is long past (counter-example 13). So its voters are asked first, see
//! `replica::confirmation`. Records below a high watermark are committed for good and told without that.
//!
//! Sources: `ReplicaManager.fetchOffset`, `UnifiedLog.fetchOffsetByTimestamp`, `Partition.fetchOffsetForTimestamp`,
//! KIP-207, KIP-320, KIP-405, KIP-734, KIP-1005, KIP-1023.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::effect::{Effects, RequestId};
use crate::ids::{LeaderEpoch, Offset, Timestamp, TopicPartition};
use crate::input::RequestContext;
use crate::queries::{Lookup, Waiter};
use crate::replica::{Confirmation, Replica};
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
    OffsetForLeaderEpochResponse, Str,
};

use super::Broker;
use super::lookup::{Confirming, Named, end_of_epoch};
use super::purgatory::Delayed;

/// From this version on `OFFSET_NOT_AVAILABLE` is known to clients.
const NOT_AVAILABLE_FROM: i16 = 5;
/// How long a lookup may take where the request does not say.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lookups that the store, and leaders that their voters, have not all answered.
#[derive(Debug)]
struct WaitingOffsets {
    context: RequestContext,
    response: ListOffsetsResponse,
    /// Topic and partition, by their places in the answer.
    places: Vec<(usize, usize)>,
    /// The places that are open, by their places in `places`.
    open: BTreeSet<usize>,
    /// Of these, those that wait for a leader's voters.
    confirming: BTreeMap<usize, Confirming>,
}

/// What ListOffsets asks of one partition.
enum Found {
    Known(ListOffsetsPartitionResponse),
    Lookup(TopicPartition, QueryKind, Offset),
    Latest(TopicPartition),
}

impl Broker {
    pub(super) fn on_list_offsets(
        &mut self,
        context: RequestContext,
        body: ListOffsetsRequest,
        fx: &mut Effects,
    ) {
        let (id, api_version) = (context.id, context.api_version);
        let mut waiting = WaitingOffsets {
            context,
            response: ListOffsetsResponse::default(),
            places: Vec::new(),
            open: BTreeSet::new(),
            confirming: BTreeMap::new(),
        };
        let twice = asked_twice(&body.topics);
        let mut told = BTreeSet::new();
        for (topic_place, topic) in body.topics.into_iter().enumerate() {
            let mut answers = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let key = (topic.name.clone(), partition.partition_index);
                let is_twice = twice.contains(&key);
                if is_twice && !told.insert(key) {
                    continue; // it has its answer
                }
                let place = answers.len();
                let mut answer = ListOffsetsPartitionResponse {
                    partition_index: partition.partition_index,
                    ..ListOffsetsPartitionResponse::default()
                };
                let found = if is_twice {
                    Err(ErrorCode::InvalidRequest)
                } else {
                    self.find_offset(&topic.name, partition, api_version, fx)
                };
                match found {
                    Ok(Found::Known(known)) => answer = known,
                    Ok(Found::Lookup(partition, kind, end)) => {
                        let lookup = Lookup {
                            request: id,
                            place: waiting.open_place(topic_place, place),
                            end,
                        };
                        self.queries
                            .ask(partition, kind, Waiter::ListOffsets(lookup), fx);
                    }
                    Ok(Found::Latest(partition)) => {
                        let confirming = self.confirm_leadership(partition, fx);
                        let place_number = waiting.open_place(topic_place, place);
                        waiting.confirming.insert(place_number, confirming);
                        let waiters = self.requests.confirming.entry(partition).or_default();
                        waiters.insert((id, place_number));
                    }
                    Err(code) => answer.error_code = code,
                }
                answers.push(answer);
            }
            waiting.response.topics.push(ListOffsetsTopicResponse {
                name: topic.name,
                partitions: answers,
            });
        }
        if waiting.open.is_empty() {
            self.respond_data(waiting.context, waiting.response, fx);
            return;
        }
        let patience = match u64::try_from(body.timeout_ms) {
            Ok(timeout_ms) if timeout_ms > 0 => Duration::from_millis(timeout_ms),
            Ok(_) | Err(_) => PATIENCE,
        };
        let deadline = self.now + patience;
        self.requests.purgatory.insert(deadline, Box::new(waiting));
    }

    fn find_offset(
        &self,
        topic: &str,
        asked: &ListOffsetsPartition,
        api_version: i16,
        fx: &Effects,
    ) -> Result<Found, ErrorCode> {
        let topic = self.find_topic(Named::Name(topic))?;
        let partition = self.find_partition(topic, asked.partition_index)?;
        if !is_known_time(asked.timestamp, api_version) {
            return Err(ErrorCode::UnsupportedVersion);
        }
        let replica = self.led_replica(partition, asked.current_leader_epoch)?;
        let answer = |offset: i64, leader_epoch: LeaderEpoch| {
            Found::Known(ListOffsetsPartitionResponse {
                partition_index: asked.partition_index,
                offset,
                leader_epoch: epoch_told(leader_epoch, api_version),
                ..ListOffsetsPartitionResponse::default()
            })
        };
        let start = replica.log_start_offset();
        match asked.timestamp {
            EARLIEST_TIMESTAMP | EARLIEST_LOCAL_TIMESTAMP => {
                return Ok(answer(start.0, replica.epoch_of_record(start)));
            }
            LATEST_TIERED_TIMESTAMP | EARLIEST_PENDING_UPLOAD_TIMESTAMP => {
                return Ok(answer(-1, LeaderEpoch(0)));
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
            return Ok(Found::Latest(partition));
        }
        let end = replica.readable_end(end, fx);
        if start >= end {
            return Ok(answer(-1, LeaderEpoch(0)));
        }
        let kind = if asked.timestamp == MAX_TIMESTAMP {
            QueryKind::MaxTimestamp { end }
        } else {
            let timestamp = Timestamp(asked.timestamp);
            QueryKind::OffsetForTimestamp { timestamp, end }
        };
        Ok(Found::Lookup(partition, kind, end))
    }

    /// The store has answered.
    pub(super) fn on_offset_found(
        &mut self,
        lookup: Lookup,
        result: QueryResult,
        fx: &mut Effects,
    ) {
        let purgatory = &mut self.requests.purgatory;
        let Some(offsets) = purgatory.get_mut::<WaitingOffsets>(lookup.request) else {
            return; // the client is gone
        };
        if !offsets.open.remove(&lookup.place) {
            return;
        }
        let api_version = offsets.context.api_version;
        let answer = offsets.answer_at(lookup.place);
        match result {
            QueryResult::Found(Some((offset, timestamp, leader_epoch))) => {
                answer.offset = offset.0;
                answer.timestamp = timestamp.0;
                answer.leader_epoch = epoch_told(leader_epoch, api_version);
            }
            QueryResult::Found(None) => {}
            QueryResult::Failed(_) | QueryResult::Records(_) => {
                answer.error_code = ErrorCode::KafkaStorageError;
            }
        }
        self.end_offsets(lookup.request, fx);
    }

    /// Something has changed about a partition: its leader may have been confirmed, or lead no more.
    pub(super) fn wake_latest(&mut self, partition: TopicPartition, fx: &mut Effects) {
        let Some(waiters) = self.requests.confirming.get(&partition) else {
            return;
        };
        let waiters: Vec<(RequestId, usize)> = waiters.iter().copied().collect();
        for (id, place) in waiters {
            self.answer_latest(id, place, fx);
        }
    }

    fn answer_latest(&mut self, id: RequestId, place: usize, fx: &mut Effects) {
        let Some(offsets) = self.requests.purgatory.get::<WaitingOffsets>(id) else {
            unreachable!(
                "whoever waits for a leader to be confirmed is forgotten with its request"
            );
        };
        let confirming = offsets.confirming[&place];
        let (partition, leader_epoch) = (confirming.partition, confirming.leader_epoch);
        let latest = match self.confirmation(confirming) {
            Confirmation::Open => return,
            Confirmation::Confirmed => self.replica(partition).and_then(Replica::high_watermark),
            Confirmation::Lost => None,
        };
        self.forget_confirming(id, place, partition);
        let Some(offsets) = self.requests.purgatory.get_mut::<WaitingOffsets>(id) else {
            unreachable!("it was just seen");
        };
        offsets.open.remove(&place);
        offsets.confirming.remove(&place);
        let api_version = offsets.context.api_version;
        let answer = offsets.answer_at(place);
        match latest {
            Some(latest) => {
                answer.offset = latest.0;
                answer.leader_epoch = epoch_told(leader_epoch, api_version);
            }
            None => answer.error_code = ErrorCode::NotLeaderOrFollower,
        }
        self.end_offsets(id, fx);
    }

    /// Answers a request of which nothing is open any more.
    fn end_offsets(&mut self, id: RequestId, fx: &mut Effects) {
        let purgatory = &mut self.requests.purgatory;
        let waiting = purgatory.get::<WaitingOffsets>(id);
        if waiting.is_some_and(|offsets| offsets.open.is_empty())
            && let Some(offsets) = purgatory.take::<WaitingOffsets>(id)
        {
            self.respond_data(offsets.context, offsets.response, fx);
        }
    }

    pub(super) fn on_offset_for_leader_epoch(
        &mut self,
        context: RequestContext,
        body: OffsetForLeaderEpochRequest,
        fx: &mut Effects,
    ) {
        let topics = body.topics.into_iter().map(|topic| {
            let found = self.find_topic(Named::Name(&topic.topic));
            let partitions = topic.partitions.iter().map(|asked| {
                let mut answer = EpochEndOffset {
                    partition: asked.partition,
                    ..EpochEndOffset::default()
                };
                match found.and_then(|topic| self.end_of_asked_epoch(topic, asked)) {
                    Ok(Some((leader_epoch, end_offset))) => {
                        answer.leader_epoch = leader_epoch;
                        answer.end_offset = end_offset;
                    }
                    Ok(None) => {}
                    Err(code) => answer.error_code = code,
                }
                answer
            });
            let partitions = partitions.collect();
            OffsetForLeaderTopicResult {
                topic: topic.topic,
                partitions,
            }
        });
        let response = OffsetForLeaderEpochResponse {
            topics: topics.collect(),
            ..OffsetForLeaderEpochResponse::default()
        };
        self.respond_data(context, response, fx);
    }

    fn forget_confirming(&mut self, id: RequestId, place: usize, partition: TopicPartition) {
        let confirming = &mut self.requests.confirming;
        if let Some(waiters) = confirming.get_mut(&partition) {
            waiters.remove(&(id, place));
            if waiters.is_empty() {
                confirming.remove(&partition);
            }
        }
    }

    fn end_of_asked_epoch(
        &self,
        topic: crate::ids::TopicId,
        asked: &OffsetForLeaderPartition,
    ) -> Result<Option<(i32, i64)>, ErrorCode> {
        let partition = self.find_partition(topic, asked.partition)?;
        let replica = self.led_replica(partition, asked.current_leader_epoch)?;
        let end = end_of_epoch(replica, LeaderEpoch(asked.leader_epoch));
        Ok(end.map(|(leader_epoch, end_offset)| (leader_epoch.0, end_offset.0)))
    }
}

impl Delayed for WaitingOffsets {
    fn context(&self) -> &RequestContext {
        &self.context
    }

    fn expire(self: Box<Self>, broker: &mut Broker, fx: &mut Effects) {
        self.end(ErrorCode::RequestTimedOut, broker, fx);
    }

    fn fail(self: Box<Self>, broker: &mut Broker, fx: &mut Effects) {
        self.end(ErrorCode::NotLeaderOrFollower, broker, fx);
    }

    fn forget(&self, broker: &mut Broker) {
        for (&place, confirming) in &self.confirming {
            broker.forget_confirming(self.context.id, place, confirming.partition);
        }
    }
}

impl WaitingOffsets {
    /// Answers with what was found, and this error for the rest.
    fn end(mut self, code: ErrorCode, broker: &mut Broker, fx: &mut Effects) {
        for place in std::mem::take(&mut self.open) {
            self.answer_at(place).error_code = code;
        }
        broker.respond_data(self.context, self.response, fx);
    }

    /// Leaves a place in the answer open. Returns its place in `places`.
    fn open_place(&mut self, topic: usize, partition: usize) -> usize {
        let place = self.places.len();
        self.places.push((topic, partition));
        self.open.insert(place);
        place
    }

    fn answer_at(&mut self, place: usize) -> &mut ListOffsetsPartitionResponse {
        let (topic, partition) = self.places[place];
        &mut self.response.topics[topic].partitions[partition]
    }
}

/// The partitions that a request names more than once, of which it is not clear what is asked.
fn asked_twice(topics: &[ListOffsetsTopic]) -> BTreeSet<(Str, i32)> {
    let mut seen = BTreeSet::new();
    let all = topics.iter().flat_map(|topic| {
        let named = |asked: &ListOffsetsPartition| (topic.name.clone(), asked.partition_index);
        topic.partitions.iter().map(named)
    });
    all.filter(|key| !seen.insert(key.clone())).collect()
}

/// Whether a time is one that this version knows: a true time, or one of the names that it has.
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

/// An epoch as clients are told it: -1 where there is none, or the version has no place for it.
const fn epoch_told(leader_epoch: LeaderEpoch, api_version: i16) -> i32 {
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
