//! Passes messages and link changes to replicas, and announcements and heartbeats to peers. No protocol decision is
//! taken here.

use crate::effect::{Effect, Effects, NoticeKind, Resignation};
use crate::hooks::Mutant;
use crate::ids::{BrokerId, TopicPartition};
use crate::links::LinkChange;
use crate::peer::{
    ControllerRequest, ControllerResponse, DirectoryState, LeaderAndIsr, PeerIdentity, PeerMessage,
    ReplicaBody, ReplicaMessage,
};
use crate::replica::Replica;

use super::{Broker, KnownLeader, Timer};

impl Broker {
    pub(super) fn on_link_up(&mut self, peer: PeerIdentity, fx: &mut Effects) {
        if peer.broker == self.me.broker {
            return;
        }
        self.join(peer, fx);
        let changes = self.links.up(peer, self.now, &self.setup.timing);
        self.send_heartbeat(peer.broker, fx);
        let announcements: Vec<LeaderAndIsr> = self
            .replicas
            .values()
            .filter_map(|replica| replica.announcement().cloned())
            .collect();
        if !announcements.is_empty() {
            fx.push(Effect::Send {
                to: peer.broker,
                message: PeerMessage::Leaders(announcements),
            });
        }
        let peers = self.known_peers();
        fx.push(Effect::Send {
            to: peer.broker,
            message: PeerMessage::Peers(peers),
        });
        for change in changes {
            self.apply_link_change(change, fx);
        }
    }

    pub(super) fn on_link_down(&mut self, peer: BrokerId, fx: &mut Effects) {
        let change = self.links.down(peer, self.now);
        self.on_leader_disconnected(peer);
        self.stop_awaiting(peer, fx);
        self.apply_link_change(change, fx);
        if fx.mutant(Mutant::TakesBrokenLinkForGone) {
            self.on_dial_refused(peer, fx);
        }
    }

    /// No process listens at a peer's address.
    pub(super) fn on_dial_refused(&mut self, peer: BrokerId, fx: &mut Effects) {
        let change = self.links.refused(peer, self.now);
        if let Some(change) = change
            && !fx.mutant(Mutant::WaitsForSilence)
        {
            self.apply_link_change(change, fx);
        }
    }

    /// The connection of a peer's session is closed.
    pub(super) fn on_session_closed(&mut self, from: PeerIdentity, session: u64, fx: &mut Effects) {
        let change = self.links.session_closed(from, session);
        if self.links.is_broken(from.broker) {
            self.on_leader_disconnected(from.broker);
            self.stop_awaiting(from.broker, fx);
        }
        if let Some(change) = change
            && !fx.mutant(Mutant::WaitsForSilence)
        {
            self.apply_link_change(change, fx);
        }
    }

    /// A peer has dialled.
    pub(super) fn on_hello(&mut self, from: PeerIdentity, session: u64, fx: &mut Effects) {
        fx.push(match self.duplicate_of(&from) {
            None => Effect::AcceptPeer {
                from: from.broker,
                session,
            },
            Some(reason) => Effect::RejectPeer {
                from: from.broker,
                session,
                reason,
            },
        });
    }

    /// Why a peer must be rejected: a live node runs with the same broker id on another directory. Kafka's
    /// `DUPLICATE_BROKER_REGISTRATION`.
    pub(super) fn duplicate_of(&self, peer: &PeerIdentity) -> Option<String> {
        let own = peer.broker == self.me.broker && peer.directory != self.me.directory;
        let running = if own {
            Some(self.me.directory)
        } else {
            self.links
                .duplicate_directory(peer, self.now, &self.setup.timing)
        };
        running.map(|directory| {
            format!(
                "broker {} runs already, on directory {directory}, and the node on directory {} is configured as broker {} \
                 too: give one of them another id, or stop the other where this directory replaces it \
                 (DUPLICATE_BROKER_REGISTRATION)",
                peer.broker, peer.directory, peer.broker
            )
        })
    }

