"""The kernels of PyTorch and JAX: against plain loops, and NumPy's generic ones, on odd shapes."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arraycnn.errors import InvalidTypeError
from arraycnn.ops import GENERIC, Window
from arraycnn.ops.random_bits import seed_words
from cases import convolution_by_loops
from kernel_cases import KERNEL_CASES, check_case
from test_ops import different_signatures, images_and_windows, whole_numbers


def results(record, place, take, shape, window, filters, dtype, compiled=lambda f: f):
    """What a convolution with ``window``, and pools of its size, give and take back."""
    pool = dataclasses.replace(window, padding=(0, 0, 0, 0))
    # Whole numbers, so that their sums are exact; few of them, so that pools have ties.
    x = whole_numbers(shape) // 4
    weight = whole_numbers((*window.kernel_size, shape[3], filters), seed=1)
    bias = whole_numbers((filters,), seed=2)
    dy = whole_numbers((shape[0], *window.output_shape(*shape[1:3]), filters), seed=3)
    dpool = whole_numbers((shape[0], *pool.output_shape(*shape[1:3]), shape[3]), seed=4)

    def all_of_them(x, weight, bias, dy, dpool):
        found = {
            "y": record.conv2d(record, x, weight, bias, window),
            "y without bias": record.conv2d(record, x, weight, None, window),
            "mean": record.avg_pool2d(x, pool),
            "dx of mean": record.avg_pool2d_backward(dpool, shape, pool),
        }
        dx, dweight, dbias = record.conv2d_backward(record, x, weight, dy, window, True)
        none, again, _ = record.conv2d_backward(record, x, weight, dy, window, False)
        assert none is None
        found |= {"dx": dx, "dweight": dweight, "dbias": dbias, "dweight alone": again}
        for ties in ("first", "all"):
            largest, winners = record.max_pool2d(x, pool, ties)
            dlargest = record.max_pool2d_backward(dpool, winners, shape, pool, ties)
            found |= {f"largest, {ties}": largest, f"dx of largest, {ties}": dlargest}
        return found

    placed = [place(array.astype(dtype)) for array in (x, weight, bias, dy, dpool)]
    found = {name: take(array) for name, array in compiled(all_of_them)(*placed).items()}
    by_loops = convolution_by_loops(x, weight, bias, window.stride, window.padding)
    assert np.abs(found["y"] - by_loops).max() < BOUNDS[dtype][1] * 10
    return found


BOUNDS = {"float32": (1e-5, 1e-3), "float64": (1e-12, 1e-11)}
"""Relative, and absolute: results are sums of some hundred products of numbers about 1."""


def same(found, expected, dtype):
    for name, array in expected.items():
        assert found[name].dtype == dtype, name
        assert found[name].shape == array.shape, name
        relative, absolute = BOUNDS[dtype]
        np.testing.assert_allclose(found[name], array, rtol=relative, atol=absolute, err_msg=name)


def expected_of(shape, window, filters):
    return results(GENERIC, np.asarray, np.asarray, shape, window, filters, "float64")


@given(images_and_windows(), st.integers(1, 3), st.sampled_from(["float32", "float64"]))
@settings(max_examples=30)
def check_torch(torch, shape_and_window, filters, dtype):
    from arraycnn.ops.torch_kernels import torch_kernels

    (images, height, width, channels), window = shape_and_window
    shape = (images, height + 4, width + 4, channels)  # so that the pool fits, too
    found = results(
        torch_kernels(), torch.asarray, lambda t: t.numpy(), shape, window, filters, dtype
    )
    same(found, expected_of(shape, window, filters), dtype)


def test_pytorch_computes_what_the_generic_kernels_do(torch):
    check_torch(torch)


def test_pytorch_steps_a_window_of_one_pixel_down_and_right(torch):
    from arraycnn.ops.torch_kernels import torch_kernels

    given = (2, 5, 7, 3), Window((1, 1), (2, 3)), 4
    found = results(torch_kernels(), torch.asarray, lambda t: t.numpy(), *given, "float64")
    same(found, expected_of(*given), "float64")


SHAPES = {
    "rest, unlike padding": ((2, 8, 9, 2), Window((3, 2), (2, 3), (1, 0, 0, 2)), 3),
    "touching, with a rest": ((2, 7, 9, 3), Window((2, 4), (2, 4), (0, 0, 0, 0)), 4),
    "overlapping, padded": ((1, 6, 5, 1), Window((5, 3), (1, 1), (2, 2, 1, 1)), 2),
    "apart": ((3, 9, 8, 2), Window((1, 2), (3, 4), (0, 1, 3, 0)), 1),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SHAPES)
def test_jax_computes_what_the_generic_kernels_do(jax, name, dtype):
    from arraycnn.ops.jax_kernels import jax_kernels

    found = results(
        jax_kernels(), jax.numpy.asarray, np.asarray, *SHAPES[name], dtype, compiled=jax.jit
    )
    same(found, expected_of(*SHAPES[name]), dtype)


def records(torch, jax):
    from arraycnn.ops.jax_kernels import jax_kernels
    from arraycnn.ops.torch_kernels import torch_kernels

    return torch_kernels(), jax_kernels()


OWN = ("max_pool2d", "max_pool2d_backward", "batch_norm", "batch_norm_backward")
"""What a forward pass of these leaves for the backward one is the record's own; compared below."""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pytorch_computes_each_case_of_the_table(torch, dtype):
    from arraycnn.ops.torch_kernels import torch_kernels

    record, checked = torch_kernels(), set()
    for case in KERNEL_CASES:
        if getattr(record, case.op) is not None and case.op not in OWN:
            check_case(case, record, torch.asarray, lambda t: t.numpy(), dtype, "fp32")
            checked.add(case.op)
    assert {"relu_backward", "softmax_cross_entropy", "dropout", "sgd_update"} <= checked


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("trains", [True, False])
@pytest.mark.parametrize("shape", [(3, 5, 4, 7), (2, 1, 3, 1), (1, 1, 1, 3)])
def test_pytorch_normalises_as_the_generic_kernels_do(torch, shape, trains, dtype):
    from arraycnn.ops.torch_kernels import torch_kernels

    rng = np.random.default_rng(0)
    x, weight, bias = 5.0 + rng.normal(size=shape), *rng.normal(size=(2, shape[3]))
    running, dy = (rng.normal(size=shape[3]), 0.5 + rng.random(shape[3])), rng.normal(size=shape)

    def found(record, place, take, dtype):
        x_, weight_, bias_, dy_, *running_ = (
            place(array.astype(dtype)) for array in (x, weight, bias, dy, *running)
        )
        y, new, kept = record.batch_norm(x_, weight_, bias_, tuple(running_), 0.3, 1e-3, trains)
        gradients = record.batch_norm_backward(dy_, weight_, kept, trains, True)
        none, *others = record.batch_norm_backward(dy_, weight_, kept, trains, False)
        assert none is None
        for array, before in zip(running_, running, strict=True):  # what was given stays
            np.testing.assert_array_equal(take(array), before.astype(dtype))
        return {str(n): take(a) for n, a in enumerate([y, *new, *gradients, *others])}

    expected = found(GENERIC, np.asarray, np.asarray, "float64")
    same(found(torch_kernels(), torch.asarray, lambda t: t.numpy(), dtype), expected, dtype)


