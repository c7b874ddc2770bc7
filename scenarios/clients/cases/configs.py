"""DescribeConfigs."""

from . import create, name, story, versions

TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP = 2, 4, 8, 16, 32


def ask(side, label, version, kind, resource, keys=None, **fields):
    request = {"resources": [{"resourceType": kind, "resourceName": resource, "configurationKeys": keys}], **fields}
    side.ask(label, "DescribeConfigs", version, request)


@story
def topic_configs(side):
    plain = create(side, "plain")
    words = {"retention.ms": "1234", "cleanup.policy": "compact,delete", "compression.type": "zstd", "segment.ms": "7"}
    special = create(side, "special", configs=words)
    for version in versions("DescribeConfigs"):
        everything = {"includeSynonyms": True, "includeDocumentation": True}
        for topic in (plain, special):
            word = topic.rsplit("-", 1)[1]
            ask(side, f"{word}: all", version, TOPIC, topic)
            ask(side, f"{word}: all with synonyms", version, TOPIC, topic, includeSynonyms=True)
            ask(side, f"{word}: all with everything", version, TOPIC, topic, **everything)
            ask(side, f"{word}: no keys", version, TOPIC, topic, [])
            ask(side, f"{word}: some keys", version, TOPIC, topic, ["segment.ms", "retention.ms"], **everything)
            ask(side, f"{word}: unknown key", version, TOPIC, topic, ["unknown", "retention.ms", "Retention.ms"])
            ask(side, f"{word}: a key twice", version, TOPIC, topic, ["retention.ms", "retention.ms"])
            ask(side, f"{word}: a key of brokers", version, TOPIC, topic, ["log.retention.ms", "message.max.bytes"])
        ask(side, "an unknown topic", version, TOPIC, name(side, "unknown"))
        for word in ("", "a b", "a" * 250, ".."):
            ask(side, f"the topic {word[:9]!r}", version, TOPIC, word)
        both = [
            {"resourceType": TOPIC, "resourceName": each, "configurationKeys": ["retention.ms"]}
            for each in (plain, special)
        ]
        side.ask("two topics", "DescribeConfigs", version, {"resources": both})
        side.ask("a topic twice", "DescribeConfigs", version, {"resources": both[:1] * 2})
        side.ask("nothing", "DescribeConfigs", version, {"resources": []})


@story
def broker_configs(side):
    for version in versions("DescribeConfigs"):
        everything = {"includeSynonyms": True, "includeDocumentation": True}
        ask(side, "all", version, BROKER, "1")
        ask(side, "all with everything", version, BROKER, "1", **everything)
        ask(side, "of every broker", version, BROKER, "")
        ask(side, "of every broker, with everything", version, BROKER, "", **everything)
        ask(side, "no keys", version, BROKER, "1", [])
        some = [
            "num.partitions",
            "log.retention.hours",
            "log.retention.ms",
            "broker.id",
            "node.id",
            "log.dirs",
            "log.dir",
        ]
        ask(side, "some keys", version, BROKER, "1", some, **everything)
        ask(side, "unknown keys", version, BROKER, "1", ["unknown", "retention.ms"])
        for resource in ("9", "-1", "x", "01", " 1", "99999999999"):
            ask(side, f"broker {resource!r}", version, BROKER, resource, ["num.partitions"])
        for kind in (0, 1, 3, 64, 127):
            ask(side, f"kind {kind}", version, kind, "1")
        ask(side, "a logger of another broker", version, BROKER_LOGGER, "9")
        ask(side, "a logger of no broker", version, BROKER_LOGGER, "x")
        ask(side, "metrics", version, CLIENT_METRICS, "unknown")
        ask(side, "metrics of no name", version, CLIENT_METRICS, "")
        ask(side, "a group of no name", version, GROUP, "")
