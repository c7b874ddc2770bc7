"""Produce and InitProducerId."""

import base64
import struct
import time

import batches
from batches import batch, now
from peers import NIL, UNKNOWN_ID

from . import create, last, name, story, topic_id, versions

DAY_MS = 24 * 3_600_000


def produce(
    side, label, version, topic, records, *, acks=-1, partition=0, topic_id=UNKNOWN_ID, timeout_ms=10_000, **order
):
    """One Produce to one partition, or to several where `records` is a list of pairs of partition and records."""
    pairs = records if isinstance(records, list) else [(partition, records)]
    data = [
        {"index": index, "records": None if each is None else base64.b64encode(each).decode()} for index, each in pairs
    ]
    request = {
        "acks": acks,
        "timeoutMs": timeout_ms,
        "topicData": [{"name": topic, "topicId": topic_id, "partitionData": data}],
    }
    return side.ask(label, "Produce", version, request, **order)


def writer(side, version, topic):
    """`produce` to a topic at a version."""
    topic_id_ = topic_id(side, topic)

    def write(label, records, **fields):
        return produce(side, label, version, topic, records, **{"topic_id": topic_id_, **fields})

    return write


def ends(side, topic, partitions=1, after=""):
    """Where the log ends."""
    wanted = [{"partitionIndex": index, "timestamp": -1} for index in range(partitions)]
    side.ask(f"the end{after}", "ListOffsets", 5, {"topics": [{"name": topic, "partitions": wanted}]})


@story
def produce_acks(side):
    for version in versions("Produce", 3):
        topic = create(side, f"v{version}", 2)
        write = writer(side, version, topic)
        for acks in (-1, 1, 2, -2, 32_767):
            write(f"acks={acks}", batch(b"a"), acks=acks)
        write("acks=0", batch(b"a"), acks=0, oneway=True)
        write("after acks=0", batch(b"b"))
        write("two partitions", [(0, batch(b"a")), (1, batch(b"b"))])
        twice = create(side, f"twice-v{version}")
        writer(side, version, twice)("a partition twice", [(0, batch(b"a")), (0, batch(b"b"))])
        write("an unknown partition", batch(b"a"), partition=2)
        write("partition -1", batch(b"a"), partition=-1)
        write("one known, one not", [(1, batch(b"a")), (9, batch(b"a"))])
        produce(side, "an unknown topic", version, name(side, "unknown"), batch(b"a"))
        produce(side, "a bad name", version, "a b", batch(b"a"))
        produce(side, "no name", version, "", batch(b"a"), topic_id=NIL)
        write("no time", batch(b"a"), timeout_ms=0)
        write("less than no time", batch(b"a"), timeout_ms=-1)
        side.ask("nothing", "Produce", version, {"acks": -1, "timeoutMs": 1000, "topicData": []})
        write("acks=0 to an unknown partition", batch(b"a"), acks=0, partition=9, close=True, seconds=3)
        write("after that", batch(b"a"), close=True)
        ends(side, topic, 2)


