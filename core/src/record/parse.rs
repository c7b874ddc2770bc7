//! The encoding of one record.
//!
//! ```text
//! size varint (bytes after this field)
//! attributes i8 (none defined)   timestamp_delta varlong   offset_delta varint
//! key length varint (-1 null), key    value length varint (-1 null), value
//! header count varint, and for each:  key length varint, key (UTF-8)    value length varint (-1 null), value
//! ```
//! Varints are zigzag, and may be longer than they need be. Source: Kafka's `DefaultRecord`; where that skips over
//! contradictions (a length below -1, bits beyond a number's width), this does not, nor over what clients read
//! otherwise: attributes are a varint to kafka-python, librdkafka sees LogAppendTime in them, and kafka-python cannot
//! read a header's key that is no text.

use std::fmt;
use std::io::BufRead;

use bytes::{Buf, Bytes};

use super::compression::DecompressError;

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFault {
    /// The batch ends within the record.
    EndsEarly,
    /// The record's fields do not add up to its size, or the size is negative.
    Size,
    /// A number has more bits than its type.
    Varint,
    /// A length or a count is negative where it must not be, or beyond the record's end.
    Length,
    /// Its attributes have a bit set that some client gives a meaning.
    Attributes,
    /// A header's key is not UTF-8.
    HeaderKey,
    /// Its offset delta is not its index in the batch.
    OffsetDelta {
        /// In the record.
        found: i32,
    },
    /// The batch cannot be decompressed at this record.
    Corrupt,
    /// The batch decompresses to more than the cap.
    TooLarge {
        /// In bytes, inclusive.
        cap: usize,
    },
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndsEarly => f.write_str("the batch ends within it"),
            Self::Size => f.write_str("its fields do not add up to its size"),
            Self::Varint => f.write_str("a number in it is too large for its field"),
            Self::Length => f.write_str("a length in it is out of bounds"),
            Self::Attributes => {
                f.write_str("its attributes have a bit set that clients read in different ways")
            }
            Self::HeaderKey => f.write_str("the key of a header is not UTF-8"),
            Self::OffsetDelta { found } => write!(f, "its offset delta is {found}"),
            Self::Corrupt => f.write_str("the batch cannot be decompressed beyond it"),
            Self::TooLarge { cap } => DecompressError::TooLarge { cap: *cap }.fmt(f),
        }
    }
}

/// A source of the bytes of records.
pub(super) trait ByteSource {
    /// A key or a value.
    type Chunk;

    /// The next byte.
    fn byte(&mut self) -> Result<u8, RecordFault>;

    /// The next `length` bytes.
    fn chunk(&mut self, length: usize) -> Result<Self::Chunk, RecordFault>;

    /// The next `length` bytes, which must be UTF-8.
    fn text(&mut self, length: usize) -> Result<Self::Chunk, RecordFault>;

    /// Whether nothing is left.
    fn is_at_end(&mut self) -> Result<bool, RecordFault>;
}

/// A source that returns keys and values as slices of the batch.
impl ByteSource for Bytes {
    type Chunk = Self;

    fn byte(&mut self) -> Result<u8, RecordFault> {
        self.try_get_u8().map_err(|_| RecordFault::EndsEarly)
    }

    fn chunk(&mut self, length: usize) -> Result<Self::Chunk, RecordFault> {
        if length > self.len() {
            return Err(RecordFault::EndsEarly);
        }
        Ok(self.split_to(length))
    }

    /// Stored header keys are accepted even if they are not UTF-8.
    fn text(&mut self, length: usize) -> Result<Self::Chunk, RecordFault> {
        self.chunk(length)
    }

    fn is_at_end(&mut self) -> Result<bool, RecordFault> {
        Ok(self.is_empty())
    }
}

/// A source that skips keys and values, so that nothing of a compressed batch is kept.
pub(super) struct Skip<R> {
    reader: R,
    /// Bytes read.
    pub(super) read: usize,
    cap: usize,
}

impl<R: BufRead> Skip<R> {
    pub(super) const fn new(reader: R, cap: usize) -> Self {
        Self {
            reader,
            read: 0,
            cap,
        }
    }

    /// The available next bytes, at least one.
    fn fill(&mut self) -> Result<&[u8], RecordFault> {
        let available = self.reader.fill_buf().map_err(|_| RecordFault::Corrupt)?;
        if available.is_empty() {
            return Err(RecordFault::EndsEarly);
        }
        let left = self.cap - self.read;
        if left == 0 {
            return Err(RecordFault::TooLarge { cap: self.cap });
        }
        Ok(&available[..available.len().min(left)])
    }

