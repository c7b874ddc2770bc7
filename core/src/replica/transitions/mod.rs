//! Transitions of one replica: its state, its inputs, and its effects, as a snapshot.
//!
//! The replica is n1, one of the voters n1, n2 and n3 unless a test says otherwise. A snapshot has one block for each
//! input:
//!
//! ```text
//! n3 -> n1    Vote e3 last e2@5            the input
//!   store     enter e3                     the orders to its store, in order
//!   -> n2     EpochEntered e3              the messages that it sends
//!   notice    follows n2 in e3             its notices
//! follower    e3  end e2@5+2  hw 3         its state afterwards, if that has changed
//! ```

mod append;
mod commit;
mod holes;
mod membership;
mod vote;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::tests::{PARTITION, identity, voter};
use super::*;
use crate::effect::{Effect, Effects};
use crate::ids::Timestamp;
use crate::log::{Entry, Note, NoteKind, Position};
use crate::peer::{Append, AppendReply, Denial, Heartbeat, VoteReply, VoteRequest};
use crate::record::{BatchBuilder, Compression};
use crate::store::{Completion, Order, QueryId, Stage};

/// A log in which each epoch has its opening and then records up to an offset, exclusive.
#[derive(Clone, Debug, Default)]
struct Log {
    entries: Vec<Entry>,
    end: Position,
}

impl Log {
    fn epoch(mut self, leader_epoch: i32, leader: usize, end: i64) -> Self {
        self.push(Entry::Note(Note {
            leader_epoch: LeaderEpoch(leader_epoch),
            offset: self.end.end_offset,
            kind: NoteKind::Opening {
                leader: voter(leader),
            },
        }));
        while self.end.end_offset.0 < end {
            self.push(Entry::Batch(record(leader_epoch, self.end.end_offset.0)));
        }
        self
    }

    fn push(&mut self, entry: Entry) {
        self.end = entry.position_after(self.end);
        self.entries.push(entry);
    }

    fn notes(&self) -> Vec<Note> {
        let notes = self.entries.iter().filter_map(|entry| match entry {
            Entry::Note(note) => Some(note.clone()),
            Entry::Batch(_) => None,
        });
        notes.collect()
    }

    /// The position before the first entry from `offset` on, and the entries from there.
    fn from(&self, offset: i64) -> (Position, Vec<Entry>) {
        let mut at = Position::default();
        let mut entries = self.entries.iter();
        let mut rest = Vec::new();
        for entry in entries.by_ref() {
            if entry.offset().0 >= offset {
                rest.push(entry.clone());
                break;
            }
            at = entry.position_after(at);
        }
        rest.extend(entries.cloned());
        (at, rest)
    }
}

/// A batch of one record.
fn record(leader_epoch: i32, offset: i64) -> Batch {
    let mut batch = BatchBuilder::new(Compression::None);
    batch
        .push(Timestamp(1), None, Some(b"value"), &[])
        .expect("it fits");
    let mut batch = batch.build();
    batch.stamp(Offset(offset), LeaderEpoch(leader_epoch));
    batch
}

/// The log of most tests: e1 of n1 with the records 0 to 2, e2 of n2 with 3 and 4.
fn log() -> Log {
    Log::default().epoch(1, 1, 3).epoch(2, 2, 5)
}

/// One replica, its pending orders, and the transcript so far.
struct Given {
    replica: Replica,
    now: Instant,
    timing: Timing,
    links: Links,
    rng: ChaCha8Rng,
    queries: Queries,
    last_order: OrderSeq,
    orders: VecDeque<Order>,
    asked: Vec<QueryId>,
    told: String,
    shows: bool,
}

impl Given {
    /// A replica just recovered with this log, committed up to `high_watermark`.
    fn started_on(log: &Log, high_watermark: i64) -> Self {
        Self::recovered(RecoveredReplica {
            notes: log.notes(),
            end: log.end,
            high_watermark: Offset(high_watermark),
            ..RecoveredReplica::empty(PARTITION, vec![voter(1), voter(2), voter(3)])
        })
    }

