//! One broker: its replicas, its links, its image of the cluster, the requests that wait.
//!
//! [`Broker::step`] is the whole interface. A step fires the due timers, takes one input, and settles: it reviews once
//! every replica that the input has touched, and informs peers and waiting requests of what has changed. So a handler
//! changes state and need not know who waits for it.
//!
//! The modules: `replication` moves messages between links and replicas, `metadata` follows `__cluster_metadata` and
//! creates the replicas that this node is assigned, `release` deletes replicas, `controller` leads
//! `__cluster_metadata`, and `requests` with the modules behind it answers clients.

mod replication;
mod metadata;
mod controller;
mod disconnected_leaders;
mod release;
mod requests;
mod state_machine;
mod purgatory;
mod lookup;
mod produce;
mod fetch;
mod fetch_session;
mod offsets;
mod producer_ids;
mod listing;
mod read_index;
mod admin;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::cluster::{BrokerConfig, BrokerRegistration, ClusterImage};
use crate::effect::{Effect, Effects, NoticeKind, Resignation};
use crate::hooks::{Mutant, Probe};
use crate::ids::{BrokerId, ClusterId, Offset, Timestamp, TopicPartition, Voter};
use crate::input::Input;
use crate::links::{Links, Timing};
use crate::peer::{
    ControllerRequest, ControllerResponse, DirectoryState, LeaderAndIsr, PeerIdentity,
};
use crate::queries::{Queries, Waiter};
use crate::record::Batch;
use crate::replica::{Cx, Replica, ReplicaView};
use crate::store::{
    OrderSeq, QueryId, QueryResult, ReadError, Recovered, Refusal, Stage, StoreFailure,
};
use crate::time::{Instant, Now};

use metadata::Metadata;
use requests::Requests;

/// The configuration of a broker, given once at its start.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// What it registers with the controller.
    pub registration: BrokerRegistration,
    /// Its intervals and timeouts.
    pub timing: Timing,
    /// Kafka's broker configuration, as far as the configuration file sets it.
    pub kafka: BrokerConfig,
    /// How many brokers vote in `__cluster_metadata`; all, where there are fewer.
    pub metadata_voters_max: usize,
    /// A snapshot of the image is saved after this many applied metadata batches, which bounds what a start must read.
    pub snapshot_interval: u64,
    /// The controller fences a broker after this long without contact (`broker.session.timeout.ms`).
    pub session_timeout: Duration,
    /// With this many bytes of records waiting for the disk, replicas accept no more from their leaders.
    pub unwritten_bytes_max: usize,
}

/// The default of [`Setup::unwritten_bytes_max`].
pub const UNWRITTEN_BYTES_MAX: usize = 256 << 20;

/// The timers of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Send heartbeats.
    Heartbeat,
    /// Check whether the contact with a peer has timed out.
    Links,
    /// A deadline of a replica: elections, retries, check-quorum.
    Replica(TopicPartition),
    /// Periodic work: registration, fencing, preferred leaders.
    Housekeeping,
    /// The deadline of a waiting request, or a retry on its behalf.
    Requests,
    /// The present phase of a controlled shutdown has taken too long.
    Stop,
}

