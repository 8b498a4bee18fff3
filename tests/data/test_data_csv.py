"""Tables of text, one image a row, as Kaggle and others publish MNIST and its like."""

import gzip
import tracemalloc

import numpy as np
import pytest

from arraycnn.data import csv_table, load_dataset
from arraycnn.errors import DataError, DataFileError
from conftest import import_optional


def drawn(count, pixels=784, classes=10, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, pixels))
    images[rng.random(images.shape) < 0.5] = 0
    return images.astype(np.uint8), np.arange(count) % classes


KAGGLE = [f"pixel{n}" for n in range(784)]
BY_PLACE = [f"{row + 1}x{column + 1}" for row in range(28) for column in range(28)]


def lines(images, labels=None, header=None, delimiter=",", last=False, end="\n"):
    """A table written by hand: the label first or last."""
    rows = [] if header is None else [list(header)]
    for place, image in enumerate(images):
        row = [str(value) for value in image.tolist()]
        label = [] if labels is None else [str(labels[place])]
        rows.append(row + label if last else label + row)
    return "".join(delimiter.join(row) + end for row in rows)


def check_all(data, images, labels, shape=(28, 28, 1)):
    """The parts together are all rows: of every image, which the label is."""
    found = np.concatenate([data.train_images, data.test_images]).reshape(len(images), -1)
    numbers = np.concatenate([data.train_labels, data.test_labels])
    assert data.image_shape == shape
    order, expected = np.lexsort(found.T), np.lexsort(images.T)
    np.testing.assert_array_equal(found[order], images[expected])
    np.testing.assert_array_equal(numbers[order], labels[expected])


def refusal(path, **options):
    with pytest.raises(DataError) as caught:
        load_dataset(path, **options)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
    return str(caught.value)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("header", [["label", *KAGGLE], ["label", *BY_PLACE], None])
def test_the_tables_of_mnist(tmp_path, caplog, header, end):
    images, labels = drawn(1100)
    (tmp_path / "mnist_train.csv").write_text(lines(images, labels, header, end=end), newline="")
    data = load_dataset(tmp_path / "mnist_train.csv")
    assert (data.name, data.class_names) == ("mnist_train", tuple("0123456789"))
    check_all(data, images, labels)
    assert caplog.records == []


def test_what_pandas_writes_and_reads(tmp_path):
    pandas = import_optional("pandas")
    images, labels = drawn(40)
    frame = pandas.DataFrame(images, columns=KAGGLE)
    frame.insert(0, "label", labels)
    for name, options in {
        "plain.csv": {},
        "floats.csv": {"float_format": "%.1f"},
        "quoted.csv": {"quoting": 1},
        "tabs.tsv": {"sep": "\t"},
        "packed.csv.gz": {},
        "semicolons.csv": {"sep": ";"},
    }.items():
        path = tmp_path / name
        kept = frame.astype(float) if name.startswith("floats") else frame
        kept.to_csv(path, index=False, **options)
        again = pandas.read_csv(path, sep=options.get("sep", ","))
        check_all(load_dataset(path), again[KAGGLE].to_numpy(), again["label"].to_numpy())
    frame.to_csv(tmp_path / "index.csv")  # with its index as a column
    check_all(load_dataset(tmp_path / "index.csv"), images, labels)


def test_train_and_test_in_one_folder(tmp_path, caplog):
    images, labels = drawn(50)
    other, other_labels = drawn(30, seed=1)
    (tmp_path / "mnist_train.csv").write_text(lines(images, labels))
    (tmp_path / "mnist_test.csv").write_text(lines(other, other_labels))
    for path in (tmp_path, tmp_path / "mnist_train.csv"):
        data = load_dataset(path)
        assert data.has_test_part
        np.testing.assert_array_equal(data.train_images.reshape(50, -1), images)
        np.testing.assert_array_equal(data.test_images.reshape(30, -1), other)
        np.testing.assert_array_equal(data.test_labels, other_labels)
    assert caplog.records == []
    (tmp_path / "mnist_valid.csv").write_text(lines(other[:10], other_labels[:10]))
    assert len(load_dataset(tmp_path).validation_labels) == 10


def test_kaggles_test_table_has_no_labels(tmp_path, caplog):
    images, labels = drawn(50)
    (tmp_path / "train.csv").write_text(lines(images, labels, ["label", *KAGGLE]))
    (tmp_path / "test.csv").write_text(lines(images[:28], None, KAGGLE))
    (tmp_path / "sample_submission.csv").write_text("ImageId,Label\n1,0\n")
    data = load_dataset(tmp_path)
    assert not data.has_test_part
    check_all(data, images, labels)
    left_out = "28 images without a label (test.csv), 1 .csv file (sample_submission.csv)"
    assert caplog.messages == [f"{tmp_path}: not used: {left_out}"]
    caplog.clear()
    load_dataset(tmp_path / "train.csv")
    assert caplog.messages[0].endswith("not used: 28 images without a label (test.csv)")
    assert "has no labels" in refusal(tmp_path / "test.csv")
    (tmp_path / "train.csv").unlink()
    assert "must hold a table with labels to train on" in refusal(tmp_path)


