//! Configurations: the keys, their valid values, and which value applies.
//!
//! A topic's value is, in this order: the one set for the topic; the one set for this broker, or for all brokers, under
//! the broker's name for the same key (dynamically, then in its configuration file); the default. A broker's value is
//! the same without the first. So two brokers with different files may have different values for a topic, as in Kafka:
//! its leader's values apply.
//!
//! Values are text here and in the log, are checked when they are set ([`check_topic`]), and are parsed once into a
//! [`TopicConfig`]. The keys themselves are in [`super::config_keys`].

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::config_keys::{BROKER_KEYS, TOPIC_KEYS};
use super::image::ClusterImage;
use super::record::{ConfigMap, ConfigResource};
use crate::ids::{BrokerId, TopicId};
use crate::producer::TICKS_REMEMBERED;
use crate::record::TimestampType;
use crate::store::{Flush, StoreOptions};
use crate::wire::describe_configs as wire;

/// A configuration's type in DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean,
    /// Any text.
    String,
    /// 32 bits.
    Int,
    /// 64 bits.
    Long,
    /// A number with a fraction.
    Double,
    /// Texts with commas between them.
    List,
}

impl ConfigType {
    /// Its number in DescribeConfigs.
    #[must_use]
    pub const fn code(self) -> i8 {
        match self {
            Self::Boolean => wire::TYPE_BOOLEAN,
            Self::String => wire::TYPE_STRING,
            Self::Int => wire::TYPE_INT,
            Self::Long => wire::TYPE_LONG,
            Self::Double => wire::TYPE_DOUBLE,
            Self::List => wire::TYPE_LIST,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
        }
    }
}

/// The source of a value in DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfigSource {
    /// Set for the topic.
    DynamicTopic,
    /// Set for the broker, in the metadata.
    DynamicBroker,
    /// Set for all brokers, in the metadata.
    DynamicDefaultBroker,
    /// In the broker's configuration file.
    StaticBroker,
    /// Set nowhere.
    Default,
}

impl ConfigSource {
    /// Its number in DescribeConfigs and CreateTopics.
    #[must_use]
    pub const fn code(self) -> i8 {
        match self {
            Self::DynamicTopic => wire::SOURCE_TOPIC,
            Self::DynamicBroker => wire::SOURCE_DYNAMIC_BROKER,
            Self::DynamicDefaultBroker => wire::SOURCE_DYNAMIC_DEFAULT_BROKER,
            Self::StaticBroker => wire::SOURCE_STATIC_BROKER,
            Self::Default => wire::SOURCE_DEFAULT,
        }
    }
}

/// The valid values of a key, beyond its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueRule {
    /// Every value of the type.
    Any,
    /// A number not below this one.
    AtLeast(i64),
    /// A number between these, both allowed.
    Between(i64, i64),
    /// `or`, or a number between the others, both allowed.
    Levels { or: i64, min: i64, max: i64 },
    /// A fraction between 0 and 1, both allowed.
    Ratio,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Any of these.
    ListOf(&'static [&'static str]),
    /// Pairs of a partition and a broker, as `0:1`; or `*`, every pair.
    ReplicaList,
}

/// Whether, and for whom, a broker's value can be changed while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Update {
    /// By its file and a restart.
    ReadOnly,
    /// For one broker.
    PerBroker,
    /// For one broker or for all.
    Everywhere,
}

/// A key of topics.
#[derive(Clone, Copy, Debug)]
pub(super) struct TopicKey {
    pub(super) name: &'static str,
    pub(super) kind: ConfigType,
    pub(super) default: &'static str,
    pub(super) rule: ValueRule,
    /// The brokers' names for it, the first that is set counting.
    pub(super) synonyms: &'static [Synonym],
    pub(super) doc: &'static str,
}

/// A broker's name for a topic's key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Synonym {
    pub(super) name: &'static str,
    /// The factor by which the broker's number is multiplied to give the topic's.
    pub(super) factor: i64,
}

/// A key of brokers.
#[derive(Clone, Copy, Debug)]
pub(super) struct BrokerKey {
    pub(super) name: &'static str,
    pub(super) kind: ConfigType,
    pub(super) default: Option<&'static str>,
    pub(super) rule: ValueRule,
    pub(super) update: Update,
    pub(super) doc: &'static str,
}

