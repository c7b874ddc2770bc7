//! Versions of the peer protocol: what two builds must agree on to be brokers of one cluster.
//!
//! A node supports a range of versions and sends it in its hello; a link uses the highest version that both ends
//! support. A build supports the versions of the minor version before it, so that a cluster is upgraded or downgraded
//! one node at a time and in any order. The meaning of a version does not change once it has been released.
//!
//! | version | what it says more than the one before |
//! |---|---|
//! | 9 | the first with a range |
//! | 10 | a forwarded request names its client's address |
//!
//! A version adds to the one before in one of two ways:
//!
//! - an existing message gets another field: the field is a [`Newer`], which the message itself does not carry, and its
//!   value travels in the *tail* behind the message, one struct per version ([`Since10`]);
//! - there is another message: a variant at the end of its enum, which [`PeerMessage::for_version`] keeps from those that do not
//!   know it.

use std::fmt;

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};

use super::{ControllerRequest, PeerMessage};

/// A version of the peer protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerVersion(pub u16);

impl PeerVersion {
    /// From here on messages have a tail.
    pub const TEN: Self = Self(10);
}

impl fmt::Display for PeerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The versions that a node supports, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerVersions {
    /// The first.
    pub oldest: PeerVersion,
    /// The last.
    pub newest: PeerVersion,
}

impl PeerVersions {
    /// The versions of this build.
    pub const SUPPORTED: Self = Self {
        oldest: PeerVersion(9),
        newest: PeerVersion(10),
    };

    /// The versions of the minor version before, from which a cluster may be upgraded and to which it may be
    /// downgraded. It supports this build's oldest version, and earlier ones that this build does not.
    pub const PREVIOUS_MINOR: Self = Self {
        oldest: Self::SUPPORTED.oldest,
        newest: Self::SUPPORTED.oldest,
    };

    /// The version of a link between nodes that support these; `None` where they have none in common.
    #[must_use]
    pub fn common(self, other: Self) -> Option<PeerVersion> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }
}

impl fmt::Display for PeerVersions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.oldest, self.newest)
    }
}

/// A field that was added to a message after its first release: bincode skips it and reads its default, and the tail
/// carries it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Newer<T>(pub T);

impl<T> Encode for Newer<T> {
    fn encode<E: Encoder>(&self, _encoder: &mut E) -> Result<(), EncodeError> {
        Ok(())
    }
}

impl<Context, T: Default> Decode<Context> for Newer<T> {
    fn decode<D: Decoder<Context = Context>>(_decoder: &mut D) -> Result<Self, DecodeError> {
        Ok(Self::default())
    }
}

/// The fields that messages have since version 10.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Since10 {
    /// [`ForwardedRequest::client_host`](super::ForwardedRequest::client_host).
    client_host: Option<String>,
}

impl PeerMessage {
    /// Takes out the fields that only version 10 has.
    #[must_use]
    pub fn take_since_10(&mut self) -> Since10 {
        let mut since = Since10::default();
        self.swap_since_10(&mut since);
        since
    }

    /// Puts back what [`Self::take_since_10`] took. Fields that this message does not have are dropped.
    pub fn put_since_10(&mut self, mut since: Since10) {
        self.swap_since_10(&mut since);
    }

    fn swap_since_10(&mut self, since: &mut Since10) {
        if let Self::ControllerRequest {
            request: ControllerRequest::Client(forwarded),
            ..
        } = self
        {
            std::mem::swap(&mut forwarded.client_host.0, &mut since.client_host);
        }
    }

    /// This message as a peer with this version can read it.
    #[must_use]
    pub fn for_version(mut self, version: PeerVersion) -> Self {
        if version < PeerVersion::TEN {
            let _untold = self.take_since_10();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_speaks_the_highest_version_that_both_ends_know() {
        let versions = |oldest, newest| PeerVersions {
            oldest: PeerVersion(oldest),
            newest: PeerVersion(newest),
        };
        let common = |a: PeerVersions, b: PeerVersions| {
            assert_eq!(a.common(b), b.common(a), "both ends say the same");
            a.common(b).map(|version| version.0)
        };
        assert_eq!(common(versions(9, 10), versions(9, 10)), Some(10));
        assert_eq!(common(versions(9, 10), versions(10, 11)), Some(10));
        assert_eq!(common(versions(9, 9), versions(9, 10)), Some(9));
        assert_eq!(common(versions(9, 10), versions(11, 12)), None);
    }
}
