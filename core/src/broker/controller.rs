//! The controller: leads `__cluster_metadata` and decides for the cluster.
//!
//! `cluster` plans every decision as a pure function of the image. This module hands it the speculative image, appends
//! the planned records, and answers when they are committed. A deposed controller answers `NotController` to all
//! waiting requests, and the brokers retry at the next controller.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cluster::{
    self, BrokerImage, BrokerRegistration, BrokerState, ClusterImage, MetadataRecord, Planned,
    encode_records, visit_topics,
};
use crate::effect::{Administration, Effects, NoticeKind};
use crate::hooks::Mutant;
use crate::ids::{BrokerId, Offset, TopicPartition, Voter};
use crate::peer::{
    ControllerRequest, ControllerResponse, Decision, ForwardedRequest, PeerIdentity,
};
use crate::replica::Replica;

use super::{Broker, HOUSEKEEPING_INTERVAL, Timer};

/// The id of relayed requests: nobody awaits the response, since their effect shows in the sender's image.
const RELAYED: u64 = 0;

/// A decision that is not committed, and the broker that awaits it.
#[derive(Debug)]
pub(super) struct UncommittedDecision {
    to: BrokerId,
    id: u64,
    decision: Decision,
    /// What it changes for a client; `None` where it changes nothing.
    administration: Option<Administration>,
}

impl Broker {
    /// The metadata replica was touched: becomes controller or resigns, and answers committed decisions.
    pub(super) fn review_controller(&mut self, fx: &mut Effects) {
        let Some(replica) = self.replicas.get(&TopicPartition::METADATA) else {
            return;
        };
        let end = replica.log_end_offset();
        let review = self.metadata.log.review_leadership(replica);
        for UncommittedDecision { to, id, .. } in review.abandoned {
            self.answer_not_controller(to, id, fx);
        }
        if review.begins {
            self.reconcile_cluster(fx);
        }
        self.unfence_returned_brokers(fx);
        self.answer_early_read_indexes(fx);
        let committed = if fx.mutant(Mutant::AnswersUncommitted) {
            end
        } else {
            self.metadata.applied()
        };
        while let Some((metadata_end, done)) = self.metadata.log.pop_committed(committed) {
            if let Some(administration) = done.administration {
                let what = NoticeKind::Administered(administration);
                fx.notice(Some(TopicPartition::METADATA), what);
            }
            let answer = ControllerResponse::Decided {
                decision: done.decision,
                metadata_end,
            };
            self.answer(done.to, done.id, answer, fx);
        }
    }

    /// Refers the sender to the controller, where this broker knows another one.
    fn answer_not_controller(&mut self, to: BrokerId, id: u64, fx: &mut Effects) {
        let controller = self.controller_id().filter(|&id| id != self.me.broker);
        self.answer(to, id, ControllerResponse::NotController(controller), fx);
    }

    pub(super) fn on_controller_request(
        &mut self,
        from: PeerIdentity,
        id: u64,
        controller_request: ControllerRequest,
        fx: &mut Effects,
    ) {
        let Some(image) = self.metadata.log.speculative().map(Arc::clone) else {
            // A joining node may know no other broker than this one: its registration is relayed.
            let relay = matches!(&controller_request, ControllerRequest::Register(registration) if registration.broker == from.broker)
                && from.broker != self.me.broker
                && self
                    .controller_id()
                    .is_some_and(|id| id != self.me.broker && id != from.broker);
            if relay {
                self.send_to_controller(RELAYED, controller_request, fx);
            }
            self.answer_not_controller(from.broker, id, fx);
            return;
        };
        let mut administration = None;
        let planned = match controller_request {
            ControllerRequest::Register(registration) => {
                match self.duplicate_registration(&registration) {
                    Some(words) => Planned::nothing(Decision::Refused(words)),
                    None => cluster::plan_registration(&image, &registration),
                }
            }
            ControllerRequest::Stopping => {
                cluster::plan_stop(&image, from.broker, from.incarnation)
            }
            ControllerRequest::AllocateProducerIds => cluster::plan_producer_ids(&image),
            ControllerRequest::ReportVoters(reports) => {
                cluster::plan_voter_reports(&image, &reports)
            }
            ControllerRequest::Client(forwarded) => {
                let mut planned = self.plan_forwarded(&image, &forwarded, fx);
                administration = administration_for(&mut planned, *forwarded);
                planned
            }
        };
        let uncommitted = UncommittedDecision {
            to: from.broker,
            id,
            decision: planned.decision,
            administration,
        };
        self.append_and_answer(&planned.records, uncommitted, fx);
    }

