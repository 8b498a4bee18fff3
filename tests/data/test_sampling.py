"""Sets that look perfect because the question was empty: of one class, with gaps, one level high."""

import json

import numpy as np
import pytest
from PIL import Image

from arraycnn import DataError, Model
from arraycnn.data import load_dataset
from arraycnn.data.sampling import check_can_be_learned, gaps, unmeasured
from arraycnn.networks import scratch

DIGITS = load_dataset("digits")
TRAIN = ("train", "--backend", "numpy", "--no-fast", "--network", "scratch", "--epochs", "1")


def save_set(path, counts, **names):
    """``counts[k]`` images of the digit k, labelled k."""
    places = [np.flatnonzero(DIGITS.train_labels == k)[:n] for k, n in enumerate(counts)]
    labels = np.repeat(np.arange(len(counts)), counts)
    np.savez(path, images=DIGITS.train_images[np.concatenate(places)], labels=labels, **names)


def save_pictures(folder, counts):
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(DIGITS.train_images[number, ..., 0]).save(
                folder / name / f"{number}.png"
            )


# --- one class ------------------------------------------------------------------------------------


def test_a_folder_one_level_too_high(cli, tmp_path, caplog):
    save_pictures(tmp_path / "all" / "pets", {"cat": 6, "dog": 6})
    code, out, errors = cli(*TRAIN, "--dataset", "all", "--out", "run")
    assert (code, out) == (2, "")
    (said,) = caplog.messages
    assert "whose pictures lie in 2 subfolders (cat, dog); if these are the classes" in said
    assert "training needs images of at least two classes, got 10 of 'pets'" in errors[-1]
    assert not (tmp_path / "run").exists()
    place = said.rpartition("name ")[2].removesuffix(" instead")
    assert cli(*TRAIN, "--dataset", place, "--out", "run")[0] == 0


def test_two_sets_side_by_side_are_asked_about(tmp_path, caplog):
    save_pictures(tmp_path / "summer", {"cat": 6, "dog": 6})
    save_pictures(tmp_path / "winter", {"cat": 6, "dog": 6})
    assert load_dataset(tmp_path).class_names == ("summer", "winter")
    assert caplog.text.count("whose pictures lie in 2 subfolders (cat, dog)") == 2
    caplog.clear()
    save_pictures(tmp_path / "plain" / "a", {"one": 6, "two": 6})
    beside = Image.fromarray(DIGITS.train_images[9, ..., 0])
    beside.save(tmp_path / "plain" / "a" / "beside.png")
    save_pictures(tmp_path / "plain", {"b": 6})
    load_dataset(tmp_path / "plain")
    assert caplog.text == ""


@pytest.mark.parametrize("option", [(), ("--validation", "0"), ("--limit", "4")])
@pytest.mark.parametrize("counts", [(9,), (0, 0, 9)])
def test_a_set_of_one_class_is_not_trained_on(counts, option, cli):
    save_set("one.npz", counts)
    code, out, errors = cli(*TRAIN, "--dataset", "one.npz", *option)
    assert (code, out) == (2, "")
    assert "training needs images of at least two classes, got" in errors[-1]


def test_measuring_on_one_class_says_so(cli, caplog):
    Model(scratch(10), (8, 8), class_names=DIGITS.class_names).save("model.npz")
    save_set("threes.npz", (0, 0, 0, 20))
    for part, count in (("test", 4), ("train", 16)):
        caplog.clear()
        code, _, errors = cli("evaluate", "model.npz", "--dataset", "threes.npz", "--part", part)
        assert code == 0
        said = f"evaluate: all {count} images are of class '3': the accuracy does not show that"
        assert sum(said in line for line in caplog.messages) == 1
        assert not any("not measured" in line for line in errors)


# --- classes with too few -------------------------------------------------------------------------


def test_a_class_of_one_picture(cli, tmp_path):
    save_pictures(tmp_path / "pets", {"cat": 12, "dog": 12, "yak": 1})
    code, _, errors = cli(*TRAIN, "--dataset", "pets")
    assert code == 0
    assert "arraycnn: pets: class 'yak' has 1 image: trained on, never tested" in errors


def test_classes_that_only_one_part_has(cli, tmp_path):
    save_pictures(tmp_path / "pets" / "train", {"cat": 12, "dog": 12, "yak": 3, "bat": 3})
    save_pictures(tmp_path / "pets" / "test", {"cat": 5, "dog": 5})
    _, _, errors = cli(*TRAIN, "--dataset", "pets")
    said = "2 of 4 classes (bat, yak) have no test images: trained on, never tested"
    assert f"arraycnn: pets: {said}" in errors


