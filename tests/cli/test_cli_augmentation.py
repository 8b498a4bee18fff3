"""--augment: of train, which images it sees; of evaluate and predict, the mean over copies."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.cli.augmentation import AUGMENTATIONS, USUAL, layer_of, spelled
from arraycnn.data import load_dataset, split_validation
from arraycnn.report import read_run
from remedies import making

TRAIN = ("train", "--backend", "numpy", "--no-fast", "--epochs", 2, "--batch-size", 8)
NETWORK = ("--network", "scratch")


@pytest.fixture
def images(cli):
    pictures, labels = making.some(40)
    np.savez("set.npz", images=pictures, labels=labels)
    return pictures


def arrays(path):
    model = cnn.Model.load(path)
    return {**model.parameters, **model.state}


def same(one, other):
    for name, array in arrays(one).items():
        np.testing.assert_array_equal(array, arrays(other)[name], name)


@pytest.mark.parametrize(
    ("text", "layer", "short"),
    [
        ("shift", cnn.RandomShift(), "shift"),
        ("shift=pixels=2", cnn.RandomShift(2), "shift"),
        ("shift=1:3,fill=edge", cnn.RandomShift((1, 3), "edge"), "shift=1:3,fill=edge"),
        ("crop=fill=7", cnn.RandomCrop(4, 7.0), "crop=4,fill=7"),
        ("affine=10,shear=5", cnn.RandomAffine(shear=5.0), "affine=10,shear=5"),
        (
            "affine=scale=0.85:1,degrees=15",
            cnn.RandomAffine(15.0, (0.85, 1.0)),
            "affine=15,scale=0.85:1",
        ),
        ("erasing=0.25,area=0.1:0.2", cnn.RandomErasing(0.25, (0.1, 0.2)), None),
        ("cutout=3:4,probability=0.5", cnn.Cutout((3, 4), 0.5), None),
        ("elastic=3.5,spacing=7", cnn.ElasticDeformation(3.5, 7), None),
        ("flip=0.3", cnn.HorizontalFlip(0.3), None),
        ("mixup=0.4", cnn.Mixup(0.4), None),
        ("cutmix=1,probability=0.5", cnn.CutMix(1.0, 0.5), None),
        ("brightness=0.1", cnn.RandomBrightness(0.1), None),
        ("contrast=0.1", cnn.RandomContrast(0.1), None),
    ],
)
def test_a_text_is_a_layer_and_back(text, layer, short):
    assert layer_of(text) == layer
    assert spelled(layer) == (short or text)


def test_all_augmentation_has_a_name():
    of_package = {kind for kind in vars(cnn).values() if getattr(kind, "training_only", False)}
    assert set(AUGMENTATIONS.values()) == of_package
    names = "affine brightness contrast crop cutmix cutout elastic erasing flip mixup shift"
    assert list(AUGMENTATIONS) == names.split()  # commands, recipes and run folders say them
    for texts in USUAL.values():
        assert [spelled(layer_of(text)) for text in texts] == list(texts)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["shfit"], "'shfit' is none of affine, .*, shift, perhaps shift"),
        (["shift=1,2"], "'2' must be SETTING=VALUE, of the settings pixels, fill"),
        (["shift=1,pixels=2"], "'pixels' is given twice"),
        (["shift=by=2"], "'by' is no setting, the settings are pixels, fill"),
        (["shift=1.5"], "shift: pixels must be a whole number, or two such as 1:2, got '1.5'"),
        (["affine=left"], "affine: degrees must be a number"),
        (["affine=scale=0:1"], "RandomAffine: scale must be above 0"),
        (["crop=fill=grey"], 'fill must be a finite number or "edge" or "reflect"'),
        (
            ["cutout=fill=0.5"],
            "Cutout: fill must be .* got 0.5; take a grey value, as other numbers are for images",
        ),
        (["flip", "affine=fill=-1"], "RandomAffine: fill must be a whole number from 0 to 255"),
        (["brightness=0.001"], "RandomBrightness: strength must be at least 0.001961, or images"),
        (["contrast=0.002"], "RandomContrast: strength must be at least 0.002076, or uint8 images"),
        (["elastic=0.001"], "ElasticDeformation: strength must be at least 0.001954, or images"),
        (["none", "shift"], "none stands alone, got none shift"),
    ],
)
def test_what_is_no_augmentation_is_refused_before_a_run_begins(images, cli, texts, said):
    options = [word for text in texts for word in ("--augment", text)]
    code, _, lines = cli(*TRAIN, *NETWORK, "--dataset", "set.npz", *options, "--out", "run")
    assert code == 2
    (line,) = lines
    assert re.search(f"--augment'?: .*{said}", line)
    assert not Path("run").exists()


def test_what_a_network_cannot_train_with_leaves_no_folder(images, cli):
    Path("net.py").write_text(
        "from arraycnn import Dense, Flatten, Rescale, Sequential\n"
        "def twice(classes):\n"
        "    return Sequential(Rescale(), Rescale(), Flatten(), Dense(classes))\n"
    )
    begin = ("--dataset", "set.npz", "--network", "net.py:twice", "--out", "run")
    code, _, (line,) = cli(*TRAIN, *begin)
    assert (code, Path("run").exists()) == (2, False)
    assert "layer 1, Rescale: input must be uint8" in line


@pytest.mark.parametrize("told", [(), ("--augment", "brightness=0.001")])
def test_a_run_that_has_begun_with_what_is_refused_now_goes_on(images, cli, monkeypatch, told):
    begin = (*TRAIN, *NETWORK, "--dataset", "set.npz", "--augment", "brightness=0.001")
    with monkeypatch.context() as patch:  # as by an earlier version
        patch.setattr(cnn.RandomBrightness, "check_use", lambda *_, **__: None)
        assert cli(*begin, "--out", "run")[0] == 0
        few = ("--time-limit", 1e-9, "--save-every", 1, "--out", "stopped")
        assert cli(*begin, *few)[0] == 0
    assert cli("train", "--resume", "stopped", *told)[0] == 0
    same("stopped/last.npz", "run/last.npz")
    code, _, (line, *_) = cli("train", "--resume", "run", *told)
    assert code == 0
    assert "is finished" in line
    assert cli("evaluate", "run/last.npz", "--backend", "numpy")[0] == 0
    assert cli(*begin, "--out", "new")[0] == 2


def test_pixels_that_have_labels_are_not_moved(cli):
    images, _ = making.some(20)
    np.savez("pixels.npz", images=images, labels=(images[..., 0] > 99).astype(np.int64))
    begin = ("--dataset", "pixels.npz", "--network", "unet_small", "--loss", "pixel-cross-entropy")
    few = ("train", "--backend", "numpy", "--no-fast", "--epochs", 1, "--augment")
    code, _, lines = cli(*few, "contrast", "--augment", "affine=3", *begin, "--out", "run")
    assert (code, Path("run").exists()) == (2, False)
    assert "must not move pixels that have a class each, got affine=3" in lines[-1]
    assert cli(*few, "contrast", *begin, "--out", "run")[0] == 0


def test_it_trains_what_python_trains_and_goes_on_with_it(images, cli):
    options = ("--dataset", "set.npz", "--augment", "mixup=0.4", "--augment", "shift=1,fill=edge")
    assert cli(*TRAIN, *NETWORK, *options, "--out", "run")[0] == 0
    config = json.loads(Path("run/config.json").read_text())
    assert config["augment"] == ["mixup=0.4", "shift=1,fill=edge"]
    data = load_dataset("set.npz")
    kept, _ = split_validation(data.train_labels, 1 / 12, 0)
    first = cnn.Sequential(cnn.Mixup(0.4), cnn.RandomShift(1, "edge"), cnn.Rescale())
    network = cnn.Sequential(first, *cnn.networks.scratch(3).layers[1:])
    model = cnn.Model(network, (8, 8), cnn.NumPy(fast=False))
    rule = cnn.AdamW(cnn.OneCycle(0.003))
    model.fit(
        data.train_images[kept], data.train_labels[kept], epochs=2, batch_size=8, optimizer=rule
    )
    for name, array in arrays("run/last.npz").items():
        np.testing.assert_array_equal(array, model.parameters[name], name)

    stopped = ("--time-limit", 1e-9, "--save-every", 1, "--out", "stopped")
    assert cli(*TRAIN, *NETWORK, *options, *stopped)[0] == 0
    code, _, (line,) = cli("train", "--resume", "stopped", "--augment", "shift=2", "--override")
    assert code == 2
    assert "--augment was mixup=0.4 shift=1,fill=edge, got shift" in line
    assert cli("train", "--resume", "stopped")[0] == 0
    same("stopped/last.npz", "run/last.npz")
    words = read_run("run").command.split()
    assert cli(*words[1:], "--out", "again")[0] == 0
    same("again/last.npz", "run/last.npz")


def test_the_first_command_augments_unless_told_otherwise(cli):
    few = (*TRAIN[:4], "--epochs", 1, "--limit", 40)
    assert cli(*few, "--out", "usual")[0] == 0
    assert cli(*few, "--augment", "none", "--out", "plain")[0] == 0
    layers = [cnn.Model.load(f"{run}/last.npz").network.layers[0] for run in ("usual", "plain")]
    usual = cnn.RandomAffine(10.0, shear=5.0, translate=0.05)
    assert layers == [cnn.Sequential(usual, cnn.Rescale()), cnn.Rescale()]
    assert read_run("usual").config["augment"] == list(USUAL["digits", "basic"])
    assert "--augment none" in read_run("plain").command
    assert cli(*few, "--network", "scratch", "--out", "other")[0] == 0
    tuned = ("--from", "plain/last.npz", "--out", "tuned")
    assert cli(*few, *tuned)[0] == 0
    assert [read_run(run).config["augment"] for run in ("other", "tuned")] == [[], []]
    # One of an earlier version, whose config.json does not know the option.
    config = json.loads(Path("plain/config.json").read_text())
    config.pop("augment")
    Path("plain/config.json").write_text(json.dumps(config))
    code, _, lines = cli("train", "--resume", "plain", "--epochs", 2, "--override")
    assert (code, json.loads(Path("plain/config.json").read_text())["augment"]) == (0, []), lines


def test_a_tuned_model_begins_with_what_is_said_here(images, cli):
    before = ("--dataset", "set.npz", *NETWORK, "--augment", "shift=1", "--out", "old")
    assert cli(*TRAIN, *before)[0] == 0
    after = ("--dataset", "set.npz", "--from", "old/last.npz", "--freeze", "0")
    assert cli(*TRAIN, *after, "--augment", "flip", "--out", "new")[0] == 0
    first = cnn.Model.load("new/last.npz").network.layers[0].layers[0]
    assert first == cnn.Sequential(cnn.HorizontalFlip(), cnn.Rescale())
    np.testing.assert_array_equal(
        arrays("new/last.npz")["0.1.weight"], arrays("old/last.npz")["1.weight"]
    )


def test_evaluate_and_predict_give_the_mean_over_copies(images, cli, monkeypatch):
    monkeypatch.setattr("arraycnn.training.batch_size.images_at_once", lambda shape: 3)
    begin = ("--dataset", "set.npz", *NETWORK, "--augment", "affine=40")
    assert cli(*TRAIN, *begin, "--out", "run")[0] == 0
    model = cnn.Model.load("run/last.npz", cnn.NumPy(fast=False))
    data = load_dataset("set.npz")
    measured = model.evaluate(data.test_images, data.test_labels, augment=3)
    here = ("--backend", "numpy", "--no-fast", "--augment", 3)
    rows = ("--format", "csv", "--output", "rows.csv", "--json")
    code, out, _ = cli("evaluate", "run/last.npz", *here, *rows)
    found = json.loads(out)
    assert (code, found["loss"], found["accuracy"]) == (0, measured.loss, measured.accuracy)
    expected = model.predict(data.test_images, augment=3).max(axis=1)
    with open("rows.csv", newline="") as file:
        given = [float(row["probability"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(given, expected, rtol=1e-6)
    np.save("some.npy", images[:5])
    code, out, _ = cli("predict", "run/last.npz", "some.npy", *here, "--no-invert", "--json")
    given = [max(row["probabilities"].values()) for row in json.loads(out)]
    np.testing.assert_allclose(given, model.predict(images[:5], augment=3).max(axis=1), rtol=1e-6)
    assert not np.allclose(given, model.predict(images[:5]).max(axis=1), rtol=1e-6)


@pytest.mark.parametrize("asking", ["evaluate", "predict"])
def test_copies_that_nothing_makes_are_refused_as_an_option(images, cli, asking):
    assert cli(*TRAIN, *NETWORK, "--dataset", "set.npz", "--out", "run")[0] == 0
    data = ("set.npz",) if asking == "predict" else ()
    asked = (asking, "run/last.npz", *data, "--augment", 2, "--output", "rows.csv")
    code, out, (line,) = cli(*asked)
    assert (code, out, Path("rows.csv").exists()) == (2, "", False)
    assert "--augment: must be of a model that begins with augmentation that makes copies" in line
    assert "train --augment shift=1" in line
    made = ("--augment", "shift=1", "--out", "again")
    assert cli(*TRAIN, *NETWORK, "--dataset", "set.npz", *made)[0] == 0
    assert cli(asking, "again/last.npz", *asked[2:])[0] == 0


@pytest.mark.parametrize("asking", ["evaluate", "predict"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("shift=2", "must be how many copies, such as 8, got shift=2: they are made by what MODEL"),
        ("none", "must be how many copies, such as 8, got none"),
        ("many", "'many' is not a valid integer"),
        (-1, "-1 is not in the range x>=0"),
    ],
)
def test_copies_are_counted_not_named(cli, asking, given, said):
    images = ("any.npy",) if asking == "predict" else ()
    code, _, (line,) = cli(asking, "any.npz", *images, "--augment", given)
    assert code == 2
    assert said in line
