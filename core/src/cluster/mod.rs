//! What the cluster knows of itself: brokers, topics, partitions and configurations.
//!
//! All of it is a function of the committed prefix of `__cluster_metadata`. Who leads a partition is not in it:
//! that is the word of the partition's own quorum alone (counter-example 11).

mod registration;

pub use registration::{BrokerRegistration, Endpoint, VoterReport};
