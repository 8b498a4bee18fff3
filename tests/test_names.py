"""Names are data, whatever is in them: every output has them exactly, or in a form one can read."""

import ast
import csv
import io
import json
import os
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from arraycnn import Model
from arraycnn.escaping import EXACT, PLAIN, for_shell, isolated, printable, shortened

NAMES = {
    "mathtext": "$1_$5_",
    "ampersand": "$5 & $10",
    "not closed": "$\\frac{1}{",
    "no font has it": "\U00012000",
    "another script": "猫",
    "no text": "caf\udce9",
    "line break": "a\nb",
    "return": "a\rb",
    "tab": "a\tb",
    "terminal": "\x1b[31mred\x1b[0m",
    "override": "\u202egnp.exe",
    "right to left": "שלום",
    "joined": "\U0001f469\u200d\U0001f52c",
    "combining": "e\u0301",
    "very long": "x" * 200,
    "rich": "[bold]",
    "formula": '=HYPERLINK("x")',
    "tag": "<script>alert(1)<b>",
    "quotes": "\"q'\\",
    "option": "-dash",
    "colour": "#0072b2",
    "hidden in legends": "_under",
    "font": "font: 10px Evil",
    "comma": "a,b;c",
    "space": "a\u202fb",
    "braces": "{name}%s",
}
RUN = "r\udce9n $1_$\n<i> \u202e猫"
PLAINLY = ("--backend", "numpy", "--no-fast")


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_what_is_shown_is_one_harmless_line(name):
    shown = printable(name)
    shown.encode()
    assert len(shown.splitlines()) == 1
    assert not any(ord(letter) < 32 or letter == "\u202e" for letter in shown)
    assert printable(shown) == shown
    assert len(shortened(name, 20)) <= 20
    assert isolated(name).strip("\u2068\u2069") == shown
    assert name.encode("utf-8", EXACT).decode("utf-8", "surrogateescape") == name
    name.encode("ascii", PLAIN).decode("ascii")


@pytest.mark.parametrize("name", ["plain", "猫", "שלום", "e\u0301", "a b", "\U0001f469\u200d"])
def test_what_does_no_harm_is_shown_as_it_is(name):
    assert printable(name) == name


def test_what_no_system_can_write_is_written_as_its_escape():
    assert "x\ud800".encode("utf-8", EXACT) == b"x\\ud800"
    assert "5\u202f% \u2192 \u4e00".encode("ascii", PLAIN) == b"5 % -> \\u4e00"


