"""Who is there: ApiVersions, Metadata, DescribeCluster, DescribeTopicPartitions."""

import struct

from peers import NIL, UNKNOWN_ID

from . import create, last, name, story, topic_id, topics, versions, wait_for_leaders


def frame(api_key, version, body=b"", correlation=7):
    """A request frame with the header that every API had before flexible versions."""
    return struct.pack(">hhi", api_key, version, correlation) + struct.pack(">h", 4) + b"test" + body


@story
def api_versions(side):
    software = {"clientSoftwareName": "conformity", "clientSoftwareVersion": "1.0"}
    for version in versions("ApiVersions"):
        side.ask("plain", "ApiVersions", version)
        side.ask("named", "ApiVersions", version, software)
    meant = {"clusterId": cluster_id(side), "nodeId": 1}
    for version in versions("ApiVersions", 5):
        side.ask("means this broker", "ApiVersions", version, {**software, **meant})
        side.ask("means another broker", "ApiVersions", version, {**software, **meant, "nodeId": 2})
        side.ask("means no broker of this cluster", "ApiVersions", version, {**software, **meant, "nodeId": -1})
        side.ask("means another cluster", "ApiVersions", version, {**software, **meant, "clusterId": NIL})
        side.ask("means a cluster without a name", "ApiVersions", version, {**software, **meant, "clusterId": ""})
        side.ask("means no cluster", "ApiVersions", version, {**software, "nodeId": 2})
        side.ask("means another broker, and says nothing of itself", "ApiVersions", version, {**meant, "nodeId": 2})
    for word in ("", "-", "a b", "ünï", "a" * 300, "ok-1.2.3"):
        side.ask(f"name {word[:9]!r}", "ApiVersions", 3, {**software, "clientSoftwareName": word})
        side.ask(f"version {word[:9]!r}", "ApiVersions", 3, {**software, "clientSoftwareVersion": word})
    side.send("version -1", frame(18, -1), api="ApiVersions", answer_version=0, close=True)
    for version in (6, 7, 99, 32_767):
        # With the flexible header that every later version has.
        side.send(f"version {version}", frame(18, version, b"\0"), api="ApiVersions", answer_version=0, close=True)
        # The client then asks again on the same connection.
        side.ask(f"after version {version}", "ApiVersions", 4, software)
    # A flexible header, and a body that no version has.
    side.send("body of nonsense", frame(18, 3, b"\0\xff\xff\xff"), api="ApiVersions", answer_version=3, close=True)


def cluster_id(side) -> str:
    """The cluster's own id."""
    return side.tell({"api": "DescribeCluster", "version": 0, "request": {}})["answer"]["clusterId"]


@story
def decode_limits(side):
    # Metadata, with its topics or with what nobody knows.
    metadata = {"api": "Metadata", "close": True, "seconds": 5, "answer_version": 9}
    for count in (10_000, 10_001):
        tags = uvarint(count) + b"\x7f\0" * count
        side.send(f"{count} tagged fields in the header", frame(3, 9, tags + b"\1\0\0\0\0"), **metadata)
        side.send(f"{count} tagged fields in the body", frame(3, 9, b"\0\1\0\0\0" + tags), **metadata)
    for count in (1_000_001, 4_000_000):
        side.send(f"{count} topics", frame(3, 9, b"\0" + uvarint(count + 1) + bytes(4_100_000)), **metadata)


def uvarint(number) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


@story
def unknown_requests(side):
    for key, version in ((-1, 0), (1000, 0), (4, 0), (5, 0), (6, 0), (7, 0)):
        side.send(f"API {key}", frame(key, version), close=True, seconds=5)
    old = ((0, 0), (0, 2), (1, 3), (2, 0), (19, 0), (19, 1), (20, 0), (23, 1), (32, 0))
    for key, version in ((3, 99), (3, -1), (0, 99), (1, 99), *old):
        side.send(f"API {key} v{version}", frame(key, version), close=True, seconds=5)
    for key, version in ((3, 1), (2, 1), (19, 2)):
        side.send(f"API {key} v{version} without a body", frame(key, version), close=True, seconds=5)
        side.send(f"API {key} v{version} with too long a list", frame(key, version, b"\x7f" * 8), close=True, seconds=5)
    side.send("an empty frame", b"", close=True, seconds=5)
    metadata = {"api": "Metadata", "close": True, "seconds": 5}
    none = struct.pack(">i", 0)
    side.send("no client", struct.pack(">hhih", 3, 1, 7, -1) + none, answer_version=1, **metadata)
    side.send("a client without a name", struct.pack(">hhih", 3, 1, 7, 0) + none, answer_version=1, **metadata)
    side.send("bytes behind the body", frame(3, 1, none + b"\0\0\0"), answer_version=1, **metadata)
    side.send("half a body", frame(3, 4, none), answer_version=4, **metadata)
    side.send("a list of -2", frame(3, 1, struct.pack(">i", -2)), answer_version=1, **metadata)
    side.send("a string of -2", frame(3, 1, struct.pack(">ih", 1, -2)), answer_version=1, **metadata)
    side.send(
        "a name that is no UTF-8", frame(3, 1, struct.pack(">ih", 1, 2) + b"\xff\xfe"), answer_version=1, **metadata
    )
    tags = b"\1\x7f\2ab"
    body = b"\1\0\0\0"
    side.send("flexible", frame(3, 9, b"\0" + body + b"\0"), answer_version=9, **metadata)
    side.send("an unknown tag in the header", frame(3, 9, tags + body + b"\0"), answer_version=9, **metadata)
    side.send("an unknown tag in the body", frame(3, 9, b"\0" + body + tags), answer_version=9, **metadata)
    side.send("tags that end too soon", frame(3, 9, b"\0" + body + b"\5\1\1a"), answer_version=9, **metadata)
    side.send("flexible bytes behind", frame(3, 9, b"\0" + body + b"\0\0\0"), answer_version=9, **metadata)
    side.send("half a header", b"\0\3\0", close=True, seconds=5)


