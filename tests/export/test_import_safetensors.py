"""Weights out and in again, from PyTorch, and from files that are damaged."""

import hashlib
import itertools
import json

import numpy as np
import pytest

from arraycnn import (
    BatchNorm2d,
    CheckpointError,
    Conv2d,
    Dense,
    Flatten,
    InvalidValueError,
    Model,
    ReLU,
    Rescale,
    Sequential,
)
from arraycnn.export import export_safetensors, import_safetensors
from arraycnn.layers.config import network_to_config
from arraycnn.networks import basic
from export_cases import SMALL, images, logits, model_of
from layer_rows import USERS
from optional import Late, needs
from outside import RMSNorm

pytestmark = needs("safetensors")
library = Late("safetensors.numpy")

TINY = Sequential(Conv2d(2, 2), BatchNorm2d(), Flatten(), Dense(2))
TINY_SHAPE = (3, 3, 1)


def check_equal(model, other):
    for ours, theirs in ((model.parameters, other.parameters), (model.state, other.state)):
        assert list(ours) == list(theirs)
        for name, array in ours.items():
            assert theirs[name].dtype == array.dtype
            np.testing.assert_array_equal(theirs[name], array)


@pytest.fixture
def tiny(tmp_path):
    """A model, and the file of its weights."""
    model = model_of(TINY, TINY_SHAPE, class_names=["no", "yes"])
    export_safetensors(model, tmp_path / "tiny.safetensors")
    return model, tmp_path / "tiny.safetensors"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", SMALL)
def test_export_and_import_give_the_same_model(case, dtype, tmp_path):
    network, shape = SMALL[case]
    model = model_of(network, shape, dtype=dtype)
    export_safetensors(model, tmp_path / "w.safetensors")
    for again in (
        import_safetensors(tmp_path / "w.safetensors", layers=USERS),
        import_safetensors(tmp_path / "w.safetensors", network, shape),
    ):
        assert (again.network, again.input_shape, again.dtype) == (network, shape, dtype)
        check_equal(model, again)


def test_a_users_layer_of_the_file_is_asked_for(tmp_path):
    model = model_of(Sequential(RMSNorm(), Flatten(), Dense(2)), (3, 2, 4))
    export_safetensors(model, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"unknown layer 'RMSNorm'.* as layers=\[RMSNorm\]"):
        import_safetensors(tmp_path / "w.safetensors")
    check_equal(model, import_safetensors(tmp_path / "w.safetensors", layers=[RMSNorm]))


def test_class_names_and_backend(tiny):
    _, path = tiny
    again = import_safetensors(path, backend="array-api-strict")
    assert again.class_names == ("no", "yes")
    assert again.backend.name == "array-api-strict"
    assert import_safetensors(path, class_names=["a", "b"]).class_names == ("a", "b")


