"""What the command line shows: progress on stderr, results on stdout."""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from arraycnn.callbacks import Callback
from arraycnn.cli.measures import measured, measures
from arraycnn.escaping import PLAIN, printable
from arraycnn.training import history
from arraycnn.training.state import TrainingState

stderr = Console(stderr=True, highlight=False, soft_wrap=True)


def prepare_streams() -> None:
    """Let nothing that is shown fail: for an encoding that lacks a letter, or a closed stream."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:  # or a file of ours would get its number, and what others print
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
        if number and hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(errors=PLAIN)


class OneLine(logging.Formatter):
    """Of what is logged, as `notice` shows it."""

    def format(self, record: logging.LogRecord) -> str:
        return f"arraycnn: {_flat(record.getMessage())}"


def show(text: str) -> None:
    """A line of the result, on stdout."""
    sys.stdout.write(f"{printable(text)}\n")
    sys.stdout.flush()


def show_json(value: Any) -> None:
    """The machine-readable result, on stdout."""
    sys.stdout.write(f"{json.dumps(value, indent=2)}\n")
    sys.stdout.flush()


def notice(text: str) -> None:
    """One line worth knowing, on stderr."""
    sys.stderr.write(f"arraycnn: {_flat(text)}\n")


def _flat(text: str) -> str:
    return printable(" ".join(text.split()))


def counted(number: int, what: str) -> str:
    """1 image, 2 images."""
    return f"{number} {what}{'' if number == 1 else 's'}"


class TrainingBar(Callback):
    """A progress bar over all steps, with loss, accuracy and images/s; a line after each epoch."""

    def __init__(self, bar: Progress, quiet: bool) -> None:
        self._bar = bar
        self._task = bar.add_task("training", total=None, text="")
        self._quiet = quiet
        self._first_epoch: int | None = None

    def on_begin(self, state: TrainingState) -> None:
        if state.position:
            notice(f"goes on from {state.place}")

    def on_steps(self, progress: history.Progress) -> None:
        if self._first_epoch is None:
            self._first_epoch = progress.epoch
        done = (progress.epoch - self._first_epoch) * progress.steps + progress.step
        total = (progress.epochs - self._first_epoch + 1) * progress.steps
        rate = progress.images / max(progress.seconds, 1e-9)
        mean = measured(progress.measure, float(progress.accuracies.mean()))
        self._bar.update(
            self._task,
            completed=done,
            total=total,
            description=f"epoch {progress.epoch}/{progress.epochs}",
            text=f"loss {progress.losses[-1]:.4f}  {mean}  {rate:,.0f} images/s",
        )

    def on_epoch(self, record: history.EpochRecord) -> None:
        if self._quiet:
            return
        parts = [f"epoch {record.epoch}"]
        for part in ("train", "validation"):
            found = {
                name.removeprefix(f"{part}_"): record.value(name)
                for name in record.measured()
                if name.startswith(f"{part}_")
            }
            if found:
                parts.append(f"{part} {measures(found, between=' ')}")
        parts.append(f"{record.images_per_second:,.0f} images/s")
        self._bar.console.print("  ".join(parts))


@contextmanager
def training_bar(quiet: bool) -> Iterator[TrainingBar]:
    """A `TrainingBar` that is on the screen within the block."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        yield TrainingBar(bar, quiet)


class _ImagesPerSecond(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} images/s" if task.speed else "")


@contextmanager
def counting_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar over ``total`` images: yields a function to call with how many are done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        _ImagesPerSecond(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task(description, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def download_bar() -> Iterator[Callable[[int, int | None], None]]:
    """A progress function for downloads; nothing is shown until bytes arrive."""
    columns = (
        TextColumn("downloading"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        tasks: list[TaskID] = []

        def advance(done: int, total: int | None) -> None:
            if not tasks:
                tasks.append(bar.add_task("download", total=total))
            bar.update(tasks[0], completed=done, total=total)

        yield advance
