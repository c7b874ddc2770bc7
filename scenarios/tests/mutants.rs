//! Every mutant is killed: the table names, for each, the story that kills it and who must notice: a *checker*, which
//! looks at every run and knows nothing of the story; an *assertion* of the core, which stops the node; or the story's
//! own *claim*, mostly that something happens in time.
//!
//! A story passes on the true core, claim and checkers included, and on the very same cluster with one clause
//! of the protocol broken it ends with the violation, or the claim, that stands in the table. A new mutant does
//! not compile until it has a line here.

use std::collections::BTreeSet;

use varve_core::hooks::Mutant;
use varve_scenarios::Scenario;

macro_rules! killers {
    ($($story:ident { $($mutant:ident: $by:ident $noticed:literal),* $(,)? })*) => {
        const _: fn(Mutant) = |mutant| match mutant {
            $($(Mutant::$mutant)|+)|+ => {}
        };

        $(
            #[test]
            fn $story() {
                use crate::$story::{cluster, story};
                let mutants = [$((Mutant::$mutant, $by($noticed))),*];
                tell(cluster, story, &mutants);
            }
        )*
    };
}

killers! {
    dropped_opening {
        DropsTrailingOpening: checker "LeaderHasAllCommitted",
        ComparesOffsetsOnly: checker "LeaderHasAllCommitted",
    }
    earlier_epoch {
        CommitsEarlierEpochs: checker "LeaderHasAllCommitted",
    }
    two_candidates {
        LeadsWithoutOpening: assertion "a leader's log ends in its epoch",
        VotesTwice: checker "VotesNeverChange",
    }
    follower_cut_off_one_way {
        SkipsPreVote: claim "the leader is left in peace",
        GrantsPreVoteUnderLeader: claim "the leader is left in peace",
    }
    killed_leader {
        WaitsForSilence: claim "does not happen within 150ms",
        NamesBrokenLeaders: claim "who asks is told of the successor",
    }
    stale_announcement_of_a_killed_leader {
        TellsOfLeadersUnasked: claim "who asks is told of the successor",
    }
    broken_connections {
        TakesBrokenLinkForGone: checker "GoneLeadersAreGone",
    }
    refusal_of_an_earlier_start {
        KeepsRefusals: checker "GoneLeadersAreGone",
    }
    hung_voter {
        StartsElectionOnHungDisk: claim "no epoch is entered",
        PromisesOnHungDisk: claim "no epoch is entered",
    }
    idle_disk_that_hangs {
        NeverProbesDisk: claim "does not happen within 8000ms",
    }
    elections {
        TrustsForEver: claim "does not happen within 2000ms",
        AsksBeforeVoteDurable: checker "WordsAreDurable",
        AnswersVoteBeforeDurable: checker "WordsAreDurable",
        ForgetsVote: checker "RecoveryFindsWhatWasOrdered",
    }
    crash_before_sync {
        AcknowledgesBeforeDurable: checker "WordsAreDurable",
        AnswersAllAsOne: checker "AcknowledgedByPolicy",
        CommitsAlone: checker "MajorityReachedHighWatermark",
    }
    acks_1_is_durable {
        AnswersOneEarly: checker "AcknowledgedByPolicy",
    }
    learners_do_not_count {
        CountsLearners: checker "MajorityReachedHighWatermark",
    }
    hidden_high_watermark {
        ExposesBeforeOpening: checker "NothingGoesBack",
    }
    too_few_in_sync {
        IgnoresMinInsync: checker "AcknowledgedByPolicy",
    }
    phantom_epoch {
        KeepsTruncatedEpochs: checker "RecoveryFindsWhatWasOrdered",
    }
    completion_of_another_append {
        IgnoresOrderSeq: checker "WordsAreDurable",
    }
    copy_made_again {
        NumbersOrdersAnew: checker "WordsAreDurable",
    }
    divergence {
        SkipsPreviousEntryCheck: assertion "the high watermark is within the log",
        KeepsDivergentTail: checker "LogsMatch",
    }
    voter_replaced_step_by_step {
        LetsNamesakesIn: checker "NamesakesAreNotRegistered",
        ChangesVotersTwiceAtOnce: checker "VotersChangeOneByOne",
    }
    voter_change_before_the_opening_commits {
        ChangesVotersBeforeOpening: checker "VotersChangeOneByOne",
    }
    truncated_voter_change {
        KeepsTruncatedVoters: checker "VotersAreOfTheLog",
    }
    voter_leaves_its_leader_in_silence {
        LeavesInSilence: claim "does not happen within 100ms",
    }
    learner_released_and_wanted_again {
        EligibleWhileUnwanted: checker "CountingCopiesAreKept",
        IgnoresRegressedFollower: claim "does not happen within 5000ms",
    }
    stale_release {
        AcceptsStaleReleases: checker "CountingCopiesAreKept",
    }
    moved_away {
        DeletesOnTargetAlone: checker "CountingCopiesAreKept",
    }
    leader_restarted_before_it_is_missed {
        IgnoresIncarnation: claim "does not happen within 500ms",
    }
    session_without_announcement {
        TrustsWithoutRenewal: claim "does not happen within 5000ms",
    }
    transfer_target_paused {
        AppendsWhileHandingOver: checker "SuccessorsHaveEverything",
        NeverLeadsOn: claim "does not happen within 20ms",
    }
    kept_voter_down {
        ChangesToAbsentVoters: claim "does not happen within 30000ms",
    }
    hole_given_up_with_possible_loss {
        KeepsWhatNobodyHas: claim "does not happen within 10000ms",
    }
    lost_voter_first {
        RemovesInTurn: claim "does not happen within 30000ms",
    }
    removal_lost_by_the_leader {
        LeavesUncommitted: claim "does not happen within 5000ms",
    }
    recreated_replicas_do_not_vote {
        VotesMadeAgain: checker "ConsistentCommittedData",
    }
    present_by_a_broken_link {
        TakesBrokenLinkForPresent: claim "does not happen within 5000ms",
    }
    promoted_suspect {
        PromotesSuspects: claim "does not happen within 10000ms",
    }
    late_transfer {
        AsksTooLate: checker "SuccessorsHaveEverything",
    }
    transfer_target_killed {
        DeposedInSilence: claim "does not happen within 5000ms",
    }
    replica_kept_until_the_leader_releases_it {
        DeletesUnreleased: checker "CountingCopiesAreKept",
    }
    deleted_under_a_reader {
        ServesDeleted: checker "HolesAreNotServed",
    }
    deleted_copy {
        CreatesUnknownReplica: checker "SuspicionEndsWhenCaughtUp",
    }
    quick_restart_after_a_power_cut {
        SendsOnAfterBreak: claim "does not happen within 300ms",
        KeepsDeadLink: claim "does not happen within 300ms",
    }
    new_directory_after_a_pause {
        KeepsRefusedSession: claim "does not happen within 5000ms",
    }
    lagging_replica_leaves_the_isr {
        KeepsLaggards: claim "it lags for too long",
    }
    transfer_target_with_a_hole {
        PrefersDamaged: claim "does not happen within 10ms",
    }
    transfer_target_lags {
        NeverHandsOver: claim "does not happen within 50ms",
        TransfersTooEarly: checker "SuccessorsHaveEverything",
    }
    stop_under_a_reader {
        StopsUnderClients: checker "StopsAnswerWhatWasAsked",
    }
    fill_of_another_epoch {
        FillsFromAnyEpoch: checker "HolesAreNotServed",
    }
    refused_leader {
        LeadsOnAfterRefusal: checker "LogsMatch",
    }
    disk_full {
        CountsRefusedAsDurable: checker "WordsAreDurable",
        EatsReserve: claim "does not happen within 4000ms",
    }
    no_descriptor_left {
        TakesShortageForFailure: checker "OnlyWritesTakeDirectoriesOffline",
    }
    file_closed_before_sync {
        ClosesUnsynced: claim "does not happen within 10000ms",
    }
    disk_that_hangs {
        IgnoresStalledDisk: claim "does not happen within 6000ms",
    }
    offline_directory {
        TakesWhileOffline: checker "WhatWaitsIsBounded",
        KeepsOfflineInIsr: claim "its broker has said so",
    }
    hung_follower {
        ForgetsWhatWaits: claim "no more than a window waits",
    }
    follower_backpressure {
        TakesWithoutBound: checker "WhatWaitsIsBounded",
    }
    catch_up_after_backpressure {
        KeepsRoomToItself: claim "does not happen within 1000ms",
    }
    second_restart {
        SuspectVotesUnmarked: checker "LeaderHasAllCommitted",
        ClearsSuspectEarly: checker "SuspicionEndsWhenCaughtUp",
        NeverMarksVolatile: checker "WordsAreDurable",
        ForgetsSuspicion: checker "RecoveryFindsWhatWasOrdered",
    }
    forgotten_epoch {
        AcknowledgesBeforeVoteDurable: checker "WordsAreDurable",
    }
    suspect_candidate {
        SuspectStartsElection: checker "SuspectsNeverLead",
    }
    lost_change_of_voters {
        IgnoresLostVoterChange: checker "ConsistentCommittedData",
        JournalsVoterChangesOnce: checker "ConsistentCommittedData",
    }
    records_after_a_lost_change {
        RanksOffsetsAboveNotes: checker "ConsistentCommittedData",
    }
    site_power_cut {
        AllVotersDoNotSuffice: claim "does not happen within 10000ms",
    }
    opening_on_disk {
        CommitsNotesInMemory: checker "MajorityReachedHighWatermark",
    }
    log_append_time {
        StampsStaleTime: checker "StampsLieWithinTheirRequest",
    }
    early_duplicate {
        AnswersDuplicateEarly: checker "AcknowledgedByPolicy",
    }
    duplicate_across_failover {
        AgesByOwnClock: checker "ProducerStateFollowsLog",
    }
    retries_behind_a_jump {
        TicksTooOften: checker "ClockTicksAreApart",
    }
    forgotten_producer {
        NeverTicks: claim "a silent producer is forgotten",
    }
    retry_after_truncation {
        KeepsProducerStateOnTruncation: assertion "batches are appended in order",
    }
    paused_leader {
        FiresDeadlinesLate: checker "LeadersHearAMajority",
    }
    paused_controller {
        FiresDeadlinesInTurn: checker "LeadersHearAMajority",
    }
    deposed_and_a_copy_made_again {
        IgnoresReportedEpoch: checker "ConsistentCommittedData",
    }
    time_asked_of_a_hung_leader {
        KeepsWaitingWhenDeposed: claim "everybody is told to look elsewhere",
    }
    time_of_what_is_not_written {
        LooksUpUnwritten: checker "OffsetsAreCurrent",
    }
    latest_after_handover {
        TellsTimesUnconfirmed: checker "OffsetsAreCurrent",
        ServesStaleLeader: checker "OffsetsAreCurrent",
    }
    deposed_leader_rejects_nothing {
        RefusesUnconfirmed: checker "SequencesAreKept",
        TellsRangeUnconfirmed: checker "PositionsStayInRange",
        TellsEpochsUnconfirmed: checker "EpochsAreKnown",
    }
    asymmetric_partition {
        NeverChecksQuorum: checker "LeadersHearAMajority",
    }
    announcement_of_a_dead_leader {
        NamesFormerLeaders: claim "does not happen within 15000ms",
    }
    unreachable_leader {
        FencingHidesLeader: claim "does not happen within 30000ms",
    }
    late_announcement {
        BelievesLatestAnnouncement: checker "NothingGoesBack",
    }
    unconfirmed_topic {
        AppliesUncommitted: checker "MetadataAreCommitted",
        SnapshotsUncommitted: checker "MetadataAreCommitted",
    }
    unknown_topic_on_a_cut_off_broker {
        AnswersUnconfirmed: checker "ClusterViewNeverGoesBack",
        DeniesUnconfirmed: checker "ClusterViewNeverGoesBack",
    }
    stale_controller {
        ConfirmsByLeaderAlone: checker "ClusterViewNeverGoesBack",
    }
    late_read_index {
        JoinsRoundUnderWay: checker "ClusterViewNeverGoesBack",
    }
    starting_node {
        ReadyBeforeCaughtUp: claim "it knows too little to let anybody in",
    }
    same_producer_id {
        AnswersUncommitted: checker "MetadataAreCommitted",
    }
    fenced_broker {
        PlacesOnFenced: checker "FencedBrokersAreGivenNothing",
    }
    rot_under_a_reader {
        ServesHoles: checker "HolesAreNotServed",
    }
    overtaken_truncation {
        ReadsWhatIsDropped: checker "ImagesAgree",
    }
    scrub_finds_rot {
        NeverScrubs: claim "does not happen within 25000ms",
    }
    hole_found_by_a_catch_up_read {
        TellsOfHolesOnce: claim "offset 0 can be read",
    }
    unreadable_sector {
        GivesUpUnreadable: checker "OnlyWritesTakeDirectoriesOffline",
    }
    rot_under_the_cache {
        ScrubsCache: claim "does not happen within 25000ms",
    }
    holes_on_two_replicas {
        TruncatesToHole: assertion "what is committed is never truncated",
    }
    hole_given_up {
        DeniesBeforeDurable: checker "WordsAreDurable",
    }
    hole_above_the_known_high_watermark {
        GivesUpHolesAlone: checker "ConsistentCommittedData",
    }
    rot_below_the_durable_end {
        TakesRotForTornTail: checker "RecoveryFindsWhatWasOrdered",
    }
    deletion_cut_short {
        RemovesBeforeDurable: checker "RecoveryFindsWhatWasOrdered",
    }
    overwritten_tail {
        OverwritesBeforeDurable: checker "RecoveryFindsWhatWasOrdered",
    }
    replicated_flush_bound {
        NeverFlushesReplicated: claim "on every disk by now",
    }
    rot_after_a_kill {
        TakesKillForPowerCut: checker "RecoveryFindsWhatWasOrdered",
    }
    rot_in_the_last_group {
        TrustsTornTail: checker "RecoveryFindsWhatWasOrdered",
    }
    rot_in_a_header {
        TrustsSegmentHeaders: claim "found by the start",
    }
    second_copy_of_a_vote {
        JournalsVotesOnce: checker "RecoveryFindsWhatWasOrdered",
    }
    failing_fsync {
        IgnoresResignation: claim "a leader without a disk leads no more",
        RetriesFailedSync: checker "RecoveryFindsWhatWasOrdered",
    }
    voter_gone_after_its_vote {
        CountsVotesForEver: claim "nobody hears it",
    }
    reopened_after_failed_sync {
        ReopensAfterFailedSync: claim "does not happen within 5000ms",
    }
    wiped_voter {
        IgnoresDirectoryId: checker "WipedDirectoriesAreSilent",
        TrustsNewReplica: checker "SuspicionEndsWhenCaughtUp",
        FoundsOwnCluster: checker "SingleLeaderPerEpoch",
    }
}

/// How a violation by this checker begins.
fn checker(name: &str) -> String {
    format!("{name}: ")
}

/// What the core says when it stops itself.
fn assertion(words: &str) -> String {
    words.to_owned()
}

/// What the story says, or what it waits for.
fn claim(words: &str) -> String {
    words.to_owned()
}

/// Tells a story on the true core, and on every mutant that it is to kill.
fn tell(cluster: fn() -> Scenario, story: fn(&mut Scenario), mutants: &[(Mutant, String)]) {
    let mut sound = cluster();
    story(&mut sound);
    sound.judge();
    for (mutant, noticed) in mutants {
        let what = cluster().mutant(*mutant).caught(story);
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