def test_the_file_is_the_same_every_time(tiny, tmp_path):
    model, path = tiny
    export_safetensors(model, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_every_flipped_bit_is_refused(tiny):
    """Every one of what describes the arrays; one of each byte of theirs, for which a digest speaks."""
    _, path = tiny
    content, loaded, messages = bytearray(path.read_bytes()), [], set()
    described = 8 + int.from_bytes(content[:8], "little")
    places = (
        range(described * 8),
        ((8 * byte + byte % 8) for byte in range(described, len(content))),
    )
    for place in itertools.chain(*places):
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        content[place // 8] ^= 1 << place % 8
        try:
            import_safetensors(path)
        except CheckpointError as error:
            messages.add(str(error))
        else:
            loaded.append(place)
    assert loaded == []
    assert not [message for message in messages if "\n" in message]


@pytest.mark.parametrize("size", [0, 4, 8, 20, 400, -1])
def test_a_cut_file_is_refused(size, tiny):
    _, path = tiny
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors"):
        import_safetensors(path)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04" + bytes(100), b"\2\0\0\0\0\0\0\0[]", b"\2\0\0\0\0\0\0\0{}"]
)
def test_another_kind_of_file_is_refused(content, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError):
        import_safetensors(tmp_path / "w.safetensors", TINY, TINY_SHAPE)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.safetensors: cannot be read"):
        import_safetensors(tmp_path / "none.safetensors")


def foreign(path, arrays, **metadata):
    """A file of another program: no digest, no network."""
    library.save_file({k: np.ascontiguousarray(a) for k, a in arrays.items()}, path, metadata)
    return path


def tiny_arrays(**changes):
    generator = np.random.default_rng(8)
    shapes = {"0.weight": (2, 1, 2, 2), "3.weight": (2, 8)}
    for name in ("0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "3.bias"):
        shapes[name] = (2,)
    arrays = {name: generator.random(shape, dtype="float32") for name, shape in shapes.items()}
    return {name: array for name, array in (arrays | changes).items() if array is not None}


WRONG = {
    "missing": ({"3.bias": None}, r"lacks 3\.bias \(2,\); has besides none"),
    "surplus": ({"4.bias": np.ones(3, "float32")}, r"has besides 4\.bias \(3,\)"),
    "shape": ({"0.weight": np.ones((2, 2, 2, 1), "float32")}, r"0\.weight must have shape \(2, 1"),
    "our own layout": ({"3.weight": np.ones((8, 2), "float32")}, r"must have shape \(2, 8\)"),
    "half": ({"3.bias": np.ones(2, "float16")}, "must be all float32 or all float64, got float16"),
    "mixed": ({"3.bias": np.ones(2, "float64")}, "got float32, float64"),
    "integers": ({"3.bias": np.ones(2, "int64")}, "got float32, int64"),
}


@pytest.mark.parametrize("case", WRONG)
def test_tensors_of_another_network_are_refused(case, tmp_path):
    changes, said = WRONG[case]
    path = foreign(tmp_path / "w.safetensors", tiny_arrays(**changes))
    with pytest.raises(CheckpointError, match=said):
        import_safetensors(path, TINY, TINY_SHAPE)


def test_what_a_foreign_file_leaves_open_has_to_be_given(tmp_path):
    path = foreign(tmp_path / "w.safetensors", tiny_arrays(), format="pt")
    with pytest.raises(InvalidValueError, match="does not say which network"):
        import_safetensors(path)
    with pytest.raises(InvalidValueError, match="needs its input_shape"):
        import_safetensors(path, TINY)
    assert import_safetensors(path, TINY, (3, 3)).input_shape == TINY_SHAPE


@pytest.mark.parametrize(
    "about", ["nothing", "[]", "{}", '{"network": {"class": "Pickle"}, "input_shape": [1, 1]}']
)
def test_a_described_network_that_cannot_be_built_is_refused(about, tmp_path):
    path = foreign(tmp_path / "w.safetensors", tiny_arrays(), arraycnn=about)
    with pytest.raises(CheckpointError, match="digest is missing"):
        import_safetensors(path)
    # With a digest that is right, the description itself is refused.
    foreign(path, tiny_arrays(), arraycnn=about, sha256="0" * 64)
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    path.write_bytes(content.replace(b"0" * 64, digest.encode()))
    with pytest.raises(CheckpointError, match="its network cannot be read"):
        import_safetensors(path)


def test_the_digest_can_be_checked_without_this_library(tiny):
    _, path = tiny
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    digest = header["__metadata__"]["sha256"]
    assert hashlib.sha256(content.replace(digest.encode(), b"0" * 64)).hexdigest() == digest


def test_modules_are_renamed(tmp_path):
    names = {"conv": "0", "norm": "1", "head.fc": "3"}
    theirs = {new: f"net.{old}" for old, new in names.items()}
    arrays = {f"{theirs[k[0]]}{k[1:]}": array for k, array in tiny_arrays().items()}
    path = foreign(tmp_path / "w.safetensors", arrays)
    rename = {f"net.{old}": new for old, new in names.items()}
    model = import_safetensors(path, TINY, TINY_SHAPE, rename=rename)
    np.testing.assert_array_equal(model.parameters["0.bias"], arrays["net.conv.bias"])
    np.testing.assert_array_equal(model.state["1.variance"], arrays["net.norm.running_var"])
    with pytest.raises(InvalidValueError, match="has no 'nets' to rename, it has net"):
        import_safetensors(path, TINY, TINY_SHAPE, rename={"nets": "0"})
    with pytest.raises(InvalidValueError, match=r"several tensors would be called 0\.bias"):
        import_safetensors(path, TINY, TINY_SHAPE, rename={"net.conv": "0", "net.norm": "0"})
    wrapped = foreign(path, {f"module.{k}": a for k, a in tiny_arrays().items()})
    import_safetensors(wrapped, TINY, TINY_SHAPE, rename={"module": ""})


class TestFromPyTorch:
    @pytest.fixture
    def basic_example(self, torch):
        """The module of PyTorch's basic MNIST example, with its own names."""
        nn, F = torch.nn, torch.nn.functional

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv1 = nn.Conv2d(1, 32, 3, 1)
                self.conv2 = nn.Conv2d(32, 64, 3, 1)
                self.fc1 = nn.Linear(9216, 128)
                self.fc2 = nn.Linear(128, 10)

            def forward(self, x):
                x = F.relu(self.conv2(F.relu(self.conv1(x))))
                x = torch.flatten(F.max_pool2d(x, 2), 1)
                return self.fc2(F.relu(self.fc1(x)))

        torch.manual_seed(0)
        return Net().eval()

    def test_the_basic_example(self, torch, basic_example, trained_on_mnist, tmp_path):
        from safetensors.torch import save_file

        x, _, _ = trained_on_mnist
        save_file(basic_example.state_dict(), tmp_path / "mnist_cnn.safetensors")
        rename = {"conv1": "1", "conv2": "3", "fc1": "8", "fc2": "11"}
        model = import_safetensors(
            tmp_path / "mnist_cnn.safetensors", basic(), (28, 28), rename=rename
        )
        with torch.no_grad():
            scaled = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()) / 255.0 - 0.5
            theirs = basic_example(scaled).numpy()
        np.testing.assert_allclose(logits(model, x), theirs, rtol=0.0, atol=1e-5)

    def test_batch_norm_with_its_counter(self, torch, tmp_path):
        from safetensors.torch import save_file

        nn = torch.nn
        module = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding="same"), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(80, 3)
        )
        x = images(TINY, (5, 4, 3))
        turned = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
        module.train()(turned)  # running averages of its own
        module.eval()
        save_file(module.state_dict(), tmp_path / "w.safetensors")
        network = Sequential(Conv2d(4, 3, padding="same"), BatchNorm2d(), Flatten(), Dense(3))
        model = import_safetensors(tmp_path / "w.safetensors", network, (5, 4, 3))
        with torch.no_grad():
            theirs = module(turned).numpy()
        np.testing.assert_allclose(logits(model, x), theirs, rtol=0.0, atol=1e-5)

    def test_tensors_numpy_does_not_have(self, torch, tmp_path):
        from safetensors.torch import save_file

        arrays = {name: torch.from_numpy(a) for name, a in tiny_arrays().items()}
        save_file({n: a.to(torch.bfloat16) for n, a in arrays.items()}, tmp_path / "w.safetensors")
        with pytest.raises(CheckpointError, match="float32"):
            import_safetensors(tmp_path / "w.safetensors", TINY, TINY_SHAPE)


