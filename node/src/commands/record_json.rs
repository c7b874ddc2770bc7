//! A record as a line of JSON: what `varve consume --json` prints.
//!
//! Bytes are a string where they are UTF-8, and `{"base64": "…"}` where they are not, so nothing is lost and every
//! line is JSON. `null` is null alone.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use varve_core::record::Record;

/// One line.
#[derive(Debug, Serialize)]
pub(crate) struct RecordJson<'a> {
    partition: i32,
    offset: i64,
    /// CreateTime or LogAppendTime, in milliseconds since the Unix epoch.
    timestamp: i64,
    key: Option<JsonBytes<'a>>,
    value: Option<JsonBytes<'a>>,
    /// Name and value of each, in order: a name may occur more than once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(JsonBytes<'a>, Option<JsonBytes<'a>>)>,
}

impl<'a> RecordJson<'a> {
    /// A record of a partition.
    pub(crate) fn of(partition: i32, record: &'a Record) -> Self {
        let headers = record.headers.iter();
        Self {
            partition,
            offset: record.offset.0,
            timestamp: record.timestamp.0,
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
}
