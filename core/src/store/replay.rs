//! Replaying the journal over the state of a checkpoint.
//!
//! Every record is checked against what the disk still has: a batch is restored from the journal, found intact in its
//! segment, becomes a hole, or ends the log. A replica that may have lost something becomes a suspect. `docs/format.md`
//! has the cases.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;

use crate::hooks::{Hooks, Mutant};
use crate::ids::{Incarnation, Offset, TopicPartition, Voter};
use crate::log::Position;
use crate::record::{Batch, BatchHeader, HEADER_SIZE};
use crate::store::codec::Take;
use crate::store::journal::{self, GroupHeader, SecondCopies};
use crate::store::journal_reader::{Finding, JournalFile};
use crate::store::open_files::{FileName, OpenFiles};
use crate::store::query::LogReader;
use crate::store::record::{AppendedEntry, JournalRecord};
use crate::store::replica::{Hole, Place, StoredReplica};
use crate::store::replica_log::ReplicaLog;
use crate::store::segment::{self, FileKind};
use crate::store::{Disk, DiskError, DiskFile, Mark, StoreOptions, VoterChange, bad_sectors};

/// Replays the journal over a checkpoint's state.
pub(super) struct Replay<'a, D: Disk> {
    /// The directory.
    disk: &'a D,
    /// Sizes and bounds of its store.
    options: StoreOptions,
    /// Whose directory it is.
    me: Voter,
    /// Seed of the directory's checksums.
    seed: u32,
    /// The replicas, with the journal replayed so far.
    pub(super) replicas: BTreeMap<TopicPartition, ReplicaLog>,
    /// What else replay has learnt of replicas. Some of them may turn out not to exist.
    evidence: BTreeMap<TopicPartition, Evidence>,
    /// Files that were written, as far as they may be open at once.
    pub(super) files: OpenFiles<D::File>,
    /// All files that were written, or may be only in the page cache.
    pub(super) written: BTreeSet<FileName>,
    /// Replicas that have a directory.
    directories: BTreeSet<TopicPartition>,
    /// Replicas that were deleted and not created again.
    deleted: BTreeSet<TopicPartition>,
    /// Where earlier starts ended logs that they did not find intact, each with the incarnation that the start began.
    cuts: BTreeMap<TopicPartition, Vec<(Incarnation, Position)>>,
    /// The incarnation whose groups are being replayed.
    incarnation: Incarnation,
    /// Recovery's decisions, to be journalled.
    pub(super) decisions: Vec<(TopicPartition, JournalRecord)>,
    /// What a simulator has planted.
    hooks: &'a Hooks,
    /// The checkpoint was written in this run of the operating system: at most the process has died since, so all that
    /// was written is there.
    is_same_run: bool,
    /// For a mutant: replicas whose epochs stay as they were before a truncation.
    stale_epochs: BTreeSet<TopicPartition>,
}

/// What replay has learnt of a replica, besides its state.
#[derive(Debug, Default)]
struct Evidence {
    /// A lost record may have concerned this replica.
    is_suspect: bool,
    /// An append or truncation could not be replayed, because what it builds on is missing, or the append itself is
    /// torn.
    is_severed: bool,
    /// A truncation was replayed.
    is_truncated: bool,
    /// Its segments may have bytes after their end.
    is_touched: bool,
    /// Batches whose bodies the journal holds, to be written once all of it has been replayed. A batch that is
    /// truncated later must not overwrite its replacement, which may be nowhere else.
    bodies: Vec<(Place, Batch)>,
    /// The voter changes that the journal has, whether or not the log has them.
    voter_changes: Vec<VoterChange>,
}

impl Evidence {
    /// Whether its log may lack something at its end that it has acknowledged.
    const fn is_cut(&self) -> bool {
        self.is_suspect || self.is_severed
    }
}

