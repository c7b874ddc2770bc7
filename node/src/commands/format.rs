//! `varve format`: makes the first node of a new cluster.
//!
//! A cluster is made once, explicitly: were a node with an empty directory to make one by itself, a node whose
//! disk was lost would found a second cluster beside its own.

use std::path::PathBuf;

use clap::Args;
use varve_core::ids::{ClusterId, DirectoryId};
use varve_core::store::{BootId, OpenError, StoreOptions};
use varve_net::directory;
use varve_net::files::{RealDisk, boot_id};

use super::{Failure, draw};
use crate::config::Config;

/// Arguments of `varve format`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The node's configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The cluster's id, 22 characters of URL-safe base64; drawn at random where it is not given.
    #[arg(long, value_name = "ID")]
    cluster_id: Option<ClusterId>,
}

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = Config::read(&arguments.config)?;
    let disk = RealDisk::open(&config.data)?;
    let cluster = match arguments.cluster_id {
        Some(cluster) => cluster,
        None => ClusterId(draw()?),
    };
    let boot = boot_id().map_or(BootId::UNKNOWN, BootId);
    let options = StoreOptions::default();
    let id = DirectoryId(draw()?);
    match directory::format_first(&disk, config.id, id, cluster, options, boot) {
        Ok(()) => {}
        Err(OpenError::AlreadyFormatted) => {
            return Err(format!(
                "{} is formatted already: it belongs to a cluster or waits to join one, and is never formatted over. \
                 Only the first node of a cluster is formatted; the others join when they are started. To make \
                 a new cluster, name another directory or remove this one",
                config.data.display()
            )
            .into());
        }
        Err(error) => return Err(format!("{}: {error}", config.data.display()).into()),
    }
    println!("Cluster {cluster} is made, of node {} so far.", config.id);
    println!(
        "Start it: varve start --config {}",
        arguments.config.display()
    );
    Ok(())
}
