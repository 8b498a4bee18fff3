"""Remedies of data sets: the published ones, and those of a user's own."""

import errno
import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arraycnn.data import DataSet, load_dataset, split_validation
from arraycnn.data.loading import SOURCES
from remedies import making
from remedies.following import Here, follows


def _data_set(**given: Any) -> DataSet:
    images, labels = making.some()
    parts = {"train_images": images, "train_labels": labels}
    parts |= {"test_images": images, "test_labels": labels}
    return DataSet(**({"name": "mine", "class_names": ("a", "b", "c"), **parts} | given))


@follows("data/dataset.py", "pixels are whole numbers 0 to 255")
def a_set_of_floating_images(here: Here) -> None:
    images = making.some()[0]
    with here.refused():
        _data_set(train_images=images / 255)
    _data_set(train_images=np.rint(images / 255 * 255).astype(np.uint8))


@follows("data/dataset.py", "add the channel axis with images[..., None]")
def a_set_without_channels(here: Here) -> None:
    images = making.some()[0][..., 0]
    with here.refused():
        _data_set(train_images=images)
    _data_set(train_images=eval(here.message.rpartition("with ")[2], {"images": images}))


@follows("data/dataset.py", "use labels.astype('int32')")
def a_set_with_other_labels(here: Here) -> None:
    labels = making.some()[1].astype("int64")
    with here.refused():
        _data_set(train_labels=labels)
    _data_set(train_labels=eval(here.message.rpartition("use ")[2], {"labels": labels}))


@follows("data/dataset.py", "pass one class number an image")
def a_set_with_labels_of_two_axes(here: Here) -> None:
    labels = making.some()[1]
    with here.refused():
        _data_set(train_labels=np.eye(3, dtype=np.int32)[labels])
    _data_set(train_labels=labels)


@follows("data/dataset.py", "correct the labels or the class names")
def a_set_with_a_label_too_large(here: Here) -> None:
    labels = making.some()[1] + np.int32(1)
    with here.refused():
        _data_set(train_labels=labels)
    _data_set(train_labels=labels - np.int32(1))
    _data_set(train_labels=labels, class_names=("none", "a", "b", "c"))


@follows("data/dataset.py", "take both from the same set")
def a_set_whose_parts_do_not_fit(here: Here) -> None:
    for wrong in ({"train_labels": making.some(9)[1]}, {"test_images": making.some(12, 9)[0]}):
        with here.refused():
            _data_set(**wrong)
    _data_set()


@follows("data/dataset.py", "leave the limit out to use every image")
def a_limit_of_none(here: Here) -> None:
    with here.refused():
        _data_set().limited(0)
    code, _, lines = here.cli("train", "--backend", "numpy", "--limit", 0)
    assert code == 2, lines
    assert len(_data_set().train_images) == 12


@follows("data/dataset.py", "pass the class numbers, one an image")
def a_split_of_no_labels(here: Here) -> None:
    with here.refused():
        split_validation(np.eye(3), 0.1, 0)
    split_validation(np.eye(3).argmax(axis=1), 0.1, 0)


@follows("data/dataset.py", "0.1 holds out one image in ten")
def a_split_of_a_wrong_share(here: Here) -> None:
    labels = np.arange(100) % 2
    with here.refused():
        split_validation(labels, 10, 0)
    assert len(split_validation(labels, 0.1, 0)[1]) == 10


@follows("data/dataset.py", "pass 0")
def a_split_by_no_seed(here: Here) -> None:
    with here.refused():
        split_validation(np.arange(9) % 3, 0.1, -1)
    split_validation(np.arange(9) % 3, 0.1, 0)


@follows("data/loading.py", "leave the folder out")
def a_folder_for_a_set_that_needs_none(here: Here) -> None:
    making.write_pictures(here.path / "pets")
    for name in ("digits", here.path / "pets"):
        with here.refused():
            load_dataset(name, here.path)
        load_dataset(name)


@follows("data/loading.py", "correct the path, or leave the folder out to download the set")
def a_data_folder_that_is_not_there(here: Here) -> None:
    with here.refused():
        load_dataset("mnist", here.path / "nowhere")
    load_dataset("mnist", making.write_mnist_files(here.path / "somewhere"))
    _downloaded(here)


