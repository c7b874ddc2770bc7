//! The binary as its users run it: real processes over loopback.

// A test's helper fails by panicking, like the test itself.
#![allow(clippy::unwrap_used)]

mod cluster;

mod bytes;
mod calls;
mod consume;
mod nodes;
mod produce;
mod reassign;
