"""What README.md promises, run as it is written there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MNIST = ROOT.parent / "shared" / "data" / "mnist"


def blocks(language):
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
    return [text for name, text in fenced if name == language]


def test_the_two_commands_are_there():
    commands = "".join(blocks(""))
    assert "pip install . && arraycnn train\n" in commands
    assert 'pip install ".[test]" && pytest -n auto\n' in commands


def test_the_python_example_runs(tmp_path):
    (example,) = blocks("python")
    assert 'backend="cupy"' in example
    assert len(example.strip().splitlines()) <= 12
    # CI has no CUDA device: the same lines on NumPy.
    script = example.replace('backend="cupy"', 'backend="numpy"')
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    accuracy = float(re.search(r"Metrics\(loss=.*, accuracy=(.*)\)", result.stdout)[1])
    assert accuracy > 0.97
    assert (tmp_path / "digits.npz").is_file()


def test_the_example_of_stopping_and_going_on_runs(tmp_path):
    (example,) = blocks("py")
    prelude = """
import arraycnn as cnn
from arraycnn.data import load_dataset
data = load_dataset("digits")
images, labels = data.train_images, data.train_labels
held_out = data.test_images, data.test_labels
network = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(10))
"""
    script = f"{prelude}{example}print(model.epochs_done)"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert 0 < int(result.stdout) <= 20


@pytest.mark.parametrize(
    "command", ["train", "evaluate", "predict", "report", "export", "import", "info"]
)
def test_every_option_in_the_shell_examples_exists(command):
    arraycnn = Path(sys.executable).parent / "arraycnn"
    text = subprocess.run(
        [arraycnn, command, "--help"], capture_output=True, text=True, check=True
    ).stdout
    shown = [line for line in "".join(blocks("")).splitlines() if f"arraycnn {command}" in line]
    assert shown
    for option in {option for line in shown for option in re.findall(r"--[a-z-]+", line)}:
        assert option in text


def test_the_tutorial_command_runs(tmp_path):
    if not MNIST.is_dir():
        pytest.skip("the real MNIST files are not beside the project")
    command = [sys.executable, ROOT / "examples" / "cnn_from_scratch.py", "--data-dir", MNIST]
    result = subprocess.run(
        [*command, "--seed", "0"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    accuracy = float(result.stdout.splitlines()[-1].removeprefix("Test Accuracy: "))
    # Thirty seeds of the tutorial's own code gave 0.772 to 0.848.
    assert 0.77 < accuracy < 0.85


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_cpu_table_is_that_of_the_newest_result():
    newest = sorted((ROOT / "bench" / "results").glob("cpu-*.json"))[-1]
    command = [sys.executable, ROOT / "bench" / "table.py", newest]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert table.strip() in README
    assert newest.name in README