/// Why a configuration is refused, with Kafka's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidConfig {
    /// There is no such key for a topic.
    UnknownTopicKey(String),
    /// There is no such key for a broker.
    UnknownBrokerKey(String),
    /// The value is not valid for the key.
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// Keys with no value.
    Null(Vec<String>),
    /// The shortest time before compaction is longer than the longest.
    CompactionLags {
        /// `min.compaction.lag.ms`.
        min: i64,
        /// `max.compaction.lag.ms`.
        max: i64,
    },
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownTopicKey(key) => write!(f, "Unknown topic config name: {key}"),
            Self::UnknownBrokerKey(key) => write!(f, "Unknown broker config name: {key}"),
            Self::Value { key, value, why } => {
                write!(f, "Invalid value {value} for configuration {key}: {why}")
            }
            Self::Null(keys) => write!(
                f,
                "Null value not supported for topic configs: {}",
                keys.join(",")
            ),
            Self::CompactionLags { min, max } => write!(
                f,
                "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
            ),
        }
    }
}

impl std::error::Error for InvalidConfig {}

/// Checks the whole configuration of a topic.
///
/// # Errors
/// The first unknown key, else the first invalid value, else values that contradict each other.
pub fn check_topic(config: &ConfigMap) -> Result<(), InvalidConfig> {
    for key in config.keys() {
        if topic_key(key).is_none() {
            return Err(InvalidConfig::UnknownTopicKey(key.clone()));
        }
    }
    for (name, value) in config {
        let key = topic_key(name).expect("every key was found above");
        check(key.name, key.kind, key.rule, value)?;
    }
    let lag = |key: &str| -> Option<i64> { config.get(key)?.parse().ok() };
    let min = lag("min.compaction.lag.ms").unwrap_or(0);
    let max = lag("max.compaction.lag.ms").unwrap_or(i64::MAX);
    if min > max {
        return Err(InvalidConfig::CompactionLags { min, max });
    }
    Ok(())
}

/// The settings of a broker's configuration file, by Kafka's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    id: BrokerId,
    values: ConfigMap,
}

impl BrokerConfig {
    /// Checks the values of broker `id`'s file. Keys that are not in them have Kafka's defaults.
    ///
    /// # Errors
    /// The first unknown key or invalid value.
    pub fn new(id: BrokerId, values: ConfigMap) -> Result<Self, InvalidConfig> {
        for (name, value) in &values {
            let key =
                broker_key(name).ok_or_else(|| InvalidConfig::UnknownBrokerKey(name.clone()))?;
            check(key.name, key.kind, key.rule, value)?;
        }
        Ok(Self { id, values })
    }

    /// The least time between two ticks of a log's clock: [`TICKS_REMEMBERED`] of them make up
    /// `producer.id.expiration.ms`. At least a second, since every tick is a note that is kept in memory.
    #[must_use]
    pub fn clock_tick_min(&self) -> Duration {
        let values_of = self.values.get("producer.id.expiration.ms");
        let ms = values_of.and_then(|value| value.trim().parse().ok());
        let expiration = ms.map_or(Duration::from_hours(24), Duration::from_millis);
        (expiration / TICKS_REMEMBERED).max(Duration::from_secs(1))
    }

    /// The time within which the scrub reads and checks the whole log: `log.scrub.interval.ms`; zero: never.
    #[must_use]
    pub fn scrub_interval(&self) -> Duration {
        let values_of = self.values.get("log.scrub.interval.ms");
        let ms = values_of.and_then(|value| value.trim().parse().ok());
        ms.map_or(
            StoreOptions::default().scrub_interval,
            Duration::from_millis,
        )
    }

    /// The broker.
    #[must_use]
    pub const fn broker(&self) -> BrokerId {
        self.id
    }

    /// What the file sets.
    #[must_use]
    pub const fn values(&self) -> &ConfigMap {
        &self.values
    }
}

