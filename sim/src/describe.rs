//! What is said between brokers and clients, in one line each: the words of a trace.

use std::fmt::Write as _;

use varve_core::effect::{Effect, NoticeKind, Resignation, TrustLost};
use varve_core::ids::{Offset, TopicPartition};
use varve_core::input::Input;
use varve_core::log::{Entry, NoteKind, Position};
use varve_core::peer::{AppendReply, Denial, PeerMessage, ReplicaBody, ReplicaMessage, VoteReply};
use varve_core::store::{Completion, Mark, OrderKind, QueryResult, StoreFailure};
use varve_core::wire::list_offsets::{LATEST_TIMESTAMP, MAX_TIMESTAMP};
use varve_core::wire::{ErrorCode, Request, Response};

/// A range of offsets, half open.
#[must_use]
pub fn range(from: Offset, end: Offset) -> String {
    format!("[{from},{end})")
}

/// A position without its note count.
#[must_use]
pub fn position(position: Position) -> String {
    format!("e{}@{}", position.leader_epoch, position.end_offset)
}

/// What a broker is told.
#[must_use]
pub fn input(input: &Input) -> String {
    match input {
        Input::Tick => "that time has passed".to_owned(),
        Input::Request(request) => {
            let call = self::request(request.context.id.number, &request.body);
            let api = || request.body.api_key().name().to_owned();
            format!(
                "{} by {}",
                call.unwrap_or_else(api),
                request.context.client_host
            )
        }
        Input::Disconnected(_) => "that a client is gone".to_owned(),
        Input::LinkUp(peer) => format!("that n{} is linked", peer.broker),
        Input::LinkDown(peer) => format!("that n{peer} is not linked"),
        Input::DialRefused(peer) => format!("that n{peer} refuses to connect"),
        Input::SessionClosed { from, session } => {
            format!("that session {session} of n{} is closed", from.broker)
        }
        Input::Hello { from, session } => {
            format!("a hello of n{} for session {session}", from.broker)
        }
        Input::RejectedByPeer(reason) => format!("that it is rejected: {reason}"),
        Input::Peer { from, message, .. } => {
            let text = peer_message(message).map(|(_, text)| text);
            let text = text.unwrap_or_else(|| message.to_string());
            format!("{text} by n{}", from.broker)
        }
        Input::Stored(completions) => {
            let mut text = String::from("done:");
            for Completion {
                seq,
                position,
                stage,
                ..
            } in completions
            {
                let _ = write!(
                    text,
                    " #{} {stage:?} to {};",
                    seq.0,
                    self::position(*position)
                );
            }
            text.trim_end_matches(';').to_owned()
        }
        Input::StoreFailed(StoreFailure::Offline(reason)) => format!("directory offline: {reason}"),
        Input::SpaceReturned => "that there is room again".to_owned(),
        Input::QueryDone { result, .. } => match result {
            QueryResult::Records(bytes) => format!("{} bytes of records", bytes.len()),
            QueryResult::Found(Some((offset, ..))) => format!("found {offset}"),
            QueryResult::Found(None) => "found nothing".to_owned(),
            QueryResult::Failed(error) => format!("a read fails: {error:?}"),
        },
        Input::HolesFound { holes, .. } => {
            let holes: Vec<String> = holes
                .iter()
                .map(|hole| range(hole.start, hole.end))
                .collect();
            format!("holes {}", holes.join(" "))
        }
        Input::Stop => "to stop".to_owned(),
        Input::ClientsClosed => "that its clients are gone".to_owned(),
    }
}

/// A message between brokers; `None` for what only keeps things going.
#[must_use]
pub fn peer_message(message: &PeerMessage) -> Option<(TopicPartition, String)> {
    match message {
        PeerMessage::Replica(message) => {
            replica_message(message).map(|text| (message.partition, text))
        }
        PeerMessage::Release(request) => {
            let text = format!("Release e{}", request.leader_epoch);
            Some((request.partition, text))
        }
        PeerMessage::Released {
            partition,
            leader_epoch,
        } => Some((*partition, format!("Released e{leader_epoch}"))),
        PeerMessage::Heartbeat(_)
        | PeerMessage::Leaders(_)
        | PeerMessage::Peers(_)
        | PeerMessage::ControllerRequest { .. }
        | PeerMessage::ControllerResponse { .. }
        | PeerMessage::ReadIndex { .. }
        | PeerMessage::ReadIndexReply(_) => None,
    }
}

