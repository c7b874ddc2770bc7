//! Fetch: reading committed records, and waiting for them.
//!
//! A fetch reads each of its partitions once: from memory at once, else by a query of the store, for all partitions at
//! the same time. If there are too few bytes, the fetch waits, and reads again only partitions that have changed, until
//! there are enough, an error must be returned, or its time is over.
//!
//! Only leaders serve, and only below the high watermark. A leader whose opening is not committed yet has none: its
//! partition is waited for like one without new records, and if that takes longer than the fetch may wait, gets
//! `NOT_LEADER_OR_FOLLOWER`, at which every client refreshes its metadata. A hole gets `KAFKA_STORAGE_ERROR`, which
//! clients retry, or `CORRUPT_MESSAGE`, which they report, where no other replica can fill it; records behind it are
//! never served in its place. The last stable offset is the high watermark, and there are no aborted transactions, as
//! there are no transactions.
//!
//! Only the current leader can know that an offset is beyond the log's end, or that a leader epoch does not exist: a
//! consumer may have read up to it from a later leader. So these errors need a leadership confirmation, see
//! `replica::confirmation`. Once there are enough bytes, or the fetch's time is over, the response waits half a second
//! more for it; then that partition gets `NOT_LEADER_OR_FOLLOWER`.
//!
//! Payload is not copied: an answer is made of stamped headers and slices of what was received or read.
//!
//! Sources: `ReplicaManager.readFromLog`, `DelayedFetch`, KIP-74 (size limits), KIP-227 (sessions), KIP-320 (leader
//! epochs), KIP-595 (diverging epochs), KIP-951 (leader hints).

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::effect::{Effects, RequestId};
use crate::hooks::Mutant;
use crate::ids::{LeaderEpoch, Offset, TopicPartition};
use crate::input::RequestContext;
use crate::queries::{Lookup, Waiter};
use crate::record::{Batch, BatchHeader, HEADER_SIZE};
use crate::replica::{Replica, TailRead};
use crate::store::{QueryKind, QueryResult, ReadError};
use crate::wire::fetch::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use crate::wire::{ErrorCode, FetchRequest, FetchResponse, Records, Str};

use super::Broker;
use super::fetch_session::{SentPartition, SessionContext, Target};
use super::lookup::{PendingConfirmation, TopicReference, end_of_epoch, refusal_of_leader};
use super::purgatory::Delayed;

/// From this version on topics are named by id.
const BY_ID_FROM: i16 = 13;
/// From this version on a response names the current leader (KIP-951).
const HINTS_FROM: i16 = 16;
/// How long a fetch waits for the disk once it need not wait for more records.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The same where it waits for leadership confirmations alone.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_millis(500);

/// A fetch request that is not answered.
#[derive(Debug)]
struct WaitingFetch {
    context: RequestContext,
    session: SessionContext,
    read_committed: bool,
    bytes_min: usize,
    bytes_max: usize,
    targets: Vec<Target>,
    /// The result for each target.
    fetched: Vec<FetchedPartition>,
    /// Bytes of records in the results.
    bytes: usize,
    /// Targets that wait for the store or for a leadership confirmation.
    pending: usize,
    /// A result must be returned at once.
    urgent: bool,
    /// A target may get more records.
    waits: bool,
    /// Only pending targets are waited for: the client's time is over, or there are enough bytes.
    only_pending: bool,
}

/// The result for a partition.
#[derive(Debug)]
struct FetchedPartition {
    /// The partition; `None` for an unknown one.
    partition: Option<TopicPartition>,
    result: PartitionResult,
}

#[derive(Debug)]
enum PartitionResult {
    /// An error.
    Refused(ErrorCode),
    /// Its leader has no high watermark yet.
    Unopened,
    /// A query of the store is pending.
    Reading(Bounds),
    /// Out of range by this leader's log; the error waits for a leadership confirmation.
    Confirming(PendingConfirmation),
    /// These records, or none.
    Read(Bounds, Records),
    /// The client has records of an epoch that ended before them.
    Diverged(Bounds, LeaderEpoch, Offset),
}

