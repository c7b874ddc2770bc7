//! The leader: the state that only a leader has, what only a leader does, and appending produced batches.
//!
//! Everything that a leader does is a method of [`LeaderView`], which exists only for a replica that leads, so no
//! method checks the role. A method that finds that leadership must end breaks with the reason, and the replica
//! resigns.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::effect::Resignation;
use crate::hooks::{Mutant, Probe};
use crate::ids::{BrokerId, LeaderEpoch, LogClock, Offset, ProducerId, Timestamp, Voter};
use crate::log::{Entry, Note, NoteKind, Position};
use crate::peer::LeaderAndIsr;
use crate::producer::{ProducedBatch, SequenceCheck};
use crate::record::Batch;
use crate::store::Flush;
use crate::time::Instant;

use super::confirmation::Rounds;
use super::progress::Progress;
use super::resignation::Transfer;
use super::state::ReplicaState;
use super::{Cx, Replica, Role};

/// The additional state of a replica while it leads its epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leading {
    /// The position just after this epoch's opening. Nothing is committed before this position is.
    pub(super) opening: Position,
    /// The leader exposes no high watermark before this position, that of the opening, is committed.
    pub(super) exposed_from: Position,
    /// When it was elected. Its voters' grants count as contact at that time.
    pub(super) since: Instant,
    /// Replication progress of every other voter and every observer.
    pub(super) progress: BTreeMap<Voter, Progress>,
    /// Replicas without a vote that are kept up to date: learners that will become voters, and observers.
    pub(super) observers: Vec<Voter>,
    /// The partition's target in the metadata; empty while it is not known.
    pub(super) target: Vec<Voter>,
    /// The leadership transfer in progress.
    pub(super) transfer: Option<Transfer>,
    /// Rounds of leadership confirmation.
    pub(super) rounds: Rounds,
    /// What the broker announces about this partition: leader and ISR.
    pub(super) announcement: Option<LeaderAndIsr>,
    /// When [`LeaderView::on_tick`] is next due.
    pub(super) tick_at: Option<Instant>,
}

/// A replica that leads, with what only a leader may do.
pub(super) struct LeaderView<'a> {
    pub(super) state: &'a mut ReplicaState,
    pub(super) leading: &'a mut Leading,
}

/// Where a produced batch was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Exclusive: one after its last record. The batch is acknowledged once the log is acknowledged up to here.
    pub end_offset: Offset,
    /// The epoch in which it was appended or, for a duplicate, in which the retry came.
    pub leader_epoch: LeaderEpoch,
    /// Whether the batch was in the log already.
    pub duplicate: bool,
}

/// Why a produced batch was not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProduceRefusal {
    /// Another replica leads, or none, or this leader is transferring its leadership.
    NotLeader,
    /// The ISR is smaller than the topic's `min.insync.replicas`.
    NotEnoughReplicas,
    /// The batch leaves a gap in the producer's sequence.
    OutOfOrderSequence,
    /// A later epoch of this producer exists.
    Fenced,
}

impl ProduceRefusal {
    /// Whether the refusal follows from the producer state: only the current leader knows all of that.
    #[must_use]
    pub const fn depends_on_producer_state(self) -> bool {
        match self {
            Self::OutOfOrderSequence | Self::Fenced => true,
            Self::NotLeader | Self::NotEnoughReplicas => false,
        }
    }
}

