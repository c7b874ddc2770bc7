"""The comparison must find every kind of difference: `python3 -m unittest` in this folder."""

import sys
import unittest
from dataclasses import replace

sys.dont_write_bytecode = True
from records import (  # noqa: E402
    PARTITIONS,
    TIMESTAMP,
    Consumed,
    decode,
    decode_headers,
    differences,
    parse_consumed,
    plan,
)


def read_back(wrote):
    """What a flawless cluster gives back, by partition."""
    read = {partition: [] for partition in range(PARTITIONS)}
    for record in wrote:
        read[record.partition].append(Consumed(len(read[record.partition]), record))
    return read


def difference(change, cannot=frozenset()):
    wrote = plan("test", frozenset())
    read = read_back(wrote)
    change(read[1])
    return differences(wrote, read, 0, 1, cannot)


def renumber(consumed):
    consumed[:] = [Consumed(offset, one.record) for offset, one in enumerate(consumed)]


class TheComparison(unittest.TestCase):
    def test_finds_nothing_where_all_is_as_written(self):
        self.assertIsNone(difference(lambda read: None))

    def test_finds_a_lost_record_at_the_end(self):
        self.assertIn("wrote", difference(lambda read: read.pop()))

    def test_finds_a_lost_record_in_the_middle(self):
        def change(read):
            del read[5]
            renumber(read)

        self.assertIsNotNone(difference(change))

    def test_finds_a_duplicate(self):
        def change(read):
            read.append(read[-1])
            renumber(read)

        self.assertIsNotNone(difference(change))

    def test_finds_two_records_in_the_wrong_order(self):
        def change(read):
            read[0], read[1] = read[1], read[0]
            renumber(read)

        self.assertIsNotNone(difference(change))

    def test_finds_a_gap_in_the_offsets(self):
        def change(read):
            read[3] = Consumed(read[3].offset + 1, read[3].record)

        self.assertIn("offset", difference(change))

    def test_tells_null_from_empty(self):
        for field in ("key", "value"):

            def change(read):
                empty = next(i for i, one in enumerate(read) if getattr(one.record, field) == b"")
                read[empty] = Consumed(empty, replace(read[empty].record, **{field: None}))

            self.assertIn(field, difference(change))

    def test_finds_headers_in_another_order(self):
        def change(read):
            index = next(i for i, one in enumerate(read) if len(one.record.headers) > 1)
            record = read[index].record
            read[index] = Consumed(index, replace(record, headers=record.headers[::-1]))

        self.assertIn("headers", difference(change))

    def test_finds_a_timestamp_that_is_off_by_a_millisecond(self):
        def change(read):
            read[0] = Consumed(0, replace(read[0].record, timestamp=read[0].record.timestamp + 1))

        self.assertIn("timestamp", difference(change))

    def test_finds_a_timestamp_outside_the_time_of_writing(self):
        self.assertIn("timestamp", difference(lambda read: None, frozenset({TIMESTAMP})))


class TheLines(unittest.TestCase):
    def test_carry_every_record_of_the_plan(self):
        for record in plan("test", frozenset()):
            records, errors = parse_consumed([Consumed(7, record).line("topic")])
            self.assertEqual(records["topic"][record.partition], [Consumed(7, record)])
            self.assertFalse(errors)

    def test_tell_null_from_empty(self):
        self.assertIsNone(decode("-"))
        self.assertEqual(decode("x"), b"")
        self.assertEqual(decode_headers("name:-,name:x"), (("name", None), ("name", b"")))


if __name__ == "__main__":
    unittest.main()
