//! The records of `__cluster_metadata`: every change of the cluster's metadata.
//!
//! One record is the value of one Kafka record, so Kafka's own tools can list the log. A value is
//!
//! ```text
//! kind u8 | version u8 | the kind's fields, in the order of their declaration below
//! ```
//!
//! with the fields laid out by [`super::layout`]. A kind that gets a field gets a new version; a node refuses a version
//! that it does not know, since skipping it would build a different image from the same log. [`super::image`] applies
//! the records.

use std::collections::BTreeMap;

use super::layout::{LayoutField, MetadataDecodeError};
use super::{BrokerRegistration, VoterReport};
use crate::ids::{BrokerId, Incarnation, ProducerId, Timestamp, TopicId, TopicPartition, Voter};
use crate::record::{Batch, BatchBuilder, Compression};

/// Declares the records once: the enum and both directions of its layout.
macro_rules! records {
    ($(
        $(#[$meta:meta])*
        $kind:literal v $version:literal
        $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)? }
    )*) => {
        /// One change of the cluster's metadata.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum MetadataRecord {
            $($(#[$meta])* $name { $($(#[$field_meta])* $field: $type),* }),*
        }

        impl MetadataRecord {
            /// Its name, for traces and listings.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$name { .. } => stringify!($name)),*
                }
            }
        }

        impl LayoutField for MetadataRecord {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$name { $($field),* } => {
                        out.push($kind);
                        out.push($version);
                        $($field.put(out);)*
                    })*
                }
            }

            fn take(bytes: &mut &[u8]) -> Result<Self, MetadataDecodeError> {
                let kind = u8::take(bytes)?;
                let version = u8::take(bytes)?;
                match (kind, version) {
                    $(($kind, $version) => {
                        $(let $field = LayoutField::take(bytes)?;)*
                        Ok(Self::$name { $($field),* })
                    })*
                    $(($kind, _) => Err(MetadataDecodeError::UnknownVersion { kind, version }),)*
                    _ => Err(MetadataDecodeError::UnknownKind(kind)),
                }
            }
        }
    };
}

records! {
    /// A broker has started: this registration replaces its earlier one, and it is fenced.
    1 v 1 RegisterBroker {
        /// Its registration.
        registration: BrokerRegistration,
    }
    /// A broker must not be given replicas. Whether responses to clients include it depends on whether brokers have
    /// contact with it, not on this (counter-example 11).
    2 v 1 FenceBroker {
        /// The broker.
        broker: BrokerId,
        /// The incarnation that is fenced; a later one is not affected.
        incarnation: Incarnation,
    }
    /// A broker has caught up with the metadata and may be given replicas.
    3 v 1 UnfenceBroker {
        /// The broker.
        broker: BrokerId,
        /// The start of it that is meant.
        incarnation: Incarnation,
    }
    /// A broker begins a controlled shutdown: it is given no new replicas, and leads only where no other voter can.
    4 v 1 StopBroker {
        /// The broker.
        broker: BrokerId,
        /// The start of it that is meant.
        incarnation: Incarnation,
    }
    /// A broker is removed permanently.
    5 v 1 UnregisterBroker {
        /// The broker.
        broker: BrokerId,
    }
    /// A topic is created. Its partitions follow, each in a record of its own.
    6 v 1 Topic {
        /// Its name, unique among the topics that exist.
        name: String,
        /// Its id, never used before or after.
        id: TopicId,
    }
    /// A topic is deleted with its partitions and its configuration.
    7 v 1 RemoveTopic {
        /// The topic.
        id: TopicId,
    }
    /// A partition is created.
    8 v 1 Partition {
        /// The partition: the next index of its topic.
        partition: TopicPartition,
        /// The initial voters, sorted. They never change: later voters are notes in the partition's own log, and
        /// reported.
        voters: Vec<Voter>,
        /// The voters that are desired, most preferred leader first.
        target: Vec<Voter>,
    }
    /// A partition gets a new target. Its leader changes one voter at a time until it is reached.
    9 v 1 PartitionTarget {
        /// The partition, or [`TopicPartition::METADATA`].
        partition: TopicPartition,
        /// The voters that are desired, most preferred leader first.
        target: Vec<Voter>,
    }
    /// A partition's leader reports its committed voters.
    10 v 1 PartitionVoters {
        /// The report.
        report: VoterReport,
    }
    /// A configuration is set or removed.
    11 v 1 Config {
        /// What is configured.
        resource: ConfigResource,
        /// Kafka's name of the configuration.
        key: String,
        /// Its value as text; `None` removes it, so the default applies.
        value: Option<String>,
    }
    /// Producer ids below this one have been allocated in blocks.
    12 v 1 ProducerIds {
        /// The first that has not been allocated.
        next: ProducerId,
    }
    /// A feature is finalized at this level.
    13 v 1 Feature {
        /// Its name, for instance `metadata.version`.
        name: String,
        /// Its level; 0 removes it.
        level: i16,
    }
    /// An administrator begins or cancels a reassignment. It is in progress until the target is reached.
    14 v 1 Reassignment {
        /// The partition.
        partition: TopicPartition,
        /// The voters that are desired, most preferred leader first.
        target: Vec<Voter>,
        /// The brokers to return to if it is cancelled; none where no reassignment is in progress afterwards.
        original: Vec<BrokerId>,
    }
}

