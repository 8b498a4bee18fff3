"""A network as plain data for JSON, and back, without executing anything from the file."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from arraycnn.errors import ArraycnnError, CheckpointError, InvalidTypeError
from arraycnn.layers import LAYERS, Sequential
from arraycnn.layers.layer import Layer


def network_to_config(layer: Layer) -> dict[str, Any]:
    """{"class": class name, field: value, ...}, nested as the network is.

    No field can be called "class". Raises InvalidTypeError for a layer that is not a dataclass, a
    field JSON cannot hold, or a class that would be taken for a layer of this library.
    """
    name = type(layer).__name__
    if not dataclasses.is_dataclass(layer):
        message = f"{name}: a layer must be a frozen dataclass to be saved, got {type(layer)!r}"
        raise InvalidTypeError(message)
    if LAYERS.get(name, type(layer)) is not type(layer):
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

    Raises CheckpointError, without the name of the file, for an unknown class or settings the class
    refuses.
    """
    known = {**LAYERS, **{layer.__name__: layer for layer in user_layers}}
    return _from_plain(config, known)


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


def _from_plain(value: Any, known: dict[str, type]) -> Any:
    if isinstance(value, list):
        return tuple(_from_plain(item, known) for item in value)
    if not isinstance(value, dict):
        return value
    settings = {name: _from_plain(item, known) for name, item in value.items()}
    name = settings.pop("class", None)
    if name not in known:
        message = f"unknown layer {name!r}; hand its class over: Model.load(path, layers=[{name}])"
        raise CheckpointError(message)
    try:
        if known[name] is Sequential:
            return Sequential(*settings["layers"])
        return known[name](**settings)
    except (ArraycnnError, TypeError, ValueError, KeyError) as error:
        message = f"{name} cannot be built from the saved settings: {error}"
        raise CheckpointError(message) from error
