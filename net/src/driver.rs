//! The thread that owns a broker: facts in, orders out.
//!
//! It takes events from clients, peers and disk threads, calls [`Broker::step`] with the time at which it takes each,
//! and executes the effects: orders to the disk, messages to links, responses to connections. It waits no longer than
//! until the broker's next deadline. No protocol decision is taken here, and the thread blocks on nothing but facts:
//! every queue that it fills either has room by construction, or its connection is closed when it is full.
//!
//! While the disk does not keep up, events of clients are not taken; those of peers and completions always are.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use varve_core::broker::Broker;
use varve_core::effect::{Effect, Effects};
use varve_core::ids::BrokerId;
use varve_core::input::{ConnectionId, Input};
use varve_core::peer::{PeerAddresses, PeerIdentity, PeerMessage};
use varve_core::store::Order;
use varve_core::time::Instant;

use crate::connection::{ClientEvent, ReplyQueue};
use crate::disk_thread::{DiskHandle, DiskReport};
use crate::notice::Notices;
use crate::peer_link::{LinkEvent, PeerLinks, Sessions};
use crate::rt::Clock;

/// The most facts of one kind that are taken in one turn.
const BATCH_MAX: usize = 256;

/// How often the disk threads get a tick.
const TICK_MS: u64 = 25;

/// A delay of the broker's thread that is logged: a good part of the election timeout.
const LATE: Duration = Duration::from_millis(250);

/// The progress of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// It recovers, joins and registers.
    Starting,
    /// It is registered and has caught up with the metadata.
    Ready,
    /// Its controlled shutdown is complete, and its directory is closed.
    Stopped,
}

/// The sources of a driver's facts.
#[derive(Debug)]
pub struct Sources {
    /// The disk threads.
    pub reports: mpsc::UnboundedReceiver<DiskReport>,
    /// The links.
    pub links: mpsc::Receiver<LinkEvent>,
    /// The clients' connections.
    pub clients: mpsc::Receiver<ClientEvent>,
    /// Becomes true when the node is to stop.
    pub stop: watch::Receiver<bool>,
}

/// A broker, and the disk, links and connections that execute its effects.
#[derive(Debug)]
pub struct Driver {
    broker: Broker,
    effects: Effects,
    clock: Clock,
    disk: DiskHandle,
    links: PeerLinks,
    sessions: Sessions,
    identity: watch::Sender<PeerIdentity>,
    progress: watch::Sender<Progress>,
    clients: BTreeMap<ConnectionId, ReplyQueue>,
    orders: Vec<Order>,
    notices: Notices,
    /// Links that broke while effects were executed; the broker gets them afterwards.
    broken: Vec<BrokerId>,
    next_tick: Instant,
    /// Client connections are being closed; the broker gets an input when all are.
    closing_clients: bool,
    stopped: bool,
}

impl Driver {
    /// A driver for a new broker, with the effects of its creation.
    #[must_use]
    pub fn new(
        broker: Broker,
        effects: Effects,
        clock: Clock,
        disk: DiskHandle,
        links: PeerLinks,
        identity: watch::Sender<PeerIdentity>,
        progress: watch::Sender<Progress>,
    ) -> Self {
        let now = clock.now();
        let notices = Notices::new(broker.identity().broker);
        Self {
            broker,
            notices,
            effects,
            clock,
            disk,
            links,
            sessions: Sessions::default(),
            identity,
            progress,
            clients: BTreeMap::new(),
            orders: Vec::new(),
            broken: Vec::new(),
            next_tick: now,
            closing_clients: false,
            stopped: false,
        }
    }

    /// Drives the broker until it has stopped, and closes the directory.
    pub async fn run(mut self, mut sources: Sources) {
        let mut facts = Facts::default();
        self.drive_effects();
        while !self.stopped {
            self.drive_clock();
            self.wait_for_facts(&mut sources, &mut facts).await;
            let woken = self.clock.now();
            self.warn_if_late(woken);
            let count = facts.reports.len() + facts.links.len() + facts.clients.len();
            if facts.stop {
                facts.stop = false;
                self.step(Input::Stop);
            }
            for report in facts.reports.drain(..) {
                self.drive_report(report);
            }
            for event in facts.links.drain(..) {
                self.drive_link(event);
            }
            for event in facts.clients.drain(..) {
                self.drive_client(event);
            }
            self.report_closed_clients();
            self.disk.order(&mut self.orders);
            let took = self.clock.now().since(woken);
            if took > LATE {
                tracing::warn!(
                    took_ms = took.as_millis(),
                    facts = count,
                    "the broker was busy for long"
                );
            }
        }
        self.notices.log_all();
        self.disk.close().await;
        self.progress.send_replace(Progress::Stopped);
    }

    /// Waits for a fact or a deadline, and takes some facts of every kind that is ready.
    async fn wait_for_facts(&self, sources: &mut Sources, facts: &mut Facts) {
        let listens = self.disk.has_room();
        let wake = self
            .next_tick
            .min(self.broker.next_deadline().unwrap_or(self.next_tick));
        if wake > self.clock.now() {
            tokio::select! {
                biased;
                Ok(()) = sources.stop.changed() => facts.stop = true,
                _ = sources.reports.recv_many(&mut facts.reports, BATCH_MAX) => {}
                _ = sources.links.recv_many(&mut facts.links, BATCH_MAX) => {}
                _ = sources.clients.recv_many(&mut facts.clients, BATCH_MAX), if listens => {}
                () = self.clock.sleep_until(wake) => {}
            }
        }
        // The `select!` above is biased; no kind must starve the others.
        while facts.reports.len() < BATCH_MAX
            && let Ok(report) = sources.reports.try_recv()
        {
            facts.reports.push(report);
        }
        while facts.links.len() < BATCH_MAX
            && let Ok(event) = sources.links.try_recv()
        {
            facts.links.push(event);
        }
        while listens
            && facts.clients.len() < BATCH_MAX
            && let Ok(event) = sources.clients.try_recv()
        {
            facts.clients.push(event);
        }
    }

