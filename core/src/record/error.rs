//! Why a batch is refused.

use std::fmt;

use super::compression::DecompressError;
use super::header::HeaderError;
use super::parse::RecordFault;
use crate::ids::{Offset, ProducerEpoch, ProducerId};
use crate::wire::ErrorCode;

/// Why a produced batch is refused, or why a batch's records cannot be read.
///
/// The error codes of [`RecordError::error_code`], and where Kafka's differ:
///
/// | variant | error |
/// |---|---|
/// | `Header(Crc)`, `Header(Length)`, `Header(Magic)` of a magic that never was | `CORRUPT_MESSAGE` |
/// | `Header(Magic)` of 0 and 1 | `INVALID_RECORD`: these formats are not served from Produce version 3 on |
/// | `NoBatch`, `Header(Truncated)`, `TrailingBytes`, `BaseOffset`, `Count`, `Control`, `Producer` | `INVALID_RECORD` |
/// | `DeleteHorizon` | `INVALID_RECORD`; Kafka stores what only its cleaner may write |
/// | `UnknownCodec` | `UNSUPPORTED_COMPRESSION_TYPE`; Kafka fails the request as a bug of its own |
/// | `ZstdTooEarly` | `UNSUPPORTED_COMPRESSION_TYPE` |
/// | `LogAppendTime` | `INVALID_TIMESTAMP`; Kafka clears the flag where the topic has CreateTime |
/// | `Record`, `LeftOver`, `Corrupt` | `INVALID_RECORD`; Kafka answers `UNKNOWN_SERVER_ERROR` where decompression fails |
/// | `Record(TooLarge)`, `TooLarge` | `MESSAGE_TOO_LARGE`, at which a producer splits the batch |
///
/// `CORRUPT_MESSAGE` makes a client retry the same bytes, so it is returned only where bytes may have changed in
/// transit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// There are no bytes.
    NoBatch,
    /// The header is invalid, or the CRC does not match.
    Header(HeaderError),
    /// Something follows the batch; a partition takes exactly one batch a request.
    TrailingBytes(usize),
    /// The base offset is not 0.
    BaseOffset(Offset),
    /// There are no records, or their number is not `last_offset_delta + 1`.
    Count {
        /// In the header.
        record_count: i32,
        /// In the header.
        last_offset_delta: i32,
    },
    /// It is a control batch, which only brokers write.
    Control,
    /// It has a delete horizon, which only a log cleaner sets.
    DeleteHorizon,
    /// Its timestamp type is LogAppendTime, which only brokers set.
    LogAppendTime,
    /// An idempotent or transactional batch without a producer id, epoch or sequence.
    Producer {
        /// In the header.
        producer_id: ProducerId,
        /// In the header.
        producer_epoch: ProducerEpoch,
        /// In the header.
        base_sequence: i32,
    },
    /// The codec's number is not defined by Kafka.
    UnknownCodec(i16),
    /// It is compressed with Zstandard, which needs Produce version 7.
    ZstdTooEarly {
        /// Version of the Produce request.
        api_version: i16,
    },
    /// A record is malformed.
    Record {
        /// Its index in the batch, from 0.
        index: i32,
        /// What is wrong with it.
        fault: RecordFault,
    },
    /// There are bytes after the last record.
    LeftOver,
    /// The batch cannot be decompressed.
    Corrupt,
    /// The batch decompresses to more than the cap.
    TooLarge {
        /// In bytes, inclusive.
        cap: usize,
    },
}

impl RecordError {
    /// The error code for the client.
    #[must_use]
    pub const fn error_code(&self) -> ErrorCode {
        match self {
            Self::Header(HeaderError::Crc { .. } | HeaderError::Length(_)) => {
                ErrorCode::CorruptMessage
            }
            Self::Header(HeaderError::Magic(magic)) => match *magic {
                0 | 1 => ErrorCode::InvalidRecord,
                _ => ErrorCode::CorruptMessage,
            },
            Self::UnknownCodec(_) | Self::ZstdTooEarly { .. } => {
                ErrorCode::UnsupportedCompressionType
            }
            Self::LogAppendTime => ErrorCode::InvalidTimestamp,
            Self::TooLarge { .. }
            | Self::Record {
                fault: RecordFault::TooLarge { .. },
                ..
            } => ErrorCode::MessageTooLarge,
            Self::NoBatch
            | Self::Header(HeaderError::Truncated)
            | Self::TrailingBytes(_)
            | Self::BaseOffset(_)
            | Self::Count { .. }
            | Self::Control
            | Self::DeleteHorizon
            | Self::Producer { .. }
            | Self::Record { .. }
            | Self::LeftOver
            | Self::Corrupt => ErrorCode::InvalidRecord,
        }
    }

