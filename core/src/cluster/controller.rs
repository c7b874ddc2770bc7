//! The controller's decisions: the records for a request, and the answer once they are committed.
//!
//! Every plan is made on the speculative image, with the whole metadata log applied, *its uncommitted tail included*: a
//! decision builds on earlier decisions, and is undone with them when the log is truncated. A plan has records to
//! append, all of them in one batch, and an answer that must not be sent before they are committed. A plan without
//! records changes nothing; its answer must still wait until the image that it was read from is committed.
//!
//! Errors are per topic, with the codes and messages of Kafka's controller.
//!
//! Not decided here: the leader of a partition, and the order in which voters change; the partition's quorum decides
//! both.

mod reassignments;
mod topics;

use std::collections::BTreeMap;
use std::fmt;

use super::config::InvalidConfig;
use super::image::{BrokerImage, BrokerState, ClusterImage};
use super::record::MetadataRecord;
use super::{BrokerRegistration, VoterReport};
use crate::ids::{BrokerId, Incarnation, ProducerId, TopicPartition, Voter};
use crate::peer::Decision;
use crate::wire::ErrorCode;

pub use topics::{auto_create_request, plan_client};

/// The size of a block of producer ids.
const PRODUCER_ID_BLOCK: i64 = 1000;

/// The plan for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// To be appended in one batch; nothing to append where there are none.
    pub records: Vec<MetadataRecord>,
    /// To be sent when they are committed, or lost with them.
    pub decision: Decision,
}

impl Planned {
    /// A plan that changes nothing and has this answer.
    #[must_use]
    pub const fn nothing(decision: Decision) -> Self {
        Self {
            records: Vec::new(),
            decision,
        }
    }

    fn done(records: impl IntoIterator<Item = MetadataRecord>) -> Self {
        Self {
            records: records.into_iter().collect(),
            decision: Decision::Done,
        }
    }
}

/// A refusal: Kafka's error code and message.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PlanError {
    code: ErrorCode,
    message: String,
}

