//! What a broker says of itself, and what a partition's leader reports.

use bincode::{Decode, Encode};

use crate::ids::{BrokerId, DirectoryId, Incarnation, LeaderEpoch, TopicPartition, Voter};

/// What a broker registers with the controller at every start.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct BrokerRegistration {
    /// The broker.
    pub broker: BrokerId,
    /// Its directory. Another one than before means that the earlier is lost, with every replica in it.
    pub directory: DirectoryId,
    /// This start of it.
    pub incarnation: Incarnation,
    /// Kafka's `broker.rack`.
    pub rack: Option<String>,
    /// What clients are told, listener by listener, in the order of the broker's configuration.
    pub listeners: Vec<Endpoint>,
    /// `host:port` of its peer listener, as the other brokers reach it.
    pub peer_address: String,
}

/// An advertised listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Endpoint {
    /// The listener's name. A client is told the endpoints of the listener that it came through.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// A partition's committed voters, reported by its leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct VoterReport {
    /// Which partition.
    pub partition: TopicPartition,
    /// The epoch of the reporting leader. Of two reports the one of the higher epoch holds.
    pub leader_epoch: LeaderEpoch,
    /// The note that named these voters, counted from the log's beginning; 0 for the voters of the creation.
    pub notes: u64,
    /// The voters, sorted.
    pub voters: Vec<Voter>,
}
