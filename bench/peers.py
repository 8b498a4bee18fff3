"""The peers of bench/cpu.py: the same networks, data, optimizer and precision in each library.

Each peer is a function (net, batch size, images, labels) -> (step, predict): ``step(k)`` runs k
training steps (gather the batch from the uint8 data set, rescale, forward, loss, backward, the
network's optimizer) and returns the last loss; ``predict(images)`` returns logits or probabilities on
the host for uint8 images. All begin with the same parameters and see the same batches.
"""

from functools import partial

import peer_arraycnn
import peer_jax
import peer_tensorflow
import peer_tinygrad
import peer_torch
from peer_arraycnn import ENGINES, OURS


def peers(threads):
    """Every peer by name."""
    return {
        **{name: partial(peer_arraycnn.peer, name, threads) for name in (*OURS, *ENGINES)},
        "torch eager": partial(peer_torch.peer, threads),
        "torch channels_last": partial(peer_torch.peer, threads, channels_last=True),
        "torch compile": partial(peer_torch.peer, threads, compiled=True),
        "jax jit": peer_jax.peer,
        "tensorflow": partial(peer_tensorflow.peer, threads),
        "tinygrad": partial(peer_tinygrad.peer, threads),
    }


LIBRARIES = {
    "arraycnn fast": "arraycnn.execution.compiled",
    "arraycnn numpy": "arraycnn.execution.numpy",
    "arraycnn torch": "torch",
    "arraycnn jax": "jax.numpy",
    "torch eager": "torch",
    "torch channels_last": "torch",
    "torch compile": "torch",
    "jax jit": "jax.numpy",
    "tensorflow": "tensorflow",
    "tinygrad": "tinygrad",
}
"""The module whose import loads what a peer computes with."""

OPTIONAL = ("tensorflow", "tinygrad")
"""Peers that no extra installs: they are measured where they are asked for."""
