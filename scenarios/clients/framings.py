"""Record batches that are odd in one way each: how a codec frames the records, and how a record is written.

Everything is made byte by byte, so what is stored as it is serves for compression: nothing here needs a library.
"""

import gzip
import struct
import zlib

from batches import GZIP, LZ4, NONE, SNAPPY, ZSTD, batch, record, varint

VALUE = b"hello, hello, hello"
RECORDS = record(VALUE)


def longer(number, more=1) -> bytes:
    """A number in zigzag encoding, with bytes that it does not need."""
    short = varint(number)
    return bytes([byte | 0x80 for byte in short] + [0x80] * (more - 1) + [0])


def raw_record(*fields) -> bytes:
    """A record of these bytes, behind their length."""
    body = b"".join(fields)
    return varint(len(body)) + body


# Attributes, timestamp delta, offset delta, key and value of a plain record, and no headers.
PLAIN = (b"\0", b"\0", b"\0", b"\x01", varint(1) + b"v", b"\0")


def _but(**changes):
    names = ("attributes", "timestamp", "offset", "key", "value", "headers")
    return raw_record(*(changes.get(name, field) for name, field in zip(names, PLAIN)))


def _header(key, value):
    return varint(1) + key + value


WRITTEN = {
    "plain": raw_record(*PLAIN),
    "attributes 1": _but(attributes=b"\x01"),
    "attributes 127": _but(attributes=b"\x7f"),
    "attributes 128": _but(attributes=b"\x80"),
    "attributes 255": _but(attributes=b"\xff"),
    "a longer length": longer(len(b"".join(PLAIN))) + b"".join(PLAIN),
    "a length of five bytes": longer(len(b"".join(PLAIN)), 4) + b"".join(PLAIN),
    "a length of six bytes": longer(len(b"".join(PLAIN)), 5) + b"".join(PLAIN),
    **{
        f"{name} of {size} bytes": _but(**{name: longer(number, size - 1) + rest})
        for name, number, rest in (
            ("timestamp", 0, b""),
            ("offset", 0, b""),
            ("key", -1, b""),
            ("value", 1, b"v"),
            ("headers", 0, b""),
        )
        for size in (2, 5, 6, 10, 11)
    },
    "a key length of -2": _but(key=varint(-2)),
    "a value length of -2": _but(value=varint(-2)),
    "a header count of -1": _but(headers=varint(-1)),
    "a header's null key": _but(headers=_header(b"\x01", b"\x01")),
    "a header's empty key and null value": _but(headers=_header(b"\0", b"\x01")),
    "a header's value length of -2": _but(headers=_header(b"\0", varint(-2))),
    "a header's key that is no UTF-8": _but(headers=_header(varint(2) + b"\xff\xfe", b"\x01")),
    "a header's key that is cut": _but(headers=_header(varint(1) + b"\xc3", b"\x01")),
    "a header's key that is a surrogate": _but(headers=_header(varint(3) + b"\xed\xa0\x80", b"\x01")),
    "a header's key that is longer UTF-8": _but(headers=_header(varint(2) + b"\xc0\x80", b"\x01")),
    "a header's key with a zero": _but(headers=_header(varint(3) + b"a\0b", b"\x01")),
    "a header's key of four bytes": _but(headers=_header(varint(4) + "🪨".encode(), b"\x01")),
    "two headers": _but(headers=varint(2) + 2 * (varint(1) + b"k" + b"\x01")),
    "bytes behind the headers": _but(headers=b"\0\0"),
    "a timestamp far ahead": _but(timestamp=varint(1 << 60)),
    "a timestamp that wraps": _but(timestamp=varint((1 << 63) - 1)),
    "a timestamp far back": _but(timestamp=varint(-(1 << 63))),
    "bytes behind the record": raw_record(*PLAIN) + b"\0",
    "half a record behind": raw_record(*PLAIN) + raw_record(*PLAIN)[:4],
}


