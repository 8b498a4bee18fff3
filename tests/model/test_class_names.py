"""Classes are matched by name wherever data meet a model, or refused with both lists."""

import json
import unicodedata

import numpy as np
import pytest
from PIL import Image

from arraycnn import DataError, Model
from arraycnn.data import load_dataset
from arraycnn.model.class_names import match_classes
from arraycnn.networks import scratch

DIGITS = load_dataset("digits")
PETS = ("cat", "dog", "eel")


@pytest.fixture(scope="module")
def trained():
    """A model that knows 0, 1 and 2 as cat, dog and eel, and the images that it was trained on."""
    chosen = DIGITS.train_labels < 3
    images, labels = DIGITS.train_images[chosen], DIGITS.train_labels[chosen]
    model = Model(scratch(3), (8, 8), class_names=PETS)
    model.fit(images, labels, epochs=2, batch_size=16)
    return model, images, labels


@pytest.fixture
def evaluate(cli, trained, tmp_path):
    """`arraycnn evaluate` on all images of a set: (exit code, accuracy, lines on stderr)."""
    trained[0].save("pets.npz")

    def run(dataset, *options):
        arguments = ("--dataset", dataset, "--part", "all", "--json", *options)
        code, out, errors = cli("evaluate", "pets.npz", *arguments)
        return code, json.loads(out)["accuracy"] if code == 0 else None, errors

    return run


def accuracy(model, images, labels):
    """Without the library's own measuring: the share of images whose best class is right."""
    return float((model.predict(images).argmax(axis=1) == labels).mean())


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2), (2, 1, 0)])
@pytest.mark.parametrize("kind", ["numbers", "texts"])
def test_the_same_pictures_in_another_order_of_classes(order, kind, trained, evaluate):
    model, images, labels = trained
    names = np.array(PETS)[list(order)]
    place = np.argsort(order)
    arrays = {"labels": place[labels], "class_names": names}
    if kind == "texts":
        arrays = {"labels": np.array(PETS)[labels]}
    np.savez("set.npz", images=images, **arrays)
    code, found, errors = evaluate("set.npz")
    expected = accuracy(model, images, labels)
    assert expected > 0.9
    assert (code, found) == (0, expected)
    told = kind == "numbers" and order != (0, 1, 2)
    assert [line for line in errors if "in another order" in line] == errors
    assert len(errors) == told


def save_folder(path, images, labels, names):
    for place, name in enumerate(names):
        (path / name).mkdir(parents=True)
        for number, image in enumerate(images[labels == place][:5]):
            Image.fromarray(image[..., 0]).save(path / name / f"{number}.png")


@pytest.mark.parametrize("shown", [("fork", "knife", "spoon"), ("cat", "dog", "fork"), ("0", "1")])
def test_classes_that_the_model_does_not_know(shown, trained, evaluate, tmp_path):
    _, images, labels = trained
    save_folder(tmp_path / "set", images, labels, shown)
    code, _, errors = evaluate("set")
    assert (code, len(errors)) == (2, 1)
    assert "knows cat, dog, eel" in errors[0]
    assert f"got {', '.join(shown)}" in errors[0]
    unknown = ", ".join(name for name in shown if name not in PETS)
    assert f"does not know {unknown};" in errors[0]


def test_some_of_the_classes(trained, evaluate, tmp_path):
    model, images, labels = trained
    save_folder(tmp_path / "set", images, labels - 1, ("dog", "eel"))
    code, found, errors = evaluate("set")
    few = np.concatenate([np.flatnonzero(labels == number)[:5] for number in (1, 2)])
    assert (code, found) == (0, accuracy(model, images[few], labels[few])), errors
    assert errors == ["arraycnn: set: class 'cat' has no images: not measured"]


