//! Faults of single files: a bit rots, a sector cannot be read, a read or write goes wrong and nobody is told.
//!
//! Segments, the journal and checkpoints of the victim alone are damaged, as the budget allows. Indexes are hints, and may
//! rot anywhere; a read that fails once costs nothing.

use crate::disk::{Fault as DiskFault, JOURNAL_BLOCK, journal_groups};
use crate::nemesis::budget::Cost;
use crate::nemesis::fault::{End, Fault, FaultId, Injected, Injection, Lengths};
use crate::nemesis::process::start;

pub(super) const FAULTS: &[Fault] = &[
    // Bits of a segment rot.
    Fault {
        id: FaultId(14),
        name: "rot",
        cost: Cost::Segment,
        at_formation: false,
        inject: |it, _| rot(it, draw_in_segment),
        end: End::AtOnce,
    },
    // Bits of a segment rot on the disk while the page cache has them whole.
    Fault {
        id: FaultId(24),
        name: "rot under the cache",
        cost: Cost::Segment,
        at_formation: false,
        inject: |it, _| rot_under_cache(it, draw_in_segment),
        end: End::AtOnce,
    },
    // A sector of a segment cannot be read.
    Fault {
        id: FaultId(15),
        name: "read error",
        cost: Cost::Segment,
        at_formation: false,
        inject: |it, _| make_unreadable(it, draw_in_segment),
        end: End::AtOnce,
    },
    // A sector of a segment is reported written and is not.
    Fault {
        id: FaultId(19),
        name: "lost write",
        cost: Cost::Segment,
        at_formation: false,
        inject: |it, _| arm(it, DiskFault::LostWrite, draw_in_segment),
        end: End::AtOnce,
    },
    // A sector of a segment is written over another one.
    Fault {
        id: FaultId(20),
        name: "misdirected write",
        cost: Cost::Segment,
        at_formation: false,
        inject: |it, _| arm(it, DiskFault::MisdirectedWrite, draw_in_segment),
        end: End::AtOnce,
    },
    // A read of a segment gives what stood there before.
    Fault {
        id: FaultId(21),
        name: "stale read",
        cost: Cost::Segment,
        at_formation: false,
        inject: |it, _| arm(it, DiskFault::StaleRead, draw_in_segment),
        end: End::AtOnce,
    },
    // A read of a segment gives what stands elsewhere.
    Fault {
        id: FaultId(22),
        name: "misdirected read",
        cost: Cost::Segment,
        at_formation: false,
        inject: |it, _| arm(it, DiskFault::MisdirectedRead, draw_in_segment),
        end: End::AtOnce,
    },
    // A read fails once.
    Fault {
        id: FaultId(23),
        name: "failing read",
        cost: Cost::Availability,
        at_formation: false,
        inject: |it, _| arm(it, DiskFault::ReadFails, |it| draw_in(it, |_| true)),
        end: End::AtOnce,
    },
    // Bits of an index rot.
    Fault {
        id: FaultId(26),
        name: "rot of an index",
        cost: Cost::Availability,
        at_formation: false,
        inject: |it, _| rot(it, draw_in_index),
        end: End::AtOnce,
    },
    // A sector of an index cannot be read.
    Fault {
        id: FaultId(31),
        name: "read error of an index",
        cost: Cost::Availability,
        at_formation: false,
        inject: |it, _| make_unreadable(it, draw_in_index),
        end: End::AtOnce,
    },
    // A process is killed, and bits of its journal rot before it is started again.
    Fault {
        id: FaultId(27),
        name: "rot of the journal",
        cost: Cost::JournalOrCheckpoint,
        at_formation: false,
        inject: |it, lengths| kill_and_rot(it, lengths, draw_in_journal),
        end: End::WithNode(start),
    },
    // The same of a checkpoint.
    Fault {
        id: FaultId(28),
        name: "rot of a checkpoint",
        cost: Cost::JournalOrCheckpoint,
        at_formation: false,
        inject: |it, lengths| kill_and_rot(it, lengths, draw_in_checkpoint),
        end: End::WithNode(start),
    },
    // A process is killed, and a sector of its journal cannot be read when it is started again.
    Fault {
        id: FaultId(32),
        name: "read error of the journal",
        cost: Cost::JournalOrCheckpoint,
        at_formation: false,
        inject: |it, lengths| kill_and_make_unreadable(it, lengths, draw_in_journal),
        end: End::WithNode(start),
    },
    // The same of a checkpoint.
    Fault {
        id: FaultId(33),
        name: "read error of a checkpoint",
        cost: Cost::JournalOrCheckpoint,
        at_formation: false,
        inject: |it, lengths| kill_and_make_unreadable(it, lengths, draw_in_checkpoint),
        end: End::WithNode(start),
    },
];

