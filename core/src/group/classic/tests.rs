//! What a group makes of what its members ask, as snapshots: a line for each thing that it is told, what it answers below.

use std::fmt::Write as _;

use super::*;

/// A group, and what has happened to it so far. Requests are numbered from 1, and so are the ids of new members.
struct Given {
    group: ClassicGroup<u32>,
    config: ClassicConfig,
    now: Instant,
    requests: u32,
    ids: u32,
    text: String,
}

fn name(member_id: &str) -> MemberName {
    MemberName {
        member_id: member_id.into(),
        instance_id: None,
    }
}

fn instance(instance: &str, member_id: &str) -> MemberName {
    MemberName {
        member_id: member_id.into(),
        instance_id: Some(instance.into()),
    }
}

impl Given {
    fn new() -> Self {
        Self {
            group: ClassicGroup::default(),
            config: ClassicConfig::default(),
            now: Instant(0),
            requests: 0,
            ids: 0,
            text: String::new(),
        }
    }

    fn told(&mut self, what: &str) -> u32 {
        self.requests += 1;
        let _ = writeln!(self.text, "#{} {what}", self.requests);
        self.requests
    }

    fn show(&mut self, outcome: Outcome<u32>) {
        for reason in &outcome.rebalances {
            let _ = writeln!(self.text, "  rebalances: {reason}");
        }
        for (request, joined) in outcome.joined {
            let text = match joined {
                Ok(joined) => {
                    let members: Vec<String> = joined
                        .members
                        .iter()
                        .map(|(name, _)| name.member_id.to_string())
                        .collect();
                    let members = members.join(" ");
                    format!(
                        "{} in generation {}, {}, led by {} {members}{}",
                        joined.member_id,
                        joined.generation_id,
                        joined.protocol_name.unwrap_or(Str::EMPTY),
                        joined.leader,
                        if joined.skip_assignment {
                            ", as assigned"
                        } else {
                            ""
                        },
                    )
                }
                Err(refused) => format!("{} {}", refused.code.name(), refused.member_id),
            };
            let _ = writeln!(self.text, "  -> #{request} {}", text.trim_end());
        }
        for (request, synced) in outcome.synced {
            let text = match synced {
                Ok(synced) => format!("assigned {}", String::from_utf8_lossy(&synced.assignment)),
                Err(code) => code.name().to_owned(),
            };
            let _ = writeln!(self.text, "  -> #{request} {text}");
        }
        if outcome.stores {
            let _ = writeln!(
                self.text,
                "  store generation {}",
                self.group.generation_id()
            );
        }
        let members: Vec<&str> = self
            .group
            .members()
            .map(|member| member.name.member_id.as_str())
            .collect();
        let state = self.group.state().name();
        let _ = writeln!(self.text, "  {state} {}", members.join(" "));
    }

    /// Somebody joins who supports these protocols, for whom no id is required first.
    fn join(&mut self, name: MemberName, protocols: &[&str]) {
        self.join_as(name, protocols, false);
    }

    fn join_as(&mut self, name: MemberName, protocols: &[&str], requires_known_id: bool) {
        let who = match &name.instance_id {
            Some(instance) => format!("{instance} {}", name.member_id),
            None => name.member_id.to_string(),
        };
        let request = self.told(format!("join {who}").trim_end());
        let join = Join {
            name,
            client_id: "c".into(),
            client_host: "h".into(),
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(60),
            protocol_type: "consumer".into(),
            protocols: protocols
                .iter()
                .map(|&name| (name.into(), Bytes::from_static(b"t")))
                .collect(),
            requires_known_id,
            can_skip_assignment: true,
        };
        self.ids += 1;
        let id = self.ids;
        let (now, config) = (self.now, self.config);
        let outcome = self
            .group
            .join(now, &config, request, join, || id.to_string());
        self.show(outcome);
    }

