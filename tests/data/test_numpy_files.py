"""`read_npy` and `read_npz` against `numpy.load`, and against files that lie."""

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from arraycnn.data import numpy_files
from arraycnn.data.numpy_files import read_npy, read_npz
from arraycnn.errors import DataFileError

VALUES = hnp.arrays(
    st.sampled_from(["u1", "i2", ">i4", "i8", "f4", ">f8", "?", "U3"]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def refusal(read, path):
    with pytest.raises(DataFileError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("limit", [0, 2**26], ids=["mapped", "read"])
@given(array=VALUES, fortran=st.booleans(), packed=st.booleans())
def test_reads_what_numpy_wrote(tmp_path_factory, limit, array, fortran, packed):
    array = np.asfortranarray(array) if fortran else array
    folder = tmp_path_factory.mktemp("arrays")
    np.save(folder / "a.npy", array)
    (np.savez_compressed if packed else np.savez)(folder / "a.npz", x=array, y=array[None])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numpy_files, "MAPPED_BYTES", limit)
        archive = read_npz(folder / "a.npz")
        assert set(archive) == {"x", "y"}
        for found in (read_npy(folder / "a.npy"), archive["x"], archive["y"].reshape(array.shape)):
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)
        mapped = limit < array.nbytes
        assert isinstance(read_npy(folder / "a.npy"), np.memmap) == mapped
        assert isinstance(archive["x"], np.memmap) == (mapped and not packed)


def test_objects_and_records_are_refused_and_nothing_is_unpickled(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (tmp_path.joinpath("unpickled").touch, ())

    path = tmp_path / "a.npy"
    path.write_bytes(npy(np.array([Harmful()], dtype=object), allow_pickle=True))
    assert "objects are never unpickled" in refusal(read_npy, path)
    path.write_bytes(npy(np.zeros(2, "i4,f4")))
    assert "must hold numbers or text" in refusal(read_npy, path)
    assert not (tmp_path / "unpickled").exists()


def test_every_truncation_is_noticed(tmp_path):
    whole = npy(np.arange(5.0))
    archive = io.BytesIO()
    np.savez_compressed(archive, x=np.arange(5.0))
    for content, read in ((whole, read_npy), (archive.getvalue(), lambda p: read_npz(p)["x"])):
        for length in range(len(content)):
            (tmp_path / "cut").write_bytes(content[:length])
            refusal(read, tmp_path / "cut")


@pytest.mark.parametrize("shape", ["(1000000000000,)", "(-1,)", "(2, 3.5)", "(" * 300])
def test_a_header_that_lies_costs_nothing(tmp_path, shape):
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text
    (tmp_path / "a.npy").write_bytes(header + bytes(8))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header + bytes(8))
    tracemalloc.start()
    try:
        refusal(read_npy, tmp_path / "a.npy")
        refusal(lambda path: read_npz(path)["x"], tmp_path / "a.npz")
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("limit", [0, 2**26], ids=["mapped", "read"])
def test_a_flipped_bit_of_the_data_is_noticed(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(numpy_files, "MAPPED_BYTES", limit)
    np.savez(tmp_path / "a.npz", x=np.arange(64.0))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[content.index(np.arange(64.0).tobytes()) + 100] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    assert "CRC" in refusal(lambda path: read_npz(path)["x"], tmp_path / "a.npz")


def test_what_is_no_archive(tmp_path):
    np.savez(tmp_path / "good.npz", x=np.zeros(3))
    good = (tmp_path / "good.npz").read_bytes()
    for content in (b"", b"hello", b"<html>", b"#!/bin/sh\n" + good):
        (tmp_path / "a.npz").write_bytes(content)
        refusal(read_npz, tmp_path / "a.npz")
    refusal(read_npz, tmp_path)
    assert "no such file" in refusal(read_npz, tmp_path / "absent.npz")
    with zipfile.ZipFile(tmp_path / "lzma.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.npy", npy(np.zeros(3)))
    assert "stored or deflated" in refusal(lambda p: read_npz(p)["x"], tmp_path / "lzma.npz")
