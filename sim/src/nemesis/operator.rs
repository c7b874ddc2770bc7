//! What is not broken and hits a cluster all the same: what its operator asks for.

use std::collections::BTreeSet;

use varve_core::ids::TopicPartition;

use crate::checkers::show_partition;
use crate::cluster::Cluster;
use crate::nemesis::budget::Cost;
use crate::nemesis::fault::{End, Fault, FaultId, Injected, Injection, Lengths};
use crate::node::show_nodes;

pub(super) const FAULTS: &[Fault] = &[
    // An operator wants a partition's replicas elsewhere.
    Fault {
        id: FaultId(29),
        name: "planned move",
        cost: Cost::Availability,
        at_formation: false,
        inject: reassign,
        end: End::AtOnce,
    },
];

fn reassign(it: &mut Injection<'_>, _: Lengths) -> Injected {
    let partitions: Vec<TopicPartition> = partitions_held(it.cluster).into_iter().collect();
    let Some(&partition) = it.draw.pick(&partitions) else {
        return Injected::Nothing;
    };
    let mut nodes: Vec<u8> = it.nodes().collect();
    it.draw.shuffle(&mut nodes);
    nodes.truncate(usize::try_from(it.budget.replication_factor).unwrap_or(1));
    let name = show_partition(partition);
    it.tell(format!("{name} is wanted on {}", show_nodes(&nodes)));
    it.cluster.reassign(partition, &nodes);
    Injected::Once
}

/// The partitions of topics of which a running node has a replica.
fn partitions_held(cluster: &Cluster) -> BTreeSet<TopicPartition> {
    let processes = cluster
        .nodes()
        .iter()
        .filter_map(|node| node.process.as_ref());
    let held =
        processes.flat_map(|process| process.broker.replicas().map(|(partition, _)| partition));
    held.filter(|&partition| partition != TopicPartition::METADATA)
        .collect()
}
