//! Responses about the cluster.

use std::collections::BTreeMap;

use super::*;
use crate::cluster::image::voter;
use crate::cluster::{BrokerConfig, ConfigMap, MetadataRecord};
use crate::ids::Incarnation;

const FLIGHTS: TopicId = TopicId(1 << 64);
const WEATHER: TopicId = TopicId(2 << 64);

/// What broker 1 knows.
struct Known {
    image: ClusterImage,
    broker: BrokerConfig,
    leaders: BTreeMap<TopicPartition, LeaderAndIsr>,
    heard: Vec<i32>,
    /// Brokers that have called their directory offline.
    offline: Vec<i32>,
    /// Partitions whose leader has been started again since it said so.
    started_anew: Vec<TopicPartition>,
}

impl ClusterView for Known {
    fn leader(&self, partition: TopicPartition) -> Option<&LeaderAndIsr> {
        self.leaders.get(&partition)
    }

    fn is_current(&self, partition: TopicPartition) -> bool {
        !self.started_anew.contains(&partition)
    }

    fn is_alive(&self, broker: BrokerId) -> bool {
        self.heard.contains(&broker.0)
    }

    fn is_directory_offline(&self, broker: BrokerId) -> bool {
        self.offline.contains(&broker.0)
    }
}

fn partition(topic: TopicId, index: i32) -> TopicPartition {
    TopicPartition {
        topic,
        partition: PartitionIndex(index),
    }
}

impl Known {
    /// Brokers 1 to 3, active; only 1 and 2 have the listener `INSIDE`. `flights` has two partitions on all of
    /// them, `weather` one on 3 and 1.
    fn new() -> Self {
        let mut known = Self {
            image: ClusterImage::default(),
            broker: BrokerConfig::new(BrokerId(1), ConfigMap::new()).unwrap(),
            leaders: BTreeMap::new(),
            heard: Vec::new(),
            offline: Vec::new(),
            started_anew: Vec::new(),
        };
        for id in 1..=3 {
            let endpoint = |name: &str, port| Endpoint {
                name: name.to_owned(),
                host: format!("n{id}"),
                port,
            };
            let mut listeners = vec![endpoint("OUTSIDE", 9092)];
            if id < 3 {
                listeners.push(endpoint("INSIDE", 9093));
            }
            let registration = BrokerRegistration {
                broker: BrokerId(id),
                directory: voter(id).directory,
                incarnation: Incarnation(1),
                rack: (id == 1).then(|| "attic".to_owned()),
                listeners,
                peer_address: format!("n{id}:9192"),
            };
            known.apply(MetadataRecord::RegisterBroker { registration });
            known.apply(MetadataRecord::UnfenceBroker {
                broker: BrokerId(id),
                incarnation: Incarnation(1),
            });
        }
        for (name, id, target) in [
            ("flights", FLIGHTS, vec![vec![1, 2, 3], vec![2, 3, 1]]),
            ("weather", WEATHER, vec![vec![3, 1]]),
        ] {
            let name = name.to_owned();
            known.apply(MetadataRecord::Topic { name, id });
            for (index, target) in (0..).zip(target) {
                let target: Vec<_> = target.into_iter().map(voter).collect();
                known.apply(MetadataRecord::Partition {
                    partition: partition(id, index),
                    voters: target.clone(),
                    target,
                });
            }
        }
        known.leads(FLIGHTS, 0, 1, &[1, 2, 3]);
        known.leads(FLIGHTS, 1, 2, &[1, 2]);
        known.leads(WEATHER, 0, 3, &[1, 3]);
        known
    }

    fn apply(&mut self, record: MetadataRecord) {
        self.image.apply(&record);
    }

    fn leads(&mut self, topic: TopicId, index: i32, leader: i32, isr: &[i32]) {
        let partition = partition(topic, index);
        let announcement = LeaderAndIsr {
            partition,
            leader_epoch: LeaderEpoch(7),
            leader: (leader > 0).then_some(BrokerId(leader)),
            version: 0,
            isr: isr.iter().copied().map(BrokerId).collect(),
        };
        self.leaders.insert(partition, announcement);
    }