def _gzip(data=RECORDS, flags=0, fields=b"", crc=0, size=0, level=9, method=8, magic=b"\x1f\x8b"):
    deflate = zlib.compressobj(level, zlib.DEFLATED, -15)
    packed = deflate.compress(data) + deflate.flush()
    head = magic + bytes([method, flags]) + b"\0\0\0\0\0\xff" + fields
    return head + packed + struct.pack("<II", zlib.crc32(data) ^ crc, (len(data) + size) & 0xFFFFFFFF)


_HEADER_WITH_CRC = b"\x1f\x8b\x08\x02" + b"\0\0\0\0\0\xff"
_TRUE = struct.pack("<H", zlib.crc32(_HEADER_WITH_CRC) & 0xFFFF)

GZIPPED = {
    "plain": _gzip(),
    "not compressed": _gzip(level=0),
    "a text": _gzip(flags=1),
    "a header checksum": _gzip(flags=2, fields=_TRUE),
    "an untrue header checksum": _gzip(flags=2, fields=b"\0\0"),
    "an extra field": _gzip(flags=4, fields=b"\x04\0abcd"),
    "a name": _gzip(flags=8, fields=b"name\0"),
    "a comment": _gzip(flags=16, fields=b"comment\0"),
    "flag 5": _gzip(flags=32),
    "flag 6": _gzip(flags=64),
    "flag 7": _gzip(flags=128),
    "another method": _gzip(method=7),
    "an untrue checksum": _gzip(crc=1),
    "an untrue size": _gzip(size=1),
    "two members": _gzip(RECORDS[:7]) + _gzip(RECORDS[7:]),
    "an empty member first": _gzip(b"") + _gzip(),
    "an empty member last": _gzip() + _gzip(b""),
    "zeros behind": _gzip() + bytes(20),
    "bytes behind": _gzip() + b"abcdefghijklmnopqrstuvwxyz",
    "a byte behind": _gzip() + b"x",
    "no end": _gzip()[:-8],
    "half an end": _gzip()[:-3],
    "zlib": zlib.compress(RECORDS),
    "deflate": _gzip()[10:-8],
    "nothing": b"",
}


def bare_snappy(data=RECORDS, claim=None) -> bytes:
    """A block of literals."""
    out = varint_unsigned(len(data)) if claim is None else claim
    for at in range(0, len(data), 60):
        part = data[at : at + 60]
        out += bytes([len(part) - 1 << 2]) + part
    return out


def varint_unsigned(number, more=0) -> bytes:
    out = bytearray()
    while number > 0x7F or more > 0:
        more -= number <= 0x7F
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def xerial(*blocks, version=1, compatible=1, order=">") -> bytes:
    """A stream of snappy-java."""
    head = b"\x82SNAPPY\0" + struct.pack(f"{order}ii", version, compatible)
    return head + b"".join(struct.pack(">i", len(block)) + block for block in blocks)


_A, _B = bare_snappy(RECORDS[:9]), bare_snappy(RECORDS[9:])

SNAPPED = {
    "bare": bare_snappy(),
    "one block": xerial(bare_snappy()),
    "two blocks": xerial(_A, _B),
    "a block of no bytes": xerial(b""),
    "a block of no bytes first": xerial(b"", bare_snappy()),
    "a block of no bytes between": xerial(_A, b"", _B),
    "a block of no bytes last": xerial(bare_snappy(), b""),
    "a block that holds nothing first": xerial(b"\0", bare_snappy()),
    "a block that holds nothing between": xerial(_A, b"\0", _B),
    "a block that holds nothing last": xerial(bare_snappy(), b"\0"),
    "two streams": xerial(_A) + xerial(_B),
    "an empty stream first": xerial() + xerial(bare_snappy()),
    "an empty stream last": xerial(bare_snappy()) + xerial(),
    "only a header": xerial(),
    "half a header": xerial()[:12],
    "only the magic number": xerial()[:8],
    **{f"{n} bytes behind": xerial(bare_snappy()) + bytes(n) for n in (1, 2, 3, 4, 5)},
    "a negative length": xerial(bare_snappy()) + struct.pack(">i", -1),
    "a length too long": xerial() + struct.pack(">i", 1000) + bare_snappy(),
    "version 0": xerial(bare_snappy(), version=0),
    "version 2": xerial(bare_snappy(), version=2),
    "compatible with version 0": xerial(bare_snappy(), compatible=0),
    "compatible with version 2": xerial(bare_snappy(), compatible=2),
    "compatible with version -1": xerial(bare_snappy(), compatible=-1),
    "versions the other way round": xerial(bare_snappy(), order="<"),
    "another magic number": b"\x83" + xerial(bare_snappy())[1:],
    "a block within a block": xerial(xerial(bare_snappy())),
    **{
        f"a claim of {1 + n} bytes": bare_snappy(claim=varint_unsigned(len(RECORDS), n))
        for n in (1, 3, 4, 5, 8, 9)
    },
    **{
        f"a claim of {1 + n} bytes in a block": xerial(bare_snappy(claim=varint_unsigned(len(RECORDS), n)))
        for n in (1, 3, 4, 5, 8, 9)
    },
    "a claim too high": bare_snappy(claim=varint_unsigned(len(RECORDS) + 1)),
    "a claim too low": bare_snappy(claim=varint_unsigned(len(RECORDS) - 1)),
    "bare, a byte behind": bare_snappy() + b"\0",
    "nothing": b"",
}