/// One node of a cluster, as a value.
#[derive(Debug)]
pub struct Broker {
    setup: Setup,
    me: PeerIdentity,
    rng: ChaCha8Rng,
    now: Instant,
    /// The wall clock, as read for the present step.
    wall: Timestamp,
    links: Links,
    /// Boxed, since they are large and the map moves its values.
    replicas: BTreeMap<TopicPartition, Box<Replica>>,
    /// Replicas with orders that are not done, by the time of their oldest order.
    oldest_orders: BTreeSet<(Instant, TopicPartition)>,
    /// When the last of all orders was done: the disk is idle since.
    disk_idle_since: Instant,
    /// The same by partition: time of the oldest order, and bytes of records that wait for the disk.
    pending_orders: BTreeMap<TopicPartition, (Instant, usize)>,
    /// The sum of these bytes.
    unwritten_bytes: usize,
    /// `unwritten_bytes` has reached its limit, and has not fallen to half of it since.
    backlogged: bool,
    /// The latest announcement for each partition; the highest epoch wins.
    leaders: BTreeMap<TopicPartition, KnownLeader>,
    metadata: Metadata,
    requests: Requests,
    queries: Queries,
    /// The greatest number of all orders, of deleted replicas as well.
    last_order: OrderSeq,
    timers: BTreeSet<(Instant, Timer)>,
    armed: BTreeMap<Timer, Instant>,
    /// Replicas that the present step has touched.
    touched: BTreeSet<TopicPartition>,
    /// Why the directory is offline; `None` while it is not.
    failure: Option<StoreFailure>,
    /// The disk is full: this broker accepts no records from clients and leaders.
    full: bool,
    /// The state of the directory that was last announced to peers.
    announced_directory: DirectoryState,
    /// An append was refused in this step for lack of descriptors or memory.
    refused: bool,
    stopping: bool,
    /// Client connections are being closed.
    closing_clients: bool,
    stopped: bool,
    /// When peers first and last rejected this node as a duplicate of another one.
    rejected: Option<(Instant, Instant)>,
}

/// The id of the request that announces a controlled shutdown.
const STOPPING: u64 = 0;
/// An announcement, and the incarnation that made it.
#[derive(Clone, Debug)]
struct KnownLeader {
    announcement: LeaderAndIsr,
    /// The incarnation of the broker that announced it; `None` for this broker.
    by: Option<PeerIdentity>,
}

/// How long a controlled shutdown tries to transfer leaderships.
const LEADERSHIP_TRANSFER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it then waits for client connections to close.
const CLIENT_CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a broker does its housekeeping: what no input triggers.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(500);

impl Broker {
    /// A broker that starts with what recovery found in its directory. All its randomness comes from `seed`.
    #[must_use]
    pub fn new(setup: Setup, recovered: Recovered, seed: u64, now: Now, fx: &mut Effects) -> Self {
        let me = PeerIdentity {
            cluster: recovered.cluster,
            broker: setup.registration.broker,
            directory: recovered.directory,
            incarnation: recovered.incarnation,
        };
        assert_eq!(
            me.broker, recovered.broker,
            "the directory belongs to this broker"
        );
        assert_eq!(
            me.directory, setup.registration.directory,
            "a broker registers its own directory"
        );
        assert_eq!(
            me.incarnation, setup.registration.incarnation,
            "a broker registers its present start"
        );
        let mut broker = Self {
            setup,
            me,
            rng: ChaCha8Rng::seed_from_u64(seed),
            now: now.instant,
            wall: now.wall,
            links: Links::new(now.instant)
                .accepting_duplicates(fx.mutant(Mutant::LetsNamesakesIn))
                .keeping_refusals(fx.mutant(Mutant::KeepsRefusals)),
            replicas: BTreeMap::new(),
            oldest_orders: BTreeSet::new(),
            disk_idle_since: now.instant,
            leaders: BTreeMap::new(),
            metadata: Metadata::default(),
            requests: Requests::default(),
            queries: Queries::default(),
            last_order: OrderSeq(0),
            pending_orders: BTreeMap::new(),
            unwritten_bytes: 0,
            backlogged: false,
            timers: BTreeSet::new(),
            armed: BTreeMap::new(),
            touched: BTreeSet::new(),
            failure: None,
            full: false,
            announced_directory: DirectoryState::Online,
            refused: false,
            stopping: false,
            closing_clients: false,
            stopped: false,
            rejected: None,
        };
        broker.arm(Timer::Heartbeat, Some(now.instant));
        broker.arm(Timer::Housekeeping, Some(now.instant));
        broker.start_metadata(recovered.replicas, fx);
        broker.settle(fx);
        broker
    }

