//! Who votes: changes of the voters, one at a time, as notes in the partition's own log.
//!
//! The metadata says whom it wants (the *target*); the partition's leader brings the log's voters there. A change
//! takes effect when it is appended. It is made only after the leader's own opening has committed
//! (counter-example 14) and the change before it has (counter-example 3), so two configurations in use always
//! have intersecting majorities. Source: Raft dissertation, 4.1.

use crate::effect::NoticeKind;
use crate::hooks::{Mutant, Probe};
use crate::ids::Voter;
use crate::log::{Entry, Note, NoteKind};

use super::leader::{LeaderView, Leading};
use super::progress::Progress;
use super::{Cx, Replica};

/// Whether a voter can vote for a change of the voters; who cannot is the first to be removed, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Presence {
    /// Its broker speaks from another directory.
    Lost,
    /// It has not proven within the election timeout that it hears this leader, its link has broken since, or it stores
    /// nothing: its disk hangs, or its directory is offline.
    Silent,
    /// It has, or this leader does not lead for as long.
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

    /// The committed voters and the count of the note that named them, for the report to the controller. In no order.
    #[must_use]
    pub fn committed_voters(&self) -> (u64, &[Voter]) {
        let committed = self.state.notes.voters_at(self.state.committed.notes);
        committed.unwrap_or((0, &self.state.voters_at_creation))
    }

    /// Whether this replica leads, and counts on that one no more: it is no voter, committed or not, and will not be made
    /// one.
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
    /// Says which voters the metadata wants, and which other replicas are to be kept up to date.
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

    /// Keeps a progress for exactly the other voters and the observers.
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

    /// Takes the next step towards the target, if there is one that can be taken.
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

    /// The voters after the next step: one more, or one less. A change waits while no majority of the voters behind it
    /// is present: it could not commit, and would leave the partition to voters that may never come. A voter that is
    /// present leaves only when all that are wanted are in sync: until then it stands in for one that is not.
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
            return None; // a learner is on its way
        }
        let leaver = self
            .state
            .voters
            .iter()
            .filter(|voter| **voter != self.state.me && !target.contains(voter))
            .min_by_key(|voter| turn(voter));
        let is_first = |leaver: &&Voter| turn(leaver) < Presence::Present;
        let is_replaced = is_complete && target.iter().all(in_sync);
        let mut voters = self.state.voters.clone();
        let probe = if let Some(leaver) = leaver.filter(|leaver| is_replaced || is_first(leaver)) {
            // One that cannot vote goes first: with it, one more vote would be needed of those that can.
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
            // Only this leader is left to go: it hands over, and its transfer_target removes it.
            let transfer_target = self
                .leading
                .transfer_target(self.state, &target, cx.now, cx.timing, cx.links)?;
            self.transfer_to(transfer_target, cx);
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
