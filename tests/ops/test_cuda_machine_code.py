"""What is read of machine code: of a listing by hand, and of kernels that do what is known."""

import pytest

from arraycnn.ops.cuda.sources import generated
from host_cuda import listed_together
from host_cuda.device_code import compiled
from host_cuda.machine_code import machine_code, read
from optional import needs

pytestmark = needs("cupy")

# Two loops, one in the other; a way around 3 of the inner loop's instructions, and one around work.
LISTING = """
        .size           kernel,(.L_x_9 - kernel)
kernel:
.text.kernel:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
.L_x_3:
        /*0010*/              @!P0 BRA `(.L_x_1) ;
        /*0020*/                   LDG.E R2, [R4.64] ;
.L_x_2:
        /*0030*/                   HMMA.1688.F32.TF32 R8, R4, R6, R8 ;
        /*0040*/               @P1 BRA `(.L_x_4) ;
        /*0050*/                   LDGSTS.E.BYPASS.128 [R7], [R2.64], !P0 ;
        /*0060*/                   STL [R1], R2 ;
        /*0070*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
.L_x_4:
        /*0080*/              @!UP2 BRA `(.L_x_2) ;
.L_x_1:
        /*0090*/                   FFMA.FTZ R3, R3, R3, R5 ;
        /*00a0*/               @P2 BRA `(.L_x_3) ;
        /*00b0*/                   CALL.REL.NOINC `(.L_x_8) ;
        /*00c0*/                   EXIT ;
.L_x_8:
        /*00d0*/                   BRA `(.L_x_8) ;
        /*00e0*/                   NOP;
.L_x_9:

//--------------------- .text.other                   --------------------------
other:
.L_x_11:
        /*0000*/                   BRA.U !UP0, `(.L_x_10) ;
        /*0010*/                   HMMA.1688.F32.TF32 R8, R4, R6, R8 ;
        /*0020*/                   EXIT ;
.L_x_10:
        /*0030*/                   MOV R2, R3 ;
        /*0040*/                   BRA.U UP1, `(.L_x_11) ;
        /*0050*/                   EXIT ;
"""


def opcodes(section):
    return [one.opcode.split(".")[0] for one in section.instructions]


def test_a_listing_is_read():
    code = read(LISTING, "kernel")
    assert len(code) == 15
    assert [one.address for one in code.instructions] == list(range(0, 0xF0, 16))
    assert code.instructions[1].predicate == "@!P0"
    assert code.instructions[1].target == 0x90
    assert code.instructions[8].target == 0x30
    assert code.instructions[11].target is None, "a call goes on behind itself"
    assert code.instructions[11].callee == 0xD0
    assert code.count("LDG") == 1
    assert code.count("LDG", "LDGSTS") == 2
    assert (code.products, code.fused, code.local, code.barriers) == (1, 1, 1, 1)


def test_of_several_kernels_one_is_read():
    code = read(LISTING, "other")
    assert [one.target for one in code.instructions] == [0x30, None, None, None, 0, None]
    assert opcodes(code.loops[0].path) == ["BRA", "MOV", "BRA"], "behind the exit nothing is"


def test_loops_go_back_and_hold_one_another():
    code = read(LISTING, "kernel")
    outer, inner = code.loops
    assert (len(outer), len(inner)) == (10, 6)
    assert opcodes(outer.own) == ["BRA", "LDG", "FFMA", "BRA"]
    assert opcodes(inner.own) == opcodes(inner)
    assert code.main_loop is inner, "where the tensor cores work"


def test_the_path_is_the_shortest_of_those_that_work_most():
    outer, inner = read(LISTING, "kernel").loops
    # Around LDGSTS it would be shorter, and copy less.
    assert opcodes(inner.path) == ["HMMA", "BRA", "LDGSTS", "STL", "BAR", "BRA"]
    assert opcodes(outer.path) == ["BRA", "LDG", *opcodes(inner.path), "FFMA", "BRA"]
    idle = LISTING.replace("LDGSTS.E.BYPASS.128", "MOV")
    assert opcodes(read(idle, "kernel").loops[1].path) == ["HMMA", "BRA", "BRA"]


def test_of_loops_that_do_not_multiply_the_longest_is_the_main_one():
    code = read(LISTING.replace("HMMA.1688.F32.TF32", "MOV").replace("FFMA.FTZ", "MOV"), "kernel")
    assert code.main_loop is code.loops[1]
    assert len(read(LISTING.replace("BRA", "MOV"), "kernel").loops) == 0
    assert read(LISTING.replace("BRA", "MOV"), "kernel").main_loop is None


