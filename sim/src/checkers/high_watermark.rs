//! The high watermark is at most what a majority of the voters holds, durably (or in memory, where the topic's
//! `flush` says so, but for notes), the leader's own disk not necessarily among them.

use varve_core::ids::Voter;

use super::{Checker, Fact, Observed, Step, show_partition, show_replica};

/// See the module.
#[derive(Debug)]
pub struct MajorityReachedHighWatermark;

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
            let in_memory = seen.is_replicated(*partition);
            let index = committed.len();
            let holders = view
                .voters
                .iter()
                .filter(|voter| {
                    seen.shadow(*partition, **voter).is_some_and(|shadow| {
                        if in_memory {
                            shadow.has_ordered(index, last)
                        } else {
                            shadow.has_durable(index, last)
                        }
                    })
                })
                .count();
            if holders * 2 <= view.voters.len() {
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
                    shadow.is_some_and(|shadow| shadow.has_durable(place + 1, &committed[place]))
                };
                let holders = view.voters.iter().filter(holds).count();
                if holders * 2 <= view.voters.len() {
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
        Ok(())
    }
}
