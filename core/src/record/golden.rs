//! Batches that real producers wrote: librdkafka 2.16.0, idempotent, fetched back from its own mock broker, and
//! aiokafka 0.14.0, which follows the Java client (snappy in frames, lz4 with block checksums). Both wrote the same three records
//! with every codec.

use bytes::Bytes;

use super::{BatchBuilder, Compression, Depth, Limits, Record, RecordHeader, examine};
use crate::ids::{Offset, ProducerEpoch, ProducerId, Timestamp};

const ROW: &[u8] =
    br#"{"carrier":"UA","dest":"IAH","carrier2":"UA","dest2":"IAH","carrier3":"UA","dest3":"IAH"}"#;
const TAIL: &[u8] = b"N14228";
const START: i64 = 1_357_016_400_000;

macro_rules! golden {
    ($client:literal) => {
        [
            include_bytes!(concat!("golden/", $client, "-none.bin")) as &[u8],
            include_bytes!(concat!("golden/", $client, "-gzip.bin")),
            include_bytes!(concat!("golden/", $client, "-snappy.bin")),
            include_bytes!(concat!("golden/", $client, "-lz4.bin")),
            include_bytes!(concat!("golden/", $client, "-zstd.bin")),
        ]
    };
}

const LIBRDKAFKA: [&[u8]; 5] = golden!("librdkafka");
const AIOKAFKA: [&[u8]; 5] = golden!("aiokafka");

fn header(key: &'static [u8], value: Option<&'static [u8]>) -> RecordHeader {
    RecordHeader {
        key: Bytes::from_static(key),
        value: value.map(Bytes::from_static),
    }
}

fn record(
    n: i64,
    key: Option<&'static [u8]>,
    value: Option<&'static [u8]>,
    headers: Vec<RecordHeader>,
) -> Record {
    Record {
        offset: Offset(n),
        timestamp: Timestamp(START + 1000 * n),
        key: key.map(Bytes::from_static),
        value: value.map(Bytes::from_static),
        headers,
    }
}

fn records() -> Vec<Record> {
    let origins = vec![header(b"origin", Some(b"EWR")), header(b"origin", None)];
    vec![
        record(0, Some(TAIL), Some(ROW), origins),
        record(1, None, Some(ROW), Vec::new()),
        record(2, Some(TAIL), None, vec![header(b"", Some(b""))]),
    ]
}

#[test]
fn batches_of_real_producers_are_accepted_unchanged_and_read() {
    for client in [LIBRDKAFKA, AIOKAFKA] {
        for (codec, bytes) in Compression::ALL.into_iter().zip(client) {
            let examined = examine(
                Bytes::from_static(bytes),
                7,
                Depth::Records,
                Limits::default(),
            )
            .expect("a real producer wrote it");
            assert_eq!(examined.batch.to_bytes(), bytes, "nothing was mended");
            assert_eq!(examined.batch.header.compression(), codec.id());
            assert_eq!(examined.facts.min_timestamp, Timestamp(START));
            assert_eq!(examined.facts.max_timestamp, Timestamp(START + 2000));
            assert_eq!(examined.facts.null_key, Some(1));
            let read: Result<Vec<_>, _> = examined.batch.records(1000).and_then(Iterator::collect);
            assert_eq!(read, Ok(records()));
        }
    }
}

#[test]
fn an_uncompressed_batch_is_built_byte_for_byte_as_real_producers_write_it() {
    let build = |builder: BatchBuilder| {
        let mut builder = builder;
        for record in records() {
            let headers: Vec<_> = record
                .headers
                .iter()
                .map(|header| (&header.key[..], header.value.as_deref()))
                .collect();
            builder
                .push(
                    record.timestamp,
                    record.key.as_deref(),
                    record.value.as_deref(),
                    &headers,
                )
                .expect("it is small");
        }
        builder.build()
    };
    assert_eq!(build(BatchBuilder::default()).to_bytes(), AIOKAFKA[0]);

    let theirs = examine(
        Bytes::from_static(LIBRDKAFKA[0]),
        7,
        Depth::Records,
        Limits::default(),
    )
    .expect("a real producer wrote it")
    .batch
    .header;
    let mut ours = build(BatchBuilder::default().producer(theirs.producer_id, ProducerEpoch(0), 0));
    assert!(theirs.producer_id > ProducerId::NONE);
    // librdkafka leaves zero where a leader will write its epoch.
    ours.stamp(Offset(0), theirs.leader_epoch);
    assert_eq!(ours.to_bytes(), LIBRDKAFKA[0]);
}
