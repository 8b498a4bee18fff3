"""``~`` in every path that a user can give, on the command line, in a variable and in Python."""

import inspect
import json
import os
import re
import shutil
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

import arraycnn
from arraycnn import Dense, Flatten, Model, Rescale, Sequential, TrainingState
from arraycnn import cli as command_line
from arraycnn.cli import options
from arraycnn.cli.augmentation import Augment
from arraycnn.cli.fine_tuning import RateScale
from arraycnn.cli.import_weights import ByChannel, ImageShape, Renaming
from arraycnn.cli.losses import Weights
from arraycnn.cli.networks import NetworkArgument, NetworkName
from arraycnn.data import load_dataset
from arraycnn.data.loading import _cache_root
from arraycnn.report import examine, load_run_data, read_run, write_report
from arraycnn.storage.user_paths import user_path, user_pattern

PUBLIC = ("", "callbacks", "data", "export", "networks", "report", "scratch")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder of the test's own, which is not where it works."""
    folder = tmp_path / "home [of me]"
    folder.mkdir()
    # Where compiled kernels are kept already.
    monkeypatch.setenv("XDG_CACHE_HOME", os.path.abspath(os.path.expanduser("~/.cache")))
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield folder
    assert not [path for path in (tmp_path / "work").rglob("*") if "~" in path.name]


def small():
    model = Model(
        Sequential(Rescale(), Flatten(), Dense(3)), (8, 8, 1), class_names=("a", "b", "c")
    )
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (24, 8, 8, 1), dtype=np.uint8)
    return model, images, (np.arange(24) % 3).astype(np.int32)


def set_in(folder):
    _, images, labels = small()
    np.savez(folder / "set.npz", images=images, labels=labels)


def test_the_rule(home, tmp_path):
    here = tmp_path / "work"
    assert user_path("~") == user_path(Path("~")) == home
    assert user_path("~/a/../b") == home / "a/../b"
    assert user_path("a/~/b") == Path("a/~/b")  # only where it begins
    assert user_path("") == Path()
    # Really called so, and no user: below the current folder, whoever else looks at it.
    for text in ("./~", "./~/x", "~nobody-at-all/x", "~$letter.doc"):
        assert user_path(text) == user_path(user_path(text)) == here / text.removeprefix("./")
    assert user_pattern("~/*.png").endswith("/home [[]of me]/*.png")
    assert user_pattern("./~/[ab].png") == "./~/[ab].png"
    assert user_pattern("~nobody-at-all/*") == "~nobody-at-all/*"


def test_the_home_of_another_user():
    pwd = pytest.importorskip("pwd", reason="users have names on Unix")
    root = pwd.getpwuid(0)
    assert user_path(f"~{root.pw_name}/x") == Path(root.pw_dir) / "x"


def test_nothing_else_looks_at_it():
    source = Path(arraycnn.__file__).parent
    files = [file for file in source.rglob("*.py") if "expanduser" in file.read_text("utf-8")]
    # The cache of kernels has to do without a home, and asks no user for a path.
    assert {file.name for file in files} == {"user_paths.py", "caching.py"}


# ----- the command line

PARAMETERS = {
    f"{name} {parameter.name}": parameter
    for name, command in command_line.cli.commands.items()
    for parameter in command.params
}
NO_PATHS = (click.types.IntRange, click.Choice, click.types.BoolParamType, options.FiniteFloat)
NO_PATHS += (options.ImageSize, ByChannel, ImageShape, Renaming)
NO_PATHS += (Augment, NetworkArgument, RateScale, Weights)
NO_PATH_BUT_TEXT = {"train freeze": "a pattern of parameters' paths", "train monitor": "a metric"}
NO_PATH_BUT_TEXT |= dict.fromkeys(("train loss", "find-rate loss"), "a name")
LATER = {"predict images": "a pattern, or - for a list", "import network": "or a name"}
LATER["bench model"] = "or a name"
LATER |= dict.fromkeys(("train network", "find-rate network"), "or a name")
"""Text of which only the command knows whether it is a path; each has a test below."""


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_option_and_argument_that_is_a_path_knows_home(name, home):
    kind = PARAMETERS[name].type
    if isinstance(kind, NO_PATHS) or name in NO_PATH_BUT_TEXT:
        return
    if isinstance(kind, click.types.StringParamType | NetworkName):
        assert name in LATER, "take options.UserPath, or user_path and a test here"
        return
    (home / "x").touch()
    assert Path(kind.convert("~/x", None, None)) == home / "x"


