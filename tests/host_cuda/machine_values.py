"""What instructions read and write, and what they make of numbers that are known; see `machine_run`."""

from collections.abc import Callable

from host_cuda import machine_casts, machine_logic, machine_sums
from host_cuda.machine_code import Instruction
from host_cuda.machine_operands import (
    REGISTER,
    Getter,
    State,
    is_predicate,
    next_register,
    number_of,
    operands,
    predicate,
    signed,
    source,
    writer,
)

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
    while count < len(parts) and is_predicate(parts[count]) and not parts[count].startswith("!"):
        count += 1
    if base_name(one) in ("ISETP", "PLOP3", "FSETP", "DSETP", "FCHK", "VOTE"):
        return min(count, 2)
    if count == len(parts):
        return count
    count += 1
    while (
        base_name(one) in ("IADD3", "LEA", "IMAD", "SHFL")
        and count < len(parts)
        and is_predicate(parts[count])
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
    for match in REGISTER.finditer(text):
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
        condition = predicate(parts[0]) if parts and is_predicate(parts[0]) else None
        return guard, condition, None
    compute = FAMILIES.get(base_name(one))
    action = compute(one, parts, results(one, parts)) if compute else None
    return guard, None, action or (lambda state: state.forget(writes))


def _constant_load(one: Instruction, parts: list[str], written: int) -> Callable | None:
    if one.opcode not in ("LDC", "LDC.64", "ULDC", "ULDC.64"):
        return None
    write, upper = writer(parts[0]), writer(next_register(parts[0]))
    low, high = source(parts[1]), source(parts[1], high=True)
    wide = one.opcode.endswith("64")

    def act(state: State) -> None:
        write(state, low(state))
        if wide:
            upper(state, high(state))

    return act


def _special(one: Instruction, parts: list[str], written: int) -> Callable:
    write, upper = writer(parts[0]), writer(next_register(parts[0]))
    wide = one.opcode == "CS2R"

    def act(state: State) -> None:
        write(state, 0 if parts[1] == "SRZ" else state.special.get(parts[1]))
        if wide:
            upper(state, 0 if parts[1] == "SRZ" else None)

    return act


FAMILIES: dict[str, Callable] = {
    "IADD3": machine_sums.add,
    "IMAD": machine_sums.multiply,
    "LEA": machine_sums.shifted_add,
    "SHF": machine_sums.shift,
    "LOP3": machine_logic.logic,
    "ISETP": machine_logic.compare_whole,
    "FSETP": machine_logic.compare_floats,
    "SEL": machine_logic.choose,
    "IMNMX": machine_logic.least,
    "VIMNMX": machine_logic.least,
    "VIADDMNMX": machine_logic.least_of_sum,
    "PLOP3": machine_logic.logic_of_predicates,
    "LDC": _constant_load,
    "S2R": _special,
    "S2UR": _special,
    "CS2R": _special,
    "I2F": machine_casts.to_float,
    "I2FP": machine_casts.to_float,
    "F2I": machine_casts.to_whole,
    "MUFU": machine_casts.reciprocal,
    "HFMA2": machine_casts.two_halves,
    "PRMT": machine_sums.plain(machine_sums.permuted_bytes, 3),
    "P2R": machine_logic.keep_predicates,
    "MOV": machine_sums.plain(lambda a: a, 1),
    "R2UR": machine_sums.plain(lambda a: a, 1),
    "VIADD": machine_sums.plain(lambda a, b: a + b, 2),
    "IABS": machine_sums.plain(lambda a: abs(signed(a)), 1),
    "POPC": machine_sums.plain(lambda a: bin(a).count("1"), 1),
}
"""How each family is decoded: (instruction, operands, how many are written) to what does it."""
