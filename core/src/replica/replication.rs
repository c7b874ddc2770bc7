//! Replication: sending followers what they lack, and hearing what they have.
//!
//! Entries go to the followers and to the leader's own disk at the same time; the leader's disk is one of the
//! majority like any other, and need not be among it.

use std::ops::ControlFlow;

use crate::effect::Resignation;
use crate::hooks::{Mutant, Probe};
use crate::ids::{BrokerId, LeaderEpoch, Offset, TopicPartition, Voter};
use crate::links::Links;
use crate::log::{Entry, Position};
use crate::peer::{Append, AppendReply, ReplicaBody};
use crate::queries::Waiter;
use crate::record::Batch;
use crate::store::{QueryId, QueryKind};

use super::leader::LeaderView;
use super::state::ReplicaState;
use super::{Cx, Replica};

/// Bytes of entries in one message to a follower, unless one entry is larger.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

impl Replica {
    /// [`LeaderView::on_read`], if it leads.
    pub(crate) fn on_read(
        &mut self,
        id: QueryId,
        follower: Voter,
        batches: Option<Vec<Batch>>,
        cx: &mut Cx<'_>,
    ) {
        if let Some(mut leader) = self.leader_mut() {
            leader.on_read(id, follower, batches, cx);
        }
    }

    /// [`LeaderView::on_peer_has_room`], if it leads.
    pub(crate) fn on_peer_has_room(&mut self, broker: BrokerId, cx: &mut Cx<'_>) {
        if let Some(mut leader) = self.leader_mut() {
            leader.on_peer_has_room(broker, cx);
        }
    }
}

impl ReplicaState {
    /// Whether this follower is sent anything: not on a directory that its broker has called offline, but what its
    /// clients are answered from.
    fn is_served(&self, follower: Voter, links: &Links) -> bool {
        self.id == TopicPartition::METADATA || !links.is_offline(follower)
    }

    /// Reads batches from disk for a peer that has lost them.
    pub(super) fn read_disk_for_fill(
        &self,
        peer: Voter,
        offset: Offset,
        end: Offset,
        cx: &mut Cx<'_>,
    ) {
        self.read_disk(offset, end, Waiter::Fill(peer, offset), cx);
    }

    fn read_disk(&self, offset: Offset, end: Offset, waiter: Waiter, cx: &mut Cx<'_>) -> QueryId {
        let bytes_max = u32::try_from(MESSAGE_BYTES_MAX).expect("a constant that fits");
        let end = self.readable_end(end, cx.fx);
        let kind = QueryKind::Read {
            offset,
            end,
            bytes_max,
        };
        cx.queries.ask(self.id, kind, waiter, cx.fx)
    }
}

