//! What can be known of every replica from outside: what it was ordered to store, what was reported durable,
//! and what is committed.
//!
//! Nothing here asks the broker what it believes, except how far it says that it has committed. A [`Shadow`] is
//! rebuilt from the orders that left the state machine and from the reports that came back, so a checker
//! compares what a broker says with what it did.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::hash::{Hash as _, Hasher as _};

use varve_core::effect::Effect;
use varve_core::ids::{LeaderEpoch, Offset, TopicPartition, Voter};
use varve_core::input::Input;
use varve_core::log::{Entry, NoteKind, Position};
use varve_core::record::BatchHeader;
use varve_core::replica::ReplicaView;
use varve_core::store::{
    Completion, Flush, Mark, Order, OrderKind, OrderSeq, Recovered, RecoveredReplica, Stage, Vote,
};

use crate::clock::SimTime;
use crate::hash::StableHasher;

/// One step of one broker, as the checkers see it.
#[derive(Debug)]
pub struct Step<'a> {
    /// When.
    pub at: SimTime,
    /// Which node.
    pub node: u8,
    /// The broker and its directory.
    pub me: Voter,
    /// What it ordered, as far as that was carried out: a crash may have come before the rest.
    pub effects: &'a [Effect],
    /// The replicas that the step touched, as they are after it.
    pub views: &'a [(TopicPartition, ReplicaView)],
    /// The broker crashed before it had carried everything out: its views speak of orders that were never given.
    pub crashed: bool,
}

/// What has happened to a node since its process last ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interruption {
    /// Its power was cut, or pages that a failed sync marked clean have left the cache.
    pub power_was_cut: bool,
    /// Something on its disk has been damaged at rest at some time.
    pub damaged: bool,
}

/// One entry of a log, as small as can tell it from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logged {
    /// The position behind it.
    pub after: Position,
    /// Of all that the entry is.
    pub digest: u64,
    /// A batch's first offset, or where the note stands.
    pub offset: Offset,
    /// The batch's CRC; 0 for a note.
    pub crc: u32,
}

/// What one replica has been told to store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// It has been created and not deleted.
    pub exists: bool,
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

/// Index behind the entry that ends at this position; 0 for the beginning.
#[must_use]
pub fn index_of(log: &[Logged], position: Position) -> Option<usize> {
    if position == Position::default() {
        return Some(0);
    }
    let index = log.partition_point(|logged| order(logged.after) < order(position));
    (log.get(index)?.after == position).then_some(index + 1)
}

/// Positions ascend along a log by end offset and notes alone, whatever the epochs are.
const fn order(position: Position) -> (i64, u64) {
    (position.end_offset.0, position.notes)
}

#[derive(Clone, Debug, PartialEq)]
enum Change {
    Create,
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
            Self::Create => "create".to_owned(),
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
            Change::Create => self.exists = true,
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
    /// What was reported written, by the number of its order.
    written: OrderSeq,
    pending: VecDeque<Pending>,
    /// The disk has refused what stands behind some place of the log; what is committed of it may be ordered again.
    refused: bool,
    /// Its directory has been lost.
    pub gone: bool,
    /// Entries from the front that have been compared with the committed log.
    compared: usize,
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

/// What all replicas of a partition agree on.
#[derive(Clone, Debug, Default)]
pub struct CommittedLog {
    /// Its entries.
    pub log: Vec<Logged>,
}

/// Something that a step did to a log, for the checkers of that step.
#[derive(Clone, Debug)]
pub enum Fact {
    /// Orders of one replica do not fit what was ordered before.
    Misfit(TopicPartition, Voter, String),
    /// Entries were dropped.
    Truncated {
        /// Where.
        partition: TopicPartition,
        /// Whose.
        replica: Voter,
        /// How many entries stay.
        kept: usize,
        /// What was dropped.
        dropped: Vec<Logged>,
    },
    /// The committed log has grown.
    Committed {
        /// Where.
        partition: TopicPartition,
        /// Who said so first.
        replica: Voter,
        /// Entries before.
        from: usize,
    },
    /// A replica has committed something else than another.
    Conflict(TopicPartition, Voter, String),
}

/// Everything that is known from outside.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    replicas: BTreeMap<TopicPartition, BTreeMap<Voter, Shadow>>,
    committed: BTreeMap<TopicPartition, CommittedLog>,
    /// Partitions whose records are acknowledged from memory.
    replicated: BTreeSet<TopicPartition>,
    /// Every batch header that was ever ordered, by its digest.
    headers: BTreeMap<u64, BatchHeader>,
    /// What the latest step did.
    pub facts: Vec<Fact>,
}

