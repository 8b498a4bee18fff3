"""The folder of one training: its settings, its metrics line by line, its summary, its model."""

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from arraycnn.errors import DataError
from arraycnn.files import write_atomically
from arraycnn.history import Callback, EpochRecord, Progress
from arraycnn.model import Model


class RunFolder:
    """Files of one run: config.json, metrics.jsonl, steps.jsonl, summary.json, model.npz.

    Parameters
    ----------
    path : Path
        Made with its parents; must not hold a run already.

    Raises
    ------
    DataError
        The folder is not empty, or is a file.
    """

    def __init__(self, path: Path) -> None:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            message = (
                f"run folder {path}: must be new or empty, and it is not; "
                "choose another --out, or remove it"
            )
            raise DataError(message)
        path.mkdir(parents=True, exist_ok=True)
        self.path = path

    @property
    def model(self) -> Path:
        return self.path / "model.npz"

    def write_config(self, config: dict[str, Any]) -> None:
        self._write("config.json", config)

    def write_summary(self, summary: dict[str, Any]) -> None:
        self._write("summary.json", summary)

    def append(self, name: str, lines: list[dict[str, Any]]) -> None:
        """Add JSON lines to the file ``name``; each call reaches the file at once."""
        with open(self.path / name, "a", encoding="utf-8") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))

    def _write(self, name: str, value: dict[str, Any]) -> None:
        write_atomically(self.path / name, (json.dumps(value, indent=2) + "\n").encode())


class RunLog(Callback):
    """Writes metrics.jsonl, and steps.jsonl where asked to."""

    def __init__(self, folder: RunFolder, model: Model, log_steps: bool) -> None:
        self._folder = folder
        self._where = {"backend": model.backend.name, "device": model.backend.device_name}
        self._log_steps = log_steps
        self.begun = False
        """Whether a step has been taken: there is a trained model to keep."""

    def on_steps(self, progress: Progress) -> None:
        self.begun = True
        if not self._log_steps:
            return
        first = progress.step - len(progress.losses)
        columns = zip(progress.losses, progress.accuracies, progress.learning_rates, strict=True)
        self._folder.append(
            "steps.jsonl",
            [
                {
                    "epoch": progress.epoch,
                    "step": first + number,
                    "loss": float(loss),
                    "accuracy": float(accuracy),
                    "learning_rate": float(rate),
                }
                for number, (loss, accuracy, rate) in enumerate(columns, start=1)
            ],
        )

    def on_epoch(self, record: EpochRecord) -> None:
        self._folder.append("metrics.jsonl", [{**asdict(record), **self._where}])


def new_run_path(name: str) -> Path:
    """A path under runs/ that does not exist: runs/NAME-DATE-TIME."""
    stem = Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    path, number = stem, 1
    while path.exists():
        number += 1
        path = stem.with_name(f"{stem.name}-{number}")
    return path
