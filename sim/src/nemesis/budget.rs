//! Which faults may be injected now: as many as the protocol promises to survive, and no more.
//!
//! Faults that only take availability away are not limited: the cluster may stand still. Faults that take *durable* data
//! away hit one node, the run's victim, and only where every partition keeps a majority without it, none of which is
//! a suspect; so any loss is a bug and never too many faults. Power, whose cut makes suspects, stays on while a voter's
//! directory is gone, or may not open any more. A topic with `flush = "replicated"` has its power cut one node at
//! a time, and only while nobody is a suspect.

use varve_core::broker::Broker;
use varve_core::ids::Voter;

use crate::cluster::Cluster;
use crate::draw::Subsystem;
use crate::nemesis::draw_number;
use crate::node::Node;

/// What a fault may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    /// Time, and nothing that was promised.
    Availability,
    /// What one node has written and not synced.
    Unsynced,
    /// What all nodes have written and not synced.
    UnsyncedOfAll,
    /// A node's directory, all of it.
    Directory,
    /// A part of a segment.
    Segment,
    /// A part of the journal or of a checkpoint. One goes bad, and the next not before the node has started again, which
    /// writes down anew what was there: so a checkpoint and the one before do not go bad at once, nor do both copies
    /// of a vote.
    JournalOrCheckpoint,
}

/// What faults may still cost.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    /// Whose disk may be damaged, where anybody's may.
    victim: Option<u8>,
    /// Records are acknowledged from memory.
    replicated: bool,
    /// Of the topic that clients write to.
    pub(super) replication_factor: i16,
    /// A segment of the victim has been damaged.
    segment_is_damaged: bool,
    /// The victim's start at which its journal or a checkpoint last went bad.
    bad_since_start: Option<u64>,
}

impl Budget {
    /// Draws the victim, where there are enough nodes and replicas for one.
    pub(super) fn draw(cluster: &Cluster, replication_factor: i16, replicated: bool) -> Self {
        let mut draw = cluster.draws().at(Subsystem::Swarm, 2, 0);
        let may_damage = cluster.options().nodes >= 3 && replication_factor >= 3;
        Self {
            victim: may_damage.then(|| draw_number(&mut draw, cluster)),
            replicated,
            replication_factor,
            segment_is_damaged: false,
            bad_since_start: None,
        }
    }

    /// Of a cluster that is being formed: no data may be lost.
    pub(super) const fn of_formation() -> Self {
        Self {
            victim: None,
            replicated: false,
            replication_factor: 1,
            segment_is_damaged: false,
            bad_since_start: None,
        }
    }

    /// Whether a fault with this cost may hit a node now.
    pub(super) fn allows(&self, cost: Cost, cluster: &Cluster, node: u8) -> bool {
        match cost {
            Cost::Availability => true,
            Cost::Unsynced => self.may_cut_power(cluster) && self.memory_survives(cluster, node),
            Cost::UnsyncedOfAll => !self.replicated && self.may_cut_power(cluster),
            Cost::Directory | Cost::Segment => self.may_damage(cluster, node),
            Cost::JournalOrCheckpoint => {
                self.may_damage(cluster, node) && !self.has_been_bad_since_start(cluster, node)
            }
        }
    }

    /// A fault with this cost has hit a node.
    pub(super) fn charge(&mut self, cost: Cost, cluster: &Cluster, node: u8) {
        match cost {
            Cost::Segment => self.segment_is_damaged = true,
            Cost::JournalOrCheckpoint => self.bad_since_start = Some(cluster.node(node).starts),
            Cost::Availability | Cost::Unsynced | Cost::UnsyncedOfAll | Cost::Directory => {}
        }
    }

    /// The node whose segments have been damaged, where one has.
    pub(super) fn damaged(&self) -> Option<u8> {
        self.victim.filter(|_| self.segment_is_damaged)
    }

