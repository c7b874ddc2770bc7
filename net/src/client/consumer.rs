//! A consumer of all partitions of a topic, or of one, by explicit assignment.

use std::collections::BTreeMap;
use std::time::Duration;

use varve_core::ids::{Offset, Timestamp, TopicId};
use varve_core::record::{Batch, Record};
use varve_core::wire::fetch::{FetchPartition, FetchTopic, PartitionData};
use varve_core::wire::list_offsets::{
    EARLIEST_TIMESTAMP, LATEST_TIMESTAMP, ListOffsetsPartition, ListOffsetsTopic,
};
use varve_core::wire::metadata::MetadataResponseTopic;
use varve_core::wire::{ErrorCode, FetchRequest, ListOffsetsRequest, Request, Response, Str};

use super::retry::Retry;
use super::{Client, ClientError, NO_LEADER};

/// The limit of bytes per fetch, of one partition and in all.
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
    /// So many records before the end of each partition, or with the first that is kept.
    BeforeEnd(u64),
    /// With the first record of this time or later, in milliseconds since the Unix epoch; at the end where there is
    /// none.
    Time(Timestamp),
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
    pub(super) leaders: BTreeMap<i32, i32>,
    /// How long a partition may have no leader that answers.
    retry_timeout: Duration,
    /// The retries while one has none.
    waiting: Option<Retry>,
    /// The next offset of each partition.
    positions: BTreeMap<i32, Offset>,
    /// The high watermark of each partition in the last response, exclusive.
    ends: BTreeMap<i32, Offset>,
}

impl Consumer {
    /// A consumer of a topic's partitions, or of the one that is named.
    ///
    /// # Errors
    /// Where the topic or partition does not exist, or no broker returns its start offset within `retry_timeout`.
    pub async fn new(
        mut client: Client,
        topic: &str,
        partition: Option<i32>,
        start: Start,
        retry_timeout: Duration,
    ) -> Result<Self, ClientError> {
        let description = client
            .find_topic(topic, &mut Retry::new(retry_timeout))
            .await?;
        let mut consumer = Self {
            client,
            topic: Str::from(topic),
            topic_id: TopicId::ZERO,
            leaders: BTreeMap::new(),
            retry_timeout,
            waiting: None,
            positions: BTreeMap::new(),
            ends: BTreeMap::new(),
        };
        consumer.learn_leaders(&description);
        let partitions: Vec<i32> = consumer
            .leaders
            .keys()
            .copied()
            .filter(|&index| partition.is_none_or(|only| only == index))
            .collect();
        if let Some(only) = partition.filter(|_| partitions.is_empty()) {
            let count = consumer.leaders.len();
            return Err(ClientError::no_partition(topic, only, count));
        }
        for index in partitions {
            let end = consumer.offset(index, LATEST_TIMESTAMP).await?;
            let position = consumer.begin(index, start, end).await?;
            consumer.positions.insert(index, position);
            consumer.ends.insert(index, end);
        }
        Ok(consumer)
    }

    /// Where to begin in a partition that has this end.
    async fn begin(
        &mut self,
        index: i32,
        start: Start,
        end: Offset,
    ) -> Result<Offset, ClientError> {
        match start {
            Start::Latest => Ok(end),
            Start::Earliest => self.offset(index, EARLIEST_TIMESTAMP).await,
            Start::BeforeEnd(count) => {
                let earliest = self.offset(index, EARLIEST_TIMESTAMP).await?;
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                Ok(earliest.max(Offset(end.0.saturating_sub(count))))
            }
            Start::Time(time) => {
                // No record that late is offset -1.
                let first = self.offset(index, time.0).await?;
                Ok(if first.0 < 0 { end } else { first })
            }
            Start::At(offset) => {
                let earliest = self.offset(index, EARLIEST_TIMESTAMP).await?;
                if (earliest..=end).contains(&offset) {
                    return Ok(offset);
                }
                let words =
                    format!("it holds [{earliest},{end}), and offset {offset} is not in it");
                let error = ClientError::Refused(ErrorCode::OffsetOutOfRange, Some(words));
                Err(error.of(self.topic.as_str(), vec![index]))
            }
        }
    }

