//! Frames that real clients sent, byte for byte, without their four length bytes.

use bytes::Bytes;

use super::consumer_protocol::TopicPartition;
use super::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use super::metadata::MetadataRequestTopic;
use super::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use super::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use super::*;
use crate::ids::TopicId;

/// Who sent it, its API and version, and its bytes in hexadecimal.
struct Golden {
    client: &'static str,
    api_key: ApiKey,
    api_version: i16,
    hex: &'static str,
}

impl Golden {
    fn frame(&self) -> Bytes {
        let digit = |char: u8| char::from(char).to_digit(16).expect("hexadecimal");
        let bytes = self.hex.as_bytes().chunks(2).map(|pair| {
            u8::try_from(16 * digit(pair[0]) + digit(pair[1])).expect("two digits are a byte")
        });
        bytes.collect::<Vec<u8>>().into()
    }

    fn request(&self) -> Request {
        let (header, request) = decode_request(&self.frame())
            .unwrap_or_else(|error| panic!("{} sent what we refuse: {error}", self.client));
        assert_eq!(header.api_key, self.api_key);
        assert_eq!(header.api_version, self.api_version);
        request
    }
}

const GOLDEN: &[Golden] = &[
    Golden {
        client: "confluent-kafka 2.16.1 (librdkafka 2.16)",
        api_key: ApiKey::ApiVersions,
        api_version: 3,
        hex: "0012000300000001000772646b61666b610017636f6e666c75656e742d6b61666b612d707974686f6e16322e\
              31362e312d72646b61666b612d322e31362e3000",
    },
    Golden {
        client: "confluent-kafka 2.16.1 (librdkafka 2.16)",
        api_key: ApiKey::Metadata,
        api_version: 13,
        hex: "0003000d00000002000772646b61666b61000200000000000000000000000000000000027400000000",
    },
    Golden {
        client: "confluent-kafka 2.16.1 (librdkafka 2.16)",
        api_key: ApiKey::InitProducerId,
        api_version: 4,
        hex: "001600040000000200116c696272646b61666b612d676f6c64656e0000ffffffffffffffffffffffffffff\
              00",
    },
    Golden {
        client: "confluent-kafka 2.16.1 (librdkafka 2.16)",
        api_key: ApiKey::Fetch,
        api_version: 16,
        hex: "0001001000000002000772646b61666b6100000001f400000001032000000100000000ffffffff0200000000\
              00000000000000000000004d0200000000000000000000000000000000ffffffffffffffffffffffff001000\
              000000010100",
    },
    Golden {
        client: "kafka-python 3.0.12",
        api_key: ApiKey::ApiVersions,
        api_version: 4,
        hex: "001200040000000100176b61666b612d707974686f6e2d70726f64756365722d31000d6b61666b612d707974\
              686f6e07332e302e313200",
    },
    Golden {
        client: "kafka-python 3.0.12",
        api_key: ApiKey::Metadata,
        api_version: 13,
        hex: "0003000d0000000200176b61666b612d707974686f6e2d70726f64756365722d310001010000",
    },
    Golden {
        client: "kafka-python 3.0.12",
        api_key: ApiKey::Produce,
        api_version: 9,
        hex: "000000090000000300176b61666b612d707974686f6e2d70726f64756365722d310000ffff00007530020274\
              02000000004700000000000000000000003a00000000021f69b9f0000000000000000001a20511a7a8000001\
              a20511a7a800000000000000050000000000000000000110000000026b027600000000",
    },
    Golden {
        client: "kafka-python 3.0.12",
        api_key: ApiKey::ListOffsets,
        api_version: 11,
        hex: "0002000b0000000200136b61666b612d707974686f6e2d332e302e313200ffffffff000202740200000000ff\
              fffffffffffffffffffffe00000000000000",
    },
    Golden {
        client: "kafka-python 3.0.12",
        api_key: ApiKey::Fetch,
        api_version: 12,
        hex: "0001000c0000000300136b61666b612d707974686f6e2d332e302e313200ffffffff000001f4000000010320\
              00000000000000000000000202740200000000000000000000000000000000ffffffffffffffffffffffff00\
              1000000000010100",
    },
    Golden {
        client: "aiokafka 0.14.0",
        api_key: ApiKey::ApiVersions,
        api_version: 0,
        hex: "0012000000000001001361696f6b61666b612d70726f64756365722d31",
    },
    Golden {
        client: "aiokafka 0.14.0",
        api_key: ApiKey::Metadata,
        api_version: 5,
        hex: "0003000500000002001361696f6b61666b612d70726f64756365722d310000000001",
    },
    Golden {
        client: "aiokafka 0.14.0",
        api_key: ApiKey::Produce,
        api_version: 7,
        hex: "0000000700000002001361696f6b61666b612d70726f64756365722d31ffff000100009c4000000001000174\
              00000001000000000000004800000000000000000000003cffffffff025378497a000000000000000001a205\
              11acaa000001a20511acaaffffffffffffffffffff0000000000000001140000000661696f027600",
    },
    Golden {
        client: "aiokafka 0.14.0",
        api_key: ApiKey::ListOffsets,
        api_version: 3,
        hex: "0002000300000002000f61696f6b61666b612d302e31342e30ffffffff000000000100017400000001000000\
              00fffffffffffffffe",
    },
    Golden {
        client: "kafka-clients 4.4.0",
        api_key: ApiKey::OffsetCommit,
        api_version: 9,
        hex: "0008000900000024000a636f6e73756d65722d3100026700000001046d2d31000202740200000000000000\
              000000000500000001056d657461000000",
    },
    Golden {
        client: "kafka-clients 4.4.0",
        api_key: ApiKey::OffsetCommit,
        api_version: 10,
        hex: "0008000a00000029000a636f6e73756d65722d31000267000000011732424c554f48776853574b4c62306a\
              4a457846484a6700020000000000000000000000000000004d020000000000000000000000050000000105\
              6d657461000000",
    },
    Golden {
        client: "kafka-clients 4.4.0",
        api_key: ApiKey::OffsetFetch,
        api_version: 9,
        hex: "0009000900000007000a636f6e73756d65722d310002026700ffffffff020274020000000000000100",
    },
    Golden {
        client: "kafka-clients 4.4.0",
        api_key: ApiKey::OffsetFetch,
        api_version: 10,
        hex: "0009000a00000010000a636f6e73756d65722d31000202671732424c554f48776853574b4c62306a4a4578\
              46484a6700000001020000000000000000000000000000004d020000000000000100",
    },
    Golden {
        client: "kafka-clients 4.4.0",
        api_key: ApiKey::JoinGroup,
        api_version: 9,
        hex: "000b000900000005000a636f6e73756d65722d310002670000afc8000493e0046d2d310009636f6e73756d\
              6572020672616e676518000300000001000174ffffffff00000000ffffffffffff002e6e65656420746f20\
              72652d6a6f696e20776974682074686520676976656e206d656d6265722d69643a206d2d3100",
    },
    Golden {
        client: "kafka-clients 4.4.0",
        api_key: ApiKey::Heartbeat,
        api_version: 4,
        hex: "000c00040000000a000a636f6e73756d65722d3100026700000001046d2d310000",
    },
    Golden {
        client: "kafka-clients 4.4.0",
        api_key: ApiKey::LeaveGroup,
        api_version: 5,
        hex: "000d000500000025000a636f6e73756d65722d3100026702046d2d31001d74686520636f6e73756d657220\
              6973206265696e6720636c6f7365640000",
    },
    Golden {
        client: "kafka-clients 4.4.0",
        api_key: ApiKey::SyncGroup,
        api_version: 5,
        hex: "000e000500000006000a636f6e73756d65722d3100026700000001046d2d310009636f6e73756d65720672\
              616e676502046d2d31160003000000010001740000000100000000ffffffff0000",
    },
    Golden {
        client: "kafka-clients 4.4.0",
        api_key: ApiKey::DescribeGroups,
        api_version: 6,
        hex: "000f00060000000c000761646d696e2d31000202670000",
    },
    Golden {
        client: "kafka-clients 4.4.0",
        api_key: ApiKey::ListGroups,
        api_version: 5,
        hex: "001000050000000e000761646d696e2d3100010100",
    },
    Golden {
        client: "kafka-clients 4.4.0",
        api_key: ApiKey::DeleteGroups,
        api_version: 3,
        hex: "002a000300000004000761646d696e2d3100030267026800",
    },
    Golden {
        client: "kafka-clients 4.4.0",
        api_key: ApiKey::OffsetDelete,
        api_version: 0,
        hex: "002f000000000006000761646d696e2d31000167000000010001740000000100000000",
    },
    Golden {
        client: "kafka-clients 4.4.0",
        api_key: ApiKey::ConsumerGroupHeartbeat,
        api_version: 1,
        hex: "004400010000000c000a636f6e73756d65722d310002671732424c554f48776853574b4c62306a4a457846\
              484a67000000000000000493e002027400000100",
    },
    Golden {
        client: "kafka-clients 4.4.0",
        api_key: ApiKey::ConsumerGroupDescribe,
        api_version: 1,
        hex: "004500010000000a000761646d696e2d31000202670000",
    },
];

