//! Transitions of a few replicas wired together by hand: whole clusters live in the simulator.

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::*;
use crate::cluster;
use crate::effect::Effect;
use crate::ids::{DirectoryId, Incarnation, PartitionIndex, Timestamp, TopicId};
use crate::log::{Note, NoteKind};
use crate::peer::{DirectoryState, Heartbeat, PeerIdentity, PeerMessage, VoteRequest};
use crate::record::{BatchBuilder, Compression};
use crate::store::{Completion, Order, OrderSeq, Stage, VoterChange};

pub(super) const PARTITION: TopicPartition = TopicPartition {
    topic: TopicId(7),
    partition: PartitionIndex(0),
};

pub(super) fn voter(n: usize) -> Voter {
    Voter {
        broker: BrokerId(n as i32),
        directory: DirectoryId(n as u128),
    }
}

pub(super) fn identity(n: usize) -> PeerIdentity {
    PeerIdentity {
        cluster: None,
        broker: voter(n).broker,
        directory: voter(n).directory,
        incarnation: Incarnation(1),
    }
}

/// Replicas 0, 1, ... of one partition, with links that deliver at once and disks that sync when the test says so.
struct Quorum {
    now: Instant,
    timing: Timing,
    replicas: Vec<Replica>,
    links: Vec<Links>,
    rngs: Vec<ChaCha8Rng>,
    mail: VecDeque<(usize, ReplicaMessage)>,
    orders: Vec<VecDeque<Order>>,
    /// Pairs that cannot reach each other, in either direction.
    cut: Vec<(usize, usize)>,
    /// Everything sent, delivered or not.
    sent: Vec<ReplicaMessage>,
    /// Every notice, and which replica gave it.
    notices: Vec<(usize, NoticeKind)>,
    /// Replicas whose disks complete no order.
    stuck: Vec<usize>,
}

impl Quorum {
    fn new(n: usize) -> Self {
        let mut quorum = Self {
            now: Instant(1_000_000),
            timing: Timing::default(),
            replicas: Vec::new(),
            links: (0..n).map(|_| Links::new(Instant(1_000_000))).collect(),
            rngs: (0..n)
                .map(|n| ChaCha8Rng::seed_from_u64(n as u64))
                .collect(),
            mail: VecDeque::new(),
            orders: vec![VecDeque::new(); n],
            cut: Vec::new(),
            sent: Vec::new(),
            notices: Vec::new(),
            stuck: Vec::new(),
        };
        quorum.exchange_heartbeats();
        for me in 0..n {
            let replica = quorum.make(me, n, cluster::AssignmentKind::InitialVoter);
            quorum.replicas.push(replica);
        }
        quorum
    }

    /// This many voters at creation, and one more replica that is not a voter.
    fn beside_a_learner(voters: usize) -> Self {
        let mut quorum = Self::new(voters + 1);
        for replica in &mut quorum.replicas {
            replica.state.voters_at_creation = (0..voters).map(voter).collect();
            replica.state.refresh_voters();
        }
        quorum
    }

    fn make(&mut self, me: usize, n: usize, role: cluster::AssignmentKind) -> Replica {
        let config = ReplicaConfig {
            flush: Flush::Commit,
            roll: Roll::default(),
            eager: true,
            clock_tick_min: Duration::from_secs(3600),
        };
        let voters = (0..n).map(voter).collect();
        self.with_cx(me, |cx| {
            let leader_epoch_min =
                (role != cluster::AssignmentKind::InitialVoter).then_some(LeaderEpoch(0));
            Replica::create(
                PARTITION,
                voter(me),
                voters,
                config,
                leader_epoch_min,
                false,
                cx,
            )
        })
    }

