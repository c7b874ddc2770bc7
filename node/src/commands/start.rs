//! `varve start`: one node of a real cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::time::timeout;
use varve_core::ids::{BrokerId, DirectoryId};
use varve_core::peer::PeerVersions;
use varve_core::store::{BootId, LogStore, OpenError, StoreOptions};
use varve_net::descriptors::{self, Descriptors};
use varve_net::directory;
use varve_net::driver::Progress;
use varve_net::files::{RealDisk, boot_id};
use varve_net::node::{self, ListenerSettings, NodeSettings, RunningNode, WaitsFor};
use varve_net::peer_link::Answerer;
use varve_net::rt;

use super::show::{self, say};
use super::{Failure, draw, draw_seed};
use crate::address::{diagnose, diagnose_answers};
use crate::config::{Config, Listener};
use crate::logging;

/// Arguments of `varve start`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The node's configuration file; node/varve.example.toml has every key.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// How long a node may take to become ready before it says what it waits for, doubled from the first to the second.
const LOG_INTERVAL_MIN: Duration = Duration::from_secs(10);
const LOG_INTERVAL_MAX: Duration = Duration::from_secs(600);

/// How long a node that was told to stop may take before the process ends without it.
const STOP_MAX: Duration = Duration::from_secs(30);

/// Runs it.
pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    logging::start("info");
    let config = Config::read(&arguments.config)?;
    let disk = open_directory(&config).await?;
    let node = node::start(disk, settings(&config)?).await?;
    say_listening(&config, &node);
    say_peer_diagnoses(&config, &node).await;
    tokio::select! {
        biased;
        signal = rt::stop_signal() => stop(&node, signal).await,
        progress = say_ready(&config, &node) => match progress {
            Progress::Starting | Progress::Ready => {
                tokio::select! {
                    biased;
                    signal = rt::stop_signal() => stop(&node, signal).await,
                    () = ask_and_wait(&config, &node) => Err("the node has stopped by itself".into()),
                }
            }
            Progress::Stopped => Err("the node has stopped by itself".into()),
        },
    }
}

/// Opens the log directory. An empty one is made ready to join the cluster.
async fn open_directory(config: &Config) -> Result<RealDisk, Failure> {
    let disk = super::open_directory(&config.data).await?;
    let unusable = |error: OpenError| format!("{}: {error}", config.data.display());
    if config.bootstrap.is_empty() && !LogStore::is_formatted(&disk).map_err(unusable)? {
        return Err(format!(
            "{} is empty and there is no cluster to join: name some of its nodes as [cluster] bootstrap, or make \
             a new cluster with varve format --config FILE",
            config.data.display()
        )
        .into());
    }
    match directory::format_to_join(&disk, config.id, DirectoryId(draw()?)) {
        Ok(()) => say!(
            "{} is new: the node joins a cluster.",
            config.data.display()
        ),
        Err(OpenError::AlreadyFormatted) => {}
        Err(error) => return Err(unusable(error).into()),
    }
    Ok(disk)
}

fn settings(config: &Config) -> Result<NodeSettings, Failure> {
    let listener = |listener: &Listener| ListenerSettings {
        name: listener.name.clone(),
        listen: listener.listen.to_string(),
        advertised: (listener.advertised.host.clone(), listener.advertised.port),
    };
    let mut kafka = config.broker.clone();
    kafka.insert("log.dirs".to_owned(), config.data.display().to_string());
    Ok(NodeSettings {
        broker: config.id,
        rack: config.rack.clone(),
        listeners: config.listeners.iter().map(listener).collect(),
        peers: listener(&config.peers),
        peer_versions: PeerVersions::SUPPORTED,
        bootstrap: config.bootstrap.iter().map(ToString::to_string).collect(),
        kafka,
        seed: draw_seed()?,
        boot: boot_id().map_or(BootId::UNKNOWN, BootId),
        store: StoreOptions::default(),
        descriptors: Descriptors::share(descriptors::raise_limit(), 1)?,
    })
}

fn say_listening(config: &Config, node: &RunningNode) {
    let BrokerId(id) = config.id;
    say!("Node {id} keeps its data in {}.", config.data.display());
    for (listener, address) in config.listeners.iter().zip(&node.listening) {
        say!(
            "Clients are let in on {address} ({}) once the node is ready, advertised as {}.",
            listener.name,
            listener.advertised
        );
    }
    say!(
        "Listening for peers on {}, advertised as {}.",
        node.listening_peers,
        config.peers.advertised
    );
}

/// What a node that is ready does besides: it looks at its clients' addresses, and runs.
async fn ask_and_wait(config: &Config, node: &RunningNode) {
    say_client_diagnoses(config, node).await;
    say_who_answers(config, node).await;
    node.stopped().await;
}

