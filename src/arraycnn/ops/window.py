"""The window of convolution and pooling: its size, stride and padding."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from arraycnn.errors import InvalidTypeError, InvalidValueError

Pair: TypeAlias = int | tuple[int, int]
Padding: TypeAlias = str | tuple[int, int]


@dataclass(frozen=True)
class Window:
    """A window resolved against one image size.

    Attributes
    ----------
    kernel_size, stride : (int, int)
        Rows and columns, in pixels.
    padding : (int, int, int, int)
        Pixels of zeros added at the top, bottom, left and right.
    """

    kernel_size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def padded_shape(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of an image of ``height`` x ``width`` pixels after padding."""
        top, bottom, left, right = self.padding
        return height + top + bottom, width + left + right

    def output_shape(self, height: int, width: int) -> tuple[int, int]:
        """How many window positions fit: (OH, OW). An incomplete window at the edge is dropped."""
        padded_height, padded_width = self.padded_shape(height, width)
        return (
            (padded_height - self.kernel_size[0]) // self.stride[0] + 1,
            (padded_width - self.kernel_size[1]) // self.stride[1] + 1,
        )

    def offsets(self) -> list[tuple[int, int]]:
        """Every (row, column) inside the window, in row-major order."""
        return [(i, j) for i in range(self.kernel_size[0]) for j in range(self.kernel_size[1])]

    def pixels(
        self, offset: tuple[int, int], output_shape: tuple[int, int]
    ) -> tuple[slice, slice, slice, slice]:
        """Index into a padded (N, H, W, C) image: the pixels at ``offset`` of every window."""
        (i, j), (rows, columns), (down, right) = offset, output_shape, self.stride
        return (
            slice(None),
            slice(i, i + down * (rows - 1) + 1, down),
            slice(j, j + right * (columns - 1) + 1, right),
            slice(None),
        )


def pair(owner: str, name: str, value: Pair, minimum: int = 1) -> tuple[int, int]:
    """``value`` as (rows, columns), or InvalidTypeError or InvalidValueError naming ``owner``."""
    both = (value, value) if isinstance(value, int) else value
    if (
        not isinstance(both, tuple)
        or len(both) != 2
        or not all(isinstance(v, int) and not isinstance(v, bool) for v in both)
    ):
        message = f"{owner}: {name} must be an int or a pair of ints, got {value!r}"
        raise InvalidTypeError(message)
    if min(both) < minimum:
        message = f"{owner}: {name} must be at least {minimum}, got {value!r}"
        raise InvalidValueError(message)
    return both


def check_padding(owner: str, padding: Padding) -> None:
    """Refuse a padding that is not "valid", "same" or a pair of ints >= 0."""
    if isinstance(padding, str):
        if padding not in ("valid", "same"):
            message = f'{owner}: padding must be "valid", "same" or (pad_h, pad_w), got {padding!r}'
            raise InvalidValueError(message)
    elif isinstance(padding, int):
        message = f'{owner}: padding must be "valid", "same" or (pad_h, pad_w), got {padding!r}'
        raise InvalidTypeError(message)
    else:
        pair(owner, "padding", padding, minimum=0)


@lru_cache
def resolve_window(
    owner: str, kernel_size: Pair, stride: Pair, padding: Padding, height: int, width: int
) -> Window:
    """The window for images of ``height`` x ``width`` pixels.

    "same" gives ceil(size / stride) outputs; where the padding is odd, the extra row goes to the
    bottom and the extra column to the right (as TensorFlow, and PyTorch for stride 1).

    Raises
    ------
    InvalidValueError
        The window does not fit once into the padded image.
    """
    kernel, step = pair(owner, "kernel_size", kernel_size), pair(owner, "stride", stride)
    if padding == "valid":
        sides = (0, 0, 0, 0)
    elif padding == "same":
        sides = (
            *_same_padding(height, kernel[0], step[0]),
            *_same_padding(width, kernel[1], step[1]),
        )
    else:
        rows, columns = pair(owner, "padding", padding, minimum=0)  # type: ignore[arg-type]
        sides = (rows, rows, columns, columns)
    window = Window(kernel, step, sides)
    padded = window.padded_shape(height, width)
    if padded[0] < kernel[0] or padded[1] < kernel[1]:
        message = (
            f"{owner}: the {kernel[0]}x{kernel[1]} window must fit into the image, "
            f"got {height}x{width} pixels (padded {padded[0]}x{padded[1]}); "
            "use larger images, a smaller window or fewer layers before this one"
        )
        raise InvalidValueError(message)
    return window


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
