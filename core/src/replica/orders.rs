//! The orders that one replica has given to the store, and how far the store has got with them.
//!
//! The store executes orders in the order given. A completion names its order, and progress is tracked by order, never
//! by offset: the completion of an append that was truncated since says nothing about another append at the same offset
//! (counter-example 9), and a completion for a deleted replica nothing about the one created in its place.

use std::collections::VecDeque;
use std::ops::Range;

use crate::effect::{Effect, Resignation};
use crate::hooks::{Mutant, Probe};
use crate::ids::{Offset, TopicPartition};
use crate::log::{Position, Tail};
use crate::store::{Completion, Mark, Order, OrderKind, OrderSeq, Stage, Vote};
use crate::time::Instant;

use super::election::Following;
use super::state::ReplicaState;
use super::{Cx, Replica, Role, TAIL_WEIGHT_MAX};

/// The orders of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Orders {
    last: OrderSeq,
    pending: VecDeque<PendingOrder>,
    /// Durable up to here, in the log as it is now.
    durable: Position,
    /// Written up to here, in the log as it is now: survives the process, not a power cut.
    written: Position,
    /// Number of truncations among the pending orders.
    truncations: usize,
    /// Number of pending orders that block acknowledgements ahead of the disk: see [`blocks_early_acks`].
    early_ack_blockers: usize,
    /// Bytes of records in each order that is not written.
    unwritten: VecDeque<(OrderSeq, usize)>,
    /// The sum of `unwritten`.
    unwritten_bytes: usize,
    /// The directory is offline: orders are no longer executed, and none is waited for.
    abandoned: bool,
}

/// An order that is not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PendingOrder {
    seq: OrderSeq,
    /// The log's end after this order.
    end: Position,
    given_at: Instant,
    outcome: OrderOutcome,
}

/// What the completion of an order means to the replica.
#[derive(Clone, Debug, PartialEq, Eq)]
enum OrderOutcome {
    /// Nothing that the replica waits for.
    Nothing,
    /// More of the log is durable; the log ended here before the append.
    Appended(Position),
    /// Nothing: the store has refused the append, or the fill has left the hole open.
    Refused,
    /// The log is truncated.
    Truncated,
    /// A vote is durable and may be sent.
    Voted(Vote),
    /// A mark is durable.
    Marked(Mark),
    /// The batches that were missing here are durable.
    Filled(Range<Offset>),
}

impl Orders {
    /// The state after recovery or creation: no order is pending, and the whole log is durable. Sequence numbers
    /// continue from the node's greatest: an earlier, deleted copy of the replica may still have orders to be reported.
    pub(super) fn recovered(end: Position, cx: &Cx<'_>) -> Self {
        let numbers_anew = cx.fx.mutant(Mutant::NumbersOrdersAnew);
        Self {
            last: if numbers_anew {
                OrderSeq(0)
            } else {
                *cx.last_order
            },
            pending: VecDeque::new(),
            durable: end,
            written: end,
            truncations: 0,
            early_ack_blockers: 0,
            unwritten: VecDeque::new(),
            unwritten_bytes: 0,
            abandoned: false,
        }
    }

    /// The directory is offline: forgets the pending orders, and waits for none from here on.
    fn abandon(&mut self, cx: &Cx<'_>) {
        *self = Self {
            last: self.last,
            abandoned: true,
            ..Self::recovered(self.durable, cx)
        };
    }

    /// Whether the directory is offline.
    pub(super) const fn are_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Bytes of records in orders that are not written.
    pub(super) const fn unwritten_bytes(&self) -> usize {
        self.unwritten_bytes
    }

    /// Orders up to `seq` are written.
    fn on_written(&mut self, seq: OrderSeq) {
        while let Some((_, bytes)) = self.unwritten.pop_front_if(|(at, _)| *at <= seq) {
            self.unwritten_bytes -= bytes;
        }
    }