/// The start and end of a partition's readable log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    high_watermark: Offset,
    log_start_offset: Offset,
}

/// A limit for reading.
#[derive(Clone, Copy, Debug)]
struct ReadLimit {
    bytes: usize,
    /// There are no records yet: the first batch is taken whatever its size.
    at_least_one: bool,
}

impl Broker {
    pub(super) fn on_fetch(
        &mut self,
        context: RequestContext,
        body: FetchRequest,
        fx: &mut Effects,
    ) {
        let (id, api_version) = (context.id, context.api_version);
        let opened = self.requests.sessions.open(&body, api_version, self.now);
        let (session, targets) = match opened {
            Ok(opened) => opened,
            Err(error_code) => {
                let response = FetchResponse {
                    error_code,
                    ..FetchResponse::default()
                };
                fx.respond(id, response);
                return;
            }
        };
        let size = |bytes: i32| usize::try_from(bytes).unwrap_or(0);
        let bytes_max = size(body.max_bytes.min(self.fetch_bytes_max()));
        let mut fetch = Box::new(WaitingFetch {
            context,
            session,
            read_committed: body.isolation_level == 1,
            bytes_min: size(body.min_bytes).min(bytes_max),
            bytes_max,
            fetched: Vec::with_capacity(targets.len()),
            targets,
            bytes: 0,
            pending: 0,
            urgent: false,
            waits: false,
            only_pending: body.max_wait_ms <= 0,
        });
        // Replicas of this cluster do not replicate by Fetch, and no client may read uncommitted records.
        let is_replica = body.replica_id.max(body.replica_state.replica_id) >= 0;
        let mut planned = 0;
        for place in 0..fetch.targets.len() {
            let fetched = if is_replica {
                FetchedPartition {
                    partition: None,
                    result: PartitionResult::Refused(ErrorCode::TopicAuthorizationFailed),
                }
            } else {
                let limit = ReadLimit {
                    bytes: fetch.targets[place]
                        .bytes_max
                        .min(bytes_max.saturating_sub(planned)),
                    at_least_one: planned == 0,
                };
                self.remember_topic_name(&mut fetch.targets[place], api_version);
                let fetched =
                    self.fetch_partition(&fetch.targets[place], api_version, id, place, limit, fx);
                planned += match &fetched.result {
                    PartitionResult::Reading(_) => limit.bytes.max(1),
                    PartitionResult::Read(_, records) => records.len(),
                    PartitionResult::Refused(_)
                    | PartitionResult::Unopened
                    | PartitionResult::Confirming(..)
                    | PartitionResult::Diverged(..) => 0,
                };
                fetched
            };
            fetch.fetched.push(fetched);
            fetch.add_to_totals(place);
        }
        if fetch.is_satisfied() && fetch.pending == 0 {
            self.end_fetch(*fetch, fx);
            return;
        }
        let max_wait = Duration::from_millis(u64::try_from(body.max_wait_ms).unwrap_or(0));
        fetch.only_pending |= fetch.is_satisfied();
        let timeout = fetch.timeout().filter(|_| fetch.only_pending);
        self.delay_fetch(fetch, timeout.unwrap_or(max_wait));
    }

    /// Puts a fetch into the purgatory, indexed by its partitions.
    fn delay_fetch(&mut self, fetch: Box<WaitingFetch>, timeout: Duration) {
        let id = fetch.context.id;
        for (place, fetched) in fetch.fetched.iter().enumerate() {
            if let Some(partition) = fetched.partition {
                self.requests.readers.add(partition, id, place);
            }
        }
        self.requests.purgatory.insert(self.now + timeout, fetch);
    }

    /// The limit of bytes in one response.
    fn fetch_bytes_max(&mut self) -> i32 {
        let read = self.requests.fetch_bytes_max;
        let bytes_max = read.unwrap_or_else(|| self.configs().fetch_max_bytes());
        self.requests.fetch_bytes_max = Some(bytes_max);
        bytes_max
    }

