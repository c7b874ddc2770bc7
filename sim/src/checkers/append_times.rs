//! A LogAppendTime stamp lies between the arrival of its request and the answer, by the wall clock of the node that gave
//! it, and the answer tells the stamp that stands in the log.

use std::collections::BTreeMap;

use varve_core::effect::{Effect, RequestId};
use varve_core::ids::{Offset, PartitionIndex, Timestamp, TopicPartition};
use varve_core::input::Input;
use varve_core::log::Entry;
use varve_core::record::{BatchHeader, TimestampType};
use varve_core::store::{OrderKind, Recovered};
use varve_core::wire::Response;
use varve_core::wire::produce::PartitionProduceResponse;

use super::{Checker, Observed, Step, show_partition, show_replica};

/// See the module.
#[derive(Debug, Default)]
pub struct StampsLieWithinTheirRequest {
    /// Requests that no broker has taken in yet, by node: what its wall clock has shown since each arrived.
    waiting: BTreeMap<(u8, RequestId), Shown>,
    /// The request that the next step takes in.
    taken: Option<(u8, RequestId)>,
}

/// What a wall clock has shown within a time, both inclusive.
#[derive(Clone, Copy, Debug)]
struct Shown {
    earliest: Timestamp,
    latest: Timestamp,
}

impl Shown {
    fn and(self, wall: Timestamp) -> Self {
        Self {
            earliest: self.earliest.min(wall),
            latest: self.latest.max(wall),
        }
    }
}

impl Checker for StampsLieWithinTheirRequest {
    fn name(&self) -> &'static str {
        "StampsLieWithinTheirRequest"
    }

    fn on_start(&mut self, _seen: &Observed, recovered: &Recovered) -> Result<(), String> {
        let broker = recovered.broker;
        self.waiting
            .retain(|(node, _), _| i32::from(*node) != broker.0);
        Ok(())
    }

    fn on_arrival(&mut self, node: u8, request: RequestId, wall: Timestamp) {
        let shown = Shown {
            earliest: wall,
            latest: wall,
        };
        self.waiting.insert((node, request), shown);
    }

    fn on_clock_jump(&mut self, node: u8, from: Timestamp, to: Timestamp) {
        for (_, shown) in self.waiting.iter_mut().filter(|((at, _), _)| *at == node) {
            *shown = shown.and(from).and(to);
        }
    }

    fn on_input(&mut self, node: u8, input: &Input) {
        self.taken = match input {
            Input::Request(request) => Some((node, request.context.id)),
            _other => None,
        };
    }

    fn on_step(&mut self, seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        let taken = self.taken.take();
        if let Some(shown) = taken.and_then(|taken| self.waiting.remove(&taken)) {
            let shown = shown.and(step.wall);
            for (partition, header) in appended_as_leader(step) {
                judge_stamp(step, partition, header, shown)?;
            }
        }
        for (partition, answer) in acknowledged(step.effects) {
            judge_answer(seen, step, partition, answer)?;
        }
        Ok(())
    }
}

fn judge_stamp(
    step: &Step<'_>,
    partition: TopicPartition,
    header: &BatchHeader,
    shown: Shown,
) -> Result<(), String> {
    let stamp = header.max_timestamp;
    let within = (shown.earliest..=shown.latest).contains(&stamp);
    if header.timestamp_type() == TimestampType::CreateTime || within {
        return Ok(());
    }
    Err(format!(
        "{} stamps the batch at {} of {} with {stamp}, and its wall clock has shown {} to {} since the request arrived",
        show_replica(step.me),
        header.base_offset,
        show_partition(partition),
        shown.earliest,
        shown.latest
    ))
}

fn judge_answer(
    seen: &Observed,
    step: &Step<'_>,
    partition: TopicPartition,
    answer: &PartitionProduceResponse,
) -> Result<(), String> {
    let told = Timestamp(answer.log_append_time_ms);
    let Some(header) = seen.header_at(partition, step.me, Offset(answer.base_offset)) else {
        return Ok(());
    };
    let stamped = header.timestamp_type() == TimestampType::LogAppendTime;
    if told == header.max_timestamp || told == Timestamp::NONE && !stamped {
        return Ok(());
    }
    Err(format!(
        "{} answers that the batch at {} of {} was appended at {told}, and its stamp is {}",
        show_replica(step.me),
        header.base_offset,
        show_partition(partition),
        header.max_timestamp
    ))
}

/// Headers of the batches that the step has appended to logs that its broker leads.
fn appended_as_leader<'a>(
    step: &'a Step<'_>,
) -> impl Iterator<Item = (TopicPartition, &'a BatchHeader)> {
    let orders = step.effects.iter().filter_map(|effect| match effect {
        Effect::Store(order) if step.leads(order.replica) => Some(order),
        _other => None,
    });
    orders.flat_map(|order| {
        let entries = match &order.kind {
            OrderKind::Append { entries, .. } => &entries[..],
            _other => &[],
        };
        entries.iter().filter_map(|entry| match entry {
            Entry::Batch(batch) => Some((order.replica, &batch.header)),
            Entry::Note(_) => None,
        })
    })
}

/// What the step answers of batches that are in the log.
fn acknowledged(
    effects: &[Effect],
) -> impl Iterator<Item = (TopicPartition, &PartitionProduceResponse)> {
    let answers = effects.iter().filter_map(|effect| match effect {
        Effect::Respond { response, .. } => match &**response {
            Response::Produce(answer) => Some(answer),
            _other => None,
        },
        _other => None,
    });
    answers
        .flat_map(|answer| &answer.responses)
        .flat_map(|topic| {
            let answers = topic.partition_responses.iter();
            answers
                .filter(|answer| answer.error_code.is_none())
                .map(|answer| {
                    let partition = TopicPartition {
                        topic: topic.topic_id,
                        partition: PartitionIndex(answer.index),
                    };
                    (partition, answer)
                })
        })
}
