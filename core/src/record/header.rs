//! The 61 bytes before a batch's records.
//!
//! ```text
//!  0  base_offset i64            8  batch_length i32 (bytes after this field)
//! 12  partition_leader_epoch i32 16  magic i8 = 2
//! 17  crc u32 (CRC-32C of all that follows)
//! 21  attributes i16             23  last_offset_delta i32
//! 27  base_timestamp i64         35  max_timestamp i64
//! 43  producer_id i64            51  producer_epoch i16
//! 53  base_sequence i32          57  record_count i32
//! ```
//! Source: Kafka's `DefaultRecordBatch`.

use std::fmt;

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};
use bytes::Bytes;

use super::crc;
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

/// Bytes before the records.
pub const HEADER_SIZE: usize = 61;

/// Where the bytes counted by `batch_length` start.
const LENGTH_END: usize = 12;
/// Where the bytes covered by the CRC start.
const CRC_END: usize = 21;

const COMPRESSION_MASK: i16 = 0x07;
const LOG_APPEND_TIME: i16 = 0x08;
pub(super) const TRANSACTIONAL: i16 = 0x10;
pub(super) const CONTROL: i16 = 0x20;
const DELETE_HORIZON: i16 = 0x40;

/// Whether the producer or the leader set a batch's timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer, record by record.
    CreateTime,
    /// The leader, once for the batch: every record has `max_timestamp`.
    LogAppendTime,
}

/// A parsed batch header, field by field as Kafka names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct BatchHeader {
    /// Offset of the first record. Assigned by the leader, outside the CRC.
    pub base_offset: Offset,
    /// Bytes of the body, the records after the header.
    pub body_length: u32,
    /// Epoch of the leader that appended it. Assigned by the leader, outside the CRC.
    pub leader_epoch: LeaderEpoch,
    /// CRC-32C from `attributes` to the end of the body.
    pub crc: u32,
    /// Compression in bits 0 to 2, timestamp type in 3, transactional in 4, control in 5.
    pub attributes: i16,
    /// Offset of the last record minus the base offset; at least 0.
    pub last_offset_delta: i32,
    /// Timestamp of the first record.
    pub base_timestamp: Timestamp,
    /// Greatest timestamp of all records.
    pub max_timestamp: Timestamp,
    /// `-1` for a producer that is not idempotent.
    pub producer_id: ProducerId,
    /// `-1` for a producer that is not idempotent.
    pub producer_epoch: ProducerEpoch,
    /// Sequence number of the first record, wrapping at `i32::MAX`; `-1` without a producer id.
    pub base_sequence: i32,
    /// Number of records; `last_offset_delta + 1` until compaction removes some.
    pub record_count: i32,
}

/// Why bytes are not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// There are fewer bytes than a header, or than its length field says.
    Truncated,
    /// The length field is less than a header's size.
    Length(i32),
    /// The format is not v2.
    Magic(i8),
    /// The CRC does not match the bytes.
    Crc {
        /// In the header.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the batch ends early"),
            Self::Length(length) => write!(f, "a batch cannot be {length} bytes long"),
            Self::Magic(magic) => write!(f, "record format {magic} is not served, only format 2"),
            Self::Crc { stored, computed } => {
                write!(
                    f,
                    "the batch's CRC is {stored:08x}, its bytes give {computed:08x}"
                )
            }
        }
    }
}

impl std::error::Error for HeaderError {}

