//! An idempotent producer: every record is written once and in order, whatever is retried.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use varve_core::ids::{ProducerEpoch, ProducerId, Timestamp, TopicId};
use varve_core::record::{Batch, BatchBuilder, Compression};
use varve_core::wire::metadata::MetadataResponseTopic;
use varve_core::wire::produce::{PartitionProduceData, TopicProduceData};
use varve_core::wire::{
    ErrorCode, InitProducerIdRequest, ProduceRequest, Records, Request, Response, Str,
};

use super::retry::Retry;
use super::{Client, ClientError, NO_LEADER};

/// Bytes of records of one partition that are gathered before they are sent.
const BATCH_BYTES_MAX: usize = 512 << 10;
/// What a broker is given to have a batch acknowledged, in milliseconds.
const PRODUCE_TIMEOUT_MS: i32 = 30_000;

/// A record to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// Decides the partition, where there is one.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// CreateTime in milliseconds since the Unix epoch.
    pub timestamp: i64,
}

/// Writes to one topic with `acks=all`.
#[derive(Debug)]
pub struct Producer {
    client: Client,
    topic: Str,
    topic_id: TopicId,
    compression: Compression,
    /// How long a batch may be retried.
    pub(super) delivery_timeout: Duration,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    pub(super) leaders: Vec<i32>,
    pub(super) lanes: Vec<Lane>,
    /// Keyless records stick to one partition until its batch is sent.
    sticky: usize,
    /// Records acknowledged.
    acknowledged: u64,
}

/// What is gathered for one partition.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) records: Vec<Outgoing>,
    bytes: usize,
    next_sequence: i32,
}

/// What is under way to each partition, first things first: only the first batch of each is sent.
type Open = BTreeMap<usize, VecDeque<Sent>>;

/// A batch under way, with what it was made of: one that is too large is made again, as two.
#[derive(Debug)]
struct Sent {
    records: Vec<Outgoing>,
    batch: Batch,
}

impl Producer {
    /// A producer for a topic that exists. `draw`, a random number, chooses the partition where keyless records begin:
    /// were it always the first, whoever writes few records at a time would write to no other.
    ///
    /// # Errors
    /// Where it does not, or the cluster gives no producer id.
    pub async fn new(
        mut client: Client,
        topic: &str,
        compression: Compression,
        delivery_timeout: Duration,
        draw: u64,
    ) -> Result<Self, ClientError> {
        let mut retry = Retry::new(delivery_timeout);
        let (producer_id, producer_epoch) = loop {
            match init_producer_id(&mut client).await {
                Ok(given) => break given,
                Err(error) => retry.after(error).await?,
            }
        };
        let description = client.find_topic(topic, &mut retry).await?;
        let mut producer = Self {
            client,
            topic: Str::from(topic),
            topic_id: TopicId::ZERO,
            compression,
            delivery_timeout,
            producer_id,
            producer_epoch,
            leaders: Vec::new(),
            lanes: Vec::new(),
            sticky: 0,
            acknowledged: 0,
        };
        producer.learn_leaders(&description);
        let partitions = producer.lanes.len().max(1) as u64;
        producer.sticky =
            usize::try_from(draw % partitions).expect("it is less than a number of partitions");
        Ok(producer)
    }

    /// Number of records acknowledged so far.
    #[must_use]
    pub const fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Takes a record, and sends what is gathered when it is enough.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub async fn send(&mut self, record: Outgoing) -> Result<(), ClientError> {
        let partition = match &record.key {
            Some(key) => partition_for_key(key, self.lanes.len()),
            None => self.sticky,
        };
        let size = record.key.as_ref().map_or(0, Vec::len)
            + record.value.as_ref().map_or(0, Vec::len)
            + 16;
        if size >= BATCH_BYTES_MAX {
            // It travels alone: were it to be refused, the others would have to be sent again.
            self.flush().await?;
        }
        let lane = &mut self.lanes[partition];
        lane.bytes += size;
        lane.records.push(record);
        if lane.bytes >= BATCH_BYTES_MAX {
            self.flush().await?;
            self.sticky = (self.sticky + 1) % self.lanes.len();
        }
        Ok(())
    }

