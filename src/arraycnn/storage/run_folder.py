"""The folder of one training: its settings, its metrics line by line, its models, its summary."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from arraycnn.callbacks.logs import read_json_lines
from arraycnn.data import DATASETS
from arraycnn.data.dataset import DataSet
from arraycnn.data.digest import training_digest
from arraycnn.errors import InvalidTypeError, InvalidValueError, RunFolderError
from arraycnn.storage.atomic_writes import (
    is_leftover,
    remove_durably,
    remove_leftovers,
    sync_folder,
    write_atomically,
)
from arraycnn.storage.folder_lock import FolderLock
from arraycnn.storage.user_paths import user_path

# What runs before this were limited by had no name: the first images of the set.
SAMPLING = "by class"


class RunFolder:
    """A run's folder, held by this process alone until `close`: use it in a ``with`` block.

    config.json     the settings
    metrics.jsonl   a line an epoch; metrics.csv the same as a table, steps.jsonl a line a step
    last.npz        the training as it was saved last, from which it goes on
    best.npz        the model of the best epoch
    summary.json    the result, once there is one
    """

    def __init__(self, path: Path, lock: FolderLock, made: Sequence[Path] = ()) -> None:
        self.path = path
        self._lock, self._made = lock, made  # the folders that were made for it, itself first
        self.last = path / "last.npz"
        self.best = path / "best.npz"
        self.metrics = path / "metrics.jsonl"
        self.table = path / "metrics.csv"
        self.steps = path / "steps.jsonl"
        self.events = path / "tensorboard"

    @classmethod
    def create(cls, path: Path, config: dict[str, Any]) -> "RunFolder":
        """A new run at ``path``, which is made with its parents, and must be new or empty.

        Raises RunFolderError.
        """
        try:
            made = [folder for folder in (path, *path.parents) if not folder.exists()]
            path.mkdir(parents=True, exist_ok=True)
            lock = FolderLock(path)
            files = [file for file in path.iterdir() if file.name != ".lock"]
            if all(map(is_leftover, files)):
                remove_leftovers(path)
                files = []
        except OSError as error:
            raise _unwritable(path, error, "choose another --out") from error
        if files:
            lock.release()
            message = (
                f"run folder {path}: must be new or empty, and it is not; "
                f"choose another --out, remove it, or go on with --resume {path}"
            )
            raise RunFolderError(message)
        folder = cls(path, lock, made)
        try:
            folder.write_config(config)
            sync_folder(path.parent)
        except BaseException:
            folder.close()  # or this process could not try again
            raise
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """The run at ``path``, to go on with. Raises RunFolderError where there is none."""
        read_config(path)
        try:
            lock = FolderLock(path)
            remove_leftovers(path)
        except OSError as error:
            raise _unwritable(path, error, "make it writable") from error
        return cls(path, lock)

    def close(self) -> None:
        """Let other processes in."""
        self._lock.release()

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def beginning(self, steps_done: Callable[[], int]) -> Iterator[None]:
        """Of a new run: where its first step is refused within the block, nothing of it is left.

        A folder that was there and empty stays, and so does what others put there meanwhile. What a
        machine or a user ended stays, to be resumed.
        """
        before = steps_done()
        try:
            yield
        except (InvalidTypeError, InvalidValueError):
            if steps_done() == before and not self.last.exists():
                self._discard()
            raise

    def _discard(self) -> None:
        """Remove what this run wrote, and the folders that were made for it where nothing else is."""
        if not self._lock.is_ours():  # the user removed the folder, and another run may be there
            return
        with suppress(OSError):
            for file in (*self.logs_and_best(), *self._event_files(), self.path / "config.json"):
                file.unlink(missing_ok=True)
            if self.events.is_dir():
                self.events.rmdir()
            self.close()
            for folder in self._made:
                folder.rmdir()

    def write_config(self, config: dict[str, Any]) -> None:
        self._write("config.json", config)

    def write_summary(self, summary: dict[str, Any]) -> None:
        self._write("summary.json", summary)

    def read_summary(self) -> dict[str, Any] | None:
        """The result, None where there is none yet. Raises RunFolderError where it is damaged."""
        path = self.path / "summary.json"
        return read_json(path) if path.exists() else None

    def remove_summary(self) -> None:
        remove_durably(self.path / "summary.json")

    def records(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return read_json_lines(self.metrics)

    def logs_and_best(self) -> list[Path]:
        """Of the files that make up the run beside its last save, those that are there."""
        files = (self.metrics, self.table, self.steps, self.best)
        return [file for file in files if file.exists()]

    def _event_files(self) -> list[Path]:
        """Those of TensorBoard; none where the folder is a link, to what a user has elsewhere."""
        return [] if self.events.is_symlink() else list(self.events.glob("events.out.tfevents.*"))

    def _write(self, name: str, value: dict[str, Any]) -> None:
        try:
            write_atomically(self.path / name, (json.dumps(value, indent=2) + "\n").encode())
        except OSError as error:
            raise _unwritable(self.path, error, "check folder and disk") from error


def read_config(path: Path) -> dict[str, Any]:
    """The settings of the run at ``path``. Raises RunFolderError where there are none."""
    why: str | None = "no config.json"
    try:
        is_run = (path / "config.json").is_file()
    except OSError as error:
        is_run, why = False, error.strerror
    if not is_run:
        message = f"run folder {path}: holds no run ({why}); check the path"
        raise RunFolderError(message)
    return read_json(path / "config.json")


def sampling_of(config: dict[str, Any]) -> str:
    """How the run of ``config`` draws the images that its limit leaves."""
    return str(config.get("sampling", "first"))


def limited(data: DataSet, limit: int | None, seed: int, sampling: str) -> DataSet:
    """``data`` within ``limit``, drawn as `sampling_of` says."""
    if limit is None:
        return data
    return data.first(limit) if sampling == "first" else data.limited(limit, seed)


def recorded_data(path: Path, config: dict[str, Any]) -> tuple[str, str | None]:
    """The data set of the run at ``path`` and its data folder, as ``config`` has them.

    Raises RunFolderError where it names none, or what it names is gone.
    """
    name, folder = config.get("dataset"), config.get("data_dir")
    if not isinstance(name, str):
        message = (
            f"run folder {path}: config.json names no data set; say what it is with --dataset, or "
            "hand the images over in Python: arraycnn.report.examine(model, images, labels)"
        )
        raise RunFolderError(message)
    if name not in DATASETS and not user_path(name).exists():
        message = (
            f"run folder {path}: the data set it was trained on must exist, {name} does not; "
            "say where it is now with --dataset"
        )
        raise RunFolderError(message)
    if name == "digits":
        return name, None
    if folder is not None and not user_path(folder).is_dir():
        message = (
            f"run folder {path}: the data folder it was trained from must exist, {folder} does "
            "not; say where it is with --data-dir"
        )
        raise RunFolderError(message)
    return name, folder


def is_training_data(config: dict[str, Any], data: DataSet) -> bool | None:
    """Whether ``data``, limited as the run of ``config`` was, are those it was trained on.

    None where the run does not say.
    """
    known = config.get("data_sha256")
    if not isinstance(known, str):
        return None
    own_part = config.get("validation") is None and data.validation_images is not None
    return training_digest(data, own_part) == known


def new_run_path(name: str) -> Path:
    """A path under runs/ that does not exist: runs/NAME-DATE-TIME."""
    return unused(Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}")


def unused(path: Path) -> Path:
    """``path``, or with the first number behind it that makes it one that does not exist."""
    stem, number = path, 1
    while path.exists():
        number += 1
        path = stem.with_name(f"{stem.name}-{number}")
    return path


def read_json(path: Path) -> dict[str, Any]:
    """The names and values in a file of a run folder. Raises RunFolderError."""
    return parse_json(path, read_file(path))


def read_file(path: Path) -> bytes:
    """The content of a file of a run folder. Raises RunFolderError."""
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"run folder {path.parent}: {path.name} cannot be read ({error.strerror})"
        raise RunFolderError(message) from error


def parse_json(path: Path, text: bytes) -> dict[str, Any]:
    """The names and values in ``text``, of the file ``path``. Raises RunFolderError."""
    try:
        value = json.loads(text)
        if not isinstance(value, dict):
            message = "it is no table of names and values"
            raise ValueError(message)
    except (ValueError, RecursionError) as error:
        message = f"run folder {path.parent}: {path.name} is damaged ({error}); restore it"
        raise RunFolderError(message) from error
    return value


def _unwritable(path: Path, error: OSError, remedy: str) -> RunFolderError:
    return RunFolderError(f"run folder {path}: cannot be written ({error.strerror}); {remedy}")
