"""Padding of pools: the image is padded before the kernel, and its gradient cut after it.

So no kernel of any library knows of it.
"""

from dataclasses import replace

from arraycnn.errors import InvalidValueError
from arraycnn.layers.export_forms import TorchModule
from arraycnn.ops import Array
from arraycnn.ops.arrays import pad
from arraycnn.ops.window import Padding, Pair, Window, check_padding, pair

_TORCH = '''
class Padded{name}(nn.{name}):
    """A pool with padding of its own on each side: (left, right, top, bottom)."""

    def __init__(self, *args, sides, **kwargs):
        super().__init__(*args, **kwargs)
        self.sides = sides

    def forward(self, x):
        return super().forward(nn.functional.pad(x, self.sides, value={value}))
'''


def check_pool_padding(owner: str, kernel_size: Pair, padding: Padding) -> None:
    """Refuse a padding that is none, or of which a whole window could consist."""
    check_padding(owner, padding)
    if isinstance(padding, str):
        return
    for size, pixels in zip(pair(owner, "kernel_size", kernel_size), padding, strict=True):
        if pixels >= size:
            message = (
                f"{owner}: padding must be less than the window, got {padding!r} for a window of "
                f"{kernel_size!r}; use a larger window or less padding"
            )
            raise InvalidValueError(message)


def padded(x: Array, window: Window, value: float) -> Array:
    """``x``, (N, H, W, C), with ``value`` around it."""
    if not any(window.padding):
        return x
    top, bottom, left, right = window.padding
    return pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def inside(x: Array, window: Window) -> tuple[Window, tuple[int, ...]]:
    """The window on the padded image of ``x``, (N, H, W, C), and that image's shape."""
    images, height, width, channels = x.shape
    shape = (images, *window.padded_shape(height, width), channels)
    return replace(window, padding=(0, 0, 0, 0)), shape


def cut(dx: Array, x: Array, window: Window) -> Array:
    """Of the padded image's gradient, that of ``x``."""
    if not any(window.padding):
        return dx
    top, _, left, _ = window.padding
    return dx[:, top : top + x.shape[1], left : left + x.shape[2], :]


def torch_pool(
    name: str, kernel_size: Pair, stride: Pair | None, window: Window, value: float
) -> TorchModule:
    """PyTorch's ``name``, which itself pads both sides alike, by half a window at most."""
    settings, source = [str(kernel_size)], ""
    if stride is not None:
        settings.append(f"stride={stride}")
    top, bottom, left, right = window.padding
    tall, wide = window.kernel_size
    if (top, left) != (bottom, right) or 2 * top > tall or 2 * left > wide:
        source = _TORCH.format(name=name, value=f'float("{value}")')
        name = f"Padded{name}"
        settings.append(f"sides={(left, right, top, bottom)}")
    else:
        name = f"nn.{name}"
        if top or left:
            settings.append(f"padding={top if top == left else (top, left)}")
    return TorchModule(f"{name}({', '.join(settings)})", source)
