//! Snappy: bare, or in the framing of snappy-java.

use std::io::{self, BufRead, Read};

use super::corrupt;

/// snappy-java's stream: this magic number, two version numbers, then blocks, each preceded by its length as an `i32`.
const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// The version and the oldest version that can read it. No other version exists, and aiokafka would not read one.
const VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// Bytes that snappy-java puts in a block.
const BLOCK: usize = 32 * 1024;
/// Maximum bytes of the varint with a block's decompressed size. It may be longer than needed, and decoders give up
/// after the fifth byte.
const CLAIM_SIZE_MAX: usize = 5;

/// `bytes` in snappy-java's framing.
pub(super) fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut out = [MAGIC, VERSIONS].concat();
    let mut encoder = snap::raw::Encoder::new();
    for block in bytes.chunks(BLOCK) {
        let block = encoder
            .compress_vec(block)
            .expect("a block is far below snappy's limit of 4 GiB");
        let length = i32::try_from(block.len()).expect("snappy hardly grows what it cannot shrink");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&block);
    }
    out
}

/// Snappy has no streaming of its own: a block is decompressed as a whole.
pub(in super::super) struct SnappyReader<'a> {
    /// The bytes that are not decompressed yet.
    rest: &'a [u8],
    /// Whether `rest` is framed, or one bare block.
    framed: bool,
    block: io::Cursor<Vec<u8>>,
}

impl<'a> SnappyReader<'a> {
    pub(super) fn new(body: &'a [u8]) -> io::Result<Self> {
        let (rest, framed) = match body.strip_prefix(&MAGIC) {
            Some(behind) => (behind.strip_prefix(&VERSIONS).ok_or_else(corrupt)?, true),
            None => (body, false),
        };
        Ok(Self {
            rest,
            framed,
            block: io::Cursor::default(),
        })
    }

    /// Takes the next block's bytes off `rest`.
    fn next_block(&mut self) -> io::Result<&'a [u8]> {
        if !self.framed {
            return Ok(std::mem::take(&mut self.rest));
        }
        let (length, rest) = self.rest.split_first_chunk().ok_or_else(corrupt)?;
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| corrupt())?;
        let (block, rest) = rest.split_at_checked(length).ok_or_else(corrupt)?;
        self.rest = rest;
        Ok(block)
    }

    fn decompress_block(&mut self) -> io::Result<()> {
        let compressed = self.next_block()?;
        if !compressed
            .iter()
            .take(CLAIM_SIZE_MAX)
            .any(|byte| *byte < 0x80)
        {
            return Err(corrupt());
        }
        // Three bytes can expand to 64 at most. A block that claims more is refused, so memory is allocated only for
        // what can come.
        let claimed = snap::raw::decompress_len(compressed).map_err(|_| corrupt())?;
        if claimed > compressed.len().saturating_mul(22) {
            return Err(corrupt());
        }
        let mut block = std::mem::take(self.block.get_mut());
        block.resize(claimed, 0);
        snap::raw::Decoder::new()
            .decompress(compressed, &mut block)
            .map_err(|_| corrupt())?;
        self.block = io::Cursor::new(block);
        Ok(())
    }
}

impl Read for SnappyReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A block may decompress to nothing, but each one consumes bytes of `rest`.
        while self.block.fill_buf()?.is_empty() && !self.rest.is_empty() {
            self.decompress_block()?;
        }
        self.block.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        SnappyReader::new(body).ok()?.read_to_end(&mut out).ok()?;
        Some(out)
    }

    fn bare(bytes: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new()
            .compress_vec(bytes)
            .expect("it is short")
    }

    fn framed(blocks: &[&[u8]]) -> Vec<u8> {
        let mut out = [MAGIC, VERSIONS].concat();
        for block in blocks {
            out.extend_from_slice(&u32::try_from(block.len()).expect("short").to_be_bytes());
            out.extend_from_slice(block);
        }
        out
    }

    #[test]
    fn it_is_read_bare_as_librdkafka_sends_it_and_in_blocks() {
        let (one, two) = (bare(b"one"), bare(b"two"));
        assert_eq!(read(&one).as_deref(), Some(&b"one"[..]));
        assert_eq!(read(&framed(&[&one])).as_deref(), Some(&b"one"[..]));
        assert_eq!(
            read(&framed(&[&one, &two])).as_deref(),
            Some(&b"onetwo"[..])
        );
    }

    #[test]
    fn a_block_of_no_bytes_is_read_by_nobody() {
        let (one, two) = (bare(b"one"), bare(b"two"));
        assert_eq!(read(&framed(&[b""])), None);
        assert_eq!(read(&framed(&[b"", &one])), None);
        assert_eq!(read(&framed(&[&one, b"", &two])), None);
        assert_eq!(read(&framed(&[&one, b""])), None);
    }

    #[test]
    fn only_one_stream_is_read_by_everybody() {
        let stream = framed(&[&bare(b"one")]);
        assert_eq!(read(&[&stream[..], &stream].concat()), None);
        assert_eq!(read(&[&framed(&[])[..], &stream].concat()), None);
    }

    #[test]
    fn bytes_that_are_no_block_do_not_follow_the_last() {
        for trailing in 1..=4 {
            let mut stream = framed(&[&bare(b"one")]);
            stream.extend(std::iter::repeat_n(0, trailing));
            assert_eq!(read(&stream), None, "{trailing} bytes");
        }
        assert_eq!(read(&[&bare(b"one")[..], &[0]].concat()), None);
    }

    #[test]
    fn versions_of_the_framing_are_those_that_there_are() {
        for at in 8..16 {
            let mut stream = framed(&[&bare(b"one")]);
            stream[at] ^= 1;
            assert_eq!(read(&stream), None, "byte {at}");
        }
    }

    #[test]
    fn a_block_that_claims_what_its_bytes_cannot_hold_is_not_believed() {
        // A block says first how much it holds, as a varint: 2 GiB of nothing.
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x07, 0, 0]), None);
    }

    #[test]
    fn a_block_says_in_five_bytes_how_much_it_holds() {
        let block = bare(b"one");
        let longer = |zeros: usize| {
            let mut claim = vec![0x80 | block[0]];
            claim.extend(std::iter::repeat_n(0x80, zeros));
            claim.push(0);
            [&claim[..], &block[1..]].concat()
        };
        assert_eq!(read(&longer(3)).as_deref(), Some(&b"one"[..]));
        assert_eq!(read(&longer(4)), None);
    }
}