/// An effective value, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub name: &'static str,
    /// The value; `None` where nothing is set and there is no default.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: ConfigSource,
    /// Its type.
    pub kind: ConfigType,
    /// Whether it takes a restart to change it.
    pub read_only: bool,
    /// Every place where it is set, the effective one first.
    pub synonyms: Vec<ConfigSynonym>,
    /// What it means.
    pub documentation: &'static str,
}

/// One place where a value is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// Under which name.
    pub name: &'static str,
    /// The value there.
    pub value: String,
    /// Where.
    pub source: ConfigSource,
}

/// The configuration of one broker: the cluster's metadata over its own file.
#[derive(Clone, Copy, Debug)]
pub struct Configs<'a> {
    /// The configurations in the metadata.
    pub image: &'a ClusterImage,
    /// What the broker's file sets.
    pub broker: &'a BrokerConfig,
}

impl<'a> Configs<'a> {
    /// The effective configuration of a topic. It changes only with the image: cache it, a produce should not compute
    /// it again.
    #[must_use]
    pub fn topic(&self, id: TopicId) -> TopicConfig {
        let config = self.image.config(&ConfigResource::Topic(id));
        self.topic_with(config.unwrap_or(&ConfigMap::new()))
    }

    /// The effective configuration of a topic with this configuration of its own.
    #[must_use]
    pub fn topic_with(&self, config: &ConfigMap) -> TopicConfig {
        TopicConfig::read(&|key| self.topic_value(key, config))
    }

    /// Every configuration of a topic with this configuration of its own, by name.
    #[must_use]
    pub fn topic_entries(&self, config: &ConfigMap) -> Vec<ConfigEntry> {
        TOPIC_KEYS
            .iter()
            .map(|key| self.topic_entry(key, config))
            .collect()
    }

    /// Every configuration of this broker, by name.
    #[must_use]
    pub fn broker_entries(&self) -> Vec<ConfigEntry> {
        BROKER_KEYS
            .iter()
            .map(|key| self.broker_entry(key))
            .collect()
    }

    /// What has been set for all brokers in the metadata, by name.
    #[must_use]
    pub fn broker_default_entries(&self) -> Vec<ConfigEntry> {
        let Some(config) = self.image.config(&ConfigResource::BrokerDefault) else {
            return Vec::new();
        };
        BROKER_KEYS
            .iter()
            .filter_map(|key| {
                let value = config.get(key.name)?;
                let source = ConfigSource::DynamicDefaultBroker;
                Some(key.entry(vec![ConfigSynonym {
                    name: key.name,
                    value: value.clone(),
                    source,
                }]))
            })
            .collect()
    }

    /// `num.partitions`: partitions of a topic whose creation does not say how many.
    #[must_use]
    pub fn num_partitions(&self) -> i32 {
        self.int("num.partitions")
    }

    /// `default.replication.factor`: replicas of a topic whose creation does not say how many.
    #[must_use]
    pub fn default_replication_factor(&self) -> i32 {
        self.int("default.replication.factor")
    }

    /// `auto.create.topics.enable`: whether a Metadata request for a topic creates it.
    #[must_use]
    pub fn auto_create_topics(&self) -> bool {
        self.is_true("auto.create.topics.enable")
    }

    /// `auto.leader.rebalance.enable`: whether leadership goes back to preferred replicas.
    #[must_use]
    pub fn auto_leader_rebalance(&self) -> bool {
        self.is_true("auto.leader.rebalance.enable")
    }

    /// `controlled.shutdown.enable`: whether leaderships are transferred before the broker stops.
    #[must_use]
    pub fn controlled_shutdown(&self) -> bool {
        self.is_true("controlled.shutdown.enable")
    }

    /// `delete.topic.enable`: whether topics can be deleted.
    #[must_use]
    pub fn delete_topics(&self) -> bool {
        self.is_true("delete.topic.enable")
    }

    /// `max.request.partition.size.limit`: partitions in one answer to DescribeTopicPartitions.
    #[must_use]
    pub fn describe_partitions_max(&self) -> i32 {
        self.int("max.request.partition.size.limit")
    }

    /// `fetch.max.bytes`: the limit of bytes in one response to Fetch.
    #[must_use]
    pub fn fetch_max_bytes(&self) -> i32 {
        self.int("fetch.max.bytes")
    }

