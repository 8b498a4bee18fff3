"""The report as a file: what a user gets from `arraycnn report`, and the figures for notebooks."""

import base64
import io
import itertools
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from arraycnn import (
    Conv2d,
    Dense,
    Flatten,
    Model,
    ReLU,
    Rescale,
    RunFolderError,
    Sequential,
    report,
)
from arraycnn.report import sentences as words
from arraycnn.report import thumbnails as tiles
from arraycnn.report.figures import _saved, style, to_svg
from arraycnn.report.markup import Html, tag
from arraycnn.training.history import EpochRecord

PNG = b"\x89PNG\r\n\x1a\n"
PICTURES = {
    "calibration",
    "class-scores",
    "confusion-matrix",
    "feature-maps",
    "filters",
    "layer-times",
    "learning-curves",
    "mistakes",
    "norms",
    "saliency",
}


class Page(HTMLParser):
    """The elements of a page, in order: (name, attributes, text)."""

    def __init__(self, path):
        super().__init__()
        self.text = path.read_text("utf-8")
        self.elements = []
        self.open = []
        self.feed(self.text)
        assert self.open == []

    def handle_starttag(self, name, attributes):
        names = [key for key, _ in attributes]
        assert len(names) == len(set(names))
        self.elements.append([name, dict(attributes), ""])
        if name not in ("meta", "link", "img"):
            self.open.append(len(self.elements) - 1)

    def handle_endtag(self, name):
        assert self.elements[self.open.pop()][0] == name

    def handle_startendtag(self, name, attributes):
        self.elements.append([name, dict(attributes), ""])

    def handle_data(self, data):
        for place in self.open:
            self.elements[place][2] += data

    def all(self, *names):
        return [element for element in self.elements if element[0] in names]


@pytest.fixture(params=["basic/report", "report"])
def page(report_runs, request):
    return Page(report_runs / request.param / "report.html")


# --- the page -------------------------------------------------------------------------------------


def test_the_page_needs_nothing_from_outside(page):
    for _, attributes, _ in page.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            target = attributes.get(name)
            assert target is None or target.startswith(("#", "data:")), target
    assert page.all("script", "iframe", "object", "base") == []
    assert re.findall(r"url\((?!#)|@import|https?://", page.text) == []


