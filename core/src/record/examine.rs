//! The one examination of a produced batch.
//!
//! Payload never enters a decision: before a produced batch reaches `step`, the task of its connection examines it
//! here, once, and core sees only the header and the [`BatchFacts`]. What is invalid for every topic is refused here.
//! What depends on the topic's configuration (size, keys for compaction, timestamp bounds) is passed on as a fact.
//!
//! Kafka's `ProduceRequest.validateRecords`, `UnifiedLog.analyzeAndValidateRecords` and `LogValidator` require of a
//! client's batch:
//!
//! - exactly one batch, and after it at most an incomplete one; magic 2, a correct CRC, base offset 0;
//! - at least one record, and as many as offsets; no control batch;
//! - a known codec, zstd from Produce version 7 on;
//! - with a producer id also a sequence; we require an epoch too, and all three in a transaction. Without a producer
//!   id, epoch and sequence mean nothing: kafkajs sends zeros.
//! - records that can be read to the last byte. Kafka decompresses every batch for this, skipping keys and values, and
//!   so does [`Depth::Records`]. It then corrects a header with a wrong greatest timestamp, as we do.
//!
//! The records of an uncompressed batch are always read: that costs nothing compared with its CRC. A compressed one is
//! streamed up to [`Limits::uncompressed_size_max`] and nothing of it is kept, so a decompression bomb costs the
//! codec's window and bounded time. The call never waits, so there are at most as many windows at a time as threads.

use std::io::BufReader;

use bincode::{Decode, Encode};
use bytes::Bytes;

use super::compression::Compression;
use super::error::RecordError;
use super::header::{Batch, BatchHeader, TimestampType};
use super::parse::{ByteSource, RecordFault, Skip, read_record};
use super::records::record_timestamp;
use crate::ids::{Offset, ProducerEpoch, ProducerId, Timestamp};

/// How deeply a compressed batch is examined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// Only its header. For batches that were examined before, such as those of a mirror.
    Header,
    /// Every record, as Kafka does.
    #[default]
    Records,
}

/// Bounds for what a batch may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of records after decompression, inclusive.
    pub uncompressed_size_max: usize,
}

impl Default for Limits {
    /// 128 MiB: more than a producer's buffer, by Kafka's defaults, ever holds.
    fn default() -> Self {
        Self {
            uncompressed_size_max: 128 << 20,
        }
    }
}

/// A batch that is valid as far as that does not depend on its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// The batch, with its greatest timestamp and CRC corrected if they were wrong.
    pub batch: Batch,
    /// The facts about its records.
    pub facts: BatchFacts,
}

/// What core knows about a batch's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct BatchFacts {
    /// CRC-32C of the body alone, for [`Batch::stamp_log_append_time`].
    pub body_crc: u32,
    /// Whether every record was read. If not, timestamps are the header's and null keys are not known.
    pub walked: bool,
    /// Bytes of records after decompression, if they were read.
    pub uncompressed_size: Option<u64>,
    /// The largest size field of a record, if a compressed batch was decompressed.
    pub largest_record: Option<u64>,
    /// The least timestamp of the records that have one; [`Timestamp::NONE`] if none has.
    pub min_timestamp: Timestamp,
    /// The greatest timestamp, likewise.
    pub max_timestamp: Timestamp,
    /// Index of the first record without a key, which a compacted topic refuses.
    pub null_key: Option<i32>,
}

impl BatchFacts {
    /// Whether every record's timestamp lies within `message.timestamp.before.max.ms` and
    /// `message.timestamp.after.max.ms` of `now`, both inclusive. A record without a timestamp always does. One whose
    /// distance overflows an `i64` never does, whatever the bounds, as in Kafka.
    #[must_use]
    pub const fn timestamps_within(
        &self,
        now: Timestamp,
        before_max_ms: i64,
        after_max_ms: i64,
    ) -> bool {
        let none =
            self.max_timestamp.0 == Timestamp::NONE.0 && self.min_timestamp.0 == Timestamp::NONE.0;
        let before = now.0.checked_sub(self.min_timestamp.0);
        let after = self.max_timestamp.0.checked_sub(now.0);
        none || matches!(
            (before, after),
            (Some(before), Some(after)) if before <= before_max_ms && after <= after_max_ms
        )
    }
}

