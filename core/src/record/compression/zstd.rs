//! Zstandard: frames, as every client reads them.
//!
//! ```text
//! magic u32   descriptor u8   [window u8]   [dictionary id u8, u16 or u32]   [content size u8, u16, u32 or u64]
//! blocks, each: size, kind and whether it is the last u24, bytes
//! [content checksum u32]
//! ```
//! Source: RFC 8878. A streaming decoder skips an empty compressed block; one that is given everything at once, as in
//! librdkafka, refuses it. So the blocks are checked first; everything else is left to the decoder.

use std::io::{self, Read};

use zstd::stream::read::Decoder;

use super::bytes::{byte, take, u32_le};
use super::corrupt;

const MAGIC: u32 = 0xfd2f_b528;
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;
const SKIPPABLE_MASK: u32 = 0xffff_fff0;
const SINGLE_SEGMENT: u8 = 0x20;
const CONTENT_CHECKSUM: u8 = 0x04;

pub(in super::super) struct ZstdReader<'a>(Decoder<'static, &'a [u8]>);

impl<'a> ZstdReader<'a> {
    pub(super) fn new(body: &'a [u8]) -> io::Result<Self> {
        let mut rest = body;
        while !rest.is_empty() {
            take_frame(&mut rest).ok_or_else(corrupt)?;
        }
        Ok(Self(Decoder::with_buffer(body)?))
    }
}

impl Read for ZstdReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

fn take_frame(rest: &mut &[u8]) -> Option<()> {
    let magic = u32_le(rest)?;
    if magic & SKIPPABLE_MASK == SKIPPABLE_MAGIC {
        let size = u32_le(rest)?;
        return take(rest, usize::try_from(size).ok()?).map(|_| ());
    }
    if magic != MAGIC {
        return None;
    }
    let descriptor = byte(rest)?;
    let single_segment = descriptor & SINGLE_SEGMENT != 0;
    let window = usize::from(!single_segment);
    let dictionary_id = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content_size = [usize::from(single_segment), 2, 4, 8][usize::from(descriptor >> 6)];
    take(rest, window + dictionary_id + content_size)?;
    while !take_block(rest)? {}
    if descriptor & CONTENT_CHECKSUM != 0 {
        take(rest, 4)?;
    }
    Some(())
}

/// Returns whether it was the last.
fn take_block(rest: &mut &[u8]) -> Option<bool> {
    let &[low, middle, high] = take(rest, 3)?.first_chunk()?;
    let header = u32::from_le_bytes([low, middle, high, 0]);
    let size = usize::try_from(header >> 3).ok()?;
    match header >> 1 & 3 {
        // As they are; one byte, repeated; compressed.
        0 => take(rest, size)?,
        1 => take(rest, 1)?,
        2 if size > 0 => take(rest, size)?,
        _ => return None,
    };
    Some(header & 1 != 0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(parts: &[&[u8]]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let frames = parts.concat();
        ZstdReader::new(&frames).ok()?.read_to_end(&mut out).ok()?;
        Some(out)
    }

    fn once() -> Option<Vec<u8>> {
        Some(b"once".to_vec())
    }

    /// A frame's header, with this descriptor and what belongs to it.
    fn header(descriptor: u8, fields: &[u8]) -> Vec<u8> {
        [&MAGIC.to_le_bytes()[..], &[descriptor], fields].concat()
    }

    /// Not compressed, and the last.
    const ONCE: &[u8] = b"\x21\0\0once";
    /// A window of 1 KiB.
    const WINDOW: &[u8] = &[0];

    #[test]
    fn frames_may_follow_one_another_and_be_skippable() {
        let frame = [header(0, WINDOW), ONCE.to_vec()].concat();
        let skippable = [&SKIPPABLE_MAGIC.to_le_bytes()[..], &[1, 0, 0, 0, 7]].concat();
        assert_eq!(read(&[&frame]), once());
        assert_eq!(read(&[&frame, &frame]), Some(b"onceonce".to_vec()));
        assert_eq!(read(&[&skippable, &frame]), once());
        assert_eq!(read(&[&frame, &skippable]), once());
        assert_eq!(read(&[&frame, &skippable[..8]]), None);
        assert_eq!(read(&[&frame, b"\0"]), None);
    }

    #[test]
    fn a_window_is_of_128_mebibytes_at_most() {
        let window = |log: u8| read(&[&header(0, &[(log - 10) << 3]), ONCE]);
        assert_eq!(window(10), once());
        assert_eq!(window(27), once());
        assert_eq!(window(28), None);
    }

    #[test]
    fn a_content_size_is_true() {
        assert_eq!(read(&[&header(SINGLE_SEGMENT, &[4]), ONCE]), once());
        assert_eq!(read(&[&header(SINGLE_SEGMENT, &[5]), ONCE]), None);
        assert_eq!(
            read(&[&header(0x40, &[0, 4, 0]), ONCE]),
            None,
            "two bytes count from 256"
        );
        assert_eq!(read(&[&header(0x80, &[0, 4, 0, 0, 0]), ONCE]), once());
        assert_eq!(
            read(&[&header(0xc0, &[0, 4, 0, 0, 0, 0, 0, 0, 0]), ONCE]),
            once()
        );
    }

    #[test]
    fn no_dictionary_is_known() {
        assert_eq!(read(&[&header(1, &[0, 0]), ONCE]), once(), "0 is none");
        assert_eq!(read(&[&header(1, &[0, 9]), ONCE]), None);
        assert_eq!(read(&[&header(2, &[0, 9, 0]), ONCE]), None);
        assert_eq!(read(&[&header(3, &[0, 9, 0, 0, 0]), ONCE]), None);
    }

    #[test]
    fn a_checksum_is_true() {
        let mut writer = zstd::stream::Encoder::new(Vec::new(), 0).expect("memory takes all");
        writer.include_checksum(true).expect("it can");
        writer.write_all(b"once").expect("memory takes all");
        let mut frame = writer.finish().expect("memory takes all");
        assert_eq!(read(&[&frame]), once());
        *frame.last_mut().expect("a checksum") ^= 1;
        assert_eq!(read(&[&frame]), None);
    }

    #[test]
    fn a_compressed_block_has_bytes() {
        let first = b"\x20\0\0once";
        let last_empty = |kind: u8| read(&[&header(0, WINDOW), first, &[1 | kind << 1, 0, 0]]);
        assert_eq!(last_empty(0), once());
        assert_eq!(last_empty(2), None);
        assert_eq!(last_empty(3), None, "a kind that there is not");
    }
}
