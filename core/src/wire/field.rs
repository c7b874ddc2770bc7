//! What a field can be, and how each kind of it is read and written.

use bytes::Bytes;

use super::error_code::ErrorCode;
use super::read::{DecodeError, Reader};
use super::records::Records;
use super::text::Str;
use super::write::{EncodeError, Writer};
use crate::ids::{ClusterId, DirectoryId, TopicId};

/// The version that a message is read or written at, and whether that version is flexible (KIP-482).
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) version: i16,
    pub(crate) flexible: bool,
}

/// Which versions carry a field, and how. Both ends of a version range are inclusive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    first: i16,
    last: i16,
    nullable_first: i16,
    nullable_last: i16,
    tag: Option<u32>,
    ignorable: bool,
}

impl Rule {
    /// In every version, nullable if its type is, neither tagged nor ignorable.
    pub(crate) const PLAIN: Self = Self {
        first: 0,
        last: i16::MAX,
        nullable_first: 0,
        nullable_last: i16::MAX,
        tag: None,
        ignorable: false,
    };

    pub(crate) const fn versions(mut self, first: i16, last: i16) -> Self {
        self.first = first;
        self.last = last;
        self
    }

    pub(crate) const fn nullable(mut self, first: i16, last: i16) -> Self {
        self.nullable_first = first;
        self.nullable_last = last;
        self
    }

    pub(crate) const fn tag(mut self, tag: u32) -> Self {
        self.tag = Some(tag);
        self
    }

    pub(crate) const fn ignorable(mut self) -> Self {
        self.ignorable = true;
        self
    }

    const fn is_carried(self, at: At) -> bool {
        self.first <= at.version && at.version <= self.last
    }

    /// Whether the field stands in its place among the fields of this version.
    #[inline]
    pub(crate) const fn is_plain(self, at: At) -> bool {
        self.tag.is_none() && self.is_carried(at)
    }

    /// Whether the field is a tagged one of this version.
    #[inline]
    pub(crate) const fn is_tagged(self, at: At) -> bool {
        self.tag.is_some() && self.is_carried(at)
    }

    /// Whether this version has no place for the field and may drop it.
    #[inline]
    pub(crate) const fn is_ignorable_at(self, at: At) -> bool {
        self.ignorable && !self.is_carried(at)
    }

    #[inline]
    pub(crate) const fn is_nullable(self, at: At) -> bool {
        self.nullable_first <= at.version && at.version <= self.nullable_last
    }

    #[inline]
    pub(crate) const fn has_tag(self, tag: u32) -> bool {
        match self.tag {
            Some(own) => own == tag,
            None => false,
        }
    }

    /// The number of a tagged field.
    #[inline]
    pub(crate) const fn number(self) -> u32 {
        self.tag.expect("asked only of tagged fields")
    }
}

/// Refuses, at compile time, a struct whose tags do not ascend (they are written in that order) or a range that
/// is empty.
pub(crate) const fn assert_rules_are_sound(rules: &[Rule]) {
    let mut next_tag = 0;
    let mut place = 0;
    while place < rules.len() {
        let rule = rules[place];
        assert!(rule.first <= rule.last, "a version range is empty");
        assert!(
            rule.nullable_first <= rule.nullable_last,
            "a nullable range is empty"
        );
        if let Some(tag) = rule.tag {
            assert!(tag >= next_tag, "tags do not ascend");
            next_tag = tag + 1;
        }
        place += 1;
    }
}

/// A value that a message can have as a field or as an element of an array.
pub(crate) trait Field: Sized {
    /// The fewest bytes that a value takes at this version. It bounds how many elements of an array can follow.
    fn size_min(at: At) -> usize;

