//! Pre-vote and vote (Raft 5.2, 5.4.1; Raft dissertation, 9.6; docs/protocol.md 3).

use super::*;

#[test]
fn a_pre_vote_is_refused_while_the_leader_is_heard_and_granted_after_its_timeout() {
    let mut n1 = Given::started_on(&log(), 3).following(2).shown();
    n1.hear(3, 3, pre_vote(log().end));
    n1.lose(2);
    n1.hear(3, 3, pre_vote(log().end));
    insta::assert_snapshot!(n1.text(), @r"
    follower    e2 of n2  end e2@5+2  hw 3

    n3 -> n1    PreVote e3 last e2@5+2
      -> n3     PreVote reply e3: refused, has a leader

    n2 is silent
    follower    e2  end e2@5+2  hw 3

    n3 -> n1    PreVote e3 last e2@5+2
      -> n3     PreVote reply e3: granted
    ");
}

#[test]
fn a_vote_is_sent_once_it_is_durable_and_given_once_per_epoch() {
    let mut n1 = Given::started_on(&log(), 3).shown();
    n1.hear(3, 3, vote(log().end));
    n1.hear(2, 3, vote(log().end));
    n1.store_all();
    n1.hear(3, 3, vote(log().end));
    insta::assert_snapshot!(n1.text(), @r"
    follower    e2  end e2@5+2  hw 3

    n3 -> n1    Vote e3 last e2@5+2
      store     enter e3
      -> n2     EpochEntered e3
      store     vote e3 for n3
    follower    e3  voted for n3  end e2@5+2  hw 3

    n2 -> n1    Vote e3 last e2@5+2
      -> n2     Vote reply e3: refused, has voted

    stored
      -> n3     Vote reply e3: granted

    n3 -> n1    Vote e3 last e2@5+2
      -> n3     Vote reply e3: granted
    ");
}

#[test]
fn a_candidate_whose_log_is_behind_gets_no_vote() {
    let shorter = Log::default().epoch(1, 1, 3).epoch(2, 2, 4);
    let earlier = Log::default().epoch(1, 1, 9);
    let mut n1 = Given::started_on(&log(), 3).shown();
    n1.hear(3, 3, vote(shorter.end));
    n1.store_all();
    n1.hear(2, 4, vote(earlier.end));
    n1.store_all();
    insta::assert_snapshot!(n1.text(), @r"
    follower    e2  end e2@5+2  hw 3

    n3 -> n1    Vote e3 last e2@4+2
      store     enter e3
      -> n2     EpochEntered e3
      -> n3     Vote reply e3: refused, the log is behind
    follower    e3  end e2@5+2  hw 3

    stored

    n2 -> n1    Vote e4 last e1@9+1
      store     enter e4
      -> n2     Vote reply e4: refused, the log is behind
    follower    e4  end e2@5+2  hw 3

    stored
    ");
}

#[test]
fn a_majority_of_votes_elects_and_the_first_entry_is_the_opening() {
    let mut n1 = Given::started_on(&log(), 3).shown();
    n1.wait(Duration::from_secs(3));
    n1.hear(3, 2, ReplicaBody::PreVoteReply(grant(3, false)));
    n1.store_all();
    n1.hear(3, 3, ReplicaBody::VoteReply(grant(3, false)));
    insta::assert_snapshot!(n1.text(), @r"
    follower    e2  end e2@5+2  hw 3

    3000 ms later
      notice    starts an election for e3: no leader
      -> n2     PreVote e3 last e2@5+2
      -> n3     PreVote e3 last e2@5+2
    pre-candidate e2  end e2@5+2  hw 3

    n3 -> n1    PreVote reply e3: granted
      store     vote e3 for n1
    candidate   e3  voted for n1  end e2@5+2  hw 3

    stored
      -> n2     Vote e3 last e2@5+2
      -> n3     Vote e3 last e2@5+2

    n3 -> n1    Vote reply e3: granted
      notice    leads e3
      store     append opening of e3 at 5
      -> n2     Append e3 opening of e3 at 5
      -> n3     Append e3 opening of e3 at 5
    leader      e3  voted for n1  end e3@5+3  durable e2@5+2  hw not known  isr [1]
    ");
}

#[test]
fn votes_of_suspects_elect_only_if_every_voter_grants() {
    let mut n1 = Given::started_on(&log(), 3).shown();
    n1.wait(Duration::from_secs(3));
    n1.hear(3, 2, ReplicaBody::PreVoteReply(grant(3, true)));
    n1.hear(2, 2, ReplicaBody::PreVoteReply(grant(3, false)));
    n1.store_all();
    n1.hear(3, 3, ReplicaBody::VoteReply(grant(3, true)));
    n1.hear(2, 3, ReplicaBody::VoteReply(grant(3, true)));
    insta::assert_snapshot!(n1.text(), @r"
    follower    e2  end e2@5+2  hw 3

    3000 ms later
      notice    starts an election for e3: no leader
      -> n2     PreVote e3 last e2@5+2
      -> n3     PreVote e3 last e2@5+2
    pre-candidate e2  end e2@5+2  hw 3

    n3 -> n1    PreVote reply e3: granted, by a suspect

    n2 -> n1    PreVote reply e3: granted
      store     vote e3 for n1
    candidate   e3  voted for n1  end e2@5+2  hw 3

    stored
      -> n2     Vote e3 last e2@5+2
      -> n3     Vote e3 last e2@5+2

    n3 -> n1    Vote reply e3: granted, by a suspect

    n2 -> n1    Vote reply e3: granted, by a suspect
      notice    leads e3 by every voter's grant: acknowledged records may be lost
      store     append opening of e3 at 5
      -> n2     Append e3 opening of e3 at 5
      -> n3     Append e3 opening of e3 at 5
    leader      e3  voted for n1  end e3@5+3  durable e2@5+2  hw not known  isr [1]
    ");
}

#[test]
fn a_suspect_marks_its_vote() {
    let mut n1 = Given::recovered(RecoveredReplica {
        notes: log().notes(),
        end: log().end,
        mark: Mark::Suspect,
        ..RecoveredReplica::empty(PARTITION, vec![voter(1), voter(2), voter(3)])
    })
    .shown();
    n1.hear(3, 3, vote(log().end));
    n1.store_all();
    insta::assert_snapshot!(n1.text(), @r"
    follower    e2  end e2@5+2  hw 0  Suspect

    n3 -> n1    Vote e3 last e2@5+2
      store     enter e3
      -> n2     EpochEntered e3
      store     vote e3 for n3
    follower    e3  voted for n3  end e2@5+2  hw 0  Suspect

    stored
      -> n3     Vote reply e3: granted, by a suspect
    ");
}

#[test]
fn a_leader_that_hears_of_a_later_epoch_resigns_and_tells_its_voters() {
    let mut n1 = Given::started_on(&log(), 3).leading().shown();
    n1.hear(3, 4, vote(log().end));
    insta::assert_snapshot!(n1.text(), @r"
    leader      e3  voted for n1  end e3@5+3  hw not known  isr [1]

    n3 -> n1    Vote e4 last e2@5+2
      notice    resigns e3: a higher epoch
      -> n2     Resigned e3
      -> n3     Resigned e3
      store     enter e4
      -> n3     Vote reply e4: refused, the log is behind
    follower    e4  end e3@5+3  hw 3
    ");
}
