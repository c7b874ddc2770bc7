use super::dial::{DialError, dial};
use super::*;
use crate::peer_codec::{HelloReply, decode_hello_reply};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use varve_core::cluster::AdminRequest;
use varve_core::ids::{ClusterId, DirectoryId, Incarnation};
use varve_core::peer::{
    ControllerRequest, DirectoryState, ForwardedRequest, Heartbeat, Newer, PeerAddresses,
};
use varve_core::time::Instant;

const SOON: Duration = Duration::from_secs(5);
/// The directory of a node that every other rejects.
const TWIN: DirectoryId = DirectoryId(77);

fn identity(broker: i32) -> PeerIdentity {
    PeerIdentity {
        cluster: None,
        broker: BrokerId(broker),
        directory: DirectoryId(broker as u128),
        incarnation: Incarnation(1),
    }
}

/// A node's links, with a driver that the test plays.
struct Node {
    context: LinkContext,
    sessions: Arc<Mutex<Sessions>>,
    events: mpsc::Receiver<LinkEvent>,
    address: String,
    _identity: watch::Sender<PeerIdentity>,
    _accepting: Abort,
}

struct Abort(JoinHandle<()>);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Node {
    async fn new(own: PeerIdentity) -> Self {
        Self::speaking(PeerVersions::SUPPORTED, own).await
    }

    async fn speaking(versions: PeerVersions, own: PeerIdentity) -> Self {
        let (identity_sender, identity) = watch::channel(own);
        let (sender, mut told) = mpsc::channel(64);
        let (forward, events) = mpsc::channel(64);
        let sessions = Arc::<Mutex<Sessions>>::default();
        let opening = Arc::clone(&sessions);
        tokio::spawn(async move {
            while let Some(event) = told.recv().await {
                match event {
                    LinkEvent::Hello { identity, verdict } => {
                        let mut sessions = lock(&opening);
                        let session = sessions.hello(verdict);
                        if identity.directory == TWIN {
                            sessions.reject(session, "it runs already".to_owned());
                        } else {
                            sessions.accept(session);
                        }
                    }
                    event => forward.send(event).await.unwrap_or(()),
                }
            }
        });
        let context = LinkContext::new(identity, versions, sender, Budget::new(1 << 24, SOON));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = context.clone();
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, remote) = listener.accept().await.unwrap();
                tokio::spawn(serve_peer(stream, remote.to_string(), serving.clone()));
            }
        });
        Self {
            context,
            sessions,
            events,
            address,
            _identity: identity_sender,
            _accepting: Abort(accepting),
        }
    }

    fn links(&self, bootstrap: &[&str]) -> PeerLinks {
        let bootstrap = bootstrap
            .iter()
            .map(|&address| address.to_owned())
            .collect();
        PeerLinks::start(self.context.clone(), bootstrap, 1)
    }

    async fn event(&mut self) -> LinkEvent {
        timeout(SOON, self.events.recv()).await.unwrap().unwrap()
    }

    async fn up(&mut self, links: &mut PeerLinks) -> PeerIdentity {
        match self.event().await {
            LinkEvent::Up {
                link,
                identity,
                queue,
            } => {
                assert!(links.link_up(link, &identity, queue));
                identity
            }
            other => panic!("a link was due, not {other:?}"),
        }
    }
}

fn heartbeat(n: u64) -> PeerMessage {
    PeerMessage::Heartbeat(Heartbeat {
        sent_at: Instant(n),
        echo: None,
        disk_stalled: Duration::ZERO,
        directory: DirectoryState::Online,
    })
}

