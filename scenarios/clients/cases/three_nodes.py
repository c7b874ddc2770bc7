"""What takes more than one node: asking the wrong one, replicas, and a node that has stopped."""

import time

from batches import batch

from . import create, found, last, name, story_of, topic_id, topics, versions
from .making import ask as ask_to_create
from .making import assignment
from .reading import Reader, partition
from .writing import ends, produce, producer_id, writer


def led_by_1(side, word, partitions=1, **options):
    """A topic whose every partition is on all nodes and led by the first, once that is so everywhere."""
    spread = assignment(*((index, [1, 2, 3]) for index in range(partitions)))
    topic = create(side, word, -1, replicas=-1, assignments=spread, **options)
    for _ in range(600):
        if all(follows(side, topic, node) for node in (1, 2, 3)):
            break
        time.sleep(0.05)
    return topic


def follows(side, topic, node) -> bool:
    """Whether a node has heard that the first leads a topic, and that all are in sync."""
    said = side.tell({"api": "Metadata", "version": 12, "request": topics(topic)}, node)
    (about,) = said["answer"]["topics"]
    return bool(about["partitions"]) and all(
        each["leaderId"] == 1 and len(each["isrNodes"]) == 3 for each in about["partitions"]
    )


@story_of(3)
def the_wrong_node(side):
    topic = led_by_1(side, "topic")
    identity = topic_id(side, topic)
    for version in versions("Produce", 3):
        for acks in (-1, 1):
            write = {"topic_id": identity, "acks": acks}
            produce(side, f"acks={acks}", version, topic, batch(b"a"), node=2, **write)
        produce(side, "an unknown partition", version, topic, batch(b"a"), node=2, partition=9, topic_id=identity)
    for version in versions("Fetch"):
        request = {"maxWaitMs": 0, "minBytes": 0, "maxBytes": 1 << 20}
        wanted = {"topic": topic, "topicId": identity, "partitions": [partition(0, 0)]}
        side.ask("a consumer", "Fetch", version, {**request, "topics": [wanted]}, node=2)
        later = {**wanted, "partitions": [partition(0, 0, currentLeaderEpoch=99)]}
        side.ask("a later epoch", "Fetch", version, {**request, "topics": [later]}, node=2)
    for version in versions("ListOffsets"):
        for timestamp in (-1, -2, 0):
            wanted = {"name": topic, "partitions": [{"partitionIndex": 0, "timestamp": timestamp}]}
            side.ask(f"{timestamp}", "ListOffsets", version, {"topics": [wanted]}, node=2)
    for version in versions("OffsetForLeaderEpoch"):
        wanted = {"topic": topic, "partitions": [{"partition": 0, "leaderEpoch": 0, "currentLeaderEpoch": -1}]}
        side.ask("an epoch", "OffsetForLeaderEpoch", version, {"topics": [wanted]}, node=2)
    for version in versions("DescribeConfigs"):
        for broker in ("1", "3"):
            resource = {"resourceType": 4, "resourceName": broker, "configurationKeys": ["node.id"]}
            side.ask(f"broker {broker}", "DescribeConfigs", version, {"resources": [resource]}, node=2)
    for node in (1, 2, 3):
        # Every node passes these on.
        plain = {"name": name(side, f"by-{node}"), "numPartitions": 1, "replicationFactor": 3}
        request = {"topics": [plain], "timeoutMs": 20_000}
        side.ask(f"created through {node}", "CreateTopics", last("CreateTopics"), request, node=node)
        request = {"topics": [{"name": plain["name"], "count": 2}], "timeoutMs": 20_000}
        side.ask(f"extended through {node}", "CreatePartitions", last("CreatePartitions"), request, node=node)
        request = {"topics": [{"name": plain["name"]}], "timeoutMs": 20_000}
        side.ask(f"deleted through {node}", "DeleteTopics", last("DeleteTopics"), request, node=node)


