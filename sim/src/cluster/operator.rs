//! Who runs the cluster, and asks it for what clients do not: on a node itself, over no network.

use varve_core::effect::RequestId;
use varve_core::ids::TopicPartition;
use varve_core::input::{ClientRequest, ConnectionId, Input, RequestContext};
use varve_core::wire::alter_partition_reassignments::{ReassignablePartition, ReassignableTopic};
use varve_core::wire::{AlterPartitionReassignmentsRequest, Request};

use crate::cluster::Cluster;

/// The operator's connection to whichever node it asks: clients have the others. It reads no answers.
const CONNECTION: ConnectionId = ConnectionId(0);

impl Cluster {
    /// The operator reassigns a partition's replicas to these nodes, the preferred leader first: it asks the controller, or
    /// else the first node that runs, which asks the controller as soon as there is one. Nothing comes of it where none
    /// runs, or where the node that was asked dies before it has passed the request on.
    pub fn reassign(&mut self, partition: TopicPartition, nodes: &[u8]) {
        let topic = self.checkers.seen.image().topic(partition.topic);
        let Some(name) = topic.map(|topic| (&*topic.name).into()) else {
            return;
        };
        let replicas = nodes.iter().map(|&number| i32::from(number)).collect();
        let topics = vec![ReassignableTopic {
            name,
            partitions: vec![ReassignablePartition {
                partition_index: partition.partition.0,
                replicas: Some(replicas),
            }],
        }];
        self.operate(Request::AlterPartitionReassignments(
            AlterPartitionReassignmentsRequest {
                topics,
                ..AlterPartitionReassignmentsRequest::default()
            },
        ));
    }

    fn operate(&mut self, body: Request) {
        let running = self.nodes.iter().filter(|node| node.is_running());
        let leads_metadata = |number: &u8| {
            let broker = self.broker(*number);
            broker.is_some_and(|broker| broker.is_controller())
        };
        let numbers: Vec<u8> = running.map(|node| node.number).collect();
        let controller = numbers.iter().copied().find(leads_metadata);
        let Some(number) = controller.or(numbers.first().copied()) else {
            return;
        };
        self.operator_requests += 1;
        let context = RequestContext {
            id: RequestId {
                connection: CONNECTION,
                number: self.operator_requests,
            },
            api_version: 1,
            client_host: "operator".to_owned(),
            ..RequestContext::default()
        };
        self.tell(
            number,
            Input::Request(Box::new(ClientRequest {
                context,
                body,
                examined: Vec::new(),
            })),
        );
    }
}