#[tokio::test]
async fn messages_arrive_in_order_and_with_their_senders_name() {
    let (mut a, mut b) = (Node::new(identity(1)).await, Node::new(identity(2)).await);
    let mut links = a.links(&[&b.address]);
    assert_eq!(a.up(&mut links).await, identity(2));
    for n in 0..1000 {
        links.send(BrokerId(2), heartbeat(n)).unwrap();
    }
    for n in 0..1000 {
        match b.event().await {
            LinkEvent::Received {
                from,
                session: 1,
                message,
            } => {
                assert_eq!((from, message), (identity(1), heartbeat(n)));
            }
            other => panic!("a message was due, not {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_broken_link_is_told_and_comes_back_as_another_session() {
    let (mut a, mut b) = (Node::new(identity(1)).await, Node::new(identity(2)).await);
    let mut links = a.links(&[&b.address]);
    a.up(&mut links).await;
    links.send(BrokerId(2), heartbeat(1)).unwrap();
    assert!(matches!(
        b.event().await,
        LinkEvent::Received { session: 1, .. }
    ));
    // The driver gives the queue up, as it does when it overflows.
    links.up.clear();
    assert!(matches!(
        a.event().await,
        LinkEvent::Down {
            broker: BrokerId(2),
            ..
        }
    ));
    a.up(&mut links).await;
    links.send(BrokerId(2), heartbeat(2)).unwrap();
    assert!(matches!(
        b.event().await,
        LinkEvent::SessionClosed { session: 1, .. }
    ));
    assert!(matches!(
        b.event().await,
        LinkEvent::Received { session: 2, .. }
    ));
}

#[tokio::test]
async fn a_node_that_is_rejected_is_told_so() {
    let b = Node::new(identity(2)).await;
    let mut a = Node::new(PeerIdentity {
        directory: TWIN,
        ..identity(1)
    })
    .await;
    let _links = a.links(&[&b.address]);
    match a.event().await {
        LinkEvent::Rejected(reason) => assert_eq!(reason, "it runs already"),
        other => panic!("a refusal was due, not {other:?}"),
    }
}

fn speaks(oldest: u16, newest: u16) -> PeerVersions {
    PeerVersions {
        oldest: PeerVersion(oldest),
        newest: PeerVersion(newest),
    }
}

#[tokio::test]
async fn nodes_of_neighbouring_versions_link_and_each_hears_what_it_knows() {
    let mut older = Node::speaking(speaks(9, 9), identity(1)).await;
    let mut newer = Node::speaking(speaks(9, 10), identity(2)).await;
    let mut links = [
        older.links(&[&newer.address]),
        newer.links(&[&older.address]),
    ];
    assert_eq!(older.up(&mut links[0]).await, identity(2));
    assert_eq!(newer.up(&mut links[1]).await, identity(1));
    let request = ForwardedRequest {
        api_version: 6,
        client_id: Some("admin-1".to_owned()),
        client_host: Newer(Some("10.0.0.5".to_owned())),
        request: Some(AdminRequest::DeleteTopics(Default::default())),
    };
    let message = PeerMessage::ControllerRequest {
        id: 1,
        request: ControllerRequest::Client(Box::new(request)),
    };
    for (nth, node) in [&mut newer, &mut older].into_iter().enumerate() {
        let to = BrokerId(2 - nth as i32);
        links[nth].send(to, message.clone()).unwrap();
        match node.event().await {
            LinkEvent::Received { message: heard, .. } => {
                assert_eq!(heard, message.clone().for_version(PeerVersion(9)));
            }
            other => panic!("a message was due, not {other:?}"),
        }
    }
}

#[tokio::test]
async fn nodes_without_a_common_version_tell_each_other_so() {
    let a = Node::speaking(speaks(9, 10), identity(1)).await;
    let b = Node::speaking(speaks(11, 12), identity(2)).await;
    for (from, to) in [(&a, &b), (&b, &a)] {
        let Answerer::Other(words) = who_answers(&to.address, &from.context).await else {
            panic!("it answers")
        };
        assert!(
            words.contains("one minor version of varve at a time"),
            "{words}"
        );
    }
}

#[tokio::test]
async fn a_queue_that_overflows_breaks_the_link_instead_of_growing() {
    let (queue, _end) = LinkQueue::new();
    for n in 0..QUEUE_MESSAGES_MAX as u64 {
        queue.send(heartbeat(n)).unwrap();
    }
    assert_eq!(queue.send(heartbeat(0)), Err(LinkBroken));
}

#[tokio::test]
async fn a_broker_that_moved_is_found_at_a_bootstrap_address() {
    let (mut a, b) = (Node::new(identity(1)).await, Node::new(identity(2)).await);
    let mut links = a.links(&[&a.address, &b.address]);
    let stale = PeerAddresses::from([
        (BrokerId(1), a.address.clone()),
        (BrokerId(2), "127.0.0.1:1".to_owned()),
    ]);
    assert_eq!(links.keep(&stale, true), []);
    assert_eq!(a.up(&mut links).await, identity(2));
    assert_eq!(links.keep(&stale, true), [], "what is kept goes on");
    assert_eq!(links.keep(&PeerAddresses::new(), true), [BrokerId(2)]);
}

#[test]
fn nodes_that_do_not_belong_together_say_why() {
    let own = PeerIdentity {
        cluster: Some(ClusterId(1)),
        ..identity(1)
    };
    let versions = PeerVersions::SUPPORTED;
    let says = |identity, expects| {
        let hello = Hello {
            versions,
            identity,
            expects,
        };
        check_hello(&own, versions, &hello)
    };
    let links = Ok(versions.newest);
    assert_eq!(says(identity(2), None), links);
    assert_eq!(says(own, Some(BrokerId(1))), links);
    assert_eq!(
        says(identity(1), None),
        links,
        "it dialled itself and has joined since"
    );
    let other = PeerIdentity {
        cluster: Some(ClusterId(2)),
        ..identity(2)
    };
    assert!(
        says(other, None)
            .unwrap_err()
            .to_string()
            .contains("belongs to cluster")
    );
    assert!(
        says(identity(2), Some(BrokerId(3)))
            .unwrap_err()
            .to_string()
            .contains("not broker 3")
    );
}

#[tokio::test]
async fn what_is_no_peer_is_told_so_and_dialling_no_peer_fails_in_words() {
    use tokio::io::AsyncWriteExt as _;
    let a = Node::new(identity(1)).await;
    let mut stream = TcpStream::connect(&a.address).await.unwrap();
    stream.write_all(&[0, 0, 0, 4, 0, 18, 0, 0]).await.unwrap();
    let mut reply = Vec::new();
    timeout(SOON, stream.read_to_end(&mut reply))
        .await
        .unwrap()
        .unwrap();
    let Ok((_, HelloReply::Refused(reason))) = decode_hello_reply(&reply[4..]) else {
        panic!()
    };
    assert!(reason.contains("peer listener"), "{reason}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let hang_up = async { drop(listener.accept().await.unwrap()) };
    let (dialled, ()) = tokio::join!(dial(&address, None, &a.context), hang_up);
    assert!(matches!(
        dialled,
        Err(DialError::Unexpected(_) | DialError::Io(_))
    ));
}

#[tokio::test]
async fn a_second_way_to_a_peer_is_tried_ever_more_seldom() {
    let (mut a, b) = (Node::new(identity(1)).await, Node::new(identity(2)).await);
    let mut links = a.links(&[&b.address, &b.address]);
    a.up(&mut links).await;
    let began = tokio::time::Instant::now();
    let mut refused = 0;
    while refused < 6 {
        match a.event().await {
            LinkEvent::Up {
                link,
                identity,
                queue,
            } => {
                assert!(!links.link_up(link, &identity, queue));
                refused += 1;
            }
            LinkEvent::Down { link, broker } => assert!(!links.link_down(link, broker)),
            other => panic!("a second link was due, not {other:?}"),
        }
    }
    // The least that five waits take, each twice as long as the one before.
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(a.context.met.all(), [(BrokerId(2), None)].into());
}

#[tokio::test]
async fn who_answers_at_an_address_is_told_apart() {
    let in_cluster = |broker, cluster| PeerIdentity {
        cluster: Some(ClusterId(cluster)),
        ..identity(broker)
    };
    let a = Node::new(in_cluster(1, 7)).await;
    let sibling = Node::new(in_cluster(2, 7)).await;
    let stranger = Node::new(in_cluster(3, 8)).await;
    assert_eq!(who_answers(&a.address, &a.context).await, Answerer::Itself);
    let other = who_answers(&sibling.address, &a.context).await;
    assert_eq!(other, Answerer::Other("broker 2".to_owned()));
    let Answerer::Other(words) = who_answers(&stranger.address, &a.context).await else {
        panic!()
    };
    assert!(words.contains("broker 3 belongs to cluster"), "{words}");
    let nobody = who_answers("127.0.0.1:1", &a.context).await;
    assert!(matches!(nobody, Answerer::Nobody(_)));
}

#[tokio::test]
async fn a_broker_at_whose_address_nothing_listens_is_told_as_refused() {
    let mut a = Node::new(identity(1)).await;
    let mut links = a.links(&[]);
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let addresses = PeerAddresses::from([(BrokerId(2), address)]);
    assert_eq!(links.keep(&addresses, true), vec![]);
    match a.event().await {
        LinkEvent::Refused(broker) => assert_eq!(broker, BrokerId(2)),
        other => panic!("a refusal was due, not {other:?}"),
    }
}

#[tokio::test]
async fn the_end_of_a_session_is_told_behind_all_that_came_on_it() {
    let (mut a, mut b) = (Node::new(identity(1)).await, Node::new(identity(2)).await);
    let mut links = a.links(&[&b.address]);
    a.up(&mut links).await;
    links.send(BrokerId(2), heartbeat(7)).unwrap();
    let LinkEvent::Received { session, .. } = b.event().await else {
        panic!("a message was due");
    };
    drop(links);
    match b.event().await {
        LinkEvent::SessionClosed {
            from,
            session: closed,
        } => assert_eq!((from, closed), (identity(1), session)),
        other => panic!("the end of the session was due, not {other:?}"),
    }
}

#[tokio::test]
async fn a_session_that_is_closed_ends_and_the_peer_dials_anew() {
    let (mut a, mut b) = (Node::new(identity(1)).await, Node::new(identity(2)).await);
    let mut links = a.links(&[&b.address]);
    a.up(&mut links).await;
    links.send(BrokerId(2), heartbeat(1)).unwrap();
    assert!(matches!(
        b.event().await,
        LinkEvent::Received { session: 1, .. }
    ));
    lock(&b.sessions).close(1);
    assert!(matches!(
        b.event().await,
        LinkEvent::SessionClosed { session: 1, .. }
    ));
    match a.event().await {
        LinkEvent::Down { link, broker } => assert!(links.link_down(link, broker)),
        other => panic!("the end of the link was due, not {other:?}"),
    }
    a.up(&mut links).await;
    links.send(BrokerId(2), heartbeat(2)).unwrap();
    assert!(matches!(
        b.event().await,
        LinkEvent::Received { session: 2, .. }
    ));
}