def test_numbers_without_names_are_taken_by_number_and_said(trained, evaluate):
    model, images, labels = trained
    np.savez("set.npz", images=images, labels=labels)
    code, found, errors = evaluate("set.npz")
    assert (code, found) == (0, accuracy(model, images, labels))
    assert "has no class names, so classes are taken by number: 0 is cat, 1 is dog" in errors[0]
    np.savez("set.npz", images=images, labels=labels + 1)
    code, _, errors = evaluate("set.npz")
    assert code == 2
    assert "does not know 3" in errors[0]


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_one_published_set_is_not_the_other(name, cli, tmp_path):
    """Both have ten classes of 28x28 pixels; the files are a user's own, of the published names."""
    rng = np.random.default_rng(0)
    for part in ("train", "t10k"):
        for kind, array in (
            ("images-idx3", rng.integers(0, 256, (20, 28, 28), np.uint8)),
            ("labels-idx1", np.arange(20, dtype=np.uint8) % 10),
        ):
            head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4) for n in array.shape)
            (tmp_path / f"{part}-{kind}-ubyte").write_bytes(head + array.tobytes())
    known = load_dataset(name, tmp_path).class_names
    Model(scratch(10), (28, 28), class_names=known).save("model.npz")
    other = {"mnist": "fashion-mnist", "fashion-mnist": "mnist"}[name]
    assert cli("evaluate", "model.npz", "--dataset", name, "--data-dir", tmp_path)[0] == 0
    code, _, errors = cli("evaluate", "model.npz", "--dataset", other, "--data-dir", tmp_path)
    assert code == 2
    assert f"knows {known[0]}, {known[1]}" in errors[-1]
    assert "does not know" in errors[-1]


def test_a_model_without_names(trained, cli):
    _, images, labels = trained
    bare = Model(scratch(10), (8, 8))
    bare.save("bare.npz")
    np.savez("set.npz", images=images, labels=labels, class_names=np.array(PETS))
    options = ("--part", "all", "--output", "rows.txt", "--per-class", "--json")
    code, out, errors = cli("evaluate", "bare.npz", "--dataset", "set.npz", *options)
    assert (code, json.loads(out)["accuracy"]) == (0, accuracy(bare, images, labels))
    assert list(json.loads(out)["per_class"]) == [*PETS, *"3456789"]
    assert "the model has no class names, so classes are taken by number: 0 is cat" in errors[0]


# --- in Python ------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2), (2, 1, 0)])
@pytest.mark.parametrize("kind", ["arrays", "batches", "texts", "array of names"])
def test_labels_numbered_by_names(order, kind, trained):
    model, images, labels = trained
    names = [PETS[place] for place in order]
    given = np.argsort(order)[labels]
    expected = accuracy(model, images, labels)
    if kind == "batches":
        cut = [(images[n : n + 50], given[n : n + 50]) for n in range(0, len(images), 50)]
        found = model.evaluate(cut, class_names=names)
    elif kind == "texts":
        found = model.evaluate(images, np.array(PETS)[labels], class_names=names)
    else:
        names = np.array(names) if kind == "array of names" else names
        found = model.evaluate(images, given, class_names=names)
    assert found.accuracy == pytest.approx(expected, abs=1e-12)
    assert found.loss == pytest.approx(model.evaluate(images, labels).loss, rel=1e-5)


def test_names_that_number_labels_and_are_not_the_models(trained):
    model, images, labels = trained
    with pytest.raises(
        DataError, match=r"labels: .*knows cat, dog, eel; got cat, cow, eel, .* cow;"
    ):
        model.evaluate(images, labels, class_names=["cat", "cow", "eel"])
    some = labels != 1  # what has no images need not be known
    model.evaluate(images[some], labels[some], class_names=["cat", "cow", "eel"])


def test_a_model_without_names_takes_named_labels_by_number_and_says_so(trained, caplog):
    _, images, labels = trained
    Model(scratch(3), (8, 8)).evaluate(images, labels, class_names=PETS)
    assert "classes are taken by number: 0 is cat, 1 is dog, 2 is eel" in caplog.text


