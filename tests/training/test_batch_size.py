"""Outside of training, too, no more images are held than a batch takes, and nothing else changes."""

import json
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from arraycnn import Model, NumPy
from arraycnn.data import picture_folder
from arraycnn.data.image_source import ImageSource
from arraycnn.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU, Rescale, Sequential
from arraycnn.report import examine
from arraycnn.training.batch_size import batches, images_at_once, images_to_read, same_images

SIZES = [(28, 28, 1), (32, 32, 3), (105, 105, 3), (224, 224, 3), (512, 512, 3), (4000, 3000, 3)]


class Drawn(ImageSource):
    """Images that are drawn when they are read, by their number; knows how many were out at once."""

    def __init__(self, count, shape, dtype=np.uint8):
        self.shape, self.dtype = (count, *shape), np.dtype(dtype)
        self.most = 0

    def read(self, indices):
        self.most = max(self.most, len(indices))
        images = np.empty((len(indices), *self.shape[1:]), self.dtype)
        ramp = np.arange(int(np.prod(self.shape[1:])), dtype=np.uint32)
        for place, number in enumerate(indices):
            pixels = (ramp * np.uint32(2 * number + 77) >> 5).astype(np.uint8)
            pixels = pixels.reshape(self.shape[1:])
            images[place] = pixels if self.dtype == np.uint8 else pixels / np.float32(255)
        return images


def network(classes=3):
    return Sequential(
        Rescale(), MaxPool2d(4), Conv2d(4, 3), ReLU(), MaxPool2d(8), Flatten(), Dense(classes)
    )


@pytest.mark.parametrize("shape", SIZES)
def test_a_batch_is_bounded_by_its_pixels(shape):
    pixels = int(np.prod(shape))
    size, read = images_at_once(shape), images_to_read(shape)
    assert 1 <= size <= 128
    assert size == 1 or size * pixels <= 2**22
    assert read % size == 0
    assert read == size or read * pixels <= 2**26
    assert pixels > 2**15 or size == read == 128  # what is small is taken as ever


@pytest.mark.parametrize("count", [1, 127, 128, 129, 300])
@pytest.mark.parametrize("shape", [(3, 5, 1), (105, 110, 3), (600, 800, 3)])
@pytest.mark.parametrize("of_a_source", [False, True])
def test_batches_are_all_images_once_in_order(count, shape, of_a_source):
    numbers = np.arange(count, dtype=np.uint16)[:, None, None, None]
    numbers = np.broadcast_to(numbers, (count, *shape))

    class Numbers(ImageSource):
        def read(self, indices):
            return np.broadcast_to(numbers[indices, :1, :1], (len(indices), *shape))

    images = numbers
    if of_a_source:
        images = Numbers()
        images.shape, images.dtype = numbers.shape, numbers.dtype
    done, seen = [], []
    for where, batch in batches(images, shape, done.append):
        assert len(batch) == where.stop - where.start <= images_at_once(shape)
        seen += batch[:, 0, 0, 0].tolist()
        assert seen == list(range(where.stop))
    assert len(seen) == count
    assert done == sorted(done)
    assert done[-1] == count


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_source_gives_what_its_images_in_memory_give_to_the_last_bit(dtype):
    shape = (160, 192, 3)
    source = Drawn(150, shape, dtype)
    images, labels = source.read(np.arange(150)), np.arange(150) % 3
    layers = network().layers[dtype != "uint8" :]  # floating images need no Rescale
    model = Model(Sequential(*layers), shape)
    source.most = 0
    np.testing.assert_array_equal(model.predict(source), model.predict(images))
    assert model.evaluate(source, labels) == model.evaluate(images, labels)
    from_source, resident = examine(model, source, labels, 7), examine(model, images, labels, 7)
    assert source.most == images_to_read(shape) < 150
    for name in ("probabilities", "confusion", "mistakes", "examples", "saliency", "labels"):
        np.testing.assert_array_equal(getattr(from_source, name), getattr(resident, name))
    assert from_source.loss == resident.loss
    assert from_source.norms == resident.norms
    for one, other in zip(from_source.maps, resident.maps, strict=True):
        np.testing.assert_array_equal(one.output, other.output)
    for place in (0, 7, 149):
        np.testing.assert_array_equal(from_source.picture(place), images[place])
        np.testing.assert_array_equal(resident.picture(place), images[place])


