//! The encoding of peer messages.
//!
//! A frame between brokers, its four length bytes not counted, is
//!
//! ```text
//!  0  checksum u32      CRC-32C of the skeleton
//!  4  skeleton_length u32
//!  8  skeleton          the message in bincode, each record batch as its header alone, and from version 10 on its tail
//!     bodies            the batches' records, in the order of their headers, one behind the other
//! ```
//!
//! so that records are neither copied on the way out nor on the way in. A batch's own CRC is checked here, on the
//! link's task: what a link has damaged never reaches a log.
//!
//! bincode has no maintained release, so nothing outside this module encodes with it. It must never decode without a
//! limit: otherwise it trusts the lengths that it reads.

mod greeting;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;

use bincode::Decode;
use bincode::config::{Configuration, Limit, standard};
use bincode::error::DecodeError;
use bytes::Bytes;
use varve_core::log::Entry;
use varve_core::peer::{PeerMessage, PeerVersion, ReplicaBody, Since10};
use varve_core::record::{Batch, HeaderError};

pub use greeting::{
    Hello, HelloReply, decode_hello, decode_hello_reply, encode_hello, encode_hello_reply,
    is_greeting,
};

/// Bytes before the skeleton.
const PREFIX: usize = 8;

/// Decoding a skeleton takes at most this many times its length of memory.
const MEMORY_PER_BYTE: usize = 32;

/// The longest skeleton that is written or read.
const SKELETON_MAX: usize = 64 << 20;

/// Why bytes are not a peer message.
#[derive(Debug)]
pub enum PeerDecodeError {
    /// The frame is shorter or longer than its lengths say.
    Length,
    /// The skeleton was damaged on the way.
    Checksum,
    /// The skeleton cannot be decoded.
    Skeleton(String),
    /// A record batch was damaged on the way.
    Batch(HeaderError),
    /// It is no varve hello, or one of a version without a range.
    Hello(String),
}

impl fmt::Display for PeerDecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("the frame is not as long as it says"),
            Self::Checksum => f.write_str("the frame's checksum does not fit"),
            Self::Skeleton(error) => write!(f, "the frame cannot be read: {error}"),
            Self::Batch(error) => error.fmt(f),
            Self::Hello(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for PeerDecodeError {}

/// Writes a message as a frame of this version, its four length bytes included, into segments of which the records are the
/// message's own.
///
/// # Panics
/// When the message is longer than 4 GiB, which core's flow control rules out.
pub fn encode_message(
    mut message: PeerMessage,
    version: PeerVersion,
    segments: &mut VecDeque<Bytes>,
) {
    let bodies: Vec<Bytes> = batches(&mut message)
        .into_iter()
        .map(|batch| std::mem::take(&mut batch.body))
        .collect();
    let mut frame = vec![0; 4 + PREFIX];
    let tail = message.take_since_10();
    bincode::encode_into_std_write(message, &mut frame, standard())
        .expect("a message can be written to memory");
    if version >= PeerVersion::TEN {
        bincode::encode_into_std_write(tail, &mut frame, standard())
            .expect("a tail can be written to memory");
    }
    let skeleton_length = frame.len() - 4 - PREFIX;
    assert!(
        skeleton_length <= SKELETON_MAX,
        "core bounds what one message says"
    );
    let bodies_length: usize = bodies.iter().map(Bytes::len).sum();
    let length = u32::try_from(PREFIX + skeleton_length + bodies_length)
        .expect("core bounds what one message carries");
    let checksum = crc32c::crc32c(&frame[4 + PREFIX..]);
    let skeleton_length = u32::try_from(skeleton_length).expect("bounded above");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame[4..8].copy_from_slice(&checksum.to_be_bytes());
    frame[8..12].copy_from_slice(&skeleton_length.to_be_bytes());
    segments.push_back(frame.into());
    segments.extend(bodies.into_iter().filter(|body| !body.is_empty()));
}

/// Reads a message from a frame of this version without its length. Records stay slices of the frame.
///
/// # Errors
/// [`PeerDecodeError`]: the link must be closed.
pub fn decode_message(
    mut frame: Bytes,
    version: PeerVersion,
) -> Result<PeerMessage, PeerDecodeError> {
    let (checksum, length) = match (frame.get(..4), frame.get(4..PREFIX)) {
        (Some(checksum), Some(length)) => (be_u32(checksum), be_u32(length)),
        (None | Some(_), None | Some(_)) => return Err(PeerDecodeError::Length),
    };
    let skeleton_end = usize::try_from(length)
        .ok()
        .and_then(|length| length.checked_add(PREFIX))
        .filter(|&end| end <= frame.len())
        .ok_or(PeerDecodeError::Length)?;
    let mut bodies = frame.split_off(skeleton_end);
    let skeleton = &frame[PREFIX..];
    if crc32c::crc32c(skeleton) != checksum {
        return Err(PeerDecodeError::Checksum);
    }
    let unreadable = |error: DecodeError| PeerDecodeError::Skeleton(error.to_string());
    let mut message = if version >= PeerVersion::TEN {
        let (mut message, tail): (PeerMessage, Since10) =
            decode_skeleton(skeleton).map_err(unreadable)?;
        message.put_since_10(tail);
        message
    } else {
        decode_skeleton(skeleton).map_err(unreadable)?
    };
    for batch in batches(&mut message) {
        attach_records(batch, &mut bodies)?;
    }
    if bodies.is_empty() {
        Ok(message)
    } else {
        Err(PeerDecodeError::Length)
    }
}

fn be_u32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(
        *bytes
            .first_chunk()
            .expect("the caller has sliced four bytes"),
    )
}

