//! What a core is asked to do, and what of it has not been done.

use std::time::Duration;

use varve_core::ids::TopicPartition;

use crate::checkers::show_partition;
use crate::client::{Consumer, Producer, TopicCreator};
use crate::cluster::Cluster;
use crate::history::{Fate, Value};
use crate::liveness::convergence::{unanswered, unread};
use crate::liveness::sufficient::Core;

/// The topic that the cluster is to be administered with.
const NEW_TOPIC: &str = "u";

/// What a core is asked to do.
#[derive(Debug)]
pub(super) struct Demands {
    /// Every partition must have a leader.
    partitions: Vec<TopicPartition>,
    /// These records must be acknowledged.
    written: Vec<(TopicPartition, Value)>,
    /// Producers that must be answered.
    producers: Vec<u8>,
    /// A consumer that must read everything that was acknowledged.
    reader: u8,
    /// An administrator whose topic must be created.
    administrator: u8,
}

impl Demands {
    /// Asks a core for everything: of `partitions`, whose topics have these names, and of `producers`, who wait for
    /// answers. Excused partitions need only answer, and who may be waiting for them need not be answered.
    pub(super) fn new(
        cluster: &mut Cluster,
        topics: &[&str],
        partitions: Vec<TopicPartition>,
        producers: &[u8],
        excused: &[TopicPartition],
    ) -> Self {
        let writer = cluster.add_client(topics, manual_producer());
        let mut once = manual_producer();
        once.idempotent = false;
        once.retries = false;
        let asker = cluster.add_client(topics, once);
        let reader = cluster.add_client(topics, Consumer::default());
        let creator = TopicCreator::new(1, 1, Vec::new());
        let administrator = cluster.add_client(&[NEW_TOPIC], creator);
        let mut written = Vec::new();
        for &partition in &partitions {
            if partition == TopicPartition::METADATA {
                continue;
            }
            if excused.contains(&partition) {
                cluster.produce(asker, partition, 1);
            } else {
                let values = cluster.produce(writer, partition, 1);
                written.extend(values.into_iter().map(|value| (partition, value)));
            }
        }
        let mut answered = vec![asker];
        if excused.is_empty() {
            answered.extend(producers);
        }
        Self {
            partitions,
            written,
            producers: answered,
            reader,
            administrator,
        }
    }

    /// What has not been done, in words.
    pub(super) fn unmet(&self, cluster: &Cluster, core: &Core) -> Option<String> {
        for &partition in &self.partitions {
            let views = core.iter().filter_map(|&n| cluster.view(n, partition));
            let leaders = views.filter(|view| view.role == "leader").count();
            if leaders != 1 {
                let name = show_partition(partition);
                return Some(format!("{name} has {leaders} leaders in the core"));
            }
        }
        for &(partition, value) in &self.written {
            let fate = cluster.history.fate(value);
            if !matches!(fate, Some(Fate::Acknowledged(_))) {
                let name = show_partition(partition);
                return Some(format!("a new record of {name} is not acknowledged"));
            }
        }
        if let Some(what) = unanswered(cluster, &self.producers) {
            return Some(what);
        }
        for &partition in &self.partitions {
            let end = cluster.history.acknowledged_end(partition);
            if let Some(what) = unread(cluster, self.reader, partition, end) {
                return Some(what);
            }
        }
        let created = cluster.client(self.administrator).is_done();
        (!created).then(|| "a new topic has not been created".to_owned())
    }
}

/// A producer that sends what it is told to.
fn manual_producer() -> Producer {
    Producer::new(0, Duration::ZERO)
}
