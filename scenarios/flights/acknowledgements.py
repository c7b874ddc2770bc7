"""Where each row was acknowledged: the file that a writer leaves for the reader.

Two arrays of the same length, one entry a row: the partition, and the offset, or -1 for a row that was not acknowledged.
"""

from array import array
from pathlib import Path


class Acknowledgements:
    """The partition and offset of every row, by the row's index."""

    def __init__(self, count: int):
        self.partitions = array("i", [-1]) * count
        self.offsets = array("q", [-1]) * count
        self.count = 0
        self.failures = []

    def acknowledged(self, index: int, partition: int, offset: int):
        self.partitions[index] = partition
        self.offsets[index] = offset
        self.count += 1

    def failed(self, index: int, reason: str):
        self.failures.append(f"row {index}: {reason}")

    def save(self, path: Path):
        with open(path, "wb") as file:
            self.partitions.tofile(file)
            self.offsets.tofile(file)

    @classmethod
    def load(cls, path: Path, count: int):
        loaded = cls(0)
        with open(path, "rb") as file:
            loaded.partitions.fromfile(file, count)
            loaded.offsets.fromfile(file, count)
        return loaded