    /// Whether losing this node's directory, or a part of it, leaves every partition a majority that has all, and
    /// knows that it has.
    fn may_damage(&self, cluster: &Cluster, node: u8) -> bool {
        if self.victim != Some(node) {
            return false;
        }
        let me = cluster.node(node).broker();
        // With a voter gone for good a suspect could not be elected by all, nor its vote make up a majority.
        let doubtful = cluster
            .nodes()
            .iter()
            .any(|other| other.number != node && is_doubtful(cluster, other));
        !doubtful
            && voters_seen(cluster).all(|voters| {
                let is_voter = voters.iter().any(|voter| voter.broker == me);
                let lost = |voter: &&Voter| voter.broker == me || !is_present(cluster, **voter);
                !is_voter || voters.iter().filter(lost).count() * 2 < voters.len()
            })
    }

    /// Whether a power cut takes nothing but time: a replica whose last group was torn by it comes back as a suspect,
    /// and with another voter gone for good nobody could be elected.
    fn may_cut_power(&self, cluster: &Cluster) -> bool {
        // Its only checkpoint may be the one that has gone bad: whether its directory opens is known when it starts.
        let may_be_lost = |node: u8| self.has_been_bad_since_start(cluster, node);
        if self.victim.is_some_and(may_be_lost) {
            return false;
        }
        voters_seen(cluster).all(|voters| voters.iter().all(|it| is_present(cluster, *it)))
    }

    /// Whether a part of the victim's journal or of a checkpoint has gone bad, and it has not started since.
    fn has_been_bad_since_start(&self, cluster: &Cluster, victim: u8) -> bool {
        self.bad_since_start == Some(cluster.node(victim).starts)
    }

    /// Whether a power cut of this node alone can lose nothing that was acknowledged from memory: not where its
    /// memory is the only one.
    fn memory_survives(&self, cluster: &Cluster, node: u8) -> bool {
        if !self.replicated {
            return true;
        }
        // What is damaged may be whole in the page cache, and turn out to be lost later.
        let is_sound =
            |other: &Node| !is_doubtful(cluster, other) && self.damaged() != Some(other.number);
        let others_sound = cluster
            .nodes()
            .iter()
            .all(|other| other.process.is_some() && (other.number == node || is_sound(other)));
        self.replication_factor >= 2 && others_sound
    }
}

/// The voters of every partition, as each running replica sees them, and as it knows them to be committed, since a change
/// that is not may be lost with the power; and as the logs of nodes that are down name them.
fn voters_seen(cluster: &Cluster) -> impl Iterator<Item = Vec<Voter>> {
    cluster
        .nodes()
        .iter()
        .flat_map(move |node| match &node.process {
            Some(process) => counted_by(&process.broker),
            None => {
                let named = cluster.checkers.seen.voters_in(directory_of(node));
                named.map(<[Voter]>::to_vec).collect()
            }
        })
}

fn counted_by(broker: &Broker) -> Vec<Vec<Voter>> {
    let replicas = broker.replicas().filter_map(|(id, _)| broker.replica(id));
    let voters = replicas.flat_map(|it| [it.voters(), it.committed_voters().1]);
    voters.map(<[Voter]>::to_vec).collect()
}

fn directory_of(node: &Node) -> Voter {
    Voter {
        broker: node.broker(),
        directory: node.directory,
    }
}

/// Whether a voter's directory is still there.
fn is_present(cluster: &Cluster, voter: Voter) -> bool {
    cluster
        .nodes()
        .iter()
        .any(|node| node.broker() == voter.broker && node.directory == voter.directory)
}

/// Whether a replica of this node may have lost what it acknowledged, or may turn out to when it starts: after a sync
/// that has failed, or is about to, its machine is restarted.
fn is_doubtful(cluster: &Cluster, node: &Node) -> bool {
    let is_offline = node.process.as_ref().is_some_and(|process| process.offline);
    node.power_was_cut
        || is_offline
        || node.disk.is_armed()
        || cluster.checkers.seen.is_suspect(directory_of(node))
}
