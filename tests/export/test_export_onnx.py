"""ONNX files in onnxruntime against `Model.predict`."""

import json

import numpy as np
import pytest
from hypothesis import given, settings

import arraycnn as cnn
import program_cases
import random_networks
from arraycnn import (
    Dense,
    Flatten,
    InvalidTypeError,
    InvalidValueError,
    MeanSquaredError,
    Model,
    Rescale,
    Residual,
    Sequential,
    networks,
)
from arraycnn.export import export_onnx, to_onnx
from arraycnn.layers import LAYERS
from arraycnn.ops.arrays import at
from arraycnn.program.steps import parts
from export_cases import SMALL, Faster, images, logits, model_of
from onnx_cases import OF_A_BATCH, SHAPE, Of, floats, ints
from optional import Late, needs
from outside import RMSNorm

pytestmark = needs("onnx", "onnxruntime")
onnx, runtime = Late("onnx"), Late("onnxruntime")


def run(content, x):
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(None, {"images": x})
    return probabilities


@pytest.mark.parametrize("name", ["scratch", "basic", "lenet5"])
def test_named_networks_agree_on_real_images(name, trained_on_mnist, tmp_path):
    x, labels, trained = trained_on_mnist
    export_onnx(trained[name], tmp_path / "model.onnx")
    content = (tmp_path / "model.onnx").read_bytes()
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    ours, theirs = trained[name].predict(x), run(content, x)
    np.testing.assert_array_equal(theirs.argmax(axis=1), ours.argmax(axis=1))
    np.testing.assert_allclose(theirs, ours, rtol=0.0, atol=1e-5)
    assert (theirs.argmax(axis=1) == labels).mean() > 0.7  # it has learned something to compare


def turned(made):
    """How often the graph puts numbers in another order."""
    return sum(node.op_type == "Transpose" for node in made.graph.node)


# What differs from a smaller one in the number of its blocks alone is not exported again.
DEEPER = {"resnet34", "resnet44", "vgg13", "vgg16", "vgg13_bn"}


@pytest.mark.parametrize("name", [*sorted({*networks.NETWORKS} - DEEPER), "unet_small"])
def test_every_named_network_agrees_and_turns_its_images_once(name):
    size = {"lenet5": 16, "fast_cnn": 16, "strided_cnn": 28}.get(name, 8)
    network, shape = getattr(networks, name)(3), (size, size, 2)
    # The outputs themselves: a softmax hides much of what is wrong.
    model, x = Model(network, shape, loss=MeanSquaredError()), images(network, shape, count=3)
    made = to_onnx(model)
    found, expected = run(made.SerializeToString(), x), model.predict(x)
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-5 * np.abs(expected).max())
    assert turned(made) == (2 if name == "unet_small" else 1)


@pytest.mark.parametrize("case", SMALL)
def test_small_networks_agree(case):
    network, shape = SMALL[case]
    model, x = model_of(network, shape), images(network, shape)
    content, expected = to_onnx(model).SerializeToString(), model.predict(x)
    for count in (1, len(x)):
        found = run(content, x[:count])
        np.testing.assert_allclose(found, expected[:count], rtol=0.0, atol=1e-5)


def test_every_layer_of_the_library_is_in_one_of_the_networks():
    shown = repr([network for network, _ in SMALL.values()])
    assert [name for name in LAYERS if f"{name}(" not in shown] == []


def test_the_graph_says_what_goes_in_and_out():
    network, shape = SMALL["every layer"]
    names = [f"class {number}" for number in range(10)]
    made = to_onnx(Model(network, shape, class_names=names))
    session = runtime.InferenceSession(made.SerializeToString())
    (entry,), (output,) = session.get_inputs(), session.get_outputs()
    assert (entry.name, entry.type, entry.shape) == ("images", "tensor(uint8)", ["N", 11, 9, 2])
    assert (output.name, output.type, output.shape) == (
        "probabilities",
        "tensor(float)",
        ["N", 10],
    )
    assert json.loads(session.get_modelmeta().custom_metadata_map["class_names"]) == names
    floating = to_onnx(Model(*SMALL["valid"]))
    assert runtime.InferenceSession(floating.SerializeToString()).get_inputs()[0].type == (
        "tensor(float)"
    )


def test_weights_take_up_the_order_of_a_flattened_image(trained_on_mnist):
    _, _, trained = trained_on_mnist
    for model in trained.values():
        made = to_onnx(model)
        assert turned(made) == 0  # images of one channel lie alike either way
        assert made.graph.node[-1].op_type == "Softmax"