def test_a_memory_mapped_set_is_examined_where_it_lies(tmp_path):
    images = Drawn(40, (64, 64, 1)).read(np.arange(40))
    np.save(tmp_path / "images.npy", images[..., 0])
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    model, labels = Model(network(), (64, 64)), np.arange(40) % 3
    found = examine(model, mapped, labels)
    assert isinstance(found.images, ImageSource)
    np.testing.assert_array_equal(found.probabilities, examine(model, images, labels).probabilities)


def test_memory_does_not_grow_with_the_set():
    shape = (256, 256, 3)
    model = Model(network(), shape, NumPy(threads=1, fast=False))
    peaks = {}
    for count in (130, 390):
        source, labels = Drawn(count, shape), np.arange(count) % 3
        tracemalloc.start()
        try:
            model.evaluate(source, labels)
            examine(model, source, labels)
            peaks[count] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    whole = 390 * int(np.prod(shape))
    assert peaks[390] < 1.05 * peaks[130]
    assert peaks[390] < 3 * whole  # floating and with the layers' outputs it would be ten times


def test_large_images_are_evaluated_few_at_a_time():
    shape = (512, 512, 3)
    model = Model(
        Sequential(Rescale(), Conv2d(8, 3), MaxPool2d(16), Flatten(), Dense(2)),
        shape,
        NumPy(threads=1, fast=False),
    )
    images = np.broadcast_to(Drawn(1, shape).read(np.arange(1)), (128, *shape))
    tracemalloc.start()
    try:
        model.evaluate(images, np.zeros(128, np.int32))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    one = 510 * 510 * 8 * 4  # the output of the convolution
    assert peak < 20 * one


def test_same_images_looks_at_every_one():
    one, other = Drawn(200, (9, 9, 1)), Drawn(200, (9, 9, 1))
    assert same_images(one, other)
    images = one.read(np.arange(200))
    assert same_images(images, other)
    images[199, 8, 8, 0] ^= 1
    assert not same_images(images, other)
    assert not same_images(one, Drawn(201, (9, 9, 1)))
    assert not same_images(images, images[:, :, :8])


def test_evaluate_and_report_stream_a_folder_of_pictures(tmp_path, cli, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    rng = np.random.default_rng(5)
    for part, count in (("train", 6), ("test", 9)):
        for name in ("cat", "dog"):
            folder = tmp_path / "set" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (20, 24), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    arguments = ("--dataset", "set", "--network", "scratch", "--backend", "numpy", "--no-fast")
    code, _, errors = cli("train", *arguments, "--epochs", "1", "--out", "run")
    assert code == 0, errors

    def results():
        for command in (
            ("evaluate", "run/last.npz", "--dataset", "set", "--top", "1", "--output", "rows.csv"),
            ("report", "run"),
        ):
            code, out, errors = cli(*command, "--backend", "numpy", "--no-fast", "--json")
            assert code == 0, errors
            values = json.loads(out)
            yield (
                {k: v for k, v in values.items() if "second" not in k},
                (tmp_path / "rows.csv").read_text(),
            )

    for name in ("_MOST_NUMBERS", "_MOST_READ"):
        monkeypatch.setattr(f"arraycnn.training.batch_size.{name}", 4 * 20 * 24)
    resident = list(results())
    monkeypatch.setattr(picture_folder, "RESIDENT_BYTES", 0)
    taken = []
    read = picture_folder.PictureSource.read
    monkeypatch.setattr(
        picture_folder.PictureSource,
        "read",
        lambda self, indices: taken.append(len(indices)) or read(self, indices),
    )
    assert list(results()) == resident
    assert max(taken) == 4
