"""Every kernel compiles for every kind of device, by the compiler CuPy uses, and spills nothing.

Which kernels there are, tests/cuda_kernels.txt says; tests/cuda_table.py compares it with those that
the tests ran, and prints the figures. Compiled here is what tests/cuda_figures.txt does not know of
this text and this compiler, and a tenth of what it knows.
"""

import re
from collections import defaultdict
from pathlib import Path

import pytest

import cuda_figures
from arraycnn.ops.cuda import launcher
from arraycnn.ops.cuda.sources import generated, source
from cuda_figures import figures_everywhere, listed
from cuda_primitives import TEXT
from cuda_table import Launches, wrong_with
from host_cuda.device_code import ARCHITECTURES, DoesNotCompile, figures
from optional import needs

pytestmark = [needs("cupy"), pytest.mark.usefixtures("device_compiler")]
FILES = sorted(path.stem for path in Path(launcher.__file__).parent.parent.rglob("*.cu"))


@pytest.mark.parametrize("file", FILES)
def test_kernels_compile_and_spill_nothing(file):
    for architecture, rows in figures_everywhere(file, listed()[file]).items():
        wrong = {kernel: wrong_with(row, Launches()) for kernel, row in rows.items()}
        assert not any(wrong.values()), (architecture, wrong)


@pytest.fixture
def of_a_test(monkeypatch, tmp_path):
    """The name of a file with one kernel, of which something is written on all architectures."""
    file = generated("__global__ void kernel(float* x) { x[threadIdx.x] *= 2.0f; }")
    monkeypatch.setattr(cuda_figures, "FILE", tmp_path / "figures.txt")
    cuda_figures.FILE.write_text(
        cuda_figures.text_of({file: figures_everywhere(file, ("kernel",))})
    )
    cuda_figures._read.cache_clear()
    yield file
    cuda_figures._read.cache_clear()


def test_what_is_written_is_not_compiled_again_but_for_a_sample(of_a_test, monkeypatch):
    first, asked = figures_everywhere(of_a_test, ("kernel",)), []

    def noted(file, kernels, architecture):
        asked.extend((architecture, kernel) for kernel in kernels)
        return figures(file, kernels, architecture)

    monkeypatch.setattr(cuda_figures, "figures", noted)
    assert figures_everywhere(of_a_test, ("kernel",)) == first
    assert asked == [(cuda_figures.SAMPLED, "kernel")]
    monkeypatch.setattr(
        cuda_figures, "AS_CUPY", ("-O0",)
    )  # as of another compiler, or another text
    assert cuda_figures.written(of_a_test) == {}
    figures_everywhere(of_a_test, ("kernel",))
    assert [number for number, _ in asked[1:]] == list(ARCHITECTURES)


def test_the_sample_is_a_tenth_and_another_of_another_text(monkeypatch):
    names = tuple(f"kernel<{number}>" for number in range(95))
    found = set()
    for text in "abcdefgh":
        monkeypatch.setattr(cuda_figures, "digest", lambda _, text=text: text)
        drawn = cuda_figures.sample("file", names)
        assert drawn == cuda_figures.sample("file", names[::-1])
        assert len(drawn) == 10
        found |= drawn
        assert cuda_figures.sample("file", names[:1]) == {names[0]}
    assert 30 < len(found) <= 80


def test_what_is_written_must_be_what_the_compiler_says(of_a_test):
    text = cuda_figures.FILE.read_text()
    row = figures(of_a_test, ("kernel",), cuda_figures.SAMPLED)["kernel"]
    as_is = f"\t90 {row.registers} 0 "

    def now(written):
        assert as_is in text
        cuda_figures.FILE.write_text(text.replace(as_is, written))
        cuda_figures._read.cache_clear()
        return figures_everywhere(of_a_test, ("kernel",))

    assert now(f"\t90 {row.registers + 1} 0 ")[90]["kernel"] == row
    with pytest.raises(AssertionError, match=r"kernel takes .* on sm_90, written: "):
        now(f"\t90 {row.registers} 8 ")


