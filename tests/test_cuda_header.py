"""The functions of device.cuh: what stands in for them on the CPU, and, on a device, the PTX itself.

Both are compared with the same plain arithmetic, which neither the one nor the other was made from.
Operands with a single one show where each number of a fragment belongs.
"""

from pathlib import Path

import numpy as np
import pytest

from arraycnn.ops.cuda import launcher
from conftest import import_optional
from host_cuda import HostLauncher, check

KERNELS = """
__global__ void mma_of_tf32(const float* a, const float* b, const float* c, float* d) {
    const int group = threadIdx.x / 4, place = threadIdx.x % 4;
    a += blockIdx.x * 128, b += blockIdx.x * 64, c += blockIdx.x * 128, d += blockIdx.x * 128;
    unsigned left[4], right[2];
    for (int i = 0; i < 4; ++i)
        left[i] = to_tf32(a[(group + i % 2 * 8) * 8 + place + i / 2 * 4]);
    for (int i = 0; i < 2; ++i) right[i] = to_tf32(b[(place + i * 4) * 8 + group]);
    float sum[4];
    for (int i = 0; i < 4; ++i) sum[i] = c[(group + i / 2 * 8) * 8 + 2 * place + i % 2];
    mma_tf32(sum, left, right);
    for (int i = 0; i < 4; ++i) d[(group + i / 2 * 8) * 8 + 2 * place + i % 2] = sum[i];
}

__global__ void mma_of_bf16(const float* a, const float* b, const float* c, float* d) {
    const int group = threadIdx.x / 4, place = threadIdx.x % 4;
    a += blockIdx.x * 256, b += blockIdx.x * 128, c += blockIdx.x * 128, d += blockIdx.x * 128;
    unsigned left[4], right[2];
    for (int i = 0; i < 4; ++i) {
        const float* two = a + (group + i % 2 * 8) * 16 + 2 * place + i / 2 * 8;
        left[i] = pack_bf16(two[0], two[1]);
    }
    for (int i = 0; i < 2; ++i) {
        const float* two = b + (2 * place + i * 8) * 8 + group;
        right[i] = pack_bf16(two[0], two[8]);
    }
    float sum[4];
    for (int i = 0; i < 4; ++i) sum[i] = c[(group + i / 2 * 8) * 8 + 2 * place + i % 2];
    mma_bf16(sum, left, right);
    for (int i = 0; i < 4; ++i) d[(group + i / 2 * 8) * 8 + 2 * place + i % 2] = sum[i];
}

__global__ void roundings(const float* x, float* y) {
    const int i = threadIdx.x;
    const unsigned two = pack_bf16(x[i], x[i ^ 1]);
    y[3 * i] = __uint_as_float(to_tf32(x[i]));
    y[3 * i + 1] = __uint_as_float(two << 16);
    y[3 * i + 2] = __uint_as_float(two & 0xffff0000u);
}

// Thread i copies the i-th unit of BYTES bytes, twice; some units are not valid.
template <int BYTES>
__global__ void copies(const unsigned char* x, unsigned char* y) {
    DYNAMIC_SHARED(unsigned char, bytes);
    const int i = threadIdx.x, size = 64 * BYTES;
    copy_async<BYTES>(bytes + i * BYTES, x + i * BYTES, i % 3 != 1);
    copy_async_commit();
    copy_async<BYTES>(bytes + size + i * BYTES, x + size + i * BYTES, i % 5 != 1);
    copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();
    for (int k = i; k < size; k += 64) y[k] = bytes[size - 1 - k];
    copy_async_wait<0>();
    __syncthreads();
    for (int k = i; k < size; k += 64) y[size + k] = bytes[2 * size - 1 - k];
}
"""

DEVICE_TEXT = Path(launcher.__file__).with_name("device.cuh").read_text() + KERNELS


class Host(HostLauncher):
    """Runs `KERNELS` on the CPU."""

    def text(self, file):
        return KERNELS


def on_host(kernel, grid, block, shared, y, *arrays):
    def run(cuda):
        host = Host(order=cuda.order, checked=cuda.mode == "checked")
        out = host.empty(y.shape, y.dtype)
        host.launch("header", kernel, grid, block, (*arrays, out), shared)
        return out

    return check(run)


