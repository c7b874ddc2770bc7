//! A node's disk threads, in their simplest form: orders are executed in the order given, everything queued is
//! committed as one group when the disk is idle, and completions reach the broker in a drawn order across replicas.
//!
//! When a store checkpoints, fails or is full is its own decision; how long its disk takes is drawn here.

use std::time::Duration;

use varve_core::describe;
use varve_core::ids::Voter;
use varve_core::input::Input;
use varve_core::store::{
    Completion, Findings, Query, QueryResult, ReadError, Refusal, Scrubbed, Stage, StoreFailure,
};

use crate::checkers::Violation;
use crate::clock::SimTime;
use crate::cluster::{Cluster, Event};
use crate::draw::Subsystem;
use crate::node::{Deferred, DiskEvent};
use crate::panics::caught;

const SPACE_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// How often what finds no descriptor or no memory is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Descriptors that a store may have open besides its journal and three times as many files as it keeps: that of the note
/// of a failed sync, and what is read at the moment.
const OTHER_DESCRIPTORS_MAX: usize = 8;

impl Cluster {
    /// Something is to happen on the disk threads of a node's present process.
    pub(super) fn schedule_disk(&mut self, number: u8, at: SimTime, event: DiskEvent) {
        if let Some(run) = self.node(number).run() {
            self.queue.at(
                at,
                Event::Disk {
                    node: number,
                    run,
                    event,
                },
            );
        }
    }

    /// Sees to it that what is queued is executed, as soon as the disk is idle.
    pub(super) fn look_at_queue(&mut self, number: u8) {
        let now = self.now();
        let node = self.node_mut(number);
        let at = now.max(node.disk_stalled_until);
        let Some(process) = &mut node.process else {
            return;
        };
        if process.committing.is_some() || process.start_scheduled {
            return;
        }
        process.start_scheduled = true;
        self.schedule_disk(number, at, DiskEvent::Start);
    }

    /// How long an operation of this disk takes.
    fn latency(&mut self, number: u8, mean: Duration, min: Duration) -> Duration {
        let options = self.options.disk;
        let node = self.node_mut(number);
        node.disk_operations += 1;
        let ordinal = node.disk_operations;
        let mut draw = self
            .draws
            .at(Subsystem::DiskQueue, u64::from(number), ordinal);
        let mut latency = min + draw.exponential(mean);
        if draw.chance(options.tail_per_million) {
            latency += draw.exponential(options.tail_mean);
        }
        latency
    }

    /// A query of the broker is looked up when the disk gets to it.
    pub(super) fn query(&mut self, number: u8, query: Query) {
        let latency = self.latency(number, self.options.disk.read_mean, Duration::ZERO);
        let now = self.now();
        let node = self.node(number);
        let at = (now + latency).max(node.disk_stalled_until);
        self.schedule_disk(number, at, DiskEvent::Queried(query));
    }

    /// The disk of a node has done something, unless it hangs; a paused process does not see it yet.
    pub(super) fn on_disk(&mut self, number: u8, event: DiskEvent) {
        let now = self.now();
        let node = self.node_mut(number);
        if let Some(deferred) = &mut node.paused {
            deferred.push(Deferred::Disk(event));
            return;
        }
        if node.disk_stalled_until > now {
            let at = node.disk_stalled_until;
            self.schedule_disk(number, at, event);
            return;
        }
        let told = event.describe();
        if let Err(panic) = caught(|| self.on_disk_event(number, event)) {
            self.panicked(number, told, panic);
        }
        self.count_descriptors(number);
    }

    /// However many files have data, a store has no more descriptors open than it was given.
    fn count_descriptors(&mut self, number: u8) {
        let most = 3 * self.options.store.open_files_max + OTHER_DESCRIPTORS_MAX;
        let open = self.node(number).disk.descriptors();
        if open > most {
            let what = format!("n{number} has {open} files open, and may have {most}");
            let checker = "DescriptorsAreBounded";
            self.fail(Violation { checker, what });
        }
    }

    fn on_disk_event(&mut self, number: u8, event: DiskEvent) {
        match event {
            DiskEvent::Start => self.run_orders(number),
            DiskEvent::Synced => self.end_commit(number),
            DiskEvent::Checkpointed => self.end_checkpoint(number),
            DiskEvent::Queried(query) => self.look_up(number, &query),
            DiskEvent::Scrub => self.begin_scrub(number),
            DiskEvent::Scrubbed(scrubbed) => self.end_scrub(number, &scrubbed),
            DiskEvent::SpaceCheck => self.check_space(number),
            DiskEvent::Failed(failure) => self.on_failure(number, failure),
        }
    }

