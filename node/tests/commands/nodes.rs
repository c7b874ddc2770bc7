//! `varve dev`, `format` and `start`: what they say, wait for, and leave behind.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Lines};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::{Cluster, CommandOutput, free_ports, run, varve};

/// A node's directory and configuration.
struct Node {
    root: TempDir,
    port: u16,
}

impl Node {
    fn new() -> Self {
        Self::listening("127.0.0.1", free_ports(), 100)
    }

    fn listening(host: &str, port: u16, peers_above: u16) -> Self {
        let root = tempfile::tempdir().unwrap();
        let node = Self { root, port };
        let peers = port + peers_above;
        let data = node.data();
        let text = format!(
            "[node]\nid = 1\ndata = {data:?}\n[[listeners]]\nlisten = \"{host}:{port}\"\n\
             [peers]\nlisten = \"{host}:{peers}\"\n"
        );
        fs::write(node.config(), text).unwrap();
        node
    }

    fn config(&self) -> PathBuf {
        self.root.path().join("node.toml")
    }

    fn data(&self) -> PathBuf {
        self.root.path().join("deep/data")
    }

    fn command(&self, name: &str) -> Command {
        let mut command = varve();
        command.arg(name).arg("--config").arg(self.config());
        command
    }

    fn run(&self, name: &str) -> CommandOutput {
        run(self.command(name), b"")
    }

    fn start(&self) -> Running {
        let process = self.command("start").stdout(Stdio::piped()).spawn();
        let mut process = process.unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Running { process, lines }
    }
}

