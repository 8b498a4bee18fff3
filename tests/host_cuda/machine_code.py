"""The instructions of a kernel on a device, as nvdisasm lists them: its loops, and what they cost.

    code = machine_code("matmul", "matmul<Mma<Tf32, 128, 64, 64, 32>, Form<true, 4>, Form<false, 4>>")
    len(code.main_loop), code.main_loop.count("HMMA"), code.count("LDL", "STL")

It needs no device, but the packages nvidia-cuda-nvrtc and nvidia-cuda-nvdisasm. What was
listed is kept on disk, as what was compiled is (`device_code.compiled`).
"""

import hashlib
import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path

from host_cuda.build import cache_folder
from host_cuda.device_code import Compiled, compiled, keep

_PACKAGE = "nvidia-cuda-nvdisasm"
_LABEL = re.compile(r"^(\S+):$")
_INSTRUCTION = re.compile(
    r"^\s*/\*([0-9a-f]{4,})\*/\s+(?:(@!?U?P\w+)\s+)?([A-Z][\w.]*)\s*(.*?)\s*;"
)
_TARGET = re.compile(r"`\(([^)]+)\)")


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes
    ----------
    address : int, in bytes from the start of the kernel
    predicate : str, such as "@!P0", or ""
    opcode : str, such as "HMMA.1688.F32.TF32"
    operands : str, as listed
    target : int or None
        Where a branch goes.
    callee : int or None
        Where a call goes.
    """

    address: int
    predicate: str
    opcode: str
    operands: str
    target: int | None
    callee: int | None = None

    @cached_property
    def name(self) -> str:
        """The opcode without what it is of: "HMMA"."""
        return self.opcode.split(".")[0]

    @property
    def leaves(self) -> bool:
        """Whether what follows is never next: there is no condition, before it or in it."""
        asked = self.predicate or not (self.operands.startswith("`(") or self.name != "BRA")
        return not asked and self.name in ("BRA", "EXIT", "RET")


class Section:
    """Instructions that follow one another.

    Attributes
    ----------
    instructions : tuple of Instruction
    """

    def __init__(self, instructions: Iterable[Instruction]) -> None:
        self.instructions = tuple(instructions)

    def __len__(self) -> int:
        return len(self.instructions)

    def count(self, *names: str) -> int:
        """How many instructions have such a name: "LDG" counts LDG.E.128, too, but not LDGSTS."""
        return sum(self._by_name[name] for name in names)

    @cached_property
    def _by_name(self) -> Counter[str]:
        return Counter(one.name for one in self.instructions)

    @property
    def products(self) -> int:
        """Instructions of tensor cores."""
        return self.count("HMMA", "DMMA", "IMMA", "HGMMA")

    @property
    def fused(self) -> int:
        """Fused multiplications and additions, one a thread."""
        return self.count("FFMA", "DFMA")

    @property
    def local(self) -> int:
        """Loads and stores of a thread's own memory: what registers do not hold."""
        return self.count("LDL", "STL")

    @property
    def barriers(self) -> int:
        """Barriers of a block."""
        return self.count("BAR")


class Loop(Section):
    """From where a branch goes back to, to that branch.

    Attributes
    ----------
    own : Section
        Its instructions without those of loops that it holds.
    """

    def __init__(self, instructions: Iterable[Instruction], inner: set[int]) -> None:
        super().__init__(instructions)
        self.own = Section(one for one in self.instructions if one.address not in inner)

    @cached_property
    def path(self) -> Section:
        """One turn where there is work for all: the way that multiplies most, else copies most.

        Of ways that do the same the shortest, and once through each loop that it holds: what
        stands beside is for the edges of a matrix. An instruction whose predicate is false counts:
        it, too, is issued.
        """
        places = {one.address: number for number, one in enumerate(self.instructions)}
        best: list[tuple[tuple[int, ...], int] | None] = [None] * len(self)  # score, from where
        best[0] = _score(self.instructions[0], (0, 0, 0, 0)), -1
        for number, one in enumerate(self.instructions):
            if best[number] is None:
                continue
            after = [] if one.leaves or number + 1 == len(self) else [number + 1]
            if one.target is not None and one.target > one.address and one.target in places:
                after.append(places[one.target])
            for following in after:
                score = _score(self.instructions[following], best[number][0])
                if best[following] is None or score > best[following][0]:
                    best[following] = score, number
        way, number = [], len(self) - 1
        while number >= 0:
            way.append(self.instructions[number])
            number = best[number][1]
        return Section(reversed(way))