def on_device(kernel, grid, block, shared, y, *arrays):
    cupy = import_optional("cupy")
    if not cupy.cuda.is_available():
        pytest.skip("there is no CUDA device")
    module = cupy.RawModule(code=DEVICE_TEXT, options=("-std=c++17",), name_expressions=(kernel,))
    out = cupy.asarray(y)
    places = tuple(map(cupy.asarray, arrays))
    module.get_function(kernel)(grid, block, (*places, out), shared_mem=shared)
    return cupy.asnumpy(out)


where = pytest.mark.parametrize(
    "run", [on_host, pytest.param(on_device, marks=pytest.mark.gpu)], ids=["host", "device"]
)


def run_mma(run, kernel, a, b, c):
    d = np.full_like(c, np.nan)
    a, b, c = (np.ascontiguousarray(x, dtype=np.float32) for x in (a, b, c))
    return run(kernel, (len(a),), (32,), 0, d, a, b, c)


MMA = pytest.mark.parametrize(
    ("kernel", "k", "bits"), [("mma_of_tf32", 8, 11), ("mma_of_bf16", 16, 8)]
)


@where
@MMA
def test_ones_end_where_they_belong(run, kernel, k, bits):
    """Each number of A and of B by itself, against whole numbers that say where they come from."""
    ones_of_a = np.eye(16 * k).reshape(-1, 16, k)
    ones_of_b = np.eye(k * 8).reshape(-1, k, 8)
    places_of_a, places_of_b = np.arange(1, 16 * k + 1), np.arange(1, k * 8 + 1)
    a = np.concatenate([ones_of_a, np.tile(places_of_a.reshape(16, k), (len(ones_of_b), 1, 1))])
    b = np.concatenate([np.tile(places_of_b.reshape(k, 8), (len(ones_of_a), 1, 1)), ones_of_b])
    c = np.tile(np.arange(128, dtype=np.float32).reshape(16, 8) * 1000, (len(a), 1, 1))
    np.testing.assert_array_equal(run_mma(run, kernel, a, b, c), c + a @ b)


def rounded(x, bits, ties_away):
    """``x`` rounded to ``bits`` bits of mantissa, by arithmetic."""
    mantissa, exponent = np.frexp(x.astype(np.float64))
    scaled = mantissa * 2.0**bits
    whole = np.floor(np.abs(scaled) + 0.5) * np.sign(scaled) if ties_away else np.rint(scaled)
    return np.ldexp(whole, exponent - bits)


@where
@MMA
def test_products_are_of_rounded_operands(run, kernel, k, bits):
    rng = np.random.default_rng(3)
    shapes = ((5, 16, k), (5, k, 8), (5, 16, 8))
    a, b, c = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    d = run_mma(run, kernel, a, b, c)
    away = kernel == "mma_of_tf32"
    expected = c + rounded(a, bits, away) @ rounded(b, bits, away)
    np.testing.assert_allclose(d, expected, rtol=2e-6, atol=2e-6)
    assert np.abs(d - (c + a.astype(float) @ b)).max() > 1e-4


@where
def test_roundings(run):
    ties = [1 + k / 2**11 for k in range(1, 8)] + [1 + k / 2**8 for k in range(1, 8)]
    x = np.random.default_rng(0).standard_normal(64).astype(np.float32) * 100
    x[: len(ties)] = ties
    x[20 : 20 + len(ties)] = np.negative(ties)
    x[40:46] = [0, np.inf, -np.inf, 1e-30, np.nan, np.nan]
    y = run("roundings", (1,), (64,), 0, np.zeros((64, 3), np.float32), x)
    neighbour = x.reshape(32, 2)[:, ::-1].ravel()
    np.testing.assert_array_equal(y[:, 0], rounded(x, 11, ties_away=True))
    np.testing.assert_array_equal(y[:, 1], rounded(x, 8, ties_away=False))
    np.testing.assert_array_equal(y[:, 2], rounded(neighbour, 8, ties_away=False))


@where
@pytest.mark.parametrize("size", [4, 8, 16])
def test_copies(run, size):
    x = np.random.default_rng(0).integers(1, 256, (2, 64, size)).astype(np.uint8)
    memory = np.empty(x.nbytes + 16, np.uint8)
    start = -memory.ctypes.data % 16
    aligned = memory[start : start + x.nbytes].reshape(x.shape)
    aligned[...] = x
    y = run(f"copies<{size}>", (1,), (64,), 128 * size, np.zeros_like(x), aligned)
    x[0, 1::3], x[1, 1::5] = 0, 0
    np.testing.assert_array_equal(y, x.reshape(2, -1)[:, ::-1].reshape(x.shape))