def test_headings_make_an_outline(page):
    levels = [int(name[1]) for name, _, _ in page.elements if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_every_anchor_and_label_has_its_target(page):
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes, _ in page.elements:
        for name in ("href", "aria-labelledby"):
            target = attributes.get(name, "")
            if name == "href" and not target.startswith("#"):
                continue
            assert not target or target.removeprefix("#") in ids
    for place in re.findall(r"url\(#([^)]+)\)", page.text):
        assert place in ids


def test_pictures_say_what_they_show_and_are_pictures(page):
    pictures = page.all("img")
    assert len(pictures) > 20
    for _, attributes, _ in pictures:
        assert len(attributes["alt"]) > 8
        png = base64.b64decode(attributes["src"].removeprefix("data:image/png;base64,"))
        shape = Image.open(io.BytesIO(png)).size
        assert shape[0] / shape[1] == pytest.approx(
            int(attributes["width"]) / int(attributes["height"]), rel=0.05
        )
    charts = [attributes for _, attributes, _ in page.all("svg")]
    assert len(charts) >= 8
    assert all(chart["role"] == "img" and len(chart["aria-label"]) > 20 for chart in charts)


def test_tables_have_captions_and_scopes(page):
    tables = page.all("table")
    assert len(page.all("caption")) == len(tables) >= 6
    assert all(attributes["scope"] in ("row", "col") for _, attributes, _ in page.all("th"))


def test_the_page_is_for_readers(page):
    (html,) = page.all("html")
    assert html[1]["lang"] == "en"
    first = next(element for element in page.elements if element[0] == "a")
    assert first[1]["href"] == "#report"
    assert page.all("main")[0][1]["id"] == "report"


def test_the_page_says_what_was_measured(report_runs):
    page = Page(report_runs / "basic" / "report" / "report.html")
    model = Model.load(report_runs / "basic" / "best.npz")
    data = report.load_run_data(report.read_run(report_runs / "basic"))
    right = int((model.predict(data.test_images).argmax(axis=1) == data.test_labels).sum())
    text = page.all("body")[0][2]
    assert f"{right / 3:.1f}\u202f% of 300 test images right, {300 - right} wrong" in text
    assert "Measured on a sample of 300 images of the test part of digits" in text
    assert "What each layer makes of test image 5" in text
    assert "arraycnn train --accumulate 1 --augment none --backend numpy" in text
    assert (report_runs / "report-basic.txt").read_text().startswith(f"{right / 3:.1f}")
    (numbers,) = [t for t in page.all("table") if "Precision, recall and F1" in t[2]]
    support = np.bincount(data.test_labels, minlength=10)
    assert all(str(count) in numbers[2] for count in support)


def test_two_runs_are_compared(report_runs):
    page = Page(report_runs / "report" / "report.html")
    (table,) = [t for t in page.all("table") if "settings that differ" in t[2]]
    assert "network" in table[2]
    assert "scratch" in table[2]
    assert "batch size" not in table[2]  # is the same
    result = json.loads((report_runs / "report-both.txt").read_text())
    assert [entry["run"] for entry in result["runs"]] == ["basic", "scratch"]
    first, second = (
        Model.load(report_runs / name / "best.npz")
        .predict(_data(report_runs).test_images)
        .argmax(axis=1)
        == _data(report_runs).test_labels
        for name in ("basic", "scratch")
    )
    cells = re.sub(r"\s+", " ", table[2])
    assert f"right, basic wrong–{(second & ~first).sum()}" in cells
    assert f"wrong, basic right–{(first & ~second).sum()}" in cells


def _data(report_runs):
    return report.load_run_data(report.read_run(report_runs / "basic"))


def test_pictures_are_written_as_png_and_svg(report_runs):
    for folder in (
        report_runs / "basic" / "report" / "pictures",
        report_runs / "report" / "pictures" / "run-1",
        report_runs / "report" / "pictures" / "run-2",
    ):
        assert {path.stem for path in folder.iterdir() if path.is_file()} == PICTURES
        for name in PICTURES:
            assert (folder / f"{name}.png").read_bytes().startswith(PNG)
            root = ElementTree.fromstring((folder / f"{name}.svg").read_bytes())
            assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert (report_runs / "report" / "pictures" / "comparison.png").is_file()


def test_a_report_is_made_again_in_its_place(report_runs, command):
    before = sorted(path for path in (report_runs / "basic").rglob("*"))
    assert command("report", "basic", "--backend", "numpy", cwd=report_runs).returncode == 0
    assert sorted(path for path in (report_runs / "basic").rglob("*")) == before


def test_names_from_files_are_text_not_html(tmp_path, found, record):
    evil = '<script>alert("x")</script>&'
    folder = _folder(tmp_path / "evil", {"dataset": evil, "network": evil, "note": evil}, record)
    odd = replace(found, class_names=(evil, "é", "c"))
    path = report.write_report([(report.read_run(folder), odd)], tmp_path / "out")
    page = Page(path)
    assert page.all("script") == []
    assert evil in page.all("body")[0][2]


# --- the command line -----------------------------------------------------------------------------


def test_users_mistakes_are_one_line(report_runs, tmp_path, command):
    (tmp_path / "empty").mkdir()
    table = [
        ((), "Missing argument 'RUN...'"),
        (("absent",), "run folder absent: holds no run"),
        (("empty",), "run folder empty: holds no run"),
        ((report_runs / "basic", "--image", "300"), "image: must be in 0..299"),
        ((report_runs / "basic", "--image", "-1"), "-1 is not in the range"),
        ((report_runs / "basic", "absent"), "run folder absent: holds no run"),
    ]
    for arguments, expected in table:
        result = command("report", *arguments, "--backend", "numpy", cwd=tmp_path)
        assert result.returncode == 2, arguments
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1, result.stderr
        assert expected in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


WITHOUT_MATPLOTLIB = """
import sys
sys.modules["matplotlib"] = None
sys.argv = ["arraycnn", "report", "basic", "--backend", "numpy"]
import arraycnn.report
from arraycnn.cli import main
main()
"""


def test_without_matplotlib_the_line_that_installs_it_is_named(report_runs):
    program = [sys.executable, "-c", WITHOUT_MATPLOTLIB]
    result = subprocess.run(program, cwd=report_runs, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == (
        'arraycnn: report: matplotlib is not installed; pip install "arraycnn[plot]"\n'
    )


def test_matplotlib_is_imported_only_to_draw():
    program = "import sys, arraycnn.report, arraycnn.cli; print(*sys.modules)"
    command = [sys.executable, "-c", program]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "arraycnn.report.charts" in loaded
    assert "matplotlib" not in loaded


# --- figures for notebooks ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found():
    """An untrained model examined on noise: every kind of mistake."""
    network = Sequential(Rescale(), Conv2d(4, 3), ReLU(), Flatten(), Dense(3))
    model = Model(network, (6, 6, 3), class_names=["a", "b", "c"])
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)
    return report.examine(model, images, rng.integers(0, 3, 40))


@pytest.fixture
def record():
    return EpochRecord(1, 0.9, 0.5, 0.8, 0.6, 2.0, 100.0, 0.1)


def _folder(path, config, record):
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    (path / "metrics.jsonl").write_text(json.dumps(vars(record)) + "\n")
    (path / "best.npz").write_bytes(b"")
    return path


def figures(found, record):
    second = replace(record, epoch=2, train_loss=0.4, validation_loss=0.5, learning_rate=0.05)
    return {
        "curves": report.plot_learning_curves([record, second]),
        "comparison": report.plot_comparison({"one": [record, second], "two": [record]}),
        "confusion": report.plot_confusion_matrix(found.confusion, found.class_names),
        "scores": report.plot_class_scores(found.scores, found.class_names),
        "calibration": report.plot_calibration(found.calibration),
        "mistakes": report.plot_mistakes(
            found.images, found.labels, found.probabilities, found.mistakes, found.class_names
        ),
        "filters": report.plot_filters(found.filters, (6, 6, 3)),
        "maps": report.plot_feature_maps(found.maps),
        "saliency": report.plot_saliency(found.images[found.examples], found.saliency),
        "norms": report.plot_norms(found.norms),
        "times": report.plot_layer_times(found.times),
    }


def test_figures_show_in_a_notebook_and_leave_pyplot_and_its_settings_alone(found, record):
    import matplotlib
    from matplotlib.figure import Figure

    before = dict(matplotlib.rcParams)
    for figure in figures(found, record).values():
        assert isinstance(figure, Figure)
        assert figure._repr_png_().startswith(PNG)
    assert dict(matplotlib.rcParams) == before
    program = (
        "import sys, numpy as np; from arraycnn import report;"
        "report.plot_confusion_matrix(np.eye(2, dtype=int), 'ab');"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_same_values_make_the_same_svg(found, record):
    once, again = figures(found, record), figures(found, record)
    for name in once:
        assert to_svg(once[name]) == to_svg(again[name])


def test_files_are_those_that_matplotlib_saves(found, record):
    """Which draws twice; and the figure is left as it was: a notebook may save it itself."""
    drawn = figures(found, record)
    svg = {"Date": None, "Creator": None}
    kinds = (("png", {"Software": None}, False), ("svg", svg, False), ("svg", svg, True))
    for name, (kind, metadata, transparent) in itertools.product(("curves", "saliency"), kinds):
        figure, theirs = drawn[name], io.BytesIO()
        ours = _saved(figure, kind, metadata, transparent)
        with style():
            figure.savefig(theirs, format=kind, metadata=metadata, transparent=transparent)
        assert ours == theirs.getvalue() == _saved(figure, kind, metadata, transparent), name


def test_curves_are_the_records(found, record):
    second = replace(record, epoch=2, train_loss=0.4, validation_loss=0.5)
    loss, accuracy, rate = report.plot_learning_curves([record, second]).axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in loss.lines}
    assert lines == {"training": [[1, 0.9], [2, 0.4]], "validation": [[1, 0.8], [2, 0.5]]}
    assert [line.get_xydata().tolist() for line in accuracy.lines] == [
        [[1, 0.5], [2, 0.5]],
        [[1, 0.6], [2, 0.6]],
    ]
    assert rate.lines[0].get_ydata().tolist() == [0.1, 0.1]


def test_curves_within_epochs_are_means_of_neighbouring_steps(record):
    steps = [
        report.StepRecord(epoch, step, 10.0 * epoch + step, 0.5, 1.0 / (100 * epoch + step))
        for epoch in (1, 2)
        for step in range(1, 301)
    ]
    loss, _, rate = report.plot_learning_curves([record], steps).axes
    points = loss.lines[0].get_xydata()
    assert len(points) == 200  # 600 steps in threes
    assert points[0].tolist() == pytest.approx([2 / 300, 12.0])
    assert points[-1].tolist() == pytest.approx([1 + 299 / 300, 319.0])
    assert rate.lines[0].get_ydata()[0] == pytest.approx((1 / 101 + 1 / 102 + 1 / 103) / 3)


def test_the_matrix_shows_its_counts():
    confusion = np.array([[5, 0, 1], [0, 3, 0], [2, 0, 1234]])
    (axes,) = report.plot_confusion_matrix(confusion, "abc").axes
    shown = {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in axes.texts}
    assert shown == {(0, 0): "5", (0, 2): "1", (1, 1): "3", (2, 0): "2", (2, 2): "1,234"}


def test_the_diagram_shows_the_bins(found):
    upper, lower = report.plot_calibration(found.calibration).axes
    filled = found.calibration.counts > 0
    points = upper.lines[-1].get_xydata()
    np.testing.assert_array_equal(points[:, 0], found.calibration.confidence[filled])
    np.testing.assert_array_equal(points[:, 1], found.calibration.accuracy[filled])
    heights = [bar.get_height() for bar in lower.patches]
    assert heights == found.calibration.counts.tolist()


def test_curves_need_an_epoch():
    with pytest.raises(ValueError, match="needs at least one epoch, got none"):
        report.plot_learning_curves([])


def test_a_run_without_validation_or_mistakes_is_reported(tmp_path, found, record):
    bare = replace(record, validation_loss=None, validation_accuracy=None, seconds=None)
    folder = _folder(tmp_path / "bare", {"dataset": "digits"}, bare)
    perfect = np.eye(3)[found.labels]
    sure = replace(
        found,
        probabilities=perfect,
        confusion=np.diag(np.bincount(found.labels)),
        scores=report.class_scores(np.diag(np.bincount(found.labels))),
        calibration=report.calibration(perfect, found.labels),
        mistakes=np.array([], dtype=int),
        filters=None,
        filters_layer="",
    )
    page = Page(report.write_report([(report.read_run(folder), sure)], tmp_path / "out"))
    text = page.all("body")[0][2]
    assert "All 40 test images right." in text
    assert "There is none: every test image was classified correctly." in text
    assert "no images were held out for validation" in text
    assert "so far; the run is not finished" in text
    (folder / "metrics.jsonl").unlink()
    page = Page(report.write_report([(report.read_run(folder), sure)], tmp_path / "out"))
    assert "No epoch was finished." in page.all("body")[0][2]


def test_a_folder_that_is_no_run_is_an_error(tmp_path):
    with pytest.raises(RunFolderError, match="holds no run"):
        report.read_run(tmp_path)


# --- parts ----------------------------------------------------------------------------------------


def test_signed_values_are_colour_and_strength():
    pixels = tiles.signed(np.array([[-2.0, 0.0, 1.0]]))
    assert pixels[0, 0].tolist() == [*tiles.NEGATIVE, 255]
    assert pixels[0, 1, 3] == 0
    assert pixels[0, 2].tolist() == [*tiles.POSITIVE, 128]
    assert tiles.signed(np.array([[9.0]]), scale=3.0)[0, 0, 3] == 255
    assert not tiles.signed(np.zeros((2, 2)))[..., 3].any()


def test_images_are_shown_as_they_are():
    grey = np.array([[[0], [128], [255]]], dtype=np.uint8)
    assert tiles.grey_or_colour(grey)[0].tolist() == [[n, n, n, 255] for n in (0, 128, 255)]
    colour = np.array([[[1, 2, 3]]], dtype=np.uint8)
    assert tiles.grey_or_colour(colour)[0, 0].tolist() == [1, 2, 3, 255]
    stretched = tiles.grey_or_colour(np.array([[[-1.0], [0.0], [1.0]]]))
    assert stretched[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(("count", "columns", "gap"), [(1, 1, 0), (5, 3, 0), (8, 8, 4), (3, 8, 2)])
def test_a_montage_holds_every_picture(count, columns, gap):
    pictures = [np.full((2, 3, 4), number + 1, np.uint8) for number in range(count)]
    sheet = tiles.montage(pictures, columns, 200, gap)
    assert sheet.shape[1] <= 200
    inside = sheet[sheet[..., 0] == sheet[..., 3]]  # a frame's grey is not its alpha
    values, areas = np.unique(inside[inside[:, 0] > 0][:, 0], return_counts=True)
    assert values.tolist() == list(range(1, count + 1))
    assert len(set(areas.tolist())) == 1


def test_features_of_a_vector_keep_every_number():
    output = np.arange(1.0, 101.0)
    (tile,) = tiles.feature_tiles(output, 64)
    assert (tile[..., 3] > 0).sum() == 100
    maps = np.arange(1.0, 2 * 3 * 70 + 1).reshape(2, 3, 70)
    assert len(tiles.feature_tiles(maps, 64)) == 64


def test_filters_are_one_picture_each():
    assert len(tiles.filter_tiles(np.ones((3, 3, 1, 5)), (8, 8, 1), 64)) == 5
    assert tiles.filter_tiles(np.ones((64, 4)), (8, 8, 1), 64)[0].shape == (8, 8, 4)
    (colour,) = tiles.filter_tiles(np.zeros((2, 2, 3, 1)), (8, 8, 3), 64)
    assert colour[0, 0].tolist() == [128, 128, 128, 255]


def test_text_is_escaped_and_html_is_not():
    assert tag("p", "a < b", Html("<b>c</b>"), None, title='"x"') == (
        '<p title="&quot;x&quot;">a &lt; b<b>c</b></p>'
    )
    assert tag("img", alt="", hidden=True, width=None) == '<img alt="" hidden>'


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.9861, "98.6 %"),
        (1.0, "100.0 %"),
        (0.9999, "99.99 %"),
        (0.999999, "> 99.99 %"),
        (0.0, "0.0 %"),
        (float("nan"), "–"),
    ],
)
def test_shares_are_never_rounded_to_all(share, text):
    assert words.percent(share).replace("\u202f", " ") == text


@pytest.mark.parametrize(
    ("time", "text"),
    [(200, "3 min 20 s"), (119.7, "2 min 0 s"), (1.94, "1.9 s"), (0.025, "25 ms"), (3e-6, "3 µs")],
)
def test_times_have_units(time, text):
    assert words.seconds(time).replace("\u202f", " ") == text


def test_one_epoch_has_whole_numbers_on_its_axis():
    record = EpochRecord(1, 0.5, 0.8, 0.4, 0.9, 1.0, 100.0, 0.1)
    for axes in report.plot_learning_curves([record]).axes:
        low, high = axes.get_xlim()
        shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert 1 in shown
        assert all(tick == int(tick) for tick in shown)
