//! Rebalances: how they begin, how long members are waited for, and the generation that follows.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Instant;
use crate::wire::{ErrorCode, Str};

use super::{
    ClassicConfig, ClassicGroup, GroupState, JoinPhase, Member, Outcome, RebalanceReason, Refused,
};

impl<T: Copy> ClassicGroup<T> {
    /// Does what is due.
    pub fn fire(&mut self, now: Instant, config: &ClassicConfig) -> Outcome<T> {
        let mut out = Outcome::default();
        self.pending_members.retain(|_, void_at| *void_at > now);
        let is_over = |member: &&Member<T>| member.expires_at.is_some_and(|at| at <= now);
        let expired: Vec<Str> = self
            .members
            .values()
            .filter(is_over)
            .map(|member| member.name.member_id.clone())
            .collect();
        for member_id in expired {
            let reason = RebalanceReason::SessionExpired(member_id.clone());
            self.remove(now, config, &member_id, reason, &mut out);
        }
        if self.sync_ends_at.is_some_and(|at| at <= now) {
            self.end_sync_phase(now, config, &mut out);
        }
        self.end_join_phase_if_due(now, config, &mut out);
        self.complete_join_if_all_are_here(now, &mut out);
        self.assert_invariants();
        out
    }

    /// Members that have not asked for their assignment in time are removed.
    fn end_sync_phase(&mut self, now: Instant, config: &ClassicConfig, out: &mut Outcome<T>) {
        self.sync_ends_at = None;
        for member_id in std::mem::take(&mut self.unsynced) {
            let reason = RebalanceReason::SyncTimedOut(member_id.clone());
            self.remove(now, config, &member_id, reason, out);
        }
    }

    /// Takes a member out, tells it so where it waits, and has the others join again.
    pub(super) fn remove(
        &mut self,
        now: Instant,
        config: &ClassicConfig,
        member_id: &Str,
        reason: RebalanceReason,
        out: &mut Outcome<T>,
    ) {
        let Some(member) = self.members.remove(member_id) else {
            return;
        };
        let code = ErrorCode::UnknownMemberId;
        self.unsynced.remove(member_id);
        if let Some(instance) = &member.name.instance_id {
            self.static_members.remove(instance);
        }
        if let Some(waiting) = member.joins {
            let member_id = member_id.clone();
            out.joined.push((waiting, Err(Refused { code, member_id })));
        }
        if let Some(waiting) = member.syncs {
            out.synced.push((waiting, Err(code)));
        }
        if self.leader.as_ref() == Some(member_id) {
            self.leader = None;
        }
        self.prepare_or_complete(now, config, reason, out);
    }

    /// Begins a rebalance, or looks whether the one that is being prepared can end.
    pub(super) fn prepare_or_complete(
        &mut self,
        now: Instant,
        config: &ClassicConfig,
        reason: RebalanceReason,
        out: &mut Outcome<T>,
    ) {
        match self.state {
            GroupState::PreparingRebalance => {}
            GroupState::Empty if self.members.is_empty() => return,
            GroupState::Empty => {
                out.rebalances.push(reason);
                self.state = GroupState::PreparingRebalance;
                let wait = config.initial_rebalance_delay;
                let remaining = self.rebalance_timeout().saturating_sub(wait);
                self.join_phase = Some(JoinPhase::Initial {
                    ends_at: now + wait,
                    remaining,
                    has_grown: false,
                });
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                out.rebalances.push(reason);
                // Whoever waits for an assignment is to join again.
                self.answer_syncs(now, Err(ErrorCode::RebalanceInProgress), out);
                self.unsynced.clear();
                self.sync_ends_at = None;
                self.state = GroupState::PreparingRebalance;
                let ends_at = now + self.rebalance_timeout();
                self.join_phase = Some(JoinPhase::Usual { ends_at });
            }
        }
        self.end_join_phase_if_due(now, config, out);
        self.complete_join_if_all_are_here(now, out);
    }

