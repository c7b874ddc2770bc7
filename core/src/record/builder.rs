//! Building batches: for the clients of the commands and the simulator, the metadata log and coordinators.

use std::fmt;

use bytes::Bytes;

use super::compression::{Compression, compress};
use super::header::{Batch, BatchHeader, CONTROL, HEADER_SIZE, TRANSACTIONAL};
use super::parse::{put_varint, varint_size};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

/// A header of a record to be written: key and value.
pub type HeaderRef<'a> = (&'a [u8], Option<&'a [u8]>);

/// Gathers records into a batch with base offset 0, which a leader then stamps.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    compression: Compression,
    attributes: i16,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    base_sequence: i32,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
    record_count: i32,
    /// Maximum bytes of `body`, inclusive.
    body_size_max: usize,
    /// The records, not compressed yet.
    body: Vec<u8>,
}

/// The record would make the batch exceed its maximum size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchFull;

impl fmt::Display for BatchFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the record does not fit the batch")
    }
}

impl std::error::Error for BatchFull {}

/// Maximum bytes of records before compression: half of what the length field can hold, since compression may enlarge
/// incompressible data.
const BODY_SIZE_MAX: usize = 1 << 30;

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new(Compression::None)
    }
}

impl BatchBuilder {
    /// An empty batch with CreateTime and without a producer id.
    #[must_use]
    pub const fn new(compression: Compression) -> Self {
        Self {
            compression,
            attributes: compression.id(),
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: -1,
            base_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            record_count: 0,
            body_size_max: BODY_SIZE_MAX,
            body: Vec::new(),
        }
    }

    /// Bounds the batch to this many bytes before compression, inclusive: Kafka's `batch.size`. The bound holds for the
    /// first record too. By default the bound is what a batch's length field can hold.
    #[must_use]
    pub fn size_max(mut self, size_max: usize) -> Self {
        self.body_size_max = size_max.saturating_sub(HEADER_SIZE).min(BODY_SIZE_MAX);
        self
    }

    /// Makes the batch idempotent. `base_sequence` is the sequence of its first record.
    #[must_use]
    pub const fn producer(
        mut self,
        producer_id: ProducerId,
        producer_epoch: ProducerEpoch,
        base_sequence: i32,
    ) -> Self {
        self.producer_id = producer_id;
        self.producer_epoch = producer_epoch;
        self.base_sequence = base_sequence;
        self
    }

    /// Makes the batch part of its producer's transaction.
    #[must_use]
    pub const fn transactional(mut self) -> Self {
        self.attributes |= TRANSACTIONAL;
        self
    }

    /// Makes it a control batch.
    #[must_use]
    pub const fn control(mut self) -> Self {
        self.attributes |= CONTROL;
        self
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`BatchFull`]; the record is then not added.
    ///
    /// # Panics
    /// If there are more headers than an `i32` can count.
    pub fn push(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[HeaderRef<'_>],
    ) -> Result<(), BatchFull> {
        let base_timestamp = if self.record_count == 0 {
            timestamp
        } else {
            self.base_timestamp
        };
        let timestamp_delta = timestamp.0.wrapping_sub(base_timestamp.0);
        let offset_delta = i64::from(self.record_count);
        let header_count = i64::from(i32::try_from(headers.len()).expect("headers fit a record"));
        let header_size: usize = headers
            .iter()
            .map(|&(key, value)| nullable_size(Some(key)) + nullable_size(value))
            .sum();
        let size = 1 // attributes
            + varint_size(timestamp_delta)
            + varint_size(offset_delta)
            + nullable_size(key)
            + nullable_size(value)
            + varint_size(header_count)
            + header_size;
        if size > BODY_SIZE_MAX {
            return Err(BatchFull);
        }
        let record_size = i64::try_from(size).expect("it was just compared");
        if varint_size(record_size) + size > self.body_size_max - self.body.len() {
            return Err(BatchFull);
        }
        self.base_timestamp = base_timestamp;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.record_count += 1;

        let body = &mut self.body;
        put_varint(body, record_size);
        body.push(0);
        put_varint(body, timestamp_delta);
        put_varint(body, offset_delta);
        put_nullable(body, key);
        put_nullable(body, value);
        put_varint(body, header_count);
        for &(key, value) in headers {
            put_nullable(body, Some(key));
            put_nullable(body, value);
        }
        Ok(())
    }

    /// Number of records so far.
    #[must_use]
    pub const fn len(&self) -> i32 {
        self.record_count
    }

    /// Whether there is no record yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Bytes of the whole batch before compression.
    #[must_use]
    pub const fn size(&self) -> usize {
        HEADER_SIZE + self.body.len()
    }

    /// Builds the batch. One without records is what compaction leaves of a producer's last batch; no broker accepts it
    /// from a client.
    #[must_use]
    pub fn build(self) -> Batch {
        let body = match self.compression {
            Compression::None => Bytes::from(self.body),
            codec @ (Compression::Gzip
            | Compression::Snappy
            | Compression::Lz4
            | Compression::Zstd) => Bytes::from(compress(codec, &self.body)),
        };
        let mut batch = Batch {
            header: BatchHeader {
                base_offset: Offset(0),
                body_length: u32::try_from(body.len()).expect("the body was bounded"),
                leader_epoch: LeaderEpoch(-1),
                crc: 0,
                attributes: self.attributes,
                last_offset_delta: self.record_count - 1,
                base_timestamp: self.base_timestamp,
                max_timestamp: self.max_timestamp,
                producer_id: self.producer_id,
                producer_epoch: self.producer_epoch,
                base_sequence: self.base_sequence,
                record_count: self.record_count,
            },
            body,
        };
        batch.seal(crc32c::crc32c(&batch.body));
        batch
    }
}

fn nullable_size(bytes: Option<&[u8]>) -> usize {
    match bytes {
        None => 1,
        Some(bytes) => varint_size(length(bytes)) + bytes.len(),
    }
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varint(out, bytes.map_or(-1, length));
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn length(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).expect("no allocation is larger")
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::StrBytes;
    use kafka_protocol::records as kafka;
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Record, RecordHeader, examine};

