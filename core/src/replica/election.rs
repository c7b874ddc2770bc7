//! Who leads: leader timeout, pre-vote, vote.
//!
//! A follower follows its leader while it hears heartbeats from the leader's *broker*, in the incarnation that made the
//! announcement and with a disk that does not hang; no partition has a timer of its own while all is well. When the
//! leader is lost, the follower first asks whether it would win (pre-vote, Raft dissertation 9.6), so that a replica
//! that only cannot hear the leader does not depose one that the others follow.
//!
//! A *suspect* may have lost what it acknowledged. Its votes are marked. A candidate wins with a majority of unmarked
//! votes, or with the votes of *all* voters: then every replica that holds an acknowledged record has voted, and the
//! longest log that is left has won (counter-example 4).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::effect::{LeaderLost, NoticeKind, Resignation};
use crate::hooks::{Mutant, Probe};
use crate::ids::{BrokerId, Incarnation, LeaderEpoch, Voter};
use crate::log::Position;
use crate::peer::{ReplicaBody, VoteRefusal, VoteReply, VoteRequest};
use crate::store::{Mark, Vote, VoterChange};
use crate::time::Instant;

use super::{Cx, Replica, Role};

/// The state of a replica that takes entries from a leader, or waits for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Following {
    /// Who leads the replica's epoch; `None` until the leader has sent an append.
    pub(super) leader: Option<Voter>,
    /// The incarnation of the leader's broker that announced the leader.
    pub(super) incarnation: Incarnation,
    /// The session (incoming connection) on which the leader's broker last announced it.
    pub(super) session: u64,
    /// This replica's log equals the leader's up to here; `None` until the first append has matched.
    pub(super) verified: Option<Position>,
    /// What this replica last acknowledged to the leader: appended, durable, and whether it is eligible.
    pub(super) acknowledged: Option<(Position, Position, bool)>,
    /// The notice has been given that this leader's log lacks entries that this learner knows to be committed.
    pub(super) loss_reported: bool,
    /// When this replica will start an election; `None` while it follows a leader.
    pub(super) election_at: Option<Instant>,
    /// Why it will: how the leader was lost.
    pub(super) lost: Option<LeaderLost>,
}

/// One round of pre-votes or votes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Campaign {
    /// Who has granted its vote, and whether the vote is marked.
    grants: BTreeMap<Voter, bool>,
    /// The voter changes that this replica, or a replica that has granted, knows to be lost.
    lost_voter_changes: Vec<VoterChange>,
    /// When this round times out and the next begins.
    pub(super) ends_at: Instant,
}

/// The result of counting the grants so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tally {
    Undecided,
    Majority,
    /// No majority of unmarked votes, but every voter has granted.
    Unanimous,
}

impl Replica {
    /// This replica knows no leader: it will start an election after a timeout.
    pub(super) fn wait_for_leader(&mut self, cx: &mut Cx<'_>) {
        // A sole voter has nobody to wait for, unless it is a suspect: that may have lost the notes that made others
        // voters.
        let alone = self.state.voters == [self.state.me]
            && self.is_electable(cx)
            && !self.state.mark.is_suspect();
        let wait = if alone {
            Duration::ZERO
        } else {
            cx.timing.election_timeout + self.election_delay(cx)
        };
        // With the directory offline, the replica could not store its vote.
        let may_start = !self.state.orders.are_abandoned();
        self.role = Role::Follower(Following {
            election_at: may_start.then_some(cx.now + wait),
            lost: Some(LeaderLost::NoLeader),
            ..Following::default()
        });
    }

