//! One node: everything of this crate put together around one broker.
//!
//! [`start`] opens the log directory, listens, creates the broker and drives it; a [`RunningNode`] reports when it is
//! ready, and stops it. Several nodes can run in one process, each on a directory and ports of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use varve_core::broker::{Broker, Setup, UNWRITTEN_BYTES_MAX};
use varve_core::cluster::{BrokerConfig, BrokerRegistration, ConfigMap, Endpoint, InvalidConfig};
use varve_core::effect::Effects;
use varve_core::ids::{BrokerId, ClusterId};
use varve_core::input::ConnectionId;
use varve_core::links::Timing;
use varve_core::peer::{PeerIdentity, PeerVersions};
use varve_core::store::{BootId, Disk, LogStore, OpenError, Recovered, StoreOptions};

use crate::client::host_and_port;
use crate::connection::{ClientContext, ClientEvent, ClientSettings, serve_client};
use crate::descriptors::Descriptors;
use crate::disk_thread;
use crate::driver::{Driver, Progress, Sources};
use crate::frame::{Answers, Budget};
use crate::peer_link::{Answerer, LinkContext, LogThrottle, PeerLinks, serve_peer, who_answers};
use crate::rt::{self, BoundPort, Clock};

/// Events of clients and of links that may wait for the driver.
const EVENTS_MAX: usize = 1024;

/// The memory for frames of peers that are being read.
const PEER_BYTES_MAX: usize = 1 << 30;

/// The memory for responses that clients have not read; above it, connections of stalled clients are closed sooner.
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// How long a frame waits for memory before its connection is closed.
const MEMORY_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long a client may take no byte of what it is sent.
const CLIENT_STALL_MAX: Duration = Duration::from_secs(30);

/// How long accepting pauses when the system has no descriptor or no memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The settings of a node.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Its number.
    pub broker: BrokerId,
    /// Kafka's `broker.rack`.
    pub rack: Option<String>,
    /// Where clients come in.
    pub listeners: Vec<ListenerSettings>,
    /// The listener for peers.
    pub peers: ListenerSettings,
    /// The versions of the peer protocol that it supports.
    pub peer_versions: PeerVersions,
    /// `host:port` of the peer listeners of some nodes of the cluster.
    pub bootstrap: Vec<String>,
    /// Broker settings by Kafka's names.
    pub kafka: ConfigMap,
    /// The seed of all randomness of this incarnation.
    pub seed: u64,
    /// Identifies this boot of the operating system.
    pub boot: BootId,
    /// Sizes and bounds of the log store.
    pub store: StoreOptions,
    /// Its share of the process's file descriptors.
    pub descriptors: Descriptors,
}

/// A listener.
#[derive(Clone, Debug)]
pub struct ListenerSettings {
    /// Its name.
    pub name: String,
    /// `host:port` to listen on; with port 0 the operating system chooses.
    pub listen: String,
    /// The advertised host and port; port 0 stands for the port that it listens on.
    pub advertised: (String, u16),
}

/// Why a node could not start.
#[derive(Debug)]
pub enum StartError {
    /// A listener could not be opened.
    Listen {
        /// Where.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// A setting is invalid.
    Config(InvalidConfig),
    /// The directory could not be opened.
    Store(OpenError),
    /// The directory belongs to another node.
    Foreign {
        /// The directory's.
        directory: BrokerId,
        /// The configuration's.
        configured: BrokerId,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, error } => write!(f, "cannot listen on {address}: {error}"),
            Self::Config(error) => error.fmt(f),
            Self::Store(error) => write!(f, "cannot open the log directory: {error}"),
            Self::Foreign {
                directory,
                configured,
            } => write!(
                f,
                "the log directory belongs to node {directory}, and this node is configured as {configured}: \
                 give each node a directory of its own"
            ),
        }
    }
}

impl std::error::Error for StartError {}

