"""Sums of parts in the kernel of the loops that read them: what follows a sum point by point, as the
update of a weight follows its gradient, is done to each number as soon as it is summed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace

from arraycnn.program.access import dense
from arraycnn.program.nodes import Node
from arraycnn.program.passes.loops import Root, Step
from arraycnn.program.passes.schedule import Schedule, depend
from arraycnn.program.render.cuda.grouping import SMALL, Group, points
from arraycnn.program.render.cuda.walk import Walk, walked


@dataclass(frozen=True, eq=False, kw_only=True)
class SumRoot(Root):
    """A sum of parts, and perhaps a loop over its points that reads it as ``target``.

    Attributes
    ----------
    after : Walk or None
        Of that loop.
    kept : bool
        Whether the sum itself is left in memory, too.
    """

    after: Walk | None = None
    kept: bool = True


def sum_of(node: Node, parts: Node) -> Step:
    """The loop that adds up ``parts`` along its first axis."""
    return Step(roots=[SumRoot(node, parts, "sum", (0,))], reads={parts}, writes=[node])


def followed(total: Step, step: Step, kept: bool, schedule: Schedule) -> Step:
    """``total``, a sum of parts, and ``step`` at each of its points."""
    (root,) = total.roots
    after = walked(step.roots, set(schedule.held) - step.recomputed, wide=False)
    both = SumRoot(root.target, root.value, root.op, root.axes, after=after, kept=kept)
    writes = [*step.writes, *([root.target] if kept else [])]
    return Step(roots=[both], reads=total.reads | step.reads - {root.target}, writes=writes)


def may_follow(step: Step, node: Node, others: Set[Node], schedule: Schedule) -> bool:
    """Whether ``step`` reads of ``node`` its own point only, and nothing of ``others``."""
    if step.head is not None or step.reads & others or 0 in node.shape:
        return False
    if any(root.op != "write" or root.index is not None for root in step.roots):
        return False
    if step.roots[0].space != node.shape:
        return False
    walk = walked(step.roots, set(schedule.held) - step.recomputed, wide=False)
    reads = [one for one in walk.instructions if one.buffer is node]
    return not walk.is_wide and all(
        one.op == "load" and one.access == dense(node.shape) for one in reads
    )


def with_sums(
    group: Group,
    totals: Mapping[Node, Step],
    is_kept: Callable[[Node], bool],
    schedule: Schedule,
) -> Group | None:
    """The loops of ``group``, and before them the sums that they read; None where one kernel cannot
    do both.

    Parameters
    ----------
    totals : dict of Node to Step
        What adds up each node.
    is_kept : function
        Whether others than loops of the group need the sum of a node.
    """
    beside, following, sums = list(group.beside), [*group.rows, *group.following], []
    for node, total in totals.items():
        readers = [step for step in group.loops if node in step.reads]
        one = next(
            (step for step in readers if _follows(step, node, group, totals, schedule)), None
        )
        if one is None:
            sums.append(total)
            continue
        (beside if one in beside else following).remove(one)
        sums.append(followed(total, one, len(readers) > 1 or is_kept(node), schedule))
    # What else reads a sum comes after all of them.
    late = [step for step in beside if step.reads & set(totals)]
    if any(points(step) > SMALL for step in (*late, *following)):
        return None
    beside = [*sums, *(step for step in beside if step not in late)]
    return replace(group, beside=beside, rows=[], following=[*late, *following])


def _follows(
    step: Step, node: Node, group: Group, totals: Mapping[Node, Step], schedule: Schedule
) -> bool:
    if not may_follow(step, node, set(totals) - {node}, schedule):
        return False
    # Beside the others it runs before all that follow.
    before = group.beside if step in group.beside else group.loops[: group.loops.index(step)]
    return not any(depend(step, other, schedule) for other in before if other is not step)
