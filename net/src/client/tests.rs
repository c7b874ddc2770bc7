//! The client against a broker of one topic that misbehaves as the test says.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use varve_core::ids::{Offset, TopicId};
use varve_core::record::{Batch, BatchBuilder, Compression};
use varve_core::wire::api_versions::ApiVersion;
use varve_core::wire::describe_configs::DescribeConfigsResult;
use varve_core::wire::fetch::{FetchableTopicResponse, PartitionData};
use varve_core::wire::list_offsets::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use varve_core::wire::metadata::{MetadataResponseBroker, MetadataResponsePartition};
use varve_core::wire::produce::{PartitionProduceResponse, TopicProduceResponse};
use varve_core::wire::{
    ApiKey, ApiVersionsResponse, DescribeConfigsResponse, FetchResponse, InitProducerIdResponse,
    ListOffsetsResponse, ProduceRequest, ProduceResponse, Records, decode_request, encode_response,
};

use super::*;

const BROKER: i32 = 1;
const TOPIC: &str = "t";
const SOON: Duration = Duration::from_secs(20);

/// What the broker has, and how it misbehaves.
#[derive(Debug)]
struct State {
    port: u16,
    /// Its number in the list of brokers; partitions are led by [`BROKER`].
    broker: i32,
    /// What each partition holds, batch by batch.
    partitions: Vec<Vec<Batch>>,
    /// The longest batch that is taken.
    batch_bytes_max: usize,
    /// So many times the metadata names no leader yet.
    leaderless: usize,
    /// Whether the records are damaged.
    damaged: bool,
}

#[derive(Clone, Debug)]
struct Broker(Arc<Mutex<State>>);

impl Broker {
    async fn start(partitions: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let broker = Self(Arc::new(Mutex::new(State {
            port: listener.local_addr().unwrap().port(),
            broker: BROKER,
            partitions: vec![Vec::new(); partitions],
            batch_bytes_max: usize::MAX,
            leaderless: 0,
            damaged: false,
        })));
        let serving = broker.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, serving.clone()));
            }
        });
        broker
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }

    fn address(&self) -> String {
        self.with(|state| format!("127.0.0.1:{}", state.port))
    }

    async fn client(&self) -> Client {
        Client::connect(vec![self.address()]).await.unwrap()
    }

    async fn producer(&self) -> Producer {
        Producer::new(self.client().await, TOPIC, Compression::None, SOON, 0)
            .await
            .unwrap()
    }

    /// The values of a partition.
    fn values(&self, partition: usize) -> Vec<Vec<u8>> {
        let value = |batch: &Batch| -> Vec<Vec<u8>> {
            let records = batch.records(usize::MAX).unwrap();
            records
                .map(|r| r.unwrap().value.unwrap().to_vec())
                .collect()
        };
        self.with(|state| state.partitions[partition].iter().flat_map(value).collect())
    }
}

async fn serve(mut stream: TcpStream, broker: Broker) {
    loop {
        let mut length = [0; 4];
        if stream.read_exact(&mut length).await.is_err() {
            return;
        }
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut frame).await.unwrap();
        let (header, request) = decode_request(&Bytes::from(frame)).unwrap();
        let response = broker.with(|state| state.answer(request));
        let answer = encode_response(header.correlation_id, header.api_version, &response);
        for segment in answer.unwrap().iter() {
            stream.write_all(segment).await.unwrap();
        }
    }
}

impl State {
    fn answer(&mut self, request: Request) -> Response {
        match request {
            Request::ApiVersions(_) => Response::ApiVersions(versions()),
            Request::Metadata(_) => Response::Metadata(self.metadata()),
            Request::InitProducerId(_) => Response::InitProducerId(InitProducerIdResponse {
                producer_id: 5,
                producer_epoch: 0,
                ..InitProducerIdResponse::default()
            }),
            Request::Produce(request) => Response::Produce(self.produce(&request)),
            Request::DescribeConfigs(_) => {
                let config = DescribeConfigsResourceResult {
                    name: "max.message.bytes".into(),
                    value: Some(self.batch_bytes_max.to_string().as_str().into()),
                    ..DescribeConfigsResourceResult::default()
                };
                Response::DescribeConfigs(DescribeConfigsResponse {
                    results: vec![DescribeConfigsResult {
                        configs: vec![config],
                        ..DescribeConfigsResult::default()
                    }],
                    ..DescribeConfigsResponse::default()
                })
            }
            Request::ListOffsets(request) => {
                let asked = &request.topics[0].partitions[0];
                let held = self.held(asked.partition_index);
                let earliest =
                    asked.timestamp == varve_core::wire::list_offsets::EARLIEST_TIMESTAMP;
                let partition = ListOffsetsPartitionResponse {
                    partition_index: asked.partition_index,
                    offset: if earliest { 0 } else { held },
                    ..ListOffsetsPartitionResponse::default()
                };
                Response::ListOffsets(ListOffsetsResponse {
                    topics: vec![ListOffsetsTopicResponse {
                        name: TOPIC.into(),
                        partitions: vec![partition],
                    }],
                    ..ListOffsetsResponse::default()
                })
            }
            Request::Fetch(request) => {
                let asked = &request.topics[0].partitions;
                let partitions = asked.iter().map(|asked| self.fetch(asked.partition));
                Response::Fetch(FetchResponse {
                    responses: vec![FetchableTopicResponse {
                        topic: TOPIC.into(),
                        topic_id: TopicId(1),
                        partitions: partitions.collect(),
                    }],
                    ..FetchResponse::default()
                })
            }
            other => panic!("nothing here asks for {other:?}"),
        }
    }

