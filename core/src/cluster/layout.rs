//! How metadata is laid out in bytes: the primitive fields that records and snapshots are made of.
//!
//! Numbers are big-endian and of fixed width, as in Kafka's own formats; lengths are unsigned varints (seven bits a
//! byte, the lowest first). The layout does not describe itself: [`super::record`] declares the order of fields, once
//! for both directions.
//!
//! Decoding takes any bytes: it never panics, and reserves no more than the bytes that are left could fill.

use std::fmt;

use crate::cluster::{BrokerRegistration, Endpoint, VoterReport};
use crate::ids::{
    BrokerId, DirectoryId, Incarnation, LeaderEpoch, PartitionIndex, ProducerId, TopicId,
    TopicPartition, Voter,
};

/// Why bytes are not metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataDecodeError {
    /// They end early, or a length in them exceeds them.
    Truncated,
    /// There are bytes behind the decoded value.
    Trailing(usize),
    /// A kind of record or value that this version does not know.
    UnknownKind(u8),
    /// A known kind in a version that this version does not know.
    UnknownVersion {
        /// The kind.
        kind: u8,
        /// Its version.
        version: u8,
    },
    /// A text that is not UTF-8.
    Text,
    /// The bytes do not begin with a snapshot's magic.
    Magic,
    /// The checksum does not fit the bytes.
    Checksum {
        /// Written behind them.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// The batch is compressed, a control batch, or one of its records has no value.
    Batch(&'static str),
}

impl fmt::Display for MetadataDecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the metadata ends early"),
            Self::Trailing(bytes) => write!(f, "{bytes} bytes follow the metadata"),
            Self::UnknownKind(kind) => write!(f, "metadata of the unknown kind {kind}"),
            Self::UnknownVersion { kind, version } => {
                write!(
                    f,
                    "metadata of kind {kind} in the unknown version {version}"
                )
            }
            Self::Text => f.write_str("a text in the metadata is not UTF-8"),
            Self::Magic => f.write_str("these bytes are no metadata snapshot"),
            Self::Checksum { stored, computed } => write!(
                f,
                "the snapshot's checksum is {stored:08x}, its bytes give {computed:08x}"
            ),
            Self::Batch(why) => write!(f, "no batch of metadata records: {why}"),
        }
    }
}

impl std::error::Error for MetadataDecodeError {}

/// A value with a layout.
pub(super) trait LayoutField: Sized {
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);

    /// Takes it from the front of `bytes`.
    fn take(bytes: &mut &[u8]) -> Result<Self, MetadataDecodeError>;
}

/// Takes `length` bytes from the front.
pub(super) fn take_bytes<'a>(
    bytes: &mut &'a [u8],
    length: usize,
) -> Result<&'a [u8], MetadataDecodeError> {
    let (taken, rest) = bytes
        .split_at_checked(length)
        .ok_or(MetadataDecodeError::Truncated)?;
    *bytes = rest;
    Ok(taken)
}

/// Appends a length.
pub(super) fn put_length(length: usize, out: &mut Vec<u8>) {
    let mut rest = length;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push((rest & 0x7f) as u8);
}

/// Takes a length. A length above 2^32 is no length of anything.
pub(super) fn take_length(bytes: &mut &[u8]) -> Result<usize, MetadataDecodeError> {
    let mut length: usize = 0;
    for shift in [0, 7, 14, 21, 28] {
        let byte = u8::take(bytes)?;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(length);
        }
    }
    Err(MetadataDecodeError::Truncated)
}

macro_rules! fixed {
    ($($int:ty),*) => {$(
        impl LayoutField for $int {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn take(bytes: &mut &[u8]) -> Result<Self, MetadataDecodeError> {
                let (taken, rest) = bytes.split_first_chunk().ok_or(MetadataDecodeError::Truncated)?;
                *bytes = rest;
                Ok(Self::from_be_bytes(*taken))
            }
        }
    )*};
}

macro_rules! number {
    ($($name:ident),*) => {$(
        impl LayoutField for $name {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }

            fn take(bytes: &mut &[u8]) -> Result<Self, MetadataDecodeError> {
                LayoutField::take(bytes).map(Self)
            }
        }
    )*};
}

/// A struct is its fields in the order given here.
macro_rules! fields {
    ($($name:ident { $($field:ident),* })*) => {$(
        impl LayoutField for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)*
            }

            fn take(bytes: &mut &[u8]) -> Result<Self, MetadataDecodeError> {
                $(let $field = LayoutField::take(bytes)?;)*
                Ok(Self { $($field),* })
            }
        }
    )*};
}

fixed!(u8, u16, i16, i32, u32, u64, i64, u128);
number!(
    BrokerId,
    PartitionIndex,
    LeaderEpoch,
    ProducerId,
    Incarnation,
    TopicId,
    DirectoryId
);
fields! {
    TopicPartition { topic, partition }
    Voter { broker, directory }
    Endpoint { name, host, port }
    BrokerRegistration { broker, directory, incarnation, rack, listeners, peer_address }
    VoterReport { partition, leader_epoch, notes, voters }
}

impl LayoutField for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(bytes: &mut &[u8]) -> Result<Self, MetadataDecodeError> {
        let length = take_length(bytes)?;
        let text = take_bytes(bytes, length)?;
        std::str::from_utf8(text)
            .map(str::to_owned)
            .map_err(|_| MetadataDecodeError::Text)
    }
}

/// A byte 0, or a byte 1 and the value.
impl<T: LayoutField> LayoutField for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.put(out);
            }
        }
    }

    fn take(bytes: &mut &[u8]) -> Result<Self, MetadataDecodeError> {
        match u8::take(bytes)? {
            0 => Ok(None),
            1 => T::take(bytes).map(Some),
            other => Err(MetadataDecodeError::UnknownKind(other)),
        }
    }
}

/// The number of elements, then each.
impl<T: LayoutField> LayoutField for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        for element in self {
            element.put(out);
        }
    }

    fn take(bytes: &mut &[u8]) -> Result<Self, MetadataDecodeError> {
        let length = take_length(bytes)?;
        // Every element takes at least one byte, so a length beyond the bytes is invalid. Elements are pushed one by
        // one, so the reserved memory grows with what has been decoded.
        if length > bytes.len() {
            return Err(MetadataDecodeError::Truncated);
        }
        let mut elements = Self::new();
        for _ in 0..length {
            elements.push(T::take(bytes)?);
        }
        Ok(elements)
    }
}
