"""The gate on machine code refuses what it must: shown with listings that are written here.

tests/ops/test_cuda_code_bounds.py shows the same of kernels that a compiler makes worse.
"""

import pytest

from arraycnn.ops.cuda.sources import generated
from cuda_loads import adding_loops
from cuda_loops import (
    NotFoundError,
    main_loops,
    most_of_family,
    products_of,
    rows_for,
    sections,
    wrong_with_loop,
)
from cuda_planned import in_loops, planned
from host_cuda.machine_code import read
from roofline import CELLS
from test_cuda_code_bounds import UNPLANNED

SMALL = "Form<true, 4, false, TensorFloat32>, Form<false, 4, false, TensorFloat32>"
PRODUCT = (
    f"matmul<Mma<RoundedTf32, 32, 32, 16, 16>, {SMALL}>"  # 4 products and 56 instructions a turn
)
PATCH = f"conv2d_patch<Mma<RoundedTf32, 128, 16, 32, 16>, {SMALL}>"  # 8 and 29

HMMA = "HMMA.1688.F32.TF32 R8, R4, R6, R8"
COPIES = (
    "LDGDEPBAR",
    "DEPBAR.LE SB0, 0x1",
    "BAR.SYNC.DEFER_BLOCKING 0x0",
    "LDGSTS.E.128 [R7], [R2.64]",
)
LOAD = ("LDG.E R{0}, desc[UR4][R2.64]", "FADD.FTZ R40, R40, R{0}")
MOVE = "MOV R2, R3"


def code_of(*bodies):
    """A kernel of loops with these instructions and a branch back, one loop after the other."""
    lines, address = ["", "kernel:"], 0
    for number, body in enumerate(bodies):
        lines.append(f".L_{number}:")
        for one in (*body, f"@P0 BRA `(.L_{number})"):
            lines.append(f"        /*{address:04x}*/  {one} ;")
            address += 16
    lines.append(f"        /*{address:04x}*/  EXIT ;")
    return read("\n".join(lines), "kernel")


def turn(products=4, length=56, copies=COPIES):
    """The main loop of a product."""
    body = [*copies, *[HMMA] * products]
    return [*body, *[MOVE] * (length - len(body) - 1)]


def sums(loads, first=4):
    """A loop that asks for so many numbers before it adds the first one up."""
    return [part.format(first + number) for part in LOAD for number in range(loads)]


def wrong_with(kernel, *bodies, file="matmul"):
    return in_loops((file, kernel), code_of(*bodies))[1]


def test_a_product_within_its_bound_passes():
    assert in_loops(("matmul", PRODUCT), code_of(turn())) == ("56/4", [])
    assert in_loops(("matmul", PRODUCT), code_of(turn(8, 112, COPIES * 2))) == ("112/8", [])
    assert in_loops(("", PATCH), code_of(turn(8, 29, ()))) == ("29/8", [])


def test_a_loop_that_is_too_long_is_refused():
    (said,) = wrong_with(PRODUCT, turn(length=58))
    assert said == f"{PRODUCT}: 58 instructions for 4 products, at most 56"


def test_memory_of_a_thread_is_refused():
    body = turn(length=56)
    assert wrong_with(PRODUCT, [*body[:-1], "STL [R1], R2"]) == ["1 accesses to local memory"]


@pytest.mark.parametrize("waits", [(), ("DEPBAR.LE SB0, 0x0",), ("DEPBAR.LE SB0, 0x1",) * 2])
def test_a_product_that_waits_for_its_copies_otherwise_is_refused(waits):
    (said,) = wrong_with(PRODUCT, turn(copies=(*COPIES[:1], *waits, *COPIES[2:])))
    assert "for copies, must wait ['SB0, 0x1']" in said


@pytest.mark.parametrize(
    "bodies",
    [
        [],
        [[MOVE]],
        [turn(products=3)],
        [turn(), turn()],
        [turn(copies=())],
        [[*turn(products=0), "FFMA R2, R3, R4, R2"]],
    ],
    ids=["nothing", "moves", "3 products", "two loops", "no copies", "no tensor cores"],
)
def test_a_product_whose_loop_is_not_found_is_refused(bodies):
    said, wrong = in_loops(("matmul", PRODUCT), code_of(*bodies))
    assert said == "not found"
    assert any(f"not one for each of: {PRODUCT}" in one for one in wrong)


