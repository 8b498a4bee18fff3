"""Loss and accuracy over batches."""

from collections.abc import Callable, Iterable
from typing import Any

from arraycnn.errors import InvalidValueError
from arraycnn.execution import InferencePlan
from arraycnn.history import Metrics
from arraycnn.ops import Array


def mean_metrics(
    plan: InferencePlan, batches: Iterable[tuple[Array, Array]], asarray: Callable[[Any], Array]
) -> Metrics:
    """Means over the images of all ``batches``, which ``asarray`` places where the plan runs.

    Raises InvalidValueError where there is no batch.
    """
    count, loss_sum, correct = 0, 0.0, 0
    for x, y in batches:
        loss, hits = plan.evaluate(asarray(x), asarray(y))
        count, loss_sum, correct = count + x.shape[0], loss_sum + loss, correct + hits
    if count == 0:
        message = "evaluate: must have at least one image, got no batch; check the iterable"
        raise InvalidValueError(message)
    return Metrics(loss_sum / count, correct / count)
