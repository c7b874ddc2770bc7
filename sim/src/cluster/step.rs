//! One step of a broker: it is told something, what it orders is judged, and then carried out, order by order, up
//! to where a crash comes between two of them.

use std::hash::Hash as _;

use varve_core::describe;
use varve_core::effect::{Effect, Effects};
use varve_core::ids::{PartitionIndex, TopicPartition};
use varve_core::input::Input;
use varve_core::peer::PeerMessage;
use varve_core::wire::Response;

use crate::checkers::bounded::Queues;
use crate::checkers::{Step, Violation};
use crate::cluster::{Cluster, Event};
use crate::network::{Listening, Place};
use crate::node::{Deferred, DiskEvent};
use crate::panics::caught;

impl Cluster {
    /// Tells a broker something, or lets it wait where the process is paused. What the effects of a step tell others, or the
    /// node itself, comes behind that step.
    pub(super) fn tell(&mut self, number: u8, input: Input) {
        if self.carries_out {
            if let Some(run) = self.node(number).run() {
                self.told_meanwhile.push_back((number, run, input));
            }
            return;
        }
        self.step_broker(number, input);
        self.tell_meanwhile();
    }

    /// Delivers the inputs that the effects of the last step have caused, and those that these cause in turn.
    pub(super) fn tell_meanwhile(&mut self) {
        while let Some((number, run, input)) = self.told_meanwhile.pop_front() {
            if self.node(number).run() == Some(run) {
                self.step_broker(number, input);
            }
        }
    }

    fn step_broker(&mut self, number: u8, input: Input) {
        if self.violation.is_some() {
            return;
        }
        let now = self.now();
        let node = self.node_mut(number);
        if let Some(deferred) = &mut node.paused {
            deferred.push(Deferred::Input(input));
            return;
        }
        let clocks = node.clock.both(now);
        let Some(process) = &mut node.process else {
            return;
        };
        let me = process.identity.voter();
        self.touched.clear();
        touched_by_input(&input, &mut self.touched);
        self.checkers.on_input(number, me, &input);
        let mut effects = std::mem::take(&mut self.effects);
        let process = self.nodes[usize::from(number) - 1]
            .process
            .as_mut()
            .expect("it was just there");
        let asked = match &input {
            Input::Request(request) if request.body.has_response() => Some(request.context.id),
            _another_input => None,
        };
        let told = self.trace.is_on().then(|| describe::input(&input));
        let run = process.run;
        let recorded = self.options.records.then(|| input.clone());
        let stepped = caught(|| process.broker.step(clocks, input, &mut effects));
        if let Err(panic) = stepped {
            self.effects = effects;
            self.panicked(number, &told.unwrap_or_default(), panic);
            return;
        }
        if let Some(input) = recorded
            && let Some(recording) = self.recordings.get_mut(&(number, run))
        {
            recording.step(clocks, input, &effects);
        }
        if let Some(request) = asked
            && !effects.as_slice().contains(&Effect::Stopped)
        {
            self.asked(number, request);
        }
        self.after_step(number, effects);
    }

    /// A node's broker, or its store, has panicked when it was told or did this.
    pub(super) fn panicked(&mut self, number: u8, told: &str, panic: String) {
        let now = self.now();
        let text = format!("panics, told: {told}");
        self.trace.told(now, number, &text);
        self.fail(Violation {
            checker: "BrokersDoNotPanic",
            what: format!("n{number}: {panic}"),
        });
    }

    /// Tells a broker something unless its process has been replaced meanwhile.
    pub(super) fn tell_run(&mut self, number: u8, run: u64, input: Input) {
        if self.node(number).run() == Some(run) {
            self.tell(number, input);
        }
    }