    /// Takes one input at `now`, and pushes the orders that follow from it. Timers that were due before `now` fire
    /// first, so a node that was paused never answers as the leader that it has ceased to be (counter-example 13).
    pub fn step(&mut self, now: Now, input: Input, fx: &mut Effects) {
        self.now = self.now.max(now.instant);
        if matches!(input, Input::Tick) || !fx.mutant(Mutant::StampsStaleTime) {
            self.wall = now.wall;
        }
        if self.stopped {
            return;
        }
        if fx.mutant(Mutant::FiresDeadlinesLate) {
            self.take(input, fx);
            self.settle(fx);
            self.fire_due(fx);
        } else {
            self.fire_due(fx);
            if !self.stopped {
                self.take(input, fx);
                self.settle(fx);
            }
        }
        if self.stopped {
            self.settle(fx); // tells what the last resignations have changed
            self.timers.clear();
            self.armed.clear();
            fx.push(Effect::Stopped);
        }
    }

    /// When [`Self::step`] must be called at the latest, with [`Input::Tick`] where there is no other input; `None` once
    /// the node has stopped.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The identity of this broker's present incarnation.
    #[must_use]
    pub const fn identity(&self) -> PeerIdentity {
        self.me
    }

    /// The cluster as this broker knows it: a committed prefix of the metadata.
    #[must_use]
    pub fn image(&self) -> &ClusterImage {
        self.metadata.image()
    }

    /// Its replicas, for people and checkers.
    pub fn replicas(&self) -> impl Iterator<Item = (TopicPartition, ReplicaView)> {
        self.replicas
            .iter()
            .map(|(&id, replica)| (id, replica.view()))
    }

    /// One of its replicas.
    #[must_use]
    pub fn replica(&self, partition: TopicPartition) -> Option<&Replica> {
        self.replicas.get(&partition).map(AsRef::as_ref)
    }

    /// The latest announcement for a partition that this broker has received.
    #[must_use]
    pub fn leader_of(&self, partition: TopicPartition) -> Option<&LeaderAndIsr> {
        Some(&self.leaders.get(&partition)?.announcement)
    }

    /// Whether the incarnation that announced the leader of this partition is the latest known of its broker. A later
    /// incarnation leads nothing until it announces so itself.
    fn is_current_announcement(&self, partition: TopicPartition) -> bool {
        self.leaders.get(&partition).is_some_and(|told| {
            told.by
                .is_none_or(|by| self.links.is_latest_incarnation(by.voter(), by.incarnation))
        })
    }

    /// Whether this broker leads the metadata quorum and its image is current, so it can decide.
    #[must_use]
    pub const fn is_controller(&self) -> bool {
        self.metadata.log.leads()
    }

    fn take(&mut self, input: Input, fx: &mut Effects) {
        match input {
            Input::Tick => {}
            Input::Request(request) => self.on_request(*request, fx),
            Input::Disconnected(connection) => self.on_disconnected(connection),
            Input::LinkUp(peer) => self.on_link_up(peer, fx),
            Input::LinkDown(peer) => self.on_link_down(peer, fx),
            Input::DialRefused(peer) => self.on_dial_refused(peer, fx),
            Input::SessionClosed { from, session } => self.on_session_closed(from, session, fx),
            Input::Hello { from, session } => self.on_hello(from, session, fx),
            Input::RejectedByPeer(reason) => self.on_rejected(reason, fx),
            Input::Peer {
                from,
                session,
                message,
            } => self.on_peer(from, session, message, fx),
            Input::Stored(completions) => {
                for completion in completions {
                    match completion.stage {
                        Stage::Refused(Refusal::DiskFull) => self.on_disk_full(fx),
                        // Unlike a full disk, it concerns only this replica.
                        Stage::Refused(Refusal::OutOfResources) => {
                            fx.probe(Probe::OutOfResources);
                            self.refused = true;
                        }
                        Stage::Unfilled | Stage::Written | Stage::Durable => {}
                    }
                    self.with_replica(completion.replica, fx, |replica, cx| {
                        replica.on_stored(&completion, cx)
                    });
                }
            }
            Input::StoreFailed(failure) => self.on_store_failed(failure, fx),
            Input::SpaceReturned => self.on_space_returned(fx),
            Input::QueryDone { id, result } => self.on_query_done(id, result, fx),
            Input::HolesFound { replica, holes } => {
                for hole in holes {
                    fx.probe(Probe::HoleScrubbed);
                    self.with_replica(replica, fx, |replica, cx| replica.on_hole(hole, cx));
                }
            }
            Input::Stop => self.on_stop(fx),
            Input::ClientsClosed => self.finish_stop(fx),
        }
    }

