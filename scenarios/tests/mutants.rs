//! Every mutant is killed: the table names, for each, the story that kills it and who must notice.
//!
//! A story passes on the true core, claim and checkers included, and on the very same cluster with one clause
//! of the protocol broken it ends with the violation, or the claim, that stands in the table. A new mutant does
//! not compile until it has a line here.

use std::collections::BTreeSet;

use varve_core::hooks::Mutant;
use varve_scenarios::Scenario;

macro_rules! killers {
    ($($story:ident { $($mutant:ident: $noticed:literal),* $(,)? })*) => {
        const _: fn(Mutant) = |mutant| match mutant {
            $($(Mutant::$mutant)|+)|+ => {}
        };

        $(
            #[test]
            fn $story() {
                use crate::$story::{cluster, story};
                let mutants = [$((Mutant::$mutant, $noticed)),*];
                tell(cluster, story, &mutants);
            }
        )*
    };
}

killers! {
    dropped_opening {
        DropsTrailingOpening: "LeaderHasAllCommitted",
        ComparesOffsetsOnly: "LeaderHasAllCommitted",
    }
    earlier_epoch {
        CommitsEarlierEpochs: "LeaderHasAllCommitted",
    }
    two_candidates {
        VotesTwice: "VotesNeverChange",
    }
    deaf_follower {
        SkipsPreVote: "the leader is left in peace",
        GrantsPreVoteUnderLeader: "the leader is left in peace",
    }
    elections {
        AnswersVoteBeforeDurable: "WordsAreDurable",
        ForgetsVote: "RecoveryFindsWhatWasOrdered",
    }
    crash_before_sync {
        AcknowledgesBeforeDurable: "WordsAreDurable",
        AnswersAllAsOne: "AcknowledgedByPolicy",
        CommitsAlone: "MajorityReachedHighWatermark",
    }
    hidden_high_watermark {
        ExposesBeforeOpening: "NothingGoesBack",
    }
    too_few_in_sync {
        IgnoresMinInsync: "two of three have it",
    }
    phantom_epoch {
        KeepsTruncatedEpochs: "RecoveryFindsWhatWasOrdered",
    }
    completion_of_another_append {
        IgnoresOrderSeq: "WordsAreDurable",
    }
    divergence {
        SkipsPreviousEntryCheck: "the high watermark is within the log",
        KeepsDivergentTail: "WordsAreDurable",
    }
    two_authorities {
        ChangesVotersTwiceAtOnce: "VotersChangeOneByOne",
    }
    changes_before_the_opening {
        ChangesVotersBeforeOpening: "VotersChangeOneByOne",
    }
    moved_away {
        DeletesOnTargetAlone: "a copy that still counts is kept",
    }
    leader_back_too_soon {
        IgnoresIncarnation: "does not happen within 500ms",
    }
    disk_that_hangs {
        IgnoresStalledDisk: "does not happen within 6000ms",
    }
    second_restart {
        SuspectVotesUnmarked: "LeaderHasAllCommitted",
        ClearsSuspectEarly: "SuspicionEndsWhenCaughtUp",
        NeverMarksVolatile: "WordsAreDurable",
        ForgetsSuspicion: "RecoveryFindsWhatWasOrdered",
    }
    forgotten_epoch {
        AcknowledgesBeforeVoteDurable: "WordsAreDurable",
    }
    suspect_candidate {
        SuspectStands: "SuspectsNeverLead",
    }
    site_power_cut {
        AllVotersDoNotSuffice: "does not happen within 10000ms",
    }
    opening_on_disk {
        CommitsNotesInMemory: "MajorityReachedHighWatermark",
    }
    early_duplicate {
        AnswersDuplicateEarly: "AcknowledgedByPolicy",
    }
    retry_after_truncation {
        KeepsProducerStateOnTruncation: "batches are appended in order",
    }
    sleeper {
        FiresDeadlinesLate: "the sleeper has appended nothing",
    }
    stale_latest {
        ServesStaleLeader: "LatestIsLatest",
    }
    asymmetric_partition {
        NeverChecksQuorum: "does not happen within 4000ms",
    }
    unreachable_leader {
        FencingHidesLeader: "does not happen within 30000ms",
    }
    rot_under_a_reader {
        ServesHoles: "HolesAreNotServed",
    }
    nobody_may_lead {
        TruncatesToHole: "what is committed is never truncated",
    }
    rot_below_the_durable_end {
        TakesRotForTornTail: "the end stays where it was",
    }
    failing_fsync {
        RetriesFailedSync: "does not happen within 4000ms",
    }
    amnesiac_voter {
        IgnoresDirectoryId: "WipedDirectoriesAreSilent",
        TrustsNewReplica: "SuspicionEndsWhenCaughtUp",
        FoundsOwnCluster: "SingleLeaderPerEpoch",
    }
}

/// Tells a story on the true core, and on every mutant that it is to kill.
fn tell(cluster: fn() -> Scenario, story: fn(&mut Scenario), mutants: &[(Mutant, &str)]) {
    let mut sound = cluster();
    story(&mut sound);
    sound.judge();
    for &(mutant, noticed) in mutants {
        let what = cluster().mutant(mutant).caught(story);
        assert!(what.contains(noticed), "{mutant} is noticed by: {what}");
    }
}

/// The names in the notes of the protocol that say which mutants break a clause.
fn named_in_protocol() -> BTreeSet<&'static str> {
    let notes = include_str!("../../docs/protocol.md")
        .lines()
        .filter_map(|line| line.split_once("Mutant"));
    notes
        .filter(|(_, names)| names.ends_with(".*"))
        .flat_map(|(_, names)| names.split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn the_protocol_names_every_mutant_at_its_clause_and_no_other() {
    let all: BTreeSet<&str> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
    assert_eq!(named_in_protocol(), all);
}
