//! Voter changes: one voter at a time, as notes in the partition's own log.
//!
//! The metadata name the voters that a partition should have (the *target*); the partition's leader changes the log's
//! voters step by step until they match. A change takes effect when it is appended. It is made only after the leader's
//! own opening is committed (counter-example 14) and the change before it is (counter-example 3), so the majorities of
//! any two configurations in use intersect. Source: Raft dissertation, 4.1.

use crate::effect::NoticeKind;
use crate::hooks::{Mutant, Probe};
use crate::ids::Voter;
use crate::log::{Entry, Note, NoteKind};

use super::leader::{LeaderView, Leading};
use super::progress::Progress;
use super::{Cx, Replica};

/// Whether a voter can help to commit a voter change. Those that cannot are removed first, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Presence {
    /// Its broker has come back with another directory.
    Lost,
    /// It has not proven within the election timeout that it hears this leader, or its link has broken since, or it
    /// cannot store anything: its disk hangs, or its directory is offline.
    Silent,
    /// It has proven that it hears this leader, or this leader was elected less than the election timeout ago.
    Present,
}

impl Leading {
    pub(super) fn target_differs(&self, voters: &[Voter]) -> bool {
        !self.target.is_empty()
            && (self.target.iter().any(|voter| !voters.contains(voter))
                || voters.iter().any(|voter| !self.target.contains(voter)))
    }
}

impl Replica {
    /// [`LeaderView::set_target`], if it leads.
    pub(crate) fn set_target(&mut self, target: &[Voter], observers: &[Voter], cx: &mut Cx<'_>) {
        if let Some(mut leader) = self.leader_mut() {
            leader.set_target(target, observers, cx);
        }
    }

    /// The committed voters, unordered, and the number of notes up to and including the one that names them: for the
    /// voter report to the controller.
    #[must_use]
    pub fn committed_voters(&self) -> (u64, &[Voter]) {
        let committed = self.state.notes.voters_at(self.state.committed.notes);
        committed.unwrap_or((0, &self.state.voters_at_creation))
    }

    /// Whether this replica leads and releases `other`, so that it may be deleted: `other` is not a voter, by committed
    /// or uncommitted notes, and not in the target.
    #[must_use]
    pub(crate) fn releases(&self, other: Voter) -> bool {
        self.leading().is_some_and(|leading| {
            self.state.committed >= leading.opening
                && self.state.has_settled_voters()
                && !self.state.voters.contains(&other)
                && !leading.target.contains(&other)
        })
    }
}