impl BatchHeader {
    /// Parses a header from the start of `bytes`; what follows it is ignored. Checks magic and length, not the CRC.
    ///
    /// # Errors
    /// [`HeaderError::Truncated`], [`HeaderError::Length`] or [`HeaderError::Magic`].
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let bytes: &[u8; HEADER_SIZE] = bytes.first_chunk().ok_or(HeaderError::Truncated)?;
        let magic = i8::from_be_bytes(field(bytes, 16));
        if magic != 2 {
            return Err(HeaderError::Magic(magic));
        }
        let length = i32::from_be_bytes(field(bytes, 8));
        let body_length = usize::try_from(length)
            .ok()
            .and_then(|length| (length + LENGTH_END).checked_sub(HEADER_SIZE))
            .and_then(|length| u32::try_from(length).ok())
            .ok_or(HeaderError::Length(length))?;
        Ok(Self {
            base_offset: Offset(i64::from_be_bytes(field(bytes, 0))),
            body_length,
            leader_epoch: LeaderEpoch(i32::from_be_bytes(field(bytes, 12))),
            crc: u32::from_be_bytes(field(bytes, 17)),
            attributes: i16::from_be_bytes(field(bytes, 21)),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)),
            base_timestamp: Timestamp(i64::from_be_bytes(field(bytes, 27))),
            max_timestamp: Timestamp(i64::from_be_bytes(field(bytes, 35))),
            producer_id: ProducerId(i64::from_be_bytes(field(bytes, 43))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(field(bytes, 51))),
            base_sequence: i32::from_be_bytes(field(bytes, 53)),
            record_count: i32::from_be_bytes(field(bytes, 57)),
        })
    }

    /// The header's 61 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        let length =
            i32::try_from(self.size() - LENGTH_END).expect("parse and build bound the length");
        bytes[0..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.leader_epoch.0.to_be_bytes());
        bytes[16] = 2;
        bytes[17..21].copy_from_slice(&self.crc.to_be_bytes());
        bytes[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        bytes[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        bytes[27..35].copy_from_slice(&self.base_timestamp.0.to_be_bytes());
        bytes[35..43].copy_from_slice(&self.max_timestamp.0.to_be_bytes());
        bytes[43..51].copy_from_slice(&self.producer_id.0.to_be_bytes());
        bytes[51..53].copy_from_slice(&self.producer_epoch.0.to_be_bytes());
        bytes[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        bytes[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        bytes
    }

    /// Bytes of the whole batch.
    #[must_use]
    pub const fn size(&self) -> usize {
        HEADER_SIZE + self.body_length as usize
    }

    /// Offset of the last record, inclusive.
    #[must_use]
    pub const fn last_offset(&self) -> Offset {
        self.base_offset.plus(self.last_offset_delta as i64)
    }

    /// Offset after the last record, exclusive end of the batch.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    /// The codec's number: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd; 5 to 7 are not defined.
    #[must_use]
    pub const fn compression(&self) -> i16 {
        self.attributes & COMPRESSION_MASK
    }

    /// Who set the timestamps.
    #[must_use]
    pub const fn timestamp_type(&self) -> TimestampType {
        if self.attributes & LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub const fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether the batch is a control batch, which only brokers write.
    #[must_use]
    pub const fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Whether the base timestamp is the delete horizon: the time after which a cleaner may drop the batch's tombstones
    /// (KIP-534).
    #[must_use]
    pub const fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON != 0
    }

    /// CRC-32C of the header's part that the batch's CRC covers.
    fn header_crc(&self) -> u32 {
        crc32c::crc32c(&self.to_bytes()[CRC_END..])
    }
}

/// A record batch: the header, which the leader stamps, and the records as the producer sent them.
///
/// **Invariant:** `body.len() == header.body_length`.
#[derive(Clone, PartialEq, Eq)]
pub struct Batch {
    /// The parsed header.
    pub header: BatchHeader,
    /// The records, compressed or not: a slice of the buffer that they were received or read in.
    pub body: Bytes,
}

/// Encodes the header alone. The body is transferred separately, without a copy, and the reader attaches it again:
/// until then the decoded batch has no body.
impl Encode for Batch {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.header.encode(encoder)
    }
}

impl<C> Decode<C> for Batch {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Ok(Self {
            header: BatchHeader::decode(decoder)?,
            body: Bytes::new(),
        })
    }
}

bincode::impl_borrow_decode!(Batch);

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.header.fmt(f)
    }
}

impl Batch {
    /// Splits one batch off the front of `bytes`, without copying it or checking its CRC.
    ///
    /// # Errors
    /// As [`BatchHeader::parse`]; `bytes` is then unchanged.
    pub fn split_from(bytes: &mut Bytes) -> Result<Self, HeaderError> {
        let header = BatchHeader::parse(bytes)?;
        if bytes.len() < header.size() {
            return Err(HeaderError::Truncated);
        }
        let mut batch = bytes.split_to(header.size());
        Ok(Self {
            header,
            body: batch.split_off(HEADER_SIZE),
        })
    }

