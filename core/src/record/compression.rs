//! The codecs of record batches.
//!
//! A batch is compressed as one piece behind its header. Brokers store it as it came, so decompression serves
//! consumers and the look into produced batches. What comes from a socket may be a bomb: [`Compression::reader`]
//! streams, so that a reader which keeps nothing needs no more memory than the codec's window, and
//! [`decompress`] stops at a cap. What a block claims to hold is believed only as far as its bytes could hold it.
//!
//! Framing, where Kafka has habits of its own:
//!
//! - *gzip*: one or more members.
//! - *snappy*: the Java client frames blocks as `xerial/snappy-java` does, librdkafka sends one bare block. Both are read,
//!   by the magic number; the framing is written.
//! - *lz4*: one frame of independent blocks with an end mark, which is all that Kafka's own decoder reads.
//! - *zstd*: one or more frames.

use std::fmt;
use std::io::{self, BufRead, Read, Write};

use bytes::Bytes;

/// How a batch's records are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy, in the framing of snappy-java or bare.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// Zstandard, RFC 8878. Clients may use it from Produce version 7 on.
    Zstd,
}

/// Why compressed bytes could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecompressError {
    /// The bytes are not what the codec writes.
    Corrupt,
    /// They decompress to more than the cap.
    TooLarge {
        /// In bytes, inclusive.
        cap: usize,
    },
}

impl fmt::Display for DecompressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt => f.write_str("the records cannot be decompressed"),
            Self::TooLarge { cap } => {
                write!(f, "the records are more than {cap} bytes, decompressed")
            }
        }
    }
}

impl std::error::Error for DecompressError {}

impl Compression {
    /// All codecs, by id.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec of a number in a batch's attributes; 5 and above are not defined.
    #[must_use]
    pub fn from_id(id: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.id() == id)
    }

    /// The codec of a name as Kafka's `compression.type` spells it, but for `producer`, which is none.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// Its number in a batch's attributes.
    #[must_use]
    pub const fn id(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Its name in Kafka's `compression.type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Streams what `body` holds. Keeps at most the codec's window and one block.
    pub(super) fn reader(self, body: &[u8]) -> Result<Reader<'_>, DecompressError> {
        Ok(match self {
            Self::None => Reader::None(body),
            Self::Gzip => Reader::Gzip(flate2::bufread::MultiGzDecoder::new(body)),
            Self::Snappy => Reader::Snappy(SnappyReader::new(body)),
            Self::Lz4 => Reader::Lz4(Lz4Reader::new(body)?),
            Self::Zstd => Reader::Zstd(
                zstd::stream::read::Decoder::with_buffer(body)
                    .map_err(|_| DecompressError::Corrupt)?,
            ),
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What `body` holds, whole. Without compression that is `body` itself, not a copy.
///
/// # Errors
/// [`DecompressError`]; nothing beyond `cap` bytes is kept, nor beyond what `body` yields before it turns out corrupt.
pub fn decompress(codec: Compression, body: &Bytes, cap: usize) -> Result<Bytes, DecompressError> {
    if codec == Compression::None {
        return if body.len() > cap {
            Err(DecompressError::TooLarge { cap })
        } else {
            Ok(body.clone())
        };
    }
    // One byte more than the cap tells too much from just enough.
    let limit = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    let mut whole = Vec::new();
    codec
        .reader(body)?
        .take(limit)
        .read_to_end(&mut whole)
        .map_err(|_| DecompressError::Corrupt)?;
    if whole.len() > cap {
        return Err(DecompressError::TooLarge { cap });
    }
    Ok(Bytes::from(whole))
}

/// Compresses at the codec's default level.
#[must_use]
pub fn compress(codec: Compression, bytes: &[u8]) -> Vec<u8> {
    const MEMORY: &str = "writing to memory does not fail";
    match codec {
        Compression::None => bytes.to_vec(),
        Compression::Gzip => {
            let level = flate2::Compression::default();
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), level);
            writer.write_all(bytes).expect(MEMORY);
            writer.finish().expect(MEMORY)
        }
        Compression::Snappy => compress_xerial(bytes),
        Compression::Lz4 => {
            let mut writer = lz4_flex::frame::FrameEncoder::new(Vec::new());
            writer.write_all(bytes).expect(MEMORY);
            writer.finish().expect(MEMORY)
        }
        Compression::Zstd => {
            zstd::stream::encode_all(bytes, zstd::DEFAULT_COMPRESSION_LEVEL).expect(MEMORY)
        }
    }
}

/// What a compressed body holds, as a stream.
pub(super) enum Reader<'a> {
    None(&'a [u8]),
    Gzip(flate2::bufread::MultiGzDecoder<&'a [u8]>),
    Snappy(SnappyReader<'a>),
    Lz4(Lz4Reader<'a>),
    Zstd(zstd::stream::read::Decoder<'static, &'a [u8]>),
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(bytes) => bytes.read(buffer),
            Self::Gzip(reader) => reader.read(buffer),
            Self::Snappy(reader) => reader.read(buffer),
            Self::Lz4(reader) => reader.read(buffer),
            Self::Zstd(reader) => reader.read(buffer),
        }
    }
}

/// snappy-java's stream: this, two version numbers, then blocks, each behind its length as an `i32`.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// The version and the oldest version that can read it, as snappy-java writes them.
const XERIAL_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// Bytes that snappy-java puts in a block.
const XERIAL_BLOCK: usize = 32 * 1024;

fn compress_xerial(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::from(XERIAL_MAGIC);
    out.extend_from_slice(&XERIAL_VERSIONS);
    let mut encoder = snap::raw::Encoder::new();
    for block in bytes.chunks(XERIAL_BLOCK) {
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
pub(super) struct SnappyReader<'a> {
    /// What is not decompressed yet.
    rest: &'a [u8],
    /// Whether `rest` is framed, or one bare block.
    framed: bool,
    block: io::Cursor<Vec<u8>>,
}

impl<'a> SnappyReader<'a> {
    fn new(body: &'a [u8]) -> Self {
        Self {
            rest: body,
            framed: body.starts_with(&XERIAL_MAGIC),
            block: io::Cursor::default(),
        }
    }

    /// Takes the next block's bytes off `rest`.
    fn next_block(&mut self) -> io::Result<&'a [u8]> {
        if !self.framed {
            return Ok(std::mem::take(&mut self.rest));
        }
        // A stream may be several, one behind the other, each with its header.
        while let Some(behind) = self.rest.strip_prefix(&XERIAL_MAGIC) {
            self.rest = behind.get(XERIAL_VERSIONS.len()..).ok_or_else(corrupt)?;
            if self.rest.is_empty() {
                return Ok(self.rest);
            }
        }
        let (length, rest) = self.rest.split_first_chunk().ok_or_else(corrupt)?;
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| corrupt())?;
        let (block, rest) = rest.split_at_checked(length).ok_or_else(corrupt)?;
        self.rest = rest;
        Ok(block)
    }

    fn decompress_block(&mut self) -> io::Result<()> {
        let compressed = self.next_block()?;
        if compressed.is_empty() {
            return if self.rest.is_empty() {
                Ok(())
            } else {
                Err(corrupt())
            };
        }
        // Three bytes can stand for 64 at most. A block that claims more is not believed, so memory is only
        // taken for what can come.
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
        // Blocks may be empty, but each takes bytes off the rest.
        while self.block.fill_buf()?.is_empty() && !self.rest.is_empty() {
            self.decompress_block()?;
        }
        self.block.read(buffer)
    }
}

const LZ4_MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
/// In the byte behind the magic: the format's version in bits 6 and 7, independent blocks in bit 5.
const LZ4_FLAGS: u8 = 0xe0;
/// Version 1, independent blocks.
const LZ4_FLAGS_SERVED: u8 = 0x60;

/// One frame, to its end mark and no further. The decoder alone would take the end of the input for an end mark.
pub(super) struct Lz4Reader<'a> {
    decoder: Box<lz4_flex::frame::FrameDecoder<Starving<'a>>>,
    ended: bool,
}

