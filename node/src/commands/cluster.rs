//! `varve cluster`: how the cluster is.

use clap::Subcommand;
use serde::Serialize;
use varve_core::wire::{
    DescribeClusterRequest, DescribeClusterResponse, MetadataResponse, Request, Response,
};
use varve_net::client::{ClientError, host_and_port};

use super::Failure;
use super::show::{Access, counted, print_line};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) access: Access,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show brokers, controller, and partitions that lack a leader or copies.
    Status,
}

#[derive(Debug, Serialize)]
struct Status {
    cluster_id: String,
    controller: Option<i32>,
    brokers: Vec<Broker>,
    topics: usize,
    partitions: usize,
    partitions_without_leader: usize,
    partitions_under_replicated: usize,
}

#[derive(Debug, Serialize)]
struct Broker {
    id: i32,
    address: String,
    rack: Option<String>,
    fenced: bool,
    /// It is there and its log directory is not: it has given it up.
    directory_offline: bool,
    leads: usize,
    replicas: usize,
}

impl Broker {
    const fn state(&self) -> &'static str {
        if self.fenced {
            "fenced"
        } else if self.directory_offline {
            "log directory offline"
        } else {
            "active"
        }
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments {
        access,
        action: Action::Status,
    } = arguments;
    let status = gather(&access).await?;
    if access.json {
        return print_line(&serde_json::to_string_pretty(&status)?);
    }
    print_line(&format!("cluster     {}", status.cluster_id))?;
    let controller = status
        .controller
        .map_or_else(|| "none".to_owned(), |id| format!("broker {id}"));
    print_line(&format!("controller  {controller}"))?;
    print_line(&format!(
        "topics      {}, with {}",
        status.topics,
        counted(status.partitions as u64, "partition", "partitions")
    ))?;
    let health = match (
        status.partitions_without_leader,
        status.partitions_under_replicated,
    ) {
        (0, 0) => "every partition has a leader and all its replicas in sync".to_owned(),
        (leaderless, behind) => {
            let leaderless = counted(leaderless as u64, "partition", "partitions");
            format!("{leaderless} without a leader, {behind} under-replicated")
        }
    };
    print_line(&format!("health      {health}"))?;
    for broker in status.brokers.iter().filter(|it| it.directory_offline) {
        let (id, copies) = (
            broker.id,
            counted(broker.replicas as u64, "replica", "replicas"),
        );
        let words =
            format!("broker {id}: log directory offline, with {copies}; see its log for why");
        print_line(&format!("            {words}"))?;
    }
    print_line("")?;
    access.show(
        &["BROKER", "ADDRESS", "RACK", "STATE", "LEADS", "REPLICAS"],
        &status.brokers,
        |broker| {
            vec![
                broker.id.to_string(),
                broker.address.clone(),
                broker.rack.clone().unwrap_or_default(),
                broker.state().to_owned(),
                broker.leads.to_string(),
                broker.replicas.to_string(),
            ]
        },
    )
}

async fn gather(access: &Access) -> Result<Status, Failure> {
    let mut client = access.connect().await?;
    let metadata = client.metadata(None).await?;
    let request = DescribeClusterRequest {
        include_fenced_brokers: true,
        ..DescribeClusterRequest::default()
    };
    let Response::DescribeCluster(cluster) = client.send(Request::DescribeCluster(request)).await?
    else {
        unreachable!("an answer is read as that of its request");
    };
    ClientError::check(cluster.error_code, cluster.error_message.as_ref())?;
    Ok(Status::of(&metadata, &cluster))
}

impl Status {
    fn of(metadata: &MetadataResponse, cluster: &DescribeClusterResponse) -> Self {
        let partitions: Vec<_> = metadata
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .collect();
        let mut brokers: Vec<Broker> = cluster
            .brokers
            .iter()
            .map(|broker| Broker {
                id: broker.broker_id,
                address: host_and_port(broker.host.as_str(), broker.port),
                rack: broker.rack.as_ref().map(|rack| rack.as_str().to_owned()),
                fenced: broker.is_fenced,
                directory_offline: !broker.is_fenced
                    && partitions
                        .iter()
                        .any(|p| p.offline_replicas.contains(&broker.broker_id)),
                leads: partitions
                    .iter()
                    .filter(|partition| partition.leader_id == broker.broker_id)
                    .count(),
                replicas: partitions
                    .iter()
                    .filter(|p| p.replica_nodes.contains(&broker.broker_id))
                    .count(),
            })
            .collect();
        brokers.sort_by_key(|broker| broker.id);
        Self {
            cluster_id: cluster.cluster_id.as_str().to_owned(),
            controller: (cluster.controller_id >= 0).then_some(cluster.controller_id),
            brokers,
            topics: metadata.topics.len(),
            partitions: partitions.len(),
            partitions_without_leader: partitions
                .iter()
                .filter(|partition| partition.leader_id < 0)
                .count(),
            partitions_under_replicated: partitions
                .iter()
                .filter(|p| p.isr_nodes.len() < p.replica_nodes.len())
                .count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use varve_core::wire::describe_cluster::DescribeClusterBroker;
    use varve_core::wire::metadata::{MetadataResponsePartition, MetadataResponseTopic};

    use super::*;

    #[test]
    fn a_broker_that_is_there_without_its_directory_is_told_from_one_that_is_fenced() {
        let partition = |leader_id, isr: &[i32], offline: &[i32]| MetadataResponsePartition {
            leader_id,
            replica_nodes: vec![1, 2, 3],
            isr_nodes: isr.to_vec(),
            offline_replicas: offline.to_vec(),
            ..MetadataResponsePartition::default()
        };
        let metadata = MetadataResponse {
            topics: vec![MetadataResponseTopic {
                partitions: vec![
                    partition(1, &[1, 2, 3], &[]),
                    partition(1, &[1], &[2, 3]),
                    partition(-1, &[], &[1, 2, 3]),
                ],
                ..MetadataResponseTopic::default()
            }],
            ..MetadataResponse::default()
        };
        let broker = |broker_id, is_fenced| DescribeClusterBroker {
            broker_id,
            is_fenced,
            ..DescribeClusterBroker::default()
        };
        let cluster = DescribeClusterResponse {
            brokers: vec![broker(3, true), broker(2, false), broker(1, false)],
            ..DescribeClusterResponse::default()
        };
        let status = Status::of(&metadata, &cluster);
        let states: Vec<_> = status
            .brokers
            .iter()
            .map(|it| (it.id, it.state()))
            .collect();
        assert_eq!(
            states,
            [
                (1, "log directory offline"),
                (2, "log directory offline"),
                (3, "fenced")
            ]
        );
        assert_eq!(status.brokers[0].leads, 2);
        assert_eq!(status.brokers[0].replicas, 3);
        assert_eq!(status.partitions_without_leader, 1);
        assert_eq!(status.partitions_under_replicated, 2);
        let sound = MetadataResponse {
            topics: vec![MetadataResponseTopic {
                partitions: vec![partition(1, &[1, 2, 3], &[])],
                ..MetadataResponseTopic::default()
            }],
            ..MetadataResponse::default()
        };
        let status = Status::of(&sound, &cluster);
        assert_eq!(status.brokers[1].state(), "active");
        assert_eq!(status.partitions_under_replicated, 0);
    }
}
