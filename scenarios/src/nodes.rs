//! Nodes: killed, paused, cut from their power, stopped; and what an operator wants of them.

use crate::{PATIENCE, Scenario};
use varve_core::ids::{PartitionIndex, TopicPartition};
use varve_core::peer::PeerVersions;
use varve_sim::node::show_nodes;

impl Scenario {
    /// The node's process dies; what it wrote stays.
    pub fn kill(&mut self, node: u8) {
        self.told(format!("kill n{node}"));
        self.cluster_mut().kill(node);
    }

    /// The node's process dies and is started again at once.
    pub fn restart(&mut self, node: u8) {
        self.kill(node);
        self.start(node);
    }

    /// The node's process is started on what its disk has.
    pub fn start(&mut self, node: u8) {
        self.cluster_mut().start(node);
        self.check();
    }

    /// The node stops in good order and is started again with this build.
    pub fn upgrade(&mut self, node: u8) {
        self.stop(node);
        self.told(format!("upgrade n{node}"));
        self.cluster_mut().install(node, PeerVersions::SUPPORTED);
        self.start(node);
        self.run_until_converged(PATIENCE);
    }

    /// The node loses power, and any part of what its disk had not synced.
    pub fn power_cut(&mut self, node: u8) {
        self.told(format!("power cut n{node}"));
        self.cluster_mut().power_cut(node);
    }

    /// All nodes lose power at once.
    pub fn power_cut_all(&mut self) {
        self.told("power cut of all".to_owned());
        for node in 1..=self.options.nodes {
            self.cluster_mut().power_cut(node);
        }
    }

    /// The node dies in the middle of a step of its broker, when this many more effects have been carried out.
    pub fn crash_after_effects(&mut self, node: u8, effects: u32) {
        self.cluster_mut().crash_after_effects(node, effects);
    }

    /// An operator wants the partition's replicas on these nodes, the preferred leader first.
    pub fn reassign(&mut self, nodes: &[u8]) {
        self.told(format!("target {}", show_nodes(nodes)));
        let partition = self.partition();
        self.cluster_mut().reassign(partition, nodes);
    }

    /// Has this node lead all partitions of the topic.
    pub fn lead_all(&mut self, node: u8) {
        let others = (1..=self.replicas).filter(|&other| other != node);
        let target: Vec<u8> = std::iter::once(node).chain(others).collect();
        for partition in self.all_partitions() {
            self.cluster_mut().reassign(partition, &target);
        }
        let leads = |s: &Self, partition| {
            let view = s.cluster().view(node, partition);
            view.is_some_and(|view| view.role == "leader")
        };
        self.run_until(|s| s.all_partitions().all(|it| leads(s, it)), PATIENCE);
    }

    pub(crate) fn all_partitions(&self) -> impl Iterator<Item = TopicPartition> + use<> {
        let first = self.partition();
        (0..self.partitions).map(move |index| TopicPartition {
            partition: PartitionIndex(index),
            ..first
        })
    }

    /// Whether a node runs and has a replica of the partition.
    #[must_use]
    pub fn has_replica(&self, node: u8) -> bool {
        self.cluster().view(node, self.partition()).is_some()
    }

    /// Nodes that run and have no replica of the partition, in order.
    #[must_use]
    pub fn others(&self) -> Vec<u8> {
        (1..=self.options.nodes)
            .filter(|&node| !self.has_replica(node))
            .collect()
    }

    /// The node dies and its log directory is lost; it will start on an empty one.
    pub fn wipe(&mut self, node: u8) {
        self.told(format!("n{node} loses its disk"));
        self.cluster_mut().kill(node);
        self.cluster_mut().wipe(node);
    }

    /// The node's process stands still, and its clock goes on.
    pub fn pause(&mut self, node: u8) {
        self.told(format!("pause n{node}"));
        self.cluster_mut().pause(node);
    }

    /// The node's process goes on, with everything that has reached it meanwhile.
    pub fn resume(&mut self, node: u8) {
        self.told(format!("resume n{node}"));
        self.cluster_mut().resume(node);
        self.check();
    }

    /// Asks the node to stop in good order.
    pub fn begin_stop(&mut self, node: u8) {
        self.told(format!("stop n{node}"));
        self.cluster_mut().stop(node);
    }

    /// The same, and waits until it has; then its process ends.
    pub fn stop(&mut self, node: u8) {
        self.begin_stop(node);
        self.run_until(
            |s| {
                let process = &s.cluster().node(node).process;
                process.as_ref().is_none_or(|process| process.stopped)
            },
            PATIENCE,
        );
        self.cluster_mut().kill(node);
    }

    /// The node's wall clock jumps, forth or back.
    pub fn jump_wall_clock(&mut self, node: u8, millis: i64) {
        self.told(format!("wall clock of n{node} jumps by {millis}ms"));
        self.cluster_mut().jump_wall_clock(node, millis);
    }
}
