//! Faults of a disk as a whole: it hangs, is full, fails what it is asked for, or is lost.

use crate::disk::Fault as DiskFault;
use crate::nemesis::budget::Cost;
use crate::nemesis::fault::{End, Fault, FaultId, Injected, Injection};
use crate::nemesis::process::start;

pub(super) const FAULTS: &[Fault] = &[
    // A disk answers nothing for a while.
    Fault {
        id: FaultId(9),
        name: "disk stall",
        cost: Cost::Availability,
        at_formation: true,
        inject: |it, lengths| {
            let length = lengths.either(&mut it.draw, 500_000);
            let millis = length.as_millis();
            it.tell(format!("disk of n{} hangs for {millis}ms", it.node));
            it.cluster.stall_disk(it.node, length);
            Injected::Once
        },
        end: End::AtOnce,
    },
    // A disk is full for a while.
    Fault {
        id: FaultId(11),
        name: "disk full",
        cost: Cost::Availability,
        at_formation: false,
        inject: |it, lengths| {
            it.tell(format!("disk of n{} is full", it.node));
            // Less is free than the store keeps in reserve, but not nothing: other files fill the disk, and
            // the reserve is for votes and notes.
            let reserve = it.cluster.options().store.reserve_bytes;
            let disk = it.disk();
            disk.set_capacity(disk.used() + reserve / 2);
            Injected::For(lengths.long)
        },
        end: End::WithNode(|it| it.disk().set_capacity(it.cluster.options().disk.capacity)),
    },
    // A sync fails; the node comes back on the same directory, or on an empty one.
    Fault {
        id: FaultId(12),
        name: "failing sync",
        cost: Cost::Directory,
        at_formation: false,
        inject: |it, lengths| {
            it.tell(format!("the next sync of n{} fails", it.node));
            let fault = if it.draw.chance(500_000) {
                DiskFault::SyncsFail
            } else {
                DiskFault::SyncFails
            };
            it.disk().arm("", fault);
            Injected::For(lengths.long)
        },
        end: End::WithNode(replace_failed_disk),
    },
    // Writes fail, a part of each done; the node comes back on the same directory, or on an empty one.
    Fault {
        id: FaultId(25),
        name: "failing write",
        cost: Cost::Directory,
        at_formation: false,
        inject: |it, lengths| {
            it.tell(format!("the next writes of n{} fail", it.node));
            it.disk().arm("", DiskFault::WritesFail);
            Injected::For(lengths.long)
        },
        end: End::WithNode(replace_failed_disk),
    },
    // A directory is lost and comes back empty.
    Fault {
        id: FaultId(13),
        name: "wipe",
        cost: Cost::Directory,
        at_formation: false,
        inject: |it, lengths| {
            it.tell(format!("n{} loses its disk", it.node));
            it.cluster.kill(it.node);
            it.cluster.wipe(it.node);
            Injected::For(lengths.long)
        },
        end: End::WithNode(start),
    },
];

/// The node is started again on a disk that works: the same one mended or, where the budget still allows it, an empty one.
fn replace_failed_disk(it: &mut Injection<'_>) {
    it.disk().disarm();
    it.cluster.kill(it.node);
    let is_replaced = it.draw.chance(500_000);
    if is_replaced && it.budget.allows(Cost::Directory, it.cluster, it.node) {
        it.cluster.wipe(it.node);
    }
    it.cluster.start(it.node);
}
