//! A replica that may have lost what it acknowledged never leads, but where every voter granted and the
//! possible loss is said.

use varve_core::effect::{Effect, NoticeKind};

use super::{Checker, Observed, Step, show_partition, show_replica};

/// See the module.
#[derive(Debug)]
pub struct SuspectsNeverLead;

impl Checker for SuspectsNeverLead {
    fn name(&self) -> &'static str {
        "SuspectsNeverLead"
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
            let suspect = seen
                .shadow(partition, step.me)
                .is_some_and(|shadow| shadow.ordered.mark.is_suspect());
            if suspect {
                return Err(format!(
                    "{} leads e{leader_epoch} of {} as a suspect",
                    show_replica(step.me),
                    show_partition(partition)
                ));
            }
        }
        Ok(())
    }
}
