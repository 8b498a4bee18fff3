"""The examples, run small: each is short, and learns something."""

import runpy
from pathlib import Path

import pytest

import arraycnn as cnn

EXAMPLES = Path(__file__).parent.parent / "examples"
BACKEND = cnn.NumPy(fast=False, threads=1)  # nothing is compiled for so few steps
SMALL = {
    # Settings, and whether the result is better than what knows nothing: 10% and 20% of classes,
    # 65% of pixels that are background, 2.2 pixels off in the middle, half of the labels.
    "unet": ({"images": 200, "epochs": 2}, lambda share: share > 0.75),
    "dense_block": ({"images": 500, "epochs": 3}, lambda accuracy: accuracy > 0.5),
    "two_labels": ({"images": 600, "epochs": 3}, lambda found: found["f1"] > 0.75),
    "regression": ({"images": 600, "epochs": 5}, lambda error: error < 1.2),
    "fine_tuning": ({"images": 500}, lambda found: min(found[1:]) > found[0] + 0.1),
}


def test_each_example_but_the_tutorials_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*SMALL, "cnn_from_scratch"}


@pytest.mark.parametrize("name", SMALL)
def test_an_example_is_short_and_learns(name):
    path = EXAMPLES / f"{name}.py"
    assert len(path.read_text().splitlines()) < 40
    settings, has_learned = SMALL[name]
    result = runpy.run_path(path)["run"](**settings, backend=BACKEND)
    assert has_learned(result), result
