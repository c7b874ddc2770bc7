//! What the controller decides: which records a request becomes, and what is answered once they are committed.
//!
//! Every plan is made on the image that the metadata log has when everything in it is applied, *its uncommitted
//! tail included*: a decision builds on what was decided before it, and is undone with it when the log is
//! truncated. It is records to append, all of them in one batch, and an answer that must not leave before they are
//! committed. Where there are no records nothing has to change; the answer must all the same wait until what it
//! was read from is committed.
//!
//! Errors are per topic, with Kafka's codes and in the words of its controller.
//!
//! Not decided here: who leads a partition, and the order in which voters change; both are the partition's own.

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

/// Producer ids that are handed out at once.
const PRODUCER_ID_BLOCK: i64 = 1000;

/// What a request comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// To be appended in one batch; nothing to append where there are none.
    pub records: Vec<MetadataRecord>,
    /// To be sent when they are committed, or lost with them.
    pub decision: Decision,
}

impl Planned {
    /// Nothing changes, and this is the answer.
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

/// Why something is refused: Kafka's code and words.
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

/// A broker has started and registers. It is fenced until [`plan_liveness`] finds it fit.
///
/// Another directory than before means that the earlier one is lost: every partition that wants a replica of
/// this broker wants it in the new directory. An earlier start of the same directory is refused, and so is a
/// directory that another broker has.
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

/// What is to be recorded of a broker's liveness. `can_unfence` says that its registered start is heard and has caught up
/// with the metadata, `must_fence` that nothing has been heard of it for the session timeout, or that its directory is
/// offline. A broker that is stopping stays so until its next start, or until it is gone.
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

/// A broker says that it is about to stop: it is given no new replicas, and nobody hands leadership to it.
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

/// Leaders report the committed voters of their partitions: what is news, and of partitions that exist, is
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

/// The voters that the metadata log is to have, if others than it is heading for. `leader` is the controller,
/// `voters` are the committed voters, and `voters_max` is how many there may be.
///
/// A voter whose directory is lost is replaced by its broker's new one. The quorum grows as active brokers can be
/// had, to an odd number, since an even one stops at the same number of failures as the one below it, and is
/// hit by more. A voter that is merely down is kept: to come back is cheaper than to be replaced, and it may
/// hold what nobody else does. So is one that has not registered yet: it was there when the cluster was formed.
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
            // The leader's directory is there, whatever the image does not say yet.
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

/// A block of producer ids that nobody was given before.
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
