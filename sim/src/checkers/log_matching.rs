//! Log matching (Raft 5.3): two logs that have one position have the same entries before it. It is enough that no two
//! replicas ever have different entries, or different positions before them, in front of the same position.

use std::collections::BTreeMap;

use varve_core::effect::Effect;
use varve_core::ids::TopicPartition;
use varve_core::log::Position;
use varve_core::store::OrderKind;

use super::observed::Logged;
use super::{Checker, Observed, Step, show_partition, show_replica};

/// See the module.
#[derive(Debug, Default)]
pub struct LogsMatch {
    /// By position: the position before it, and the entry between.
    entries: BTreeMap<(TopicPartition, Position), (Position, Logged)>,
}

impl Checker for LogsMatch {
    fn name(&self) -> &'static str {
        "LogsMatch"
    }

    fn on_step(&mut self, seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            let Effect::Store(order) = effect else {
                continue;
            };
            let OrderKind::Append { after, .. } = &order.kind else {
                continue;
            };
            let partition = order.replica;
            let Some(shadow) = seen.shadow(partition, step.me) else {
                continue;
            };
            let log = &shadow.ordered.log;
            let Some(from) = shadow.ordered.index_of(*after) else {
                continue; // dropped again in the same step
            };
            let mut before = *after;
            for &logged in &log[from..] {
                let key = (partition, logged.after);
                let known = *self.entries.entry(key).or_insert((before, logged));
                if known != (before, logged) {
                    return Err(format!(
                        "{} of {} has another entry or another position before {} than others",
                        show_replica(step.me),
                        show_partition(partition),
                        logged.after
                    ));
                }
                before = logged.after;
            }
        }
        Ok(())
    }
}
