//! How facts, orders and messages read: one line each, in the words of the field. This *is* the trace format.
//!
//! Short because a line is read beside fifty others: epochs are `e4`, ranges half-open `[2,5)`, positions
//! `e4@12`, with `+3` notes only where a note is what the line is about. No `Debug` dumps, no pointers, no wall
//! time.

use std::fmt;

use crate::effect::{NoticeKind, Resignation, TrustLost};
use crate::log::{Entry, NoteKind, Position};
use crate::peer::{
    AppendReply, ControllerRequest, ControllerResponse, Decision, LeaderAndIsr, PeerMessage,
    ReplicaBody, ReplicaMessage, VoteReply,
};
use crate::store::{Flush, Mark, OrderKind, QueryKind};

/// A position without its notes, as traces show it: `e4@12`.
#[derive(Clone, Copy, Debug)]
pub struct Short(pub Position);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}@{}", self.0.leader_epoch, self.0.end_offset)
    }
}

impl fmt::Display for NoteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opening { leader } => write!(f, "opening by n{}", leader.broker),
            Self::Voters(voters) => {
                f.write_str("voters")?;
                voters
                    .iter()
                    .try_for_each(|voter| write!(f, " n{}", voter.broker))
            }
            Self::LogStart(offset) => write!(f, "log start {offset}"),
            Self::ClockTick(clock) => write!(f, "clock tick {clock}"),
        }
    }
}

/// Entries as one phrase: `[2,5) and opening by n3`.
#[derive(Clone, Copy, Debug)]
pub struct Entries<'a>(pub &'a [Entry]);

impl fmt::Display for Entries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        let mut entries = self.0.iter().peekable();
        while let Some(entry) = entries.next() {
            if !std::mem::take(&mut first) {
                f.write_str(" and ")?;
            }
            match entry {
                Entry::Note(note) => note.kind.fmt(f)?,
                Entry::Batch(batch) => {
                    let mut end = batch.header.next_offset();
                    while let Some(Entry::Batch(next)) = entries.peek() {
                        end = next.header.next_offset();
                        entries.next();
                    }
                    write!(f, "[{},{end})", batch.header.base_offset)?;
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
            Self::Append { entries, flush, .. } => {
                write!(f, "append {}", Entries(entries))?;
                match flush {
                    Flush::Commit => Ok(()),
                    Flush::Replicated => f.write_str(" unsynced"),
                }
            }
            Self::Truncate { to } => write!(f, "truncate to {}", Short(*to)),
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
                    write!(
                        f,
                        "fill [{},{})",
                        first.header.base_offset,
                        last.header.next_offset()
                    )
                }
                (None, _) | (_, None) => f.write_str("fill nothing"),
            },
            Self::AcceptLoss { range } => {
                write!(f, "accept loss of [{},{})", range.start, range.end)
            }
            Self::SaveSnapshot { at, .. } => write!(f, "snapshot at {}", Short(*at)),
            Self::Delete => f.write_str("delete"),
        }
    }
}

impl fmt::Display for QueryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { offset, end, .. } => write!(f, "read [{offset},{end})"),
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
            Self::Release(request) => {
                let partition = request.partition.partition;
                write!(f, "Release p{partition} e{}", request.leader_epoch)
            }
            Self::Released {
                partition,
                leader_epoch,
            } => write!(f, "Released p{} e{leader_epoch}", partition.partition),
            Self::ControllerRequest { request, .. } => write!(f, "Ask {request}"),
            Self::ControllerResponse { response, .. } => write!(f, "Answer {response}"),
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
        let verdict = |reply: &VoteReply| {
            let granted = if reply.granted { "granted" } else { "refused" };
            let marked = if reply.marked { " marked" } else { "" };
            format!("{granted}{marked}")
        };
        match &self.body {
            ReplicaBody::PreVote(asked) => write!(f, "PreVote e{epoch} last {}", Short(asked.end)),
            ReplicaBody::PreVoteReply(reply) => write!(f, "PreVote {}", verdict(reply)),
            ReplicaBody::Vote(asked) => write!(f, "Vote e{epoch} last {}", Short(asked.end)),
            ReplicaBody::VoteReply(reply) => write!(f, "Vote e{epoch} {}", verdict(reply)),
            ReplicaBody::Append(append) => {
                write!(f, "Append e{epoch} after {}", Short(append.previous))?;
                if !append.entries.is_empty() {
                    write!(f, " {}", Entries(&append.entries))?;
                }
                write!(f, " hw {}", append.committed.end_offset)
            }
            ReplicaBody::AppendReply(AppendReply::Matched {
                appended,
                durable,
                whole,
                ..
            }) => {
                write!(f, "Append e{epoch} durable to {}", Short(*durable))?;
                if appended != durable {
                    write!(f, ", has {}", Short(*appended))?;
                }
                if *whole {
                    Ok(())
                } else {
                    f.write_str(" and lacks something")
                }
            }
            ReplicaBody::AppendReply(AppendReply::Diverged { hint, .. }) => {
                write!(f, "Append e{epoch} diverging {}", Short(*hint))
            }
            ReplicaBody::TransferLeadership => write!(f, "TransferLeadership e{epoch}"),
            ReplicaBody::Resigned => write!(f, "Resigned e{epoch}"),
            ReplicaBody::EpochEntered => write!(f, "EpochEntered e{epoch}"),
            ReplicaBody::ConfirmLeadership { round } => {
                write!(f, "ConfirmLeadership e{epoch} #{}", round.0)
            }
            ReplicaBody::ConfirmLeadershipReply { round } => {
                write!(f, "ConfirmLeadership e{epoch} #{} answered", round.0)
            }
            ReplicaBody::FillRequest { offset, end, .. } => {
                write!(f, "FillRequest [{offset},{end})")
            }
            ReplicaBody::FillReply { batches, .. } => {
                write!(f, "FillReply {} batches", batches.len())
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
            Self::Client { request, .. } => write!(f, "{}", request.api_key().name()),
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
            Self::Client(_) => f.write_str("for the client"),
        }
    }
}

impl fmt::Display for NoticeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartsElection(epoch, why) => {
                write!(f, "starts an election after e{epoch}: {why}")
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
            Self::Truncates(to) => write!(f, "truncates to {}", Short(*to)),
            Self::VotersChanged(voters) => {
                f.write_str("changes voters to")?;
                voters
                    .iter()
                    .try_for_each(|voter| write!(f, " n{}", voter.broker))
            }
            Self::Hole(start, end) => write!(f, "hole [{start},{end})"),
            Self::HoleFilled(start, end) => write!(f, "hole [{start},{end}) filled"),
            Self::HoleGivenUp(start, end) => {
                write!(f, "hole [{start},{end}) given up: no majority ever had it")
            }
            Self::HoleGivenUpWithPossibleLoss(start, end) => write!(
                f,
                "hole [{start},{end}) given up, since no voter has it: acknowledged records may be lost"
            ),
            Self::Suspect => f.write_str("suspect: may have lost what it acknowledged"),
            Self::SuspectCleared => f.write_str("suspect no more: has caught up"),
            Self::DuplicateBrokerId(words) => f.write_str(words),
            Self::DirectoryOffline(reason) => write!(f, "directory offline: {reason}"),
            Self::DiskFull => f.write_str("disk full"),
            Self::CommittedLost(committed) => write!(
                f,
                "the leader has lost committed entries, which this learner has up to {}, and takes nothing more",
                Short(*committed)
            ),
            Self::Refused(why) => write!(f, "refuses a message: {why}"),
        }
    }
}

impl fmt::Display for TrustLost {
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
