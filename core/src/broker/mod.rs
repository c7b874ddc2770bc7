//! One broker: its replicas, its links, its image of the cluster, the requests that wait.
//!
//! [`Broker::step`] is the whole of it. A step fires what is due, takes one input, and settles: whatever replica
//! was touched is looked at once, and what has changed about it is told to those concerned. So a handler
//! changes state and need not know who waits for it.
//!
//! What stands where: `replication` moves messages between links and replicas, `metadata` follows
//! `__cluster_metadata` and makes the node hold the replicas that it is assigned, `release` lets go of them,
//! `controller` leads it, `requests` and its neighbours answer clients.

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

/// What a broker is told once, at its start.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// What it registers with the controller.
    pub registration: BrokerRegistration,
    /// How patient it is.
    pub timing: Timing,
    /// Kafka's broker configuration, as far as its file sets it.
    pub kafka: BrokerConfig,
    /// How many brokers are to vote in `__cluster_metadata`, where there are as many.
    pub metadata_voters_max: usize,
    /// Batches of metadata applied after which a snapshot of the image is saved: it bounds what a start must read.
    pub snapshot_interval: u64,
    /// How long a broker may be unheard before it is given no more replicas (`broker.session.timeout.ms`).
    pub session_timeout: Duration,
    /// Bytes of records that may wait for the disk before its replicas take no more from their leaders.
    pub unwritten_bytes_max: usize,
}

/// What [`Setup::unwritten_bytes_max`] is, where nobody says otherwise.
pub const UNWRITTEN_BYTES_MAX: usize = 256 << 20;

/// What time may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Heartbeats are due.
    Heartbeat,
    /// A peer may have gone silent.
    Links,
    /// A replica has something to do.
    Replica(TopicPartition),
    /// What is looked after now and then: registration, fencing, preferred leaders.
    Housekeeping,
    /// A waiting request has waited long enough.
    Requests,
    /// A stop in good order takes too long.
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
    /// Boxed, since they are large and come and go.
    replicas: BTreeMap<TopicPartition, Box<Replica>>,
    /// Replicas with orders that are not done, by the time of the oldest.
    oldest_orders: BTreeSet<(Instant, TopicPartition)>,
    /// When the last of them was done.
    disk_idle_since: Instant,
    /// The same by partition, with the bytes of records that wait for the disk.
    pending_orders: BTreeMap<TopicPartition, (Instant, usize)>,
    /// The sum of these.
    unwritten_bytes: usize,
    /// As many wait as may, or did, and more than half of them wait still.
    backlogged: bool,
    /// Who leads what, as the leaders say; the highest epoch wins.
    leaders: BTreeMap<TopicPartition, KnownLeader>,
    metadata: Metadata,
    requests: Requests,
    queries: Queries,
    /// The greatest number that an order of any replica has, of one that has been deleted as well.
    last_order: OrderSeq,
    timers: BTreeSet<(Instant, Timer)>,
    armed: BTreeMap<Timer, Instant>,
    /// Replicas that the present step has touched.
    touched: BTreeSet<TopicPartition>,
    /// The directory is offline.
    failure: Option<StoreFailure>,
    /// The disk is full: it takes no records of clients and followers.
    full: bool,
    /// What peers have been told that the directory takes.
    announced_directory: DirectoryState,
    /// The present step has learnt that an append was refused for want of resources.
    refused: bool,
    stopping: bool,
    /// Clients are being let go.
    closing_clients: bool,
    stopped: bool,
    /// Since when, and when last, peers have rejected this node as a duplicate of another one.
    rejected: Option<(Instant, Instant)>,
}

/// Numbers the request that announces a stop.
const STOPPING: u64 = 0;
/// Who leads a partition, and who has announced it.
#[derive(Clone, Debug)]
struct KnownLeader {
    announcement: LeaderAndIsr,
    /// The start of the broker that made it; `None` for this broker.
    by: Option<PeerIdentity>,
}

/// How long a node that is told to stop tries to hand its leaderships over.
const LEADERSHIP_TRANSFER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it waits then for its clients to go.
const CLIENT_CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a broker looks after what no event brings.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(500);

impl Broker {
    /// A broker on what its directory held. All randomness it will ever use comes from `seed`.
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

    /// Takes one input at `now`, and gives the orders that follow from it. What was due before `now` is done
    /// first, so a node that was paused never answers from a past in which it still led (counter-example 13).
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

    /// Who this broker is.
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

