//! The high watermark: what a majority has, and what may be acknowledged.
//!
//! The topic's `flush` says what "has" means: durably, or for records also in memory. What a voter has counts only once
//! its log has the note that made it a voter: until then it takes itself for a learner, and may be deleted if the
//! metadata no longer want it.

use std::ops::ControlFlow;

use crate::effect::Resignation;
use crate::hooks::Mutant;
use crate::ids::{Offset, Voter};
use crate::log::Position;
use crate::store::Flush;

use super::leader::LeaderView;
use super::progress::Progress;
use super::state::ReplicaState;
use super::{Cx, Replica};

impl Replica {
    /// Whether a record that ends at `end_offset` may be acknowledged to a producer with `acks=all`.
    #[must_use]
    pub fn meets_acks_all(&self, end_offset: Offset, insync_min: usize) -> bool {
        let Some(leading) = self.leading() else {
            return false;
        };
        if self
            .high_watermark()
            .is_none_or(|high_watermark| high_watermark < end_offset)
        {
            return false;
        }
        let reached = |(voter, since): &(&Voter, &u64)| {
            let position = match (leading.progress.get(voter), self.state.config.flush) {
                (None, _) if *voter == &self.state.me => self.state.own_position(),
                (None, _) => Position::default(),
                (Some(progress), Flush::Commit) => progress.durable,
                (Some(progress), Flush::Replicated) => progress.appended,
            };
            position.end_offset >= end_offset && position.notes >= **since
        };
        let voters = self.state.voters.iter().zip(&self.state.voters_since);
        voters.filter(reached).count() >= insync_min
    }

    /// Whether a record that ends at `end_offset` may be acknowledged to a producer with `acks=1`.
    #[must_use]
    pub fn meets_acks_one(&self, end_offset: Offset) -> bool {
        self.is_leader() && self.state.own_position().end_offset >= end_offset
    }
}

impl ReplicaState {
    /// How far this replica itself has the log by the topic's `flush`.
    fn own_position(&self) -> Position {
        match self.config.flush {
            Flush::Commit => self.orders.durable(),
            Flush::Replicated => self.appended(),
        }
    }
}

impl LeaderView<'_> {
    /// Advances the high watermark to what a majority has by the topic's `flush`. Breaks if that commits a voter change
    /// that removes this replica.
    pub(super) fn advance_committed(&mut self, cx: &mut Cx<'_>) -> ControlFlow<Resignation> {
        let durable = self.majority(self.state.orders.durable(), |progress| progress.durable, cx);
        let mut reached = durable;
        if self.state.config.flush == Flush::Replicated {
            // Records count in memory, but a note is committed only where it is durable.
            let appended = self.majority(self.state.appended(), |progress| progress.appended, cx);
            let bound = self
                .state
                .notes
                .get(durable.notes)
                .filter(|_| !cx.fx.mutant(Mutant::CommitsNotesInMemory))
                .map_or(appended, |note| Position {
                    end_offset: note.offset,
                    ..durable
                });
            reached = durable.max(appended.min(bound));
        }
        if cx.fx.mutant(Mutant::CommitsAlone) {
            reached = self.state.orders.durable();
        }
        let opened = reached >= self.leading.opening || cx.fx.mutant(Mutant::CommitsEarlierEpochs);
        if !opened || reached <= self.state.committed {
            return ControlFlow::Continue(());
        }
        self.state.commit_to(reached);
        self.after_commit(cx)
    }

    fn after_commit(&mut self, cx: &mut Cx<'_>) -> ControlFlow<Resignation> {
        self.replicate(cx);
        if self.state.has_settled_voters() && !self.state.is_voter() {
            return ControlFlow::Break(Resignation::Removed);
        }
        self.change_voters(cx);
        ControlFlow::Continue(())
    }

    /// The greatest position that a majority of the voters has; `of` gives each follower's position.
    fn majority(
        &self,
        mine: Position,
        of: impl Fn(&Progress) -> Position,
        cx: &mut Cx<'_>,
    ) -> Position {
        let mut positions: Vec<Position> = self
            .state
            .voters
            .iter()
            .zip(&self.state.voters_since)
            .map(|(voter, since)| {
                let position = if *voter == self.state.me {
                    mine
                } else {
                    self.leading
                        .progress
                        .get(voter)
                        .map_or_else(Position::default, &of)
                };
                if position.notes >= *since {
                    position
                } else {
                    Position::default()
                }
            })
            .collect();
        if cx.fx.mutant(Mutant::CountsLearners) {
            let learners = self.leading.progress.iter();
            positions.extend(
                learners
                    .filter(|(learner, _)| !self.state.voters.contains(learner))
                    .map(|(_, progress)| of(progress)),
            );
        }
        positions.sort_unstable_by(|a, b| b.cmp(a));
        positions
            .get(self.state.voters.len() / 2)
            .copied()
            .unwrap_or_default()
    }
}
