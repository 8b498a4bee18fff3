"""A network as plain data for JSON, and back, without executing anything from the file."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

from arraycnn.errors import (
    ArraycnnError,
    CheckpointError,
    InvalidTypeError,
    UnknownClassError,
    one_line,
)
from arraycnn.layers import FORMER_LAYERS, LAYERS, Sequential
from arraycnn.layers.branches import NumberedBranches
from arraycnn.layers.layer import Layer
from arraycnn.layers.undrawn import Undrawn

_DEEPEST = 100
_FEW_CHANNELS = 2**16


def network_to_config(layer: Layer) -> dict[str, Any]:
    """{"class": class name, field: value, ...}, nested as the network is.

    No field can be called "class". Raises InvalidTypeError for a layer that is not a dataclass, a
    field JSON cannot hold, or a class that would be taken for a layer of this library.
    """
    name = type(layer).__name__
    if not dataclasses.is_dataclass(layer):
        message = f"{name}: a layer must be a frozen dataclass to be saved, got {type(layer)!r}"
        raise InvalidTypeError(message)
    if (FORMER_LAYERS | LAYERS).get(name, type(layer)) is not type(layer):
        message = (
            f"{name}: a layer to be saved must not have the name of a layer of arraycnn, "
            f"got {type(layer)!r}; rename the class"
        )
        raise InvalidTypeError(message)
    fields = {
        field.name: _to_plain(f"{name}.{field.name}", getattr(layer, field.name))
        for field in dataclasses.fields(layer)
        if field.init
    }
    return {"class": name, **fields}


def network_from_config(config: Any, user_layers: Iterable[type] = ()) -> Any:
    """The network that `network_to_config` described, of known classes only.

    Raises CheckpointError, without the name of the file, for an unknown class, settings the class
    refuses, or more than 100 levels.
    """
    known = {**FORMER_LAYERS, **LAYERS, **{layer.__name__: layer for layer in user_layers}}
    return _from_plain(config, known, _DEEPEST)


def check_parameter_count(network: Layer, input_shape: Sequence[int], most: int) -> None:
    """Raise CheckpointError where ``network`` would draw more than ``most`` parameters.

    To be asked before a network from a file is initialised, as a few bytes of settings can ask for
    more memory than there is.
    """
    counting = _Counting(most)
    # The parameters of a layer such as BatchNorm are as many as its channels, and not drawn.
    counting.count(max(input_shape[-1] - _FEW_CHANNELS, 0))
    network.init(counting, tuple(input_shape))


def _to_plain(place: str, value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        message = f"{place}: must be finite to be saved, got {value!r}"
        raise InvalidTypeError(message)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple):
        return [_to_plain(place, item) for item in value]
    is_layer = dataclasses.is_dataclass(value) or hasattr(value, "forward")
    if is_layer and not isinstance(value, type):
        return network_to_config(value)
    message = f"{place}: must be a number, text, tuple or layer to be saved, got {value!r}"
    raise InvalidTypeError(message)


class _Counting(Undrawn):
    """Adds up how much is asked for, and refuses more than ``most``."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most, self._left = most, most

    def count(self, wanted: int) -> None:
        self._left -= wanted
        if self._left < 0:
            message = f"the network has more parameters than the file's arrays, {self._most}"
            raise CheckpointError(message)


def _from_plain(value: Any, known: dict[str, type], levels: int) -> Any:
    if levels == 0:
        message = f"settings must not be nested deeper than {_DEEPEST} levels"
        raise CheckpointError(message)
    if isinstance(value, list):
        return tuple(_from_plain(item, known, levels - 1) for item in value)
    if isinstance(value, float) and not math.isfinite(value):
        message = f"settings must be finite, got {value!r}"
        raise CheckpointError(message)
    if not isinstance(value, dict):
        return value
    settings = {name: _from_plain(item, known, levels - 1) for name, item in value.items()}
    name = settings.pop("class", None)
    if name not in known:
        what = f"layer {name!r}"
        message = f"unknown {what}; hand its class over, as layers=[{one_line(name)}]"
        raise UnknownClassError(message, what)
    try:
        kind = known[name]
        if isinstance(kind, type) and issubclass(kind, Sequential | NumberedBranches):
            return kind(*settings["layers"])
        return kind(**settings)
    except (ArraycnnError, TypeError, ValueError, KeyError) as error:
        message = f"{name} cannot be built from the saved settings: {one_line(error)}"
        raise CheckpointError(message) from error
