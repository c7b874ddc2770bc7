//! How a scenario ends: what was noticed, whether everything came to rest, and the snapshot.

use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};

use bytes::Bytes;
use varve_core::ids::{Offset, TopicPartition};
use varve_core::record::Batch;
use varve_core::store::{Disk as _, DiskFile as _, Query, QueryId, QueryKind, QueryResult};
use varve_sim::cluster::{Cluster, DiskOptions};
use varve_sim::liveness::compare_producers;
use varve_sim::network::NetworkOptions;

use crate::{PATIENCE, Scenario, file_stem};

impl Scenario {
    /// Tells the story on this cluster to the end, [`judge`](Self::judge) included, and returns what was noticed:
    /// a violation as `Checker: what`, or the message of the claim that failed.
    ///
    /// # Panics
    /// Where nothing was: then the story does not show why the clause is there.
    #[must_use]
    pub fn caught(self, story: impl FnOnce(&mut Self)) -> String {
        let mutant = self.options.mutant;
        let told = catch_unwind(AssertUnwindSafe(move || {
            let mut scenario = self;
            story(&mut scenario);
            scenario.judge();
        }));
        match told {
            Ok(()) => panic!("nobody noticed {mutant:?}"),
            Err(panic) => panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .expect("assertions and violations have a text"),
        }
    }

    /// Heals everything, starts whoever does not run, waits until all replicas are equal, and demands that every
    /// acknowledged record is read where it was acknowledged, in order and once, and that replicas know of producers what
    /// their logs give.
    pub fn judge(&mut self) {
        let nodes = self.options.nodes;
        let cluster = self.cluster_mut();
        cluster.trace.end();
        cluster.unblock_all();
        cluster.set_network_options(NetworkOptions::default());
        cluster.set_disk_options(DiskOptions::default());
        for node in 1..=nodes {
            let now = cluster.now();
            cluster.node_mut(node).crash_after_effects = None;
            cluster.node_mut(node).disk_stalled_until = now;
            cluster.resume(node);
            cluster.node(node).disk.disarm();
            let process = cluster.node(node).process.as_ref();
            if process.is_none_or(|process| process.stopped || process.offline) {
                cluster.kill(node);
                cluster.start(node);
            }
        }
        self.check();
        let reader = self.consumer();
        self.run_until(
            |s| {
                is_converged(s.cluster(), s.partition)
                    && s.read_up_to(&reader) == s.log_end_offset(s.leader())
            },
            PATIENCE * 2,
        );
        let judged = self.cluster().history.judge();
        if let Err(violation) = judged.and_then(|()| compare_producers(self.cluster())) {
            self.fail(&violation.to_string());
        }
    }

    /// Compares what happened with the snapshot that is named after the scenario's file, and judges the rest of
    /// the run. The snapshot ends here; the claim and the checkers go on.
    #[track_caller]
    pub fn assert_trace(&mut self) {
        let trace = self.render();
        let name = file_stem(Location::caller());
        let thread = std::thread::current();
        let claim = thread
            .name()
            .and_then(|name| name.rsplit("::").next())
            .unwrap_or(&name)
            .replace('_', " ");
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.set_description(format!(
            "{claim}; seed {}; {} nodes",
            self.seed, self.options.nodes
        ));
        self.judge();
        settings.bind(|| insta::assert_snapshot!(name, trace));
    }

    /// What happened since the interesting part began.
    #[must_use]
    pub fn render(&self) -> String {
        let cluster = self.cluster();
        cluster.trace.render(&cluster.checkers.seen)
    }

    /// Stops at the first violation.
    pub(crate) fn check(&self) {
        if let Some(violation) = self.cluster().violation() {
            self.fail(&violation.to_string());
        }
    }

    /// Ends the scenario with what is wrong, and shows what led to it.
    pub(crate) fn fail(&self, what: &str) -> ! {
        eprintln!("{}", self.render());
        for (node, view) in (1..=self.options.nodes)
            .filter_map(|node| Some((node, self.cluster().view(node, self.partition?)?)))
        {
            eprintln!("n{node}  {view:?}");
        }
        panic!("{what}");
    }
}

/// One leader of the partition and of the metadata, nothing left to copy, commit, fill or clear.
pub(crate) fn is_converged(cluster: &Cluster, partition: Option<TopicPartition>) -> bool {
    let mut partitions = vec![TopicPartition::METADATA];
    partitions.extend(partition);
    partitions.into_iter().all(|partition| {
        let views: Vec<_> = (1..=cluster.options().nodes)
            .filter_map(|node| cluster.view(node, partition))
            .collect();
        let leaders: Vec<_> = views.iter().filter(|view| view.role == "leader").collect();
        let [leader] = leaders[..] else {
            return false;
        };
        let ends: BTreeSet<_> = views
            .iter()
            .flat_map(|view| [view.end, view.durable, view.committed])
            .collect();
        let running = leader.voters.iter().all(|voter| {
            cluster.nodes().iter().any(|node| {
                node.broker() == voter.broker
                    && (node.process.is_none() || node.directory == voter.directory)
            })
        });
        running
            && ends.len() == 1
            && leader.high_watermark.is_some()
            && views.len() >= leader.voters.len().min(running_nodes(cluster))
            && views
                .iter()
                .all(|view| view.holes.is_empty() && !view.mark.is_suspect())
    })
}

