"""Checks of the settings of losses. ``what`` opens the message: "Huber: delta"."""

import math
from typing import Any

import numpy as np

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.setting_checks import check_number


def check_share(what: str, value: float) -> None:
    """Refuse what is no number in [0, 1)."""
    check_number(what, value, minimum=0.0)
    if value >= 1.0:
        message = f"{what} must be below 1, got {value!r}"
        raise InvalidValueError(message)


def check_positive(what: str, value: float) -> None:
    """Refuse what is no finite number above 0."""
    check_number(what, value, minimum=0.0)
    if value == 0.0:
        message = f"{what} must be above 0, got {value!r}"
        raise InvalidValueError(message)


def positive_numbers(what: str, value: Any) -> tuple[float, ...] | None:
    """A sequence of numbers of at least 0, one of them above, as a tuple; None is None."""
    if value is None:
        return None
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = value.tolist()
    if not isinstance(value, list | tuple):
        message = f"{what} must be a sequence of numbers or None, got {value!r}"
        raise InvalidTypeError(message)
    for number in value:
        check_number(what, number, minimum=0.0)
    if not math.fsum(value):
        message = f"{what} must be above 0 somewhere, got {value!r}"
        raise InvalidValueError(message)
    return tuple(map(float, value))