/// What a node that is not ready waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// A majority of the metadata quorum of the cluster that it belongs to.
    Quorum,
    /// To be registered in the cluster of one of these nodes.
    Admission(Vec<BrokerId>),
    /// A cluster: these nodes have been reached, and belonged to none.
    Cluster(Vec<BrokerId>),
    /// Any other node: none has been reached.
    AnyPeer,
}

impl WaitsFor {
    /// What a node of `cluster` waits for, when it has reached these nodes, each with its cluster.
    fn of(cluster: Option<ClusterId>, met: &BTreeMap<BrokerId, Option<ClusterId>>) -> Self {
        if cluster.is_some() {
            return Self::Quorum;
        }
        let brokers = met.keys().copied().collect();
        match met.values().any(Option::is_some) {
            _ if met.is_empty() => Self::AnyPeer,
            true => Self::Admission(brokers),
            false => Self::Cluster(brokers),
        }
    }
}

/// A running node. Dropping it stops listening, but not the broker: call [`RunningNode::stop`].
#[derive(Debug)]
pub struct RunningNode {
    /// Its identity, as known at the start.
    pub identity: PeerIdentity,
    /// The addresses on which it listens for clients once it is ready, listener by listener.
    pub listening: Vec<SocketAddr>,
    /// The address on which it listens for peers.
    pub listening_peers: SocketAddr,
    links: LinkContext,
    progress: watch::Receiver<Progress>,
    /// Whether clients are accepted.
    open: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
    /// Closed when every listener is closed.
    listeners: watch::Receiver<()>,
    _accepting: Vec<Accepting>,
}

impl RunningNode {
    /// Waits until the node is registered, has caught up with the metadata and accepts clients, or has stopped before
    /// that.
    pub async fn ready(&self) -> Progress {
        let mut open = self.open.clone();
        // The accepting task ends without a value where the node stops.
        match open.wait_for(|&open| open).await {
            Ok(_) => self.at_least(Progress::Ready).await,
            Err(_) => self.at_least(Progress::Stopped).await,
        }
    }

    /// What a node that is not ready waits for.
    #[must_use]
    pub fn waits_for(&self) -> WaitsFor {
        WaitsFor::of(self.cluster(), &self.links.met.all())
    }

    /// The cluster that the node belongs to; `None` before it has joined one.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        self.links.identity.borrow().cluster
    }

    /// What answers at an address that should be this node's peer listener.
    pub async fn who_answers(&self, address: &str) -> Answerer {
        who_answers(address, &self.links).await
    }

    /// Begins a controlled shutdown: the node transfers its leaderships, and makes everything durable.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until the node has stopped and its ports are free.
    pub async fn stopped(&self) {
        self.at_least(Progress::Stopped).await;
        let mut listeners = self.listeners.clone();
        while listeners.changed().await.is_ok() {}
    }

    async fn at_least(&self, wanted: Progress) -> Progress {
        reached(self.progress.clone(), wanted).await
    }
}

