//! Producer state is what the log prefix implies: what a replica recovers equals the table that the headers of
//! its log give, and the log itself never holds one batch of an idempotent producer twice.

use std::collections::{BTreeMap, BTreeSet};

use varve_core::effect::Effect;
use varve_core::ids::{Offset, ProducerEpoch, ProducerId, TopicPartition, Voter};
use varve_core::log::Entry;
use varve_core::producer::ProducerTable;
use varve_core::record::BatchHeader;
use varve_core::store::{OrderKind, Recovered};

use super::{Checker, Observed, Step, show_partition, show_replica};

/// See the module.
#[derive(Debug, Default)]
pub struct ProducerStateFollowsLog {
    /// By replica: the headers of its log, in order, by base offset.
    logs: BTreeMap<(TopicPartition, Voter), BTreeMap<Offset, BatchHeader>>,
    /// By replica: what stands in its log, and where.
    sequences:
        BTreeMap<(TopicPartition, Voter), BTreeSet<(ProducerId, ProducerEpoch, i32, Offset)>>,
}

impl Checker for ProducerStateFollowsLog {
    fn name(&self) -> &'static str {
        "ProducerStateFollowsLog"
    }

    fn on_step(&mut self, _seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            let Effect::Store(order) = effect else {
                continue;
            };
            let key = (order.replica, step.me);
            match &order.kind {
                OrderKind::Append { entries, .. } => {
                    for entry in entries {
                        if let Entry::Batch(batch) = entry {
                            self.append(key, &batch.header)?;
                        }
                    }
                }
                OrderKind::Truncate { to } => self.truncate(key, to.end_offset),
                OrderKind::Delete => self.truncate(key, Offset(0)),
                OrderKind::Create { .. }
                | OrderKind::StoreVote(_)
                | OrderKind::SetMark(_)
                | OrderKind::Fill { .. }
                | OrderKind::AcceptLoss { .. }
                | OrderKind::SaveSnapshot { .. } => {}
            }
        }
        Ok(())
    }

    fn on_start(&mut self, _seen: &Observed, recovered: &Recovered) -> Result<(), String> {
        let me = Voter {
            broker: recovered.broker,
            directory: recovered.directory,
        };
        for replica in &recovered.replicas {
            let key = (replica.replica, me);
            self.truncate(key, replica.end.end_offset);
            let headers = self.logs.entry(key).or_default();
            let mut expected = ProducerTable::new(replica.producers.expiry());
            for header in headers
                .range(..replica.producers_offset)
                .map(|(_, header)| header)
            {
                expected.apply(header);
            }
            if expected != replica.producers {
                return Err(format!(
                    "{} of {} recovers a producer table at {} that its log does not give",
                    show_replica(me),
                    show_partition(replica.replica),
                    replica.producers_offset
                ));
            }
            let behind: Vec<&BatchHeader> = headers
                .range(replica.producers_offset..)
                .map(|(_, header)| header)
                .collect();
            if !behind.iter().copied().eq(&replica.headers) {
                return Err(format!(
                    "{} of {} recovers other batches from {} on than it was ordered to store",
                    show_replica(me),
                    show_partition(replica.replica),
                    replica.producers_offset
                ));
            }
        }
        Ok(())
    }
}

impl ProducerStateFollowsLog {
    fn append(&mut self, key: (TopicPartition, Voter), header: &BatchHeader) -> Result<(), String> {
        self.logs
            .entry(key)
            .or_default()
            .insert(header.base_offset, *header);
        if header.producer_id == ProducerId::NONE || header.base_sequence < 0 {
            return Ok(());
        }
        let sequences = self.sequences.entry(key).or_default();
        let name = (
            header.producer_id,
            header.producer_epoch,
            header.base_sequence,
        );
        let first = (name.0, name.1, name.2, Offset(0));
        let last = (name.0, name.1, name.2, Offset(i64::MAX));
        if let Some((.., offset)) = sequences.range(first..=last).next() {
            return Err(format!(
                "{} of {} appends the batch of producer {} with sequence {} twice, at {offset} and at {}",
                show_replica(key.1),
                show_partition(key.0),
                name.0,
                name.2,
                header.base_offset
            ));
        }
        sequences.insert((name.0, name.1, name.2, header.base_offset));
        Ok(())
    }

    fn truncate(&mut self, key: (TopicPartition, Voter), to: Offset) {
        if let Some(log) = self.logs.get_mut(&key) {
            let dropped = log.split_off(&to);
            if let Some(sequences) = self.sequences.get_mut(&key) {
                for header in dropped.values() {
                    sequences.remove(&(
                        header.producer_id,
                        header.producer_epoch,
                        header.base_sequence,
                        header.base_offset,
                    ));
                }
            }
        }
    }
}
