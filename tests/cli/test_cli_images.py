"""Which images each command trains, validates and tests on, seen from inside the model.

Every image of the set tells its own number, so that those a command hands to the model are known
one by one: trained on, held out, tested.
"""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from arraycnn import Model
from arraycnn.data.image_source import rows

CLASSES, TRAIN, TEST, OWN = 3, 240, 45, 30
BASE = ("train", "--dataset", "set.npz", "--backend", "numpy", "--network", "scratch")
QUICK = ("--epochs", "2", "--batch-size", "48")


def numbered(first, count):
    """``count`` images of 8x8 whose first pixels are their number, and labels."""
    rng = np.random.default_rng(first)
    images = rng.integers(0, 256, (count, 8, 8), dtype=np.uint8)
    numbers = np.arange(first, first + count)
    images[:, 0, 0], images[:, 0, 1] = numbers // 256, numbers % 256
    labels = (numbers * 7 % 11) % CLASSES
    images[:, 2:6, 2:6] = (80 * labels)[:, None, None]
    return images, labels


def numbers_of(images):
    """Which images these are, however they are held."""
    pixels = np.asarray(rows(images, np.arange(images.shape[0]))).reshape(images.shape[0], -1)
    return [int(high) * 256 + int(low) for high, low in pixels[:, :2]]


LABELS = dict(enumerate(numbered(0, TRAIN)[1]))
LABELS |= {1000 + n: label for n, label in enumerate(numbered(1000, TEST)[1])}
LABELS |= {2000 + n: label for n, label in enumerate(numbered(2000, OWN)[1])}


@pytest.fixture
def dataset(tmp_path):
    """Writes set.npz; with ``own``, it has a validation part of its own."""

    def write(own=False):
        arrays = {}
        parts = {"train": (0, TRAIN), "test": (1000, TEST)} | ({"val": (2000, OWN)} if own else {})
        for part, (first, count) in parts.items():
            arrays[f"{part}_images"], arrays[f"{part}_labels"] = numbered(first, count)
        np.savez(tmp_path / "set.npz", **arrays)

    return write


@pytest.fixture
def seen(monkeypatch):
    """What models were given, by use: lists of lists of numbers of images."""
    uses = defaultdict(list)
    fit, evaluate, predict = Model.fit, Model.evaluate, Model.predict

    def note(use, images, labels=None):
        numbers = numbers_of(images)
        uses[use].append(numbers)
        if labels is not None:
            assert [int(label) for label in labels] == [LABELS[n] for n in numbers]

    def spying_fit(self, images, labels, **settings):
        note("trained", images, labels)
        if settings["validation"] is not None:
            note("validated", *settings["validation"])
        return fit(self, images, labels, **settings)

    def spying_evaluate(self, images, labels, *rest, **settings):
        note("evaluated", images, labels)
        return evaluate(self, images, labels, *rest, **settings)

    def spying_predict(self, images, *rest, **settings):
        note("predicted", images)
        return predict(self, images, *rest, **settings)

    monkeypatch.setattr(Model, "fit", spying_fit)
    monkeypatch.setattr(Model, "evaluate", spying_evaluate)
    monkeypatch.setattr(Model, "predict", spying_predict)
    return uses


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def mean_loss(model, numbers):
    """(loss, accuracy) by hand, on the images of these numbers."""
    images = np.stack([numbered(n, 1)[0][0] if n < 0 else PIXELS[n] for n in numbers])
    shares = model.predict(images).astype(float)
    labels = [LABELS[n] for n in numbers]
    losses = [-np.log(row[label]) for row, label in zip(shares, labels, strict=True)]
    hits = [int(row.argmax()) == label for row, label in zip(shares, labels, strict=True)]
    return sum(losses) / len(losses), sum(hits) / len(hits)


PIXELS = {}
for first, count in ((0, TRAIN), (1000, TEST), (2000, OWN)):
    PIXELS |= dict(zip(range(first, first + count), numbered(first, count)[0], strict=True))