    fn with_cx<R>(&mut self, me: usize, act: impl FnOnce(&mut Cx<'_>) -> R) -> R {
        let mut fx = Effects::new();
        let mut queries = Queries::default();
        let mut last_order = OrderSeq(0);
        let result = act(&mut Cx {
            now: self.now,
            timing: &self.timing,
            links: &self.links[me],
            rng: &mut self.rngs[me],
            fx: &mut fx,
            queries: &mut queries,
            last_order: &mut last_order,
            directory: DirectoryState::Online,
            disk_hangs: false,
        });
        for effect in fx.drain() {
            match effect {
                Effect::Send {
                    message: PeerMessage::Replica(message),
                    ..
                } => {
                    self.sent.push(message.clone());
                    self.mail.push_back((me, message));
                }
                Effect::Store(order) => self.orders[me].push_back(order),
                Effect::Notice(notice) => self.notices.push((me, notice.what)),
                Effect::Query(_) => {}
                other => panic!("a replica alone does not order {other:?}"),
            }
        }
        result
    }

    fn with<R>(&mut self, me: usize, act: impl FnOnce(&mut Replica, &mut Cx<'_>) -> R) -> R {
        let mut replica = self.replicas[me].clone();
        let result = self.with_cx(me, |cx| act(&mut replica, cx));
        self.replicas[me] = replica;
        result
    }

    /// The store of `me` reports on an order.
    fn report(&mut self, me: usize, seq: OrderSeq, stage: Stage) {
        let completion = Completion {
            replica: PARTITION,
            seq,
            position: self.replicas[me].end(),
            stage,
        };
        self.with(me, |replica, cx| replica.on_stored(&completion, cx));
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cut.contains(&(a, b)) || self.cut.contains(&(b, a))
    }

    fn exchange_heartbeats(&mut self) {
        let n = self.links.len();
        for (from, to) in (0..n).flat_map(|from| (0..n).map(move |to| (from, to))) {
            if from != to && !self.is_cut(from, to) {
                let heartbeat: Heartbeat = self.links[from].heartbeat_to(
                    voter(to).broker,
                    self.now,
                    Duration::ZERO,
                    DirectoryState::Online,
                );
                self.links[from].up(identity(to), self.now, &self.timing);
                self.links[to].on_message(identity(from), 1, self.now, &self.timing);
                self.links[to].on_heartbeat(voter(from).broker, &heartbeat, self.now, &self.timing);
            }
        }
    }

    /// Delivers messages and syncs disks until nothing is in flight.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut idle = true;
            while let Some((from, message)) = self.mail.pop_front() {
                idle = false;
                let to = message.to.broker.0 as usize;
                if !self.is_cut(from, to) {
                    self.with(to, |replica, cx| replica.receive(message, cx));
                }
            }
            for me in 0..self.replicas.len() {
                if let Some(order) = self.orders[me].back().filter(|_| !self.stuck.contains(&me)) {
                    idle = false;
                    let seq = order.seq;
                    self.orders[me].clear();
                    self.report(me, seq, Stage::Durable);
                }
            }
            if idle {
                return;
            }
        }
        panic!("the replicas never settle");
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.now + Duration::from_millis(20);
            self.exchange_heartbeats();
            for me in 0..self.replicas.len() {
                for change in self.links[me].clone().expire(self.now, &self.timing) {
                    let _ = change;
                    self.with(me, |replica, cx| {
                        replica.review_leader(cx);
                        replica.check_quorum(cx);
                    });
                }
                if self.replicas[me]
                    .next_deadline()
                    .is_some_and(|at| at <= self.now)
                {
                    self.with(me, Replica::fire);
                }
            }
            self.settle();
        }
    }

    fn leader(&self) -> Option<usize> {
        let leaders = (0..self.replicas.len()).filter(|&n| self.replicas[n].is_leader());
        leaders.max_by_key(|&n| self.replicas[n].leader_epoch())
    }

    fn elect(&mut self) -> usize {
        self.run(Duration::from_secs(5));
        self.leader().expect("five quiet seconds elect a leader")
    }

    fn produce(&mut self, leader: usize) -> Result<Appended, ProduceRefusal> {
        let mut batch = BatchBuilder::new(Compression::None);
        batch
            .push(Timestamp(1), None, Some(b"value"), &[])
            .expect("it fits");
        let batch = batch.build();
        self.with(leader, |replica, cx| replica.produce(batch, None, None, cx))
    }
}

