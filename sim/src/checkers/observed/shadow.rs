//! One replica from outside: what it was ordered to store, and how much of that is durable.

use std::collections::VecDeque;
use std::fmt::Write as _;

use varve_core::ids::Voter;
use varve_core::log::Position;
use varve_core::store::{
    Completion, Mark, Order, OrderKind, OrderSeq, RecoveredReplica, Stage, Vote,
};

use super::Interruption;
use super::log::{Logged, digest_batch, index_of, log_entry, order};

/// What one replica has been told to store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// It has been created and not deleted.
    pub exists: bool,
    /// The voters that it was created with.
    pub created_with: Vec<Voter>,
    /// Its log.
    pub log: Vec<Logged>,
    /// Its vote.
    pub vote: Vote,
    /// Its mark.
    pub mark: Mark,
}

impl Stored {
    /// The log's end.
    #[must_use]
    pub fn end(&self) -> Position {
        self.log
            .last()
            .map_or(Position::default(), |last| last.after)
    }

    /// Index behind the entry that ends at this position; 0 for the beginning.
    #[must_use]
    pub fn index_of(&self, position: Position) -> Option<usize> {
        index_of(&self.log, position)
    }
}

/// The log up to this position: from the front; or so up to where notes are lost with the journal, with those batches
/// behind them that are of the same epoch, which are found in the segments.
fn part(log: &[Logged], end: Position) -> Option<Vec<Logged>> {
    if let Some(kept) = index_of(log, end) {
        return Some(log[..kept].to_vec());
    }
    let before = |logged: &Logged| logged.after.notes <= end.notes;
    let (front, behind) = log.split_at(log.partition_point(before));
    with_batches(front, behind, end)
}

/// The log with those batches behind it, up to this position, that are of the epoch of this position. In one epoch there
/// is one log, so they are what stood there, whether they are what was lost or what was dropped since.
fn with_batches(front: &[Logged], behind: &[Logged], end: Position) -> Option<Vec<Logged>> {
    let mut part = front.to_vec();
    let batches = behind.iter().filter(|logged| logged.crc != 0);
    for batch in batches.filter(|batch| batch.after.leader_epoch == end.leader_epoch) {
        let after = Position {
            notes: end.notes,
            ..batch.after
        };
        part.push(Logged { after, ..*batch });
        if after == end {
            return Some(part);
        }
    }
    None
}

#[derive(Clone, Debug, PartialEq)]
enum Change {
    Create(Vec<Voter>),
    Append(Vec<Logged>),
    Truncate(Position),
    Vote(Vote),
    Mark(Mark),
    Delete,
    /// Changes nothing that is followed here.
    Other,
}

impl Change {
    fn describe(&self) -> String {
        match self {
            Self::Create(_) => "create".to_owned(),
            Self::Append(entries) => match entries.last() {
                Some(last) => format!("append to {}", last.after),
                None => "append nothing".to_owned(),
            },
            Self::Truncate(to) => format!("truncate to {to}"),
            Self::Vote(vote) => format!("vote {}", show_vote(vote)),
            Self::Mark(mark) => format!("mark {mark:?}"),
            Self::Delete => "delete".to_owned(),
            Self::Other => "other".to_owned(),
        }
    }
}

impl Stored {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Create(voters) => {
                self.exists = true;
                self.created_with.clone_from(voters);
            }
            Change::Append(entries) => self.log.extend_from_slice(entries),
            Change::Truncate(to) => {
                if let Some(index) = self.index_of(*to) {
                    self.log.truncate(index);
                }
            }
            Change::Vote(vote) => self.vote = *vote,
            Change::Mark(mark) => self.mark = *mark,
            Change::Delete => *self = Self::default(),
            Change::Other => {}
        }
    }
}

