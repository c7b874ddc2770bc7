//! The follower: appending the leader's entries and acknowledging them.

use crate::effect::NoticeKind;
use crate::hooks::{Mutant, Probe};
use crate::ids::{LeaderEpoch, TopicPartition, Voter};
use crate::log::{Entry, Position};
use crate::peer::{Append, AppendReply, DirectoryState, ReplicaBody};
use crate::store::{Flush, Mark, OrderKind};

use super::election::Following;
use super::state::ReplicaState;
use super::{Cx, Replica, Role, TAIL_WEIGHT_MAX};

/// Bytes of metadata records that may wait for the disk, whatever else waits for it.
const METADATA_UNWRITTEN_BYTES_MAX: usize = 8 << 20;

impl Replica {
    /// Handles an append, with or without entries, from a leader (Raft 5.3).
    pub(super) fn on_append(
        &mut self,
        from: Voter,
        leader_epoch: LeaderEpoch,
        append: Append,
        cx: &mut Cx<'_>,
    ) {
        if leader_epoch < self.state.vote.leader_epoch {
            // The reply carries this replica's epoch, which is all that a deposed leader needs to know.
            self.state.refuse_append(from, append.previous, cx);
            return;
        }
        assert!(!self.is_leader(), "an epoch has one leader");
        if self.state.orders.are_abandoned() {
            // The directory is offline, so nothing will be written; memory keeps what is not committed, and a bounded
            // rest.
            self.state.tail.trim(self.state.committed, TAIL_WEIGHT_MAX);
        }
        self.follow(from, cx);
        let previous = append.previous;
        if !self.state.notes.contains(previous, self.state.end)
            && !cx.fx.mutant(Mutant::SkipsPreviousEntryCheck)
        {
            self.state.refuse_append(from, previous, cx);
            return;
        }
        let Some(reached) = self.take_entries(previous, append.entries, append.flush, cx) else {
            return;
        };
        let Role::Follower(following) = &mut self.role else {
            unreachable!("a replica that takes entries follows");
        };
        let verified = following
            .verified
            .map_or(reached, |before| before.max(reached));
        following.verified = Some(verified);
        if append.probe {
            following.acknowledged = None;
        }
        let committed = append.committed.min(verified);
        if committed > self.state.committed {
            self.state.commit_to(committed);
        }
        self.try_clear_suspect(append.leader_end, cx);
        self.acknowledge(cx);
    }

    /// Follows the leader of this epoch, which has sent an append over the present session.
    fn follow(&mut self, leader: Voter, cx: &mut Cx<'_>) {
        let link = cx.links.get(leader.broker);
        let incarnation = cx.links.incarnation(leader.broker).unwrap_or_default();
        let session = link.map_or(0, |link| link.session);
        if let Role::Follower(following) = &mut self.role
            && following.leader == Some(leader)
            && following.incarnation == incarnation
        {
            following.session = session;
            return;
        }
        self.state.notice(
            NoticeKind::Follows(self.state.vote.leader_epoch, leader.broker),
            cx,
        );
        self.role = Role::Follower(Following {
            leader: Some(leader),
            incarnation,
            session,
            ..Following::default()
        });
    }

    /// Appends the entries that this log does not have, after truncating what differs. Returns the position up to which
    /// this log equals the leader's; `None` if this replica must not follow that leader.
    fn take_entries(
        &mut self,
        previous: Position,
        entries: Vec<Entry>,
        flush: Flush,
        cx: &mut Cx<'_>,
    ) -> Option<Position> {
        let mut at = previous;
        let mut entries = entries.into_iter().peekable();
        while let Some(after) = entries.peek().map(|entry| entry.position_after(at))
            && self.state.notes.contains(after, self.state.end)
        {
            at = after;
            entries.next();
        }
        if entries.peek().is_none() {
            return Some(at);
        }
        if at < self.state.committed && !self.state.is_voter() {
            // The voters have elected a leader without what this learner knows to be committed, so they have all lost
            // it, and a learner has no vote to prevent that. It keeps its log.
            if let Role::Follower(following) = &mut self.role
                && !std::mem::replace(&mut following.loss_reported, true)
            {
                let what = NoticeKind::CommittedLost(self.state.committed);
                self.state.notice(what, cx);
            }
            return None;
        }
        if at < self.state.end && !cx.fx.mutant(Mutant::KeepsDivergentTail) {
            self.state.truncate_to(at, cx);
        }
        let from = self.state.end;
        // Records that do not fit are dropped here, and the leader sends them again once there is room. Notes need only
        // the journal.
        let (unstored, takes_records) = (
            self.state.is_unstored(),
            self.state.has_room_for_records(cx),
        );
        let entries: Vec<Entry> = entries
            .take_while(|entry| !unstored && (takes_records || matches!(entry, Entry::Note(_))))
            .collect();
        if entries.is_empty() {
            return Some(at);
        }
        for entry in &entries {
            self.state.push_entry(entry.clone(), cx);
        }
        self.state.order_append(from, entries, flush, cx);
        Some(self.state.end)
    }

