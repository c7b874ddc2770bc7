//! Damage below the durable end, and its repair.
//!
//! A replica with holes votes and leads by its journalled position (counter-example 6). It refuses reads inside a hole,
//! requests the lost batches from every other voter and from its leader (or its last one), and takes those with the
//! same offsets and epoch. It never truncates because of a hole, with one exception: a leader with a hole above the
//! high watermark that nobody can fill cannot commit past it. It gives the hole up when a majority of the voters never
//! had the lost records, or when no voter has them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use crate::effect::{NoticeKind, Resignation};
use crate::hooks::{Mutant, Probe};
use crate::ids::{LeaderEpoch, Offset, Voter};
use crate::peer::{Denial, ReplicaBody};
use crate::record::Batch;
use crate::store::OrderKind;
use crate::time::Instant;

use super::state::ReplicaState;
use super::{Cx, Replica};

/// Bytes of batches in one reply to a fill request.
const FILL_BYTES_MAX: usize = 1 << 20;

/// The damaged ranges of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holes {
    /// Ascending, not touching.
    ranges: Vec<Range<Offset>>,
    /// When the next fill request is due; `None` if there is nothing to request.
    request_at: Option<Instant>,
    /// The next request is for the first hole that starts here or later, so that a hole which nobody can fill does not
    /// block the others.
    next_from: Offset,
    /// Start of the hole that was last requested, and when.
    last_request: Option<(Offset, Instant)>,
    /// Start of the hole whose batches did not fit. The batch before the hole may not be the one that was written
    /// there, so the next request includes it.
    misfit: Option<Offset>,
    denials: Denials,
}

/// The voters that have denied, in one epoch, to have the record at an offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Denials {
    leader_epoch: LeaderEpoch,
    offset: Offset,
    by: BTreeMap<Voter, Denial>,
}

impl Holes {
    pub(super) fn new(ranges: Vec<Range<Offset>>, now: Instant) -> Self {
        let request_at = (!ranges.is_empty()).then_some(now);
        Self {
            ranges,
            request_at,
            next_from: Offset(0),
            last_request: None,
            misfit: None,
            denials: Denials::default(),
        }
    }

    pub(super) fn ranges(&self) -> &[Range<Offset>] {
        &self.ranges
    }

    pub(super) const fn next_deadline(&self) -> Option<Instant> {
        self.request_at
    }

    /// The hole that `offset` lies in.
    pub(super) fn containing(&self, offset: Offset) -> Option<Range<Offset>> {
        self.ranges
            .iter()
            .find(|hole| hole.contains(&offset))
            .cloned()
    }

    /// Where the first hole behind `offset` starts.
    pub(super) fn next_after(&self, offset: Offset) -> Option<Offset> {
        self.ranges
            .iter()
            .map(|hole| hole.start)
            .find(|&start| start > offset)
    }

    /// A peer has become reachable: makes the next request due at once.
    pub(super) fn request_now(&mut self, now: Instant) {
        self.request_at = self.request_at.map(|_| now);
    }

    /// The directory is offline: no hole can be filled.
    pub(super) const fn stop_requests(&mut self) {
        self.request_at = None;
    }

    /// The hole to request next, round robin.
    fn next_to_request(&mut self, now: Instant) -> Option<Range<Offset>> {
        let behind = |hole: &&Range<Offset>| hole.start >= self.next_from;
        let hole = self
            .ranges
            .iter()
            .find(behind)
            .or(self.ranges.first())?
            .clone();
        self.next_from = hole.end;
        self.last_request = Some((hole.start, now));
        Some(hole)
    }

    /// Records a voter's denial of the record at `offset`. Returns all denials of it in this epoch.
    fn record_denial(
        &mut self,
        leader_epoch: LeaderEpoch,
        offset: Offset,
        voter: Voter,
        denial: Denial,
    ) -> &BTreeMap<Voter, Denial> {
        if (self.denials.leader_epoch, self.denials.offset) != (leader_epoch, offset) {
            self.denials = Denials {
                leader_epoch,
                offset,
                by: BTreeMap::new(),
            };
        }
        self.denials.by.insert(voter, denial);
        &self.denials.by
    }

