"""Checks of single settings. ``what`` opens the message: "Conv2d: filters", "epochs:"."""

import math

import numpy as np

from arraycnn.errors import InvalidTypeError, InvalidValueError


def check_number(what: str, value: float, minimum: float | None = None) -> None:
    """Refuse anything but a number; with ``minimum``, but a finite one of at least that."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        message = f"{what} must be a number, got {value!r}"
        raise InvalidTypeError(message)
    if minimum is not None and (not math.isfinite(value) or value < minimum):
        message = f"{what} must be finite and at least {minimum:g}, got {value!r}"
        raise InvalidValueError(message)


def check_count(what: str, value: int, minimum: int = 1) -> int:
    """``value`` as an int of at least ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        message = f"{what} must be an int, got {value!r}"
        raise InvalidTypeError(message)
    if value < minimum:
        message = f"{what} must be at least {minimum}, got {value!r}"
        raise InvalidValueError(message)
    return int(value)
