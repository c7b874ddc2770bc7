//! Requests of clients and their responses, in a line each.

use std::fmt::Write as _;

use crate::ids::Offset;
use crate::wire::list_offsets::{LATEST_TIMESTAMP, MAX_TIMESTAMP};
use crate::wire::{ErrorCode, Request, Response};

use super::Offsets;

/// A client's request; `None` for what only keeps things going.
#[must_use]
pub fn request(number: u64, request: &Request) -> Option<String> {
    match request {
        Request::Produce(request) => {
            let acks = match request.acks {
                -1 => "all".to_owned(),
                acks => acks.to_string(),
            };
            let records: i32 = request
                .topic_data
                .iter()
                .flat_map(|topic| &topic.partition_data)
                .filter_map(|data| data.records.as_ref())
                .filter_map(|records| crate::record::BatchHeader::parse(&records.to_bytes()).ok())
                .map(|header| header.record_count)
                .sum();
            let plural = if records == 1 { "" } else { "s" };
            Some(format!(
                "Produce #{number} acks={acks}  {records} record{plural}"
            ))
        }
        Request::CreateTopics(request) => {
            let mut text = format!("CreateTopics #{number}");
            for topic in &request.topics {
                let _ = write!(text, " {}", topic.name);
            }
            Some(text)
        }
        Request::ListOffsets(request) => {
            let asked = request.topics.first()?.partitions.first()?;
            Some(match asked.timestamp {
                LATEST_TIMESTAMP => format!("ListOffsets #{number} latest"),
                MAX_TIMESTAMP => format!("ListOffsets #{number} greatest timestamp"),
                timestamp => format!("ListOffsets #{number} from {timestamp}"),
            })
        }
        Request::OffsetForLeaderEpoch(request) => {
            let epoch = request.topics.first()?.partitions.first()?.leader_epoch;
            Some(format!("OffsetForLeaderEpoch #{number} e{epoch}"))
        }
        Request::Fetch(_)
        | Request::Metadata(_)
        | Request::FindCoordinator(_)
        | Request::ApiVersions(_)
        | Request::DeleteTopics(_)
        | Request::InitProducerId(_)
        | Request::DescribeConfigs(_)
        | Request::CreatePartitions(_)
        | Request::AlterPartitionReassignments(_)
        | Request::ListPartitionReassignments(_)
        | Request::DescribeCluster(_)
        | Request::DescribeTopicPartitions(_)
        | Request::OffsetCommit(_)
        | Request::OffsetFetch(_)
        | Request::JoinGroup(_)
        | Request::Heartbeat(_)
        | Request::LeaveGroup(_)
        | Request::SyncGroup(_)
        | Request::DescribeGroups(_)
        | Request::ListGroups(_)
        | Request::DeleteGroups(_)
        | Request::OffsetDelete(_)
        | Request::ConsumerGroupHeartbeat(_)
        | Request::ConsumerGroupDescribe(_) => None,
    }
}

/// An answer to a client; `None` for what only keeps things going.
#[must_use]
pub fn response(number: u64, response: &Response) -> Option<String> {
    match response {
        Response::Produce(response) => {
            let data = response
                .responses
                .first()
                .and_then(|topic| topic.partition_responses.first())?;
            Some(if data.error_code == ErrorCode::None {
                format!("Produce #{number}  offset {}", data.base_offset)
            } else {
                format!("Produce #{number}  {}", data.error_code.name())
            })
        }
        Response::Fetch(response) => {
            let data = response
                .responses
                .iter()
                .flat_map(|topic| &topic.partitions)
                .find(|data| {
                    data.error_code != ErrorCode::None
                        || data
                            .records
                            .as_ref()
                            .is_some_and(|records| !records.is_empty())
                })?;
            if data.error_code != ErrorCode::None {
                return Some(format!("Fetch #{number}  {}", data.error_code.name()));
            }
            let mut bytes = data.records.as_ref()?.to_bytes();
            let mut ends = None;
            while let Ok(batch) = crate::record::Batch::split_from(&mut bytes) {
                let (from, _) = ends.unwrap_or((batch.header.base_offset, Offset(0)));
                ends = Some((from, batch.header.next_offset()));
            }
            let (from, end) = ends?;
            Some(format!(
                "Fetch #{number}  {}  hw {}",
                Offsets(from, end),
                data.high_watermark
            ))
        }
        Response::CreateTopics(response) => {
            let error = response.topics.first()?.error_code;
            Some(format!("CreateTopics #{number}  {}", error.name()))
        }
        Response::ListOffsets(response) => {
            let data = response.topics.first()?.partitions.first()?;
            Some(if data.error_code == ErrorCode::None {
                format!("ListOffsets #{number}  offset {}", data.offset)
            } else {
                format!("ListOffsets #{number}  {}", data.error_code.name())
            })
        }
        Response::OffsetForLeaderEpoch(response) => {
            let data = response.topics.first()?.partitions.first()?;
            Some(if data.error_code == ErrorCode::None {
                let (epoch, end) = (data.leader_epoch, data.end_offset);
                format!("OffsetForLeaderEpoch #{number}  e{epoch} ends at {end}")
            } else {
                let error = data.error_code.name();
                format!("OffsetForLeaderEpoch #{number}  {error}")
            })
        }
        Response::Metadata(_)
        | Response::FindCoordinator(_)
        | Response::ApiVersions(_)
        | Response::DeleteTopics(_)
        | Response::InitProducerId(_)
        | Response::DescribeConfigs(_)
        | Response::CreatePartitions(_)
        | Response::AlterPartitionReassignments(_)
        | Response::ListPartitionReassignments(_)
        | Response::DescribeCluster(_)
        | Response::DescribeTopicPartitions(_)
        | Response::OffsetCommit(_)
        | Response::OffsetFetch(_)
        | Response::JoinGroup(_)
        | Response::Heartbeat(_)
        | Response::LeaveGroup(_)
        | Response::SyncGroup(_)
        | Response::DescribeGroups(_)
        | Response::ListGroups(_)
        | Response::DeleteGroups(_)
        | Response::OffsetDelete(_)
        | Response::ConsumerGroupHeartbeat(_)
        | Response::ConsumerGroupDescribe(_) => None,
    }
}
