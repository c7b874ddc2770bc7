//! Leading: what only a leader has, what only a leader does, and appending.
//!
//! Whatever a leader does is a method of [`LeaderView`], and only a replica that leads gives one out: none of them asks
//! whether it does. Where one of them finds that leadership must end, it breaks with the reason, and the replica resigns.

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

/// What a replica has besides while it leads its epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leading {
    /// The position behind this epoch's opening. Nothing is committed before it is.
    pub(super) opening: Position,
    /// No high watermark is shown before this is committed: the opening.
    pub(super) exposed_from: Position,
    /// When it was elected: its voters were heard then, if not since.
    pub(super) since: Instant,
    /// Every other voter and every observer.
    pub(super) progress: BTreeMap<Voter, Progress>,
    /// Replicas without a vote that are kept up to date: learners on their way in, and observers.
    pub(super) observers: Vec<Voter>,
    /// The voters that the metadata wants; empty while that is not known.
    pub(super) target: Vec<Voter>,
    /// A transfer of leadership under way.
    pub(super) transfer: Option<Transfer>,
    /// What its voters have been asked of its leadership.
    pub(super) rounds: Rounds,
    /// What is to be told of this partition's leader.
    pub(super) announcement: Option<LeaderAndIsr>,
    /// When something that waits must be looked after.
    pub(super) tick_at: Option<Instant>,
}

/// A replica that leads, and what only a leader does.
pub(super) struct LeaderView<'a> {
    pub(super) state: &'a mut ReplicaState,
    pub(super) leading: &'a mut Leading,
}

/// Where a produced batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Behind its last record: acknowledged once this is.
    pub end_offset: Offset,
    /// The epoch it was appended in, or, for a duplicate, in which it was sent again.
    pub leader_epoch: LeaderEpoch,
    /// Whether it was in the log already.
    pub duplicate: bool,
}

/// Why a produced batch was not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProduceRefusal {
    /// Another replica leads, or none, or leadership is being handed over.
    NotLeader,
    /// Fewer voters are current than the topic asks for.
    NotEnoughReplicas,
    /// There is a gap in the producer's sequence.
    OutOfOrderSequence,
    /// The producer's epoch is over.
    Fenced,
}

impl ProduceRefusal {
    /// Whether the reason is what this leader knows of the producer: only the latest leader knows all of it.
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

    /// Whether what is committed is shown to others, where it is this.
    pub(super) fn exposes(&self, committed: Position) -> bool {
        committed >= self.exposed_from
    }

    /// Brokers whose voters are current, ascending.
    pub(super) fn isr(&self) -> &[BrokerId] {
        self.announcement
            .as_ref()
            .map_or(&[], |announcement| &announcement.isr)
    }

    /// What must hold besides of a replica that leads.
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
    /// What it has besides, if it leads.
    pub(super) const fn leading(&self) -> Option<&Leading> {
        match &self.role {
            Role::Leader(leading) => Some(leading),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }

    /// Itself as a leader, if it is one.
    pub(super) const fn leader_mut(&mut self) -> Option<LeaderView<'_>> {
        match &mut self.role {
            Role::Leader(leading) => Some(LeaderView {
                state: &mut self.state,
                leading,
            }),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }

    /// Does something as a leader, if it is one, and resigns where that breaks.
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

    /// This replica has been elected: opens its epoch.
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
            // Its voters were heard when they voted; look again once that proves nothing any more.
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

    /// The link to or from a broker is another one: what was under way may be lost.
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
                // The acknowledgements under way may be lost as well.
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
    /// Takes a produced batch. `log_append_time` is the time to stamp and the CRC of the batch's body.
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

    /// Moves the log's clock on, by which producers age, where it is time: a producer is about to write. However long it
    /// was silent, and whatever has happened meanwhile, that is one tick.
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

    /// Appends an entry of this leader's own epoch and sends it on its way.
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
