//! A replica's voters are those of the last voter note in its log, committed or not, or those of the partition's
//! creation: a note counts from the moment it is appended, and not any more once it is truncated.

use std::collections::BTreeMap;

use varve_core::effect::Effect;
use varve_core::ids::{TopicPartition, Voter};
use varve_core::log::{Note, NoteKind};
use varve_core::store::{OrderKind, Recovered};

use super::observed::voters_of;
use super::{Checker, Observed, Step, show_partition, show_replica};

/// See the module.
#[derive(Debug, Default)]
pub struct VotersAreOfTheLog {
    /// By replica: the voters that its log names, each with the number of notes up to there; 0 for the creation.
    named: BTreeMap<(TopicPartition, Voter), BTreeMap<u64, Vec<Voter>>>,
}

impl Checker for VotersAreOfTheLog {
    fn name(&self) -> &'static str {
        "VotersAreOfTheLog"
    }

    /// What was ordered and never stored is gone.
    fn on_start(&mut self, _seen: &Observed, recovered: &Recovered) -> Result<(), String> {
        let me = Voter {
            broker: recovered.broker,
            directory: recovered.directory,
        };
        self.named.retain(|(_, voter), _| *voter != me);
        for found in &recovered.replicas {
            let numbered = (found.notes_below + 1..).zip(&found.notes);
            let notes = numbered.filter_map(|(number, note)| Some((number, named_by(note)?)));
            // Where the journal has lost with which voters it was created, the metadata tells the replica.
            let creation = (!found.voters.is_empty()).then(|| (0, found.voters.clone()));
            let named = creation.into_iter().chain(notes);
            self.named.insert((found.replica, me), named.collect());
        }
        Ok(())
    }

    fn on_step(&mut self, _seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            let Effect::Store(order) = effect else {
                continue;
            };
            let named = self.named.entry((order.replica, step.me)).or_default();
            match &order.kind {
                OrderKind::Create { voters } => *named = BTreeMap::from([(0, voters.clone())]),
                OrderKind::Append { after, entries, .. } => {
                    // What the store has refused is dropped without an order.
                    named.retain(|number, _| *number <= after.notes);
                    let mut position = *after;
                    for entry in entries {
                        position = entry.position_after(position);
                        if let Some(voters) = voters_of(entry) {
                            named.insert(position.notes, voters.to_vec());
                        }
                    }
                }
                OrderKind::Truncate { to } => named.retain(|number, _| *number <= to.notes),
                OrderKind::Delete => named.clear(),
                OrderKind::StoreVote(_)
                | OrderKind::SetMark(_)
                | OrderKind::Probe
                | OrderKind::Fill { .. }
                | OrderKind::AcceptLoss { .. }
                | OrderKind::SaveSnapshot { .. } => {}
            }
        }
        for (partition, view) in step.views.iter().filter(|_| !step.crashed) {
            let named = self.named.get(&(*partition, step.me));
            let last = named.and_then(|named| named.range(..=view.end.notes).next_back());
            let Some((_, voters)) = last else {
                continue;
            };
            let mut voters = voters.clone();
            voters.sort_unstable();
            if voters != view.voters {
                return Err(format!(
                    "{} of {} counts other voters than the last note of its log names",
                    show_replica(step.me),
                    show_partition(*partition)
                ));
            }
        }
        Ok(())
    }
}

fn named_by(note: &Note) -> Option<Vec<Voter>> {
    match &note.kind {
        NoteKind::Voters(voters) => Some(voters.clone()),
        NoteKind::Opening { .. } | NoteKind::LogStart(_) | NoteKind::ClockTick(_) => None,
    }
}
