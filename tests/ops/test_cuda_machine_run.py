"""A thread that is run by its machine code executes what its source says, for any numbers."""

import random

import numpy as np
import pytest

from arraycnn.ops.cuda.record import cuda_kernels
from arraycnn.ops.cuda.sources import generated
from host_cuda import machine_run
from host_cuda.machine_code import machine_code
from host_cuda.machine_run import Launch, executed
from launches import NotingLauncher
from optional import needs

pytestmark = [needs("cupy"), pytest.mark.usefixtures("device_compiler")]

KERNELS = """
__global__ void nested(const float* x, float* y, long long outer, long long inner) {
    float sum = 0;
    #pragma unroll 1
    for (long long i = 0; i < outer; ++i) {
        #pragma unroll 1
        for (long long j = 0; j < inner; ++j) {
            const float v = x[i * inner + j];
            #pragma unroll
            for (int k = 0; k < 13; ++k) sum = __fmaf_rn(sum, v, 3.0f);
        }
        y[i] = sum;
        __syncthreads();
    }
}

__global__ void strided(float* y, long long count) {
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count;
         i += (long long)gridDim.x * blockDim.x)
        y[i] = 1;
}

// Stores as often as f says.
template <typename Integer>
__global__ void divided(float* y, Integer a, Integer b, Integer c) {
    const Integer times = a / b % c;
    #pragma unroll 1
    for (Integer i = 0; i < times; ++i) y[i] = 1;
}

__global__ void places(float* y, long long high, long long low) {
    const int part = threadIdx.y * 8 + threadIdx.x + 100 * blockIdx.z;
    const long long limit = (high << 3) - (low >> 2);
    const bool odd = part < limit && (part & 1) != (int)(high & 1);
    const int times = odd ? (int)min(limit, 20LL) : 9;
    #pragma unroll 1
    for (int i = part % 7; i < times; ++i) y[i] = 2;
}

struct Mixed { float rate; long long count; float other; };
__global__ void of_mixed(float before, Mixed mixed, float after, long long more, float* y) {
    #pragma unroll 1
    for (long long i = mixed.count; i < more; ++i) y[i] = before * mixed.rate;
}

__global__ void together(const float* x, float* y) { y[0] = x[0] * x[1] + x[2]; }
__global__ void in_turn(const int* x, int* y) { y[0] = x[x[x[0]]]; }
__global__ void asks(const int* x, int* y) {
    if (x[0]) y[0] = 1;
    #pragma unroll 1
    for (int i = 0; x[i] > 0; ++i) y[i] = 2;
}
"""


def run(kernel, parameters, grid=(1,), block=(32,), at=(0, 0, 0), thread=(0, 0, 0)):
    code = machine_code(generated(KERNELS), kernel)
    return executed(code, Launch(grid, block, parameters), at, thread)


X, Y = 1 << 36, 2 << 36


@pytest.mark.parametrize(("outer", "inner"), [(1, 1), (5, 7), (3, 0), (0, 4), (40, 33)])
def test_loops_turn_as_often_as_they_are_told(outer, inner):
    found = run("nested", (X, Y, outer, inner))
    assert found.count("FFMA") == 13 * outer * inner
    assert found.count("LDG") == outer * inner
    assert (found.count("STG"), found.count("BAR")) == (outer, outer)
    assert found.turns == outer * inner, "each load is multiplied before the next"
    assert found.unsure == 0
    assert found.issued > 14 * outer * inner


def test_all_threads_together_store_each_number_once():
    for count, blocks, threads in ((1, 1, 32), (200, 3, 64), (1000, 2, 96), (0, 1, 32)):
        stores = [
            run("strided", (Y, count), (blocks,), (threads,), (b, 0, 0), (t, 0, 0)).count("STG")
            for b in range(blocks)
            for t in range(threads)
        ]
        first, step = np.arange(blocks * threads), blocks * threads
        np.testing.assert_array_equal(stores, [len(range(i, count, step)) for i in first])


