//! Leadership confirmation: whether a leader is still the current one, for requests that only the current leader can
//! answer (counter-example 13).
//!
//! A deposed leader may not know that it is deposed. Its voters' brokers still hear its broker, and after a leadership
//! transfer they have voted for another leader without ever losing this one, so check-quorum does not notice. So after
//! such a request *has come*, the leader asks its voters whether they are in its epoch, and answers when a majority
//! says so (ReadIndex; Raft dissertation, 6.4). Every later leader was elected with the vote of one of these voters,
//! which was still in this epoch when it replied, after the request had come: so the request came before that election.
//! No clock is involved.
//!
//! One round is in progress at a time. Requests that come during a round share the next one.

use std::collections::BTreeMap;

use crate::hooks::Mutant;
use crate::ids::{BrokerId, LeaderEpoch, Voter};
use crate::peer::{LeadershipRound, ReplicaBody};

use super::leader::LeaderView;
use super::{Cx, Replica};

/// The confirmation rounds of one leader epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rounds {
    /// The latest round that was begun.
    begun: LeadershipRound,
    /// The latest round that a majority has confirmed: `begun`, or the one before it.
    confirmed: LeadershipRound,
    /// A request waits for the round after `begun`.
    next_requested: bool,
    /// The latest round that each voter has confirmed.
    answered: BTreeMap<Voter, LeadershipRound>,
}

/// The state of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirmation {
    /// Not enough voters have answered yet.
    Pending,
    /// This replica was the current leader at some time after the round was requested.
    Confirmed,
    /// This replica does not lead in the round's epoch any more.
    LeadershipLost,
}

impl Rounds {
    fn is_under_way(&self) -> bool {
        self.confirmed < self.begun
    }
}

impl Replica {
    /// [`LeaderView::confirm_leadership`], if it leads; returns its epoch as well.
    pub(crate) fn confirm_leadership(
        &mut self,
        cx: &mut Cx<'_>,
    ) -> Option<(LeaderEpoch, LeadershipRound)> {
        let leader_epoch = self.state.vote.leader_epoch;
        let round = self.leader_mut()?.confirm_leadership(cx);
        Some((leader_epoch, round))
    }

    /// The state of a round of an epoch.
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
    /// Asks the voters whether this replica is still the current leader. Returns the round to wait for: the one begun
    /// here, or the one after that in progress.
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

    /// Sends the round in progress to the voters that have not confirmed it: to those of this broker, or to all.
    pub(super) fn send_round(&mut self, broker: Option<BrokerId>, cx: &mut Cx<'_>) {
        if !self.leading.rounds.is_under_way() {
            return;
        }
        self.leading
            .schedule_tick(cx.now + cx.timing.retry_interval);
        let rounds = &self.leading.rounds;
        let round = rounds.begun;
        let unconfirmed = |voter: &Voter| {
            broker.is_none_or(|broker| voter.broker == broker)
                && rounds.answered.get(voter) != Some(&round)
                && cx.links.reaches(*voter)
        };
        let mut voters = self.state.other_voters();
        voters.retain(unconfirmed);
        for voter in voters {
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
            return; // `receive` has entered a later epoch; rounds of an earlier one do not count
        }
        let answered = self.leading.rounds.answered.entry(from).or_default();
        *answered = round.max(*answered);
        self.count_confirmations(cx);
    }

    /// Confirms the round in progress once a majority of the voters has confirmed it.
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
