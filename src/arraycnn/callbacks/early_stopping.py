"""`EarlyStopping`: ends a training that no longer gets better."""

from collections.abc import Sequence

from arraycnn.callbacks.callback import Callback
from arraycnn.setting_checks import check_count, check_number
from arraycnn.training.history import (
    EpochRecord,
    best_epoch,
    check_among,
    check_measured,
    check_metric,
)
from arraycnn.training.state import TrainingState


class EarlyStopping(Callback):
    """Ends the training after ``patience`` epochs without a better one.

    Parameters
    ----------
    patience : int
        Epochs to wait, 1 or more.
    metric : str
        "validation_loss", "validation_accuracy", "train_loss" or "train_accuracy", or what else the
        loss measures, such as "validation_mean_absolute_error" or "validation_f1".
    min_delta : float
        A better epoch beats the best one before it by more than this.

    Attributes
    ----------
    stopped : bool
        Whether it ended the training.

    Raises
    ------
    InvalidValueError
        By `Model.fit`, where there is no validation data to take the metric from, or the loss measures
        something else.
    """

    def __init__(
        self, patience: int, metric: str = "validation_loss", min_delta: float = 0.0
    ) -> None:
        check_metric("EarlyStopping", metric)
        check_number("EarlyStopping: min_delta", min_delta, minimum=0.0)
        self.stopped = False
        self._patience = check_count("EarlyStopping: patience", patience)
        self._metric = metric
        self._min_delta = min_delta
        self._records: list[EpochRecord] = []

    def check_watched(self, names: Sequence[str]) -> None:
        """Refuse a training that measures ``names`` alone, without the metric."""
        check_among("EarlyStopping", self._metric, names)

    def on_begin(self, state: TrainingState) -> bool:
        self._records = list(state.records)
        return self._look()

    def on_epoch(self, record: EpochRecord) -> bool:
        check_measured("EarlyStopping", record, self._metric)
        self._records.append(record)
        return self._look()

    def _look(self) -> bool:
        best = best_epoch(self._records, self._metric, self._min_delta)
        waited = self._records[-1].epoch - best.epoch if best else 0
        self.stopped = waited >= self._patience
        return self.stopped
