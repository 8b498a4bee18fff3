"""What a kernel's code stands in: its function, the fields of its struct, loops, and memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir

from arraycnn.program.render.structs import LoopLaunch, Struct
from arraycnn.program.render.values import Values, in_memory

INT, BYTE = ir.IntType(64), ir.IntType(8)


def place(number: int) -> Any:
    """The number of a lane, or of a part, as LLVM's instructions take it."""
    return ir.Constant(ir.IntType(32), number)


class Frame:
    """A kernel void(block, launch, scratch), of a `LoopLaunch`.

    Attributes
    ----------
    module : llvmlite.ir.Module
    struct : Struct
        The fields that a launch must fill in: those that the code has asked for.
    """

    def __init__(self, name: str, width: int) -> None:
        self.module = ir.Module(name)
        kind = ir.FunctionType(ir.VoidType(), [INT, INT.as_pointer(), INT.as_pointer()])
        self._function = ir.Function(self.module, kind, name)
        self.build = ir.IRBuilder(self._function.append_basic_block("entry"))
        self.values = Values(self.build, width)
        self.width = width
        self.struct = Struct()
        self.block = self._function.args[0]
        word = self.integer(LoopLaunch.FIELDS["struct"].word)
        address = self.build.load(self.build.gep(self._function.args[1], [word]))
        self._base = self.build.inttoptr(address, INT.as_pointer())
        self._fields: dict[str, Any] = {}

    def field(self, name: str) -> Any:
        """A field of the struct, read once at the beginning."""
        if name not in self._fields:
            with self.build.goto_entry_block():
                where = self.build.gep(self._base, [self.integer(self.struct.place(name))])
                self._fields[name] = self.build.load(where)
        return self._fields[name]

    def integer(self, number: int) -> Any:
        return ir.Constant(INT, number)

    def smaller(self, a: Any, b: Any) -> Any:
        return self.build.select(self.build.icmp_signed("<", a, b), a, b)

    def cell(self, first: Any) -> Any:
        """Memory for a value that changes in a loop; LLVM makes a register of it."""
        with self.build.goto_entry_block():
            cell = self.build.alloca(first.type)
        self.build.store(first, cell)
        return cell

    def indices(self, number: Any, name: str, axes: int) -> list[Any]:
        """The index along each of several axes, of a number that counts their points."""
        indices = []
        for axis in range(axes - 1, 0, -1):
            size = self.field(f"{name} {axis}")
            indices.append(self.build.urem(number, size))
            number = self.build.udiv(number, size)
        return [number, *reversed(indices)] if axes else []

    @contextmanager
    def repeat(self, first: Any, last: Any, step: int = 1) -> Iterator[Any]:
        """A loop in the code: what is emitted inside runs from ``first`` to before ``last``."""
        build, before = self.build, self.build.block
        body = self._function.append_basic_block()
        after = self._function.append_basic_block()
        build.cbranch(build.icmp_signed("<", first, last), body, after)
        build.position_at_end(body)
        index = build.phi(INT)
        index.add_incoming(first, before)
        yield index
        following = build.add(index, self.integer(step))
        index.add_incoming(following, build.block)
        build.cbranch(build.icmp_signed("<", following, last), body, after)
        build.position_at_end(after)

    @contextmanager
    def repeat_to(self, first: Any, last: Any) -> Iterator[tuple[Any, Callable[[Any], None]]]:
        """A loop in the code from ``first`` to before ``last``; what is emitted inside gets where it
        stands, and tells where it goes on."""
        build, cell = self.build, self.cell(first)
        asks, body, after = (self._function.append_basic_block() for _ in range(3))
        build.branch(asks)
        build.position_at_end(asks)
        place = build.load(cell)
        build.cbranch(build.icmp_signed("<", place, last), body, after)
        build.position_at_end(body)
        yield place, lambda following: build.store(following, cell)
        build.branch(asks)
        build.position_at_end(after)

    @contextmanager
    def repeat_by(self, first: Any, last: Any, count: Any) -> Iterator[tuple[Any, Any]]:
        """A loop in the code over parts of ``count``, each with its beginning and its end."""
        with self.repeat_to(first, last) as (begin, goes_to):
            end = self.smaller(self.build.add(begin, count), last)
            yield begin, end
            goes_to(end)

    def first_lanes(self, count: Any) -> Any:
        """A mask of so many lanes."""
        return self.build.icmp_signed("<", self.values.lanes(), self.values.spread(count))

    def pointer(self, name: str, dtype: np.dtype) -> Any:
        """The address in a field, to numbers of ``dtype``."""
        return self.build.inttoptr(self.field(name), in_memory(dtype).as_pointer())

    def load(self, pointer: Any, dtype: np.dtype) -> Any:
        """One number."""
        return self.to_register(self.build.load(pointer, align=dtype.itemsize), dtype)

    def store(self, number: Any, pointer: Any, dtype: np.dtype) -> None:
        self.build.store(self.to_memory(number, dtype), pointer, align=dtype.itemsize)

    def load_vector(self, pointer: Any, dtype: np.dtype, mask: Any) -> Any:
        """Numbers that lie one after the other; those that the mask leaves out are not touched."""
        kind = self.values.vector(in_memory(dtype))
        address = self.build.bitcast(pointer, kind.as_pointer())
        if mask is None:
            return self.to_register(self.build.load(address, align=dtype.itemsize), dtype)
        align = place(dtype.itemsize)
        function = self._masked("load", kind, [address.type, align.type, mask.type, kind], kind)
        vector = self.build.call(function, [address, align, mask, ir.Constant(kind, None)])
        return self.to_register(vector, dtype)

    def store_vector(self, value: Any, pointer: Any, dtype: np.dtype, mask: Any) -> None:
        kind = self.values.vector(in_memory(dtype))
        address, value = (
            self.build.bitcast(pointer, kind.as_pointer()),
            self.to_memory(value, dtype),
        )
        if mask is None:
            self.build.store(value, address, align=dtype.itemsize)
            return
        align = place(dtype.itemsize)
        kinds = [kind, address.type, align.type, mask.type]
        self.build.call(
            self._masked("store", kind, kinds, ir.VoidType()), [value, address, align, mask]
        )

    def gathered(self, pointer: Any, where: Any, dtype: np.dtype, mask: Any) -> Any:
        """Numbers that lie apart, lane by lane; lanes that do not count read the first's."""
        if mask is not None:
            first = self.build.extract_element(where, place(0))
            where = self.build.select(mask, where, self.values.spread(first))
        result: Any = None
        for lane in map(place, range(self.width)):
            offset = self.build.extract_element(where, lane)
            number = self.load(self.build.gep(pointer, [offset]), dtype)
            if result is None:
                result = ir.Constant(self.values.vector(number.type), ir.Undefined)
            result = self.build.insert_element(result, number, lane)
        return result

    def scattered(self, value: Any, pointer: Any, stride: Any, dtype: np.dtype, count: Any) -> None:
        """Write lanes ``stride`` numbers apart; of fewer lanes where ``count`` says so."""
        for lane in range(self.width):
            number = self.build.extract_element(value, place(lane))
            where = self.build.gep(pointer, [self.build.mul(self.integer(lane), stride)])
            if count is None:
                self.store(number, where, dtype)
                continue
            with self.build.if_then(self.build.icmp_signed(">", count, self.integer(lane))):
                self.store(number, where, dtype)

    def to_register(self, value: Any, dtype: np.dtype) -> Any:
        if dtype.kind != "b":
            return value
        return self.build.icmp_unsigned("!=", value, ir.Constant(value.type, None))

    def to_memory(self, value: Any, dtype: np.dtype) -> Any:
        if dtype.kind != "b":
            return value
        vector = isinstance(value.type, ir.VectorType)
        return self.build.zext(value, ir.VectorType(BYTE, value.type.count) if vector else BYTE)

    def _masked(self, what: str, kind: Any, arguments: list[Any], result: Any) -> Any:
        element = kind.element
        letter = "i" if isinstance(element, ir.IntType) else "f"
        bits = element.width if letter == "i" else 64 if element == ir.DoubleType() else 32
        name = f"llvm.masked.{what}.v{kind.count}{letter}{bits}.p0"
        known = self.module.globals.get(name)
        return known or ir.Function(self.module, ir.FunctionType(result, arguments), name)
