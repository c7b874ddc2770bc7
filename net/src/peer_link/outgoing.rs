//! The outgoing links of a node, as its driver keeps them: to the bootstrap addresses until core names the brokers, and
//! then to these.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use varve_core::ids::BrokerId;
use varve_core::peer::{PeerAddresses, PeerIdentity, PeerMessage};

use super::dial::maintain_link;
use super::{LinkBroken, LinkContext, LinkId, LinkQueue};

/// The outgoing links of a node, as its driver keeps them.
#[derive(Debug)]
pub struct PeerLinks {
    context: LinkContext,
    /// Where links run: not on the driver's thread.
    runtime: tokio::runtime::Handle,
    bootstrap: Vec<String>,
    seed: ChaCha8Rng,
    next: u64,
    /// Links to addresses whose broker is not known yet.
    to_bootstrap: Vec<Link>,
    /// Links to brokers whose addresses core has given.
    to_brokers: BTreeMap<BrokerId, Link>,
    /// The addresses that core gave last, without this node.
    addresses: PeerAddresses,
    /// Queues of the links that are up.
    pub(super) up: BTreeMap<BrokerId, (LinkId, LinkQueue)>,
}

#[derive(Debug)]
struct Link {
    id: LinkId,
    /// The address that core gave; empty for a bootstrap link.
    address: String,
    /// It was dialled as a bootstrap link, and tries no other address.
    adopted: bool,
    /// Ends the wait before its next dial.
    wake: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PeerLinks {
    /// Dials the bootstrap addresses until core names the brokers. Links run as tasks of the runtime that this is called
    /// in.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn start(context: LinkContext, bootstrap: Vec<String>, seed: u64) -> Self {
        let mut links = Self {
            context,
            runtime: tokio::runtime::Handle::current(),
            bootstrap,
            seed: ChaCha8Rng::seed_from_u64(seed),
            next: 0,
            to_bootstrap: Vec::new(),
            to_brokers: BTreeMap::new(),
            addresses: PeerAddresses::new(),
            up: BTreeMap::new(),
        };
        for address in links.bootstrap.clone() {
            let link = links.dial(None, vec![address]);
            links.to_bootstrap.push(link);
        }
        links
    }

    /// Keeps links to these brokers and, unless these are `all`, to the bootstrap addresses. Returns the brokers whose
    /// links this takes down.
    #[must_use]
    pub fn keep(&mut self, addresses: &PeerAddresses, all: bool) -> Vec<BrokerId> {
        let own = self.context.own().broker;
        self.to_brokers.retain(|broker, link| {
            addresses
                .get(broker)
                .is_some_and(|address| *address == link.address)
        });
        self.addresses = addresses.clone();
        self.addresses.remove(&own);
        self.adopt_bootstrap_links();
        if all && !self.addresses.is_empty() {
            // The other bootstrap links are not needed any more.
            self.to_bootstrap.clear();
        }
        for broker in self.addresses.keys().copied().collect::<Vec<_>>() {
            if !self.to_brokers.contains_key(&broker) {
                self.dial_broker(broker);
            }
        }
        let alive: Vec<LinkId> = self
            .to_brokers
            .values()
            .chain(&self.to_bootstrap)
            .map(|link| link.id)
            .collect();
        let cut = self.up.extract_if(.., |_, (id, _)| !alive.contains(id));
        cut.map(|(broker, _)| broker).collect()
    }

    /// A bootstrap link that is up and leads to a broker that core has named becomes its link.
    fn adopt_bootstrap_links(&mut self) {
        for mut link in std::mem::take(&mut self.to_bootstrap) {
            let reached = self
                .up
                .iter()
                .find(|(_, (id, _))| *id == link.id)
                .map(|(&id, _)| id);
            if let Some(broker) = reached
                && let Some(address) = self.addresses.get(&broker)
            {
                link.address.clone_from(address);
                link.adopted = true;
                self.to_brokers.entry(broker).or_insert(link);
            } else {
                self.to_bootstrap.push(link);
            }
        }
    }

    /// A broker is dialled at its registered address first and then at the bootstrap addresses that belong to no other
    /// broker, since its registered address may be outdated.
    fn dial_broker(&mut self, broker: BrokerId) {
        let address = &self.addresses[&broker];
        let mut candidates = vec![address.clone()];
        let known: Vec<&String> = self.addresses.values().collect();
        candidates.extend(
            self.bootstrap
                .iter()
                .filter(|other| !known.contains(other))
                .cloned(),
        );
        let mut link = self.dial(Some(broker), candidates);
        link.address.clone_from(&self.addresses[&broker]);
        self.to_brokers.insert(broker, link);
    }

    /// Begins to use a link. Returns whether it does: a second link to a broker is not used.
    #[must_use]
    pub fn link_up(&mut self, link: LinkId, identity: &PeerIdentity, queue: LinkQueue) -> bool {
        let known = self
            .to_brokers
            .values()
            .chain(&self.to_bootstrap)
            .any(|own| own.id == link);
        if !known || self.up.contains_key(&identity.broker) {
            return false;
        }
        tracing::info!(broker = identity.broker.0, "linked to a peer");
        queue.used.store(true, Ordering::Relaxed);
        self.up.insert(identity.broker, (link, queue));
        true
    }

    /// Stops using a link. Returns whether it was in use.
    #[must_use]
    pub fn link_down(&mut self, link: LinkId, broker: BrokerId) -> bool {
        if self
            .to_brokers
            .get(&broker)
            .is_some_and(|own| own.id == link && own.adopted)
        {
            self.dial_broker(broker);
        }
        self.up
            .extract_if(..=broker, |&up, (id, _)| up == broker && *id == link)
            .next()
            .is_some()
    }

    /// Breaks a link to an earlier incarnation of the peer, and dials anew. A [`Down`](super::LinkEvent::Down) that
    /// follows is ignored.
    pub fn redial(&mut self, broker: BrokerId) {
        self.up.remove(&broker);
        if self.to_brokers.remove(&broker).is_some() && self.addresses.contains_key(&broker) {
            self.dial_broker(broker);
        }
    }

    /// A broker has dialled this node, so it is up: if the link to it is down, it is dialled without waiting.
    pub fn wake(&self, broker: BrokerId) {
        if let (false, Some(link)) = (self.up.contains_key(&broker), self.to_brokers.get(&broker)) {
            link.wake.notify_one();
        }
    }

    /// Sends on a link that is up; otherwise the message is lost. A link that cannot take it breaks.
    ///
    /// # Errors
    /// [`LinkBroken`] when this breaks the link; a [`Down`](super::LinkEvent::Down) that follows is ignored.
    pub fn send(&mut self, to: BrokerId, message: PeerMessage) -> Result<(), LinkBroken> {
        let Some((_, queue)) = self.up.get(&to) else {
            return Ok(());
        };
        queue.send(message).inspect_err(|LinkBroken| {
            tracing::warn!(
                broker = to.0,
                "the link to a peer broke: it takes no more messages"
            );
            self.up.remove(&to);
        })
    }

    fn dial(&mut self, expects: Option<BrokerId>, candidates: Vec<String>) -> Link {
        self.next += 1;
        let id = LinkId(self.next);
        let jitter = ChaCha8Rng::seed_from_u64(self.seed.next_u64());
        let wake = Arc::new(Notify::new());
        let task = self.runtime.spawn(maintain_link(
            id,
            expects,
            candidates,
            self.context.clone(),
            jitter,
            Arc::clone(&wake),
        ));
        Link {
            id,
            address: String::new(),
            adopted: false,
            wake,
            task,
        }
    }
}
