//! What is known of a replica in the course of one step.

use varve_core::ids::{BrokerId, DirectoryId};
use varve_core::log::Note;
use varve_core::record::BatchBuilder;
use varve_core::store::{Mark, RecoveredReplica, Refusal, Roll, Vote};

use super::*;

const ME: Voter = Voter {
    broker: BrokerId(1),
    directory: DirectoryId(7),
};

fn batch(base_offset: i64) -> varve_core::record::Batch {
    let mut builder = BatchBuilder::default();
    let value = base_offset.to_be_bytes();
    builder
        .push(Timestamp(5), None, Some(&value), &[])
        .expect("it is empty");
    let mut batch = builder.build();
    batch.header.base_offset = Offset(base_offset);
    batch
}

#[test]
fn an_append_stands_in_the_log_until_the_step_is_over_in_which_its_refusal_is_heard() {
    let replica = TopicPartition::default();
    let mut seen = Observed::default();
    let mut end = Position::default();
    let batches = [batch(0), batch(1)];
    for (seq, batch) in (1..).map(OrderSeq).zip(&batches) {
        let entry = Entry::Batch(batch.clone());
        let after = end;
        end = entry.position_after(after);
        let kind = OrderKind::Append {
            after,
            entries: vec![entry],
            high_watermark: Offset(0),
            flush: Flush::Replicated,
            roll: Roll::default(),
        };
        seen.take_order(ME, &Order { replica, seq, kind });
    }
    let stages = [Stage::Written, Stage::Refused(Refusal::OutOfResources)];
    let reports = (1..).map(OrderSeq).zip(stages);
    let reports = reports.map(|(seq, stage)| Completion {
        replica,
        seq,
        position: Position::default(),
        stage,
    });
    seen.take_input(ME, &Input::Stored(reports.collect()));
    let has = |seen: &Observed| {
        batches
            .each_ref()
            .map(|it| seen.has_batch(replica, ME, &it.header))
    };
    assert_eq!(has(&seen), [true, true]);
    seen.take_input(ME, &Input::Tick);
    assert_eq!(has(&seen), [true, false]);
}

#[test]
fn what_was_acknowledged_counts_although_it_is_lost_and_nothing_else_that_is() {
    let replica = TopicPartition::default();
    let mut seen = Observed::default();
    let mut ends = vec![Position::default()];
    for seq in 1..=3 {
        let after = *ends.last().expect("there is one");
        let entry = Entry::Batch(batch(after.end_offset.0));
        ends.push(entry.position_after(after));
        let kind = OrderKind::Append {
            after,
            entries: vec![entry],
            high_watermark: Offset(0),
            flush: Flush::Commit,
            roll: Roll::default(),
        };
        let seq = OrderSeq(seq);
        seen.take_order(ME, &Order { replica, seq, kind });
        let stage = Stage::Durable;
        let position = after;
        let report = Completion {
            replica,
            seq,
            position,
            stage,
        };
        seen.take_input(ME, &Input::Stored(vec![report]));
    }
    seen.shadow_mut(replica, ME).acknowledges(ends[2], ends[2]);
    let left = RecoveredReplica {
        mark: Mark::Suspect,
        lost_voter_changes: Vec::new(),
        ..RecoveredReplica::empty(replica, vec![ME])
    };
    let fault = Interruption {
        journal_damaged: true,
        ..Interruption::default()
    };
    let restarted = seen.shadow_mut(replica, ME).restart(Some(&left), fault);
    assert_eq!(restarted, Ok(()));
    let shadow = seen.shadow(replica, ME).expect("it is known");
    assert!(shadow.durable.log.is_empty(), "the journal has lost it");
    let counted = shadow.counted(false).map(<[_]>::len);
    assert_eq!(
        counted.max(),
        Some(2),
        "and it was acknowledged up to there"
    );
}

/// What a start may find of a replica, where its disk has met this.
struct Start {
    seen: Observed,
    fault: Interruption,
}

impl Start {
    /// A replica that was ordered these things, one after the other; the first so many are durable.
    fn after(kinds: Vec<OrderKind>, durable: usize) -> Self {
        let replica = TopicPartition::default();
        let mut seen = Observed::default();
        for (seq, kind) in (1..).map(OrderSeq).zip(kinds) {
            seen.take_order(ME, &Order { replica, seq, kind });
        }
        for seq in (1..=durable as u64).map(OrderSeq) {
            let completion = Completion {
                replica,
                seq,
                position: Position::default(),
                stage: Stage::Durable,
            };
            seen.take_completion(ME, &completion);
        }
        let fault = Interruption {
            power_was_cut: true,
            ..Interruption::default()
        };
        Self { seen, fault }
    }

    fn may_find(&self, found: &RecoveredReplica) -> bool {
        let recovered = Recovered {
            cluster: None,
            broker: ME.broker,
            directory: ME.directory,
            incarnation: Incarnation(2),
            replicas: vec![found.clone()],
        };
        self.seen.clone().start(&recovered, self.fault).is_ok()
    }
}

