//! Crashes at any point: everything that was reported durable survives exactly, and nothing that was removed comes
//! back.
//!
//! A run draws random orders, commits and checkpoints, makes every disk operation fail from some point on, cuts the
//! power or kills the process, opens the directory again, compares it with a model, and continues from there.

use std::collections::BTreeMap;

use super::*;

/// The expected state of a replica.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    entries: Vec<Entry>,
    high_watermark: i64,
    vote: Vote,
    mark: Mark,
    image: Option<Bytes>,
}

impl Model {
    fn end(&self) -> Position {
        self.entries
            .iter()
            .fold(Position::default(), |end, entry| entry.position_after(end))
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in &self.entries {
            if let Entry::Batch(batch) = entry {
                bytes.extend_from_slice(&bytes_of(std::slice::from_ref(batch)));
            }
        }
        bytes
    }

    /// Whether it is that other log and batches of the epoch in which that ends.
    fn goes_on_in_epoch(&self, other: &Self) -> bool {
        let count = other.entries.len();
        let in_epoch = |entry: &Entry| match entry {
            Entry::Batch(batch) => batch.header.leader_epoch == other.end().leader_epoch,
            Entry::Note(_) => false,
        };
        self.entries.starts_with(&other.entries) && self.entries[count..].iter().all(in_epoch)
    }

    fn notes(&self) -> Vec<Note> {
        let notes = self.entries.iter().filter_map(|entry| match entry {
            Entry::Note(note) => Some(note.clone()),
            Entry::Batch(_) => None,
        });
        notes.collect()
    }
}

/// The history of one replica: its state after each executed order, `None` after a deletion.
struct History {
    /// What it was before the last start.
    earlier: Vec<Model>,
    states: Vec<Option<Model>>,
    /// Index of the last durable state.
    durable: usize,
    /// Index of the last state that must survive a killed process.
    written: usize,
    /// By order number, its place in `states`.
    orders: BTreeMap<u64, usize>,
}

impl History {
    fn from(state: Option<Model>) -> Self {
        Self {
            earlier: Vec::new(),
            states: vec![state],
            durable: 0,
            written: 0,
            orders: BTreeMap::new(),
        }
    }

    /// The replica was found so.
    fn go_on(&self, found: Option<Model>) -> Self {
        let states = self.states.iter().flatten();
        Self {
            earlier: self.earlier.iter().chain(states).cloned().collect(),
            ..Self::from(found)
        }
    }

    fn last(&self) -> Option<&Model> {
        self.states.last().unwrap().as_ref()
    }
}

struct Run {
    seed: u64,
    draws: Draws,
    disk: TestDisk,
    driver: Driver,
    histories: BTreeMap<TopicPartition, History>,
    commit: Option<CommitTicket<TestDisk>>,
    checkpoint: Option<CheckpointTicket<TestDisk>>,
    epoch: i32,
    boot: BootId,
    /// Whether descriptors and memory are short at times.
    is_short: bool,
}

impl Run {
    fn new(seed: u64) -> Self {
        let disk = formatted();
        let (store, _) = open(&disk);
        Self {
            seed,
            draws: Draws(seed),
            disk,
            driver: Driver::new(store),
            histories: BTreeMap::new(),
            commit: None,
            checkpoint: None,
            epoch: 0,
            boot: BOOT,
            is_short: false,
        }
    }

    /// Does one random thing. Fails once the disk fails.
    fn act(&mut self) -> Result<(), StoreFailure> {
        if self.is_short {
            self.be_short()?;
        }
        match self.draws.below(20) {
            0 | 1 => self.begin_commit()?,
            2 | 3 => self.end_commit()?,
            4 => {
                if self.checkpoint.is_none() {
                    self.checkpoint = if self.draws.below(2) == 0 {
                        self.driver.store.force_checkpoint()?
                    } else {
                        self.driver.store.begin_checkpoint()?
                    };
                }
            }
            5 => {
                if let Some(ticket) = self.checkpoint.take() {
                    let ran = ticket.run();
                    self.driver.store.finish_checkpoint(&ticket, ran)?;
                }
            }
            _ => self.order()?,
        }
        Ok(())
    }