    fn metadata(&mut self) -> MetadataResponse {
        let leads = self.leaderless == 0;
        self.leaderless = self.leaderless.saturating_sub(1);
        let partition = |index: usize| MetadataResponsePartition {
            partition_index: index as i32,
            leader_id: if leads { BROKER } else { -1 },
            ..MetadataResponsePartition::default()
        };
        MetadataResponse {
            brokers: vec![MetadataResponseBroker {
                node_id: self.broker,
                host: "127.0.0.1".into(),
                port: self.port.into(),
                rack: None,
            }],
            topics: vec![MetadataResponseTopic {
                name: Some(TOPIC.into()),
                topic_id: TopicId(1),
                partitions: (0..self.partitions.len()).map(partition).collect(),
                ..MetadataResponseTopic::default()
            }],
            ..MetadataResponse::default()
        }
    }

    fn produce(&mut self, request: &ProduceRequest) -> ProduceResponse {
        let data = &request.topic_data[0].partition_data;
        let responses = data.iter().map(|data| {
            let mut bytes = data.records.as_ref().unwrap().to_bytes();
            let batch = Batch::split_from(&mut bytes).unwrap();
            PartitionProduceResponse {
                index: data.index,
                error_code: self.append(data.index as usize, batch),
                ..PartitionProduceResponse::default()
            }
        });
        ProduceResponse {
            responses: vec![TopicProduceResponse {
                name: TOPIC.into(),
                topic_id: TopicId(1),
                partition_responses: responses.collect(),
            }],
            ..ProduceResponse::default()
        }
    }

    fn append(&mut self, partition: usize, batch: Batch) -> ErrorCode {
        if batch.size() > self.batch_bytes_max {
            return ErrorCode::MessageTooLarge;
        }
        let due = self.partitions[partition].last().map_or(0, |last| {
            last.header.base_sequence + last.header.record_count
        });
        if batch.header.base_sequence != due {
            return ErrorCode::OutOfOrderSequenceNumber;
        }
        self.partitions[partition].push(batch);
        ErrorCode::None
    }

    fn held(&self, partition: i32) -> i64 {
        let batches = &self.partitions[partition as usize];
        batches
            .iter()
            .map(|b| i64::from(b.header.record_count))
            .sum()
    }

    /// All of a partition, as of one producer without an id.
    fn fetch(&self, partition: i32) -> PartitionData {
        if self.damaged {
            return PartitionData {
                partition_index: partition,
                error_code: ErrorCode::CorruptMessage,
                ..PartitionData::default()
            };
        }
        let mut all = BatchBuilder::new(Compression::None);
        for batch in &self.partitions[partition as usize] {
            for record in batch.records(usize::MAX).unwrap() {
                let record = record.unwrap();
                all.push(record.timestamp, None, record.value.as_deref(), &[])
                    .unwrap();
            }
        }
        let batch = all.build();
        let header = Bytes::copy_from_slice(&batch.header.to_bytes());
        PartitionData {
            partition_index: partition,
            high_watermark: self.held(partition),
            records: Some(Records::from_iter([header, batch.body])),
            ..PartitionData::default()
        }
    }
}

fn versions() -> ApiVersionsResponse {
    let served = |key: &ApiKey| ApiVersion {
        api_key: key.code(),
        min_version: key.versions().0,
        max_version: key.versions().1,
    };
    ApiVersionsResponse {
        api_keys: ApiKey::ALL.iter().map(served).collect(),
        ..ApiVersionsResponse::default()
    }
}

fn record(value: &[u8]) -> Outgoing<'_> {
    Outgoing {
        value: Some(value),
        ..Outgoing::default()
    }
}