# --- folders that predict is shown ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ("cat", "dog", "eel"),
            "{right} of {count} pictures in the folder of the class told, which",
        ),
        (
            ("dog", "cat", "eel"),
            "{right} of {count} pictures in the folder of the class told, which",
        ),
        (("cat", "cow", "eel"), "evaluate measures, folders that are no class of the model: cow"),
        (("cow", "fox", "owl"), "arraycnn: folders that are no class of the model: cow, fox, owl"),
        (("images",), ""),
        (("eel ",), "{right} of {count} pictures in the folder"),
    ],
)
def test_what_the_folders_say_of_the_predictions(names, expected, trained, cli, tmp_path):
    model, images, labels = trained
    model.save("pets.npz")
    save_folder(tmp_path / "set", images, labels, names)
    code, out, errors = cli("predict", "pets.npz", "set", "--format", "jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    right = sum(row["class"] == row["image"].split("/")[1].strip() for row in rows)
    line = expected.format(right=right, count=len(rows))
    about = [error for error in errors if "folder" in error]
    assert len(about) == bool(line)
    assert not line or line in about[0]


@pytest.mark.parametrize("arguments", [("set/cat",), ("set/*/*.png",), ("set/cat/0.png",)])
def test_folders_that_are_not_below_what_was_named_say_nothing(arguments, trained, cli, tmp_path):
    model, images, labels = trained
    model.save("pets.npz")
    save_folder(tmp_path / "set", images, labels, PETS)
    assert not [e for e in cli("predict", "pets.npz", *arguments)[2] if "folder" in e]


# --- the rule itself ------------------------------------------------------------------------------


def matched(known, shown, used=None, named=True, outputs=None):
    used = range(len(shown)) if used is None else used
    outputs = len(known) if known is not None else outputs
    return match_classes("set", known, outputs, shown, used, named)


@pytest.mark.parametrize("seed", range(10))
def test_every_permutation_of_every_part_of_the_names(seed):
    rng = np.random.default_rng(seed)
    known = [f"class {number}" for number in rng.permutation(rng.integers(2, 30))]
    shown = list(rng.permutation(known)[: rng.integers(1, len(known) + 1)])
    found = matched(known, shown)
    assert [known[number] for number in found.numbers] == shown
    assert found.names == tuple(known)


@pytest.mark.parametrize(
    ("known", "shown", "numbers"),
    [
        (("0", "1", "10", "2"), ("0", "1", "2", "10"), [0, 1, 3, 2]),  # a folder's order
        (("00", "01", "02"), ("0", "2"), [0, 2]),
        (("0", "7"), ("00", "07"), [0, 1]),
        (("a ", "b"), ("b", "a"), [1, 0]),
        (
            tuple(unicodedata.normalize("NFD", name) for name in ("caf\xe9", "th\xe9")),
            ("th\xe9", "caf\xe9"),
            [1, 0],
        ),
        (("7", "07"), ("07", "7"), [1, 0]),  # two classes for this model
        (("٣", "4"), ("3", "4"), [0, 1]),
    ],
)
def test_names_that_a_reader_takes_for_the_same(known, shown, numbers):
    assert matched(known, shown).numbers.tolist() == numbers


@pytest.mark.parametrize(("known", "shown"), [(("a", "b"), ("A", "B")), (("1", "2"), ("one", "2"))])
def test_names_that_differ(known, shown):
    with pytest.raises(DataError, match="does not know"):
        matched(known, shown)


def test_only_classes_with_images_must_be_known():
    assert matched(("a", "b"), ("c", "b", "a"), used=[1, 2]).numbers.tolist() == [-1, 1, 0]
    with pytest.raises(DataError, match="got b, a, c, of which it does not know c"):
        matched(("a", "b"), ("b", "a", "c"))


def test_numbers_meet_names_that_are_numbers_by_their_value():
    folders = ("0", "1", "10", "11", "2")
    found = matched(folders, tuple(map(str, range(12))), used=[2, 10], named=False)
    assert found.numbers[[2, 10]].tolist() == [4, 2]
    assert found.said == ""


def test_more_classes_than_the_model_has():
    with pytest.raises(DataError, match="has 2 classes without names; got a, b, c"):
        matched(None, ("a", "b", "c"), outputs=2)


def test_long_lists_are_cut_short():
    known = [f"k{number}" for number in range(1000)]
    with pytest.raises(DataError, match=r"k11 and 988 more; got s0.*s11 and 988 more") as caught:
        matched(known, [f"s{number}" for number in range(1000)])
    assert len(str(caught.value)) < 500
