//! Leadership confirmation: whether a leader is still the current one, for what only that one can tell
//! (counter-example 13).
//!
//! A deposed leader may not know that it is one. Its voters' brokers hear it as before, and where it handed
//! leadership over itself, they voted for another without ever having doubted it: check-quorum says nothing of that.
//! So, once such a request *has come*, it asks its voters whether they are in its epoch, and answers when a majority
//! says so (ReadIndex; Raft dissertation, 6.4). A leader of a later epoch was elected by one of these, who was still in
//! this epoch when it was asked: after the request had come. No clock enters into it.
//!
//! One round is under way at a time. Requests that come meanwhile were not there when it began: they share the next.

use std::collections::BTreeMap;

use crate::hooks::Mutant;
use crate::ids::{BrokerId, LeaderEpoch, Voter};
use crate::peer::{LeadershipRound, ReplicaBody};

use super::leader::LeaderView;
use super::{Cx, Replica};

/// The rounds of one leadership.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rounds {
    /// The latest that was begun.
    begun: LeadershipRound,
    /// The latest that a majority has confirmed: `begun`, or the one before.
    confirmed: LeadershipRound,
    /// Somebody waits for the one behind `begun`.
    next_requested: bool,
    /// The latest that each voter has answered.
    answered: BTreeMap<Voter, LeadershipRound>,
}

/// What has become of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirmation {
    /// Not enough voters have answered yet.
    Pending,
    /// This replica was the current leader, after the round was asked for.
    Confirmed,
    /// That leadership is over.
    LeadershipLost,
}

impl Rounds {
    fn is_under_way(&self) -> bool {
        self.confirmed < self.begun
    }
}

impl Replica {
    /// [`LeaderView::confirm_leadership`], if it leads: its epoch besides.
    pub(crate) fn confirm_leadership(
        &mut self,
        cx: &mut Cx<'_>,
    ) -> Option<(LeaderEpoch, LeadershipRound)> {
        let leader_epoch = self.state.vote.leader_epoch;
        let round = self.leader_mut()?.confirm_leadership(cx);
        Some((leader_epoch, round))
    }

    /// What has become of that round of that epoch.
    #[must_use]
    pub(crate) fn confirmation(
        &self,
        leader_epoch: LeaderEpoch,
        round: LeadershipRound,
    ) -> Confirmation {
        match self.leading() {
            Some(leading) if self.state.vote.leader_epoch == leader_epoch => {
                if leading.rounds.confirmed >= round {
                    Confirmation::Confirmed
                } else {
                    Confirmation::Pending
                }
            }
            Some(_) | None => Confirmation::LeadershipLost,
        }
    }
}

impl LeaderView<'_> {
    /// Asks the voters whether this replica is still the current leader. Returns the round to wait for: the one begun now, or
    /// the one behind that under way.
    fn confirm_leadership(&mut self, cx: &mut Cx<'_>) -> LeadershipRound {
        let round = self.leading.rounds.begun.next();
        if self.leading.rounds.is_under_way() {
            self.leading.rounds.next_requested = true;
        } else {
            self.begin_round(cx);
        }
        round
    }

    fn begin_round(&mut self, cx: &mut Cx<'_>) {
        self.leading.rounds.begun = self.leading.rounds.begun.next();
        self.leading.rounds.next_requested = false;
        self.send_round(None, cx);
        self.count_confirmations(cx);
    }

    /// Asks the voters that have not answered the round under way: those of this broker, or all.
    pub(super) fn send_round(&mut self, broker: Option<BrokerId>, cx: &mut Cx<'_>) {
        if !self.leading.rounds.is_under_way() {
            return;
        }
        self.leading
            .schedule_tick(cx.now + cx.timing.retry_interval);
        let rounds = &self.leading.rounds;
        let round = rounds.begun;
        let open = |voter: &Voter| {
            broker.is_none_or(|broker| voter.broker == broker)
                && rounds.answered.get(voter) != Some(&round)
                && cx.links.reaches(*voter)
        };
        let asked: Vec<Voter> = self.state.other_voters().into_iter().filter(open).collect();
        for voter in asked {
            self.state
                .send(voter, ReplicaBody::ConfirmLeadership { round }, cx);
        }
    }

    pub(super) fn on_confirm_leadership_reply(
        &mut self,
        from: Voter,
        leader_epoch: LeaderEpoch,
        round: LeadershipRound,
        cx: &mut Cx<'_>,
    ) {
        if leader_epoch != self.state.vote.leader_epoch {
            return; // a later epoch has been entered by `receive`; an earlier one had other rounds
        }
        let answered = self.leading.rounds.answered.entry(from).or_default();
        *answered = round.max(*answered);
        self.count_confirmations(cx);
    }

    /// Confirms the round under way once a majority of the voters has answered it.
    pub(super) fn count_confirmations(&mut self, cx: &mut Cx<'_>) {
        let rounds = &mut self.leading.rounds;
        let answers = self.state.voters.iter().filter(|voter| {
            **voter == self.state.me || rounds.answered.get(voter).copied() >= Some(rounds.begun)
        });
        if answers.count() <= self.state.voters.len() / 2
            && !cx.fx.mutant(Mutant::ServesStaleLeader)
        {
            return;
        }
        rounds.confirmed = rounds.begun;
        if rounds.next_requested {
            self.begin_round(cx);
        }
    }
}
