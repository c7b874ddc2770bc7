//! `varve topic`: what topics there are, and making and removing them.

use clap::Subcommand;
use serde::Serialize;
use varve_core::wire::create_topics::{CreatableTopic, CreatableTopicConfig};
use varve_core::wire::delete_topics::DeleteTopicState;
use varve_core::wire::metadata::MetadataResponseTopic;
use varve_core::wire::{
    CreateTopicsRequest, DeleteTopicsRequest, ErrorCode, Request, Response, Str,
};
use varve_net::client::{Client, ClientError};

use super::Failure;
use super::show::{Access, list};

/// How long the cluster may take to create or delete, in milliseconds.
const TIMEOUT_MS: i32 = 30_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    access: Access,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a topic.
    Create {
        /// Its name.
        name: String,
        /// Number of partitions; the broker's num.partitions where it is not given.
        #[arg(long, default_value_t = -1, hide_default_value = true)]
        partitions: i32,
        /// Copies of each partition; the broker's default.replication.factor where it is not given.
        #[arg(long, default_value_t = -1, hide_default_value = true)]
        replication_factor: i16,
        /// A configuration of the topic, as KEY=VALUE; may be given more than once.
        #[arg(long = "config", value_name = "KEY=VALUE")]
        configs: Vec<String>,
    },
    /// List all topics.
    List,
    /// Show the partitions of a topic.
    Describe {
        /// Its name.
        name: String,
    },
    /// Delete a topic and its records, for good.
    Delete {
        /// Its name.
        name: String,
    },
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { access, action } = arguments;
    let mut client = access.connect().await?;
    match action {
        Action::Create {
            name,
            partitions,
            replication_factor,
            configs,
        } => {
            let topic = CreatableTopic {
                name: Str::from(name.as_str()),
                num_partitions: partitions,
                replication_factor,
                assignments: Vec::new(),
                configs: configs
                    .iter()
                    .map(|config| parse_config(config))
                    .collect::<Result<_, _>>()?,
            };
            create(&access, &mut client, topic).await
        }
        Action::List => {
            let metadata = client.metadata(None).await?;
            let rows: Vec<Summary> = metadata.topics.iter().map(Summary::of).collect();
            access.show(
                &["TOPIC", "PARTITIONS", "REPLICATION", "ID"],
                &rows,
                |row| {
                    vec![
                        row.name.clone(),
                        row.partitions.to_string(),
                        row.replication_factor.to_string(),
                        row.id.clone(),
                    ]
                },
            )
        }
        Action::Describe { name } => describe(&access, &mut client, &name).await,
        Action::Delete { name } => delete(&access, &mut client, &name).await,
    }
}

fn parse_config(config: &str) -> Result<CreatableTopicConfig, Failure> {
    let (name, value) = config.split_once('=').ok_or_else(|| {
        format!("--config {config}: expected KEY=VALUE, as in retention.ms=86400000")
    })?;
    Ok(CreatableTopicConfig {
        name: Str::from(name),
        value: Some(Str::from(value)),
    })
}

#[derive(Debug, Serialize)]
struct Summary {
    name: String,
    id: String,
    partitions: usize,
    replication_factor: usize,
}

impl Summary {
    fn of(topic: &MetadataResponseTopic) -> Self {
        Self {
            name: topic
                .name
                .as_ref()
                .map(|name| name.as_str().to_owned())
                .unwrap_or_default(),
            id: topic.topic_id.to_string(),
            partitions: topic.partitions.len(),
            replication_factor: topic
                .partitions
                .iter()
                .map(|p| p.replica_nodes.len())
                .max()
                .unwrap_or(0),
        }
    }
}

async fn create(
    access: &Access,
    client: &mut Client,
    topic: CreatableTopic,
) -> Result<(), Failure> {
    let name = topic.name.clone();
    let request = CreateTopicsRequest {
        topics: vec![topic],
        timeout_ms: TIMEOUT_MS,
        validate_only: false,
    };
    let Response::CreateTopics(answer) = client.ask(Request::CreateTopics(request)).await? else {
        unreachable!("an answer is read as that of its request");
    };
    let created = answer
        .topics
        .first()
        .ok_or("the broker's answer does not name the topic")?;
    ClientError::check(created.error_code, created.error_message.as_ref())?;
    if let Some(warning) = &created.error_message {
        eprintln!("varve: note: {}", warning.as_str());
    }
    let summary = Summary {
        name: name.as_str().to_owned(),
        id: created.topic_id.to_string(),
        partitions: usize::try_from(created.num_partitions).unwrap_or(0),
        replication_factor: usize::try_from(created.replication_factor).unwrap_or(0),
    };
    let words = format!(
        "created topic {} with {} partitions, {} copies each",
        summary.name, summary.partitions, summary.replication_factor
    );
    access.done(&words, &summary)
}

async fn delete(access: &Access, client: &mut Client, name: &str) -> Result<(), Failure> {
    let request = DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: Some(Str::from(name)),
            ..DeleteTopicState::default()
        }],
        topic_names: vec![Str::from(name)],
        timeout_ms: TIMEOUT_MS,
    };
    let Response::DeleteTopics(answer) = client.ask(Request::DeleteTopics(request)).await? else {
        unreachable!("an answer is read as that of its request");
    };
    let deleted = answer
        .responses
        .first()
        .ok_or("the broker's answer does not name the topic")?;
    ClientError::check(deleted.error_code, deleted.error_message.as_ref())?;
    #[derive(Serialize)]
    struct Deleted<'a> {
        deleted: &'a str,
    }
    access.done(&format!("deleted topic {name}"), &Deleted { deleted: name })
}

#[derive(Debug, Serialize)]
struct Partition {
    partition: i32,
    leader: Option<i32>,
    leader_epoch: i32,
    replicas: Vec<i32>,
    isr: Vec<i32>,
    error: Option<&'static str>,
}

async fn describe(access: &Access, client: &mut Client, name: &str) -> Result<(), Failure> {
    let topic = client.topic(name).await?;
    let mut rows: Vec<Partition> = topic
        .partitions
        .iter()
        .map(|partition| Partition {
            partition: partition.partition_index,
            leader: (partition.leader_id >= 0).then_some(partition.leader_id),
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes.clone(),
            isr: partition.isr_nodes.clone(),
            error: (partition.error_code != ErrorCode::None).then(|| partition.error_code.name()),
        })
        .collect();
    rows.sort_by_key(|row| row.partition);
    access.show(
        &["PARTITION", "LEADER", "EPOCH", "REPLICAS", "IN SYNC", ""],
        &rows,
        |row| {
            vec![
                row.partition.to_string(),
                row.leader
                    .map_or_else(|| "none".to_owned(), |leader| leader.to_string()),
                row.leader_epoch.to_string(),
                list(&row.replicas),
                list(&row.isr),
                row.error.unwrap_or_default().to_owned(),
            ]
        },
    )
}
