"""`load_dataset`: where it looks, in which order, and what it takes for the set asked for."""

import dataclasses
import functools
import gzip
import hashlib
import http.server
import logging
import os
import struct
import threading
from pathlib import Path

import numpy as np
import pytest

import arraycnn.data
from arraycnn.data import DATASETS, load_dataset
from arraycnn.data import download as download_module
from arraycnn.data.download import download as real_download
from arraycnn.data.sources import FASHION_MNIST, MNIST, SOURCES
from arraycnn.errors import DataError

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
REAL_DATA = Path(__file__).parent.parents[2] / "shared" / "data"
needs_real_data = pytest.mark.skipif(
    not REAL_DATA.is_dir(), reason="the real MNIST files are not beside the project"
)


@pytest.fixture(autouse=True)
def own_machine(tmp_path, monkeypatch):
    """No variable, home folder or network of the machine that runs the tests is looked at."""
    for variable in ("ARRAYCNN_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("ARRAYCNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def refuse(urls, destination, *_):
        raise DataError(f"the test has no network for {Path(destination).name}")

    monkeypatch.setattr(download_module, "download", refuse)


def idx(array: np.ndarray) -> bytes:
    array = np.asarray(array, dtype=np.uint8)
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def contents(mark: int, height: int = 5, train_labels=(1, 0, 9), test_labels=(4, 4)):
    """The four files of a small set, in the order of NAMES; ``mark`` is its first pixel."""
    train = np.arange(3 * height * 4).reshape(3, height, 4) + mark
    test = np.arange(2 * height * 4).reshape(2, height, 4)
    return [idx(train), idx(train_labels), idx(test), idx(test_labels)]


def place(folder: Path, files, spell=lambda name: f"{name}.gz", pack=gzip.compress) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip(NAMES, files, strict=True):
        (folder / spell(name)).write_bytes(pack(content))
    return folder


def first_pixel(data_set) -> int:
    return int(data_set.train_images[0, 0, 0, 0])


def published(monkeypatch, name: str, files, mirrors=()) -> None:
    """Make ``files`` the published ones of the set ``name``."""
    fields = ("train_images", "train_labels", "test_images", "test_labels")
    records = {
        field: dataclasses.replace(
            getattr(SOURCES[name], field),
            gzip_sha256=hashlib.sha256(gzip.compress(content, mtime=0)).hexdigest(),
            content_sha256=hashlib.sha256(content).hexdigest(),
        )
        for field, content in zip(fields, files, strict=True)
    }
    source = dataclasses.replace(SOURCES[name], mirrors=mirrors, **records)
    monkeypatch.setitem(SOURCES, name, source)


def test_the_public_names():
    assert DATASETS == ("mnist", "fashion-mnist", "digits")
    assert set(arraycnn.data.__all__) == {
        "DATASETS",
        "DataSet",
        "ImageSource",
        "load_dataset",
        "split_validation",
    }


@pytest.mark.parametrize("name", ["cifar10", "", "MNIST", None, ["mnist"]])
def test_an_unknown_name_gets_the_list(name):
    with pytest.raises(DataError, match="mnist, fashion-mnist, digits, got"):
        load_dataset(name)


# --- a folder given by argument


@pytest.mark.parametrize("subfolder", ["", "mnist"])
@pytest.mark.parametrize("pack", [gzip.compress, bytes], ids=["gzip", "raw"])
@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("dotted", [False, True])
def test_every_spelling_in_both_places(tmp_path, subfolder, pack, ending, dotted):
    def spell(name):
        return (name.replace("-idx", ".idx") if dotted else name) + ending

    place(tmp_path / "data" / subfolder, contents(7), spell, pack)
    data_set = load_dataset("mnist", tmp_path / "data")
    assert data_set.name == "mnist"
    assert data_set.train_images.shape == (3, 5, 4, 1)
    assert data_set.test_images.shape == (2, 5, 4, 1)
    assert data_set.train_images.dtype == np.uint8
    assert data_set.train_labels.dtype == data_set.test_labels.dtype == np.int32
    assert data_set.train_labels.tolist() == [1, 0, 9]
    assert data_set.test_labels.tolist() == [4, 4]
    assert data_set.train_images[2, 4, 3, 0] == 59 + 7
    assert data_set.class_names == tuple("0123456789")


def test_a_folder_given_as_text_and_from_home(tmp_path):
    place(tmp_path / "home" / "files", contents(7))
    assert first_pixel(load_dataset("mnist", "~/files")) == 7


def test_the_subfolder_comes_before_files_directly_in_the_folder(tmp_path):
    place(tmp_path, contents(1))
    place(tmp_path / "fashion-mnist", contents(2))
    assert first_pixel(load_dataset("mnist", tmp_path)) == 1
    assert first_pixel(load_dataset("fashion-mnist", tmp_path)) == 2


def test_files_are_not_gathered_from_two_places(tmp_path):
    place(tmp_path, contents(1))
    place(tmp_path / "mnist", contents(2))
    (tmp_path / f"{NAMES[3]}.gz").unlink()
    (tmp_path / "mnist" / f"{NAMES[0]}.gz").unlink()
    with pytest.raises(DataError, match=f"missing: {NAMES[0]} "):
        load_dataset("mnist", tmp_path)


def test_a_folder_with_the_name_of_a_file_is_passed_over(tmp_path):
    place(tmp_path, contents(3), lambda name: name.replace("-idx", ".idx"), bytes)
    (tmp_path / NAMES[0]).mkdir()
    assert first_pixel(load_dataset("mnist", tmp_path)) == 3


def refusal(name, folder) -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(name, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_folder(tmp_path):
    assert f"there is none at '{tmp_path / 'none'}'" in refusal("mnist", tmp_path / "none")
    assert "there is none at ''" in refusal("mnist", "")
    assert "there is none at '~nobody-at-all/x'" in refusal("mnist", "~nobody-at-all/x")


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "file").touch()
    assert "is a file at" in refusal("mnist", tmp_path / "file")


def test_missing_files_are_listed_and_nothing_else_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setenv("ARRAYCNN_DATA", str(place(tmp_path / "complete", contents(1))))
    folder = place(tmp_path / "partial", contents(1))
    (folder / f"{NAMES[1]}.gz").unlink()
    (folder / f"{NAMES[3]}.gz").unlink()
    assert f"missing: {NAMES[1]}, {NAMES[3]} " in refusal("mnist", folder)


def test_a_damaged_file_is_named(tmp_path):
    folder = place(tmp_path, contents(1))
    damaged = folder / f"{NAMES[2]}.gz"
    damaged.write_bytes(damaged.read_bytes()[:-3])
    assert str(damaged) in refusal("mnist", folder)


def test_images_and_labels_exchanged(tmp_path):
    images, labels, *test = contents(1)
    folder = place(tmp_path, [labels, images, *test])
    assert "must have 3 axes" in refusal("mnist", folder)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (contents(1, train_labels=(1, 2)), "3 images and 2 labels"),
        (contents(1, test_labels=(4, 200)), "got 200 at index 1"),
        (contents(1)[:2] + contents(1, height=6)[2:], "must have one size"),
    ],
)
def test_files_that_do_not_fit_together(tmp_path, files, reason):
    message = refusal("mnist", place(tmp_path, files))
    assert reason in message
    assert str(tmp_path) in message