    /// Descriptors and memory run short, or are there again; and what waits for them is tried again.
    fn be_short(&mut self) -> Result<(), StoreFailure> {
        match self.draws.below(12) {
            0 => self.disk.set_shortage(self.draws.below(8)),
            1 => self.disk.set_shortage(0),
            2 | 3 => self.retry()?,
            _ => {}
        }
        Ok(())
    }

    fn retry(&mut self) -> Result<(), StoreFailure> {
        for completion in self.driver.store.retry(NOW)? {
            self.report(&completion);
        }
        Ok(())
    }

    /// Takes a report on an order that has just been executed.
    fn report(&mut self, completion: &Completion) {
        let history = self.histories.get_mut(&completion.replica).unwrap();
        let at = history.orders[&completion.seq.0];
        match completion.stage {
            Stage::Written => history.written = at,
            Stage::Refused(why) => {
                assert_eq!((why, self.is_short), (Refusal::OutOfResources, true));
                history.states[at] = history.states[at - 1].clone();
            }
            Stage::Unfilled | Stage::Durable => panic!("{completion:?} of an order just given"),
        }
    }

    /// Ends the shortage, and checks that everything ordered becomes durable.
    fn catch_up(&mut self) -> Result<(), StoreFailure> {
        self.disk.set_shortage(0);
        self.end_commit()?;
        self.retry()?;
        assert!(!self.driver.store.is_short_of_resources());
        self.begin_commit()?;
        self.end_commit()?;
        for (replica, history) in &self.histories {
            // A refused append is in no log, and is not reported again.
            let last = history.states.last();
            let durable = &history.states[history.durable];
            assert_eq!(Some(durable), last, "seed {}: {replica:?}", self.seed);
        }
        Ok(())
    }

    fn begin_commit(&mut self) -> Result<(), StoreFailure> {
        if self.commit.is_none() {
            self.commit = self.driver.store.begin_commit()?;
        }
        Ok(())
    }

    fn end_commit(&mut self) -> Result<(), StoreFailure> {
        let Some(ticket) = self.commit.take() else {
            return Ok(());
        };
        let synced = ticket.sync();
        for completion in self.driver.store.finish_commit(&ticket, synced)? {
            assert_eq!(completion.stage, Stage::Durable);
            let history = self.histories.get_mut(&completion.replica).unwrap();
            let at = history.orders[&completion.seq.0];
            assert!(
                at > history.durable,
                "seed {}: completions in order",
                self.seed
            );
            history.durable = at;
            history.written = history.written.max(at);
            let end = history.states[at].as_ref().map(Model::end);
            assert_eq!(completion.position, end.unwrap_or_default());
        }
        Ok(())
    }

    fn order(&mut self) -> Result<(), StoreFailure> {
        let replica = replica(self.draws.below(4) as i32);
        let mut postponed = self.driver.store.postponed.iter();
        if postponed.any(|order| order.replica == replica) {
            return Ok(()); // whether what stands before it will be taken is not known
        }
        let history = self
            .histories
            .entry(replica)
            .or_insert_with(|| History::from(None));
        let (kind, next) = match history.last().cloned() {
            None => (
                OrderKind::Create {
                    voters: vec![voter(1), voter(2)],
                },
                Some(Model::default()),
            ),
            Some(model) => draw_order(&mut self.draws, &mut self.epoch, model),
        };
        let history = self.histories.get_mut(&replica).unwrap();
        history.states.push(next);
        let at = history.states.len() - 1;
        history.orders.insert(self.driver.seq + 1, at);
        let is_snapshot = matches!(kind, OrderKind::SaveSnapshot { .. });
        if let Some(completion) = self.driver.execute(replica, kind)? {
            self.report(&completion);
        }
        if is_snapshot && self.is_short {
            self.look_for_snapshot(replica);
        }
        Ok(())
    }

