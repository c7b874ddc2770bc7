//! Fencing stops placement: a new partition is placed on brokers that are fenced, or stopping, only where there are too
//! few others, and then it is not such a one that is to lead.

use std::collections::BTreeSet;

use varve_core::cluster::MetadataRecord;
use varve_core::ids::{BrokerId, Voter};

use super::{Checker, Observed, Step, show_partition};

/// See the module.
#[derive(Debug, Default)]
pub struct FencedBrokersAreGivenNothing {
    /// Brokers that may be given replicas, by the committed metadata.
    active: BTreeSet<BrokerId>,
}

impl Checker for FencedBrokersAreGivenNothing {
    fn name(&self) -> &'static str {
        "FencedBrokersAreGivenNothing"
    }

    fn on_step(&mut self, seen: &Observed, _step: &Step<'_>) -> Result<(), String> {
        for record in seen.metadata_news() {
            match record {
                MetadataRecord::UnfenceBroker { broker, .. } => {
                    self.active.insert(*broker);
                }
                MetadataRecord::FenceBroker { broker, .. }
                | MetadataRecord::StopBroker { broker, .. }
                | MetadataRecord::UnregisterBroker { broker } => {
                    self.active.remove(broker);
                }
                MetadataRecord::RegisterBroker { registration } => {
                    self.active.remove(&registration.broker);
                }
                MetadataRecord::Partition {
                    partition, target, ..
                } => {
                    if let Some(broker) = self.misplaced(target) {
                        return Err(format!(
                            "{} is placed on n{broker}, which is fenced, and not where it could be",
                            show_partition(*partition)
                        ));
                    }
                }
                MetadataRecord::Topic { .. }
                | MetadataRecord::RemoveTopic { .. }
                | MetadataRecord::PartitionTarget { .. }
                | MetadataRecord::Reassignment { .. }
                | MetadataRecord::PartitionVoters { .. }
                | MetadataRecord::Config { .. }
                | MetadataRecord::ProducerIds { .. }
                | MetadataRecord::Feature { .. } => {}
            }
        }
        Ok(())
    }
}

impl FencedBrokersAreGivenNothing {
    fn misplaced(&self, target: &[Voter]) -> Option<BrokerId> {
        let fenced = |broker: &BrokerId| !self.active.contains(broker);
        let target: Vec<BrokerId> = target.iter().map(|voter| voter.broker).collect();
        let all_used = self.active.iter().all(|broker| target.contains(broker));
        let first = target.iter().copied().find(fenced);
        first.filter(|broker| !all_used || target.first() == Some(broker))
    }
}
