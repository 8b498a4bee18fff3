"""Each rank reads what it computes, and little more: counted, of every kind of images."""

import logging
import re
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.cli.ranks import Ranks
from arraycnn.data import DataSet
from arraycnn.data.image_source import MappedImages
from arraycnn.data.picture_folder import PictureSource
from arraycnn.distributed.parts import Cut
from arraycnn.distributed.threads import OnThreads, on_threads
from arraycnn.distributed.turns import Turn
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.training.batches import of_turn
from optional import needs
from ranks import IMAGES, LABELS, PLAIN, network, numbers, on_ranks, trained


class Stored(cnn.ImageSource):
    shape, dtype = IMAGES.shape, IMAGES.dtype

    def read(self, indices):
        return IMAGES[indices]


def mapped(folder):
    np.save(folder / "images.npy", IMAGES)
    return lambda: MappedImages(np.load(folder / "images.npy", mmap_mode="r"))


def pictures(folder):
    from PIL import Image

    paths = [folder / f"{number}.png" for number in range(len(IMAGES))]
    for path, image in zip(paths, IMAGES, strict=True):
        Image.fromarray(image[..., 0]).save(path)
    return lambda: PictureSource(paths, (8, 8, 1))


def counted(monkeypatch, kind):
    """The numbers of images of each call of ``read``, by source."""
    read, seen = kind.read, defaultdict(list)

    def counting(source, indices):
        seen[source].append(len(indices))
        return read(source, indices)

    monkeypatch.setattr(kind, "read", counting)
    return seen


@pytest.mark.parametrize(
    ("kind", "opened"),
    [
        (Stored, lambda folder: Stored),
        (MappedImages, mapped),
        pytest.param(PictureSource, pictures, marks=needs("PIL")),
    ],
)
def test_a_rank_reads_its_share_of_each_batch(kind, opened, tmp_path, monkeypatch):
    opening, seen = opened(tmp_path), counted(monkeypatch, kind)
    sources = [opening(), opening()]
    found = on_threads(2, lambda rank: trained(rank, images=sources[rank.rank])[0])
    one = trained(None)[0]
    np.testing.assert_allclose(numbers(found[1]), numbers(one), rtol=0, atol=1e-10)
    for rank, source in enumerate(sources):
        share = [Cut(4, 2).part(images, rank).size for images in (20, 20, 5)]
        before, steps = seen[source][:-6], seen[source][-6:]
        assert steps == share * 2
        # Rank 0 looks at some to tell what images these are; all at up to 64, which are compared.
        assert rank == 0 or before == [45]


def divided(seen=None):
    """A function for `Batches`, that notes which images it has made."""

    def begin(rows):
        for first in range(0, 45, 15):
            chosen = np.arange(first, first + 15)[rows]
            if seen is not None:
                seen.append(chosen)
            yield IMAGES[chosen], LABELS[chosen]

    return begin


def whole_batches():
    return [(IMAGES[i : i + 15], LABELS[i : i + 15]) for i in range(0, 45, 15)]


@pytest.mark.parametrize("more", [{}, {"deterministic": True}, {"accumulate": 2}])
def test_a_rank_reads_its_part_of_batches_that_can_be_asked_for_it(more, caplog):
    seen = [[], [], []]
    streams = [cnn.Batches(divided(one), 3, 15) for one in seen]
    settings = {"labels": None, "block": 2, **more}
    found = on_threads(3, lambda rank: trained(rank, images=streams[rank.rank], **settings)[0])
    alone = {"accumulate": more.get("accumulate", 1)}
    one = trained(None, images=whole_batches(), labels=None, **alone)[0]
    for of_rank in found:
        np.testing.assert_allclose(numbers(of_rank), numbers(one), rtol=0, atol=1e-10)
    firsts, steps = zip(*((of[0], of[1:]) for of in seen), strict=True)
    assert all(np.array_equal(first, np.arange(15)) for first in firsts)  # it shows what they are
    of_steps = [np.concatenate(of) for of in zip(*steps, strict=True)]
    assert [sorted(of) for of in of_steps] == [
        list(range(first, first + 15)) for first in (0, 15, 30, 0, 15, 30)
    ]
    assert not [said for said in caplog.messages if "iterates" in said]


