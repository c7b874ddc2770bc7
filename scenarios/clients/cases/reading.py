"""Fetch, ListOffsets, OffsetForLeaderEpoch."""

import time

from batches import GZIP, batch, now, record
from peers import NIL, UNKNOWN_ID

from . import create, found, last, name, story, topic_id, versions
from .writing import writer


def partition(index, offset, most=1 << 20, **fields):
    """One partition of a fetch."""
    return {"partition": index, "fetchOffset": offset, "partitionMaxBytes": most, **fields}


class Reader:
    """Fetches from a topic at a version."""

    def __init__(self, side, version, topic):
        self.side, self.version, self.topic = side, version, topic
        self.id = topic_id(side, topic)

    def __call__(self, label, *partitions, forget=(), topic=None, topic_id=None, **fields):
        request = {"maxWaitMs": 0, "minBytes": 0, "maxBytes": 1 << 20, **fields}
        named = {"topic": topic or self.topic, "topicId": topic_id or self.id}
        if partitions:
            request["topics"] = [{**named, "partitions": list(partitions)}]
        if forget:
            request["forgottenTopicsData"] = [{**named, "partitions": list(forget)}]
        return self.side.ask(label, "Fetch", self.version, request)


def filled(side, word, partitions=1, **options):
    """A topic with five batches of 100 bytes of value in each partition, two records each."""
    topic = create(side, word, partitions, **options)
    write = writer(side, last("Produce"), topic)
    for number in range(5):
        value = bytes([ord("a") + number]) * 100
        write("fill", [(index, batch(value, value)) for index in range(partitions)])
    return topic


@story
def fetch(side):
    topic = filled(side, "topic", 2)
    empty = create(side, "empty")
    size = len(batch(b"a" * 100, b"a" * 100))
    for version in versions("Fetch"):
        read = Reader(side, version, topic)
        read("all", partition(0, 0))
        read("two partitions", partition(0, 0), partition(1, 4))
        read("from the middle of a batch", partition(0, 3))
        read("from the end", partition(0, 10))
        read("behind the end", partition(0, 11))
        for offset in (-1, -2, 1 << 40):
            read(f"from {offset}", partition(0, offset))
        for most in (-1, 0, 1, size - 1, size, size + 1, 2 * size, 3 * size - 1):
            read(f"at most {most} of a partition", partition(0, 2, most), partition(1, 4, most))
            if most >= 0:
                read(f"at most {most} in all", partition(0, 2), partition(1, 4), maxBytes=most)
        read("at most 1 of the first", partition(0, 2, 1), partition(1, 4))
        read("at most 1, the first at its end", partition(0, 10), partition(1, 4), maxBytes=1)
        read("at most 1, the first out of range", partition(0, 99), partition(1, 4), maxBytes=1)
        read("read committed", partition(0, 0), isolationLevel=1)
        read("isolation level 2", partition(0, 0), isolationLevel=2)
        read("an unknown partition", partition(9, 0))
        read("partition -1", partition(-1, 0))
        read("one known, one not", partition(9, 0), partition(0, 8))
        read("a partition twice", partition(0, 8), partition(0, 6))
        read("an unknown topic", partition(0, 0), topic=name(side, "unknown"), topic_id=UNKNOWN_ID)
        read("no topic", partition(0, 0), topic="", topic_id=NIL)
        read("a bad name", partition(0, 0), topic="a b", topic_id=UNKNOWN_ID)
        read("nothing")
        first = side.first_epoch
        for label, epoch in {"the": 0, "a later": 1, "a far later": 100}.items():
            read(f"{label} leader epoch", partition(0, 8, currentLeaderEpoch=first + epoch))
        read("leader epoch -2", partition(0, 8, currentLeaderEpoch=-2))
        read("a later leader epoch, out of range", partition(0, 99, currentLeaderEpoch=first + 1))
        for epoch in (first, first + 1, -1):
            read(
                f"last fetched epoch {epoch - first}" if epoch >= 0 else "no last fetched epoch",
                partition(0, 8, lastFetchedEpoch=epoch),
            )
        read("a rack", partition(0, 8), rackId="r")
        read("as broker 9", partition(0, 8), replicaId=9)
        read("as a debugger", partition(0, 8), replicaId=-2)
        read("as -3", partition(0, 8), replicaId=-3)
        waits = Reader(side, version, empty)

        def timed(label, reader, *partitions, most_ms, **fields):
            began = time.monotonic()
            reader(label, *partitions, maxWaitMs=most_ms, **fields)
            return (time.monotonic() - began) * 1000

        def patient(label, reader, *partitions, **fields):
            took = timed(label, reader, *partitions, most_ms=150, **fields)
            side.note("waits" if took >= 150 else "does not wait")

        def prompt(label, reader, *partitions, **fields):
            # Long enough for a machine that has other things to do.
            took = timed(label, reader, *partitions, most_ms=3000, **fields)
            side.note("does not wait" if took < 2500 else "waits")

        patient("waits", waits, partition(0, 0), minBytes=1)
        patient("waits for more than there is", read, partition(0, 0), minBytes=1 << 20)
        patient("beside an unknown partition", read, partition(0, 10), partition(9, 0), minBytes=1)
        prompt("need not wait", waits, partition(0, 0), minBytes=0)
        prompt("has enough", read, partition(0, 0), minBytes=1)
        prompt("beside one out of range", read, partition(0, 10), partition(1, 99), minBytes=1)
        if version >= 9:
            later = partition(1, 0, currentLeaderEpoch=first + 1)
            prompt("beside one of a later epoch", read, partition(0, 10), later, minBytes=1)
        prompt("nothing at all", read, minBytes=1)
        prompt("nothing but an unknown partition", read, partition(9, 0), minBytes=1)
        waits("less than no time", partition(0, 0), maxWaitMs=-1, minBytes=1)


