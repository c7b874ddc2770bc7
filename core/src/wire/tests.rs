//! Claims about the codec.

use std::fmt::Debug;

use bytes::{Buf as _, Bytes};
use proptest::prelude::*;

use super::api::for_each_api;
use super::field::At;
use super::metadata::{MetadataResponsePartition, MetadataResponseTopic};
use super::produce::{PartitionProduceData, TopicProduceData};
use super::sample::Tape;
use super::*;
use crate::cluster::AdminRequest;
use crate::peer::{ForwardedRequest, ForwardedResponse, Newer};

/// A message of this version, drawn from the tape.
pub(super) fn sample<M: Message>(tape: Vec<u8>, version: i16) -> M {
    let at = At {
        version,
        flexible: version >= M::FLEXIBLE_FROM,
    };
    M::sample(&mut Tape::new(tape), at, false)
}

pub(super) fn versions<M: Message>() -> std::ops::RangeInclusive<i16> {
    M::VERSION_MIN..=M::VERSION_MAX
}

pub(super) fn tape() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..400)
}

/// One request and one response of every API at every version, drawn from the tape.
pub(super) fn all_samples(tape: &[u8]) -> Vec<(i16, Request, Response)> {
    let mut all = Vec::new();
    macro_rules! draw {
        ($name:ident, $module:ident, $request:ident, $response:ident) => {
            for version in versions::<$module::$request>() {
                let request: $module::$request = sample(tape.to_vec(), version);
                let response: $module::$response = sample(tape.to_vec(), version);
                all.push((version, Request::from(request), Response::from(response)));
            }
        };
    }
    for_each_api!(draw);
    all
}

fn header(request: &Request, api_version: i16) -> RequestHeader {
    RequestHeader {
        api_key: request.api_key(),
        api_version,
        correlation_id: 7,
        client_id: Some(Str::from_static("client")),
    }
}

/// The frame as a connection hands it on: without its length, which must have been right.
fn unframed(segments: &Segments) -> Bytes {
    let mut frame = segments.to_bytes();
    assert_eq!(frame.len(), segments.len());
    assert_eq!(usize::try_from(frame.get_i32()), Ok(frame.len()));
    frame
}

