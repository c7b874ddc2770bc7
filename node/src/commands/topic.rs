//! `varve topic`: what topics there are, and making and removing them.

mod reassignment;

use clap::Subcommand;
use serde::Serialize;
use varve_core::cluster::{InvalidName, check_topic_name};
use varve_core::wire::create_topics::{CreatableTopic, CreatableTopicConfig};
use varve_core::wire::delete_topics::DeleteTopicState;
use varve_core::wire::describe_configs::{
    DescribeConfigsResourceResult, SOURCE_DEFAULT, SOURCE_DYNAMIC_BROKER,
    SOURCE_DYNAMIC_DEFAULT_BROKER, SOURCE_STATIC_BROKER, SOURCE_TOPIC,
};
use varve_core::wire::metadata::{MetadataResponsePartition, MetadataResponseTopic};
use varve_core::wire::{
    CreateTopicsRequest, DeleteTopicsRequest, ErrorCode, Request, Response, Str,
};
use varve_net::client::{Client, ClientError};

use super::Failure;
use super::show::{Access, counted, list, print_line, print_table};
use reassignment::ReassignAction;

/// Says in a request that the broker's default is wanted.
const BROKERS_DEFAULT: i16 = -1;

/// How long the cluster may take to create or delete, in milliseconds.
const TIMEOUT_MS: i32 = 30_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) access: Access,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a topic.
    Create {
        /// Its name.
        #[arg(value_parser = parse_name)]
        name: String,
        /// Number of partitions; the broker's num.partitions where it is not given.
        #[arg(
            long,
            allow_negative_numbers = true,
            value_parser = clap::value_parser!(i32).range(1..)
        )]
        partitions: Option<i32>,
        /// Copies of each partition; the broker's default.replication.factor where it is not given.
        #[arg(
            long,
            allow_negative_numbers = true,
            value_parser = clap::value_parser!(i16).range(1..)
        )]
        replication_factor: Option<i16>,
        /// A configuration of the topic, as KEY=VALUE; may be given more than once.
        #[arg(long = "config", value_name = "KEY=VALUE", value_parser = parse_config)]
        configs: Vec<(String, String)>,
    },
    /// List all topics.
    List,
    /// Show a topic's configurations and partitions.
    Describe {
        /// Its name.
        #[arg(value_parser = parse_name)]
        name: String,
    },
    /// Reassign a partition's replicas to other brokers, cancel that, or list a topic's reassignments in progress.
    Reassign {
        /// The topic's name.
        #[arg(value_parser = parse_name)]
        name: String,
        /// Which partition.
        #[arg(
            long,
            allow_negative_numbers = true,
            value_parser = clap::value_parser!(i32).range(0..)
        )]
        partition: Option<i32>,
        /// The brokers that its replicas are to be on, as in 4,1,2; the first is the preferred leader.
        #[arg(
            long,
            value_name = "BROKERS",
            value_delimiter = ',',
            value_parser = clap::value_parser!(i32).range(0..),
            requires = "partition",
            conflicts_with = "cancel"
        )]
        replicas: Option<Vec<i32>>,
        /// Cancel the reassignment of this partition, or all of the topic's, and go back to the replicas from before.
        #[arg(long)]
        cancel: bool,
    },
    /// Delete a topic and its records, for good.
    Delete {
        /// Its name.
        #[arg(value_parser = parse_name)]
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
                num_partitions: partitions.unwrap_or(BROKERS_DEFAULT.into()),
                replication_factor: replication_factor.unwrap_or(BROKERS_DEFAULT),
                assignments: Vec::new(),
                configs: configs
                    .iter()
                    .map(|(name, value)| CreatableTopicConfig {
                        name: Str::from(name.as_str()),
                        value: Some(Str::from(value.as_str())),
                    })
                    .collect(),
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
        Action::Reassign {
            name,
            partition,
            replicas,
            cancel,
        } => {
            let reassign_action = match (partition, replicas, cancel) {
                (Some(partition), Some(replicas), _) => ReassignAction::Move(partition, replicas),
                (partition, _, true) => ReassignAction::Cancel(partition),
                (partition, _, false) => ReassignAction::Show(partition),
            };
            reassignment::run(&access, &mut client, &name, reassign_action).await
        }
        Action::Delete { name } => delete(&access, &mut client, &name).await,
    }
}

/// A topic's name, as any cluster would take it.
pub(super) fn parse_name(name: &str) -> Result<String, InvalidName> {
    check_topic_name(name).map(|()| name.to_owned())
}

fn parse_config(config: &str) -> Result<(String, String), String> {
    match config.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("expected KEY=VALUE, as in retention.ms=86400000".to_owned()),
    }
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
    let Response::CreateTopics(answer) = client.send(Request::CreateTopics(request)).await? else {
        unreachable!("an answer is read as that of its request");
    };
    let created = answer
        .topics
        .first()
        .ok_or("the broker's answer does not name the topic")?;
    ClientError::check(created.error_code, created.error_message.as_ref())
        .map_err(|error| error.of_topic(name.as_str()))?;
    if let Some(warning) = &created.error_message {
        access.note(warning.as_str());
    }
    let summary = Summary {
        name: name.as_str().to_owned(),
        id: created.topic_id.to_string(),
        partitions: usize::try_from(created.num_partitions).unwrap_or(0),
        replication_factor: usize::try_from(created.replication_factor).unwrap_or(0),
    };
    let words = format!(
        "created topic {} with {}, {}",
        summary.name,
        counted(summary.partitions as u64, "partition", "partitions"),
        copies_each(&summary)
    );
    access.done(&words, &summary)
}