    /// Whether every record below the last known ends has been read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.positions
            .iter()
            .all(|(partition, position)| *position >= self.ends[partition])
    }

    /// The number of records below the last known ends that have not been read.
    #[must_use]
    pub fn left(&self) -> u64 {
        let left = |(partition, position): (&i32, &Offset)| {
            u64::try_from(self.ends[partition].0 - position.0).unwrap_or(0)
        };
        self.positions.iter().map(left).sum()
    }

    /// The next records, in order within each partition; none where none came within one fetch.
    ///
    /// # Errors
    /// Permanent errors, and transient ones that last longer than the retry timeout. After the latter the next call
    /// tries again.
    pub async fn poll(&mut self) -> Result<Vec<Consumed>, ClientError> {
        let mut by_leader: BTreeMap<i32, Vec<FetchPartition>> = BTreeMap::new();
        for (&partition, &position) in &self.positions {
            let leader = self.leader(partition);
            by_leader.entry(leader).or_default().push(FetchPartition {
                partition,
                fetch_offset: position.0,
                partition_max_bytes: FETCH_BYTES_MAX,
                ..FetchPartition::default()
            });
        }
        let mut consumed = Vec::new();
        let mut stale = None;
        if let Some(leaderless) = by_leader.remove(&NO_LEADER) {
            let numbers = leaderless.iter().map(|asked| asked.partition);
            stale = Some(self.no_leader(numbers.collect()));
        }
        // Where records are known to be left, the fetch does not wait for partitions without new records.
        let max_wait_ms = if self.is_at_end() { FETCH_WAIT_MS } else { 0 };
        let numbers: Vec<Vec<i32>> = by_leader
            .values()
            .map(|asked| asked.iter().map(|asked| asked.partition).collect())
            .collect();
        let requests = by_leader.into_iter().map(|(leader, partitions)| {
            let topic = FetchTopic {
                topic: self.topic.clone(),
                topic_id: self.topic_id,
                partitions,
            };
            let request = FetchRequest {
                max_wait_ms,
                min_bytes: 1,
                max_bytes: FETCH_BYTES_MAX,
                topics: vec![topic],
                ..FetchRequest::default()
            };
            (leader, Request::Fetch(request))
        });
        let answers = self.client.send_to_brokers(requests.collect()).await;
        for (numbers, answer) in numbers.into_iter().zip(answers) {
            match answer {
                Ok(Response::Fetch(answer)) => {
                    ClientError::check(answer.error_code, None)
                        .map_err(|error| error.of_topic(self.topic.as_str()))?;
                    for partition in answer.responses.iter().flat_map(|topic| &topic.partitions) {
                        stale = self.take(partition, &mut consumed)?.or(stale);
                    }
                }
                Ok(_) => unreachable!("an answer is read as that of its request"),
                Err(error) if error.is_transient() => {
                    stale = Some(error.of(self.topic.as_str(), numbers))
                }
                Err(error) => return Err(error.of(self.topic.as_str(), numbers)),
            }
        }
        match stale {
            // Returned once the records before it have been returned.
            Some(error) if consumed.is_empty() && is_lost(&error) => return Err(error),
            None => self.waiting = None,
            // Received records are returned first: they are not read again.
            Some(_) if !consumed.is_empty() => self.refresh_leaders().await?,
            Some(error) => {
                let mut waiting = self
                    .waiting
                    .take()
                    .unwrap_or(Retry::new(self.retry_timeout));
                waiting.after(error).await?;
                self.waiting = Some(waiting);
                self.refresh_leaders().await?;
            }
        }
        Ok(consumed)
    }

    /// Takes a partition's batches. Returns the error that makes a refresh of its leader necessary.
    fn take(
        &mut self,
        partition: &PartitionData,
        consumed: &mut Vec<Consumed>,
    ) -> Result<Option<ClientError>, ClientError> {
        let index = partition.partition_index;
        match ClientError::check(partition.error_code, None) {
            Ok(()) => {}
            Err(ClientError::Refused(ErrorCode::CorruptMessage, _)) => {
                let position = self.positions.get(&index).copied().unwrap_or_default();
                let words = format!(
                    "the records of partition {index} of topic `{}` are damaged from offset {position} on, and there is \
                     no other copy; `varve accept-loss` on its node gives them up",
                    self.topic.as_str()
                );
                return Ok(Some(ClientError::Refused(
                    ErrorCode::CorruptMessage,
                    Some(words),
                )));
            }
            Err(error) => {
                let error = error.of(self.topic.as_str(), vec![index]);
                return if error.is_transient() {
                    Ok(Some(error))
                } else {
                    Err(error)
                };
            }
        }
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
        Ok(None)
    }

    fn take_batch(
        &mut self,
        index: i32,
        batch: &Batch,
        consumed: &mut Vec<Consumed>,
    ) -> Result<(), ClientError> {
        let topic = self.topic.clone();
        let damaged = |words: String| {
            ClientError::Refused(ErrorCode::CorruptMessage, Some(words))
                .of(topic.as_str(), vec![index])
        };
        batch.verify().map_err(|error| damaged(error.to_string()))?;
        let position = self.positions.get(&index).copied().unwrap_or_default();
        if !batch.header.is_control() {
            for record in batch
                .records(BATCH_BYTES_MAX)
                .map_err(|error| damaged(error.to_string()))?
            {
                let record = record.map_err(|error| damaged(error.to_string()))?;
                // A broker returns whole batches; the first may begin before the requested offset.
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

    fn leader(&self, partition: i32) -> i32 {
        self.leaders.get(&partition).copied().unwrap_or(NO_LEADER)
    }

    fn no_leader(&self, partitions: Vec<i32>) -> ClientError {
        ClientError::NoLeader(self.topic.as_str().to_owned(), partitions)
    }

    /// Refreshes the leaders. Where no broker answers, the known ones stay.
    async fn refresh_leaders(&mut self) -> Result<(), ClientError> {
        let name = self.topic.clone();
        match self.client.topic(name.as_str()).await {
            Ok(topic) => self.learn_leaders(&topic),
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn learn_leaders(&mut self, topic: &MetadataResponseTopic) {
        self.topic_id = topic.topic_id;
        self.leaders = topic
            .partitions
            .iter()
            .map(|partition| (partition.partition_index, partition.leader_id))
            .collect();
    }

    /// An offset of a partition by its leader, with retries.
    async fn offset(&mut self, partition: i32, timestamp: i64) -> Result<Offset, ClientError> {
        let mut retry = Retry::new(self.retry_timeout);
        loop {
            match self.offset_now(partition, timestamp).await {
                Ok(offset) => return Ok(offset),
                Err(error @ ClientError::NoLeader(..)) => retry.after(error).await?,
                Err(error) => {
                    let error = error.of(self.topic.as_str(), vec![partition]);
                    retry.after(error).await?;
                }
            }
            self.refresh_leaders().await?;
        }
    }

    async fn offset_now(&mut self, partition: i32, timestamp: i64) -> Result<Offset, ClientError> {
        let leader = self.leader(partition);
        if leader == NO_LEADER {
            return Err(self.no_leader(vec![partition]));
        }
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
            .send_to_broker(leader, &Request::ListOffsets(request))
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
/// Whether the records are lost: a broker returns `CORRUPT_MESSAGE` only where no other replica can fill the hole.
const fn is_lost(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused(ErrorCode::CorruptMessage, _))
}
