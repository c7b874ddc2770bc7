//! Committing: what a majority has, and what may be acknowledged.
//!
//! "Has" is meant by the topic's `flush`: durably, or for records in memory. A voter has nothing that counts before it
//! has the note that made it one: until then it is a learner to itself, and is deleted where the metadata want it no more.

use crate::effect::Resignation;
use crate::hooks::Mutant;
use crate::ids::{Offset, Voter};
use crate::log::Position;
use crate::store::Flush;

use super::progress::Progress;
use super::{Cx, Replica, Role};

impl Replica {
    /// Moves the high watermark to what a majority has by the topic's policy.
    pub(super) fn advance_committed(&mut self, cx: &mut Cx<'_>) {
        let durable = self.majority(self.orders.durable(), |progress| progress.durable, cx);
        let Role::Leader(leading) = &self.role else {
            return;
        };
        let opening = leading.opening;
        let mut reached = durable;
        if self.config.flush == Flush::Replicated {
            // Records count in memory, but a note is committed only where it is durable.
            let appended = self.majority(self.appended(), |progress| progress.appended, cx);
            let bound = self
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
            reached = self.orders.durable();
        }
        let opened = reached >= opening || cx.fx.mutant(Mutant::CommitsEarlierEpochs);
        if !opened || reached <= self.committed {
            return;
        }
        self.commit_to(reached);
        self.after_commit(cx);
    }

    fn after_commit(&mut self, cx: &mut Cx<'_>) {
        self.replicate(cx);
        let voters_committed = self
            .notes
            .voters_at(self.notes.count())
            .is_none_or(|(count, _)| count <= self.committed.notes);
        if voters_committed && !self.is_voter() {
            self.resign(Resignation::Removed, cx);
            return;
        }
        self.change_voters(cx);
    }

    /// The greatest position that a majority of the voters has, each voter's own being given by `of`.
    fn majority(
        &self,
        mine: Position,
        of: impl Fn(&Progress) -> Position,
        cx: &mut Cx<'_>,
    ) -> Position {
        let Role::Leader(leading) = &self.role else {
            return Position::default();
        };
        let mut positions: Vec<Position> = self
            .voters
            .iter()
            .zip(&self.voters_since)
            .map(|(voter, since)| {
                let position = if *voter == self.me {
                    mine
                } else {
                    leading
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
            let learners = leading.progress.iter();
            positions.extend(
                learners
                    .filter(|(learner, _)| !self.voters.contains(learner))
                    .map(|(_, progress)| of(progress)),
            );
        }
        positions.sort_unstable_by(|a, b| b.cmp(a));
        positions
            .get(self.voters.len() / 2)
            .copied()
            .unwrap_or_default()
    }

    /// Whether a record that ends at `end_offset` may be acknowledged to a producer with `acks=all`.
    #[must_use]
    pub fn meets_acks_all(&self, end_offset: Offset, insync_min: usize) -> bool {
        let Role::Leader(leading) = &self.role else {
            return false;
        };
        if self
            .high_watermark()
            .is_none_or(|high_watermark| high_watermark < end_offset)
        {
            return false;
        }
        let reached = |(voter, since): &(&Voter, &u64)| {
            let position = match (leading.progress.get(voter), self.config.flush) {
                (None, _) if *voter == &self.me => self.mine(),
                (None, _) => Position::default(),
                (Some(progress), Flush::Commit) => progress.durable,
                (Some(progress), Flush::Replicated) => progress.appended,
            };
            position.end_offset >= end_offset && position.notes >= **since
        };
        let voters = self.voters.iter().zip(&self.voters_since);
        voters.filter(reached).count() >= insync_min
    }

    /// Whether a record that ends at `end_offset` may be acknowledged to a producer with `acks=1`.
    #[must_use]
    pub fn meets_acks_one(&self, end_offset: Offset) -> bool {
        self.is_leader() && self.mine().end_offset >= end_offset
    }

    /// How far this replica itself has the log by the topic's policy.
    fn mine(&self) -> Position {
        match self.config.flush {
            Flush::Commit => self.orders.durable(),
            Flush::Replicated => self.appended(),
        }
    }
}
