//! A leader has everything that was committed in earlier epochs from the moment it leads (Raft's leader completeness). One
//! that is elected late, when its own vote is durable at last, may have been succeeded before.

use varve_core::effect::{Effect, NoticeKind};

use super::{Checker, Observed, Step, show_partition, show_replica};

/// See the module.
#[derive(Debug)]
pub struct LeaderHasAllCommitted;

impl Checker for LeaderHasAllCommitted {
    fn name(&self) -> &'static str {
        "LeaderHasAllCommitted"
    }

    fn on_step(&mut self, seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            let Effect::Notice(notice) = effect else {
                continue;
            };
            let (Some(partition), NoticeKind::Leads(leader_epoch)) =
                (notice.partition, &notice.what)
            else {
                continue;
            };
            let Some(shadow) = seen.shadow(partition, step.me) else {
                continue;
            };
            let missing = seen
                .committed_before(partition, *leader_epoch)
                .iter()
                .enumerate()
                .find(|(place, entry)| shadow.ordered.log.get(*place) != Some(*entry));
            if let Some((_, entry)) = missing {
                return Err(format!(
                    "{} leads e{leader_epoch} of {} without the entry at {} of e{}, which is committed",
                    show_replica(step.me),
                    show_partition(partition),
                    entry.offset,
                    entry.after.leader_epoch
                ));
            }
        }
        Ok(())
    }
}
