"""Kernels side by side in one launch: the same numbers as one after the other, to the last bit."""

import re

import numpy as np
import pytest

from arraycnn.errors import InvalidValueError
from arraycnn.ops.conv2d import cuda as convolution
from arraycnn.ops.cuda import block_sizes, products, tiles
from arraycnn.ops.cuda.beside import Start, launch_beside
from arraycnn.ops.cuda.block_sizes import Asked, of_one_size
from arraycnn.ops.cuda.launcher import blocks
from arraycnn.ops.cuda.record import cuda_kernels
from arraycnn.ops.window import Window
from host_cuda import HostLauncher, check
from test_cuda_matmul import tiles_of

__all__ = ["tiles_of"]  # a fixture

PLACES = """
template <typename T>
DEVICE void places_block(const Block& at, T* y) {
    const unsigned here[5] = {at.x, at.y, at.z, at.wide, at.tall};
    for (int i = threadIdx.x; i < 5; i += blockDim.x)
        y[((at.z * at.tall + at.y) * at.wide + at.x) * 5 + i] = here[i];
}
"""


def normal(*shape, dtype="float64"):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


def started(cuda):
    """The names of the kernels that ``cuda`` starts from now on."""
    names, start = [], cuda.start
    cuda.start = lambda file, kernel, *rest: (
        names.append(kernel.partition("<")[0]),
        start(file, kernel, *rest),
    )
    return names


