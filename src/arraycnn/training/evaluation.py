"""Loss and accuracy over batches."""

from collections.abc import Callable, Iterable
from typing import Any

from arraycnn.distributed.turns import EVERY, Turn
from arraycnn.errors import InvalidValueError
from arraycnn.execution import InferencePlan
from arraycnn.losses import Loss
from arraycnn.ops import Array
from arraycnn.training.history import Metrics
from arraycnn.training.step import CROSS_ENTROPY


def mean_metrics(
    plan: InferencePlan,
    batches: Iterable[tuple[int, Array, Array]],
    asarray: Callable[[Any], Array],
    loss: Loss = CROSS_ENTROPY,
    turn: Turn = EVERY,
) -> Metrics:
    """Means over the images of all batches, which ``asarray`` places where the plan runs.

    ``batches`` are (number, images, labels); of several processes each has those of its ``turn``.

    Raises InvalidValueError where there is no batch.
    """
    count, loss_sum = 0, 0.0
    measured: Any = 0
    own = [(n, (x.shape[0], *plan.evaluate(asarray(x), asarray(y)))) for n, x, y in batches]
    for images, of_batch, some in turn.together(own):  # in order, so that every bit is the same
        count, loss_sum, measured = count + images, loss_sum + of_batch, measured + some
    if count == 0:
        message = "evaluate: must have at least one image, got no batch; check the iterable"
        raise InvalidValueError(message)
    if isinstance(measured, int):
        return Metrics(loss_sum / count, measured / count)
    found = loss.metrics(measured, count)
    return Metrics(loss_sum / count, found.pop("accuracy", None), found)
