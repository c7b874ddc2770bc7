//! `varve topic reassign`: a partition's replicas on other brokers.

use serde::Serialize;
use varve_core::wire::alter_partition_reassignments::{ReassignablePartition, ReassignableTopic};
use varve_core::wire::list_partition_reassignments::{
    ListPartitionReassignmentsTopics, OngoingPartitionReassignment,
};
use varve_core::wire::{
    AlterPartitionReassignmentsRequest, ErrorCode, ListPartitionReassignmentsRequest, Request,
    Response,
};
use varve_net::client::{Client, ClientError};

use super::TIMEOUT_MS;
use crate::commands::Failure;
use crate::commands::show::{Access, counted, list};

/// What is wanted of the partitions of a topic.
pub(super) enum ReassignAction {
    /// This partition's replicas on these brokers.
    Move(i32, Vec<i32>),
    /// Where they were before, in this partition or in all that are being moved.
    Cancel(Option<i32>),
    /// To know what is being moved.
    Show(Option<i32>),
}

pub(super) async fn run(
    access: &Access,
    client: &mut Client,
    topic: &str,
    action: ReassignAction,
) -> Result<(), Failure> {
    match action {
        ReassignAction::Move(partition, replicas) => {
            begin(access, client, topic, partition, replicas).await
        }
        ReassignAction::Cancel(partition) => cancel(access, client, topic, partition).await,
        ReassignAction::Show(partition) => {
            let ongoing = ongoing(client, topic, partition).await?;
            if ongoing.is_empty() {
                access.note(&format!("no partition of {topic} is being reassigned"));
            }
            access.show(
                &["PARTITION", "REPLICAS", "ADDING", "REMOVING"],
                &ongoing,
                |row| {
                    vec![
                        row.partition.to_string(),
                        list(&row.replicas),
                        list(&row.adding),
                        list(&row.removing),
                    ]
                },
            )
        }
    }
}

async fn begin(
    access: &Access,
    client: &mut Client,
    topic: &str,
    partition: i32,
    replicas: Vec<i32>,
) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Begun<'a> {
        topic: &'a str,
        partition: i32,
        replicas: &'a [i32],
    }
    alter(client, topic, &[partition], Some(&replicas), None).await?;
    let words = format!(
        "partition {partition} of {topic} is being reassigned to brokers {}; varve topic reassign {topic} lists it until that is done",
        list(&replicas)
    );
    let begun = Begun {
        topic,
        partition,
        replicas: &replicas,
    };
    access.done(&words, &begun)
}

async fn cancel(
    access: &Access,
    client: &mut Client,
    topic: &str,
    partition: Option<i32>,
) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Cancelled<'a> {
        topic: &'a str,
        cancelled: &'a [i32],
    }
    let (partitions, tolerated) = match partition {
        Some(partition) => (vec![partition], None),
        None => {
            let ongoing = ongoing(client, topic, None).await?;
            let partitions = ongoing.iter().map(|row| row.partition).collect();
            // What is cancelled already is listed until who was added is removed, and others may be done by now.
            (partitions, Some(ErrorCode::NoReassignmentInProgress))
        }
    };
    let partitions = alter(client, topic, &partitions, None, tolerated).await?;
    let number = counted(partitions.len() as u64, "reassignment", "reassignments");
    let cancelled = Cancelled {
        topic,
        cancelled: &partitions,
    };
    access.done(&format!("cancelled {number} of {topic}"), &cancelled)
}

/// A partition that is being reassigned, for programs.
#[derive(Debug, Serialize)]
struct Ongoing {
    partition: i32,
    replicas: Vec<i32>,
    adding: Vec<i32>,
    removing: Vec<i32>,
}

impl Ongoing {
    fn of(ongoing: OngoingPartitionReassignment) -> Self {
        Self {
            partition: ongoing.partition_index,
            replicas: ongoing.replicas,
            adding: ongoing.adding_replicas,
            removing: ongoing.removing_replicas,
        }
    }
}

/// What is being reassigned of a topic that exists, by partition.
async fn ongoing(
    client: &mut Client,
    topic: &str,
    partition: Option<i32>,
) -> Result<Vec<Ongoing>, Failure> {
    let known = client.topic(topic).await?;
    let all = || {
        known
            .partitions
            .iter()
            .map(|partition| partition.partition_index)
    };
    let asked = ListPartitionReassignmentsTopics {
        name: topic.into(),
        partition_indexes: partition.map_or_else(|| all().collect(), |one| vec![one]),
    };
    let request = ListPartitionReassignmentsRequest {
        timeout_ms: TIMEOUT_MS,
        topics: Some(vec![asked]),
    };
    let request = Request::ListPartitionReassignments(request);
    let Response::ListPartitionReassignments(answer) = client.send(request).await? else {
        unreachable!("an answer is read as that of its request");
    };
    ClientError::check(answer.error_code, answer.error_message.as_ref())?;
    let topics = answer.topics.into_iter();
    let mut ongoing: Vec<Ongoing> = topics
        .flat_map(|topic| topic.partitions)
        .map(Ongoing::of)
        .collect();
    ongoing.sort_by_key(|row| row.partition);
    Ok(ongoing)
}

/// Has the partitions go to these brokers, or back to where they were. Returns those of which no error was told.
async fn alter(
    client: &mut Client,
    topic: &str,
    partitions: &[i32],
    replicas: Option<&[i32]>,
    tolerated: Option<ErrorCode>,
) -> Result<Vec<i32>, Failure> {
    let partition = |&partition_index: &i32| ReassignablePartition {
        partition_index,
        replicas: replicas.map(<[i32]>::to_vec),
    };
    let request = AlterPartitionReassignmentsRequest {
        timeout_ms: TIMEOUT_MS,
        topics: vec![ReassignableTopic {
            name: topic.into(),
            partitions: partitions.iter().map(partition).collect(),
        }],
        ..AlterPartitionReassignmentsRequest::default()
    };
    let request = Request::AlterPartitionReassignments(request);
    let Response::AlterPartitionReassignments(answer) = client.send(request).await? else {
        unreachable!("an answer is read as that of its request");
    };
    let of_topic = |error: ClientError| error.of_topic(topic);
    ClientError::check(answer.error_code, answer.error_message.as_ref()).map_err(of_topic)?;
    let outcomes = answer.responses.iter().flat_map(|topic| &topic.partitions);
    let mut altered = Vec::with_capacity(partitions.len());
    for outcome in outcomes.filter(|outcome| Some(outcome.error_code) != tolerated) {
        ClientError::check(outcome.error_code, outcome.error_message.as_ref()).map_err(of_topic)?;
        altered.push(outcome.partition_index);
    }
    Ok(altered)
}
