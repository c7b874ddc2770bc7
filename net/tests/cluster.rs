//! Whole nodes on real files and loopback sockets, spoken to in the client protocol.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use varve_core::cluster::ConfigMap;
use varve_core::ids::{BrokerId, ClusterId, DirectoryId, Timestamp};
use varve_core::record::{BatchBuilder, Compression};
use varve_core::store::{BootId, OpenError, StoreOptions};
use varve_core::wire::fetch::{FetchPartition, FetchTopic};
use varve_core::wire::metadata::MetadataRequestTopic;
use varve_core::wire::produce::{PartitionProduceData, TopicProduceData};
use varve_core::wire::{
    ErrorCode, FetchRequest, FetchResponse, MetadataRequest, MetadataResponse, ProduceRequest,
    ProduceResponse, RequestHeader, RequestMessage, decode_response, encode_request,
};
use varve_net::driver::Progress;
use varve_net::files::RealDisk;
use varve_net::node::{ListenerSettings, NodeSettings, RunningNode, start};
use varve_net::{directory, files};

const SOON: Duration = Duration::from_secs(20);

/// A cluster of three nodes, each with a directory and ports that last.
struct Cluster {
    data: tempfile::TempDir,
    ports: Vec<(u16, u16)>,
    running: Vec<Option<RunningNode>>,
}

impl Cluster {
    async fn start() -> Self {
        // Held together, so that all differ.
        let held: Vec<TcpListener> = (0..6)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let ports: Vec<u16> = held
            .iter()
            .map(|held| held.local_addr().unwrap().port())
            .collect();
        drop(held);
        let mut cluster = Self {
            data: tempfile::tempdir().unwrap(),
            ports: ports.chunks(2).map(|pair| (pair[0], pair[1])).collect(),
            running: vec![None, None, None],
        };
        cluster.start_all().await;
        cluster
    }

    async fn start_all(&mut self) {
        for index in 0..3 {
            self.start_node(index).await;
        }
        for node in self.running.iter().flatten() {
            assert_eq!(timeout(SOON, node.ready()).await, Ok(Progress::Ready));
        }
    }

    async fn start_node(&mut self, index: usize) {
        let node = start(self.disk(index), self.settings(index)).await.unwrap();
        self.running[index] = Some(node);
    }

    async fn stop_all(&mut self) {
        for node in self.running.iter().flatten() {
            node.stop();
        }
        for index in 0..3 {
            self.stop_node(index).await;
        }
    }

    async fn stop_node(&mut self, index: usize) {
        if let Some(node) = self.running[index].take() {
            node.stop();
            timeout(SOON, node.stopped()).await.unwrap();
        }
    }

    fn disk(&self, index: usize) -> RealDisk {
        let path = self.data.path().join(index.to_string());
        let disk = RealDisk::open(Path::new(&path)).unwrap();
        let broker = BrokerId(index as i32 + 1);
        let id = DirectoryId(index as u128 + 100);
        let formatted = if index == 0 {
            directory::format_first(&disk, broker, id, ClusterId(7), small_store(), boot())
        } else {
            directory::format_to_join(&disk, broker, id)
        };
        assert!(matches!(
            formatted,
            Ok(()) | Err(OpenError::AlreadyFormatted)
        ));
        disk
    }

    fn settings(&self, index: usize) -> NodeSettings {
        let listener = |port: u16| ListenerSettings {
            name: "clients".to_owned(),
            listen: format!("127.0.0.1:{port}"),
            advertised: ("127.0.0.1".to_owned(), port),
        };
        let kafka = ConfigMap::from([
            ("default.replication.factor".to_owned(), "3".to_owned()),
            ("min.insync.replicas".to_owned(), "2".to_owned()),
        ]);
        NodeSettings {
            broker: BrokerId(index as i32 + 1),
            rack: None,
            listeners: vec![listener(self.ports[index].0)],
            peers: listener(self.ports[index].1),
            bootstrap: self
                .ports
                .iter()
                .map(|(_, port)| format!("127.0.0.1:{port}"))
                .collect(),
            kafka,
            seed: index as u64,
            boot: boot(),
            store: small_store(),
        }
    }

