"""arraycnn export and import, as a user meets them."""

import json
import subprocess
import sys

import numpy as np
import pytest

from arraycnn import BatchNorm2d, Conv2d, Dense, Flatten, Model, Rescale, Sequential
from arraycnn.data import load_dataset
from arraycnn.layers.config import network_to_config
from arraycnn.networks import lenet5
from export_cases import model_of

NETWORK = Sequential(Rescale(), Conv2d(4, 3), BatchNorm2d(), Flatten(), Dense(10))


@pytest.fixture
def check_done(command):
    """What the command says, which does what it should and complains of nothing."""

    def check(*arguments, cwd):
        result = command(*arguments, cwd=cwd)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    return check


@pytest.fixture
def check_refused(command):
    """The command says one line, and leaves every file as it is."""

    def check(*arguments, cwd, said):
        before = {path: path.read_bytes() for path in cwd.rglob("*") if path.is_file()}
        result = command(*arguments, cwd=cwd)
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.count("\n") == 1
        assert said in result.stderr
        assert {path: path.read_bytes() for path in cwd.rglob("*") if path.is_file()} == before

    return check


@pytest.fixture
def folder(tmp_path):
    """A folder with model-1.npz."""
    model_of(NETWORK, (8, 8), class_names=[str(n) for n in range(10)]).save(
        tmp_path / "model-1.npz"
    )
    return tmp_path


@pytest.fixture
def safetensors():
    return pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")


def test_onnx_of_a_file_runs_on_real_images(folder, check_done):
    pytest.importorskip("onnx", reason="onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    said = check_done("export", "model-1.npz", "--format", "onnx", cwd=folder)
    size = (folder / "model-1.onnx").stat().st_size
    assert said == f"wrote model-1.onnx, {size:,} bytes\n"
    x = load_dataset("digits").test_images
    (found,) = runtime.InferenceSession(folder / "model-1.onnx").run(None, {"images": x})
    np.testing.assert_allclose(
        found, Model.load(folder / "model-1.npz").predict(x), rtol=0.0, atol=1e-5
    )


def test_torch_gives_two_files_that_python_can_import(folder, check_done):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    said = json.loads(
        check_done("export", "model-1.npz", "--format", "torch", "--json", cwd=folder)
    )
    assert said == {
        "model": "model-1.npz",
        "format": "torch",
        "files": ["model_1.py", "model_1.safetensors"],
    }
    program = (
        "import numpy, torch, model_1; images = torch.from_numpy(numpy.load('images.npy'));"
        "numpy.save('found.npy', model_1.load()(images).softmax(1).detach().numpy())"
    )
    x = load_dataset("digits").test_images
    np.save(folder / "images.npy", x.transpose(0, 3, 1, 2))
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True)
    found = np.load(folder / "found.npy")
    np.testing.assert_allclose(
        found, Model.load(folder / "model-1.npz").predict(x), rtol=0.0, atol=1e-5
    )
    assert torch.__version__


def test_out_and_back(folder, safetensors, check_done):
    check_done(
        "export", "model-1.npz", "--format", "safetensors", "--out", "w.safetensors", cwd=folder
    )
    said = check_done("import", "w.safetensors", cwd=folder)
    assert "Conv2d(filters=4" in said
    assert said.endswith("wrote w.npz\n")
    before, after = Model.load(folder / "model-1.npz"), Model.load(folder / "w.npz")
    assert repr(after) == repr(before)
    assert after.class_names == before.class_names
    for ours, theirs in ((before.parameters, after.parameters), (before.state, after.state)):
        for name, array in ours.items():
            np.testing.assert_array_equal(theirs[name], array)


