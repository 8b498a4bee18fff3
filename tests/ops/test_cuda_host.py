"""The runtime that runs CUDA kernels on the CPU: does it notice what a kernel does wrong?

Each fault is written into a small kernel that passes without it, and must be named with the kernel,
block, thread and line.
"""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sanitize_cuda
from arraycnn.ops import GENERIC, Window
from arraycnn.ops.cuda.launcher import Struct
from arraycnn.ops.cuda.sources import source
from arraycnn.ops.max_pool2d import cuda as windows
from host_cuda import HostLauncher, KernelFault, check, lazy_zeros
from host_cuda.library import library


class Text(HostLauncher):
    """Runs kernels of one text."""

    def __init__(self, text, **settings):
        super().__init__(**settings)
        self._text = f'#line 1 "test.cu"\n{text}'

    def text(self, file):
        return self._text


def run(text, *args, grid=(1,), block=(64,), shared=0, kernel="kernel", **settings):
    Text(text, **settings).launch("test", kernel, grid, block, args, shared)


def result(text, *args, size=64, dtype=np.float32, **settings):
    """The last argument of the kernel, under the checker and in every order."""

    def started(cuda):
        y = cuda.empty((size,), dtype)
        run(text, *args, y, order=cuda.order, checked=cuda.mode == "checked", **settings)
        return y

    return check(started)


def fault_of(text, *args, **settings):
    with pytest.raises(KernelFault) as caught:
        run(text, *args, **settings)
    return str(caught.value)


def numbers(count=256, dtype=np.float32):
    return np.arange(count).astype(dtype)


REVERSED = """\
__global__ void kernel(const float* x, float* y) {
    __shared__ float part[64];
    const int i = threadIdx.x, at = blockIdx.x * 64 + i;
    part[i] = x[at];
    __syncthreads();
    y[at] = part[63 - i];
}
"""
IN_A_WARP = """\
__global__ void kernel(const float* x, float* y) {
    __shared__ float part[64];
    const int i = threadIdx.x, at = blockIdx.x * 64 + i;
    part[i] = x[at];
    __syncwarp();
    const float other = part[i ^ 1];
    __syncwarp();
    part[i] = other + 1.0f;
    y[at] = __shfl_xor_sync(0xffffffffu, part[i], 1);
}
"""
COPIED = """\
__global__ void kernel(const float* x, float* y) {
    __shared__ __align__(16) float part[2][64];
    const int i = threadIdx.x, at = blockIdx.x * 64 + i;
    copy_async<4>(&part[0][i], &x[at], true);
    copy_async_commit();
    copy_async<4>(&part[1][i], &x[at], i != 5);
    copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();
    const float first = part[0][63 - i];
    copy_async_wait<0>();
    __syncthreads();
    y[at] = first + part[1][63 - i];
}
"""
COUNTED = """\
__global__ void kernel(const float* x, float* y) {
    __shared__ int even;
    if (threadIdx.x == 0) even = 0;
    __syncthreads();
    if ((int)x[threadIdx.x] % 2 == 0) atomicAdd(&even, 1);
    __syncthreads();
    y[blockIdx.x * 64 + threadIdx.x] = (float)even;
}
"""
DYNAMIC = """\
__global__ void kernel(const float* x, float* y) {
    DYNAMIC_SHARED(float, part);
    const int i = threadIdx.x, at = blockIdx.x * 64 + i;
    part[i] = x[at];
    __syncthreads();
    y[at] = part[i / 2];
}
"""
ROUNDED = """\
__global__ void kernel(const float* x, float* y) {
    const unsigned word = __float_as_uint(x[threadIdx.x] / 3.0f) & TF32_BITS;
    const unsigned a[4] = {word, word, word, word}, b[2] = {word, word};
    float d[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    mma_tf32(d, a, b);
    for (int i = 0; i < 4; ++i) d[i] += d[3 - i];
    y[blockIdx.x * 64 + threadIdx.x] = d[0];
}
"""
TURNED = """\
__global__ void kernel(const float* x, float* y) {
    __shared__ __align__(16) float part[128];
    const int i = threadIdx.x, at = blockIdx.x * 64 + i;
    part[i] = part[i + 64] = x[at];
    __syncthreads();
    unsigned words[4];
    load_matrices(words, part + i % 32 * 4);
    y[at] = __uint_as_float(words[0]) + __uint_as_float(words[3]);
}
"""
LOCAL = """\
__global__ void kernel(const float* x, float* y) {
    const int at = blockIdx.x * 64 + threadIdx.x;
    float table[4];
    for (int i = 0; i < 4; ++i) table[i] = x[(at + i) % 256];
    y[at] = table[at % 4] + (float)((2147483647 - 256) + at);
}
"""
MEETING = """\
__global__ void kernel(const float* x, float* y) {
    const int i = threadIdx.x;
    const int all = __syncthreads_count(x[i] >= 0.0f);
    __syncthreads();
    y[blockIdx.x * 64 + i] = (float)all;
}
"""
LAST = """\
__global__ void kernel(const float* x, int* counter, float* y) {
    __shared__ bool is_last;
    y[64 * blockIdx.x + threadIdx.x] = x[threadIdx.x];
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        is_last = atomicAdd(counter, 1) == gridDim.x - 1;
        __threadfence();
    }
    __syncthreads();
    if (!is_last) return;
    float sum = 0.0f;
    for (int block = 0; block < gridDim.x; ++block) sum += y[64 * block + 63 - threadIdx.x];
    y[256 + threadIdx.x] = sum;
    if (threadIdx.x == 0) *counter = 0;
}
"""

