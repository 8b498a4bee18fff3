"""Remedies of trainings on several ranks."""

import numpy as np

import arraycnn as cnn
from arraycnn.distributed.threads import OnThreads, on_threads
from remedies.following import Here, follows


def _fit(rank: object, batch_size: int, block: int = 4, **more) -> None:
    model = cnn.Model(cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(10)), (8, 8))
    shared = OnThreads(more.pop("deterministic", False), block, joined=rank)
    images = np.arange(12 * 64, dtype=np.uint8).reshape(12, 8, 8)
    model.fit(images, np.arange(12) % 10, batch_size=batch_size, distributed=shared, **more)


@follows(
    "distributed/agreement.py", "begin all with one command, on the same files and environment"
)
def ranks_that_differ(here: Here) -> None:
    with here.refused():
        on_threads(2, lambda rank: _fit(rank, 8 + rank.rank))
    on_threads(2, lambda rank: _fit(rank, 8))


@follows(
    "distributed/parts.py", "use batches of at least {} images, or smaller blocks, MPI(block=...)"
)
def batches_with_too_few_blocks(here: Here) -> None:
    with here.refused():
        on_threads(3, lambda rank: _fit(rank, 8))
    on_threads(3, lambda rank: _fit(rank, (3 - 1) * 4 + 1))
    on_threads(3, lambda rank: _fit(rank, 8, block=2))


@follows("model/accumulating.py", "leave it out")
def blocks_in_parts(here: Here) -> None:
    with here.refused():
        on_threads(2, lambda rank: _fit(rank, 8, deterministic=True, accumulate=2))
    on_threads(2, lambda rank: _fit(rank, 8, deterministic=True))
