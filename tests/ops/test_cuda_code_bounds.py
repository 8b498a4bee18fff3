"""The machine code of CUDA kernels stays as good as it is: a gate, since no device is there to time it.

Of the main loop of a product: how many instructions all threads issue for its multiplications, how
many tiles are on their way at a time, and that nothing lies in local memory. Of a loop that adds
up what it loads: that several loads are under way. Bounds are what was measured, and some per cent.

ARRAYCNN_ARCHITECTURES=80,90,100 asks for others than sm_90 alone, as .ci/long does.
"""

import os
from dataclasses import dataclass

import pytest

from arraycnn.ops.cuda.sources import generated, source
from host_cuda.machine_code import machine_code
from optional import needs

pytestmark = [needs("cupy"), pytest.mark.usefixtures("device_compiler")]

ARCHITECTURES = tuple(map(int, os.environ.get("ARRAYCNN_ARCHITECTURES", "90").split(",")))


@dataclass(frozen=True)
class Product:
    """Bounds of a kernel of tiles.cuh.

    Attributes
    ----------
    file, kernel : str
    products : int
        HMMA of a turn of the main loop; FFMA where there are none.
    most : int
        Instructions of a turn, on the way of all tiles but the last.
    stages : int
        Tiles in shared memory, of which all but one may be on their way.
    """

    file: str
    kernel: str
    products: int
    most: int
    stages: int = 3


def conv2d(math, products, most, *, kind="conv2d", forms="Form<true, 4>, Form<false, 4>", stages=3):
    return Product("convolution", f"{kind}<{math}, {forms}>", products, most, stages)


def patches(math, products, most, *, forms):
    """Of patch_convolution.cu, whose blocks copy all that they multiply before they do."""
    return Product("patch_convolution", f"conv2d_patch<{math}, {forms}>", products, most, stages=2)


LARGE, LARGEST = "128, 64, 64, 32", "128, 128, 64, 64"
BOTH_ALONG_K, BOTH_ACROSS = "Form<true, 4>, Form<true, 4>", "Form<false, 4>, Form<false, 4>"
STORED = ", false, Bfloat16"
ALONG_16, ACROSS_16 = f"Form<true, 8{STORED}>", f"Form<false, 8{STORED}>"
ALONG_32, ACROSS_32 = (f"Form<{along}, 4, false, TensorFloat32>" for along in ("true", "false"))
PRODUCTS = (
    conv2d(f"Mma<Tf32, {LARGE}>", 32, 223),
    conv2d(f"Mma<Bf16, {LARGE}>", 16, 136),
    conv2d(f"Mma<Tf32, {LARGEST}>", 64, 305),
    conv2d(f"Mma<Tf32, {LARGE}>", 32, 239, kind="conv2d_dx", forms=BOTH_ALONG_K),
    conv2d("Mma<Tf32, 128, 32, 32, 32>", 16, 182, kind="conv2d_dx", forms=BOTH_ALONG_K),
    conv2d(f"Mma<Tf32, {LARGE}>", 32, 264, kind="conv2d_dweight", forms=BOTH_ACROSS),
    conv2d(f"Mma<Bf16, {LARGE}>", 16, 176, kind="conv2d_dweight", forms=BOTH_ACROSS),
    conv2d(f"Mma16<{LARGE}>", 32, 133, forms=f"{ALONG_16}, {ACROSS_16}"),
    conv2d(f"Mma16<{LARGEST}>", 64, 180, forms=f"{ALONG_16}, {ACROSS_16}"),
    conv2d("Mma16<128, 32, 32, 32>", 16, 118, kind="conv2d_dx", forms=f"{ALONG_16}, {ALONG_16}"),
    conv2d(f"Mma16<{LARGE}>", 32, 168, kind="conv2d_dweight", forms=f"{ACROSS_16}, {ACROSS_16}"),
    conv2d(f"Mma<RoundedTf32, {LARGE}>", 32, 140, forms=f"{ALONG_32}, {ACROSS_32}"),
    conv2d(f"Mma<RoundedTf32, {LARGEST}>", 64, 200, forms=f"{ALONG_32}, {ACROSS_32}"),
    conv2d(
        *("Mma<RoundedTf32, 128, 32, 32, 32>", 16, 117),
        kind="conv2d_dx",
        forms=f"{ALONG_32}, {ALONG_32}",
    ),
    conv2d(
        *(f"Mma<RoundedTf32, {LARGE}>", 32, 187),
        kind="conv2d_dweight",
        forms=f"{ACROSS_32}, {ACROSS_32}",
    ),
    patches(f"Mma<RoundedTf32, {LARGE}>", 32, 70, forms=f"{ALONG_32}, {ACROSS_32}"),
    patches("Mma<RoundedTf32, 128, 32, 32, 32>", 16, 35, forms=f"{ALONG_32}, {ALONG_32}"),
    patches(f"Mma16<{LARGE}>", 32, 58, forms=f"{ALONG_16}, {ACROSS_16}"),
    patches("Mma16<128, 32, 32, 32>", 16, 36, forms=f"{ALONG_16}, {ALONG_16}"),
    patches("Mma16<128, 16, 32, 16, 16>", 4, 17, forms=f"{ALONG_16}, {ACROSS_16}"),
    patches("Mma<Tf32, 128, 32, 32, 32>", 16, 100, forms=BOTH_ALONG_K),
    conv2d("Fma<float, 128, 64, 8, 8>", 1024, 1180),
    Product("matmul", "matmul<Mma<Tf32, 32, 32, 16, 16>, Form<true, 4>, Form<false, 4>>", 4, 84),
    Product("matmul", f"matmul<Mma<RoundedTf32, {LARGE}>, {ALONG_32}, {ACROSS_32}>", 32, 120),
    Product("matmul", f"matmul<Mma<Tf32, {LARGE}>, Form<false, 4>, Form<false, 4, true>>", 32, 219),
    Product("matmul", "matmul<Fma<float, 32, 32, 4, 4>, Form<true, 4>, Form<false, 4>>", 256, 345),
)
SUMS = (("tiles", "sum_splits<float>"),)
LOADS_AT_ONCE = 8
OF_OTHERS = 1.1
"""Bounds of other architectures than sm_90, by those of sm_90."""

architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)


def wrong_with_product(row, code, architecture=90):
    loop = code.main_loop.path
    most = row.most * (1.0 if architecture == 90 else OF_OTHERS)
    count = loop.products or loop.fused
    # All but this one and the one that is read next, which is waited for.
    on_their_way = [one.operands for one in code.instructions if one.name == "DEPBAR"]
    return [
        *([f"{count} products in a turn"] if count != row.products else []),
        *([f"{len(loop)} instructions for {count} products"] if len(loop) > most else []),
        *([f"{code.local} accesses to local memory"] if code.local else []),
        *([f"waits {on_their_way}"] if on_their_way != [f"SB0, {row.stages - 2:#x}"] else []),
    ]


def wrong_with_sums(code):
    """Of loops that add, the one that loads most has the copies of its body."""
    adding = [
        loop.own for loop in code.loops if loop.own.count("FADD", "FFMA") and loop.own.count("LDG")
    ]
    most = max(loop.count("LDG") for loop in adding)
    return [
        *([f"{most} loads at once"] if most < LOADS_AT_ONCE else []),
        *([f"{code.local} accesses to local memory"] if code.local else []),
    ]


@architectures
@pytest.mark.parametrize("row", PRODUCTS, ids=lambda row: row.kernel)
def test_products(row, architecture):
    code = machine_code(row.file, row.kernel, architecture)
    assert wrong_with_product(row, code, architecture) == []


@architectures
@pytest.mark.parametrize(("file", "kernel"), SUMS)
def test_sums(file, kernel, architecture):
    assert wrong_with_sums(machine_code(file, kernel, architecture)) == []


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
        "#pragma unroll\n                for (int i = 0; i < BLOCKS_DOWN; ++i) {",
        "#pragma unroll 1\n                for (int i = 0; i < BLOCKS_DOWN; ++i) {", "local memory",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_worse_product_is_found(name):
    old, new, said = FAULTS[name]
    row = PRODUCTS[0]
    wrong = wrong_with_product(row, machine_code(planted(row.file, old, new), row.kernel))
    assert any(said in one for one in wrong), wrong


def test_a_sum_that_loads_one_after_the_other_is_found():
    start = "for (long long split = threadIdx.y;"
    file = planted("tiles", start, f"\n#pragma unroll 1\n        {start}")
    assert wrong_with_sums(machine_code(file, "sum_splits<float>")) == ["1 loads at once"]
