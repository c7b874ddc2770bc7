//! Producer state against a model, and rule by rule.

use proptest::prelude::*;

use super::*;
use crate::ids::LeaderEpoch;

const CONTROL_AND_TRANSACTIONAL: i16 = 0x30;

/// `records` records of a producer, at `base_offset`, in the same second for all.
fn batch(
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    base_offset: i64,
    records: i32,
) -> BatchHeader {
    BatchHeader {
        base_offset: Offset(base_offset),
        body_length: 100,
        leader_epoch: LeaderEpoch(1),
        crc: 0,
        attributes: 0,
        last_offset_delta: records - 1,
        base_timestamp: Timestamp(1000),
        max_timestamp: Timestamp(1000),
        producer_id: ProducerId(producer_id),
        producer_epoch: ProducerEpoch(producer_epoch),
        base_sequence,
        record_count: records,
    }
}

fn marker(producer_id: i64, producer_epoch: i16, base_offset: i64) -> BatchHeader {
    let mut header = batch(producer_id, producer_epoch, -1, base_offset, 1);
    header.attributes = CONTROL_AND_TRANSACTIONAL;
    header
}

/// The table of a log of these batches in which the clock never ticks.
fn after(headers: &[BatchHeader]) -> ProducerTable {
    let mut table = ProducerTable::default();
    for header in headers {
        table.apply(header, LogClock(0));
    }
    table
}

#[test]
fn a_batch_without_a_producer_is_always_in_order_and_leaves_nobody_known() {
    let header = batch(-1, -1, -1, 0, 3);
    let table = after(&[header]);
    assert!(table.is_empty());
    assert_eq!(table.check(&header), SequenceCheck::InOrder);
}

#[test]
fn an_unknown_producer_may_start_at_any_epoch_and_sequence() {
    let table = after(&[batch(1, 0, 0, 0, 1)]);
    assert_eq!(
        table.check(&batch(2, 7, 4711, 1, 1)),
        SequenceCheck::InOrder
    );
}

#[test]
fn the_next_batch_starts_where_the_last_one_ended() {
    let table = after(&[batch(1, 0, 10, 0, 3)]);
    assert_eq!(table.check(&batch(1, 0, 13, 3, 1)), SequenceCheck::InOrder);
    let expected = SequenceCheck::OutOfOrder { expected: 13 };
    assert_eq!(table.check(&batch(1, 0, 14, 3, 1)), expected);
    assert_eq!(table.check(&batch(1, 0, 12, 3, 1)), expected);
    assert_eq!(table.check(&batch(1, 0, 0, 3, 1)), expected);
}

#[test]
fn each_of_the_last_five_batches_is_known_as_a_duplicate_with_its_offsets() {
    let log: Vec<_> = (0..6)
        .map(|n| batch(1, 0, 2 * n, 100 + 2 * i64::from(n), 2))
        .collect();
    let table = after(&log);
    for header in &log[1..] {
        let SequenceCheck::Duplicate(original) = table.check(header) else {
            panic!("{header:?} is in the log");
        };
        assert_eq!(original.base_offset, header.base_offset);
        assert_eq!(original.last_offset, header.last_offset());
    }
    assert_eq!(
        table.check(&log[0]),
        SequenceCheck::OutOfOrder { expected: 12 },
        "the sixth from the end is not remembered"
    );
}

#[test]
fn a_batch_that_only_overlaps_a_remembered_one_is_out_of_order() {
    let table = after(&[batch(1, 0, 0, 0, 4)]);
    assert_eq!(
        table.check(&batch(1, 0, 0, 4, 3)),
        SequenceCheck::OutOfOrder { expected: 4 }
    );
}

#[test]
fn sequences_wrap_from_the_greatest_to_zero() {
    let table = after(&[batch(1, 0, i32::MAX, 0, 1)]);
    assert_eq!(table.check(&batch(1, 0, 0, 1, 1)), SequenceCheck::InOrder);

    let across = batch(1, 0, i32::MAX - 1, 0, 5);
    let table = after(&[across]);
    let original = table.get(ProducerId(1)).expect("it wrote").batches[0];
    assert_eq!(original.last_sequence, 2);
    assert_eq!(table.check(&across), SequenceCheck::Duplicate(original));
    assert_eq!(table.check(&batch(1, 0, 3, 5, 1)), SequenceCheck::InOrder);
}

