"""Kernels for NumPy arrays at the sizes at which their launch code changes its ways.

Every size is drawn around the constants of that code, which are imported from it: where a vector,
a block, a tile or a task ends, a kernel that counts wrongly is wrong.
"""

import itertools
import math
from importlib.util import find_spec

import numpy as np
import pytest

from arraycnn.execution.thread_pool import ThreadPool
from arraycnn.ops import GENERIC, Window
from arraycnn.ops.conv2d import numpy_columns as columns
from arraycnn.ops.conv2d import numpy_winograd as winograd
from arraycnn.ops.dense import numpy_products as products
from arraycnn.ops.numpy import launcher
from arraycnn.ops.numpy import record as plain
from arraycnn.ops.random_bits import layer_key, seed_words
from kernel_cases import around
from numpy_records import RECORDS, records
from random_words import words_by_integers

if HAS_LLVM := find_spec("llvmlite") is not None:
    from arraycnn.ops.compiled.kernels import vectors
    from arraycnn.ops.compiled.launcher import ELEMENTS, WORTH
    from arraycnn.ops.conv2d import compiled as convolution
    from arraycnn.ops.conv2d import compiled_nine_taps as nine_taps
    from arraycnn.ops.conv2d import compiled_shapes as shapes
    from arraycnn.ops.dense import compiled_kernels as dense
    from arraycnn.ops.dense import compiled_products as tiles
    from guards import GuardedLauncher, check_guards

    LANES = vectors.BYTES // 4  # of float32; float64 has half as many
else:
    ELEMENTS, LANES = 2**15, 16

needs_llvm = pytest.mark.skipif(not HAS_LLVM, reason="llvmlite is not installed")
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])

ENDS_OF_VECTORS = list(range(2 * LANES + 2))
"""All counts up to two vectors: of whole ones, halves, quarters, down to a single number."""

SIZES = sorted({*ENDS_OF_VECTORS, *around(ELEMENTS, 2 * ELEMENTS)})
SEED, STEP, PATH = 0xF1234567_89ABCDEF, 2**31 - 5, ("3", "body")


def bits(record, x, rate, images):
    """(y, keep) of ``record``, on the documented seed, step and layer."""
    places = np.array(images, np.int32)
    key = (seed_words(SEED), np.array([STEP], np.int32), layer_key(PATH))
    return record.dropout(record, x, rate, *key, places)


@records
@dtypes
@pytest.mark.parametrize("rate", [0.25, 0.5])
def test_dropout_of_any_count_keeps_what_the_documented_words_say(record, rate, dtype):
    """Odd counts, too, whose last word is not used; several images, of which none begins even."""
    images = (0, 59_999, 2**31 - 1)
    # NumPy's loops have no vectors that end, and each count is a program of its own.
    compiled = record is RECORDS.get("compiled")
    for count in [*(ENDS_OF_VECTORS[1:] if compiled else (1, 2, 3, 4, 5, 16, 17)), 256, 257, 1023]:
        x = np.random.default_rng(count).normal(size=(len(images), count)).astype(dtype)
        y, keep = bits(record, x, rate, images)
        words = [words_by_integers(SEED, STEP, PATH, index, count) for index in images]
        signed = np.array(words, np.uint32).view(np.int32)
        wanted = signed >= round(rate * 2**32) - 2**31
        np.testing.assert_array_equal(keep, wanted)
        np.testing.assert_array_equal(y, np.where(wanted, x / np.dtype(dtype).type(1 - rate), 0))


@records
@dtypes
def test_gradients_of_dropout(record, dtype):
    for size in SIZES:
        rng = np.random.default_rng(size)
        dy, keep = rng.normal(size=size).astype(dtype), rng.random(size) < 0.5
        dy[:1], keep[:1] = np.inf, False
        dx = record.dropout_backward(dy, keep, 0.3)
        kept = np.dtype(dtype).type(1 - 0.3)
        np.testing.assert_array_equal(dx, np.where(keep, dy / kept, 0))


def rescaled(pixels, dtype):
    """Each byte by itself: a quotient and a difference, both rounded."""
    real = np.dtype(dtype).type
    return np.array([real(byte) / real(255.0) - real(0.5) for byte in range(256)])[pixels]


def taken(record, pixels, rows, dtype):
    """Rows of a set, rescaled; a program has one loop for both."""
    return record.rescale(record.gather(pixels, rows), dtype)


