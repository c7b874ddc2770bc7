//! What a consumer asks of a log beside its records: where it ends, what it has of a time, and where an epoch ends. Whoever
//! answers knows at least what had been acknowledged when it was asked.

use std::collections::BTreeMap;

use varve_core::ids::{LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicPartition};
use varve_core::wire::list_offsets::{
    LATEST_TIMESTAMP, ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsTopic,
    MAX_TIMESTAMP,
};
use varve_core::wire::offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use varve_core::wire::{
    ErrorCode, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse, Request, Str,
};

use crate::client::{Client, ClientAction, Consumer, Purpose, Work};
use crate::clock::SimTime;
use crate::history::History;

const LIST_OFFSETS_VERSION: i16 = 7;
const OFFSET_FOR_LEADER_EPOCH_VERSION: i16 = 4;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// The latest offset.
    Latest,
    /// The first record from the greatest timestamp on that was acknowledged.
    Time,
    /// The record with the greatest timestamp.
    MaxTimestamp,
    /// Where the epoch ends of which the last record was that the consumer has read.
    Epoch,
}

impl Question {
    /// All, in the order in which a consumer asks them.
    pub const ALL: [Self; 4] = [Self::Latest, Self::Time, Self::MaxTimestamp, Self::Epoch];
}

/// What is known of a partition when a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Floor {
    /// Behind the last record that was acknowledged.
    end: Offset,
    /// The greatest timestamp of those, and the first offset that has it.
    latest: Option<(Timestamp, Offset)>,
    /// How far the consumer has read, and of which epoch the last record was.
    read: (Offset, LeaderEpoch),
}

impl Client {
    /// Asks every leader what the consumer wants to know, where all of them can be asked.
    pub(super) fn ask(&mut self, now: SimTime, history: &History, actions: &mut Vec<ClientAction>) {
        let Work::Consume(consumer) = &mut self.work else {
            return;
        };
        let Some(question) = consumer.wants else {
            return;
        };
        let Some(known) = self.known.clone() else {
            return;
        };
        let up = |(leader, _): &(u8, i32)| self.links.get(leader).is_some_and(|link| link.up);
        if !known.leaders.values().all(up) {
            return;
        }
        consumer.wants = None;
        let name_epochs = consumer.names_epochs();
        let floor = |index: i32| {
            let partition = TopicPartition {
                topic: known.topic,
                partition: PartitionIndex(index),
            };
            Floor {
                end: history.acknowledged_end(partition),
                latest: history.latest_time(partition),
                read: (consumer.position(index), consumer.last_epoch(index)),
            }
        };
        let asked: Vec<(u8, BTreeMap<i32, Floor>)> = known
            .by_leader()
            .into_iter()
            .map(|(leader, partitions)| {
                let floors = partitions.into_iter().map(|index| (index, floor(index)));
                (leader, floors.collect())
            })
            .collect();
        for (leader, floors) in asked {
            let epoch_of = |index: i32| {
                if name_epochs {
                    known.leaders[&index].1
                } else {
                    -1
                }
            };
            let (api_version, request) = match question {
                Question::Latest | Question::Time | Question::MaxTimestamp => (
                    LIST_OFFSETS_VERSION,
                    Request::ListOffsets(self.list_offsets(question, &floors)),
                ),
                Question::Epoch => (
                    OFFSET_FOR_LEADER_EPOCH_VERSION,
                    Request::OffsetForLeaderEpoch(self.epoch_ends(&floors, epoch_of)),
                ),
            };
            let purpose = Purpose::Ask(question, floors);
            self.call(now, leader, purpose, api_version, request, actions);
        }
    }

    fn list_offsets(
        &self,
        question: Question,
        floors: &BTreeMap<i32, Floor>,
    ) -> ListOffsetsRequest {
        let asked = |(&partition_index, floor): (&i32, &Floor)| ListOffsetsPartition {
            partition_index,
            timestamp: match question {
                Question::MaxTimestamp => MAX_TIMESTAMP,
                Question::Time => floor.latest.map_or(0, |(timestamp, _)| timestamp.0),
                Question::Latest | Question::Epoch => LATEST_TIMESTAMP,
            },
            ..ListOffsetsPartition::default()
        };
        ListOffsetsRequest {
            topics: vec![ListOffsetsTopic {
                name: Str::from(&self.topic),
                partitions: floors.iter().map(asked).collect(),
            }],
            ..ListOffsetsRequest::default()
        }
    }

