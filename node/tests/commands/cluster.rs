//! A `varve dev` of one broker, and commands that ask it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// The binary under test.
pub(crate) fn varve() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_varve"));
    command.env_remove("VARVE_LOG");
    command
}

/// What a command that has ended left behind.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) status: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl CommandOutput {
    /// What it printed, where all went well and nothing else was to be said.
    pub(crate) fn ok(self) -> Vec<u8> {
        assert_eq!((self.status, self.err.as_str()), (0, ""));
        self.out
    }

    /// The same as text.
    pub(crate) fn text(self) -> String {
        String::from_utf8(self.ok()).unwrap()
    }
}

/// Runs a command to its end.
pub(crate) fn run(mut command: Command, input: &[u8]) -> CommandOutput {
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let input = input.to_vec();
    // A command that has seen enough closes its end.
    let writing = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = process.wait_with_output().unwrap();
    writing.join().unwrap();
    CommandOutput {
        status: output.status.code().unwrap_or(-1),
        out: output.stdout,
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Sends a process a signal.
pub(crate) fn send_signal(process: &Child, signal: &str) {
    let mut kill = Command::new("kill");
    kill.args([signal, &process.id().to_string()]);
    run(kill, b"").ok();
}

/// A cluster of one broker or a few, killed when it is dropped.
pub(crate) struct Cluster {
    process: Child,
    /// Removed with the cluster.
    _data: TempDir,
    pub(crate) port: u16,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(more: &[&str]) -> Self {
        Self::of(1, more)
    }

    pub(crate) fn of(nodes: u8, more: &[&str]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let port = free_ports();
        let process = dev(data.path(), port, nodes, more);
        Self {
            process,
            _data: data,
            port,
        }
    }

    pub(crate) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A command that asks this cluster.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = varve();
        command
            .args(arguments)
            .args(["--bootstrap", &self.bootstrap()]);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str], input: &[u8]) -> CommandOutput {
        run(self.command(arguments), input)
    }

    /// Sends the broker a signal.
    pub(crate) fn signal(&self, signal: &str) {
        send_signal(&self.process, signal);
    }

    pub(crate) fn create(&self, topic: &str, partitions: u32) {
        let partitions = partitions.to_string();
        let arguments = ["topic", "create", topic, "--partitions", &partitions];
        self.run(&arguments, b"").ok();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Runs `varve dev`, and waits until it is ready.
fn dev(data: &Path, port: u16, nodes: u8, more: &[&str]) -> Child {
    let nodes = nodes.to_string();
    let mut process = varve()
        .args([
            "dev",
            "--nodes",
            &nodes,
            "--port",
            &port.to_string(),
            "--data",
        ])
        .arg(data)
        .args(more)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let ready = lines
        .by_ref()
        .any(|line| line.unwrap().contains("Ctrl-C stops it"));
    assert!(ready, "the cluster ended before it was ready");
    process
}

/// A port that is free, with the two behind it, and so are those of the peer listeners.
pub(crate) fn free_ports() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if port < 65_000 && (port..port + 3).all(|port| is_free(port) && is_free(port + 100)) {
            return port;
        }
    }
}