/// Starts a node on a formatted directory.
///
/// # Errors
/// [`StartError`], with a message for the operator.
pub async fn start<D>(disk: D, settings: NodeSettings) -> Result<RunningNode, StartError>
where
    D: Disk + Send + Sync + 'static,
    D::File: Send + Sync,
{
    // Ports come first: one that is in use is the likeliest mistake, and must not use up an incarnation.
    let peer_port = bind(&settings.peers.listen).await?;
    let peer_listener = peer_port.listen().map_err(|error| StartError::Listen {
        address: settings.peers.listen.clone(),
        error,
    })?;
    let mut ports = Vec::new();
    for listener in &settings.listeners {
        ports.push(bind(&listener.listen).await?);
    }
    let address = |port: &BoundPort| port.local_addr().map_err(unnamed);
    let listening: Vec<SocketAddr> = ports.iter().map(address).collect::<Result<_, _>>()?;
    let listening_peers = peer_listener.local_addr().map_err(unnamed)?;

    let kafka = BrokerConfig::new(settings.broker, kafka_settings(&settings, &listening))
        .map_err(StartError::Config)?;
    let (store, recovered) = open_store(disk, &settings, &kafka).await?;
    let setup = setup(&settings, kafka, &recovered, &listening, listening_peers);
    let limits = client_limits(&setup.kafka);
    let clients_max = connections_max(&setup.kafka).min(settings.descriptors.clients);

    let clock = Clock::start();
    let (report_sender, reports) = mpsc::unbounded_channel();
    let disk = disk_thread::start(
        &format!("varve-{}", settings.broker),
        store,
        clock,
        report_sender,
    );
    let mut effects = Effects::new();
    let broker = Broker::new(setup, recovered, settings.seed, clock.both(), &mut effects);
    let identity = broker.identity();

    let (identity_sender, identity_receiver) = watch::channel(identity);
    let (link_sender, link_events) = mpsc::channel(EVENTS_MAX);
    let budget = Budget::new(PEER_BYTES_MAX, MEMORY_WAIT_MAX);
    let links = LinkContext::new(
        identity_receiver,
        settings.peer_versions,
        link_sender,
        budget,
    );
    let peer_links = PeerLinks::start(links.clone(), settings.bootstrap.clone(), settings.seed);
    let (client_sender, clients) = mpsc::channel(EVENTS_MAX);
    let (progress_sender, progress) = watch::channel(Progress::Starting);
    let (stop_sender, stop) = watch::channel(false);
    let (driver_stop_sender, driver_stop) = watch::channel(false);
    let driver = Driver::new(
        broker,
        effects,
        clock,
        disk,
        peer_links,
        identity_sender,
        progress_sender,
    );
    rt::spawn_apart(
        format!("varve-{}-broker", settings.broker),
        driver.run(Sources {
            reports,
            links: link_events,
            clients,
            stop: driver_stop,
        }),
    );

    let serving = links.clone();
    let stopping = progress.clone();
    let until_stopped = async {
        reached(stopping, Progress::Stopped).await;
    };
    let peers = accept(
        peer_listener,
        ConnectionLimit::new("peers", settings.descriptors.peers),
        until_stopped,
        move |stream, remote| serve_peer(stream, remote.to_string(), serving.clone()),
    );
    let (door, open) = watch::channel(false);
    let clients = ClientListeners {
        ports,
        limits,
        driver: client_sender,
        connections: Arc::new(AtomicU64::new(0)),
        limit: ConnectionLimit::new("clients", clients_max),
    };
    let admitting = clients.serve_clients(progress.clone(), door, stop, driver_stop_sender);
    let (listens, listeners) = watch::channel(());
    let accepting = vec![
        Accepting::start(peers, listens.clone()),
        Accepting::start(admitting, listens),
    ];
    Ok(RunningNode {
        identity,
        listening,
        listening_peers,
        links,
        progress,
        open,
        stop: stop_sender,
        listeners,
        _accepting: accepting,
    })
}

/// Where clients come in.
struct ClientListeners {
    /// In the order of the configuration.
    ports: Vec<BoundPort>,
    limits: ClientSettings,
    driver: mpsc::Sender<ClientEvent>,
    /// The number of the last connection.
    connections: Arc<AtomicU64>,
    limit: ConnectionLimit,
}

impl ClientListeners {
    /// Accepts clients from when the node is ready until its shutdown begins. Before and after, connections are refused
    /// and clients try another node; those that have been accepted are served.
    async fn serve_clients(
        self,
        progress: watch::Receiver<Progress>,
        open: watch::Sender<bool>,
        stop: watch::Receiver<bool>,
        driver_stop: watch::Sender<bool>,
    ) {
        tokio::select! {
            biased;
            () = stop_requested(stop.clone()) => {}
            _ = reached(progress.clone(), Progress::Ready) => {
                self.listen(progress, open, stop).await;
            }
        }
        driver_stop.send_replace(true);
    }

