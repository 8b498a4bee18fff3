"""Exported files give the classes' names in the order of the outputs, which need not be any other."""

import json

import pytest

import arraycnn as cnn
from arraycnn.export import to_onnx

NAMES = ("wren", "crow", "duck")


def test_onnx_has_the_names_in_the_order_of_the_outputs():
    pytest.importorskip("onnx", reason="onnx is not installed")
    network = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(3))
    model = to_onnx(cnn.Model(network, (4, 4), class_names=NAMES))
    (found,) = (prop.value for prop in model.metadata_props if prop.key == "class_names")
    assert tuple(json.loads(found)) == NAMES
