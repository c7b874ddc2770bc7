//! What the cluster knows of itself: brokers, topics, partitions and configurations.
//!
//! All of it is a function of the committed prefix of `__cluster_metadata`: [`ClusterImage`] is the fold of its
//! [`MetadataRecord`]s. Who leads a partition is not in it: that is the word of the partition's own quorum alone
//! (counter-example 11).

mod registration;
mod layout;
mod record;
mod image;

pub use image::{
    Assignment, BrokerImage, BrokerState, ClusterImage, PartitionImage, Reported, Role, TopicImage,
};
pub use layout::DecodeError;
pub use record::{ConfigMap, ConfigResource, MetadataRecord};
pub use registration::{BrokerRegistration, Endpoint, VoterReport};