impl<'a, D: Disk> Replay<'a, D> {
    /// Starts from a checkpoint's replicas, in the directory of `me`. `is_same_run`: the checkpoint was written in this
    /// run of the operating system.
    pub(super) fn new(
        disk: &'a D,
        options: StoreOptions,
        me: Voter,
        replicas: BTreeMap<TopicPartition, StoredReplica>,
        is_same_run: bool,
        hooks: &'a Hooks,
    ) -> Result<Self, DiskError> {
        let logs = replicas.into_iter();
        let names = disk.list("")?;
        let directories = names
            .iter()
            .filter_map(|name| segment::parse_directory(name))
            .collect();
        Ok(Self {
            disk,
            options,
            me,
            seed: journal::seed(me.directory),
            replicas: logs
                .map(|(replica, state)| (replica, ReplicaLog::new(state)))
                .collect(),
            evidence: BTreeMap::new(),
            files: OpenFiles::new(options.open_files_max, hooks.clone()),
            written: BTreeSet::new(),
            directories,
            deleted: BTreeSet::new(),
            cuts: BTreeMap::new(),
            incarnation: Incarnation(0),
            decisions: Vec::new(),
            hooks,
            is_same_run,
            stale_epochs: BTreeSet::new(),
        })
    }

    /// Replays what was found in the journal's files, and brings the segments in line.
    pub(super) fn run(
        &mut self,
        files: &[JournalFile<D::File>],
        found: &[Finding],
    ) -> Result<(), DiskError> {
        // A killed process may leave groups in the page cache only. A power cut must not lose them once something has
        // been removed, truncated or overwritten because of them.
        for found in files {
            found.file.sync()?;
        }
        self.disk.sync_directory(journal::DIRECTORY)?;
        self.find_cuts(files, found)?;
        for found in found {
            match found {
                Finding::Group {
                    file,
                    at,
                    header,
                    recorded,
                } => {
                    // The bodies of direct appends were written before their group, and if only the process was killed
                    // they are still there.
                    let tears = self.hooks.is(Mutant::TakesKillForPowerCut);
                    let is_written = *recorded || self.is_same_run && !tears;
                    self.replay_group(&files[*file].file, *at, header, is_written)?;
                }
                Finding::SecondCopies(copies) => self.replay_copies(copies, false)?,
                Finding::Lost { replicas } => {
                    let replicas = match replicas {
                        Some(replicas) => replicas.iter().copied().collect(),
                        None => self.possible_replicas(),
                    };
                    for replica in replicas {
                        self.mark_suspect(replica);
                    }
                }
            }
        }
        // After a truncation, batches beyond the log's end may be those that it dropped, so they are not salvaged.
        for replica in self.replicas_with(|evidence| evidence.is_suspect && !evidence.is_truncated)
        {
            if self.replicas.contains_key(&replica) {
                self.salvage(replica, None)?;
            }
        }
        self.write_bodies()?;
        self.find_missing()?;
        self.truncate_garbage()
    }

    /// Writes the bodies from the journal to their segments.
    fn write_bodies(&mut self) -> Result<(), DiskError> {
        for replica in self.replicas_with(|evidence| !evidence.bodies.is_empty()) {
            for (place, batch) in std::mem::take(&mut self.evidence_of(replica).bodies) {
                let file = self.file((replica, place.segment, FileKind::Log))?;
                // A batch that is there already is not written again: until it is synced, a write puts its neighbours
                // at risk.
                let there = segment::read_batch(&file, place.position, batch.header.size())?;
                if there.as_ref() != Some(&batch) {
                    let header = batch.header.to_bytes();
                    bad_sectors::overwrite(&file, place.position.into(), &[&header, &batch.body])?;
                }
            }
        }
        Ok(())
    }

    /// Looks for segments that a lost record has removed or shortened, in replicas that may have lost one: the record
    /// may have been a deletion or truncation. Neither journal nor checkpoint knows of it, so the holes must be found
    /// here, before the replica catches up and is cleared.
    fn find_missing(&mut self) -> Result<(), DiskError> {
        for replica in self.replicas_with(Evidence::is_cut) {
            let Some(log) = self.replicas.get_mut(&replica) else {
                continue;
            };
            let reader = LogReader {
                disk: self.disk,
                files: None,
                replica,
                log,
            };
            let mut holes = Vec::new();
            for (index, segment) in log.state.segments.iter().enumerate() {
                let end = log.state.segment_end(index);
                for offset in [segment.base_offset, Offset(end.0 - 1)] {
                    holes.extend(reader.holes_in(&(offset..offset.plus(1)))?);
                }
            }
            for hole in holes {
                log.state.add_hole(hole);
            }
            self.evidence_of(replica).is_touched = true;
        }
        Ok(())
    }