@pytest.mark.parametrize("integer", ["long long", "unsigned long long", "int", "unsigned"])
def test_division_is_exact(integer):
    bits = 32 if integer in ("int", "unsigned") else 64
    rng = random.Random(bits)
    for _ in range(60):
        b = rng.getrandbits(rng.randrange(1, bits - 1)) + 1
        a = rng.getrandbits(rng.randrange(1, bits - 1))
        c = rng.randrange(1, 300)
        if integer.startswith("unsigned") and rng.random() < 0.3:
            a |= 1 << (bits - 1)
        parameters = (Y, a, b, c)
        if bits == 32:  # three ints behind the address, the last alone
            parameters = (Y, a | b << 32, c)
        parameters = tuple(p - (1 << 64) if p >> 63 else p for p in parameters)
        found = run(f"divided<{integer}>", parameters)
        assert found.count("STG") == a // b % c, (a, b, c)
        assert found.unsure == 0


def test_negative_numbers_are_divided_towards_zero():
    for a, b, c in ((-7, -2, 5), (-100, -3, 50), (-(2**40), -(2**33), 1000), (-7, 2, 5)):
        expected = max(0, int(a / b) % c if a / b > 0 else 0)
        assert run("divided<long long>", (Y, a, b, c)).count("STG") == expected


def test_bits_and_places_count():
    rng, seen = random.Random(3), set()
    for _ in range(40):
        high, low = rng.randrange(0, 9), rng.randrange(-40, 200)
        at, thread = (0, 0, rng.randrange(2)), (rng.randrange(8), rng.randrange(4), 0)
        found = run("places", (Y, high, low), (1, 1, 2), (8, 4), at, thread)
        part = thread[1] * 8 + thread[0] + 100 * at[2]
        limit = (high << 3) - (low >> 2)
        odd = part < limit and part & 1 != high & 1
        assert found.count("STG") == max(0, (min(limit, 20) if odd else 9) - part % 7)
        seen.add(odd)
    assert seen == {False, True}


def test_members_of_a_struct_are_aligned_as_in_cuda():
    for count, more in ((2, 9), (5, 5), (0, 1)):
        found = run("of_mixed", (1.0, (2.0, count, 3.0), 4.0, more, Y))
        assert found.count("STG") == more - count
        assert found.unsure == 0


def test_loads_on_their_way_together_are_one_turn():
    assert run("together", (X, Y)).turns == 1
    assert run("in_turn", (X, Y)).turns == 3


def test_without_a_branch_each_instruction_is_executed_once():
    code = machine_code(generated(KERNELS), "together")
    names = [one.name for one in code.instructions]
    assert run("together", (X, Y)).issued == names.index("EXIT") + 1


def test_what_lies_in_memory_is_not_known():
    found = run("asks", (X, Y))
    assert found.unsure > 0
    assert 1 <= found.count("STG") <= 2, "the part is run, the loop is left"


def test_a_loop_without_end_is_said(monkeypatch):
    monkeypatch.setattr(machine_run, "MOST", 10_000)
    with pytest.raises(RuntimeError, match="a loop without end"):
        run("nested", (X, Y, 2**62, 2**30))


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_a_product_multiplies_what_it_must(precision):
    """Of sizes that every tile divides, no product is in vain: so its number is known."""
    rows, columns, depth = 256, 384, 512
    launcher = NotingLauncher()
    a, b = np.zeros((rows, depth), np.float32), np.zeros((depth, columns), np.float32)
    cuda_kernels(launcher, precision).matmul(a, b)
    (launch,) = (one for one in launcher.noted if one.file == "matmul")
    code = machine_code(launch.file, launch.kernel)
    started = Launch(launch.grid, launch.block, launch.parameters)
    splits = launch.grid[1]
    done = 0
    for split in range(splits):
        found = executed(code, started, (launch.grid[0] - 1, split, 0), (32, 0, 0))
        assert found.unsure == 0
        warps = launch.grid[0] * launch.block[0] // 32
        tensor = sum(
            found.by_opcode[opcode] * 16 * 8 * (16 if ".16816." in opcode else 8)
            for opcode in found.by_opcode
            if opcode.startswith("HMMA")
        )
        done += warps * (found.count("FFMA") * 32 if precision == "fp32" else tensor)
    assert done == rows * columns * depth
