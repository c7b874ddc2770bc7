//! A small Kafka client over the same message declarations as the broker, for the commands and for tests.
//!
//! It works with any Kafka-compatible cluster, one request at a time on each connection. Applications use the Kafka
//! clients that they already have.

mod connection;
mod retry;
mod producer;
mod delivery;
mod consumer;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;

use varve_core::wire::describe_configs::{
    DescribeConfigsResource, DescribeConfigsResourceResult, RESOURCE_TOPIC,
};
use varve_core::wire::metadata::{MetadataRequestTopic, MetadataResponseTopic};
use varve_core::wire::{
    DecodeError, DescribeConfigsRequest, EncodeError, ErrorCode, MetadataRequest, MetadataResponse,
    Request, Response, Str,
};

use connection::Connection;
use retry::Retry;

pub use consumer::{Consumed, Consumer, Start};
pub use producer::{DeliveryError, Outgoing, Producer, partition_for_key};

/// How long a broker may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a broker that may be down or paused may take to answer ApiVersions. Several addresses share
/// [`ANSWER_TIMEOUT`].
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// *No leader* in the metadata.
const NO_LEADER: i32 = -1;
/// How long it may take until every broker has a new topic in its metadata.
const NEW_TOPIC_MAX: Duration = Duration::from_secs(1);

/// Why a request to a cluster failed.
#[derive(Debug)]
pub enum ClientError {
    /// No address led to a broker that answers; each with its reason.
    Unreachable(Vec<(String, io::Error)>),
    /// A connection broke.
    Broken(String, io::Error),
    /// A broker did not answer within this time.
    Timeout(String, Duration),
    /// A broker's answer cannot be read.
    Unreadable(String, DecodeError),
    /// A request cannot be encoded in the versions that the broker supports.
    Unencodable(EncodeError),
    /// The broker does not serve this API in any version that this client supports.
    UnsupportedApi(&'static str),
    /// A single record that is larger than the topic's limit.
    RecordTooLarge {
        /// The topic.
        topic: String,
        /// The size of the batch that the record makes, in bytes.
        size: usize,
        /// The topic's `max.message.bytes`, if the cluster returns it.
        limit: Option<usize>,
    },
    /// Partitions of a topic that have no leader at the moment.
    NoLeader(String, Vec<i32>),
    /// An error about a topic, or about partitions of it that have a leader.
    OfTopic {
        /// Which.
        topic: String,
        /// Which of its partitions; none where it is the topic itself.
        partitions: Vec<i32>,
        /// What.
        error: Box<Self>,
    },
    /// Kafka's error, with the broker's words where it gave some.
    Refused(ErrorCode, Option<String>),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(attempts) => {
                f.write_str("no broker answers:")?;
                attempts
                    .iter()
                    .try_for_each(|(address, error)| write!(f, " {address}: {error};"))?;
                f.write_str(" is the cluster running, and is --bootstrap right?")
            }
            Self::Broken(address, error) => write!(f, "the connection to {address} broke: {error}"),
            Self::Timeout(address, waited) => write!(f, "{address}: {}", silence(*waited)),
            Self::Unreadable(address, error) => {
                write!(f, "the answer of {address} cannot be read: {error}")
            }
            Self::Unencodable(error) => {
                write!(f, "the broker is too old for this request: {error}")
            }
            Self::UnsupportedApi(api) => write!(f, "the broker does not serve {api}"),
            Self::RecordTooLarge { topic, size, limit } => {
                write!(
                    f,
                    "a record of {size} bytes is too large for topic `{topic}`"
                )?;
                match limit {
                    Some(limit) => write!(f, ", whose max.message.bytes is {limit}"),
                    None => f.write_str(": see its max.message.bytes"),
                }
            }
            Self::NoLeader(topic, partitions) => {
                let verb = if partitions.len() == 1 { "has" } else { "have" };
                let partitions = named(topic, partitions);
                write!(
                    f,
                    "{partitions} {verb} no leader: are enough of its brokers up?"
                )
            }
            Self::OfTopic {
                topic,
                partitions,
                error,
            } => write!(f, "{}: {error}", named(topic, partitions)),
            Self::Refused(code, Some(words)) => write!(f, "{}: {words}", code.name()),
            Self::Refused(code, None) => f.write_str(code.name()),
        }
    }
}

impl std::error::Error for ClientError {}

fn named(topic: &str, partitions: &[i32]) -> String {
    let noun = match partitions.len() {
        0 => return format!("topic `{topic}`"),
        1 => "partition",
        _ => "partitions",
    };
    let numbers: Vec<_> = partitions.iter().map(ToString::to_string).collect();
    format!("{noun} {} of topic `{topic}`", numbers.join(", "))
}

fn silence(waited: Duration) -> String {
    format!("no answer within {:.0} s", waited.as_secs_f64().ceil())
}

impl ClientError {
    /// Kafka's error as a result, without the broker's words.
    ///
    /// # Errors
    /// Any code but [`ErrorCode::None`].
    pub fn check(code: ErrorCode, words: Option<&Str>) -> Result<(), Self> {
        if code == ErrorCode::None {
            Ok(())
        } else {
            Err(Self::Refused(
                code,
                words.map(|words| words.as_str().to_owned()),
            ))
        }
    }