def test_a_model_takes_over_arrays_or_nothing():
    model, other = Model(TINY, TINY_SHAPE), model_of(TINY, TINY_SHAPE)
    before = Model(TINY, TINY_SHAPE)
    for parameters, state in (
        (other.parameters | {"9.bias": np.ones(1)}, other.state),
        (other.parameters | {"0.bias": np.ones(3)}, other.state),
        (other.parameters, {}),
    ):
        with pytest.raises(InvalidValueError, match=r"Model\.assign: arrays must be"):
            model.assign(parameters, state)
        check_equal(before, model)
    given = other.parameters
    model.assign(given, other.state)
    check_equal(other, model)
    given["0.bias"][:] = 7.0
    check_equal(other, model)


# --- how pixels enter -----------------------------------------------------------------------------


@pytest.fixture(params=[(0.1307, 0.3081), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
def normalised(request, tmp_path):
    """A small CNN that PyTorch trained behind Normalize: (mean, std, images, its logits on them)."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    nn = torch.nn
    mean, std = request.param
    channels = len(mean) if isinstance(mean, tuple) else 1
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 120)
    pixels = rng.integers(0, 90, (120, 8, 8, channels), np.uint8)
    pixels[np.arange(120), 2 * labels] += 120  # a bright row tells the class
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    shape = (-1, 1, 1) if channels > 1 else ()
    by_channel = [torch.tensor(value).reshape(shape) for value in (mean, std)]
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    x = (x - by_channel[0]) / by_channel[1]
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(x), torch.from_numpy(labels)).backward()
        optimizer.step()
    found = module(x).detach().numpy()
    assert (found.argmax(axis=1) == labels).mean() > 0.95
    arrays = {name: array.numpy() for name, array in module.state_dict().items()}
    library.save_file(arrays, tmp_path / "w.safetensors")
    return mean, std, pixels, found


TRAINED = Sequential(Rescale(), Conv2d(4, 3), ReLU(), Flatten(), Dense(3))
RENAMED = {"0": "1", "3": "4"}


def test_weights_trained_behind_normalize_see_the_same_numbers(normalised, tmp_path):
    mean, std, pixels, expected = normalised
    shape = pixels.shape[1:]
    path = tmp_path / "w.safetensors"
    scaled = Rescale(mean, std)
    model = import_safetensors(path, TRAINED, shape, rename=RENAMED, scaling=scaled)
    np.testing.assert_allclose(logits(model, pixels), expected, rtol=1e-4, atol=1e-4)
    shares = np.exp(expected - expected.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    for backend in ("numpy", "array-api-strict"):
        model.save(tmp_path / "m.npz")
        again = Model.load(tmp_path / "m.npz", backend=backend)
        assert again.network.layers[0] == scaled
        np.testing.assert_allclose(again.predict(pixels), shares, rtol=1e-4, atol=1e-5)
    plain = import_safetensors(path, TRAINED, shape, rename=RENAMED)
    assert np.abs(logits(plain, pixels) - expected).max() > 0.1


def test_the_command_takes_mean_and_std(normalised, tmp_path, cli):
    mean, std, pixels, expected = normalised
    network = {"network": network_to_config(TRAINED), "input_shape": list(pixels.shape[1:])}
    (tmp_path / "net.json").write_text(json.dumps(network))
    text = [str(value).strip("()").replace(" ", "") for value in (mean, std)]
    renames = [word for pair in RENAMED.items() for word in ("--rename", "=".join(pair))]
    base = ("import", "w.safetensors", "--network", "net.json", *renames)
    code, out, _ = cli(*base, "--mean", text[0], "--std", text[1])
    assert code == 0
    assert f"pixels enter as (x / 255 - {mean}) / {std}" in out.splitlines()
    assert f"Rescale(mean={mean}, std={std})" in out
    model = Model.load("w.npz")
    np.testing.assert_allclose(logits(model, pixels), expected, rtol=1e-4, atol=1e-4)
    code, out, _ = cli(*base, "--force")
    assert "pixels enter as x / 255 - 0.5; were the weights trained behind another Normalize" in out
    code, _, errors = cli(*base, "--force", "--mean", "0.5")
    assert (code, len(errors)) == (2, 1)
    assert "--mean and --std go together" in errors[0]
    code, _, errors = cli(*base, "--force", "--mean", "0.5,0.5", "--std", "1")
    assert (code, len(errors)) == (2, 1)
    assert "Rescale: mean must be one number, or one for each channel of images" in errors[0]
    code, _, errors = cli(*base, "--force", "--mean", "x", "--std", "1")
    assert (code, "got x" in errors[0]) == (2, True)


def test_a_network_without_rescale_has_no_place_for_a_scaling(tiny):
    _, path = tiny
    with pytest.raises(InvalidValueError, match="this network has none; begin it with Rescale"):
        import_safetensors(path, scaling=Rescale(0.1, 0.3))