    fn fence(&mut self, broker: i32) {
        self.apply(MetadataRecord::FenceBroker {
            broker: BrokerId(broker),
            incarnation: Incarnation(1),
        });
    }

    fn through<'a>(&'a self, listener: &'a str) -> AnswerContext<'a> {
        AnswerContext {
            configs: Configs {
                image: &self.image,
                broker: &self.broker,
            },
            view: self,
            cluster: Some(ClusterId(5)),
            controller: Some(BrokerId(3)),
            confirmed: true,
            listener,
        }
    }

    fn metadata(&self, names: Option<&[&str]>, api_version: i16) -> MetadataAnswer {
        let request = MetadataRequest {
            topics: names.map(|names| {
                names
                    .iter()
                    .map(|&name| MetadataRequestTopic {
                        name: Some(name.into()),
                        topic_id: TopicId::ZERO,
                    })
                    .collect()
            }),
            ..MetadataRequest::default()
        };
        self.through("OUTSIDE").metadata(&request, api_version)
    }

    fn page(&self, topics: &[&str], limit: i32, cursor: Option<(&str, i32)>) -> String {
        let request = DescribeTopicPartitionsRequest {
            topics: topics
                .iter()
                .map(|&name| TopicRequest { name: name.into() })
                .collect(),
            response_partition_limit: limit,
            cursor: cursor.map(|(name, partition_index)| Cursor {
                topic_name: name.into(),
                partition_index,
            }),
        };
        let response = self.through("OUTSIDE").describe_topic_partitions(&request);
        let mut lines = Vec::new();
        for topic in response.topics {
            let partitions: Vec<_> = topic
                .partitions
                .iter()
                .map(|it| it.partition_index)
                .collect();
            let name = topic.name.unwrap_or_default();
            lines.push(format!("{name} {} {partitions:?}", topic.error_code));
        }
        if let Some(next) = response.next_cursor {
            lines.push(format!("next {}-{}", next.topic_name, next.partition_index));
        }
        lines.join("; ")
    }
}

/// Brokers, then topic by topic each partition with leader, replicas, in-sync and offline replicas.
fn told(response: &MetadataResponse) -> String {
    let mut lines: Vec<_> = response
        .brokers
        .iter()
        .map(|it| format!("broker {} at {}:{}", it.node_id, it.host, it.port))
        .collect();
    for topic in &response.topics {
        let name = topic.name.clone().unwrap_or(Str::from_static("-"));
        lines.push(format!("{name} {}", topic.error_code));
        for it in &topic.partitions {
            lines.push(format!(
                "  {} {} leader {} e{} replicas {:?} isr {:?} offline {:?}",
                it.partition_index,
                it.error_code,
                it.leader_id,
                it.leader_epoch,
                it.replica_nodes,
                it.isr_nodes,
                it.offline_replicas
            ));
        }
    }
    lines.join("\n")
}