WRITTEN = "    y[64 * blockIdx.x + threadIdx.x] = x[threadIdx.x];\n"
FENCE = "    __threadfence();\n"

CLEAN = {
    "meeting": MEETING,
    "reversed": REVERSED,
    "in a warp": IN_A_WARP,
    "copied": COPIED,
    "counted": COUNTED,
    "dynamic": DYNAMIC,
    "rounded": ROUNDED,
    "turned": TURNED,
    "local": LOCAL,
}

# What it is: (text, what stands there, the fault, the line it is found in, what is said)
FAULTS = {
    "read beyond the end": (REVERSED, "= x[at]", "= x[at + 1]", 4, r"^test.kernel: block \(3, 0, 0\) thread \(63, 0, 0\) test.cu:4: reads 4 bytes, 4 bytes beyond the end of argument 0 \(of 1024 bytes\)$"),
    "write before the start": (REVERSED, "y[at] =", "y[at - 1] =", 6, "writes 4 bytes, 4 bytes before the start of argument 1"),
    "write far away": (REVERSED, "y[at] =", "y[at + (1 << 28)] =", 6, "far from all its memory"),
    "index outside a shared array": (REVERSED, "part[63 - i]", "part[64 - i]", 6, "an index outside its array"),
    "shared memory not written": (REVERSED, "part[i] =", "if (i != 7) part[i] =", 6, "reads shared memory that no thread has written"),
    "race of warps": (REVERSED, "__syncthreads();", "float* z = part + 63 - i; *z = 1.0f;", 4, r"race: writes shared memory that thread \(31, 0, 0\) wrote in test.cu:5"),
    "barrier too early for the next write": (REVERSED, "part[63 - i];", "part[63 - i]; if (i < 32) part[i] = 0.0f;", 6, r"race: (reads|writes) shared memory that thread \(\d+, 0, 0\) (wrote|read) in test.cu:6"),
    "race of blocks": (REVERSED, "y[at] =", "y[i] =", 6, r"race: writes argument 1 that thread \(0, 0, 0\) of another block wrote in test.cu:6"),
    "read of another block's output": (REVERSED, "part[63 - i];", "part[63 - i] + y[i];", 6, r"race: reads argument 1 that thread \(0, 0, 0\) of another block wrote in test.cu:6"),
    "barrier not for all lanes": (MEETING, "    __syncthreads();", "if (i % 8) __syncthreads();", 4, r"56 of the 64 threads of the block stand at __syncthreads, thread \(0, 0, 0\) at the end"),
    "barrier not for all warps": (MEETING, "    __syncthreads();", "if (i < 32) __syncthreads();", 4, r"32 of the 64 threads of the block stand at __syncthreads, thread \(32, 0, 0\) at the end"),
    "different barriers": (MEETING, "    const int all", "    if (i >= 32) __syncthreads();\n    const int all", 4, r"32 of the 64 threads of the block stand at __syncthreads with a predicate, thread \(32, 0, 0\) at __syncthreads in line 3"),
    "barrier against shuffle": (MEETING, "    __syncthreads();", "    if (i) __syncthreads(); else __syncwarp();", 4, r"1 of the 32 threads of the warp stand at __syncwarp, thread \(1, 0, 0\) at __syncthreads in line 4"),
    "write to what is only read": (REVERSED, "y[at] =", "const_cast<float*>(x)[at] =", 6, "writes to argument 0, which is read-only"),
    "lost __syncwarp before a read": (IN_A_WARP, "    __syncwarp();\n    const", "    const", 5, r"race: reads shared memory that thread \(0, 0, 0\) wrote in test.cu:4|no thread has written"),
    "lost __syncwarp before a write": (IN_A_WARP, "    __syncwarp();\n    part", "    part", 6, r"race: reads shared memory that thread \(0, 0, 0\) wrote in test.cu:7"),
    "__syncwarp between warps": (REVERSED, "__syncthreads", "__syncwarp", 6, "race: reads shared memory|no thread has written"),
    "shuffle not for all lanes": (IN_A_WARP, "y[at] =", "if (i % 32 < 20) y[at] =", 9, r"20 of the 32 threads of the warp stand at a shuffle, thread \(20, 0, 0\) at the end"),
    "shuffle of half a warp": (IN_A_WARP, "0xffffffffu", "0x0000ffffu", 9, "a shuffle with the mask 0xffff"),
    "shuffle against __syncwarp": (IN_A_WARP, "    __syncwarp();\n    part", "    if (i % 2) __syncwarp(); else __shfl_sync(0xffffffffu, 0, 0);\n    part", 7, "16 of the 32 threads of the warp stand at a shuffle"),
    "lost wait": (COPIED, "    copy_async_wait<1>();", "", 10, "reads shared memory that copy_async is still filling"),
    "wait for too few": (COPIED, "copy_async_wait<1>", "copy_async_wait<2>", 10, "reads shared memory that copy_async is still filling"),
    "last wait lost": (COPIED, "    copy_async_wait<0>();", "", 13, "reads shared memory that copy_async is still filling"),
    "lost commit": (COPIED, "true);\n    copy_async_commit();", "true);\n", 10, "copy_async is still filling"),
    "lost barrier after a wait": (COPIED, "wait<1>();\n    __syncthreads();", "wait<1>();\n\n", 11, "reads shared memory that no thread has written"),
    "copy over what is being read": (COPIED, "const float first = part[0][63 - i];", "const float first = part[0][63 - i]; if (i >= 32) copy_async<4>(&part[0][i], &x[at], true); copy_async_commit();", 10, r"race: writes shared memory that thread \(\d+, 0, 0\) read in test.cu:10"),
    "copy between odd addresses": (COPIED, "copy_async<4>(&part[0][i]", "copy_async<16>(&part[0][i]", 4, "copy_async of 16 bytes between addresses not aligned"),
    "copy from out of bounds": (COPIED, "&x[at], true", "&x[at + 64], true", 4, "reads 4 bytes, 4 bytes beyond the end of argument 0"),
    "increments": (COUNTED, "atomicAdd(&even, 1)", "++even", 5, "race: (reads|writes) shared memory"),
    "read beside atomics": (COUNTED, "1);\n    __syncthreads();", "1);\n", 7, "race: reads shared memory that thread .* changed atomically"),
    "count not set to zero": (COUNTED, "even = 0", "(void)0", 5, "changes atomically shared memory that no thread has written"),
    "dynamic shared memory too short": (DYNAMIC, "part[i] =", "part[i + 1] =", 4, r"writes 4 bytes, 4 bytes beyond the end of shared memory \(of 256 bytes\)"),
    "lines of global memory": (TURNED, "load_matrices(words, part + i % 32 * 4);", "load_matrices(words, x + i % 32 * 4);", 7, "load_matrices from what is not shared memory"),
    "lines that are not aligned": (TURNED, "part + i % 32 * 4", "part + i % 32 * 3", 7, "load_matrices from an address that 16 does not divide"),
    "lines beyond shared memory": (TURNED, "part + i % 32 * 4", "part + i % 32 * 8", 7, "load_matrices from what is not shared memory"),
    "lines that another is writing": (TURNED, "    __syncthreads();\n", "", 6, "reads shared memory that no thread has written"),
    "half a warp loads": (TURNED, "    load_matrices(", "    if (i % 32 < 16) load_matrices(", 7, "stand at load_matrices"),
    "operand not rounded": (ROUNDED, " & TF32_BITS", "", 5, "an operand of mma_tf32, 0x3eaaaaab, was not rounded by to_tf32"),
    "index outside a local array": (LOCAL, "table[at % 4]", "table[at % 5]", 5, "an index outside its array"),
    "overflow": (LOCAL, "2147483647 - 256", "2147483647 - 254", 5, "overflow of a signed addition"),
    "division by zero": (LOCAL, "table[at % 4]", "table[4 / at % 4]", 5, "division by zero"),
    "shift": (LOCAL, "table[at % 4]", "table[(at << (at - 1)) % 4]", 5, "a shift by too much"),
    "trap": (LOCAL, "float table[4];", "float table[4]; if (at == 70) __trap();", 3, r"block \(1, 0, 0\) thread \(6, 0, 0\) test.cu:3: __trap"),
}  # fmt: skip


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_kernel_passes(name):
    x = numbers()
    x.flags.writeable = False
    y = result(CLEAN[name], x, size=256, grid=(4,), shared=256 * (name == "dynamic"))
    expected = {
        "reversed": x.reshape(4, 64)[:, ::-1].ravel(),
        "in a warp": x + 1,
        "copied": x.reshape(4, 64)[:, ::-1].ravel() * np.where(np.arange(256) % 64 == 58, 1, 2),
        "counted": np.full(256, 32),
        "meeting": np.full(256, 64),
        "dynamic": np.repeat(x.reshape(4, 64)[:, :32], 2, axis=1).ravel(),
    }
    if name in expected:
        np.testing.assert_array_equal(y, expected[name])


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(name):
    text, old, new, line, said = FAULTS[name]
    assert text.count(old) == 1, "mend the table"
    x = numbers()
    x.flags.writeable = False
    y = HostLauncher().empty((256,), np.float32)
    shared = 256 if text is DYNAMIC else 0
    fault = fault_of(text.replace(old, new), x, y, grid=(4,), shared=shared, checked=True)
    assert re.search(said, fault), fault
    assert re.match(rf"test\.kernel: block \(.*\) thread \(.*\) test\.cu:{line}: ", fault), fault


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("y[at] =", "y[at + 1] =", "argument 1: written 0 bytes after its memory"),
        ("y[at] =", "y[at - 3] =", "argument 1: written 12 bytes before its memory"),
        ("part[i] =", "part[i + 64] = part[i] =", "wrote behind its 256 bytes of dynamic shared"),
    ],
)
def test_margins_are_watched_without_the_checker(old, new, said):
    y = HostLauncher().empty((256,), np.float32)
    assert said in fault_of(DYNAMIC.replace(old, new), numbers(), y, grid=(4,), shared=256)
    run(DYNAMIC, numbers(), y, grid=(4,), shared=256)


