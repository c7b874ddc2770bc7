//! Pending disk queries, and what waits for each.

use std::collections::BTreeMap;

use crate::effect::{Effect, Effects, RequestId};
use crate::ids::{Offset, TopicPartition, Voter};
use crate::store::{Query, QueryId, QueryKind};

/// What waits for the answer to a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiter {
    /// The broker, for records of an internal log to apply.
    StateMachine,
    /// A client's Fetch.
    Fetch(Lookup),
    /// A client's ListOffsets.
    ListOffsets(Lookup),
    /// The partition's leader, for entries that this follower lacks.
    Replication(Voter),
    /// A replica, for batches from this offset on that fill a hole of this peer.
    Fill(Voter, Offset),
}

/// A query for a client's request, which may have ended when the query is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lookup {
    pub(crate) request: RequestId,
    /// The index of the partition in the request.
    pub(crate) place: usize,
    /// Where the query ends, exclusive.
    pub(crate) end: Offset,
}

/// The pending queries of a node.
#[derive(Debug, Default)]
pub(crate) struct Queries {
    last: QueryId,
    under_way: BTreeMap<QueryId, (TopicPartition, Waiter)>,
}

impl Queries {
    /// Orders a query under a fresh number.
    pub(crate) fn ask(
        &mut self,
        replica: TopicPartition,
        kind: QueryKind,
        waiter: Waiter,
        fx: &mut Effects,
    ) -> QueryId {
        self.last.0 += 1;
        let id = self.last;
        self.under_way.insert(id, (replica, waiter));
        fx.push(Effect::Query(Query { id, replica, kind }));
        id
    }

    /// Removes an answered query: its log, and what waits for it; `None` where nothing does any more.
    pub(crate) fn take(&mut self, id: QueryId) -> Option<(TopicPartition, Waiter)> {
        self.under_way.remove(&id)
    }

    /// Whether a replica is reading batches to fill a hole of this peer.
    pub(crate) fn is_filling(&self, replica: TopicPartition, peer: Voter) -> bool {
        let mut waiting = self.under_way.values();
        waiting.any(|(of, waiter)| {
            *of == replica && matches!(waiter, Waiter::Fill(to, _) if *to == peer)
        })
    }

    /// Drops the pending queries of a replica that read batches to fill holes of peers.
    pub(crate) fn forget_fills(&mut self, replica: TopicPartition) {
        self.under_way
            .retain(|_, (of, waiter)| *of != replica || !matches!(waiter, Waiter::Fill(..)));
    }
}
