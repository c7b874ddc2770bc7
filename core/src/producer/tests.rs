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

fn at(mut header: BatchHeader, timestamp: i64) -> BatchHeader {
    header.max_timestamp = Timestamp(timestamp);
    header
}

fn marker(producer_id: i64, producer_epoch: i16, base_offset: i64) -> BatchHeader {
    let mut header = batch(producer_id, producer_epoch, -1, base_offset, 1);
    header.attributes = CONTROL_AND_TRANSACTIONAL;
    header
}

fn table_of<'a>(
    expiry: Expiry,
    headers: impl IntoIterator<Item = &'a BatchHeader>,
) -> ProducerTable {
    let mut table = ProducerTable::new(expiry);
    for header in headers {
        table.apply(header);
    }
    table
}

fn after(headers: &[BatchHeader]) -> ProducerTable {
    table_of(Expiry::default(), headers)
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
    table.apply(&new);
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

const SMALL: Expiry = Expiry {
    age_ms: 100,
    kept_min: 1,
    kept_max: 3,
};

#[test]
fn a_producer_is_forgotten_once_the_logs_clock_is_past_its_age() {
    let first = at(batch(1, 0, 0, 0, 1), 1000);
    let table = table_of(SMALL, [&first, &at(batch(2, 0, 0, 1, 1), 1099)]);
    assert_eq!(table.len(), 2);
    let table = table_of(SMALL, [&first, &at(batch(2, 0, 0, 1, 1), 1100)]);
    assert_eq!(table.get(ProducerId(1)), None);
    assert_eq!(table.len(), 1);
}

#[test]
fn batches_without_a_producer_move_the_logs_clock_too() {
    let log = [
        at(batch(1, 0, 0, 0, 1), 1000),
        at(batch(2, 0, 0, 1, 1), 1000),
        at(batch(-1, -1, -1, 2, 1), 1100),
    ];
    assert_eq!(table_of(SMALL, &log).len(), 1);
}

#[test]
fn a_producer_of_old_timestamps_is_as_young_as_its_last_batch() {
    let log = [
        at(batch(1, 0, 0, 0, 1), 1_000_000),
        at(batch(2, 0, 0, 1, 1), 5),
        at(batch(1, 0, 1, 2, 1), 1_000_099),
    ];
    let table = table_of(SMALL, &log);
    assert!(matches!(
        table.check(&log[1]),
        SequenceCheck::Duplicate(original) if original.timestamp == Timestamp(5)
    ));
}

#[test]
fn a_jump_in_the_timestamps_does_not_make_a_retry_a_new_batch() {
    let first = at(batch(1, 0, 0, 0, 1), 0);
    let jump = at(batch(2, 0, 0, 1, 1), i64::MAX);
    assert!(matches!(
        after(&[first, jump]).check(&first),
        SequenceCheck::Duplicate(_)
    ));
}

#[test]
fn a_flood_of_producers_costs_bounded_memory_and_forgets_who_wrote_least_recently() {
    let mut log: Vec<_> = (0..3).map(|id| batch(id, 0, 0, id, 1)).collect();
    log.push(batch(0, 0, 1, 3, 1));
    log.push(batch(9, 0, 0, 4, 1));
    let table = table_of(SMALL, &log);
    let ids: Vec<_> = table.iter().map(|(id, _)| id.0).collect();
    assert_eq!(ids, [0, 2, 9]);
}

#[test]
fn an_uncommitted_batch_is_a_duplicate_until_it_is_truncated() {
    let mut log = ProducerLog::default();
    let (first, second) = (batch(1, 0, 0, 0, 1), batch(1, 0, 1, 1, 1));
    log.append(&first);
    log.commit_to(Offset(1));
    log.append(&second);
    assert!(matches!(log.check(&second), SequenceCheck::Duplicate(_)));
    log.truncate_to(Offset(1));
    assert_eq!(log.check(&second), SequenceCheck::InOrder);
    assert!(matches!(log.check(&first), SequenceCheck::Duplicate(_)));
}

#[test]
fn committing_within_a_batch_or_behind_the_end_takes_whole_batches() {
    let mut log = ProducerLog::default();
    log.append(&batch(1, 0, 0, 0, 3));
    log.commit_to(Offset(2));
    assert_eq!(log.committed(), (ProducerTable::default(), Offset(0)));
    log.commit_to(Offset(900));
    assert_eq!(log.committed().1, Offset(3));
    log.append(&batch(1, 0, 3, 3, 1));
    log.truncate_to(Offset(3));
}

#[test]
#[should_panic(expected = "what is committed is never truncated")]
fn truncating_what_is_committed_is_a_bug() {
    let mut log = ProducerLog::default();
    log.append(&batch(1, 0, 0, 0, 3));
    log.commit_to(Offset(3));
    log.truncate_to(Offset(0));
}

fn round_trip(table: &ProducerTable) -> ProducerTable {
    let config = bincode::config::standard();
    let bytes = bincode::encode_to_vec(table, config).expect("memory takes all");
    let (decoded, read) = bincode::decode_from_slice(&bytes, config).expect("it was just encoded");
    assert_eq!(read, bytes.len());
    decoded
}

/// What happens to a log.
#[derive(Clone, Debug)]
enum Step {
    /// Few producers, so that they meet; timestamps that jump, so that some expire.
    Append {
        producer_id: i64,
        producer_epoch: i16,
        base_sequence: i32,
        records: i32,
        timestamp: i64,
    },
    /// To the end of the batch at this share of the uncommitted ones.
    Commit(u8),
    /// To the start of the batch at this share of the uncommitted ones.
    Truncate(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (-1..6_i64, 0..2_i16, -1..4_i32, 1..4_i32, -1..400_i64).prop_map(
            |(producer_id, producer_epoch, base_sequence, records, timestamp)| Step::Append {
                producer_id,
                producer_epoch,
                base_sequence,
                records,
                timestamp,
            }
        ),
        1 => any::<u8>().prop_map(Step::Commit),
        1 => any::<u8>().prop_map(Step::Truncate),
    ]
}

proptest! {
    /// The model: the headers that are in the log, and a table made of nothing else.
    #[test]
    fn producer_state_is_a_function_of_the_log_prefix(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut log = ProducerLog::new(ProducerTable::new(SMALL), Offset(0));
        let mut headers: Vec<BatchHeader> = Vec::new();
        let mut committed = 0;
        for step in steps {
            let share =
                |share: u8, headers: &[BatchHeader]| usize::from(share) * (headers.len() - committed) / 255;
            match step {
                Step::Append { producer_id, producer_epoch, base_sequence, records, timestamp } => {
                    let end = headers.last().map_or(Offset(0), BatchHeader::next_offset);
                    let header = at(
                        batch(producer_id, producer_epoch, base_sequence, end.0, records),
                        timestamp,
                    );
                    log.append(&header);
                    headers.push(header);
                }
                Step::Commit(part) => {
                    committed += share(part, &headers);
                    if let Some(last) = committed.checked_sub(1) {
                        log.commit_to(headers[last].next_offset());
                    }
                }
                Step::Truncate(part) => {
                    let kept = committed + share(part, &headers);
                    if let Some(first) = headers.get(kept) {
                        log.truncate_to(first.base_offset);
                    }
                    headers.truncate(kept);
                }
            }
            let prefix = table_of(SMALL, &headers);
            prop_assert_eq!(log.table(), &prefix);
            prop_assert!(prefix.len() <= SMALL.kept_max);
            prop_assert_eq!(log.committed().0, table_of(SMALL, &headers[..committed]));
            prop_assert_eq!(round_trip(&prefix), prefix);
        }
    }
}
