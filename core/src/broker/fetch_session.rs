//! Fetch sessions: a client names its partitions once, and after that only changes (KIP-227).
//!
//! The session remembers what it last sent about each partition, so a response has only partitions with news. It also
//! keeps the order of the partitions: one that had records goes to the end of the queue, so that a size limit does not
//! starve those behind it.
//!
//! Not here: reading. Sessions are only a cache: any may be evicted at any time, and the client starts a new one.
//!
//! Source: Kafka's `FetchSession` and `FetchSessionCache`. Kafka reserves slots for followers; varve's do not fetch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::ids::TopicId;
use crate::time::Instant;
use crate::wire::fetch::{FetchPartition, FetchTopic};
use crate::wire::{ErrorCode, FetchRequest, Str};

/// The session epoch of a request without a session, or one that closes its session.
const EPOCH_FINAL: i32 = -1;
/// The session epoch of a request that wants a new session.
const EPOCH_INITIAL: i32 = 0;
/// From this version on topics are named by id.
const BY_ID_FROM: i16 = 13;
/// A session that has not been used for this long may be evicted for a new one; one that is older than this, for a
/// larger one.
const EVICTION_AGE: Duration = Duration::from_secs(120);

/// A client's request for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) topic: Str,
    pub(super) topic_id: TopicId,
    /// The name of a topic that was found by its id: another topic may have the name once this one is deleted.
    pub(super) known_as: Option<Arc<str>>,
    pub(super) partition: i32,
    /// Where to read from.
    pub(super) fetch_offset: i64,
    /// The client's current leader epoch, or -1.
    pub(super) current_leader_epoch: i32,
    /// The epoch of the last record that the client has, or -1.
    pub(super) last_fetched_epoch: i32,
    /// The limit of bytes; a larger first batch exceeds it.
    pub(super) bytes_max: usize,
}

/// How a request relates to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionContext {
    /// It has no session.
    Sessionless,
    /// It is the first of a session, if there is room for one.
    Full,
    /// It belongs to a session: its id, and the session epoch of the client's next request.
    Incremental(i32, i32),
}

/// The part of a partition's response that a session compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SentPartition {
    pub(super) high_watermark: i64,
    pub(super) log_start_offset: i64,
    pub(super) has_records: bool,
    /// An error or a diverging epoch: always sent.
    pub(super) urgent: bool,
}

/// All sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    sessions: BTreeMap<i32, Session>,
}

#[derive(Debug)]
struct Session {
    /// The session epoch that the next request must have.
    epoch: i32,
    by_id: bool,
    created_at: Instant,
    used_at: Instant,
    /// In the order in which they are served.
    partitions: BTreeMap<u64, CachedPartition>,
    turns: BTreeMap<Key, u64>,
    last_turn: u64,
}

type Key = (TopicId, Str, i32);

#[derive(Debug)]
struct CachedPartition {
    target: Target,
    /// As last sent; -1 where it must be sent again.
    high_watermark: i64,
    log_start_offset: i64,
}

impl Sessions {
    /// The session context of a request, and its targets.
    ///
    /// # Errors
    /// Kafka's error for an unknown session or a wrong session epoch.
    pub(super) fn open(
        &mut self,
        request: &FetchRequest,
        api_version: i16,
        now: Instant,
    ) -> Result<(SessionContext, Vec<Target>), ErrorCode> {
        let by_id = api_version >= BY_ID_FROM;
        let id = request.session_id;
        if matches!(request.session_epoch, EPOCH_INITIAL | EPOCH_FINAL) {
            // A client that starts or closes a session gives up the one before.
            self.sessions.remove(&id);
            let context = if request.session_epoch == EPOCH_FINAL {
                SessionContext::Sessionless
            } else {
                SessionContext::Full
            };
            return Ok((context, targets(&request.topics).collect()));
        }
        let session = self
            .sessions
            .get_mut(&id)
            .ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != request.session_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.by_id != by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        for target in targets(&request.topics) {
            session.put(target.detached());
        }
        for topic in &request.forgotten_topics_data {
            for &partition in &topic.partitions {
                session.remove(&(topic.topic_id, topic.topic.clone(), partition));
            }
        }
        if session.partitions.is_empty() {
            self.sessions.remove(&id);
            return Ok((SessionContext::Sessionless, Vec::new()));
        }
        session.used_at = now;
        session.epoch = next_epoch(session.epoch);
        let context = SessionContext::Incremental(id, session.epoch);
        let targets = session.partitions.values();
        Ok((
            context,
            targets.map(|cached| cached.target.clone()).collect(),
        ))
    }