def test_pixels_of_another_type(tmp_path):
    folder = place(tmp_path, contents(1))
    signed = struct.pack(">HBB3I", 0, 0x0C, 3, 1, 1, 1) + struct.pack(">i", -1)
    (folder / f"{NAMES[0]}.gz").write_bytes(gzip.compress(signed))
    assert "must be uint8, the file holds int32" in refusal("mnist", folder)


# --- whose files they are


def test_files_of_your_own_are_taken_with_one_line_of_notice(tmp_path, caplog):
    load_dataset("mnist", place(tmp_path, contents(1)))
    assert [(record.name, record.levelno) for record in caplog.records] == [
        ("arraycnn", logging.WARNING)
    ]
    assert "not the published one" in caplog.text
    assert str(tmp_path) in caplog.text
    assert all(name in caplog.text for name in NAMES)


def test_published_files_are_taken_without_notice_however_packed(tmp_path, caplog, monkeypatch):
    published(monkeypatch, "mnist", contents(1))
    for level in (1, 9):
        pack = functools.partial(gzip.compress, compresslevel=level)
        load_dataset("mnist", place(tmp_path / str(level), contents(1), pack=pack))
    load_dataset("mnist", place(tmp_path / "raw", contents(1), str, bytes))
    assert caplog.records == []