    fn no_partition(topic: &str, partition: i32, count: usize) -> Self {
        let words = format!(
            "topic `{topic}` has no partition {partition}: it has {count}, numbered from 0 on"
        );
        Self::Refused(ErrorCode::UnknownTopicOrPartition, Some(words))
    }

    /// The same, with the topic that it is about.
    #[must_use]
    pub fn of_topic(self, topic: &str) -> Self {
        self.of(topic, Vec::new())
    }

    /// The same, with the partitions that it is about.
    fn of(self, topic: &str, partitions: Vec<i32>) -> Self {
        Self::OfTopic {
            topic: topic.to_owned(),
            partitions,
            error: Box::new(self),
        }
    }

    /// Kafka's name for it, where it has one.
    #[must_use]
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(code, _) => Some(*code),
            Self::NoLeader(..) => Some(ErrorCode::LeaderNotAvailable),
            Self::OfTopic { error, .. } => error.code(),
            Self::RecordTooLarge { .. } => Some(ErrorCode::MessageTooLarge),
            Self::Unreachable(_)
            | Self::Broken(..)
            | Self::Timeout(..)
            | Self::Unreadable(..)
            | Self::Unencodable(_)
            | Self::UnsupportedApi(_) => None,
        }
    }

    /// Whether the same request may succeed later, or elsewhere.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Broken(..) | Self::Timeout(..) | Self::NoLeader(..) => {
                true
            }
            // Not retriable in Kafka's table, since no broker sends it: here it stands for a leader that the metadata
            // do not name yet.
            Self::Refused(ErrorCode::BrokerNotAvailable, _) => true,
            Self::Refused(code, _) => code.is_retriable(),
            Self::OfTopic { error, .. } => error.is_transient(),
            Self::Unreadable(..)
            | Self::Unencodable(_)
            | Self::UnsupportedApi(_)
            | Self::RecordTooLarge { .. } => false,
        }
    }
}

/// A broker's address in the form of `--bootstrap` and of a socket: an IPv6 address is in brackets.
#[must_use]
pub fn host_and_port(host: &str, port: impl fmt::Display) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// A client of a cluster.
#[derive(Debug)]
pub struct Client {
    bootstrap: Vec<String>,
    /// Addresses of the brokers, by the last metadata.
    brokers: BTreeMap<i32, String>,
    connections: BTreeMap<String, Connection>,
    /// How long a broker may take to answer ApiVersions, where no other request shares the time.
    open_max: Duration,
}

impl Client {
    /// Connects to a cluster by any of these `host:port`s.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], or the error of the first broker that answers.
    pub async fn connect(bootstrap: Vec<String>) -> Result<Self, ClientError> {
        let mut client = Self::new(bootstrap);
        client.metadata(Some(&[])).await?;
        Ok(client)
    }

    const fn new(bootstrap: Vec<String>) -> Self {
        Self {
            bootstrap,
            brokers: BTreeMap::new(),
            connections: BTreeMap::new(),
            open_max: OPEN_TIMEOUT,
        }
    }

