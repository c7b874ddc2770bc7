//! The configuration file of one node.
//!
//! TOML, read strictly: a key that is not known and a value that makes no sense are refused with their line and
//! the reason, since a setting that silently does nothing is worse than none. `varve.example.toml` beside this
//! crate names every key with its default; a test holds the two together.
//!
//! Broker settings stand under Kafka's own names in `[broker]`, written as TOML's dotted keys
//! (`num.partitions = 6`), with Kafka's defaults and meanings.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor};
use toml::Spanned;
use varve_core::cluster::{
    BrokerConfig, ClusterImage, ConfigEntry, ConfigMap, Configs, InvalidConfig,
};
use varve_core::ids::BrokerId;

use crate::address::Address;

/// A node's configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// Kafka's `node.id`.
    pub(crate) id: BrokerId,
    /// The log directory.
    pub(crate) data: PathBuf,
    /// Kafka's `broker.rack`.
    pub(crate) rack: Option<String>,
    /// Where clients come in, one at least.
    pub(crate) listeners: Vec<Listener>,
    /// Where peers come in.
    pub(crate) peers: Listener,
    /// Peer addresses of nodes through which this one finds the cluster.
    pub(crate) bootstrap: Vec<Address>,
    /// Broker settings by Kafka's names; those that are not here have their defaults.
    pub(crate) broker: ConfigMap,
}

/// Somewhere that connections come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    /// Its name, told apart from the others' by clients' administrators only.
    pub(crate) name: String,
    /// The address that the node listens on.
    pub(crate) listen: Address,
    /// The address that others are told to connect to.
    pub(crate) advertised: Address,
}

/// Why a configuration is refused.
#[derive(Debug)]
pub(crate) struct ConfigError {
    /// The file.
    path: PathBuf,
    /// The line, from 1, where one is to blame.
    line: Option<usize>,
    /// The reason.
    reason: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}, line {line}: {}", self.path.display(), self.reason),
            None => write!(f, "{}: {}", self.path.display(), self.reason),
        }
    }
}

impl std::error::Error for ConfigError {}

/// What is wrong, and which bytes of the file say it.
struct Fault {
    span: Option<Range<usize>>,
    reason: String,
}

