"""The functions of device.cuh against the PTX manual's description of what they do.

Operands of a matrix product are zeros but for a single one, so that each number of the result names
the lane and the register that it came from. Run on the CPU, where stand-ins were written from the same
description, by tests/ops/test_cuda_primitives.py, and on a device by tests/backends/test_gpu.py.
"""

from collections.abc import Callable

import numpy as np

TEXT = """
#include "device.cuh"

__global__ void round_to_tf32(const float* x, unsigned* y) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = to_tf32(x[i]);
}

__global__ void round_to_bf16(const float* low, const float* high, unsigned* y) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = pack_bf16(low[i], high[i]);
}

__global__ void read_bf16(const Bfloat16* x, float* y) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = x[i];
}

__global__ void write_bf16(const float* x, Bfloat16* y) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = Bfloat16(x[i]);
}

__global__ void read_tf32(const TensorFloat32* x, float* y) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = x[i];
}

__global__ void write_tf32(const float* x, TensorFloat32* y) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = TensorFloat32(x[i]);
}

// d += a b, a product for each block: (16, 8) times (8, 8).
__global__ void products_of_tf32(const float* a, const float* b, float* d) {
    a += blockIdx.x * 128; b += blockIdx.x * 64; d += blockIdx.x * 128;
    const int group = threadIdx.x / 4, place = threadIdx.x % 4;
    const unsigned left[4] = {
        to_tf32(a[group * 8 + place]), to_tf32(a[(group + 8) * 8 + place]),
        to_tf32(a[group * 8 + place + 4]), to_tf32(a[(group + 8) * 8 + place + 4])};
    const unsigned right[2] = {to_tf32(b[place * 8 + group]), to_tf32(b[(place + 4) * 8 + group])};
    float sums[4];
    for (int i = 0; i < 4; ++i) sums[i] = d[(group + i / 2 * 8) * 8 + 2 * place + i % 2];
    mma_tf32(sums, left, right);
    for (int i = 0; i < 4; ++i) d[(group + i / 2 * 8) * 8 + 2 * place + i % 2] = sums[i];
}

DEVICE unsigned neighbours(const float* low, int stride) { return pack_bf16(low[0], low[stride]); }

// d += a b, a product for each block: (16, 16) times (16, 8).
__global__ void products_of_bf16(const float* a, const float* b, float* d) {
    a += blockIdx.x * 256; b += blockIdx.x * 128; d += blockIdx.x * 128;
    const int group = threadIdx.x / 4, place = threadIdx.x % 4;
    const unsigned left[4] = {
        neighbours(a + group * 16 + 2 * place, 1), neighbours(a + (group + 8) * 16 + 2 * place, 1),
        neighbours(a + group * 16 + 2 * place + 8, 1),
        neighbours(a + (group + 8) * 16 + 2 * place + 8, 1)};
    const unsigned right[2] = {neighbours(b + 2 * place * 8 + group, 8),
                               neighbours(b + (2 * place + 8) * 8 + group, 8)};
    float sums[4];
    for (int i = 0; i < 4; ++i) sums[i] = d[(group + i / 2 * 8) * 8 + 2 * place + i % 2];
    mma_bf16(sums, left, right);
    for (int i = 0; i < 4; ++i) d[(group + i / 2 * 8) * 8 + 2 * place + i % 2] = sums[i];
}

// Four blocks of 8 lines of 16 bytes: the lanes of a warp get a word of each.
__global__ void matrices(const unsigned* x, unsigned* y) {
    __shared__ __align__(16) unsigned lines[128];
    for (int i = threadIdx.x; i < 128; i += 32) lines[i] = x[i];
    __syncthreads();
    unsigned words[4];
    load_matrices(words, lines + threadIdx.x * 4);
    for (int block = 0; block < 4; ++block) y[threadIdx.x * 4 + block] = words[block];
}

// The same of 8 lines of 8 numbers of 2 bytes, turned.
__global__ void turned_matrices(const unsigned* x, unsigned* y) {
    __shared__ __align__(16) unsigned lines[128];
    for (int i = threadIdx.x; i < 128; i += 32) lines[i] = x[i];
    __syncthreads();
    unsigned words[4];
    load_matrices_turned(words, lines + threadIdx.x * 4);
    for (int block = 0; block < 4; ++block) y[threadIdx.x * 4 + block] = words[block];
}

// Each thread copies BYTES to shared memory twice, in two groups of copies, and what it finds there
// after waiting for the first, and then for both, to `early` and `late`. Where `valid` is 0 the address
// is null: it must not be read.
template <int BYTES>
__global__ void copies(const unsigned char* x, const int* valid, unsigned char* early,
                       unsigned char* late) {
    __shared__ __align__(16) unsigned char first[64 * BYTES];
    __shared__ __align__(16) unsigned char second[64 * BYTES];
    const int mine = threadIdx.x * BYTES, half = 64 * BYTES;
    for (int i = 0; i < BYTES; ++i) first[mine + i] = second[mine + i] = 0xAB;
    const bool wanted = valid[threadIdx.x] != 0;
    copy_async<BYTES>(first + mine, wanted ? x + mine : nullptr, wanted);
    copy_async_commit();
    copy_async<BYTES>(second + mine, wanted ? x + half + mine : nullptr, wanted);
    copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();
    const int other = half - BYTES - mine;  // what another thread has copied
    for (int i = 0; i < BYTES; ++i) early[other + i] = first[other + i];
    copy_async_wait<0>();
    __syncthreads();
    for (int i = 0; i < BYTES; ++i) late[other + i] = second[other + i];
}

// The threads fill dynamic shared memory and read it from the other end.
__global__ void turned_around(const float* x, float* y) {
    DYNAMIC_SHARED(float, held);
    held[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = held[blockDim.x - 1 - threadIdx.x];
}

// Where each block is: of a grid of two axes, and of a share whose blocks are numbered.
__global__ void places_in_grid(unsigned* y) {
    if (threadIdx.x > 0) return;
    const Block at = block_of_grid();
    const unsigned here[5] = {at.x, at.y, at.z, at.tall, at.wide};
    for (int i = 0; i < 5; ++i) y[(blockIdx.y * gridDim.x + blockIdx.x) * 5 + i] = here[i];
}

__global__ void places_in_share(unsigned* y, long long wide, long long tall) {
    if (threadIdx.x > 0) return;
    const Block at = block_of_share(blockIdx.x, (unsigned)wide, (unsigned)tall);
    const unsigned here[5] = {at.x, at.y, at.z, at.tall, at.wide};
    for (int i = 0; i < 5; ++i) y[blockIdx.x * 5 + i] = here[i];
}

// Each block leaves its sum of 64 numbers; the last of them adds these up.
__global__ void sum_by_last_block(const int* x, int* sums, int* counter, int* total) {
    if (threadIdx.x == 0) {
        int sum = 0;
        for (int i = 0; i < 64; ++i) sum += x[blockIdx.x * 64 + i];
        sums[blockIdx.x] = sum;
    }
    if (!is_last_block(counter) || threadIdx.x > 0) return;
    int sum = 0;
    for (int block = 0; block < gridDim.x; ++block) sum += sums[block];
    *total = sum;
}
"""


