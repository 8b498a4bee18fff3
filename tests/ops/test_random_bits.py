"""Random bits: Threefry's published vectors, and the same bits wherever they are drawn."""

import dataclasses
import math

import numpy as np
import pytest

from arraycnn.layers import Context, Dropout, Randomness, Sequential
from arraycnn.ops import GENERIC
from arraycnn.ops.random_bits import layer_key, random_bits, seed_words, threefry2x32
from random_words import threefry_by_integers, words_by_integers

ONES = (0xFFFFFFFF, 0xFFFFFFFF)
PI_KEY, PI_COUNTER = (0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3)

# The known answers of Random123, the library of Threefry's authors.
VECTORS = [
    (20, (0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    (20, ONES, ONES, (0x1CB996FC, 0xBB002BE7)),
    (20, PI_KEY, PI_COUNTER, (0xC4923A9C, 0x483DF7A0)),
    (13, (0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
    (13, ONES, ONES, (0xFD36D048, 0x2D17272C)),
    (13, PI_KEY, PI_COUNTER, (0xBA3E4725, 0xF27D669E)),
]


def words(*values) -> np.ndarray:
    """Unsigned words as int32 of the same bits."""
    return np.array(values, dtype=np.uint32).view(np.int32)


def bits(step=0, path=("1",), indices=(0, 1), count=6, seed=5) -> np.ndarray:
    """`random_bits` on NumPy."""
    places = np.array(indices, dtype=np.int32)
    return random_bits(seed_words(seed), words(step), layer_key(path), places, count)


@pytest.mark.parametrize(("rounds", "key", "counter", "expected"), VECTORS)
def test_threefry_gives_the_published_vectors(rounds, key, counter, expected, xp):
    def run(a, b, x, y):
        return threefry2x32((a, b), (x, y), rounds)

    actual = xp.run(run, *(xp.asarray(words(word)) for word in (*key, *counter)))
    for word, wanted in zip(actual, expected, strict=True):
        assert word.dtype == xp.namespace.int32
        xp.check_equal(word, words(wanted))
    assert threefry_by_integers(key, counter, rounds) == expected  # what other tests compare with


def test_threefry_equals_jax(jax):
    from jax.extend.random import threefry_2x32

    rng = np.random.default_rng(0)
    key = rng.integers(0, 2**32, (2, 1), np.uint32)
    counter = rng.integers(0, 2**32, (2, 100), np.uint32)
    expected = threefry_2x32(key.ravel(), counter.ravel()).reshape(2, 100)
    actual = threefry2x32(tuple(key.view(np.int32)), tuple(counter.view(np.int32)), rounds=20)
    np.testing.assert_array_equal(np.stack(actual).view(np.uint32), expected)


@pytest.mark.parametrize("count", [1, 2, 7, 12])
def test_bits_are_the_documented_ones_on_every_library(count, xp):
    seed, step, path, indices = 0x89ABCDEF_F1234567, 2**31 - 1, ("3", "body"), (0, 59_999, 7)

    def run(seed, step, indices):
        return random_bits(seed, step, layer_key(path), indices, count)

    places = np.array(indices, dtype=np.int32)
    drawn = xp.run(run, *(xp.asarray(array) for array in (seed_words(seed), words(step), places)))
    assert drawn.dtype == xp.namespace.int32
    expected = [words(*words_by_integers(seed, step, path, index, count)) for index in indices]
    xp.check_equal(drawn, np.stack(expected))


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 6},
        {"seed": 5 + 2**32},
        {"step": 1},
        {"path": ("2",)},
        {"path": ("1", "0")},
        {"indices": (2, 3)},
    ],
    ids=str,
)
def test_bits_differ(other):
    assert not (bits() == bits(**other)).any()


def test_bits_of_an_image_do_not_depend_on_its_batch():
    whole = bits(indices=range(8))
    np.testing.assert_array_equal(
        np.concatenate([bits(indices=(0, 1, 2)), bits(indices=range(3, 8))]), whole
    )
    np.testing.assert_array_equal(bits(indices=(6, 1, 6)), whole[[6, 1, 6]])


def test_bits_of_one_step_are_all_different():
    drawn = bits(indices=range(100), count=101)
    # 10,100 words of 32 bits: by the birthday bound 0.012 pairs are expected, and none occurs.
    assert len(np.unique(drawn)) == drawn.size


def test_each_bit_is_set_half_of_the_time():
    drawn = bits(indices=range(100), count=1001).view(np.uint32)
    for place in range(32):
        ones = int(((drawn >> place) & 1).sum())
        assert abs(ones - drawn.size / 2) < five_deviations(drawn.size, 0.5)


def five_deviations(count, probability):
    """What a binomial count leaves by chance once in 1.7 million."""
    return 5.0 * math.sqrt(count * probability * (1.0 - probability))


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 1])
def test_seed_words(seed):
    low, high = (int(word) for word in seed_words(seed).view(np.uint32))
    assert low + 2**32 * high == seed


