//! What core notices, told in the log.
//!
//! The level says who should read it: what needs a person is a warning or an error, the life of replicas is
//! information, what happens all the time is for debugging.

use varve_core::effect::{Notice, NoticeKind};
use varve_core::ids::BrokerId;

/// Tells a notice of a broker.
pub fn tell(broker: BrokerId, notice: &Notice) {
    let broker = broker.0;
    let what = &notice.what;
    // Replicas of one topic are told apart by its id: names are not core's business, and may change hands.
    let partition = notice
        .partition
        .map_or_else(String::new, |p| format!("{}-{}", p.topic, p.partition));
    match what {
        NoticeKind::LeadsWithPossibleLoss(_)
        | NoticeKind::HoleGivenUpWithPossibleLoss(..)
        | NoticeKind::CommittedLost(_)
        | NoticeKind::Hole(..)
        | NoticeKind::DuplicateBrokerId(_)
        | NoticeKind::DirectoryOffline(_) => {
            tracing::error!(broker, partition, "{what}");
        }
        NoticeKind::Suspect | NoticeKind::DiskFull => tracing::warn!(broker, partition, "{what}"),
        NoticeKind::Leads(_)
        | NoticeKind::Resigns(..)
        | NoticeKind::Follows(..)
        | NoticeKind::Truncates(_)
        | NoticeKind::VotersChanged(_)
        | NoticeKind::HoleFilled(..)
        | NoticeKind::HoleGivenUp(..)
        | NoticeKind::SuspectCleared => tracing::info!(broker, partition, "{what}"),
        NoticeKind::StartsElection(..) | NoticeKind::Refused(_) => {
            tracing::debug!(broker, partition, "{what}");
        }
    }
}
