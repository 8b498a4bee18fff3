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
    dilation : (int, int)
        How far apart the window's own rows and columns are. Kernels know none but `grouped_conv2d`.
    """

    kernel_size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns from the window's first pixel to its last."""
        return _extent(self.kernel_size, self.dilation)

    def padded_shape(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of an image of ``height`` x ``width`` pixels after padding."""
        top, bottom, left, right = self.padding
        return height + top + bottom, width + left + right

    def output_shape(self, height: int, width: int) -> tuple[int, int]:
        """How many window positions fit: (OH, OW). An incomplete window at the edge is dropped."""
        padded_height, padded_width = self.padded_shape(height, width)
        tall, wide = self.extent
        return (
            (padded_height - tall) // self.stride[0] + 1,
            (padded_width - wide) // self.stride[1] + 1,
        )

    def offsets(self) -> list[tuple[int, int]]:
        """Every (row, column) inside the window, in row-major order."""
        (rows, columns), (down, right) = self.kernel_size, self.dilation
        return [(i * down, j * right) for i in range(rows) for j in range(columns)]

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
    owner: str,
    kernel_size: Pair,
    stride: Pair,
    padding: Padding,
    height: int,
    width: int,
    dilation: Pair = 1,
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
    apart = pair(owner, "dilation", dilation)
    tall, wide = _extent(kernel, apart)
    if padding == "valid":
        sides = (0, 0, 0, 0)
    elif padding == "same":
        sides = (
            *_same_padding(height, tall, step[0]),
            *_same_padding(width, wide, step[1]),
        )
    else:
        rows, columns = pair(owner, "padding", padding, minimum=0)  # type: ignore[arg-type]
        sides = (rows, rows, columns, columns)
    window = Window(kernel, step, sides, apart)
    padded = window.padded_shape(height, width)
    if padded[0] < tall or padded[1] < wide:
        message = (
            f"{owner}: the {tall}x{wide} window must fit into the image, "
            f"got {height}x{width} pixels (padded {padded[0]}x{padded[1]}); "
            "use larger images, a smaller window or fewer layers before this one"
        )
        raise InvalidValueError(message)
    return window


def _extent(kernel_size: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    (rows, columns), (down, right) = kernel_size, dilation
    return (rows - 1) * down + 1, (columns - 1) * right + 1


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