    fn recovered(recovered: RecoveredReplica) -> Self {
        let config = ReplicaConfig {
            flush: Flush::Commit,
            roll: Roll::default(),
            eager: false,
            clock_tick_min: Duration::from_secs(3600),
        };
        let (now, timing) = (Instant(1_000_000), Timing::default());
        let mut links = Links::new(now);
        for peer in 2..=4 {
            links.up(identity(peer), now, &timing);
            links.on_message(identity(peer), 1, now, &timing);
        }
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut queries, mut last_order, mut fx) =
            (Queries::default(), OrderSeq(0), Effects::new());
        let replica = Replica::recover(
            recovered,
            voter(1),
            config,
            &mut Cx {
                now,
                timing: &timing,
                links: &links,
                rng: &mut rng,
                fx: &mut fx,
                queries: &mut queries,
                last_order: &mut last_order,
                directory: DirectoryState::Online,
                disk_hangs: false,
            },
        );
        let mut given = Self {
            replica,
            now,
            timing,
            links,
            rng,
            queries,
            last_order,
            orders: VecDeque::new(),
            asked: Vec::new(),
            told: String::new(),
            shows: false,
        };
        given.hear_heartbeats(2..=4);
        given
    }

    /// Exchanges heartbeats with these peers, in both directions.
    fn hear_heartbeats(&mut self, peers: impl Iterator<Item = usize>) {
        for peer in peers {
            let heartbeat = Heartbeat {
                sent_at: self.now,
                echo: Some(self.now),
                disk_stalled: Duration::ZERO,
                directory: DirectoryState::Online,
            };
            self.links
                .on_message(identity(peer), 1, self.now, &self.timing);
            self.links
                .on_heartbeat(voter(peer).broker, &heartbeat, self.now, &self.timing);
        }
    }

    /// The same under `flush=replicated`, where records count in memory.
    fn flushing_later(mut self) -> Self {
        self.replica.configure(ReplicaConfig {
            flush: Flush::Replicated,
            roll: Roll::default(),
            eager: false,
            clock_tick_min: Duration::from_secs(3600),
        });
        self
    }

    /// It follows n`leader`, whose log equals its own.
    fn following(mut self, leader: usize) -> Self {
        let end = self.replica.end();
        self.append(
            leader,
            end.leader_epoch.0,
            end,
            Vec::new(),
            Position::default(),
        );
        self
    }

    /// It leads the next epoch by the votes of n2 and n3, and its disk has everything that it has ordered. No follower
    /// has replied yet.
    fn leading(mut self) -> Self {
        let deadline = self.replica.next_deadline().expect("it waits for a leader");
        self.now = deadline;
        self.hear_heartbeats(2..=4);
        self.act(Replica::fire);
        let election = self.replica.leader_epoch().next();
        for grants in [ReplicaBody::PreVoteReply, ReplicaBody::VoteReply] {
            self.store_all();
            for peer in [2, 3] {
                let reply = grants(VoteReply {
                    election,
                    refusal: None,
                    marked: false,
                    lost_voter_changes: Vec::new(),
                });
                let leader_epoch = self.replica.leader_epoch().0;
                self.hear(peer, leader_epoch, reply);
            }
        }
        self.store_all();
        assert!(self.replica.is_leader(), "two of three have voted for it");
        self
    }

    /// Shows the transcript from here on.
    fn shown(mut self) -> Self {
        self.shows = true;
        let state = self.state_line();
        let _ = writeln!(self.told, "{state}");
        self
    }

    fn text(self) -> String {
        self.told
    }

    fn state_line(&self) -> String {
        let view = self.replica.view();
        let mut line = format!("{:<11} e{}", view.role, view.leader_epoch);
        if let Some(leader) = view.leader.filter(|leader| *leader != voter(1)) {
            let _ = write!(line, " of n{}", leader.broker);
        }
        if let Some(voted_for) = view.voted_for {
            let _ = write!(line, "  voted for n{}", voted_for.broker);
        }
        let _ = write!(line, "  end {}", view.end);
        if view.durable != view.end {
            let _ = write!(line, "  durable {}", view.durable);
        }
        match view.high_watermark {
            Some(high_watermark) => write!(line, "  hw {high_watermark}"),
            None => write!(line, "  hw not known"),
        }
        .expect("a string takes everything");
        let voters: Vec<i32> = view.voters.iter().map(|voter| voter.broker.0).collect();
        if voters != [1, 2, 3] {
            let _ = write!(line, "  voters {voters:?}");
        }
        if self.replica.is_leader() {
            let isr: Vec<i32> = self.replica.isr().iter().map(|broker| broker.0).collect();
            let _ = write!(line, "  isr {isr:?}");
        }
        if view.mark != Mark::Clean {
            let _ = write!(line, "  {:?}", view.mark);
        }
        for hole in view.holes {
            let _ = write!(line, "  hole [{},{})", hole.start, hole.end);
        }
        line
    }

    fn act<R>(&mut self, act: impl FnOnce(&mut Replica, &mut Cx<'_>) -> R) -> R {
        let mut fx = Effects::new();
        let result = act(
            &mut self.replica,
            &mut Cx {
                now: self.now,
                timing: &self.timing,
                links: &self.links,
                rng: &mut self.rng,
                fx: &mut fx,
                queries: &mut self.queries,
                last_order: &mut self.last_order,
                directory: DirectoryState::Online,
                disk_hangs: false,
            },
        );
        for effect in fx.drain() {
            let (who, what) = match &effect {
                Effect::Send { to, message } => (format!("-> n{to}"), message.to_string()),
                Effect::Store(order) => ("store".to_owned(), order.kind.to_string()),
                Effect::Notice(notice) => ("notice".to_owned(), notice.what.to_string()),
                Effect::Query(query) => ("query".to_owned(), query.kind.to_string()),
                other => panic!("a replica alone does not order {other:?}"),
            };
            if self.shows {
                let _ = writeln!(self.told, "  {who:<9} {what}");
            }
            if let Effect::Query(query) = &effect {
                self.asked.push(query.id);
            }
            if let Effect::Store(order) = effect {
                self.orders.push_back(order);
            }
        }
        result
    }

    /// One block of the transcript: an input and its effects.
    fn block<R>(&mut self, told: &str, act: impl FnOnce(&mut Replica, &mut Cx<'_>) -> R) -> R {
        let before = self.state_line();
        if self.shows {
            let _ = writeln!(self.told, "\n{told}");
        }
        let result = self.act(act);
        let after = self.state_line();
        if self.shows && after != before {
            let _ = writeln!(self.told, "{after}");
        }
        result
    }

    /// A message from n`from` in this epoch.
    fn hear(&mut self, from: usize, leader_epoch: i32, body: ReplicaBody) {
        let message = ReplicaMessage {
            partition: PARTITION,
            from: voter(from),
            to: voter(1),
            leader_epoch: LeaderEpoch(leader_epoch),
            body,
        };
        let told = format!("n{from} -> n1    {message}");
        self.block(&told, |replica, cx| replica.receive(message, cx));
    }

    /// An append from n`from` that says that the log is committed up to `committed`.
    fn append(
        &mut self,
        from: usize,
        leader_epoch: i32,
        previous: Position,
        entries: Vec<Entry>,
        committed: Position,
    ) {
        let probe = entries.is_empty();
        let leader_end = entries
            .iter()
            .fold(previous, |at, entry| entry.position_after(at));
        let append = Append {
            previous,
            entries,
            committed,
            leader_end,
            flush: Flush::Commit,
            probe,
        };
        self.hear(from, leader_epoch, ReplicaBody::Append(append));
    }

    /// n`from` acknowledges this leader's log up to here, in memory and on disk.
    fn has(&mut self, from: usize, appended: Position, durable: Position) {
        let leader_epoch = self.replica.leader_epoch().0;
        let matched = AppendReply::Matched {
            verified: appended,
            appended,
            durable,
            eligible: true,
        };
        self.hear(from, leader_epoch, ReplicaBody::AppendReply(matched));
    }

    /// The store reports every order durable.
    fn store_all(&mut self) {
        while let Some(order) = self.orders.back() {
            let completion = Completion {
                replica: PARTITION,
                seq: order.seq,
                position: self.replica.end(),
                stage: Stage::Durable,
            };
            self.orders.clear();
            self.block("stored", |replica, cx| replica.on_stored(&completion, cx));
        }
    }

    /// A client produces a record.
    fn produce(&mut self) -> Result<Appended, ProduceRefusal> {
        let batch = record(0, 0);
        self.block("produce", |replica, cx| {
            replica.produce(batch, None, None, cx)
        })
    }

    /// The broker sets the target that the metadata name.
    fn target(&mut self, target: &[usize]) {
        let target: Vec<Voter> = target.iter().copied().map(voter).collect();
        let brokers: Vec<i32> = target.iter().map(|voter| voter.broker.0).collect();
        self.block(&format!("target {brokers:?}"), |replica, cx| {
            replica.set_target(&target, &[], cx);
        });
    }

    /// A read finds damage.
    fn damage(&mut self, range: Range<i64>) {
        let range = Offset(range.start)..Offset(range.end);
        let told = format!("damage      [{},{})", range.start, range.end);
        self.block(&told, |replica, cx| replica.on_hole(range, cx));
    }

    /// Time passes, with heartbeats from all peers.
    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.hear_heartbeats(2..=4);
        if self
            .replica
            .next_deadline()
            .is_some_and(|at| at <= self.now)
        {
            let told = format!("{} ms later", time.as_millis());
            self.block(&told, Replica::fire);
        }
    }

    /// Time passes without a heartbeat from the leader's broker.
    fn lose(&mut self, leader: usize) {
        let silent = self.timing.election_timeout;
        self.now = self.now + silent;
        self.hear_heartbeats((2..=4).filter(|&peer| peer != leader));
        self.links.expire(self.now, &self.timing);
        self.block(&format!("n{leader} is silent"), Replica::review_leader);
    }
}

fn pre_vote(end: Position) -> ReplicaBody {
    ReplicaBody::PreVote(asks(end))
}

fn vote(end: Position) -> ReplicaBody {
    ReplicaBody::Vote(asks(end))
}

fn asks(end: Position) -> VoteRequest {
    VoteRequest {
        end,
        lost_voter_changes: Vec::new(),
    }
}

fn grant(election: i32, marked: bool) -> VoteReply {
    VoteReply {
        election: LeaderEpoch(election),
        refusal: None,
        marked,
        lost_voter_changes: Vec::new(),
    }
}
