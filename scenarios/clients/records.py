"""The records of the checks, the lines they travel in, and the comparison.

A client program reads and writes records as lines, so that one comparison serves all of them whatever the language:

    to `produce`     partition timestamp key value headers
    from `produce`   index offset                              (where the client learns offsets)
    from `consume`   topic partition offset timestamp key value headers
                     topic error REASON

Bytes are `x` and hexadecimal digits, so that `x` alone is empty; `-` is null. Headers are `name:value` joined by commas
in the order of the record, or `-` for none.
"""

import random
from dataclasses import dataclass, replace
from typing import Optional

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")

PARTITIONS = 3

# The features of the plan that not every client can write.
NULL_HEADER_VALUE = "null header values"
TIMESTAMP = "explicit timestamps"
EMPTY_VALUE = "empty values"
BOTH_NULL = "null key and null value in one record"


@dataclass(frozen=True)
class Record:
    """One record as a client writes it. Timestamps are milliseconds since the Unix epoch."""

    partition: int
    timestamp: int
    key: Optional[bytes]
    value: Optional[bytes]
    headers: tuple

    def line(self) -> str:
        headers = ",".join(f"{name}:{encode(value)}" for name, value in self.headers) or "-"
        return f"{self.partition} {self.timestamp} {encode(self.key)} {encode(self.value)} {headers}"


@dataclass(frozen=True)
class Consumed:
    """One record as a client read it."""

    offset: int
    record: Record

    def line(self, topic: str) -> str:
        partition, rest = self.record.line().split(" ", 1)
        return f"{topic} {partition} {self.offset} {rest}"


def encode(value: Optional[bytes]) -> str:
    return "-" if value is None else "x" + value.hex()


def decode(word: str) -> Optional[bytes]:
    if word == "-":
        return None
    if not word.startswith("x"):
        raise ValueError(f"{word[:40]!r} is neither null nor bytes")
    return bytes.fromhex(word[1:])


def decode_headers(word: str) -> tuple:
    if word == "-":
        return ()
    pairs = (pair.split(":") for pair in word.split(","))
    return tuple((name, decode(value)) for name, value in pairs)


def parse_consumed(lines) -> tuple:
    """What a `consume` printed: the records by topic and partition, and the errors by topic."""
    records, errors = {}, {}
    for line in lines:
        topic, second, rest = line.split(" ", 2)
        if second == "error":
            errors.setdefault(topic, rest)
            continue
        offset, timestamp, key, value, headers = rest.split(" ")
        record = Record(int(second), int(timestamp), decode(key), decode(value), decode_headers(headers))
        records.setdefault(topic, {}).setdefault(int(second), []).append(Consumed(int(offset), record))
    return records, errors


def plan(seed: str, cannot: frozenset) -> list:
    """What a client writes to a topic: the same for the same seed, without what the client cannot write.

    Shapes come in runs of several records, as a program that must be started anew for each set of headers needs it.
    """
    draw = random.Random(seed)
    shapes = [
        # headers, key, value
        ((), text_key, text_value),
        ((("source", b"check"),), null, text_value),
        ((("same", b"first"), ("same", b"second"), ("empty", b""), ("utf8", "Grüße".encode())), text_key, null),
        ((("null", None),), null, null),
        ((), empty, empty),
        ((("bytes", bytes([0xFF, 0x80, 0x01])),), binary, binary),
        ((), text_key, large),
    ]
    records = []
    for headers, key_of, value_of in shapes:
        if NULL_HEADER_VALUE in cannot:
            headers = tuple(pair for pair in headers if pair[1] is not None)
        if BOTH_NULL in cannot and key_of is null and value_of is null:
            key_of = text_key
        if EMPTY_VALUE in cannot and value_of is empty:
            value_of = text_value
        for partition in range(PARTITIONS):
            for _ in range(2 if value_of is large else 12):
                # Timestamps go back and forth within the year 2013, as those of delayed records do.
                timestamp = 1_356_998_400_000 + draw.randrange(31_536_000_000)
                records.append(Record(partition, timestamp, key_of(draw), value_of(draw), headers))
    return records


def null(_draw):
    return None


def empty(_draw):
    return b""


def text_key(draw):
    return f"key-{draw.randrange(20)}".encode()


def text_value(draw):
    return " ".join(draw.choice(("silt", "clay", "sand", "ash")) for _ in range(draw.randrange(1, 60))).encode()


def binary(draw):
    return draw.randbytes(draw.randrange(1, 2000))


def large(draw):
    """Longer than a client's default batch, half of it compressible."""
    return draw.randbytes(50_000) + b"varve " * 12_000


def differences(wrote: list, read: dict, began: int, ended: int, cannot: frozenset) -> Optional[str]:
    """The first difference between what was written and what was read, in words; `None` if there is none.

    Where the client cannot set timestamps, the record must carry a time between `began` and `ended`, in
    milliseconds, which enclose the writing.
    """
    for partition in range(PARTITIONS):
        expected = [record for record in wrote if record.partition == partition]
        got = read.get(partition, [])
        for index, (want, have) in enumerate(zip(expected, got)):
            place = f"partition {partition} record {index}"
            if have.offset != index:
                return f"{place}: offset {have.offset}"
            if TIMESTAMP in cannot:
                if not began <= have.record.timestamp <= ended:
                    return f"{place}: timestamp {have.record.timestamp} is not in [{began}, {ended}]"
                want = replace(want, timestamp=have.record.timestamp)
            for field in ("timestamp", "key", "value", "headers"):
                ours, theirs = getattr(want, field), getattr(have.record, field)
                if ours != theirs:
                    return f"{place}: wrote {field} {brief(ours)}, read {brief(theirs)}"
        if len(got) != len(expected):
            return f"partition {partition}: wrote {len(expected)} records, read {len(got)}"
    return None


def brief(value) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
