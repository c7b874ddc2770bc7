//! Committed data is the same everywhere and for ever: two replicas never commit different entries at one place,
//! and no replica drops an entry that is committed.

use super::{Checker, Fact, Observed, Step, show_partition, show_replica};

/// See the module.
#[derive(Debug)]
pub struct ConsistentCommittedData;

impl Checker for ConsistentCommittedData {
    fn name(&self) -> &'static str {
        "ConsistentCommittedData"
    }

    fn on_step(&mut self, seen: &Observed, _step: &Step<'_>) -> Result<(), String> {
        for fact in &seen.facts {
            match fact {
                Fact::Conflict(partition, replica, what) => {
                    return Err(format!(
                        "{} of {} {what}",
                        show_replica(*replica),
                        show_partition(*partition)
                    ));
                }
                Fact::Truncated {
                    partition,
                    replica,
                    kept,
                    dropped,
                } => {
                    let committed = seen.committed(*partition);
                    if let (Some(first), Some(entry)) = (dropped.first(), committed.get(*kept))
                        && first == entry
                    {
                        return Err(format!(
                            "{} of {} drops its entry at {}, which is committed",
                            show_replica(*replica),
                            show_partition(*partition),
                            first.offset
                        ));
                    }
                }
                Fact::Misfit(..) | Fact::Committed { .. } => {}
            }
        }
        Ok(())
    }
}
