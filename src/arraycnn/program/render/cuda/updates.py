"""What follows the gradient of a direct convolution, the last one of a step, in its kernel: what
needs nothing of it runs on blocks beside its own, what does in the last block, after its sums."""

from __future__ import annotations

from dataclasses import replace

from arraycnn.ops.conv2d.cuda_direct import suits
from arraycnn.program.passes.loops import Step
from arraycnn.program.passes.schedule import Schedule, depend
from arraycnn.program.render.cuda.grouping import SMALL, Group, points


def with_updates(found: list[Group], schedule: Schedule) -> list[Group]:
    """The same groups, where gradients have taken in the loops that follow them."""
    joined: list[Group] = []
    for group in found:
        before = joined[-1] if joined else Group()
        if _may_take(before, group, schedule):
            joined[-1] = replace(before, ending=group)
        else:
            joined.append(group)
    return joined


def updates(before: Group, schedule: Schedule) -> Group:
    """The loops of ``before.ending``: those beside the gradient, and those that follow it."""
    group = before.ending
    assert group is not None
    late = [step for step in group.beside if _comes_after(step, before, schedule)]
    beside = [step for step in group.beside if step not in late]
    return Group(beside=beside, following=[*late, *group.following])


def _may_take(before: Group, group: Group, schedule: Schedule) -> bool:
    head = before.alone
    if head is None or head.head is None or head.head.op != "conv2d_max_pool2d_backward":
        return False
    x, weight = head.head.operands[:2]
    window, _, pool, need_dx = head.head.attrs
    if need_dx or not suits(x.shape, weight.shape, window, pool):
        return False
    # Sums of others, which wait for what reads them, need all multiprocessors.
    if any(_leaves_parts(step) for step in schedule.steps if step is not head):
        return False
    if group.alone is not None or group.rows or not group.loops:
        return False
    taken = updates(replace(before, ending=group), schedule)
    return all(points(step) <= SMALL for step in taken.following)


def _leaves_parts(step: Step) -> bool:
    op = "" if step.head is None else step.head.op
    return op.startswith("conv2d") and op.endswith("_backward")


def _comes_after(step: Step, before: Group, schedule: Schedule) -> bool:
    """Whether a loop needs what the gradient makes, or writes what that reads."""
    earlier = [one for one in (before.alone, before.prologue) if one is not None]
    return any(depend(step, one, schedule) for one in earlier)
