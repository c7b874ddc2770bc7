//! A record as a line of JSON: what `varve consume --json` prints and `varve produce --json-lines` takes.
//!
//! Bytes are a string where they are UTF-8, and `{"base64": "…"}` where they are not, so nothing is lost and every
//! line is JSON. `null` is null alone.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use varve_core::record::{HeaderRef, Record};

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordJson<'a> {
    pub(crate) partition: Option<i32>,
    /// Where the record stood. Whoever writes it again leaves this to the broker.
    offset: Option<i64>,
    /// CreateTime or LogAppendTime, in milliseconds since the Unix epoch.
    pub(crate) timestamp: Option<i64>,
    #[serde(borrow)]
    key: Option<JsonBytes<'a>>,
    /// Not left out: a misspelt name would make a tombstone.
    #[serde(borrow, deserialize_with = "nullable")]
    value: Option<JsonBytes<'a>>,
    /// Name and value of each, in order: a name may occur more than once.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(JsonBytes<'a>, Option<JsonBytes<'a>>)>,
}

fn nullable<'de, D: Deserializer<'de>>(from: D) -> Result<Option<JsonBytes<'de>>, D::Error> {
    Option::deserialize(from)
}

impl<'a> RecordJson<'a> {
    /// A record of a partition.
    pub(crate) fn of(partition: i32, record: &'a Record) -> Self {
        let headers = record.headers.iter();
        Self {
            partition: Some(partition),
            offset: Some(record.offset.0),
            timestamp: Some(record.timestamp.0),
            key: record.key.as_deref().map(JsonBytes::of),
            value: record.value.as_deref().map(JsonBytes::of),
            headers: headers
                .map(|header| {
                    let value = header.value.as_deref().map(JsonBytes::of);
                    (JsonBytes::of(&header.key), value)
                })
                .collect(),
        }
    }
}

impl<'a> RecordJson<'a> {
    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|error| {
            // A line has one line alone: its number is known to whoever reads lines.
            let words = error.to_string();
            let place = format!(" at line {} column {}", error.line(), error.column());
            let words = words.strip_suffix(&place).unwrap_or(&words);
            format!(
                "it is no record as JSON: {words}, at column {}",
                error.column()
            )
        })
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.key.as_ref().map(|bytes| &*bytes.0)
    }

    pub(crate) fn value(&self) -> Option<&[u8]> {
        self.value.as_ref().map(|bytes| &*bytes.0)
    }

    pub(crate) fn headers(&self) -> Vec<HeaderRef<'_>> {
        let headers = self.headers.iter();
        headers
            .map(|(name, value)| (&*name.0, value.as_ref().map(|bytes| &*bytes.0)))
            .collect()
    }
}

/// Any bytes.
#[derive(Debug)]
struct JsonBytes<'a>(Cow<'a, [u8]>);

impl<'a> JsonBytes<'a> {
    const fn of(bytes: &'a [u8]) -> Self {
        Self(Cow::Borrowed(bytes))
    }
}