def check_run(seen, folder, validated, trained):
    """That a run trained, validated and tested on what it should, and wrote what follows from it."""
    assert len(seen["trained"]) == 1
    assert sorted(seen["trained"][0]) == sorted(trained)
    watched = [sorted(validated)] if validated else []
    assert [sorted(numbers) for numbers in seen["validated"]] == watched
    tested = list(range(1000, 1000 + TEST))
    assert seen["evaluated"]
    assert all(numbers == tested for numbers in seen["evaluated"])
    seen.clear()
    last, records = Model.load(folder / "last.npz"), lines(folder / "metrics.jsonl")
    summary = json.loads((folder / "summary.json").read_text())
    loss, accuracy = mean_loss(last, tested)
    assert summary["test_loss"] == pytest.approx(loss, rel=1e-5)
    assert summary["test_accuracy"] == accuracy
    if not validated:
        assert all(record["validation_loss"] is None for record in records)
        return
    loss, accuracy = mean_loss(last, validated)
    assert records[-1]["validation_loss"] == pytest.approx(loss, rel=1e-5)
    assert records[-1]["validation_accuracy"] == accuracy
    best = min(records, key=lambda record: record["validation_loss"])
    assert summary["best"]["epoch"] == best["epoch"]
    loss, accuracy = mean_loss(Model.load(folder / "best.npz"), validated)
    assert loss == pytest.approx(best["validation_loss"], rel=1e-5)
    loss, accuracy = mean_loss(Model.load(folder / "best.npz"), tested)
    assert summary["best"]["test_loss"] == pytest.approx(loss, rel=1e-5)
    assert summary["best"]["test_accuracy"] == accuracy


