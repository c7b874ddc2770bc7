"""The comparison must find every kind of loss, duplication and disorder: `python3 -m unittest` in this folder."""

import sys
import unittest

sys.dont_write_bytecode = True
from acknowledgements import Acknowledgements  # noqa: E402
from reader import compare  # noqa: E402
from tables import Row  # noqa: E402

ROWS = [Row(f"key-{index % 3}".encode(), f"row {index}".encode(), 1000 + index) for index in range(12)]
ROWS[4] = ROWS[4]._replace(key=None)


def written():
    """Rows acknowledged in two partitions by their keys, and the records as a flawless cluster gives them back."""
    acknowledgements = Acknowledgements(len(ROWS))
    records = []
    following = [0, 0]
    for index, row in enumerate(ROWS):
        partition = 0 if row.key == b"key-0" else 1
        acknowledgements.acknowledged(index, partition, following[partition])
        records.append([partition, following[partition], *row])
        following[partition] += 1
    records.sort(key=lambda record: record[:2])
    return acknowledgements, records


def found(change):
    acknowledgements, records = written()
    change(acknowledgements, records)
    return compare(ROWS, acknowledgements, records)


class TheComparison(unittest.TestCase):
    def test_finds_nothing_where_all_is_as_written(self):
        result = found(lambda acknowledgements, records: None)
        self.assertEqual((result["differences"], result["read"], result["lost"]), (0, 12, 0))

    def test_finds_an_acknowledged_row_that_is_lost(self):
        result = found(lambda acknowledgements, records: records.pop())
        self.assertEqual(result["lost"], 1)
        self.assertGreater(result["differences"], 0)

    def test_finds_a_row_that_is_there_twice(self):
        def change(acknowledgements, records):
            partition, offset, *row = records[-1]
            records.append([partition, offset + 1, *row])

        self.assertGreater(found(change)["differences"], 0)

    def test_finds_a_record_that_nobody_wrote(self):
        def change(acknowledgements, records):
            partition, offset, *_ = records[-1]
            records.append([partition, offset + 1, b"key-1", b"stranger", 1])

        self.assertGreater(found(change)["differences"], 0)

    def test_lets_a_row_be_there_whose_acknowledgement_got_lost(self):
        def change(acknowledgements, records):
            acknowledgements.offsets[0] = -1

        result = found(change)
        self.assertEqual((result["differences"], result["unacknowledged"]), (0, 1))

    def test_finds_a_row_twice_whose_acknowledgement_got_lost(self):
        def change(acknowledgements, records):
            acknowledgements.offsets[0] = -1
            partition, offset, *_ = records[-1]
            records.append([partition, offset + 1, *ROWS[0]])

        self.assertGreater(found(change)["differences"], 0)

    def test_finds_two_rows_of_a_key_in_the_wrong_order(self):
        def change(acknowledgements, records):
            # Rows 0 and 3 change places, in the log and in what their writer was told.
            acknowledgements.offsets[0], acknowledgements.offsets[3] = 1, 0
            records[0][2:], records[1][2:] = records[1][2:], records[0][2:]

        self.assertIn("after row", found(change)["shown"][0])

    def test_finds_a_key_in_two_partitions(self):
        def change(acknowledgements, records):
            index = len(ROWS) - 1
            partition, offset, *row = records.pop()
            acknowledgements.acknowledged(index, 2, 0)
            records.append([2, 0, *row])

        self.assertIn("is also in partition", found(change)["shown"][0])

    def test_finds_a_gap_in_the_offsets(self):
        def change(acknowledgements, records):
            records[-1][1] += 1
            acknowledgements.offsets[len(ROWS) - 1] += 1

        self.assertIn("expected offset", found(change)["shown"][0])

    def test_finds_a_changed_key_value_or_timestamp(self):
        for field, other in ((2, None), (3, b"row 99"), (4, 7)):

            def change(acknowledgements, records):
                records[0][field] = other

            self.assertIn("wrote", found(change)["shown"][0])

    def test_finds_two_rows_acknowledged_at_one_place(self):
        def change(acknowledgements, records):
            acknowledgements.offsets[3] = 0

        self.assertGreater(found(change)["differences"], 0)


if __name__ == "__main__":
    unittest.main()
