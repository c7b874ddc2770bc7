//! Identifiers: every number that Kafka or varve gives a meaning is a type of its own, so that a mix-up does not
//! compile.

use std::fmt;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$meta:meta])* $name:ident($repr:ty)) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize,
            Deserialize,
        )]
        pub struct $name(pub $repr);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! uuid {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
        )]
        pub struct $name(pub u128);

        impl $name {
            /// The all-zero id, which Kafka reserves to mean *none*.
            pub const ZERO: Self = Self(0);
        }

        impl fmt::Display for $name {
            /// Kafka's form: URL-safe base64 of the 16 bytes without padding, 22 characters.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt_base64(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidUuid;

            fn from_str(text: &str) -> Result<Self, InvalidUuid> {
                parse_base64(text).map(Self)
            }
        }
    };
}

number!(
    /// A node's number in the cluster, Kafka's `node.id` and `broker.id`; `0` or above.
    BrokerId(i32)
);
number!(
    /// A partition's index in its topic, from 0.
    PartitionIndex(i32)
);
number!(
    /// The epoch of a partition's leader, Raft's *term*. 0 means that no leader has been elected yet; an
    /// elected leader's epoch is 1 or above. Never goes back.
    LeaderEpoch(i32)
);
number!(
    /// An offset of a record in a partition log, from 0. Where it names an end it is exclusive.
    Offset(i64)
);
number!(
    /// Kafka's producer id; `-1` where a batch has none.
    ProducerId(i64)
);
number!(
    /// Kafka's producer epoch; `-1` where a batch has none.
    ProducerEpoch(i16)
);
number!(
    /// Counts the starts of a node on one directory, from 1, so a later start has the greater number.
    Incarnation(u64)
);
number!(
    /// Milliseconds since the Unix epoch, as Kafka's record timestamps have them; `-1` means *none*.
    Timestamp(i64)
);
number!(
    /// A log's own clock: the number of clock ticks before a place in it, by which the age of earlier entries is
    /// measured.
    LogClock(u64)
);

uuid!(
    /// A topic's id, given at its creation and never used again.
    TopicId
);
uuid!(
    /// A log directory's id, given when it is formatted. A wiped directory comes back with another.
    DirectoryId
);
uuid!(
    /// The cluster's id, given once by the explicit format of its first node.
    ClusterId
);

impl TopicId {
    /// The fixed id of `__cluster_metadata`, as in Kafka.
    pub const METADATA: Self = Self(1);
}

impl Offset {
    /// The offset `n` after this one.
    #[must_use]
    pub const fn plus(self, n: i64) -> Self {
        Self(self.0 + n)
    }
}

impl LeaderEpoch {
    /// The epoch of the election that a replica of this epoch starts.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Timestamp {
    /// *No timestamp*, in a record without one.
    pub const NONE: Self = Self(-1);
}

impl ProducerEpoch {
    /// *No producer epoch*, in a batch that is not idempotent.
    pub const NONE: Self = Self(-1);
}

impl ProducerId {
    /// *No producer id*, in a batch that is not idempotent.
    pub const NONE: Self = Self(-1);
}

/// One partition of one topic: the name of a replicated log, and of the quorum that keeps it.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    Serialize,
    Deserialize,
)]
pub struct TopicPartition {
    /// The topic's id. Names are resolved when a request arrives: a recreated topic is another topic.
    pub topic: TopicId,
    /// The partition in it.
    pub partition: PartitionIndex,
}

impl TopicPartition {
    /// The log that is the cluster's brain.
    pub const METADATA: Self = Self {
        topic: TopicId::METADATA,
        partition: PartitionIndex(0),
    };
}

/// A voter: a broker *with the directory that has its replica*. A wiped directory is another voter (counter-example 5,
/// the amnesiac voter).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    Serialize,
    Deserialize,
)]
pub struct Voter {
    /// The broker.
    pub broker: BrokerId,
    /// Its log directory.
    pub directory: DirectoryId,
}

/// The text is not a 22-character URL-safe base64 id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidUuid;

impl fmt::Display for InvalidUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id is 22 characters of URL-safe base64")
    }
}

impl std::error::Error for InvalidUuid {}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// 22 digits of 6 bits are 132 bits: the last digit carries four bits of padding.
fn fmt_base64(value: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use fmt::Write as _;
    for digit in 0..22 {
        let shift = 128 - 6 * (digit + 1);
        let bits = if shift >= 0 {
            value >> shift
        } else {
            value << -shift
        };
        f.write_char(char::from(ALPHABET[(bits & 63) as usize]))?;
    }
    Ok(())
}

fn parse_base64(text: &str) -> Result<u128, InvalidUuid> {
    if text.len() != 22 {
        return Err(InvalidUuid);
    }
    let mut value: u128 = 0;
    for (place, byte) in text.bytes().enumerate() {
        let digit = ALPHABET
            .iter()
            .position(|&c| c == byte)
            .ok_or(InvalidUuid)? as u128;
        value = if place < 21 {
            value << 6 | digit
        } else {
            value << 2 | digit >> 4
        };
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_as_kafka_prints_them_and_parse_back() {
        assert_eq!(TopicId::METADATA.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        for value in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0011_2233_4455_6677] {
            assert_eq!(TopicId(value).to_string().parse(), Ok(TopicId(value)));
        }
        assert_eq!("too short".parse::<TopicId>(), Err(InvalidUuid));
    }
}
