//! What must hold at the end, when everything is healed: all is answered, read, and the same everywhere.

use std::collections::BTreeSet;

use bytes::Bytes;
use varve_core::ids::{BrokerId, Offset, TopicPartition, Voter};
use varve_core::store::{Query, QueryId, QueryKind, QueryResult};

use crate::checkers::{Violation, show_partition};
use crate::client::Consumer;
use crate::cluster::Cluster;
use crate::liveness::{Topic, partitions_of};
use crate::node::Node;

/// What is still to be done, in words.
pub(super) fn unfinished(
    cluster: &Cluster,
    producers: &[u8],
    reader: u8,
    topics: &[Topic],
) -> Option<String> {
    if let Some(what) = unanswered(cluster, producers) {
        return Some(what);
    }
    let partitions = match partitions_of(&cluster.client(reader).network, topics) {
        Ok(partitions) => partitions,
        Err(topic) => return Some(format!("{topic} is not found in the metadata")),
    };
    for &partition in partitions.keys() {
        let end = match converged_end(cluster, partition) {
            Ok(end) => end,
            Err(what) => return Some(what),
        };
        if partition != TopicPartition::METADATA
            && let Some(what) = unread(cluster, reader, partition, end)
        {
            return Some(what);
        }
    }
    None
}

/// The producer that has not been answered, in words.
pub(super) fn unanswered(cluster: &Cluster, producers: &[u8]) -> Option<String> {
    let waits = |number: &&u8| !cluster.client(**number).is_done();
    let number = producers.iter().find(waits)?;
    Some(format!("a batch of c{number} has not been answered"))
}

/// What a consumer has not read of a partition that reaches up to `end`, in words.
pub(super) fn unread(
    cluster: &Cluster,
    reader: u8,
    partition: TopicPartition,
    end: Offset,
) -> Option<String> {
    let consumer: &Consumer = cluster.client(reader).work();
    let position = consumer.position(partition);
    (position < end).then(|| {
        format!(
            "a consumer has read {} up to {position} of {end}",
            show_partition(partition)
        )
    })
}

/// Where all replicas of a partition end, once they are the same and whole; or why they are not, in words.
fn converged_end(cluster: &Cluster, partition: TopicPartition) -> Result<Offset, String> {
    let name = show_partition(partition);
    let mut leaders = 0;
    let mut ends = BTreeSet::new();
    let mut voters = BTreeSet::new();
    let mut holders = BTreeSet::new();
    let mut committed = BTreeSet::new();
    for node in cluster.nodes() {
        let Some(view) = cluster.view(node.number, partition) else {
            continue;
        };
        if is_left_over(cluster, node, partition) {
            continue;
        }
        if view.role == "leader" {
            leaders += 1;
            voters = view.voters.iter().copied().collect();
        }
        ends.insert(view.durable);
        ends.insert(view.end);
        committed.insert(view.committed);
        holders.insert(Voter {
            broker: node.broker(),
            directory: node.directory,
        });
        if !view.holes.is_empty() {
            return Err(format!("n{} has a hole in {name}", node.number));
        }
    }
    if leaders != 1 {
        return Err(format!("{name} has {leaders} leaders"));
    }
    told_of_leader(cluster, partition)?;
    let images = cluster
        .nodes()
        .iter()
        .filter_map(|node| node.process.as_ref());
    for process in images {
        let known = process.broker.image().partition(partition);
        let target = known.map(|known| known.target.iter().copied().collect());
        if target.is_some_and(|target: BTreeSet<Voter>| !target.is_empty() && target != voters) {
            return Err(format!("the voters of {name} are not those wanted"));
        }
    }
    if !voters.is_subset(&holders) {
        return Err(format!("a voter of {name} is a directory that is no more"));
    }
    match ends.first() {
        Some(end) if ends.len() == 1 && committed == ends => Ok(end.end_offset),
        Some(_) | None => Err(format!("the replicas of {name} have not converged")),
    }
}

/// Whether nobody counts on this copy any more: neither the leader's log nor the metadata name it. Where its own log ends
/// with a voter note that was never committed, it is kept until a later report of the partition's voters.
fn is_left_over(cluster: &Cluster, node: &Node, partition: TopicPartition) -> bool {
    let me = Voter {
        broker: node.broker(),
        directory: node.directory,
    };
    partition != TopicPartition::METADATA
        && cluster.nodes().iter().all(|other| {
            let leads = cluster
                .view(other.number, partition)
                .is_some_and(|view| view.role == "leader" && view.voters.contains(&me));
            let process = other.process.as_ref();
            let known = process.and_then(|process| process.broker.image().partition(partition));
            !leads && known.is_none_or(|known| !known.target.contains(&me))
        })
}