@follows("data/loading.py", "place them there, or leave the folder out to download the set")
def a_data_folder_that_lacks_files(here: Here) -> None:
    with here.refused():
        load_dataset("mnist", here.path)
    _downloaded(here)
    load_dataset("mnist", making.write_mnist_files(here.path))


@follows("data/loading.py", "write pixels as 0..255 and labels as class numbers")
def a_data_folder_of_other_numbers(here: Here) -> None:
    folder = making.write_mnist_files(here.path)
    path = folder / "train-labels-idx1-ubyte"
    good = path.read_bytes()
    path.write_bytes(b"\0\0\x0c" + good[3:8] + np.arange(30, dtype=">i4").tobytes())
    with here.refused():
        load_dataset("mnist", folder)
    path.write_bytes(good)
    load_dataset("mnist", folder)


def _published(here: Here, folder: Path) -> list[bytes]:
    """From here on, small files in ``folder`` are what the world knows as MNIST."""
    making.write_mnist_files(folder)
    source, contents, files = SOURCES["mnist"], [], {}
    for part in ("train_images", "train_labels", "test_images", "test_labels"):
        published = getattr(source, part)
        content = (folder / published.name.removesuffix(".gz")).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        files[part] = replace(published, gzip_sha256=digest, content_sha256=digest)
        contents.append(content)
    here.patch.setitem(SOURCES, "mnist", replace(source, **files))
    return contents


@follows("data/loading.py", "use a folder of its own for each set")
def the_files_of_another_set(here: Here) -> None:
    _published(here, here.path / "mnist")
    with here.refused():
        load_dataset("fashion-mnist", here.path / "mnist")
    load_dataset("fashion-mnist", making.write_mnist_files(here.path / "fashion", 20))


@contextmanager
def _mirror(here: Here, folder: Path) -> Iterator[None]:
    """A server of what is in ``folder``, from which the set is downloaded."""
    from arraycnn.data import download

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    source, original = SOURCES["mnist"], download.download
    mirror = f"http://127.0.0.1:{server.server_port}/"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SOURCES, "mnist", replace(source, mirrors=(mirror,)))
        patch.setattr(
            download, "download", lambda *given: original(*given, http_hosts=("127.0.0.1",))
        )
        patch.setenv("ARRAYCNN_CACHE", str(here.path / "cache"))
        patch.delenv("ARRAYCNN_DATA", raising=False)
        patch.delenv("ARRAYCNN_OFFLINE", raising=False)
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _served(here: Here) -> Path:
    """A folder with the published files under their names."""
    folder = here.path / "served"
    contents = _published(here, here.path / "published")
    folder.mkdir()
    for published, content in zip(SOURCES["mnist"].files, contents, strict=True):
        (folder / published.name).write_bytes(content)
    return folder


def _downloaded(here: Here) -> None:
    with _mirror(here, _served(here)):
        load_dataset("mnist")


@follows("data/loading.py", "delete the file, and the next run downloads it again")
def a_damaged_cache(here: Here) -> None:
    with _mirror(here, _served(here)):
        load_dataset("mnist")
        for content in (b"cut", making.idx(np.zeros((2, 28, 28)))):
            cached = here.path / "cache" / "mnist" / SOURCES["mnist"].files[0].name
            cached.write_bytes(content)
            with here.refused():
                load_dataset("mnist")
            cached.unlink()
            load_dataset("mnist")


@follows("data/loading.py", "set ARRAYCNN_CACHE")
def an_account_without_a_home(here: Here) -> None:
    def nobody() -> Path:
        message = "Could not determine home directory."
        raise RuntimeError(message)

    with _mirror(here, _served(here)), pytest.MonkeyPatch.context() as patch:
        patch.delenv("ARRAYCNN_CACHE")
        patch.delenv("XDG_CACHE_HOME", raising=False)
        patch.setattr(Path, "home", nobody)
        with here.refused():
            load_dataset("mnist")
        patch.setenv("ARRAYCNN_CACHE", str(here.path / "mine"))
        load_dataset("mnist")


