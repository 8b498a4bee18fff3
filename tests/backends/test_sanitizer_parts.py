"""The parts in which compute-sanitizer sees the kernels: all of them, each once, none of many."""

from collections import Counter

from _pytest.mark.expression import Expression

from cuda_primitives import CHECKS
from kernel_cases import KERNEL_CASES, TOLERANCES
from sanitizer_parts import GROUPS, PARTS, selection

# As pytest names the tests of tests/backends/test_gpu.py.
OF_KERNELS = {
    f"test_kernels_equal_the_generic_ones[{case}-{dtype}-{precision}]"
    for case in KERNEL_CASES
    for dtype, precision in TOLERANCES
}
OF_HEADER = {
    f"test_functions_of_the_device_header_do_what_the_manual_says[{name}]" for name in CHECKS
}
OTHERS = {name.replace("equal_the_generic_ones", "repeat_to_the_last_bit") for name in OF_KERNELS}


def selected(part):
    """What ``pytest -k`` selects for a part."""
    wanted = Expression.compile(selection(part))
    return {
        name
        for name in OF_KERNELS | OF_HEADER | OTHERS
        if wanted.evaluate(lambda word, name=name, **_: word.lower() in name.lower())
    }


def test_each_kernel_in_float32_and_each_function_of_the_header_is_in_one_part():
    counts = Counter(name for part in PARTS for name in selected(part))
    assert set(counts) == {name for name in OF_KERNELS if "float64" not in name} | OF_HEADER
    assert set(counts.values()) == {1}


def test_no_part_has_more_than_a_sixth_of_the_tests():
    """All of them take one tool more than ten minutes, of which a part is to be far below nine."""
    sizes = {part: len(selected(part)) for part in PARTS}
    assert min(sizes.values()) > 0
    assert max(sizes.values()) <= sum(sizes.values()) / 6, sizes


def test_every_op_of_a_group_has_a_case():
    assert {op for ops in GROUPS.values() for op in ops} == {case.op for case in KERNEL_CASES}