/// What a configuration belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigResource {
    /// One topic, by id: a recreated topic does not inherit the configuration.
    Topic(TopicId),
    /// One broker.
    Broker(BrokerId),
    /// Every broker that has no value of its own.
    BrokerDefault,
}

impl LayoutField for ConfigResource {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Topic(id) => {
                out.push(1);
                id.put(out);
            }
            Self::Broker(id) => {
                out.push(2);
                id.put(out);
            }
            Self::BrokerDefault => out.push(3),
        }
    }

    fn take(bytes: &mut &[u8]) -> Result<Self, MetadataDecodeError> {
        match u8::take(bytes)? {
            1 => LayoutField::take(bytes).map(Self::Topic),
            2 => LayoutField::take(bytes).map(Self::Broker),
            3 => Ok(Self::BrokerDefault),
            other => Err(MetadataDecodeError::UnknownKind(other)),
        }
    }
}

impl MetadataRecord {
    /// The value of the Kafka record that carries it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.put(&mut out);
        out
    }

    /// Reads it back.
    ///
    /// # Errors
    /// Any bytes that [`Self::encode`] of this version does not give.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, MetadataDecodeError> {
        let record = Self::take(&mut bytes)?;
        if bytes.is_empty() {
            Ok(record)
        } else {
            Err(MetadataDecodeError::Trailing(bytes.len()))
        }
    }
}

/// The batch that appends `records` atomically. `now` is for tools that list the log.
///
/// # Panics
/// Where there are no records.
#[must_use]
pub fn encode_records(records: &[MetadataRecord], now: Timestamp) -> Batch {
    assert!(!records.is_empty(), "a batch of metadata says something");
    let mut batch = BatchBuilder::new(Compression::None);
    for record in records {
        batch
            .push(now, None, Some(&record.encode()), &[])
            .expect("a plan is bounded far below what a batch can hold");
    }
    batch.build()
}

/// The records of a batch of the metadata log.
///
/// # Errors
/// A batch that [`encode_records`] of this version does not give.
pub fn decode_batch(batch: &Batch) -> Result<Vec<MetadataRecord>, MetadataDecodeError> {
    if batch.header.compression() != Compression::None.id() {
        return Err(MetadataDecodeError::Batch("it is compressed"));
    }
    if batch.header.is_control() {
        return Err(MetadataDecodeError::Batch("it is a control batch"));
    }
    let records = batch
        .records(batch.body.len())
        .map_err(|_| MetadataDecodeError::Batch("its records cannot be read"))?;
    records
        .map(|record| {
            let record =
                record.map_err(|_| MetadataDecodeError::Batch("a record cannot be read"))?;
            let value = record
                .value
                .ok_or(MetadataDecodeError::Batch("a record has no value"))?;
            MetadataRecord::decode(&value)
        })
        .collect()
}

