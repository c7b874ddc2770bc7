//! What the controller plans, request by request.

mod reassignments;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::topics::{Plan, create_partitions, create_topics, delete_topics};
use super::*;
use crate::cluster::image::voter;
use crate::cluster::{AdminRequest, AssignmentKind, BrokerConfig, ConfigMap, Configs};
use crate::ids::{DirectoryId, LeaderEpoch, PartitionIndex, TopicId};
use crate::wire::create_partitions::{CreatePartitionsAssignment, CreatePartitionsTopic};
use crate::wire::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicResult,
};
use crate::wire::delete_topics::DeleteTopicState;
use crate::wire::{
    CreatePartitionsRequest, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    Response, Str,
};

fn registration(broker: i32, directory: u128, incarnation: u64) -> BrokerRegistration {
    BrokerRegistration {
        broker: BrokerId(broker),
        directory: DirectoryId(directory),
        incarnation: Incarnation(incarnation),
        rack: None,
        listeners: Vec::new(),
        peer_address: format!("n{broker}:9192"),
    }
}

/// A cluster and what its controller's file says.
struct Cluster {
    image: ClusterImage,
    broker: BrokerConfig,
    rng: ChaCha8Rng,
}

impl Cluster {
    /// Active brokers 1, 2, ..., each on the directory that `voter` gives it.
    fn of(brokers: i32) -> Self {
        let mut cluster = Self {
            image: ClusterImage::default(),
            broker: BrokerConfig::new(BrokerId(1), ConfigMap::new()).unwrap(),
            rng: ChaCha8Rng::seed_from_u64(1),
        };
        for id in 1..=brokers {
            let registration = registration(id, voter(id).directory.0, 1);
            cluster.register(&registration);
            cluster.liveness(id, true, false);
        }
        cluster
    }

    fn register(&mut self, registration: &BrokerRegistration) -> Planned {
        let planned = plan_registration(&self.image, registration);
        self.apply(&planned.records);
        planned
    }

    fn liveness(
        &mut self,
        broker: i32,
        can_unfence: bool,
        must_fence: bool,
    ) -> Vec<MetadataRecord> {
        let broker = self.image.broker(BrokerId(broker)).unwrap();
        let records = plan_liveness(broker, can_unfence, must_fence);
        self.apply(&records);
        records
    }

    fn voter(&self, broker: i32) -> Voter {
        self.image.broker(BrokerId(broker)).unwrap().voter()
    }

    fn set(mut self, key: &str, value: &str) -> Self {
        let mut values = self.broker.values().clone();
        values.insert(key.to_owned(), value.to_owned());
        self.broker = BrokerConfig::new(BrokerId(1), values).unwrap();
        self
    }

    fn apply(&mut self, records: &[MetadataRecord]) {
        for record in records {
            self.image.apply(record);
        }
    }

    fn create(&mut self, request: &CreateTopicsRequest) -> Plan<CreateTopicsResponse> {
        let configs = Configs {
            image: &self.image,
            broker: &self.broker,
        };
        let plan = create_topics(configs, request, &mut self.rng);
        let records = plan.records.clone();
        self.apply(&records);
        plan
    }

    fn created(&mut self, topics: Vec<CreatableTopic>) -> Vec<CreatableTopicResult> {
        let request = CreateTopicsRequest {
            topics,
            ..CreateTopicsRequest::default()
        };
        self.create(&request).response.topics
    }

    fn create_one(&mut self, topic: CreatableTopic) -> CreatableTopicResult {
        self.created(vec![topic]).remove(0)
    }

    fn delete(&mut self, topics: Vec<DeleteTopicState>) -> Vec<String> {
        let request = DeleteTopicsRequest {
            topics,
            ..DeleteTopicsRequest::default()
        };
        let configs = Configs {
            image: &self.image,
            broker: &self.broker,
        };
        let plan = delete_topics(configs, &request, 6);
        let records = plan.records.clone();
        self.apply(&records);
        plan.response
            .responses
            .into_iter()
            .map(|it| {
                let name = it.name.unwrap_or(Str::from_static("-"));
                format!(
                    "{name} {} {}",
                    it.error_code,
                    it.error_message.unwrap_or_default()
                )
            })
            .collect()
    }

