"""Where varve may answer otherwise than Apache Kafka, and why."""

import re
from dataclasses import dataclass, field

# The APIs whose answers are compared.
APIS = {
    0: "Produce",
    1: "Fetch",
    2: "ListOffsets",
    3: "Metadata",
    18: "ApiVersions",
    19: "CreateTopics",
    20: "DeleteTopics",
    22: "InitProducerId",
    23: "OffsetForLeaderEpoch",
    32: "DescribeConfigs",
    37: "CreatePartitions",
    45: "AlterPartitionReassignments",
    46: "ListPartitionReassignments",
    60: "DescribeCluster",
    75: "DescribeTopicPartitions",
}


@dataclass
class Allowed:
    """A difference that is meant."""

    reason: str
    api: str
    # Where in the outcome; the whole path matches.
    path: str
    # What both sides have there, as patterns of their Python representation.
    kafka: str = ".*"
    varve: str = ".*"
    # Of which requests.
    label: str = ".*"
    story: str = ".*"
    used: int = field(default=0, compare=False)

    def covers(self, asked, path, kafka, varve) -> bool:
        """Whether a difference is this one."""
        pairs = (
            (self.api, asked.api),
            (self.path, path),
            (self.kafka, repr(kafka)),
            (self.varve, repr(varve)),
            (self.label, asked.label),
            (self.story, asked.story),
        )
        return all(re.fullmatch(pattern, text, re.DOTALL) for pattern, text in pairs)


# Keys of APIs that a later issue brings: groups, transactions, administration, security, quotas, telemetry.
NOT_SERVED_YET = (
    *(8, 9, 11, 12, 13, 14, 15, 16, 17, 21, 24, 25, 26, 27, 28, 29, 30, 31, 33, 34, 35, 36, 38, 39, 40, 41, 42, 43),
    *(44, 47, 48, 49, 50, 51, 55, 57, 61, 64, 65, 66, 68, 69, 74, 76, 77, 78, 79, 80, 81, 83, 84, 85, 86),
    *(87, 88, 89, 90, 91, 92, 93, 94),
)

# How the names begin of settings of a broker for parts that varve does not have, or has without a choice.
NO_SUCH_PART = (
    # Groups, transactions, share and streams groups, and their topics.
    *(r"add\.partitions\.to\.txn", r"group\.", r"offset\.metadata\.", r"offsets\.", r"share\.", r"transaction"),
    # Security, policies, quotas.
    *(r"alter\.config\.policy", r"alter\.log\.dirs", r"authorizer\.", r"client\.quota\.", r"connection\.failed\.auth"),
    *(r"connections\.max\.reauth", r"controller\.quota\.", r"create\.topic\.policy", r"delegation\.token"),
    *(r"early\.start", r"errors\.deadletterqueue", r"max\.connection\.creation", r"max\.connections\.per", r"principal\.", r"quota\."),
    *(r"replication\.quota", r"sasl\.", r"security\.", r"ssl\."),
    # Kafka's own controller, replication, threads and buffers.
    *(r"background\.threads", r"broker\.heartbeat", r"broker\.session", r"config\.providers", r"controller\."),
    *(r"cordoned\.", r"initial\.broker", r"inter\.broker\.listener", r"leader\.imbalance", r"listener\.security"),
    *(r"log\.dir\.failure", r"metadata\.", r"num\.(io|network|recovery|replica)", r"process\.roles"),
    *(r"queued\.max\.requests", r"replica\.", r"request\.timeout", r"socket\.(connection|listen|receive|send)"),
    r".*\.purgatory\.",
    # Its metrics and telemetry.
    *(r"kafka\.metrics", r"metric\.", r"metrics\.", r"telemetry\."),
    # Cleaning, flushing and tiered storage, whose workings are varve's own business or not there.
    *(r"follower\.fetch\.last", r"log\.cleaner\.(backoff|dedupe|enable|io|threads)", r"log\.flush\.(offset|start)"),
    *(r"log\.retention\.check", r"remote\."),
)

