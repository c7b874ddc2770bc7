//! Replicated state machine: the state that the records of an internal log build, on every replica of the log.
//!
//! Every replica applies committed records all the time, so that a newly elected leader has the state already. The
//! leader has a second, *speculative* state, which includes its own records that are not committed yet. It decides by
//! that state, and answers when its decision is committed. At a start the state is built from the latest snapshot and
//! the log behind it.
//!
//! It follows one replica and gives no orders: the broker sends its queries, appends its decisions, saves its
//! snapshots.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::effect::Effects;
use crate::hooks::Mutant;
use crate::ids::{LeaderEpoch, Offset};
use crate::record::Batch;
use crate::replica::Replica;
use crate::store::{QueryKind, QueryResult, ReadError};

/// Bytes of a log read from disk at a time.
const READ_BYTES_MAX: u32 = 1 << 20;

/// A state that the records of a log build.
pub(super) trait State: Clone + Default {
    /// A record of the log.
    type Record;

    /// Applies a record. One that does not fit changes nothing.
    fn apply(&mut self, record: &Self::Record);

    /// The records of a batch that a leader of this log has appended.
    fn records_of(batch: &Batch) -> Vec<Self::Record>;

    /// A snapshot of the state.
    fn to_snapshot(&self) -> Vec<u8>;

    /// Decodes a snapshot. The store has verified its bytes.
    fn of_snapshot(snapshot: &[u8]) -> Self;
}

/// The state of one log, and on its leader the decisions that are not committed; `W` is what waits for a decision.
#[derive(Debug)]
pub(super) struct StateMachine<S, W> {
    committed: Arc<S>,
    /// The end (exclusive) of the records in the committed state.
    applied: Offset,
    /// A query is pending for records that are not in memory.
    reading: bool,
    batches_since_snapshot: u64,
    leading: Option<LeaderState<S, W>>,
}

/// The additional state of a leader.
#[derive(Debug)]
struct LeaderState<S, W> {
    leader_epoch: LeaderEpoch,
    /// The committed state with this leader's own records on top.
    speculative: Arc<S>,
    /// The waiting decisions, each with the end of its records (exclusive), ascending.
    uncommitted: VecDeque<(Offset, W)>,
}

/// How the leadership of a log's replica has changed.
pub(super) struct LeadershipReview<W> {
    /// The decisions of a deposed leader that are not committed: whether they will be is up to the next leader.
    pub(super) abandoned: Vec<W>,
    /// The replica has become leader, and the state includes its whole log: it can decide.
    pub(super) begins: bool,
}

impl<S: State, W> Default for StateMachine<S, W> {
    fn default() -> Self {
        Self {
            committed: Arc::default(),
            applied: Offset(0),
            reading: false,
            batches_since_snapshot: 0,
            leading: None,
        }
    }
}

impl<S: State, W> StateMachine<S, W> {
    /// Restores a snapshot of the log below this offset.
    pub(super) fn restore(&mut self, snapshot: &[u8], end: Offset) {
        self.committed = Arc::new(S::of_snapshot(snapshot));
        self.applied = end;
    }

    /// The state of all records that are committed and applied here.
    pub(super) const fn committed(&self) -> &Arc<S> {
        &self.committed
    }

    /// The end of the applied records, exclusive.
    pub(super) const fn applied(&self) -> Offset {
        self.applied
    }

    /// The state that the leader decides by; `None` where this broker does not lead or cannot decide yet.
    pub(super) fn speculative(&self) -> Option<&Arc<S>> {
        self.leading.as_ref().map(|leading| &leading.speculative)
    }

    /// Whether this broker leads, and can decide.
    pub(super) const fn leads(&self) -> bool {
        self.leading.is_some()
    }

    /// Applies committed records that are in memory; `observe` gets each record and the state before it. Returns the
    /// query for the next records on disk, where it needs them.
    pub(super) fn follow(
        &mut self,
        replica: &Replica,
        fx: &Effects,
        mut observe: impl FnMut(&S, &S::Record),
    ) -> Option<QueryKind> {
        while !self.reading {
            let mut end = replica.high_watermark()?;
            if fx.mutant(Mutant::AppliesUncommitted) {
                end = replica.log_end_offset();
            }
            if self.applied >= end {
                return None;
            }
            if let Some(batches) = replica.batches_from(self.applied, end) {
                for batch in batches {
                    self.apply(&batch, &mut observe);
                }
                continue;
            }
            // Records in a hole are read once it is filled, and records that a pending truncation may drop once it is
            // done. Both touch the replica.
            let readable_end = replica.readable_end(end, fx);
            if replica.is_damaged_at(self.applied) || self.applied >= readable_end {
                return None;
            }
            self.reading = true;
            return Some(QueryKind::Read {
                offset: self.applied,
                end: readable_end,
                bytes_max: READ_BYTES_MAX,
            });
        }
        None
    }