def sums_of_blocks(text, **settings):
    y = HostLauncher().empty((320,), np.float32)
    run(text, numbers(), np.zeros(1, np.int32), y, grid=(4,), **settings)
    return y[256:]


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
def test_the_last_block_may_read_what_the_others_released(order):
    expected = 4 * np.arange(64, dtype=np.float32)[::-1]
    np.testing.assert_array_equal(sums_of_blocks(LAST, checked=True, order=order), expected)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (WRITTEN + FENCE, WRITTEN, "of another block wrote in test.cu:3"),
        ("        __threadfence();\n", "", "of another block wrote in test.cu:3"),
        (WRITTEN + FENCE, FENCE + WRITTEN, "of another block wrote in test.cu:4"),
        ("    __syncthreads();\n    if (!is", "    if (!is", "shared memory"),
        ("== gridDim.x - 1", ">= 1", "of another block"),
        ("atomicAdd(counter, 1)", "(*counter)++", "of another block"),
    ],
)
def test_what_is_not_released_is_a_race(old, new, said):
    assert LAST.count(old) == 1
    with pytest.raises(KernelFault, match=said):
        sums_of_blocks(LAST.replace(old, new), checked=True)


def test_what_a_kernel_does_not_write_is_not_a_number():
    y = HostLauncher().empty((256,), np.float32)
    run(REVERSED.replace("y[at]", "if (i) y[at]"), numbers(), y, grid=(4,))
    assert np.flatnonzero(np.isnan(y)).tolist() == [0, 64, 128, 192]
    assert (HostLauncher().empty((3,), np.int32) == -1).all()


