"""What a contender of bench/gpu.py must have computed, before it is timed."""

import json

from gpu_cells import TOLERANCES
from gpu_worker import CHECKED_STEPS


def reference_losses(folder, net, images, batch):
    """The losses of the first steps of the first epoch, by NumPy."""
    import numpy as np

    import arraycnn as cnn
    from arraycnn.execution import Task
    from arraycnn.training.step import Carry
    from nets import LEARNING_RATE, NETS, SEED, batches, network

    path = folder / f"losses {net} {images} {batch}.json"
    if not path.exists():
        with np.load(folder / f"{net}.npz") as arrays:
            given, labels = arrays["images"][:images], arrays["labels"][:images]
        model = cnn.Model(network(net), NETS[net].image_shape, seed=SEED)
        optimizer = cnn.SGD(LEARNING_RATE)
        params, state = model.trees
        carry = Carry(params, state, optimizer.init(params))
        task = Task(model.network, optimizer, given, labels, SEED, "float32")
        order = list(batches(images, batch, 0)[:CHECKED_STEPS])
        plan = cnn.NumPy(fast=False).training_plan(task, carry)
        losses, _ = plan.run(0, order, np.full(len(order), LEARNING_RATE))
        path.write_text(json.dumps([float(loss) for loss in losses]))
    return json.loads(path.read_text())


def disagreement(losses, expected, precision):
    """In which step a loss is not that of NumPy, or None."""
    for step, (loss, wanted) in enumerate(zip(losses, expected, strict=True)):
        if not abs(loss - wanted) <= TOLERANCES[precision] * abs(wanted):
            return f"the loss of step {step} is {loss:.6g}, NumPy's is {wanted:.6g}"
    return None
