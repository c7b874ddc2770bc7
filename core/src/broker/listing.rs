//! Responses about the cluster: served APIs, brokers, topics, configurations.
//!
//! `cluster` makes the responses, from this broker's image and the announcements of leaders. This module calls it, and
//! creates unknown topics where client and cluster allow it: the client is told at once that the topic does not exist,
//! as in Kafka, and retries.

use crate::cluster::{AnswerContext, BrokerImage, BrokerState, ClusterView, lists_all_topics};
use crate::effect::Effects;
use crate::hooks::{Hooks, Mutant};
use crate::ids::{BrokerId, TopicPartition};
use crate::input::RequestContext;
use crate::peer::{DirectoryState, LeaderAndIsr};
use crate::wire::{
    ApiVersionsRequest, ApiVersionsResponse, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeTopicPartitionsRequest, ErrorCode, ListPartitionReassignmentsRequest, MetadataRequest,
    RequestMessage as _, Response, Str,
};

use super::Broker;

/// From this version on a request has the name and version of the client's software (KIP-511).
const SOFTWARE_NAME_FROM: i16 = 3;
/// From this version on a request has the cluster and the broker that it is meant for (KIP-1242).
const INTENDED_BROKER_FROM: i16 = 5;

/// A request that is answered from the image.
#[derive(Clone, Debug)]
pub(super) struct ImageRequest {
    pub(super) context: RequestContext,
    pub(super) body: ImageRequestBody,
}

/// The body of such a request.
#[derive(Clone, Debug)]
pub(super) enum ImageRequestBody {
    Metadata(MetadataRequest),
    DescribeCluster(DescribeClusterRequest),
    DescribeTopicPartitions(DescribeTopicPartitionsRequest),
    DescribeConfigs(DescribeConfigsRequest),
    ListPartitionReassignments(ListPartitionReassignmentsRequest),
}

impl Broker {
    pub(super) fn on_api_versions(
        &self,
        context: &RequestContext,
        body: &ApiVersionsRequest,
        fx: &mut Effects,
    ) {
        let names = [&body.client_software_name, &body.client_software_version];
        let refused = |code: ErrorCode| body.error_response(context.api_version, &code.into());
        let (says_who, says_whom) = (
            context.api_version >= SOFTWARE_NAME_FROM,
            context.api_version >= INTENDED_BROKER_FROM,
        );
        // Cluster and broker id come together or not at all.
        let is_half = body.cluster_id.is_some() != (body.node_id != -1);
        let response = if says_who && !names.into_iter().all(is_software) || says_whom && is_half {
            refused(ErrorCode::InvalidRequest)
        } else if says_whom && !self.is_intended_broker(body) {
            refused(ErrorCode::RebootstrapRequired)
        } else {
            ApiVersionsResponse::of_all_served()
        };
        fx.respond(context.id, response);
    }

    /// Whether this is the broker that a request is meant for. Addresses are reassigned, and a client that goes on with
    /// the metadata of another cluster would read and write the wrong records (KIP-1242). A request may leave it open.
    fn is_intended_broker(&self, body: &ApiVersionsRequest) -> bool {
        let Some(meant) = &body.cluster_id else {
            return true;
        };
        let own = self.cluster().map(|id| id.to_string());
        own.as_deref() == Some(meant) && body.node_id == self.me.broker.0
    }

