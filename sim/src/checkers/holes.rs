//! Holes are never served: what a client or a peer is given is what stands in the log, entry for entry, and a
//! client is given it from the offset on that it asked for. Nor are they filled with anything else.

use std::collections::BTreeMap;

use varve_core::effect::{Effect, RequestId};
use varve_core::ids::{Offset, TopicPartition, Voter};
use varve_core::input::Input;
use varve_core::peer::PeerMessage;
use varve_core::record::{Batch, BatchHeader};
use varve_core::store::{Order, OrderKind, Recovered};
use varve_core::wire::ErrorCode;
use varve_core::wire::fetch::PartitionData;

use super::{Checker, Observed, Step, fetched, served, show_partition, show_replica};

/// See the module.
#[derive(Debug, Default)]
pub struct HolesAreNotServed {
    /// Of fetches that wait for an answer: where each partition is to be read from.
    asked: BTreeMap<(u8, RequestId), BTreeMap<TopicPartition, Offset>>,
}

impl Checker for HolesAreNotServed {
    fn name(&self) -> &'static str {
        "HolesAreNotServed"
    }

    fn on_start(&mut self, _seen: &Observed, recovered: &Recovered) -> Result<(), String> {
        let broker = recovered.broker.0;
        self.asked.retain(|(node, _), _| i32::from(*node) != broker);
        Ok(())
    }

    fn on_input(&mut self, node: u8, input: &Input) {
        if let Some((request, partitions)) = fetched(input) {
            self.asked.insert((node, request), partitions.collect());
        }
    }

    fn on_step(&mut self, seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            match effect {
                Effect::Respond { request, response } => {
                    let Some(served) = served(response) else {
                        continue;
                    };
                    let asked = self
                        .asked
                        .remove(&(step.node, *request))
                        .unwrap_or_default();
                    for (partition, data) in served {
                        let asked = asked.get(&partition).copied();
                        check_served(seen, step, partition, asked, data).map_err(|what| {
                            format!("n{} {what} of {}", step.node, show_partition(partition))
                        })?;
                    }
                }
                Effect::Send {
                    message: PeerMessage::Replica(message),
                    ..
                } => {
                    let headers: Vec<BatchHeader> =
                        message.body.batches().map(|batch| batch.header).collect();
                    stand_in(&headers, seen, message.partition, step.me).map_err(|what| {
                        format!(
                            "{} sends of {} {what}",
                            show_replica(step.me),
                            show_partition(message.partition)
                        )
                    })?;
                }
                Effect::Store(Order {
                    replica,
                    kind: OrderKind::Fill { batches },
                    ..
                }) => {
                    for batch in batches {
                        stand_in(&[batch.header], seen, *replica, step.me).map_err(|what| {
                            format!(
                                "{} fills {} with {what}",
                                show_replica(step.me),
                                show_partition(*replica)
                            )
                        })?;
                    }
                }
                Effect::Send { .. }
                | Effect::Store(_)
                | Effect::Query(_)
                | Effect::Close(_)
                | Effect::Peers { .. }
                | Effect::Redial(_)
                | Effect::CloseSession { .. }
                | Effect::AcceptPeer { .. }
                | Effect::RejectPeer { .. }
                | Effect::Joined(_)
                | Effect::Ready
                | Effect::CloseClients
                | Effect::Stopped
                | Effect::Notice(_) => {}
            }
        }
        Ok(())
    }
}

/// Whether what a client is given of a partition is what stands in its log, from the offset on that it asked for.
fn check_served(
    seen: &Observed,
    step: &Step<'_>,
    partition: TopicPartition,
    asked: Option<Offset>,
    data: &PartitionData,
) -> Result<(), String> {
    let Some(records) = &data.records else {
        return Ok(());
    };
    if data.error_code != ErrorCode::None {
        return Ok(());
    }
    let mut bytes = records.to_bytes();
    let mut served = Vec::new();
    while let Ok(batch) = Batch::split_from(&mut bytes) {
        batch.verify().map_err(|error| {
            let at = batch.header.base_offset;
            format!("serves a damaged batch at {at} ({error})")
        })?;
        served.push(batch.header);
    }
    if let (Some(first), Some(offset)) = (served.first(), asked)
        && first.base_offset > offset
    {
        let from = first.base_offset;
        return Err(format!("is asked for {offset} and serves from {from} on"));
    }
    stand_in(&served, seen, partition, step.me).map_err(|what| format!("serves {what}"))
}

/// Whether these batches stand in a replica's log one behind the other.
fn stand_in(
    batches: &[BatchHeader],
    seen: &Observed,
    partition: TopicPartition,
    replica: Voter,
) -> Result<(), String> {
    let mut next = None;
    for header in batches {
        if next.is_some_and(|next| next != header.base_offset) {
            return Err(format!("a batch at {} behind a gap", header.base_offset));
        }
        next = Some(header.next_offset());
        if !seen.has_batch(partition, replica, header) {
            return Err(format!(
                "a batch at {} that its log does not have",
                header.base_offset
            ));
        }
    }
    Ok(())
}
