//! The cluster's metadata: brokers, topics, partitions and configurations.
//!
//! All of it is a function of the committed prefix of `__cluster_metadata`: [`ClusterImage`] is the fold of its
//! [`MetadataRecord`]s. The leader of a partition is not in it: the partition's own quorum alone decides that
//! (counter-example 11).

mod registration;
mod layout;
mod record;
mod image;
mod config_keys;
mod config;
mod names;
mod placement;
mod administration;
mod controller;
mod answer;

pub use administration::AdminRequest;
pub(crate) use administration::visit_topics;
pub use answer::{AnswerContext, ClusterView, MetadataAnswer, lists_all_topics};
pub use config::{
    BrokerConfig, ConfigEntry, ConfigSource, ConfigSynonym, ConfigType, Configs, InvalidConfig,
    TopicConfig, check_topic,
};
pub use controller::{
    Planned, auto_create_request, plan_client, plan_liveness, plan_metadata_quorum,
    plan_producer_ids, plan_registration, plan_stop, plan_voter_reports,
};
pub use image::{
    Assignment, AssignmentKind, BrokerImage, BrokerState, ClusterImage, PartitionImage, Reported,
    TopicImage,
};
pub use layout::MetadataDecodeError;
pub use names::{InvalidName, check_topic_name, is_internal};
pub use placement::{PlacementError, Placer};
pub use record::{ConfigMap, ConfigResource, MetadataRecord, decode_batch, encode_records};
pub use registration::{BrokerRegistration, Endpoint, VoterReport};
