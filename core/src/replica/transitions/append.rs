//! How a follower appends the leader's entries, and how a leader takes the replies (Raft 5.3; docs/protocol.md 4).

use super::*;

#[test]
fn entries_after_a_shared_position_are_appended_and_acknowledged_once_durable() {
    let mut n1 = Given::started_on(&log(), 3).following(2).shown();
    let longer = log().epoch(3, 2, 6);
    let (previous, entries) = longer.from(5);
    n1.append(2, 3, previous, entries, Position::default());
    n1.store_all();
    insta::assert_snapshot!(n1.text(), @r"
    follower    e2 of n2  end e2@5+2  hw 3

    n2 -> n1    Append e3 opening of e3 at 5, [5,6)
      store     enter e3
      notice    follows n2 in e3
      store     append opening of e3 at 5, [5,6)
      -> n2     Append reply e3: durable to e2@5+2
    follower    e3 of n2  end e3@6+3  durable e2@5+2  hw 3

    stored
      -> n2     Append reply e3: durable to e3@6+3
    follower    e3 of n2  end e3@6+3  hw 3
    ");
}

#[test]
fn entries_after_a_position_that_this_log_lacks_are_refused_with_a_hint() {
    let mut n1 = Given::started_on(&log(), 3).following(2).shown();
    let longer = log().epoch(3, 3, 9);
    let (previous, entries) = longer.from(7);
    n1.append(3, 3, previous, entries, Position::default());
    insta::assert_snapshot!(n1.text(), @r"
    follower    e2 of n2  end e2@5+2  hw 3

    n3 -> n1    Append e3 [7,9)
      store     enter e3
      -> n2     EpochEntered e3
      notice    follows n3 in e3
      -> n3     Append reply e3: refused after e3@7+3, in common up to e2@5+2
    follower    e3 of n3  end e2@5+2  hw 3
    ");
}

#[test]
fn a_divergent_tail_is_truncated_before_the_leaders_entries_are_appended() {
    let leaders = Log::default().epoch(1, 1, 3).epoch(3, 3, 6);
    let mut n1 = Given::started_on(&log(), 3).shown();
    let (previous, entries) = leaders.from(3);
    n1.append(3, 3, previous, entries, previous);
    n1.store_all();
    insta::assert_snapshot!(n1.text(), @r"
    follower    e2  end e2@5+2  hw 3

    n3 -> n1    Append e3 opening of e3 at 3, [3,6)
      store     enter e3
      -> n2     EpochEntered e3
      notice    follows n3 in e3
      notice    truncates to e1@3+1
      store     truncate to e1@3+1
      store     append opening of e3 at 3, [3,6)
      -> n3     Append reply e3: durable to e1@3+1
    follower    e3 of n3  end e3@6+2  durable e1@3+1  hw 3

    stored
      -> n3     Append reply e3: durable to e3@6+2
    follower    e3 of n3  end e3@6+2  hw 3
    ");
}

#[test]
fn entries_already_in_the_log_are_not_appended_again() {
    let mut n1 = Given::started_on(&log(), 3).shown();
    let (previous, entries) = log().from(3);
    n1.append(2, 2, previous, entries, Position::default());
    insta::assert_snapshot!(n1.text(), @r"
    follower    e2  end e2@5+2  hw 3

    n2 -> n1    Append e2 opening of e2 at 3, [3,5)
      notice    follows n2 in e2
      -> n2     Append reply e2: durable to e2@5+2
    follower    e2 of n2  end e2@5+2  hw 3
    ");
}

#[test]
fn a_leader_of_an_earlier_epoch_is_refused_in_the_present_one() {
    let mut n1 = Given::started_on(&log(), 3).shown();
    let earlier = Log::default().epoch(1, 1, 4);
    let (previous, entries) = earlier.from(3);
    n1.append(3, 1, previous, entries, Position::default());
    insta::assert_snapshot!(n1.text(), @r"
    follower    e2  end e2@5+2  hw 3

    n3 -> n1    Append e1 [3,4)
      -> n3     Append reply e2: refused after e1@3+1, in common up to e1@3+1
    ");
}

#[test]
fn a_new_leader_probes_a_follower_before_it_sends_what_that_lacks() {
    let mut n1 = Given::started_on(&log(), 3).leading().shown();
    let diverged = AppendReply::Diverged {
        previous: log().end,
        hint: Log::default().epoch(1, 1, 3).epoch(2, 2, 3).end,
    };
    n1.hear(3, 3, ReplicaBody::AppendReply(diverged));
    let end = log().end;
    n1.has(2, end, end);
    insta::assert_snapshot!(n1.text(), @r"
    leader      e3  voted for n1  end e3@5+3  hw not known  isr [1]

    n3 -> n1    Append reply e3: refused after e2@5+2, in common up to e2@3+2
      query     read [3,5)

    n2 -> n1    Append reply e3: durable to e2@5+2
      -> n2     Append e3 opening of e3 at 5
    leader      e3  voted for n1  end e3@5+3  hw not known  isr [1, 2]
    ");
}
