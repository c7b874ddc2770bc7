//! Reassignments: move replicas of partitions to other brokers, and back if an administrator cancels it.
//!
//! Only the target is recorded. The partition's leader changes one voter after the other, and the reassignment is in
//! progress until the leader has reported the target as its committed voters.

use std::collections::BTreeMap;

use super::PlanError;
use super::topics::{Plan, assigned_voters};
use crate::cluster::image::{ClusterImage, PartitionImage};
use crate::cluster::record::MetadataRecord;
use crate::ids::{BrokerId, PartitionIndex, TopicPartition, Voter};
use crate::wire::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use crate::wire::{ErrorCode, Str};

/// Begins and cancels reassignments. Each partition succeeds or fails by itself.
pub(super) fn alter(
    image: &ClusterImage,
    request: &AlterPartitionReassignmentsRequest,
) -> Plan<AlterPartitionReassignmentsResponse> {
    let mut altered = BTreeMap::new();
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let found = find(image, &topic.name, asked.partition_index);
            let outcome = found.and_then(|(id, partition)| {
                let record = match &asked.replicas {
                    None => cancelled(image, id, partition),
                    Some(_) => reassigned(image, id, partition, asked, request),
                };
                record.map(|record| altered.insert(id, record))
            });
            let (error_code, error_message) = match outcome {
                Ok(_) => (ErrorCode::None, None),
                // Kafka leaves out a message that only repeats its error.
                Err(refusal) if refusal.message.is_empty() => (refusal.code, None),
                Err(refusal) => (refusal.code, Some(refusal.message.into())),
            };
            partitions.push(ReassignablePartitionResponse {
                partition_index: asked.partition_index,
                error_code,
                error_message,
            });
        }
        responses.push(ReassignableTopicResponse {
            name: topic.name.clone(),
            partitions,
        });
    }
    Plan {
        // Of a partition that is named twice the last entry that is not refused applies.
        records: altered.into_values().flatten().collect(),
        response: AlterPartitionReassignmentsResponse {
            allow_replication_factor_change: request.allow_replication_factor_change,
            // Kafka too answers an empty request with an empty message that is not null.
            error_message: request.topics.is_empty().then(Str::default),
            responses,
            ..AlterPartitionReassignmentsResponse::default()
        },
    }
}

fn find<'a>(
    image: &'a ClusterImage,
    name: &Str,
    index: i32,
) -> Result<(TopicPartition, &'a PartitionImage), PlanError> {
    let unknown = |message| PlanError::new(ErrorCode::UnknownTopicOrPartition, message);
    let topic = image.topic_named(name);
    let topic = topic.ok_or_else(|| unknown(format!("Unable to find a topic named {name}.")))?;
    let partition = topic.partition(PartitionIndex(index));
    let partition =
        partition.ok_or_else(|| unknown(format!("Unable to find partition {name}:{index}.")))?;
    let id = TopicPartition {
        topic: topic.id,
        partition: PartitionIndex(index),
    };
    Ok((id, partition))
}

/// Restores the target from before the reassignment in progress.
fn cancelled(
    image: &ClusterImage,
    id: TopicPartition,
    partition: &PartitionImage,
) -> Result<Option<MetadataRecord>, PlanError> {
    let Some(original) = &partition.original else {
        return Err(PlanError::new(ErrorCode::NoReassignmentInProgress, ""));
    };
    let original: Vec<i32> = original.iter().map(|broker| broker.0).collect();
    Ok(Some(MetadataRecord::Reassignment {
        partition: id,
        target: assigned_voters(image, &original)?,
        original: Vec::new(),
    }))
}

/// Sets the requested target; nothing is recorded where it is the target already.
fn reassigned(
    image: &ClusterImage,
    id: TopicPartition,
    partition: &PartitionImage,
    asked: &ReassignablePartition,
    request: &AlterPartitionReassignmentsRequest,
) -> Result<Option<MetadataRecord>, PlanError> {
    let target = assigned_voters(image, asked.replicas.as_deref().unwrap_or_default())?;
    let (before, after) = (partition.target.len(), target.len());
    if before != after && !request.allow_replication_factor_change {
        return Err(PlanError::new(
            ErrorCode::InvalidReplicationFactor,
            format!("The replication factor is changed from {before} to {after}"),
        ));
    }
    if target == partition.target {
        return Ok(None);
    }
    let original = match &partition.original {
        Some(original) => original.clone(),
        None => brokers(&partition.target),
    };
    Ok(Some(MetadataRecord::Reassignment {
        partition: id,
        target,
        original,
    }))
}

fn brokers(voters: &[Voter]) -> Vec<BrokerId> {
    voters.iter().map(|voter| voter.broker).collect()
}