#[test]
fn all_topics_are_told_when_none_is_named() {
    let known = Known::new();
    let answer = known.metadata(None, 12);
    insta::assert_snapshot!(told(&answer.response), @r"
    broker 1 at n1:9092
    broker 2 at n2:9092
    broker 3 at n3:9092
    flights NONE
      0 NONE leader 1 e7 replicas [1, 2, 3] isr [1, 2, 3] offline []
      1 NONE leader 2 e7 replicas [2, 3, 1] isr [1, 2] offline []
    weather NONE
      0 NONE leader 3 e7 replicas [3, 1] isr [1, 3] offline []
    ");
    assert_eq!(answer.response.controller_id, 3);
    assert_eq!(answer.response.brokers[0].rack, Some("attic".into()));
    assert_eq!(answer.response.topics[0].topic_id, FLIGHTS);
    assert_eq!(known.metadata(Some(&[]), 0), known.metadata(None, 0));
    assert_eq!(known.metadata(Some(&[]), 1).response.topics, []);
}

/// Counter-example 11: the controller has fenced 3, whose peers hear and follow it.
#[test]
fn a_fenced_broker_that_is_heard_is_told_of() {
    let mut known = Known::new();
    known.fence(3);
    known.heard = vec![3];
    let answer = known.metadata(Some(&["weather"]), 12);
    insta::assert_snapshot!(told(&answer.response), @r"
    broker 1 at n1:9092
    broker 2 at n2:9092
    broker 3 at n3:9092
    weather NONE
      0 NONE leader 3 e7 replicas [3, 1] isr [1, 3] offline []
    ");
}

#[test]
fn who_is_heard_by_nobody_leads_nothing_and_is_not_told_of() {
    let mut known = Known::new();
    known.fence(3);
    let weather = known.metadata(Some(&["weather"]), 12).response;
    insta::assert_snapshot!(told(&weather), @r"
    broker 1 at n1:9092
    broker 2 at n2:9092
    weather NONE
      0 LEADER_NOT_AVAILABLE leader -1 e7 replicas [3, 1] isr [1, 3] offline [3]
    ");
}

#[test]
fn replicas_on_a_directory_that_is_offline_are_told_of_as_such_and_their_broker_as_ever() {
    let mut known = Known::new();
    known.offline = vec![1];
    known.leads(WEATHER, 0, 3, &[3]);
    let weather = known.metadata(Some(&["weather"]), 12).response;
    insta::assert_snapshot!(told(&weather), @r"
    broker 1 at n1:9092
    broker 2 at n2:9092
    broker 3 at n3:9092
    weather NONE
      0 NONE leader 3 e7 replicas [3, 1] isr [3] offline [1]
    ");
}

#[test]
fn who_stops_is_told_of_until_it_is_heard_no_more() {
    let mut known = Known::new();
    known.apply(MetadataRecord::StopBroker {
        broker: BrokerId(3),
        incarnation: Incarnation(1),
    });
    known.heard = vec![3];
    assert_eq!(known.metadata(None, 12).response.brokers.len(), 3);
    known.heard.clear();
    assert_eq!(known.metadata(None, 12).response.brokers.len(), 2);
}

#[test]
fn who_has_been_started_anew_leads_nothing_before_it_says_so() {
    let mut known = Known::new();
    known.started_anew = vec![partition(WEATHER, 0)];
    let weather = known.metadata(Some(&["weather"]), 12).response;
    insta::assert_snapshot!(told(&weather), @r"
    broker 1 at n1:9092
    broker 2 at n2:9092
    broker 3 at n3:9092
    weather NONE
      0 LEADER_NOT_AVAILABLE leader -1 e7 replicas [3, 1] isr [1, 3] offline []
    ");
}

#[test]
fn a_partition_without_a_leader_says_so_and_keeps_its_epoch() {
    let mut known = Known::new();
    known.leads(FLIGHTS, 0, -1, &[]);
    known.leaders.remove(&partition(WEATHER, 0));
    let answer = known.metadata(None, 12);
    insta::assert_snapshot!(told(&answer.response), @r"
    broker 1 at n1:9092
    broker 2 at n2:9092
    broker 3 at n3:9092
    flights NONE
      0 LEADER_NOT_AVAILABLE leader -1 e7 replicas [1, 2, 3] isr [] offline []
      1 NONE leader 2 e7 replicas [2, 3, 1] isr [1, 2] offline []
    weather NONE
      0 LEADER_NOT_AVAILABLE leader -1 e-1 replicas [3, 1] isr [] offline []
    ");
}

#[test]
fn clients_are_told_the_listener_that_they_came_through() {
    let known = Known::new();
    let inside = known.through("INSIDE");
    let request = MetadataRequest::default();
    insta::assert_snapshot!(told(&inside.metadata(&request, 12).response), @r"
    broker 1 at n1:9093
    broker 2 at n2:9093
    flights NONE
      0 NONE leader 1 e7 replicas [1, 2, 3] isr [1, 2, 3] offline [3]
      1 NONE leader 2 e7 replicas [2, 3, 1] isr [1, 2] offline [3]
    weather NONE
      0 LISTENER_NOT_FOUND leader -1 e7 replicas [3, 1] isr [1, 3] offline [3]
    ");
    let old = inside.metadata(&request, 5).response;
    let code = old.topics[1].partitions[0].error_code;
    assert_eq!(code, ErrorCode::LeaderNotAvailable);
    assert_eq!(
        old.controller_id, 1,
        "3 cannot be reached; whoever answers passes it on"
    );
}

#[test]
fn version_0_is_told_only_of_replicas_that_are_there() {
    let mut known = Known::new();
    known.fence(3);
    let answer = known.metadata(Some(&["flights"]), 0);
    let told = &answer.response.topics[0].partitions[0];
    assert_eq!(told.error_code, ErrorCode::ReplicaNotAvailable);
    assert_eq!(told.replica_nodes, [1, 2]);
    assert_eq!(told.isr_nodes, [1, 2]);
}

#[test]
fn what_does_not_exist_is_created_where_both_sides_want_it() {
    let mut known = Known::new();
    let names = ["trains", "flights", "a/b", "trains"];
    let answer = known.metadata(Some(&names), 12);
    assert_eq!(answer.to_create, ["trains"]);
    let codes = |answer: &MetadataAnswer| -> Vec<_> {
        answer
            .response
            .topics
            .iter()
            .map(|it| it.error_code.name())
            .collect()
    };
    let expected = [
        "UNKNOWN_TOPIC_OR_PARTITION",
        "NONE",
        "INVALID_TOPIC_EXCEPTION",
    ];
    assert_eq!(codes(&answer), expected);
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some("trains".into()),
            topic_id: TopicId::ZERO,
        }]),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    assert_eq!(
        known.through("OUTSIDE").metadata(&request, 12).to_create,
        [] as [Str; 0]
    );
    let file = [("auto.create.topics.enable".to_owned(), "false".to_owned())];
    known.broker = BrokerConfig::new(BrokerId(1), file.into()).unwrap();
    let answer = known.metadata(Some(&names), 12);
    assert_eq!(answer.to_create, [] as [Str; 0]);
    assert_eq!(codes(&answer), expected);
}

fn by_name(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic {
        name: Some(name.into()),
        ..MetadataRequestTopic::default()
    }
}

#[test]
fn topics_are_found_by_id() {
    let known = Known::new();
    let by_id = |topic_id| MetadataRequestTopic {
        name: None,
        topic_id,
    };
    let request = MetadataRequest {
        topics: Some(vec![by_id(WEATHER), by_id(TopicId(9)), by_name("flights")]),
        include_topic_authorized_operations: true,
        ..MetadataRequest::default()
    };
    let topics = known
        .through("OUTSIDE")
        .metadata(&request, 12)
        .response
        .topics;
    assert_eq!(topics.len(), 2, "where ids are asked for, names are not");
    assert_eq!(topics[0].name, Some("weather".into()));
    assert_eq!(topics[0].topic_authorized_operations, 0xdf8);
    assert_eq!(
        (topics[1].error_code, &topics[1].name),
        (ErrorCode::UnknownTopicId, &None)
    );
}

#[test]
fn a_topic_asked_for_by_nothing_or_by_id_before_version_12_spoils_the_request() {
    let known = Known::new();
    let asked = |topic_id, name: Option<&str>| MetadataRequest {
        topics: Some(vec![
            MetadataRequestTopic {
                name: name.map(Str::from),
                topic_id,
            },
            by_name("flights"),
        ]),
        ..MetadataRequest::default()
    };
    let refused = |request: &MetadataRequest, api_version| {
        let answer = known.through("OUTSIDE").metadata(request, api_version);
        assert_eq!(answer.to_create, [] as [Str; 0]);
        answer.response
    };
    for (request, api_version) in [
        (asked(WEATHER, None), 11),
        (asked(WEATHER, Some("weather")), 10),
        (asked(TopicId::ZERO, None), 13),
    ] {
        let response = refused(&request, api_version);
        assert_eq!(response.error_code, ErrorCode::InvalidRequest);
        assert_eq!((response.brokers, response.cluster_id), (Vec::new(), None));
        let codes: Vec<_> = response.topics.iter().map(|it| it.error_code).collect();
        assert_eq!(codes, [ErrorCode::InvalidRequest; 2]);
        assert!(response.topics.iter().all(|it| it.name.is_some()));
    }
}

#[test]
fn a_page_ends_at_the_limit_and_the_next_begins_there() {
    let mut known = Known::new();
    let all: [&str; 0] = [];
    assert_eq!(
        known.page(&all, 10, None),
        "flights NONE [0, 1]; weather NONE [0]"
    );
    assert_eq!(
        known.page(&all, 1, None),
        "flights NONE [0]; next flights-1"
    );
    assert_eq!(
        known.page(&all, 1, Some(("flights", 1))),
        "flights NONE [1]; next weather-0"
    );
    assert_eq!(
        known.page(&all, 1, Some(("weather", 0))),
        "weather NONE [0]"
    );
    assert_eq!(known.page(&all, 0, None), known.page(&all, 1, None));
    assert_eq!(
        known.page(&["weather", "gone", "a/b"], 10, None),
        "a/b INVALID_TOPIC_EXCEPTION []; gone UNKNOWN_TOPIC_OR_PARTITION []; weather NONE [0]"
    );
    assert_eq!(
        known.page(&["weather"], 10, Some(("flights", 0))),
        "weather INVALID_REQUEST []"
    );
    assert_eq!(
        known.page(&["flights"], 10, Some(("flights", -1))),
        "flights INVALID_REQUEST []"
    );
    let file = [(
        "max.request.partition.size.limit".to_owned(),
        "1".to_owned(),
    )];
    known.broker = BrokerConfig::new(BrokerId(1), file.into()).unwrap();
    assert_eq!(known.page(&all, 10, None), known.page(&all, 1, None));
}

#[test]
fn the_cluster_is_described_with_its_fenced_brokers_for_those_who_ask() {
    let mut known = Known::new();
    known.fence(2);
    let mut request = DescribeClusterRequest::default();
    let describe = |known: &Known, request: &DescribeClusterRequest| -> Vec<_> {
        let response = known.through("OUTSIDE").describe_cluster(request);
        let brokers = response.brokers.iter();
        brokers.map(|it| (it.broker_id, it.is_fenced)).collect()
    };
    assert_eq!(describe(&known, &request), [(1, false), (3, false)]);
    request.include_fenced_brokers = true;
    assert_eq!(
        describe(&known, &request),
        [(1, false), (2, true), (3, false)]
    );
    request.endpoint_type = ENDPOINT_CONTROLLERS;
    let response = known.through("OUTSIDE").describe_cluster(&request);
    assert_eq!(response.error_code, ErrorCode::MismatchedEndpointType);
    request.endpoint_type = 9;
    let response = known.through("OUTSIDE").describe_cluster(&request);
    assert_eq!(response.error_code, ErrorCode::UnsupportedEndpointType);
}

#[test]
fn configurations_are_described_with_source_synonyms_and_meaning() {
    let mut known = Known::new();
    let file = [("log.segment.bytes".to_owned(), "2097152".to_owned())];
    known.broker = BrokerConfig::new(BrokerId(1), file.into()).unwrap();
    let resource = |resource_type, name: &str, keys: Option<&[&str]>| DescribeConfigsResource {
        resource_type,
        resource_name: name.into(),
        configuration_keys: keys.map(|keys| keys.iter().map(|&key| key.into()).collect()),
    };
    let describe = |resource: DescribeConfigsResource| {
        let request = DescribeConfigsRequest {
            resources: vec![resource],
            include_synonyms: true,
            include_documentation: true,
        };
        known
            .through("OUTSIDE")
            .describe_configs(&request)
            .results
            .remove(0)
    };
    let keys = ["segment.bytes", "retention.ms", "no.such.key"];
    let configs = describe(resource(RESOURCE_TOPIC, "flights", Some(&keys))).configs;
    assert_eq!(configs.len(), 2);
    assert_eq!(configs[0].value, Some("604800000".into()));
    assert_eq!(
        (configs[0].config_source, configs[0].synonyms.len()),
        (5, 0)
    );
    assert_eq!(configs[1].value, Some("2097152".into()));
    assert_eq!((configs[1].config_source, configs[1].config_type), (4, 3));
    let synonyms: Vec<_> = configs[1]
        .synonyms
        .iter()
        .map(|it| (it.source, &*it.name))
        .collect();
    assert_eq!(
        synonyms,
        [(4, "log.segment.bytes"), (5, "log.segment.bytes")]
    );
    assert!(
        configs[1]
            .documentation
            .as_ref()
            .is_some_and(|doc| doc.contains("segment"))
    );

    assert!(
        describe(resource(RESOURCE_TOPIC, "flights", None))
            .configs
            .len()
            > 30
    );
    assert!(describe(resource(RESOURCE_BROKER, "1", None)).configs.len() > 50);
    assert_eq!(describe(resource(RESOURCE_BROKER, "", None)).configs, []);
    let refused = [
        (RESOURCE_TOPIC, "trains"),
        (RESOURCE_TOPIC, "a/b"),
        (RESOURCE_BROKER, "2"),
        (RESOURCE_BROKER, "two"),
        (8, "1"),
    ]
    .map(|(kind, name)| {
        let result = describe(resource(kind, name, None));
        format!(
            "{} {}",
            result.error_code,
            result.error_message.unwrap_or_default()
        )
    });
    insta::assert_snapshot!(refused.join("\n"), @r"
    UNKNOWN_TOPIC_OR_PARTITION This server does not host this topic-partition.
    INVALID_TOPIC_EXCEPTION Topic name is invalid: 'a/b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'
    INVALID_REQUEST Unexpected broker id, expected 1 or empty string, but received 2
    INVALID_REQUEST Broker id must be an integer, but it is: two
    INVALID_REQUEST Unsupported resource type: 8
    ");
}

#[test]
fn what_is_being_reassigned_is_told_with_whom_it_adds_and_removes() {
    use crate::wire::list_partition_reassignments::ListPartitionReassignmentsTopics;

    let mut known = Known::new();
    for broker in [4, 5] {
        let id = BrokerId(broker);
        known.apply(MetadataRecord::Reassignment {
            partition: partition(FLIGHTS, 1),
            target: vec![voter(2), voter(broker)],
            original: vec![BrokerId(1), BrokerId(2), BrokerId(3)],
        });
        assert!(known.image.broker(id).is_none(), "it is only wanted");
    }
    let told = |topics: Option<&[(&str, &[i32])]>| {
        let topics = topics.map(|topics| {
            let topics = topics.iter().map(|(name, indexes)| {
                let partition_indexes = indexes.to_vec();
                let name = (*name).into();
                ListPartitionReassignmentsTopics {
                    name,
                    partition_indexes,
                }
            });
            topics.collect()
        });
        let request = ListPartitionReassignmentsRequest {
            topics,
            ..ListPartitionReassignmentsRequest::default()
        };
        let response = known
            .through("OUTSIDE")
            .list_partition_reassignments(&request);
        let partitions = response.topics.into_iter().flat_map(|topic| {
            let name = topic.name;
            topic.partitions.into_iter().map(move |it| {
                format!(
                    "{name}-{} {:?} +{:?} -{:?}",
                    it.partition_index, it.replicas, it.adding_replicas, it.removing_replicas
                )
            })
        });
        partitions.collect::<Vec<_>>()
    };
    let all = ["flights-1 [2, 5, 3, 1] +[5] -[3, 1]"];
    assert_eq!(told(None), all);
    assert_eq!(told(Some(&[("weather", &[0]), ("flights", &[1, 7])])), all);
    assert!(told(Some(&[("flights", &[0]), ("nowhere", &[0])])).is_empty());
    let twice: &[(&str, &[i32])] = &[("flights", &[1, 1]), ("flights", &[1])];
    assert_eq!(told(Some(twice)), all);
}

#[test]
fn what_is_cancelled_is_told_until_who_was_added_is_removed() {
    let mut known = Known::new();
    let all = [1, 2, 3, 4].map(voter).to_vec();
    known.apply(MetadataRecord::PartitionVoters {
        report: crate::cluster::VoterReport {
            partition: partition(FLIGHTS, 0),
            leader_epoch: LeaderEpoch(7),
            notes: 2,
            voters: all,
        },
    });
    let request = ListPartitionReassignmentsRequest::default();
    let response = known
        .through("OUTSIDE")
        .list_partition_reassignments(&request);
    let listed = &response.topics[0].partitions[0];
    assert!(listed.adding_replicas.is_empty());
    assert_eq!(listed.removing_replicas, [4]);
}
