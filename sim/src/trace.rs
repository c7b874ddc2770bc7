//! A run as text: one event a line, fixed columns, the words of the field.
//!
//! ```text
//!    0ms  n1    leader     e1  hw 2  leo 2
//!    0ms  ---   cut {n1} | {n2 n3}
//!    1ms  c1 -> n1   Produce #3 acks=all  1 record
//!  312ms  n3    pre-candidate  e1  hw 2  leo 2   leader silent
//! ```
//!
//! A state line stands where a replica's state moved; a leader whose opening is not committed shows no high watermark.
//! `->` is a message delivered, `-|` one that is held up, shown once however often it is tried, `~>` one that was held up
//! and came late, `-x` one that is lost. Heartbeats, empty appends and their acknowledgements are left out, and so is what
//! only keeps clients going; lines that come again and again are folded. Times are virtual milliseconds since the trace
//! began. The last lines show every log, side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use varve_core::describe;
use varve_core::effect::Effect;
use varve_core::ids::{Offset, TopicPartition};
use varve_core::peer::{AppendReply, PeerMessage, ReplicaBody};
use varve_core::replica::ReplicaView;
use varve_core::store::{Mark, Recovered};
use varve_core::wire::ApiKey;

use crate::checkers::{Logged, Observed, Step};
use crate::clock::SimTime;
use crate::cluster::Payload;
use crate::network::Place;

/// What is written down of a run.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    on: bool,
    began: SimTime,
    /// Only this partition is written about, where there is one.
    watched: Option<TopicPartition>,
    names: BTreeMap<TopicPartition, String>,
    lines: Vec<Line>,
    states: BTreeMap<(u8, TopicPartition), State>,
    /// What is shown as dropped or held and has not been delivered since: it is not shown again, however often it is
    /// tried.
    held: Vec<(Place, Place, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    State(SimTime, u8, String),
    Message {
        at: SimTime,
        from: Place,
        to: Vec<Place>,
        arrow: &'static str,
        text: String,
    },
    Told(SimTime, String, String),
}

/// What a state line shows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    role: &'static str,
    leader_epoch: i32,
    high_watermark: Option<Offset>,
    end: Offset,
    mark: Mark,
}

