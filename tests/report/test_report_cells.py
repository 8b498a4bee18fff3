"""Every number of a report, of its tables and its sentences, against plain loops over predictions.

The pages are read as a user reads them: all tables in full, cell by cell. What a cell should hold is
computed from the model's probabilities, its parameters and the run's own lines, by nothing of
`arraycnn.report`.
"""

import csv
import io
import json
import math
import re
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from arraycnn import Model
from arraycnn.cli import main

CLASSES, TRAIN, TEST = ("crow", "duck", "gull", "wren"), 200, 150
EPOCHS = 3
BATCH = 64  # of norms and times, as the page says


@pytest.fixture(scope="module")
def data():
    """Two classes that are hard to tell apart, and counts of which none is another's."""
    rng = np.random.default_rng(5)
    arrays = {}
    for part, count in (("train", TRAIN), ("test", TEST)):
        labels = rng.choice(4, count, p=[0.4, 0.3, 0.2, 0.1])
        images = rng.integers(0, 200, (count, 8, 8), dtype=np.uint8)
        images[labels == 0, :4] //= 3
        images[labels == 1, :4] //= 2
        images[labels == 2, :, :4] //= 4
        arrays |= {f"{part}_images": images, f"{part}_labels": labels}
    return arrays | {"class_names": np.array(CLASSES)}


