//! Every message arrives as it was sent, and nothing else is a message.

use std::time::Duration;

use super::*;
use proptest::prelude::*;
use varve_core::cluster::{AdminRequest, BrokerRegistration, VoterReport};
use varve_core::ids::{
    BrokerId, ClusterId, DirectoryId, Incarnation, LeaderEpoch, LogClock, Offset, PartitionIndex,
    ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition, Voter,
};
use varve_core::log::{Note, NoteKind, Position};
use varve_core::peer::{
    Append, AppendReply, ControllerRequest, ControllerResponse, Decision, Denial, DirectoryState,
    ForwardedRequest, ForwardedResponse, Heartbeat, LeaderAndIsr, LeadershipRound, Newer,
    PeerIdentity, PeerVersions, ReadIndex, ReadIndexReply, ReleaseRequest, ReplicaMessage,
    VoteRefusal, VoteReply, VoteRequest,
};
use varve_core::record::BatchHeader;
use varve_core::store::{Flush, VoterChange};
use varve_core::time::Instant;
use varve_core::wire::{DeleteTopicsRequest, MetadataResponse};

const NEWEST: PeerVersion = PeerVersions::SUPPORTED.newest;

fn position() -> impl Strategy<Value = Position> {
    (any::<i32>(), any::<i64>(), any::<u64>()).prop_map(|(epoch, end, notes)| Position {
        leader_epoch: LeaderEpoch(epoch),
        end_offset: Offset(end),
        notes,
    })
}

fn voter() -> impl Strategy<Value = Voter> {
    (any::<i32>(), any::<u128>()).prop_map(|(broker, directory)| Voter {
        broker: BrokerId(broker),
        directory: DirectoryId(directory),
    })
}

fn partition() -> impl Strategy<Value = TopicPartition> {
    (any::<u128>(), any::<i32>()).prop_map(|(topic, partition)| TopicPartition {
        topic: TopicId(topic),
        partition: PartitionIndex(partition),
    })
}

fn batch() -> impl Strategy<Value = Batch> {
    (
        any::<(i64, i32, i16, i64)>(),
        prop::collection::vec(any::<u8>(), 0..300),
    )
        .prop_map(|((offset, epoch, attributes, timestamp), body)| {
            let mut header = BatchHeader {
                base_offset: Offset(offset),
                body_length: body.len() as u32,
                leader_epoch: LeaderEpoch(epoch),
                crc: 0,
                attributes,
                last_offset_delta: 3,
                base_timestamp: Timestamp(timestamp),
                max_timestamp: Timestamp(timestamp),
                producer_id: ProducerId::NONE,
                producer_epoch: ProducerEpoch(-1),
                base_sequence: -1,
                record_count: 4,
            };
            let covered = crc32c::crc32c(&header.to_bytes()[21..]);
            header.crc = crc32c::crc32c_append(covered, &body);
            Batch {
                header,
                body: body.into(),
            }
        })
}

fn entry() -> impl Strategy<Value = Entry> {
    let note = (
        any::<(i32, i64)>(),
        voter(),
        prop::collection::vec(voter(), 0..4),
    )
        .prop_map(|((epoch, offset), leader, voters)| {
            let kind = match voters.len() {
                0 => NoteKind::Opening { leader },
                1 => NoteKind::ClockTick(LogClock(offset.unsigned_abs())),
                _more => NoteKind::Voters(voters),
            };
            Entry::Note(Note {
                leader_epoch: LeaderEpoch(epoch),
                offset: Offset(offset),
                kind,
            })
        });
    prop_oneof![batch().prop_map(Entry::Batch), note]
}

fn voter_changes() -> impl Strategy<Value = Vec<VoterChange>> {
    let change =
        (any::<i32>(), any::<u64>(), voter()).prop_map(|(epoch, notes, voter)| VoterChange {
            leader_epoch: LeaderEpoch(epoch),
            notes,
            voters: vec![voter],
        });
    prop::collection::vec(change, 0..3)
}

fn vote_request() -> impl Strategy<Value = VoteRequest> {
    (position(), voter_changes()).prop_map(|(end, lost_voter_changes)| VoteRequest {
        end,
        lost_voter_changes,
    })
}