/// Examines the records of one partition in a Produce request of `api_version`. Reads and decompresses all of `bytes`:
/// never within a step.
///
/// # Errors
/// [`RecordError`], whose documentation has the error code of each case.
pub fn examine(
    mut bytes: Bytes,
    api_version: i16,
    depth: Depth,
    limits: Limits,
) -> Result<Examined, RecordError> {
    if bytes.is_empty() {
        return Err(RecordError::NoBatch);
    }
    let mut batch = Batch::split_from(&mut bytes)?;
    if begins_with_entry(&bytes) {
        return Err(RecordError::TrailingBytes(bytes.len()));
    }
    // The body's own CRC is one of the facts, so it is computed first and combined with the header's.
    let body_crc = crc32c::crc32c(&batch.body);
    batch.verify_with(body_crc)?;
    let codec = check_header(&batch.header, api_version)?;
    let facts = if codec == Compression::None {
        walk(
            &batch.header,
            body_crc,
            Skip::new(&batch.body[..], usize::MAX),
        )?
    } else if depth == Depth::Header {
        of_header(&batch.header, body_crc)
    } else {
        let reader = codec
            .reader(&batch.body)
            .map_err(|_| RecordError::Corrupt)?;
        let reader = BufReader::with_capacity(WALK_BUFFER, reader);
        walk(
            &batch.header,
            body_crc,
            Skip::new(reader, limits.uncompressed_size_max),
        )?
    };
    if facts.max_timestamp != batch.header.max_timestamp {
        batch.header.max_timestamp = facts.max_timestamp;
        batch.seal(body_crc);
    }
    Ok(Examined { batch, facts })
}

/// Whether the bytes start with a whole log entry of any format. As in Kafka, an incomplete entry after the batch is
/// ignored.
fn begins_with_entry(bytes: &[u8]) -> bool {
    // Every format starts with an offset and the length of what follows.
    let Some((head, rest)) = bytes.split_first_chunk::<12>() else {
        return false;
    };
    let length = i32::from_be_bytes([head[8], head[9], head[10], head[11]]);
    usize::try_from(length).map_or(true, |length| length <= rest.len())
}

/// Bytes that are decompressed at a time.
const WALK_BUFFER: usize = 8 << 10;

/// Checks every rule that concerns the header alone.
fn check_header(header: &BatchHeader, api_version: i16) -> Result<Compression, RecordError> {
    let id = header.compression();
    let codec = Compression::from_id(id).ok_or(RecordError::UnknownCodec(id))?;
    if codec == Compression::Zstd && api_version < 7 {
        return Err(RecordError::ZstdTooEarly { api_version });
    }
    if header.base_offset != Offset(0) {
        return Err(RecordError::BaseOffset(header.base_offset));
    }
    if header.record_count <= 0 || header.record_count - 1 != header.last_offset_delta {
        return Err(RecordError::Count {
            record_count: header.record_count,
            last_offset_delta: header.last_offset_delta,
        });
    }
    if header.is_control() {
        return Err(RecordError::Control);
    }
    if header.has_delete_horizon() {
        return Err(RecordError::DeleteHorizon);
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        return Err(RecordError::LogAppendTime);
    }
    let producer = if header.producer_id == ProducerId::NONE {
        !header.is_transactional()
    } else {
        header.producer_id > ProducerId::NONE
            && header.producer_epoch > ProducerEpoch::NONE
            && header.base_sequence >= 0
    };
    if !producer {
        return Err(RecordError::Producer {
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
        });
    }
    Ok(codec)
}

/// The facts as the header states them.
fn of_header(header: &BatchHeader, body_crc: u32) -> BatchFacts {
    BatchFacts {
        body_crc,
        walked: false,
        uncompressed_size: None,
        largest_record: None,
        min_timestamp: header.base_timestamp.min(header.max_timestamp),
        max_timestamp: header.max_timestamp,
        null_key: None,
    }
}

