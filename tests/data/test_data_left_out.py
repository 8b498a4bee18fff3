"""What is found at a data set's path and not used is counted in one line, by reason."""

import struct

import numpy as np
import pytest
from PIL import Image

from arraycnn.data import load_dataset
from arraycnn.data.reader_result import LeftOut
from arraycnn.errors import DataError

IMAGES = np.arange(20 * 4 * 3, dtype=np.uint8).reshape(20, 4, 3)
LABELS = np.arange(20) % 2


def picture(path, mark=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((4, 4), mark, np.uint8)
    pixels[1:3] = 200  # or the picture were said to be blank
    Image.fromarray(pixels).save(path)


def pictures(folder, **counts):
    for name, count in counts.items():
        for number in range(count):
            picture(folder / name / f"{number}.png", number)
    return folder


def not_used(path, caplog, **options):
    """The set, and what one line says is not used."""
    caplog.clear()
    data = load_dataset(path, **options)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) <= 1
    if not lines:
        return data, ""
    assert lines[0].startswith(f"{path}: not used: ")
    return data, lines[0].removeprefix(f"{path}: not used: ")


def idx(array):
    array = np.asarray(array, np.uint8)
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def test_nothing_is_said_where_all_is_used(tmp_path, caplog):
    assert not_used(pictures(tmp_path / "a", cat=5, dog=5), caplog)[1] == ""
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS, class_names=["x", "y"])
    assert not_used(tmp_path / "a.npz", caplog)[1] == ""


def test_files_of_a_picture_folder_by_their_kind(tmp_path, caplog):
    pets = pictures(tmp_path / "pets", cat=5, dog=5)
    for name in ("cat/.DS_Store", "dog/Thumbs.db", ".hidden", "cat/notes.txt", "cat/more.TXT"):
        (pets / name).touch()
    (pets / "dog" / "LICENSE").touch()
    (pets / "cat" / "wild.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(8))
    (pets / "cat" / "lost.png").symlink_to(tmp_path / "absent")
    picture(pets / "loose.png")
    data, said = not_used(pets, caplog)
    assert len(data.train_labels) + len(data.test_labels) == 10
    assert said == (
        "3 hidden files, 1 broken link (cat/lost.png), 2 .txt files (cat/more.TXT, cat/notes.txt), "
        "1 HEIC file (cat/wild.heic), 1 file without a suffix (dog/LICENSE), "
        "1 .png file (loose.png)"
    )


def test_linked_folders_are_entered_once(tmp_path, caplog):
    pets = pictures(tmp_path / "pets", cat=5, dog=5)
    elsewhere = pictures(tmp_path / "elsewhere", more=3)
    (pets / "eel").symlink_to(elsewhere / "more")
    (pets / "cat" / "deeper").symlink_to(elsewhere)
    (pets / "dog" / "loop").symlink_to(pets / "dog")
    data, said = not_used(pets, caplog)
    assert data.class_names == ("cat", "dog", "eel")
    labels = np.concatenate([data.train_labels, data.test_labels])
    assert np.bincount(labels).tolist() == [8, 5, 3]
    assert said == "1 linked folder that lead back (loop)"


@pytest.mark.parametrize("inner", ["", "unknown", "images"])
def test_a_test_folder_without_labels(tmp_path, caplog, inner):
    pictures(tmp_path / "set" / "train", cat=10, dog=10)
    for number in range(7):
        picture(tmp_path / "set" / "test" / inner / f"{number}.png")
    data, said = not_used(tmp_path / "set", caplog)
    assert not data.has_test_part
    assert len(data.test_labels) == 4
    assert said == "7 pictures without a label (test/)"


def test_other_folders_beside_the_parts(tmp_path, caplog):
    for part in ("train", "test"):
        pictures(tmp_path / "set" / part, cat=4, dog=4)
    pictures(tmp_path / "set", extra=2)
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "set" / "extra")
    (tmp_path / "set" / "labels.csv").touch()
    (tmp_path / "set" / ".git").mkdir()
    data, said = not_used(tmp_path / "set", caplog)
    assert data.has_test_part
    assert said == (
        "1 hidden folder, 1 folder (extra), 1 .csv file (labels.csv), 1 linked folder (linked)"
    )


def test_a_validation_part_of_pictures_is_used(tmp_path, caplog):
    for part, count in (("train", 4), ("val", 3), ("test", 2)):
        pictures(tmp_path / "set" / part, cat=count, dog=count)
    data, said = not_used(tmp_path / "set", caplog)
    assert said == ""
    assert [
        len(part) for part in (data.train_labels, data.validation_labels, data.test_labels)
    ] == [
        8,
        6,
        4,
    ]
    assert len(data.limited(5).validation_labels) == 5


def test_arrays_of_an_npz(tmp_path, caplog):
    arrays = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "ids": LABELS, "meta": LABELS}
    np.savez(tmp_path / "a.npz", **arrays)
    data, said = not_used(tmp_path / "a.npz", caplog)
    assert said == "3 arrays (ids, meta, x_test)"
    assert not data.has_test_part
    np.savez(tmp_path / "a.npz", **arrays, y_test=LABELS, x_val=IMAGES[:6], y_val=LABELS[:6])
    data, said = not_used(tmp_path / "a.npz", caplog)
    assert said == "2 arrays (ids, meta)"
    assert len(data.validation_labels) == 6
    assert np.array_equal(data.validation_images[..., 0], IMAGES[:6])