def test_the_parameters_are_all_looked_at():
    paths = {name for name, one in PARAMETERS.items() if isinstance(one.type, options.UserPath)}
    assert {"train out", "train resume", "predict output", "predict model"} <= paths
    assert {"report runs", "export model", "import weights", "evaluate data_dir"} <= paths
    assert LATER.keys() | NO_PATH_BUT_TEXT.keys() <= PARAMETERS.keys()


def test_the_commands(home, cli):
    os.chdir(home.parent / "work")
    set_in(home)
    train = ("train", "--dataset", "~/set.npz", "--epochs", 1, "--backend", "numpy")
    code, _, errors = cli(*train, "--out=~/run")
    assert code == 0, errors
    assert (home / "run" / "last.npz").is_file()
    # As it is stored, it does not depend on whose home it was.
    assert json.loads((home / "run/config.json").read_text())["dataset"] == str(home / "set.npz")
    assert cli("train", "--resume", "~/run", "--backend", "numpy")[0] == 0
    model = "~/run/last.npz"
    assert cli("evaluate", model, "--dataset=~/set.npz", "--output=~/rows.txt")[0] == 0
    assert (home / "rows.txt").read_text()
    assert cli("export", model, "--format=safetensors", "--out=~/w.safetensors")[0] == 0
    pytest.importorskip("safetensors", reason="import reads with safetensors")
    again = ("import", "~/w.safetensors", "--network", model, "--out=~/again.npz")
    assert cli(*again)[0] == 0
    assert (home / "again.npz").is_file()
    assert cli("predict", "~/again.npz", "~/set.npz", "--output", "~/p.txt")[0] == 0
    assert (home / "p.txt").is_file()


def test_a_network_of_ones_own(home, cli):
    os.chdir(home.parent / "work")
    set_in(home)
    (home / "net.py").write_text(
        "from arraycnn import Dense, Flatten, Rescale, Sequential\n"
        "def build(classes):\n"
        "    return Sequential(Rescale(), Flatten(), Dense(classes))\n"
    )
    train = ("train", "--dataset", "~/set.npz", "--epochs", 1, "--backend", "numpy")
    code, _, errors = cli(*train, "--out=~/run", "--network", "~/net.py:build")
    assert code == 0, errors
    assert (home / "run" / "last.npz").is_file()
    find = ("find-rate", "--dataset", "~/set.npz", "--steps", 10, "--backend", "numpy")
    code, _, errors = cli(*find, "--network", "~/net.py:build")
    assert code == 0, errors


def test_a_network_file(home, cli):
    os.chdir(home.parent / "work")
    pytest.importorskip("safetensors", reason="import reads with safetensors")
    model = small()[0]
    arraycnn.export.export_safetensors(model, "~/w.safetensors")
    about = {"network": arraycnn.layers.config.network_to_config(model.network)}
    (home / "network.json").write_text(json.dumps(about | {"input_shape": [8, 8, 1]}))
    code, _, errors = cli("import", "~/w.safetensors", "--network", "~/network.json")
    assert code == 0, errors
    assert (home / "w.npz").is_file()


@pytest.mark.parametrize(
    ("argument", "listed"), [("~/p", ()), ("~/p/a.png", ()), ("~/p/[a]*", ()), ("-", "~/p/a.png\n")]
)
def test_pictures(home, cli, argument, listed, monkeypatch):
    os.chdir(home.parent / "work")
    small()[0].save("~/model.npz")
    (home / "p").mkdir()
    Image.fromarray(small()[1][0, ..., 0]).save(home / "p" / "a.png")
    if listed:
        import io
        from types import SimpleNamespace

        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(listed.encode())))
    code, out, errors = cli("predict", "~/model.npz", argument)
    assert code == 0, errors
    assert out.startswith(str(home / "p" / "a.png"))


