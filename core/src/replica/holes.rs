//! Damage below the durable end, and its repair.
//!
//! A replica with holes votes and leads by its journalled position (counter-example 6). It refuses reads inside a
//! hole, asks every other voter and its leader, or its last one, for what they have of it, and takes what has the same
//! offsets and epoch. It never truncates because of a hole, but for one case: a leader stands still at a hole above the
//! high watermark that it cannot fill, and gives it up when a majority of the voters never had what is lost, or nobody has
//! it.

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

/// Bytes of batches in one answer to a request for what is lost.
const FILL_BYTES_MAX: usize = 1 << 20;

/// The damaged ranges of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holes {
    /// Ascending, not touching.
    ranges: Vec<Range<Offset>>,
    /// When the peers are asked (again).
    request_at: Option<Instant>,
    /// The next hole to ask for starts here or is the first behind it, so that one which nobody can fill does not keep
    /// others waiting.
    next_from: Offset,
    /// Where the hole started that was asked for last, and when.
    last_request: Option<(Offset, Instant)>,
    /// Start of the hole whose batches did not fit: the one in front of it may not be what was written there, and is
    /// asked for as well.
    misfit: Option<Offset>,
    denials: Denials,
}

/// Who has not the record at an offset, as voters say in an epoch.
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

    /// Somebody can be asked who could not before.
    pub(super) fn request_now(&mut self, now: Instant) {
        self.request_at = self.request_at.map(|_| now);
    }

    /// Nothing can be filled any more.
    pub(super) const fn stop_requesting(&mut self) {
        self.request_at = None;
    }

    /// The hole to ask for, in turn.
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

    /// Notes what this voter says of the record at `offset`. What all have said of it in this epoch.
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

    /// Whether all of this is known, and so asked for already.
    fn cover(&self, hole: &Range<Offset>) -> bool {
        let mut ranges = self.ranges.iter();
        ranges.any(|range| range.start <= hole.start && hole.end <= range.end)
    }

    /// Whether a batch lies in a hole, or reaches up to one from in front of it.
    fn can_take(&self, batch: &Batch) -> bool {
        let (start, end) = (batch.header.base_offset, batch.header.next_offset());
        let mut ranges = self.ranges.iter();
        ranges.any(|hole| start < hole.end && hole.start <= end && end <= hole.end)
    }

    /// Learns that these did not fit where they are missing, with nothing in front of them.
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
        // One that was asked for and is here again was not filled by what came: to be asked for again, but not at once.
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

    /// What is truncated needs no repair.
    pub(super) fn truncate_to(&mut self, end: Offset) {
        self.remove(&(end..Offset(i64::MAX)));
    }
}

impl Replica {
    /// A read found damage.
    pub(crate) fn on_hole(&mut self, range: Range<Offset>, cx: &mut Cx<'_>) {
        let written = self.state.orders.written().end_offset;
        if range.start >= range.end || range.start >= written {
            return; // read before a truncation that has since removed it, or of a replica that was here before
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

    /// Asks whoever may have it for a hole.
    pub(super) fn request_fill(&mut self, cx: &mut Cx<'_>) {
        let Some(Range { start, end }) = self.state.holes.next_to_request(cx.now) else {
            return;
        };
        // The next one is asked for by itself again: only so does a voter say that it never had a record.
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

    /// Whether nobody else can have what this replica has lost.
    pub(crate) fn is_only_copy(&self) -> bool {
        self.holders().is_empty()
    }

    /// Who may have what this replica has lost: the other voters, and its leader, since a learner whose log has no
    /// voter note yet knows no voters. A learner that has lost sight of its leader for a moment hears nothing of it until
    /// the next entry: whoever opened the last epoch of its log had all of it.
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
            // One at a time: who has not been answered asks again.
            super::TailRead::OnDisk if cx.queries.is_filling(self.state.id, from) => {}
            super::TailRead::OnDisk => self.state.read_disk_for_fill(from, offset, end, cx),
            super::TailRead::Hole(_) => {}
        }
    }

    /// What it is worth that this replica has not a record. Nothing where it could still forget the epoch: it could take the
    /// record from a leader before it, and complete its majority. Nor where it has no vote.
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

    /// Sends what this replica has of what another has lost.
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

    /// Takes what belongs into a hole: whole batches of the epoch that this log has there.
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

    /// A voter has not the record that this leader has lost, and is in this epoch for good: no leader of an earlier one
    /// makes it take the record any more. Where a majority of the voters never had it, it is not committed and cannot
    /// be, but by this leader, which has not committed it. Where nobody else has it, of whom a suspect may have had it, it is
    /// nowhere, and may have been acknowledged. In either case it is given up with all behind it, and leadership with it:
    /// nothing else may stand in this epoch in its place.
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
        // Voters of before a change that may be undone could have it as well.
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
    /// What a replica must never do: takes the first hole for the log's end.
    pub(super) fn truncate_to_hole(&mut self, cx: &mut Cx<'_>) {
        if let Some(hole) = self.holes.ranges.first() {
            let to = self.notes.position_of_offset(hole.start);
            self.committed = self.committed.min(to);
            self.truncate_to(to, cx);
        }
    }

    /// Nothing is missing here any more, durably.
    pub(super) fn on_filled(&mut self, range: Range<Offset>, cx: &mut Cx<'_>) {
        let mut ranges = self.holes.ranges.iter();
        if !ranges.any(|hole| hole.start < range.end && range.start < hole.end) {
            return; // another peer was quicker
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