def compared(gradients, **how):
    """Names of the kernels of ``gradients`` of one launch, whose numbers are those of two."""
    together = check(lambda cuda: gradients(cuda, together=True, **how))
    cuda = HostLauncher()
    names = started(cuda)
    for one, other in zip(together, gradients(cuda, **how), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not any("_and_" in name for name in names)  # nobody asked for one launch
    cuda = HostLauncher()
    names = started(cuda)
    gradients(cuda, together=True, **how)
    return [name.rpartition("_")[0] if "_and_" in name else name for name in names]


def test_each_block_has_its_place_in_the_grid_of_its_own_kernel():
    """In grids of one, two and three axes, of which each kernel but the first has others ahead."""
    grids = [(3, 2, 2), (4,), (2, 3), (2, 1, 3)]

    def run(cuda):
        ys = [cuda.empty((*(*grid, 1, 1)[2::-1], 5), "int32") for grid in grids]
        launch_beside(
            cuda,
            [
                Start("tiles", "places<int>", grid, (32,), (y,), text=PLACES)
                for grid, y in zip(grids, ys, strict=True)
            ],
        )
        return ys

    for grid, y in zip(grids, check(run), strict=True):
        wide, tall = (*grid, 1)[:2]
        for z, row, column in np.ndindex(y.shape[:3]):
            np.testing.assert_array_equal(y[z, row, column], [column, row, z, wide, tall])


@pytest.mark.parametrize(
    ("shape", "first"), [((4096, 4096, 10), "x.T, dy"), ((16, 4096, 4096), "dy, weight.T")]
)
def test_what_takes_a_block_longest_begins_first(shape, first, tiles_of):
    """Of many images it is the sum of a weight's gradient, of many outputs that of the input's."""
    tiles_of("fp32", tiles.TILES["fp32"][0])
    images, inputs, outputs = shape
    cuda, texts = HostLauncher(), []
    cuda.start = lambda *launch: None
    cuda.launch_shared = lambda grids, text, *rest: texts.append(text)
    shapes = ((images, inputs), (inputs, outputs), (images, outputs))
    arrays = [cuda.empty(each, "float32") for each in shapes]
    cuda_kernels(cuda).dense_backward(None, *arrays, True, together=True)
    # Their sums are along the lines of both operands, or across those of both.
    along = {"x.T, dy": "false", "dy, weight.T": "true"}
    begun = re.findall(r"matmul_block<Fma<[^>]*>, Form<(true|false)", texts[0])
    assert begun == [along[first], *({"true", "false"} - {along[first]})]


def test_both_gradients_of_a_convolution():
    """Of a stride, whose phases are a third axis of the grid; parts of sums are along the second."""
    window = Window((3, 3), (2, 1), (1, 1, 0, 1))
    x, weight, dy = normal(12, 9, 8, 3), normal(3, 3, 3, 48), normal(12, 5, 7, 48)
    y = np.maximum(normal(12, 5, 7, 48), 0)

    def gradients(cuda, **how):
        ops = cuda_kernels(cuda)
        return ops.conv2d_relu_backward(ops, x, weight, y, dy, window, True, **how)

    both = ["conv2d_dx_and_conv2d_dweight"]
    assert compared(gradients) == [*both, "sum_splits", "sum_splits"]
    assert compared(gradients, in_parts=True) == [*both, "sum_splits"]


def plans_of(first, second):
    return tiles.tiling(*first), tiles.tiling(*second), of_one_size(first, second)


def test_tilings_get_blocks_of_one_size_where_that_costs_little():
    """Those of the second convolution of the network b, at a batch of 64."""
    dx, dweight = Asked("fp32", 64 * 26 * 26, 32, 576), Asked("fp32", 288, 64, 36864)
    *apart, alike = plans_of(dx, dweight)
    assert [plan.tile.threads for plan in apart] == [128, 64]
    assert [plan.tile.threads for plan in alike] == [64, 64]


def test_tilings_keep_blocks_of_two_sizes_where_others_take_much_longer(monkeypatch):
    dx, dweight = Asked("fp32", 64 * 26 * 26, 32, 576), Asked("fp32", 288, 64, 36864)
    of_one_size.cache_clear()
    monkeypatch.setattr(block_sizes, "_MOST_LONGER", 1.05)
    assert of_one_size(dx, dweight) is None
    of_one_size.cache_clear()


def test_gradients_of_other_tiles_share_a_launch(monkeypatch):
    """Tiles with blocks of two sizes are exchanged for others: the same sums, in another order."""
    window = Window((3, 3), (1, 1), (0, 0, 0, 0))
    x, weight, dy = (
        normal(*shape, dtype="float32") for shape in ((4, 10, 10, 8), (3, 3, 8, 8), (4, 8, 8, 8))
    )

    def tiling(precision, rows, columns, depth, *rest):
        large = tiles.TILES[precision][2]  # of 128 threads
        if rows != 9 * 8:
            return tiles.tiling(precision, rows, columns, depth, *rest)
        return tiles.Plan(large, 1, blocks(depth, large.depth) * large.depth)

    monkeypatch.setattr(convolution, "tiling", tiling)

    def gradients(together):
        cuda = HostLauncher()
        names, ops = started(cuda), cuda_kernels(cuda)
        made = ops.conv2d_backward(ops, x, weight, dy, window, True, together=together)
        return made, [name.rpartition("_")[0] if "_and_" in name else name for name in names]

    apart, names = gradients(together=False)
    assert names == ["conv2d_dx", "conv2d_dweight"]
    joined, names = gradients(together=True)
    assert names[0] in {"conv2d_dx_and_conv2d_dweight", "conv2d_dweight_and_conv2d_dx"}
    assert "conv2d_dweight" not in names
    for one, other in zip(joined, apart, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)
    monkeypatch.setattr(
        products, "COUNTERS", -1
    )  # so that no two share a launch, whatever their tiles
    kept, names = gradients(together=True)
    assert names == ["conv2d_dx", "conv2d_dweight"]
    for one, other in zip(kept, apart, strict=True):
        np.testing.assert_array_equal(one, other)


def test_both_gradients_of_a_dense_layer():
    """Of which the last blocks of tiles add up parts: each with counters of its own."""
    x, weight, dy = (
        normal(*shape, dtype="float32") for shape in ((300, 40), (40, 300), (300, 300))
    )

    def gradients(cuda, **how):
        return cuda_kernels(cuda).dense_backward(None, x, weight, dy, True, **how)

    assert compared(gradients) == ["matmul_and_matmul"]
    dx, dweight, dbias = gradients(HostLauncher(), together=True)
    np.testing.assert_allclose(dx, dy @ weight.T, rtol=0, atol=1e-3)
    np.testing.assert_allclose(dweight, x.T @ dy, rtol=0, atol=1e-3)
    np.testing.assert_allclose(dbias, dy.sum(axis=0), rtol=0, atol=1e-3)


def test_one_gradient_or_too_few_counters_are_launches_of_their_own(monkeypatch):
    x, weight, dy = (
        normal(*shape, dtype="float32") for shape in ((300, 40), (40, 300), (300, 300))
    )

    def names_of(need_dx):
        cuda = HostLauncher()
        names = started(cuda)
        cuda_kernels(cuda).dense_backward(None, x, weight, dy, need_dx, together=True)
        return names

    assert names_of(False) == ["matmul"]
    monkeypatch.setattr(products, "COUNTERS", 20)
    assert names_of(True) == ["matmul", "matmul"]


def test_kernels_of_no_blocks_are_left_out():
    cuda, names = HostLauncher(), []
    cuda.start = lambda file, kernel, *rest: names.append(kernel)
    grids = [(0, 1, 1), (2,), (0,)]
    launch_beside(cuda, [Start("matmul", f"matmul<{grid}>", grid, (64,), ()) for grid in grids])
    assert names == ["matmul<(2,)>"]


def test_blocks_of_several_sizes_are_refused():
    cuda = HostLauncher()
    cuda.start = lambda *launch: None
    starts = [Start("matmul", "matmul<>", (1,), (size,), ()) for size in (64, 128)]
    with pytest.raises(InvalidValueError, match=r"blocks of one size, got \(64,\), \(128,\)"):
        launch_beside(cuda, starts)