TURNS = {
    "a norm of groups": (cnn.GroupNorm(2), 2),
    "a norm of pixels": (cnn.LayerNorm(), 2),
    "a norm of a user": (RMSNorm(), 2),
    "nearest pixels": (cnn.Upsample2d(2), 2),
    "pixels between": (cnn.Upsample2d((1, 2), "bilinear"), 2),
    "the largest pixel": (cnn.Sequential(cnn.GlobalMaxPool2d(), cnn.Dense(3)), 1),
    "branches": (cnn.Concatenate(cnn.Identity(), cnn.Add(cnn.ReLU(), cnn.Softmax())), 2),
    "rows": (cnn.Sequential(cnn.Flatten(), cnn.ReLU(), cnn.Softmax(), cnn.Dense(3)), 1),
    "a sum at the end": (cnn.Add(cnn.Conv2d(4, 1), cnn.Conv2d(4, 1)), 2),
    "rows meet others": (cnn.Sequential(cnn.Flatten(), Residual(Dense(48)), Dense(3)), 2),
    "a norm of rows": (cnn.Sequential(cnn.Flatten(), cnn.LayerNorm(), cnn.Dense(3)), 1),
}


@pytest.mark.parametrize("name", TURNS)
def test_layers_between_convolutions_turn_nothing(name):
    layer, count = TURNS[name]
    network, shape = Sequential(cnn.Conv2d(4, 2), layer), (5, 4, 2)
    model, x = model_of(network, shape, loss=MeanSquaredError()), images(network, shape, count=3)
    made = to_onnx(model)
    assert turned(made) == count
    np.testing.assert_allclose(run(made.SerializeToString(), x), model.predict(x), atol=1e-5)


SINGLE = {
    "nearest pixels": (cnn.Upsample2d((2, 3)), "Resize"),
    "nearest pixels, twice": (
        Sequential(cnn.Upsample2d(2), cnn.Upsample2d((1, 2))),
        "Resize Resize",
    ),
    "pixels between": (cnn.Upsample2d((3, 2), "bilinear"), "Resize"),
    "pixels between, then the nearest": (
        Sequential(cnn.Upsample2d((2, 1), "bilinear"), cnn.Upsample2d((1, 2))),
        "Resize Resize",
    ),
    "all pixels": (cnn.GlobalMaxPool2d(), "GlobalMaxPool"),
    "the mean of all pixels": (cnn.GlobalAvgPool2d(), "GlobalAveragePool"),
}


@pytest.mark.parametrize("name", SINGLE)
def test_a_layer_of_several_steps_is_one_operation(name):
    layer, kinds = SINGLE[name]
    network, shape = Sequential(cnn.Conv2d(4, 2), layer), (5, 4, 2)
    model, x = model_of(network, shape, loss=MeanSquaredError()), images(network, shape, count=3)
    made = to_onnx(model)
    own = [node.op_type for node in made.graph.node if node.name.startswith("1")]
    assert [kind for kind in own if kind not in ("Transpose", "Reshape")] == kinds.split()
    np.testing.assert_allclose(run(made.SerializeToString(), x), model.predict(x), atol=1e-5)


def test_nodes_and_arrays_are_called_as_layers_and_parameters():
    network, shape = SMALL["every layer"]
    model = model_of(network, shape)
    graph = to_onnx(model).graph
    arrays = {array.name for array in graph.initializer}
    assert arrays >= {*model.parameters, *model.state}
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    assert {"1/Conv", "3/Relu", "4.body.0/Conv", "5.shortcut/Conv", "10.1.1/Conv"} <= set(names)
    assert names[-1] == "probabilities/Softmax"
    assert {array.data_type for array in graph.initializer if array.name in model.parameters} == {
        onnx.TensorProto.FLOAT
    }


def test_channels_that_are_scaled_one_by_one_are_scaled_at_once():
    network, shape = SMALL["rescale by channel"]
    kinds = [node.op_type for node in to_onnx(Model(network, shape)).graph.node]
    assert kinds[:5] == ["Transpose", "Cast", "Div", "Sub", "Div"]