#[tokio::test]
async fn a_partition_that_has_no_leader_yet_is_waited_for_by_producer_and_consumer() {
    let broker = Broker::start(1).await;
    let client = broker.client().await;
    broker.with(|state| state.leaderless = 3);
    let mut producer = Producer::new(client, TOPIC, Compression::None, SOON, 0)
        .await
        .unwrap();
    producer.send(record(b"a")).await.unwrap();
    producer.flush().await.unwrap();
    assert_eq!(broker.values(0), [b"a"]);

    let client = broker.client().await;
    broker.with(|state| state.leaderless = 3);
    let mut consumer = Consumer::new(client, TOPIC, None, Start::Earliest, SOON)
        .await
        .unwrap();
    broker.with(|state| state.leaderless = 3);
    consumer.leaders.clear();
    let mut read = Vec::new();
    while !consumer.is_at_end() {
        read.extend(consumer.poll().await.unwrap());
    }
    assert_eq!(read[0].record.value.as_deref(), Some(&b"a"[..]));
    assert_eq!(read[0].record.offset, Offset(0));
}

#[tokio::test]
async fn records_that_are_lost_are_named_and_not_waited_for() {
    let broker = Broker::start(1).await;
    let mut producer = broker.producer().await;
    producer.send(record(b"a")).await.unwrap();
    producer.flush().await.unwrap();
    broker.with(|state| state.damaged = true);
    let client = broker.client().await;
    let mut consumer = Consumer::new(client, TOPIC, None, Start::Earliest, SOON)
        .await
        .unwrap();
    let words = consumer.poll().await.unwrap_err().to_string();
    assert!(
        words.starts_with(
            "CORRUPT_MESSAGE: the records of partition 0 of topic `t` are damaged from offset 0"
        ),
        "{words}"
    );
}

#[tokio::test]
async fn a_partition_that_stays_without_a_leader_is_named() {
    let broker = Broker::start(2).await;
    let client = broker.client().await;
    broker.with(|state| state.leaderless = usize::MAX);
    let retry_timeout = Duration::from_millis(10);
    let mut producer = Producer::new(client, TOPIC, Compression::None, retry_timeout, 0)
        .await
        .unwrap();
    for partition in [0, 1] {
        let partition = Some(partition);
        let record = Outgoing {
            partition,
            ..record(b"a")
        };
        producer.send(record).await.unwrap();
    }
    let words = producer.flush().await.unwrap_err().to_string();
    assert!(
        words.starts_with("partitions 0, 1 of topic `t` have no leader"),
        "{words}"
    );

    let client = broker.client().await;
    let reading = Consumer::new(client, TOPIC, Some(1), Start::Earliest, retry_timeout);
    let words = reading.await.unwrap_err().to_string();
    assert!(
        words.starts_with("partition 1 of topic `t` has no leader"),
        "{words}"
    );
}