    /// A snapshot that finds no descriptor is not saved, and the previous one still holds.
    fn look_for_snapshot(&mut self, replica: TopicPartition) {
        let saved = self.driver.store.replicas[&replica].state.snapshot;
        let history = self.histories.get_mut(&replica).unwrap();
        let [.., before, Some(last)] = history.states.as_mut_slice() else {
            panic!("a snapshot is of a replica");
        };
        let wanted = last.image.as_ref().expect("it was to be saved");
        let seed = journal::seed(self.driver.store.identity.directory);
        let crc = crc32c::crc32c_append(seed, wanted);
        if saved.is_none_or(|saved| saved.crc != crc || saved.at != last.end()) {
            last.image = before.as_ref().and_then(|before| before.image.clone());
        }
    }

    /// Crashes and starts again.
    fn crash(&mut self) {
        self.commit = None;
        self.checkpoint = None;
        self.disk.set_shortage(0);
        let mut has_lost_power = self.go_down();
        // A start may be cut short too, any number of times.
        while self.draws.below(4) == 0 {
            self.disk.fail_after(self.draws.below(40));
            let opened = LogStore::open(self.disk.clone(), options(), self.boot);
            if opened.is_ok() {
                break;
            }
            has_lost_power |= self.go_down();
        }
        self.disk.kill();
        let (store, recovered) = LogStore::open(self.disk.clone(), options(), self.boot)
            .unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        let seq = self.driver.seq;
        self.driver = Driver { store, seq };
        self.compare(&recovered, has_lost_power);
    }

    /// The power fails, or only the process dies. Whether it was the power.
    fn go_down(&mut self) -> bool {
        let is_power_cut = self.draws.below(3) > 0;
        if is_power_cut {
            let draws = &mut self.draws;
            self.disk.power_cut(&mut |bound| draws.below(bound));
            self.boot = BootId(self.boot.0 + 1);
        } else {
            self.disk.kill();
        }
        is_power_cut
    }

    fn compare(&mut self, recovered: &Recovered, is_power_cut: bool) {
        let seed = self.seed;
        let mut found: BTreeMap<_, _> = recovered
            .replicas
            .iter()
            .map(|found| (found.replica, found))
            .collect();
        let mut histories = BTreeMap::new();
        for (&replica, history) in &self.histories {
            let from = if is_power_cut {
                history.durable
            } else {
                history.written
            };
            let possible = &history.states[from..];
            let Some(found) = found.remove(&replica) else {
                assert!(possible.contains(&None), "seed {seed}: {replica:?} is gone");
                histories.insert(replica, history.go_on(None));
                continue;
            };
            // A lost group may have created any replica that has a directory: it is a suspect without voters.
            let is_unknown = found.voters.is_empty() && found.mark == Mark::Suspect;
            let is_empty = found.end == Position::default() && possible.contains(&None);
            if is_power_cut && is_unknown && is_empty {
                let model = Model {
                    vote: found.vote,
                    mark: found.mark,
                    image: self.image_of(found, possible),
                    ..Model::default()
                };
                histories.insert(replica, history.go_on(Some(model)));
                continue;
            }
            let known = history
                .earlier
                .iter()
                .chain(history.states.iter().flatten());
            let known: Vec<&Model> = known.collect();
            let model = self.explain(found, possible, &known, is_power_cut);
            histories.insert(replica, history.go_on(Some(model)));
        }
        assert!(found.is_empty(), "seed {seed}: replicas that never were");
        self.histories = histories;
    }

    /// The image that was found, which one of the possible states has, too.
    fn image_of(&self, found: &RecoveredReplica, possible: &[Option<Model>]) -> Option<Bytes> {
        let image = found.snapshot.as_ref().map(|(_, image)| image.clone());
        let mut images = possible
            .iter()
            .map(|model| model.as_ref().and_then(|model| model.image.clone()));
        let is_saved = images.any(|saved| saved == image);
        assert!(is_saved, "seed {}: the image was never saved", self.seed);
        image
    }

