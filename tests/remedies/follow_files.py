"""Remedies for files of arrays, IDX files and pictures."""

import gzip
import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import arraycnn as cnn
from arraycnn.data import load_dataset
from arraycnn.data.idx import read_idx
from arraycnn.data.image_files import read_image
from arraycnn.data.numpy_files import read_npy, read_npz
from arraycnn.export import export_safetensors, export_torch
from remedies import making
from remedies.following import Here, follows


def _refused_idx(here: Here, content: bytes, **given) -> Path:
    """A file that is refused, then replaced by a good one, as if fetched again."""
    path = here.path / "x-idx3-ubyte"
    path.write_bytes(content)
    with here.refused():
        read_idx(path, **given)
    path.unlink()
    making.write_idx(path, making.some()[0][..., 0])
    read_idx(path, **given)
    return path


_GOOD = making.idx(making.some()[0][..., 0])


@follows("data/idx.py", "fetch it again")
def idx_cut_short(here: Here) -> None:
    for content in (_GOOD[:-1], _GOOD + b"1", b"", _GOOD[:3], _GOOD[:9], gzip.compress(_GOOD)[:99]):
        _refused_idx(here, content)
    damaged = bytearray(gzip.compress(_GOOD))
    damaged[len(damaged) // 2] ^= 1
    _refused_idx(here, bytes(damaged))


@follows("data/idx.py", "delete it and fetch the file again")
def idx_that_is_a_web_page(here: Here) -> None:
    _refused_idx(here, b"<!DOCTYPE html><html>404</html>")


@follows("data/idx.py", "this is not an IDX file")
def idx_of_another_kind(here: Here) -> None:
    _refused_idx(here, b"\x89PNG....")


@follows("data/idx.py", "the file is damaged or not IDX")
def idx_without_axes(here: Here) -> None:
    _refused_idx(here, b"\0\0\x08\0")


@follows("data/idx.py", "the file holds nothing to train on")
def idx_of_no_images(here: Here) -> None:
    _refused_idx(here, making.idx(np.zeros((0, 8, 8))))


@follows("data/idx.py", "are the image and the label file exchanged?")
def idx_files_exchanged(here: Here) -> None:
    folder = making.write_mnist_files(here.path / "mine")
    images, labels = (folder / f"train-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
    images.rename(folder / "x")
    labels.rename(images)
    (folder / "x").rename(labels)
    with here.refused():
        load_dataset("mnist", folder)
    images.rename(folder / "x")
    labels.rename(images)
    (folder / "x").rename(labels)
    load_dataset("mnist", folder)


@follows("data/idx.py", "name the file inside it")
def idx_that_is_a_folder(here: Here) -> None:
    path = making.write_idx(here.path / "x", making.some()[0])
    with here.refused():
        read_idx(here.path)
    read_idx(path)


@follows("data/idx.py", "save it to a file first")
def idx_from_a_pipe(here: Here) -> None:
    os.mkfifo(here.path / "pipe")
    with here.refused():
        read_idx(here.path / "pipe")
    (here.path / "file").write_bytes(_GOOD)
    read_idx(here.path / "file")


@follows("data/idx.py", "check the path")
def idx_that_is_not_there(here: Here) -> None:
    path = here.path / "x"
    with here.refused():
        read_idx(path)
    path.write_bytes(_GOOD)
    read_idx(path)


def _unreadable(here: Here, path: Path) -> pytest.MonkeyPatch:
    """As if the system let nobody read ``path``; root, as which tests may run, it would let."""
    patch = pytest.MonkeyPatch()
    original = Path.open

    def opened(self: Path, *arguments, **keywords):
        if self == path:
            raise PermissionError(13, "Permission denied", str(path))
        return original(self, *arguments, **keywords)

    patch.setattr(Path, "open", opened)
    return patch


@follows("data/idx.py", "check the file's permissions and the disk")
def idx_that_may_not_be_read(here: Here) -> None:
    path = here.path / "x"
    path.write_bytes(_GOOD)
    patch = _unreadable(here, path)
    with here.refused():
        read_idx(path)
    patch.undo()
    read_idx(path)


@follows("data/idx.py", "or it is damaged")
def idx_packed_and_too_large(here: Here) -> None:
    from arraycnn.data import idx

    path = here.path / "x"
    path.write_bytes(gzip.compress(_GOOD))
    here.patch.setattr(idx, "MAX_BYTES", 100)
    with here.refused():
        read_idx(path)
    assert "decompress a larger file of bytes, which is then mapped" in here.message
    path.write_bytes(gzip.decompress(path.read_bytes()))
    read_idx(path)


def _refused_npz(here: Here, content: bytes) -> None:
    path = here.path / "x.npz"
    path.write_bytes(content)
    with here.refused():
        dict(read_npz(path))
    np.savez(path, images=making.some()[0])
    dict(read_npz(path))


def _npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@follows("data/numpy_files.py", "save it again")
def npz_of_other_bytes(here: Here) -> None:
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x.npy", b"2")
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.npy", b"1")
    for content in (file.getvalue(), other.getvalue(), _npz(a=np.ones(9))[:90]):
        _refused_npz(here, content)


@follows("data/numpy_files.py", "objects are never unpickled")
def npz_of_objects(here: Here) -> None:
    path = here.path / "x.npz"
    np.savez(path, images=np.array([{}, 1], object))
    with here.refused():
        dict(read_npz(path))
    assert "save a plain array" in here.message
    np.savez(path, images=np.array([0, 1]))
    dict(read_npz(path))


@follows("data/numpy_files.py", "it is cut short or damaged: save it again")
def npy_cut_short(here: Here) -> None:
    path = here.path / "x.npy"
    np.save(path, np.ones(9))
    path.write_bytes(path.read_bytes()[:-1])
    with here.refused():
        read_npy(path)
    np.save(path, np.ones(9))
    read_npy(path)


@follows("data/numpy_files.py", "save it with numpy.save as a plain array")
def npy_of_another_version(here: Here) -> None:
    path = here.path / "x.npy"
    np.save(path, np.ones(9))
    content = bytearray(path.read_bytes())
    content[6] = 7
    path.write_bytes(content)
    with here.refused():
        read_npy(path)
    np.save(path, np.ones(9))
    read_npy(path)


@follows("data/numpy_files.py", "save it as .npy, or with numpy.savez: then it is mapped")
def npz_packed_and_too_large(here: Here) -> None:
    from arraycnn.data import numpy_files

    here.patch.setattr(numpy_files, "MAX_BYTES", 1000)
    here.patch.setattr(numpy_files, "MAPPED_BYTES", 900)
    large = np.arange(2000, dtype=np.uint8)
    np.savez_compressed(here.path / "x.npz", images=large)
    with here.refused():
        dict(read_npz(here.path / "x.npz"))
    np.save(here.path / "x.npy", large)
    assert np.array_equal(read_npy(here.path / "x.npy"), large)
    np.savez(here.path / "y.npz", images=large)
    assert np.array_equal(read_npz(here.path / "y.npz")["images"], large)


@follows("data/numpy_files.py", "save only what is needed")
def npz_of_too_many_arrays(here: Here) -> None:
    from arraycnn.data import numpy_files

    here.patch.setattr(numpy_files, "_MOST_ENTRIES", 2)
    _refused_npz(here, _npz(a=np.ones(1), b=np.ones(1), c=np.ones(1)))


@follows("data/numpy_files.py", "name a file")
def npy_that_is_a_folder(here: Here) -> None:
    np.save(here.path / "x.npy", np.ones(3))
    with here.refused():
        read_npy(here.path)
    read_npy(here.path / "x.npy")


@follows("data/numpy_files.py", "check the path")
def npy_that_is_not_there(here: Here) -> None:
    with here.refused():
        read_npy(here.path / "x.npy")
    np.save(here.path / "x.npy", np.ones(3))
    read_npy(here.path / "x.npy")


@follows("data/numpy_files.py", "check the file's permissions and the disk")
def npy_that_may_not_be_read(here: Here) -> None:
    path = here.path / "x.npy"
    np.save(path, np.ones(3))
    patch = _unreadable(here, path)
    with here.refused():
        read_npy(path)
    patch.undo()
    read_npy(path)


_SHAPE = (8, 8, 1)


@follows("data/image_files.py", "use PNG or JPEG")
def a_picture_of_no_kind(here: Here) -> None:
    (here.path / "x.png").write_bytes(b"what is this")
    with here.refused():
        read_image(here.path / "x.png", _SHAPE)
    for name in ("x.png", "x.jpg"):
        Image.new("L", (8, 8)).save(here.path / name)
        read_image(here.path / name, _SHAPE)


@follows("data/image_files.py", "check the file")
def a_damaged_picture(here: Here) -> None:
    path = here.path / "x.png"
    Image.new("L", (64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:-30])
    with here.refused():
        read_image(path, _SHAPE)
    Image.new("L", (64, 64)).save(path)
    read_image(path, _SHAPE)


@follows("data/image_files.py", "make it smaller")
def a_picture_too_large(here: Here) -> None:
    from arraycnn.data import image_files

    here.patch.setattr(image_files, "MAX_PIXELS", 1000)
    path = here.path / "x.png"
    Image.new("L", (64, 64)).save(path)
    with here.refused():
        read_image(path, _SHAPE)
    Image.open(path).resize((16, 16)).save(path)
    read_image(path, _SHAPE)


@follows("storage/file_lock.py", "wait for it, or end it")
def a_lock_that_is_held(here: Here) -> None:
    from arraycnn.storage.file_lock import locked

    path = here.path / "lock"
    with locked(path, 1), here.refused(), locked(path, 0.01):
        pass
    with locked(path, 0.01):
        pass


@follows("storage/folder_lock.py", "wait until that ends, or stop it")
def a_run_folder_in_use(here: Here) -> None:
    from arraycnn.storage.folder_lock import FolderLock

    here.accepted_command("train", "--backend", "numpy", "--limit", 100, "--out", "run")
    with FolderLock(here.path / "run"):
        here.refused_command("train", "--resume", "run")
    here.accepted_command("train", "--resume", "run", "--epochs", 7, "--override")


def _model_file(here: Here) -> Path:
    path = here.path / "m.npz"
    making.model().save(path)
    return path


@follows(
    "storage/checkpoint.py", "it may be cut short, or another kind of file: save the model again"
)
def a_model_file_cut_short(here: Here) -> None:
    path = _model_file(here)
    path.write_bytes(path.read_bytes()[:-7])
    with here.refused():
        cnn.Model.load(path)
    cnn.Model.load(_model_file(here))


@follows("storage/checkpoint.py", "take another copy of it")
def a_model_file_with_a_flipped_bit(here: Here) -> None:
    path = _model_file(here)
    copy = path.read_bytes()
    changed = bytearray(copy)
    changed[len(changed) // 2] ^= 4
    path.write_bytes(changed)
    with here.refused():
        cnn.Model.load(path)
    path.write_bytes(copy)
    cnn.Model.load(path)


@follows("storage/checkpoint.py", "check folder and disk")
def a_model_saved_into_no_folder(here: Here) -> None:
    with here.refused():
        making.model().save(here.path / "there" / "m.npz")
    (here.path / "there").mkdir()
    making.model().save(here.path / "there" / "m.npz")


@follows("storage/checkpoint.py", "check the path")
def a_model_file_that_is_not_there(here: Here) -> None:
    with here.refused():
        cnn.Model.load(here.path / "m.npz")
    cnn.Model.load(_model_file(here))


@follows("storage/checkpoint.py", "name {}")
def a_run_for_the_model_in_it(here: Here) -> None:
    making.model().save(here.path / "best.npz")
    pictures = making.write_pictures(here.path / "pictures")
    here.refused_command("evaluate", here.path)
    here.refused_command("predict", here.path, pictures)
    named = here.message.rpartition("name ")[2].strip()
    assert named == str(here.path / "best.npz")
    cnn.Model.load(named)


@follows("storage/checkpoint.py", "use the version of arraycnn that wrote it")
def a_model_file_of_another_version(here: Here) -> None:
    from arraycnn.storage import checkpoint

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT_VERSION", 99)
        path = _model_file(here)
    with here.refused():
        cnn.Model.load(path)
    here.patch.setattr(checkpoint, "FORMAT_VERSION", 99)
    cnn.Model.load(path)


def _weights(here: Here) -> Path:
    path = here.path / "w.safetensors"
    export_safetensors(making.model(), path)
    return path


def _import(path: Path, *arguments, **given) -> cnn.Model:
    from arraycnn.export import import_safetensors

    pytest.importorskip("safetensors", reason="safetensors is not installed")
    return import_safetensors(path, *arguments, **given)


def _saved(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    library = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    library.save_file(arrays, path)
    return path


@follows("export/safetensors.py", "take another copy of it")
def weights_without_their_digest(here: Here) -> None:
    path = _weights(here)
    copy = path.read_bytes()
    path.write_bytes(copy.replace(b'"sha256"', b'"sha257"'))
    with here.refused():
        _import(path)
    path.write_bytes(copy)
    _import(path)


@follows(
    "export/safetensors.py",
    "take another copy of it, or save changed weights without this metadata",
)
def weights_changed(here: Here) -> None:
    path = _weights(here)
    copy = path.read_bytes()
    path.write_bytes(copy[:-1] + bytes([copy[-1] ^ 1]))
    with here.refused():
        _import(path)
    library = pytest.importorskip("safetensors.numpy")
    arrays = library.load_file(path)
    _import(_saved(path, arrays), making.small(), (8, 8))
    path.write_bytes(copy)
    _import(path)


@follows("export/safetensors.py", "check the path")
def weights_that_are_none(here: Here) -> None:
    path = here.path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", 5) + b"hello")
    with here.refused():
        _import(path, making.small(), (8, 8))
    _import(_weights(here))


@follows("export/weights_file.py", "check the path")
def weights_that_are_not_there(here: Here) -> None:
    with here.refused():
        _import(here.path / "w.safetensors")
    _import(_weights(here))


@follows("export/safetensors_import.py", "give (H, W, C)")
def a_network_without_its_shape(here: Here) -> None:
    path = _weights(here)
    with here.refused():
        _import(path, making.small())
    _import(path, making.small(), (8, 8, 1))


@follows("export/safetensors_import.py", "give the network and its input shape")
def weights_of_an_unknown_network(here: Here) -> None:
    arrays = {"1.weight": np.ones((3, 64), "float32"), "1.bias": np.ones(3, "float32")}
    path = _saved(here.path / "w.safetensors", arrays)
    with here.refused():
        _import(path)
    _import(path, cnn.Sequential(cnn.Flatten(), cnn.Dense(3)), (8, 8))


@follows("export/safetensors_import.py", "take another network, or rename modules")
def weights_under_other_names(here: Here) -> None:
    arrays = {"fc.weight": np.ones((3, 64), "float32"), "fc.bias": np.ones(3, "float32")}
    path = _saved(here.path / "w.safetensors", arrays)
    network = cnn.Sequential(cnn.Flatten(), cnn.Dense(3))
    with here.refused():
        _import(path, network, (8, 8))
    _import(path, network, (8, 8), rename={"fc": "1"})


@follows("export/safetensors_import.py", "take another network or input shape")
def weights_of_another_shape(here: Here) -> None:
    path = _weights(here)
    with here.refused():
        _import(path, making.small(), (9, 9))
    _import(path, making.small(), (8, 8))


@follows("export/weights_file.py", "save them as one of these, for example module.float()")
def weights_of_two_kinds(here: Here) -> None:
    arrays = {"1.weight": np.ones((3, 64), "float32"), "1.bias": np.ones(3, "float64")}
    network = cnn.Sequential(cnn.Flatten(), cnn.Dense(3))
    path = _saved(here.path / "w.safetensors", arrays)
    with here.refused():
        _import(path, network, (8, 8))
    floats = {name: array.astype("float32") for name, array in arrays.items()}
    _import(_saved(path, floats), network, (8, 8))


@follows("export/weights_file.py", "save them as float32, for example of module.float()")
def weights_in_bfloat16(here: Here) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    library = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    module, path = torch.nn.Linear(64, 3).bfloat16(), here.path / "w.safetensors"
    network = cnn.Sequential(cnn.Flatten(), cnn.Dense(3))

    def save() -> None:
        library.save_file({f"1.{n}": t.contiguous() for n, t in module.state_dict().items()}, path)

    save()
    with here.refused():
        _import(path, network, (8, 8))
    module.float()
    save()
    _import(path, network, (8, 8))


@follows("export/channels_first.py", "put Rescale() before it")
def a_residual_of_bytes(here: Here) -> None:
    body = cnn.Sequential(cnn.Rescale(), cnn.Conv2d(1, 3, padding="same"))
    ending = (cnn.Flatten(), cnn.Dense(3))
    raw = cnn.Model(cnn.Sequential(cnn.Residual(body), *ending), (8, 8))
    with here.refused():
        export_torch(raw, here.path / "m.py")
    block = cnn.Residual(cnn.Conv2d(1, 3, padding="same"))
    good = cnn.Model(cnn.Sequential(cnn.Rescale(), block, *ending), (8, 8))
    export_torch(good, here.path / "m.py")


@follows("export/channels_first.py", "give class {} a method torch_module")
def a_users_layer_says_what_it_is_elsewhere(here: Here) -> None:
    from remedies.follow_layers import Doubled

    @dataclass(frozen=True)
    class Named(Doubled):
        def torch_module(self, input_shape: tuple[int, ...]) -> cnn.TorchModule:
            source = "class Doubled(nn.Module):\n    def forward(self, x):\n        return x + x"
            return cnn.TorchModule("Doubled()", source)

    def model(layer: cnn.Layer) -> cnn.Model:
        return cnn.Model(cnn.Sequential(cnn.Rescale(), layer, cnn.Flatten(), cnn.Dense(3)), (8, 8))

    with here.refused():
        export_torch(model(Doubled()), here.path / "m.py")
    export_torch(model(Named()), here.path / "m.py")


@follows(
    "export/torch.py",
    "take a name of letters, digits and underscores that ends with .py",
)
def a_module_with_no_name(here: Here) -> None:
    with here.refused():
        export_torch(making.model(), here.path / "my-net.py")
    export_torch(making.model(), here.path / "my_net_2.py")
