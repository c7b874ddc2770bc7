//! Writing a message: small fields gather in one buffer, record batches are threaded in without being copied.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Why a message cannot be said at a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The message has no such version.
    UnsupportedVersion {
        /// The message.
        message: &'static str,
        /// The version that was asked for.
        version: i16,
    },
    /// A field holds something other than its default, the version has no place for it, and Kafka's schema does
    /// not let it be dropped.
    NotCarried {
        /// The struct that holds the field.
        message: &'static str,
        /// The field.
        field: &'static str,
        /// The version that was asked for.
        version: i16,
    },
    /// A field is null at a version that allows none.
    UnexpectedNull,
    /// A string, array or record set, or the message itself, is longer than its length field can say.
    TooLong,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnsupportedVersion { message, version } => {
                write!(f, "{message} has no version {version}")
            }
            Self::NotCarried {
                message,
                field,
                version,
            } => write!(f, "{message} version {version} cannot carry {field}"),
            Self::UnexpectedNull => f.write_str("a field is null at a version that allows no null"),
            Self::TooLong => f.write_str("a field is longer than its length can say"),
        }
    }
}

impl std::error::Error for EncodeError {}

/// The bytes of a message or a frame, in order, in as few pieces as possible without copying records.
///
/// It is a [`Buf`], so a socket can write it with one vectored call and come back for the rest.
#[derive(Clone, Debug, Default)]
pub struct Segments {
    pieces: VecDeque<Bytes>,
    len: usize,
}

impl Segments {
    /// How many bytes there are in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces, in order; none of them is empty.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        self.pieces.iter()
    }

    /// All bytes in one piece. Copies only when there are several pieces.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match self.pieces.len() {
            0 => Bytes::new(),
            1 => self.pieces[0].clone(),
            _ => {
                let mut all = Vec::with_capacity(self.len);
                for piece in &self.pieces {
                    all.extend_from_slice(piece);
                }
                Bytes::from(all)
            }
        }
    }

    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.pieces.push_back(piece);
        }
    }
}

impl IntoIterator for Segments {
    type Item = Bytes;
    type IntoIter = std::collections::vec_deque::IntoIter<Bytes>;

    fn into_iter(self) -> Self::IntoIter {
        self.pieces.into_iter()
    }
}

impl PartialEq for Segments {
    /// The same bytes in the same order, however they are cut.
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.to_bytes() == other.to_bytes()
    }
}

impl Eq for Segments {}

impl Buf for Segments {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, target: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slot, piece) in target.iter_mut().zip(&self.pieces) {
            *slot = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len, "advance past the end of the segments");
        self.len -= count;
        while count > 0 {
            let front = &mut self.pieces[0];
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.pieces.pop_front();
        }
    }
}

/// Pieces up to this many bytes are copied into the buffer: a piece of its own costs the socket more than that.
const COPIED_LEN_MAX: usize = 256;

/// What has been written of a message.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    small: Vec<u8>,
    /// Pieces that stand before the byte of `small` at the given place, in order.
    threaded: Vec<(usize, Bytes)>,
    threaded_len: usize,
}

impl Writer {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            small: Vec::with_capacity(capacity),
            threaded: Vec::new(),
            threaded_len: 0,
        }
    }

    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.small.extend_from_slice(bytes);
    }

    /// Appends bytes that may be large, without copying them if they are.
    pub(crate) fn thread(&mut self, piece: &Bytes) {
        if piece.len() <= COPIED_LEN_MAX {
            self.put(piece);
        } else {
            self.threaded_len += piece.len();
            self.threaded.push((self.small.len(), piece.clone()));
        }
    }

    #[inline]
    pub(crate) fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.small.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.small.push(value.to_le_bytes()[0]);
    }

    /// The length before a compact string, array or byte sequence.
    pub(crate) fn compact_len(&mut self, len: Option<usize>) -> Result<(), EncodeError> {
        let written = match len {
            None => 0,
            // Kafka holds a length in a signed 32-bit number, so one more than it must still be one.
            Some(len) => i32::try_from(len)
                .ok()
                .and_then(|len| len.checked_add(1))
                .ok_or(EncodeError::TooLong)?
                .unsigned_abs(),
        };
        self.uvarint(written);
        Ok(())
    }

    /// The length before a classic string.
    pub(crate) fn short_len(&mut self, len: Option<usize>) -> Result<(), EncodeError> {
        let written = len.map_or(Ok(-1), |len| {
            i16::try_from(len).map_err(|_| EncodeError::TooLong)
        })?;
        self.put(&written.to_be_bytes());
        Ok(())
    }

    /// The length before a classic array or byte sequence.
    pub(crate) fn long_len(&mut self, len: Option<usize>) -> Result<(), EncodeError> {
        let written = len.map_or(Ok(-1), |len| {
            i32::try_from(len).map_err(|_| EncodeError::TooLong)
        })?;
        self.put(&written.to_be_bytes());
        Ok(())
    }

    /// Writes a tagged field: its number, the size of its content, the content. No tagged field holds records.
    pub(crate) fn tagged(
        &mut self,
        tag: u32,
        content: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.uvarint(tag);
        let mut inner = Self::default();
        content(&mut inner)?;
        assert!(
            inner.threaded.is_empty(),
            "a tagged field is written in one piece"
        );
        let size = u32::try_from(inner.small.len()).map_err(|_| EncodeError::TooLong)?;
        self.uvarint(size);
        self.put(&inner.small);
        Ok(())
    }

    /// Everything that was written.
    pub(crate) fn finish(self) -> Segments {
        let small = Bytes::from(self.small);
        let mut segments = Segments {
            pieces: VecDeque::with_capacity(2 * self.threaded.len() + 1),
            len: 0,
        };
        let mut done = 0;
        for (place, piece) in self.threaded {
            segments.push(small.slice(done..place));
            segments.push(piece);
            done = place;
        }
        segments.push(small.slice(done..));
        segments
    }

    /// Everything that was written, as a frame: the length of all that follows stands in the first four bytes,
    /// which [`Writer::frame`] left free.
    pub(crate) fn finish_frame(mut self) -> Result<Segments, EncodeError> {
        let len = self.small.len() - 4 + self.threaded_len;
        let len = i32::try_from(len).map_err(|_| EncodeError::TooLong)?;
        self.small[..4].copy_from_slice(&len.to_be_bytes());
        Ok(self.finish())
    }

    /// A writer whose first four bytes wait for the frame's length.
    pub(crate) fn frame() -> Self {
        let mut writer = Self::with_capacity(256);
        writer.put(&[0; 4]);
        writer
    }
}
