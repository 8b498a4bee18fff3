"""What a contender of bench/gpu.py must have computed, before it is timed.

Losses of the first steps are compared with NumPy's, and the parameters after an epoch of so few
images that NumPy has it at once. How far a parameter is from NumPy's is measured against how far
NumPy's has moved: of one that is never updated it is 1, in every precision, however close the losses.
"""

import json

import numpy as np

from gpu_cells import TOLERANCES
from nets import LEARNING_RATE, NETS, SEED, batches, network

CHECKED_STEPS = 5
"""Of an epoch; an epoch of the gate has no more."""


def checked_steps(net):
    """Fewer where batches are normalised: that amplifies rounding from step to step."""
    return 2 if has_norms(NETS[net].layers) else CHECKED_STEPS


def has_norms(layers):
    return any(
        kind == "norm" or (kind == "residual" and has_norms(settings[0]))
        for kind, *settings in layers
    )


FARTHEST = {"fp32": 0.02, "tf32": 0.15, "bf16": 0.5}
"""Of a parameter from NumPy's, in parts of its way."""


def inputs(folder, net, count):
    """(images, labels, parameters) as every contender has them."""
    with np.load(folder / f"{net}.npz") as arrays:
        return arrays["images"][:count], arrays["labels"][:count], _pairs(arrays)


def _pairs(arrays):
    return [
        [arrays[f"{layer} {part}"] for part in range(2) if f"{layer} {part}" in arrays]
        for layer in range(int(arrays["layers"]))
    ]


def named(parameters):
    """``parameters`` as a file has them."""
    found = {
        f"{layer} {part}": array
        for layer, pair in enumerate(parameters)
        for part, array in enumerate(pair)
    }
    return found | {"layers": len(parameters)}


def strayed(learned, expected, first, precision):
    """How far the parameters are from the expected ones, in parts of the way that these have moved.

    Of all arrays the one that is farthest; in bfloat16 the median, since in a deep network single
    ones stray. Arrays that hardly move (a hundredth of the others' way) are rounding alone.
    """
    ways = [np.linalg.norm(e - f) / np.sqrt(e.size) for e, f in zip(expected, first, strict=True)]
    found = []
    for array, wanted, way in zip(learned, expected, ways, strict=True):
        if not np.isfinite(array).all():
            return float("inf")
        if way > 0.01 * max(ways):
            found.append(np.linalg.norm(array - wanted) / np.sqrt(wanted.size) / way)
    return float(np.median(found) if precision == "bf16" else max(found))


def check(build, folder, net, batch, precision, device):
    """Train a contender for an epoch of the gate; what is wrong with it, or None."""
    images, labels, first = inputs(folder, net, checked_steps(net) * batch)
    trained = build(net, batch, images, labels, first, precision, device)
    losses = trained.epochs(1)[0][1]
    with np.load(_file(folder, net, batch)) as arrays:
        expected, wanted = _pairs(arrays), arrays["losses"].tolist()
    wrong = disagreement([float(loss) for loss in losses], wanted, precision)
    distance = strayed(trained.learned(), *map(trained.laid_out, (expected, first)), precision)
    if wrong is None and not distance <= FARTHEST[precision]:
        wrong = f"a parameter is {distance:.2g} of its way from NumPy's after an epoch"
    return wrong


def _file(folder, net, batch):
    return folder / f"gate {net} {batch}.npz"


def write_gate(folder, net, batch):
    """Have NumPy's losses and parameters after an epoch of the gate in a file."""
    path = _file(folder, net, batch)
    if not path.exists():
        losses, params = _by_numpy(folder, net, checked_steps(net) * batch, batch)
        np.savez(path, losses=losses, **named(params))


def reference_losses(folder, net, images, batch):
    """The losses of the first steps of the first epoch, by NumPy."""
    path = folder / f"losses {net} {images} {batch}.json"
    if not path.exists():
        path.write_text(json.dumps(_by_numpy(folder, net, images, batch)[0].tolist()))
    return json.loads(path.read_text())


def _by_numpy(folder, net, images, batch):
    """(losses, parameters) of the first steps of the first epoch."""
    import arraycnn as cnn
    from arraycnn.execution import Task
    from arraycnn.training.step import Carry
    from arraycnn.tree import flatten

    given, labels, first = inputs(folder, net, images)
    model = cnn.Model(network(net), NETS[net].image_shape, seed=SEED)
    optimizer = cnn.SGD(LEARNING_RATE)
    params, state = model.trees
    carry = Carry(params, state, optimizer.init(params))
    task = Task(model.network, optimizer, given, labels, SEED, "float32")
    order = list(batches(images, batch, 0)[: checked_steps(net)])
    plan = cnn.NumPy(fast=False).training_plan(task, carry)
    losses, _ = plan.run(0, order, np.full(len(order), LEARNING_RATE))
    learned = iter(flatten(plan.snapshot().params).values())
    return np.asarray(losses), [[np.array(next(learned)) for _ in pair] for pair in first]


def disagreement(losses, expected, precision):
    """In which of the ``expected`` steps a loss is not that of NumPy, or None."""
    for step, (loss, wanted) in enumerate(zip(losses, expected, strict=False)):
        if not abs(loss - wanted) <= TOLERANCES[precision] * abs(wanted):
            return f"the loss of step {step} is {loss:.6g}, NumPy's is {wanted:.6g}"
    return None