/// Tries the addresses that clients are told, and says what may be wrong with them.
async fn say_client_diagnoses(config: &Config, node: &RunningNode) {
    let others = !config.bootstrap.is_empty();
    for (listener, &listen) in config.listeners.iter().zip(&node.listening) {
        warn(
            listener,
            diagnose(&listener.advertised, listen, others).await,
        );
    }
}

/// The same of the address that peers are told.
async fn say_peer_diagnoses(config: &Config, node: &RunningNode) {
    let others = !config.bootstrap.is_empty();
    let (peers, listen) = (&config.peers, node.listening_peers);
    let found = match diagnose(&peers.advertised, listen, others).await {
        Some(words) => Some(words),
        None => diagnose_peer(&peers.advertised.to_string(), node).await,
    };
    warn(peers, found);
}

/// Peers say who they are: an address that leads elsewhere is noticed.
async fn diagnose_peer(target: &str, node: &RunningNode) -> Option<String> {
    match node.who_answers(target).await {
        Answerer::Itself => None,
        Answerer::Nobody(reason) => Some(format!(
            "the advertised address {target} does not answer: {reason}"
        )),
        Answerer::Other(who) => Some(format!(
            "the advertised address {target} does not lead to this node, but to {who}"
        )),
    }
}

/// Asks at the advertised addresses who is there, once the node can tell who it should be.
async fn say_who_answers(config: &Config, node: &RunningNode) {
    let Some(cluster) = node.cluster() else {
        return;
    };
    for (listener, &listen) in config.listeners.iter().zip(&node.listening) {
        let found = diagnose_answers(&listener.advertised, listen, (config.id, cluster)).await;
        warn(listener, found);
    }
}

fn warn(listener: &Listener, found: Option<String>) {
    if let Some(words) = found {
        show::say_error!("Warning ({}): {words}.", listener.name);
    }
}

async fn say_ready(config: &Config, node: &RunningNode) -> Progress {
    let BrokerId(id) = config.id;
    let mut interval = LOG_INTERVAL_MIN;
    loop {
        match timeout(interval, node.ready()).await {
            Ok(Progress::Ready) => {
                say!("Node {id} is ready: registered, and caught up with the cluster's metadata.");
                return Progress::Ready;
            }
            Ok(progress @ (Progress::Starting | Progress::Stopped)) => return progress,
            Err(_) => say!(
                "Node {id} is not ready yet: {}",
                words_for(&node.waits_for(), config)
            ),
        }
        interval = (interval * 2).min(LOG_INTERVAL_MAX);
    }
}

/// What a node waits for, and what to do about it.
fn words_for(waits_for: &WaitsFor, config: &Config) -> String {
    let bootstrap: Vec<_> = config.bootstrap.iter().map(ToString::to_string).collect();
    let places = match bootstrap.as_slice() {
        [] => "where it knows them from before".to_owned(),
        names => format!("at {}", names.join(", ")),
    };
    match waits_for {
        WaitsFor::Quorum => format!(
            "it waits for a majority of the metadata quorum. Are the other nodes up? It looks for them {places}."
        ),
        WaitsFor::Admission(brokers) => format!(
            "it waits to be taken into a cluster, which takes a majority of the metadata quorum. It has reached {}. \
             Are enough nodes up?",
            listed(brokers)
        ),
        WaitsFor::Cluster(brokers) => format!(
            "it belongs to no cluster, and the nodes that it has reached ({}) belong to none either. If this is to be \
             a new cluster, stop exactly one of its nodes, remove the data directory there, which holds nothing yet, \
             make the cluster with varve format --config FILE, and start the node again: the others join. Otherwise \
             start the nodes of the cluster that this one is to join.",
            listed(brokers)
        ),
        WaitsFor::AnyPeer => format!(
            "it belongs to no cluster, and no other node answers {places}. Are they up, and are the addresses right? \
             A new cluster is made by varve format --config FILE, on exactly one of its nodes."
        ),
    }
}

fn listed(brokers: &[BrokerId]) -> String {
    let numbers: Vec<_> = brokers.iter().map(ToString::to_string).collect();
    numbers.join(", ")
}

async fn stop(node: &RunningNode, signal: &str) -> Result<(), Failure> {
    say!(
        "{signal}: stopping. Leaderships are handed over first; once more ends the process at once."
    );
    node.stop();
    tokio::select! {
        biased;
        () = node.stopped() => {
            say!("Stopped.");
            Ok(())
        }
        _ = rt::stop_signal() => Err("ended at once; nothing acknowledged is lost".into()),
        () = tokio::time::sleep(STOP_MAX) => {
            Err("the node did not stop in time and is ended; nothing acknowledged is lost".into())
        }
    }
}
