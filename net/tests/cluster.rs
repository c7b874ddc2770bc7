//! Whole nodes on real files and loopback sockets, spoken to in the client protocol.
// Helpers of tests fail by panicking, like the tests themselves.
#![allow(clippy::unwrap_used)]
#![cfg(not(madsim))]

mod client_words;

use std::net::TcpListener;
use std::time::Duration;

use client_words::Client;
use tokio::time::timeout;
use varve_core::cluster::ConfigMap;
use varve_core::ids::{BrokerId, ClusterId, DirectoryId};
use varve_core::store::{BootId, OpenError, StoreOptions};
use varve_net::descriptors::Descriptors;
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
        let disk = RealDisk::open(&self.data.path().join(index.to_string())).unwrap();
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
            descriptors: Descriptors::share(1024, 1).unwrap(),
        }
    }

    fn client(&self) -> Client {
        let brokers = self
            .ports
            .iter()
            .map(|(port, _)| format!("127.0.0.1:{port}"));
        Client {
            brokers: brokers.collect(),
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

fn numbers(range: std::ops::Range<i32>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_read_back_across_restarts_of_one_and_of_all() {
    let mut cluster = Cluster::start().await;
    let client = cluster.client();
    assert_eq!(client.produce("t", &numbers(0..3)).await, 0);
    assert_eq!(client.produce("t", &numbers(3..5)).await, 3);
    assert_eq!(client.fetch_all("t").await, numbers(0..5));

    cluster.stop_node(1).await;
    assert_eq!(client.produce("t", &numbers(5..7)).await, 5);
    cluster.start_node(1).await;

    cluster.stop_all().await;
    cluster.start_all().await;
    assert_eq!(client.fetch_all("t").await, numbers(0..7));
    assert_eq!(client.produce("t", &numbers(7..8)).await, 7);

    // The node that was away has everything too: it is enough with either other.
    cluster.stop_node(0).await;
    assert_eq!(client.fetch_all("t").await, numbers(0..8));
    cluster.stop_all().await;
}