def test_tensor_cores_of_no_product_are_refused():
    (said,) = wrong_with("softmax<float>", turn())
    assert "1 loops of tensor cores, not one for each of" in said


def test_a_product_whose_parameters_are_not_understood_is_refused():
    for kernel in (PRODUCT.replace("Form", "Kind"), PRODUCT.replace("Mma<", "Mma64<")):
        with pytest.raises(NotFoundError, match="a product is not understood: matmul<Mma"):
            products_of("matmul", kernel)
        assert any("not understood" in one for one in wrong_with(kernel, turn()))


JOINED = f"""
__global__ void both(int block) {{
    if (block < 4) {PATCH.replace("<", "_block<", 1)}(at, 1);
    else {PRODUCT.replace("<", "_block<", 1)}(at, 2);
}}
"""


def test_each_product_of_a_launch_is_counted():
    file = generated(JOINED)
    assert [str(one) for one in products_of(file, "both")] == [PATCH, PRODUCT]
    for bodies in ([turn(), turn(8, 29, ())], [turn(8, 29, ()), turn()]):
        assert in_loops((file, "both"), code_of(*bodies)) == ("29/8+56/4", [])
    (said,) = wrong_with("both", turn(8, 31, ()), turn(), file=file)
    assert said == f"{PATCH}: 31 instructions for 8 products, at most 29"
    assert "not found" in in_loops((file, "both"), code_of(turn()))


def test_loops_that_could_be_of_either_product_are_told_apart_as_they_fit():
    other = PRODUCT.replace("RoundedTf32", "Tf32")
    rows = {PRODUCT: 60, other: 80}
    for lengths in ((58, 79), (79, 58)):
        code = code_of(*(turn(length=one) for one in lengths))
        products = products_of("", PRODUCT) + products_of("", other)
        assert [len(one.loop) for one in main_loops(code, products, rows)] == [58, 79]


def test_a_product_without_a_row_is_held_to_its_family():
    rows = {
        "matmul<Mma<Tf32, 32, 32, 16, 16>, Form<true, 4>, Form<true, 4>>": 80,
        "matmul<Mma<Tf32, 64, 64, 32, 32>, Form<true, 4>, Form<true, 4>>": 160,
        "matmul<Mma<Tf32, 64, 64, 32, 32>, Form<false, 4>, Form<true, 4>>": 112,
        "conv2d<Mma<Tf32, 32, 32, 16, 16>, Form<true, 4>, Form<true, 4>>": 100,
        "matmul<Mma<Tf32, 32, 32, 16, 16>, Form<true, 1>, Form<true, 4>>": 200,
    }

    def most(kernel, math, form="Form<true, 4>"):
        (product,) = products_of("", f"{kernel}<Mma<{math}>, Form<false, 4>, {form}>")
        return most_of_family(product, rows)

    assert most("matmul", "Tf32, 128, 64, 64, 32") == 32 * 160 / 16, (
        "by the largest that are no larger"
    )
    assert most("matmul", "Tf32, 32, 32, 16, 16") == 80
    assert most("matmul", "Tf32, 32, 32, 16, 16", "Form<false, 1>") == 200
    assert most("conv2d_dx", "Tf32, 32, 32, 16, 16") == 100, "by the worst of other kernels"
    assert most("matmul", "Bf16, 128, 64, 64, 32") is None
    (product,) = products_of("", "matmul<Mma<Bf16, 64, 64, 32, 32>, Form<true, 4>, Form<true, 4>>")
    (loop,) = main_loops(code_of(turn(8)), [product], rows)
    (said,) = wrong_with_loop(loop, rows)
    assert "has no row of its family" in said


@pytest.mark.parametrize("kernel", ["sums<float>", "fused_0123456789abcdef"])
def test_a_loop_of_loads_that_is_not_unrolled_is_refused(kernel):
    assert wrong_with(kernel, sums(4), sums(1)) == []
    assert wrong_with(kernel, sums(1), sums(4)) == []
    assert wrong_with(kernel, sums(8)) == []
    assert wrong_with(kernel, sums(1)) == ["a loop of sums is not unrolled: 1 loads in a turn"]
    assert wrong_with(kernel, sums(1), sums(2)) == [
        "a loop of sums is not unrolled: 1 loads in a turn",
        "a loop of sums is not unrolled: 2 loads in a turn",
    ]
    per_load = [*sums(1), *["FADD.FTZ R40, R40, R4"] * 3]
    assert len(wrong_with(kernel, per_load, sums(16))) == 1, "beside what has another body"


