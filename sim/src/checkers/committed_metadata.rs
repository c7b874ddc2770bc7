//! Nobody acts on metadata that are not committed, and nobody is told of them: a topic that was acknowledged as created
//! is there, producer ids that were handed out are nobody else's, a replica is made of a partition that exists, and
//! a snapshot holds what the committed log up to its offset amounts to.

use std::collections::BTreeSet;

use varve_core::cluster::ClusterImage;
use varve_core::effect::{Effect, RequestId};
use varve_core::ids::{TopicId, TopicPartition};
use varve_core::input::Input;
use varve_core::store::{Order, OrderKind, Recovered};
use varve_core::wire::{ErrorCode, Request, Response};

use super::{Checker, Observed, Step, show_partition};

/// See the module.
#[derive(Debug, Default)]
pub struct MetadataAreCommitted {
    /// Requests that only ask what would be.
    trials: BTreeSet<(u8, RequestId)>,
}

impl Checker for MetadataAreCommitted {
    fn name(&self) -> &'static str {
        "MetadataAreCommitted"
    }

    fn on_start(&mut self, _seen: &Observed, recovered: &Recovered) -> Result<(), String> {
        let broker = recovered.broker.0;
        self.trials.retain(|(node, _)| i32::from(*node) != broker);
        Ok(())
    }

    fn on_input(&mut self, node: u8, input: &Input) {
        if let Input::Request(request) = input
            && let Request::CreateTopics(body) = &request.body
            && body.validate_only
        {
            self.trials.insert((node, request.context.id));
        }
    }

    fn on_step(&mut self, seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            let what = match effect {
                Effect::Respond { request, response }
                    if !self.trials.remove(&(step.node, *request)) =>
                {
                    told_too_early(seen, response)
                }
                Effect::Store(order) => done_too_early(seen, order),
                Effect::Respond { .. }
                | Effect::Send { .. }
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
                | Effect::Notice(_) => None,
            };
            if let Some(what) = what {
                return Err(format!("n{} {what}, which is not committed", step.node));
            }
        }
        Ok(())
    }
}

/// What an answer says that the committed metadata do not.
fn told_too_early(seen: &Observed, response: &Response) -> Option<String> {
    match response {
        Response::CreateTopics(response) => response
            .topics
            .iter()
            .filter(|topic| topic.error_code == ErrorCode::None && topic.topic_id != TopicId::ZERO)
            .find(|topic| !is_or_was(seen, topic.topic_id))
            .map(|topic| format!("says that topic {} has been created", &*topic.name)),
        Response::InitProducerId(response) => (response.error_code == ErrorCode::None
            && response.producer_id >= seen.image().next_producer_id().0)
            .then(|| format!("hands out producer id {}", response.producer_id)),
        _ => None,
    }
}

/// What an order does by metadata that are not committed.
fn done_too_early(seen: &Observed, order: &Order) -> Option<String> {
    let partition = order.replica;
    match &order.kind {
        OrderKind::Create { .. } if partition != TopicPartition::METADATA => {
            (!is_or_was(seen, partition.topic))
                .then(|| format!("makes a replica of {}", show_partition(partition)))
        }
        OrderKind::SaveSnapshot { at, image } => {
            let committed = seen.image_at(*at);
            let saved = ClusterImage::decode(image).ok();
            (saved.is_none() || saved != committed)
                .then(|| format!("saves a snapshot of the metadata at {at}"))
        }
        OrderKind::Create { .. }
        | OrderKind::Append { .. }
        | OrderKind::Truncate { .. }
        | OrderKind::StoreVote(_)
        | OrderKind::SetMark(_)
        | OrderKind::Probe
        | OrderKind::Fill { .. }
        | OrderKind::AcceptLoss { .. }
        | OrderKind::Delete => None,
    }
}

fn is_or_was(seen: &Observed, topic: TopicId) -> bool {
    seen.image().topic(topic).is_some() || seen.is_topic_removed(topic)
}