    /// `nullable` says whether this version allows null; it concerns `Option`s only.
    fn decode(reader: &mut Reader<'_>, at: At, nullable: bool) -> Result<Self, DecodeError>;

    fn encode(&self, writer: &mut Writer, at: At, nullable: bool) -> Result<(), EncodeError>;

    /// Any value that this version can carry, drawn from the bytes of the source.
    #[cfg(test)]
    fn sample(source: &mut super::sample::Tape, at: At, nullable: bool) -> Self;
}

/// A kind of value for which the protocol has a null.
pub(crate) trait Nullable: Field {
    fn decode_nullable(reader: &mut Reader<'_>, at: At) -> Result<Option<Self>, DecodeError>;

    fn encode_nullable(
        value: Option<&Self>,
        writer: &mut Writer,
        at: At,
    ) -> Result<(), EncodeError>;
}

impl<T: Nullable> Field for Option<T> {
    fn size_min(_at: At) -> usize {
        // A null is one byte at least, whatever it is a null of.
        1
    }

    #[inline]
    fn decode(reader: &mut Reader<'_>, at: At, nullable: bool) -> Result<Self, DecodeError> {
        if nullable {
            T::decode_nullable(reader, at)
        } else {
            T::decode(reader, at, false).map(Some)
        }
    }

    #[inline]
    fn encode(&self, writer: &mut Writer, at: At, nullable: bool) -> Result<(), EncodeError> {
        match self {
            value if nullable => T::encode_nullable(value.as_ref(), writer, at),
            Some(value) => value.encode(writer, at, false),
            None => Err(EncodeError::UnexpectedNull),
        }
    }

    #[cfg(test)]
    fn sample(source: &mut super::sample::Tape, at: At, nullable: bool) -> Self {
        if nullable && source.bool() {
            None
        } else {
            Some(T::sample(source, at, false))
        }
    }
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn size_min(_at: At) -> usize {
                size_of::<Self>()
            }

            #[inline]
            fn decode(reader: &mut Reader<'_>, _at: At, _nullable: bool) -> Result<Self, DecodeError> {
                Ok(Self::from_be_bytes(reader.array()?))
            }

            #[inline]
            fn encode(&self, writer: &mut Writer, _at: At, _nullable: bool) -> Result<(), EncodeError> {
                writer.put(&self.to_be_bytes());
                Ok(())
            }

            #[cfg(test)]
            fn sample(source: &mut super::sample::Tape, _at: At, _nullable: bool) -> Self {
                Self::from_be_bytes(source.array())
            }
        }
    )*};
}

number!(i8, i16, u16, i32, u32, i64);

macro_rules! uuid {
    ($($type:ident),*) => {$(
        impl Field for $type {
            fn size_min(_at: At) -> usize {
                16
            }

            #[inline]
            fn decode(reader: &mut Reader<'_>, _at: At, _nullable: bool) -> Result<Self, DecodeError> {
                Ok(Self(u128::from_be_bytes(reader.array()?)))
            }

            #[inline]
            fn encode(&self, writer: &mut Writer, _at: At, _nullable: bool) -> Result<(), EncodeError> {
                writer.put(&self.0.to_be_bytes());
                Ok(())
            }

            #[cfg(test)]
            fn sample(source: &mut super::sample::Tape, _at: At, _nullable: bool) -> Self {
                Self(u128::from_be_bytes(source.array()))
            }
        }
    )*};
}

uuid!(TopicId, DirectoryId, ClusterId);

impl Field for bool {
    fn size_min(_at: At) -> usize {
        1
    }

    #[inline]
    fn decode(reader: &mut Reader<'_>, _at: At, _nullable: bool) -> Result<Self, DecodeError> {
        let [byte] = reader.array()?;
        Ok(byte != 0)
    }

    #[inline]
    fn encode(&self, writer: &mut Writer, _at: At, _nullable: bool) -> Result<(), EncodeError> {
        writer.put(&[u8::from(*self)]);
        Ok(())
    }

    #[cfg(test)]
    fn sample(source: &mut super::sample::Tape, _at: At, _nullable: bool) -> Self {
        source.bool()
    }
}

impl Field for ErrorCode {
    fn size_min(_at: At) -> usize {
        2
    }

    /// A code that is not in the table reads as [`ErrorCode::UnknownServerError`], as Kafka's clients read it.
    #[inline]
    fn decode(reader: &mut Reader<'_>, _at: At, _nullable: bool) -> Result<Self, DecodeError> {
        Ok(Self::from_code(reader.i16()?).unwrap_or(Self::UnknownServerError))
    }