def test_loads_that_wait_for_each_other_are_refused():
    one_by_one = [part.format(4 + number) for number in range(8) for part in LOAD]
    (loop,) = adding_loops(code_of(one_by_one))
    assert (loop.loads, loop.under_way) == (8, 1)
    assert wrong_with("sums<float>", one_by_one) == [
        "loads of a loop of sums wait for each other: 8 in a turn"
    ]
    assert in_loops(("", "sums<float>"), code_of(one_by_one), 100)[1] == []


def test_a_kernel_of_sums_must_have_what_is_said_of_it():
    assert wrong_with("sum_splits<float>", sums(8)) == []
    for kernel, bodies in (
        ("sum_splits<float>", [sums(1), sums(4)]),
        ("sum_splits<float>", [[MOVE]]),
        ("sum_gradients_and_ending_0123", [sums(18)]),
        ("few_columns_and_ending_0123", [sums(16)]),
    ):
        (said,) = wrong_with(kernel, *bodies)
        assert said.startswith(
            f"{kernel.split('<')[0].split('_and_')[0]}: loads under way in its loops"
        )
    counts = [*sums(8), "ATOMG.E.ADD.STRONG.GPU PT, R2, desc[UR4][R2.64], R3"]
    assert wrong_with(PRODUCT, turn()) == [], "no block adds up what others have left"
    assert "matmul: loads under way" in wrong_with(PRODUCT, turn(), counts)[0]
    (said,) = wrong_with("fused_0123", [*[MOVE] * 3, counts[-1]])
    assert said == "its last block goes on, and no loop that adds up parts is found"


def test_a_loop_that_only_writes_adds_nothing_up():
    update = ["LDG.E R4, desc[UR4][R2.64]", "FFMA.FTZ R5, R4, R6, R4", "STG.E desc[UR4][R2.64], R5"]
    assert adding_loops(code_of(update)) == ()
    assert wrong_with("fused_0123456789abcdef", update) == []


def test_a_loop_that_stores_less_than_it_loads_adds_up():
    """Sums that are stored now and then are sums; lines that move up and are stored are none."""
    store = "STG.E desc[UR4][R2.64], R40"
    one_by_one = [part.format(4 + number) for number in range(8) for part in LOAD]
    assert adding_loops(code_of([*one_by_one, *[store] * 8])) == ()
    (loop,) = adding_loops(code_of([*one_by_one, *[store] * 7]))
    assert (loop.loads, loop.under_way) == (8, 1)
    assert len(wrong_with("sums<float>", [*one_by_one, store])) == 1


def test_the_rows_are_those_of_products_that_are_looked_at():
    of_plan = {str(product) for key in planned(CELLS) for product in products_of(*key)}
    of_tests = {str(product) for key in UNPLANNED for product in products_of(*key)}
    assert of_plan & of_tests == set()
    assert sorted(rows_for()) == sorted(of_plan | of_tests)
    assert all(str(*products_of("", row)) == row for row in rows_for())


WANTED, WANTED_FUSED = 230 / 32, 1.3
"""Instructions for one of tensor cores, and for a fused multiply-add."""


def test_what_is_over_what_is_wanted_has_a_reason():
    """The first part of the file is within, and of the others it is said why they are not."""
    first, *others = sections().items()
    for said, rows in (first, *others):
        assert said
        for row, most in rows.items():
            (product,) = products_of("", row)
            wanted = WANTED_FUSED if product.unit == "Fma" else WANTED
            assert (most <= wanted * product.of_turn) == (said == first[0]), row
    assert sum(len(rows) for _, rows in others) < len(rows_for())


def test_an_architecture_that_has_no_rows_is_held_to_those_before():
    assert rows_for(90) != rows_for(100)
    assert rows_for(86) == rows_for(80) == rows_for(75)
    assert rows_for(120) == rows_for(100)
