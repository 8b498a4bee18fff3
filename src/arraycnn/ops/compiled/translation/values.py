"""The values of a kernel: numbers, pointers to numbers, and views of what lies there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from arraycnn.ops.compiled.launch_struct import ADDRESS, COUNT, REAL, LaunchStruct

INT = ir.IntType(64)

MUCH = 2**40
"""A length for memory whose length the kernel is not told."""

_TYPES = {
    "bool": ir.IntType(1),
    "uint8": ir.IntType(8),
    "int32": ir.IntType(32),
    "int64": INT,
    "float32": ir.FloatType(),
    "float64": ir.DoubleType(),
}

_UNSIGNED = {"bool", "uint8"}


class NotInTheLanguage(Exception):
    """What a kernel says and the translation does not know: a fault of the kernel's author."""


@dataclass(frozen=True)
class Number:
    """A number of the code, of a ``dtype`` by NumPy's name."""

    dtype: str
    value: Any

    @property
    def is_real(self) -> bool:
        return self.dtype.startswith("float")


@dataclass(frozen=True)
class Pointer:
    """Where numbers of a ``dtype`` lie."""

    dtype: str
    value: Any


@dataclass(frozen=True)
class View:
    """Numbers in C order from ``start`` on; ``shape`` are numbers of the code."""

    start: Pointer
    shape: tuple[Any, ...]

    @property
    def dtype(self) -> str:
        return self.start.dtype


@dataclass(frozen=True)
class Struct:
    """The fields of a launch.

    Attributes
    ----------
    kind : type
    words : Pointer
        To the launch's words.
    real : str
        The dtype of `REAL` numbers.
    first : int
        Which of the words is the struct's first.
    """

    kind: type[LaunchStruct]
    words: Pointer
    real: str = ""
    first: int = 0


def llvm_type(dtype: str) -> Any:
    return _TYPES[dtype]


def dtype_of(like: Any) -> str:
    """The dtype that a view, or a type of NumPy's, names."""
    return like.dtype if isinstance(like, View) else np.dtype(like).name