/// Knows whether it was asked for more than it has.
struct Starving<'a> {
    rest: &'a [u8],
    starved: bool,
}

impl Read for Starving<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.starved |= buffer.len() > self.rest.len();
        self.rest.read(buffer)
    }
}

impl<'a> Lz4Reader<'a> {
    fn new(body: &'a [u8]) -> Result<Self, DecompressError> {
        let flags = body
            .strip_prefix(&LZ4_MAGIC)
            .and_then(<[u8]>::first)
            .ok_or(DecompressError::Corrupt)?;
        if flags & LZ4_FLAGS != LZ4_FLAGS_SERVED {
            return Err(DecompressError::Corrupt);
        }
        Ok(Self {
            decoder: Box::new(lz4_flex::frame::FrameDecoder::new(Starving {
                rest: body,
                starved: false,
            })),
            ended: false,
        })
    }
}

impl Read for Lz4Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        let n = self.decoder.read(buffer)?;
        if n == 0 {
            let input = self.decoder.get_ref();
            if input.starved || !input.rest.is_empty() {
                return Err(corrupt());
            }
            self.ended = true;
        }
        Ok(n)
    }
}

fn corrupt() -> io::Error {
    io::Error::from(io::ErrorKind::InvalidData)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAP: usize = 1 << 20;

    fn round_trip(codec: Compression, bytes: &[u8]) {
        let compressed = Bytes::from(compress(codec, bytes));
        assert_eq!(
            decompress(codec, &compressed, CAP).as_deref(),
            Ok(bytes),
            "{codec}"
        );
    }

    #[test]
    fn ids_and_names_are_kafkas() {
        let named = Compression::ALL.map(|codec| (codec.id(), codec.name()));
        assert_eq!(
            named,
            [
                (0, "none"),
                (1, "gzip"),
                (2, "snappy"),
                (3, "lz4"),
                (4, "zstd")
            ]
        );
        for codec in Compression::ALL {
            assert_eq!(Compression::from_id(codec.id()), Some(codec));
            assert_eq!(Compression::from_name(codec.name()), Some(codec));
        }
        assert_eq!(Compression::from_id(5), None);
        assert_eq!(Compression::from_name("producer"), None);
    }

    #[test]
    fn every_codec_gives_back_what_it_took_over_many_blocks() {
        let bytes: Vec<u8> = (0..300_000_u32)
            .flat_map(|n| (n / 7).to_le_bytes())
            .take(CAP)
            .collect();
        for codec in Compression::ALL {
            round_trip(codec, &bytes);
            round_trip(codec, b"");
        }
    }

    #[test]
    fn bare_snappy_is_read_as_librdkafka_sends_it() {
        let bare = snap::raw::Encoder::new()
            .compress_vec(b"one block, no frame")
            .expect("it is short");
        assert_eq!(
            decompress(Compression::Snappy, &Bytes::from(bare), CAP).as_deref(),
            Ok(&b"one block, no frame"[..])
        );
    }

    #[test]
    fn framed_snappy_streams_may_follow_each_other() {
        let mut two = compress(Compression::Snappy, b"first ");
        two.extend(compress(Compression::Snappy, b""));
        two.extend(compress(Compression::Snappy, b"second"));
        assert_eq!(
            decompress(Compression::Snappy, &Bytes::from(two), CAP).as_deref(),
            Ok(&b"first second"[..])
        );
    }

    #[test]
    fn a_bomb_stops_at_the_cap() {
        let zeros = vec![0; CAP + 1];
        for codec in Compression::ALL {
            let bomb = Bytes::from(compress(codec, &zeros));
            assert_eq!(
                decompress(codec, &bomb, CAP),
                Err(DecompressError::TooLarge { cap: CAP }),
                "{codec}"
            );
            assert!(decompress(codec, &bomb, CAP + 1).is_ok(), "{codec}");
        }
    }

    #[test]
    fn a_snappy_block_that_claims_what_its_bytes_cannot_hold_is_not_believed() {
        // A bare block's length comes first, as a varint: 2 GiB of nothing.
        let claim = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x07, 0, 0]);
        assert_eq!(
            decompress(Compression::Snappy, &claim, usize::MAX),
            Err(DecompressError::Corrupt)
        );
    }

    #[test]
    fn a_stream_that_ends_early_is_corrupt() {
        for codec in Compression::ALL.into_iter().skip(1) {
            let whole = Bytes::from(compress(codec, &[7; 5000]));
            for end in 1..whole.len() {
                let got = decompress(codec, &whole.slice(..end), CAP);
                // Framed snappy has no end mark: what is cut between blocks is a shorter stream.
                if codec == Compression::Snappy && end == 16 {
                    assert_eq!(got.as_deref(), Ok(&b""[..]));
                } else {
                    assert_eq!(got, Err(DecompressError::Corrupt), "{codec} cut at {end}");
                }
            }
        }
    }

    #[test]
    fn an_lz4_frame_that_kafka_cannot_read_is_corrupt() {
        let corrupt = |bytes: Vec<u8>| {
            decompress(Compression::Lz4, &Bytes::from(bytes), CAP) == Err(DecompressError::Corrupt)
        };
        let frame = compress(Compression::Lz4, b"once");
        assert!(corrupt([&frame[..], b"x"].concat()));
        assert!(corrupt([&frame[..], &frame[..]].concat()));
        let mut linked = lz4_flex::frame::FrameEncoder::with_frame_info(
            lz4_flex::frame::FrameInfo::new().block_mode(lz4_flex::frame::BlockMode::Linked),
            Vec::new(),
        );
        linked
            .write_all(b"twice, twice, twice")
            .expect("memory takes all");
        assert!(corrupt(linked.finish().expect("memory takes all")));
    }

    fn codec() -> impl Strategy<Value = Compression> {
        prop::sample::select(&Compression::ALL[..])
    }

    proptest! {
        #[test]
        fn any_bytes_survive_the_round_trip(
            codec in codec(),
            bytes in prop::collection::vec(any::<u8>(), 0..2000),
        ) {
            round_trip(codec, &bytes);
        }

        #[test]
        fn damaged_bytes_never_panic_and_never_yield_more_than_the_cap(
            codec in codec(),
            bytes in prop::collection::vec(0..4_u8, 0..2000),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cap in 0..3000_usize,
        ) {
            let mut compressed = compress(codec, &bytes);
            for (at, byte) in damage {
                if !compressed.is_empty() {
                    let at = at.index(compressed.len());
                    compressed[at] = byte;
                }
            }
            if let Ok(whole) = decompress(codec, &Bytes::from(compressed), cap) {
                prop_assert!(whole.len() <= cap);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_never_yield_more_than_the_cap(
            codec in codec(),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            if let Ok(whole) = decompress(codec, &Bytes::from(bytes), 1000) {
                prop_assert!(whole.len() <= 1000);
            }
        }
    }
}
