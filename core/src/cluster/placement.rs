//! Where the replicas of new partitions go.
//!
//! Four goals, the earlier outweighing the later; the first two are Kafka's (`StripedReplicaPlacer`):
//!
//! 1. The preferred leader is on a broker that is active. So a topic can be created while some are down, not
//!    while all are.
//! 2. The replicas of a partition are on as many racks as there are; on a rack, on active brokers before others. (A
//!    fenced or stopping broker may still be given a replica: it comes back.)
//! 3. Every broker leads as many partitions as every other, over *all* topics: a hundred topics of one partition
//!    are spread like one of a hundred. Racks of different sizes do not make their brokers unequal.
//! 4. Every broker has as many replicas as every other.
//!
//! Ties are broken at random, so that the followers of one leader's partitions are spread all over the cluster, and its
//! failure is a little work for every broker.

use std::collections::BTreeMap;
use std::fmt;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng as _;

use super::image::{BrokerState, ClusterImage};
use crate::ids::{BrokerId, Voter};

/// Why replicas cannot be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlacementError {
    /// The replication factor is higher than the number of brokers.
    TooFewBrokers {
        /// Replicas of each partition.
        replication_factor: usize,
        /// Brokers.
        registered: usize,
    },
    /// No broker is active.
    AllFenced,
}

impl fmt::Display for PlacementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewBrokers {
                replication_factor,
                registered,
            } => write!(
                f,
                "The target replication factor of {replication_factor} cannot be reached because only \
                 {registered} broker(s) are registered."
            ),
            Self::AllFenced => {
                f.write_str("All brokers are currently fenced or in controlled shutdown.")
            }
        }
    }
}

impl std::error::Error for PlacementError {}

/// Places partitions, each with regard to all that it has placed before. One per request, since it counts every replica
/// in the cluster.
#[derive(Clone, Debug)]
pub struct Placer {
    brokers: Vec<Candidate>,
}

impl Placer {
    /// A placer that counts the replicas in the image.
    #[must_use]
    pub fn new(image: &ClusterImage) -> Self {
        Self {
            brokers: candidates(image),
        }
    }

