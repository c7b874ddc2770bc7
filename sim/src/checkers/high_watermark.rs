//! The high watermark is at most what a majority of the voters holds, durably (or in memory, where the topic's
//! `flush` says so, but for notes), the leader's own disk not necessarily among them. A voter holds what it has, or has
//! acknowledged while it had it: a leader may take that in when the voter has lost it, to rot or a power cut.

use std::collections::BTreeMap;

use varve_core::ids::{TopicPartition, Voter};

use super::observed::Shadow;
use super::{Checker, Fact, Logged, Observed, Step, show_partition, show_replica};

/// See the module.
#[derive(Debug, Default)]
pub struct MajorityReachedHighWatermark {
    /// The voters of each replica's log, as last seen.
    voters: BTreeMap<(TopicPartition, Voter), Vec<Voter>>,
}

impl Checker for MajorityReachedHighWatermark {
    fn name(&self) -> &'static str {
        "MajorityReachedHighWatermark"
    }

    fn on_step(&mut self, seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for fact in &seen.facts {
            let Fact::Committed {
                partition,
                replica,
                from,
            } = fact
            else {
                continue;
            };
            let committed = seen.committed(*partition);
            let Some(last) = committed.last() else {
                continue;
            };
            let Some((_, view)) = step.views.iter().find(|(id, _)| id == partition) else {
                continue;
            };
            // A leader commits, and then the voters may change in the same step: by what it appends, or by what its disk
            // refuses.
            let before = self.voters.get(&(*partition, *replica));
            let majority = |holds: &dyn Fn(&&Voter) -> bool| {
                let count = |voters: &Vec<Voter>| voters.iter().filter(holds).count();
                let is_majority = |voters: &Vec<Voter>| count(voters) * 2 > voters.len();
                if before.is_some_and(is_majority) || is_majority(&view.voters) {
                    Ok(())
                } else {
                    Err(count(&view.voters))
                }
            };
            let in_memory = seen.is_replicated(*partition);
            let index = committed.len();
            let holds = |voter: &&Voter| {
                let shadow = seen.shadow(*partition, **voter);
                shadow.is_some_and(|shadow| has(shadow, in_memory, index, last))
            };
            if let Err(holders) = majority(&holds) {
                return Err(format!(
                    "{} of {} commits {} which only {holders} of {} voters hold",
                    show_replica(*replica),
                    show_partition(*partition),
                    last.after,
                    view.voters.len()
                ));
            }
            // Notes are committed where they are durable, whatever holds for records.
            let note = committed[*from..].iter().rposition(|entry| entry.crc == 0);
            if let Some(place) = note.map(|place| from + place) {
                let holds = |voter: &&Voter| {
                    let shadow = seen.shadow(*partition, **voter);
                    shadow.is_some_and(|shadow| has(shadow, false, place + 1, &committed[place]))
                };
                if let Err(holders) = majority(&holds) {
                    return Err(format!(
                        "{} of {} commits the note at {} which only {holders} of {} voters have on disk",
                        show_replica(*replica),
                        show_partition(*partition),
                        committed[place].after,
                        view.voters.len()
                    ));
                }
            }
        }
        for (partition, view) in step.views {
            let voters = self.voters.entry((*partition, step.me)).or_default();
            voters.clone_from(&view.voters);
        }
        Ok(())
    }
}

/// Whether a replica may be counted as having this entry at the end of so many.
fn has(shadow: &Shadow, in_memory: bool, index: usize, entry: &Logged) -> bool {
    let last = |log: &[Logged]| index > 0 && log.get(index - 1) == Some(entry);
    shadow.counted(in_memory).any(last)
}