    /// Looks a query up, and tells the broker what was found.
    fn look_up(&mut self, number: u8, query: &Query) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        let mut result = process.store.query(query);
        if let QueryResult::Failed(ReadError::Hole(range)) = &result {
            // As the driver does: a hole is journalled before anybody hears of it.
            let found = process.store.examine(query.replica, range.clone());
            result = match found.unwrap_or_default().into_iter().next() {
                Some(hole) => QueryResult::Failed(ReadError::Hole(hole)),
                None => process.store.query(query),
            };
            self.look_at_queue(number);
        }
        if let QueryResult::Failed(error) = &result {
            let text = format!("{} fails: {error}", query.kind);
            self.trace.told(self.queue.now(), number, &text);
        }
        self.tell(
            number,
            Input::QueryDone {
                id: query.id,
                result,
            },
        );
    }

    /// Executes everything that is queued, and begins one group commit for it.
    fn run_orders(&mut self, number: u8) {
        let now = self.now();
        let node = self.node_mut(number);
        let instant = node.clock.instant(now);
        let Some(process) = &mut node.process else {
            return;
        };
        process.start_scheduled = false;
        let mut written = Vec::new();
        let mut failure = None;
        if process.store.is_short_of_resources() {
            match process.store.retry(instant) {
                Ok(reports) => written.extend(reports),
                Err(error) => failure = Some(error),
            }
        }
        while let Some(order) = process.orders.pop_front() {
            match process.store.execute(instant, &order) {
                Ok(None) => {}
                Ok(Some(completion)) => written.push(completion),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        let me = process.identity.voter();
        let begun = if process.store.is_commit_due(instant) {
            process.store.begin_commit()
        } else {
            Ok(None)
        };
        let run = process.run;
        match begun {
            Ok(Some(ticket)) => {
                process.committing = Some(ticket);
                let options = self.options.disk;
                let latency = self.latency(number, options.sync_mean, options.sync_min);
                self.schedule_disk(number, now + latency, DiskEvent::Synced);
            }
            Ok(None) => self.wait_for_flush(number),
            Err(error) => failure = Some(error),
        }
        self.look_for_refusals(number, me, &written);
        self.deliver(number, run, written);
        if let Some(failure) = failure {
            self.on_failure(number, failure);
        }
    }

    /// What may wait is made durable when it has waited long enough, and what is short of something tried again in a while.
    fn wait_for_flush(&mut self, number: u8) {
        let now = self.now();
        let node = self.node_mut(number);
        let clock = node.clock;
        let Some(process) = &mut node.process else {
            return;
        };
        let due = if process.store.is_short_of_resources() {
            Some(now + RETRY_INTERVAL)
        } else {
            let due = process.store.next_flush_deadline();
            due.map(|due| clock.sim_time(due).max(now))
        };
        if let Some(at) = due {
            process.start_scheduled = true;
            self.schedule_disk(number, at, DiskEvent::Start);
        }
    }

    /// Appends that could not be written.
    fn look_for_refusals(&mut self, number: u8, me: Voter, written: &[Completion]) {
        let mut is_refused = false;
        for completion in written {
            match completion.stage {
                Stage::Refused(Refusal::DiskFull | Refusal::OutOfResources) => {
                    is_refused = true;
                    self.checkers
                        .seen
                        .refused(me, completion.replica, completion.seq);
                }
                Stage::Unfilled | Stage::Written | Stage::Durable => {}
            }
        }
        if is_refused {
            self.on_refused(number);
        }
    }

    /// Looks now and then whether there is space, until there is some.
    fn on_refused(&mut self, number: u8) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        if std::mem::replace(&mut process.has_refused, true) {
            return;
        }
        let at = self.now() + SPACE_CHECK_INTERVAL;
        self.schedule_disk(number, at, DiskEvent::SpaceCheck);
    }

    /// A directory is given up, which only a write or a sync that failed is a reason for.
    fn on_failure(&mut self, number: u8, failure: StoreFailure) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        if std::mem::replace(&mut process.offline, true) {
            return;
        }
        if !self.node(number).disk.has_refused() {
            let StoreFailure::Offline(reason) = &failure;
            self.fail(Violation {
                checker: "OnlyWritesTakeDirectoriesOffline",
                what: format!("n{number} gives up its directory: {reason}"),
            });
        }
        self.tell(number, Input::StoreFailed(failure));
    }

    fn check_space(&mut self, number: u8) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        match process.store.has_space() {
            Ok(true) => {
                process.has_refused = false;
                self.tell(number, Input::SpaceReturned);
            }
            Ok(false) => {
                let at = self.now() + SPACE_CHECK_INTERVAL;
                self.schedule_disk(number, at, DiskEvent::SpaceCheck);
            }
            Err(failure) => self.on_failure(number, failure),
        }
    }

    fn end_commit(&mut self, number: u8) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        let run = process.run;
        let Some(ticket) = process.committing.take() else {
            return;
        };
        let synced = ticket.sync();
        match process.store.finish_commit(&ticket, synced) {
            Ok(completions) => self.deliver(number, run, completions),
            Err(failure) => {
                self.on_failure(number, failure);
                return;
            }
        }
        let Some(process) = self
            .node_mut(number)
            .process
            .as_mut()
            .filter(|process| process.run == run)
        else {
            return;
        };
        if process.checkpointing.is_none() {
            match process.store.begin_checkpoint() {
                Ok(Some(ticket)) => {
                    process.checkpointing = Some(ticket);
                    let options = self.options.disk;
                    let latency = self.latency(number, options.sync_mean * 5, options.sync_min);
                    self.schedule_disk(number, self.now() + latency, DiskEvent::Checkpointed);
                }
                Ok(None) => {}
                Err(failure) => {
                    self.on_failure(number, failure);
                    return;
                }
            }
        }
        self.look_at_queue(number);
    }

    fn end_checkpoint(&mut self, number: u8) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        let Some(ticket) = process.checkpointing.take() else {
            return;
        };
        let ran = ticket.run();
        if let Err(failure) = process.store.finish_checkpoint(&ticket, ran) {
            self.on_failure(number, failure);
        }
    }

    /// Sees to it that the scrub goes on when it is due.
    pub(super) fn schedule_scrub(&mut self, number: u8) {
        let now = self.now();
        let node = self.node(number);
        let process = node.process.as_ref();
        if let Some(due) = process.and_then(|process| process.store.next_scrub_deadline()) {
            let at = node.clock.sim_time(due).max(now);
            self.schedule_disk(number, at, DiskEvent::Scrub);
        }
    }

    fn begin_scrub(&mut self, number: u8) {
        let now = self.now();
        let node = self.node_mut(number);
        let instant = node.clock.instant(now);
        let Some(process) = &mut node.process else {
            return;
        };
        let Some(ticket) = process.store.begin_scrub(instant) else {
            self.schedule_scrub(number);
            return;
        };
        let scrubbed = ticket.run();
        process.scrubbing = Some(ticket);
        let latency = self.latency(number, self.options.disk.read_mean, Duration::ZERO);
        self.schedule_disk(number, now + latency, DiskEvent::Scrubbed(scrubbed));
    }

    fn end_scrub(&mut self, number: u8, scrubbed: &Scrubbed) {
        let now = self.now();
        let node = self.node_mut(number);
        let instant = node.clock.instant(now);
        let Some(process) = &mut node.process else {
            return;
        };
        let Some(ticket) = process.scrubbing.take() else {
            return;
        };
        let Findings {
            replica,
            holes,
            rewritten,
        } = match process.store.finish_scrub(instant, &ticket, scrubbed) {
            Ok(findings) => findings,
            Err(failure) => {
                self.on_failure(number, failure);
                return;
            }
        };
        for range in rewritten {
            let text = format!(
                "n{number} writes {} again",
                describe::Offsets(range.start, range.end)
            );
            self.trace.fault(now, text);
        }
        self.schedule_scrub(number);
        self.look_at_queue(number);
        if !holes.is_empty() {
            self.tell(number, Input::HolesFound { replica, holes });
        }
    }

    /// Hands completions to the broker: those of one replica in order, replicas in a drawn order and one or
    /// several at a time.
    fn deliver(&mut self, number: u8, run: u64, completions: Vec<Completion>) {
        if completions.is_empty() {
            return;
        }
        let node = self.node_mut(number);
        node.disk_operations += 1;
        let ordinal = node.disk_operations;
        let mut draw = self
            .draws
            .at(Subsystem::DiskQueue, u64::from(number), ordinal);
        let mut groups: Vec<Vec<Completion>> = Vec::new();
        for completion in completions {
            match groups
                .iter_mut()
                .find(|group| group[0].replica == completion.replica)
            {
                Some(group) => group.push(completion),
                None => groups.push(vec![completion]),
            }
        }
        draw.shuffle(&mut groups);
        let mut batch = Vec::new();
        for group in groups {
            batch.extend(group);
            if draw.chance(500_000) {
                self.tell_run(number, run, Input::Stored(std::mem::take(&mut batch)));
            }
        }
        if !batch.is_empty() {
            self.tell_run(number, run, Input::Stored(batch));
        }
    }
}
