//! Deletes unwanted replicas once their leader has released them (docs/protocol.md 6.4).
//!
//! A replica cannot be deleted just because neither the target nor the reported voters have it: a leader that does not
//! know the target yet may be about to add the replica to the voters, and would wait for ever for the acknowledgement
//! of a deleted replica. So the replica requests a release from the leader, and is kept until the leader confirms that
//! it does not count it. A later leader either has the log of this leader, or has had an answer of the replica in a
//! later epoch.
//!
//! A deleted replica has lost the epochs that it had entered, and may be recreated as the same voter (broker id and
//! directory id). A leader of an earlier epoch that does not know that it is deposed still counts that voter. So a
//! replica is deleted only when the metadata that its own broker has applied include a voter report of the releasing
//! leader's epoch. A replica that a later record recreates begins in the reported epoch.

use crate::effect::{Effect, Effects};
use crate::hooks::Mutant;
use crate::ids::{LeaderEpoch, Offset, TopicPartition};
use crate::peer::{PeerIdentity, PeerMessage, ReleaseRequest};

use super::metadata::reported_epoch;
use super::{Broker, Timer};

impl Broker {
    /// Requests the release of all unwanted replicas again.
    pub(super) fn request_releases(&mut self, fx: &mut Effects) {
        for partition in self.metadata.unwanted.clone().into_keys() {
            self.request_release(partition, fx);
        }
    }

    /// Requests the release of this broker's replica from the leader of the partition.
    pub(super) fn request_release(&mut self, partition: TopicPartition, fx: &mut Effects) {
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

    /// Releases a replica, if this broker has applied at least the metadata that the sender has and its leader does not
    /// count the replica.
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
        if replica.is_leader() && leader_epoch > replica.leader_epoch() {
            // The replica may have voted or been a candidate in that epoch. The leader sends it nothing any more, so no
            // other message tells the leader of that epoch.
            self.with_replica(partition, fx, |replica, cx| {
                replica.enter_epoch(leader_epoch, from.voter(), cx);
            });
            return;
        }
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
                    metadata_offset,
                },
            });
        }
    }

    /// The leader of `leader_epoch` has released this broker's replica. If the replica has entered a later epoch since,
    /// the leader of that epoch may still count it. The controller has the report of the releasing epoch, but this
    /// broker may not have applied it, and an earlier record may assign the replica again: so the replica is kept, and
    /// retries its request, until this broker has applied the report.
    pub(super) fn on_released(
        &mut self,
        partition: TopicPartition,
        leader_epoch: LeaderEpoch,
        metadata_offset: Offset,
        fx: &mut Effects,
    ) {
        let unwanted = self.metadata.unwanted.get(&partition);
        // A release that was requested before the replica was assigned again is void: that leader may count the replica
        // by now.
        let is_answer = unwanted.is_some_and(|since| {
            metadata_offset >= *since || fx.mutant(Mutant::AcceptsStaleReleases)
        });
        let has_moved_on = self
            .replica(partition)
            .is_some_and(|replica| replica.leader_epoch() > leader_epoch);
        let is_reported = reported_epoch(self.metadata.image(), partition) >= leader_epoch;
        if is_answer && !has_moved_on && is_reported {
            self.delete_replica(partition, fx);
        }
    }

    /// Deletes a replica that no leader counts.
    pub(super) fn delete_replica(&mut self, partition: TopicPartition, fx: &mut Effects) {
        self.with_replica(partition, fx, |replica, cx| replica.delete(cx));
        self.replicas.remove(&partition);
        self.metadata.unwanted.remove(&partition);
        self.update_pending_orders(partition, None);
        self.arm(Timer::Replica(partition), None);
        self.wake_requests(partition, fx);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{identity, node, now};
    use super::*;
    use crate::cluster::{MetadataRecord, VoterReport};
    use crate::ids::{PartitionIndex, TopicId};
    use crate::input::Input;

    #[test]
    fn a_replica_is_kept_until_its_own_broker_has_the_report_of_the_epoch_that_releases_it() {
        let mut fx = Effects::new();
        let mut broker = node(identity(1, 11), &mut fx);
        let partition = TopicPartition {
            topic: TopicId(5),
            partition: PartitionIndex(0),
        };
        let (me, leader) = (identity(1, 11), identity(2, 21));
        let others = vec![leader.voter(), identity(3, 31).voter()];
        let report = |epoch| MetadataRecord::PartitionVoters {
            report: VoterReport {
                partition,
                leader_epoch: LeaderEpoch(epoch),
                notes: 3,
                voters: others.clone(),
            },
        };
        let target = |target: &[_]| MetadataRecord::PartitionTarget {
            partition,
            target: target.to_vec(),
        };
        let registration = broker.setup.registration.clone();
        broker.learn(&MetadataRecord::RegisterBroker { registration }, &mut fx);
        let (id, name) = (partition.topic, "t".to_owned());
        broker.learn(&MetadataRecord::Topic { id, name }, &mut fx);
        let creation = MetadataRecord::Partition {
            partition,
            voters: others.clone(),
            target: [&others[..], &[me.voter()]].concat(),
        };
        broker.learn(&creation, &mut fx);
        assert!(broker.replica(partition).is_some());
        broker.learn(&target(&others), &mut fx);
        let released = |broker: &mut Broker, fx: &mut Effects| {
            let message = PeerMessage::Released {
                partition,
                leader_epoch: LeaderEpoch(3),
                metadata_offset: broker.metadata.applied(),
            };
            let (from, session) = (leader, 1);
            let input = Input::Peer {
                from,
                session,
                message,
            };
            broker.step(now(1), input, fx);
        };
        for report in [None, Some(report(2))] {
            if let Some(report) = report {
                broker.learn(&report, &mut fx);
            }
            released(&mut broker, &mut fx);
            assert!(broker.replica(partition).is_some(), "it may be made anew");
        }
        broker.learn(&report(3), &mut fx);
        released(&mut broker, &mut fx);
        assert!(broker.replica(partition).is_none());
    }
}