    /// Acknowledges to the leader how far this log equals its own and whether this replica is eligible, if that differs
    /// from the last acknowledgement.
    pub(super) fn acknowledge(&mut self, cx: &mut Cx<'_>) {
        let appended = self.state.appended();
        let trusted = !self.state.mark.is_suspect() || cx.fx.mutant(Mutant::PromotesSuspects);
        // A replica that may soon be deleted must not become a voter. If the metadata want it again after the deletion,
        // the leader could otherwise make it one by an acknowledgement from before.
        let kept = !self.state.unwanted || cx.fx.mutant(Mutant::EligibleWhileUnwanted);
        let eligible = self.state.holes.ranges().is_empty() && trusted && kept;
        let Role::Follower(following) = &mut self.role else {
            return;
        };
        let (Some(leader), Some(verified)) = (following.leader, following.verified) else {
            return; // the logs have not been compared yet
        };
        let appended = if self.state.orders.are_abandoned() {
            verified // the log is in memory only
        } else {
            appended.min(verified)
        };
        let mut durable = self.state.orders.durable().min(verified);
        if cx.fx.mutant(Mutant::AcknowledgesBeforeDurable) {
            durable = verified;
        }
        if following.acknowledged == Some((appended, durable, eligible)) {
            return;
        }
        following.acknowledged = Some((appended, durable, eligible));
        let reply = AppendReply::Matched {
            verified,
            appended,
            durable,
            eligible,
        };
        self.state.send(leader, ReplicaBody::AppendReply(reply), cx);
    }

    /// Sets whether the broker wants to delete this replica, which it does once the leader has released it.
    pub(crate) fn set_unwanted(&mut self, unwanted: bool, cx: &mut Cx<'_>) {
        if self.state.unwanted != unwanted {
            self.state.unwanted = unwanted;
            self.acknowledge(cx);
        }
    }

    /// Clears a suspect once it is durable up to the log end of the first leader that it has followed in this
    /// incarnation, as of then: whatever this replica helped to acknowledge is in that log.
    fn try_clear_suspect(&mut self, leader_end: Position, cx: &mut Cx<'_>) {
        if !self.state.mark.is_suspect() || self.state.orders.is_clearing_mark() {
            return;
        }
        let target = *self.state.suspect_until.get_or_insert(leader_end);
        let Role::Follower(Following {
            verified: Some(verified),
            ..
        }) = self.role
        else {
            return;
        };
        let durable = self.state.orders.durable().min(verified);
        if durable >= target || cx.fx.mutant(Mutant::ClearsSuspectEarly) {
            self.state.set_mark(Mark::Clean, cx);
        }
    }

    /// The durable position has moved: checks whether that clears a suspect.
    pub(super) fn review_suspect(&mut self, cx: &mut Cx<'_>) {
        if let Some(target) = self.state.suspect_until {
            self.try_clear_suspect(target, cx);
        }
    }
}

impl ReplicaState {
    /// Replies that this log does not have `previous`, with a hint where the leader should probe next.
    fn refuse_append(&self, leader: Voter, previous: Position, cx: &mut Cx<'_>) {
        let hint = self.notes.common(previous, self.end);
        let reply = AppendReply::Diverged { previous, hint };
        self.send(leader, ReplicaBody::AppendReply(reply), cx);
    }

    /// Truncates the log to `to`, in memory and on disk: the leader of this epoch does not have the rest, so it was
    /// never committed.
    pub(super) fn truncate_to(&mut self, to: Position, cx: &mut Cx<'_>) {
        assert!(
            to >= self.committed,
            "nothing below the high watermark is ever truncated"
        );
        cx.fx.probe(Probe::TruncatedDivergentTail);
        self.notice(NoticeKind::Truncates(to), cx);
        self.drop_after(to, cx);
        self.orders
            .push(OrderKind::Truncate { to }, to, self.id, cx);
    }

    /// Drops everything after `to` from memory.
    pub(super) fn drop_after(&mut self, to: Position, cx: &mut Cx<'_>) {
        self.notes.truncate(to.notes);
        self.tail.truncate(to);
        if !cx.fx.mutant(Mutant::KeepsProducerStateOnTruncation) {
            self.producers.truncate_to(to.end_offset);
        }
        self.holes.truncate_to(to.end_offset);
        if !cx.fx.mutant(Mutant::ReadsWhatIsDropped) {
            // Reads in progress for peers' fills may return what is dropped. A peer without a reply sends its request
            // again.
            cx.queries.forget_fills(self.id);
        }
        self.end = to;
        if !cx.fx.mutant(Mutant::KeepsTruncatedVoters) {
            self.refresh_voters();
        }
    }

    /// Whether this follower has room for records. Records of the metadata log may use the store's reserve, since
    /// deleting a topic takes one. They are few, so they need not wait while other logs' records queue for the disk.
    fn has_room_for_records(&self, cx: &Cx<'_>) -> bool {
        match cx.directory {
            DirectoryState::Online => true,
            DirectoryState::Behind if cx.fx.mutant(Mutant::TakesWithoutBound) => true,
            DirectoryState::Behind => {
                self.id == TopicPartition::METADATA
                    && self.orders.unwritten_bytes() < METADATA_UNWRITTEN_BYTES_MAX
            }
            DirectoryState::Full | DirectoryState::Offline => self.id == TopicPartition::METADATA,
        }
    }
}
