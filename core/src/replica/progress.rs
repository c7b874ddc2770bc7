//! What a leader knows of one follower's log, and the flow control of what it sends. As etcd's `Progress`: probing
//! until the logs are known to agree, replicating after that.

use std::collections::VecDeque;

use crate::log::Position;
use crate::store::QueryId;
use crate::time::Instant;

/// Messages with entries that may be in flight to one follower. Entries that are appended meanwhile go together in the
/// next message, so messages grow with the load.
const INFLIGHT_MESSAGES_MAX: usize = 16;
/// Bytes of entries that may be in flight to one follower or wait for its disk.
const INFLIGHT_BYTES_MAX: usize = 8 << 20;

/// One follower, as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// The position before the first entry of the next message.
    pub(super) next: Position,
    /// Whether the follower is known to have `next`: entries are then pipelined, without waiting for replies. Otherwise
    /// the leader probes.
    pub(super) replicating: bool,
    /// The follower has confirmed over the present link that its log equals the leader's up to `verified`. After a
    /// break of the link the follower may be another incarnation, and counts for the ISR only once it has confirmed
    /// again.
    pub(super) is_confirmed: bool,
    /// The follower's log, in its memory, was last known to equal the leader's up to here; `None` before its first
    /// reply.
    verified: Option<Position>,
    /// The follower has at least this in memory, as far as that may count under `flush=replicated`.
    pub(super) appended: Position,
    /// The follower has at least this on disk.
    pub(super) durable: Position,
    /// The follower has no holes, is not a suspect, and is not about to be deleted.
    pub(super) eligible: bool,
    /// End and weight of each message that the follower has not written yet: in flight, or waiting for its disk.
    inflight: VecDeque<(Position, usize)>,
    /// When the oldest message that has no reply was sent, or the last reply came that left some unwritten.
    pub(super) waiting_since: Option<Instant>,
    /// The query that reads the entries after `next` from disk; void once `next` moves.
    pub(super) reading: Option<QueryId>,
    /// The committed position last sent to the follower.
    pub(super) told_committed: Position,
    /// The leader's log end at some time, and that time: once the follower has reached that end, it was caught up as of
    /// that time.
    lag_mark: (Position, Instant),
    /// The last time as of which the follower was caught up.
    pub(super) current_at: Instant,
}

impl Progress {
    /// A new leader knows nothing of its followers, and probes at the end that its own log had before the opening.
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

    /// Whether another message may be sent.
    pub(super) fn can_send(&self) -> bool {
        if self.reading.is_some() {
            return false;
        }
        if !self.replicating {
            return self.waiting_since.is_none();
        }
        !self.is_window_full()
    }

    /// Whether the limit of messages or bytes in flight is reached. The leader may then probe, but sends no entries.
    pub(super) fn is_window_full(&self) -> bool {
        let bytes: usize = self.inflight.iter().map(|(_, weight)| weight).sum();
        self.inflight.len() >= INFLIGHT_MESSAGES_MAX || bytes >= INFLIGHT_BYTES_MAX
    }

    /// Whether the follower may need entries, for the first time or again.
    pub(super) fn lags(&self, end: Position) -> bool {
        self.waiting_since.is_some() || self.next != end
    }

    /// A message was sent with entries of this weight that end at `end`, or without entries and of weight 0.
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

    /// The follower replies that its log equals the leader's up to `verified`; the leader's log ends at `leader_end`.
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

    /// The follower replies that it does not have `previous`; the logs share no more than `common`. A reply to an
    /// earlier probe is ignored: the present one will bring what it says.
    pub(super) fn on_diverged(
        &mut self,
        previous: Position,
        common: Position,
        ignores_regress: bool,
    ) {
        // While messages are in flight, the follower may refuse one that follows a message that it had no room for. If
        // it had confirmed everything as durable and now lacks it, it was deleted and created again.
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

    /// Messages in flight may be lost: the leader probes at the last verified position, or at its own `end` where none
    /// is known. What is in flight counts against the window until the follower shows that it lacks it: a follower
    /// whose disk writes nothing sends no replies of its own, so only this count bounds what waits for that disk.
    pub(super) fn restart_probing(&mut self, end: Position, forgets: bool) {
        self.probe_from(self.verified.unwrap_or(end));
        if forgets {
            self.inflight.clear();
        }
    }

    /// The link was replaced: the follower may be in another incarnation.
    pub(super) fn restart_probing_on_new_link(&mut self, end: Position) {
        self.is_confirmed = false;
        self.restart_probing(end, false);
    }

    fn probe_from(&mut self, next: Position) {
        self.replicating = false;
        self.set_next(next);
        self.waiting_since = None;
    }

    /// Moves `next` and voids the disk read for the old one: two positions with the same offset may differ by a note,
    /// so the batches read for one do not always follow the other.
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
    fn entries_that_wait_for_a_followers_disk_fill_the_window_after_a_probe() {
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
    fn entries_read_from_disk_for_one_position_are_not_sent_from_another() {
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
