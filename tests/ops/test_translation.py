"""The language that kernels are written in, against Python, which runs the very same functions."""

import ctypes
import importlib
import inspect
import sys
from importlib.util import find_spec

import numpy as np
import pytest

if HAS_LLVM := find_spec("llvmlite") is not None:
    from arraycnn.ops.compiled.kernels.pointers import after, at, carray
    from arraycnn.ops.compiled.linking import load
    from arraycnn.ops.compiled.objects import ObjectFiles
    from arraycnn.ops.compiled.translation.functions import compiled, linked
    from arraycnn.ops.compiled.translation.values import NotInTheLanguage

pytestmark = pytest.mark.skipif(
    not HAS_LLVM, reason="llvmlite, of the extra fast, is not installed"
)

WORDS = 12


def run(function, block, words, scratch):
    """The function's machine code on these arrays."""
    loaded = load(function, scratch.dtype.name, len(words), ObjectFiles(None))
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
    kind(loaded.address)(block, words.ctypes.data, scratch.ctypes.data)


def divisions(block, words, scratch):
    words[2] = words[0] // words[1]
    words[3] = words[0] % words[1]
    words[4] = -words[0] // 3
    words[5] = (block - 7) % -4
    words[6], words[7] = words[0] & 12, words[0] ^ words[1]
    words[8] = (words[0] | 5) << 3
    words[9] = words[1] >> 2


def loops(block, words, scratch):
    for n in range(words[0]):
        words[2] += n
    for n in range(3, words[0], 4):
        words[3] += n * n
    for n in range(words[0], -5, -3):
        words[4] = words[4] * 3 + n
    left = words[0]
    while left > 0:
        left -= 2
        if left % 5 == 0:
            continue
        if left < 4:
            break
        words[5] += left
    for n in range(4):
        for k in range(n, 4):
            if k == 3:
                break
            words[6 + n] += k + 1


def conditions(block, words, scratch):
    a, b = words[0], words[1]
    # Where b is 0, nothing is divided by it.
    words[2] = 1 if b != 0 and a // b > 2 else 0
    words[3] = 1 if b == 0 or a // b > 2 else 0
    words[4] = 5 if not a > b else 6
    words[5] = min(a, b, 3)
    words[6] = max(a, b, 3)
    if a >= b:
        words[7] = 1
    elif a < -b:
        words[7] = 2
    else:
        words[7] = 3
    if a <= 0:
        return
    words[8] = 9


def _twice(number, offset):
    moved = number + offset
    return 2 * moved


twice = compiled(_twice) if HAS_LLVM else _twice


def calls(block, words, scratch):
    first, second = twice(words[0], 1), twice(words[1], block)
    words[2], words[3] = second, first
    words[4] = twice(twice(first, second), 0)


def reals(block, words, scratch):
    kind = scratch.dtype.type
    scratch[2] = scratch[0] / kind(3.0) - kind(words[0])
    scratch[3] = scratch[0] * scratch[1]
    scratch[4:7] = kind(0.5)
    scratch[5] += scratch[1]
    scratch[8:11] = scratch[4:7]
    scratch[7] = scratch[0] if scratch[0] > scratch[1] else -scratch[1]


def named_in_each_block(block, words, scratch):
    row = carray(at(scratch, 0), (3,))
    row[0] += 1.0
    row = carray(at(scratch, 3), (3,))
    row[1] *= 2.0
    for n in range(3):
        part = carray(at(scratch, 6 + n), (2,))
        part[0:2] = row[n]
        part = carray(at(scratch, n), (2,))
        part[1] += 1.0
    for _ in range(words[0] % 3):
        part = carray(at(scratch, 1), (2,))
        if words[1] > 0:
            part[0] += row[1]
            inner = carray(at(scratch, 9), (2,))
        else:
            inner = carray(at(scratch, 10), (2,))
            inner[1] = 0.5
            words[2] += 1


PROGRAMS = [divisions, loops, conditions, calls, reals, named_in_each_block]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_machine_code_does_what_python_does(program, dtype, monkeypatch):
    translated = compiled(program)
    rng = np.random.default_rng(0)
    for _ in range(30):
        block = int(rng.integers(0, 9))
        words = np.zeros(WORDS, np.int64)
        words[:2] = rng.integers(-20, 21, 2)
        if program is divisions and words[1] == 0:
            continue  # a kernel must not
        scratch = rng.normal(size=WORDS).astype(dtype)
        given = [words.copy(), scratch.copy()]
        run(translated, block, *given)
        with monkeypatch.context() as patch:
            patch.setitem(globals(), "twice", _twice)
            patch.setitem(globals(), "at", lambda view, first: view[first:])
            patch.setitem(globals(), "carray", lambda view, shape: view[: shape[0]])
            program(block, words, scratch)
        np.testing.assert_array_equal(given[0], words)
        np.testing.assert_array_equal(given[1], scratch)


def _fill(target, count, step):
    numbers = carray(target, count * step)
    for n in range(count):
        numbers[n * step] = 1.0


fill = linked(pointers=("target",), fixed=("step",))(_fill) if HAS_LLVM else _fill


def by_links(block, words, scratch):
    rows = carray(at(scratch, 0), (2, 6))
    for row in range(2):
        for column in range(6):
            rows[row, column] = 0.0
        rows[row, 1:3] = 2.0
    fill(at(scratch, 3), words[0], 2)
    fill(after(at(scratch, 3), 1), words[0], words[1])


