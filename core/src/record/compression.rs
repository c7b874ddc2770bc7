//! The codecs of record batches.
//!
//! A batch's records are compressed as one piece after its header. Brokers store the batch as it came; decompression
//! serves the examination of produced batches, lookups by timestamp, and consumers of our own. Bytes from a socket may
//! be a decompression bomb: [`Compression::reader`] streams, so that a reader which keeps nothing needs no more memory
//! than the codec's window, and [`decompress`] stops at a cap. The size that a block claims is trusted only as far as
//! its bytes could hold that much.
//!
//! What is stored must be readable by every client, so of each codec only that is accepted which the Java client,
//! librdkafka and kafka-python all read; `scenarios/clients/readable` compares them. With every codec, nothing may
//! follow the compressed data.
//!
//! - *gzip*: one member; librdkafka reads no further.
//! - *snappy*: the Java client frames blocks as `xerial/snappy-java` does, librdkafka sends one bare block. Both are
//!   read, told apart by the magic number; the framed form is written. There is one stream, and its blocks are not
//!   empty.
//! - *lz4*: one frame of independent blocks with an end mark and correct checksums. No dictionary, no skippable or
//!   legacy frame.
//! - *zstd*: one or more frames, including skippable ones, with windows of at most 128 MiB. No dictionary.

mod bytes;
mod lz4;
mod snappy;
mod zstd;

use std::fmt;
use std::io::{self, Read, Write};

use ::bytes::Bytes;

/// How a batch's records are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// Not compressed.
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
    /// The bytes are not valid for the codec.
    Corrupt,
    /// The bytes decompress to more than the cap.
    TooLarge {
        /// In bytes, inclusive.
        cap: usize,
    },
}

impl fmt::Display for DecompressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt => f.write_str("the records cannot be decompressed"),
            Self::TooLarge { cap } => write!(
                f,
                "a batch's records take {cap} bytes at most when they are decompressed, and these take more"
            ),
        }
    }
}

impl std::error::Error for DecompressError {}

impl Compression {
    /// All codecs, by id.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec with this number in a batch's attributes; 5 and above are not defined.
    #[must_use]
    pub fn from_id(id: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.id() == id)
    }

    /// The codec with this name in Kafka's `compression.type`; `None` for `producer`, which is not a codec.
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

    /// Decompresses `body` as a stream. Keeps at most the codec's window and one block.
    pub(super) fn reader(self, body: &[u8]) -> io::Result<BodyReader<'_>> {
        Ok(match self {
            Self::None => BodyReader::None(body),
            Self::Gzip => BodyReader::Gzip(flate2::bufread::GzDecoder::new(body)),
            Self::Snappy => BodyReader::Snappy(snappy::SnappyReader::new(body)?),
            Self::Lz4 => BodyReader::Lz4(lz4::Lz4Reader::new(body)?),
            Self::Zstd => BodyReader::Zstd(zstd::ZstdReader::new(body)?),
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Decompresses all of `body`. Without compression this is `body` itself, not a copy.
///
/// # Errors
/// [`DecompressError`]; never keeps more than `cap` bytes, or than `body` yields before it turns out to be corrupt.
pub fn decompress(codec: Compression, body: &Bytes, cap: usize) -> Result<Bytes, DecompressError> {
    if codec == Compression::None {
        return if body.len() > cap {
            Err(DecompressError::TooLarge { cap })
        } else {
            Ok(body.clone())
        };
    }
    // One byte more than the cap, to tell a body of exactly the cap from a larger one.
    let limit = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    let mut whole = Vec::new();
    codec
        .reader(body)
        .and_then(|reader| reader.take(limit).read_to_end(&mut whole))
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
        Compression::Snappy => snappy::compress(bytes),
        Compression::Lz4 => {
            let mut writer = lz4_flex::frame::FrameEncoder::new(Vec::new());
            writer.write_all(bytes).expect(MEMORY);
            writer.finish().expect(MEMORY)
        }
        Compression::Zstd => {
            ::zstd::stream::encode_all(bytes, ::zstd::DEFAULT_COMPRESSION_LEVEL).expect(MEMORY)
        }
    }
}

/// A body's records as a stream of decompressed bytes.
pub(super) enum BodyReader<'a> {
    None(&'a [u8]),
    Gzip(flate2::bufread::GzDecoder<&'a [u8]>),
    Snappy(snappy::SnappyReader<'a>),
    Lz4(lz4::Lz4Reader<'a>),
    Zstd(zstd::ZstdReader<'a>),
}

impl Read for BodyReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(bytes) => bytes.read(buffer),
            Self::Gzip(reader) => {
                let n = reader.read(buffer)?;
                if n == 0 && !buffer.is_empty() && !reader.get_ref().is_empty() {
                    return Err(corrupt());
                }
                Ok(n)
            }
            Self::Snappy(reader) => reader.read(buffer),
            Self::Lz4(reader) => reader.read(buffer),
            Self::Zstd(reader) => reader.read(buffer),
        }
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
    fn a_stream_that_ends_early_is_corrupt() {
        for codec in Compression::ALL.into_iter().skip(1) {
            let whole = Bytes::from(compress(codec, &[7; 5000]));
            for end in 1..whole.len() {
                let got = decompress(codec, &whole.slice(..end), CAP);
                // Framed snappy has no end mark: a body that is cut between two blocks is a valid shorter stream.
                if codec == Compression::Snappy && end == 16 {
                    assert_eq!(got.as_deref(), Ok(&b""[..]));
                } else {
                    assert_eq!(got, Err(DecompressError::Corrupt), "{codec} cut at {end}");
                }
            }
        }
    }

    #[test]
    fn nothing_follows_a_stream() {
        for codec in Compression::ALL.into_iter().skip(1) {
            let whole = compress(codec, &[7; 5000]);
            for trailing in [&b"\0"[..], b"\0\0\0\0", b"x", &[0xff; 30]] {
                let longer = Bytes::from([&whole[..], trailing].concat());
                assert_eq!(
                    decompress(codec, &longer, CAP),
                    Err(DecompressError::Corrupt),
                    "{codec} and {trailing:?}"
                );
            }
        }
    }

    fn gunzip(parts: &[&[u8]]) -> Option<Vec<u8>> {
        let whole = decompress(Compression::Gzip, &Bytes::from(parts.concat()), CAP);
        whole.ok().map(|bytes| bytes.to_vec())
    }

    #[test]
    fn gzip_is_one_member_with_any_header_that_is_true() {
        let member = compress(Compression::Gzip, b"once");
        assert_eq!(gunzip(&[&member, &member]), None);
        let named = |flags: u8, fields: &[u8]| {
            let mut header = member[..10].to_vec();
            header[3] = flags;
            gunzip(&[&header, fields, &member[10..]])
        };
        let once = Some(b"once".to_vec());
        assert_eq!(named(0x01, b""), once, "a text");
        assert_eq!(named(0x04, b"\x02\0ab"), once, "an extra field");
        assert_eq!(named(0x08, b"name\0"), once, "a name");
        assert_eq!(named(0x10, b"comment\0"), once, "a comment");
        assert_eq!(named(0x02, b"\0\0"), None, "an untrue header checksum");
        assert_eq!(named(0x20, b""), None, "a flag that there is not");
        for at in [member.len() - 8, member.len() - 4] {
            let mut untrue = member.clone();
            untrue[at] ^= 1;
            assert_eq!(gunzip(&[&untrue]), None);
        }
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