#[test]
fn a_newer_epoch_starts_at_zero_and_forgets_the_older_batches() {
    let old = batch(1, 0, 0, 0, 1);
    let mut table = after(&[old]);
    assert_eq!(
        table.check(&batch(1, 1, 1, 1, 1)),
        SequenceCheck::OutOfOrder { expected: 0 }
    );
    let new = batch(1, 1, 0, 1, 1);
    assert_eq!(table.check(&new), SequenceCheck::InOrder);
    table.apply(&new, LogClock(0));
    assert_eq!(table.get(ProducerId(1)).expect("it wrote").batches.len(), 1);
    assert_eq!(table.check(&old), SequenceCheck::Fenced);
}

#[test]
fn an_epoch_known_by_a_control_batch_alone_starts_at_zero() {
    let table = after(&[marker(1, 3, 0)]);
    assert_eq!(table.check(&batch(1, 3, 0, 1, 1)), SequenceCheck::InOrder);
    assert_eq!(
        table.check(&batch(1, 3, 8, 1, 1)),
        SequenceCheck::OutOfOrder { expected: 0 }
    );
    assert_eq!(table.check(&batch(1, 2, 0, 1, 1)), SequenceCheck::Fenced);
}

#[test]
fn a_control_batch_keeps_the_sequences_of_its_epoch_and_fences_older_ones() {
    let table = after(&[batch(1, 3, 0, 0, 2), marker(1, 3, 2)]);
    assert_eq!(table.check(&batch(1, 3, 2, 3, 1)), SequenceCheck::InOrder);
    assert_eq!(table.check(&marker(1, 3, 3)), SequenceCheck::InOrder);
    assert_eq!(table.check(&marker(1, 2, 3)), SequenceCheck::Fenced);
}

#[test]
fn a_producer_is_forgotten_once_more_ticks_than_are_remembered_stand_behind_its_last_batch() {
    let first = batch(1, 0, 0, 0, 1);
    let ticks = u64::from(TICKS_REMEMBERED);
    let mut table = ProducerTable::default();
    table.apply(&first, LogClock(7));
    table.apply(&batch(2, 0, 0, 1, 1), LogClock(7 + ticks));
    assert!(matches!(table.check(&first), SequenceCheck::Duplicate(_)));
    table.apply(&batch(2, 0, 1, 2, 1), LogClock(7 + ticks + 1));
    assert_eq!(table.get(ProducerId(1)), None);
    assert_eq!(table.len(), 1);
}

#[test]
fn whatever_the_timestamps_of_records_do_makes_no_retry_a_new_batch() {
    let mut log: Vec<_> = (0..100).map(|id| batch(id, 0, 0, id, 1)).collect();
    for (place, header) in (0..).zip(&mut log) {
        header.max_timestamp = Timestamp(if place % 2 == 0 { -1 } else { i64::MAX - place });
    }
    let table = after(&log);
    for header in &log {
        assert!(matches!(table.check(header), SequenceCheck::Duplicate(_)));
    }
}

#[test]
fn a_producer_that_writes_again_is_as_young_as_that() {
    let mut table = ProducerTable::default();
    for clock in 0..20 {
        let n = i32::try_from(clock).expect("it is small");
        table.apply(&batch(1, 0, n, i64::from(n), 1), LogClock(clock));
    }
    let last = table.get(ProducerId(1)).expect("it wrote");
    assert_eq!(
        (last.clock, last.batches.len()),
        (LogClock(19), BATCHES_REMEMBERED)
    );
}

#[test]
fn a_step_forgets_few_and_the_next_ones_the_rest() {
    let mut table = ProducerTable::default();
    for id in 0..10 {
        table.apply(&batch(id, 0, 0, id, 1), LogClock(0));
    }
    let later = LogClock(u64::from(TICKS_REMEMBERED) + 1);
    let mut known = Vec::new();
    for n in 0..6 {
        table.apply(&batch(99, 0, n, 10 + i64::from(n), 1), later);
        known.push(table.len());
    }
    assert_eq!(known, [9, 7, 5, 3, 1, 1]);
}

#[test]
fn a_flood_of_producers_costs_bounded_memory_and_forgets_who_wrote_least_recently() {
    let mut log: Vec<_> = (0..3).map(|id| batch(id, 0, 0, id, 1)).collect();
    log.push(batch(0, 0, 1, 3, 1));
    log.push(batch(9, 0, 0, 4, 1));
    let mut table = ProducerTable::of_at_most(3);
    for header in &log {
        table.apply(header, LogClock(0));
    }
    let ids: Vec<_> = table.iter().map(|(id, _)| id.0).collect();
    assert_eq!(ids, [0, 2, 9]);
}