    /// Gives the store an order; `end` is the log's end after it.
    pub(super) fn push(
        &mut self,
        kind: OrderKind,
        end: Position,
        replica: TopicPartition,
        cx: &mut Cx<'_>,
    ) {
        self.last.0 += 1;
        *cx.last_order = self.last.max(*cx.last_order);
        let weight = kind.weight();
        let outcome = match &kind {
            OrderKind::Truncate { to } => {
                self.durable = self.durable.min(*to);
                self.written = self.written.min(*to);
                self.truncations += 1;
                OrderOutcome::Truncated
            }
            OrderKind::StoreVote(vote) => OrderOutcome::Voted(*vote),
            OrderKind::SetMark(mark) => OrderOutcome::Marked(*mark),
            OrderKind::Fill { batches } => match (batches.first(), batches.last()) {
                (Some(first), Some(last)) => {
                    OrderOutcome::Filled(first.header.base_offset..last.header.next_offset())
                }
                (None, _) | (_, None) => OrderOutcome::Nothing,
            },
            OrderKind::Append { after, .. } => OrderOutcome::Appended(*after),
            OrderKind::Create { .. }
            | OrderKind::Probe
            | OrderKind::AcceptLoss { .. }
            | OrderKind::SaveSnapshot { .. }
            | OrderKind::Delete => OrderOutcome::Nothing,
        };
        if self.abandoned {
            self.truncations = 0;
            cx.fx.push(Effect::Store(Order {
                replica,
                seq: self.last,
                kind,
            }));
            return;
        }
        if weight > 0 {
            self.unwritten.push_back((self.last, weight));
            self.unwritten_bytes += weight;
        }
        self.early_ack_blockers += usize::from(blocks_early_acks(&outcome, cx));
        self.pending.push_back(PendingOrder {
            seq: self.last,
            end,
            given_at: cx.now,
            outcome,
        });
        cx.fx.push(Effect::Store(Order {
            replica,
            seq: self.last,
            kind,
        }));
    }

    /// Durable up to here.
    pub(super) const fn durable(&self) -> Position {
        self.durable
    }

    /// Written up to here.
    pub(super) const fn written(&self) -> Position {
        self.written
    }

    /// How far the disk has nothing but this log, exclusive, for a log that ends at `end`. While a truncation is
    /// pending the disk may still have what is dropped, and a query that overtakes it would find that.
    pub(super) const fn readable_end(&self, end: Offset) -> Offset {
        if self.truncations == 0 {
            end
        } else {
            self.written.end_offset
        }
    }

    /// When the oldest pending order was given.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.pending.front().map(|order| order.given_at)
    }

    /// The store has refused an append, and with it every later append. Returns where the stored log ends, unless the
    /// log has since been truncated to there or further.
    fn refuse(&mut self, seq: OrderSeq) -> Option<Position> {
        let first = self.pending.front()?.seq;
        let place = usize::try_from(seq.0.checked_sub(first.0)?).ok()?;
        let OrderOutcome::Appended(from) = self.pending.get(place)?.outcome else {
            return None; // already refused with an earlier append
        };
        let mut goes_further = true;
        for order in self.pending.range_mut(place..) {
            match order.outcome {
                OrderOutcome::Truncated if order.end <= from => {
                    goes_further = false;
                    break;
                }
                OrderOutcome::Appended(_) => order.outcome = OrderOutcome::Refused,
                OrderOutcome::Nothing
                | OrderOutcome::Refused
                | OrderOutcome::Truncated
                | OrderOutcome::Voted(_)
                | OrderOutcome::Marked(_)
                | OrderOutcome::Filled(_) => {}
            }
            order.end = order.end.min(from);
            if order.outcome == OrderOutcome::Refused
                && let Some(place) = self.unwritten.iter().position(|(at, _)| *at == order.seq)
                && let Some((_, bytes)) = self.unwritten.remove(place)
            {
                self.unwritten_bytes -= bytes;
            }
        }
        self.drop_refused();
        goes_further.then_some(from)
    }

    /// A fill has left its hole open. Returns the range of its batches.
    fn on_unfilled(&mut self, seq: OrderSeq) -> Option<Range<Offset>> {
        let order = self.pending.iter_mut().find(|order| order.seq == seq);
        let was = order.map(|order| std::mem::replace(&mut order.outcome, OrderOutcome::Refused));
        self.drop_refused();
        match was {
            Some(OrderOutcome::Filled(range)) => Some(range),
            Some(_) | None => None,
        }
    }

    /// A hole was found, or found to be wider. A pending fill of a part of it may have been stored before that damage
    /// was found: its completion proves nothing.
    pub(super) fn distrust_fills(&mut self, hole: &Range<Offset>) {
        for order in &mut self.pending {
            if let OrderOutcome::Filled(filled) = &order.outcome
                && filled.start < hole.end
                && hole.start < filled.end
            {
                order.outcome = OrderOutcome::Nothing;
            }
        }
    }

    /// Drops refused orders from the front of the queue: no completion of them will come.
    fn drop_refused(&mut self) {
        let is_refused = |order: &mut PendingOrder| order.outcome == OrderOutcome::Refused;
        while self.pending.pop_front_if(is_refused).is_some() {}
    }

    /// Whether this vote is durable.
    pub(super) fn is_stored(&self, vote: Vote) -> bool {
        !self
            .pending
            .iter()
            .any(|order| order.outcome == OrderOutcome::Voted(vote))
    }

    /// The mark once all pending orders are complete, if it is `mark` now.
    pub(super) fn mark_after(&self, mark: Mark) -> Mark {
        if self.early_ack_blockers == 0 {
            return mark;
        }
        let ordered = |order: &PendingOrder| {
            if let OrderOutcome::Marked(mark) = order.outcome {
                Some(mark)
            } else {
                None
            }
        };
        self.pending.iter().rev().find_map(ordered).unwrap_or(mark)
    }

    /// Whether the order that clears a suspect is pending.
    pub(super) fn is_clearing_mark(&self) -> bool {
        self.pending
            .iter()
            .any(|order| order.outcome == OrderOutcome::Marked(Mark::Clean))
    }

    /// The log's end after all orders up to `seq`, bounded by the later truncations that are pending.
    fn end_after(&self, seq: OrderSeq) -> Option<Position> {
        let first = self.pending.front()?.seq;
        let place = usize::try_from(seq.0.checked_sub(first.0)?).ok()?;
        let at = self.pending.get(place)?.end;
        if self.truncations == 0 {
            return Some(at);
        }
        let cut =
            |order: &&PendingOrder| order.seq > seq && order.outcome == OrderOutcome::Truncated;
        Some(
            self.pending
                .iter()
                .filter(cut)
                .map(|order| order.end)
                .fold(at, Position::min),
        )
    }
}

