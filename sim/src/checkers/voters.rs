//! Two configurations in use for one partition always have quorums that intersect: a leader changes one voter at
//! a time, only after its own opening has committed (Raft's single-server change and its correction), and only
//! after the change before has.

use std::collections::{BTreeMap, BTreeSet};

use varve_core::effect::Effect;
use varve_core::ids::{TopicPartition, Voter};
use varve_core::log::{Entry, NoteKind, Position};
use varve_core::store::{OrderKind, Recovered};

use super::{Checker, Observed, Step, show_partition, show_replica};

/// The position behind a voter note, and the voters that it names.
type Configuration = (Position, BTreeSet<Voter>);

/// See the module.
#[derive(Debug, Default)]
pub struct VotersChangeOneByOne {
    /// By replica: its log's configurations, each with the position behind its note.
    configurations: BTreeMap<(TopicPartition, Voter), Vec<Configuration>>,
    /// By replica: the position behind its own latest opening.
    openings: BTreeMap<(TopicPartition, Voter), Position>,
}

impl Checker for VotersChangeOneByOne {
    fn name(&self) -> &'static str {
        "VotersChangeOneByOne"
    }

    /// What was ordered and never stored is gone from its log, and whatever it led, it leads no more: entries of its own
    /// epoch come back to it as to any follower.
    fn on_start(&mut self, _seen: &Observed, recovered: &Recovered) -> Result<(), String> {
        let me = Voter {
            broker: recovered.broker,
            directory: recovered.directory,
        };
        self.openings.retain(|(_, voter), _| *voter != me);
        for found in &recovered.replicas {
            if let Some(configurations) = self.configurations.get_mut(&(found.replica, me)) {
                configurations.retain(|(position, _)| position.notes <= found.end.notes);
            }
        }
        Ok(())
    }

    fn on_step(&mut self, seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            let Effect::Store(order) = effect else {
                continue;
            };
            let key = (order.replica, step.me);
            match &order.kind {
                OrderKind::Create { voters } => {
                    let voters = voters.iter().copied().collect();
                    self.configurations
                        .insert(key, vec![(Position::default(), voters)]);
                }
                OrderKind::Truncate { to } => {
                    if let Some(configurations) = self.configurations.get_mut(&key) {
                        configurations.retain(|(position, _)| position.notes <= to.notes);
                    }
                }
                OrderKind::Delete => {
                    self.configurations.remove(&key);
                    self.openings.remove(&key);
                }
                OrderKind::Append { after, entries, .. } => {
                    // What the store has refused is dropped without an order.
                    if let Some(configurations) = self.configurations.get_mut(&key) {
                        configurations.retain(|(position, _)| position.notes <= after.notes);
                    }
                    let mut position = *after;
                    for entry in entries {
                        position = entry.position_after(position);
                        let Entry::Note(note) = entry else {
                            continue;
                        };
                        match &note.kind {
                            NoteKind::Opening { leader } => {
                                if *leader == step.me && step.leads(order.replica) {
                                    self.openings.insert(key, position);
                                }
                            }
                            NoteKind::Voters(voters) => {
                                let voters = voters.iter().copied().collect();
                                self.change(seen, key, position, voters)?;
                            }
                            NoteKind::LogStart(_) | NoteKind::ClockTick(_) => {}
                        }
                    }
                }
                OrderKind::StoreVote(_)
                | OrderKind::SetMark(_)
                | OrderKind::Probe
                | OrderKind::Fill { .. }
                | OrderKind::AcceptLoss { .. }
                | OrderKind::SaveSnapshot { .. } => {}
            }
        }
        Ok(())
    }
}

impl VotersChangeOneByOne {
    fn change(
        &mut self,
        seen: &Observed,
        key: (TopicPartition, Voter),
        position: Position,
        voters: BTreeSet<Voter>,
    ) -> Result<(), String> {
        let configurations = self.configurations.entry(key).or_default();
        let said = |what: String| {
            Err(format!(
                "{} of {} {what}",
                show_replica(key.1),
                show_partition(key.0)
            ))
        };
        if let Some((before, last)) = configurations.last() {
            // Only a leader changes anything: a follower, which may not know the first voters, takes its log.
            let leads = self
                .openings
                .get(&key)
                .filter(|opening| opening.leader_epoch == position.leader_epoch);
            if let Some(opening) = leads {
                if last.symmetric_difference(&voters).count() > 1 {
                    return said("changes more than one voter at once".to_owned());
                }
                let committed = seen.committed(key.0).last().map(|last| last.after);
                if committed.is_none_or(|committed| committed.notes < opening.notes) {
                    return said(format!(
                        "changes voters before its opening of e{} has committed",
                        opening.leader_epoch
                    ));
                }
                if committed.is_none_or(|committed| committed.notes < before.notes) {
                    return said(
                        "changes voters before the change before has committed".to_owned(),
                    );
                }
            }
        }
        configurations.push((position, voters));
        Ok(())
    }
}