fn found(end: Position, mark: Mark) -> RecoveredReplica {
    RecoveredReplica {
        end,
        mark,
        ..RecoveredReplica::empty(TopicPartition::default(), vec![ME])
    }
}

fn append(entry: Entry, after: Position) -> (OrderKind, Position) {
    let end = entry.position_after(after);
    let kind = OrderKind::Append {
        after,
        entries: vec![entry],
        high_watermark: Offset(0),
        flush: Flush::Commit,
        roll: Roll::default(),
    };
    (kind, end)
}

#[test]
fn what_the_disk_has_refused_comes_back_only_to_a_suspect_whose_journal_is_damaged() {
    let voters = vec![ME];
    let (one, end) = append(Entry::Batch(batch(0)), Position::default());
    let (other, behind) = append(Entry::Batch(batch(1)), end);
    let kinds = vec![OrderKind::Create { voters }, one, other];
    let mut start = Start::after(kinds, 2);
    start.fault.power_was_cut = false;
    start
        .seen
        .refused(ME, TopicPartition::default(), OrderSeq(3));
    assert!(start.may_find(&found(end, Mark::Clean)));
    assert!(
        !start.may_find(&found(behind, Mark::Suspect)),
        "it is sound"
    );
    start.fault.journal_damaged = true;
    assert!(start.may_find(&found(behind, Mark::Suspect)));
    assert!(!start.may_find(&found(behind, Mark::Clean)));
    let (_, beyond) = append(Entry::Batch(batch(2)), behind);
    assert!(
        !start.may_find(&found(beyond, Mark::Suspect)),
        "never ordered"
    );
}

#[test]
fn a_note_that_a_power_cut_tears_is_lost_from_between_batches_to_a_suspect_alone() {
    let (one, end) = append(Entry::Batch(batch(0)), Position::default());
    let tick = Note {
        leader_epoch: end.leader_epoch,
        offset: end.end_offset,
        kind: NoteKind::ClockTick(LogClock(1)),
    };
    let (tick, ticked) = append(Entry::Note(tick), end);
    let (other, behind) = append(Entry::Batch(batch(1)), ticked);
    let voters = vec![ME];
    let kinds = vec![OrderKind::Create { voters }, one, tick, other];
    let without_note = Position {
        notes: end.notes,
        ..behind
    };
    let start = Start::after(kinds.clone(), 2);
    assert!(start.may_find(&found(without_note, Mark::Suspect)));
    assert!(!start.may_find(&found(without_note, Mark::Clean)));
    assert!(start.may_find(&found(behind, Mark::Clean)));
    let start = Start::after(kinds, 4);
    assert!(
        !start.may_find(&found(without_note, Mark::Suspect)),
        "it was durable"
    );
}

#[test]
fn what_no_start_has_found_comes_back_only_while_the_log_ends_in_its_epoch() {
    let voters = vec![ME];
    let (one, end) = append(Entry::Batch(batch(0)), Position::default());
    let (other, behind) = append(Entry::Batch(batch(1)), end);
    let mut start = Start::after(vec![OrderKind::Create { voters }, one, other], 2);
    let recovered = Recovered {
        cluster: None,
        broker: ME.broker,
        directory: ME.directory,
        incarnation: Incarnation(2),
        replicas: vec![found(end, Mark::Suspect)],
    };
    start
        .seen
        .start(&recovered, start.fault)
        .expect("it is what was durable");
    start.fault.journal_damaged = true;
    assert!(start.may_find(&found(behind, Mark::Suspect)));
    let later = Position {
        leader_epoch: behind.leader_epoch.next(),
        ..behind
    };
    assert!(!start.may_find(&found(later, Mark::Suspect)));
}

#[test]
fn what_no_start_has_found_comes_back_behind_an_opening_that_stands_there_again() {
    let opening = |epoch| {
        let note = Note {
            leader_epoch: LeaderEpoch(epoch),
            offset: Offset(0),
            kind: NoteKind::Opening { leader: ME },
        };
        append(Entry::Note(note), Position::default())
    };
    let (opens, opened) = opening(1);
    let mut of_epoch = batch(0);
    of_epoch.header.leader_epoch = LeaderEpoch(1);
    let (one, end) = append(Entry::Batch(of_epoch), opened);
    let voters = vec![ME];
    let kinds = vec![OrderKind::Create { voters }, opens.clone(), one];
    let mut start = Start::after(kinds, 1);
    let recovered = Recovered {
        cluster: None,
        broker: ME.broker,
        directory: ME.directory,
        incarnation: Incarnation(2),
        replicas: vec![found(Position::default(), Mark::Suspect)],
    };
    let started = start.seen.start(&recovered, start.fault);
    started.expect("neither was durable");
    start.fault.journal_damaged = true;
    assert!(!start.may_find(&found(end, Mark::Suspect)));
    let replica = TopicPartition::default();
    let order = |kind| Order {
        replica,
        seq: OrderSeq(1),
        kind,
    };
    let mut again = start.seen.clone();
    start.seen.take_order(ME, &order(opens));
    assert!(start.may_find(&found(end, Mark::Suspect)));
    again.take_order(ME, &order(opening(2).0));
    start.seen = again;
    assert!(
        !start.may_find(&found(end, Mark::Suspect)),
        "of another epoch"
    );
}