/// One replica from outside.
#[derive(Clone, Debug, Default)]
pub struct Shadow {
    /// What it was ordered to store, done or not.
    pub ordered: Stored,
    /// What was reported durable.
    pub durable: Stored,
    /// The one before it, as it was when its deletion was reported durable, or when a start has found it deleted.
    predecessor: Stored,
    /// Its log before each truncation that was reported durable, or that a start may have found done.
    before_truncations: Vec<Vec<Logged>>,
    /// What the disk has refused, and what a start has not found: where it stood in the log, and its entries. Its
    /// batches may be in the segments.
    dropped: Vec<(Position, Vec<Logged>)>,
    /// What was reported written, by the number of its order.
    pub(super) written: OrderSeq,
    pending: VecDeque<Pending>,
    /// What it has acknowledged since it last started.
    acknowledged: Acknowledged<Position>,
    /// What it had acknowledged when it died, and did not find when it started: a power cut has taken it from memory, or
    /// damage from the disk. The word was true, and may still be under way.
    lost: Acknowledged<Vec<Vec<Logged>>>,
    /// The disk has refused what stands behind some place of the log; what is committed of it may be ordered again.
    refused: bool,
    /// Its directory has been lost.
    pub gone: bool,
    /// Entries from the front that have been compared with the committed log.
    pub(super) compared: usize,
}

/// By what is counted: what is on disk, and what is in memory at least.
#[derive(Clone, Debug, Default)]
struct Acknowledged<T> {
    durable: T,
    appended: T,
}

/// An order that was not reported durable.
#[derive(Clone, Debug)]
struct Pending {
    seq: OrderSeq,
    change: Change,
    /// Of an append: the log's end before it.
    after: Option<Position>,
    /// The replica knows that it was refused.
    given_up: bool,
}

/// What an order does to a log, where that is worth a look.
#[derive(Debug)]
pub(super) enum Deed {
    /// It does not fit what was ordered before.
    Misfit(String),
    /// It drops entries.
    Truncated {
        /// How many entries stay.
        kept: usize,
        /// What was dropped.
        dropped: Vec<Logged>,
    },
}

impl Shadow {
    /// The logs that this replica may be counted by, durable or in memory at least: what it has, and what it had when it
    /// truly acknowledged what it has lost since.
    pub fn counted(&self, in_memory: bool) -> impl Iterator<Item = &[Logged]> {
        let (present, lost) = if in_memory {
            (&self.ordered.log, &self.lost.appended)
        } else {
            (&self.durable.log, &self.lost.durable)
        };
        std::iter::once(present).chain(lost).map(Vec::as_slice)
    }

    /// It acknowledges its log up to these positions.
    pub(super) fn acknowledges(&mut self, appended: Position, durable: Position) {
        self.acknowledged = Acknowledged { durable, appended };
    }

    /// Keeps what it has acknowledged of a log and does not have any more.
    fn lose(&mut self, left: &[Logged]) {
        let said = std::mem::take(&mut self.acknowledged);
        let lacks = |log: &Stored, said| {
            let acknowledged = log.log.get(..log.index_of(said)?)?;
            (!left.starts_with(acknowledged)).then(|| acknowledged.to_vec())
        };
        self.lost.durable.extend(lacks(&self.durable, said.durable));
        self.lost
            .appended
            .extend(lacks(&self.ordered, said.appended));
    }

