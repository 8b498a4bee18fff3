"""A loss as plain data for JSON, and back, without executing anything from the file."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from arraycnn.errors import (
    ArraycnnError,
    CheckpointError,
    InvalidTypeError,
    UnknownClassError,
    one_line,
)
from arraycnn.losses import LOSSES, Loss


def loss_to_config(loss: Loss) -> dict[str, Any]:
    """{"class": class name, field: value, ...}.

    Raises InvalidTypeError for a loss that is not a dataclass, a field that JSON cannot hold, or a
    class that would be taken for a loss of this library.
    """
    name = type(loss).__name__
    if not dataclasses.is_dataclass(loss):
        message = f"{name}: a loss must be a frozen dataclass to be saved, got {type(loss)!r}"
        raise InvalidTypeError(message)
    if LOSSES.get(name, type(loss)) is not type(loss):
        message = (
            f"{name}: a loss to be saved must not have the name of a loss of arraycnn, "
            f"got {type(loss)!r}; rename the class"
        )
        raise InvalidTypeError(message)
    fields = [field.name for field in dataclasses.fields(loss) if field.init]
    return {"class": name, **{f: _to_plain(f"{name}.{f}", getattr(loss, f)) for f in fields}}


def loss_from_config(config: Any, user_losses: Iterable[type] = ()) -> Loss:
    """The loss that `loss_to_config` described, of known classes only.

    Raises CheckpointError, without the name of the file, for an unknown class, or settings that the
    class refuses.
    """
    known: dict[str, type] = {**LOSSES, **{loss.__name__: loss for loss in user_losses}}
    settings = {name: _from_plain(value) for name, value in config.items()}
    name = settings.pop("class", None)
    if name not in known:
        what = f"loss {name!r}"
        message = f"unknown {what}; hand its class over, as losses=[{one_line(name)}]"
        raise UnknownClassError(message, what)
    try:
        made: Loss = known[name](**settings)
    except (ArraycnnError, TypeError, ValueError) as error:
        message = f"{name} cannot be built from the saved settings: {one_line(error)}"
        raise CheckpointError(message) from error
    return made


def _to_plain(place: str, value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        message = f"{place}: must be finite to be saved, got {value!r}"
        raise InvalidTypeError(message)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple):
        return [_to_plain(place, item) for item in value]
    message = f"{place}: must be a number, text or tuple to be saved, got {value!r}"
    raise InvalidTypeError(message)


def _from_plain(value: Any) -> Any:
    return tuple(map(_from_plain, value)) if isinstance(value, list) else value
