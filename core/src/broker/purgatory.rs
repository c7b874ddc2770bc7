//! The purgatory (Kafka's word): requests that cannot be answered at once, until what each waits for has happened or its
//! time is over.
//!
//! What waits answers for itself: what to say when its time is over, what to say when this broker stops, and where else it
//! is looked for. So whoever adds a request that waits adds a type with these answers, and nothing here changes.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;

use crate::effect::{Effects, RequestId};
use crate::ids::TopicPartition;
use crate::input::{ConnectionId, RequestContext};
use crate::time::Instant;

use super::Broker;

/// A request that waits. It is out of the purgatory when any of these is called.
pub(super) trait Delayed: Any + Send + Sync + fmt::Debug {
    /// Whose it is.
    fn context(&self) -> &RequestContext;

    /// Answers it because its time is over, or lets it wait anew.
    fn expire(self: Box<Self>, broker: &mut Broker, fx: &mut Effects);

    /// Answers it because this broker stops, in such words that the client tries elsewhere.
    fn fail(self: Box<Self>, broker: &mut Broker, fx: &mut Effects);

    /// Takes it out of every index by which it is looked for. Called before the two above, and alone where its
    /// connection is gone.
    fn forget(&self, _broker: &mut Broker) {}

    /// Whether it can still be answered by a broker that leads nothing any more, and is failed only when clients are let go.
    fn outlasts_leaderships(&self) -> bool {
        false
    }
}

/// The requests that wait for a partition, by that partition: each with a number that it has for it.
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

    /// Those that wait for this partition now.
    pub(super) fn of(&self, partition: TopicPartition) -> Vec<(RequestId, usize)> {
        let waiters = self.0.get(&partition);
        waiters.map_or_else(Vec::new, |waiters| waiters.iter().copied().collect())
    }

    /// Whether nobody waits for any.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// All requests that wait.
#[derive(Debug, Default)]
pub(super) struct Purgatory {
    waiting: BTreeMap<RequestId, Waiting>,
    deadlines: BTreeSet<(Instant, RequestId)>,
    /// Connections on which a request completed, or came to wait for less, since the last look.
    pub(super) progressed: BTreeSet<ConnectionId>,
}

#[derive(Debug)]
struct Waiting {
    /// When it has waited long enough.
    deadline: Instant,
    request: Box<dyn Delayed>,
}

impl Purgatory {
    /// Lets a request wait.
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

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// When the next one has waited long enough.
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

    /// Takes a request out, if it is of this type. Where else it is looked for is the caller's to forget.
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

    /// The earliest that waits of those that came on this connection.
    pub(super) fn first_of(&self, connection: ConnectionId) -> Option<RequestId> {
        let id = |number| RequestId { connection, number };
        let of_it = (Bound::Included(id(0)), Bound::Included(id(u64::MAX)));
        self.waiting.range(of_it).next().map(|(&id, _)| id)
    }
}

impl Broker {
    /// Takes a request out of the purgatory and out of every index by which it is looked for.
    fn release(&mut self, id: RequestId) -> Option<Box<dyn Delayed>> {
        let request = self.requests.purgatory.remove(id)?;
        request.forget(self);
        Some(request)
    }

    /// Forgets what was asked on a connection that is gone.
    pub(super) fn forget_requests_of(&mut self, connection: ConnectionId) {
        while let Some(id) = self.requests.purgatory.first_of(connection) {
            self.release(id);
        }
    }

    /// Answers what has waited long enough.
    pub(super) fn expire_delayed(&mut self, fx: &mut Effects) {
        while let Some(&(at, id)) = self.requests.purgatory.deadlines.first()
            && at <= self.now
        {
            let request = self.release(id);
            let request = request.expect("a deadline is kept for a request that waits");
            request.expire(self, fx);
        }
    }

    /// Answers what waits because this broker stops: all of it, or but for what needs no leadership.
    pub(super) fn fail_delayed(&mut self, all: bool, fx: &mut Effects) {
        let waiting = self.requests.purgatory.waiting.iter();
        let failing: Vec<RequestId> = waiting
            .filter(|(_, waiting)| all || !waiting.request.outlasts_leaderships())
            .map(|(&id, _)| id)
            .collect();
        for id in failing {
            // Closing a connection forgets what else waits on it.
            if let Some(request) = self.release(id) {
                request.fail(self, fx);
            }
        }
    }
}
