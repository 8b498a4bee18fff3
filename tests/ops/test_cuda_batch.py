"""Batches from a data set in CUDA, against plain indexing and division."""

import numpy as np
import pytest

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops.batch.cuda import gather, gather_rescale, rescale
from host_cuda import HostLauncher, check, lazy_zeros

dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])

ROWS = [(), (1,), (2,), (3, 3, 1), (4,), (28, 28, 1), (32, 32, 3), (33,), (130, 3), (1500,), (0, 2)]
"""Shapes of one image."""

COUNTS = [0, 1, 70]


def data_set(row, dtype, images=11):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (images, *row)).astype(dtype)


def positions(count, images=11):
    indices = np.random.default_rng(1).integers(0, images, count).astype(np.int32)
    indices[:2] = [images - 1, 0][:count]
    return indices


def at_offset(array, offset):
    """A copy of ``array`` that begins ``offset`` bytes after a multiple of 64."""
    memory = np.empty(array.nbytes + 128, np.uint8)
    start = -memory.ctypes.data % 64 + offset
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_gather(row, count, dtype):
    images, indices = data_set(row, dtype), positions(count)
    batch = check(lambda cuda: gather(cuda, images, indices))
    assert batch.dtype == dtype
    np.testing.assert_array_equal(batch, images[indices])


@dtypes
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_gather_rescale(row, count, dtype):
    images, indices = data_set(row, "uint8"), positions(count)
    batch = check(lambda cuda: gather_rescale(cuda, images, indices, dtype))
    assert batch.dtype == dtype
    real = np.dtype(dtype).type
    np.testing.assert_array_equal(batch, images[indices] / real(255) - real(0.5))


@dtypes
@pytest.mark.parametrize("shape", [(256,), (255,), (16, 16), (1,), (0, 3), (3, 700, 5), ()])
def test_rescale_to_the_bit(shape, dtype):
    x = np.arange(np.prod(shape, dtype=int)).astype(np.uint8).reshape(shape)
    y = check(lambda cuda: rescale(cuda, x, dtype))
    real = np.dtype(dtype).type
    expected = np.array([real(v) / real(255) - real(0.5) for v in x.ravel()]).reshape(shape)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("offset", [1, 2, 4, 8, 12, 16])
def test_addresses_that_are_no_multiple_of_what_is_moved_together(offset):
    images, indices = at_offset(data_set((32,), "uint8"), offset), positions(9)
    np.testing.assert_array_equal(
        check(lambda cuda: gather(cuda, images, indices)), images[indices]
    )
    np.testing.assert_array_equal(
        check(lambda cuda: gather_rescale(cuda, images, indices, "float64")),
        images[indices] / 255 - 0.5,
    )
    np.testing.assert_array_equal(
        check(lambda cuda: rescale(cuda, images, "float64")), images / 255 - 0.5
    )
    numbers = at_offset(data_set((8,), "float32"), offset // 4 * 4)
    np.testing.assert_array_equal(
        check(lambda cuda: gather(cuda, numbers, indices)), numbers[indices]
    )


def test_more_rows_than_blocks_take_turns():
    images, indices = data_set((17,), "uint8"), positions(65535 * 8 + 12)
    cuda, again = HostLauncher(blocks=slice(2)), slice(65535 * 8, None)
    np.testing.assert_array_equal(gather(cuda, images, indices)[again], images[indices[again]])
    np.testing.assert_array_equal(
        gather_rescale(cuda, images, indices, "float64")[again], images[indices[again]] / 255 - 0.5
    )


def test_views_are_taken_as_they_are():
    images, indices = data_set((6, 10), "uint8"), positions(9)
    view, every_second = np.asfortranarray(images), np.repeat(indices, 2)[::2]
    wanted = images[indices]
    np.testing.assert_array_equal(gather(HostLauncher(), view, every_second), wanted)
    np.testing.assert_array_equal(
        gather_rescale(HostLauncher(), view, every_second, "float64"), wanted / 255 - 0.5
    )
    np.testing.assert_array_equal(rescale(HostLauncher(), view, "float64"), images / 255 - 0.5)


def test_other_dtypes_are_refused():
    images, indices = data_set((4,), "float32"), positions(3)
    with pytest.raises(InvalidTypeError, match=r"^gather on CUDA: .*got complex64"):
        gather(HostLauncher(), images.astype("complex64"), indices)
    with pytest.raises(InvalidTypeError, match=r"^gather on CUDA: takes int32 here, got int64"):
        gather(HostLauncher(), images, indices.astype("int64"))
    with pytest.raises(InvalidTypeError, match=r"^rescale on CUDA: takes uint8 here, got float32"):
        rescale(HostLauncher(), images, "float32")
    with pytest.raises(InvalidTypeError, match=r"^gather_rescale on CUDA: takes uint8 here"):
        gather_rescale(HostLauncher(), images, indices, "float32")
    with pytest.raises(InvalidTypeError, match=r"^rescale on CUDA: .*got int32"):
        rescale(HostLauncher(), images.astype("uint8"), "int32")
    with pytest.raises(InvalidValueError, match=r"^gather: indices must be of shape"):
        gather(HostLauncher(), images, indices[:, None])


@pytest.mark.parametrize("row", [2**15, 2**15 + 1])
def test_beyond_2_to_the_31(row):
    images = lazy_zeros((2**16 + 9, row), np.uint8)
    images[:9] = images[-9:] = data_set((row,), "uint8")[:9]
    indices = np.arange(len(images), dtype=np.int32)[::-1].copy()
    last_rows = HostLauncher(blocks=slice(-1, None))
    np.testing.assert_array_equal(gather(last_rows, images, indices)[-1], images[0])
    np.testing.assert_array_equal(
        gather_rescale(last_rows, images, indices, "float64")[-1], images[0] / 255 - 0.5
    )
    indices = np.full(3, len(images) - 1, np.int32)
    np.testing.assert_array_equal(gather(HostLauncher(), images, indices), images[indices])
    np.testing.assert_array_equal(
        gather_rescale(HostLauncher(), images, indices, "float64"), images[indices] / 255 - 0.5
    )
    # All as one row: 4096 blocks of 256 threads in turn, each thread with 1 or 4 bytes.
    units = images.size // (4 if images.size % 4 == 0 else 1)
    block = (units - 1) // 256 % 4096
    last_bytes = HostLauncher(blocks=slice(block, block + 1))
    np.testing.assert_array_equal(
        rescale(last_bytes, images, "float64")[-1, -4:], images[-1, -4:] / 255 - 0.5
    )