    /// Enters a higher epoch that `other` is in. The replica becomes a follower without a leader, whatever its role
    /// was.
    ///
    /// Its former leader may not hear from `other`, while this replica's broker still hears the former leader: so this
    /// replica sends it the new epoch.
    pub(crate) fn enter_epoch(&mut self, leader_epoch: LeaderEpoch, other: Voter, cx: &mut Cx<'_>) {
        assert!(
            leader_epoch > self.state.vote.leader_epoch,
            "leader epochs never go back"
        );
        // A leader that resigns tells its voters: one that does not learn of the epoch would follow it for as long as
        // it hears its broker.
        self.resign(Resignation::HigherEpoch, cx);
        self.state.store_vote(leader_epoch, None, cx);
        self.wait_for_leader(cx);
        let former = self.state.notes.last_leader();
        if let Some(former) = former.filter(|former| *former != self.state.me && *former != other)
            && cx.links.reaches(former)
            && !cx.fx.mutant(Mutant::LeavesInSilence)
        {
            self.state.send(former, ReplicaBody::EpochEntered, cx);
        }
    }

    /// The link to the leader's broker has changed: checks whether the leader is lost.
    pub(crate) fn review_leader(&mut self, cx: &mut Cx<'_>) {
        let Role::Follower(following) = &self.role else {
            return;
        };
        let Some(leader) = following.leader else {
            return;
        };
        let Some(lost) = leader_lost(following, leader, cx) else {
            return;
        };
        match lost {
            LeaderLost::Restarted => cx.fx.probe(Probe::IncarnationChanged),
            LeaderLost::DiskStalled => cx.fx.probe(Probe::LeaderDiskStalled),
            LeaderLost::ProcessGone => cx.fx.probe(Probe::LeaderProcessGone),
            LeaderLost::NoLeader
            | LeaderLost::Silent
            | LeaderLost::Resigned
            | LeaderLost::NotRenewed
            | LeaderLost::Transfer => {}
        }
        self.on_leader_lost(lost, cx);
    }

    /// Randomised delay before an election, so that one replica starts first. A replica with holes waits longer than
    /// all others: of equals, one without holes should lead, since every offset can be read from it.
    fn election_delay(&self, cx: &mut Cx<'_>) -> Duration {
        let jitter_max = cx.timing.election_jitter_max;
        let behind_others = if self.state.holes.ranges().is_empty() {
            Duration::ZERO
        } else {
            jitter_max
        };
        behind_others + cx.jitter(jitter_max)
    }

    /// Delay before an election where all voters learn at the same time that their leader is gone. It is so short that
    /// with jitter alone two of them could start at once, so the voters take turns.
    fn election_turn(&self, cx: &mut Cx<'_>) -> Duration {
        let stagger = cx.timing.election_stagger;
        let others = self
            .state
            .voters
            .iter()
            .filter(|&&voter| Some(voter) != self.leader());
        let turn = others.take_while(|&&voter| voter != self.state.me).count();
        let behind_others = if self.state.holes.ranges().is_empty() {
            0
        } else {
            self.state.voters.len()
        };
        let turn = u32::try_from(turn + behind_others).expect("voters are few");
        stagger * turn + cx.jitter(stagger / 2)
    }

    fn on_leader_lost(&mut self, lost: LeaderLost, cx: &mut Cx<'_>) {
        let wait = match lost {
            LeaderLost::ProcessGone | LeaderLost::Restarted => self.election_turn(cx),
            LeaderLost::NoLeader
            | LeaderLost::Silent
            | LeaderLost::DiskStalled
            | LeaderLost::Resigned
            | LeaderLost::NotRenewed
            | LeaderLost::Transfer => self.election_delay(cx),
        };
        let election_at = cx.now + wait;
        let may_start = !self.state.orders.are_abandoned();
        self.role = Role::Follower(Following {
            election_at: may_start.then_some(election_at),
            lost: Some(lost),
            ..Following::default()
        });
    }

    pub(super) fn on_resigned(&mut self, from: Voter, leader_epoch: LeaderEpoch, cx: &mut Cx<'_>) {
        if let Role::Follower(following) = &self.role
            && leader_epoch == self.state.vote.leader_epoch
            && following.leader == Some(from)
            && !cx.fx.mutant(Mutant::IgnoresResignation)
        {
            self.on_leader_lost(LeaderLost::Resigned, cx);
        }
    }

