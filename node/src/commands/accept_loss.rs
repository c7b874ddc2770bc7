//! `varve accept-loss`: gives up records that are damaged in the only copy of a partition.
//!
//! Where there is another copy, damage is filled from it, and nothing is ever given up by this command. Where there is
//! none, reads of the damaged records fail until somebody who may says that they are lost.

use std::path::PathBuf;

use clap::Args;
use varve_core::ids::{PartitionIndex, TopicPartition};
use varve_core::store::{BootId, StoreOptions};
use varve_net::directory::{self, AcceptError, Damage};
use varve_net::files::{RealDisk, boot_id};

use super::Failure;
use super::show::say;
use crate::config::Config;

/// List what is damaged in the log directory of a stopped node, or give it up where there is no other copy.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The node's configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Partitions whose damaged records are given up for good, as the log names them; none lists what is damaged.
    #[arg(value_name = "TOPIC_ID-PARTITION", value_parser = parse_partition)]
    partitions: Vec<TopicPartition>,
}

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = Config::read(&arguments.config)?;
    let disk = RealDisk::open(&config.data)?;
    let boot = boot_id().map_or(BootId::UNKNOWN, BootId);
    let options = StoreOptions::default();
    let place = config.data.display();
    if arguments.partitions.is_empty() {
        let damage = directory::damage(disk, options, boot);
        let damage = damage.map_err(|error| format!("{place}: {error}"))?;
        if damage.is_empty() {
            say!("Nothing is known to be damaged in {place}.");
        }
        damage.iter().for_each(|each| say!("{}", describe(each)));
        return Ok(());
    }
    match directory::accept_loss(disk, options, boot, &arguments.partitions) {
        Ok(given_up) => {
            for each in &given_up {
                say!("{}: given up {}", name(each.partition), ranges(each));
            }
            Ok(())
        }
        Err(AcceptError::Open(error)) => Err(format!("{place}: {error}").into()),
        Err(AcceptError::NotDamaged(partition)) => Err(format!(
            "nothing is known to be damaged in {}: without a partition this command lists what is",
            name(partition)
        )
        .into()),
        Err(AcceptError::OthersMayHaveIt(damage)) => Err(format!(
            "{}. Nothing is given up while there is another copy: start the nodes, and what is missing is filled",
            describe(&damage)
        )
        .into()),
    }
}

fn describe(damage: &Damage) -> String {
    let copies: Vec<String> = damage
        .others
        .iter()
        .map(|voter| format!("node {}", voter.broker))
        .collect();
    let copies = if copies.is_empty() {
        "there is no other copy".to_owned()
    } else {
        format!("{} may have it", copies.join(", "))
    };
    format!(
        "{}: damaged {}; {copies}",
        name(damage.partition),
        ranges(damage)
    )
}

fn ranges(damage: &Damage) -> String {
    let ranges = damage.holes.iter();
    let ranges: Vec<String> = ranges
        .map(|hole| format!("[{},{})", hole.start, hole.end))
        .collect();
    ranges.join(" ")
}

fn name(partition: TopicPartition) -> String {
    format!("{}-{}", partition.topic, partition.partition)
}

fn parse_partition(text: &str) -> Result<TopicPartition, String> {
    let parse = || {
        let (topic, partition) = text.rsplit_once('-')?;
        Some(TopicPartition {
            topic: topic.parse().ok()?,
            partition: PartitionIndex(partition.parse().ok()?),
        })
    };
    parse().ok_or_else(|| {
        "a partition is named by its topic's id and its number, as in JGw_gKr_H_vUs7rTjiwKgA-0"
            .to_owned()
    })
}
