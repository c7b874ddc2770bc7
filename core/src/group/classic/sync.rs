//! Members of a generation: they ask for their assignment, send heartbeats, commit offsets, and leave.

use crate::time::Instant;
use crate::wire::{ErrorCode, Str};

use super::{ClassicConfig, ClassicGroup, GroupState, MemberName, Outcome, RebalanceReason, Sync};

impl<T: Copy> ClassicGroup<T> {
    /// A member asks for its assignment. Answered by [`Outcome::synced`].
    pub fn sync(&mut self, now: Instant, request: T, sync: Sync) -> Outcome<T> {
        let mut out = Outcome::default();
        if let Err(code) = self.try_sync(now, request, sync, &mut out) {
            out.synced.push((request, Err(code)));
        }
        self.assert_invariants();
        out
    }

    fn try_sync(
        &mut self,
        now: Instant,
        request: T,
        sync: Sync,
        out: &mut Outcome<T>,
    ) -> Result<(), ErrorCode> {
        self.check_member(&sync.name)?;
        if sync.generation_id != self.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |said: &Option<Str>, known: &Option<Str>| said.is_some() && said != known;
        if differs(&sync.protocol_type, &self.protocol_type)
            || differs(&sync.protocol_name, &self.protocol_name)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let member_id = sync.name.member_id;
        self.unsynced.remove(&member_id);
        if self.unsynced.is_empty() {
            self.sync_ends_at = None;
        }
        match self.state {
            GroupState::Empty => Err(ErrorCode::UnknownMemberId),
            GroupState::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            GroupState::CompletingRebalance => {
                let member = self.members.get_mut(&member_id).expect("it was checked");
                if let Some(earlier) = member.syncs.replace(request) {
                    out.synced
                        .push((earlier, Err(ErrorCode::RebalanceInProgress)));
                }
                member.expires_at = None;
                if self.leader.as_ref() == Some(&member_id) {
                    for (id, member) in &mut self.members {
                        member.assignment = sync.assignments.get(id).cloned().unwrap_or_default();
                    }
                    out.stores = true;
                }
                Ok(())
            }
            GroupState::Stable => {
                let synced = self.synced(&member_id);
                let member = self.members.get_mut(&member_id).expect("it was checked");
                member.heartbeat(now);
                out.synced.push((request, Ok(synced)));
                Ok(())
            }
        }
    }

    /// The generation of this number is written down and committed, or could not be.
    pub fn on_stored(
        &mut self,
        now: Instant,
        config: &ClassicConfig,
        generation_id: i32,
        stored: Result<(), ErrorCode>,
    ) -> Outcome<T> {
        let mut out = Outcome::default();
        if self.state == GroupState::CompletingRebalance && generation_id == self.generation_id {
            match stored {
                Ok(()) => {
                    self.state = GroupState::Stable;
                    self.answer_syncs(now, Ok(()), &mut out);
                }
                Err(code) => {
                    self.answer_syncs(now, Err(code), &mut out);
                    let reason = RebalanceReason::AssignmentNotStored;
                    self.prepare_or_complete(now, config, reason, &mut out);
                }
            }
        }
        self.assert_invariants();
        out
    }

    /// A member says that it is there.
    ///
    /// # Errors
    /// Kafka's, of which `REBALANCE_IN_PROGRESS` asks it to join again.
    pub fn heartbeat(
        &mut self,
        now: Instant,
        name: &MemberName,
        generation_id: i32,
    ) -> Result<(), ErrorCode> {
        self.check_member(name)?;
        if generation_id != self.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        let member = self
            .members
            .get_mut(&name.member_id)
            .expect("it was checked");
        match self.state {
            GroupState::Empty => Err(ErrorCode::UnknownMemberId),
            GroupState::PreparingRebalance => {
                if member.joins.is_none() {
                    member.heartbeat(now);
                }
                Err(ErrorCode::RebalanceInProgress)
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                if member.syncs.is_none() {
                    member.heartbeat(now);
                }
                Ok(())
            }
        }
    }

    /// A member leaves.
    ///
    /// # Errors
    /// Where it is none.
    pub fn leave(
        &mut self,
        now: Instant,
        config: &ClassicConfig,
        name: &MemberName,
    ) -> Result<Outcome<T>, ErrorCode> {
        let mut out = Outcome::default();
        if name.instance_id.is_none() && self.pending_members.remove(&name.member_id).is_some() {
            self.complete_join_if_all_are_here(now, &mut out);
            return Ok(out);
        }
        // An administrator removes a static member by its instance alone.
        let member_id = match &name.instance_id {
            Some(instance) if name.member_id.is_empty() => {
                let known = self.static_members.get(instance);
                known.cloned().ok_or(ErrorCode::UnknownMemberId)?
            }
            Some(_) | None => {
                self.check_member(name)?;
                name.member_id.clone()
            }
        };
        let reason = RebalanceReason::Left(member_id.clone());
        self.remove(now, config, &member_id, reason, &mut out);
        self.assert_invariants();
        Ok(out)
    }

    /// Whether a member, or a consumer that is none, may commit offsets in this generation.
    ///
    /// # Errors
    /// Kafka's.
    pub fn check_offset_commit(
        &self,
        name: &MemberName,
        generation_id: i32,
    ) -> Result<(), ErrorCode> {
        let is_of_member =
            generation_id >= 0 || !name.member_id.is_empty() || name.instance_id.is_some();
        if !is_of_member {
            // A consumer that assigns by itself, as long as nobody else does.
            return if self.members.is_empty() {
                Ok(())
            } else {
                Err(ErrorCode::UnknownMemberId)
            };
        }
        self.check_member(name)?;
        if generation_id != self.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        match self.state {
            GroupState::CompletingRebalance => Err(ErrorCode::RebalanceInProgress),
            GroupState::Empty | GroupState::PreparingRebalance | GroupState::Stable => Ok(()),
        }
    }
}
