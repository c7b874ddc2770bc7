//! A vote once given in an epoch is never changed, across any crash: no replica tells two candidates of one epoch
//! that it votes for them, and none votes for another where it led itself.

use std::collections::BTreeMap;

use varve_core::effect::{Effect, NoticeKind};
use varve_core::ids::{LeaderEpoch, TopicPartition, Voter};
use varve_core::peer::{PeerMessage, ReplicaBody, VoteReply};

use super::{Checker, Observed, Step, show_partition, show_replica};

/// See the module.
#[derive(Debug, Default)]
pub struct VotesNeverChange {
    votes: BTreeMap<(TopicPartition, LeaderEpoch, Voter), Voter>,
}

impl VotesNeverChange {
    fn votes(
        &mut self,
        partition: TopicPartition,
        leader_epoch: LeaderEpoch,
        voter: Voter,
        candidate: Voter,
    ) -> Result<(), String> {
        let known = *self
            .votes
            .entry((partition, leader_epoch, voter))
            .or_insert(candidate);
        if known == candidate {
            Ok(())
        } else {
            Err(format!(
                "{} voted in e{leader_epoch} of {} for {} and for {}",
                show_replica(voter),
                show_partition(partition),
                show_replica(known),
                show_replica(candidate)
            ))
        }
    }
}

impl Checker for VotesNeverChange {
    fn name(&self) -> &'static str {
        "VotesNeverChange"
    }

    fn on_step(&mut self, _seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            if let Effect::Send {
                message: PeerMessage::Replica(message),
                ..
            } = effect
                && matches!(
                    message.body,
                    ReplicaBody::VoteReply(VoteReply { refusal: None, .. })
                )
            {
                self.votes(
                    message.partition,
                    message.leader_epoch,
                    message.from,
                    message.to,
                )?;
            }
            if let Effect::Notice(notice) = effect
                && let Some(partition) = notice.partition
                && let NoticeKind::Leads(leader_epoch)
                | NoticeKind::LeadsWithPossibleLoss(leader_epoch) = notice.what
            {
                self.votes(partition, leader_epoch, step.me, step.me)?;
            }
        }
        Ok(())
    }
}
