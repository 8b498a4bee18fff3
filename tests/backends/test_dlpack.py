"""Arrays of another library enter a backend on the same device without being copied."""

import numpy as np
import pytest

from arraycnn import Conv2d, Dense, Flatten, InvalidTypeError, Model, Rescale, Sequential
from arraycnn.backends import get_backend
from arraycnn.model.image_inputs import ImageForm, ImageTaker

SHAPE = (6, 5, 2)
PIXELS = np.random.default_rng(2).integers(0, 256, (8, *SHAPE), dtype=np.uint8)
KINDS = {"pixels": PIXELS, "numbers": (PIXELS / 255.0 - 0.5).astype("float32")}
LIBRARIES = ["numpy", "torch", "jax"]
PAIRS = [(source, backend) for source in LIBRARIES for backend in LIBRARIES]
# JAX copies what comes from NumPy: its own arrays never change.
SHARING = [names for names in PAIRS if names != ("numpy", "jax")]


def place_images(images, shape, backend, dtype):
    return ImageTaker(ImageForm(shape, dtype, takes_bytes=False)).place(images, backend).resident


def library(name):
    if name != "numpy":
        pytest.importorskip(name, reason=f"{name} is not installed")
    return get_backend(name)


def address(array):
    """Where the first number of ``array`` lies in memory, whatever library it is of."""
    if hasattr(array, "data_ptr"):
        return array.data_ptr()
    if hasattr(array, "unsafe_buffer_pointer"):
        return array.unsafe_buffer_pointer()
    return array.__array_interface__["data"][0]


def born_in(name, array):
    """``array`` as a library makes it by itself, and so as it likes its memory aligned."""
    if name == "torch":
        return pytest.importorskip("torch", reason="torch is not installed").tensor(array)
    if name == "jax":
        return pytest.importorskip("jax", reason="jax is not installed").numpy.array(array)
    aligned = np.empty(array.nbytes + 64, np.uint8)
    start = -aligned.ctypes.data % 64
    result = aligned[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    result[...] = array
    return result


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("source", "backend"), SHARING)
def test_the_memory_is_the_same(source, backend, kind):
    placement, images = library(backend), born_in(source, KINDS[kind])
    before = address(images)
    placed = place_images(images, SHAPE, placement, "float32")
    assert address(placed) == before
    np.testing.assert_array_equal(placement.to_numpy(placed), KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("source", "backend"), PAIRS)
def test_predictions_are_those_of_numpy_arrays(source, backend, kind):
    layers = [Conv2d(3, 3), Flatten(), Dense(4)]
    network = Sequential(*([Rescale()] if kind == "pixels" else []), *layers)
    model = Model(network, SHAPE, library(backend))
    np.testing.assert_array_equal(
        model.predict(born_in(source, KINDS[kind])), model.predict(KINDS[kind])
    )


def test_a_view_with_strides_is_not_copied_either(torch):
    """Images that PyTorch has channels first, seen channels last."""
    first = torch.tensor(PIXELS.transpose(0, 3, 1, 2).copy())
    placed = place_images(first.permute(0, 2, 3, 1), SHAPE, get_backend("numpy"), "float32")
    assert address(placed) == first.data_ptr()
    np.testing.assert_array_equal(placed, PIXELS)


def test_grey_images_without_an_axis_of_channels(torch):
    images = torch.tensor(PIXELS[..., 0])
    placed = place_images(images, (6, 5, 1), get_backend("numpy"), "float32")
    assert address(placed) == images.data_ptr()
    assert placed.shape == (8, 6, 5, 1)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_tensor_with_a_gradient_is_read_like_any_other(backend, torch):
    images = torch.tensor(KINDS["numbers"], requires_grad=True)
    placed = place_images(images, SHAPE, get_backend(backend), "float32")
    assert address(placed) == images.data_ptr()


@pytest.mark.parametrize("backend", LIBRARIES)
def test_a_tensor_on_another_device_is_refused(backend, torch):
    placement = library(backend)
    with pytest.raises(InvalidTypeError, match="copy it to the host as a NumPy array first"):
        place_images(torch.tensor(PIXELS).to("meta"), SHAPE, placement, "float32")


@pytest.mark.gpu
def test_a_tensor_on_the_gpu_enters_cupy_without_a_copy(torch):
    cupy = pytest.importorskip("cupy", reason="cupy is not installed")
    if not torch.cuda.is_available() or not cupy.is_available():
        pytest.skip("no CUDA device")
    backend = get_backend("cupy")
    images = torch.tensor(PIXELS, device="cuda")
    placed = place_images(images, SHAPE, backend, "float32")
    assert placed.data.ptr == images.data_ptr()
    with pytest.raises(InvalidTypeError, match="copy it to the host"):
        place_images(images, SHAPE, get_backend("numpy"), "float32")
