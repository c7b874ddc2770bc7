//! Orders of one replica fit each other: an append stands behind the log's end, a truncation names a position.

use super::{Checker, Fact, Observed, Step, show_partition, show_replica};

/// See the module.
#[derive(Debug)]
pub struct OrdersFit;

impl Checker for OrdersFit {
    fn name(&self) -> &'static str {
        "OrdersFit"
    }

    fn on_step(&mut self, seen: &Observed, _step: &Step<'_>) -> Result<(), String> {
        for fact in &seen.facts {
            if let Fact::Misfit(partition, replica, what) = fact {
                return Err(format!(
                    "{} of {} {what}",
                    show_replica(*replica),
                    show_partition(*partition)
                ));
            }
        }
        Ok(())
    }
}