    /// `max.incremental.fetch.session.cache.slots`: the most fetch sessions that are kept.
    #[must_use]
    pub fn fetch_sessions_max(&self) -> i32 {
        self.int("max.incremental.fetch.session.cache.slots")
    }

    fn int(&self, name: &str) -> i32 {
        self.parsed(name, |value| value.parse().ok())
    }

    fn is_true(&self, name: &str) -> bool {
        self.parsed(name, boolean)
    }

    /// A broker's value by a name that has a default.
    fn parsed<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> T {
        let key = broker_key(name).expect("callers name keys of the table");
        let default = key.default.expect("callers name keys with a default");
        let values_of = self.values_of(key.name);
        let value = values_of.first().map_or(default, |(value, _)| value);
        parse(value.trim())
            .or_else(|| parse(default))
            .expect("a default is of its key's type")
    }

    /// The values that are set under a broker's name of a key, and where; the first applies.
    fn values_of(&self, name: &str) -> Vec<(&'a str, ConfigSource)> {
        let image = self.image;
        let places = [
            (
                image.config(&ConfigResource::Broker(self.broker.id)),
                ConfigSource::DynamicBroker,
            ),
            (
                image.config(&ConfigResource::BrokerDefault),
                ConfigSource::DynamicDefaultBroker,
            ),
            (Some(&self.broker.values), ConfigSource::StaticBroker),
        ];
        places
            .into_iter()
            .filter_map(|(config, source)| Some((config?.get(name)?.as_str(), source)))
            .collect()
    }

    fn topic_value(&self, key: &TopicKey, config: &ConfigMap) -> String {
        if let Some(value) = config.get(key.name) {
            return value.clone();
        }
        key.synonyms
            .iter()
            .find_map(|synonym| {
                let (value, _) = *self.values_of(synonym.name).first()?;
                Some(synonym.convert(value).into_owned())
            })
            .unwrap_or_else(|| key.default.to_owned())
    }

    fn topic_entry(&self, key: &TopicKey, config: &ConfigMap) -> ConfigEntry {
        let mut synonyms = Vec::new();
        if let Some(value) = config.get(key.name) {
            synonyms.push(ConfigSynonym {
                name: key.name,
                value: value.clone(),
                source: ConfigSource::DynamicTopic,
            });
        }
        for synonym in key.synonyms {
            for (value, source) in self.values_of(synonym.name) {
                synonyms.push(ConfigSynonym {
                    name: synonym.name,
                    value: value.to_owned(),
                    source,
                });
            }
        }
        // As in Kafka, a default is listed under the first of the broker's names, if that has it.
        let first = key.synonyms.first();
        if let Some(key) = first.and_then(|synonym| broker_key(synonym.name))
            && let Some(default) = key.default
        {
            synonyms.push(ConfigSynonym {
                name: key.name,
                value: default.to_owned(),
                source: ConfigSource::Default,
            });
        }
        ConfigEntry {
            name: key.name,
            value: Some(self.topic_value(key, config)),
            source: synonyms
                .first()
                .map_or(ConfigSource::Default, |first| first.source),
            kind: key.kind,
            read_only: false,
            synonyms,
            documentation: key.doc,
        }
    }

    fn broker_entry(&self, key: &BrokerKey) -> ConfigEntry {
        let mut synonyms: Vec<_> = self
            .values_of(key.name)
            .into_iter()
            .map(|(value, source)| ConfigSynonym {
                name: key.name,
                value: value.to_owned(),
                source,
            })
            .collect();
        if let Some(default) = key.default {
            synonyms.push(ConfigSynonym {
                name: key.name,
                value: default.to_owned(),
                source: ConfigSource::Default,
            });
        }
        key.entry(synonyms)
    }
}

impl BrokerKey {
    fn entry(&self, synonyms: Vec<ConfigSynonym>) -> ConfigEntry {
        let first = synonyms.first();
        ConfigEntry {
            name: self.name,
            value: first.map(|first| first.value.clone()),
            source: first.map_or(ConfigSource::Default, |first| first.source),
            kind: self.kind,
            read_only: self.update == Update::ReadOnly,
            synonyms,
            documentation: self.doc,
        }
    }
}

