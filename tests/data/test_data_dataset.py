"""`DataSet` refuses what breaks its rules; `split_validation` is fair, whole and repeatable."""

import dataclasses

import numpy as np
import pytest

from arraycnn.data.dataset import DataSet, split_validation
from arraycnn.errors import DataError


def a_set(**changes) -> DataSet:
    parts = {
        "name": "shapes",
        "train_images": np.arange(5 * 6, dtype=np.uint8).reshape(5, 2, 3, 1),
        "train_labels": np.array([0, 1, 2, 0, 1], dtype=np.int32),
        "test_images": np.arange(2 * 6, dtype=np.uint8).reshape(2, 2, 3, 1),
        "test_labels": np.array([2, 0], dtype=np.int32),
        "class_names": ("round", "square", "long"),
    }
    return DataSet(**(parts | changes))


def test_image_shape_is_height_width_channels():
    assert a_set().image_shape == (2, 3, 1)


def test_a_set_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        a_set().name = "other"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"train_images": np.zeros((5, 2, 3), np.uint8)}, "train_images must have 4 axes"),
        ({"train_images": np.zeros((0, 2, 3, 1), np.uint8)}, "none of length 0"),
        ({"test_images": np.zeros((2, 2, 3, 1))}, "test_images must be .* uint8, got float64"),
        ({"test_images": [[[[1]]]]}, "uint8, got list"),
        ({"test_images": np.zeros((2, 3, 2, 1), np.uint8)}, "must have one size"),
        ({"test_images": np.zeros((2, 2, 3, 3), np.uint8)}, "must have one size"),
        ({"train_images": np.zeros((4, 2, 3, 1), np.uint8)}, "4 images and 5 labels"),
        ({"test_labels": np.zeros((2, 1), np.int32)}, "test_labels must have 1 axis"),
        ({"test_labels": np.zeros(2, np.int64)}, "int32, got int64"),
        ({"train_labels": np.array([0, 1, 2, 3, 1], np.int32)}, "0..2 .* got 3 at index 3"),
        ({"test_labels": np.array([0, -1], np.int32)}, "got -1 at index 1"),
    ],
)
def test_a_broken_rule_is_named(changes, reason):
    with pytest.raises(DataError, match=reason) as caught:
        a_set(**changes)
    assert str(caught.value).startswith("shapes: ")
    assert "\n" not in str(caught.value)


def test_first_takes_the_first_of_both_parts():
    first = a_set().first(1)
    assert first.train_images.ravel().tolist() == [0, 1, 2, 3, 4, 5]
    assert first.train_labels.tolist() == [0]
    assert first.test_images.shape == (1, 2, 3, 1)
    assert first.test_labels.tolist() == [2]
    assert first.class_names == ("round", "square", "long")


def numbered_set(sizes, seed=0):
    """Class k has ``sizes[k]`` images in any order; the first pixel of an image is its place."""
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    images = np.zeros((len(labels), 1, 2, 1), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = np.arange(len(labels)) % 256, labels
    labels = labels.astype(np.int32)
    names = tuple(f"class {number}" for number in range(len(sizes)))
    return DataSet("drawn", images, labels, images[::-1], labels[::-1], names)


@pytest.mark.parametrize("sizes", [(40, 40, 40), (200, 7, 1), (3, 5, 90, 2), (1, 1, 1)])
@pytest.mark.parametrize("n", [1, 4, 10, 33, 97])
def test_limited_draws_within_classes(sizes, n):
    data = numbered_set(sizes)
    limited = data.limited(n, seed=3)
    for images, labels in (
        (limited.train_images, limited.train_labels),
        (limited.test_images, limited.test_labels),
    ):
        assert len(images) == len(labels) == min(n, sum(sizes))
        assert images[:, 0, 1, 0].tolist() == labels.tolist()
        held = np.bincount(labels, minlength=len(sizes))
        if n >= len(sizes):
            assert held.min() >= 1
        least = np.minimum(sizes, 1) if n >= len(sizes) else np.zeros(len(sizes))
        fair = least + (np.array(sizes) - least) * (len(labels) - least.sum()) / max(
            1, (np.array(sizes) - least).sum()
        )
        assert (np.abs(held - fair) < 1).all()


def test_limited_keeps_the_order_and_draws_by_the_seed():
    data = numbered_set((60, 60))
    places = [data.limited(30, seed).train_images[:, 0, 0, 0].tolist() for seed in (0, 0, 1)]
    assert places[0] == sorted(places[0])
    assert len(set(places[0])) == 30
    assert places[0] == places[1] != places[2]


def test_limited_keeps_a_part_that_has_fewer():
    limited = a_set().limited(4)
    assert sorted(limited.train_labels.tolist()) in ([0, 0, 1, 2], [0, 1, 1, 2])
    assert limited.test_labels.tolist() == [2, 0]


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "2", None])
@pytest.mark.parametrize("method", [DataSet.limited, DataSet.first])
def test_limited_refuses(method, n):
    with pytest.raises(DataError, match="at least 1, got"):
        method(a_set(), n)