    /// Reads one partition.
    fn fetch_partition(
        &mut self,
        target: &Target,
        api_version: i16,
        id: RequestId,
        place: usize,
        limit: ReadLimit,
        fx: &mut Effects,
    ) -> FetchedPartition {
        let named = if api_version >= BY_ID_FROM {
            TopicReference::Id(target.topic_id)
        } else {
            TopicReference::Name(&target.topic)
        };
        let partition = self
            .find_topic(named)
            .and_then(|topic| self.find_partition(topic, target.partition));
        match (partition, &target.known_as) {
            (Ok(partition), _) => FetchedPartition {
                partition: Some(partition),
                result: self
                    .read(partition, target, id, place, limit, fx)
                    .unwrap_or_else(PartitionResult::Refused),
            },
            (Err(ErrorCode::UnknownTopicId), Some(name)) => {
                self.find_recreated_topic(name, target.partition)
            }
            (Err(code), _) => FetchedPartition {
                partition: None,
                result: PartitionResult::Refused(code),
            },
        }
    }

    /// Remembers the name of a topic that was found by its id.
    fn remember_topic_name(&self, target: &mut Target, api_version: i16) {
        if api_version >= BY_ID_FROM && target.known_as.is_none() {
            let topic = self.image().topic(target.topic_id);
            target.known_as = topic.map(|topic| topic.name.clone());
        }
    }

    /// The result for a topic that has been deleted since it was found: as in Kafka, that of the topic that has its
    /// name.
    fn find_recreated_topic(&self, name: &str, partition: i32) -> FetchedPartition {
        let recreated = self
            .find_topic(TopicReference::Name(name))
            .and_then(|topic| self.find_partition(topic, partition));
        let code = match recreated {
            Ok(partition) if self.replica(partition).is_none() => ErrorCode::NotLeaderOrFollower,
            Ok(_) => ErrorCode::InconsistentTopicId,
            Err(code) => code,
        };
        FetchedPartition {
            partition: recreated.ok(),
            result: PartitionResult::Refused(code),
        }
    }