fn running_nodes(cluster: &Cluster) -> usize {
    cluster
        .nodes()
        .iter()
        .filter(|node| node.process.is_some())
        .count()
}

/// Whether what a running node's disk holds of this offset's batch is whole, whatever its page cache has.
pub(crate) fn is_whole_on_disk(
    cluster: &Cluster,
    node: u8,
    partition: TopicPartition,
    offset: Offset,
) -> bool {
    let (path, bytes) = place_of(cluster, node, partition, offset);
    let mut read = vec![0; usize::try_from(bytes.end - bytes.start).expect("a small batch")];
    let disk = &cluster.node(node).disk;
    let file = disk.open_uncached(&path).expect("it is there");
    file.read_at(bytes.start, &mut read).expect("nothing fails");
    let mut read = Bytes::from(read);
    Batch::split_from(&mut read).is_ok_and(|batch| batch.verify().is_ok())
}

/// The file of a running node's disk that holds this offset's batch, and the batch's bytes in it.
///
/// A segment is its batches, one behind the other.
pub(crate) fn place_of(
    cluster: &Cluster,
    node: u8,
    partition: TopicPartition,
    offset: Offset,
) -> (String, Range<u64>) {
    let directory = format!("{}-{}/", partition.topic, partition.partition);
    let (path, base) = cluster
        .node(node)
        .disk
        .files()
        .into_iter()
        .filter_map(|(path, _)| {
            let name = path.strip_prefix(&directory)?.strip_suffix(".log")?;
            let base = Offset(name.parse().ok()?);
            Some((path, base))
        })
        .rfind(|(_, base)| *base <= offset)
        .expect("the offset is in a segment");
    let process = cluster.node(node).process.as_ref();
    let store = &process.expect("the node runs").store;
    let mut position = 0;
    let mut next = base;
    loop {
        let result = store.query(&Query {
            id: QueryId(0),
            replica: partition,
            kind: QueryKind::Read {
                offset: next,
                end: offset.plus(1),
                bytes_max: 1 << 20,
            },
        });
        let QueryResult::Records(mut bytes) = result else {
            panic!("offset {next} can be read: {result:?}");
        };
        assert!(!bytes.is_empty(), "offset {next} is in the log");
        let mut left = bytes.len();
        while let Ok(batch) = Batch::split_from(&mut bytes) {
            let size = left - bytes.len();
            left = bytes.len();
            next = batch.header.next_offset();
            if next > offset {
                return (path, position..position + size as u64);
            }
            position += size as u64;
        }
    }
}

/// What a journal keeps twice.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeptTwice {
    Vote,
    VoterChange(TopicPartition),
}

/// Where the first copy of what was journalled last of this kind stands on the disk of a node: the file, and a place in the
/// first record of its group, behind which none can be read. Blocks, groups and copies as in `docs/format.md`.
pub(crate) fn place_of_record(cluster: &Cluster, node: u8, what: KeptTwice) -> (String, u64) {
    const BLOCK: usize = 4096;
    let disk = &cluster.node(node).disk;
    let mut records = Vec::new();
    let files = disk.files().into_iter();
    for (path, length) in files.filter(|(path, _)| path.starts_with("journal/")) {
        let mut bytes = vec![0; usize::try_from(length).expect("a small file")];
        let file = disk.open(&path).expect("it is there");
        file.read_at(0, &mut bytes).expect("nothing fails");
        for (block, start) in bytes.chunks(BLOCK).zip((0..length).step_by(BLOCK)) {
            if block.starts_with(b"VJG2") {
                let replicas = u64::from(u32::from_be_bytes(*field(block, 48)));
                records.push((None, path.clone(), start + 52 + 20 * replicas + 12));
            } else if block.starts_with(b"VJV2")
                && block_holds(block, what)
                && let Some((name, ..)) = records.last_mut()
            {
                // Incarnation and number of the group that the copies stand behind.
                *name = Some(*field::<16>(block, 8));
            }
        }
    }
    let latest = records.into_iter().max_by_key(|(name, ..)| *name);
    let (name, path, at) = latest.expect("a group has been journalled");
    assert!(name.is_some(), "n{node} has journalled a {what:?}");
    (path, at)
}

/// Whether copies of this kind stand in a block.
fn block_holds(block: &[u8], what: KeptTwice) -> bool {
    let votes = u32::from_be_bytes(*field(block, 28));
    match what {
        KeptTwice::Vote => votes > 0,
        KeptTwice::VoterChange(of) => {
            let first = &block[36..56];
            let changes = u32::from_be_bytes(*field(block, 32));
            let is_first = first[..16] == of.topic.0.to_be_bytes()
                && first[16..] == of.partition.0.to_be_bytes();
            votes == 0 && changes > 0 && is_first
        }
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> &[u8; N] {
    bytes[at..].first_chunk().expect("a block is longer")
}