@story
def produce_batches(side):
    for version in (3, 9, last("Produce")):

        def write(label, records, **fields):
            # In a topic of its own, so that what one side takes does not move what comes after.
            numbers.append(len(numbers))
            one = create(side, f"v{version}-{len(numbers)}")
            answer = writer(side, version, one)(label, records, **fields)
            ends(side, one, after=f" of {label}")
            return answer

        numbers = []
        write("several records", batch(b"a", b"b", b"c"))
        write("null", None, seconds=1)
        write("no bytes", b"")
        write("a broken checksum", batch(b"a", crc_error=1))
        for magic in (0, 1):
            write(f"magic {magic}", batches.old_message(b"a", magic=magic))
        for magic in (3, 127, -1):
            write(f"a batch that says magic {magic}", batch(b"a", magic=magic))
        write("two batches", batch(b"a") + batch(b"b"))
        write("a batch and an old message", batch(b"a") + batches.old_message(b"b"))
        write("a batch and a bit", batch(b"a") + b"\0" * 5)
        write("a batch that is cut", batch(b"a" * 100)[:-5])
        write("half a header", batch(b"a")[:30])
        write("a length that is too long", batch(b"a", length_error=10))
        write("a length that is too short", batch(b"a", length_error=-1))
        write("a negative length", batch(b"a", length_error=-1000))
        write("no records", batch())
        write("no records, last offset delta 0", batch(last_offset_delta=0))
        write("no records, last offset delta 4", batch(last_offset_delta=4))
        write("count too high", batch(b"a", count=2))
        write("count too low", batch(b"a", b"b", count=1))
        write("count -1", batch(b"a", count=-1))
        write("count and delta too high", batch(b"a", count=2, last_offset_delta=1))
        write("last offset delta too high", batch(b"a", last_offset_delta=5))
        write("last offset delta too low", batch(b"a", b"b", last_offset_delta=0))
        write("last offset delta -1", batch(b"a", last_offset_delta=-1))
        write("offsets with gaps", batch(b"a", b"b", b"c", offset_step=2))
        write("offsets with gaps and a delta to match", batch(b"a", b"b", offset_step=2, last_offset_delta=2))
        write("a base offset", batch(b"a", base_offset=7))
        write("a negative base offset", batch(b"a", base_offset=-7))
        write("a leader epoch", batch(b"a", leader_epoch=7))
        write("a control batch", batch(b"\0\0\0\0\0\0", key=b"\0\0\0\1", attributes=batches.CONTROL))
        write("a transactional batch", batch(b"a", attributes=batches.TRANSACTIONAL, producer=(1, 0, 0)))
        write("a transactional batch of nobody", batch(b"a", attributes=batches.TRANSACTIONAL))
        write("log append time", batch(b"a", attributes=batches.LOG_APPEND_TIME))
        write("delete horizon", batch(b"a", attributes=batches.DELETE_HORIZON))
        for bit in (7, 8, 15):
            write(f"attribute bit {bit}", batch(b"a", attributes=(1 << bit) - (1 << 16 if bit == 15 else 0)))
        for codec in (5, 6, 7):
            write(f"codec {codec}", batch(b"a", codec=codec))
        write("gzip", batch(b"a", b"b", codec=batches.GZIP))
        write("gzip, count too high", batch(b"a", codec=batches.GZIP, count=2))
        write("gzip, count and delta too high", batch(b"a", codec=batches.GZIP, count=2, last_offset_delta=1))
        write("gzip, count too low", batch(b"a", b"b", codec=batches.GZIP, count=1))
        write("gzip, count and delta too low", batch(b"a", b"b", codec=batches.GZIP, count=1, last_offset_delta=0))
        write("gzip, offsets with gaps", batch(b"a", b"b", codec=batches.GZIP, offset_step=2))
        write("gzip of nothing", batch(codec=batches.GZIP, records=b""))
        for codec in (1, 2, 3, 4):
            # Not compressed at all.
            broken = struct.pack(">i", 0) + b"nonsense that no codec knows"
            write(f"codec {codec} of nonsense", batch(b"a", attributes=codec, records=broken))
        write("records of nonsense", batch(b"a", records=b"\xff\xff\xff\xff\xff\xff\xff"))
        write("a record that is too long", batch(b"a", records=batches.record(b"a")[:-1]))
        write("a record with attributes", batch(b"a", records=batches.record(b"a", attributes=1)))
        write("bytes behind the records", batch(b"a", records=batches.record(b"a") + b"\0\0\0"))
        write(
            "gzip, bytes behind the records", batch(b"a", codec=batches.GZIP, records=batches.record(b"a") + b"\0\0\0")
        )


