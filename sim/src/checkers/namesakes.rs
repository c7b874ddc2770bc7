//! A broker id belongs to one node at a time: whoever hears a broker from one directory registers no other directory of
//! that broker.

use std::collections::BTreeMap;
use std::time::Duration;

use varve_core::cluster::{BrokerRegistration, MetadataRecord, decode_batch};
use varve_core::effect::Effect;
use varve_core::ids::{BrokerId, TopicPartition};
use varve_core::input::Input;
use varve_core::links::Timing;
use varve_core::log::Entry;
use varve_core::peer::PeerIdentity;
use varve_core::replica::ReplicaView;
use varve_core::store::{Order, OrderKind, Recovered};

use crate::clock::SimTime;

use super::{Checker, Observed, Step, spoken_by};

/// See the module.
#[derive(Debug)]
pub struct NamesakesAreNotRegistered {
    /// How long a broker counts as heard, whatever clock is looked at.
    patience: Duration,
    /// By node: from which start it has heard each broker, on which session, and when last.
    heard: BTreeMap<(u8, BrokerId), (PeerIdentity, u64, SimTime)>,
    /// Whose message the next step of a node takes in, and on which session.
    next: Option<(u8, PeerIdentity, u64)>,
}

impl Default for NamesakesAreNotRegistered {
    fn default() -> Self {
        Self {
            patience: Timing::default().election_timeout * 4 / 5,
            heard: BTreeMap::new(),
            next: None,
        }
    }
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
        self.next = spoken_by(input).map(|(from, session)| (node, from, session));
    }

    fn on_step(&mut self, _seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        let recently = |at: SimTime| step.at.since(at) < self.patience;
        for registration in registered(step) {
            let heard = self.heard.get(&(step.node, registration.broker));
            if heard.is_some_and(|(known, _, at)| {
                known.directory != registration.directory && recently(*at)
            }) {
                return Err(format!(
                    "n{} registers another directory of n{}, which it has just heard",
                    step.node, registration.broker
                ));
            }
        }
        if let Some((node, from, session)) = self.next.take() {
            let known = self.heard.get(&(node, from.broker));
            let counts = known.is_none_or(|(known, latest, at)| {
                if known.directory == from.directory {
                    known.incarnation <= from.incarnation && *latest <= session
                } else {
                    // While one is heard the other is not listened to.
                    !recently(*at) && *latest <= session
                }
            });
            if counts {
                let heard = (from, session, step.at);
                self.heard.insert((node, from.broker), heard);
            }
        }
        Ok(())
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
