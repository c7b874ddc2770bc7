"""Reads a topic with one client library and compares it, row by row, with the table that was written.

    reader.py LIBRARY BOOTSTRAP TABLE TOPIC ROWS ACKNOWLEDGEMENTS

Prints one line of JSON: how much was read, and the first differences in words.
"""

import json
import sys
import time
from collections import Counter, defaultdict

import tables
from acknowledgements import Acknowledgements

# Without any record for this long, a read has failed.
SILENCE_SECONDS_MAX = 30

DIFFERENCES_SHOWN = 5


def read_with_confluent(bootstrap, topic):
    """Yields (partition, offset, key, value, timestamp) up to the end of every partition."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            # librdkafka asks for a group's name even where no group is joined and nothing committed.
            "group.id": "unused",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "check.crcs": True,
            "log_level": 0,
        }
    )
    left = set(consumer.list_topics(topic, SILENCE_SECONDS_MAX).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in left])
    heard = time.monotonic()
    while left:
        messages = consumer.consume(5000, 0.2)
        if messages:
            heard = time.monotonic()
        elif time.monotonic() - heard > SILENCE_SECONDS_MAX:
            raise TimeoutError(f"nothing for {SILENCE_SECONDS_MAX} s, partitions {sorted(left)} not at their end")
        for message in messages:
            error = message.error()
            if error is None:
                yield message.partition(), message.offset(), message.key(), message.value(), message.timestamp()[1]
            elif error.code() == KafkaError._PARTITION_EOF:
                left.discard(message.partition())
            elif not error.retriable():
                raise RuntimeError(str(error))
    consumer.close()


def read_with_kafka_python(bootstrap, topic):
    """Yields (partition, offset, key, value, timestamp) up to the end of every partition."""
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        enable_auto_commit=False,
        consumer_timeout_ms=SILENCE_SECONDS_MAX * 1000,
    )
    assignment = [TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic)]
    consumer.assign(assignment)
    consumer.seek_to_beginning(*assignment)
    ends = consumer.end_offsets(assignment)
    left = {partition for partition in assignment if ends[partition] > 0}
    while left:
        message = next(consumer, None)
        if message is None:
            raise TimeoutError(f"nothing for {SILENCE_SECONDS_MAX} s, {sorted(left)} not at their end")
        yield message.partition, message.offset, message.key, message.value, message.timestamp
        if message.offset + 1 >= ends[TopicPartition(topic, message.partition)]:
            left.discard(TopicPartition(topic, message.partition))
    consumer.close()


LIBRARIES = {"confluent-kafka": read_with_confluent, "kafka-python": read_with_kafka_python}


def compare(rows, acknowledgements, records):
    """Compares what was read with what was written and where it was acknowledged.

    Every acknowledged row must stand exactly once, at the place of its acknowledgement; rows of a key must all be in
    one partition, in the order of the table; and nothing else may be there but rows that were not acknowledged.
    """
    differences = []
    row_at = {
        (partition, offset): index
        for index, (partition, offset) in enumerate(zip(acknowledgements.partitions, acknowledgements.offsets))
        if offset >= 0
    }
    acknowledged = sum(1 for offset in acknowledgements.offsets if offset >= 0)
    if len(row_at) != acknowledged:
        differences.append(f"{acknowledged - len(row_at)} rows were acknowledged at the place of another")
    unacknowledged = Counter(row for row, offset in zip(rows, acknowledgements.offsets) if offset < 0)
    unacknowledged_count = unacknowledged.total()
    strangers = 0
    following = defaultdict(int)
    partition_of = {}
    last_of_key = {}
    count = 0
    for partition, offset, key, value, timestamp in records:
        count += 1
        place = f"partition {partition} offset {offset}"
        if offset != following[partition]:
            differences.append(f"{place}: expected offset {following[partition]}")
        following[partition] = offset + 1
        read = tables.Row(key, value, timestamp)
        index = row_at.pop((partition, offset), None)
        if index is None:
            strangers += 1
            # A row whose acknowledgement got lost may be there, but not twice.
            if unacknowledged[read] == 0:
                differences.append(f"{place}: no row was acknowledged here: {read}")
            unacknowledged[read] -= 1
            continue
        if rows[index] != read:
            differences.append(f"{place}: wrote {rows[index]}, read {read}")
        if key is not None:
            if partition_of.setdefault(key, partition) != partition:
                differences.append(f"{place}: key {key} is also in partition {partition_of[key]}")
            if last_of_key.get(key, -1) >= index:
                differences.append(f"{place}: row {index} of key {key} after row {last_of_key[key]}")
            last_of_key[key] = index
    for (partition, offset), index in list(row_at.items())[:DIFFERENCES_SHOWN]:
        differences.append(f"row {index}, acknowledged at partition {partition} offset {offset}, is lost")
    return {
        "read": count,
        "lost": len(row_at),
        "unacknowledged": unacknowledged_count,
        "not_acknowledged_but_read": strangers,
        "keys": len(partition_of),
        "differences": len(differences),
        "shown": differences[:DIFFERENCES_SHOWN],
    }


def main():
    library, bootstrap, table, topic, count, file = sys.argv[1:]
    rows = tables.rows(table, int(count))
    acknowledgements = Acknowledgements.load(file, len(rows))
    print(json.dumps(compare(rows, acknowledgements, LIBRARIES[library](bootstrap, topic))))


if __name__ == "__main__":
    main()