    #[inline]
    fn encode(&self, writer: &mut Writer, _at: At, _nullable: bool) -> Result<(), EncodeError> {
        writer.put(&self.code().to_be_bytes());
        Ok(())
    }

    #[cfg(test)]
    fn sample(source: &mut super::sample::Tape, _at: At, _nullable: bool) -> Self {
        Self::ALL[source.below(Self::ALL.len())]
    }
}

impl Field for Str {
    fn size_min(at: At) -> usize {
        if at.flexible { 1 } else { 2 }
    }

    #[inline]
    fn decode(reader: &mut Reader<'_>, at: At, _nullable: bool) -> Result<Self, DecodeError> {
        Self::decode_nullable(reader, at)?.ok_or(DecodeError::UnexpectedNull)
    }

    #[inline]
    fn encode(&self, writer: &mut Writer, at: At, _nullable: bool) -> Result<(), EncodeError> {
        Self::encode_nullable(Some(self), writer, at)
    }

    #[cfg(test)]
    fn sample(source: &mut super::sample::Tape, _at: At, _nullable: bool) -> Self {
        Self::from(source.text())
    }
}

impl Nullable for Str {
    #[inline]
    fn decode_nullable(reader: &mut Reader<'_>, at: At) -> Result<Option<Self>, DecodeError> {
        let len = if at.flexible {
            reader.compact_len()?
        } else {
            reader.short_len()?
        };
        len.map(|len| reader.text(len)).transpose()
    }

    #[inline]
    fn encode_nullable(
        value: Option<&Self>,
        writer: &mut Writer,
        at: At,
    ) -> Result<(), EncodeError> {
        let len = value.map(|text| text.as_bytes().len());
        if at.flexible {
            writer.compact_len(len)?;
        } else {
            writer.short_len(len)?;
        }
        if let Some(text) = value {
            writer.put(text.as_bytes());
        }
        Ok(())
    }
}

/// The length before an array, a byte sequence or record batches.
#[inline]
fn decode_len(reader: &mut Reader<'_>, at: At) -> Result<Option<usize>, DecodeError> {
    if at.flexible {
        reader.compact_len()
    } else {
        reader.long_len()
    }
}

#[inline]
fn encode_len(writer: &mut Writer, at: At, len: Option<usize>) -> Result<(), EncodeError> {
    if at.flexible {
        writer.compact_len(len)
    } else {
        writer.long_len(len)
    }
}

const fn len_size_min(at: At) -> usize {
    if at.flexible { 1 } else { 4 }
}

impl Field for Bytes {
    fn size_min(at: At) -> usize {
        len_size_min(at)
    }

    #[inline]
    fn decode(reader: &mut Reader<'_>, at: At, _nullable: bool) -> Result<Self, DecodeError> {
        Self::decode_nullable(reader, at)?.ok_or(DecodeError::UnexpectedNull)
    }

    #[inline]
    fn encode(&self, writer: &mut Writer, at: At, _nullable: bool) -> Result<(), EncodeError> {
        Self::encode_nullable(Some(self), writer, at)
    }

    #[cfg(test)]
    fn sample(source: &mut super::sample::Tape, _at: At, _nullable: bool) -> Self {
        Self::from(source.bytes())
    }
}

impl Nullable for Bytes {
    #[inline]
    fn decode_nullable(reader: &mut Reader<'_>, at: At) -> Result<Option<Self>, DecodeError> {
        decode_len(reader, at)?
            .map(|len| reader.bytes(len))
            .transpose()
    }

    #[inline]
    fn encode_nullable(
        value: Option<&Self>,
        writer: &mut Writer,
        at: At,
    ) -> Result<(), EncodeError> {
        encode_len(writer, at, value.map(Self::len))?;
        if let Some(bytes) = value {
            writer.put(bytes);
        }
        Ok(())
    }
}

impl Field for Records {
    fn size_min(at: At) -> usize {
        len_size_min(at)
    }

    #[inline]
    fn decode(reader: &mut Reader<'_>, at: At, _nullable: bool) -> Result<Self, DecodeError> {
        Self::decode_nullable(reader, at)?.ok_or(DecodeError::UnexpectedNull)
    }

