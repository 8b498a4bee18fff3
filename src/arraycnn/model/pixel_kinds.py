"""Whether layers can take the pixels that come to them: bytes as far as a `Rescale`, then numbers."""

from __future__ import annotations

from typing import Literal

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.layers import LAYERS, Layer, Rescale, Sequential
from arraycnn.layers.augmentation import Augmentation
from arraycnn.layers.sequential import with_position
from arraycnn.model.image_inputs import takes_bytes

Kind = Literal["bytes", "numbers"]


def check_pixel_kinds(network: Layer) -> None:
    """Refuse what a training cannot begin with: settings that the pixels cannot have, or that leave
    them as they are, and a second `Rescale`.

    Of a user's own layers, be they derived from these or not, nobody knows what they make of pixels:
    behind one nothing is refused. Nor is anything of a training that has begun, or of a saved model.

    Raises InvalidValueError or InvalidTypeError, with the place of the layer.
    """
    _behind(network, "bytes" if takes_bytes(network) else None)


def _behind(layer: Layer, kind: Kind | None) -> Kind | None:
    """What comes out of ``layer`` where pixels of this kind come to it; None where nobody knows."""
    if type(layer) is Sequential:
        for name, part in layer.named_layers():
            try:
                kind = _behind(part, kind)
            except (InvalidTypeError, InvalidValueError) as error:
                raise with_position(name, error) from error
        return kind
    if type(layer) is Rescale:
        if kind == "numbers":
            message = (
                "Rescale: input must be uint8 (0 to 255), is the numbers of a Rescale before it; "
                "leave one of them out"
            )
            raise InvalidTypeError(message)
        return "numbers"
    if type(layer) not in LAYERS.values():
        kind = None
    elif isinstance(layer, Augmentation):
        layer.check_use(on_bytes=kind == "bytes")
    for _, part in getattr(layer, "named_layers", list)():
        _behind(part, kind)
    return kind