def test_the_main_loop_may_be_the_shorter_one():
    longer = LISTING.splitlines()
    added = [f"        /*{0x22 + i:04x}*/                   MOV R2, R3 ;" for i in range(9)]
    place = next(number for number, line in enumerate(longer) if "LDG.E" in line) + 1
    code = read("\n".join([*longer[:place], *added, *longer[place:]]), "kernel")
    assert len(code.loops[0].own) > len(code.loops[1])
    assert code.main_loop is code.loops[1]


def test_a_listing_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no instruction"):
        read("nvdisasm fatal: not a cubin", "kernel")


KERNELS = """
__global__ void nested(const float* x, float* y, int outer, int inner) {
    float sum = 0;
    #pragma unroll 1
    for (int i = 0; i < outer; ++i) {
        #pragma unroll 1
        for (int j = 0; j < inner; ++j) {
            const float v = x[i * inner + j];
            #pragma unroll
            for (int k = 0; k < 13; ++k) sum = __fmaf_rn(sum, v, 3.0f);
        }
        y[i] = sum;
        __syncthreads();
    }
}

__global__ void multiplies(const unsigned* x, float* y, int steps) {
    float d[4] = {};
    #pragma unroll 1
    for (int i = 0; i < steps; ++i) {
        #pragma unroll
        for (int j = 0; j < 7; ++j) {
            const unsigned* at = x + (i * 7 + j) * 192 + threadIdx.x;
            asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
                "{%8,%9}, {%0,%1,%2,%3};"
                : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                : "r"(at[0]), "r"(at[32]), "r"(at[64]), "r"(at[96]), "r"(at[128]), "r"(at[160]));
        }
    }
    for (int i = 0; i < 4; ++i) y[threadIdx.x * 4 + i] = d[i];
}

__global__ void straight(float* y) { y[threadIdx.x] = 1; }

__global__ void keeps(const int* x, int* y) {
    int held[64];
    for (int i = 0; i < 64; ++i) held[i] = x[i];
    for (int i = 0; i < 64; ++i) y[i] = held[x[i] & 63] + held[y[i] & 63];
}
"""


@pytest.fixture(scope="module")
def code_of(device_compiler):
    return lambda kernel, architecture=90: machine_code(generated(KERNELS), kernel, architecture)


@pytest.mark.parametrize("architecture", [80, 90, 100])
def test_what_the_compiler_was_told_is_found(code_of, architecture):
    code = code_of("nested", architecture)
    outer, inner = code.loops
    assert code.main_loop is inner
    assert (inner.fused, inner.count("LDG"), inner.barriers) == (13, 1, 0)
    assert (outer.fused, outer.count("STG"), outer.barriers) == (13, 1, 1)
    assert outer.own.fused == 0


@pytest.mark.parametrize("architecture", [80, 90, 100])
def test_what_tensor_cores_do_is_counted(code_of, architecture):
    code = code_of("multiplies", architecture)
    assert (code.main_loop.products, code.main_loop.count("LDG")) == (7, 6 * 7)
    assert code.products == 7


def test_memory_of_a_thread_is_found_and_a_kernel_without_loops_has_none(code_of):
    assert code_of("keeps").local > 64
    code = code_of("straight")
    assert (code.loops, code.main_loop, code.local) == ((), None, 0)


@pytest.mark.parametrize("architecture", [80, 90, 100])
def test_kernels_that_are_listed_together_are_those_listed_one_by_one(
    device_compiler, architecture, monkeypatch, tmp_path
):
    kernels = [
        ("tiles", "sum_splits<float>"),
        (generated(KERNELS), "nested"),
        ("windows", "im2col<float>"),
        (generated(KERNELS), "keeps"),
        ("matmul", "matmul<Mma<Tf32, 32, 32, 16, 16>, Form<true, 4>, Form<false, 4>>"),
    ]
    alone = [machine_code(*key, architecture) for key in kernels]
    monkeypatch.setattr(listed_together, "_kept", lambda kernel: tmp_path / f"{kernel.name}.sass")
    for _ in range(2):  # the second time what is kept is read
        together = listed_together.machine_codes_together(kernels, architecture)
        assert list(together) == kernels
        for one, other in zip(alone, together.values(), strict=True):
            assert flow(one) == flow(other)
            assert len(one.loops) == len(other.loops)


def flow(code):
    """What the instructions do, but for places that are no branch's."""
    return [
        (one.address, one.predicate, one.opcode, one.target, one.callee)
        + ((one.operands,) if one.name not in ("BRA", "CALL", "BSSY", "RET", "BSYNC") else ())
        for one in code.instructions
    ]


def test_a_file_without_the_kernel_is_refused(device_compiler):
    cubin = compiled("tiles", "sum_splits<float>", 90).cubin.read_bytes()
    with pytest.raises(ValueError, match="no code of other"):
        listed_together.code_of(cubin, "other")