impl Replica {
    /// Handles the store's report on an order, which covers all earlier ones.
    pub(crate) fn on_stored(&mut self, completion: &Completion, cx: &mut Cx<'_>) {
        let is_durable = match completion.stage {
            Stage::Written => false,
            Stage::Durable => true,
            Stage::Unfilled => {
                // The hole stays open, and its next request is scheduled already.
                self.state.orders.on_written(completion.seq);
                if let Some(batches) = self.state.orders.on_unfilled(completion.seq) {
                    self.state.holes.on_misfit(&batches);
                }
                return;
            }
            Stage::Refused(_) if cx.fx.mutant(Mutant::CountsRefusedAsDurable) => true,
            Stage::Refused(_) => {
                self.on_refused(completion.seq, cx);
                self.assert_invariants();
                return;
            }
        };
        let state = &mut self.state;
        if cx.fx.mutant(Mutant::IgnoresOrderSeq)
            && completion.position.end_offset <= state.end.end_offset
        {
            let position = state
                .notes
                .position_of_offset(completion.position.end_offset);
            state.orders.durable = state.orders.durable.max(position);
        }
        let Some(end) = state.orders.end_after(completion.seq) else {
            return; // completed already, by a report on this order or a later one
        };
        state.orders.on_written(completion.seq);
        state.orders.written = state.orders.written.max(end);
        if is_durable {
            state.orders.durable = state.orders.durable.max(end);
            self.finish_orders(completion.seq, cx);
        }
        let written = self.state.orders.written;
        self.state.tail.trim(written, TAIL_WEIGHT_MAX);
        self.on_durability_advanced(cx);
        self.assert_invariants();
    }

    fn finish_orders(&mut self, seq: OrderSeq, cx: &mut Cx<'_>) {
        let is_done = |order: &mut PendingOrder| order.seq <= seq;
        while let Some(order) = self.state.orders.pending.pop_front_if(is_done) {
            self.state.orders.early_ack_blockers -=
                usize::from(blocks_early_acks(&order.outcome, cx));
            match order.outcome {
                OrderOutcome::Nothing | OrderOutcome::Appended(_) | OrderOutcome::Refused => {}
                OrderOutcome::Truncated => self.state.orders.truncations -= 1,
                OrderOutcome::Voted(vote) => self.on_vote_stored(vote, cx),
                OrderOutcome::Marked(mark) => self.state.on_marked(mark, cx),
                OrderOutcome::Filled(range) => self.state.on_filled(range, cx),
            }
        }
        self.state.orders.drop_refused();
    }