impl Fault {
    fn at<T>(value: &Spanned<T>, reason: impl Into<String>) -> Self {
        Self {
            span: Some(value.span()),
            reason: reason.into(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    node: NodeTable,
    #[serde(default)]
    listeners: Vec<Spanned<ListenerTable>>,
    peers: Spanned<ListenerTable>,
    #[serde(default)]
    cluster: ClusterTable,
    #[serde(default)]
    broker: Dotted,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeTable {
    id: Spanned<i64>,
    data: Spanned<String>,
    rack: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenerTable {
    name: Option<Spanned<String>>,
    listen: Spanned<String>,
    advertised: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct ClusterTable {
    #[serde(default)]
    bootstrap: Vec<Spanned<String>>,
}

/// Settings by dotted name, in the order of the file. TOML reads `a.b = 1` as a table in a table.
#[derive(Debug, Default)]
struct Dotted(Vec<(Spanned<String>, String)>);

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`], in words for whoever wrote the file.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed = |line, reason| ConfigError {
            path: path.to_owned(),
            line,
            reason,
        };
        let text =
            std::fs::read_to_string(path).map_err(|error| failed(None, error.to_string()))?;
        Self::parse(&text).map_err(|fault| {
            let line = fault.span.map(|span| line_of(&text, span.start));
            failed(line, fault.reason)
        })
    }

    fn parse(text: &str) -> Result<Self, Fault> {
        let file: File = toml::from_str(text).map_err(|error| Fault {
            span: error.span(),
            reason: error.message().to_owned(),
        })?;
        let id = i32::try_from(*file.node.id.get_ref())
            .ok()
            .filter(|&id| id >= 0);
        let id = id.ok_or_else(|| {
            Fault::at(
                &file.node.id,
                format!("a node's id is a number from 0 to {}", i32::MAX),
            )
        })?;
        if file.node.data.get_ref().is_empty() {
            return Err(Fault::at(
                &file.node.data,
                "the log directory has an empty name",
            ));
        }
        check_ports(file.listeners.iter().chain([&file.peers]))?;
        Ok(Self {
            id: BrokerId(id),
            data: PathBuf::from(file.node.data.into_inner()),
            rack: file.node.rack.map(Spanned::into_inner),
            listeners: client_listeners(file.listeners)?,
            peers: listener(&file.peers, "peers")?,
            bootstrap: bootstrap(&file.cluster.bootstrap)?,
            broker: broker_settings(BrokerId(id), file.broker)?,
        })
    }
}

/// Sees that no two listeners take one port of the same address.
fn check_ports<'a>(tables: impl Iterator<Item = &'a Spanned<ListenerTable>>) -> Result<(), Fault> {
    let mut taken: Vec<Address> = Vec::new();
    for table in tables {
        let listen = &table.get_ref().listen;
        // One that cannot be read is refused for that.
        let Ok(address) = listen.get_ref().parse::<Address>() else {
            continue;
        };
        if let Some(other) = taken.iter().find(|other| other.collides(&address)) {
            let reason =
                format!("two listeners cannot both have the port of {other}: give each its own");
            return Err(Fault::at(listen, reason));
        }
        taken.push(address);
    }
    Ok(())
}

fn client_listeners(tables: Vec<Spanned<ListenerTable>>) -> Result<Vec<Listener>, Fault> {
    if tables.is_empty() {
        return Err(Fault {
            span: None,
            reason: "there is no [[listeners]]: clients need one to connect to".to_owned(),
        });
    }
    let mut listeners: Vec<Listener> = Vec::new();
    for table in tables {
        let listener = listener(&table, "clients")?;
        if listeners.iter().any(|other| other.name == listener.name) {
            let reason = format!(
                "two listeners are named `{}`: give each a `name` of its own",
                listener.name
            );
            return Err(Fault::at(&table, reason));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

fn listener(table: &Spanned<ListenerTable>, default_name: &str) -> Result<Listener, Fault> {
    let ListenerTable {
        name,
        listen,
        advertised,
    } = table.get_ref();
    let address = |text: &Spanned<String>| {
        text.get_ref()
            .parse::<Address>()
            .map_err(|error| Fault::at(text, error.to_string()))
    };
    let listen_address = address(listen)?;
    let advertised_address = match advertised {
        Some(text) => {
            let advertised = address(text)?;
            advertised
                .check_advertised()
                .map_err(|reason| Fault::at(text, reason))?;
            advertised
        }
        None => {
            listen_address.check_advertised().map_err(|reason| {
                Fault::at(
                    listen,
                    format!("{reason}; set `advertised` to one that they can reach"),
                )
            })?;
            listen_address.clone()
        }
    };
    Ok(Listener {
        name: name
            .as_ref()
            .map_or(default_name, |name| name.get_ref())
            .to_owned(),
        listen: listen_address,
        advertised: advertised_address,
    })
}

fn bootstrap(addresses: &[Spanned<String>]) -> Result<Vec<Address>, Fault> {
    addresses
        .iter()
        .map(|text| {
            let address: Address = text
                .get_ref()
                .parse()
                .map_err(|error| Fault::at(text, format!("{error}")))?;
            address
                .check_advertised()
                .map_err(|reason| Fault::at(text, reason))?;
            Ok(address)
        })
        .collect()
}

fn broker_settings(id: BrokerId, settings: Dotted) -> Result<ConfigMap, Fault> {
    let mut checked = ConfigMap::new();
    for (name, value) in settings.0 {
        check_setting(id, name.get_ref(), &value).map_err(|error| match error {
            SettingError::SetElsewhere(instead) => {
                let reason = format!("`{}` is not set here, but by {instead}", name.get_ref());
                Fault::at(&name, reason)
            }
            SettingError::Invalid(reason) => Fault::at(&name, reason),
        })?;
        checked.insert(name.into_inner(), value);
    }
    Ok(checked)
}

/// Why a broker setting is refused.
#[derive(Debug)]
pub(crate) enum SettingError {
    /// A configuration file says it by this key of its own.
    SetElsewhere(&'static str),
    /// It is unknown, or its value makes no sense.
    Invalid(String),
}

/// Judges one broker setting by itself.
pub(crate) fn check_setting(id: BrokerId, name: &str, value: &str) -> Result<(), SettingError> {
    if let Some((_, instead)) = SET_ELSEWHERE.iter().find(|(key, _)| *key == name) {
        return Err(SettingError::SetElsewhere(instead));
    }
    let one = ConfigMap::from([(name.to_owned(), value.to_owned())]);
    BrokerConfig::new(id, one).map(drop).map_err(|error| {
        SettingError::Invalid(match error {
            InvalidConfig::UnknownBrokerKey(key) => {
                let near = nearest(id, &key);
                format!("`{key}` is no broker setting; did you mean `{near}`?")
            }
            InvalidConfig::Value { key, value, why } => {
                format!("`{key}` cannot be {value}: {why}")
            }
            InvalidConfig::UnknownTopicKey(_)
            | InvalidConfig::Null(_)
            | InvalidConfig::CompactionLags { .. } => error.to_string(),
        })
    })
}

/// What Kafka sets among its broker settings and this file sets by keys of its own.
const SET_ELSEWHERE: &[(&str, &str)] = &[
    ("advertised.listeners", "`advertised` of each [[listeners]]"),
    ("broker.id", "`id` in [node]"),
    ("broker.rack", "`rack` in [node]"),
    ("listeners", "`listen` of each [[listeners]]"),
    ("log.dir", "`data` in [node]"),
    ("log.dirs", "`data` in [node]"),
    ("node.id", "`id` in [node]"),
];

/// Every broker setting that the file can make, with core's default of it.
fn known_settings(id: BrokerId) -> Vec<ConfigEntry> {
    let broker = BrokerConfig::new(id, ConfigMap::new()).expect("no value is no bad value");
    let mut entries = Configs {
        image: &ClusterImage::default(),
        broker: &broker,
    }
    .broker_entries();
    entries.retain(|entry| SET_ELSEWHERE.iter().all(|(key, _)| *key != entry.name));
    entries
}

/// The known name that is most like a mistyped one.
fn nearest(id: BrokerId, name: &str) -> &'static str {
    let known = known_settings(id).into_iter().map(|entry| entry.name);
    known
        .min_by_key(|known| distance(known, name))
        .expect("there are settings")
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())]
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count()
        + 1
}

impl<'de> Deserialize<'de> for Dotted {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut settings = Vec::new();
        match deserializer.deserialize_any(TreeVisitor)? {
            Tree::Table(table) => flatten(None, table, &mut settings),
            Tree::Value(_) => return Err(de::Error::custom("[broker] is a table")),
        }
        Ok(Self(settings))
    }
}

enum Tree {
    Table(Vec<(Spanned<String>, Self)>),
    Value(String),
}

fn flatten(
    prefix: Option<&str>,
    table: Vec<(Spanned<String>, Tree)>,
    settings: &mut Vec<(Spanned<String>, String)>,
) {
    for (key, tree) in table {
        let name = match prefix {
            Some(prefix) => format!("{prefix}.{}", key.get_ref()),
            None => key.get_ref().clone(),
        };
        match tree {
            Tree::Table(table) => flatten(Some(&name), table, settings),
            Tree::Value(value) => settings.push((Spanned::new(key.span(), name), value)),
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word, a number, true or false")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Value(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Value(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Value(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Value(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Value(value.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut table = Vec::new();
        while let Some(entry) = map.next_entry::<Spanned<String>, Tree>()? {
            table.push(entry);
        }
        Ok(Tree::Table(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../varve.example.toml");

    const MINIMAL: &str = r#"
[node]
id = 3
data = "/tmp/varve"

[[listeners]]
listen = "10.0.0.3:9092"

[peers]
listen = "0.0.0.0:9192"
advertised = "node3:9192"
"#;

    fn refused(text: &str) -> String {
        let path = Path::new("varve.toml");
        match Config::parse(text) {
            Ok(config) => panic!("accepted as {config:?}"),
            Err(fault) => ConfigError {
                path: path.to_owned(),
                line: fault.span.map(|span| line_of(text, span.start)),
                reason: fault.reason,
            }
            .to_string(),
        }
    }

    fn parse(text: &str) -> Config {
        Config::parse(text).map_err(|fault| fault.reason).unwrap()
    }

    #[test]
    fn a_minimal_file_is_enough() {
        let config = parse(MINIMAL);
        assert_eq!(config.id, BrokerId(3));
        assert_eq!(config.listeners[0].advertised.to_string(), "10.0.0.3:9092");
        assert_eq!(config.peers.advertised.to_string(), "node3:9192");
        assert_eq!(config.broker, ConfigMap::new());
    }

    #[test]
    fn the_example_is_accepted_as_it_stands_and_with_every_line_uncommented() {
        parse(EXAMPLE);
        let config = parse(&uncommented());
        assert!(config.rack.is_some());
        assert_eq!(config.listeners.len(), 2);
        assert_eq!(config.bootstrap.len(), 3);
    }

    /// The example's commented settings start with `#` and no space, its prose with `# `.
    fn uncommented() -> String {
        let lines = EXAMPLE.lines().map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && !rest.is_empty() => rest,
            Some(_) | None => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_example_names_every_setting_with_its_default() {
        let config = parse(&uncommented());
        let known = known_settings(config.id);
        for entry in &known {
            let named = config.broker.get(entry.name);
            assert!(named.is_some(), "{} is missing", entry.name);
            assert!(
                entry.value.is_none() || named == entry.value.as_ref(),
                "{}",
                entry.name
            );
        }
        assert_eq!(config.broker.len(), known.len());
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let says = refused(&MINIMAL.replace("data =", "dir = \"/x\"\ndata ="));
        assert!(
            says.starts_with("varve.toml, line 4: unknown field `dir`"),
            "{says}"
        );
        let says = refused(&format!("{MINIMAL}\n[broker]\nnum.partition = 3\n"));
        assert_eq!(
            says,
            "varve.toml, line 14: `num.partition` is no broker setting; did you mean `num.partitions`?"
        );
    }

    #[test]
    fn a_bad_value_is_refused_with_its_line_and_what_would_be_good() {
        let says = refused(&format!("{MINIMAL}\n[broker]\nmin.insync.replicas = 0\n"));
        assert!(says.contains("line 14"), "{says}");
        assert!(says.contains("`min.insync.replicas` cannot be 0"), "{says}");
        let says = refused(&format!("{MINIMAL}\n[broker]\nlog.dirs = \"/x\"\n"));
        assert!(
            says.contains("line 14") && says.contains("`data` in [node]"),
            "{says}"
        );
        let says = refused(&MINIMAL.replace("id = 3", "id = -3"));
        assert!(says.contains("line 3"), "{says}");
        let says = refused(&MINIMAL.replace("10.0.0.3:9092", "10.0.0.3"));
        assert!(
            says.contains("line 7") && says.contains("host:port"),
            "{says}"
        );
        let says = refused(&MINIMAL.replace("id = 3", "id = \"three\""));
        assert!(says.contains("line 3"), "{says}");
    }

    #[test]
    fn an_address_that_nobody_can_connect_to_is_refused_in_words() {
        let says = refused(&MINIMAL.replace("10.0.0.3:9092", "0.0.0.0:9092"));
        assert!(
            says.contains("line 7") && says.contains("set `advertised`"),
            "{says}"
        );
        let says = refused(&MINIMAL.replace("node3:9192", "0.0.0.0:9192"));
        assert!(says.contains("line 11"), "{says}");
        let says = refused(&MINIMAL.replace("node3:9192", "node3:0"));
        assert!(says.contains("line 11"), "{says}");
    }

    #[test]
    fn listeners_of_one_name_are_refused() {
        let says = refused(&format!(
            "{MINIMAL}\n[[listeners]]\nlisten = \"10.0.0.3:9093\"\n"
        ));
        assert!(says.contains("two listeners are named"), "{says}");
        let says = refused(&MINIMAL.replace("[[listeners]]\nlisten = \"10.0.0.3:9092\"", ""));
        assert!(says.contains("[[listeners]]"), "{says}");
    }

    #[test]
    fn one_port_for_two_listeners_is_refused() {
        let says = refused(&MINIMAL.replace("0.0.0.0:9192", "0.0.0.0:9092"));
        assert!(
            says.contains("line 10: two listeners cannot both have the port of 10.0.0.3:9092"),
            "{says}"
        );
        let more =
            |listen| format!("{MINIMAL}\n[[listeners]]\nname = \"b\"\nlisten = \"{listen}\"\n");
        let says = refused(&more("10.0.0.3:9092"));
        assert!(says.contains("two listeners cannot"), "{says}");
        parse(&more("10.0.0.4:9092"));
        parse(&more("10.0.0.3:9093"));
        parse(
            &MINIMAL
                .replace(
                    "listen = \"10.0.0.3:9092\"",
                    "listen = \"10.0.0.3:0\"\nadvertised = \"a:1\"",
                )
                .replace("0.0.0.0:9192", "0.0.0.0:0"),
        );
    }
}