    fn grow(&mut self, topic: CreatePartitionsTopic) -> String {
        let request = CreatePartitionsRequest {
            topics: vec![topic],
            ..CreatePartitionsRequest::default()
        };
        let configs = Configs {
            image: &self.image,
            broker: &self.broker,
        };
        let plan = create_partitions(configs, &request, &mut self.rng);
        let records = plan.records.clone();
        self.apply(&records);
        let result = &plan.response.results[0];
        let message = result.error_message.clone().unwrap_or_default();
        format!("{} {message}", result.error_code)
    }

    fn replicas(&self, topic: &str) -> Vec<Vec<i32>> {
        let topic = self.image.topic_named(topic).unwrap();
        topic
            .partitions()
            .map(|(_, it)| it.target.iter().map(|voter| voter.broker.0).collect())
            .collect()
    }
}

fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions,
        replication_factor,
        ..CreatableTopic::default()
    }
}

fn by_hand(name: &str, assignments: &[(i32, &[i32])]) -> CreatableTopic {
    CreatableTopic {
        assignments: assignments
            .iter()
            .map(|&(partition_index, brokers)| CreatableReplicaAssignment {
                partition_index,
                broker_ids: brokers.to_vec(),
            })
            .collect(),
        ..topic(name, -1, -1)
    }
}

fn configured(name: &str, key: &str, value: Option<&str>) -> CreatableTopic {
    CreatableTopic {
        configs: vec![CreatableTopicConfig {
            name: key.into(),
            value: value.map(Str::from),
        }],
        ..topic(name, 1, 1)
    }
}

