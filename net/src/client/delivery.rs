//! Delivers a producer's batches, round by round: one batch of each partition at a time, until each is acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use varve_core::ids::{Timestamp, TopicId};
use varve_core::record::{Batch, BatchBuilder, BatchFull, Compression, HeaderRef, Record};
use varve_core::wire::metadata::MetadataResponseTopic;
use varve_core::wire::produce::{PartitionProduceData, PartitionProduceResponse, TopicProduceData};
use varve_core::wire::{ErrorCode, ProduceRequest, Records, Request, Response, Str};

use super::producer::{BATCH_BYTES_MAX, DeliveryError, Outgoing};
use super::retry::Retry;
use super::{Client, ClientError, NO_LEADER};

/// The timeout of a produce request, in milliseconds.
const PRODUCE_TIMEOUT_MS: i32 = 30_000;

/// A batch that is being gathered.
#[derive(Debug)]
pub(super) struct Draft {
    builder: BatchBuilder,
    /// Which records are in it.
    numbers: Vec<u64>,
}

impl Draft {
    pub(super) const fn new(builder: BatchBuilder) -> Self {
        Self {
            builder,
            numbers: Vec::new(),
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.builder.is_empty()
    }

    pub(super) const fn len(&self) -> i32 {
        self.builder.len()
    }

    pub(super) const fn size(&self) -> usize {
        self.builder.size()
    }

    pub(super) fn push(&mut self, number: u64, record: &Outgoing<'_>) -> Result<(), BatchFull> {
        let timestamp = Timestamp(record.timestamp);
        self.builder
            .push(timestamp, record.key, record.value, record.headers)?;
        self.numbers.push(number);
        Ok(())
    }
}

/// Batches that are delivered together, in order within each partition.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) drafts: BTreeMap<usize, VecDeque<Draft>>,
    /// Resolves when all are acknowledged.
    pub(super) done: Option<oneshot::Sender<()>>,
}

/// The batches of a round that are not acknowledged yet: only the first batch of each partition is sent.
type Open = BTreeMap<usize, VecDeque<BatchInFlight>>;

/// A batch in flight.
#[derive(Debug)]
struct BatchInFlight {
    batch: Batch,
    /// Which records are in it.
    numbers: Vec<u64>,
    /// Whether its size has been checked against the topic's limit.
    measured: bool,
}

impl From<Draft> for BatchInFlight {
    fn from(draft: Draft) -> Self {
        Self {
            batch: draft.builder.build(),
            numbers: draft.numbers,
            measured: false,
        }
    }
}

/// An error, with the record at fault, if it is one.
#[derive(Debug)]
struct DeliveryFault {
    error: ClientError,
    record: Option<u64>,
}

impl From<ClientError> for DeliveryFault {
    fn from(error: ClientError) -> Self {
        Self {
            error,
            record: None,
        }
    }
}

/// The delivery task.
#[derive(Debug)]
pub(super) struct Delivery {
    client: Client,
    topic: Str,
    topic_id: TopicId,
    /// The leader of each partition.
    leaders: Vec<i32>,
    /// How long a round may be retried.
    timeout: Duration,
    /// How many records are acknowledged.
    acknowledged: Arc<AtomicU64>,
}

impl Delivery {
    pub(super) fn new(
        client: Client,
        topic: &str,
        description: &MetadataResponseTopic,
        timeout: Duration,
        acknowledged: Arc<AtomicU64>,
    ) -> Self {
        let mut delivery = Self {
            client,
            topic: Str::from(topic),
            topic_id: TopicId::ZERO,
            leaders: Vec::new(),
            timeout,
            acknowledged,
        };
        delivery.learn_leaders(description);
        delivery
    }

