//! What is committed, and when followers learn it (Raft 5.3, 5.4.2; docs/protocol.md 5).

use super::*;

#[test]
fn a_record_is_committed_once_a_majority_has_it_durably() {
    let mut n1 = Given::started_on(&log(), 3).leading().shown();
    let before = n1.replica.end();
    n1.has(2, before, before);
    n1.produce().expect("it leads");
    let end = n1.replica.end();
    n1.has(2, end, before);
    n1.has(2, end, end);
    n1.store_all();
    insta::assert_snapshot!(n1.text(), @r"
    leader      e3  voted for n1  end e3@5+3  hw not known  isr [1]

    n2 -> n1    Append reply e3: durable to e3@5+3
    leader      e3  voted for n1  end e3@5+3  hw 5  isr [1, 2]

    produce
      store     append [5,6)
      -> n2     Append e3 [5,6)
    leader      e3  voted for n1  end e3@6+3  durable e3@5+3  hw 5  isr [1, 2]

    n2 -> n1    Append reply e3: durable to e3@5+3, has e3@6+3

    n2 -> n1    Append reply e3: durable to e3@6+3

    stored
    leader      e3  voted for n1  end e3@6+3  hw 6  isr [1, 2]
    ");
}

#[test]
fn nothing_of_an_earlier_epoch_is_committed_before_the_opening() {
    let mut n1 = Given::started_on(&log(), 3).leading().shown();
    let before = log().end;
    n1.has(2, before, before);
    n1.has(3, before, before);
    let opened = n1.replica.end();
    n1.has(3, opened, opened);
    insta::assert_snapshot!(n1.text(), @r"
    leader      e3  voted for n1  end e3@5+3  hw not known  isr [1]

    n2 -> n1    Append reply e3: durable to e2@5+2
      -> n2     Append e3 opening of e3 at 5
    leader      e3  voted for n1  end e3@5+3  hw not known  isr [1, 2]

    n3 -> n1    Append reply e3: durable to e2@5+2
      -> n3     Append e3 opening of e3 at 5
    leader      e3  voted for n1  end e3@5+3  hw not known  isr [1, 2, 3]

    n3 -> n1    Append reply e3: durable to e3@5+3
    leader      e3  voted for n1  end e3@5+3  hw 5  isr [1, 2, 3]
    ");
}

#[test]
fn a_note_counts_on_disk_only_even_where_records_count_in_memory() {
    let mut n1 = Given::started_on(&log(), 3)
        .flushing_later()
        .leading()
        .shown();
    let (before, opened) = (log().end, n1.replica.end());
    n1.has(2, opened, before);
    n1.has(2, opened, opened);
    n1.produce().expect("it leads");
    n1.store_all();
    let end = n1.replica.end();
    n1.has(2, end, opened);
    insta::assert_snapshot!(n1.text(), @r"
    leader      e3  voted for n1  end e3@5+3  hw not known  isr [1]

    n2 -> n1    Append reply e3: durable to e2@5+2, has e3@5+3
    leader      e3  voted for n1  end e3@5+3  hw not known  isr [1, 2]

    n2 -> n1    Append reply e3: durable to e3@5+3
    leader      e3  voted for n1  end e3@5+3  hw 5  isr [1, 2]

    produce
      store     mark volatile
      store     append [5,6)
      -> n2     Append e3 [5,6)
    leader      e3  voted for n1  end e3@6+3  durable e3@5+3  hw 5  isr [1, 2]  Volatile

    stored
    leader      e3  voted for n1  end e3@6+3  hw 5  isr [1, 2]  Volatile

    n2 -> n1    Append reply e3: durable to e3@5+3, has e3@6+3
    leader      e3  voted for n1  end e3@6+3  hw 6  isr [1, 2]  Volatile
    ");
}

#[test]
fn a_followers_high_watermark_is_the_leaders_bounded_by_its_own_log() {
    let longer = log().epoch(3, 2, 7);
    let mut n1 = Given::started_on(&log(), 3).following(2).shown();
    let (previous, entries) = longer.from(5);
    n1.append(2, 3, previous, entries[..2].to_vec(), longer.end);
    insta::assert_snapshot!(n1.text(), @r"
    follower    e2 of n2  end e2@5+2  hw 3

    n2 -> n1    Append e3 opening of e3 at 5, [5,6)
      store     enter e3
      notice    follows n2 in e3
      store     append opening of e3 at 5, [5,6)
      -> n2     Append reply e3: durable to e2@5+2
    follower    e3 of n2  end e3@6+3  durable e2@5+2  hw 6
    ");
}
