"""Clusters to check against: `varve dev`, several `varve start`, and Apache Kafka as the oracle.

A cluster is a list of nodes, one process each, on loopback ports. A node can be killed, paused, resumed and
started again; everything is stopped by process id when the `with` block of its cluster ends. This module knows how
each program is configured and started, and nothing of what is checked.
"""

import json
import os
import random
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import install

HOST = "127.0.0.1"


class StartError(Exception):
    """A node did not come up; the message ends with the last lines of its output."""


def free_ports(offsets) -> list:
    """Ports at these distances from one another, on which nobody listens.

    They lie below those that the system gives to outgoing connections: a client that tries again and again to reach a
    broker that is down would in the end be given the broker's own port, and connect to itself.
    """
    first_ports = list(range(20_000, 32_000, 250))
    random.shuffle(first_ports)
    for first in first_ports:
        ports = [first + offset for offset in offsets]
        try:
            for port in ports:
                with socket.socket() as one:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    one.bind((HOST, port))
            return ports
        except OSError:
            continue
    raise StartError("no ports are free between 20000 and 32000")


class Node:
    """One process of a cluster. It keeps its command, so that it can be started again after a kill."""

    def __init__(self, name: str, port: int, command: list, log: Path, environment=None):
        self.name = name
        self.port = port
        self.command = [str(part) for part in command]
        self.log = log
        self.environment = environment
        self.process = None
        self.paused = False

    def start(self):
        """Starts the process; its output is appended to its log file."""
        assert self.process is None, f"{self.name} is already running"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                # A Ctrl-C at the terminal reaches the check, which then stops its nodes in order.
                start_new_session=True,
            )
        self.paused = False

    def wait_until_listening(self, seconds: float):
        """Returns once the client port accepts a connection."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise StartError(f"{self.name} exited with {self.process.returncode}\n{self.tail()}")
            try:
                socket.create_connection((HOST, self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise StartError(f"{self.name} does not listen on {self.port} after {seconds} s\n{self.tail()}")

    def kill(self):
        """SIGKILL: nothing in the process gets to run again."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def pause(self):
        """SIGSTOP: connections stay open, and nobody answers."""
        self.process.send_signal(signal.SIGSTOP)
        self.paused = True

    def resume(self):
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def stop(self, seconds: float = 20):
        """SIGTERM, and SIGKILL to a process that has not ended within `seconds`. Returns whether it ended by itself."""
        if self.process is None:
            return True
        if self.paused:
            self.resume()
        self.process.terminate()
        try:
            self.process.wait(seconds)
            return True
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return False
        finally:
            self.process = None

    def tail(self) -> str:
        """The last lines of the log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(f"    {line}" for line in lines[-30:])


class Cluster:
    """Nodes that start together and are stopped together."""

    def __init__(self, nodes: list, bootstrap: str = None):
        self.nodes = nodes
        self.bootstrap = bootstrap or ",".join(f"{HOST}:{node.port}" for node in nodes)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self, seconds: float = 60):
        """Starts every node and waits for all of them."""
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_until_listening(seconds)

    def stop(self):
        """Stops every node, all of them at the same time."""
        for node in self.nodes:
            if node.process is not None:
                if node.paused:
                    node.resume()
                node.process.terminate()
        for node in self.nodes:
            node.stop()


def apache_kafka(directory: Path, count: int = 1, settings=()) -> Cluster:
    """Apache Kafka from its published jars: `count` nodes, each broker and controller at once (KRaft).

    `settings` are further lines of `server.properties`, as a dictionary.
    """
    libraries = install.jars(install.HERE / "apache-kafka")
    classpath = f"{libraries}/*"
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    ports = free_ports(range(2 * count))
    voters = ",".join(f"{i + 1}@{HOST}:{ports[2 * i + 1]}" for i in range(count))
    nodes = []
    for i in range(count):
        home = directory / f"kafka-{i + 1}"
        home.mkdir(parents=True)
        properties = {
            "process.roles": "broker,controller",
            "node.id": i + 1,
            "controller.quorum.voters": voters,
            "listeners": f"PLAINTEXT://{HOST}:{ports[2 * i]},CONTROLLER://{HOST}:{ports[2 * i + 1]}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{ports[2 * i]}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": home / "data",
            "default.replication.factor": count,
            "offsets.topic.replication.factor": count,
            "transaction.state.log.replication.factor": count,
            "transaction.state.log.min.isr": min(count, 2),
            "min.insync.replicas": min(count, 2),
            "num.partitions": 3,
            **dict(settings),
        }
        file = home / "server.properties"
        said = {key: str(value).lower() if isinstance(value, bool) else value for key, value in properties.items()}
        file.write_text("".join(f"{key}={value}\n" for key, value in said.items()))
        install.quietly(
            ["java", quiet, "-cp", classpath, "kafka.tools.StorageTool"]
            + ["format", "-t", "varveOracleClusterIdAA", "-c", file]
        )
        heap = "-Xmx512m" if count > 1 else "-Xmx1g"
        command = ["java", heap, "-XX:+UseG1GC", quiet, "-cp", classpath, "kafka.Kafka", file]
        nodes.append(Node(f"kafka-{i + 1}", ports[2 * i], command, home / "output.log"))
    return Cluster(nodes)


def varve_binary() -> Path:
    """Builds the release binary, and returns where cargo says that it put it.

    The environment variable VARVE_BINARY names one that is there already.
    """
    if ready := os.environ.get("VARVE_BINARY"):
        return Path(ready).resolve(strict=True)
    build = ["cargo", "build", "--release", "-p", "varve", "--message-format=json"]
    done = subprocess.run(build, cwd=install.REPOSITORY, stdout=subprocess.PIPE, timeout=1800)
    if done.returncode != 0:
        raise install.InstallError("cargo build --release -p varve failed")
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "varve":
            return Path(message["executable"])
    raise install.InstallError("cargo built no executable named varve")


def varve_start(directory: Path, count: int = 3, settings=()) -> Cluster:
    """`varve start`: `count` nodes, each a process with its own configuration file and log directory.

    `settings` are the lines of the `[broker]` section, as a dictionary.
    """
    binary = varve_binary()
    ports = free_ports(range(2 * count))
    nodes = []
    for i in range(count):
        home = directory / f"varve-{i + 1}"
        home.mkdir(parents=True)
        file = home / "varve.toml"
        sections = varve_configuration(i + 1, home / "data", ports[2 * i], ports[2 * i + 1], ports[1::2])
        broker = "".join(f'"{key}" = {json.dumps(value)}\n' for key, value in dict(settings).items())
        file.write_text(f"{sections}\n[broker]\n{broker}")
        nodes.append(Node(f"varve-{i + 1}", ports[2 * i], [binary, "start", "--config", file], home / "output.log"))
    # The first node makes the cluster, once; the others find it through the peers in their files.
    install.quietly([binary, "format", "--config", directory / "varve-1" / "varve.toml"])
    return Cluster(nodes)


def varve_configuration(node: int, data: Path, client_port: int, peer_port: int, peer_ports: list) -> str:
    """The configuration file of a node."""
    peers = ", ".join(f'"{HOST}:{port}"' for port in peer_ports)
    return f"""\
