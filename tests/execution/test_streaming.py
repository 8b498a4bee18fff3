"""Sets that stay on the disk and batches as they come: the same training as from memory."""

import subprocess
import sys

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.data import ImageSource, load_dataset
from arraycnn.errors import InvalidTypeError, InvalidValueError, NonFiniteError
from arraycnn.training.batches import Batches

NETWORK = cnn.Sequential(
    cnn.Rescale(),
    cnn.Conv2d(4, 3),
    cnn.ReLU(),
    cnn.MaxPool2d(2),
    cnn.Flatten(),
    cnn.Dropout(0.25),
    cnn.Dense(10),
)
DIGITS = load_dataset("digits").limited(100)
IMAGES, LABELS = DIGITS.train_images, DIGITS.train_labels
BACKENDS = ["numpy", "torch", "jax", "array-api-strict"]


class Listed(ImageSource):
    """A storage of a user."""

    def __init__(self, images):
        self.images, self.shape, self.dtype = images, images.shape, images.dtype
        self.most = 0

    def read(self, indices):
        self.most = max(self.most, len(indices))
        return np.stack([self.images[index] for index in indices])


def model(backend="numpy", **options):
    if backend in ("torch", "jax"):
        pytest.importorskip(backend)
    return cnn.Model(NETWORK, (8, 8, 1), backend=backend, seed=5, **options)


def same(one, other):
    for name, value in one.parameters.items():
        np.testing.assert_array_equal(value, other.parameters[name], err_msg=name)


@pytest.fixture
def mapped(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    return np.load(tmp_path / "images.npy", mmap_mode="r")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_source_trains_to_the_bits_of_an_array(backend, mapped):
    expected = model(backend)
    options = {
        "epochs": 2 if backend == "numpy" else 1,
        "batch_size": 25,
        "optimizer": cnn.Adam(0.01),
    }
    held_out = (DIGITS.test_images, DIGITS.test_labels)
    history = expected.fit(IMAGES, LABELS, validation=held_out, **options)
    for images in (mapped, Listed(IMAGES)) if backend == "numpy" else (mapped,):
        found = model(backend)
        again = found.fit(images, LABELS, validation=(Listed(held_out[0]), held_out[1]), **options)
        same(found, expected)
        assert again[-1].validation_loss == history[-1].validation_loss
        np.testing.assert_array_equal(again.step_losses, history.step_losses)
        assert found.evaluate(images, LABELS) == expected.evaluate(IMAGES, LABELS)
        np.testing.assert_array_equal(found.predict(images), expected.predict(IMAGES))


def test_only_a_batch_is_read_at_a_time():
    source = Listed(IMAGES)
    trained = model()
    trained.fit(source, LABELS, batch_size=16)
    assert source.most <= 16
    trained.evaluate(source, LABELS)
    assert source.most <= 128


def test_floating_images_and_float64(mapped):
    network = cnn.Sequential(*NETWORK.layers[1:])
    made = [cnn.Model(network, (8, 8, 1), dtype="float64") for _ in range(2)]
    floats = IMAGES.astype(np.float32) / 255
    made[0].fit(floats, LABELS)
    made[1].fit(Listed(floats), LABELS)
    same(*made)


def test_sources_that_do_not_fit(mapped):
    with pytest.raises(InvalidValueError, match=r"must be \(N, 8, 8, 1\).*got shape \(100, 7, 8"):
        model().fit(Listed(IMAGES[:, 1:]), LABELS)
    with pytest.raises(InvalidValueError, match="0 to 255, got int64 from 1 to 256"):
        model().fit(Listed(IMAGES.astype(int) + 1), LABELS)
    with pytest.raises(InvalidValueError, match="as many as images"):
        model().fit(Listed(IMAGES), LABELS[:-1])


# --- iterables of batches


def cut(size, images=IMAGES, labels=LABELS):
    starts = range(0, len(labels), size)
    return [(images[at : at + size], labels[at : at + size]) for at in starts]


class Passes:
    """An iterable without a length that counts how often it began."""

    def __init__(self, batches):
        self.batches, self.begun = batches, 0

    def __iter__(self):
        self.begun += 1
        return iter(self.batches)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_kinds_of_iterables_train_alike(backend):
    kinds = [cut(20), Passes(cut(20)), tuple(cut(20)), Batches(lambda: iter(cut(20)), steps=5)]
    kinds = kinds if backend == "numpy" else kinds[:2]
    made = [model(backend) for _ in kinds]
    for one, batches in zip(made, kinds, strict=True):
        history = one.fit(batches, epochs=2)
        assert len(history.step_losses) == one.steps_done == 10
        same(one, made[0])
    assert history[-1].train_loss < history[0].train_loss


def test_batches_are_seen_in_their_order_and_reach_the_network_unchanged():
    """One step on a batch equals one step on an array of just these images."""
    network = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(10))
    streamed = cnn.Model(network, (8, 8, 1), seed=1)
    stepped = cnn.Model(network, (8, 8, 1), seed=1)
    streamed.fit(cut(25), epochs=2, optimizer=cnn.SGD(0.1))
    for _ in range(2):
        for images, labels in cut(25):
            stepped.fit(images, labels, batch_size=25, optimizer=cnn.SGD(0.1))
    for name, value in streamed.parameters.items():  # sums in another order of the images
        np.testing.assert_allclose(value, stepped.parameters[name], rtol=1e-5, atol=1e-6)