@story_of(3)
def replicas(side):
    requests = {
        "three": {"numPartitions": 1, "replicationFactor": 3},
        "two": {"numPartitions": 1, "replicationFactor": 2},
        "by default": {"numPartitions": -1, "replicationFactor": -1},
        "four": {"numPartitions": 1, "replicationFactor": 4},
    }
    spreads = {
        "assigned": ((0, [1, 2, 3]), (1, [3, 2, 1])),
        "assigned unequally": ((0, [1, 2, 3]), (1, [1, 2])),
        "assigned twice to one": ((0, [1, 2, 2]),),
        "assigned to a stranger, too": ((0, [1, 2, 4]),),
    }
    for word, spread in spreads.items():
        requests[word] = {"numPartitions": -1, "replicationFactor": -1, "assignments": assignment(*spread)}
    for version in versions("CreateTopics"):
        for number, (word, fields) in enumerate(requests.items()):
            topic = {"name": name(side, f"v{version}-{number}"), **fields}
            ask_to_create(side, f"{word}, only validated", version, topic, validateOnly=True)
            ask_to_create(side, word, version, topic)
    topic = led_by_1(side, "topic")
    for version in versions("CreatePartitions"):
        for word, lists in {
            "assigned": [[1, 2, 3]],
            "assigned in another order": [[3, 1, 2]],
            "assigned to fewer": [[1, 2]],
            "assigned unequally": [[1, 2, 3], [1, 2]],
            "assigned to a stranger": [[1, 2, 4]],
        }.items():
            assignments = [{"brokerIds": each} for each in lists]
            wanted = {"name": topic, "count": 1 + len(lists), "assignments": assignments}
            request = {"topics": [wanted], "timeoutMs": 20_000, "validateOnly": True}
            side.ask(word, "CreatePartitions", version, request)
    for version in versions("Metadata"):
        side.ask("not made, as it is off", "Metadata", version, topics(name(side, "unknown")))
        side.ask("on three nodes", "Metadata", version, topics(topic))
    side.ask("on three nodes", "DescribeTopicPartitions", 0, topics(topic))


def out_of_order(side, topic, word):
    """What a leader refuses for what its log holds, once it knows that it still leads."""
    for version in versions("Produce", 3):
        write = writer(side, version, topic)
        producer = producer_id(side)
        for acks in (-1, 1):
            write(f"{word}, a gap, acks={acks}", batch(b"a", producer=(producer, 1, 9)), acks=acks)
        write(f"{word}, the first", batch(b"a", producer=(producer, 1, 0)))
        for acks in (-1, 1):
            write(f"{word}, a later gap, acks={acks}", batch(b"a", producer=(producer, 1, 9)), acks=acks)
            write(f"{word}, an earlier epoch, acks={acks}", batch(b"a", producer=(producer, 0, 1)), acks=acks)
        write(f"{word}, the next", batch(b"a", producer=(producer, 1, 1)))
    for version in versions("Fetch"):
        read = Reader(side, version, topic)
        read(f"{word}, behind the end", partition(0, 1 << 40))
        read(f"{word}, behind the end, waiting", partition(0, 1 << 40), maxWaitMs=20_000, minBytes=1)
        read(f"{word}, before the start", partition(0, -1))
    ends(side, topic)


@story_of(3)
def refusals(side):
    out_of_order(side, led_by_1(side, "topic"), "with all")


@story_of(3)
def a_node_stops(side):
    """The last story: the third node is gone for the rest of it."""
    all_of_them = led_by_1(side, "all", configs={"min.insync.replicas": "3"})
    most_of_them = led_by_1(side, "most", configs={"min.insync.replicas": "2"})
    for topic in (all_of_them, most_of_them):
        writer(side, last("Produce"), topic)("with all", batch(b"a"))
    side.nodes[2].stop()
    for _ in range(600):
        abouts = [found(side, topic)["partitions"][0] for topic in (all_of_them, most_of_them)]
        if all(about["isrNodes"] == [1, 2] and about["offlineReplicas"] == [3] for about in abouts):
            break
        time.sleep(0.05)
    for version in versions("Produce", 3):
        write = writer(side, version, all_of_them)
        write("too few for acks=all", batch(b"a"))
        write("enough for acks=1", batch(b"b"), acks=1)
        writer(side, version, most_of_them)("enough for acks=all", batch(b"a"))
    ends(side, most_of_them)
    read = Reader(side, last("Fetch"), most_of_them)
    read("what was written", partition(0, 0))
    out_of_order(side, most_of_them, "with most")
    for version in versions("Metadata"):
        side.ask("a replica is offline", "Metadata", version, topics(most_of_them))
    side.ask("a replica is offline", "DescribeTopicPartitions", 0, topics(most_of_them))
    for version in versions("DescribeCluster"):
        side.ask("a node is gone", "DescribeCluster", version)
        side.ask("a node is gone, with those that are", "DescribeCluster", version, {"includeFencedBrokers": True})
    for count in (1, 2, 3, 4):
        topic = {"name": name(side, f"on-{count}"), "numPartitions": 1, "replicationFactor": count}
        ask_to_create(side, f"on {count}", last("CreateTopics"), topic)
    spread = assignment((0, [3, 1, 2]))
    topic = {"name": name(side, "assigned"), "numPartitions": -1, "replicationFactor": -1, "assignments": spread}
    ask_to_create(side, "assigned to it", last("CreateTopics"), topic)
    spread = assignment((0, [3]))
    topic = {"name": name(side, "assigned-alone"), "numPartitions": -1, "replicationFactor": -1, "assignments": spread}
    ask_to_create(side, "assigned to it alone", last("CreateTopics"), topic)
