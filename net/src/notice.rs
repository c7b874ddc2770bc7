//! Writes core's notices to the node's log.
//!
//! The level says who should read it: what needs an operator is a warning or an error, state changes of replicas are
//! information, frequent events are for debugging.
//!
//! A stop, a start or a lost peer affects all partitions of a broker at once, and is one line for all of them. At debug
//! level each partition has a line of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use varve_core::effect::{Notice, NoticeKind};
use varve_core::ids::{BrokerId, TopicPartition};
use varve_core::time::Instant;

/// How long notices of partitions are grouped before they are logged.
const GROUPING_TIME: Duration = Duration::from_millis(250);

/// The log of a broker's notices.
#[derive(Debug)]
pub struct Notices {
    broker: BrokerId,
    /// Notices of partitions that are not logged yet, by their message.
    grouped: BTreeMap<String, Grouped>,
}

/// The same notice for several partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Grouped {
    since: Instant,
    first: Notice,
    partitions: BTreeSet<TopicPartition>,
}

impl Notices {
    /// No notices yet.
    #[must_use]
    pub const fn new(broker: BrokerId) -> Self {
        Self {
            broker,
            grouped: BTreeMap::new(),
        }
    }

    /// Groups a notice, or logs it at once where its kind is not grouped.
    pub fn add(&mut self, notice: Notice, now: Instant) {
        if tracing::enabled!(tracing::Level::DEBUG) {
            log_notice(self.broker, &notice);
        } else if !is_for_debugging(&notice.what) && !self.groups(&notice, now) {
            // Earlier notices, which may be its cause, are logged first.
            self.log_all();
            log_notice(self.broker, &notice);
        }
    }

    /// Logs the groups whose time is over.
    pub fn log_due(&mut self, now: Instant) {
        let due = self.due(now);
        self.log_grouped(due);
    }

    /// Logs all groups.
    pub fn log_all(&mut self) {
        let all = std::mem::take(&mut self.grouped);
        self.log_grouped(all);
    }

    fn log_grouped(&self, grouped: impl IntoIterator<Item = (String, Grouped)>) {
        let mut grouped: Vec<_> = grouped.into_iter().collect();
        grouped.sort_by_key(|(_, grouped)| grouped.since);
        for (words, grouped) in grouped {
            let (broker, partitions) = (self.broker.0, grouped.partitions.len());
            if partitions == 1 {
                log_notice(self.broker, &grouped.first);
            } else if grouped.first.what == NoticeKind::Suspect {
                tracing::warn!(broker, partitions, "{words}");
            } else {
                tracing::info!(broker, partitions, "{words}");
            }
        }
    }

    /// Adds a notice to its group, if its kind is grouped. Notices of the metadata log are not.
    fn groups(&mut self, notice: &Notice, now: Instant) -> bool {
        let partition = notice
            .partition
            .filter(|it| *it != TopicPartition::METADATA);
        let (Some(words), Some(partition)) = (message_for_many(&notice.what), partition) else {
            return false;
        };
        let grouped = self.grouped.entry(words).or_insert_with(|| Grouped {
            since: now,
            first: notice.clone(),
            partitions: BTreeSet::new(),
        });
        grouped.partitions.insert(partition);
        true
    }

    fn due(&mut self, now: Instant) -> Vec<(String, Grouped)> {
        let is_due = |_: &String, grouped: &mut Grouped| now.since(grouped.since) >= GROUPING_TIME;
        self.grouped.extract_if(.., is_due).collect()
    }
}

const fn is_for_debugging(what: &NoticeKind) -> bool {
    matches!(
        what,
        NoticeKind::StartsElection(..) | NoticeKind::Refused(_)
    )
}

/// The message for several partitions; `None` for kinds that are logged for each partition.
fn message_for_many(what: &NoticeKind) -> Option<String> {
    Some(match what {
        NoticeKind::Leads(_) => "leads".to_owned(),
        NoticeKind::Resigns(_, why) => format!("resigns: {why}"),
        NoticeKind::Follows(_, leader) => format!("follows n{leader}"),
        NoticeKind::Truncates(_) => "truncates what the leader does not have".to_owned(),
        NoticeKind::VotersChanged(_) => "changes voters".to_owned(),
        what @ (NoticeKind::Suspect | NoticeKind::SuspectCleared) => what.to_string(),
        NoticeKind::StartsElection(..)
        | NoticeKind::LeadsWithPossibleLoss(_)
        | NoticeKind::Hole(..)
        | NoticeKind::HoleFilled(..)
        | NoticeKind::HoleGivenUp(..)
        | NoticeKind::HoleGivenUpWithPossibleLoss(..)
        | NoticeKind::CommittedLost(_)
        | NoticeKind::DuplicateBrokerId(_)
        | NoticeKind::DirectoryOffline(_)
        | NoticeKind::DiskFull
        | NoticeKind::Administered(_)
        | NoticeKind::Refused(_) => return None,
    })
}

/// Logs one notice of a broker.
fn log_notice(broker: BrokerId, notice: &Notice) {
    let broker = broker.0;
    let what = &notice.what;
    // By topic id: replicas in core have no topic names, and a name may belong to another topic later.
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
        NoticeKind::Administered(_) => tracing::info!(broker, "{what}"),
        NoticeKind::StartsElection(..) | NoticeKind::Refused(_) => {
            tracing::debug!(broker, partition, "{what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use varve_core::ids::{LeaderEpoch, Offset, PartitionIndex, TopicId};

    use super::*;

    fn notice(partition: i32, what: NoticeKind) -> Notice {
        Notice {
            partition: Some(TopicPartition {
                topic: TopicId(7 << 64),
                partition: PartitionIndex(partition),
            }),
            what,
        }
    }

    #[test]
    fn what_happens_to_many_partitions_is_told_once_and_what_needs_a_person_at_once() {
        let mut notices = Notices::new(BrokerId(1));
        let start = Instant(1_000_000);
        for partition in 0..1000 {
            let leads = notice(partition, NoticeKind::Leads(LeaderEpoch(partition)));
            assert!(notices.groups(&leads, start));
        }
        let soon = start + GROUPING_TIME / 2;
        let follows = notice(3, NoticeKind::Follows(LeaderEpoch(2), BrokerId(2)));
        assert!(notices.groups(&follows, soon));
        assert!(!notices.groups(&notice(1, NoticeKind::Hole(Offset(1), Offset(2))), soon));
        let metadata = Notice {
            partition: Some(TopicPartition::METADATA),
            what: NoticeKind::Leads(LeaderEpoch(1)),
        };
        assert!(!notices.groups(&metadata, soon));
        assert_eq!(notices.due(soon), []);
        let due = notices.due(start + GROUPING_TIME);
        let due = due
            .iter()
            .map(|(words, it)| (words.as_str(), it.partitions.len()));
        assert_eq!(due.collect::<Vec<_>>(), [("leads", 1000)]);
        let due = notices.due(soon + GROUPING_TIME);
        let due = due
            .into_iter()
            .map(|(_, it)| (it.first, it.partitions.len()));
        assert_eq!(due.collect::<Vec<_>>(), [(follows, 1)]);
    }
}
