//! What the metadata log says of topics, as far as checkers ask.

use std::collections::{BTreeMap, BTreeSet};

use varve_core::cluster::{ConfigResource, MetadataRecord};
use varve_core::ids::TopicId;

/// Of every record that was ever ordered of a metadata log, committed or not.
#[derive(Clone, Debug, Default)]
pub(super) struct Topics {
    insync_min: BTreeMap<TopicId, usize>,
    removed: BTreeSet<TopicId>,
}

impl Topics {
    /// Takes the records of a batch of the metadata log.
    pub(super) fn take(&mut self, records: &[MetadataRecord]) {
        for record in records {
            match record {
                MetadataRecord::Config {
                    resource: ConfigResource::Topic(topic),
                    key,
                    value,
                } if key == "min.insync.replicas" => {
                    let value = value.as_ref().and_then(|value| value.parse().ok());
                    self.insync_min.insert(*topic, value.unwrap_or(1));
                }
                MetadataRecord::RemoveTopic { id } => {
                    self.removed.insert(*id);
                }
                MetadataRecord::Config { .. }
                | MetadataRecord::RegisterBroker { .. }
                | MetadataRecord::FenceBroker { .. }
                | MetadataRecord::UnfenceBroker { .. }
                | MetadataRecord::StopBroker { .. }
                | MetadataRecord::UnregisterBroker { .. }
                | MetadataRecord::Topic { .. }
                | MetadataRecord::Partition { .. }
                | MetadataRecord::PartitionTarget { .. }
                | MetadataRecord::Reassignment { .. }
                | MetadataRecord::PartitionVoters { .. }
                | MetadataRecord::ProducerIds { .. }
                | MetadataRecord::Feature { .. } => {}
            }
        }
    }

    /// The topic's `min.insync.replicas`.
    pub(super) fn insync_min(&self, topic: TopicId) -> usize {
        self.insync_min.get(&topic).copied().unwrap_or(1)
    }

    /// Whether the topic has been deleted.
    pub(super) fn is_removed(&self, topic: TopicId) -> bool {
        self.removed.contains(&topic)
    }
}
