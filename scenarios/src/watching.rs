//! Time that passes, what is seen of the cluster, and what the transcript shows.

use crate::{PATIENCE, Scenario, file_stem, verdict};
use std::panic::Location;
use std::time::Duration;
use varve_core::hooks::Probe;
use varve_core::ids::{Offset, Timestamp, TopicPartition, Voter};
use varve_core::replica::ReplicaView;
use varve_sim::cluster::Cluster;

impl Scenario {
    /// Lets this much time pass.
    pub fn run_for(&mut self, time: Duration) {
        let cluster = self.cluster_mut();
        let end = cluster.now() + time;
        cluster.run_until(end, |_, _| {});
        self.check();
    }

    /// Lets time pass until this holds; it is looked at after every event.
    ///
    /// # Panics
    /// Where it does not hold within `timeout`.
    #[track_caller]
    pub fn run_until(&mut self, holds: impl Fn(&Self) -> bool, timeout: Duration) {
        let end = self.cluster().now() + timeout;
        while !holds(self) {
            if self.cluster().now() >= end {
                let at = Location::caller();
                self.fail(&format!(
                    "what {}:{} waits for does not happen within {}ms",
                    file_stem(at),
                    at.line(),
                    timeout.as_millis()
                ));
            }
            let cluster = self.cluster_mut();
            let next = cluster.next_at().map_or(end, |at| at.min(end));
            cluster.run_until(next, |_, _| {});
            self.check();
        }
    }

    /// Lets time pass until there is one leader, and all running replicas have, durably and committed, what the
    /// others have. The same of the metadata.
    #[track_caller]
    pub fn run_until_converged(&mut self, timeout: Duration) {
        self.run_until(|s| verdict::is_converged(s.cluster(), s.partition), timeout);
    }

    /// Who leads the partition: of all who say so, the one in the latest epoch.
    ///
    /// # Panics
    /// Where nobody does.
    #[must_use]
    pub fn leader(&self) -> u8 {
        self.leader_if_any().expect("the partition has a leader")
    }

    /// Who leads the partition, where anybody does.
    #[must_use]
    pub fn leader_if_any(&self) -> Option<u8> {
        self.leader_of(self.partition())
    }

    /// Who leads the metadata: the controller.
    ///
    /// # Panics
    /// Where nobody does.
    #[must_use]
    pub fn controller(&self) -> u8 {
        self.leader_of(TopicPartition::METADATA)
            .expect("the metadata have a leader")
    }

    /// Somebody else is the controller.
    #[must_use]
    pub fn controller_other_than(&self, old: u8) -> bool {
        self.leader_of(TopicPartition::METADATA)
            .is_some_and(|controller| controller != old)
    }

    pub(crate) fn leader_of(&self, partition: TopicPartition) -> Option<u8> {
        (1..=self.options.nodes)
            .filter_map(|node| Some((node, self.cluster().view(node, partition)?)))
            .filter(|(_, view)| view.role == "leader")
            .max_by_key(|(_, view)| view.leader_epoch)
            .map(|(node, _)| node)
    }

    /// Somebody else leads, in a later epoch, and its opening is committed.
    #[must_use]
    pub fn leader_other_than(&self, old: u8) -> bool {
        self.leader_if_any()
            .is_some_and(|leader| leader != old && self.view(leader).high_watermark.is_some())
    }

    /// The nodes that follow, in order.
    #[must_use]
    pub fn followers(&self) -> Vec<u8> {
        let leader = self.leader();
        (1..=self.options.nodes)
            .filter(|&node| node != leader && self.cluster().view(node, self.partition()).is_some())
            .collect()
    }

    /// The nodes that the leader says are in sync, in order.
    #[must_use]
    pub fn in_sync(&self) -> Vec<u8> {
        let process = self.cluster().node(self.leader()).process.as_ref();
        let replica = process.and_then(|process| process.broker.replica(self.partition()));
        let isr = replica.expect("the leader has a replica").isr().iter();
        isr.filter_map(|broker| u8::try_from(broker.0).ok())
            .collect()
    }