@story
def fetch_sessions(side):
    topic = filled(side, "topic", 3)
    write = writer(side, last("Produce"), topic)
    for version in versions("Fetch", 7):
        read = Reader(side, version, topic)
        read("no session", partition(0, 10), sessionEpoch=-1)
        made = read("a new session", partition(0, 8), partition(1, 8), sessionEpoch=0)
        session = made["sessionId"] if made else 0
        read("nothing new", sessionId=session, sessionEpoch=1)
        read("asks further", partition(0, 10), partition(1, 10), sessionId=session, sessionEpoch=2)
        read("nothing new there", sessionId=session, sessionEpoch=3)
        write("more", [(0, batch(b"x"))])
        read("something new", sessionId=session, sessionEpoch=4)
        read("the same again", sessionId=session, sessionEpoch=4)
        read("a later epoch", sessionId=session, sessionEpoch=9)
        read("goes on all the same", sessionId=session, sessionEpoch=5)
        read("adds one", partition(2, 10), sessionId=session, sessionEpoch=6)
        read("forgets one", forget=[0], sessionId=session, sessionEpoch=7)
        read("forgets one that is not there", forget=[7], sessionId=session, sessionEpoch=8)
        read("adds an unknown one", partition(9, 0), sessionId=session, sessionEpoch=9)
        read("with an error that stays", sessionId=session, sessionEpoch=10)
        read(
            "adds an unknown topic",
            partition(0, 0),
            topic=name(side, "unknown"),
            topic_id=UNKNOWN_ID,
            sessionId=session,
            sessionEpoch=11,
        )
        read("forgets and asks for one", partition(1, 8), forget=[1], sessionId=session, sessionEpoch=12)
        read("an unknown session", sessionId=session + 1, sessionEpoch=1)
        read("a negative session", sessionId=-5, sessionEpoch=1)
        read("session 0 at 1", partition(0, 10), sessionId=0, sessionEpoch=1)
        read("epoch -2", partition(0, 10), sessionId=session, sessionEpoch=-2)
        read("ended", partition(0, 10), sessionId=session, sessionEpoch=-1)
        read("goes on after the end", sessionId=session, sessionEpoch=13)
        read("ended once more", partition(0, 10), sessionId=session, sessionEpoch=-1)
        again = read("another session", partition(0, 10), sessionEpoch=0)
        session = again["sessionId"] if again else 0
        read("replaced", partition(1, 10), sessionId=session, sessionEpoch=0)
        read("the one before", sessionId=session, sessionEpoch=1)
        read("a session of nothing", sessionEpoch=0)