BYTES = """
__global__ void kernel(unsigned char* y) { y[(blockIdx.x * 64 + threadIdx.x) % STEP] = 1; }
"""


def test_bytes_are_told_apart():
    run(BYTES.replace("STEP", "256"), np.zeros(256, np.uint8), grid=(4,), checked=True)
    for step in (64, 128, 192):
        text = BYTES.replace("STEP", str(step))
        said = fault_of(text, np.zeros(256, np.uint8), grid=(4,), checked=True)
        assert "race: writes argument 0 that thread (0, 0, 0) of another block wrote" in said


NEIGHBOURS = """
__device__ __noinline__ void put(float* place, float value) { *place = value; }
__global__ void kernel(float* y) {
    __shared__ float first[64];
    __shared__ float second[64];
    second[threadIdx.x] = 0.0f;
    put(first + threadIdx.x + (y[0] > 0.0f ? 1 : 0), 1.0f);
    __syncthreads();
    y[threadIdx.x] = first[threadIdx.x] + second[threadIdx.x];
}
"""


@pytest.mark.parametrize("fault", [False, True])
def test_sanitizers_tell_one_shared_array_from_the_next(fault):
    code = f"import numpy, test_cuda_host as t; t.run(t.NEIGHBOURS, numpy.full(64, {fault:d}, 'f'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**sanitize_cuda.environment(), "PYTHONPATH": ":".join(sys.path)},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) == fault, done.stderr
    assert ("AddressSanitizer: global-buffer-overflow" in done.stderr) == fault
    assert ("test.cu:2" in done.stderr) == fault


