//! Faults of the network: who cannot reach whom.

use std::collections::BTreeSet;

use crate::cluster::Cluster;
use crate::nemesis::budget::Cost;
use crate::nemesis::fault::{End, Fault, FaultId, Injected, Injection, Lengths, Occurrence};
use crate::network::Place;
use crate::node::show_nodes;

pub(super) const FAULTS: &[Fault] = &[
    // Nodes are cut off from the others, both ways.
    Fault {
        id: FaultId(5),
        name: "partition",
        cost: Cost::Availability,
        at_formation: true,
        inject: partition,
        end: End::WithCluster(unblock),
    },
    // What a node sends does not arrive, or what it is sent.
    Fault {
        id: FaultId(6),
        name: "one-way partition",
        cost: Cost::Availability,
        at_formation: true,
        inject: partition_one_way,
        end: End::WithCluster(unblock),
    },
    // A direction of a link is held up for a short time.
    Fault {
        id: FaultId(8),
        name: "clog",
        cost: Cost::Availability,
        at_formation: true,
        inject: |it, lengths| {
            let other = it.draw_other();
            let direction = (Place::Node(it.node), Place::Node(other));
            block(it, vec![direction]);
            Injected::For(lengths.short * 2)
        },
        end: End::WithCluster(unblock),
    },
    // A client is cut off from a node.
    Fault {
        id: FaultId(16),
        name: "client cut",
        cost: Cost::Availability,
        at_formation: true,
        inject: cut_client,
        end: End::WithCluster(unblock),
    },
    // A connection breaks.
    Fault {
        id: FaultId(7),
        name: "reset",
        cost: Cost::Availability,
        at_formation: true,
        inject: |it, _| {
            let (node, other) = (it.node, it.draw_other());
            if other != node {
                it.tell(format!("reset n{node} - n{other}"));
                it.cluster
                    .reset_between(Place::Node(node), Place::Node(other));
            }
            Injected::Once
        },
        end: End::AtOnce,
    },
    // A node's machine refuses new connections while its process runs, and those that it has with another break.
    Fault {
        id: FaultId(30),
        name: "refused dials",
        cost: Cost::Availability,
        at_formation: false,
        inject: |it, lengths| {
            let (node, other) = (it.node, it.draw_other());
            it.tell(format!("n{node} refuses new connections"));
            it.cluster.set_refusing(node, true);
            it.cluster
                .reset_between(Place::Node(node), Place::Node(other));
            Injected::For(lengths.long)
        },
        end: End::WithNode(|it| it.cluster.set_refusing(it.node, false)),
    },
];

fn partition(it: &mut Injection<'_>, lengths: Lengths) -> Injected {
    let mut side: Vec<u8> = it.nodes().collect();
    it.draw.shuffle(&mut side);
    let half = u64::from(it.cluster.options().nodes / 2);
    let size = it.draw.between(1, half.max(1));
    side.truncate(usize::try_from(size).unwrap_or(1));
    side.sort_unstable();
    let others: Vec<u8> = it.nodes().filter(|node| !side.contains(node)).collect();
    it.tell(format!(
        "cut {} | {}",
        show_nodes(&side),
        show_nodes(&others)
    ));
    let mut directions = Vec::new();
    for &one in &side {
        for &other in &others {
            directions.push((Place::Node(one), Place::Node(other)));
            directions.push((Place::Node(other), Place::Node(one)));
        }
    }
    block(it, directions);
    Injected::For(lengths.long)
}

fn partition_one_way(it: &mut Injection<'_>, lengths: Lengths) -> Injected {
    let node = it.node;
    let outgoing = it.draw.chance(500_000);
    let mut directions = Vec::new();
    for other in it.nodes().filter(|&other| other != node) {
        let (from, to) = if outgoing {
            (node, other)
        } else {
            (other, node)
        };
        if it.draw.chance(700_000) {
            directions.push((Place::Node(from), Place::Node(to)));
        }
    }
    it.tell(if outgoing {
        format!("one way: n{node} is not heard")
    } else {
        format!("one way: n{node} does not hear")
    });
    block(it, directions);
    Injected::For(lengths.long)
}

fn cut_client(it: &mut Injection<'_>, lengths: Lengths) -> Injected {
    let clients = it.cluster.clients().len() as u64;
    if clients == 0 {
        return Injected::Nothing;
    }
    let client = u8::try_from(it.draw.between(1, clients)).unwrap_or(1);
    it.tell(format!("cut c{client} - n{}", it.node));
    let (client, node) = (Place::Client(client), Place::Node(it.node));
    let mut directions = vec![(client, node)];
    if it.draw.chance(500_000) {
        directions.push((node, client));
    }
    block(it, directions);
    Injected::For(lengths.long)
}

fn block(it: &mut Injection<'_>, directions: Vec<(Place, Place)>) {
    it.blocks.add(it.cluster, it.occurrence, directions);
}

fn unblock(it: &mut Injection<'_>) {
    it.blocks.lift(it.cluster, it.occurrence);
}

/// What is blocked, by the occurrence that has blocked it, in the order in which they did.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks(Vec<(Occurrence, Vec<(Place, Place)>)>);

impl Blocks {
    /// Blocks these directions.
    pub(super) fn add(
        &mut self,
        cluster: &mut Cluster,
        occurrence: Occurrence,
        directions: Vec<(Place, Place)>,
    ) {
        for &(from, to) in &directions {
            cluster.block(from, to);
        }
        self.0.push((occurrence, directions));
    }

    /// Lifts what this occurrence has blocked.
    pub(super) fn lift(&mut self, cluster: &mut Cluster, occurrence: Occurrence) {
        let Some(place) = self.0.iter().position(|(known, _)| *known == occurrence) else {
            return;
        };
        let (_, directions) = self.0.remove(place);
        for (from, to) in directions {
            cluster.unblock(from, to);
        }
        if self.0.is_empty() {
            let now = cluster.now();
            cluster.trace.fault(now, "heal".to_owned());
        }
    }

    /// Lifts what blocks these nodes from each other and from clients.
    pub(super) fn lift_among(&mut self, cluster: &mut Cluster, nodes: &BTreeSet<u8>) {
        let inside = |place: Place| match place {
            Place::Node(node) => nodes.contains(&node),
            Place::Client(_) => true,
        };
        for (_, directions) in &mut self.0 {
            for (from, to) in directions.extract_if(.., |(from, to)| inside(*from) && inside(*to)) {
                cluster.unblock(from, to);
            }
        }
    }

    /// Forgets all of them, which have been lifted.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