fn vote_reply() -> impl Strategy<Value = VoteReply> {
    let reply = (any::<i32>(), any::<bool>(), any::<bool>(), voter_changes());
    reply.prop_map(
        |(election, granted, marked, lost_voter_changes)| VoteReply {
            election: LeaderEpoch(election),
            refusal: (!granted).then_some(VoteRefusal::LogBehind),
            marked,
            lost_voter_changes,
        },
    )
}

fn body() -> impl Strategy<Value = ReplicaBody> {
    let append = (
        position(),
        prop::collection::vec(entry(), 0..6),
        position(),
        any::<bool>(),
    )
        .prop_map(|(previous, entries, committed, probe)| {
            let flush = if probe {
                Flush::Commit
            } else {
                Flush::Replicated
            };
            let leader_end = previous;
            ReplicaBody::Append(Append {
                previous,
                entries,
                committed,
                leader_end,
                flush,
                probe,
            })
        });
    let fill = (
        any::<i64>(),
        prop::collection::vec(batch(), 0..4),
        prop::sample::select(&[None, Some(Denial::NeverHad), Some(Denial::Marked)][..]),
    )
        .prop_map(|(offset, batches, denial)| ReplicaBody::FillReply {
            offset: Offset(offset),
            batches,
            denial,
        });
    prop_oneof![
        append,
        fill,
        vote_request().prop_map(ReplicaBody::PreVote),
        vote_request().prop_map(ReplicaBody::Vote),
        vote_reply().prop_map(ReplicaBody::VoteReply),
        vote_reply().prop_map(ReplicaBody::PreVoteReply),
        (position(), position(), position(), any::<bool>()).prop_map(
            |(verified, appended, durable, eligible)| {
                ReplicaBody::AppendReply(AppendReply::Matched {
                    verified,
                    appended,
                    durable,
                    eligible,
                })
            }
        ),
        (position(), position()).prop_map(|(previous, hint)| {
            ReplicaBody::AppendReply(AppendReply::Diverged { previous, hint })
        }),
        Just(ReplicaBody::TransferLeadership),
        Just(ReplicaBody::Resigned),
        Just(ReplicaBody::EpochEntered),
        any::<u64>().prop_map(|round| ReplicaBody::ConfirmLeadership {
            round: LeadershipRound(round),
        }),
        any::<u64>().prop_map(|round| ReplicaBody::ConfirmLeadershipReply {
            round: LeadershipRound(round),
        }),
        any::<(i64, i32, i64)>().prop_map(|(offset, record_epoch, end)| {
            ReplicaBody::FillRequest {
                offset: Offset(offset),
                record_epoch: LeaderEpoch(record_epoch),
                end: Offset(end),
            }
        }),
    ]
}

fn question() -> impl Strategy<Value = ControllerRequest> {
    let request = DeleteTopicsRequest {
        timeout_ms: 7,
        ..Default::default()
    };
    prop_oneof![
        Just(ControllerRequest::Stopping),
        Just(ControllerRequest::AllocateProducerIds),
        prop::option::of("[a-z]{0,9}").prop_map(move |name| {
            ControllerRequest::Client(Box::new(ForwardedRequest {
                api_version: 6,
                client_id: name.clone(),
                client_host: Newer(name),
                request: Some(AdminRequest::DeleteTopics(request.clone())),
            }))
        }),
        (partition(), prop::collection::vec(voter(), 0..5)).prop_map(|(partition, voters)| {
            let leader_epoch = LeaderEpoch(5);
            let report = VoterReport {
                partition,
                leader_epoch,
                notes: 9,
                voters,
            };
            ControllerRequest::ReportVoters(vec![report; 2])
        }),
        ("[a-z]{0,9}", any::<u128>()).prop_map(|(name, directory)| {
            ControllerRequest::Register(BrokerRegistration {
                broker: BrokerId(1),
                directory: DirectoryId(directory),
                incarnation: Incarnation(2),
                rack: Some(name.clone()),
                listeners: Vec::new(),
                peer_address: name,
            })
        }),
    ]
}