fn replica_message(message: &ReplicaMessage) -> Option<String> {
    let epoch = message.leader_epoch;
    let word = |reply: &VoteReply| match (reply.granted, reply.marked) {
        (true, true) => "granted, by a suspect",
        (true, false) => "granted",
        (false, _) => "refused",
    };
    Some(match &message.body {
        ReplicaBody::PreVote(asked) => format!("PreVote e{epoch} last {}", position(asked.end)),
        ReplicaBody::PreVoteReply(reply) => format!("PreVote e{epoch} {}", word(reply)),
        ReplicaBody::Vote(asked) => format!("Vote e{epoch} last {}", position(asked.end)),
        ReplicaBody::VoteReply(reply) => format!("Vote e{epoch} {}", word(reply)),
        ReplicaBody::Append(append) => {
            if append.entries.is_empty() {
                return None;
            }
            format!(
                "Append e{epoch} {}",
                entries(append.previous, &append.entries)
            )
        }
        ReplicaBody::AppendReply(AppendReply::Matched { .. }) => return None,
        ReplicaBody::AppendReply(AppendReply::Diverged { hint, .. }) => {
            format!("Append e{epoch} refused, diverges at {}", position(*hint))
        }
        ReplicaBody::TransferLeadership => format!("TransferLeadership e{epoch}"),
        ReplicaBody::Resigned => format!("Resigned e{epoch}"),
        ReplicaBody::EpochEntered => format!("EpochEntered e{epoch}"),
        ReplicaBody::ConfirmLeadership { .. } => format!("ConfirmLeadership e{epoch}"),
        ReplicaBody::ConfirmLeadershipReply { .. } => {
            format!("ConfirmLeadership answered in e{epoch}")
        }
        ReplicaBody::FillRequest { offset, end, .. } => {
            format!("Fill {} please", range(*offset, *end))
        }
        ReplicaBody::FillReply {
            batches, denial, ..
        } => match (batches.first(), batches.last()) {
            (Some(first), Some(last)) => format!(
                "Fill {}",
                range(first.header.base_offset, last.header.next_offset())
            ),
            (None, _) | (_, None) => match denial {
                Some(Denial::NeverHad) => "Fill: never had it".to_owned(),
                Some(Denial::Marked) => "Fill: has it not, as a suspect".to_owned(),
                None => "Fill: nothing".to_owned(),
            },
        },
    })
}

/// Entries behind a position.
#[must_use]
pub fn entries(previous: Position, entries: &[Entry]) -> String {
    let mut text = String::new();
    let mut end = previous.end_offset;
    let mut batches_from = None;
    let mut say = |part: String| {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&part);
    };
    for entry in entries {
        match entry {
            Entry::Batch(batch) => {
                batches_from.get_or_insert(batch.header.base_offset);
                end = batch.header.next_offset();
            }
            Entry::Note(note) => {
                if let Some(from) = batches_from.take() {
                    say(range(from, end));
                }
                say(match &note.kind {
                    NoteKind::Opening { .. } => {
                        format!("opening of e{} at {}", note.leader_epoch, note.offset)
                    }
                    NoteKind::Voters(voters) => {
                        let mut names = String::from("voters");
                        for voter in voters {
                            let _ = write!(names, " n{}", voter.broker);
                        }
                        names
                    }
                    NoteKind::LogStart(offset) => format!("log start {offset}"),
                    NoteKind::ClockTick(clock) => format!("clock tick {clock}"),
                });
            }
        }
    }
    if let Some(from) = batches_from {
        say(range(from, end));
    }
    text
}

