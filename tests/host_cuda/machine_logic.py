"""Logic, comparisons and choices: how each instruction is decoded, to what does it."""

import struct
from collections.abc import Callable

from host_cuda.machine_code import Instruction
from host_cuda.machine_operands import MASK, PREDICATES, State, predicate, signed, source, writer


def logic(one: Instruction, parts: list[str], written: int) -> Callable:
    flags, write = [writer(part) for part in parts[: written - 1]], writer(parts[written - 1])
    sources = [source(part) for part in parts[written : written + 3]]
    table = int(parts[written + 3], 16)

    def act(state: State) -> None:
        values = [get(state) for get in sources]
        result = None if None in values else _looked_up(table, *values)
        write(state, result)
        for flag in flags:
            flag(state, None if result is None else result != 0)

    return act


def _looked_up(table: int, a: int, b: int, c: int) -> int:
    result = 0
    for place in range(8):
        if table >> place & 1:
            result |= (a if place & 4 else ~a) & (b if place & 2 else ~b) & (c if place & 1 else ~c)
    return result & MASK


_JOIN = {
    "AND": lambda a, b: False if a is False or b is False else None if None in (a, b) else True,
    "OR": lambda a, b: True if a is True or b is True else None if None in (a, b) else False,
    "XOR": lambda a, b: None if None in (a, b) else a != b,
}
_COMPARE = {
    "LT": lambda a, b: a < b,
    "LE": lambda a, b: a <= b,
    "GT": lambda a, b: a > b,
    "GE": lambda a, b: a >= b,
    "EQ": lambda a, b: a == b,
    "NE": lambda a, b: a != b,
}


def compare_whole(one: Instruction, parts: list[str], written: int) -> Callable:
    words = one.opcode.split(".")
    compare, join = _COMPARE[words[1]], next(_JOIN[word] for word in words if word in _JOIN)
    first, second = writer(parts[0]), writer(parts[1])
    a, b = source(parts[2]), source(parts[3])
    other = predicate(parts[4])
    lower = predicate(parts[5]) if "EX" in words else None
    is_signed, differs = "U32" not in words, words[1] == "NE"

    def act(state: State) -> None:
        x, y = a(state), b(state)
        result = None
        if x is not None and y is not None:
            x, y = x & MASK, y & MASK
            if is_signed:
                x, y = signed(x), signed(y)
            if lower is None:
                result = compare(x, y)
            elif x == y:
                result = lower(state)
            else:  # the upper halves decide
                result = differs or (words[1] != "EQ" and compare(x, y))
        with_it = other(state)
        first(state, join(result, with_it))
        second(state, join(None if result is None else not result, with_it))

    return act


def compare_floats(one: Instruction, parts: list[str], written: int) -> Callable | None:
    words = one.opcode.split(".")
    name = words[1].removesuffix("U") if words[1] != "NEU" else "NE"
    if name not in _COMPARE:
        return None
    compare, join = _COMPARE[name], next(_JOIN[word] for word in words if word in _JOIN)
    first, second = writer(parts[0]), writer(parts[1])
    a, b, other = source(parts[2]), source(parts[3]), predicate(parts[4])

    def act(state: State) -> None:
        bits = a(state), b(state)
        result = None
        if None not in bits:
            result = compare(*(struct.unpack("<f", struct.pack("<I", v))[0] for v in bits))
        with_it = other(state)
        first(state, join(result, with_it))
        second(state, join(None if result is None else not result, with_it))

    return act


def choose(one: Instruction, parts: list[str], written: int) -> Callable:
    write, a, b, which = writer(parts[0]), source(parts[1]), source(parts[2]), predicate(parts[3])

    def act(state: State) -> None:
        chosen = which(state)
        value = None if chosen is None else (a if chosen else b)(state)
        write(state, None if value is None else value & MASK)

    return act


def least(one: Instruction, parts: list[str], written: int) -> Callable:
    write, a, b, which = writer(parts[0]), source(parts[1]), source(parts[2]), predicate(parts[3])
    is_signed = "U32" not in one.opcode

    def act(state: State) -> None:
        values = [a(state), b(state)]
        if None in values:
            write(state, None)
            return
        pick = min if which(state) else max
        write(state, pick((v & MASK for v in values), key=signed if is_signed else int))

    return act


def least_of_sum(one: Instruction, parts: list[str], written: int) -> Callable:
    write, which = writer(parts[0]), predicate(parts[4])
    sources = [source(part) for part in parts[1:4]]
    is_signed = "U32" not in one.opcode

    def act(state: State) -> None:
        values = [get(state) for get in sources]
        if None in values:
            write(state, None)
            return
        a, b, c = (value & MASK for value in values)
        pick = min if which(state) else max
        write(state, pick(a + b & MASK, c, key=signed if is_signed else int))

    return act


def logic_of_predicates(one: Instruction, parts: list[str], written: int) -> Callable:
    writers = [writer(part) for part in parts[:2]]
    sources = [predicate(part) for part in parts[2:5]]
    tables = [int(part, 16) for part in parts[5:7]]

    def act(state: State) -> None:
        values = [get(state) for get in sources]
        for write, table in zip(writers, tables, strict=True):
            write(state, _all_agree(table, values))

    return act


def _all_agree(table: int, values: list[bool | None]) -> bool | None:
    """What the table says whatever the unknown ones are, or None."""
    found = set()
    for place in range(8):
        bits = (bool(place & 4), bool(place & 2), bool(place & 1))
        if all(v is None or v == bit for v, bit in zip(values, bits, strict=True)):
            found.add(bool(table >> place & 1))
    return found.pop() if len(found) == 1 else None


def keep_predicates(one: Instruction, parts: list[str], written: int) -> Callable | None:
    if parts[1] != "PR" or "." in parts[0] or "." in one.opcode:
        return None
    write, before, mask = writer(parts[0]), source(parts[2]), int(parts[3], 16)

    def act(state: State) -> None:
        kept, old = 0, before(state)
        for place in range(7):
            value = state.values[PREDICATES + place]
            if mask >> place & 1:
                if value is None:
                    old = None
                kept |= int(bool(value)) << place
        write(state, None if old is None else old & ~mask | kept)

    return act
