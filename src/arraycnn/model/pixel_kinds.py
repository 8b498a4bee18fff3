"""Whether layers can take the pixels that come to them: bytes as far as a `Rescale`, then numbers."""

from __future__ import annotations

from typing import Literal

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.layers import LAYERS, Layer, Rescale, Sequential
from arraycnn.layers.sequential import with_position
from arraycnn.model.image_inputs import takes_bytes

Kind = Literal["bytes", "numbers"]


def check_pixel_kinds(network: Layer) -> None:
    """Refuse what the first step would: settings that bytes cannot have, and a second `Rescale`.

    Of a user's own layers nobody knows what they make of pixels: behind one nothing is refused.

    Raises InvalidValueError or InvalidTypeError, with the place of the layer.
    """
    _behind(network, "bytes" if takes_bytes(network) else None)


def _behind(layer: Layer, kind: Kind | None) -> Kind | None:
    """What comes out of ``layer`` where pixels of this kind come to it; None where nobody knows."""
    if isinstance(layer, Sequential):
        for name, part in layer.named_layers():
            try:
                kind = _behind(part, kind)
            except (InvalidTypeError, InvalidValueError) as error:
                raise with_position(name, error) from error
        return kind
    if isinstance(layer, Rescale):
        if kind == "numbers":
            message = (
                "Rescale: input must be uint8 (0 to 255), is the numbers of a Rescale before it; "
                "leave one of them out"
            )
            raise InvalidTypeError(message)
        return "numbers"
    if getattr(layer, "training_only", False):
        if kind == "bytes" and hasattr(layer, "check_bytes"):
            layer.check_bytes()
        return kind
    if type(layer) not in LAYERS.values():
        kind = None
    for _, part in getattr(layer, "named_layers", list)():
        _behind(part, kind)
    return kind
