//! Faults of a node's process and of the machine that it runs on.

use std::time::Duration;

use crate::disk::Shortage;
use crate::nemesis::budget::Cost;
use crate::nemesis::fault::{End, Fault, FaultId, Injected, Injection, Lengths};

pub(super) const FAULTS: &[Fault] = &[
    // A process is killed and started again.
    Fault {
        id: FaultId(0),
        name: "kill",
        cost: Cost::Availability,
        at_formation: true,
        inject: |it, lengths| {
            kill(it);
            Injected::For(lengths.either(&mut it.draw, 500_000))
        },
        end: End::WithNode(start),
    },
    // A process dies between two effects of one step.
    Fault {
        id: FaultId(1),
        name: "crash between effects",
        cost: Cost::Availability,
        at_formation: true,
        inject: |it, lengths| {
            let effects = u32::try_from(it.draw.below(12)).unwrap_or(0);
            it.cluster.crash_after_effects(it.node, effects);
            Injected::For(lengths.short + Duration::from_millis(200))
        },
        end: End::WithNode(start),
    },
    // A node is killed again and again.
    Fault {
        id: FaultId(18),
        name: "restart loop",
        cost: Cost::Availability,
        at_formation: true,
        inject: |it, _| {
            kill(it);
            Injected::For(Duration::from_millis(it.draw.between(1, 30)))
        },
        end: End::WithNode(start),
    },
    // A node is asked to stop in good order, and is started again.
    Fault {
        id: FaultId(10),
        name: "stop",
        cost: Cost::Availability,
        at_formation: true,
        inject: |it, lengths| {
            it.tell(format!("stop n{}", it.node));
            it.cluster.stop(it.node);
            Injected::For(lengths.long)
        },
        end: End::WithNode(|it| {
            // Whoever stops a node for good kills it in the end.
            it.cluster.kill(it.node);
            it.cluster.start(it.node);
        }),
    },
    // A process is paused, while its clock goes on.
    Fault {
        id: FaultId(4),
        name: "pause",
        cost: Cost::Availability,
        at_formation: true,
        inject: |it, lengths| {
            if it.cluster.node(it.node).paused.is_some() {
                return Injected::Nothing;
            }
            it.tell(format!("pause n{}", it.node));
            it.cluster.pause(it.node);
            Injected::For(lengths.either(&mut it.draw, 300_000))
        },
        end: End::WithNode(|it| it.cluster.resume(it.node)),
    },
    // One node loses power.
    Fault {
        id: FaultId(2),
        name: "power cut",
        cost: Cost::Unsynced,
        at_formation: false,
        inject: |it, lengths| {
            it.tell(format!("power cut n{}", it.node));
            it.cluster.power_cut(it.node);
            Injected::For(lengths.long)
        },
        end: End::WithNode(start),
    },
    // All nodes lose power at once.
    Fault {
        id: FaultId(3),
        name: "power cut of all",
        cost: Cost::UnsyncedOfAll,
        at_formation: false,
        inject: |it, lengths| {
            it.tell("power cut of all".to_owned());
            for node in it.nodes() {
                it.cluster.power_cut(node);
            }
            Injected::For(lengths.long)
        },
        end: End::WithCluster(|it| {
            for node in it.nodes() {
                it.cluster.start(node);
            }
        }),
    },
    // A node has no descriptor left, for files, for connections or for both, or no memory.
    Fault {
        id: FaultId(34),
        name: "no descriptor or memory",
        cost: Cost::Availability,
        at_formation: true,
        inject: run_short,
        end: End::WithNode(|it| it.cluster.end_shortage(it.node)),
    },
];

fn kill(it: &mut Injection<'_>) {
    it.tell(format!("kill n{}", it.node));
    it.cluster.kill(it.node);
}

/// The node whose process has been killed is started.
pub(super) fn start(it: &mut Injection<'_>) {
    it.cluster.start(it.node);
}

fn run_short(it: &mut Injection<'_>, lengths: Lengths) -> Injected {
    let length = lengths.either(&mut it.draw, 500_000);
    let (amount, per_million) = if it.draw.chance(500_000) {
        ("no", 1_000_000)
    } else {
        ("few", 300_000)
    };
    let (resource, of_disk, of_network) = match it.draw.below(4) {
        0 => ("descriptors for connections", None, true),
        1 => ("descriptors for files", Some(Shortage::Descriptors), false),
        2 => ("descriptors", Some(Shortage::Descriptors), true),
        _memory => ("memory", Some(Shortage::Memory), false),
    };
    it.tell(format!("n{} has {amount} {resource}", it.node));
    if let Some(shortage) = of_disk {
        it.cluster.run_short(it.node, shortage, per_million);
    }
    if of_network {
        it.cluster.refuse_connections(it.node);
    }
    Injected::For(length)
}
