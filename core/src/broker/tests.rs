//! Two nodes that are configured with the same broker id.

use super::*;
use crate::cluster::{ConfigMap, Endpoint};
use crate::ids::{DirectoryId, Incarnation};
use crate::peer::{DirectoryState, Heartbeat, PeerMessage};

pub(super) fn identity(broker: i32, directory: u128) -> PeerIdentity {
    PeerIdentity {
        cluster: Some(ClusterId(7)),
        broker: BrokerId(broker),
        directory: DirectoryId(directory),
        incarnation: Incarnation(1),
    }
}

/// A node that has just been started on an empty directory.
pub(super) fn node(me: PeerIdentity, fx: &mut Effects) -> Broker {
    let registration = BrokerRegistration {
        broker: me.broker,
        directory: me.directory,
        incarnation: me.incarnation,
        rack: None,
        listeners: vec![Endpoint {
            name: "PLAINTEXT".to_owned(),
            host: "localhost".to_owned(),
            port: 9092,
        }],
        peer_address: "localhost:9192".to_owned(),
    };
    let setup = Setup {
        registration,
        timing: Timing::default(),
        kafka: BrokerConfig::new(me.broker, ConfigMap::new()).expect("nothing is set"),
        metadata_voters_max: 3,
        snapshot_interval: 1000,
        session_timeout: Duration::from_secs(9),
        unwritten_bytes_max: UNWRITTEN_BYTES_MAX,
    };
    let recovered = Recovered {
        cluster: me.cluster,
        broker: me.broker,
        directory: me.directory,
        incarnation: me.incarnation,
        replicas: Vec::new(),
    };
    Broker::new(setup, recovered, 1, Now::default(), fx)
}

fn at(seconds: u64) -> Instant {
    Instant(0) + Duration::from_secs(seconds)
}

pub(super) fn now(seconds: u64) -> Now {
    Now {
        instant: at(seconds),
        ..Now::default()
    }
}

fn heartbeat(from: PeerIdentity, session: u64, sent_at: Instant) -> Input {
    Input::Peer {
        from,
        session,
        message: PeerMessage::Heartbeat(Heartbeat {
            sent_at,
            echo: None,
            disk_stalled: Duration::ZERO,
            directory: DirectoryState::Online,
        }),
    }
}

/// Why the broker rejects this hello at this second; `None` where it accepts.
fn rejection(broker: &mut Broker, from: PeerIdentity, second: u64) -> Option<String> {
    let mut fx = Effects::new();
    let session = 9;
    broker.step(now(second), Input::Hello { from, session }, &mut fx);
    let mut answers = fx.drain().filter_map(|effect| match effect {
        Effect::AcceptPeer { .. } => Some(None),
        Effect::RejectPeer { reason, .. } => Some(Some(reason)),
        _other => None,
    });
    answers.next().expect("every hello is answered")
}

#[test]
fn a_second_node_with_the_id_of_one_that_is_heard_is_rejected_and_not_listened_to() {
    let mut fx = Effects::new();
    let mut broker = node(identity(1, 11), &mut fx);
    let (first, second) = (identity(2, 21), identity(2, 22));
    assert_eq!(rejection(&mut broker, first, 1), None);
    broker.step(now(1), heartbeat(first, 1, at(1)), &mut fx);
    let reason = rejection(&mut broker, second, 1).expect("the first is heard");
    assert!(reason.contains("DUPLICATE_BROKER_REGISTRATION"), "{reason}");
    broker.step(now(1), heartbeat(second, 2, at(1)), &mut fx);
    let heard = broker.links.get(BrokerId(2)).and_then(|link| link.incoming);
    assert_eq!(heard, Some(first), "the first goes on");
    assert_eq!(rejection(&mut broker, first, 1), None);
}

#[test]
fn a_node_whose_directory_was_lost_is_welcome_once_the_old_one_is_silent() {
    let mut fx = Effects::new();
    let mut broker = node(identity(1, 11), &mut fx);
    let (old, new) = (identity(2, 21), identity(2, 22));
    broker.step(now(1), heartbeat(old, 1, at(1)), &mut fx);
    assert_eq!(rejection(&mut broker, new, 2), None);
    broker.step(now(2), heartbeat(new, 2, at(2)), &mut fx);
    let heard = broker.links.get(BrokerId(2)).and_then(|link| link.incoming);
    assert_eq!(heard, Some(new));
    assert!(rejection(&mut broker, old, 2).is_some());
}

#[test]
fn nobody_may_call_itself_by_the_name_of_the_node_it_dials() {
    let mut fx = Effects::new();
    let mut broker = node(identity(1, 11), &mut fx);
    assert!(rejection(&mut broker, identity(1, 12), 0).is_some());
    assert_eq!(rejection(&mut broker, identity(1, 11), 0), None);
}

#[test]
fn a_node_that_is_rejected_for_the_session_timeout_stops_and_says_why() {
    let mut fx = Effects::new();
    let mut broker = node(identity(1, 12), &mut fx);
    let told = |fx: &Effects| {
        let words = |effect: &Effect| matches!(effect, Effect::Notice(notice) if notice.what == NoticeKind::DuplicateBrokerId("words".to_owned()));
        fx.as_slice().iter().any(words) && fx.as_slice().last() == Some(&Effect::Stopped)
    };
    broker.step(now(0), Input::RejectedByPeer("words".to_owned()), &mut fx);
    for second in 5..14 {
        broker.step(
            now(second),
            Input::RejectedByPeer("words".to_owned()),
            &mut fx,
        );
        assert!(!told(&fx), "the other may be about to die");
    }
    broker.step(now(14), Input::RejectedByPeer("words".to_owned()), &mut fx);
    assert!(told(&fx));
    assert_eq!(broker.next_deadline(), None);
}