    /// Finds where earlier starts ended logs. Entries that such a start did not find may be readable at this one. Taken
    /// into the log they could raise the high watermark above the place where the log was ended, so that the truncation
    /// to there could not be replayed. So replay does not take them at all.
    fn find_cuts(
        &mut self,
        files: &[JournalFile<D::File>],
        found: &[Finding],
    ) -> Result<(), DiskError> {
        for found in found {
            let Finding::Group {
                file, at, header, ..
            } = found
            else {
                continue;
            };
            if !header.is_of_recovery() {
                continue;
            }
            let bytes = read_group(&files[*file].file, *at, header)?;
            let mut take = Take(header.records(&bytes));
            let seed = header.record_seed(self.seed);
            while let Ok((replica, record, _)) =
                JournalRecord::decode(&mut take, seed, &header.replicas)
            {
                if let JournalRecord::Truncate { to } = record {
                    let cuts = self.cuts.entry(replica).or_default();
                    cuts.push((header.incarnation, to));
                }
            }
        }
        Ok(())
    }

    /// Whether a start after the group being replayed ended the log where it ends now.
    fn is_cut_here(&self, replica: TopicPartition) -> bool {
        let end = self.replicas[&replica].state.end;
        let cuts = self.cuts.get(&replica);
        cuts.is_some_and(|cuts| {
            let mut cuts = cuts.iter();
            cuts.any(|&(incarnation, at)| incarnation > self.incarnation && at == end)
        })
    }

    fn replay_group(
        &mut self,
        file: &D::File,
        at: u64,
        header: &GroupHeader,
        is_written: bool,
    ) -> Result<(), DiskError> {
        self.incarnation = header.incarnation;
        let bytes = read_group(file, at, header)?;
        let mut take = Take(header.records(&bytes));
        let mut remaining = header.records_length as usize;
        let seed = header.record_seed(self.seed);
        while remaining > 0 {
            let before = take.0.len();
            let Ok((replica, record, bodies)) =
                JournalRecord::decode(&mut take, seed, &header.replicas)
            else {
                break;
            };
            remaining -= before - take.0.len();
            self.replay(replica, record, &bytes.slice_ref(bodies), is_written)?;
        }
        if remaining > 0 {
            // The rest of the group is lost, except for its second copies.
            let copies_at = usize::try_from(header.body_length()).expect("less than the group");
            let copies = bytes.get(copies_at..).unwrap_or_default();
            // If they are torn, the same blocks may hold those of an earlier use of the file.
            let copies = SecondCopies::decode(copies, self.seed).filter(|copies| {
                (copies.incarnation, copies.number) == (header.incarnation, header.number)
            });
            self.replay_copies(&copies.unwrap_or_default(), is_written)?;
            for &replica in &header.replicas {
                self.mark_suspect(replica);
            }
        }
        Ok(())
    }

    /// Replays the second copies of a group that is lost in part.
    fn replay_copies(&mut self, copies: &SecondCopies, is_written: bool) -> Result<(), DiskError> {
        if !self.hooks.is(Mutant::JournalsVoterChangesOnce) {
            for (replica, change) in &copies.voter_changes {
                let known = &mut self.evidence_of(*replica).voter_changes;
                known.push(change.clone());
            }
        }
        if self.hooks.is(Mutant::JournalsVotesOnce) {
            return Ok(());
        }
        for &(replica, vote) in &copies.votes {
            self.replay(
                replica,
                JournalRecord::Vote(vote),
                &Bytes::new(),
                is_written,
            )?;
        }
        Ok(())
    }

    /// All replicas that a lost group may have concerned, if nothing says which: those that are known, and those that
    /// have a directory, whose creation may be what is lost.
    fn possible_replicas(&self) -> BTreeSet<TopicPartition> {
        let known = self.replicas.keys();
        known.chain(&self.directories).copied().collect()
    }

    /// A record of this replica is lost. If that is its creation, the replica comes back with unknown voters: it must
    /// not be created as if it had never acknowledged anything. A replica that was deleted may have been created again,
    /// unless its directory is gone.
    fn mark_suspect(&mut self, replica: TopicPartition) {
        if replica == TopicPartition::default() {
            return; // [`JournalRecord::Opened`] concerns no replica
        }
        if self.deleted.contains(&replica) && !self.directories.contains(&replica) {
            return;
        }
        let unknown = || ReplicaLog::new(StoredReplica::new(Vec::new()));
        self.replicas.entry(replica).or_insert_with(unknown);
        self.evidence_of(replica).is_suspect = true;
    }

