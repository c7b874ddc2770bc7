//! What a run is made of, as its seed draws it: the cluster, its network and disks, its topics and its clients.

use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::client::Producer;
use crate::cluster::DiskOptions;
use crate::draw::{Draw, Draws, Subsystem};
use crate::network::NetworkOptions;

/// The names of a run's topics.
const TOPICS: [&str; 3] = ["t", "t2", "t3"];

/// What a seed draws of a run besides its faults.
pub(super) struct Shape {
    pub(super) nodes: u8,
    /// Of every topic, since faults are drawn by it.
    pub(super) replication_factor: i16,
    pub(super) topics: Vec<TopicShape>,
    pub(super) safety: Duration,
    /// The stores' scrub interval.
    pub(super) scrub_interval: Duration,
    /// For how long faults are injected while the cluster is formed, where they are.
    pub(super) formation: Option<Duration>,
    /// The brokers' `producer.id.expiration.ms`: a day, or so little that clocks tick, and not so little that anybody is
    /// forgotten before he has tried again.
    pub(super) producer_expiration: Duration,
    /// Batches of metadata between two snapshots.
    pub(super) snapshot_interval: u64,
    /// How many files each store keeps open, where it is few.
    pub(super) open_files_max: Option<usize>,
    /// Bytes of records that may wait for a disk, where that is less than usual.
    pub(super) unwritten_bytes_max: Option<usize>,
    pub(super) network: NetworkOptions,
    pub(super) disk: DiskOptions,
    pub(super) producers: Vec<Producer>,
    /// The consumer names no leader epochs.
    pub(super) without_epochs: bool,
    /// It names of which epoch the last record was that it has read.
    pub(super) names_last_epoch: bool,
    /// Starts of nodes are of this build or of the one before.
    pub(super) mixes_builds: bool,
}

/// What a seed draws of a topic.
pub(super) struct TopicShape {
    pub(super) name: &'static str,
    pub(super) partitions: i32,
    /// Its `flush` is `replicated`.
    pub(super) replicated: bool,
    /// Records are stamped when they are appended.
    pub(super) stamped: bool,
    /// Its `min.insync.replicas`.
    pub(super) insync_min: i16,
}

impl TopicShape {
    /// What it is configured with.
    pub(super) fn configs(&self) -> Vec<(String, String)> {
        let mut configs = Vec::new();
        if self.replicated {
            configs.push(("flush".to_owned(), "replicated".to_owned()));
        }
        if self.stamped {
            let name = "message.timestamp.type".to_owned();
            configs.push((name, "LogAppendTime".to_owned()));
        }
        if self.insync_min > 1 {
            let value = self.insync_min.to_string();
            configs.push(("min.insync.replicas".to_owned(), value));
        }
        configs
    }
}

impl fmt::Display for TopicShape {
    /// Its settings, each behind a comma.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.replicated {
            f.write_str(", flush=replicated")?;
        }
        if self.stamped {
            f.write_str(", LogAppendTime")?;
        }
        if self.insync_min > 1 {
            write!(f, ", min.insync.replicas={}", self.insync_min)?;
        }
        Ok(())
    }
}

