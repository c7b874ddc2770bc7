"""CreateTopics, CreatePartitions, DeleteTopics."""

import time

from peers import NIL, UNKNOWN_ID

from . import create, last, name, story, topic_id, topics, versions


def assignment(*partitions):
    """Brokers for each partition, by (partition, brokers)."""
    return [{"partitionIndex": partition, "brokerIds": brokers} for partition, brokers in partitions]


def configs(**words):
    """Configurations; a key's dots are underscores here."""
    return [{"name": key.replace("_", "."), "value": value} for key, value in words.items()]


# What is asked for, by a word for it. Each is also asked with nothing but validation.
REQUESTS = {
    "plain": {"numPartitions": 2, "replicationFactor": 1},
    "defaults": {"numPartitions": -1, "replicationFactor": -1},
    "default partitions": {"numPartitions": -1, "replicationFactor": 1},
    "no partitions": {"numPartitions": 0, "replicationFactor": 1},
    "-2 partitions": {"numPartitions": -2, "replicationFactor": 1},
    "no replicas": {"numPartitions": 1, "replicationFactor": 0},
    "-2 replicas": {"numPartitions": 1, "replicationFactor": -2},
    "too many replicas": {"numPartitions": 1, "replicationFactor": 2},
    "far too many replicas": {"numPartitions": 1, "replicationFactor": 32_767},
    "nothing right": {"numPartitions": 0, "replicationFactor": 0, "configs": configs(nonsense="1")},
    "far too many partitions": {"numPartitions": 2_147_483_647, "replicationFactor": 1},
    "assigned": {"numPartitions": -1, "replicationFactor": -1, "assignments": assignment((0, [1]), (1, [1]))},
    "assigned out of order": {
        "numPartitions": -1,
        "replicationFactor": -1,
        "assignments": assignment((1, [1]), (0, [1])),
    },
    "assigned to nobody": {"numPartitions": -1, "replicationFactor": -1, "assignments": assignment((0, []))},
    "assigned to a stranger": {"numPartitions": -1, "replicationFactor": -1, "assignments": assignment((0, [9]))},
    "assigned to -1": {"numPartitions": -1, "replicationFactor": -1, "assignments": assignment((0, [-1]))},
    "assigned twice to one": {"numPartitions": -1, "replicationFactor": -1, "assignments": assignment((0, [1, 1]))},
    "assigned with a gap": {
        "numPartitions": -1,
        "replicationFactor": -1,
        "assignments": assignment((0, [1]), (2, [1])),
    },
    "assigned without 0": {"numPartitions": -1, "replicationFactor": -1, "assignments": assignment((1, [1]))},
    "assigned, one twice": {
        "numPartitions": -1,
        "replicationFactor": -1,
        "assignments": assignment((0, [1]), (0, [1])),
    },
    "assigned unequally": {"numPartitions": -1, "replicationFactor": -1, "assignments": assignment((0, [1]), (1, []))},
    "counts and assigned": {"numPartitions": 2, "replicationFactor": 1, "assignments": assignment((0, [1]), (1, [1]))},
    "partitions and assigned": {"numPartitions": 1, "replicationFactor": -1, "assignments": assignment((0, [1]))},
    "replicas and assigned": {"numPartitions": -1, "replicationFactor": 1, "assignments": assignment((0, [1]))},
}
CONFIGS = {
    "good": configs(retention_ms="1000", cleanup_policy="compact"),
    "unknown": configs(nonsense="1"),
    "of brokers": configs(num_partitions="1"),
    "null": configs(retention_ms=None),
    "empty": configs(retention_ms=""),
    "of no name": [{"name": "", "value": "1"}],
    "no number": configs(retention_ms="soon"),
    "with spaces": configs(retention_ms=" 1000 "),
    "with plus": configs(retention_ms="+1000"),
    "too large": configs(max_message_bytes="99999999999"),
    "too small": configs(retention_ms="-2"),
    "a fraction": configs(retention_ms="1.5"),
    "cleanup.policy of nonsense": configs(cleanup_policy="shred"),
    "cleanup.policy in capitals": configs(cleanup_policy="DELETE"),
    "cleanup.policy of both": configs(cleanup_policy="delete, compact"),
    "cleanup.policy twice": configs(cleanup_policy="delete,delete"),
    "cleanup.policy with nothing between": configs(cleanup_policy="delete,,compact"),
    "cleanup.policy of nothing": configs(cleanup_policy=""),
    "min.cleanable.dirty.ratio of 1.5": configs(min_cleanable_dirty_ratio="1.5"),
    "min.cleanable.dirty.ratio of .3": configs(min_cleanable_dirty_ratio=".3"),
    "min.cleanable.dirty.ratio of 1e-1": configs(min_cleanable_dirty_ratio="1e-1"),
    "preallocate yes": configs(preallocate="yes"),
    "preallocate TRUE": configs(preallocate="TRUE"),
    "unclean leaders": configs(unclean_leader_election_enable="true"),
    "compression.type": configs(compression_type="brotli"),
    "compression.type in capitals": configs(compression_type="GZIP"),
    "gzip level 0": configs(compression_gzip_level="0"),
    "gzip level 10": configs(compression_gzip_level="10"),
    "lz4 level 0": configs(compression_lz4_level="0"),
    "zstd level 23": configs(compression_zstd_level="23"),
    "message.timestamp.type": configs(message_timestamp_type="Never"),
    "min.insync.replicas of 0": configs(min_insync_replicas="0"),
    "min.insync.replicas of 5": configs(min_insync_replicas="5"),
    "segment.bytes of 1": configs(segment_bytes="1"),
    "segment.bytes of 1 MB": configs(segment_bytes="1048576"),
    "segment.bytes just below": configs(segment_bytes="1048575"),
    "segment.index.bytes of 3": configs(segment_index_bytes="3"),
    "segment.ms of 0": configs(segment_ms="0"),
    "compaction lags the wrong way": configs(min_compaction_lag_ms="10", max_compaction_lag_ms="5"),
    "local retention beyond retention": configs(retention_ms="1000", local_retention_ms="2000"),
    "local retention of -1": configs(retention_ms="1000", local_retention_ms="-1"),
    "local bytes beyond bytes": configs(retention_bytes="1000", local_retention_bytes="2000"),
    "remote storage": configs(remote_storage_enable="true"),
    "remote storage off": configs(remote_storage_enable="false"),
    "remote copy": configs(remote_log_copy_disable="true"),
    "remote deletion": configs(remote_log_delete_on_disable="true"),
    "throttled replicas": configs(leader_replication_throttled_replicas="0:1,1:1"),
    "throttled replicas *": configs(leader_replication_throttled_replicas="*"),
    "throttled replicas none": configs(leader_replication_throttled_replicas="none"),
    "throttled replicas of nonsense": configs(leader_replication_throttled_replicas="nonsense"),
    "two of one name": configs(retention_ms="1000") + configs(retention_ms="2000"),
    "flush.messages of 0": configs(flush_messages="0"),
    "message.format.version": configs(message_format_version="3.0"),
    "message.downconversion.enable": configs(message_downconversion_enable="true"),
    "message.timestamp.difference.max.ms": configs(message_timestamp_difference_max_ms="1"),
    "internal.segment.bytes": configs(internal_segment_bytes="1000"),
    "two that are wrong": configs(retention_ms="soon", cleanup_policy="shred"),
    "one unknown, one wrong": configs(nonsense="1", cleanup_policy="shred"),
}
NAMES = ("", ".", "..", "a b", "a/b", "a,b", "ünï", "a" * 249, "a" * 250, "__cluster_metadata", "_", "a\n", "A.b_c-9")


