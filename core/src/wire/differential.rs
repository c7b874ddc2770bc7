//! Every message against `kafka-protocol`, which is generated from Kafka's own schemas: both must write the same
//! bytes, read each other's, and find the same values in the same fields.
//!
//! Its `Debug` text names structs and fields as the schema does, so comparing it with ours also finds two fields
//! of one type that stand in each other's place, which no comparison of bytes can.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages;
use kafka_protocol::protocol::{Decodable, Encodable};
use proptest::prelude::*;

use super::api::for_each_api;
use super::tests::{sample, tape, versions};
use super::*;
use crate::ids::TopicId;

fn theirs_to_body<T: Encodable>(message: &T, version: i16) -> Bytes {
    let mut body = BytesMut::new();
    message
        .encode(&mut body, version)
        .unwrap_or_else(|error| panic!("kafka-protocol cannot write version {version}: {error}"));
    body.freeze()
}

fn agree<Ours, Theirs>(tape: &[u8], mark: fn(&mut Theirs))
where
    Ours: Message + Clone + Debug + PartialEq,
    Theirs: Decodable + Encodable + Debug + kafka_protocol::protocol::Message,
{
    let common = Theirs::VERSIONS;
    let mut compared = 0;
    for version in versions::<Ours>().filter(|v| (common.min..=common.max).contains(v)) {
        compared += 1;
        let name = format!("{} version {version}", Ours::NAME);
        let ours: Ours = sample(tape.to_vec(), version);
        let body = ours
            .to_body(version)
            .expect("sampled at this version")
            .to_bytes();

        let mut unread = body.clone();
        let mut theirs = Theirs::decode(&mut unread, version)
            .unwrap_or_else(|error| panic!("{name} does not read {ours:?}: {error}"));
        assert!(unread.is_empty(), "{name} leaves bytes of {ours:?}");
        assert_eq!(words_of_ours(&ours), words_of_theirs(&theirs), "{name}");

        let again = theirs_to_body(&theirs, version);
        assert_eq!(body, again, "{name} is written otherwise: {ours:?}");
        assert_eq!(
            Ours::from_body(&again, version).as_ref(),
            Ok(&ours),
            "{name}"
        );

        if version >= Ours::FLEXIBLE_FROM {
            mark(&mut theirs);
            let marked = theirs_to_body(&theirs, version);
            assert!(marked.len() > body.len());
            assert_eq!(
                Ours::from_body(&marked, version).as_ref(),
                Ok(&ours),
                "{name} trips over a tagged field it does not know"
            );
        }
    }
    assert!(compared > 0, "{} has no version in common", Ours::NAME);
}

/// Words, numbers, quoted strings and punctuation of a `Debug` text.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let mut word = String::from(char);
        if char == '"' {
            while let Some(next) = chars.next() {
                word.push(next);
                match next {
                    '\\' => word.extend(chars.next()),
                    '"' => break,
                    _ => {}
                }
            }
        } else if is_of_word(char) {
            while let Some(next) = chars.next_if(|&next| is_of_word(next)) {
                word.push(next);
            }
        } else if char == ' ' {
            continue;
        }
        words.push(word);
    }
    words
}

fn is_of_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_' || char == '-'
}

fn replace(words: &mut Vec<String>, from: &[&str], to: &[&str]) {
    let mut place = 0;
    while place + from.len() <= words.len() {
        if words[place..place + from.len()] == *from {
            words.splice(
                place..place + from.len(),
                to.iter().map(ToString::to_string),
            );
            place += to.len();
        } else {
            place += 1;
        }
    }
}

/// `Wrapper(value)` becomes `value`.
fn unwrap(words: &mut Vec<String>, wrapper: &str, map: impl Fn(&str) -> String) {
    while let Some(place) = words.iter().position(|word| word == wrapper) {
        let inner = map(&words[place + 2]);
        words.splice(place..place + 4, [inner]);
    }
}

fn words_of_ours(message: &impl Debug) -> Vec<String> {
    let mut words = words(&format!("{message:?}"));
    for uuid in ["TopicId", "DirectoryId"] {
        unwrap(&mut words, uuid, |text| {
            let id: TopicId = text.parse().expect("printed as an id");
            let hex = format!("{:032x}", id.0);
            [
                &hex[..8],
                &hex[8..12],
                &hex[12..16],
                &hex[16..20],
                &hex[20..],
            ]
            .join("-")
        });
    }
    for place in 2..words.len() {
        if words[place - 2].ends_with("error_code") {
            let code = ErrorCode::ALL
                .iter()
                .find(|code| format!("{code:?}") == words[place])
                .expect("every code is in the list of codes");
            words[place] = code.code().to_string();
        }
    }
    absent_is_null(&mut words);
    // Fields of a version that is newer than their schemas (KIP-1242, KIP-1331).
    if words[0] == "ApiVersionsRequest" {
        let newer = [",", "cluster_id", ":", "None", ",", "node_id", ":", "-1"];
        replace(&mut words, &newer, &[]);
    }
    if words[0] == "DeleteGroupsResponse" {
        replace(&mut words, &[",", "error_message", ":", "None"], &[]);
    }
    // Neither payload nor its size: the bytes have been compared.
    while let Some(place) = words.iter().position(|word| word == "Records") {
        words.splice(place..place + 5, [String::from("RECORDS")]);
    }
    words
}

