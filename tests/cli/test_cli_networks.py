"""Networks on the command line: named ones with arguments, and a user's own from a file that is run."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from arraycnn import Conv2d, Model
from arraycnn.export import import_safetensors
from arraycnn.networks import NETWORKS, listing
from arraycnn.report import read_run
from arraycnn.report.sections import _provenance
from optional import needs

NETWORK = '''
from dataclasses import dataclass
import arraycnn as cnn

print("a word of its own")

@dataclass(frozen=True)
class Lean(cnn.Activation):
    """A line for each side of zero."""
    slope: float = 0.25
    def function(self, xp, x): return xp.where(x > 0.0, x, self.slope * x)
    def derivative(self, xp, x): return xp.where(x > 0.0, xp.ones_like(x), self.slope)
    def torch_module(self, input_shape): return cnn.TorchModule(f"nn.LeakyReLU({self.slope})")

def build(classes: int, input_shape, filters: int = 3, slope: float = 0.25):
    assert input_shape == (8, 8, 1) or filters == 1
    first = cnn.Conv2d(filters, 3, stride=2)
    return cnn.Sequential(cnn.Rescale(), first, Lean(slope), cnn.Flatten(), cnn.Dense(classes))

def seven():
    return cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(7))

def large(classes):
    return cnn.Sequential(cnn.Rescale(), cnn.Conv2d(2, 9), cnn.Flatten(), cnn.Dense(classes))

@dataclass(frozen=True)
class Broken(Lean):
    def function(self, xp, x): return x.nothing

def broken(classes):
    return cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(classes), Broken())
'''
QUICK = ("train", "--backend", "numpy", "--no-fast", "--limit", "60", "--epochs", "1")
OWN = (*QUICK, "--network", "net.py:build", "--network-arg", "filters=2", "--out", "run")


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """What running a file leaves behind goes."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "net.py").write_text(NETWORK)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("arraycnn_user_"):
            del sys.modules[name]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run with a user's network, for whoever has none yet."""
    return tmp_path_factory.mktemp("own") / "run"


@pytest.fixture
def run(cli, trained, tmp_path):
    """That run in the folder "run": it is trained once."""
    if not trained.exists():
        assert cli(*OWN)[0] == 0
        shutil.copytree("run", trained)
    else:
        shutil.copytree(trained, tmp_path / "run")
    return Path("run")


def refused(cli, *arguments):
    code, out, errors = cli(*arguments)
    assert (code, out) == (2, "")
    return errors[-1]


# --- named networks --------------------------------------------------------------------------------


def test_a_named_network_takes_arguments_which_the_run_keeps(cli):
    named = ("--network", "scratch", "--network-arg", "ties=all")
    assert cli(*QUICK, *named, "--out", "run")[0] == 0
    assert Model.load("run/last.npz").network == NETWORKS["scratch"](10, ties="all")
    config = json.loads(Path("run/config.json").read_text())
    assert config["network_arg"] == ["ties=all"]
    assert config["network_sha256"] is None
    code, _, errors = cli("train", "--resume", "run", "--epochs", "2", "--override")
    assert (code, errors[0]) == (0, "arraycnn: goes on from the end of epoch 1")
    said = refused(cli, "train", "--resume", "run", "--network-arg", "ties=first")
    assert "--network-arg was ties=all, got ties=first; that cannot change within a run" in said


@pytest.mark.parametrize("name", NETWORKS)
def test_every_named_network_can_be_chosen(cli, name):
    # What is wrong is said once the network is known, before anything is trained.
    said = refused(cli, *QUICK, "--network", name, "--network-arg", "nothing=1")
    assert f"network {name}: has no argument 'nothing'" in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--network", "resnt20"), f"'resnt20' is none of {listing(NETWORKS)}, and no FILE.py:FUN"),
        (("--network", "resnt20"), "FILE.py:FUNCTION, perhaps resnet20"),
        (
            ("--network", "unet_small"),
            "unet_small gives numbers for each pixel, and --loss cross-entropy takes",
        ),
        (("--network", "net.py"), "'net.py' names no function; write net.py:FUNCTION, such as net"),
        (("--network", "gone.py:build"), "network file gone.py: cannot be read (No such file"),
        (
            ("--network", "net.py:biuld"),
            "has no function 'biuld', perhaps build, it has build, sev",
        ),
        (("--network-arg", "width"), "must be NAME=VALUE, such as width=32, got 'width'"),
        (("--network-arg", "width=2"), "network basic: has no argument 'width', it takes none"),
        (
            ("--network", "resnet8", "--network-arg", "width=x"),
            "argument width must be int, got 'x'",
        ),
        (("--network", "vgg11", "--network-arg", "head=dense"), "images of at least 32x32 pixels"),
    ],
)
def test_what_names_no_network_is_refused(cli, given, said):
    assert said in refused(cli, *QUICK, *given)


