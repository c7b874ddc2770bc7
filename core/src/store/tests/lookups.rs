//! Lookups by timestamp, reading by size, segments and their indexes.

use super::*;
use crate::record::{BatchBuilder, Compression};

fn found(driver: &Driver, kind: QueryKind) -> Option<(i64, i64)> {
    let query = Query {
        id: QueryId(1),
        replica: replica(0),
        kind,
    };
    match driver.store.query(&query) {
        QueryResult::Found(found) => found.map(|(offset, timestamp, _)| (offset.0, timestamp.0)),
        other => panic!("{other:?}"),
    }
}

/// A batch of records with these timestamps.
fn timed(base_offset: i64, timestamps: &[i64], compression: Compression) -> Batch {
    let mut builder = BatchBuilder::new(compression);
    for &timestamp in timestamps {
        let value = vec![b'v'; 50];
        builder
            .push(Timestamp(timestamp), None, Some(&value), &[])
            .unwrap();
    }
    let mut batch = builder.build();
    batch.stamp(Offset(base_offset), LeaderEpoch(1));
    batch
}

#[test]
fn a_lookup_by_timestamp_finds_the_exact_record_and_max_timestamp_the_greatest() {
    let disk = formatted();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    driver.create(replica(0));
    driver.append(replica(0), vec![opening(1, 0)]).unwrap();
    let batches = [
        timed(0, &[100, 90, 110], Compression::None),
        timed(3, &[105, 500, 120], Compression::Lz4),
        timed(6, &[300, 500], Compression::Zstd),
        timed(8, &[400], Compression::None),
    ];
    for batch in batches {
        driver
            .append(replica(0), vec![Entry::Batch(batch)])
            .unwrap();
    }
    let end = Offset(i64::MAX);
    let at = |timestamp| {
        let timestamp = Timestamp(timestamp);
        found(&driver, QueryKind::OffsetForTimestamp { timestamp, end })
    };
    assert_eq!(at(0), Some((0, 100)));
    assert_eq!(at(101), Some((2, 110)));
    assert_eq!(at(111), Some((4, 500)));
    assert_eq!(at(501), None);
    let max = |end| found(&driver, QueryKind::MaxTimestamp { end: Offset(end) });
    assert_eq!(max(i64::MAX), Some((4, 500)));
    assert_eq!(max(4), Some((2, 110)));
    assert_eq!(max(0), None);
    let timestamp = Timestamp(111);
    let end = Offset(4);
    let below = found(&driver, QueryKind::OffsetForTimestamp { timestamp, end });
    assert_eq!(below, None);
}

#[test]
fn segments_roll_by_the_size_and_age_that_their_topic_allows() {
    let disk = formatted();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    let rolls = [
        (0, Roll::default(), vec![0]),
        (
            1,
            Roll {
                bytes: 300,
                ..Roll::default()
            },
            vec![0, 2, 4],
        ),
        (
            2,
            Roll {
                ms: 15,
                ..Roll::default()
            },
            vec![0, 2, 4],
        ),
        (
            3,
            Roll {
                ms: 20,
                ..Roll::default()
            },
            vec![0, 3],
        ),
    ];
    for (partition, roll, bases) in rolls {
        driver.create(replica(partition));
        driver
            .append(replica(partition), vec![opening(1, 0)])
            .unwrap();
        for n in 0..5 {
            let batch = timed(n, &[1000 + n * 10], Compression::None);
            let kind = OrderKind::Append {
                after: driver.end(replica(partition)),
                entries: vec![Entry::Batch(batch)],
                high_watermark: Offset(0),
                flush: Flush::Commit,
                roll,
            };
            driver.execute(replica(partition), kind).unwrap();
        }
        driver.commit();
        let log = &driver.store.replicas[&replica(partition)];
        let found: Vec<i64> = log
            .state
            .segments
            .iter()
            .map(|it| it.base_offset.0)
            .collect();
        assert_eq!(found, bases, "{roll:?}");
    }
}

