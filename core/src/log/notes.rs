//! The notes of one log, and the epochs of its entries, which they determine.
//!
//! Every epoch begins with an opening, so the notes alone determine the epoch of any entry: that of the last opening at
//! or before it. No other epoch table exists that could disagree with the log (counter-example 2, the phantom epoch).

use crate::ids::{LeaderEpoch, LogClock, Offset, Voter};
use crate::log::{Note, NoteKind, Position};

/// All notes of a log from some count on, in order.
///
/// **Invariants:** offsets and epochs never fall; the first note of an epoch is its opening.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoteIndex {
    /// How many notes stood before the first of `notes`.
    below: u64,
    notes: Vec<Note>,
    /// What the log's clock shows behind the last of `notes`.
    clock: LogClock,
}

/// The log clock at a batch that begins at `offset`, in a log with these notes.
#[must_use]
pub fn clock_at(notes: &[Note], offset: Offset) -> LogClock {
    let before = notes.partition_point(|note| note.offset <= offset);
    clock_behind(&notes[..before])
}

fn clock_behind(notes: &[Note]) -> LogClock {
    let last = notes.iter().rev().find_map(|note| match note.kind {
        NoteKind::ClockTick(clock) => Some(clock),
        NoteKind::Opening { .. } | NoteKind::Voters(_) | NoteKind::LogStart(_) => None,
    });
    last.unwrap_or_default()
}

impl NoteIndex {
    /// The notes of a recovered log.
    #[must_use]
    pub fn new(below: u64, notes: Vec<Note>) -> Self {
        let clock = clock_behind(&notes);
        Self {
            below,
            notes,
            clock,
        }
    }

    /// What the log's clock shows at its end.
    #[must_use]
    pub const fn clock(&self) -> LogClock {
        self.clock
    }

