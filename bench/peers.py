"""The peers of bench/cpu.py: the same networks, data, optimizer and precision in each library.

Each peer is a function (net, batch size, images, labels) -> (step, predict): ``step(k)`` runs k
training steps (gather the batch from the uint8 data set, rescale, forward, loss, backward, plain
SGD) and returns the last loss; ``predict(images)`` returns logits or probabilities on the host for
uint8 images. All begin with the same parameters and see the same batches.
"""

import numpy as np

from contenders import jax_forward, jax_step, torch_module
from nets import LEARNING_RATE, SEED, initial_parameters, network


class Order:
    """The batches of one step after another, epoch after epoch in the same order."""

    def __init__(self, images, batch):
        permutation = np.random.default_rng(SEED).permutation(images).astype(np.int32)
        self._batches = permutation[: images // batch * batch].reshape(-1, batch)
        self.done = 0

    def take(self, count):
        """The indices of the next ``count`` steps, each (batch,) int32."""
        first, self.done = self.done, self.done + count
        return [self._batches[step % len(self._batches)] for step in range(first, self.done)]


OURS = {"arraycnn fast": True, "arraycnn numpy": False}
"""Our peers: whether the kernels are those that numba compiled."""


def our_backend(peer, threads):
    from arraycnn import NumPy

    return NumPy(threads=threads, fast=OURS[peer])


def arraycnn_peer(peer, threads):
    def build(net, batch, images, labels):
        import arraycnn as cnn
        from arraycnn.execution import Task
        from arraycnn.training import Carry

        backend = our_backend(peer, threads)
        model = cnn.Model(network(net), images.shape[1:], backend=backend, seed=SEED)
        optimizer = cnn.SGD(LEARNING_RATE)
        params, state = model.trees
        carry = Carry(params, state, optimizer.init(params))
        task = Task(network(net), optimizer, images, labels, SEED, "float32")
        plan = backend.training_plan(task, carry)
        inference = backend.inference_plan(task.network, carry.params, carry.state, "float32")
        order = Order(len(images), batch)

        def step(count):
            first = order.done
            losses, _ = plan.run(first, order.take(count), np.full(count, LEARNING_RATE))
            return float(losses[-1])

        return step, inference.predict

    return build


def torch_peer(threads, channels_last=False, compiled=False):
    def build(net, batch, images, labels):
        import torch
        from torch.nn import functional

        torch.set_num_threads(threads)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        module = torch_module(torch, net, initial_parameters(net)).to(memory_format=layout)
        optimizer = torch.optim.SGD(module.parameters(), LEARNING_RATE)
        forward = torch.compile(module) if compiled else module
        data = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        target = torch.from_numpy(labels.astype(np.int64))
        order = Order(len(images), batch)

        def rescaled(x):
            return (x.float() / 255.0 - 0.5).contiguous(memory_format=layout)

        def step(count):
            for batch in order.take(count):
                indices = torch.from_numpy(batch)
                optimizer.zero_grad()
                x = rescaled(data.index_select(0, indices))
                loss = functional.cross_entropy(forward(x), target.index_select(0, indices))
                loss.backward()
                optimizer.step()
            return loss.item()

        @torch.inference_mode()
        def predict(x):
            return forward(rescaled(torch.from_numpy(x.transpose(0, 3, 1, 2)))).numpy()

        return step, predict

    return build


def jax_peer(net, batch, images, labels):
    import jax

    forward = jax_forward(jax, net, "fp32")
    update, infer = jax.jit(jax_step(jax, forward)), jax.jit(forward)
    params = [[jax.numpy.asarray(array) for array in pair] for pair in initial_parameters(net)]
    data, target = jax.numpy.asarray(images), jax.numpy.asarray(labels)
    order = Order(len(images), batch)

    def step(count):
        nonlocal params
        for indices in order.take(count):
            params, loss = update(params, data, target, indices)
        return float(loss)

    return step, lambda x: np.asarray(infer(params, x))


def peers(threads):
    """Every peer by name."""
    return {
        **{peer: arraycnn_peer(peer, threads) for peer in OURS},
        "torch eager": torch_peer(threads),
        "torch channels_last": torch_peer(threads, channels_last=True),
        "torch compile": torch_peer(threads, compiled=True),
        "jax jit": jax_peer,
    }