    /// Sends all that is gathered and waits until it is acknowledged.
    ///
    /// # Errors
    /// What cannot be retried, or still fails after the delivery timeout.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        let mut retry = Retry::new(self.delivery_timeout);
        let mut open = Open::new();
        for partition in 0..self.lanes.len() {
            let lane = &mut self.lanes[partition];
            let records = std::mem::take(&mut lane.records);
            let sequence = lane.next_sequence;
            lane.bytes = 0;
            if !records.is_empty() {
                let sent = self.build(records, sequence);
                self.check_size(&sent).await?;
                self.lanes[partition].next_sequence = sent.next_sequence();
                open.insert(partition, [sent].into());
            }
        }
        while !open.is_empty() {
            let failed = self.attempt(&mut open).await?;
            let Some(failed) = failed else { continue };
            retry.after(failed).await?;
            let name = self.topic.clone();
            match self.client.topic(name.as_str()).await {
                Ok(topic) => self.learn_leaders(&topic),
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// One request to each leader; takes out of `open` what is acknowledged. Gives back what went wrong, if anything
    /// did.
    async fn attempt(&mut self, open: &mut Open) -> Result<Option<ClientError>, ClientError> {
        let mut by_leader: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        for &partition in open.keys() {
            by_leader
                .entry(self.leaders[partition])
                .or_default()
                .push(partition);
        }
        let mut failed = None;
        if let Some(leaderless) = by_leader.remove(&NO_LEADER) {
            failed = Some(self.no_leader(&leaderless));
        }
        for (leader, partitions) in by_leader {
            let data = partitions.iter().map(|partition| {
                let batch = &open[partition][0].batch;
                let header = Bytes::copy_from_slice(&batch.header.to_bytes());
                PartitionProduceData {
                    index: partition_index(*partition),
                    records: Some(Records::from_iter([header, batch.body.clone()])),
                }
            });
            let topic = TopicProduceData {
                name: self.topic.clone(),
                topic_id: self.topic_id,
                partition_data: data.collect(),
            };
            let request = ProduceRequest {
                transactional_id: None,
                acks: -1,
                timeout_ms: PRODUCE_TIMEOUT_MS,
                topic_data: vec![topic],
            };
            let answer = match self
                .client
                .ask_broker(leader, &Request::Produce(request))
                .await
            {
                Ok(Response::Produce(answer)) => answer,
                Ok(_) => unreachable!("an answer is read as that of its request"),
                Err(error) if error.is_transient() => {
                    let numbers = partitions.iter().copied().map(partition_index);
                    failed = Some(error.of(&self.topic, numbers.collect()));
                    continue;
                }
                Err(error) => return Err(error),
            };
            for partition in answer
                .responses
                .iter()
                .flat_map(|topic| &topic.partition_responses)
            {
                let index = usize::try_from(partition.index).unwrap_or(usize::MAX);
                match ClientError::check(partition.error_code, partition.error_message.as_ref()) {
                    Ok(()) | Err(ClientError::Refused(ErrorCode::DuplicateSequenceNumber, _)) => {
                        self.acknowledge(index, open);
                    }
                    Err(ClientError::Refused(
                        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge,
                        _,
                    )) => self.split(index, open).await?,
                    Err(error) => {
                        let error = error.of(&self.topic, vec![partition.index]);
                        if !error.is_transient() {
                            return Err(error);
                        }
                        failed = Some(error);
                    }
                }
            }
        }
        Ok(failed)
    }

    fn acknowledge(&mut self, partition: usize, open: &mut Open) {
        let Some(batches) = open.get_mut(&partition) else {
            return;
        };
        if let Some(sent) = batches.pop_front() {
            self.acknowledged += sent.records.len() as u64;
        }
        if batches.is_empty() {
            open.remove(&partition);
        }
    }

    /// Makes two batches of one that is too large. Nothing of it was written, so its sequence numbers are theirs.
    async fn split(&mut self, partition: usize, open: &mut Open) -> Result<(), ClientError> {
        let Some(mut large) = open.get_mut(&partition).and_then(VecDeque::pop_front) else {
            return Ok(());
        };
        if large.records.len() == 1 {
            let limit = self.size_limit().await;
            return Err(self.too_large(&large, limit));
        }
        let behind = large.records.split_off(large.records.len() / 2);
        let first = self.build(large.records, large.batch.header.base_sequence);
        let second = self.build(behind, first.next_sequence());
        let batches = open.entry(partition).or_default();
        batches.push_front(second);
        batches.push_front(first);
        Ok(())
    }

    /// A batch that is long because of one record is measured first: a request that is longer than a broker reads at
    /// all ends the connection, and nobody learns why.
    async fn check_size(&mut self, sent: &Sent) -> Result<(), ClientError> {
        if sent.records.len() > 1 || sent.batch.size() <= BATCH_BYTES_MAX {
            return Ok(());
        }
        match self.size_limit().await {
            Some(limit) if sent.batch.size() > limit => Err(self.too_large(sent, Some(limit))),
            Some(_) | None => Ok(()),
        }
    }

    /// The topic's `max.message.bytes`, where the cluster tells it.
    async fn size_limit(&mut self) -> Option<usize> {
        let name = self.topic.clone();
        let configs = self.client.topic_configs(name.as_str()).await.ok()?;
        let limit = configs
            .iter()
            .find(|config| config.name.as_str() == "max.message.bytes")?;
        limit.value.as_ref()?.as_str().parse().ok()
    }

    fn too_large(&self, sent: &Sent, limit: Option<usize>) -> ClientError {
        ClientError::RecordTooLarge {
            topic: self.topic.as_str().to_owned(),
            size: sent.batch.size(),
            limit,
        }
    }

    fn build(&self, records: Vec<Outgoing>, base_sequence: i32) -> Sent {
        let mut batch = BatchBuilder::new(self.compression).producer(
            self.producer_id,
            self.producer_epoch,
            base_sequence,
        );
        for record in &records {
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            batch
                .push(Timestamp(record.timestamp), key, value, &[])
                .expect("a batch is sent long before it is full");
        }
        Sent {
            records,
            batch: batch.build(),
        }
    }

    fn no_leader(&self, partitions: &[usize]) -> ClientError {
        let numbers = partitions.iter().copied().map(partition_index);
        ClientError::NoLeader(self.topic.as_str().to_owned(), numbers.collect())
    }

    fn learn_leaders(&mut self, topic: &MetadataResponseTopic) {
        self.topic_id = topic.topic_id;
        let mut leaders: Vec<(i32, i32)> = topic
            .partitions
            .iter()
            .map(|partition| (partition.partition_index, partition.leader_id))
            .collect();
        leaders.sort_unstable();
        self.leaders = leaders.into_iter().map(|(_, leader)| leader).collect();
        // Partitions added meanwhile are left alone: keys stay where they are.
        if self.lanes.is_empty() {
            self.lanes.resize_with(self.leaders.len(), Lane::default);
        }
    }
}

fn partition_index(place: usize) -> i32 {
    i32::try_from(place).expect("a partition's index came as an i32")
}

impl Sent {
    /// The sequence number of what comes behind it: they begin again at 0.
    const fn next_sequence(&self) -> i32 {
        let header = &self.batch.header;
        header.base_sequence.wrapping_add(header.record_count) & i32::MAX
    }
}

async fn init_producer_id(client: &mut Client) -> Result<(ProducerId, ProducerEpoch), ClientError> {
    let request = InitProducerIdRequest {
        transaction_timeout_ms: 60_000,
        ..InitProducerIdRequest::default()
    };
    let Response::InitProducerId(answer) = client.ask(Request::InitProducerId(request)).await?
    else {
        unreachable!("an answer is read as that of its request");
    };
    let words = Str::from_static("no producer id is given: are enough of the cluster's nodes up?");
    ClientError::check(answer.error_code, Some(&words))?;
    Ok((
        ProducerId(answer.producer_id),
        ProducerEpoch(answer.producer_epoch),
    ))
}

/// The partition of a keyed record, as the Java client chooses it: murmur2 of the key.
#[must_use]
pub fn partition_for_key(key: &[u8], partitions: usize) -> usize {
    let positive = murmur2(key) & 0x7fff_ffff;
    usize::try_from(positive).expect("31 bits fit") % partitions.max(1)
}

/// Kafka's murmur2, 32 bits (`Utils.murmur2`).
fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let (words, rest) = key.as_chunks::<4>();
    let mut hash = SEED ^ length;
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_the_java_client_sends_them() {
        // From Kafka's UtilsTest.
        let cases: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (
                b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            (b"abc", 479_470_107),
        ];
        for (key, hash) in cases {
            assert_eq!(
                murmur2(key).cast_signed(),
                hash,
                "{}",
                String::from_utf8_lossy(key)
            );
        }
    }
}
