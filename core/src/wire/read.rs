//! Reading a frame from front to back, with every length compared to what is left before it is believed.

use std::fmt;

use bytes::Bytes;

use super::text::Str;

/// Elements of all arrays of one request: topics, partitions, keys, and so on. The work that a request makes, and the
/// answer to it, go with their number and not with its bytes: a million partitions would keep a broker from everybody
/// else for seconds.
pub const REQUEST_ELEMENTS_MAX: usize = 100_000;
/// Elements of one array of any message, as in Kafka.
pub(crate) const ARRAY_ELEMENTS_MAX: usize = 1_000_000;
/// Tagged fields of one struct, as in Kafka.
const TAGGED_FIELDS_MAX: u32 = 10_000;

/// Why bytes are not the message that they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The message goes on past the end of its bytes, or an array claims more elements than could follow.
    Truncated,
    /// The message ends before its bytes do.
    TrailingBytes,
    /// The arrays of a request have more than [`REQUEST_ELEMENTS_MAX`] elements together.
    TooManyElements,
    /// An array has more than a million elements.
    ArrayTooLong,
    /// A struct has more than ten thousand tagged fields.
    TooManyTaggedFields,
    /// A null (any negative length, as in Kafka) stands where the version allows none.
    UnexpectedNull,
    /// A variable-length number goes on past its fifth byte or past 32 bits.
    InvalidVarint,
    /// A string is not UTF-8.
    InvalidUtf8,
    /// A tagged field's content is shorter than the size written before it.
    InvalidTaggedField,
    /// The message has no such version.
    UnsupportedVersion,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooManyElements => {
                return write!(
                    f,
                    "its arrays have more than {REQUEST_ELEMENTS_MAX} elements together: ask for less at a time"
                );
            }
            Self::Truncated => "the message is longer than its bytes",
            Self::TrailingBytes => "bytes follow the end of the message",
            Self::ArrayTooLong => "an array has more elements than any may have",
            Self::TooManyTaggedFields => "a struct has more tagged fields than any may have",
            Self::UnexpectedNull => "a field that cannot be null is",
            Self::InvalidVarint => "a variable-length number does not end in time",
            Self::InvalidUtf8 => "a string is not UTF-8",
            Self::InvalidTaggedField => "a tagged field is shorter than its size",
            Self::UnsupportedVersion => "the message has no such version",
        })
    }
}

impl std::error::Error for DecodeError {}

/// A place in a frame: the bytes from `at` up to but not including `end` are still to be read.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    frame: &'a Bytes,
    at: usize,
    end: usize,
    /// Elements that arrays may still have.
    elements_left: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(frame: &'a Bytes) -> Self {
        Self {
            frame,
            at: 0,
            end: frame.len(),
            elements_left: usize::MAX,
        }
    }

    /// The same for a request, whose arrays have no more elements than [`REQUEST_ELEMENTS_MAX`].
    pub(crate) fn of_request(frame: &'a Bytes) -> Self {
        Self {
            elements_left: REQUEST_ELEMENTS_MAX,
            ..Self::new(frame)
        }
    }

    /// Takes account of an array of `len` elements.
    pub(crate) const fn take_elements(&mut self, len: usize) -> Result<(), DecodeError> {
        if len > ARRAY_ELEMENTS_MAX {
            return Err(DecodeError::ArrayTooLong);
        }
        match self.elements_left.checked_sub(len) {
            Some(left) => {
                self.elements_left = left;
                Ok(())
            }
            None => Err(DecodeError::TooManyElements),
        }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.end - self.at
    }

    /// Nothing may follow what was read.
    pub(crate) fn finish(&self) -> Result<(), DecodeError> {
        if self.at == self.end {
            Ok(())
        } else {
            Err(DecodeError::TrailingBytes)
        }
    }

    /// The next `N` bytes.
    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let rest = &self.frame[self.at..self.end];
        let (taken, _) = rest
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Truncated)?;
        self.at += N;
        Ok(*taken)
    }

    /// The next `len` bytes, as a slice of the frame.
    #[inline]
    pub(crate) fn bytes(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        if len > self.remaining() {
            return Err(DecodeError::Truncated);
        }
        let taken = self.frame.slice(self.at..self.at + len);
        self.at += len;
        Ok(taken)
    }

    /// The next `len` bytes as text.
    #[inline]
    pub(crate) fn text(&mut self, len: usize) -> Result<Str, DecodeError> {
        Str::from_utf8(self.bytes(len)?).map_err(|_| DecodeError::InvalidUtf8)
    }

    #[inline]
    pub(crate) fn i16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// An unsigned number of up to 32 bits, seven bits a byte, the lowest first.
    #[inline]
    pub(crate) fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            let digit = u32::from(byte & 0x7f);
            if shift == 28 && digit > 0x0f {
                return Err(DecodeError::InvalidVarint);
            }
            value |= digit << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::InvalidVarint)
    }

    /// How many tagged fields follow.
    pub(crate) fn tagged_fields(&mut self) -> Result<u32, DecodeError> {
        let count = self.uvarint()?;
        if count > TAGGED_FIELDS_MAX {
            return Err(DecodeError::TooManyTaggedFields);
        }
        Ok(count)
    }

    /// The length written before a compact string, array or byte sequence: one more than it is, or 0 for null.
    #[inline]
    pub(crate) fn compact_len(&mut self) -> Result<Option<usize>, DecodeError> {
        match self.uvarint()? {
            0 => Ok(None),
            n => usize::try_from(n - 1)
                .map(Some)
                .map_err(|_| DecodeError::Truncated),
        }
    }

    /// The length before a classic string: 16 bits, negative for null.
    #[inline]
    pub(crate) fn short_len(&mut self) -> Result<Option<usize>, DecodeError> {
        Ok(usize::try_from(self.i16()?).ok())
    }

    /// The length before a classic array or byte sequence: 32 bits, negative for null.
    #[inline]
    pub(crate) fn long_len(&mut self) -> Result<Option<usize>, DecodeError> {
        Ok(usize::try_from(self.i32()?).ok())
    }

    /// A reader of the next `size` bytes alone; this one goes on behind them.
    pub(crate) fn sized(&mut self, size: u32) -> Result<Self, DecodeError> {
        let size = usize::try_from(size).map_err(|_| DecodeError::Truncated)?;
        if size > self.remaining() {
            return Err(DecodeError::Truncated);
        }
        let part = Self {
            frame: self.frame,
            at: self.at,
            end: self.at + size,
            elements_left: self.elements_left,
        };
        self.at += size;
        Ok(part)
    }

    /// The content of a tagged field must be as long as the size before it said.
    pub(crate) fn finish_tagged(&self) -> Result<(), DecodeError> {
        self.finish()
            .map_err(|_trailing| DecodeError::InvalidTaggedField)
    }
}