@story
def fetch_sessions_of_a_topic_that_is_made_again(side):
    for version in (12, 13, last("Fetch")):
        topic = create(side, f"v{version}")
        other = create(side, f"v{version}-other")
        for each in (topic, other):
            writer(side, last("Produce"), each)("write", batch(b"a"))
        read = Reader(side, version, topic)
        beside = Reader(side, version, other)
        made = read("a session", partition(0, 0), sessionEpoch=0)
        session = made["sessionId"] if made else 0

        def goes_on(label, epoch, *partitions, reader=read, **fields):
            # Where nothing is new, and no error is told at once.
            waits = {"maxWaitMs": 2000, "minBytes": 1}
            began = time.monotonic()
            reader(label, *partitions, sessionId=session, sessionEpoch=epoch, **waits, **fields)
            side.note(f"it {'waits' if time.monotonic() - began > 1.5 else 'does not wait'}")

        goes_on("beside another topic", 1, partition(0, 1), reader=beside)
        read("from its end", partition(0, 1), sessionId=session, sessionEpoch=2)
        delete(side, topic)
        goes_on("deleted", 3)
        read("deleted, without waiting", sessionId=session, sessionEpoch=4)
        read("deleted, without a session", partition(0, 0), sessionEpoch=-1)
        again = create(side, f"v{version}")
        goes_on("made again", 5)
        goes_on("still", 6)
        goes_on("asked by the id before", 7, partition(0, 0))
        goes_on("asked by its own", 8, partition(0, 0), reader=Reader(side, version, again))
        goes_on("forgotten", 9, forget=[0])
        read("the id before, without a session", partition(0, 0), sessionEpoch=-1)


def delete(side, topic):
    """Deletes a topic, and waits until it is gone."""
    request = {"topicNames": [topic], "timeoutMs": 20_000}
    side.ask("delete", "DeleteTopics", 5, request)
    for _ in range(200):
        if found(side, topic)["errorCode"] == "UNKNOWN_TOPIC_OR_PARTITION":
            break
        time.sleep(0.05)


@story
def fetch_what_was_written(side):
    begun = now()
    kinds = {
        "plain": {},
        "stamped": {"message.timestamp.type": "LogAppendTime"},
        "compacted": {"cleanup.policy": "compact"},
        "gzipped": {"compression.type": "gzip"},
    }
    written = {
        "plain": batch(b"a", b"b", timestamp=begun, timestamp_step=-5, max_timestamp=begun),
        "gzip": batch(b"a", b"b", codec=GZIP, timestamp=begun, timestamp_step=5),
        "an untrue maximum": batch(b"a", timestamp=begun, max_timestamp=begun + 10_000),
        "no timestamp": batch(b"a", timestamp=-1),
        "of a producer": batch(b"a", b"b", producer=(700_000, 3, 0)),
        "of it, the next": batch(b"a", b"b", producer=(700_000, 3, 2)),
        "of none, by half": batch(b"a", producer=(-1, 0, 0)),
        "a leader epoch": batch(b"a", leader_epoch=55),
        "unused bits": batch(b"a", attributes=1 << 9),
        "a record's attributes": batch(b"a", records=record(b"a", attributes=7)),
    }
    for kind, configs in kinds.items():
        topic = create(side, kind, configs={**configs, "retention.ms": "-1"})
        write = writer(side, last("Produce"), topic)
        for label, records in written.items():
            key = {"key": b"k"} if kind == "compacted" else {}
            write(f"{kind}: {label}", records if not key else batch(label.encode(), timestamp=begun, **key))
        for version in (4, 11, last("Fetch")):
            Reader(side, version, topic)(f"{kind}: all", partition(0, 0))
        for timestamp in (-1, -2, -3, begun - 1, begun, begun + 3, begun + 5, begun + 6):
            word = timestamp - begun if timestamp > 0 else timestamp
            if kind != "stamped" or timestamp in (-1, -2):
                wanted = [{"partitionIndex": 0, "timestamp": timestamp}]
                request = {"topics": [{"name": topic, "partitions": wanted}]}
                side.ask(f"{kind}: offset at {word}", "ListOffsets", last("ListOffsets"), request)


