//! Leadership is handed over to nobody who lacks something: a voter is asked to stand only when everything that its
//! leader has is durable on it. Whoever stands with less deposes the leader and is refused by all who have more.

use varve_core::effect::Effect;
use varve_core::peer::{PeerMessage, ReplicaBody};

use super::{Checker, Observed, Step, show_partition, show_replica};

/// See the module.
#[derive(Debug)]
pub struct SuccessorsHaveEverything;

impl Checker for SuccessorsHaveEverything {
    fn name(&self) -> &'static str {
        "SuccessorsHaveEverything"
    }

    fn on_step(&mut self, seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            let Effect::Send {
                message: PeerMessage::Replica(message),
                ..
            } = effect
            else {
                continue;
            };
            if message.body != ReplicaBody::TransferLeadership {
                continue;
            }
            let end_of_leader = seen
                .shadow(message.partition, message.from)
                .map(|leader| leader.ordered.end());
            let durable = seen
                .shadow(message.partition, message.to)
                .map(|successor| successor.durable.end());
            if durable < end_of_leader {
                return Err(format!(
                    "{} of {} asks {} to stand, which has not everything on its disk",
                    show_replica(message.from),
                    show_partition(message.partition),
                    show_replica(message.to)
                ));
            }
        }
        Ok(())
    }
}
