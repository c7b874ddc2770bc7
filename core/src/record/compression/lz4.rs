//! LZ4: one frame, as every client reads it.
//!
//! ```text
//! magic u32   flags u8   block size u8   [content size u64]   header checksum u8
//! blocks, each: size u32 (its top bit: not compressed), bytes, [checksum u32]
//! end mark u32 = 0   [content checksum u32]
//! ```
//! Source: LZ4's frame and block formats. The decoder alone accepts more than clients do: several frames, a frame
//! without its end mark, and blocks that break the format's rules for their end. So the frame's structure is checked
//! first, which costs little, since neither literals nor matches are copied; checksums and sizes are left to the
//! decoder.

use std::io::{self, Read};

use super::bytes::{byte, take, u32_le};
use super::corrupt;

const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
/// Flags with required values: version 1 in bits 6 and 7, independent blocks in 5, the reserved 1, and no dictionary in
/// 0.
const FIXED_FLAGS: u8 = 0xe3;
const FIXED_FLAGS_SERVED: u8 = 0x60;
const BLOCK_CHECKSUMS: u8 = 0x10;
const CONTENT_SIZE: u8 = 0x08;
const CONTENT_CHECKSUM: u8 = 0x04;
/// The bit of a block's size that says that the block is not compressed.
const NOT_COMPRESSED: u32 = 1 << 31;

/// A block that has a match ends with at least this many literals.
const LAST_LITERALS: usize = 5;
/// No match starts closer to the end of the largest block that the frame allows.
const MATCH_LIMIT: usize = 12;
const MATCH_LENGTH_MIN: usize = 4;

pub(in super::super) struct Lz4Reader<'a>(Box<lz4_flex::frame::FrameDecoder<&'a [u8]>>);

impl<'a> Lz4Reader<'a> {
    pub(super) fn new(body: &'a [u8]) -> io::Result<Self> {
        check_frame(body).ok_or_else(corrupt)?;
        Ok(Self(Box::new(lz4_flex::frame::FrameDecoder::new(body))))
    }
}

impl Read for Lz4Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

/// Checks the structure of exactly one frame, with nothing after it.
fn check_frame(body: &[u8]) -> Option<()> {
    let mut rest = body.strip_prefix(&MAGIC)?;
    let flags = byte(&mut rest)?;
    if flags & FIXED_FLAGS != FIXED_FLAGS_SERVED {
        return None;
    }
    let block_size_max = match byte(&mut rest)? {
        0x40 => 64 << 10,
        0x50 => 256 << 10,
        0x60 => 1 << 20,
        0x70 => 4 << 20,
        _ => return None,
    };
    let content_size = if flags & CONTENT_SIZE == 0 { 0 } else { 8 };
    let header_checksum = 1;
    take(&mut rest, content_size + header_checksum)?;
    loop {
        let size = u32_le(&mut rest)?;
        if size == 0 {
            break;
        }
        let block = take(&mut rest, usize::try_from(size & !NOT_COMPRESSED).ok()?)?;
        if size & NOT_COMPRESSED == 0 {
            check_block(block, block_size_max)?;
        } else if block.is_empty() {
            // The Java client would take it for the end mark.
            return None;
        }
        if flags & BLOCK_CHECKSUMS != 0 {
            take(&mut rest, 4)?;
        }
    }
    if flags & CONTENT_CHECKSUM != 0 {
        take(&mut rest, 4)?;
    }
    rest.is_empty().then_some(())
}

/// Checks a compressed block: sequences of a token, literals, and a match in what was decompressed before. The last
/// sequence has no match. The format keeps matches away from the block's end so that decoders may copy more bytes than
/// needed, and decoders rely on that.
fn check_block(block: &[u8], block_size_max: usize) -> Option<()> {
    let mut rest = block;
    let mut size = 0;
    let mut last_match = None;
    loop {
        let token = byte(&mut rest)?;
        let literals = length(token >> 4, &mut rest)?;
        take(&mut rest, literals)?;
        size += literals;
        if rest.is_empty() {
            return match last_match {
                None => size > 0,
                Some(start) => literals >= LAST_LITERALS && start + MATCH_LIMIT <= block_size_max,
            }
            .then_some(());
        }
        last_match = Some(size);
        let _offset = take(&mut rest, 2)?;
        size += MATCH_LENGTH_MIN + length(token & 0x0f, &mut rest)?;
    }
}