/// Reads every record.
fn walk<R: std::io::BufRead>(
    header: &BatchHeader,
    body_crc: u32,
    mut source: Skip<R>,
) -> Result<BatchFacts, RecordError> {
    let mut timestamps: Option<(Timestamp, Timestamp)> = None;
    let mut null_key = None;
    let mut largest_record = 0;
    for index in 0..header.record_count {
        let refuse = |fault| RecordError::Record { index, fault };
        let fields = read_record(&mut source, |(), _| ()).map_err(refuse)?;
        if fields.offset_delta != index {
            return Err(refuse(RecordFault::OffsetDelta {
                found: fields.offset_delta,
            }));
        }
        largest_record = largest_record.max(fields.size);
        if fields.key.is_none() {
            null_key = null_key.or(Some(index));
        }
        let timestamp = record_timestamp(header, fields.timestamp_delta);
        if timestamp != Timestamp::NONE {
            let (min, max) = timestamps.unwrap_or((timestamp, timestamp));
            timestamps = Some((min.min(timestamp), max.max(timestamp)));
        }
    }
    let at_end = source.is_at_end().map_err(|_| RecordError::Corrupt)?;
    if !at_end {
        return Err(RecordError::LeftOver);
    }
    let (min_timestamp, max_timestamp) = timestamps.unwrap_or((Timestamp::NONE, Timestamp::NONE));
    Ok(BatchFacts {
        body_crc,
        walked: true,
        uncompressed_size: u64::try_from(source.read).ok(),
        largest_record: (header.compression() != Compression::None.id()).then_some(largest_record),
        min_timestamp,
        max_timestamp,
        null_key,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::LeaderEpoch;
    use crate::record::{BatchBuilder, HeaderError};

    const CAP: usize = 1 << 16;
    const LIMITS: Limits = Limits {
        uncompressed_size_max: CAP,
    };

    fn judge(bytes: Bytes) -> Result<Examined, RecordError> {
        examine(bytes, 11, Depth::Records, LIMITS)
    }

    /// Three records, at 5, 3 and 4 ms; the second has no key.
    fn batch(codec: Compression) -> Batch {
        let mut builder = BatchBuilder::new(codec).producer(ProducerId(7), ProducerEpoch(0), 0);
        for (timestamp, key) in [(5, Some(&b"a"[..])), (3, None), (4, Some(b"c"))] {
            builder
                .push(
                    Timestamp(timestamp),
                    key,
                    Some(b"value"),
                    &[(b"h", Some(b"1")), (b"h", None)],
                )
                .expect("it is small");
        }
        builder.build()
    }

    /// A batch whose header was changed before the CRC was taken, as a client with other ideas would send it.
    fn refused(change: impl FnOnce(&mut BatchHeader)) -> RecordError {
        let mut batch = batch(Compression::None);
        change(&mut batch.header);
        batch.seal(crc32c::crc32c(&batch.body));
        judge(batch.to_bytes()).expect_err("a rule is broken")
    }

    /// One uncompressed record of these bytes.
    fn refused_record(record: &[u8]) -> RecordError {
        let mut batch = batch(Compression::None);
        batch.header.record_count = 1;
        batch.header.last_offset_delta = 0;
        judge(with_body(batch, Bytes::copy_from_slice(record))).expect_err("a rule is broken")
    }

    fn with_body(mut batch: Batch, body: Bytes) -> Bytes {
        batch.header.body_length = u32::try_from(body.len()).expect("it is small");
        batch.body = body;
        batch.seal(crc32c::crc32c(&batch.body));
        batch.to_bytes()
    }

    #[test]
    fn a_true_batch_passes_with_its_facts() {
        for codec in Compression::ALL {
            let batch = batch(codec);
            let examined = judge(batch.to_bytes()).expect("it is true");
            assert_eq!(examined.batch, batch);
            assert_eq!(examined.facts.min_timestamp, Timestamp(3));
            assert_eq!(examined.facts.max_timestamp, Timestamp(5));
            assert_eq!(examined.facts.null_key, Some(1));
        }
    }

    #[test]
    fn a_changed_bit_anywhere_under_the_crc_is_found() {
        let whole = batch(Compression::None).to_bytes();
        for at in 17..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 0x10;
            let error = judge(Bytes::from(bytes)).expect_err("a bit was changed");
            assert!(
                matches!(error, RecordError::Header(HeaderError::Crc { .. })),
                "{at}: {error}"
            );
        }
    }

    #[test]
    fn exactly_one_whole_batch_is_taken() {
        let one = batch(Compression::None).to_bytes();
        assert_eq!(judge(Bytes::new()), Err(RecordError::NoBatch));
        for end in 1..one.len() {
            assert_eq!(
                judge(one.slice(..end)),
                Err(RecordError::Header(HeaderError::Truncated))
            );
        }
        let two = Bytes::from([&one[..], &one[..]].concat());
        assert_eq!(judge(two), Err(RecordError::TrailingBytes(one.len())));
    }

    #[test]
    fn what_was_cut_off_behind_a_batch_is_passed_over() {
        let one = batch(Compression::None).to_bytes();
        for end in [1, 11, 12, 60, one.len() - 1] {
            let bytes = Bytes::from([&one[..], &one[..end]].concat());
            let examined = judge(bytes).expect("the first is whole");
            assert_eq!(examined.batch.to_bytes(), one);
        }
        let mut nonsense = one[..20].to_vec();
        nonsense[8] = 0x80;
        let bytes = Bytes::from([&one[..], &nonsense[..]].concat());
        assert_eq!(judge(bytes), Err(RecordError::TrailingBytes(20)));
    }

    #[test]
    fn what_only_brokers_write_is_refused() {
        assert_eq!(refused(|h| h.attributes |= 0x20), RecordError::Control);
        assert_eq!(
            refused(|h| h.attributes |= 0x40),
            RecordError::DeleteHorizon
        );
        assert_eq!(
            refused(|h| h.attributes |= 0x08),
            RecordError::LogAppendTime
        );
        assert_eq!(
            refused(|h| h.base_offset = Offset(1)),
            RecordError::BaseOffset(Offset(1))
        );
    }

    #[test]
    fn a_leader_epoch_of_the_clients_own_does_no_harm() {
        let mut batch = batch(Compression::None);
        batch.header.leader_epoch = LeaderEpoch(77);
        assert!(judge(batch.to_bytes()).is_ok());
    }

    #[test]
    fn there_are_as_many_records_as_offsets_and_at_least_one() {
        for (record_count, last_offset_delta) in [
            (0, -1),
            (-1, -2),
            (3, 3),
            (3, 1),
            (i32::MIN, i32::MAX),
            (i32::MAX, i32::MIN),
        ] {
            let error = refused(|h| {
                h.record_count = record_count;
                h.last_offset_delta = last_offset_delta;
            });
            assert_eq!(
                error,
                RecordError::Count {
                    record_count,
                    last_offset_delta
                }
            );
        }
        let short = refused(|h| (h.record_count, h.last_offset_delta) = (2, 1));
        assert_eq!(short, RecordError::LeftOver);
        let long = refused(|h| (h.record_count, h.last_offset_delta) = (4, 3));
        assert_eq!(
            long,
            RecordError::Record {
                index: 3,
                fault: RecordFault::EndsEarly
            }
        );
    }

    #[test]
    fn codecs_are_known_and_zstd_comes_with_version_seven() {
        assert_eq!(refused(|h| h.attributes |= 5), RecordError::UnknownCodec(5));
        let zstd = batch(Compression::Zstd).to_bytes();
        assert_eq!(
            examine(zstd.clone(), 6, Depth::Records, LIMITS),
            Err(RecordError::ZstdTooEarly { api_version: 6 })
        );
        assert!(examine(zstd, 7, Depth::Records, LIMITS).is_ok());
    }

    #[test]
    fn producer_id_epoch_and_sequence_go_together() {
        let refused_producer = |id, epoch, sequence, attributes| {
            matches!(
                refused(|h| {
                    h.producer_id = ProducerId(id);
                    h.producer_epoch = ProducerEpoch(epoch);
                    h.base_sequence = sequence;
                    h.attributes = attributes;
                }),
                RecordError::Producer { .. }
            )
        };
        assert!(refused_producer(7, 0, -1, 0));
        assert!(refused_producer(7, -1, 0, 0));
        assert!(refused_producer(-2, 0, 0, 0));
        assert!(refused_producer(-1, -1, -1, 0x10));
    }

    #[test]
    fn without_a_producer_id_the_zeros_of_kafkajs_mean_nothing() {
        let mut batch = batch(Compression::None);
        batch.header.producer_id = ProducerId::NONE;
        batch.seal(crc32c::crc32c(&batch.body));
        assert!(judge(batch.to_bytes()).is_ok());
    }

    #[test]
    fn a_greatest_timestamp_that_is_untrue_is_mended_with_its_crc() {
        for codec in Compression::ALL {
            let truth = batch(codec);
            let mut lie = truth.clone();
            lie.header.max_timestamp = Timestamp(99);
            lie.seal(crc32c::crc32c(&lie.body));
            let examined = judge(lie.to_bytes()).expect("Kafka takes it");
            assert_eq!(examined.batch, truth);
            assert_eq!(examined.batch.verify(), Ok(()));
        }
    }

    #[test]
    fn a_header_is_believed_where_that_is_asked_for_and_the_batch_is_compressed() {
        let mut lie = batch(Compression::Lz4);
        lie.header.max_timestamp = Timestamp(99);
        lie.seal(crc32c::crc32c(&lie.body));
        let examined =
            examine(lie.to_bytes(), 11, Depth::Header, LIMITS).expect("it is not looked into");
        assert_eq!(examined.batch, lie);
        assert!(!examined.facts.walked);
        assert_eq!(examined.facts.max_timestamp, Timestamp(99));

        let plain = examine(
            batch(Compression::None).to_bytes(),
            11,
            Depth::Header,
            LIMITS,
        );
        assert!(plain.expect("it is true").facts.walked);
    }

    #[test]
    fn each_way_in_which_a_record_can_be_wrong_is_named() {
        let fault = |record: &[u8]| {
            let error = refused_record(record);
            let RecordError::Record { index: 0, fault } = error else {
                panic!("{error}");
            };
            fault
        };
        // size, attributes, timestamp delta, offset delta, key, value, headers
        assert_eq!(fault(b"\x0c\0\0\0\x01\x01"), RecordFault::EndsEarly);
        assert_eq!(fault(b"\x0b\0\0\0\x01\x01\0"), RecordFault::Size);
        assert_eq!(fault(b"\x0a\0\0\0\x01\x01\0"), RecordFault::Size);
        assert_eq!(fault(b"\x0e\0\0\0\x01\x01\0\0"), RecordFault::Size);
        assert_eq!(
            fault(b"\x0c\0\0\x02\x01\x01\0"),
            RecordFault::OffsetDelta { found: 1 }
        );
        for bit in [0x80, 0x08] {
            let record = [0x0c, bit, 0, 0, 1, 1, 0];
            assert_eq!(fault(&record), RecordFault::Attributes);
        }
        assert_eq!(fault(b"\x0c\0\0\0\x03\x01\0"), RecordFault::Length);
        assert_eq!(fault(b"\x0c\0\0\0\x20\x01\0"), RecordFault::Length);
        assert_eq!(fault(b"\x0c\0\0\0\x01\x01\x01"), RecordFault::Length);
        assert_eq!(
            fault(b"\x10\0\0\0\x01\x01\x02\x01\x01"),
            RecordFault::Length,
            "a header's key is never null"
        );
        assert_eq!(
            fault(b"\x12\0\0\0\x01\x01\x02\x02\xff\x01"),
            RecordFault::HeaderKey
        );
        assert_eq!(
            fault(b"\xff\xff\xff\xff\x7f\0\0\0\x01\x01\0"),
            RecordFault::Varint
        );
        assert_eq!(
            refused_record(b"\x0c\0\0\0\x01\x01\0\0"),
            RecordError::LeftOver
        );
    }

    #[test]
    fn damage_under_a_true_crc_is_found_in_every_codec() {
        for codec in Compression::ALL.into_iter().skip(1) {
            let batch = batch(codec);
            let cut = batch.body.slice(..batch.body.len() - 3);
            let error = judge(with_body(batch, cut)).expect_err("the end is missing");
            assert!(
                matches!(
                    error,
                    RecordError::Corrupt
                        | RecordError::Record {
                            fault: RecordFault::Corrupt,
                            ..
                        }
                ),
                "{codec}: {error}"
            );
        }
    }

    #[test]
    fn a_bomb_is_refused_at_the_cap() {
        for codec in Compression::ALL.into_iter().skip(1) {
            let mut builder = BatchBuilder::new(codec);
            let value = vec![0; CAP];
            builder
                .push(Timestamp(0), None, Some(&value), &[])
                .expect("it is small");
            let bomb = builder.build();
            assert!(bomb.size() < CAP / 10, "{codec}");
            let fault = RecordFault::TooLarge { cap: CAP };
            assert_eq!(
                judge(bomb.to_bytes()),
                Err(RecordError::Record { index: 0, fault }),
                "{codec}"
            );
        }
    }

    #[test]
    fn a_timestamp_too_far_away_for_a_number_is_never_within_bounds() {
        let facts = judge(batch(Compression::None).to_bytes())
            .expect("it is true")
            .facts;
        let now = Timestamp(1_700_000_000_000);
        let at = |timestamp| BatchFacts {
            min_timestamp: Timestamp(timestamp),
            ..facts
        };
        let within = |timestamp| at(timestamp).timestamps_within(now, i64::MAX, i64::MAX);
        assert!(!within(i64::MIN));
        assert!(!within(i64::MIN + now.0));
        assert!(within(i64::MIN + now.0 + 1));
        assert!(within(-2));
        assert!(!facts.timestamps_within(Timestamp(i64::MIN), i64::MAX, i64::MAX));
    }

    #[test]
    fn timestamp_bounds_are_inclusive_and_spare_records_without_one() {
        let facts = judge(batch(Compression::None).to_bytes())
            .expect("it is true")
            .facts;
        assert!(facts.timestamps_within(Timestamp(4), 1, 1));
        assert!(!facts.timestamps_within(Timestamp(5), 1, 1));
        assert!(!facts.timestamps_within(Timestamp(3), 1, 1));
        let none = BatchFacts {
            min_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            ..facts
        };
        assert!(none.timestamps_within(Timestamp(1_000_000), 0, 0));
    }

    proptest! {
        /// The CRC is made true again, so that the damage reaches what is behind it.
        #[test]
        fn a_damaged_batch_never_panics_and_what_passes_can_be_read(
            codec in prop::sample::select(&Compression::ALL[..]),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5),
        ) {
            let mut bytes = batch(codec).to_bytes().to_vec();
            for (at, byte) in damage {
                // From the attributes on: the fields before them are checked first.
                let at = 21 + at.index(bytes.len() - 21);
                bytes[at] = byte;
            }
            let mut damaged = Batch::split_from(&mut Bytes::from(bytes)).expect("its start is whole");
            damaged.seal(crc32c::crc32c(&damaged.body));
            let records = |batch: &Batch| {
                let records: Result<Vec<_>, _> = batch.records(CAP).and_then(Iterator::collect);
                records
            };
            let read = records(&damaged);
            if let Ok(examined) = judge(damaged.to_bytes()) {
                let read = read.expect("whoever examines sees at least what a reader sees");
                prop_assert_eq!(read.len(), usize::try_from(examined.batch.header.record_count).unwrap_or(0));
                prop_assert_eq!(examined.batch.verify(), Ok(()));
                prop_assert!(examined.facts.uncompressed_size.is_some_and(|size| size <= 1 << 16));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(judge(Bytes::from(bytes)).is_err());
        }
    }
}