def test_the_one_file_of_a_folder(tmp_path, caplog):
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    (tmp_path / "classes.txt").write_text("no\nyes\n")
    (tmp_path / "readme.txt").touch()
    data, said = not_used(tmp_path, caplog)
    assert data.class_names == ("no", "yes")
    assert said == "1 .txt file (readme.txt)"
    np.savez(tmp_path / "b.npz", images=IMAGES, labels=LABELS)
    with pytest.raises(DataError, match=r"holds several; name one of them: a.npz, b.npz"):
        load_dataset(tmp_path)


def test_validation_alone_is_the_test_part(tmp_path, caplog):
    np.savez(tmp_path / "a.npz", x_train=IMAGES, y_train=LABELS, x_val=IMAGES[:6], y_val=LABELS[:6])
    data, said = not_used(tmp_path / "a.npz", caplog)
    assert (said, data.has_test_part, len(data.test_labels)) == ("", True, 6)
    assert data.validation_images is None


def test_files_beside_npy_files(tmp_path, caplog):
    for name, array in (("images", IMAGES), ("labels", LABELS), ("weights", LABELS)):
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "classes.txt").write_text("a\nb\n")
    (tmp_path / "a.zip").write_bytes(b"PK\3\4")
    assert not_used(tmp_path, caplog)[1] == "1 array (weights), 1 zip file (a.zip)"


def test_files_beside_idx_files(tmp_path, caplog):
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(IMAGES))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(LABELS))
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(b"the same, packed")
    (tmp_path / "spare-images-idx3-ubyte").write_bytes(idx(IMAGES))
    said = not_used(tmp_path, caplog)[1]
    assert said == "1 file without a suffix (spare-images-idx3-ubyte)"


def test_names_are_data(tmp_path, caplog):
    left_out = LeftOut()
    for name in ("a\nb", "caf\udce9.x", "{s}"):
        left_out.add("file{s}", name)
    left_out.add("file{s}", "d")
    assert str(left_out) == "4 files (a b, caf?.x, {s}, ...)"


def test_what_a_class_holds_that_is_not_read(tmp_path):
    pets = pictures(tmp_path / "pets", cat=5)
    (pets / "dog").mkdir()
    (pets / "dog" / "a.jpg.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(8))
    with pytest.raises(DataError, match=r"1 HEIC file .*; convert it to PNG or JPEG") as caught:
        load_dataset(pets)
    assert "remove" not in str(caught.value)


def test_predict_counts_what_it_passes_over(tmp_path, cli):
    folder = pictures(tmp_path / "p", inner=2)
    (folder / ".x").touch()
    (folder / "a.txt").touch()
    (folder / "linked").symlink_to(folder / "inner")
    train = (
        "train",
        "--backend",
        "numpy",
        "--no-fast",
        "--limit",
        "40",
        "--epochs",
        "1",
        "--out",
        "run",
    )
    assert cli(*train, "--out", "run")[0] == 0
    code, out, errors = cli("predict", "run/last.npz", folder, "--backend", "numpy", "--no-fast")
    assert code == 0
    assert len(out.splitlines()) == 2
    told = [line for line in errors if "not used" in line]
    assert len(told) == 1
    assert told[0] == (
        f"arraycnn: {folder}: not used: 1 hidden file, 1 .txt file (p/a.txt), "
        "1 linked folder that lead back (linked)"
    )


def test_training_is_watched_on_the_sets_own_part(tmp_path, cli):
    rng = np.random.default_rng(0)
    sets = {}
    for part, count in (("train", 40), ("val", 10), ("test", 12)):
        sets[f"{part}_labels"] = np.arange(count)[:, None] % 2
        images = rng.integers(0, 99, (count, 12, 12)) + 100 * sets[f"{part}_labels"][..., None]
        sets[f"{part}_images"] = images.astype(np.uint8)
    np.savez(tmp_path / "med.npz", **sets)
    train = ("train", "--backend", "numpy", "--no-fast", "--dataset", "med.npz", "--epochs", "1")
    code, _, errors = cli(*train, "--out", "own", "--patience", "3")
    assert code == 0, errors
    told = "arraycnn: med: watches the training on the set's own validation part, 10 images"
    assert told in errors
    assert cli("train", "--resume", "own")[0] == 0
    code, _, errors = cli(*train, "--out", "share", "--validation", "0.25")
    assert code == 0
    assert "its own validation part of 10 images is not used" in " ".join(errors)
    code, out, _ = cli("evaluate", "own/last.npz", "--dataset", "med.npz", "--part", "validation")
    assert code == 0
    assert "on 10 images" in out
    # With one changed image of that part the run does not go on.
    sets["val_images"][3] ^= 1
    np.savez(tmp_path / "med.npz", **sets)
    code, _, errors = cli("train", "--resume", "own")
    assert code == 2
    assert "the data was" in " ".join(errors)
    np.savez(tmp_path / "med.npz", x=sets["train_images"], y=sets["train_labels"])
    evaluate = ("evaluate", "own/last.npz", "--dataset", "med.npz")
    code, _, errors = cli(*evaluate, "--part", "validation")
    assert code == 2
    assert "has no validation part" in errors[-1]