fn words_of_theirs(message: &impl Debug) -> Vec<String> {
    let mut words = words(&format!("{message:?}"));
    replace(
        &mut words,
        &[",", "unknown_tagged_fields", ":", "{", "}"],
        &[],
    );
    // Fields of a version that Kafka has not released.
    for unreleased in ["keep_prepared_txn", "enable_2_pc"] {
        replace(&mut words, &[",", unreleased, ":", "false"], &[]);
    }
    for unreleased in ["ongoing_txn_producer_id", "ongoing_txn_producer_epoch"] {
        replace(&mut words, &[",", unreleased, ":", "-1"], &[]);
    }
    for newtype in [
        "BrokerId",
        "GroupId",
        "TopicName",
        "TransactionalId",
        "ProducerId",
    ] {
        unwrap(&mut words, newtype, str::to_owned);
    }
    let records = ["records", ":", "Some", "(", "b"];
    while let Some(place) = words
        .windows(records.len())
        .position(|five| five == records)
    {
        words.splice(place + 4..place + 6, [String::from("RECORDS")]);
    }
    absent_is_null(&mut words);
    words
}

/// Where a version does not carry a nullable field, some of Kafka's defaults are empty and ours are null. That
/// what is carried is not mixed up so, the comparison of bytes sees.
fn absent_is_null(words: &mut Vec<String>) {
    replace(words, &["Some", "(", "\"\"", ")"], &["None"]);
    replace(words, &["Some", "(", "[", "]", ")"], &["None"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_message_is_the_one_of_kafkas_schema_at_every_version(tape in tape()) {
        macro_rules! check {
            // It has no flexible version, so no tagged field can stand in it.
            (OffsetDelete, $module:ident, $request:ident, $response:ident) => {
                agree::<$module::$request, messages::$request>(&tape, |_| {});
                agree::<$module::$response, messages::$response>(&tape, |_| {});
            };
            ($name:ident, $module:ident, $request:ident, $response:ident) => {
                agree::<$module::$request, messages::$request>(&tape, |message| {
                    message.unknown_tagged_fields.insert(1_000, Bytes::from_static(b"later"));
                });
                agree::<$module::$response, messages::$response>(&tape, |message| {
                    message.unknown_tagged_fields.insert(1_000, Bytes::from_static(b"later"));
                });
            };
        }
        for_each_api!(check);
    }

    #[test]
    fn what_consumers_say_to_each_other_is_the_one_of_kafkas_schema_at_every_version(tape in tape()) {
        agree::<ConsumerProtocolSubscription, messages::ConsumerProtocolSubscription>(&tape, |_| {});
        agree::<ConsumerProtocolAssignment, messages::ConsumerProtocolAssignment>(&tape, |_| {});
    }
}

/// The newest error of `kafka-protocol`; Kafka 4.4 has some more.
const NEWEST_OF_THEIRS: i16 = 133;

#[test]
fn error_codes_are_those_of_kafka() {
    for &code in ErrorCode::ALL {
        assert_eq!(ErrorCode::from_code(code.code()), Some(code));
        let Some(theirs) = ResponseError::try_from_code(code.code()) else {
            assert_eq!(code, ErrorCode::None);
            continue;
        };
        assert_eq!(
            code.name().replace('_', ""),
            format!("{code:?}").to_uppercase()
        );
        if code.code() > NEWEST_OF_THEIRS {
            assert!(matches!(theirs, ResponseError::Unknown(_)));
            continue;
        }
        assert_eq!(format!("{code:?}"), format!("{theirs:?}"));
        // Kafka has made this one retriable since (KIP-890); its own table knows.
        let retriable = theirs.is_retriable() || code == ErrorCode::ConcurrentTransactions;
        assert_eq!(code.is_retriable(), retriable, "{code}");
    }
    assert_eq!(
        ErrorCode::NotLeaderOrFollower.name(),
        "NOT_LEADER_OR_FOLLOWER"
    );
}

#[test]
fn headers_are_those_of_kafka_at_every_version() {
    for &api_key in ApiKey::ALL {
        let theirs_key =
            messages::ApiKey::try_from(api_key.code()).expect("Kafka has every API of ours");
        assert_eq!(format!("{theirs_key:?}"), api_key.name());
        let (first, last) = api_key.versions();
        for version in first..=last {
            // A version that is younger than `kafka-protocol` (ListOffsets 11) has the header of the one before.
            let theirs_version = version.min(theirs_key.valid_versions().max);
            let request_header = theirs_key.request_header_version(theirs_version);
            assert_eq!(
                api_key.is_flexible(version),
                request_header == 2,
                "{api_key:?} {version}"
            );
            let header = RequestHeader {
                api_key,
                api_version: version,
                correlation_id: 0x0102_0304,
                client_id: Some(Str::from_static("client")),
            };
            let theirs = messages::RequestHeader::default()
                .with_request_api_key(api_key.code())
                .with_request_api_version(version)
                .with_correlation_id(0x0102_0304)
                .with_client_id(Some("client".into()));
            let theirs = theirs_to_body(&theirs, request_header);
            assert_eq!(
                frame::request_header_bytes(&header),
                theirs,
                "{api_key:?} {version}"
            );

            let theirs = messages::ResponseHeader::default().with_correlation_id(0x0102_0304);
            let response_header = theirs_key.response_header_version(theirs_version);
            let theirs = theirs_to_body(&theirs, response_header);
            assert_eq!(
                frame::response_header_bytes(0x0102_0304, api_key, version),
                theirs,
                "{api_key:?} {version}"
            );
        }
    }
}