def test_only_the_changed_file_is_in_the_notice(tmp_path, caplog, monkeypatch):
    published(monkeypatch, "mnist", contents(1))
    load_dataset("mnist", place(tmp_path, contents(1, train_labels=(1, 0, 8))))
    assert NAMES[1] in caplog.text
    assert NAMES[0] not in caplog.text


def test_files_of_the_other_set_are_refused(tmp_path, monkeypatch):
    published(monkeypatch, "mnist", contents(1))
    message = refusal("fashion-mnist", place(tmp_path, contents(1)))
    assert f"{NAMES[0]}.gz of mnist" in message


def test_train_and_test_exchanged_are_refused(tmp_path, monkeypatch):
    files = contents(1)
    published(monkeypatch, "mnist", files)
    message = refusal("mnist", place(tmp_path, files[2:] + files[:2]))
    assert f"{NAMES[0]}.gz is {NAMES[2]}.gz of mnist" in message


# --- ARRAYCNN_DATA


def test_the_variable_serves_every_set_it_holds(tmp_path, monkeypatch):
    place(tmp_path / "data" / "mnist", contents(1))
    place(tmp_path / "data" / "fashion-mnist", contents(2))
    monkeypatch.setenv("ARRAYCNN_DATA", str(tmp_path / "data"))
    assert first_pixel(load_dataset("mnist")) == 1
    assert first_pixel(load_dataset("fashion-mnist")) == 2


def test_the_argument_comes_before_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("ARRAYCNN_DATA", str(place(tmp_path / "variable", contents(1))))
    argument = place(tmp_path / "argument", contents(2))
    assert first_pixel(load_dataset("mnist", argument)) == 2


