//! Clients and administrators: what they ask, and what they were told.

use crate::{Acks, Client, OffsetQuery, Outcome, PATIENCE, Produced, Scenario, TOPIC, secs};
use varve_core::ids::{PartitionIndex, TopicPartition};
use varve_sim::client::{Consumer, Producer, TopicCreator};
use varve_sim::history::Fate;

impl Scenario {
    /// A client that produces when it is told to, without retries and without a producer id.
    #[track_caller]
    pub fn client(&mut self) -> Client {
        self.client_that(None, |_| {})
    }

    /// Such a client that reaches no node but this one.
    #[track_caller]
    pub fn client_of(&mut self, node: u8) -> Client {
        self.client_that(Some(node), |_| {})
    }

    /// Such a client that takes this node for the leader, and need not ask whether it is.
    pub fn client_sure_of(&mut self, node: u8) -> Client {
        let producer = plain_producer();
        let client = Client(self.cluster_mut().add_client_of(node, &[TOPIC], producer));
        self.take_for_leader(&client, node);
        client
    }

    /// A client hears of this node as the leader, whoever tells it: in the epoch in which the node thinks it leads.
    pub fn tell_of_leader(&mut self, client: &Client, node: u8) {
        self.told(format!("c{} is told that n{node} leads", client.0));
        self.take_for_leader(client, node);
    }

    pub(crate) fn take_for_leader(&mut self, client: &Client, node: u8) {
        for partition in self.all_partitions() {
            let view = self.cluster().view(node, partition);
            let leader_epoch = view.expect("it has a replica").leader_epoch.0;
            let client = self.cluster_mut().client_mut(client.0);
            client
                .network
                .take_for_leader(node, leader_epoch, TOPIC, partition);
        }
    }

    /// A client with a producer id (`enable.idempotence`) that tries again until it is answered.
    pub fn idempotent_client(&mut self) -> Client {
        let client = self.client_that(None, is_idempotent);
        self.run_until(|s| s.is_identified(&client), PATIENCE);
        client
    }

    /// Such a client that reaches no node but this one, and may still wait for its producer id.
    #[track_caller]
    pub fn idempotent_client_of(&mut self, node: u8) -> Client {
        self.client_that(Some(node), is_idempotent)
    }

    /// Whether a client has its producer id.
    #[must_use]
    pub fn is_identified(&self, client: &Client) -> bool {
        self.producer(*client).is_identified()
    }

    #[track_caller]
    pub(crate) fn client_that(
        &mut self,
        node: Option<u8>,
        settings: impl FnOnce(&mut Producer),
    ) -> Client {
        let mut producer = plain_producer();
        settings(&mut producer);
        let cluster = self.cluster_mut();
        let client = Client(match node {
            Some(node) => cluster.add_client_of(node, &[TOPIC], producer),
            None => cluster.add_client(&[TOPIC], producer),
        });
        self.run_until(|s| s.leader_known_to(&client).is_some(), PATIENCE);
        client
    }

    /// Asks for a second topic, like the first, until it has been created.
    pub fn create_topic(&mut self, name: &str) -> Client {
        let creator = self.topic_creator();
        Client(self.cluster_mut().add_client(&[name], creator))
    }

    /// The same by an administrator who reaches no node but this one.
    pub fn create_topic_at(&mut self, node: u8, name: &str) -> Client {
        let creator = self.topic_creator();
        Client(self.cluster_mut().add_client_of(node, &[name], creator))
    }

    fn topic_creator(&self) -> TopicCreator {
        let replicas = i16::from(self.replicas);
        TopicCreator::new(self.partitions, replicas, self.configs.clone())
    }

    /// A client that reaches no node but this one and asks it about a topic, again and again, until it knows who leads it.
    /// See [`Self::leader_known_to`].
    pub fn ask_about(&mut self, node: u8, topic: &str) -> Client {
        let producer = Producer::new(0, secs(1));
        let client = self.cluster_mut().add_client_of(node, &[topic], producer);
        self.told(format!("c{client} asks n{node} who leads {topic}"));
        Client(client)
    }

    /// Whether a client has a connection to a node.
    #[must_use]
    pub fn is_connected(&self, client: &Client, node: u8) -> bool {
        self.cluster().client(client.0).network.is_connected(node)
    }

    /// Whether an administrator has been told that the topic is there.
    #[must_use]
    pub fn is_created(&self, admin: &Client) -> bool {
        self.cluster().client(admin.0).is_done()
    }

