//! The orders that wait for a group commit, and when the next commit is due.
//!
//! An order enters the queue once it has been executed, with the journal group that holds its record. It is reported
//! durable by the group commit that makes that group durable.

use std::collections::VecDeque;

use crate::store::Completion;
use crate::store::journal::GroupNumber;
use crate::time::Instant;

/// The queue of one directory.
#[derive(Debug, Default)]
pub(super) struct CommitQueue {
    /// Completions of orders that were executed and are not durable, each with its group; groups ascending.
    pending: VecDeque<(GroupNumber, Completion)>,
    /// Completions of durable orders that have not been reported yet.
    durable: Vec<Completion>,
    /// Whether a group commit was requested as soon as possible.
    is_requested: bool,
    /// When the oldest append with [`Flush::Replicated`](crate::store::Flush) must be durable.
    flush_by: Option<Instant>,
}

impl CommitQueue {
    /// Adds an executed order, which is durable once `group` is.
    pub(super) fn push(&mut self, group: GroupNumber, completion: Completion) {
        self.pending.push_back((group, completion));
    }

    /// Requests a group commit as soon as possible.
    pub(super) const fn request(&mut self) {
        self.is_requested = true;
    }

    /// Requests a group commit by this time at the latest.
    pub(super) fn request_by(&mut self, due: Instant) {
        self.flush_by = Some(self.flush_by.map_or(due, |by| by.min(due)));
    }

    /// A commit ticket now covers everything that requested a commit.
    pub(super) const fn clear_requests(&mut self) {
        self.is_requested = false;
        self.flush_by = None;
    }

    /// Whether a group commit should begin: it was requested, is due by time, or completions wait to be reported.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.is_requested || !self.durable.is_empty() || self.flush_by.is_some_and(|by| by <= now)
    }

    /// When a group commit becomes due if no other order comes.
    pub(super) const fn next_deadline(&self) -> Option<Instant> {
        self.flush_by
    }

    /// Whether no order waits to become durable or to be reported.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.durable.is_empty()
    }

    /// All groups up to `number` are durable.
    pub(super) fn on_durable(&mut self, number: GroupNumber) {
        while let Some((_, completion)) = self.pending.pop_front_if(|(at, _)| *at <= number) {
            self.durable.push(completion);
        }
    }

    /// Takes the completions of durable orders that have not been reported yet.
    pub(super) fn take_durable(&mut self) -> Vec<Completion> {
        std::mem::take(&mut self.durable)
    }
}