    /// Judges what a step ordered, and carries it out.
    pub(super) fn after_step(&mut self, number: u8, mut effects: Effects) {
        let now = self.now();
        self.steps += 1;
        let node = self.node_mut(number);
        let ordered = effects.as_slice().len();
        let crash = node.crashes_within(ordered);
        let done = crash.unwrap_or(ordered);
        let run = node.run().expect("it has just made a step");
        self.judge(number, &effects.as_slice()[..done], crash.is_some());
        self.carries_out = true;
        for effect in effects.drain().take(done) {
            self.carry_out(number, effect);
        }
        self.carries_out = false;
        self.effects = effects;
        if crash.is_some() {
            self.trace.fault(now, format!("n{number} crashes"));
            self.kill(number);
            return;
        }
        let stopped = self
            .node(number)
            .process
            .as_ref()
            .is_some_and(|process| process.stopped);
        if stopped {
            self.judge_stop(number);
            // The driver's last act: a clean stop leaves a checkpoint, and the process ends.
            self.leave_checkpoint(number);
            self.kill(number);
            return;
        }
        self.schedule_tick(number, run);
    }

    /// A node that has stopped in good order has answered everything that it was asked.
    fn judge_stop(&mut self, number: u8) {
        let process = self.node(number).process.as_ref();
        let mut clients = process
            .into_iter()
            .flat_map(|process| process.clients.values());
        if let Some(client) = clients.find(|client| !client.answers.is_empty()) {
            let what = format!(
                "n{number} stops and owes {} an answer",
                client.connection.from
            );
            self.fail(Violation {
                checker: "StopsAnswerWhatWasAsked",
                what,
            });
        }
    }

    /// Shows the checkers what a step ordered, writes it down and adds it to the hash of all steps.
    fn judge(&mut self, number: u8, carried: &[Effect], crashed: bool) {
        let now = self.now();
        let process = self.nodes[usize::from(number) - 1]
            .process
            .as_ref()
            .expect("it has just made a step");
        touched_by_effects(carried, &mut self.touched);
        let mut views = std::mem::take(&mut self.views);
        views.clear();
        for &partition in &self.touched {
            if let Some(replica) = process.broker.replica(partition) {
                views.push((partition, replica.view()));
            }
        }
        self.touched.clear();
        let step = Step {
            at: now,
            wall: self.node(number).clock.wall(now),
            node: number,
            me: process.identity.voter(),
            effects: carried,
            views: &views,
            metadata: process.broker.metadata_offset(),
            image: process.broker.image(),
            directory: process.broker.directory_state(),
            queues: Queues {
                unwritten_bytes: process.broker.unwritten_bytes(),
                unwritten_bytes_max: self.options.unwritten_bytes_max,
                requests: process.broker.waiting_requests(),
            },
            crashed,
        };
        if let Err(violation) = self.checkers.on_step(&step) {
            self.violation.get_or_insert(violation);
        }
        if let Some(violation) = self.history.take_violation() {
            self.violation.get_or_insert(violation);
        }
        self.trace.step(&step);
        now.hash(&mut self.chain);
        number.hash(&mut self.chain);
        carried.len().hash(&mut self.chain);
        for (partition, view) in &views {
            partition.hash(&mut self.chain);
            view.hash(&mut self.chain);
        }
        self.views = views;
    }