/// Decodes with a limit that fits what is there: bincode writes small numbers in one byte and counts the memory
/// of what it reads, so a true skeleton may count many times its length. A note of five bytes takes as much as a batch.
fn decode_skeleton<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    const SMALL: usize = 64 << 10;
    const MIDDLE: usize = 4 << 20;
    const LARGE: usize = 1 << 31;
    const _: () = assert!(SKELETON_MAX * MEMORY_PER_BYTE <= LARGE);
    const _: () = assert!(size_of::<Entry>() <= 5 * MEMORY_PER_BYTE);
    fn with<T: Decode<()>, const N: usize>(
        config: Configuration<bincode::config::LittleEndian, bincode::config::Varint, Limit<N>>,
        bytes: &[u8],
    ) -> Result<T, DecodeError> {
        let (value, read) = bincode::decode_from_slice(bytes, config)?;
        if read == bytes.len() {
            Ok(value)
        } else {
            Err(DecodeError::Other("bytes follow the value"))
        }
    }
    match bytes.len().saturating_mul(MEMORY_PER_BYTE) {
        0..=SMALL => with(standard().with_limit::<SMALL>(), bytes),
        need if need <= MIDDLE => with(standard().with_limit::<MIDDLE>(), bytes),
        need if need <= LARGE => with(standard().with_limit::<LARGE>(), bytes),
        _ => Err(DecodeError::LimitExceeded),
    }
}

/// The record batches that a message carries, in order.
fn batches(message: &mut PeerMessage) -> Vec<&mut Batch> {
    let PeerMessage::Replica(message) = message else {
        return Vec::new();
    };
    match &mut message.body {
        ReplicaBody::Append(append) => append
            .entries
            .iter_mut()
            .filter_map(|entry| match entry {
                Entry::Batch(batch) => Some(batch),
                Entry::Note(_) => None,
            })
            .collect(),
        ReplicaBody::FillReply { batches, .. } => batches.iter_mut().collect(),
        ReplicaBody::PreVote(_)
        | ReplicaBody::PreVoteReply(_)
        | ReplicaBody::Vote(_)
        | ReplicaBody::VoteReply(_)
        | ReplicaBody::AppendReply(_)
        | ReplicaBody::TransferLeadership
        | ReplicaBody::Resigned
        | ReplicaBody::EpochEntered
        | ReplicaBody::ConfirmLeadership { .. }
        | ReplicaBody::ConfirmLeadershipReply { .. }
        | ReplicaBody::FillRequest { .. } => Vec::new(),
    }
}

/// Puts a batch's records back, as a slice of the frame.
fn attach_records(batch: &mut Batch, bodies: &mut Bytes) -> Result<(), PeerDecodeError> {
    let length = usize::try_from(batch.header.body_length).map_err(|_| PeerDecodeError::Length)?;
    if length > bodies.len() {
        return Err(PeerDecodeError::Length);
    }
    batch.body = bodies.split_to(length);
    batch.verify().map_err(PeerDecodeError::Batch)
}
