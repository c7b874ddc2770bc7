//! Who leads: trust in a leader, pre-vote, vote.
//!
//! A follower trusts its leader while it hears the leader's *broker*, in the incarnation that made the announcement and
//! with a disk that does not hang; no partition has a timer of its own while all is well. When trust is lost it
//! asks first whether it would win (pre-vote, Raft dissertation 9.6), so that a replica that merely cannot hear
//! does not depose a leader whom the others trust.
//!
//! A *suspect* may have lost what it acknowledged. Its votes are marked. A candidate wins with a majority of
//! unmarked votes, or with the votes of *all* voters: then whoever holds an acknowledged record has been asked,
//! and the longest log that is left has won (counter-example 4).

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

/// A replica that takes entries from a leader, or waits for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Following {
    /// Who leads the replica's epoch, once it has said so.
    pub(super) leader: Option<Voter>,
    /// The start of the leader's broker that made the announcement.
    pub(super) incarnation: Incarnation,
    /// The incoming link on which it last made the announcement.
    pub(super) session: u64,
    /// This replica's log equals the leader's up to here; `None` until that has been found out.
    pub(super) verified: Option<Position>,
    /// What was last acknowledged to it: appended, durable, and whether it is eligible.
    pub(super) acknowledged: Option<(Position, Position, bool)>,
    /// It has been told that this leader has lost what this learner has committed.
    pub(super) loss_reported: bool,
    /// When this replica will start an election; none while it trusts the leader.
    pub(super) election_at: Option<Instant>,
    /// Why it will.
    pub(super) lost: Option<LeaderLost>,
}

/// A round of asking for votes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Campaign {
    /// Who has granted, and whether the grant is marked.
    grants: BTreeMap<Voter, bool>,
    /// The changes of the voters that this replica, or one that has granted, knows to be lost.
    lost_voter_changes: Vec<VoterChange>,
    /// When the round is given up and begun anew.
    pub(super) ends_at: Instant,
}

/// What the grants so far amount to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tally {
    Undecided,
    Majority,
    /// Only with marked votes, but with everybody's.
    Unanimous,
}

impl Replica {
    /// Nobody leads as far as this replica knows: it will start an election after a timeout.
    pub(super) fn wait_for_leader(&mut self, cx: &mut Cx<'_>) {
        // A sole voter has nobody to wait for. A suspect may have lost the notes that made others voters besides.
        let alone = self.state.voters == [self.state.me]
            && self.is_electable(cx)
            && !self.state.mark.is_suspect();
        let wait = if alone {
            Duration::ZERO
        } else {
            cx.timing.election_timeout + self.election_delay(cx)
        };
        // Without a directory nothing that an election needs can be stored.
        let may_start = !self.state.orders.are_abandoned();
        self.role = Role::Follower(Following {
            election_at: may_start.then_some(cx.now + wait),
            lost: Some(LeaderLost::NoLeader),
            ..Following::default()
        });
    }

