"""`TensorBoard`: event files of a training, written with tensorboardX."""

from pathlib import Path
from typing import Any

from arraycnn.callbacks.callback import Callback
from arraycnn.errors import MissingPackageError
from arraycnn.storage.user_paths import user_path
from arraycnn.training.history import METRICS, EpochRecord, Progress
from arraycnn.training.state import TrainingState


class TensorBoard(Callback):
    """Writes event files: loss, accuracy and learning rate of steps, and what each epoch reports.

    All are plotted over the steps of the model's life. A resumed training replaces what was written
    of the steps that it runs again.

    Parameters
    ----------
    folder : path
        What ``tensorboard --logdir`` is given.

    Raises
    ------
    MissingPackageError
        tensorboardX, of the extra ``tensorboard``, is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            message = (
                f"TensorBoard: tensorboardX cannot be imported ({error}); "
                'pip install "arraycnn[tensorboard]"'
            )
            raise MissingPackageError(message) from error
        self._make_writer = SummaryWriter
        self._folder = user_path(folder)
        self._writer: Any = None
        self._step = 0

    def on_begin(self, state: TrainingState) -> None:
        self._step = state.steps_done - len(state.untold)
        # From this step on, TensorBoard leaves out what earlier files hold.
        purge = self._step + 1 if state.position else None
        self._writer = self._make_writer(str(self._folder), purge_step=purge)

    def on_steps(self, progress: Progress) -> None:
        columns = zip(progress.losses, progress.accuracies, progress.learning_rates, strict=True)
        for loss, accuracy, rate in columns:
            self._step += 1
            self._add("step/loss", loss)
            self._add(f"step/{progress.measure}", accuracy)
            self._add("step/learning_rate", rate)

    def on_epoch(self, record: EpochRecord) -> None:
        for name, value in record.others.items():
            self._add(f"epoch/{name}", value)
        for name in (*METRICS, "images_per_second"):
            value = getattr(record, name)
            if value is not None:
                self._add(f"epoch/{name}", value)
        self._writer.flush()

    def on_save(self, state: TrainingState) -> None:
        self._writer.flush()

    def on_end(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _add(self, name: str, value: float) -> None:
        self._writer.add_scalar(name, float(value), self._step)