#[test]
fn three_replicas_elect_one_leader_whose_batches_commit_everywhere() {
    let mut quorum = Quorum::new(3);
    let leader = quorum.elect();
    let appended = quorum.produce(leader).expect("it leads");
    assert_eq!(
        appended.base_offset,
        Offset(0),
        "the first record of a partition is offset 0"
    );
    quorum.settle();
    for replica in &quorum.replicas {
        assert_eq!(replica.high_watermark(), Some(Offset(1)));
        assert_eq!(replica.leader_epoch(), LeaderEpoch(1));
    }
    assert_eq!(quorum.replicas[leader].isr().len(), 3);
    assert!(quorum.replicas[leader].meets_acks_all(Offset(1), 3));
}

#[test]
fn a_new_copy_starts_no_election_even_if_its_log_names_it_as_voter() {
    let mut quorum = Quorum::new(1);
    quorum.elect();
    for role in [
        cluster::AssignmentKind::Voter,
        cluster::AssignmentKind::Learner,
    ] {
        let mut quorum = Quorum::new(1);
        quorum.replicas[0] = quorum.make(0, 1, role);
        assert!(quorum.replicas[0].state.is_voter());
        quorum.with(0, Replica::fire);
        assert!(quorum.replicas[0].next_deadline() > Some(quorum.now));
        quorum.run(Duration::from_secs(10));
        assert_eq!(quorum.replicas[0].leader_epoch(), LeaderEpoch(0));
    }
}

#[test]
fn a_suspect_that_is_the_only_voter_waits_for_others_before_an_election() {
    let mut quorum = Quorum::new(1);
    let recovered = RecoveredReplica {
        mark: Mark::Suspect,
        lost_voter_changes: Vec::new(),
        ..RecoveredReplica::empty(PARTITION, vec![voter(0)])
    };
    let config = quorum.replicas[0].state.config;
    quorum.replicas[0] = quorum.with_cx(0, |cx| Replica::recover(recovered, voter(0), config, cx));
    let election_at = quorum.replicas[0].next_deadline();
    assert!(election_at >= Some(quorum.now + quorum.timing.election_timeout));
    quorum.run(Duration::from_secs(10));
    assert!(quorum.replicas[0].is_leader(), "there is nobody else");
}

#[test]
fn a_suspect_without_its_voter_note_votes_unless_its_creation_is_lost_too() {
    let change = VoterChange {
        leader_epoch: LeaderEpoch(1),
        notes: 2,
        voters: vec![voter(0), voter(1)],
    };
    for (voters, lost, votes) in [
        (vec![voter(0)], None, true),
        (vec![voter(0), voter(1)], None, true),
        (vec![], None, false),
        (vec![], Some(change), true),
    ] {
        let mut quorum = Quorum::new(2);
        let recovered = RecoveredReplica {
            mark: Mark::Suspect,
            lost_voter_changes: lost.into_iter().collect(),
            ..RecoveredReplica::empty(PARTITION, voters.clone())
        };
        let config = quorum.replicas[1].state.config;
        quorum.replicas[1] =
            quorum.with_cx(1, |cx| Replica::recover(recovered, voter(1), config, cx));
        let ballot = ReplicaMessage {
            partition: PARTITION,
            from: voter(0),
            to: voter(1),
            leader_epoch: LeaderEpoch(1),
            body: ReplicaBody::Vote(VoteRequest {
                end: Position::default(),
                lost_voter_changes: Vec::new(),
            }),
        };
        quorum.with(1, |replica, cx| replica.receive(ballot, cx));
        quorum.settle();
        let is_grant = |sent: &ReplicaMessage| matches!(&sent.body, ReplicaBody::VoteReply(reply) if reply.is_granted() && reply.marked);
        assert_eq!(quorum.sent.iter().any(is_grant), votes, "{voters:?}");
    }
}