    /// Answers a request from the image. `confirmed` says whether the image is known to be current.
    pub(super) fn answer_from_image(
        &mut self,
        request: ImageRequest,
        confirmed: bool,
        fx: &mut Effects,
    ) {
        let ImageRequest { context, body } = &request;
        let api_version = context.api_version;
        let lists_all = match body {
            ImageRequestBody::Metadata(body) => lists_all_topics(body, api_version),
            ImageRequestBody::DescribeTopicPartitions(body) => body.topics.is_empty(),
            ImageRequestBody::ListPartitionReassignments(body) => body.topics.is_none(),
            ImageRequestBody::DescribeCluster(_) | ImageRequestBody::DescribeConfigs(_) => false,
        };
        if lists_all && !confirmed {
            self.close(context.id.connection, fx);
            return;
        }
        let mut to_create = Vec::new();
        let response: Response =
            self.with_answer_context(context.listener, confirmed, fx, |it| match body {
                ImageRequestBody::Metadata(body) => {
                    let answer = it.metadata(body, api_version);
                    to_create = answer.to_create;
                    answer.response.into()
                }
                ImageRequestBody::DescribeCluster(body) => it.describe_cluster(body).into(),
                ImageRequestBody::DescribeTopicPartitions(body) => {
                    it.describe_topic_partitions(body).into()
                }
                ImageRequestBody::DescribeConfigs(body) => it.describe_configs(body).into(),
                ImageRequestBody::ListPartitionReassignments(body) => {
                    it.list_partition_reassignments(body).into()
                }
            });
        if confirmed && self.delay_for_leader(&request, &response, fx) {
            return;
        }
        fx.respond(context.id, response);
        self.auto_create(to_create, fx);
    }

    /// The leader of a partition that this broker names to clients. `hooks` are those of its steps.
    #[must_use]
    pub fn leader_for_clients(&self, partition: TopicPartition, hooks: &Hooks) -> Option<BrokerId> {
        let fx = Effects::with_hooks(hooks.clone());
        self.with_answer_context(0, true, &fx, |it| it.leader(partition))
    }

    /// Makes a response for a client of one of this broker's listeners.
    fn with_answer_context<R>(
        &self,
        listener: u16,
        confirmed: bool,
        fx: &Effects,
        answer: impl FnOnce(AnswerContext<'_>) -> R,
    ) -> R {
        let view = View {
            broker: self,
            hides_fenced: fx.mutant(Mutant::FencingHidesLeader),
            names_former: fx.mutant(Mutant::NamesFormerLeaders),
        };
        let listeners = &self.setup.registration.listeners;
        answer(AnswerContext {
            configs: self.configs(),
            view: &view,
            cluster: self.cluster(),
            controller: self.controller_id(),
            confirmed,
            listener: listeners
                .get(usize::from(listener))
                .map_or("", |listener| &listener.name),
        })
    }
}

/// What this broker knows about leaders and live brokers.
struct View<'a> {
    broker: &'a Broker,
    hides_fenced: bool,
    names_former: bool,
}

impl View<'_> {
    fn is_hidden(&self, broker: BrokerId) -> bool {
        let fenced = |broker: &BrokerImage| broker.state == BrokerState::Fenced;
        self.hides_fenced && self.broker.image().broker(broker).is_some_and(fenced)
    }
}

impl ClusterView for View<'_> {
    fn leader(&self, partition: TopicPartition) -> Option<&LeaderAndIsr> {
        let announcement = self.broker.leader_of(partition)?;
        let hidden = announcement
            .leader
            .is_some_and(|leader| self.is_hidden(leader));
        (!hidden).then_some(announcement)
    }

    fn is_current(&self, partition: TopicPartition) -> bool {
        self.broker.is_current_announcement(partition)
    }

    fn is_alive(&self, broker: BrokerId) -> bool {
        let Broker {
            links,
            setup,
            now,
            me,
            ..
        } = self.broker;
        let heard =
            broker == me.broker || links.is_alive(broker, *now, &setup.timing) || self.names_former;
        heard && !self.is_hidden(broker)
    }

    fn is_directory_offline(&self, broker: BrokerId) -> bool {
        let directory = if broker == self.broker.me.broker {
            self.broker.directory_state()
        } else {
            self.broker.links.directory(broker)
        };
        directory == DirectoryState::Offline
    }
}

/// Kafka's rule for a client's software name and version: letters and digits, with `.` and `-` between them.
fn is_software(name: &Str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let ends = [name.chars().next(), name.chars().next_back()];
    ends.into_iter()
        .all(|end| end.is_some_and(|c| c.is_ascii_alphanumeric()))
        && name.chars().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_software_is_named_by_letters_and_digits_with_dots_and_hyphens_between() {
        for good in ["apache-kafka-java", "4.1.0", "librdkafka", "v2"] {
            assert!(is_software(&good.into()), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", "a/b"] {
            assert!(!is_software(&bad.into()), "{bad}");
        }
    }
}