def test_help_lists_the_networks_and_says_that_a_file_is_run(cli):
    code, out, _ = cli("train", "--help")
    text = " ".join(out.split())
    assert code == 0
    assert listing(NETWORKS) in text
    assert "or FILE.py:FUNCTION, your own: the file is run" in text


# --- a user's own ----------------------------------------------------------------------------------


def test_a_users_network_is_trained_and_goes_on(cli, run):
    config = json.loads((run / "config.json").read_text())
    assert config["network"] == "net.py:build"
    assert config["network_arg"] == ["filters=2"]
    assert len(config["network_sha256"]) == 64
    said = refused(cli, "train", "--resume", "run", "--epochs", "2", "--override")
    assert (
        "the run is of net.py:build, whose code is run only where the command names it; add" in said
    )
    again = ("train", "--resume", "run", "--network", "net.py:build", "--epochs", "2", "--override")
    code, _, errors = cli(*again)
    assert (code, errors[0]) == (0, "a word of its own")
    assert "arraycnn: goes on from the end of epoch 1" in errors
    assert json.loads((run / "config.json").read_text())["epochs"] == 2


def test_what_a_file_prints_is_no_result(cli):
    code, out, errors = cli(*OWN, "--json")
    assert code == 0
    assert json.loads(out)["epochs"] == 1
    assert "a word of its own" in errors


def test_a_file_that_has_moved_is_the_same_and_one_that_changed_is_not(cli, run):
    Path("elsewhere").mkdir()
    shutil.move("net.py", "elsewhere/mine.py")
    moved = ("train", "--resume", "run", "--network", "elsewhere/mine.py:build")
    code, _, errors = cli(*moved)
    assert (code, "is finished" in errors[-1]) == (0, True)
    Path("elsewhere/mine.py").write_text(f"{NETWORK}\n# changed\n")
    said = refused(cli, *moved)
    assert (
        "the network file elsewhere/mine.py is not as it was when the run began (its SHA-256"
        in said
    )
    assert "; restore it, or add --override if it still builds the same network" in said
    before = json.loads((run / "config.json").read_text())["network_sha256"]
    assert before[:12] in said
    assert cli(*moved, "--epochs", "2", "--override")[0] == 0
    config = json.loads((run / "config.json").read_text())
    assert config["network_sha256"] != before
    assert config["network"] == "elsewhere/mine.py:build"


def test_another_network_is_none_that_the_run_can_go_on_with(cli, run):
    said = refused(cli, "train", "--resume", "run", "--network", "net.py:seven")
    assert "--network was net.py:build, got net.py:seven; that cannot change within a run" in said
    said = refused(cli, "train", "--resume", "run", "--network", "basic", "--override")
    assert "--network was net.py:build, got basic; that cannot change within a run" in said
    Path("net.py").write_text(NETWORK.replace("Lean", "Other"))
    same = ("train", "--resume", "run", "--network", "net.py:build", "--override", "--epochs", "2")
    said = refused(cli, *same)
    assert (
        "last.npz has the layer 'Lean', which net.py does not define; restore the network" in said
    )


def test_a_stopped_run_says_how_it_goes_on(cli, monkeypatch):
    from arraycnn.cli import run

    def stopped(self, *arguments, **settings):
        raise run.DeviceLostError("gone")

    monkeypatch.setattr(Model, "fit", stopped)
    code, _, errors = cli(*OWN)
    assert code == 2
    goes_on = "arraycnn train --resume run --network net.py:build goes on from the last save"
    assert f"arraycnn: {goes_on}" in errors


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("seven", "must end with one output for each of the 10 classes of digits, has 7; let the"),
        ("large", "network net.py:large: layer 1, Conv2d: the 9x9 window must fit into the image"),
        ("broken", "network file net.py: fails at line 28 (AttributeError"),
    ],
)
def test_a_users_network_that_does_not_fit_is_named(cli, function, said):
    assert said in refused(cli, *QUICK, "--network", f"net.py:{function}", "--out", "run")


# --- a file with layers of a user's own -------------------------------------------------------------

READING = {
    "evaluate": ("evaluate", "run/last.npz", "--backend", "numpy", "--no-fast"),
    "predict": ("predict", "run/last.npz", "images.npy", "--backend", "numpy", "--no-fast"),
    "bench": ("bench", "run", "--backend", "numpy", "--no-fast", "--json"),
    "export": ("export", "run/last.npz", "--format", "safetensors", "--force"),
    "report": ("report", "run", "--backend", "numpy", "--no-fast"),
}


class Unmeasured:
    """In place of a profile, which takes seconds."""

    def to_plain(self):
        return {}