impl Serialize for JsonBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Ok(text) = str::from_utf8(&self.0) {
            return serializer.serialize_str(text);
        }
        let mut marked = serializer.serialize_map(Some(1))?;
        marked.serialize_entry("base64", &STANDARD.encode(&self.0))?;
        marked.end()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for JsonBytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BytesVisitor)
    }
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = JsonBytes<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"a string, {"base64": "..."} or null"#)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<JsonBytes<'de>, E> {
        Ok(JsonBytes::of(text.as_bytes()))
    }

    fn visit_str<E>(self, text: &str) -> Result<JsonBytes<'de>, E> {
        Ok(JsonBytes(Cow::Owned(text.as_bytes().to_vec())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonBytes<'de>, A::Error> {
        let marked = match map.next_entry::<Cow<'_, str>, Cow<'_, str>>()? {
            Some((mark, text)) if mark == "base64" => STANDARD.decode(&*text),
            Some(_) | None => return Err(de::Error::custom(r#"bytes are {"base64": "..."}"#)),
        };
        if map.next_key::<Cow<'_, str>>()?.is_some() {
            return Err(de::Error::custom(
                r#"bytes are {"base64": "..."} and no more"#,
            ));
        }
        let bytes = marked.map_err(|error| de::Error::custom(format!("no base64: {error}")))?;
        Ok(JsonBytes(Cow::Owned(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use varve_core::ids::{Offset, Timestamp};
    use varve_core::record::RecordHeader;

    fn line(key: Option<&'static [u8]>, headers: Vec<RecordHeader>) -> String {
        let record = Record {
            offset: Offset(5),
            timestamp: Timestamp(1_700_000_000_000),
            key: key.map(Bytes::from_static),
            value: Some(Bytes::from_static(b"\xff\xfe\x00\x01")),
            headers,
        };
        serde_json::to_string(&RecordJson::of(2, &record)).unwrap()
    }

    #[test]
    fn bytes_that_are_no_utf8_are_marked_and_null_is_no_text() {
        assert_eq!(
            line(None, Vec::new()),
            r#"{"partition":2,"offset":5,"timestamp":1700000000000,"key":null,"value":{"base64":"//4AAQ=="}}"#
        );
        assert!(line(Some(b"(null)"), Vec::new()).contains(r#""key":"(null)""#));
        assert!(line(Some(b"\r\0\xc3\xa9"), Vec::new()).contains(r#""key":"\r\u0000é""#));
    }

    #[test]
    fn headers_keep_their_order_nulls_and_bytes() {
        let header = |key: &'static [u8], value: Option<&'static [u8]>| RecordHeader {
            key: Bytes::from_static(key),
            value: value.map(Bytes::from_static),
        };
        let headers = vec![
            header(b"a", Some(b"1")),
            header(b"a", None),
            header(b"\xff", Some(b"\xfe")),
        ];
        assert!(line(None, headers).ends_with(
            r#""headers":[["a","1"],["a",null],[{"base64":"/w=="},{"base64":"/g=="}]]}"#
        ));
    }

    #[test]
    fn what_is_printed_is_taken_back_unchanged() {
        let header = |key: &'static [u8], value: Option<&'static [u8]>| RecordHeader {
            key: Bytes::from_static(key),
            value: value.map(Bytes::from_static),
        };
        let headers = vec![header(b"\xff", None), header(b"a\"\n", Some(b"\0\xfe"))];
        let line = line(Some(b"k\\\xc3\xa9"), headers);
        let record = RecordJson::parse(line.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), line);
        assert_eq!(record.key(), Some(&b"k\\\xc3\xa9"[..]));
        assert_eq!(record.value(), Some(&b"\xff\xfe\x00\x01"[..]));
        assert_eq!(
            record.headers(),
            [(&b"\xff"[..], None), (b"a\"\n", Some(&b"\0\xfe"[..]))]
        );
    }

    #[test]
    fn a_line_that_is_no_record_is_refused_in_words() {
        let refused = |line: &str| RecordJson::parse(line.as_bytes()).unwrap_err();
        for (line, words) in [
            ("", "EOF"),
            ("{}", "missing field `value`"),
            (r#"{"vaule":"a"}"#, "unknown field `vaule`"),
            (
                r#"{"value":1}"#,
                r#"expected a string, {"base64": "..."} or null"#,
            ),
            (r#"{"value":{"base64":"?"}}"#, "no base64"),
            (
                r#"{"value":{"hex":"00"}}"#,
                r#"bytes are {"base64": "..."}"#,
            ),
            (r#"{"value":{"base64":"","x":""}}"#, "and no more"),
            (r#"{"value":"a"} {"value":"b"}"#, "trailing characters"),
            (r#"{"value":"\ud800"}"#, "hex escape"),
        ] {
            let says = refused(line);
            assert!(
                says.contains(words) && says.contains("at column"),
                "{line}: {says}"
            );
        }
        assert!(RecordJson::parse(br#"{"value":null}"#).is_ok());
        assert!(RecordJson::parse(br#"{"value":"","key":null,"partition":null}"#).is_ok());
    }
}
