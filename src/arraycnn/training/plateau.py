"""`Plateau`: a learning rate that falls where a training no longer gets better."""

from collections.abc import Sequence
from dataclasses import dataclass

from arraycnn.errors import InvalidValueError
from arraycnn.optimizers.schedules import Schedule, check_learning_rate
from arraycnn.setting_checks import check_count, check_number
from arraycnn.training.history import (
    EpochRecord,
    check_among,
    check_measured,
    check_metric,
    is_better,
)


@dataclass(frozen=True)
class Plateau:
    """A schedule: the rate is multiplied by ``factor`` after ``patience`` epochs without a better one.

    As PyTorch's ReduceLROnPlateau with threshold_mode="abs", no cooldown, and its patience one less:
    here, as in `EarlyStopping`, the last epoch that is waited for counts. The rate is a function of
    the records of the epochs, which a `TrainingState` holds, so that a training that is resumed goes
    on with the same. An `OneCycle` rises and falls whatever happens; this one waits and looks.

    Parameters
    ----------
    learning_rate : float
        The first, and highest.
    metric : str
        As of `EarlyStopping`.
    patience : int
        Epochs, 1 or more; counted anew after each fall.
    factor : float
        In [0, 1).
    min_delta : float
        A better epoch beats the best one before it by more than this.
    final : float
        The rate never falls below.

    Raises
    ------
    InvalidValueError
        By `Model.fit`, where ``metric`` will not be measured.
    """

    learning_rate: float
    metric: str = "validation_loss"
    patience: int = 5
    factor: float = 0.1
    min_delta: float = 0.0
    final: float = 0.0

    def __post_init__(self) -> None:
        check_learning_rate("Plateau", self.learning_rate)
        check_metric("Plateau", self.metric)
        check_count("Plateau: patience", self.patience)
        check_number("Plateau: factor", self.factor, minimum=0.0)
        if self.factor >= 1.0:
            message = f"Plateau: factor must be below 1, got {self.factor!r}"
            raise InvalidValueError(message)
        check_number("Plateau: min_delta", self.min_delta, minimum=0.0)
        check_number("Plateau: final", self.final, minimum=0.0)

    def __call__(self, step: int, total_steps: int) -> float:
        """The rate before anything is known of epochs."""
        return self.learning_rate

    def check_watched(self, names: Sequence[str]) -> None:
        """Refuse a training that measures ``names`` alone, without the metric."""
        check_among("Plateau", self.metric, names)

    def after_epochs(self, records: Sequence[EpochRecord], steps: int) -> Schedule:
        rates = self._rates(records)
        return lambda step, total_steps: rates[min(step // steps, len(records))]

    def _rates(self, records: Sequence[EpochRecord]) -> list[float]:
        """That of each epoch of ``records``, and of the next one."""
        rates, best, waited = [self.learning_rate], None, 0
        for record in records:
            check_measured("Plateau", record, self.metric)
            value = record.value(self.metric)
            assert value is not None
            if is_better(self.metric, value, best, self.min_delta):
                best, waited = value, 0
            else:
                waited += 1
            rate = rates[-1]
            if waited == self.patience:
                waited = 0
                rate = min(rate, max(rate * self.factor, self.final))
            rates.append(rate)
        return rates
