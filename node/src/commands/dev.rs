//! `varve dev`: a whole cluster in one process, on loopback, to try things on.
//!
//! The same nodes as `varve start` runs, each with a directory and ports of its own. The first start makes the
//! cluster by itself; later ones find its data.
//!
//! How many nodes there are to be is written down before the first directory is formatted, and nothing is written
//! before the ports are seen to be free: whatever cuts a start short, the next one makes the same cluster.

use std::fs;
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::time::timeout;
use varve_core::cluster::ConfigMap;
use varve_core::ids::{BrokerId, ClusterId, DirectoryId};
use varve_core::peer::PeerVersions;
use varve_core::store::{BootId, OpenError, StoreOptions};
use varve_net::descriptors::{self, Descriptors};
use varve_net::directory;
use varve_net::driver::Progress;
use varve_net::files::{RealDisk, boot_id};
use varve_net::node::{self, ListenerSettings, NodeSettings, RunningNode};
use varve_net::rt;

use super::show::say;
use super::{Failure, UsageError, draw, draw_seed, open_directory};
use crate::config::{SettingError, check_setting};
use crate::logging;

/// Arguments of `varve dev`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How many brokers; 3 at the first start, and as many as there are at later ones.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=NODES_MAX))]
    nodes: Option<u16>,
    /// Where the cluster keeps its data.
    #[arg(long, value_name = "DIR", default_value = "varve-data")]
    data: PathBuf,
    /// The first broker's port; the others have the next ones, and their peer listeners those from 100 above on.
    #[arg(long, default_value_t = 9092, value_parser = clap::value_parser!(u16).range(1..=65_000))]
    port: u16,
    /// A broker setting by Kafka's name, as in num.partitions=6, for this start of all brokers. May be given more than
    /// once; node/varve.example.toml has every one.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_setting)]
    set: Vec<(String, String)>,
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("expected KEY=VALUE, as in num.partitions=6")?;
    match check_setting(BrokerId(1), key, value) {
        Ok(()) => Ok((key.to_owned(), value.to_owned())),
        Err(SettingError::SetElsewhere(_)) => Err(format!(
            "`{key}` is for varve dev to set, from --nodes, --port and --data"
        )),
        Err(SettingError::Invalid(reason)) => Err(reason),
    }
}

/// Where all of it listens.
const HOST: &str = "127.0.0.1";

/// The ports of clients and peers are this far apart.
const NODES_MAX: i64 = 99;
const PEER_PORTS: u16 = 100;

const NODES_DEFAULT: u16 = 3;

/// The file that holds the number of nodes, and its name until it is whole.
const NODES_FILE: &str = "nodes";
const NODES_FILE_UNFINISHED: &str = "nodes.unfinished";

/// How long the cluster may take to become ready before it says that it still tries.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take to stop.
const STOP_MAX: Duration = Duration::from_secs(30);

/// Runs it.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    logging::start("warn");
    let nodes = count_nodes(&arguments.data, arguments.nodes)?;
    check_ports(&arguments, nodes)?;
    remember_nodes(&arguments.data, nodes)
        .map_err(|error| format!("{}: {error}", arguments.data.display()))?;
    // Small journals: three nodes share one laptop's disk.
    let store = StoreOptions {
        journal_file_bytes: 16 << 20,
        journal_files: 2,
        checkpoint_journal_bytes: 16 << 20,
        ..StoreOptions::default()
    };
    let descriptors = Descriptors::share(descriptors::raise_limit(), nodes.into())?;
    let mut running = Vec::new();
    for id in 1..=nodes {
        let disk = open_formatted(&node_directory(&arguments.data, id), id, store).await?;
        let settings = settings(&arguments, id, nodes, store, descriptors)?;
        let node = node::start(disk, settings)
            .await
            .map_err(|error| format!("node {id}: {error}"))?;
        running.push(node);
    }
    tokio::select! {
        biased;
        signal = rt::stop_signal() => return stop(&running, signal).await,
        result = wait_ready(&running) => result?,
    }
    say_ready(&arguments, &running);
    let signal = tokio::select! {
        biased;
        signal = rt::stop_signal() => signal,
        () = any_stopped(&running) => return Err("a node has stopped by itself".into()),
    };
    stop(&running, signal).await
}

fn node_directory(data: &Path, id: u16) -> PathBuf {
    data.join(format!("node-{id}"))
}

