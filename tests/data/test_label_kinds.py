"""Sets whose labels are several an image, numbers, or a class for each pixel."""

import numpy as np
import pytest

from arraycnn.data import load_dataset
from arraycnn.data.digest import training_digest
from arraycnn.errors import DataError
from arraycnn.model.class_names import in_the_models_numbers

RNG = np.random.default_rng(5)
IMAGES = RNG.integers(0, 256, (20, 4, 6), dtype=np.uint8)
LABELS = RNG.integers(0, 2, (20, 3))
VALUES = RNG.normal(size=(20, 2))
PIXELS = RNG.integers(0, 4, (20, 4, 6))


def saved(folder, labels, **more):
    np.savez(folder / "set.npz", images=IMAGES, labels=labels, **more)
    return folder / "set.npz"


def check_pairs(data, labels):
    """Each image of both parts has its own labels, and all are there."""
    found = [
        (image.tobytes(), label.tolist())
        for images, of in data.parts.values()
        for image, label in zip(images, of, strict=True)
    ]
    expected = [(image.tobytes(), label) for image, label in zip(IMAGES, labels, strict=True)]
    assert sorted(found) == sorted((image, np.asarray(label).tolist()) for image, label in expected)


@pytest.mark.parametrize(
    ("kind", "labels", "shape", "names"),
    [
        ("labels", LABELS, (3,), ("0", "1", "2")),
        ("labels", LABELS[:, 0].astype(bool), (1,), ("0",)),
        ("labels", PIXELS % 2, (4, 6, 1), ("0",)),
        ("numbers", VALUES, (2,), ("0", "1")),
        ("numbers", np.arange(20), (1,), ("0",)),
        ("numbers", RNG.normal(size=(20, 4, 6, 2)), (4, 6, 2), ("0", "1")),
        ("pixels", PIXELS, (4, 6), ("0", "1", "2", "3")),
        ("pixels", PIXELS[..., None].astype(float), (4, 6), ("0", "1", "2", "3")),
    ],
)
def test_each_kind_is_read_and_split(tmp_path, kind, labels, shape, names):
    data = load_dataset(saved(tmp_path, labels), labels=kind)
    assert data.train_labels.shape[1:] == shape
    assert data.train_labels.dtype == (np.int32 if kind == "pixels" else np.float32)
    assert (data.kind, data.class_names, len(data.test_labels)) == (kind, names, 4)
    check_pairs(data, labels.reshape(20, *shape).astype(data.train_labels.dtype))
    some = data.limited(3)
    assert [len(of) for _, of in some.parts.values()] == [3, 3]
    assert training_digest(data, False) != training_digest(some, False)


def test_names_are_of_the_outputs(tmp_path):
    path = saved(tmp_path, PIXELS % 2, class_names=["sky", "road", "tree"])
    assert load_dataset(path, labels="pixels").class_names == ("sky", "road", "tree")
    with pytest.raises(DataError, match="got 1 an image and 3 class names"):
        load_dataset(path, labels="labels")


@pytest.mark.parametrize(
    ("kind", "labels", "said"),
    [
        ("labels", np.arange(20), "got numbers up to 19, one an image; take a set"),
        ("labels", LABELS * 2.0, "must be labels of 0 to 1, got 2 at position"),
        ("labels", LABELS[:, None, None, None], "got shape (20, 1, 1, 1, 3)"),
        ("numbers", np.where(VALUES > 2, np.nan, VALUES) * np.inf, "must be finite, got "),
        ("numbers", np.array(["a"] * 20), "must be numbers, (N,), (N, numbers), or images of"),
        ("pixels", LABELS, "must be a class for each pixel, (N, H, W), got shape (20, 3)"),
        ("pixels", PIXELS - 1, "must be 0 to 9999, there may be 10000 classes, got -1"),
        ("classes", LABELS, "or have a loss that takes such labels"),
    ],
)
def test_labels_of_another_kind_are_refused(tmp_path, kind, labels, said):
    with pytest.raises(DataError) as caught:
        load_dataset(saved(tmp_path, labels), labels=kind)
    assert said in str(caught.value)
    assert "set.npz: labels" in str(caught.value)