@story
def produce_sizes(side):
    for version in (3, 8, last("Produce")):
        topic = create(side, f"v{version}", configs={"max.message.bytes": "200"})
        write = writer(side, version, topic)
        overhead = len(batch(b""))
        for size in (200 - overhead - 2, 200 - overhead - 1, 200 - overhead, 200 - overhead + 1, 1000):
            write(f"{size} bytes", batch(b"a" * size))
        write("gzip", batch(b"a" * 1000, codec=batches.GZIP))
        write("two that are small", batch(b"a" * 50) + batch(b"a" * 50))
        for size in (0, 61, 100):
            empty = create(side, f"v{version}-{size}", configs={"max.message.bytes": str(size)})
            writer(side, version, empty)(f"in a topic for {size}", batch(b"a"))
        ends(side, topic)
    topic = create(side, "default")
    write = writer(side, last("Produce"), topic)
    value = 1_048_588 - len(batch(b"")) - 6
    for more in (-1, 0, 1, 2):
        write(f"the default and {more}", batch(b"a" * (value + more)))
    small = create(side, "segments", configs={"segment.bytes": "1048576", "max.message.bytes": "4000000"})
    writer(side, last("Produce"), small)("beyond a segment", batch(b"a" * 1_100_000))


@story
def produce_timestamps(side):
    for version in (3, 8, last("Produce")):
        bounds = {"message.timestamp.before.max.ms": "100000000", "message.timestamp.after.max.ms": "600000"}
        bounds["retention.ms"] = "-1"
        topic = create(side, f"v{version}", configs=bounds)
        write = writer(side, version, topic)
        begun = now()
        write("now", batch(b"a"))
        write("a day ago", batch(b"a", timestamp=begun - DAY_MS))
        write("two days ago", batch(b"a", timestamp=begun - 2 * DAY_MS))
        write("in an hour", batch(b"a", timestamp=begun + 3_600_000))
        write("in a minute", batch(b"a", timestamp=begun + 60_000))
        write(
            "the second of them too old",
            batch(b"a", b"b", timestamp=begun, timestamp_step=-2 * DAY_MS, max_timestamp=begun),
        )
        write("the third too new", batch(b"a", b"b", b"c", timestamp=begun, timestamp_step=DAY_MS))
        write("never", batch(b"a", timestamp=-1))
        write("before 1970", batch(b"a", timestamp=-2))
        write("as early as can be", batch(b"a", timestamp=-(2**63)))
        write("as late as can be", batch(b"a", timestamp=2**63 - 1))
        write("0", batch(b"a", timestamp=0))
        write("a maximum that is too high", batch(b"a", timestamp=begun, max_timestamp=begun + 1))
        write(
            "a maximum that is too low", batch(b"a", b"b", timestamp=begun, timestamp_step=5, max_timestamp=begun + 1)
        )
        write("a maximum of -1", batch(b"a", timestamp=begun, max_timestamp=-1))
        write("a maximum far ahead", batch(b"a", timestamp=begun, max_timestamp=begun + 10 * DAY_MS))
        write("gzip, too old", batch(b"a", b"b", codec=batches.GZIP, timestamp=begun - 2 * DAY_MS))
        ends(side, topic)
        stamped = create(side, f"v{version}-stamped", configs={**bounds, "message.timestamp.type": "LogAppendTime"})
        write = writer(side, version, stamped)
        write("stamped", batch(b"a", b"b"))
        write("stamped, two days ago", batch(b"a", timestamp=begun - 2 * DAY_MS))
        write("stamped, in a year", batch(b"a", timestamp=begun + 365 * DAY_MS))
        write("stamped, never", batch(b"a", timestamp=-1))
        write("stamped, gzip", batch(b"a", b"b", codec=batches.GZIP, timestamp=begun - 7))
        write("stamped already", batch(b"a", attributes=batches.LOG_APPEND_TIME))
        write("stamped, acks=1", batch(b"a"), acks=1)
        write("stamped, refused", batch(b"a", crc_error=1))
    plain = create(side, "plain", configs={"retention.ms": "-1"})
    write = writer(side, last("Produce"), plain)
    begun = now()
    stamps = {"never": -1, "before 1970": -2, "0": 0, "in two hours": begun + 7_200_000, "1": 1}
    for label, stamp in {**stamps, "as early as can be": -(2**63)}.items():
        write(f"by default, {label}", batch(b"a", timestamp=stamp))