impl PlanError {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl From<InvalidConfig> for PlanError {
    fn from(error: InvalidConfig) -> Self {
        Self::new(ErrorCode::InvalidConfig, error.to_string())
    }
}

/// A broker has started and registers. It is fenced until [`plan_liveness`] unfences it.
///
/// A different directory than before means that the earlier one is lost: in every target that has this broker, the new
/// directory replaces it. An earlier incarnation on the same directory is refused, and so is a directory of another
/// broker.
#[must_use]
pub fn plan_registration(image: &ClusterImage, registration: &BrokerRegistration) -> Planned {
    match register(image, registration) {
        Ok(records) => Planned::done(records),
        Err(refusal) => Planned::nothing(Decision::Refused(refusal.to_string())),
    }
}

fn register(
    image: &ClusterImage,
    registration: &BrokerRegistration,
) -> Result<Vec<MetadataRecord>, PlanError> {
    let id = registration.broker;
    if let Some(other) = image.brokers().find(|other| {
        other.registration.directory == registration.directory && other.registration.broker != id
    }) {
        return Err(PlanError::new(
            ErrorCode::InvalidRegistration,
            format!(
                "Directory {} belongs to broker {}; it cannot be that of broker {id} too.",
                registration.directory, other.registration.broker
            ),
        ));
    }
    if let Some(known) = image.broker(id) {
        let known = &known.registration;
        if known == registration {
            return Ok(Vec::new());
        }
        if known.directory == registration.directory && known.incarnation > registration.incarnation
        {
            return Err(PlanError::new(
                ErrorCode::StaleBrokerEpoch,
                format!("Broker {id} has been started again since."),
            ));
        }
    }
    let mut records = vec![MetadataRecord::RegisterBroker {
        registration: registration.clone(),
    }];
    let voter = Voter {
        broker: id,
        directory: registration.directory,
    };
    for (partition, target) in targets(image) {
        if target.iter().any(|it| it.broker == id && *it != voter) {
            let target = target
                .iter()
                .map(|&it| if it.broker == id { voter } else { it })
                .collect();
            records.push(MetadataRecord::PartitionTarget { partition, target });
        }
    }
    Ok(records)
}

/// Every partition with its target, that of the metadata log first.
fn targets(image: &ClusterImage) -> impl Iterator<Item = (TopicPartition, &[Voter])> {
    let metadata = (
        TopicPartition::METADATA,
        image.metadata_quorum().target.as_slice(),
    );
    std::iter::once(metadata).chain(image.topics().flat_map(|topic| {
        topic.partitions().map(|(partition, it)| {
            let name = TopicPartition {
                topic: topic.id,
                partition,
            };
            (name, it.target.as_slice())
        })
    }))
}

/// Plans the fencing of a broker. `can_unfence` says that its registered incarnation is alive and has caught up with
/// the metadata, `must_fence` that its session has timed out, or that its directory is offline. A stopping broker stays
/// so until its next incarnation, or until it is fenced.
#[must_use]
pub fn plan_liveness(
    broker: &BrokerImage,
    can_unfence: bool,
    must_fence: bool,
) -> Vec<MetadataRecord> {
    let BrokerRegistration {
        broker: id,
        incarnation,
        ..
    } = broker.registration;
    match broker.state {
        BrokerState::Fenced if can_unfence && !must_fence => vec![MetadataRecord::UnfenceBroker {
            broker: id,
            incarnation,
        }],
        BrokerState::Active | BrokerState::Stopping if must_fence => {
            vec![MetadataRecord::FenceBroker {
                broker: id,
                incarnation,
            }]
        }
        BrokerState::Fenced | BrokerState::Active | BrokerState::Stopping => Vec::new(),
    }
}

/// A broker begins a controlled shutdown: it is given no new replicas, and no leadership is transferred back to it.
#[must_use]
pub fn plan_stop(image: &ClusterImage, broker: BrokerId, incarnation: Incarnation) -> Planned {
    let known = image.broker(broker).filter(|known| {
        known.registration.incarnation == incarnation && known.state != BrokerState::Stopping
    });
    Planned::done(known.map(|_| MetadataRecord::StopBroker {
        broker,
        incarnation,
    }))
}

/// Leaders report the committed voters of their partitions: reports that are newer, and of existing partitions, are
/// recorded.
#[must_use]
pub fn plan_voter_reports(image: &ClusterImage, reports: &[VoterReport]) -> Planned {
    let mut newest: BTreeMap<TopicPartition, &VoterReport> = BTreeMap::new();
    for report in reports {
        let known = newest.get(&report.partition);
        let is_newest = known.is_none_or(|known| {
            (report.leader_epoch, report.notes) > (known.leader_epoch, known.notes)
        });
        let supersedes = image
            .partition(report.partition)
            .is_some_and(|partition| partition.supersedes(report));
        if is_newest && supersedes {
            newest.insert(report.partition, report);
        }
    }
    Planned::done(
        newest
            .into_values()
            .map(|report| MetadataRecord::PartitionVoters {
                report: report.clone(),
            }),
    )
}

/// The target of the metadata log, if it must change. `leader` is the controller, `voters` are the committed voters,
/// and `voters_max` is their greatest number.
///
/// A voter whose directory is lost is replaced by its broker's new one. The quorum grows with the active brokers, to an
/// odd number, since an even one tolerates no more failures than the odd one below it, and has more members that can
/// fail. A voter that is merely down is kept: its return costs less than a replacement, and it may have entries that no
/// other voter has. So is one that has not registered yet: the cluster was formed with it.
#[must_use]
pub fn plan_metadata_quorum(
    image: &ClusterImage,
    leader: Voter,
    voters: &[Voter],
    voters_max: usize,
) -> Vec<MetadataRecord> {
    let quorum = image.metadata_quorum();
    let heading_for = if quorum.target.is_empty() {
        voters
    } else {
        quorum.target.as_slice()
    };
    let mut target: Vec<Voter> = heading_for
        .iter()
        .map(|&voter| match image.broker(voter.broker) {
            // The leader's directory exists, even if the image does not have it yet.
            Some(broker) if voter != leader => broker.voter(),
            Some(_) | None => voter,
        })
        .collect();
    let spare: Vec<Voter> = image
        .active_brokers()
        .map(BrokerImage::voter)
        .filter(|voter| target.iter().all(|it| it.broker != voter.broker))
        .collect();
    let reach = voters_max.min(target.len() + spare.len());
    let odd = reach - usize::from(reach.is_multiple_of(2) && reach > 0);
    let missing = odd.saturating_sub(target.len());
    target.extend(spare.into_iter().take(missing));
    if target.is_empty() || target == heading_for {
        return Vec::new();
    }
    vec![MetadataRecord::PartitionTarget {
        partition: TopicPartition::METADATA,
        target,
    }]
}

/// A new block of producer ids.
#[must_use]
pub fn plan_producer_ids(image: &ClusterImage) -> Planned {
    let first = image.next_producer_id();
    match first.0.checked_add(PRODUCER_ID_BLOCK) {
        None => Planned::nothing(Decision::Refused(
            "All producer ids are used up.".to_owned(),
        )),
        Some(next) => Planned {
            records: vec![MetadataRecord::ProducerIds {
                next: ProducerId(next),
            }],
            decision: Decision::ProducerIds(first, ProducerId(next)),
        },
    }
}

#[cfg(test)]
mod tests;
