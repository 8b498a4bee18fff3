"""--recipe: a named set of options, which others override."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.cli.recipes import RECIPES
from arraycnn.cli.train import train
from arraycnn.networks import NETWORKS
from arraycnn.report import read_run
from remedies import making

FEW = ("--backend", "numpy", "--no-fast", "--epochs", 1, "--batch-size", 6)
SIZES = {"strided_cnn": 25, "fast_cnn": 12, "resnet8": 8, "resnet20": 8}


def settings(words):
    """What a command line means, without the name of its recipe."""
    given = train.make_context("train", list(map(str, words))).params
    return {name: value for name, value in given.items() if name not in ("recipe", "show")}


@pytest.fixture
def data(cli):
    """A small set for each network, in the folder at hand: its file."""

    def of(network):
        images, labels = making.some(20, size=SIZES[network])
        np.savez(f"{network}.npz", images=images, labels=labels)
        return f"{network}.npz"

    return of


@pytest.mark.parametrize("name", RECIPES)
def test_it_trains_what_its_options_say(name, cli, data):
    words = shlex.split(RECIPES[name].options)
    wanted = settings(words)
    given = ("--dataset", data(wanted["network"]), *FEW)
    assert cli("train", "--recipe", name, *given, "--out", "run")[0] == 0
    config = json.loads(Path("run/config.json").read_text())
    assert (config["recipe"], "show" in config) == (name, False)
    apart = {"dataset", "epochs", "batch_size", "out", "backend", "fast", "data_dir"}
    for option, value in wanted.items():
        if option in config and option not in apart and value is not None:
            found = tuple(config[option]) if isinstance(value, tuple) else config[option]
            assert found == value, option
    model = cnn.Model.load("run/last.npz")
    assert model.network.layers[1:] == NETWORKS[wanted["network"]](3).layers[1:]
    assert settings(shlex.split(read_run("run").command)[2:])["augment"] == wanted["augment"]


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_shown_means_the_same_and_can_be_typed(name, cli, data):
    file = data("fast_cnn")
    for given in ([], ["--seed", "3", "--augment", "none", "--network", "scratch"]):
        given = [*given, "--network-arg", "ties=all", "--dataset", file]
        code, out, _ = cli("train", "--show", *given, "--recipe", name)
        (line,) = out.splitlines()
        words = shlex.split(line)
        assert (code, words[:2]) == (0, ["arraycnn", "train"])
        assert "--recipe" not in words
        assert "--show" not in words
        shown = settings(words[2:])
        assert shown == settings(["--recipe", name, *given])
        if "none" not in given:
            assert shown == settings([*shlex.split(RECIPES[name].options), *given])
    assert shown["augment"] == ("none",)
    assert (shown["network"], shown["seed"]) == ("scratch", 3)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        (("--optimizer", "sgd"), None),
        (("--optimizer", "adamw"), 0.005),
        (("--optimizer", "sgd", "--learning-rate", 0.2), 0.2),
        ((), 0.005),
    ],
)
def test_a_rate_is_of_the_optimizer_that_the_recipe_has(given, rate, cli):
    code, out, _ = cli("train", *given, "--recipe", "cifar", "--show")
    assert code == 0
    shown = settings(shlex.split(out)[2:])
    assert (shown["learning_rate"], shown["dataset"]) == (rate, "digits")
    assert shown["optimizer"] == ("adamw" if "sgd" not in given else "sgd")


def test_a_recipe_is_a_value_that_nobody_changes():
    with pytest.raises(TypeError):
        RECIPES["mine"] = RECIPES["cifar"]
    with pytest.raises(AttributeError):
        RECIPES["cifar"].options = ""


def test_a_run_goes_on_without_its_recipe_being_looked_up(cli, data, monkeypatch):
    begin = ("--recipe", "fashion", "--dataset", data("fast_cnn"), *FEW)
    assert cli("train", *begin, "--out", "whole")[0] == 0
    stop = ("--time-limit", 1e-9, "--save-every", 1)
    assert cli("train", *begin, *stop, "--out", "run")[0] == 0
    monkeypatch.setattr("arraycnn.cli.recipes.RECIPES", {"fashion": RECIPES["fast-mnist"]})
    assert cli("train", "--resume", "run")[0] == 0
    whole = cnn.Model.load("whole/last.npz").parameters
    for name, array in cnn.Model.load("run/last.npz").parameters.items():
        np.testing.assert_array_equal(array, whole[name], name)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--show",), "--show needs --recipe, one of best-mnist, fast-mnist"),
        (("--recipe", "mnist"), "'mnist' is not one of 'best-mnist'"),
        (
            ("--recipe", "cifar"),
            "is for CIFAR-10 or -100, whose folder is --dataset PATH, which is",
        ),
        (("--recipe", "small-data", "--epochs", 1), "--dataset PATH, which is missing"),
        (("--recipe", "cifar", "--resume", "run"), "--recipe and --resume exclude each other"),
        (("--resume", "run", "--recipe", "cifar"), "--recipe and --resume exclude each other"),
    ],
)
def test_what_makes_no_sense_is_refused(words, said, cli, data):
    Path("run").mkdir()
    Path("run/config.json").write_text(json.dumps({"dataset": "digits", "recipe": "cifar"}))
    code, _, lines = cli("train", *words)
    assert code == 2
    assert said in lines[-1]
