//! A consumer of all partitions of a topic, or of one, by explicit assignment.

use std::collections::BTreeMap;

use tokio::time::sleep;
use varve_core::ids::{Offset, TopicId};
use varve_core::record::{Batch, Record};
use varve_core::wire::fetch::{FetchPartition, FetchTopic, PartitionData};
use varve_core::wire::list_offsets::{
    EARLIEST_TIMESTAMP, LATEST_TIMESTAMP, ListOffsetsPartition, ListOffsetsTopic,
};
use varve_core::wire::{ErrorCode, FetchRequest, ListOffsetsRequest, Request, Response, Str};

use super::{Client, ClientError, RETRY_PAUSE};

/// Bytes asked for at once, of one partition and in all.
const FETCH_BYTES_MAX: i32 = 8 << 20;
/// How long a broker may wait for records, in milliseconds.
const FETCH_WAIT_MS: i32 = 250;
/// Bytes that one batch may decompress to.
const BATCH_BYTES_MAX: usize = 512 << 20;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the first record that is kept.
    Earliest,
    /// With the next record to be written.
    Latest,
    /// With this offset.
    At(Offset),
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumed {
    /// Where it stands.
    pub partition: i32,
    /// What it is.
    pub record: Record,
}

/// Reads one topic.
#[derive(Debug)]
pub struct Consumer {
    client: Client,
    topic: Str,
    topic_id: TopicId,
    leaders: BTreeMap<i32, i32>,
    /// The next offset of each partition.
    positions: BTreeMap<i32, Offset>,
    /// The high watermark of each partition as last told, exclusive.
    ends: BTreeMap<i32, Offset>,
}

impl Consumer {
    /// A consumer of a topic's partitions, or of the one that is named.
    ///
    /// # Errors
    /// Where the topic or partition does not exist, or nobody can say where it starts.
    pub async fn new(
        client: Client,
        topic: &str,
        partition: Option<i32>,
        start: Start,
    ) -> Result<Self, ClientError> {
        let mut consumer = Self {
            client,
            topic: Str::from(topic),
            topic_id: TopicId::ZERO,
            leaders: BTreeMap::new(),
            positions: BTreeMap::new(),
            ends: BTreeMap::new(),
        };
        consumer.find_leaders().await?;
        let partitions: Vec<i32> = consumer
            .leaders
            .keys()
            .copied()
            .filter(|&index| partition.is_none_or(|only| only == index))
            .collect();
        if let Some(only) = partition.filter(|_| partitions.is_empty()) {
            let words = format!(
                "topic `{topic}` has {} partitions, from 0 on, and none is numbered {only}",
                consumer.leaders.len()
            );
            return Err(ClientError::Refused(
                ErrorCode::UnknownTopicOrPartition,
                Some(words),
            ));
        }
        for index in partitions {
            let end = consumer.offset(index, LATEST_TIMESTAMP).await?;
            let position = match start {
                Start::Earliest => consumer.offset(index, EARLIEST_TIMESTAMP).await?,
                Start::Latest => end,
                Start::At(offset) => {
                    let earliest = consumer.offset(index, EARLIEST_TIMESTAMP).await?;
                    if !(earliest..=end).contains(&offset) {
                        let words = format!("partition {index} holds [{earliest},{end})");
                        return Err(ClientError::Refused(
                            ErrorCode::OffsetOutOfRange,
                            Some(words),
                        ));
                    }
                    offset
                }
            };
            consumer.positions.insert(index, position);
            consumer.ends.insert(index, end);
        }
        Ok(consumer)
    }