def test_the_variable_comes_before_the_cache(tmp_path, monkeypatch):
    published(monkeypatch, "mnist", contents(3))
    place(tmp_path / "cache" / "mnist", contents(3))
    monkeypatch.setenv("ARRAYCNN_DATA", str(place(tmp_path / "variable", contents(1))))
    assert first_pixel(load_dataset("mnist")) == 1


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A cache that holds a published Fashion-MNIST whose first pixel is 3."""
    published(monkeypatch, "fashion-mnist", contents(3))
    return place(tmp_path / "cache" / "fashion-mnist", contents(3))


@pytest.mark.parametrize("value", ["", "folder"])
def test_a_variable_that_lacks_the_set_passes_on_to_the_cache(
    tmp_path, monkeypatch, cached, caplog, value
):
    place(tmp_path / "folder" / "mnist", contents(1))
    monkeypatch.setenv("ARRAYCNN_DATA", value and str(tmp_path / value))
    assert first_pixel(load_dataset("fashion-mnist")) == 3
    assert caplog.records == []


def test_a_variable_that_names_no_folder_passes_on_with_notice(
    tmp_path, monkeypatch, cached, caplog
):
    monkeypatch.setenv("ARRAYCNN_DATA", str(tmp_path / "none"))
    assert first_pixel(load_dataset("fashion-mnist")) == 3
    assert "names no folder" in caplog.text


def test_a_variable_with_a_part_of_the_set_passes_on_with_notice(
    tmp_path, monkeypatch, cached, caplog
):
    folder = place(tmp_path / "partial", contents(1))
    (folder / f"{NAMES[3]}.gz").unlink()
    monkeypatch.setenv("ARRAYCNN_DATA", str(folder))
    assert first_pixel(load_dataset("fashion-mnist")) == 3
    assert f"lacks {NAMES[3]};" in caplog.text


def test_a_variable_with_the_files_of_the_other_set_passes_on_with_notice(
    tmp_path, monkeypatch, cached, caplog
):
    published(monkeypatch, "mnist", contents(1))
    monkeypatch.setenv("ARRAYCNN_DATA", str(place(tmp_path / "folder", contents(1))))
    assert first_pixel(load_dataset("mnist")) == 1
    assert first_pixel(load_dataset("fashion-mnist")) == 3
    assert "of mnist; looking in the cache" in caplog.text


# --- the cache


def test_the_cache_has_a_folder_of_its_own_for_each_set(tmp_path, monkeypatch):
    for name, mark in (("mnist", 1), ("fashion-mnist", 2)):
        published(monkeypatch, name, contents(mark))
        place(tmp_path / "cache" / name, contents(mark))
    assert first_pixel(load_dataset("fashion-mnist")) == 2
    assert first_pixel(load_dataset("mnist")) == 1


@pytest.mark.parametrize(
    ("xdg", "folder"),
    [("xdg", "xdg/arraycnn"), (None, "home/.cache/arraycnn"), ("", "home/.cache/arraycnn")],
)
def test_the_cache_lies_where_the_system_keeps_caches(tmp_path, monkeypatch, xdg, folder):
    monkeypatch.delenv("ARRAYCNN_CACHE")
    if xdg is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", xdg and str(tmp_path / xdg))
    published(monkeypatch, "mnist", contents(1))
    place(tmp_path / folder / "mnist", contents(1))
    assert first_pixel(load_dataset("mnist")) == 1


def test_a_relative_cache_variable_is_ignored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARRAYCNN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    published(monkeypatch, "mnist", contents(1))
    place(tmp_path / "home" / ".cache" / "arraycnn" / "mnist", contents(1))
    assert first_pixel(load_dataset("mnist")) == 1


def test_a_cached_file_with_another_checksum_is_refused(tmp_path, monkeypatch):
    published(monkeypatch, "mnist", contents(1))
    folder = place(tmp_path / "cache" / "mnist", contents(1, train_labels=(1, 0, 8)))
    with pytest.raises(DataError, match="its checksum is another; delete the file") as caught:
        load_dataset("mnist")
    assert str(folder / f"{NAMES[1]}.gz") in str(caught.value)


def test_the_other_set_in_the_cache_is_refused(tmp_path, monkeypatch):
    published(monkeypatch, "mnist", contents(1))
    place(tmp_path / "cache" / "fashion-mnist", contents(1))
    with pytest.raises(DataError, match="must be the published fashion-mnist one"):
        load_dataset("fashion-mnist")


def test_a_damaged_cached_file_is_refused_with_the_remedy(tmp_path, monkeypatch):
    published(monkeypatch, "mnist", contents(1))
    damaged = place(tmp_path / "cache" / "mnist", contents(1)) / f"{NAMES[2]}.gz"
    damaged.write_bytes(b"<html>")
    with pytest.raises(DataError, match="delete the file") as caught:
        load_dataset("mnist")
    assert str(damaged) in str(caught.value)


# --- the download


class Folder(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A real server of tmp_path/mirror; yields it, with the paths it was ``asked`` for."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    allowed = functools.partial(real_download, http_hosts=("127.0.0.1",))
    monkeypatch.setattr(download_module, "download", allowed)
    (tmp_path / "mirror").mkdir()
    handler = functools.partial(Folder, directory=str(tmp_path / "mirror"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.asked = []
        server.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_what_the_cache_lacks_is_downloaded_once(tmp_path, monkeypatch, mirror):
    pack = functools.partial(gzip.compress, mtime=0)
    for name, mark in (("mnist", 1), ("fashion-mnist", 2)):
        place(tmp_path / "mirror" / name, contents(mark), pack=pack)
        mirrors = (f"{mirror.url}absent/", f"{mirror.url}{name}/")
        published(monkeypatch, name, contents(mark), mirrors)
    calls = []

    assert first_pixel(load_dataset("mnist", progress=lambda *call: calls.append(call))) == 1
    assert first_pixel(load_dataset("fashion-mnist")) == 2
    sizes = [len(pack(content)) for content in contents(1)]
    assert calls == [(size, size) for size in sizes]
    asked = len(mirror.asked)
    assert asked == 16
    assert first_pixel(load_dataset("mnist")) == 1
    assert len(mirror.asked) == asked

    (tmp_path / "cache" / "mnist" / f"{NAMES[1]}.gz").unlink()
    assert first_pixel(load_dataset("mnist")) == 1
    assert mirror.asked[asked:] == [f"/absent/{NAMES[1]}.gz", f"/mnist/{NAMES[1]}.gz"]


def test_a_mirror_with_other_files_is_refused_and_nothing_is_cached(tmp_path, monkeypatch, mirror):
    place(tmp_path / "mirror", contents(2))
    published(monkeypatch, "mnist", contents(1), (mirror.url,))
    with pytest.raises(DataError, match="with SHA-256"):
        load_dataset("mnist")
    assert list((tmp_path / "cache" / "mnist").iterdir()) == []


def test_the_download_reaches_only_https():
    for source in (MNIST, FASHION_MNIST):
        assert len(source.mirrors) >= 2
        assert all(mirror.startswith("https://") for mirror in source.mirrors)
        assert all(mirror.endswith("/") for mirror in source.mirrors)


def test_every_published_digest_is_whole_and_belongs_to_one_file():
    digests = [
        digest
        for source in (MNIST, FASHION_MNIST)
        for file in source.files
        for digest in (file.gzip_sha256, file.content_sha256)
        if digest is not None
    ]
    assert all(len(bytes.fromhex(digest)) == 32 for digest in digests)
    assert len(set(digests)) == len(digests) == 14


# --- the real files


@needs_real_data
@pytest.mark.parametrize("folder", [REAL_DATA, REAL_DATA / "mnist"])
def test_real_mnist_is_recognised(caplog, folder):
    mnist = load_dataset("mnist", folder)
    assert caplog.records == []
    assert mnist.train_images.shape == (60000, 28, 28, 1)
    assert mnist.test_images.shape == (10000, 28, 28, 1)
    assert mnist.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist.test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(mnist.train_labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    # The published mean of the training pixels, of 1.
    assert mnist.train_images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)


@needs_real_data
def test_a_real_file_of_the_first_packing_is_recognised_by_its_own_digest():
    digest = hashlib.sha256((REAL_DATA / "mnist" / MNIST.test_images.name).read_bytes())
    assert digest.hexdigest() == MNIST.test_images.gzip_sha256


@needs_real_data
def test_real_mnist_is_not_taken_for_fashion():
    assert "of mnist" in refusal("fashion-mnist", REAL_DATA / "mnist")


@needs_real_data
def test_real_mnist_serves_as_a_cache_though_packed_again(tmp_path, caplog):
    folder = tmp_path / "cache" / "mnist"
    folder.mkdir(parents=True)
    for file in MNIST.files:
        os.symlink(REAL_DATA / "mnist" / file.name, folder / file.name)
    assert load_dataset("mnist").train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert caplog.records == []


@needs_real_data
def test_the_real_fashion_sample_is_taken_with_notice(caplog):
    sample = load_dataset("fashion-mnist", REAL_DATA / "fashion-mnist-sample")
    assert sample.train_images.shape == (700, 28, 28, 1)
    assert sample.test_images.shape == (200, 28, 28, 1)
    both = np.concatenate([sample.train_labels, sample.test_labels])
    assert np.bincount(both).tolist() == [90] * 10
    assert sample.class_names[0] == "T-shirt/top"
    assert sample.class_names[9] == "Ankle boot"
    assert "not the published one" in caplog.text
