"""Every kernel of a record, on odd sizes: what it is given, and what it should give in float64.

Used on the CUDA kernels by tests/ops/test_cuda_record.py, which runs them on the CPU, and by
tests/backends/test_gpu.py, which runs them on a device.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from arraycnn.ops import GENERIC, Window
from arraycnn.ops.random_bits import seed_words

# How far a result may lie from that in float64, as a share of the largest number of the result.
TOLERANCES = {
    ("float64", "fp32"): 1e-11,
    ("float32", "fp32"): 3e-5,
    ("float32", "tf32"): 4e-3,  # operands of 11 bits
    ("float32", "bf16"): 3e-2,  # of 8
}


DTYPES = ("float32", "float64")


def around(*constants: int, most: int | None = None) -> list[int]:
    """Sizes at which launch code with these constants changes its ways: 0, 1, each and those beside.

    Of a block's work, say, a size just below it leaves a thread with less to do, and one just above
    makes another block. ``most`` leaves out what would take too long.
    """
    sizes = {0, 1} | {constant + beside for constant in constants for beside in (-1, 0, 1)}
    return sorted(size for size in sizes if size >= 0 and (most is None or size <= most))


@dataclass(frozen=True)
class KernelCase:
    """One call of one kernel.

    Attributes
    ----------
    arguments : callable
        A random generator to the arguments: NumPy arrays (floating ones in float64), tuples and
        lists of them, and plain values.
    takes_ops : bool
        Whether the record itself comes first.
    """

    op: str
    label: str
    arguments: Callable[[np.random.Generator], tuple]
    takes_ops: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.op}-{self.label}"

    def given(self, dtype: str) -> tuple:
        """The arguments, with floating arrays in ``dtype``."""
        rng = np.random.default_rng(sum(map(ord, str(self))))
        return in_dtype(self.arguments(rng), dtype)

    def run(self, ops: Any, place: Callable[[np.ndarray], Any], dtype: str) -> list[Any]:
        """What the kernel of ``ops`` makes of the arguments, each array placed."""
        placed = each_array(place, self.given(dtype))
        function = getattr(ops, self.op)
        leading = (ops,) if self.takes_ops else ()
        return flat(function(*leading, *placed, **self.settings))

    def expected(self, dtype: str) -> list[np.ndarray]:
        """The results in float64, for arguments that were rounded to ``dtype``."""
        given = in_dtype(self.given(dtype), "float64")
        function = getattr(GENERIC, self.op) or COMPOSED[self.op]
        leading = (GENERIC,) if self.takes_ops else ()
        return flat(function(*leading, *given, **self.settings))


def check_case(
    case: KernelCase,
    ops: Any,
    place: Callable[[np.ndarray], Any],
    to_numpy: Callable[[Any], np.ndarray],
    dtype: str,
    precision: str,
) -> None:
    """Compare the kernel of ``ops`` with the generic one in float64: shapes, dtypes and values."""
    actual = [None if a is None else to_numpy(a) for a in case.run(ops, place, dtype)]
    expected = case.expected(dtype)
    assert len(actual) == len(expected)
    for value, wanted in zip(actual, expected, strict=True):
        if wanted is None:
            assert value is None
            continue
        wanted = np.asarray(wanted)
        assert value.shape == wanted.shape
        if wanted.dtype.kind == "f":
            assert value.dtype == dtype
            largest = max(1.0, float(np.abs(wanted).max(initial=0.0)))
            tolerance = TOLERANCES[dtype, precision] * largest
            np.testing.assert_allclose(value, wanted, rtol=0, atol=tolerance)
        elif precision == "fp32":  # rounded operands may make another number the largest
            counts = np.ones(wanted.shape, bool)
            if case.op == "conv2d_max_pool2d":
                counts = np.asarray(expected[0]) != 0.0  # ReLU leaves no winner
            np.testing.assert_array_equal(value[counts], wanted[counts])


def each_array(function: Callable, value: Any) -> Any:
    """``value`` with ``function`` of each array in its tuples and lists."""
    if isinstance(value, tuple | list):
        return type(value)(each_array(function, part) for part in value)
    return function(value) if isinstance(value, np.ndarray) else value


def in_dtype(values: tuple, dtype: str) -> tuple:
    """``values`` with arrays copied, floating ones in ``dtype``, whose name replaces a dtype's."""
    values = tuple(dtype if isinstance(v, str) and v in DTYPES else v for v in values)
    return each_array(lambda a: a.astype(dtype) if a.dtype.kind == "f" else a.copy(), values)