def test_what_is_linked_is_compiled_for_what_is_known_and_for_what_is_not():
    for count, step in ((1, 1), (3, 2), (2, 3)):
        words, scratch = np.zeros(WORDS, np.int64), np.full(WORDS, 9.0)
        words[:2] = count, step
        run(compiled(by_links), 0, words, scratch)
        wanted = np.zeros((2, 6))
        wanted[:, 1:3] = 2.0
        wanted = wanted.reshape(-1)
        wanted[3 : 3 + 2 * count : 2] = 1.0
        wanted[4 : 4 + step * count : step] = 1.0
        np.testing.assert_array_equal(scratch, wanted)


def two_kinds(block, words, scratch):
    n = words[0]
    n = scratch[0]
    scratch[1] = n


def early_value(block, words, scratch):
    if words[0] > 1:
        return 3
    words[1] = 1
    return 4


def over_a_list(block, words, scratch):
    for n in words:
        words[0] = n


def by_steps(block, words, scratch):
    scratch[0:6:2] = 1.0


def chained(block, words, scratch):
    words[0] = 1 if 0 < words[1] < 5 else 2


def never_reached(block, words, scratch):
    return
    words[0] = 1


def foreign_call(block, words, scratch):
    words[0] = sum(words)


def rounded(block, words, scratch):
    words[0] = scratch[0]


def by_keyword(block, words, scratch):
    words[0] = min(words[1], 5, key=words)


def unknown_name(block, words, scratch):
    words[0] = words[1] + nowhere  # noqa: F821


@pytest.mark.parametrize(
    "function",
    [
        *(two_kinds, early_value, over_a_list, by_steps, chained, never_reached, foreign_call),
        *(rounded, by_keyword, unknown_name),
    ],
    ids=lambda function: function.__name__,
)
def test_what_is_not_in_the_language_is_named(function):
    """By module, function and line; nothing is compiled of it."""
    words, scratch = np.zeros(WORDS, np.int64), np.zeros(WORDS)
    first = function.__code__.co_firstlineno
    with pytest.raises(
        NotInTheLanguage, match=rf"test_translation\.{function.__name__}, line \d+"
    ) as said:
        run(compiled(function), 0, words, scratch)
    assert first < int(str(said.value).split("line ")[1].split(":")[0]) < first + 5


def again_in_a_branch(block, words, scratch):
    row = carray(at(scratch, 0), (2,))
    if words[0] > 0:
        row = carray(at(scratch, 4), (2,))  # here
    row[0] = 1.0


def again_in_a_loop(block, words, scratch):
    row = carray(at(scratch, 0), (2,))
    for n in range(3):
        row[0] += 1.0
        row = carray(at(scratch, n), (2,))  # here


def another_kind_of_number(block, words, scratch):
    kind = np.int64
    while words[0] > 0:
        words[0] -= 1
        kind = np.float64  # here
    scratch[0] = kind(words[1])


def a_view_for_a_number(block, words, scratch):
    place = words[0]
    if words[1] > 0:
        words[2] = place
    elif words[1] < -3:
        place = carray(at(scratch, 0), (2,))  # here
    words[3] = 1


def a_number_for_a_view(block, words, scratch):
    row = carray(at(scratch, 0), (2,))
    for n in range(2):
        if n > 0:
            row = n  # here
    row[0] = 1.0


def two_of_a_tuple(block, words, scratch):
    rows, columns = carray(at(scratch, 0), (2,)), 3
    if words[0] > columns:
        columns, rows = 4, carray(at(scratch, 2), (2,))  # here
    rows[0] = 1.0


def read_after_both_branches(block, words, scratch):
    if words[0] > 0:
        row = carray(at(scratch, 0), (2,))
    else:
        words[1] = 1
        row = carray(at(scratch, 2), (2,))
    row[0] = 1.0  # here


def read_after_the_loop(block, words, scratch):
    for n in range(2):
        row = carray(at(scratch, n), (2,))
    if words[0] > 0:
        words[1] = 2
        row[0] = 1.0  # here


@pytest.mark.parametrize(
    "function",
    [
        *(again_in_a_branch, again_in_a_loop, another_kind_of_number, a_view_for_a_number),
        *(a_number_for_a_view, two_of_a_tuple, read_after_both_branches, read_after_the_loop),
    ],
    ids=lambda function: function.__name__,
)
def test_what_is_only_named_is_not_given_anew_where_it_hangs_on_what_runs(function):
    """A view is no memory: after a branch that did not run it would be the branch's all the same."""
    lines, first = inspect.getsourcelines(function)
    (line,) = (first + place for place, text in enumerate(lines) if "# here" in text)
    rule = "read after its end" if "read" in function.__name__ else "and again in it"
    with pytest.raises(NotInTheLanguage, match=rf"{function.__name__}, line {line}: .*{rule}"):
        run(compiled(function), 0, np.ones(WORDS, np.int64), np.zeros(WORDS))


def test_code_is_made_of_the_source_that_was_imported(tmp_path, monkeypatch):
    """As where the package is updated while a process runs that has compiled nothing yet."""
    text = (
        "from arraycnn.ops.compiled.translation.functions import compiled\n"
        "@compiled\n"
        "def kernel(block, words, scratch):\n"
        "    words[0] = 1\n"
    )
    file = tmp_path / "kernel_of_a_test.py"
    file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("kernel_of_a_test")
    monkeypatch.delitem(sys.modules, "kernel_of_a_test")
    file.write_text("# One line more.\n" + text.replace("= 1", "= 2"))
    words = np.zeros(WORDS, np.int64)
    run(module.kernel, 0, words, np.zeros(WORDS))
    assert words[0] == 1