/// Replica 0 has lost a voter change from `before` to `voters`, and only replica 1 can reach it. Returns who is elected
/// then, and who once all can reach each other.
fn elected_despite_a_lost_change(before: &[Voter], voters: &[Voter]) -> [Option<usize>; 2] {
    let mut quorum = Quorum::new(3);
    let config = quorum.replicas[0].state.config;
    for n in 0..3 {
        let mut recovered = RecoveredReplica::empty(PARTITION, before.to_vec());
        if n == 0 {
            recovered.mark = Mark::Suspect;
            recovered.lost_voter_changes.push(VoterChange {
                leader_epoch: LeaderEpoch(1),
                notes: 2,
                voters: voters.to_vec(),
            });
        }
        quorum.replicas[n] =
            quorum.with_cx(n, |cx| Replica::recover(recovered, voter(n), config, cx));
    }
    quorum.cut = vec![(0, 2), (1, 2)];
    quorum.run(Duration::from_secs(10));
    let apart = quorum.leader();
    quorum.cut.clear();
    quorum.run(Duration::from_secs(10));
    [apart, quorum.leader()]
}

#[test]
fn a_candidate_that_has_lost_a_voter_removal_needs_the_removed_voter() {
    let before = [voter(0), voter(1), voter(2)];
    let [apart, together] = elected_despite_a_lost_change(&before, &before[..2]);
    assert_eq!(apart, None, "the third may have what the suspect has lost");
    assert!(together.is_some());
}

#[test]
fn a_candidate_granted_by_a_replica_that_has_lost_a_voter_addition_needs_the_added_voter() {
    let voters = [voter(0), voter(1), voter(2)];
    let [apart, together] = elected_despite_a_lost_change(&voters[..2], &voters);
    assert_eq!(apart, None, "the third may have what the suspect has lost");
    assert!(together.is_some());
}

/// Replica 0 has lost the change that made replica 1 a voter. Replica 1 does not know of that change, and has more log:
/// the openings of these epochs.
fn run_with_a_new_voter_that_has(openings: std::ops::RangeInclusive<i32>) -> Quorum {
    let mut quorum = Quorum::new(2);
    let config = quorum.replicas[0].state.config;
    let mut suspect = RecoveredReplica::empty(PARTITION, vec![voter(0)]);
    suspect.mark = Mark::Suspect;
    suspect.lost_voter_changes.push(VoterChange {
        leader_epoch: LeaderEpoch(1),
        notes: 2,
        voters: vec![voter(0), voter(1)],
    });
    let mut other = RecoveredReplica::empty(PARTITION, vec![voter(0)]);
    for epoch in openings {
        other.notes.push(Note {
            leader_epoch: LeaderEpoch(epoch),
            offset: Offset(0),
            kind: NoteKind::Opening { leader: voter(0) },
        });
        other.end.leader_epoch = LeaderEpoch(epoch);
        other.end.notes += 1;
    }
    for (n, recovered) in [suspect, other].into_iter().enumerate() {
        quorum.replicas[n] =
            quorum.with_cx(n, |cx| Replica::recover(recovered, voter(n), config, cx));
    }
    quorum.run(Duration::from_secs(20));
    quorum
}

#[test]
fn a_new_voter_whose_addition_is_lost_leads_until_its_opening_is_committed() {
    // Or it has led, and its opening is on no other disk.
    for openings in [1..=1, 1..=2] {
        let last = *openings.end();
        let quorum = run_with_a_new_voter_that_has(openings);
        assert_eq!(quorum.leader(), Some(0), "the other one is no voter");
        assert!(quorum.replicas[0].end().leader_epoch > LeaderEpoch(last + 1));
        assert_eq!(quorum.replicas[0].state.mark, Mark::Clean);
    }
}

#[test]
fn a_learner_does_not_follow_a_leader_without_its_committed_entries() {
    let mut quorum = Quorum::new(2);
    let config = quorum.replicas[0].state.config;
    let recover = |quorum: &mut Quorum, n: usize, mark: Mark| {
        let vote = quorum.replicas[n].state.vote;
        let recovered = RecoveredReplica {
            vote,
            mark,
            ..RecoveredReplica::empty(PARTITION, vec![voter(0)])
        };
        quorum.replicas[n] =
            quorum.with_cx(n, |cx| Replica::recover(recovered, voter(n), config, cx));
    };
    let observe = |quorum: &mut Quorum| {
        assert_eq!(quorum.elect(), 0);
        let (target, observers) = ([voter(0)], [voter(1)]);
        quorum.with(0, |replica, cx| replica.set_target(&target, &observers, cx));
        quorum.run(Duration::from_secs(1));
    };
    recover(&mut quorum, 0, Mark::Clean);
    recover(&mut quorum, 1, Mark::Clean);
    observe(&mut quorum);
    quorum.produce(0).expect("it leads");
    quorum.run(Duration::from_secs(1));
    let has = quorum.replicas[1].end();
    assert_eq!(quorum.replicas[1].high_watermark(), Some(Offset(1)));
    recover(&mut quorum, 0, Mark::Suspect);
    observe(&mut quorum);
    assert_eq!(quorum.replicas[0].high_watermark(), Some(Offset(0)));
    assert_eq!(quorum.replicas[1].end(), has);
    quorum.run(Duration::from_secs(1));
    let of_loss = |it: &&(usize, NoticeKind)| matches!(it.1, NoticeKind::CommittedLost(_));
    let told: Vec<_> = quorum.notices.iter().filter(of_loss).collect();
    assert_eq!(told, [&(1, NoticeKind::CommittedLost(has))]);
}

