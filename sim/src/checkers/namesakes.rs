//! A broker id belongs to one node at a time: whoever hears a broker from one directory registers no other directory of
//! that broker.

use std::collections::BTreeMap;

use varve_core::cluster::{BrokerRegistration, MetadataRecord, decode_batch};
use varve_core::effect::Effect;
use varve_core::ids::{BrokerId, DirectoryId, TopicPartition};
use varve_core::input::Input;
use varve_core::links::Timing;
use varve_core::log::Entry;
use varve_core::peer::PeerIdentity;
use varve_core::replica::ReplicaView;
use varve_core::store::{Order, OrderKind, Recovered};

use crate::clock::SimTime;

use super::{Checker, Observed, Step, spoken_by};

/// See the module.
#[derive(Debug, Default)]
pub struct NamesakesAreNotRegistered {
    /// By node: whom it may be listening to under the name of each broker.
    heard: BTreeMap<(u8, BrokerId), Listening>,
    /// Which start the next step of a node takes note of.
    next: Option<(u8, Contact)>,
}

/// By what a node learns of a start of another.
#[derive(Clone, Copy, Debug)]
enum Contact {
    /// A message from it, on this session.
    Message(PeerIdentity, u64),
    /// The node's own link has reached it: what an earlier start of the same directory says after that is not listened to.
    Link(PeerIdentity),
}

impl Checker for NamesakesAreNotRegistered {
    fn name(&self) -> &'static str {
        "NamesakesAreNotRegistered"
    }

    fn on_start(&mut self, _seen: &Observed, recovered: &Recovered) -> Result<(), String> {
        let broker = recovered.broker.0;
        self.heard.retain(|(node, _), _| i32::from(*node) != broker);
        Ok(())
    }

    fn on_input(&mut self, node: u8, input: &Input) {
        let message = spoken_by(input).map(|(from, session)| Contact::Message(from, session));
        let contact = match input {
            Input::LinkUp(peer) => Some(Contact::Link(*peer)),
            _other => message,
        };
        self.next = contact.map(|contact| (node, contact));
    }

    fn on_step(&mut self, _seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for registration in registered(step) {
            let heard = self.heard.get(&(step.node, registration.broker));
            if heard.is_some_and(|heard| heard.turns_away(registration.directory, step.at)) {
                return Err(format!(
                    "n{} registers another directory of n{}, which it has just heard",
                    step.node, registration.broker
                ));
            }
        }
        match self.next.take() {
            Some((node, Contact::Message(from, session))) => {
                let heard = self.heard.entry((node, from.broker)).or_default();
                heard.take(from, session, step.at);
            }
            Some((node, Contact::Link(peer))) => {
                let heard = self.heard.entry((node, peer.broker)).or_default();
                heard.reach(peer, step.at);
            }
            None => {}
        }
        Ok(())
    }
}

/// Those starts of a broker, on which session and when last heard, of which a node listens to one. There are several
/// where one spoke when the other's silence may or may not have been long enough, which the node's clock alone tells.
#[derive(Debug, Default)]
struct Listening(Vec<(PeerIdentity, u64, SimTime)>);

impl Listening {
    /// Whether a directory that was last heard at this time counts as heard, whatever clock is looked at.
    fn is_heard(last: SimTime, now: SimTime) -> bool {
        now.since(last) < Timing::default().election_timeout * 4 / 5
    }

    /// Whether it counts as silent, whatever clock is looked at.
    fn is_silent(last: SimTime, now: SimTime) -> bool {
        now.since(last) >= Timing::default().election_timeout * 6 / 5
    }

    /// Whether the node listens to another directory for certain.
    fn turns_away(&self, directory: DirectoryId, now: SimTime) -> bool {
        let other = |(known, _, last): &(PeerIdentity, u64, SimTime)| {
            known.directory != directory && Self::is_heard(*last, now)
        };
        !self.0.is_empty() && self.0.iter().all(other)
    }