    fn plan_forwarded(
        &mut self,
        image: &Arc<ClusterImage>,
        forwarded: &ForwardedRequest,
        fx: &Effects,
    ) -> Planned {
        let Some(request) = &forwarded.request else {
            return Planned::nothing(Decision::Unsupported);
        };
        let seed = self.draw();
        let unfenced = fx.mutant(Mutant::PlacesOnFenced).then(|| unfenced(image));
        let image = unfenced.as_ref().unwrap_or(image);
        cluster::plan_client(
            image,
            &self.setup.kafka,
            forwarded.api_version,
            request,
            seed,
        )
    }

    /// Why an incarnation cannot be registered: the same broker is alive on another directory. Two nodes are configured
    /// with one id, and the earlier one keeps it.
    fn duplicate_registration(&self, registration: &BrokerRegistration) -> Option<String> {
        let asks = PeerIdentity {
            cluster: self.me.cluster,
            broker: registration.broker,
            directory: registration.directory,
            incarnation: registration.incarnation,
        };
        self.duplicate_of(&asks)
    }

    /// Appends planned records; the answer waits until they are committed.
    fn append_and_answer(
        &mut self,
        records: &[MetadataRecord],
        uncommitted: UncommittedDecision,
        fx: &mut Effects,
    ) {
        let Some(end_offset) = self.append_metadata(records, fx) else {
            let answer = ControllerResponse::NotController(None);
            self.answer(uncommitted.to, uncommitted.id, answer, fx);
            return;
        };
        self.metadata.log.wait(end_offset, uncommitted);
        self.touched.insert(TopicPartition::METADATA);
    }

    /// Appends records to the metadata log. Returns the offset behind them, or the log's end where there are none;
    /// `None` where this broker cannot append.
    fn append_metadata(&mut self, records: &[MetadataRecord], fx: &mut Effects) -> Option<Offset> {
        if records.is_empty() {
            return self
                .replica(TopicPartition::METADATA)
                .map(|replica| replica.log_end_offset());
        }
        if self.failure.is_some() {
            return None;
        }
        let batch = encode_records(records, self.wall);
        let appended = self.with_replica(TopicPartition::METADATA, fx, |replica, cx| {
            replica.produce(batch, None, None, cx).ok()
        })?;
        let log = &mut self.metadata.log;
        log.appended(records);
        let image = log.speculative()?;
        if fx.mutant(Mutant::SnapshotsUncommitted) {
            let decided = image.encode().into();
            self.with_replica(TopicPartition::METADATA, fx, |replica, cx| {
                replica.save_snapshot(appended.end_offset, decided, cx)
            });
        }
        Some(appended.end_offset)
    }

    /// The periodic work of a broker.
    pub(super) fn do_housekeeping(&mut self, fx: &mut Effects) {
        self.arm(Timer::Housekeeping, Some(self.now + HOUSEKEEPING_INTERVAL));
        if self.stopping {
            self.transfer_leaderships(fx);
            return;
        }
        self.follow_metadata(fx);
        self.register(fx);
        self.retry_voter_reports(fx);
        self.request_releases(fx);
        self.restore_preferred_leaders(fx);
        self.reconcile_cluster(fx);
    }

    /// As controller: fences brokers whose session has timed out or whose directory is offline, unfences those that
    /// have caught up, and keeps the metadata quorum at its size.
    fn reconcile_cluster(&mut self, fx: &mut Effects) {
        let Some(image) = self.metadata.log.speculative().map(Arc::clone) else {
            return;
        };
        let mut records = Vec::new();
        for broker in image.brokers() {
            let last_contact = self
                .links
                .last_contact(broker.voter(), broker.registration.incarnation);
            let silent = broker.registration.broker != self.me.broker
                && last_contact.is_none_or(|at| self.now.since(at) >= self.setup.session_timeout);
            let must_fence = silent || self.links.is_offline(broker.voter());
            records.extend(cluster::plan_liveness(
                broker,
                self.can_be_unfenced(broker),
                must_fence,
            ));
        }
        self.append_metadata(&records, fx);
        let Some(image) = self.metadata.log.speculative() else {
            return;
        };
        let records = cluster::plan_metadata_quorum(
            image,
            self.voter(),
            self.replica(TopicPartition::METADATA)
                .map_or(&[], |replica| replica.voters()),
            self.setup.metadata_voters_max,
        );
        self.append_metadata(&records, fx);
    }