    /// Takes an order, and tells what that does to the log, where it is worth a look.
    pub(super) fn take_order(&mut self, order: &Order) -> Option<Deed> {
        let mut deed = None;
        let mut end_before = None;
        let change = match &order.kind {
            OrderKind::Create { voters } => Change::Create(voters.clone()),
            OrderKind::Append { after, entries, .. } => {
                end_before = Some(*after);
                if self.refused
                    && let Some(kept) = self.ordered.index_of(*after)
                {
                    // Ordered again, once there is room.
                    self.ordered.log.truncate(kept);
                    self.compared = self.compared.min(kept);
                }
                self.refused = false;
                let end = self.ordered.end();
                if end != *after {
                    let what = format!("appends behind {after}, its log ends at {end}");
                    deed = Some(Deed::Misfit(what));
                }
                let mut position = *after;
                let mut logged = Vec::with_capacity(entries.len());
                for entry in entries {
                    position = entry.position_after(position);
                    logged.push(log_entry(entry, position));
                }
                Change::Append(logged)
            }
            OrderKind::Truncate { to } => match self.ordered.index_of(*to) {
                Some(kept) => {
                    let dropped = self.ordered.log[kept..].to_vec();
                    deed = Some(Deed::Truncated { kept, dropped });
                    self.compared = self.compared.min(kept);
                    Change::Truncate(*to)
                }
                None => {
                    let what = format!("truncates to {to}, which is no position of its log");
                    deed = Some(Deed::Misfit(what));
                    Change::Other
                }
            },
            OrderKind::StoreVote(vote) => Change::Vote(*vote),
            OrderKind::SetMark(mark) => Change::Mark(*mark),
            OrderKind::Delete => {
                self.compared = 0;
                Change::Delete
            }
            OrderKind::Fill { .. }
            | OrderKind::Probe
            | OrderKind::AcceptLoss { .. }
            | OrderKind::SaveSnapshot { .. } => Change::Other,
        };
        self.ordered.apply(&change);
        self.pending.push_back(Pending {
            seq: order.seq,
            change,
            after: end_before,
            given_up: false,
        });
        deed
    }

    /// Hears what the store reports of an order. Returns what the replica gives up because of that.
    pub(super) fn take_completion(&mut self, completion: &Completion) -> Vec<Logged> {
        match completion.stage {
            Stage::Refused(_) => return self.give_up(completion.seq),
            Stage::Unfilled => return Vec::new(),
            Stage::Written | Stage::Durable => {
                self.written = self.written.max(completion.seq);
            }
        }
        if completion.stage != Stage::Durable {
            return Vec::new();
        }
        while let Some(pending) = self.pending.pop_front_if(|it| it.seq <= completion.seq) {
            match pending.change {
                Change::Delete => {
                    self.before_truncations.clear();
                    self.lost = Acknowledged::default();
                    self.dropped.clear();
                    self.predecessor = std::mem::take(&mut self.durable);
                }
                Change::Truncate(_) => self.before_truncations.push(self.durable.log.clone()),
                Change::Create(_)
                | Change::Append(_)
                | Change::Vote(_)
                | Change::Mark(_)
                | Change::Other => {}
            }
            self.durable.apply(&pending.change);
        }
        Vec::new()
    }

    /// A full disk has refused an order: it changes nothing, whether the replica hears of that or not.
    pub(super) fn refused(&mut self, seq: OrderSeq) {
        let mut pending = self.pending.iter_mut();
        if let Some(pending) = pending.find(|pending| pending.seq == seq) {
            let refused = std::mem::replace(&mut pending.change, Change::Other);
            if let (Some(after), Change::Append(entries)) = (pending.after, refused) {
                self.dropped.push((after, entries));
            }
        }
    }

    /// The replica hears that an append was refused: what stands behind it in memory is given up, but for what is
    /// committed, unless it has been truncated or deleted since.
    fn give_up(&mut self, seq: OrderSeq) -> Vec<Logged> {
        let mut from = None;
        for pending in &mut self.pending {
            if pending.seq == seq && !pending.given_up {
                from = pending.after;
            }
            let Some(from) = from else {
                continue;
            };
            match &pending.change {
                Change::Truncate(to) if order(*to) <= order(from) => return Vec::new(),
                Change::Delete => return Vec::new(),
                Change::Truncate(_)
                | Change::Create(_)
                | Change::Append(_)
                | Change::Vote(_)
                | Change::Mark(_)
                | Change::Other => {}
            }
            pending.given_up |= pending.after.is_some();
        }
        let Some(kept) = from.and_then(|from| self.ordered.index_of(from)) else {
            return Vec::new();
        };
        self.refused = true;
        self.ordered.log.split_off(kept.max(self.compared))
    }