    /// Which of the possible states was found. `known` are all that the replica has ever been in.
    fn explain(
        &self,
        found: &RecoveredReplica,
        possible: &[Option<Model>],
        known: &[&Model],
        is_power_cut: bool,
    ) -> Model {
        let seed = self.seed;
        assert_eq!(found.holes, [], "seed {seed}: no hole without rot");
        let bytes = self.driver.read_all(found.replica);
        let models: Vec<&Model> = possible.iter().flatten().collect();
        let is_found = |model: &Model| {
            model.end() == found.end && model.notes() == found.notes && model.bytes() == bytes
        };
        let whole = models.iter().find(|model| is_found(model));
        let is_whole = whole.is_some();
        // A torn group may leave a part of an append.
        let log = whole.map(|model| (*model).clone()).or_else(|| {
            models.windows(2).find_map(|pair| {
                let [before, model] = pair else {
                    return None;
                };
                if !model.entries.starts_with(&before.entries) {
                    return None;
                }
                let mut parts = (before.entries.len()..model.entries.len()).map(|count| Model {
                    entries: model.entries[..count].to_vec(),
                    ..(*model).clone()
                });
                parts.find(is_found)
            })
        });
        // Where a group is lost, batches of the log's last epoch may stand behind its end in the segments that were cut or
        // not found before.
        let log = log.or_else(|| {
            let is_suspect = found.mark == Mark::Suspect;
            let mut salvaged = models.iter().flat_map(|model| {
                let goes_on = |earlier: &&&Model| earlier.goes_on_in_epoch(model);
                let longer = known.iter().filter(goes_on);
                longer.map(|earlier| Model {
                    entries: earlier.entries.clone(),
                    ..(*model).clone()
                })
            });
            salvaged.find(|model| is_suspect && is_found(model))
        });
        let Some(mut model) = log else {
            panic!("seed {seed}: {found:?} is none of {models:?}");
        };
        let durable = models.first().expect("a possible state");
        assert!(
            models.iter().any(|model| model.vote == found.vote),
            "seed {seed}: {:?} was never given",
            found.vote
        );
        assert!(
            possible.contains(&None) || found.vote.leader_epoch >= durable.vote.leader_epoch,
            "seed {seed}: a vote went back"
        );
        let was_volatile = models.iter().any(|model| model.mark == Mark::Volatile);
        if found.mark == Mark::Suspect {
            let was_suspect = models.iter().any(|model| model.mark == Mark::Suspect);
            // A group with a torn header may concern any replica.
            let unsynced = self
                .histories
                .values()
                .any(|history| history.durable + 1 < history.states.len());
            assert!(
                was_suspect || is_power_cut && (was_volatile || unsynced),
                "seed {seed}: suspect without a cause"
            );
        } else {
            assert!(is_whole, "seed {seed}: a torn append makes a suspect");
            assert!(models.iter().any(|model| model.mark == found.mark));
            assert!(!is_power_cut || found.mark != Mark::Volatile);
        }
        let headers: Vec<_> = found
            .headers
            .iter()
            .map(|header| header.base_offset.0)
            .collect();
        let batches = model.entries.iter().filter_map(|entry| match entry {
            Entry::Batch(batch) if batch.header.base_offset >= found.producers_offset => {
                Some(batch.header.base_offset.0)
            }
            Entry::Batch(_) | Entry::Note(_) => None,
        });
        assert_eq!(headers, batches.collect::<Vec<_>>());
        assert!(found.producers_offset <= found.high_watermark);
        model.image = self.image_of(found, possible);
        model.vote = found.vote;
        model.mark = found.mark;
        model.high_watermark = found.high_watermark.0;
        model
    }
}

