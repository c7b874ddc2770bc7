//! How leadership ends: check-quorum, resignation, leadership transfer. Also the ISR that a leader announces, since
//! both depend on which voters it still hears.

use std::ops::ControlFlow;

use crate::effect::{NoticeKind, Resignation};
use crate::hooks::{Mutant, Probe};
use crate::ids::{BrokerId, Voter};
use crate::links::{Links, Timing};
use crate::peer::{LeaderAndIsr, ReplicaBody};
use crate::time::Instant;

use super::leader::{LeaderView, Leading};
use super::progress::Progress;
use super::state::ReplicaState;
use super::{Cx, Replica};

/// A leadership transfer in progress: the leader appends nothing until it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transfer {
    to: Voter,
    /// When the transfer is abandoned.
    pub(super) ends_at: Instant,
    /// Whether the target has been asked to start an election.
    asked: bool,
}

impl Replica {
    /// [`LeaderView::check_quorum`], if it leads.
    pub(crate) fn check_quorum(&mut self, cx: &mut Cx<'_>) {
        self.act_as_leader(cx, |leader, cx| leader.check_quorum(cx));
    }

    /// Resigns, and tells the voters so that they need not wait for the leader timeout.
    pub(crate) fn resign(&mut self, why: Resignation, cx: &mut Cx<'_>) {
        if !self.is_leader() {
            return;
        }
        self.state
            .notice(NoticeKind::Resigns(self.state.vote.leader_epoch, why), cx);
        if why != Resignation::HigherEpoch || !cx.fx.mutant(Mutant::DeposedInSilence) {
            for voter in self.state.other_voters() {
                self.state.send(voter, ReplicaBody::Resigned, cx);
            }
        }
        self.wait_for_leader(cx);
    }

    /// Whether this replica leads and takes records: it takes none during a leadership transfer.
    pub(crate) fn takes_records(&self) -> bool {
        self.leading()
            .is_some_and(|leading| leading.transfer.is_none())
    }

    /// [`LeaderView::transfer_to`], if it leads.
    pub(crate) fn transfer_to(&mut self, to: Voter, cx: &mut Cx<'_>) -> bool {
        self.leader_mut()
            .is_some_and(|mut leader| leader.transfer_to(to, cx))
    }

    /// [`Leading::transfer_target`], if it leads.
    #[must_use]
    pub(crate) fn transfer_target(
        &self,
        preference: &[Voter],
        now: Instant,
        timing: &Timing,
        links: &Links,
    ) -> Option<Voter> {
        let leading = self.leading()?;
        leading.transfer_target(&self.state, preference, now, timing, links)
    }

    /// [`Leading::is_current`], if it leads.
    #[must_use]
    pub(crate) fn is_current(&self, voter: Voter, links: &Links) -> bool {
        self.leading()
            .is_some_and(|leading| leading.is_current(&self.state, voter, links))
    }
}

impl Leading {
    /// Whether a majority of the voters, this leader included, has proven within the election timeout that it hears
    /// this leader.
    pub(super) fn has_quorum(&self, state: &ReplicaState, cx: &Cx<'_>) -> bool {
        let hears = |voter: &&Voter| **voter == state.me || self.is_proven(**voter, cx);
        state.voters.iter().filter(hears).count() > state.voters.len() / 2
    }

    /// Whether this voter has proven within the election timeout that it hears this leader. The election itself counts
    /// as proof.
    pub(super) fn is_proven(&self, voter: Voter, cx: &Cx<'_>) -> bool {
        let proven_at = cx.links.proven_at(voter).max(Some(self.since));
        proven_at.is_some_and(|at| cx.now.since(at) < cx.timing.election_timeout)
    }

    /// The voter to transfer leadership to, if any: of those that can take over, the one with the most of the log on
    /// disk; of equals, the first in `preference`.
    pub(super) fn transfer_target(
        &self,
        state: &ReplicaState,
        preference: &[Voter],
        now: Instant,
        timing: &Timing,
        links: &Links,
    ) -> Option<Voter> {
        let rank = |voter: &Voter| {
            preference
                .iter()
                .position(|other| other == voter)
                .unwrap_or(usize::MAX)
        };
        state
            .voters
            .iter()
            .filter_map(|voter| Some((voter, self.progress.get(voter)?)))
            .filter(|(voter, progress)| can_take_over(**voter, progress, now, timing, links))
            .max_by_key(|(voter, progress)| (progress.durable, std::cmp::Reverse(rank(voter))))
            .map(|(voter, _)| *voter)
    }

    /// Whether this voter is reachable and eligible, and has everything committed durably.
    pub(super) fn is_current(&self, state: &ReplicaState, voter: Voter, links: &Links) -> bool {
        links.reaches(voter)
            && self.progress.get(&voter).is_some_and(|progress| {
                progress.replicating && progress.eligible && progress.durable >= state.committed
            })
    }
}

