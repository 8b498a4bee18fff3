"""Weights of torchvision's modules, and of the usual ones for CIFAR, against these modules."""

import json

import numpy as np
import pytest

import torch_networks
from arraycnn import AdaptiveAvgPool2d, CheckpointError, InvalidValueError, Model, Rescale
from arraycnn.export import import_safetensors
from arraycnn.export.checkpoint_keys import IMAGENET
from arraycnn.networks import resnet18, vgg11
from export_cases import logits
from optional import Late, needs

pytestmark = needs("safetensors")
library = Late("safetensors.numpy")

CIFAR10 = Rescale((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
CIFAR100 = Rescale((0.5070, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761))
RESNETS = {
    "resnet18": {"blocks": (2, 2, 2, 2)},
    "resnet34": {"blocks": (3, 4, 6, 3)},
    "resnet50": {"blocks": (3, 4, 6, 3), "narrow": True},
}
VGGS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3)}

# (module, its settings, prefix of its keys, image, title, size of its trainings, its Normalize)
ZEROS = {"stem": 3, "around": "", "last": "linear"}
CASES = {
    "resnet18": ({**RESNETS["resnet18"], "width": 4}, "", (37, 50), "torchvision's", 224, IMAGENET),
    "resnet34": ({**RESNETS["resnet34"], "width": 2}, "", (33, 32), "torchvision's", 224, IMAGENET),
    "resnet50": (
        *({**RESNETS["resnet50"], "width": 2}, "_orig_mod.module.", (40, 33)),
        *("torchvision's", 224, IMAGENET),
    ),
    "resnet18 ": (
        *(
            {**RESNETS["resnet18"], "width": 4, "stem": 3, "around": "shortcut", "last": "linear"},
            "",
        ),
        *((9, 12), "kuangliu's", 32, CIFAR10),
    ),
    "resnet20": (
        *({"blocks": (3, 3, 3), "width": 4, **ZEROS}, "module.", (9, 12)),
        *("akamaster's", 32, IMAGENET),
    ),
    "resnet56": (
        {"blocks": (9, 9, 9), "width": 2, **ZEROS},
        "",
        (8, 8),
        "akamaster's",
        32,
        IMAGENET,
    ),
    "resnet32": (
        *({"blocks": (5, 5, 5), "width": 2, "stem": 3, "classes": 100}, "", (10, 7)),
        *("chenyaofo's", 32, CIFAR100),
    ),
    "resnet44": (
        *({"blocks": (7, 7, 7), "width": 2, "stem": 3}, "", (8, 6), "chenyaofo's", 32, CIFAR10),
    ),
    "vgg11": ({"width": 2, "hidden": 24}, "", (65, 40), "torchvision's", 224, IMAGENET),
    "vgg16_bn": ({"width": 2, "hidden": 24}, "", (40, 33), "torchvision's", 224, IMAGENET),
    "vgg13": (*({"width": 2, "hidden": 6, "pooled": 1}, "", (32, 64), "chenyaofo's", 32, CIFAR10),),
    "vgg11_bn": (
        *({"width": 2, "hidden": 0, "pooled": 1}, "module.", (32, 32), "kuangliu's", 32, CIFAR10),
    ),
}


def module_of(torch, name, classes=7, **settings):
    """A module in eval mode with random weights and running statistics, float64."""
    name = name.strip()
    torch.manual_seed(0)
    if name.startswith("vgg"):
        counts, norms = VGGS[int(name[3:5])], name.endswith("_bn")
        module = torch_networks.vgg(torch, counts, classes=classes, batch_norm=norms, **settings)
    else:
        module = torch_networks.resnet(torch, classes=classes, **settings)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            for array in (part.weight, part.running_var):
                array.data.copy_(torch.rand(array.shape) + 0.5)
            for array in (part.bias, part.running_mean):
                array.data.copy_(torch.rand(array.shape) - 0.5)
        elif isinstance(part, torch.nn.Conv2d):  # so that what comes in is not lost on the way
            part.weight.data.mul_(2.5)
    return module.double().eval()


