"""What the fuzzers run: the parsers, each with an independent judgement of the result.

A target takes bytes and returns in silence where the parser did what it must: refuse what is wrong
with an error of the `ArraycnnError` family in one line, or return exactly what the bytes say. Every
other exception, a wrong acceptance or refusal, and memory beyond the cap leave the target.
"""

import array
import atexit
import builtins
import codecs
import csv
import gzip
import hashlib
import io
import json
import logging
import math
import os
import pickle
import shutil
import struct
import sys
import tempfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import numpy as np

from arraycnn import ArraycnnError, Model, NumPy
from arraycnn.backends import numpy as numpy_backend
from arraycnn.cli import cli, main
from arraycnn.data import image_files
from arraycnn.data.cifar import find_cifar_file
from arraycnn.data.csv_table import find_layout, read_table
from arraycnn.data.idx import read_idx
from arraycnn.data.idx_files import find_idx_file
from arraycnn.data.npz_pairs import find_pair
from arraycnn.data.numpy_files import read_npy, read_npz
from arraycnn.data.pickled import read_pickle
from arraycnn.data.pickled_arrays import PickledArray, PickledDType
from arraycnn.data.reader_result import Found
from arraycnn.errors import CheckpointError, DataFileError
from arraycnn.layers.config import network_from_config, network_to_config

MARK = b"arraycnn sha256 "
# One file, written over and over, in memory where the system has that.
_FOLDER = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
_OWNER = os.getpid()
FILE = _FOLDER / "input"
# Pictures of full size would only make the fuzzer slow.
MAX_PIXELS = 2**16
MEMORY = 2**24
"""Bytes a parser may take beside what its input declares."""


class Violation(AssertionError):
    """A parser broke a promise."""


def require(kept: bool, promise: str, *values: object) -> None:
    if not kept:
        raise Violation(f"{promise}: {values!r}"[:2000])


@contextmanager
def bounded(declared: int = 0, slack: int = MEMORY) -> Iterator[None]:
    """Python's and NumPy's memory stays within 1.5 times ``declared`` plus ``slack`` bytes."""
    tracing = tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1] - before
        if not tracing:
            tracemalloc.stop()
        require(peak <= 1.5 * declared + slack, "memory is bounded", peak, declared)


def refused(error: ArraycnnError) -> None:
    """An error that users see is one line."""
    text = str(error)
    require(text != "" and text.isprintable(), "an error is one printable line", text)


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


# --- pickles


