//! The registration of a broker, and the voter report of a partition's leader.

use bincode::{Decode, Encode};

use crate::ids::{BrokerId, DirectoryId, Incarnation, LeaderEpoch, TopicPartition, Voter};

/// What a broker registers with the controller at every start.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct BrokerRegistration {
    /// The broker.
    pub broker: BrokerId,
    /// Its directory. A different one than before means that the earlier directory is lost, with every replica in it.
    pub directory: DirectoryId,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Kafka's `broker.rack`.
    pub rack: Option<String>,
    /// Its advertised listeners, in the order of the broker's configuration.
    pub listeners: Vec<Endpoint>,
    /// `host:port` of its peer listener, as the other brokers reach it.
    pub peer_address: String,
}

/// An advertised listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Endpoint {
    /// The listener's name. A client gets the endpoints of the listener of its connection.
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
    /// The count of the note that named these voters, from the log's beginning; 0 for the initial voters.
    pub notes: u64,
    /// The voters, sorted.
    pub voters: Vec<Voter>,
}