fn reads_back_what_it_writes<M: Message + Clone + Debug + PartialEq>(tape: &[u8]) {
    for version in versions::<M>() {
        let name = format!("{} version {version}", M::NAME);
        let message: M = sample(tape.to_vec(), version);
        let body = message
            .to_body(version)
            .expect("sampled at this version")
            .to_bytes();
        assert_eq!(
            M::from_body(&body, version).as_ref(),
            Ok(&message),
            "{name}"
        );
        for cut in 0..body.len() {
            assert!(
                M::from_body(&body.slice(..cut), version).is_err(),
                "{name} is whole after {cut} bytes"
            );
        }
        let longer = [&body[..], &[0]].concat();
        assert_eq!(
            M::from_body(&Bytes::from(longer), version),
            Err(DecodeError::TrailingBytes),
            "{name}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_message_reads_back_at_every_version_and_no_prefix_of_it_is_one(tape in tape()) {
        macro_rules! check {
            ($name:ident, $module:ident, $request:ident, $response:ident) => {
                reads_back_what_it_writes::<$module::$request>(&tape);
                reads_back_what_it_writes::<$module::$response>(&tape);
            };
        }
        for_each_api!(check);
        reads_back_what_it_writes::<ConsumerProtocolSubscription>(&tape);
        reads_back_what_it_writes::<ConsumerProtocolAssignment>(&tape);
    }

    #[test]
    fn every_frame_reads_back(tape in tape()) {
        for (version, request, response) in all_samples(&tape) {
            let header = header(&request, version);
            let frame = unframed(&encode_request(&header, &request).expect("sampled so"));
            prop_assert_eq!(decode_request(&frame), Ok((header, request)));

            let frame = unframed(&encode_response(7, version, &response).expect("sampled so"));
            prop_assert_eq!(
                decode_response(response.api_key(), version, &frame),
                Ok((7, response))
            );
        }
    }

    /// Whatever a damaged frame is taken for, it is something that can be said: no decoder makes up a value
    /// that its own encoder refuses.
    #[test]
    fn damaged_frames_are_refused_or_read_as_other_messages(
        tape in tape(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let damaged = |frame: Bytes| {
            let mut bytes = frame.to_vec();
            for (place, byte) in &damage {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
            }
            Bytes::from(bytes)
        };
        for (version, request, response) in all_samples(&tape) {
            let segments = encode_request(&header(&request, version), &request).expect("sampled so");
            if let Ok((header, request)) = decode_request(&damaged(unframed(&segments))) {
                let frame = unframed(&encode_request(&header, &request).expect("it was read"));
                prop_assert_eq!(decode_request(&frame), Ok((header, request)));
            }
            let api_key = response.api_key();
            let segments = encode_response(7, version, &response).expect("sampled so");
            if let Ok((id, response)) = decode_response(api_key, version, &damaged(unframed(&segments))) {
                let frame = unframed(&encode_response(id, version, &response).expect("it was read"));
                prop_assert_eq!(decode_response(api_key, version, &frame), Ok((id, response)));
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_read(
        key in 0i16..80,
        version in 0i16..20,
        rest in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(2), Just(255), any::<u8>()], 0..200),
    ) {
        let frame: Vec<u8> = [&key.to_be_bytes()[..], &version.to_be_bytes(), &rest].concat();
        if let Ok((header, request)) = decode_request(&Bytes::from(frame)) {
            prop_assert!(encode_request(&header, &request).is_ok());
        }
        if let Some(api_key) = ApiKey::from_code(key)
            && let Ok((id, response)) = decode_response(api_key, version, &Bytes::from(rest))
        {
            prop_assert!(encode_response(id, version, &response).is_ok());
        }
    }

    #[test]
    fn a_forwarded_request_and_its_response_read_back_at_every_version(tape in tape()) {
        let config = bincode::config::standard();
        for (api_version, request, response) in all_samples(&tape) {
            let response = ForwardedResponse { api_version, response: Some(response) };
            let bytes = bincode::encode_to_vec(&response, config).expect("it can be forwarded");
            let read = bincode::decode_from_slice(&bytes, config).expect("it was forwarded");
            prop_assert_eq!(read, (response, bytes.len()));
            let Ok(request) = AdminRequest::try_from(request) else {
                continue;
            };
            let request = ForwardedRequest {
                api_version,
                client_id: Some("admin-1".to_owned()),
                client_host: Newer::default(),
                request: Some(request),
            };
            let bytes = bincode::encode_to_vec(&request, config).expect("it can be forwarded");
            let read = bincode::decode_from_slice(&bytes, config).expect("it was forwarded");
            prop_assert_eq!(read, (request, bytes.len()));
        }
    }

    #[test]
    fn segments_are_one_buffer_however_they_are_consumed(
        lens in prop::collection::vec(0usize..600, 0..6),
        steps in prop::collection::vec(1usize..300, 0..40),
    ) {
        let records: Records = lens.iter().map(|&len| Bytes::from(vec![b'r'; len])).collect();
        let mut segments = produce_request(records).to_body(9).expect("version 9 is there");
        let whole = segments.to_bytes();
        let mut seen = Vec::new();
        for step in steps.into_iter().chain(std::iter::repeat(1_000)) {
            if !segments.has_remaining() {
                break;
            }
            let mut slices = [std::io::IoSlice::new(&[]); 4];
            let filled = segments.chunks_vectored(&mut slices);
            prop_assert_eq!(&*slices[0], segments.chunk());
            prop_assert!(slices[..filled].iter().all(|slice| !slice.is_empty()));
            let step = step.min(segments.remaining());
            seen.extend_from_slice(&segments.copy_to_bytes(step));
        }
        prop_assert_eq!(whole, seen);
    }
}

/// A produce request for one partition of one topic.
fn produce_request(records: Records) -> ProduceRequest {
    ProduceRequest {
        acks: -1,
        timeout_ms: 1_500,
        topic_data: vec![TopicProduceData {
            name: Str::from_static("varves"),
            partition_data: vec![PartitionProduceData {
                index: 3,
                records: Some(records),
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[test]
fn records_are_slices_of_the_frame_in_and_pieces_of_the_frame_out() {
    let pieces = [Bytes::from(vec![1; 5_000]), Bytes::from(vec![2; 3_000])];
    let request = produce_request(pieces.iter().cloned().collect());
    let segments = request.to_body(9).expect("version 9 is there");
    for piece in &pieces {
        assert!(
            segments
                .iter()
                .any(|segment| segment.as_ptr() == piece.as_ptr()),
            "records were copied on their way out"
        );
    }
    let body = segments.to_bytes();
    let read = ProduceRequest::from_body(&body, 9).expect("it was written");
    assert_eq!(read, request);
    let records = read.topic_data[0].partition_data[0].records.as_ref();
    let piece = records.and_then(|records| records.pieces().next());
    let start = piece.expect("there are records").as_ptr();
    assert!(
        body.as_ptr_range().contains(&start),
        "records were copied on their way in"
    );
}

/// The request that aborts a process that reserves what it is told to (12 bytes of body, 2 GiB of topics).
#[test]
fn an_array_longer_than_its_frame_is_refused_before_room_is_made() {
    let body = Bytes::from_static(&[
        0xff, 0xff, 0xff, 0xff, 0, 0, 5, 0xdc, 0x7f, 0xff, 0xff, 0xff,
    ]);
    assert_eq!(
        ProduceRequest::from_body(&body, 3),
        Err(DecodeError::Truncated)
    );
}

#[test]
fn what_a_version_cannot_carry_is_dropped_if_kafka_ignores_it_and_refused_otherwise() {
    let mut request = FetchRequest {
        rack_id: Str::from_static("a"),
        ..Default::default()
    };
    let plain = FetchRequest::default().to_body(4);
    assert_eq!(request.to_body(4), plain);

    request.topics = vec![fetch::FetchTopic {
        partitions: vec![fetch::FetchPartition {
            last_fetched_epoch: 5,
            ..Default::default()
        }],
        ..Default::default()
    }];
    assert_eq!(
        request.to_body(11),
        Err(EncodeError::NotCarried {
            message: "FetchPartition",
            field: "last_fetched_epoch",
            version: 11
        })
    );
    assert!(request.to_body(12).is_ok());

    let all_topics = MetadataRequest::default();
    assert_eq!(all_topics.to_body(0), Err(EncodeError::UnexpectedNull));
    assert_eq!(
        all_topics.to_body(14),
        Err(EncodeError::UnsupportedVersion {
            message: "MetadataRequest",
            version: 14
        })
    );
}

#[test]
fn what_cannot_be_written_is_refused() {
    let long = Str::from("x".repeat(40_000));
    let mut request = produce_request(Records::empty());
    request.topic_data[0].name = long;
    assert_eq!(request.to_body(8), Err(EncodeError::TooLong));
    assert!(
        request.to_body(9).is_ok(),
        "flexible versions have no such limit"
    );
}

/// Starts of frames: key, version, correlation id 7, client id "x".
fn frame(key: i16, version: i16, rest: &[u8]) -> Bytes {
    [
        &key.to_be_bytes()[..],
        &version.to_be_bytes(),
        &[0, 0, 0, 7, 0, 1, b'x'],
        rest,
    ]
    .concat()
    .into()
}

#[test]
fn a_request_that_cannot_be_served_says_why() {
    assert_eq!(
        decode_request(&frame(4, 0, &[])),
        Err(RequestError::UnknownApiKey {
            api_key: 4,
            api_version: 0,
            correlation_id: 7
        })
    );
    let header = |api_key, api_version| RequestHeader {
        api_key,
        api_version,
        correlation_id: 7,
        client_id: Some(Str::from_static("x")),
    };
    for (api_key, api_version) in [
        (ApiKey::ApiVersions, 6),
        (ApiKey::ApiVersions, -1),
        (ApiKey::Produce, 2),
        (ApiKey::Fetch, 19),
    ] {
        assert_eq!(
            decode_request(&frame(api_key.code(), api_version, &[9, 9])),
            Err(RequestError::UnsupportedVersion(header(
                api_key,
                api_version
            )))
        );
    }
    assert_eq!(
        decode_request(&frame(18, 3, &[9])),
        Err(RequestError::Malformed {
            header: Some(header(ApiKey::ApiVersions, 3)),
            error: DecodeError::Truncated
        })
    );
    assert_eq!(
        decode_request(&Bytes::from_static(&[0, 18, 0, 0])),
        Err(RequestError::Malformed {
            header: None,
            error: DecodeError::Truncated
        })
    );
    assert_eq!(
        decode_request(&Bytes::from_static(&[0, 18, 0, 0, 0, 0, 0, 1, 0, 1, 0xff])),
        Err(RequestError::Malformed {
            header: None,
            error: DecodeError::InvalidUtf8
        })
    );
}

#[test]
fn a_request_asks_about_a_bounded_number_of_things_at_once_and_an_answer_tells_of_any() {
    let request = |partitions: usize| {
        let topic = |at| TopicProduceData {
            name: if at == 0 { "a".into() } else { "b".into() },
            partition_data: vec![PartitionProduceData::default(); partitions / 2],
            ..TopicProduceData::default()
        };
        let request = Request::from(ProduceRequest {
            topic_data: (0..2).map(topic).collect(),
            ..ProduceRequest::default()
        });
        let header = RequestHeader {
            api_key: ApiKey::Produce,
            api_version: 9,
            correlation_id: 7,
            client_id: None,
        };
        let frame = encode_request(&header, &request)
            .unwrap()
            .to_bytes()
            .slice(4..);
        decode_request(&frame)
    };
    // Two topics count as well.
    assert!(request(REQUEST_ELEMENTS_MAX - 2).is_ok());
    let refused = request(REQUEST_ELEMENTS_MAX).unwrap_err();
    assert!(matches!(
        refused,
        RequestError::Malformed {
            header: Some(_),
            error: DecodeError::TooManyElements
        }
    ));
    assert!(
        refused.to_string().contains("more than 100000 elements"),
        "{refused}"
    );
    let partition = MetadataResponsePartition::default();
    let topic = MetadataResponseTopic {
        name: Some("t".into()),
        partitions: vec![partition; REQUEST_ELEMENTS_MAX + 1],
        ..MetadataResponseTopic::default()
    };
    let response = MetadataResponse {
        topics: vec![topic],
        ..MetadataResponse::default()
    };
    let body = response.to_body(9).unwrap().to_bytes();
    assert_eq!(MetadataResponse::from_body(&body, 9), Ok(response));
}

/// KIP-511: a client that asks in a version of the future is told, in version 0, which versions there are.
#[test]
fn the_answer_to_an_unknown_api_versions_is_written_in_version_0() {
    let response = Response::from(ApiVersionsResponse::unsupported_version());
    let segments = encode_response(7, 0, &response).expect("every answer has a version 0");
    assert_eq!(
        segments.to_bytes(),
        [
            0, 0, 0, 16, // length
            0, 0, 0, 7, // correlation id; no tagged fields follow
            0, 35, // UNSUPPORTED_VERSION
            0, 0, 0, 1, // one API:
            0, 18, 0, 0, 0, 5, // ApiVersions 0 to 5
        ][..]
    );
}

#[test]
fn api_versions_is_answered_without_tagged_fields_in_the_header_at_every_version() {
    for version in versions::<ApiVersionsResponse>() {
        let response = Response::from(ApiVersionsResponse::of_all_served());
        let frame = unframed(&encode_response(7, version, &response).expect("a version we serve"));
        assert_eq!(
            frame[..6],
            [0, 0, 0, 7, 0, 0],
            "id and NONE, nothing between"
        );
        let read = decode_response(ApiKey::ApiVersions, version, &frame);
        assert_eq!(read, Ok((7, response)));
    }
}

#[test]
fn what_clients_are_told_is_what_can_be_read_but_for_old_versions_of_produce() {
    for range in SERVED {
        let (first, last) = range.api_key.versions();
        assert_eq!(range.max_version, last, "{}", range.api_key.name());
        if range.api_key == ApiKey::Produce {
            assert_eq!((range.min_version, first), (0, 3));
        } else {
            assert_eq!(range.min_version, first, "{}", range.api_key.name());
        }
        assert_eq!(served_versions(range.api_key), Some(*range));
    }
    let keys: Vec<_> = ApiKey::ALL.iter().map(|key| key.code()).collect();
    assert!(keys.is_sorted());
    assert!(
        ApiKey::ALL
            .iter()
            .all(|&key| ApiKey::from_code(key.code()) == Some(key)),
        "a key has one number"
    );
}

#[test]
fn varints_end_within_five_bytes_and_32_bits() {
    let read = |bytes: &'static [u8]| {
        let frame = Bytes::from_static(bytes);
        read::Reader::new(&frame).uvarint()
    };
    assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Ok(u32::MAX));
    assert_eq!(
        read(&[0xff, 0xff, 0xff, 0xff, 0x1f]),
        Err(DecodeError::InvalidVarint)
    );
    assert_eq!(
        read(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]),
        Err(DecodeError::InvalidVarint)
    );
    assert_eq!(read(&[0x80]), Err(DecodeError::Truncated));
    for value in [0, 1, 127, 128, 16_383, 16_384, u32::MAX] {
        let mut writer = write::Writer::default();
        writer.uvarint(value);
        let bytes = writer.finish().to_bytes();
        assert_eq!(read::Reader::new(&bytes).uvarint(), Ok(value));
    }
}

#[test]
fn an_array_has_a_million_elements_at_most() {
    // No error; APIs of three numbers each.
    let read = |len: usize| {
        let length = u32::try_from(len).unwrap().to_be_bytes();
        let body = Bytes::from([&[0, 0], &length[..], &vec![0; 6 * len]].concat());
        ApiVersionsResponse::from_body(&body, 0).map(|response| response.api_keys.len())
    };
    assert_eq!(read(read::ARRAY_ELEMENTS_MAX), Ok(1_000_000));
    assert_eq!(
        read(read::ARRAY_ELEMENTS_MAX + 1),
        Err(DecodeError::ArrayTooLong)
    );
}

#[test]
fn a_struct_has_ten_thousand_tagged_fields_at_most() {
    let fields = |count: u32| {
        let mut writer = write::Writer::default();
        writer.uvarint(count);
        for _ in 0..count {
            writer.put(&[0x7f, 0]);
        }
        writer.finish().to_bytes()
    };
    let nothing = MetadataRequest::default().to_body(9).unwrap().to_bytes();
    let in_body = |count| {
        // Its own end is the number of tagged fields, which is none.
        let body = [&nothing[..nothing.len() - 1], &fields(count)].concat();
        MetadataRequest::from_body(&Bytes::from(body), 9).map(|_| ())
    };
    let in_header = |count| {
        let header = [0, 3, 0, 9, 0, 0, 0, 7, 0xff, 0xff];
        let frame = [&header[..], &fields(count), &nothing].concat();
        decode_request(&Bytes::from(frame)).map(|_| ())
    };
    assert_eq!(in_body(10_000), Ok(()));
    assert_eq!(in_body(10_001), Err(DecodeError::TooManyTaggedFields));
    assert_eq!(in_header(10_000), Ok(()));
    assert!(matches!(
        in_header(10_001),
        Err(RequestError::Malformed {
            error: DecodeError::TooManyTaggedFields,
            ..
        })
    ));
}

#[test]
fn a_tagged_field_that_is_shorter_than_its_size_is_refused() {
    // No error, no APIs, no throttling; one tagged field, number 1 (an i64), of nine bytes.
    let body = Bytes::from_static(&[0, 0, 1, 0, 0, 0, 0, 1, 1, 9, 0, 0, 0, 0, 0, 0, 0, 5, 0]);
    assert_eq!(
        ApiVersionsResponse::from_body(&body, 3),
        Err(DecodeError::InvalidTaggedField)
    );
}

/// `hint` in a declaration: an answer to an old client says less rather than nothing.
#[test]
fn leader_hints_are_left_out_of_versions_that_have_no_place_for_them() {
    let mut response = ListOffsetsResponse {
        topics: vec![list_offsets::ListOffsetsTopicResponse {
            partitions: vec![list_offsets::ListOffsetsPartitionResponse::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    let without = response.clone();
    response.topics[0].partitions[0].leader_epoch = 4;
    assert_eq!(response.to_body(3), without.to_body(3));
    assert_ne!(response.to_body(4), without.to_body(4));

    let mut response = ProduceResponse {
        responses: vec![produce::TopicProduceResponse {
            partition_responses: vec![produce::PartitionProduceResponse::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    let without = response.clone();
    response.responses[0].partition_responses[0]
        .current_leader
        .leader_id = 2;
    response.node_endpoints = vec![produce::NodeEndpoint::default()];
    assert_eq!(response.to_body(9), without.to_body(9));
    assert_ne!(response.to_body(10), without.to_body(10));
}

/// Version 3 is younger than `kafka-protocol`. The bytes are those of Kafka's own class.
#[test]
fn why_a_group_is_not_deleted_is_said_in_words_from_version_3_on() {
    let response = DeleteGroupsResponse {
        results: vec![delete_groups::DeletableGroupResult {
            group_id: "g".into(),
            error_code: ErrorCode::NonEmptyGroup,
            error_message: Some("why".into()),
        }],
        ..DeleteGroupsResponse::default()
    };
    let head = [0, 0, 0, 0, 2, 2, b'g', 0, 68];
    assert_eq!(
        response.to_body(3).unwrap().to_bytes(),
        [&head[..], &[4], b"why", &[0, 0]].concat()
    );
    assert_eq!(
        response.to_body(2).unwrap().to_bytes(),
        [&head[..], &[0, 0]].concat()
    );
}
