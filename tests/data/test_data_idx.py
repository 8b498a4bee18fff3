"""`read_idx` against files packed by hand: what it reads, and how it refuses what is not IDX."""

import gzip
import math
import os
import pickle
import re
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from arraycnn.data.idx import read_idx
from arraycnn.errors import DataError, DataFileError

PIXELS = bytes(range(24))


def idx_bytes(shape=(2, 3, 4), body=PIXELS, type_code=0x08):
    return struct.pack(f">HBB{len(shape)}I", 0, type_code, len(shape), *shape) + body


def written(tmp_path: Path, content: bytes, name: str = "a-file") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def refusal(path: Path, expected_ndim: int | None = None) -> str:
    """The message `read_idx` refuses the file with: one line that names the file."""
    with pytest.raises(DataError) as caught:
        read_idx(path, expected_ndim)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert caught.value.__cause__ is None
    return message


@pytest.mark.parametrize("name", ["images", "images.gz", "images.idx3-ubyte"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
def test_content_and_not_the_name_tells_the_format(tmp_path, pack, name):
    images = read_idx(written(tmp_path, pack(idx_bytes()), name), expected_ndim=3)
    assert images.dtype == np.uint8
    assert images.shape == (2, 3, 4)
    assert images[1, 2].tolist() == [20, 21, 22, 23]
    assert images[0, 1, 3] == 7


def test_reads_a_path_given_as_text(tmp_path):
    path = written(tmp_path, idx_bytes((24,)))
    assert read_idx(str(path)).tolist() == list(range(24))


@pytest.mark.parametrize(
    ("type_code", "letter", "dtype"),
    [
        (0x09, "b", np.int8),
        (0x0B, "h", np.int16),
        (0x0C, "i", np.int32),
        (0x0D, "f", np.float32),
        (0x0E, "d", np.float64),
    ],
)
def test_other_types_are_read_big_endian(tmp_path, type_code, letter, dtype):
    values = [-3, 100, 7]
    body = struct.pack(f">3{letter}", *values)
    array = read_idx(written(tmp_path, idx_bytes((3,), body, type_code)))
    assert array.dtype == dtype
    assert array.tolist() == values


def test_several_gzip_members_make_one_file(tmp_path):
    content = idx_bytes()
    path = written(tmp_path, gzip.compress(content[:20]) + gzip.compress(content[20:]))
    assert read_idx(path).ravel().tolist() == list(range(24))


def test_a_missing_file(tmp_path):
    assert "must exist" in refusal(tmp_path / "none")


def test_a_folder(tmp_path):
    assert "is a folder" in refusal(tmp_path)


def test_a_path_through_a_file(tmp_path):
    written(tmp_path, b"x")
    assert "must be readable" in refusal(tmp_path / "a-file" / "images")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read every file"
)
def test_a_file_without_permission(tmp_path):
    path = written(tmp_path, idx_bytes())
    path.chmod(0)
    assert "must be readable" in refusal(path)


def test_an_empty_file(tmp_path):
    assert "is empty" in refusal(written(tmp_path, b""))


@pytest.mark.parametrize("start", [b"<!DOCTYPE html>", b"\n <html>", b"\xef\xbb\xbf<?xml?>"])
def test_a_web_page_saved_as_the_file(tmp_path, start):
    message = refusal(written(tmp_path, start + b"<p>403 Forbidden</p>", "images.gz"))
    assert "is a web page" in message
    assert "delete it" in message


def test_every_truncation_of_a_gzip_file_is_noticed(tmp_path):
    whole = gzip.compress(idx_bytes())
    for length in range(2, len(whole)):
        message = refusal(written(tmp_path, whole[:length]))
        assert "must be a whole gzip file" in message, length


def test_every_truncation_of_a_raw_file_is_noticed(tmp_path):
    whole = idx_bytes()
    for length in range(len(whole)):
        refusal(written(tmp_path, whole[:length]))


def test_a_wrong_gzip_checksum(tmp_path):
    damaged = bytearray(gzip.compress(idx_bytes()))
    damaged[-8] ^= 1  # the CRC-32 is the first half of the eight-byte trailer
    message = refusal(written(tmp_path, bytes(damaged)))
    assert "damaged" in message
    assert "CRC" in message


def test_damage_inside_the_compressed_data(tmp_path):
    damaged = bytearray(gzip.compress(idx_bytes()))
    damaged[10] |= 0b110  # the reserved kind of deflate block
    assert "damaged" in refusal(written(tmp_path, bytes(damaged)))


def test_garbage_after_a_gzip_stream(tmp_path):
    assert "damaged" in refusal(written(tmp_path, gzip.compress(idx_bytes()) + b"garbage"))


@pytest.mark.parametrize(
    "magic", [b"\x01\x00\x08\x03", b"\x00\x00\x0a\x03", b"\x93NUM", b"PK\x03\x04"]
)
def test_a_wrong_magic_number(tmp_path, magic):
    message = refusal(written(tmp_path, magic + idx_bytes()[4:]))
    assert "magic number" in message
    assert magic.hex() in message


@pytest.mark.parametrize(
    ("pack", "body", "found"),
    [
        (bytes, PIXELS[:-1], "23"),
        (bytes, PIXELS + b"\0", "25"),
        (gzip.compress, PIXELS[:-1], "23"),
        (gzip.compress, PIXELS + b"\0", "more"),
    ],
)
def test_a_wrong_item_count(tmp_path, pack, body, found):
    message = refusal(written(tmp_path, pack(idx_bytes(body=body))))
    assert re.search(rf"exactly 24 bytes .* holds {found};", message)


@pytest.mark.parametrize("ndim", [0, 9, 65, 255])
def test_an_impossible_number_of_axes(tmp_path, ndim):
    content = struct.pack(">HBB", 0, 0x08, ndim) + struct.pack(">I", 1) * ndim + b"\0"
    assert f"its header says {ndim};" in refusal(written(tmp_path, content))


def test_another_number_of_axes_than_expected(tmp_path):
    message = refusal(written(tmp_path, idx_bytes()), expected_ndim=1)
    assert "must have 1 axes" in message
    assert "has 3;" in message


def test_an_axis_of_length_zero(tmp_path):
    assert "(0, 28, 28)" in refusal(written(tmp_path, idx_bytes((0, 28, 28), b"")))


@pytest.mark.parametrize("shape", [(2**31,), (2**32 - 1,) * 3, (2**16, 2**16, 2**16, 2**16)])
def test_a_declared_size_above_the_limit_is_refused_unread(tmp_path, shape):
    # The last product is 2**64, which fixed-width arithmetic takes for 0.
    raw = refusal(written(tmp_path, idx_bytes(shape)))
    assert f"exactly {math.prod(shape)} bytes of data, the file holds 24" in raw
    packed = refusal(written(tmp_path, gzip.compress(idx_bytes(shape))))
    assert "may hold at most 1073741824 bytes" in packed


def peak_memory_of_refusal(path: Path) -> tuple[int, str]:
    tracemalloc.start()
    try:
        message = refusal(path)
        return tracemalloc.get_traced_memory()[1], message
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_is_not_decompressed(tmp_path):
    bomb = written(tmp_path, gzip.compress(idx_bytes(body=PIXELS + bytes(200_000_000)), 1))
    peak, message = peak_memory_of_refusal(bomb)
    assert "holds more" in message
    assert peak < 8_000_000


def test_a_large_declared_size_costs_no_memory_before_the_bytes_are_there(tmp_path):
    path = written(tmp_path, gzip.compress(idx_bytes((2**29,))))
    peak, message = peak_memory_of_refusal(path)
    assert "a file of this size can hold" in message
    assert peak < 8_000_000


def test_reading_a_gzip_file_takes_less_than_half_as_much_again_as_its_size(tmp_path):
    declared = 2**24
    path = written(tmp_path, gzip.compress(idx_bytes((declared,), bytes(declared)), 1))
    tracemalloc.start()
    try:
        array = read_idx(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert array.nbytes == declared
    assert peak < 1.1 * declared


def test_a_raw_file_of_bytes_is_mapped_and_cannot_be_written_to(tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.write(idx_bytes((2**32 - 1,), b""))
        file.truncate(8 + 2**32 - 1)  # 4 GiB that take no room on the disk
    tracemalloc.start()
    try:
        array = read_idx(tmp_path / "large")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert isinstance(array, np.memmap)
    assert array.shape == (2**32 - 1,)
    assert array[-1] == 0
    assert not array.flags.writeable


def test_the_mnist_package_reads_the_same(tmp_path):
    mnist = pytest.importorskip("mnist")
    path = written(tmp_path, idx_bytes())
    with path.open("rb") as file:
        np.testing.assert_array_equal(read_idx(path), mnist.parse_idx(file))


@pytest.mark.parametrize(
    ("content", "offset"),
    [
        (b"\1\0\x08\1" + bytes(8), 0),
        (b"\0\0\x08\x09" + bytes(40), 3),
        (b"\0\0\x08", 3),
        (b"\0\0\x08\2\0\0\0\1\0", 9),
        (idx_bytes((2, 0, 4), b""), 8),
        (idx_bytes(body=b""), 16),
    ],
)
def test_an_error_holds_file_offset_and_reason(tmp_path, content, offset):
    path = written(tmp_path, content)
    with pytest.raises(DataFileError) as caught:
        read_idx(path)
    error = caught.value
    assert (error.path, error.offset) == (str(path), offset)
    assert error.reason in str(error)
    assert f", byte {offset}: " in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.offset) == (str(error), offset)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_refused_without_waiting_for_its_other_end(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "is a pipe or a device" in refusal(tmp_path / "pipe")
