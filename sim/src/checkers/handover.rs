//! Leadership is handed over to nobody who lacks something: a voter is asked to start an election only when everything that its
//! leader has is durable on it, and the leader takes no more records then. Whoever starts one with less deposes the leader
//! and is refused by all who have more.

use std::collections::BTreeMap;
use std::time::Duration;

use varve_core::effect::Effect;
use varve_core::ids::{LeaderEpoch, TopicPartition, Voter};
use varve_core::links::Timing;
use varve_core::log::Entry;
use varve_core::peer::{PeerMessage, ReplicaBody};
use varve_core::store::{Order, OrderKind, Recovered};

use crate::clock::SimTime;

use super::{Checker, Observed, Step, show_partition, show_replica};

/// See the module.
#[derive(Debug)]
pub struct SuccessorsHaveEverything {
    /// How long a leader waits for its successor at least, whatever clock is looked at.
    patience: Duration,
    /// By leader: the epoch in which it has last asked another to start an election, and when.
    asked: BTreeMap<(TopicPartition, Voter), (LeaderEpoch, SimTime)>,
}

impl Default for SuccessorsHaveEverything {
    fn default() -> Self {
        Self {
            patience: Timing::default().election_timeout / 2,
            asked: BTreeMap::new(),
        }
    }
}

impl Checker for SuccessorsHaveEverything {
    fn name(&self) -> &'static str {
        "SuccessorsHaveEverything"
    }

    fn on_start(&mut self, _seen: &Observed, recovered: &Recovered) -> Result<(), String> {
        let broker = recovered.broker;
        self.asked.retain(|(_, voter), _| voter.broker != broker);
        Ok(())
    }

    fn on_step(&mut self, seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            if let Effect::Store(order) = effect {
                self.takes_nothing(order, step)?;
            }
            let Effect::Send {
                message: PeerMessage::Replica(message),
                ..
            } = effect
            else {
                continue;
            };
            if message.body != ReplicaBody::TransferLeadership {
                continue;
            }
            let end_of_leader = seen
                .shadow(message.partition, message.from)
                .map(|leader| leader.ordered.end());
            let durable = seen
                .shadow(message.partition, message.to)
                .map(|successor| successor.durable.end());
            if durable < end_of_leader {
                return Err(format!(
                    "{} of {} asks {} to start an election, which has not everything on its disk",
                    show_replica(message.from),
                    show_partition(message.partition),
                    show_replica(message.to)
                ));
            }
            let asked = (message.leader_epoch, step.at);
            let key = (message.partition, message.from);
            self.asked.insert(key, asked);
        }
        Ok(())
    }
}

impl SuccessorsHaveEverything {
    fn takes_nothing(&self, order: &Order, step: &Step<'_>) -> Result<(), String> {
        let OrderKind::Append { entries, .. } = &order.kind else {
            return Ok(());
        };
        let Some((leader_epoch, at)) = self.asked.get(&(order.replica, step.me)) else {
            return Ok(());
        };
        let takes = |entry: &Entry| match entry {
            Entry::Batch(batch) => batch.header.leader_epoch == *leader_epoch,
            Entry::Note(_) => false,
        };
        // What it took as a leader comes back to it, as to any follower, once it has been moved away and back.
        if step.leads(order.replica)
            && entries.iter().any(takes)
            && step.at.since(*at) < self.patience
        {
            return Err(format!(
                "{} of {} takes records of e{leader_epoch}, having asked another to start an election",
                show_replica(step.me),
                show_partition(order.replica)
            ));
        }
        Ok(())
    }
}
