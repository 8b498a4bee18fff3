"""Small data, networks and files for the cases."""

import gzip
import struct
from pathlib import Path

import numpy as np
from PIL import Image

import arraycnn as cnn


def some(count: int = 12, size: int = 8, channels: int = 1, classes: int = 3):
    """(images uint8 (N, H, W, C), labels int32 (N,)), of every class."""
    rng = np.random.default_rng(count)
    images = rng.integers(0, 256, (count, size, size, channels)).astype(np.uint8)
    return images, (np.arange(count) % classes).astype(np.int32)


def small(classes: int = 3) -> cnn.Layer:
    return cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(classes))


def model(classes: int = 3, size: int = 8) -> cnn.Model:
    return cnn.Model(small(classes), (size, size))


def idx(array: np.ndarray) -> bytes:
    """The bytes of an IDX file of uint8."""
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return b"\0\0\x08" + bytes([array.ndim]) + shape + array.astype(np.uint8).tobytes()


def write_idx(path: Path, array: np.ndarray, packed: bool = False) -> Path:
    content = idx(array)
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


def write_mnist_files(folder: Path, count: int = 30) -> Path:
    """Files of one's own under the names of MNIST."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, number in (("train", count), ("t10k", count)):
        images, _ = some(number, 28)
        write_idx(folder / f"{part}-images-idx3-ubyte", images[..., 0])
        write_idx(folder / f"{part}-labels-idx1-ubyte", np.arange(number) % 10)
    return folder


def write_pictures(folder: Path, classes=("cat", "dog"), count: int = 6, size: int = 8) -> Path:
    """A folder with a subfolder of PNG files for each class."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        images, _ = some(count + number, size)
        for index in range(count):
            Image.fromarray(images[index, :, :, 0]).save(folder / name / f"{index}.png")
    return folder


def write_npz(path: Path, images=None, labels=None, **arrays) -> Path:
    if images is None and not arrays:
        images, labels = some(24)
    given = {} if images is None else {"images": images, "labels": labels}
    np.savez(path, **given, **arrays)
    return path