    /// Index of the record for which the batch is refused, if it is a single record.
    #[must_use]
    pub const fn record_index(&self) -> Option<i32> {
        if let Self::Record { index, .. } = self {
            Some(*index)
        } else {
            None
        }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBatch => f.write_str("there is no record batch"),
            Self::Header(error) => error.fmt(f),
            Self::TrailingBytes(bytes) => {
                write!(
                    f,
                    "{bytes} bytes follow the one batch that a partition may get"
                )
            }
            Self::BaseOffset(offset) => {
                write!(
                    f,
                    "a produced batch has base offset 0, this one has {offset}"
                )
            }
            Self::Count {
                record_count,
                last_offset_delta,
            } => write!(
                f,
                "the batch claims {record_count} records, the last at offset delta {last_offset_delta}"
            ),
            Self::Control => f.write_str("clients may not write control batches"),
            Self::DeleteHorizon => f.write_str("clients may not set a delete horizon"),
            Self::LogAppendTime => {
                f.write_str("clients may not set the timestamp type LogAppendTime")
            }
            Self::Producer {
                producer_id,
                producer_epoch,
                base_sequence,
            } => write!(
                f,
                "producer id {producer_id}, epoch {producer_epoch} and sequence {base_sequence} do not go together"
            ),
            Self::UnknownCodec(id) => write!(f, "compression {id} is not known"),
            Self::ZstdTooEarly { api_version } => {
                write!(
                    f,
                    "zstd is served from Produce version 7 on, not in version {api_version}"
                )
            }
            Self::Record { index, fault } => write!(f, "record {index} is refused: {fault}"),
            Self::LeftOver => f.write_str("bytes follow the last record"),
            Self::Corrupt => DecompressError::Corrupt.fmt(f),
            Self::TooLarge { cap } => DecompressError::TooLarge { cap: *cap }.fmt(f),
        }
    }
}

impl std::error::Error for RecordError {}

impl From<HeaderError> for RecordError {
    fn from(error: HeaderError) -> Self {
        Self::Header(error)
    }
}

impl From<DecompressError> for RecordError {
    fn from(error: DecompressError) -> Self {
        match error {
            DecompressError::Corrupt => Self::Corrupt,
            DecompressError::TooLarge { cap } => Self::TooLarge { cap },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_have_changed_on_its_way_is_asked_for_again() {
        let crc = HeaderError::Crc {
            stored: 1,
            computed: 2,
        };
        let record = |fault| RecordError::Record { index: 0, fault };
        for (error, code) in [
            (RecordError::Header(crc), ErrorCode::CorruptMessage),
            (
                RecordError::Header(HeaderError::Length(3)),
                ErrorCode::CorruptMessage,
            ),
            (
                RecordError::Header(HeaderError::Magic(3)),
                ErrorCode::CorruptMessage,
            ),
            (
                RecordError::Header(HeaderError::Magic(1)),
                ErrorCode::InvalidRecord,
            ),
            (
                RecordError::Header(HeaderError::Truncated),
                ErrorCode::InvalidRecord,
            ),
            (RecordError::Corrupt, ErrorCode::InvalidRecord),
            (record(RecordFault::Size), ErrorCode::InvalidRecord),
            (
                record(RecordFault::TooLarge { cap: 9 }),
                ErrorCode::MessageTooLarge,
            ),
            (RecordError::LogAppendTime, ErrorCode::InvalidTimestamp),
            (
                RecordError::UnknownCodec(6),
                ErrorCode::UnsupportedCompressionType,
            ),
        ] {
            assert_eq!(error.error_code(), code, "{error}");
            assert_eq!(
                code.is_retriable(),
                code == ErrorCode::CorruptMessage,
                "{error}"
            );
        }
    }
}