impl LeaderView<'_> {
    /// Check-quorum: breaks if no majority of the voters has proven within the election timeout that it hears this
    /// leader.
    pub(super) fn check_quorum(&mut self, cx: &mut Cx<'_>) -> ControlFlow<Resignation> {
        if self.leading.has_quorum(self.state, cx) || cx.fx.mutant(Mutant::NeverChecksQuorum) {
            self.update_announcement(cx);
            return ControlFlow::Continue(());
        }
        cx.fx.probe(Probe::CheckQuorumFailed);
        ControlFlow::Break(Resignation::QuorumLost)
    }

    /// Begins to transfer leadership to a voter. Returns whether the transfer has begun.
    pub(super) fn transfer_to(&mut self, to: Voter, cx: &mut Cx<'_>) -> bool {
        let is_voter = self.state.voters.contains(&to);
        let opened = self.leading.exposes(self.state.committed);
        let mut ends_at = cx.now + cx.timing.election_timeout;
        if cx.fx.mutant(Mutant::NeverLeadsOn) {
            ends_at = Instant(u64::MAX);
        }
        let reachable = self
            .leading
            .progress
            .get(&to)
            .is_some_and(|progress| can_take_over(to, progress, cx.now, cx.timing, cx.links));
        if !is_voter || !opened || !reachable || self.leading.transfer.is_some() {
            return false;
        }
        self.leading.transfer = Some(Transfer {
            to,
            ends_at,
            asked: false,
        });
        self.continue_transfer(cx);
        true
    }

    pub(super) fn continue_transfer(&mut self, cx: &mut Cx<'_>) {
        let end = self.state.end;
        let Some(transfer) = &mut self.leading.transfer else {
            return;
        };
        let ready = self
            .leading
            .progress
            .get(&transfer.to)
            .is_some_and(|progress| progress.durable == end)
            || cx.fx.mutant(Mutant::TransfersTooEarly);
        if !ready || transfer.asked {
            return;
        }
        transfer.asked = true;
        if !cx.fx.mutant(Mutant::AsksTooLate) {
            // However long the target took to catch up, it needs time to store its vote and be granted others.
            let elected_by = cx.now + cx.timing.election_timeout;
            transfer.ends_at = transfer.ends_at.max(elected_by);
        }
        let to = transfer.to;
        cx.fx.probe(Probe::LeadershipTransferred);
        self.state.send(to, ReplicaBody::TransferLeadership, cx);
    }

    /// Recomputes the ISR, and replaces the announcement if the ISR has changed.
    pub(super) fn update_announcement(&mut self, cx: &mut Cx<'_>) {
        let keeps_laggards = cx.fx.mutant(Mutant::KeepsLaggards);
        let keeps_offline = cx.fx.mutant(Mutant::KeepsOfflineInIsr);
        let current = |voter: &&Voter| {
            **voter == self.state.me
                || self.leading.progress.get(voter).is_some_and(|progress| {
                    let lags = cx.now.since(progress.current_at) >= cx.timing.replica_lag_time_max;
                    let caught_up = progress.appended >= self.state.end;
                    let offline = cx.links.is_offline(**voter) && !keeps_offline;
                    cx.links.reaches(**voter)
                        && !offline
                        && cx.links.is_alive(voter.broker, cx.now, cx.timing)
                        && progress.is_confirmed
                        && (caught_up || !lags || keeps_laggards)
                })
        };
        let mut isr: Vec<BrokerId> = self
            .state
            .voters
            .iter()
            .filter(current)
            .map(|voter| voter.broker)
            .collect();
        isr.sort_unstable();
        isr.dedup();
        let version = match &self.leading.announcement {
            Some(announcement) if announcement.isr == isr => return,
            Some(announcement) => announcement.version + 1,
            None => 0,
        };
        self.leading.announcement = Some(LeaderAndIsr {
            partition: self.state.id,
            leader_epoch: self.state.vote.leader_epoch,
            leader: Some(self.state.me.broker),
            version,
            isr,
        });
    }
}

/// Whether a voter can be asked to take over: reachable and heard, with room on a disk that does not hang, in
/// replication, and eligible. The leader refuses records while it waits for the target, so it must not choose one that
/// is paused or cannot store its vote.
fn can_take_over(
    voter: Voter,
    progress: &Progress,
    now: Instant,
    timing: &Timing,
    links: &Links,
) -> bool {
    links.reaches(voter)
        && links.is_alive(voter.broker, now, timing)
        && links.directory(voter.broker).takes_records()
        && !links.disk_hangs(voter.broker, timing)
        && progress.replicating
        && progress.eligible
}
