//! Reading the records of a batch: for consumers, the metadata log and lookups by timestamp.

use bytes::Bytes;

use super::compression::{Compression, decompress};
use super::error::RecordError;
use super::header::{Batch, BatchHeader, TimestampType};
use super::parse::{RecordFault, read_record};
use crate::ids::{Offset, Timestamp};

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Its offset in the log.
    pub offset: Offset,
    /// Its own under CreateTime, the batch's under LogAppendTime; [`Timestamp::NONE`] if its producer gave none.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; `None` is a tombstone under compaction.
    pub value: Option<Bytes>,
    /// Its headers, in order. A key may occur more than once.
    pub headers: Vec<RecordHeader>,
}

/// One header of a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordHeader {
    /// Required to be UTF-8 when produced, not when read from the log.
    pub key: Bytes,
    /// Its value.
    pub value: Option<Bytes>,
}

impl Batch {
    /// The records, in order, decompressed up to `cap` bytes. Keys and values are slices of the body, or of one
    /// buffer that holds it decompressed.
    ///
    /// # Errors
    /// [`RecordError::UnknownCodec`], [`RecordError::Corrupt`], [`RecordError::TooLarge`]; an error of a single record
    /// comes from the iterator, which then ends.
    pub fn records(&self, cap: usize) -> Result<BatchRecords, RecordError> {
        let id = self.header.compression();
        let codec = Compression::from_id(id).ok_or(RecordError::UnknownCodec(id))?;
        Ok(BatchRecords {
            header: self.header,
            body: decompress(codec, &self.body, cap)?,
            index: 0,
        })
    }
}

/// The records of one batch. Ends at the first error.
#[derive(Clone, Debug)]
pub struct BatchRecords {
    header: BatchHeader,
    /// The bytes that are not read yet.
    body: Bytes,
    /// Index of the next record; the record count after the last one, or after an error.
    index: i32,
}

impl BatchRecords {
    fn read(&mut self) -> Result<Record, RecordFault> {
        let mut headers = Vec::new();
        let fields = read_record(&mut self.body, |key, value| {
            headers.push(RecordHeader { key, value });
        })?;
        // Compaction leaves gaps, so a delta is an offset, not an index.
        if !(0..=self.header.last_offset_delta).contains(&fields.offset_delta) {
            return Err(RecordFault::OffsetDelta {
                found: fields.offset_delta,
            });
        }
        Ok(Record {
            offset: self.header.base_offset.plus(fields.offset_delta.into()),
            timestamp: record_timestamp(&self.header, fields.timestamp_delta),
            key: fields.key,
            value: fields.value,
            headers,
        })
    }
}

impl Iterator for BatchRecords {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.header.record_count {
            let rest = std::mem::take(&mut self.body);
            return (!rest.is_empty()).then_some(Err(RecordError::LeftOver));
        }
        let index = self.index;
        self.index += 1;
        let record = self.read().map_err(|fault| {
            self.index = self.header.record_count;
            self.body.clear();
            RecordError::Record { index, fault }
        });
        Some(record)
    }
}

/// A record's timestamp. Deltas wrap, as in Kafka, so every timestamp can be expressed relative to every base.
pub(super) const fn record_timestamp(header: &BatchHeader, delta: i64) -> Timestamp {
    match header.timestamp_type() {
        TimestampType::CreateTime => Timestamp(header.base_timestamp.0.wrapping_add(delta)),
        TimestampType::LogAppendTime => header.max_timestamp,
    }
}
