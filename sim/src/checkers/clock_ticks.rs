//! A log's clock shows one more with every tick, and a fourth of the expiration of producers lies between two: so no
//! producer is forgotten that has written within the expiration.

use std::collections::BTreeMap;

use varve_core::effect::Effect;
use varve_core::ids::{LogClock, TopicPartition};
use varve_core::log::{Entry, NoteKind};
use varve_core::store::OrderKind;

use crate::clock::SimTime;

use super::{Checker, Observed, Step, show_partition, show_replica};

/// See the module.
#[derive(Debug, Default)]
pub struct ClockTicksAreApart {
    /// When each tick was first appended, by partition and digest; and when each partition was created.
    ticked: BTreeMap<(TopicPartition, Option<u64>), SimTime>,
}

impl Checker for ClockTicksAreApart {
    fn name(&self) -> &'static str {
        "ClockTicksAreApart"
    }

    fn on_step(&mut self, seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            let Effect::Store(order) = effect else {
                continue;
            };
            let partition = order.replica;
            if matches!(order.kind, OrderKind::Create { .. }) {
                self.ticked.entry((partition, None)).or_insert(step.at);
            }
            if has_tick(&order.kind) {
                self.judge(seen, step, partition)?;
            }
        }
        Ok(())
    }
}

impl ClockTicksAreApart {
    /// Looks at the last two ticks of the log that a step has appended one to. Those that a follower takes are known.
    fn judge(
        &mut self,
        seen: &Observed,
        step: &Step<'_>,
        partition: TopicPartition,
    ) -> Result<(), String> {
        let mut ticks = seen.ticks(partition, step.me).rev();
        let Some((digest, clock)) = ticks.next() else {
            return Ok(());
        };
        if self.ticked.contains_key(&(partition, Some(digest))) {
            return Ok(());
        }
        self.ticked.insert((partition, Some(digest)), step.at);
        let before = ticks.next();
        let shown = before.map_or(LogClock(0), |(_, clock)| clock);
        let at = self
            .ticked
            .get(&(partition, before.map(|(digest, _)| digest)));
        let passed = at.map_or(seen.clock_tick_min, |at| step.at.since(*at));
        if clock.0 == shown.0 + 1 && passed >= seen.clock_tick_min {
            return Ok(());
        }
        Err(format!(
            "{} lets the clock of {} tick from {shown} to {clock} after {}ms, and it is to tick every {}ms at most",
            show_replica(step.me),
            show_partition(partition),
            passed.as_millis(),
            seen.clock_tick_min.as_millis()
        ))
    }
}

fn has_tick(kind: &OrderKind) -> bool {
    let OrderKind::Append { entries, .. } = kind else {
        return false;
    };
    entries.iter().any(|entry| match entry {
        Entry::Note(note) => matches!(note.kind, NoteKind::ClockTick(_)),
        Entry::Batch(_) => false,
    })
}
