//! One group of the classic protocol, as its coordinator has it: Join, Sync, Heartbeat, Leave.
//!
//! Members join, and the coordinator waits until all that it knows have joined again or the rebalance timeout has passed.
//! That begins a generation: the protocol that most prefer, one leader, and everybody's subscription for the leader, who
//! computes the assignment and gives it to the coordinator with its Sync. What was assigned is written down, and told once
//! that is committed. Members that send no heartbeat for their session timeout are removed, and the rest joins again.
//!
//! ```text
//!          join               all joined              the leader synced, committed
//!  Empty ───────▶ Preparing ─────────────▶ Completing ─────────────────────────────▶ Stable
//!    ▲                ▲  │                      │                                       │
//!    └────────────────│──┘ nobody is left       │                                       │
//!                     └─────────────────────────┴───────────────────────────────────────┘
//!                         somebody joins, leaves, is silent, or says something else
//! ```
//!
//! Static members (KIP-345) keep their place for the session timeout while they are away, and get their assignment back. A
//! new member without an id is first told its id (KIP-394), so that a client that gives up and tries again is not two.
//!
//! Sources: KIP-62 (rebalance timeout), KIP-134 (initial delay), KIP-345, KIP-394, KIP-559, KIP-814, and where these are
//! silent Kafka 4.4's `GroupMetadataManager` and `ClassicGroup`.
//!
//! Not decided here: whether a group of this name may be of the classic protocol, and what was committed for it.

mod messages;
mod join;
mod sync;
mod rebalance;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::time::Instant;
use crate::wire::{ErrorCode, Str};

pub use messages::{Join, Joined, MemberName, Outcome, Protocols, Refused, Sync, Synced};

