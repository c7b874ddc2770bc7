"""Record batches and their records as lines, for the programs that read and write batches by a client's own code.

    to `read`      a batch in hexadecimal digits
    from `read`    its records, joined by semicolons:  offset timestamp key value headers
                   or `unreadable REASON`
    to `write`     codec and records, joined by semicolons:  timestamp key value headers
    from `write`   batches in hexadecimal digits

A line for a line. Bytes are as in `records.py`; headers are `name:value` joined by commas, or `-` for none, and names
are bytes too.
"""

from records import CODECS, decode, encode

__all__ = ["CODECS", "batch_of_line", "line_of_batch", "line_of_plan", "line_of_records", "plan_of_line"]


def batch_of_line(line: str) -> bytes:
    return bytes.fromhex(line)


def line_of_batch(batch: bytes) -> str:
    return batch.hex()


def _record(fields) -> str:
    *numbers, key, value, headers = fields
    headers = ",".join(f"{encode(name)}:{encode(content)}" for name, content in headers) or "-"
    return " ".join([*map(str, numbers), encode(key), encode(value), headers])


def line_of_records(records) -> str:
    """Of tuples (offset, timestamp, key, value, headers)."""
    return ";".join(map(_record, records))


def line_of_plan(codec: str, records) -> str:
    """Of tuples (timestamp, key, value, headers)."""
    return f"{codec} {line_of_records(records)}"


def plan_of_line(line: str) -> tuple:
    """The codec, and tuples (timestamp, key, value, headers)."""
    codec, records = line.split(" ", 1)
    return codec, [_planned(record) for record in records.split(";")]


def _planned(record: str) -> tuple:
    timestamp, key, value, headers = record.split()
    pairs = [] if headers == "-" else [pair.split(":") for pair in headers.split(",")]
    return int(timestamp), decode(key), decode(value), [(decode(name), decode(content)) for name, content in pairs]