    /// The partition's replica on a node.
    ///
    /// # Panics
    /// Where the node does not run or has none.
    #[must_use]
    pub fn view(&self, node: u8) -> ReplicaView {
        self.cluster()
            .view(node, self.partition())
            .expect("the node runs and has a replica")
    }

    /// The metadata's replica on a node.
    ///
    /// # Panics
    /// Where the node does not run.
    #[must_use]
    pub fn view_of_metadata(&self, node: u8) -> ReplicaView {
        self.cluster()
            .view(node, TopicPartition::METADATA)
            .expect("the node runs")
    }

    /// The end of the node's log: the next offset.
    #[must_use]
    pub fn log_end_offset(&self, node: u8) -> i64 {
        self.view(node).end.end_offset.0
    }

    /// What the node's wall clock shows.
    #[must_use]
    pub fn wall_clock(&self, node: u8) -> Timestamp {
        let cluster = self.cluster();
        cluster.node(node).clock.wall(cluster.now())
    }

    /// The greatest timestamp of the batch that begins at this offset of the node's log.
    ///
    /// # Panics
    /// Where none does.
    #[must_use]
    pub fn timestamp_at(&self, node: u8, offset: i64) -> Timestamp {
        let seen = &self.cluster().checkers.seen;
        let header = seen.header_at(self.partition(), self.voter(node), Offset(offset));
        header.expect("a batch begins there").max_timestamp
    }

    /// How many idempotent producers the node's replica knows.
    ///
    /// # Panics
    /// Where the node does not run or has none.
    #[must_use]
    pub fn producers_known(&self, node: u8) -> usize {
        let broker = self.cluster().broker(node).expect("the node runs");
        let replica = broker.replica(self.partition());
        replica.expect("it has a replica").producers().table().len()
    }

    /// How far the node has applied the metadata: the next offset.
    ///
    /// # Panics
    /// Where the node does not run.
    #[must_use]
    pub fn metadata_offset(&self, node: u8) -> i64 {
        let broker = self.cluster().broker(node);
        broker.expect("the node runs").metadata_offset().0
    }

    /// The node as voters are named.
    #[must_use]
    pub fn voter(&self, node: u8) -> Voter {
        let node = self.cluster().node(node);
        Voter {
            broker: node.broker(),
            directory: node.directory,
        }
    }

    /// Whether a rare place of the core was reached.
    #[must_use]
    pub fn reached(&self, probe: Probe) -> bool {
        self.cluster().probes().any(|reached| reached == probe)
    }

    /// The cluster itself.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        self.cluster.as_ref().expect("a leader has been elected")
    }

    /// The cluster itself, for what has no verb.
    pub fn cluster_mut(&mut self) -> &mut Cluster {
        self.cluster.as_mut().expect("a leader has been elected")
    }

    pub(crate) fn partition(&self) -> TopicPartition {
        self.partition.expect("a leader has been elected")
    }

    /// The interesting part starts here: everything so far comes to rest, and its trace is forgotten.
    pub fn trace(&mut self) {
        self.run_until_converged(PATIENCE);
        self.trace_from_here();
    }

    /// The interesting part starts here, in the middle of what goes wrong.
    pub fn trace_from_here(&mut self) {
        self.trace_of(self.partition());
    }

    /// The interesting part starts here, and is what becomes of the metadata.
    pub fn trace_metadata(&mut self) {
        self.run_until_converged(PATIENCE);
        self.trace_of(TopicPartition::METADATA);
    }

    pub(crate) fn trace_of(&mut self, partition: TopicPartition) {
        let nodes = self.options.nodes;
        let cluster = self.cluster_mut();
        let now = cluster.now();
        cluster.trace.begin(now, Some(partition));
        for node in 1..=nodes {
            if let Some(view) = cluster.view(node, partition) {
                cluster.trace.state(now, node, partition, &view);
            }
        }
    }

    /// The interesting part ends here; the story, its claim and the checkers go on.
    pub fn trace_ends(&mut self) {
        self.cluster_mut().trace.end();
    }

    pub(crate) fn told(&mut self, text: String) {
        let cluster = self.cluster_mut();
        let now = cluster.now();
        cluster.trace.fault(now, text);
    }
}
