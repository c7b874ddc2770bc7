//! The first frame of each side of a connection, which names the versions that it speaks.
//!
//! ```text
//!  0  magic  "varve\0"
//!  6  newest u16        the last version of the peer protocol that the sender speaks
//!  8  oldest u16        the first one
//! 10  body              bincode; what follows it is left to later versions
//! ```
//!
//! A greeting reads the same in every version: two nodes that have none in common tell each other so in words.

use bincode::config::standard;
use bincode::{Decode, Encode};
use bytes::{BufMut as _, Bytes, BytesMut};
use varve_core::ids::BrokerId;
use varve_core::peer::{PeerIdentity, PeerVersion, PeerVersions};

use super::PeerDecodeError;

/// The first bytes of every hello.
const MAGIC: [u8; 6] = *b"varve\0";

/// The first version whose hello names a range.
const RANGES_FROM: PeerVersion = PeerVersion(9);

/// No greeting takes more memory than this.
const MEMORY_MAX: usize = 64 << 10;

/// What a dialling node says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The versions that it speaks.
    pub versions: PeerVersions,
    /// Who it is.
    pub identity: PeerIdentity,
    /// Whom it means to reach, where it knows.
    pub expects: Option<BrokerId>,
}

/// What the dialled node answers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum HelloReply {
    /// Go on; this is who it is.
    Welcome(PeerIdentity),
    /// Go away, for this reason.
    Refused(String),
    /// Go away: another node runs as the same broker, in these words.
    Duplicate(String),
}

/// Writes a hello as a frame, its four length bytes included.
#[must_use]
pub fn encode_hello(hello: &Hello) -> Bytes {
    encode_greeting(hello.versions, &(hello.identity, hello.expects))
}

/// Reads a hello from a frame without its length.
///
/// # Errors
/// [`PeerDecodeError::Hello`], in words that the other side is told.
pub fn decode_hello(frame: &[u8]) -> Result<Hello, PeerDecodeError> {
    let (versions, (identity, expects)) = decode_greeting(frame)?;
    Ok(Hello {
        versions,
        identity,
        expects,
    })
}

/// Writes the answer to a hello, of a node that speaks these versions, as a frame, its four length bytes included.
#[must_use]
pub fn encode_hello_reply(versions: PeerVersions, reply: &HelloReply) -> Bytes {
    encode_greeting(versions, reply)
}

/// Reads the answer to a hello, and the versions that its sender speaks, from a frame without its length.
///
/// # Errors
/// [`PeerDecodeError::Hello`].
pub fn decode_hello_reply(frame: &[u8]) -> Result<(PeerVersions, HelloReply), PeerDecodeError> {
    decode_greeting(frame)
}

/// Whether a frame without its length is what the peer listener of some version says first.
#[must_use]
pub fn is_greeting(frame: &[u8]) -> bool {
    frame.starts_with(&MAGIC)
}

fn encode_greeting<T: Encode>(versions: PeerVersions, greeting: &T) -> Bytes {
    let body = bincode::encode_to_vec(greeting, standard()).expect("a greeting can be written");
    let mut bytes = BytesMut::new();
    let length = MAGIC.len() + 2 * size_of::<u16>() + body.len();
    bytes.put_u32(u32::try_from(length).expect("a greeting is short"));
    bytes.put_slice(&MAGIC);
    bytes.put_u16(versions.newest.0);
    bytes.put_u16(versions.oldest.0);
    bytes.put_slice(&body);
    bytes.freeze()
}

fn decode_greeting<T: Decode<()>>(frame: &[u8]) -> Result<(PeerVersions, T), PeerDecodeError> {
    let refused = |reason: String| Err(PeerDecodeError::Hello(reason));
    let Some(rest) = frame.strip_prefix(&MAGIC) else {
        return refused(
            "this is the peer listener of a varve node, and what came is no hello of a varve node; \
             clients connect to the client listener"
                .to_owned(),
        );
    };
    let version = |bytes: &[u8; 2]| PeerVersion(u16::from_be_bytes(*bytes));
    let Some((newest, rest)) = rest.split_first_chunk() else {
        return refused("the hello ends early".to_owned());
    };
    let newest = version(newest);
    if newest < RANGES_FROM {
        return refused(format!(
            "the node speaks version {newest} of the peer protocol, this one {}",
            PeerVersions::SUPPORTED
        ));
    }
    let Some((oldest, body)) = rest.split_first_chunk() else {
        return refused("the hello ends early".to_owned());
    };
    let oldest = version(oldest);
    let config = standard().with_limit::<MEMORY_MAX>();
    match bincode::decode_from_slice(body, config) {
        Ok((greeting, _)) => Ok((PeerVersions { oldest, newest }, greeting)),
        Err(error) => refused(format!("the hello cannot be read: {error}")),
    }
}
