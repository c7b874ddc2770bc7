//! Peer messages as bytes, and the only place that knows how.
//!
//! A frame between brokers, its four length bytes not counted, is
//!
//! ```text
//!  0  checksum u32      CRC-32C of the skeleton
//!  4  skeleton_length u32
//!  8  skeleton          the message in bincode, each record batch as its header alone
//!     bodies            the batches' records, in the order of their headers, one behind the other
//! ```
//!
//! so that records are neither copied on the way out nor on the way in. A batch's own CRC is checked here, on the
//! link's task: what a link has damaged never reaches a log.
//!
//! bincode has no maintained release, which is why nothing outside this file uses it for bytes. It must never
//! decode without a limit: a length that it reads is otherwise believed.

use std::collections::VecDeque;
use std::fmt;

use bincode::config::{Configuration, Limit, standard};
use bincode::{Decode, Encode};
use bytes::{BufMut as _, Bytes, BytesMut};
use varve_core::ids::BrokerId;
use varve_core::log::Entry;
use varve_core::peer::{PeerIdentity, PeerMessage, ReplicaBody};
use varve_core::record::{Batch, HeaderError};

/// The version of everything in this file and of the messages in `varve_core::peer`, which travel as they are
/// declared. A node refuses peers of another.
pub const PEER_PROTOCOL_VERSION: u16 = 8;

/// The first bytes of every hello.
const MAGIC: [u8; 6] = *b"varve\0";

/// Bytes before the skeleton.
const PREFIX: usize = 8;

/// A skeleton is never read into more than so many times its own length of memory.
const MEMORY_PER_BYTE: usize = 32;

/// The longest skeleton that is written or read.
const SKELETON_MAX: usize = 64 << 20;

/// Why bytes are not a peer message.
#[derive(Debug)]
pub enum PeerDecodeError {
    /// The frame ends before what it announces, or goes on behind it.
    Length,
    /// The skeleton was damaged on the way.
    Checksum,
    /// The skeleton is none.
    Skeleton(String),
    /// A record batch was damaged on the way.
    Batch(HeaderError),
    /// It is no hello of varve's, or of another version.
    Hello(String),
}

impl fmt::Display for PeerDecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("the frame is not as long as it says"),
            Self::Checksum => f.write_str("the frame's checksum does not fit"),
            Self::Skeleton(error) => write!(f, "the frame cannot be read: {error}"),
            Self::Batch(error) => error.fmt(f),
            Self::Hello(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for PeerDecodeError {}

/// What a dialling node says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// Who it is.
    pub identity: PeerIdentity,
    /// Whom it means to reach, where it knows.
    pub expects: Option<BrokerId>,
}

/// What the dialled node answers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum HelloReply {
    /// Go on; this is who it is.
    Welcome(PeerIdentity),
    /// Go away, for this reason.
    Refused(String),
    /// Go away: another node runs as the same broker, in these words.
    Duplicate(String),
}

/// Writes a hello as a frame, its four length bytes included.
#[must_use]
pub fn encode_hello(hello: &Hello) -> Bytes {
    encode_greeting(hello)
}

/// Reads a hello from a frame without its length.
///
/// # Errors
/// [`PeerDecodeError::Hello`], in words that the other side is told.
pub fn decode_hello(frame: &[u8]) -> Result<Hello, PeerDecodeError> {
    decode_greeting(frame)
}

/// Writes the answer to a hello as a frame, its four length bytes included.
#[must_use]
pub fn encode_hello_reply(reply: &HelloReply) -> Bytes {
    encode_greeting(reply)
}

/// Reads the answer to a hello from a frame without its length.
///
/// # Errors
/// [`PeerDecodeError::Hello`].
pub fn decode_hello_reply(frame: &[u8]) -> Result<HelloReply, PeerDecodeError> {
    decode_greeting(frame)
}

/// Whether a frame without its length is what the peer listener of some version says first.
#[must_use]
pub fn is_greeting(frame: &[u8]) -> bool {
    frame.starts_with(&MAGIC)
}

fn encode_greeting<T: Encode>(greeting: &T) -> Bytes {
    let body = bincode::encode_to_vec(greeting, standard()).expect("a greeting can be written");
    let mut bytes = BytesMut::new();
    let length = MAGIC.len() + size_of::<u16>() + body.len();
    bytes.put_u32(u32::try_from(length).expect("a greeting is short"));
    bytes.put_slice(&MAGIC);
    bytes.put_u16(PEER_PROTOCOL_VERSION);
    bytes.put_slice(&body);
    bytes.freeze()
}