def test_something_really_called_tilde_is_reached(tmp_path, monkeypatch, cli):
    monkeypatch.setenv("XDG_CACHE_HOME", os.path.abspath(os.path.expanduser("~/.cache")))
    monkeypatch.setenv("HOME", str(tmp_path / "nothing"))
    Path("~").mkdir()
    set_in(Path("~"))
    train = ("train", "--dataset", "./~/set.npz", "--epochs", 1, "--backend", "numpy")
    code, _, errors = cli(*train, "--out", "./~/run")
    assert code == 0, errors
    model = "./~/run/last.npz"
    assert cli("evaluate", model)[0] == 0
    assert cli("evaluate", model, "--dataset", "./~/set.npz")[0] == 0
    Image.fromarray(small()[1][0, ..., 0]).save("~/a.png")
    for argument in ("./~", "./~/*.png"):
        assert cli("predict", model, argument)[0] == 0
    assert load_dataset("./~/set.npz").train_images.shape[1:] == (8, 8, 1)
    assert not (tmp_path / "nothing").exists()


def test_a_folder_with_the_name_of_a_published_set_is_still_reached(tmp_path, cli):
    Path("mnist").mkdir()
    set_in(Path("mnist"))
    for name in ("a", "b"):
        (Path("mnist") / name).mkdir()
    shutil.move("mnist/set.npz", "mnist/images.npz")
    code, _, errors = cli("train", "--dataset", "./mnist", "--epochs", 1, "--backend", "numpy")
    assert not [line for line in errors if "download" in line], errors
    assert code == 2
    assert any("mnist" in line for line in errors)


def test_the_variables(home, monkeypatch):
    monkeypatch.setenv("ARRAYCNN_CACHE", "~/cache")
    assert _cache_root() == home / "cache"
    monkeypatch.setenv("ARRAYCNN_DATA", "~/nothing")
    monkeypatch.setenv("ARRAYCNN_OFFLINE", "1")
    for name in ("mnist", "fashion-mnist"):
        with pytest.raises(arraycnn.DataError, match=re.escape(str(home / "cache"))):
            load_dataset(name)


# ----- Python


def parameters_that_are_paths():
    """Of what is public: "Model.save path", for each parameter that is or may be a path."""
    found = set()
    for module in PUBLIC:
        package = getattr(arraycnn, module) if module else arraycnn
        names = package.__all__ if hasattr(package, "__all__") else vars(package)
        public = {name: getattr(package, name) for name in names if not name.startswith("_")}
        for name, thing in public.items():
            if not getattr(thing, "__module__", "").startswith("arraycnn"):
                continue
            members = {name: thing} if callable(thing) else {}
            if inspect.isclass(thing):
                inside = inspect.getmembers(thing, callable)
                members |= {f"{name}.{n}": one for n, one in inside if not n.startswith("_")}
            for where, one in members.items():
                try:
                    taken = inspect.signature(one).parameters.values()
                except ValueError:  # of an exception, whose class is built in
                    continue
                for each in taken:
                    said = str(each.annotation)
                    if "Path" in said or each.name in ("path", "file", "folder", "out"):
                        found.add(f"{where} {each.name}")
    return found


NOT_OF_A_USER = {
    **{f"{kind} path": "of a layer" for kind in ("Activation", "LayerNorms", "LayerTime")},
    "DataFileError path": "names a file in a message",
    "Group.matches path": "of a parameter",
    "Run path": "what read_run found",
    "Run model_file": "what read_run found",
}


def saved(at):
    small()[0].save(at)
    return at


def state(model):
    return model.fit(*small()[1:], epochs=1, batch_size=8)


def kept(callback):
    model, images, labels = small()
    pair = (images, labels)
    model.fit(images, labels, epochs=1, batch_size=8, validation=pair, callbacks=[callback(model)])


def a_set(home):
    set_in(home)
    return load_dataset("~/set.npz")


def a_run(home, cli):
    set_in(home)
    words = ("--dataset", "~/set.npz", "--epochs", 1, "--backend", "numpy", "--out", "~/run")
    assert cli("train", *words)[0] == 0
    os.chdir(home.parent / "work")
    return read_run("~/run")


def a_report(home, cli):
    pytest.importorskip("matplotlib", reason="reports are drawn with matplotlib")
    run = a_run(home, cli)
    data = load_run_data(run)
    found = examine(Model.load(run.model_file), data.test_images, data.test_labels)
    with pytest.MonkeyPatch.context() as patch:  # what is on the page takes long to draw
        patch.setattr("arraycnn.report.writing._figures", lambda _: ())
        patch.setattr("arraycnn.report.writing.page", lambda _: "a page")
        write_report([(run, found)], "~/report")


