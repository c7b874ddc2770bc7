"""librdkafka's reading and writing of record batches; `../readable.py` describes the lines.

librdkafka has no call for it, so its own mock broker stands between: it stores what it is sent and serves it as it is.
"""

import socket
import struct
import sys
import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

sys.path.append(str(Path(__file__).resolve().parent.parent))
from readable import batch_of_line, line_of_batch, line_of_records, plan_of_line  # noqa: E402

# Partitions of a topic that the mock broker makes by itself.
PARTITIONS = 4
# Batches that are read at the same time, each in a partition of its own.
TOGETHER = 400
SECONDS_MAX = 30
# A partition from which nothing comes for so long, neither a record, its end nor an error, stands still.
STILL_SECONDS = 5


def text(word):
    return struct.pack(">h", len(word)) + word.encode()


class Connection:
    """Produce and Fetch, byte by byte."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=SECONDS_MAX)
        self.correlation = 0

    def ask(self, key, version, body):
        self.correlation += 1
        frame = struct.pack(">hhi", key, version, self.correlation) + text("readable") + body
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)
        (length,) = struct.unpack(">i", self.exactly(4))
        return self.exactly(length)[4:]

    def exactly(self, length):
        taken = b""
        while len(taken) < length:
            more = self.socket.recv(length - len(taken))
            if not more:
                raise ConnectionError("the mock broker has closed the connection")
            taken += more
        return taken

    def produce(self, topic, partition, batch):
        body = struct.pack(">hhii", -1, -1, 10_000, 1) + text(topic)
        body += struct.pack(">iii", 1, partition, len(batch)) + batch
        answer = self.ask(0, 7, body)
        (error,) = struct.unpack_from(">h", answer, 4 + 2 + len(topic) + 4 + 4)
        if error != 0:
            raise RuntimeError(f"the mock broker refuses a batch with error {error}")

    def fetch(self, topic):
        """What partition 0 has, in one piece."""
        body = struct.pack(">iiiib", -1, 500, 1, 1 << 30, 0) + struct.pack(">i", 1) + text(topic)
        body += struct.pack(">iiqi", 1, 0, 0, 1 << 30)
        answer = self.ask(1, 4, body)
        at = 4 + 4 + 2 + len(topic) + 4 + 4
        error, _high_watermark, _stable, aborted = struct.unpack_from(">hqqi", answer, at)
        assert error == 0 and aborted <= 0, (error, aborted)
        (length,) = struct.unpack_from(">i", answer, at + 22)
        return answer[at + 26 : at + 26 + length]


class Mock:
    """librdkafka's mock broker."""

    def __init__(self):
        self.owner = Producer({"bootstrap.servers": "", "test.mock.num.brokers": 1, "log_level": 0})
        (broker,) = self.owner.list_topics(timeout=SECONDS_MAX).brokers.values()
        self.address = f"{broker.host}:{broker.port}"
        self.topics = 0

    def topic(self):
        """A new one."""
        self.topics += 1
        name = f"t{self.topics}"
        self.owner.list_topics(name, SECONDS_MAX)
        return name


def read_all(lines):
    mock = Mock()
    connection = Connection(mock.address)
    for first in range(0, len(lines), TOGETHER):
        places = {}
        for index, line in enumerate(lines[first : first + TOGETHER]):
            if index % PARTITIONS == 0:
                topic = mock.topic()
            places[topic, index % PARTITIONS] = index
            connection.produce(topic, index % PARTITIONS, batch_of_line(line))
        yield from read_places(mock, places)


def read_places(mock, places):
    consumer = Consumer(
        {
            "bootstrap.servers": mock.address,
            "group.id": "unused",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "check.crcs": True,
            "fetch.wait.max.ms": 20,
            "log_level": 0,
        }
    )
    found = [[] for _ in places]
    outcomes = [None for _ in places]
    consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in places])
    moved = time.monotonic()
    while None in outcomes and time.monotonic() - moved < STILL_SECONDS:
        for message in consumer.consume(1000, 0.1):
            index = places[message.topic(), message.partition()]
            error = message.error()
            if outcomes[index] is not None:
                continue
            moved = time.monotonic()
            if error is None:
                try:
                    headers = [(name.encode(), value) for name, value in message.headers() or ()]
                    timestamp = message.timestamp()[1]
                    found[index].append((message.offset(), timestamp, message.key(), message.value(), headers))
                except Exception as failure:
                    outcomes[index] = f"unreadable {failure!r}"
            elif error.code() == KafkaError._PARTITION_EOF:
                outcomes[index] = line_of_records(found[index])
            else:
                outcomes[index] = f"unreadable {error}".replace("\n", " ")
    consumer.close()
    return [outcome or "unreadable, it stands still" for outcome in outcomes]


def write_all(lines):
    mock = Mock()
    connection = Connection(mock.address)
    producers = {}
    for line in lines:
        codec, planned = plan_of_line(line)
        if codec not in producers:
            settings = {"bootstrap.servers": mock.address, "compression.type": codec, "linger.ms": 1000}
            producers[codec] = Producer({**settings, "message.max.bytes": 1 << 26, "log_level": 0})
        topic = mock.topic()
        for timestamp, key, value, headers in planned:
            headers = [(name.decode(), content) for name, content in headers]
            producers[codec].produce(topic, partition=0, timestamp=timestamp, key=key, value=value, headers=headers)
        left = producers[codec].flush(SECONDS_MAX)
        assert left == 0, f"{left} records are left"
        yield line_of_batch(connection.fetch(topic))


if __name__ == "__main__":
    do = {"read": read_all, "write": write_all}[sys.argv[1]]
    for each in do(sys.stdin.read().splitlines()):
        print(each, flush=True)
