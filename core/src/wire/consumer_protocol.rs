//! The consumer's own protocol, inside that of classic groups: what consumers say to the leader of their group in a
//! [`JoinGroup`](super::join_group), and what the leader says to them in a [`SyncGroup`](super::sync_group).
//!
//! To a coordinator both are bytes that it passes on; it reads them to tell which topics a group subscribes to.
//!
//! The version stands in the first two bytes. No version takes anything away from the one before or moves it, so a
//! reader takes a version of the future for the last one that it knows, and leaves what follows unread.
//!
//! Version 1 says what the consumer owns already (KIP-429), version 2 since which generation (KIP-792), and version 3
//! in which rack it is (KIP-881).

use bytes::Bytes;

use super::api::{Message, read_message, write_message};
use super::read::{DecodeError, Reader};
use super::text::Str;
use super::write::{EncodeError, Writer};

message! {
    /// What a consumer wishes to read.
    pub struct ConsumerProtocolSubscription: versions 0..=3, flexible none {
        /// The topics that it subscribes to.
        pub topics: Vec<Str>,
        /// Whatever its assignor wants to tell the leader's.
        pub user_data: Option<Bytes>,
        /// The partitions that it owns.
        pub owned_partitions: Vec<TopicPartition> [1.., ignorable],
        /// The generation that it was given them in, or -1.
        pub generation_id: i32 [2.., ignorable] = -1,
        /// Its rack, or null.
        pub rack_id: Option<Str> [3.., ignorable],
    }

    /// Partitions of one topic, in the subscription and in the assignment.
    pub struct TopicPartition {
        /// The topic.
        pub topic: Str,
        /// The partitions.
        pub partitions: Vec<i32>,
    }
}

message! {
    /// What a consumer is to read.
    pub struct ConsumerProtocolAssignment: versions 0..=3, flexible none {
        /// The partitions.
        pub assigned_partitions: Vec<TopicPartition>,
        /// Whatever the leader's assignor wants to tell this one's.
        pub user_data: Option<Bytes>,
    }
}

impl ConsumerProtocolSubscription {
    /// Reads what a member said of itself when it joined.
    ///
    /// # Errors
    /// If the bytes are no subscription.
    pub fn from_bytes(bytes: &Bytes) -> Result<Self, DecodeError> {
        read_prefixed(bytes)
    }

    /// What a member that speaks this version says of itself when it joins.
    ///
    /// # Errors
    /// If there is no such version, or something is longer than its length can say.
    pub fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        write_prefixed(self, version)
    }
}

impl ConsumerProtocolAssignment {
    /// Reads the part of a member.
    ///
    /// # Errors
    /// If the bytes are no assignment.
    pub fn from_bytes(bytes: &Bytes) -> Result<Self, DecodeError> {
        read_prefixed(bytes)
    }

    /// The part of a member, as a leader that speaks this version writes it.
    ///
    /// # Errors
    /// If there is no such version, or something is longer than its length can say.
    pub fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        write_prefixed(self, version)
    }
}

/// The bytes come from a client, so their arrays are bounded like those of a request.
fn read_prefixed<M: Message>(bytes: &Bytes) -> Result<M, DecodeError> {
    let mut reader = Reader::of_request(bytes);
    let version = reader.i16()?;
    read_message(&mut reader, version.min(M::VERSION_MAX))
}

fn write_prefixed<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::default();
    writer.put(&version.to_be_bytes());
    write_message(message, &mut writer, version)?;
    Ok(writer.finish().to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription() -> ConsumerProtocolSubscription {
        ConsumerProtocolSubscription {
            topics: vec!["t".into()],
            owned_partitions: vec![TopicPartition {
                topic: "t".into(),
                partitions: vec![3],
            }],
            generation_id: 5,
            rack_id: Some("a".into()),
            ..ConsumerProtocolSubscription::default()
        }
    }

    /// The subscription of version 3, but for its version.
    const SUBSCRIPTION: &[u8] = &[
        0, 0, 0, 1, 0, 1, b't', // topics
        255, 255, 255, 255, // no user data
        0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 3, // partition t-3 is owned
        0, 0, 0, 5, // since generation 5
        0, 1, b'a', // rack
    ];

    #[test]
    fn the_version_stands_in_front() {
        let bytes = subscription().to_bytes(3).unwrap();
        assert_eq!(bytes, [&[0, 3], SUBSCRIPTION].concat());
        let read = ConsumerProtocolSubscription::from_bytes(&bytes);
        assert_eq!(read, Ok(subscription()));

        let assignment = ConsumerProtocolAssignment {
            assigned_partitions: subscription().owned_partitions,
            user_data: Some(Bytes::from_static(b"u")),
        };
        let bytes = assignment.to_bytes(0).unwrap();
        assert_eq!(
            bytes[..],
            [
                0, 0, // version
                0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 3, // partition t-3
                0, 0, 0, 1, b'u', // user data
            ]
        );
        let read = ConsumerProtocolAssignment::from_bytes(&bytes);
        assert_eq!(read, Ok(assignment));
    }

    #[test]
    fn an_older_version_says_less() {
        let bytes = subscription().to_bytes(0).unwrap();
        let read = ConsumerProtocolSubscription::from_bytes(&bytes);
        let said = ConsumerProtocolSubscription {
            topics: subscription().topics,
            ..ConsumerProtocolSubscription::default()
        };
        assert_eq!(read, Ok(said));
    }

    #[test]
    fn a_version_of_the_future_is_read_as_the_last_known_one() {
        let bytes = [&[0x12, 0x34], SUBSCRIPTION, b"and more"].concat();
        let read = ConsumerProtocolSubscription::from_bytes(&bytes.into());
        assert_eq!(read, Ok(subscription()));
        assert_eq!(
            subscription().to_bytes(4),
            Err(EncodeError::UnsupportedVersion {
                message: "ConsumerProtocolSubscription",
                version: 4
            })
        );
    }

    #[test]
    fn what_is_no_subscription_is_refused() {
        let read =
            |bytes: &[u8]| ConsumerProtocolSubscription::from_bytes(&Bytes::copy_from_slice(bytes));
        assert_eq!(read(&[]), Err(DecodeError::Truncated));
        assert_eq!(
            read(&[&[255, 255], SUBSCRIPTION].concat()),
            Err(DecodeError::UnsupportedVersion)
        );
        for cut in 0..SUBSCRIPTION.len() {
            let bytes = [&[0, 3], &SUBSCRIPTION[..cut]].concat();
            assert_eq!(read(&bytes), Err(DecodeError::Truncated));
        }
    }
}