impl Trace {
    /// Whether anything is written down.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.on
    }

    /// Begins to write, about one partition or about all. States known so far are written when they next move.
    pub fn begin(&mut self, now: SimTime, watched: Option<TopicPartition>) {
        self.on = true;
        self.began = now;
        self.watched = watched;
        self.lines.clear();
        self.states.clear();
        self.held.clear();
    }

    /// Stops writing.
    pub fn end(&mut self) {
        self.on = false;
    }

    /// Gives a partition a name.
    pub fn name(&mut self, partition: TopicPartition, name: &str) {
        self.names.insert(partition, name.to_owned());
    }

    /// Writes a replica's state as it stands.
    pub fn state(&mut self, now: SimTime, node: u8, partition: TopicPartition, view: &ReplicaView) {
        if self.on && self.watches(partition) {
            self.show_state(now, node, partition, view, "");
        }
    }

    fn watches(&self, partition: TopicPartition) -> bool {
        self.watched.is_none_or(|watched| watched == partition)
    }

    /// The partition's name, where more than one is written about.
    fn label(&self, partition: TopicPartition) -> String {
        if self.watched.is_some() {
            return String::new();
        }
        match self.names.get(&partition) {
            Some(name) => format!("{name}  "),
            None if partition == TopicPartition::METADATA => "metadata  ".to_owned(),
            None => format!(
                "{:.4}-{}  ",
                partition.topic.to_string(),
                partition.partition
            ),
        }
    }

    /// Something that the owner of the run does.
    pub fn fault(&mut self, now: SimTime, text: String) {
        if self.on {
            self.lines.push(Line::Told(now, "---".to_owned(), text));
        }
    }

    /// Something that a node says.
    pub fn told(&mut self, now: SimTime, node: u8, text: &str) {
        if self.on {
            self.lines
                .push(Line::Told(now, format!("n{node}"), text.to_owned()));
        }
    }

    /// A node has started on what its disk held.
    pub fn started(&mut self, now: SimTime, node: u8, recovered: &Recovered) {
        if !self.on {
            return;
        }
        self.states.retain(|(known, _), _| *known != node);
        let mut text = format!("starts, incarnation {}", recovered.incarnation);
        for replica in &recovered.replicas {
            if !self.watches(replica.replica) {
                continue;
            }
            let _ = write!(
                text,
                "; {}finds {}",
                self.label(replica.replica),
                replica.end
            );
            match replica.mark {
                Mark::Clean => {}
                Mark::Volatile => text.push_str(", volatile"),
                Mark::Suspect => text.push_str(", suspect"),
                Mark::New => text.push_str(", new"),
            }
            for hole in &replica.holes {
                let _ = write!(text, ", hole {}", describe::Offsets(hole.start, hole.end));
            }
        }
        self.lines.push(Line::Told(now, format!("n{node}"), text));
    }

    /// A message arrives.
    pub fn arrived(&mut self, now: SimTime, from: Place, to: Place, late: bool, payload: &Payload) {
        let arrow = if late { "~>" } else { "->" };
        self.message(now, from, to, arrow, payload);
    }

    /// A message is lost.
    pub fn lost(&mut self, now: SimTime, from: Place, to: Place, payload: &Payload) {
        self.message(now, from, to, "-x", payload);
    }

    /// A message is held up for now.
    pub fn held_up(&mut self, now: SimTime, from: Place, to: Place, payload: &Payload) {
        self.message(now, from, to, "-|", payload);
    }

    fn message(
        &mut self,
        now: SimTime,
        from: Place,
        to: Place,
        arrow: &'static str,
        payload: &Payload,
    ) {
        if !self.on {
            return;
        }
        let text = match payload {
            Payload::Peer(message) => match shown(message) {
                Some((partition, text)) if self.watches(partition) => {
                    Some(format!("{}{text}", self.label(partition)))
                }
                Some(_) | None => None,
            },
            // What clients do with records is no part of a story about the metadata.
            Payload::Request(call) if self.is_beside_the_point(call.body.api_key()) => None,
            Payload::Request(call) => describe::request(call.number, &call.body),
            Payload::Response(_, response) if self.is_beside_the_point(response.api_key()) => None,
            Payload::Response(number, response) => describe::response(*number, response),
        };
        let folds = matches!(payload, Payload::Peer(_));
        let Some(text) = text else {
            return;
        };
        let known = (from, to, text.clone());
        let shown = self.held.iter().position(|held| *held == known);
        match (shown, arrow) {
            (Some(_), "-x" | "-|") => return,
            (None, "-x" | "-|") => self.held.push(known),
            (Some(place), _delivered) => {
                self.held.swap_remove(place);
            }
            (None, _delivered) => {}
        }
        if let Some(Line::Message {
            at,
            from: last_from,
            to: last_to,
            arrow: last_arrow,
            text: last_text,
        }) = self.lines.last_mut()
            && at.millis() == now.millis()
            && *last_from == from
            && *last_arrow == arrow
            && *last_text == text
            && folds
        {
            if !last_to.contains(&to) {
                last_to.push(to);
            }
            return;
        }
        self.lines.push(Line::Message {
            at: now,
            from,
            to: vec![to],
            arrow,
            text,
        });
    }

    /// Whether a request has nothing to do with the partition that is written about.
    fn is_beside_the_point(&self, api_key: ApiKey) -> bool {
        let is_about_records = matches!(
            api_key,
            ApiKey::Produce | ApiKey::Fetch | ApiKey::ListOffsets | ApiKey::OffsetForLeaderEpoch
        );
        is_about_records && self.watched == Some(TopicPartition::METADATA)
    }

    /// A broker has made a step.
    pub fn step(&mut self, step: &Step<'_>) {
        if !self.on {
            return;
        }
        for effect in step.effects {
            if let Effect::Notice(notice) = effect
                && notice.partition.is_none()
            {
                self.told(step.at, step.node, &notice.what.to_string());
            }
        }
        for (partition, view) in step.views {
            if !self.watches(*partition) {
                continue;
            }
            let before = self
                .states
                .get(&(step.node, *partition))
                .map(|state| state.end);
            let doings = describe::doings(step.effects, *partition, before);
            self.show_state(step.at, step.node, *partition, view, &doings);
        }
    }

    fn show_state(
        &mut self,
        now: SimTime,
        node: u8,
        partition: TopicPartition,
        view: &ReplicaView,
        doings: &str,
    ) {
        let state = State {
            role: view.role,
            leader_epoch: view.leader_epoch.0,
            high_watermark: view.high_watermark,
            end: view.end.end_offset,
            mark: view.mark,
        };
        let known = self.states.insert((node, partition), state.clone());
        if known.as_ref() == Some(&state) && doings.is_empty() {
            return;
        }
        let high_watermark = match state.high_watermark {
            Some(high_watermark) => high_watermark.to_string(),
            None => "-".to_owned(),
        };
        let mut text = format!(
            "{}{:<13}  e{:<2} hw {high_watermark:<3} leo {:<3}",
            self.label(partition),
            state.role,
            state.leader_epoch,
            state.end
        );
        if let Some(known) = known.filter(|known| known.end > state.end)
            && !doings.contains("truncate")
        {
            let _ = write!(text, "  drops {}", describe::Offsets(state.end, known.end));
        }
        if !doings.is_empty() {
            let _ = write!(text, "  {doings}");
        }
        self.lines.push(Line::State(now, node, text));
    }

    /// The whole as text, with the logs as they stand.
    #[must_use]
    pub fn render(&self, seen: &Observed) -> String {
        let mut lines = Vec::new();
        for line in &self.lines {
            let (at, rest) = match line {
                Line::State(at, node, text) => (*at, format!("{:<6}{text}", format!("n{node}"))),
                Line::Message {
                    at,
                    from,
                    to,
                    arrow,
                    text,
                } => {
                    let mut names = String::new();
                    for place in to {
                        let _ = write!(names, " {place}");
                    }
                    (*at, format!("{from} {arrow}{names}   {text}"))
                }
                Line::Told(at, who, text) => (*at, format!("{who:<6}{text}")),
            };
            let millis = format!("{}ms", at.since(self.began).as_millis());
            lines.push((millis, rest.trim_end().to_owned()));
        }
        let mut out = fold(&lines);
        out.push_str(&self.render_logs(seen));
        out
    }

    fn render_logs(&self, seen: &Observed) -> String {
        let partitions: BTreeSet<TopicPartition> = match self.watched {
            Some(watched) => BTreeSet::from([watched]),
            None => seen.partitions().collect(),
        };
        let mut out = String::new();
        for partition in partitions {
            let mut groups: Vec<(Vec<String>, &[Logged])> = Vec::new();
            for (voter, shadow) in seen.shadows(partition) {
                if !shadow.ordered.exists || shadow.gone {
                    continue;
                }
                let log = &shadow.ordered.log[..];
                let name = format!("n{}", voter.broker);
                match groups.iter_mut().find(|(_, known)| *known == log) {
                    Some((names, _)) => names.push(name),
                    None => groups.push((vec![name], log)),
                }
            }
            for (mut names, log) in groups {
                names.sort();
                let names = names.join(" = ");
                let label = self.label(partition);
                let _ = writeln!(out, "logs     {label}{names}   {}", show_log(log));
            }
        }
        out
    }
}