def test_class_names_differ():
    with pytest.raises(DataError, match="class names must differ, got 'round' for two classes"):
        a_set(class_names=("round", "square", "round"))


def random_labels(count, classes=10, seed=3):
    return np.random.default_rng(seed).integers(0, classes, count).astype(np.int32)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 1 / 3, 0.5, 0.9, 0.999])
def test_split_holds_every_index_once_in_order(fraction):
    labels = random_labels(997)
    train, validation = split_validation(labels, fraction, 0)
    assert train.dtype == validation.dtype == np.int64
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(997))
    assert train.tolist() == sorted(train.tolist())
    assert validation.tolist() == sorted(validation.tolist())


@pytest.mark.parametrize("fraction", [0.1, 0.25, 1 / 3])
def test_split_is_stratified_and_as_large_as_asked(fraction):
    labels = np.repeat(np.arange(4), [10, 200, 37, 753])
    _, validation = split_validation(labels, fraction, 1)
    assert len(validation) == round(1000 * fraction)
    held = np.bincount(labels[validation], minlength=4)
    for count, size in zip(held, [10, 200, 37, 753], strict=True):
        assert abs(count - fraction * size) <= 1


def test_split_is_drawn_and_not_the_first_of_each_class():
    labels = np.zeros(1000, dtype=np.int32)
    _, validation = split_validation(labels, 0.5, 0)
    assert 400 < validation.mean() < 600


def test_split_repeats_with_its_seed_only():
    labels = random_labels(500)
    first = split_validation(labels, 0.2, 7)
    again = split_validation(labels.astype(np.uint8).tolist(), 0.2, 7)
    other = split_validation(labels, 0.2, 8)
    assert first[1].tolist() == again[1].tolist()
    assert first[1].tolist() != other[1].tolist()


def test_split_of_fraction_zero_has_no_validation_part():
    train, validation = split_validation([3, 1, 3], 0, 0)
    assert train.tolist() == [0, 1, 2]
    assert validation.shape == (0,)
    assert validation.dtype == np.int64


@pytest.mark.parametrize("labels", [[4], [0, 1], [0, 0], [0, 1, 2, 3], [0, 0, 0, 9]])
@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.99])
def test_split_of_a_tiny_set_leaves_every_class_a_training_image(labels, fraction):
    train, _ = split_validation(labels, fraction, 0)
    assert {labels[index] for index in train} == set(labels)


def test_split_of_rare_classes_still_fills_the_validation_part():
    # Each class alone would round to none: 0.1 of 3 images.
    labels = np.repeat(np.arange(10), 3)
    _, validation = split_validation(labels, 0.1, 0)
    assert len(validation) == 3
    assert len(set(labels[validation])) == 3


@pytest.mark.parametrize(
    "fraction", [-0.1, 1, 1.0, 1.5, float("nan"), float("inf"), -float("inf"), True, "0.1", None]
)
def test_split_refuses_a_fraction(fraction):
    with pytest.raises(DataError, match="the fraction must be"):
        split_validation([0, 1], fraction, 0)


@pytest.mark.parametrize("seed", [-1, 1.0, True, None])
def test_split_refuses_a_seed(seed):
    with pytest.raises(DataError, match="the seed must be"):
        split_validation([0, 1], 0.5, seed)


@pytest.mark.parametrize("labels", [[], [0.0, 1.0], [[0], [1]], 3])
def test_split_refuses_labels(labels):
    with pytest.raises(DataError, match="labels must be a non-empty integer array"):
        split_validation(labels, 0.5, 0)