@pytest.mark.parametrize("count", [1, 2, 45, 300])
def test_pytorch_draws_the_same_bits(torch, count):
    from arraycnn.ops.torch_kernels import torch_kernels

    given = seed_words(0xFEDCBA9876543210), np.array([2**31 - 3], np.int32)
    indices = np.array([0, 7, 2**31 - 1, -5, 60_000], np.int32)
    expected = GENERIC.random_bits(*given, -123456789, indices, count)
    placed = *map(torch.asarray, given), -123456789, torch.asarray(indices)
    found = torch_kernels().random_bits(*placed, count).numpy()
    np.testing.assert_array_equal(found, expected)
    assert (found < 0).any()
    assert (found > 0).any()


# Shape of the images, filters, channels that one filter sees, window.
GROUPS = {
    "dilation": ((2, 8, 9, 2), 3, 2, Window((3, 2), (2, 1), (1, 0, 2, 1), (2, 3))),
    "groups": ((2, 6, 5, 6), 4, 3, Window((3, 2), (1, 2), (0, 1, 1, 0))),
    "depthwise": ((3, 7, 6, 3), 6, 1, Window((2, 3), (2, 2), (1, 1, 1, 1), (3, 1))),
    "of one pixel": ((2, 5, 7, 4), 6, 2, Window((1, 1), (2, 3))),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("engine", ["torch", "jax"])
@pytest.mark.parametrize("name", GROUPS)
def test_grouped_convolutions_of_other_engines(name, engine, dtype, torch, jax):
    shape, filters, own, window = GROUPS[name]
    record = dict(zip(("torch", "jax"), records(torch, jax), strict=True))[engine]
    place = torch.asarray if engine == "torch" else jax.numpy.asarray
    x, bias = whole_numbers(shape), whole_numbers((filters,), seed=2)
    weight = whole_numbers((*window.kernel_size, own, filters), seed=1)
    dy = whole_numbers((shape[0], *window.output_shape(*shape[1:3]), filters), seed=3)

    def of(record, place, dtype):
        arrays = [place(array.astype(dtype)) for array in (x, weight, bias, dy)]
        y = record.grouped_conv2d(record, *arrays[:3], window)
        gradients = [
            record.grouped_conv2d_backward(record, *arrays[:2], arrays[3], window, need)
            for need in (True, False)
        ]
        assert gradients[1][0] is None
        bare = record.grouped_conv2d(record, *arrays[:2], None, window)
        found = [y, bare, *gradients[0], *gradients[1][1:]]
        return {str(n): np.asarray(array) for n, array in enumerate(found)}

    found = of(record, place, dtype)
    settings = window.stride, window.padding, window.dilation
    np.testing.assert_array_equal(found["0"], convolution_by_loops(x, weight, bias, *settings))
    same(found, of(GENERIC, np.asarray, "float64"), dtype)


def test_they_keep_the_generic_signatures(torch, jax):
    for record in records(torch, jax):
        assert different_signatures(record) == []
        assert record.conv2d is not GENERIC.conv2d


def test_a_window_with_nan_gives_nan(torch):
    from arraycnn.ops.torch_kernels import torch_kernels

    x = torch.asarray(np.array([[1.0, np.nan], [3.0, 2.0]]).reshape(1, 2, 2, 1))
    assert torch_kernels().max_pool2d(x, Window((2, 2), (2, 2)), "first")[0].isnan().all()


def test_arrays_of_another_library_are_refused(torch, jax):
    x = np.zeros((1, 4, 4, 1), np.float32)
    for record, name in zip(records(torch, jax), ("PyTorch", "JAX"), strict=True):
        for call in (
            lambda r: r.conv2d(r, x, np.zeros((2, 2, 1, 1), np.float32), None, Window((2, 2))),
            lambda r: r.avg_pool2d_backward(x, (1, 5, 5, 1), Window((2, 2))),
            lambda r: r.max_pool2d_backward(x, x, (1, 5, 5, 1), Window((2, 2)), "first"),
        ):
            with pytest.raises(InvalidTypeError, match=f"{name}'s kernels take .* keep all arrays"):
                call(record)