def test_sets_of_classes_are_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"digits: labels must be numbers, .* has one class an image"
    ):
        load_dataset("digits", labels="numbers")
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="a folder of pictures has one class an image; take a set"):
        load_dataset(tmp_path / "pets", labels="labels")


def table(path, columns, labels, delimiter=",", quote=""):
    """A table by hand: an id, the columns of labels, pixels, and one further label at the end."""
    pixels = [f"pixel{n}" for n in range(16)]
    rows = [["id", *columns[:-1], *pixels, columns[-1]]]
    for number, (image, label) in enumerate(zip(IMAGES[:, :, :4], labels, strict=True)):
        cells = [f"{quote}{value}{quote}" for value in label.tolist()]
        rows.append([str(number), *cells[:-1], *map(str, image.ravel()), cells[-1]])
    path.write_text("\n".join(delimiter.join(row) for row in rows))
    return path


@pytest.mark.parametrize(("delimiter", "quote"), [(",", ""), (";", '"'), ("\t", "")])
def test_columns_of_a_table_that_are_no_pixels_are_labels(tmp_path, delimiter, quote):
    path = table(tmp_path / "a.csv", ["left", "right"], VALUES, delimiter, quote)
    data = load_dataset(path, labels="numbers")
    assert data.class_names == ("left", "right")
    assert data.image_shape == (4, 4, 1)
    found = {
        image.tobytes(): label.tolist()
        for images, labels in data.parts.values()
        for image, label in zip(images, labels, strict=True)
    }
    for image, label in zip(IMAGES[:, :, :4], VALUES.astype(np.float32), strict=True):
        assert found[np.ascontiguousarray(image).tobytes()] == label.tolist()


def test_a_table_names_the_cell_that_is_no_number(tmp_path):
    path = table(tmp_path / "a.csv", ["left", "right"], VALUES.astype(object) * 1)
    path.write_text(path.read_text().replace(f"\n3,{VALUES[3, 0]}", "\n3,?"))
    with pytest.raises(DataError) as caught:
        load_dataset(path, labels="numbers")
    assert "labels must be numbers, column 2 (left) has '?' for image 4; correct" in str(
        caught.value
    )


def test_one_column_of_a_table_may_be_numbers(tmp_path):
    path = table(tmp_path / "a.csv", ["label"], VALUES[:, :1])
    data = load_dataset(path, labels="numbers")
    assert (data.class_names, data.train_labels.shape) == (("label",), (16, 1))
    every = np.concatenate([labels for _, labels in data.parts.values()])
    np.testing.assert_array_equal(np.sort(every[:, 0]), np.sort(VALUES[:, 0].astype(np.float32)))


def test_labels_are_brought_into_the_models_order_by_name(tmp_path):
    data = load_dataset(saved(tmp_path, LABELS, class_names=["c", "a", "b"]), labels="labels")
    sorted_data, said = in_the_models_numbers(data, ("a", "b", "c"), 3)
    assert "matched by name" in said
    assert sorted_data.class_names == ("a", "b", "c")
    np.testing.assert_array_equal(sorted_data.train_labels, data.train_labels[:, [1, 2, 0]])
    same, said = in_the_models_numbers(data, None, 3)
    assert (same.class_names, said) == (("c", "a", "b"), "")
    for known, outputs in ((("a", "b", "x"), 3), (None, 4), (("a", "b", "c", "d"), 4)):
        with pytest.raises(DataError, match="the labels must be those of the model, which are"):
            in_the_models_numbers(data, known, outputs)
    pixels = load_dataset(saved(tmp_path, PIXELS % 2), labels="pixels")
    assert in_the_models_numbers(pixels, ("sky", "road", "tree"), 3)[0].class_names[2] == "tree"
