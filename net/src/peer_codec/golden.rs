//! What every released version of the peer protocol looks like, byte for byte.
//!
//! A file of `golden/` has one message a line, its name and its frame without the length, and is never changed once the
//! version has been released: what another build has written must be read as it was meant. A new version adds a file, and
//! a new message a line to that of the newest version.

use std::fmt::Write as _;
use std::time::Duration;

use varve_core::cluster::{AdminRequest, BrokerRegistration, Endpoint, VoterReport};
use varve_core::ids::{
    BrokerId, ClusterId, DirectoryId, Incarnation, LeaderEpoch, LogClock, Offset, PartitionIndex,
    ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition, Voter,
};
use varve_core::log::{Note, NoteKind, Position};
use varve_core::peer::{
    Append, AppendReply, ControllerRequest, ControllerResponse, Decision, Denial, DirectoryState,
    ForwardedRequest, ForwardedResponse, Heartbeat, LeaderAndIsr, LeadershipRound, Newer,
    PeerAddresses, PeerIdentity, PeerVersions, ReadIndex, ReadIndexReply, ReleaseRequest,
    ReplicaMessage, VoteRefusal, VoteReply, VoteRequest,
};
use varve_core::record::BatchHeader;
use varve_core::store::{Flush, VoterChange};
use varve_core::time::Instant;
use varve_core::wire::{DeleteTopicsRequest, DeleteTopicsResponse};

use super::*;

const GOLDEN: &[(PeerVersion, &str)] = &[
    (PeerVersion(9), include_str!("golden/version_9.txt")),
    (PeerVersion(10), include_str!("golden/version_10.txt")),
];

const HELLOS: &str = include_str!("golden/hellos.txt");

#[test]
fn every_message_of_every_released_version_is_read_and_written_as_it_was() {
    let released: Vec<u16> = GOLDEN.iter().map(|(version, _)| version.0).collect();
    let spoken = PeerVersions::SUPPORTED.oldest.0..=PeerVersions::SUPPORTED.newest.0;
    assert_eq!(released, spoken.collect::<Vec<_>>());
    for &(version, golden) in GOLDEN {
        let mut written = String::new();
        for (name, message) in messages() {
            let mut segments = VecDeque::new();
            encode_message(message.clone(), version, &mut segments);
            let frame: Bytes = segments.into_iter().flatten().skip(4).collect();
            writeln!(written, "{name} {}", hex(&frame)).unwrap();
            let read = decode_message(frame, version).unwrap();
            assert_eq!(
                read,
                message.for_version(version),
                "{name}, version {version}"
            );
        }
        assert_eq!(
            golden, written,
            "version {version}; written now:\n{written}"
        );
    }
}

