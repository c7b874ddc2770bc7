//! What a consumer asks of a log beside its records: where it ends, what it has of a time, and where an epoch ends. Whoever
//! answers knows at least what had been acknowledged, or read, when it was asked.

use std::collections::BTreeMap;

use varve_core::ids::{LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId, TopicPartition};
use varve_core::wire::list_offsets::{
    LATEST_TIMESTAMP, ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsTopic,
    MAX_TIMESTAMP,
};
use varve_core::wire::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use varve_core::wire::{
    ErrorCode, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse, Request, Str,
};

use crate::checkers::show_partition;
use crate::client::consumer::Purpose;
use crate::client::network_client::by_topic;
use crate::client::{ClientAction, ClusterMetadata, Consumer, NetworkClient};
use crate::clock::SimTime;
use crate::history::History;

const LIST_OFFSETS_VERSION: i16 = 7;
const OFFSET_FOR_LEADER_EPOCH_VERSION: i16 = 4;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The latest offset.
    Latest,
    /// The first record from the timestamp on of one that was acknowledged.
    Time,
    /// The record with the greatest timestamp.
    MaxTimestamp,
    /// Where the epoch ends of which the last record was that the consumer has read.
    EpochEnd,
}

impl OffsetQuery {
    /// All, in the order in which a consumer asks them.
    pub const ALL: [Self; 4] = [Self::Latest, Self::Time, Self::MaxTimestamp, Self::EpochEnd];
}

/// What a consumer knows of a partition when it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Floor {
    /// Behind the last record that was acknowledged for good, or that the consumer has read.
    end: Offset,
    /// A timestamp of a record that was acknowledged for good, and the first offset at which that, or a later one, was: what
    /// is asked for by time.
    time: Option<(Timestamp, Offset)>,
    /// The greatest timestamp that was acknowledged for good.
    greatest: Option<Timestamp>,
    /// How far the consumer has read, and of which epoch the last record was.
    read: Option<(Offset, LeaderEpoch)>,
    /// The current leader epoch that it names.
    current_leader_epoch: i32,
}

impl Consumer {
    /// Asks every leader what the consumer wants to know, where all of them can be asked.
    pub(super) fn query_offsets(
        &mut self,
        now: SimTime,
        network: &mut NetworkClient,
        history: &History,
        actions: &mut Vec<ClientAction>,
    ) {
        let mut draw = network.draw();
        let Some(query) = self.wants else {
            return;
        };
        let metadata = network.metadata().clone();
        let mut leaders = metadata.leaders.values();
        if metadata.is_empty() || !leaders.all(|&(leader, _)| network.is_connected(leader)) {
            return;
        }
        self.wants = None;
        let mut floor = |partition: TopicPartition| {
            let stamps = history.stamps(partition);
            let times: Vec<Timestamp> = stamps.iter().map(|(_, time)| *time).collect();
            let asked = match query {
                // The latest one is the one that a deposed leader lacks.
                OffsetQuery::Time if draw.chance(500_000) => times.iter().max(),
                OffsetQuery::Time => draw.pick(&times),
                OffsetQuery::Latest | OffsetQuery::MaxTimestamp | OffsetQuery::EpochEnd => None,
            };
            let first_from = |time: Timestamp| {
                let mut stamps = stamps.iter().filter(|(_, stamp)| *stamp >= time);
                stamps.next().map(|(offset, _)| (time, *offset))
            };
            let read = self.has_read(partition);
            Floor {
                end: history
                    .acknowledged_end(partition)
                    .max(read.map_or(Offset(0), |(position, _)| position)),
                time: asked.copied().and_then(first_from),
                greatest: times.iter().max().copied(),
                read,
                current_leader_epoch: self.named_epoch(metadata.leaders[&partition].1),
            }
        };
        let asked: Vec<(u8, BTreeMap<TopicPartition, Floor>)> = metadata
            .by_leader()
            .into_iter()
            .map(|(leader, partitions)| {
                let floors = partitions.into_iter().map(|it| (it, floor(it)));
                (leader, floors.collect())
            })
            .collect();
        for (leader, floors) in asked {
            let (api_version, request) = match query {
                OffsetQuery::Latest | OffsetQuery::Time | OffsetQuery::MaxTimestamp => (
                    LIST_OFFSETS_VERSION,
                    Request::ListOffsets(list_offsets(query, &metadata, &floors)),
                ),
                OffsetQuery::EpochEnd => (
                    OFFSET_FOR_LEADER_EPOCH_VERSION,
                    Request::OffsetForLeaderEpoch(epoch_ends(&metadata, &floors)),
                ),
            };
            if let Some(call) = network.call(now, leader, api_version, request, actions) {
                self.calls.insert(call, Purpose::Offsets(query, floors));
            }
        }
    }
}

