//! The threads that serve one log directory.
//!
//! One *writer* takes all queued orders, executes them, syncs once and reports once: the group commit for durable
//! acknowledgements. The sync runs outside the store's lock, so queries and checkpoints go on meanwhile on threads of
//! their own.
//!
//! Nothing is decided here. A failed disk is reported once, and not used again; a full disk is checked periodically for
//! room, and an order that finds no descriptor is retried.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use varve_core::ids::{ClusterId, Offset, TopicPartition};
use varve_core::store::{
    CheckpointTicket, Completion, Disk, Findings, LogStore, Order, Query, QueryKind, QueryResult,
    ReadError, Refusal, ScrubTicket, Stage, StoreFailure,
};
use varve_core::time::Instant;

use crate::rt::{self, Clock};

/// Batches of orders that may wait in the writer's queue.
const ORDER_BATCHES_MAX: usize = 1024;

/// Queries that may wait. More wait in the driver.
const QUERIES_MAX: usize = 4096;

/// Threads that answer queries: they mostly wait for the page cache, and sometimes for the disk.
const QUERY_THREADS: usize = 2;

/// With this many bytes of records in queued orders, events of clients are not taken. Requests that wait for a response
/// are bounded by their connections; those with `acks=0` are bounded only by this.
const ORDER_BYTES_MAX: usize = 256 << 20;

/// The bytes of records that answers to queries should hold until their readers have taken them. Each answer gets a
/// share of what is left, so that many slow readers get smaller answers and do not delay others.
const READ_BYTES_MAX: usize = 256 << 20;

/// One answer may take this fraction of what is left.
const READ_SHARE: usize = 8;

/// Every answer may take this many bytes, whatever is left.
const READ_BYTES_MIN: usize = 64 << 10;

/// How often a disk that has refused an append is checked for room; an order that finds no descriptor then is refused
/// again.
const SPACE_INTERVAL: Duration = Duration::from_secs(1);

/// A job for the writer.
#[derive(Debug)]
enum Job {
    Orders(Vec<Order>, InUse),
    Join(ClusterId),
    /// Time has passed, or a change other than an order waits for a commit.
    Tick,
    Close(oneshot::Sender<()>),
}

/// A report of the threads.
#[derive(Debug)]
pub enum DiskReport {
    /// Orders are done.
    Stored(Vec<Completion>),
    /// The directory has failed and is offline.
    Failed(StoreFailure),
    /// The disk has room again.
    SpaceReturned,
    /// A query is answered.
    Answered(varve_core::store::QueryId, QueryResult),
    /// The scrub has found holes.
    HolesFound(TopicPartition, Vec<Range<Offset>>),
}

/// Bytes that count as in use until this is dropped.
#[derive(Debug)]
struct InUse {
    bytes: usize,
    total: Arc<AtomicUsize>,
}