    /// Sends a batch of this many records, and does not wait for the answer.
    pub fn produce(&mut self, client: &Client, records: u64, acks: Acks) -> Produced {
        self.producer_mut(*client).acks = match acks {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        };
        let partition = self.partition();
        Produced(self.cluster_mut().produce(client.0, partition, records))
    }

    /// Produces a batch of this many records, as often as it takes, until it is acknowledged by `acks=all`.
    #[track_caller]
    pub fn produce_acked(&mut self, client: &Client, records: u64) -> Produced {
        let retries = std::mem::replace(&mut self.producer_mut(*client).retries, true);
        let produced = self.produce(client, records, Acks::All);
        self.run_until(|s| s.is_acknowledged(&produced), PATIENCE);
        self.producer_mut(*client).retries = retries;
        produced
    }

    /// What the producer knows of it so far.
    #[must_use]
    pub fn outcome(&self, produced: &Produced) -> Outcome {
        let first = *produced.0.first().expect("a batch has a record");
        match self.cluster().history.fate(first) {
            Some(Fate::Acknowledged(offset)) => Outcome::Acknowledged(offset.0),
            Some(Fate::Refused) => Outcome::Refused,
            Some(Fate::Unknown) | None => Outcome::NotAcknowledged,
        }
    }

    /// Whether the producer has heard that it is acknowledged.
    #[must_use]
    pub fn is_acknowledged(&self, produced: &Produced) -> bool {
        matches!(self.outcome(produced), Outcome::Acknowledged(_))
    }

    /// Adds a consumer, which reads from offset 0 and goes on.
    pub fn consumer(&mut self) -> Client {
        let consumer = Consumer::default();
        Client(self.cluster_mut().add_client(&[TOPIC], consumer))
    }

    /// Such a consumer that names no leader epoch in what it asks, as clients from before KIP-320.
    pub fn consumer_without_epochs(&mut self) -> Client {
        let consumer = Consumer::without_epochs();
        Client(self.cluster_mut().add_client(&[TOPIC], consumer))
    }

    /// A consumer that begins beyond the ends of these partitions.
    pub fn consumer_beyond(&mut self, partitions: &[i32]) -> Client {
        let topic = self.partition().topic;
        let partition = |&index: &i32| TopicPartition {
            topic,
            partition: PartitionIndex(index),
        };
        let partitions: Vec<TopicPartition> = partitions.iter().map(partition).collect();
        let consumer = Consumer::beyond(&partitions);
        Client(self.cluster_mut().add_client(&[TOPIC], consumer))
    }

    /// How often such a consumer has been told that a position is out of range.
    #[must_use]
    pub fn out_of_range_told(&self, consumer: &Client) -> u64 {
        self.consumer_of(*consumer).out_of_range_told
    }

    /// How far a consumer has read: the next offset.
    #[must_use]
    pub fn read_up_to(&self, consumer: &Client) -> i64 {
        self.consumer_of(*consumer).position(self.partition()).0
    }

    /// Lets a consumer ask whom it takes for the leader, and does not wait for the answer.
    pub fn query(&mut self, consumer: &Client, query: OffsetQuery) {
        let client = self.cluster_mut().client_mut(consumer.0);
        client.work_mut::<Consumer>().wants = Some(query);
        self.cluster_mut().pump_client(consumer.0);
    }

    /// Whom a client takes for the leader, from what brokers have told it.
    #[must_use]
    pub fn leader_known_to(&self, client: &Client) -> Option<u8> {
        let network = &self.cluster().client(client.0).network;
        network.leader_of(&network.topics[0], PartitionIndex(0))
    }

    /// Whom a node tells its clients of as the leader.
    ///
    /// # Panics
    /// Where the node does not run.
    #[must_use]
    pub fn leader_told_by(&self, node: u8) -> Option<u8> {
        let process = self.cluster().node(node).process.as_ref();
        let broker = &process.expect("the node runs").broker;
        let told = broker.leader_for_clients(self.partition(), self.cluster().hooks())?;
        u8::try_from(told.0).ok()
    }

    pub(crate) fn consumer_of(&self, client: Client) -> &Consumer {
        self.cluster().client(client.0).work()
    }

    pub(crate) fn producer(&self, client: Client) -> &Producer {
        self.cluster().client(client.0).work()
    }

    pub(crate) fn producer_mut(&mut self, client: Client) -> &mut Producer {
        self.cluster_mut().client_mut(client.0).work_mut()
    }
}

fn plain_producer() -> Producer {
    let mut producer = Producer::new(0, secs(1));
    producer.idempotent = false;
    producer.retries = false;
    producer.timeout_ms = 2000;
    producer
}

fn is_idempotent(producer: &mut Producer) {
    producer.idempotent = true;
    producer.retries = true;
}
