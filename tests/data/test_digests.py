"""Every digest covers every byte: one changed anywhere is noticed, at the end as at the beginning.

Files and sets here are larger than any part that the code reads or hashes at a time.
"""

import gzip
import hashlib
import importlib.util
import json
import struct
from pathlib import Path

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.callbacks import Checkpoint
from arraycnn.data import DataSet
from arraycnn.data.digest import _AT_ONCE, training_digest
from arraycnn.data.image_source import MappedImages
from arraycnn.data.loading import load_dataset
from arraycnn.errors import CheckpointError, DataError
from arraycnn.export import export_safetensors, export_torch, import_safetensors
from kernel_cases import around
from optional import needs
from test_data_sources import NAMES, published
from test_data_sources import place as placed

NETWORK = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(70), cnn.ReLU(), cnn.Dense(3))
SIZE = (24, 24, 1)


# Zip archives have checksums of their own, which are no proof that ours looks everywhere.
NOTICED = "its bytes have changed|hold no digest"


def places(length):
    """Where a byte is changed: around powers of two, at random places, and at both ends."""
    powers = [2**n + beside for n in range(6, 23) for beside in (-1, 0, 1)]
    rng = np.random.default_rng(0)
    wanted = {0, 1, length - 1, length - 2, length - 65, *powers, *rng.integers(0, length, 12)}
    return sorted(int(place) for place in wanted if 0 <= place < length)


def changed(content, place):
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


@pytest.fixture(scope="module")
def model():
    return cnn.Model(NETWORK, SIZE, class_names=("a", "b", "c"), seed=4)


def test_a_model_file(model, tmp_path):
    path = tmp_path / "model.npz"
    model.save(path)
    content = path.read_bytes()
    assert len(content) > 2**17
    for place in places(len(content)):
        path.write_bytes(changed(content, place))
        with pytest.raises(CheckpointError, match=NOTICED):
            cnn.Model.load(path)
    path.write_bytes(content)
    cnn.Model.load(path)


def test_a_checkpoint(tmp_path):
    model, path = cnn.Model(NETWORK, SIZE), tmp_path / "last.npz"
    images = np.random.default_rng(0).integers(0, 256, (12, *SIZE), dtype=np.uint8)
    saver = Checkpoint(model, path)
    model.fit(images, np.arange(12) % 3, optimizer=cnn.Adam(), callbacks=[saver])
    content = path.read_bytes()
    assert len(content) > 3 * 2**17  # moments, too
    for place in places(len(content)):
        path.write_bytes(changed(content, place))
        with pytest.raises(CheckpointError, match=NOTICED):
            cnn.Model.load_training(path)


@needs("safetensors")
def test_a_safetensors_file(model, tmp_path):
    path = tmp_path / "weights.safetensors"
    export_safetensors(model, path)
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    for place in [*places(len(content)), *range(header, header + 9)]:
        path.write_bytes(changed(content, place))
        with pytest.raises(CheckpointError):
            import_safetensors(path)