    /// The node starts, and has found this: it must be what it was when everything durable was done, or after some of
    /// the orders behind that, in their order.
    pub(super) fn restart(
        &mut self,
        found: Option<&RecoveredReplica>,
        fault: Interruption,
    ) -> Result<(), String> {
        let state = match self.left_by_rotten_journal(found, fault) {
            Some(state) => state,
            None => {
                let left = self.left_by_crash(found, fault);
                left.or_else(|wrong| self.left_by_torn_journal(found, fault).ok_or(wrong))?
            }
        };
        self.keep_what_may_come_back(&state);
        let same = state.log.iter().zip(&self.ordered.log);
        let same = same.take_while(|(one, other)| one == other).count();
        self.compared = self.compared.min(same);
        self.lose(&state.log);
        if same < self.ordered.log.len() {
            let dropped = self.ordered.log.split_off(same);
            self.dropped.push((self.ordered.end(), dropped));
        }
        self.ordered.clone_from(&state);
        self.durable = state;
        self.pending.clear();
        self.refused = false;
        self.written = OrderSeq::default();
        Ok(())
    }

    /// What a journal with a rotten group leaves, where that is what was found: the replica knows that something is
    /// lost, its votes stand twice and are all there, and its log is a part of what it was, or was before a truncation that
    /// is lost; or it goes on with what stands behind it in the segments, which the disk has refused, or no start has found
    /// since. Where its deletion is lost, it is there again.
    fn left_by_rotten_journal(
        &self,
        found: Option<&RecoveredReplica>,
        fault: Interruption,
    ) -> Option<Stored> {
        let found = found.filter(|found| fault.journal_damaged && found.mark.is_suspect())?;
        self.part_left(found, fault)
            .or_else(|| self.predecessor_left(found))
            .or_else(|| self.name_left(found, fault))
    }

    /// The same where a power cut has torn groups and spared others behind them: only what was never durable may be lost.
    fn left_by_torn_journal(
        &self,
        found: Option<&RecoveredReplica>,
        fault: Interruption,
    ) -> Option<Stored> {
        let found = found.filter(|found| fault.power_was_cut && found.mark.is_suspect())?;
        let left = self.part_left(found, fault);
        let left = left.filter(|left| left.log.starts_with(&self.durable.log));
        left.or_else(|| self.name_left(found, fault))
    }

    /// A replica whose deletion was under way and is done, and whose directory is still there: a lost group may have created
    /// it again, with voters that nobody knows.
    fn name_left(&self, found: &RecoveredReplica, fault: Interruption) -> Option<Stored> {
        let left = Stored {
            exists: true,
            mark: found.mark,
            ..Stored::default()
        };
        let deletes = |pending: &Pending| pending.change == Change::Delete;
        let deletion = self.pending.iter().rposition(deletes)?;
        let behind = self.pending.iter().skip(deletion);
        let left = self.with_votes(left, behind, found, fault)?;
        found.voters.is_empty().then_some(left)
    }

    fn predecessor_left(&self, found: &RecoveredReplica) -> Option<Stored> {
        let left = Stored {
            log: part(&self.predecessor.log, found.end)?,
            mark: found.mark,
            ..self.predecessor.clone()
        };
        matches(&left, Some(found)).then_some(left)
    }