    /// The metadata of the cluster and of these topics, or of all. Does not create topics.
    ///
    /// # Errors
    /// Where no broker answers.
    pub async fn metadata(
        &mut self,
        topics: Option<&[&str]>,
    ) -> Result<MetadataResponse, ClientError> {
        let topics = topics.map(|names| {
            let topic = |name: &&str| MetadataRequestTopic {
                name: Some(Str::from(*name)),
                ..MetadataRequestTopic::default()
            };
            names.iter().map(topic).collect()
        });
        let request = MetadataRequest {
            topics,
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let Response::Metadata(metadata) = self.send(Request::Metadata(request)).await? else {
            unreachable!("an answer is read as that of its request");
        };
        self.brokers = metadata
            .brokers
            .iter()
            .map(|broker| {
                let address = host_and_port(broker.host.as_str(), broker.port);
                (broker.node_id, address)
            })
            .collect();
        Ok(metadata)
    }

    /// The metadata of one topic.
    ///
    /// # Errors
    /// As [`Self::metadata`], and [`ClientError::Refused`] where there is no such topic.
    pub async fn topic(&mut self, name: &str) -> Result<MetadataResponseTopic, ClientError> {
        let metadata = self.metadata(Some(&[name])).await?;
        let missing = || {
            let words = format!("there is no topic `{name}`");
            ClientError::Refused(ErrorCode::UnknownTopicOrPartition, Some(words))
        };
        let topic = metadata.topics.into_iter().next().ok_or_else(missing)?;
        if topic.error_code == ErrorCode::UnknownTopicOrPartition {
            return Err(missing());
        }
        ClientError::check(topic.error_code, None).map_err(|error| error.of_topic(name))?;
        Ok(topic)
    }

    /// The configurations of a topic, with where each comes from.
    ///
    /// # Errors
    /// As [`Self::metadata`], and [`ClientError::Refused`] where there is no such topic.
    pub async fn topic_configs(
        &mut self,
        name: &str,
    ) -> Result<Vec<DescribeConfigsResourceResult>, ClientError> {
        let resource = DescribeConfigsResource {
            resource_type: RESOURCE_TOPIC,
            resource_name: Str::from(name),
            configuration_keys: None,
        };
        let request = DescribeConfigsRequest {
            resources: vec![resource],
            ..DescribeConfigsRequest::default()
        };
        let request = Request::DescribeConfigs(request);
        let Response::DescribeConfigs(answer) = self.send(request).await? else {
            unreachable!("an answer is read as that of its request");
        };
        let result = answer.results.into_iter().next();
        let result = result.ok_or(ClientError::Refused(ErrorCode::UnknownServerError, None))?;
        ClientError::check(result.error_code, result.error_message.as_ref())
            .map_err(|error| error.of_topic(name))?;
        Ok(result.configs)
    }

    /// The metadata of one topic, with retries. An unknown topic may have been created at another broker within the
    /// last [`NEW_TOPIC_MAX`].
    async fn find_topic(
        &mut self,
        name: &str,
        retry: &mut Retry,
    ) -> Result<MetadataResponseTopic, ClientError> {
        let mut unknown = Retry::new(NEW_TOPIC_MAX);
        loop {
            match self.topic(name).await {
                Ok(topic) => return Ok(topic),
                Err(error @ ClientError::Refused(ErrorCode::UnknownTopicOrPartition, _)) => {
                    unknown.after(error).await?;
                }
                Err(error) => retry.after(error).await?,
            }
        }
    }

    /// Sends a request to any broker: connected ones first, then known ones, then the bootstrap addresses. Each gets a
    /// share of the timeout, so one that is down or silent leaves time for the others.
    ///
    /// # Errors
    /// Where none answers, or one refuses.
    pub async fn send(&mut self, request: Request) -> Result<Response, ClientError> {
        let addresses = self.addresses();
        let places = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        let share = (ANSWER_TIMEOUT / places.max(1)).min(self.open_max);
        let mut attempts = Vec::new();
        for address in addresses {
            match self.send_at(&address, &request, share).await {
                Err(ClientError::Broken(address, error)) => attempts.push((address, error)),
                Err(ClientError::Timeout(address, waited)) => {
                    let error = io::Error::new(io::ErrorKind::TimedOut, silence(waited));
                    attempts.push((address, error));
                }
                other => return other,
            }
        }
        Err(ClientError::Unreachable(attempts))
    }

    fn addresses(&self) -> Vec<String> {
        let known = self
            .connections
            .keys()
            .chain(self.brokers.values())
            .chain(&self.bootstrap);
        let mut addresses: Vec<String> = Vec::new();
        for address in known {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        addresses
    }

    /// Sends requests to several brokers at once. Each result, in the order of the requests, is that of
    /// [`Self::send_to_broker`].
    ///
    /// # Panics
    /// Where one broker gets two requests.
    pub async fn send_to_brokers(
        &mut self,
        requests: Vec<(i32, Request)>,
    ) -> Vec<Result<Response, ClientError>> {
        let mut asked = Vec::new();
        for (broker, request) in requests {
            let asking = self.address(broker).map(|address| {
                let connection = self.connections.remove(&address);
                let open_max = self.open_max;
                tokio::spawn(async move {
                    let answer = send_over(connection, &address, &request, open_max).await;
                    (address, answer)
                })
            });
            asked.push(asking);
        }
        let mut answers = Vec::new();
        for asking in asked {
            let answer = match asking {
                Ok(asking) => {
                    let (address, answer) = asking.await.expect("asking does not panic");
                    answer.map(|(connection, response)| {
                        self.connections.insert(address, connection);
                        response
                    })
                }
                Err(error) => Err(error),
            };
            answers.push(answer);
        }
        answers
    }

    /// Sends a request to one broker.
    ///
    /// # Errors
    /// Where it is not known, cannot be reached, or fails.
    pub async fn send_to_broker(
        &mut self,
        broker: i32,
        request: &Request,
    ) -> Result<Response, ClientError> {
        let address = self.address(broker)?;
        self.send_at(&address, request, self.open_max).await
    }

    fn address(&self, broker: i32) -> Result<String, ClientError> {
        self.brokers.get(&broker).cloned().ok_or_else(|| {
            let words = format!("broker {broker} is not among those that the cluster names");
            ClientError::Refused(ErrorCode::BrokerNotAvailable, Some(words))
        })
    }

    async fn send_at(
        &mut self,
        address: &str,
        request: &Request,
        open_max: Duration,
    ) -> Result<Response, ClientError> {
        let connection = self.connections.remove(address);
        let (connection, response) = send_over(connection, address, request, open_max).await?;
        self.connections.insert(address.to_owned(), connection);
        Ok(response)
    }
}

/// Sends a request over a connection, or a new one. Returns the connection with the response, and drops it after an
/// error, since its state is unknown.
async fn send_over(
    connection: Option<Connection>,
    address: &str,
    request: &Request,
    open_max: Duration,
) -> Result<(Connection, Response), ClientError> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => Connection::open(address, open_max).await?,
    };
    let response = connection.send(request).await?;
    Ok((connection, response))
}