def strided(array: np.ndarray) -> np.ndarray:
    """The same numbers, not in C order in memory."""
    if array.ndim < 2:
        return np.repeat(array, 2)[::2] if array.ndim else array
    return np.asfortranarray(array)


def flat(value: Any) -> list[Any]:
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in flat(part)]
    return [value]


# -- what fused kernels stand for --------------------------------------------------------------------


def _relu(x):
    return np.maximum(x, 0.0)


def _conv2d_relu(ops, x, weight, bias, window):
    return _relu(ops.conv2d(ops, x, weight, bias, window))


def _conv2d_relu_backward(ops, x, weight, y, dy, window, need_dx):
    return ops.conv2d_backward(ops, x, weight, np.where(y > 0.0, dy, 0.0), window, need_dx)


def _conv2d_max_pool2d(ops, x, weight, bias, window, relu, pool):
    y, winners = ops.max_pool2d(ops.conv2d(ops, x, weight, bias, window), pool, "first")
    return (_relu(y) if relu else y), winners


def _conv2d_max_pool2d_backward(ops, x, weight, y, winners, dy, window, relu, pool, need_dx):
    dy = np.where(y > 0.0, dy, 0.0) if relu else dy
    shape = (x.shape[0], *window.output_shape(x.shape[1], x.shape[2]), weight.shape[3])
    dconv = ops.max_pool2d_backward(dy, winners, shape, pool, "first")
    return ops.conv2d_backward(ops, x, weight, dconv, window, need_dx)


def _dense_relu(ops, x, weight, bias):
    return _relu(ops.dense(ops, x, weight, bias))


def _dense_relu_backward(ops, x, weight, y, dy, need_dx):
    return ops.dense_backward(ops, x, weight, np.where(y > 0.0, dy, 0.0), need_dx)


COMPOSED = {
    "conv2d_relu": _conv2d_relu,
    "conv2d_relu_backward": _conv2d_relu_backward,
    "conv2d_max_pool2d": _conv2d_max_pool2d,
    "conv2d_max_pool2d_backward": _conv2d_max_pool2d_backward,
    "dense_relu": _dense_relu,
    "dense_relu_backward": _dense_relu_backward,
}


# -- the table ---------------------------------------------------------------------------------------

CONVOLUTIONS = {  # x, filters, window
    "one channel": ((3, 9, 8, 1), 8, Window((3, 3))),
    "5x5, padded": ((2, 7, 6, 3), 5, Window((5, 5), (1, 1), (2, 2, 2, 2))),
    "stride": ((2, 8, 9, 2), 3, Window((3, 2), (2, 3), (1, 0, 0, 2))),
    "1x1": ((2, 4, 5, 7), 9, Window((1, 1))),
    "tensor cores": ((2, 10, 11, 32), 64, Window((3, 3), (1, 1), (1, 1, 1, 1))),
}
GROUPED = {  # x, groups, filters, window
    "two groups": ((2, 6, 5, 6), 2, 4, Window((3, 3), (1, 1), (1, 1, 1, 1))),
    "depthwise": ((2, 7, 6, 5), 5, 5, Window((3, 2), (2, 1), (1, 0, 0, 1))),
    "several a channel": ((2, 5, 5, 3), 3, 6, Window((2, 2), dilation=(2, 1))),
    "more padding than window": ((2, 3, 2, 4), 4, 4, Window((2, 3), (3, 2), (5, 1, 3, 4))),
}
POOLS = {
    "2x2": ((3, 7, 6, 5), Window((2, 2), (2, 2))),
    "overlapping": ((2, 8, 7, 4), Window((3, 2), (2, 1))),
    "apart": ((2, 8, 9, 1), Window((2, 2), (3, 4))),
}
HALVES = POOLS["2x2"][1]
RANDOM = (seed_words(0x0123456789ABCDEF), np.array([7], np.int32), 0x1234567)