    fn part_left(&self, found: &RecoveredReplica, fault: Interruption) -> Option<Stored> {
        let undone = self.undone_by_lost_orders();
        let as_it_was = [&self.ordered.log, &self.durable.log].into_iter();
        let as_it_was = as_it_was.chain(undone.iter().rev());
        let mut logs = as_it_was.chain(self.before_truncations.iter().rev());
        let gone_on = |log: &Vec<Logged>| {
            let mut dropped = self.dropped.iter().rev();
            dropped.find_map(|(after, entries)| {
                // The front of it may stand in the log again, as its opening does.
                let again = entries.iter().map(|entry| entry.after);
                let mut places = (0..).zip(std::iter::once(*after).chain(again));
                places.find_map(|(place, after)| {
                    let kept = index_of(log, after).filter(|_| after.notes == found.end.notes)?;
                    with_batches(&log[..kept], &entries[place..], found.end)
                })
            })
        };
        let log = logs.clone().find_map(|log| part(log, found.end));
        let log = log.or_else(|| logs.find_map(gone_on))?;
        let was_new = !self.durable.exists || self.durable.mark == Mark::New;
        let is_new = was_new && self.ordered.mark == Mark::New;
        let state = Stored {
            exists: true,
            created_with: self.ordered.created_with.clone(),
            log,
            vote: self.durable.vote,
            mark: if is_new { Mark::New } else { found.mark },
        };
        let mut state = self.with_votes(state, &self.pending, found, fault)?;
        state.mark = found.mark;
        Some(state)
    }

