//! The binary as its users run it: real processes over loopback.

mod cluster;

mod bytes;