def test_the_weights_beside_an_exported_module(model, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    path = tmp_path / "exported.py"
    export_torch(model, path)
    spec = importlib.util.spec_from_file_location("exported", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    weights = path.with_suffix(".safetensors")
    content = weights.read_bytes()
    module.load()
    for place in places(len(content)):
        weights.write_bytes(changed(content, place))
        with pytest.raises(ValueError, match="not the file that was written"):
            module.load()


# -- data ------------------------------------------------------------------------------------------

IMAGES = 2100
TAKEN = 2 * _AT_ONCE, 1024  # images at a time


def data_set(images, labels, validation=None, names=("a", "b", "c")):
    more = {}
    if validation is not None:
        more = {"validation_images": validation[0], "validation_labels": validation[1]}
    few = np.zeros((3, *images.shape[1:]), np.uint8), np.arange(3).astype(np.int32)
    return DataSet("set", images, labels, *few, names, **more)


@pytest.fixture
def pixels():
    rng = np.random.default_rng(0)
    labels = (np.arange(IMAGES) % 3).astype(np.int32)
    return rng.integers(0, 256, (IMAGES, 3, 2, 1), dtype=np.uint8), labels


@pytest.mark.parametrize("source", [np.asarray, MappedImages], ids=["array", "source"])
def test_the_digest_of_the_training_images(pixels, source):
    """That of a run's data: every image and label, the classes and the shape, and their order."""
    images, labels = pixels

    def digest(images, labels, **more):
        return training_digest(data_set(source(images), labels, **more), False)

    before = digest(images, labels)
    assert digest(images.copy(), labels.copy()) == before
    others = []
    for place in (*around(*TAKEN), 2047, 2048, IMAGES - 1):
        for pixel in (0, 5):
            other = images.copy()
            other.reshape(IMAGES, -1)[place, pixel] ^= 1
            others.append(digest(other, labels))
        other = labels.copy()
        other[place] = (other[place] + 1) % 3
        others.append(digest(images, other))
    others.append(digest(images[:-1], labels[:-1]))
    others.append(digest(images.reshape(IMAGES, 2, 3, 1), labels))
    others.append(digest(images[::-1].copy(), labels))
    others.append(digest(images, labels, names=("a", "b", "d")))
    assert len({before, *others}) == 1 + len(others)


def test_the_digest_of_a_validation_part(pixels):
    images, labels = pixels
    part = images[:1100].copy(), labels[:1100].copy()
    data = data_set(images, labels, part)
    before, others = training_digest(data, True), [training_digest(data, False)]
    for place in (*around(*TAKEN), 1099):
        other = part[0].copy()
        other[place, -1, -1, 0] ^= 1
        others.append(training_digest(data_set(images, labels, (other, part[1])), True))
        other = part[1].copy()
        other[place] = (other[place] + 1) % 3
        others.append(training_digest(data_set(images, labels, (part[0], other)), True))
    assert len({before, *others}) == 1 + len(others)


@pytest.mark.parametrize("what", ["pixel", "label", "validation pixel"])
def test_a_run_does_not_go_on_with_a_set_whose_last_number_is_another(cli, what):
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 60), ("test", 12), ("val", 12)):
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, 8, 8), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(count) % 3
    np.savez("set.npz", **arrays)
    command = ("train", "--dataset", "set.npz", "--backend", "numpy", "--network", "scratch")
    assert cli(*command, "--epochs", "1", "--out", "run")[0] == 0
    config = json.loads(Path("run/config.json").read_text())
    assert len(config["data_sha256"]) == 64
    if what == "label":
        arrays["train_labels"][-1] -= 1
    else:
        arrays["train_images" if what == "pixel" else "val_images"][-1, -1, -1] ^= 1
    np.savez("set.npz", **arrays)
    code, _, errors = cli("train", "--resume", "run", "--epochs", "1")
    assert code == 2
    assert "the data" in errors[-1]


def idx(array):
    return struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(
        f">{array.ndim}I", *array.shape
    ) + array.tobytes()  # fmt: skip


@pytest.fixture
def mnist(monkeypatch):
    """The contents of four files that count as the published ones."""
    rng = np.random.default_rng(0)
    parts = []
    for count in (1500, 40):
        parts.append(rng.integers(0, 256, (count, 10, 9), dtype=np.uint8))
        parts.append(np.arange(count).astype(np.uint8) % 10)
    contents = [idx(part) for part in parts]
    assert len(contents[0]) > 2**17
    published(monkeypatch, "mnist", contents)
    return contents


@pytest.mark.parametrize("number", range(4), ids=NAMES)
def test_a_file_in_the_cache_that_is_not_the_published_one(number, mnist, tmp_path, monkeypatch):
    """The header being whole, all that its digest tells apart is in the pixels and labels."""
    monkeypatch.setenv("ARRAYCNN_CACHE", str(tmp_path))
    placed(tmp_path / "mnist", mnist, pack=lambda content: gzip.compress(content, 1))
    load_dataset("mnist")  # packed by other means, the content counts
    content = mnist[number]
    header = 16 if number % 2 == 0 else 8
    for at in [at for at in places(len(content)) if at >= header]:
        files = list(mnist)
        # Of labels the change leaves another class.
        files[number] = changed(content, at) if header == 16 else (
            content[:at] + bytes([(content[at] + 1) % 10]) + content[at + 1 :]
        )  # fmt: skip
        placed(tmp_path / "mnist", files, pack=lambda content: gzip.compress(content, 1))
        with pytest.raises(DataError, match="its checksum is another"):
            load_dataset("mnist")


def test_hashes_here_are_those_of_the_standard_library(tmp_path):
    """A model file ends with the SHA-256 of all that stands before its last words."""
    cnn.Model(NETWORK, SIZE).save(tmp_path / "model.npz")
    content = (tmp_path / "model.npz").read_bytes()
    body, mark, digest = content.rpartition(b"arraycnn sha256 ")
    assert mark
    assert hashlib.sha256(body).hexdigest().encode() == digest