@follows("data/loading.py", "looking in the cache instead")
def a_variable_that_leads_nowhere(here: Here) -> None:
    with _mirror(here, _served(here)):
        here.patch.setenv("ARRAYCNN_DATA", str(here.path / "nowhere"))
        with here.told():
            load_dataset("mnist")
        making.write_mnist_files(here.path / "mine")
        (here.path / "mine" / "t10k-labels-idx1-ubyte").unlink()
        here.patch.setenv("ARRAYCNN_DATA", str(here.path / "mine"))
        with here.told():
            load_dataset("mnist")


@follows("data/loading.py", "using the files as your own")
def files_of_ones_own_under_known_names(here: Here) -> None:
    folder = making.write_mnist_files(here.path / "mine", 20)
    with here.told():
        data = load_dataset("mnist", folder)
    assert len(data.train_images) == 20


@follows(
    "data/download.py",
    "unset the variable, or fetch the file by other means and save it as {}",
)
def a_download_that_is_forbidden(here: Here) -> None:
    served = _served(here)
    with _mirror(here, served):
        os.environ["ARRAYCNN_OFFLINE"] = "1"
        for published in SOURCES["mnist"].files:
            with here.refused():
                load_dataset("mnist")
            told = Path(here.message.rpartition("save it as ")[2])
            told.parent.mkdir(parents=True, exist_ok=True)
            told.write_bytes((served / published.name).read_bytes())
        load_dataset("mnist")
        told.unlink()
        del os.environ["ARRAYCNN_OFFLINE"]
        load_dataset("mnist")


@follows(
    "data/download.py",
    "check the network{}, or fetch the file by other means and save it as {}",
)
def mirrors_that_all_fail(here: Here) -> None:
    served = _served(here)
    wanted = SOURCES["mnist"].files[0].name
    content = (served / wanted).read_bytes()
    (served / wanted).unlink()
    with _mirror(here, served):
        with here.refused():
            load_dataset("mnist")
        told = Path(here.message.rpartition("save it as ")[2])
        told.write_bytes(content)
        load_dataset("mnist")
        told.unlink()
        (served / wanted).write_bytes(content)
        load_dataset("mnist")


@follows("data/download.py", "free the disk, or choose another folder")
def a_disk_that_is_full(here: Here) -> None:
    from arraycnn.data import download

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with _mirror(here, _served(here)), pytest.MonkeyPatch.context() as patch:
        patch.setattr(download.os, "fsync", full)
        with here.refused():
            load_dataset("mnist")
        patch.undo()
        load_dataset("mnist")


@follows("data/user_sets.py", "check the path")
def a_set_that_is_not_there(here: Here) -> None:
    with here.refused():
        load_dataset(here.path / "pets")
    load_dataset(making.write_pictures(here.path / "pets"))


@follows("data/user_sets.py", "take both from the same set")
def images_and_labels_of_two_sets(here: Here) -> None:
    images, labels = making.some(24)
    path = here.path / "x.npz"
    with here.refused():
        load_dataset(making.write_npz(path, images, labels[:20]))
    load_dataset(making.write_npz(path, images, labels))


@follows("data/user_sets.py", "give it a test part of its own, or more images")
def a_set_too_small_to_split(here: Here) -> None:
    images, labels = making.some(3)
    path = here.path / "x.npz"
    with here.refused():
        load_dataset(making.write_npz(path, images, labels))
    load_dataset(making.write_npz(path, *making.some(30)))
    parts = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    load_dataset(making.write_npz(path, **parts))


@follows("data/user_sets.py", "check its permissions")
def a_set_that_may_not_be_read(here: Here) -> None:
    folder = making.write_pictures(here.path / "pets")
    original = Path.iterdir

    def listed(self: Path) -> Any:
        if self == folder:
            raise PermissionError(errno.EACCES, "Permission denied")
        return original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "iterdir", listed)
        with here.refused():
            load_dataset(folder)
    load_dataset(folder)