    /// Whether a broker is alive and has caught up with the metadata, so it can be unfenced.
    fn can_be_unfenced(&self, broker: &BrokerImage) -> bool {
        let registration = &broker.registration;
        if registration.broker == self.me.broker {
            return *registration == self.setup.registration;
        }
        // A later incarnation registers itself before it is unfenced.
        let is_latest = self
            .links
            .is_latest_incarnation(broker.voter(), registration.incarnation);
        let metadata = self.replica(TopicPartition::METADATA);
        is_latest
            && !self.links.is_offline(broker.voter())
            && self
                .links
                .is_alive(registration.broker, self.now, &self.setup.timing)
            && metadata.is_some_and(|replica| replica.is_current(broker.voter(), &self.links))
    }

    /// As controller: unfences a broker that has come back, as soon as it has caught up.
    fn unfence_returned_brokers(&mut self, fx: &mut Effects) {
        let returns = |broker: &BrokerImage| {
            broker.state == BrokerState::Fenced && self.can_be_unfenced(broker)
        };
        let metadata = self.replica(TopicPartition::METADATA);
        if self.failure.is_some() || !metadata.is_some_and(Replica::takes_records) {
            return; // what cannot be written now is looked at again with the next housekeeping
        }
        let image = self.metadata.log.speculative();
        if image.is_some_and(|image| image.brokers().any(returns)) {
            self.reconcile_cluster(fx);
        }
    }

    /// Transfers leaderships back to their preferred leaders (Kafka's preferred leader election).
    fn restore_preferred_leaders(&mut self, fx: &mut Effects) {
        if !self.configs().auto_leader_rebalance() {
            return;
        }
        let leads = |partition: &TopicPartition| {
            let replica = self.replicas.get(partition);
            replica.is_some_and(|replica| replica.is_leader())
        };
        self.metadata.imbalanced.retain(leads);
        let returns: Vec<_> = self
            .metadata
            .imbalanced
            .iter()
            .filter_map(|&id| Some((id, self.eligible_preferred_leader(id)?)))
            .collect();
        for (partition, preferred) in returns {
            self.with_replica(partition, fx, |replica, cx| {
                replica.transfer_to(preferred, cx)
            });
        }
    }

    /// The preferred leader of a partition, if it is in sync, its broker is unfenced, and its session has lasted for
    /// the session timeout.
    fn eligible_preferred_leader(&self, partition: TopicPartition) -> Option<Voter> {
        let image = self.metadata.image();
        let preferred = *image.partition(partition)?.target.first()?;
        let active = image
            .broker(preferred.broker)
            .is_some_and(|broker| broker.state == BrokerState::Active);
        let settled = self
            .links
            .get(preferred.broker)
            .is_some_and(|link| self.now.since(link.session_since) >= self.setup.session_timeout);
        let current = self
            .replica(partition)
            .is_some_and(|replica| replica.is_current(preferred, &self.links));
        (preferred != self.voter() && active && settled && current).then_some(preferred)
    }
}

/// What a client's request changes; `None` where it changes nothing.
fn administration_for(
    planned: &mut Planned,
    forwarded: ForwardedRequest,
) -> Option<Administration> {
    let Decision::Client(answer) = &mut planned.decision else {
        return None;
    };
    let response = answer.response.as_mut()?;
    if planned.records.is_empty() {
        return None;
    }
    let mut topics = BTreeSet::new();
    visit_topics(response, |name, error, _| {
        topics.extend(
            name.filter(|_| error.is_none())
                .map(|name| name.as_str().to_owned()),
        );
    });
    Some(Administration {
        api_key: response.api_key(),
        topics: topics.into_iter().collect(),
        client_id: forwarded.client_id,
        client_host: forwarded.client_host.0,
    })
}

/// For a mutant: the image with every broker unfenced.
fn unfenced(image: &ClusterImage) -> Arc<ClusterImage> {
    let mut unfenced = image.clone();
    for broker in image.brokers() {
        unfenced.apply(&MetadataRecord::UnfenceBroker {
            broker: broker.registration.broker,
            incarnation: broker.registration.incarnation,
        });
    }
    Arc::new(unfenced)
}
