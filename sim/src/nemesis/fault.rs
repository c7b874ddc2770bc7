//! What there is to say about a fault: one row, in the table of the file of its kind.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::disk::SimDisk;
use crate::draw::Draw;
use crate::nemesis::budget::{Budget, Cost};
use crate::nemesis::network::Blocks;
use crate::nemesis::{damage, disk, draw_number, network, operator, process, time};

/// A fault. Whether a run has it, how often and whom it hits is drawn in the same manner for all.
#[derive(Debug)]
pub(super) struct Fault {
    /// Names its draws.
    pub(super) id: FaultId,
    /// Its name, as a run's summary has it.
    pub(super) name: &'static str,
    /// What it may cost: by this the budget says whether it may be injected now.
    pub(super) cost: Cost,
    /// It is injected while the cluster is formed, too.
    pub(super) at_formation: bool,
    /// Injects it.
    pub(super) inject: fn(&mut Injection<'_>, Lengths) -> Injected,
    /// How it ends.
    pub(super) end: End,
}

/// Which fault. The number is part of what a seed means: a new fault has the next, and none is ever given to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaultId(pub(super) u8);

/// What injecting a fault has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Injected {
    /// There was nothing that it could hit.
    Nothing,
    /// It is done; nothing is left to end.
    Once,
    /// It is active, and ends after this.
    For(Duration),
}

/// How a fault ends once it is active.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// It is never active.
    AtOnce,
    /// It is one node's own, and ends in this way in its time, or earlier where that node is healed.
    WithNode(fn(&mut Injection<'_>)),
    /// It is wrong between nodes or with all of them, and ends in this way in its time, or earlier where everything is healed.
    WithCluster(fn(&mut Injection<'_>)),
}

/// For how long a fault is active, as drawn: most take one of these.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    /// Mostly too short for an election.
    pub(super) short: Duration,
    /// Mostly long enough for one.
    pub(super) long: Duration,
}

/// The nth injection of a fault, where that may still come, is active or has been.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Occurrence {
    pub(super) fault: FaultId,
    pub(super) nth: u64,
}

/// An occurrence of a fault, with what it takes to inject it and to end it.
#[derive(Debug)]
pub(super) struct Injection<'a> {
    pub(super) cluster: &'a mut Cluster,
    pub(super) budget: &'a Budget,
    pub(super) blocks: &'a mut Blocks,
    pub(super) occurrence: Occurrence,
    /// The node that was drawn for it.
    pub(super) node: u8,
    /// What else is drawn for it.
    pub(super) draw: Draw,
}

/// The faults of all files.
const FILES: [&[Fault]; 6] = [
    process::FAULTS,
    network::FAULTS,
    disk::FAULTS,
    damage::FAULTS,
    operator::FAULTS,
    time::FAULTS,
];

/// All faults, in the order of their ids.
pub(super) fn all() -> impl Iterator<Item = &'static Fault> {
    let mut all: Vec<&Fault> = FILES.into_iter().flatten().collect();
    all.sort_unstable_by_key(|fault| fault.id);
    all.into_iter()
}

impl FaultId {
    /// The row of this fault.
    pub(super) fn row(self) -> &'static Fault {
        let mut faults = FILES.into_iter().flatten();
        faults
            .find(|fault| fault.id == self)
            .expect("ids come from rows")
    }

    /// Its entity among the draws.
    pub(super) const fn entity(self) -> u64 {
        self.0 as u64
    }

    /// Its nth injection.
    pub(super) const fn nth(self, nth: u64) -> Occurrence {
        Occurrence { fault: self, nth }
    }
}

impl fmt::Display for FaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().name)
    }
}

/// Bits of an event's name that count a fault's injections.
const NTH_BITS: u32 = 48;

impl Occurrence {
    /// The name of the event at which it is injected.
    pub(super) const fn event(self) -> u64 {
        self.fault.entity() << NTH_BITS | self.nth
    }

    /// The occurrence that an event of this name injects, where one does.
    pub(super) fn of_event(event: u64) -> Option<Self> {
        let fault = all().find(|fault| fault.id.entity() == event >> NTH_BITS)?;
        Some(fault.id.nth(event & ((1 << NTH_BITS) - 1)))
    }

    /// The next one of the same fault.
    pub(super) const fn next(self) -> Self {
        self.fault.nth(self.nth + 1)
    }
}

impl Lengths {
    /// Draws both, whether or not the fault takes one.
    pub(super) fn draw(draw: &mut Draw) -> Self {
        Self {
            short: Duration::from_millis(draw.between(5, 400)),
            long: Duration::from_millis(draw.between(300, 6000)),
        }
    }

    /// Either of them: the short one in `per_million` of a million cases.
    pub(super) fn either(self, draw: &mut Draw, per_million: u32) -> Duration {
        if draw.chance(per_million) {
            self.short
        } else {
            self.long
        }
    }
}

impl Injection<'_> {
    /// Writes into the trace what is wrong.
    pub(super) fn tell(&mut self, text: String) {
        let now = self.cluster.now();
        self.cluster.trace.fault(now, text);
    }

    /// The numbers of all nodes.
    pub(super) fn nodes(&self) -> RangeInclusive<u8> {
        1..=self.cluster.options().nodes
    }

    /// The disk of its node.
    pub(super) fn disk(&self) -> &SimDisk {
        &self.cluster.node(self.node).disk
    }

    /// Another node, or the same.
    pub(super) fn draw_other(&mut self) -> u8 {
        draw_number(&mut self.draw, self.cluster)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_fault_has_an_id_and_a_name_of_its_own() {
        let ids: Vec<u8> = all().map(|fault| fault.id.0).collect();
        let counted: Vec<u8> = (0..).take(ids.len()).collect();
        assert_eq!(ids, counted, "ids are given in order, and none twice");
        let names: BTreeSet<&str> = all().map(|fault| fault.name).collect();
        assert_eq!(names.len(), ids.len());
    }

    #[test]
    fn an_event_names_the_occurrence_that_it_injects() {
        let occurrence = FaultId(3).nth(1 << 32 | 7);
        assert_eq!(Occurrence::of_event(occurrence.event()), Some(occurrence));
        assert_eq!(Occurrence::of_event(u64::MAX), None);
    }
}