fn answer() -> impl Strategy<Value = ControllerResponse> {
    prop_oneof![
        any::<Option<i32>>().prop_map(|id| ControllerResponse::NotController(id.map(BrokerId))),
        (decision(), any::<i64>()).prop_map(|(decision, metadata_end)| {
            ControllerResponse::Decided {
                decision,
                metadata_end: Offset(metadata_end),
            }
        }),
    ]
}

fn decision() -> impl Strategy<Value = Decision> {
    let response = MetadataResponse {
        throttle_time_ms: 4,
        ..Default::default()
    };
    prop_oneof![
        Just(Decision::Done),
        ".{0,9}".prop_map(Decision::Refused),
        any::<(i64, i64)>().prop_map(|(a, b)| Decision::ProducerIds(ProducerId(a), ProducerId(b))),
        Just(Decision::Unsupported),
        Just(Decision::Client(Box::new(ForwardedResponse {
            api_version: 3,
            response: Some(response.into()),
        }))),
    ]
}

fn read_index_reply() -> impl Strategy<Value = PeerMessage> {
    let leader = (any::<i64>(), prop::collection::vec(voter(), 0..5));
    let leader = leader.prop_map(|(end, voters)| ReadIndex {
        end: Offset(end),
        voters,
    });
    (any::<(u64, i32)>(), prop::option::of(leader)).prop_map(|((round, epoch), leader)| {
        PeerMessage::ReadIndexReply(ReadIndexReply {
            round,
            leader_epoch: LeaderEpoch(epoch),
            leader,
        })
    })
}

fn message() -> impl Strategy<Value = PeerMessage> {
    let replica = (partition(), voter(), voter(), any::<i32>(), body()).prop_map(
        |(partition, from, to, epoch, body)| {
            let leader_epoch = LeaderEpoch(epoch);
            PeerMessage::Replica(ReplicaMessage {
                partition,
                from,
                to,
                leader_epoch,
                body,
            })
        },
    );
    let announcement =
        (partition(), any::<Option<i32>>()).prop_map(|(partition, leader)| LeaderAndIsr {
            partition,
            leader_epoch: LeaderEpoch(4),
            leader: leader.map(BrokerId),
            version: 1,
            isr: leader.map(BrokerId).into_iter().collect(),
        });
    let directory = prop_oneof![
        Just(DirectoryState::Online),
        Just(DirectoryState::Behind),
        Just(DirectoryState::Full),
        Just(DirectoryState::Offline),
    ];
    let heartbeat = (any::<(u64, Option<u64>, u32)>(), directory).prop_map(
        |((sent_at, echo, stalled), directory)| {
            PeerMessage::Heartbeat(Heartbeat {
                sent_at: Instant(sent_at),
                echo: echo.map(Instant),
                disk_stalled: Duration::from_millis(stalled.into()),
                directory,
            })
        },
    );
    prop_oneof![
        4 => replica,
        1 => heartbeat,
        1 => prop::collection::vec(announcement, 0..4).prop_map(PeerMessage::Leaders),
        1 => (partition(), any::<(i32, i64)>()).prop_map(|(partition, (epoch, offset))| {
            PeerMessage::Release(ReleaseRequest {
                partition,
                leader_epoch: LeaderEpoch(epoch),
                metadata_offset: Offset(offset),
            })
        }),
        1 => (partition(), any::<i32>(), any::<i64>()).prop_map(|(partition, epoch, offset)| {
            let leader_epoch = LeaderEpoch(epoch);
            let metadata_offset = Offset(offset);
            PeerMessage::Released { partition, leader_epoch, metadata_offset }
        }),
        1 => (any::<u64>(), question()).prop_map(|(id, request)| PeerMessage::ControllerRequest { id, request }),
        1 => (any::<u64>(), answer()).prop_map(|(id, response)| PeerMessage::ControllerResponse { id, response }),
        1 => any::<u64>().prop_map(|round| PeerMessage::ReadIndex { round }),
        1 => read_index_reply(),
    ]
}

