//! How facts, orders and messages read: one line each, in the words of the field. This *is* the trace format.
//!
//! Short because a line is read beside fifty others: epochs are `e4`, ranges half-open `[2,5)`, positions `e4@12+3`:
//! epoch, end offset, and the number of notes, by which positions of one offset differ. No `Debug` dumps, no pointers,
//! no wall time.

mod client;
mod input;

use std::fmt;

use crate::effect::{Administration, Effect, LeaderLost, NoticeKind, Resignation};
use crate::ids::{Offset, TopicPartition};
use crate::log::{Entry, Note, NoteKind, Position};
use crate::peer::{
    AppendReply, ControllerRequest, ControllerResponse, Decision, Denial, LeaderAndIsr,
    PeerMessage, ReplicaBody, ReplicaMessage, VoteRefusal, VoteReply,
};
use crate::store::{Mark, OrderKind, QueryKind, ReadError};

pub use client::{request, response};
pub use input::input;

/// A range of offsets, half open: `[2,5)`.
#[derive(Clone, Copy, Debug)]
pub struct Offsets(pub Offset, pub Offset);

impl fmt::Display for Offsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{},{})", self.0, self.1)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            NoteKind::Opening { .. } => {
                write!(f, "opening of e{} at {}", self.leader_epoch, self.offset)
            }
            NoteKind::Voters(voters) => {
                f.write_str("voters")?;
                let mut voters = voters.iter();
                voters.try_for_each(|voter| write!(f, " n{}", voter.broker))
            }
            NoteKind::LogStart(offset) => write!(f, "log start {offset}"),
            NoteKind::ClockTick(clock) => write!(f, "clock tick {clock}"),
        }
    }
}

/// Entries as one phrase: `[2,5), opening of e3 at 5`.
#[derive(Clone, Copy, Debug)]
pub struct Entries<'a>(pub &'a [Entry]);

impl fmt::Display for Entries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        let mut entries = self.0.iter().peekable();
        while let Some(entry) = entries.next() {
            if !std::mem::take(&mut first) {
                f.write_str(", ")?;
            }
            match entry {
                Entry::Note(note) => note.fmt(f)?,
                Entry::Batch(batch) => {
                    let mut end = batch.header.next_offset();
                    while let Some(Entry::Batch(next)) = entries.peek() {
                        end = next.header.next_offset();
                        entries.next();
                    }
                    Offsets(batch.header.base_offset, end).fmt(f)?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for OrderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { .. } => f.write_str("create"),
            Self::Append { entries, .. } => write!(f, "append {}", Entries(entries)),
            Self::Truncate { to } => write!(f, "truncate to {to}"),
            Self::StoreVote(vote) => match vote.voted_for {
                Some(voter) => write!(f, "vote e{} for n{}", vote.leader_epoch, voter.broker),
                None => write!(f, "enter e{}", vote.leader_epoch),
            },
            Self::SetMark(Mark::Clean) => f.write_str("mark clean"),
            Self::SetMark(Mark::Volatile) => f.write_str("mark volatile"),
            Self::SetMark(Mark::Suspect) => f.write_str("mark suspect"),
            Self::SetMark(Mark::New) => f.write_str("mark new"),
            Self::Probe => f.write_str("probe the disk"),
            Self::Fill { batches } => match (batches.first(), batches.last()) {
                (Some(first), Some(last)) => {
                    let (from, end) = (first.header.base_offset, last.header.next_offset());
                    write!(f, "fill {}", Offsets(from, end))
                }
                (None, _) | (_, None) => f.write_str("fill nothing"),
            },
            Self::AcceptLoss { range } => {
                write!(f, "accept loss of {}", Offsets(range.start, range.end))
            }
            Self::SaveSnapshot { at, .. } => write!(f, "snapshot at {at}"),
            Self::Delete => f.write_str("delete"),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hole(range) => write!(f, "hole {}", Offsets(range.start, range.end)),
            Self::OutOfRange => f.write_str("out of range"),
            Self::Unavailable => f.write_str("unavailable"),
        }
    }
}

impl fmt::Display for QueryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { offset, end, .. } => write!(f, "read {}", Offsets(*offset, *end)),
            Self::OffsetForTimestamp { timestamp, .. } => write!(f, "find timestamp {timestamp}"),
            Self::MaxTimestamp { .. } => f.write_str("find the greatest timestamp"),
        }
    }
}