    /// Who leads a partition, as its quorum says and as far as this broker has heard.
    #[must_use]
    pub fn leader_of(&self, partition: TopicPartition) -> Option<&LeaderAndIsr> {
        Some(&self.leaders.get(&partition)?.announcement)
    }

    /// Whether the start of a broker that has announced that it leads this partition is the latest that is known: another one
    /// leads nothing before it says so itself.
    fn is_present_announcement(&self, partition: TopicPartition) -> bool {
        self.leaders.get(&partition).is_some_and(|told| {
            told.by
                .is_none_or(|by| self.links.is_latest_incarnation(by.voter(), by.incarnation))
        })
    }

    /// Whether it leads the metadata quorum and may decide for it.
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
                        // It concerns nobody else.
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

    /// What is due is done in turn, but for one thing: a node that has slept first finds out whom it does not hear any
    /// more, and its replicas that their voters' votes count no more. All else may rest on a trust that ended while it slept.
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

    /// Lets one replica act, if it is there, and remembers that it was touched.
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

    /// Makes a replica of this node's.
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

    /// A number from the broker's own randomness.
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

    /// What is kept twice agrees. Checked after every step, so it looks at no more than how many there are: each replica
    /// looks at itself, and every touched one's account has just been taken.
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

    /// Looks once at every replica that was touched: timers, announcements, waiting requests, metadata.
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

    /// Takes into account what waits of a replica: when its oldest order was given, and bytes of records.
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
        // Half of it is room for a while: peers are told of each change.
        let most = self.setup.unwritten_bytes_max;
        let still = self.backlogged && self.unwritten_bytes > most / 2;
        self.backlogged = self.unwritten_bytes >= most || still;
    }

    /// What the directory takes.
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

    /// Requests of clients that are not answered.
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

    /// The disk has refused an append. What is led goes to voters that have room, where there are any.
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
        // Worth knowing whether or not anybody waits still; the metadata are looked at again once it is repaired.
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

    /// A read found damage: the replica refuses reads there and has it repaired.
    fn note_hole(&mut self, partition: TopicPartition, error: &ReadError, fx: &mut Effects) {
        if let ReadError::Hole(range) = error {
            let range = range.clone();
            self.with_replica(partition, fx, |replica, cx| replica.on_hole(range, cx));
        }
    }

    /// Stop in good order: clients and controller are told, leaderships handed over, orders waited for.
    fn on_stop(&mut self, fx: &mut Effects) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        // No new replicas and no leadership returned while this node is on its way out. Asked once: fencing
        // follows anyway.
        self.send_to_controller(STOPPING, ControllerRequest::Stopping, fx);
        self.arm(Timer::Stop, Some(self.now + LEADERSHIP_TRANSFER_TIMEOUT));
        self.transfer_leaderships(fx);
    }

    /// Hands every leadership to the voter best suited, where there is another voter and the configuration does not say
    /// otherwise.
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
                if let Some(successor) = replica.successor(&preference, cx.now, cx.timing, cx.links)
                {
                    replica.transfer_to(successor, cx);
                }
            });
        }
    }

    /// Lets clients go once nothing is led that others could lead, and nothing is under way to the disk.
    fn try_stop(&mut self, fx: &mut Effects) {
        let has_successor = |replica: &Replica| {
            let timing = &self.setup.timing;
            let successor = replica.successor(&[], self.now, timing, &self.links);
            successor.is_some()
        };
        let mut replicas = self.replicas.values();
        let led_with_others = self.configs().controlled_shutdown()
            && replicas.any(|replica| replica.is_leader() && has_successor(replica));
        if !led_with_others && self.oldest_orders.is_empty() {
            self.close_clients(fx);
        }
    }

    /// Nobody leads here what others could: whatever waits is answered, and clients find what they look for elsewhere.
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
        // In turn: what is failed may have to be confirmed, and waits for that.
        self.fail_delayed(false, fx);
        self.fail_delayed(true, fx);
        self.stopped = true;
    }

    /// The controller's answer. Only those to clients' requests are waited for; of everything else the image
    /// tells whether it has happened.
    fn on_controller_response(&mut self, id: u64, response: ControllerResponse, fx: &mut Effects) {
        self.on_client_answer(id, response, fx);
    }

    fn voter(&self) -> Voter {
        self.me.voter()
    }

    /// The cluster's id, once this node belongs to one.
    #[must_use]
    pub const fn cluster(&self) -> Option<ClusterId> {
        self.me.cluster
    }

    /// The broker that leads the metadata quorum, as far as this one knows.
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

/// The batches that were read; `None` where there was nothing to be read.
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
