"""`Checkpoint` and `BestCheckpoint`: keep a training, or its best model, in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from arraycnn.callbacks.callback import Callback
from arraycnn.setting_checks import check_count
from arraycnn.storage.user_paths import user_path
from arraycnn.training.history import best_epoch, check_metric
from arraycnn.training.state import TrainingState

if TYPE_CHECKING:
    from arraycnn.model.model import Model


class Checkpoint(Callback):
    """Keeps the training in a file, from which `Model.load_training` and `Model.fit` go on exactly.

    Parameters
    ----------
    model : Model
        The one that is trained.
    path : path
        Written after each epoch, and where the training is ended; each time as a whole, so that a
        crash leaves the file before or the file after.
    save_every : int or None
        Write it also each time this many steps are done.
    """

    def __init__(self, model: Model, path: str | Path, save_every: int | None = None) -> None:
        if save_every is not None:
            check_count("Checkpoint: save_every", save_every)
        self.save_every = save_every
        self._model = model
        self._path = user_path(path)

    def on_save(self, state: TrainingState) -> None:
        self._model.save(self._path, state)


class BestCheckpoint(Callback):
    """Keeps the model of the best epoch in a file, as `Model.save` writes it.

    Parameters
    ----------
    model : Model
        The one that is trained.
    path : path
        Written after each epoch that is better than all before it.
    metric : str
        "validation_loss", "validation_accuracy", "train_loss" or "train_accuracy", or what else the
        loss measures, such as "validation_f1"; nothing is kept of epochs that do not have it.
    """

    def __init__(self, model: Model, path: str | Path, metric: str = "validation_loss") -> None:
        check_metric("BestCheckpoint", metric)
        self._model = model
        self._path = user_path(path)
        self._metric = metric

    def on_save(self, state: TrainingState) -> None:
        if state.step or not state.records:
            return
        if best_epoch(state.records, self._metric) is state.records[-1]:
            self._model.save(self._path)
