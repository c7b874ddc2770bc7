//! The sans-IO state machine of varve: every decision that a broker makes.
//!
//! A broker is a value. It takes facts ([`input::Input`]) together with the time, and gives orders
//! ([`effect::Effect`]). It reads no clock, opens no file or socket, starts no thread; the same inputs give the same
//! effects on every machine. `varve-net` executes the effects in the real world, `varve-sim` in a simulated one.
//!
//! Suggested reading order is that of the modules below.

#![cfg_attr(
    test,
    allow(
        clippy::wildcard_enum_match_arm,
        reason = "a test names the variants that it expects"
    )
)]

pub mod ids;
pub mod time;
pub mod wire;
pub mod record;
pub mod log;
pub mod producer;
pub mod hooks;
pub mod store;
pub mod cluster;
pub mod peer;
pub mod input;
pub mod effect;
pub mod links;
mod queries;
pub mod replica;
pub mod describe;
pub mod group;
pub mod broker;