@pytest.mark.parametrize(
    ("share", "held_out"),
    [(None, TRAIN // 12), ("0.25", 60), ("0", 0)],
    ids=["1/12", "1/4", "none"],
)
def test_a_share_of_the_training_images_is_held_out_and_nothing_else(
    cli, dataset, seen, share, held_out
):
    dataset()
    given = () if share is None else ("--validation", share)
    code, _, errors = cli(*BASE, *QUICK, *given, "--out", "run")
    assert code == 0, errors
    validated = seen["validated"][0] if held_out else []
    trained = seen["trained"][0]
    assert len(validated) == held_out
    assert not set(validated) & set(trained)
    assert sorted(trained + validated) == list(range(TRAIN))
    for label in range(CLASSES):  # in proportion
        of_class = [n for n in range(TRAIN) if LABELS[n] == label]
        wanted = held_out * len(of_class) / TRAIN
        assert abs(len(set(of_class) & set(validated)) - wanted) < 1
    check_run(seen, Path("run"), validated, trained)


def test_a_sets_own_validation_part_is_watched_and_all_others_are_trained_on(cli, dataset, seen):
    dataset(own=True)
    assert cli(*BASE, *QUICK, "--out", "run")[0] == 0
    check_run(seen, Path("run"), list(range(2000, 2000 + OWN)), list(range(TRAIN)))
    # A share of its own is another choice, and the part then is not used.
    assert cli(*BASE, *QUICK, "--validation", "0.25", "--out", "other")[0] == 0
    validated, trained = seen["validated"][0], seen["trained"][0]
    assert sorted(trained + validated) == list(range(TRAIN))
    check_run(seen, Path("other"), validated, trained)


def test_another_seed_holds_out_others_and_the_same_seed_the_same(cli, dataset, seen):
    dataset()
    for seed, name in (("0", "a"), ("0", "b"), ("1", "c")):
        assert cli(*BASE, "--epochs", "1", "--seed", seed, "--out", name)[0] == 0
    first, again, other = (set(numbers) for numbers in seen["validated"])
    assert first == again != other


def test_a_resumed_run_goes_on_with_the_same_images(cli, dataset, seen):
    dataset()
    assert cli(*BASE, *QUICK, "--out", "run")[0] == 0
    (validated,), (trained,) = seen["validated"], seen["trained"]
    seen.clear()
    code, _, errors = cli("train", "--resume", "run", "--epochs", "3", "--override")
    assert code == 0, errors
    check_run(seen, Path("run"), validated, trained)


def test_a_limit_leaves_out_the_same_images_of_every_part(cli, dataset, seen):
    dataset()
    assert cli(*BASE, *QUICK, "--limit", "60", "--out", "run")[0] == 0
    trained, validated = seen["trained"][0], seen["validated"][0]
    assert len(validated) == 5
    assert len(trained) + len(validated) == 60
    assert set(trained + validated) <= set(range(TRAIN))
    assert all(set(numbers) <= set(range(1000, 1000 + TEST)) for numbers in seen["evaluated"])


def test_the_best_epoch_is_measured_by_itself_where_it_is_not_the_last(cli, dataset, tmp_path):
    """On labels that cannot be learned, where no epoch is much better than another."""
    dataset()
    with np.load(tmp_path / "set.npz") as content:
        arrays = dict(content)
    rng = np.random.default_rng(1)
    for part in ("train", "test"):
        arrays[f"{part}_labels"] = rng.integers(0, CLASSES, len(arrays[f"{part}_labels"]))
    np.savez(tmp_path / "set.npz", **arrays)
    settings = ("--epochs", "6", "--learning-rate", "0.03", "--schedule", "constant")
    code, out, _ = cli(*BASE, *settings, "--monitor", "validation_accuracy", "--out", "run")
    assert code == 0
    records, tested = lines("run/metrics.jsonl"), arrays["test_labels"]
    accuracies = [record["validation_accuracy"] for record in records]
    best = accuracies.index(max(accuracies)) + 1  # of equals the first
    assert best < 6
    summary, found = json.loads(Path("run/summary.json").read_text()), {}
    for name in ("best", "last"):
        shares = Model.load(f"run/{name}.npz").predict(arrays["test_images"]).astype(float)
        loss = -np.log(shares[np.arange(TEST), tested]).mean()
        found[name] = loss, (shares.argmax(axis=1) == tested).mean()
    assert found["best"] != found["last"]
    assert summary["best"]["epoch"] == best
    assert summary["best"]["test_loss"] == pytest.approx(found["best"][0], rel=1e-5)
    assert summary["best"]["test_accuracy"] == pytest.approx(found["best"][1], rel=1e-12)
    assert summary["test_loss"] == pytest.approx(found["last"][0], rel=1e-5)
    said = out.splitlines()[1]
    assert said == (
        f"best epoch {best} by validation accuracy: test loss {found['best'][0]:.4f}  "
        f"test accuracy {found['best'][1]:.2%}"
    )


@pytest.fixture
def run(cli, dataset, seen):
    dataset(own=True)
    assert cli(*BASE, "--epochs", "1", "--out", "run")[0] == 0
    seen.clear()


PARTS = {
    "test": [range(1000, 1000 + TEST)],
    "train": [range(TRAIN)],
    "validation": [range(2000, 2000 + OWN)],
}
PARTS["all"] = [*PARTS["train"], *PARTS["test"], *PARTS["validation"]]


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("part", PARTS)
def test_evaluate_measures_the_part_it_is_told_and_every_number_follows(cli, seen, part):
    chosen = () if part == "test" else ("--part", part)
    command = ("evaluate", "run/last.npz", "--dataset", "set.npz", "--top", "2", "--per-class")
    code, out, _ = cli(*command, *chosen, "--json", "--format", "jsonl", "--output", "rows")
    assert code == 0
    wanted = sorted(n for numbers in PARTS[part] for n in numbers)
    assert sorted(n for numbers in seen["evaluated"] for n in numbers) == wanted
    assert sorted(n for numbers in seen["predicted"] for n in numbers) == wanted
    order = [n for numbers in seen["predicted"] for n in numbers]
    value, model = json.loads(out), Model.load("run/last.npz")
    loss, accuracy = mean_loss(model, order)
    shares = model.predict(np.stack([PIXELS[n] for n in order]))
    labels = [int(LABELS[n]) for n in order]
    taken = [int(row.argmax()) for row in shares]
    assert value["images"] == len(order)
    assert value["loss"] == pytest.approx(loss, rel=1e-5)
    assert value["accuracy"] == pytest.approx(accuracy, rel=1e-12)
    among = sum(label in np.argsort(-row)[:2] for row, label in zip(shares, labels, strict=True))
    assert value["top_accuracy"] == pytest.approx(among / len(order), rel=1e-12)
    assert value["confidence"] == pytest.approx(np.mean([row.max() for row in shares]), rel=1e-5)
    for label in range(CLASSES):
        of_class = [t for t, right in zip(taken, labels, strict=True) if right == label]
        share = sum(t == label for t in of_class) / len(of_class)
        assert value["per_class"][str(label)] == pytest.approx(share, rel=1e-12)
    for place, row in enumerate(lines("rows")):
        assert row["image"] == place
        assert (row["label"], row["class"]) == (str(labels[place]), str(taken[place]))
        assert row["probability"] == pytest.approx(float(shares[place].max()), rel=1e-5)
        assert row["correct"] == (labels[place] == taken[place])
    code, out, _ = cli(*command, *chosen)
    of = "" if part == "all" else f"{part} "
    shown = out.splitlines()
    assert shown[0] == (f"{of}loss {loss:.4f}  {of}accuracy {accuracy:.2%}  on {len(order)} images")
    assert shown[1] == f"among the 2 most likely: {among / len(order):.2%}"
    for label in range(CLASSES):
        assert shown[2 + label].split() == [str(label), f"{value['per_class'][str(label)]:.2%}"]


@pytest.mark.usefixtures("run")
def test_a_report_is_of_the_test_images(cli, seen):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    code, out, errors = cli("report", "run", "--json")
    assert code == 0, errors
    tested = list(range(1000, 1000 + TEST))
    assert [n for numbers in seen["predicted"] for n in numbers][:TEST] == tested
    loss, accuracy = mean_loss(Model.load("run/best.npz"), tested)
    (result,) = json.loads(out)["runs"]
    assert (result["images"], result["accuracy"]) == (TEST, accuracy)
    assert result["loss"] == pytest.approx(loss, rel=1e-5)