    /// Fires every timer that is due.
    fn fire_due(&mut self, fx: &mut Effects) {
        while let Some(timer) = self.next_due(fx)
            && !self.stopped
        {
            self.arm(timer, None);
            match timer {
                Timer::Heartbeat => self.send_heartbeats(fx),
                Timer::Links => self.expire_links(fx),
                Timer::Replica(partition) => self.with_replica(partition, fx, Replica::fire),
                Timer::Housekeeping => self.do_housekeeping(fx),
                Timer::Requests => self.expire_requests(fx),
                Timer::Stop if self.closing_clients => self.finish_stop(fx),
                Timer::Stop => self.close_clients(fx),
            }
            self.settle(fx);
        }
    }

    /// Due timers fire in order of their deadlines, with one exception: in a node that was paused, links expire first
    /// and then replicas check their quorums, since everything else may rely on a peer or a vote that timed out during
    /// the pause.
    fn next_due(&self, fx: &Effects) -> Option<Timer> {
        let is_due = |at: Instant| at <= self.now;
        let due = || {
            let timers = self.timers.iter().take_while(|(at, _)| is_due(*at));
            timers.map(|(_, timer)| *timer)
        };
        let first = due().next()?;
        let links = self.armed.get(&Timer::Links).copied().is_some_and(is_due);
        if fx.mutant(Mutant::FiresDeadlinesInTurn) {
            Some(first)
        } else if links {
            Some(Timer::Links)
        } else {
            let mut replicas = due().filter(|timer| matches!(timer, Timer::Replica(_)));
            Some(replicas.next().unwrap_or(first))
        }
    }

    fn arm(&mut self, timer: Timer, at: Option<Instant>) {
        if let Some(earlier) = self.armed.remove(&timer) {
            if Some(earlier) == at {
                self.armed.insert(timer, earlier);
                return;
            }
            self.timers.remove(&(earlier, timer));
        }
        if let Some(at) = at {
            self.armed.insert(timer, at);
            self.timers.insert((at, timer));
        }
    }

