//! Whoever starts an election because its leader's process has ended is right about that, unless the leader's machine was made to
//! refuse connections while the process ran: broken connections alone prove nothing.

use std::collections::BTreeMap;

use varve_core::effect::{Effect, LeaderLost, NoticeKind};
use varve_core::ids::{Incarnation, LeaderEpoch, TopicPartition, Voter};
use varve_core::input::Input;
use varve_core::peer::PeerIdentity;

use super::{Checker, Observed, Step, show_partition, show_replica, spoken_by};

/// See the module.
#[derive(Debug, Default)]
pub struct GoneLeadersAreGone {
    /// By node and partition: whom it followed last, in which epoch, and the start of that broker that said that it leads.
    followed: BTreeMap<(u8, TopicPartition), Followed>,
    /// Whose message the next step takes in.
    from: Option<PeerIdentity>,
}

#[derive(Debug)]
struct Followed {
    leader: Voter,
    leader_epoch: LeaderEpoch,
    incarnation: Incarnation,
}

impl Checker for GoneLeadersAreGone {
    fn name(&self) -> &'static str {
        "GoneLeadersAreGone"
    }

    fn on_input(&mut self, _node: u8, input: &Input) {
        self.from = spoken_by(input).map(|(from, _)| from);
    }

    fn on_step(&mut self, seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            let Effect::Notice(notice) = effect else {
                continue;
            };
            if let (NoticeKind::StartsElection(_, LeaderLost::ProcessGone), Some(partition)) =
                (&notice.what, notice.partition)
                && let Some(followed) = self.followed.get(&(step.node, partition))
                && seen.runs(followed.leader, followed.incarnation)
                && !seen.has_refused(followed.leader.broker)
            {
                return Err(format!(
                    "{} starts an election for {} since the process of {} has ended, and it runs",
                    show_replica(step.me),
                    show_partition(partition),
                    show_replica(followed.leader)
                ));
            }
        }
        for (partition, view) in step.views {
            let (Some(leader), Some(from)) = (view.leader, self.from) else {
                continue;
            };
            let key = (step.node, *partition);
            let known = self.followed.get(&key).is_some_and(|followed| {
                (followed.leader, followed.leader_epoch) == (leader, view.leader_epoch)
            });
            if !known && from.voter() == leader {
                let followed = Followed {
                    leader,
                    leader_epoch: view.leader_epoch,
                    incarnation: from.incarnation,
                };
                self.followed.insert(key, followed);
            }
        }
        Ok(())
    }
}
