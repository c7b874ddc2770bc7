//! What the store has been told of one replica, and how far it has got.
//!
//! Orders run in the order given. A completion names its order, so the account is by order and never by offset:
//! the completion of an append that was truncated since says nothing of another append in its place
//! (counter-example 9), nor that of an order to a replica that was deleted of one to the replica created in its place.

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

/// The account of one replica's orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Orders {
    last: OrderSeq,
    pending: VecDeque<PendingOrder>,
    /// Durable up to here, in the log as it is now.
    durable: Position,
    /// Written up to here, in the log as it is now: survives the process, not a power cut.
    written: Position,
    /// Truncations among the pending orders.
    truncations: usize,
    /// Those among the pending orders without which nothing may be said ahead of the disk: see [`blocks_early_acks`].
    early_ack_blockers: usize,
    /// Bytes of records in orders that are not written, by order.
    unwritten: VecDeque<(OrderSeq, usize)>,
    /// Their sum.
    unwritten_bytes: usize,
    /// The directory is offline: nobody executes orders, and none is waited for.
    abandoned: bool,
}

/// An order that is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PendingOrder {
    seq: OrderSeq,
    /// The log's end after it.
    end: Position,
    given_at: Instant,
    outcome: OrderOutcome,
}

/// What happens when an order is done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum OrderOutcome {
    /// Nothing that anybody waits for.
    Nothing,
    /// The log is durable further; it ended here before.
    Appended(Position),
    /// Nothing: it was an append for which the disk has no room, or a fill that has left a hole.
    Refused,
    /// The log is cut.
    Truncated,
    /// A vote may be told.
    Voted(Vote),
    /// A mark holds.
    Marked(Mark),
    /// A hole is closed.
    Filled(Range<Offset>),
}

impl Orders {
    /// Nothing is under way, and all of the recovered log is durable. Numbers go on from the node's greatest: a replica of
    /// this partition may have been here before and been deleted, and its orders are still to be reported.
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

    /// The directory is offline: whatever is under way or will be ordered comes to nothing.
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

    /// Gives an order after which the log ends at `end`.
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

    /// Up to where the disk has this log or nothing, exclusive, of a log that ends at `end`. While a truncation is under way
    /// it may still have what is dropped, and a query that overtakes it would find that.
    pub(super) const fn readable_end(&self, end: Offset) -> Offset {
        if self.truncations == 0 {
            end
        } else {
            self.written.end_offset
        }
    }

    /// When the oldest order was given that is not done.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.pending.front().map(|order| order.given_at)
    }

    /// Learns that an append was refused, and with it all that stands behind it. Returns where the store's log ends,
    /// if the log in memory goes further: not where it has been truncated to there since.
    fn refuse(&mut self, seq: OrderSeq) -> Option<Position> {
        let first = self.pending.front()?.seq;
        let place = usize::try_from(seq.0.checked_sub(first.0)?).ok()?;
        let OrderOutcome::Appended(from) = self.pending.get(place)?.outcome else {
            return None; // refused with one before it
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

    /// Learns that a fill has left a hole. Returns what it was to fill.
    fn on_unfilled(&mut self, seq: OrderSeq) -> Option<Range<Offset>> {
        let order = self.pending.iter_mut().find(|order| order.seq == seq);
        let was = order.map(|order| std::mem::replace(&mut order.outcome, OrderOutcome::Refused));
        self.drop_refused();
        match was {
            Some(OrderOutcome::Filled(range)) => Some(range),
            Some(_) | None => None,
        }
    }

    /// Learns that a hole is there, or is wider than was known. A fill of a part of it that is under way may have been stored
    /// before that was found: its report proves nothing.
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

    /// Drops refused orders that nothing stands before: no report on them is waited for.
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

    /// The mark once all orders are done, where it is `mark` now.
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

    /// Whether the order that clears a suspect is on its way.
    pub(super) fn is_clearing_mark(&self) -> bool {
        self.pending
            .iter()
            .any(|order| order.outcome == OrderOutcome::Marked(Mark::Clean))
    }

    /// The end that all orders up to `seq` have brought the log to, as it is now: a later truncation that is
    /// still under way bounds it.
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
    /// Takes the store's report on an order, and on all before it.
    pub(crate) fn on_stored(&mut self, completion: &Completion, cx: &mut Cx<'_>) {
        let is_durable = match completion.stage {
            Stage::Written => false,
            Stage::Durable => true,
            Stage::Unfilled => {
                // Asked for again in its time.
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
            return; // reported at an earlier stage already, or with a later order
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

    /// An append could not be written. What is not committed of it is given up, as if the replica had been killed
    /// before: nobody has been told that it was stored. What is committed stays in memory, to be ordered again.
    fn on_refused(&mut self, seq: OrderSeq, cx: &mut Cx<'_>) {
        let Some(from) = self.state.orders.refuse(seq) else {
            return;
        };
        cx.fx.probe(Probe::AppendRefused);
        match &self.role {
            // It must not put anything else into the place of what it has sent to others in this epoch.
            Role::Leader(_) if cx.fx.mutant(Mutant::LeadsOnAfterRefusal) => {}
            Role::Leader(_) => self.resign(Resignation::Disk, cx),
            // It has asked for votes with a log that it does not have.
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

    /// The disk has room again: what is committed and was refused is ordered once more.
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

    /// Has the disk show that it still writes and syncs.
    pub(crate) fn probe_disk(&mut self, cx: &mut Cx<'_>) {
        self.state.order(OrderKind::Probe, cx);
    }

    /// Bytes of records that wait for the disk.
    pub(crate) const fn unwritten_bytes(&self) -> usize {
        self.state.orders.unwritten_bytes()
    }

    /// The directory is offline: nothing is stored, voted or led any more. What is in memory and will never be written
    /// is let go; the metadata log alone is followed on, since clients are answered from it.
    pub(crate) fn go_offline(&mut self, cx: &mut Cx<'_>) {
        assert!(!self.is_leader(), "a leader has resigned before");
        self.role = Role::Follower(Following::default());
        let state = &mut self.state;
        state.orders.abandon(cx);
        state.unstored = None;
        cx.queries.forget_fills(state.id);
        state.holes.stop_requesting();
        if state.id != TopicPartition::METADATA {
            state.tail = Tail::default();
        }
    }

    /// Whether something committed is in memory only, since the disk had no room for it.
    pub(crate) const fn is_unstored(&self) -> bool {
        self.state.unstored.is_some()
    }

    /// Something has become written or durable: tell the leader, or commit.
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
    /// How far this replica's word goes in memory: ahead of the disk only once the mark that admits it is durable, and
    /// the epoch that it is given in.
    pub(super) fn appended(&self) -> Position {
        if self.orders.early_ack_blockers == 0 {
            self.orders.written()
        } else {
            self.orders.durable()
        }
    }
}

/// Whether nothing may be said ahead of the disk while this is on its way there: a start that does not find it would
/// not know that something was said, or in which epoch, and would be cleared of suspicion by a leader of an earlier one.
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
