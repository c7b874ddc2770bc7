//! The log store: journal, segments, indexes and recovery, over a trait of file operations.
//!
//! The state machine never calls it. It *orders* ([`Order`], [`Query`]); the driver runs the orders against a
//! store and reports back ([`Completion`], [`QueryResult`]). `net` implements [`Disk`] with real files, `sim`
//! with a disk that keeps written and durable bytes apart and fails in every way that disks fail.

mod disk;
mod order;

pub use disk::{Disk, DiskError, DiskFile};
pub use order::{
    Completion, Flush, Mark, Order, OrderKind, OrderSeq, Query, QueryId, QueryKind, QueryResult,
    ReadError, Recovered, RecoveredReplica, Stage, StoreFailure, Vote,
};
