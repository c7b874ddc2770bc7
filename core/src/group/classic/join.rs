//! Joining: who becomes a member, and who has to join again because of that.

use std::time::Duration;

use bytes::Bytes;

use crate::time::Instant;
use crate::wire::{ErrorCode, Str};

use super::{
    ClassicConfig, ClassicGroup, GroupState, Join, JoinPhase, Member, Outcome, RebalanceReason,
    Refused,
};

/// How long a member may take to come back for its first generation: clients that have given up are many during a
/// rebalance that takes long (Kafka's `NEW_MEMBER_JOIN_TIMEOUT`).
const NEW_MEMBER_TIMEOUT: Duration = Duration::from_secs(300);

impl<T: Copy> ClassicGroup<T> {
    /// A member joins. Answered by [`Outcome::joined`], at once or when the generation begins. `new_id` makes the part of
    /// a new member's id that is its own.
    pub fn join(
        &mut self,
        now: Instant,
        config: &ClassicConfig,
        request: T,
        join: Join,
        new_id: impl FnOnce() -> String,
    ) -> Outcome<T> {
        let mut out = Outcome::default();
        if let Err(refused) = self.try_join(now, config, request, join, new_id, &mut out) {
            out.joined.push((request, Err(refused)));
        }
        self.assert_invariants();
        out
    }

    fn try_join(
        &mut self,
        now: Instant,
        config: &ClassicConfig,
        request: T,
        join: Join,
        new_id: impl FnOnce() -> String,
        out: &mut Outcome<T>,
    ) -> Result<(), Refused> {
        let refused = |code| Refused {
            code,
            member_id: join.name.member_id.clone(),
        };
        let timeouts = config.session_timeout_min..=config.session_timeout_max;
        if !timeouts.contains(&join.session_timeout) {
            return Err(refused(ErrorCode::InvalidSessionTimeout));
        }
        if !self.accepts(&join.name.member_id, config) {
            self.pending_members.remove(&join.name.member_id);
            return Err(Refused {
                code: ErrorCode::GroupMaxSizeReached,
                member_id: Str::EMPTY,
            });
        }
        if !self.supports_protocols(&join) {
            return Err(refused(ErrorCode::InconsistentGroupProtocol));
        }
        if join.name.member_id.is_empty() {
            return self.join_without_id(now, config, request, join, new_id, out);
        }
        if self.pending_members.remove(&join.name.member_id).is_some() {
            self.add_and_rebalance(now, config, request, join, out);
            return Ok(());
        }
        self.check_member(&join.name).map_err(refused)?;
        self.join_again(now, config, request, join, out);
        Ok(())
    }

    /// A member that has no id: one that is new, or a static one that has been restarted.
    fn join_without_id(
        &mut self,
        now: Instant,
        config: &ClassicConfig,
        request: T,
        mut join: Join,
        new_id: impl FnOnce() -> String,
        out: &mut Outcome<T>,
    ) -> Result<(), Refused> {
        let prefix = join.name.instance_id.as_ref().unwrap_or(&join.client_id);
        let member_id = Str::from(format!("{prefix}-{}", new_id()));
        if let Some(instance) = &join.name.instance_id {
            let former = self.static_members.get(instance).cloned();
            join.name.member_id = member_id;
            match former {
                Some(former) => self.replace_static(now, config, request, &former, join, out),
                None => self.add_and_rebalance(now, config, request, join, out),
            }
            return Ok(());
        }
        if join.requires_known_id {
            let void_at = now + join.session_timeout;
            self.pending_members.insert(member_id.clone(), void_at);
            return Err(Refused {
                code: ErrorCode::MemberIdRequired,
                member_id,
            });
        }
        join.name.member_id = member_id;
        self.add_and_rebalance(now, config, request, join, out);
        Ok(())
    }

