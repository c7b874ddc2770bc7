//! The judges of a run: one property a file.
//!
//! [`observed`] keeps what can be known from outside; every checker is shown each step with it and answers with a
//! sentence where its property does not hold. Checkers never loosen: what a fault excuses is decided by the
//! fault budget, before the fault.

pub mod observed;

pub mod acknowledgements;
pub mod append_times;
pub mod bounded;
pub mod clock_ticks;
pub mod cluster_view;
pub mod committed_data;
pub mod committed_metadata;
pub mod copies;
pub mod directory_names;
pub mod durable_words;
pub mod gone_leaders;
pub mod handover;
pub mod hearing;
pub mod images;
pub mod high_watermark;
pub mod holes;
pub mod leader_completeness;
pub mod log_matching;
pub mod monotonic;
pub mod namesakes;
pub mod orders;
pub mod placement;
pub mod producer_state;
pub mod single_leader;
pub mod suspects;
pub mod suspicion;
pub mod voters;
pub mod voters_of_log;
pub mod votes;

use std::fmt;

use varve_core::effect::RequestId;
use varve_core::ids::{Offset, PartitionIndex, Timestamp, TopicPartition, Voter};
use varve_core::input::Input;
use varve_core::peer::PeerIdentity;
use varve_core::store::Recovered;
use varve_core::wire::fetch::PartitionData;
use varve_core::wire::{Request, Response};

pub use observed::{Fact, Interruption, Logged, Observed, Step};

/// A property does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The checker's name.
    pub checker: &'static str,
    /// What happened, in words.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.checker, self.what)
    }
}

/// One property.
pub trait Checker: fmt::Debug {
    /// Its name, as it stands in a violation.
    fn name(&self) -> &'static str;

    /// Hears that a request has reached a node, whose wall clock shows this. A paused process takes it in later.
    fn on_arrival(&mut self, _node: u8, _request: RequestId, _wall: Timestamp) {}

    /// Hears that a node's wall clock jumps.
    fn on_clock_jump(&mut self, _node: u8, _from: Timestamp, _to: Timestamp) {}

    /// Hears what a broker is about to be told.
    fn on_input(&mut self, _node: u8, _input: &Input) {}

    /// Looks at a step.
    ///
    /// # Errors
    /// What does not hold, in words.
    fn on_step(&mut self, seen: &Observed, step: &Step<'_>) -> Result<(), String>;

    /// Hears that a node starts on a directory.
    ///
    /// # Errors
    /// What does not hold of what it recovered, in words.
    fn on_start(&mut self, _seen: &Observed, _recovered: &Recovered) -> Result<(), String> {
        Ok(())
    }
}

/// All properties that are judged after every step.
#[derive(Debug)]
pub struct Checkers {
    /// What they share.
    pub seen: Observed,
    checkers: Vec<Box<dyn Checker>>,
}

impl Default for Checkers {
    fn default() -> Self {
        Self {
            seen: Observed::default(),
            checkers: vec![
                Box::new(orders::OrdersFit),
                Box::new(single_leader::SingleLeaderPerEpoch::default()),
                Box::new(votes::VotesNeverChange::default()),
                Box::new(durable_words::WordsAreDurable),
                Box::new(log_matching::LogsMatch::default()),
                Box::new(committed_data::ConsistentCommittedData),
                Box::new(high_watermark::MajorityReachedHighWatermark::default()),
                Box::new(leader_completeness::LeaderHasAllCommitted),
                Box::new(monotonic::NothingGoesBack::default()),
                Box::new(voters::VotersChangeOneByOne::default()),
                Box::new(voters_of_log::VotersAreOfTheLog::default()),
                Box::new(copies::CountingCopiesAreKept::default()),
                Box::new(hearing::LeadersHearAMajority::default()),
                Box::new(gone_leaders::GoneLeadersAreGone::default()),
                Box::new(handover::SuccessorsHaveEverything::default()),
                Box::new(suspects::SuspectsNeverLead),
                Box::new(suspicion::SuspicionEndsWhenCaughtUp::default()),
                Box::new(directory_names::WipedDirectoriesAreSilent),
                Box::new(committed_metadata::MetadataAreCommitted::default()),
                Box::new(placement::FencedBrokersAreGivenNothing::default()),
                Box::new(namesakes::NamesakesAreNotRegistered::default()),
                Box::new(acknowledgements::AcknowledgedByPolicy::default()),
                Box::new(append_times::StampsLieWithinTheirRequest::default()),
                Box::new(bounded::WhatWaitsIsBounded::default()),
                Box::new(holes::HolesAreNotServed::default()),
                Box::new(producer_state::ProducerStateFollowsLog::default()),
                Box::new(clock_ticks::ClockTicksAreApart::default()),
                Box::new(images::ImagesAgree::default()),
                Box::new(cluster_view::ClusterViewNeverGoesBack::default()),
            ],
        }
    }
}

impl Checkers {
    /// Tells every checker that a request has reached a node.
    pub fn on_arrival(&mut self, node: u8, request: RequestId, wall: Timestamp) {
        for checker in &mut self.checkers {
            checker.on_arrival(node, request, wall);
        }
    }