    /// The store could not write an append. The replica drops what of it is not committed, as if it had been killed
    /// before the append: it has acknowledged none of it as stored. What is committed stays in memory, to be ordered
    /// again.
    fn on_refused(&mut self, seq: OrderSeq, cx: &mut Cx<'_>) {
        let Some(from) = self.state.orders.refuse(seq) else {
            return;
        };
        cx.fx.probe(Probe::AppendRefused);
        match &self.role {
            // In this epoch it must not append anything else at positions that it has already sent to others.
            Role::Leader(_) if cx.fx.mutant(Mutant::LeadsOnAfterRefusal) => {}
            Role::Leader(_) => self.resign(Resignation::Disk, cx),
            // It asks for votes with a log that it does not have.
            Role::PreCandidate(_) | Role::Candidate(_) => self.wait_for_leader(cx),
            Role::Follower(_) => {}
        }
        let kept = from.max(self.state.committed);
        self.state.unstored = (kept > from).then_some(from);
        self.state.drop_after(kept, cx);
        if let Role::Follower(following) = &mut self.role {
            following.verified = following.verified.map(|verified| verified.min(kept));
        }
    }

    /// The disk has room again: orders what is committed and was refused once more.
    pub(crate) fn on_space_returned(&mut self, cx: &mut Cx<'_>) {
        let state = &mut self.state;
        let Some(from) = state.unstored.take() else {
            return;
        };
        let entries = state
            .tail
            .entries_from(from, usize::MAX)
            .expect("what is not stored stays in memory");
        state.order_append(from, entries, state.config.flush, cx);
    }

    /// Orders a write that changes nothing, to see whether the disk still writes and syncs.
    pub(crate) fn probe_disk(&mut self, cx: &mut Cx<'_>) {
        self.state.order(OrderKind::Probe, cx);
    }

    /// Bytes of records that wait for the disk.
    pub(crate) const fn unwritten_bytes(&self) -> usize {
        self.state.orders.unwritten_bytes()
    }

    /// The directory is offline: from here on the replica does not store, vote or lead. It frees the entries in memory,
    /// which will never be written, except for the metadata log: it goes on following that one, since clients are
    /// answered from it.
    pub(crate) fn go_offline(&mut self, cx: &mut Cx<'_>) {
        assert!(!self.is_leader(), "a leader has resigned before");
        self.role = Role::Follower(Following::default());
        let state = &mut self.state;
        state.orders.abandon(cx);
        state.unstored = None;
        cx.queries.forget_fills(state.id);
        state.holes.stop_requests();
        if state.id != TopicPartition::METADATA {
            state.tail = Tail::default();
        }
    }

    /// Whether committed entries are in memory only because the disk was full.
    pub(crate) const fn is_unstored(&self) -> bool {
        self.state.unstored.is_some()
    }

    /// Entries have become written or durable: acknowledges them to the leader, or as leader commits.
    fn on_durability_advanced(&mut self, cx: &mut Cx<'_>) {
        match &self.role {
            Role::Leader(_) => self.act_as_leader(cx, |leader, cx| leader.advance_committed(cx)),
            Role::Follower(_) => {
                self.acknowledge(cx);
                self.review_suspect(cx);
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
    }
}

impl ReplicaState {
    /// How far this replica may acknowledge under `flush=replicated`: ahead of the disk only once the mark that admits
    /// that is durable, and the epoch in which it acknowledges.
    pub(super) fn appended(&self) -> Position {
        if self.orders.early_ack_blockers == 0 {
            self.orders.written()
        } else {
            self.orders.durable()
        }
    }
}

/// Whether a pending order blocks acknowledgements ahead of the disk. If a power cut lost it, recovery would not know
/// that something was acknowledged, or in which epoch, and a leader of an earlier epoch could clear the suspect.
fn blocks_early_acks(outcome: &OrderOutcome, cx: &mut Cx<'_>) -> bool {
    match outcome {
        OrderOutcome::Marked(_) => true,
        OrderOutcome::Voted(_) => !cx.fx.mutant(Mutant::AcknowledgesBeforeVoteDurable),
        OrderOutcome::Nothing
        | OrderOutcome::Appended(_)
        | OrderOutcome::Refused
        | OrderOutcome::Truncated
        | OrderOutcome::Filled(_) => false,
    }
}
