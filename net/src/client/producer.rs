//! An idempotent producer: every record is written exactly once and in order, with retries.
//!
//! Records are gathered into batches here, and batches into rounds. A task of its own delivers one round after the
//! other ([`super::delivery`]), so the next one is gathered meanwhile. A round takes everything that is gathered: when
//! it fails, all records before it are acknowledged, and none behind it was sent.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use varve_core::ids::{ProducerEpoch, ProducerId};
use varve_core::record::{BatchBuilder, Compression, HeaderRef};
use varve_core::wire::{InitProducerIdRequest, Request, Response, Str};

use super::delivery::{Delivery, Draft, Round};
use super::retry::Retry;
use super::{Client, ClientError};

/// Bytes of a batch before compression, unless one record alone is larger. Topics take 1,048,588 by default.
pub(super) const BATCH_BYTES_MAX: usize = 1_000_000;
/// Bytes of all batches that are gathered while an earlier round is delivered.
const ROUND_BYTES_MAX: usize = 4 << 20;

/// A record to be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outgoing<'a> {
    /// The partition, where the key does not determine it.
    pub partition: Option<i32>,
    /// Determines the partition, where there is one.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: &'a [HeaderRef<'a>],
    /// CreateTime in milliseconds since the Unix epoch.
    pub timestamp: i64,
}

/// Why not all records were written, and which were. Records are numbered from 0 on, in the order of
/// [`Producer::send`].
#[derive(Debug)]
pub struct DeliveryError {
    /// What went wrong.
    pub error: ClientError,
    /// The record that is at fault, where it is one.
    pub record: Option<u64>,
    /// The first record that is not acknowledged.
    pub first_unacknowledged: u64,
    /// How many are, before it and behind it.
    pub acknowledged: u64,
}

impl fmt::Display for DeliveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for DeliveryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Writes to one topic with `acks=all`.
#[derive(Debug)]
pub struct Producer {
    topic: String,
    compression: Compression,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    lanes: Vec<Lane>,
    /// Keyless records stick to one partition until a batch of it is full.
    sticky: usize,
    /// Batches that are full, by partition.
    full: BTreeMap<usize, VecDeque<Draft>>,
    /// Bytes of all that is gathered.
    gathered: usize,
    /// The next record's.
    next_number: u64,
    acknowledged: Arc<AtomicU64>,
    rounds: mpsc::Sender<Round>,
    delivery: JoinHandle<Result<(), DeliveryError>>,
}

/// What is gathered for one partition.
#[derive(Debug)]
struct Lane {
    draft: Draft,
    next_sequence: i32,
}