@story
def produce_compacted(side):
    for version in (3, 7, 8, last("Produce")):
        topic = create(side, f"v{version}", configs={"cleanup.policy": "compact"})
        write = writer(side, version, topic)
        write("a key", batch(b"a", key=b"k"))
        write("an empty key", batch(b"a", key=b""))
        write("no key", batch(b"a"))
        write("a tombstone", batch(None, key=b"k"))
        keyed = batches.record(b"a", b"k") + batches.record(b"b", offset_delta=1) + batches.record(b"c", offset_delta=2)
        write("the second and third without", batch(b"a", b"b", b"c", records=keyed))
        write("gzip, the second and third without", batch(b"a", b"b", b"c", records=keyed, codec=batches.GZIP))
        write("no key, of a producer", batch(b"a", producer=(77_000, 0, 0)))
        ends(side, topic)
        both = create(side, f"v{version}-both", configs={"cleanup.policy": "compact,delete"})
        writer(side, version, both)("no key, to both", batch(b"a"))


def producer_id(side):
    """A producer id, once there are any to be had."""
    request = {"transactionalId": None, "transactionTimeoutMs": 60_000}
    for _ in range(100):
        answer = side.tell({"api": "InitProducerId", "version": 4, "request": request})["answer"]
        if answer["errorCode"] == "NONE":
            break
        time.sleep(0.05)
    return answer["producerId"]


@story
def produce_idempotent(side):
    for version in (3, 9, last("Produce")):
        topic = create(side, f"v{version}", 2)
        write = writer(side, version, topic)
        producer = producer_id(side)

        def at(epoch, sequence, *values):
            return batch(*(values or (b"a",)), producer=(producer, epoch, sequence))

        write("the first", at(0, 0))
        write("again", at(0, 0))
        write("the next two", at(0, 1, b"b", b"c"))
        write("the first, once more", at(0, 0))
        write("again, one of them", at(0, 1, b"b"))
        write("again, the other", at(0, 2, b"c"))
        write("a gap", at(0, 9))
        write("a gap after a gap", at(0, 10))
        write("back", at(0, 2, b"b", b"c"))
        for sequence in range(3, 10):
            write(f"sequence {sequence}", at(0, sequence))
        write("a duplicate of long ago", at(0, 0))
        write("a duplicate of the last five", at(0, 5))
        write("a later epoch, not from 0", at(1, 5))
        write("a later epoch", at(1, 0))
        write("the earlier epoch", at(0, 10))
        write("two epochs later", at(3, 0))
        write("epoch -1", at(-1, 0))
        write("sequence -1", at(3, -1))
        write("sequence -2", at(3, -2))
        write("another partition, not from 0", at(3, 4), partition=1)
        write("another partition, going on", at(3, 5), partition=1)
        stranger = batch(b"a", producer=(producer + 500_000, 0, 0))
        write("an id that nobody has", stranger)
        write("two batches", at(3, 1) + at(3, 2))
        write(
            "a sequence at the end",
            batch(b"a", b"b", b"c", producer=(producer + 500_001, 0, 2_147_483_646)),
            partition=1,
        )
        write("a sequence around the end", batch(b"a", producer=(producer + 500_001, 0, 1)), partition=1)
        write("not from 0, acks=1", batch(b"a", producer=(producer + 500_002, 0, 3)), acks=1)
        ends(side, topic, 2)


@story
def init_producer_id(side):
    api = "InitProducerId"
    producer_id(side)
    for version in versions(api):
        side.ask("plain", api, version, {"transactionalId": None, "transactionTimeoutMs": 60_000})
        side.ask("plain, no timeout", api, version, {"transactionalId": None, "transactionTimeoutMs": 0})
        side.ask("plain, timeout -1", api, version, {"transactionalId": None, "transactionTimeoutMs": -1})
        side.ask("an empty transactional id", api, version, {"transactionalId": "", "transactionTimeoutMs": 60_000})
        for producer, epoch in ((5, 3), (5, -1), (-1, 3), (-2, 0), (5, 32_767)):
            fields = {
                "transactionalId": None,
                "transactionTimeoutMs": 60_000,
                "producerId": producer,
                "producerEpoch": epoch,
            }
            side.ask(f"producer {producer} epoch {epoch}", api, version, fields)
        side.ask("a transactional id", api, version, {"transactionalId": "t", "transactionTimeoutMs": 60_000})
