"""kcat (librdkafka from C) as a client program; `../records.py` describes the lines it reads and writes.

kcat cannot create topics, set timestamps, or write empty values; one process of it gives all its records the same
headers, and drops lines that are wholly empty.
"""

import itertools
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))
from records import Consumed, Record, decode, decode_headers  # noqa: E402

SECONDS_MAX = 60
# These bytes stand in no key and no value of the plan: random ones would have to draw all sixteen.
KEY_END = b"\x01key ends here\x02\x03"
RECORD_END = b"\x01record ends here"


def escaped(delimiter):
    return "".join(f"\\x{byte:02x}" for byte in delimiter)


def kcat(arguments, **options):
    command = ["kcat", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=SECONDS_MAX, **options).stdout


def produce(bootstrap, topic, codec):
    parsed = []
    for line in sys.stdin:
        partition, _timestamp, key, value, headers = line.split()
        parsed.append((partition, decode_headers(headers), decode(key), decode(value)))

    def alike(record):
        partition, headers, key, value = record
        return partition, headers, key is None, value is None

    for (partition, headers, keyless, valueless), records in itertools.groupby(parsed, alike):
        arguments = ["-P", "-q", "-b", bootstrap, "-t", topic, "-p", partition, "-z", codec]
        arguments += ["-X", "enable.idempotence=true", "-X", "linger.ms=5", "-D", escaped(RECORD_END)]
        # Only a line with a key can have no value; with `-Z`, what is empty on it is null.
        split = valueless or not keyless
        if split:
            arguments += ["-K", escaped(KEY_END)]
        if valueless:
            arguments += ["-Z"]
        arguments = [argument.encode() for argument in arguments]
        for name, value in headers:
            arguments += [b"-H", name.encode() + (b"" if value is None else b"=" + value)]
        middle = KEY_END if split else b""
        lines = ((key or b"") + middle + (value or b"") for _, _, key, value in records)
        kcat(arguments, input=RECORD_END.join(lines))


def consume(bootstrap, *topics):
    for topic in topics:
        try:
            consume_topic(bootstrap, topic)
        except Exception as error:  # one topic that cannot be read must not hide the others
            print(topic, "error", repr(error))


def consume_topic(bootstrap, topic):
    # Lengths come first, so that no byte of a key or value can be taken for a delimiter.
    form = "%p %o %T %K %S %h\\n%k%s"
    # The end of a partition is learnt from an empty answer, for which the default waits 500 ms.
    settings = ["-X", "check.crcs=true", "-X", "fetch.wait.max.ms=50"]
    output = kcat(["-C", "-q", "-e", "-b", bootstrap, "-t", topic, "-o", "beginning", "-f", form, *settings])
    position = 0

    def take(length):
        nonlocal position
        if length < 0:
            return None
        position += length
        return output[position - length : position]

    while position < len(output):
        end = output.index(b"\n", position)
        head = output[position:end].split(b" ", 5)
        partition, offset, timestamp, key_length, value_length = map(int, head[:5])
        position = end + 1
        key, value = take(key_length), take(value_length)
        record = Record(partition, timestamp, key, value, parse_headers(head[5]))
        print(Consumed(offset, record).line(topic))


def parse_headers(text):
    """kcat prints `name=value` joined by commas, and NULL for null; no header of the plan contains either sign."""
    pairs = (pair.split(b"=", 1) for pair in text.split(b",") if pair)
    return tuple((name.decode(), None if value == b"NULL" else value) for name, value in pairs)


if __name__ == "__main__":
    {"produce": produce, "consume": consume}[sys.argv[1]](*sys.argv[2:])