def xxh32(data, seed=0) -> int:
    """The checksum of LZ4 frames."""
    primes = (2654435761, 2246822519, 3266489917, 668265263, 374761393)
    mask = 0xFFFFFFFF

    def rotate(number, bits):
        return (number << bits | number >> 32 - bits) & mask

    at = 0
    if len(data) >= 16:
        lanes = [seed + primes[0] + primes[1], seed + primes[1], seed, seed - primes[0]]
        while at + 16 <= len(data):
            for lane, word in enumerate(struct.unpack_from("<IIII", data, at)):
                lanes[lane] = rotate(lanes[lane] + word * primes[1] & mask, 13) * primes[0] & mask
            at += 16
        result = sum(rotate(lane & mask, bits) for lane, bits in zip(lanes, (1, 7, 12, 18)))
    else:
        result = seed + primes[4]
    result = result + len(data) & mask
    while at + 4 <= len(data):
        result = rotate(result + struct.unpack_from("<I", data, at)[0] * primes[2] & mask, 17) * primes[3] & mask
        at += 4
    for byte in data[at:]:
        result = rotate(result + byte * primes[4] & mask, 11) * primes[0] & mask
    for shift, prime in ((15, primes[1]), (13, primes[2]), (16, 1)):
        result = (result ^ result >> shift) * prime & mask
    return result


LZ4_MAGIC = struct.pack("<I", 0x184D2204)
STORED = 1 << 31


def lz4_block(data, size=None, checksum=False) -> bytes:
    """A block with its size; not compressed unless `size` says otherwise."""
    size = len(data) | STORED if size is None else size
    return struct.pack("<I", size) + data + (struct.pack("<I", xxh32(data)) if checksum else b"")