    /// Takes the answer to the query.
    ///
    /// # Errors
    /// The store's error. After [`ReadError::Unavailable`] another query at once would fail as well.
    pub(super) fn on_read(
        &mut self,
        result: QueryResult,
        mut observe: impl FnMut(&S, &S::Record),
    ) -> Result<(), ReadError> {
        self.reading = false;
        match result {
            QueryResult::Records(mut bytes) => {
                while let Ok(batch) = Batch::split_from(&mut bytes) {
                    self.apply(&batch, &mut observe);
                }
                Ok(())
            }
            QueryResult::Failed(error) => Err(error),
            QueryResult::Found(_) => unreachable!("records were asked for"),
        }
    }

    fn apply(&mut self, batch: &Batch, observe: &mut impl FnMut(&S, &S::Record)) {
        if batch.header.next_offset() <= self.applied {
            return; // the part of a read before what was sought
        }
        let state = Arc::make_mut(&mut self.committed);
        for record in S::records_of(batch) {
            observe(state, &record);
            state.apply(&record);
        }
        self.applied = batch.header.next_offset();
        self.batches_since_snapshot += 1;
    }

    /// A snapshot and its end in the log (exclusive), once `interval` batches have been applied since the last one.
    pub(super) fn due_snapshot(&mut self, interval: u64) -> Option<(Offset, Vec<u8>)> {
        if self.batches_since_snapshot < interval {
            return None;
        }
        self.batches_since_snapshot = 0;
        Some((self.applied, self.committed.to_snapshot()))
    }

    /// The replica was touched: it may have resigned or been elected. A leader can decide once its whole log, its own
    /// opening included, is committed and applied.
    pub(super) fn review_leadership(&mut self, replica: &Replica) -> LeadershipReview<W> {
        let leads = replica.is_leader().then(|| replica.leader_epoch());
        let led = self.leading.as_ref().map(|leading| leading.leader_epoch);
        let ended = self.leading.take_if(|_| led != leads);
        let uncommitted = ended.into_iter().flat_map(|ended| ended.uncommitted);
        let mut review = LeadershipReview {
            abandoned: uncommitted.map(|(_, waiting)| waiting).collect(),
            begins: false,
        };
        let end = replica.log_end_offset();
        if self.leading.is_none()
            && let Some(leader_epoch) = leads
            && replica.high_watermark() == Some(end)
            && self.applied == end
        {
            self.leading = Some(LeaderState {
                leader_epoch,
                speculative: Arc::clone(&self.committed),
                uncommitted: VecDeque::new(),
            });
            review.begins = true;
        }
        review
    }

    /// Applies records that the leader has appended to the speculative state.
    pub(super) fn appended(&mut self, records: &[S::Record]) {
        if let Some(leading) = &mut self.leading {
            let state = Arc::make_mut(&mut leading.speculative);
            for record in records {
                state.apply(record);
            }
        }
    }

    /// Adds a decision that waits until the log is committed up to this end (exclusive), which is not below the end of
    /// any waiting one.
    pub(super) fn wait(&mut self, end: Offset, waiting: W) {
        if let Some(leading) = &mut self.leading {
            leading.uncommitted.push_back((end, waiting));
        }
    }

    /// Removes the first waiting decision, with its end, if that is not above `end`.
    pub(super) fn pop_committed(&mut self, end: Offset) -> Option<(Offset, W)> {
        let uncommitted = &mut self.leading.as_mut()?.uncommitted;
        uncommitted.pop_front_if(|(at, _)| *at <= end)
    }
}

#[cfg(test)]
impl<S: State, W> StateMachine<S, W> {
    /// Applies a record as if it were committed.
    pub(super) fn learn(&mut self, record: &S::Record) {
        Arc::make_mut(&mut self.committed).apply(record);
    }
}
