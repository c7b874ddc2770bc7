//! The few words of the client protocol that the tests of whole nodes speak.

// A test's helper fails by panicking, like the test itself.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use varve_core::ids::Timestamp;
use varve_core::record::{Batch, BatchBuilder, Compression};
use varve_core::wire::fetch::{FetchPartition, FetchTopic};
use varve_core::wire::metadata::MetadataRequestTopic;
use varve_core::wire::produce::{PartitionProduceData, TopicProduceData};
use varve_core::wire::{
    ErrorCode, FetchRequest, FetchResponse, MetadataRequest, MetadataResponse, ProduceRequest,
    ProduceResponse, RequestHeader, RequestMessage, Response, decode_response, encode_request,
};

/// How long a client tries.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How long one request may take.
const REQUEST_MAX: Duration = Duration::from_secs(6);

/// How long a client rests before it tries again.
const REST: Duration = Duration::from_millis(50);

/// A client of a cluster, which tries again as clients do.
#[derive(Debug)]
pub(crate) struct Client {
    /// Every broker, by number from 1.
    pub(crate) brokers: Vec<String>,
}

impl Client {
    /// Produces one record for each value, in one batch, and tells the first offset.
    pub(crate) async fn produce(&self, topic: &str, values: &[String]) -> i64 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(offset) = self.try_produce(topic, values).await {
                return offset;
            }
            assert!(Instant::now() < deadline, "cannot produce");
            sleep(REST).await;
        }
    }

    /// Everything in the topic, as text.
    pub(crate) async fn fetch_all(&self, topic: &str) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(values) = self.try_fetch_all(topic).await {
                return values;
            }
            assert!(Instant::now() < deadline, "cannot fetch");
            sleep(REST).await;
        }
    }

    /// The topic's only partition: its leader, who is in sync, and whose replicas are offline.
    pub(crate) async fn partition(&self, topic: &str) -> (i32, Vec<i32>, Vec<i32>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for broker in &self.brokers {
                if let Some(mut connection) = Connection::open(broker).await
                    && let Some(metadata) = connection.metadata(topic).await
                    && let Some(found) = metadata.topics[0].partitions.first()
                    && found.leader_id > 0
                {
                    let offline = found.offline_replicas.clone();
                    return (found.leader_id, found.isr_nodes.clone(), offline);
                }
            }
            assert!(Instant::now() < deadline, "nobody leads");
            sleep(REST).await;
        }
    }

    /// Waits until it is told so of who is in sync, and whose replicas are offline.
    pub(crate) async fn told(
        &self,
        topic: &str,
        so: impl Fn(&[i32], &[i32]) -> bool,
        patience: Duration,
    ) {
        let deadline = Instant::now() + patience;
        loop {
            let (_, isr, offline) = self.partition(topic).await;
            if so(&isr, &offline) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "in sync {isr:?}, offline {offline:?}"
            );
            sleep(REST).await;
        }
    }

    async fn try_produce(&self, topic: &str, values: &[String]) -> Option<i64> {
        let mut leader = self.leader(topic).await?;
        let mut batch = BatchBuilder::new(Compression::None);
        for value in values {
            batch
                .push(Timestamp(1), None, Some(value.as_bytes()), &[])
                .unwrap();
        }
        let records = Some(batch.build().to_bytes().into());
        let topic_data = vec![TopicProduceData {
            name: topic.into(),
            partition_data: vec![PartitionProduceData { index: 0, records }],
            ..Default::default()
        }];
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 5000,
            topic_data,
            ..Default::default()
        };
        let response: ProduceResponse = leader.send(9, request).await?;
        let answer = &response.responses[0].partition_responses[0];
        (answer.error_code == ErrorCode::None).then_some(answer.base_offset)
    }

    async fn try_fetch_all(&self, topic: &str) -> Option<Vec<String>> {
        let mut leader = self.leader(topic).await?;
        let mut values = Vec::new();
        loop {
            let (read, end) = leader.fetch(topic, values.len() as i64).await?;
            values.extend(read);
            if values.len() as i64 == end {
                return Some(values);
            }
        }
    }

    /// A connection to the leader of the topic's only partition, as the first broker that answers has it.
    async fn leader(&self, topic: &str) -> Option<Connection> {
        for broker in &self.brokers {
            let Some(mut connection) = Connection::open(broker).await else {
                continue;
            };
            let Some(metadata) = connection.metadata(topic).await else {
                continue;
            };
            let leader = metadata.topics[0]
                .partitions
                .first()
                .map_or(-1, |p| p.leader_id);
            if let Some(address) = usize::try_from(leader - 1)
                .ok()
                .and_then(|i| self.brokers.get(i))
                && let Some(connection) = Connection::open(address).await
            {
                return Some(connection);
            }
        }
        None
    }
}

