"""What callbacks and schedules go by: looked at before a training that will not measure it."""

from collections.abc import Iterable
from typing import Any

from arraycnn.losses import Loss
from arraycnn.optimizers.schedules import check_watched_names


def measured_names(loss: Loss, validates: bool) -> tuple[str, ...]:
    """What records of epochs have, by name, where a training has validation data or not."""
    trained = ("train_loss", f"train_{loss.measure}")
    held_out = tuple(f"validation_{name}" for name in ("loss", *loss.measures))
    return (*held_out, *trained) if validates else trained


def check_watched(parts: Iterable[Any], loss: Loss, validates: bool) -> None:
    """Refuse callbacks and schedules that go by what is not measured.

    Raises InvalidValueError, as `check_watched_names`.

    A user's loss may have ``metrics`` whose names nothing tells: what goes by validation data is then
    looked at in the first epoch that is measured.
    """
    if validates and not _tells_names(loss):
        return
    for part in parts:
        check_watched_names(part, measured_names(loss, validates))


def _tells_names(loss: Loss) -> bool:
    """Whether ``measures`` is as new as ``metrics``: of the same class, or of one derived from it."""
    newest = next(
        kind for kind in type(loss).__mro__ if {"metrics", "measures"} & vars(kind).keys()
    )
    return "measures" in vars(newest)