/// What a broker's configuration says of classic groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassicConfig {
    /// `group.min.session.timeout.ms`, inclusive.
    pub session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`, inclusive.
    pub session_timeout_max: Duration,
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members than the first.
    pub initial_rebalance_delay: Duration,
    /// `group.max.size`.
    pub members_max: usize,
}

impl Default for ClassicConfig {
    fn default() -> Self {
        Self {
            session_timeout_min: Duration::from_secs(6),
            session_timeout_max: Duration::from_secs(1800),
            initial_rebalance_delay: Duration::from_secs(3),
            members_max: usize::MAX,
        }
    }
}

/// Where a group is in its rebalance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupState {
    /// It has no members.
    Empty,
    /// Members are joining the next generation.
    PreparingRebalance,
    /// The generation has begun, and its assignment is not committed yet.
    CompletingRebalance,
    /// Everybody knows the assignment.
    Stable,
}

impl GroupState {
    /// Kafka's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// Why a group rebalances.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RebalanceReason {
    /// A member has joined that was none.
    Joined(Str),
    /// A member joins again and supports other protocols, or says something else in them.
    Changed(Str),
    /// The leader joins again: what it assigns by may have changed.
    LeaderRejoined(Str),
    /// A static member has come back and the protocol is another one with what it says now.
    StaticMemberChanged(Str),
    /// A member has left.
    Left(Str),
    /// A member has sent no heartbeat for its session timeout.
    SessionExpired(Str),
    /// A member has not asked for its assignment within the rebalance timeout.
    SyncTimedOut(Str),
    /// The assignment could not be written down.
    AssignmentNotStored,
}

impl fmt::Display for RebalanceReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joined(member) => write!(f, "{member} joins"),
            Self::Changed(member) => write!(f, "{member} has changed what it supports"),
            Self::LeaderRejoined(member) => write!(f, "the leader {member} joins again"),
            Self::StaticMemberChanged(member) => {
                write!(
                    f,
                    "static member {member} is back and has changed the protocol"
                )
            }
            Self::Left(member) => write!(f, "{member} leaves"),
            Self::SessionExpired(member) => write!(f, "no heartbeat of {member}"),
            Self::SyncTimedOut(member) => write!(f, "{member} did not sync in time"),
            Self::AssignmentNotStored => f.write_str("the assignment could not be stored"),
        }
    }
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<T> {
    /// Who it is.
    pub name: MemberName,
    /// Its client's name for itself.
    pub client_id: Str,
    /// Its client's address.
    pub client_host: Str,
    /// After how long without a heartbeat it is removed.
    pub session_timeout: Duration,
    /// How long it may take to join again.
    pub rebalance_timeout: Duration,
    /// The protocols that it supports, the preferred one first.
    pub protocols: Protocols,
    /// What is assigned to it in this generation.
    pub assignment: Bytes,
    /// Its Join that waits for the next generation.
    joins: Option<T>,
    /// Its Sync that waits for the assignment.
    syncs: Option<T>,
    /// When it is removed unless it is heard; `None` while the coordinator keeps it waiting.
    expires_at: Option<Instant>,
}

impl<T> Member<T> {
    /// What it says of itself in a protocol.
    #[must_use]
    pub fn metadata(&self, protocol: &str) -> Bytes {
        let mut protocols = self.protocols.iter();
        let found = protocols.find(|(name, _)| name.as_str() == protocol);
        found.map_or_else(Bytes::new, |(_, metadata)| metadata.clone())
    }

    fn supports(&self, protocol: &str) -> bool {
        self.protocols
            .iter()
            .any(|(name, _)| name.as_str() == protocol)
    }

    fn heartbeat(&mut self, now: Instant) {
        self.expires_at = Some(now + self.session_timeout);
    }
}

/// When the members of a rebalance are not waited for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JoinPhase {
    /// Of a group that was empty: it ends then, or goes on for what remains if somebody has joined meanwhile.
    Initial {
        ends_at: Instant,
        remaining: Duration,
        has_grown: bool,
    },
    /// It ends then, or as soon as everybody has joined.
    Usual { ends_at: Instant },
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicGroup<T> {
    state: GroupState,
    generation_id: i32,
    protocol_type: Option<Str>,
    protocol_name: Option<Str>,
    leader: Option<Str>,
    members: BTreeMap<Str, Member<T>>,
    /// The member of each instance id.
    static_members: BTreeMap<Str, Str>,
    /// Ids that have been given to members that have not joined with them yet, and when they are void.
    pending_members: BTreeMap<Str, Instant>,
    /// While a rebalance is prepared: until when.
    join_phase: Option<JoinPhase>,
    /// Members that have not asked for the assignment of this generation.
    unsynced: BTreeSet<Str>,
    /// Until when they may.
    sync_ends_at: Option<Instant>,
}

impl<T> Default for ClassicGroup<T> {
    fn default() -> Self {
        Self {
            state: GroupState::Empty,
            generation_id: 0,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_members: BTreeMap::new(),
            join_phase: None,
            unsynced: BTreeSet::new(),
            sync_ends_at: None,
        }
    }
}

impl<T: Copy> ClassicGroup<T> {
    /// Where it is in its rebalance.
    #[must_use]
    pub const fn state(&self) -> GroupState {
        self.state
    }

    /// The present generation; 0 before the first.
    #[must_use]
    pub const fn generation_id(&self) -> i32 {
        self.generation_id
    }

    /// What the group is for, while it has members.
    #[must_use]
    pub const fn protocol_type(&self) -> Option<&Str> {
        self.protocol_type.as_ref()
    }

    /// The protocol of the present generation.
    #[must_use]
    pub const fn protocol_name(&self) -> Option<&Str> {
        self.protocol_name.as_ref()
    }

    /// The leader of the present generation.
    #[must_use]
    pub const fn leader(&self) -> Option<&Str> {
        self.leader.as_ref()
    }

    /// Its members, by id.
    pub fn members(&self) -> impl Iterator<Item = &Member<T>> {
        self.members.values()
    }

    /// When [`Self::fire`] is next due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let join = self.join_phase.map(|phase| match phase {
            JoinPhase::Initial { ends_at, .. } | JoinPhase::Usual { ends_at } => ends_at,
        });
        self.members
            .values()
            .filter_map(|member| member.expires_at)
            .chain(self.pending_members.values().copied())
            .chain(join)
            .chain(self.sync_ends_at)
            .min()
    }

    /// Whether a member of the group, or one that would be, finds room in it.
    fn accepts(&self, member_id: &Str, config: &ClassicConfig) -> bool {
        let is_member = !member_id.is_empty() && self.members.contains_key(member_id);
        match self.state {
            GroupState::Empty => true,
            GroupState::PreparingRebalance => {
                let waiting = self
                    .members
                    .values()
                    .filter(|member| member.joins.is_some());
                let waits = is_member && self.members[member_id].joins.is_some();
                waits || waiting.count() < config.members_max
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                is_member || self.members.len() < config.members_max
            }
        }
    }

    /// Whether a member that joins has a protocol in common with all others.
    fn supports_protocols(&self, join: &Join) -> bool {
        if join.protocol_type.is_empty() || join.protocols.is_empty() {
            return false;
        }
        let is_common = |(name, _): &(Str, Bytes)| {
            let mut others = self
                .members
                .values()
                .filter(|member| member.name.member_id != join.name.member_id);
            others.all(|member| member.supports(name.as_str()))
        };
        self.members.is_empty()
            || self.protocol_type.as_ref() == Some(&join.protocol_type)
                && join.protocols.iter().any(is_common)
    }

    /// Whether this is a member, under its present id where it is a static one.
    fn check_member(&self, name: &MemberName) -> Result<(), ErrorCode> {
        if let Some(instance) = &name.instance_id {
            return match self.static_members.get(instance) {
                None => Err(ErrorCode::UnknownMemberId),
                Some(known) if *known != name.member_id => Err(ErrorCode::FencedInstanceId),
                Some(_) => Ok(()),
            };
        }
        if self.members.contains_key(&name.member_id) {
            Ok(())
        } else {
            Err(ErrorCode::UnknownMemberId)
        }
    }

    /// What a member is told of the present generation.
    fn joined(&self, member_id: &Str, skip_assignment: bool) -> Joined {
        let leads = self.leader.as_ref() == Some(member_id);
        let protocol = self.protocol_name.clone().unwrap_or(Str::EMPTY);
        let members = self.members.values().filter(|_| leads);
        Joined {
            generation_id: self.generation_id,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone().unwrap_or(Str::EMPTY),
            member_id: member_id.clone(),
            skip_assignment,
            members: members
                .map(|member| (member.name.clone(), member.metadata(protocol.as_str())))
                .collect(),
        }
    }

    fn synced(&self, member_id: &Str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment: self.members[member_id].assignment.clone(),
        }
    }

    /// Answers everybody who waits for an assignment: with it, or with why there is none.
    fn answer_syncs(&mut self, now: Instant, result: Result<(), ErrorCode>, out: &mut Outcome<T>) {
        let (protocol_type, protocol_name) = (&self.protocol_type, &self.protocol_name);
        for member in self.members.values_mut() {
            if result.is_err() && self.state == GroupState::CompletingRebalance {
                member.assignment = Bytes::new();
            }
            if let Some(request) = member.syncs.take() {
                member.heartbeat(now);
                let synced = result.map(|()| Synced {
                    protocol_type: protocol_type.clone(),
                    protocol_name: protocol_name.clone(),
                    assignment: member.assignment.clone(),
                });
                out.synced.push((request, synced));
            }
        }
    }

    /// What must hold whatever came in.
    fn assert_invariants(&self) {
        assert_eq!(
            self.state == GroupState::PreparingRebalance,
            self.join_phase.is_some(),
            "members are waited for while a rebalance is prepared"
        );
        assert!(
            self.state != GroupState::Empty || self.members.is_empty(),
            "an empty group has no members"
        );
        assert!(
            self.static_members
                .values()
                .all(|id| self.members.contains_key(id)),
            "static members are members"
        );
        assert!(
            self.unsynced.iter().all(|id| self.members.contains_key(id)),
            "only members are waited for"
        );
        let waits = |member: &Member<T>| {
            (member.joins.is_none() || self.state == GroupState::PreparingRebalance)
                && (member.syncs.is_none() || self.state == GroupState::CompletingRebalance)
        };
        assert!(
            self.members.values().all(waits),
            "nobody waits for what has begun already"
        );
        assert!(
            self.members
                .values()
                .all(|member| member.expires_at.is_some()
                    || member.joins.is_some()
                    || member.syncs.is_some()),
            "whoever is not waiting expires"
        );
    }
}

#[cfg(test)]
mod tests;
