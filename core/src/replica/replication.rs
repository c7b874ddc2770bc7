//! Replication: sending followers the entries that they lack, and tracking what they have.
//!
//! Entries go to the followers and to the leader's own disk at the same time. The leader's disk counts towards the
//! majority like any other, and a majority without it is enough.

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
    /// Whether this leader sends to this follower: not if its broker has called its directory offline, except for the
    /// metadata log, from which that broker answers its clients.
    fn is_served(&self, follower: Voter, links: &Links) -> bool {
        self.id == TopicPartition::METADATA || !links.is_offline(follower)
    }

    /// Reads from disk the batches that a peer has lost and asks for.
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
    /// Sends every follower the entries that it lacks and has room for.
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
            // A disk that is full or behind still takes notes; records wait until it has room. A follower that lags is
            // looked at again at the next tick.
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

    /// The committed position that followers may learn: none before this leader's opening is committed.
    fn exposed_committed(&self) -> Position {
        if self.leading.exposes(self.state.committed) {
            self.state.committed
        } else {
            Position::default()
        }
    }

    /// Sends entries from the follower's `next` on. An append without entries probes what the follower has, or tells it
    /// what is committed.
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

    /// Sends what a follower lacks and the tail in memory no longer holds. Notes are in memory; batches are read from
    /// disk.
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

    /// Batches read from disk for a follower; `None` if the read failed.
    fn on_read(
        &mut self,
        id: QueryId,
        follower: Voter,
        batches: Option<Vec<Batch>>,
        cx: &mut Cx<'_>,
    ) {
        let progress = self.leading.progress.get_mut(&follower);
        let Some(progress) = progress.filter(|progress| progress.reading == Some(id)) else {
            return; // `next` has moved since: this read is void
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
            // The batch is damaged, or the store has not written it yet: try again at the next tick.
            self.leading
                .schedule_tick(cx.now + cx.timing.retry_interval);
            return;
        }
        self.send_entries(follower, entries, cx);
        self.replicate_to(follower, cx);
    }

    /// A follower says what it has.
    pub(super) fn on_append_reply(
        &mut self,
        from: Voter,
        leader_epoch: LeaderEpoch,
        reply: AppendReply,
        cx: &mut Cx<'_>,
    ) -> ControlFlow<Resignation> {
        if leader_epoch != self.state.vote.leader_epoch {
            // A reply to the leader of an earlier epoch; a later epoch has been entered by `receive`.
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

    /// The leader's timer: probes followers that do not answer, sends the high watermark where it has not been sent,
    /// and reviews quorum, ISR, voter change and transfer.
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
        let mut stale = Vec::new();
        for (&follower, progress) in &mut self.leading.progress {
            let waiting_since = progress.waiting_since;
            if waiting_since.is_some_and(|since| cx.now.since(since) >= cx.timing.retry_interval) {
                progress.restart_probing(self.state.end, cx.fx.mutant(Mutant::ForgetsWhatWaits));
            }
            if progress.replicating
                && progress.told_committed < committed
                && progress.next == self.state.end
            {
                stale.push(follower);
            }
        }
        for follower in stale {
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

    /// Schedules the next tick while a follower owes a reply or lags; an idle partition has no timer.
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
        // A voter whose link has proven nothing since it voted is not reported by `links`, so the leader has to look
        // itself when the grants expire.
        let votes_count_until = self.leading.since + cx.timing.election_timeout;
        if cx.now < votes_count_until && !cx.fx.mutant(Mutant::CountsVotesForEver) {
            self.leading.schedule_tick(votes_count_until);
        }
    }

    /// Probes a follower whose pre-vote this leader has refused: it has stopped following, and the probe makes it
    /// follow again. A follower that has everything would otherwise receive nothing until the next entry, and none is
    /// appended while leadership is being transferred to it.
    pub(super) fn probe_follower(&mut self, follower: Voter, cx: &mut Cx<'_>) {
        if let Some(progress) = self.leading.progress.get_mut(&follower) {
            progress.restart_probing(self.state.end, false);
            self.replicate_to(follower, cx);
        }
    }

    /// A broker's disk takes records again: probes its replicas that lag, since they may have dropped records for want
    /// of room.
    fn on_peer_has_room(&mut self, broker: BrokerId, cx: &mut Cx<'_>) {
        let end = self.state.end;
        for (follower, progress) in &mut self.leading.progress {
            if follower.broker == broker && progress.lags(end) {
                progress.restart_probing(end, false);
            }
        }
        self.replicate(cx);
    }

    /// The link to this broker was replaced: messages in flight to its replicas may be lost.
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