def test_a_test_table_without_header_and_labels(tmp_path, caplog):
    images, labels = drawn(50)
    (tmp_path / "train.csv").write_text(lines(images, labels))
    (tmp_path / "test.csv").write_text(lines(images[:9]))
    assert not load_dataset(tmp_path).has_test_part
    assert "not used: 9 images without a label (test.csv)" in caplog.text


def test_colour_and_labels_at_the_end(tmp_path):
    """As HAM10000's hmnist_8_8_RGB.csv: pixel0000,...,pixel0191,label."""
    images, labels = drawn(60, 192, 7)
    header = [*(f"pixel{n:04}" for n in range(192)), "label"]
    (tmp_path / "a.csv").write_text(lines(images, labels, header, last=True))
    check_all(load_dataset(tmp_path / "a.csv"), images, labels, (8, 8, 3))


def test_a_header_made_of_the_first_row(tmp_path):
    """As in "A_Z Handwritten Data.csv": 0,0.1,0.2,..., made by a program that wants names."""
    images, labels = drawn(50)
    header = ["0", *(f"0.{n + 1}" for n in range(784))]
    (tmp_path / "a.csv").write_text(lines(images, labels, header))
    check_all(load_dataset(tmp_path / "a.csv"), images, labels)


def test_shapes_that_are_no_squares_are_said(tmp_path):
    images, labels = drawn(40, 10, 2)
    (tmp_path / "a.csv").write_text(lines(images, labels))
    said = "10 numbers is no square image; train with --image-size HEIGHTxWIDTH"
    assert said in refusal(tmp_path / "a.csv")
    assert load_dataset(tmp_path / "a.csv", image_size=(2, 5)).image_shape == (2, 5, 1)
    # With the label there are 25 numbers a row, which could be a 5x5 image.
    images, labels = drawn(40, 24, 2)
    (tmp_path / "a.csv").write_text(lines(images, labels))
    said = "has no labels (its 25 columns are an image: train --image-size can say another)"
    assert said in refusal(tmp_path / "a.csv")
    for size, shape in [((4, 6), (4, 6, 1)), ((2, 4), (2, 4, 3)), ((12, 2, 1), (12, 2, 1))]:
        data = load_dataset(tmp_path / "a.csv", image_size=size)
        check_all(data, images, labels, shape)
    assert "one of 7x7 has others" in refusal(tmp_path / "a.csv", image_size=(7, 7))


def test_texts_as_labels_and_names_with_delimiters(tmp_path):
    images, _ = drawn(40, 16)
    labels = np.array(["cat", '"a, ""b"""', "caf\xe9 $1", "cat"] * 10)
    (tmp_path / "a.csv").write_text(lines(images, labels), "utf-8-sig")
    data = load_dataset(tmp_path / "a.csv")
    assert data.class_names == ('a, "b"', "caf\xe9 $1", "cat")
    assert len(data.train_labels) + len(data.test_labels) == 40


def test_labels_written_as_floats_are_whole(tmp_path):
    images, labels = drawn(40, 16, 2)
    (tmp_path / "a.csv").write_text(lines(images, [f"{label}.0" for label in labels]))
    assert load_dataset(tmp_path / "a.csv").class_names == ("0", "1")


@pytest.mark.parametrize(
    ("place", "row", "said"),
    [
        (3, "1" + ",7" * 15, "every row must have 17 columns, one has 16"),
        (3, "1" + ",7" * 17, "every row must have 17 columns, one has 18"),
        (600, "1" + ",7" * 15 + ",256", "column 17 (pixel15) has '256'"),
        (600, "1,-1" + ",7" * 15, "column 2 (pixel0) has '-1'"),
        (5, "1,x" + ",7" * 15, "column 2 (pixel0) has 'x'"),
        (5, "1,nan" + ",7" * 15, "column 2 (pixel0) has 'nan'"),
        (5, "1,inf" + ",7" * 15, "column 2 (pixel0) has 'inf'"),
        (5, "1,1e400" + ",7" * 15, "column 2 (pixel0) has '1e400'"),
        (5, "1," + ",7" * 15, "column 2 (pixel0) has an empty cell"),
        (5, "1,99999999999999999999" + ",7" * 15, "column 2 (pixel0) has '9999"),
        (5, "1,10\x1e" + ",x" * 15, "column 3 (pixel1) has 'x'"),
        (5, "1,\x1f10\x1c,\x85\x0b5,\u3000300" + ",7" * 13, "column 4 (pixel2) has"),
        (5, "1,\x1e" + ",7" * 15, "column 2 (pixel0) has an empty cell"),
        (5, "1,0x1F" + ",7" * 15, "column 2 (pixel0) has '0x1F'"),
        (5, "" + ",7" * 16, "column 1 (label) has an empty cell"),
        (5, "z" * 300 + ",7" * 16, "column 1 (label) has 300 letters"),
        (5, "-3" + ",7" * 16, "-3"),
        (5, '"1' + ",7" * 16, "columns"),
    ],
)
def test_rows_that_are_wrong_are_named(tmp_path, place, row, said):
    images, labels = drawn(700, 16, 2)
    header = ["label", *(f"pixel{n}" for n in range(16))]
    rows = lines(images, labels, header).splitlines()
    rows[place] = row
    (tmp_path / "a.csv").write_text("\n".join(rows))
    with pytest.raises(DataFileError) as caught:
        load_dataset(tmp_path / "a.csv")
    assert said in str(caught.value)
    assert str(caught.value).isprintable()
    # Where the row begins; a wrong class is known once all are read.
    begin = len("\n".join([*rows[:place], ""]))
    assert caught.value.offset == (None if row.startswith("-3") else begin)


