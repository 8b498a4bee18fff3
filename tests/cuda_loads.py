"""Loops of CUDA kernels that add up what they load from memory: how many loads are under way at once.

A loop that waits for each number before it asks for the next takes a few hundred cycles for each. So
its body is there several times, by #pragma unroll, or it loads into an array first. The compiler may
still put a sum between two loads, which is why those under way are counted, too.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from host_cuda.machine_code import Instruction, Loop, MachineCode, Section

COPIES = 3
"""Of the body of a loop that the compiler unrolls, at least: 4 are asked for, and what is the same in
all is done once. What is left over is done by a loop of one copy, beside it."""
AT_ONCE = 8
"""Loads in a turn of a loop that has no such loop beside it."""
LEAST = 2
"""Loads under way where nothing more is said of a kernel."""
ORDERS_ANEW = 100
"""From this architecture on NVRTC puts sums between loads that stand before them in the text, though it
has registers to spare: of the 16 loads of sum_splits 3 are under way. Only loads are counted there."""
OF_KERNELS = {
    "sum_splits": (8,),
    "few_columns": (36,),
    "sum_gradients": (18, 8),  # that of a block, and of the last one, of packs of 4
    "conv2d_max_pool2d": (16,),
    "matmul": (16,),  # the last block of a tile adds up parts
}
"""Loads under way in the loops that have most, at least, where a kernel has such loops."""

_REGISTER = re.compile(r"\bR(\d+)\b")
_ADDS = ("FADD", "FFMA", "FADD2", "FFMA2", "DADD", "DFMA", "FMNMX")
_COUNTS_BLOCKS = ("ATOM", "ATOMG", "RED")


@dataclass(frozen=True)
class AddingLoop:
    """How many loads and additions a turn has, and how many loads are under way at once.

    Attributes
    ----------
    loads, adds, under_way : int
    outer : int
        Where the loop around it begins, -1 where there is none.
    """

    loads: int
    adds: int
    under_way: int
    outer: int = -1

    def is_rest_of(self, other: "AddingLoop") -> bool:
        """Whether ``other`` has copies of this one's body: as many more additions as loads, nearly."""
        copies = other.adds / self.adds
        as_many = copies / 2 < other.loads / self.loads < copies * 1.2
        return self.outer == other.outer and copies >= COPIES and as_many


@cache
def adding_loops(code: MachineCode) -> tuple[AddingLoop, ...]:
    """Those of a kernel but for main loops of products, in the order in which they lie."""
    found = []
    for loop in code.loops:
        own = loop.own
        # Lines at the edge of a tile move up, and are stored: a number for each that is loaded.
        stores = own.count("LDG") <= own.count("STG")
        others = own.count("LDGSTS") + own.products
        if own.count("LDG") and not stores and not others and adds_up(own):
            loads, adds = own.count("LDG"), own.count(*_ADDS)
            under_way = loads_under_way(own.instructions)
            found.append(AddingLoop(loads, adds, under_way, _around(loop, code)))
    return tuple(found)


def _around(loop: Loop, code: MachineCode) -> int:
    first, last = loop.instructions[0].address, loop.instructions[-1].address
    around = [
        other.instructions[0].address
        for other in code.loops
        if other is not loop
        and other.instructions[0].address <= first
        and last <= other.instructions[-1].address
    ]
    return max(around, default=-1)


def adds_up(section: Section) -> bool:
    """Whether a register is added to that has its number from the turn before."""
    written: set[int] = set()
    carried: set[int] = set()
    for one in section.instructions:
        read, found = _read(one), _written(one)
        if one.name in _ADDS:
            carried |= read - written
            if found & carried:
                return True
        written |= found
    return False


def loads_under_way(instructions: Iterable[Instruction]) -> int:
    """The most loads whose number nobody has asked for yet; loads come back in their order."""
    most, waiting = 0, list[set[int]]()
    for one in instructions:
        read = _read(one)
        came = [number for number, registers in enumerate(waiting) if registers & read]
        waiting = waiting[came[-1] + 1 :] if came else waiting
        if one.name == "LDG":
            waiting.append(_written(one))
            most = max(most, len(waiting))
    return most


def _operands(one: Instruction) -> tuple[str, str]:
    """What it writes, and what it reads."""
    if one.name.startswith(("ST", "RED", "BRA", "BAR")):
        return "", one.operands
    first, _, others = one.operands.partition(",")
    return first, others


def _read(one: Instruction) -> set[int]:
    return {int(number) for number in _REGISTER.findall(_operands(one)[1])}


def _written(one: Instruction) -> set[int]:
    found = _REGISTER.search(_operands(one)[0])
    wide = 4 if ".128" in one.opcode else 2 if ".64" in one.opcode or one.opcode == "CS2R" else 1
    return set(range(int(found[1]), int(found[1]) + wide)) if found else set()


def wrong_with_loads(kernel: str, code: MachineCode, architecture: int = 90) -> list[str]:
    """What keeps the sums of a kernel waiting."""
    found, wrong = adding_loops(code), []
    for number, one in enumerate(found):
        beside = [*found[max(number - 1, 0) : number], *found[number + 1 : number + 2]]
        if any(one.is_rest_of(other) for other in beside):
            continue
        if one.loads < AT_ONCE and not any(other.is_rest_of(one) for other in beside):
            wrong.append(f"a loop of sums is not unrolled: {one.loads} loads in a turn")
        elif one.under_way < LEAST and architecture < ORDERS_ANEW:
            wrong.append(f"loads of a loop of sums wait for each other: {one.loads} in a turn")
    if code.count(*_COUNTS_BLOCKS) and not found:
        wrong.append("its last block goes on, and no loop that adds up parts is found")
    return wrong if architecture >= ORDERS_ANEW else wrong + _too_few(kernel, code, found)


def _too_few(kernel: str, code: MachineCode, found: tuple[AddingLoop, ...]) -> list[str]:
    """What `OF_KERNELS` says, of each kernel that shares the launch."""
    wrong, under_way = [], sorted((one.under_way for one in found), reverse=True)
    for name in re.findall(rf"(?:^|_and_)({'|'.join(OF_KERNELS)})(?=[<_])", kernel):
        least = OF_KERNELS[name] if name != "matmul" or code.count(*_COUNTS_BLOCKS) else ()
        enough = [most >= one for most, one in zip(under_way, least, strict=False)]
        if len(enough) < len(least) or not all(enough):
            wrong.append(f"{name}: loads under way in its loops {under_way}, at least {[*least]}")
    return wrong