ALLOWED = [
    Allowed(
        "An API that is not served is not advertised.",
        "ApiVersions",
        rf"answer\.apiKeys\.({'|'.join(map(str, NOT_SERVED_YET))})",
        varve="nothing",
    ),
    Allowed(
        "Features gate what varve has one form of, or has not.",
        "ApiVersions",
        r"answer\.(supportedFeatures|finalizedFeatures|finalizedFeaturesEpoch)",
        varve="nothing",
    ),
    # Configurations.
    Allowed(
        "When records are on disk is a topic's choice in varve, by a configuration that Kafka has not.",
        "CreateTopics|DescribeConfigs",
        r"answer\..*configs\.(log\.)?flush",
        kafka="nothing",
    ),
    Allowed(
        "Kafka has no scrub: what rots where nobody reads is found by whoever reads it.",
        "DescribeConfigs",
        r"answer\.results\.1\.configs\.log\.scrub\.interval\.ms",
        kafka="nothing",
    ),
    Allowed(
        "A new Kafka cluster copies min.insync.replicas from its file to its metadata, for eligible leader replicas.",
        "CreateTopics|DescribeConfigs",
        r"answer\..*configs\.min\.insync\.replicas\.(configSource|synonyms)",
    ),
    Allowed(
        "The same, where all that is asked for is what stands in the metadata.",
        "DescribeConfigs",
        r"answer\.results\.\.configs\.min\.insync\.replicas",
        varve="nothing",
    ),
    Allowed(
        "A setting of a part that varve does not have.",
        "DescribeConfigs",
        rf"answer\.results\.1\.configs\.({'|'.join(NO_SUCH_PART)}).*",
        varve="nothing",
    ),
    Allowed(
        "Requests under way are bounded in memory by default, and not only if it is asked for.",
        "DescribeConfigs",
        r"answer\.results\.1\.configs\.queued\.max\.request\.bytes\..*value",
        kafka="'-1'",
        varve="'1073741824'",
    ),
    Allowed(
        "Where it listens and where its data is, each says of itself.",
        "DescribeConfigs",
        r"answer\.results\.1\.configs\.((advertised\.)?listeners|log\.dirs)\.(value|synonyms\[0\]\.value)",
        varve="'(clients://|/).*'",
    ),
    Allowed(
        "There is no telemetry of clients that could be configured.",
        "DescribeConfigs",
        r"answer\.results\.unknown\.errorCode",
        varve="'INVALID_REQUEST'",
        label="metrics",
    ),
    Allowed(
        "A key that is Kafka's own, for its tests.",
        "CreateTopics",
        r"answer\.topics\..*\.errorCode",
        varve="'INVALID_CONFIG'",
        label=r"internal\.segment\.bytes.*",
    ),
    # Topics.
    Allowed(
        "Kafka looks for names that collide among topics that are there, and overlooks those of one request.",
        "CreateTopics",
        r"answer\.topics\..*_pair\.errorCode",
        kafka="'NONE'",
        varve="'INVALID_TOPIC_EXCEPTION'",
        label="two that collide.*",
    ),
    Allowed(
        "Two replicas make a topic that stands still without either; that is said when it is made.",
        "CreateTopics",
        r"answer\.topics\..*\.errorMessage",
        kafka="None",
        varve="'a text'",
        label="(two|on 2).*",
    ),
    Allowed(
        "What the controller decides at once it answers at once, also where there is no time.",
        "CreateTopics",
        r"answer\.topics\..*\.errorCode",
        kafka="'REQUEST_TIMED_OUT'",
        varve="'TOPIC_ALREADY_EXISTS'",
        label="no time",
    ),
    Allowed(
        "More is said of an error.",
        "CreatePartitions|DescribeConfigs|Produce",
        r"answer\..*\.errorMessage",
        kafka="None|''",
        varve="'a text'",
    ),
    Allowed(
        "A topic without name and id is a bad request; Kafka says that it has failed.",
        "Metadata",
        r"answer\.(topics\..*\.)?errorCode",
        kafka="'UNKNOWN_SERVER_ERROR'",
        varve="'INVALID_REQUEST'",
        label="neither name nor id",
    ),
    Allowed(
        "An empty name is a bad name; Kafka says that it has failed.",
        "DescribeTopicPartitions",
        r"answer\.topics\.\.errorCode",
        kafka="'UNKNOWN_SERVER_ERROR'",
        varve="'INVALID_TOPIC_EXCEPTION'",
        label="empty name",
    ),
    # Produce.
    Allowed(
        "Every batch is appended and answered; of two for one partition Kafka drops one without a word.",
        "Produce",
        r"answer\.responses\..*\.partitionResponses\.0 again",
        kafka="nothing",
        label="a partition twice",
    ),
    Allowed(
        "An acknowledgement waits for the disk, so there is none in no time.",
        "Produce",
        r"answer\.responses\..*\.partitionResponses\.0\.errorCode",
        kafka="'NONE'",
        varve="'REQUEST_TIMED_OUT'",
        label="(less than )?no time",
    ),
    Allowed(
        "Nothing where records should be is a bad record; Kafka never answers.",
        "Produce",
        "silent|answer",
        label="null",
    ),
    Allowed(
        "A codec or bytes that nobody can read are refused with what is wrong; Kafka says that it has failed.",
        "Produce",
        r"answer\.responses\..*\.partitionResponses\.0\.errorCode",
        kafka="'UNKNOWN_SERVER_ERROR'",
        varve="'(UNSUPPORTED_COMPRESSION_TYPE|INVALID_RECORD)'",
        label="codec .*|records of nonsense|gzip, offsets with gaps",
    ),
    Allowed(
        "Offsets have no gaps; Kafka does not look at those within a batch that is not compressed.",
        "Produce|ListOffsets",
        r"answer\.(responses\..*\.partitionResponses\.0\.errorCode|topics\..*\.offset)",
        label="offsets with gaps|the end of offsets with gaps",
    ),
    Allowed(
        "Marks that are a broker's to set are refused; Kafka clears them, or takes them for its own.",
        "Produce|ListOffsets",
        r"answer\.(responses\..*\.partitionResponses\.0\.errorCode|topics\..*\.offset)",
        label="(the end of )?(log append time|delete horizon)",
    ),
    Allowed(
        "A producer without an id has no transaction, whoever may use one.",
        "Produce",
        r"answer\.responses\..*\.partitionResponses\.0\.errorCode",
        kafka="'TRANSACTIONAL_ID_AUTHORIZATION_FAILED'",
        varve="'INVALID_RECORD'",
        label="a transactional batch of nobody",
    ),
    Allowed(
        "A producer without an epoch is refused before it is compared with what is known of it.",
        "Produce",
        r"answer\.responses\..*\.partitionResponses\.0\.errorCode",
        kafka="'INVALID_PRODUCER_EPOCH'",
        varve="'INVALID_RECORD'",
        label="epoch -1",
    ),
    Allowed(
        "Where the log starts is told with what is appended, and not with what is refused.",
        "Produce",
        r"answer\.responses\..*\.partitionResponses\.0\.logStartOffset",
        kafka="0",
        varve="-1",
    ),
    Allowed(
        "A batch is refused for the first record that is wrong, of which its facts tell, and not for each.",
        "Produce",
        r"answer\.responses\..*\.partitionResponses\.0\.recordErrors\.\d",
        varve="nothing",
    ),
    Allowed(
        "It is said which record cannot be read.",
        "Produce",
        r"answer\.responses\..*\.partitionResponses\.0\.recordErrors\.\d",
        kafka="nothing",
        label="(gzip, )?count and delta too high|a record that is too long",
    ),
    # Reading.
    Allowed(
        "A batch is stored as its producer compressed it, whatever compression.type says.",
        "Fetch",
        r"answer\.responses\..*\.records\[\d+\]\.(codec|size)",
        label="gzipped: all",
    ),
    Allowed(
        "What is no text is no name, and its request is broken.",
        "Metadata",
        "answer|closed",
        label="a name that is no UTF-8",
    ),
    Allowed("Batches are sent whole.", "Fetch", r"answer\.responses\..*\.recordsCut", kafka="True", varve="False"),
    Allowed(
        "Less than nothing is nothing; Kafka says that it has failed.",
        "Fetch",
        r"answer\.responses\..*\.partitions\.\d\.errorCode",
        kafka="'UNKNOWN_SERVER_ERROR'",
        varve="'NONE'",
        label="at most -1 of a partition",
    ),
    Allowed(
        "An isolation level that there is not is taken for the weakest; Kafka says that it has failed.",
        "Fetch|ListOffsets",
        r"answer\..*errorCode",
        kafka="'UNKNOWN_SERVER_ERROR'",
        label=".*isolation level 2",
    ),
    Allowed(
        "A partition that is asked for twice is answered twice; Kafka answers the last.",
        "Fetch",
        r"answer\.responses\..*\.partitions\.0( again|\.records)",
        label="a partition twice",
    ),
    Allowed(
        "Only leaders serve: a consumer reads elsewhere where it was told to, and nobody is.",
        "Fetch",
        r"answer\.(responses\..*\.partitions\.0\.errorCode|nodeEndpoints)",
        kafka="'NONE'|nothing",
        label="a consumer",
    ),
    Allowed(
        "Brokers copy from one another by another protocol; who says on this one that it is a broker may not read.",
        "Fetch",
        r"answer\.responses\..*\.partitions\.0\.errorCode",
        kafka="'NOT_LEADER_OR_FOLLOWER'",
        varve="'TOPIC_AUTHORIZATION_FAILED'",
        label="as broker 9",
    ),
    Allowed(
        "There are no transactions yet.",
        "InitProducerId",
        r"answer\.errorCode",
        kafka="'(NOT_COORDINATOR|NONE|CONCURRENT_TRANSACTIONS|COORDINATOR_.*)'",
        varve="'UNSUPPORTED_VERSION'",
        label="a transactional id",
    ),
]


def allows(asked, path, kafka, varve) -> bool:
    """Whether a difference is listed."""
    for each in ALLOWED:
        if each.covers(asked, path, kafka, varve):
            each.used += 1
            return True
    return False


def unused():
    """What is listed and has not been seen."""
    return [f"{each.api} {each.path}: {each.reason}" for each in ALLOWED if not each.used]
