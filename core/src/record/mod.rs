//! Kafka's record batches, format v2: the unit that is produced, stored, replicated and fetched.
//!
//! A batch stays as the producer sent it, except for the fields that the leader assigns. Those are all in the 61-byte
//! header, so a [`Batch`] is a parsed header and an untouched body: the cost of stamping a batch does not depend on its
//! size, and the payload is never copied by a decision.

mod builder;
mod compression;
mod crc;
mod error;
mod examine;
#[cfg(test)]
mod golden;
mod header;
mod parse;
mod records;

pub use builder::{BatchBuilder, BatchFull, HeaderRef};
pub use compression::{Compression, DecompressError, compress, decompress};
pub use error::RecordError;
pub use examine::{BatchFacts, Depth, Examined, Limits, examine};
pub use header::{Batch, BatchHeader, HEADER_SIZE, HeaderError, TimestampType};
pub use parse::RecordFault;
pub use records::{BatchRecords, Record, RecordHeader};
