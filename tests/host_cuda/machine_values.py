"""What whole-number instructions make of numbers that are known; see `machine_run`.

Numbers are of 32 bits without a sign, or None where they are not known; a predicate is True, False or
None. Registers are counted through: R0 to R254, from 256 the uniform ones, from 320 predicates.
"""

import re
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

from host_cuda.machine_code import Instruction

_UNIFORM, _PREDICATES, _UNIFORM_PREDICATES = 256, 320, 328
_MASK = 0xFFFFFFFF
_REGISTER = re.compile(r"\b(U?)([RP])(\d+)\b")
_PREDICATE = re.compile(r"!?U?P[\dT]$")
_SPLIT = re.compile(r",\s*(?![^\[]*\])")
_MEMORY = (
    "ST",
    "STG",
    "STS",
    "STL",
    "RED",
    "LDGSTS",
    "BAR",
    "MEMBAR",
    "DEPBAR",
    "BRA",
    "EXIT",
    "RET",
)
_SIZES = {"64": 2, "128": 4}

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
    found = _REGISTER.fullmatch(name)
    if not found:
        return None
    uniform, kind, number = found[1] == "U", found[2], int(found[3])
    if kind == "R":
        return number + _UNIFORM * uniform
    return number + (_UNIFORM_PREDICATES if uniform else _PREDICATES)


def operands(one: Instruction) -> list[str]:
    text = one.operands.replace(".reuse", "")
    return [part.strip() for part in _SPLIT.split(text)] if text else []


def base_name(one: Instruction) -> str:
    """The instruction's family: that of the uniform registers computes the same."""
    name = one.name
    return name[1:] if name.startswith("U") and name[1:] in FAMILIES else name


def results(one: Instruction, parts: list[str]) -> int:
    """How many of the operands are written."""
    if one.name in _MEMORY or not parts:
        return 0
    count = 0
    # Predicates first, as of LOP3, then the register, then predicates behind it.
    while count < len(parts) and _is_predicate(parts[count]) and not parts[count].startswith("!"):
        count += 1
    if base_name(one) in ("ISETP", "PLOP3", "FSETP", "DSETP", "FCHK", "VOTE"):
        return min(count, 2)
    if count == len(parts):
        return count
    count += 1
    while (
        base_name(one) in ("IADD3", "LEA", "IMAD", "SHFL")
        and count < len(parts)
        and _is_predicate(parts[count])
        and not parts[count].startswith("!")
        and len(parts) - count > 2
    ):
        count += 1
    return count


