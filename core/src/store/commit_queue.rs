//! What waits for a group commit, and when the next one is due.
//!
//! An order enters once it has been executed, with the journal group that its record is in. It is reported by the group
//! commit that finds this group durable.

use std::collections::VecDeque;

use crate::store::Completion;
use crate::store::journal::GroupNumber;
use crate::time::Instant;

/// The queue before the group commits of one directory.
#[derive(Debug, Default)]
pub(super) struct CommitQueue {
    /// What was executed and is not durable, with the group that it is in: groups ascending.
    pending: VecDeque<(GroupNumber, Completion)>,
    /// Durable completions that nobody has been handed yet.
    durable: Vec<Completion>,
    /// Whether something waits for the next group commit, and may not wait for longer.
    is_requested: bool,
    /// When the oldest append that may wait must be durable.
    flush_by: Option<Instant>,
}

impl CommitQueue {
    /// Adds an order that has been executed, and is durable when `group` is.
    pub(super) fn push(&mut self, group: GroupNumber, completion: Completion) {
        self.pending.push_back((group, completion));
    }

    /// Asks for a group commit as soon as possible.
    pub(super) const fn request(&mut self) {
        self.is_requested = true;
    }

    /// Asks for one at this time at the latest.
    pub(super) fn request_by(&mut self, due: Instant) {
        self.flush_by = Some(self.flush_by.map_or(due, |by| by.min(due)));
    }

    /// Learns that a ticket has everything for which a group commit was asked.
    pub(super) const fn clear_requests(&mut self) {
        self.is_requested = false;
        self.flush_by = None;
    }

    /// Whether a group commit should begin: something waits for it, or has waited long enough.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.is_requested || !self.durable.is_empty() || self.flush_by.is_some_and(|by| by <= now)
    }

    /// When a group commit will be due at the latest without another order.
    pub(super) const fn next_deadline(&self) -> Option<Instant> {
        self.flush_by
    }

    /// Whether nothing waits, neither to become durable nor to be reported.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.durable.is_empty()
    }

    /// Learns that everything up to `number` is durable.
    pub(super) fn on_durable(&mut self, number: GroupNumber) {
        while let Some((_, completion)) = self.pending.pop_front_if(|(at, _)| *at <= number) {
            self.durable.push(completion);
        }
    }

    /// What is durable and was not reported yet.
    pub(super) fn take_durable(&mut self) -> Vec<Completion> {
        std::mem::take(&mut self.durable)
    }
}
