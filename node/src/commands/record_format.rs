//! `varve consume --format`: text with a letter for each part of a record, as kcat has them.

use std::io::{self, Write as _};

use varve_net::client::Consumed;

use super::escapes::unescape;

/// The letters, for whoever gave another.
const LETTERS: &str = "the letters are %s value, %S its length, %R the same as 4 bytes, %k key, %K its length, %T \
                       timestamp, %h headers, %t topic, %p partition, %o offset, and %% for a percent sign; lengths \
                       of null are -1";

/// A format that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Value,
    ValueLength,
    ValueLengthAsBytes,
    Key,
    KeyLength,
    Timestamp,
    Headers,
    Topic,
    Partition,
    Offset,
}

impl Format {
    /// Reads it from the command line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("it is empty, and shows nothing".to_owned());
        }
        let mut parts = Vec::new();
        let mut pieces = text.split('%');
        // What stands before the first percent sign.
        let begin = pieces.next().unwrap_or_default();
        push_text(&mut parts, begin)?;
        while let Some(piece) = pieces.next() {
            let mut rest = piece.chars();
            let part = match rest.next() {
                Some('s') => Part::Value,
                Some('S') => Part::ValueLength,
                Some('R') => Part::ValueLengthAsBytes,
                Some('k') => Part::Key,
                Some('K') => Part::KeyLength,
                Some('T') => Part::Timestamp,
                Some('h') => Part::Headers,
                Some('t') => Part::Topic,
                Some('p') => Part::Partition,
                Some('o') => Part::Offset,
                // Between two percent signs stands nothing; what follows is text.
                None => match pieces.next() {
                    Some(following) => {
                        parts.push(Part::Text(b"%".to_vec()));
                        push_text(&mut parts, following)?;
                        continue;
                    }
                    None => return Err(format!("it ends in a single %: {LETTERS}")),
                },
                Some(other) => return Err(format!("%{other} is no letter of it: {LETTERS}")),
            };
            parts.push(part);
            push_text(&mut parts, rest.as_str())?;
        }
        Ok(Self(parts))
    }

    /// Appends a record. `null` stands for a key or value that is.
    pub(crate) fn put(
        &self,
        topic: &str,
        consumed: &Consumed,
        null: &[u8],
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let record = &consumed.record;
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        for part in &self.0 {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Value => out.extend_from_slice(value.unwrap_or(null)),
                Part::ValueLength => write!(out, "{}", length(value))?,
                Part::ValueLengthAsBytes => out.extend_from_slice(&length(value).to_be_bytes()),
                Part::Key => out.extend_from_slice(key.unwrap_or(null)),
                Part::KeyLength => write!(out, "{}", length(key))?,
                Part::Timestamp => write!(out, "{}", record.timestamp.0)?,
                Part::Headers => put_headers(consumed, out),
                Part::Topic => out.extend_from_slice(topic.as_bytes()),
                Part::Partition => write!(out, "{}", consumed.partition)?,
                Part::Offset => write!(out, "{}", record.offset)?,
            }
        }
        Ok(())
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) -> Result<(), String> {
    if !text.is_empty() {
        parts.push(Part::Text(unescape(text)?));
    }
    Ok(())
}

fn length(bytes: Option<&[u8]>) -> i32 {
    // A record's field says its length as an i32.
    bytes.map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap_or(i32::MAX))
}

/// `name=value,name=value`; of a header whose value is null, its name alone.
fn put_headers(consumed: &Consumed, out: &mut Vec<u8>) {
    for (place, header) in consumed.record.headers.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&header.key);
        if let Some(value) = &header.value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use varve_core::ids::{Offset, Timestamp};
    use varve_core::record::{Record, RecordHeader};

    fn shown(format: &str, value: Option<&'static [u8]>) -> Vec<u8> {
        let header = |key: &'static [u8], value: Option<&'static [u8]>| RecordHeader {
            key: Bytes::from_static(key),
            value: value.map(Bytes::from_static),
        };
        let consumed = Consumed {
            partition: 2,
            record: Record {
                offset: Offset(5),
                timestamp: Timestamp(7),
                key: Some(Bytes::from_static(b"k\xff")),
                value: value.map(Bytes::from_static),
                headers: vec![header(b"a", Some(b"1")), header(b"b", None)],
            },
        };
        let mut out = Vec::new();
        let format = Format::parse(format).unwrap();
        format.put("t", &consumed, b"NULL", &mut out).unwrap();
        out
    }

    #[test]
    fn each_letter_shows_its_part_of_a_record() {
        let value = Some(&b"v\n\0"[..]);
        assert_eq!(shown("%t [%p] at %o: %T", value), b"t [2] at 5: 7");
        assert_eq!(shown(r"%k\t%s\n", value), b"k\xff\tv\n\0\n");
        assert_eq!(shown("%K %S %R", value), b"2 3 \0\0\0\x03");
        assert_eq!(shown("%h", value), b"a=1,b");
        assert_eq!(shown("100%%s%%%s%%", Some(b"v")), b"100%s%v%");
        assert_eq!(shown(r"\x25s", Some(b"v")), b"%s");
    }

    #[test]
    fn null_is_told_from_every_text() {
        assert_eq!(shown("%s %S %R", None), b"NULL -1 \xff\xff\xff\xff");
        assert_eq!(shown("%s %S", Some(b"NULL")), b"NULL 4");
        assert_eq!(shown("%S", Some(b"")), b"0");
    }

    #[test]
    fn a_letter_that_is_none_is_refused_with_those_that_are() {
        for (format, words) in [
            ("%q", "%q is no letter"),
            ("%s%", "ends in a single %"),
            ("%%%", "ends in a single %"),
            ("", "empty"),
            (r"%s\", "escapes are"),
            ("%é", "%é is no letter"),
        ] {
            let says = Format::parse(format).unwrap_err();
            assert!(says.contains(words), "{format}: {says}");
        }
    }
}