/// A byte of a file: its path and where it stands there.
type FileByte = (String, u64);

/// Draws a byte of the node's disk that is to be damaged, where there is one.
type DrawByte = fn(&mut Injection<'_>) -> Option<FileByte>;

fn rot(it: &mut Injection<'_>, draw_byte: DrawByte) -> Injected {
    let Some((path, offset)) = draw_byte(it) else {
        return Injected::Nothing;
    };
    it.tell(format!("a bit rots in n{} {path} at {offset}", it.node));
    let bit = draw_bit(it);
    it.disk().rot(&path, offset, bit);
    Injected::Once
}

fn rot_under_cache(it: &mut Injection<'_>, draw_byte: DrawByte) -> Injected {
    let Some((path, offset)) = draw_byte(it) else {
        return Injected::Nothing;
    };
    let node = it.node;
    it.tell(format!(
        "a bit rots under the cache in n{node} {path} at {offset}"
    ));
    let bit = draw_bit(it);
    it.disk().rot_under_cache(&path, offset, bit);
    Injected::Once
}

fn make_unreadable(it: &mut Injection<'_>, draw_byte: DrawByte) -> Injected {
    let Some((path, offset)) = draw_byte(it) else {
        return Injected::Nothing;
    };
    it.tell(format!("n{} cannot read {path} at {offset}", it.node));
    it.disk().make_unreadable(&path, offset);
    Injected::Once
}

/// Lets the next operation of this kind on one file go wrong.
fn arm(it: &mut Injection<'_>, fault: DiskFault, draw_byte: DrawByte) -> Injected {
    let Some((path, _)) = draw_byte(it) else {
        return Injected::Nothing;
    };
    let (name, node) = (it.occurrence.fault, it.node);
    it.tell(format!("{name} ahead in n{node} {path}"));
    it.disk().arm(&path, fault);
    Injected::Once
}

fn kill_and_rot(it: &mut Injection<'_>, lengths: Lengths, draw_byte: DrawByte) -> Injected {
    let Some((path, offset)) = draw_byte(it) else {
        return Injected::Nothing;
    };
    let node = it.node;
    it.cluster.kill(node);
    it.tell(format!("kill n{node}; a bit rots in {path} at {offset}"));
    let bit = draw_bit(it);
    it.disk().rot(&path, offset, bit);
    Injected::For(lengths.short)
}

fn kill_and_make_unreadable(
    it: &mut Injection<'_>,
    lengths: Lengths,
    draw_byte: DrawByte,
) -> Injected {
    let Some((path, offset)) = draw_byte(it) else {
        return Injected::Nothing;
    };
    let node = it.node;
    it.cluster.kill(node);
    it.tell(format!("kill n{node}; it cannot read {path} at {offset}"));
    it.disk().make_unreadable(&path, offset);
    Injected::For(lengths.short)
}

fn draw_bit(it: &mut Injection<'_>) -> u8 {
    u8::try_from(it.draw.below(8)).unwrap_or(0)
}

fn draw_in_segment(it: &mut Injection<'_>) -> Option<FileByte> {
    draw_in(it, |path| path.ends_with(".log"))
}

fn draw_in_index(it: &mut Injection<'_>) -> Option<FileByte> {
    draw_in(it, |path| path.ends_with("index"))
}

fn draw_in_checkpoint(it: &mut Injection<'_>) -> Option<FileByte> {
    draw_in(it, |path| path.starts_with("checkpoint."))
}

/// A byte of one of the files whose path is wanted.
fn draw_in(it: &mut Injection<'_>, wanted: impl Fn(&str) -> bool) -> Option<FileByte> {
    let mut files = it.disk().files();
    files.retain(|(path, length)| wanted(path) && *length > 0);
    let (path, length) = it.draw.pick(&files)?.clone();
    Some((path, it.draw.below(length)))
}

/// Of so many groups of the journal, the latest, one is damaged: what stands before is mostly not needed any more.
const JOURNAL_GROUPS_MAX: usize = 16;
/// Most of a block is padding: this much holds what is read of most groups.
const JOURNAL_HEADER: u64 = 512;

/// A byte of one of the latest groups of the journal.
fn draw_in_journal(it: &mut Injection<'_>) -> Option<FileByte> {
    let groups = journal_groups(it.disk());
    let latest = groups.len().saturating_sub(JOURNAL_GROUPS_MAX);
    let (path, start) = it.draw.pick(&groups[latest..])?.clone();
    let length = it.disk().bytes(&path).len() as u64;
    let is_header = it.draw.chance(800_000);
    let within = it.draw.below(if is_header {
        JOURNAL_HEADER
    } else {
        2 * JOURNAL_BLOCK as u64
    });
    Some((path, (start + within).min(length - 1)))
}
