//! What must not go back does not: a replica's leader epoch across its restarts, its log start, what it has
//! committed within one incarnation, the epoch of the leader that one broker tells clients, and the high watermark and
//! log start that clients are shown. A leader that
//! has been replaced may show an older high watermark than its successors, but never one older than its
//! predecessors showed.

use std::collections::BTreeMap;

use varve_core::effect::{Effect, RequestId};
use varve_core::ids::{LeaderEpoch, Offset, PartitionIndex, TopicPartition, Voter};
use varve_core::input::Input;
use varve_core::log::Position;
use varve_core::store::{OrderKind, Recovered};
use varve_core::wire::{ErrorCode, MetadataResponse, Response};

use super::{Checker, Observed, Step, fetched, served, show_partition, show_replica};

/// See the module.
#[derive(Debug, Default)]
pub struct NothingGoesBack {
    replicas: BTreeMap<(TopicPartition, Voter), Latest>,
    /// The highest that clients have been shown, by the epoch of the leader that showed it.
    shown: BTreeMap<TopicPartition, Shown>,
    /// Fetches that wait for an answer, each with what clients had been shown when it came: an answer may be as
    /// old as its question, and no older.
    asked: BTreeMap<(u8, RequestId), BTreeMap<TopicPartition, Shown>>,
    /// The epoch of the latest leader that a node has told clients in this incarnation, or of which that there is none.
    told: BTreeMap<(u8, TopicPartition), LeaderEpoch>,
}

/// By leader epoch: log start and high watermark.
type Shown = BTreeMap<LeaderEpoch, (Offset, Offset)>;

#[derive(Clone, Copy, Debug, Default)]
struct Latest {
    leader_epoch: LeaderEpoch,
    log_start_offset: Offset,
    committed: Position,
}

impl NothingGoesBack {
    fn shows(
        &mut self,
        partition: TopicPartition,
        leader_epoch: LeaderEpoch,
        (log_start_offset, high_watermark): (Offset, Offset),
        asked: &Shown,
    ) -> Result<(), String> {
        let before = asked
            .range(..=leader_epoch)
            .map(|(_, shown)| *shown)
            .fold((Offset(0), Offset(0)), |a, b| (a.0.max(b.0), a.1.max(b.1)));
        for (what, was, is) in [
            ("log start", before.0, log_start_offset),
            ("high watermark", before.1, high_watermark),
        ] {
            if is < was {
                return Err(format!(
                    "the {what} of {} as clients see it goes back from {was} to {is} in e{leader_epoch}",
                    show_partition(partition)
                ));
            }
        }
        let latest = self
            .shown
            .entry(partition)
            .or_default()
            .entry(leader_epoch)
            .or_default();
        latest.0 = latest.0.max(log_start_offset);
        latest.1 = latest.1.max(high_watermark);
        Ok(())
    }
}

impl NothingGoesBack {
    fn tells(&mut self, node: u8, response: &MetadataResponse) -> Result<(), String> {
        for topic in &response.topics {
            for data in topic
                .partitions
                .iter()
                .filter(|data| data.leader_epoch >= 0)
            {
                let partition = TopicPartition {
                    topic: topic.topic_id,
                    partition: PartitionIndex(data.partition_index),
                };
                let is = LeaderEpoch(data.leader_epoch);
                let was = self.told.insert((node, partition), is);
                if let Some(was) = was.filter(|was| is < *was) {
                    return Err(format!(
                        "n{node} tells of the leader of {} in e{is}, having told of one in e{was}",
                        show_partition(partition)
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Checker for NothingGoesBack {
    fn name(&self) -> &'static str {
        "NothingGoesBack"
    }

    /// It may have forgotten what it had committed, and the epochs that it had not stored.
    fn on_start(&mut self, seen: &Observed, recovered: &Recovered) -> Result<(), String> {
        let node = recovered.broker.0;
        self.asked.retain(|(asked, _), _| i32::from(*asked) != node);
        self.told.retain(|(told, _), _| i32::from(*told) != node);
        for ((partition, voter), latest) in &mut self.replicas {
            if voter.broker == recovered.broker && voter.directory == recovered.directory {
                latest.committed = Position::default();
                latest.leader_epoch = seen
                    .shadow(*partition, *voter)
                    .map_or(LeaderEpoch::default(), |shadow| {
                        shadow.durable.vote.leader_epoch
                    });
            }
        }
        Ok(())
    }

    fn on_input(&mut self, node: u8, input: &Input) {
        let Some((request, partitions)) = fetched(input) else {
            return;
        };
        let shown = |(partition, _)| Some((partition, self.shown.get(&partition)?.clone()));
        let asked = partitions.filter_map(shown).collect();
        self.asked.insert((node, request), asked);
    }

    fn on_step(&mut self, _seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            if let Effect::Store(order) = effect
                && order.kind == OrderKind::Delete
            {
                // Should it be wanted again, it begins anew.
                self.replicas.remove(&(order.replica, step.me));
            }
        }
        for (partition, view) in step.views {
            let latest = self.replicas.entry((*partition, step.me)).or_default();
            let back = |what: &str, was: String, is: String| {
                Err(format!(
                    "the {what} of {} of {} goes back from {was} to {is}",
                    show_replica(step.me),
                    show_partition(*partition)
                ))
            };
            if view.leader_epoch < latest.leader_epoch {
                let (was, is) = (latest.leader_epoch, view.leader_epoch);
                return back("leader epoch", was.to_string(), is.to_string());
            }
            if view.log_start_offset < latest.log_start_offset {
                let (was, is) = (latest.log_start_offset, view.log_start_offset);
                return back("log start", was.to_string(), is.to_string());
            }
            if view.committed < latest.committed {
                let (was, is) = (latest.committed, view.committed);
                return back("committed position", was.to_string(), is.to_string());
            }
            *latest = Latest {
                leader_epoch: view.leader_epoch,
                log_start_offset: view.log_start_offset,
                committed: view.committed,
            };
        }
        for effect in step.effects {
            let Effect::Respond { request, response } = effect else {
                continue;
            };
            if let Response::Metadata(response) = &**response {
                self.tells(step.node, response)?;
            }
            let Some(served) = served(response) else {
                continue;
            };
            let asked = self
                .asked
                .remove(&(step.node, *request))
                .unwrap_or_default();
            for (partition, data) in served {
                let Some((_, view)) = step.views.iter().find(|(id, _)| *id == partition) else {
                    continue;
                };
                if data.error_code == ErrorCode::None && view.role == "leader" {
                    let shown = (Offset(data.log_start_offset), Offset(data.high_watermark));
                    let nothing = Shown::new();
                    let asked = asked.get(&partition).unwrap_or(&nothing);
                    self.shows(partition, view.leader_epoch, shown, asked)?;
                }
            }
        }
        Ok(())
    }
}
