//! What a leader knows of one follower, and what it has sent it.

use std::collections::VecDeque;

use crate::log::Position;
use crate::store::QueryId;
use crate::time::Instant;

/// Messages with entries that may be under way to one follower. What is appended meanwhile goes together in
/// the next message, so batches grow with the load.
const INFLIGHT_MESSAGES_MAX: usize = 16;
/// Bytes of entries that may be under way to one follower or wait for its disk.
const INFLIGHT_BYTES_MAX: usize = 8 << 20;

/// One follower, as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// Where the next message begins.
    pub(super) next: Position,
    /// Whether the follower is known to have `next`: entries are then sent without waiting for answers.
    pub(super) replicating: bool,
    /// The follower has said that its log equals the leader's, and no break of the link since may have taken anything of it.
    pub(super) is_confirmed: bool,
    /// The follower's log was last known to equal the leader's up to here, in its memory; `None` until it has said.
    verified: Option<Position>,
    /// The follower has this in memory, at least, where the topic's policy lets that count.
    pub(super) appended: Position,
    /// The follower has this on disk.
    pub(super) durable: Position,
    /// The follower has no holes, is no suspect, and is not about to be deleted.
    pub(super) eligible: bool,
    /// End and weight of each message that the follower has not written: it is under way, or waits for the disk.
    inflight: VecDeque<(Position, usize)>,
    /// When the oldest message without an answer was sent.
    pub(super) waiting_since: Option<Instant>,
    /// The query that fetches the entries from `next` on from disk; void once `next` is another.
    pub(super) reading: Option<QueryId>,
    /// The committed position that it has last been told.
    pub(super) told_committed: Position,
    /// The leader's end, and when that was: once the follower has it, it was current at that time.
    lag_mark: (Position, Instant),
    /// When the follower was last current.
    pub(super) current_at: Instant,
}

impl Progress {
    /// Nothing is known but that a new leader's log ended at `end`, which the follower is asked for first.
    pub(super) fn new(end: Position, now: Instant) -> Self {
        Self {
            next: end,
            replicating: false,
            is_confirmed: false,
            verified: None,
            appended: Position::default(),
            durable: Position::default(),
            eligible: true,
            inflight: VecDeque::new(),
            waiting_since: None,
            reading: None,
            told_committed: Position::default(),
            lag_mark: (end, now),
            current_at: now,
        }
    }

    /// Whether another message with entries may be sent.
    pub(super) fn can_send(&self) -> bool {
        if self.reading.is_some() {
            return false;
        }
        if !self.replicating {
            return self.waiting_since.is_none();
        }
        !self.is_window_full()
    }

    /// Whether as much as may be is under way to it or waits for its disk: it is asked what it has, and sent nothing.
    pub(super) fn is_window_full(&self) -> bool {
        let bytes: usize = self.inflight.iter().map(|(_, weight)| weight).sum();
        self.inflight.len() >= INFLIGHT_MESSAGES_MAX || bytes >= INFLIGHT_BYTES_MAX
    }

    /// Whether it may have to be sent something, again or for the first time.
    pub(super) fn lags(&self, end: Position) -> bool {
        self.waiting_since.is_some() || self.next != end
    }

    /// Entries of this weight, or a probe of weight 0, have been sent; they end at `end`.
    pub(super) fn on_sent(&mut self, end: Position, weight: usize, now: Instant) {
        let counted = self.inflight.back();
        if weight > 0 && counted.is_none_or(|(counted, _)| *counted < end) {
            self.inflight.push_back((end, weight));
        }
        if self.replicating {
            self.next = end;
        }
        if weight > 0 || !self.replicating {
            self.waiting_since.get_or_insert(now);
        }
    }

    /// The follower has answered that its log equals the leader's up to `verified`; the leader's ends at `leader_end`.
    pub(super) fn on_matched(
        &mut self,
        verified: Position,
        appended: Position,
        durable: Position,
        leader_end: Position,
        now: Instant,
    ) {
        self.verified = Some(verified);
        self.is_confirmed = true;
        self.appended = self.appended.max(appended);
        self.durable = self.durable.max(durable);
        if !self.replicating {
            self.replicating = true;
            self.set_next(verified);
            self.inflight.retain(|(end, _)| *end <= verified);
        }
        self.set_next(self.next.max(verified));
        while self
            .inflight
            .pop_front_if(|(end, _)| *end <= appended)
            .is_some()
        {}
        let all_durable = self.durable >= self.next;
        self.waiting_since = if self.inflight.is_empty() && all_durable {
            None
        } else {
            Some(now)
        };
        if self.appended >= self.lag_mark.0 {
            self.current_at = self.lag_mark.1;
            self.lag_mark = (leader_end, now);
        }
    }

