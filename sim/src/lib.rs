//! Deterministic simulator of a varve cluster: virtual time, network, disks, clients, checkers, traces.
//!
//! One thread, one seed. Everything drawn comes from the seed by name ([`draw`]), so a run is the same on every
//! machine and a run without one of its events keeps the draws of all others.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a trace tells a few of many messages, and a test names the variants that it expects"
)]

pub mod draw;
pub mod hash;
pub mod panics;
pub mod clock;
pub mod network;
pub mod disk;
pub mod history;
pub mod client;
pub mod checkers;
pub mod node;
pub mod cluster;
pub mod trace;
pub mod nemesis;
pub mod liveness;
pub mod recording;
pub mod run;