/// A connection to one broker.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    asked: i32,
}

impl Connection {
    async fn open(address: &str) -> Option<Self> {
        let stream = timeout(REQUEST_MAX, TcpStream::connect(address))
            .await
            .ok()?
            .ok()?;
        Some(Self { stream, asked: 0 })
    }

    async fn metadata(&mut self, topic: &str) -> Option<MetadataResponse> {
        let name = Some(topic.into());
        let topics = vec![MetadataRequestTopic {
            name,
            ..Default::default()
        }];
        let request = MetadataRequest {
            topics: Some(topics),
            ..Default::default()
        };
        self.send(12, request).await
    }

    async fn fetch(&mut self, topic: &str, from: i64) -> Option<(Vec<String>, i64)> {
        let partition = FetchPartition {
            fetch_offset: from,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        };
        let topics = vec![FetchTopic {
            topic: topic.into(),
            partitions: vec![partition],
            ..Default::default()
        }];
        let request = FetchRequest {
            max_wait_ms: 100,
            min_bytes: 1,
            max_bytes: 1 << 20,
            topics,
            ..Default::default()
        };
        let response: FetchResponse = self.send(12, request).await?;
        let answer = &response.responses[0].partitions[0];
        if answer.error_code != ErrorCode::None {
            return None;
        }
        let mut bytes = answer
            .records
            .as_ref()
            .map(|r| r.to_bytes())
            .unwrap_or_default();
        let mut values = Vec::new();
        while !bytes.is_empty() {
            let batch = Batch::split_from(&mut bytes).unwrap();
            batch.verify().unwrap();
            for record in batch.records(1 << 20).unwrap() {
                let value = record.unwrap().value.unwrap();
                values.push(String::from_utf8(value.to_vec()).unwrap());
            }
        }
        Some((values, answer.high_watermark))
    }

    /// The answer; none where the connection fails before.
    async fn send<R: RequestMessage>(&mut self, version: i16, request: R) -> Option<R::Response> {
        let asking = self.exchange(version, R::API_KEY, request.into());
        let response = timeout(REQUEST_MAX, asking).await.ok()??;
        R::Response::try_from(response).ok()
    }

    async fn exchange(
        &mut self,
        version: i16,
        api_key: varve_core::wire::ApiKey,
        request: varve_core::wire::Request,
    ) -> Option<Response> {
        self.asked += 1;
        let header = RequestHeader {
            api_key,
            api_version: version,
            correlation_id: self.asked,
            client_id: None,
        };
        for piece in encode_request(&header, &request).unwrap().iter() {
            self.stream.write_all(piece).await.ok()?;
        }
        self.stream.flush().await.ok()?;
        let length = self.stream.read_u32().await.ok()?;
        let mut frame = vec![0; length as usize];
        self.stream.read_exact(&mut frame).await.ok()?;
        let (id, response) = decode_response(api_key, version, &frame.into()).unwrap();
        assert_eq!(id, self.asked);
        Some(response)
    }
}
