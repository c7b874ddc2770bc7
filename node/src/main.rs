//! The `varve` binary.

mod address;
mod config;

fn main() {}