impl Observed {
    /// One replica.
    #[must_use]
    pub fn shadow(&self, partition: TopicPartition, replica: Voter) -> Option<&Shadow> {
        self.replicas.get(&partition)?.get(&replica)
    }

    /// All replicas of a partition that were ever seen.
    pub fn shadows(&self, partition: TopicPartition) -> impl Iterator<Item = (Voter, &Shadow)> {
        self.replicas
            .get(&partition)
            .into_iter()
            .flatten()
            .map(|(&voter, shadow)| (voter, shadow))
    }

    /// All partitions that were ever seen.
    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> {
        self.replicas.keys().copied()
    }

    /// What is committed of a partition.
    #[must_use]
    pub fn committed(&self, partition: TopicPartition) -> &[Logged] {
        self.committed
            .get(&partition)
            .map_or(&[], |committed| &committed.log)
    }

    /// Headers of the batches in a replica's log, in order.
    #[must_use]
    pub fn headers(&self, partition: TopicPartition, replica: Voter) -> Vec<BatchHeader> {
        self.shadow(partition, replica)
            .map_or_else(Vec::new, |shadow| {
                let batches = shadow.ordered.log.iter().filter(|logged| logged.crc != 0);
                batches
                    .filter_map(|logged| self.headers.get(&logged.digest).copied())
                    .collect()
            })
    }

    /// Header of the batch that begins at this offset of a replica's log.
    #[must_use]
    pub fn header_at(
        &self,
        partition: TopicPartition,
        replica: Voter,
        offset: Offset,
    ) -> Option<&BatchHeader> {
        let log = &self.shadow(partition, replica)?.ordered.log;
        let place = log.partition_point(|logged| logged.offset < offset);
        let logged = log[place..]
            .iter()
            .take_while(|logged| logged.offset == offset)
            .find(|logged| logged.crc != 0)?;
        self.headers.get(&logged.digest)
    }

    /// Whether a replica in this directory may have lost what it acknowledged, and has said so.
    #[must_use]
    pub fn is_suspect(&self, directory: Voter) -> bool {
        self.replicas.values().any(|replicas| {
            replicas
                .get(&directory)
                .is_some_and(|shadow| shadow.ordered.mark == Mark::Suspect)
        })
    }

    /// Whether records of this partition are acknowledged from memory (`flush = "replicated"`).
    #[must_use]
    pub fn is_replicated(&self, partition: TopicPartition) -> bool {
        self.replicated.contains(&partition)
    }

    /// Hears what a broker is about to be told.
    pub fn take_input(&mut self, me: Voter, input: &Input) {
        if let Input::Stored(completions) = input {
            for completion in completions {
                self.take_completion(me, completion);
            }
        }
    }

    /// A directory has been formatted with this as its first order, and that is durable.
    pub fn founded(&mut self, me: Voter, order: &Order) {
        self.take_order(me, order);
        self.take_completion(
            me,
            &Completion {
                replica: order.replica,
                seq: order.seq,
                position: Position::default(),
                stage: Stage::Durable,
            },
        );
        // The broker numbers its orders anew when it starts.
        self.shadow_mut(order.replica, me).written = OrderSeq::default();
    }

    /// Takes a step in.
    pub fn take(&mut self, step: &Step<'_>) {
        self.facts.clear();
        for effect in step.effects {
            if let Effect::Store(order) = effect {
                self.take_order(step.me, order);
            }
        }
        for (partition, view) in step.views {
            self.take_view(step.me, *partition, view, step.crashed);
        }
    }