impl InUse {
    fn new(bytes: usize, total: &Arc<AtomicUsize>) -> Self {
        total.fetch_add(bytes, Ordering::Relaxed);
        Self {
            bytes,
            total: Arc::clone(total),
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Records that were read from disk, counted as in use for as long as a slice of them exists.
struct Read {
    records: Bytes,
    _in_use: InUse,
}

impl AsRef<[u8]> for Read {
    fn as_ref(&self) -> &[u8] {
        &self.records
    }
}

/// The driver's handle to the threads. Orders and queries that do not fit into their queues wait here, in order.
#[derive(Debug)]
pub struct DiskHandle {
    jobs: mpsc::Sender<Job>,
    queries: mpsc::Sender<Query>,
    orders_waiting: Vec<Order>,
    queries_waiting: VecDeque<Query>,
    /// Bytes of records in orders that wait in the queue.
    ordered: Arc<AtomicUsize>,
    /// Ends with the last thread.
    gone: oneshot::Receiver<()>,
}

impl DiskHandle {
    /// Adds orders behind all earlier ones.
    pub fn order(&mut self, orders: &mut Vec<Order>) {
        self.orders_waiting.append(orders);
        if self.orders_waiting.is_empty() {
            return;
        }
        let waiting = self.take_waiting();
        if let Err(refused) = self.jobs.try_send(waiting) {
            let (mpsc::error::TrySendError::Full(job) | mpsc::error::TrySendError::Closed(job)) =
                refused;
            if let Job::Orders(batch, _) = job {
                self.orders_waiting = batch;
            }
        }
    }

    fn take_waiting(&mut self) -> Job {
        let orders = std::mem::take(&mut self.orders_waiting);
        let bytes = orders.iter().map(|order| order.kind.weight()).sum();
        Job::Orders(orders, InUse::new(bytes, &self.ordered))
    }

    /// Adds a query.
    pub fn query(&mut self, query: Query) {
        self.queries_waiting.push_back(query);
        self.push_queries();
    }

    /// Whether the threads keep up, so that more work may be taken in.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.orders_waiting.is_empty()
            && self.queries_waiting.is_empty()
            && self.ordered.load(Ordering::Relaxed) < ORDER_BYTES_MAX
    }

    /// Stores the id of the cluster that the node has joined.
    pub fn join(&mut self, cluster: ClusterId) {
        // Repeated at the next start where the queue is full or the disk fails.
        let _ = self.jobs.try_send(Job::Join(cluster));
    }

    /// Ticks the threads, and passes them the waiting orders and queries.
    pub fn tick(&mut self) {
        self.order(&mut Vec::new());
        self.push_queries();
        wake(&self.jobs);
    }

    /// Makes everything durable, writes a checkpoint, closes the store and ends the threads.
    pub async fn close(mut self) {
        let (done, closed) = oneshot::channel();
        let waiting = self.take_waiting();
        if self.jobs.send(waiting).await.is_ok() && self.jobs.send(Job::Close(done)).await.is_ok() {
            // An error means that the writer has ended, and with it the store is closed.
            let _ = closed.await;
        }
        let Self {
            jobs,
            queries,
            gone,
            ..
        } = self;
        drop((jobs, queries));
        // Nothing is ever sent: this returns when the threads have ended and the store is dropped, so its directory can
        // be opened again.
        let _ = gone.await;
    }

    fn push_queries(&mut self) {
        while let Some(query) = self.queries_waiting.pop_front() {
            if let Err(refused) = self.queries.try_send(query) {
                let (mpsc::error::TrySendError::Full(query)
                | mpsc::error::TrySendError::Closed(query)) = refused;
                self.queries_waiting.push_front(query);
                return;
            }
        }
    }
}

/// A store that several threads use.
struct Shared<D: Disk> {
    store: RwLock<LogStore<D>>,
    reports: mpsc::UnboundedSender<DiskReport>,
    clock: Clock,
    /// Bytes of records that were read and are still held.
    read: Arc<AtomicUsize>,
    /// Dropped after the store, by the order of these fields.
    _gone: oneshot::Sender<()>,
}

impl<D: Disk> fmt::Debug for Shared<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Starts the threads of a store. They send at most two reports per order, one per query and one per hole, so that the
/// channel is bounded by the driver's own orders and queries, and by the undetected damage.
pub fn start<D>(
    name: &str,
    store: LogStore<D>,
    clock: Clock,
    reports: mpsc::UnboundedSender<DiskReport>,
) -> DiskHandle
where
    D: Disk + Send + Sync + 'static,
    D::File: Send + Sync,
{
    let (gone_sender, gone) = oneshot::channel();
    let shared = Arc::new(Shared {
        store: RwLock::new(store),
        reports,
        clock,
        read: Arc::default(),
        _gone: gone_sender,
    });
    let (jobs, job_queue) = mpsc::channel(ORDER_BATCHES_MAX);
    let (checkpoints, checkpoint_queue) = mpsc::channel(1);
    let (scrubs, scrub_queue) = mpsc::channel(1);
    let (queries, query_queue) = mpsc::channel(QUERIES_MAX);

    let mut writer = Writer {
        shared: Arc::clone(&shared),
        checkpoints,
        scrubs,
        failed: false,
        refused_at: None,
        postponed: Vec::new(),
    };
    rt::spawn_worker(
        format!("{name}-writer"),
        job_queue,
        ORDER_BATCHES_MAX,
        move |jobs| {
            writer.work(jobs);
        },
    );
    let checkpointer = Arc::clone(&shared);
    rt::spawn_worker(
        format!("{name}-checkpoint"),
        checkpoint_queue,
        1,
        move |tickets| {
            for ticket in tickets.drain(..) {
                checkpointer.run_checkpoint(&ticket);
            }
        },
    );
    let scrubber = Arc::clone(&shared);
    // A weak sender: the writer ends when its last strong sender is dropped, and this worker with it.
    let waker = jobs.downgrade();
    rt::spawn_worker(format!("{name}-scrub"), scrub_queue, 1, move |tickets| {
        for ticket in tickets.drain(..) {
            scrubber.run_scrub(&ticket);
            if let Some(waker) = waker.upgrade() {
                // Found holes wait for a commit, and the next step for its time.
                wake(&waker);
            }
        }
    });
    let waker = jobs.clone();
    rt::spawn_pool(
        &format!("{name}-query"),
        QUERY_THREADS,
        query_queue,
        move |query| {
            if shared.answer(&query) {
                wake(&waker); // found holes wait for a commit
            }
        },
    );
    DiskHandle {
        jobs,
        queries,
        orders_waiting: Vec::new(),
        queries_waiting: VecDeque::new(),
        ordered: Arc::default(),
        gone,
    }
}

/// Wakes the writer to do what is due.
fn wake(jobs: &mpsc::Sender<Job>) {
    // A full queue wakes it without this.
    let _ = jobs.try_send(Job::Tick);
}

impl<D: Disk> Shared<D> {
    // A poisoned lock means that a thread has met a bug, which stops the process.
    fn store(&self) -> RwLockReadGuard<'_, LogStore<D>> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, LogStore<D>> {
        self.store.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, report: DiskReport) {
        // Without a driver the node has stopped, and needs no report.
        let _ = self.reports.send(report);
    }

    fn run_checkpoint(&self, ticket: &CheckpointTicket<D>) {
        let ran = ticket.run();
        // The next commit reports a failure: it finds the directory offline.
        if let Err(failure) = self.write().finish_checkpoint(ticket, ran) {
            tracing::error!(?failure, "a checkpoint of the log directory failed");
        }
    }

    fn run_scrub(&self, ticket: &ScrubTicket<D>) {
        let scrubbed = ticket.run();
        let now = self.clock.now();
        // The next commit reports a failure: it finds the directory offline.
        let Ok(findings) = self.write().finish_scrub(now, ticket, &scrubbed) else {
            return;
        };
        let Findings {
            replica,
            holes,
            rewritten,
        } = findings;
        for Range { start, end } in rewritten {
            let partition = format!("{}-{}", replica.topic, replica.partition);
            tracing::warn!(
                partition,
                "the disk has lost [{start},{end}), which the page cache still has: written again"
            );
        }
        if !holes.is_empty() {
            self.report(DiskReport::HolesFound(replica, holes));
        }
    }

    /// Answers a query. Returns whether there is a change to commit.
    fn answer(&self, query: &Query) -> bool {
        let mut query = query.clone();
        if let QueryKind::Read { bytes_max, .. } = &mut query.kind {
            *bytes_max = share_of(self.read.load(Ordering::Relaxed), *bytes_max);
        }
        let mut result = self.store().query(&query);
        let mut examined = false;
        if let QueryResult::Failed(ReadError::Hole(range)) = result {
            examined = true;
            result = match self.examine(query.replica, range) {
                Some(hole) => QueryResult::Failed(ReadError::Hole(hole)),
                // The damage is repaired, or outside the query's range.
                None => match self.store().query(&query) {
                    QueryResult::Failed(ReadError::Hole(_)) => {
                        QueryResult::Failed(ReadError::Unavailable)
                    }
                    result @ (QueryResult::Records(_)
                    | QueryResult::Found(_)
                    | QueryResult::Failed(_)) => result,
                },
            };
        }
        if let QueryResult::Records(records) = result {
            let _in_use = InUse::new(records.len(), &self.read);
            result = QueryResult::Records(Bytes::from_owner(Read { records, _in_use }));
        }
        self.report(DiskReport::Answered(query.id, result));
        examined
    }

    fn examine(&self, replica: TopicPartition, range: Range<Offset>) -> Option<Range<Offset>> {
        let holes = self.write().examine(replica, range).unwrap_or_default();
        holes.into_iter().next()
    }
}

/// How many of the requested bytes an answer may take, while others hold `held`.
fn share_of(held: usize, asked: u32) -> u32 {
    let share = READ_BYTES_MAX.saturating_sub(held) / READ_SHARE;
    let share = share.max(READ_BYTES_MIN);
    asked.min(u32::try_from(share).unwrap_or(u32::MAX))
}

/// The thread that changes the store.
#[derive(Debug)]
struct Writer<D: Disk> {
    shared: Arc<Shared<D>>,
    checkpoints: mpsc::Sender<CheckpointTicket<D>>,
    scrubs: mpsc::Sender<ScrubTicket<D>>,
    /// The directory is offline, and that has been reported.
    failed: bool,
    /// When an append was refused, or the disk was last checked for room.
    refused_at: Option<Instant>,
    /// The bytes of orders that may wait in the store for a descriptor.
    postponed: Vec<InUse>,
}

impl<D: Disk> Writer<D> {
    fn work(&mut self, jobs: &mut Vec<Job>) {
        let mut written = Vec::new();
        let mut closing = Vec::new();
        self.retry(&mut written);
        for job in jobs.drain(..) {
            match job {
                Job::Orders(orders, in_use) => {
                    self.execute(&orders, &mut written);
                    self.postponed.push(in_use);
                }
                Job::Join(cluster) => {
                    let joined = self.shared.write().join(cluster);
                    self.check(joined);
                }
                Job::Tick => {}
                Job::Close(done) => closing.push(done),
            }
        }
        if !self.shared.store().is_short_of_resources() {
            self.postponed.clear();
        }
        if !written.is_empty() {
            self.shared.report(DiskReport::Stored(written));
        }
        self.commit(!closing.is_empty());
        self.ask_for_space();
        self.checkpoint(!closing.is_empty());
        if closing.is_empty() {
            self.scrub();
        }
        for done in closing {
            // The receiver may have been dropped.
            let _ = done.send(());
        }
    }