    /// Ends when the node is shutting down, has stopped, or cannot listen.
    async fn listen(
        mut self,
        progress: watch::Receiver<Progress>,
        open: watch::Sender<bool>,
        stop: watch::Receiver<bool>,
    ) {
        let listeners: io::Result<Vec<TcpListener>> =
            self.ports.drain(..).map(BoundPort::listen).collect();
        let listeners = match listeners {
            Ok(listeners) => listeners,
            Err(error) => {
                tracing::error!(%error, "cannot listen for clients, and stops");
                return;
            }
        };
        open.send_replace(true);
        let this = Arc::new(self);
        let mut accepting = Vec::new();
        for (listener, index) in listeners.into_iter().zip(0..) {
            let limit = this.limit.clone();
            let serving = Arc::clone(&this);
            let serve = move |stream, remote| serving.serve(stream, remote, index);
            let (progress, stop) = (progress.clone(), stop.clone());
            let until = async {
                tokio::select! {
                    biased;
                    () = stop_requested(stop) => {}
                    _ = reached(progress, Progress::Stopped) => {}
                }
            };
            accepting.push(Accepting(tokio::spawn(accept(
                listener, limit, until, serve,
            ))));
        }
        for mut task in accepting {
            // A task that has panicked has stopped accepting as well.
            let _ = (&mut task.0).await;
        }
    }

    fn serve(
        &self,
        stream: TcpStream,
        remote: SocketAddr,
        listener: u16,
    ) -> impl Future<Output = ()> + Send + use<> {
        let context = ClientContext {
            id: ConnectionId(self.connections.fetch_add(1, Ordering::Relaxed) + 1),
            host: remote.ip().to_string(),
            listener,
            settings: self.limits.clone(),
            driver: self.driver.clone(),
        };
        serve_client(stream, context)
    }
}

/// A task that is aborted when this is dropped.
#[derive(Debug)]
struct Accepting(JoinHandle<()>);