impl Synonym {
    fn convert<'v>(&self, value: &'v str) -> Cow<'v, str> {
        match value.parse::<i64>() {
            // A negative number means "without bound" in every unit.
            Ok(number) if self.factor != 1 && number > 0 => {
                Cow::Owned(number.saturating_mul(self.factor).to_string())
            }
            Ok(_) | Err(_) => Cow::Borrowed(value),
        }
    }
}

/// The effective configuration of a topic, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `max.message.bytes`: the largest accepted batch, in bytes, its header included.
    pub max_message_bytes: u32,
    /// `max.decompressed.message.bytes`: the largest accepted record in a compressed batch.
    pub max_decompressed_message_bytes: u32,
    /// `min.insync.replicas`, at least 1.
    pub min_insync_replicas: u32,
    /// `flush`: when `acks=all` is answered.
    pub flush: Flush,
    /// `message.timestamp.type`.
    pub message_timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how old a record may be, inclusive.
    pub message_timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far ahead a record may be, inclusive.
    pub message_timestamp_after_max_ms: i64,
    /// `cleanup.policy` has `delete`.
    pub cleanup_delete: bool,
    /// `cleanup.policy` has `compact`: records must have keys.
    pub cleanup_compact: bool,
    /// `retention.ms`; `None` for any age.
    pub retention_ms: Option<u64>,
    /// `retention.bytes`; `None` for any size.
    pub retention_bytes: Option<u64>,
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `segment.ms`.
    pub segment_ms: i64,
    /// `segment.jitter.ms`.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: i64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`, 0 to 1.
    pub min_cleanable_dirty_ratio: f64,
}

impl Default for TopicConfig {
    /// Kafka's defaults.
    fn default() -> Self {
        Self::read(&|key| key.default.to_owned())
    }
}

impl TopicConfig {
    fn read(value: &dyn Fn(&TopicKey) -> String) -> Self {
        let text = |name: &str| {
            let key = topic_key(name).expect("this file names keys of the table");
            let value = value(key);
            // Values were checked when they were set. A value that this version would refuse (another version accepted
            // it) must not stop a node: the default applies.
            match check(key.name, key.kind, key.rule, &value) {
                Ok(()) => value,
                Err(_) => key.default.to_owned(),
            }
        };
        let long = |name: &str| -> i64 { number(&text(name)) };
        let int = |name: &str| -> u32 { number(&text(name)) };
        // Below 0 means without bound.
        let bound = |name: &str| u64::try_from(long(name)).ok();
        let policy = text("cleanup.policy");
        Self {
            max_message_bytes: int("max.message.bytes"),
            max_decompressed_message_bytes: int("max.decompressed.message.bytes"),
            min_insync_replicas: int("min.insync.replicas"),
            flush: if text("flush").trim() == "replicated" {
                Flush::Replicated
            } else {
                Flush::Commit
            },
            message_timestamp_type: if text("message.timestamp.type").trim() == "LogAppendTime" {
                TimestampType::LogAppendTime
            } else {
                TimestampType::CreateTime
            },
            message_timestamp_before_max_ms: long("message.timestamp.before.max.ms"),
            message_timestamp_after_max_ms: long("message.timestamp.after.max.ms"),
            cleanup_delete: items(&policy).any(|item| item == "delete"),
            cleanup_compact: items(&policy).any(|item| item == "compact"),
            retention_ms: bound("retention.ms"),
            retention_bytes: bound("retention.bytes"),
            segment_bytes: int("segment.bytes"),
            segment_ms: long("segment.ms"),
            segment_jitter_ms: long("segment.jitter.ms"),
            segment_index_bytes: int("segment.index.bytes"),
            index_interval_bytes: int("index.interval.bytes"),
            file_delete_delay_ms: long("file.delete.delay.ms"),
            delete_retention_ms: long("delete.retention.ms"),
            min_compaction_lag_ms: long("min.compaction.lag.ms"),
            max_compaction_lag_ms: long("max.compaction.lag.ms"),
            min_cleanable_dirty_ratio: number(&text("min.cleanable.dirty.ratio")),
        }
    }
}

/// A number that has been checked.
fn number<T: std::str::FromStr>(value: &str) -> T {
    value
        .trim()
        .parse()
        .ok()
        .expect("the value passed its key's rule, and the field holds all that the rule allows")
}