class _Known(pickle.Unpickler):
    """Python's own unpickler, for what the restricted one has accepted."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ("__builtin__", "bytes"):
            return bytes
        if (module, name) == ("_codecs", "encode"):
            return codecs.encode
        require(module.split(".")[0] == "numpy", "only names of NumPy's are known", module, name)
        require(name in _NUMPY, "only names of NumPy's are known", module, name)
        return _NUMPY[name]


_NUMPY = {
    "ndarray": np.ndarray,
    "dtype": np.dtype,
    "_reconstruct": np._core.multiarray._reconstruct,
    "scalar": np._core.multiarray.scalar,
    "_frombuffer": np._core.numeric._frombuffer,
}


def pickled(data: bytes) -> None:
    """The first byte says whether the rest is gzipped. Nothing may run, import or open."""
    if not data:
        return
    content = data[1:]
    FILE.write_bytes(gzip.compress(content, 1, mtime=0) if data[0] % 4 == 1 else content)
    refuse = mock.Mock(side_effect=Violation("a pickle ran something"))
    try:
        with (
            mock.patch.object(pickle, "Unpickler", refuse),
            mock.patch.object(pickle, "loads", refuse),
            mock.patch.object(builtins, "eval", refuse),
            mock.patch.object(os, "system", refuse),
            bounded(len(content), slack=2**22),
        ):
            found = read_pickle(FILE)
    except DataFileError as error:
        refused(error)
        require(error.offset is None or 0 <= error.offset <= len(content), "an offset is in it")
        return
    try:
        expected = _Known(io.BytesIO(content), encoding="bytes").load()
    except Violation:
        raise
    except Exception:  # it may be stricter
        return
    _check_same(found, expected)


def _check_same(found: object, expected: object) -> None:
    """Compare without recursion: lists may hold themselves, and each other many times."""
    waiting, seen = [(found, expected)], set()
    while waiting:
        one, other = waiting.pop()
        if (id(one), id(other)) in seen:
            continue
        seen.add((id(one), id(other)))
        if isinstance(one, PickledArray):
            one = one.array
            require(type(other) is np.ndarray, "an array is one", other)
            if one is None:  # never filled: NumPy has an empty one
                continue
            same = one.dtype == other.dtype and one.shape == other.shape
            require(same and one.tobytes() == other.tobytes(), "the pickle's values", one, other)
        elif isinstance(one, list | tuple):
            require(type(one) is type(other) and len(one) == len(other), "the pickle's list")
            waiting += zip(one, other, strict=True)
        elif isinstance(one, dict):
            require(type(other) is dict and len(one) == len(other), "the pickle's dict")
            waiting += zip(one, other, strict=True)
            waiting += zip(one.values(), other.values(), strict=True)
        elif isinstance(one, int | str | bytes | memoryview | float | None):
            kind = bytes if isinstance(one, memoryview) else type(one)
            plain = other.item() if isinstance(other, np.generic) else other
            plain = bytes(plain) if isinstance(plain, bytearray) else plain
            require(kind is type(plain), "the pickle's kind", one, other)
            require(one == plain or one != one, "the pickle's value", one, other)
        else:  # a name or a dtype that stands alone
            require(callable(one) or isinstance(one, PickledDType), "nothing else is built", one)


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
    folder = _FOLDER / "set"
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


# --- pictures

_SHAPES = ((8, 8, 1), (28, 28, 1), (5, 7, 3), (1, 1, 1))


def image(data: bytes) -> None:
    """The first byte chooses the shape asked for, the rest is the file."""
    if not data:
        return
    with mock.patch.object(image_files, "MAX_PIXELS", MAX_PIXELS):
        _image(data[1:], _SHAPES[data[0] % len(_SHAPES)])


def _image(content: bytes, shape: tuple[int, int, int]) -> None:
    try:
        with bounded():
            pixels = image_files.decode_image(content, "input", shape)
    except DataFileError as error:
        refused(error)
    else:
        require(pixels.shape == shape, "the shape is the one asked for", pixels.shape, shape)
        require(pixels.dtype == np.uint8, "pixels are bytes", pixels.dtype)
        declared = _png_pixels(content)
        require(declared <= MAX_PIXELS, "pixels are limited", declared)
    FILE.write_bytes(content)
    try:
        height, width, channels = image_files.image_shape(FILE)
    except DataFileError as error:
        refused(error)
    else:
        require(0 < height * width <= MAX_PIXELS, "pixels are limited", height, width)
        require(channels in (1, 3), "pictures are grey or colour", channels)


def _png_pixels(content: bytes) -> int:
    """How many pixels the header of a PNG declares; 0 for other files."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR") or len(content) < 24:
        return 0
    width, height = struct.unpack(">II", content[16:24])
    return width * height


# --- model files


def sealed(body: bytes) -> bytes:
    """``body`` as a model file whose digest is right."""
    return body + MARK + hashlib.sha256(body).hexdigest().encode()