    /// The same with the votes among these orders, which stand twice: those that were written when no power was cut are
    /// there, and of the others as many as it takes.
    fn with_votes<'a>(
        &self,
        mut state: Stored,
        pending: impl IntoIterator<Item = &'a Pending>,
        found: &RecoveredReplica,
        fault: Interruption,
    ) -> Option<Stored> {
        let votes = pending.into_iter();
        let votes = votes.filter_map(|pending| match &pending.change {
            Change::Vote(vote) => Some((pending.seq, *vote)),
            _no_vote => None,
        });
        let mut votes = votes.peekable();
        let is_stored = |(seq, _): &(OrderSeq, Vote)| *seq <= self.written && !fault.power_was_cut;
        while let Some((_, vote)) = votes.next_if(is_stored) {
            state.vote = vote;
        }
        while !matches(&state, Some(found)) {
            state.vote = votes.next()?.1;
        }
        Some(state)
    }

    /// Keeps what stood before truncations and a deletion that were under way: they were not reported, and are done where
    /// this start has found them, so that a journal which loses them later gives back what was there.
    fn keep_what_may_come_back(&mut self, found: &Stored) {
        let was_deleted = !found.exists || found.mark == Mark::New;
        let mut state = self.durable.clone();
        for Pending { change, .. } in &self.pending {
            match change {
                Change::Truncate(_) => self.before_truncations.push(state.log.clone()),
                Change::Delete if was_deleted => self.predecessor = state.clone(),
                Change::Delete
                | Change::Create(_)
                | Change::Append(_)
                | Change::Vote(_)
                | Change::Mark(_)
                | Change::Other => {}
            }
            state.apply(change);
        }
    }

    /// The logs in front of each truncation and deletion that is not durable, and may be lost where orders before it are not.
    fn undone_by_lost_orders(&self) -> Vec<Vec<Logged>> {
        let mut state = self.durable.clone();
        let mut logs = Vec::new();
        for Pending { change, .. } in &self.pending {
            match change {
                Change::Truncate(_) | Change::Delete => logs.push(state.log.clone()),
                Change::Create(_)
                | Change::Append(_)
                | Change::Vote(_)
                | Change::Mark(_)
                | Change::Other => {}
            }
            state.apply(change);
        }
        logs
    }

    /// What a crash leaves, and rot in a segment.
    fn left_by_crash(
        &self,
        found: Option<&RecoveredReplica>,
        fault: Interruption,
    ) -> Result<Stored, String> {
        // What was written survives the process: only a power cut takes it back.
        let mut least = 0;
        if !fault.power_was_cut {
            least = self
                .pending
                .iter()
                .take_while(|pending| pending.seq <= self.written)
                .count();
        }
        // What only the journal had by then is gone with it.
        let is_sound = !fault.damaged && !fault.journal_damaged;
        if is_sound && let Some(hole) = found.and_then(|found| found.holes.first()) {
            return Err(format!(
                "recovery found a hole from {} to {} on a disk that nothing has damaged",
                hole.start, hole.end
            ));
        }
        let mut state = self.durable.clone();
        // The last durable end is journalled with the group behind it: until then, rot at the log's end looks like what
        // a power cut has torn. The replica is shorter then, and knows that it may be.
        if fault.damaged
            && fault.power_was_cut
            && let Some(found) = found
            && found.mark.is_suspect()
            && found.end < state.end()
            && let Some(kept) = state.index_of(found.end)
        {
            state.log.truncate(kept);
        }
        for pending in self.pending.iter().take(least) {
            state.apply(&pending.change);
        }
        let mut rest = self
            .pending
            .iter()
            .skip(least)
            .map(|pending| &pending.change);
        while !matches(&state, found) {
            let Some(change) = rest.next() else {
                return Err(self.misrecovered(found));
            };
            if let Change::Append(entries) = change {
                for entry in entries {
                    // A torn append is cut, although orders behind it were kept: then the replica is suspect.
                    let mut cut = state.clone();
                    let is_cut = found.is_some_and(|found| found.mark.is_suspect())
                        && rest.clone().any(|later| {
                            if matches!(later, Change::Vote(_) | Change::Mark(_)) {
                                cut.apply(later);
                            }
                            matches(&cut, found)
                        });
                    if is_cut {
                        state = cut;
                        break;
                    }
                    state.log.push(*entry);
                    if matches(&state, found) {
                        break;
                    }
                }
            } else {
                state.apply(change);
            }
        }
        if let Some(found) = found
            && found.mark.is_suspect()
        {
            state.mark = found.mark;
        }
        // A mark survives the process like all that was written, though only what is durable is reported of it.
        let marks = |pending: &Pending| pending.change == Change::Mark(Mark::Volatile);
        if found.is_some_and(|found| found.mark == Mark::Volatile) && self.pending.iter().any(marks)
        {
            state.mark = Mark::Volatile;
        }
        Ok(state)
    }

    fn misrecovered(&self, found: Option<&RecoveredReplica>) -> String {
        let said = |stored: &Stored| {
            if stored.exists {
                format!(
                    "{} vote {} {:?}",
                    stored.end(),
                    show_vote(&stored.vote),
                    stored.mark
                )
            } else {
                "nothing".to_owned()
            }
        };
        let found = found.map_or("nothing".to_owned(), |found| {
            format!(
                "{} vote {} {:?}",
                found.end,
                show_vote(&found.vote),
                found.mark
            )
        });
        let mut behind = String::new();
        for Pending { seq, change, .. } in &self.pending {
            let written = if *seq <= self.written {
                " (written)"
            } else {
                ""
            };
            let _ = write!(behind, ", {}{written}", change.describe());
        }
        format!(
            "recovery found {found}; durable was {}{behind}",
            said(&self.durable)
        )
    }
}

fn show_vote(vote: &Vote) -> String {
    match vote.voted_for {
        Some(voter) => format!("e{} for n{}", vote.leader_epoch, voter.broker),
        None => format!("e{}", vote.leader_epoch),
    }
}

/// Whether a recovered replica is this state. A mark may be worse than what was stored: recovery judges it.
fn matches(state: &Stored, found: Option<&RecoveredReplica>) -> bool {
    let Some(found) = found else {
        return !state.exists;
    };
    if !state.exists || state.end() != found.end || state.vote != found.vote {
        return false;
    }
    let is_sound = match state.mark {
        Mark::Clean | Mark::Volatile => found.mark != Mark::New,
        Mark::Suspect => found.mark == Mark::Suspect,
        // With its creation, which tells who voted then, that mark may be lost.
        Mark::New => {
            found.mark == Mark::New || found.mark == Mark::Suspect && found.voters.is_empty()
        }
    };
    if !is_sound {
        return false;
    }
    // The recovered headers are the batches at the log's end; each must be the one that was ordered.
    let batches = state.log.iter().rev().filter(|logged| logged.crc != 0);
    found
        .headers
        .iter()
        .rev()
        .zip(batches)
        .all(|(header, logged)| logged.digest == digest_batch(header))
}