def literals(data) -> bytes:
    """A compressed block of literals alone."""
    if len(data) < 15:
        return bytes([len(data) << 4]) + data
    return bytes([0xF0]) + bytes([0xFF]) * ((len(data) - 15) // 255) + bytes([(len(data) - 15) % 255]) + data


def lz4(
    *blocks, flags=0x60, block_size=0x40, fields=b"", end=bytes(4), checksum_of=b"", magic=LZ4_MAGIC, checksum_error=0
) -> bytes:
    """A frame of blocks."""
    header = bytes([flags, block_size]) + fields
    checksum = xxh32(checksum_of + header) >> 8 & 0xFF ^ checksum_error
    return magic + header + bytes([checksum]) + b"".join(blocks) + end


_BLOCK = lz4_block(RECORDS)
_COMPRESSED = lz4_block(literals(RECORDS), len(literals(RECORDS)))
_CONTENT_SUM = bytes(4) + struct.pack("<I", xxh32(RECORDS))
_SKIPPABLE = struct.pack("<II", 0x184D2A50, 3) + b"abc"
_WITH_MATCH = record(b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab")


def _matching(last) -> bytes:
    """A compressed block whose last match ends so many literals before its end."""
    # The value begins behind the record's six bytes and one more for its length; of it, one byte is repeated.
    start = _WITH_MATCH.index(b"aaaa") + 1
    match = len(_WITH_MATCH) - last - start
    extra = match - 4 - 15
    head = bytes([start << 4 | (15 if extra >= 0 else match - 4)]) + _WITH_MATCH[:start] + b"\x01\0"
    head += bytes([extra]) if extra >= 0 else b""
    return head + (bytes([last << 4]) + _WITH_MATCH[len(_WITH_MATCH) - last :] if last is not None else b"")


LZ4ED = {
    "not compressed": lz4(_BLOCK),
    "compressed": lz4(_COMPRESSED),
    "two blocks": lz4(lz4_block(RECORDS[:9]), lz4_block(RECORDS[9:])),
    **{f"blocks of {size:#x}": lz4(_BLOCK, block_size=size) for size in range(0, 256, 16)},
    "a reserved bit of the block size": lz4(_BLOCK, block_size=0x41),
    "block checksums": lz4(lz4_block(RECORDS, checksum=True), flags=0x70),
    "untrue block checksums": lz4(lz4_block(RECORDS) + bytes(4), flags=0x70),
    "a content checksum": lz4(_BLOCK, flags=0x64, end=_CONTENT_SUM),
    "an untrue content checksum": lz4(_BLOCK, flags=0x64, end=bytes(8)),
    "no content checksum": lz4(_BLOCK, flags=0x64),
    "a content size": lz4(_BLOCK, flags=0x68, fields=struct.pack("<Q", len(RECORDS))),
    "an untrue content size": lz4(_BLOCK, flags=0x68, fields=struct.pack("<Q", len(RECORDS) + 1)),
    "a content size of 0": lz4(_BLOCK, flags=0x68, fields=bytes(8)),
    "linked blocks": lz4(_BLOCK, flags=0x40),
    "a dictionary": lz4(_BLOCK, flags=0x61, fields=struct.pack("<I", 7)),
    "dictionary 0": lz4(_BLOCK, flags=0x61, fields=bytes(4)),
    "a reserved flag": lz4(_BLOCK, flags=0x62),
    **{f"version {version}": lz4(_BLOCK, flags=version << 6 | 0x20) for version in (0, 2, 3)},
    "an untrue header checksum": lz4(_BLOCK, checksum_error=1),
    "the header checksum of Kafka's old clients": lz4(_BLOCK, checksum_of=LZ4_MAGIC),
    "two frames": lz4(lz4_block(RECORDS[:9])) + lz4(lz4_block(RECORDS[9:])),
    "an empty frame first": lz4() + lz4(_BLOCK),
    "an empty frame last": lz4(_BLOCK) + lz4(),
    "a skippable frame first": _SKIPPABLE + lz4(_BLOCK),
    "a skippable frame last": lz4(_BLOCK) + _SKIPPABLE,
    "a legacy frame": struct.pack("<I", 0x184C2102) + lz4_block(literals(RECORDS), len(literals(RECORDS))),
    "no end mark": lz4(_BLOCK, end=b""),
    "half an end mark": lz4(_BLOCK, end=bytes(2)),
    "an empty block for an end mark": lz4(_BLOCK, lz4_block(b""), end=b""),
    "an empty block last": lz4(_BLOCK, lz4_block(b"")),
    "an empty block first": lz4(lz4_block(b""), _BLOCK),
    "a block that holds nothing for an end mark": lz4(_BLOCK, lz4_block(b"\0", 1), end=b""),
    "a block that holds nothing last": lz4(_BLOCK, lz4_block(b"\0", 1)),
    "a block that holds nothing first": lz4(lz4_block(b"\0", 1), _BLOCK),
    "a byte behind": lz4(_BLOCK) + b"\0",
    "an end mark behind": lz4(_BLOCK) + bytes(4),
    "a bare block": literals(RECORDS),
    "nothing": b"",
    **{
        f"{last} literals behind the last match": lz4(lz4_block(_matching(last), len(_matching(last))))
        for last in (1, 2, 3, 4, 5, 6, 12)
    },
}


ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def zstd(data=RECORDS, *, window=10, size=None, dictionary=b"", checksum=b"", reserved=0) -> bytes:
    """A frame of one raw block; with a content size in one segment, else with a window of 2**`window`."""
    dictionary_flag = {0: 0, 1: 1, 2: 2, 4: 3}[len(dictionary)]
    flags = dictionary_flag | (4 if checksum else 0) | reserved
    if size is None:
        header = bytes([flags, window - 10 << 3]) + dictionary
    elif size < 256:
        header = bytes([flags | 0x20]) + dictionary + bytes([size])
    else:
        header = bytes([flags | 0xA0]) + dictionary + struct.pack("<I", size)
    block = struct.pack("<I", len(data) << 3 | 1)[:3] + data
    return ZSTD_MAGIC + header + block + checksum


_ZSTD_SKIPPABLE = struct.pack("<II", 0x184D2A5F, 3) + b"abc"

ZSTDED = {
    "a window": zstd(),
    "a content size": zstd(size=len(RECORDS)),
    "an untrue content size": zstd(size=len(RECORDS) + 1),
    "a content size of 0": zstd(size=0),
    "a content size far too high": zstd(size=1 << 31),
    **{f"a window of 2**{log}": zstd(window=log) for log in (17, 20, 23, 26, 27, 28, 30, 31, 41)},
    "two frames": zstd(RECORDS[:9]) + zstd(RECORDS[9:]),
    "two frames with content sizes": zstd(RECORDS[:9], size=9) + zstd(RECORDS[9:], size=len(RECORDS) - 9),
    "an empty frame first": zstd(b"") + zstd(),
    "an empty frame last": zstd() + zstd(b""),
    "a skippable frame first": _ZSTD_SKIPPABLE + zstd(),
    "a skippable frame last": zstd() + _ZSTD_SKIPPABLE,
    "a skippable frame between": zstd(RECORDS[:9]) + _ZSTD_SKIPPABLE + zstd(RECORDS[9:]),
    "an empty skippable frame first": struct.pack("<II", 0x184D2A50, 0) + zstd(),
    "half a skippable frame": zstd() + _ZSTD_SKIPPABLE[:-1],
    "an untrue checksum": zstd(checksum=bytes(4)),
    "a dictionary": zstd(dictionary=b"\x07"),
    "dictionary 0": zstd(dictionary=b"\0"),
    "a dictionary of four bytes": zstd(dictionary=b"\x07\0\0\0"),
    "a reserved bit": zstd(reserved=8),
    "an unused bit": zstd(reserved=16),
    **{f"{n} bytes behind": zstd() + bytes(n) for n in (1, 3, 4, 8)},
    "a legacy frame": b"\x27" + zstd()[1:],
    "no magic number": zstd()[4:],
    "nothing": b"",
}


def _all():
    for name, records in WRITTEN.items():
        yield f"{name}", batch(b"", records=records, timestamp=1)
        yield f"gzip, {name}", batch(b"", records=records, timestamp=1, codec=GZIP)
    for codec, word, framed in (
        (GZIP, "gzip", GZIPPED),
        (SNAPPY, "snappy", SNAPPED),
        (LZ4, "lz4", LZ4ED),
        (ZSTD, "zstd", ZSTDED),
    ):
        for name, body in framed.items():
            yield f"{word}, {name}", batch(b"", records=body, timestamp=1, attributes=codec)
    for bit in (3, 4, 5, 6, 7, 8, 15):
        yield f"attribute bit {bit}", batch(b"v", attributes=(1 << bit) - (1 << 16 if bit == 15 else 0))
    for stamp in (-1, -2, 0, (1 << 63) - 1, -(1 << 63)):
        yield f"timestamp {stamp}", batch(b"v", timestamp=stamp)
    yield "what is cut off behind a batch", batch(b"v") + batch(b"w")[:-1]
    yield "two batches", batch(b"v") + batch(b"w")


# Names and batches.
ALL = list(_all())
assert NONE == 0 and gzip.decompress(GZIPPED["plain"]) == RECORDS
