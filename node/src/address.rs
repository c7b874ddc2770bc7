//! Addresses as people write them, and what can be said against them before and after a node listens.
//!
//! A wrong advertised address is the commonest way to make a Kafka cluster that answers and cannot be used: a
//! client connects to the bootstrap address, is told another one, and fails there. So each is looked at when the
//! file is read ([`Address::check_advertised`]) and tried when the node listens ([`diagnose`]).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

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
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
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

    /// Whether it leads to this machine alone.
    #[must_use]
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// What is wrong with an advertised address, once the node listens.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Diagnosis {
    /// Nothing that could be found.
    Good,
    /// It cannot work.
    Wrong(String),
    /// It may be meant so, as behind a port mapping, or it may not.
    Doubtful(String),
}

/// How long an address may take to answer this node itself.
const REACH_MAX: Duration = Duration::from_secs(3);

/// Looks an advertised address up and connects to it, while the node listens on `listen`.
pub(crate) async fn diagnose(advertised: &Address, listen: SocketAddr, others: bool) -> Diagnosis {
    let target = advertised.to_string();
    let resolved = timeout(REACH_MAX, tokio::net::lookup_host(target.clone())).await;
    let found = match resolved {
        Ok(Ok(addresses)) => addresses.count() > 0,
        Ok(Err(_)) | Err(_) => false,
    };
    if !found {
        return Diagnosis::Wrong(format!(
            "the advertised address {target} cannot be resolved here: is the host name spelled as in DNS or \
             /etc/hosts?"
        ));
    }
    match timeout(REACH_MAX, TcpStream::connect(&target)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            return Diagnosis::Doubtful(format!(
                "the advertised address {target} does not lead back to this node, which listens on {listen} \
                 ({error}). That is as it should be only behind a port mapping; otherwise clients are told an \
                 address that does not work"
            ));
        }
        Err(_) => {
            return Diagnosis::Doubtful(format!(
                "the advertised address {target} does not answer this node, which listens on {listen}: a \
                 firewall may keep clients out too"
            ));
        }
    }
    if others && advertised.is_loopback() && !listen.ip().is_loopback() {
        return Diagnosis::Doubtful(format!(
            "the advertised address {target} leads every machine to itself, so only clients on this one can \
             use it, while the node listens for others on {listen}"
        ));
    }
    Diagnosis::Good
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[tokio::test]
    async fn a_wrong_advertised_address_is_told_in_words() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = listener.local_addr().unwrap();
        let good: Address = listen.to_string().parse().unwrap();
        assert_eq!(diagnose(&good, listen, false).await, Diagnosis::Good);

        let unknown: Address = "no-such-host.invalid:9092".parse().unwrap();
        let Diagnosis::Wrong(words) = diagnose(&unknown, listen, false).await else {
            panic!()
        };
        assert!(words.contains("cannot be resolved"), "{words}");

        drop(listener);
        let Diagnosis::Doubtful(words) = diagnose(&good, listen, false).await else {
            panic!()
        };
        assert!(words.contains("does not lead back"), "{words}");

        let wide: SocketAddr = "0.0.0.0:9092".parse().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local: Address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let Diagnosis::Doubtful(words) = diagnose(&local, wide, true).await else {
            panic!()
        };
        assert!(words.contains("only clients on this one"), "{words}");
    }
}
