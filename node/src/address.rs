//! Addresses as people write them, and what can be said against them before and after a node listens.
//!
//! A wrong advertised address is the commonest way to make a Kafka cluster that answers and cannot be used: a
//! client connects to the bootstrap address, is told another one, and fails there. So each is looked at when the
//! file is read ([`Address::check_advertised`]), tried when the node listens ([`diagnose`]), and asked who is there when
//! the node is ready ([`diagnose_answers`]).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use varve_core::ids::{BrokerId, ClusterId};
use varve_core::wire::MetadataResponse;
use varve_net::client::{Client, ClientError, host_and_port};

/// A host and a port. IPv6 addresses stand in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Host name or address, without brackets.
    pub(crate) host: String,
    /// Port; 0 where the operating system is to choose one.
    pub(crate) port: u16,
}

/// The text is no address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InvalidAddress(String);

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no address: it takes host:port, as in broker1.example.com:9092",
            self.0
        )
    }
}

impl std::error::Error for InvalidAddress {}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let port = port.parse().map_err(|_| invalid())?;
        let host = match host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
        {
            Some(host) => host,
            // Two colons without brackets could be read in two ways.
            None if host.contains([':', '[', ']']) => return Err(invalid()),
            None => host,
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/') {
            return Err(invalid());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&host_and_port(&self.host, self.port))
    }
}

impl Address {
    /// Whether others can be told to connect there, as far as the words alone can show.
    ///
    /// # Errors
    /// The reason why not.
    pub(crate) fn check_advertised(&self) -> Result<(), String> {
        if self
            .host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_unspecified())
        {
            return Err(format!(
                "{} means every address of this machine, and nobody can connect to that",
                self.host
            ));
        }
        if self.port == 0 {
            return Err("nobody can connect to port 0".to_owned());
        }
        Ok(())
    }

    /// Whether two listeners cannot both have these addresses.
    #[must_use]
    pub(crate) fn collides(&self, other: &Self) -> bool {
        // Port 0 is one that the operating system chooses.
        if self.port == 0 || self.port != other.port {
            return false;
        }
        let covers = |one: &Self, another: &Self| {
            let ip = one.host.parse::<IpAddr>();
            ip.is_ok_and(|ip| ip.is_unspecified())
                || one.host == "localhost" && another.is_loopback()
        };
        self.host == other.host || covers(self, other) || covers(other, self)
    }

    /// Whether it leads to this machine alone.
    #[must_use]
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// How long an address may take to answer this node itself.
const REACH_MAX: Duration = Duration::from_secs(3);

/// Looks an advertised address up and connects to it, while the node listens on `listen`. Tells what may be wrong with
/// it: it may also be meant so, since others resolve and reach other names than this node does.
pub(crate) async fn diagnose(
    advertised: &Address,
    listen: SocketAddr,
    others: bool,
) -> Option<String> {
    let target = advertised.to_string();
    if resolve(&target).await.is_empty() {
        return Some(format!(
            "the advertised address {target} cannot be resolved here. That is as it should be only where the name is \
             one for clients alone; otherwise spell it as DNS or /etc/hosts do"
        ));
    }
    match timeout(REACH_MAX, TcpStream::connect(&target)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            return Some(format!(
                "the advertised address {target} does not lead back to this node, which listens on {listen} \
                 ({error}). That is as it should be only behind a port mapping; otherwise clients are told an \
                 address that does not work"
            ));
        }
        Err(_) => {
            return Some(format!(
                "the advertised address {target} does not answer this node, which listens on {listen}: a \
                 firewall may keep clients out too"
            ));
        }
    }
    if others && advertised.is_loopback() && !listen.ip().is_loopback() {
        return Some(format!(
            "the advertised address {target} leads every machine to itself, so only clients on this one can \
             use it, while the node listens for others on {listen}"
        ));
    }
    None
}

