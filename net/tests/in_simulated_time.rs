//! The shell in simulated time: whole nodes on madsim's tasks, time and network, with faults that loopback has not.
//!
//! Compiled with `--cfg madsim` only; `simulated.rs` runs it. Files are real and lie in a temporary directory, since
//! what disks do wrong is the business of core's own simulator.
// Helpers of tests fail by panicking, like the tests themselves.
#![allow(clippy::unwrap_used)]
#![cfg(madsim)]

mod client_words;

use std::path::PathBuf;
use std::time::Duration;

use client_words::Client;
use madsim::net::NetSim;
use madsim::runtime::{Handle, NodeHandle};
use tokio::time::sleep;
use varve_core::cluster::ConfigMap;
use varve_core::ids::{BrokerId, ClusterId, DirectoryId};
use varve_core::peer::PeerVersions;
use varve_core::store::{BootId, OpenError, StoreOptions};
use varve_net::descriptors::Descriptors;
use varve_net::directory;
use varve_net::files::RealDisk;
use varve_net::node::{ListenerSettings, NodeSettings, start};

const NODES: usize = 3;

fn address(index: usize) -> String {
    format!("10.0.0.{}", index + 1)
}

fn small_store() -> StoreOptions {
    StoreOptions {
        journal_file_bytes: 1 << 20,
        journal_files: 1,
        reserve_bytes: 0,
        ..StoreOptions::default()
    }
}

fn settings(index: usize) -> NodeSettings {
    let listener = |port: u16| ListenerSettings {
        name: "clients".to_owned(),
        listen: format!("{}:{port}", address(index)),
        advertised: (address(index), port),
    };
    let kafka = ConfigMap::from([
        ("default.replication.factor".to_owned(), "3".to_owned()),
        ("min.insync.replicas".to_owned(), "2".to_owned()),
    ]);
    NodeSettings {
        broker: BrokerId(index as i32 + 1),
        rack: None,
        listeners: vec![listener(9092)],
        peers: listener(9192),
        peer_versions: PeerVersions::SUPPORTED,
        bootstrap: (0..NODES)
            .map(|index| format!("{}:9192", address(index)))
            .collect(),
        kafka,
        seed: index as u64,
        boot: BootId(1),
        store: small_store(),
        descriptors: Descriptors::share(1024, 1).unwrap(),
    }
}

async fn run_node(index: usize, path: PathBuf) {
    let disk = RealDisk::open(&path).unwrap();
    let broker = BrokerId(index as i32 + 1);
    let id = DirectoryId(index as u128 + 100);
    let formatted = if index == 0 {
        directory::format_first(&disk, broker, id, ClusterId(7), small_store(), BootId(1))
    } else {
        directory::format_to_join(&disk, broker, id)
    };
    assert!(matches!(
        formatted,
        Ok(()) | Err(OpenError::AlreadyFormatted)
    ));
    let node = start(disk, settings(index)).await.unwrap();
    node.stopped().await;
}

struct Simulation {
    nodes: Vec<NodeHandle>,
    client: NodeHandle,
    _data: tempfile::TempDir,
}

impl Simulation {
    fn start() -> Self {
        // Not drawn from the simulated randomness, which would give every run the same name.
        let data = tempfile::Builder::new()
            .prefix(&format!("varve-{}-", std::process::id()))
            .tempdir()
            .unwrap();
        let handle = Handle::current();
        let nodes = (0..NODES).map(|index| {
            let path = data.path().join(index.to_string());
            handle
                .create_node()
                .name(format!("n{}", index + 1))
                .ip(address(index).parse().unwrap())
                .init(move || run_node(index, path.clone()))
                .build()
        });
        let nodes = nodes.collect();
        let client = handle
            .create_node()
            .name("client")
            .ip("10.0.0.9".parse().unwrap())
            .build();
        Self {
            nodes,
            client,
            _data: data,
        }
    }

    /// Produces numbers from the client's machine, in batches of one, and reads all back.
    async fn produce(&self, numbers: std::ops::Range<usize>) {
        let producing = self.client.spawn(async move {
            for number in numbers {
                client().produce("t", &[number.to_string()]).await;
            }
        });
        producing.await.unwrap();
    }

    async fn read(&self) -> Vec<String> {
        self.client
            .spawn(async { client().fetch_all("t").await })
            .await
            .unwrap()
    }
}

fn client() -> Client {
    Client {
        brokers: (0..NODES)
            .map(|index| format!("{}:9092", address(index)))
            .collect(),
    }
}

/// A producer without idempotence may write a record again when an answer is lost, but never loses one, and never
/// goes back: that is what is claimed here of every acknowledged number.
fn assert_all_there(read: &[String], count: usize) {
    let mut seen: Vec<usize> = read.iter().map(|value| value.parse().unwrap()).collect();
    seen.dedup();
    assert_eq!(seen, (0..count).collect::<Vec<_>>());
}

#[madsim::test]
async fn acknowledged_records_survive_killed_and_restarted_nodes() {
    let simulation = Simulation::start();
    simulation.produce(0..20).await;
    for (round, node) in simulation.nodes.iter().enumerate() {
        Handle::current().kill(node.id());
        simulation.produce(20 + round * 10..25 + round * 10).await;
        Handle::current().restart(node.id());
        simulation.produce(25 + round * 10..30 + round * 10).await;
        sleep(Duration::from_secs(2)).await;
    }
    assert_all_there(&simulation.read().await, 50);
}

#[madsim::test]
async fn a_node_cut_off_from_its_peers_holds_nobody_up_and_catches_up() {
    let simulation = Simulation::start();
    simulation.produce(0..10).await;
    let net = madsim::plugin::simulator::<NetSim>();
    for (round, cut) in simulation.nodes.iter().enumerate() {
        let others = simulation.nodes.iter().filter(|node| node.id() != cut.id());
        for other in others {
            net.clog_link(cut.id(), other.id());
            net.clog_link(other.id(), cut.id());
        }
        simulation.produce(10 + round * 10..20 + round * 10).await;
        let others = simulation.nodes.iter().filter(|node| node.id() != cut.id());
        for other in others {
            net.unclog_link(cut.id(), other.id());
            net.unclog_link(other.id(), cut.id());
        }
        sleep(Duration::from_secs(2)).await;
    }
    assert_all_there(&simulation.read().await, 40);
}