    /// Places `partitions` partitions of `replication_factor` replicas each, the most preferred leader first.
    ///
    /// # Errors
    /// Where there are not enough brokers, or none that is active.
    ///
    /// # Panics
    /// Where `replication_factor` is 0.
    pub fn place(
        &mut self,
        partitions: usize,
        replication_factor: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<Vec<Voter>>, PlacementError> {
        assert!(replication_factor > 0, "a partition has a replica");
        if replication_factor > self.brokers.len() {
            return Err(PlacementError::TooFewBrokers {
                replication_factor,
                registered: self.brokers.len(),
            });
        }
        if !self.brokers.iter().any(|broker| broker.active) {
            return Err(PlacementError::AllFenced);
        }
        Ok((0..partitions)
            .map(|_| place_one(&mut self.brokers, replication_factor, rng))
            .collect())
    }

    /// Counts partitions that the client has placed itself.
    pub fn count(&mut self, placed: &[Vec<Voter>]) {
        for (preference, voter) in placed.iter().flat_map(|target| target.iter().enumerate()) {
            let mut brokers = self.brokers.iter_mut();
            if let Some(broker) = brokers.find(|broker| broker.voter.broker == voter.broker) {
                broker.replicas += 1;
                broker.leaders += usize::from(preference == 0);
            }
        }
    }
}

/// A broker that may be given replicas.
#[derive(Clone, Debug)]
struct Candidate {
    voter: Voter,
    /// The number of its rack; brokers without a rack share one.
    rack: usize,
    active: bool,
    /// Partitions of which it is the preferred leader.
    leaders: usize,
    /// Its replicas, leading or not.
    replicas: usize,
}

fn candidates(image: &ClusterImage) -> Vec<Candidate> {
    let mut racks = BTreeMap::new();
    let mut candidates: Vec<_> = image
        .brokers()
        .map(|broker| {
            let next = racks.len();
            Candidate {
                voter: broker.voter(),
                rack: *racks
                    .entry(broker.registration.rack.as_deref())
                    .or_insert(next),
                active: broker.state == BrokerState::Active,
                leaders: 0,
                replicas: 0,
            }
        })
        .collect();
    let places: BTreeMap<BrokerId, usize> = candidates
        .iter()
        .enumerate()
        .map(|(place, candidate)| (candidate.voter.broker, place))
        .collect();
    for topic in image.topics() {
        for (_, partition) in topic.partitions() {
            for (preference, voter) in partition.target.iter().enumerate() {
                if let Some(&place) = places.get(&voter.broker) {
                    candidates[place].replicas += 1;
                    candidates[place].leaders += usize::from(preference == 0);
                }
            }
        }
    }
    candidates
}

fn place_one(
    brokers: &mut [Candidate],
    replication_factor: usize,
    rng: &mut ChaCha8Rng,
) -> Vec<Voter> {
    let leader = best(brokers, rng, |_, broker| {
        (!broker.active, broker.leaders, broker.replicas)
    });
    brokers[leader].leaders += 1;
    let mut chosen = vec![leader];
    while chosen.len() < replication_factor {
        let mut on_rack = vec![0_usize; brokers.len()];
        for &place in &chosen {
            on_rack[brokers[place].rack] += 1;
        }
        let follower = best(brokers, rng, |place, broker| {
            let taken = chosen.contains(&place);
            (taken, on_rack[broker.rack], !broker.active, broker.replicas)
        });
        chosen.push(follower);
    }
    for &place in &chosen {
        brokers[place].replicas += 1;
    }
    chosen.iter().map(|&place| brokers[place].voter).collect()
}

/// The index of the broker with the least rank; ties are broken at random.
fn best<Rank: Ord>(
    brokers: &[Candidate],
    rng: &mut ChaCha8Rng,
    rank: impl Fn(usize, &Candidate) -> Rank,
) -> usize {
    brokers
        .iter()
        .enumerate()
        .map(|(place, broker)| (rank(place, broker), rng.next_u64(), place))
        .min()
        .map(|(_, _, place)| place)
        .expect("there is a broker")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use rand_chacha::rand_core::SeedableRng as _;

    use super::*;
    use crate::cluster::image::voter;
    use crate::cluster::{BrokerRegistration, MetadataRecord};
    use crate::ids::{Incarnation, PartitionIndex, TopicId, TopicPartition};

    /// Brokers 0, 1, ... on these racks; those in `down` are fenced.
    fn cluster(racks: &[Option<&str>], down: &[i32]) -> ClusterImage {
        let mut image = ClusterImage::default();
        for (id, rack) in (0..).zip(racks) {
            let registration = BrokerRegistration {
                broker: BrokerId(id),
                directory: voter(id).directory,
                incarnation: Incarnation(1),
                rack: rack.map(str::to_owned),
                listeners: Vec::new(),
                peer_address: String::new(),
            };
            image.apply(&MetadataRecord::RegisterBroker { registration });
            if !down.contains(&id) {
                image.apply(&MetadataRecord::UnfenceBroker {
                    broker: BrokerId(id),
                    incarnation: Incarnation(1),
                });
            }
        }
        image
    }

    fn placed(image: &ClusterImage, partitions: usize, factor: usize, seed: u64) -> Vec<Vec<i32>> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let placed = Placer::new(image).place(partitions, factor, &mut rng);
        placed
            .expect("enough brokers")
            .iter()
            .map(|voters| voters.iter().map(|voter| voter.broker.0).collect())
            .collect()
    }

    /// The least and the greatest number of times that a broker occurs.
    fn spread(brokers: usize, occurrences: impl Iterator<Item = i32>) -> (usize, usize) {
        let mut counts = vec![0; brokers];
        for broker in occurrences {
            counts[usize::try_from(broker).expect("from 0")] += 1;
        }
        let least = counts.iter().min().expect("a broker");
        let most = counts.iter().max().expect("a broker");
        (*least, *most)
    }

