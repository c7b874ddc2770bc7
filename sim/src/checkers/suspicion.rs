//! A replica that may have lost what it acknowledged is a suspect until it has it again: it is cleared only once
//! everything is durable that was committed in the epochs in which it may have helped, or where every voter
//! granted and the possible loss is said. A replica that is no voter of the creation begins as one, and so does one that
//! has been there before and was deleted.

use std::collections::{BTreeMap, BTreeSet};

use varve_core::effect::{Effect, NoticeKind};
use varve_core::ids::{LeaderEpoch, TopicPartition, Voter};
use varve_core::store::{Mark, OrderKind, Recovered};

use super::{Checker, Observed, Step, show_partition, show_replica};

/// See the module.
#[derive(Debug, Default)]
pub struct SuspicionEndsWhenCaughtUp {
    /// By suspect: how many entries were committed in the epochs up to its own when it started.
    owed: BTreeMap<(TopicPartition, Voter), usize>,
    /// Replicas that have been deleted.
    deleted: BTreeSet<(TopicPartition, Voter)>,
}

impl Checker for SuspicionEndsWhenCaughtUp {
    fn name(&self) -> &'static str {
        "SuspicionEndsWhenCaughtUp"
    }

    fn on_start(&mut self, seen: &Observed, recovered: &Recovered) -> Result<(), String> {
        let me = Voter {
            broker: recovered.broker,
            directory: recovered.directory,
        };
        for replica in &recovered.replicas {
            if replica.mark.is_suspect() {
                let epoch = replica.vote.leader_epoch.max(replica.end.leader_epoch);
                let owed = committed_up_to(seen, replica.replica, epoch);
                self.owed.insert((replica.replica, me), owed);
            }
        }
        Ok(())
    }

    fn on_step(&mut self, seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            match effect {
                Effect::Notice(notice) => {
                    if let (Some(partition), NoticeKind::LeadsWithPossibleLoss(_)) =
                        (notice.partition, &notice.what)
                    {
                        self.owed.remove(&(partition, step.me));
                    }
                }
                Effect::Store(order) => match &order.kind {
                    OrderKind::SetMark(Mark::Clean) => {
                        self.is_cleared(seen, order.replica, step.me)?;
                    }
                    OrderKind::Create { voters } => {
                        let was_here = self.deleted.contains(&(order.replica, step.me));
                        if (was_here || !voters.contains(&step.me)) && !step.crashed {
                            is_suspected(order.replica, step)?;
                        }
                    }
                    OrderKind::Delete => {
                        self.deleted.insert((order.replica, step.me));
                    }
                    OrderKind::SetMark(Mark::Volatile | Mark::Suspect | Mark::New)
                    | OrderKind::Append { .. }
                    | OrderKind::Truncate { .. }
                    | OrderKind::StoreVote(_)
                    | OrderKind::Probe
                    | OrderKind::Fill { .. }
                    | OrderKind::AcceptLoss { .. }
                    | OrderKind::SaveSnapshot { .. } => {}
                },
                Effect::Send { .. }
                | Effect::Query(_)
                | Effect::Respond { .. }
                | Effect::Close(_)
                | Effect::Peers { .. }
                | Effect::Joined(_)
                | Effect::Redial(_)
                | Effect::CloseSession { .. }
                | Effect::AcceptPeer { .. }
                | Effect::RejectPeer { .. }
                | Effect::Ready
                | Effect::CloseClients
                | Effect::Stopped => {}
            }
        }
        Ok(())
    }
}

impl SuspicionEndsWhenCaughtUp {
    fn is_cleared(
        &mut self,
        seen: &Observed,
        partition: TopicPartition,
        me: Voter,
    ) -> Result<(), String> {
        let Some(owed) = self.owed.remove(&(partition, me)) else {
            return Ok(());
        };
        let Some(shadow) = seen.shadow(partition, me) else {
            return Ok(());
        };
        let mut committed = seen.committed(partition).iter().take(owed).enumerate();
        match committed.find(|(place, entry)| shadow.durable.log.get(*place) != Some(*entry)) {
            None => Ok(()),
            Some((_, entry)) => Err(format!(
                "{} of {} is no suspect any more, and lacks the entry at {} of e{}, which it may have acknowledged",
                show_replica(me),
                show_partition(partition),
                entry.offset,
                entry.after.leader_epoch
            )),
        }
    }
}

/// Entries committed in this epoch and before.
fn committed_up_to(seen: &Observed, partition: TopicPartition, epoch: LeaderEpoch) -> usize {
    seen.committed(partition)
        .partition_point(|entry| entry.after.leader_epoch <= epoch)
}

fn is_suspected(partition: TopicPartition, step: &Step<'_>) -> Result<(), String> {
    let suspected = step.effects.iter().any(|effect| {
        matches!(effect, Effect::Store(order)
            if order.replica == partition && order.kind == OrderKind::SetMark(Mark::New))
    });
    if suspected {
        Ok(())
    } else {
        Err(format!(
            "{} makes a replica of {} that may have been there before, and trusts it",
            show_replica(step.me),
            show_partition(partition)
        ))
    }
}
