//! The image of the cluster is a function of the metadata log: whoever has applied as much of it has the same,
//! whether from the log's beginning or from a snapshot.

use std::collections::BTreeMap;

use varve_core::cluster::ClusterImage;
use varve_core::ids::{BrokerId, Offset};
use varve_core::store::Recovered;

use super::{Checker, Observed, Step};

/// See the module.
#[derive(Debug, Default)]
pub struct ImagesAgree {
    /// By what was applied: who showed it first, and what it was.
    images: BTreeMap<Offset, (u8, ClusterImage)>,
    /// What each broker has been seen to have applied since it started.
    seen: BTreeMap<BrokerId, Offset>,
}

impl Checker for ImagesAgree {
    fn name(&self) -> &'static str {
        "ImagesAgree"
    }

    fn on_step(&mut self, _seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        if self.seen.insert(step.me.broker, step.metadata) == Some(step.metadata) {
            return Ok(());
        }
        let first = || (step.node, step.image.clone());
        let (node, image) = self.images.entry(step.metadata).or_insert_with(first);
        if image == step.image {
            return Ok(());
        }
        Err(format!(
            "n{} makes something else of the metadata up to {} than n{node} did",
            step.node, step.metadata
        ))
    }

    fn on_start(&mut self, _seen: &Observed, recovered: &Recovered) -> Result<(), String> {
        self.seen.remove(&recovered.broker);
        Ok(())
    }
}
