//! Damage below the durable end, and its repair.
//!
//! A replica with holes votes and leads by its journalled position (counter-example 6). It refuses reads inside a
//! hole, asks every other voter and its leader for what they have of it, and takes what has the same offsets and epoch. It never
//! truncates because of a hole.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::effect::NoticeKind;
use crate::hooks::{Mutant, Probe};
use crate::ids::{Offset, Voter};
use crate::peer::ReplicaBody;
use crate::record::Batch;
use crate::store::OrderKind;
use crate::time::Instant;

use super::{Cx, Replica};

/// Bytes of batches in one answer to a request for what is lost.
const FILL_BYTES_MAX: usize = 1 << 20;

/// The damaged ranges of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holes {
    /// Ascending, not touching.
    ranges: Vec<Range<Offset>>,
    /// When the peers are asked (again).
    ask_at: Option<Instant>,
}

impl Holes {
    pub(super) fn new(ranges: Vec<Range<Offset>>, now: Instant) -> Self {
        let ask_at = (!ranges.is_empty()).then_some(now);
        Self { ranges, ask_at }
    }

    pub(super) fn ranges(&self) -> &[Range<Offset>] {
        &self.ranges
    }

    pub(super) const fn next_deadline(&self) -> Option<Instant> {
        self.ask_at
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

    fn add(&mut self, hole: Range<Offset>, now: Instant) {
        let known = |range: &Range<Offset>| range.start <= hole.start && hole.end <= range.end;
        if self.ranges.iter().any(known) {
            return; // asked for already
        }
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
        self.ranges.insert(place, merged);
        self.ask_at = Some(now);
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
            self.ask_at = None;
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
        if range.start >= range.end || range.start >= self.end.end_offset {
            return; // read before a truncation that has since removed it
        }
        cx.fx.probe(Probe::HoleFound);
        cx.fx
            .notice(Some(self.id), NoticeKind::Hole(range.start, range.end));
        self.holes
            .add(range.start..range.end.min(self.end.end_offset), cx.now);
        if cx.fx.mutant(Mutant::TruncatesToHole) && !self.is_leader() {
            self.truncate_to_hole(cx);
        }
    }

    /// What a replica must never do: takes the first hole for the log's end.
    pub(super) fn truncate_to_hole(&mut self, cx: &mut Cx<'_>) {
        if let Some(hole) = self.holes.ranges.first() {
            let to = self.notes.position_of_offset(hole.start);
            self.committed = self.committed.min(to);
            self.truncate_to(to, cx);
        }
    }

    /// Whether the record at `offset` is known to be damaged.
    pub(crate) fn is_damaged_at(&self, offset: Offset) -> bool {
        self.holes.containing(offset).is_some()
    }

    /// Asks whoever may have it for the first hole.
    pub(super) fn ask_for_holes(&mut self, cx: &mut Cx<'_>) {
        let Some(Range { start, end }) = self.holes.ranges.first().cloned() else {
            return;
        };
        for holder in self.holders() {
            self.send(holder, ReplicaBody::FillRequest { offset: start, end }, cx);
        }
        self.holes.ask_at = Some(cx.now + cx.timing.retry_interval);
    }

    /// Who may have what this replica has lost: the other voters, and its leader, since a learner whose log has no
    /// voter note yet knows no voters.
    fn holders(&self) -> BTreeSet<Voter> {
        let leader = self.leader().filter(|leader| *leader != self.me);
        self.other_voters().into_iter().chain(leader).collect()
    }

    pub(super) fn on_fill_request(
        &mut self,
        from: Voter,
        offset: Offset,
        end: Offset,
        cx: &mut Cx<'_>,
    ) {
        match self.read_tail(offset, end, FILL_BYTES_MAX) {
            super::TailRead::Batches(batches) => {
                let never_had = offset >= self.end.end_offset;
                self.send(from, ReplicaBody::FillReply { batches, never_had }, cx);
            }
            super::TailRead::OnDisk => self.read_for(from, offset, end, cx),
            super::TailRead::Hole(_) => {}
        }
    }

    /// Takes what belongs into a hole: whole batches of the epoch that this log has there.
    pub(super) fn on_fill_reply(&mut self, from: Voter, batches: Vec<Batch>, cx: &mut Cx<'_>) {
        if !self.holders().contains(&from) {
            return;
        }
        let any_epoch = cx.fx.mutant(Mutant::FillsFromAnyEpoch);
        let belongs = |batch: &Batch| {
            let epoch = self.notes.epoch_of_record(batch.header.base_offset);
            (batch.header.leader_epoch == epoch || any_epoch)
                && batch.header.next_offset() <= self.end.end_offset
                && self
                    .holes
                    .containing(batch.header.base_offset)
                    .is_some_and(|hole| batch.header.next_offset() <= hole.end)
        };
        let batches: Vec<Batch> = batches.into_iter().filter(belongs).collect();
        if !batches.is_empty() {
            self.orders
                .push(OrderKind::Fill { batches }, self.ordered_end(), self.id, cx);
        }
    }

    /// A hole is closed, durably.
    pub(super) fn on_filled(&mut self, range: Range<Offset>, cx: &mut Cx<'_>) {
        cx.fx.probe(Probe::HoleFilled);
        cx.fx.notice(
            Some(self.id),
            NoticeKind::HoleFilled(range.start, range.end),
        );
        self.holes.remove(&range);
        if !self.holes.ranges.is_empty() {
            self.holes.ask_at = Some(cx.now);
        }
    }
}