    fn shadow_mut(&mut self, partition: TopicPartition, replica: Voter) -> &mut Shadow {
        self.replicas
            .entry(partition)
            .or_default()
            .entry(replica)
            .or_default()
    }

    fn take_completion(&mut self, me: Voter, completion: &Completion) {
        let shadow = self.shadow_mut(completion.replica, me);
        if completion.stage == Stage::Refused {
            shadow.give_up(completion.seq);
            return;
        }
        shadow.written = shadow.written.max(completion.seq);
        if completion.stage != Stage::Durable {
            return;
        }
        while let Some(pending) = shadow.pending.front() {
            if pending.seq > completion.seq {
                break;
            }
            shadow.durable.apply(&pending.change);
            shadow.pending.pop_front();
        }
    }

    /// A full disk has refused an order: it changes nothing, whether the replica hears of that or not.
    pub fn refused(&mut self, me: Voter, partition: TopicPartition, seq: OrderSeq) {
        let mut pending = self.shadow_mut(partition, me).pending.iter_mut();
        if let Some(pending) = pending.find(|pending| pending.seq == seq) {
            pending.change = Change::Other;
        }
    }

    fn take_order(&mut self, me: Voter, order: &Order) {
        let partition = order.replica;
        let mut facts = Vec::new();
        let mut replicated = false;
        let shadow = self.shadow_mut(partition, me);
        let change = match &order.kind {
            OrderKind::Create { .. } => Change::Create,
            OrderKind::Append {
                after,
                entries,
                flush,
                ..
            } => {
                if *flush == Flush::Replicated {
                    replicated = true;
                }
                if shadow.refused
                    && let Some(kept) = shadow.ordered.index_of(*after)
                {
                    // Ordered again, once there is room.
                    shadow.ordered.log.truncate(kept);
                    shadow.compared = shadow.compared.min(kept);
                }
                shadow.refused = false;
                let end = shadow.ordered.end();
                if end != *after {
                    facts.push(Fact::Misfit(
                        partition,
                        me,
                        format!("appends behind {after}, its log ends at {end}"),
                    ));
                }
                let mut position = *after;
                let mut logged = Vec::with_capacity(entries.len());
                for entry in entries {
                    position = entry.position_after(position);
                    logged.push(log_entry(entry, position));
                }
                Change::Append(logged)
            }
            OrderKind::Truncate { to } => match shadow.ordered.index_of(*to) {
                Some(kept) => {
                    facts.push(Fact::Truncated {
                        partition,
                        replica: me,
                        kept,
                        dropped: shadow.ordered.log[kept..].to_vec(),
                    });
                    shadow.compared = shadow.compared.min(kept);
                    Change::Truncate(*to)
                }
                None => {
                    facts.push(Fact::Misfit(
                        partition,
                        me,
                        format!("truncates to {to}, which is no position of its log"),
                    ));
                    Change::Other
                }
            },
            OrderKind::StoreVote(vote) => Change::Vote(*vote),
            OrderKind::SetMark(mark) => Change::Mark(*mark),
            OrderKind::Delete => {
                shadow.compared = 0;
                Change::Delete
            }
            OrderKind::Fill { .. }
            | OrderKind::AcceptLoss { .. }
            | OrderKind::SaveSnapshot { .. } => Change::Other,
        };
        shadow.ordered.apply(&change);
        let after = match &order.kind {
            OrderKind::Append { after, .. } => Some(*after),
            OrderKind::Create { .. }
            | OrderKind::Truncate { .. }
            | OrderKind::StoreVote(_)
            | OrderKind::SetMark(_)
            | OrderKind::Fill { .. }
            | OrderKind::AcceptLoss { .. }
            | OrderKind::SaveSnapshot { .. }
            | OrderKind::Delete => None,
        };
        shadow.pending.push_back(Pending {
            seq: order.seq,
            change,
            after,
            given_up: false,
        });
        if replicated {
            self.replicated.insert(partition);
        }
        if let OrderKind::Append { entries, .. } = &order.kind {
            for entry in entries {
                if let Entry::Batch(batch) = entry {
                    self.headers
                        .insert(digest_batch(&batch.header), batch.header);
                }
            }
        }
        self.facts.append(&mut facts);
    }

