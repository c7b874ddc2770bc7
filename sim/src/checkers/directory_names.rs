//! A wiped directory never speaks by its old name: whatever a replica sends names the directory it runs on.

use varve_core::effect::Effect;
use varve_core::peer::PeerMessage;

use super::{Checker, Observed, Step, show_partition};

/// See the module.
#[derive(Debug)]
pub struct WipedDirectoriesAreSilent;

impl Checker for WipedDirectoriesAreSilent {
    fn name(&self) -> &'static str {
        "WipedDirectoriesAreSilent"
    }

    fn on_step(&mut self, _seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            if let Effect::Send {
                message: PeerMessage::Replica(message),
                ..
            } = effect
                && message.from != step.me
            {
                return Err(format!(
                    "n{} speaks of {} by the name of another directory",
                    step.node,
                    show_partition(message.partition)
                ));
            }
        }
        Ok(())
    }
}