def test_results_that_depend_on_the_order_are_noticed():
    text = "__global__ void kernel(float* y) { y[0] = (float)threadIdx.x; }"

    def last(cuda):
        y = cuda.empty((1,), np.float32)
        run(text, y, order=cuda.order)
        return y

    with pytest.raises(KernelFault, match="results differ"):
        check(last, checked=False)


def test_a_number_without_a_value_does_not_compile():
    text = LOCAL.replace("const int at = ", "int at; if (x[0] > 1.0f) at = ")
    with pytest.raises(KernelFault, match=r"test.cu:2.*(.|\n)*uninitialized"):
        run(text, numbers(), numbers())


def test_float_atomics_do_not_compile():
    text = "__global__ void kernel(float* y) { atomicAdd(y, 1.0f); }"
    with pytest.raises(KernelFault, match=r"no matching function for call to .atomicAdd"):
        run(text, numbers())


BOUNDED = """
struct Two { static constexpr int THREADS = 64; };
template <class Form, int KIB>
__global__ void __launch_bounds__(Form::THREADS, (KIB ? 1 : 2)) kernel(float* y) {
    __shared__ float part[KIB * 256];
    part[threadIdx.x] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = part[threadIdx.x];
}
"""


def test_launch_bounds_are_kept():
    y = numbers(96)
    run(BOUNDED, y, kernel="kernel<Two, 1>", block=(64,))
    said = fault_of(BOUNDED, y, kernel="kernel<Two, 1>", block=(96,))
    assert said == "test.kernel<Two, 1>: has launch bounds of 64 threads, got 96"