def with_package(name, act):
    pytest.importorskip(name, reason=f"needs {name}")
    act()


def weights():
    arraycnn.export.export_safetensors(small()[0], "~/w.safetensors")
    return arraycnn.export.import_safetensors("~/w.safetensors")


# For each: what uses it with "~", and the file that must then be there.
USES = {
    "Model.save path": (lambda home, cli: saved("~/m.npz"), "m.npz"),
    "Model.load path": (lambda home, cli: Model.load(saved("~/m.npz")), "m.npz"),
    "Checkpoint path": (
        lambda home, cli: kept(lambda model: arraycnn.Checkpoint(model, "~/c.npz")),
        "c.npz",
    ),
    "BestCheckpoint path": (
        lambda home, cli: kept(lambda model: arraycnn.BestCheckpoint(model, "~/b.npz")),
        "b.npz",
    ),
    "Model.load_training path": (
        lambda home, cli: (
            kept(lambda model: arraycnn.Checkpoint(model, "~/c.npz")),
            Model.load_training("~/c.npz"),
        ),
        "c.npz",
    ),
    "JSONLog path": (lambda home, cli: kept(lambda _: arraycnn.JSONLog("~/l")), "l"),
    "StepLog path": (lambda home, cli: kept(lambda _: arraycnn.StepLog("~/l")), "l"),
    "CSVLog path": (lambda home, cli: kept(lambda _: arraycnn.CSVLog("~/l")), "l"),
    "TensorBoard folder": (
        lambda home, cli: with_package(
            "tensorboardX", lambda: kept(lambda _: arraycnn.TensorBoard("~/t"))
        ),
        "t",
    ),
    "load_dataset name": (lambda home, cli: a_set(home), "set.npz"),
    "load_run_data dataset": (
        lambda home, cli: load_run_data(a_run(home, cli), dataset="~/set.npz"),
        "set.npz",
    ),
    "read_run path": (a_run, "run"),
    "write_report out": (a_report, "report/report.html"),
    "export_onnx path": (
        lambda home, cli: with_package(
            "onnx", lambda: arraycnn.export.export_onnx(small()[0], "~/m.onnx")
        ),
        "m.onnx",
    ),
    "export_torch path": (
        lambda home, cli: arraycnn.export.export_torch(small()[0], "~/net.py"),
        "net.py",
    ),
    "export_safetensors path": (
        lambda home, cli: arraycnn.export.export_safetensors(small()[0], "~/m.safetensors"),
        "m.safetensors",
    ),
    "import_safetensors path": (
        lambda home, cli: with_package("safetensors", weights),
        "w.safetensors",
    ),
}
REFUSED = {
    "load_dataset data_dir": lambda home, cli: load_dataset("mnist", "~/given"),
    "load_run_data data_dir": lambda home, cli: load_run_data(
        a_mnist_run(a_run(home, cli)), "~/given"
    ),
}
"""What says that ~/given, which is there, lacks the files of the set."""


def a_mnist_run(run):
    run.config["dataset"] = "mnist"
    return run


def test_every_public_path_is_tried():
    assert parameters_that_are_paths() == USES.keys() | REFUSED.keys() | NOT_OF_A_USER.keys()


@pytest.mark.parametrize("parameter", USES)
def test_a_public_path_knows_home(parameter, home, cli):
    os.chdir(home.parent / "work")
    act, file = USES[parameter]
    act(home, cli)
    assert (home / file).exists()


@pytest.mark.parametrize("parameter", REFUSED)
def test_a_public_folder_knows_home(parameter, home, cli):
    os.chdir(home.parent / "work")
    (home / "given").mkdir()
    with pytest.raises(arraycnn.DataError, match="must hold the set's four IDX files") as refused:
        REFUSED[parameter](home, cli)
    assert str(home / "given") in str(refused.value)


def test_a_training_of_such_a_path_goes_on(home):
    model, images, labels = small()
    model.fit(images, labels, epochs=1, batch_size=8, callbacks=[arraycnn.Checkpoint(model, "~/c")])
    assert isinstance(Model.load_training("~/c")[1], TrainingState)
