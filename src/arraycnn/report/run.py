"""Reading the folder of a training; nothing here writes to it."""

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from arraycnn.data import DataSet, load_dataset
from arraycnn.data.label_kinds import LabelKind
from arraycnn.errors import RunFolderError
from arraycnn.escaping import for_shell
from arraycnn.storage.run_folder import (
    is_training_data,
    limited,
    parse_json,
    read_config,
    read_file,
    read_json,
    recorded_data,
    sampling_of,
)
from arraycnn.storage.user_paths import user_path
from arraycnn.training.history import FIELDS, EpochRecord, others_in

# The first of these that is there; best.npz is the epoch that validation found best.
MODEL_FILES = ("best.npz", "last.npz")
# What config.json holds beside the options of `arraycnn train`.
_NO_OPTIONS = {"data_sha256", "from_sha256", "network_sha256", "sampling"}
# Options that are not called as their values are.
_OPTIONS = {"from_model": "from"}
# The options that are either --NAME or --no-NAME.
_SWITCHES = {"fast", "graph"}


@dataclass(frozen=True)
class StepRecord:
    """One line of steps.jsonl: epoch and step count from 1; loss in nats an image.

    The accuracy is None where the loss measures something else.
    """

    epoch: int
    step: int
    loss: float
    accuracy: float | None
    learning_rate: float


@dataclass(frozen=True)
class Run:
    """What a run folder says.

    Attributes
    ----------
    path : Path
    name : str
        The folder's name.
    config : dict
        The settings: config.json.
    epochs : tuple of EpochRecord
        metrics.jsonl; empty where no epoch was finished.
    steps : tuple of StepRecord
        steps.jsonl; empty unless steps were logged.
    summary : dict
        summary.json; empty where the run is not finished.
    model_file : Path
        The first of `MODEL_FILES` that the folder holds.
    """

    path: Path
    name: str
    config: dict[str, Any]
    epochs: tuple[EpochRecord, ...]
    steps: tuple[StepRecord, ...]
    summary: dict[str, Any]
    model_file: Path

    @property
    def command(self) -> str:
        """The command line that repeats the run."""
        return command_of(self.config)


def read_run(path: str | Path) -> Run:
    """The run in the folder ``path``, which may still be going on.

    Raises RunFolderError where it holds no run or no model yet, or a file of it is damaged.
    """
    path = user_path(path)
    config = read_config(path)
    model_file = next((path / name for name in MODEL_FILES if (path / name).is_file()), None)
    if model_file is None:
        message = (
            f"run folder {path}: holds no model yet ({', '.join(MODEL_FILES)}); "
            "wait for its first save, or train again"
        )
        raise RunFolderError(message)
    summary = path / "summary.json"
    return Run(
        path=path,
        name=path.resolve().name,
        config=config,
        epochs=tuple(_records(path / "metrics.jsonl", EpochRecord)),
        steps=tuple(_records(path / "steps.jsonl", StepRecord)),
        summary=read_json(summary) if summary.is_file() else {},
        model_file=model_file,
    )


def load_run_data(
    run: Run,
    data_dir: str | Path | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    dataset: str | Path | None = None,
    skip_damaged: bool = False,
    labels: LabelKind = "classes",
) -> DataSet:
    """The data set that ``run`` was trained on, with the run's own limit.

    Parameters
    ----------
    data_dir, dataset : path or None
        Where its files are, and what it is called or where it is; None is as it was when the run
        was trained. `is_data_of` says whether they are the same data.
    progress : callable
        As `load_dataset` takes it.
    skip_damaged : bool
        Whether to leave pictures out that cannot be read; a run that did so does it in any case.
    labels : str
        What the model's labels are, as `load_dataset` has it.

    Raises
    ------
    RunFolderError
        The run does not name its data set, or its data are gone.
    DataError
        As of `load_dataset`.
    """
    name: str | Path
    size = _image_size(run)
    if dataset is not None:
        name = dataset
    elif data_dir is not None and isinstance(run.config.get("dataset"), str):
        name = run.config["dataset"]
        data_dir = None if name == "digits" else data_dir
    else:
        name, data_dir = recorded_data(run.path, run.config)
    seed = run.config.get("seed", 0)  # it decided which images the training did not see
    data = load_dataset(
        *(name, data_dir, progress),
        image_size=size,
        seed=seed,
        skip_damaged=skip_damaged or run.config.get("skip_damaged") is True,
        labels=labels,
    )
    return limited(data, run.config.get("limit"), seed, sampling_of(run.config))


def is_data_of(run: Run, data: DataSet) -> bool | None:
    """Whether the training images of ``data``, from `load_run_data`, are those of ``run``.

    By their digest, for which all are read; None where the run has none.
    """
    return is_training_data(run.config, data)


def _image_size(run: Run) -> Any:
    """(H, W) or (H, W, C) that pictures were stretched to, which config.json has as 32x32."""
    size = run.config.get("image_size")
    try:
        return None if size is None else tuple(map(int, size.split("x")))
    except (AttributeError, ValueError) as error:
        message = (
            f"run folder {run.path}: image_size of config.json must be a size such as 32x32, "
            f"got {size!r}; restore it"
        )
        raise RunFolderError(message) from error


def unique_names(runs: Sequence[Run]) -> list[str]:
    """A name for each run: its folder's, its path where two folders share one, numbered at need."""
    folders = [run.name for run in runs]
    names = [run.name if folders.count(run.name) == 1 else str(run.path.resolve()) for run in runs]
    earlier = [names[:place].count(name) for place, name in enumerate(names)]
    return [
        f"{name} ({count + 1})" if count else name
        for name, count in zip(names, earlier, strict=True)
    ]


def _records(path: Path, kind: type[EpochRecord | StepRecord]) -> list[Any]:
    """The lines of a file of JSON lines as ``kind``; none where there is no file."""
    if not path.is_file():
        return []
    # A last line without its line break is being written just now.
    lines = [line for line in read_file(path).split(b"\n")[:-1] if line.strip()]
    records = []
    for number, line in enumerate(lines, start=1):
        values = parse_json(path, line)
        try:
            given = _epoch(values) if kind is EpochRecord else _step(values)
        except (KeyError, ValueError) as error:
            message = f"run folder {path.parent}: {path.name} line {number} lacks {error}"
            raise RunFolderError(message) from error
        records.append(kind(**given))
    return records


def _epoch(values: dict[str, Any]) -> dict[str, Any]:
    others = {}
    for name, value in others_in(values).items():
        with contextlib.suppress(ValueError):  # what a user had written beside it
            others[name] = _number(value)
    known = {name: value for name, value in others.items() if value is not None}
    return {**{name: _number(values[name]) for name in FIELDS}, "others": known}


def _step(values: dict[str, Any]) -> dict[str, Any]:
    given = {"accuracy": None, **values}  # of another loss, it has what that measures instead
    return {field.name: _number(given[field.name]) for field in fields(StepRecord)}


def _number(value: Any) -> Any:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        message = f"a number, it has {value!r}"
        raise ValueError(message)
    return None if value is None or not math.isfinite(value) else value


def command_of(config: dict[str, Any]) -> str:
    """The ``arraycnn train`` that has the settings of ``config``, as one types it."""
    words = ["arraycnn", "train"]
    for name, value in config.items():
        option = _OPTIONS.get(name, name.replace("_", "-"))
        if name in _NO_OPTIONS or value is None or (value is False and name not in _SWITCHES):
            continue
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        elif isinstance(value, list):
            for one in value:
                words += [f"--{option}", str(one)]
        else:
            words += [f"--{option}", str(value)]
    return " ".join(map(for_shell, words))