impl Accepting {
    /// `listens` is dropped with the task's listeners, however it ends.
    fn start(task: impl Future<Output = ()> + Send + 'static, listens: watch::Sender<()>) -> Self {
        Self(tokio::spawn(async move {
            task.await;
            drop(listens);
        }))
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn open_store<D>(
    disk: D,
    settings: &NodeSettings,
    kafka: &BrokerConfig,
) -> Result<(LogStore<D>, Recovered), StartError>
where
    D: Disk + Send + Sync + 'static,
    D::File: Send + Sync,
{
    let options = StoreOptions {
        scrub_interval: kafka.scrub_interval(),
        open_files_max: settings.descriptors.open_files,
        ..settings.store
    };
    let boot = settings.boot;
    // Recovery blocks for as long as it reads and writes the journal: not on a thread that serves tasks.
    let opened = tokio::task::spawn_blocking(move || LogStore::open(disk, options, boot));
    let (store, recovered) = match opened.await {
        Ok(opened) => opened.map_err(StartError::Store)?,
        Err(panicked) => std::panic::resume_unwind(Box::new(panicked.to_string())),
    };
    if recovered.broker != settings.broker {
        return Err(StartError::Foreign {
            directory: recovered.broker,
            configured: settings.broker,
        });
    }
    Ok((store, recovered))
}

fn setup(
    settings: &NodeSettings,
    kafka: BrokerConfig,
    recovered: &Recovered,
    listening: &[SocketAddr],
    listening_peers: SocketAddr,
) -> Setup {
    let peers = endpoint(&settings.peers, &listening_peers);
    let registration = BrokerRegistration {
        broker: settings.broker,
        directory: recovered.directory,
        incarnation: recovered.incarnation,
        rack: settings.rack.clone(),
        listeners: settings
            .listeners
            .iter()
            .zip(listening)
            .map(|(listener, address)| endpoint(listener, address))
            .collect(),
        peer_address: host_and_port(&peers.host, peers.port),
    };
    Setup {
        registration,
        timing: Timing::default(),
        kafka,
        metadata_voters_max: METADATA_VOTERS_MAX,
        snapshot_interval: SNAPSHOT_INTERVAL,
        session_timeout: SESSION_TIMEOUT,
        unwritten_bytes_max: UNWRITTEN_BYTES_MAX,
    }
}

/// The node's settings by Kafka's names: those of `[broker]`, and those that have keys of their own in its file.
fn kafka_settings(settings: &NodeSettings, listening: &[SocketAddr]) -> ConfigMap {
    let mut kafka = settings.kafka.clone();
    let mut set = |key: &str, value: String| kafka.insert(key.to_owned(), value);
    let id = settings.broker.0.to_string();
    set("node.id", id.clone());
    set("broker.id", id);
    if let Some(rack) = &settings.rack {
        set("broker.rack", rack.clone());
    }
    let listeners = || settings.listeners.iter().zip(listening);
    let listed = listeners().map(|(listener, address)| format!("{}://{address}", listener.name));
    set("listeners", listed.collect::<Vec<_>>().join(","));
    let advertised = listeners().map(|(listener, address)| {
        let Endpoint { name, host, port } = endpoint(listener, address);
        format!("{name}://{}", host_and_port(&host, port))
    });
    set(
        "advertised.listeners",
        advertised.collect::<Vec<_>>().join(","),
    );
    kafka
}

/// The advertised address of a listener. Port 0 stands for the port that it listens on.
fn endpoint(listener: &ListenerSettings, listening: &SocketAddr) -> Endpoint {
    let (host, port) = listener.advertised.clone();
    let port = if port == 0 { listening.port() } else { port };
    let name = listener.name.clone();
    Endpoint { name, host, port }
}

/// How many brokers vote in `__cluster_metadata`; all, where there are fewer.
const METADATA_VOTERS_MAX: usize = 3;

/// Batches of metadata after which a node saves a snapshot of them.
const SNAPSHOT_INTERVAL: u64 = 1000;

/// Kafka's default of `broker.session.timeout.ms`.
const SESSION_TIMEOUT: Duration = Duration::from_secs(9);

/// A numeric setting, which has been validated.
fn number(kafka: &BrokerConfig, key: &str) -> Option<u64> {
    kafka.values().get(key)?.parse().ok()
}

fn connections_max(kafka: &BrokerConfig) -> usize {
    let limit = number(kafka, "max.connections").and_then(|limit| usize::try_from(limit).ok());
    limit
        .unwrap_or(Semaphore::MAX_PERMITS)
        .min(Semaphore::MAX_PERMITS)
}

fn client_limits(kafka: &BrokerConfig) -> ClientSettings {
    let number = |key: &str, default: u64| number(kafka, key).unwrap_or(default);
    let bytes =
        |key: &str, default: u64| usize::try_from(number(key, default)).unwrap_or(usize::MAX);
    ClientSettings {
        request_bytes_max: bytes("socket.request.max.bytes", 100 << 20),
        idle_max: Duration::from_millis(number("connections.max.idle.ms", 600_000)),
        stall_max: CLIENT_STALL_MAX,
        budget: Budget::new(bytes("queued.max.request.bytes", 1 << 30), MEMORY_WAIT_MAX),
        answers: Answers::new(ANSWER_BYTES_MAX),
    }
}

async fn bind(address: &str) -> Result<BoundPort, StartError> {
    BoundPort::bind(address)
        .await
        .map_err(|error| StartError::Listen {
            address: address.to_owned(),
            error,
        })
}

fn unnamed(error: io::Error) -> StartError {
    StartError::Listen {
        address: "a bound socket".to_owned(),
        error,
    }
}

/// Waits until a shutdown is requested.
async fn stop_requested(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|&stop| stop).await.is_err() {
        // The sender is dropped: no request can come.
        std::future::pending().await
    }
}

/// Waits until the node has made this progress, and returns its progress. A stopped node counts as having made any.
async fn reached(mut progress: watch::Receiver<Progress>, wanted: Progress) -> Progress {
    // The sender lives as long as the driver, which reports that it has stopped before it ends.
    let reached = progress.wait_for(|&reached| reached >= wanted).await;
    reached.map_or(Progress::Stopped, |progress| *progress)
}

/// The limit of connections of one kind, and the throttle for messages about those above it.
#[derive(Clone, Debug)]
struct ConnectionLimit {
    kind: &'static str,
    limit: usize,
    free: Arc<Semaphore>,
    throttle: Arc<Mutex<LogThrottle>>,
}

impl ConnectionLimit {
    fn new(kind: &'static str, limit: usize) -> Self {
        Self {
            kind,
            limit,
            free: Arc::new(Semaphore::new(limit)),
            throttle: Arc::default(),
        }
    }