    pub(super) fn on_transfer_leadership(
        &mut self,
        from: Voter,
        leader_epoch: LeaderEpoch,
        cx: &mut Cx<'_>,
    ) {
        let follows =
            matches!(&self.role, Role::Follower(following) if following.leader == Some(from));
        if leader_epoch != self.state.vote.leader_epoch
            || !follows
            || !self.state.is_voter()
            || !self.is_electable(cx)
            || !cx.directory.takes_records()
            || !self.state.can_win_by_majority(cx)
        {
            self.state.notice(
                NoticeKind::Refused("a transfer that this replica cannot take"),
                cx,
            );
            return;
        }
        let epoch = self.state.vote.leader_epoch.next();
        self.state
            .notice(NoticeKind::StartsElection(epoch, LeaderLost::Transfer), cx);
        self.campaign(cx);
    }

    /// Starts the pre-vote: asks the voters whether they would vote for this replica.
    pub(super) fn start_election(&mut self, cx: &mut Cx<'_>) {
        if !self.may_be_needed_to_elect(cx) || !self.is_electable(cx) {
            self.wait_for_leader(cx); // a learner waits for a leader, a replica whose disk is full for a leader that has stored more
            return;
        }
        let epoch = self.state.vote.leader_epoch.next();
        let lost = match &self.role {
            Role::Follower(following) => following.lost.unwrap_or(LeaderLost::NoLeader),
            Role::PreCandidate(_) | Role::Candidate(_) | Role::Leader(_) => LeaderLost::NoLeader,
        };
        self.state
            .notice(NoticeKind::StartsElection(epoch, lost), cx);
        if cx.fx.mutant(Mutant::SkipsPreVote) {
            self.campaign(cx);
            return;
        }
        let campaign = self.new_campaign(cx);
        self.role = Role::PreCandidate(campaign);
        self.request_votes(|_| true, cx);
        self.count_pre_votes(cx);
    }

    /// Whether this replica could lead if it were elected: it may vote, all that is committed of its log is stored, and
    /// its disk takes writes. With a disk that hangs it could only enter epochs in which it cannot lead.
    fn is_electable(&self, cx: &mut Cx<'_>) -> bool {
        let hangs = cx.disk_hangs && !cx.fx.mutant(Mutant::StartsElectionOnHungDisk);
        !self.state.is_unstored() && self.may_vote(cx) && !hangs
    }

    /// Whether an election may need this replica: it is a voter, or was one before a change that is not known to be
    /// committed. If the others have lost that change, none of them has everything that this replica has (Raft
    /// dissertation, 4.2.2). `committed` may be from long ago, from before it became a voter.
    fn may_be_needed_to_elect(&self, cx: &mut Cx<'_>) -> bool {
        let (known, at_creation) = (self.state.committed.notes, &self.state.voters_at_creation);
        let was_voter = self
            .state
            .notes
            .has_voter_since(self.state.me, known, at_creation);
        // The outcome of a lost change is open too, until something after it is committed, whatever this replica has
        // appended itself.
        let is_named = |change: &VoterChange| {
            change.voters.contains(&self.state.me)
                && !change.outcome_is_known_at(self.state.committed)
        };
        self.state.is_voter()
            || was_voter && !cx.fx.mutant(Mutant::LeavesUncommitted)
            || self.state.lost_voter_changes.iter().any(is_named)
    }

    /// Who must grant where the votes of all voters are needed: the voters of this replica's log, and those of changes
    /// that are known to be lost. A replica that lacks such a change cannot know whether it was committed, and without
    /// it this replica might be the only voter.
    fn unanimity_set(&self, cx: &mut Cx<'_>) -> BTreeSet<Voter> {
        let mut unanimity_set: BTreeSet<Voter> = self.state.voters.iter().copied().collect();
        if !cx.fx.mutant(Mutant::IgnoresLostVoterChange) {
            let lost = self.undecided_changes().into_iter();
            unanimity_set.extend(lost.flat_map(|change| change.voters));
        }
        unanimity_set
    }

