//! The high watermark is at most what a majority of the voters holds, durably (or in memory, where the topic's
//! `flush` says so), the leader's own disk not necessarily among them.

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
                partition, replica, ..
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
        }
        Ok(())
    }
}
