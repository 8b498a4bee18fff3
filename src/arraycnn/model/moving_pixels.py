"""Labels and outputs that are images: no layer may move the pixels that they belong to."""

from collections.abc import Iterable

from arraycnn.errors import InvalidValueError
from arraycnn.layers import Layer


def check_nothing_moves(
    owner: str, what: str, layers: Iterable[tuple[str, Layer]], shape: tuple[int, ...]
) -> None:
    """Refuse layers that move pixels where ``what``, of ``shape``, has axes of pixels itself.

    Parameters
    ----------
    owner, what : str
        "fit", "labels".
    layers : iterable of (path, Layer)
    shape : tuple of int
        (N, ...): of images with three axes or more.

    Raises
    ------
    InvalidValueError
    """
    if len(shape) < 3:
        return
    for path, layer in layers:
        if getattr(layer, "moves_pixels", False):
            message = (
                f"{owner}: {what} that are images must stay beside their pixels, and layer "
                f"{path or '0'}, {layer!r}, moves the images alone; take what keeps pixels where they "
                "are, such as RandomBrightness or Cutout"
            )
            raise InvalidValueError(message)