def rows_and_lengths():
    """Of a set: how many rows and how long, around what a block of rows takes."""
    for length in (1, 3, LANES + 1, ELEMENTS // 4 - 1, ELEMENTS - 1, ELEMENTS, ELEMENTS + 1):
        per = max(1, ELEMENTS // length)
        for count in around(per, 2 * per, most=70_000 // length + 2):
            yield count, length


@records
@dtypes
def test_every_byte_is_rescaled_to_the_bit(record, dtype):
    pixels = np.arange(256, dtype=np.uint8).reshape(2, 128)
    np.testing.assert_array_equal(record.rescale(pixels, dtype), rescaled(pixels, dtype))
    rows = np.array([1, 0, 1], np.int32)
    found = taken(record, pixels, rows, dtype)
    np.testing.assert_array_equal(found, rescaled(pixels[rows], dtype))


@records
def test_batches_of_every_size_are_taken_and_rescaled(record):
    for count, length in rows_and_lengths():
        rng = np.random.default_rng(count)
        pixels = rng.integers(0, 256, (min(count, 40) + 1, length), dtype=np.uint8)
        rows = rng.integers(0, len(pixels), count).astype(np.int32)
        wanted = rescaled(pixels[rows], "float32")
        np.testing.assert_array_equal(taken(record, pixels, rows, "float32"), wanted)
        np.testing.assert_array_equal(record.rescale(pixels[rows], "float32"), wanted)
        np.testing.assert_array_equal(record.gather(wanted, rows % max(count, 1)),
                                      wanted[rows % max(count, 1)])  # fmt: skip


@records
@dtypes
def test_cross_entropy_of_every_number_of_rows_and_classes(record, dtype):
    for classes in (1, 2, LANES - 1, LANES, LANES + 1, 100, ELEMENTS // 16 + 1):
        per = max(1, ELEMENTS // 16 // classes)
        for images in around(per, 2 * per, most=2000 if classes < 4 else 300):
            if images == 0:
                continue
            rng = np.random.default_rng(images)
            logits = (4 * rng.normal(size=(images, classes))).astype(dtype)
            labels = rng.integers(0, classes, images).astype(np.int32)
            loss, dlogits, correct = record.softmax_cross_entropy(logits, labels, images + 3)
            exact = logits.astype(float) - logits.max(axis=1, keepdims=True)
            shares = np.exp(exact) / np.exp(exact).sum(axis=1, keepdims=True)
            losses = [-math.log(row[label]) for row, label in zip(shares, labels, strict=True)]
            bound = 1e-12 if dtype == "float64" else 2e-5
            np.testing.assert_allclose(loss, math.fsum(losses), rtol=bound, atol=bound)
            wanted = (shares - np.eye(classes)[labels]) / (images + 3)
            np.testing.assert_allclose(dlogits, wanted, rtol=0, atol=bound / images)
            assert correct == sum(int(row.argmax()) == n for row, n in zip(logits, labels))  # noqa: B905
            np.testing.assert_allclose(record.softmax(logits), shares, rtol=0, atol=bound)


@needs_llvm
@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 40])
def test_parts_of_a_gradient_are_summed_in_their_order(count):
    for size in around(LANES, ELEMENTS, 2 * ELEMENTS):
        if size == 0:
            continue
        parts = np.random.default_rng(size).normal(size=(count, size)).astype(np.float32)
        total = parts[0].copy()
        for part in parts[1:]:
            total += part
        found = convolution._sum(GuardedLauncher(ThreadPool(1)), parts)
        check_guards("parts")
        np.testing.assert_array_equal(found, total)


def shapes_around(axes, count, seed=0):
    """``count`` shapes, each length of each axis in at least one of them where there are enough."""
    rng = np.random.default_rng(seed)
    dealt = [np.resize(rng.permutation(lengths), count) for lengths in axes]
    return [tuple(int(axis[n]) for axis in dealt) for n in range(count)]


def dense_axes():
    if not HAS_LLVM:
        return [1, 2, 5, 31, 33], [1, 7, 65], [1, 10, 40]
    rows, wide = tiles.ROWS, tiles.VECTORS * LANES
    images = around(dense.FEW_IMAGES, rows, 8 * rows)[1:]
    inputs = around(LANES, 8 * rows, tiles._DEPTH)[1:]
    return images, inputs, around(LANES // 2, LANES, wide, 2 * wide)[1:]


@records
@pytest.mark.parametrize("worth", ["as it is", "little"])
@dtypes
def test_dense_layers_of_every_size(record, worth, dtype, monkeypatch):
    if worth == "little":  # so that products are cut into tiles and tasks
        monkeypatch.setattr(products, "WORTH", 2**12)
        if HAS_LLVM:
            from arraycnn.ops.dense import compiled as launching

            monkeypatch.setattr(launching, "WORTH", 2**8)
    for images, inputs, outputs in shapes_around(dense_axes(), 24):
        rng = np.random.default_rng(inputs)
        x, weight, dy = (
            rng.normal(size=shape).astype(dtype)
            for shape in ((images, inputs), (inputs, outputs), (images, outputs))
        )
        bias = rng.normal(size=outputs).astype(dtype)
        y = x.astype(float) @ weight + bias
        bound = {"rtol": 0, "atol": 1e-11 if dtype == "float64" else 1e-3}
        np.testing.assert_allclose(record.dense(record, x, weight, bias), y, **bound)
        active = record.dense_relu(record, x, weight, bias)
        np.testing.assert_allclose(active, np.maximum(y, 0), **bound)
        passed = np.where(active > 0, dy, 0).astype(float)
        found = record.dense_relu_backward(record, x, weight, active, dy, True)
        wanted = passed @ weight.T, x.T.astype(float) @ passed, passed.sum(axis=0)
        for a, e in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, e, **bound)
        _, dweight, dbias = record.dense_backward(record, x, weight, dy, False)
        np.testing.assert_allclose(dweight, x.T.astype(float) @ dy, **bound)
        np.testing.assert_allclose(dbias, dy.sum(axis=0, dtype=float), **bound)


def convolution_by_windows(x, weight, window):
    """The product of all windows, as sliding views of the padded image: no kernel of ours."""
    top, bottom, left, right = window.padding
    padded = np.pad(x.astype(float), ((0, 0), (top, bottom), (left, right), (0, 0)))
    views = np.lib.stride_tricks.sliding_window_view(padded, window.kernel_size, axis=(1, 2))
    views = views[:, :: window.stride[0], :: window.stride[1]]
    return np.einsum("nijcab,abcf->nijf", views, weight.astype(float), optimize=True)


def gradients_by_windows(x, weight, dy, window):
    """(dx, dweight, dbias): that of each window's place added where it was read."""
    dy, (top, _, left, _) = dy.astype(float), window.padding
    high, broad = window.padded_shape(*x.shape[1:3])
    padded = np.zeros((len(x), high, broad, x.shape[3]))
    padded[:, top : top + x.shape[1], left : left + x.shape[2]] = x
    dpadded, dweight = np.zeros_like(padded), np.zeros(weight.shape)
    for a, b in itertools.product(*map(range, window.kernel_size)):
        rows = slice(a, a + window.stride[0] * (dy.shape[1] - 1) + 1, window.stride[0])
        across = slice(b, b + window.stride[1] * (dy.shape[2] - 1) + 1, window.stride[1])
        dpadded[:, rows, across] += dy @ weight[a, b].T.astype(float)
        dweight[a, b] = np.einsum("nijc,nijf->cf", padded[:, rows, across], dy)
    dx = dpadded[:, top : top + x.shape[1], left : left + x.shape[2]]
    return dx, dweight, dy.sum(axis=(0, 1, 2))


def check_convolution(record, x, weight, window, rng):
    y = convolution_by_windows(x, weight, window)
    single = {"rtol": 0, "atol": 2e-4 * max(1.0, np.abs(y).max())}
    bound = {"rtol": 0, "atol": 1e-10 * max(1.0, np.abs(y).max())} if x.itemsize == 8 else single
    np.testing.assert_allclose(record.conv2d(record, x, weight, None, window), y, **bound)
    dy = rng.normal(size=y.shape).astype(x.dtype)
    found = record.conv2d_backward(record, x, weight, dy, window, True)
    for a, e in zip(found, gradients_by_windows(x, weight, dy, window), strict=True):
        scale = max(1.0, np.abs(e).max()) / max(1.0, np.abs(y).max())
        np.testing.assert_allclose(a, e, rtol=0, atol=bound["atol"] * scale)


@pytest.fixture
def small_bands(monkeypatch):
    """Bands and tiles of a few rows, Winograd's algorithm wherever it is defined."""
    monkeypatch.setattr(winograd, "LEAST_TILES", 0)
    monkeypatch.setattr(winograd, "LEAST_FILTERS", 1)
    monkeypatch.setattr(winograd, "MOST_WASTE", 4)
    monkeypatch.setattr(winograd, "TILE_BYTES", 2**12)
    monkeypatch.setattr(columns, "TILE_BYTES", 2**12)
    if HAS_LLVM:
        monkeypatch.setattr(shapes, "BAND_BYTES", 2**15)


@records
@pytest.mark.usefixtures("small_bands")
@pytest.mark.parametrize("kind", ["nine taps", "any window", "narrow", "winograd"])
def test_convolutions_of_every_size(record, kind):
    most = shapes.MOST_GROUPS if HAS_LLVM else launcher.MOST_TASKS
    images = around(2, most, 2 * most)[1:]
    if kind == "nine taps":
        pixels = nine_taps._PIXELS if HAS_LLVM else 4
        axes = images, around(3 + pixels, 2 + 2 * pixels)[3:], [1], ENDS_OF_VECTORS[1:]
    elif kind == "any window":
        axes = images, [4, 5, 9], [1, 2, LANES - 1, LANES, LANES + 1], ENDS_OF_VECTORS[1::3]
    elif kind == "narrow":  # rows of pixels around one tile and two, of at most a vector
        pixels = around(tiles.ROWS, 2 * tiles.ROWS, 3 * tiles.ROWS)[3:] if HAS_LLVM else [8, 19]
        axes = [1, 2], pixels, [1, 2, LANES - 1, LANES], [1, 3, LANES // 2, LANES - 1, LANES]
    else:  # in the fewest groups the channels are cut into parts
        axes = [*images, 1, 1, 2, 3], [4, 5, 9], [16, 32, 48, 64], [16, 32, 48]
    for number, (count, size, channels, filters) in enumerate(shapes_around(axes, 26)):
        rng = np.random.default_rng(number)
        dtype = "float64" if number % 3 and kind != "narrow" else "float32"
        x = rng.normal(size=(count, size, size + number % 2, channels)).astype(dtype)
        kernel = {"any window": (2, 3), "narrow": (4, 1)}.get(kind, (3, 3))
        weight = rng.normal(size=(*kernel, channels, filters)).astype(dtype)
        padding = (0, 0, 0, 0) if number % 2 else (1, 1, 1, 1)
        if kind == "narrow":  # as many outputs in a row as were dealt
            x, padding = x[:, :, :size].copy(), (*padding[:2], 0, 0)
        stride = (1 + number % 4 // 2, 1) if kind == "narrow" else (1, 1)
        check_convolution(record, x, weight, Window(kernel, stride, padding), rng)


@needs_llvm
@pytest.mark.parametrize("filters", [16, 48])
def test_filters_transformed_in_several_blocks(filters):
    """Channels around what a block of the transformation takes, in whole vectors."""
    per = ELEMENTS // 64 // filters
    rng, window = np.random.default_rng(filters), Window((3, 3))
    for channels in sorted({16, *(per // 16 * 16 + beside for beside in (16, 32, 48))}):
        x = rng.normal(size=(2, 6, 5, channels))
        weight = rng.normal(size=(3, 3, channels, filters))
        check_convolution(RECORDS["compiled"], x, weight, window, rng)


@needs_llvm
def test_products_worth_sharing_are_cut_as_they_are():
    """Without a constant changed: just above and just below what one block is given."""
    record, rng = RECORDS["compiled"], np.random.default_rng(0)
    tall, wide = 8 * tiles.ROWS, 2 * tiles.VECTORS * LANES
    for rows, columns_ in [(tall - 1, wide + 1), (tall, wide), (tall + 1, 2 * wide + 1)]:
        for depth in around(WORTH // (rows * columns_))[2:]:
            a = rng.normal(size=(rows, depth)).astype("float32")
            b = rng.normal(size=(depth, columns_)).astype("float32")
            wanted = a.astype(float) @ b
            np.testing.assert_allclose(record.matmul(a, b), wanted, rtol=0, atol=1e-3)


def updates_by_loops(name, p, g, state, rate, settings):
    """The step of one tensor in float64, from its formula: (parameters, *state)."""
    decay, p, g = settings["weight_decay"], p.astype(float), g.astype(float)
    state = [array.astype(float) for array in state]
    if name == "sgd_update":
        g = g + decay * p
        if not settings["momentum"]:
            return (p - rate * g,)
        velocity = settings["momentum"] * state[0] + g
        step = g + settings["momentum"] * velocity if settings["nesterov"] else velocity
        return p - rate * step, velocity
    beta1, beta2 = settings["betas"]
    if settings["decoupled"]:
        p = p - rate * decay * p
    else:
        g = g + decay * p
    first, second = beta1 * state[0] + (1 - beta1) * g, beta2 * state[1] + (1 - beta2) * g * g
    power1, power2 = DECAYS[0] * beta1, DECAYS[1] * beta2
    scale = np.sqrt(second / (1 - power2)) + settings["epsilon"]
    return p - rate * (first / (1 - power1)) / scale, first, second


DECAYS = (0.9**3, 0.99**3)
SGD = [
    {"momentum": momentum, "nesterov": nesterov, "weight_decay": decay}
    for momentum, nesterov in ((0.0, False), (0.9, False), (0.8, True))
    for decay in (0.0, 0.07)
]
ADAM = [
    {"weight_decay": decay, "decoupled": decoupled, "betas": betas, "epsilon": epsilon}
    for decay, decoupled in ((0.0, False), (0.07, False), (0.07, True))
    for betas, epsilon in (((0.9, 0.99), 1e-8), ((0.5, 0.7), 0.1))
]
ENGINES = ["generic", "plain", "recorded"]
ENGINES += ["compiled"] if HAS_LLVM else []


def engine(name):
    if name == "generic":
        return GENERIC
    return RECORDS[name]


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("settings", [*SGD, *ADAM], ids=str)
def test_every_setting_of_an_optimizer_on_every_engine(name, settings):
    """Tensors of all sizes at once, against the formulas."""
    op = "adam_update" if "decoupled" in settings else "sgd_update"
    blocks = around(ELEMENTS)[2:]
    sizes = ENDS_OF_VECTORS[1:] + (blocks if settings["weight_decay"] else blocks[:1])
    for dtype, bound in (("float32", 3e-5), ("float64", 1e-12)):
        rng = np.random.default_rng(0)
        p, g, m, v = ([rng.random(size).astype(dtype) for size in sizes] for _ in range(4))
        copies = [[array.copy() for array in arrays] for arrays in (p, g, m, v)]
        rate = np.array(0.05, dtype)
        if op == "adam_update":
            decays = tuple(np.array(decay, dtype) for decay in DECAYS)
            given = (copies[0], copies[1], copies[2], copies[3], decays, rate)
        else:
            given = (copies[0], copies[1], copies[2] if settings["momentum"] else [], rate)
        found = getattr(engine(name), op)(*given, **settings)
        if HAS_LLVM:
            check_guards(op)
        for place in range(len(sizes)):
            state = (m[place], v[place])
            wanted = updates_by_loops(op, p[place], g[place], state, 0.05, settings)
            assert len(wanted) == 1 + sum(
                isinstance(part, list) and bool(part) for part in found[1:]
            )
            for arrays, numbers in zip(found, wanted, strict=False):
                np.testing.assert_allclose(arrays[place], numbers, rtol=bound, atol=bound)
        if op == "adam_update":
            powers = [decay * beta for decay, beta in zip(DECAYS, settings["betas"], strict=True)]
            np.testing.assert_allclose(found[3], powers, rtol=1e-6)


def test_plain_products_whose_sum_is_cut_into_parts(monkeypatch):
    """Along the inner axis, in 2 to 16 parts."""
    monkeypatch.setattr(products, "WORTH", 2**10)
    rng = np.random.default_rng(0)
    for inner in around(2 * products._SHORTEST, launcher.MOST_TASKS * products._SHORTEST)[2:]:
        a, b = rng.normal(size=(7, inner)), rng.normal(size=(inner, 9))
        record = plain.numpy_kernels(plain.Launcher(ThreadPool(3)))
        np.testing.assert_allclose(record.matmul(a, b), a @ b, rtol=0, atol=1e-11)