/// Many batches over several segments, with what they were.
fn long_log(disk: &TestDisk) -> (Driver, Vec<Batch>) {
    let (store, _) = open(disk);
    let mut driver = Driver::new(store);
    driver.create(replica(0));
    driver.append(replica(0), vec![opening(1, 0)]).unwrap();
    let mut batches = Vec::new();
    for n in 0..600 {
        let batch = batch(n * 2, 1, 2, 150 + (n as usize * 37) % 400);
        batches.push(batch.clone());
        driver
            .append_as(
                replica(0),
                vec![Entry::Batch(batch)],
                Offset(n * 2),
                Flush::Commit,
            )
            .unwrap();
        if n % 50 == 0 {
            driver.commit();
            driver.store.maintain().unwrap();
        }
    }
    driver.commit();
    (driver, batches)
}

/// Every offset finds its batch, and every timestamp.
fn check_lookups(driver: &Driver, batches: &[Batch]) {
    assert_eq!(driver.read_all(replica(0)), bytes_of(batches));
    for batch in batches {
        for offset in [batch.header.base_offset, batch.header.last_offset()] {
            let QueryResult::Records(mut records) = driver.read(replica(0), offset.0, 1) else {
                panic!("{offset} is there");
            };
            assert_eq!(
                records.len(),
                batch.size(),
                "at least one batch, and no more"
            );
            assert_eq!(Batch::split_from(&mut records).unwrap(), *batch);
        }
    }
}

#[test]
fn every_offset_is_found_with_or_without_indexes() {
    let disk = formatted();
    let (driver, batches) = long_log(&disk);
    let segments = driver.store.replicas[&replica(0)].state.segments.clone();
    assert!(segments.len() > 3, "a log of several segments");
    for segment in &segments {
        assert!(segment.length <= options().segment_bytes_max);
        assert!(segment.offset_entries > 5 && segment.time_entries > 5);
    }
    check_lookups(&driver, &batches);
    drop(driver);
    let (store, _) = open(&disk);
    check_lookups(&Driver::new(store), &batches);
    // Damaged, cut and missing indexes cost time and nothing else.
    for path in disk.paths() {
        if path.ends_with("index") {
            match path.len() % 3 {
                0 => disk.drop_file(&path),
                _ => (0..disk.bytes(&path).len())
                    .step_by(3)
                    .for_each(|at| disk.rot(&path, at)),
            }
        }
    }
    let (store, _) = open(&disk);
    check_lookups(&Driver::new(store), &batches);
}

#[test]
fn a_rotten_bit_in_a_time_index_hides_no_record() {
    let disk = formatted();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    driver.create(replica(0));
    driver.append(replica(0), vec![opening(1, 0)]).unwrap();
    for n in 0..300 {
        let batch = timed(n * 2, &[n * 10, n * 10 + 5], Compression::None);
        driver
            .append(replica(0), vec![Entry::Batch(batch)])
            .unwrap();
    }
    driver.commit();
    driver.store.force_checkpoint().unwrap().unwrap();
    let at = |timestamp| {
        let timestamp = Timestamp(timestamp);
        let end = Offset(i64::MAX);
        found(&driver, QueryKind::OffsetForTimestamp { timestamp, end })
    };
    let path = segment::path(replica(0), Offset(0), segment::FileKind::TimeIndex);
    let length = disk.bytes(&path).len();
    assert!(length > 12 * 10, "an index of several entries");
    for byte in 0..length {
        for bit in 0..8 {
            disk.flip(&path, byte, bit);
            for n in (0..300).step_by(37) {
                let is = Some((n * 2 + 1, n * 10 + 5));
                assert_eq!(at(n * 10 + 1), is, "bit {bit} of byte {byte} rots");
            }
            disk.flip(&path, byte, bit);
        }
    }
}