/// How many nodes to run: never fewer than there were, since they may hold the majority of something.
fn count_nodes(data: &Path, wanted: Option<u16>) -> Result<u16, Failure> {
    let directories = (1..)
        .take_while(|&id| node_directory(data, id).exists())
        .count();
    let existing = u16::try_from(directories)?.max(remembered_nodes(data)?);
    match wanted {
        None if existing > 0 => Ok(existing),
        None => Ok(NODES_DEFAULT),
        Some(nodes) if nodes < existing => Err(UsageError(format!(
            "the cluster in {} has {existing} nodes, and {nodes} may not be enough to keep its data; start it \
             without --nodes, or another one with --data",
            data.display()
        ))
        .into()),
        Some(nodes) => Ok(nodes),
    }
}

/// What an earlier start has written down; 0 where there was none.
fn remembered_nodes(data: &Path) -> Result<u16, Failure> {
    let path = data.join(NODES_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(format!("{}: {error}", path.display()).into()),
    };
    text.trim().parse().map_err(|_| {
        let path = path.display();
        format!("{path} should hold the number of the cluster's nodes, and does not").into()
    })
}

fn remember_nodes(data: &Path, nodes: u16) -> io::Result<()> {
    fs::create_dir_all(data)?;
    let unfinished = data.join(NODES_FILE_UNFINISHED);
    let mut file = fs::File::create(&unfinished)?;
    writeln!(file, "{nodes}")?;
    file.sync_all()?;
    fs::rename(&unfinished, data.join(NODES_FILE))?;
    fs::File::open(data)?.sync_all()
}

/// Sees whether every port is free: a port that is taken is the likeliest mistake.
fn check_ports(arguments: &Arguments, nodes: u16) -> Result<(), Failure> {
    for id in 1..=nodes {
        for port in [client_port(arguments, id), peer_port(arguments, id)] {
            TcpListener::bind((HOST, port)).map_err(|error| {
                format!(
                    "node {id}: cannot listen on {HOST}:{port}: {error}\nIs another cluster running? --port and \
                     --data make room for two"
                )
            })?;
        }
    }
    Ok(())
}

fn client_port(arguments: &Arguments, id: u16) -> u16 {
    arguments.port + (id - 1)
}

fn peer_port(arguments: &Arguments, id: u16) -> u16 {
    arguments.port + PEER_PORTS + (id - 1)
}

async fn open_formatted(path: &Path, id: u16, options: StoreOptions) -> Result<RealDisk, Failure> {
    let disk = open_directory(path).await?;
    let broker = BrokerId(id.into());
    let directory_id = DirectoryId(draw()?);
    let formatted = if id == 1 {
        let boot = boot_id().map_or(BootId::UNKNOWN, BootId);
        directory::format_first(
            &disk,
            broker,
            directory_id,
            ClusterId(draw()?),
            options,
            boot,
        )
    } else {
        directory::format_to_join(&disk, broker, directory_id)
    };
    match formatted {
        Ok(()) | Err(OpenError::AlreadyFormatted) => Ok(disk),
        Err(error) => Err(format!("{}: {error}", path.display()).into()),
    }
}

fn settings(
    arguments: &Arguments,
    id: u16,
    nodes: u16,
    store: StoreOptions,
    descriptors: Descriptors,
) -> Result<NodeSettings, Failure> {
    let listener = |name: &str, port: u16| ListenerSettings {
        name: name.to_owned(),
        listen: format!("{HOST}:{port}"),
        advertised: (HOST.to_owned(), port),
    };
    let replicas = nodes.min(NODES_DEFAULT).to_string();
    let data = node_directory(&arguments.data, id).display().to_string();
    let mut kafka = ConfigMap::from([
        ("default.replication.factor".to_owned(), replicas),
        ("log.dirs".to_owned(), data),
    ]);
    kafka.extend(arguments.set.iter().cloned());
    Ok(NodeSettings {
        broker: BrokerId(id.into()),
        rack: None,
        listeners: vec![listener("clients", client_port(arguments, id))],
        peers: listener("peers", peer_port(arguments, id)),
        peer_versions: PeerVersions::SUPPORTED,
        bootstrap: (1..=nodes)
            .map(|id| format!("{HOST}:{}", peer_port(arguments, id)))
            .collect(),
        kafka,
        seed: draw_seed()?,
        boot: boot_id().map_or(BootId::UNKNOWN, BootId),
        store,
        descriptors,
    })
}

