"""Trainings of several ranks in one process, for the tests beside."""

import numpy as np

import arraycnn as cnn
from arraycnn.distributed.threads import OnThreads, on_threads

RNG = np.random.default_rng(4)
IMAGES = RNG.integers(0, 256, (45, 8, 8, 1), dtype=np.uint8)
LABELS = RNG.integers(0, 3, 45)
PLAIN = cnn.NumPy(threads=1, fast=False)


def network(*first: cnn.Layer) -> cnn.Sequential:
    """Random bits, batch norm and whatever comes ``first``."""
    body = cnn.Conv2d(3, 3), cnn.BatchNorm(), cnn.ReLU(), cnn.MaxPool2d(2), cnn.Flatten()
    return cnn.Sequential(*first, cnn.Rescale(), *body, cnn.Dropout(0.2), cnn.Dense(3))


def trained(
    communicator=None,
    *first,
    backend=PLAIN,
    images=IMAGES,
    labels=LABELS,
    deterministic=False,
    batch_size=20,
    block=4,
    epochs=2,
    optimizer=None,
    dtype="float64",
    of=None,
    **settings,
):
    """A model after `fit` on this rank, or on one process, and its history."""
    distributed = None
    if communicator is not None:
        distributed = OnThreads(deterministic, block, joined=communicator)
    model = cnn.Model(of or network(*first), (8, 8), backend=backend, dtype=dtype)
    history = model.fit(
        *(images, labels),
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer or cnn.SGD(0.05, momentum=0.9),
        distributed=distributed,
        **settings,
    )
    return model, history


def on_ranks(size, *first, **settings):
    """`trained` on ``size`` ranks: (model, history) of each."""
    return on_threads(size, lambda rank: trained(rank, *first, **settings))


def numbers(model) -> np.ndarray:
    """All parameters and states of a model, in one."""
    arrays = {**model.parameters, **{f"state {k}": v for k, v in model.state.items()}}
    return np.concatenate([array.ravel() for array in arrays.values()])