/// A length whose first four bits are given; if all are set, the following bytes are added, up to the first that is not
/// 255.
fn length(bits: u8, rest: &mut &[u8]) -> Option<usize> {
    let mut length = usize::from(bits);
    if bits == 0x0f {
        loop {
            let more = byte(rest)?;
            length += usize::from(more);
            if more != 0xff {
                break;
            }
        }
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

    use super::*;

    /// Where a frame without content size keeps its header's checksum.
    const HEADER_CHECKSUM: usize = 6;
    const END_MARK: [u8; 4] = [0; 4];

    fn read(frame: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        Lz4Reader::new(frame).ok()?.read_to_end(&mut out).ok()?;
        Some(out)
    }

    fn write(info: FrameInfo, bytes: &[u8]) -> Vec<u8> {
        let mut writer = FrameEncoder::with_frame_info(info, Vec::new());
        writer.write_all(bytes).expect("memory takes all");
        writer.finish().expect("memory takes all")
    }

    fn plain(bytes: &[u8]) -> Vec<u8> {
        write(FrameInfo::new(), bytes)
    }

    /// A frame of 64 KiB at most a block, with these blocks and nothing behind.
    fn blocks(blocks: &[(u32, &[u8])]) -> Vec<u8> {
        let mut frame = plain(b"")[..=HEADER_CHECKSUM].to_vec();
        for (size, bytes) in blocks {
            frame.extend_from_slice(&size.to_le_bytes());
            frame.extend_from_slice(bytes);
        }
        frame
    }

    fn one_block(bytes: &[u8]) -> Vec<u8> {
        let size = u32::try_from(bytes.len()).expect("short");
        blocks(&[(size, bytes), (0, b"")])
    }

    #[test]
    fn every_option_that_clients_read_is_read() {
        let bytes: Vec<u8> = (0..300_000_u32)
            .flat_map(|n| (n / 7).to_le_bytes())
            .collect();
        for block_size in [
            BlockSize::Max64KB,
            BlockSize::Max256KB,
            BlockSize::Max1MB,
            BlockSize::Max4MB,
        ] {
            for checksums in [false, true] {
                let info = FrameInfo::new()
                    .block_size(block_size)
                    .block_checksums(checksums)
                    .content_checksum(checksums)
                    .content_size(checksums.then_some(bytes.len() as u64));
                assert!(read(&write(info, &bytes)).as_deref() == Some(&bytes));
            }
        }
    }

    #[test]
    fn only_one_frame_is_read_by_everybody() {
        let frame = plain(b"once");
        assert_eq!(read(&frame).as_deref(), Some(&b"once"[..]));
        assert_eq!(read(&[&frame[..], b"x"].concat()), None);
        assert_eq!(read(&[&frame[..], &END_MARK].concat()), None);
        assert_eq!(read(&[&frame[..], &frame].concat()), None);
        let skippable = [
            &0x184d_2a50_u32.to_le_bytes()[..],
            &1_u32.to_le_bytes(),
            b"x",
        ]
        .concat();
        assert_eq!(read(&[&skippable[..], &frame].concat()), None);
        assert_eq!(read(&[&frame[..], &skippable].concat()), None);
        let legacy = [
            &0x184c_2102_u32.to_le_bytes()[..],
            &[5, 0, 0, 0],
            b"\x40once",
        ]
        .concat();
        assert_eq!(read(&legacy), None);
    }

    #[test]
    fn blocks_do_not_depend_on_one_another_nor_on_a_dictionary() {
        let linked = FrameInfo::new().block_mode(BlockMode::Linked);
        assert_eq!(read(&write(linked, b"twice, twice, twice")), None);
        let mut with_dictionary = plain(b"once");
        with_dictionary[4] |= 1;
        with_dictionary.splice(6..6, [1, 0, 0, 0]);
        assert_eq!(read(&with_dictionary), None);
    }

    #[test]
    fn a_header_is_what_its_checksum_says() {
        let mut frame = plain(b"once");
        for bit in 0..8 {
            frame[HEADER_CHECKSUM] ^= 1 << bit;
            assert_eq!(read(&frame), None);
            frame[HEADER_CHECKSUM] ^= 1 << bit;
        }
        // KAFKA-3160: Kafka's old clients took the sum of the magic number as well.
        let mut whole = lz4_flex_checksum(&frame[..HEADER_CHECKSUM]);
        std::mem::swap(&mut frame[HEADER_CHECKSUM], &mut whole);
        assert_ne!(whole, frame[HEADER_CHECKSUM]);
        assert_eq!(read(&frame), None);
    }

    /// The second byte of XXH32, as the encoder itself writes it for a block.
    fn lz4_flex_checksum(bytes: &[u8]) -> u8 {
        let frame = write(FrameInfo::new().content_checksum(true), bytes);
        frame[frame.len() - 3]
    }

    #[test]
    fn checksums_and_sizes_are_true() {
        for info in [
            FrameInfo::new().block_checksums(true),
            FrameInfo::new().content_checksum(true),
        ] {
            let mut frame = write(info.clone(), b"once");
            let last = if info.block_checksums { 5 } else { 1 };
            let at = frame.len() - last;
            frame[at] ^= 1;
            assert_eq!(read(&frame), None);
        }
        let sized = |size| {
            write(
                FrameInfo::new().content_size(Some(size)),
                &vec![7; size as usize],
            )
        };
        assert_eq!(read(&sized(3)).as_deref(), Some(&[7; 3][..]));
        // The header of one, with its checksum, and the blocks of the other.
        let untrue = [&sized(2)[..15], &sized(3)[15..]].concat();
        assert_eq!(read(&untrue), None);
    }

    #[test]
    fn a_frame_ends_with_its_mark() {
        let frame = plain(b"once");
        for end in 0..frame.len() {
            assert_eq!(read(&frame[..end]), None, "cut at {end}");
        }
        let literals = b"\x40once";
        assert_eq!(read(&one_block(literals)).as_deref(), Some(&b"once"[..]));
        assert_eq!(read(&blocks(&[(5, literals)])), None);
        assert_eq!(read(&blocks(&[(5, literals), (NOT_COMPRESSED, b"")])), None);
    }

    #[test]
    fn a_block_holds_something() {
        let once = (4 | NOT_COMPRESSED, &b"once"[..]);
        assert_eq!(
            read(&blocks(&[once, (0, b"")])).as_deref(),
            Some(&b"once"[..])
        );
        for nothing in [(NOT_COMPRESSED, &b""[..]), (1, b"\0")] {
            assert_eq!(read(&blocks(&[nothing, once, (0, b"")])), None);
            assert_eq!(read(&blocks(&[once, nothing, (0, b"")])), None);
            assert_eq!(read(&blocks(&[once, nothing])), None);
        }
    }

    #[test]
    fn a_block_is_no_larger_than_its_frame_says() {
        let one = vec![7; 65_537];
        let whole = blocks(&[(65_536 | NOT_COMPRESSED, &one[1..]), (0, b"")]);
        assert_eq!(read(&whole).as_deref(), Some(&one[1..]));
        assert_eq!(
            read(&blocks(&[(65_537 | NOT_COMPRESSED, &one), (0, b"")])),
            None
        );
    }

    #[test]
    fn a_block_ends_with_five_literals() {
        // Four literals, a match of four at distance four, and these.
        let ending = |last: &[u8]| {
            let token = u8::try_from(last.len() << 4).expect("short");
            one_block(&[b"\x40once\x04\0", &[token][..], last].concat())
        };
        assert_eq!(
            read(&ending(b"12345")).as_deref(),
            Some(&b"onceonce12345"[..])
        );
        assert_eq!(read(&ending(b"1234")), None);
        assert_eq!(read(&ending(b"")), None);
        assert_eq!(read(&one_block(b"\x40once\x04\0")), None);
    }

    #[test]
    fn no_match_starts_in_the_last_twelve_bytes_of_the_largest_block() {
        // One literal, a match that repeats it, another of four bytes from `start` on, and these.
        let ending = |start: usize, last: &[u8]| {
            let repeated = start - 1 - MATCH_LENGTH_MIN - 15;
            let mut block = b"\x1fa\x01\0".to_vec();
            block.extend(std::iter::repeat_n(0xff, repeated / 255));
            block.push(u8::try_from(repeated % 255).expect("a remainder"));
            block.extend_from_slice(&[0, 1, 0, u8::try_from(last.len() << 4).expect("short")]);
            block.extend_from_slice(last);
            one_block(&block)
        };
        let far = read(&ending((64 << 10) - 12, b"12345678"));
        assert_eq!(far.map(|bytes| bytes.len()), Some(64 << 10));
        assert_eq!(read(&ending((64 << 10) - 11, b"1234567")), None);
    }
}