    /// A member that is known joins again.
    fn join_again(
        &mut self,
        now: Instant,
        config: &ClassicConfig,
        request: T,
        join: Join,
        out: &mut Outcome<T>,
    ) {
        let member_id = join.name.member_id.clone();
        let leads = self.leader.as_ref() == Some(&member_id);
        let member = self.members.get_mut(&member_id).expect("it was checked");
        let changed = member.protocols != join.protocols;
        let reason = match self.state {
            GroupState::PreparingRebalance | GroupState::Empty => {
                Some(RebalanceReason::Changed(member_id.clone()))
            }
            GroupState::CompletingRebalance if changed => {
                Some(RebalanceReason::Changed(member_id.clone()))
            }
            GroupState::Stable if leads => Some(RebalanceReason::LeaderRejoined(member_id.clone())),
            GroupState::Stable if changed => Some(RebalanceReason::Changed(member_id.clone())),
            // Its answer was lost: it is told again.
            GroupState::CompletingRebalance | GroupState::Stable => None,
        };
        member.session_timeout = join.session_timeout;
        member.rebalance_timeout = join.rebalance_timeout;
        let Some(reason) = reason else {
            member.heartbeat(now);
            let joined = self.joined(&member_id, false);
            out.joined.push((request, Ok(joined)));
            return;
        };
        if let Some(earlier) = member.joins.replace(request) {
            // Kafka's clients have one Join under way; whoever asked before is told to ask again.
            let refused = Refused {
                code: ErrorCode::RebalanceInProgress,
                member_id: member_id.clone(),
            };
            out.joined.push((earlier, Err(refused)));
        }
        member.protocols = join.protocols;
        member.expires_at = None;
        self.prepare_or_complete(now, config, reason, out);
    }

    /// A static member is back under another id: the former one is fenced, and keeps nothing.
    fn replace_static(
        &mut self,
        now: Instant,
        config: &ClassicConfig,
        request: T,
        former: &Str,
        join: Join,
        out: &mut Outcome<T>,
    ) {
        let mut member = self
            .members
            .remove(former)
            .expect("static members are members");
        let fenced = ErrorCode::FencedInstanceId;
        if let Some(waiting) = member.joins.take() {
            let refused = Refused {
                code: fenced,
                member_id: former.clone(),
            };
            out.joined.push((waiting, Err(refused)));
        }
        if let Some(waiting) = member.syncs.take() {
            out.synced.push((waiting, Err(fenced)));
        }
        let member_id = join.name.member_id.clone();
        let led = self.leader.as_ref() == Some(former);
        if led {
            self.leader = Some(member_id.clone());
        }
        let changed = member.protocols != join.protocols;
        member.name = join.name;
        member.client_id = join.client_id;
        member.client_host = join.client_host;
        member.session_timeout = join.session_timeout;
        member.rebalance_timeout = join.rebalance_timeout;
        member.protocols = join.protocols;
        let instance = member
            .name
            .instance_id
            .clone()
            .expect("it is a static member");
        self.static_members.insert(instance, member_id.clone());
        self.members.insert(member_id.clone(), member);
        let same_protocol = self.select_protocol() == self.protocol_name;
        let member = self
            .members
            .get_mut(&member_id)
            .expect("it was just inserted");
        if self.state == GroupState::Stable && same_protocol && !(led && changed) {
            // It gets its assignment back, and nobody else notices. The new id is to be written down.
            member.heartbeat(now);
            let joined = self.joined(&member_id, led && join.can_skip_assignment);
            out.joined.push((request, Ok(joined)));
            out.stores = true;
            return;
        }
        member.joins = Some(request);
        member.expires_at = None;
        let reason = RebalanceReason::StaticMemberChanged(member_id);
        self.prepare_or_complete(now, config, reason, out);
    }

    fn add_and_rebalance(
        &mut self,
        now: Instant,
        config: &ClassicConfig,
        request: T,
        join: Join,
        out: &mut Outcome<T>,
    ) {
        let member_id = join.name.member_id.clone();
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type);
        }
        if let Some(instance) = &join.name.instance_id {
            self.static_members
                .insert(instance.clone(), member_id.clone());
        }
        let member = Member {
            name: join.name,
            client_id: join.client_id,
            client_host: join.client_host,
            session_timeout: join.session_timeout,
            rebalance_timeout: join.rebalance_timeout,
            protocols: join.protocols,
            assignment: Bytes::new(),
            joins: Some(request),
            syncs: None,
            // Whoever has given up meanwhile is not waited for for ever.
            expires_at: Some(now + NEW_MEMBER_TIMEOUT),
        };
        self.members.insert(member_id.clone(), member);
        if let Some(JoinPhase::Initial { has_grown, .. }) = &mut self.join_phase {
            *has_grown = true;
        }
        self.prepare_or_complete(now, config, RebalanceReason::Joined(member_id), out);
    }
}
