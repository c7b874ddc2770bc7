//! At most one leader a leader epoch: whoever sends entries or announces that it leads is the only one to do so (Raft's
//! election safety).

use std::collections::BTreeMap;

use varve_core::effect::{Effect, NoticeKind};
use varve_core::ids::{LeaderEpoch, TopicPartition, Voter};
use varve_core::peer::{PeerMessage, ReplicaBody};

use super::{Checker, Observed, Step, show_partition, show_replica};

/// See the module.
#[derive(Debug, Default)]
pub struct SingleLeaderPerEpoch {
    leaders: BTreeMap<(TopicPartition, LeaderEpoch), Voter>,
}

impl SingleLeaderPerEpoch {
    fn leads(
        &mut self,
        partition: TopicPartition,
        leader_epoch: LeaderEpoch,
        leader: Voter,
    ) -> Result<(), String> {
        let known = *self
            .leaders
            .entry((partition, leader_epoch))
            .or_insert(leader);
        if known == leader {
            Ok(())
        } else {
            Err(format!(
                "{} and {} both lead {} in e{leader_epoch}",
                show_replica(known),
                show_replica(leader),
                show_partition(partition)
            ))
        }
    }
}

impl Checker for SingleLeaderPerEpoch {
    fn name(&self) -> &'static str {
        "SingleLeaderPerEpoch"
    }

    fn on_step(&mut self, _seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            match effect {
                Effect::Send {
                    message: PeerMessage::Replica(message),
                    ..
                } if matches!(message.body, ReplicaBody::Append(_)) => {
                    self.leads(message.partition, message.leader_epoch, message.from)?;
                }
                Effect::Notice(notice) => {
                    if let (
                        Some(partition),
                        NoticeKind::Leads(leader_epoch)
                        | NoticeKind::LeadsWithPossibleLoss(leader_epoch),
                    ) = (notice.partition, &notice.what)
                    {
                        self.leads(partition, *leader_epoch, step.me)?;
                    }
                }
                Effect::Send { .. }
                | Effect::Store(_)
                | Effect::Query(_)
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
        Ok(())
    }
}