@story
def list_offsets(side):
    api = "ListOffsets"
    # Its records are old.
    topic = create(side, "topic", 2, configs={"retention.ms": "-1"})
    write = writer(side, last("Produce"), topic)
    start = 1_700_000_000_000
    for at in (0, 100, 50, 200, 200, 150):
        write("fill", batch(f"at {at}".encode(), f"at {at + 10}".encode(), timestamp=start + at, timestamp_step=10))
    empty = create(side, "empty")

    for version in versions(api):

        def ask(label, timestamp, word=topic, index=0, epoch=-1, **fields):
            wanted = [{"partitionIndex": index, "timestamp": timestamp, "currentLeaderEpoch": epoch}]
            side.ask(
                label, api, version, {"topics": [{"name": word, "partitions": wanted}], "timeoutMs": 5000, **fields}
            )

        for timestamp in (-1, -2, -3, -4, -5, -6, -7, -100):
            ask(f"{timestamp}", timestamp)
            ask(f"{timestamp} of an empty log", timestamp, empty)
        for timestamp in (
            0,
            start,
            start + 1,
            start + 10,
            start + 11,
            start + 55,
            start + 105,
            start + 200,
            start + 205,
            start + 211,
            start * 2,
        ):
            ask(f"at {timestamp - start}", timestamp)
        ask("by time in an empty log", start, empty)
        for level in (0, 1, 2):
            ask(f"the end at isolation level {level}", -1, isolationLevel=level)
            ask(f"by time at isolation level {level}", start + 55, isolationLevel=level)
            ask(f"the largest at isolation level {level}", -3, isolationLevel=level)
        ask("an unknown partition", -1, index=9)
        ask("partition -1", -1, index=-1)
        ask("an unknown topic", -1, name(side, "unknown"))
        ask("a bad name", -1, "a b")
        ask("no name", -1, "")
        for replica in (-1, -2, 1, 9):
            ask(f"as {replica}", -1, replicaId=replica)
        for label, epoch in {"the": 0, "a later": 1}.items():
            ask(f"{label} leader epoch", -1, epoch=side.first_epoch + epoch)
            ask(f"{label} leader epoch, by time", start, epoch=side.first_epoch + epoch)
        ask("no time to answer", start + 55, timeoutMs=0)
        pair = [{"partitionIndex": 0, "timestamp": -1}, {"partitionIndex": 1, "timestamp": -2}]
        side.ask("two", api, version, {"topics": [{"name": topic, "partitions": pair}]})
        twice = [{"partitionIndex": 0, "timestamp": -1}, {"partitionIndex": 0, "timestamp": -2}]
        side.ask("a partition twice", api, version, {"topics": [{"name": topic, "partitions": twice}]})
        side.ask("nothing", api, version, {"topics": []})


@story
def offset_for_leader_epoch(side):
    api = "OffsetForLeaderEpoch"
    topic = filled(side, "topic")
    empty = create(side, "empty")
    first = side.first_epoch
    for version in versions(api):

        def ask(label, epoch, current=-1, word=topic, index=0, **fields):
            wanted = [{"partition": index, "leaderEpoch": epoch, "currentLeaderEpoch": current}]
            side.ask(label, api, version, {"topics": [{"topic": word, "partitions": wanted}], **fields})

        ask("the first", first)
        ask("of an empty log", first, word=empty)
        ask("a later", first + 1)
        ask("a far later", first + 100)
        ask("-1", -1)
        ask("-2", -2)
        ask("the first, at it", first, first)
        ask("the first, at a later", first, first + 1)
        ask("-1, at it", -1, first)
        ask("an unknown partition", first, index=9)
        ask("partition -1", first, index=-1)
        ask("an unknown topic", first, word=name(side, "unknown"))
        ask("a bad name", first, word="a b")
        for replica in (-1, 1, 9):
            ask(f"as {replica}", first, replicaId=replica)
        side.ask("nothing", api, version, {"topics": []})