    fn new_campaign(&self, cx: &mut Cx<'_>) -> Campaign {
        let wait = cx.timing.election_timeout + cx.jitter(cx.timing.election_jitter_max);
        Campaign {
            grants: self.own_grant(cx).into_iter().collect(),
            lost_voter_changes: self.state.lost_voter_changes.clone(),
            ends_at: cx.now + wait,
        }
    }

    /// Enters the next epoch as a candidate: votes for itself, and asks for votes once that vote is durable.
    fn campaign(&mut self, cx: &mut Cx<'_>) {
        let mut campaign = self.new_campaign(cx);
        campaign.grants.clear(); // its own vote counts once it is durable
        self.role = Role::Candidate(campaign);
        let leader_epoch = self.state.vote.leader_epoch.next();
        let voted_for = Some(self.state.me);
        self.state.store_vote(leader_epoch, voted_for, cx);
        if cx.fx.mutant(Mutant::AsksBeforeVoteDurable) {
            self.on_vote_stored(self.state.vote, cx);
        }
    }

    /// The store reports a vote durable: it may be sent only from here on.
    pub(super) fn on_vote_stored(&mut self, vote: Vote, cx: &mut Cx<'_>) {
        if vote != self.state.vote {
            return; // a vote of an earlier epoch
        }
        let Some(voted_for) = vote.voted_for else {
            return;
        };
        if voted_for != self.state.me {
            if !cx.fx.mutant(Mutant::AnswersVoteBeforeDurable) {
                let reply = self.vote_reply(vote.leader_epoch, None, cx);
                self.state
                    .send(voted_for, ReplicaBody::VoteReply(reply), cx);
            }
            return;
        }
        let mine = self.own_grant(cx);
        let Role::Candidate(campaign) = &mut self.role else {
            return;
        };
        campaign.grants.extend(mine);
        self.request_votes(|_| true, cx);
        self.count_votes(cx);
    }

    pub(super) fn on_pre_vote(
        &mut self,
        from: Voter,
        leader_epoch: LeaderEpoch,
        candidate: VoteRequest,
        cx: &mut Cx<'_>,
    ) {
        let VoteRequest {
            end,
            lost_voter_changes,
        } = candidate;
        // The vote itself would have to be durable before it counts, which a disk that hangs cannot do.
        let hangs = cx.disk_hangs && !cx.fx.mutant(Mutant::PromisesOnHungDisk);
        let refusal = if leader_epoch <= self.state.vote.leader_epoch {
            Some(VoteRefusal::EpochOver)
        } else if !self.may_vote(cx) {
            Some(VoteRefusal::MayNotVote)
        } else if hangs {
            Some(VoteRefusal::DiskHangs)
        } else if !self.state.is_up_to_date(end, cx) {
            Some(VoteRefusal::LogBehind)
        } else if self.has_leader(cx) && !cx.fx.mutant(Mutant::GrantsPreVoteUnderLeader) {
            Some(VoteRefusal::HasLeader)
        } else {
            None
        };
        let reply = self.vote_reply(leader_epoch, refusal, cx);
        self.state.send(from, ReplicaBody::PreVoteReply(reply), cx);
        if refusal.is_none() {
            self.defer_election(cx);
        } else if let Some(mut leader) = self.leader_mut() {
            leader.probe_follower(from, cx);
        }
        if !self.state.is_up_to_date(end, cx) {
            self.state.learn_lost_voter_changes(&lost_voter_changes);
            // The candidate has no leader either, and may have refused this replica's pre-vote earlier because it had
            // one.
            self.resend_vote_request(from.broker, cx);
        }
    }