    fn consume(&mut self, n: usize) {
        self.reader.consume(n);
        self.read += n;
    }
}

impl<R: BufRead> ByteSource for Skip<R> {
    type Chunk = ();

    fn byte(&mut self) -> Result<u8, RecordFault> {
        let byte = self.fill()?[0];
        self.consume(1);
        Ok(byte)
    }

    fn chunk(&mut self, mut length: usize) -> Result<(), RecordFault> {
        while length > 0 {
            let n = self.fill()?.len().min(length);
            self.consume(n);
            length -= n;
        }
        Ok(())
    }

    fn text(&mut self, mut length: usize) -> Result<(), RecordFault> {
        // A character may extend past the available bytes. Its beginning is kept here.
        let mut cut = Vec::new();
        while length > 0 {
            let available = self.fill()?;
            // While a character is incomplete, one byte at a time.
            let n = if cut.is_empty() {
                length.min(available.len())
            } else {
                1
            };
            cut.extend_from_slice(&available[..n]);
            self.consume(n);
            length -= n;
            match std::str::from_utf8(&cut) {
                Ok(_) => cut.clear(),
                Err(error) if error.error_len().is_none() => {
                    cut.drain(..error.valid_up_to());
                }
                Err(_) => return Err(RecordFault::HeaderKey),
            }
        }
        if cut.is_empty() {
            Ok(())
        } else {
            Err(RecordFault::HeaderKey)
        }
    }

    fn is_at_end(&mut self) -> Result<bool, RecordFault> {
        match self.reader.fill_buf() {
            Ok(available) => Ok(available.is_empty()),
            Err(_) => Err(RecordFault::Corrupt),
        }
    }
}

/// A record without its headers.
pub(super) struct Fields<Chunk> {
    /// Bytes after the size field.
    pub(super) size: u64,
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Option<Chunk>,
    pub(super) value: Option<Chunk>,
}

/// In a record's attributes: that a varint goes on, and LogAppendTime as in those of a batch.
const ATTRIBUTES_READ_OTHERWISE: u8 = 0x88;

/// Reads a record and passes each of its headers to a callback. After an error the source's position is unspecified.
pub(super) fn read_record<S: ByteSource>(
    source: &mut S,
    mut header: impl FnMut(S::Chunk, Option<S::Chunk>),
) -> Result<Fields<S::Chunk>, RecordFault> {
    let size = varint(|| source.byte(), 32)?;
    let mut record = RecordSource {
        source,
        left: usize::try_from(size).map_err(|_| RecordFault::Size)?,
    };
    if record.byte()? & ATTRIBUTES_READ_OTHERWISE != 0 {
        return Err(RecordFault::Attributes);
    }
    let fields = Fields {
        size: size.unsigned_abs(),
        timestamp_delta: varint(|| record.byte(), 64)?,
        offset_delta: record.number()?,
        key: record.nullable()?,
        value: record.nullable()?,
    };
    let headers = record.number()?;
    if headers < 0 {
        return Err(RecordFault::Length);
    }
    for _ in 0..headers {
        let key = record.length()?.ok_or(RecordFault::Length)?;
        let key = record.source.text(key)?;
        header(key, record.nullable()?);
    }
    if record.left == 0 {
        Ok(fields)
    } else {
        Err(RecordFault::Size)
    }
}

/// A source that ends with the record.
struct RecordSource<'a, S> {
    source: &'a mut S,
    left: usize,
}

impl<S: ByteSource> RecordSource<'_, S> {
    fn byte(&mut self) -> Result<u8, RecordFault> {
        self.left = self.left.checked_sub(1).ok_or(RecordFault::Size)?;
        self.source.byte()
    }

    fn number(&mut self) -> Result<i32, RecordFault> {
        narrow(varint(|| self.byte(), 32)?)
    }

    /// Reads a length that must fit the record; `None` for null.
    fn length(&mut self) -> Result<Option<usize>, RecordFault> {
        let length = self.number()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| RecordFault::Length)?;
        self.left = self.left.checked_sub(length).ok_or(RecordFault::Length)?;
        Ok(Some(length))
    }

    fn nullable(&mut self) -> Result<Option<S::Chunk>, RecordFault> {
        self.length()?
            .map(|length| self.source.chunk(length))
            .transpose()
    }
}

