//! Whoever takes a record as leader has heard from a majority of the voters lately: one that has not may have been
//! replaced long ago, and is to find that out before it does anything else.

use std::collections::BTreeMap;
use std::time::Duration;

use varve_core::effect::Effect;
use varve_core::ids::{BrokerId, LeaderEpoch, Offset, TopicPartition, Voter};
use varve_core::input::Input;
use varve_core::links::Timing;
use varve_core::log::{Entry, NoteKind};
use varve_core::store::{OrderKind, Recovered};

use crate::clock::SimTime;

use super::{Checker, Observed, Step, show_partition, show_replica, spoken_by};

/// See the module.
#[derive(Debug)]
pub struct LeadersHearAMajority {
    /// A leader counts from when it *sent* what was echoed, and by its own clock, which may be slow: so this is twice
    /// what it allows itself.
    patience: Duration,
    /// By node: who was last heard when.
    heard: BTreeMap<u8, BTreeMap<BrokerId, SimTime>>,
    /// Whose message the next step of a node takes in.
    next: Option<(u8, BrokerId)>,
    /// The latest epoch that each replica has opened as its leader in this incarnation, and up to where it has taken
    /// records of it. What stands before is stored again: its disk had refused it, or it was lost and comes back.
    led: BTreeMap<(TopicPartition, Voter), (LeaderEpoch, Offset)>,
    /// When each replica last changed voters as a leader: of the new ones it may have heard nobody yet.
    changed: BTreeMap<(TopicPartition, Voter), SimTime>,
}

impl Default for LeadersHearAMajority {
    fn default() -> Self {
        Self {
            patience: Timing::default().election_timeout * 2,
            heard: BTreeMap::new(),
            next: None,
            led: BTreeMap::new(),
            changed: BTreeMap::new(),
        }
    }
}

impl Checker for LeadersHearAMajority {
    fn name(&self) -> &'static str {
        "LeadersHearAMajority"
    }

    fn on_start(&mut self, _seen: &Observed, recovered: &Recovered) -> Result<(), String> {
        let broker = recovered.broker;
        self.led.retain(|(_, voter), _| voter.broker != broker);
        self.heard.retain(|node, _| i32::from(*node) != broker.0);
        Ok(())
    }

    fn on_input(&mut self, node: u8, input: &Input) {
        self.next = spoken_by(input).map(|(from, _)| (node, from.broker));
    }

    fn on_step(&mut self, _seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            let Effect::Store(order) = effect else {
                continue;
            };
            if order.kind == OrderKind::Delete {
                self.led.remove(&(order.replica, step.me));
            }
            let OrderKind::Append { entries, .. } = &order.kind else {
                continue;
            };
            if step.changes_voters(order.replica) && step.leads(order.replica) {
                self.changed.insert((order.replica, step.me), step.at);
            }
            for entry in entries {
                match entry {
                    Entry::Note(note) => {
                        let is_own = note.kind == (NoteKind::Opening { leader: step.me });
                        if is_own && step.leads(order.replica) {
                            let key = (order.replica, step.me);
                            self.led.insert(key, (note.leader_epoch, note.offset));
                        }
                    }
                    Entry::Batch(batch) => {
                        let header = &batch.header;
                        if let Some((epoch, taken)) = self.led.get_mut(&(order.replica, step.me))
                            && *epoch == header.leader_epoch
                            && *taken <= header.base_offset
                        {
                            *taken = header.next_offset();
                            self.hears_majority(order.replica, step)?;
                        }
                    }
                }
            }
        }
        // What is due is done before the message is taken in.
        if let Some((node, broker)) = self.next.take() {
            let heard = self.heard.entry(node).or_default();
            heard.insert(broker, step.at);
        }
        Ok(())
    }
}

impl LeadersHearAMajority {
    fn hears_majority(&self, partition: TopicPartition, step: &Step<'_>) -> Result<(), String> {
        let Some((_, view)) = step.views.iter().find(|(id, _)| *id == partition) else {
            return Ok(());
        };
        let heard = self.heard.get(&step.node);
        let changed = self.changed.get(&(partition, step.me));
        let hears = |voter: &&Voter| {
            let at = heard.and_then(|heard| heard.get(&voter.broker));
            let at = at.into_iter().chain(changed).max();
            **voter == step.me || at.is_some_and(|at| step.at.since(*at) < self.patience)
        };
        let count = view.voters.iter().filter(hears).count();
        if count * 2 > view.voters.len() {
            return Ok(());
        }
        Err(format!(
            "{} takes records of {} as leader of e{} and has not heard from a majority of its voters for {}ms",
            show_replica(step.me),
            show_partition(partition),
            view.leader_epoch,
            self.patience.as_millis()
        ))
    }
}