    /// Whether this range lies within one known hole.
    fn cover(&self, hole: &Range<Offset>) -> bool {
        let mut ranges = self.ranges.iter();
        ranges.any(|range| range.start <= hole.start && hole.end <= range.end)
    }

    /// Whether a batch lies in a hole, or is the one directly before it.
    fn can_take(&self, batch: &Batch) -> bool {
        let (start, end) = (batch.header.base_offset, batch.header.next_offset());
        let mut ranges = self.ranges.iter();
        ranges.any(|hole| start < hole.end && hole.start <= end && end <= hole.end)
    }

    /// A fill with these batches did not fit its hole.
    pub(super) fn on_misfit(&mut self, batches: &Range<Offset>) {
        let mut ranges = self.ranges.iter();
        let hole = ranges.find(|hole| hole.contains(&batches.start));
        self.misfit = hole.map(|hole| hole.start);
    }

    fn add(&mut self, hole: Range<Offset>, now: Instant, retry_interval: Duration) {
        let mut merged = hole;
        self.ranges.retain(|other| {
            let touches = other.start <= merged.end && merged.start <= other.end;
            if touches {
                merged = other.start.min(merged.start)..other.end.max(merged.end);
            }
            !touches
        });
        let place = self
            .ranges
            .partition_point(|other| other.start < merged.start);
        // A hole that was requested and is found again was not filled by what came: it is requested again, but not at
        // once.
        let repeated = self
            .last_request
            .filter(|(start, _)| *start == merged.start);
        let request_at = repeated.map_or(now, |(_, at)| (at + retry_interval).max(now));
        self.request_at = Some(self.request_at.map_or(request_at, |at| at.min(request_at)));
        self.ranges.insert(place, merged);
    }

    fn remove(&mut self, filled: &Range<Offset>) {
        let parts = self.ranges.iter().flat_map(|hole| {
            [
                hole.start..hole.end.min(filled.start),
                hole.start.max(filled.end)..hole.end,
            ]
        });
        self.ranges = parts.filter(|part| part.start < part.end).collect();
        if self.ranges.is_empty() {
            self.request_at = None;
        }
    }

    /// Drops the holes, or parts of them, that were truncated.
    pub(super) fn truncate_to(&mut self, end: Offset) {
        self.remove(&(end..Offset(i64::MAX)));
    }
}

impl Replica {
    /// A read found damage.
    pub(crate) fn on_hole(&mut self, range: Range<Offset>, cx: &mut Cx<'_>) {
        let written = self.state.orders.written().end_offset;
        if range.start >= range.end || range.start >= written {
            return; // the read was before a truncation that removed the range, or of an earlier, deleted copy
        }
        cx.fx.probe(Probe::HoleFound);
        self.state
            .notice(NoticeKind::Hole(range.start, range.end), cx);
        let hole = range.start..range.end.min(written);
        if !self.state.holes.cover(&hole) {
            self.state.orders.distrust_fills(&hole);
            self.state.holes.add(hole, cx.now, cx.timing.retry_interval);
        }
        self.acknowledge(cx);
        if cx.fx.mutant(Mutant::TruncatesToHole) && !self.is_leader() {
            self.state.truncate_to_hole(cx);
        }
    }

    /// Whether the record at `offset` is known to be damaged.
    pub(crate) fn is_damaged_at(&self, offset: Offset) -> bool {
        self.state.holes.containing(offset).is_some()
    }

