"""ONNX files in onnxruntime against `Model.predict`."""

import json

import numpy as np
import pytest

from arraycnn import (
    Dense,
    Flatten,
    InvalidTypeError,
    InvalidValueError,
    Model,
    Rescale,
    Residual,
    Sequential,
    SoftmaxCrossEntropy,
    networks,
)
from arraycnn.export import export_onnx, to_onnx
from arraycnn.layers import LAYERS
from export_cases import SMALL, Faster, images, model_of
from optional import Late, needs

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


@pytest.mark.parametrize("name", ["resnet8", "densenet_small", "mobilenet_small", "unet_small"])
def test_larger_networks_agree(name):
    network, shape = getattr(networks, name)(3), (8, 8, 2)
    loss = SoftmaxCrossEntropy(per_pixel=name == "unet_small")
    model, x = Model(network, shape, loss=loss), images(network, shape)
    content = to_onnx(model).SerializeToString()
    np.testing.assert_allclose(run(content, x), model.predict(x), rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("case", SMALL)
def test_small_networks_agree(case):
    network, shape = SMALL[case]
    model, x = model_of(network, shape), images(network, shape)
    np.testing.assert_allclose(
        run(to_onnx(model).SerializeToString(), x), model.predict(x), rtol=0.0, atol=1e-5
    )


def test_every_layer_of_the_library_is_in_one_of_the_networks():
    shown = repr([network for network, _ in SMALL.values()])
    assert [name for name in LAYERS if f"{name}(" not in shown] == []


def test_the_batch_may_have_any_size():
    network, shape = SMALL["every layer"]
    model = model_of(network, shape)
    content, x = to_onnx(model).SerializeToString(), images(network, shape, count=17)
    expected = model.predict(x)
    for count in (1, 2, 17):
        np.testing.assert_allclose(run(content, x[:count]), expected[:count], atol=1e-5)


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


def test_images_are_turned_once_and_weights_take_up_the_rest(trained_on_mnist):
    _, _, trained = trained_on_mnist
    for model in trained.values():
        kinds = [node.op_type for node in to_onnx(model).graph.node]
        assert kinds.count("Transpose") == 1
        assert kinds[-1] == "Softmax"


def test_float64_is_rounded_and_says_so(caplog):
    network, shape = SMALL["every layer"]
    model, x = model_of(network, shape, dtype="float64"), images(network, shape)
    found = run(to_onnx(model).SerializeToString(), x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, model.predict(x), rtol=0.0, atol=1e-5)
    assert "float64 weights rounded to float32" in caplog.text


def test_unknown_layers_are_refused():
    model = Model(Sequential(Rescale(), Sequential(Flatten(), Faster()), Dense(3)), (4, 4))
    with pytest.raises(InvalidTypeError, match=r"got Faster at 1\.1, a class without onnx_nodes;"):
        to_onnx(model)


def test_a_sum_of_raw_pixels_is_refused():
    model = Model(Sequential(Residual(Rescale()), Flatten(), Dense(3)), (4, 4))
    with pytest.raises(InvalidValueError, match="Residual at 0 must not join pixels"):
        to_onnx(model)