    /// The follower does not have `previous`, which it was asked for; the logs can share no more than `common`.
    /// An answer to an earlier question says nothing that the present one will not.
    pub(super) fn on_diverged(
        &mut self,
        previous: Position,
        common: Position,
        ignores_regress: bool,
    ) {
        // While messages are under way the follower may refuse what comes behind one that it had no room for. Where it has
        // said that it has everything durably, and does not, it was deleted and made again.
        let is_idle = self.waiting_since.is_none() && !ignores_regress;
        if self.replicating && !is_idle || previous != self.next {
            return;
        }
        self.is_confirmed = false;
        self.verified = self.verified.map(|verified| verified.min(common));
        self.appended = self.appended.min(common);
        self.durable = self.durable.min(common);
        self.probe_from(common.min(self.next));
        self.inflight.retain(|(end, _)| *end <= self.next);
    }

    /// What was under way may be lost: asks for what the follower was last known to have, or for the leader's
    /// `end` where nothing is known. It counts until the follower has said that it does not have it: as long as it
    /// writes nothing it says nothing of itself, and what waits for its disk is known to nobody else.
    pub(super) fn restart_probing(&mut self, end: Position, forgets: bool) {
        self.probe_from(self.verified.unwrap_or(end));
        if forgets {
            self.inflight.clear();
        }
    }

    /// The link has broken and is there again: the follower may be another start of its broker.
    pub(super) fn restart_probing_on_new_link(&mut self, end: Position) {
        self.is_confirmed = false;
        self.restart_probing(end, false);
    }

    fn probe_from(&mut self, next: Position) {
        self.replicating = false;
        self.set_next(next);
        self.waiting_since = None;
    }

    /// Moves `next`. What is being read from disk for the old one is not taken for entries behind the new one: of
    /// two positions with one offset, one may have a note before it that the other has not.
    fn set_next(&mut self, next: Position) {
        if next != self.next {
            self.next = next;
            self.reading = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{LeaderEpoch, Offset};

    fn position(leader_epoch: i32, end_offset: i64, notes: u64) -> Position {
        Position {
            leader_epoch: LeaderEpoch(leader_epoch),
            end_offset: Offset(end_offset),
            notes,
        }
    }

    #[test]
    fn what_waits_for_a_followers_disk_counts_although_it_is_asked_anew() {
        let at = |n: i64| position(1, n, 1);
        let end = at(100);
        let mut progress = Progress::new(at(0), Instant(0));
        let says = |progress: &mut Progress, verified: i64, appended: i64| {
            let (verified, appended) = (at(verified), at(appended));
            progress.on_matched(verified, appended, appended, end, Instant(0));
        };
        says(&mut progress, 0, 0);
        let most = i64::try_from(INFLIGHT_MESSAGES_MAX).unwrap();
        for n in 1..=most {
            assert!(progress.can_send());
            progress.on_sent(at(n), 1, Instant(0));
        }
        assert!(!progress.can_send(), "the window is full");
        progress.restart_probing(end, false);
        assert!(progress.is_window_full(), "it may have come");
        progress.on_sent(at(0), 0, Instant(0));
        says(&mut progress, most, 0);
        assert!(!progress.can_send(), "it has come and waits for the disk");
        progress.restart_probing(end, false);
        says(&mut progress, most, 1);
        assert!(progress.can_send(), "one of it is written");
        progress.on_sent(at(most + 1), 1, Instant(0));
        progress.restart_probing(end, false);
        says(&mut progress, most, 1);
        assert!(progress.can_send(), "the last has been lost");
        assert_eq!(progress.next, at(most));
    }

    #[test]
    fn what_is_read_for_one_place_is_not_sent_from_another() {
        let (end, behind_note, before_note) =
            (position(2, 50, 2), position(2, 40, 2), position(1, 40, 1));
        let mut progress = Progress::new(end, Instant(0));
        let matched = |progress: &mut Progress, verified: Position| {
            progress.on_matched(verified, verified, verified, end, Instant(0));
        };
        progress.probe_from(behind_note);
        progress.reading = Some(QueryId(1));
        matched(&mut progress, behind_note);
        assert_eq!(progress.reading, Some(QueryId(1)), "it is still wanted");
        progress.probe_from(before_note);
        assert_eq!((progress.next, progress.reading), (before_note, None));
        progress.reading = Some(QueryId(2));
        matched(&mut progress, behind_note);
        assert_eq!((progress.next, progress.reading), (behind_note, None));
    }
}