def _score(one: Instruction, before: tuple[int, ...]) -> tuple[int, ...]:
    added = Section([one])
    copied = added.count("LDGSTS", "LDG")
    return tuple(map(sum, zip(before, (added.products, added.fused, copied, -1), strict=True)))


class MachineCode(Section):
    """A kernel's instructions, in the order in which they lie.

    Attributes
    ----------
    loops : tuple of Loop
        Outer loops before those they hold.
    """

    def __init__(self, instructions: Iterable[Instruction]) -> None:
        super().__init__(instructions)
        ends: dict[int, int] = {}  # the last branch back to each place
        for one in self.instructions:
            # A branch to itself is what lies behind the end of a kernel.
            if one.target is not None and one.target < one.address:
                ends[one.target] = one.address
        spans = sorted(ends.items())
        self.loops = tuple(self._loop(span, spans) for span in spans)

    @property
    def main_loop(self) -> Loop | None:
        """The loop that multiplies most, besides loops in it: on tensor cores, else by itself.

        Where none multiplies, the longest.
        """
        loops = self.loops
        return max(loops, key=lambda loop: _weight(loop.own)) if loops else None

    def _loop(self, span: tuple[int, int], spans: list[tuple[int, int]]) -> Loop:
        start, end = span
        held = [(a, b) for a, b in spans if start <= a and b <= end and (a, b) != span]
        mine = [one for one in self.instructions if start <= one.address <= end]
        inner = {one.address for one in mine if any(a <= one.address <= b for a, b in held)}
        return Loop(mine, inner)


def _weight(section: Section) -> tuple[int, int, int]:
    return section.products, section.fused, len(section)


@cache
def machine_code(file: str, kernel: str, architecture: int = 90) -> MachineCode:
    """The machine code of ``kernel`` of ``file``.cu, or of a text that was `generated`."""
    return _listed(compiled(file, kernel, architecture))


def _listed(kernel: Compiled) -> MachineCode:
    program, version = nvdisasm()
    key = hashlib.sha256(kernel.cubin.read_bytes() + version.encode()).hexdigest()[:32]
    path = cache_folder() / f"{key}.sass"
    if not path.exists():
        command = (str(program), "--print-code", "--no-dataflow", str(kernel.cubin))
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        keep(path, done.stdout.encode())
    return read(path.read_text(), kernel.name)


def read(listing: str, name: str) -> MachineCode:
    """The machine code of one kernel, by its name in the file, in what nvdisasm prints."""
    rows, places, waiting = [], {}, []
    # From its label to the next section: a file has all its kernels that are no templates.
    _, _, mine = listing.partition(f"\n{name}:\n")
    for line in mine.partition("\n//-----")[0].splitlines():
        if label := _LABEL.match(line):
            waiting.append(label[1])
        elif found := _INSTRUCTION.match(line):
            address = int(found[1], 16)
            places |= dict.fromkeys(waiting, address)
            waiting = []
            rows.append((address, *found.groups(default="")[1:]))
    if not rows:
        message = f"no instruction of {name} in a listing that begins with {listing[:80]!r}"
        raise ValueError(message)
    return MachineCode(
        Instruction(*row, _place("BRA", *row, places), _place("CALL", *row, places)) for row in rows
    )


def _place(
    name: str, _address: int, _predicate: str, opcode: str, operands: str, places: dict[str, int]
) -> int | None:
    """Where an instruction of that name goes."""
    label = _TARGET.search(operands) if opcode.startswith(name) else None
    return places[label[1]] if label else None


@cache
def nvdisasm() -> tuple[Path, str]:
    """The program, and its version."""
    try:
        files = metadata.files(_PACKAGE) or []
    except metadata.PackageNotFoundError:
        raise RuntimeError(f"{_PACKAGE} is missing: pip install -e '.[cuda-test]'") from None
    path = next(Path(file.locate()) for file in files if file.name == "nvdisasm")
    return path, metadata.version(_PACKAGE)