    /// A peer has rejected this node as a duplicate of a live one. A registered node was there first, and goes on. Any
    /// other stops once it has been rejected for the session timeout: peers have forgotten an earlier incarnation on a
    /// lost directory by then. A gap of a third of that timeout restarts the count, since a peer that was paused knows
    /// only an old state and may reject this node once more, long after everybody else.
    pub(super) fn on_rejected(&mut self, reason: String, fx: &mut Effects) {
        if self.registered().is_some() {
            return;
        }
        let session_timeout = self.setup.session_timeout;
        let since = match self.rejected {
            Some((since, last)) if self.now.since(last) < session_timeout / 3 => since,
            Some(_) | None => self.now,
        };
        self.rejected = Some((since, self.now));
        if self.now.since(since) >= session_timeout {
            fx.notice(None, NoticeKind::DuplicateBrokerId(reason));
            self.finish_stop(fx);
        }
    }

    pub(super) fn on_peer(
        &mut self,
        from: PeerIdentity,
        session: u64,
        message: PeerMessage,
        fx: &mut Effects,
    ) {
        if from.broker == self.me.broker {
            self.refuse(from, session, "it claims to be this broker", fx);
            return;
        }
        let Some(changes) = self
            .links
            .on_message(from, session, self.now, &self.setup.timing)
        else {
            let why = "it comes from a start or connection that is over, or from a second node with this id";
            self.refuse(from, session, why, fx);
            return;
        };
        self.join(from, fx);
        for change in changes {
            self.apply_link_change(change, fx);
        }
        match message {
            PeerMessage::Heartbeat(heartbeat) => {
                let changes =
                    self.links
                        .on_heartbeat(from.broker, &heartbeat, self.now, &self.setup.timing);
                for change in changes {
                    self.apply_link_change(change, fx);
                }
            }
            PeerMessage::Replica(message) => {
                let is_offline = self.directory_state() == DirectoryState::Offline;
                if is_offline
                    && !is_followed_offline(&message)
                    && !fx.mutant(Mutant::TakesWhileOffline)
                {
                    return; // the heartbeats say why
                }
                if fx.mutant(Mutant::CreatesUnknownReplica) {
                    self.create_from_message(&message, fx);
                }
                if self.replicas.contains_key(&message.partition) {
                    self.with_replica(message.partition, fx, |replica, cx| {
                        replica.receive(message, cx)
                    });
                } else {
                    let partition = Some(message.partition);
                    fx.notice(
                        partition,
                        NoticeKind::Refused("this broker has no such replica"),
                    );
                }
            }
            PeerMessage::Peers(peers) => self.learn_peers(peers, fx),
            PeerMessage::Leaders(announcements) => {
                for announcement in announcements {
                    self.learn_leader(from, announcement, fx);
                }
            }
            PeerMessage::Release(request) => self.on_release(from, request, fx),
            PeerMessage::Released {
                partition,
                leader_epoch,
                metadata_offset,
            } => self.on_released(partition, leader_epoch, metadata_offset, fx),
            PeerMessage::ControllerRequest { id, request } => {
                self.on_controller_request(from, id, request, fx)
            }
            PeerMessage::ControllerResponse { id, response } => {
                self.on_controller_response(id, response, fx)
            }
            PeerMessage::ReadIndex { round } => self.on_read_index(from, round, fx),
            PeerMessage::ReadIndexReply(reply) => self.on_read_index_reply(from, reply, fx),
        }
    }

    /// Refuses a message, and with it the rest of its session. A peer that replaces an incarnation with recent contact
    /// is accepted on its next session, on which it repeats its announcements.
    fn refuse(&self, from: PeerIdentity, session: u64, why: &'static str, fx: &mut Effects) {
        fx.notice(None, NoticeKind::Refused(why));
        if !fx.mutant(Mutant::KeepsRefusedSession) {
            let from = from.broker;
            fx.push(Effect::CloseSession { from, session });
        }
    }