impl fmt::Display for PeerMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Heartbeat(_) => f.write_str("Heartbeat"),
            Self::Replica(message) => message.fmt(f),
            Self::Leaders(announcements) => {
                f.write_str("Leaders")?;
                announcements
                    .iter()
                    .try_for_each(|announcement| write!(f, " {announcement}"))
            }
            Self::Peers(peers) => write!(f, "Peers {}", peers.len()),
            Self::Release(request) => write!(f, "Release request e{}", request.leader_epoch),
            Self::Released { leader_epoch, .. } => write!(f, "Release reply e{leader_epoch}"),
            Self::ControllerRequest { request, .. } => write!(f, "ControllerRequest {request}"),
            Self::ControllerResponse { response, .. } => write!(f, "ControllerResponse {response}"),
            Self::ReadIndex { round } => write!(f, "ReadIndex #{round}"),
            Self::ReadIndexReply(reply) => {
                write!(f, "ReadIndex #{} e{}", reply.round, reply.leader_epoch)?;
                match &reply.leader {
                    Some(leader) => write!(f, " {}", leader.end),
                    None => Ok(()),
                }
            }
        }
    }
}

impl fmt::Display for LeaderAndIsr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{} e{} ", self.partition.partition, self.leader_epoch)?;
        match self.leader {
            Some(leader) => write!(f, "n{leader}"),
            None => f.write_str("none"),
        }?;
        f.write_str(" isr")?;
        self.isr
            .iter()
            .try_for_each(|broker| write!(f, " n{broker}"))
    }
}

impl fmt::Display for ReplicaMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let epoch = self.leader_epoch;
        match &self.body {
            ReplicaBody::PreVote(asked) => write!(f, "PreVote e{epoch} last {}", asked.end),
            ReplicaBody::PreVoteReply(reply) => write!(f, "PreVote {reply}"),
            ReplicaBody::Vote(asked) => write!(f, "Vote e{epoch} last {}", asked.end),
            ReplicaBody::VoteReply(reply) => write!(f, "Vote {reply}"),
            ReplicaBody::Append(append) if append.entries.is_empty() => {
                let (previous, hw) = (append.previous, append.committed.end_offset);
                write!(f, "Append e{epoch} after {previous} hw {hw}")
            }
            ReplicaBody::Append(append) => {
                write!(f, "Append e{epoch} {}", Entries(&append.entries))
            }
            ReplicaBody::AppendReply(reply) => write!(f, "Append reply e{epoch}: {reply}"),
            ReplicaBody::TransferLeadership => write!(f, "TransferLeadership e{epoch}"),
            ReplicaBody::Resigned => write!(f, "Resigned e{epoch}"),
            ReplicaBody::EpochEntered => write!(f, "EpochEntered e{epoch}"),
            ReplicaBody::ConfirmLeadership { .. } => write!(f, "ConfirmLeadership e{epoch}"),
            ReplicaBody::ConfirmLeadershipReply { .. } => {
                write!(f, "ConfirmLeadership reply e{epoch}")
            }
            ReplicaBody::FillRequest { offset, end, .. } => {
                write!(f, "Fill request {}", Offsets(*offset, *end))
            }
            ReplicaBody::FillReply {
                batches, denial, ..
            } => match (batches.first(), batches.last()) {
                (Some(first), Some(last)) => {
                    let (from, end) = (first.header.base_offset, last.header.next_offset());
                    write!(f, "Fill reply: {}", Offsets(from, end))
                }
                (None, _) | (_, None) => f.write_str(match denial {
                    Some(Denial::NeverHad) => "Fill reply: never had it",
                    Some(Denial::Marked) => "Fill reply: has it not, as a suspect",
                    None => "Fill reply: nothing",
                }),
            },
        }
    }
}

impl fmt::Display for VoteReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.refusal, self.marked) {
            (None, true) => "granted, by a suspect",
            (None, false) => "granted",
            (Some(VoteRefusal::EpochOver), _) => "refused, the epoch is over",
            (Some(VoteRefusal::HasLeader), _) => "refused, has a leader",
            (Some(VoteRefusal::HasVoted), _) => "refused, has voted",
            (Some(VoteRefusal::LogBehind), _) => "refused, the log is behind",
            (Some(VoteRefusal::MayNotVote), _) => "refused, may not vote",
            (Some(VoteRefusal::DiskHangs), _) => "refused, its disk hangs",
        };
        write!(f, "reply e{}: {verdict}", self.election)
    }
}

