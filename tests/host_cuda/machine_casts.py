"""Numbers that become floating or whole ones: how each instruction is decoded, to what does it."""

import struct
from collections.abc import Callable

from host_cuda.machine_code import Instruction
from host_cuda.machine_operands import MASK, State, next_register, source, writer


def to_float(one: Instruction, parts: list[str], written: int) -> Callable:
    write, low, high = writer(parts[0]), source(parts[1]), source(parts[1], high=True)
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


def to_whole(one: Instruction, parts: list[str], written: int) -> Callable:
    write, upper, get = writer(parts[0]), writer(next_register(parts[0])), source(parts[1])
    wide = "64" in one.opcode

    def act(state: State) -> None:
        bits = get(state)
        value = None if bits is None else struct.unpack("<f", struct.pack("<I", bits))[0]
        if value is None or value != value:
            write(state, None)
            return
        whole = int(min(max(value, 0.0), float(2**64 - 1) if wide else float(MASK)))
        write(state, whole & MASK)
        if wide:
            upper(state, whole >> 32 & MASK)

    return act


def reciprocal(one: Instruction, parts: list[str], written: int) -> Callable | None:
    if one.opcode != "MUFU.RCP":
        return None
    write, get = writer(parts[0]), source(parts[1])

    def act(state: State) -> None:
        bits = get(state)
        value = 0.0 if bits is None else struct.unpack("<f", struct.pack("<I", bits))[0]
        write(state, _bits(1 / value) if value else None)

    return act


def two_halves(one: Instruction, parts: list[str], written: int) -> Callable | None:
    if parts[1:3] != ["-RZ", "RZ"]:  # how a constant is written otherwise
        return None
    high, low = (struct.unpack("<H", struct.pack("<e", float(part)))[0] for part in parts[3:5])
    write = writer(parts[0])
    return lambda state: write(state, high << 16 | low)
