"""kafka-python (pure Python) as a client program; `../records.py` describes the lines it reads and writes."""

import sys
from pathlib import Path

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

sys.path.append(str(Path(__file__).resolve().parent.parent))
from records import Consumed, Record, decode, decode_headers  # noqa: E402

SECONDS_MAX = 30


def create(bootstrap, replication_factor, partitions, *topics):
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics(
        {
            topic: {
                "num_partitions": int(partitions),
                "replication_factor": int(replication_factor),
                # The records carry old timestamps: retention by time would delete them.
                "configs": {"retention.ms": "-1"},
            }
            for topic in topics
        },
        timeout_ms=SECONDS_MAX * 1000,
    )
    admin.close()


def produce(bootstrap, topic, codec):
    producer = KafkaProducer(
        bootstrap_servers=bootstrap,
        compression_type=None if codec == "none" else codec,
        enable_idempotence=True,
        linger_ms=20,
        request_timeout_ms=SECONDS_MAX * 500,
        delivery_timeout_ms=SECONDS_MAX * 1000,
    )
    futures = []
    for line in sys.stdin:
        partition, timestamp, key, value, headers = line.split()
        futures.append(
            producer.send(
                topic,
                partition=int(partition),
                timestamp_ms=int(timestamp),
                key=decode(key),
                value=decode(value),
                headers=list(decode_headers(headers)),
            )
        )
    producer.flush(SECONDS_MAX)
    for index, future in enumerate(futures):
        print(index, future.get(SECONDS_MAX).offset)
    producer.close(SECONDS_MAX)


def consume(bootstrap, *topics):
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        enable_auto_commit=False,
        consumer_timeout_ms=SECONDS_MAX * 1000,
    )
    for topic in topics:
        try:
            consume_topic(consumer, topic)
        except Exception as error:  # one topic that cannot be read must not hide the others
            print(topic, "error", repr(error))
    consumer.close()


def consume_topic(consumer, topic):
    assignment = [TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic)]
    consumer.assign(assignment)
    consumer.seek_to_beginning(*assignment)
    ends = consumer.end_offsets(assignment)
    left = {partition for partition in assignment if ends[partition] > 0}
    while left:
        # Iteration ends by itself when nothing came for SECONDS_MAX.
        message = next(consumer, None)
        if message is None:
            raise TimeoutError(f"nothing for {SECONDS_MAX} s, {left} not at their end")
        record = Record(
            message.partition, message.timestamp, message.key, message.value, tuple(message.headers)
        )
        print(Consumed(message.offset, record).line(topic))
        partition = TopicPartition(topic, message.partition)
        if message.offset + 1 >= ends[partition]:
            left.discard(partition)


if __name__ == "__main__":
    {"create": create, "produce": produce, "consume": consume}[sys.argv[1]](*sys.argv[2:])
