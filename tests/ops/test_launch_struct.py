"""What a launch hands to a kernel: both sides go by the one class, and by the names in it."""

import ctypes
import re
from importlib.util import find_spec

import numpy as np
import pytest

from arraycnn.ops.compiled.launch_struct import (
    Address,
    Bytes,
    Int32s,
    Int64s,
    LaunchStruct,
    Reals,
)

if HAS_LLVM := find_spec("llvmlite") is not None:
    from arraycnn.execution.thread_pool import ThreadPool
    from arraycnn.ops.compiled.kernels.pointers import numbers
    from arraycnn.ops.compiled.launcher import Launcher
    from arraycnn.ops.compiled.linking import load
    from arraycnn.ops.compiled.objects import ObjectFiles
    from arraycnn.ops.compiled.translation.functions import compiled
    from arraycnn.ops.compiled.translation.values import NotInTheLanguage
else:

    def compiled(function):
        return function


needs_llvm = pytest.mark.skipif(
    not HAS_LLVM, reason="llvmlite, of the extra fast, is not installed"
)


class Corner(LaunchStruct):
    top: int
    left: int


class Frame(LaunchStruct):
    height: int
    corner: Corner
    width: int


class Named(LaunchStruct):
    first: Corner


class Everything(Named):
    reals: Reals
    bytes: Bytes | None
    frame: Frame
    flag: bool
    integers: Int32s
    longs: Int64s
    address: Address
    last: Reals | None


@compiled
def everything(block, launch: Everything, scratch):
    """Each field, to a place of its own."""
    found, frame = numbers(launch.longs), launch.frame
    found[0], found[1] = launch.first.top, launch.first.left
    found[2], found[3] = frame.height, frame.width
    found[4], found[5] = frame.corner.top, launch.frame.corner.left
    found[6], found[7] = launch.flag, numbers(launch.integers)[1]
    found[8], found[9] = launch.address, block
    if launch.bytes is not None:
        found[10] = numbers(launch.bytes)[2]
    if launch.last is None:
        found[11] = 1
    scratch[0] = numbers(launch.reals)[1]


def values(dtype="float64", **changed):
    given = {
        "first": Corner(top=11, left=12),
        "reals": np.array([1.5, 2.5], dtype),
        "bytes": np.array([0, 7, 201], np.uint8),
        # Not in the order of the class: nothing goes by it.
        "frame": Frame(width=24, height=21, corner=Corner(left=23, top=22)),
        "flag": True,
        "integers": np.array([5, -6], np.int32),
        "longs": np.zeros(12, np.int64),
        "address": np.zeros(3),
        "last": np.zeros(2, dtype),
    }
    return {**given, **changed}


def run(kernel, struct, scratch, words=36):
    loaded = load(kernel, scratch.dtype.name, words, ObjectFiles(None))
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
    own = np.array(struct.words(), np.int64)
    kind(loaded.address)(3, own.ctypes.data, scratch.ctypes.data)


@needs_llvm
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("missing", [(), ("bytes",), ("last",), ("bytes", "last")], ids=str)
def test_a_kernel_reads_what_its_launch_says(missing, dtype):
    given = values(dtype, **dict.fromkeys(missing))
    scratch = np.zeros(1, dtype)
    run(everything, Everything(**given), scratch)
    wanted = [11, 12, 21, 24, 22, 23, 1, -6, given["address"].ctypes.data, 3]
    wanted += [0 if "bytes" in missing else 201, int("last" in missing)]
    np.testing.assert_array_equal(given["longs"], wanted)
    assert scratch[0] == 2.5


@needs_llvm
def test_the_launcher_hands_over_the_struct_and_no_other():
    given = values()
    launcher = Launcher(ThreadPool(1))
    launcher.launch(everything, 1, Everything(**given), like=given["reals"])
    np.testing.assert_array_equal(given["longs"][:6], [11, 12, 21, 24, 22, 23])
    with pytest.raises(AssertionError, match="everything"):
        launcher.launch(everything, 1, Corner(top=1, left=2), like=given["reals"])