    fn rebalance_timeout(&self) -> Duration {
        let timeouts = self.members.values().map(|member| member.rebalance_timeout);
        timeouts.max().unwrap_or_default()
    }

    /// The time for joining may be over. A group that was empty waits on while others come, as long as a rebalance may take.
    fn end_join_phase_if_due(
        &mut self,
        now: Instant,
        config: &ClassicConfig,
        out: &mut Outcome<T>,
    ) {
        match self.join_phase {
            Some(JoinPhase::Initial {
                ends_at,
                remaining,
                has_grown,
            }) if ends_at <= now => {
                if has_grown && !remaining.is_zero() {
                    let wait = config.initial_rebalance_delay.min(remaining);
                    self.join_phase = Some(JoinPhase::Initial {
                        ends_at: now + wait,
                        remaining: remaining.saturating_sub(wait),
                        has_grown: false,
                    });
                } else {
                    self.begin_generation(now, out);
                }
            }
            Some(JoinPhase::Usual { ends_at }) if ends_at <= now => {
                self.begin_generation(now, out);
            }
            Some(JoinPhase::Initial { .. } | JoinPhase::Usual { .. }) | None => {}
        }
    }

    /// Once everybody has joined, nobody is waited for any more, but for others that may come to a group that was empty.
    pub(super) fn complete_join_if_all_are_here(&mut self, now: Instant, out: &mut Outcome<T>) {
        let is_usual = matches!(self.join_phase, Some(JoinPhase::Usual { .. }));
        let are_all_here = self.members.values().all(|member| member.joins.is_some());
        if is_usual && are_all_here && self.pending_members.is_empty() {
            self.begin_generation(now, out);
        }
    }

    /// The next generation begins with those that have joined, and with static members that have not.
    fn begin_generation(&mut self, now: Instant, out: &mut Outcome<T>) {
        self.members
            .retain(|_, member| member.joins.is_some() || member.name.instance_id.is_some());
        let has_joined = |member: &&Member<T>| member.joins.is_some();
        if !self.members.is_empty() && !self.members.values().any(|member| has_joined(&member)) {
            // Static members alone, and all of them away: they may be back before they expire.
            let ends_at = now + self.rebalance_timeout();
            self.join_phase = Some(JoinPhase::Usual { ends_at });
            return;
        }
        self.join_phase = None;
        self.generation_id += 1;
        if self.members.is_empty() {
            self.state = GroupState::Empty;
            self.protocol_name = None;
            self.leader = None;
            out.stores = true;
            return;
        }
        self.state = GroupState::CompletingRebalance;
        self.protocol_name = self.select_protocol();
        let keeps = self
            .leader
            .as_ref()
            .and_then(|leader| self.members.get(leader));
        if keeps.is_none_or(|leader| leader.joins.is_none()) {
            let first = self.members.values().find(has_joined);
            self.leader = first.map(|member| member.name.member_id.clone());
        }
        self.unsynced = self.members.keys().cloned().collect();
        self.sync_ends_at = Some(now + self.rebalance_timeout());
        let joined: Vec<(Str, T)> = self
            .members
            .iter_mut()
            .filter_map(|(id, member)| Some((id.clone(), member.joins.take()?)))
            .collect();
        for (member_id, request) in joined {
            out.joined
                .push((request, Ok(self.joined(&member_id, false))));
            let member = self
                .members
                .get_mut(&member_id)
                .expect("it has just joined");
            member.heartbeat(now);
        }
    }

    /// The protocol that most members prefer of those that all support; of equals the first by name.
    pub(super) fn select_protocol(&self) -> Option<Str> {
        let is_common = |name: &str| self.members.values().all(|member| member.supports(name));
        let mut votes: BTreeMap<&Str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let mut protocols = member.protocols.iter();
            if let Some((name, _)) = protocols.find(|(name, _)| is_common(name.as_str())) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        let chosen = votes.into_iter().find(|(_, count)| *count == most);
        chosen.map(|(name, _)| name.clone())
    }
}
