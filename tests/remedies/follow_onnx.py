"""Remedies of layers that ONNX cannot hold."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import arraycnn as cnn
from onnx_cases import SHAPE, Of, floats, ints
from remedies.following import Here, follows


def _export(function: Callable[[Any, Any], Any], loss: cnn.Loss | None = None) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    from arraycnn.export import to_onnx

    to_onnx(cnn.Model(cnn.Sequential(Of(function)), SHAPE, loss=loss or cnn.MeanSquaredError()))


@follows("export/onnx/__init__.py", "compute with functions of arrays, the same each time")
def a_layer_that_counts(here: Here) -> None:
    calls = itertools.count(1)
    with here.refused():
        _export(lambda xp, x: x * float(next(calls)))
    _export(lambda xp, x: x * 2.0)


class _MeanOfAll(cnn.MeanSquaredError):
    def predictions(self, ops: Any, outputs: Any) -> Any:
        return cnn.layers.Flatten().forward({}, {}, outputs, None)[0][0]


@follows("export/onnx/__init__.py", "keep the first axis of the outputs")
def a_loss_that_predicts_once(here: Here) -> None:
    with here.refused():
        _export(lambda xp, x: x, _MeanOfAll())
    _export(lambda xp, x: x, cnn.MeanSquaredError())


@follows("export/onnx/batch.py", "leave the size of the batch out of its numbers and its slices")
def a_layer_that_sees_how_many_images_there_are(here: Here) -> None:
    with here.refused():
        _export(lambda xp, x: x * float(x.shape[0] ** 2))
    _export(lambda xp, x: x * float(x.shape[1] ** 2))


@follows("export/onnx/render.py", "write the layer with others, of float32 where that serves")
def a_layer_of_bits(here: Here) -> None:
    with here.refused():
        _export(lambda xp, x: floats(xp, xp.bitwise_left_shift(ints(xp, x), 1)))
    _export(lambda xp, x: floats(xp, ints(xp, x) * 2))
    _export(lambda xp, x: np.float32(2.0).item() * xp.floor(x))