#[test]
fn the_mark_of_a_copy_made_anew_is_lost_only_with_its_creation() {
    let voters = Vec::new();
    let new = OrderKind::SetMark(Mark::New);
    let vote = Vote {
        leader_epoch: LeaderEpoch(4),
        voted_for: None,
    };
    let kinds = vec![
        OrderKind::Create { voters },
        new,
        OrderKind::StoreVote(vote),
    ];
    let start = Start::after(kinds, 0);
    let mut replica = RecoveredReplica {
        vote,
        ..found(Position::default(), Mark::Suspect)
    };
    assert!(
        !start.may_find(&replica),
        "its creation says that it is new"
    );
    replica.voters.clear();
    assert!(start.may_find(&replica));
    replica.mark = Mark::Clean;
    assert!(!start.may_find(&replica));
}

#[test]
fn what_was_to_be_deleted_may_be_there_as_a_torn_journal_leaves_it() {
    let create = OrderKind::Create { voters: vec![ME] };
    let vote = OrderKind::StoreVote(Vote {
        leader_epoch: LeaderEpoch(4),
        voted_for: None,
    });
    let (one, end) = append(Entry::Batch(batch(0)), Position::default());
    let (other, behind) = append(Entry::Batch(batch(1)), end);
    let kinds = vec![create, vote, one, other, OrderKind::Delete];
    let mut start = Start::after(kinds, 0);
    let without_vote = found(end, Mark::Suspect);
    assert!(start.may_find(&without_vote));
    assert!(start.may_find(&found(behind, Mark::Suspect)));
    assert!(!start.may_find(&found(end, Mark::Clean)));
    start.fault.power_was_cut = false;
    assert!(!start.may_find(&without_vote), "no process tears anything");
}

#[test]
fn what_a_start_has_found_truncated_or_deleted_comes_back_where_the_journal_loses_that() {
    let create = OrderKind::Create { voters: vec![ME] };
    let (one, end) = append(Entry::Batch(batch(0)), Position::default());
    let to = Position::default();
    for (dropping, left) in [
        (OrderKind::Truncate { to }, vec![found(to, Mark::Clean)]),
        (OrderKind::Delete, Vec::new()),
    ] {
        let mut start = Start::after(vec![create.clone(), one.clone(), dropping], 2);
        let recovered = Recovered {
            cluster: None,
            broker: ME.broker,
            directory: ME.directory,
            incarnation: Incarnation(2),
            replicas: left,
        };
        let started = start.seen.start(&recovered, start.fault);
        started.expect("it was under way, and may be done");
        start.fault.power_was_cut = false;
        start.fault.journal_damaged = true;
        assert!(start.may_find(&found(end, Mark::Suspect)));
        assert!(!start.may_find(&found(end, Mark::Clean)));
    }
}

#[test]
fn a_refusal_that_is_heard_after_a_deletion_takes_nothing_from_what_is_there_now() {
    let replica = TopicPartition::default();
    let create = || OrderKind::Create { voters: vec![ME] };
    let (one, end) = append(Entry::Batch(batch(0)), Position::default());
    let (other, _) = append(Entry::Batch(batch(1)), end);
    let kinds = vec![
        create(),
        one.clone(),
        other.clone(),
        OrderKind::Delete,
        create(),
        one,
        other,
    ];
    let mut seen = Start::after(kinds, 0).seen;
    let refused = Completion {
        replica,
        seq: OrderSeq(3),
        position: Position::default(),
        stage: Stage::Refused(Refusal::OutOfResources),
    };
    seen.take_input(ME, &Input::Stored(vec![refused]));
    let shadow = seen.shadow(replica, ME).expect("it is known");
    assert_eq!(shadow.ordered.log.len(), 2);
}

#[test]
fn what_was_to_be_deleted_may_be_there_by_its_name_alone_where_a_group_is_lost() {
    let voters = vec![ME];
    let vote = OrderKind::StoreVote(Vote {
        leader_epoch: LeaderEpoch(4),
        voted_for: None,
    });
    let (one, _) = append(Entry::Batch(batch(0)), Position::default());
    let kinds = vec![OrderKind::Create { voters }, vote, one, OrderKind::Delete];
    let mut named = found(Position::default(), Mark::Suspect);
    named.voters.clear();
    let mut start = Start::after(kinds.clone(), 3);
    assert!(start.may_find(&named));
    assert!(
        !start.may_find(&found(Position::default(), Mark::Suspect)),
        "its creation is not known"
    );
    start.fault.power_was_cut = false;
    assert!(!start.may_find(&named), "no process loses a group");
    let start = Start::after(kinds[..3].to_vec(), 3);
    assert!(!start.may_find(&named), "nobody has deleted it");
}
