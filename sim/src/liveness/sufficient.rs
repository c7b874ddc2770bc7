//! Which nodes ought to suffice for progress, judged by what nobody can argue with: their replicas' own voters.
//!
//! A core has, of every configuration of a partition that any running replica knows, a majority of voters that are
//! there and beyond doubt, or all of its voters. Beyond doubt is who has not been damaged, and is no suspect, whose
//! vote would not count. Every committed record is then on one of them, whole.
//!
//! What breaks beside the core is not noticed at once, and until then a leader may change the voters as if it were there:
//! see [`is_outdated`].

use std::collections::BTreeSet;

use varve_core::ids::{TopicPartition, Voter};
use varve_core::replica::ReplicaView;
use varve_core::store::Mark;

use crate::cluster::Cluster;
use crate::draw::Draw;
use crate::nemesis::Nemesis;

/// Nodes that ought to suffice.
pub type Core = BTreeSet<u8>;

/// Heals node after node in a drawn order, until they ought to suffice for these partitions, and what is between
/// them. `None` where that takes all nodes.
pub(super) fn heal_core(
    cluster: &mut Cluster,
    nemesis: &mut Nemesis,
    draw: &mut Draw,
    partitions: &[TopicPartition],
) -> Option<Core> {
    let mut order: Vec<u8> = cluster.nodes().iter().map(|node| node.number).collect();
    draw.shuffle(&mut order);
    let mut core = Core::new();
    for &node in &order {
        nemesis.heal_node(cluster, node);
        core.insert(node);
        let suffices = |&partition: &TopicPartition| suffices(cluster, nemesis, &core, partition);
        if partitions.iter().all(suffices) {
            break;
        }
    }
    nemesis.connect(cluster, &core);
    (core.len() < order.len()).then_some(core)
}

fn suffices(cluster: &Cluster, nemesis: &Nemesis, core: &Core, partition: TopicPartition) -> bool {
    let configurations = configurations(cluster, partition);
    !configurations.is_empty()
        && configurations.iter().all(|voters| {
            let there = within(cluster, core, partition, voters);
            let beyond_doubt = there
                .iter()
                .filter(|(node, view)| {
                    let damaged = nemesis.damaged() == Some(*node) || !view.holes.is_empty();
                    !view.mark.is_suspect() && !damaged
                })
                .count();
            let may_vote = there.iter().filter(|(_, view)| view.mark != Mark::New);
            beyond_doubt * 2 > voters.len() || may_vote.count() == voters.len()
        })
}

/// Whether a core suffices for some partition no more, since a leader has changed its voters and counted on `broken`:
/// nodes that broke when the core was healed, which it could not know yet. Any other change must leave a core what it
/// needs: a majority of the voters of each partition, and as many as are `needed` to take a record.
pub(super) fn is_outdated(
    cluster: &Cluster,
    nemesis: &Nemesis,
    core: &Core,
    broken: &Core,
    partitions: &[TopicPartition],
    needed: impl Fn(TopicPartition) -> usize,
) -> bool {
    let counted_on: Core = core.union(broken).copied().collect();
    let is_there = |voter: &&Voter| {
        let mut nodes = counted_on.iter().map(|&node| cluster.node(node));
        nodes.any(|node| node.broker() == voter.broker && node.directory == voter.directory)
    };
    let has_enough = |partition| {
        suffices(cluster, nemesis, core, partition)
            && voters_within(cluster, core, partition) >= needed(partition)
    };
    let mut lacking = partitions
        .iter()
        .filter(|&&partition| !has_enough(partition));
    lacking.any(|&partition| {
        configurations(cluster, partition).iter().all(|voters| {
            let there = voters.iter().filter(is_there).count();
            there * 2 > voters.len() && there >= needed(partition)
        })
    })
}

/// How many voters of a partition a core has at the least, whichever configuration is in force.
pub(super) fn voters_within(cluster: &Cluster, core: &Core, partition: TopicPartition) -> usize {
    configurations(cluster, partition)
        .iter()
        .map(|voters| within(cluster, core, partition, voters).len())
        .min()
        .unwrap_or(0)
}

/// The voters of a partition, as each running replica knows them. A learner that has heard nothing yet knows none.
fn configurations(cluster: &Cluster, partition: TopicPartition) -> BTreeSet<Vec<Voter>> {
    cluster
        .nodes()
        .iter()
        .filter_map(|node| cluster.view(node.number, partition))
        .map(|view| view.voters)
        .filter(|voters| !voters.is_empty())
        .collect()
}

/// Those of these voters that have their replica in a core: on which node, and what that shows.
fn within(
    cluster: &Cluster,
    core: &Core,
    partition: TopicPartition,
    voters: &[Voter],
) -> Vec<(u8, ReplicaView)> {
    let replica_of = |voter: &Voter| {
        let mut nodes = core.iter().map(|&node| cluster.node(node));
        let node = nodes
            .find(|node| node.broker() == voter.broker && node.directory == voter.directory)?;
        let view = cluster.view(node.number, partition)?;
        Some((node.number, view))
    };
    voters.iter().filter_map(replica_of).collect()
}
