//! Where things stand in a journal, as `docs/format.md` has it: for whoever damages one.

use crate::disk::SimDisk;

/// The unit of a journal: groups start at blocks.
pub const JOURNAL_BLOCK: usize = 4096;

const GROUP_MAGIC: &[u8] = b"VJG2";

/// Where groups start in the journal, path and byte, in the order in which they were written.
#[must_use]
pub fn journal_groups(disk: &SimDisk) -> Vec<(String, u64)> {
    let mut groups: Vec<([u8; 16], String, u64)> = Vec::new();
    for (path, _) in disk.files() {
        if !path.starts_with("journal/") {
            continue;
        }
        for (block, bytes) in disk.bytes(&path).chunks(JOURNAL_BLOCK).enumerate() {
            // Incarnation and number, in the order of bytes.
            let name = bytes.get(16..32).and_then(<[u8]>::first_chunk);
            if let (Some(name), true) = (name, bytes.starts_with(GROUP_MAGIC)) {
                groups.push((*name, path.clone(), (block * JOURNAL_BLOCK) as u64));
            }
        }
    }
    groups.sort_unstable();
    let places = groups.into_iter().map(|(_, path, start)| (path, start));
    places.collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cluster::{Cluster, ClusterOptions};
    use crate::draw::Draws;

    #[test]
    fn the_groups_of_a_running_node_are_found() {
        let mut cluster = Cluster::new(ClusterOptions::new(1), Draws::new(1));
        cluster.start_all();
        let end = cluster.now() + Duration::from_secs(2);
        cluster.run_until(end, |_, _| {});
        let groups = journal_groups(&cluster.node(1).disk);
        assert!(groups.len() > 2, "{groups:?}");
    }
}
