"""Which layer was at work, by the traceback of an error and of what it came from."""

from dataclasses import dataclass

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.execution.at_work import layer_at_work


@dataclass(frozen=True)
class Failing:
    """A layer that cannot be run."""

    error: type[Exception]

    def init(self, rng, input_shape):
        return {}, {}, input_shape

    def forward(self, params, state, x, context):
        raise self.error("of mine")

    def backward(self, params, residuals, dy, context, need_dx):
        raise NotImplementedError


@pytest.mark.parametrize("error", [KeyError, ValueError])
@pytest.mark.parametrize("inside", [False, True])
def test_the_innermost_layer_is_named(inside, error):
    """Of a ValueError `Sequential` makes another one, with the position: its frames see no layer."""
    layer = cnn.Sequential(cnn.Dense(4), Failing(error)) if inside else Failing(error)
    model = cnn.Model(cnn.Sequential(cnn.Flatten(), layer), (3, 2, 1), backend=cnn.NumPy())
    with pytest.raises(error, match="of mine") as caught:
        model.predict(np.zeros((4, 3, 2, 1), np.float32))
    path = ("1", "1") if inside else ("1",)
    assert layer_at_work(caught.value) == (path, f"layer {'.'.join(path)}, Failing")


def test_no_layer_was_at_work():
    with pytest.raises(ZeroDivisionError) as caught:
        1 / 0  # noqa: B018
    assert layer_at_work(caught.value) == (None, None)