fn list_offsets(
    query: OffsetQuery,
    metadata: &ClusterMetadata,
    floors: &BTreeMap<TopicPartition, Floor>,
) -> ListOffsetsRequest {
    let asked = |partition: TopicPartition| ListOffsetsPartition {
        partition_index: partition.partition.0,
        timestamp: match query {
            OffsetQuery::MaxTimestamp => MAX_TIMESTAMP,
            OffsetQuery::Time => floors[&partition].time.map_or(0, |(time, _)| time.0),
            OffsetQuery::Latest | OffsetQuery::EpochEnd => LATEST_TIMESTAMP,
        },
        ..ListOffsetsPartition::default()
    };
    let topic = |(topic, partitions): (TopicId, Vec<TopicPartition>)| ListOffsetsTopic {
        name: Str::from(metadata.name_of(topic)),
        partitions: partitions.into_iter().map(asked).collect(),
    };
    ListOffsetsRequest {
        topics: by_topic(floors.keys().copied())
            .into_iter()
            .map(topic)
            .collect(),
        ..ListOffsetsRequest::default()
    }
}

fn epoch_ends(
    metadata: &ClusterMetadata,
    floors: &BTreeMap<TopicPartition, Floor>,
) -> OffsetForLeaderEpochRequest {
    let asked = |partition: TopicPartition| OffsetForLeaderPartition {
        partition: partition.partition.0,
        current_leader_epoch: floors[&partition].current_leader_epoch,
        leader_epoch: floors[&partition].read.map_or(-1, |(_, epoch)| epoch.0),
    };
    let topic = |(topic, partitions): (TopicId, Vec<TopicPartition>)| OffsetForLeaderTopic {
        topic: Str::from(metadata.name_of(topic)),
        partitions: partitions.into_iter().map(asked).collect(),
    };
    OffsetForLeaderEpochRequest {
        topics: by_topic(floors.keys().copied())
            .into_iter()
            .map(topic)
            .collect(),
        ..OffsetForLeaderEpochRequest::default()
    }
}

/// What a leader tells of a log's end or of a time: nothing from before what was known when it was asked.
pub(super) fn on_offsets(
    query: OffsetQuery,
    floors: &BTreeMap<TopicPartition, Floor>,
    response: &ListOffsetsResponse,
    network: &NetworkClient,
    history: &mut History,
) {
    let answers = response.topics.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|data| (&topic.name, data.partition_index, data))
    });
    for (topic, index, data) in answers {
        if data.error_code != ErrorCode::None {
            continue;
        }
        let Some((partition, floor)) = floor_of(floors, topic, index, network) else {
            continue;
        };
        let stamp = history.stamp_at(partition, Offset(data.offset));
        if let Err(what) = floor.check(query, data, stamp) {
            history.fail(
                "OffsetsAreCurrent",
                format!(
                    "c{} was told of {} {what} before it asked",
                    network.number,
                    show_partition(partition)
                ),
            );
        }
    }
}

/// What a leader tells of where an epoch ends: not before what the consumer has read of it.
pub(super) fn on_epoch_ends(
    floors: &BTreeMap<TopicPartition, Floor>,
    response: &OffsetForLeaderEpochResponse,
    network: &NetworkClient,
    history: &mut History,
) {
    let answers = response.topics.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|data| (&topic.topic, data.partition, data))
    });
    for (topic, index, data) in answers {
        if data.error_code != ErrorCode::None {
            continue;
        }
        let floor = floor_of(floors, topic, index, network);
        let EpochEndOffset {
            leader_epoch: told,
            end_offset: end,
            ..
        } = *data;
        if let Some((partition, floor)) = floor
            && let Some((position, epoch)) = floor.read
            && (told != epoch.0 || end < position.0)
        {
            history.fail(
                "EpochsAreKnown",
                format!(
                    "c{} has read {} up to {position} of epoch {epoch}, and is told that epoch {told} ends at {end}",
                    network.number,
                    show_partition(partition)
                ),
            );
        }
    }
}

/// Which partition an answer names, and what was known of it.
fn floor_of<'a>(
    floors: &'a BTreeMap<TopicPartition, Floor>,
    topic: &str,
    index: i32,
    network: &NetworkClient,
) -> Option<(TopicPartition, &'a Floor)> {
    let partition = TopicPartition {
        topic: network.topic_id(topic)?,
        partition: PartitionIndex(index),
    };
    Some((partition, floors.get(&partition)?))
}

impl Floor {
    /// Whether an answer has what was known; `stamp` is the timestamp that was acknowledged for the record found.
    fn check(
        &self,
        query: OffsetQuery,
        data: &ListOffsetsPartitionResponse,
        stamp: Option<Timestamp>,
    ) -> Result<(), String> {
        let (offset, timestamp) = (data.offset, data.timestamp);
        let is_its_own = stamp.is_none_or(|stamp| stamp.0 == timestamp);
        match (query, self.time, self.greatest) {
            (OffsetQuery::Latest | OffsetQuery::EpochEnd, ..) if offset < self.end.0 => Err(
                format!("that it ends at {offset}, when {} was known", self.end),
            ),
            (OffsetQuery::Time, Some((asked, first)), _)
                if !(0..=first.0).contains(&offset) || timestamp < asked.0 || !is_its_own =>
            {
                Err(format!(
                    "that {offset} with {timestamp} is the first from {asked} on, when {first} had been acknowledged"
                ))
            }
            (OffsetQuery::MaxTimestamp, _, Some(greatest))
                if timestamp < greatest.0 || !is_its_own =>
            {
                Err(format!(
                    "that {offset} with {timestamp} is the latest, when {greatest} had been acknowledged"
                ))
            }
            _sound => Ok(()),
        }
    }
}