fn decode_greeting<T: Decode<()>>(frame: &[u8]) -> Result<T, PeerDecodeError> {
    let refused = |reason: String| Err(PeerDecodeError::Hello(reason));
    let Some(rest) = frame.strip_prefix(&MAGIC) else {
        return refused(
            "this is the peer listener of a varve node, and what came is no hello of a varve node; \
             clients connect to the client listener"
                .to_owned(),
        );
    };
    let Some((version, body)) = rest.split_first_chunk() else {
        return refused("the hello ends early".to_owned());
    };
    let version = u16::from_be_bytes(*version);
    if version != PEER_PROTOCOL_VERSION {
        return refused(format!(
            "the node speaks version {version} of the peer protocol, this one {PEER_PROTOCOL_VERSION}"
        ));
    }
    decode_skeleton(body).or_else(|error| refused(format!("the hello cannot be read: {error}")))
}

/// Writes a message as a frame, its four length bytes included, into segments of which the records are the
/// message's own.
///
/// # Panics
/// When the message is longer than 4 GiB, which core's flow control rules out.
pub fn encode_message(mut message: PeerMessage, segments: &mut VecDeque<Bytes>) {
    let bodies: Vec<Bytes> = batches(&mut message)
        .into_iter()
        .map(|batch| std::mem::take(&mut batch.body))
        .collect();
    let mut frame = vec![0; 4 + PREFIX];
    bincode::encode_into_std_write(message, &mut frame, standard())
        .expect("a message can be written to memory");
    let skeleton_length = frame.len() - 4 - PREFIX;
    assert!(
        skeleton_length <= SKELETON_MAX,
        "core bounds what one message says"
    );
    let bodies_length: usize = bodies.iter().map(Bytes::len).sum();
    let length = u32::try_from(PREFIX + skeleton_length + bodies_length)
        .expect("core bounds what one message carries");
    let checksum = crc32c::crc32c(&frame[4 + PREFIX..]);
    let skeleton_length = u32::try_from(skeleton_length).expect("bounded above");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame[4..8].copy_from_slice(&checksum.to_be_bytes());
    frame[8..12].copy_from_slice(&skeleton_length.to_be_bytes());
    segments.push_back(frame.into());
    segments.extend(bodies.into_iter().filter(|body| !body.is_empty()));
}

/// Reads a message from a frame without its length. Records stay slices of the frame.
///
/// # Errors
/// [`PeerDecodeError`]: the link is of no more use.
pub fn decode_message(mut frame: Bytes) -> Result<PeerMessage, PeerDecodeError> {
    let (checksum, length) = match (frame.get(..4), frame.get(4..PREFIX)) {
        (Some(checksum), Some(length)) => (be_u32(checksum), be_u32(length)),
        (None | Some(_), None | Some(_)) => return Err(PeerDecodeError::Length),
    };
    let skeleton_end = usize::try_from(length)
        .ok()
        .and_then(|length| length.checked_add(PREFIX))
        .filter(|&end| end <= frame.len())
        .ok_or(PeerDecodeError::Length)?;
    let mut bodies = frame.split_off(skeleton_end);
    let skeleton = &frame[PREFIX..];
    if crc32c::crc32c(skeleton) != checksum {
        return Err(PeerDecodeError::Checksum);
    }
    let mut message: PeerMessage =
        decode_skeleton(skeleton).map_err(|error| PeerDecodeError::Skeleton(error.to_string()))?;
    for batch in batches(&mut message) {
        dress(batch, &mut bodies)?;
    }
    if bodies.is_empty() {
        Ok(message)
    } else {
        Err(PeerDecodeError::Length)
    }
}

fn be_u32(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(
        *bytes
            .first_chunk()
            .expect("the caller has sliced four bytes"),
    )
}

/// Decodes with a limit that fits what is there: bincode writes small numbers in one byte and counts the memory
/// of what it reads, so a true skeleton may count many times its length. A note of five bytes takes as much as a batch.
fn decode_skeleton<T: Decode<()>>(bytes: &[u8]) -> Result<T, bincode::error::DecodeError> {
    const SMALL: usize = 64 << 10;
    const MIDDLE: usize = 4 << 20;
    const LARGE: usize = 1 << 31;
    const _: () = assert!(SKELETON_MAX * MEMORY_PER_BYTE <= LARGE);
    const _: () = assert!(size_of::<Entry>() <= 5 * MEMORY_PER_BYTE);
    fn with<T: Decode<()>, const N: usize>(
        config: Configuration<bincode::config::LittleEndian, bincode::config::Varint, Limit<N>>,
        bytes: &[u8],
    ) -> Result<T, bincode::error::DecodeError> {
        let (value, read) = bincode::decode_from_slice(bytes, config)?;
        if read == bytes.len() {
            Ok(value)
        } else {
            Err(bincode::error::DecodeError::Other("bytes follow the value"))
        }
    }
    match bytes.len().saturating_mul(MEMORY_PER_BYTE) {
        0..=SMALL => with(standard().with_limit::<SMALL>(), bytes),
        need if need <= MIDDLE => with(standard().with_limit::<MIDDLE>(), bytes),
        need if need <= LARGE => with(standard().with_limit::<LARGE>(), bytes),
        _ => Err(bincode::error::DecodeError::LimitExceeded),
    }
}