/// Whether every broker tells its clients who leads a partition; who tells something else, in words.
fn told_of_leader(cluster: &Cluster, partition: TopicPartition) -> Result<(), String> {
    let leads = |number| {
        let view = cluster.view(number, partition);
        view.is_some_and(|view| view.role == "leader")
    };
    let leader = cluster.nodes().iter().find(|node| leads(node.number));
    let leader = leader.map(Node::broker);
    for node in cluster.nodes() {
        let Some(process) = &node.process else {
            continue;
        };
        let told = process
            .broker
            .leader_for_clients(partition, cluster.hooks());
        if told != leader {
            let show = |it: Option<BrokerId>| it.map_or("nobody".to_owned(), |it| format!("n{it}"));
            return Err(format!(
                "n{} tells clients that {} leads {}, and {} does",
                node.number,
                show(told),
                show_partition(partition),
                show(leader)
            ));
        }
    }
    Ok(())
}

/// Demands of every replica that what it knows of producers is what its log gives, once nothing happens any more.
///
/// # Errors
/// The replica that knows something else.
pub fn compare_producers(cluster: &Cluster) -> Result<(), Violation> {
    let seen = &cluster.checkers.seen;
    for partition in seen.partitions() {
        for node in cluster.nodes() {
            let process = node.process.as_ref();
            let Some(replica) = process.and_then(|process| process.broker.replica(partition))
            else {
                continue;
            };
            let me = Voter {
                broker: node.broker(),
                directory: node.directory,
            };
            let table = replica.producers().table();
            if seen.producers_at(partition, me, Offset(i64::MAX)) != *table {
                return Err(Violation {
                    checker: "ProducerStateFollowsLog",
                    what: format!(
                        "n{} knows other producers of {} than its log gives",
                        node.number,
                        show_partition(partition)
                    ),
                });
            }
        }
    }
    Ok(())
}

/// Reads every replica from its own disk and compares them byte by byte.
pub(super) fn compare_replicas(
    cluster: &mut Cluster,
    damaged: Option<u8>,
) -> Result<(), Violation> {
    let partitions: Vec<TopicPartition> = cluster.checkers.seen.partitions().collect();
    for partition in partitions {
        let mut first: Option<(u8, Bytes)> = None;
        for node in 1..=cluster.options().nodes {
            let Some(view) = cluster.view(node, partition) else {
                continue;
            };
            if is_left_over(cluster, cluster.node(node), partition) {
                continue;
            }
            let bytes = match read_all(cluster, node, partition, view.committed.end_offset) {
                Ok(bytes) => bytes,
                // Damage that nobody has read yet is found when somebody does, and repaired then.
                Err(_) if damaged == Some(node) => continue,
                Err(violation) => return Err(violation),
            };
            match &first {
                None => first = Some((node, bytes)),
                Some((other, known)) if *known != bytes => {
                    return Err(Violation {
                        checker: "ReplicasAreByteIdentical",
                        what: format!(
                            "n{other} and n{node} have different bytes of {} on disk",
                            show_partition(partition)
                        ),
                    });
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

fn read_all(
    cluster: &Cluster,
    node: u8,
    partition: TopicPartition,
    end: Offset,
) -> Result<Bytes, Violation> {
    let mut all = Vec::new();
    let mut offset = Offset(0);
    let Some(process) = &cluster.node(node).process else {
        return Ok(Bytes::new());
    };
    while offset < end {
        let result = process.store.query(&Query {
            id: QueryId(0),
            replica: partition,
            kind: QueryKind::Read {
                offset,
                end,
                bytes_max: 1 << 20,
            },
        });
        let mut bytes = match result {
            QueryResult::Records(bytes) if !bytes.is_empty() => bytes,
            QueryResult::Records(_) | QueryResult::Found(_) | QueryResult::Failed(_) => {
                return Err(Violation {
                    checker: "EverythingCommittedCanBeRead",
                    what: format!(
                        "n{node} cannot read {} at {offset} from its disk",
                        show_partition(partition)
                    ),
                });
            }
        };
        all.extend_from_slice(&bytes);
        while let Ok(batch) = varve_core::record::Batch::split_from(&mut bytes) {
            offset = batch.header.next_offset();
        }
    }
    Ok(Bytes::from(all))
}