    fn execute(&mut self, orders: &[Order], written: &mut Vec<Completion>) {
        let shared = Arc::clone(&self.shared);
        let mut store = shared.write();
        for order in orders {
            if self.failed {
                return;
            }
            let now = shared.clock.now();
            let executed = store.execute(now, order);
            let Some(completion) = self.check(executed).flatten() else {
                continue;
            };
            self.note_refusal(&completion, now);
            written.push(completion);
        }
    }

    /// Retries orders that have found no descriptor or no memory.
    fn retry(&mut self, written: &mut Vec<Completion>) {
        if !self.shared.store().is_short_of_resources() {
            return;
        }
        let now = self.shared.clock.now();
        let retried = self.shared.write().retry(now);
        for completion in self.check(retried).unwrap_or_default() {
            self.note_refusal(&completion, now);
            written.push(completion);
        }
    }

    fn note_refusal(&mut self, completion: &Completion, now: Instant) {
        match completion.stage {
            Stage::Refused(Refusal::DiskFull | Refusal::OutOfResources) => {
                self.refused_at.get_or_insert(now);
            }
            Stage::Unfilled | Stage::Written | Stage::Durable => {}
        }
    }

    /// One group commit: the sync runs while the store is unlocked for queries.
    fn commit(&mut self, forced: bool) {
        if self.failed {
            return;
        }
        let now = self.shared.clock.now();
        let begun = {
            let mut store = self.shared.write();
            if !forced && !store.is_commit_due(now) {
                return;
            }
            store.begin_commit()
        };
        let Some(ticket) = self.check(begun).flatten() else {
            return;
        };
        let synced = ticket.sync();
        let finished = self.shared.write().finish_commit(&ticket, synced);
        if let Some(completions) = self.check(finished)
            && !completions.is_empty()
        {
            self.shared.report(DiskReport::Stored(completions));
        }
    }