    fn replay(
        &mut self,
        replica: TopicPartition,
        record: JournalRecord,
        bodies: &Bytes,
        is_written: bool,
    ) -> Result<(), DiskError> {
        if let JournalRecord::Create { voters } = record {
            self.forget(replica); // the record that deleted its predecessor may be lost
            let mut state = StoredReplica::new(voters);
            if !state.voters.contains(&self.me) {
                state.mark = Mark::New; // even if the next record, which sets this mark, cannot be read
            }
            self.replicas.insert(replica, ReplicaLog::new(state));
            return Ok(());
        }
        if !self.replicas.contains_key(&replica) {
            // Its creation is lost with a damaged group; or this is [`JournalRecord::Opened`].
            self.mark_suspect(replica);
        }
        let known = &mut self.evidence_of(replica).voter_changes;
        known.extend(record.voter_changes());
        if let JournalRecord::Truncate { to } = &record {
            known.retain(|change| change.outcome_is_known_at(*to));
        }
        self.apply(replica, record, bodies, is_written)
    }

    /// Applies a record to its replica, if that exists, as far as the bytes that the record refers to are there.
    fn apply(
        &mut self,
        replica: TopicPartition,
        record: JournalRecord,
        bodies: &Bytes,
        is_written: bool,
    ) -> Result<(), DiskError> {
        let Some(log) = self.replicas.get_mut(&replica) else {
            return Ok(());
        };
        let state = &mut log.state;
        match record {
            JournalRecord::Create { .. } | JournalRecord::Opened => {}
            JournalRecord::Append {
                after,
                high_watermark,
                entries,
                flush: _,
            } => {
                if self.evidence_of(replica).is_suspect {
                    self.salvage(replica, Some(after))?;
                }
                if self.state_of(replica).end != after {
                    // What it builds on is lost, unless a later truncation drops all of that.
                    self.evidence_of(replica).is_severed = true;
                    return Ok(());
                }
                self.replay_append(replica, entries, bodies.clone(), is_written)?;
                self.state_of(replica)
                    .advance_high_watermark(high_watermark);
            }
            JournalRecord::Truncate { to } => {
                if !state.can_truncate(to) {
                    // What it builds on is lost, unless a later truncation drops all of that.
                    self.evidence_of(replica).is_severed = true;
                    return Ok(());
                }
                let evidence = self.evidence_of(replica);
                evidence.is_severed = false;
                evidence.is_truncated = true;
                self.truncate(replica, to);
            }
            // The vote never goes back, in whatever order its two copies are read.
            JournalRecord::Vote(vote) => {
                let forgets = self.hooks.is(Mutant::ForgetsVote);
                if !forgets && vote.leader_epoch >= state.vote.leader_epoch {
                    state.vote = vote;
                }
            }
            JournalRecord::Mark(mark) => state.set_mark(mark),
            JournalRecord::LostVoterChange(change) => {
                state.add_lost_voter_change(&change);
            }
            JournalRecord::Hole(hole) => state.add_hole(hole),
            JournalRecord::Fill { range, bytes } => {
                if self.is_filled(replica, &range, bytes)? {
                    self.state_of(replica).fill_hole(&range, bytes);
                }
            }
            JournalRecord::Loss { range } => state.accept_loss(&range),
            JournalRecord::Snapshot(snapshot) => {
                // The snapshot's file may be torn if its group was not durable; the previous snapshot is then still
                // there.
                if segment::read_snapshot(self.disk, replica, &snapshot, self.seed)?.is_some() {
                    state.snapshot = Some(snapshot);
                    let path = segment::snapshot_path(replica, &snapshot);
                    let name = (replica, snapshot.at.end_offset, FileKind::Snapshot);
                    self.written.insert(name);
                    self.files.open_at(self.disk, name, &path)?;
                }
            }
            JournalRecord::Delete => {
                self.forget(replica);
                self.deleted.insert(replica);
            }
        }
        Ok(())
    }

