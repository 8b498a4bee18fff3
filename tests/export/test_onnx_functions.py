"""What a user's layer may be made of, exported: onnxruntime against NumPy, for batches of 1 and 4."""

from functools import partial

import numpy as np
import pytest

from arraycnn import Conv2d, MeanSquaredError, Model, Sequential
from arraycnn.export import to_onnx
from arraycnn.ops import GENERIC, array_namespace
from onnx_cases import FUNCTIONS, KERNELS, MOVES, PATTERNS, REDUCTIONS, SHAPE, TRAPS, Calling, Of
from optional import Late, needs

pytestmark = needs("onnx", "onnxruntime")
runtime = Late("onnxruntime")


def exported(layer, behind_images):
    """The graph of ``layer``; ``behind_images`` after a convolution that changes nothing."""
    layers = [Conv2d(3, 1, bias=False)] if behind_images else []
    model = Model(Sequential(*layers, layer), SHAPE, loss=MeanSquaredError())
    if layers:
        model.assign({"0.weight": np.eye(3, dtype=np.float32)[None, None]}, {})
    return to_onnx(model)


def by_numpy(function):
    return lambda x: function(array_namespace(x), x)


def agrees(made, function):
    session = runtime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    for count in (1, 4):
        x = np.random.default_rng(count).normal(size=(count, *SHAPE)).astype(np.float32)
        with np.errstate(all="ignore"):
            expected = function(x)
        (found,) = session.run(None, {"images": x})
        assert (found.shape, found.dtype) == (expected.shape, np.float32)
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_the_standard(name):
    agrees(exported(Of(FUNCTIONS[name]), behind_images=False), by_numpy(FUNCTIONS[name]))


@pytest.mark.parametrize("name", [*REDUCTIONS, *MOVES, "a table", "numbers of several ranks"])
def test_the_same_on_what_lies_channels_first(name):
    agrees(exported(Of(FUNCTIONS[name]), behind_images=True), by_numpy(FUNCTIONS[name]))


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_that_a_layer_asks_for(name):
    agrees(exported(Calling(KERNELS[name]), behind_images=False), partial(KERNELS[name], GENERIC))


@pytest.mark.parametrize("name", PATTERNS)
def test_what_is_one_operation_is_found_and_nothing_else_is(name):
    made, trap = (exported(Of(table[name]), behind_images=True) for table in (PATTERNS, TRAPS))
    own = [node.op_type for node in made.graph.node if node.name.startswith("1/")]
    assert [kind for kind in own if kind != "Transpose"] == [name]
    agrees(made, by_numpy(PATTERNS[name]))
    assert name not in [node.op_type for node in trap.graph.node]
    agrees(trap, by_numpy(TRAPS[name]))