    /// Takes a higher epoch, which another replica is in. Whatever this replica was, it is a follower of nobody yet.
    ///
    /// Its former leader may not reach that other, and goes on being heard by this replica's broker: it is told.
    pub(crate) fn enter_epoch(&mut self, leader_epoch: LeaderEpoch, other: Voter, cx: &mut Cx<'_>) {
        assert!(
            leader_epoch > self.state.vote.leader_epoch,
            "leader epochs never go back"
        );
        // Whoever does not hear of the epoch would trust it for as long as it hears its broker.
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

    /// Something is different about the broker of this replica's leader: does it still trust it?
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

    /// How long a replica waits before it starts an election, so that one is first. A damaged one lets all others go first: of equals
    /// one that is whole should lead, who can be read everywhere.
    fn election_delay(&self, cx: &mut Cx<'_>) -> Duration {
        let jitter_max = cx.timing.election_jitter_max;
        let behind_others = if self.state.holes.ranges().is_empty() {
            Duration::ZERO
        } else {
            jitter_max
        };
        behind_others + cx.jitter(jitter_max)
    }

    /// How long a replica waits before it starts an election, where all voters have learnt at the same time that their leader leads
    /// no more: so short that a drawn time alone would let two of them start one at once, so each has its turn.
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

    /// Asks whether this replica would be elected.
    pub(super) fn start_election(&mut self, cx: &mut Cx<'_>) {
        if !self.may_be_needed_to_elect(cx) || !self.is_electable(cx) {
            self.wait_for_leader(cx); // a learner waits to be found, a full disk for whoever has stored more
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

    /// Whether this replica could lead, if it were elected: it has a vote for itself, its log is on its disk, and that takes
    /// the vote. A disk that hangs does not, and nobody is helped by epochs that cannot be led.
    fn is_electable(&self, cx: &mut Cx<'_>) -> bool {
        let hangs = cx.disk_hangs && !cx.fx.mutant(Mutant::StartsElectionOnHungDisk);
        !self.state.is_unstored() && self.may_vote(cx) && !hangs
    }

    /// Whether it may take this replica to elect a leader: it is a voter, or was one before a change that is not known to
    /// be committed. Where others have lost that change, none of them has all that this replica has (Raft dissertation,
    /// 4.2.2). What is known to be committed may be long ago, before it was one at all.
    fn may_be_needed_to_elect(&self, cx: &mut Cx<'_>) -> bool {
        let (known, at_creation) = (self.state.committed.notes, &self.state.voters_at_creation);
        let was_voter = self
            .state
            .notes
            .has_voter_since(self.state.me, known, at_creation);
        // Nor is it known what becomes of a change that others have lost while nothing behind it is committed, whatever this
        // replica has appended itself.
        let is_named = |change: &VoterChange| {
            change.voters.contains(&self.state.me)
                && !change.outcome_is_known_at(self.state.committed)
        };
        self.state.is_voter()
            || was_voter && !cx.fx.mutant(Mutant::LeavesUncommitted)
            || self.state.lost_voter_changes.iter().any(is_named)
    }

    /// Who must grant where the votes of all voters are needed: those of this replica's log, and those of changes that are
    /// known to be lost. Whether such a change was committed nobody knows who lacks it, and by the voters before it this
    /// replica may be the only one.
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

    /// Starts an election in the next epoch: votes for itself, durably, then asks.
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

    /// A vote is durable: only now may it be told.
    pub(super) fn on_vote_stored(&mut self, vote: Vote, cx: &mut Cx<'_>) {
        if vote != self.state.vote {
            return; // of an epoch that is over
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
        // The vote would have to be on the disk before it counts.
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
            // It has no leader either, and may have said otherwise when this replica asked.
            self.resend_vote_request(from.broker, cx);
        }
    }

    /// Another is about to ask for votes, as soon as its own is on its disk: an election meanwhile would split them.
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

    /// Records a grant, and asks any voter that the reply newly names. Whether it counted.
    fn take_grant(&mut self, from: Voter, reply: VoteReply, cx: &mut Cx<'_>) -> bool {
        let is_voter = self.state.counts_as_voter(from, cx);
        let asked = self.unanimity_set(cx);
        let (Role::PreCandidate(campaign) | Role::Candidate(campaign)) = &mut self.role else {
            return false;
        };
        if !reply.is_granted() || !is_voter && !asked.contains(&from) {
            return false;
        }
        // A voter by a lost change alone is needed for unanimity, and does not count towards a majority.
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

    /// What this replica's own vote for itself is worth, where it counts.
    fn own_grant(&self, cx: &mut Cx<'_>) -> Option<(Voter, bool)> {
        let counts = self.unanimity_set(cx).contains(&self.state.me);
        let marked = !self.state.can_win_by_majority(cx) || !self.state.is_voter();
        counts.then_some((self.state.me, marked))
    }

    /// The changes of the voters that are known to be lost, and of which this log does not tell what has become.
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
        // `receive` has entered the epoch if it is above this replica's own.
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

    /// Whether this replica has a vote to give, be it to itself: none where it was made anew and has not caught up. It may
    /// have been one that was deleted and has voted before, and whoever does not know of that counts it among all voters, as
    /// it does itself by the voters of long ago.
    /// Nor has a suspect whose creation the journal has lost, and that mark with it, unless its log makes it a voter, or a
    /// change that its journal knows.
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

    /// Whether there is a leader whom this replica has no reason to doubt.
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
        // A suspect's own word is no part of a majority; it wins with everybody's or not at all.
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

    /// A voter can be reached (again): ask it what was perhaps lost.
    pub(super) fn resend_vote_request(&mut self, broker: BrokerId, cx: &mut Cx<'_>) {
        let asks_later = matches!(self.role, Role::Candidate(_))
            && !self.state.orders.is_stored(self.state.vote);
        if !asks_later {
            self.request_votes(|voter| voter.broker == broker, cx);
        }
    }

    /// Asks those for their votes whose votes may be needed and who are among these.
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
                    // Nobody has more than this log: it is the partition's truth from here on.
                    self.state.set_mark(Mark::Clean, cx);
                }
                self.become_leader(cx);
            }
        }
    }
}

/// Why a follower has no reason to trust its leader any more; `None` while it has none to doubt it.
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
    // An announcement made on a connection that has been replaced holds only until the leader could have renewed it.
    let renewed = link.session == following.session || cx.fx.mutant(Mutant::TrustsWithoutRenewal);
    let (last_contact, lost) = if renewed {
        (link.last_contact, LeaderLost::Silent)
    } else {
        (link.session_since, LeaderLost::NotRenewed)
    };
    let silent = cx.now.since(last_contact) >= cx.timing.election_timeout;
    (silent && !cx.fx.mutant(Mutant::TrustsForEver)).then_some(lost)
}
