"""How batches are cut, summed and met over: against plain loops."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import arraycnn as cnn
from arraycnn.distributed.meeting import AbandonedError, Meeting
from arraycnn.distributed.parts import Cut, Part
from arraycnn.distributed.sums import HostSums, OrderedSums, packed, unpacked
from arraycnn.distributed.threads import on_threads
from arraycnn.distributed.turns import Turn
from arraycnn.layers.augmentation.mixing import PARTS
from arraycnn.ops.whole_batch import micro_batches

COUNTS = st.integers(1, 40)


@given(images=COUNTS, block=st.integers(1, 9), owners=st.integers(1, 6))
def test_every_image_is_in_one_part_and_blocks_are_whole(images, block, owners):
    cut = Cut(block, owners)
    parts = [cut.part(images, owner) for owner in range(owners)]
    there = [part for part in parts if part.present]
    seen = [place for part in there for place in range(part.first, part.last)]
    assert seen == list(range(images))
    for part in there:
        assert part.first % block == 0
        assert part.last % block == 0 or part.last == images
    sizes = [-(-part.size // block) for part in parts if part.present]
    assert cut.counts(images) == [-(-p.size // block) if p.present else 0 for p in parts]
    assert len(there) < owners or max(sizes) - min(sizes) <= 1
    for part in parts:
        assert part.images == images
        assert len(part.rows) == part.size >= 1  # absent ones compute something
        assert np.array_equal(part.rows, np.arange(part.first, part.last))


@given(
    images=COUNTS,
    block=st.integers(1, 5),
    owners=st.integers(1, 4),
    accumulate=st.integers(2, 5),
)
def test_each_part_of_a_batch_is_cut_by_itself(images, block, owners, accumulate):
    cut = Cut(block, owners, accumulate)
    parts = [cut.part(images, owner) for owner in range(owners)]
    for number, where in enumerate(micro_batches(images, accumulate)):
        own = [part.of_micro_batches[number] for part in parts]
        seen = [place for one in own if one.present for place in one.rows]
        assert seen == list(range(where.start, where.stop))
        assert {one.images for one in own} == {len(seen)}
        assert all(set(one.rows) <= set(seen) for one in own)  # absent ones, too
        plain = Cut(block, owners)
        for owner, one in enumerate(own):
            alone = plain.part(len(seen), owner)
            assert np.array_equal(one.rows - where.start, alone.rows)
            assert one.present == alone.present
    for part in parts:
        assert part.images == images
        assert part.rows.tolist() == [row for one in part.of_micro_batches for row in one.rows]
        assert part.size == len(part.rows)
        assert part.present == any(one.present for one in part.of_micro_batches)


@given(images=st.integers(1, 30), block=st.integers(1, 7), seed=st.integers(0, 99))
def test_partners_are_of_the_same_block(images, block, seed):
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(images, 2, 2, 1))
    words = rng.integers(-(2**31), 2**31, (images, 5)).astype(np.int32)
    _, (mixture, kept) = cnn.Mixup().mixed(x, words, block)
    for image, partner in enumerate(mixture.partner):
        assert partner // block == image // block
        first = image // block * block
        alone = min(first + block, images) - first == 1
        assert (partner == image) == alone
        assert not alone or kept[image, 0, 0] == PARTS


def test_a_block_as_large_as_the_batch_is_no_block():
    rng = np.random.default_rng(1)
    x, words = rng.uniform(size=(9, 2, 2, 1)), rng.integers(0, 2**31, (9, 5)).astype(np.int32)
    plain, blocked = cnn.Mixup().augmented(x, words), cnn.Mixup().mixed(x, words, 9)
    assert np.array_equal(plain[0], blocked[0])


def test_numbers_are_packed_and_unpacked():
    arrays = [np.arange(6.0).reshape(2, 3), np.array(7.0), np.zeros((0, 2)), np.ones((3, 1))]
    together = packed(arrays)
    assert together.shape == (10,)
    for array, found in zip(arrays, unpacked(together, [a.shape for a in arrays]), strict=True):
        assert found.shape == array.shape
        assert np.array_equal(found, array)


def test_sums_leave_out_who_is_absent():
    def work(rank):
        sums = HostSums(rank)
        part = Part(0, 1, 3, present=rank.rank != 1)
        number = np.array(np.nan if rank.rank == 1 else float(rank.rank))
        given = [np.full((2,), 10.0**rank.rank), number]
        sums.begin(1, given, part)
        found = sums.total(given, part), sums.end(1)
        return found, sums.traffic.messages, sums.traffic.bytes

    for found, messages, count in on_threads(3, work):
        for first, second in found:
            assert first.tolist() == [101.0, 101.0]
            assert second == 2.0
        assert (messages, count) == (2, 48)


def test_ordered_sums_add_block_after_block():
    rows = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    wanted = rows[0]
    for row in rows[1:]:
        wanted = wanted + row  # in order, in float32

    def work(rank):
        threads = [2, 2, 1]
        sums = OrderedSums(rank, Cut(1, 5), threads)
        found = [None] * threads[rank.rank]

        def compute(place):
            sums.at(place)
            number = sum(threads[: rank.rank]) + place
            sums.begin(3, [rows[number]], Part(number, number + 1, 5))
            (found[place],) = sums.end(3)

        workers = [threading.Thread(target=compute, args=(p,)) for p in range(len(found))]
        for one in workers:
            one.start()
        for one in workers:
            one.join()
        return found

    for of_rank in on_threads(3, work):
        for found in of_rank:
            assert np.array_equal(found, wanted)


def test_nobody_waits_for_a_thread_that_has_failed():
    def work(rank):
        if rank.rank == 1:
            raise KeyError("lost")
        rank.exchange(1)

    with pytest.raises(KeyError, match="lost"):
        on_threads(3, work)
    meeting = Meeting(2)
    meeting.abandon()
    with pytest.raises(AbandonedError):
        meeting.meet(0, None, list)


def test_things_done_in_turn_are_put_in_order():
    def work(rank):
        turn = Turn(rank)
        own = [(number, number * number) for number in turn.of(range(7))]
        return len(own), turn.together(own)

    counts, found = zip(*on_threads(3, work), strict=True)
    assert counts == (3, 2, 2)
    assert all(one == [0, 1, 4, 9, 16, 25, 36] for one in found)
