"""What a contender of bench/gpu.py must have computed, before it is timed.

Losses of the first steps are compared with NumPy's, and the parameters after an epoch of so few
images that NumPy has it at once. How far a parameter is from NumPy's is measured against how far
NumPy's has moved, its way: of one that is never updated it is 1, in every precision, however close
the losses. And of its way each must have gone its share, along it: 1, where rounding leads aside; at
half the learning rate, 1/2. Then a second epoch must move each again.

The limits are some three times what rounding was seen to do in PyTorch, JAX and compiled NumPy, in
batches of 4 to 64: float32 against NumPy's and against float64; tf32 with each operand of a product
rounded to 10 bits; bfloat16 as these libraries have it, where twice is what there is room for.
Rounding turns ReLUs whose input is near zero on and off, so that a gradient's error grows with the
depth and as the root of what is rounded, and where batches are normalised from step to step:
ResNet-20 in float32 is 0.016 of its way away after one step, 0.08 after two and 0.3 after three, by
when NumPy's own float32 is as far from float64.
"""

import json
from dataclasses import dataclass, field

import numpy as np

from gpu_cells import TOLERANCES
from nets import LEARNING_RATE, NETS, SEED, batches, network

CHECKED_STEPS = 5
"""Of an epoch; an epoch of the gate has no more."""


@dataclass(frozen=True)
class Gate:
    """What is compared of a network.

    Attributes
    ----------
    steps : int
        Of an epoch of the gate, after which parameters are compared.
    losses : int
        Steps of a measured epoch whose losses are compared.
    farthest : dict
        Of a parameter from NumPy's, in parts of its way, for each precision.
    """

    steps: int = CHECKED_STEPS
    losses: int = CHECKED_STEPS
    farthest: dict = field(default_factory=lambda: {"fp32": 0.02, "tf32": 0.15, "bf16": 0.5})


GATES = {
    "norm": Gate(2, 2),
    # Seen after a step: 0.016 and 0.24, and 0.4 in the median of bfloat16.
    "resnet20": Gate(1, 2, {"fp32": 0.05, "tf32": 0.5, "bf16": 0.6}),
}
"""Of networks that normalise batches; any other has `Gate()`."""

OFF_SHARE = {"fp32": 0.04, "tf32": 0.25, "bf16": 0.4}
"""How far from 1 a share may be: 0.002, 0.1 and 0.27 were seen. Less than of a layer without gradient
and of half the learning rate, and twice."""

STANDS_STILL = 0.01
"""Of its way in the first epoch: a parameter that goes less in the second is not updated there."""


def gate_of(net):
    return GATES.get(net, Gate())


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


def fault(learned, expected, first, net, precision):
    """What is wrong with parameters that were to move from ``first`` to ``expected``, or None.

    In bfloat16 few numbers that are each a sum of many, of either sign, stray: of distances the median
    counts, and of the shares of vectors the best nine tenths. Of kernels each counts.
    """
    if not all(np.isfinite(array).all() for array in learned):
        return "a parameter is not finite after an epoch"
    moving = _moving(expected, first)
    ways = [expected[i].astype(float) - first[i] for i in moving]
    gone = [learned[i].astype(float) - first[i] for i in moving]
    distances = [_length(g - w) / _length(w) for g, w in zip(gone, ways, strict=True)]
    distance = np.median(distances) if precision == "bf16" else max(distances)
    if not distance <= gate_of(net).farthest[precision]:
        return f"a parameter is {distance:.2g} of its way from NumPy's after an epoch"
    shares = [np.vdot(g, w) / np.vdot(w, w) for g, w in zip(gone, ways, strict=True)]
    kernels, vectors = [], []
    for share, way in zip(shares, ways, strict=True):
        (kernels if way.ndim > 1 else vectors).append(share)
    vectors.sort(key=lambda share: abs(share - 1))
    if precision == "bf16":
        vectors = vectors[: int(np.ceil(0.9 * len(vectors)))]
    share = max(kernels + vectors, key=lambda share: abs(share - 1))
    if not abs(share - 1) <= OFF_SHARE[precision]:
        return f"a parameter has gone {share:.2g} of its way after an epoch"
    return None


def _moving(expected, first):
    """The places of arrays that move: what is a hundredth of the others' way is rounding alone."""
    ways = [_length(e - f) / np.sqrt(e.size) for e, f in zip(expected, first, strict=True)]
    return [place for place, way in enumerate(ways) if way > 0.01 * max(ways)]


def _length(array):
    return float(np.linalg.norm(array))


def check(build, folder, net, batch, precision, device):
    """Train a contender for two epochs of the gate; what is wrong with it, or None."""
    images, labels, first = inputs(folder, net, gate_of(net).steps * batch)
    trained = build(net, batch, images, labels, first, precision, device)
    losses = trained.epochs(1)[0][1]
    with np.load(_file(folder, net, batch)) as arrays:
        expected, wanted = _pairs(arrays), arrays["losses"].tolist()
    learned = [np.array(array) for array in trained.learned()]
    ways = [trained.laid_out(expected), trained.laid_out(first)]
    wrong = disagreement([float(loss) for loss in losses], wanted, precision)
    wrong = wrong or fault(learned, *ways, net, precision)
    if wrong is None:
        trained.epochs(1)
        wrong = _at_rest(trained.learned(), learned, *ways)
    return wrong


def _at_rest(learned, before, expected, first):
    """What is wrong with parameters that are where they were ``before`` a second epoch, or None."""
    for i in _moving(expected, first):
        if not _length(learned[i] - before[i]) > STANDS_STILL * _length(expected[i] - first[i]):
            return "a parameter stands still in a second epoch"
    return None


def _file(folder, net, batch):
    return folder / f"gate {net} {batch}.npz"


def write_gate(folder, net, batch):
    """Have NumPy's losses and parameters after an epoch of the gate in a file."""
    path = _file(folder, net, batch)
    if not path.exists():
        losses, params = _by_numpy(folder, net, gate_of(net).steps * batch, batch)
        fresh = path.with_suffix(".tmp.npz")  # who is ended in the middle of it leaves no half file
        np.savez(fresh, losses=losses, **named(params))
        fresh.replace(path)


def reference_losses(folder, net, images, batch):
    """The losses of the first steps of the first epoch, by NumPy."""
    path = folder / f"losses {net} {images} {batch}.json"
    if not path.exists():
        fresh = path.with_suffix(".tmp")
        fresh.write_text(json.dumps(_by_numpy(folder, net, images, batch)[0].tolist()))
        fresh.replace(path)
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
    order = list(batches(images, batch, 0)[: gate_of(net).losses])
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