    /// Reads from memory, or queries the store.
    fn read(
        &mut self,
        partition: TopicPartition,
        target: &Target,
        id: RequestId,
        place: usize,
        limit: ReadLimit,
        fx: &mut Effects,
    ) -> Result<PartitionResult, ErrorCode> {
        let replica = self.led_replica(partition, target.current_leader_epoch)?;
        let Some(high_watermark) = replica.high_watermark() else {
            return Ok(PartitionResult::Unopened);
        };
        let bounds = Bounds {
            high_watermark,
            log_start_offset: replica.log_start_offset(),
        };
        let mut offset = Offset(target.fetch_offset);
        if target.last_fetched_epoch >= 0 {
            let last_fetched = LeaderEpoch(target.last_fetched_epoch);
            let Some((leader_epoch, end_offset)) = end_of_epoch(replica, last_fetched) else {
                if fx.mutant(Mutant::TellsEpochsUnconfirmed) {
                    return Err(ErrorCode::OffsetOutOfRange);
                }
                return Ok(PartitionResult::Confirming(
                    self.confirm_leadership(partition, fx),
                ));
            };
            if leader_epoch < last_fetched || end_offset < offset {
                return Ok(PartitionResult::Diverged(bounds, leader_epoch, end_offset));
            }
        }
        if offset < bounds.log_start_offset {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        if offset > replica.log_end_offset() {
            if fx.mutant(Mutant::TellsRangeUnconfirmed) {
                return Err(ErrorCode::OffsetOutOfRange);
            }
            return Ok(PartitionResult::Confirming(
                self.confirm_leadership(partition, fx),
            ));
        }
        let nothing = PartitionResult::Read(bounds, Records::empty());
        if offset >= high_watermark || limit.bytes == 0 && !limit.at_least_one {
            return Ok(nothing);
        }
        loop {
            match replica.read_tail(offset, high_watermark, limit.bytes) {
                TailRead::Batches(batches) => {
                    let first = batches.first().map_or(0, Batch::size);
                    if first > limit.bytes && !limit.at_least_one {
                        return Ok(nothing);
                    }
                    return Ok(PartitionResult::Read(bounds, records_of(batches)));
                }
                TailRead::OnDisk => break,
                TailRead::Hole(hole) if fx.mutant(Mutant::ServesHoles) => offset = hole.end,
                TailRead::Hole(_) => return Err(hole_error(replica)),
            }
        }
        let lookup = Lookup {
            request: id,
            place,
            end: replica.readable_end(high_watermark, fx),
        };
        self.read_disk(partition, lookup, offset, limit.bytes, fx);
        Ok(PartitionResult::Reading(bounds))
    }

    fn read_disk(
        &mut self,
        partition: TopicPartition,
        lookup: Lookup,
        offset: Offset,
        bytes_max: usize,
        fx: &mut Effects,
    ) {
        let kind = QueryKind::Read {
            offset,
            end: lookup.end,
            bytes_max: u32::try_from(bytes_max).unwrap_or(u32::MAX),
        };
        self.queries.ask(partition, kind, Waiter::Fetch(lookup), fx);
    }

    /// The store has answered.
    pub(super) fn on_fetched(
        &mut self,
        partition: TopicPartition,
        lookup: Lookup,
        result: QueryResult,
        fx: &mut Effects,
    ) {
        let purgatory = &self.requests.purgatory;
        let Some(fetch) = purgatory.get::<WaitingFetch>(lookup.request) else {
            return; // the client is gone
        };
        let target = &fetch.targets[lookup.place];
        let offset = Offset(target.fetch_offset);
        let limit = target.bytes_max;
        let PartitionResult::Reading(bounds) = fetch.fetched[lookup.place].result else {
            unreachable!("the store is asked once for a partition at a time");
        };
        // The replica may have been deleted while the query was pending.
        let is_there = self
            .replica(partition)
            .is_some_and(|replica| replica.log_end_offset() >= lookup.end);
        let result = match result {
            QueryResult::Records(bytes) if is_there || fx.mutant(Mutant::ServesDeleted) => {
                PartitionResult::Read(bounds, Records::from(bytes))
            }
            QueryResult::Records(_) => PartitionResult::Refused(ErrorCode::NotLeaderOrFollower),
            QueryResult::Failed(ReadError::Hole(hole))
                if hole.start > offset && hole.start < lookup.end =>
            {
                // The records before the hole are good.
                let end = hole.start;
                self.read_disk(partition, Lookup { end, ..lookup }, offset, limit, fx);
                return;
            }
            QueryResult::Failed(ReadError::Hole(hole))
                if fx.mutant(Mutant::ServesHoles) && hole.end < bounds.high_watermark =>
            {
                self.read_disk(partition, lookup, hole.end, limit, fx);
                return;
            }
            QueryResult::Failed(ReadError::OutOfRange) => {
                let gone = self
                    .replica(partition)
                    .is_none_or(|replica| offset < replica.log_start_offset());
                PartitionResult::Refused(if gone {
                    ErrorCode::OffsetOutOfRange
                } else {
                    ErrorCode::KafkaStorageError
                })
            }
            QueryResult::Failed(ReadError::Hole(_)) => {
                let replica = self.replica(partition);
                PartitionResult::Refused(replica.map_or(ErrorCode::KafkaStorageError, hole_error))
            }
            QueryResult::Failed(ReadError::Unavailable) | QueryResult::Found(_) => {
                PartitionResult::Refused(ErrorCode::KafkaStorageError)
            }
        };
        self.set_result(lookup.request, lookup.place, result, fx);
    }

    /// A partition has changed: fetches that wait for it read it again.
    pub(super) fn wake_fetches(&mut self, partition: TopicPartition, fx: &mut Effects) {
        for (id, place) in self.requests.readers.of(partition) {
            self.refetch_partition(id, place, fx);
        }
    }

    fn refetch_partition(&mut self, id: RequestId, place: usize, fx: &mut Effects) {
        let Some(fetch) = self.requests.purgatory.get::<WaitingFetch>(id) else {
            return; // answered since, because of another of its partitions
        };
        let fetched = &fetch.fetched[place];
        let Some(partition) = fetched.partition else {
            return;
        };
        let before = match &fetched.result {
            // The store's answer will come, or this result is returned once nothing is pending.
            PartitionResult::Reading(_)
            | PartitionResult::Refused(_)
            | PartitionResult::Diverged(..) => return,
            PartitionResult::Read(bounds, _) => Some(*bounds),
            PartitionResult::Confirming(pending) => {
                let confirmation = self.confirmation(*pending);
                if let Some(code) = refusal_of_leader(confirmation, ErrorCode::OffsetOutOfRange) {
                    self.set_result(id, place, PartitionResult::Refused(code), fx);
                }
                return;
            }
            PartitionResult::Unopened if fetch.only_pending => return,
            PartitionResult::Unopened => None,
        };
        let now = self
            .replica(partition)
            .filter(|replica| replica.is_leader())
            .and_then(|replica| {
                Some(Bounds {
                    high_watermark: replica.high_watermark()?,
                    log_start_offset: replica.log_start_offset(),
                })
            });
        // Records that have been read are not read again unless the client waits for more.
        if before.is_some() && (before == now || now.is_some() && fetch.only_pending) {
            return;
        }
        let bytes_here = fetched.result.size();
        let others = fetch.bytes - bytes_here;
        let limit = ReadLimit {
            bytes: fetch.targets[place]
                .bytes_max
                .min(fetch.bytes_max.saturating_sub(others)),
            at_least_one: others == 0,
        };
        let (target, api_version) = (fetch.targets[place].clone(), fetch.context.api_version);
        let fetched = self.fetch_partition(&target, api_version, id, place, limit, fx);
        self.set_result(id, place, fetched.result, fx);
    }

    /// Records the result for a partition, and answers if it was the last one.
    fn set_result(
        &mut self,
        id: RequestId,
        place: usize,
        result: PartitionResult,
        fx: &mut Effects,
    ) {
        if let Some(fetch) = self.requests.purgatory.get_mut::<WaitingFetch>(id) {
            fetch.replace(place, result);
            self.finish_fetch(id, fx);
        }
    }

    /// Answers a waiting fetch if it is complete.
    fn finish_fetch(&mut self, id: RequestId, fx: &mut Effects) {
        let purgatory = &mut self.requests.purgatory;
        let Some(fetch) = purgatory.get_mut::<WaitingFetch>(id) else {
            return;
        };
        if !fetch.is_satisfied() {
            return;
        }
        fetch.only_pending = true;
        if let Some(timeout) = fetch.timeout() {
            purgatory.shorten_deadline(id, self.now + timeout);
        } else if let Some(fetch) = purgatory.take::<WaitingFetch>(id) {
            fetch.forget(self);
            self.end_fetch(*fetch, fx);
        }
    }

    /// Answers a fetch with the results so far.
    fn end_fetch(&mut self, fetch: WaitingFetch, fx: &mut Effects) {
        let (api_version, listener) = (fetch.context.api_version, fetch.context.listener);
        let mut response = FetchResponse::default();
        if let SessionContext::Incremental(session, epoch) = fetch.session {
            if !self.requests.sessions.has_epoch(session, epoch) {
                response.error_code = ErrorCode::InvalidFetchSessionEpoch;
                fx.respond(fetch.context.id, response);
                return;
            }
            response.session_id = session;
        }
        let mut sent = Vec::new();
        for (target, fetched) in fetch.targets.iter().zip(fetch.fetched) {
            let mut data = partition_data(target, fetched.result, fetch.read_committed);
            if fetched.partition.is_none() {
                data.aborted_transactions = Some(Vec::new());
            }
            let part = SentPartition {
                high_watermark: data.high_watermark,
                log_start_offset: data.log_start_offset,
                has_records: data
                    .records
                    .as_ref()
                    .is_some_and(|records| !records.is_empty()),
                urgent: !data.error_code.is_none() || data.diverging_epoch.epoch >= 0,
            };
            match fetch.session {
                SessionContext::Sessionless => {}
                SessionContext::Full => sent.push(part),
                SessionContext::Incremental(session, _) => {
                    if !self.requests.sessions.record_sent(session, target, part) {
                        continue;
                    }
                }
            }
            let same_topic = |topic: &&mut FetchableTopicResponse| {
                topic.topic == target.topic && topic.topic_id == target.topic_id
            };
            let data = self.with_hint(
                data,
                fetched.partition,
                &fetch_hints(api_version, listener),
                &mut response.node_endpoints,
            );
            match response.responses.last_mut().filter(same_topic) {
                Some(topic) => topic.partitions.push(data),
                None => response.responses.push(FetchableTopicResponse {
                    topic: target.topic.clone(),
                    topic_id: target.topic_id,
                    partitions: vec![data],
                }),
            }
        }
        if fetch.session == SessionContext::Full {
            let sessions_max = usize::try_from(self.configs().fetch_sessions_max()).unwrap_or(0);
            let by_id = api_version >= BY_ID_FROM;
            let mut sessions = std::mem::take(&mut self.requests.sessions);
            let sent = fetch.targets.into_iter().zip(sent);
            response.session_id =
                sessions.create(sent, by_id, sessions_max, self.now, || self.draw());
            self.requests.sessions = sessions;
        }
        self.respond_data(fetch.context, response, fx);
    }

    /// Adds the current leader, for a client that sent its request to the wrong broker or with the wrong epoch.
    fn with_hint(
        &self,
        mut data: PartitionData,
        partition: Option<TopicPartition>,
        hints: &Option<u16>,
        endpoints: &mut Vec<NodeEndpoint>,
    ) -> PartitionData {
        let misled = matches!(
            data.error_code,
            ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch
        );
        let Some(listener) = *hints else { return data };
        let hint = partition.and_then(|partition| self.leader_hint(partition));
        let Some((leader, leader_epoch)) = hint.filter(|_| misled) else {
            return data;
        };
        data.current_leader = LeaderIdAndEpoch {
            leader_id: leader.0,
            leader_epoch: leader_epoch.0,
        };
        let known = endpoints.iter().any(|known| known.node_id == leader.0);
        if let Some(address) = self.address_of(leader, listener).filter(|_| !known) {
            endpoints.push(NodeEndpoint {
                node_id: leader.0,
                host: address.host.into(),
                port: i32::from(address.port),
                rack: address.rack.map(Str::from),
            });
        }
        data
    }
}

/// The listener for the addresses in leader hints, where the version has them.
fn fetch_hints(api_version: i16, listener: u16) -> Option<u16> {
    (api_version >= HINTS_FROM).then_some(listener)
}

impl WaitingFetch {
    /// Updates the totals with the result for a target.
    fn add_to_totals(&mut self, place: usize) {
        let FetchedPartition { partition, result } = &self.fetched[place];
        self.bytes += result.size();
        self.pending += usize::from(result.timeout().is_some());
        // As in Kafka, the error for a partition that never existed does not end the wait: a session that goes on
        // naming it would otherwise be answered again and again without a pause.
        let is_error = matches!(
            result,
            PartitionResult::Refused(_) | PartitionResult::Diverged(..)
        );
        self.urgent |= is_error && partition.is_some();
        self.waits |= partition.is_some();
    }

