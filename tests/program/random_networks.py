"""Networks drawn from all layers and a user's own, in any order: rendered steps against eager ones."""

from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

import arraycnn as cnn
import program_cases
from arraycnn.execution.thread_pool import thread_pool
from arraycnn.ops.numpy import launcher as plain
from arraycnn.ops.numpy.record import numpy_kernels
from arraycnn.program.compose import training_schedule
from arraycnn.program.effects import copied
from arraycnn.program.render.numpy import calls
from arraycnn.program.screening import screened_training
from arraycnn.program.steps import opaque_layers, parts
from layer_rows import ROWS
from optional import Late
from program_cases import Alternating, LayerNorm, Mixer, Outside, Swish

launching = Late("arraycnn.program.render.launching")
launchers = Late("arraycnn.ops.compiled.launcher")
compiled = Late("arraycnn.ops.compiled.record")

CONVOLUTIONS = ["grouped", "transposed"]
BRANCHES = ["residual", "add", "concatenate"]
OPTIMIZERS = list(program_cases.OPTIMIZERS.values())[:4]


@dataclass(frozen=True)
class Case:
    """A network on images of a shape, and how it is trained."""

    network: cnn.Sequential
    shape: tuple
    images: int
    optimizer: object
    seed: int


def pointwise_layers():
    return st.sampled_from(
        [
            cnn.ReLU(),
            cnn.BatchNorm2d(),
            Swish(),
            LayerNorm(),
            Mixer(),
            cnn.Dropout(0.3),
            cnn.Softmax(),
            Outside(),
            Alternating(),
            *(row.layer for row in ROWS if type(row.layer) is not cnn.GlobalMaxPool2d),
        ]
    )


@st.composite
def image_layers(draw, depth=0):
    """A layer for images; it may not fit their size."""
    kind = draw(st.sampled_from(["conv", *CONVOLUTIONS, "pool", "any", "any", "inner", *BRANCHES]))
    if kind == "conv":
        return cnn.Conv2d(
            draw(st.sampled_from([1, 2, 3, 5, 16, 17])),
            (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
            stride=draw(st.integers(1, 2)),
            padding=draw(st.sampled_from(["valid", "same", (1, 1), (0, 2)])),
            bias=draw(st.booleans()),
        )
    if kind == "grouped":
        groups, of_each = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        return cnn.Sequential(
            cnn.Conv2d(groups * draw(st.integers(1, 3)), 1),
            cnn.Conv2d(
                groups * of_each,
                (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
                stride=draw(st.integers(1, 2)),
                padding=draw(st.sampled_from(["valid", "same", (1, 1)])),
                dilation=draw(st.integers(1, 2)),
                groups=groups,
            ),
        )
    if kind == "transposed":
        stride = draw(st.integers(1, 2))
        padding = draw(st.sampled_from(["valid", "same", (1, 0)]))
        return cnn.ConvTranspose2d(
            draw(st.integers(1, 4)), draw(st.integers(1, 3)), stride, padding
        )
    if kind == "pool":
        size, stride = draw(st.integers(1, 3)), draw(st.sampled_from([None, 1, 2]))
        pool = draw(st.sampled_from(["max", "all", "average"]))
        padding = draw(st.sampled_from(["valid", "valid", "same", (size - 1, size // 2)]))
        if pool == "average":
            return cnn.AvgPool2d(size, stride, padding)
        return cnn.MaxPool2d(size, stride, "all" if pool == "all" else "first", padding)
    if kind == "any" or depth > 1:
        return draw(pointwise_layers())
    inner = cnn.Sequential(*draw(st.lists(image_layers(depth=depth + 1), min_size=1, max_size=3)))
    if kind == "inner":
        return inner
    filters = draw(st.integers(1, 4))
    body = cnn.Sequential(cnn.Conv2d(filters, 3, padding=(1, 1)), cnn.BatchNorm())
    if kind == "concatenate":
        return cnn.Concatenate(cnn.Identity(), body, draw(pointwise_layers()))
    if kind == "add":
        return cnn.Add(cnn.Conv2d(filters, 1), body, cnn.Conv2d(filters, (1, 3), padding="same"))
    return cnn.Residual(body, cnn.Conv2d(filters, 1))


@st.composite
def networks(draw):
    """A network that fits the size of its images."""
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.sampled_from([1, 2, 3, 16])))
    layers, size = [], shape
    if draw(st.booleans()):
        layers.append(cnn.Rescale())
    for layer in draw(st.lists(image_layers(), min_size=1, max_size=5)):
        try:
            size = layer.init(np.random.default_rng(0), size)[2]
        except cnn.InvalidValueError:
            continue
        layers.append(layer)
    ends = [cnn.Flatten(), cnn.GlobalAvgPool2d(), cnn.GlobalMaxPool2d()]
    layers.append(draw(st.sampled_from(ends)))
    if draw(st.booleans()):
        layers += [
            cnn.Dense(draw(st.integers(1, 20))),
            draw(st.sampled_from([cnn.ReLU(), Swish()])),
        ]
    layers.append(cnn.Dense(draw(st.integers(2, 12))))
    return Case(
        cnn.Sequential(*layers),
        shape,
        draw(st.sampled_from([1, 2, 5])),
        draw(st.sampled_from(OPTIMIZERS)),
        draw(st.integers(0, 2**20)),
    )


def on_numpy(schedule, values, threads):
    """The outputs of a step that is recorded as NumPy's calls."""
    launcher = plain.Launcher(thread_pool(threads))
    outputs = {}
    made = calls.Calls(schedule)
    launcher.capture(lambda: outputs.update(made(launcher, numpy_kernels(launcher), values)[0]))()
    return outputs


def on_kernels(schedule, values, threads):
    """The same, compiled and launched."""
    launcher = launchers.Launcher(thread_pool(threads))
    launches = launching.Launches(schedule)
    outputs, kept = launches(launcher, compiled.compiled_kernels(launcher), values)
    assert kept
    return outputs


def check(case, *engines):
    """One rendered step is the eager one to 1e-10, and has the same bits on 1 and 3 threads.

    One network in two is run as large batches and arrays are. Layers that cannot be traced, and no
    others, are called between what is rendered.
    """
    step = program_cases.trial(
        case.network, case.shape, case.optimizer, case.images, seed=case.seed
    )
    images, network = step.given["images"], case.network
    own = [layer for layer in parts(network) if isinstance(layer, Outside | Alternating)]
    if own:
        kind = (case.shape, images.dtype == np.uint8, "float64")
        screened = screened_training(network, case.optimizer, step.carry, *kind)
        assert screened.cause is None
        network = screened.network
        assert [opaque.layer for opaque in opaque_layers(network)] == own
    expected = replace(step, network=copied(case.network)).eager()
    for engine in engines:
        results = []
        for threads in (1, 3):
            values = step.values()
            with program_cases.on_small_sizes() if case.seed % 2 else nullcontext():
                schedule = training_schedule(
                    copied(network), case.optimizer, step.carry, images, case.images, "float64"
                )
                outputs = engine(schedule, values, threads)
            results.append({name: np.array(values.get(name, out)) for name, out in outputs.items()})
        for name, array in expected.items():
            scale = max(1.0, float(np.max(np.abs(array), initial=0.0)))
            error = float(np.max(np.abs(results[0][name] - array), initial=0.0)) / scale
            assert error < 1e-10 or not np.isfinite(array).all(), (name, error)
            np.testing.assert_array_equal(results[0][name], results[1][name], err_msg=name)
