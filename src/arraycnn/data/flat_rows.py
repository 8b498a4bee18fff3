"""Images that are stored as rows of numbers: what shape a row has."""

import math
from collections.abc import Sequence

from arraycnn.errors import DataFileError

Size = Sequence[int]


def is_row_of(count: int, size: Size | None) -> bool:
    """Whether a row of ``count`` numbers is an image, as `row_shape` has it."""
    try:
        row_shape(count, size, "")
    except DataFileError:
        return False
    return True


def row_shape(count: int, size: Size | None, where: str) -> tuple[int, int, int]:
    """(H, W, C) of an image that is a row of ``count`` numbers.

    ``size``, (H, W) or (H, W, C), says it; without, the image is square, of one channel or of three
    that alternate. Raises `DataFileError` where the count is another.
    """
    if size is not None:
        height, width = size[:2]
        channels = size[2] if len(size) == 3 else max(count // (height * width), 1)
        if height * width * channels == count and channels in (1, 3):
            return height, width, channels
        asked = "x".join(map(str, size))
        reason = f"an image has {count} numbers, one of {asked} has others"
        raise DataFileError(where, reason, "train with the --image-size that it has")
    for channels in (1, 3):
        side = math.isqrt(count // channels)
        if side and side * side * channels == count:
            return side, side, channels
    reason = f"a row of {count} numbers is no square image"
    raise DataFileError(where, reason, "train with --image-size HEIGHTxWIDTH")