/// The record batches that a message carries, in order.
fn batches(message: &mut PeerMessage) -> Vec<&mut Batch> {
    let PeerMessage::Replica(message) = message else {
        return Vec::new();
    };
    match &mut message.body {
        ReplicaBody::Append(append) => append
            .entries
            .iter_mut()
            .filter_map(|entry| match entry {
                Entry::Batch(batch) => Some(batch),
                Entry::Note(_) => None,
            })
            .collect(),
        ReplicaBody::FillReply { batches, .. } => batches.iter_mut().collect(),
        ReplicaBody::PreVote(_)
        | ReplicaBody::PreVoteReply(_)
        | ReplicaBody::Vote(_)
        | ReplicaBody::VoteReply(_)
        | ReplicaBody::AppendReply(_)
        | ReplicaBody::TransferLeadership
        | ReplicaBody::Resigned
        | ReplicaBody::EpochEntered
        | ReplicaBody::ConfirmLeadership { .. }
        | ReplicaBody::ConfirmLeadershipReply { .. }
        | ReplicaBody::FillRequest { .. } => Vec::new(),
    }
}

/// Puts a batch's records back, as a slice of the frame.
fn dress(batch: &mut Batch, bodies: &mut Bytes) -> Result<(), PeerDecodeError> {
    let length = usize::try_from(batch.header.body_length).map_err(|_| PeerDecodeError::Length)?;
    if length > bodies.len() {
        return Err(PeerDecodeError::Length);
    }
    batch.body = bodies.split_to(length);
    batch.verify().map_err(PeerDecodeError::Batch)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;
    use varve_core::cluster::{AdminRequest, BrokerRegistration, VoterReport};
    use varve_core::ids::{
        ClusterId, DirectoryId, Incarnation, LeaderEpoch, LogClock, Offset, PartitionIndex,
        ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition, Voter,
    };
    use varve_core::log::{Note, NoteKind, Position};
    use varve_core::peer::{
        Append, AppendReply, ControllerRequest, ControllerResponse, Decision, Denial,
        DirectoryState, Heartbeat, LeaderAndIsr, LeadershipRound, ReadIndex, ReadIndexReply,
        ReleaseRequest, ReplicaMessage, VoteReply, VoteRequest,
    };
    use varve_core::record::BatchHeader;
    use varve_core::store::{Flush, VoterChange};
    use varve_core::time::Instant;
    use varve_core::wire::{DeleteTopicsRequest, MetadataResponse};

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
                granted,
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
            Just(ControllerRequest::Client {
                api_version: 6,
                request: Box::new(AdminRequest::DeleteTopics(request))
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
            any::<(i64, i64)>()
                .prop_map(|(a, b)| Decision::ProducerIds(ProducerId(a), ProducerId(b))),
            Just(Decision::Client(Box::new(response.into()))),
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

    fn encoded(message: PeerMessage) -> Bytes {
        let mut segments = VecDeque::new();
        encode_message(message, &mut segments);
        let mut frame: Bytes = segments.into_iter().flatten().collect::<Vec<u8>>().into();
        let length = frame.split_to(4);
        assert_eq!(be_u32(&length) as usize, frame.len());
        frame
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn a_message_arrives_as_it_was_sent(message in message()) {
            let frame = encoded(message.clone());
            prop_assert_eq!(decode_message(frame).expect("it was just encoded"), message);
        }

        #[test]
        fn a_damaged_message_is_refused_or_harmless(
            message in message(), at in any::<prop::sample::Index>(), flip in 1..=255_u8,
        ) {
            let mut frame = encoded(message.clone()).to_vec();
            let at = at.index(frame.len());
            frame[at] ^= flip;
            // What no checksum covers is what a leader assigns to a batch; it stands in the skeleton, whose own does.
            prop_assert!(decode_message(frame.into()).is_err());
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_hello(&bytes);
            let _ = decode_hello_reply(&bytes);
            let mut frame = crc32c::crc32c(&bytes).to_be_bytes().to_vec();
            frame.extend((bytes.len() as u32).to_be_bytes());
            frame.extend(&bytes);
            let _ = decode_message(frame.into());
            let _ = decode_message(bytes.into());
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
        encode_message(message.clone(), &mut segments);
        assert_eq!(segments[1].as_ptr(), body.as_ptr());
        let frame = encoded(message);
        let range = frame.as_ptr_range();
        let PeerMessage::Replica(message) = decode_message(frame).unwrap() else {
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
            identity,
            expects: Some(BrokerId(2)),
        };
        let bytes = encode_hello(&hello);
        assert_eq!(decode_hello(&bytes[4..]).unwrap(), hello);
        let mut other = bytes[4..].to_vec();
        other[7] = 9;
        let refused = |bytes: &[u8]| decode_hello(bytes).unwrap_err().to_string();
        assert!(refused(&other).contains("version 9 of the peer protocol"));
        assert!(refused(b"\0\x12\0\0").contains("clients connect to the client listener"));
        assert!(refused(&bytes[4..14]).contains("cannot be read"));
    }
}