def run(*arguments, cwd):
    """(stdout, stderr) of a command, in this process."""
    out, errors = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["arraycnn", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    for number, handler in handlers.items():
        signal.signal(number, handler)
    assert not ended.value.code, errors.getvalue()
    return out.getvalue(), errors.getvalue()


TRAIN_IT = ("train", "--dataset", "birds.npz", "--backend", "numpy", "--epochs", EPOCHS)


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    """A run, and the report on it."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    folder = tmp_path_factory.mktemp("cells")
    np.savez(folder / "birds.npz", **data)
    options = ("--network", "scratch", "--log-steps", "--csv", "--out", "one")
    (folder / "one.txt").write_text(run(*TRAIN_IT, *options, cwd=folder)[0])
    report = run("report", "one", "--backend", "numpy", "--image", "7", cwd=folder)[0]
    (folder / "report.txt").write_text(report)
    return folder


@pytest.fixture(scope="module")
def both(folder):
    """The same folder with a second run, and the report on both."""
    options = ("--network", "basic", "--seed", "3", "--batch-size", "20", "--out", "two")
    (folder / "two.txt").write_text(run(*TRAIN_IT, *options, cwd=folder)[0])
    report = run("report", "one", "two", "--backend", "numpy", "--json", cwd=folder)[0]
    (folder / "both.txt").write_text(report)
    return folder


class Tables(HTMLParser):
    """The tables of a page by caption: lists of rows of cells; and all of its text."""

    def __init__(self, path):
        super().__init__()
        self.tables, self.text, self._row, self._cell = {}, "", None, None
        self._rows, self._caption, self._hidden = None, None, 0
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, name, attributes):
        if name in ("style", "svg"):
            self._hidden += 1
        elif name == "table":
            self._rows = []
        elif name == "caption":
            self._caption = ""
        elif name == "tr":
            self._row = []
        elif name in ("td", "th"):
            self._cell = ""

    def handle_endtag(self, name):
        if name in ("style", "svg"):
            self._hidden -= 1
        elif name == "caption":
            self.tables[self._caption] = self._rows
            assert self._rows == []
            self._caption = None
        elif name == "tr":
            self._rows.append(self._row)
        elif name in ("td", "th"):
            self._row.append(self._cell)
            self._cell = None
        if name in ("p", "dt", "dd", "td", "th", "figcaption", "b", "span", "li"):
            self.text += "\n"

    def handle_data(self, data):
        if self._hidden:
            return
        self.text += data
        if self._cell is not None:
            self._cell += data
        elif self._caption is not None:
            self._caption += data


def table(page, beginning):
    (found,) = (rows for caption, rows in page.tables.items() if caption.startswith(beginning))
    widths = {len(row) for row in found}
    assert len(widths) == 1
    return found


UNITS = {"µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "%": 0.01, "": 1.0}


def check(cell, value, relative=0.0):
    """That a cell shows ``value``, rounded to the digits that it shows."""
    if value is None or not math.isfinite(value):
        assert cell == "–"
        return
    text = cell.replace("\N{NARROW NO-BREAK SPACE}", " ")
    if text.startswith("> 99"):
        assert float(text[2:-2]) / 100 < value < 1
        return
    shown, step = 0.0, 0.0
    for number, unit in re.findall(r"(-?[\d,]+(?:\.\d+)?(?:e[-+]\d+)?) ?(min|ms|µs|s|%|)", text):
        digits = number.replace(",", "")
        decimals = len(digits.partition("e")[0].partition(".")[2])
        power = int(digits.partition("e")[2] or 0)
        shown += float(digits) * UNITS[unit]
        step = 10.0 ** (power - decimals) * UNITS[unit]
    if step == 1.0 and abs(shown) >= 1000 and not relative:
        assert shown == round(value)
        return
    assert abs(shown - value) <= 0.5000001 * step + relative * abs(value), (cell, value)
    assert value == 0 or shown != 0 or step >= abs(value), cell


class Expected:
    """What the model of a run does on the test images, by loops."""

    def __init__(self, folder, data):
        self.config = json.loads((folder / "config.json").read_text())
        self.records = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
        self.summary = json.loads((folder / "summary.json").read_text())
        self.model = Model.load(folder / "best.npz")
        self.labels = [int(label) for label in data["test_labels"]]
        self.shares = self.model.predict(data["test_images"]).astype(float)
        self.taken = [max(range(4), key=lambda n, row=row: row[n]) for row in self.shares]
        pairs = list(zip(self.labels, self.taken, strict=True))
        self.confusion = [[pairs.count((t, p)) for p in range(4)] for t in range(4)]
        self.right = sum(t == p for t, p in pairs)
        self.accuracy = self.right / TEST
        rows = zip(self.shares, self.labels, strict=True)
        self.loss = math.fsum(-math.log(row[label]) for row, label in rows) / TEST
        self.parameters = sum(array.size for array in self.model.parameters.values())
        self.seconds = sum(record["seconds"] for record in self.records)
        self.rate = float(np.median([record["images_per_second"] for record in self.records]))
        self.ece = self._calibration_error()
        known = [score for _, _, score in map(self.scores, range(4)) if score is not None]
        self.f1 = sum(known) / len(known)

    def _calibration_error(self):
        """Over fifteen bins: the images whose highest probability is in (k / 15, (k + 1) / 15]."""
        total = 0.0
        for k in range(15):
            chosen = [
                (max(row), label == taken)
                for row, label, taken in zip(self.shares, self.labels, self.taken, strict=True)
                if k / 15 < max(row) <= (k + 1) / 15
            ]
            total += abs(sum(right for _, right in chosen) - sum(sure for sure, _ in chosen))
        return total / TEST

    def scores(self, label):
        """(precision, recall, F1) of a class."""
        hits = self.confusion[label][label]
        taken = sum(row[label] for row in self.confusion)
        support = sum(self.confusion[label])
        return [
            hits / taken if taken else None,
            hits / support if support else None,
            2 * hits / (taken + support) if taken + support else None,
        ]


@pytest.fixture(scope="module")
def expected(folder, data):
    one = Expected(folder / "one", data)
    assert 5 < one.right < TEST - 5  # or there is nothing to tell
    return one


@pytest.fixture(scope="module")
def pair(both, expected, data):
    two = Expected(both / "two", data)
    assert expected.right != two.right
    return expected, two


@pytest.fixture(scope="module")
def page(folder):
    return Tables(folder / "one" / "report" / "report.html")


def test_the_numbers_at_the_top(page, expected):
    numbers = dict(
        zip(
            ("test accuracy", "F1, mean of classes", "test loss, nats", "calibration error",
             "parameters", "training time"),
            (expected.accuracy, expected.f1, expected.loss, expected.ece, expected.parameters,
             expected.seconds),
            strict=True,
        )
    )  # fmt: skip
    lines = page.text.splitlines()
    for name, value in numbers.items():
        check(lines[lines.index(name) + 1], value)


def test_every_epoch(page, expected, folder):
    """Against metrics.jsonl, whose means are those of the steps, and metrics.csv, which is the same."""
    head, *rows = table(page, "Every epoch")
    names = {
        "training loss": "train_loss",
        "training accuracy": "train_accuracy",
        "validation loss": "validation_loss",
        "validation accuracy": "validation_accuracy",
        "learning rate": "learning_rate",
        "images a second": "images_per_second",
    }
    assert head == ["epoch", *names]
    assert len(rows) == len(expected.records) == EPOCHS
    steps = [json.loads(x) for x in (folder / "one" / "steps.jsonl").read_text().splitlines()]
    kept = TRAIN - round(TRAIN / 12)
    sizes = [32] * (kept // 32) + [kept % 32]
    with (folder / "one" / "metrics.csv").open() as file:
        table_of_epochs = list(csv.DictReader(file))
    for number, (row, record) in enumerate(zip(rows, expected.records, strict=True), start=1):
        assert row[0] == str(number) == str(record["epoch"])
        for cell, name in zip(row[1:], names.values(), strict=True):
            check(cell, record[name])
        own = [step for step in steps if step["epoch"] == number]
        for name, field in (("train_loss", "loss"), ("train_accuracy", "accuracy")):
            total = sum(size * step[field] for size, step in zip(sizes, own, strict=True))
            assert record[name] == pytest.approx(total / kept, rel=1e-6)
        assert record["learning_rate"] == own[-1]["learning_rate"]
        assert record["images_per_second"] == pytest.approx(kept / record["seconds"], rel=1e-6)
        for name, value in table_of_epochs[number - 1].items():
            assert float(value) == pytest.approx(record[name], rel=1e-12)


def test_scores_of_the_classes(page, expected):
    head, *rows = table(page, "Precision, recall and F1")
    assert head == ["class", "precision", "recall", "F1", "images"]
    assert [row[0] for row in rows] == list(CLASSES)
    for label, row in enumerate(rows):
        for cell, value in zip(row[1:4], expected.scores(label), strict=True):
            check(cell, value)
        assert row[4] == str(expected.labels.count(label))


def test_confusions(page, expected):
    head, *rows = table(page, "Images by true class")
    assert head == ["true", *CLASSES]
    for label, row in enumerate(rows):
        assert row[0] == CLASSES[label]
        assert [int(cell or 0) for cell in row[1:]] == expected.confusion[label]


def test_layers(page, expected, data, tmp_path):
    """Sizes and norms of the parameters; the gradients' are PyTorch's, of the exported network."""
    head, *rows = table(page, "Layers, from input to output")
    assert head == ["layer", "output", "parameters", "norm", "gradient norm", "forward", "backward"]
    assert f"times for {BATCH} images" in next(c for c in page.tables if c.startswith("Layers"))
    parameters = expected.model.parameters
    gradients = _gradients_of_torch(expected.model, data, tmp_path)
    outputs = {"0": "8 × 8 × 1"}
    for place, layer in enumerate(expected.model.network.layers):
        _, _, shape = layer.init(np.random.default_rng(0), _shape(outputs[str(place)]))
        outputs[str(place + 1)] = " × ".join(map(str, shape))
    assert len(rows) == len(expected.model.network.layers)
    for place, row in enumerate(rows):
        assert row[0].startswith(f"{place} {type(expected.model.network.layers[place]).__name__}")
        assert row[1] == outputs[str(place + 1)]
        own = [array for name, array in parameters.items() if name.split(".")[0] == str(place)]
        if not own:
            assert row[2:5] == ["", "", ""]
            continue
        check(row[2], sum(array.size for array in own))
        check(row[3], math.sqrt(math.fsum(float(x) ** 2 for a in own for x in a.flat)), 1e-6)
        if gradients is not None:
            check(row[4], math.sqrt(gradients[place]), 1e-4)
        assert _seconds(row[5]) > 0
        assert place == 0 or row[6] == "" or _seconds(row[6]) > 0


def _shape(text):
    return tuple(map(int, text.split(" × ")))


def _seconds(cell):
    number, unit = cell.split("\N{NARROW NO-BREAK SPACE}")
    return float(number) * UNITS[unit]


def _gradients_of_torch(model, data, tmp_path):
    """Sums of squares of the mean loss's gradients by layer; None where there is no PyTorch."""
    try:
        import torch
    except ImportError:
        return None
    import importlib.util

    from arraycnn.export import export_torch

    export_torch(model, tmp_path / "exported.py")
    spec = importlib.util.spec_from_file_location("exported", tmp_path / "exported.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.load().double()
    images = torch.tensor(data["test_images"][:BATCH, None])
    labels = torch.tensor(data["test_labels"][:BATCH])
    torch.nn.functional.cross_entropy(network(images), labels).backward()
    places = [place for place, layer in enumerate(model.network.layers) if _learns(model, place)]
    found, names = {}, []
    for name, parameter in network.named_parameters():
        owner = name.rpartition(".")[0]
        if owner not in names:
            names.append(owner)
        place = places[names.index(owner)]
        found[place] = found.get(place, 0.0) + float((parameter.grad**2).sum())
    return found


def _learns(model, place):
    return any(name.split(".")[0] == str(place) for name in model.parameters)


def test_settings_and_origin(page, expected):
    config = expected.config
    head, *rows = table(page, "Settings of the run")
    assert head == ["setting", "value"]
    wanted = {
        key.replace("_", " "): "–" if v is None or v == [] else str(v) for key, v in config.items()
    }
    assert dict(rows) == wanted
    origin = [tuple(row) for row in table(page, "Origin of these results")]
    assert ("seed", str(config["seed"])) in origin
    assert ("model", "best.npz") in origin
    assert ("data set", "birds.npz") in origin
    assert ("trained on", expected.summary["device"]) in origin


def wilson(right, total):
    """The interval's ends as the roots p of (share - p)^2 = z^2 p (1 - p) / total."""
    z2, share = 1.959963984540054**2, right / total
    a, b, c = 1 + z2 / total, -(2 * share + z2 / total), share * share
    root = math.sqrt(b * b - 4 * a * c)
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


PERCENT = r"([>\d. ]+\N{NARROW NO-BREAK SPACE}%)"


def test_sentences_on_the_result(page, expected, folder):
    one = expected
    kinds = [(one.confusion[t][p], t, p) for t in range(4) for p in range(4) if t != p]
    count, true, taken = max(kinds, key=lambda kind: (kind[0], -kind[1], -kind[2]))
    sentence = re.search(
        rf"{PERCENT} of (\d+) test images right, (\d+) wrong; most often (\w+) is taken for (\w+) "
        rf"\((\d+) of (\d+)\)",
        page.text,
    )
    check(sentence[1], one.accuracy)
    assert sentence.groups()[1:3] == (str(TEST), str(TEST - one.right))
    of_class = sum(one.confusion[true])
    assert sentence.groups()[3:] == (CLASSES[true], CLASSES[taken], str(count), str(of_class))
    assert sentence[0] in (folder / "report.txt").read_text()
    low, high = wilson(one.right, TEST)
    sentence = re.search(rf"known to lie between {PERCENT} and {PERCENT}", page.text)
    check(sentence[1], low)
    check(sentence[2], high)
    assert f"Measured on all {TEST} images of the test part of birds.npz" in page.text


def test_sentences_on_training_classes_and_calibration(page, expected):
    one = expected
    pattern = (
        rf"After the last, {PERCENT} of the training images were right and "
        rf"{PERCENT} of those held out .* lowest after (.*?)\."
    )
    sentence = re.search(pattern, page.text)
    check(sentence[1], one.records[-1]["train_accuracy"])
    check(sentence[2], one.records[-1]["validation_accuracy"])
    best = min(one.records, key=lambda record: record["validation_loss"])["epoch"]
    assert sentence[3] == ("the last epoch" if best == EPOCHS else f"epoch {best} of {EPOCHS}")
    f1 = [one.scores(label)[2] for label in range(4)]
    sentence = re.search(r"best is (\w+) \(F1 (.*?)\), worst (\w+) \(F1 (.*?)\).*F1: ([\d.]+)\.",
                         page.text)  # fmt: skip
    assert (sentence[1], sentence[3]) == (CLASSES[f1.index(max(f1))], CLASSES[f1.index(min(f1))])
    check(sentence[2], max(f1))
    check(sentence[4], min(f1))
    check(sentence[5], sum(f1) / 4)
    gap = np.mean([max(row) for row in one.shares]) - one.accuracy
    sentence = re.search(rf"calibration error {PERCENT}\. On average it is ([\d.]+) points (.*?)\.",
                         page.text)  # fmt: skip
    check(sentence[1], one.ece)
    check(sentence[2], abs(100 * gap))
    assert sentence[3] == ("too sure" if gap > 0 else "not sure enough")


def test_mistakes_and_examples(page, expected, data):
    one = expected
    wrong = [n for n in range(TEST) if one.labels[n] != one.taken[n]]
    wrong.sort(key=lambda n: -max(one.shares[n]))
    start = page.text.index("images that were taken for another")
    shown = re.findall(rf"(\w+) → (\w+)\s+{PERCENT} sure\s+no\. (\d+)", page.text[start:])
    assert [int(number) for *_, number in shown] == wrong[: len(shown)]
    assert len(shown) == min(18, len(wrong))
    for true, taken, sure, number in shown:
        place = int(number)
        assert (true, taken) == (CLASSES[one.labels[place]], CLASSES[one.taken[place]])
        check(sure, max(one.shares[place]))
    counted = "all the" if len(shown) == len(wrong) else f"{len(shown)} of the"
    assert f"{counted} {len(wrong)} test images that were taken for another" in page.text
    sentence = re.search(rf"test image 7: (\w+), taken for (\w+) \({PERCENT} sure\)", page.text)
    assert sentence.groups()[:2] == (CLASSES[one.labels[7]], CLASSES[one.taken[7]])
    check(sentence[3], max(one.shares[7]))
    # The shares of outputs above zero, layer by layer, of a network that ends in each.
    cards = re.findall(rf"\n(\d) \w+\(.*?\n([\d × ]+), {PERCENT} above zero", page.text)
    assert cards
    for path, size, share in cards:
        x = data["test_images"][7:8, :, :, None]
        params, state = one.model.trees
        from arraycnn.layers.layer import Context
        from arraycnn.ops import GENERIC

        for place in range(int(path) + 1):
            layer, context = one.model.network.layers[place], Context(GENERIC, "eval", "float32")
            x, _, _ = layer.forward(params[str(place)], state[str(place)], x, context)
        assert _shape(size) == x.shape[1:]
        check(share, float((x > 0).sum()) / x.size, 1e-3)


def test_the_comparison(both, pair):
    page = Tables(both / "report" / "report.html")
    head, *rows = table(page, "Results, and the settings")
    assert head == ["", "one", "two"]
    cells = {row[0]: row[1:] for row in rows}
    for name, values in {
        "test accuracy": [run.accuracy for run in pair],
        "F1, mean of classes": [run.f1 for run in pair],
        "test loss, nats": [run.loss for run in pair],
        "calibration error": [run.ece for run in pair],
        "parameters": [run.parameters for run in pair],
        "epochs done": [EPOCHS, EPOCHS],
        "training time": [run.seconds for run in pair],
        "images a second": [run.rate for run in pair],
    }.items():
        for cell, value in zip(cells.pop(name), values, strict=True):
            check(cell, value)
    assert cells.pop("wrong") == [f"{TEST - run.right} of {TEST}" for run in pair]
    one, two = ([t == p for t, p in zip(run.labels, run.taken, strict=True)] for run in pair)
    gained = sum(b and not a for a, b in zip(one, two, strict=True))
    lost = sum(a and not b for a, b in zip(one, two, strict=True))
    assert cells.pop("right, one wrong") == ["–", str(gained)]
    assert cells.pop("wrong, one right") == ["–", str(lost)]
    configs = [run.config for run in pair]
    differing = {key for key in configs[0] if configs[0][key] != configs[1][key]}
    assert differing >= {"network", "seed", "batch_size", "log_steps", "csv"}
    assert cells == {
        key.replace("_", " "): ["–" if c[key] is None else str(c[key]) for c in configs]
        for key in differing
    }
    best = max(pair, key=lambda run: run.right)
    name = ("one", "two")[pair.index(best)]
    sentence = re.search(rf"Most accurate is (\w+), with {PERCENT} of (\d+) test images", page.text)
    assert (sentence[1], sentence[3]) == (name, str(TEST))
    check(sentence[2], best.accuracy)
    for run, result in zip(pair, json.loads((both / "both.txt").read_text())["runs"],
                           strict=True):  # fmt: skip
        assert (result["images"], result["dataset"]) == (TEST, "birds.npz")
        assert result["accuracy"] == run.accuracy
        assert result["loss"] == pytest.approx(run.loss, rel=1e-5)
        assert result["f1"] == pytest.approx(run.f1, rel=1e-12)
        assert result["expected_calibration_error"] == pytest.approx(run.ece, rel=1e-5)


def test_each_run_of_a_comparison_has_its_own_tables(both, pair):
    """By place on the page, where captions come twice."""
    text = (both / "report" / "report.html").read_text("utf-8")
    parts = re.split(r'(?=<section id="run-\d")', text)[1:]
    assert len(parts) == 2
    for part, run in zip(parts, pair, strict=True):
        path = Path(both / "part.html")
        path.write_text(part, "utf-8")
        page = Tables(path)
        for label, row in enumerate(table(page, "Precision, recall and F1")[1:]):
            for cell, value in zip(row[1:4], run.scores(label), strict=True):
                check(cell, value)
        for row, record in zip(table(page, "Every epoch")[1:], run.records, strict=True):
            check(row[1], record["train_loss"])
            check(row[4], record["validation_accuracy"])


def test_what_train_says_and_its_summary(both, pair):
    for name, run in zip(("one", "two"), pair, strict=True):
        out, summary = (both / f"{name}.txt").read_text().splitlines(), run.summary
        last = Model.load(both / name / "last.npz")
        with np.load(both / "birds.npz") as data:
            shares, labels = last.predict(data["test_images"]), data["test_labels"]
        losses = [-math.log(row[label]) for row, label in zip(shares, labels, strict=True)]
        hits = sum(int(row.argmax()) == label for row, label in zip(shares, labels, strict=True))
        assert summary["test_loss"] == pytest.approx(sum(losses) / TEST, rel=1e-5)
        assert summary["test_accuracy"] == hits / TEST
        assert summary["best"]["test_accuracy"] == run.accuracy
        assert summary["best"]["test_loss"] == pytest.approx(run.loss, rel=1e-5)
        assert summary["seconds"] == pytest.approx(run.seconds, rel=1e-9)
        images = sum(record["seconds"] * record["images_per_second"] for record in run.records)
        assert summary["images_per_second"] == pytest.approx(images / run.seconds, rel=1e-9)
        assert summary["epochs"] == EPOCHS
        assert out[0] == f"test loss {sum(losses) / TEST:.4f}  test accuracy {hits / TEST:.2%}"
        best = min(run.records, key=lambda record: record["validation_loss"])["epoch"]
        assert summary["best"]["epoch"] == best
        if best != EPOCHS:
            assert out[1].startswith(f"best epoch {best} by validation loss: test loss ")
            assert f"{run.loss:.4f}  test accuracy {run.accuracy:.2%}" in out[1]
        assert f"trained in {run.seconds:.2f} s" in "\n".join(out)


def test_what_predict_says(folder, expected, data, tmp_path):
    """As text, CSV and JSON: the classes' shares, the likeliest first."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    model, paths = folder / "one" / "best.npz", []
    for number in range(5):
        paths.append(tmp_path / f"{number}.png")
        image.fromarray(data["test_images"][number]).save(paths[-1])
    command = ("predict", model, *paths, "--no-invert", "--backend", "numpy")
    shares = expected.shares[:5]
    values = json.loads(run(*command, "--json", cwd=tmp_path)[0])
    plain, notices = run(*command, cwd=tmp_path)
    table_, _ = run(*command, "--format", "csv", "--top", "2", cwd=tmp_path)
    rows = list(csv.DictReader(table_.splitlines()))
    for row, value, line, cells in zip(shares, values, plain.splitlines(), rows, strict=True):
        order = sorted(range(4), key=lambda n, row=row: -row[n])
        assert value["class"] == cells["class"] == CLASSES[order[0]]
        for probability in (value["probability"], float(cells["probability"])):
            assert probability == pytest.approx(row[order[0]], rel=1e-5)
        assert cells["class_2"] == CLASSES[order[1]]
        assert float(cells["probability_2"]) == pytest.approx(row[order[1]], rel=1e-5)
        for n, name in enumerate(CLASSES):
            assert value["probabilities"][name] == pytest.approx(row[n], rel=1e-5, abs=1e-9)
        likely = ", ".join(f"{CLASSES[n]} {row[n]:.1%}" for n in order[:3])
        assert line.endswith(f": {CLASSES[order[0]]} ({likely})")
    sure = np.mean([max(row) for row in shares])
    assert f"mean confidence {sure:.1%}" in notices
