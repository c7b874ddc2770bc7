//! What the simulator may plant in a step: a mutant, an operator's wish, and probes that say which rare places a
//! run has reached.
//!
//! All reach core through the buffer that a step is given, never by a feature or a global, since production
//! and simulator live in one binary. The shell makes its buffers with [`crate::effect::Effects::new`], which
//! plants nothing. The log store takes hooks of its own where it is opened, in the same manner.

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
    /// A deliberately broken clause of the protocol. Each proves that a checker fires: one at least for every
    /// clause of `docs/protocol.md`, which names it there.
    Mutant {
        /// Recovery and voting forget an epoch opening that stands at the very end of the log (counter-example 1).
        DropsTrailingOpening,
        /// Votes compare end offsets alone, not positions.
        ComparesOffsetsOnly,
        /// The leader counts its log's majority before its own opening is durable on one (Raft figure 8).
        CommitsEarlierEpochs,
        /// The high watermark moves on the leader's own durability alone.
        CommitsAlone,
        /// A learner stands in for a voter where a majority is counted.
        CountsLearners,
        /// A note counts as committed where a majority has it in memory.
        CommitsNotesInMemory,
        /// A leader shows a high watermark before its opening is committed.
        ExposesBeforeOpening,
        /// A voter that lags stays in the ISR.
        KeepsLaggards,
        /// `min.insync.replicas` is not looked at.
        IgnoresMinInsync,
        /// A vote is answered before it is durable.
        AnswersVoteBeforeDurable,
        /// A new leader sends what it has, and nothing that opens its epoch.
        LeadsWithoutOpening,
        /// A candidate asks for votes before its own is durable.
        AsksBeforeVoteDurable,
        /// A second vote is given in the same epoch.
        VotesTwice,
        /// A follower acknowledges as durable what is not.
        AcknowledgesBeforeDurable,
        /// A completion is taken by its offset, whatever order it reports (counter-example 9).
        IgnoresOrderSeq,
        /// A replica that is created numbers its orders from 1, as one that was deleted there did.
        NumbersOrdersAnew,
        /// A follower appends without checking the entry before.
        SkipsPreviousEntryCheck,
        /// A follower keeps its own entries where the leader's differ.
        KeepsDivergentTail,
        /// A replica starts an election without asking first whether it would be elected.
        SkipsPreVote,
        /// A voter that trusts its leader lets another start an election all the same.
        GrantsPreVoteUnderLeader,
        /// A wiped directory speaks by the name of the one before it (counter-example 5).
        IgnoresDirectoryId,
        /// The voters of a note outlive its truncation.
        KeepsTruncatedVoters,
        /// The leader changes voters before its opening has committed (counter-example 14).
        ChangesVotersBeforeOpening,
        /// The leader changes voters while an earlier change is not committed (counter-example 3).
        ChangesVotersTwiceAtOnce,
        /// The leader changes voters though those that are wanted are not there.
        ChangesToAbsentVoters,
        /// A voter whose link has broken counts as present for as long as its last word is fresh.
        TakesBrokenLinkForPresent,
        /// The leader removes voters in their order, whether or not they can vote.
        RemovesInTurn,
        /// A replica starts no election any more as soon as its log makes it no voter, committed or not.
        LeavesUncommitted,
        /// A replica is deleted as soon as the target lacks it (counter-example 3).
        DeletesOnTargetAlone,
        /// A replica is deleted as soon as the target and the reported voters lack it, whatever the leader is about to do.
        DeletesUnreleased,
        /// A message of an id that is not known creates the replica that it is meant for.
        CreatesUnknownReplica,
        /// A node on an empty directory makes a metadata quorum of its own instead of joining.
        FoundsOwnCluster,
        /// A restarted leader keeps its followers' trust (counter-example 8).
        IgnoresIncarnation,
        /// A leader whose disk hangs keeps its followers' trust (counter-example 8).
        IgnoresStalledDisk,
        /// A disk that has nothing to do is not looked after.
        NeverProbesDisk,
        /// A replica whose disk hangs asks to be elected.
        StartsElectionOnHungDisk,
        /// A replica whose disk hangs says that it would vote.
        PromisesOnHungDisk,
        /// A follower trusts a leader whose broker has a new session, and waits for no renewed announcement on it.
        TrustsWithoutRenewal,
        /// A follower trusts a leader of which it hears nothing.
        TrustsForEver,
        /// A follower waits for the election timeout where its leader's process has ended.
        WaitsForSilence,
        /// Clients are told of a leader whose connection has just broken.
        NamesBrokenLeaders,
        /// Clients are told of leaders that have not been heard since they asked.
        TellsOfLeadersUnasked,
        /// A follower takes broken connections for the end of its leader's process, though nobody refuses new ones.
        TakesBrokenLinkForGone,
        /// A follower takes a refusal from before its leader's last session for the end of its process.
        KeepsRefusals,
        /// A follower trusts a leader that has resigned.
        IgnoresResignation,
        /// A replica that enters a later epoch does not tell its former leader.
        LeavesInSilence,
        /// A leader that enters a later epoch does not tell its voters that it leads no more.
        DeposedInSilence,
        /// After a break of the link a leader goes on sending where it was.
        SendsOnAfterBreak,
        /// A link to a start of a peer that is over is not dialled anew.
        KeepsDeadLink,
        /// A session of which something was refused goes on.
        KeepsRefusedSession,
        /// A second node is let in under the id of one that is heard.
        LetsNamesakesIn,
        /// A suspect counts its own vote like any other, and says nothing of possible loss.
        SuspectStartsElection,
        /// Of two logs of one epoch the one with more records is taken for the longer, whatever notes it lacks.
        RanksOffsetsAboveNotes,
        /// Where all votes are needed, only the voters of the candidate's own log count, not those of lost changes.
        IgnoresLostVoterChange,
        /// A suspect's votes are not marked (counter-example 4).
        SuspectVotesUnmarked,
        /// The votes of all voters are not enough where they are marked (counter-example 4).
        AllVotersDoNotSuffice,
        /// Records are acknowledged ahead of the disk, and `volatile` is not journalled before.
        NeverMarksVolatile,
        /// Records are acknowledged ahead of the disk in an epoch that is not on it yet.
        AcknowledgesBeforeVoteDurable,
        /// Recovery says that a replica is a suspect and does not journal it (counter-example 4).
        ForgetsSuspicion,
        /// A leader ignores that the logs diverge where the follower has acknowledged everything before, as one says that was
        /// deleted and created again.
        IgnoresRegressedFollower,
        /// A replica is deleted by a release that was asked for before it was wanted once more.
        AcceptsStaleReleases,
        /// A replica that is to be deleted goes on telling the leader that it may be made a voter.
        EligibleWhileUnwanted,
        /// A replica that is made anew begins in epoch 0, whatever epochs it may have entered before it was deleted.
        IgnoresReportedEpoch,
        /// A replica that is not an initial voter which was never removed starts without suspicion (counter-example 5).
        TrustsNewReplica,
        /// A suspect is cleared by the first append.
        ClearsSuspectEarly,
        /// A duplicate is answered at once (counter-example 12).
        AnswersDuplicateEarly,
        /// A leader tells what only the latest one can without asking its voters (counter-example 13).
        ServesStaleLeader,
        /// A leader refuses a batch for what it knows of the producer without asking its voters (counter-example 13).
        RefusesUnconfirmed,
        /// A leader tells a consumer that its position is out of range without asking its voters (counter-example 13).
        TellsRangeUnconfirmed,
        /// A leader tells that it has no record from a time on, which is the first, or which has the greatest timestamp,
        /// before its voters have confirmed it.
        TellsTimesUnconfirmed,
        /// What only the current leader can tell is waited for although it has been deposed meanwhile.
        KeepsWaitingWhenDeposed,
        /// A leader looks a time up in its store before that has been given all records below the high watermark.
        LooksUpUnwritten,
        /// A leader tells that it does not know a leader epoch before its voters have confirmed it.
        TellsEpochsUnconfirmed,
        /// Due deadlines fire after the input instead of before (counter-example 13).
        FiresDeadlinesLate,
        /// What is due is done in turn, whatever trust it rests on that may have ended as well.
        FiresDeadlinesInTurn,
        /// Producer state survives the truncation of the batches that made it.
        KeepsProducerStateOnTruncation,
        /// Producers age by when their batches reach a replica, whatever the log's clock shows.
        AgesByOwnClock,
        /// The log's clock ticks with every batch of a producer, however little time has passed.
        TicksTooOften,
        /// The log's clock stands still.
        NeverTicks,
        /// A produce with `acks=1` is answered before the leader has it by the policy.
        AnswersOneEarly,
        /// A produce with `acks=all` is answered when the leader has it.
        AnswersAllAsOne,
        /// A leader cut off from its majority goes on leading for ever.
        NeverChecksQuorum,
        /// A new leader does not look again when the votes for it prove nothing any more.
        CountsVotesForEver,
        /// Clients are told of whoever has said last that it leads, heard or not.
        NamesFormerLeaders,
        /// A fenced broker's leadership is hidden from clients (counter-example 11).
        FencingHidesLeader,
        /// The latest announcement on who leads is believed, whatever its epoch.
        BelievesLatestAnnouncement,
        /// A node that is told to stop hands nothing over.
        NeverHandsOver,
        /// A copy that was made again votes before it has become a voter.
        VotesMadeAgain,
        /// A learner is made a voter as soon as it has caught up, while it is a suspect still.
        PromotesSuspects,
        /// A node that has handed over stops without another word to its clients.
        StopsUnderClients,
        /// A leader that has asked another to start an election goes on taking records.
        AppendsWhileHandingOver,
        /// A leader whose successor does not take over waits for it for ever.
        NeverLeadsOn,
        /// A leader leads on when the time in which its successor was to catch up is over, though it has asked it by then.
        AsksTooLate,
        /// A leader takes a successor with holes for as good as a whole one.
        PrefersDamaged,
        /// A leader asks its transfer target to start an election before that has caught up.
        TransfersTooEarly,
        /// The controller answers before what it says is committed.
        AnswersUncommitted,
        /// A broker acts on metadata that are not committed.
        AppliesUncommitted,
        /// A snapshot of the metadata is saved before what is in it is committed.
        SnapshotsUncommitted,
        /// The controller places new partitions on fenced brokers as on others.
        PlacesOnFenced,
        /// Clients are answered from the image as it is.
        AnswersUnconfirmed,
        /// Whoever leads the metadata is believed without a majority of its voters.
        ConfirmsByLeaderAlone,
        /// A round that was begun before a request came confirms the answer to it.
        JoinsRoundUnderWay,
        /// What the image lacks is said not to exist though no round has succeeded.
        DeniesUnconfirmed,
        /// Clients are let in before the image has this start of the broker.
        ReadyBeforeCaughtUp,
        /// A read in a hole is answered with what lies behind it.
        ServesHoles,
        /// What was read of a replica is served although it has been deleted since.
        ServesDeleted,
        /// A replica with a hole truncates to it (counter-example 6).
        TruncatesToHole,
        /// The disk is asked for records that a truncation which is under way drops.
        ReadsWhatIsDropped,
        /// A directory is given up where something in it cannot be read.
        GivesUpUnreadable,
        /// A hole is filled with batches of whatever epoch.
        FillsFromAnyEpoch,
        /// A leader gives up a hole as soon as one voter says that it never had the record.
        GivesUpHolesAlone,
        /// A leader stands still at a hole for ever where a suspect may have had the record.
        KeepsWhatNobodyHas,
        /// A voter says that it never had a record while its epoch is not durable.
        DeniesBeforeDurable,
        /// Nothing looks for rot where nobody reads.
        NeverScrubs,
        /// The scrub passes over holes that the store knows of.
        TellsOfHolesOnce,
        /// The scrub reads what the page cache has, whatever the disk has.
        ScrubsCache,
        /// Recovery takes rot below the durable end for a torn tail (counter-example 7).
        TakesRotForTornTail,
        /// Recovery goes on with the epochs from before a truncation (counter-example 2).
        KeepsTruncatedEpochs,
        /// What is deleted or truncated is removed at once, before that is durable.
        RemovesBeforeDurable,
        /// An append behind a truncation does not wait until that is durable.
        OverwritesBeforeDurable,
        /// Records acknowledged in memory are synced whenever something else is.
        NeverFlushesReplicated,
        /// Records may use what is kept free for the journal.
        EatsReserve,
        /// Recovery cuts what a killed process has written, where it cannot be read, as a power cut might have torn it.
        TakesKillForPowerCut,
        /// Recovery takes a bad tail of the last group for one that was never acknowledged.
        TrustsTornTail,
        /// Recovery believes the batch headers in a segment, whatever the journal says.
        TrustsSegmentHeaders,
        /// Recovery does not look at the second copies of votes.
        JournalsVotesOnce,
        /// Recovery does not look at the second copies of changes of the voters.
        JournalsVoterChangesOnce,
        /// Recovery forgets the vote.
        ForgetsVote,
        /// A sync that has failed is tried again, and its success is believed.
        RetriesFailedSync,
        /// A directory with a failed sync opens again in the same run of the operating system.
        ReopensAfterFailedSync,
        /// A replica on a directory that is offline goes on taking what will never be written.
        TakesWhileOffline,
        /// A broker whose directory is offline stays in the ISR until it lags for too long.
        KeepsOfflineInIsr,
        /// A follower takes records however many wait for its disk.
        TakesWithoutBound,
        /// A broker does not say at once that it takes records again.
        KeepsRoomToItself,
        /// A leader that asks a follower anew takes what waits for that one's disk for written.
        ForgetsWhatWaits,
        /// A leader leads on where the full disk has refused what it has sent.
        LeadsOnAfterRefusal,
        /// An append that the full disk has refused counts as durable.
        CountsRefusedAsDurable,
        /// LogAppendTime is what the wall clock showed when the broker last had nothing to do.
        StampsStaleTime,
        /// A want of descriptors or memory is taken for a failed disk.
        TakesShortageForFailure,
        /// A file that makes room for another one is closed without a sync.
        ClosesUnsynced,
    }
}