@pytest.mark.parametrize(
    ("train", "validation", "test", "said"),
    [
        ([0, 1], [0, 1], [0, 1], []),
        ([0, 1], [], [0, 1, 2], ["'c' has no training images: tested, but never learned"]),
        ([0, 2], [0, 2], [0, 2], ["'b' has no images: an output of which nothing is known"]),
        ([0, 1, 2], [], [0, 1], ["'c' has 1 image: trained on, never tested"]),
        ([0, 1, 2], [1, 2], [0, 1], ["'c' has no test images: trained on, never tested"]),
        ([0, 1], [0, 1], [1, 1], ["'a' has no test images: trained on, never tested"]),
        ([0, 1], [0, 0], [1, 0], ["every validation image is of class 'a'"]),
    ],
)
def test_what_a_set_cannot_show(train, validation, test, said):
    names = ("a", "b", "c") if 2 in train + test else ("a", "b")
    lines = gaps("set", names, train, validation, test)
    assert len(lines) == len(said)
    for line, text in zip(lines, said, strict=True):
        assert line.startswith("set: ")
        assert text in line


def test_what_was_not_measured():
    assert unmeasured("set", "test", ("a", "b"), [0, 1, 1]) == ""
    assert "class 'b' has no test images" in unmeasured("set", "test", ("a", "b", "c"), [0, 2])
    assert "every image is of class 'a'" in unmeasured("set", "", ("a", "b"), [0])
    many = tuple(map(str, range(100)))
    line = unmeasured("set", "", many, [0, 1])
    assert "98 of 100 classes (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13 and 86 more) have no" in line


def test_names_are_shown_as_text():
    with pytest.raises(DataError) as caught:
        check_can_be_learned("set", ("a\nb\x1b[2J",), [0, 0])
    assert str(caught.value).isprintable()


# --- numbers with gaps ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "names"),
    [
        ((100, 400, 700), ("100", "400", "700")),
        ((3, 8), ("3", "8")),
        ((0, 9), ("0", "9")),
        ((0, 1), ("0", "1")),
        ((1, 2), ("0", "1", "2")),
        ((1, 3, 4), ("0", "1", "2", "3", "4")),
    ],
)
def test_numbers_with_gaps_are_the_classes(numbers, names, tmp_path, caplog):
    labels = np.repeat(numbers, 10)
    images = DIGITS.train_images[: len(labels)].copy()
    images[:, 0, 0, 0] = np.arange(len(labels))
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    data = load_dataset(tmp_path / "a.npz")
    assert data.class_names == names
    assert not data.named
    for part, found in (
        (data.train_images, data.train_labels),
        (data.test_images, data.test_labels),
    ):
        given = labels[part[:, 0, 0, 0]]
        assert [int(data.class_names[label]) for label in found] == given.tolist()
    assert ("have gaps" in caplog.text) == (len(names) == len(numbers) and max(numbers) > 1)


def test_a_test_part_has_the_numbers_of_the_training_part(tmp_path):
    images = DIGITS.train_images[:6]
    parts = {"train_images": images, "train_labels": np.array([7, 70, 700] * 2)}
    np.savez(tmp_path / "a.npz", **parts, test_images=images[:2], test_labels=np.array([700, 7]))
    data = load_dataset(tmp_path / "a.npz")
    assert (data.class_names, data.test_labels.tolist()) == (("7", "70", "700"), [2, 0])


def test_a_model_of_such_numbers_meets_them_again(cli):
    labels = np.repeat([100, 400, 700], 20)
    images = np.concatenate([DIGITS.train_images[DIGITS.train_labels == k][:20] for k in range(3)])
    np.savez("a.npz", images=images, labels=labels)
    assert cli(*TRAIN, "--dataset", "a.npz", "--epochs", "12", "--out", "run")[0] == 0
    model = Model.load("run/last.npz")
    assert (model.classes, model.class_names) == (3, ("100", "400", "700"))
    np.savez("b.npz", images=images[20:], labels=labels[20:])
    options = ("--dataset", "b.npz", "--part", "all", "--json")
    _, out, _ = cli("evaluate", "run/last.npz", *options)
    right = model.predict(images[20:]).argmax(axis=1) == np.repeat([1, 2], 20)
    assert json.loads(out)["accuracy"] == right.mean() > 0.5


# --- runs from before -----------------------------------------------------------------------------