    /// The candidate that this replica has just granted a pre-vote will ask for votes once its own is durable: an
    /// election by this replica meanwhile would split the votes.
    fn defer_election(&mut self, cx: &mut Cx<'_>) {
        let later = cx.now + cx.timing.election_jitter_max + self.election_turn(cx);
        if let Role::Follower(following) = &mut self.role
            && let Some(election_at) = &mut following.election_at
        {
            *election_at = later.max(*election_at);
        }
    }

    pub(super) fn on_pre_vote_reply(&mut self, from: Voter, reply: VoteReply, cx: &mut Cx<'_>) {
        if !matches!(self.role, Role::PreCandidate(_)) {
            return;
        }
        if self.take_grant(from, reply, cx) {
            self.count_pre_votes(cx);
        } else {
            cx.fx.probe(Probe::PreVoteLost);
        }
    }

    /// Records a grant, and asks the voters that the reply adds to the unanimity set. Returns whether the grant counts.
    fn take_grant(&mut self, from: Voter, reply: VoteReply, cx: &mut Cx<'_>) -> bool {
        let is_voter = self.state.counts_as_voter(from, cx);
        let asked = self.unanimity_set(cx);
        let (Role::PreCandidate(campaign) | Role::Candidate(campaign)) = &mut self.role else {
            return false;
        };
        if !reply.is_granted() || !is_voter && !asked.contains(&from) {
            return false;
        }
        // A replica that only a lost change names as voter is needed for unanimity, but does not count towards a
        // majority.
        campaign.grants.insert(from, reply.marked || !is_voter);
        let known = &mut campaign.lost_voter_changes;
        for change in reply.lost_voter_changes {
            if !known.contains(&change) {
                known.push(change);
            }
        }
        let mine = self.own_grant(cx);
        if let Role::PreCandidate(campaign) | Role::Candidate(campaign) = &mut self.role {
            campaign.grants.extend(mine);
        }
        self.request_votes(|voter| !asked.contains(&voter), cx);
        true
    }

    /// This replica's vote for itself and whether it is marked; `None` where it does not count.
    fn own_grant(&self, cx: &mut Cx<'_>) -> Option<(Voter, bool)> {
        let counts = self.unanimity_set(cx).contains(&self.state.me);
        let marked = !self.state.can_win_by_majority(cx) || !self.state.is_voter();
        counts.then_some((self.state.me, marked))
    }

    /// The voter changes that are known to be lost and whose outcome this log does not decide.
    fn undecided_changes(&self) -> Vec<VoterChange> {
        let known = match &self.role {
            Role::PreCandidate(campaign) | Role::Candidate(campaign) => {
                &campaign.lost_voter_changes
            }
            Role::Follower(_) | Role::Leader(_) => &self.state.lost_voter_changes,
        };
        let unsettled = known
            .iter()
            .filter(|change| !change.outcome_is_known_at(self.state.end));
        unsettled.cloned().collect()
    }

    pub(super) fn on_vote(
        &mut self,
        from: Voter,
        leader_epoch: LeaderEpoch,
        VoteRequest { end, .. }: VoteRequest,
        cx: &mut Cx<'_>,
    ) {
        // If the epoch is above this replica's own, `receive` has entered it.
        let same_epoch = leader_epoch == self.state.vote.leader_epoch;
        let free = self.state.vote.voted_for.is_none() || cx.fx.mutant(Mutant::VotesTwice);
        let again = self.state.vote.voted_for == Some(from);
        let refusal = match &self.role {
            _ if !same_epoch => Some(VoteRefusal::EpochOver),
            Role::Leader(_) => Some(VoteRefusal::HasLeader),
            Role::Follower(following) if following.leader.is_some() => Some(VoteRefusal::HasLeader),
            Role::Candidate(_) => Some(VoteRefusal::HasVoted),
            Role::Follower(_) | Role::PreCandidate(_) if !self.may_vote(cx) => {
                Some(VoteRefusal::MayNotVote)
            }
            Role::Follower(_) | Role::PreCandidate(_) if !free && !again => {
                Some(VoteRefusal::HasVoted)
            }
            Role::Follower(_) | Role::PreCandidate(_) => {
                let is_behind = !self.state.is_up_to_date(end, cx);
                is_behind.then_some(VoteRefusal::LogBehind)
            }
        };
        if refusal.is_some() {
            let reply = self.vote_reply(leader_epoch, refusal, cx);
            self.state.send(from, ReplicaBody::VoteReply(reply), cx);
            return;
        }
        let vote = Vote {
            leader_epoch,
            voted_for: Some(from),
        };
        if again && self.state.orders.is_stored(vote)
            || cx.fx.mutant(Mutant::AnswersVoteBeforeDurable)
        {
            let reply = self.vote_reply(leader_epoch, None, cx);
            self.state.send(from, ReplicaBody::VoteReply(reply), cx);
        }
        if !again {
            self.state.store_vote(leader_epoch, vote.voted_for, cx);
        }
        self.wait_for_leader(cx);
    }