def test_a_padding_belongs_to_the_convolution_or_pool_behind_it():
    network = Sequential(
        cnn.ZeroPad2d((1, 0, 2, 1)),
        *(cnn.Conv2d(2, 3, padding=(0, 1)), cnn.ZeroPad2d(1), cnn.AvgPool2d(2)),
        *(cnn.ZeroPad2d(1), cnn.MaxPool2d(2), cnn.ZeroPad2d(2), cnn.AvgPool2d(2)),
    )
    model, x = Model(network, (6, 5, 2), loss=MeanSquaredError()), images(network, (6, 5, 2))
    made = to_onnx(model)
    pads = {
        node.name: list(attribute.ints)
        for node in made.graph.node
        for attribute in node.attribute
        if attribute.name == "pads"
    }
    assert pads == {"1/Conv": [1, 3, 0, 2], "3/AveragePool": [1, 1, 1, 1]}
    # Zeros are larger than some pixels, and runtimes refuse a window that sees none.
    assert sum(node.op_type == "Pad" for node in made.graph.node) == 2
    np.testing.assert_allclose(run(made.SerializeToString(), x), model.predict(x), atol=1e-6)


def test_float64_is_rounded_and_says_so(caplog):
    network, shape = SMALL["every layer"]
    model, x = model_of(network, shape, dtype="float64"), images(network, shape)
    found = run(to_onnx(model).SerializeToString(), x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, model.predict(x), rtol=0.0, atol=1e-5)
    assert "float64 weights rounded to float32" in caplog.text


def test_a_class_that_derives_from_a_layer_is_what_it_computes():
    model = Model(Sequential(Rescale(), Sequential(Flatten(), Faster()), Dense(3)), (4, 4))
    x = images(model.network, (4, 4, 1))
    np.testing.assert_allclose(
        run(to_onnx(model).SerializeToString(), x), model.predict(x), atol=1e-6
    )


def test_a_sum_of_raw_pixels_is_what_predict_gives():
    model = Model(Sequential(Residual(Rescale()), Flatten(), Dense(3)), (4, 4))
    model.assign({name: array / 999.0 for name, array in model.parameters.items()}, {})
    x = images(model.network, (4, 4, 1))
    np.testing.assert_allclose(
        run(to_onnx(model).SerializeToString(), x), model.predict(x), atol=1e-5
    )


@settings(max_examples=5, deadline=None, derandomize=True)
@given(random_networks.networks())
def test_random_networks_agree(case):
    model, x = model_of(case.network, case.shape), images(case.network, case.shape, count=3)
    users = (random_networks.Outside, random_networks.Alternating)
    own = [layer for layer in parts(case.network) if isinstance(layer, users)]
    if own:
        with pytest.raises(InvalidTypeError, match="export onnx: a graph holds what can be traced"):
            to_onnx(model)
        return
    expected = np.asarray(logits(model, x))
    expected = np.exp(expected - expected.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    content = to_onnx(model).SerializeToString()
    for count in (1, 3):
        np.testing.assert_allclose(run(content, x[:count]), expected[:count], atol=1e-5)


REFUSED = {
    "counts": (
        program_cases.Alternating(),
        "layer 1.body Alternating, forward: does something else",
    ),
    "calls NumPy": (program_cases.Outside(), "layer 1.body, Outside: must not give an array"),
    "reads a value": (
        Of(lambda xp, x: x if float(xp.sum(x)) > 0.0 else -x),
        "layer 1.body, Of: must not read the value",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_layer_that_cannot_be_traced_is_named(name):
    layer, said = REFUSED[name]
    network = Sequential(cnn.Conv2d(3, 1), Residual(layer))
    with pytest.raises(InvalidTypeError, match=f"^export onnx: .*{said}.*; "):
        to_onnx(Model(network, SHAPE, loss=MeanSquaredError()))


@pytest.mark.parametrize("name", OF_A_BATCH)
def test_what_hangs_on_the_number_of_images_is_refused(name):
    network = Sequential(cnn.Conv2d(3, 1), Of(OF_A_BATCH[name]))
    with pytest.raises(
        InvalidValueError, match=r"^export onnx: layer 1, Of: must do the same for any"
    ):
        to_onnx(Model(network, SHAPE, loss=MeanSquaredError()))


WITHOUT = {
    "bits": lambda xp, x: floats(xp, xp.bitwise_left_shift(ints(xp, x), 2)),
    "some images": lambda xp, x: at(x + 0.0)[:1].set(0.0),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_what_onnx_has_no_operation_for_is_refused(name):
    network = Sequential(cnn.Conv2d(3, 1), Of(WITHOUT[name]))
    with pytest.raises(
        InvalidTypeError, match=r"layer 1, Of: .* has no operation in ONNX's opset 17;"
    ):
        to_onnx(Model(network, SHAPE, loss=MeanSquaredError()))