@story
def metadata(side):
    first, second = create(side, "first", 3), create(side, "second")
    first_id = topic_id(side, first)
    for version in versions("Metadata"):
        side.ask("two topics", "Metadata", version, topics(first, second))
        side.ask("a topic twice", "Metadata", version, topics(first, first))
        side.ask("none", "Metadata", version, {"topics": []})
        side.ask("all", "Metadata", version, {"topics": None})
        quiet = {"allowAutoTopicCreation": False}
        side.ask("unknown, not to be made", "Metadata", version, {**topics(name(side, "unknown")), **quiet})
        for word in ("", ".", "..", "a b", "a" * 249, "a" * 250, "ünï", "a/b"):
            side.ask(f"the name {word[:9]!r}", "Metadata", version, {**topics(word), **quiet})
        authorized = {"includeTopicAuthorizedOperations": True}
        side.ask("topic operations", "Metadata", version, {**topics(first), **authorized})
        side.ask("cluster operations", "Metadata", version, {"topics": [], "includeClusterAuthorizedOperations": True})
        side.ask("by id", "Metadata", version, {"topics": [{"topicId": first_id, "name": None}]})
        side.ask("by unknown id", "Metadata", version, {"topics": [{"topicId": UNKNOWN_ID, "name": None}]})
        side.ask("by id and name", "Metadata", version, {"topics": [{"topicId": first_id, "name": first}]})
        side.ask("by id and another name", "Metadata", version, {"topics": [{"topicId": first_id, "name": second}]})
        side.ask("neither name nor id", "Metadata", version, {"topics": [{"name": None}]})
        mixed = [{"topicId": first_id, "name": None}, {"name": second}]
        side.ask("one by id, one by name", "Metadata", version, {"topics": mixed, **quiet})
        pair = [{"topicId": first_id, "name": None}, {"topicId": UNKNOWN_ID, "name": None}]
        side.ask("two by id", "Metadata", version, {"topics": pair})
        side.ask("an id twice", "Metadata", version, {"topics": [{"topicId": first_id, "name": None}] * 2})


@story
def metadata_makes_topics(side):
    for version in versions("Metadata"):
        made = name(side, f"version.{version}")
        side.ask("made", "Metadata", version, {**topics(made), "allowAutoTopicCreation": True})
        wait_for_leaders(side, made)
        side.ask("made before", "Metadata", version, topics(made))
        side.ask("a bad name", "Metadata", version, topics("a b"))
        side.ask("a name that collides", "Metadata", version, topics(made.replace(".", "_")))
        # All but those that Kafka makes for its own use.
        side.ask("an internal name", "Metadata", version, topics("__cluster_metadata"))


@story
def describe_cluster(side):
    for version in versions("DescribeCluster"):
        side.ask("plain", "DescribeCluster", version)
        side.ask("operations", "DescribeCluster", version, {"includeClusterAuthorizedOperations": True})
        for kind in (0, 1, 2, 3):
            side.ask(f"endpoint type {kind}", "DescribeCluster", version, {"endpointType": kind})
        side.ask("fenced, too", "DescribeCluster", version, {"includeFencedBrokers": True})


@story
def describe_topic_partitions(side):
    side.ordered = True
    api, version = "DescribeTopicPartitions", last("DescribeTopicPartitions")
    a, b, c = create(side, "a", 3), create(side, "b", 5), create(side, "c")
    missing = name(side, "missing")

    def ask(label, *names, **fields):
        return side.ask(label, api, version, {**topics(*names), **fields})

    ask("one", a)
    ask("three", c, a, b)
    ask("twice", a, a)
    ask("unknown", missing)
    ask("unknown among others", c, missing, a)
    ask("unknown before others", name(side, "aa"), b)
    ask("empty name", "")
    ask("bad name", "a b")
    for limit in (-1, 0, 1, 2, 3, 4, 6, 8, 9, 10, 5000):
        ask(f"at most {limit}", c, a, b, responsePartitionLimit=limit)
    for partition in (-1, 0, 1, 4, 5, 9):
        ask(f"from b {partition}", a, b, c, cursor={"topicName": b, "partitionIndex": partition})
    ask("from an unknown topic", a, b, c, cursor={"topicName": missing, "partitionIndex": 0})
    ask("from between", a, b, c, cursor={"topicName": b + "b", "partitionIndex": 0})
    ask("from behind all", a, cursor={"topicName": "zzz", "partitionIndex": 0})
    ask("from a bad name", a, cursor={"topicName": "a b", "partitionIndex": 0})
    ask("from b, at most 2", a, b, c, cursor={"topicName": b, "partitionIndex": 2}, responsePartitionLimit=2)
    ask("a cursor alone", cursor={"topicName": b, "partitionIndex": 1})