impl fmt::Display for AppendReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matched {
                appended,
                durable,
                eligible,
                ..
            } => {
                write!(f, "durable to {durable}")?;
                if appended != durable {
                    write!(f, ", has {appended}")?;
                }
                f.write_str(if *eligible { "" } else { ", not eligible" })
            }
            Self::Diverged { previous, hint } if *hint == Position::default() => {
                write!(f, "refused after {previous}, nothing in common")
            }
            Self::Diverged { previous, hint } => {
                write!(f, "refused after {previous}, in common up to {hint}")
            }
        }
    }
}

impl fmt::Display for ControllerRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register(registration) => write!(f, "Register n{}", registration.broker),
            Self::Stopping => f.write_str("Stopping"),
            Self::AllocateProducerIds => f.write_str("AllocateProducerIds"),
            Self::ReportVoters(reports) => {
                f.write_str("ReportVoters")?;
                reports
                    .iter()
                    .try_for_each(|report| write!(f, " p{}", report.partition.partition))
            }
            Self::Client(forwarded) => match &forwarded.request {
                Some(request) => f.write_str(request.api_key().name()),
                None => f.write_str("a request of a later build"),
            },
        }
    }
}

impl fmt::Display for ControllerResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotController(Some(broker)) => write!(f, "not controller, ask n{broker}"),
            Self::NotController(None) => f.write_str("not controller"),
            Self::Decided { decision, .. } => write!(f, "{decision}"),
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::ProducerIds(first, end) => write!(f, "producer ids [{first},{end})"),
            Self::Unsupported => f.write_str("not known to this build"),
            Self::Client(_) => f.write_str("for the client"),
        }
    }
}

impl fmt::Display for NoticeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartsElection(epoch, why) => {
                write!(f, "starts an election for e{epoch}: {why}")
            }
            Self::Leads(epoch) => write!(f, "leads e{epoch}"),
            Self::LeadsWithPossibleLoss(epoch) => {
                write!(
                    f,
                    "leads e{epoch} by every voter's grant: acknowledged records may be lost"
                )
            }
            Self::Resigns(epoch, why) => write!(f, "resigns e{epoch}: {why}"),
            Self::Follows(epoch, broker) => write!(f, "follows n{broker} in e{epoch}"),
            Self::Truncates(to) => write!(f, "truncates to {to}"),
            Self::VotersChanged(voters) => {
                f.write_str("changes voters to")?;
                voters
                    .iter()
                    .try_for_each(|voter| write!(f, " n{}", voter.broker))
            }
            Self::Hole(start, end) => write!(f, "hole {}", Offsets(*start, *end)),
            Self::HoleFilled(start, end) => write!(f, "hole {} filled", Offsets(*start, *end)),
            Self::HoleGivenUp(start, end) => {
                let hole = Offsets(*start, *end);
                write!(f, "hole {hole} given up: no majority ever had it")
            }
            Self::HoleGivenUpWithPossibleLoss(start, end) => write!(
                f,
                "hole {} given up, since no voter has it: acknowledged records may be lost",
                Offsets(*start, *end)
            ),
            Self::Suspect => f.write_str("suspect: may have lost what it acknowledged"),
            Self::SuspectCleared => f.write_str("suspect no more: has caught up"),
            Self::DuplicateBrokerId(words) => f.write_str(words),
            Self::DirectoryOffline(reason) => write!(f, "directory offline: {reason}"),
            Self::DiskFull => f.write_str("disk full"),
            Self::CommittedLost(committed) => write!(
                f,
                "the leader has lost committed entries, which this learner has up to {}, and takes nothing more",
                committed
            ),
            Self::Administered(administration) => administration.fmt(f),
            Self::Refused(why) => write!(f, "refuses a message: {why}"),
        }
    }
}

/// How many topics are named of those that one request has changed.
const TOPICS_NAMED: usize = 5;

