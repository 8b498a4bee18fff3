"""Reports on models that are no classifiers: what `examine` finds, and the page and pictures of it."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.report import examine
from arraycnn.training import batch_size
from optional import needs

RNG = np.random.default_rng(11)
IMAGES = RNG.integers(0, 256, (20, 8, 8), dtype=np.uint8)
ROW = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(3))
TO_IMAGES = cnn.Sequential(cnn.Rescale(), cnn.Conv2d(3, 3, padding="same"))
HAS = RNG.integers(0, 2, (20, 3))
NUMBERS = RNG.normal(size=(20, 3))
PIXELS = RNG.integers(0, 3, (20, 8, 8))
COLOURS = RNG.random((20, 8, 8, 3))
ROWS = {
    "labels": (ROW, cnn.BinaryCrossEntropy((1, 2, 3)), HAS, ("binary-cross-entropy",)),
    "numbers": (ROW, cnn.Huber(), NUMBERS, ("huber",)),
    "pixels": (
        TO_IMAGES,
        cnn.SoftmaxCrossEntropy(per_pixel=True),
        PIXELS,
        ("pixel-cross-entropy",),
    ),
    "masks": (TO_IMAGES, cnn.BinaryCrossEntropy(), PIXELS[..., None] == [0, 1, 2], ()),
    "colours": (TO_IMAGES, cnn.MeanSquaredError(), COLOURS, ("mean-squared-error",)),
}
QUICK = ("--backend", "numpy", "--no-fast")


def model_of(kind):
    network, loss, labels, _ = ROWS[kind]
    names = ("a", "b", "c")
    model = cnn.Model(network, (8, 8), cnn.NumPy(fast=False), loss=loss, class_names=names)
    return model, np.asarray(labels)


@pytest.mark.parametrize("kind", ROWS)
def test_what_is_found_is_what_the_model_says(kind, monkeypatch):
    monkeypatch.setattr(batch_size, "_MOST_NUMBERS", 8 * IMAGES[0].size)  # three batches
    model, labels = model_of(kind)
    found, measured = examine(model, IMAGES, labels, image=4), model.evaluate(IMAGES, labels)
    assert found.loss == pytest.approx(measured.loss, rel=1e-6)
    for name, value in measured.others.items():
        assert found.others[name] == pytest.approx(value, rel=1e-6)
    assert (found.total, found.class_names) == (20, ("a", "b", "c"))
    assert found.examples[0] == found.image == 4
    told = model.predict(IMAGES)
    if kind == "labels":
        wrong = [n for n in range(20) if ((told[n] > 0.5) != HAS[n]).any()]
        assert sorted(found.mistakes) == wrong
        sure = [
            max(abs(p - h) for p, h in zip(told[n], HAS[n], strict=True)) for n in found.mistakes
        ]
        assert sure == sorted(sure, reverse=True)
        assert found.loss_name == "test loss, BinaryCrossEntropy"
        right, said = (
            ", ".join(n for n, one in zip("abc", flags, strict=True) if one) or "none"
            for flags in (HAS[4], told[4] > 0.5)
        )
        assert found.told(4) == f"{right} → {said}"
    elif kind == "numbers":
        errors = [np.abs(told[n] - NUMBERS[n]).max() for n in range(20)]
        assert found.mistakes[0] == int(np.argmax(errors))
        assert found.scores.bias == pytest.approx((told - NUMBERS).mean(axis=0), abs=1e-5)
    else:
        errors = {
            "pixels": lambda n: (told[n].argmax(axis=-1) != PIXELS[n]).mean(),
            "masks": lambda n: ((told[n] > 0.5) != labels[n]).mean(),
            "colours": lambda n: np.abs(told[n] - COLOURS[n]).mean(),
        }[kind]
        assert found.errors == pytest.approx([errors(n) for n in range(20)], abs=1e-6)
        assert found.mistakes[0] == int(np.argmax(found.errors))
        assert found.saliency is None
        for place in (4, int(found.mistakes[0])):
            np.testing.assert_allclose(found.outputs[place], told[place], rtol=1e-5, atol=1e-6)
    if kind in ("pixels", "masks"):
        taken = told.argmax(axis=-1)[..., None] == [0, 1, 2] if kind == "pixels" else told > 0.5
        is_there = PIXELS[..., None] == [0, 1, 2]
        support, both = (flags.sum(axis=(0, 1, 2)) for flags in (is_there, is_there & taken))
        np.testing.assert_array_equal(found.scores.support, support)
        np.testing.assert_array_equal(found.scores.recall, both / support)
    if kind == "colours":
        assert found.scores.bias == pytest.approx((told - COLOURS).mean(axis=(0, 1, 2)), abs=1e-5)


def test_gradients_are_of_the_models_own_loss():
    """By differences of the loss in one weight: what layer norms are of."""
    network = cnn.Sequential(
        cnn.Rescale(), cnn.AvgPool2d(4), cnn.Flatten(), cnn.Dense(3, bias=False)
    )
    loss = cnn.SoftmaxCrossEntropy(label_smoothing=0.2, class_weight=(1, 5, 2))
    for chosen, labels in ((loss, np.arange(20) % 3), (cnn.Huber(0.3), NUMBERS)):
        model = cnn.Model(network, (8, 8), cnn.NumPy(fast=False), dtype="float64", loss=chosen)
        weight, squares = model.parameters["3.weight"], 0.0
        for place in np.ndindex(weight.shape):
            ends = []
            for step in (1e-4, -1e-4):
                moved = weight.copy()
                moved[place] += step
                model.assign({"3.weight": moved}, model.state)
                ends.append(model.evaluate(IMAGES, labels).loss)
            squares += ((ends[0] - ends[1]) / 2e-4) ** 2
        model.assign({"3.weight": weight}, model.state)
        norms = examine(model, IMAGES, labels).norms[-1]
        assert norms.gradient_norm == pytest.approx(squares**0.5, rel=1e-5)


def test_the_loss_of_classes_is_the_one_that_was_trained_and_says_which():
    for loss, words in (
        (cnn.SoftmaxCrossEntropy(top_k=2), "test loss, nats"),
        (cnn.SoftmaxCrossEntropy(class_weight=(1, 5, 2)), "test loss, with class weights"),
        (
            cnn.SoftmaxCrossEntropy(0.1, (1, 5, 2)),
            "test loss, with class weights and label smoothing",
        ),
    ):
        model = cnn.Model(ROW, (8, 8), cnn.NumPy(fast=False), loss=loss)
        found = examine(model, IMAGES, np.arange(20) % 3)
        assert found.loss == pytest.approx(model.evaluate(IMAGES, np.arange(20) % 3).loss, rel=1e-6)
        assert found.loss_name == words


def test_sheets_show_image_label_and_output():
    from arraycnn.report.other_charts import triple

    image = np.zeros((4, 4, 1), np.uint8)
    label = np.zeros((2, 2), int)
    label[0, 1] = 1
    output = np.eye(3)[[[2, 1], [0, 0]]].astype(np.float32)
    sheet = triple(image, label, output, "pixels")
    width = (sheet.shape[1] - 2) // 3
    thirds = [sheet[4:-4, n * width + 6 : n * width + width - 6, :3] for n in range(3)]
    corners = [[third[0, 0], third[0, -1], third[-1, 0]] for third in thirds]
    black, grey, orange, sky = (0, 0, 0), (0x30,) * 3, (0xE6, 0x9F, 0), (0x56, 0xB4, 0xE9)
    expected = [[black] * 3, [grey, orange, grey], [sky, orange, grey]]
    assert [[tuple(map(int, one)) for one in row] for row in corners] == expected
    numbers = np.array([[0.0, 1.0], [2.0, 4.0]])[..., None]
    sheet = triple(image, numbers, numbers / 2, "numbers", (0.0, 4.0))
    thirds = [sheet[4:-4, n * width + 6 : n * width + width - 6, 0] for n in range(3)]
    assert [int(third[-1, -1]) for third in thirds] == [0, 255, 128]
    assert [int(third[-1, 0]) for third in thirds] == [0, 128, 64]


@needs("matplotlib")
def test_runs_are_compared_by_what_was_measured():
    from arraycnn.report.sections import comparison

    runs = []
    for name in ("one", "two"):
        model, labels = model_of("numbers")
        run = SimpleNamespace(config={"loss": "huber", "name": name}, epochs=())
        runs.append((name, run, examine(model, IMAGES, labels)))
    page = comparison(runs).html
    found = runs[0][2]
    assert page.count(f">{found.others['mean_absolute_error']:.4g}<") == 2
    assert page.count(f">{found.loss:.4f}<") == 2
    assert "wrong" not in page


@needs("matplotlib")
@pytest.mark.parametrize("kind", ["labels", "pixels", "colours"])
def test_pictures_and_tables_are_those_that_fit(kind):
    from arraycnn.report import other_sections as others

    model, labels = model_of(kind)
    found = examine(model, IMAGES, labels)
    tested = "".join(others.test(found, ""))
    for name in ("a", "b", "c"):
        assert f">{name}</th>" in tested
    names = {name for name, _ in others.figures(found)}
    if kind == "labels":
        assert names == {"class-scores", "thresholds"}
        assert f">{found.thresholds[1]:.3f}</td>" in tested
        assert found.told(int(found.mistakes[0])) in "".join(others.worst(found))
        return
    assert names == {"examples", "mistakes"}
    assert "".join(others.examples(found)).count("<img") == len(found.examples)
    assert "".join(others.worst(found)).count("<img") == len(found.mistakes)
    if kind == "pixels":
        both = ((PIXELS == 1) & (model.predict(IMAGES).argmax(axis=-1) == 1)).sum()
        either = ((PIXELS == 1) | (model.predict(IMAGES).argmax(axis=-1) == 1)).sum()
        assert f">{both / either:.3f}</td>" in tested


@needs("matplotlib")
def test_a_run_of_numbers_has_its_page(cli):
    from arraycnn.data import load_dataset

    np.savez("set.npz", images=IMAGES, labels=NUMBERS, class_names=["ape", "bee", "cow"])
    how = (*QUICK, "--dataset", "set.npz", "--epochs", 1, "--out", "run", "--loss", "huber")
    assert cli("train", *how, "--network", "scratch")[0] == 0
    code, out, said = cli("report", "run", *QUICK)
    assert code == 0, said
    page = Path("run/report/report.html").read_text("utf-8")
    assert "Most confident mistakes" not in page
    assert "Largest errors" in page
    pictures = {path.stem for path in Path("run/report/pictures").glob("*.svg")}
    assert {"residuals", "saliency"} < pictures
    assert not {"confusion-matrix", "class-scores", "calibration", "mistakes"} & pictures
    model, data = cnn.Model.load("run/best.npz"), load_dataset("set.npz", labels="numbers")
    measured = model.evaluate(data.test_images, data.test_labels)
    assert f"<dd>{measured.loss:.4f}</dd>" in page
    for name in ("ape", "bee", "cow"):
        assert f">{name}</th>" in page
    assert f"off by {measured.others['mean_absolute_error']:.4g} in the mean" in out
    assert "Mean absolute error over" in page
    assert "accuracy" not in re.sub(r"<[^>]*>", "", page).split("All settings")[0]
