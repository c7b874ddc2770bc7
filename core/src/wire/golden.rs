//! Frames that real clients sent, byte for byte, without their four length bytes.

use bytes::Bytes;

use super::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use super::metadata::MetadataRequestTopic;
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
        hex: "001600040000000200116c696272646b61666b612d676f6c64656e0000ffffffffffffffffffffffffffff00",
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
