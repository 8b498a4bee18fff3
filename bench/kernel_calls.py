"""The kernels written by hand that a training step calls, with what they are given."""

import dataclasses
import math

import numpy as np

from nets import LEARNING_RATE, NETS, SEED, network


def calls_of_step(machine, net, batch, precision):
    """(name, arguments, keywords, result, kernel) of each head of the step's program, by itself.

    Each is given arrays of its own, of the shapes that it has in the step, and rounded in memory where
    it has such; loops are not among them.
    """
    import arraycnn as cnn
    from arraycnn.program.compose import training_schedule
    from arraycnn.program.nodes import ROUNDED, memory_dtype
    from arraycnn.program.passes.buffers import base
    from arraycnn.program.render.arrays import head_result
    from arraycnn.program.render.cuda.heads import stored_as
    from arraycnn.program.render.cuda.launches import stored_for
    from arraycnn.training.step import Carry
    from arraycnn.tree import map_leaves

    calls, kernels = [], machine.record(precision)

    def noted(name, function):
        def call(*arguments, **keywords):
            plain = tuple(kernels if a is ops else a for a in arguments)
            result = function(*plain, **keywords)
            calls.append((name, plain, keywords, result, function))
            return result

        return call

    ops = dataclasses.replace(
        kernels,
        **{
            field.name: noted(field.name, getattr(kernels, field.name))
            for field in dataclasses.fields(kernels)
            if getattr(kernels, field.name) is not None
        },
    )
    rng, layers, optimizer = np.random.default_rng(SEED), network(net), cnn.SGD(LEARNING_RATE)
    params, state, _ = layers.init(rng, NETS[net].image_shape)
    trees = (params, state, optimizer.init(params))
    carry = Carry(*(map_leaves(lambda leaf: leaf.astype("float32"), tree) for tree in trees))
    images = np.zeros((batch, *NETS[net].image_shape), np.uint8)

    def some(node):
        if node.dtype in ROUNDED:  # the upper bits of float32, whatever these are
            bits = rng.normal(size=node.shape).astype(np.float32).view(np.uint32) & 0xFFFFE000
            dtype = memory_dtype(node.dtype)
            return machine.place((bits >> 8 * (4 - dtype.itemsize)).astype(dtype))
        if node.dtype.kind == "f":
            return machine.place(rng.normal(size=node.shape).astype(node.dtype))
        return machine.place(np.zeros(node.shape, node.dtype))  # the first of a window won

    schedule = training_schedule(layers, optimizer, carry, images, batch, "float32")
    schedule = stored_for(precision, schedule)
    for step in schedule.steps:
        if step.head is not None and not step.is_call:
            given = {base(node): some(base(node)) for node in step.head.operands}
            head_result(step.head, ops, given, **stored_as(step))
    return calls


def arrays_in(value):
    """The arrays in nested tuples, lists and dicts."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [array for part in value for array in arrays_in(part)]
    return [value] if hasattr(value, "nbytes") and hasattr(value, "shape") else []


def flop_of(name, arguments):
    """Of the products in a kernel: twice the multiplications."""
    if not name.startswith(("conv2d", "dense", "matmul")):
        return 0
    values = arrays_in(arguments)
    x, weight = values[0], values[1]
    if name.startswith("conv2d"):
        window = next(a for a in arguments if hasattr(a, "output_shape"))
        pixels = x.shape[0] * math.prod(window.output_shape(*x.shape[1:3]))
        forward = 2 * pixels * math.prod(weight.shape)
    else:
        forward = 2 * x.shape[0] * math.prod(weight.shape)
    if not name.endswith("_backward"):
        return forward
    needs_dx = [a for a in arguments if isinstance(a, bool)][-1]
    sparse = 4 if "max_pool" in name else 1  # one winner of four
    return forward * (1 + needs_dx) // sparse