#[test]
fn a_record_durable_on_the_leader_alone_is_not_committed() {
    let mut quorum = Quorum::new(3);
    let leader = quorum.elect();
    quorum.stuck = (0..3).filter(|&n| n != leader).collect();
    quorum.produce(leader).expect("it leads");
    quorum.settle();
    assert_eq!(quorum.replicas[leader].high_watermark(), Some(Offset(0)));
    assert!(quorum.replicas[leader].meets_acks_one(Offset(1)));
    quorum.stuck.pop();
    quorum.settle();
    assert_eq!(quorum.replicas[leader].high_watermark(), Some(Offset(1)));
}

#[test]
fn a_deposed_leader_truncates_what_was_never_committed() {
    let mut quorum = Quorum::new(3);
    let old = quorum.elect();
    quorum.cut = (0..3).filter(|&n| n != old).map(|n| (old, n)).collect();
    quorum.produce(old).expect("it does not know yet");
    quorum.run(Duration::from_secs(4));
    assert!(
        !quorum.replicas[old].is_leader(),
        "check-quorum makes it resign"
    );
    let new = quorum.leader().expect("the others have elected one");
    quorum.produce(new).expect("it leads");
    quorum.produce(new).expect("it leads");
    quorum.settle();
    quorum.cut.clear();
    quorum.run(Duration::from_secs(3));
    let leader = quorum.leader().expect("a leader");
    for replica in &quorum.replicas {
        assert_eq!(replica.end(), quorum.replicas[leader].end());
        assert_eq!(replica.high_watermark(), Some(Offset(2)));
    }
}

#[test]
fn voters_change_one_at_a_time_until_the_target_is_reached() {
    let mut quorum = Quorum::beside_a_learner(3);
    let leader = quorum.elect();
    let gone = (0..3).find(|&n| n != leader).expect("three voters");
    let target: Vec<Voter> = (0..4).filter(|&n| n != gone).map(voter).collect();
    quorum.with(leader, |replica, cx| replica.set_target(&target, &[], cx));
    quorum.settle();
    quorum.run(Duration::from_secs(2));
    assert_eq!(quorum.replicas[leader].voters(), target);
    let notes = quorum.replicas[leader].notes().as_slice();
    let sizes: Vec<usize> = notes
        .iter()
        .filter_map(|note| match &note.kind {
            NoteKind::Voters(voters) => Some(voters.len()),
            NoteKind::Opening { .. } | NoteKind::LogStart(_) | NoteKind::ClockTick(_) => None,
        })
        .collect();
    assert_eq!(sizes, [4, 3], "one in, then one out");
}

#[test]
fn a_new_voter_counts_towards_the_majority_once_it_has_its_voter_note() {
    let mut quorum = Quorum::beside_a_learner(2);
    let voters: Vec<Voter> = (0..2).map(voter).collect();
    let leader = quorum.elect();
    let other = 1 - leader;
    let observers = [voter(2)];
    quorum.with(leader, |replica, cx| {
        replica.set_target(&voters, &observers, cx)
    });
    quorum.run(Duration::from_secs(1));
    quorum.stuck.push(other);
    quorum.produce(leader).expect("it leads");
    quorum.settle();
    assert_eq!(quorum.replicas[2].end().end_offset, Offset(1));
    assert_eq!(quorum.replicas[leader].committed().end_offset, Offset(0));
    quorum.stuck.push(2);
    let all: Vec<Voter> = (0..3).map(voter).collect();
    quorum.with(leader, |replica, cx| replica.set_target(&all, &[], cx));
    quorum.settle();
    assert_eq!(quorum.replicas[leader].voters().len(), 3);
    assert_eq!(quorum.replicas[leader].committed().end_offset, Offset(0));
    quorum.stuck.retain(|stuck| *stuck != 2);
    quorum.settle();
    assert_eq!(quorum.replicas[leader].committed().end_offset, Offset(1));
}