/// What a replica did in a step, in a few words.
#[must_use]
pub fn doings(effects: &[Effect], partition: TopicPartition, end_before: Option<Offset>) -> String {
    let mut parts: Vec<String> = Vec::new();
    for effect in effects {
        match effect {
            Effect::Store(order) if order.replica == partition => match &order.kind {
                OrderKind::Append {
                    after,
                    entries: list,
                    ..
                } => {
                    let text = entries(*after, list);
                    parts.push(match list.first() {
                        Some(Entry::Note(_)) => text,
                        Some(Entry::Batch(_)) | None => format!("append {text}"),
                    });
                }
                OrderKind::Truncate { to } => parts.push(match end_before {
                    Some(end) if end > to.end_offset => {
                        format!("truncate {}", range(to.end_offset, end))
                    }
                    Some(_) | None => format!("truncate to {}", position(*to)),
                }),
                OrderKind::SetMark(mark) => parts.push(match mark {
                    Mark::Clean => "clean".to_owned(),
                    Mark::Volatile => "volatile".to_owned(),
                    Mark::Suspect => "suspect".to_owned(),
                    Mark::New => "new".to_owned(),
                }),
                OrderKind::Fill { batches } => {
                    if let (Some(first), Some(last)) = (batches.first(), batches.last()) {
                        parts.push(format!(
                            "fill {}",
                            range(first.header.base_offset, last.header.next_offset())
                        ));
                    }
                }
                OrderKind::AcceptLoss { range: lost } => {
                    parts.push(format!("loss of {} accepted", range(lost.start, lost.end)));
                }
                OrderKind::Create { .. } => parts.push("created".to_owned()),
                OrderKind::Delete => parts.push("deleted".to_owned()),
                OrderKind::StoreVote(_) | OrderKind::Probe | OrderKind::SaveSnapshot { .. } => {}
            },
            Effect::Notice(notice) if notice.partition == Some(partition) => {
                if let Some(text) = self::notice(&notice.what) {
                    parts.push(text);
                }
            }
            Effect::Store(_)
            | Effect::Notice(_)
            | Effect::Query(_)
            | Effect::Send { .. }
            | Effect::Respond { .. }
            | Effect::Close(_)
            | Effect::Peers { .. }
            | Effect::Redial(_)
            | Effect::CloseSession { .. }
            | Effect::AcceptPeer { .. }
            | Effect::RejectPeer { .. }
            | Effect::Joined(_)
            | Effect::Ready
            | Effect::CloseClients
            | Effect::Stopped => {}
        }
    }
    parts.join(", ")
}

/// Something worth telling; `None` where the state line says it.
#[must_use]
pub fn notice(what: &NoticeKind) -> Option<String> {
    Some(match what {
        NoticeKind::StartsElection(_, why) => match why {
            TrustLost::NoLeader => "no leader",
            TrustLost::Silent => "leader silent",
            TrustLost::ProcessGone => "leader's process has ended",
            TrustLost::Restarted => "leader restarted",
            TrustLost::DiskStalled => "leader's disk hangs",
            TrustLost::Resigned => "leader resigned",
            TrustLost::NotRenewed => "leader has not renewed its announcement",
            TrustLost::Transfer => "asked to take over",
        }
        .to_owned(),
        NoticeKind::Leads(_) | NoticeKind::Truncates(_) => return None,
        NoticeKind::LeadsWithPossibleLoss(_) => "all voters granted: possible loss".to_owned(),
        NoticeKind::Resigns(_, why) => match why {
            Resignation::HigherEpoch => "resigns: higher epoch",
            Resignation::QuorumLost => "resigns: no majority answers",
            Resignation::Disk => "resigns: disk",
            Resignation::Removed => "resigns: no voter any more",
            Resignation::Transferred => "resigns: handed over",
            Resignation::Damaged => "resigns: gives up what it has lost",
        }
        .to_owned(),
        NoticeKind::Follows(_, leader) => format!("follows n{leader}"),
        NoticeKind::VotersChanged(voters) => {
            let mut text = String::from("voters now");
            for voter in voters {
                let _ = write!(text, " n{}", voter.broker);
            }
            text
        }
        NoticeKind::Hole(from, end) => format!("hole {}", range(*from, *end)),
        NoticeKind::HoleFilled(from, end) => format!("hole {} filled", range(*from, *end)),
        NoticeKind::HoleGivenUp(from, end) => format!("hole {} given up", range(*from, *end)),
        NoticeKind::HoleGivenUpWithPossibleLoss(from, end) => {
            format!("hole {} given up: possible loss", range(*from, *end))
        }
        NoticeKind::Suspect => "suspect".to_owned(),
        NoticeKind::SuspectCleared => "suspect no more".to_owned(),
        NoticeKind::DuplicateBrokerId(words) => words.clone(),
        NoticeKind::DirectoryOffline(reason) => format!("directory offline: {reason}"),
        NoticeKind::DiskFull => "disk full".to_owned(),
        NoticeKind::CommittedLost(_) => "the leader has lost what is committed".to_owned(),
        NoticeKind::Refused(why) => format!("refuses: {why}"),
    })
}