impl Leading {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.tick_at
            .into_iter()
            .chain(self.transfer.map(|transfer| transfer.ends_at))
            .min()
    }

    pub(super) fn schedule_tick(&mut self, at: Instant) {
        self.tick_at = Some(self.tick_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Whether the leader exposes `committed` to clients and followers: not before its opening is committed.
    pub(super) fn exposes(&self, committed: Position) -> bool {
        committed >= self.exposed_from
    }

    /// The brokers in the ISR, ascending.
    pub(super) fn isr(&self) -> &[BrokerId] {
        self.announcement
            .as_ref()
            .map_or(&[], |announcement| &announcement.isr)
    }

    /// What must hold in addition while a replica leads.
    pub(super) fn assert_invariants(&self, state: &ReplicaState) {
        assert_eq!(
            state.end.leader_epoch, state.vote.leader_epoch,
            "a leader's log ends in its epoch"
        );
        assert!(
            self.opening <= state.end,
            "a leader's opening is in its log"
        );
    }
}

impl Replica {
    /// The leader's state, if this replica leads.
    pub(super) const fn leading(&self) -> Option<&Leading> {
        match &self.role {
            Role::Leader(leading) => Some(leading),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }

    /// This replica as leader, if it leads.
    pub(super) const fn leader_mut(&mut self) -> Option<LeaderView<'_>> {
        match &mut self.role {
            Role::Leader(leading) => Some(LeaderView {
                state: &mut self.state,
                leading,
            }),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }

    /// Runs `act` if this replica leads, and resigns if `act` breaks.
    pub(super) fn act_as_leader(
        &mut self,
        cx: &mut Cx<'_>,
        act: impl FnOnce(&mut LeaderView<'_>, &mut Cx<'_>) -> ControlFlow<Resignation>,
    ) {
        let Some(mut leader) = self.leader_mut() else {
            return;
        };
        if let ControlFlow::Break(why) = act(&mut leader, cx) {
            self.resign(why, cx);
        }
    }

    /// This replica has been elected: appends its epoch's opening and takes the leader's role.
    pub(super) fn become_leader(&mut self, cx: &mut Cx<'_>) {
        let before = self.state.end;
        let note = Note {
            leader_epoch: self.state.vote.leader_epoch,
            offset: before.end_offset,
            kind: NoteKind::Opening {
                leader: self.state.me,
            },
        };
        let entry = Entry::Note(note);
        let opening = entry.position_after(before);
        let exposed_from = if cx.fx.mutant(Mutant::ExposesBeforeOpening) {
            Position::default()
        } else {
            opening
        };
        let others = self.state.other_voters();
        let progress = others
            .into_iter()
            .map(|voter| (voter, Progress::new(before, cx.now)))
            .collect();
        if !cx.fx.mutant(Mutant::LeadsWithoutOpening) {
            self.state.push_entry(entry.clone(), cx);
            self.state
                .order_append(before, vec![entry], Flush::Commit, cx);
        }
        self.role = Role::Leader(Box::new(Leading {
            opening,
            exposed_from,
            since: cx.now,
            progress,
            observers: Vec::new(),
            target: Vec::new(),
            transfer: None,
            rounds: Rounds::default(),
            announcement: None,
            // The voters' grants are contact with a majority; check the quorum once they are older than the timeout.
            tick_at: Some(cx.now + cx.timing.election_timeout),
        }));
        if let Some(mut leader) = self.leader_mut() {
            leader.update_announcement(cx);
            leader.replicate(cx);
        }
    }

    /// [`LeaderView::produce`], if it leads.
    ///
    /// # Errors
    /// See [`ProduceRefusal`]; nothing is appended then.
    pub(crate) fn produce(
        &mut self,
        batch: Batch,
        log_append_time: Option<(Timestamp, u32)>,
        insync_min: Option<usize>,
        cx: &mut Cx<'_>,
    ) -> Result<Appended, ProduceRefusal> {
        let mut leader = self.leader_mut().ok_or(ProduceRefusal::NotLeader)?;
        leader.produce(batch, log_append_time, insync_min, cx)
    }

    /// A link to or from a broker was replaced: messages in flight may be lost.
    pub(crate) fn on_link_renewed(&mut self, broker: BrokerId, cx: &mut Cx<'_>) {
        self.state.holes.request_now(cx.now);
        match &mut self.role {
            Role::Leader(_) => {
                if let Some(mut leader) = self.leader_mut() {
                    leader.on_link_renewed(broker, cx);
                }
            }
            Role::PreCandidate(_) | Role::Candidate(_) => self.resend_vote_request(broker, cx),
            Role::Follower(following) => {
                // Acknowledgements in flight may be lost as well.
                if following
                    .leader
                    .is_some_and(|leader| leader.broker == broker)
                {
                    following.acknowledged = None;
                    self.acknowledge(cx);
                }
            }
        }
    }
}

impl LeaderView<'_> {
    /// Appends a produced batch. `log_append_time` is the time to stamp and the CRC of the batch's body; `insync_min`
    /// is the topic's `min.insync.replicas` where the producer wants `acks=all`.
    fn produce(
        &mut self,
        mut batch: Batch,
        log_append_time: Option<(Timestamp, u32)>,
        insync_min: Option<usize>,
        cx: &mut Cx<'_>,
    ) -> Result<Appended, ProduceRefusal> {
        let leader_epoch = self.state.vote.leader_epoch;
        if self.leading.transfer.is_some() && !cx.fx.mutant(Mutant::AppendsWhileHandingOver) {
            return Err(ProduceRefusal::NotLeader);
        }
        if insync_min.is_some_and(|min| self.leading.isr().len() < min) {
            cx.fx.probe(Probe::NotEnoughReplicas);
            return Err(ProduceRefusal::NotEnoughReplicas);
        }
        match self.state.producers.check(&batch.header) {
            SequenceCheck::InOrder => {}
            SequenceCheck::Duplicate(ProducedBatch {
                base_offset,
                last_offset,
                ..
            }) => {
                cx.fx.probe(Probe::DuplicateAnswered);
                let end_offset = last_offset.plus(1);
                return Ok(Appended {
                    base_offset,
                    end_offset,
                    leader_epoch,
                    duplicate: true,
                });
            }
            SequenceCheck::OutOfOrder { .. } => return Err(ProduceRefusal::OutOfOrderSequence),
            SequenceCheck::Fenced => return Err(ProduceRefusal::Fenced),
        }
        if batch.header.producer_id != ProducerId::NONE {
            self.tick_clock(cx);
        }
        batch.stamp(self.state.end.end_offset, leader_epoch);
        if let Some((timestamp, body_crc)) = log_append_time {
            batch.stamp_log_append_time(timestamp, body_crc);
        }
        let base_offset = batch.header.base_offset;
        self.append_entry(Entry::Batch(batch), cx);
        Ok(Appended {
            base_offset,
            end_offset: self.state.end.end_offset,
            leader_epoch,
            duplicate: false,
        })
    }

    /// Appends a clock tick, by which idempotent producers age, if the last one is long enough ago. Called when such a
    /// producer is about to write: however long the log was idle before, that is one tick.
    fn tick_clock(&mut self, cx: &mut Cx<'_>) {
        let due = cx.now.since(self.state.ticked_at) >= self.state.config.clock_tick_min
            || cx.fx.mutant(Mutant::TicksTooOften);
        if !due || cx.fx.mutant(Mutant::NeverTicks) {
            return;
        }
        let note = Note {
            leader_epoch: self.state.vote.leader_epoch,
            offset: self.state.end.end_offset,
            kind: NoteKind::ClockTick(LogClock(self.state.notes.clock().0 + 1)),
        };
        cx.fx.probe(Probe::ClockTicked);
        self.append_entry(Entry::Note(note), cx);
    }

    /// Appends an entry of this leader's epoch and replicates it.
    pub(super) fn append_entry(&mut self, entry: Entry, cx: &mut Cx<'_>) {
        let before = self.state.end;
        self.state.push_entry(entry.clone(), cx);
        self.state
            .order_append(before, vec![entry], self.state.config.flush, cx);
        self.replicate(cx);
        self.state.assert_invariants();
        self.leading.assert_invariants(self.state);
    }
}