/// Lines with their times. What comes three times or more in a row, as many lines as it is, is shown once, with how often
/// it comes again and until when.
fn fold(lines: &[(String, String)]) -> String {
    const BLOCK_MAX: usize = 8;
    let mut out = String::new();
    let mut rest = lines;
    while !rest.is_empty() {
        let repeats = |block: usize| {
            let is_same = |other: &&[(String, String)]| {
                other.iter().map(text).eq(rest[..block].iter().map(text))
            };
            rest.chunks_exact(block).take_while(is_same).count()
        };
        let block = (1..=BLOCK_MAX.min(rest.len())).find(|&block| repeats(block) >= 3);
        let (shown, taken) = block.map_or((1, 1), |block| (block, block * repeats(block)));
        for (at, text) in &rest[..shown] {
            let _ = writeln!(out, "{at:>7}  {text}");
        }
        if taken > shown {
            let (until, more) = (&rest[taken - 1].0, taken / shown - 1);
            let what = match shown {
                1 => "the same".to_owned(),
                lines => format!("the same {lines} lines"),
            };
            let _ = writeln!(out, "    ...  {what} {more} more times, until {until}");
        }
        rest = &rest[taken..];
    }
    out
}

fn text((_, text): &(String, String)) -> &str {
    text
}

/// A log by epochs: the offsets of its records, or `-` where an epoch has none, and how many notes it has besides its
/// opening.
fn show_log(log: &[Logged]) -> String {
    let mut epochs: BTreeMap<i32, Vec<(i64, i64)>> = BTreeMap::new();
    let mut notes: BTreeMap<i32, u64> = BTreeMap::new();
    let (mut end, mut notes_before) = (0, 0);
    for logged in log {
        let offsets = epochs.entry(logged.after.leader_epoch.0).or_default();
        *notes.entry(logged.after.leader_epoch.0).or_default() +=
            logged.after.notes.saturating_sub(notes_before);
        notes_before = logged.after.notes;
        let next = logged.after.end_offset.0;
        if next > end {
            match offsets.last_mut() {
                Some((_, last)) if *last == end => *last = next,
                Some(_) | None => offsets.push((end, next)),
            }
            end = next;
        }
    }
    let mut text = Vec::new();
    for (epoch, offsets) in epochs {
        let mut shown = String::new();
        for (from, end) in offsets {
            if end - from <= 6 {
                for offset in from..end {
                    let _ = write!(shown, " {offset}");
                }
            } else {
                let _ = write!(shown, " {from}..{}", end - 1);
            }
        }
        if shown.is_empty() {
            shown.push_str(" -");
        }
        match notes.get(&epoch).copied().unwrap_or(0) {
            0 | 1 => {}
            2 => shown.push_str(" (1 note)"),
            more => {
                let _ = write!(shown, " ({} notes)", more - 1);
            }
        }
        text.push(format!("e{epoch}:{shown}"));
    }
    text.join("   ")
}