def test_without_ranks_all_of_them_are_read():
    seen = []
    one = trained(None, images=cnn.Batches(divided(seen), 3, 15), labels=None)[0]
    other = trained(None, images=whole_batches(), labels=None)[0]
    assert np.array_equal(numbers(one), numbers(other))
    assert [len(chosen) for chosen in seen] == [15] * 7


def test_it_is_said_where_every_rank_iterates_all(caplog):
    line = "distributed: each of 2 ranks iterates all batches and computes its share of each: "
    line += "Batches(start, steps, batch_size) would let it read that share alone"
    with caplog.at_level(logging.WARNING, "arraycnn"):
        plain = cnn.Batches(whole_batches, steps=3)
        two = on_ranks(2, images=plain, labels=None, epochs=1)
        assert caplog.messages.count(line) == 1
        caplog.clear()
        listed = on_ranks(2, images=whole_batches(), labels=None, epochs=1)
        assert line not in caplog.messages
    one = trained(None, images=whole_batches(), labels=None, epochs=1)[0]
    for of_rank in (two[1][0], listed[1][0]):
        np.testing.assert_allclose(numbers(of_rank), numbers(one), rtol=0, atol=1e-10)


def test_a_batch_is_checked_by_the_rank_that_measures_it():
    def work(rank):
        checked = []
        own = of_turn(range(5), lambda batch: checked.append(batch) or (batch, -batch), Turn(rank))
        return list(own), checked

    assert on_threads(2, work) == [
        ([(0, 0, 0), (2, 2, -2), (4, 4, -4)], [0, 2, 4]),
        ([(1, 1, -1), (3, 3, -3)], [0, 1, 3]),  # the first shows the scale of all
    ]


def test_a_rank_reads_its_part_where_batches_are_measured():
    model = trained(None, epochs=1)[0]
    wanted, seen = model.evaluate(IMAGES[:37], LABELS[:37]), [[], []]

    def begin(of_rank, rows):
        for first in (0, 15, 30):  # the last has seven images, all of rank 0's rows
            chosen = np.arange(first, min(first + 15, 37))
            chosen = chosen[rows[rows < len(chosen)]]
            of_rank.append(len(chosen))
            yield IMAGES[chosen], LABELS[chosen]

    def work(rank):
        own = trained(None, epochs=1)[0]
        stream = cnn.Batches(lambda rows: begin(seen[rank.rank], rows), 3, 15)
        return own.evaluate(stream, distributed=OnThreads(joined=rank))

    for found in on_threads(2, work):
        assert found.accuracy == wanted.accuracy
        assert found.loss == pytest.approx(wanted.loss)
    assert seen == [[15, 8, 8, 7], [15, 7, 7, 0]]


def untrained(of=None):
    return cnn.Model(of or network(), (8, 8), backend=PLAIN, dtype="float64")


def measured(ranks, begin, batch_size=15):
    """What `evaluate` gives on each of so many ranks."""

    def work(rank):
        own = untrained()
        return own.evaluate(cnn.Batches(begin, 3, batch_size), distributed=OnThreads(joined=rank))

    return on_threads(ranks, work)


def test_batches_of_fewer_images_than_ranks_are_measured_in_turn():
    def begin(rows):
        for first in range(0, 45, 2):
            chosen = np.arange(first, min(first + 2, 45))
            chosen = chosen[rows[rows < len(chosen)]]
            yield np.stack([IMAGES[one] for one in chosen]), LABELS[chosen]  # not of nothing

    wanted = untrained().evaluate(IMAGES, LABELS)
    for found in measured(3, begin, 2):
        assert found.accuracy == wanted.accuracy
        assert found.loss == pytest.approx(wanted.loss)


