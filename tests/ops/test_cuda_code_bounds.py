"""The machine code of CUDA kernels stays as good as it is: a gate, since no device is there to time it.

What the benchmarks' networks start is held to its bounds by tests/cuda_planned.py, all of it. Here are
products that they do not start, and faults, which are planted in the text of kernels and must be found.

ARRAYCNN_ARCHITECTURES=80,90,100 asks for others than sm_90 alone, as .ci/long does.
"""

import os

import pytest

from arraycnn.ops.cuda.sources import generated, source
from cuda_planned import in_loops, planned
from host_cuda.machine_code import machine_code
from optional import needs

pytestmark = [needs("cupy"), pytest.mark.usefixtures("device_compiler")]

ARCHITECTURES = tuple(map(int, os.environ.get("ARRAYCNN_ARCHITECTURES", "90").split(",")))

LARGE, LARGEST = "128, 64, 64, 32", "128, 128, 64, 64"
OF_IMAGES, ALONG_K, ACROSS = (
    f"Form<{a}, 4>, Form<{b}, 4>"
    for a, b in (("true", "false"), ("true", "true"), ("false", "false"))
)
ROUNDED = "Form<true, 4, false, TensorFloat32>, Form<false, 4, false, TensorFloat32>"
STORED = "Form<true, 8, false, Bfloat16>, Form<false, 8, false, Bfloat16>"
UNPLANNED = (
    ("convolution", f"conv2d<Mma<Tf32, {LARGE}>, {OF_IMAGES}>"),
    ("convolution", f"conv2d<Mma<Bf16, {LARGE}>, {OF_IMAGES}>"),
    ("convolution", f"conv2d<Mma<Tf32, {LARGEST}>, {OF_IMAGES}>"),
    ("convolution", f"conv2d_dx<Mma<Tf32, {LARGE}>, {ALONG_K}>"),
    ("convolution", f"conv2d_dx<Mma<Tf32, 128, 32, 32, 32>, {ALONG_K}>"),
    ("convolution", f"conv2d_dweight<Mma<Tf32, {LARGE}>, {ACROSS}>"),
    ("convolution", f"conv2d_dweight<Mma<Bf16, {LARGE}>, {ACROSS}>"),
    ("convolution", f"conv2d<Mma16<{LARGE}>, {STORED}>"),
    ("convolution", f"conv2d<Mma16<{LARGEST}>, {STORED}>"),
    ("convolution", f"conv2d<Mma<RoundedTf32, {LARGE}>, {ROUNDED}>"),
    ("convolution", f"conv2d<Mma<RoundedTf32, {LARGEST}>, {ROUNDED}>"),
    ("patch_convolution", f"conv2d_patch<Mma<Tf32, 128, 32, 32, 32>, {ALONG_K}>"),
    ("matmul", f"matmul<Mma<Tf32, 32, 32, 16, 16>, {OF_IMAGES}>"),
    ("matmul", f"matmul<Mma<RoundedTf32, {LARGE}>, {ROUNDED}>"),
    ("matmul", f"matmul<Mma<Tf32, {LARGE}>, Form<false, 4>, Form<false, 4, true>>"),
)
"""Products with a row in tests/cuda_loops.txt that no network of the benchmarks starts."""


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("key", UNPLANNED, ids=lambda key: key[1])
def test_products(key, architecture):
    said, wrong = in_loops(key, machine_code(*key, architecture), architecture)
    assert "/" in said
    assert wrong == []


def planted(file, old, new):
    """The text of a file with a fault in it, by the name that it is known by."""
    text = source(file)
    assert text.count(old) == 1, "mend the fault"
    return generated(text.replace(old, new))


CVT = 'unsigned bits; asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x)); return bits;'
FAULTS = {
    "rounding by cvt at each read": (
        "return __float_as_uint(fmaf(power, 1.0f / 2048, x)) & TF32_BITS;", CVT,
        "instructions for 32 products",
    ),
    "addresses from their parts": ('asm("" : "+l"(address));', "", "instructions for 32 products"),
    "steps counted in 64 bits": (
        "int left = (int)(last_k - first_k);", "long long left = last_k - first_k;",
        "instructions for 32 products",
    ),
    "two tiles": ("constexpr int STAGES = 3;", "constexpr int STAGES = 2;", "waits ['SB0, 0x0']"),
    "sums by a number": (
        "#pragma unroll\n        for (int i = 0; i < LINES / AT_ONCE; ++i)\n            store",
        "#pragma unroll 1\n        for (int i = 0; i < LINES / AT_ONCE; ++i)\n            store",
        "local memory",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_worse_product_is_found(name):
    old, new, said = FAULTS[name]
    file, kernel = UNPLANNED[0]
    key = planted(file, old, new), kernel
    _, wrong = in_loops(key, machine_code(*key))
    assert any(said in one for one in wrong), wrong


EACH_SPLIT = "for (long long split = threadIdx.y;"
GENERATED = "#pragma unroll 4\nfor (Index row"
ONE_AFTER_THE_OTHER = {
    "sum_splits": (EACH_SPLIT, f"\n#pragma unroll 1\n        {EACH_SPLIT}", "1 loads in a turn"),
    "few_columns": (
        "AT_ONCE = 72 / (COLUMNS + 1);",
        "AT_ONCE = 1;",
        "few_columns: loads under way",
    ),
    "matmul<Fma<float, 32": ("AT_ONCE = 8;", "AT_ONCE = 1;", "2 loads in a turn"),
    "sum_gradients": (
        "PIXELS = EDGE == 3 ? 2 : 1;",
        "PIXELS = 1;",
        "sum_gradients: loads under way",
    ),
    "sum_gradients_and": (
        "constexpr int PARTS = 8;",
        "constexpr int PARTS = 1;",
        "1 loads in a turn",
    ),
    "fused": (GENERATED, GENERATED.replace("4", "1"), "loads in a turn"),
}
"""By the beginning of a kernel's name."""


@pytest.fixture(scope="module")
def keys():
    return [*planned([("a", "fp32", 64), ("norm", "fp32", 64)]), ("tiles", "sum_splits<float>")]


@pytest.mark.parametrize("name", ONE_AFTER_THE_OTHER)
def test_sums_that_load_one_after_the_other_are_found(name, keys):
    old, new, said = ONE_AFTER_THE_OTHER[name]
    key = next(key for key in keys if key[1].startswith(name) and old in source(key[0]))
    assert in_loops(key, machine_code(*key))[1] == []
    fault = generated(source(key[0]).replace(old, new)), key[1]
    wrong = in_loops(fault, machine_code(*fault))[1]
    assert any(said in one for one in wrong), (key, wrong)