def _distinct(rng, shape):
    """Numbers without ties, in no order."""
    size = math.prod(shape)
    return (rng.permutation(size) - size / 2 + 0.25).reshape(shape) * (4.0 / size)


def _convolution(op, name, *, backward=False, gated=False, bias=True, need_dx=True):
    shape, filters, window = CONVOLUTIONS[name]

    def arguments(rng):
        x = rng.normal(size=shape)
        weight = rng.normal(size=(*window.kernel_size, shape[3], filters))
        y_shape = (shape[0], *window.output_shape(*shape[1:3]), filters)
        if not backward:
            return x, weight, rng.normal(size=filters) if bias else None, window
        gate = (rng.normal(size=y_shape),) if gated else ()
        return x, weight, *gate, rng.normal(size=y_shape), window, need_dx

    return KernelCase(op, f"{name}{'' if bias and need_dx else ', less'}", arguments, True)


def _grouped(name, *, backward=False, need_dx=True):
    shape, groups, filters, window = GROUPED[name]

    def arguments(rng):
        x = rng.normal(size=shape)
        weight = rng.normal(size=(*window.kernel_size, shape[3] // groups, filters))
        if not backward:
            return x, weight, rng.normal(size=filters), window
        y_shape = (shape[0], *window.output_shape(*shape[1:3]), filters)
        return x, weight, rng.normal(size=y_shape), window, need_dx

    op = "grouped_conv2d_backward" if backward else "grouped_conv2d"
    return KernelCase(op, f"{name}{'' if need_dx else ', less'}", arguments, True)


def _pooled(name, *, relu, backward=False, need_dx=True):
    shape, filters, window = CONVOLUTIONS[name]

    def arguments(rng):
        x = rng.normal(size=shape)
        weight = rng.normal(size=(*window.kernel_size, shape[3], filters))
        bias = rng.normal(size=filters)
        if not backward:
            return x, weight, bias, window, relu, HALVES
        y, winners = _conv2d_max_pool2d(GENERIC, x, weight, bias, window, relu, HALVES)
        dy, winners = rng.normal(size=y.shape), winners.astype(np.uint8)
        return x, weight, y, winners, dy, window, relu, HALVES, need_dx

    op = "conv2d_max_pool2d_backward" if backward else "conv2d_max_pool2d"
    return KernelCase(op, f"{name}{', ReLU' if relu else ''}", arguments, True)


def _max_pool_backward(name, ties):
    shape, window = POOLS[name]

    def arguments(rng):
        y, winners = GENERIC.max_pool2d(_distinct(rng, shape), window, ties)
        winners = winners.astype(np.uint8) if ties == "first" else winners
        return rng.normal(size=y.shape), winners, shape, window, ties

    return KernelCase("max_pool2d_backward", f"{name}, {ties}", arguments)


def _at_winners(name):
    shape, window = POOLS[name]

    def arguments(rng):
        _, winners = GENERIC.max_pool2d(_distinct(rng, shape), window, "first")
        return rng.normal(size=shape), winners.astype(np.uint8), window

    return KernelCase("at_winners", name, arguments)


def _avg_pool_backward(name):
    shape, window = POOLS[name]
    y_shape = (shape[0], *window.output_shape(*shape[1:3]), shape[3])
    return KernelCase(
        "avg_pool2d_backward", name, lambda rng: (rng.normal(size=y_shape), shape, window)
    )


def _dense(op, images, inputs, outputs, *, backward=False, gated=False, need_dx=True):
    def arguments(rng):
        x, weight = rng.normal(size=(images, inputs)), rng.normal(size=(inputs, outputs))
        if not backward:
            return x, weight, rng.normal(size=outputs)
        gate = (rng.normal(size=(images, outputs)),) if gated else ()
        return x, weight, *gate, rng.normal(size=(images, outputs)), need_dx

    return KernelCase(op, f"{images}x{inputs}x{outputs}", arguments, True)


def _with_zeros(rng, shape):
    return np.where(rng.random(shape) < 0.2, 0.0, rng.normal(size=shape))


def _normed(rng, shape):
    """What a batch norm of images of ``shape`` is given."""
    weight, bias, mean = (rng.normal(size=shape[3]) for _ in range(3))
    return 5.0 + rng.normal(size=shape), weight, bias, (mean, rng.random(shape[3]) + 0.5)


def _norm(shape, trains):
    label = f"{'x'.join(map(str, shape))}{'' if trains else ', running'}"
    return KernelCase("batch_norm", label, lambda rng: (*_normed(rng, shape), 0.3, 1e-3, trains))


def _norm_backward(trains, need_dx):
    """With the residuals of the generic record; for others see `ops/test_engine_kernels.py`."""

    def arguments(rng):
        given = _normed(rng, (3, 5, 4, 7))
        y, _, residuals = GENERIC.batch_norm(*given, 0.3, 1e-3, trains)
        return rng.normal(size=y.shape), given[1], residuals, trains, need_dx

    label = f"{'own' if trains else 'running'}{'' if need_dx else ', less'}"
    return KernelCase("batch_norm_backward", label, arguments)


def _update(op, label, optimizer_state, **settings):
    """An update of three tensors; ``optimizer_state`` is a function of their shapes."""
    shapes = ((3, 3, 2, 5), (5,), (301, 7))

    def arguments(rng):
        def normal():
            return [rng.normal(size=shape) for shape in shapes]

        return normal(), normal(), *optimizer_state(rng, normal), np.array(0.05)

    return KernelCase(op, label, arguments, settings=settings)


def _velocities(rng, normal):
    return (normal(),)


def _no_velocities(rng, normal):
    return ([],)


def _moments(rng, normal):
    second = [array**2 for array in normal()]
    return normal(), second, (np.array(0.9**3), np.array(0.999**3))


SGD_PLAIN = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
ADAM_PLAIN = {"betas": (0.9, 0.999), "epsilon": 1e-8, "weight_decay": 0.0, "decoupled": False}

KERNEL_CASES = [
    *(
        KernelCase("matmul", f"{m}x{k}x{n}", lambda rng, m=m, k=k, n=n: (
            rng.normal(size=(m, k)), rng.normal(size=(k, n))))
        for m, k, n in ((1, 1, 1), (5, 7, 3), (65, 33, 130), (128, 64, 64))
    ),
    *(_dense("dense", *sizes) for sizes in ((1, 5, 3), (33, 70, 10), (64, 128, 65))),
    _dense("dense_backward", 33, 70, 10, backward=True),
    _dense("dense_backward", 5, 9, 130, backward=True, need_dx=False),
    _dense("dense_relu", 33, 70, 65),
    _dense("dense_relu_backward", 33, 70, 65, backward=True, gated=True),
    _dense("dense_relu_backward", 3, 20, 9, backward=True, gated=True, need_dx=False),
    KernelCase("gather", "bytes", lambda rng: (
        rng.integers(0, 256, (20, 5, 3, 1), dtype=np.uint8), rng.integers(0, 20, 33).astype(np.int32))),
    KernelCase("gather", "numbers", lambda rng: (
        rng.normal(size=(20, 3)), rng.integers(0, 20, 7).astype(np.int32))),
    KernelCase("rescale", "bytes", lambda rng: (
        rng.integers(0, 256, (3, 5, 7, 1), dtype=np.uint8), "float32")),
    *(
        KernelCase("im2col", name, lambda rng, s=shape, w=window: (rng.normal(size=s), w))
        for name, (shape, _, window) in CONVOLUTIONS.items()
    ),
    *(
        KernelCase("col2im", name, lambda rng, s=shape, w=window: (
            rng.normal(size=GENERIC.im2col(np.zeros(s), w).shape), s, w))
        for name, (shape, _, window) in CONVOLUTIONS.items()
    ),
    *(_convolution("conv2d", name) for name in CONVOLUTIONS),
    _convolution("conv2d", "5x5, padded", bias=False),
    *(_convolution("conv2d_backward", name, backward=True) for name in CONVOLUTIONS),
    _convolution("conv2d_backward", "tensor cores", backward=True, need_dx=False),
    *(_grouped(name) for name in GROUPED),
    *(_grouped(name, backward=True, need_dx=dx) for name in GROUPED for dx in (True, False)),
    *(_convolution("conv2d_relu", name) for name in CONVOLUTIONS),
    *(
        _convolution("conv2d_relu_backward", name, backward=True, gated=True)
        for name in CONVOLUTIONS
    ),
    *(_pooled(name, relu=relu) for name in CONVOLUTIONS for relu in (False, True)),
    *(_pooled(name, relu=relu, backward=True) for name in CONVOLUTIONS for relu in (False, True)),
    *(
        KernelCase("max_pool2d", f"{name}, {ties}", lambda rng, s=shape, w=window, t=ties: (
            rng.integers(0, 4, s).astype(float), w, t))
        for name, (shape, window) in POOLS.items() for ties in ("first", "all")
    ),
    *(_max_pool_backward(name, ties) for name in POOLS for ties in ("first", "all")),
    *(_at_winners(name) for name in POOLS),
    *(
        KernelCase("avg_pool2d", name, lambda rng, s=shape, w=window: (rng.normal(size=s), w))
        for name, (shape, window) in POOLS.items()
    ),
    *(_avg_pool_backward(name) for name in POOLS),
    KernelCase("relu", "images", lambda rng: (_with_zeros(rng, (3, 5, 3, 7)),)),
    KernelCase("relu_backward", "images", lambda rng: (
        rng.normal(size=(3, 5, 3, 7)), np.maximum(_with_zeros(rng, (3, 5, 3, 7)), 0.0))),
    *(_norm(shape, trains) for shape in ((3, 5, 4, 7), (1, 1, 1, 3), (2, 1, 1, 1))
      for trains in (True, False)),
    *(_norm_backward(trains, need_dx) for trains in (True, False) for need_dx in (True, False)),
    KernelCase("dropout", "images", lambda rng: (
        rng.normal(size=(3, 5, 3, 3)), 0.3, *RANDOM, np.array([4, 9, 2], np.int32)), True),
    KernelCase("dropout_backward", "images", lambda rng: (
        rng.normal(size=(3, 5, 3, 3)), rng.random((3, 5, 3, 3)) > 0.3, 0.3)),
    KernelCase("softmax", "rows", lambda rng: (10.0 * rng.normal(size=(35, 13)),)),
    *(
        KernelCase("softmax_cross_entropy", f"{images}x{classes}", lambda rng, n=images, k=classes: (
            3.0 * rng.normal(size=(n, k)), rng.integers(0, k, n).astype(np.int32), n + 2))
        for images, classes in ((1, 2), (33, 10), (300, 40))
    ),
    *(
        KernelCase("random_bits", f"{count}", lambda rng, count=count: (
            *RANDOM, np.array([4, 9, 2], np.int32), count))
        for count in (1, 45, 64)
    ),
    _update("sgd_update", "plain", _no_velocities, **SGD_PLAIN),
    _update("sgd_update", "plain, L2", _no_velocities, **SGD_PLAIN | {"weight_decay": 0.01}),
    _update("sgd_update", "momentum", _velocities, **SGD_PLAIN | {"momentum": 0.9}),
    _update("sgd_update", "nesterov", _velocities, momentum=0.9, nesterov=True, weight_decay=0.01),
    _update("adam_update", "plain", _moments, **ADAM_PLAIN),
    _update("adam_update", "L2", _moments, **ADAM_PLAIN | {"weight_decay": 0.01}),
    _update("adam_update", "decoupled", _moments,
            **ADAM_PLAIN | {"weight_decay": 0.01, "decoupled": True}),
]  # fmt: skip
