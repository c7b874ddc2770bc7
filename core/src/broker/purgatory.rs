//! The purgatory (Kafka's word): requests that cannot be answered at once, until their condition is met or their
//! timeout has passed.
//!
//! Each kind of waiting request implements [`Delayed`]: how it is answered on timeout and when this broker stops, and
//! which indexes refer to it. A new kind is a new implementation, and nothing here changes.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;

use crate::effect::{Effects, RequestId};
use crate::ids::TopicPartition;
use crate::input::{ConnectionId, RequestContext};
use crate::time::Instant;

use super::Broker;

/// A waiting request. It has left the purgatory when any of these methods is called.
pub(super) trait Delayed: Any + Send + Sync + fmt::Debug {
    /// The request's connection, id and version.
    fn context(&self) -> &RequestContext;

    /// Answers it because its timeout has passed, or inserts it again.
    fn expire(self: Box<Self>, broker: &mut Broker, fx: &mut Effects);

    /// Answers it because this broker stops, with an error that makes the client try another broker.
    fn fail(self: Box<Self>, broker: &mut Broker, fx: &mut Effects);

    /// Removes it from every index that refers to it. Called before the two methods above, and alone where its
    /// connection is closed.
    fn forget(&self, _broker: &mut Broker) {}

    /// Whether a broker without leaderships can still answer it: it is failed only when client connections are closed.
    fn outlasts_leaderships(&self) -> bool {
        false
    }
}

/// An index of waiting requests by partition, each with the partition's index in the request.
#[derive(Debug, Default)]
pub(super) struct Waiters(BTreeMap<TopicPartition, BTreeSet<(RequestId, usize)>>);

impl Waiters {
    /// Adds a request.
    pub(super) fn add(&mut self, partition: TopicPartition, id: RequestId, number: usize) {
        self.0.entry(partition).or_default().insert((id, number));
    }

    /// Forgets a request.
    pub(super) fn remove(&mut self, partition: TopicPartition, id: RequestId, number: usize) {
        if let Some(waiters) = self.0.get_mut(&partition) {
            waiters.remove(&(id, number));
            if waiters.is_empty() {
                self.0.remove(&partition);
            }
        }
    }

    /// The requests that wait for this partition.
    pub(super) fn of(&self, partition: TopicPartition) -> Vec<(RequestId, usize)> {
        let waiters = self.0.get(&partition);
        waiters.map_or_else(Vec::new, |waiters| waiters.iter().copied().collect())
    }

    /// Whether no request waits for any partition.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// All requests that wait.
#[derive(Debug, Default)]
pub(super) struct Purgatory {
    waiting: BTreeMap<RequestId, Waiting>,
    deadlines: BTreeSet<(Instant, RequestId)>,
    /// Connections on which a request has completed, or waits for less, since this was last taken.
    pub(super) progressed: BTreeSet<ConnectionId>,
}

#[derive(Debug)]
struct Waiting {
    /// When its timeout passes.
    deadline: Instant,
    request: Box<dyn Delayed>,
}

impl Purgatory {
    /// Inserts a request.
    pub(super) fn insert(&mut self, deadline: Instant, request: Box<dyn Delayed>) {
        let id = request.context().id;
        self.deadlines.insert((deadline, id));
        self.waiting.insert(id, Waiting { deadline, request });
    }

    /// Moves a request's deadline to this one where it is earlier.
    pub(super) fn shorten_deadline(&mut self, id: RequestId, deadline: Instant) {
        if let Some(waiting) = self.waiting.get_mut(&id)
            && deadline < waiting.deadline
        {
            self.deadlines.remove(&(waiting.deadline, id));
            self.deadlines.insert((deadline, id));
            waiting.deadline = deadline;
        }
    }

    /// Every request that waits has one deadline.
    pub(super) fn assert_invariants(&self) {
        assert_eq!(
            self.waiting.len(),
            self.deadlines.len(),
            "every request that waits has one deadline"
        );
    }

    /// The number of waiting requests.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The request, if it waits and is of this type.
    pub(super) fn get<T: Delayed>(&self, id: RequestId) -> Option<&T> {
        let request: &dyn Any = self.waiting.get(&id)?.request.as_ref();
        request.downcast_ref()
    }

    /// The same, to be changed.
    pub(super) fn get_mut<T: Delayed>(&mut self, id: RequestId) -> Option<&mut T> {
        let request: &mut dyn Any = self.waiting.get_mut(&id)?.request.as_mut();
        request.downcast_mut()
    }

    /// Removes a request, if it is of this type. The caller updates the indexes that refer to it.
    pub(super) fn take<T: Delayed>(&mut self, id: RequestId) -> Option<Box<T>> {
        self.get::<T>(id)?;
        let request: Box<dyn Any> = self.remove(id)?;
        request.downcast().ok()
    }

    fn remove(&mut self, id: RequestId) -> Option<Box<dyn Delayed>> {
        let Waiting { deadline, request } = self.waiting.remove(&id)?;
        self.deadlines.remove(&(deadline, id));
        self.progressed.insert(id.connection);
        Some(request)
    }

    /// The earliest waiting request of a connection.
    pub(super) fn first_of(&self, connection: ConnectionId) -> Option<RequestId> {
        let id = |number| RequestId { connection, number };
        let of_it = (Bound::Included(id(0)), Bound::Included(id(u64::MAX)));
        self.waiting.range(of_it).next().map(|(&id, _)| id)
    }
}

impl Broker {
    /// Removes a request from the purgatory and from every index that refers to it.
    fn release(&mut self, id: RequestId) -> Option<Box<dyn Delayed>> {
        let request = self.requests.purgatory.remove(id)?;
        request.forget(self);
        Some(request)
    }

    /// Drops the waiting requests of a closed connection.
    pub(super) fn forget_requests_of(&mut self, connection: ConnectionId) {
        while let Some(id) = self.requests.purgatory.first_of(connection) {
            self.release(id);
        }
    }

    /// Answers the requests whose timeout has passed.
    pub(super) fn expire_delayed(&mut self, fx: &mut Effects) {
        while let Some(&(at, id)) = self.requests.purgatory.deadlines.first()
            && at <= self.now
        {
            let request = self.release(id);
            let request = request.expect("a deadline is kept for a request that waits");
            request.expire(self, fx);
        }
    }

    /// Answers waiting requests because this broker stops: all of them, or only those that need leaderships.
    pub(super) fn fail_delayed(&mut self, all: bool, fx: &mut Effects) {
        let waiting = self.requests.purgatory.waiting.iter();
        let failing: Vec<RequestId> = waiting
            .filter(|(_, waiting)| all || !waiting.request.outlasts_leaderships())
            .map(|(&id, _)| id)
            .collect();
        for id in failing {
            // Closing a connection drops its other waiting requests.
            if let Some(request) = self.release(id) {
                request.fail(self, fx);
            }
        }
    }
}
