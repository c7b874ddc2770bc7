//! `varve format`: makes the first node of a new cluster.
//!
//! A cluster is made once, explicitly: were a node with an empty directory to make one by itself, a node whose
//! disk was lost would found a second cluster beside its own.
//!
//! A format that fails leaves the directory as it was, so that it can be done again once the reason is gone.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::HumanBytes;
use varve_core::ids::{ClusterId, DirectoryId};
use varve_core::store::{BootId, Disk as _, LogStore, OpenError, StoreOptions};
use varve_net::directory;
use varve_net::files::{self, RealDisk, boot_id};

use super::show::{say, say_error};
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

/// What ext4 puts into every directory that is a disk's own.
const LOST_AND_FOUND: &str = "lost+found";

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = Config::read(&arguments.config)?;
    let cluster = match arguments.cluster_id {
        Some(cluster) => cluster,
        None => ClusterId(draw()?),
    };
    let mut snapshot = DirectorySnapshot::of(&config.data);
    match make(&config, cluster, &mut snapshot) {
        Ok(()) => {}
        Err(FormatError::Taken(reason)) => return Err(reason),
        Err(FormatError::Failed(reason)) => {
            snapshot.restore();
            return Err(reason);
        }
    }
    say!("Cluster {cluster} is made, of node {} so far.", config.id);
    say!(
        "Start it: varve start --config {}",
        arguments.config.display()
    );
    Ok(())
}

/// Why a directory is not formatted.
enum FormatError {
    /// Somebody has it. Whatever is in it is theirs.
    Taken(Failure),
    /// Anything else.
    Failed(Failure),
}

fn make(
    config: &Config,
    cluster: ClusterId,
    snapshot: &mut DirectorySnapshot,
) -> Result<(), FormatError> {
    let failed = |reason: String| FormatError::Failed(reason.into());
    let disk = RealDisk::open(&config.data).map_err(|error| match error {
        files::OpenError::InUse(_) => FormatError::Taken(error.into()),
        files::OpenError::Io(..) => FormatError::Failed(error.into()),
    })?;
    let place = config.data.display();
    snapshot
        .list()
        .map_err(|error| failed(format!("{place}: {error}")))?;
    let options = StoreOptions::default();
    let unusable = |error: OpenError| {
        if error != OpenError::AlreadyFormatted {
            return failed(format!("{place}: {error}"));
        }
        let reason = format!(
            "{place} is formatted already: it belongs to a cluster or waits to join one, and is never formatted over. \
             Only the first node of a cluster is formatted; the others join when they are started. To make a new \
             cluster, name another directory or remove this one"
        );
        FormatError::Taken(reason.into())
    };
    if !LogStore::is_formatted(&disk).map_err(unusable)? {
        let free = disk.free_bytes().map_err(|error| unusable(error.into()))?;
        check_room(&options, free).map_err(|reason| failed(format!("{place}: {reason}")))?;
        warn_of_foreign(&config.data, &disk).map_err(unusable)?;
    }
    let boot = boot_id().map_or(BootId::UNKNOWN, BootId);
    let id = DirectoryId(draw().map_err(FormatError::Failed)?);
    directory::format_first(&disk, config.id, id, cluster, options, boot).map_err(unusable)
}

/// Says how much room a node needs, and whether there is as much.
fn check_room(options: &StoreOptions, free: u64) -> Result<(), String> {
    let (journal, reserve) = (options.journal_bytes(), options.reserve_bytes);
    let needs = format!(
        "a node needs {} before its first record: {} for the journal, which are taken now, and {} that stay free so \
         that a full disk can still be worked on",
        HumanBytes(options.bytes_min()),
        HumanBytes(journal),
        HumanBytes(reserve)
    );
    if free < options.bytes_min() {
        return Err(format!("{needs}. There are {} free", HumanBytes(free)));
    }
    say!("There are {} free, and {needs}.", HumanBytes(free));
    Ok(())
}

fn warn_of_foreign(path: &Path, disk: &RealDisk) -> Result<(), OpenError> {
    const NAMED_MAX: usize = 5;
    let mut names = LogStore::foreign_names(disk)?;
    names.retain(|name| name != LOST_AND_FOUND);
    let Some(more) = names.len().checked_sub(1) else {
        return Ok(());
    };
    let listed = names[..names.len().min(NAMED_MAX)].join(", ");
    let others = match (more + 1).saturating_sub(NAMED_MAX) {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    say_error!(
        "Warning: {} holds what varve has not made: {listed}{others}. It is left alone; a log directory is better one \
         of its own.",
        path.display()
    );
    Ok(())
}

/// What there was before the format.
struct DirectorySnapshot {
    data: PathBuf,
    /// Directories that did not exist, the outermost last.
    missing: Vec<PathBuf>,
    lock: bool,
    /// What was in the directory, once it is known.
    names: Option<BTreeSet<OsString>>,
}

const LOCK_FILE: &str = ".lock";

impl DirectorySnapshot {
    fn of(data: &Path) -> Self {
        let above = data.ancestors();
        let missing = above.take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        Self {
            data: data.to_owned(),
            missing: missing.map(Path::to_owned).collect(),
            lock: data.join(LOCK_FILE).exists(),
            names: None,
        }
    }

    /// Learns what is in the directory, which nobody else uses from here on.
    fn list(&mut self) -> io::Result<()> {
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(&self.data)? {
            let name = entry?.file_name();
            if self.lock || name != LOCK_FILE {
                names.insert(name);
            }
        }
        self.names = Some(names);
        Ok(())
    }

    /// Removes what was not there. What cannot be removed stays: there is a failure to be told already.
    fn restore(&self) {
        if let Some(names) = &self.names {
            for entry in fs::read_dir(&self.data).into_iter().flatten().flatten() {
                let (name, path) = (entry.file_name(), entry.path());
                if names.contains(&name) {
                    continue;
                }
                let _ = match entry.file_type() {
                    Ok(kind) if kind.is_dir() => fs::remove_dir_all(path),
                    Ok(_) | Err(_) => fs::remove_file(path),
                };
            }
        }
        for directory in &self.missing {
            let _ = fs::remove_dir(directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_that_is_needed_is_said_also_where_there_is_enough() {
        let options = StoreOptions::default();
        let says = check_room(&options, options.bytes_min() - 1).unwrap_err();
        assert!(
            says.starts_with("a node needs 320.00 MiB before its first record: 256.00 MiB"),
            "{says}"
        );
        assert!(says.ends_with("There are 320.00 MiB free"), "{says}");
        check_room(&options, options.bytes_min()).unwrap();
    }

    #[test]
    fn what_was_not_there_is_taken_back_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("a/b");
        let mut snapshot = DirectorySnapshot::of(&data);
        fs::create_dir_all(&data).unwrap();
        snapshot.list().unwrap();
        fs::write(data.join(LOCK_FILE), b"").unwrap();
        fs::create_dir(data.join("journal")).unwrap();
        fs::write(data.join("journal/0"), b"x").unwrap();
        snapshot.restore();
        assert!(!root.path().join("a").exists());

        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("mine"), b"x").unwrap();
        let mut snapshot = DirectorySnapshot::of(&data);
        fs::write(data.join(LOCK_FILE), b"").unwrap();
        snapshot.list().unwrap();
        fs::write(data.join("identity"), b"x").unwrap();
        snapshot.restore();
        let left: Vec<_> = fs::read_dir(&data)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(left, ["mine"]);
    }
}
