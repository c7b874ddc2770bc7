//! Which values keys take, and which of them hold.

use super::*;
use crate::cluster::MetadataRecord;

const TOPIC: TopicId = TopicId(1 << 64);

fn map(values: &[(&str, &str)]) -> ConfigMap {
    values
        .iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn file(values: &[(&str, &str)]) -> BrokerConfig {
    BrokerConfig::new(BrokerId(1), map(values)).expect("a valid file")
}

fn refusal(key: &str, value: &str) -> String {
    check_topic(&map(&[(key, value)]))
        .expect_err("to be refused")
        .to_string()
}

fn image(configs: &[(ConfigResource, &str, &str)]) -> ClusterImage {
    let mut image = ClusterImage::default();
    image.apply(&MetadataRecord::Topic {
        name: "flights".to_owned(),
        id: TOPIC,
    });
    for (resource, key, value) in configs {
        image.apply(&MetadataRecord::Config {
            resource: resource.clone(),
            key: (*key).to_owned(),
            value: Some((*value).to_owned()),
        });
    }
    image
}

fn entry(image: &ClusterImage, broker: &BrokerConfig, name: &str) -> ConfigEntry {
    let configs = Configs { image, broker };
    let none = ConfigMap::new();
    let config = image.config(&ConfigResource::Topic(TOPIC)).unwrap_or(&none);
    let entries = configs.topic_entries(config);
    entries
        .into_iter()
        .find(|entry| entry.name == name)
        .unwrap()
}

#[test]
fn the_tables_are_sorted_and_every_default_is_a_value_that_its_key_takes() {
    assert!(TOPIC_KEYS.is_sorted_by(|a, b| a.name < b.name));
    assert!(BROKER_KEYS.is_sorted_by(|a, b| a.name < b.name));
    for key in TOPIC_KEYS {
        assert_eq!(check(key.name, key.kind, key.rule, key.default), Ok(()));
    }
    for key in BROKER_KEYS {
        let default = key.default.unwrap_or(match key.kind {
            ConfigType::Long | ConfigType::Int => "1",
            ConfigType::Boolean | ConfigType::Double | ConfigType::String | ConfigType::List => "",
        });
        assert_eq!(check(key.name, key.kind, key.rule, default), Ok(()));
    }
}

#[test]
fn a_topic_and_its_broker_agree_on_every_default() {
    for key in TOPIC_KEYS {
        let broker_default = key.synonyms.iter().find_map(|synonym| {
            let broker = broker_key(synonym.name).expect("a synonym is a broker's key");
            assert_eq!(broker.kind == key.kind, synonym.factor == 1, "{}", key.name);
            Some(synonym.convert(broker.default?).into_owned())
        });
        if let Some(default) = broker_default {
            assert_eq!(default, key.default, "{}", key.name);
        } else {
            assert!(key.synonyms.is_empty(), "{}", key.name);
        }
    }
}

#[test]
fn nothing_set_means_kafkas_defaults() {
    let config = TopicConfig::default();
    assert_eq!(config.max_message_bytes, 1_048_588);
    assert_eq!(config.min_insync_replicas, 1);
    assert_eq!(config.flush, Flush::Commit);
    assert_eq!(config.message_timestamp_type, TimestampType::CreateTime);
    assert_eq!(config.message_timestamp_before_max_ms, i64::MAX);
    assert_eq!(config.message_timestamp_after_max_ms, 3_600_000);
    assert!(config.cleanup_delete && !config.cleanup_compact);
    assert_eq!(config.retention_ms, Some(604_800_000));
    assert_eq!(config.retention_bytes, None);
    assert_eq!(config.segment_bytes, 1 << 30);
    let configs = Configs {
        image: &ClusterImage::default(),
        broker: &file(&[]),
    };
    assert_eq!(configs.topic(TOPIC), config);
    assert_eq!(configs.num_partitions(), 1);
    assert_eq!(configs.default_replication_factor(), 1);
    assert!(configs.auto_create_topics());
}

#[test]
fn the_topic_outdoes_the_broker_the_broker_outdoes_all_brokers_and_these_the_file() {
    let key = "max.message.bytes";
    let file = file(&[("message.max.bytes", "4")]);
    let mut image = image(&[]);
    let mut set = |resource, key: &str, value: &str| {
        image.apply(&MetadataRecord::Config {
            resource,
            key: key.to_owned(),
            value: Some(value.to_owned()),
        });
        let entry = entry(&image, &file, "max.message.bytes");
        let configs = Configs {
            image: &image,
            broker: &file,
        };
        let typed = configs.topic(TOPIC).max_message_bytes;
        (entry.value.unwrap(), entry.source, typed)
    };
    assert_eq!(
        set(
            ConfigResource::Broker(BrokerId(2)),
            "message.max.bytes",
            "9"
        ),
        ("4".to_owned(), ConfigSource::StaticBroker, 4)
    );
    assert_eq!(
        set(ConfigResource::BrokerDefault, "message.max.bytes", "3"),
        ("3".to_owned(), ConfigSource::DynamicDefaultBroker, 3)
    );
    assert_eq!(
        set(
            ConfigResource::Broker(BrokerId(1)),
            "message.max.bytes",
            "2"
        ),
        ("2".to_owned(), ConfigSource::DynamicBroker, 2)
    );
    assert_eq!(
        set(ConfigResource::Topic(TOPIC), key, "1"),
        ("1".to_owned(), ConfigSource::DynamicTopic, 1)
    );
    let synonyms: Vec<_> = entry(&image, &file, key)
        .synonyms
        .into_iter()
        .map(|synonym| format!("{}={}", synonym.name, synonym.value))
        .collect();
    assert_eq!(
        synonyms,
        [
            "max.message.bytes=1",
            "message.max.bytes=2",
            "message.max.bytes=3",
            "message.max.bytes=4",
            "message.max.bytes=1048588"
        ]
    );
}

#[test]
fn hours_in_the_file_are_milliseconds_for_the_topic_unless_milliseconds_are_there() {
    let hours = file(&[("log.retention.hours", "2")]);
    let image = image(&[]);
    let retention = entry(&image, &hours, "retention.ms");
    assert_eq!(retention.value.as_deref(), Some("7200000"));
    assert_eq!(retention.source, ConfigSource::StaticBroker);
    let both = file(&[("log.retention.hours", "2"), ("log.retention.ms", "5")]);
    let retention = entry(&image, &both, "retention.ms");
    assert_eq!(retention.value.as_deref(), Some("5"));
    let forever = file(&[("log.retention.hours", "-1")]);
    let configs = Configs {
        image: &image,
        broker: &forever,
    };
    assert_eq!(configs.topic(TOPIC).retention_ms, None);
}

#[test]
fn what_a_key_does_not_take_is_refused_in_kafkas_words() {
    let refusals = [
        refusal("segment.bytes", "5"),
        refusal("segment.ms", "soon"),
        refusal("max.message.bytes", "2147483648"),
        refusal("cleanup.policy", "delete,keep"),
        refusal("cleanup.policy", "delete,,compact"),
        refusal("leader.replication.throttled.replicas", "0:1,1"),
        refusal("preallocate", "yes"),
        refusal("min.cleanable.dirty.ratio", "1.5"),
        refusal("compression.gzip.level", "10"),
        refusal("flush", "never"),
        refusal("retention", "1"),
        check_topic(&map(&[
            ("min.compaction.lag.ms", "5"),
            ("max.compaction.lag.ms", "4"),
        ]))
        .expect_err("a conflict")
        .to_string(),
    ];
    insta::assert_snapshot!(refusals.join("\n"), @r"
    Invalid value 5 for configuration segment.bytes: Value must be at least 1048576
    Invalid value soon for configuration segment.ms: Not a number of type LONG
    Invalid value 2147483648 for configuration max.message.bytes: Not a number of type INT
    Invalid value delete,keep for configuration cleanup.policy: String must be one of: compact, delete
    Invalid value delete,,compact for configuration cleanup.policy: An item of the list is empty
    Invalid value 0:1,1 for configuration leader.replication.throttled.replicas: Must be the literal '*' or a list of replicas in the format [partitionId]:[brokerId],[partitionId]:[brokerId]
    Invalid value yes for configuration preallocate: Expected value to be either true or false
    Invalid value 1.5 for configuration min.cleanable.dirty.ratio: Value must be no more than 1
    Invalid value 10 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1
    Invalid value never for configuration flush: String must be one of: commit, replicated
    Unknown topic config name: retention
    conflict topic config setting min.compaction.lag.ms (5) > max.compaction.lag.ms (4)
    ");
}

#[test]
fn values_are_taken_in_every_form_that_kafka_takes() {
    for (key, value) in [
        ("cleanup.policy", "delete,delete"),
        ("cleanup.policy", " compact , delete "),
        ("preallocate", "TRUE"),
        ("follower.replication.throttled.replicas", "*"),
        ("follower.replication.throttled.replicas", "0:1, 12:3"),
        ("follower.replication.throttled.replicas", ""),
    ] {
        assert_eq!(check_topic(&map(&[(key, value)])), Ok(()), "{key}={value}");
    }
    let file = file(&[("auto.create.topics.enable", "False")]);
    let configs = Configs {
        image: &ClusterImage::default(),
        broker: &file,
    };
    assert!(!configs.auto_create_topics());
}

#[test]
fn a_value_that_another_version_took_does_not_stop_a_node() {
    let image = image(&[(ConfigResource::Topic(TOPIC), "segment.bytes", "many")]);
    let broker = file(&[]);
    let configs = Configs {
        image: &image,
        broker: &broker,
    };
    assert_eq!(configs.topic(TOPIC), TopicConfig::default());
}

#[test]
fn an_empty_cleanup_policy_keeps_everything() {
    let broker = file(&[]);
    let image = image(&[(ConfigResource::Topic(TOPIC), "cleanup.policy", "")]);
    let configs = Configs {
        image: &image,
        broker: &broker,
    };
    let config = configs.topic(TOPIC);
    assert!(!config.cleanup_delete && !config.cleanup_compact);
}
