"""Pictures that cannot be read: named one by one, or left out and counted (--skip-damaged)."""

import numpy as np
import pytest
from PIL import Image

from arraycnn.data import load_dataset, picture_folder
from arraycnn.data.image_source import ImageSource
from arraycnn.errors import DataError, DataFileError

PARTS = ("train", "test")
FAST = ("--backend", "numpy", "--no-fast")


def picture(path, mark, size=12):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(mark).integers(0, 255, (size, size)).astype(np.uint8)
    pixels[0, 0] = mark
    Image.fromarray(pixels).save(path)


def pets(folder, count=10):
    for place, name in enumerate(("cat", "dog")):
        for number in range(count):
            picture(folder / name / f"{number}.png", 100 * place + number)
    return folder


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("<html>404</html>")


def phone(path):
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))


def flipped(path):
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(content)


def marks(images):
    images = images.read(np.arange(len(images))) if isinstance(images, ImageSource) else images
    return images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("limit", [0, 2**28], ids=["on the disk", "in memory"])
@pytest.mark.parametrize("damage", [cut, empty, text, phone, flipped])
def test_damaged_pictures_are_left_out_and_listed(tmp_path, caplog, monkeypatch, damage, limit):
    monkeypatch.setattr(picture_folder, "RESIDENT_BYTES", limit)
    folder = pets(tmp_path / "pets")
    before = {part: marks(getattr(load_dataset(folder), f"{part}_images")) for part in PARTS}
    for number in (3, 4, 5, 6):
        damage(folder / "dog" / f"{number}.png")
    caplog.clear()
    data = load_dataset(folder, skip_damaged=True)
    names = "dog/3.png, dog/4.png, dog/5.png, ..."
    assert caplog.messages == [f"{folder}: not used: 4 damaged pictures ({names})"]
    for part in PARTS:
        found = marks(getattr(data, f"{part}_images"))
        # What is left is in the part in which it was: nothing that was trained on is tested on.
        assert found == [mark for mark in before[part] if mark not in (103, 104, 105, 106)]
        assert [m // 100 for m in found] == getattr(data, f"{part}_labels").tolist()


@pytest.mark.parametrize("limit", [0, 2**28], ids=["on the disk", "in memory"])
def test_without_the_option_the_remedy_names_it(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(picture_folder, "RESIDENT_BYTES", limit)
    folder = pets(tmp_path / "pets")
    cut(folder / "dog" / "3.png")
    with pytest.raises(DataFileError, match="or leave damaged pictures out with --skip-damaged"):
        marks(load_dataset(folder).train_images), marks(load_dataset(folder).test_images)
    empty(folder / "dog" / "3.png")
    with pytest.raises(DataFileError, match="with --skip-damaged") as caught:
        load_dataset(folder)
    assert str(folder / "dog" / "3.png") in str(caught.value)
    load_dataset(folder, skip_damaged=True)


def test_damage_in_each_part(tmp_path, caplog):
    for part in ("train", "val", "test"):
        pets(tmp_path / "set" / part, 4)
        cut(tmp_path / "set" / part / "cat" / "1.png")
    data = load_dataset(tmp_path / "set", skip_damaged=True)
    parts = (data.train_labels, data.validation_labels, data.test_labels)
    assert [len(labels) for labels in parts] == [7, 7, 7]
    assert "not used: 3 damaged pictures (train/cat/1.png" in caplog.text


def test_where_all_are_damaged(tmp_path):
    folder = pets(tmp_path / "pets", 2)
    for path in folder.glob("*/*"):
        text(path)
    with pytest.raises(DataError, match="all 4 are damaged"):
        load_dataset(folder, skip_damaged=True)


def test_nothing_is_said_where_nothing_is_damaged(tmp_path, caplog):
    before, after = load_dataset(pets(tmp_path)), load_dataset(tmp_path, skip_damaged=True)
    assert caplog.records == []
    np.testing.assert_array_equal(before.train_images, after.train_images)


def test_the_commands(tmp_path, cli, caplog):
    folder = pets(tmp_path / "pets")
    cut(folder / "dog" / "3.png")
    train = ("train", "--dataset", "pets", "--epochs", "1", "--out", "run")
    code, _, errors = cli(*train, *FAST)
    assert code == 2
    assert len(errors) == 1
    assert errors[0].endswith("or leave damaged pictures out with --skip-damaged")
    said = "pets: not used: 1 damaged picture (dog/3.png)"
    code, _, errors = cli(*train, *FAST, "--skip-damaged")
    assert code == 0, errors
    assert said in caplog.messages
    caplog.clear()
    # A run that goes on, and a report, do as the run did.
    code, _, errors = cli("train", "--resume", "run", "--epochs", "2", "--override")
    assert code == 0, errors
    assert said in caplog.messages
    caplog.clear()
    evaluate = ("evaluate", "run/last.npz", "--dataset", "pets", "--part", "all", *FAST)
    assert cli(*evaluate)[0] == 2
    code, out, errors = cli(*evaluate, "--skip-damaged")
    assert code == 0, errors
    assert "on 19 images" in out
    assert said in caplog.messages


def test_report_leaves_out_what_the_run_left_out(tmp_path, cli, caplog):
    folder = pets(tmp_path / "pets")
    train = ("train", "--dataset", "pets", "--epochs", "1", *FAST)
    assert cli(*train, "--out", "before")[0] == 0
    cut(folder / "dog" / "3.png")
    assert cli(*train, "--out", "run", "--skip-damaged")[0] == 0
    assert cli("report", "run", *FAST)[0] == 0
    assert cli("report", "before", *FAST)[0] == 2
    caplog.clear()
    code, _, errors = cli("report", "before", *FAST, "--skip-damaged")
    assert code == 0, errors
    assert "pets: not used: 1 damaged picture (dog/3.png)" in caplog.messages


def test_predict(tmp_path, cli):
    folder = pets(tmp_path / "pets", 3)
    assert cli("train", "--limit", "40", "--epochs", "1", "--out", "run", *FAST)[0] == 0
    for number in (0, 1):
        cut(folder / "dog" / f"{number}.png")
    predict = ("predict", "run/last.npz", "pets", *FAST)
    code, out, errors = cli(*predict)
    assert code == 2
    assert "leave damaged files out with --skip-damaged" in errors[-1]
    code, kept, errors = cli(*predict, "--skip-damaged")
    assert code == 0, errors
    assert kept == out
    assert len(kept.splitlines()) == 4
    assert "arraycnn: not used: 2 damaged pictures (pets/dog/0.png, pets/dog/1.png)" in errors
    for path in folder.glob("*/*"):
        text(path)
    code, _, errors = cli(*predict, "--skip-damaged")
    assert code == 2
    assert "could read none of 6" in errors[-1]