    fn replace(&mut self, place: usize, result: PartitionResult) {
        let before = &self.fetched[place].result;
        self.bytes -= before.size();
        self.pending -= usize::from(before.timeout().is_some());
        self.fetched[place].result = result;
        self.add_to_totals(place);
    }

    /// Whether its client waits only for what is pending.
    const fn is_satisfied(&self) -> bool {
        let enough = self.bytes >= self.bytes_min || !self.waits;
        enough || self.urgent || self.only_pending
    }

    /// How long it waits for what is pending; `None` where nothing is.
    fn timeout(&self) -> Option<Duration> {
        if self.pending == 0 {
            return None;
        }
        let result = self.fetched.iter().map(|fetched| &fetched.result);
        result.filter_map(PartitionResult::timeout).max()
    }
}

impl PartitionResult {
    fn size(&self) -> usize {
        match self {
            Self::Read(_, records) => records.len(),
            Self::Refused(_)
            | Self::Unopened
            | Self::Reading(_)
            | Self::Confirming(..)
            | Self::Diverged(..) => 0,
        }
    }

    /// How long a fetch waits for this pending result; `None` where it is not pending.
    const fn timeout(&self) -> Option<Duration> {
        match self {
            Self::Reading(_) => Some(READ_TIMEOUT),
            Self::Confirming(..) => Some(CONFIRMATION_TIMEOUT),
            Self::Refused(_) | Self::Unopened | Self::Read(..) | Self::Diverged(..) => None,
        }
    }
}

impl Delayed for WaitingFetch {
    fn context(&self) -> &RequestContext {
        &self.context
    }

