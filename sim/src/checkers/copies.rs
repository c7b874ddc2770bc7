//! A copy that still counts is kept: a replica is deleted only when the committed voters of its partition do without
//! it, and those that the longest log names, committed or not, or when its topic is deleted. What the metadata want
//! changes nothing of that.

use std::collections::{BTreeMap, BTreeSet};

use varve_core::effect::Effect;
use varve_core::ids::{TopicPartition, Voter};
use varve_core::log::Position;
use varve_core::store::OrderKind;

use super::observed::{index_of, voters_of};
use super::{Checker, Logged, Observed, Step, show_partition, show_replica};

/// See the module.
#[derive(Debug, Default)]
pub struct CountingCopiesAreKept {
    /// By partition and the position behind the note that names them; the voters of the creation at the beginning.
    voters: BTreeMap<TopicPartition, BTreeMap<Position, BTreeSet<Voter>>>,
}

impl Checker for CountingCopiesAreKept {
    fn name(&self) -> &'static str {
        "CountingCopiesAreKept"
    }

    fn on_step(&mut self, seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            let Effect::Store(order) = effect else {
                continue;
            };
            let voters = self.voters.entry(order.replica).or_default();
            match &order.kind {
                // A replica that is no voter of the creation is not told of itself.
                OrderKind::Create { voters: named } => {
                    voters.entry(Position::default()).or_default().extend(named);
                }
                OrderKind::Append { after, entries, .. } => {
                    let mut position = *after;
                    for entry in entries {
                        position = entry.position_after(position);
                        if let Some(named) = voters_of(entry) {
                            voters.insert(position, named.iter().copied().collect());
                        }
                    }
                }
                OrderKind::Delete if !seen.is_removed(order.replica) => {
                    let counts = |log: &[Logged]| {
                        let mut named = voters.iter().rev();
                        let last = named.find(|(position, _)| index_of(log, **position).is_some());
                        last.is_some_and(|(_, voters)| voters.contains(&step.me))
                    };
                    let copies = seen.shadows(order.replica);
                    let logs = copies
                        .filter(|(_, copy)| !copy.gone)
                        .map(|(_, copy)| &copy.ordered);
                    let longest = logs.max_by_key(|stored| stored.end());
                    let why = if counts(seen.committed(order.replica)) {
                        "it is a committed voter"
                    } else if longest.is_some_and(|stored| counts(&stored.log)) {
                        "the longest log makes it a voter"
                    } else {
                        continue;
                    };
                    return Err(format!(
                        "{} deletes its copy of {}, of which {why}",
                        show_replica(step.me),
                        show_partition(order.replica)
                    ));
                }
                OrderKind::Delete
                | OrderKind::Truncate { .. }
                | OrderKind::StoreVote(_)
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
