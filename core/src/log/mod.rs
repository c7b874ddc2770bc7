//! The parts of a replicated log: entries, notes, positions, and the tail in memory.

mod entry;
mod notes;
mod tail;

pub use entry::{Entry, Note, NoteKind, Position};
pub use notes::{NoteIndex, clock_at};
pub use tail::Tail;