def test_launch_bounds_that_are_not_read_are_an_error():
    text = "__launch_bounds__(64) __global__ void kernel(float* y) { y[threadIdx.x] = 1.0f; }"
    with pytest.raises(KernelFault, match="kernel: launch bounds stand behind"):
        run(text, numbers(64))


def test_static_and_dynamic_shared_memory_fit_a_block_together():
    y = numbers(64)
    run(BOUNDED, y, kernel="kernel<Two, 40>", shared=59 * 1024)
    said = fault_of(BOUNDED, y, kernel="kernel<Two, 40>", shared=60 * 1024)
    assert said == "test.kernel<Two, 40>: has 40960 bytes of static shared memory, got 61440"


@pytest.mark.parametrize(
    ("file", "kernel", "most_threads", "static_shared"),
    [
        ("few_columns", "few_columns<Bfloat16, Bfloat16, 10, 2>", 256, 320),
        ("tiles", "sum_splits<double>", 256, 2048),
        ("windows", "im2col<double>", 1024, 0),
        (
            "convolution",
            "conv2d<Fma<double, 32, 32, 4, 2>, Form<false, 1>, Form<false, 1>>",
            128,
            0,
        ),
    ],
)
def test_a_block_takes_what_it_does_on_a_device(file, kernel, most_threads, static_shared):
    """As tests/cuda_figures.txt has it of the compiler for devices."""
    compiled = library(source(file), kernel, "fast")
    assert (compiled.most_threads, compiled.static_shared) == (most_threads, static_shared)


TAKEN = """
struct Table { long long address[3]; };
__global__ void kernel(const float* x, int* y, long long n, float a, double b, Table table) {
    if (threadIdx.x == 0) y[0] = x ? (int)(x[0] + n + a + b + *(float*)table.address[1]) : -1;
}
"""


def taken():
    arrays = (numbers(3), numbers(2) + 7)
    y = np.zeros(1, np.int32)
    return [
        numbers(4),
        y,
        2**40,
        np.float32(1),
        np.float64(2),
        Struct((*arrays, *(None,) * (3 - len(arrays)))),
    ]


def test_arguments_arrive():
    for place, argument, expected in ((2, 5, 15), (0, None, -1)):
        arguments = taken()
        arguments[2], arguments[place] = 5, argument
        run(TAKEN, *arguments, checked=True)
        assert arguments[1] == expected


@pytest.mark.parametrize(
    ("place", "argument", "said"),
    [
        (0, numbers(dtype=np.float64), "is an array of float64, the kernel takes one of float"),
        (0, 3, "is int, the kernel takes an array or None"),
        (0, Struct((None,) * 3), "is Struct, the kernel takes an array or None"),
        (1, np.broadcast_to(np.int32(0), (1,)), "is read-only, the kernel writes to it"),
        (2, np.float64(2), "is float64, the kernel takes an int"),
        (2, True, "is bool, the kernel takes an int"),
        (2, numbers(), "is ndarray, the kernel takes an int"),
        (2, 2**63, "is 9223372036854775808, more than 64 bits hold"),
        (3, np.float64(2), "is float64, the kernel takes np.float32"),
        (3, 1.0, "is float, the kernel takes np.float32"),
        (4, np.float32(2), "is float32, the kernel takes np.float64"),
        (5, Struct((None,) * 4), "has members of 32 bytes, the kernel takes 24"),
        (5, None, "is NoneType, the kernel takes a Struct"),
    ],
)
def test_a_wrong_argument_is_named(place, argument, said):
    arguments = taken()
    arguments[place] = argument
    assert fault_of(TAKEN, *arguments) == f"test.kernel: argument {place} {said}"