fn topic_key(name: &str) -> Option<&'static TopicKey> {
    TOPIC_KEYS
        .binary_search_by_key(&name, |key| key.name)
        .ok()
        .map(|at| &TOPIC_KEYS[at])
}

fn broker_key(name: &str) -> Option<&'static BrokerKey> {
    BROKER_KEYS
        .binary_search_by_key(&name, |key| key.name)
        .ok()
        .map(|at| &BROKER_KEYS[at])
}

/// The items of a list; none of an empty text.
fn items(value: &str) -> impl Iterator<Item = &str> {
    let value = value.trim();
    let items = value.split(',').map(str::trim);
    items.filter(move |_| !value.is_empty())
}

/// A boolean from text, in letters of either case.
fn boolean(value: &str) -> Option<bool> {
    [true, false]
        .into_iter()
        .find(|truth| value.eq_ignore_ascii_case(&truth.to_string()))
}

/// Whether this is a partition and a broker, both numbers.
fn is_replica(item: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    item.split_once(':')
        .is_some_and(|(partition, broker)| is_number(partition) && is_number(broker))
}

fn check(key: &str, kind: ConfigType, rule: ValueRule, value: &str) -> Result<(), InvalidConfig> {
    let refused = |why: String| {
        Err(InvalidConfig::Value {
            key: key.to_owned(),
            value: value.to_owned(),
            why,
        })
    };
    let not_a_number = || refused(format!("Not a number of type {}", kind.name()));
    // Values are not trimmed anywhere else, so that a value is stored and shown as it was checked.
    let trimmed = value.trim();
    let number = match kind {
        ConfigType::Boolean => {
            if boolean(trimmed).is_none() {
                return refused("Expected value to be either true or false".to_owned());
            }
            0
        }
        ConfigType::Int => match trimmed.parse::<i32>() {
            Ok(number) => i64::from(number),
            Err(_) => return not_a_number(),
        },
        ConfigType::Long => match trimmed.parse::<i64>() {
            Ok(number) => number,
            Err(_) => return not_a_number(),
        },
        ConfigType::Double => match trimmed.parse::<f64>() {
            Ok(number) if number < 0.0 => return refused("Value must be at least 0".to_owned()),
            Ok(number) if number > 1.0 => {
                return refused("Value must be no more than 1".to_owned());
            }
            Ok(number) if number.is_nan() => return not_a_number(),
            Ok(_) => 0,
            Err(_) => return not_a_number(),
        },
        ConfigType::String | ConfigType::List => 0,
    };
    match rule {
        ValueRule::Any | ValueRule::Ratio => Ok(()),
        ValueRule::AtLeast(min) | ValueRule::Between(min, _) if number < min => {
            refused(format!("Value must be at least {min}"))
        }
        ValueRule::Between(_, max) if number > max => {
            refused(format!("Value must be no more than {max}"))
        }
        ValueRule::AtLeast(_) | ValueRule::Between(..) => Ok(()),
        ValueRule::Levels { or, min, max } => {
            if number == or || (min..=max).contains(&number) {
                Ok(())
            } else {
                refused(format!(
                    "Value must be between {min} and {max} or equal to {or}"
                ))
            }
        }
        ValueRule::OneOf(allowed) => {
            if allowed.contains(&trimmed) {
                Ok(())
            } else {
                refused(format!("String must be one of: {}", allowed.join(", ")))
            }
        }
        ValueRule::ListOf(allowed) => {
            if items(value).any(str::is_empty) {
                refused("An item of the list is empty".to_owned())
            } else if items(value).all(|item| allowed.contains(&item)) {
                Ok(())
            } else {
                refused(format!("String must be one of: {}", allowed.join(", ")))
            }
        }
        ValueRule::ReplicaList => {
            if trimmed == "*" || items(value).all(is_replica) {
                Ok(())
            } else {
                refused(
                    "Must be the literal '*' or a list of replicas in the format \
                     [partitionId]:[brokerId],[partitionId]:[brokerId]"
                        .to_owned(),
                )
            }
        }
    }
}

#[cfg(test)]
mod tests;
