//! What members ask of a group, and what they are told.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::wire::{ErrorCode, Str};

use super::RebalanceReason;

/// A protocol that a member supports, and what it says of itself in it.
pub type Protocols = Vec<(Str, Bytes)>;

/// Who asks: the member's id and, of a static one, its instance id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberName {
    /// Empty for a member that has none yet.
    pub member_id: Str,
    /// `group.instance.id`.
    pub instance_id: Option<Str>,
}

/// What a member asks that joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Who.
    pub name: MemberName,
    /// Its client's name for itself.
    pub client_id: Str,
    /// Its client's address.
    pub client_host: Str,
    /// After how long without a heartbeat it is removed.
    pub session_timeout: Duration,
    /// How long it may take to join again.
    pub rebalance_timeout: Duration,
    /// What the group is for.
    pub protocol_type: Str,
    /// The protocols that it supports, the preferred one first.
    pub protocols: Protocols,
    /// Whether it is to learn its id first where it has none (KIP-394; from version 4 of JoinGroup).
    pub requires_known_id: bool,
    /// Whether a static member that leads and has come back can be told to leave the assignment as it is (KIP-814; from
    /// version 9).
    pub can_skip_assignment: bool,
}

/// The generation that a member is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Its number.
    pub generation_id: i32,
    /// What the group is for.
    pub protocol_type: Option<Str>,
    /// The protocol that was chosen.
    pub protocol_name: Option<Str>,
    /// The leader's id.
    pub leader: Str,
    /// The id of the member that is told.
    pub member_id: Str,
    /// Whether the leader must leave the assignment as it is.
    pub skip_assignment: bool,
    /// All members with what they say of themselves, for the leader; nothing for others.
    pub members: Vec<(MemberName, Bytes)>,
}

/// Why a request of a member is refused, and the id that it has then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Kafka's error.
    pub code: ErrorCode,
    /// The member's id: its new one with `MEMBER_ID_REQUIRED`.
    pub member_id: Str,
}

/// What a member asks that wants its assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// Who.
    pub name: MemberName,
    /// The generation that it has joined.
    pub generation_id: i32,
    /// What it takes the group to be for, where it says.
    pub protocol_type: Option<Str>,
    /// The protocol that it takes to be chosen, where it says.
    pub protocol_name: Option<Str>,
    /// What the leader assigns, by member id; nothing of others.
    pub assignments: BTreeMap<Str, Bytes>,
}

/// A member's assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// What the group is for.
    pub protocol_type: Option<Str>,
    /// The protocol that was chosen.
    pub protocol_name: Option<Str>,
    /// What is assigned to it, in the protocol's own words.
    pub assignment: Bytes,
}

/// What comes of telling a group something. `T` names a request that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<T> {
    /// Joins that are answered, in order.
    pub joined: Vec<(T, Result<Joined, Refused>)>,
    /// Syncs that are answered, in order.
    pub synced: Vec<(T, Result<Synced, ErrorCode>)>,
    /// The rebalances that have begun, and why.
    pub rebalances: Vec<RebalanceReason>,
    /// The generation is to be written down as it is ([`members`](super::ClassicGroup::members)), and
    /// [`on_stored`](super::ClassicGroup::on_stored) told what became of that. What is answered beside this leaves once it is.
    pub stores: bool,
}

impl<T> Default for Outcome<T> {
    fn default() -> Self {
        Self {
            joined: Vec::new(),
            synced: Vec::new(),
            rebalances: Vec::new(),
            stores: false,
        }
    }
}