fn encoded(message: PeerMessage, version: PeerVersion) -> Bytes {
    let mut segments = VecDeque::new();
    encode_message(message, version, &mut segments);
    let mut frame: Bytes = segments.into_iter().flatten().collect::<Vec<u8>>().into();
    let length = frame.split_to(4);
    assert_eq!(be_u32(&length) as usize, frame.len());
    frame
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_message_arrives_as_it_was_sent_as_far_as_the_links_version_tells(message in message()) {
        for version in [PeerVersion(9), PeerVersion(10)] {
            let frame = encoded(message.clone(), version);
            let read = decode_message(frame, version).expect("it was just encoded");
            prop_assert_eq!(read, message.clone().for_version(version));
        }
        prop_assert_eq!(message.clone().for_version(PeerVersions::SUPPORTED.newest), message);
    }

    #[test]
    fn a_damaged_message_is_refused_or_harmless(
        message in message(), at in any::<prop::sample::Index>(), flip in 1..=255_u8,
    ) {
        let mut frame = encoded(message.clone(), NEWEST).to_vec();
        let at = at.index(frame.len());
        frame[at] ^= flip;
        // What no checksum covers is what a leader assigns to a batch; it stands in the skeleton, whose own does.
        prop_assert!(decode_message(frame.into(), NEWEST).is_err());
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_hello(&bytes);
        let _ = decode_hello_reply(&bytes);
        let mut frame = crc32c::crc32c(&bytes).to_be_bytes().to_vec();
        frame.extend((bytes.len() as u32).to_be_bytes());
        frame.extend(&bytes);
        let _ = decode_message(frame.into(), NEWEST);
        let _ = decode_message(bytes.into(), NEWEST);
    }
}

#[test]
fn records_are_copied_neither_out_nor_in() {
    let body = Bytes::from(vec![9; 1000]);
    let mut header = BatchHeader::parse(&{
        let mut bytes = [0; 61];
        bytes[8..12].copy_from_slice(&1049_i32.to_be_bytes());
        bytes[16] = 2;
        bytes
    })
    .unwrap();
    header.crc = crc32c::crc32c_append(crc32c::crc32c(&header.to_bytes()[21..]), &body);
    let message = PeerMessage::Replica(ReplicaMessage {
        partition: TopicPartition::METADATA,
        from: Voter::default(),
        to: Voter::default(),
        leader_epoch: LeaderEpoch(1),
        body: ReplicaBody::FillReply {
            offset: Offset(0),
            batches: vec![Batch {
                header,
                body: body.clone(),
            }],
            denial: None,
        },
    });
    let mut segments = VecDeque::new();
    encode_message(message.clone(), NEWEST, &mut segments);
    assert_eq!(segments[1].as_ptr(), body.as_ptr());
    let frame = encoded(message, NEWEST);
    let range = frame.as_ptr_range();
    let PeerMessage::Replica(message) = decode_message(frame, NEWEST).unwrap() else {
        unreachable!()
    };
    let ReplicaBody::FillReply { batches, .. } = message.body else {
        unreachable!()
    };
    assert!(range.contains(&batches[0].body.as_ptr()));
}

#[test]
fn a_hello_is_read_back_and_what_is_none_is_refused_in_words() {
    let identity = PeerIdentity {
        cluster: Some(ClusterId(3)),
        broker: BrokerId(1),
        directory: DirectoryId(9),
        incarnation: Incarnation(4),
    };
    let hello = Hello {
        versions: PeerVersions::SUPPORTED,
        identity,
        expects: Some(BrokerId(2)),
    };
    let bytes = encode_hello(&hello);
    assert_eq!(decode_hello(&bytes[4..]).unwrap(), hello);
    let later = [&bytes[4..], b"what a later version adds"].concat();
    assert_eq!(decode_hello(&later).unwrap(), hello);
    let mut earlier = bytes[4..].to_vec();
    earlier[7] = 8;
    let refused = |bytes: &[u8]| decode_hello(bytes).unwrap_err().to_string();
    assert!(refused(&earlier).contains("version 8 of the peer protocol"));
    assert!(refused(b"\0\x12\0\0").contains("clients connect to the client listener"));
    assert!(refused(&bytes[4..14]).contains("cannot be read"));
}
