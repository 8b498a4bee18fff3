"""A loop of a program as C++ in the body of a kernel."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from arraycnn.program.nodes import Node
from arraycnn.program.render.cuda.lines import EACH_LANE, Lines
from arraycnn.program.render.cuda.moments import MomentsRoot
from arraycnn.program.render.cuda.parameters import Parameters, Parts
from arraycnn.program.render.cuda.pointwise import c_type
from arraycnn.program.render.cuda.sums import SumRoot
from arraycnn.program.render.cuda.walk import Walk, at_least

_OPERATIONS = {
    "sum": "Sum", "prod": "Prod", "max": "Max", "min": "Min",
    "argmax": "ArgMax", "argmin": "ArgMin", "any": "Any", "all": "All",
    "moments": "Moments",
}  # fmt: skip


@dataclass(frozen=True)
class Reduced:
    """A reduction of a loop.

    Attributes
    ----------
    root : int
    operation : str
        The C++ type, as in pointwise.cuh.
    """

    root: int
    operation: str


def reductions_of(walk: Walk) -> list[Reduced]:
    found = []
    for number in walk.reductions:
        root, value = walk.roots[number], walk.instructions[walk.numbers[number]]
        name = _OPERATIONS[root.op]
        typed = name if name in ("Any", "All") else f"{name}<{c_type(value.dtype)}>"
        found.append(Reduced(number, typed))
    return found


def parts_of(walk: Walk, threads: int) -> dict[int, Parts]:
    """What blocks of so many threads leave of each reduction, by its root."""
    if not walk.reductions:
        return {}
    splits = walk.splits(threads)[0]
    size = 0 if splits == 1 else splits * walk.kept_points * _STATE_BYTES
    return {number: Parts(size) for number in walk.reductions}


class LoopText:
    """Writes one loop, as the body of a function of (thread, block, blocks, shared).

    Parameters
    ----------
    walk : Walk
    written : set of Node
        As of `Parameters`.
    threads : int
        Of a block.
    parts : dict of int to Parts
        As `parts_of` gives them.

    Attributes
    ----------
    parameters : Parameters
        What the function takes besides.
    """

    def __init__(
        self, walk: Walk, written: Set[Node], threads: int, parts: Mapping[int, Parts]
    ) -> None:
        self._walk, self._threads = walk, threads
        self.parameters = Parameters(written)
        self._lines = Lines(walk, self.parameters)
        self._reduced = reductions_of(walk)
        self._splits: str | None = None
        self._parts = parts

    def shared_sizes(self) -> list[str]:
        """Bytes of shared memory that the loop needs, as C++: the most of these."""
        lanes = 1 if self._walk.last_is_reduced else self._walk.lanes
        count = self._threads * lanes
        return [f"{count} * sizeof({one.operation}::State)" for one in self._reduced]

    def shared_bytes(self) -> int:
        """No less than these."""
        lanes = 1 if self._walk.last_is_reduced else self._walk.lanes
        return self._threads * lanes * _STATE_BYTES if self._reduced else 0

    def on_grid(self) -> list[str]:
        """The share of ``block`` among the ``blocks`` that work on the loop."""
        walk, whole = self._walk, self.parameters.whole
        if not self._reduced:
            blocks = "(Index)blocks"
            return self._writing(f"(Index)block * {self._at_once}", blocks, self._all_rows())
        splits, per = walk.splits(self._threads)
        tiles, share = whole(walk.tiles(self._threads)), whole(per)
        self._splits = whole(splits)
        return [
            f"const Index tile = (Index)(block % {tiles}), split = (Index)(block / {tiles});",
            f"const Index first = split * (Index){share};",
            *self._reducing("first", f"first + (Index){share}"),
        ]

    def in_rows(self) -> list[str]:
        """What is to be done with the rows of ``block``."""
        walk, whole = self._walk, self.parameters.whole
        if walk.first_is_reduced:
            splits, per = walk.splits(self._threads)
            self._splits, share = whole(splits), whole(per)
            lines = [f"const Index split = (Index)block, first = split * (Index){share};"]
            return [*lines, *self._tiles("first", f"first + (Index){share}")]
        share, kept = whole(walk.kept_at_once), whole(walk.kept_units)
        lines = [
            f"const Index begin = (Index)block * (Index){share};",
            f"const Index end = smaller(begin + (Index){share}, (Index){kept});",
        ]
        if not self._reduced:
            columns = walk.columns(self._threads)
            return [*lines, *self._writing(f"begin / {columns}", "1", f"end / {columns}")]
        return [*lines, *self._tiles("0", "units", "begin", "end")]

    def in_block(self) -> list[str]:
        """All of the loop by the threads of one block."""
        if not self._reduced:
            return self._writing("0", "1", self._all_rows())
        return self._tiles("0", "units")

    def combining(self) -> list[str]:
        """What the blocks of `on_grid` have left, added up by one of them."""
        walk, whole = self._walk, self.parameters.whole
        kept, splits = whole(walk.kept_points), whole(walk.splits(self._threads)[0])
        lanes = 1 if walk.last_is_reduced else walk.lanes
        # Of few numbers, many threads share the parts of each.
        across = min(walk.across(self._threads) * lanes, self._threads, at_least(walk.kept_points))
        lines = [f"if ({splits} == 1) return;"]
        for one in self._reduced:
            state = f"{one.operation}::State"
            lines += [
                f"combine<{one.operation}, {self._threads}, {across}>(",
                f"    {self.parameters.parts(state, self._parts[one.root])}, {kept}, {splits},",
                f"    reinterpret_cast<{state}*>(shared),",
                f"    [&](long long place, {state} total) {{ {self._keep(one, 'total')} }});",
            ]
        return lines

    @property
    def _at_once(self) -> int:
        """Rows of a loop that only writes of which a block writes all columns at once."""
        return self._threads // self._walk.columns(self._threads)

    def _all_rows(self) -> str:
        rows = self._walk.kept_units // self._walk.columns(self._threads)
        return f"(Index){self.parameters.whole(rows)}"

    def _writing(self, begin: str, blocks: str, end: str) -> list[str]:
        """Of a loop that only writes, the rows from ``begin`` on that one of ``blocks`` takes."""
        walk, threads = self._walk, self._threads
        columns = walk.columns(threads)
        lines = [f"constexpr int LANES = {walk.lanes};"]
        if columns == 1:
            row, axes = "thread", walk.kept
        else:  # what depends on the column alone is the same for all rows of a thread
            row, axes = f"thread / {columns}", walk.kept[:-1]
            lines.append(f"const Index column = thread % {columns};")
            lines += self._lines.indices("column", walk.kept[-1:], "k")
        first, step = f"{begin} + {row}", f"{blocks} * {self._at_once}"
        return [
            *lines,
            f"for (Index row = {first}; row < {end}; row += {step}) {{",
            *self._lines.indices("row", axes, "i"),
            *self._lines.values(),
            *self._lines.writes(),
            "}",
        ]

    def _tiles(self, first: str, last: str, begin: str = "", end: str = "") -> list[str]:
        """One tile after the other, of all that are kept or of the units from ``begin`` to ``end``."""
        tiles = self.parameters.whole(self._walk.tiles(self._threads))
        return [
            f"for (Index tile = 0; tile < (Index){tiles}; ++tile) {{",
            *self._reducing(first, last, begin, end),
            "}",
        ]

    def _reducing(self, first: str, last: str, begin: str = "", end: str = "") -> list[str]:
        """One tile of kept points."""
        walk, across = self._walk, self._walk.across(self._threads)
        ranks, along = self._threads // across, self._walk.last_is_reduced
        kept = end or f"(Index){self.parameters.whole(walk.kept_units)}"
        place = "thread / RANKS" if along else "thread % ACROSS"
        unit = f"{begin or 0} + tile * ACROSS + {place}"
        units = self.parameters.whole(walk.reduced_units)
        lines = [
            f"constexpr int LANES = {walk.lanes}, ACROSS = {across}, RANKS = {ranks};",
            f"const int rank = {'thread % RANKS' if along else 'thread / ACROSS'};",
            f"const Index units = (Index){units}, last = smaller(({last}), units);",
            f"const Index unit = {unit};",
            f"const bool works = unit < {kept};",
        ]
        for one in self._reduced:
            state = f"s{one.root}"
            lines.append(f"{one.operation}::State {state}[LANES];")
            lines.append(f"{EACH_LANE} {state}[l] = {one.operation}::start();")
        lines += ["if (works) {", *self._lines.indices("unit", walk.kept, "i")]
        lines += [
            "#pragma unroll 4",
            f"for (Index row = ({first}) + rank; row < last; row += RANKS) {{",
            *self._lines.indices("row", walk.reduced, "j"),
            *self._lines.values(),
            *self._lines.writes(),
        ]
        place = f"(long long)row{' * LANES + l' if along else ''}"
        for one in self._reduced:
            value = self._lines.of(walk.numbers[one.root])
            lines.append(f"{EACH_LANE} {one.operation}::add(s{one.root}[l], {value}, {place});")
        lines += ["}", "}"]
        for one in self._reduced:
            lines += self._left(one)
        return lines

    def _left(self, one: Reduced) -> list[str]:
        """What the threads of a tile have found, as one state for each kept point, and kept."""
        along, name, operation = self._walk.last_is_reduced, f"s{one.root}", one.operation
        lines = []
        if along:
            first = f"t{one.root}"
            merged = f"{operation}::merged({first}[0], {name}[l])"
            lines.append(f"{operation}::State {first}[1] = {{{name}[0]}};")
            lines.append(f"for (int l = 1; l < LANES; ++l) {first}[0] = {merged};")
            name = first
        shape = f"{self._threads}, RANKS, {'1, 1' if along else 'ACROSS, LANES'}"
        lines.append(
            f"reduce_over_threads<{operation}, {shape}>({name}, "
            f"reinterpret_cast<{operation}::State*>(shared), thread, rank);"
        )
        keep = self._keep(one, f"{name}[l]")
        if self._splits is not None:
            points = self.parameters.whole(self._walk.kept_points)
            parts = self.parameters.parts(f"{operation}::State", self._parts[one.root])
            part = f"({parts})[split * {points} + place] = {name}[l];"
            keep = f"if ({self._splits} > 1) {part} else {{ {keep} }}"
        lanes, place = ("1", "unit") if along else ("LANES", "unit * LANES + l")
        return [
            *lines,
            "if (rank == 0 && works) {",
            f"for (int l = 0; l < {lanes}; ++l) {{ const long long place = {place}; {keep} }}",
            "}",
        ]

    def _keep(self, one: Reduced, state: str) -> str:
        """The statements that write what is reduced of one kept point, ``place``."""
        root = self._walk.roots[one.root]
        kind = c_type(root.target.dtype)
        if isinstance(root, SumRoot) and root.after is not None:
            total = f"({kind}){one.operation}::result({state})"
            return self._followed(root, root.after, kind, total)
        target = self.parameters.buffer(root.target)
        if isinstance(root, MomentsRoot):
            squares = self.parameters.buffer(root.squares)
            total = f"({state}).mean * ({state}).count"
            return f"{target}[place] = {total}; {squares}[place] = ({state}).squares;"
        return f"{target}[place] = ({kind}){one.operation}::result({state});"

    def _followed(self, root: SumRoot, after: Walk, kind: str, total: str) -> str:
        """The statements of the loop after a sum, at ``place``."""
        lines = Lines(after, self.parameters, {root.target: "total_"})
        written = [f"{self.parameters.buffer(root.target)}[place] = total_;"] if root.kept else []
        return "\n".join(
            [
                f"const {kind} total_ = {total};",
                "const Index place_ = (Index)place;",
                *lines.indices("place_", after.kept, "e"),
                *(*lines.values(), *lines.writes(), *written),
            ]
        )


_STATE_BYTES = 32
"""Room for the state of any reduction."""
