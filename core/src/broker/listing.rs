//! What clients are told of the cluster: served APIs, brokers, topics, configurations.
//!
//! The answers themselves are made by `cluster`, of this broker's image and of what it has heard of leaders. Here
//! they are asked for, and a topic that nobody knows is created where client and cluster want that: the client
//! is told at once that it does not exist, as in Kafka, and asks again.

use crate::cluster::{Answering, ClusterView};
use crate::effect::{Effects, RequestId};
use crate::ids::{BrokerId, TopicPartition};
use crate::peer::LeaderClaim;
use crate::wire::{
    ApiVersionsRequest, ApiVersionsResponse, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeTopicPartitionsRequest, ErrorCode, MetadataRequest, Str,
};

use super::Broker;
use super::requests::respond;

/// From this version on a client says what software it is (KIP-511).
const NAMED_FROM: i16 = 3;

impl Broker {
    pub(super) fn on_api_versions(
        &self,
        id: RequestId,
        api_version: i16,
        body: &ApiVersionsRequest,
        fx: &mut Effects,
    ) {
        let names = [&body.client_software_name, &body.client_software_version];
        let response = if api_version >= NAMED_FROM && !names.into_iter().all(is_software) {
            ApiVersionsResponse {
                error_code: ErrorCode::InvalidRequest,
                ..ApiVersionsResponse::default()
            }
        } else {
            ApiVersionsResponse::of_all_served()
        };
        respond(id, response, fx);
    }

    pub(super) fn on_metadata(
        &mut self,
        id: RequestId,
        api_version: i16,
        listener: u16,
        body: &MetadataRequest,
        fx: &mut Effects,
    ) {
        let answer = self.answering(listener).metadata(body, api_version);
        respond(id, answer.response, fx);
        self.auto_create(answer.to_create, fx);
    }

    pub(super) fn on_describe_cluster(
        &self,
        id: RequestId,
        listener: u16,
        body: &DescribeClusterRequest,
        fx: &mut Effects,
    ) {
        respond(id, self.answering(listener).describe_cluster(body), fx);
    }

    pub(super) fn on_describe_topic_partitions(
        &self,
        id: RequestId,
        listener: u16,
        body: &DescribeTopicPartitionsRequest,
        fx: &mut Effects,
    ) {
        let response = self.answering(listener).describe_topic_partitions(body);
        respond(id, response, fx);
    }

    pub(super) fn on_describe_configs(
        &self,
        id: RequestId,
        listener: u16,
        body: &DescribeConfigsRequest,
        fx: &mut Effects,
    ) {
        respond(id, self.answering(listener).describe_configs(body), fx);
    }

    fn answering(&self, listener: u16) -> Answering<'_> {
        let listener = self
            .setup
            .registration
            .listeners
            .get(usize::from(listener))
            .map_or("", |endpoint| &endpoint.name);
        Answering {
            configs: self.configs(),
            view: self,
            cluster: self.cluster(),
            controller: self.controller_id(),
            listener,
        }
    }
}

impl ClusterView for Broker {
    fn leader(&self, partition: TopicPartition) -> Option<&LeaderClaim> {
        self.leaders.get(&partition)
    }

    fn is_heard(&self, broker: BrokerId) -> bool {
        broker == self.me.broker || self.links.hears(broker, self.now, &self.setup.timing)
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
