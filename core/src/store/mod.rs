//! The log store: journal, segments, indexes and recovery, over a trait of file operations.
//!
//! The state machine never calls the store. It emits orders and queries ([`Order`], [`Query`]); the driver executes
//! them against a store and reports back ([`Completion`], [`QueryResult`]). `net` implements [`Disk`] with real files,
//! `sim` with a disk that keeps written and durable bytes apart and fails in every way that disks fail.

mod disk;
mod options;
mod order;
#[expect(
    clippy::module_inception,
    reason = "the store's own file is named after it"
)]
mod store;

mod bad_sectors;
mod checkpoint;
mod checkpoint_schedule;
mod codec;
mod commit;
mod commit_queue;
mod failed_sync;
mod free_space;
mod health;
mod identity;
mod index;
mod index_files;
mod journal;
mod journal_reader;
mod open_files;
mod execute;
mod append;
mod fill;
mod query;
mod record;
mod removals;
mod recovery;
mod replay;
mod replica;
mod replica_log;
mod scrub;
mod segment;
mod unsynced_names;

pub use commit::{CheckpointTicket, CommitTicket};
pub use disk::{Disk, DiskError, DiskFile};
pub use options::{BootId, Identity, OpenError, StoreOptions};
pub use order::{
    Completion, Flush, Mark, Order, OrderKind, OrderSeq, Query, QueryId, QueryKind, QueryResult,
    ReadError, Recovered, RecoveredReplica, Refusal, Roll, Stage, StoreFailure, Vote, VoterChange,
};
pub use scrub::{Findings, ScrubTicket, Scrubbed};
pub use store::LogStore;

#[cfg(test)]
mod tests;