def ask(side, label, version, *topics, **fields):
    """One CreateTopics."""
    return side.ask(label, "CreateTopics", version, {"topics": list(topics), "timeoutMs": 20_000, **fields})


@story
def create_topics(side):
    there = create(side, "there")
    for version in versions("CreateTopics"):
        for word, fields in REQUESTS.items():
            topic = {"name": name(side, f"v{version}-{word.replace(' ', '-').replace(',', '')}"), **fields}
            ask(side, f"{word}, only validated", version, topic, validateOnly=True)
            ask(side, word, version, topic)
        plain = {"numPartitions": 1, "replicationFactor": 1}
        for word in NAMES:
            ask(side, f"the name {word[:12]!r}, only validated", version, {"name": word, **plain}, validateOnly=True)
        for validate in (True, False):
            only = ", only validated" if validate else ""
            ask(side, f"there already{only}", version, {"name": there, **plain}, validateOnly=validate)
            ask(
                side,
                f"there already, and wrong{only}",
                version,
                {"name": there, "numPartitions": 0, "replicationFactor": 1},
                validateOnly=validate,
            )
            twice = {"name": name(side, f"v{version}-twice"), **plain}
            ask(side, f"twice{only}", version, twice, twice, validateOnly=validate)
            other = {**twice, "numPartitions": 3}
            ask(
                side,
                f"twice, differently, among others{only}",
                version,
                twice,
                other,
                {"name": "a b", **plain},
                validateOnly=validate,
            )
            dotted, lined = name(side, f"v{version}.dot"), name(side, f"v{version}_dot")
            ask(side, f"a name with a dot{only}", version, {"name": dotted, **plain}, validateOnly=validate)
            ask(side, f"a name that collides{only}", version, {"name": lined, **plain}, validateOnly=validate)
            pair = [{"name": name(side, f"v{version}{mark}pair"), **plain} for mark in "._"]
            ask(side, f"two that collide{only}", version, *pair, validateOnly=validate)
        ask(side, "nothing", version)
        ask(side, "no time", version, {"name": there, **plain}, timeoutMs=0)