@pytest.fixture
def quickly(monkeypatch):
    """Of bench and report, what comes before the work."""
    monkeypatch.setattr("arraycnn.cli.bench.machine_of", lambda *_: None)
    monkeypatch.setattr("arraycnn.cli.bench.profiled", lambda *_: Unmeasured())
    monkeypatch.setattr("arraycnn.cli.report.write_report", lambda *_: "report.html")


@pytest.mark.parametrize("name", READING)
def test_code_is_run_only_where_the_command_names_it(cli, run, name, quickly):
    package = {"export": "safetensors", "report": "matplotlib"}.get(name)
    if package is not None:
        pytest.importorskip(package, reason=f"{package} is not installed")
    np.save("images.npy", np.zeros((1, 8, 8, 1), np.uint8))
    code, out, errors = cli(*READING[name])
    assert (code, out) == (2, "")
    assert errors[-1].endswith(
        "has the layer 'Lean' of somebody's own; name the file that defines it, which is then "
        "run: --layers FILE.py"
    )
    assert "a word of its own" not in errors
    code, _, errors = cli(*READING[name], "--layers", "net.py")
    assert (code, errors[0]) == (0, "a word of its own")
    assert not [line for line in errors if "is not the file" in line]


def test_a_file_without_the_layer_says_what_it_has_and_a_changed_one_is_told(cli, run):
    Path("other.py").write_text(NETWORK.replace("Lean", "Other"))
    said = refused(cli, *READING["evaluate"], "--layers", "other.py")
    assert "has the layer 'Lean' of somebody's own, and other.py has Other, Broken; name" in said
    Path("net.py").write_text(f"{NETWORK}\n# changed\n")
    code, _, errors = cli(*READING["evaluate"], "--layers", "net.py")
    assert code == 0
    told = (
        "arraycnn: net.py is not the file that the run in run was trained with (their SHA-256 dif"
    )
    assert [line for line in errors if line.startswith(told)]


def test_the_report_shows_the_file_its_digest_and_how_to_repeat_the_run(cli, run):
    known = read_run(run)
    assert "--network net.py:build --network-arg filters=2 --optimizer" in known.command
    assert " --no-fast " in known.command
    page = "".join(map(str, _provenance(known)))
    assert "SHA-256 of its file" in page
    assert page.count(known.config["network_sha256"]) == 2  # the origin, and all settings
    assert "filters=2" in page


@needs("safetensors")
def test_weights_of_a_users_network_come_back(cli, run):
    assert cli(*READING["export"], "--layers", "net.py")[0] == 0
    said = refused(cli, "import", "run/last.safetensors", "--out", "m.npz")
    assert "weights file run/last.safetensors: has the layer 'Lean' of somebody's own" in said
    assert cli("import", "run/last.safetensors", "--layers", "net.py", "--out", "m.npz")[0] == 0
    assert Model.load("run/last.npz", layers=[_lean()]).parameters.keys()
    from safetensors.numpy import load_file, save_file

    save_file(load_file("run/last.safetensors"), "bare.safetensors")
    own = ("--network", "net.py:build", "--network-arg", "filters=2", "--input-shape", "8x8")
    assert cli("import", "bare.safetensors", *own, "--out", "b.npz")[0] == 0
    said = refused(cli, "import", "bare.safetensors", "--network", "lenet")
    assert "got lenet, and no such path exists: 'lenet' is none of" in said
    again = import_safetensors("run/last.safetensors", layers=[_lean()])
    assert again.network.layers[1] == Conv2d(2, 3, stride=2)
    for name, array in Model.load("b.npz", layers=[_lean()]).parameters.items():
        assert (array == again.parameters[name]).all()


def _lean():
    names = {}
    exec(NETWORK, names)
    return names["Lean"]


def test_networks_are_measured_by_name_and_of_a_file(cli, quickly):
    quick = ("--backend", "numpy", "--no-fast", "--json")
    one = ("--network-arg", "filters=1")
    assert cli("bench", "net.py:build", *one, "--input-shape", "9x9", *quick)[0] == 0
    code, out, _ = cli("bench", "unet_small", "--network-arg", "width=2", *quick)
    assert (code, json.loads(out)["input_shape"]) == (0, [28, 28, 1])
    said = refused(cli, "bench", "unet_smal", *quick)
    assert "no such path exists: 'unet_smal' is none of" in said


def test_the_example_of_the_guide_is_a_network(cli, quickly):
    guide = (Path(__file__).parent.parent.parent / "docs" / "GUIDE.md").read_text()
    (example,) = re.findall(r"^```python\n(# net\.py.*?)^```$", guide, re.DOTALL | re.MULTILINE)
    Path("net.py").write_text(example)
    given = ("--network-arg", "width=3", "--backend", "numpy", "--no-fast", "--json")
    assert cli("bench", "net.py:build", *given)[0] == 0
