"""Sums over ranks in a program: in one order on all ranks, and begun before the rest of backward."""

from itertools import pairwise

import numpy as np

import arraycnn as cnn
from arraycnn.distributed.parts import Cut
from arraycnn.distributed.shares import Share
from arraycnn.distributed.sums import HostSums
from arraycnn.distributed.threads import on_threads
from arraycnn.program import collectives
from arraycnn.program.collectives import SumCall, traced_whole
from arraycnn.program.compose import training_schedule
from arraycnn.program.steps import Form
from arraycnn.training.step import Carry, Objective
from ranks import network


def schedule_of(sums, images, rank=0, accumulate=1):
    share = Share(Cut(4, 2, accumulate), rank, sums)
    net = network()
    params, state, _ = net.init(np.random.default_rng(0), (8, 8, 1))
    optimizer = cnn.SGD(0.1)
    part = share.part(images)
    trees = Carry(params, state, optimizer.init(params))
    form = Form((part.size, 8, 8, 1), np.dtype("uint8"))
    whole = traced_whole(share, part)
    return training_schedule(
        *(net, optimizer, trees, form, part.size, "float64"),
        whole_batch=whole,
        objective=Objective(accumulate=accumulate),
    )


def calls(schedule):
    """(position among the steps, kind, number) of the sums."""
    found = []
    for place, step in enumerate(schedule.steps):
        if step.is_call and isinstance(step.head.attrs[0], SumCall):
            found.append((place, step.head.attrs[0].kind, step.head.attrs[0].number))
    return found


def test_small_sums_are_one_call_each(monkeypatch):
    sums = object()
    kinds = [kind for _, kind, _ in calls(schedule_of(sums, 20))]
    # Batch norm's mean, variance and backward, and the end of the step.
    assert kinds == ["total"] * 4


def test_gradients_of_parts_are_added_up_before_they_are_summed():
    schedule = schedule_of(object(), 20, accumulate=2)
    sizes = [
        [int(np.prod(shape)) for shape in step.head.attrs[0].shapes]
        for step in schedule.steps
        if step.is_call and isinstance(step.head.attrs[0], SumCall)
    ]
    norm = [[3], [3], [3, 3]]
    # Parameters, the loss and what is correct: once.
    assert sizes[:-1] == norm * 2
    assert sum(sizes[-1]) == 9 * 3 + 3 + 6 + 27 * 3 + 3 + 2
    whole = schedule_of(object(), 2000).peak_bytes
    assert schedule_of(object(), 2000, accumulate=4).peak_bytes < 0.3 * whole


def test_buckets_are_begun_while_backward_runs(monkeypatch):
    monkeypatch.setattr(collectives, "BUCKET", 400)
    schedule = schedule_of(object(), 20)
    found = calls(schedule)
    begun = [place for place, kind, _ in found if kind == "begin"]
    ended = [place for place, kind, _ in found if kind == "end"]
    assert len(begun) == len(ended) >= 2
    assert max(begun) < min(ended)
    assert [n for _, kind, n in found if kind == "begin"] == sorted(
        n for _, kind, n in found if kind == "end"
    )
    # The gradient of the convolution, the first layer, is made after the first bucket was begun.
    heads = {
        step.head.op: place
        for place, step in enumerate(schedule.steps)
        if step.head is not None and not step.is_call
    }
    (last_gradient,) = [at for op, at in heads.items() if op.startswith("conv2d_") and "back" in op]
    assert begun[0] < last_gradient < min(ended)
    # The dense layer's is ready, and begun, before the sums of batch norm's backward pass.
    assert begun[0] < [place for place, kind, _ in found if kind == "total"][-1]
    # Nothing that a step changes is changed before the last call.
    carried = set(schedule.carried)
    outputs = {schedule.program.outputs[name] for name in carried}
    written_in_place = {node for node in outputs if node in schedule.memory_of}
    for place, step in enumerate(schedule.steps):
        if written_in_place & set(step.writes):
            assert place > max(ended)


def test_no_bucket_is_larger_than_it_should_be(monkeypatch):
    monkeypatch.setattr(collectives, "BUCKET", 700)
    for step in schedule_of(object(), 20).steps:
        call = step.head.attrs[0] if step.is_call else None
        if isinstance(call, SumCall) and call.kind == "begin":
            sizes = [8 * int(np.prod(shape)) for shape in call.shapes]
            assert sum(sizes) <= 700 or len(sizes) == 1


def test_calls_come_in_the_same_order_for_parts_of_any_size(monkeypatch):
    monkeypatch.setattr(collectives, "BUCKET", 400)
    orders = [
        [(kind, number) for _, kind, number in calls(schedule_of(object(), images, rank))]
        for images, rank in ((20, 0), (20, 1), (5, 0), (4, 1), (2000, 0))
    ]
    assert all(order == orders[0] for order in orders)


def test_every_call_takes_a_result_of_the_one_before(monkeypatch):
    monkeypatch.setattr(collectives, "BUCKET", 400)
    program = schedule_of(object(), 20).program
    opaque = [node for node in program.nodes if node.kind == "opaque"]
    for before, after in pairwise(opaque):
        assert any(o.op == "part" and o.inputs[0] is before for o in after.operands)
    program.check()


def test_schedules_of_equal_programs_are_kept():
    def work(rank):
        sums = HostSums(rank)
        return schedule_of(sums, 20) is schedule_of(sums, 20)

    assert on_threads(2, work) == [True, True]