    proptest! {
        #[test]
        fn leaders_differ_by_one_at_most_and_replicas_by_two(
            brokers in 1..9_usize, factor in 1..5_usize, partitions in 1..60_usize, seed: u64
        ) {
            prop_assume!(factor <= brokers);
            let placed = placed(&cluster(&vec![None; brokers], &[]), partitions, factor, seed);
            let (least, most) = spread(brokers, placed.iter().map(|replicas| replicas[0]));
            prop_assert!(most - least <= 1, "leaders: {:?}", placed);
            let (least, most) = spread(brokers, placed.iter().flatten().copied());
            prop_assert!(most - least <= 2, "replicas: {:?}", placed);
            for replicas in &placed {
                prop_assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), factor);
            }
        }

        #[test]
        fn a_partition_is_on_as_many_racks_as_there_are(
            sizes in prop::collection::vec(1..4_usize, 1..5), factor in 1..5_usize, seed: u64
        ) {
            let names = ["a", "b", "c", "d"];
            let racks: Vec<_> = sizes
                .iter()
                .zip(names)
                .flat_map(|(&size, name)| vec![Some(name); size])
                .collect();
            prop_assume!(factor <= racks.len());
            for replicas in placed(&cluster(&racks, &[]), 20, factor, seed) {
                let on: BTreeSet<_> = replicas
                    .iter()
                    .map(|&broker| racks[usize::try_from(broker).expect("from 0")])
                    .collect();
                prop_assert_eq!(on.len(), factor.min(sizes.len()));
            }
        }

        #[test]
        fn a_fenced_broker_never_leads_and_follows_only_where_it_must(
            down in prop::collection::btree_set(0..5_i32, 0..5), factor in 1..5_usize, seed: u64
        ) {
            let down: Vec<_> = down.into_iter().collect();
            let image = cluster(&[None; 5], &down);
            for replicas in placed(&image, 10, factor, seed) {
                prop_assert!(!down.contains(&replicas[0]));
                let fenced = replicas.iter().filter(|broker| down.contains(broker)).count();
                prop_assert_eq!(fenced, factor.saturating_sub(5 - down.len()));
            }
        }
    }

    #[test]
    fn topics_of_one_partition_are_spread_like_one_topic_of_many() {
        let mut image = cluster(&[None; 3], &[]);
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for id in 10..16 {
            let target = Placer::new(&image)
                .place(1, 1, &mut rng)
                .expect("three brokers")
                .remove(0);
            image.apply(&MetadataRecord::Topic {
                name: format!("topic-{id}"),
                id: TopicId(id),
            });
            image.apply(&MetadataRecord::Partition {
                partition: TopicPartition {
                    topic: TopicId(id),
                    partition: PartitionIndex(0),
                },
                voters: target.clone(),
                target,
            });
        }
        let leaders = image
            .topics()
            .flat_map(|topic| topic.partitions().map(|(_, it)| it.target[0].broker.0));
        assert_eq!(spread(3, leaders), (2, 2));
    }

    #[test]
    fn what_others_have_placed_is_taken_account_of() {
        let image = cluster(&[None; 3], &[]);
        let mut placer = Placer::new(&image);
        let by_hand = [vec![voter(0), voter(1)], vec![voter(0), voter(1)]];
        placer.count(&by_hand);
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let placed = placer.place(4, 1, &mut rng).expect("three brokers");
        let leaders = by_hand.iter().chain(&placed).map(|it| it[0].broker.0);
        assert_eq!(spread(3, leaders), (2, 2));
    }

    #[test]
    fn followers_of_one_leader_are_all_over_the_cluster() {
        let placed = placed(&cluster(&[None; 5], &[]), 40, 2, 1);
        let followers: BTreeSet<_> = placed
            .iter()
            .filter(|replicas| replicas[0] == 0)
            .map(|replicas| replicas[1])
            .collect();
        assert_eq!(followers.len(), 4);
    }

    #[test]
    fn too_few_brokers_and_none_alive_are_told_apart() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut refusal = |image: &ClusterImage| {
            Placer::new(image)
                .place(1, 2, &mut rng)
                .expect_err("not possible")
                .to_string()
        };
        assert_eq!(
            refusal(&cluster(&[None], &[])),
            "The target replication factor of 2 cannot be reached because only 1 broker(s) are registered."
        );
        assert_eq!(
            refusal(&cluster(&[None; 2], &[0, 1])),
            "All brokers are currently fenced or in controlled shutdown."
        );
    }
}
