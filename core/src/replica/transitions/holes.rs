//! Damage below the durable end (docs/protocol.md 7).

use super::*;

fn fill(offset: i64, batches: Vec<Batch>, denial: Option<Denial>) -> ReplicaBody {
    ReplicaBody::FillReply {
        offset: Offset(offset),
        batches,
        denial,
    }
}

#[test]
fn a_hole_is_requested_and_closed_once_its_fill_is_durable() {
    let mut n1 = Given::started_on(&log(), 3).following(2).shown();
    n1.damage(1..2);
    n1.wait(Duration::from_millis(1));
    n1.hear(3, 2, fill(1, vec![record(1, 1)], None));
    n1.store_all();
    insta::assert_snapshot!(n1.text(), @r"
    follower    e2 of n2  end e2@5+2  hw 3

    damage      [1,2)
      notice    hole [1,2)
      -> n2     Append reply e2: durable to e2@5+2, not eligible
    follower    e2 of n2  end e2@5+2  hw 3  hole [1,2)

    1 ms later
      -> n2     Fill request [1,2)
      -> n3     Fill request [1,2)

    n3 -> n1    Fill reply: [1,2)
      store     fill [1,2)

    stored
      notice    hole [1,2) filled
      -> n2     Append reply e2: durable to e2@5+2
    follower    e2 of n2  end e2@5+2  hw 3
    ");
}

#[test]
fn a_batch_of_another_epoch_fills_nothing() {
    let mut n1 = Given::started_on(&log(), 3).following(2).shown();
    n1.damage(3..4);
    n1.hear(3, 2, fill(3, vec![record(1, 3)], None));
    insta::assert_snapshot!(n1.text(), @r"
    follower    e2 of n2  end e2@5+2  hw 3

    damage      [3,4)
      notice    hole [3,4)
      -> n2     Append reply e2: durable to e2@5+2, not eligible
    follower    e2 of n2  end e2@5+2  hw 3  hole [3,4)

    n3 -> n1    Fill reply: [3,4)
    ");
}

#[test]
fn a_leader_resigns_and_truncates_a_hole_that_a_majority_never_had() {
    let mut n1 = Given::started_on(&log(), 3).leading().shown();
    n1.damage(3..5);
    n1.hear(2, 3, fill(3, Vec::new(), Some(Denial::NeverHad)));
    n1.hear(3, 3, fill(3, Vec::new(), Some(Denial::NeverHad)));
    insta::assert_snapshot!(n1.text(), @r"
    leader      e3  voted for n1  end e3@5+3  hw not known  isr [1]

    damage      [3,5)
      notice    hole [3,5)
    leader      e3  voted for n1  end e3@5+3  hw not known  isr [1]  hole [3,5)

    n2 -> n1    Fill reply: never had it

    n3 -> n1    Fill reply: never had it
      notice    hole [3,5) given up: no majority ever had it
      notice    resigns e3: gives up what a majority never had and it has lost
      -> n2     Resigned e3
      -> n3     Resigned e3
      notice    truncates to e2@3+2
      store     truncate to e2@3+2
    follower    e3  voted for n1  end e2@3+2  hw 3
    ");
}

#[test]
fn a_hole_that_a_suspect_denies_is_given_up_with_possible_loss_once_no_voter_has_it() {
    let mut n1 = Given::started_on(&log(), 3).leading().shown();
    n1.damage(3..5);
    n1.hear(2, 3, fill(3, Vec::new(), Some(Denial::NeverHad)));
    n1.hear(3, 3, fill(3, Vec::new(), Some(Denial::Marked)));
    insta::assert_snapshot!(n1.text(), @r"
    leader      e3  voted for n1  end e3@5+3  hw not known  isr [1]

    damage      [3,5)
      notice    hole [3,5)
    leader      e3  voted for n1  end e3@5+3  hw not known  isr [1]  hole [3,5)

    n2 -> n1    Fill reply: never had it

    n3 -> n1    Fill reply: has it not, as a suspect
      notice    hole [3,5) given up, since no voter has it: acknowledged records may be lost
      notice    resigns e3: gives up what a majority never had and it has lost
      -> n2     Resigned e3
      -> n3     Resigned e3
      notice    truncates to e2@3+2
      store     truncate to e2@3+2
    follower    e3  voted for n1  end e2@3+2  hw 3
    ");
}

#[test]
fn a_fill_request_gets_the_batches_or_the_denial_that_it_never_had_them() {
    let mut n1 = Given::started_on(&log(), 3).following(2);
    let longer = log().epoch(3, 2, 6);
    let (previous, entries) = longer.from(5);
    n1.append(2, 3, previous, entries, Position::default());
    n1.store_all();
    let mut n1 = n1.shown();
    let asks = |offset: i64, epoch: i32| ReplicaBody::FillRequest {
        offset: Offset(offset),
        record_epoch: LeaderEpoch(epoch),
        end: Offset(offset + 1),
    };
    n1.hear(3, 3, asks(5, 3));
    n1.hear(3, 3, asks(1, 1));
    n1.hear(3, 3, asks(1, 2));
    insta::assert_snapshot!(n1.text(), @r"
    follower    e3 of n2  end e3@6+3  hw 3

    n3 -> n1    Fill request [5,6)
      -> n3     Fill reply: [5,6)

    n3 -> n1    Fill request [1,2)
      query     read [1,2)

    n3 -> n1    Fill request [1,2)
      -> n3     Fill reply: never had it
    ");
}
