"""The values of a loop at one place of its walk, as lines of C++."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from arraycnn.program.access import Access
from arraycnn.program.expression import Instruction
from arraycnn.program.nodes import Node
from arraycnn.program.render.cuda.parameters import Parameters
from arraycnn.program.render.cuda.pointwise import (
    c_type,
    converted,
    expression,
    is_divided,
    literal,
    power,
)
from arraycnn.program.render.cuda.walk import Axis, Walk
from arraycnn.program.render.layout import UnsupportedError

_INT64 = np.dtype(np.int64)
EACH_LANE = "for (int l = 0; l < LANES; ++l)"


class Lines:
    """Writes what a thread does at one place: reads all, computes, then writes.

    Parameters
    ----------
    walk : Walk
    parameters : Parameters
    known : dict of Node to str, optional
        Buffers whose number at the place is at hand: by which name.
    name : str
        With what the names of values begin.
    """

    def __init__(
        self,
        walk: Walk,
        parameters: Parameters,
        known: Mapping[Node, str] | None = None,
        name: str = "v",
    ) -> None:
        self._walk, self._parameters, self._known = walk, parameters, known or {}
        self._name = name
        self._where: dict[int, str] = {}
        """The index along each axis of the space that counts, where the code stands."""
        self._exponents = {
            one.inputs[1]
            for one in walk.instructions
            if one.op == "pow" and walk.instructions[one.inputs[1]].op == "number"
        }

    def indices(self, unit: str, axes: Sequence[Axis], prefix: str) -> list[str]:
        """The index along each of ``axes`` from the number of a unit."""
        lines, rest = [], unit
        for number, axis in reversed(list(enumerate(axes))):
            name = f"{prefix}{number}"
            if number == 0:
                lines.append(f"const Index {name} = {rest};")
            else:
                lines.append(f"const Index {name} = {rest} % {axis.size};")
                lines.append(f"const Index {name}_rest = {rest} / {axis.size};")
                rest = f"{name}_rest"
            self._where[axis.of] = f"{axis.step} * {name}" if axis.step != 1 else name
        return lines

    def values(self, chosen: Sequence[bool] | None = None) -> list[str]:
        """Each instruction, in order; those alone that are ``chosen``."""
        return [
            line
            for number, one in enumerate(self._walk.instructions)
            if one.op != "number" and not self._is_known(one)
            if chosen is None or chosen[number]
            for line in self._value(number, one)
        ]

    def of(self, number: int) -> str:
        """The value of an instruction; of lane ``l`` where lanes differ."""
        one = self._walk.instructions[number]
        if one.op == "number":
            if one.dtype.kind == "f":
                return self._parameters.real(one.value, one.dtype)
            return literal(one.value, one.dtype)
        if self._is_known(one):
            assert one.buffer is not None
            return self._known[one.buffer]
        return f"{self._name}{number}.at[l]" if self._is_packed(number) else f"{self._name}{number}"

    def writes(self, leave_out: int | None = None) -> list[str]:
        """The roots that are written, but for one."""
        lines: list[str] = []
        walk = self._walk
        rows = zip(walk.roots, walk.numbers, walk.targets, strict=True)
        for place_of_root, (root, number, target) in enumerate(rows):
            if target is None or place_of_root == leave_out:
                continue
            place = f"{self._parameters.buffer(root.target)} + {self._offset(target)}"
            if walk.lanes == 1:
                lines.append(f"*({place}) = {self.of(number)};")
                continue
            packed = f"Packed<{c_type(root.target.dtype)}, LANES>"
            if not self._is_packed(number):
                lines.append(f"{packed} w{number};")
                lines.append(f"{EACH_LANE} w{number}.at[l] = {self.of(number)};")
            value = f"{self._name}{number}" if self._is_packed(number) else f"w{number}"
            lines.append(f"*reinterpret_cast<{packed}*>({place}) = {value};")
        return lines

    def _is_known(self, one: Instruction) -> bool:
        return one.buffer is not None and one.buffer in self._known

    def _is_packed(self, number: int) -> bool:
        return self._walk.lanes > 1 and self._walk.varies[number]

    def _offset(self, access: Access, lane: bool = False) -> str:
        """How far the number of the first lane lies from an array's first; of lane ``l``."""
        terms = [
            f"({name}) * {access.strides[axis]}" if access.strides[axis] != 1 else f"({name})"
            for axis, name in self._where.items()
            if access.strides[axis]
        ]
        if access.offset:
            terms.append(str(access.offset))
        if lane:
            last = (self._walk.reduced if self._walk.last_is_reduced else self._walk.kept)[-1]
            terms.append(f"l * {access.strides[last.of]}")
        return f"({' + '.join(terms) or '0'})"

    def _value(self, number: int, one: Instruction) -> list[str]:
        kind, packed = c_type(one.dtype), self._is_packed(number)
        if one.op == "load" and packed:
            return [self._packed(number, kind, self._place(one))]
        if one.op == "gather" and packed and not self._walk.varies[one.inputs[0]]:
            return [self._packed(number, kind, f"{self._place(one)} + {self._taken(one)}")]
        value = self._expression(one, packed)
        if not packed:
            return [f"const {kind} {self._name}{number} = {value};"]
        return [
            f"Packed<{kind}, LANES> {self._name}{number};",
            "#pragma unroll",
            f"{EACH_LANE} {self._name}{number}.at[l] = {value};",
        ]

    def _packed(self, number: int, kind: str, address: str) -> str:
        """Neighbouring numbers, read at once."""
        pack = f"Packed<{kind}, LANES>"
        return f"const {pack} {self._name}{number} = *reinterpret_cast<const {pack}*>({address});"

    def _place(self, one: Instruction, lane: bool = False) -> str:
        """The address that an instruction reads, but for a taken row."""
        assert one.buffer is not None
        assert one.access is not None
        return f"{self._parameters.buffer(one.buffer)} + {self._offset(one.access, lane)}"

    def _taken(self, one: Instruction) -> str:
        assert one.axis is not None
        stride, size = one.axis
        return f"(Index)(taken({self.of(one.inputs[0])}, {size}) * {stride})"

    def _expression(self, one: Instruction, packed: bool) -> str:
        if one.op == "coordinate":
            assert one.access is not None
            return converted(f"(long long){self._offset(one.access, packed)}", _INT64, one.dtype)
        if one.op in ("load", "gather"):
            row = f" + {self._taken(one)}" if one.op == "gather" else ""
            return f"*({self._place(one, packed)}{row})"
        given = self._walk.instructions[one.inputs[-1]]
        values = [self.of(number) for number in one.inputs if number not in self._exponents]
        if one.op == "pow" and len(values) < len(one.inputs):
            return self._power(one, values[0], given.value)
        values = [self.of(number) for number in one.inputs]
        if one.op == "divide" and given.op == "number" and is_divided(given.value, one.dtype):
            values.append(self._parameters.real(1.0 / one.dtype.type(given.value), one.dtype))
            return f"divided({', '.join(values)})"
        return expression(one.op, one.dtype, given.dtype, values)

    def _power(self, one: Instruction, base: str, exponent: float) -> str:
        if one.dtype.kind != "f":
            message = f"a power of {one.dtype}"
            raise UnsupportedError(message)
        return power(base, float(exponent))
