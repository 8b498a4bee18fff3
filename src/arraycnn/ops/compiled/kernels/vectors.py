"""Vectors of the processor for kernels: what a compiler does not find by itself.

LLVM turns loops into vector code where it can prove that nothing overlaps; it cannot keep a block
of results in registers through a long sum. The few functions for which that decides the speed are
emitted here: a function under `emitted` is run once, when a call of it is compiled, and writes
LLVM's instructions through an `Emitter`. The values it handles are not numbers but names of numbers
to come, so its loops are unrolled in the code it writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import llvmlite.binding
from llvmlite import ir

from arraycnn.ops.compiled.translation.functions import Instruction
from arraycnn.ops.compiled.translation.values import Arithmetic, Pointer, llvm_type

_WIDE = llvmlite.binding.get_host_cpu_features().get("avx512f", False)

BYTES = 64 if _WIDE else 32
"""Of a vector: 16 or 8 numbers in float32, half as many in float64."""

REGISTERS = 32 if _WIDE else 16

_INT, _INT32 = ir.IntType(64), ir.IntType(32)


class Vector:
    """A vector of numbers in the code being emitted."""

    def __init__(self, emitter: Emitter, value: Any) -> None:
        self.emitter, self.value = emitter, value

    def __add__(self, other: Vector) -> Vector:
        return Vector(self.emitter, self.emitter.builder.fadd(self.value, other.value))

    def __sub__(self, other: Vector) -> Vector:
        return Vector(self.emitter, self.emitter.builder.fsub(self.value, other.value))

    def __mul__(self, other: Vector) -> Vector:
        return Vector(self.emitter, self.emitter.builder.fmul(self.value, other.value))


class Emitter:
    """Writes the instructions of one emitted function, for float32 or float64.

    Its vectors have as many ``lanes`` as the processor's, unless told otherwise.
    """

    def __init__(self, builder: Any, real: Any, lanes: int | None = None) -> None:
        self.builder = builder
        self.itemsize = 4 if isinstance(real, ir.FloatType) else 8
        self.lanes = lanes or BYTES // self.itemsize
        self.type = ir.VectorType(real, self.lanes)

    def narrow(self, lanes: int) -> Emitter:
        """The same with vectors of fewer lanes."""
        return Emitter(self.builder, self.type.element, lanes)

    def integer(self, number: int) -> Any:
        return ir.Constant(_INT, number)

    def times(self, number: int, stride: Any) -> Any:
        """``number`` times an integer of the code."""
        return self.builder.mul(self.integer(number), stride)

    def smaller(self, a: Any, b: Any) -> Any:
        """The smaller of two integers of the code."""
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    def moved(self, pointer: Any, *offsets: Any) -> Any:
        """``pointer`` so many numbers further."""
        for offset in offsets:
            pointer = self.builder.gep(pointer, [offset])
        return pointer

    def along(self, count: Any, work: Callable[[Any, Any], None]) -> None:
        """``work`` on the first number and the mask of vector after vector of ``count`` numbers.

        The mask is None but for the last, which may be cut short.
        """
        builder, lanes = self.builder, self.integer(self.lanes)
        whole = builder.udiv(count, lanes)
        with self.repeat(whole) as vector:
            work(builder.mul(vector, lanes), None)
        first = builder.mul(whole, lanes)
        rest = builder.sub(count, first)
        with builder.if_then(self.flag(rest)):
            work(first, self.first_lanes(rest))

    def by_parts(self, count: Any, work: Callable[[Emitter, Any], None]) -> None:
        """``work`` on the first number of vector after vector of ``count`` numbers.

        What is left at the end is taken in vectors of half the lanes, a quarter, down to one: each
        with an emitter of its own, and with code of its own.
        """
        builder = self.builder
        with self.repeat(builder.udiv(count, self.integer(self.lanes))) as vector:
            work(self, self.times(self.lanes, vector))
        lanes = self.lanes // 2
        while lanes:
            wanted = self.flag(builder.and_(count, self.integer(lanes)))
            with builder.if_then(wanted):
                first = builder.and_(count, self.integer(-2 * lanes))
                work(self.narrow(lanes), first)
            lanes //= 2

    def load(self, pointer: Any, mask: Any = None) -> Vector:
        address = self._vector_at(pointer)
        if mask is None:
            return Vector(self, self.builder.load(address, align=self.itemsize))
        load = self._intrinsic(
            f"llvm.masked.load.{self._name}.p0", self.type,
            [address.type, ir.IntType(32), mask.type, self.type],
        )  # fmt: skip
        align, zero = ir.Constant(ir.IntType(32), self.itemsize), self.zero.value
        return Vector(self, self.builder.call(load, [address, align, mask, zero]))

    def store(self, vector: Vector, pointer: Any, mask: Any = None) -> None:
        address = self._vector_at(pointer)
        if mask is None:
            self.builder.store(vector.value, address, align=self.itemsize)
            return
        store = self._intrinsic(
            f"llvm.masked.store.{self._name}.p0", ir.VoidType(),
            [self.type, address.type, ir.IntType(32), mask.type],
        )  # fmt: skip
        align = ir.Constant(ir.IntType(32), self.itemsize)
        self.builder.call(store, [vector.value, address, align, mask])

    def store_first(self, vector: Vector, pointer: Any, count: Any) -> None:
        """Store the first ``count`` lanes, by halves: some processors take ten times as long to
        store what is masked."""
        left, place = self.variable(vector.value), self.variable(pointer)
        nothing = ir.Constant(self.type, ir.Undefined)
        part = self.lanes
        while part:
            wanted = self.flag(self.builder.and_(count, self.integer(part)))
            with self.builder.if_then(wanted):
                here, numbers = self.builder.load(place), self.builder.load(left)
                kind = ir.VectorType(self.type.element, part)
                first = self.builder.shuffle_vector(numbers, nothing, _lanes(range(part)))
                address = self.builder.bitcast(here, kind.as_pointer())
                self.builder.store(first, address, align=self.itemsize)
                others = (lane % self.lanes for lane in range(part, part + self.lanes))
                moved = self.builder.shuffle_vector(numbers, nothing, _lanes(others))
                self.builder.store(moved, left)
                self.builder.store(self.moved(here, self.integer(part)), place)
            part //= 2

    def spread(self, pointer: Any) -> Vector:
        """The number at ``pointer`` in every lane."""
        return self._spread(self.builder.load(pointer), self.type)

    def first_lanes(self, count: Any) -> Any:
        """A mask of the first ``count`` lanes.

        They are those whose distance to ``count`` is negative. In a loop LLVM keeps the distances,
        of as many bits as a number of the vector, whose signs a masked load asks for; a comparison
        with ``count`` it would make anew each time.
        """
        kind = ir.IntType(8 * self.itemsize)
        lanes = ir.VectorType(kind, self.lanes)
        numbers = ir.Constant(lanes, [ir.Constant(kind, lane) for lane in range(self.lanes)])
        count = count if kind == _INT else self.builder.trunc(count, kind)
        distances = self.builder.sub(numbers, self._spread(count, lanes).value)
        return self.builder.icmp_signed("<", distances, ir.Constant(lanes, None))

    @property
    def zero(self) -> Vector:
        return Vector(self, ir.Constant(self.type, None))

    def multiply_add(self, a: Vector, b: Vector, c: Vector) -> Vector:
        """a * b + c, in one instruction where the processor has it."""
        function = self._intrinsic(f"llvm.fmuladd.{self._name}", self.type, [self.type] * 3)
        return Vector(self, self.builder.call(function, [a.value, b.value, c.value]))

    def sums(self, vectors: Sequence[Vector]) -> Vector:
        """The sum of the lanes of each of as many vectors as there are lanes.

        In every round two vectors become one of the sums of their neighbouring lanes, and where a
        vector has several quarters of 16 bytes, of neighbouring quarters at last: shuffles that
        cross a quarter take longer.
        """
        quarter = 16 // self.itemsize
        for unit, span in ((1, quarter), (quarter, self.lanes)):
            for _ in range((span // unit).bit_length() - 1):
                pairs = zip(vectors[::2], vectors[1::2], strict=True)
                vectors = [self._neighbours(a, b, unit, span) for a, b in pairs]
        (total,) = vectors
        return total

    def _neighbours(self, a: Vector, b: Vector, unit: int, span: int) -> Vector:
        """In spans of lanes, the sums of two units next to each other: first of a, then of b."""
        even = [
            start + source + first + lane
            for start in range(0, self.lanes, span)
            for source in (0, self.lanes)
            for first in range(0, span, 2 * unit)
            for lane in range(unit)
        ]
        shuffle, odd = self.builder.shuffle_vector, [lane + unit for lane in even]
        ours, theirs = (shuffle(a.value, b.value, _lanes(lanes)) for lanes in (even, odd))
        return Vector(self, ours) + Vector(self, theirs)

    def constant(self, number: float) -> Vector:
        lane = ir.Constant(self.type.element, number)
        return Vector(self, ir.Constant(self.type, [lane] * self.lanes))

    def flag(self, number: Any) -> Any:
        """Whether an integer of the code is not 0."""
        return self.builder.icmp_signed("!=", number, self.integer(0))

    def larger(self, a: Vector, b: Vector) -> Any:
        """A mask of the lanes with a > b; where either is NaN it is not."""
        return self.builder.fcmp_ordered(">", a.value, b.value)

    def is_nan(self, a: Vector) -> Any:
        return self.builder.fcmp_unordered("uno", a.value, a.value)

    def either(self, one: Any, other: Any) -> Any:
        return self.builder.or_(one, other)

    def chosen(self, mask: Any, a: Vector, b: Vector) -> Vector:
        """Lanes of ``a`` where the mask is set, else of ``b``."""
        return Vector(self, self.builder.select(mask, a.value, b.value))

    def clipped(self, a: Vector, relu: Any) -> Vector:
        """max(a, 0) where the flag ``relu`` is set; a NaN stays."""
        least = self.builder.select(relu, self.zero.value, self.constant(float("-inf")).value)
        return self.chosen(self.larger(Vector(self, least), a), Vector(self, least), a)

    def byte(self, number: int) -> Vector:
        """A vector of as many bytes as a vector has numbers."""
        lane = ir.Constant(ir.IntType(8), number)
        return Vector(self, ir.Constant(self._bytes, [lane] * self.lanes))

    def same_bytes(self, number: Any) -> Vector:
        """The lowest byte of an integer of the code in every lane."""
        return self._spread(self.builder.trunc(number, ir.IntType(8)), self._bytes)

    def load_bytes(self, pointer: Any) -> Vector:
        address = self.builder.bitcast(pointer, self._bytes.as_pointer())
        return Vector(self, self.builder.load(address, align=1))

    def store_bytes(self, vector: Vector, pointer: Any) -> None:
        address = self.builder.bitcast(pointer, self._bytes.as_pointer())
        self.builder.store(vector.value, address, align=1)

    def equal_bytes(self, a: Vector, b: Vector) -> Any:
        return self.builder.icmp_signed("==", a.value, b.value)

    def as_integers(self, numbers: Vector) -> Any:
        """A vector of bytes as one of int32, which these methods have no class for."""
        return self.builder.zext(numbers.value, self._integers)

    def same_integers(self, number: Any) -> Any:
        """An integer of the code, as int32, in every lane."""
        return self._spread(self.builder.trunc(number, _INT32), self._integers).value

    def load_integers(self, start: Any, place: Any) -> Any:
        """As many int32 as a vector has numbers, from number ``place`` behind ``start`` on."""
        return self.builder.load(self._integers_at(start, place), align=4)

    def store_integers(self, numbers: Any, start: Any, place: Any) -> None:
        self.builder.store(numbers, self._integers_at(start, place), align=4)

    def load_integer(self, start: Any, place: Any) -> Any:
        """One int32, as an integer of the code."""
        place = self.builder.gep(self.builder.bitcast(start, _INT32.as_pointer()), [place])
        return self.builder.sext(self.builder.load(place), _INT)

    def variable(self, value: Any) -> Any:
        """A place for a value that changes in a loop; LLVM makes a register of it."""
        with self.builder.goto_entry_block():
            place = self.builder.alloca(value.type)
        self.builder.store(value, place)
        return place

    def held(self, variable: Any) -> Vector:
        """The vector that a `variable` holds now."""
        return Vector(self, self.builder.load(variable))

    @contextmanager
    def repeat(self, count: Any) -> Iterator[Any]:
        """A loop in the code: what is emitted inside runs ``count`` times, on its index."""
        with Arithmetic(self.builder).counting(self.integer(0), count, 1) as (index, _, _):
            yield index

    @property
    def _name(self) -> str:
        return f"v{self.lanes}f{8 * self.itemsize}"

    @property
    def _bytes(self) -> Any:
        return ir.VectorType(ir.IntType(8), self.lanes)

    @property
    def _integers(self) -> Any:
        return ir.VectorType(_INT32, self.lanes)

    def _integers_at(self, start: Any, place: Any) -> Any:
        there = self.builder.gep(self.builder.bitcast(start, _INT32.as_pointer()), [place])
        return self.builder.bitcast(there, self._integers.as_pointer())

    def _vector_at(self, pointer: Any) -> Any:
        return self.builder.bitcast(pointer, self.type.as_pointer())

    def _spread(self, value: Any, vectors: Any) -> Vector:
        nothing = ir.Constant(vectors, ir.Undefined)
        one = self.builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
        places = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)
        return Vector(self, self.builder.shuffle_vector(one, nothing, places))

    def _intrinsic(self, name: str, result: Any, arguments: Sequence[Any]) -> Any:
        return Arithmetic(self.builder).declared(name, ir.FunctionType(result, arguments))


def _lanes(numbers: Iterable[int]) -> Any:
    """Which lanes a shuffle takes."""
    places = [ir.Constant(ir.IntType(32), number) for number in numbers]
    return ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)


def emitted(function: Callable[..., None]) -> Any:
    """A function of pointers and integers for kernels, from one that emits its instructions.

    The first argument of ``function`` is an `Emitter`, whose kind of number is that of the first
    pointer.
    """

    def write(code: Arithmetic, *arguments: Any) -> None:
        first = next(argument for argument in arguments if isinstance(argument, Pointer))
        values = [
            argument.value if isinstance(argument, Pointer) else code.integer(argument)
            for argument in arguments
        ]
        function(Emitter(code.builder, llvm_type(first.dtype)), *values)

    write.__name__, write.__doc__ = function.__name__, function.__doc__
    return Instruction(write)


@emitted
def copy_vector(emit: Emitter, target: Any, source: Any) -> None:
    emit.store(emit.load(source), target)


@emitted
def clear_vector(emit: Emitter, target: Any) -> None:
    emit.store(emit.zero, target)