    fn epoch_ends(
        &self,
        floors: &BTreeMap<i32, Floor>,
        current: impl Fn(i32) -> i32,
    ) -> OffsetForLeaderEpochRequest {
        let asked = |(&partition, floor): (&i32, &Floor)| OffsetForLeaderPartition {
            partition,
            current_leader_epoch: current(partition),
            leader_epoch: floor.read.1.0,
        };
        OffsetForLeaderEpochRequest {
            topics: vec![OffsetForLeaderTopic {
                topic: Str::from(&self.topic),
                partitions: floors.iter().map(asked).collect(),
            }],
            ..OffsetForLeaderEpochRequest::default()
        }
    }

    /// What a leader tells of the end of a log: nothing from before what was acknowledged when it was asked.
    pub(super) fn on_offsets(
        &mut self,
        question: Question,
        floors: &BTreeMap<i32, Floor>,
        response: &ListOffsetsResponse,
        history: &mut History,
    ) {
        let Work::Consume(consumer) = &mut self.work else {
            return;
        };
        for data in response.topics.iter().flat_map(|topic| &topic.partitions) {
            if data.error_code != ErrorCode::None {
                self.setbacks += 1;
                continue;
            }
            consumer.latest_told += u64::from(question == Question::Latest);
            let floor = floors.get(&data.partition_index);
            if let Some(what) = floor.and_then(|floor| floor.is_undercut(question, data)) {
                history.fail(
                    "LatestIsLatest",
                    format!(
                        "c{} was told of partition {} {what} before it asked",
                        self.number, data.partition_index
                    ),
                );
            }
        }
    }

    /// What a leader tells of where an epoch ends: not before what the consumer has read of it.
    pub(super) fn on_epoch_ends(
        &mut self,
        floors: &BTreeMap<i32, Floor>,
        response: &OffsetForLeaderEpochResponse,
        history: &mut History,
    ) {
        for data in response.topics.iter().flat_map(|topic| &topic.partitions) {
            if data.error_code != ErrorCode::None {
                self.setbacks += 1;
                continue;
            }
            let Some((position, epoch)) = floors.get(&data.partition).map(|floor| floor.read)
            else {
                continue;
            };
            if position > Offset(0)
                && (data.leader_epoch != epoch.0 || data.end_offset < position.0)
            {
                history.fail(
                    "EpochsAreKnown",
                    format!(
                        "c{} has read partition {} up to {position} of epoch {epoch}, and is told that epoch {} ends at {}",
                        self.number, data.partition, data.leader_epoch, data.end_offset
                    ),
                );
            }
        }
    }
}

impl Floor {
    /// What is wrong with an answer.
    fn is_undercut(
        &self,
        question: Question,
        data: &ListOffsetsPartitionResponse,
    ) -> Option<String> {
        match question {
            Question::Latest | Question::Epoch => (data.offset < self.end.0).then(|| {
                let (end, acknowledged) = (data.offset, self.end);
                format!("that it ends at {end}, when {acknowledged} had been acknowledged")
            }),
            Question::Time => self.latest.and_then(|(timestamp, offset)| {
                let is_found = (0..=offset.0).contains(&data.offset) && data.timestamp >= timestamp.0;
                let found = data.offset;
                (!is_found).then(|| {
                    format!("that {found} is the first from {timestamp} on, when {offset} had been acknowledged with that")
                })
            }),
            Question::MaxTimestamp => self.latest.and_then(|(timestamp, offset)| {
                let greatest = data.timestamp;
                (greatest < timestamp.0).then(|| {
                    format!("that {greatest} is its greatest timestamp, when {offset} had been acknowledged with {timestamp}")
                })
            }),
        }
    }
}

impl Consumer {
    /// Of which epoch the last record was that it has read of a partition.
    fn last_epoch(&self, partition: i32) -> LeaderEpoch {
        self.epochs.get(&partition).copied().unwrap_or_default()
    }
}