    pub(super) fn on_vote_reply(
        &mut self,
        from: Voter,
        leader_epoch: LeaderEpoch,
        reply: VoteReply,
        cx: &mut Cx<'_>,
    ) {
        let is_candidate = matches!(self.role, Role::Candidate(_));
        let same_epoch = leader_epoch == self.state.vote.leader_epoch;
        if is_candidate && same_epoch && self.take_grant(from, reply, cx) {
            self.count_votes(cx);
        }
    }

    fn vote_reply(
        &self,
        election: LeaderEpoch,
        refusal: Option<VoteRefusal>,
        cx: &mut Cx<'_>,
    ) -> VoteReply {
        VoteReply {
            election,
            refusal,
            marked: self.state.marks_its_vote(cx),
            lost_voter_changes: self.undecided_changes(),
        }
    }

    fn vote_request(&self) -> VoteRequest {
        VoteRequest {
            end: self.state.end,
            lost_voter_changes: self.undecided_changes(),
        }
    }

    /// Whether this replica has a vote, for itself or others. It has none while it is new and has not caught up: an
    /// earlier copy may have voted and been deleted, and others that do not know of that still count it among all
    /// voters, as the new copy does itself while its log names old voters. Nor has a suspect whose creation the journal
    /// has lost (and with it perhaps the mark [`Mark::New`]), unless its log or a lost change in its journal makes it a
    /// voter.
    pub(super) fn may_vote(&self, cx: &mut Cx<'_>) -> bool {
        let has_vote = match self.state.mark {
            Mark::Clean | Mark::Volatile => true,
            Mark::Suspect => {
                !self.state.creation_lost || self.unanimity_set(cx).contains(&self.state.me)
            }
            Mark::New => false,
        };
        has_vote || cx.fx.mutant(Mutant::VotesMadeAgain)
    }

    /// Whether this replica knows a leader that is not lost; as leader itself, whether it still has a quorum.
    fn has_leader(&self, cx: &Cx<'_>) -> bool {
        match &self.role {
            Role::Leader(leading) => leading.has_quorum(&self.state, cx),
            Role::Follower(following) => following
                .leader
                .is_some_and(|leader| leader_lost(following, leader, cx).is_none()),
            Role::PreCandidate(_) | Role::Candidate(_) => false,
        }
    }

    fn tally(&self, campaign: &Campaign, cx: &mut Cx<'_>) -> Tally {
        let majority = self.state.voters.len() / 2 + 1;
        let unmarked = campaign.grants.values().filter(|&&marked| !marked).count();
        // A suspect cannot win by a majority: it wins by all voters or not at all.
        if unmarked >= majority && self.state.can_win_by_majority(cx) {
            Tally::Majority
        } else if self
            .unanimity_set(cx)
            .iter()
            .all(|voter| campaign.grants.contains_key(voter))
            && !cx.fx.mutant(Mutant::AllVotersDoNotSuffice)
        {
            Tally::Unanimous
        } else {
            Tally::Undecided
        }
    }