list! {
    /// A rare place that runs must reach for their silence to mean something.
    Probe {
        /// A candidate lost a pre-vote.
        PreVoteLost,
        /// Two were candidates in one epoch and neither won.
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
        /// An answer waited for the successor of a leader whose connection had broken.
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
        /// So was one of which a suspect may have had the record.
        HoleGivenUpWithPossibleLoss,
        /// A follower was fed from disk, not from the leader's memory.
        CaughtUpFromDisk,
        /// A directory went offline.
        DirectoryOffline,
        /// The disk was full.
        DiskFull,
        /// A replica gave up what the full disk had refused.
        AppendRefused,
        /// An append was refused for want of a descriptor or of memory.
        OutOfResources,
        /// A snapshot of the metadata image was saved.
        SnapshotSaved,
        /// A broker started from a snapshot of the metadata image.
        SnapshotRecovered,
        /// A log's clock has ticked.
        ClockTicked,
        /// A client was answered though no majority of the metadata's voters could be asked.
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
    /// Nothing but, where given, one broken clause.
    #[must_use]
    pub const fn with_mutant(mutant: Option<Mutant>) -> Self {
        Self { mutant, probes: 0 }
    }

    /// Whether this clause is broken.
    #[must_use]
    pub fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Notes that a rare place was reached.
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
