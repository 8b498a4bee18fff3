"""One thread of a kernel, run instruction by instruction for the sake of how many it executes.

    run = executed(code, Launch(grid, block, parameters), block=(3, 0, 0), thread=(0, 0, 0))
    run.issued, run.turns, run.count("HMMA")

Known are the numbers that a launch is given, and what whole-number instructions make of them
(`machine_values.py`): enough to follow loops and guards. What lies in memory is not known: where that
would be needed (`Executed.unsure`) a loop is left, and a part that is skipped or not is run.
"""

import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from host_cuda.machine_code import Instruction, MachineCode
from host_cuda.machine_operands import State
from host_cuda.machine_values import decoded, registers

PARAMETERS = 0x210
"""Where a kernel's parameters begin in constant memory on sm_90; before them, its grid and block."""
MOST = 20_000_000
REGISTERS = 512
LOADS = ("LDG", "LD", "ATOM", "ATOMG")


@dataclass(frozen=True)
class Launch:
    """What a kernel is started with.

    ``parameters``: an int for a pointer or a long long, a float for a float, a tuple of such for a
    struct.
    """

    grid: tuple[int, ...]
    block: tuple[int, ...]
    parameters: tuple[int | float | tuple[int | float, ...], ...]

    def constants(self) -> bytes:
        """Bank 0 of constant memory."""
        sizes = [(*of, *(1,) * (3 - len(of))) for of in (self.block, self.grid)]
        memory = struct.pack("<6I", *sizes[0], *sizes[1]).ljust(PARAMETERS, b"\0")
        for value in self.parameters:
            members = value if isinstance(value, tuple) else [value]
            widest = max(map(_size, members))
            memory += b"\0" * (-len(memory) % widest)
            for member in members:
                memory += b"\0" * (-len(memory) % _size(member))
                memory += struct.pack("<f" if isinstance(member, float) else "<q", member)
            memory += b"\0" * (-len(memory) % widest)
        return memory


def _size(member: int | float) -> int:
    return 4 if isinstance(member, float) else 8


@dataclass(frozen=True)
class Executed:
    """What a thread has executed.

    Attributes
    ----------
    issued : int
        Instructions.
    turns : int
        How often it has waited for memory: loads that are on their way together are one turn.
        Copies to shared memory are waited for by nobody here.
    unsure : int
        Branches that hang on what is in memory.
    by_opcode : counter
    """

    issued: int
    turns: int
    unsure: int
    by_opcode: Counter[str] = field(default_factory=Counter)

    def count(self, *names: str) -> int:
        """How many had such a name: see `Section.count`."""
        return sum(n for opcode, n in self.by_opcode.items() if opcode.split(".")[0] in names)


def executed(
    code: MachineCode, launch: Launch, block: tuple[int, ...], thread: tuple[int, ...]
) -> Executed:
    """Run ``thread`` of ``block``, each of three numbers; RuntimeError where it does not end."""
    program = _program(code)
    special = {
        f"SR_{name}.{axis}": value
        for name, place in (("CTAID", block), ("TID", thread))
        for axis, value in zip("XYZ", place, strict=True)
    }
    lane = (thread[0] + launch.block[0] * sum(thread[1:2])) % 32
    state = State(launch.constants(), special | {"SR_LANEID": lane})
    entered = [0] * len(program)  # how often the run of plain instructions from each was
    arrives = [0] * REGISTERS  # in which turn each register is loaded
    turn = unsure = steps = 0
    calls: list[int] = []
    at = 0
    while at < len(program):
        step = program[at]
        entered[at] += 1
        steps += 1
        if steps > MOST:
            raise RuntimeError(f"a thread runs more than {MOST} steps: a loop without end?")
        if step.plain:
            at = step.following
            continue
        for register in step.waits:
            turn = max(turn, arrives[register])
        wanted = step.predicate(state) if step.predicate else True
        if step.action is not None and wanted is not False:
            if wanted is None:
                state.forget(step.writes)
            else:
                step.action(state)
        if step.loads:
            for register in step.writes:
                arrives[register] = turn + 1
        at = step.following
        if step.jump is not None:
            if step.condition is not None and wanted is True:
                wanted = step.condition(state)
            if wanted is None:
                unsure += 1
                # A loop without another way out is left the second time.
                wanted = step.name == "EXIT" and entered[at - 1] > 1
            if wanted and step.name == "EXIT":
                break
            if wanted and step.name == "RET":
                at = calls.pop()
            elif wanted:
                if step.name == "CALL":
                    calls.append(at)
                at = step.jump
    return _summed(code, program, entered, turn, unsure)


def _summed(
    code: MachineCode, program: list["_Step"], entered: list[int], turns: int, unsure: int
) -> Executed:
    by_opcode: Counter[str] = Counter()
    times = 0
    for at, one in enumerate(code.instructions):
        follows = at and program[at].plain and program[at - 1].plain  # in one run with that before
        times = entered[at] + (times if follows else 0)
        by_opcode[one.opcode] += times
    return Executed(sum(by_opcode.values()), turns, unsure, +by_opcode)


@dataclass(frozen=True)
class _Step:
    """An instruction as it is run.

    ``plain``: nothing is to be done for it, up to ``following``; else that is the next. ``jump``:
    where it goes otherwise. ``waits``: the registers it reads that are loaded somewhere.
    """

    name: str
    plain: bool
    predicate: Callable | None
    condition: Callable | None
    action: Callable | None
    waits: tuple[int, ...]
    writes: tuple[int, ...]
    loads: bool
    jump: int | None
    following: int


@cache
def _program(code: MachineCode) -> list[_Step]:
    places = {one.address: number for number, one in enumerate(code.instructions)}
    used = [registers(one) for one in code.instructions]
    loaded = {
        register
        for one, (_, writes) in zip(code.instructions, used, strict=True)
        if one.name in LOADS
        for register in writes
    }
    wanted = _wanted(code, used)
    steps: list[_Step] = []
    following = len(code)
    for number in reversed(range(len(code))):
        one, (reads, writes) = code.instructions[number], used[number]
        jump = _jump(one, places)
        loads, waits = one.name in LOADS, tuple(loaded.intersection(reads))
        predicate = condition = action = None
        if jump is not None or not wanted.isdisjoint(writes):
            predicate, condition, action = decoded(one, writes)
        plain = jump is None and action is None and not loads and not waits
        following = following if plain else number + 1
        parts = (predicate, condition, action, waits, writes, loads, jump)
        steps.append(_Step(one.name, plain, *parts, following))
        following = following if plain else number
    return steps[::-1]


def _jump(one: Instruction, places: dict[int, int]) -> int | None:
    to = one.target if one.target is not None else one.callee
    if to is not None:
        return places[to]
    return 0 if one.name in ("EXIT", "RET") else None


def _wanted(code: MachineCode, used: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> set[int]:
    """The registers that the way of a thread can hang on."""
    found: set[int] = set()
    for one, (reads, _) in zip(code.instructions, used, strict=True):
        if _jump(one, {one.target: 0, one.callee: 0}) is not None:
            found |= set(reads)
    before = -1
    while len(found) != before:
        before = len(found)
        for reads, writes in used:
            if not found.isdisjoint(writes):
                found |= set(reads)
    return found