impl Producer {
    /// A producer for a topic that exists. `draw`, a random number, chooses the partition where keyless records begin:
    /// if it were always the first, a client that writes few records at a time would write to no other.
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
        let partitions = description.partitions.len();
        let acknowledged = Arc::default();
        let delivery = Delivery::new(
            client,
            topic,
            &description,
            delivery_timeout,
            Arc::clone(&acknowledged),
        );
        let (rounds, queue) = mpsc::channel(1);
        let mut producer = Self {
            topic: topic.to_owned(),
            compression,
            producer_id,
            producer_epoch,
            lanes: Vec::new(),
            sticky: 0,
            full: BTreeMap::new(),
            gathered: 0,
            next_number: 0,
            acknowledged,
            rounds,
            delivery: tokio::spawn(delivery.run(queue)),
        };
        // Partitions that are added later are not used: keys keep their partitions.
        producer.lanes = (0..partitions)
            .map(|_| Lane {
                draft: producer.draft(0),
                next_sequence: 0,
            })
            .collect();
        let places = partitions.max(1) as u64;
        producer.sticky =
            usize::try_from(draw % places).expect("it is less than a number of partitions");
        Ok(producer)
    }

    /// Number of records acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Number of records taken so far.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.next_number
    }

    /// Takes a record, and sends what is gathered when it is enough. A cancelled call may or may not have taken the
    /// record; [`Self::taken`] tells which.
    ///
    /// # Errors
    /// The failure. Where this record cannot be taken, those before it can still be flushed; after any other failure
    /// the producer cannot be used.
    pub async fn send(&mut self, record: Outgoing<'_>) -> Result<(), DeliveryError> {
        let partition = match self.partition_for(&record) {
            Ok(partition) => partition,
            Err(error) => return Err(self.record_error(error)),
        };
        let size = size_of(&record);
        let lane = &self.lanes[partition];
        if !lane.draft.is_empty() && lane.draft.size() + size > BATCH_BYTES_MAX {
            self.finish_batch(partition);
            if record.partition.is_none() && record.key.is_none() {
                self.sticky = (self.sticky + 1) % self.lanes.len();
            }
            self.send_round_if_due().await?;
        }
        let number = self.next_number;
        let pushed = self.lanes[partition].draft.push(number, &record);
        if pushed.is_err() {
            let error = ClientError::RecordTooLarge {
                topic: self.topic.clone(),
                size,
                limit: None,
            };
            return Err(self.record_error(error));
        }
        self.next_number += 1;
        self.gathered += size;
        if self.gathered >= ROUND_BYTES_MAX {
            self.send_round(None).await?;
        }
        Ok(())
    }

    /// Sends all gathered records and waits until they are acknowledged.
    ///
    /// # Errors
    /// What cannot be retried, or still fails after the delivery timeout.
    pub async fn flush(&mut self) -> Result<(), DeliveryError> {
        let (done, delivered) = oneshot::channel();
        self.send_round(Some(done)).await?;
        match delivered.await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.failure().await),
        }
    }

    /// The partition of a record: the one that it names, its key's, or the one that keyless records stick to.
    fn partition_for(&self, record: &Outgoing<'_>) -> Result<usize, ClientError> {
        match (record.partition, record.key) {
            (Some(named), _) => usize::try_from(named)
                .ok()
                .filter(|&partition| partition < self.lanes.len())
                .ok_or_else(|| ClientError::no_partition(&self.topic, named, self.lanes.len())),
            (None, Some(key)) => Ok(partition_for_key(key, self.lanes.len())),
            (None, None) => Ok(self.sticky),
        }
    }

    fn draft(&self, sequence: i32) -> Draft {
        Draft::new(BatchBuilder::new(self.compression).producer(
            self.producer_id,
            self.producer_epoch,
            sequence,
        ))
    }

    fn finish_batch(&mut self, partition: usize) {
        let count = self.lanes[partition].draft.len();
        if count == 0 {
            return;
        }
        // Sequence numbers begin again at 0.
        let next_sequence = self.lanes[partition].next_sequence.wrapping_add(count) & i32::MAX;
        let empty = self.draft(next_sequence);
        let lane = &mut self.lanes[partition];
        lane.next_sequence = next_sequence;
        let draft = std::mem::replace(&mut lane.draft, empty);
        self.full.entry(partition).or_default().push_back(draft);
    }

    /// Sends a round unless an earlier one waits already: what is gathered meanwhile goes to more partitions at once.
    async fn send_round_if_due(&mut self) -> Result<(), DeliveryError> {
        if self.rounds.capacity() == 0 {
            return Ok(());
        }
        self.send_round(None).await
    }

    /// A cancelled call has sent everything or nothing.
    async fn send_round(&mut self, done: Option<oneshot::Sender<()>>) -> Result<(), DeliveryError> {
        let Ok(place) = self.rounds.clone().reserve_owned().await else {
            return Err(self.failure().await);
        };
        for partition in 0..self.lanes.len() {
            self.finish_batch(partition);
        }
        self.gathered = 0;
        place.send(Round {
            drafts: std::mem::take(&mut self.full),
            done,
        });
        Ok(())
    }

    /// Why the delivery has ended.
    async fn failure(&mut self) -> DeliveryError {
        match (&mut self.delivery).await {
            Ok(Err(failure)) => failure,
            Ok(Ok(())) => {
                unreachable!("the delivery ends when it fails, or when the producer is dropped")
            }
            Err(panicked) => std::panic::resume_unwind(Box::new(panicked.to_string())),
        }
    }

    /// The error for a record that cannot be taken. Those before it are unaffected.
    fn record_error(&self, error: ClientError) -> DeliveryError {
        DeliveryError {
            error,
            record: Some(self.next_number),
            first_unacknowledged: self.next_number,
            acknowledged: self.acknowledged(),
        }
    }
}

/// Bytes that a record takes in a batch, at most.
fn size_of(record: &Outgoing<'_>) -> usize {
    const LENGTHS: usize = 32;
    let headers = record.headers.iter();
    let headers: usize = headers
        .map(|(key, value)| key.len() + value.map_or(0, <[u8]>::len) + LENGTHS)
        .sum();
    record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + headers + LENGTHS
}

async fn init_producer_id(client: &mut Client) -> Result<(ProducerId, ProducerEpoch), ClientError> {
    let request = InitProducerIdRequest {
        transaction_timeout_ms: 60_000,
        ..InitProducerIdRequest::default()
    };
    let Response::InitProducerId(answer) = client.send(Request::InitProducerId(request)).await?
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
