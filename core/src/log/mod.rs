//! The replicated log's vocabulary: entries, notes and positions, and what of it is kept in memory.

mod entry;
mod notes;
mod tail;

pub use entry::{Entry, Note, NoteKind, Position};
pub use notes::{NoteIndex, clock_at};
pub use tail::Tail;
