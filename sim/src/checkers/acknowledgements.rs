//! No acknowledgement before the policy is met: a produce with `acks=all` is answered without error when its
//! batches are committed and `min.insync.replicas` voters have them, one with `acks=1` when the leader has them durably (or in memory, where the topic's
//! `flush` says so). A duplicate is answered by the same rule. What a voter has acknowledged while it had it counts,
//! although it may have lost it when the leader hears of it.

use std::collections::BTreeMap;

use varve_core::effect::{Effect, RequestId};
use varve_core::ids::{Offset, PartitionIndex, Timestamp, TopicPartition, Voter};
use varve_core::input::Input;
use varve_core::record::{Batch, TimestampType};
use varve_core::wire::{ErrorCode, Request, Response};

use super::{Checker, Logged, Observed, Step, show_partition};

/// See the module.
#[derive(Debug, Default)]
pub struct AcknowledgedByPolicy {
    waiting: BTreeMap<(u8, RequestId), Waiting>,
}

#[derive(Debug)]
struct Waiting {
    acks: i16,
    /// By partition: the batch and the CRC of its body.
    batches: BTreeMap<TopicPartition, (Batch, u32)>,
}

/// The CRCs that a log may have this batch with: as it was sent, and stamped with the time that the answer tells.
fn crcs(batch: &Batch, body_crc: u32, log_append_time: Timestamp) -> [u32; 2] {
    let mut stamped = batch.clone();
    stamped.stamp_log_append_time(log_append_time, body_crc);
    [batch, &stamped].map(|batch| batch.header.crc.max(1))
}

impl Checker for AcknowledgedByPolicy {
    fn name(&self) -> &'static str {
        "AcknowledgedByPolicy"
    }

    fn on_start(
        &mut self,
        _seen: &Observed,
        recovered: &varve_core::store::Recovered,
    ) -> Result<(), String> {
        let broker = recovered.broker.0;
        self.waiting
            .retain(|(node, _), _| i32::from(*node) != broker);
        Ok(())
    }

    fn on_input(&mut self, node: u8, input: &Input) {
        if let Input::Request(request) = input
            && let Request::Produce(body) = &request.body
        {
            let mut examined = request.examined.iter();
            let mut batches = BTreeMap::new();
            for topic in &body.topic_data {
                for data in &topic.partition_data {
                    if let Some(Ok(examined)) = examined.next()
                        && examined.batch.header.timestamp_type() == TimestampType::CreateTime
                    {
                        let partition = TopicPartition {
                            topic: topic.topic_id,
                            partition: PartitionIndex(data.index),
                        };
                        let batch = examined.batch.clone();
                        batches.insert(partition, (batch, examined.facts.body_crc));
                    }
                }
            }
            self.waiting.insert(
                (node, request.context.id),
                Waiting {
                    acks: body.acks,
                    batches,
                },
            );
        }
    }

    fn on_step(&mut self, seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            let Effect::Respond { request, response } = effect else {
                continue;
            };
            let Response::Produce(response) = &**response else {
                continue;
            };
            let Some(waiting) = self.waiting.remove(&(step.node, *request)) else {
                continue;
            };
            for topic in &response.responses {
                for data in &topic.partition_responses {
                    let partition = TopicPartition {
                        topic: topic.topic_id,
                        partition: PartitionIndex(data.index),
                    };
                    let Some((batch, body_crc)) = waiting.batches.get(&partition) else {
                        continue;
                    };
                    if data.error_code != ErrorCode::None {
                        continue;
                    }
                    let crcs = crcs(batch, *body_crc, Timestamp(data.log_append_time_ms));
                    let base_offset = Offset(data.base_offset);
                    let held = |log: &[Logged]| {
                        let place = log.partition_point(|logged| logged.offset < base_offset);
                        log[place..]
                            .iter()
                            .take_while(|logged| logged.offset == base_offset)
                            .any(|logged| crcs.contains(&logged.crc))
                    };
                    let shadow = seen.shadow(partition, step.me);
                    let (met, policy) = if waiting.acks == -1 {
                        (held(seen.committed(partition)), "committed")
                    } else if seen.is_replicated(partition) {
                        (
                            shadow.is_some_and(|shadow| held(&shadow.ordered.log)),
                            "appended",
                        )
                    } else {
                        (
                            shadow.is_some_and(|shadow| held(&shadow.durable.log)),
                            "durable",
                        )
                    };
                    if !met {
                        return Err(format!(
                            "n{} acknowledges a batch of {} at {base_offset} with acks={} before it is {policy}",
                            step.node,
                            show_partition(partition),
                            waiting.acks
                        ));
                    }
                    let voters = step.views.iter().find(|(id, _)| *id == partition);
                    if waiting.acks == -1
                        && let Some((_, view)) = voters
                    {
                        let has = |voter: &&Voter| {
                            seen.shadow(partition, **voter).is_some_and(|shadow| {
                                shadow.counted(seen.is_replicated(partition)).any(held)
                            })
                        };
                        let have = view.voters.iter().filter(has).count();
                        // Never more than there are (KIP-966's effective `min.insync.replicas`).
                        let least = seen.insync_min(partition).min(view.voters.len());
                        if have < least {
                            return Err(format!(
                                "n{} acknowledges a batch of {} at {base_offset} which {have} voters have, and not {least}",
                                step.node,
                                show_partition(partition)
                            ));
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
