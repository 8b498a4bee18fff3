"""This library, by the plans that `Model.fit` and `Model.predict` use."""

import time

import numpy as np

from nets import NETS, SEED, Order, model_of, optimizer

OURS = {"arraycnn fast": True, "arraycnn numpy": False}
"""Our peers: whether the kernels are the compiled ones."""


ENGINES = {"arraycnn torch": "torch", "arraycnn jax": "jax"}
"""Ours on the arrays of another library: its backend's name."""


def our_backend(name, threads):
    from arraycnn import NumPy, get_backend

    if name in OURS:
        return NumPy(threads=threads, fast=OURS[name])
    if name == "arraycnn torch":  # XLA takes the cores of the process
        import torch

        torch.set_num_threads(threads)
    return get_backend(ENGINES[name])


def peer(name, threads, net, batch, images, labels):
    backend = our_backend(name, threads)
    task, carry = _task(backend, net, images, labels)
    plan = backend.training_plan(task, carry)
    inference = backend.inference_plan(task.network, carry.params, carry.state, "float32")
    order = Order(len(images), batch)

    def step(count):
        first = order.done
        losses, _ = plan.run(first, order.take(count), np.full(count, NETS[net].rate))
        return float(losses[-1])

    return step, lambda pixels: inference.predict(backend.asarray(pixels))


def trace_seconds(name, threads, net, batch, images, labels):
    """How long it takes to trace and plan a training step anew; None where it is not traced."""
    from arraycnn.execution import RecordedTraining
    from arraycnn.program.passes.schedule import scheduled
    from arraycnn.program.passes.simplify import simplified
    from arraycnn.program.steps import named, training_program

    backend = our_backend(name, threads)
    task, carry = _task(backend, net, images, labels)
    plan = backend.training_plan(task, carry)
    parts = plan, *vars(plan).values()  # a plan may hold BLAS at one thread around another one
    if not any(isinstance(part, RecordedTraining) for part in parts):
        return None
    began = time.perf_counter()
    # Not by `training_schedule`, which knows a step that it has planned before.
    program = training_program(
        *(task.network, task.optimizer, carry, images, batch, task.dtype), gather=True
    )
    scheduled(simplified(program), {name: name for name in named(carry)})
    return time.perf_counter() - began


def _task(backend, net, images, labels):
    from arraycnn.execution import Task
    from arraycnn.training.step import Carry
    from arraycnn.tree import map_leaves

    model = model_of(net, backend)
    rule = optimizer(net)
    params, state = model.trees
    place = backend.asarray
    moments = map_leaves(lambda leaf: place(np.asarray(leaf, "float32")), rule.init(params))
    data = place(images), place(labels)
    task = Task(model.network, rule, *data, SEED, "float32", loss=model.loss)
    return task, Carry(params, state, moments)
