"""The readers of data sets: IDX, NumPy's files, tables of text, and published forms of their own."""

import array
import csv
import gzip
import io
import math
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from arraycnn.data.cifar import find_cifar_file
from arraycnn.data.csv_table import find_layout, read_table
from arraycnn.data.idx import read_idx
from arraycnn.data.idx_files import find_idx_file
from arraycnn.data.npz_pairs import find_pair
from arraycnn.data.numpy_files import read_npy, read_npz
from arraycnn.data.reader_result import Found
from arraycnn.errors import DataFileError
from promises import FILE, FOLDER, bounded, refused, require

# --- IDX files

_TYPES = {8: "B", 9: "b", 11: "h", 12: "i", 13: "f", 14: "d"}


def _expected_idx(content: bytes) -> tuple[tuple[int, ...], array.array] | None:
    """(shape, values) of a whole IDX file, decoded without NumPy; None for anything else."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES:
        return None
    count = content[3]
    body = content[4 + 4 * count :]
    sizes = content[4 : 4 + 4 * count]
    if not 1 <= count <= 8 or len(sizes) < 4 * count:
        return None
    shape = struct.unpack(f">{count}I", sizes)
    values = array.array(_TYPES[content[2]])
    if 0 in shape or math.prod(shape) * values.itemsize != len(body):
        return None
    values.frombytes(body)
    values.byteswap()
    return shape, values


def idx(data: bytes) -> None:
    """The first byte says how the rest is packed: raw, gzipped, or gzip data as they are."""
    kind, content = data[:1], data[1:]
    if not kind:
        return
    packed = gzip.compress(content, 1, mtime=0) if kind[0] % 3 == 1 else content
    FILE.write_bytes(packed)
    if packed.startswith(b"\x1f\x8b"):
        try:
            content = zlib_decompressed(packed)
        except (OSError, EOFError, zlib.error):
            content = b""
    expected = _expected_idx(content)
    try:
        with bounded(len(content), slack=2**19):
            found = read_idx(FILE)
    except DataFileError as error:
        refused(error)
        require(error.path == str(FILE), "the error names the file", error)
        require(error.offset is None or error.offset >= 0, "an offset is in the file", error)
        require(expected is None, "a whole IDX file is read", error, content)
        return
    require(expected is not None, "what is no whole IDX file is refused", content)
    shape, values = expected
    require(found.shape == shape, "the shape is the header's", found.shape, shape)
    require(found.dtype == values.typecode, "the type is the header's", found.dtype)
    require(found.tobytes() == values.tobytes(), "the values are the file's")


def zlib_decompressed(packed: bytes) -> bytes:
    """The content of a small gzip file, at most a megabyte of it."""
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
        return stream.read(2**20)


# --- NumPy's files


def arrays(data: bytes) -> None:
    """A .npy or an .npz file, as it is."""
    packed = data.startswith(b"PK")
    FILE.write_bytes(data)
    declared = sum(entry.file_size for entry in _entries(data)) if packed else len(data)
    try:
        with bounded(declared, slack=2**22):
            found = dict(read_npz(FILE)) if packed else {"": read_npy(FILE)}
    except DataFileError as error:
        refused(error)
        return
    loaded = np.load(io.BytesIO(data), allow_pickle=False)
    expected = dict(loaded) if packed else {"": loaded}
    require(set(found) == set(expected), "all arrays are read", list(found), list(expected))
    for name, value in found.items():
        same = value.dtype == expected[name].dtype and value.shape == expected[name].shape
        require(same and value.tobytes() == expected[name].tobytes(), "the file's values", name)


def _entries(content: bytes) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            return [entry for entry in file.infolist() if entry.file_size < 2**20]
    except Exception:
        return []


# --- tables of text


def _cells(line: str, delimiter: str) -> list[str]:
    """As RFC 4180 has them; what csv refuses (a lone carriage return) is a cell as it stands."""
    try:
        return next(csv.reader([line], delimiter=delimiter))
    except csv.Error:
        return line.split(delimiter)


def table(data: bytes) -> None:
    """The first byte says whether the rest is gzipped."""
    if not data:
        return
    content = data[1:]
    FILE.write_bytes(gzip.compress(content, 1, mtime=0) if data[0] % 4 == 1 else content)
    try:
        with bounded(len(content), slack=2**22):
            layout = find_layout(FILE)
            found = None if layout is None else read_table(FILE, layout)
    except DataFileError as error:
        refused(error)
        return
    if layout is None or found is None:
        return
    text = content.decode("utf-8-sig")
    lines = [line.strip("\r") for line in text.split("\n")]
    rows = [_cells(line, layout.delimiter) for line in lines if line.strip()]
    rows = rows[1:] if layout.names is not None else rows
    require(len(found.pixels) == len(rows), "every row is an image", len(rows))
    for place, row in enumerate(rows):
        require(len(row) == layout.columns, "a row has the table's columns", row)
        label = "" if layout.label is None else row[layout.label].strip()
        unused = {layout.label, *layout.others}
        pixels = [float(cell.strip()) for column, cell in enumerate(row) if column not in unused]
        require(all(0 <= pixel <= 255 for pixel in pixels), "pixels are 0 to 255", pixels)
        close = np.allclose(found.pixels[place], pixels, rtol=1e-6, atol=1e-6)
        require(bool(close), "the table's pixels", pixels, found.pixels[place])
        require(layout.label is None or found.labels[place] == label, "the table's labels", label)


# --- the files of published sets


def published(data: bytes) -> None:
    """The first byte chooses the form, the rest is one of its files; the others are as they must be."""
    if not data:
        return
    folder = FOLDER / "set"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    form = (_cifar, _mapping, _letters, _rows)[data[0] % 4]
    form(folder, data[1:])


def _found(path: Path, find: Callable[..., Found], declared: int) -> Found | None:
    try:
        with bounded(declared, slack=2**21):
            return find(path, None)
    except DataFileError as error:
        refused(error)
        return None


def _cifar(folder: Path, content: bytes) -> None:
    """A batch of CIFAR-10's binary form."""
    (folder / "data_batch_1.bin").write_bytes(content)
    found = _found(folder / "data_batch_1.bin", find_cifar_file, 2 * len(content))
    whole = len(content) > 0 and len(content) % 3073 == 0
    require((found is not None) == whole, "whole rows are read, and nothing else", len(content))
    if found is not None:
        part = found.parts["train"]
        for number in range(len(content) // 3073):
            row = content[number * 3073 : (number + 1) * 3073]
            require(part.labels[number] == row[0], "a row's first byte is the label")
            colours = [part.images[number, :, :, colour].tobytes() for colour in range(3)]
            require(b"".join(colours) == row[1:], "colours follow one another")


_IDX_IMAGES = b"\0\0\x08\x03" + struct.pack(">3I", 2, 3, 2) + bytes(range(12))
_IDX_LABELS = b"\0\0\x08\x01" + struct.pack(">I", 2) + b"\0\1"


def _mapping(folder: Path, content: bytes) -> None:
    """EMNIST's table of labels and character codes."""
    images = folder / "emnist-digits-train-images-idx3-ubyte"
    images.write_bytes(_IDX_IMAGES)
    (folder / "emnist-digits-train-labels-idx1-ubyte").write_bytes(_IDX_LABELS)
    (folder / "emnist-digits-mapping.txt").write_bytes(content)
    found = _found(images, find_idx_file, len(content))
    if found is None:
        return
    text = content.decode("utf-8-sig")
    rows = sorted(
        (int(row[0]), chr(int(row[1]))) for row in map(str.split, text.splitlines()) if row
    )
    require(list(found.class_names) == [name for _, name in rows], "names by label", rows)
    known = [label for label, _ in rows]
    require([known[n] for n in found.parts["train"].labels] == [0, 1], "labels are of the mapping")
    upright = found.parts["train"].images[0].tolist()
    require(upright == [[0, 2, 4], [1, 3, 5]], "images are upright", upright)


def _letters(folder: Path, content: bytes) -> None:
    """Kuzushiji-MNIST's table of letters."""
    images = folder / "kmnist-train-imgs.npz"
    np.savez(images, np.zeros((2, 3, 3), np.uint8))
    np.savez(folder / "kmnist-train-labels.npz", np.array([0, 1]))
    (folder / "kmnist_classmap.csv").write_bytes(content)
    found = _found(images, find_pair, len(content))
    if found is None:
        return
    lines = [line.strip() for line in content.decode("utf-8-sig").splitlines() if line.strip()]
    require(len(found.class_names) == len(lines) - 1, "a name for each line", found.class_names)


def _rows(folder: Path, content: bytes) -> None:
    """QMNIST's labels."""
    images = folder / "qmnist-train-images-idx3-ubyte"
    images.write_bytes(_IDX_IMAGES)
    (folder / "qmnist-train-labels-idx2-int").write_bytes(content)
    found = _found(images, find_idx_file, len(content))
    if found is None:
        return
    expected = _expected_idx(content)
    require(expected is not None, "a whole IDX file")
    shape, values = expected
    require(len(shape) == 2 and shape[1] == 8, "rows of eight", shape)
    first = list(values[::8])
    require(found.parts["train"].labels.tolist() == first, "the first column", first)