impl LeaderView<'_> {
    /// Sets the target, and the other replicas that are to be kept up to date.
    fn set_target(&mut self, target: &[Voter], observers: &[Voter], cx: &mut Cx<'_>) {
        let wanted =
            |voter: &&Voter| **voter != self.state.me && !self.state.voters.contains(voter);
        let learners: Vec<Voter> = target
            .iter()
            .chain(observers)
            .filter(wanted)
            .copied()
            .collect();
        if self.leading.target == target && self.leading.observers == learners {
            return;
        }
        self.leading.target = target.to_vec();
        self.leading.observers = learners;
        self.refresh_progress(cx);
        self.change_voters(cx);
        self.replicate(cx);
    }

    /// Keeps one [`Progress`] for each other voter and each observer.
    fn refresh_progress(&mut self, cx: &mut Cx<'_>) {
        let (voters, observers) = (&self.state.voters, &self.leading.observers);
        self.leading
            .progress
            .retain(|voter, _| voters.contains(voter) || observers.contains(voter));
        for voter in self.state.voters.iter().chain(&self.leading.observers) {
            if *voter != self.state.me {
                self.leading
                    .progress
                    .entry(*voter)
                    .or_insert_with(|| Progress::new(self.state.end, cx.now));
            }
        }
    }

    /// Takes the next step towards the target, if one is possible.
    pub(super) fn change_voters(&mut self, cx: &mut Cx<'_>) {
        if !self.leading.target_differs(&self.state.voters) || self.leading.transfer.is_some() {
            return;
        }
        let opened = self.state.committed >= self.leading.opening
            || cx.fx.mutant(Mutant::ChangesVotersBeforeOpening);
        let settled =
            self.state.has_settled_voters() || cx.fx.mutant(Mutant::ChangesVotersTwiceAtOnce);
        if !opened || !settled {
            return;
        }
        if let Some(voters) = self.next_voters(cx) {
            self.state
                .notice(NoticeKind::VotersChanged(voters.clone()), cx);
            let note = Note {
                leader_epoch: self.state.vote.leader_epoch,
                offset: self.state.end.end_offset,
                kind: NoteKind::Voters(voters),
            };
            self.append_entry(Entry::Note(note), cx);
            self.refresh_progress(cx);
            self.update_announcement(cx);
        }
    }

    /// The voters after the next step: one more, or one less. A change waits while no majority of the resulting voters
    /// is present: it could not be committed, and would make the partition depend on voters that may never come back. A
    /// voter that is present is removed only when every voter of the target is in sync: until then it stands in for one
    /// that is not.
    fn next_voters(&mut self, cx: &mut Cx<'_>) -> Option<Vec<Voter>> {
        let target = self.leading.target.clone();
        let presence = |voter: &Voter| self.presence(*voter, cx);
        let absent_too = cx.fx.mutant(Mutant::ChangesToAbsentVoters);
        let is_present = |voter: &Voter| presence(voter) == Presence::Present || absent_too;
        let in_sync = |voter: &Voter| {
            let heard = *voter == self.state.me || self.leading.isr().contains(&voter.broker);
            heard && is_present(voter) || absent_too
        };
        let in_turn = cx.fx.mutant(Mutant::RemovesInTurn);
        let turn = |voter: &Voter| {
            if in_turn {
                Presence::Present
            } else {
                presence(voter)
            }
        };
        let mut missing = target
            .iter()
            .filter(|voter| !self.state.voters.contains(voter))
            .peekable();
        let is_complete = missing.peek().is_none();
        let learner = missing.find(|voter| self.leading.is_current(self.state, **voter, cx.links));
        if learner.is_none() && !is_complete {
            return None; // a learner is catching up
        }
        let leaver = self
            .state
            .voters
            .iter()
            .filter(|voter| **voter != self.state.me && !target.contains(voter))
            .min_by_key(|voter| turn(voter));
        let is_absent = |leaver: &&Voter| turn(leaver) < Presence::Present;
        let is_replaced = is_complete && target.iter().all(in_sync);
        let mut voters = self.state.voters.clone();
        let probe = if let Some(leaver) = leaver.filter(|leaver| is_replaced || is_absent(leaver)) {
            // A voter that cannot vote is removed first: while it counts, the majority needs one more vote of the
            // others.
            voters.retain(|voter| voter != leaver);
            Probe::VoterRemoved
        } else if let Some(learner) = learner {
            voters.push(*learner);
            voters.sort_unstable();
            Probe::LearnerPromoted
        } else if leaver.is_some() {
            cx.fx.probe(Probe::VoterChangePutOff);
            return None;
        } else {
            // Only this leader is left to remove: it transfers leadership, and the next leader removes it.
            let next_leader = self
                .leading
                .transfer_target(self.state, &target, cx.now, cx.timing, cx.links)?;
            self.transfer_to(next_leader, cx);
            return None;
        };
        if voters.iter().filter(|voter| is_present(voter)).count() <= voters.len() / 2 {
            cx.fx.probe(Probe::VoterChangePutOff);
            return None;
        }
        cx.fx.probe(probe);
        Some(voters)
    }

    fn presence(&self, voter: Voter, cx: &Cx<'_>) -> Presence {
        if voter == self.state.me {
            Presence::Present
        } else if voter.broker == self.state.me.broker || cx.links.is_replaced(voter) {
            Presence::Lost
        } else if self.leading.is_proven(voter, cx)
            && (cx.links.reaches(voter) || cx.fx.mutant(Mutant::TakesBrokenLinkForPresent))
            && !cx.links.disk_hangs(voter.broker, cx.timing)
            && !cx.links.is_offline(voter)
        {
            Presence::Present
        } else {
            Presence::Silent
        }
    }
}