    /// Delivers rounds until there are no more, or one fails.
    pub(super) async fn run(
        mut self,
        mut rounds: mpsc::Receiver<Round>,
    ) -> Result<(), DeliveryError> {
        while let Some(round) = rounds.recv().await {
            let batches =
                |drafts: VecDeque<Draft>| drafts.into_iter().map(BatchInFlight::from).collect();
            let mut open: Open = round
                .drafts
                .into_iter()
                .map(|(partition, drafts)| (partition, batches(drafts)))
                .collect();
            if let Err(fault) = self.deliver(&mut open).await {
                return Err(self.delivery_error(fault, &open));
            }
            if let Some(done) = round.done {
                // The receiver may have been dropped.
                let _ = done.send(());
            }
        }
        Ok(())
    }

    fn delivery_error(&self, fault: DeliveryFault, open: &Open) -> DeliveryError {
        let left = open.values().flatten().flat_map(|sent| &sent.numbers);
        let first = left.min().or(fault.record.as_ref());
        DeliveryError {
            first_unacknowledged: *first.expect("a round that failed is not delivered"),
            error: fault.error,
            record: fault.record,
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
        }
    }

    async fn deliver(&mut self, open: &mut Open) -> Result<(), DeliveryFault> {
        let mut retry = Retry::new(self.timeout);
        while !open.is_empty() {
            let failed = self.attempt(open).await?;
            let Some(failed) = failed else { continue };
            retry.after(failed).await?;
            let name = self.topic.clone();
            match self.client.topic(name.as_str()).await {
                Ok(topic) => self.learn_leaders(&topic),
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Sends one request to each leader; removes acknowledged batches from `open`. Returns the error that needs a
    /// retry, if there is one.
    async fn attempt(&mut self, open: &mut Open) -> Result<Option<ClientError>, DeliveryFault> {
        self.check_sizes(open).await?;
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
        let requests = by_leader
            .iter()
            .map(|(&leader, partitions)| (leader, self.request(partitions, open)));
        let answers = self.client.send_to_brokers(requests.collect()).await;
        for (partitions, answer) in by_leader.values().zip(answers) {
            let answer = match answer {
                Ok(Response::Produce(answer)) => answer,
                Ok(_) => unreachable!("an answer is read as that of its request"),
                Err(error) => {
                    let numbers = partitions.iter().copied().map(partition_index);
                    let error = error.of(self.topic.as_str(), numbers.collect());
                    if !error.is_transient() {
                        return Err(error.into());
                    }
                    failed = Some(error);
                    continue;
                }
            };
            for partition in answer
                .responses
                .iter()
                .flat_map(|topic| &topic.partition_responses)
            {
                failed = self.take(partition, open).await?.or(failed);
            }
        }
        Ok(failed)
    }

    fn request(&self, partitions: &[usize], open: &Open) -> Request {
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
        Request::Produce(ProduceRequest {
            transactional_id: None,
            acks: -1,
            timeout_ms: PRODUCE_TIMEOUT_MS,
            topic_data: vec![topic],
        })
    }

    /// Handles the response for a partition's batch. Returns the error, where it is worth a retry.
    async fn take(
        &mut self,
        partition: &PartitionProduceResponse,
        open: &mut Open,
    ) -> Result<Option<ClientError>, DeliveryFault> {
        let index = usize::try_from(partition.index).unwrap_or(usize::MAX);
        match ClientError::check(partition.error_code, partition.error_message.as_ref()) {
            Ok(()) | Err(ClientError::Refused(ErrorCode::DuplicateSequenceNumber, _)) => {
                self.acknowledge(index, open);
                Ok(None)
            }
            Err(ClientError::Refused(
                ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge,
                _,
            )) => {
                self.split(index, open).await?;
                Ok(None)
            }
            Err(error) => {
                let error = error.of(self.topic.as_str(), vec![partition.index]);
                if error.is_transient() {
                    return Ok(Some(error));
                }
                let at_fault = partition.record_errors.first().and_then(|record| {
                    let sent = open.get(&index)?.front()?;
                    let place = usize::try_from(record.batch_index).ok()?;
                    sent.numbers.get(place).copied()
                });
                Err(DeliveryFault {
                    error,
                    record: at_fault,
                })
            }
        }
    }

    fn acknowledge(&self, partition: usize, open: &mut Open) {
        let Some(batches) = open.get_mut(&partition) else {
            return;
        };
        if let Some(sent) = batches.pop_front() {
            let count = sent.numbers.len() as u64;
            self.acknowledged.fetch_add(count, Ordering::Relaxed);
        }
        if batches.is_empty() {
            open.remove(&partition);
        }
    }

    /// Splits a batch that is too large into two. None of it was written, so they take over its sequence numbers.
    async fn split(&mut self, partition: usize, open: &mut Open) -> Result<(), DeliveryFault> {
        let Some(large) = open.get(&partition).and_then(VecDeque::front) else {
            return Ok(());
        };
        if large.numbers.len() == 1 {
            let (size, record) = (large.batch.size(), large.numbers[0]);
            let limit = self.size_limit().await;
            return Err(self.too_large(size, record, limit));
        }
        let halves = large.halve();
        let batches = open.entry(partition).or_default();
        batches.pop_front();
        for half in halves.into_iter().rev() {
            batches.push_front(half);
        }
        Ok(())
    }

    /// A batch that is large because of one record is checked before it is sent: a broker closes the connection of a
    /// request that is too long, without an error.
    async fn check_sizes(&mut self, open: &mut Open) -> Result<(), DeliveryFault> {
        for sent in open.values_mut().filter_map(VecDeque::front_mut) {
            let size = sent.batch.size();
            if sent.measured || sent.numbers.len() > 1 || size <= BATCH_BYTES_MAX {
                continue;
            }
            let limit = self.size_limit().await;
            if limit.is_some_and(|limit| size > limit) {
                return Err(self.too_large(size, sent.numbers[0], limit));
            }
            sent.measured = true;
        }
        Ok(())
    }

    /// The topic's `max.message.bytes`, if the cluster returns it.
    async fn size_limit(&mut self) -> Option<usize> {
        let name = self.topic.clone();
        let configs = self.client.topic_configs(name.as_str()).await.ok()?;
        let limit = configs
            .iter()
            .find(|config| config.name.as_str() == "max.message.bytes")?;
        limit.value.as_ref()?.as_str().parse().ok()
    }

    fn too_large(&self, size: usize, record: u64, limit: Option<usize>) -> DeliveryFault {
        DeliveryFault {
            error: ClientError::RecordTooLarge {
                topic: self.topic.as_str().to_owned(),
                size,
                limit,
            },
            record: Some(record),
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
    }
}

impl BatchInFlight {
    /// Its records as two batches.
    fn halve(&self) -> [Self; 2] {
        let header = &self.batch.header;
        let codec = Compression::from_id(header.compression()).expect("it was built here");
        let draft = |sequence| {
            Draft::new(BatchBuilder::new(codec).producer(
                header.producer_id,
                header.producer_epoch,
                sequence,
            ))
        };
        let half = self.numbers.len() / 2;
        let first_count = i32::try_from(half).expect("a batch counts its records in an i32");
        let mut first = draft(header.base_sequence);
        // Sequence numbers begin again at 0.
        let mut second = draft(header.base_sequence.wrapping_add(first_count) & i32::MAX);
        let records = self.batch.records(usize::MAX).expect("it was built here");
        for (place, record) in records.enumerate() {
            let record = record.expect("it was built here");
            let into = if place < half {
                &mut first
            } else {
                &mut second
            };
            push_again(into, self.numbers[place], &record);
        }
        [first.into(), second.into()]
    }
}

fn push_again(draft: &mut Draft, number: u64, record: &Record) {
    let headers: Vec<HeaderRef<'_>> = record
        .headers
        .iter()
        .map(|header| (&*header.key, header.value.as_deref()))
        .collect();
    let record = Outgoing {
        partition: None,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &headers,
        timestamp: record.timestamp.0,
    };
    draft
        .push(number, &record)
        .expect("it is in a larger batch already");
}

pub(super) fn partition_index(place: usize) -> i32 {
    i32::try_from(place).expect("a partition's index came as an i32")
}