impl LeaderView<'_> {
    /// Sends every follower what it lacks and has room for.
    pub(super) fn replicate(&mut self, cx: &mut Cx<'_>) {
        let followers: Vec<Voter> = self.leading.progress.keys().copied().collect();
        for follower in followers {
            self.replicate_to(follower, cx);
        }
    }

    fn replicate_to(&mut self, follower: Voter, cx: &mut Cx<'_>) {
        while cx.links.reaches(follower) && self.state.is_served(follower, cx.links) {
            let committed = self.exposed_committed();
            let directory = cx.links.directory(follower.broker);
            let is_full = !directory.takes_records() && self.state.id != TopicPartition::METADATA;
            let Some(progress) = self.leading.progress.get_mut(&follower) else {
                return;
            };
            if !progress.can_send() {
                return;
            }
            let next = progress.next;
            let eager = self.state.config.eager
                && progress.replicating
                && progress.told_committed < committed;
            let note = self.state.notes.get(next.notes);
            let is_note = note.is_some_and(|note| note.offset == next.end_offset);
            // A disk that is full or behind takes notes; records wait until it has room, and who lags is looked after.
            let only_probes = !progress.replicating && progress.is_window_full();
            if next == self.state.end || only_probes || is_full && !is_note {
                if !progress.replicating || eager {
                    self.send_entries(follower, Vec::new(), cx);
                } else if progress.told_committed < committed {
                    self.leading
                        .schedule_tick(cx.now + cx.timing.heartbeat_interval);
                } else if next != self.state.end {
                    self.leading
                        .schedule_tick(cx.now + cx.timing.retry_interval);
                }
                return;
            }
            match self.state.tail.entries_from(next, MESSAGE_BYTES_MAX) {
                Some(mut entries) => {
                    if is_full {
                        let is_note = |entry: &&Entry| matches!(entry, Entry::Note(_));
                        entries.truncate(entries.iter().take_while(is_note).count());
                    }
                    self.send_entries(follower, entries, cx);
                }
                None => self.send_from_disk(follower, next, cx),
            }
        }
    }

    /// Committed as followers may be told: nothing before this leader's opening is.
    fn exposed_committed(&self) -> Position {
        if self.leading.exposes(self.state.committed) {
            self.state.committed
        } else {
            Position::default()
        }
    }

    /// Sends entries from where the follower is; none asks what it has, or tells what is committed.
    fn send_entries(&mut self, follower: Voter, entries: Vec<Entry>, cx: &mut Cx<'_>) {
        let committed = self.exposed_committed();
        let leader_end = self.state.end;
        let retry_at = cx.now + cx.timing.retry_interval;
        let Some(progress) = self.leading.progress.get_mut(&follower) else {
            return;
        };
        let previous = progress.next;
        let weight = entries.iter().map(Entry::weight).sum();
        let end = entries
            .iter()
            .fold(previous, |at, entry| entry.position_after(at));
        let probe = !progress.replicating;
        progress.on_sent(end, weight, cx.now);
        progress.told_committed = committed;
        self.leading.schedule_tick(retry_at);
        let flush = self.state.config.flush;
        let append = Append {
            previous,
            entries,
            committed,
            leader_end,
            flush,
            probe,
        };
        self.state.send(follower, ReplicaBody::Append(append), cx);
    }

    /// Fetches what a follower lacks and memory does not hold. Notes are in memory; batches are read.
    fn send_from_disk(&mut self, follower: Voter, next: Position, cx: &mut Cx<'_>) {
        cx.fx.probe(Probe::CaughtUpFromDisk);
        let mut notes = Vec::new();
        let mut at = next;
        while let Some(note) = self.state.notes.get(at.notes)
            && note.offset == at.end_offset
        {
            let entry = Entry::Note(note.clone());
            at = entry.position_after(at);
            notes.push(entry);
        }
        if !notes.is_empty() {
            self.send_entries(follower, notes, cx);
            return;
        }
        let end = self
            .state
            .notes
            .get(next.notes)
            .map_or(self.state.end.end_offset, |note| note.offset);
        let waiter = Waiter::Replication(follower);
        let id = self.state.read_disk(next.end_offset, end, waiter, cx);
        if let Some(progress) = self.leading.progress.get_mut(&follower) {
            progress.reading = Some(id);
        }
    }

    /// What was read for a follower; `None` where it could not be.
    fn on_read(
        &mut self,
        id: QueryId,
        follower: Voter,
        batches: Option<Vec<Batch>>,
        cx: &mut Cx<'_>,
    ) {
        let progress = self.leading.progress.get_mut(&follower);
        let Some(progress) = progress.filter(|progress| progress.reading == Some(id)) else {
            return; // it is sent something else by now
        };
        progress.reading = None;
        let next = progress.next;
        let entries: Vec<Entry> = batches
            .into_iter()
            .flatten()
            .skip_while(|batch| batch.header.base_offset < next.end_offset)
            .map(Entry::Batch)
            .collect();
        if entries
            .first()
            .is_none_or(|entry| entry.offset() != next.end_offset)
        {
            // Damaged, or the store had not got there: look again later.
            self.leading
                .schedule_tick(cx.now + cx.timing.retry_interval);
            return;
        }
        self.send_entries(follower, entries, cx);
        self.replicate_to(follower, cx);
    }

    /// Hears what a follower has.
    pub(super) fn on_append_reply(
        &mut self,
        from: Voter,
        leader_epoch: LeaderEpoch,
        reply: AppendReply,
        cx: &mut Cx<'_>,
    ) -> ControlFlow<Resignation> {
        if leader_epoch != self.state.vote.leader_epoch {
            // An answer to an earlier leader; a later epoch has been entered by `receive`.
            return ControlFlow::Continue(());
        }
        let (end, retry_at) = (self.state.end, cx.now + cx.timing.retry_interval);
        let Some(progress) = self.leading.progress.get_mut(&from) else {
            return ControlFlow::Continue(());
        };
        match reply {
            AppendReply::Matched {
                verified,
                appended,
                durable,
                eligible,
            } => {
                assert!(
                    appended <= end && verified <= end,
                    "a follower matches no more than the leader has"
                );
                progress.on_matched(verified, appended, durable, end, cx.now);
                progress.eligible = eligible || cx.fx.mutant(Mutant::PrefersDamaged);
                if progress.waiting_since.is_some() {
                    self.leading.schedule_tick(retry_at);
                }
                self.advance_committed(cx)?;
            }
            AppendReply::Diverged { previous, hint } => {
                let ignores_regress = cx.fx.mutant(Mutant::IgnoresRegressedFollower);
                progress.on_diverged(
                    previous,
                    self.state.notes.common(hint, end),
                    ignores_regress,
                );
            }
        }
        self.update_announcement(cx);
        self.replicate_to(from, cx);
        self.continue_transfer(cx);
        self.change_voters(cx);
        ControlFlow::Continue(())
    }

    /// Looks after what waits: followers that do not answer, commits not told, the ISR, a transfer.
    pub(super) fn on_tick(&mut self, cx: &mut Cx<'_>) -> ControlFlow<Resignation> {
        self.check_quorum(cx)?;
        let committed = self.exposed_committed();
        self.leading.tick_at = None;
        if self
            .leading
            .transfer
            .is_some_and(|transfer| transfer.ends_at <= cx.now)
        {
            self.leading.transfer = None;
        }
        let mut untold = Vec::new();
        for (&follower, progress) in &mut self.leading.progress {
            let silent_since = progress.waiting_since;
            if silent_since.is_some_and(|since| cx.now.since(since) >= cx.timing.retry_interval) {
                progress.restart_probing(self.state.end, cx.fx.mutant(Mutant::ForgetsWhatWaits));
            }
            if progress.replicating
                && progress.told_committed < committed
                && progress.next == self.state.end
            {
                untold.push(follower);
            }
        }
        for follower in untold {
            if cx.links.reaches(follower) && self.state.is_served(follower, cx.links) {
                self.send_entries(follower, Vec::new(), cx);
            }
        }
        self.update_announcement(cx);
        self.replicate(cx);
        self.change_voters(cx);
        self.count_confirmations(cx);
        self.send_round(None, cx);
        self.schedule_next_tick(cx);
        ControlFlow::Continue(())
    }

    /// A leader ticks while a follower owes it an answer or lags; an idle partition costs nothing.
    fn schedule_next_tick(&mut self, cx: &mut Cx<'_>) {
        let end = self.state.end;
        let owed = self.leading.progress.iter().any(|(&follower, progress)| {
            cx.links.reaches(follower)
                && self.state.is_served(follower, cx.links)
                && (progress.waiting_since.is_some() || progress.appended < end)
        });
        let owed = owed || self.leading.target_differs(&self.state.voters);
        if owed {
            self.leading
                .schedule_tick(cx.now + cx.timing.retry_interval);
        }
        // A voter that has proven nothing since it voted is not noticed by its link, which proved nothing before.
        let votes_count_until = self.leading.since + cx.timing.election_timeout;
        if cx.now < votes_count_until && !cx.fx.mutant(Mutant::CountsVotesForEver) {
            self.leading.schedule_tick(votes_count_until);
        }
    }

    /// A replica asks whether it would be elected instead of this leader: it has stopped following, and is asked what
    /// it has, which tells it whom to follow. It may have everything, and would hear nothing more until the next
    /// entry; and none is appended while leadership is being handed to it.
    pub(super) fn probe_follower(&mut self, follower: Voter, cx: &mut Cx<'_>) {
        if let Some(progress) = self.leading.progress.get_mut(&follower) {
            progress.restart_probing(self.state.end, false);
            self.replicate_to(follower, cx);
        }
    }

    /// A broker takes records again: asks its replicas that lag what they have, since they may have turned some away.
    fn on_peer_has_room(&mut self, broker: BrokerId, cx: &mut Cx<'_>) {
        let end = self.state.end;
        for (follower, progress) in &mut self.leading.progress {
            if follower.broker == broker && progress.lags(end) {
                progress.restart_probing(end, false);
            }
        }
        self.replicate(cx);
    }

    /// What was under way to this broker's replicas may be lost.
    pub(super) fn on_link_renewed(&mut self, broker: BrokerId, cx: &mut Cx<'_>) {
        for (follower, progress) in &mut self.leading.progress {
            if follower.broker == broker && !cx.fx.mutant(Mutant::SendsOnAfterBreak) {
                progress.restart_probing_on_new_link(self.state.end);
            }
        }
        self.replicate(cx);
        self.update_announcement(cx);
        self.send_round(Some(broker), cx);
    }
}