    /// Runs `act` on one replica, if this node has it, and marks it as touched.
    fn with_replica<R>(
        &mut self,
        partition: TopicPartition,
        fx: &mut Effects,
        act: impl FnOnce(&mut Replica, &mut Cx<'_>) -> R,
    ) -> R
    where
        R: Default,
    {
        let directory = self.directory_state();
        let disk_hangs = self.disk_hangs();
        let Some(replica) = self.replicas.get_mut(&partition) else {
            return R::default();
        };
        let mut cx = Cx {
            now: self.now,
            timing: &self.setup.timing,
            links: &self.links,
            rng: &mut self.rng,
            fx,
            queries: &mut self.queries,
            last_order: &mut self.last_order,
            directory,
            disk_hangs,
        };
        self.touched.insert(partition);
        act(replica, &mut cx)
    }

    /// Builds a replica with the context of this step.
    fn build_replica(
        &mut self,
        fx: &mut Effects,
        make: impl FnOnce(Voter, &mut Cx<'_>) -> Replica,
    ) -> Replica {
        let directory = self.directory_state();
        let disk_hangs = self.disk_hangs();
        let mut cx = Cx {
            now: self.now,
            timing: &self.setup.timing,
            links: &self.links,
            rng: &mut self.rng,
            fx,
            queries: &mut self.queries,
            last_order: &mut self.last_order,
            directory,
            disk_hangs,
        };
        make(self.me.voter(), &mut cx)
    }

    /// Draws a random number.
    fn draw(&mut self) -> u64 {
        self.rng.next_u64()
    }

    fn settle(&mut self, fx: &mut Effects) {
        self.settle_replicas(fx);
        self.register_promptly(fx);
        self.settle_replicas(fx);
        while self.confirm_due_rejections(fx) {
            self.settle_replicas(fx);
        }
        self.announce_directory(fx);
        self.arm_timers();
        if self.stopping && !self.closing_clients && !self.stopped {
            self.try_stop(fx);
        }
        self.assert_invariants();
    }

    /// Redundant state agrees. Checked after every step, so only counts are compared: each replica checks itself, and
    /// the pending orders of every touched replica have just been updated.
    fn assert_invariants(&self) {
        assert_eq!(
            self.timers.len(),
            self.armed.len(),
            "what is armed has one timer"
        );
        assert_eq!(
            self.oldest_orders.len(),
            self.pending_orders.len(),
            "every account is of a replica with orders that are not done"
        );
        assert!(
            !self.pending_orders.is_empty() || self.unwritten_bytes == 0,
            "bytes wait for the disk in an order"
        );
        self.requests.assert_invariants();
    }

    /// Reviews every touched replica once: timers, announcements, waiting requests, metadata.
    fn settle_replicas(&mut self, fx: &mut Effects) {
        let mut rounds = 0;
        while let Some(partition) = self.touched.pop_first() {
            rounds += 1;
            assert!(rounds < 1_000_000, "a step comes to an end");
            let Some(replica) = self.replicas.get(&partition) else {
                continue;
            };
            let (deadline, oldest) = (replica.next_deadline(), replica.oldest_order());
            let account = oldest.map(|oldest| (oldest, replica.unwritten_bytes()));
            self.arm(Timer::Replica(partition), deadline);
            self.update_pending_orders(partition, account);
            self.announce(partition, fx);
            self.report_voters(partition, fx);
            if partition == TopicPartition::METADATA {
                self.follow_metadata(fx);
                self.review_controller(fx);
            }
            self.wake_requests(partition, fx);
        }
    }

    fn arm_timers(&mut self) {
        let deadline = self.links.next_deadline(&self.setup.timing);
        self.arm(Timer::Links, deadline);
        self.arm_requests();
    }

    /// Updates what is known of a replica's pending orders: the time of the oldest, and the bytes of records in them.
    fn update_pending_orders(
        &mut self,
        partition: TopicPartition,
        account: Option<(Instant, usize)>,
    ) {
        let known = self.pending_orders.get(&partition).copied();
        if known == account {
            return;
        }
        if let Some((oldest, bytes)) = known {
            self.oldest_orders.remove(&(oldest, partition));
            self.unwritten_bytes -= bytes;
            self.pending_orders.remove(&partition);
        }
        if self.oldest_orders.is_empty() {
            self.disk_idle_since = self.now;
        }
        if let Some((oldest, bytes)) = account {
            self.oldest_orders.insert((oldest, partition));
            self.unwritten_bytes += bytes;
            self.pending_orders.insert(partition, (oldest, bytes));
        }
        // Hysteresis: every change is announced to all peers.
        let most = self.setup.unwritten_bytes_max;
        let still = self.backlogged && self.unwritten_bytes > most / 2;
        self.backlogged = self.unwritten_bytes >= most || still;
    }

    /// What the directory accepts.
    #[must_use]
    pub const fn directory_state(&self) -> DirectoryState {
        if self.failure.is_some() {
            DirectoryState::Offline
        } else if self.full {
            DirectoryState::Full
        } else if self.backlogged {
            DirectoryState::Behind
        } else {
            DirectoryState::Online
        }
    }

    /// How many requests of clients are waiting.
    #[must_use]
    pub fn waiting_requests(&self) -> usize {
        self.requests.purgatory.len()
    }

    /// Bytes of records that wait for the disk, of all replicas.
    #[must_use]
    pub const fn unwritten_bytes(&self) -> usize {
        self.unwritten_bytes
    }

    /// Whether the directory has kept an order waiting for too long.
    fn disk_hangs(&self) -> bool {
        self.disk_stalled() >= self.setup.timing.disk_stall_max
    }

    /// How long the directory has kept its oldest order waiting.
    fn disk_stalled(&self) -> Duration {
        self.oldest_orders
            .first()
            .map_or(Duration::ZERO, |(oldest, _)| self.now.since(*oldest))
    }

    fn on_store_failed(&mut self, failure: StoreFailure, fx: &mut Effects) {
        let StoreFailure::Offline(reason) = &failure;
        fx.probe(Probe::DirectoryOffline);
        fx.notice(None, NoticeKind::DirectoryOffline(reason.clone()));
        self.resign_all(Resignation::Disk, fx);
        self.failure = Some(failure);
        let all: Vec<TopicPartition> = self.replicas.keys().copied().collect();
        for partition in all {
            if !fx.mutant(Mutant::TakesWhileOffline) {
                self.with_replica(partition, fx, |replica, cx| replica.go_offline(cx));
            }
        }
    }

    /// The disk has refused an append. Leaderships are transferred to voters that have room, where there are any.
    fn on_disk_full(&mut self, fx: &mut Effects) {
        if self.full {
            return;
        }
        self.full = true;
        fx.probe(Probe::DiskFull);
        fx.notice(None, NoticeKind::DiskFull);
        self.transfer_leaderships(fx);
    }

    fn on_space_returned(&mut self, fx: &mut Effects) {
        self.full = false;
        let unstored: Vec<TopicPartition> = self
            .replicas
            .iter()
            .filter(|(_, replica)| replica.is_unstored())
            .map(|(&id, _)| id)
            .collect();
        for partition in unstored {
            self.with_replica(partition, fx, Replica::on_space_returned);
        }
    }

    fn resign_all(&mut self, why: Resignation, fx: &mut Effects) {
        let led: Vec<TopicPartition> = self.led().collect();
        for partition in led {
            self.with_replica(partition, fx, |replica, cx| replica.resign(why, cx));
        }
    }

    /// Partitions that this broker leads.
    fn led(&self) -> impl Iterator<Item = TopicPartition> {
        self.replicas
            .iter()
            .filter(|(_, replica)| replica.is_leader())
            .map(|(&id, _)| id)
    }

    fn on_query_done(&mut self, id: QueryId, result: QueryResult, fx: &mut Effects) {
        let Some((partition, waiter)) = self.queries.take(id) else {
            return;
        };
        // A hole is recorded whether or not the waiter still exists. The state machine reads the metadata again once
        // their hole is repaired.
        if let QueryResult::Failed(error) = &result
            && waiter != Waiter::StateMachine
        {
            self.note_hole(partition, error, fx);
        }
        match waiter {
            Waiter::StateMachine => self.on_metadata_read(result, fx),
            Waiter::Fetch(lookup) => self.on_fetched(partition, lookup, result, fx),
            Waiter::ListOffsets(lookup) => self.on_offset_found(lookup, result, fx),
            Waiter::Replication(follower) => {
                let batches = batches_of(result);
                self.with_replica(partition, fx, |replica, cx| {
                    replica.on_read(id, follower, batches, cx)
                });
            }
            Waiter::Fill(peer, offset) => {
                let batches = batches_of(result).unwrap_or_default();
                self.with_replica(partition, fx, |replica, cx| {
                    replica.send_fill(peer, offset, batches, cx)
                });
            }
        }
    }

    /// A read has found a hole: the replica refuses reads there and repairs it.
    fn note_hole(&mut self, partition: TopicPartition, error: &ReadError, fx: &mut Effects) {
        if let ReadError::Hole(range) = error {
            let range = range.clone();
            self.with_replica(partition, fx, |replica, cx| replica.on_hole(range, cx));
        }
    }

    /// Begins a controlled shutdown: tells the controller, transfers leaderships, waits for orders, then closes client
    /// connections.
    fn on_stop(&mut self, fx: &mut Effects) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        // The controller then gives this node no new replicas, and leaders transfer no leadership back to it. Sent
        // once: if it is lost, the node is fenced after its stop.
        self.send_to_controller(STOPPING, ControllerRequest::Stopping, fx);
        self.arm(Timer::Stop, Some(self.now + LEADERSHIP_TRANSFER_TIMEOUT));
        self.transfer_leaderships(fx);
    }

    /// Transfers every leadership to the best suited voter, unless `controlled.shutdown.enable` is off.
    fn transfer_leaderships(&mut self, fx: &mut Effects) {
        if !self.configs().controlled_shutdown() || fx.mutant(Mutant::NeverHandsOver) {
            return;
        }
        let led: Vec<TopicPartition> = self.led().collect();
        for partition in led {
            let preference = self
                .metadata
                .image()
                .partition(partition)
                .map(|p| p.target.clone())
                .unwrap_or_default();
            self.with_replica(partition, fx, |replica, cx| {
                if let Some(target) =
                    replica.transfer_target(&preference, cx.now, cx.timing, cx.links)
                {
                    replica.transfer_to(target, cx);
                }
            });
        }
    }

    /// Closes client connections once this broker leads nothing that another voter could lead, and no orders are
    /// pending.
    fn try_stop(&mut self, fx: &mut Effects) {
        let has_successor = |replica: &Replica| {
            let timing = &self.setup.timing;
            let target = replica.transfer_target(&[], self.now, timing, &self.links);
            target.is_some()
        };
        let mut replicas = self.replicas.values();
        let led_with_others = self.configs().controlled_shutdown()
            && replicas.any(|replica| replica.is_leader() && has_successor(replica));
        if !led_with_others && self.oldest_orders.is_empty() {
            self.close_clients(fx);
        }
    }

    /// This broker leads nothing that another voter could lead: waiting requests are answered, and clients find the new
    /// leaders.
    fn close_clients(&mut self, fx: &mut Effects) {
        if fx.mutant(Mutant::StopsUnderClients) {
            self.stopped = true;
            return;
        }
        self.closing_clients = true;
        self.fail_delayed(false, fx);
        self.arm(Timer::Stop, Some(self.now + CLIENT_CLOSE_TIMEOUT));
        fx.push(Effect::CloseClients);
    }

    fn finish_stop(&mut self, fx: &mut Effects) {
        self.resign_all(Resignation::Transferred, fx);
        // Twice: a failed request may still need a read index, and waits in the purgatory for that.
        self.fail_delayed(false, fx);
        self.fail_delayed(true, fx);
        self.stopped = true;
    }

    /// The controller's response. Only those to clients' requests are awaited; whether anything else was done shows in
    /// the image.
    fn on_controller_response(&mut self, id: u64, response: ControllerResponse, fx: &mut Effects) {
        self.on_client_answer(id, response, fx);
    }

    fn voter(&self) -> Voter {
        self.me.voter()
    }

    /// The id of the cluster that this node belongs to; `None` before it has joined one.
    #[must_use]
    pub const fn cluster(&self) -> Option<ClusterId> {
        self.me.cluster
    }

    /// The broker that leads the metadata quorum, as far as this broker knows.
    #[must_use]
    pub fn controller_id(&self) -> Option<BrokerId> {
        let by_replica = self
            .replica(TopicPartition::METADATA)
            .and_then(Replica::leader)
            .map(|voter| voter.broker);
        by_replica.or_else(|| {
            self.leader_of(TopicPartition::METADATA)
                .and_then(|announcement| announcement.leader)
        })
    }

    /// The end of the metadata that this broker has applied, exclusive.
    #[must_use]
    pub const fn metadata_offset(&self) -> Offset {
        self.metadata.applied()
    }
}

/// The batches that were read; `None` where the read failed.
fn batches_of(result: QueryResult) -> Option<Vec<Batch>> {
    let QueryResult::Records(mut bytes) = result else {
        return None;
    };
    let mut batches = Vec::new();
    while let Ok(batch) = Batch::split_from(&mut bytes) {
        batches.push(batch);
    }
    Some(batches)
}

#[cfg(test)]
mod tests;