class Arithmetic:
    """What is done with values, written through a builder of LLVM's."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def number(self, value: Any) -> Number:
        """A number of the code; what Python knows becomes a constant."""
        if isinstance(value, Number):
            return value
        if isinstance(value, bool | int | float):
            dtype = {bool: "bool", int: "int64", float: "float64"}[type(value)]
            return Number(dtype, ir.Constant(_TYPES[dtype], value))
        raise NotInTheLanguage(f"no number: {value}")

    def cast(self, value: Any, dtype: str) -> Number:
        """``value`` as a number of ``dtype``, as C does it; a real number stays one."""
        number = self.number(value)
        kind, build, unsigned = _TYPES[dtype], self.builder, number.dtype in _UNSIGNED
        if number.dtype == dtype or number.value.type == kind:
            return Number(dtype, number.value)
        if number.is_real:
            if not dtype.startswith("float"):
                raise NotInTheLanguage(f"an integer of a {number.dtype}")
            change = build.fpext if dtype == "float64" else build.fptrunc
        elif dtype.startswith("float"):
            change = build.uitofp if unsigned else build.sitofp
        elif dtype == "bool":
            raise NotInTheLanguage(f"a bool of a {number.dtype}")
        elif kind.width < number.value.type.width:
            change = build.trunc
        else:
            change = build.zext if unsigned else build.sext
        return Number(dtype, change(number.value, kind))

    def integer(self, value: Any) -> Any:
        """The 64 bits of an integer."""
        return self.cast(value, "int64").value

    def truth(self, value: Any) -> Any:
        """One bit: whether ``value`` is not zero."""
        number = self.number(value)
        if number.dtype == "bool":
            return number.value
        return self.compared("!=", number, 0).value

    def inverse(self, value: Any) -> Number:
        """``not value``."""
        return Number("bool", self.builder.not_(self.truth(value)))

    def _alike(self, a: Any, b: Any) -> tuple[Number, Number]:
        """Both as numbers of one dtype: of reals that differ, and of a real and an integer, float64."""
        a, b = self.number(a), self.number(b)
        common = "int64"
        if a.is_real or b.is_real:
            common = a.dtype if a.dtype == b.dtype else "float64"
        return self.cast(a, common), self.cast(b, common)

    def compared(self, sign: str, a: Any, b: Any) -> Number:
        a, b = self._alike(a, b)
        build = self.builder
        if not a.is_real:
            found = build.icmp_signed(sign, a.value, b.value)
        elif sign == "!=":
            found = build.fcmp_unordered(sign, a.value, b.value)
        else:
            found = build.fcmp_ordered(sign, a.value, b.value)
        return Number("bool", found)

    def joined(self, sign: str, a: Any, b: Any) -> Any:
        """``a sign b``; of two numbers that Python knows, what Python makes of them."""
        if not isinstance(a, Number) and not isinstance(b, Number):
            return _KNOWN[sign](a, b)
        a, b = self._alike(a, b)
        real, whole = _OPERATIONS[sign]
        operation = real if a.is_real else whole
        if not operation:
            raise NotInTheLanguage(f"{sign} of {a.dtype}")
        if operation in ("floor", "rest"):
            return Number("int64", self._divided(operation, a.value, b.value))
        return Number(a.dtype, getattr(self.builder, operation)(a.value, b.value))

    def _divided(self, wanted: str, a: Any, b: Any) -> Any:
        """Towards minus infinity, as Python divides."""
        build, zero = self.builder, ir.Constant(INT, 0)
        rest = build.srem(a, b)
        apart = build.icmp_signed("<", build.xor(rest, b), zero)
        below = build.and_(build.icmp_signed("!=", rest, zero), apart)
        if wanted == "rest":
            return build.select(below, build.add(rest, b), rest)
        return build.add(build.sdiv(a, b), build.sext(below, INT))

    def negative(self, value: Any) -> Any:
        if not isinstance(value, Number):
            return -value
        if value.is_real:
            return Number(value.dtype, self.builder.fneg(value.value))
        return self.joined("-", 0, value)

    def chosen(self, sign: str, a: Any, b: Any) -> Number:
        """Of two integers the one that is ``sign`` the other."""
        a, b = self.cast(a, "int64"), self.cast(b, "int64")
        found = self.compared(sign, a, b).value
        return Number("int64", self.builder.select(found, a.value, b.value))

    def declared(self, name: str, kind: Any) -> Any:
        """The function ``name`` that lies outside of the module."""
        found = self.builder.module.globals.get(name)
        return ir.Function(self.builder.module, kind, name) if found is None else found

    # Memory

    def after(self, start: Pointer, offset: Any) -> Pointer:
        return Pointer(start.dtype, self.builder.gep(start.value, [self.integer(offset)]))

    def load(self, start: Pointer) -> Number:
        return Number(start.dtype, self.builder.load(start.value))

    def store(self, value: Any, start: Pointer) -> None:
        self.builder.store(self.cast(value, start.dtype).value, start.value)

    def pointer(self, dtype: str, address: Any) -> Pointer:
        """To the numbers at an address."""
        kind = llvm_type(dtype).as_pointer()
        return Pointer(dtype, self.builder.inttoptr(self.integer(address), kind))

    def field(self, struct: Struct, name: str) -> Any:
        """What the field ``name`` holds: a number, a pointer, or another struct."""
        field = struct.kind.FIELDS.get(name)
        if field is None:
            known = ", ".join(struct.kind.FIELDS)
            raise NotInTheLanguage(f"{struct.kind.__name__} has no field {name}, only {known}")
        word = struct.first + field.word
        if not isinstance(field.kind, str):
            return Struct(field.kind, struct.words, struct.real, word)
        value = self.load(self.after(struct.words, word))
        if field.kind in (COUNT, ADDRESS):
            return value
        return self.pointer(struct.real if field.kind == REAL else field.kind, value)

    def is_missing(self, value: Any) -> Number:
        """Whether a field's array is None."""
        if not isinstance(value, Pointer):
            raise NotInTheLanguage(f"only an array may be None: {value}")
        null = ir.Constant(value.value.type, None)
        return Number("bool", self.builder.icmp_unsigned("==", value.value, null))

    def part(self, view: View, indices: list[Any]) -> View | Pointer:
        """What lies at the first ``indices`` of a view; with one for each axis a number's place."""
        offset: Any = 0
        for axis, size in enumerate(view.shape):
            offset = self.joined("*", offset, size) if axis else 0
            if axis < len(indices):
                offset = self.joined("+", offset, indices[axis])
        start = self.after(view.start, offset)
        left = view.shape[len(indices) :]
        return View(start, left) if left else start

    def cell(self, kind: Any) -> Any:
        """Memory for a variable; LLVM makes a register of it."""
        with self.builder.goto_entry_block():
            return self.builder.alloca(kind)

    @contextmanager
    def counting(self, first: Any, last: Any, step: Any) -> Iterator[tuple[Any, Any, Any]]:
        """A loop in the code: (the number it has come to, block of the next round, block after it)."""
        build, function = self.builder, self.builder.function
        head, body, onward, end = (function.append_basic_block() for _ in range(4))
        cell = self.cell(first.type)
        build.store(first, cell)
        build.branch(head)
        build.position_at_end(head)
        here = build.load(cell)
        if isinstance(step, int):
            more = build.icmp_signed("<" if step > 0 else ">", here, last)
        else:
            up = build.icmp_signed(">", step, ir.Constant(step.type, 0))
            below = build.icmp_signed("<", here, last)
            more = build.select(up, below, build.icmp_signed(">", here, last))
        build.cbranch(more, body, end)
        build.position_at_end(body)
        yield here, onward, end
        if not build.block.is_terminated:
            build.branch(onward)
        build.position_at_end(onward)
        width = ir.Constant(first.type, step) if isinstance(step, int) else step
        build.store(build.add(build.load(cell), width), cell)
        build.branch(head)
        build.position_at_end(end)


_KNOWN: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "<<": lambda a, b: a << b,
    ">>": lambda a, b: a >> b,
}

_OPERATIONS = {
    "+": ("fadd", "add"),
    "-": ("fsub", "sub"),
    "*": ("fmul", "mul"),
    "/": ("fdiv", None),
    "//": (None, "floor"),
    "%": (None, "rest"),
    "&": (None, "and_"),
    "|": (None, "or_"),
    "^": (None, "xor"),
    "<<": (None, "shl"),
    ">>": (None, "ashr"),
}
"""The builder's names, for real numbers and for integers."""