    /// Creates a session from a full response. Returns 0, *none*, where there is no room.
    pub(super) fn create(
        &mut self,
        sent: impl ExactSizeIterator<Item = (Target, SentPartition)>,
        by_id: bool,
        sessions_max: usize,
        now: Instant,
        mut draw: impl FnMut() -> u64,
    ) -> i32 {
        if !self.make_room(sent.len(), sessions_max, now) {
            return 0;
        }
        let id = loop {
            let id = i32::try_from(draw() >> 33).expect("31 bits fit");
            if id != 0 && !self.sessions.contains_key(&id) {
                break id;
            }
        };
        let mut session = Session {
            epoch: next_epoch(EPOCH_INITIAL),
            by_id,
            created_at: now,
            used_at: now,
            partitions: BTreeMap::new(),
            turns: BTreeMap::new(),
            last_turn: 0,
        };
        for (target, sent) in sent {
            let key = target.key();
            session.put(target.detached());
            session.record_sent(&key, sent, false);
        }
        self.sessions.insert(id, session);
        id
    }

    /// Whether the session still has this session epoch.
    pub(super) fn has_epoch(&self, id: i32, epoch: i32) -> bool {
        self.sessions
            .get(&id)
            .is_some_and(|session| session.epoch == epoch)
    }

    /// Records what is about to be sent about a partition. Returns whether it is news to the client.
    pub(super) fn record_sent(&mut self, id: i32, target: &Target, sent: SentPartition) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        session.remember_topic_name(target);
        session.record_sent(&target.key(), sent, true)
    }

    fn make_room(&mut self, size: usize, sessions_max: usize, now: Instant) -> bool {
        if self.sessions.len() < sessions_max {
            return true;
        }
        let unused = self
            .sessions
            .iter()
            .min_by_key(|(_, session)| session.used_at)
            .filter(|(_, session)| now.since(session.used_at) > EVICTION_AGE);
        let smaller = || {
            self.sessions
                .iter()
                .filter(|(_, session)| now.since(session.created_at) > EVICTION_AGE)
                .min_by_key(|(_, session)| session.partitions.len())
                .filter(|(_, session)| session.partitions.len() < size)
        };
        let Some(evicted) = unused.or_else(smaller).map(|(&id, _)| id) else {
            return false;
        };
        self.sessions.remove(&evicted);
        true
    }
}

impl Session {
    /// Adds a partition at the end of the queue, or updates its target.
    fn put(&mut self, target: Target) {
        let key = target.key();
        if let Some(cached) = self
            .turns
            .get(&key)
            .and_then(|turn| self.partitions.get_mut(turn))
        {
            let known_as = cached.target.known_as.take();
            cached.target = Target { known_as, ..target };
            return;
        }
        self.last_turn += 1;
        self.turns.insert(key, self.last_turn);
        self.partitions.insert(
            self.last_turn,
            CachedPartition {
                target,
                high_watermark: -1,
                log_start_offset: -1,
            },
        );
    }

    fn remove(&mut self, key: &Key) {
        if let Some(turn) = self.turns.remove(key) {
            self.partitions.remove(&turn);
        }
    }

    /// Remembers the name under which a topic was found.
    fn remember_topic_name(&mut self, target: &Target) {
        if let Some(turn) = self.turns.get(&target.key())
            && let Some(cached) = self.partitions.get_mut(turn)
            && cached.target.known_as.is_none()
        {
            cached.target.known_as.clone_from(&target.known_as);
        }
    }

