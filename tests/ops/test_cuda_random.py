"""Random bits and dropout in CUDA: bit for bit those of integers, and of the generic kernels."""

import zlib

import numpy as np
import pytest

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops import GENERIC
from arraycnn.ops.random_bits import layer_key, seed_words
from arraycnn.ops.random_bits.cuda import dropout, dropout_backward, random_bits
from host_cuda import HostLauncher, check, lazy_zeros
from random_words import threefry_by_integers, words_by_integers

dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])

SEED, STEP, PATH = 0xF1234567_89ABCDEF, 2**31 - 5, ("3", "body")
COUNTS = [1, 2, 3, 7, 512, 513, 1025]


def key(indices, step=STEP, seed=SEED):
    """What chooses the bits: the arguments of every kernel here."""
    return seed_words(seed), np.array([step], np.int32), np.array(indices, np.int32)


def signed(words):
    return np.array(words, np.uint32).view(np.int32)


@pytest.mark.parametrize("count", COUNTS)
def test_bits_are_the_documented_ones(count):
    indices = (0, 59_999, 2**31 - 1, 7)
    seed, step, places = key(indices)
    drawn = check(lambda cuda: random_bits(cuda, seed, step, layer_key(PATH), places, count))
    assert drawn.dtype == np.int32
    expected = [signed(words_by_integers(SEED, STEP, PATH, index, count)) for index in indices]
    np.testing.assert_array_equal(drawn, np.stack(expected))


@pytest.mark.parametrize(
    ("seed", "step", "path"),
    [(0, 0, ("0",)), (2**64 - 1, 1, ("9", "2")), (2**32, 2**30, ("7",)), (1, 3, ("body",))],
)
def test_each_part_of_the_key_counts(seed, step, path):
    given_seed, given_step, places = key((5,), step, seed)
    drawn = check(
        lambda cuda: random_bits(cuda, given_seed, given_step, layer_key(path), places, 9)
    )
    np.testing.assert_array_equal(drawn[0], signed(words_by_integers(seed, step, path, 5, 9)))


@pytest.mark.parametrize(("images", "count"), [(0, 5), (5, 0), (4100, 3)])
def test_no_image_no_word_and_more_images_than_blocks(images, count):
    seed, step, places = key(range(images))
    drawn = random_bits(HostLauncher(), seed, step, 17, places, count)
    expected = GENERIC.random_bits(seed, step, 17, places, count)
    np.testing.assert_array_equal(drawn, expected)
    assert drawn.shape == (images, count)


@dtypes
@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 0.9, 1 - 2**-40])
@pytest.mark.parametrize("shape", [(3, 5), (2, 4, 3, 3), (1, 1), (0, 4), (2, 1030)], ids=str)
def test_dropout(shape, rate, dtype):
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    seed, step, places = key(range(40, 40 + shape[0]))
    y, keep = check(lambda cuda: dropout(cuda, None, x, rate, seed, step, layer_key(PATH), places))
    assert y.dtype == dtype
    assert keep.dtype == bool
    words = [words_by_integers(SEED, STEP, PATH, int(i), x[0].size) for i in places]
    # The words count as signed numbers; the smallest part of them drops.
    threshold = min(round(rate * 2**32) - 2**31, 2**31 - 1)
    kept = (np.stack([signed(w) for w in words]) if words else np.zeros(shape, int)) >= threshold
    np.testing.assert_array_equal(keep, kept.reshape(shape))
    np.testing.assert_array_equal(y, np.where(keep, x / np.dtype(dtype).type(1 - rate), 0))
    generic = GENERIC.dropout(GENERIC, x, rate, seed, step, layer_key(PATH), places)
    np.testing.assert_array_equal(y, generic[0])
    np.testing.assert_array_equal(keep, generic[1])