def registers(one: Instruction) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The registers that it reads, and those that it writes."""
    parts = operands(one)
    written = results(one, parts)
    reads = _of(one.predicate, 1)
    writes: list[int] = []
    for place, part in enumerate(parts):
        width = _width(one, place, written)
        (writes if place < written else reads).extend(_of(part, width))
    return tuple(dict.fromkeys(reads)), tuple(dict.fromkeys(writes))


def _of(text: str, width: int) -> list[int]:
    found = []
    for match in _REGISTER.finditer(text):
        first = number_of(match[0])
        wide = 2 if f"{match[0]}.64" in text else width
        found += range(first, first + (wide if match[2] == "R" else 1))
    return found


def _width(one: Instruction, place: int, written: int) -> int:
    """How many registers lie behind the one that is named."""
    if one.name == "HMMA":
        half = ".16816." in one.opcode
        return (4, 4 if half or ".1688." in one.opcode else 2, 2, 4)[min(place, 3)]
    wide = next((size for key, size in _SIZES.items() if f".{key}" in one.opcode), 1)
    if one.name in ("LDG", "LDS", "LDL", "LDC", "ULDC", "CS2R"):
        default = 2 if one.opcode == "CS2R" else wide
        return default if place < written else 1
    if one.name in ("STG", "STS", "STL"):
        return wide if place == 1 else 1
    if "WIDE" in one.opcode and (place < written or place == written + 2):
        return 2
    if one.name in ("DFMA", "DADD", "DMUL"):
        return 2
    if ".HI" in one.opcode and base_name(one) == "IMAD" and place == written + 2:
        return 2
    return 2 if "U64" in one.opcode and base_name(one) in ("F2I", "I2F") else 1


def _is_predicate(text: str) -> bool:
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
        return lambda state: None if (v := inner(state)) is None else (~v & _MASK) + 1
    if text.startswith("~"):
        inner = source(text[1:], high)
        return lambda state: None if (v := inner(state)) is None else ~v & _MASK
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
        return lambda state: (value >> 32 if high else value) & _MASK
    return lambda state: None


def _constant(index: Getter, offset: int, state: State) -> Number:
    at = index(state)
    if at is None or at + offset + 4 > len(state.constants):
        return None
    return struct.unpack_from("<I", state.constants, at + offset)[0]


def signed(value: int) -> int:
    return value - (1 << 32) if value & 0x80000000 else value


def decoded(
    one: Instruction, writes: tuple[int, ...]
) -> tuple[Getter | None, Getter | None, Callable | None]:
    """What asks for its predicate, for what else a branch asks, and what does it.

    ``writes``: the registers that it writes, by `registers`.
    """
    parts = operands(one)
    guard = predicate(one.predicate[1:]) if one.predicate else None
    if one.name in ("BRA", "EXIT"):
        if ".DIV" in one.opcode:  # a warp that goes different ways: this one does not
            return guard, (lambda state: False), None
        condition = predicate(parts[0]) if parts and _is_predicate(parts[0]) else None
        return guard, condition, None
    compute = FAMILIES.get(base_name(one))
    action = compute(one, parts, results(one, parts)) if compute else None
    return guard, None, action or (lambda state: state.forget(writes))


def _writer(part: str) -> Callable[[State, Any], None]:
    number = number_of(part)
    if number is None:
        return lambda state, value: None

    def write(state: State, value: Any) -> None:
        state.values[number] = value

    return write


def _plain(function: Callable[..., int], count: int) -> Callable:
    """An instruction that writes one number, of ``count`` others."""

    def decode(one: Instruction, parts: list[str], written: int) -> Callable:
        write = _writer(parts[written - 1])
        sources = [source(part) for part in parts[written : written + count]]

        def act(state: State) -> None:
            values = [get(state) for get in sources]
            write(state, None if None in values else function(*values) & _MASK)

        return act

    return decode


def _add(one: Instruction, parts: list[str], written: int) -> Callable:
    write, carries = _writer(parts[0]), [_writer(part) for part in parts[1:written]]
    sources = [source(part) for part in parts[written : written + 3]]
    ins = [predicate(part) for part in parts[written + 3 :]] if ".X" in one.opcode else []

    def act(state: State) -> None:
        values = [get(state) for get in (*sources, *ins)]
        if None in values:
            write(state, None)
            for carry in carries:
                carry(state, None)
            return
        total = sum(values)
        write(state, total & _MASK)
        for least, carry in enumerate(carries, start=1):
            carry(state, total >> 32 >= least)

    return act


def _multiply(one: Instruction, parts: list[str], written: int) -> Callable:
    write, carries = _writer(parts[0]), [_writer(part) for part in parts[1:written]]
    a, b, c = (source(part) for part in parts[written : written + 3])
    opcode, third = one.opcode, parts[written + 2]
    wide, high = "WIDE" in opcode, ".HI" in opcode
    top = source(third, high=True) if wide or high else (lambda state: 0)
    upper = _writer(_next(parts[0])) if wide else (lambda state, value: None)
    ins = [predicate(part) for part in parts[written + 3 :]] if ".X" in opcode else []
    is_signed = (wide or high) and "U32" not in opcode

    def act(state: State) -> None:
        values = [get(state) for get in (a, b, c, top, *ins)]
        if None in values[:2] and 0 in values[:2]:
            values[:2] = 0, 0
        if None in values:
            for put in (write, upper, *carries):
                put(state, None)
            return
        one_, two, low, upper_half, *more = values
        if is_signed:
            one_, two = signed(one_ & _MASK), signed(two & _MASK)
        total = one_ * two + low + (upper_half << 32) + sum(more)
        write(state, (total >> 32 if high else total) & _MASK)
        if wide:
            upper(state, total >> 32 & _MASK)
        for carry in carries:
            carry(state, total >> (64 if wide or high else 32) != 0)

    return act


def _next(name: str) -> str:
    """The register behind: "R4" of "R3"."""
    found = re.fullmatch(r"(U?R)(\d+)", name)
    return f"{found[1]}{int(found[2]) + 1}" if found else name


def _shifted_add(one: Instruction, parts: list[str], written: int) -> Callable:
    write, carries = _writer(parts[0]), [_writer(part) for part in parts[1:written]]
    given = parts[written:]
    is_high, extends = ".HI" in one.opcode, "SX32" in one.opcode
    ins = [predicate(given.pop())] if ".X" in one.opcode else []
    shift = int(given.pop(), 0)
    a, b = source(given[0]), source(given[1])
    c = source(given[2]) if is_high and not extends and len(given) > 2 else (lambda state: 0)

    def act(state: State) -> None:
        values = [get(state) for get in (a, b, c, *ins)]
        if None in values:
            for put in (write, *carries):
                put(state, None)
            return
        first, second, third, *more = values
        first &= _MASK
        whole = signed(first) if extends else first | third << 32
        moved = whole << shift >> 32 & _MASK if is_high else whole << shift & _MASK
        total = moved + second + sum(more)
        write(state, total & _MASK)
        for carry in carries:
            carry(state, total >> 32 != 0)

    return act


def _shift(one: Instruction, parts: list[str], written: int) -> Callable:
    write = _writer(parts[0])
    low, count, high = (source(part) for part in parts[1:4])
    opcode = one.opcode
    left, is_signed = ".L" in opcode, ".S" in opcode
    is_high, wraps = ".HI" in opcode, ".W" in opcode

    def act(state: State) -> None:
        values = [get(state) for get in (low, count, high)]
        if None in values:
            write(state, None)
            return
        first, by, second = values
        by = by & 31 if wraps else min(by, 64)
        whole = first | (signed(second) if is_signed and not left else second) << 32
        moved = whole << by if left else whole >> by
        write(state, (moved >> 32 if is_high else moved) & _MASK)

    return act


def _logic(one: Instruction, parts: list[str], written: int) -> Callable:
    flags, write = [_writer(part) for part in parts[: written - 1]], _writer(parts[written - 1])
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
    return result & _MASK


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


def _compare(one: Instruction, parts: list[str], written: int) -> Callable:
    words = one.opcode.split(".")
    compare, join = _COMPARE[words[1]], next(_JOIN[word] for word in words if word in _JOIN)
    first, second = _writer(parts[0]), _writer(parts[1])
    a, b = source(parts[2]), source(parts[3])
    other = predicate(parts[4])
    lower = predicate(parts[5]) if "EX" in words else None
    is_signed, differs = "U32" not in words, words[1] == "NE"

    def act(state: State) -> None:
        x, y = a(state), b(state)
        result = None
        if x is not None and y is not None:
            x, y = x & _MASK, y & _MASK
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


def _compare_floats(one: Instruction, parts: list[str], written: int) -> Callable | None:
    words = one.opcode.split(".")
    name = words[1].removesuffix("U") if words[1] != "NEU" else "NE"
    if name not in _COMPARE:
        return None
    compare, join = _COMPARE[name], next(_JOIN[word] for word in words if word in _JOIN)
    first, second = _writer(parts[0]), _writer(parts[1])
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


def _choose(one: Instruction, parts: list[str], written: int) -> Callable:
    write, a, b, which = _writer(parts[0]), source(parts[1]), source(parts[2]), predicate(parts[3])

    def act(state: State) -> None:
        chosen = which(state)
        value = None if chosen is None else (a if chosen else b)(state)
        write(state, None if value is None else value & _MASK)

    return act


def _least(one: Instruction, parts: list[str], written: int) -> Callable:
    write, a, b, which = _writer(parts[0]), source(parts[1]), source(parts[2]), predicate(parts[3])
    is_signed = "U32" not in one.opcode

    def act(state: State) -> None:
        values = [a(state), b(state)]
        if None in values:
            write(state, None)
            return
        pick = min if which(state) else max
        write(state, pick((v & _MASK for v in values), key=signed if is_signed else int))

    return act


def _least_of_sum(one: Instruction, parts: list[str], written: int) -> Callable:
    write, which = _writer(parts[0]), predicate(parts[4])
    sources = [source(part) for part in parts[1:4]]
    is_signed = "U32" not in one.opcode

    def act(state: State) -> None:
        values = [get(state) for get in sources]
        if None in values:
            write(state, None)
            return
        a, b, c = (value & _MASK for value in values)
        pick = min if which(state) else max
        write(state, pick(a + b & _MASK, c, key=signed if is_signed else int))

    return act


def _logic_of_predicates(one: Instruction, parts: list[str], written: int) -> Callable:
    writers = [_writer(part) for part in parts[:2]]
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


def _constant_load(one: Instruction, parts: list[str], written: int) -> Callable | None:
    if one.opcode not in ("LDC", "LDC.64", "ULDC", "ULDC.64"):
        return None
    write, upper = _writer(parts[0]), _writer(_next(parts[0]))
    low, high = source(parts[1]), source(parts[1], high=True)
    wide = one.opcode.endswith("64")

    def act(state: State) -> None:
        write(state, low(state))
        if wide:
            upper(state, high(state))

    return act


def _special(one: Instruction, parts: list[str], written: int) -> Callable:
    write, upper = _writer(parts[0]), _writer(_next(parts[0]))
    wide = one.opcode == "CS2R"

    def act(state: State) -> None:
        write(state, 0 if parts[1] == "SRZ" else state.special.get(parts[1]))
        if wide:
            upper(state, 0 if parts[1] == "SRZ" else None)

    return act


def _to_float(one: Instruction, parts: list[str], written: int) -> Callable:
    write, low, high = _writer(parts[0]), source(parts[1]), source(parts[1], high=True)
    wide, is_signed = "64" in one.opcode, ".U" not in one.opcode
    upwards = ".RP" in one.opcode

    def act(state: State) -> None:
        value, top = low(state), high(state) if wide else 0
        if value is None or top is None:
            write(state, None)
            return
        value = value | top << 32
        bits = 64 if wide else 32
        if is_signed and value >> (bits - 1):
            value -= 1 << bits
        write(state, _bits(float(value), upwards, value))

    return act


def _bits(value: float, upwards: bool = False, exact: float | None = None) -> int:
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    rounded = struct.unpack("<f", struct.pack("<I", bits))[0]
    return bits + 1 if upwards and exact is not None and rounded < exact else bits


def _to_whole(one: Instruction, parts: list[str], written: int) -> Callable:
    write, upper, get = _writer(parts[0]), _writer(_next(parts[0])), source(parts[1])
    wide = "64" in one.opcode

    def act(state: State) -> None:
        bits = get(state)
        value = None if bits is None else struct.unpack("<f", struct.pack("<I", bits))[0]
        if value is None or value != value:
            write(state, None)
            return
        whole = int(min(max(value, 0.0), float(2**64 - 1) if wide else float(_MASK)))
        write(state, whole & _MASK)
        if wide:
            upper(state, whole >> 32 & _MASK)

    return act


def _reciprocal(one: Instruction, parts: list[str], written: int) -> Callable | None:
    if one.opcode != "MUFU.RCP":
        return None
    write, get = _writer(parts[0]), source(parts[1])

    def act(state: State) -> None:
        bits = get(state)
        value = 0.0 if bits is None else struct.unpack("<f", struct.pack("<I", bits))[0]
        write(state, _bits(1 / value) if value else None)

    return act


def _two_halves(one: Instruction, parts: list[str], written: int) -> Callable | None:
    if parts[1:3] != ["-RZ", "RZ"]:  # how a constant is written otherwise
        return None
    high, low = (struct.unpack("<H", struct.pack("<e", float(part)))[0] for part in parts[3:5])
    write = _writer(parts[0])
    return lambda state: write(state, high << 16 | low)


def _bytes(a: int, selector: int, b: int) -> int:
    both, result = a | b << 32, 0
    for place in range(4):
        pick = selector >> 4 * place & 0xF
        byte = both >> 8 * (pick & 7) & 0xFF
        if pick & 8:
            byte = 0xFF if byte & 0x80 else 0
        result |= byte << 8 * place
    return result


def _keep_predicates(one: Instruction, parts: list[str], written: int) -> Callable | None:
    if parts[1] != "PR" or "." in parts[0] or "." in one.opcode:
        return None
    write, before, mask = _writer(parts[0]), source(parts[2]), int(parts[3], 16)

    def act(state: State) -> None:
        kept, old = 0, before(state)
        for place in range(7):
            value = state.values[_PREDICATES + place]
            if mask >> place & 1:
                if value is None:
                    old = None
                kept |= int(bool(value)) << place
        write(state, None if old is None else old & ~mask | kept)

    return act


FAMILIES: dict[str, Callable] = {
    "IADD3": _add,
    "IMAD": _multiply,
    "LEA": _shifted_add,
    "SHF": _shift,
    "LOP3": _logic,
    "ISETP": _compare,
    "FSETP": _compare_floats,
    "SEL": _choose,
    "IMNMX": _least,
    "VIMNMX": _least,
    "VIADDMNMX": _least_of_sum,
    "PLOP3": _logic_of_predicates,
    "LDC": _constant_load,
    "S2R": _special,
    "S2UR": _special,
    "CS2R": _special,
    "I2F": _to_float,
    "I2FP": _to_float,
    "F2I": _to_whole,
    "MUFU": _reciprocal,
    "HFMA2": _two_halves,
    "PRMT": _plain(_bytes, 3),
    "P2R": _keep_predicates,
    "MOV": _plain(lambda a: a, 1),
    "R2UR": _plain(lambda a: a, 1),
    "VIADD": _plain(lambda a, b: a + b, 2),
    "IABS": _plain(lambda a: abs(signed(a)), 1),
    "POPC": _plain(lambda a: bin(a).count("1"), 1),
}
"""How each family is decoded: (instruction, operands, how many are written) to what does it."""