def test_a_wrong_number_of_arguments_is_named():
    assert fault_of(TAKEN, *taken()[:-1]) == "test.kernel: takes 6 arguments, got 5"
    text = "__global__ void kernel(int n) {}"
    said = "is taken as a type that launches never pass: whole numbers are long long"
    assert fault_of(text, 3) == f"test.kernel: argument 0 {said}"


def test_threads_have_their_places():
    text = """
    __global__ void kernel(int* y) {
        const int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
        const int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
        int* own = y + (block * 64 + thread) * 6;
        own[0] = threadIdx.x; own[1] = threadIdx.y; own[2] = threadIdx.z;
        own[3] = blockIdx.x; own[4] = blockIdx.y; own[5] = blockIdx.z;
    }
    """
    y = result(text, size=24 * 64 * 6, dtype=np.int32, grid=(2, 3, 4), block=(8, 4, 2))
    z, y_, x, c, b, a = np.unravel_index(np.arange(24 * 64), (4, 3, 2, 2, 4, 8))
    np.testing.assert_array_equal(y.reshape(-1, 6), np.stack([a, b, c, x, y_, z], axis=1))


def test_barriers_count():
    text = """
    __global__ void kernel(int* y) {
        int* own = y + threadIdx.x * 5;
        own[0] = __syncthreads_count(threadIdx.x % 3);
        own[1] = __syncthreads_or(threadIdx.x == 77);
        own[2] = __syncthreads_or(threadIdx.x == 177);
        own[3] = __syncthreads_and(threadIdx.x != 77);
        own[4] = __syncthreads_and(threadIdx.x != 177);
    }
    """
    y = result(text, size=96 * 5, dtype=np.int32, block=(96,)).reshape(96, 5)
    np.testing.assert_array_equal(y, np.tile([64, 1, 0, 0, 1], (96, 1)))


@pytest.mark.parametrize("width", [32, 16, 8])
def test_shuffles(width):
    text = """
    template <int WIDTH> __global__ void kernel(int* y) {
        const int lane = threadIdx.x % 32;
        int* own = y + threadIdx.x * 7;
        own[0] = __shfl_sync(0xffffffffu, (int)threadIdx.x, lane * 3, WIDTH);
        own[1] = __shfl_up_sync(0xffffffffu, (int)threadIdx.x, 3, WIDTH);
        own[2] = __shfl_down_sync(0xffffffffu, (double)threadIdx.x, 3, WIDTH);
        own[3] = __shfl_xor_sync(0xffffffffu, (long long)threadIdx.x, 5, WIDTH);
        own[4] = (int)__ballot_sync(0xffffffffu, threadIdx.x % 3 == 0);
        own[5] = __any_sync(0xffffffffu, threadIdx.x == 40);
        own[6] = __all_sync(0xffffffffu, threadIdx.x != 40);
    }
    """
    y = result(text, size=64 * 7, dtype=np.int32, kernel=f"kernel<{width}>").reshape(64, 7)
    for thread in range(64):
        warp, lane = divmod(thread, 32)
        start = thread - lane % width
        votes = sum(1 << i for i in range(32) if (32 * warp + i) % 3 == 0)
        assert y[thread].tolist() == [
            start + lane * 3 % width,
            thread - 3 if thread - 3 >= start else thread,
            thread + 3 if thread + 3 < start + width else thread,
            thread ^ 5,
            votes - (1 << 32) if votes >> 31 else votes,
            warp == 1,
            warp == 0,
        ]


@pytest.mark.parametrize("checked", [False, True])
def test_the_last_blocks_of_more_than_two_to_the_31_elements(checked):
    x = lazy_zeros((3, 30000, 30000, 1), np.float32)
    assert x.size > 2**31
    x[-1, -1] = np.random.default_rng(0).standard_normal((30000, 1))
    window = Window((1, 2), padding=(0, 0, 1, 0))
    cuda = HostLauncher(blocks=slice(-2, None), checked=checked)
    columns = windows.im2col(cuda, x, window)
    last_row = GENERIC.im2col(x[-1:, -1:], window)
    np.testing.assert_array_equal(columns[-256:], last_row[-256:])
    assert not columns[-1000:-256].any()
