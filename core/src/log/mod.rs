//! The replicated log's vocabulary: entries, notes and positions.

mod entry;

pub use entry::{Entry, Note, NoteKind, Position};