    /// Drops everything that was replayed of this replica.
    fn forget(&mut self, replica: TopicPartition) {
        self.replicas.remove(&replica);
        self.evidence.remove(&replica);
        self.deleted.remove(&replica);
        self.files.forget_replica(replica);
        self.written.retain(|(owner, _, _)| *owner != replica);
    }

    fn evidence_of(&mut self, replica: TopicPartition) -> &mut Evidence {
        self.evidence.entry(replica).or_default()
    }

    /// The replicas whose evidence satisfies `is_so`.
    fn replicas_with(&self, is_so: impl Fn(&Evidence) -> bool) -> Vec<TopicPartition> {
        let found = self.evidence.iter().filter(|(_, evidence)| is_so(evidence));
        found.map(|(&replica, _)| replica).collect()
    }

    fn state_of(&mut self, replica: TopicPartition) -> &mut StoredReplica {
        &mut self.log_of(replica).state
    }

    fn log_of(&mut self, replica: TopicPartition) -> &mut ReplicaLog {
        self.replicas
            .get_mut(&replica)
            .expect("the replica was found when its record was read")
    }

    fn truncate(&mut self, replica: TopicPartition, to: Position) {
        let evidence = self.evidence_of(replica);
        evidence.is_touched = true;
        let is_kept = |batch: &Batch| batch.header.base_offset < to.end_offset;
        evidence.bodies.retain(|(_, batch)| is_kept(batch));
        if self.hooks.is(Mutant::KeepsTruncatedEpochs) {
            self.stale_epochs.insert(replica);
        }
        for segment in self.log_of(replica).truncate(to) {
            for kind in FileKind::ALL {
                self.files.forget((replica, segment, kind));
                self.written.remove(&(replica, segment, kind));
            }
        }
    }

    /// Replays the entries of an append one by one, as long as the bytes of each batch are restored from the journal or
    /// found intact in its segment.
    fn replay_append(
        &mut self,
        replica: TopicPartition,
        entries: Vec<AppendedEntry>,
        mut bodies: Bytes,
        is_written: bool,
    ) -> Result<(), DiskError> {
        self.evidence_of(replica).is_touched = true;
        for entry in entries {
            if self.is_cut_here(replica) {
                return Ok(());
            }
            let (header, place, inline) = match entry {
                AppendedEntry::Note(_) if self.stale_epochs.contains(&replica) => continue,
                AppendedEntry::Note(note) => {
                    self.state_of(replica).push_note(note);
                    continue;
                }
                AppendedEntry::Batch {
                    header,
                    place,
                    inline,
                } => (header, place, inline),
            };
            let length = header.size() - HEADER_SIZE;
            let body = if inline && bodies.len() >= length {
                bodies.split_to(length)
            } else {
                Bytes::new()
            };
            if !self.is_next_place(replica, place) {
                self.evidence_of(replica).is_severed = true;
                return Ok(());
            }
            let is_whole = self.restore(replica, &header, place, inline, body)?;
            if !is_whole && self.hooks.is(Mutant::TakesRotForTornTail) {
                return Ok(());
            }
            if !is_whole && !is_written {
                // The batch may never have been durable: a torn tail, or rot in the last group. Or it was truncated and
                // overwritten just before the crash: then the truncation follows in the journal.
                if !self.hooks.is(Mutant::TrustsTornTail) {
                    self.evidence_of(replica).is_severed = true;
                }
                return Ok(());
            }
            self.push_batch(replica, header, place)?;
            if !is_whole {
                let hole = Hole {
                    offsets: header.base_offset..header.next_offset(),
                    segment: place.segment,
                    bytes: place.position..place.position + segment::size(&header),
                    accepted: false,
                };
                self.state_of(replica).add_hole(hole);
            }
        }
        Ok(())
    }

