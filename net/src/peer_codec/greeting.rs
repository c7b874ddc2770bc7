//! The first frame of each side of a connection, with the versions that it supports.
//!
//! ```text
//!  0  magic  "varve\0"
//!  6  newest u16        the last version of the peer protocol that the sender speaks
//!  8  oldest u16        the first one
//! 10  body              bincode; what follows it is left to later versions
//! ```
//!
//! The layout of a greeting is the same in every version: so two nodes without a common version can exchange the
//! reason.

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

/// The first frame of a dialling node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The versions that it supports.
    pub versions: PeerVersions,
    /// Its identity.
    pub identity: PeerIdentity,
    /// The broker that it expects to reach, if it knows.
    pub expects: Option<BrokerId>,
}

/// The answer of the dialled node.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum HelloReply {
    /// Accepted, with its identity.
    Welcome(PeerIdentity),
    /// Refused, for this reason.
    Refused(String),
    /// Refused, with this message: another node runs with the same broker id.
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
/// [`PeerDecodeError::Hello`], with a message for the other side.
pub fn decode_hello(frame: &[u8]) -> Result<Hello, PeerDecodeError> {
    let (versions, (identity, expects)) = decode_greeting(frame)?;
    Ok(Hello {
        versions,
        identity,
        expects,
    })
}

/// Writes the answer to a hello, of a node that supports these versions, as a frame, its four length bytes included.
#[must_use]
pub fn encode_hello_reply(versions: PeerVersions, reply: &HelloReply) -> Bytes {
    encode_greeting(versions, reply)
}

/// Reads the answer to a hello, and the versions that its sender supports, from a frame without its length.
///
/// # Errors
/// [`PeerDecodeError::Hello`].
pub fn decode_hello_reply(frame: &[u8]) -> Result<(PeerVersions, HelloReply), PeerDecodeError> {
    decode_greeting(frame)
}

/// Whether a frame without its length is a greeting of a peer listener, of any version.
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
