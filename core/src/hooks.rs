//! What the simulator may plant in a step: a mutant, and probes that record which rare places a run has reached.
//!
//! They reach core through the effects buffer of a step, never by a cargo feature or a global, since production and
//! simulator live in one binary. The shell makes its buffers with [`crate::effect::Effects::new`], which plants
//! nothing. The log store takes its own hooks when it is opened.

use std::fmt;

macro_rules! list {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant),* }

        impl $name {
            /// All of them, in order of declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name, as commands take it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

list! {
    /// A deliberately broken clause of the protocol. Each proves that a checker fires: `docs/protocol.md` names at
    /// least one for every clause.
    Mutant {
        /// Recovery and voting ignore an epoch opening that is the last entry of the log (counter-example 1).
        DropsTrailingOpening,
        /// Votes compare end offsets alone, not positions.
        ComparesOffsetsOnly,
        /// The leader advances the high watermark before its own opening is durable on a majority (Raft figure 8).
        CommitsEarlierEpochs,
        /// The high watermark advances on the leader's own durability alone.
        CommitsAlone,
        /// A learner counts as a voter in a majority.
        CountsLearners,
        /// A note counts as committed once a majority has it in memory.
        CommitsNotesInMemory,
        /// A leader shows a high watermark before its opening is committed.
        ExposesBeforeOpening,
        /// A voter that lags stays in the ISR.
        KeepsLaggards,
        /// `min.insync.replicas` is ignored.
        IgnoresMinInsync,
        /// A vote is answered before it is durable.
        AnswersVoteBeforeDurable,
        /// A new leader replicates its log and appends no opening of its epoch.
        LeadsWithoutOpening,
        /// A candidate asks for votes before its own is durable.
        AsksBeforeVoteDurable,
        /// A second vote is given in the same epoch.
        VotesTwice,
        /// A follower acknowledges entries as durable that are not.
        AcknowledgesBeforeDurable,
        /// A completion is matched by its offset, whatever order it reports (counter-example 9).
        IgnoresOrderSeq,
        /// A new replica numbers its orders from 1, as its deleted predecessor did.
        NumbersOrdersAnew,
        /// A follower appends without checking the entry before.
        SkipsPreviousEntryCheck,
        /// A follower keeps its own entries where the leader's differ.
        KeepsDivergentTail,
        /// A replica starts an election without a pre-vote.
        SkipsPreVote,
        /// A voter that trusts its leader grants pre-votes.
        GrantsPreVoteUnderLeader,
        /// A wiped directory counts as the one before it (counter-example 5).
        IgnoresDirectoryId,
        /// The voters of a note outlive its truncation.
        KeepsTruncatedVoters,
        /// The leader changes voters before its opening has committed (counter-example 14).
        ChangesVotersBeforeOpening,
        /// The leader changes voters while an earlier change is not committed (counter-example 3).
        ChangesVotersTwiceAtOnce,
        /// The leader changes voters although a majority of the new ones is absent.
        ChangesToAbsentVoters,
        /// A voter whose link has broken counts as present until its last message is an election timeout old.
        TakesBrokenLinkForPresent,
        /// The leader removes voters in their order, whether or not they can vote.
        RemovesInTurn,
        /// A replica starts no elections once its log removes it from the voters, whether or not that is committed.
        LeavesUncommitted,
        /// A replica is deleted once the target lacks it (counter-example 3).
        DeletesOnTargetAlone,
        /// A replica is deleted once the target and the reported voters lack it, without a release by the leader.
        DeletesUnreleased,
        /// A message to an unknown replica creates it.
        CreatesUnknownReplica,
        /// A node on an empty directory forms its own metadata quorum and joins none.
        FoundsOwnCluster,
        /// A restarted leader keeps its followers' trust (counter-example 8).
        IgnoresIncarnation,
        /// A leader whose disk hangs keeps its followers' trust (counter-example 8).
        IgnoresStalledDisk,
        /// An idle disk is not probed.
        NeverProbesDisk,
        /// A replica whose disk hangs starts elections.
        StartsElectionOnHungDisk,
        /// A replica whose disk hangs grants pre-votes.
        PromisesOnHungDisk,
        /// A follower trusts a leader whose broker has a new session although the leader has not renewed its
        /// announcement on it.
        TrustsWithoutRenewal,
        /// A follower trusts a leader whatever the time since the last contact.
        TrustsForEver,
        /// A follower waits for the election timeout although its leader's process has ended.
        WaitsForSilence,
        /// Responses to clients name a leader whose connection has just broken.
        NamesBrokenLeaders,
        /// Responses to clients name leaders from which no message has arrived since the request.
        TellsOfLeadersUnasked,
        /// A follower takes broken connections for the end of its leader's process although new ones are not refused.
        TakesBrokenLinkForGone,
        /// A follower takes a refusal from before its leader's last session for the end of its process.
        KeepsRefusals,
        /// A follower trusts a leader that has resigned.
        IgnoresResignation,
        /// A replica that enters a later epoch does not tell the leader of the earlier one.
        LeavesInSilence,
        /// A leader that enters a later epoch does not tell its voters that it has resigned.
        DeposedInSilence,
        /// After the link has broken a leader goes on sending from the same offset.
        SendsOnAfterBreak,
        /// A link to an earlier incarnation of a peer is not dialled anew.
        KeepsDeadLink,
        /// A session on which a message was refused goes on.
        KeepsRefusedSession,
        /// A second node with the broker id of a live one is accepted.
        LetsNamesakesIn,
        /// A suspect counts its own vote like any other, and does not report possible loss.
        SuspectStartsElection,
        /// Of two logs of one epoch the one with the greater end offset ranks higher, whatever notes it lacks.
        RanksOffsetsAboveNotes,
        /// Where all votes are needed, only the voters of the candidate's own log count, not those of lost changes.
        IgnoresLostVoterChange,
        /// A suspect's votes are not marked (counter-example 4).
        SuspectVotesUnmarked,
        /// The votes of all voters are not enough where they are marked (counter-example 4).
        AllVotersDoNotSuffice,
        /// Records are acknowledged before they are durable although the `volatile` mark has not been journalled.
        NeverMarksVolatile,
        /// Records are acknowledged before they are durable in an epoch that is not durable yet.
        AcknowledgesBeforeVoteDurable,
        /// Recovery reports a replica as a suspect and does not journal the mark (counter-example 4).
        ForgetsSuspicion,
        /// A leader ignores a rejected append at an offset that the follower has acknowledged, as a deleted and
        /// recreated replica sends it.
        IgnoresRegressedFollower,
        /// A replica is deleted by a release that it requested before it was assigned again.
        AcceptsStaleReleases,
        /// A replica that is to be deleted goes on reporting to the leader that it may become a voter.
        EligibleWhileUnwanted,
        /// A recreated replica begins in epoch 0, whatever epochs it may have entered before it was deleted.
        IgnoresReportedEpoch,
        /// A new replica that is not an initial voter, or has been removed since, does not start as a suspect
        /// (counter-example 5).
        TrustsNewReplica,
        /// A suspect is cleared by the first append.
        ClearsSuspectEarly,
        /// A duplicate is answered at once (counter-example 12).
        AnswersDuplicateEarly,
        /// A leader answers requests that need a leadership confirmation without one (counter-example 13).
        ServesStaleLeader,
        /// A leader refuses a batch by its producer state without a leadership confirmation (counter-example 13).
        RefusesUnconfirmed,
        /// A leader answers `OFFSET_OUT_OF_RANGE` without a leadership confirmation (counter-example 13).
        TellsRangeUnconfirmed,
        /// A leader answers a lookup by timestamp without a leadership confirmation.
        TellsTimesUnconfirmed,
        /// A request that only the current leader can answer goes on waiting although the leader has been deposed.
        KeepsWaitingWhenDeposed,
        /// A leader looks a timestamp up in its store before the store has all records below the high watermark.
        LooksUpUnwritten,
        /// A leader answers `UNKNOWN_LEADER_EPOCH` without a leadership confirmation.
        TellsEpochsUnconfirmed,
        /// Due deadlines fire after the input instead of before (counter-example 13).
        FiresDeadlinesLate,
        /// Due timers fire by their deadlines, although a later one may end the trust that an earlier one relies on.
        FiresDeadlinesInTurn,
        /// Producer state survives the truncation of the batches that made it.
        KeepsProducerStateOnTruncation,
        /// Producers age by the arrival times of their batches at a replica, not by the log's clock.
        AgesByOwnClock,
        /// The log's clock ticks with every batch of a producer, however little time has passed.
        TicksTooOften,
        /// The log's clock stands still.
        NeverTicks,
        /// A produce with `acks=1` is answered before the leader has it as its topic's `flush` demands.
        AnswersOneEarly,
        /// A produce with `acks=all` is answered when the leader has it.
        AnswersAllAsOne,
        /// A leader cut off from its majority goes on leading for ever.
        NeverChecksQuorum,
        /// A new leader does not check its quorum again when the votes for it have timed out.
        CountsVotesForEver,
        /// Responses to clients name the last announced leader, alive or not.
        NamesFormerLeaders,
        /// A fenced broker's leadership is hidden from clients (counter-example 11).
        FencingHidesLeader,
        /// The latest announcement of a leader is accepted, whatever its epoch.
        BelievesLatestAnnouncement,
        /// A node that stops transfers no leadership.
        NeverHandsOver,
        /// A recreated replica votes before it has become a voter again.
        VotesMadeAgain,
        /// A learner that has caught up becomes a voter while it is still a suspect.
        PromotesSuspects,
        /// A node that has transferred its leaderships stops without letting its clients go.
        StopsUnderClients,
        /// A leader that has told its transfer target to start an election goes on appending records.
        AppendsWhileHandingOver,
        /// A leader whose transfer target does not take over waits for it for ever.
        NeverLeadsOn,
        /// A leader resumes when the time for its transfer target to catch up is over, although it has told the target
        /// to start an election.
        AsksTooLate,
        /// A leader ranks a transfer target with holes like one without.
        PrefersDamaged,
        /// A leader tells its transfer target to start an election before the target has caught up.
        TransfersTooEarly,
        /// The controller answers before its decision is committed.
        AnswersUncommitted,
        /// A broker applies metadata that are not committed.
        AppliesUncommitted,
        /// A snapshot of the metadata includes records that are not committed.
        SnapshotsUncommitted,
        /// The controller places new partitions on fenced brokers as on others.
        PlacesOnFenced,
        /// Clients are answered from the image without a read index.
        AnswersUnconfirmed,
        /// The answer of the metadata leader confirms a read index without a majority of the voters.
        ConfirmsByLeaderAlone,
        /// A read-index round that began before a request arrived confirms the answer to it.
        JoinsRoundUnderWay,
        /// A response says that something does not exist although no read-index round has succeeded.
        DeniesUnconfirmed,
        /// Clients are accepted before the image has this incarnation of the broker.
        ReadyBeforeCaughtUp,
        /// A read in a hole is answered with the records behind the hole.
        ServesHoles,
        /// Records that were read from a replica are served although it has been deleted since.
        ServesDeleted,
        /// A replica with a hole truncates to it (counter-example 6).
        TruncatesToHole,
        /// The disk is queried for records that a pending truncation drops.
        ReadsWhatIsDropped,
        /// A directory goes offline where something in it cannot be read.
        GivesUpUnreadable,
        /// A hole is filled with batches of whatever epoch.
        FillsFromAnyEpoch,
        /// A leader gives up a hole as soon as one voter says that it never had the record.
        GivesUpHolesAlone,
        /// A leader never gives up a hole where a suspect may have had the record.
        KeepsWhatNobodyHas,
        /// A voter says that it never had a record while its epoch is not durable.
        DeniesBeforeDurable,
        /// The scrub never runs.
        NeverScrubs,
        /// The scrub passes over holes that the store knows of.
        TellsOfHolesOnce,
        /// The scrub reads what the page cache has, whatever the disk has.
        ScrubsCache,
        /// Recovery treats rot below the durable end as a torn tail (counter-example 7).
        TakesRotForTornTail,
        /// Recovery keeps the epochs that a truncation has removed (counter-example 2).
        KeepsTruncatedEpochs,
        /// Files are removed before the deletion or truncation is durable.
        RemovesBeforeDurable,
        /// An append behind a truncation does not wait until the truncation is durable.
        OverwritesBeforeDurable,
        /// Records acknowledged in memory are synced whenever something else is.
        NeverFlushesReplicated,
        /// Records may use the space that is reserved for the journal.
        EatsReserve,
        /// Recovery truncates unreadable bytes of a killed process as if a power cut had torn them.
        TakesKillForPowerCut,
        /// Recovery assumes that a bad tail of the last group commit was never acknowledged.
        TrustsTornTail,
        /// Recovery believes the batch headers in a segment, whatever the journal says.
        TrustsSegmentHeaders,
        /// Recovery does not read the second copies of votes.
        JournalsVotesOnce,
        /// Recovery does not read the second copies of voter changes.
        JournalsVoterChangesOnce,
        /// Recovery forgets the vote.
        ForgetsVote,
        /// A failed sync is retried, and the success of the retry is trusted.
        RetriesFailedSync,
        /// A directory with a failed sync opens again in the same run of the operating system.
        ReopensAfterFailedSync,
        /// A replica on an offline directory goes on accepting entries, which will never be written.
        TakesWhileOffline,
        /// A broker whose directory is offline stays in the ISR until it lags for too long.
        KeepsOfflineInIsr,
        /// A follower accepts records however many wait for its disk.
        TakesWithoutBound,
        /// A broker does not announce at once that it accepts records again.
        KeepsRoomToItself,
        /// A leader that probes a follower anew counts records that wait for the follower's disk as written.
        ForgetsWhatWaits,
        /// A leader goes on leading although its full disk has refused entries that it has sent.
        LeadsOnAfterRefusal,
        /// An append that the full disk has refused counts as durable.
        CountsRefusedAsDurable,
        /// LogAppendTime is the wall clock of the broker's last idle tick.
        StampsStaleTime,
        /// A shortage of descriptors or memory is treated as a failed disk.
        TakesShortageForFailure,
        /// A file that is closed to free its descriptor is not synced.
        ClosesUnsynced,
    }
}

list! {
    /// A rare place in the code: a green run means something only if runs have reached it.
    Probe {
        /// A candidate lost a pre-vote.
        PreVoteLost,
        /// Two candidates split the votes of one epoch.
        SplitVote,
        /// A follower truncated a divergent tail.
        TruncatedDivergentTail,
        /// A trailing opening was recovered.
        RecoveredTrailingOpening,
        /// A leader resigned because check-quorum failed.
        CheckQuorumFailed,
        /// Leadership was transferred.
        LeadershipTransferred,
        /// A voter was removed.
        VoterRemoved,
        /// A learner became a voter.
        LearnerPromoted,
        /// A change of the voters was put off, since no majority of the new ones was present.
        VoterChangePutOff,
        /// A duplicate batch was answered.
        DuplicateAnswered,
        /// A duplicate waited for its original to commit.
        DuplicateWaited,
        /// A produce was refused for too few in-sync replicas.
        NotEnoughReplicas,
        /// A follower lost trust because its leader's incarnation changed.
        IncarnationChanged,
        /// A follower lost trust because its leader's process had ended.
        LeaderProcessGone,
        /// A response waited for the election after a leader's connection had broken.
        LeaderDisconnected,
        /// A follower lost trust because its leader's disk had stalled.
        LeaderDiskStalled,
        /// A replica started as a suspect.
        StartedSuspect,
        /// A suspect was cleared.
        SuspectCleared,
        /// A candidate won only because all voters granted.
        WonByAllVoters,
        /// A hole was found.
        HoleFound,
        /// A hole was found by the scrub.
        HoleScrubbed,
        /// A hole was filled from a peer.
        HoleFilled,
        /// A hole above the high watermark was given up.
        HoleGivenUp,
        /// A hole was given up whose record a suspect may have had.
        HoleGivenUpWithPossibleLoss,
        /// A follower was fed from disk, not from the leader's memory.
        CaughtUpFromDisk,
        /// A directory went offline.
        DirectoryOffline,
        /// The disk was full.
        DiskFull,
        /// A replica gave up what the full disk had refused.
        AppendRefused,
        /// An append was refused for lack of a descriptor or of memory.
        OutOfResources,
        /// A snapshot of the metadata image was saved.
        SnapshotSaved,
        /// A broker started from a snapshot of the metadata image.
        SnapshotRecovered,
        /// A log's clock has ticked.
        ClockTicked,
        /// A client was answered although no majority of the metadata's voters could be queried.
        ReadIndexTimedOut,
    }
}

/// What the simulator plants in a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    mutant: Option<Mutant>,
    probes: u128,
}

impl Hooks {
    /// No probes reached; plants the mutant, where there is one.
    #[must_use]
    pub const fn with_mutant(mutant: Option<Mutant>) -> Self {
        Self { mutant, probes: 0 }
    }

    /// Whether this clause is broken.
    #[must_use]
    pub fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Records that a rare place was reached.
    pub const fn hit(&mut self, probe: Probe) {
        self.probes |= 1 << probe as u32;
    }

    /// The places reached so far, in order of declaration.
    pub fn reached(&self) -> impl Iterator<Item = Probe> {
        let probes = self.probes;
        Probe::ALL
            .iter()
            .copied()
            .filter(move |&probe| probes & 1 << probe as u32 != 0)
    }
}
