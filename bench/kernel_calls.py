"""The kernels that a training step calls, with what they are given."""

import dataclasses
import math

import numpy as np

from nets import LEARNING_RATE, NETS, SEED, network


def calls_of_step(machine, net, batch, precision):
    """(name, arguments, keywords, result, kernel) of each kernel that a training step calls."""
    import arraycnn as cnn
    from arraycnn.execution.fusion import Chain, fuse_network
    from arraycnn.layers.layer import Context
    from arraycnn.training.step import loss_and_gradients
    from arraycnn.tree import map_leaves

    calls, depth = [], 0

    def noted(name, function):
        def call(*arguments, **keywords):
            nonlocal depth
            depth += 1
            result = function(*arguments, **keywords)
            depth -= 1
            if depth == 0:  # what a kernel calls in turn is part of it
                plain = tuple(kernels if a is ops else a for a in arguments)
                calls.append((name, plain, keywords, result, function))
            return result

        return call

    kernels = machine.record(precision)
    ops = dataclasses.replace(
        kernels,
        **{
            field.name: noted(field.name, getattr(kernels, field.name))
            for field in dataclasses.fields(kernels)
            if getattr(kernels, field.name) is not None
        },
    )
    rng = np.random.default_rng(SEED)
    model = fuse_network(network(net), ops)
    params, state, _ = network(net).init(rng, NETS[net].image_shape)
    params = map_leaves(lambda leaf: machine.place(leaf.astype("float32")), params)
    pixels = rng.integers(0, 256, (4 * batch, *NETS[net].image_shape), dtype=np.uint8)
    chosen = machine.place(rng.permutation(4 * batch)[:batch].astype(np.int32))
    labels = machine.place(rng.integers(0, 10, batch).astype(np.int32))
    if kernels.gather_rescale is None:
        images = ops.gather(machine.place(pixels), chosen)
    else:  # as the plan does it
        model = Chain(model.layers[1:])
        images = ops.gather_rescale(machine.place(pixels), chosen, "float32")
    optimizer = cnn.SGD(LEARNING_RATE)
    context = Context(ops, "train", "float32")
    _, _, gradients, _ = loss_and_gradients(model, params, state, images, labels, context)
    rate = machine.place(np.array(LEARNING_RATE, np.float32))
    optimizer.update(ops, params, gradients, optimizer.init(params), rate)
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
    if name == "dense_cross_entropy":
        return 3 * forward
    if not name.endswith("_backward"):
        return forward
    needs_dx = [a for a in arguments if isinstance(a, bool)][-1]
    sparse = 4 if "max_pool" in name else 1  # one winner of four
    return forward * (1 + needs_dx) // sparse