#[test]
fn a_hole_that_a_fill_does_not_close_is_requested_again() {
    let mut quorum = Quorum::new(3);
    let leader = quorum.elect();
    quorum.produce(leader).expect("it leads");
    quorum.settle();
    let damaged = (leader + 1) % 3;
    let holes = |quorum: &Quorum| quorum.replicas[damaged].view().holes;
    let hole = Offset(0)..Offset(1);
    quorum.stuck = vec![damaged];
    quorum.with(damaged, |replica, cx| replica.on_hole(hole.clone(), cx));
    for _ in 0..2 {
        quorum.run(Duration::from_secs(2));
        assert!(!quorum.orders[damaged].is_empty(), "peers have been asked");
        for order in std::mem::take(&mut quorum.orders[damaged]) {
            quorum.report(damaged, order.seq, Stage::Unfilled);
        }
        assert_eq!(holes(&quorum), std::slice::from_ref(&hole));
    }
    quorum.stuck.clear();
    quorum.run(Duration::from_secs(2));
    assert_eq!(holes(&quorum), []);
    assert_eq!(
        quorum.replicas[damaged].end(),
        quorum.replicas[leader].end()
    );
}

#[test]
fn after_a_misfit_the_next_fill_request_includes_the_batch_before_the_hole() {
    let mut quorum = Quorum::new(3);
    let leader = quorum.elect();
    for _ in 0..3 {
        quorum.produce(leader).expect("it leads");
    }
    quorum.settle();
    let damaged = (leader + 1) % 3;
    let hole = Offset(1)..Offset(2);
    quorum.stuck = vec![damaged];
    quorum.with(damaged, |replica, cx| replica.on_hole(hole.clone(), cx));
    for first in [1, 0, 1, 0] {
        while quorum.orders[damaged].is_empty() {
            quorum.run(Duration::from_millis(20));
        }
        for order in std::mem::take(&mut quorum.orders[damaged]) {
            let OrderKind::Fill { batches } = &order.kind else {
                panic!("{order:?} is no fill");
            };
            let offsets: Vec<i64> = batches.iter().map(|it| it.header.base_offset.0).collect();
            assert_eq!(offsets, (first..2).collect::<Vec<_>>());
            quorum.report(damaged, order.seq, Stage::Unfilled);
        }
    }
}

#[test]
fn a_fill_in_flight_when_its_hole_is_found_to_be_wider_closes_nothing() {
    let mut quorum = Quorum::new(3);
    let leader = quorum.elect();
    for _ in 0..3 {
        quorum.produce(leader).expect("it leads");
    }
    quorum.settle();
    let damaged = (leader + 1) % 3;
    let holes = |quorum: &Quorum| quorum.replicas[damaged].view().holes;
    let (narrow, wide) = (Offset(1)..Offset(2), Offset(0)..Offset(3));
    quorum.stuck = vec![damaged];
    quorum.with(damaged, |replica, cx| replica.on_hole(narrow.clone(), cx));
    quorum.run(Duration::from_secs(2));
    assert!(!quorum.orders[damaged].is_empty(), "peers have been asked");
    quorum.with(damaged, |replica, cx| replica.on_hole(wide.clone(), cx));
    for order in std::mem::take(&mut quorum.orders[damaged]) {
        quorum.report(damaged, order.seq, Stage::Durable);
    }
    assert_eq!(holes(&quorum), [wide], "the store has it as one");
    quorum.stuck.clear();
    quorum.run(Duration::from_secs(2));
    assert_eq!(holes(&quorum), []);
}

