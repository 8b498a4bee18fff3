"""The tutorial "CNN from scratch": its three layers, one image at a time, on any backend.

V. Zhou, "CNNs, Part 1 and 2", 2019. The calls, shapes and rules are the tutorial's own: float64,
``backprop(d_L_d_out, learn_rate)`` updates in place and returns the gradient of the input, every
one of several equal maxima receives the gradient. What differs is that the softmax is stable, that
images need not be square, that the first layer returns a gradient too, and the speed.

The first values come from NumPy's global generator, in the tutorial's order and scale, so that
``np.random.seed`` gives the tutorial's own runs.
"""

from typing import Any

import numpy as np

from arraycnn.backends import Backend, get_backend
from arraycnn.errors import InvalidValueError
from arraycnn.ops import GENERIC, Array, Window, array_namespace
from arraycnn.ops.arrays import at, device
from arraycnn.setting_checks import check_count

_POOL = Window((2, 2), (2, 2))


class Conv3x3:
    """A convolution with 3x3 filters, no padding, no bias.

    Parameters
    ----------
    num_filters : int
    backend : str or Backend

    Attributes
    ----------
    filters : array, (num_filters, 3, 3), float64
        May be set to NumPy or backend arrays.
    """

    def __init__(self, num_filters: int, backend: str | Backend = "numpy") -> None:
        self.num_filters = check_count("num_filters:", num_filters)
        self.backend = get_backend(backend)
        self.backend.check_dtype("float64")
        self.filters = np.random.randn(num_filters, 3, 3) / 9  # noqa: NPY002 (the tutorial's)

    @property
    def filters(self) -> Array:
        return self._filters

    @filters.setter
    def filters(self, values: Any) -> None:
        self._filters = _settable(self.backend, "filters", values, (self.num_filters, 3, 3))

    def forward(self, input: Any) -> Array:
        """(h, w) to (h - 2, w - 2, num_filters)."""
        image = _float64(self.backend, input)
        if len(image.shape) != 2 or min(image.shape) < 3:
            message = f"Conv3x3: image must be (h, w), 3 or more each, got {tuple(image.shape)}"
            raise InvalidValueError(message)
        self.last_input = image
        # Nine shifted multiply-adds and no matrix product: equal windows then give equal outputs
        # to the last bit, as the tie rule of the pool needs.
        output = None
        for i, j, pixels in _shifts(image):
            part = pixels[:, :, None] * self._filters[:, i, j]
            output = part if output is None else output + part
        return output

    def backprop(self, d_L_d_out: Any, learn_rate: float) -> Array:
        """Update the filters; return the gradient of the image, (h, w)."""
        d_out = _float64(self.backend, d_L_d_out)
        xp = array_namespace(d_out)
        height, width = self.last_input.shape
        d_input = xp.zeros((height, width), dtype=d_out.dtype, device=device(d_out))
        by_filter = xp.reshape(d_out, (-1, self.num_filters))
        d_filters = []
        for i, j, pixels in _shifts(self.last_input):
            d_filters.append(xp.matmul(xp.reshape(pixels, (1, -1)), by_filter))
            back = xp.matmul(by_filter, self._filters[:, i, j][:, None])
            place = (slice(i, height - 2 + i), slice(j, width - 2 + j))
            d_input = at(d_input)[place].add(xp.reshape(back, (height - 2, width - 2)))
        gradient = xp.reshape(xp.concat(d_filters, axis=0).T, (self.num_filters, 3, 3))
        self._filters = self._filters - learn_rate * gradient
        return d_input


class MaxPool2:
    """A max-pool with a 2x2 window; an odd last row or column is dropped."""

    def forward(self, input: Array) -> Array:
        """(h, w, num_filters) to (h // 2, w // 2, num_filters)."""
        self.last_input = input
        output, self._winners = GENERIC.max_pool2d(input[None, ...], _POOL, ties="all")
        return output[0, ...]

    def backprop(self, d_L_d_out: Array) -> Array:
        """The gradient of the input: every element equal to its window's maximum receives it."""
        shape = (1, *self.last_input.shape)
        d_input = GENERIC.max_pool2d_backward(
            d_L_d_out[None, ...], self._winners, shape, _POOL, ties="all"
        )
        return d_input[0, ...]


class Softmax:
    """A dense layer with a softmax.

    Parameters
    ----------
    input_len, nodes : int
        Length of the flattened input, and number of classes.
    backend : str or Backend

    Attributes
    ----------
    weights : array, (input_len, nodes), float64
    biases : array, (nodes,), float64
        Both may be set to NumPy or backend arrays.
    """

    def __init__(self, input_len: int, nodes: int, backend: str | Backend = "numpy") -> None:
        self.input_len = check_count("input_len:", input_len)
        self.nodes = check_count("nodes:", nodes)
        self.backend = get_backend(backend)
        self.backend.check_dtype("float64")
        self.weights = np.random.randn(input_len, nodes) / input_len  # noqa: NPY002
        self.biases = np.zeros(nodes)

    @property
    def weights(self) -> Array:
        return self._weights

    @weights.setter
    def weights(self, values: Any) -> None:
        self._weights = _settable(self.backend, "weights", values, (self.input_len, self.nodes))

    @property
    def biases(self) -> Array:
        return self._biases

    @biases.setter
    def biases(self, values: Any) -> None:
        self._biases = _settable(self.backend, "biases", values, (self.nodes,))

    def forward(self, input: Any) -> Array:
        """Any shape with input_len elements to probabilities, (nodes,)."""
        x = _float64(self.backend, input)
        xp = array_namespace(x)
        self.last_input_shape = tuple(x.shape)
        self.last_input = xp.reshape(x, (-1,))
        if self.last_input.shape[0] != self.input_len:
            message = (
                f"Softmax: input must have {self.input_len} elements, got shape {tuple(x.shape)}; "
                "make the layer with the right input_len"
            )
            raise InvalidValueError(message)
        totals = xp.matmul(self.last_input, self._weights) + self._biases
        self.last_output = GENERIC.softmax(totals)
        return self.last_output

    def backprop(self, d_L_d_out: Any, learn_rate: float) -> Array:
        """Update weights and biases; return the gradient of the input, in its own shape."""
        d_out = _float64(self.backend, d_L_d_out)
        xp = array_namespace(d_out)
        out = self.last_output
        d_totals = out * (d_out - xp.sum(d_out * out))
        d_input = xp.matmul(self._weights, d_totals)  # with the weights that made the output
        self._weights = self._weights - learn_rate * (self.last_input[:, None] * d_totals[None, :])
        self._biases = self._biases - learn_rate * d_totals
        return xp.reshape(d_input, self.last_input_shape)


def _shifts(image: Array) -> list[tuple[int, int, Array]]:
    """For each place in the 3x3 window: (row, column, the pixels there of every window)."""
    height, width = image.shape
    return [
        (i, j, image[i : height - 2 + i, j : width - 2 + j]) for i in range(3) for j in range(3)
    ]


def _float64(backend: Backend, values: Any) -> Array:
    placed = backend.asarray(np.asarray(values) if isinstance(values, list | tuple) else values)
    xp = array_namespace(placed)
    return xp.astype(placed, xp.float64, copy=False)


def _settable(backend: Backend, name: str, values: Any, shape: tuple[int, ...]) -> Array:
    placed = _float64(backend, values)
    if tuple(placed.shape) != shape:
        message = f"{name}: must have shape {shape}, got {tuple(placed.shape)}"
        raise InvalidValueError(message)
    return placed
