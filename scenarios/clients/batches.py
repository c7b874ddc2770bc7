"""Record batches and message sets, byte by byte, so that they can also be wrong."""

import gzip
import struct
import time
import zlib

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)

HEADER_SIZE = 61

# Bits of a batch's attributes beside the codec.
LOG_APPEND_TIME, TRANSACTIONAL, CONTROL, DELETE_HORIZON = 1 << 3, 1 << 4, 1 << 5, 1 << 6


def _table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _table()


def crc32c(data) -> int:
    """The checksum of batches, format v2."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def varint(number) -> bytes:
    """A number in zigzag encoding."""
    number = number << 1 ^ number >> 63
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def _field(data) -> bytes:
    return varint(-1) if data is None else varint(len(data)) + data


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def record(value, key=None, *, offset_delta=0, timestamp_delta=0, attributes=0) -> bytes:
    """A record without headers."""
    body = (
        bytes([attributes]) + varint(timestamp_delta) + varint(offset_delta) + _field(key) + _field(value) + varint(0)
    )
    return varint(len(body)) + body


def batch(
    *values,
    key=None,
    timestamp=None,
    max_timestamp=None,
    timestamp_step=0,
    codec=NONE,
    attributes=0,
    base_offset=0,
    leader_epoch=-1,
    producer=(-1, -1, -1),
    magic=2,
    count=None,
    last_offset_delta=None,
    offset_step=1,
    crc_error=0,
    length_error=0,
    records=None,
) -> bytes:
    """A record batch, format v2, of one record for each value.

    Every field that follows from the others can be given another value: `count`, `last_offset_delta`,
    `max_timestamp`, and `records`, the bytes after the header.
    """
    timestamp = now() if timestamp is None else timestamp
    if records is None:
        each = enumerate(values)
        records = b"".join(
            record(value, key, offset_delta=i * offset_step, timestamp_delta=i * timestamp_step) for i, value in each
        )
    records = gzip.compress(records, mtime=0) if codec == GZIP else records
    count = len(values) if count is None else count
    last_offset_delta = len(values) - 1 if last_offset_delta is None else last_offset_delta
    max_timestamp = timestamp + max(len(values) - 1, 0) * timestamp_step if max_timestamp is None else max_timestamp
    checked = struct.pack(
        ">hiqqqhii", codec | attributes, last_offset_delta, timestamp, max_timestamp, *producer, count
    )
    checked += records
    rest = struct.pack(">ibI", leader_epoch, magic, crc32c(checked) ^ crc_error) + checked
    return struct.pack(">qi", base_offset, len(rest) + length_error) + rest


def with_body(whole, body) -> bytes:
    """A batch with another body, and the length and checksum that go with it."""
    checked = whole[21:HEADER_SIZE] + body
    length = struct.pack(">i", HEADER_SIZE - 12 + len(body))
    return whole[:8] + length + whole[12:17] + struct.pack(">I", crc32c(checked)) + checked


def old_message(value, key=None, *, magic=1, timestamp=None) -> bytes:
    """A message of the formats before batches, magic 0 or 1, as a set of one."""
    stamp = struct.pack(">q", now() if timestamp is None else timestamp) if magic == 1 else b""
    checked = bytes([magic, 0]) + stamp
    for data in (key, value):
        checked += struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data
    body = struct.pack(">I", zlib.crc32(checked)) + checked
    return struct.pack(">qi", 0, len(body)) + body