/// The addresses of a `host:port`, as this machine knows them.
async fn resolve(target: &str) -> Vec<SocketAddr> {
    match timeout(REACH_MAX, tokio::net::lookup_host(target)).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

/// Asks at the advertised address of a node that is ready which cluster answers, and at the node itself whether another
/// broker is told by the same address. The protocol names no broker that answers, so only that can be seen.
pub(crate) async fn diagnose_answers(
    advertised: &Address,
    listen: SocketAddr,
    (own, cluster): (BrokerId, ClusterId),
) -> Option<String> {
    let target = advertised.to_string();
    // That nobody answers there has been said.
    if let Ok(there) = ask(&target).await
        && let Some(theirs) = there.cluster_id
        && theirs.as_str() != cluster.to_string()
    {
        return Some(format!(
            "the advertised address {target} leads to a broker of cluster {}, while this node belongs to {cluster}: \
             clients that are told it go astray",
            theirs.as_str()
        ));
    }
    let here = resolve(&target).await;
    let known = ask(&listen.to_string()).await.ok()?;
    for broker in known.brokers.iter().filter(|b| b.node_id != own.0) {
        let other = Address {
            host: broker.host.as_str().to_owned(),
            port: u16::try_from(broker.port).ok()?,
        };
        let theirs = resolve(&other.to_string()).await;
        if other == *advertised || theirs.iter().any(|address| here.contains(address)) {
            return Some(format!(
                "the advertised address {target} is that of broker {} too: clients of one of the two reach the \
                 other",
                broker.node_id
            ));
        }
    }
    None
}

async fn ask(target: &str) -> Result<MetadataResponse, ClientError> {
    let mut client = Client::connect(vec![target.to_owned()]).await?;
    client.metadata(Some(&[])).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use varve_core::cluster::ConfigMap;
    use varve_core::ids::DirectoryId;
    use varve_core::peer::PeerVersions;
    use varve_core::store::{BootId, StoreOptions};
    use varve_net::directory::format_first;
    use varve_net::driver::Progress;
    use varve_net::files::RealDisk;
    use varve_net::node::{ListenerSettings, NodeSettings};

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, host, port) in [
            ("broker1:9092", "broker1", 9092),
            ("10.1.2.3:1", "10.1.2.3", 1),
            ("[::1]:9092", "::1", 9092),
            ("localhost:0", "localhost", 0),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.to_string(), text);
        }
        for text in [
            "",
            "broker1",
            "broker1:",
            ":9092",
            "b:70000",
            "::1:9092",
            "a b:1",
            "http://b:1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn listeners_collide_where_one_port_of_an_address_would_be_both() {
        let collide = |one: &str, another: &str| {
            let (one, another): (Address, Address) =
                (one.parse().unwrap(), another.parse().unwrap());
            assert_eq!(one.collides(&another), another.collides(&one));
            one.collides(&another)
        };
        assert!(collide("10.0.0.1:1", "10.0.0.1:1"));
        assert!(collide("0.0.0.0:1", "10.0.0.1:1"));
        assert!(collide("[::]:1", "127.0.0.1:1"));
        assert!(collide("localhost:1", "[::1]:1"));
        assert!(!collide("10.0.0.1:1", "10.0.0.1:2"));
        assert!(!collide("10.0.0.1:1", "10.0.0.2:1"));
        assert!(!collide("127.0.0.1:1", "127.0.0.2:1"));
        assert!(!collide("0.0.0.0:0", "0.0.0.0:0"));
    }

    #[tokio::test]
    async fn a_wrong_advertised_address_is_told_in_words() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = listener.local_addr().unwrap();
        let good: Address = listen.to_string().parse().unwrap();
        assert_eq!(diagnose(&good, listen, false).await, None);

        let unknown: Address = "no-such-host.invalid:9092".parse().unwrap();
        let words = diagnose(&unknown, listen, false).await.unwrap();
        assert!(words.contains("cannot be resolved"), "{words}");

        drop(listener);
        let words = diagnose(&good, listen, false).await.unwrap();
        assert!(words.contains("does not lead back"), "{words}");

        let wide: SocketAddr = "0.0.0.0:9092".parse().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local: Address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let words = diagnose(&local, wide, true).await.unwrap();
        assert!(words.contains("only clients on this one"), "{words}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_address_that_leads_to_another_cluster_or_is_that_of_another_broker_is_told() {
        let data = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(data.path()).unwrap();
        let (own, cluster) = (BrokerId(1), ClusterId(7));
        let store = StoreOptions {
            journal_file_bytes: 1 << 20,
            journal_files: 1,
            reserve_bytes: 0,
            ..StoreOptions::default()
        };
        let id = DirectoryId(1);
        format_first(&disk, own, id, cluster, store, BootId::UNKNOWN).unwrap();
        let listener = || ListenerSettings {
            name: "clients".to_owned(),
            listen: "127.0.0.1:0".to_owned(),
            advertised: ("127.0.0.1".to_owned(), 0),
        };
        let settings = NodeSettings {
            broker: own,
            rack: None,
            listeners: vec![listener()],
            peers: listener(),
            peer_versions: PeerVersions::SUPPORTED,
            bootstrap: Vec::new(),
            kafka: ConfigMap::new(),
            seed: 1,
            boot: BootId::UNKNOWN,
            store,
            descriptors: varve_net::descriptors::Descriptors::share(1024, 1).unwrap(),
        };
        let node = varve_net::node::start(disk, settings).await.unwrap();
        assert_eq!(node.ready().await, Progress::Ready);
        let listen = node.listening[0];
        let advertised: Address = listen.to_string().parse().unwrap();
        let says = async |own, cluster| diagnose_answers(&advertised, listen, (own, cluster)).await;

        assert_eq!(says(own, cluster).await, None);
        let words = says(own, ClusterId(8)).await.unwrap();
        assert!(words.contains("leads to a broker of cluster"), "{words}");
        let words = says(BrokerId(2), cluster).await.unwrap();
        assert!(words.contains("is that of broker 1 too"), "{words}");
        node.stop();
        node.stopped().await;
    }
}