    /// A voter can be reached again: the request for its vote may have been lost, so it is sent again.
    pub(super) fn resend_vote_request(&mut self, broker: BrokerId, cx: &mut Cx<'_>) {
        let asks_later = matches!(self.role, Role::Candidate(_))
            && !self.state.orders.is_stored(self.state.vote);
        if !asks_later {
            self.request_votes(|voter| voter.broker == broker, cx);
        }
    }

    /// Sends the request of the current round to the replicas in the unanimity set that `among` selects.
    fn request_votes(&self, among: impl Fn(Voter) -> bool, cx: &mut Cx<'_>) {
        let (leader_epoch, body) = match &self.role {
            Role::PreCandidate(_) => (
                self.state.vote.leader_epoch.next(),
                ReplicaBody::PreVote(self.vote_request()),
            ),
            Role::Candidate(_) => {
                let body = ReplicaBody::Vote(self.vote_request());
                (self.state.vote.leader_epoch, body)
            }
            Role::Follower(_) | Role::Leader(_) => return,
        };
        for voter in self.unanimity_set(cx) {
            if voter != self.state.me && among(voter) {
                self.state.send_in(leader_epoch, voter, body.clone(), cx);
            }
        }
    }

    fn count_pre_votes(&mut self, cx: &mut Cx<'_>) {
        let Role::PreCandidate(campaign) = &self.role else {
            return;
        };
        match self.tally(campaign, cx) {
            Tally::Undecided => {}
            Tally::Majority | Tally::Unanimous => self.campaign(cx),
        }
    }

    fn count_votes(&mut self, cx: &mut Cx<'_>) {
        let Role::Candidate(campaign) = &self.role else {
            return;
        };
        let epoch = self.state.vote.leader_epoch;
        match self.tally(campaign, cx) {
            Tally::Undecided => {}
            Tally::Majority => {
                self.state.notice(NoticeKind::Leads(epoch), cx);
                self.become_leader(cx);
            }
            Tally::Unanimous => {
                cx.fx.probe(Probe::WonByAllVoters);
                self.state
                    .notice(NoticeKind::LeadsWithPossibleLoss(epoch), cx);
                if self.state.mark.is_suspect() {
                    // No voter's log has more than this one, so it defines the partition's log from here on.
                    self.state.set_mark(Mark::Clean, cx);
                }
                self.become_leader(cx);
            }
        }
    }
}

/// How a follower has lost its leader; `None` while it has not.
fn leader_lost(following: &Following, leader: Voter, cx: &Cx<'_>) -> Option<LeaderLost> {
    let Some(link) = cx.links.get(leader.broker) else {
        return Some(LeaderLost::Silent);
    };
    let same_start = link
        .incoming
        .is_some_and(|peer| peer.voter() == leader && peer.incarnation == following.incarnation);
    if !same_start && !cx.fx.mutant(Mutant::IgnoresIncarnation) {
        return Some(LeaderLost::Restarted);
    }
    if link.process_has_ended() && !cx.fx.mutant(Mutant::WaitsForSilence) {
        return Some(LeaderLost::ProcessGone);
    }
    let hangs = cx.links.disk_hangs(leader.broker, cx.timing);
    if hangs && !cx.fx.mutant(Mutant::IgnoresStalledDisk) {
        return Some(LeaderLost::DiskStalled);
    }
    // An announcement from a session that has been replaced holds only until the leader has had time to renew it.
    let renewed = link.session == following.session || cx.fx.mutant(Mutant::TrustsWithoutRenewal);
    let (last_contact, lost) = if renewed {
        (link.last_contact, LeaderLost::Silent)
    } else {
        (link.session_since, LeaderLost::NotRenewed)
    };
    let silent = cx.now.since(last_contact) >= cx.timing.election_timeout;
    (silent && !cx.fx.mutant(Mutant::TrustsForEver)).then_some(lost)
}