impl Shape {
    /// Draws all of it.
    pub(super) fn draw(draws: &Draws) -> Self {
        let draw = |what: u64| draws.at(Subsystem::Swarm, 0, what);
        let nodes = match draw(1).below(100) {
            0..4 => 1,
            4..8 => 2,
            8..68 => 3,
            68..78 => 4,
            _most => 5,
        };
        let replication_factor = match draw(2).below(100) {
            0..10 => 1,
            10..15 => 2,
            15..90 => 3,
            _all => 5,
        }
        .min(i16::from(nodes));
        let mut topics = vec![TopicShape {
            name: TOPICS[0],
            partitions: draw_partitions(&mut draw(3)),
            replicated: draw_replicated(&mut draw(4)),
            stamped: draw_stamped(&mut draw(13)),
            insync_min: draw_insync_min(&mut draw(9), replication_factor),
        }];
        topics.extend(draw_more_topics(&mut draw(19), replication_factor));
        Self {
            nodes,
            replication_factor,
            topics,
            safety: Duration::from_millis(draw(5).between(5_000, 25_000)),
            scrub_interval: if draw(10).chance(500_000) {
                Duration::from_millis(draw(10).between(500, 8_000))
            } else {
                Duration::ZERO
            },
            formation: {
                let mut draw = draw(12);
                let has_faults = draw.chance(333_333);
                has_faults.then(|| Duration::from_millis(draw.between(1_000, 10_000)))
            },
            producer_expiration: Duration::from_secs(if draw(14).chance(250_000) {
                60
            } else {
                86_400
            }),
            snapshot_interval: draw(11).between(5, 50),
            open_files_max: {
                let mut draw = draw(13);
                let are_few = draw.chance(500_000);
                are_few.then(|| usize::try_from(draw.between(2, 12)).unwrap_or(2))
            },
            unwritten_bytes_max: {
                let mut draw = draw(15);
                let is_small = draw.chance(333_333);
                is_small.then(|| 1 << draw.between(8, 14))
            },
            network: draw_network(&mut draw(6)),
            disk: draw_disk(&mut draw(7)),
            producers: draw_producers(&mut draw(8)),
            without_epochs: draw(16).chance(333_333),
            names_last_epoch: draw(17).chance(333_333),
            mixes_builds: draw(18).chance(333_333),
        }
    }

    /// The cluster and its topics in words, in one line.
    pub(super) fn describe(&self) -> String {
        format!(
            "{}{}, {}{}{}{}, snapshots every {} batches{}, {}",
            plural(self.nodes.into(), "node"),
            if self.formation.is_some() {
                " formed under faults"
            } else {
                ""
            },
            self.describe_topics(),
            if self.scrub_interval.is_zero() {
                String::new()
            } else {
                format!(", scrubbed in {}ms", self.scrub_interval.as_millis())
            },
            match self.open_files_max {
                Some(max) => format!(", {max} files open"),
                None => String::new(),
            },
            if self.mixes_builds {
                ", of two builds"
            } else {
                ""
            },
            self.snapshot_interval,
            self.unwritten_bytes_max
                .map_or_else(String::new, |bytes| format!(
                    ", {bytes} bytes may wait for a disk"
                )),
            plural(self.producers.len() as u64, "producer")
        )
    }

    /// The first topic, and the others beside it.
    fn describe_topics(&self) -> String {
        let partitions =
            |topic: &TopicShape| plural(u64::try_from(topic.partitions).unwrap_or(0), "partition");
        let replicas = u64::try_from(self.replication_factor).unwrap_or(0);
        let (first, others) = self.topics.split_first().expect("a run has a topic");
        let mut text = format!(
            "{} on {}{first}",
            partitions(first),
            plural(replicas, "replica")
        );
        for topic in others {
            let _ = write!(text, ", {} of {}{topic}", partitions(topic), topic.name);
        }
        text
    }

    /// Everything else in words, a line each.
    pub(super) fn conditions(&self) -> Vec<String> {
        let producers: Vec<String> = self.producers.iter().map(describe_producer).collect();
        vec![
            match self.formation {
                Some(length) => format!(
                    "time for faults: {length:?} while the cluster is formed, then {:?}",
                    self.safety
                ),
                None => format!("time for faults: {:?}", self.safety),
            },
            describe_network(&self.network),
            describe_disk(&self.disk),
            format!(
                "producers: {}; forgotten after {:?}",
                producers.join("; "),
                self.producer_expiration
            ),
            format!(
                "consumer: names {}, {} that of the last record read",
                if self.without_epochs {
                    "no leader epochs"
                } else {
                    "leader epochs"
                },
                if self.names_last_epoch {
                    "and"
                } else {
                    "but not"
                }
            ),
        ]
    }
}

fn draw_partitions(draw: &mut Draw) -> i32 {
    i32::try_from(draw.between(1, 4)).unwrap_or(1)
}

fn draw_replicated(draw: &mut Draw) -> bool {
    draw.chance(200_000)
}

fn draw_stamped(draw: &mut Draw) -> bool {
    draw.chance(250_000)
}

fn draw_insync_min(draw: &mut Draw, replication_factor: i16) -> i16 {
    let min = match draw.below(100) {
        0..55 => 1,
        55..90 => 2,
        _all => replication_factor,
    };
    min.min(replication_factor)
}

