"""Which images each step of a training sees: every image once an epoch, whatever divides what."""

import itertools

import numpy as np
import pytest

from arraycnn.training.batch_order import BatchOrder, parts

SIZES = [(1, 1), (7, 7), (8, 4), (9, 4), (10, 3), (12, 3), (11, 4), (64, 32), (65, 32), (63, 32)]


@pytest.mark.parametrize(("images", "batch_size"), SIZES)
def test_every_epoch_has_each_image_once_in_whole_batches_and_a_short_last_one(images, batch_size):
    course = BatchOrder(images, batch_size, first_epoch=2, first_step=40, epochs=3, seed=6)
    whole, rest = divmod(images, batch_size)
    sizes = [batch_size] * whole + [rest] * (rest > 0)
    assert (course.steps, course.all_steps) == (len(sizes), 3 * len(sizes))
    orders = []
    for epoch in (2, 3, 4):
        batches = course.batches(epoch, 0, course.steps)
        assert [len(batch) for batch in batches] == sizes
        assert all(batch.dtype == np.int32 for batch in batches)
        orders.append(np.concatenate(batches))
        assert sorted(orders[-1]) == list(range(images))
        documented = np.random.default_rng([6, epoch]).permutation(images)
        np.testing.assert_array_equal(orders[-1], documented)
        for first, last in itertools.combinations(range(course.steps + 1), 2):
            part = course.batches(epoch, first, last)
            for found, wanted in zip(part, batches[first:last], strict=True):
                np.testing.assert_array_equal(found, wanted)
    if images > 6:
        assert len({tuple(order) for order in orders}) == 3
        other = BatchOrder(images, batch_size, 2, 40, 3, seed=7).batches(2, 0, course.steps)
        assert list(np.concatenate(other)) != list(orders[0])


@pytest.mark.parametrize(("count", "size"), [*SIZES, (0, 4)])
def test_parts_cover_all_and_say_how_far_they_are(count, size):
    done = []
    found = [list(range(count))[part] for part in parts(count, size, done.append)]
    assert [n for part in found for n in part] == list(range(count))
    assert all(len(part) == size for part in found[:-1])
    assert done == list(np.cumsum([len(part) for part in found]))