[node]
id = {node}
data = "{data}"

[[listeners]]
listen = "{HOST}:{client_port}"

[peers]
listen = "{HOST}:{peer_port}"

[cluster]
bootstrap = [{peers}]
"""


def varve_dev(directory: Path, count: int = 3) -> Cluster:
    """`varve dev`: a whole cluster in one process, which prints where to connect."""
    return VarveDev(directory, count)


class VarveDev(Cluster):
    """One process that is `count` brokers; the bootstrap address is known once it has printed it."""

    def __init__(self, directory: Path, count: int):
        self.log = directory / "varve-dev.log"
        # Clients' ports from there on, and peers' from 100 above.
        port = free_ports([*range(count), *range(100, 100 + count)])[0]
        command = [varve_binary(), "dev", "--nodes", count, "--port", port, "--data", directory / "data"]
        super().__init__([Node("varve dev", None, command, self.log)])
        self.bootstrap = None

    def start(self, seconds: float = 60):
        (node,) = self.nodes
        node.start()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = re.search(r"bootstrap address\s+(\S+:\d+)", self.log.read_text(errors="replace"))
            if found:
                self.bootstrap = found.group(1)
                return
            if node.process.poll() is not None:
                raise StartError(f"varve dev exited with {node.process.returncode}\n{node.tail()}")
            time.sleep(0.1)
        raise StartError(f"varve dev printed no address within {seconds} s\n{node.tail()}")