def _launch(cuda, kernel, blocks, threads, *args, shared=0):
    cuda.launch_source(TEXT, kernel, (blocks,), (threads,), args, shared)


def _rounded(x: np.ndarray, bits: int, to_even: bool) -> np.ndarray:
    """``x`` to ``bits`` significant bits, to nearest; ties to even, or away from zero."""
    x = x.astype(np.float64)
    _, exponent = np.frexp(x)
    units = x / np.exp2(exponent - bits)
    whole = np.rint(units) if to_even else np.sign(units) * np.floor(np.abs(units) + 0.5)
    return whole * np.exp2(exponent - bits)


def _float(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # the largest are rounded to infinity
        return x.astype(np.float32)


def _numbers_to_round() -> np.ndarray:
    """Numbers of all sizes, and halfway between two of 8 or 11 bits."""
    rng = np.random.default_rng(0)
    ordinary = rng.normal(size=1000) * np.exp2(rng.integers(-100, 100, 1000))
    ties = [s * np.ldexp(m + 0.5, e - b) for b in (7, 10) for m in range(2**b, 2**b + 40)
            for e in (-3, 0, 5) for s in (-1, 1)]  # fmt: skip
    numbers = np.concatenate([ordinary, ties, [0.0, 1.0, -1.0, np.inf, -np.inf]])
    # What is added to round must not carry over into the sign of NaN, nor be all that it has.
    nan = [0x7FC00000, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFC00000, 0x7F800001, 0xFF800001, 0x7FFFF000]
    largest = [0x7F7FFFFF, 0xFF7FFFFF]
    odd = np.array(nan + largest, np.uint32).view(np.float32)
    numbers = np.concatenate([numbers.astype(np.float32), odd])
    return np.resize(numbers, -(-len(numbers) // 64) * 64)


def check_to_tf32(cuda) -> None:
    x = _numbers_to_round()
    y = cuda.empty(x.shape, "uint32")
    _launch(cuda, "round_to_tf32", x.size // 64, 64, cuda.asarray(x), y)
    actual = (cuda.to_numpy(y) & np.uint32(0xFFFFE000)).view(np.float32)  # the others are ignored
    finite = np.isfinite(x)
    np.testing.assert_array_equal(actual[finite], _float(_rounded(x[finite], 11, to_even=False)))
    np.testing.assert_array_equal(actual[~finite], x[~finite])


def check_pack_bf16(cuda) -> None:
    low, high = _numbers_to_round(), _numbers_to_round()[::-1].copy()
    y = cuda.empty(low.shape, "uint32")
    _launch(cuda, "round_to_bf16", low.size // 64, 64, cuda.asarray(low), cuda.asarray(high), y)
    packed = cuda.to_numpy(y)
    for x, bits in ((low, packed << 16), (high, packed & np.uint32(0xFFFF0000))):
        actual, finite = bits.astype(np.uint32).view(np.float32), np.isfinite(x)
        np.testing.assert_array_equal(actual[finite], _float(_rounded(x[finite], 8, to_even=True)))
        np.testing.assert_array_equal(actual[~finite], x[~finite])


def check_bfloat16(cuda) -> None:
    """Numbers in memory are the upper halves of floats: each is read, and each can be written."""
    bits = np.arange(2**16, dtype=np.uint16)
    expected = (bits.astype(np.uint32) << 16).view(np.float32)
    numbers = cuda.empty(bits.shape, "float32")
    _launch(cuda, "read_bf16", bits.size // 64, 64, cuda.asarray(bits), numbers)
    np.testing.assert_array_equal(cuda.to_numpy(numbers), expected)
    y = cuda.empty(bits.shape, "uint16")
    _launch(cuda, "write_bf16", bits.size // 64, 64, cuda.asarray(expected), y)
    written, is_nan = cuda.to_numpy(y), np.isnan(expected)
    np.testing.assert_array_equal(written[~is_nan], bits[~is_nan])
    assert (written[is_nan] & 0x7FFF > 0x7F80).all()


def check_tensor_float32(cuda) -> None:
    """Numbers in memory are floats, read as they are, and written with 10 bits after the point."""
    x = _numbers_to_round()
    y, numbers = cuda.empty(x.shape, "uint32"), cuda.empty(x.shape, "float32")
    _launch(cuda, "write_tf32", x.size // 64, 64, cuda.asarray(x), y)
    bits = cuda.to_numpy(y)
    assert (bits & 0x1FFF == 0).all()
    actual, finite = bits.view(np.float32), np.isfinite(x)
    np.testing.assert_array_equal(actual[finite], _float(_rounded(x[finite], 11, to_even=False)))
    np.testing.assert_array_equal(actual[~finite], x[~finite])
    _launch(cuda, "read_tf32", x.size // 64, 64, y, numbers)
    np.testing.assert_array_equal(cuda.to_numpy(numbers), actual)


def _check_products(cuda, kernel: str, depth: int) -> None:
    """One-hot A against numbers that all differ, one-hot B likewise, then whole numbers."""
    rng = np.random.default_rng(1)
    numbered_a = 1.0 + np.arange(16 * depth).reshape(16, depth) % 251  # exact in 8 bits
    numbered_b = 1.0 + np.arange(depth * 8).reshape(depth, 8)
    one_hot_a = np.eye(16 * depth).reshape(-1, 16, depth)
    one_hot_b = np.eye(depth * 8).reshape(-1, depth, 8)
    a = np.concatenate([one_hot_a, np.broadcast_to(numbered_a, (depth * 8, 16, depth)),
                        rng.integers(-9, 10, (20, 16, depth))])  # fmt: skip
    b = np.concatenate([np.broadcast_to(numbered_b, (16 * depth, depth, 8)), one_hot_b,
                        rng.integers(-9, 10, (20, depth, 8))])  # fmt: skip
    d = rng.integers(-9, 10, (len(a), 16, 8)).astype(np.float32)
    target = cuda.asarray(d)
    _launch(
        *(cuda, kernel, len(a), 32),
        *(cuda.asarray(a.astype(np.float32)), cuda.asarray(b.astype(np.float32)), target),
    )
    np.testing.assert_array_equal(cuda.to_numpy(target), a @ b + d)


def check_mma_tf32(cuda) -> None:
    _check_products(cuda, "products_of_tf32", 8)


def check_mma_bf16(cuda) -> None:
    _check_products(cuda, "products_of_bf16", 16)


def check_load_matrices(cuda) -> None:
    x = np.random.default_rng(3).integers(1, 2**32, 128, dtype=np.uint32)
    y = cuda.empty((32, 4), "uint32")
    _launch(cuda, "matrices", 1, 32, cuda.asarray(x), y)
    # Of block b lane l has word l % 4 of line l / 4.
    expected = [[x[b * 32 + lane] for b in range(4)] for lane in range(32)]
    np.testing.assert_array_equal(cuda.to_numpy(y), expected)


def check_load_matrices_turned(cuda) -> None:
    numbers = np.arange(4 * 8 * 8, dtype=np.uint16).reshape(4, 8, 8)  # (block, line, place)
    y = cuda.empty((32, 4), "uint32")
    _launch(cuda, "turned_matrices", 1, 32, cuda.asarray(numbers.view(np.uint32).ravel()), y)
    expected = [
        [int(block[2 * (lane % 4), lane // 4]) | int(block[2 * (lane % 4) + 1, lane // 4]) << 16
         for block in numbers]
        for lane in range(32)
    ]  # fmt: skip
    np.testing.assert_array_equal(cuda.to_numpy(y), expected)


def check_copy_async(cuda) -> None:
    rng = np.random.default_rng(2)
    for size in (4, 8, 16):
        x = rng.integers(1, 255, (2, 64, size)).astype(np.uint8)
        valid = rng.integers(0, 2, 64).astype(np.int32)
        early, late = (cuda.empty((64, size), "uint8") for _ in range(2))
        _launch(
            *(cuda, f"copies<{size}>", 1, 64),
            *(cuda.asarray(x), cuda.asarray(valid), early, late),
        )
        for part, actual in zip(x, (early, late), strict=True):
            np.testing.assert_array_equal(
                cuda.to_numpy(actual), np.where(valid[:, None] != 0, part, 0)
            )


def check_dynamic_shared(cuda) -> None:
    x = np.arange(96, dtype=np.float32)
    y = cuda.empty(x.shape, "float32")
    _launch(cuda, "turned_around", 1, 96, cuda.asarray(x), y, shared=96 * 4)
    np.testing.assert_array_equal(cuda.to_numpy(y), x[::-1])


def check_block_of_grid(cuda) -> None:
    y = cuda.empty((3 * 5, 5), "uint32")
    cuda.launch_source(TEXT, "places_in_grid", (3, 5), (32,), (y,), 0)
    places = [(x, y, 0, 5, 3) for y in range(5) for x in range(3)]
    np.testing.assert_array_equal(cuda.to_numpy(y), places)


def check_block_of_share(cuda) -> None:
    y = cuda.empty((2 * 3 * 4, 5), "uint32")
    _launch(cuda, "places_in_share", len(y), 32, y, 2, 3)
    places = [(x, y, z, 3, 2) for z in range(4) for y in range(3) for x in range(2)]
    np.testing.assert_array_equal(cuda.to_numpy(y), places)


def check_is_last_block(cuda) -> None:
    x = np.arange(37 * 64, dtype=np.int32)
    counter = cuda.asarray(np.zeros(1, np.int32))
    for _ in range(2):  # the counter is 0 again
        total = cuda.asarray(np.array([-1], np.int32))
        sums = cuda.empty((37,), "int32")
        _launch(cuda, "sum_by_last_block", 37, 64, cuda.asarray(x), sums, counter, total)
        assert cuda.to_numpy(total)[0] == x.sum()
        assert cuda.to_numpy(counter)[0] == 0


CHECKS: dict[str, Callable] = {
    "to_tf32": check_to_tf32,
    "pack_bf16": check_pack_bf16,
    "Bfloat16": check_bfloat16,
    "TensorFloat32": check_tensor_float32,
    "load_matrices": check_load_matrices,
    "load_matrices_turned": check_load_matrices_turned,
    "mma_tf32": check_mma_tf32,
    "mma_bf16": check_mma_bf16,
    "copy_async": check_copy_async,
    "DYNAMIC_SHARED": check_dynamic_shared,
    "block_of_grid": check_block_of_grid,
    "block_of_share": check_block_of_share,
    "is_last_block": check_is_last_block,
}