#[test]
fn batches_read_for_a_peer_and_truncated_meanwhile_are_not_sent() {
    let mut quorum = Quorum::new(2);
    let leader = quorum.elect();
    let follower = 1 - leader;
    quorum.stuck = vec![leader, follower];
    let end = quorum.replicas[follower].end();
    quorum.produce(leader).expect("it leads");
    quorum.settle();
    assert!(quorum.replicas[follower].end() > end, "it has the record");
    quorum.sent.clear();
    quorum.with(follower, |replica, cx| {
        replica
            .state
            .read_disk_for_fill(voter(leader), Offset(0), Offset(1), cx);
        assert!(cx.queries.is_filling(PARTITION, voter(leader)));
        replica.state.truncate_to(end, cx);
        assert!(!cx.queries.is_filling(PARTITION, voter(leader)));
    });
    assert_eq!(quorum.sent, []);
}

#[test]
fn transfer_elects_the_target_without_a_timeout() {
    let mut quorum = Quorum::new(3);
    let old = quorum.elect();
    let new = (old + 1) % 3;
    assert!(quorum.with(old, |replica, cx| replica.transfer_to(voter(new), cx)));
    quorum.settle();
    assert_eq!(quorum.leader(), Some(new));
    assert!(!quorum.replicas[old].is_leader());
}

#[test]
fn a_leader_that_is_deposed_tells_its_voters() {
    let mut quorum = Quorum::new(3);
    let old = quorum.elect();
    let (target, other) = ((old + 1) % 3, (old + 2) % 3);
    // The third replica cannot reach the transfer target, and still hears the old leader's broker.
    quorum.cut = vec![(target, other)];
    assert!(quorum.with(old, |replica, cx| {
        replica.transfer_to(voter(target), cx)
    }));
    quorum.settle();
    assert_eq!(quorum.leader(), Some(target));
    assert_eq!(quorum.replicas[other].leader(), None);
    quorum.cut.push((target, old));
    quorum.run(Duration::from_secs(5));
    let leader = quorum.leader().expect("the other two are a majority");
    assert_eq!(leader, old, "it has the target's opening");
}

#[test]
fn a_follower_that_is_probed_again_stays_in_the_isr() {
    let mut quorum = Quorum::new(3);
    let leader = quorum.elect();
    quorum.settle();
    let in_sync = |quorum: &Quorum| quorum.replicas[leader].isr().len();
    assert_eq!(in_sync(&quorum), 3);
    quorum.produce(leader).expect("there is room");
    let follower = voter((leader + 1) % 3).broker;
    quorum.with(leader, |replica, cx| {
        replica.on_peer_has_room(follower, cx);
        replica.check_quorum(cx);
    });
    assert_eq!(in_sync(&quorum), 3, "it has what it had");
    quorum.with(leader, |replica, cx| {
        replica.on_link_renewed(follower, cx);
    });
    assert_eq!(in_sync(&quorum), 2, "it may be another start");
    quorum.settle();
    assert_eq!(in_sync(&quorum), 3);
}

#[test]
fn records_held_back_from_full_disks_are_sent_once_they_have_room() {
    let mut quorum = Quorum::new(3);
    let leader = quorum.elect();
    for follower in (0..3).filter(|&n| n != leader) {
        let to = voter(leader).broker;
        let full = quorum.links[follower].heartbeat_to(
            to,
            quorum.now,
            Duration::ZERO,
            DirectoryState::Full,
        );
        quorum.links[leader].on_heartbeat(
            voter(follower).broker,
            &full,
            quorum.now,
            &quorum.timing,
        );
    }
    quorum.produce(leader).expect("its own disk has room");
    quorum.settle();
    assert_eq!(quorum.replicas[leader].high_watermark(), Some(Offset(0)));
    quorum.run(Duration::from_secs(2));
    assert_eq!(quorum.replicas[leader].high_watermark(), Some(Offset(1)));
}

/// The number of appends with entries and of refusals among these messages.
fn appends(sent: &[ReplicaMessage]) -> (usize, usize) {
    let carried = |message: &&ReplicaMessage| matches!(&message.body, ReplicaBody::Append(append) if !append.entries.is_empty());
    let refused = |message: &&ReplicaMessage| {
        matches!(
            &message.body,
            ReplicaBody::AppendReply(crate::peer::AppendReply::Diverged { .. })
        )
    };
    (
        sent.iter().filter(carried).count(),
        sent.iter().filter(refused).count(),
    )
}