    fn sync(&mut self, name: MemberName, assignments: &[(&str, &'static str)]) {
        let request = self.told(&format!("sync {}", name.member_id));
        let sync = Sync {
            name,
            generation_id: self.group.generation_id(),
            protocol_type: None,
            protocol_name: None,
            assignments: assignments
                .iter()
                .map(|&(id, assignment)| (id.into(), Bytes::from_static(assignment.as_bytes())))
                .collect(),
        };
        let outcome = self.group.sync(self.now, request, sync);
        self.show(outcome);
    }

    fn stored(&mut self, stored: Result<(), ErrorCode>) {
        let _ = writeln!(self.text, "stored {stored:?}");
        let (now, config, generation) = (self.now, self.config, self.group.generation_id());
        let outcome = self.group.on_stored(now, &config, generation, stored);
        self.show(outcome);
    }

    fn heartbeat(&mut self, name: &MemberName) {
        let generation = self.group.generation_id();
        let result = self.group.heartbeat(self.now, name, generation);
        let result = result.map_or_else(ErrorCode::name, |()| "fine");
        let _ = writeln!(self.text, "heartbeat {}: {result}", name.member_id);
    }

    fn leave(&mut self, name: &MemberName) {
        let _ = writeln!(self.text, "leave {}", name.member_id);
        let (now, config) = (self.now, self.config);
        match self.group.leave(now, &config, name) {
            Ok(outcome) => self.show(outcome),
            Err(code) => writeln!(self.text, "  {}", code.name()).unwrap(),
        }
    }

    /// Time passes; what is due on the way is done.
    fn wait(&mut self, seconds: u64) {
        let _ = writeln!(self.text, "{seconds} s pass");
        let end = self.now + Duration::from_secs(seconds);
        while let Some(at) = self.group.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let (now, config) = (self.now, self.config);
            let outcome = self.group.fire(now, &config);
            self.show(outcome);
        }
        self.now = end;
    }

    /// Two members, c-1 and c-2, with an assignment each.
    fn stable() -> Self {
        let mut it = Self::new();
        it.join(name(""), &["range"]);
        it.join(name(""), &["range"]);
        it.wait(10);
        it.sync(name("c-1"), &[("c-1", "a"), ("c-2", "b")]);
        it.sync(name("c-2"), &[]);
        it.stored(Ok(()));
        it.text.clear();
        it
    }
}

#[test]
fn a_group_waits_for_others_and_tells_assignments_once_they_are_stored() {
    let mut it = Given::new();
    it.join(name(""), &["range", "roundrobin"]);
    it.wait(2);
    it.join(name(""), &["roundrobin", "range"]);
    it.wait(1);
    it.wait(3);
    it.sync(name("c-2"), &[]);
    it.sync(name("c-1"), &[("c-1", "a"), ("c-2", "b")]);
    it.stored(Ok(()));
    it.heartbeat(&name("c-1"));
    insta::assert_snapshot!(it.text, @r"
    #1 join
      rebalances: c-1 joins
      PreparingRebalance c-1
    2 s pass
    #2 join
      PreparingRebalance c-1 c-2
    1 s pass
      PreparingRebalance c-1 c-2
    3 s pass
      -> #1 c-1 in generation 1, range, led by c-1 c-1 c-2
      -> #2 c-2 in generation 1, range, led by c-1
      CompletingRebalance c-1 c-2
    #3 sync c-2
      CompletingRebalance c-1 c-2
    #4 sync c-1
      store generation 1
      CompletingRebalance c-1 c-2
    stored Ok(())
      -> #4 assigned a
      -> #3 assigned b
      Stable c-1 c-2
    heartbeat c-1: fine
    ");
}

#[test]
fn a_member_learns_its_id_before_it_counts() {
    let mut it = Given::new();
    it.join_as(name(""), &["range"], true);
    it.join_as(name("c-1"), &["range"], true);
    it.join_as(name("c-9"), &["range"], true);
    it.wait(3);
    insta::assert_snapshot!(it.text, @r"
    #1 join
      -> #1 MEMBER_ID_REQUIRED c-1
      Empty 
    #2 join c-1
      rebalances: c-1 joins
      PreparingRebalance c-1
    #3 join c-9
      -> #3 UNKNOWN_MEMBER_ID c-9
      PreparingRebalance c-1
    3 s pass
      -> #2 c-1 in generation 1, range, led by c-1 c-1
      CompletingRebalance c-1
    ");
}

#[test]
fn a_new_member_makes_the_others_join_again() {
    let mut it = Given::stable();
    it.join(name(""), &["range"]);
    it.heartbeat(&name("c-1"));
    it.join(name("c-1"), &["range"]);
    it.join(name("c-2"), &["range"]);
    it.heartbeat(&name("c-1"));
    insta::assert_snapshot!(it.text, @r"
    #5 join
      rebalances: c-3 joins
      PreparingRebalance c-1 c-2 c-3
    heartbeat c-1: REBALANCE_IN_PROGRESS
    #6 join c-1
      PreparingRebalance c-1 c-2 c-3
    #7 join c-2
      -> #6 c-1 in generation 2, range, led by c-1 c-1 c-2 c-3
      -> #7 c-2 in generation 2, range, led by c-1
      -> #5 c-3 in generation 2, range, led by c-1
      CompletingRebalance c-1 c-2 c-3
    heartbeat c-1: fine
    ");
}

#[test]
fn who_does_not_join_again_in_time_is_a_member_no_more() {
    let mut it = Given::stable();
    it.leave(&name("c-2"));
    it.wait(8);
    it.heartbeat(&name("c-1"));
    it.wait(8);
    it.heartbeat(&name("c-1"));
    it.wait(20);
    insta::assert_snapshot!(it.text, @r"
    leave c-2
      rebalances: c-2 leaves
      PreparingRebalance c-1
    8 s pass
    heartbeat c-1: REBALANCE_IN_PROGRESS
    8 s pass
    heartbeat c-1: REBALANCE_IN_PROGRESS
    20 s pass
      store generation 2
      Empty
    ");
}

#[test]
fn a_member_that_is_silent_is_removed() {
    let mut it = Given::stable();
    it.wait(5);
    it.heartbeat(&name("c-1"));
    it.wait(6);
    it.join(name("c-1"), &["range"]);
    insta::assert_snapshot!(it.text, @r"
    5 s pass
    heartbeat c-1: fine
    6 s pass
      rebalances: no heartbeat of c-2
      PreparingRebalance c-1
    #5 join c-1
      -> #5 c-1 in generation 2, range, led by c-1 c-1
      CompletingRebalance c-1
    ");
}

#[test]
fn an_assignment_that_cannot_be_stored_is_not_told() {
    let mut it = Given::stable();
    it.join(name("c-1"), &["range"]);
    it.join(name("c-2"), &["range"]);
    it.sync(name("c-1"), &[("c-1", "x"), ("c-2", "y")]);
    it.stored(Err(ErrorCode::NotCoordinator));
    insta::assert_snapshot!(it.text, @r"
    #5 join c-1
      rebalances: the leader c-1 joins again
      PreparingRebalance c-1 c-2
    #6 join c-2
      -> #5 c-1 in generation 2, range, led by c-1 c-1 c-2
      -> #6 c-2 in generation 2, range, led by c-1
      CompletingRebalance c-1 c-2
    #7 sync c-1
      store generation 2
      CompletingRebalance c-1 c-2
    stored Err(NotCoordinator)
      rebalances: the assignment could not be stored
      -> #7 NOT_COORDINATOR
      PreparingRebalance c-1 c-2
    ");
}

#[test]
fn who_does_not_sync_in_time_is_removed() {
    let mut it = Given::stable();
    it.join(name("c-1"), &["range"]);
    it.join(name("c-2"), &["range"]);
    it.sync(name("c-1"), &[("c-1", "x"), ("c-2", "y")]);
    it.stored(Ok(()));
    for _ in 0..8 {
        it.wait(8);
        it.heartbeat(&name("c-1"));
        it.heartbeat(&name("c-2"));
    }
    insta::assert_snapshot!(it.text, @r"
    #5 join c-1
      rebalances: the leader c-1 joins again
      PreparingRebalance c-1 c-2
    #6 join c-2
      -> #5 c-1 in generation 2, range, led by c-1 c-1 c-2
      -> #6 c-2 in generation 2, range, led by c-1
      CompletingRebalance c-1 c-2
    #7 sync c-1
      store generation 2
      CompletingRebalance c-1 c-2
    stored Ok(())
      -> #7 assigned x
      Stable c-1 c-2
    8 s pass
    heartbeat c-1: fine
    heartbeat c-2: fine
    8 s pass
    heartbeat c-1: fine
    heartbeat c-2: fine
    8 s pass
    heartbeat c-1: fine
    heartbeat c-2: fine
    8 s pass
    heartbeat c-1: fine
    heartbeat c-2: fine
    8 s pass
    heartbeat c-1: fine
    heartbeat c-2: fine
    8 s pass
    heartbeat c-1: fine
    heartbeat c-2: fine
    8 s pass
    heartbeat c-1: fine
    heartbeat c-2: fine
    8 s pass
      rebalances: c-2 did not sync in time
      PreparingRebalance c-1
    heartbeat c-1: REBALANCE_IN_PROGRESS
    heartbeat c-2: UNKNOWN_MEMBER_ID
    ");
}

#[test]
fn a_static_member_gets_its_assignment_back_and_its_former_self_is_fenced() {
    let mut it = Given::new();
    it.join(instance("i", ""), &["range"]);
    it.wait(3);
    it.sync(instance("i", "i-1"), &[("i-1", "a")]);
    it.stored(Ok(()));
    it.join(instance("i", ""), &["range"]);
    it.sync(instance("i", "i-2"), &[]);
    it.heartbeat(&instance("i", "i-1"));
    it.leave(&instance("i", ""));
    insta::assert_snapshot!(it.text, @r"
    #1 join i
      rebalances: i-1 joins
      PreparingRebalance i-1
    3 s pass
      -> #1 i-1 in generation 1, range, led by i-1 i-1
      CompletingRebalance i-1
    #2 sync i-1
      store generation 1
      CompletingRebalance i-1
    stored Ok(())
      -> #2 assigned a
      Stable i-1
    #3 join i
      -> #3 i-2 in generation 1, range, led by i-2 i-2, as assigned
      store generation 1
      Stable i-2
    #4 sync i-2
      -> #4 assigned a
      Stable i-2
    heartbeat i-1: FENCED_INSTANCE_ID
    leave 
      rebalances: i-2 leaves
      store generation 2
      Empty
    ");
}

#[test]
fn what_no_group_takes_is_refused() {
    let mut it = Given::stable();
    it.config.members_max = 2;
    it.join(name(""), &["range"]);
    it.join(name("c-1"), &["sticky"]);
    it.join(name("c-9"), &["range"]);
    it.config.session_timeout_min = Duration::from_secs(20);
    it.join(name("c-1"), &["range"]);
    insta::assert_snapshot!(it.text, @r"
    #5 join
      -> #5 GROUP_MAX_SIZE_REACHED
      Stable c-1 c-2
    #6 join c-1
      -> #6 INCONSISTENT_GROUP_PROTOCOL c-1
      Stable c-1 c-2
    #7 join c-9
      -> #7 GROUP_MAX_SIZE_REACHED
      Stable c-1 c-2
    #8 join c-1
      -> #8 INVALID_SESSION_TIMEOUT c-1
      Stable c-1 c-2
    ");
}

#[test]
fn offsets_are_committed_in_the_generation_that_a_member_is_in() {
    let it = Given::stable();
    let check = |name: &MemberName, generation| it.group.check_offset_commit(name, generation);
    assert_eq!(check(&name("c-1"), 1), Ok(()));
    assert_eq!(check(&name("c-1"), 0), Err(ErrorCode::IllegalGeneration));
    assert_eq!(check(&name("c-9"), 1), Err(ErrorCode::UnknownMemberId));
    assert_eq!(check(&name(""), -1), Err(ErrorCode::UnknownMemberId));
    let empty = ClassicGroup::<u32>::default();
    assert_eq!(empty.check_offset_commit(&name(""), -1), Ok(()));
}
