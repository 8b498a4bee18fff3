"""Remedies of ``arraycnn predict``: what it is given to predict."""

import io
import sys
from collections.abc import Callable

import numpy as np
from PIL import Image

from remedies import making
from remedies.following import Here, follows
from remedies.trained import trained


def _stdin(here: Here, content: bytes) -> None:
    here.patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def _predicted(here: Here, make_wrong: Callable[[], str], make_right: Callable[[], str]) -> None:
    """Something to predict is refused, and when changed as told is not."""
    run = trained(here)
    predict = ("predict", run / "last.npz", "--backend", "numpy")
    here.refused_command(*predict, make_wrong())
    here.accepted_command(*predict, make_right())


def _picture(here: Here, name: str) -> str:
    path = here.path / name
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(making.some()[0][0, :, :, 0]).save(path)
    return str(path)


@follows("cli/pictures.py", "check the folder")
def a_pattern_without_files(here: Here) -> None:
    pattern = str(here.path / "pictures" / "*.png")
    _predicted(here, lambda: pattern, lambda: _picture(here, "pictures/a.png") and pattern)


@follows("cli/pictures.py", "name another")
def a_folder_without_pictures(here: Here) -> None:
    (here.path / "empty").mkdir()
    full = here.path / "full"
    _predicted(
        here, lambda: str(here.path / "empty"), lambda: _picture(here, "full/a.png") and str(full)
    )


@follows("cli/pictures.py", "write its paths, one a line")
def standard_input_without_a_line(here: Here) -> None:
    def wrong() -> str:
        _stdin(here, b"\n")
        return "-"

    def right() -> str:
        paths = [_picture(here, "a.png"), _picture(here, "b.png")]
        _stdin(here, "\n".join(paths).encode())
        return "-"

    _predicted(here, wrong, right)


@follows("cli/pictures.py", "name a file")
def standard_input_of_something_else(here: Here) -> None:
    def wrong() -> str:
        _stdin(here, b"\xff\xfe\x00what")
        return "-"

    _predicted(here, wrong, lambda: _picture(here, "a.png"))


@follows("cli/pictures.py", "save it to a file")
def standard_input_too_large(here: Here) -> None:
    from arraycnn.cli import pictures

    here.patch.setattr(pictures, "_STDIN_BYTES", 1000)
    content = io.BytesIO()
    np.save(content, making.some(40)[0])

    def wrong() -> str:
        _stdin(here, content.getvalue())
        return "-"

    def right() -> str:
        (here.path / "x.npy").write_bytes(content.getvalue())
        return str(here.path / "x.npy")

    _predicted(here, wrong, right)


@follows("cli/pictures.py", "rename the array")
def two_arrays_without_a_known_name(here: Here) -> None:
    path = here.path / "x.npz"
    images = making.some()[0]

    def written(**arrays: np.ndarray) -> str:
        np.savez(path, **arrays)
        return str(path)

    _predicted(here, lambda: written(a=images, b=images), lambda: written(images=images, b=images))


@follows("cli/predict.py", "see the lines above")
def pictures_of_which_one_is_damaged(here: Here) -> None:
    run = trained(here)
    predict = ("predict", run / "last.npz", "--backend", "numpy")
    (here.path / "bad.png").write_bytes(b"no picture")
    good = _picture(here, "good.png")
    here.refused_command(*predict, good, here.path / "bad.png")
    above = next(line for line in here.message.splitlines() if "bad.png" in line)
    assert "use PNG or JPEG" in above
    Image.open(good).save(here.path / "bad.png")
    here.accepted_command(*predict, good, here.path / "bad.png")


@follows("cli/predict.py", "--no-invert leaves them as they are")
def a_picture_of_the_opposite_background(here: Here) -> None:
    from arraycnn.data import load_dataset

    run = trained(here)
    image = load_dataset("digits").test_images[0, :, :, 0]
    Image.fromarray(255 - image).save(here.path / "x.png")
    predict = ("predict", run / "last.npz", "--backend", "numpy", here.path / "x.png")
    here.told_command(*predict)
    here.accepted_command(*predict, "--no-invert")
