"""Sums, products and shifts of whole numbers: how each instruction is decoded, to what does it."""

from collections.abc import Callable

from host_cuda.machine_code import Instruction
from host_cuda.machine_operands import MASK, State, next_register, predicate, signed, source, writer


def plain(function: Callable[..., int], count: int) -> Callable:
    """An instruction that writes one number, of ``count`` others."""

    def decode(one: Instruction, parts: list[str], written: int) -> Callable:
        write = writer(parts[written - 1])
        sources = [source(part) for part in parts[written : written + count]]

        def act(state: State) -> None:
            values = [get(state) for get in sources]
            write(state, None if None in values else function(*values) & MASK)

        return act

    return decode


def add(one: Instruction, parts: list[str], written: int) -> Callable:
    write, carries = writer(parts[0]), [writer(part) for part in parts[1:written]]
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
        write(state, total & MASK)
        for least, carry in enumerate(carries, start=1):
            carry(state, total >> 32 >= least)

    return act


def multiply(one: Instruction, parts: list[str], written: int) -> Callable:
    write, carries = writer(parts[0]), [writer(part) for part in parts[1:written]]
    a, b, c = (source(part) for part in parts[written : written + 3])
    opcode, third = one.opcode, parts[written + 2]
    wide, high = "WIDE" in opcode, ".HI" in opcode
    top = source(third, high=True) if wide or high else (lambda state: 0)
    upper = writer(next_register(parts[0])) if wide else (lambda state, value: None)
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
            one_, two = signed(one_ & MASK), signed(two & MASK)
        total = one_ * two + low + (upper_half << 32) + sum(more)
        write(state, (total >> 32 if high else total) & MASK)
        if wide:
            upper(state, total >> 32 & MASK)
        for carry in carries:
            carry(state, total >> (64 if wide or high else 32) != 0)

    return act


def shifted_add(one: Instruction, parts: list[str], written: int) -> Callable:
    write, carries = writer(parts[0]), [writer(part) for part in parts[1:written]]
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
        first &= MASK
        whole = signed(first) if extends else first | third << 32
        moved = whole << shift >> 32 & MASK if is_high else whole << shift & MASK
        total = moved + second + sum(more)
        write(state, total & MASK)
        for carry in carries:
            carry(state, total >> 32 != 0)

    return act


def shift(one: Instruction, parts: list[str], written: int) -> Callable:
    write = writer(parts[0])
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
        write(state, (moved >> 32 if is_high else moved) & MASK)

    return act


def permuted_bytes(a: int, selector: int, b: int) -> int:
    both, result = a | b << 32, 0
    for place in range(4):
        pick = selector >> 4 * place & 0xF
        byte = both >> 8 * (pick & 7) & 0xFF
        if pick & 8:
            byte = 0xFF if byte & 0x80 else 0
        result |= byte << 8 * place
    return result