/// A client's request; `None` for what only keeps things going.
#[must_use]
pub fn request(number: u64, request: &Request) -> Option<String> {
    match request {
        Request::Produce(request) => {
            let acks = match request.acks {
                -1 => "all".to_owned(),
                acks => acks.to_string(),
            };
            let records: i32 = request
                .topic_data
                .iter()
                .flat_map(|topic| &topic.partition_data)
                .filter_map(|data| data.records.as_ref())
                .filter_map(|records| {
                    varve_core::record::BatchHeader::parse(&records.to_bytes()).ok()
                })
                .map(|header| header.record_count)
                .sum();
            let plural = if records == 1 { "" } else { "s" };
            Some(format!(
                "Produce #{number} acks={acks}  {records} record{plural}"
            ))
        }
        Request::CreateTopics(_) => Some(format!("CreateTopics #{number}")),
        Request::ListOffsets(request) => {
            let asked = request.topics.first()?.partitions.first()?;
            Some(match asked.timestamp {
                LATEST_TIMESTAMP => format!("ListOffsets #{number} latest"),
                MAX_TIMESTAMP => format!("ListOffsets #{number} greatest timestamp"),
                timestamp => format!("ListOffsets #{number} from {timestamp}"),
            })
        }
        Request::OffsetForLeaderEpoch(request) => {
            let epoch = request.topics.first()?.partitions.first()?.leader_epoch;
            Some(format!("OffsetForLeaderEpoch #{number} e{epoch}"))
        }
        _keeps_things_going => None,
    }
}

/// An answer to a client; `None` for what only keeps things going.
#[must_use]
pub fn response(number: u64, response: &Response) -> Option<String> {
    match response {
        Response::Produce(response) => {
            let data = response
                .responses
                .first()
                .and_then(|topic| topic.partition_responses.first())?;
            Some(if data.error_code == ErrorCode::None {
                format!("Produce #{number}  offset {}", data.base_offset)
            } else {
                format!("Produce #{number}  {}", data.error_code.name())
            })
        }
        Response::Fetch(response) => {
            let data = response
                .responses
                .iter()
                .flat_map(|topic| &topic.partitions)
                .find(|data| {
                    data.error_code != ErrorCode::None
                        || data
                            .records
                            .as_ref()
                            .is_some_and(|records| !records.is_empty())
                })?;
            if data.error_code != ErrorCode::None {
                return Some(format!("Fetch #{number}  {}", data.error_code.name()));
            }
            let mut bytes = data.records.as_ref()?.to_bytes();
            let mut ends = None;
            while let Ok(batch) = varve_core::record::Batch::split_from(&mut bytes) {
                let (from, _) = ends.unwrap_or((batch.header.base_offset, Offset(0)));
                ends = Some((from, batch.header.next_offset()));
            }
            let (from, end) = ends?;
            Some(format!(
                "Fetch #{number}  {}  hw {}",
                range(from, end),
                data.high_watermark
            ))
        }
        Response::CreateTopics(response) => {
            let error = response.topics.first()?.error_code;
            Some(format!("CreateTopics #{number}  {}", error.name()))
        }
        Response::ListOffsets(response) => {
            let data = response.topics.first()?.partitions.first()?;
            Some(if data.error_code == ErrorCode::None {
                format!("ListOffsets #{number}  offset {}", data.offset)
            } else {
                format!("ListOffsets #{number}  {}", data.error_code.name())
            })
        }
        Response::OffsetForLeaderEpoch(response) => {
            let data = response.topics.first()?.partitions.first()?;
            Some(if data.error_code == ErrorCode::None {
                let (epoch, end) = (data.leader_epoch, data.end_offset);
                format!("OffsetForLeaderEpoch #{number}  e{epoch} ends at {end}")
            } else {
                let error = data.error_code.name();
                format!("OffsetForLeaderEpoch #{number}  {error}")
            })
        }
        _keeps_things_going => None,
    }
}