    /// Passes a link change to the replicas that depend on that peer, and touches no others.
    fn apply_link_change(&mut self, change: LinkChange, fx: &mut Effects) {
        if let LinkChange::Replaced(broker) = change
            && !fx.mutant(Mutant::KeepsDeadLink)
        {
            fx.push(Effect::Redial(broker));
        }
        if let LinkChange::Renewed(broker) = change
            && !self.links.is_broken(broker)
        {
            self.on_leader_reconnected(broker, fx);
        }
        let all: Vec<TopicPartition> = match change {
            LinkChange::Trust(broker) => self
                .replicas
                .iter()
                .filter(|(_, replica)| {
                    !replica.is_leader()
                        && replica
                            .leader()
                            .is_some_and(|leader| leader.broker == broker)
                })
                .map(|(&id, _)| id)
                .collect(),
            LinkChange::Quorum(_) | LinkChange::Replaced(_) | LinkChange::Room(_) => {
                self.led().collect()
            }
            LinkChange::Renewed(_) => self.replicas.keys().copied().collect(),
        };
        for partition in all {
            self.with_replica(partition, fx, |replica, cx| match change {
                LinkChange::Trust(_) => replica.review_leader(cx),
                LinkChange::Quorum(_) | LinkChange::Replaced(_) => replica.check_quorum(cx),
                LinkChange::Renewed(broker) => replica.on_link_renewed(broker, cx),
                LinkChange::Room(broker) => replica.on_peer_has_room(broker, cx),
            });
        }
    }

    pub(super) fn expire_links(&mut self, fx: &mut Effects) {
        for change in self.links.expire(self.now, &self.setup.timing) {
            self.apply_link_change(change, fx);
        }
    }

    /// Sends one heartbeat per link. A broker whose own disk hangs resigns its leaderships.
    pub(super) fn send_heartbeats(&mut self, fx: &mut Effects) {
        self.arm(
            Timer::Heartbeat,
            Some(self.now + self.setup.timing.heartbeat_interval),
        );
        if self.disk_hangs() && !fx.mutant(Mutant::IgnoresStalledDisk) {
            self.resign_all(Resignation::Disk, fx);
        }
        self.probe_idle_disk(fx);
        let peers: Vec<BrokerId> = self.links.reachable().map(|peer| peer.broker).collect();
        for peer in peers {
            self.send_heartbeat(peer, fx);
        }
    }

    /// Gives a disk that has been idle for `disk_stall_max` an order, where other brokers could take over: so a hanging
    /// disk is detected before a request waits for it.
    fn probe_idle_disk(&mut self, fx: &mut Effects) {
        let is_idle = self.oldest_orders.is_empty()
            && self.now.since(self.disk_idle_since) >= self.setup.timing.disk_stall_max;
        let has_peers = self.links.reachable().next().is_some();
        if is_idle && has_peers && self.failure.is_none() && !fx.mutant(Mutant::NeverProbesDisk) {
            let first = self.replicas.keys().next().copied();
            if let Some(first) = first {
                self.with_replica(first, fx, Replica::probe_disk);
            }
        }
    }

    /// Sends every peer a heartbeat at once when the state of the directory has changed: leaders wait for room, and do
    /// not count replicas in an offline directory. If an append has just been refused for lack of resources, the return
    /// to `Online` waits for the next heartbeat: what leaders would resend at once would be refused as well.
    pub(super) fn announce_directory(&mut self, fx: &mut Effects) {
        let directory = self.directory_state();
        let refused = std::mem::take(&mut self.refused);
        if directory == self.announced_directory {
            return;
        }
        self.announced_directory = directory;
        let waits = refused || fx.mutant(Mutant::KeepsRoomToItself);
        if waits && directory == DirectoryState::Online {
            return;
        }
        let peers: Vec<BrokerId> = self.links.reachable().map(|peer| peer.broker).collect();
        for peer in peers {
            self.send_heartbeat(peer, fx);
        }
    }

    fn send_heartbeat(&self, peer: BrokerId, fx: &mut Effects) {
        let stalled = self.disk_stalled();
        let directory = self.directory_state();
        let heartbeat = self.links.heartbeat_to(peer, self.now, stalled, directory);
        fx.push(Effect::Send {
            to: peer,
            message: PeerMessage::Heartbeat(heartbeat),
        });
    }

