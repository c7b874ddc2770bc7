//! Bytes as text that fits one column of one line, and from which they can be told again.

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
}