    fn checkpoint(&mut self, closing: bool) {
        if self.failed {
            return;
        }
        if closing {
            let begun = self.shared.write().force_checkpoint();
            if let Some(ticket) = self.check(begun).flatten() {
                self.shared.run_checkpoint(&ticket);
            }
            return;
        }
        let begun = self.shared.write().begin_checkpoint();
        if let Some(ticket) = self.check(begun).flatten() {
            // There is room: the store begins no checkpoint while one is running.
            let sent = self.checkpoints.try_send(ticket);
            assert!(sent.is_ok(), "one checkpoint is under way at a time");
        }
    }

    fn scrub(&self) {
        let now = self.shared.clock.now();
        let due = self.shared.store().next_scrub_deadline();
        if due.is_none_or(|due| now < due) {
            return;
        }
        let begun = self.shared.write().begin_scrub(now);
        if let Some(ticket) = begun {
            // There is room: the store begins no step while one is running.
            let sent = self.scrubs.try_send(ticket);
            assert!(sent.is_ok(), "one step of the scrub is under way at a time");
        }
    }

    fn ask_for_space(&mut self) {
        let now = self.shared.clock.now();
        if self.failed
            || self
                .refused_at
                .is_none_or(|since| now.since(since) < SPACE_INTERVAL)
        {
            return;
        }
        let has_space = self.shared.write().has_space();
        match self.check(has_space) {
            Some(true) => {
                self.refused_at = None;
                self.shared.report(DiskReport::SpaceReturned);
            }
            Some(false) => self.refused_at = Some(now),
            None => {}
        }
    }

