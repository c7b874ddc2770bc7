"""AlterPartitionReassignments and ListPartitionReassignments."""

import time

from . import create, last, name, story, story_of, topics, versions
from .making import assignment


def wanted(topic, partition, brokers):
    """One partition on these brokers; None cancels."""
    return {"name": topic, "partitions": [{"partitionIndex": partition, "replicas": brokers}]}


def alter(side, word, version, *asked, node=1, **fields):
    request = {"timeoutMs": 20_000, "topics": list(asked), **fields}
    side.ask(word, "AlterPartitionReassignments", version, request, node=node)


def replicas(side, topic):
    """Where the partitions are, once nothing is being reassigned."""
    for _ in range(600):
        request = {"timeoutMs": 20_000, "topics": [{"name": topic, "partitionIndexes": [0, 1]}]}
        said = side.tell({"api": "ListPartitionReassignments", "version": 0, "request": request})
        if not said["answer"]["topics"]:
            break
        time.sleep(0.05)
    side.ask("where it is then", "DescribeTopicPartitions", 0, topics(topic))


@story
def reassignments_on_one_node(side):
    topic = create(side, "topic", 2)
    unknown = name(side, "unknown")
    for version in versions("AlterPartitionReassignments"):
        for word, asked in {
            "where it is": [wanted(topic, 0, [1])],
            "to nobody": [wanted(topic, 0, [])],
            "to a stranger": [wanted(topic, 0, [9])],
            "to itself and a stranger": [wanted(topic, 0, [1, 9])],
            "to -1": [wanted(topic, 0, [-1])],
            "to one twice": [wanted(topic, 0, [1, 1])],
            "cancelled": [wanted(topic, 0, None)],
            "an unknown partition": [wanted(topic, 7, [1])],
            "partition -1": [wanted(topic, -1, [1])],
            "an unknown partition, cancelled": [wanted(topic, 7, None)],
            "an unknown topic": [wanted(unknown, 0, [1])],
            "an unknown topic, cancelled": [wanted(unknown, 0, None)],
            "several": [wanted(topic, 0, [1]), wanted(topic, 1, None), wanted(unknown, 0, [1])],
            "one topic twice": [wanted(topic, 0, [1]), wanted(topic, 0, [9])],
            "nothing": [],
        }.items():
            alter(side, word, version, *asked)
    version = last("AlterPartitionReassignments")
    alter(side, "as many replicas", version, wanted(topic, 0, [1]), allowReplicationFactorChange=False)
    alter(side, "nobody, and as many", version, wanted(topic, 0, []), allowReplicationFactorChange=False)
    for version in versions("ListPartitionReassignments"):
        for word, asked in {
            "all": None,
            "none": [],
            "a topic": [{"name": topic, "partitionIndexes": [0, 1, 9]}],
            "an unknown topic": [{"name": unknown, "partitionIndexes": [0]}],
        }.items():
            request = {"timeoutMs": 20_000, "topics": asked}
            side.ask(word, "ListPartitionReassignments", version, request)


@story_of(3)
def reassignments(side):
    spread = assignment((0, [1]), (1, [2, 3]))
    topic = create(side, "topic", -1, replicas=-1, assignments=spread)
    version = last("AlterPartitionReassignments")
    for node in (1, 2, 3):
        # Every node passes these on.
        alter(side, f"to another through {node}", version, wanted(topic, 0, [node % 3 + 1]), node=node)
        replicas(side, topic)
    alter(side, "fewer, and not allowed", version, wanted(topic, 1, [2]), allowReplicationFactorChange=False)
    alter(side, "more, and not allowed", version, wanted(topic, 1, [1, 2, 3]), allowReplicationFactorChange=False)
    alter(side, "others", version, wanted(topic, 1, [1, 2]), allowReplicationFactorChange=False)
    replicas(side, topic)
    alter(side, "more", version, wanted(topic, 1, [3, 1, 2]))
    replicas(side, topic)
    alter(side, "another order", version, wanted(topic, 1, [2, 3, 1]))
    replicas(side, topic)
    alter(side, "fewer", version, wanted(topic, 1, [3]))
    replicas(side, topic)
    alter(side, "cancelled when it is over", version, wanted(topic, 1, None))