    fn report_closed_clients(&mut self) {
        if self.closing_clients && self.clients.is_empty() && !self.stopped {
            self.step(Input::ClientsClosed);
        }
    }

    /// A node that gets no processor time loses its leaderships to others, and logs why.
    fn warn_if_late(&self, woken: Instant) {
        let late = woken.since(self.next_tick);
        if late > LATE {
            tracing::warn!(
                late_ms = late.as_millis(),
                "the node was paused, or its machine is overloaded"
            );
        }
    }

    /// Ticks the broker and the disk threads.
    fn drive_clock(&mut self) {
        let now = self.clock.now();
        if now >= self.next_tick {
            self.next_tick = now + Duration::from_millis(TICK_MS);
            self.disk.tick();
            self.notices.log_due(now);
        }
        if self
            .broker
            .next_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.step(Input::Tick);
        }
        self.disk.order(&mut self.orders);
    }

    fn drive_report(&mut self, report: DiskReport) {
        match report {
            DiskReport::Stored(completions) => self.step(Input::Stored(completions)),
            DiskReport::Failed(failure) => self.step(Input::StoreFailed(failure)),
            DiskReport::SpaceReturned => self.step(Input::SpaceReturned),
            DiskReport::Answered(id, result) => self.step(Input::QueryDone { id, result }),
            DiskReport::HolesFound(replica, holes) => {
                self.step(Input::HolesFound { replica, holes });
            }
        }
    }

    fn drive_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up {
                link,
                identity,
                queue,
            } => {
                if self.links.link_up(link, &identity, queue) {
                    self.step(Input::LinkUp(identity));
                }
            }
            LinkEvent::Down { link, broker } => {
                if self.links.link_down(link, broker) {
                    self.step(Input::LinkDown(broker));
                }
            }
            LinkEvent::Hello { identity, verdict } => {
                let session = self.sessions.hello(verdict);
                self.step(Input::Hello {
                    from: identity,
                    session,
                });
            }
            LinkEvent::Refused(broker) => self.step(Input::DialRefused(broker)),
            LinkEvent::SessionClosed { from, session } => {
                self.step(Input::SessionClosed { from, session });
            }
            LinkEvent::Rejected(reason) => self.step(Input::RejectedByPeer(reason)),
            LinkEvent::Received {
                from,
                session,
                message,
            } => {
                self.step(Input::Peer {
                    from,
                    session,
                    message,
                });
            }
        }
    }

    fn drive_client(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Connected(id, replies) => {
                if self.closing_clients {
                    replies.finish();
                }
                self.clients.insert(id, replies);
            }
            ClientEvent::Request(request, _held) => self.step(Input::Request(request)),
            ClientEvent::Disconnected(id) => {
                self.clients.remove(&id);
                self.step(Input::Disconnected(id));
            }
        }
    }

    fn step(&mut self, input: Input) {
        let now = self.clock.both();
        self.broker.step(now, input, &mut self.effects);
        self.drive_effects();
    }

    fn drive_effects(&mut self) {
        loop {
            let mut effects = std::mem::take(&mut self.effects);
            for effect in effects.drain() {
                self.drive_effect(effect);
            }
            self.effects = effects;
            // A link that broke while an effect was executed is a fact of its own.
            let Some(broker) = self.broken.pop() else {
                return;
            };
            let now = self.clock.both();
            self.broker
                .step(now, Input::LinkDown(broker), &mut self.effects);
        }
    }

    fn drive_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Store(order) => self.orders.push(order),
            Effect::Query(query) => self.disk.query(query),
            Effect::Send { to, message } => self.drive_send(to, message),
            Effect::Respond { request, response } => {
                if let Some(client) = self.clients.get(&request.connection) {
                    client.respond(request.number, response);
                }
            }
            Effect::Close(connection) => {
                if let Some(client) = self.clients.get(&connection) {
                    client.close();
                }
            }
            Effect::Peers { addresses, all } => self.drive_peers(&addresses, all),
            Effect::Redial(broker) => self.links.redial(broker),
            Effect::CloseSession { from: _, session } => self.sessions.close(session),
            Effect::AcceptPeer { from, session } => {
                self.links.wake(from);
                self.sessions.accept(session);
            }
            Effect::RejectPeer {
                from: _,
                session,
                reason,
            } => self.sessions.reject(session, reason),
            Effect::Joined(cluster) => {
                self.identity
                    .send_modify(|identity| identity.cluster = Some(cluster));
                self.disk.join(cluster);
            }
            Effect::Ready => {
                self.progress.send_replace(Progress::Ready);
            }
            Effect::CloseClients => {
                self.closing_clients = true;
                self.clients.values().for_each(ReplyQueue::finish);
            }
            Effect::Stopped => self.stopped = true,
            Effect::Notice(notice) => self.notices.add(notice, self.clock.now()),
        }
    }

    fn drive_send(&mut self, to: BrokerId, message: PeerMessage) {
        if self.links.send(to, message).is_err() {
            self.broken.push(to);
        }
    }

    fn drive_peers(&mut self, addresses: &PeerAddresses, all: bool) {
        let cut = self.links.keep(addresses, all);
        self.broken.extend(cut);
    }
}

/// Facts that have been taken from their sources and not passed to the broker yet.
#[derive(Debug, Default)]
struct Facts {
    stop: bool,
    reports: Vec<DiskReport>,
    links: Vec<LinkEvent>,
    clients: Vec<ClientEvent>,
}