@dtypes
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 4), (0, 3), (1024,), (1025,), (5, 411)], ids=str)
def test_dropout_backward(shape, dtype):
    rng = np.random.default_rng(0)
    dy, keep = rng.normal(size=shape).astype(dtype), rng.random(shape) < 0.5
    dy.ravel()[:1] = np.inf
    keep.ravel()[:1] = False
    dx = check(lambda cuda: dropout_backward(cuda, dy, keep, 0.3))
    assert dx.dtype == dtype
    np.testing.assert_array_equal(dx, np.where(keep, dy / np.dtype(dtype).type(0.7), 0))


def test_views_are_taken_as_they_are():
    x = np.random.default_rng(0).normal(size=(6, 5, 4))
    seed, step, places = key(range(6))
    view = np.asfortranarray(x)
    straight = dropout(HostLauncher(), None, x, 0.4, seed, step, 3, places)
    turned = dropout(HostLauncher(), None, view, 0.4, seed, step, 3, np.repeat(places, 2)[::2])
    for a, b in zip(straight, turned, strict=True):
        np.testing.assert_array_equal(a, b)
    keep = np.asfortranarray(straight[1])
    np.testing.assert_array_equal(
        dropout_backward(HostLauncher(), view, keep, 0.4),
        dropout_backward(HostLauncher(), x, straight[1], 0.4),
    )


def test_what_does_not_fit_is_refused():
    cuda, x = HostLauncher(), np.zeros((4, 3))
    seed, step, places = key(range(4))
    with pytest.raises(InvalidTypeError, match=r"^dropout on CUDA: .*got int32"):
        dropout(cuda, None, x.astype("int32"), 0.5, seed, step, 1, places)
    with pytest.raises(InvalidTypeError, match=r"^random_bits on CUDA: takes int32 .*got int64"):
        random_bits(cuda, seed, step.astype("int64"), 1, places, 3)
    with pytest.raises(InvalidTypeError, match=r"^dropout_backward on CUDA: takes bool"):
        dropout_backward(cuda, x, x, 0.5)
    with pytest.raises(InvalidValueError, match=r"^dropout: indices must be of shape \(4,\)"):
        dropout(cuda, None, x, 0.5, seed, step, 1, places[1:])
    with pytest.raises(InvalidValueError, match=r"^dropout_backward: keep must be of shape"):
        dropout_backward(cuda, x, np.ones((4, 2), bool), 0.5)
    with pytest.raises(InvalidValueError, match=r"^random_bits: seed must be of shape \(2,\)"):
        random_bits(cuda, step, step, 1, places, 3)


def test_beyond_2_to_the_31():
    images, half = 2100, 2**19 + 1
    seed, step, places = key(range(images))
    # The last block has the last counter alone, which gives the last words of both halves.
    cuda, last = HostLauncher(blocks=slice(-1, None)), np.s_[-1, [half - 1, 2 * half - 1]]
    layer = zlib.crc32(b"3/body")
    step_key = threefry_by_integers((SEED % 2**32, SEED >> 32), (STEP, layer), 13)
    words = signed(threefry_by_integers(step_key, (images - 1, half - 1), 13))
    drawn = random_bits(cuda, seed, step, layer_key(PATH), places, 2 * half)
    np.testing.assert_array_equal(drawn[last], words)
    x = lazy_zeros((images, 2 * half), np.float32)
    x[last] = [1.5, 2.5]
    kept = x[last] / np.float32(0.75)
    y, keep = dropout(cuda, None, x, 0.25, seed, step, layer_key(PATH), places)
    np.testing.assert_array_equal(keep[last], words >= -(2**30))
    np.testing.assert_array_equal(y[last], np.where(keep[last], kept, 0))
    keep[-1, -2:], x[-1, -2:] = True, [1.5, 2.5]
    np.testing.assert_array_equal(dropout_backward(cuda, x, keep, 0.25)[-1, -2:], kept)


def test_gradients_beyond_2_to_the_32():
    dy, keep = lazy_zeros((2**32 + 3,), np.float32), lazy_zeros((2**32 + 3,), bool)
    dy[-3:], keep[-2:] = [1.0, 2.0, 3.0], True
    dx = dropout_backward(HostLauncher(blocks=slice(-1, None)), dy, keep, 0.5)
    np.testing.assert_array_equal(dx[-3:], [0.0, 4.0, 6.0])