@pytest.mark.skipif(os.name == "nt", reason="the shell is POSIX's")
@pytest.mark.parametrize("name", [*NAMES.values(), "", "a b", "it's"], ids=[*NAMES, "no", "b", "i"])
def test_a_command_can_be_copied(name):
    said = subprocess.run(
        ["bash", "-c", f"printf %s {for_shell(name)}"], capture_output=True, check=True
    )
    assert os.fsdecode(said.stdout) == name
    assert "\n" not in for_shell(name)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A set of pictures whose classes, and one of whose files, are called so; a run on it."""
    folder = tmp_path_factory.mktemp("names")
    rng = np.random.default_rng(0)
    for part, count in (("train", 2), ("test", 1)):
        for number, name in enumerate(NAMES.values()):
            (folder / "set" / part / name).mkdir(parents=True)
            for file in range(count):
                pixels = rng.integers(0, 60, (8, 8), np.uint8) + np.uint8(7 * number)
                Image.fromarray(pixels).save(folder / "set" / part / name / f"{file}.png")
    (folder / "shown").mkdir()
    for name in NAMES.values():
        file = folder / "shown" / f"{name[:100].replace('/', '|')}.png"
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(file)
    return folder


@pytest.fixture
def trained(place, cli, monkeypatch):
    """The command in that folder, where the run is trained."""
    monkeypatch.chdir(place)
    if not (place / RUN).exists():
        train = ("train", "--dataset", "set", "--network", "scratch", *PLAINLY, "--epochs", "1")
        logs = ("--csv", "--log-steps", "--validation", "0", "--out", RUN)
        result = cli(*train, *logs)
        check(result)
        assert printable(RUN) in result[1]

    def run(*arguments):
        result = cli(*arguments)
        check(result)
        return result

    return run


def check(result):
    code, out, errors = result
    assert code == 0, errors
    machine = out.startswith("image,")  # which holds names as they are
    for text in (*errors, *([] if machine else [out])):
        assert "internal error" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text


def classes():
    return sorted(NAMES.values())


def test_the_model_has_the_names_exactly(trained, place):
    assert list(Model.load(place / RUN / "last.npz").class_names) == classes()
    json.loads((place / RUN / "config.json").read_bytes().decode())
    for file in ("metrics.jsonl", "metrics.csv", "steps.jsonl", "summary.json"):
        (place / RUN / file).read_bytes().decode()


def read(kind, content):
    """(image, class) pairs of a machine-readable output, by the standard library."""
    if kind == "csv":
        text = io.StringIO(content.decode("utf-8", "surrogateescape"), newline="")
        rows = list(csv.DictReader(text))
        assert all(None not in row and None not in row.values() for row in rows)
        return rows
    text = content.decode("utf-8")
    return json.loads(text) if kind == "json" else [json.loads(row) for row in text.splitlines()]


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl"])
@pytest.mark.parametrize("to_a_file", [True, False])
def test_predict_gives_names_back_exactly(kind, to_a_file, trained, place):
    output = ("--output", "o\udce9ut") if to_a_file else ()
    command = ("predict", f"{RUN}/last.npz", "shown", "--format", kind, *output, *PLAINLY)
    _, out, _ = trained(*command)
    content = (place / "o\udce9ut").read_bytes() if to_a_file else out.encode("utf-8", EXACT)
    rows = read(kind, content)
    assert {place / row["image"] for row in rows} == set((place / "shown").iterdir())
    assert {row["class"] for row in rows} <= set(classes())
    if kind != "csv":
        assert set(rows[0]["probabilities"]) == set(classes())


def test_predict_shows_every_image_on_one_line(trained, place):
    _, out, _ = trained("predict", f"{RUN}/last.npz", "shown", *PLAINLY)
    lines = out.split("\n")[:-1]
    assert len(lines) == len(NAMES)
    assert any("caf\\udce9" in line for line in lines)
    assert any("a\\nb" in line for line in lines)


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl"])
def test_evaluate_gives_names_back_exactly(kind, trained, place):
    details = ("--per-class", "--output", "rows", "--format", kind, "--json")
    _, out, _ = trained("evaluate", f"{RUN}/last.npz", *details, *PLAINLY)
    assert set(json.loads(out)["per_class"]) == set(classes())
    rows = read(kind, (place / "rows").read_bytes())
    assert sorted(row["label"] for row in rows) == classes()
    _, out, _ = trained("evaluate", f"{RUN}/last.npz", "--per-class", *PLAINLY)
    assert len(out.splitlines()) == len(NAMES) + 1


def test_exports_give_names_back_exactly(trained, place):
    pytest.importorskip("onnx", reason="onnx is not installed")
    import onnx

    for kind, out in (("onnx", "m\udce9.onnx"), ("safetensors", "m\udce9.safetensors")):
        trained("export", f"{RUN}/last.npz", "--format", kind, "--out", out)
    made = onnx.load_from_string((place / "m\udce9.onnx").read_bytes())
    (names,) = [entry.value for entry in made.metadata_props if entry.key == "class_names"]
    assert json.loads(names) == classes()
    trained("import", "m\udce9.safetensors", "--out", "back.npz")
    assert list(Model.load(place / "back.npz").class_names) == classes()


def test_the_pytorch_module_has_the_names_as_python_reads_them(trained, place):
    trained("export", f"{RUN}/last.npz", "--format", "torch", "--out", "module.py", "--force")
    source = (place / "module.py").read_bytes().decode("utf-8")
    assert "\u202e" not in source  # the text of a program must read as it runs
    (names,) = [
        node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "CLASS_NAMES"
    ]
    assert list(ast.literal_eval(names)) == classes()


def test_tensorboard_takes_such_a_folder(trained, place):
    train = ("train", "--dataset", "set", "--network", "scratch", *PLAINLY, "--epochs", "1")
    trained(*train, "--validation", "0", "--tensorboard", "--out", f"board {RUN}")
    assert list((place / f"board {RUN}" / "tensorboard").iterdir())


class Texts(HTMLParser):
    """The texts of a page, and its elements."""

    def __init__(self):
        super().__init__()
        self.texts, self.tags, self.labels = [], set(), []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.labels += [value for name, value in attributes if name in ("alt", "aria-label")]

    def handle_data(self, data):
        self.texts.append(data)


def test_the_report_shows_every_name(trained, place, caplog):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained("report", RUN, *PLAINLY)
    assert "no font here has the letters" in caplog.text
    folder = place / RUN / "report"
    page = Texts()
    page.feed((folder / "report.html").read_bytes().decode("utf-8"))
    assert "script" not in page.tags
    assert "i" not in page.tags
    for name in classes():
        assert isolated(name) in page.texts, name
    assert printable(RUN) in "".join(page.texts)
    for file in folder.glob("pictures/*.svg"):
        ElementTree.parse(file)
    drawn = ElementTree.parse(folder / "pictures" / "class-scores.svg")
    texts = {"".join(text.itertext()) for text in drawn.iter("{http://www.w3.org/2000/svg}text")}
    for name in ("$1_$5_", "$5 & $10", "#0072b2", "font: 10px Evil", "_under", "<script>"):
        assert any(name in text for text in texts), name
    assert any(f"class {classes().index(NAMES['no font has it'])}" == text for text in texts)


def test_the_comparison_shows_every_run(trained, place):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from arraycnn.report import plot_comparison, read_run
    from arraycnn.report.figures import to_inline_svg

    epochs = read_run(place / RUN).epochs
    runs = {printable(name): epochs for name in NAMES.values()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plot_comparison(runs, ["loss"])
        ElementTree.fromstring(to_inline_svg(figure, "x", "a\x1b\udce9\u202e"))
    (legend,) = [axes.get_legend() for axes in figure.axes]
    assert len(legend.get_texts()) == len(NAMES)


def test_names_that_are_too_long_for_a_picture_stay_apart():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from arraycnn.report.names import in_pictures

    long = [f"a species with a long name, {kind}" for kind in ("female", "male")]
    shown = in_pictures([*long, "short"])
    assert len(set(shown)) == 3
    assert max(map(len, shown)) <= 20
    assert shown[2] == "short"


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "missing\udce9\n\x1b[31m.npz", "shown"),
        ("evaluate", "missing\udce9.npz"),
        ("report", "missing\udce9"),
        ("train", "--resume", "missing\udce9\u202e"),
        ("train", "--dataset", "missing\udce9\x1b"),
        ("export", "missing\udce9.npz", "--format", "onnx"),
        ("import", "missing\udce9.safetensors"),
        ("train", "--out", "x", "--epochs", "\udce9\x1b"),
        ("\udce9\x1b[1m",),
    ],
)
def test_errors_name_them_on_one_line(arguments, cli):
    code, _, errors = cli(*arguments)
    assert code == 2, errors
    (line,) = errors
    assert "internal error" not in line
    assert "\x1b" not in line
    assert "\u202e" not in line


def test_paths_on_standard_input_need_not_be_text(trained, place):
    command = [sys.executable, "-m", "arraycnn", "predict", f"{RUN}/last.npz", "-", *PLAINLY]
    result = subprocess.run(
        [*command, "--format", "json"],
        input="shown/caf\udce9.png\nshown/猫.png\n".encode("utf-8", EXACT),
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
    )
    assert result.returncode == 0, result.stderr
    assert [row["image"] for row in json.loads(result.stdout)] == [
        "shown/caf\udce9.png",
        "shown/猫.png",
    ]