    fn record_sent(&mut self, key: &Key, sent: SentPartition, rotate: bool) -> bool {
        let Some(&turn) = self.turns.get(key) else {
            return true; // forgotten since the request came
        };
        let Some(cached) = self.partitions.get_mut(&turn) else {
            return true;
        };
        let news = sent.has_records
            || sent.urgent
            || cached.high_watermark != sent.high_watermark
            || cached.log_start_offset != sent.log_start_offset;
        // The first response after an error is always sent.
        cached.high_watermark = if sent.urgent { -1 } else { sent.high_watermark };
        cached.log_start_offset = sent.log_start_offset;
        if sent.has_records
            && rotate
            && let Some(cached) = self.partitions.remove(&turn)
        {
            self.last_turn += 1;
            self.partitions.insert(self.last_turn, cached);
            self.turns.insert(key.clone(), self.last_turn);
        }
        news
    }
}

impl Target {
    fn key(&self) -> Key {
        (self.topic_id, self.topic.clone(), self.partition)
    }

    /// A copy that does not keep the request's bytes alive.
    fn detached(mut self) -> Self {
        self.topic = self.topic.detached();
        self
    }
}

/// The targets of a request, in its order.
fn targets(topics: &[FetchTopic]) -> impl Iterator<Item = Target> {
    let target = |topic: &FetchTopic, partition: &FetchPartition| Target {
        topic: topic.topic.clone(),
        topic_id: topic.topic_id,
        known_as: None,
        partition: partition.partition,
        fetch_offset: partition.fetch_offset,
        current_leader_epoch: partition.current_leader_epoch,
        last_fetched_epoch: partition.last_fetched_epoch,
        bytes_max: usize::try_from(partition.partition_max_bytes).unwrap_or(0),
    };
    topics.iter().flat_map(move |topic| {
        topic
            .partitions
            .iter()
            .map(move |partition| target(topic, partition))
    })
}