    /// Compares what the replica says is committed with what others said before.
    fn take_view(
        &mut self,
        me: Voter,
        partition: TopicPartition,
        view: &ReplicaView,
        crashed: bool,
    ) {
        let Some(shadow) = self
            .replicas
            .get_mut(&partition)
            .and_then(|replicas| replicas.get_mut(&me))
        else {
            return;
        };
        let Some(index) = shadow.ordered.index_of(view.committed) else {
            if crashed {
                return;
            }
            self.facts.push(Fact::Misfit(
                partition,
                me,
                format!(
                    "has committed {}, which is no position of its log",
                    view.committed
                ),
            ));
            return;
        };
        if index <= shadow.compared {
            return;
        }
        let committed = self.committed.entry(partition).or_default();
        let known = committed.log.len();
        for place in shadow.compared..index.min(known) {
            if shadow.ordered.log[place] != committed.log[place] {
                self.facts.push(Fact::Conflict(
                    partition,
                    me,
                    format!(
                        "has committed another entry at {} than others did",
                        committed.log[place].offset
                    ),
                ));
                return;
            }
        }
        shadow.compared = index;
        if index > known {
            committed
                .log
                .extend_from_slice(&shadow.ordered.log[known..index]);
            self.facts.push(Fact::Committed {
                partition,
                replica: me,
                from: known,
            });
        }
    }

    /// A node starts on what its disk had. Every replica must be what it was when everything durable was done,
    /// or after some of the orders behind that, in their order.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn start(&mut self, recovered: &Recovered, fault: Interruption) -> Result<(), String> {
        let me = Voter {
            broker: recovered.broker,
            directory: recovered.directory,
        };
        for (&partition, replicas) in &mut self.replicas {
            let Some(shadow) = replicas.get_mut(&me) else {
                continue;
            };
            let found = recovered
                .replicas
                .iter()
                .find(|replica| replica.replica == partition);
            shadow.restart(found, fault)?;
        }
        let unknown = recovered
            .replicas
            .iter()
            .find(|replica| self.shadow(replica.replica, me).is_none());
        match unknown {
            Some(replica) => Err(format!(
                "recovery found a replica of {} that was never created",
                replica.replica.partition
            )),
            None => Ok(()),
        }
    }

    /// A directory is gone for good. What it had acknowledged before counts: the leader was told so in good faith.
    pub fn wiped(&mut self, me: Voter) {
        for replicas in self.replicas.values_mut() {
            if let Some(shadow) = replicas.get_mut(&me) {
                shadow.gone = true;
            }
        }
    }

    /// A majority has said that what only a lost replica had never was (`LeadsWithPossibleLoss`): what is
    /// committed from here on is what this replica has.
    pub fn forget_committed_beyond(&mut self, partition: TopicPartition, replica: Voter) {
        let (Some(shadow), Some(committed)) = (
            self.replicas
                .get(&partition)
                .and_then(|replicas| replicas.get(&replica)),
            self.committed.get_mut(&partition),
        ) else {
            return;
        };
        let same = shadow
            .ordered
            .log
            .iter()
            .zip(&committed.log)
            .take_while(|(one, other)| one == other)
            .count();
        committed.log.truncate(same);
    }
}

impl Shadow {
    /// Whether this position, with this entry before it, is durable.
    #[must_use]
    pub fn has_durable(&self, index: usize, entry: &Logged) -> bool {
        index > 0 && self.durable.log.get(index - 1) == Some(entry)
    }

    /// Whether this position, with this entry before it, is ordered.
    #[must_use]
    pub fn has_ordered(&self, index: usize, entry: &Logged) -> bool {
        index > 0 && self.ordered.log.get(index - 1) == Some(entry)
    }

