"""Which reader a path of the user's own is for: by what is there, not by a name alone."""

from collections.abc import Sequence
from pathlib import Path

from arraycnn.data.cifar import find_cifar, find_cifar_file, is_cifar_file, is_cifar_folder
from arraycnn.data.class_files import CLASS_FILES
from arraycnn.data.csv_files import find_csv_file, find_csv_folder, is_csv_file, is_csv_folder
from arraycnn.data.file_kinds import kind_of
from arraycnn.data.flat_rows import Size
from arraycnn.data.idx_files import find_idx_file, find_idx_folder, is_idx_folder
from arraycnn.data.image_files import SUFFIXES
from arraycnn.data.label_kinds import LabelKind
from arraycnn.data.named_arrays import NpyFolder, find_named, find_npy
from arraycnn.data.npz_pairs import find_pair, find_pair_folder, is_pair, is_pair_folder
from arraycnn.data.numpy_files import read_npz
from arraycnn.data.pickled import is_pickle
from arraycnn.data.pickled_sets import find_pickled
from arraycnn.data.reader_result import Found
from arraycnn.data.visible_files import is_hidden, visible_files
from arraycnn.errors import DataError, DataFileError

# Where programs that fetch sets put them, under the folder they are given; torchvision's first.
_INNER = (
    *("MNIST/raw", "FashionMNIST/raw", "KMNIST/raw", "EMNIST/raw", "QMNIST/raw", "raw", "gzip"),
    *("cifar-10-batches-py", "cifar-100-python", "cifar-10-batches-bin", "cifar-100-binary"),
)


def find_arrays(
    path: Path,
    class_names: Sequence[str] | None,
    image_size: Size | None,
    kind: LabelKind = "classes",
) -> Found | None:
    """The set of arrays in the file or folder ``path``; None for a folder of something else.

    ``image_size`` is the shape of images that are stored as rows of numbers; ``kind`` says what labels
    are to be, as far as a table's columns hang on it.

    Raises `DataFileError` for a file that no reader takes, or that is damaged.
    """
    if path.is_file():
        return _in_file(path, class_names, image_size, kind)
    found = _in_folder(path, class_names, image_size, kind)
    return found if found is not None else _further_in(path, class_names, image_size, kind)


def _in_folder(
    folder: Path, class_names: Sequence[str] | None, image_size: Size | None, kind: LabelKind
) -> Found | None:
    if is_cifar_folder(folder):
        return find_cifar(folder, class_names)
    if any(path.suffix == ".npy" for path in visible_files(folder)):
        return find_npy(folder, class_names)
    if is_idx_folder(folder):
        return find_idx_folder(folder, class_names)
    if is_pair_folder(folder):
        return find_pair_folder(folder, class_names)
    if is_csv_folder(folder, image_size, kind):
        return find_csv_folder(folder, class_names, image_size, kind)
    return _only_file(folder, class_names, image_size, kind)


def _only_file(
    folder: Path, class_names: Sequence[str] | None, image_size: Size | None, kind: LabelKind
) -> Found | None:
    """The set in the one .npz file or pickle of a folder that has no folders for classes."""
    visible = [path for path in folder.iterdir() if not is_hidden(path.name)]
    files = sorted(
        path for path in visible if path.is_file() and (path.suffix == ".npz" or is_pickle(path))
    )
    if not files or any(path.is_dir() for path in visible):
        return None
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise DataError(f"{folder}: must hold one set, holds several; name one of them: {names}")
    found = _in_file(files[0], class_names, image_size, kind)
    found.left_out.add_rest(folder, [files[0], *(folder / name for name in CLASS_FILES)])
    return found


def _further_in(
    path: Path, class_names: Sequence[str] | None, image_size: Size | None, kind: LabelKind
) -> Found | None:
    """The set in the one subfolder that programs make; what else lies in ``path`` is counted."""
    inner = [path / name for name in _INNER if (path / name).is_dir()]
    inner = [folder for folder in inner if is_cifar_folder(folder) or is_idx_folder(folder)]
    if len(inner) > 1:
        names = ", ".join(str(folder.relative_to(path)) for folder in inner)
        raise DataError(f"{path}: must hold one set, holds several; name one of them: {names}")
    if not inner:
        return None
    found = _in_folder(inner[0], class_names, image_size, kind)
    if found is not None:
        found.left_out.add_rest(path, {path / inner[0].relative_to(path).parts[0]})
    return found


def _in_file(
    path: Path, class_names: Sequence[str] | None, image_size: Size | None, kind: LabelKind
) -> Found:
    suffix = path.suffix.lower()
    if is_pair(path):
        return find_pair(path, class_names)
    if suffix == ".npz":
        return find_named(path, read_npz(path), class_names)
    if suffix == ".npy":
        return find_named(path, NpyFolder(path.parent), class_names)
    file_kind = kind_of(path)
    if file_kind is not None:
        reason = f"must be a data set, is {file_kind.with_article}, which is not read"
        raise DataFileError(path, reason, file_kind.remedy(path))
    if is_cifar_file(path):
        return find_cifar_file(path, class_names)
    if is_csv_file(path):
        return find_csv_file(path, class_names, image_size, kind)
    if is_pickle(path):
        return find_pickled(path, class_names, image_size)
    if suffix in SUFFIXES:
        reason = "must be a data set, is one picture"
        remedy = "name a folder that has one subfolder of pictures for each class"
        raise DataFileError(path, reason, remedy)
    return find_idx_file(path, class_names)
