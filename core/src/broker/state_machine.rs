//! Replicated state: what the records of an internal log amount to, kept by every replica of the log.
//!
//! Every replica applies what is committed, all the time, so that whoever is elected has the state already. The leader
//! has a second one, the *speculative* state: with what it has appended and is not committed yet. It decides by that one,
//! and answers when its decision is committed. The state at a start is that of the latest snapshot and the log behind it.
//!
//! It follows one replica and gives no orders: the broker asks its queries, appends what is decided, saves its snapshots.

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

/// What the records of a log amount to.
pub(super) trait State: Clone + Default {
    /// What one record of the log says.
    type Record;

    /// Takes a record in. One that does not fit changes nothing.
    fn apply(&mut self, record: &Self::Record);

    /// The records of a batch that a leader of this log has appended.
    fn records_of(batch: &Batch) -> Vec<Self::Record>;

    /// The whole of it, for a start to begin with.
    fn to_snapshot(&self) -> Vec<u8>;

    /// Reads it back. The store has checked that the bytes are what was saved.
    fn of_snapshot(snapshot: &[u8]) -> Self;
}

/// The state of one log, and where this broker leads that, the decisions that are not committed; `W` is who waits for one.
#[derive(Debug)]
pub(super) struct StateMachine<S, W> {
    committed: Arc<S>,
    /// Everything below, exclusive, is in the committed state.
    applied: Offset,
    /// A query is under way that reads what memory does not hold.
    reading: bool,
    batches_since_snapshot: u64,
    leading: Option<LeaderState<S, W>>,
}

/// What a leader has besides.
#[derive(Debug)]
struct LeaderState<S, W> {
    leader_epoch: LeaderEpoch,
    /// The committed state with this leader's own records on top.
    speculative: Arc<S>,
    /// Who waits, and where the log ends that has what was decided (exclusive), ascending.
    uncommitted: VecDeque<(Offset, W)>,
}

/// What has become of the leadership of a log's replica.
pub(super) struct LeadershipReview<W> {
    /// Who waited for a leader that leads no more: whether what it decided will be committed is for the next one to say.
    pub(super) abandoned: Vec<W>,
    /// The replica leads, and the state has all that is in its log: it can decide.
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
    /// Begins with a snapshot, of the log below this offset.
    pub(super) fn restore(&mut self, snapshot: &[u8], end: Offset) {
        self.committed = Arc::new(S::of_snapshot(snapshot));
        self.applied = end;
    }

    /// The state by all that is committed and applied here.
    pub(super) const fn committed(&self) -> &Arc<S> {
        &self.committed
    }

    /// Where the committed state ends in the log, exclusive.
    pub(super) const fn applied(&self) -> Offset {
        self.applied
    }

    /// The state that the leader decides by; `None` where this broker does not lead, or cannot decide yet.
    pub(super) fn speculative(&self) -> Option<&Arc<S>> {
        self.leading.as_ref().map(|leading| &leading.speculative)
    }

    /// Whether this broker leads, and can decide.
    pub(super) const fn leads(&self) -> bool {
        self.leading.is_some()
    }

    /// Applies what is committed, as far as memory holds it; `observe` sees each record and the state before it. Returns
    /// the query that reads the next part from disk, where that is needed.
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
            // What is damaged is read once it is repaired, and what a truncation may still drop once that is over. Both
            // touch the replica.
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
    /// What the store says. After [`ReadError::Unavailable`] another query at once would fail as well.
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

    /// A snapshot and where it ends in the log, exclusive, once so many batches have been applied since the one before.
    pub(super) fn due_snapshot(&mut self, interval: u64) -> Option<(Offset, Vec<u8>)> {
        if self.batches_since_snapshot < interval {
            return None;
        }
        self.batches_since_snapshot = 0;
        Some((self.applied, self.committed.to_snapshot()))
    }

    /// The replica was touched: it may lead no more, or have come to lead. A leader decides from when its log is committed
    /// up to its end, its own opening included, and applied.
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

    /// The leader has appended these records.
    pub(super) fn appended(&mut self, records: &[S::Record]) {
        if let Some(leading) = &mut self.leading {
            let state = Arc::make_mut(&mut leading.speculative);
            for record in records {
                state.apply(record);
            }
        }
    }

    /// Somebody waits until the log is committed up to this end (exclusive), which is not below that of whoever waits
    /// already.
    pub(super) fn wait(&mut self, end: Offset, waiting: W) {
        if let Some(leading) = &mut self.leading {
            leading.uncommitted.push_back((end, waiting));
        }
    }

    /// Takes the first who waits, with its end, where that is not above `end`.
    pub(super) fn pop_committed(&mut self, end: Offset) -> Option<(Offset, W)> {
        let uncommitted = &mut self.leading.as_mut()?.uncommitted;
        uncommitted.pop_front_if(|(at, _)| *at <= end)
    }
}

#[cfg(test)]
impl<S: State, W> StateMachine<S, W> {
    /// Learns a record as if it were committed.
    pub(super) fn learn(&mut self, record: &S::Record) {
        Arc::make_mut(&mut self.committed).apply(record);
    }
}
