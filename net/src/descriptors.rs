//! File descriptors: how many there are, and how they are shared out.
//!
//! Every connection and every open file is one, and a process without free ones can open nothing. So they are divided
//! at the start: **files first, then peers, then clients.** The store keeps no more files open than its share; a
//! connection above the share of its kind is closed at once, so that clients, however many connect, take no descriptor
//! from the log or from the other brokers.
//!
//! No share helps where other processes fill the system's own table, or the system has no memory: then an operation
//! fails, and is retried ([`varve_core::store::DiskError::OutOfResources`]).

use std::fmt;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The descriptors that every node needs: its runtime, its listeners, its journal, and files that are being read or
/// removed.
const OWN: u64 = 64;

/// A node does not start with fewer descriptors than this.
const NODE_MIN: u64 = 128;

/// More open files than this are of no use.
const OPEN_FILES_MAX: u64 = 8192;

/// More connections of peers than this are a mistake.
const PEERS_MAX: u64 = 1024;

/// The descriptors that one node may use, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// Files of partitions that the store keeps open. While these are synced for a commit and a checkpoint, others may take
    /// their places: the share has room for three times as many.
    pub open_files: usize,
    /// Connections that peers have dialled; there is room for as many that this node dials.
    pub peers: usize,
    /// Connections of clients.
    pub clients: usize,
}

/// The limit of open files is too low.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFew {
    limit: u64,
    needed: u64,
}

impl fmt::Display for TooFew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the limit of open files is {}, and at least {} are needed: raise it (ulimit -n, LimitNOFILE=)",
            self.limit, self.needed
        )
    }
}

impl std::error::Error for TooFew {}

impl Descriptors {
    /// The share of one of `nodes` nodes in a process with this limit.
    ///
    /// # Errors
    /// [`TooFew`].
    pub fn share(limit: u64, nodes: u64) -> Result<Self, TooFew> {
        let nodes = nodes.max(1);
        let each = limit / nodes;
        if each < NODE_MIN {
            let needed = NODE_MIN * nodes;
            return Err(TooFew { limit, needed });
        }
        let shared = each - OWN;
        let open_files = (shared / 6).min(OPEN_FILES_MAX);
        let peers = (shared / 16).min(PEERS_MAX);
        let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        Ok(Self {
            open_files: count(open_files),
            peers: count(peers),
            clients: count(shared - 3 * open_files - 2 * peers),
        })
    }
}

/// Raises the soft limit of open files to the hard limit, as a JVM does. Returns the resulting limit.
#[must_use]
pub fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
    let limit = match raised {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files to the hard limit");
            current
        }
    };
    // None: there is no limit.
    limit.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_share_takes_from_another_and_files_come_first() {
        for limit in [128, 256, 1024, 4096, 65_536, 1 << 20, u64::MAX] {
            let shares = Descriptors::share(limit, 1).unwrap();
            let Descriptors {
                open_files,
                peers,
                clients,
            } = shares;
            let all = OWN as usize + 3 * open_files + 2 * peers + clients;
            assert!(u64::try_from(all).unwrap() <= limit, "{limit}: {shares:?}");
            assert!(
                open_files >= 10 && peers >= 4 && clients >= 26,
                "{shares:?}"
            );
            assert!(
                3 * open_files >= clients || open_files == 8192,
                "{shares:?}"
            );
        }
        let of_three = Descriptors::share(3 * 256, 3);
        assert_eq!(of_three, Descriptors::share(256, 1));
        assert!(Descriptors::share(127, 1).is_err());
    }

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        let limit = raise_limit();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
        assert_eq!(limit, maximum.unwrap_or(u64::MAX));
    }
}
