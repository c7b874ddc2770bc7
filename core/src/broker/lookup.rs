//! Resolves the topics and partitions of a client's request, and checks whether this broker leads them.

use crate::effect::Effects;
use crate::ids::{BrokerId, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicPartition};
use crate::peer::LeadershipRound;
use crate::replica::{Confirmation, Replica};
use crate::wire::ErrorCode;

use super::Broker;

/// A topic by name or by id: newer versions of Produce and Fetch have ids only.
#[derive(Clone, Copy, Debug)]
pub(super) enum TopicReference<'a> {
    Name(&'a str),
    Id(TopicId),
}

/// The address of a broker for a client, by the listener of the client's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeAddress {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) rack: Option<String>,
}

/// A leadership confirmation that a request waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingConfirmation {
    pub(super) partition: TopicPartition,
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) round: LeadershipRound,
}

impl Broker {
    /// Asks the voters of a partition whether this broker is still its current leader (ReadIndex).
    ///
    /// # Panics
    /// Where this broker's replica of the partition is not its leader.
    pub(super) fn confirm_leadership(
        &mut self,
        partition: TopicPartition,
        fx: &mut Effects,
    ) -> PendingConfirmation {
        let (leader_epoch, round) = self
            .with_replica(partition, fx, Replica::confirm_leadership)
            .expect("it was just seen to lead");
        PendingConfirmation {
            partition,
            leader_epoch,
            round,
        }
    }

    /// Whether the voters have confirmed that leadership.
    pub(super) fn confirmation(&self, pending: PendingConfirmation) -> Confirmation {
        let replica = self.replica(pending.partition);
        replica.map_or(Confirmation::LeadershipLost, |replica| {
            replica.confirmation(pending.leader_epoch, pending.round)
        })
    }

    /// The id of a topic.
    ///
    /// # Errors
    /// Kafka's error for an unknown name or id.
    pub(super) fn find_topic(&self, topic: TopicReference<'_>) -> Result<TopicId, ErrorCode> {
        match topic {
            TopicReference::Name(name) => self
                .image()
                .topic_id(name)
                .ok_or(ErrorCode::UnknownTopicOrPartition),
            TopicReference::Id(id) if self.image().topic(id).is_some() => Ok(id),
            TopicReference::Id(_) => Err(ErrorCode::UnknownTopicId),
        }
    }

    /// A partition of a topic.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION` where the topic has no such partition.
    pub(super) fn find_partition(
        &self,
        topic: TopicId,
        partition: i32,
    ) -> Result<TopicPartition, ErrorCode> {
        let partition = PartitionIndex(partition);
        let known = self
            .image()
            .topic(topic)
            .is_some_and(|topic| topic.partition(partition).is_some());
        if known {
            Ok(TopicPartition { topic, partition })
        } else {
            Err(ErrorCode::UnknownTopicOrPartition)
        }
    }

    /// This broker's replica of a partition, if it leads.
    ///
    /// # Errors
    /// `NOT_LEADER_OR_FOLLOWER`; first `FENCED_LEADER_EPOCH` or `UNKNOWN_LEADER_EPOCH`, where the request names a
    /// leader epoch that is not this replica's.
    pub(super) fn led_replica(
        &self,
        partition: TopicPartition,
        current_leader_epoch: i32,
    ) -> Result<&Replica, ErrorCode> {
        let replica = self
            .replica(partition)
            .ok_or(ErrorCode::NotLeaderOrFollower)?;
        check_leader_epoch(current_leader_epoch, replica.leader_epoch())?;
        if replica.is_leader() {
            Ok(replica)
        } else {
            Err(ErrorCode::NotLeaderOrFollower)
        }
    }

    /// The leader and leader epoch of a partition, for a client that sent its request to the wrong broker (KIP-951);
    /// `None` where they are not known.
    pub(super) fn leader_hint(&self, partition: TopicPartition) -> Option<(BrokerId, LeaderEpoch)> {
        let announcement = self.leader_of(partition)?;
        let leader = announcement.leader?;
        let is_alive =
            leader == self.me.broker || self.links.is_alive(leader, self.now, &self.setup.timing);
        let is_disconnected = self.requests.disconnected_leaders.lead(partition, self.now);
        if !self.is_current_announcement(partition) || !is_alive || is_disconnected {
            return None;
        }
        Some((leader, announcement.leader_epoch))
    }

    /// The address of a broker for a client of this broker's listener `listener`.
    pub(super) fn address_of(&self, broker: BrokerId, listener: u16) -> Option<NodeAddress> {
        let name = &self
            .setup
            .registration
            .listeners
            .get(usize::from(listener))?
            .name;
        let registration = &self.image().broker(broker)?.registration;
        let endpoint = registration
            .listeners
            .iter()
            .find(|endpoint| endpoint.name == *name)?;
        Some(NodeAddress {
            host: endpoint.host.clone(),
            port: endpoint.port,
            rack: registration.rack.clone(),
        })
    }
}

/// The error that a client gets where a confirmed leader would refuse with `code`; `None` while the confirmation is
/// pending.
pub(super) const fn refusal_of_leader(
    confirmation: Confirmation,
    code: ErrorCode,
) -> Option<ErrorCode> {
    match confirmation {
        Confirmation::Pending => None,
        Confirmation::Confirmed => Some(code),
        Confirmation::LeadershipLost => Some(ErrorCode::NotLeaderOrFollower),
    }
}

/// Compares the leader epoch in a request, -1 for none, with the replica's (KIP-320).
pub(super) const fn check_leader_epoch(
    current_leader_epoch: i32,
    leader_epoch: LeaderEpoch,
) -> Result<(), ErrorCode> {
    if current_leader_epoch < 0 || current_leader_epoch == leader_epoch.0 {
        Ok(())
    } else if current_leader_epoch < leader_epoch.0 {
        Err(ErrorCode::FencedLeaderEpoch)
    } else {
        Err(ErrorCode::UnknownLeaderEpoch)
    }
}

/// The end of the greatest epoch at or below `leader_epoch`, as Kafka's `LeaderEpochFileCache.endOffsetFor` has it;
/// `None` where the log has neither that epoch nor a later one, and for -1, no epoch.
pub(super) fn end_of_epoch(
    replica: &Replica,
    leader_epoch: LeaderEpoch,
) -> Option<(LeaderEpoch, Offset)> {
    if leader_epoch == LeaderEpoch(-1) || leader_epoch > replica.end().leader_epoch {
        return None;
    }
    let (found, end_offset) = replica.end_of_epoch(leader_epoch);
    // No record has an epoch before the first: it ends where the first begins.
    let found = if found == LeaderEpoch(0) {
        leader_epoch
    } else {
        found
    };
    Some((found, end_offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_leader_epoch_is_fenced_and_a_newer_one_unknown() {
        let check = |current| check_leader_epoch(current, LeaderEpoch(5));
        assert_eq!(check(-1), Ok(()), "no epoch is named");
        assert_eq!(check(5), Ok(()));
        assert_eq!(check(4), Err(ErrorCode::FencedLeaderEpoch));
        assert_eq!(check(6), Err(ErrorCode::UnknownLeaderEpoch));
    }
}
