//! Faults of clocks.

use crate::nemesis::budget::Cost;
use crate::nemesis::fault::{End, Fault, FaultId, Injected};

pub(super) const FAULTS: &[Fault] = &[
    // A wall clock jumps.
    Fault {
        id: FaultId(17),
        name: "clock jump",
        cost: Cost::Availability,
        at_formation: true,
        inject: |it, _| {
            let jump = i64::try_from(it.draw.below(20_000)).unwrap_or(0) - 10_000;
            it.tell(format!("wall clock of n{} jumps by {jump}ms", it.node));
            it.cluster.jump_wall_clock(it.node, jump);
            Injected::Once
        },
        end: End::AtOnce,
    },
];
