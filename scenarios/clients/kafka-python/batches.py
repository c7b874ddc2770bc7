"""kafka-python's reading and writing of record batches; `../readable.py` describes the lines."""

import sys
from pathlib import Path

from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatchBuilder

sys.path.append(str(Path(__file__).resolve().parent.parent))
from readable import CODECS, batch_of_line, line_of_batch, line_of_records, plan_of_line  # noqa: E402


def read(line):
    found = []
    records = MemoryRecords(batch_of_line(line))
    while (batch := records.next_batch()) is not None:
        if not batch.validate_crc():
            return "unreadable a wrong checksum"
        for record in batch:
            # Python's numbers do not end at 64 bits, as all others do.
            timestamp = (record.timestamp + (1 << 63)) % (1 << 64) - (1 << 63)
            headers = [(name.encode(), value) for name, value in record.headers]
            found.append((record.offset, timestamp, record.key, record.value, headers))
    return line_of_records(found)


def write(line):
    codec, planned = plan_of_line(line)
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=CODECS.index(codec),
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 30,
    )
    for offset, (timestamp, key, value, headers) in enumerate(planned):
        headers = [(name.decode(), content) for name, content in headers]
        builder.append(offset, timestamp, key, value, headers)
    return line_of_batch(bytes(builder.build()))


if __name__ == "__main__":
    do = {"read": read, "write": write}[sys.argv[1]]
    for each in sys.stdin:
        try:
            print(do(each), flush=True)
        except Exception as error:  # whatever it is, the client would stop there
            print("unreadable", repr(error).replace("\n", " "), flush=True)