fn copies_each(summary: &Summary) -> String {
    match (summary.partitions, summary.replication_factor) {
        (1, copies) => counted(copies as u64, "copy", "copies"),
        (_, copies) => counted(copies as u64, "copy each", "copies each"),
    }
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
    let Response::DeleteTopics(answer) = client.send(Request::DeleteTopics(request)).await? else {
        unreachable!("an answer is read as that of its request");
    };
    let deleted = answer
        .responses
        .first()
        .ok_or("the broker's answer does not name the topic")?;
    ClientError::check(deleted.error_code, deleted.error_message.as_ref())
        .map_err(|error| error.of_topic(name))?;
    #[derive(Serialize)]
    struct Deleted<'a> {
        deleted: &'a str,
    }
    access.done(&format!("deleted topic {name}"), &Deleted { deleted: name })
}

/// A topic, for programs.
#[derive(Debug, Serialize)]
struct Description {
    name: String,
    id: String,
    configs: Vec<Config>,
    partitions: Vec<Partition>,
}

#[derive(Debug, Serialize)]
struct Config {
    name: String,
    /// `None` where it is a secret, or not set.
    value: Option<String>,
    source: &'static str,
}

impl Config {
    fn of(config: &DescribeConfigsResourceResult) -> Self {
        Self {
            name: config.name.as_str().to_owned(),
            value: config.value.as_ref().map(|value| value.as_str().to_owned()),
            source: match config.config_source {
                SOURCE_TOPIC => "topic",
                SOURCE_DYNAMIC_BROKER | SOURCE_DYNAMIC_DEFAULT_BROKER | SOURCE_STATIC_BROKER => {
                    "broker"
                }
                SOURCE_DEFAULT => DEFAULT,
                _ => "unknown",
            },
        }
    }
}

/// Where a configuration comes from that nobody has set.
const DEFAULT: &str = "default";

#[derive(Debug, Serialize)]
struct Partition {
    partition: i32,
    leader: Option<i32>,
    leader_epoch: i32,
    replicas: Vec<i32>,
    isr: Vec<i32>,
    /// Replicas whose broker, or its log directory, is gone.
    offline: Vec<i32>,
    error: Option<&'static str>,
}

impl Partition {
    fn of(partition: &MetadataResponsePartition) -> Self {
        Self {
            partition: partition.partition_index,
            leader: (partition.leader_id >= 0).then_some(partition.leader_id),
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes.clone(),
            isr: partition.isr_nodes.clone(),
            offline: partition.offline_replicas.clone(),
            error: (partition.error_code != ErrorCode::None).then(|| partition.error_code.name()),
        }
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.partition.to_string(),
            self.leader
                .map_or_else(|| "none".to_owned(), |leader| leader.to_string()),
            self.leader_epoch.to_string(),
            list(&self.replicas),
            list(&self.isr),
            list(&self.offline),
            self.error.unwrap_or_default().to_owned(),
        ]
    }
}

async fn describe(access: &Access, client: &mut Client, name: &str) -> Result<(), Failure> {
    let topic = client.topic(name).await?;
    let configs = client.topic_configs(name).await?;
    let mut partitions: Vec<Partition> = topic.partitions.iter().map(Partition::of).collect();
    partitions.sort_by_key(|row| row.partition);
    let description = Description {
        name: name.to_owned(),
        id: topic.topic_id.to_string(),
        configs: configs.iter().map(Config::of).collect(),
        partitions,
    };
    if access.json {
        return print_line(&serde_json::to_string_pretty(&description)?);
    }
    print_line(&format!("topic       {name}"))?;
    print_line(&format!("id          {}", description.id))?;
    for line in config_lines(&description.configs) {
        print_line(&line)?;
    }
    print_line("")?;
    print_table(
        &[
            "PARTITION",
            "LEADER",
            "EPOCH",
            "REPLICAS",
            "IN SYNC",
            "OFFLINE",
            "",
        ],
        description.partitions.iter().map(Partition::cells),
    )
}

/// What is not as it is by default, a line each.
fn config_lines(configs: &[Config]) -> Vec<String> {
    let mut heading = "configured";
    let set = configs.iter().filter(|config| config.source != DEFAULT);
    let lines = set.map(
        |Config {
             name,
             value,
             source,
         }| {
            let value = value.as_deref().unwrap_or("(not shown)");
            let line = format!("{heading:<11} {name} = {value} (set for the {source})");
            heading = "";
            line
        },
    );
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_somebody_has_set_is_shown_to_people() {
        let config = |name: &'static str, value: Option<&'static str>, config_source| {
            Config::of(&DescribeConfigsResourceResult {
                name: name.into(),
                value: value.map(Str::from),
                config_source,
                ..DescribeConfigsResourceResult::default()
            })
        };
        let configs = [
            config("flush", Some("replicated"), SOURCE_TOPIC),
            config("retention.ms", Some("1"), SOURCE_DEFAULT),
            config("secret", None, SOURCE_STATIC_BROKER),
        ];
        assert_eq!(
            config_lines(&configs),
            [
                "configured  flush = replicated (set for the topic)",
                "            secret = (not shown) (set for the broker)",
            ]
        );
    }

    #[test]
    fn one_is_no_plural() {
        let summary = |partitions, replication_factor| Summary {
            name: "t".to_owned(),
            id: String::new(),
            partitions,
            replication_factor,
        };
        assert_eq!(copies_each(&summary(1, 1)), "1 copy");
        assert_eq!(copies_each(&summary(1, 3)), "3 copies");
        assert_eq!(copies_each(&summary(3, 1)), "1 copy each");
        assert_eq!(copies_each(&summary(3, 3)), "3 copies each");
        assert_eq!(counted(1, "partition", "partitions"), "1 partition");
        assert_eq!(counted(0, "partition", "partitions"), "0 partitions");
    }
}