    /// Requests the next hole from every replica that may have it.
    pub(super) fn request_fill(&mut self, cx: &mut Cx<'_>) {
        let Some(Range { start, end }) = self.state.holes.next_to_request(cx.now) else {
            return;
        };
        // The record before the hole is requested only once: a voter's denial counts only for a request that starts at
        // the hole itself.
        let misfit = &mut self.state.holes.misfit;
        let is_misfit = misfit.take_if(|misfit| *misfit == start).is_some();
        let reaches_back = is_misfit && start > self.state.log_start_offset;
        let offset = if reaches_back {
            Offset(start.0 - 1)
        } else {
            start
        };
        let request = ReplicaBody::FillRequest {
            offset,
            record_epoch: self.state.notes.epoch_of_record(offset),
            end,
        };
        for holder in self.holders() {
            self.state.send(holder, request.clone(), cx);
        }
        self.state.holes.request_at = Some(cx.now + cx.timing.retry_interval);
    }

    /// Whether no other replica can have what this one has lost.
    pub(crate) fn is_only_copy(&self) -> bool {
        self.holders().is_empty()
    }

    /// The replicas that may have what this one has lost: the other voters, and the leader, since a learner whose log
    /// has no voter note yet knows no voters. A learner that does not know its present leader uses the one whose
    /// opening is last in its log: that leader had all of the log.
    fn holders(&self) -> BTreeSet<Voter> {
        let leader = self.leader().or(self.state.notes.last_leader());
        let leader = leader.filter(|leader| *leader != self.state.me);
        self.state
            .other_voters()
            .into_iter()
            .chain(leader)
            .collect()
    }

    pub(super) fn on_fill_request(
        &mut self,
        from: Voter,
        offset: Offset,
        record_epoch: LeaderEpoch,
        end: Offset,
        cx: &mut Cx<'_>,
    ) {
        let is_of_epoch = self.state.notes.epoch_of_record(offset) == record_epoch
            || cx.fx.mutant(Mutant::FillsFromAnyEpoch);
        let is_here = offset < self.state.end.end_offset && is_of_epoch;
        if !is_here {
            let reply = ReplicaBody::FillReply {
                offset,
                batches: Vec::new(),
                denial: self.denial(cx),
            };
            self.state.send(from, reply, cx);
            return;
        }
        match self.state.read_tail(offset, end, FILL_BYTES_MAX) {
            super::TailRead::Batches(batches) => self.send_fill(from, offset, batches, cx),
            // One read at a time for each peer: a peer without a reply requests again.
            super::TailRead::OnDisk if cx.queries.is_filling(self.state.id, from) => {}
            super::TailRead::OnDisk => self.state.read_disk_for_fill(from, offset, end, cx),
            super::TailRead::Hole(_) => {}
        }
    }

    /// What this replica's denial of a record is worth; `None` if nothing. While its epoch is not durable it could
    /// forget it, take the record from the leader of an earlier epoch, and complete a majority for it. A replica
    /// without a vote counts for nothing either.
    fn denial(&self, cx: &mut Cx<'_>) -> Option<Denial> {
        let is_durable = self.state.orders.is_stored(self.state.vote)
            || cx.fx.mutant(Mutant::DeniesBeforeDurable);
        if !is_durable || !self.may_vote(cx) {
            None
        } else if self.state.marks_its_vote(cx) {
            Some(Denial::Marked)
        } else {
            Some(Denial::NeverHad)
        }
    }

    /// Sends batches that another replica has lost.
    pub(crate) fn send_fill(
        &self,
        to: Voter,
        offset: Offset,
        batches: Vec<Batch>,
        cx: &mut Cx<'_>,
    ) {
        let reply = ReplicaBody::FillReply {
            offset,
            batches,
            denial: None,
        };
        self.state.send(to, reply, cx);
    }

