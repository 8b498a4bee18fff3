"""The operands of instructions: registers, constants and numbers as they are listed, read and written.

Numbers are of 32 bits without a sign, or None where they are not known; a predicate is True, False or
None. Registers are counted through: R0 to R254, from 256 the uniform ones, from 320 predicates.
"""

import re
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

from host_cuda.machine_code import Instruction

MASK = 0xFFFFFFFF
UNIFORM, PREDICATES, UNIFORM_PREDICATES = 256, 320, 328
REGISTER = re.compile(r"\b(U?)([RP])(\d+)\b")
_PREDICATE = re.compile(r"!?U?P[\dT]$")
_SPLIT = re.compile(r",\s*(?![^\[]*\])")

Number = int | None
Getter = Callable[["State"], Any]


class State:
    """The registers of a thread, constant memory and what it is told of itself."""

    def __init__(self, constants: bytes, special: dict[str, int]) -> None:
        self.values: list[Any] = [None] * 512
        self.constants, self.special = constants, special

    def forget(self, registers: tuple[int, ...]) -> None:
        for register in registers:
            self.values[register] = None


def number_of(name: str) -> int | None:
    """The place of a register in `State.values`; None of RZ, PT and what is no register."""
    found = REGISTER.fullmatch(name)
    if not found:
        return None
    uniform, kind, number = found[1] == "U", found[2], int(found[3])
    if kind == "R":
        return number + UNIFORM * uniform
    return number + (UNIFORM_PREDICATES if uniform else PREDICATES)


def operands(one: Instruction) -> list[str]:
    text = one.operands.replace(".reuse", "")
    return [part.strip() for part in _SPLIT.split(text)] if text else []


def is_predicate(text: str) -> bool:
    return bool(_PREDICATE.match(text))


def predicate(text: str) -> Getter:
    """Reads "P0", "!UP1" or "PT"."""
    negated, name = text.startswith("!"), text.lstrip("!")
    if name in ("PT", "UPT"):
        return lambda state: not negated
    number = number_of(name)

    def get(state: State) -> bool | None:
        value = state.values[number]
        return value if value is None or not negated else not value

    return get


def source(text: str, high: bool = False) -> Getter:
    """Reads a number: of a register, a constant or one that is written there.

    Of a negative one the complement, not cut to 32 bits: so that a carry comes out. ``high``: the
    register behind the one that is named.
    """
    if text.startswith("-") and not re.match(r"-\d", text):
        inner = source(text[1:], high)
        return lambda state: None if (v := inner(state)) is None else (~v & MASK) + 1
    if text.startswith("~"):
        inner = source(text[1:], high)
        return lambda state: None if (v := inner(state)) is None else ~v & MASK
    if text in ("RZ", "URZ", "SRZ"):
        return lambda state: 0
    if (number := number_of(text)) is not None:
        number += high
        return lambda state: state.values[number]
    if found := re.fullmatch(r"c\[0x0\]\[(?:(U?R\d+|U?RZ)\+?)?(0x[0-9a-f]+)?\]", text):
        index = source(found[1]) if found[1] else (lambda state: 0)
        return partial(_constant, index, int(found[2] or "0", 16) + 4 * high)
    if re.fullmatch(r"-?0x[0-9a-f]+|-?\d+", text):
        value = int(text, 0)
        return lambda state: (value >> 32 if high else value) & MASK
    return lambda state: None


def _constant(index: Getter, offset: int, state: State) -> Number:
    at = index(state)
    if at is None or at + offset + 4 > len(state.constants):
        return None
    return struct.unpack_from("<I", state.constants, at + offset)[0]


def signed(value: int) -> int:
    return value - (1 << 32) if value & 0x80000000 else value


def writer(part: str) -> Callable[[State, Any], None]:
    number = number_of(part)
    if number is None:
        return lambda state, value: None

    def write(state: State, value: Any) -> None:
        state.values[number] = value

    return write


def next_register(name: str) -> str:
    """The register behind: "R4" of "R3"."""
    found = re.fullmatch(r"(U?R)(\d+)", name)
    return f"{found[1]}{int(found[2]) + 1}" if found else name
