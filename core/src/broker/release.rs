//! Letting go of replicas that are wanted no more (docs/protocol.md 6.4).
//!
//! That neither the target nor the reported voters have a replica is not enough to delete it: a leader that has not
//! heard of the target yet may be about to add it to the voters, and would wait for ever for the word of what is gone.
//! So the replica asks the leader, and is kept until that says that it counts on it no more. Whoever leads later
//! either has the log of this leader, or has had an answer of the replica in a later epoch.
//!
//! What is deleted has forgotten which epochs it had entered, and may be made anew by the same name. A leader of an earlier
//! epoch that has not heard that it is deposed goes on counting it among its voters. So the metadata have a report of the
//! releasing leader's epoch before it releases anybody, and a replica that is made anew, by a later record, begins there.

use crate::effect::{Effect, Effects};
use crate::hooks::Mutant;
use crate::ids::{LeaderEpoch, TopicPartition};
use crate::peer::{PeerIdentity, PeerMessage, ReleaseRequest};

use super::{Broker, Timer};

impl Broker {
    /// Asks again for all replicas that are wanted no more.
    pub(super) fn ask_for_releases(&mut self, fx: &mut Effects) {
        for partition in self.metadata.unwanted.clone() {
            self.ask_for_release(partition, fx);
        }
    }

    /// Asks whoever leads a partition to release this broker's replica of it.
    pub(super) fn ask_for_release(&mut self, partition: TopicPartition, fx: &mut Effects) {
        if fx.mutant(Mutant::DeletesUnreleased) {
            self.delete_replica(partition, fx);
            return;
        }
        let (Some(replica), Some((leader, _))) =
            (self.replica(partition), self.leader_hint(partition))
        else {
            return;
        };
        if leader != self.me.broker {
            let request = ReleaseRequest {
                partition,
                leader_epoch: replica.leader_epoch(),
                metadata_offset: self.metadata.applied(),
            };
            fx.push(Effect::Send {
                to: leader,
                message: PeerMessage::Release(request),
            });
        }
    }

    /// Releases a replica of which this broker knows whatever the asker does, if the leader here can do without it.
    pub(super) fn on_release(
        &mut self,
        from: PeerIdentity,
        request: ReleaseRequest,
        fx: &mut Effects,
    ) {
        let ReleaseRequest {
            partition,
            leader_epoch,
            metadata_offset,
        } = request;
        let Some(replica) = self.replica(partition) else {
            return;
        };
        let is_released = self.metadata.applied() >= metadata_offset
            && replica.leader_epoch() >= leader_epoch
            && replica.releases(from.voter());
        let leader_epoch = replica.leader_epoch();
        if is_released && self.report_epoch(partition, leader_epoch, fx) {
            fx.push(Effect::Send {
                to: from.broker,
                message: PeerMessage::Released {
                    partition,
                    leader_epoch,
                },
            });
        }
    }

    /// The leader of an epoch counts on this broker's replica no more. That of a later one, which the replica has heard
    /// meanwhile, may.
    pub(super) fn on_released(
        &mut self,
        partition: TopicPartition,
        leader_epoch: LeaderEpoch,
        fx: &mut Effects,
    ) {
        let has_moved_on = self
            .replica(partition)
            .is_some_and(|replica| replica.leader_epoch() > leader_epoch);
        if self.metadata.unwanted.contains(&partition) && !has_moved_on {
            self.delete_replica(partition, fx);
        }
    }

    /// Deletes a replica that nobody counts on.
    pub(super) fn delete_replica(&mut self, partition: TopicPartition, fx: &mut Effects) {
        self.with_replica(partition, fx, |replica, cx| replica.delete(cx));
        self.replicas.remove(&partition);
        self.metadata.unwanted.remove(&partition);
        self.account_orders(partition, None);
        self.arm(Timer::Replica(partition), None);
        self.wake_requests(partition, fx);
    }
}