    /// Takes a permit for a connection; `None` above the limit.
    fn take(&self) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok();
        if permit.is_none() && self.should_log("too many") {
            let Self { kind, limit, .. } = self;
            tracing::warn!(
                limit,
                "too many connections of {kind}: whoever comes now is closed"
            );
        }
        permit
    }

    /// Whether to log this message: clients that are closed connect again and again.
    fn should_log(&self, words: &str) -> bool {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.should_log(words)
    }
}

/// Accepts connections, and serves each on a task of its own, up to the limit. Those above the limit are closed.
/// Connections that are pending when accepting ends are still accepted.
async fn accept<F, S>(
    listener: TcpListener,
    limit: ConnectionLimit,
    until: impl Future<Output = ()>,
    serve: F,
) where
    F: Fn(TcpStream, SocketAddr) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let mut until = std::pin::pin!(until);
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            () = &mut until => return,
        };
        match accepted {
            Ok((stream, remote)) => {
                let Some(permit) = limit.take() else {
                    continue;
                };
                rt::prepare_stream(&stream);
                let served = serve(stream, remote);
                tokio::spawn(async move {
                    served.await;
                    drop(permit);
                });
            }
            Err(error) => {
                if limit.should_log(&error.to_string()) {
                    tracing::warn!(%error, "cannot accept a connection of {}", limit.kind);
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn who_comes_too_late_is_closed_and_a_place_that_is_free_again_is_given_away() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limit = ConnectionLimit::new("clients", 1);
        tokio::spawn(accept(
            listener,
            limit,
            std::future::pending(),
            |mut stream: TcpStream, _| async move {
                stream.write_all(b"!").await.unwrap();
                let _ = stream.read(&mut [0]).await;
            },
        ));
        let come = async || {
            let mut client = TcpStream::connect(address).await.unwrap();
            let greeted = client.read(&mut [0]).await.is_ok_and(|count| count == 1);
            greeted.then_some(client)
        };
        let first = come().await.expect("there is a place");
        assert!(come().await.is_none());
        drop(first);
        while come().await.is_none() {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_node_without_a_cluster_tells_apart_whether_anybody_has_one() {
        let met = |peers: &[(i32, Option<u128>)]| {
            let cluster =
                |&(id, cluster): &(i32, Option<u128>)| (BrokerId(id), cluster.map(ClusterId));
            WaitsFor::of(None, &peers.iter().map(cluster).collect())
        };
        let both = vec![BrokerId(2), BrokerId(3)];
        assert_eq!(met(&[]), WaitsFor::AnyPeer);
        assert_eq!(
            met(&[(2, None), (3, None)]),
            WaitsFor::Cluster(both.clone())
        );
        assert_eq!(met(&[(2, None), (3, Some(7))]), WaitsFor::Admission(both));
        let joined = WaitsFor::of(Some(ClusterId(7)), &BTreeMap::new());
        assert_eq!(joined, WaitsFor::Quorum);
    }
}