fn narrow(number: i64) -> Result<i32, RecordFault> {
    i32::try_from(number).map_err(|_| RecordFault::Varint)
}

/// A zigzag number of at most this many bits.
fn varint(
    mut byte: impl FnMut() -> Result<u8, RecordFault>,
    bits: u32,
) -> Result<i64, RecordFault> {
    let mut value = 0_u64;
    let mut shift = 0;
    loop {
        let byte = byte()?;
        let low = u64::from(byte & 0x7f);
        if shift + 7 > bits && low >> (bits - shift) != 0 {
            return Err(RecordFault::Varint);
        }
        value |= low << shift;
        if byte < 0x80 {
            return Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
        }
        shift += 7;
        if shift >= bits {
            return Err(RecordFault::Varint);
        }
    }
}

/// Writes a zigzag number in as few bytes as it needs, whatever its type.
pub(super) fn put_varint(out: &mut Vec<u8>, number: i64) {
    let mut value = (number << 1 ^ number >> 63).cast_unsigned();
    while value >= 0x80 {
        out.push(low_bits(value) | 0x80);
        value >>= 7;
    }
    out.push(low_bits(value));
}

/// Bytes that [`put_varint`] writes.
pub(super) const fn varint_size(number: i64) -> usize {
    let value = (number << 1 ^ number >> 63).cast_unsigned();
    let bits = 64 - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

fn low_bits(value: u64) -> u8 {
    u8::try_from(value & 0x7f).expect("seven bits fit a byte")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8], bits: u32) -> Result<i64, RecordFault> {
        let mut bytes = Bytes::copy_from_slice(bytes);
        varint(|| bytes.byte(), bits)
    }

    #[test]
    fn numbers_are_written_as_protocol_buffers_write_zigzag() {
        for (number, bytes) in [
            (0, &[0][..]),
            (-1, &[1]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 1]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (
                i64::MIN,
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            ),
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, number);
            assert_eq!(out, bytes);
            assert_eq!(varint_size(number), bytes.len());
            assert_eq!(read(bytes, 64), Ok(number));
        }
    }

    #[test]
    fn a_number_with_more_bits_than_its_type_is_refused() {
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x0f], 32), Ok(-(1 << 31)));
        assert_eq!(
            read(&[0xff, 0xff, 0xff, 0xff, 0x1f], 32),
            Err(RecordFault::Varint)
        );
        assert_eq!(read(&[0x80; 6], 32), Err(RecordFault::Varint));
        assert_eq!(read(&[0x80; 11], 64), Err(RecordFault::Varint));
        assert_eq!(read(&[0x80, 0x80], 32), Err(RecordFault::EndsEarly));
    }

    #[test]
    fn a_number_may_be_longer_than_it_need_be_up_to_the_width_of_its_type() {
        assert_eq!(read(&[0x82, 0x80, 0x80, 0x80, 0], 32), Ok(1));
        assert_eq!(
            read(&[0x82, 0x80, 0x80, 0x80, 0x80, 0], 32),
            Err(RecordFault::Varint)
        );
        let mut longest = [0x80; 10];
        (longest[0], longest[9]) = (0x82, 0);
        assert_eq!(read(&longest, 64), Ok(1));
    }

    proptest! {
        /// However the buffer cuts it.
        #[test]
        fn text_is_what_utf8_is(
            bytes in prop_oneof![
                any::<String>().prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..6),
                (any::<String>(), prop::collection::vec(any::<u8>(), 0..3))
                    .prop_map(|(text, more)| [text.as_bytes(), &more].concat()),
            ],
            buffer in 1..9_usize,
        ) {
            let reader = std::io::BufReader::with_capacity(buffer, &bytes[..]);
            let mut source = Skip::new(reader, usize::MAX);
            let expected = match std::str::from_utf8(&bytes) {
                Ok(_) => Ok(()),
                Err(_) => Err(RecordFault::HeaderKey),
            };
            prop_assert_eq!(source.text(bytes.len()), expected);
        }

        #[test]
        fn every_number_survives_the_round_trip(number: i64) {
            let mut out = Vec::new();
            put_varint(&mut out, number);
            prop_assert_eq!(varint_size(number), out.len());
            prop_assert_eq!(read(&out, 64), Ok(number));
        }
    }
}