/// The configurations of one resource, by Kafka's names.
pub type ConfigMap = BTreeMap<String, String>;

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cluster::Endpoint;
    use crate::ids::{DirectoryId, LeaderEpoch, PartitionIndex};

    fn voter() -> impl Strategy<Value = Voter> {
        (0..5, 0..2_u128).prop_map(|(broker, directory)| Voter {
            broker: BrokerId(broker),
            directory: DirectoryId(100 * u128::try_from(broker).expect("above 0") + directory),
        })
    }

    fn voters() -> impl Strategy<Value = Vec<Voter>> {
        prop::collection::vec(voter(), 0..4)
    }

    fn partition() -> impl Strategy<Value = TopicPartition> {
        (1..6_u128, 0..3).prop_map(|(topic, partition)| TopicPartition {
            topic: TopicId(topic),
            partition: PartitionIndex(partition),
        })
    }

    fn registration() -> impl Strategy<Value = BrokerRegistration> {
        (
            voter(),
            1..4_u64,
            prop::option::of("[a-z]{0,3}"),
            "[a-z:0-9]{1,9}",
            any::<u16>(),
        )
            .prop_map(|(voter, incarnation, rack, peer_address, port)| {
                BrokerRegistration {
                    broker: voter.broker,
                    directory: voter.directory,
                    incarnation: Incarnation(incarnation),
                    rack,
                    listeners: vec![Endpoint {
                        name: "PLAINTEXT".to_owned(),
                        host: "localhost".to_owned(),
                        port,
                    }],
                    peer_address,
                }
            })
    }

    /// Any record over a world small enough that records often meet.
    pub(in crate::cluster) fn record() -> impl Strategy<Value = MetadataRecord> {
        use MetadataRecord as R;
        let broker = || ((0..5).prop_map(BrokerId), (1..4_u64).prop_map(Incarnation));
        let topic = || (1..6_u128).prop_map(TopicId);
        prop_oneof![
            registration().prop_map(|registration| R::RegisterBroker { registration }),
            broker().prop_map(|(broker, incarnation)| R::FenceBroker {
                broker,
                incarnation
            }),
            broker().prop_map(|(broker, incarnation)| R::UnfenceBroker {
                broker,
                incarnation
            }),
            broker().prop_map(|(broker, incarnation)| R::StopBroker {
                broker,
                incarnation
            }),
            (0..5).prop_map(|broker| R::UnregisterBroker {
                broker: BrokerId(broker)
            }),
            ("[a-e]", topic()).prop_map(|(name, id)| R::Topic { name, id }),
            topic().prop_map(|id| R::RemoveTopic { id }),
            (partition(), voters(), voters()).prop_map(|(partition, voters, target)| {
                R::Partition {
                    partition,
                    voters,
                    target,
                }
            }),
            (partition(), voters())
                .prop_map(|(partition, target)| R::PartitionTarget { partition, target }),
            (partition(), 0..5, 0..5_u64, voters()).prop_map(
                |(partition, leader_epoch, notes, voters)| R::PartitionVoters {
                    report: VoterReport {
                        partition,
                        leader_epoch: LeaderEpoch(leader_epoch),
                        notes,
                        voters
                    }
                }
            ),
            (
                prop_oneof![
                    topic().prop_map(ConfigResource::Topic),
                    (0..3).prop_map(|id| ConfigResource::Broker(BrokerId(id))),
                    Just(ConfigResource::BrokerDefault)
                ],
                "[a-c]",
                prop::option::of("[a-z]{0,3}")
            )
                .prop_map(|(resource, key, value)| R::Config {
                    resource,
                    key,
                    value
                }),
            any::<i64>().prop_map(|next| R::ProducerIds {
                next: ProducerId(next)
            }),
            ("[a-b]", any::<i16>()).prop_map(|(name, level)| R::Feature { name, level }),
            (
                partition(),
                voters(),
                prop::collection::vec((0..5).prop_map(BrokerId), 0..3)
            )
                .prop_map(|(partition, target, original)| R::Reassignment {
                    partition,
                    target,
                    original
                }),
        ]
    }

    proptest! {
        #[test]
        fn a_record_survives_the_round_trip(record in record()) {
            prop_assert_eq!(MetadataRecord::decode(&record.encode()), Ok(record));
        }

        #[test]
        fn a_batch_survives_the_round_trip(records in prop::collection::vec(record(), 1..20)) {
            let batch = encode_records(&records, Timestamp(7));
            prop_assert_eq!(batch.verify(), Ok(()));
            prop_assert_eq!(decode_batch(&batch), Ok(records));
        }

        #[test]
        fn bytes_that_end_early_are_refused(record in record(), cut in any::<prop::sample::Index>()) {
            let bytes = record.encode();
            let cut = cut.index(bytes.len());
            prop_assert!(MetadataRecord::decode(&bytes[..cut]).is_err());
        }

        #[test]
        fn any_bytes_decode_to_a_record_that_encodes_to_them_or_to_an_error(
            kind in 0..16_u8, rest in prop::collection::vec(any::<u8>(), 0..80)
        ) {
            let mut bytes = vec![kind, 1];
            bytes.extend(rest);
            if let Ok(record) = MetadataRecord::decode(&bytes) {
                // Lengths may be written in more bytes than they need: the record is the same all the same.
                prop_assert_eq!(MetadataRecord::decode(&record.encode()), Ok(record));
            }
        }
    }

    /// The bytes on disk: kinds may be added, none of these may change.
    #[test]
    fn the_layout_of_every_kind_is_what_it_was() {
        let partition = TopicPartition {
            topic: TopicId(0xa0),
            partition: PartitionIndex(2),
        };
        let voters = vec![Voter {
            broker: BrokerId(3),
            directory: DirectoryId(0xd0),
        }];
        let (broker, incarnation) = (BrokerId(3), Incarnation(4));
        let records = [
            MetadataRecord::RegisterBroker {
                registration: BrokerRegistration {
                    broker,
                    directory: DirectoryId(0xd0),
                    incarnation,
                    rack: Some("r".to_owned()),
                    listeners: vec![Endpoint {
                        name: "L".to_owned(),
                        host: "h".to_owned(),
                        port: 0x2384,
                    }],
                    peer_address: "p".to_owned(),
                },
            },
            MetadataRecord::FenceBroker {
                broker,
                incarnation,
            },
            MetadataRecord::UnfenceBroker {
                broker,
                incarnation,
            },
            MetadataRecord::StopBroker {
                broker,
                incarnation,
            },
            MetadataRecord::UnregisterBroker { broker },
            MetadataRecord::Topic {
                name: "t".to_owned(),
                id: TopicId(0xa0),
            },
            MetadataRecord::RemoveTopic { id: TopicId(0xa0) },
            MetadataRecord::Partition {
                partition,
                voters: voters.clone(),
                target: Vec::new(),
            },
            MetadataRecord::PartitionTarget {
                partition,
                target: voters.clone(),
            },
            MetadataRecord::PartitionVoters {
                report: VoterReport {
                    partition,
                    leader_epoch: LeaderEpoch(5),
                    notes: 6,
                    voters: voters.clone(),
                },
            },
            MetadataRecord::Config {
                resource: ConfigResource::Topic(TopicId(0xa0)),
                key: "k".to_owned(),
                value: None,
            },
            MetadataRecord::Config {
                resource: ConfigResource::Broker(broker),
                key: "k".to_owned(),
                value: Some("v".to_owned()),
            },
            MetadataRecord::Config {
                resource: ConfigResource::BrokerDefault,
                key: "k".to_owned(),
                value: Some(String::new()),
            },
            MetadataRecord::ProducerIds {
                next: ProducerId(1000),
            },
            MetadataRecord::Feature {
                name: "f".to_owned(),
                level: 7,
            },
            MetadataRecord::Reassignment {
                partition,
                target: voters,
                original: vec![BrokerId(9)],
            },
        ];
        let lines: Vec<String> = records
            .iter()
            .map(|record| {
                let bytes = record.encode();
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{} {hex}", record.name())
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        RegisterBroker 010100000003000000000000000000000000000000d0000000000000000401017201014c016823840170
        FenceBroker 0201000000030000000000000004
        UnfenceBroker 0301000000030000000000000004
        StopBroker 0401000000030000000000000004
        UnregisterBroker 050100000003
        Topic 06010174000000000000000000000000000000a0
        RemoveTopic 0701000000000000000000000000000000a0
        Partition 0801000000000000000000000000000000a0000000020100000003000000000000000000000000000000d000
        PartitionTarget 0901000000000000000000000000000000a0000000020100000003000000000000000000000000000000d0
        PartitionVoters 0a01000000000000000000000000000000a0000000020000000500000000000000060100000003000000000000000000000000000000d0
        Config 0b0101000000000000000000000000000000a0016b00
        Config 0b010200000003016b010176
        Config 0b0103016b0100
        ProducerIds 0c0100000000000003e8
        Feature 0d0101660007
        Reassignment 0e01000000000000000000000000000000a0000000020100000003000000000000000000000000000000d00100000009
        ");
    }

    #[test]
    fn a_record_is_kind_version_and_fields() {
        let record = MetadataRecord::Topic {
            name: "a".to_owned(),
            id: TopicId(7),
        };
        let mut expected = vec![6, 1, 1, b'a'];
        expected.extend(7_u128.to_be_bytes());
        assert_eq!(record.encode(), expected);
        assert_eq!(record.name(), "Topic");
    }

    #[test]
    fn a_kind_or_version_of_the_future_is_refused_and_named() {
        assert_eq!(
            MetadataRecord::decode(&[99, 1]),
            Err(MetadataDecodeError::UnknownKind(99))
        );
        assert_eq!(
            MetadataRecord::decode(&[6, 2]),
            Err(MetadataDecodeError::UnknownVersion {
                kind: 6,
                version: 2
            })
        );
        assert_eq!(
            MetadataRecord::decode(&[7, 1, 0]),
            Err(MetadataDecodeError::Truncated)
        );
        // A list of 2^28 voters in 12 bytes reserves nothing.
        let mut bytes = vec![9, 1];
        bytes.extend([0; 20]);
        bytes.extend([0xff, 0xff, 0xff, 0x7f]);
        assert_eq!(
            MetadataRecord::decode(&bytes),
            Err(MetadataDecodeError::Truncated)
        );
    }
}