    const CAP: usize = 1 << 20;

    /// A record before it has an offset.
    #[derive(Clone, Debug)]
    struct Draft {
        timestamp: i64,
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        headers: Vec<(String, Option<Vec<u8>>)>,
    }

    fn push(builder: &mut BatchBuilder, draft: &Draft) {
        let headers: Vec<HeaderRef<'_>> = draft
            .headers
            .iter()
            .map(|(key, value)| (key.as_bytes(), value.as_deref()))
            .collect();
        builder
            .push(
                Timestamp(draft.timestamp),
                draft.key.as_deref(),
                draft.value.as_deref(),
                &headers,
            )
            .expect("test records are small");
    }

    fn build(builder: BatchBuilder, drafts: &[Draft]) -> Batch {
        let mut builder = builder;
        for draft in drafts {
            push(&mut builder, draft);
        }
        builder.build()
    }

    fn read(batch: &Batch) -> Vec<Record> {
        batch
            .records(CAP)
            .and_then(Iterator::collect)
            .expect("a built batch can be read")
    }

    fn expected(drafts: &[Draft], base_offset: i64) -> Vec<Record> {
        let bytes = |bytes: &Option<Vec<u8>>| bytes.clone().map(Bytes::from);
        (base_offset..)
            .zip(drafts)
            .map(|(offset, draft)| Record {
                offset: Offset(offset),
                timestamp: Timestamp(draft.timestamp),
                key: bytes(&draft.key),
                value: bytes(&draft.value),
                headers: draft
                    .headers
                    .iter()
                    .map(|(key, value)| RecordHeader {
                        key: Bytes::from(key.clone()),
                        value: bytes(value),
                    })
                    .collect(),
            })
            .collect()
    }

    fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
        prop::option::weighted(0.8, prop::collection::vec(any::<u8>(), 0..200))
    }

    fn drafts() -> impl Strategy<Value = Vec<Draft>> {
        // Header keys are unique, since kafka-protocol keeps them in a map.
        let headers = prop::collection::btree_map("[a-z\u{e9}]{0,9}", bytes(), 0..4)
            .prop_map(|headers| headers.into_iter().collect());
        let draft = (-1..2_000_000_000_000_i64, bytes(), bytes(), headers).prop_map(
            |(timestamp, key, value, headers)| Draft {
                timestamp,
                key,
                value,
                headers,
            },
        );
        prop::collection::vec(draft, 1..40)
    }

    fn codec() -> impl Strategy<Value = Compression> {
        prop::sample::select(&Compression::ALL[..])
    }

    const KAFKA_CODECS: [kafka::Compression; 5] = [
        kafka::Compression::None,
        kafka::Compression::Gzip,
        kafka::Compression::Snappy,
        kafka::Compression::Lz4,
        kafka::Compression::Zstd,
    ];

    fn kafka_codec(codec: Compression) -> kafka::Compression {
        KAFKA_CODECS[usize::try_from(codec.id()).expect("ids are small")]
    }

    fn kafka_records(drafts: &[Draft]) -> Vec<kafka::Record> {
        (0..)
            .zip(drafts)
            .map(|(n, draft)| kafka::Record {
                transactional: true,
                control: false,
                delete_horizon: false,
                partition_leader_epoch: -1,
                producer_id: 4711,
                producer_epoch: 3,
                timestamp_type: kafka::TimestampType::Creation,
                offset: n,
                sequence: 90 + i32::try_from(n).expect("there are few"),
                timestamp: draft.timestamp,
                key: draft.key.clone().map(Bytes::from),
                value: draft.value.clone().map(Bytes::from),
                headers: draft
                    .headers
                    .iter()
                    .map(|(key, value)| {
                        (
                            StrBytes::from_string(key.clone()),
                            value.clone().map(Bytes::from),
                        )
                    })
                    .collect(),
            })
            .collect()
    }

    fn idempotent(codec: Compression) -> BatchBuilder {
        BatchBuilder::new(codec)
            .producer(ProducerId(4711), ProducerEpoch(3), 90)
            .transactional()
    }

    proptest! {
        #[test]
        fn what_is_built_is_read_back(codec in codec(), drafts in drafts(), base in 0..1_000_000_i64) {
            let mut batch = build(BatchBuilder::new(codec), &drafts);
            prop_assert_eq!(batch.verify(), Ok(()));
            batch.stamp(Offset(base), LeaderEpoch(5));
            prop_assert_eq!(read(&batch), expected(&drafts, base));
        }

        #[test]
        fn kafka_protocol_reads_what_is_built(codec in codec(), drafts in drafts()) {
            let batch = build(idempotent(codec), &drafts);
            let set = kafka::RecordBatchDecoder::decode(&mut batch.to_bytes()).expect("it is a batch");
            prop_assert_eq!(set.compression, kafka_codec(codec));
            prop_assert_eq!(set.records, kafka_records(&drafts));
        }

        #[test]
        fn what_kafka_protocol_writes_is_examined_and_read(codec in codec(), drafts in drafts()) {
            let mut bytes = bytes::BytesMut::new();
            let options = kafka::RecordEncodeOptions { version: 2, compression: kafka_codec(codec) };
            kafka::RecordBatchEncoder::encode(&mut bytes, &kafka_records(&drafts), &options)
                .expect("it takes these records");
            let examined = examine(bytes.freeze(), 7, Default::default(), Default::default())
                .expect("it is a batch");
            prop_assert_eq!(examined.batch.verify(), Ok(()));
            prop_assert_eq!(read(&examined.batch), expected(&drafts, 0));
            prop_assert!(examined.batch.header.is_transactional());
            prop_assert_eq!(examined.batch.header.base_sequence, 90);
        }

        #[test]
        fn the_facts_of_a_batch_are_those_of_its_records(codec in codec(), drafts in drafts()) {
            let batch = build(idempotent(codec), &drafts);
            let size = build(idempotent(Compression::None), &drafts).body.len();
            let examined = examine(batch.to_bytes(), 11, Default::default(), Default::default())
                .expect("it is a batch");
            let timestamps = || drafts.iter().map(|draft| draft.timestamp).filter(|&t| t != -1);
            let facts = examined.facts;
            prop_assert_eq!(&examined.batch, &batch);
            prop_assert!(facts.walked);
            prop_assert_eq!(facts.body_crc, crc32c::crc32c(&batch.body));
            prop_assert_eq!(facts.uncompressed_size, u64::try_from(size).ok());
            prop_assert_eq!(facts.min_timestamp.0, timestamps().min().unwrap_or(-1));
            prop_assert_eq!(facts.max_timestamp.0, timestamps().max().unwrap_or(-1));
            let null_key = drafts.iter().position(|draft| draft.key.is_none());
            prop_assert_eq!(facts.null_key, null_key.map(|n| i32::try_from(n).expect("there are few")));
        }
    }

    #[test]
    fn a_record_that_does_not_fit_is_not_added() {
        let draft = Draft {
            timestamp: 5,
            key: None,
            value: Some(vec![0; 100]),
            headers: Vec::new(),
        };
        let one = build(BatchBuilder::default(), std::slice::from_ref(&draft));
        let mut builder = BatchBuilder::default().size_max(one.size());
        push(&mut builder, &draft);
        assert_eq!(builder.size(), one.size());
        assert_eq!(builder.push(Timestamp(6), None, None, &[]), Err(BatchFull));
        assert_eq!(builder.build(), one);

        let mut small = BatchBuilder::default().size_max(one.size() - 1);
        let value = draft.value.as_deref();
        assert_eq!(small.push(Timestamp(5), None, value, &[]), Err(BatchFull));
        assert!(small.is_empty());
    }
}