    /// A start speaks, and is listened to unless one that the node listens to keeps it out.
    fn take(&mut self, from: PeerIdentity, session: u64, now: SimTime) {
        let lets_in = |(known, latest, last): &(PeerIdentity, u64, SimTime)| {
            let same = known.directory == from.directory;
            let later = *latest <= session && !(same && from.incarnation < known.incarnation);
            later && (same || !Self::is_heard(*last, now))
        };
        if !self.0.is_empty() && !self.0.iter().any(lets_in) {
            return;
        }
        self.0.retain(|entry| {
            let (known, _, last) = entry;
            known.directory != from.directory && !(lets_in(entry) && Self::is_silent(*last, now))
        });
        self.0.push((from, session, now));
    }

    /// A start is reached, and is the latest of its directory: also of another one, where what the node listens to is silent.
    fn reach(&mut self, peer: PeerIdentity, now: SimTime) {
        let mut reached = Vec::new();
        self.0.retain_mut(|(known, session, last)| {
            if known.directory == peer.directory {
                known.incarnation = known.incarnation.max(peer.incarnation);
                return true;
            }
            if !Self::is_heard(*last, now) {
                reached.push((peer, *session, *last));
            }
            !Self::is_silent(*last, now)
        });
        let is_known = |known: &PeerIdentity| known.directory == peer.directory;
        if !self.0.iter().any(|(known, ..)| is_known(known)) {
            self.0.extend(reached.pop());
        }
    }
}

/// Whom this step registers, where it is the controller's.
fn registered(step: &Step<'_>) -> Vec<BrokerRegistration> {
    let leads = |(id, view): &(TopicPartition, ReplicaView)| {
        *id == TopicPartition::METADATA && view.role == "leader"
    };
    let mut registered = Vec::new();
    for effect in step.effects.iter().filter(|_| step.views.iter().any(leads)) {
        let Effect::Store(Order {
            replica: TopicPartition::METADATA,
            kind: OrderKind::Append { entries, .. },
            ..
        }) = effect
        else {
            continue;
        };
        for entry in entries {
            if let Entry::Batch(batch) = entry {
                let records = decode_batch(batch).expect("the controller writes what can be read");
                registered.extend(records.into_iter().filter_map(|record| match record {
                    MetadataRecord::RegisterBroker { registration } => Some(registration),
                    _ => None,
                }));
            }
        }
    }
    registered
}

#[cfg(test)]
mod tests {
    use varve_core::ids::Incarnation;

    use super::*;

    fn start_on(directory: u128) -> PeerIdentity {
        PeerIdentity {
            cluster: None,
            broker: BrokerId(1),
            directory: DirectoryId(directory),
            incarnation: Incarnation(1),
        }
    }

    fn at(millis: u64) -> SimTime {
        SimTime(millis * 1000)
    }

    #[test]
    fn what_comes_late_from_a_start_that_is_over_counts_for_nothing() {
        let [first, second] = [1, 2].map(start_on);
        let restarted = PeerIdentity {
            incarnation: Incarnation(2),
            ..first
        };
        let mut heard = Listening::default();
        heard.take(first, 1, at(0));
        heard.reach(restarted, at(400));
        heard.take(first, 1, at(1400));
        assert!(
            !heard.turns_away(second.directory, at(1450)),
            "the node has reached a later start of it"
        );
        heard.reach(second, at(1500));
        heard.take(first, 1, at(1600));
        assert!(
            heard.turns_away(second.directory, at(1650)),
            "the second is silent as well, so a start of the first is listened to"
        );
    }

    #[test]
    fn of_two_that_may_be_listened_to_neither_turns_a_third_away_for_certain() {
        let [first, second, third] = [1, 2, 3].map(start_on);
        let mut heard = Listening::default();
        heard.take(first, 1, at(0));
        heard.take(second, 2, at(700));
        assert!(
            heard.turns_away(second.directory, at(750)),
            "the first is heard"
        );
        heard.take(second, 2, at(900));
        assert!(
            !heard.turns_away(third.directory, at(950)),
            "or only the first was"
        );
        heard.take(second, 2, at(1300));
        assert!(heard.turns_away(third.directory, at(1350)), "the second is");
        heard.take(first, 1, at(1400));
        assert!(
            heard.turns_away(first.directory, at(1450)),
            "its session is over"
        );
    }
}
