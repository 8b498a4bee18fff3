"""bench/quality.py: what it trains, what it refuses, and its table."""

import json
import re
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest

import quality
from arraycnn.data import load_dataset
from remedies import making

ROOT = Path(__file__).parent.parent.parent
CHANGE = "--limit 40 --epochs 1 --network scratch --no-fast --batch-size 8"


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["quality.py", *map(str, arguments)])
    quality.main()


def test_a_seed_is_trained_once_and_its_options_are_kept(tmp_path, monkeypatch, capsys):
    places = ("--results", tmp_path / "results", "--runs", tmp_path / "runs")
    run(monkeypatch, "digits", "--seeds", 3, "--change", CHANGE, *places)
    (file,) = (tmp_path / "results").iterdir()
    one = json.loads(file.read_text())
    summary = json.loads(next((tmp_path / "runs").glob("*/summary.json")).read_text())
    assert (one["task"], one["seed"], one["change"]) == ("digits", 3, CHANGE)
    assert (one["accuracy"], one["seconds"]) == (summary["test_accuracy"], summary["seconds"])
    assert (one["steps"], one["parameters"]) == (5, 3 * 3 * 8 + 3 * 3 * 8 * 10 + 10)
    assert one["config"]["seed"] == 3
    assert one["cpu_seconds"] > 0
    assert str(tmp_path) not in file.read_text()

    monkeypatch.setattr(quality.subprocess, "run", None)  # nothing is trained again
    run(monkeypatch, "digits", "--seeds", 3, "--change", CHANGE, *places)
    file.write_text(json.dumps(one | {"options": ["--epochs", "2"]}))
    with pytest.raises(SystemExit, match="was trained with other options"):
        run(monkeypatch, "digits", "--seeds", 4, "--change", CHANGE, *places)
    with pytest.raises(SystemExit):
        run(monkeypatch, "digits", "--held-out", *places)
    assert "whose images are files" in capsys.readouterr().err


def test_held_out_images_stand_in_for_the_test_images(tmp_path):
    folder = making.write_mnist_files(tmp_path / "mnist", 70)
    data = load_dataset("mnist", folder)
    place = quality.held_out(data, tmp_path)
    found = load_dataset("mnist", place)
    assert (len(found.train_labels), len(found.test_labels)) == (60, 10)
    both = np.concatenate([found.train_images, found.test_images])
    assert sorted(map(bytes, both)) == sorted(map(bytes, data.train_images))
    known = zip(map(bytes, data.train_images), data.train_labels, strict=True)
    places = dict(known)
    labels = np.concatenate([found.train_labels, found.test_labels])
    assert [places[bytes(image)] for image in both] == labels.tolist()


@pytest.mark.parametrize(("count", "wanted"), [(60_000, 10_000), (20_000, 10_000), (700, 100)])
def test_ten_thousand_images_are_held_out_where_so_many_are_left(count, wanted):
    assert quality.held_out_count(count) == wanted


def result(seed, accuracy, **other):
    return {
        "task": "best-mnist",
        "seed": seed,
        "held_out": False,
        "change": "",
        "accuracy": accuracy,
        "parameters": 1234,
        "seconds": 60.0 + seed,
        "cpu_seconds": None if seed else 100.0,
    } | other


def test_the_table_has_means_and_what_is_missing():
    accuracies = [0.9961, 0.9968, 0.9964]
    found = [result(seed, accuracy) for seed, accuracy in zip((0, 2, 3), accuracies, strict=True)]
    found.append(result(0, 0.99, held_out=True, change="--ema 0.9"))
    *others, first, second = quality.table(found).splitlines()[2:]
    assert others[0] == "| digits, the first command | | 0 (missing all 10) | | | | 98.90% | | |"
    assert len(others) == len(quality.TASKS) - 1
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    spread = statistics.stdev(accuracies)
    assert cells == [
        "MNIST, best-mnist",
        "1,234",
        "3 (missing 1, 4)",
        f"{100 * sum(accuracies) / 3:.3f}%",
        f"{100 * spread:.3f}%",
        f"{100 * spread / 3**0.5:.3f}%",
        "99.65%",
        "62.0",
        "100.0",
    ]
    cells = [cell.strip() for cell in second.strip("|").split("|")]
    assert cells[0] == "MNIST, best-mnist, held-out images, `--ema 0.9`"
    assert cells[2:7] == ["1", "99.000%", "", "", ""]


def test_the_published_table_is_that_of_the_files():
    page = (ROOT / "docs" / "PERFORMANCE.md").read_text("utf-8")
    (published,) = re.findall(r"^\| \| parameters \| seeds.*\n(?:\|.*\n)+", page, re.MULTILINE)
    assert published == quality.table(quality.read(quality.RESULTS)) + "\n"