@pytest.mark.parametrize("ranks", [1, 2, 16])
@pytest.mark.parametrize(
    ("begin", "error", "said"),
    [
        (
            lambda rows: [(IMAGES[:16], LABELS[:16])],
            InvalidValueError,
            "15 were asked for .* got 16",
        ),
        (lambda rows: [], InvalidValueError, "got no batch"),
        (lambda rows: [3], InvalidTypeError, r"must be \(images, labels\), got int"),
        (lambda rows: [(IMAGES[:3], None)], InvalidTypeError, "labels: "),
        (lambda rows: [(IMAGES[rows], [])], InvalidValueError, "labels: must be as many as images"),
    ],
)
def test_what_cannot_be_measured_is_refused_on_any_number_of_ranks(ranks, begin, error, said):
    with pytest.raises(error, match=said):
        measured(ranks, begin)


@pytest.mark.parametrize("later", [7, (IMAGES[:3], []), (IMAGES[:3], None)])
def test_so_is_a_later_batch(later):
    begin = lambda rows: [(IMAGES[rows], LABELS[rows]), later]  # noqa: E731
    with pytest.raises((InvalidTypeError, InvalidValueError), match=r"\(images, labels\)|labels: "):
        measured(2, begin)


def test_a_function_that_does_not_look_at_its_rows_is_refused():
    with pytest.raises(
        InvalidValueError, match="8 were asked for as rows, got 15; take those rows"
    ):
        measured(2, lambda rows: whole_batches())


def test_the_example_of_the_docs_runs():
    docs = Path(__file__).parents[2] / "docs" / "DISTRIBUTED.md"
    blocks = re.findall(r"^```py\n(.*?)^```$", docs.read_text(), flags=re.DOTALL | re.MULTILINE)
    (example,) = [block for block in blocks if "def begin" in block]
    of = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(3))
    order = np.random.default_rng(1).permutation(150)  # two batches, and some that fill none

    def work(rank):
        model = untrained(of)
        known = {"cnn": cnn, "np": np, "model": model, "order": order, "paths": np.arange(150)}
        known |= {"read": lambda paths: IMAGES[paths % 45], "labels": np.resize(LABELS, 150)}
        exec(example, known | {"MPI": lambda: OnThreads(joined=rank)})
        return numbers(model)

    one = untrained(of)
    chosen = order[:128] % 45
    batches = [(IMAGES[some], LABELS[some]) for some in np.split(chosen, 2)]
    one.fit(batches)
    for found in on_threads(3, work):
        np.testing.assert_allclose(found, numbers(one), rtol=0, atol=1e-10)


@pytest.mark.parametrize("sizes", [(14, 15), (16, 15), (15, 14), (15, 16)])
def test_batches_of_another_size_than_was_said_are_refused(sizes):
    batches = cnn.Batches(lambda rows: [(IMAGES[:n], LABELS[:n]) for n in sizes], 3, 15)
    with pytest.raises(InvalidValueError, match=r"15 were asked for as rows, got 1[46]; take"):
        trained(None, images=batches, labels=None)


class Unread(Stored):
    def read(self, indices):
        raise AssertionError("this rank reads all of them")


def test_a_set_that_is_read_batch_by_batch_is_digested_by_one_rank():
    def digest(rank, images):
        data = DataSet(
            "some", images, LABELS.astype(np.int32), IMAGES, LABELS.astype(np.int32), "abc"
        )
        return Ranks(SimpleNamespace(communicator=rank)).digest(data, with_validation=False)

    read = on_threads(2, lambda rank: digest(rank, Unread() if rank.rank else Stored()))
    held = on_threads(2, lambda rank: digest(rank, IMAGES if rank.rank else 255 - IMAGES))
    assert read == [held[1]] * 2
    assert held[0] != held[1]