async fn wait_ready(running: &[RunningNode]) -> Result<(), Failure> {
    for node in running {
        loop {
            match timeout(PATIENCE, node.ready()).await {
                Ok(Progress::Ready) => break,
                Ok(Progress::Starting | Progress::Stopped) => {
                    return Err(
                        format!("node {} has stopped by itself", node.identity.broker).into(),
                    );
                }
                Err(_) => say!(
                    "Node {} is not ready yet; still trying.",
                    node.identity.broker
                ),
            }
        }
    }
    Ok(())
}

async fn any_stopped(running: &[RunningNode]) {
    // One at a time is enough: a node that stops by itself takes its process along, but for this one way.
    if let Some(node) = running.first() {
        node.stopped().await;
    }
}

fn say_ready(arguments: &Arguments, running: &[RunningNode]) {
    let addresses: Vec<String> = running
        .iter()
        .flat_map(|node| &node.listening)
        .map(ToString::to_string)
        .collect();
    let varve = std::env::args()
        .next()
        .unwrap_or_else(|| "varve".to_owned());
    let bootstrap = &addresses[0];
    // The commands ask there by themselves.
    let option = match arguments.port {
        9092 => String::new(),
        _ => format!(" --bootstrap {bootstrap}"),
    };
    say!(
        "A cluster of {} is ready; its data is in {}.",
        match running.len() {
            1 => "one broker".to_owned(),
            n => format!("{n} brokers"),
        },
        arguments.data.display()
    );
    say!("\n  bootstrap address   {}\n", addresses.join(","));
    say!("Try next, in another terminal:\n");
    say!("  {varve} topic create greetings --partitions 3{option}");
    say!("  echo hello | {varve} produce greetings{option}");
    say!("  {varve} consume greetings{option}");
    say!("\nor any Kafka client:  kcat -L -b {bootstrap}\n");
    say!("Ctrl-C stops it; the next start finds the data.");
}

async fn stop(running: &[RunningNode], signal: &str) -> Result<(), Failure> {
    say!("\n{signal}: stopping.");
    for node in running {
        node.stop();
    }
    let stopped = async {
        for node in running {
            node.stopped().await;
        }
    };
    tokio::select! {
        biased;
        () = stopped => {
            say!("Stopped.");
            Ok(())
        }
        _ = rt::stop_signal() => Err("ended at once; nothing acknowledged is lost".into()),
        () = tokio::time::sleep(STOP_MAX) => {
            Err("the cluster did not stop in time and is ended; nothing acknowledged is lost".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(data: &Path, port: u16) -> Arguments {
        Arguments {
            nodes: None,
            data: data.to_owned(),
            port,
            set: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_leaves_nothing_behind() {
        let taken = (0..100)
            .map(|_| TcpListener::bind((HOST, 0)).unwrap())
            .find(|taken| taken.local_addr().unwrap().port() < 65_000)
            .unwrap();
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("data");
        let port = taken.local_addr().unwrap().port();
        let words = run(arguments(&path, port)).await.unwrap_err().to_string();
        assert!(words.contains("cannot listen"), "{words}");
        assert!(!path.exists());
    }

    #[test]
    fn a_cluster_that_was_cut_short_comes_up_with_as_many_nodes_as_it_was_to_have() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path();
        assert_eq!(count_nodes(path, None).unwrap(), NODES_DEFAULT);
        remember_nodes(path, 5).unwrap();
        assert_eq!(count_nodes(path, None).unwrap(), 5);
        fs::create_dir(node_directory(path, 1)).unwrap();
        assert_eq!(count_nodes(path, None).unwrap(), 5);
        assert!(count_nodes(path, Some(1)).is_err());
        assert_eq!(count_nodes(path, Some(7)).unwrap(), 7);
    }

    #[test]
    fn a_cluster_without_the_file_has_as_many_nodes_as_directories() {
        let data = tempfile::tempdir().unwrap();
        for id in 1..=4 {
            fs::create_dir(node_directory(data.path(), id)).unwrap();
        }
        assert_eq!(count_nodes(data.path(), None).unwrap(), 4);
        fs::write(data.path().join(NODES_FILE), "many").unwrap();
        assert!(count_nodes(data.path(), None).is_err());
    }
}
