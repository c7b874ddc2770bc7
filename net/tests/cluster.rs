//! Whole nodes on real files and loopback sockets, spoken to in the client protocol.
// Helpers of tests fail by panicking, like the tests themselves.
#![allow(clippy::unwrap_used)]
#![cfg(not(madsim))]

mod client_words;
mod failing_disk;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use client_words::Client;
use failing_disk::{Condition, FailingDisk, Switch};
use tokio::time::{Instant, sleep, timeout};
use varve_core::cluster::ConfigMap;
use varve_core::ids::{BrokerId, ClusterId, DirectoryId};
use varve_core::peer::PeerVersions;
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
    switches: [Arc<Switch>; 3],
    /// What each node speaks with its peers from its next start on.
    versions: [PeerVersions; 3],
}

impl Cluster {
    async fn start() -> Self {
        let mut cluster = Self::stopped();
        cluster.start_all().await;
        cluster
    }

    fn stopped() -> Self {
        // Held together, so that all differ.
        let held: Vec<TcpListener> = (0..6)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let ports: Vec<u16> = held
            .iter()
            .map(|held| held.local_addr().unwrap().port())
            .collect();
        drop(held);
        Self {
            data: tempfile::tempdir().unwrap(),
            ports: ports.chunks(2).map(|pair| (pair[0], pair[1])).collect(),
            running: vec![None, None, None],
            switches: Default::default(),
            versions: [PeerVersions::SUPPORTED; 3],
        }
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
        let disk = FailingDisk {
            disk: self.disk(index),
            switch: Arc::clone(&self.switches[index]),
        };
        let node = start(disk, self.settings(index)).await.unwrap();
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
            peer_versions: self.versions[index],
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_upgraded_and_taken_back_a_node_at_a_time() {
    let earlier = PeerVersions::PREVIOUS_MINOR;
    let mut cluster = Cluster::stopped();
    cluster.versions = [earlier; 3];
    cluster.start_all().await;
    let client = cluster.client();
    let mut produced = 0;
    for (node, versions) in [
        (1, PeerVersions::SUPPORTED),
        (0, PeerVersions::SUPPORTED),
        (2, PeerVersions::SUPPORTED),
        (2, earlier),
        (1, earlier),
    ] {
        cluster.stop_node(node).await;
        cluster.versions[node] = versions;
        cluster.start_node(node).await;
        // Created by the controller, whichever node that is, and whichever the client asks.
        let topic = format!("t{produced}");
        assert_eq!(client.produce(&topic, &numbers(0..3)).await, 0);
        assert_eq!(
            client
                .produce("all", &numbers(produced..produced + 1))
                .await,
            produced.into()
        );
        produced += 1;
    }
    assert_eq!(client.fetch_all("all").await, numbers(0..produced));
    let all = |isr: &[i32], offline: &[i32]| isr.len() == 3 && offline.is_empty();
    client.told("all", all, SOON).await;
    cluster.stop_all().await;
}

/// Bytes of memory that this process has.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    let kib = line.split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() << 10
}

/// Produces 900 KB at a time for this long, to all but one of the brokers.
async fn produce_for(client: &Client, length: Duration) -> u64 {
    let value = vec!["x".repeat(900_000)];
    let (begun, mut bytes) = (Instant::now(), 0);
    while begun.elapsed() < length {
        client.produce("t", &value).await;
        bytes += 900_000;
        sleep(Duration::from_millis(20)).await;
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_whose_directory_fails_is_told_of_at_once_and_by_every_leader() {
    let mut cluster = Cluster::start().await;
    let client = cluster.client();
    client.produce("t", &numbers(0..3)).await;
    let (leader, ..) = client.partition("t").await;
    let broken = if leader == 3 { 2 } else { 3 };
    let third = 6 - leader - broken;
    client
        .told(
            "t",
            |isr, offline| isr.len() == 3 && offline.is_empty(),
            SOON,
        )
        .await;

    cluster.switches[broken as usize - 1].set(Condition::Fails);
    client.produce("t", &numbers(3..5)).await;
    let is_told = |isr: &[i32], offline: &[i32]| !isr.contains(&broken) && offline == [broken];
    client.told("t", is_told, Duration::from_secs(2)).await;

    // Another leader says the same as soon as it leads: the node that stops hands over to it.
    cluster.stop_node(leader as usize - 1).await;
    cluster.start_node(leader as usize - 1).await;
    let is_told = |isr: &[i32], offline: &[i32]| isr.contains(&third) && offline == [broken];
    client.told("t", is_told, SOON).await;
    assert!(!client.partition("t").await.1.contains(&broken));

    // What will never be written takes no memory.
    let before = memory();
    let produced = produce_for(&client, Duration::from_secs(4)).await;
    let grown = memory().saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes after {produced}");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_takes_no_more_memory_than_a_window() {
    let mut cluster = Cluster::start().await;
    let client = cluster.client();
    client.produce("t", &numbers(0..3)).await;
    let (leader, ..) = client.partition("t").await;
    let hung = if leader == 3 { 2 } else { 3 };
    produce_for(&client, Duration::from_secs(2)).await;

    cluster.switches[hung as usize - 1].set(Condition::Hangs);
    let before = memory();
    let produced = produce_for(&client, Duration::from_secs(6)).await;
    let grown = memory().saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes after {produced}");

    cluster.switches[hung as usize - 1].set(Condition::Sound);
    client.told("t", |isr, _| isr.len() == 3, SOON).await;
    cluster.stop_all().await;
}