/// A node that runs, killed when it is dropped.
struct Running {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// Waits until it says this.
    fn says(&mut self, words: &str) {
        let mut said = Vec::new();
        for line in self.lines.by_ref() {
            said.push(line.unwrap());
            if said.last().unwrap().contains(words) {
                return;
            }
        }
        panic!("it ended without {words:?}, and said {said:?}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[test]
fn a_trial_cluster_takes_broker_settings() {
    let settings = [
        "--set",
        "num.partitions=4",
        "--set",
        "message.max.bytes=2000",
    ];
    let cluster = Cluster::start_with(&settings);
    cluster.run(&["topic", "create", "t"], b"").ok();
    let text = cluster
        .run(&["topic", "describe", "t", "--json"], b"")
        .text();
    let described: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(described["partitions"].as_array().unwrap().len(), 4);
    let large = cluster.run(&["produce", "t"], &[b'x'; 3000]);
    assert!(
        large.err.contains("max.message.bytes is 2000"),
        "{}",
        large.err
    );
}

#[test]
fn a_node_waits_for_whoever_is_letting_go_of_its_directory() {
    let node = Node::new();
    node.run("format").text();
    let lock = File::create(node.data().join(".lock")).unwrap();
    lock.lock().unwrap();
    let mut running = node.start();
    running.says("Waiting up to 10 seconds, since the log directory");
    drop(lock);
    running.says("Node 1 is ready");

    // A restart right behind a kill.
    running.process.kill().unwrap();
    node.start().says("Node 1 is ready");
}

#[test]
fn a_directory_that_stays_in_use_is_given_up() {
    let node = Node::new();
    node.run("format").text();
    let lock = File::create(node.data().join(".lock")).unwrap();
    lock.lock().unwrap();
    let begun = Instant::now();
    let ended = node.run("start");
    assert!(begun.elapsed() >= Duration::from_secs(10));
    assert_eq!(ended.status, 1);
    assert!(
        ended.err.contains("is in use by another process"),
        "{}",
        ended.err
    );
}

#[test]
fn a_format_that_fails_says_why_and_leaves_nothing() {
    let node = Node::new();
    // No file can be as long as a journal is.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\""]);
    limited.arg(env!("CARGO_BIN_EXE_varve"));
    limited.arg("format").arg("--config").arg(node.config());
    let ended = run(limited, b"");
    assert_eq!(ended.status, 1, "{ended:?}");
    assert!(ended.err.contains("File too large"), "{}", ended.err);
    assert_eq!(names(node.root.path()), ["node.toml"]);

    let said = node.run("format").text();
    assert!(
        said.contains("a node needs 320.00 MiB before its first record"),
        "{said}"
    );
    assert!(said.contains("is made, of node 1 so far"), "{said}");
    let before = names(&node.data());
    let again = node.run("format");
    assert_eq!(again.status, 1);
    assert!(again.err.contains("is formatted already"), "{}", again.err);
    assert_eq!(names(&node.data()), before);
}

#[test]
fn a_format_warns_of_what_is_not_varves() {
    let node = Node::new();
    fs::create_dir_all(node.data().join("lost+found")).unwrap();
    for name in ["meta.properties", "topic-0"] {
        fs::write(node.data().join(name), b"").unwrap();
    }
    let ended = node.run("format");
    assert_eq!(ended.status, 0);
    assert!(
        ended
            .err
            .contains("holds what varve has not made: meta.properties, topic-0."),
        "{}",
        ended.err
    );
    assert!(node.data().join("topic-0").exists());
}

#[test]
fn a_configuration_that_cannot_work_is_a_wrong_call() {
    let node = Node::listening("127.0.0.1", free_ports(), 0);
    for command in ["format", "start"] {
        let ended = node.run(command);
        assert_eq!(ended.status, 2, "{ended:?}");
        assert!(
            ended
                .err
                .contains("two listeners cannot both have the port"),
            "{}",
            ended.err
        );
    }
    assert_eq!(names(node.root.path()), ["node.toml"]);
    fs::remove_file(node.config()).unwrap();
    assert_eq!(node.run("start").status, 2);
}

#[test]
fn a_peer_listener_is_recognised_where_clients_should_connect() {
    let cluster = Cluster::start();
    let peers = format!("127.0.0.1:{}", cluster.port + 100);
    let ask = |bootstrap: &str| {
        let mut command = varve();
        command.args(["topic", "list", "--bootstrap", bootstrap]);
        run(command, b"")
    };
    let ended = ask(&peers);
    assert_eq!(ended.status, 1);
    let words = format!("{peers}: this is the peer listener of a varve node: clients connect to");
    assert!(ended.err.contains(&words), "{}", ended.err);
    ask(&format!("{peers},{}", cluster.bootstrap())).ok();
}

#[test]
fn an_ipv6_address_is_printed_as_it_is_given() {
    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let node = Node::listening("[::1]", free_ports(), 100);
    node.run("format").text();
    let mut running = node.start();
    running.says("Node 1 is ready");
    let address = format!("[::1]:{}", node.port);
    let ask = |arguments: &[&str], input: &[u8]| {
        let mut command = varve();
        command.args(arguments).args(["--bootstrap", &address]);
        run(command, input)
    };
    let status: Value =
        serde_json::from_str(&ask(&["cluster", "status", "--json"], b"").text()).unwrap();
    assert_eq!(status["brokers"][0]["address"], address.as_str());
    ask(&["topic", "create", "t"], b"").ok();
    ask(&["produce", "t"], b"a\n").ok();
    assert_eq!(ask(&["consume", "t"], b"").ok(), b"a\n");
}

#[test]
fn a_node_outlives_whoever_read_what_it_says() {
    let node = Node::new();
    node.run("format").text();
    let mut command = node.command("start");
    command.env("VARVE_LOG", "debug");
    let process = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = process.spawn().unwrap();
    drop((process.stdout.take(), process.stderr.take()));
    let address = format!("127.0.0.1:{}", node.port);
    let created = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        let mut command = varve();
        command.args(["topic", "create", "t", "--bootstrap", &address]);
        run(command, b"").status == 0
    });
    assert!(created, "the node is {:?}", process.try_wait());
    process.kill().unwrap();
    process.wait().unwrap();
}