/// Topics beside the first: none in two runs of three, and otherwise one or two.
fn draw_more_topics(draw: &mut Draw, replication_factor: i16) -> Vec<TopicShape> {
    let more = match draw.below(6) {
        0..4 => 0,
        4 => 1,
        _two => 2,
    };
    let topic = |&name: &&'static str| TopicShape {
        name,
        partitions: draw_partitions(draw),
        replicated: draw_replicated(draw),
        stamped: draw_stamped(draw),
        insync_min: draw_insync_min(draw, replication_factor),
    };
    TOPICS[1..].iter().take(more).map(topic).collect()
}

fn draw_network(draw: &mut Draw) -> NetworkOptions {
    NetworkOptions {
        delay_min: Duration::from_micros(draw.between(50, 1000)),
        delay_mean: Duration::from_micros(draw.between(50, 5000)),
        tail_per_million: if draw.chance(400_000) {
            u32::try_from(draw.between(100, 20_000)).unwrap_or(0)
        } else {
            0
        },
        tail_mean: Duration::from_millis(draw.between(10, 300)),
        reset_per_million: if draw.chance(200_000) {
            u32::try_from(draw.between(10, 2000)).unwrap_or(0)
        } else {
            0
        },
        ..NetworkOptions::default()
    }
}

fn draw_disk(draw: &mut Draw) -> DiskOptions {
    DiskOptions {
        sync_min: Duration::from_micros(draw.between(50, 1000)),
        sync_mean: Duration::from_micros(draw.between(50, 8000)),
        read_mean: Duration::from_micros(draw.between(20, 2000)),
        tail_per_million: if draw.chance(300_000) {
            u32::try_from(draw.between(1000, 50_000)).unwrap_or(0)
        } else {
            0
        },
        tail_mean: Duration::from_millis(draw.between(20, 800)),
        ..DiskOptions::default()
    }
}

fn draw_producers(draw: &mut Draw) -> Vec<Producer> {
    let count = draw.between(1, 3);
    (0..count)
        .map(|_| {
            let interval = Duration::from_millis(draw.between(5, 150));
            let mut producer = Producer::new(u64::MAX / 2, interval);
            producer.idempotent = draw.chance(700_000);
            if !producer.idempotent {
                producer.acks = match draw.below(4) {
                    0 => 0,
                    1 => 1,
                    _all => -1,
                };
                producer.in_flight_max = 1;
            } else {
                producer.in_flight_max = usize::try_from(draw.between(1, 5)).unwrap_or(1);
            }
            producer.records_max = draw.between(1, 5);
            producer.padding_max = if draw.chance(200_000) { 8000 } else { 60 };
            producer
        })
        .collect()
}

fn describe_network(network: &NetworkOptions) -> String {
    let NetworkOptions {
        delay_min,
        delay_mean,
        ..
    } = network;
    format!(
        "network: messages take {delay_min:?} + {delay_mean:?} on the mean{}{}",
        describe_tail(network.tail_per_million, network.tail_mean),
        match network.reset_per_million {
            0 => String::new(),
            resets => format!("; {} break their connection", percent(resets)),
        }
    )
}

fn describe_disk(disk: &DiskOptions) -> String {
    let DiskOptions {
        sync_min,
        sync_mean,
        read_mean,
        ..
    } = disk;
    format!(
        "disks: syncs take {sync_min:?} + {sync_mean:?} on the mean, reads {read_mean:?}{}",
        describe_tail(disk.tail_per_million, disk.tail_mean)
    )
}

fn describe_tail(per_million: u32, mean: Duration) -> String {
    match per_million {
        0 => String::new(),
        _some => format!("; {} take {mean:?} more", percent(per_million)),
    }
}

fn describe_producer(producer: &Producer) -> String {
    let reliability = match (producer.idempotent, producer.acks) {
        (true, _) => format!("idempotent, {} in flight", producer.in_flight_max),
        (false, -1) => "acks=all".to_owned(),
        (false, acks) => format!("acks={acks}"),
    };
    format!(
        "{reliability}, up to {} of {} bytes every {:?}",
        plural(producer.records_max, "record"),
        producer.padding_max,
        producer.interval_mean
    )
}

fn plural(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn percent(per_million: u32) -> String {
    format!("{}%", f64::from(per_million) / 10_000.0)
}