/// After the greatest epoch comes 1: 0 asks for a new session.
const fn next_epoch(epoch: i32) -> i32 {
    match epoch.checked_add(1) {
        Some(next) => next,
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSIONS_MAX: usize = 2;

    fn request(session_id: i32, session_epoch: i32, partitions: &[(i32, i64)]) -> FetchRequest {
        let partitions = partitions
            .iter()
            .map(|&(partition, fetch_offset)| FetchPartition {
                partition,
                fetch_offset,
                ..FetchPartition::default()
            });
        FetchRequest {
            session_id,
            session_epoch,
            topics: vec![FetchTopic {
                topic: Str::from_static("t"),
                partitions: partitions.collect(),
                ..FetchTopic::default()
            }],
            ..FetchRequest::default()
        }
    }

    fn sent(high_watermark: i64, has_records: bool) -> SentPartition {
        SentPartition {
            high_watermark,
            log_start_offset: 0,
            has_records,
            urgent: false,
        }
    }

    fn start(sessions: &mut Sessions, partitions: &[(i32, i64)], now: Instant) -> i32 {
        let request = request(0, EPOCH_INITIAL, partitions);
        let (context, targets) = sessions.open(&request, 12, now).expect("a new session");
        assert_eq!(context, SessionContext::Full);
        let mut drawn = sessions.sessions.len() as u64;
        let sent = targets.into_iter().map(|target| (target, sent(0, false)));
        sessions.create(sent, false, SESSIONS_MAX, now, || {
            drawn += 1;
            drawn << 33
        })
    }

    fn wanted(targets: &[Target]) -> Vec<(i32, i64)> {
        targets
            .iter()
            .map(|target| (target.partition, target.fetch_offset))
            .collect()
    }

    #[test]
    fn a_session_fetches_what_was_named_before_and_what_changed() {
        let mut sessions = Sessions::default();
        let id = start(&mut sessions, &[(0, 5), (1, 7)], Instant(0));
        let (context, targets) = sessions
            .open(&request(id, 1, &[(1, 8), (2, 0)]), 12, Instant(1))
            .expect("it is there");
        assert_eq!(context, SessionContext::Incremental(id, 2));
        assert_eq!(wanted(&targets), [(0, 5), (1, 8), (2, 0)]);
    }

    #[test]
    fn a_partition_is_told_only_where_there_is_news_and_goes_behind_those_without_records() {
        let mut sessions = Sessions::default();
        let id = start(&mut sessions, &[(0, 0), (1, 0)], Instant(0));
        let (_, targets) = sessions
            .open(&request(id, 1, &[]), 12, Instant(1))
            .expect("it is there");
        assert!(
            !sessions.record_sent(id, &targets[1], sent(0, false)),
            "nothing is new"
        );
        assert!(
            sessions.record_sent(id, &targets[1], sent(3, false)),
            "the high watermark is"
        );
        assert!(sessions.record_sent(id, &targets[0], sent(3, true)));
        let (_, targets) = sessions
            .open(&request(id, 2, &[]), 12, Instant(2))
            .expect("it is there");
        assert_eq!(wanted(&targets), [(1, 0), (0, 0)]);
    }

    #[test]
    fn what_was_told_as_an_error_is_told_again_once_it_is_over() {
        let mut sessions = Sessions::default();
        let id = start(&mut sessions, &[(0, 0)], Instant(0));
        let (_, targets) = sessions
            .open(&request(id, 1, &[]), 12, Instant(1))
            .expect("it is there");
        let error = SentPartition {
            urgent: true,
            ..sent(-1, false)
        };
        assert!(sessions.record_sent(id, &targets[0], error));
        assert!(sessions.record_sent(id, &targets[0], error));
        assert!(sessions.record_sent(id, &targets[0], sent(0, false)));
        assert!(!sessions.record_sent(id, &targets[0], sent(0, false)));
    }

    #[test]
    fn a_request_out_of_step_with_its_session_is_refused() {
        let mut sessions = Sessions::default();
        let id = start(&mut sessions, &[(0, 0)], Instant(0));
        let mut open = |id, epoch, version| {
            sessions
                .open(&request(id, epoch, &[]), version, Instant(0))
                .map(|(context, _)| context)
        };
        assert_eq!(open(id + 1, 1, 12), Err(ErrorCode::FetchSessionIdNotFound));
        assert_eq!(open(id, 2, 12), Err(ErrorCode::InvalidFetchSessionEpoch));
        assert_eq!(open(id, 1, 13), Err(ErrorCode::FetchSessionTopicIdError));
        assert_eq!(open(id, EPOCH_FINAL, 12), Ok(SessionContext::Sessionless));
        assert_eq!(
            open(id, 1, 12),
            Err(ErrorCode::FetchSessionIdNotFound),
            "it was closed"
        );
    }

    #[test]
    fn a_session_may_begin_with_nothing() {
        let mut sessions = Sessions::default();
        let id = start(&mut sessions, &[], Instant(0));
        assert_ne!(id, 0);
        let (_, targets) = sessions
            .open(&request(id, 1, &[(3, 0)]), 12, Instant(1))
            .expect("it is there");
        assert_eq!(wanted(&targets), [(3, 0)]);
    }

    #[test]
    fn a_session_whose_partitions_are_all_forgotten_ends() {
        let mut sessions = Sessions::default();
        let id = start(&mut sessions, &[(0, 0)], Instant(0));
        let mut last = request(id, 1, &[]);
        last.forgotten_topics_data = vec![crate::wire::fetch::ForgottenTopic {
            topic: Str::from_static("t"),
            partitions: vec![0],
            ..Default::default()
        }];
        assert_eq!(
            sessions.open(&last, 12, Instant(0)),
            Ok((SessionContext::Sessionless, Vec::new()))
        );
        assert!(sessions.sessions.is_empty());
    }

    #[test]
    fn a_session_gives_way_once_it_is_idle_or_smaller_and_old() {
        let mut sessions = Sessions::default();
        let first = start(&mut sessions, &[(0, 0)], Instant(0));
        let second = start(&mut sessions, &[(0, 0), (1, 0)], Instant(0));
        assert!(first != 0 && second != 0);
        assert_eq!(
            start(&mut sessions, &[(0, 0)], Instant(0)),
            0,
            "all places are taken"
        );
        let later = Instant(0) + EVICTION_AGE + Duration::from_micros(1);
        for id in [first, second] {
            sessions
                .open(&request(id, 1, &[]), 12, later)
                .expect("it is there");
        }
        assert_eq!(start(&mut sessions, &[(0, 0)], later), 0, "none is smaller");
        assert_ne!(
            start(&mut sessions, &[(0, 0), (1, 0)], later),
            0,
            "the first is smaller"
        );
        assert!(!sessions.sessions.contains_key(&first));
    }
}
