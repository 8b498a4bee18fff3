"""`JSONLog`, `CSVLog` and `StepLog`: what a training reports, as lines of a file."""

import contextlib
import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from arraycnn.callbacks.callback import Callback
from arraycnn.storage.atomic_writes import append_durably, write_atomically
from arraycnn.storage.user_paths import user_path
from arraycnn.training.history import FIELDS, EpochRecord, Progress
from arraycnn.training.state import TrainingState


class JSONLog(Callback):
    """Adds a line of JSON to a file after each epoch: the fields of `EpochRecord`, and its `others`.

    A line is on the disk before any `on_save`, so a resumed training finds each of
    its epochs there. What the file holds of later epochs is dropped: those are run again. Lines
    that were lost are written again, their times null.

    Parameters
    ----------
    path : path
    extra : mapping
        Further fields for every line.
    """

    def __init__(self, path: str | Path, extra: Mapping[str, Any] | None = None) -> None:
        self._path = user_path(path)
        self._extra = dict(extra or {})

    def on_begin(self, state: TrainingState) -> None:
        lines = read_json_lines(self._path)
        found = {line["epoch"]: line for line in lines if isinstance(line.get("epoch"), int)}
        first = state.course.first_epoch
        before = [line for epoch, line in found.items() if epoch <= first]
        known = [found.get(r.epoch) or _line(r, self._extra) for r in state.records]
        write_atomically(self._path, _json_lines([*before, *known]))

    def on_epoch(self, record: EpochRecord) -> None:
        append_durably(self._path, _json_lines([_line(record, self._extra)]))


class StepLog(Callback):
    """Adds a line of JSON to a file for each step: epoch, step, loss, accuracy, learning_rate.

    Epochs and steps count from 1. Lines are written as `JSONLog` writes them.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = user_path(path)

    def on_begin(self, state: TrainingState) -> None:
        now = (state.epochs_done + 1, state.told)
        _keep_lines(self._path, lambda line: (line["epoch"], line["step"]) <= now)

    def on_steps(self, progress: Progress) -> None:
        first = progress.step - len(progress.losses) + 1
        columns = zip(progress.losses, progress.accuracies, progress.learning_rates, strict=True)
        lines = (
            {
                "epoch": progress.epoch,
                "step": step,
                "loss": float(loss),
                progress.measure: float(accuracy),
                "learning_rate": float(rate),
            }
            for step, (loss, accuracy, rate) in enumerate(columns, start=first)
        )
        append_durably(self._path, _json_lines(lines))


class CSVLog(Callback):
    """Adds a row to a table after each epoch: the fields of `EpochRecord`, empty where None.

    Rows are written as `JSONLog` writes lines. What else the loss measures has columns behind these,
    from the first epoch on that has it.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = user_path(path)
        self._names: list[str] = []

    def on_begin(self, state: TrainingState) -> None:
        self._keep(state.epochs_done, ())

    def on_epoch(self, record: EpochRecord) -> None:
        line = record.to_line()
        if not self._names or line.keys() - set(self._names):
            self._keep(record.epoch - 1, record.others)
        append_durably(self._path, _table([[line.get(name) for name in self._names]]))

    def _keep(self, epochs: int, others: Iterable[str]) -> None:
        """Make the table hold the rows of so many epochs, and have columns for ``others``."""
        content = self._path.read_bytes() if self._path.exists() else b""
        text = content.decode(errors="replace")  # a row that a crash cut short may end in anything
        header, *rows = [*csv.reader(io.StringIO(text))] or [[]]
        if tuple(header[: len(FIELDS)]) != FIELDS:
            header = list(FIELDS)
        kept = [
            row
            for row in rows
            if len(row) == len(header) and row[0].isdecimal() and int(row[0]) <= epochs
        ]
        new = [name for name in others if name not in header]
        self._names = [*header, *new]
        write_atomically(
            self._path, _table([self._names, *([*row, *[""] * len(new)] for row in kept)])
        )


def write_records(path: Path, records: Iterable[EpochRecord], extra: Mapping[str, Any]) -> None:
    """A file as `JSONLog` would have written it."""
    write_atomically(path, _json_lines(_line(record, extra) for record in records))


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The values of a file of lines of JSON up to one that was cut short; no file has none."""
    values: list[dict[str, Any]] = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(value, dict):
            break
        values.append(value)
    return values


def _line(record: EpochRecord, extra: Mapping[str, Any]) -> dict[str, Any]:
    line = {**record.to_line(), **extra}
    for name in ("seconds", "images_per_second"):
        line[name] = None if math.isnan(line[name]) else line[name]  # JSON has no NaN
    return line


def _keep_lines(path: Path, done: Callable[[dict[str, Any]], bool]) -> None:
    """Make ``path`` hold just those of its lines that tell of what is done."""
    kept = []
    for line in read_json_lines(path):
        with contextlib.suppress(KeyError, TypeError):  # a line that is none of ours
            if done(line):
                kept.append(line)
    write_atomically(path, _json_lines(kept))


def _json_lines(values: Iterable[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(value) + "\n" for value in values).encode()


def _table(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