# Dropout


def dropout_context(step=0, indices=(0, 1), seed=5) -> Context:
    places = np.array(indices, dtype=np.int32)
    return Context(
        GENERIC, "train", "float64", Randomness(seed_words(seed), words(step), places), ("1",)
    )


@pytest.mark.parametrize("rate", [0.01, 0.25, 0.5, 0.9])
def test_dropout_keeps_its_share(rate):
    x = np.ones((20, 2501))
    y, _, _ = Dropout(rate).forward({}, {}, x, dropout_context(indices=range(20)))
    assert set(np.unique(y)) == {0.0, 1.0 / (1.0 - rate)}
    kept = np.count_nonzero(y)
    assert abs(kept - x.size * (1.0 - rate)) < five_deviations(x.size, rate)


def test_dropout_of_rate_0_keeps_everything():
    x = np.ones((20, 2501))
    y, _, _ = Dropout(0.0).forward({}, {}, x, dropout_context(indices=range(20)))
    np.testing.assert_array_equal(y, x)


def test_dropout_of_the_highest_rate_drops_everything(xp):
    rate = math.nextafter(1.0, 0.0)

    def run(x, seed, step, indices):
        context = Context(GENERIC, "train", xp.dtype, Randomness(seed, step, indices))
        return Dropout(rate).forward({}, {}, x, context)[0]

    arrays = np.ones((2, 9)), seed_words(3), words(0), words(0, 1)
    xp.check_equal(xp.run(run, *(xp.asarray(array) for array in arrays)), np.zeros((2, 9)))


@pytest.mark.parametrize(
    ("rate", "expected"), [(0.0, [1, 1, 1, 1]), (0.25, [0, 1, 1, 1]), (0.5, [0, 0, 1, 1])]
)
def test_dropout_keeps_the_words_from_its_threshold_on(rate, expected):
    drawn = np.array([[-(2**31), -(2**30), 0, 2**31 - 1]], dtype=np.int32)
    ops = dataclasses.replace(GENERIC, random_bits=lambda *_: drawn)
    context = dataclasses.replace(dropout_context(), ops=ops)
    y, _, _ = Dropout(rate).forward({}, {}, np.full((1, 4), 1.0 - rate), context)
    np.testing.assert_array_equal(y, [expected])


def masks(network, context, shape=(2, 64)):
    """What each dropout of a chain keeps."""
    _, _, residuals = network.forward(
        *({str(n): {} for n in range(len(network.layers))} for _ in range(2)),
        np.ones(shape),
        context,
    )
    return [keep for (keep,) in residuals.values()]


def test_no_two_dropouts_steps_or_images_share_a_mask():
    network = Sequential(Dropout(0.5), Dropout(0.5))
    drawn = [
        image
        for step in range(3)
        for mask in masks(network, dropout_context(step))
        for image in mask
    ]
    assert len({image.tobytes() for image in drawn}) == len(drawn) == 12


def test_a_sharded_batch_has_the_same_masks():
    network = Sequential(Dropout(0.5), Dropout(0.5))
    whole = masks(network, dropout_context(indices=range(4)), (4, 64))
    shards = [
        masks(network, dropout_context(indices=indices), (len(indices), 64))
        for indices in ((0,), (1, 2, 3))
    ]
    for layer, mask in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([shard[layer] for shard in shards]), mask)


def test_dropout_in_inference_needs_no_randomness():
    context = dataclasses.replace(dropout_context(), mode="infer", randomness=None)
    x = np.ones((2, 3))
    assert Dropout(0.5).forward({}, {}, x, context)[0] is x