    /// Sends every peer the announcement of a touched replica, if it is new, and records it in this broker's own table.
    pub(super) fn announce(&mut self, partition: TopicPartition, fx: &mut Effects) {
        let Some(replica) = self.replicas.get(&partition) else {
            return;
        };
        let told = self.leader_of(partition);
        let announcement = match (replica.announcement(), told) {
            (Some(announcement), Some(told)) if announcement == told => return,
            (Some(announcement), _) => announcement.clone(),
            // This broker was the leader and has resigned.
            (None, Some(told)) if told.leader == Some(self.me.broker) => LeaderAndIsr {
                leader: None,
                version: told.version + 1,
                isr: Vec::new(),
                ..told.clone()
            },
            (None, _) => return,
        };
        let newly_led = announcement.leader.is_some()
            && told.is_none_or(|told| {
                told.leader_epoch != announcement.leader_epoch || told.leader != announcement.leader
            });
        let told = KnownLeader {
            announcement: announcement.clone(),
            by: None,
        };
        self.leaders.insert(partition, told);
        self.on_leader_announced(partition, fx);
        let peers: Vec<BrokerId> = self.links.reachable().map(|peer| peer.broker).collect();
        for to in peers {
            fx.push(Effect::Send {
                to,
                message: PeerMessage::Leaders(vec![announcement.clone()]),
            });
        }
        if newly_led {
            self.set_target(partition, fx);
        }
    }

    /// Records another broker's announcement; the highest epoch wins, and within it the latest version.
    fn learn_leader(&mut self, from: PeerIdentity, announcement: LeaderAndIsr, fx: &mut Effects) {
        let known = self.leader_of(announcement.partition);
        let latest = fx.mutant(Mutant::BelievesLatestAnnouncement);
        if known.filter(|_| !latest).is_some_and(|known| {
            (announcement.leader_epoch, announcement.version) <= (known.leader_epoch, known.version)
        }) {
            return;
        }
        let partition = announcement.partition;
        let by = Some(from);
        self.leaders
            .insert(partition, KnownLeader { announcement, by });
        self.on_leader_announced(partition, fx);
        self.wake_requests(partition, fx);
    }

    /// Sends a request to the controller, which may be this broker itself. Returns whether a broker could be reached.
    pub(super) fn send_to_controller(
        &mut self,
        id: u64,
        request: ControllerRequest,
        fx: &mut Effects,
    ) -> bool {
        let controller = self.controller_id().filter(|&broker| {
            broker == self.me.broker || self.links.reachable().any(|peer| peer.broker == broker)
        });
        match controller {
            Some(broker) if broker == self.me.broker => {
                self.on_controller_request(self.me, id, request, fx);
                true
            }
            Some(to) => {
                fx.push(Effect::Send {
                    to,
                    message: PeerMessage::ControllerRequest { id, request },
                });
                true
            }
            None => {
                // Any peer may know the controller, and names it in its response.
                let Some(peer) = self.links.reachable().next() else {
                    return false;
                };
                fx.push(Effect::Send {
                    to: peer.broker,
                    message: PeerMessage::ControllerRequest { id, request },
                });
                true
            }
        }
    }

    /// Responds to a broker's request, over the link or to this broker itself.
    pub(super) fn answer(
        &mut self,
        to: BrokerId,
        id: u64,
        response: ControllerResponse,
        fx: &mut Effects,
    ) {
        if to == self.me.broker {
            self.on_controller_response(id, response, fx);
        } else {
            fx.push(Effect::Send {
                to,
                message: PeerMessage::ControllerResponse { id, response },
            });
        }
    }

    /// A node that belongs to no cluster joins that of the first peer that belongs to one.
    fn join(&mut self, peer: PeerIdentity, fx: &mut Effects) {
        if self.me.cluster.is_none()
            && let Some(cluster) = peer.cluster
        {
            self.me.cluster = Some(cluster);
            fx.push(Effect::Joined(cluster));
        }
    }

    /// For a mutant: creates the unknown replica that a message is addressed to.
    fn create_from_message(&mut self, message: &ReplicaMessage, fx: &mut Effects) {
        let partition = message.partition;
        if self.replicas.contains_key(&partition) {
            return;
        }
        let config = self.replica_config(partition);
        let voters = vec![message.from, message.to];
        let replica = self.build_replica(fx, |me, cx| {
            Replica::create(partition, me, voters, config, None, false, cx)
        });
        self.insert_replica(replica);
    }

    /// Adds a replica to the broker.
    pub(super) fn insert_replica(&mut self, replica: Replica) {
        let partition = replica.id();
        self.replicas.insert(partition, Box::new(replica));
        self.touched.insert(partition);
    }
}

/// Whether a broker with an offline directory handles this message: it stores nothing and does not vote, but follows
/// the metadata log in memory, since clients are answered from it.
fn is_followed_offline(message: &ReplicaMessage) -> bool {
    message.partition == TopicPartition::METADATA && matches!(message.body, ReplicaBody::Append(_))
}
