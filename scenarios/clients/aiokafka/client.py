"""aiokafka (asyncio) as a client program; `../records.py` describes the lines it reads and writes."""

import asyncio
import sys
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

sys.path.append(str(Path(__file__).resolve().parent.parent))
from records import Consumed, Record, decode, decode_headers  # noqa: E402

SECONDS_MAX = 30


async def create(bootstrap, replication_factor, partitions, *topics):
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        response = await admin.create_topics(
            [
                NewTopic(
                    topic,
                    int(partitions),
                    int(replication_factor),
                    # The records carry old timestamps: retention by time would delete them.
                    topic_configs={"retention.ms": "-1"},
                )
                for topic in topics
            ],
            timeout_ms=SECONDS_MAX * 1000,
        )
    finally:
        await admin.close()
    for topic, code, *message in response.topic_errors:
        if code != 0:
            sys.exit(f"{topic}: error {code} {message}")


async def produce(bootstrap, topic, codec):
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        compression_type=None if codec == "none" else codec,
        enable_idempotence=True,
        linger_ms=20,
        request_timeout_ms=SECONDS_MAX * 1000,
    )
    await producer.start()
    try:
        futures = []
        for line in sys.stdin:
            partition, timestamp, key, value, headers = line.split()
            futures.append(
                await producer.send(
                    topic,
                    partition=int(partition),
                    timestamp_ms=int(timestamp),
                    key=decode(key),
                    value=decode(value),
                    headers=list(decode_headers(headers)),
                )
            )
        for index, future in enumerate(futures):
            print(index, (await asyncio.wait_for(future, SECONDS_MAX)).offset)
    finally:
        await producer.stop()


async def consume(bootstrap, *topics):
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False)
    await consumer.start()
    try:
        for topic in topics:
            try:
                await consume_topic(consumer, topic)
            except Exception as error:  # one topic that cannot be read must not hide the others
                print(topic, "error", repr(error))
    finally:
        await consumer.stop()


async def consume_topic(consumer, topic):
    # Metadata of a topic is fetched once the topic is asked for.
    await consumer._client.set_topics([topic])
    assignment = [TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic)]
    consumer.assign(assignment)
    await consumer.seek_to_beginning(*assignment)
    ends = await consumer.end_offsets(assignment)
    left = {partition for partition in assignment if ends[partition] > 0}
    while left:
        message = await asyncio.wait_for(consumer.getone(*left), SECONDS_MAX)
        record = Record(
            message.partition, message.timestamp, message.key, message.value, tuple(message.headers)
        )
        print(Consumed(message.offset, record).line(topic))
        partition = TopicPartition(topic, message.partition)
        if message.offset + 1 >= ends[partition]:
            left.discard(partition)


if __name__ == "__main__":
    asyncio.run({"create": create, "produce": produce, "consume": consume}[sys.argv[1]](*sys.argv[2:]))
