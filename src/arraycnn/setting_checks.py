"""Checks of single settings. ``what`` opens the message: "Conv2d: filters", "epochs:"."""

import math
import sys

import numpy as np

from arraycnn.errors import InvalidTypeError, InvalidValueError


def check_number(what: str, value: float, minimum: float | None = None) -> None:
    """Refuse anything but a number that a float holds; with ``minimum``, a finite one from there."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        message = f"{what} must be a number, got {value!r}"
        raise InvalidTypeError(message)
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        message = (
            f"{what} must be a number that a float holds, got one of {value.bit_length()} bits"
        )
        raise InvalidValueError(message)
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
