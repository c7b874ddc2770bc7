//! Keeping leadership and giving it up: check-quorum, resigning, handing over, and what is announced meanwhile.

use crate::effect::{NoticeKind, Resignation};
use crate::hooks::{Mutant, Probe};
use crate::ids::{BrokerId, Voter};
use crate::links::{Links, Timing};
use crate::peer::{LeaderAndIsr, ReplicaBody};
use crate::time::Instant;

use super::progress::Progress;
use super::{Cx, Replica, Role};

/// A transfer of leadership: nothing is appended until it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transfer {
    to: Voter,
    /// When it is given up.
    pub(super) ends_at: Instant,
    /// Whether the transfer target has been asked to start an election.
    asked: bool,
}

impl Replica {
    /// Whether a majority of the voters has proven, within the election timeout, that it hears this leader.
    pub(super) fn has_quorum(&self, cx: &Cx<'_>) -> bool {
        let hears = |voter: &&Voter| **voter == self.me || self.is_proven(**voter, cx);
        self.is_leader() && self.voters.iter().filter(hears).count() > self.voters.len() / 2
    }

    /// Whether this voter has proven, within the election timeout, that it hears this leader, or had no such time yet.
    pub(super) fn is_proven(&self, voter: Voter, cx: &Cx<'_>) -> bool {
        let Role::Leader(leading) = &self.role else {
            return false;
        };
        let proven_at = cx.links.proven_at(voter).max(Some(leading.since));
        proven_at.is_some_and(|at| cx.now.since(at) < cx.timing.election_timeout)
    }

    /// A voter's broker has proven nothing for a while (check-quorum).
    pub(crate) fn check_quorum(&mut self, cx: &mut Cx<'_>) {
        if !self.is_leader() {
            return;
        }
        if self.has_quorum(cx) || cx.fx.mutant(Mutant::NeverChecksQuorum) {
            self.update_announcement(cx);
            return;
        }
        cx.fx.probe(Probe::CheckQuorumFailed);
        self.resign(Resignation::QuorumLost, cx);
    }

    /// Gives up leadership and tells the voters, so that they need not wait.
    pub(crate) fn resign(&mut self, why: Resignation, cx: &mut Cx<'_>) {
        if !self.is_leader() {
            return;
        }
        cx.fx.notice(
            Some(self.id),
            NoticeKind::Resigns(self.vote.leader_epoch, why),
        );
        if why != Resignation::HigherEpoch || !cx.fx.mutant(Mutant::DeposedInSilence) {
            for voter in self.other_voters() {
                self.send(voter, ReplicaBody::Resigned, cx);
            }
        }
        self.announcement = None;
        self.wait_for_leader(cx);
    }

    /// Whether this replica leads and takes records: it takes none while it hands over.
    pub(crate) fn takes_records(&self) -> bool {
        matches!(&self.role, Role::Leader(leading) if leading.transfer.is_none())
    }

    /// Begins to hand leadership to a voter. Returns whether it can.
    pub(crate) fn transfer_to(&mut self, to: Voter, cx: &mut Cx<'_>) -> bool {
        let is_voter = self.voters.contains(&to);
        let opened = self.high_watermark().is_some();
        let mut ends_at = cx.now + cx.timing.election_timeout;
        if cx.fx.mutant(Mutant::NeverLeadsOn) {
            ends_at = Instant(u64::MAX);
        }
        let Role::Leader(leading) = &mut self.role else {
            return false;
        };
        let reachable = leading
            .progress
            .get(&to)
            .is_some_and(|progress| may_take_over(to, progress, cx.now, cx.timing, cx.links));
        if !is_voter || !opened || !reachable || leading.transfer.is_some() {
            return false;
        }
        leading.transfer = Some(Transfer {
            to,
            ends_at,
            asked: false,
        });
        self.continue_transfer(cx);
        true
    }

