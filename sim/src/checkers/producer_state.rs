//! Producer state is what the log prefix implies: what a replica recovers equals the table that the headers and
//! clock ticks of its log give, and the log itself never holds one batch of an idempotent producer twice.

use std::collections::BTreeMap;

use varve_core::effect::Effect;
use varve_core::ids::{Offset, ProducerEpoch, ProducerId, TopicPartition, Voter};
use varve_core::log::Entry;
use varve_core::record::BatchHeader;
use varve_core::store::{OrderKind, Recovered};

use super::{Checker, Observed, Step, show_partition, show_replica};

/// See the module.
#[derive(Debug, Default)]
pub struct ProducerStateFollowsLog {
    /// By replica and name of a batch: where it was last appended, truncated since or not.
    appended: BTreeMap<(TopicPartition, Voter), BTreeMap<BatchName, Offset>>,
}

/// What tells the batches of idempotent producers apart.
type BatchName = (ProducerId, ProducerEpoch, i32);

fn name(header: &BatchHeader) -> Option<BatchName> {
    let named = header.producer_id != ProducerId::NONE && header.base_sequence >= 0;
    named.then_some((
        header.producer_id,
        header.producer_epoch,
        header.base_sequence,
    ))
}

impl Checker for ProducerStateFollowsLog {
    fn name(&self) -> &'static str {
        "ProducerStateFollowsLog"
    }

    fn on_step(&mut self, seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            if let Effect::Store(order) = effect
                && let OrderKind::Append { entries, .. } = &order.kind
            {
                for entry in entries {
                    if let Entry::Batch(batch) = entry {
                        self.append(seen, order.replica, step.me, &batch.header)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn on_start(&mut self, seen: &Observed, recovered: &Recovered) -> Result<(), String> {
        let me = Voter {
            broker: recovered.broker,
            directory: recovered.directory,
        };
        for replica in &recovered.replicas {
            let (partition, offset) = (replica.replica, replica.producers_offset);
            let said = |what: &str| {
                Err(format!(
                    "{} of {} recovers {what} {}",
                    show_replica(me),
                    show_partition(replica.replica),
                    replica.producers_offset
                ))
            };
            if seen.producers_at(partition, me, offset) != replica.producers {
                return said("a producer table that its log does not give at");
            }
            if seen.headers_from(partition, me, offset) != replica.headers {
                return said("other batches than it was ordered to store from");
            }
        }
        Ok(())
    }
}

impl ProducerStateFollowsLog {
    fn append(
        &mut self,
        seen: &Observed,
        partition: TopicPartition,
        me: Voter,
        header: &BatchHeader,
    ) -> Result<(), String> {
        let Some(name) = name(header) else {
            return Ok(());
        };
        let known = self
            .appended
            .entry((partition, me))
            .or_default()
            .insert(name, header.base_offset);
        let Some(offset) = known.filter(|&offset| offset != header.base_offset) else {
            return Ok(());
        };
        // The log may have lost it since to a truncation or a crash.
        let still_there = seen
            .header_at(partition, me, offset)
            .is_some_and(|other| self::name(other) == Some(name));
        if still_there {
            return Err(format!(
                "{} of {} appends the batch of producer {} with sequence {} twice, at {offset} and at {}",
                show_replica(me),
                show_partition(partition),
                name.0,
                name.2,
                header.base_offset
            ));
        }
        Ok(())
    }
}