    /// Its client's time is over; pending queries and confirmations are waited for a little longer.
    fn expire(mut self: Box<Self>, broker: &mut Broker, fx: &mut Effects) {
        match self.timeout() {
            Some(timeout) if !self.only_pending => {
                self.only_pending = true;
                // It stays indexed by its partitions: one of them may be deleted meanwhile, and its result with it.
                broker.delay_fetch(self, timeout);
            }
            Some(_) | None => broker.end_fetch(*self, fx),
        }
    }

    fn fail(self: Box<Self>, broker: &mut Broker, fx: &mut Effects) {
        broker.end_fetch(*self, fx);
    }

    fn forget(&self, broker: &mut Broker) {
        let readers = &mut broker.requests.readers;
        for (place, fetched) in self.fetched.iter().enumerate() {
            if let Some(partition) = fetched.partition {
                readers.remove(partition, self.context.id, place);
            }
        }
    }
}

/// The response for one partition.
fn partition_data(target: &Target, result: PartitionResult, read_committed: bool) -> PartitionData {
    let mut data = PartitionData {
        partition_index: target.partition,
        high_watermark: -1,
        records: Some(Records::empty()),
        ..PartitionData::default()
    };
    let mut bounded = |bounds: Bounds| {
        data.high_watermark = bounds.high_watermark.0;
        data.last_stable_offset = bounds.high_watermark.0;
        data.log_start_offset = bounds.log_start_offset.0;
        data.aborted_transactions = read_committed.then(Vec::new);
    };
    match result {
        PartitionResult::Refused(code) => data.error_code = code,
        PartitionResult::Unopened | PartitionResult::Confirming(_) => {
            data.error_code = ErrorCode::NotLeaderOrFollower;
        }
        PartitionResult::Reading(_) => data.error_code = ErrorCode::KafkaStorageError,
        PartitionResult::Read(bounds, records) => {
            bounded(bounds);
            data.records = Some(records);
        }
        PartitionResult::Diverged(bounds, leader_epoch, end_offset) => {
            bounded(bounds);
            data.diverging_epoch = EpochEndOffset {
                epoch: leader_epoch.0,
                end_offset: end_offset.0,
            };
        }
    }
    data
}

/// Batches as a client gets them: headers encoded anew into one buffer, bodies unchanged.
fn records_of(batches: Vec<Batch>) -> Records {
    let mut headers = BytesMut::with_capacity(batches.len() * HEADER_SIZE);
    for batch in &batches {
        headers.extend_from_slice(&BatchHeader::to_bytes(&batch.header));
    }
    let mut headers = headers.freeze();
    batches
        .into_iter()
        .flat_map(|batch| -> [Bytes; 2] { [headers.split_to(HEADER_SIZE), batch.body] })
        .collect()
}
/// The error for a read in a hole: retriable where another replica may fill it, else final, which consumers report to
/// their operator.
fn hole_error(replica: &Replica) -> ErrorCode {
    if replica.is_only_copy() {
        ErrorCode::CorruptMessage
    } else {
        ErrorCode::KafkaStorageError
    }
}
