"""`Callback`: who is told of a training as it goes on."""

from arraycnn.training.history import EpochRecord, Progress
from arraycnn.training.state import TrainingState


class Callback:
    """Told of a training as it goes on; override what you need."""

    save_every: int | None = None
    """Call `on_save` within epochs, too, each time this many steps of the training are done."""

    def on_begin(self, state: TrainingState) -> bool | None:
        """Before the first step; ``state.records`` are the epochs before a resume. True ends it."""

    def on_steps(self, progress: Progress) -> bool | None:
        """After some steps, about twice a second; True ends the training there."""

    def on_epoch(self, record: EpochRecord) -> bool | None:
        """After each epoch, the model holding its parameters; True ends the training."""

    def on_save(self, state: TrainingState) -> None:
        """When there is something to keep: every ``save_every`` steps, after each epoch and its
        `on_epoch`, where the training is ended or its loss became NaN, and where it is resumed."""

    def on_end(self) -> None:
        """At last, however the training ended: close what was opened."""