#[test]
fn a_rotten_timestamp_in_a_header_is_a_hole_and_no_other_record_is_returned() {
    let disk = formatted();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    driver.create(replica(0));
    driver.append(replica(0), vec![opening(1, 0)]).unwrap();
    let timestamps = [10, 20, 50, 30, 40];
    let mut starts = Vec::new();
    let mut start = 0;
    for (offset, timestamp) in (0..).zip(timestamps) {
        let batch = timed(offset, &[timestamp], Compression::None);
        starts.push(start);
        start += batch.size();
        driver
            .append(replica(0), vec![Entry::Batch(batch)])
            .unwrap();
    }
    driver.commit();
    let answer = |kind| {
        let query = Query {
            id: QueryId(1),
            replica: replica(0),
            kind,
        };
        match driver.store.query(&query) {
            QueryResult::Found(found) => Some(found.map(|(offset, _, _)| offset.0)),
            QueryResult::Failed(ReadError::Hole(_)) => None,
            other => panic!("{other:?}"),
        }
    };
    let path = segment::path(replica(0), Offset(0), segment::FileKind::Log);
    let end = Offset(i64::MAX);
    let timestamp = Timestamp(15);
    for start in starts {
        // The batch's greatest timestamp.
        for byte in start + 35..start + 43 {
            for bit in 0..8 {
                disk.flip(&path, byte, bit);
                let first = answer(QueryKind::OffsetForTimestamp { timestamp, end });
                assert!([None, Some(Some(1))].contains(&first), "{first:?}");
                let greatest = answer(QueryKind::MaxTimestamp { end });
                assert!([None, Some(Some(2))].contains(&greatest), "{greatest:?}");
                disk.flip(&path, byte, bit);
            }
        }
    }
    let first = answer(QueryKind::OffsetForTimestamp { timestamp, end });
    assert_eq!(first, Some(Some(1)));
    assert_eq!(answer(QueryKind::MaxTimestamp { end }), Some(Some(2)));
}

#[test]
fn segments_are_plain_sequences_of_batches_with_kafkas_file_names() {
    let disk = formatted();
    let (driver, batches) = long_log(&disk);
    let directory = segment::directory(replica(0));
    assert_eq!(directory, "AAAAAAAAAAAAAAAAAAAAYw-0");
    let mut bytes = Vec::new();
    for segment in &driver.store.replicas[&replica(0)].state.segments {
        bytes.extend(disk.bytes(&format!("{directory}/{:020}.log", segment.base_offset.0)));
    }
    assert_eq!(bytes, bytes_of(&batches));
}

#[test]
fn offsets_outside_the_log_are_out_of_range_except_its_end() {
    let disk = formatted();
    let (driver, _) = long_log(&disk);
    assert_eq!(
        driver.read(replica(0), 1200, 100),
        QueryResult::Records(Bytes::new())
    );
    for offset in [-1, 1201] {
        assert_eq!(
            driver.read(replica(0), offset, 100),
            QueryResult::Failed(ReadError::OutOfRange)
        );
    }
    assert_eq!(
        driver.read(replica(1), 0, 100),
        QueryResult::Failed(ReadError::Unavailable)
    );
}

#[test]
fn recovered_producer_state_is_what_the_log_implies() {
    let disk = formatted();
    let (driver, batches) = long_log(&disk);
    drop(driver);
    let (_, recovered) = open(&disk);
    let found = &recovered.replicas[0];
    assert_eq!(found.high_watermark, Offset(1198));
    assert_eq!(found.producers_offset, Offset(1198));
    let mut table = crate::producer::ProducerTable::default();
    for batch in &batches[..599] {
        table.apply(&batch.header, LogClock(0));
    }
    assert_eq!(found.producers, table);
    assert_eq!(found.headers, [batches[599].header]);
}

#[test]
fn producers_age_by_the_clock_ticks_before_their_batches_across_restarts() {
    let disk = formatted();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    driver.create(replica(0));
    let batches = [0, 1, 2, 3].map(|offset| batch(offset, 1, 1, 100));
    let mut entries = vec![opening(1, 0)];
    let mut expected = crate::producer::ProducerTable::default();
    for (place, batch) in (0..).zip(&batches) {
        // The last tick stands where the log is committed, and is not.
        entries.push(Entry::Batch(batch.clone()));
        entries.push(clock_tick(place + 1, 1, batch.header.next_offset().0));
        if place < 3 {
            expected.apply(&batch.header, LogClock(place));
        }
    }
    driver
        .append_as(replica(0), entries, Offset(3), Flush::Commit)
        .unwrap();
    driver.commit();
    for checkpointed in [false, true] {
        if checkpointed {
            let ticket = driver.store.force_checkpoint().unwrap().expect("it is new");
            let ran = ticket.run();
            driver.store.finish_checkpoint(&ticket, ran).unwrap();
        }
        drop(driver);
        let (store, recovered) = open(&disk);
        let found = &recovered.replicas[0];
        assert_eq!(found.producers, expected);
        assert_eq!(found.producers_offset, Offset(3));
        assert_eq!(found.headers, [batches[3].header]);
        let state = &store.replicas[&replica(0)].state;
        assert_eq!(
            (state.clock, state.tail[0].clock),
            (LogClock(4), LogClock(3))
        );
        driver = Driver::new(store);
    }
}