#[tokio::test]
async fn an_address_where_nobody_answers_leaves_the_others_their_turn() {
    // Its system accepts connections, and no process reads from them.
    let frozen = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let frozen_address = frozen.local_addr().unwrap().to_string();
    let closed = "127.0.0.1:1".to_owned();
    let broker = Broker::start(1).await;
    let mut client = Client::new(vec![
        frozen_address.clone(),
        closed.clone(),
        broker.address(),
    ]);
    client.open_max = Duration::from_secs(3);
    client.metadata(None).await.unwrap();

    let mut client = Client::new(vec![frozen_address.clone(), closed.clone()]);
    client.open_max = Duration::from_millis(10);
    let words = client.metadata(None).await.unwrap_err().to_string();
    assert!(
        words.contains(&format!("{frozen_address}: no answer within"))
            && words.contains(&format!("{closed}: ")),
        "{words}"
    );
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_split_until_it_fits_and_stays_in_order() {
    let broker = Broker::start(1).await;
    let mut producer = broker.producer().await;
    broker.with(|state| state.batch_bytes_max = 250);
    let values: Vec<Vec<u8>> = (0..100_u8).map(|n| vec![n; 20]).collect();
    for value in &values {
        producer.send(record(value)).await.unwrap();
    }
    producer.flush().await.unwrap();
    // The broker accepts only batches with the next sequence number.
    assert_eq!(broker.values(0), values);
    assert_eq!(producer.acknowledged(), 100);
    producer.send(record(b"behind")).await.unwrap();
    producer.flush().await.unwrap();
    assert_eq!(broker.values(0).len(), 101);
}

#[tokio::test]
async fn a_record_that_is_too_large_by_itself_is_told_with_its_size_and_the_limit() {
    let broker = Broker::start(1).await;
    for size in [1000, 3 << 20] {
        let mut producer = broker.producer().await;
        broker.with(|state| {
            state.batch_bytes_max = 250;
            state.partitions[0].clear();
        });
        producer.send(record(b"before")).await.unwrap();
        let sending = match producer.send(record(&vec![7; size])).await {
            Ok(()) => producer.flush().await,
            failed => failed,
        };
        let failure = sending.unwrap_err();
        assert_eq!(failure.record, Some(1));
        assert_eq!(failure.first_unacknowledged, 1);
        assert_eq!(failure.acknowledged, 1);
        let words = failure.to_string();
        let told = format!("topic `{TOPIC}`, whose max.message.bytes is 250");
        assert!(words.contains(&told), "{words}");
        assert!(words.contains("a record of "), "{words}");
        assert_eq!(broker.values(0), [b"before"]);
    }
}

#[tokio::test]
async fn keyless_records_begin_at_the_partition_that_was_drawn() {
    let broker = Broker::start(3).await;
    for draw in [4, u64::MAX] {
        let client = broker.client().await;
        let mut producer = Producer::new(client, TOPIC, Compression::None, SOON, draw)
            .await
            .unwrap();
        producer.send(record(b"a")).await.unwrap();
        producer.flush().await.unwrap();
    }
    let held: Vec<usize> = (0..3).map(|index| broker.values(index).len()).collect();
    assert_eq!(held, [1, 1, 0]);
}

#[tokio::test]
async fn a_partition_whose_leader_is_gone_is_named_too() {
    let broker = Broker::start(1).await;
    let client = broker.client().await;
    broker.with(|state| state.broker = BROKER + 2);
    let retry_timeout = Duration::from_millis(10);
    let mut producer = Producer::new(client, TOPIC, Compression::None, retry_timeout, 0)
        .await
        .unwrap();
    producer.send(record(b"a")).await.unwrap();
    let error = producer.flush().await.unwrap_err().error;
    assert_eq!(error.code(), Some(ErrorCode::BrokerNotAvailable));
    let words = error.to_string();
    assert!(words.starts_with("partition 0 of topic `t`: "), "{words}");
}

#[tokio::test]
async fn keyless_records_are_gathered_while_others_are_delivered_and_stay_in_order() {
    let broker = Broker::start(2).await;
    let mut producer = broker.producer().await;
    let values: Vec<Vec<u8>> = (0..40_000_u32)
        .map(|n| n.to_be_bytes().repeat(50))
        .collect();
    for value in &values {
        producer.send(record(value)).await.unwrap();
    }
    assert_eq!(producer.taken(), 40_000);
    producer.flush().await.unwrap();
    assert_eq!(producer.acknowledged(), 40_000);
    let mut all = Vec::new();
    for partition in 0..2 {
        let held = broker.values(partition);
        assert!(held.is_sorted(), "partition {partition} is out of order");
        assert!(
            held.len() > 10_000,
            "partition {partition} got {}",
            held.len()
        );
        all.extend(held);
    }
    all.sort_unstable();
    assert_eq!(all, values);
}

#[tokio::test]
async fn a_record_names_its_partition_and_keeps_its_headers() {
    let broker = Broker::start(2).await;
    let mut producer = broker.producer().await;
    let headers: [(&[u8], Option<&[u8]>); 3] =
        [(b"a", Some(b"1")), (b"a", None), (b"\xff", Some(b"\xfe"))];
    let named = Outgoing {
        partition: Some(1),
        key: Some(b"k"),
        value: None,
        headers: &headers,
        timestamp: 7,
    };
    producer.send(named).await.unwrap();
    producer.flush().await.unwrap();
    let batch = broker.with(|state| state.partitions[1][0].clone());
    let stored = batch.records(usize::MAX).unwrap().next().unwrap().unwrap();
    assert_eq!(stored.key.as_deref(), Some(&b"k"[..]));
    assert_eq!(stored.value, None);
    assert_eq!(stored.timestamp.0, 7);
    let stored: Vec<_> = stored
        .headers
        .iter()
        .map(|h| (&*h.key, h.value.as_deref()))
        .collect();
    assert_eq!(stored, headers);

    let nowhere = Outgoing {
        partition: Some(2),
        ..record(b"a")
    };
    let failure = producer.send(nowhere).await.unwrap_err();
    assert_eq!(failure.record, Some(1));
    assert_eq!(
        failure.to_string(),
        "UNKNOWN_TOPIC_OR_PARTITION: topic `t` has no partition 2: it has 2, numbered from 0 on"
    );
}
