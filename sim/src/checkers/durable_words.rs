//! What a replica says is durable is durable: a vote before it is told, an end before it is acknowledged, a
//! candidate's own vote before it asks for others and leads, the epoch in which it denies that it ever had a record. Where records are
//! acknowledged ahead of the disk, the mark that admits it is, and the epoch in which it is said.

use varve_core::effect::{Effect, NoticeKind};
use varve_core::ids::LeaderEpoch;
use varve_core::peer::{AppendReply, Denial, PeerMessage, ReplicaBody, VoteReply};
use varve_core::store::{Mark, Vote};

use super::observed::Shadow;
use super::{Checker, Observed, Step, show_partition, show_replica};

/// See the module.
#[derive(Debug)]
pub struct WordsAreDurable;

impl Checker for WordsAreDurable {
    fn name(&self) -> &'static str {
        "WordsAreDurable"
    }

    fn on_step(&mut self, seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            if let Effect::Send {
                message: PeerMessage::Replica(message),
                ..
            } = effect
            {
                let Some(shadow) = seen.shadow(message.partition, message.from) else {
                    continue;
                };
                if step.deletes(message.partition) {
                    continue; // it said so before, and nothing is known any more of what it had then
                }
                let said = match &message.body {
                    ReplicaBody::VoteReply(VoteReply { refusal: None, .. }) => {
                        let vote = Vote {
                            leader_epoch: message.leader_epoch,
                            voted_for: Some(message.to),
                        };
                        (shadow.durable.vote != vote).then(|| {
                            format!(
                                "votes for {} before that is durable",
                                show_replica(message.to)
                            )
                        })
                    }
                    ReplicaBody::Vote(_) => {
                        let vote = Vote {
                            leader_epoch: message.leader_epoch,
                            voted_for: Some(message.from),
                        };
                        (shadow.durable.vote != vote)
                            .then(|| "asks for votes before its own is durable".to_owned())
                    }
                    ReplicaBody::AppendReply(AppendReply::Matched {
                        appended, durable, ..
                    }) => {
                        let has_appended = shadow.ordered.index_of(*appended);
                        let has_durable = shadow.durable.index_of(*durable);
                        if has_appended.is_none() {
                            Some(format!("acknowledges {appended}, which it does not have"))
                        } else if has_durable.is_none() {
                            Some(format!("acknowledges {durable} as durable, which is not"))
                        } else if seen.is_replicated(message.partition)
                            && has_records(shadow, has_durable, has_appended)
                        {
                            unadmitted(shadow, message.leader_epoch).map(|lacks| {
                                format!("acknowledges {appended} ahead of its disk, which {lacks}")
                            })
                        } else {
                            None
                        }
                    }
                    ReplicaBody::VoteReply(VoteReply {
                        refusal: Some(_), ..
                    })
                    | ReplicaBody::AppendReply(AppendReply::Diverged { .. })
                    | ReplicaBody::PreVote(_)
                    | ReplicaBody::PreVoteReply(_)
                    | ReplicaBody::Append(_)
                    | ReplicaBody::TransferLeadership
                    | ReplicaBody::Resigned
                    | ReplicaBody::EpochEntered
                    | ReplicaBody::ConfirmLeadership { .. }
                    | ReplicaBody::ConfirmLeadershipReply { .. }
                    | ReplicaBody::FillRequest { .. }
                    | ReplicaBody::FillReply { denial: None, .. } => None,
                    ReplicaBody::FillReply {
                        denial: Some(denial),
                        ..
                    } => {
                        let forgets = shadow.durable.vote.leader_epoch < message.leader_epoch;
                        let may_have_lost = match denial {
                            Denial::NeverHad => shadow.durable.mark.is_suspect(),
                            Denial::Marked => false,
                        };
                        (forgets || may_have_lost).then(|| {
                            "says that it has not a record, which it cannot know for good"
                                .to_owned()
                        })
                    }
                };
                if let Some(said) = said {
                    return Err(format!(
                        "{} of {} {said}",
                        show_replica(message.from),
                        show_partition(message.partition)
                    ));
                }
            }
            if let Effect::Notice(notice) = effect
                && let Some(partition) = notice.partition
                && let NoticeKind::Leads(leader_epoch)
                | NoticeKind::LeadsWithPossibleLoss(leader_epoch) = notice.what
                && let Some(shadow) = seen.shadow(partition, step.me)
                && shadow.durable.vote.leader_epoch != leader_epoch
            {
                return Err(format!(
                    "{} leads e{leader_epoch} of {} before its own vote is durable",
                    show_replica(step.me),
                    show_partition(partition)
                ));
            }
        }
        Ok(())
    }
}

/// What must be on the disk of a replica before it acknowledges records in memory in this epoch, and is not.
fn unadmitted(shadow: &Shadow, leader_epoch: LeaderEpoch) -> Option<&'static str> {
    let durable = &shadow.durable;
    let entered = durable.vote.leader_epoch.max(durable.end().leader_epoch);
    if durable.mark == Mark::Clean {
        Some("does not say so")
    } else if entered < leader_epoch {
        Some("knows nothing of the epoch")
    } else {
        None
    }
}

/// Whether there are records between two places of what a replica was ordered to store.
fn has_records(shadow: &Shadow, from: Option<usize>, to: Option<usize>) -> bool {
    let (Some(from), Some(to)) = (from, to) else {
        return false;
    };
    let between = shadow.ordered.log.get(from..to).unwrap_or_default();
    between.iter().any(|logged| logged.crc != 0)
}