    /// Appends the intact batches that follow the log's end in its segments, whose group is lost: those of the epoch in
    /// which the log ends, up to `until`. There is one log per epoch, so they are the lost entries, or earlier ones
    /// that were truncated since; the replica is a suspect in both cases.
    fn salvage(
        &mut self,
        replica: TopicPartition,
        until: Option<Position>,
    ) -> Result<(), DiskError> {
        self.evidence_of(replica).is_touched = true;
        loop {
            let state = &self.log_of(replica).state;
            let (end, last) = (state.end, state.segments.last().copied());
            if until
                .is_some_and(|until| until.end_offset <= end.end_offset || until.notes != end.notes)
                || self.is_cut_here(replica)
            {
                return Ok(());
            }
            let behind_last = last.map(|last| Place {
                segment: last.base_offset,
                position: last.length,
            });
            let in_another = Place {
                segment: end.end_offset,
                position: 0,
            };
            let mut found = None;
            for place in behind_last.into_iter().chain([in_another]) {
                if found.is_none() {
                    found = self.batch_at(replica, place, end)?;
                }
            }
            let Some((place, header)) = found else {
                return Ok(());
            };
            self.push_batch(replica, header, place)?;
        }
    }

    /// The batch at a place, if it is intact and can be the next one after `end`.
    fn batch_at(
        &mut self,
        replica: TopicPartition,
        place: Place,
        end: Position,
    ) -> Result<Option<(Place, BatchHeader)>, DiskError> {
        let path = segment::path(replica, place.segment, FileKind::Log);
        let file = match self.disk.open(&path) {
            Ok(file) => file,
            Err(DiskError::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        let room = file.length()?.saturating_sub(place.position.into());
        let mut bytes = [0; HEADER_SIZE];
        let read = bad_sectors::read(&file, place.position.into(), &mut bytes)?;
        let belongs = |header: &BatchHeader| {
            let state = &self.replicas[&replica].state;
            let room = u32::try_from(room).unwrap_or(u32::MAX);
            header.leader_epoch == end.leader_epoch
                && segment::may_continue_log(header, end.end_offset, room, state)
        };
        let header = BatchHeader::parse(&bytes[..read]).ok().filter(belongs);
        let Some(header) = header else {
            return Ok(None);
        };
        let batch = segment::read_batch(&file, place.position, header.size())?;
        let is_whole = batch.is_some_and(|batch| batch.header == header);
        if is_whole {
            // Only written, perhaps: the recovery checkpoint must sync it.
            self.file((replica, place.segment, FileKind::Log))?;
        }
        Ok(is_whole.then_some((place, header)))
    }

    fn is_next_place(&mut self, replica: TopicPartition, place: Place) -> bool {
        match self.state_of(replica).segments.last() {
            Some(last) if last.base_offset == place.segment => last.length == place.position,
            Some(last) => last.base_offset < place.segment && place.position == 0,
            None => place.position == 0,
        }
    }

    /// Takes a batch from the journal, or checks that its segment has it. Returns whether it is there.
    fn restore(
        &mut self,
        replica: TopicPartition,
        header: &BatchHeader,
        place: Place,
        inline: bool,
        body: Bytes,
    ) -> Result<bool, DiskError> {
        let path = segment::path(replica, place.segment, FileKind::Log);
        if inline {
            let batch = Batch {
                header: *header,
                body,
            };
            if batch.body.len() == header.body_length as usize && batch.verify().is_ok() {
                self.evidence_of(replica).bodies.push((place, batch));
                return Ok(true);
            }
        }
        let file = match self.disk.open(&path) {
            Ok(file) => file,
            Err(DiskError::NotFound) => return Ok(false),
            Err(error) => return Err(error),
        };
        let batch = segment::read_batch(&file, place.position, header.size())?;
        let any_header = self.hooks.is(Mutant::TrustsSegmentHeaders);
        if batch.is_some_and(|batch| batch.header == *header || any_header) {
            // Only written, perhaps: the recovery checkpoint must sync it.
            self.file((replica, place.segment, FileKind::Log))?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Whether the batch of a recorded fill is in its hole. A power cut may have kept the record and lost the batch.
    fn is_filled(
        &mut self,
        replica: TopicPartition,
        range: &Range<Offset>,
        bytes: u32,
    ) -> Result<bool, DiskError> {
        let state = &self.log_of(replica).state;
        let Some(hole) = state.hole_at(range.start) else {
            return Ok(false);
        };
        let (segment, position) = (hole.segment, hole.bytes.start);
        let path = segment::path(replica, segment, FileKind::Log);
        let file = match self.disk.open(&path) {
            Ok(file) => file,
            Err(DiskError::NotFound) => return Ok(false),
            Err(error) => return Err(error),
        };
        let batch = segment::read_batch(&file, position, bytes as usize)?;
        let state = &self.log_of(replica).state;
        let fills = |batch: Batch| {
            segment::may_continue_log(&batch.header, range.start, bytes, state)
                && batch.header.next_offset() == range.end
        };
        let is_filled = batch.is_some_and(fills);
        if is_filled {
            // Only written, perhaps: the recovery checkpoint must sync it.
            self.file((replica, segment, FileKind::Log))?;
        }
        Ok(is_filled)
    }

    /// Opens a file that is to be written, or that may be only in the page cache.
    fn file(&mut self, name: FileName) -> Result<D::File, DiskError> {
        self.written.insert(name);
        let (file, _) = self.files.open(self.disk, name)?;
        Ok(file)
    }

    fn push_batch(
        &mut self,
        replica: TopicPartition,
        header: BatchHeader,
        place: Place,
    ) -> Result<(), DiskError> {
        let interval = self.options.index_interval_bytes;
        let log = self.log_of(replica);
        if log.opens_segment(place)
            && let Some(before) = log.unwritten_index()
        {
            let offsets = self.file((replica, before, FileKind::OffsetIndex))?;
            let times = self.file((replica, before, FileKind::TimeIndex))?;
            self.log_of(replica).write_index(&offsets, &times)?;
        }
        self.log_of(replica).push_batch(header, place, interval);
        Ok(())
    }

    /// Decides the replicas' marks once everything is replayed. No mark in the journal clears a replica of what is lost
    /// now, since it was ordered without knowledge of that. Where a suspect's log ends is journalled as well, since a
    /// later start may find more. Returns, for a mutant, the replicas that are reported as suspect without the mark
    /// being journalled.
    pub(super) fn decide_marks(&mut self) -> BTreeSet<TopicPartition> {
        let mut forgotten = BTreeSet::new();
        for (&replica, log) in &mut self.replicas {
            let is_volatile = log.state.mark == Mark::Volatile && !self.is_same_run;
            let evidence = self.evidence.remove(&replica).unwrap_or_default();
            let is_cut = evidence.is_cut();
            if is_cut {
                let to = log.state.end;
                self.decisions
                    .push((replica, JournalRecord::Truncate { to }));
            }
            let is_suspect = is_volatile || is_cut;
            if is_suspect && self.hooks.is(Mutant::ForgetsSuspicion) {
                forgotten.insert(replica);
            } else if is_suspect && !log.state.mark.is_suspect() {
                log.state.mark = Mark::Suspect;
                self.decisions
                    .push((replica, JournalRecord::Mark(Mark::Suspect)));
            }
            for change in evidence.voter_changes {
                let is_lost = is_cut && !change.outcome_is_known_at(log.state.end);
                if is_lost && log.state.add_lost_voter_change(&change) {
                    let record = JournalRecord::LostVoterChange(change);
                    self.decisions.push((replica, record));
                }
            }
        }
        forgotten
    }

    /// Truncates the last segments to their ends, and journals the holes that replay has found.
    fn truncate_garbage(&mut self) -> Result<(), DiskError> {
        for replica in self.replicas_with(|evidence| evidence.is_touched) {
            let Some(log) = self.replicas.get(&replica) else {
                continue;
            };
            let state = &log.state;
            let holes = state.holes.iter().filter(|hole| !hole.accepted);
            self.decisions
                .extend(holes.map(|hole| (replica, JournalRecord::Hole(hole.clone()))));
            let Some(last) = state.segments.last().copied() else {
                continue;
            };
            let name = (replica, last.base_offset, FileKind::Log);
            if !self.written.contains(&name) {
                continue;
            }
            let path = segment::path(replica, last.base_offset, FileKind::Log);
            if self.disk.open(&path)?.length()? > u64::from(last.length) {
                bad_sectors::truncate(&self.file(name)?, last.length.into())?;
            }
        }
        Ok(())
    }
}

/// The bytes of a group, as far as the file has them.
fn read_group<F: DiskFile>(file: &F, at: u64, header: &GroupHeader) -> Result<Bytes, DiskError> {
    let length = usize::try_from(header.length()).expect("a group fits memory");
    let mut bytes = vec![0; length];
    let read = bad_sectors::read(file, at, &mut bytes)?;
    bytes.truncate(read);
    Ok(Bytes::from(bytes))
}
