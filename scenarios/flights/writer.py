"""Writes a table to a topic with one client library, as far as it is told to.

    writer.py LIBRARY BOOTSTRAP TABLE TOPIC ROWS ROWS_PER_SECOND ACKNOWLEDGEMENTS

A number on its input is the index of the row before which it stops; the end of its input is the end of the run. It
prints `acknowledged N` as N grows, `failed REASON` for what the library reports, and leaves the place of every row in
the file ACKNOWLEDGEMENTS.
"""

import subprocess
import sys
import threading
import time
from pathlib import Path

import tables
from acknowledgements import Acknowledgements

# Longer than any fault lasts: what the libraries retry by themselves must not surface as an error.
DELIVERY_SECONDS_MAX = 300

# A paused broker is given up after this time, so that its records go to the next leader while it still sleeps.
REQUEST_SECONDS_MAX = 5


class Confluent:
    """librdkafka through confluent-kafka."""

    def __init__(self, bootstrap, topic, acknowledgements):
        from confluent_kafka import Producer

        self.topic = topic
        self.acknowledgements = acknowledgements
        self.producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "acks": "all",
                "enable.idempotence": True,
                # The partitioner of the Java client, which kafka-python has too.
                "partitioner": "murmur2_random",
                "socket.timeout.ms": REQUEST_SECONDS_MAX * 1000,
                "delivery.timeout.ms": DELIVERY_SECONDS_MAX * 1000,
                "compression.type": "gzip",
                "log_level": 0,
            }
        )

    def send(self, index, row):
        def report(error, message):
            if error is None:
                self.acknowledgements.acknowledged(index, message.partition(), message.offset())
            else:
                self.acknowledgements.failed(index, str(error))

        while True:
            try:
                self.producer.produce(
                    self.topic, key=row.key, value=row.value, timestamp=row.timestamp, on_delivery=report
                )
                break
            except BufferError:
                self.producer.poll(0.1)
        self.producer.poll(0)

    def wait(self, seconds):
        self.producer.poll(seconds)

    def finish(self):
        left = self.producer.flush(DELIVERY_SECONDS_MAX)
        if left:
            self.acknowledgements.failed(-1, f"{left} records without an answer")


class KafkaPython:
    """kafka-python, which is Python alone."""

    def __init__(self, bootstrap, topic, acknowledgements):
        from kafka import KafkaProducer

        self.topic = topic
        self.acknowledgements = acknowledgements
        self.producer = KafkaProducer(
            bootstrap_servers=bootstrap,
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            request_timeout_ms=REQUEST_SECONDS_MAX * 1000,
            delivery_timeout_ms=DELIVERY_SECONDS_MAX * 1000,
            max_block_ms=DELIVERY_SECONDS_MAX * 1000,
            reconnect_backoff_max_ms=1000,
        )

    def send(self, index, row):
        future = self.producer.send(self.topic, key=row.key, value=row.value, timestamp_ms=row.timestamp)
        future.add_callback(
            lambda told: self.acknowledgements.acknowledged(index, told.partition, told.offset)
        )
        future.add_errback(lambda error: self.acknowledgements.failed(index, repr(error)))

    def wait(self, seconds):
        time.sleep(seconds)

    def finish(self):
        self.producer.flush(DELIVERY_SECONDS_MAX)
        self.producer.close(10)


class Default(Confluent):
    """librdkafka as it comes, but for idempotence, without which a retry may stand twice."""

    def __init__(self, bootstrap, topic, acknowledgements):
        from confluent_kafka import Producer

        self.topic = topic
        self.acknowledgements = acknowledgements
        self.producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "log_level": 0})


class Program:
    """A client as it comes, in a program of its own: the verb `stream` of the programs in `../clients`."""

    # Records that may be on their way to the program and back.
    UNDER_WAY_MAX = 10_000

    def __init__(self, command, bootstrap, topic, acknowledgements):
        self.acknowledgements = acknowledgements
        self.sent = 0
        self.answered = 0
        self.process = subprocess.Popen(
            [*command, "stream", bootstrap, topic], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()

    def listen(self):
        for line in self.process.stdout:
            word, index, rest = line.split(None, 2)
            self.answered += 1
            if word == "acknowledged":
                partition, offset = rest.split()
                self.acknowledgements.acknowledged(int(index), int(partition), int(offset))
            else:
                self.acknowledgements.failed(int(index), rest)

    def send(self, index, row):
        while self.sent - self.answered > self.UNDER_WAY_MAX and self.process.poll() is None:
            time.sleep(0.01)
        key = "-" if row.key is None else "x" + row.key.hex()
        self.process.stdin.write(f"0 {row.timestamp} {key} x{row.value.hex()} -\n")
        self.process.stdin.flush()
        self.sent += 1

    def wait(self, seconds):
        time.sleep(seconds)

    def finish(self):
        self.process.stdin.close()
        status = self.process.wait(DELIVERY_SECONDS_MAX)
        self.listener.join(5)
        if status != 0 or self.answered != self.sent:
            text = f"{self.sent - self.answered} records without an answer, exit status {status}"
            self.acknowledgements.failed(-1, text)


def program(name):
    sys.path.append(str(CLIENTS))
    import install

    command = {"franz-go": install.go, "java": install.java}[name](CLIENTS / name)
    return lambda *arguments: Program(command, *arguments)


CLIENTS = Path(__file__).resolve().parent.parent / "clients"

LIBRARIES = {
    "confluent-kafka": lambda: Confluent,
    "kafka-python": lambda: KafkaPython,
    "librdkafka": lambda: Default,
    "franz-go": lambda: program("franz-go"),
    "java": lambda: program("java"),
}


class Allowance:
    """How far the writer may go, as its input says."""

    def __init__(self):
        self.until = 0
        self.ended = False
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in sys.stdin:
            self.until = int(line)
        self.ended = True


def say(line):
    """Prints a line whole: two threads do, and `print` writes its end apart."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def report_progress(acknowledgements):
    """Prints the count when it has grown, ten times a second."""
    reported = 0
    while True:
        time.sleep(0.1)
        count = acknowledgements.count
        if count != reported:
            reported = count
            say(f"acknowledged {count}")


def main():
    library, bootstrap, table, topic, count, rows_per_second, file = sys.argv[1:]
    rows = tables.rows(table, int(count))
    acknowledgements = Acknowledgements(len(rows))
    writer = LIBRARIES[library]()(bootstrap, topic, acknowledgements)
    threading.Thread(target=report_progress, args=(acknowledgements,), daemon=True).start()
    allowance = Allowance()
    pause = 1 / float(rows_per_second)
    due = time.monotonic()
    for index, row in enumerate(rows):
        while index >= allowance.until and not allowance.ended:
            writer.wait(0.05)
            due = time.monotonic()
        if index >= allowance.until:
            break
        writer.send(index, row)
        due += pause
        ahead = due - time.monotonic()
        # Sleeping for less costs more than it slows.
        if ahead > 0.02:
            writer.wait(ahead)
    writer.finish()
    for reason in acknowledgements.failures[:5]:
        say(f"failed {' '.join(reason.split())}")
    say(f"acknowledged {acknowledgements.count}")
    acknowledgements.save(file)


if __name__ == "__main__":
    main()