    /// Bytes of the whole batch.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.header.size()
    }

    /// Checks the CRC. Reads the whole body: never within a step.
    ///
    /// # Errors
    /// [`HeaderError::Crc`].
    pub fn verify(&self) -> Result<(), HeaderError> {
        self.verify_as(crc32c::crc32c_append(self.header.header_crc(), &self.body))
    }

    /// Checks the CRC, given the body's own.
    pub(super) fn verify_with(&self, body_crc: u32) -> Result<(), HeaderError> {
        self.verify_as(self.combined_crc(body_crc))
    }

    fn verify_as(&self, computed: u32) -> Result<(), HeaderError> {
        if computed == self.header.crc {
            Ok(())
        } else {
            Err(HeaderError::Crc {
                stored: self.header.crc,
                computed,
            })
        }
    }

    /// Sets the fields that the leader assigns. The CRC covers neither.
    pub fn stamp(&mut self, base_offset: Offset, leader_epoch: LeaderEpoch) {
        self.header.base_offset = base_offset;
        self.header.leader_epoch = leader_epoch;
    }

    /// Sets LogAppendTime and the matching CRC. `body_crc` is the CRC-32C of the body alone, known since the batch was
    /// examined, so the body is not read again.
    pub fn stamp_log_append_time(&mut self, now: Timestamp, body_crc: u32) {
        self.header.attributes |= LOG_APPEND_TIME;
        self.header.max_timestamp = now;
        self.seal(body_crc);
    }

    /// Sets the CRC from the header's fields and the body's own CRC.
    pub(crate) fn seal(&mut self, body_crc: u32) {
        self.header.crc = self.combined_crc(body_crc);
    }

    fn combined_crc(&self, body_crc: u32) -> u32 {
        crc::combine(self.header.header_crc(), body_crc, self.header.body_length)
    }

    /// The whole batch as contiguous bytes. Copies the body: for tools, tests and client requests.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(self.size());
        bytes.extend_from_slice(&self.header.to_bytes());
        bytes.extend_from_slice(&self.body);
        Bytes::from(bytes)
    }
}

fn field<const N: usize>(bytes: &[u8; HEADER_SIZE], at: usize) -> [u8; N] {
    *bytes[at..]
        .first_chunk()
        .expect("every field ends within the header")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(body: &'static [u8]) -> Batch {
        let header = BatchHeader {
            base_offset: Offset(7),
            body_length: body.len() as u32,
            leader_epoch: LeaderEpoch(3),
            crc: 0,
            attributes: 0,
            last_offset_delta: 1,
            base_timestamp: Timestamp(1000),
            max_timestamp: Timestamp(1001),
            producer_id: ProducerId(5),
            producer_epoch: ProducerEpoch(0),
            base_sequence: 9,
            record_count: 2,
        };
        let mut batch = Batch {
            header,
            body: Bytes::from_static(body),
        };
        batch.seal(crc32c::crc32c(body));
        batch
    }

    #[test]
    fn a_header_survives_the_round_trip_and_its_crc_is_that_of_the_whole() {
        let batch = batch(b"two records");
        assert_eq!(batch.verify(), Ok(()));
        let mut bytes = batch.header.to_bytes().to_vec();
        bytes.extend_from_slice(&batch.body);
        assert_eq!(crc32c::crc32c(&bytes[CRC_END..]), batch.header.crc);
        bytes.push(0xff);
        let mut bytes = Bytes::from(bytes);
        assert_eq!(Batch::split_from(&mut bytes), Ok(batch));
        assert_eq!(&bytes[..], [0xff]);
    }

    #[test]
    fn stamping_log_append_time_keeps_the_crc_true_without_reading_the_body() {
        let mut batch = batch(b"two records");
        batch.stamp(Offset(100), LeaderEpoch(4));
        batch.stamp_log_append_time(Timestamp(77), crc32c::crc32c(b"two records"));
        assert_eq!(batch.verify(), Ok(()));
        assert_eq!(batch.header.timestamp_type(), TimestampType::LogAppendTime);
    }

    #[test]
    fn bytes_that_are_no_batch_are_refused_with_the_reason() {
        assert_eq!(BatchHeader::parse(&[0; 60]), Err(HeaderError::Truncated));
        assert_eq!(BatchHeader::parse(&[0; 61]), Err(HeaderError::Magic(0)));
        let mut bytes = batch(b"").header.to_bytes();
        bytes[8..12].copy_from_slice(&48_i32.to_be_bytes());
        assert_eq!(BatchHeader::parse(&bytes), Err(HeaderError::Length(48)));
        bytes[8..12].copy_from_slice(&(-1_i32).to_be_bytes());
        assert_eq!(BatchHeader::parse(&bytes), Err(HeaderError::Length(-1)));
    }
}
