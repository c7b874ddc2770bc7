//! Bytes as text: as they are shown in one column of one line, and as they are given on the command line.

use std::fmt;

/// What stands for null, which no bytes are shown as: a backslash of theirs is doubled.
pub(crate) const NULL: &[u8] = b"\\N";

/// Appends bytes as readable text: a tab, a line's end, a backslash, control characters, what is no UTF-8, and the
/// bytes in `also` are shown as escapes.
pub(crate) fn escape(bytes: &[u8], also: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => out.extend_from_slice(b"\\\\"),
                '\t' => out.extend_from_slice(b"\\t"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                _ if character.is_control() || is_among(character, also) => {
                    let mut utf8 = [0; 4];
                    put_hex(character.encode_utf8(&mut utf8).as_bytes(), out);
                }
                _ => {
                    let mut utf8 = [0; 4];
                    out.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
                }
            }
        }
        put_hex(chunk.invalid(), out);
    }
}

fn is_among(character: char, bytes: &[u8]) -> bool {
    bytes.iter().any(|&byte| char::from(byte) == character)
}

fn put_hex(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
    }
}

/// The escapes that may be given, for whoever gave another.
const ESCAPES: &str = r"the escapes are \n, \r, \t, \0, \xHH, and \\ for a backslash";

/// The bytes of text with escapes.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        let (byte, length) = match escape.as_bytes() {
            [b'n', ..] => (b'\n', 1),
            [b'r', ..] => (b'\r', 1),
            [b't', ..] => (b'\t', 1),
            [b'0', ..] => (0, 1),
            [b'\\', ..] => (b'\\', 1),
            [b'x', ..] => {
                let digits = escape.get(1..3);
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                (byte.ok_or(format!("\\x takes two digits: {ESCAPES}"))?, 3)
            }
            [..] => return Err(ESCAPES.to_owned()),
        };
        bytes.push(byte);
        rest = &escape[length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// What separates one thing from the next, as it is given: text with escapes, and not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Separator(pub(crate) Vec<u8>);

impl Separator {
    /// Reads it from the command line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match unescape(text)? {
            bytes if bytes.is_empty() => Err("it is empty, and separates nothing".to_owned()),
            bytes => Ok(Self(bytes)),
        }
    }
}

impl fmt::Display for Separator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = Vec::new();
        escape(&self.0, b"", &mut shown);
        f.write_str(&String::from_utf8_lossy(&shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8], also: &[u8]) -> String {
        let mut out = Vec::new();
        escape(bytes, also, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn whatever_the_bytes_they_are_one_column_of_text() {
        assert_eq!(escaped("é (null)".as_bytes(), b""), "é (null)");
        assert_eq!(escaped(b"a\tb\nc\r\\N", b""), r"a\tb\nc\r\\N");
        assert_eq!(escaped(b"\0\xff\xfe\x7f", b""), r"\x00\xff\xfe\x7f");
        assert_eq!(escaped("\u{85}".as_bytes(), b""), r"\xc2\x85");
        assert_eq!(escaped(b"a=b,c", b"=,"), r"a\x3db\x2cc");
        assert_ne!(escaped(br"\N", b"").as_bytes(), NULL);
    }

    #[test]
    fn a_separator_is_text_with_escapes() {
        let bytes = |text| Separator::parse(text).map(|separator| separator.0);
        assert_eq!(bytes(r"\t"), Ok(b"\t".to_vec()));
        assert_eq!(bytes(r"a\n\r\0\\é"), Ok("a\n\r\0\\é".as_bytes().to_vec()));
        assert_eq!(bytes(r"\xff\x00-"), Ok(b"\xff\0-".to_vec()));
        assert!(bytes("").is_err());
        for text in [r"\", r"\q", r"a\x", r"\x1", r"\xgg", r"\x1é", r"\é"] {
            assert!(bytes(text).unwrap_err().contains("escapes are"), "{text}");
        }
        assert_eq!(Separator(b"\t\xff,".to_vec()).to_string(), r"\t\xff,");
    }
}