fn golden(api_key: ApiKey, api_version: i16) -> Request {
    let found = GOLDEN
        .iter()
        .find(|golden| golden.api_key == api_key && golden.api_version == api_version);
    found.expect("one of the frames above").request()
}

#[test]
fn what_real_clients_send_is_read_and_would_be_written_so() {
    for golden in GOLDEN {
        let frame = golden.frame();
        let (header, request) = decode_request(&frame)
            .unwrap_or_else(|error| panic!("{} sent what we refuse: {error}", golden.client));
        let segments = encode_request(&header, &request).expect("it was read");
        assert_eq!(segments.to_bytes().slice(4..), frame, "{}", golden.client);
    }
}

/// librdkafka reserves four bytes for the number of topics, and takes none of them back where the number is null.
#[test]
fn bytes_behind_a_request_are_left_unread() {
    let golden = Golden {
        client: "confluent-kafka 2.16.1 (librdkafka 2.16)",
        api_key: ApiKey::Metadata,
        api_version: 13,
        hex: "0003000d00000003000772646b61666b610000000000010000",
    };
    let expected = MetadataRequest {
        topics: None,
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    assert_eq!(golden.request(), Request::Metadata(expected));
}

#[test]
fn a_client_says_who_it_is_in_its_first_frame() {
    assert_eq!(
        golden(ApiKey::ApiVersions, 4),
        Request::ApiVersions(ApiVersionsRequest {
            client_software_name: Str::from_static("kafka-python"),
            client_software_version: Str::from_static("3.0.12"),
            ..ApiVersionsRequest::default()
        })
    );
}

#[test]
fn metadata_asks_for_topics_by_name_with_a_zero_id() {
    let expected = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            topic_id: TopicId::ZERO,
            name: Some(Str::from_static("t")),
        }]),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    assert_eq!(golden(ApiKey::Metadata, 13), Request::Metadata(expected));
}

