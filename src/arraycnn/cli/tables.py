"""Rows of results as text, CSV, JSON lines or one JSON value; on stdout or into a file.

Names are exact in all but text. JSON is ASCII, so it has what is no text as escapes (a byte 0xe9 of a
file name is \\udce9, which Python's json gives back); CSV is UTF-8 and has such a byte as it is.
"""

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from arraycnn.escaping import EXACT

FORMATS = ("text", "csv", "jsonl", "json")


class Table(Protocol):
    """Takes one row at a time: as a line of text, and as values by name."""

    def add(self, text: str, row: dict[str, Any]) -> None: ...

    def end(self) -> None: ...


class _Text:
    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def add(self, text: str, row: dict[str, Any]) -> None:
        self._file.write(f"{text}\n")

    def end(self) -> None:
        pass


class _JsonLines(_Text):
    def add(self, text: str, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")


class _Json(_Text):
    """One list, written when it is whole: a reader never gets a half."""

    def __init__(self, file: IO[str]) -> None:
        super().__init__(file)
        self._rows: list[dict[str, Any]] = []

    def add(self, text: str, row: dict[str, Any]) -> None:
        self._rows.append(row)

    def end(self) -> None:
        self._file.write(json.dumps(self._rows, indent=2) + "\n")


class _Csv(_Text):
    """The keys of the first row are the header; of probabilities, each gets two columns."""

    def __init__(self, file: IO[str]) -> None:
        super().__init__(file)
        self._writer = csv.writer(file, lineterminator="\n")
        self._quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        self._begun = False

    def add(self, text: str, row: dict[str, Any]) -> None:
        flat = _flat(row)
        if not self._begun:
            self._begun = True
            self._writer.writerow(flat)
        # csv quotes a cell with this table's line break only; readers take the other one for it, too.
        returns = any("\r" in value for value in flat.values() if isinstance(value, str))
        (self._quoting if returns else self._writer).writerow(flat.values())


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name == "probabilities":  # of classes, the likeliest first, which stands before
            for place, pair in enumerate(list(value.items())[1:], start=2):
                flat |= {
                    f"{c}_{place}": v for c, v in zip(("class", "probability"), pair, strict=True)
                }
        elif isinstance(value, dict):
            flat |= {f"{name} {key}": one for key, one in value.items()}
        else:
            flat[name] = "; ".join(value) if isinstance(value, list) else value
    return flat


_TABLES = {"text": _Text, "csv": _Csv, "jsonl": _JsonLines, "json": _Json}


@contextmanager
def table(kind: str, path: Path | None) -> Iterator[Table]:
    """A table on stdout, or in the file ``path``; not ended where an error leaves the block."""
    if path is None:
        if kind == "csv" and hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8", errors=EXACT)
        rows: Table = _TABLES[kind](sys.stdout)
        yield rows
        rows.end()
        sys.stdout.flush()
        return
    with path.open("w", encoding="utf-8", errors=EXACT, newline="") as file:
        rows = _TABLES[kind](file)
        yield rows
        rows.end()