def test_a_run_keeps_the_rule_that_its_images_were_drawn_by(cli, tmp_path):
    assert cli(*TRAIN, "--limit", "60", "--out", "now")[0] == 0
    config = json.loads((tmp_path / "now" / "config.json").read_text())
    assert config["sampling"] == "by class"
    old = DIGITS.first(60)
    assert not np.array_equal(old.train_labels, DIGITS.limited(60).train_labels)
    # What such a run was before there was a rule to name: its digest is of the first images.
    del config["sampling"]
    (tmp_path / "now" / "config.json").write_text(json.dumps(config))
    code, _, errors = cli("train", "--resume", "now")
    assert code == 2
    assert "no longer the same" in errors[0]
    assert cli("train", "--resume", "now", "--override", "--epochs", "2")[0] == 0
    assert json.loads((tmp_path / "now" / "config.json").read_text())["sampling"] == "first"
    assert "is finished" in cli("train", "--resume", "now")[2][0]


# --- images that the model was trained on ---------------------------------------------------------


def test_measuring_on_the_training_images_says_so(cli):
    save_set("mine.npz", (30, 30, 30))
    assert cli(*TRAIN, "--dataset", "mine.npz", "--limit", "50", "--out", "run")[0] == 0
    base = ("evaluate", "run/last.npz", "--dataset", "mine.npz")
    said = "images that the model was trained on"
    assert not any(said in line for line in cli(*base)[2])
    assert f"mine: these are {said}" in "\n".join(cli(*base, "--part", "train")[2])
    assert f"mine: these hold {said}" in "\n".join(cli(*base, "--part", "all", "--limit", "20")[2])
    save_set("other.npz", (0, 0, 30, 30))
    np.savez("other.npz", **{**np.load("mine.npz"), "labels": np.load("mine.npz")["labels"][::-1]})
    other = ("evaluate", "run/last.npz", "--dataset", "other.npz", "--part", "train")
    assert not any(said in line for line in cli(*other)[2])


def test_a_set_that_has_changed_may_test_what_was_trained_on(cli):
    save_set("mine.npz", (30, 30, 30))
    assert cli(*TRAIN, "--dataset", "mine.npz", "--out", "run")[0] == 0
    said = "mine: is not the data set, as it was, that the model was trained on: some of the images"
    base = ("evaluate", "run/last.npz", "--dataset", "mine.npz")
    assert not any(said in line for line in cli(*base)[2])
    save_set("mine.npz", (30, 30, 29))
    assert any(said in line for line in cli(*base)[2])


def test_a_class_without_test_images_has_no_scores_in_the_report():
    from arraycnn.report import class_scores
    from arraycnn.report.sentences import classes

    confusion = np.array([[5, 0, 1], [1, 4, 0], [0, 0, 0]])  # one image is taken for the third
    text = classes(class_scores(confusion), ("a", "b", "never tested"))
    assert "never tested" not in text


def test_the_estimator_refuses_to_score_classes_of_which_it_knows_none():
    pytest.importorskip("sklearn", reason="sklearn (scikit-learn) is not installed")
    from arraycnn import CNNClassifier

    few = DIGITS.train_labels < 3
    images, labels = DIGITS.train_images[few], DIGITS.train_labels[few]
    known = CNNClassifier("scratch", epochs=1).fit(images, labels)
    assert known.score(images, labels) == (known.predict(images) == labels).mean()
    for wrong in (labels.astype(str), labels + 10, np.array(["cat", "dog", "eel"])[labels]):
        with pytest.raises(ValueError, match="must have classes that fit saw, 0, 1, 2, got"):
            known.score(images, wrong)
    assert known.score(images, labels.astype(str).astype(int)) == known.score(images, labels)
    assert known.score(images, labels + 1) < 1  # some are known: the others count as wrong


@pytest.mark.parametrize("twice", [0, 1, 7, 30])
def test_test_images_that_are_trained_on_are_counted(twice, cli):
    images, labels = DIGITS.train_images, DIGITS.train_labels
    parts = {"train_images": images[:60], "train_labels": labels[:60]}
    chosen = np.r_[np.arange(twice), np.arange(100, 130)]
    np.savez("set.npz", **parts, test_images=images[chosen], test_labels=labels[chosen])
    code, _, errors = cli(*TRAIN, "--dataset", "set.npz")
    assert code == 0
    said = f"set: {twice} of {twice + 30} test images are among the training images, to the pixel"
    assert any(said in line for line in errors) == (twice > 0)
    assert any("among the training images" in line for line in errors) == (twice > 0)