def test_a_pytorch_data_loader(torch):
    from torch.utils.data import DataLoader, TensorDataset

    tensors = TensorDataset(torch.asarray(IMAGES.copy()), torch.asarray(LABELS.copy()))
    trained = model()
    before = trained.evaluate(IMAGES, LABELS).loss
    trained.fit(DataLoader(tensors, batch_size=20, shuffle=True), epochs=5)
    assert trained.evaluate(IMAGES, LABELS).loss < before
    assert trained.evaluate(DataLoader(tensors, batch_size=33)).accuracy == pytest.approx(
        trained.evaluate(IMAGES, LABELS).accuracy
    )


def test_batches_of_other_sizes_are_cut_and_joined():
    uneven = [(IMAGES[a:b], LABELS[a:b]) for a, b in ((0, 20), (20, 25), (25, 75), (75, 100))]
    found, expected = model(), model()
    found.fit(Batches(lambda: uneven, steps=5), epochs=2)
    expected.fit(cut(20), epochs=2)
    same(found, expected)


def test_a_short_pass_goes_on_with_the_next():
    seen = Passes(cut(40))  # 40, 40, 20
    found, expected = model(), model()
    found.fit(seen)
    joined = np.concatenate([IMAGES, IMAGES[:20]]), np.concatenate([LABELS, LABELS[:20]])
    expected.fit(cut(40, *joined))
    same(found, expected)


def test_the_batches_of_an_endless_generator():
    def endless():
        while True:
            yield from cut(10)

    assert len(model().fit(Batches(endless, steps=7), epochs=2).step_losses) == 14


def test_a_loss_of_nan_goes_back_to_the_batches_before():
    trained = model()
    with pytest.raises(NonFiniteError):
        trained.fit(cut(10), epochs=50, optimizer=cnn.SGD(1e30))
    assert all(np.isfinite(value).all() for value in trained.parameters.values())


@pytest.mark.parametrize(
    ("batches", "error", "said"),
    [
        (IMAGES, InvalidTypeError, "labels: are missing"),
        (5, InvalidTypeError, "labels: are missing"),
        (iter(cut(10)), InvalidTypeError, "got an iterator"),
        ([], InvalidValueError, "at least one batch"),
        ([IMAGES], InvalidTypeError, r"every batch must be \(images, labels\)"),
        ([(IMAGES, LABELS[:3])], InvalidValueError, "as many as images"),
        ([(IMAGES, LABELS + 9)], InvalidValueError, "labels: must be 0 to 9"),
        ([(IMAGES[:, 1:], LABELS)], InvalidValueError, "images: must be"),
    ],
)
def test_iterables_that_are_refused(batches, error, said):
    with pytest.raises(error, match=said):
        model().fit(batches)
    if not hasattr(batches, "__next__"):  # for evaluate, one pass is enough
        with pytest.raises(error):
            model().evaluate(batches)


def test_an_iterable_that_dries_up_is_named():
    passes = [cut(10), cut(10), []]
    for _ in range(2):  # in a later pass, then in the first
        with pytest.raises(InvalidValueError, match="at least one batch in every pass"):
            model().fit(Batches(lambda: passes.pop(0) if passes else [], steps=20))
    with pytest.raises(InvalidValueError, match="evaluate: must have at least one image"):
        model().evaluate([])


MEMORY = """
import resource, struct, sys
import numpy as np
import arraycnn as cnn
from arraycnn.data import load_dataset

folder, count, side = sys.argv[1], 24_000, 64
head = struct.pack(">HBB4I", 0, 8, 4, count, side, side, 3)
with open(f"{folder}/a-images-idx4-ubyte", "wb") as file:
    file.write(head)
    file.truncate(len(head) + count * side * side * 3)
with open(f"{folder}/a-labels-idx1-ubyte", "wb") as file:
    file.write(struct.pack(">HBBI", 0, 8, 1, count) + bytes(range(10)) * (count // 10))
network = cnn.Sequential(cnn.Rescale(), cnn.GlobalAvgPool2d(), cnn.Dense(10))
model = cnn.Model(network, (side, side, 3), backend=cnn.NumPy(fast=False))
small = np.zeros((256, side, side, 3), np.uint8)
model.fit(small, np.arange(256) % 10, batch_size=256)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = load_dataset(folder)
model.fit(data.train_images, data.train_labels, batch_size=256)
model.evaluate(data.test_images, data.test_labels)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_memory_stays_flat_with_a_set_of_many_megabytes(tmp_path):
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 120  # MiB; the set has 281


class Careless(ImageSource):
    """A user's source, whose answers are changed by ``change``."""

    def __init__(self, images, change):
        self.shape, self.dtype = images.shape, images.dtype
        self._images, self._change = images, change

    def read(self, indices):
        return self._change(self._images[indices])


@pytest.mark.parametrize("backend", ["numpy", "array-api-strict"])
@pytest.mark.parametrize("use", ["fit", "evaluate", "predict"])
@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[:-1],
        lambda rows: np.concatenate([rows, rows[:1]]),
        lambda rows: rows.astype("float32") / 255,
        lambda rows: rows.transpose(0, 3, 1, 2),
        lambda rows: rows.tolist(),
        lambda rows: None,
    ],
    ids=["one too few", "one too many", "floating", "channels first", "a list", "nothing"],
)
def test_a_source_that_reads_something_else_is_refused(backend, use, change):
    images = np.random.default_rng(3).integers(0, 256, (9, 6, 5, 1)).astype(np.uint8)
    network = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(3))
    model = cnn.Model(network, (6, 5), backend=backend)
    labels = () if use == "predict" else (np.arange(9) % 3,)
    with pytest.raises(InvalidValueError, match=r"images\.read: must give a NumPy array of uint8"):
        getattr(model, use)(Careless(images, change), *labels)