def with_tiles_alike(file, name):
    """``name`` without the sizes of tiles and vectors, which are each type's own."""
    own = "Fma<" in name or file in ("packed_pools", "few_columns")
    return re.sub(r"\d+", "", name) if own else name


@pytest.mark.parametrize("file", FILES)
def test_both_floating_types_have_the_same_kernels(file):
    of_type = {
        real: {
            re.sub(rf"\b{real}\b", "T", with_tiles_alike(file, name))
            for name in listed()[file]
            if re.search(rf"\b{real}\b", name)
            and not re.search("Bfloat16|TensorFloat32", name)  # beside float alone
        }
        for real in ("float", "double")
    }
    assert of_type["float"] == of_type["double"]


def by_name(kernels):
    """The instances of each kernel."""
    found = defaultdict(list)
    for kernel in kernels:
        found[kernel.split("<")[0]].append(kernel)
    return found


@pytest.mark.parametrize("file", FILES)
def test_every_kernel_of_a_file_is_listed(file):
    code = re.sub(r"//.*", "", source(file))
    names = set(re.findall(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)", code))
    assert len(names) == code.count("__global__")
    assert set(by_name(listed()[file])) == names


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_header_compiles(architecture):
    kernels = (
        *(f"{what}_{kind}" for what in ("round_to", "products_of") for kind in ("tf32", "bf16")),
        *("turned_around", "matrices", *(f"copies<{size}>" for size in (4, 8, 16))),
    )
    for row in figures(generated(TEXT), kernels, architecture).values():
        assert wrong_with(row, Launches()) == []


OLDEST = 75  # for CUDA 13: a device without asynchronous copies, TF32 and bfloat16


@pytest.mark.parametrize(
    "file", [file for file in FILES if any("Mma" not in kernel for kernel in listed()[file])]
)
def test_kernels_without_rounding_compile_for_the_oldest_device(file):
    plain = [kernel for kernel in listed()[file] if "Mma" not in kernel]
    kernels = [min(row, key=len) for row in by_name(plain).values()]
    for kernel, row in figures(file, tuple(kernels), OLDEST).items():
        assert wrong_with(row, Launches()) == [], kernel


def test_a_spill_is_noticed():
    text = """
    __global__ void __launch_bounds__(1024, 2) kernel(float* x) {
        float held[64];
        #pragma unroll
        for (int i = 0; i < 64; ++i) held[i] = x[i * 1024 + threadIdx.x];
        __syncthreads();
        #pragma unroll
        for (int i = 0; i < 64; ++i) x[i * 1024 + threadIdx.x] = held[63 - i] * held[i];
    }
    """
    row = figures(generated(text), ("kernel",), 90)["kernel"]
    assert row.registers == 32
    assert wrong_with(row, Launches()) == [f"spills {row.spilled} bytes"]
    assert row.spilled > 0


def test_a_launch_that_no_device_takes_is_noticed():
    text = """
    __global__ void __launch_bounds__(128) kernel(float* x) {
        __shared__ float part[1024];
        part[threadIdx.x] = x[threadIdx.x];
        __syncthreads();
        x[threadIdx.x] = part[127 - threadIdx.x];
    }
    """
    row = figures(generated(text), ("kernel",), 80)["kernel"]
    assert wrong_with(row, Launches(1, threads=128, shared=95 * 1024)) == []
    assert wrong_with(row, Launches(1, threads=256, shared=96 * 1024)) == [
        "is launched with 256 threads, takes at most 128",
        "takes 102400 bytes of shared memory, at most are 101376",
    ]


def test_what_does_not_compile_is_said():
    text = generated("__global__ void kernel(float* x) { x[0] = missing; }")
    with pytest.raises(DoesNotCompile, match='identifier "missing" is undefined'):
        figures(text, ("kernel",), 80)
