"""Exported PyTorch modules and weights, in PyTorch itself."""

import ast
import importlib.util
import subprocess
import sys

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn import Dense, Flatten, InvalidTypeError, InvalidValueError, Model, Sequential
from arraycnn.export import export_safetensors, export_torch
from arraycnn.networks import basic, lenet5
from export_cases import SMALL, Faster, images, logits, model_of
from optional import Late, needs

pytestmark = needs("torch", "safetensors")
torch, nn, tensors = Late("torch"), Late("torch.nn"), Late("safetensors.torch")


def channels_first(x):
    return torch.from_numpy(x.transpose(0, 3, 1, 2).copy())


def exported(model, folder):
    """The module that the exported Python file defines, arraycnn out of reach."""
    export_torch(model, folder / "exported.py")
    specification = importlib.util.spec_from_file_location("exported", folder / "exported.py")
    module = importlib.util.module_from_spec(specification)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "arraycnn", None)
        specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["scratch", "basic", "lenet5"])
def test_named_networks_agree_on_real_images(name, trained_on_mnist, tmp_path):
    x, _, trained = trained_on_mnist
    network = exported(trained[name], tmp_path).load()
    with torch.no_grad():
        theirs = network(channels_first(x)).numpy()
    np.testing.assert_allclose(theirs, logits(trained[name], x), rtol=0.0, atol=1e-5)
    np.testing.assert_array_equal(theirs.argmax(axis=1), trained[name].predict(x).argmax(axis=1))


@pytest.mark.parametrize("case", SMALL)
def test_small_networks_agree(case, tmp_path):
    network, shape = SMALL[case]
    model, x = model_of(network, shape, dtype="float64"), images(network, shape)
    x = x if x.dtype == np.uint8 else x.astype("float64")
    with torch.no_grad():
        theirs = exported(model, tmp_path).load()(channels_first(x)).numpy()
    np.testing.assert_allclose(theirs, logits(model, x), rtol=1e-12, atol=1e-12)


def test_a_module_that_a_user_wrote_takes_the_weights(trained_on_mnist, tmp_path):
    x, _, trained = trained_on_mnist
    export_safetensors(trained["basic"], tmp_path / "basic.safetensors")
    module = nn.Sequential(
        nn.Identity(),  # scaled below, as the user's own loader might
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Dropout(), nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout()),
        nn.Linear(128, 10),
    ).eval()
    module.load_state_dict(tensors.load_file(tmp_path / "basic.safetensors"), strict=True)
    with torch.no_grad():
        theirs = module(channels_first(x) / 255.0 - 0.5).numpy()
    np.testing.assert_allclose(theirs, logits(trained["basic"], x), rtol=0.0, atol=1e-5)


def test_batch_norm_has_pytorchs_names(tmp_path):
    model = model_of(*SMALL["every layer"])
    export_safetensors(model, tmp_path / "w.safetensors")
    found = tensors.load_file(tmp_path / "w.safetensors")
    for theirs, ours in (
        ("weight", model.parameters["2.weight"]),
        ("bias", model.parameters["2.bias"]),
        ("running_mean", model.state["2.mean"]),
        ("running_var", model.state["2.variance"]),
    ):
        np.testing.assert_array_equal(found[f"2.{theirs}"].numpy(), ours)
    assert found["5.body.0.weight"].shape == (6, 4, 3, 3)
    assert found["5.shortcut.weight"].shape == (6, 4, 1, 1)
    assert set(found) == set(exported(model, tmp_path).build().state_dict()) - {
        "2.num_batches_tracked",
        "4.body.1.num_batches_tracked",
    }


def test_the_module_keeps_what_matters_for_training(tmp_path):
    module = exported(model_of(*SMALL["every layer"]), tmp_path).load()
    assert not module.training
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    assert [(norm.eps, norm.momentum) for norm in norms] == [(1e-3, 0.1), (1e-5, 0.2)]
    assert [part.p for part in module.modules() if isinstance(part, nn.Dropout)] == [0.2]


def test_the_python_file_runs_alone_and_reads_well(tmp_path):
    model = Model(
        lenet5(3), (28, 28), class_names=['a "quoted" name', "emoji \U0001f600", "back\\"]
    )
    export_torch(model, tmp_path / "digits.py")
    source = (tmp_path / "digits.py").read_text("utf-8")
    assert "arraycnn" not in {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [n.name for n in node.names]
        )
    }
    for line in ("nn.Sequential(", "    Rescale(),", '    nn.Conv2d(1, 6, 5, padding="same"),'):
        assert f"    {line}\n" in source.replace("network = ", "")
    assert "class Residual" not in source
    program = (
        "import digits, torch; images = torch.zeros(2, 1, 28, 28, dtype=torch.uint8);"
        "print(ascii(digits.CLASS_NAMES), tuple(digits.load()(images).shape))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == f"{model.class_names!a} (2, 3)"


def test_the_module_follows_its_dtype_and_refuses_scaled_images(tmp_path):
    network = exported(Model(lenet5(3), (28, 28)), tmp_path).load().to(torch.bfloat16)
    pixels = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    assert network(pixels).dtype == torch.bfloat16
    with pytest.raises(TypeError, match="uint8"):
        network(pixels.float())


def test_changed_weights_are_not_loaded(tmp_path):
    module = exported(Model(lenet5(3), (28, 28)), tmp_path)
    content = bytearray((tmp_path / "exported.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "exported.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"exported\.safetensors: is not the file"):
        module.load()


@pytest.mark.parametrize("name", ["my-model.py", "class.py", "1.py", "torch.py", "model.pt", "x"])
def test_files_python_cannot_import_are_refused(name, tmp_path):
    with pytest.raises(InvalidValueError, match="a module that Python can import"):
        export_torch(Model(basic(), (28, 28)), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_unknown_layers_are_refused(tmp_path):
    model = Model(Sequential(Flatten(), Faster(), Dense(3)), (4, 4))
    for export, name in ((export_torch, "m.py"), (export_safetensors, "m.safetensors")):
        with pytest.raises(
            InvalidTypeError, match="got Faster at 1, a class without torch_module;"
        ):
            export(model, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_pixels_that_augmentation_hands_on_are_joined_by_nobody(tmp_path):
    joined = cnn.Concatenate(cnn.RandomShift(1), cnn.RandomShift(2))
    network = Sequential(joined, cnn.Rescale(), Flatten(), Dense(2))
    with pytest.raises(InvalidValueError, match="must not join pixels of one byte with numbers"):
        export_torch(Model(network, (4, 4)), tmp_path / "joined.py")
