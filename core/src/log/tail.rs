//! The end of a log, in memory: entries that are not durable yet, and those that up-to-date readers request next.

use std::collections::VecDeque;

use crate::ids::Offset;
use crate::log::{Entry, Position};
use crate::record::Batch;

/// The last entries of a log, each with the position that it stands at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    entries: VecDeque<(Position, Entry)>,
    /// Sum of the entries' weights, in bytes.
    weight: usize,
}

impl Tail {
    /// Adds the entry that stands at `before`, the log's end.
    pub(crate) fn push(&mut self, before: Position, entry: Entry) {
        self.weight += entry.weight();
        self.entries.push_back((before, entry));
    }

    /// Drops every entry that stands at or behind `to`.
    pub(crate) fn truncate(&mut self, to: Position) {
        while let Some((at, entry)) = self.entries.back() {
            if *at < to {
                break;
            }
            self.weight -= entry.weight();
            self.entries.pop_back();
        }
    }

    /// Forgets the oldest entries that end at or before `durable`, until no more than `weight_max` bytes are held.
    pub(crate) fn trim(&mut self, durable: Position, weight_max: usize) {
        while self.weight > weight_max {
            let Some((at, entry)) = self.entries.front() else {
                return;
            };
            if entry.position_after(*at) > durable {
                return;
            }
            self.weight -= entry.weight();
            self.entries.pop_front();
        }
    }

    /// Bytes held.
    #[must_use]
    pub const fn weight(&self) -> usize {
        self.weight
    }

    /// Where the oldest entry held stands; `None` where nothing is held.
    #[must_use]
    pub fn start(&self) -> Option<Position> {
        self.entries.front().map(|(at, _)| *at)
    }

    /// Index of the first entry for which `before` is false; it is true for all earlier ones. Searched from the end in
    /// steps that double: up-to-date readers request the last few entries, and the others are not in the processor's
    /// cache.
    fn first_not(&self, before: impl Fn(Position, &Entry) -> bool) -> usize {
        let is_before = |place: usize| {
            let (at, entry) = &self.entries[place];
            before(*at, entry)
        };
        let mut end = self.entries.len();
        let mut step = 1;
        let start = loop {
            let Some(place) = end.checked_sub(step) else {
                break 0;
            };
            if is_before(place) {
                break place + 1;
            }
            end = place;
            step *= 2;
        };
        let (mut low, mut high) = (start, end);
        while low < high {
            let middle = low + (high - low) / 2;
            if is_before(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The entries from exactly `from` on, up to about `bytes_max` and at least one; `None` where `from` is before the tail.
    #[must_use]
    pub fn entries_from(&self, from: Position, bytes_max: usize) -> Option<Vec<Entry>> {
        if self.start().is_none_or(|start| from < start) {
            return None;
        }
        let first = self.first_not(|at, _| at < from);
        let mut bytes = 0;
        let mut entries = Vec::new();
        for (_, entry) in self.entries.range(first..) {
            bytes += entry.weight();
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Some(entries)
    }

    /// Whole batches from the one that holds `offset` on, below `end`, up to `bytes_max` but at least one;
    /// `None` where the batch that holds `offset` is not held.
    #[must_use]
    pub fn batches_from(
        &self,
        offset: Offset,
        end: Offset,
        bytes_max: usize,
    ) -> Option<Vec<Batch>> {
        let first = self.first_not(|at, entry| entry.position_after(at).end_offset <= offset);
        let oldest = self.entries.iter().find_map(|(_, entry)| as_batch(entry))?;
        if offset < oldest.header.base_offset {
            return None;
        }
        let mut bytes = 0;
        let mut batches = Vec::new();
        for batch in self
            .entries
            .range(first..)
            .filter_map(|(_, entry)| as_batch(entry))
        {
            bytes += batch.size();
            if batch.header.next_offset() > end || bytes > bytes_max && !batches.is_empty() {
                break;
            }
            batches.push(batch.clone());
        }
        Some(batches)
    }
}

fn as_batch(entry: &Entry) -> Option<&Batch> {
    match entry {
        Entry::Batch(batch) => Some(batch),
        Entry::Note(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{LeaderEpoch, Timestamp};
    use crate::record::{BatchBuilder, Compression};

    /// A tail of batches of one record each, at `offsets`.
    fn tail(offsets: std::ops::Range<i64>) -> Tail {
        let mut tail = Tail::default();
        for offset in offsets {
            let mut batch = BatchBuilder::new(Compression::None);
            batch
                .push(Timestamp(1), None, Some(b"value"), &[])
                .expect("it fits");
            let mut batch = batch.build();
            batch.stamp(Offset(offset), LeaderEpoch(1));
            tail.push(at(offset), Entry::Batch(batch));
        }
        tail
    }

    fn at(end_offset: i64) -> Position {
        Position {
            leader_epoch: LeaderEpoch(1),
            end_offset: Offset(end_offset),
            notes: 1,
        }
    }

    #[test]
    fn every_entry_is_found_by_its_position_and_its_offset() {
        for length in [1, 2, 3, 7, 8, 64, 100] {
            let tail = tail(5..5 + length);
            for offset in 5..5 + length {
                let entries = tail.entries_from(at(offset), usize::MAX).expect("held");
                assert_eq!(entries[0].offset(), Offset(offset));
                assert_eq!(entries.len() as i64, 5 + length - offset);
                let batches = tail
                    .batches_from(Offset(offset), Offset(5 + length), 1)
                    .expect("held");
                assert_eq!(batches[0].header.base_offset, Offset(offset));
            }
            let end = tail.entries_from(at(5 + length), usize::MAX);
            assert_eq!(end, Some(Vec::new()));
            assert_eq!(tail.entries_from(at(4), usize::MAX), None);
        }
    }
}