    /// The topic as some node that runs has it, once it has a leader.
    async fn leader(&self, topic: &str) -> (Client, MetadataResponse) {
        let deadline = Instant::now() + SOON;
        loop {
            let asked = self.running.iter().position(Option::is_some).unwrap();
            let mut client = Client::connect(self.ports[asked].0).await;
            let topics = vec![MetadataRequestTopic {
                name: Some(topic.into()),
                ..Default::default()
            }];
            let request = MetadataRequest {
                topics: Some(topics),
                ..Default::default()
            };
            let metadata = client.ask(12, request).await;
            let partition = metadata.topics[0].partitions.first();
            if let Some(leader) = partition
                .map(|p| p.leader_id)
                .filter(|&id| id > 0 && self.running[id as usize - 1].is_some())
            {
                return (
                    Client::connect(self.ports[leader as usize - 1].0).await,
                    metadata,
                );
            }
            assert!(
                Instant::now() < deadline,
                "{topic} has no leader: {metadata:?}"
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Produces one record for each value, in one batch, and tells the first offset. Tries again as clients do.
    async fn produce(&self, topic: &str, values: &[String]) -> i64 {
        let deadline = Instant::now() + SOON;
        loop {
            let (mut leader, _) = self.leader(topic).await;
            let mut batch = BatchBuilder::new(Compression::None);
            for value in values {
                batch
                    .push(Timestamp(1), None, Some(value.as_bytes()), &[])
                    .unwrap();
            }
            let partition = PartitionProduceData {
                index: 0,
                records: Some(batch.build().to_bytes().into()),
            };
            let topic_data = vec![TopicProduceData {
                name: topic.into(),
                partition_data: vec![partition],
                ..Default::default()
            }];
            let request = ProduceRequest {
                acks: -1,
                timeout_ms: 5000,
                topic_data,
                ..Default::default()
            };
            let response: ProduceResponse = leader.ask(9, request).await;
            let answer = &response.responses[0].partition_responses[0];
            if answer.error_code == ErrorCode::None {
                return answer.base_offset;
            }
            assert!(Instant::now() < deadline, "cannot produce: {answer:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Everything in the topic, as text.
    async fn fetch_all(&self, topic: &str) -> Vec<String> {
        let mut values = Vec::new();
        let deadline = Instant::now() + SOON;
        loop {
            let (mut leader, _) = self.leader(topic).await;
            let partition = FetchPartition {
                fetch_offset: values.len() as i64,
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
            let response: FetchResponse = leader.ask(12, request).await;
            let answer = &response.responses[0].partitions[0];
            if answer.error_code == ErrorCode::None {
                let mut bytes = answer
                    .records
                    .as_ref()
                    .map(|r| r.to_bytes())
                    .unwrap_or_default();
                while !bytes.is_empty() {
                    let batch = varve_core::record::Batch::split_from(&mut bytes).unwrap();
                    batch.verify().unwrap();
                    for record in batch.records(1 << 20).unwrap() {
                        let value = record.unwrap().value.unwrap();
                        values.push(String::from_utf8(value.to_vec()).unwrap());
                    }
                }
                if values.len() as i64 == answer.high_watermark {
                    return values;
                }
            }
            assert!(Instant::now() < deadline, "cannot fetch: {answer:?}");
        }
    }
}

fn boot() -> BootId {
    files::boot_id().map_or(BootId::UNKNOWN, BootId)
}

fn small_store() -> StoreOptions {
    StoreOptions {
        journal_file_bytes: 1 << 20,
        journal_files: 1,
        reserve_bytes: 0,
        ..StoreOptions::default()
    }
}

struct Client {
    stream: TcpStream,
    asked: i32,
}

impl Client {
    async fn connect(port: u16) -> Self {
        let stream = timeout(SOON, TcpStream::connect(("127.0.0.1", port))).await;
        Self {
            stream: stream.unwrap().unwrap(),
            asked: 0,
        }
    }

    async fn ask<R: RequestMessage>(&mut self, version: i16, request: R) -> R::Response
    where
        <R::Response as TryFrom<varve_core::wire::Response>>::Error: std::fmt::Debug,
    {
        self.asked += 1;
        let header = RequestHeader {
            api_key: R::API_KEY,
            api_version: version,
            correlation_id: self.asked,
            client_id: None,
        };
        for piece in encode_request(&header, &request.into()).unwrap().iter() {
            self.stream.write_all(piece).await.unwrap();
        }
        let length = timeout(SOON, self.stream.read_u32())
            .await
            .unwrap()
            .unwrap();
        let mut frame = vec![0; length as usize];
        timeout(SOON, self.stream.read_exact(&mut frame))
            .await
            .unwrap()
            .unwrap();
        let (id, response) = decode_response(R::API_KEY, version, &frame.into()).unwrap();
        assert_eq!(id, self.asked);
        R::Response::try_from(response).unwrap()
    }
}

fn numbers(range: std::ops::Range<i32>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_read_back_across_restarts_of_one_and_of_all() {
    let mut cluster = Cluster::start().await;
    assert_eq!(cluster.produce("t", &numbers(0..3)).await, 0);
    assert_eq!(cluster.produce("t", &numbers(3..5)).await, 3);
    assert_eq!(cluster.fetch_all("t").await, numbers(0..5));

    cluster.stop_node(1).await;
    assert_eq!(cluster.produce("t", &numbers(5..7)).await, 5);
    cluster.start_node(1).await;

    cluster.stop_all().await;
    cluster.start_all().await;
    assert_eq!(cluster.fetch_all("t").await, numbers(0..7));
    assert_eq!(cluster.produce("t", &numbers(7..8)).await, 7);

    // The node that was away has everything too: it is enough with either other.
    cluster.stop_node(0).await;
    assert_eq!(cluster.fetch_all("t").await, numbers(0..8));
    cluster.stop_all().await;
}
