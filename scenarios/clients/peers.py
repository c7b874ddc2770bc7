"""Two brokers that are asked the same, and what of their answers can be the same.

A `Side` asks one cluster, by Kafka's own message classes (`apache-kafka/Peer.java`), and keeps each answer in the form
in which two clusters can be compared: ids, ports and clocks, which every cluster has of its own, become names for what
they stand for, words in errors become the fact that there are some, and what stands in no order is put by its key.
"""

import json
import re
import subprocess
from dataclasses import dataclass

import batches
import install

# What names an element of a list, the first of these that it has.
KEYS = (
    "name",
    "topicName",
    "resourceName",
    "topic",
    "topicId",
    "apiKey",
    "nodeId",
    "brokerId",
    "partitionIndex",
    "partition",
    "index",
    "batchIndex",
)
# Lists in which order means something.
ORDERED = {"records", "synonyms"}
TEXTS = {"errorMessage", "batchIndexErrorMessage", "documentation"}
# Fields that hold leader epochs.
EPOCHS = {"leaderEpoch", "currentLeaderEpoch", "epoch"}
# Clocks within this many ms of each other show the same moment.
MOMENT_MS = 120_000
NIL = "AAAAAAAAAAAAAAAAAAAAAA"
UNKNOWN_ID = "BAAAAAAAAAAAAAAAAAAAAA"


@dataclass(frozen=True)
class Asked:
    """A request and what became of it."""

    story: str
    label: str
    api: str
    version: int
    outcome: dict


class Side:
    """One of the clusters that are asked.

    `first_epoch` is the leader epoch of the first leader of a log, from which epochs are counted in the comparison:
    0 in Kafka, where the controller names the first leader, and 1 in varve, where it is elected like any other. Where
    there are several nodes it can be a later one, and it is only compared whether there is an epoch.
    """

    def __init__(self, name: str, cluster, first_epoch: int):
        self.name = name
        self.nodes = cluster.nodes
        self.first_epoch = first_epoch
        self.addresses = cluster.bootstrap.split(",")
        self.asked = []
        self.story = None
        self.ordered = False
        self._names = {}
        self._peer = subprocess.Popen(
            install.java(install.HERE / "apache-kafka", "Peer"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for number, address in enumerate(self.addresses, 1):
            self._names[("port", int(address.rsplit(":", 1)[1]))] = f"port of {number}"

    def close(self):
        """Ends the process that speaks for us."""
        self._peer.stdin.close()
        self._peer.wait()

    def tell(self, order: dict, node: int = 1) -> dict:
        """Hands an order to the peer, for a node by its number; what it says is not kept."""
        order = {"connection": f"to {node}", "address": self.addresses[node - 1], **order}
        self._peer.stdin.write(json.dumps(order) + "\n")
        self._peer.stdin.flush()
        line = self._peer.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer of {self.name} has ended")
        said = json.loads(line)
        if "mistake" in said:
            raise ValueError(said["mistake"])
        return said

    def ask(self, label: str, api: str, version: int, request=None, node: int = 1, **order) -> dict:
        """Asks one thing, keeps the outcome for the comparison, and returns the answer as it came, if there is one."""
        said = self.tell({"api": api, "version": version, "request": request or {}, **order}, node)
        if "cannot" in said:
            # Neither side is asked what Kafka's own classes cannot say at this version.
            return None
        self.learn(said.get("answer"))
        self.asked.append(Asked(self.story, label, api, version, self._comparable(said)))
        return said.get("answer")

    def send(self, label: str, frame: bytes, **order) -> dict:
        """Sends bytes as they are; `api` and `answer_version` say how the answer is read."""
        said = self.tell({"bytes": frame.hex(), **order})
        version = order.get("answer_version", -1)
        self.asked.append(Asked(self.story, label, order.get("api", "-"), version, self._comparable(said)))
        return said.get("answer")

    def note(self, fact):
        """Keeps something else of the last request for the comparison, such as how long the answer took."""
        self.asked[-1].outcome["noted"] = fact

    def learn(self, node):
        """Takes names of topics for their ids."""
        if isinstance(node, dict):
            name, topic_id = node.get("name"), node.get("topicId")
            if isinstance(name, str) and name and isinstance(topic_id, str) and topic_id not in (NIL, UNKNOWN_ID):
                self._names[("topicId", topic_id)] = f"id of {name}"
            for value in node.values():
                self.learn(value)
        elif isinstance(node, list):
            for value in node:
                self.learn(value)

    def _comparable(self, node, key=None):
        if isinstance(node, dict):
            return {name: self._comparable(value, name) for name, value in node.items()}
        if isinstance(node, list):
            return self._comparable_list(node, key)
        return self._comparable_value(node, key)

    def _comparable_list(self, nodes, key):
        values = [self._comparable(node) for node in nodes]
        if key in ORDERED or not all(isinstance(value, dict) for value in values):
            return values
        by_key, order = {}, []
        for place, value in enumerate(values):
            found = next((value[one] for one in KEYS if value.get(one) not in (None, NIL)), place)
            found = str(found)
            before = by_key.get(found, {}).get("partitions")
            if before is not None and before.keys().isdisjoint(value["partitions"]):
                # In a fetch session Kafka names a topic anew for each run of its partitions.
                before.update(value["partitions"])
                continue
            while found in by_key:
                found += " again"
            by_key[found] = value
            order.append(found)
        if self.ordered and key != "configs":
            by_key["order"] = order
        return by_key

    def _comparable_value(self, value, key):
        if value is None or isinstance(value, bool):
            return value
        if key in TEXTS:
            return value and "a text"
        if key in EPOCHS and value >= 0:
            return f"epoch {value - self.first_epoch}" if len(self.nodes) == 1 else "an epoch"
        if key in ("topicId", "port"):
            return self._names.get((key, value), value)
        if key == "controllerId" and value >= 0:
            # Kafka names any broker: each passes on what is the controller's.
            return "a node"
        if key == "clusterId":
            return "the cluster"
        if key == "sessionId" and value > 0 or key == "producerId" and value >= 0:
            return f"a {key}"
        if isinstance(value, int) and re.search("timestamp", key or "", re.IGNORECASE) or key == "logAppendTimeMs":
            if isinstance(value, int) and abs(value - batches.now()) < MOMENT_MS:
                return "now"
        return value


def differences(kafka, varve, path=""):
    """Where two outcomes differ: the path, what Kafka has there and what varve has.

    Of two verdicts on one thing that differ only the verdicts are told, and not what follows from each.
    """
    if isinstance(kafka, dict) and isinstance(varve, dict):
        verdicts = kafka.get("errorCode", MISSING), varve.get("errorCode", MISSING)
        if verdicts[0] != verdicts[1]:
            yield f"{path}.errorCode", *verdicts
            return
        for key in [*kafka, *(key for key in varve if key not in kafka)]:
            inner = f"{path}.{key}" if path else key
            yield from differences(kafka.get(key, MISSING), varve.get(key, MISSING), inner)
    elif isinstance(kafka, list) and isinstance(varve, list) and len(kafka) == len(varve):
        for place, (one, other) in enumerate(zip(kafka, varve)):
            yield from differences(one, other, f"{path}[{place}]")
    elif kafka != varve:
        yield path, kafka, varve


class _Missing:
    def __repr__(self):
        return "nothing"


MISSING = _Missing()
