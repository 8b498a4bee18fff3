"""`TimeLimit`: ends a training after some time."""

import time

from arraycnn.callbacks.callback import Callback
from arraycnn.errors import InvalidValueError
from arraycnn.setting_checks import check_number
from arraycnn.training.history import EpochRecord, Progress
from arraycnn.training.state import TrainingState


class TimeLimit(Callback):
    """Ends the training at the first look after ``seconds``, about twice a second, within an epoch.

    The time runs from the beginning of each call of `Model.fit`, validation included, on a clock
    that does not jump. `Model.unfinished` then holds the training to go on from.

    Attributes
    ----------
    reached : bool
        Whether it ended the training.
    """

    def __init__(self, seconds: float) -> None:
        check_number("TimeLimit: seconds", seconds, minimum=0.0)
        if not seconds:
            message = "TimeLimit: seconds must be above 0, got 0"
            raise InvalidValueError(message)
        self.reached = False
        self._seconds = seconds
        self._began = 0.0

    def on_begin(self, state: TrainingState) -> None:
        self._began, self.reached = time.monotonic(), False

    def on_steps(self, progress: Progress) -> bool:
        return self._look()

    def on_epoch(self, record: EpochRecord) -> bool:
        return self._look()

    def _look(self) -> bool:
        self.reached = time.monotonic() - self._began >= self._seconds
        return self.reached