    /// Tells every checker that a node's wall clock jumps.
    pub fn on_clock_jump(&mut self, node: u8, from: Timestamp, to: Timestamp) {
        for checker in &mut self.checkers {
            checker.on_clock_jump(node, from, to);
        }
    }

    /// Tells every checker what a broker is about to be told.
    pub fn on_input(&mut self, node: u8, me: Voter, input: &Input) {
        self.seen.take_input(me, input);
        for checker in &mut self.checkers {
            checker.on_input(node, input);
        }
    }

    /// Shows a step to every checker.
    ///
    /// # Errors
    /// The first violation.
    pub fn on_step(&mut self, step: &Step<'_>) -> Result<(), Violation> {
        self.seen.take(step);
        for checker in &mut self.checkers {
            checker
                .on_step(&self.seen, step)
                .map_err(|what| Violation {
                    checker: checker.name(),
                    what,
                })?;
        }
        Ok(())
    }

    /// Tells every checker that a node starts.
    ///
    /// # Errors
    /// The first violation.
    pub fn on_start(
        &mut self,
        recovered: &Recovered,
        fault: Interruption,
    ) -> Result<(), Violation> {
        self.seen
            .start(recovered, fault)
            .map_err(|what| Violation {
                checker: "RecoveryFindsWhatWasOrdered",
                what: format!("n{}: {what}", recovered.broker),
            })?;
        for checker in &mut self.checkers {
            checker
                .on_start(&self.seen, recovered)
                .map_err(|what| Violation {
                    checker: checker.name(),
                    what,
                })?;
        }
        Ok(())
    }
}

/// Which broker's message the input is, and on which session, if it is one.
const fn spoken_by(input: &Input) -> Option<(PeerIdentity, u64)> {
    match input {
        Input::Peer { from, session, .. } => Some((*from, *session)),
        Input::Tick
        | Input::Request(_)
        | Input::Disconnected(_)
        | Input::LinkUp(_)
        | Input::LinkDown(_)
        | Input::DialRefused(_)
        | Input::SessionClosed { .. }
        | Input::Hello { .. }
        | Input::RejectedByPeer(_)
        | Input::Stored(_)
        | Input::StoreFailed(_)
        | Input::SpaceReturned
        | Input::QueryDone { .. }
        | Input::HolesFound { .. }
        | Input::Stop
        | Input::ClientsClosed => None,
    }
}

/// The partitions that a fetch asks for, each with the offset to read from; `None` where the input is no fetch.
fn fetched(input: &Input) -> Option<(RequestId, impl Iterator<Item = (TopicPartition, Offset)>)> {
    let Input::Request(request) = input else {
        return None;
    };
    let Request::Fetch(body) = &request.body else {
        return None;
    };
    let partitions = body.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|data| {
            let partition = TopicPartition {
                topic: topic.topic_id,
                partition: PartitionIndex(data.partition),
            };
            (partition, Offset(data.fetch_offset))
        })
    });
    Some((request.context.id, partitions))
}

/// What an answer to a fetch gives of each partition; `None` where the response is another.
fn served(response: &Response) -> Option<impl Iterator<Item = (TopicPartition, &PartitionData)>> {
    let Response::Fetch(response) = response else {
        return None;
    };
    Some(response.responses.iter().flat_map(|topic| {
        topic.partitions.iter().map(|data| {
            let partition = TopicPartition {
                topic: topic.topic_id,
                partition: PartitionIndex(data.partition_index),
            };
            (partition, data)
        })
    }))
}

/// A partition as it stands in a violation.
#[must_use]
pub fn show_partition(partition: TopicPartition) -> String {
    if partition == TopicPartition::METADATA {
        "__cluster_metadata".to_owned()
    } else {
        format!("{}-{}", partition.topic, partition.partition)
    }
}

/// A replica as it stands in a violation.
#[must_use]
pub fn show_replica(replica: Voter) -> String {
    format!("n{}", replica.broker)
}