#[test]
fn a_new_leader_sends_its_opening_once_to_each_follower() {
    let mut quorum = Quorum::new(3);
    quorum.elect();
    assert_eq!(appends(&quorum.sent), (2, 0));
}

#[test]
fn a_leader_finds_the_divergence_in_two_round_trips_and_sends_no_shared_entry() {
    let mut quorum = Quorum::new(3);
    let old = quorum.elect();
    for _ in 0..5 {
        quorum.produce(old).expect("it leads");
        quorum.settle();
    }
    // The old leader's last three batches reach nobody, and the next epoch has other records at the same offsets.
    quorum.cut = (0..3).filter(|&n| n != old).map(|n| (old, n)).collect();
    for _ in 0..3 {
        quorum.produce(old).expect("it does not know yet");
    }
    quorum.run(Duration::from_secs(4));
    let new = quorum.leader().expect("the others have elected one");
    for _ in 0..2 {
        quorum.produce(new).expect("it leads");
        quorum.settle();
    }
    quorum.sent.clear();
    quorum.cut.clear();
    quorum.run(Duration::from_secs(3));
    assert_eq!(quorum.replicas[old].end(), quorum.replicas[new].end());
    let to_old: Vec<ReplicaMessage> = quorum
        .sent
        .iter()
        .filter(|message| message.to == voter(old) || message.from == voter(old))
        .cloned()
        .collect();
    let (carried, refused) = appends(&to_old);
    assert!(refused <= 2, "probed twice at most, not {refused} times");
    assert_eq!(carried, 1, "one message with what it lacks");
    let shared = to_old.iter().any(|message| matches!(&message.body, ReplicaBody::Append(append) if append.entries.iter().any(|entry| entry.leader_epoch() == LeaderEpoch(1))));
    assert!(!shared, "what both logs have is not sent");
}

#[test]
fn a_follower_acknowledges_nothing_before_its_log_has_matched_the_leaders() {
    let mut quorum = Quorum::new(3);
    let leader = quorum.elect();
    quorum.produce(leader).expect("it leads");
    quorum.settle();
    let follower = (leader + 1) % 3;
    // As after a restart: its first append of the leader's epoch is a probe at a position that it lacks.
    let vote = quorum.replicas[follower].state.vote;
    quorum.replicas[follower].role = Role::Follower(Following::default());
    quorum.sent.clear();
    let beyond = Position {
        end_offset: Offset(9),
        ..quorum.replicas[leader].end()
    };
    let append = crate::peer::Append {
        previous: beyond,
        entries: Vec::new(),
        committed: Position::default(),
        leader_end: beyond,
        flush: Flush::Commit,
        probe: true,
    };
    quorum.with(follower, |replica, cx| {
        replica.on_append(voter(leader), vote.leader_epoch, append, cx);
        replica.state.set_mark(Mark::Clean, cx); // any order's completion
    });
    for order in std::mem::take(&mut quorum.orders[follower]) {
        let completion = Completion {
            replica: PARTITION,
            seq: order.seq,
            position: quorum.replicas[follower].end(),
            stage: Stage::Durable,
        };
        quorum.with(follower, |replica, cx| replica.on_stored(&completion, cx));
    }
    let matched = |message: &ReplicaMessage| {
        matches!(
            message.body,
            ReplicaBody::AppendReply(crate::peer::AppendReply::Matched { .. })
        )
    };
    assert!(!quorum.sent.iter().any(matched));
}

#[test]
fn a_follower_whose_pre_vote_is_refused_follows_its_leader_again() {
    let mut quorum = Quorum::new(3);
    let leader = quorum.elect();
    let follower = (leader + 1) % 3;
    quorum.with(follower, |replica, cx| replica.start_election(cx));
    quorum.settle();
    assert_eq!(quorum.leader(), Some(leader));
    assert_eq!(quorum.replicas[follower].leader(), Some(voter(leader)));
}
