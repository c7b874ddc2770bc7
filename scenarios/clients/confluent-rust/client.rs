//! Confluent's own client for Rust, without librdkafka, as a client program; `../records.py` describes the lines it reads
//! and writes.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};

use confluent_kafka::admin::{AdminClient, AdminClientConfig, NewTopic};
use confluent_kafka::common::TopicPartition;
use confluent_kafka::common::header::{Header, Headers, RecordHeader, RecordHeaders};
use confluent_kafka::common::serialization::{ByteArrayDeserializer, ByteArraySerializer};
use confluent_kafka::consumer::{Consumer, ConsumerConfig, ConsumerRecord, KafkaConsumer};
use confluent_kafka::producer::{KafkaProducer, Producer, ProducerConfig, ProducerRecord, ProducerRecordOptionsBuilder};

type Outcome<T> = Result<T, Box<dyn Error>>;
type Bytes = Vec<u8>;

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["create", bootstrap, replication_factor, partitions, ref topics @ ..] => {
            create(bootstrap, replication_factor.parse()?, partitions.parse()?, topics).await
        }
        ["produce", bootstrap, topic, codec] => produce(bootstrap, topic, codec).await,
        ["consume", bootstrap, ref topics @ ..] => consume(bootstrap, topics).await,
        _ => Err("create, produce or consume?".into()),
    }
}

fn settings(bootstrap: &str, more: &[(&str, &str)]) -> HashMap<String, String> {
    [("bootstrap.servers", bootstrap)]
        .iter()
        .chain(more)
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

async fn create(bootstrap: &str, replication_factor: i16, partitions: i32, topics: &[&str]) -> Outcome<()> {
    let admin = AdminClient::create(AdminClientConfig::new(&settings(bootstrap, &[]))?)?;
    // The records carry old timestamps: retention by time would delete them.
    let configs = BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]);
    let topic = |&name: &&str| {
        NewTopic::with_num_partitions_replication_factor(name, Some(partitions), Some(replication_factor))
            .set_configs(Some(configs.clone()))
    };
    let topics: Vec<NewTopic> = topics.iter().map(topic).collect();
    admin.create_topics(&topics).all().get_with_timeout(PATIENCE).await?;
    admin.close().await;
    Ok(())
}

async fn produce(bootstrap: &str, topic: &str, codec: &str) -> Outcome<()> {
    let settings = settings(bootstrap, &[("compression.type", codec), ("linger.ms", "20")]);
    let serializer = ByteArraySerializer::new;
    let producer = KafkaProducer::<Bytes, Bytes>::new(ProducerConfig::new(&settings)?, serializer(), serializer())?;
    let mut sent = Vec::new();
    for line in io::stdin().lines() {
        sent.push(Producer::send(&producer, record(topic, &line?)?).await?);
    }
    producer.flush().await?;
    for (index, each) in sent.iter().enumerate() {
        println!("{index} {}", each.get_with_timeout(PATIENCE).await?.offset());
    }
    Ok(producer.close().await?)
}

fn record(topic: &str, line: &str) -> Outcome<ProducerRecord<Bytes, Bytes>> {
    let [partition, timestamp, key, value, headers] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Err(format!("no record: {line}").into());
    };
    let options = ProducerRecordOptionsBuilder::new()
        .set_topic(topic.to_owned())
        .set_partition(Some(partition.parse()?))
        .set_timestamp(Some(timestamp.parse()?))
        .set_key(decode(key)?)
        .set_value(decode(value)?)
        .set_headers(Some(decode_headers(headers)?))
        .build()?;
    Ok(ProducerRecord::with_options(options)?)
}

async fn consume(bootstrap: &str, topics: &[&str]) -> Outcome<()> {
    let settings = settings(
        bootstrap,
        &[
            // The other protocol is not there, and neither is asked for: no group is joined.
            ("group.protocol", "consumer"),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "none"),
        ],
    );
    let deserializer = ByteArrayDeserializer::new;
    let config = ConsumerConfig::new(&settings)?;
    let mut consumer = KafkaConsumer::<Bytes, Bytes>::new(config, deserializer(), deserializer())?;
    for topic in topics {
        // One topic that cannot be read must not hide the others.
        if let Err(error) = consume_topic(&mut consumer, topic).await {
            println!("{topic} error {}", error.to_string().replace('\n', " "));
        }
    }
    Ok(consumer.close().await?)
}

async fn consume_topic(consumer: &mut KafkaConsumer<Bytes, Bytes>, topic: &str) -> Outcome<()> {
    let partitions = consumer.partitions_for(topic).await?;
    let partitions: Vec<TopicPartition> = partitions
        .iter()
        .map(|partition| TopicPartition::new(topic, partition.partition()))
        .collect();
    consumer.assign(partitions.clone()).await?;
    consumer.seek_to_beginning(&partitions).await?;
    let ends = consumer.end_offsets(&partitions).await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut behind = false;
        for partition in &partitions {
            behind |= consumer.position(partition).await? < ends[partition];
        }
        if !behind {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("not at the end after {PATIENCE:?}").into());
        }
        for record in &consumer.poll(Duration::from_secs(1)).await? {
            println!("{}", consumed(record));
        }
    }
}

fn consumed(record: &ConsumerRecord<Bytes, Bytes>) -> String {
    let headers: Vec<String> = record
        .headers()
        .iter()
        .map(|header| format!("{}:{}", header.key(), encode(header.value())))
        .collect();
    format!(
        "{} {} {} {} {} {} {}",
        record.topic(),
        record.partition(),
        record.offset(),
        record.timestamp(),
        encode(record.key().map(Vec::as_slice)),
        encode(record.value().map(Vec::as_slice)),
        if headers.is_empty() { "-".to_owned() } else { headers.join(",") }
    )
}

fn encode(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else {
        return "-".to_owned();
    };
    bytes.iter().fold("x".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

fn decode(word: &str) -> Outcome<Option<Bytes>> {
    if word == "-" {
        return Ok(None);
    }
    let digits = word.strip_prefix('x').ok_or("neither null nor bytes")?;
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16);
    Ok(Some((0..digits.len()).step_by(2).map(byte).collect::<Result<_, _>>()?))
}

fn decode_headers(word: &str) -> Outcome<RecordHeaders> {
    let mut headers = RecordHeaders::new();
    for pair in word.split(',').filter(|_| word != "-") {
        let (name, value) = pair.split_once(':').ok_or("no header")?;
        headers.add_with_header(RecordHeader::new(name.to_owned(), decode(value)?))?;
    }
    Ok(headers)
}