    #[inline]
    fn encode(&self, writer: &mut Writer, at: At, _nullable: bool) -> Result<(), EncodeError> {
        Self::encode_nullable(Some(self), writer, at)
    }

    #[cfg(test)]
    fn sample(source: &mut super::sample::Tape, _at: At, _nullable: bool) -> Self {
        (0..source.below(4))
            .map(|_| Bytes::from(source.bytes()))
            .collect()
    }
}

impl Nullable for Records {
    #[inline]
    fn decode_nullable(reader: &mut Reader<'_>, at: At) -> Result<Option<Self>, DecodeError> {
        Ok(Bytes::decode_nullable(reader, at)?.map(Self::from))
    }

    #[inline]
    fn encode_nullable(
        value: Option<&Self>,
        writer: &mut Writer,
        at: At,
    ) -> Result<(), EncodeError> {
        encode_len(writer, at, value.map(Self::len))?;
        for piece in value.iter().flat_map(|records| records.pieces()) {
            writer.thread(piece);
        }
        Ok(())
    }
}

impl<T: Field> Field for Vec<T> {
    fn size_min(at: At) -> usize {
        len_size_min(at)
    }

    #[inline]
    fn decode(reader: &mut Reader<'_>, at: At, _nullable: bool) -> Result<Self, DecodeError> {
        Self::decode_nullable(reader, at)?.ok_or(DecodeError::UnexpectedNull)
    }

    #[inline]
    fn encode(&self, writer: &mut Writer, at: At, _nullable: bool) -> Result<(), EncodeError> {
        Self::encode_nullable(Some(self), writer, at)
    }

    #[cfg(test)]
    fn sample(source: &mut super::sample::Tape, at: At, _nullable: bool) -> Self {
        (0..source.below(4))
            .map(|_| T::sample(source, at, false))
            .collect()
    }
}

/// Elements for which room is made before any is there, as in Kafka. For the others it is made once these were.
const ELEMENTS_FORESEEN_MAX: usize = 1_000;

impl<T: Field> Nullable for Vec<T> {
    fn decode_nullable(reader: &mut Reader<'_>, at: At) -> Result<Option<Self>, DecodeError> {
        let Some(len) = decode_len(reader, at)? else {
            return Ok(None);
        };
        // The length is the sender's word. Room is made only for elements whose bytes can be there; a struct
        // without any field would take none, so at least one is counted.
        if len > reader.remaining() / T::size_min(at).max(1) {
            return Err(DecodeError::Truncated);
        }
        reader.take_elements(len)?;
        let mut elements = Self::with_capacity(len.min(ELEMENTS_FORESEEN_MAX));
        for place in 0..len {
            if place == ELEMENTS_FORESEEN_MAX {
                elements.reserve_exact(len - place);
            }
            elements.push(T::decode(reader, at, false)?);
        }
        Ok(Some(elements))
    }

    fn encode_nullable(
        value: Option<&Self>,
        writer: &mut Writer,
        at: At,
    ) -> Result<(), EncodeError> {
        encode_len(writer, at, value.map(Self::len))?;
        for element in value.into_iter().flatten() {
            element.encode(writer, at, false)?;
        }
        Ok(())
    }
}

/// A struct that can be null has one byte before it: negative for null.
pub(crate) fn decode_nullable_struct<T: Field>(
    reader: &mut Reader<'_>,
    at: At,
) -> Result<Option<T>, DecodeError> {
    let [marker] = reader.array()?;
    if i8::from_be_bytes([marker]) < 0 {
        Ok(None)
    } else {
        T::decode(reader, at, false).map(Some)
    }
}

/// The writing half of [`decode_nullable_struct`].
pub(crate) fn encode_nullable_struct<T: Field>(
    value: Option<&T>,
    writer: &mut Writer,
    at: At,
) -> Result<(), EncodeError> {
    match value {
        None => writer.put(&(-1i8).to_be_bytes()),
        Some(value) => {
            writer.put(&1i8.to_be_bytes());
            value.encode(writer, at, false)?;
        }
    }
    Ok(())
}