    /// Whether every record that was there when last asked has been read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.positions
            .iter()
            .all(|(partition, position)| *position >= self.ends[partition])
    }

    /// How many records are known to be left.
    #[must_use]
    pub fn left(&self) -> u64 {
        let left = |(partition, position): (&i32, &Offset)| {
            u64::try_from(self.ends[partition].0 - position.0).unwrap_or(0)
        };
        self.positions.iter().map(left).sum()
    }

    /// The next records, in order within each partition; none where none came for a moment.
    ///
    /// # Errors
    /// What does not pass by itself.
    pub async fn poll(&mut self) -> Result<Vec<Consumed>, ClientError> {
        let mut by_leader: BTreeMap<i32, Vec<FetchPartition>> = BTreeMap::new();
        for (&partition, &position) in &self.positions {
            let leader = self.leaders.get(&partition).copied().unwrap_or(-1);
            by_leader.entry(leader).or_default().push(FetchPartition {
                partition,
                fetch_offset: position.0,
                partition_max_bytes: FETCH_BYTES_MAX,
                ..FetchPartition::default()
            });
        }
        let mut consumed = Vec::new();
        let mut stale = false;
        for (leader, partitions) in by_leader {
            let topic = FetchTopic {
                topic: self.topic.clone(),
                topic_id: self.topic_id,
                partitions,
            };
            let request = FetchRequest {
                max_wait_ms: FETCH_WAIT_MS,
                min_bytes: 1,
                max_bytes: FETCH_BYTES_MAX,
                topics: vec![topic],
                ..FetchRequest::default()
            };
            match self
                .client
                .ask_broker(leader, &Request::Fetch(request))
                .await
            {
                Ok(Response::Fetch(answer)) => {
                    ClientError::check(answer.error_code, None)?;
                    for partition in answer.responses.iter().flat_map(|topic| &topic.partitions) {
                        stale |= self.take(partition, &mut consumed)?;
                    }
                }
                Ok(_) => unreachable!("an answer is read as that of its request"),
                Err(error) if error.is_transient() => stale = true,
                Err(error) => return Err(error),
            }
        }
        if stale {
            sleep(RETRY_PAUSE).await;
            match self.find_leaders().await {
                Err(error) if !error.is_transient() => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(consumed)
    }

    /// Takes a partition's batches. Returns whether its leader must be looked for again.
    fn take(
        &mut self,
        partition: &PartitionData,
        consumed: &mut Vec<Consumed>,
    ) -> Result<bool, ClientError> {
        let index = partition.partition_index;
        if partition.error_code.is_retriable() {
            return Ok(true);
        }
        ClientError::check(partition.error_code, None)?;
        if partition.high_watermark >= 0 {
            self.ends.insert(index, Offset(partition.high_watermark));
        }
        let mut bytes = partition
            .records
            .as_ref()
            .map(|records| records.to_bytes())
            .unwrap_or_default();
        while let Ok(batch) = Batch::split_from(&mut bytes) {
            self.take_batch(index, &batch, consumed)?;
        }
        Ok(false)
    }

    fn take_batch(
        &mut self,
        index: i32,
        batch: &Batch,
        consumed: &mut Vec<Consumed>,
    ) -> Result<(), ClientError> {
        let damaged = |words: String| ClientError::Refused(ErrorCode::CorruptMessage, Some(words));
        batch.verify().map_err(|error| damaged(error.to_string()))?;
        let position = self.positions.get(&index).copied().unwrap_or_default();
        if !batch.header.is_control() {
            for record in batch
                .records(BATCH_BYTES_MAX)
                .map_err(|error| damaged(error.to_string()))?
            {
                let record = record.map_err(|error| damaged(error.to_string()))?;
                // A broker answers with whole batches; the first may begin before what was asked for.
                if record.offset >= position {
                    consumed.push(Consumed {
                        partition: index,
                        record,
                    });
                }
            }
        }
        self.positions
            .insert(index, position.max(batch.header.next_offset()));
        Ok(())
    }

    async fn find_leaders(&mut self) -> Result<(), ClientError> {
        let name = self.topic.clone();
        let topic = self.client.topic(name.as_str()).await?;
        self.topic_id = topic.topic_id;
        self.leaders = topic
            .partitions
            .iter()
            .map(|partition| (partition.partition_index, partition.leader_id))
            .collect();
        Ok(())
    }

    /// An offset of a partition, asked of its leader until there is one.
    async fn offset(&mut self, partition: i32, timestamp: i64) -> Result<Offset, ClientError> {
        const ATTEMPTS: usize = 100;
        let mut last = ClientError::Refused(ErrorCode::LeaderNotAvailable, None);
        for _ in 0..ATTEMPTS {
            match self.offset_now(partition, timestamp).await {
                Err(error) if error.is_transient() => last = error,
                other => return other,
            }
            sleep(RETRY_PAUSE).await;
            self.find_leaders().await?;
        }
        Err(last)
    }

    async fn offset_now(&mut self, partition: i32, timestamp: i64) -> Result<Offset, ClientError> {
        let leader = self.leaders.get(&partition).copied().unwrap_or(-1);
        let asked = ListOffsetsPartition {
            partition_index: partition,
            timestamp,
            ..ListOffsetsPartition::default()
        };
        let topic = ListOffsetsTopic {
            name: self.topic.clone(),
            partitions: vec![asked],
        };
        let request = ListOffsetsRequest {
            topics: vec![topic],
            ..ListOffsetsRequest::default()
        };
        let answer = self
            .client
            .ask_broker(leader, &Request::ListOffsets(request))
            .await?;
        let Response::ListOffsets(answer) = answer else {
            unreachable!("an answer is read as that of its request");
        };
        let found = answer
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .next();
        let found = found.ok_or(ClientError::Refused(ErrorCode::UnknownServerError, None))?;
        ClientError::check(found.error_code, None)?;
        Ok(Offset(found.offset))
    }
}
