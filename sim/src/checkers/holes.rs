//! Holes are never served: what a client or a peer is given is what stands in the log, entry for entry.

use varve_core::effect::Effect;
use varve_core::ids::{PartitionIndex, TopicPartition};
use varve_core::log::Entry;
use varve_core::peer::{PeerMessage, ReplicaBody};
use varve_core::record::{Batch, BatchHeader};
use varve_core::wire::{ErrorCode, Response};

use super::{Checker, Logged, Observed, Step, show_partition, show_replica};

/// See the module.
#[derive(Debug, Default)]
pub struct HolesAreNotServed;

impl Checker for HolesAreNotServed {
    fn name(&self) -> &'static str {
        "HolesAreNotServed"
    }

    fn on_step(&mut self, seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            match effect {
                Effect::Respond { response, .. } => {
                    let Response::Fetch(response) = &**response else {
                        continue;
                    };
                    for topic in &response.responses {
                        for data in &topic.partitions {
                            let partition = TopicPartition {
                                topic: topic.topic_id,
                                partition: PartitionIndex(data.partition_index),
                            };
                            if data.error_code != ErrorCode::None {
                                continue;
                            }
                            let Some(records) = &data.records else {
                                continue;
                            };
                            let mut bytes = records.to_bytes();
                            let mut served = Vec::new();
                            while let Ok(batch) = Batch::split_from(&mut bytes) {
                                if let Err(error) = batch.verify() {
                                    return Err(format!(
                                        "n{} serves a damaged batch of {} at {}: {error}",
                                        step.node,
                                        show_partition(partition),
                                        batch.header.base_offset
                                    ));
                                }
                                served.push(batch.header);
                            }
                            let shadow = seen.shadow(partition, step.me);
                            let log = shadow.map_or(&[][..], |shadow| &shadow.ordered.log);
                            stands_in(&served, log).map_err(|what| {
                                format!(
                                    "n{} serves of {} {what}",
                                    step.node,
                                    show_partition(partition)
                                )
                            })?;
                        }
                    }
                }
                Effect::Send {
                    message: PeerMessage::Replica(message),
                    ..
                } => {
                    let headers: Vec<BatchHeader> = match &message.body {
                        ReplicaBody::Append(append) => {
                            let header = |entry: &Entry| match entry {
                                Entry::Batch(batch) => Some(batch.header),
                                Entry::Note(_) => None,
                            };
                            append.entries.iter().filter_map(header).collect()
                        }
                        ReplicaBody::FillReply { batches, .. } => {
                            batches.iter().map(|batch| batch.header).collect()
                        }
                        ReplicaBody::PreVote { .. }
                        | ReplicaBody::PreVoteReply { .. }
                        | ReplicaBody::Vote { .. }
                        | ReplicaBody::VoteReply { .. }
                        | ReplicaBody::AppendReply(_)
                        | ReplicaBody::TransferLeadership
                        | ReplicaBody::Resigned
                        | ReplicaBody::FillRequest { .. } => continue,
                    };
                    let shadow = seen.shadow(message.partition, step.me);
                    let log = shadow.map_or(&[][..], |shadow| &shadow.ordered.log);
                    stands_in(&headers, log).map_err(|what| {
                        format!(
                            "{} sends of {} {what}",
                            show_replica(step.me),
                            show_partition(message.partition)
                        )
                    })?;
                }
                Effect::Send { .. }
                | Effect::Store(_)
                | Effect::Query(_)
                | Effect::Close(_)
                | Effect::Peers { .. }
                | Effect::Redial(_)
                | Effect::Joined(_)
                | Effect::Ready
                | Effect::Stopped
                | Effect::Notice(_) => {}
            }
        }
        Ok(())
    }
}

/// Whether these batches stand in the log one behind the other.
fn stands_in(served: &[BatchHeader], log: &[Logged]) -> Result<(), String> {
    let mut next = None;
    for header in served {
        if next.is_some_and(|next| next != header.base_offset) {
            return Err(format!("a batch at {} behind a gap", header.base_offset));
        }
        next = Some(header.next_offset());
        let place = log.partition_point(|logged| logged.offset < header.base_offset);
        let found = log[place..]
            .iter()
            .take_while(|logged| logged.offset == header.base_offset)
            .any(|logged| logged.crc == header.crc.max(1));
        if !found {
            return Err(format!(
                "a batch at {} that its log does not have",
                header.base_offset
            ));
        }
    }
    Ok(())
}