fn draw_order(draws: &mut Draws, epoch: &mut i32, mut model: Model) -> (OrderKind, Option<Model>) {
    match draws.below(24) {
        0 => (OrderKind::Delete, None),
        1 | 2 => {
            let vote = Vote {
                leader_epoch: LeaderEpoch(model.vote.leader_epoch.0 + draws.below(3) as i32),
                voted_for: Some(voter(draws.below(3) as i32)),
            };
            model.vote = vote;
            (OrderKind::StoreVote(vote), Some(model))
        }
        3 => {
            let mark = if draws.below(2) == 0 {
                Mark::Clean
            } else {
                Mark::Volatile
            };
            let kind = if mark == model.mark {
                OrderKind::Probe
            } else {
                OrderKind::SetMark(mark)
            };
            model.mark = mark;
            (kind, Some(model))
        }
        4 | 5 => {
            let kept = model
                .entries
                .iter()
                .rposition(|entry| match entry {
                    Entry::Batch(batch) => batch.header.next_offset().0 <= model.high_watermark,
                    Entry::Note(_) => false,
                })
                .map_or(0, |at| at + 1);
            let cut = kept + draws.below((model.entries.len() - kept) as u64 + 1) as usize;
            model.entries.truncate(cut);
            let to = model.end();
            (OrderKind::Truncate { to }, Some(model))
        }
        6 => {
            let image = Bytes::from(vec![draws.below(256) as u8; draws.below(3000) as usize]);
            model.image = Some(image.clone());
            let at = model.end();
            (OrderKind::SaveSnapshot { at, image }, Some(model))
        }
        _ => draw_append(draws, epoch, model),
    }
}

fn draw_append(draws: &mut Draws, epoch: &mut i32, mut model: Model) -> (OrderKind, Option<Model>) {
    let after = model.end();
    let mut entries = Vec::new();
    let mut offset = after.end_offset.0;
    // A log never has two histories in one epoch.
    *epoch += 1;
    entries.push(opening(*epoch, offset));
    for _ in 0..draws.below(4) {
        let records = 1 + draws.below(3) as i32;
        let size = match draws.below(4) {
            0 => draws.below(6000),
            _ => draws.below(400),
        };
        entries.push(Entry::Batch(batch(offset, *epoch, records, size as usize)));
        offset += i64::from(records);
    }
    model.entries.extend(entries.iter().cloned());
    let ends = model.entries.iter().filter_map(|entry| match entry {
        Entry::Batch(batch) => Some(batch.header.next_offset().0),
        Entry::Note(_) => None,
    });
    let ends: Vec<i64> = ends.filter(|end| *end >= model.high_watermark).collect();
    if !ends.is_empty() {
        model.high_watermark = ends[draws.below(ends.len() as u64) as usize];
    }
    let kind = OrderKind::Append {
        after,
        entries,
        high_watermark: Offset(model.high_watermark),
        flush: if draws.below(4) == 0 {
            Flush::Replicated
        } else {
            Flush::Commit
        },
        roll: Roll::default(),
    };
    (kind, Some(model))
}

#[test]
fn a_store_short_of_descriptors_and_memory_loses_nothing_and_catches_up() {
    (0..60).for_each(check_short);
}

/// The same for longer.
#[test]
#[ignore = "takes minutes"]
fn a_store_short_of_resources_loses_nothing_in_very_many_crashes() {
    (60..5000).for_each(check_short);
}

fn check_short(seed: u64) {
    let mut run = Run::new(seed);
    for _ in 0..4 {
        run.is_short = true;
        for _ in 0..run.draws.below(250) {
            run.act().expect("nothing is wrong with the disk");
        }
        if run.draws.below(2) == 0 {
            run.catch_up().expect("nothing is wrong with the disk");
        }
        run.is_short = false;
        run.crash();
    }
}

#[test]
fn whatever_was_reported_durable_survives_any_crash_and_nothing_else_appears() {
    (0..40).for_each(check);
    // A torn group behind which the votes of an earlier use of the file stood.
    check(674);
    // A mark behind a lost group.
    check(673);
    // A start that was cut short had written what was there already, next to what only its segment held.
    check(754);
}

/// The same for longer: `cargo test --release -p varve-core --lib -- --ignored store::`.
#[test]
#[ignore = "takes minutes"]
fn whatever_was_reported_durable_survives_very_many_crashes() {
    (40..5000).for_each(check);
}

fn check(seed: u64) {
    let mut run = Run::new(seed);
    for _ in 0..4 {
        if run.draws.below(3) > 0 {
            run.disk.fail_after(run.draws.below(300));
        }
        for _ in 0..run.draws.below(150) {
            if run.act().is_err() {
                assert!(run.disk.has_failed(), "seed {seed}: only the disk fails");
                break;
            }
        }
        run.crash();
    }
}
