//! Record batches on their way through: bytes that this module never looks into.

use std::fmt;

use bytes::Bytes;

/// Kafka record batches, end to end, in one piece (as decoded) or several (as read from a log).
#[derive(Clone, Default)]
pub struct Records {
    /// One piece is the common case and takes no allocation.
    first: Bytes,
    more: Vec<Bytes>,
}

impl Records {
    /// No records, which is not the same as null.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            first: Bytes::new(),
            more: Vec::new(),
        }
    }

    /// Appends a piece.
    pub fn push(&mut self, piece: Bytes) {
        if self.first.is_empty() {
            self.first = piece;
        } else if !piece.is_empty() {
            self.more.push(piece);
        }
    }

    /// The pieces, in order, none of them empty.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first)
            .filter(|piece| !piece.is_empty())
            .chain(&self.more)
    }

    /// How many bytes there are in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces().map(Bytes::len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// All bytes in one piece. Copies only when there are several.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        if self.more.is_empty() {
            return self.first.clone();
        }
        let mut all = Vec::with_capacity(self.len());
        for piece in self.pieces() {
            all.extend_from_slice(piece);
        }
        Bytes::from(all)
    }
}

impl From<Bytes> for Records {
    fn from(piece: Bytes) -> Self {
        Self {
            first: piece,
            more: Vec::new(),
        }
    }
}

impl FromIterator<Bytes> for Records {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let mut records = Self::empty();
        for piece in pieces {
            records.push(piece);
        }
        records
    }
}

impl PartialEq for Records {
    /// The same bytes in the same order, however they are cut.
    fn eq(&self, other: &Self) -> bool {
        if self.more.is_empty() && other.more.is_empty() {
            return self.first == other.first;
        }
        self.len() == other.len() && self.to_bytes() == other.to_bytes()
    }
}

impl Eq for Records {}

impl fmt::Debug for Records {
    /// The size alone: payload is nobody's business, least of all a trace's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Records({} B)", self.len())
    }
}
