//! Voter changes (Raft dissertation, 4.1; docs/protocol.md 6).

use super::*;

/// A leader whose opening all voters have acknowledged.
fn opened() -> Given {
    let mut n1 = Given::started_on(&log(), 3).leading();
    let end = n1.replica.end();
    n1.has(2, end, end);
    n1.has(3, end, end);
    n1.shown()
}

#[test]
fn a_learner_becomes_a_voter_once_it_has_everything_committed() {
    let mut n1 = opened();
    n1.target(&[1, 2, 3, 4]);
    let end = n1.replica.end();
    n1.has(4, end, end);
    insta::assert_snapshot!(n1.text(), @r"
    leader      e3  voted for n1  end e3@5+3  hw 5  isr [1, 2, 3]

    target [1, 2, 3, 4]
      -> n4     Append e3 after e3@5+3 hw 5

    n4 -> n1    Append reply e3: durable to e3@5+3
      notice    changes voters to n1 n2 n3 n4
      store     append voters n1 n2 n3 n4
      -> n2     Append e3 voters n1 n2 n3 n4
      -> n3     Append e3 voters n1 n2 n3 n4
      -> n4     Append e3 voters n1 n2 n3 n4
    leader      e3  voted for n1  end e3@5+4  durable e3@5+3  hw 5  voters [1, 2, 3, 4]  isr [1, 2, 3, 4]
    ");
}

#[test]
fn a_voter_change_waits_until_the_one_before_it_is_committed() {
    let mut n1 = opened();
    n1.target(&[1, 2, 4]);
    let end = n1.replica.end();
    n1.has(4, end, end);
    let changed = n1.replica.end();
    n1.has(2, changed, changed);
    n1.has(4, changed, changed);
    n1.store_all();
    insta::assert_snapshot!(n1.text(), @r"
    leader      e3  voted for n1  end e3@5+3  hw 5  isr [1, 2, 3]

    target [1, 2, 4]
      -> n4     Append e3 after e3@5+3 hw 5

    n4 -> n1    Append reply e3: durable to e3@5+3
      notice    changes voters to n1 n2 n3 n4
      store     append voters n1 n2 n3 n4
      -> n2     Append e3 voters n1 n2 n3 n4
      -> n3     Append e3 voters n1 n2 n3 n4
      -> n4     Append e3 voters n1 n2 n3 n4
    leader      e3  voted for n1  end e3@5+4  durable e3@5+3  hw 5  voters [1, 2, 3, 4]  isr [1, 2, 3, 4]

    n2 -> n1    Append reply e3: durable to e3@5+4

    n4 -> n1    Append reply e3: durable to e3@5+4

    stored
      notice    changes voters to n1 n2 n4
      store     append voters n1 n2 n4
      -> n2     Append e3 voters n1 n2 n4
      -> n3     Append e3 voters n1 n2 n4
      -> n4     Append e3 voters n1 n2 n4
    leader      e3  voted for n1  end e3@5+5  durable e3@5+4  hw 5  voters [1, 2, 4]  isr [1, 2, 4]

    stored
    leader      e3  voted for n1  end e3@5+5  hw 5  voters [1, 2, 4]  isr [1, 2, 4]
    ");
}

#[test]
fn no_voter_change_is_appended_before_the_opening_is_committed() {
    let mut n1 = Given::started_on(&log(), 3).leading().shown();
    n1.target(&[1, 2]);
    let end = n1.replica.end();
    n1.has(2, end, end);
    insta::assert_snapshot!(n1.text(), @r"
    leader      e3  voted for n1  end e3@5+3  hw not known  isr [1]

    target [1, 2]

    n2 -> n1    Append reply e3: durable to e3@5+3
      notice    changes voters to n1 n2
      store     append voters n1 n2
      -> n2     Append e3 voters n1 n2
    leader      e3  voted for n1  end e3@5+4  durable e3@5+3  hw 5  voters [1, 2]  isr [1, 2]
    ");
}

#[test]
fn a_leader_that_is_not_in_the_target_transfers_leadership_last() {
    let mut n1 = opened();
    n1.target(&[2, 3]);
    assert_eq!(n1.produce(), Err(ProduceRefusal::NotLeader));
    insta::assert_snapshot!(n1.text(), @r"
    leader      e3  voted for n1  end e3@5+3  hw 5  isr [1, 2, 3]

    target [2, 3]
      -> n2     TransferLeadership e3

    produce
    ");
}