def test_import_takes_the_network_from_its_name_a_model_or_json(folder, safetensors, check_done):
    arrays = model_of(lenet5(7), (32, 20)).parameters
    turned = {
        name: array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        for name, array in arrays.items()
    }
    turned = {f"net.{name}": np.ascontiguousarray(array) for name, array in turned.items()}
    safetensors.save_file(turned, folder / "w.safetensors")
    Model(lenet5(7), (32, 20), class_names=list("abcdefg")).save(folder / "like.npz")
    about = {"network": network_to_config(lenet5(7)), "input_shape": [32, 20, 1]}
    (folder / "net.json").write_text(json.dumps(about))
    shape = ("--input-shape", "32x20", "--classes", "7")
    for options in (("lenet5", *shape), ("like.npz",), ("net.json",)):
        said = check_done(
            *("import", "w.safetensors", "--rename", "net=", "--network", *options),
            *("--force", "--json"),
            cwd=folder,
        )
        count = sum(array.size for array in arrays.values())
        assert json.loads(said) == {
            "weights": "w.safetensors",
            "model": "w.npz",
            "parameters": count,
            "checkpoint": None,
            "pixels": "x / 255 - 0.5",
        }
        model = Model.load(folder / "w.npz")
        assert (model.input_shape, model.classes) == ((32, 20, 1), 7)
        assert model.class_names == (tuple("abcdefg") if options == ("like.npz",) else None)
        np.testing.assert_array_equal(model.parameters["1.weight"], arrays["1.weight"])


def test_every_format_can_follow_the_others(folder, check_done, check_refused):
    (folder / "model-1.npz").rename(folder / "best.npz")
    for kind in ("safetensors", "torch"):
        check_done("export", "best.npz", "--format", kind, cwd=folder)
    check_refused("export", "best.npz", "--format", "torch", cwd=folder, said="best.py: exists")


def test_files_are_not_written_over_unless_forced(folder, safetensors, check_done, check_refused):
    (folder / "model_1.safetensors").write_text("precious")
    export = ("export", "model-1.npz", "--format", "torch")
    check_refused(*export, cwd=folder, said="model_1.safetensors: exists already; choose another")
    check_done(*export, "--force", cwd=folder)
    (folder / "model_1.npz").write_text("precious")
    check_refused("import", "model_1.safetensors", cwd=folder, said="model_1.npz: exists already")
    check_done("import", "model_1.safetensors", "--force", cwd=folder)
    Model.load(folder / "model_1.npz")


REFUSED = {
    "no format": (("export", "model-1.npz"), "Missing option '--format'"),
    "format": (("export", "model-1.npz", "--format", "pickle"), "'pickle' is not one of"),
    "no model": (("export", "none.npz", "--format", "onnx"), "none.npz: cannot be read"),
    "a folder": (("export", ".", "--format", "onnx"), "must be a file, is a folder; name"),
    "weights in a folder": (("import", "."), "cannot be read (Is a directory)"),
    "no folder": (
        ("export", "model-1.npz", "--format", "safetensors", "--out", "no/w.safetensors"),
        "No such file or directory",
    ),
    "torch without .py": (
        ("export", "model-1.npz", "--format", "torch", "--out", "m.pt"),
        "a module that Python can import, got m.pt",
    ),
    "shape": (("import", "w", "--input-shape", "28"), "such as 28x28, got 28"),
    "empty shape": (("import", "w", "--input-shape", "0x28"), "such as 28x28, got 0x28"),
    "rename": (("import", "w", "--rename", "conv1"), "such as conv1=1, got conv1"),
    "classes of a file": (
        ("import", "w", "--network", "model-1.npz", "--classes", "3"),
        "--classes and --network-arg belong to a named network",
    ),
    "network": (("import", "w", "--network", "resnet"), "got resnet, and no such path exists"),
    "pickle": (("import", "model-1.npz", "--out", "x.npz"), "is not a safetensors file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_mistakes_are_told_in_one_line(case, folder, check_refused):
    arguments, said = REFUSED[case]
    if arguments[0] == "import":
        pytest.importorskip("safetensors", reason="safetensors is not installed")
    check_refused(*arguments, cwd=folder, said=said)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"network": {"class": "X"}, "input_shape": 3}']
)
def test_a_network_file_that_is_none_is_refused(content, folder, check_refused):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    (folder / "net.json").write_text(content)
    check_refused("import", "w", "--network", "net.json", cwd=folder, said="net.json: ")


def test_a_missing_package_is_named_with_the_command(folder):
    program = (
        "import sys; sys.modules['onnx'] = None; sys.argv = {!r};"
        "from arraycnn.cli import main; main()"
    ).format(["arraycnn", "export", "model-1.npz", "--format", "onnx"])
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    said = 'needs onnx, which cannot be imported; pip install "arraycnn[onnx]"'
    assert result.stderr == f"arraycnn: export onnx: {said}\n"
