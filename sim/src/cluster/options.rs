//! What a cluster is made of, and how its disks behave where nothing is wrong with them.

use std::time::Duration;

use varve_core::broker::UNWRITTEN_BYTES_MAX;
use varve_core::cluster::ConfigMap;
use varve_core::hooks::Mutant;
use varve_core::links::Timing;
use varve_core::peer::PeerVersions;
use varve_core::store::StoreOptions;

use crate::network::NetworkOptions;

/// How the disks of a run behave where nothing is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// A group commit takes this and an exponential part with the mean below.
    pub sync_min: Duration,
    /// Mean of the exponential part.
    pub sync_mean: Duration,
    /// Mean latency of a read.
    pub read_mean: Duration,
    /// How many of a million operations take a long time.
    pub tail_per_million: u32,
    /// Mean of what these take in addition.
    pub tail_mean: Duration,
    /// Bytes of each disk.
    pub capacity: u64,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self {
            sync_min: Duration::from_micros(300),
            sync_mean: Duration::from_micros(300),
            read_mean: Duration::from_micros(200),
            tail_per_million: 0,
            tail_mean: Duration::from_millis(100),
            capacity: 64 << 20,
        }
    }
}

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Nodes.
    pub nodes: u8,
    /// The network.
    pub network: NetworkOptions,
    /// The disks.
    pub disk: DiskOptions,
    /// The stores.
    pub store: StoreOptions,
    /// How patient brokers are.
    pub timing: Timing,
    /// Configuration of all brokers.
    pub kafka: ConfigMap,
    /// A clause of the protocol that is broken on purpose.
    pub mutant: Option<Mutant>,
    /// Wall clocks are wrong by up to this.
    pub wall_skew_ms_max: u64,
    /// Wall clocks are too fast or too slow by up to this many microseconds in a second.
    pub wall_drift_ppm_max: u64,
    /// What the brokers' `metadata_voters_max` is.
    pub metadata_voters_max: usize,
    /// What the brokers' `snapshot_interval` is.
    pub snapshot_interval: u64,
    /// What the brokers' `unwritten_bytes_max` is.
    pub unwritten_bytes_max: usize,
    /// The versions of the peer protocol that nodes speak which nobody has installed another build on.
    pub peer_versions: PeerVersions,
    /// Each start of a node is of this build or of the one before, as is drawn.
    pub mixes_builds: bool,
    /// What brokers are told and order is kept, to be replayed.
    pub records: bool,
}

impl ClusterOptions {
    /// A cluster of this many nodes where nothing goes wrong.
    #[must_use]
    pub fn new(nodes: u8) -> Self {
        Self {
            nodes,
            network: NetworkOptions::default(),
            disk: DiskOptions::default(),
            store: small_store(),
            timing: Timing::default(),
            kafka: ConfigMap::new(),
            mutant: None,
            wall_skew_ms_max: 0,
            wall_drift_ppm_max: 0,
            metadata_voters_max: 3,
            snapshot_interval: 1000,
            unwritten_bytes_max: UNWRITTEN_BYTES_MAX,
            peer_versions: PeerVersions::SUPPORTED,
            mixes_builds: false,
            records: false,
        }
    }
}

/// Store sizes that make files roll and checkpoints happen within a short run.
fn small_store() -> StoreOptions {
    StoreOptions {
        journal_file_bytes: 128 << 10,
        journal_files: 2,
        direct_append_bytes_min: 4 << 10,
        checkpoint_journal_bytes: 256 << 10,
        checkpoint_direct_bytes: 256 << 10,
        replicated_flush_max: Duration::from_millis(100),
        reserve_bytes: 1 << 20,
        segment_bytes_max: 64 << 10,
        index_interval_bytes: 256,
        scrub_interval: Duration::ZERO,
        open_files_max: 256,
    }
}
