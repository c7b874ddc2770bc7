//! The parameters of formatting and opening a store.

use std::fmt;
use std::time::Duration;

use crate::ids::{BrokerId, ClusterId, DirectoryId};
use crate::store::DiskError;

/// Whose directory it is. Written once by [`crate::store::LogStore::format`]; only the cluster id is filled in later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster; `None` for a directory that was formatted to join one.
    pub cluster: Option<ClusterId>,
    /// The broker.
    pub broker: BrokerId,
    /// The directory's own id, drawn at its format, so that a wiped one comes back as another voter (counter-example 5).
    pub directory: DirectoryId,
}

/// Names one run of the operating system. While it is the same, what was written is still in the page cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BootId(pub u128);

impl BootId {
    /// For an operating system that gives no boot id: no two starts are then known to be in the same run.
    pub const UNKNOWN: Self = Self(0);

    /// Whether both are the same run of the operating system, so that at most the process died in between.
    #[must_use]
    pub fn is_same_run(self, earlier: Self) -> bool {
        self != Self::UNKNOWN && self == earlier
    }
}

/// Sizes and bounds of one log directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Bytes of one journal file, 64 KiB at least: the largest group must fit.
    pub journal_file_bytes: u64,
    /// Journal files that are created in advance. More are created when all are in use, and kept.
    pub journal_files: usize,
    /// An append of this many bytes or more goes straight to its segment, a smaller one through the journal.
    /// A quarter of a journal file where that is less.
    pub direct_append_bytes_min: usize,
    /// A checkpoint is due after this many bytes of journal.
    pub checkpoint_journal_bytes: u64,
    /// A checkpoint is due after this many bytes of direct appends: recovery has to read them again.
    pub checkpoint_direct_bytes: u64,
    /// An append with [`crate::store::Flush::Replicated`] is durable after this time.
    pub replicated_flush_max: Duration,
    /// Appends are refused when less than this is free, so that votes, notes, checkpoints and deletions still work.
    pub reserve_bytes: u64,
    /// Upper bound for the size of a segment, whatever its topic's configuration.
    pub segment_bytes_max: u32,
    /// Bytes of log between two entries of an offset index.
    pub index_interval_bytes: u32,
    /// The scrub reads every byte within about this time; zero disables it.
    pub scrub_interval: Duration,
    /// How many segment, index and snapshot files are kept open, besides those that are being synced or read. At most
    /// about three times as many descriptors are in use.
    pub open_files_max: usize,
}

impl StoreOptions {
    /// Bytes that must be free for a directory to be formatted and written to: the journal's, and the reserve.
    #[must_use]
    pub fn bytes_min(&self) -> u64 {
        self.journal_bytes().saturating_add(self.reserve_bytes)
    }

    /// Bytes of the journal files that are created in advance.
    #[must_use]
    pub fn journal_bytes(&self) -> u64 {
        let files = u64::try_from(self.journal_files).unwrap_or(u64::MAX);
        self.journal_file_bytes.saturating_mul(files)
    }
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            journal_file_bytes: 64 << 20,
            journal_files: 4,
            direct_append_bytes_min: 512 << 10,
            checkpoint_journal_bytes: 64 << 20,
            checkpoint_direct_bytes: 512 << 20,
            replicated_flush_max: Duration::from_millis(100),
            reserve_bytes: 64 << 20,
            segment_bytes_max: i32::MAX.unsigned_abs(),
            index_interval_bytes: 4096,
            scrub_interval: Duration::from_hours(7 * 24),
            open_files_max: 256,
        }
    }
}

/// Why a directory cannot be formatted or opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// There is no identity file: format the directory first.
    NotFormatted,
    /// There is an identity file: formatting is done once.
    AlreadyFormatted,
    /// The directory has a format version that this program does not know.
    Version(u16),
    /// Something without which nothing else can be judged is unreadable. The directory has to be formatted again, under
    /// a new id.
    Damaged(String),
    /// A sync of this directory failed in this run of the operating system, for this reason: bytes that are read from
    /// it may be in the page cache and not on the disk. It opens again after a reboot.
    SyncFailed(String),
    /// The disk failed.
    Disk(DiskError),
}

impl From<DiskError> for OpenError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFormatted => f.write_str("the directory has not been formatted"),
            Self::AlreadyFormatted => f.write_str("the directory has been formatted before"),
            Self::Version(version) => write!(f, "format version {version} is not known"),
            Self::Damaged(what) => write!(f, "{what} is damaged"),
            Self::SyncFailed(reason) => write!(
                f,
                "a sync of it has failed ({reason}), so what is read from it may not be on the disk: restart the \
                 machine to open it as the disk has it, or remove it to start with an empty one, which the other \
                 brokers fill"
            ),
            Self::Disk(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}