    /// Unpacks a result, and reports a failed directory once.
    fn check<T>(&mut self, outcome: Result<T, StoreFailure>) -> Option<T> {
        let failure = match outcome {
            Ok(value) => return Some(value),
            Err(failure) => failure,
        };
        if !std::mem::replace(&mut self.failed, true) {
            self.shared.report(DiskReport::Failed(failure));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{format_first, format_to_join};
    use crate::files::RealDisk;
    use tokio::time::timeout;
    use varve_core::ids::{BrokerId, DirectoryId, LeaderEpoch, Voter};
    use varve_core::log::{Entry, Note, NoteKind, Position};
    use varve_core::store::{
        BootId, Flush, OrderKind, OrderSeq, QueryId, QueryKind, Recovered, Roll, Stage,
        StoreOptions,
    };

    const SOON: Duration = Duration::from_secs(5);

    const SELF: Voter = Voter {
        broker: BrokerId(1),
        directory: DirectoryId(5),
    };

    fn small() -> StoreOptions {
        StoreOptions {
            journal_file_bytes: 1 << 20,
            journal_files: 1,
            reserve_bytes: 0,
            ..StoreOptions::default()
        }
    }

    fn opened(path: &std::path::Path) -> (LogStore<RealDisk>, Recovered) {
        let disk = RealDisk::open(path).unwrap();
        LogStore::open(disk, small(), BootId(1)).unwrap()
    }

    fn opening(seq: u64) -> Order {
        let note = Note {
            leader_epoch: LeaderEpoch(seq as i32),
            offset: Offset(0),
            kind: NoteKind::Opening { leader: SELF },
        };
        let after = Position {
            leader_epoch: LeaderEpoch(seq as i32 - 1),
            end_offset: Offset(0),
            notes: seq - 1,
        };
        Order {
            replica: TopicPartition::METADATA,
            seq: OrderSeq(seq + 1),
            kind: OrderKind::Append {
                after,
                entries: vec![Entry::Note(note)],
                high_watermark: Offset(0),
                flush: Flush::Commit,
                roll: Roll::default(),
            },
        }
    }

    #[tokio::test]
    async fn orders_are_reported_durable_together_and_are_there_at_the_next_start() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(directory.path()).unwrap();
        let formatted = format_first(
            &disk,
            SELF.broker,
            SELF.directory,
            ClusterId(9),
            small(),
            BootId(1),
        );
        formatted.unwrap();
        drop(disk);

        let (store, recovered) = opened(directory.path());
        assert_eq!(recovered.cluster, Some(ClusterId(9)));
        assert_eq!(recovered.replicas[0].voters, [SELF]);
        let (reports, mut reported) = mpsc::unbounded_channel();
        let mut handle = start("test", store, Clock::start(), reports);
        handle.order(&mut (1..=20).map(opening).collect());
        let mut durable = OrderSeq(0);
        while durable < OrderSeq(21) {
            match timeout(SOON, reported.recv()).await.unwrap().unwrap() {
                DiskReport::Stored(completions) => {
                    let last = completions.last().unwrap();
                    assert_eq!(last.stage, Stage::Durable);
                    assert!(last.seq > durable);
                    durable = last.seq;
                }
                other => panic!("orders were to be done, not {other:?}"),
            }
        }
        let end = Offset(0);
        let kind = QueryKind::Read {
            offset: end,
            end,
            bytes_max: 100,
        };
        handle.query(Query {
            id: QueryId(3),
            replica: TopicPartition::METADATA,
            kind,
        });
        let answered = timeout(SOON, reported.recv()).await.unwrap().unwrap();
        assert!(matches!(
            answered,
            DiskReport::Answered(QueryId(3), QueryResult::Records(_))
        ));
        timeout(SOON, handle.close()).await.unwrap();

        let (_, recovered) = opened(directory.path());
        assert_eq!(recovered.replicas[0].end.notes, 20);
        assert_eq!(recovered.replicas[0].end.leader_epoch, LeaderEpoch(20));
    }

    #[test]
    fn what_was_read_counts_until_the_last_slice_of_it_is_dropped() {
        let total = Arc::default();
        let records = Bytes::from(vec![7; 1000]);
        let _in_use = InUse::new(records.len(), &total);
        let read = Bytes::from_owner(Read { records, _in_use });
        let slice = read.slice(10..20);
        drop(read);
        assert_eq!(total.load(Ordering::Relaxed), 1000);
        drop(slice);
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn an_answer_gets_a_share_of_the_memory_that_is_left_and_never_nothing() {
        assert_eq!(share_of(0, u32::MAX), 32 << 20);
        assert_eq!(share_of(0, 1 << 20), 1 << 20);
        assert_eq!(share_of(READ_BYTES_MAX - (8 << 20), u32::MAX), 1 << 20);
        assert_eq!(share_of(READ_BYTES_MAX + 1, u32::MAX), 64 << 10);
    }

    #[test]
    fn a_directory_founds_one_cluster_and_a_joining_one_none() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(directory.path()).unwrap();
        let first = || {
            format_first(
                &disk,
                SELF.broker,
                SELF.directory,
                ClusterId(9),
                small(),
                BootId(1),
            )
        };
        assert_eq!(first(), Ok(()));
        assert_eq!(first(), Err(varve_core::store::OpenError::AlreadyFormatted));
        assert!(format_to_join(&disk, SELF.broker, SELF.directory).is_err());
    }
}