#[test]
fn an_uncommitted_batch_is_a_duplicate_until_it_is_truncated() {
    let mut log = ProducerLog::default();
    let (first, second) = (batch(1, 0, 0, 0, 1), batch(1, 0, 1, 1, 1));
    log.append(&first, LogClock(0));
    log.commit_to(Offset(1));
    log.append(&second, LogClock(0));
    assert!(matches!(log.check(&second), SequenceCheck::Duplicate(_)));
    log.truncate_to(Offset(1));
    assert_eq!(log.check(&second), SequenceCheck::InOrder);
    assert!(matches!(log.check(&first), SequenceCheck::Duplicate(_)));
}

#[test]
fn committing_within_a_batch_or_behind_the_end_takes_whole_batches() {
    let mut log = ProducerLog::default();
    log.append(&batch(1, 0, 0, 0, 3), LogClock(0));
    log.commit_to(Offset(2));
    assert_eq!(log.committed(), (ProducerTable::default(), Offset(0)));
    log.commit_to(Offset(900));
    assert_eq!(log.committed().1, Offset(3));
    log.append(&batch(1, 0, 3, 3, 1), LogClock(0));
    log.truncate_to(Offset(3));
}

#[test]
#[should_panic(expected = "what is committed is never truncated")]
fn truncating_what_is_committed_is_a_bug() {
    let mut log = ProducerLog::default();
    log.append(&batch(1, 0, 0, 0, 3), LogClock(0));
    log.commit_to(Offset(3));
    log.truncate_to(Offset(0));
}

/// What happens to a log.
#[derive(Clone, Debug)]
enum LogEvent {
    /// Few producers, so that they meet; ticks before some batches, so that some expire.
    Append {
        producer_id: i64,
        producer_epoch: i16,
        base_sequence: i32,
        records: i32,
        ticks: u64,
    },
    /// To the end of the batch at this share of the uncommitted ones.
    Commit(u8),
    /// To the start of the batch at this share of the uncommitted ones.
    Truncate(u8),
}

fn step() -> impl Strategy<Value = LogEvent> {
    prop_oneof![
        6 => (-1..6_i64, 0..2_i16, -1..4_i32, 1..4_i32, 0..3_u64).prop_map(
            |(producer_id, producer_epoch, base_sequence, records, ticks)| LogEvent::Append {
                producer_id,
                producer_epoch,
                base_sequence,
                records,
                ticks,
            }
        ),
        1 => any::<u8>().prop_map(LogEvent::Commit),
        1 => any::<u8>().prop_map(LogEvent::Truncate),
    ]
}

/// The table that these batches give, each with what the log's clock shows to it.
fn table_of(log: &[(BatchHeader, LogClock)]) -> ProducerTable {
    let mut table = ProducerTable::of_at_most(FEW);
    for (header, clock) in log {
        table.apply(header, *clock);
    }
    table
}

/// A flood, here.
const FEW: usize = 3;

proptest! {
    /// The model: the batches that are in the log, and a table made of nothing else.
    #[test]
    fn producer_state_is_a_function_of_the_log_prefix(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut log = ProducerLog::new(ProducerTable::of_at_most(FEW), Offset(0));
        let mut entries: Vec<(BatchHeader, LogClock)> = Vec::new();
        let mut committed = 0;
        for step in steps {
            let share = |share: u8, entries: &[_]| usize::from(share) * (entries.len() - committed) / 255;
            match step {
                LogEvent::Append { producer_id, producer_epoch, base_sequence, records, ticks } => {
                    let (end, clock) = entries.last().map_or_else(Default::default, |(header, clock)| {
                        (header.next_offset(), *clock)
                    });
                    let header = batch(producer_id, producer_epoch, base_sequence, end.0, records);
                    let clock = LogClock(clock.0 + ticks);
                    log.append(&header, clock);
                    entries.push((header, clock));
                }
                LogEvent::Commit(part) => {
                    committed += share(part, &entries);
                    if let Some(last) = committed.checked_sub(1) {
                        log.commit_to(entries[last].0.next_offset());
                    }
                }
                LogEvent::Truncate(part) => {
                    let kept = committed + share(part, &entries);
                    if let Some((first, _)) = entries.get(kept) {
                        log.truncate_to(first.base_offset);
                    }
                    entries.truncate(kept);
                }
            }
            let prefix = table_of(&entries);
            prop_assert_eq!(log.table(), &prefix);
            prop_assert!(prefix.len() <= FEW);
            prop_assert_eq!(log.committed().0, table_of(&entries[..committed]));
        }
    }
}
