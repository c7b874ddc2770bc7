//! What waits is bounded, whatever a disk does: a follower takes no records while as many wait for its disk as may, and
//! a directory that is offline takes none and keeps none in memory. No more requests wait than clients have asked.

use std::collections::{BTreeMap, BTreeSet};

use varve_core::effect::{Effect, RequestId};
use varve_core::ids::TopicPartition;
use varve_core::input::Input;
use varve_core::log::Entry;
use varve_core::peer::{DirectoryState, PeerMessage, ReplicaBody};
use varve_core::store::{Order, OrderKind, Recovered};
use varve_core::wire::Request;

use super::{Checker, Observed, Step, show_partition};

/// How much waits at a broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    /// Bytes of records that wait for its disk.
    pub unwritten_bytes: usize,
    /// Beyond which it takes no more from leaders.
    pub unwritten_bytes_max: usize,
    /// Requests that it has not answered.
    pub requests: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct WhatWaitsIsBounded {
    /// By node: whether its disk had as many bytes waiting as may after its last step.
    behind: BTreeMap<u8, bool>,
    /// By node: of which topic's partition it is told entries.
    told: BTreeMap<u8, TopicPartition>,
    /// By node: the requests that it owes an answer to.
    asked: BTreeMap<u8, BTreeSet<RequestId>>,
}

impl Checker for WhatWaitsIsBounded {
    fn name(&self) -> &'static str {
        "WhatWaitsIsBounded"
    }

    fn on_start(&mut self, _seen: &Observed, recovered: &Recovered) -> Result<(), String> {
        let broker = recovered.broker.0;
        self.asked.retain(|node, _| i32::from(*node) != broker);
        Ok(())
    }

    fn on_input(&mut self, node: u8, input: &Input) {
        self.told.remove(&node);
        let asked = self.asked.entry(node).or_default();
        if let Input::Disconnected(gone) = input {
            asked.retain(|request| request.connection != *gone);
        }
        if let Input::Request(request) = input
            && !matches!(&request.body, Request::Produce(produce) if produce.acks == 0)
        {
            asked.insert(request.context.id);
        }
        if let Input::Peer {
            message: PeerMessage::Replica(message),
            ..
        } = input
            && matches!(message.body, ReplicaBody::Append(_))
            && message.partition != TopicPartition::METADATA
        {
            self.told.insert(node, message.partition);
        }
    }

    fn on_step(&mut self, _seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        let Queues {
            unwritten_bytes,
            unwritten_bytes_max,
            requests,
        } = step.queues;
        let node = step.node;
        let was_behind = self
            .behind
            .insert(node, unwritten_bytes >= unwritten_bytes_max);
        let is_offline = step.directory == DirectoryState::Offline;
        let told = self.told.get(&node).copied();
        for partition in step.effects.iter().filter_map(takes_records_of) {
            let name = show_partition(partition);
            if was_behind == Some(true) && told == Some(partition) {
                return Err(format!(
                    "n{node} takes records of {name}, and {unwritten_bytes} bytes wait for its disk"
                ));
            }
            if is_offline && partition != TopicPartition::METADATA {
                return Err(format!(
                    "n{node} takes records of {name} on a directory that is offline"
                ));
            }
        }
        let topics = step.views.iter();
        let mut topics = topics.filter(|(partition, _)| *partition != TopicPartition::METADATA);
        if let Some((partition, view)) = topics.find(|(_, view)| is_offline && view.tail_bytes > 0)
        {
            return Err(format!(
                "n{node} keeps {} bytes of {}, and its directory is offline",
                view.tail_bytes,
                show_partition(*partition)
            ));
        }
        let asked = self.asked.entry(node).or_default();
        for effect in step.effects {
            if let Effect::Respond { request, .. } = effect {
                asked.remove(request);
            }
            if let Effect::Close(gone) = effect {
                asked.retain(|request| request.connection != *gone);
            }
        }
        let asked = asked.len();
        if requests > asked && !step.crashed {
            return Err(format!(
                "n{node} has {requests} requests waiting where {asked} were asked"
            ));
        }
        Ok(())
    }
}

/// The partition of which this effect orders that records be appended.
fn takes_records_of(effect: &Effect) -> Option<TopicPartition> {
    let Effect::Store(Order {
        replica,
        kind: OrderKind::Append { entries, .. },
        ..
    }) = effect
    else {
        return None;
    };
    let mut entries = entries.iter();
    let has_records = entries.any(|entry| matches!(entry, Entry::Batch(_)));
    has_records.then_some(*replica)
}