/// A message between brokers that a trace shows, and of which partition it is; `None` for what only keeps things going.
fn shown(message: &PeerMessage) -> Option<(TopicPartition, String)> {
    let partition = match message {
        PeerMessage::Replica(replica) => match &replica.body {
            ReplicaBody::Append(append) if append.entries.is_empty() => return None,
            ReplicaBody::AppendReply(AppendReply::Matched { .. }) => return None,
            ReplicaBody::PreVote(_)
            | ReplicaBody::PreVoteReply(_)
            | ReplicaBody::Vote(_)
            | ReplicaBody::VoteReply(_)
            | ReplicaBody::Append(_)
            | ReplicaBody::AppendReply(AppendReply::Diverged { .. })
            | ReplicaBody::TransferLeadership
            | ReplicaBody::Resigned
            | ReplicaBody::EpochEntered
            | ReplicaBody::ConfirmLeadership { .. }
            | ReplicaBody::ConfirmLeadershipReply { .. }
            | ReplicaBody::FillRequest { .. }
            | ReplicaBody::FillReply { .. } => replica.partition,
        },
        PeerMessage::Release(request) => request.partition,
        PeerMessage::Released { partition, .. } => *partition,
        PeerMessage::Heartbeat(_)
        | PeerMessage::Leaders(_)
        | PeerMessage::Peers(_)
        | PeerMessage::ControllerRequest { .. }
        | PeerMessage::ControllerResponse { .. }
        | PeerMessage::ReadIndex { .. }
        | PeerMessage::ReadIndexReply(_) => return None,
    };
    Some((partition, message.to_string()))
}