@pytest.mark.parametrize("blank", ["\x0b", "\x0c", *"\x1c\x1d\x1e\x1f\x85\xa0\u2003\u3000"])
def test_blanks_around_numbers_are_no_part_of_them(tmp_path, blank):
    images, labels = drawn(40, 16, 2)
    (tmp_path / "a.csv").write_text(lines(images, labels))
    expected = load_dataset(tmp_path / "a.csv")
    text = lines(images, labels).replace(",", f"{blank},{blank}")
    (tmp_path / "b.csv").write_text(text, encoding="utf-8")
    found = load_dataset(tmp_path / "b.csv")
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "another kind of table"),
        (b"name,label\na.png,cat\n", "another kind of table"),
        (b"emotion,pixels,Usage\n0,70 80 82,Training\n", "another kind of table"),
        (b"label,width,height,a,b,c\n1,2,3,4,5,6\n", "another kind of table"),
        (b"\xff\xfe1\0,\0", "must be text, is not; save it as UTF-8"),
        (b"label,pixel0,pixel1,pixel2,pixel3\n", "must have at least one row of pixels"),
        (gzip.compress(b"1,2,3,4,5\n" * 99, mtime=0)[:-6], "must be an intact gzip file"),
        (b"9" * 5_000_000, "a row may have at most"),
        (b"\0" * 100, "another kind of table"),
    ],
)
def test_tables_that_are_none(tmp_path, content, said):
    (tmp_path / "a.csv").write_bytes(content)
    assert said in refusal(tmp_path / "a.csv")


def test_two_tables_for_one_part(tmp_path):
    images, labels = drawn(30, 16, 2)
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(lines(images, labels))
    assert "must hold one table to train with, holds a.csv and b.csv" in refusal(tmp_path)
    load_dataset(tmp_path / "b.csv")


def test_lists_beside_class_folders_do_not_hide_the_pictures(tmp_path, caplog):
    from test_data_left_out import pictures

    pictures(tmp_path, cat=5, dog=5)
    (tmp_path / "labels.csv").write_text("file,label\ncat/0.png,cat\n")
    assert load_dataset(tmp_path).class_names == ("cat", "dog")
    assert "not used: 1 .csv file (labels.csv)" in caplog.text


def test_memory_stays_near_the_pixels(tmp_path):
    images, labels = drawn(6000)
    (tmp_path / "a.csv").write_text(lines(images, labels))
    layout = csv_table.find_layout(tmp_path / "a.csv")
    tracemalloc.start()
    try:
        table = csv_table.read_table(tmp_path / "a.csv", layout)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(table.pixels, images)
    # Twice the pixels while they are joined, and one piece of text with its numbers.
    assert peak < 2 * images.nbytes + 16 * 2**20


def test_more_than_fits_is_refused(tmp_path, monkeypatch):
    images, labels = drawn(600, 16)
    (tmp_path / "a.csv").write_text(lines(images, labels))
    monkeypatch.setattr(csv_table, "MAX_BYTES", 600 * 16 - 1)
    assert "pixels may take at most" in refusal(tmp_path / "a.csv")


def test_train_from_a_table(tmp_path, cli):
    images, labels = drawn(60, 144, 2)
    images[labels == 1] //= 8
    (tmp_path / "train.csv").write_text(lines(images, labels))
    (tmp_path / "test.csv").write_text(lines(images[:20], labels[:20]))
    options = ("--backend", "numpy", "--no-fast")
    command = ("train", "--dataset", ".", "--epochs", "2", "--image-size", "9x16", "--out", "run")
    code, _, errors = cli(*command, *options)
    assert code == 0, errors
    code, out, errors = cli("evaluate", "run/last.npz", "--dataset", "test.csv", *options)
    assert code == 0, errors
    assert "images" in out
