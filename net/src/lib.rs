//! varve's shell: real files, real sockets, real time.
//!
//! The state machine in `varve-core` gives orders; this crate executes them. No protocol decision is taken here.

#![cfg_attr(
    test,
    allow(
        clippy::wildcard_enum_match_arm,
        reason = "a test names the variants that it expects"
    )
)]

pub mod rt;
pub mod files;
pub mod descriptors;
mod uncached;
pub mod directory;
pub mod disk_thread;
pub mod frame;
pub mod connection;
pub mod peer_codec;
pub mod peer_link;
pub mod notice;
pub mod driver;
pub mod node;
pub mod client;
