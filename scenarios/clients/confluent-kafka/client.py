"""confluent-kafka (librdkafka) as a client program; `../records.py` describes the lines it reads and writes."""

import sys
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

sys.path.append(str(Path(__file__).resolve().parent.parent))
from records import Consumed, Record, decode, decode_headers  # noqa: E402

SECONDS_MAX = 30


def create(bootstrap, replication_factor, partitions, *topics):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    new = [
        NewTopic(
            topic,
            num_partitions=int(partitions),
            replication_factor=int(replication_factor),
            # The records carry old timestamps: retention by time would delete them.
            config={"retention.ms": "-1"},
        )
        for topic in topics
    ]
    for future in admin.create_topics(new, request_timeout=SECONDS_MAX).values():
        future.result(SECONDS_MAX)


def produce(bootstrap, topic, codec):
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": codec,
            "enable.idempotence": True,
            "linger.ms": 20,
            "delivery.timeout.ms": SECONDS_MAX * 1000,
        }
    )
    failures = []

    def acknowledged(index):
        def report(error, message):
            if error is None:
                print(index, message.offset())
            else:
                failures.append(f"record {index}: {error}")

        return report

    for index, line in enumerate(sys.stdin):
        partition, timestamp, key, value, headers = line.split()
        producer.produce(
            topic,
            partition=int(partition),
            timestamp=int(timestamp),
            key=decode(key),
            value=decode(value),
            headers=list(decode_headers(headers)),
            on_delivery=acknowledged(index),
        )
        producer.poll(0)
    left = producer.flush(SECONDS_MAX)
    if left or failures:
        sys.exit(failures[0] if failures else f"{left} records not acknowledged after {SECONDS_MAX} s")


def consume(bootstrap, *topics):
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            # librdkafka asks for a group's name even where no group is joined and nothing committed.
            "group.id": "unused",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "check.crcs": True,
            # The end of a partition is learnt from an empty answer, for which the default waits 500 ms.
            "fetch.wait.max.ms": 50,
        }
    )
    for topic in topics:
        try:
            consume_topic(consumer, topic)
        except Exception as error:  # one topic that cannot be read must not hide the others
            print(topic, "error", repr(error))


def consume_topic(consumer, topic):
    partitions = list(consumer.list_topics(topic, SECONDS_MAX).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
    left = set(partitions)
    while left:
        message = consumer.poll(SECONDS_MAX)
        if message is None:
            raise TimeoutError(f"nothing for {SECONDS_MAX} s, partitions {sorted(left)} not at their end")
        error = message.error()
        if error is None:
            record = Record(
                message.partition(),
                message.timestamp()[1],
                message.key(),
                message.value(),
                tuple(message.headers() or ()),
            )
            print(Consumed(message.offset(), record).line(topic))
        elif error.code() == KafkaError._PARTITION_EOF:
            left.discard(message.partition())
        else:
            raise RuntimeError(str(error))
    consumer.unassign()


if __name__ == "__main__":
    {"create": create, "produce": produce, "consume": consume}[sys.argv[1]](*sys.argv[2:])