    /// Stores the received batches that belong into a hole: whole batches of the epoch that this log has there.
    pub(super) fn on_fill_reply(&mut self, from: Voter, batches: Vec<Batch>, cx: &mut Cx<'_>) {
        if !self.holders().contains(&from) {
            return;
        }
        let any_epoch = cx.fx.mutant(Mutant::FillsFromAnyEpoch);
        let belongs = |batch: &Batch| {
            let epoch = self.state.notes.epoch_of_record(batch.header.base_offset);
            (batch.header.leader_epoch == epoch || any_epoch)
                && batch.header.next_offset() <= self.state.end.end_offset
                && self.state.holes.can_take(batch)
        };
        let batches: Vec<Batch> = batches.into_iter().filter(belongs).collect();
        if !batches.is_empty() {
            self.state.order(OrderKind::Fill { batches }, cx);
        }
    }

    /// A voter that is durably in this epoch lacks a record that this leader has lost. Since the voter can no longer
    /// append the record for the leader of an earlier epoch, there are two cases for giving the record up. If a
    /// majority of the voters never had it, it is not committed: only this leader could still commit it, and has not.
    /// If no other voter has it but a suspect may have had it, it is lost everywhere and may have been acknowledged. In
    /// both cases the leader truncates the record with everything after it, and resigns: no other record may take its
    /// place in this epoch.
    pub(super) fn on_denial(
        &mut self,
        from: Voter,
        offset: Offset,
        denial: Denial,
        cx: &mut Cx<'_>,
    ) {
        if !self.is_leader() {
            return;
        }
        let state = &mut self.state;
        let hole = state.holes.ranges.iter().find(|hole| hole.start == offset);
        let Some(Range { start, end }) = hole.cloned() else {
            return;
        };
        if start < state.committed.end_offset || !state.voters.contains(&from) {
            return;
        }
        let others = state.other_voters();
        // While a voter change is uncommitted, the voters before it could have the record too.
        let is_settled = state.has_settled_voters();
        let leader_epoch = state.vote.leader_epoch;
        let denials = state.holes.record_denial(leader_epoch, start, from, denial);
        let never_had = denials
            .values()
            .filter(|&&it| it == Denial::NeverHad)
            .count();
        let nobody_has = is_settled && others.iter().all(|voter| denials.contains_key(voter));
        let given_up =
            if never_had > state.voters.len() / 2 || cx.fx.mutant(Mutant::GivesUpHolesAlone) {
                cx.fx.probe(Probe::HoleGivenUp);
                NoticeKind::HoleGivenUp(start, end)
            } else if nobody_has && !cx.fx.mutant(Mutant::KeepsWhatNobodyHas) {
                cx.fx.probe(Probe::HoleGivenUpWithPossibleLoss);
                NoticeKind::HoleGivenUpWithPossibleLoss(start, end)
            } else {
                return;
            };
        state.notice(given_up, cx);
        let to = state.notes.position_before_record(start);
        self.resign(Resignation::Damaged, cx);
        self.state.truncate_to(to, cx);
    }
}

impl ReplicaState {
    /// A mutant's doing, never the replica's: takes the first hole for the log's end.
    pub(super) fn truncate_to_hole(&mut self, cx: &mut Cx<'_>) {
        if let Some(hole) = self.holes.ranges.first() {
            let to = self.notes.position_of_offset(hole.start);
            self.committed = self.committed.min(to);
            self.truncate_to(to, cx);
        }
    }

    /// The store reports the batches of a fill durable.
    pub(super) fn on_filled(&mut self, range: Range<Offset>, cx: &mut Cx<'_>) {
        let mut ranges = self.holes.ranges.iter();
        if !ranges.any(|hole| hole.start < range.end && range.start < hole.end) {
            return; // another peer's fill came first
        }
        cx.fx.probe(Probe::HoleFilled);
        self.notice(NoticeKind::HoleFilled(range.start, range.end), cx);
        self.holes.remove(&range);
        self.holes.next_from = range.end;
        if !self.holes.ranges.is_empty() {
            self.holes.request_at = Some(cx.now);
        }
    }
}
