"""Products in CUDA: against NumPy in float64, of operands rounded as the kernel rounds them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops.conv2d import cuda as convolution
from arraycnn.ops.cuda import products, tiles
from arraycnn.ops.cuda.launcher import MOST_BLOCKS, blocks
from arraycnn.ops.dense import cuda as matmul
from host_cuda import HostLauncher, KernelFault, check, lazy_zeros

PRECISIONS = ("fp32", "tf32", "bf16", "float64")
"""What a product multiplies with; "float64" stands for arrays of float64."""

precisions = pytest.mark.parametrize("precision", PRECISIONS)

UNIT = {"fp32": 1e-6, "tf32": 3e-6, "bf16": 3e-6, "float64": 2e-15}
"""Largest error of a sum of K products, over sqrt(K) times the largest sum."""


def dtype_of(precision):
    return "float64" if precision == "float64" else "float32"


def normal(shape, precision, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype_of(precision))


def rounded(array, precision):
    """``array`` in float64, its numbers rounded as those of an operand are.

    TF32 keeps 10 bits of the fraction, ties away from zero; bfloat16 keeps 7, ties to even.
    """
    if precision in ("fp32", "float64"):
        return array.astype(np.float64)
    dropped = {"tf32": 13, "bf16": 16}[precision]
    fraction, exponent = np.frexp(array.astype(np.float64))  # 0.5 <= |fraction| < 1
    scaled = fraction * 2.0 ** (24 - dropped)
    away = np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)
    return np.ldexp(away if precision == "tf32" else np.rint(scaled), exponent - (24 - dropped))


def check_sums(actual, expected, terms, precision):
    """Compare sums of ``terms`` products."""
    assert actual.dtype == dtype_of(precision)
    assert actual.shape == expected.shape
    largest = max(1.0, np.abs(expected).max(initial=0.0))
    tolerance = UNIT[precision] * max(1.0, terms) ** 0.5 * largest
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def product(a, b, precision):
    return rounded(a, precision) @ rounded(b, precision)


def of_a_dense_layer(columns, precision):
    """What a dense layer multiplies with: float32 where its columns are few, see few_columns.py."""
    return "fp32" if columns <= 16 and precision in ("tf32", "bf16") else precision


def turned(array):
    """The same numbers, as the transpose of an array in C order."""
    return np.ascontiguousarray(array.T).T


def unaligned(array):
    """The same numbers in C order, at an address that 16 bytes do not divide."""
    memory = np.empty(array.size + 1, array.dtype)
    memory[1:] = array.ravel()
    return memory[1:].reshape(array.shape)


FORMS = [
    (a, b)
    for a in (np.ascontiguousarray, turned)
    for b in (np.ascontiguousarray, turned)
]  # fmt: skip


@precisions
@pytest.mark.parametrize(("form_a", "form_b"), FORMS, ids=["NN", "NT", "TN", "TT"])
def test_products(form_a, form_b, precision):
    for rows, depth, columns in [(36, 52, 40), (68, 16, 32), (4, 4, 4), (64, 100, 12)]:
        a = form_a(normal((rows, depth), precision))
        b = form_b(normal((depth, columns), precision, seed=1))
        y = check(
            lambda cuda, a=a, b=b: matmul.matmul(cuda, a, b, precision=precision),
            checked=precision in ("fp32", "tf32"),
        )
        check_sums(y, product(a, b, precision), depth, precision)


@precisions
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (1, 5, 1), (33, 17, 1), (1, 3, 35), (31, 1, 33), (65, 47, 41), (9, 49, 7)],
    ids=str,
)
def test_odd_products(shape, precision):
    """Of the last, one step is left for its last stage alone."""
    a, b = normal(shape[:2], precision), normal(shape[1:], precision, seed=1)
    y = check(
        lambda cuda: matmul.matmul(cuda, a, b, precision=precision), checked=precision == "fp32"
    )
    check_sums(y, product(a, b, precision), shape[1], precision)


@settings(max_examples=40)
@given(st.tuples(*[st.integers(1, 70)] * 3), st.sampled_from(FORMS))
def test_random_products(shape, forms):
    a = forms[0](normal(shape[:2], "fp32"))
    b = forms[1](normal(shape[1:], "fp32", seed=1))
    y = check(lambda cuda: matmul.matmul(cuda, a, b, precision="fp32"), checked=False)
    check_sums(y, product(a, b, "fp32"), shape[1], "fp32")


@pytest.fixture
def tiles_of(monkeypatch):
    """A function that leaves one tile to a precision."""

    def leave(precision, tile):
        monkeypatch.setitem(tiles.TILES, precision, (tile,))
        tiles.tiling.cache_clear()

    yield leave
    tiles.tiling.cache_clear()


@pytest.mark.parametrize(
    ("precision", "tile"),
    [(precision, tile) for precision in PRECISIONS for tile in tiles.TILES[precision]],
    ids=lambda value: getattr(value, "math", value),
)
def test_every_tile(precision, tile, tiles_of):
    """Two tiles down and two across, of which the last are not whole; and more than four steps."""
    tiles_of(precision, tile)
    rows, columns, depth = tile.rows + 5, tile.columns + 4, 76
    a, b = normal((rows, depth), precision), normal((depth, columns), precision, seed=1)
    y = check(lambda cuda: matmul.matmul(cuda, a, b, precision=precision))
    check_sums(y, product(a, b, precision), depth, precision)


class Shorter(HostLauncher):
    """Gives a product less shared memory than its launch code says: by a gap and 16 bytes."""

    def start(self, file, kernel, grid, block, args, shared):
        super().start(file, kernel, grid, block, args, shared - 48 * (file == "matmul"))


@pytest.mark.parametrize(("form_a", "form_b"), FORMS, ids=["NN", "NT", "TN", "TT"])
@pytest.mark.parametrize("precision", ["tf32", "float64"])
def test_a_product_takes_the_shared_memory_it_asks_for(form_a, form_b, precision, tiles_of):
    tile = tiles.TILES[precision][0]
    tiles_of(precision, tile)
    a, b = normal((tile.rows, 48), precision), normal((48, tile.columns), precision, seed=1)
    with pytest.raises(KernelFault, match="shared memory"):
        matmul.matmul(Shorter(checked=True), form_a(a), form_b(b), precision=precision)


class Noting(HostLauncher):
    """Starts nothing."""

    def start(self, file, kernel, *launch):
        self.kernel = kernel


def kernel_of(rows, columns, depth, precision):
    """Of the gradient for the input of a dense layer: a product of a matrix and a transpose."""
    launcher = Noting()
    a, b = (launcher.empty((outer, depth), "float32") for outer in (rows, columns))
    matmul.matmul(launcher, a, b.T, precision=precision)
    return launcher.kernel


def test_operands_copied_number_by_number_take_tiles_that_have_registers_for_it():
    """A classifier of 10 classes, wide and with many images: the largest tile spilled 128 bytes."""
    for precision, name in (("tf32", "Tf32"), ("bf16", "Bf16")):
        smaller, largest = f"Mma<{name}, 128, 64, 64, 32>", f"Mma<{name}, 128, 128, 64, 64>"
        singly, packed = "Form<true, 1>, Form<true, 1>", "Form<true, 4>, Form<true, 4>"
        assert kernel_of(1024, 4096, 10, precision) == f"matmul<{smaller}, {singly}, AsIs>"
        assert kernel_of(1024, 4096, 12, precision) == f"matmul<{largest}, {packed}, AsIs>"


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_the_largest_tile_that_copies_number_by_number(precision, tiles_of):
    tile = next(tile for tile in tiles.TILES[precision] if tile.singly)
    tiles_of(precision, tile)
    a = normal((tile.rows + 5, 75), precision)
    b = turned(normal((75, tile.columns + 3), precision, seed=1))
    y = check(lambda cuda: matmul.matmul(cuda, a, b, precision=precision), checked=False)
    check_sums(y, product(a, b, precision), 75, precision)


def test_plans_use_every_tile():
    """Shapes exist for which each is the quickest, else it is there in vain."""
    sizes = [2**n for n in range(3, 14)]
    for precision, those in tiles.TILES.items():
        used = {tiles.tiling(precision, m, n, k).tile for m in sizes for n in sizes for k in sizes}
        assert used == set(those)


@pytest.mark.parametrize("rows", [1, 64, 300, 40_000])
@pytest.mark.parametrize("columns", [1, 64, 300])
@pytest.mark.parametrize("depth", [0, 1, 16, 17, 100, 9216, 36_865])
def test_plans_cover_all_steps(rows, columns, depth):
    for precision in PRECISIONS:
        tiling = tiles.tiling(precision, rows, columns, depth)
        assert tiling.per_split % 16 == 0
        assert (
            (tiling.splits - 1) * tiling.per_split
            < max(depth, 1)
            <= tiling.splits * tiling.per_split
        )
        blocks = -(-rows // tiling.tile.rows) * -(-columns // tiling.tile.columns)
        assert tiling.splits == 1 or blocks < 132
        if depth == 36_865:  # all 132 multiprocessors have work
            assert blocks * tiling.splits > 120


DENSE = {
    "one block a sum": (37, 60, 44),
    "split": (5, 1100, 21),
    "split, wide": (36, 1100, 40),
    "split gradients": (1100, 12, 20),
    "split gradients on several tiles": (300, 40, 20),
    "one output": (40, 9, 1),
}


def dense_arrays(shape, precision):
    """x, weight, bias, dy."""
    images, inputs, outputs = shape
    shapes = ((images, inputs), (inputs, outputs), (outputs,), (images, outputs))
    return [normal(s, precision, seed) for seed, s in enumerate(shapes)]


@precisions
@pytest.mark.parametrize("name", DENSE)
def test_dense(name, precision):
    x, weight, bias, _ = dense_arrays(DENSE[name], precision)
    expected = product(x, weight, of_a_dense_layer(len(bias), precision))

    def run(cuda):
        given = (cuda, None, x, weight)
        return (
            matmul.dense(*given, bias, precision=precision),
            matmul.dense(*given, None, precision=precision),
            matmul.dense_relu(*given, bias, precision=precision),
            matmul.dense_relu(*given, None, precision=precision),
        )

    terms, ys = x.shape[1], check(run, checked=precision == "fp32")
    check_sums(ys[0], expected + bias, terms, precision)
    check_sums(ys[1], expected, terms, precision)
    check_sums(ys[2], np.maximum(expected + bias, 0), terms, precision)
    check_sums(ys[3], np.maximum(expected, 0), terms, precision)


@precisions
@pytest.mark.parametrize("name", DENSE)
def test_dense_backward(name, precision):
    x, weight, _, dy = dense_arrays(DENSE[name], precision)
    # Zeros and NaN let nothing pass, nor do negative zeros.
    y = np.maximum(normal(dy.shape, precision, seed=9), 0)
    y.ravel()[:3] = np.nan, -0.0, 1.0

    def run(cuda):
        given = (cuda, None, x, weight)
        return (
            matmul.dense_backward(*given, dy, True, precision=precision),
            matmul.dense_relu_backward(*given, y, dy, True, precision=precision),
            matmul.dense_backward(*given, dy, False, precision=precision),
            matmul.dense_relu_backward(*given, y, dy, False, precision=precision),
        )

    plain, gated, *without_dx = check(run, checked=precision == "fp32")
    for gradients, passed in ((plain, dy), (gated, np.where(y > 0, dy, 0))):
        dx, dweight, dbias = gradients
        check_sums(dx, product(passed, weight.T, precision), weight.shape[1], precision)
        check_sums(dweight, product(x.T, passed, precision), len(x), precision)
        exact = "fp32" if precision in ("tf32", "bf16") else precision  # not rounded
        check_sums(dbias, passed.sum(axis=0, dtype=np.float64), len(x), exact)
    for gradients, same in zip(without_dx, (plain, gated), strict=True):
        assert gradients[0] is None
        np.testing.assert_array_equal(gradients[1], same[1])
        np.testing.assert_array_equal(gradients[2], same[2])


def test_relu_keeps_nan():
    x, weight = np.array([[np.nan], [-1.0], [1.0]]), np.ones((1, 2))
    y = matmul.dense_relu(HostLauncher(), None, x, weight, None, precision="fp32")
    np.testing.assert_array_equal(y, [[np.nan] * 2, [0.0] * 2, [1.0] * 2])
    x = np.full((1, 600), np.nan)  # whose sum is split
    y = matmul.dense_relu(HostLauncher(), None, x, np.ones((600, 2)), None, precision="fp32")
    assert np.isnan(y).all()


@pytest.mark.parametrize("shape", [(0, 5, 3), (4, 0, 3), (4, 5, 0), (0, 0, 0)], ids=str)
def test_nothing_to_multiply(shape):
    a, b = np.ones(shape[:2]), np.ones(shape[1:])
    y = check(lambda cuda: matmul.matmul(cuda, a, b, precision="fp32"))
    np.testing.assert_array_equal(y, np.zeros((shape[0], shape[2])))
    dx, dweight, dbias = check(
        lambda cuda: matmul.dense_backward(
            cuda, None, a, b, np.ones((shape[0], shape[2])), True, precision="fp32"
        )
    )
    np.testing.assert_array_equal(dx, np.full(shape[:2], float(shape[2])))
    np.testing.assert_array_equal(dweight, np.full(shape[1:], float(shape[0])))
    np.testing.assert_array_equal(dbias, np.full(shape[2], float(shape[0])))


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize(("form_a", "form_b"), FORMS, ids=["NN", "NT", "TN", "TT"])
def test_what_is_not_finite_stays_so(form_a, form_b, precision):
    """Each NaN of either sign, which rounding must not turn into a number, and both infinities."""
    odd = [0x7FC00000, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0x7F800000, 0xFF800000]
    odd = np.array(odd, np.uint32).view("float32")
    a, b = normal((20, 24), precision), normal((24, 12), precision, seed=1)
    for place, number in enumerate(odd):
        a[3 * place, 5 * place % 24] = number
        b[7 * place % 24, 2 * place] = number
    with np.errstate(invalid="ignore"):
        expected = product(a, b, precision)
    y = check(
        lambda cuda: matmul.matmul(cuda, form_a(a), form_b(b), precision=precision), checked=False
    )
    finite = np.isfinite(expected)
    assert 0 < finite.sum() < np.isnan(expected).sum() < expected.size
    np.testing.assert_array_equal(y[~finite], expected[~finite])
    check_sums(y[finite], expected[finite], 24, precision)


def test_sums_that_a_block_cannot_count(monkeypatch):
    launcher = Noting()
    row, column = lazy_zeros((1, 2**31), np.float32), lazy_zeros((2**31, 1), np.float32)
    matmul.matmul(launcher, row, column, precision="fp32")  # which many blocks share
    monkeypatch.setattr(products, "_MOST_STEPS", 95)
    a, b = np.ones((4, 96), "float32"), np.ones((96, 4), "float32")
    with pytest.raises(
        InvalidValueError, match=r"matmul on CUDA: .* at most 95 .* 96; use smaller"
    ):
        matmul.matmul(launcher, a, b, precision="fp32")
    matmul.matmul(launcher, a[:, :80].copy(), b[:80], precision="fp32")


class Counting(HostLauncher):
    """Counts the copies it makes."""

    copies = 0

    def contiguous(self, array):
        self.copies += not array.flags.c_contiguous
        return super().contiguous(array)


@pytest.mark.parametrize(
    ("change", "copies"),
    [(turned, 0), (unaligned, 0), (lambda a: a[::2], 1), (lambda a: a[:, ::-1], 1)],
    ids=["transpose", "unaligned", "every other row", "columns backwards"],
)
def test_views(change, copies):
    launcher = Counting()
    a, b = change(normal((16, 16), "fp32")), change(normal((16, 16), "fp32", seed=1))
    a = a[:, : b.shape[0]] if a.shape[1] != b.shape[0] else a
    y = matmul.matmul(launcher, a, b, precision="fp32")
    check_sums(y, product(a, b, "fp32"), 16, "fp32")
    assert launcher.copies == 2 * copies


def test_layers_take_views():
    x, weight, bias, dy = dense_arrays((12, 8, 16), "fp32")
    y = normal(dy.shape, "fp32", seed=9)
    given = x, weight, y, dy

    def run(*arrays):
        return matmul.dense_relu_backward(HostLauncher(), None, *arrays, True, precision="fp32")

    def strided(array):
        return np.repeat(array, 2, axis=-1)[..., ::2]

    for change in (turned, unaligned, strided):
        for a, b in zip(run(*map(change, given)), run(*given), strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(
        matmul.dense(HostLauncher(), None, x, weight, strided(bias), precision="fp32"),
        matmul.dense(HostLauncher(), None, x, weight, bias, precision="fp32"),
    )


@pytest.mark.parametrize("name", ["x", "weight", "y", "dy"])
def test_one_of_the_arrays_is_not_aligned(name):
    """Be it the gate: a device cannot read 16 bytes at any address."""
    x, weight, _, dy = dense_arrays((12, 8, 16), "fp32")
    given = {"x": x, "weight": weight, "y": normal(dy.shape, "fp32", seed=9), "dy": dy}
    passed = np.where(given["y"] > 0, dy, 0)
    given[name] = unaligned(given[name])
    dx, dweight, dbias = check(
        lambda cuda: matmul.dense_relu_backward(
            cuda, None, *given.values(), True, precision="fp32"
        ),
        orders=("random",),
    )
    check_sums(dx, product(passed, weight.T, "fp32"), 16, "fp32")
    check_sums(dweight, product(x.T, passed, "fp32"), 12, "fp32")
    check_sums(dbias, passed.sum(axis=0, dtype=np.float64), 12, "fp32")


def calls(dtype="float32", asarray=np.asarray):
    """Every function on arrays of ``dtype``."""
    cuda, settings_ = HostLauncher(), {"precision": "fp32"}
    x, weight, bias, dy = (asarray(a.astype(dtype)) for a in dense_arrays((4, 3, 5), "fp32"))
    return {
        "matmul": lambda: matmul.matmul(cuda, x, weight, **settings_),
        "dense": lambda: matmul.dense(cuda, None, x, weight, bias, **settings_),
        "dense_relu": lambda: matmul.dense_relu(cuda, None, x, weight, bias, **settings_),
        "dense_backward": lambda: matmul.dense_backward(
            cuda, None, x, weight, dy, True, **settings_
        ),
        "dense_relu_backward": lambda: matmul.dense_relu_backward(
            cuda, None, x, weight, dy, dy, True, **settings_
        ),
    }


@pytest.mark.parametrize("kernel", calls())
def test_what_is_refused(kernel, torch):
    for dtype in ("float16", "int32", "complex64"):
        with pytest.raises(InvalidTypeError, match=rf"^{kernel} on CUDA: .*float32 or all float64"):
            calls(dtype)[kernel]()
    with pytest.raises(InvalidTypeError, match=rf"^{kernel} on CUDA: arrays must lie on"):
        calls(asarray=torch.asarray)[kernel]()


def test_dtypes_are_not_mixed():
    cuda, one = HostLauncher(), np.ones((4, 4))
    with pytest.raises(InvalidTypeError, match="matmul on CUDA"):
        matmul.matmul(cuda, one, one.astype("float32"), precision="fp32")
    with pytest.raises(InvalidTypeError, match="dense on CUDA"):
        matmul.dense(cuda, None, one, one, np.ones(4, "float32"), precision="fp32")


def test_shapes_that_do_not_fit_are_refused():
    cuda, one = HostLauncher(), np.ones((4, 5))
    with pytest.raises(InvalidValueError, match=r"takes matrices .* got \(4, 5\) and \(4, 5\)"):
        matmul.matmul(cuda, one, one, precision="fp32")
    with pytest.raises(InvalidValueError, match=r"got \(4, 5\) and \(5,\)"):
        matmul.matmul(cuda, one, np.ones(5), precision="fp32")
    with pytest.raises(InvalidValueError, match=r"bias must be of shape \(4,\), got \(5,\)"):
        matmul.dense(cuda, None, one, one.T, np.ones(5), precision="fp32")
    with pytest.raises(InvalidValueError, match=r"y must be of shape \(4, 4\), got \(4, 5\)"):
        matmul.dense_relu_backward(
            cuda, None, one, one.T, one, np.ones((4, 4)), True, precision="fp32"
        )


# More than 2^31 numbers: only the last blocks run, and only what they touch takes memory.

MANY = 150_000_001
LAST = HostLauncher(blocks=slice(-2, None))


def test_many_rows():
    """2.4e9 numbers in a, and in y."""
    a, b = lazy_zeros((MANY, 16), np.float32), normal((16, 16), "fp32", seed=1)
    a[-8:] = normal((8, 16), "fp32")
    y = matmul.matmul(LAST, a, b, precision="fp32")
    check_sums(y[-8:], product(a[-8:], b, "fp32"), 16, "fp32")
    a = lazy_zeros((16, MANY), np.float32)
    a[:, -8:] = normal((16, 8), "fp32")
    y = matmul.matmul(LAST, a.T, b, precision="fp32")
    check_sums(y[-8:], product(a.T[-8:], b, "fp32"), 16, "fp32")


def test_many_columns():
    a, b = normal((16, 16), "fp32", seed=1), lazy_zeros((16, MANY), np.float32)
    b[:, -8:] = normal((16, 8), "fp32")
    bias = lazy_zeros((MANY,), np.float32)
    bias[-8:] = 1.0
    y = matmul.dense(LAST, None, a, b, bias, precision="fp32")
    check_sums(y[:, -8:], product(a, b[:, -8:], "fp32") + 1.0, 16, "fp32")
    b = lazy_zeros((MANY, 16), np.float32)
    b[-8:] = normal((8, 16), "fp32")
    y = matmul.matmul(LAST, a, b.T, precision="fp32")
    check_sums(y[:, -8:], product(a, b[-8:].T, "fp32"), 16, "fp32")


@pytest.fixture
def short_splits(monkeypatch):
    """Makes splits as short as a grid allows, so that the last one takes little time."""

    def tiling(*args, **options):
        chosen, depth = tiles.tiling(*args, **options), args[3]
        per_split = blocks(depth, 16 * MOST_BLOCKS[1]) * 16
        return replace(chosen, splits=blocks(depth, per_split), per_split=per_split)

    for module in (matmul, convolution):
        monkeypatch.setattr(module, "tiling", tiling)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.usefixtures("short_splits")
def test_many_steps(gated):
    """2.4e9 numbers in either operand; the blocks of the last split alone run, and leave a part."""
    steps, launcher = 150_000_000, LastSplit(blocks=slice(-1, None))
    x, dy = (lazy_zeros((steps, 16), np.float32) for _ in range(2))
    x[-8:], dy[-8:] = normal((8, 16), "fp32"), normal((8, 16), "fp32", seed=1)
    if gated:
        gate = lazy_zeros((steps, 16), np.float32)
        gate[-8:] = normal((8, 16), "fp32", seed=2)
        run, given = matmul.dense_relu_backward, (gate, dy)
    else:
        run, given = matmul.dense_backward, (dy,)
    run(launcher, None, x, np.ones((16, 16), "float32"), *given, False, precision="fp32")
    passed = np.where(gate[-8:] > 0, dy[-8:], 0) if gated else dy[-8:]
    parts, sums = launcher.parts
    check_sums(parts[-1].reshape(16, 16), product(x[-8:].T, passed, "fp32"), 8, "fp32")
    check_sums(sums[-1], passed.sum(axis=0, dtype=np.float64), 8, "fp32")


class LastSplit(HostLauncher):
    """Keeps the parts of a split sum instead of adding them."""

    parts = None

    def start(self, file, kernel, grid, block, args, shared):
        if kernel.startswith("sum_splits"):
            self.parts = args[:2]
        else:
            super().start(file, kernel, grid, block, args, shared)
