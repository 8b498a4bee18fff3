"""What README.md and docs/*.md promise, run as it is written there."""

import json
import re
import subprocess
import sys
from pathlib import Path
from statistics import median
from xml.etree import ElementTree

import pytest

from arraycnn.cli import cli

COMMANDS = ("train", "evaluate", "predict", "report", "export", "import", "info", "find-rate")
ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCS = {path: path.read_text() for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]}
NEWEST = sorted((ROOT / "bench" / "results").glob("cpu-*.json"))[-1]
MNIST = ROOT.parent / "shared" / "data" / "mnist"


def blocks(language, *texts):
    """What stands fenced as ``language`` in ``texts``, or in README.md and docs/*.md."""
    pattern = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
    found = [pair for text in texts or DOCS.values() for pair in pattern.findall(text)]
    return [text for name, text in found if name == language]


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_the_two_commands_are_there():
    commands = "".join(blocks("", README))
    assert "pip install . && arraycnn train\n" in commands
    assert 'pip install ".[test]" && pytest -n auto\n' in commands


def test_the_python_example_runs(tmp_path):
    (example,) = blocks("python", README)
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


ON_DIGITS = """
import arraycnn as cnn
from arraycnn.data import load_dataset
data = load_dataset("digits")
images, labels = data.train_images, data.train_labels
held_out = data.test_images, data.test_labels
network = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(10))
"""


def test_the_examples_of_training_run(tmp_path):
    examples = "".join(blocks("py", DOCS[ROOT / "docs" / "TRAINING.md"]))
    script = f"{ON_DIGITS}model = cnn.Model(network, (8, 8))\n{examples}print(model.epochs_done)"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert int(result.stdout.split()[-1]) > 0


def test_the_examples_of_going_on_and_of_augmentation_run(tmp_path):
    example, augmented = blocks("py", DOCS[ROOT / "docs" / "GUIDE.md"])
    train = "cnn.Model(augmented, (8, 8)).fit(images, labels, epochs=1)\n"
    script = f"{ON_DIGITS}{example}{augmented}{train}print(model.epochs_done)"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert 0 < int(result.stdout) <= 20


def options_of(command):
    parameters = cli.commands[command].params
    return {option for one in parameters for option in (*one.opts, *one.secondary_opts)}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_in_the_shell_examples_exists(command):
    lines = [line.partition("#") for line in "".join(blocks("")).splitlines()]
    shown = [line for line in lines if f"arraycnn {command}" in line[0]]
    assert shown
    # Of what stands behind a "#", options that are named are this command's, too.
    named = {
        option for parts in shown for option in re.findall(r"(?<=\s)--[a-z-]+", "".join(parts))
    }
    assert named <= options_of(command)


def test_every_option_in_the_text_exists():
    known = set().union(*map(options_of, COMMANDS)) | {"--help"}
    # Commands with options of their own.
    others = {"python", "pytest", "docker", "pip", "srun", "sbatch"}
    for path, text in DOCS.items():
        spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M))
        spans = [span for span in spans if span.split()[0] not in others]
        named = {option for span in spans for option in re.findall(r"(?<![\w-])--[a-z-]+", span)}
        assert named <= known, path.name


def test_every_name_of_the_package_in_the_text_exists():
    named = {
        name
        for text in DOCS.values()
        for name in re.findall(r"(?<![\w/.-])arraycnn((?:\.[A-Za-z_]\w*)+)", text)
    }
    assert ".networks.scratch" in named
    program = "import sys, arraycnn\n"
    program += "".join(f"arraycnn{name}\n" for name in sorted(named) if not name.endswith(".py"))
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_report_is_where_the_guide_says(tmp_path):
    assert "`RUN/report/report.html`" in DOCS[ROOT / "docs" / "GUIDE.md"]
    assert "# writes runs/fashion/report/report.html" in README
    (out,) = [one for one in cli.commands["report"].params if "--out" in one.opts]
    assert "RUN/report;" in out.help


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


def anchors(path):
    """What the headings of a Markdown file are called in links."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path):
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", DOCS[path]):
        file, _, anchor = target.partition("#")
        found = path.parent / file if file else path
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def test_every_page_is_linked_from_the_readme():
    for path in DOCS:
        assert path.name == "README.md" or f"(docs/{path.name})" in README, path.name


def run_bench(script):
    command = [sys.executable, ROOT / "bench" / script, NEWEST]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_cpu_tables_are_those_of_the_newest_result():
    page = DOCS[ROOT / "docs" / "PERFORMANCE.md"]
    assert run_bench("table.py").strip() in page
    assert NEWEST.name in page


def test_the_chart_is_that_of_the_newest_result():
    chart = (ROOT / "docs" / "speed.svg").read_text()
    assert run_bench("chart.py") == chart
    assert "(docs/speed.svg)" in README


def test_the_chart_shows_every_cell():
    chart = ElementTree.parse(ROOT / "docs" / "speed.svg")
    texts = [text for text in chart.getroot().itertext() if "images/s" in text and "x  " in text]
    rates = json.loads(NEWEST.read_text())["images_per_second"]
    expected = []
    for by_name in rates.values():
        middle = {name: median(rounds) for name, rounds in by_name.items() if rounds}
        best = max(rate for name, rate in middle.items() if not name.startswith("arraycnn"))
        expected += [
            f"{middle[name] / best:.2f}x  {middle[name]:,.0f} images/s"
            for name in ("arraycnn fast", "arraycnn numpy")
        ]
    assert sorted(texts) == sorted(expected)


def test_no_figure_of_a_gpu_stands_where_none_was_measured():
    if not list((ROOT / "bench" / "results").glob("gpu-*.json")):
        assert "On a GPU nothing is measured yet" in README
        assert "Not yet measured" in DOCS[ROOT / "docs" / "PERFORMANCE.md"]