def test_a_struct_is_its_words_in_the_order_of_the_class():
    given = values(bytes=None)
    words = Everything(**dict(reversed(given.items()))).words()
    arrays = [given[name].ctypes.data for name in ("integers", "longs", "address", "last")]
    assert words == [11, 12, given["reals"].ctypes.data, 0, 21, 22, 23, 24, 1, *arrays]
    assert len(words) == Everything.WORDS
    other = Everything(**given).replaced(first=Corner(top=1, left=2), flag=False).words()
    assert other == [1, 2, *words[2:8], 0, *words[9:]]


def test_a_struct_of_arrays_that_must_not_be_written():
    array = np.arange(3.0)
    array.flags.writeable = False
    given = values(reals=array)
    assert Everything(**given).words()[2] == array.ctypes.data


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"hight": 2}, "Frame, of its fields: hight is none"),
        ({"width": ...}, "Frame, of its fields: width is missing"),
        ({"hight": 2, "height": ...}, "Frame, of its fields: hight is none, height is missing"),
    ],
    ids=str,
)
def test_a_name_that_is_unknown_or_missing_is_told(changed, said):
    given = {"height": 1, "width": 2, "corner": Corner(top=1, left=2), **changed}
    given = {name: value for name, value in given.items() if value is not ...}
    with pytest.raises(TypeError, match=f"^{re.escape(said)}$"):
        Frame(**given)


def test_a_name_that_is_given_twice_is_told():
    again = {"top": 3}
    with pytest.raises(TypeError, match="'top'"):
        Corner(top=1, left=2, **again)


@pytest.mark.parametrize(
    "changed",
    [
        {"reals": np.zeros((4, 4)).T[1:]},
        {"bytes": np.zeros(3, np.int8)},
        {"integers": np.zeros(3, np.int64)},
        {"longs": np.zeros(12)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_an_array_of_another_kind_or_order_is_refused(changed):
    with pytest.raises(AssertionError):
        Everything(**values(**changed)).words()


def test_a_kind_that_no_kernel_reads_is_refused_where_it_is_declared():
    with pytest.raises(TypeError, match=r"Strange\.rate: no kind of field: <class 'float'>"):
        type("Strange", (LaunchStruct,), {"__annotations__": {"count": int, "rate": float}})


def unknown_field(block, launch: Frame, scratch):
    scratch[0] = launch.hight  # here


def unknown_in_the_nested(block, launch: Frame, scratch):
    corner = launch.corner
    scratch[0] = launch.height
    scratch[1] = corner.right  # here


def number_that_is_none(block, launch: Frame, scratch):
    if launch.height is None:  # here
        scratch[0] = 1.0


def array_that_is_another(block, launch: Everything, scratch):
    if launch.bytes is launch.reals:  # here
        scratch[0] = 1.0


@needs_llvm
@pytest.mark.parametrize(
    ("function", "said"),
    [
        (unknown_field, "Frame has no field hight, only height, corner, width"),
        (unknown_in_the_nested, "Corner has no field right, only top, left"),
        (number_that_is_none, "only an array may be None"),
        (array_that_is_another, "launch.bytes is launch.reals"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_a_kernel_asks_in_vain_is_told_with_its_line(function, said):
    place = function.__code__.co_firstlineno
    with open(__file__, encoding="utf-8") as source:
        lines = source.readlines()[place:]
    place += 1 + next(n for n, line in enumerate(lines) if "here\n" in line)
    with pytest.raises(
        NotInTheLanguage, match=rf"{function.__name__}, line {place}: .*{re.escape(said)}"
    ):
        load(compiled(function), "float64", 36, ObjectFiles(None))


@needs_llvm
def test_a_struct_that_a_launch_has_no_room_for_is_refused():
    run(everything, Everything(**values()), np.zeros(1), words=Everything.WORDS)
    with pytest.raises(NotInTheLanguage, match=r"everything: Everything has 13 words, a launch 12"):
        load(everything, "float64", Everything.WORDS - 1, ObjectFiles(None))