    /// Number of notes since the log's beginning.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.below + self.notes.len() as u64
    }

    /// The notes that are kept, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Note] {
        &self.notes
    }

    /// Adds a note at the log's end.
    pub(crate) fn push(&mut self, note: Note) {
        if let Some(last) = self.notes.last() {
            assert!(
                note.offset >= last.offset,
                "a note stands behind the one before it"
            );
            assert!(
                note.leader_epoch >= last.leader_epoch,
                "leader epochs never go back"
            );
        }
        if let NoteKind::ClockTick(clock) = note.kind {
            self.clock = clock;
        }
        self.notes.push(note);
    }

    /// Drops all notes behind the first `count`.
    pub(crate) fn truncate(&mut self, count: u64) {
        assert!(
            count >= self.below,
            "notes below the log's start are not truncated"
        );
        self.notes.truncate((count - self.below) as usize);
        self.clock = clock_behind(&self.notes);
    }

    /// The note that makes the count `count + 1`, if it is kept.
    #[must_use]
    pub fn get(&self, count: u64) -> Option<&Note> {
        self.notes
            .get(usize::try_from(count.checked_sub(self.below)?).ok()?)
    }

    /// Epoch of the last entry before a place; 0 at the log's beginning.
    #[must_use]
    pub fn epoch_at(&self, notes: u64) -> LeaderEpoch {
        notes
            .checked_sub(1)
            .and_then(|last| self.get(last))
            .map_or(LeaderEpoch(0), |note| note.leader_epoch)
    }

    /// Whether a log with these notes that ends at `end` has exactly this position. That `position` falls
    /// between two batches is implied by its epoch: within one epoch there is only one log.
    #[must_use]
    pub fn contains(&self, position: Position, end: Position) -> bool {
        if position.notes > self.count() || position.end_offset > end.end_offset {
            return false;
        }
        let stands_after = position.notes == 0
            || self
                .get(position.notes - 1)
                .is_some_and(|note| note.offset <= position.end_offset);
        let stands_before = position.notes == self.count()
            || self
                .get(position.notes)
                .is_some_and(|note| note.offset >= position.end_offset);
        stands_after && stands_before && self.epoch_at(position.notes) == position.leader_epoch
    }

    /// The end of the greatest epoch that is not above `leader_epoch`, in a log that ends at `end`.
    #[must_use]
    pub fn end_of_epoch(&self, leader_epoch: LeaderEpoch, end: Position) -> Position {
        let upto = self
            .notes
            .partition_point(|note| note.leader_epoch <= leader_epoch);
        let notes = self.below + upto as u64;
        Position {
            leader_epoch: self.epoch_at(notes),
            end_offset: self
                .notes
                .get(upto)
                .map_or(end.end_offset, |note| note.offset),
            notes,
        }
    }

    /// The greatest position that a log with these notes, which ends at `end`, may share with one that ends at `other`
    /// within the greatest epoch that is not above the one that it was asked for.
    ///
    /// Within one epoch there is one log, so they share what both have of it. But the other log may have lost a note of
    /// that epoch with its journal, and still have the records behind it: then the common position is where the first
    /// such note stands.
    #[must_use]
    pub fn common(&self, other: Position, end: Position) -> Position {
        let own = self.end_of_epoch(other.leader_epoch, end);
        if own.leader_epoch != other.leader_epoch {
            return own;
        }
        let position = Position {
            leader_epoch: own.leader_epoch,
            end_offset: own.end_offset.min(other.end_offset),
            notes: own.notes.min(other.notes),
        };
        if self.contains(position, end) {
            return position;
        }
        let lost = self.get(position.notes).map(|note| note.offset);
        let offset = lost.unwrap_or(end.end_offset).min(position.end_offset);
        self.position_of_offset(offset)
    }

    /// The position at the end of offset `offset`, before any note that stands there: where a batch that
    /// starts at `offset`'s predecessor ends.
    #[must_use]
    pub fn position_of_offset(&self, offset: Offset) -> Position {
        let upto = self.notes.partition_point(|note| note.offset < offset);
        let notes = self.below + upto as u64;
        Position {
            leader_epoch: self.epoch_at(notes),
            end_offset: offset,
            notes,
        }
    }

    /// The position before the record at `offset`, behind any note that stands there.
    #[must_use]
    pub fn position_before_record(&self, offset: Offset) -> Position {
        let upto = self.notes.partition_point(|note| note.offset <= offset);
        let notes = self.below + upto as u64;
        Position {
            leader_epoch: self.epoch_at(notes),
            end_offset: offset,
            notes,
        }
    }

    /// The epoch of the record at `offset`.
    #[must_use]
    pub fn epoch_of_record(&self, offset: Offset) -> LeaderEpoch {
        self.position_before_record(offset).leader_epoch
    }

    /// The count of the note that made this replica a voter, where the last voter note has it; 0 for an initial voter
    /// that has been one ever since.
    #[must_use]
    pub fn voter_since(&self, voter: Voter, at_creation: &[Voter]) -> u64 {
        let mut since = 0;
        for (place, note) in self.notes.iter().enumerate().rev() {
            match &note.kind {
                NoteKind::Voters(voters) if voters.contains(&voter) => {
                    since = self.below + place as u64 + 1;
                }
                NoteKind::Voters(_) => return since,
                NoteKind::Opening { .. } | NoteKind::LogStart(_) | NoteKind::ClockTick(_) => {}
            }
        }
        if at_creation.contains(&voter) {
            0
        } else {
            since
        }
    }

    /// The leader of the log's last epoch, where its opening is kept.
    #[must_use]
    pub fn last_leader(&self) -> Option<Voter> {
        self.notes.iter().rev().find_map(|note| match note.kind {
            NoteKind::Opening { leader } => Some(leader),
            NoteKind::Voters(_) | NoteKind::LogStart(_) | NoteKind::ClockTick(_) => None,
        })
    }

    /// The last voter note at or before `count` notes, with its own count.
    #[must_use]
    pub fn voters_at(&self, count: u64) -> Option<(u64, &[Voter])> {
        let kept = usize::try_from(count.saturating_sub(self.below))
            .unwrap_or(usize::MAX)
            .min(self.notes.len());
        self.notes[..kept]
            .iter()
            .enumerate()
            .rev()
            .find_map(|(place, note)| match &note.kind {
                NoteKind::Voters(voters) => Some((self.below + place as u64 + 1, &voters[..])),
                NoteKind::Opening { .. } | NoteKind::LogStart(_) | NoteKind::ClockTick(_) => None,
            })
    }

    /// Whether the voters at `count` notes, or those of any later change, have this one.
    #[must_use]
    pub fn has_voter_since(&self, voter: Voter, count: u64, at_creation: &[Voter]) -> bool {
        let before = self.voters_at(count);
        let before = before.map_or(at_creation, |(_, voters)| voters);
        let later = usize::try_from(count.saturating_sub(self.below)).unwrap_or(usize::MAX);
        let mut later = self.notes.iter().skip(later);
        let has =
            |note: &Note| matches!(&note.kind, NoteKind::Voters(voters) if voters.contains(&voter));
        before.contains(&voter) || later.any(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(leader_epoch: i32, offset: i64) -> Note {
        Note {
            leader_epoch: LeaderEpoch(leader_epoch),
            offset: Offset(offset),
            kind: NoteKind::Opening {
                leader: Voter::default(),
            },
        }
    }

    fn at(leader_epoch: i32, end_offset: i64, notes: u64) -> Position {
        Position {
            leader_epoch: LeaderEpoch(leader_epoch),
            end_offset: Offset(end_offset),
            notes,
        }
    }

    #[test]
    fn a_position_is_contained_only_with_its_epoch_and_its_notes() {
        // e1 opens at 0 and has [0,10); e4 opens at 10 and is empty yet.
        let notes = NoteIndex::new(0, vec![opening(1, 0), opening(4, 10)]);
        let end = at(4, 10, 2);
        for held in [at(0, 0, 0), at(1, 0, 1), at(1, 7, 1), at(1, 10, 1), end] {
            assert!(notes.contains(held, end), "{held}");
        }
        for not_held in [
            at(2, 10, 1),
            at(4, 11, 2),
            at(1, 11, 1),
            at(1, 10, 2),
            at(4, 10, 3),
            at(1, 5, 0),
        ] {
            assert!(!notes.contains(not_held, end), "{not_held}");
        }
    }

    #[test]
    fn what_a_log_without_a_note_shares_ends_before_that_note() {
        let learned = Note {
            kind: NoteKind::Voters(Vec::new()),
            ..opening(1, 7)
        };
        let notes = NoteIndex::new(0, vec![opening(1, 0), learned]);
        let end = at(1, 9, 2);
        // Another log has the batches on both sides of the note, and not the note, with more of them or with fewer.
        for without in [at(1, 9, 1), at(1, 12, 1), at(1, 8, 1)] {
            assert_eq!(notes.common(without, end), at(1, 7, 1), "{without}");
        }
        for held in [at(1, 5, 1), at(1, 7, 1), at(1, 7, 2), end] {
            assert_eq!(notes.common(held, end), held);
        }
        assert_eq!(notes.common(at(1, 12, 4), end), end);
        assert_eq!(notes.common(at(3, 12, 4), end), end);
    }

    #[test]
    fn two_logs_find_what_they_share_whichever_has_lost_a_note() {
        let learned = Note {
            kind: NoteKind::Voters(Vec::new()),
            ..opening(1, 7)
        };
        let whole = (NoteIndex::new(0, vec![opening(1, 0), learned]), at(1, 9, 2));
        let without = (NoteIndex::new(0, vec![opening(1, 0)]), at(1, 12, 1));
        // The leader asks, the follower says what it can share, and so on.
        for [leader, follower] in [[&whole, &without], [&without, &whole]] {
            let mut asked = leader.1;
            let mut asks = 0;
            while !follower.0.contains(asked, follower.1) {
                let hint = follower.0.common(asked, follower.1);
                asked = leader.0.common(hint, leader.1).min(asked);
                asks += 1;
                assert!(asks < 5, "it asks for {asked} again and again");
            }
            assert_eq!(asked, at(1, 7, 1));
        }
    }

    #[test]
    fn a_clock_shows_the_last_tick_at_or_before_a_batch_and_goes_back_when_that_is_truncated() {
        let tick = |clock, offset| Note {
            kind: NoteKind::ClockTick(LogClock(clock)),
            ..opening(1, offset)
        };
        let all = vec![opening(1, 0), tick(1, 3), tick(2, 7), opening(2, 9)];
        let shown = |offset| clock_at(&all, Offset(offset));
        assert_eq!(
            [0, 2, 3, 6, 7, 12].map(shown),
            [0, 0, 1, 1, 2, 2].map(LogClock)
        );
        let mut notes = NoteIndex::new(0, all);
        assert_eq!(notes.clock(), LogClock(2));
        notes.truncate(2);
        assert_eq!(notes.clock(), LogClock(1));
        notes.push(tick(2, 5));
        assert_eq!(notes.clock(), LogClock(2));
    }

    #[test]
    fn an_epoch_ends_where_the_next_one_opens() {
        let notes = NoteIndex::new(0, vec![opening(1, 0), opening(4, 10), opening(5, 10)]);
        let end = at(5, 12, 3);
        assert_eq!(notes.end_of_epoch(LeaderEpoch(0), end), at(0, 0, 0));
        assert_eq!(notes.end_of_epoch(LeaderEpoch(3), end), at(1, 10, 1));
        assert_eq!(notes.end_of_epoch(LeaderEpoch(4), end), at(4, 10, 2));
        assert_eq!(notes.end_of_epoch(LeaderEpoch(9), end), at(5, 12, 3));
    }

    #[test]
    fn a_record_belongs_to_the_last_epoch_opened_at_or_before_it() {
        let notes = NoteIndex::new(0, vec![opening(1, 0), opening(4, 10), opening(5, 10)]);
        assert_eq!(notes.epoch_of_record(Offset(9)), LeaderEpoch(1));
        assert_eq!(notes.epoch_of_record(Offset(10)), LeaderEpoch(5));
    }
}