    /// The replica hears that an append was refused: what stands behind it in memory is given up, but for what is
    /// committed, unless it has been truncated since.
    fn give_up(&mut self, seq: OrderSeq) {
        let mut from = None;
        for pending in &mut self.pending {
            if pending.seq == seq && !pending.given_up {
                from = pending.after;
            }
            let Some(from) = from else {
                continue;
            };
            if let Change::Truncate(to) = &pending.change
                && order(*to) <= order(from)
            {
                return;
            }
            pending.given_up |= pending.after.is_some();
        }
        if let Some(kept) = from.and_then(|from| self.ordered.index_of(from)) {
            self.ordered.log.truncate(kept.max(self.compared));
            self.refused = true;
        }
    }

    fn restart(
        &mut self,
        found: Option<&RecoveredReplica>,
        fault: Interruption,
    ) -> Result<(), String> {
        // What was written survives the process: only a power cut takes it back.
        let mut least = 0;
        if !fault.power_was_cut {
            least = self
                .pending
                .iter()
                .take_while(|pending| pending.seq <= self.written)
                .count();
        }
        let mut state = self.durable.clone();
        // The last durable end is journalled with the group behind it: until then, rot at the log's end looks like a
        // torn tail. The replica is shorter then, and knows that it may be.
        if fault.damaged
            && let Some(found) = found
            && found.mark == Mark::Suspect
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
                for (place, entry) in entries.iter().enumerate() {
                    state.log.push(*entry);
                    if matches(&state, found) {
                        break;
                    }
                    // A torn append is cut, although orders behind it were kept: then the replica is suspect.
                    let mut cut = state.clone();
                    let kept = place + 1 < entries.len()
                        && found.is_some_and(|found| found.mark == Mark::Suspect)
                        && rest.clone().any(|later| {
                            if matches!(later, Change::Vote(_) | Change::Mark(_)) {
                                cut.apply(later);
                            }
                            matches(&cut, found)
                        });
                    if kept {
                        state = cut;
                        break;
                    }
                }
            } else {
                state.apply(change);
            }
        }
        if let Some(found) = found
            && found.mark == Mark::Suspect
        {
            state.mark = Mark::Suspect;
        }
        self.compared = self.compared.min(state.log.len());
        self.ordered.clone_from(&state);
        self.durable = state;
        self.pending.clear();
        self.refused = false;
        self.written = OrderSeq::default();
        Ok(())
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
    if state.mark == Mark::Suspect && found.mark != Mark::Suspect {
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

fn log_entry(entry: &Entry, after: Position) -> Logged {
    match entry {
        Entry::Batch(batch) => Logged {
            after,
            digest: digest_batch(&batch.header),
            offset: batch.header.base_offset,
            crc: batch.header.crc.max(1),
        },
        Entry::Note(note) => {
            let mut hasher = StableHasher::default();
            note.hash(&mut hasher);
            Logged {
                after,
                digest: hasher.finish(),
                offset: note.offset,
                crc: 0,
            }
        }
    }
}

fn digest_batch(header: &BatchHeader) -> u64 {
    let mut hasher = StableHasher::default();
    header.hash(&mut hasher);
    hasher.finish()
}

/// The voters that a note of this entry names, where it is one.
#[must_use]
pub fn voters_of(entry: &Entry) -> Option<&[Voter]> {
    match entry {
        Entry::Note(note) => match &note.kind {
            NoteKind::Voters(voters) => Some(voters),
            NoteKind::Opening { .. } | NoteKind::LogStart(_) => None,
        },
        Entry::Batch(_) => None,
    }
}

/// The last epoch before this index of a log.
#[must_use]
pub fn epoch_before(log: &[Logged], index: usize) -> LeaderEpoch {
    index
        .checked_sub(1)
        .and_then(|last| log.get(last))
        .map_or(LeaderEpoch::default(), |logged| logged.after.leader_epoch)
}