impl fmt::Display for Administration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.api_key.name())?;
        for (nth, topic) in self.topics.iter().take(TOPICS_NAMED).enumerate() {
            write!(f, "{} {topic}", if nth == 0 { "" } else { "," })?;
        }
        if let Some(more @ 1..) = self.topics.len().checked_sub(TOPICS_NAMED) {
            write!(f, " and {more} more")?;
        }
        // A client names itself as it likes, in the middle of a log that people and programs read line by line.
        match (&self.client_id, &self.client_host) {
            (Some(id), Some(host)) => write!(f, " by {} at {host}", id.escape_debug()),
            (Some(name), None) | (None, Some(name)) => write!(f, " by {}", name.escape_debug()),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Display for LeaderLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLeader => "no leader",
            Self::Silent => "leader silent",
            Self::ProcessGone => "leader's process has ended",
            Self::Restarted => "leader restarted",
            Self::DiskStalled => "leader's disk hangs",
            Self::Resigned => "leader resigned",
            Self::NotRenewed => "leader's announcement not renewed",
            Self::Transfer => "asked to take over",
        })
    }
}

impl fmt::Display for Resignation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HigherEpoch => "a higher epoch",
            Self::QuorumLost => "no quorum",
            Self::Disk => "its disk",
            Self::Removed => "no voter any more",
            Self::Transferred => "hands over",
            Self::Damaged => "gives up what a majority never had and it has lost",
        })
    }
}

/// What a replica did in a step, in a few words beside its state, which shows its role, epoch, high watermark and end. Its
/// log ended at `end_before`.
#[must_use]
pub fn doings(effects: &[Effect], partition: TopicPartition, end_before: Option<Offset>) -> String {
    let mut parts: Vec<String> = Vec::new();
    for effect in effects {
        match effect {
            Effect::Store(order) if order.replica == partition => match &order.kind {
                OrderKind::Truncate { to } if end_before.is_some_and(|end| end > to.end_offset) => {
                    let end = end_before.unwrap_or(to.end_offset);
                    parts.push(format!("truncate {}", Offsets(to.end_offset, end)));
                }
                OrderKind::StoreVote(vote) => {
                    parts.extend(
                        vote.voted_for
                            .map(|voter| format!("vote for n{}", voter.broker)),
                    );
                }
                OrderKind::Probe | OrderKind::SaveSnapshot { .. } => {}
                kind @ (OrderKind::Create { .. }
                | OrderKind::Append { .. }
                | OrderKind::Truncate { .. }
                | OrderKind::SetMark(_)
                | OrderKind::Fill { .. }
                | OrderKind::AcceptLoss { .. }
                | OrderKind::Delete) => parts.push(kind.to_string()),
            },
            Effect::Notice(notice) if notice.partition == Some(partition) => {
                parts.extend(beside_state(&notice.what));
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

/// What a notice says that the state does not; `None` where that is nothing.
fn beside_state(what: &NoticeKind) -> Option<String> {
    Some(match what {
        NoticeKind::StartsElection(_, why) => why.to_string(),
        NoticeKind::Leads(_) | NoticeKind::Truncates(_) | NoticeKind::VotersChanged(_) => {
            return None;
        }
        NoticeKind::LeadsWithPossibleLoss(_) => "all voters granted: possible loss".to_owned(),
        NoticeKind::Resigns(_, why) => format!("resigns: {why}"),
        NoticeKind::Follows(_, leader) => format!("follows n{leader}"),
        NoticeKind::Suspect => "suspect".to_owned(),
        NoticeKind::SuspectCleared => "suspect no more".to_owned(),
        what @ (NoticeKind::Hole(..)
        | NoticeKind::HoleFilled(..)
        | NoticeKind::HoleGivenUp(..)
        | NoticeKind::HoleGivenUpWithPossibleLoss(..)
        | NoticeKind::DuplicateBrokerId(_)
        | NoticeKind::DirectoryOffline(_)
        | NoticeKind::DiskFull
        | NoticeKind::CommittedLost(_)
        | NoticeKind::Administered(_)
        | NoticeKind::Refused(_)) => what.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use crate::wire::ApiKey;

    use super::*;

    #[test]
    fn what_a_client_calls_itself_stays_within_its_line_of_the_log() {
        let administration = Administration {
            api_key: ApiKey::DeleteTopics,
            topics: (0..7).map(|n| format!("t{n}")).collect(),
            client_id: Some("x\n2026-12-01 INFO leads e9 \u{1b}[0m".to_owned()),
            client_host: Some("10.0.0.5".to_owned()),
        };
        assert_eq!(
            administration.to_string(),
            "DeleteTopics t0, t1, t2, t3, t4 and 2 more by x\\n2026-12-01 INFO leads e9 \\u{1b}[0m at 10.0.0.5"
        );
    }
}