@follows("data/picture_folder.py", "put the pictures of each class into a folder with its name")
def pictures_without_folders(here: Here) -> None:
    folder = making.write_pictures(here.path / "pets" / "cat", classes=("cat",))
    for path in (folder / "cat").iterdir():
        path.rename(here.path / "pets" / path.name)
    (folder / "cat").rmdir()
    folder.rmdir()
    with here.refused():
        load_dataset(here.path / "pets")
    pictures = sorted((here.path / "pets").iterdir())
    for name, part in (("cat", pictures[:3]), ("dog", pictures[3:])):
        (here.path / "pets" / name).mkdir()
        for path in part:
            path.rename(here.path / "pets" / name / path.name)
    load_dataset(here.path / "pets")


@follows("data/picture_folder.py", "train with --image-size HEIGHTxWIDTH")
def pictures_of_two_sizes(here: Here) -> None:
    making.write_pictures(here.path / "pets", count=12)
    making.write_pictures(here.path / "pets", classes=("bird",), count=12, size=12)
    train = ("train", "--dataset", "pets", "--backend", "numpy", "--epochs", 1, "--out", "run")
    here.refused_command(*train)
    here.accepted_command(*train, "--image-size", "8x8", "--network", "scratch")


@follows("data/picture_folder.py", "rename the folder, or take it away")
def a_class_that_the_model_does_not_know(here: Here) -> None:
    folder = making.write_pictures(here.path / "pets", classes=("cat", "dgo"))
    with here.refused():
        load_dataset(folder, class_names=("cat", "dog"))
    (folder / "dgo").rename(folder / "dog")
    load_dataset(folder, class_names=("cat", "dog"))


@follows("data/idx_files.py", "such as NAME-images-idx3-ubyte and NAME-labels-idx1-ubyte")
def idx_without_its_labels(here: Here) -> None:
    images, labels = making.some(24)
    path = making.write_idx(here.path / "x-images-idx3-ubyte", images[..., 0])
    with here.refused():
        load_dataset(path)
    making.write_idx(here.path / "x-labels-idx1-ubyte", labels)
    load_dataset(path)


@follows("data/named_arrays.py", "save them under these names")
def npz_under_other_names(here: Here) -> None:
    images, labels = making.some(24)
    path = making.write_npz(here.path / "x.npz", pictures=images, classes=labels)
    with here.refused():
        load_dataset(path)
    load_dataset(making.write_npz(path, images, labels))


@follows("data/idx_files.py", "has only a test part: name the file of images itself")
def idx_of_a_test_part_alone(here: Here) -> None:
    folder = making.write_mnist_files(here.path / "x")
    for path in folder.glob("train*"):
        path.unlink()
    with here.refused():
        load_dataset(folder)
    load_dataset(folder / "t10k-images-idx3-ubyte")


@follows("data/idx_files.py", "name the file of images itself")
def idx_of_two_sets(here: Here) -> None:
    images, labels = making.some(24)
    for name in ("a", "b"):
        making.write_idx(here.path / f"{name}-images-idx3-ubyte", images[..., 0])
        making.write_idx(here.path / f"{name}-labels-idx1-ubyte", labels)
    with here.refused():
        load_dataset(here.path)
    load_dataset(here.path / "a-images-idx3-ubyte")


@follows("data/class_files.py", "save it as UTF-8")
def class_names_in_another_encoding(here: Here) -> None:
    path = making.write_npz(here.path / "x.npz")
    (here.path / "class_names.txt").write_bytes("café\ntè\nlatte".encode("latin-1"))
    with here.refused():
        load_dataset(path)
    (here.path / "class_names.txt").write_text("café\ntè\nlatte", "utf-8")
    assert load_dataset(path).class_names == ("café", "tè", "latte")


@follows("cli/model_for_data.py", "choose another --network or --dataset")
def images_too_small_for_the_network(here: Here) -> None:
    path = making.write_npz(here.path / "x.npz", *making.some(40, 3))
    train = ("train", "--backend", "numpy", "--epochs", 1)
    here.refused_command(*train, "--dataset", path, "--network", "basic", "--out", "a")
    here.accepted_command(*train, "--limit", 60, "--network", "basic", "--out", "c")
