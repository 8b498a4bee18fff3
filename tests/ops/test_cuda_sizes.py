"""CUDA kernels that do the same with each number, at the counts around what threads and blocks take.

Every size is drawn around the constants of the launch code, which are imported from it.
"""

import itertools
import math

import numpy as np
import pytest

from arraycnn.ops.batch import cuda as batch
from arraycnn.ops.cross_entropy import cuda as loss
from arraycnn.ops.cuda import steps, tiles
from arraycnn.ops.cuda.launcher import MOST_THREADS, WARP
from arraycnn.ops.dense import cuda_classifier as classifier
from arraycnn.ops.max_pool2d import cuda as windows
from arraycnn.ops.optimizer_updates import cuda as optimizers
from arraycnn.ops.random_bits import cuda as random_bits
from arraycnn.ops.random_bits import layer_key, seed_words
from arraycnn.ops.relu import cuda as elementwise
from arraycnn.ops.step_tables import StepTables
from arraycnn.ops.window import Window
from host_cuda import HostLauncher, check
from kernel_cases import around
from random_words import words_by_integers

dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])

COUNTS = sorted(
    {
        count
        for block in (1, 2, 3)
        for part in range(elementwise.PER_BLOCK // elementwise.THREADS)
        for count in around(block * elementwise.PER_BLOCK - part * elementwise.THREADS)
    }
)
"""Up to three blocks: each number of whole parts that the last block has, and those beside."""

SEED, STEP, PATH = 0xF1234567_89ABCDEF, 2**31 - 5, ("3", "body")


def run(function, count):
    """In one order, and for the last sizes of a block under the checker and in every order."""
    beside = (count + 1) % elementwise.PER_BLOCK in (0, 1, 2)
    return check(function, orders=("forward", "reverse") if beside else ("forward",),
                 checked=beside)  # fmt: skip


@dtypes
def test_gradients_of_relu(dtype):
    for count in COUNTS:
        rng = np.random.default_rng(count)
        y, dy = (rng.normal(size=count).astype(dtype) for _ in range(2))
        dx = run(lambda cuda, y=y, dy=dy: elementwise.relu_backward(cuda, y, dy), count)
        np.testing.assert_array_equal(dx, np.where(y > 0, dy, 0))


@dtypes
def test_gradients_of_dropout(dtype):
    for count in COUNTS:
        rng = np.random.default_rng(count)
        dy, keep = rng.normal(size=count).astype(dtype), rng.random(count) < 0.5
        dx = run(
            lambda cuda, dy=dy, keep=keep: random_bits.dropout_backward(cuda, dy, keep, 0.3), count
        )
        np.testing.assert_array_equal(dx, np.where(keep, dy / np.dtype(dtype).type(0.7), 0))


@pytest.mark.parametrize("images", [1, 3])
def test_words_and_dropout(images):
    """A thread has two words of an image, so counts go around two blocks' threads, and are odd."""
    threads = random_bits.THREADS
    counts = around(WARP, threads, 2 * threads, 2 * threads + 2, 4 * threads)[1:]
    places = np.array([0, 2**31 - 1, 59_999][:images], np.int32)
    key = seed_words(SEED), np.array([STEP], np.int32), layer_key(PATH), places
    for count in counts:
        drawn = [words_by_integers(SEED, STEP, PATH, int(index), count) for index in places]
        words = np.array(drawn, np.uint32).view(np.int32)
        found = check(
            lambda cuda, count=count: random_bits.random_bits(cuda, *key, count),
            orders=("forward",),
        )
        np.testing.assert_array_equal(found, words)
        x = np.random.default_rng(count).normal(size=(images, count))
        y, keep = random_bits.dropout(HostLauncher(), None, x, 0.25, *key)
        np.testing.assert_array_equal(keep, words >= -(2**30))
        np.testing.assert_array_equal(y, np.where(keep, x / 0.75, 0))


def test_more_images_than_rows_of_blocks():
    most = random_bits._MOST_WANTED
    for images in (most - 1, most, most + 1):
        places = np.arange(images, dtype=np.int32)
        key = seed_words(SEED), np.array([STEP], np.int32), layer_key(PATH), places
        found = random_bits.random_bits(HostLauncher(), *key, 3)
        for index in (0, most - 2, images - 1):
            words = words_by_integers(SEED, STEP, PATH, index, 3)
            np.testing.assert_array_equal(found[index], np.array(words, np.uint32).view(np.int32))


def rescaled(pixels, dtype):
    real = np.dtype(dtype).type
    return np.array([real(byte) / real(255.0) - real(0.5) for byte in range(256)])[pixels]


@dtypes
def test_batches_of_every_row_and_number_of_rows(dtype):
    """Units of 1, 4 and 16 bytes: rows around a warp and a block of each."""
    lengths = {n * width for width in (1, 4, 16) for n in around(WARP, batch._THREADS)[1:]}
    for number, length in enumerate(sorted(lengths)):
        high = max(1, batch._THREADS // min(WARP, 1 << max(length - 1, 0).bit_length()))
        counts = around(high, 2 * high, most=80)
        count = counts[number % len(counts)]
        rng = np.random.default_rng(length)
        pixels = rng.integers(0, 256, (7, length), dtype=np.uint8)
        rows = rng.integers(0, 7, count).astype(np.int32)
        cuda, wanted = HostLauncher(), rescaled(pixels[rows], dtype)
        np.testing.assert_array_equal(batch.gather_rescale(cuda, pixels, rows, dtype), wanted)
        np.testing.assert_array_equal(batch.gather(cuda, pixels, rows), pixels[rows])
        np.testing.assert_array_equal(batch.rescale(cuda, pixels[rows], dtype), wanted)


def test_one_long_row_has_all_blocks():
    for length in around(batch._THREADS, 4 * batch._THREADS, batch._MOST_WANTED)[1:]:
        pixels = np.random.default_rng(length).integers(0, 256, (1, length), dtype=np.uint8)
        found = check(lambda cuda, x=pixels: batch.rescale(cuda, x, "float32"), orders=("forward",))
        np.testing.assert_array_equal(found, rescaled(pixels, "float32"))


@pytest.mark.parametrize("most", [1, 3, 5])
def test_blocks_that_take_turns(most, monkeypatch):
    """With few blocks allowed, each goes on to what no block has yet, along rows and across them."""
    for module in (batch, random_bits, windows):
        monkeypatch.setattr(module, "_MOST_WANTED", most)
    rng, cuda = np.random.default_rng(most), HostLauncher()
    for count, length in ((1, 1300), (1, 1301), (70, 37), (70, 150), (2, 1024)):
        pixels = rng.integers(0, 256, (9, length), dtype=np.uint8)
        rows = rng.integers(0, 9, count).astype(np.int32)
        wanted = rescaled(pixels[rows], "float64")
        np.testing.assert_array_equal(batch.gather(cuda, pixels, rows), pixels[rows])
        np.testing.assert_array_equal(batch.gather_rescale(cuda, pixels, rows, "float64"), wanted)
        np.testing.assert_array_equal(batch.rescale(cuda, pixels[rows], "float64"), wanted)
    places = np.arange(11, dtype=np.int32)
    key = seed_words(SEED), np.array([STEP], np.int32), layer_key(PATH), places
    found = random_bits.random_bits(cuda, *key, 5)
    words = [words_by_integers(SEED, STEP, PATH, int(index), 5) for index in places]
    np.testing.assert_array_equal(found, np.array(words, np.uint32).view(np.int32))
    x = rng.permutation(11 * 4 * 6 * 3).astype(float).reshape(11, 4, 6, 3)
    y, winners = windows.max_pool2d(cuda, x, Window((2, 2), (2, 2)), "first")
    quads = x.reshape(11, 2, 2, 3, 2, 3).transpose(0, 1, 3, 5, 2, 4).reshape(11, 2, 3, 3, 4)
    np.testing.assert_array_equal(y, quads.max(axis=4))
    np.testing.assert_array_equal(winners, quads.argmax(axis=4))
    dx = windows.max_pool2d_backward(cuda, y, winners, x.shape, Window((2, 2), (2, 2)), "first")
    where = np.repeat(np.repeat(y, 2, axis=1), 2, axis=2) == x
    np.testing.assert_array_equal(dx, np.where(where, x, 0))


@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_of_every_size(momentum, nesterov, decay):
    """Plain SGD with weight decay among them; oracle: the formulas, tensor by tensor."""
    threads = optimizers._THREADS
    sizes = around(WARP, threads, 2 * threads)[1:]
    if decay:
        sizes += around(threads * optimizers._MOST_BLOCKS)[2:]
    rng = np.random.default_rng(0)
    p, g, v = ([rng.normal(size=size) for size in sizes] for _ in range(3))
    settings = {"momentum": momentum, "nesterov": nesterov, "weight_decay": decay}
    moved, velocities = optimizers.sgd_update(
        HostLauncher(), p, g, v if momentum else [], np.array(0.1), **settings
    )
    for place in range(len(sizes)):
        change = g[place] + decay * p[place]
        if momentum:
            velocity = momentum * v[place] + change
            np.testing.assert_allclose(velocities[place], velocity, rtol=1e-12, atol=1e-15)
            change = change + momentum * velocity if nesterov else velocity
        np.testing.assert_allclose(moved[place], p[place] - 0.1 * change, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_adam_of_every_number_of_tensors(decay, decoupled):
    for count in around(optimizers._MOST_TENSORS)[1:]:
        rng = np.random.default_rng(count)
        p, g, m, v = ([rng.random(3 + n % 5) for n in range(count)] for _ in range(4))
        before, after = np.array([0.9, 0.99]) ** 3, np.array([0.9, 0.99]) ** 4
        found = optimizers.adam_update(
            HostLauncher(), p, g, m, v, tuple(map(np.array, before)), np.array(0.1),
            betas=(0.9, 0.99), epsilon=1e-8, weight_decay=decay, decoupled=decoupled,
        )  # fmt: skip
        np.testing.assert_allclose(found[3], after, rtol=1e-14)
        for place in range(count):
            old, change = p[place], g[place]
            if decoupled:
                old = old - 0.1 * decay * old
            else:
                change = change + decay * old
            first, second = 0.9 * m[place] + 0.1 * change, 0.99 * v[place] + 0.01 * change**2
            step = first / (1 - after[0]) / (np.sqrt(second / (1 - after[1])) + 1e-8)
            np.testing.assert_allclose(found[0][place], old - 0.1 * step, rtol=1e-11, atol=1e-13)
            np.testing.assert_allclose(found[1][place], first, rtol=1e-12)
            np.testing.assert_allclose(found[2][place], second, rtol=1e-12)


def test_cross_entropy_of_every_number_of_rows_and_classes():
    rows_a_block = loss._THREADS // WARP
    images = around(MOST_THREADS // WARP, loss._MOST_IMAGES_A_BLOCK, 17 * rows_a_block)[1:]
    classes = around(WARP, 2 * WARP)[1:]
    for number, rows in enumerate([*images, rows_a_block * loss._MOST_BLOCKS + 1]):
        width = classes[number % len(classes)] if rows < 1000 else 2
        rng = np.random.default_rng(rows)
        logits, labels = rng.normal(size=(rows, width)), rng.integers(0, width, rows).astype("i4")
        found = loss.softmax_cross_entropy(HostLauncher(), logits, labels, rows + 1)
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        losses = -np.log(shares[np.arange(rows), labels])
        np.testing.assert_allclose(found[0], math.fsum(losses), rtol=1e-12)
        wanted = (shares - np.eye(width)[labels]) / (rows + 1)
        np.testing.assert_allclose(found[1], wanted, rtol=0, atol=1e-15)
        assert found[2] == sum(
            int(np.argmax(row) == n) for row, n in zip(logits, labels, strict=True)
        )
        np.testing.assert_allclose(loss.softmax(HostLauncher(), logits), shares, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_of_every_number_of_parts(dtype):
    """Eight threads add every eighth part: one each, a second, a third turn and more."""
    for splits, size in itertools.product(around(8, 16, 24, 40)[2:], (1, 31, 32, 33, 65)):
        rng = np.random.default_rng(splits)
        parts = rng.normal(size=(splits, size)).astype(dtype)
        columns = rng.normal(size=(splits, 5)).astype(dtype)

        def summed(cuda, parts=parts, columns=columns, splits=splits, size=size):
            result = tiles.Result(cuda.empty((size,), dtype), cuda.empty((5,), dtype))
            tiles._sum_splits(cuda, splits, parts, columns, 5, result)
            return result.y, result.column_sums

        y, sums = check(summed, orders=("forward",), checked=size == 33)
        bound = 1e-13 if dtype == "float64" else 2e-5
        np.testing.assert_allclose(y, parts.sum(axis=0, dtype=float), rtol=0, atol=bound)
        np.testing.assert_allclose(sums, columns.sum(axis=0, dtype=float), rtol=0, atol=bound)


@pytest.mark.parametrize("count", [15, 16, 17, 18, 31, 33])
def test_products_of_many_parts(count):
    """So deep that the launch code itself cuts the sum into more than 16."""
    from arraycnn.ops.dense.cuda import dense_backward, matmul

    depth = count * tiles._LEAST_STEPS
    assert tiles.tiling("float64", 9, 7, depth).splits == count
    rng = np.random.default_rng(count)
    a, b = rng.normal(size=(9, depth)), rng.normal(size=(depth, 7))
    found = matmul(HostLauncher(), a, b, precision="fp32")
    np.testing.assert_allclose(found, a @ b, rtol=0, atol=1e-11)
    x, weight = np.ascontiguousarray(a.T), rng.normal(size=(9, 7))
    _, dweight, dbias = dense_backward(HostLauncher(), None, x, weight, b, False, precision="fp32")
    np.testing.assert_allclose(dweight, a @ b, rtol=0, atol=1e-11)
    np.testing.assert_allclose(dbias, b.sum(axis=0), rtol=0, atol=1e-11)


def test_batches_of_recorded_steps():
    for size in around(WARP, steps._THREADS, 2 * steps._THREADS)[1:]:
        rng = np.random.default_rng(size)
        order = rng.integers(0, 50, 3 * size).astype(np.int32)
        rows, labels = order[::-1].copy(), rng.integers(0, 9, 50).astype(np.int32)
        numbers, rates = np.array([7, 8, 9], np.int32), np.array([0.1, 0.2, 0.3])
        for place in range(3):
            tables = StepTables(
                order, rows, numbers, rates, np.array([place], np.int32),
                np.full(3, np.nan), np.zeros(3, np.int32), size,
            )  # fmt: skip
            found = check(lambda cuda, t=tables, y=labels: steps.begin_step(cuda, t, y),
                          orders=("forward",), checked=False)  # fmt: skip
            part = order[place * size : (place + 1) * size]
            np.testing.assert_array_equal(found[0], part)
            np.testing.assert_array_equal(found[1], rows[place * size : (place + 1) * size])
            np.testing.assert_array_equal(found[2], labels[part])
            assert (found[3][0], found[4]) == (numbers[place], rates[place])
            steps.finish_step(HostLauncher(), tables, np.array(size * 1.5), np.array(3, np.int32))
            assert (tables.losses[place], tables.correct_counts[place], tables.cursor[0]) == (
                1.5,
                3,
                place + 1,
            )


def test_pools_of_every_number_of_outputs():
    """Images of as many outputs as threads, and one more or less."""
    window = Window((2, 2), (2, 2))
    for outputs in around(WARP, windows._THREADS, 2 * windows._THREADS)[1:]:
        x = np.random.default_rng(outputs).permutation(8 * outputs).astype(float)
        x = x.reshape(2, 2, 2 * outputs, 1)
        y, winners = windows.max_pool2d(HostLauncher(), x, window, "first")
        quads = x.reshape(2, 2, outputs, 2).transpose(0, 2, 1, 3).reshape(2, outputs, 4)
        np.testing.assert_array_equal(y.reshape(2, outputs), quads.max(axis=2))
        np.testing.assert_array_equal(winners.reshape(2, outputs), quads.argmax(axis=2))
        dx = windows.max_pool2d_backward(HostLauncher(), y, winners, x.shape, window, "first")
        np.testing.assert_array_equal(dx, np.where(x == np.repeat(np.repeat(y, 2, 1), 2, 2), x, 0))
        mean = windows.avg_pool2d(HostLauncher(), x, window)
        np.testing.assert_allclose(mean.reshape(2, outputs), quads.mean(axis=2), rtol=1e-14)


def test_a_classifier_of_every_number_of_images_and_classes():
    """Around what the one kernel takes, and beyond, where others do."""
    from arraycnn.ops import GENERIC

    images = around(WARP, classifier._MOST_IMAGES)[1:]
    classes = around(WARP, classifier._MOST_CLASSES)[1:]
    for number, count in enumerate(images):
        width, rng = classes[number % len(classes)], np.random.default_rng(number)
        x, weight, bias = (rng.normal(size=s) for s in ((count, 5), (5, width), (width,)))
        labels = rng.integers(0, width, count).astype(np.int32)
        loss_sum, correct, dx, dweight, dbias = classifier.dense_cross_entropy(
            HostLauncher(), GENERIC, x, weight, bias, labels, count + 2
        )
        logits = x @ weight + bias
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        dlogits = (shares - np.eye(width)[labels]) / (count + 2)
        wanted_loss = math.fsum(-np.log(shares[np.arange(count), labels]))
        np.testing.assert_allclose(loss_sum, wanted_loss, rtol=1e-12)
        assert correct == (logits.argmax(axis=1) == labels).sum()
        for found, wanted in ((dx, dlogits @ weight.T), (dweight, x.T @ dlogits),
                              (dbias, dlogits.sum(axis=0))):  # fmt: skip
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13)
