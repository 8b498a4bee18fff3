"""Loss and accuracy over batches."""

from collections.abc import Callable, Iterable
from typing import Any

from arraycnn.errors import InvalidValueError
from arraycnn.execution import InferencePlan
from arraycnn.losses import Loss
from arraycnn.ops import Array
from arraycnn.training.history import Metrics
from arraycnn.training.step import CROSS_ENTROPY


def mean_metrics(
    plan: InferencePlan,
    batches: Iterable[tuple[Array, Array]],
    asarray: Callable[[Any], Array],
    loss: Loss = CROSS_ENTROPY,
) -> Metrics:
    """Means over the images of all ``batches``, which ``asarray`` places where the plan runs.

    Raises InvalidValueError where there is no batch.
    """
    count, loss_sum, measured = 0, 0.0, 0
    for x, y in batches:
        of_batch, some = plan.evaluate(asarray(x), asarray(y))
        count, loss_sum, measured = count + x.shape[0], loss_sum + of_batch, measured + some
    if count == 0:
        message = "evaluate: must have at least one image, got no batch; check the iterable"
        raise InvalidValueError(message)
    if isinstance(measured, int):
        return Metrics(loss_sum / count, measured / count)
    found = loss.metrics(measured, count)
    return Metrics(loss_sum / count, found.pop("accuracy", None), found)