def saved(path, module, prefix="", dtype=np.float64, **changes):
    """The file of the module's weights; ``changes`` are of keys, None takes one away."""
    arrays = {prefix + key: array.numpy() for key, array in module.state_dict().items()}
    for key, array in changes.items():
        arrays.pop(key, None)
        if array is not None:
            arrays[key] = array
    kept = {k: a if a.dtype.kind == "i" else a.astype(dtype) for k, a in arrays.items()}
    library.save_file({k: np.ascontiguousarray(a) for k, a in kept.items()}, path)
    return path


def answers(torch, module, pixels, scaling):
    """What the module says of images, (N, H, W, C) bytes, behind ToTensor and Normalize."""
    x = torch.from_numpy(pixels.astype(np.float64) / 255).permute(0, 3, 1, 2)
    mean, std = (
        torch.tensor(v, dtype=x.dtype).reshape(-1, 1, 1) for v in (scaling.mean, scaling.std)
    )
    with torch.no_grad():
        return module((x - mean) / std).numpy()


def some_pixels(height, width, channels=3):
    return np.random.default_rng(3).integers(0, 256, (2, height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("name", torch_networks.TORCHVISION)
def test_the_modules_compared_with_have_the_keys_and_shapes_of_torchvision(torch, name):
    with torch.device("meta"):
        if name in RESNETS:
            module = torch_networks.resnet(torch, width=64, classes=1000, **RESNETS[name])
        else:
            counts = VGGS[int(name[3:5])]
            norms = name.endswith("_bn")
            module = torch_networks.vgg(torch, counts, 64, 1000, batch_norm=norms)
    assert torch_networks.digest(module) == torch_networks.TORCHVISION[name]


@pytest.mark.parametrize("name", CASES)
def test_weights_give_what_the_module_gives(torch, name, tmp_path):
    settings, prefix, (height, width), owner, size, scaling = CASES[name]
    module = module_of(torch, name, **settings)
    path = saved(tmp_path / "w.safetensors", module, prefix)
    model = import_safetensors(path, name.strip(), (height, width, 3))
    assert model.network.layers[0] == scaling
    with pytest.raises(InvalidValueError, match=f"is of {owner} {name.strip()} by its keys"):
        import_safetensors(path, "densenet_small")
    pixels = some_pixels(height, width)
    expected = answers(torch, module, pixels, scaling)
    assert np.ptp(expected, axis=0).min() > 1e-4  # it sees its images
    np.testing.assert_allclose(logits(model, pixels), expected, rtol=1e-9, atol=1e-9)
    if size == 32:
        assert import_safetensors(path).input_shape == (32, 32, 3)


def test_single_precision_agrees_to_1e_5_and_the_file_of_the_model_keeps_it(torch, tmp_path):
    module = module_of(torch, "resnet18", **CASES["resnet18"][0])
    path = saved(tmp_path / "w.safetensors", module, dtype=np.float32)
    model = import_safetensors(path, input_shape=(40, 40, 3))
    pixels = some_pixels(40, 40)
    expected = answers(torch, module, pixels, IMAGENET)
    model.save(tmp_path / "m.npz")
    for found in (model, Model.load(tmp_path / "m.npz")):
        np.testing.assert_allclose(logits(found, pixels), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("pooled", "size"), [(7, 224), (1, 32)])
def test_without_a_size_that_of_the_trainings_is_taken(torch, pooled, size, tmp_path):
    module = module_of(torch, "vgg11", width=1, hidden=2, pooled=pooled)
    model = import_safetensors(saved(tmp_path / "w.safetensors", module))
    assert (model.input_shape, model.classes) == ((size, size, 3), 7)
    assert AdaptiveAvgPool2d(pooled) in model.network.layers


def test_grey_images_have_no_normalize_that_is_known(torch, tmp_path):
    module = module_of(torch, "vgg11", width=1, hidden=2, channels=1)
    path = saved(tmp_path / "w.safetensors", module)
    assert import_safetensors(path).network.layers[0] == Rescale()
    assert import_safetensors(path).input_shape == (224, 224, 1)
    own = Rescale(0.5, 0.25)
    assert import_safetensors(path, scaling=own).network.layers[0] == own


def test_a_prefix_of_ones_own_is_renamed(torch, tmp_path):
    module = module_of(torch, "resnet18", **CASES["resnet18"][0])
    path = saved(tmp_path / "w.safetensors", module, "encoder.")
    with pytest.raises(InvalidValueError, match="does not say which network it belongs to"):
        import_safetensors(path)
    assert import_safetensors(path, rename={"encoder": ""}).classes == 7


# --- what is wrong ---------------------------------------------------------------------------------

WRONG = {
    "missing": (
        {"layer3.1.bn2.running_mean": None},
        r"lacks layer3\.1\.bn2\.running_mean \(16,\) of layer 15\.body\.4; has besides none",
    ),
    "no shortcut": (
        {"layer2.0.downsample.0.weight": None},
        r"lacks layer2\.0\.downsample\.0\.weight \(8, 4, 1, 1\) of layer 9\.shortcut\.0",
    ),
    "two kinds": (
        {"linear.weight": np.ones((7, 32))},
        r"not those of torchvision's resnet18: lacks linear\.bias \(7,\) of layer 22; has besides fc",
    ),
    "shape": (
        {"layer1.0.conv2.weight": np.ones((4, 4, 1, 1))},
        r"layer1\.0\.conv2\.weight of layer 5\.body\.3 must have shape \(4, 4, 3, 3\), got \(4, 4, 1",
    ),
    "bias": ({"conv1.bias": np.ones(4)}, r"has besides conv1\.bias \(4,\)"),
    "no head": ({"fc.weight": None}, r"lacks fc\.weight, which tells the sizes"),
    "axes": (
        {"conv1.weight": np.ones((4, 3))},
        r"conv1\.weight must have 4 axes, got shape \(4, 3\)",
    ),
    "blocks": (
        {"layer4.2.conv1.weight": np.ones((32, 32, 3, 3))},
        "has stages of 2, 2, 2, 3 blocks with 2 convolutions each",
    ),
    "stages": (
        {"layer6.0.conv1.weight": np.ones((4, 4, 3, 3))},
        "stages of 2, 2, 2, 2, 0, 1 blocks",
    ),
    "bottleneck": (
        {"layer1.0.conv3.weight": np.ones((16, 4, 1, 1))},
        "stages of 2, 2, 2, 2 blocks with 3 convolutions each",
    ),
    "half": ({"fc.bias": np.ones(7, np.float16)}, "got float16, float64"),
}


@pytest.fixture(scope="module")
def small_resnet():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    return module_of(torch, "resnet18", **CASES["resnet18"][0])


@pytest.mark.parametrize("case", WRONG)
def test_damaged_and_mixed_checkpoints_are_refused(small_resnet, case, tmp_path):
    changes, said = WRONG[case]
    path = saved(tmp_path / "w.safetensors", small_resnet, **changes)
    if case == "half":
        arrays = library.load_file(path) | changes
        library.save_file(arrays, path)
    with pytest.raises(CheckpointError, match=said):
        import_safetensors(path)


def test_a_vgg_of_another_depth_or_another_head_is_refused(torch, tmp_path):
    path = tmp_path / "w.safetensors"
    module = module_of(torch, "vgg11", width=1, hidden=2)
    more = {"features.21.weight": np.ones((8, 8, 3, 3))}
    with pytest.raises(CheckpointError, match=r"must be of VGG-11, 13 or 16 .*, has 9 conv"):
        import_safetensors(saved(path, module, **more))
    with pytest.raises(CheckpointError, match=r"lacks classifier\.6\.weight, which tells"):
        import_safetensors(saved(path, module, **{"classifier.6.weight": None}))
    moved = {"features.18.weight": None, "features.19.weight": np.ones((8, 8, 3, 3))}
    said = (
        r"lacks features\.18\.weight \(8, 8, 3, 3\) of layer 19; has besides features\.19\.weight"
    )
    with pytest.raises(CheckpointError, match=said):
        import_safetensors(saved(path, module, **moved))
    wide = {"classifier.0.weight": np.ones((2, 400))}
    with pytest.raises(
        CheckpointError, match=r"classifier\.0\.weight of layer 24 must have shape \(2, 3"
    ):
        import_safetensors(saved(path, module, **wide))


def test_a_long_list_of_tensors_is_cut(small_resnet, tmp_path):
    gone = {k: None for k in small_resnet.state_dict() if k.startswith("layer4.")}
    path = saved(tmp_path / "w.safetensors", small_resnet, **gone)
    with pytest.raises(CheckpointError, match="has stages of 2, 2, 2 blocks"):
        import_safetensors(path)
    gone = {k: None for k in small_resnet.state_dict() if k.startswith("layer4.0.")}
    path = saved(tmp_path / "w.safetensors", small_resnet, **gone)
    with pytest.raises(
        CheckpointError, match=r"lacks layer4\.0\.conv1\.weight .* and 7 more; has bes"
    ):
        import_safetensors(path)


def test_few_bytes_make_no_large_network(small_resnet, tmp_path):
    wide = {"conv1.weight": np.ones((60_000, 3, 1, 1))}
    path = saved(tmp_path / "w.safetensors", small_resnet, **wide)
    said = "holds a small part of kuangliu's resnet18 alone, of its sizes; take the whole"
    with pytest.raises(CheckpointError, match=said):
        import_safetensors(path)


def test_the_network_that_is_named_is_the_one_of_the_keys(small_resnet, tmp_path):
    path = saved(tmp_path / "w.safetensors", small_resnet)
    with pytest.raises(
        InvalidValueError, match=r"is of torchvision's resnet18 by its .* not of vgg11"
    ):
        import_safetensors(path, "vgg11")
    said = r"is for images of 3 channels, got \(40, 40\); give \(40, 40, 3\)"
    with pytest.raises(InvalidValueError, match=said):
        import_safetensors(path, input_shape=(40, 40))
    assert import_safetensors(path, input_shape=(40, 44, 3)).input_shape == (40, 44, 3)
    with pytest.raises(
        CheckpointError, match=r"lacks 1\.weight .*; take another network, or rename"
    ):
        import_safetensors(path, resnet18(7, width=4), (40, 40, 3))


# --- the command -----------------------------------------------------------------------------------


def test_the_command_knows_the_checkpoint_and_says_so(small_resnet, tmp_path, cli):
    saved(tmp_path / "w.safetensors", small_resnet, "module.", np.float32)
    code, out, _ = cli("import", "w.safetensors", "--input-shape", "40x40x3")
    assert code == 0
    assert "weights of torchvision's resnet18, 7 classes" in out
    said = "(x / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)"
    assert f"pixels enter as {said}; were the weights trained behind another Normalize" in out
    assert Model.load("w.npz").input_shape == (40, 40, 3)
    again = ("import", "w.safetensors", "--force", "--network", "resnet18", "--json")
    code, out, _ = cli(*again, "--mean", "0.5", "--std", "0.5")
    found = json.loads(out)
    assert (found["checkpoint"], found["pixels"]) == (
        "torchvision's resnet18",
        "(x / 255 - 0.5) / 0.5",
    )
    assert Model.load("w.npz").input_shape == (224, 224, 3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--classes", "7"), "--network-arg and --classes are told by the weights"),
        (
            ("--network", "resnet18", "--network-arg", "width=4"),
            "are told by the weights, of torch",
        ),
        (("--network", "resnet20"), "is of torchvision's resnet18 by its keys and sizes, not of"),
    ],
)
def test_the_command_takes_no_settings_that_the_weights_have(
    small_resnet, tmp_path, cli, options, said
):
    saved(tmp_path / "w.safetensors", small_resnet)
    code, _, errors = cli("import", "w.safetensors", *options)
    assert (code, len(errors)) == (2, 1)
    assert said in errors[0]


def test_a_named_network_with_arguments_takes_weights_by_its_own_paths(tmp_path, cli):
    from arraycnn.export import export_safetensors

    shape = (32, 32, 3)
    model = Model(vgg11(3, width=1, head="dense", pooled=2, hidden=4), shape)
    export_safetensors(model, tmp_path / "own.safetensors")
    arrays = library.load_file(tmp_path / "own.safetensors")
    library.save_file(arrays, tmp_path / "w.safetensors")
    given = ("--network", "vgg11", "--classes", "3", "--input-shape", "32x32x3")
    arguments = [
        word
        for text in ("width=1", "head=dense", "pooled=2", "hidden=4")
        for word in ("--network-arg", text)
    ]
    assert cli("import", "w.safetensors", *given, *arguments)[0] == 0
    again = Model.load("w.npz")
    assert again.network == model.network
    np.testing.assert_array_equal(again.parameters["1.weight"], model.parameters["1.weight"])
