//! Disks: slow, full, failing, damaged.

use crate::{Scenario, Shortage, verdict, verdict::KeptTwice};
use std::time::Duration;
use varve_core::ids::{Offset, TopicPartition};
use varve_sim::disk::Fault;

impl Scenario {
    /// The node's disk answers nothing for this long.
    pub fn stall_disk(&mut self, node: u8, length: Duration) {
        self.told(format!(
            "disk of n{node} hangs for {}ms",
            length.as_millis()
        ));
        self.cluster_mut().stall_disk(node, length);
    }

    /// From now on every sync takes this long, on all disks.
    pub fn syncs_take(&mut self, length: Duration) {
        let mut disk = self.options.disk;
        disk.sync_min = length;
        self.cluster_mut().set_disk_options(disk);
    }

    /// The node's next sync fails, once: its pages are clean afterwards and its bytes are nowhere.
    pub fn fail_fsync(&mut self, node: u8) {
        self.told(format!("the next sync of n{node} fails"));
        self.cluster().node(node).disk.arm("", Fault::SyncFails);
    }

    /// Other files fill the node's disk, but for half of what its store keeps in reserve.
    pub fn fill_disk(&mut self, node: u8) {
        self.told(format!("disk of n{node} is full"));
        let reserve = self.options.store.reserve_bytes;
        let disk = &self.cluster().node(node).disk;
        disk.set_capacity(disk.used() + reserve / 2);
    }

    /// The other files on the node's disk are gone.
    pub fn free_disk(&mut self, node: u8) {
        self.told(format!("disk of n{node} has room"));
        let capacity = self.options.disk.capacity;
        self.cluster().node(node).disk.set_capacity(capacity);
    }

    /// The node has no descriptor left for a file or a connection, or no memory.
    pub fn run_short(&mut self, node: u8, of: Shortage) {
        let what = match of {
            Shortage::Descriptors => "descriptor",
            Shortage::Memory => "memory",
        };
        self.told(format!("n{node} has no {what} left"));
        self.cluster_mut().run_short(node, of, 1_000_000);
        self.cluster_mut().refuse_connections(node);
    }

    /// It has all that it needs.
    pub fn end_shortage(&mut self, node: u8) {
        self.told(format!("n{node} has descriptors and memory"));
        self.cluster_mut().end_shortage(node);
    }

    /// Bits rot in the segment that holds this offset of the partition: in the middle of its batch.
    pub fn rot(&mut self, node: u8, offset: i64) {
        let (path, at) = self.middle_of(node, offset);
        self.told(format!("bits rot on n{node} under offset {offset}"));
        let rotted = self.cluster().node(node).disk.rot(&path, at, 3);
        assert!(rotted, "{path} has a byte at {at}");
    }

    /// The same in the segment that holds this offset of the metadata.
    pub fn rot_metadata(&mut self, node: u8, offset: i64) {
        let metadata = TopicPartition::METADATA;
        let (path, bytes) = verdict::place_of(self.cluster(), node, metadata, Offset(offset));
        self.told(format!(
            "bits rot on n{node} under offset {offset} of the metadata"
        ));
        let at = bytes.start.midpoint(bytes.end);
        let rotted = self.cluster().node(node).disk.rot(&path, at, 3);
        assert!(rotted, "{path} has a byte at {at}");
    }

    /// Bits rot on the disk, while the page cache has them whole.
    pub fn rot_under_cache(&mut self, node: u8, offset: i64) {
        let (path, at) = self.middle_of(node, offset);
        let text = format!("bits rot on n{node} under offset {offset}, but not in its page cache");
        self.told(text);
        let disk = &self.cluster().node(node).disk;
        let rotted = disk.rot_under_cache(&path, at, 3);
        assert!(rotted, "{path} has a byte on the disk at {at}");
    }

    /// Bits rot in the base offset of this offset's batch, which Kafka's checksum does not cover.
    pub fn rot_header(&mut self, node: u8, offset: i64) {
        let place = verdict::place_of(self.cluster(), node, self.partition(), Offset(offset));
        let (path, bytes) = place;
        self.told(format!(
            "bits rot on n{node} in the header at offset {offset}"
        ));
        let rotted = self
            .cluster()
            .node(node)
            .disk
            .rot(&path, bytes.start + 4, 3);
        assert!(rotted, "{path} has a byte there");
    }

    /// Bits rot in the first copy of the last vote in the node's journal.
    pub fn rot_vote(&mut self, node: u8) {
        self.rot_record(node, KeptTwice::Vote, "in the record of its vote");
    }

    /// The same of the last change of the partition's voters.
    pub fn rot_voter_change(&mut self, node: u8) {
        let change = KeptTwice::VoterChange(self.partition());
        self.rot_record(node, change, "in the record of a change of voters");
    }

    pub(crate) fn rot_record(&mut self, node: u8, what: KeptTwice, place: &str) {
        let (path, at) = verdict::place_of_record(self.cluster(), node, what);
        self.told(format!("bits rot on n{node} {place}"));
        let rotted = self.cluster().node(node).disk.rot(&path, at, 3);
        assert!(rotted, "{path} has a byte at {at}");
    }

    /// The sector in the middle of this offset's batch cannot be read on this node until it is written again.
    pub fn make_unreadable(&mut self, node: u8, offset: i64) {
        let (path, at) = self.middle_of(node, offset);
        self.told(format!("n{node} cannot read under offset {offset}"));
        let found = self.cluster().node(node).disk.make_unreadable(&path, at);
        assert!(found, "{path} has a byte at {at}");
    }

    /// The next read of each of the node's files fails, once.
    pub fn fail_reads_once(&mut self, node: u8) {
        self.told(format!("the next read of every file of n{node} fails"));
        let disk = &self.cluster().node(node).disk;
        for (path, _) in disk.files() {
            disk.arm(&path, Fault::ReadFails);
        }
    }

    pub(crate) fn middle_of(&self, node: u8, offset: i64) -> (String, u64) {
        let offset = Offset(offset);
        let (path, bytes) = verdict::place_of(self.cluster(), node, self.partition(), offset);
        (path, bytes.start.midpoint(bytes.end))
    }

    /// Whether this node has the batch at this offset whole on its disk, whatever the page cache has.
    #[must_use]
    pub fn is_whole_on_disk(&self, node: u8, offset: i64) -> bool {
        verdict::is_whole_on_disk(self.cluster(), node, self.partition(), Offset(offset))
    }
}