@story
def create_topics_configs(side):
    for version in (versions("CreateTopics", 4)[0], last("CreateTopics")):
        for number, (word, entries) in enumerate(CONFIGS.items()):
            topic = {
                "name": name(side, f"v{version}-{number}"),
                "numPartitions": 1,
                "replicationFactor": 1,
                "configs": entries,
            }
            ask(side, f"{word}, only validated", version, topic, validateOnly=True)
            if version == last("CreateTopics"):
                ask(side, word, version, topic)


@story
def create_partitions(side):
    api = "CreatePartitions"
    for version in versions(api):
        topic, other = create(side, f"v{version}", 2), create(side, f"other-v{version}")
        missing = name(side, "missing")

        def ask(label, *wanted, only_validate=False):
            request = {"topics": list(wanted), "timeoutMs": 20_000, "validateOnly": only_validate}
            side.ask(label, api, version, request)

        def brokers(*lists):
            return [{"brokerIds": each} for each in lists]

        for count in (-1, 0, 1, 2):
            ask(f"{count} of 2", {"name": topic, "count": count})
        ask("3, only validated", {"name": topic, "count": 3}, only_validate=True)
        ask("far too many", {"name": topic, "count": 2_147_483_647}, only_validate=True)
        ask("of an unknown topic", {"name": missing, "count": 3})
        ask("of a bad name", {"name": "a b", "count": 3})
        ask("of no name", {"name": "", "count": 3})
        for label, lists in {
            "assigned": [[1]],
            "too few assigned": [],
            "too many assigned": [[1], [1]],
            "assigned to a stranger": [[9]],
            "assigned to nobody": [[]],
            "assigned twice to one": [[1, 1]],
            "assigned to two": [[1, 9]],
        }.items():
            ask(
                f"{label}, only validated",
                {"name": topic, "count": 3, "assignments": brokers(*lists)},
                only_validate=True,
            )
        ask("2, assigned", {"name": topic, "count": 2, "assignments": brokers([1])})
        ask("twice", {"name": topic, "count": 3}, {"name": topic, "count": 4})
        ask("twice, and another", {"name": topic, "count": 3}, {"name": topic, "count": 3}, {"name": other, "count": 2})
        ask("3", {"name": topic, "count": 3})
        ask("4, assigned", {"name": topic, "count": 4, "assignments": brokers([1])})
        ask("nothing")
        side.ask("they are there", "Metadata", 12, topics(other))


@story
def delete_topics(side):
    api = "DeleteTopics"
    for version in versions(api):
        words = [create(side, f"v{version}-{word}") for word in "abcdef"]
        a, b, c, d, e, f = words
        missing = name(side, "missing")
        if version < 6:

            def ask(label, *names):
                side.ask(label, api, version, {"topicNames": list(names), "timeoutMs": 20_000})

            ask("one", a)
            ask("one that is gone", a)
            ask("two and a missing one", b, missing, c)
            ask("twice", d, d)
            ask("a bad name", "a b")
            ask("no name", "")
            ask("nothing")
        else:

            def ask(label, *states):
                side.ask(label, api, version, {"topics": list(states), "timeoutMs": 20_000})

            id_of = {word: topic_id(side, word) for word in words}
            ask("one", {"name": a})
            ask("one that is gone", {"name": a})
            ask("by id", {"name": None, "topicId": id_of[b]})
            ask("by an id that is gone", {"name": None, "topicId": id_of[b]})
            ask("by an unknown id", {"name": None, "topicId": UNKNOWN_ID})
            ask("by name and by id", {"name": c}, {"name": None, "topicId": id_of[d]}, {"name": missing})
            ask("by name and id at once", {"name": e, "topicId": id_of[e]})
            ask("by neither", {"name": None, "topicId": NIL})
            ask("by neither twice", *[{"name": None, "topicId": NIL}] * 2)
            ask("by name and by its id", {"name": e}, {"name": None, "topicId": id_of[e]})
            ask("a name twice", {"name": f}, {"name": f})
            ask("an id twice", *[{"name": None, "topicId": id_of[f]}] * 2)
            ask("a bad name", {"name": "a b"})
            ask("nothing")
        # A broker of Kafka goes on naming a topic for a moment after its controller has deleted it.
        time.sleep(0.3)
        for word in words:
            side.ask("left", "Metadata", 12, {**topics(word), "allowAutoTopicCreation": False})
