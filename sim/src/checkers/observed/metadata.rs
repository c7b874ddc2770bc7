//! The cluster as the committed metadata have it: an image of the checkers' own, which no broker has made.

use std::collections::BTreeMap;

use varve_core::cluster::{ClusterImage, MetadataRecord};

use super::log::Logged;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct CommittedMetadata {
    image: ClusterImage,
    /// Entries of the committed log that are in the image.
    applied: usize,
    /// What the latest step has committed, in order.
    news: Vec<MetadataRecord>,
    /// The records of every batch that was ever ordered of a metadata log, by the batch's digest.
    records: BTreeMap<u64, Vec<MetadataRecord>>,
}

impl CommittedMetadata {
    /// Takes a batch of the metadata log, committed or not.
    pub(super) fn take(&mut self, digest: u64, records: Vec<MetadataRecord>) {
        self.records.insert(digest, records);
    }

    /// Another step begins.
    pub(super) fn forget_news(&mut self) {
        self.news.clear();
    }

    /// Takes in what has been committed.
    pub(super) fn follow(&mut self, committed: &[Logged]) {
        if committed.len() < self.applied {
            self.image = ClusterImage::default();
            self.applied = 0;
        }
        let batches = committed[self.applied..]
            .iter()
            .filter(|entry| entry.crc != 0);
        for record in batches.flat_map(|batch| &self.records[&batch.digest]) {
            self.image.apply(record);
            self.news.push(record.clone());
        }
        self.applied = committed.len();
    }

    /// What the first entries of a committed log amount to.
    pub(super) fn image_of(&self, committed: &[Logged]) -> ClusterImage {
        let mut prefix = Self {
            records: self.records.clone(),
            ..Self::default()
        };
        prefix.follow(committed);
        prefix.image
    }

    pub(super) const fn image(&self) -> &ClusterImage {
        &self.image
    }

    pub(super) fn news(&self) -> &[MetadataRecord] {
        &self.news
    }
}