/// Version 11 is younger than `kafka-protocol`, so this frame is what vouches for it.
#[test]
fn list_offsets_11_is_read_as_its_client_meant_it() {
    let expected = ListOffsetsRequest {
        topics: vec![ListOffsetsTopic {
            name: Str::from_static("t"),
            partitions: vec![ListOffsetsPartition {
                partition_index: 0,
                current_leader_epoch: -1,
                timestamp: list_offsets::EARLIEST_TIMESTAMP,
            }],
        }],
        ..ListOffsetsRequest::default()
    };
    assert_eq!(
        golden(ApiKey::ListOffsets, 11),
        Request::ListOffsets(expected)
    );
}

/// These versions are younger than `kafka-protocol`, too.
#[test]
fn offsets_by_topic_id_are_read_as_their_client_meant_them() {
    let topic_id = TopicId(77);
    let member_id = Str::from_static("2BLUOHwhSWKLb0jJExFHJg");
    let expected = OffsetCommitRequest {
        group_id: Str::from_static("g"),
        generation_id_or_member_epoch: 1,
        member_id: member_id.clone(),
        topics: vec![OffsetCommitRequestTopic {
            topic_id,
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: 0,
                committed_offset: 5,
                committed_leader_epoch: 1,
                committed_metadata: Some(Str::from_static("meta")),
            }],
            ..OffsetCommitRequestTopic::default()
        }],
        ..OffsetCommitRequest::default()
    };
    assert_eq!(
        golden(ApiKey::OffsetCommit, 10),
        Request::OffsetCommit(expected)
    );
    let expected = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: Str::from_static("g"),
            member_id: Some(member_id),
            member_epoch: 1,
            topics: Some(vec![OffsetFetchRequestTopics {
                topic_id,
                partition_indexes: vec![0],
                ..OffsetFetchRequestTopics::default()
            }]),
        }],
        require_stable: true,
        ..OffsetFetchRequest::default()
    };
    assert_eq!(
        golden(ApiKey::OffsetFetch, 10),
        Request::OffsetFetch(expected)
    );
    let expected = DeleteGroupsRequest {
        groups_names: vec![Str::from_static("g"), Str::from_static("h")],
    };
    assert_eq!(
        golden(ApiKey::DeleteGroups, 3),
        Request::DeleteGroups(expected)
    );
}

#[test]
fn a_member_joins_with_a_subscription_and_the_leader_hands_in_assignments() {
    let Request::JoinGroup(join) = golden(ApiKey::JoinGroup, 9) else {
        panic!("a request to join");
    };
    assert_eq!(
        (&*join.protocols[0].name, join.protocols.len()),
        ("range", 1)
    );
    let expected = ConsumerProtocolSubscription {
        topics: vec![Str::from_static("t")],
        ..ConsumerProtocolSubscription::default()
    };
    assert_eq!(
        ConsumerProtocolSubscription::from_bytes(&join.protocols[0].metadata),
        Ok(expected)
    );

    let Request::SyncGroup(sync) = golden(ApiKey::SyncGroup, 5) else {
        panic!("a request with assignments");
    };
    let expected = ConsumerProtocolAssignment {
        assigned_partitions: vec![TopicPartition {
            topic: Str::from_static("t"),
            partitions: vec![0],
        }],
        user_data: None,
    };
    assert_eq!(&*sync.assignments[0].member_id, "m-1");
    assert_eq!(
        ConsumerProtocolAssignment::from_bytes(&sync.assignments[0].assignment),
        Ok(expected)
    );
}

#[test]
fn produced_batches_come_out_whole() {
    for (version, acks) in [(7, 1), (9, -1)] {
        let Request::Produce(request) = golden(ApiKey::Produce, version) else {
            panic!("a produce request");
        };
        let partition = &request.topic_data[0].partition_data[0];
        let records = partition.records.as_ref().expect("records").to_bytes();
        let batch_length = i32::from_be_bytes(records[8..12].try_into().expect("four bytes"));
        assert_eq!(usize::try_from(batch_length), Ok(records.len() - 12));
        assert_eq!(
            (request.acks, partition.index, records[16]),
            (acks, 0, 2),
            "magic 2"
        );
    }
}