    pub(super) fn continue_transfer(&mut self, cx: &mut Cx<'_>) {
        let end = self.end;
        let Role::Leader(leading) = &mut self.role else {
            return;
        };
        let Some(transfer) = &mut leading.transfer else {
            return;
        };
        let ready = leading
            .progress
            .get(&transfer.to)
            .is_some_and(|progress| progress.durable == end)
            || cx.fx.mutant(Mutant::TransfersTooEarly);
        if !ready || transfer.asked {
            return;
        }
        transfer.asked = true;
        if !cx.fx.mutant(Mutant::AsksTooLate) {
            // Its vote must become durable and be answered, however long it took to catch up.
            let elected_by = cx.now + cx.timing.election_timeout;
            transfer.ends_at = transfer.ends_at.max(elected_by);
        }
        let to = transfer.to;
        cx.fx.probe(Probe::LeadershipTransferred);
        self.send(to, ReplicaBody::TransferLeadership, cx);
    }

    /// The voter best suited to take over, if any: of those that may, the furthest; of equals the first in `preference`.
    #[must_use]
    pub(crate) fn successor(
        &self,
        preference: &[Voter],
        now: Instant,
        timing: &Timing,
        links: &Links,
    ) -> Option<Voter> {
        let Role::Leader(leading) = &self.role else {
            return None;
        };
        let rank = |voter: &Voter| {
            preference
                .iter()
                .position(|other| other == voter)
                .unwrap_or(usize::MAX)
        };
        self.voters
            .iter()
            .filter_map(|voter| Some((voter, leading.progress.get(voter)?)))
            .filter(|(voter, progress)| may_take_over(**voter, progress, now, timing, links))
            .max_by_key(|(voter, progress)| (progress.durable, std::cmp::Reverse(rank(voter))))
            .map(|(voter, _)| *voter)
    }

    /// Whether this voter has everything, durably, and can be reached.
    #[must_use]
    pub(crate) fn is_current(&self, voter: Voter, links: &Links) -> bool {
        let Role::Leader(leading) = &self.role else {
            return false;
        };
        links.reaches(voter)
            && leading.progress.get(&voter).is_some_and(|progress| {
                progress.replicating && progress.eligible && progress.durable >= self.committed
            })
    }

    /// Looks who is current, and prepares the announcement where that has changed.
    pub(super) fn update_announcement(&mut self, cx: &mut Cx<'_>) {
        let Role::Leader(leading) = &self.role else {
            return;
        };
        let keeps_laggards = cx.fx.mutant(Mutant::KeepsLaggards);
        let keeps_offline = cx.fx.mutant(Mutant::KeepsOfflineInIsr);
        let current = |voter: &&Voter| {
            **voter == self.me
                || leading.progress.get(voter).is_some_and(|progress| {
                    let lags = cx.now.since(progress.current_at) >= cx.timing.replica_lag_time_max;
                    let caught_up = progress.appended >= self.end;
                    let offline = cx.links.is_offline(**voter) && !keeps_offline;
                    cx.links.reaches(**voter)
                        && !offline
                        && cx.links.hears(voter.broker, cx.now, cx.timing)
                        && progress.is_known
                        && (caught_up || !lags || keeps_laggards)
                })
        };
        let mut isr: Vec<BrokerId> = self
            .voters
            .iter()
            .filter(current)
            .map(|voter| voter.broker)
            .collect();
        isr.sort_unstable();
        isr.dedup();
        let version = match &self.announcement {
            Some(announcement) if announcement.isr == isr => return,
            Some(announcement) => announcement.version + 1,
            None => 0,
        };
        self.announcement = Some(LeaderAndIsr {
            partition: self.id,
            leader_epoch: self.vote.leader_epoch,
            leader: Some(self.me.broker),
            version,
            isr,
        });
    }
}

/// Whether a voter can be asked to take over: reached and heard, with room on a disk that does not hang, following, and
/// whole. One that sleeps, or cannot store its vote, would be waited for, and records refused meanwhile.
fn may_take_over(
    voter: Voter,
    progress: &Progress,
    now: Instant,
    timing: &Timing,
    links: &Links,
) -> bool {
    links.reaches(voter)
        && links.hears(voter.broker, now, timing)
        && links.directory(voter.broker).takes_records()
        && !links.disk_hangs(voter.broker, timing)
        && progress.replicating
        && progress.eligible
}