fn outcomes(results: &[CreatableTopicResult]) -> String {
    results
        .iter()
        .map(|it| {
            let message = it.error_message.clone().unwrap_or_default();
            format!("{}: {} {message}", it.name, it.error_code)
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_created_topic_is_a_topic_its_configuration_and_its_partitions() {
    let mut cluster = Cluster::of(3);
    let mut flights = topic("flights", 6, 3);
    flights.configs = configured("", "retention.ms", Some("1000")).configs;
    let result = cluster.create_one(flights);
    assert_eq!(result.error_code, ErrorCode::None);
    assert_eq!((result.num_partitions, result.replication_factor), (6, 3));
    let configs = result.configs.unwrap();
    let retention = configs.iter().find(|it| it.name == "retention.ms").unwrap();
    assert_eq!(retention.value, Some("1000".into()));
    assert_eq!(retention.config_source, 1);

    let created = cluster.image.topic_named("flights").unwrap();
    assert_eq!(created.id, result.topic_id);
    assert_eq!(created.config["retention.ms"], "1000");
    for (_, partition) in created.partitions() {
        assert!(partition.initial_voters.is_sorted());
        let mut target = partition.target.clone();
        target.sort_unstable();
        assert_eq!(target, partition.initial_voters);
    }
    let leaders = cluster.replicas("flights").into_iter().map(|it| it[0]);
    let mut leaders: Vec<_> = leaders.collect();
    leaders.sort_unstable();
    assert_eq!(leaders, [1, 1, 2, 2, 3, 3]);
}

#[test]
fn minus_one_means_what_the_controller_is_configured_to() {
    let mut cluster = Cluster::of(3)
        .set("num.partitions", "4")
        .set("default.replication.factor", "3");
    let request = auto_create_request(&["flights".into()]);
    let result = cluster.create(&request).response.topics.remove(0);
    assert_eq!((result.num_partitions, result.replication_factor), (4, 3));
}

#[test]
fn creation_is_refused_topic_by_topic_in_kafkas_words() {
    let mut cluster = Cluster::of(3);
    cluster.created(vec![topic("flights", 1, 1), topic("a.b", 1, 1)]);
    let results = cluster.created(vec![
        topic("flights", 1, 1),
        topic("a_b", 1, 1),
        topic("not/a/name", 1, 1),
        topic("__cluster_metadata", 1, 1),
        topic("no-replica", 1, 0),
        topic("four-replicas", 1, 4),
        topic("no-partition", 0, 1),
        topic("many", 10_001, 1),
        topic("twice", 1, 1),
        topic("twice", 2, 1),
        configured("unknown-key", "speed", Some("high")),
        configured("bad-value", "segment.bytes", Some("small")),
        configured("no-value", "segment.bytes", None),
        topic("c.d", 1, 1),
        topic("c_d", 1, 1),
        topic("weather", 2, 3),
    ]);
    insta::assert_snapshot!(outcomes(&results), @r"
    flights: TOPIC_ALREADY_EXISTS Topic 'flights' already exists.
    a_b: INVALID_TOPIC_EXCEPTION Topic 'a_b' collides with existing topic: a.b
    not/a/name: INVALID_TOPIC_EXCEPTION Topic name is invalid: 'not/a/name' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'
    __cluster_metadata: INVALID_REQUEST Creation of internal topic __cluster_metadata is prohibited.
    no-replica: INVALID_REPLICATION_FACTOR Replication factor must be larger than 0, or -1 to use the default value.
    four-replicas: INVALID_REPLICATION_FACTOR Unable to replicate the partition 4 time(s): The target replication factor of 4 cannot be reached because only 3 broker(s) are registered.
    no-partition: INVALID_PARTITIONS Number of partitions was set to an invalid non-positive value.
    many: POLICY_VIOLATION Excessively large number of partitions per request: at most 10000 can be created.
    twice: INVALID_REQUEST Duplicate topic name.
    unknown-key: INVALID_CONFIG Unknown topic config name: speed
    bad-value: INVALID_CONFIG Invalid value small for configuration segment.bytes: Not a number of type INT
    no-value: INVALID_CONFIG Null value not supported for topic configs: segment.bytes
    c.d: NONE 
    c_d: INVALID_TOPIC_EXCEPTION Topic 'c_d' collides with existing topic: c.d
    weather: NONE 
    ");
}

#[test]
fn replicas_go_where_a_client_wants_them_or_it_is_told_why_not() {
    let mut cluster = Cluster::of(3);
    cluster.liveness(3, false, true);
    let mut with_factor = by_hand("with-factor", &[(0, &[1])]);
    with_factor.replication_factor = 1;
    let mut with_count = by_hand("with-count", &[(0, &[1])]);
    with_count.num_partitions = 1;
    let results = cluster.created(vec![
        by_hand("wished", &[(1, &[3, 1]), (0, &[2, 3])]),
        with_factor,
        with_count,
        by_hand("gap", &[(0, &[1]), (2, &[1])]),
        by_hand("again", &[(0, &[1]), (0, &[2])]),
        by_hand("nobody", &[(0, &[])]),
        by_hand("stranger", &[(0, &[1, 9])]),
        by_hand("same", &[(0, &[1, 1])]),
        by_hand("uneven", &[(0, &[1]), (1, &[1, 2])]),
        by_hand("fenced", &[(0, &[3])]),
    ]);
    insta::assert_snapshot!(outcomes(&results), @r"
    wished: NONE With a replication factor of 2 a partition cannot be written or led while either of its brokers is down: a majority of two is both. Use 3.
    with-factor: INVALID_REQUEST A manual partition assignment was specified, but replication factor was not set to -1.
    with-count: INVALID_REQUEST A manual partition assignment was specified, but numPartitions was not set to -1.
    gap: INVALID_REPLICA_ASSIGNMENT partitions should be a consecutive 0-based integer sequence
    again: INVALID_REPLICA_ASSIGNMENT Found multiple manual partition assignments for partition 0
    nobody: INVALID_REPLICA_ASSIGNMENT The manual partition assignment includes an empty replica list.
    stranger: INVALID_REPLICA_ASSIGNMENT The manual partition assignment includes broker 9, but no such broker is registered.
    same: INVALID_REPLICA_ASSIGNMENT The manual partition assignment includes the broker 1 more than once.
    uneven: INVALID_REPLICA_ASSIGNMENT The manual partition assignment includes a partition with 2 replica(s), but this is not consistent with previous partitions, which have 1 replica(s).
    fenced: INVALID_REPLICA_ASSIGNMENT All brokers specified in the manual partition assignment for partition 0 are fenced or in controlled shutdown.
    ");
    assert_eq!(cluster.replicas("wished"), [[2, 3], [3, 1]]);
}

#[test]
fn validate_only_answers_alike_and_changes_nothing() {
    let mut cluster = Cluster::of(3);
    let request = CreateTopicsRequest {
        topics: vec![topic("flights", 1, 3)],
        validate_only: true,
        ..CreateTopicsRequest::default()
    };
    let plan = cluster.create(&request);
    assert_eq!(plan.records, []);
    assert_eq!(plan.response.topics[0].error_code, ErrorCode::None);
    assert_eq!(plan.response.topics[0].num_partitions, 1);
}

#[test]
fn topics_are_deleted_by_name_or_by_id_but_not_by_both() {
    let mut cluster = Cluster::of(1);
    let names = ["a", "b", "c", "d"];
    let ids: Vec<_> = cluster
        .created(names.map(|name| topic(name, 1, 1)).to_vec())
        .iter()
        .map(|it| it.topic_id)
        .collect();
    let state = |name: Option<&str>, topic_id| DeleteTopicState {
        name: name.map(Str::from),
        topic_id,
    };
    let outcomes = cluster.delete(vec![
        state(Some("a"), TopicId::ZERO),
        state(None, ids[1]),
        state(Some("c"), ids[2]),
        state(None, TopicId::ZERO),
        state(None, TopicId::ZERO),
        state(Some("x"), TopicId::ZERO),
        state(None, TopicId(77)),
        state(None, ids[3]),
        state(Some("d"), TopicId::ZERO),
        state(Some("y"), TopicId::ZERO),
        state(Some("y"), TopicId::ZERO),
    ]);
    insta::assert_snapshot!(outcomes.join("\n"), @r"
    a NONE 
    b NONE 
    c INVALID_REQUEST You may not specify both topic name and topic id.
    - INVALID_REQUEST Neither topic name nor id were specified.
    - INVALID_REQUEST Neither topic name nor id were specified.
    x UNKNOWN_TOPIC_OR_PARTITION This server does not host this topic-partition.
    - UNKNOWN_TOPIC_ID This server does not host this topic ID.
    d INVALID_REQUEST The provided topic name maps to an ID that was already supplied.
    y INVALID_REQUEST Duplicate topic name.
    ");
    let left: Vec<_> = cluster.image.topics().map(|it| &*it.name).collect();
    assert_eq!(left, ["c", "d"]);
}

#[test]
fn where_deletion_is_disabled_nothing_is_deleted() {
    let mut cluster = Cluster::of(1).set("delete.topic.enable", "false");
    cluster.create_one(topic("a", 1, 1));
    let outcomes = cluster.delete(vec![DeleteTopicState {
        name: Some("a".into()),
        topic_id: TopicId::ZERO,
    }]);
    assert_eq!(
        outcomes,
        ["a TOPIC_DELETION_DISABLED Topic deletion is disabled."]
    );
    assert!(cluster.image.topic_named("a").is_some());
}

#[test]
fn a_topic_grows_and_does_not_shrink() {
    let mut cluster = Cluster::of(3);
    cluster.create_one(topic("a", 2, 3));
    let grow = |count, assignments: Option<&[&[i32]]>| CreatePartitionsTopic {
        name: "a".into(),
        count,
        assignments: assignments.map(|it| {
            it.iter()
                .map(|brokers| CreatePartitionsAssignment {
                    broker_ids: brokers.to_vec(),
                })
                .collect()
        }),
    };
    let outcomes = [
        cluster.grow(grow(4, None)),
        cluster.grow(grow(4, None)),
        cluster.grow(grow(3, None)),
        cluster.grow(grow(6, Some(&[&[1, 2, 3]]))),
        cluster.grow(grow(5, Some(&[&[1, 2]]))),
        cluster.grow(grow(5, Some(&[&[3, 2, 1]]))),
        cluster.grow(grow(i32::MAX, None)),
        cluster.grow(CreatePartitionsTopic {
            name: "x".into(),
            ..grow(4, None)
        }),
    ];
    insta::assert_snapshot!(outcomes.join("\n"), @r"
    NONE 
    INVALID_PARTITIONS Topic already has 4 partition(s).
    INVALID_PARTITIONS The topic a currently has 4 partition(s); 3 would not be an increase.
    INVALID_REPLICA_ASSIGNMENT Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.
    INVALID_REPLICA_ASSIGNMENT The manual partition assignment includes a partition with 2 replica(s), but this is not consistent with previous partitions, which have 3 replica(s).
    NONE 
    POLICY_VIOLATION Excessively large number of partitions per request: at most 10000 can be created.
    UNKNOWN_TOPIC_OR_PARTITION This server does not host this topic-partition.
    ");
    let replicas = cluster.replicas("a");
    assert_eq!(replicas.len(), 5);
    assert_eq!(replicas[4], [3, 2, 1]);
}

#[test]
fn a_broker_is_fenced_when_it_starts_and_each_step_is_recorded_once() {
    let mut cluster = Cluster::of(1);
    let directory = voter(1).directory.0;
    let again = registration(1, directory, 2);
    assert_eq!(cluster.register(&again).records.len(), 1);
    assert_eq!(cluster.register(&again), Planned::done([]));
    assert_eq!(cluster.image.active_brokers().count(), 0);
    assert_eq!(cluster.liveness(1, false, false), []);
    assert_eq!(cluster.liveness(1, true, false).len(), 1);
    assert_eq!(cluster.liveness(1, true, false), []);
    let stop = |image: &ClusterImage, incarnation| {
        plan_stop(image, BrokerId(1), Incarnation(incarnation)).records
    };
    assert_eq!(
        stop(&cluster.image, 1),
        [],
        "an earlier start has stopped already"
    );
    let records = stop(&cluster.image, 2);
    assert_eq!(records.len(), 1);
    cluster.apply(&records);
    assert_eq!(stop(&cluster.image, 2), []);
    assert_eq!(
        cluster.liveness(1, true, false),
        [],
        "it is stopping, heard or not"
    );
    assert_eq!(cluster.liveness(1, false, true).len(), 1);
    assert_eq!(cluster.liveness(1, false, true), []);
    assert_eq!(
        cluster.register(&registration(1, directory, 1)).decision,
        Decision::Refused("STALE_BROKER_EPOCH: Broker 1 has been started again since.".to_owned())
    );
}

#[test]
fn a_lost_directory_is_replaced_in_every_target_and_in_no_report() {
    let mut cluster = Cluster::of(3);
    cluster.create_one(topic("a", 2, 3));
    cluster.create_one(by_hand("b", &[(0, &[1, 2])]));
    let records = cluster.register(&registration(3, 77, 1)).records;
    assert_eq!(
        records.len(),
        3,
        "the registration, and the two partitions that 3 has"
    );
    let new = cluster.voter(3);
    let roles: Vec<_> = cluster.image.assignments(new).map(|it| it.kind).collect();
    assert_eq!(roles, [AssignmentKind::Learner, AssignmentKind::Learner]);
    let topic = cluster.image.topic_named("a").unwrap();
    for (_, partition) in topic.partitions() {
        assert!(partition.target.contains(&new));
        assert!(partition.voters().contains(&voter(3)));
    }
}

#[test]
fn two_brokers_cannot_have_one_directory() {
    let mut cluster = Cluster::of(2);
    let stolen = registration(2, voter(1).directory.0, 5);
    let planned = cluster.register(&stolen);
    assert_eq!(planned.records, []);
    assert!(matches!(planned.decision, Decision::Refused(why) if why.contains("broker 1")));
}

#[test]
fn producer_ids_are_handed_out_once() {
    let mut cluster = Cluster::of(1);
    for first in [0, 1000, 2000] {
        let planned = plan_producer_ids(&cluster.image);
        cluster.apply(&planned.records);
        let block = Decision::ProducerIds(ProducerId(first), ProducerId(first + 1000));
        assert_eq!(planned.decision, block);
    }
    cluster.apply(&[MetadataRecord::ProducerIds {
        next: ProducerId(i64::MAX - 5),
    }]);
    let planned = plan_producer_ids(&cluster.image);
    assert_eq!(planned.records, []);
    assert!(matches!(planned.decision, Decision::Refused(_)));
}

#[test]
fn only_news_about_partitions_that_exist_is_recorded() {
    let mut cluster = Cluster::of(3);
    let id = cluster.create_one(topic("a", 1, 3)).topic_id;
    let report = |topic, epoch, notes| VoterReport {
        partition: TopicPartition {
            topic,
            partition: PartitionIndex(0),
        },
        leader_epoch: LeaderEpoch(epoch),
        notes,
        voters: vec![voter(1), voter(2)],
    };
    let reports = [report(id, 2, 3), report(id, 1, 9), report(TopicId(9), 1, 1)];
    let records = plan_voter_reports(&cluster.image, &reports).records;
    let news = MetadataRecord::PartitionVoters {
        report: report(id, 2, 3),
    };
    assert_eq!(records, [news]);
    cluster.apply(&records);
    let planned = plan_voter_reports(&cluster.image, &reports);
    assert_eq!(planned, Planned::done([]));
}

#[test]
fn the_metadata_quorum_grows_to_three_and_replaces_what_is_lost_but_not_what_is_down() {
    fn target(cluster: &mut Cluster, voters: &[Voter]) -> Vec<Voter> {
        let records = plan_metadata_quorum(&cluster.image, voter(2), voters, 3);
        cluster.apply(&records);
        if records.is_empty() {
            return Vec::new();
        }
        cluster.image.metadata_quorum().target.clone()
    }

    assert_eq!(
        target(&mut Cluster::of(2), &[voter(2)]),
        [],
        "two are no better than one"
    );
    let formed = [voter(2), voter(1), voter(3)];
    assert_eq!(
        target(&mut Cluster::of(0), &formed),
        [],
        "they will register"
    );

    let mut cluster = Cluster::of(4);
    let voters = [voter(2)];
    assert_eq!(
        target(&mut cluster, &voters),
        [voter(2), voter(1), voter(3)]
    );
    assert_eq!(target(&mut cluster, &voters), [], "it is heading there");
    cluster.liveness(3, false, true);
    assert_eq!(target(&mut cluster, &voters), [], "3 may come back");
    cluster.register(&registration(3, 77, 1));
    let replaced = [voter(2), voter(1), cluster.voter(3)];
    assert_eq!(cluster.image.metadata_quorum().target, replaced);
    assert_eq!(target(&mut cluster, &voters), []);

    // Where nothing has been aimed at, what is lost is found in the voters.
    let mut cluster = Cluster::of(3);
    cluster.register(&registration(3, 77, 1));
    let replaced = [voter(1), voter(2), cluster.voter(3)];
    assert_eq!(
        target(&mut cluster, &[voter(1), voter(2), voter(3)]),
        replaced
    );
}

#[test]
fn a_clients_request_is_answered_by_its_own_api() {
    let cluster = Cluster::of(1);
    let request = auto_create_request(&["a".into()]);
    let request = AdminRequest::CreateTopics(request);
    let planned = plan_client(&cluster.image, &cluster.broker, 7, &request, 1);
    assert_eq!(planned.records.len(), 2);
    let Decision::Client(answer) = planned.decision else {
        panic!("a client is answered")
    };
    assert!(matches!(answer.response, Some(Response::CreateTopics(_))));
}

#[test]
fn the_same_seed_makes_the_same_topics() {
    let request = CreateTopicsRequest {
        topics: vec![topic("a", 5, 3), topic("b", 5, 2)],
        ..CreateTopicsRequest::default()
    };
    assert_eq!(
        Cluster::of(4).create(&request),
        Cluster::of(4).create(&request)
    );
}