    fn leave_checkpoint(&mut self, number: u8) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        if process.checkpointing.is_none()
            && let Ok(Some(ticket)) = process.store.force_checkpoint()
        {
            // Whatever comes of it, the next start recovers from what is there.
            let ran = ticket.run();
            let _ = process.store.finish_checkpoint(&ticket, ran);
        }
    }

    fn schedule_tick(&mut self, number: u8, run: u64) {
        let node = &mut self.nodes[usize::from(number) - 1];
        let clock = node.clock;
        let Some(process) = &mut node.process else {
            return;
        };
        let Some(deadline) = process.broker.next_deadline() else {
            return;
        };
        let at = clock.sim_time(deadline).max(self.queue.now());
        if process.tick_at.is_none_or(|known| at < known) {
            process.tick_at = Some(at);
            self.queue.at(
                at,
                Event::Tick {
                    node: number,
                    run,
                    at,
                },
            );
        }
    }

    fn carry_out(&mut self, number: u8, effect: Effect) {
        let now = self.now();
        match effect {
            Effect::Store(order) => {
                if let Some(process) = &mut self.node_mut(number).process {
                    process.orders.push_back(order);
                    self.look_at_queue(number);
                }
            }
            Effect::Query(query) => self.query(number, query),
            Effect::Send { to, message } => self.send_to_peer(number, to, message),
            Effect::Respond { request, response } => self.respond(number, request, response),
            Effect::Close(id) => self.close_client(number, id),
            Effect::Peers { addresses, all } => self.set_peers(number, &addresses, all),
            Effect::Redial(peer) => self.redial(number, peer),
            Effect::CloseSession { from, session } => self.close_session(number, from, session),
            Effect::AcceptPeer { from, session } => self.accept_peer(number, from, session),
            Effect::RejectPeer {
                from,
                session,
                reason,
            } => self.reject_peer(number, from, session, reason),
            Effect::Joined(cluster) => {
                let Some(process) = &mut self.node_mut(number).process else {
                    return;
                };
                let joined = process.store.join(cluster);
                process.identity.cluster = Some(cluster);
                if process.store.is_short_of_resources() {
                    self.look_at_queue(number);
                }
                if let Err(failure) = joined {
                    // The broker hears of it behind the present step.
                    self.schedule_disk(number, now, DiskEvent::Failed(failure));
                }
            }
            Effect::Ready => {
                if let Some(process) = &mut self.node_mut(number).process {
                    process.ready = true;
                }
                self.network
                    .set_listening(Place::Node(number), Listening::Yes);
                self.trace.told(now, number, "ready for clients");
            }
            Effect::CloseClients => self.close_clients(number),
            Effect::Stopped => {
                if let Some(process) = &mut self.node_mut(number).process {
                    process.stopped = true;
                }
                self.trace.told(now, number, "stopped in good order");
            }
            Effect::Notice(_) => {}
        }
    }
}

/// Partitions whose replica this input touches, each once.
fn touched_by_input(input: &Input, touched: &mut Vec<TopicPartition>) {
    match input {
        Input::Peer {
            message: PeerMessage::Replica(message),
            ..
        } => touch(message.partition, touched),
        Input::Stored(completions) => {
            for completion in completions {
                touch(completion.replica, touched);
            }
        }
        Input::HolesFound { replica, .. } => touch(*replica, touched),
        Input::Tick
        | Input::Request(_)
        | Input::Disconnected(_)
        | Input::LinkUp(_)
        | Input::LinkDown(_)
        | Input::DialRefused(_)
        | Input::SessionClosed { .. }
        | Input::Hello { .. }
        | Input::RejectedByPeer(_)
        | Input::Peer { .. }
        | Input::StoreFailed(_)
        | Input::SpaceReturned
        | Input::QueryDone { .. }
        | Input::Stop
        | Input::ClientsClosed => {}
    }
}

fn touched_by_effects(effects: &[Effect], touched: &mut Vec<TopicPartition>) {
    for effect in effects {
        match effect {
            Effect::Store(order) => touch(order.replica, touched),
            Effect::Query(query) => touch(query.replica, touched),
            Effect::Send {
                message: PeerMessage::Replica(message),
                ..
            } => touch(message.partition, touched),
            Effect::Notice(notice) => {
                if let Some(partition) = notice.partition {
                    touch(partition, touched);
                }
            }
            Effect::Respond { response, .. } => match &**response {
                Response::Fetch(response) => {
                    for topic in &response.responses {
                        for data in &topic.partitions {
                            touch(
                                TopicPartition {
                                    topic: topic.topic_id,
                                    partition: PartitionIndex(data.partition_index),
                                },
                                touched,
                            );
                        }
                    }
                }
                Response::Produce(response) => {
                    for topic in &response.responses {
                        for data in &topic.partition_responses {
                            touch(
                                TopicPartition {
                                    topic: topic.topic_id,
                                    partition: PartitionIndex(data.index),
                                },
                                touched,
                            );
                        }
                    }
                }
                _other_answers => {}
            },
            Effect::Send { .. }
            | Effect::Close(_)
            | Effect::Peers { .. }
            | Effect::Redial(_)
            | Effect::CloseSession { .. }
            | Effect::AcceptPeer { .. }
            | Effect::RejectPeer { .. }
            | Effect::Joined(_)
            | Effect::Ready
            | Effect::CloseClients
            | Effect::Stopped => {}
        }
    }
}

fn touch(partition: TopicPartition, touched: &mut Vec<TopicPartition>) {
    if !touched.contains(&partition) {
        touched.push(partition);
    }
}