def archive(entries: dict[str, bytes]) -> bytes:
    """A zip file with the comment of a model file, less the comment's bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in entries.items():
            file.writestr(zipfile.ZipInfo(name), content)
        file.comment = bytes(len(MARK) + 64)
    return buffer.getvalue()[: -len(MARK) - 64]


def npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def checkpoint(data: bytes) -> None:
    """The first byte says what the rest is.

    A file, the body of a file whose digest is made right, or the header of one whose arrays are
    those of a small network.
    """
    kind, rest = data[:1], data[1:]
    if not kind:
        return
    if kind[0] % 3 == 0:
        content = rest
    elif kind[0] % 3 == 1:
        content = sealed(rest)
    else:
        header = npy(np.frombuffer(rest, np.uint8))
        content = sealed(archive({"header.npy": header, **PARAMETERS}))
    FILE.write_bytes(content)
    try:
        # Compiling kernels takes longer than all else, and no parser needs them.
        with mock.patch.object(numpy_backend, "find_spec"), bounded(4 * len(content)):
            numpy_backend.find_spec.return_value = None
            model = Model.load(FILE, backend=NumPy(fast=False))
    except CheckpointError as error:
        refused(error)
        return
    require(content == sealed(content[:-80]), "a file with another digest is refused")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        names = {f"params/{name}" for name in model.parameters}
        require(names <= set(arrays.files), "all parameters are in the file", names)
        state = {name for name in arrays.files if name.startswith("state/")}
        require(set(arrays.files) == names | state | {"header"}, "no array is left over")
        for name, value in model.parameters.items():
            saved = arrays[f"params/{name}"]
            same = saved.dtype == value.dtype and saved.shape == value.shape
            require(same and saved.tobytes() == value.tobytes(), "values are the file's", name)


PARAMETERS = {
    "params/1.weight.npy": npy(np.ones((3, 3, 1, 2), np.float32)),
    "params/1.bias.npy": npy(np.ones(2, np.float32)),
    "params/3.weight.npy": npy(np.ones((8, 3), np.float32)),
    "params/3.bias.npy": npy(np.ones(3, np.float32)),
}


# --- networks as JSON


def config(data: bytes) -> None:
    """JSON, as it stands in a model file's header."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    try:
        with bounded(8 * len(data)):
            network = network_from_config(value)
    except CheckpointError as error:
        refused(error)
        return
    if not hasattr(network, "init"):
        return  # plain values come back as they are; `Model` refuses them
    require(isinstance(value, dict) and "class" in value, "only what names a class is a layer")
    described = json.loads(json.dumps(network_to_config(network)))
    again = network_from_config(described)
    require(network_to_config(again) == network_to_config(network), "a network survives", value)
    _check_settings(described)


def _check_settings(described: object) -> None:
    """No layer has a setting that its documentation rules out."""
    if isinstance(described, list):
        for part in described:
            _check_settings(part)
    if not isinstance(described, dict):
        return
    for name, value in described.items():
        if name in ("filters", "outputs"):
            require(type(value) is int and value >= 1, f"{name} is a positive int", value)
        elif name in ("kernel_size", "stride", "pool_size"):
            sizes = value if isinstance(value, list) else [value]
            good = all(type(size) is int and size >= 1 for size in sizes) and len(sizes) <= 2
            require(good or value is None, f"{name} is one or two positive ints", value)
        elif name == "rate":
            require(0 <= value < 1, "a dropout rate is in [0, 1)", value)
        else:
            _check_settings(value)


# --- the command line


def options(data: bytes) -> None:
    """Arguments, one a line; the system passes none with a zero byte."""
    arguments = data.replace(b"\0", b"").decode("utf-8", "surrogateescape").split("\n")
    out, err = io.StringIO(), io.StringIO()
    argv, sys.argv = sys.argv, ["arraycnn", *arguments]
    handlers, logging.root.handlers = logging.root.handlers, [logging.NullHandler()]
    try:
        with ExitStack() as stack:
            for command in cli.commands.values():
                stack.enter_context(mock.patch.object(command, "callback", _judge))
            stack.enter_context(bounded())
            stack.enter_context(redirect_stdout(out))
            stack.enter_context(redirect_stderr(err))
            main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv, logging.root.handlers = argv, handlers
    lines = err.getvalue().splitlines()
    require(code in (0, 2), "a user's mistake ends with code 2", code, lines, arguments)
    if code == 2 and "--debug" not in arguments:
        one = len(lines) == 1 and lines[0].startswith("arraycnn: ")
        require(one, "a mistake is told in one line", lines, arguments)


def _judge(**chosen: object) -> None:
    """In place of a command: what was parsed is what its help says."""
    for name, value in chosen.items():
        if value is None:
            continue
        if name in ("epochs", "batch_size", "limit", "top"):
            require(type(value) is int and value >= 1, f"--{name} is a positive int", value)
        elif name == "seed":
            require(type(value) is int and value >= 0, "--seed is at least 0", value)
        elif name == "learning_rate":
            require(math.isfinite(value) and value > 0, "--learning-rate is positive", value)
        elif name == "image_size":
            good = len(value) in (2, 3) and all(1 <= size <= 99_999 for size in value)
            require(good, "--image-size is two or three sizes", value)
        elif name == "validation":
            require(0 <= value < 1, "--validation is in [0, 1)", value)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (idx, arrays, pickled, table, published, image, checkpoint, config, options)
}


@atexit.register
def clean_up() -> None:
    """Called by name as well: libFuzzer leaves without Python's own end."""
    if os.getpid() == _OWNER:  # and not a fork that ends
        shutil.rmtree(_FOLDER, ignore_errors=True)
