"""What both clusters are asked: a story is a function that asks a `Side`, and asks every side the same.

A story may use what it is told (ids, epochs), and goes on in the same way whatever it is told. Every name in it begins
with the story's own, so that stories do not disturb one another.
"""

import time

STORIES = []

# API names with the versions that Apache Kafka advertises, first and last inclusive; filled in before stories run.
VERSIONS = {}


def story(function):
    """Enters a story of one node in the list."""
    return story_of(1)(function)


def story_of(nodes: int):
    """Enters a story of a cluster of this many nodes."""

    def enter(function):
        function.nodes = nodes
        STORIES.append(function)
        return function

    return enter


def versions(api: str, least: int = 0):
    """The versions of an API that Kafka advertises, from `least` on."""
    first, last = VERSIONS[api]
    return range(max(first, least), last + 1)


def last(api: str) -> int:
    """The newest of them."""
    return VERSIONS[api][1]


def name(side, word: str) -> str:
    """A topic's name in this story."""
    return f"{side.story.replace('_', '-')}-{word}"


def create(side, word: str, partitions: int = 1, configs=None, replicas: int = 1, **fields) -> str:
    """Makes a topic, waits until each of its partitions has a leader, and returns its name."""
    topic = name(side, word)
    entries = [{"name": key, "value": value} for key, value in (configs or {}).items()]
    fields = {"name": topic, "numPartitions": partitions, "replicationFactor": replicas, "configs": entries, **fields}
    side.ask(f"create {word}", "CreateTopics", last("CreateTopics"), {"topics": [fields], "timeoutMs": 20_000})
    wait_for_leaders(side, topic)
    return topic


def topics(*names) -> dict:
    """The field `topics` where a topic is its name."""
    return {"topics": [{"name": one} for one in names]}


def found(side, topic: str) -> dict:
    """What Metadata has on a topic, without making it."""
    request = {**topics(topic), "allowAutoTopicCreation": False}
    said = side.tell({"api": "Metadata", "version": 12, "request": request})
    (about,) = said["answer"]["topics"]
    side.learn(about)
    return about


def wait_for_leaders(side, topic: str):
    """Waits until a topic is there and every partition is answered for by a leader; gives up after a while."""
    for _ in range(200):
        about = found(side, topic)
        if about["errorCode"] == "NONE" and all(each["leaderId"] >= 0 for each in about["partitions"]):
            # A broker of Kafka names itself leader before it answers as one.
            wanted = [{"partitionIndex": each["partitionIndex"], "timestamp": -1} for each in about["partitions"]]
            request = {"topics": [{"name": topic, "partitions": wanted}]}
            said = side.tell({"api": "ListOffsets", "version": 5, "request": request})
            (answered,) = said["answer"]["topics"]
            if all(each["errorCode"] == "NONE" for each in answered["partitions"]):
                return
        time.sleep(0.05)


def topic_id(side, topic: str) -> str:
    """The id of a topic."""
    return found(side, topic)["topicId"]