#[test]
fn greetings_are_read_and_written_as_they_were() {
    let versions = PeerVersions {
        oldest: PeerVersion(9),
        newest: PeerVersion(10),
    };
    let identity = PeerIdentity {
        cluster: Some(ClusterId(7)),
        broker: BrokerId(2),
        directory: DirectoryId(12),
        incarnation: Incarnation(3),
    };
    let hello = Hello {
        versions,
        identity,
        expects: Some(BrokerId(1)),
    };
    let mut written = String::new();
    let frame = encode_hello(&hello).slice(4..);
    assert_eq!(decode_hello(&frame).unwrap(), hello);
    writeln!(written, "Hello {}", hex(&frame)).unwrap();
    for (name, reply) in [
        ("Welcome", HelloReply::Welcome(identity)),
        ("Refused", HelloReply::Refused("no".to_owned())),
        ("Duplicate", HelloReply::Duplicate("twice".to_owned())),
    ] {
        let frame = encode_hello_reply(versions, &reply).slice(4..);
        assert_eq!(decode_hello_reply(&frame).unwrap(), (versions, reply));
        writeln!(written, "{name} {}", hex(&frame)).unwrap();
    }
    assert_eq!(HELLOS, written, "written now:\n{written}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

fn partition() -> TopicPartition {
    TopicPartition {
        topic: TopicId(0x0102_0304),
        partition: PartitionIndex(5),
    }
}

fn voter(broker: i32) -> Voter {
    Voter {
        broker: BrokerId(broker),
        directory: DirectoryId(broker.unsigned_abs().into()),
    }
}

fn position(epoch: i32, end: i64, notes: u64) -> Position {
    Position {
        leader_epoch: LeaderEpoch(epoch),
        end_offset: Offset(end),
        notes,
    }
}

fn batch() -> Batch {
    let body = Bytes::from_static(b"records");
    let mut header = BatchHeader {
        base_offset: Offset(300),
        body_length: 7,
        leader_epoch: LeaderEpoch(3),
        crc: 0,
        attributes: 0,
        last_offset_delta: 1,
        base_timestamp: Timestamp(1_700_000_000_000),
        max_timestamp: Timestamp(1_700_000_000_001),
        producer_id: ProducerId(4),
        producer_epoch: ProducerEpoch(1),
        base_sequence: 9,
        record_count: 2,
    };
    let covered = crc32c::crc32c(&header.to_bytes()[21..]);
    header.crc = crc32c::crc32c_append(covered, &body);
    Batch { header, body }
}

fn note(kind: NoteKind) -> Entry {
    Entry::Note(Note {
        leader_epoch: LeaderEpoch(3),
        offset: Offset(302),
        kind,
    })
}

/// One of every kind, with a name.
fn messages() -> Vec<(&'static str, PeerMessage)> {
    let mut messages = vec![
        (
            "Heartbeat",
            PeerMessage::Heartbeat(Heartbeat {
                sent_at: Instant(1_000_000),
                echo: Some(Instant(900_000)),
                disk_stalled: Duration::from_millis(3),
                directory: DirectoryState::Full,
            }),
        ),
        (
            "Leaders",
            PeerMessage::Leaders(vec![LeaderAndIsr {
                partition: partition(),
                leader_epoch: LeaderEpoch(3),
                leader: Some(BrokerId(1)),
                version: 2,
                isr: vec![BrokerId(1), BrokerId(2)],
            }]),
        ),
        (
            "Peers",
            PeerMessage::Peers(PeerAddresses::from([(BrokerId(1), "a:9192".to_owned())])),
        ),
        (
            "Release",
            PeerMessage::Release(ReleaseRequest {
                partition: partition(),
                leader_epoch: LeaderEpoch(3),
                metadata_offset: Offset(40),
            }),
        ),
        (
            "Released",
            PeerMessage::Released {
                partition: partition(),
                leader_epoch: LeaderEpoch(4),
                metadata_offset: Offset(40),
            },
        ),
        ("ReadIndex", PeerMessage::ReadIndex { round: 8 }),
        (
            "ReadIndexReply",
            PeerMessage::ReadIndexReply(ReadIndexReply {
                round: 8,
                leader_epoch: LeaderEpoch(3),
                leader: Some(ReadIndex {
                    end: Offset(40),
                    voters: vec![voter(1), voter(2)],
                }),
            }),
        ),
    ];
    messages.extend(controller_messages());
    messages.extend(replica_bodies().into_iter().map(|(name, body)| {
        let message = ReplicaMessage {
            partition: partition(),
            from: voter(1),
            to: voter(2),
            leader_epoch: LeaderEpoch(3),
            body,
        };
        (name, PeerMessage::Replica(message))
    }));
    messages
}

fn controller_messages() -> Vec<(&'static str, PeerMessage)> {
    let registration = BrokerRegistration {
        broker: BrokerId(2),
        directory: DirectoryId(2),
        incarnation: Incarnation(5),
        rack: Some("r1".to_owned()),
        listeners: vec![Endpoint {
            name: "clients".to_owned(),
            host: "b".to_owned(),
            port: 9092,
        }],
        peer_address: "b:9192".to_owned(),
    };
    let report = VoterReport {
        partition: partition(),
        leader_epoch: LeaderEpoch(3),
        notes: 2,
        voters: vec![voter(1), voter(2)],
    };
    let forwarded = ForwardedRequest {
        api_version: 5,
        client_id: Some("admin-1".to_owned()),
        client_host: Newer(Some("10.0.0.5".to_owned())),
        request: Some(AdminRequest::DeleteTopics(DeleteTopicsRequest {
            topic_names: vec!["orders".into()],
            timeout_ms: 7,
            ..DeleteTopicsRequest::default()
        })),
    };
    let response = ForwardedResponse {
        api_version: 5,
        response: Some(DeleteTopicsResponse::default().into()),
    };
    let requests = [
        ("Register", ControllerRequest::Register(registration)),
        ("Stopping", ControllerRequest::Stopping),
        (
            "AllocateProducerIds",
            ControllerRequest::AllocateProducerIds,
        ),
        (
            "ReportVoters",
            ControllerRequest::ReportVoters(vec![report]),
        ),
        ("Client", ControllerRequest::Client(Box::new(forwarded))),
    ];
    let decisions = [
        ("Done", Decision::Done),
        ("Refused", Decision::Refused("no".to_owned())),
        (
            "ProducerIds",
            Decision::ProducerIds(ProducerId(1000), ProducerId(2000)),
        ),
        ("Unsupported", Decision::Unsupported),
        ("ClientResponse", Decision::Client(Box::new(response))),
    ];
    let not_controller = PeerMessage::ControllerResponse {
        id: 6,
        response: ControllerResponse::NotController(Some(BrokerId(1))),
    };
    let requests = requests
        .into_iter()
        .map(|(name, request)| (name, PeerMessage::ControllerRequest { id: 6, request }));
    let decisions = decisions.into_iter().map(|(name, decision)| {
        let response = ControllerResponse::Decided {
            decision,
            metadata_end: Offset(41),
        };
        (name, PeerMessage::ControllerResponse { id: 6, response })
    });
    requests
        .chain([("NotController", not_controller)])
        .chain(decisions)
        .collect()
}

fn replica_bodies() -> Vec<(&'static str, ReplicaBody)> {
    let change = VoterChange {
        leader_epoch: LeaderEpoch(2),
        notes: 1,
        voters: vec![voter(1)],
    };
    let request = VoteRequest {
        end: position(2, 300, 3),
        lost_voter_changes: vec![change.clone()],
    };
    let reply = VoteReply {
        election: LeaderEpoch(3),
        refusal: None,
        marked: false,
        lost_voter_changes: vec![change],
    };
    let append = Append {
        previous: position(2, 300, 3),
        entries: vec![
            Entry::Batch(batch()),
            note(NoteKind::Opening { leader: voter(1) }),
            note(NoteKind::Voters(vec![voter(1), voter(2)])),
            note(NoteKind::LogStart(Offset(10))),
            note(NoteKind::ClockTick(LogClock(3))),
        ],
        committed: position(2, 299, 3),
        leader_end: position(3, 302, 7),
        flush: Flush::Replicated,
        probe: true,
    };
    let matched = AppendReply::Matched {
        verified: position(3, 302, 7),
        appended: position(3, 302, 7),
        durable: position(2, 300, 3),
        eligible: true,
    };
    let diverged = AppendReply::Diverged {
        previous: position(2, 300, 3),
        hint: position(1, 250, 1),
    };
    let round = LeadershipRound(4);
    vec![
        ("PreVote", ReplicaBody::PreVote(request.clone())),
        (
            "PreVoteReply",
            ReplicaBody::PreVoteReply(VoteReply {
                refusal: Some(VoteRefusal::DiskHangs),
                ..reply.clone()
            }),
        ),
        ("Vote", ReplicaBody::Vote(request)),
        ("VoteReply", ReplicaBody::VoteReply(reply)),
        ("Append", ReplicaBody::Append(append)),
        ("Matched", ReplicaBody::AppendReply(matched)),
        ("Diverged", ReplicaBody::AppendReply(diverged)),
        ("TransferLeadership", ReplicaBody::TransferLeadership),
        ("Resigned", ReplicaBody::Resigned),
        ("EpochEntered", ReplicaBody::EpochEntered),
        (
            "ConfirmLeadership",
            ReplicaBody::ConfirmLeadership { round },
        ),
        (
            "ConfirmLeadershipReply",
            ReplicaBody::ConfirmLeadershipReply { round },
        ),
        (
            "FillRequest",
            ReplicaBody::FillRequest {
                offset: Offset(300),
                record_epoch: LeaderEpoch(3),
                end: Offset(302),
            },
        ),
        (
            "FillReply",
            ReplicaBody::FillReply {
                offset: Offset(300),
                batches: vec![batch()],
                denial: Some(Denial::Marked),
            },
        ),
    ]
}
