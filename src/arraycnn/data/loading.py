"""`load_dataset`: finds a set on this machine, or fetches it, and checks that it is that set.

Look-up order: the ``data_dir`` argument, alone if given; the folder in ARRAYCNN_DATA; the cache;
a download into the cache. The cache has one folder a set, because MNIST and Fashion-MNIST use the
same file names: in a shared folder one would be taken for the other.
"""

import hashlib
import logging
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from arraycnn.data.dataset import DataSet
from arraycnn.data.digits import load_digits
from arraycnn.data.idx import read_idx
from arraycnn.data.label_kinds import LabelKind
from arraycnn.data.sources import SOURCES, PublishedFile, PublishedSet
from arraycnn.data.user_sets import load_own, no_such_labels
from arraycnn.errors import DataError
from arraycnn.storage.user_paths import user_path

DATASETS = (*SOURCES, "digits")

# The largest published file has 26.4 million bytes.
MAX_DOWNLOAD_BYTES = 32 * 2**20
DOWNLOAD_SECONDS = 900.0

_logger = logging.getLogger("arraycnn")


@dataclass(frozen=True, eq=False)
class _ReadFile:
    """One file that was read, and which published file it is: (set name, file name) or None."""

    path: Path
    array: npt.NDArray[np.uint8]
    identity: tuple[str, str] | None


def load_dataset(
    name: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    *,
    image_size: tuple[int, int] | tuple[int, int, int] | None = None,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
    skip_damaged: bool = False,
    labels: LabelKind = "classes",
) -> DataSet:
    """Load "mnist", "fashion-mnist" or "digits" (see `DATASETS`), or a set of your own.

    ``data_dir`` is a folder with the set's four IDX files, gzipped or not, in it or in its
    subfolder ``name``. Without it, the folder in the environment variable ARRAYCNN_DATA is looked
    at in the same way, then the cache (ARRAYCNN_CACHE, or ``arraycnn`` in $XDG_CACHE_HOME or
    ~/.cache), and what the cache lacks is downloaded into it, with ``progress(bytes_done,
    bytes_total or None)`` called for each file in turn. "digits" ships inside the package.

    Files of your own under the published names are taken, with a warning on the logger
    "arraycnn", as they are not what others mean by ``name``. Files of another set are not.

    A set of your own is the path of

    - a folder with one subfolder of pictures (PNG, JPEG, BMP, GIF, WebP, TIFF, PGM/PPM) for each
      class, or with such folders train/, test/ and val/. Classes are numbered in the order of
      their names. Pictures of different sizes are stretched to ``image_size``, (H, W) or (H, W, C);
      above 256 MiB they stay on the disk and are decoded batch by batch. With ``skip_damaged``
      each is decoded once before, and those that cannot be read are left out and counted;
    - an .npz file, or a folder of .npy files, with arrays called images and labels, or
      train_images, train_labels, test_images, test_labels, or x_train, y_train, x_test, y_test, and
      perhaps val_images and val_labels; images (N, H, W), (N, H, W, C) or (N, 1, H, W): whole numbers
      0 to 255 of any dtype, or floating 0 to 1 or truth values, which become bytes with white as 255;
      labels (N,) or (N, 1): numbers, whole ones stored as floating too, or texts;
      or a pair of .npz files, each with one array;
    - an IDX file of images with its labels beside it, or a folder of such files; raw or gzipped;
    - tables of text (CSV) with a label and the pixels of one image in each row, which are a square
      image or one of ``image_size``;
    - CIFAR-10 and CIFAR-100, as pickles or binary, and mnist.pkl.gz. Pickles are never run.

    docs/DATA.md has all forms. Raw IDX, .npy and uncompressed .npz arrays above 64 MiB are mapped,
    not read. Class names are the subfolders', an array class_names, the lines of class_names.txt
    (or classes.txt) beside the files, or the numbers; with ``class_names`` given, classes are
    numbered as there. Where there is no test part, one image in five of each class is held out, by
    ``seed``. What is found at the path and not used is counted by reason, in one warning on the
    logger "arraycnn".

    ``labels`` says what they are of a set of your own: "classes"; several "labels" an image, 0 or 1
    each, and "numbers", both (N,), (N, K) or images, of a table all columns that are no pixels; or a
    class for each of the "pixels", (N, H, W). Class names are then of the K, and what is held out is
    drawn from all images alike.

    Returns a `DataSet`: images uint8 (N, H, W, C), labels int32 (N,).

    Raises `DataError`, in one line, where the name is unknown, files are missing, damaged or of
    another set, a cached file has the wrong checksum, or every mirror fails; for a damaged file
    its subclass `DataFileError`, which has path, offset and reason.
    """
    path = user_path(name) if isinstance(name, str | os.PathLike) and name not in DATASETS else None
    if path is not None and os.fspath(name) and (path.exists() or os.sep in os.fspath(name)):
        if data_dir is not None:
            raise DataError(
                f"data set {path}: is a path of its own and takes no data folder, "
                f"got {str(data_dir)!r}; leave the folder out"
            )
        return load_own(path, image_size, seed, class_names, progress, skip_damaged, labels)
    if labels != "classes" and name in DATASETS:
        raise no_such_labels(str(name), labels, "this set has one class an image")
    if name == "digits":
        if data_dir is not None:
            raise DataError(
                f"digits: ships inside arraycnn and takes no data folder, got {str(data_dir)!r}; "
                "leave the folder out"
            )
        return load_digits()
    if name not in DATASETS:
        raise DataError(
            f"data set: must be a path that exists, or one of {', '.join(DATASETS)}, got {name!r}"
        )
    source = SOURCES[name]
    if data_dir is not None:
        return _from_folder(source, data_dir)
    return _from_environment(source) or _from_cache(source, progress)


def _from_folder(source: PublishedSet, data_dir: str | os.PathLike[str]) -> DataSet:
    """The set in a folder the caller named: what is wrong with it is an error."""
    folder = user_path(data_dir)
    if not os.fspath(data_dir) or not folder.is_dir():
        reason = "is a file" if folder.is_file() else "there is none"
        raise DataError(
            f"{source.name}: the data folder must exist, {reason} at {os.fspath(data_dir)!r}; "
            "correct the path, or leave the folder out to download the set"
        )
    place, paths, missing = _find(source, folder)
    if missing:
        raise DataError(
            f"{source.name}: {folder} must hold the set's four IDX files, in it or in "
            f"{source.name}/; missing: {', '.join(missing)} (.gz or not); place them there, or "
            "leave the folder out to download the set"
        )
    files = _read_all(source, paths)
    if foreign := _foreign(source, files):
        raise DataError(
            f"{source.name}: {place} must hold the files of this set, but {foreign}; "
            "use a folder of its own for each set"
        )
    return _assemble(source, place, files)


def _from_environment(source: PublishedSet) -> DataSet | None:
    """The set in ARRAYCNN_DATA, or None where that folder holds other things.

    The variable stands for every set at once, so lacking this one is not an error. A folder that
    is not there, or holds a part of the set, is a slip worth one line before looking further.
    """
    value = os.environ.get("ARRAYCNN_DATA")
    if not value:
        return None
    folder = user_path(value)
    if not folder.is_dir():
        _logger.warning("ARRAYCNN_DATA names no folder: %r; looking in the cache instead", value)
        return None
    place, paths, missing = _find(source, folder)
    if missing:
        if paths:
            _logger.warning(
                "%s: %s (ARRAYCNN_DATA) lacks %s; looking in the cache instead",
                source.name,
                place,
                ", ".join(missing),
            )
        return None
    files = _read_all(source, paths)
    if foreign := _foreign(source, files):
        _logger.warning(
            "%s: in %s (ARRAYCNN_DATA) %s; looking in the cache instead",
            source.name,
            place,
            foreign,
        )
        return None
    return _assemble(source, place, files)


def _from_cache(
    source: PublishedSet, progress: Callable[[int, int | None], None] | None
) -> DataSet:
    """The set in the cache, where only published files are allowed; fetches those that lack."""
    folder = _cache_root() / source.name
    files = []
    for published in source.files:
        path = folder / published.name
        # lexists: a broken link is something in the way too, and the read names it.
        if not os.path.lexists(path):
            _fetch(source, published, path, progress)
        remedy = "delete the file, and the next run downloads it again"
        try:
            file = _read(source, published, path)
        except DataError as error:
            raise DataError(f"the cache is damaged: {error}; {remedy}") from None
        if file.identity != (source.name, published.name):
            raise DataError(
                f"{path}: a cached file must be the published {source.name} one, its checksum is "
                f"another; {remedy}"
            )
        files.append(file)
    return _assemble(source, folder, files)


def _fetch(
    source: PublishedSet,
    published: PublishedFile,
    path: Path,
    progress: Callable[[int, int | None], None] | None,
) -> None:
    # Here and not above: it pulls in urllib and ssl, which few runs need.
    from arraycnn.data import download

    _logger.info("%s: downloading %s to %s", source.name, published.name, path.parent)
    download.download(
        [mirror + published.name for mirror in source.mirrors],
        path,
        published.gzip_sha256,
        MAX_DOWNLOAD_BYTES,
        DOWNLOAD_SECONDS,
        progress,
    )


def _cache_root() -> Path:
    if chosen := os.environ.get("ARRAYCNN_CACHE"):
        return user_path(chosen)
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored.
    if os.path.isabs(base):
        return Path(base) / "arraycnn"
    try:
        return Path.home() / ".cache" / "arraycnn"
    except RuntimeError:
        raise DataError(
            "the cache: must lie in a home folder, this account has none; set ARRAYCNN_CACHE"
        ) from None


def _find(source: PublishedSet, folder: Path) -> tuple[Path, list[Path], list[str]]:
    """Where in ``folder`` the set is: the place, the files found there, the names missing there.

    Never takes files from two places. The subfolder comes first: files directly in the folder
    may be another set's, as the names are the same.
    """
    places = []
    of_torchvision = folder / source.torchvision / "raw"
    for place in (folder / source.name, folder, of_torchvision, folder / "raw"):
        found = [_spelled(place, published) for published in source.files]
        missing = [
            published.name.removesuffix(".gz")
            for published, path in zip(source.files, found, strict=True)
            if path is None
        ]
        places.append((place, [path for path in found if path is not None], missing))
    return min(places, key=lambda candidate: len(candidate[2]))


def _spelled(place: Path, published: PublishedFile) -> Path | None:
    # isfile: some archives unpack to folders of these names.
    candidates = (place / spelling for spelling in published.spellings)
    return next((path for path in candidates if os.path.isfile(path)), None)


def _read_all(source: PublishedSet, paths: list[Path]) -> list[_ReadFile]:
    pairs = zip(source.files, paths, strict=True)
    return [_read(source, published, path) for published, path in pairs]


def _read(source: PublishedSet, published: PublishedFile, path: Path) -> _ReadFile:
    array = read_idx(path, expected_ndim=published.axes)
    if isinstance(array, np.memmap):
        array = np.array(array)  # small, and a mapped file must not change while it is in use
    if array.dtype != np.uint8:
        raise DataError(
            f"{path}: the values of {source.name} must be uint8, the file holds {array.dtype}; "
            "write pixels as 0..255 and labels as class numbers"
        )
    return _ReadFile(path, array, _identify(source, published, path, array))


def _identify(
    source: PublishedSet, published: PublishedFile, path: Path, array: npt.NDArray[np.uint8]
) -> tuple[str, str] | None:
    """Which published file this is, by its own digest or else by that of what it holds."""
    everything = [(owner, file) for owner in SOURCES.values() for file in owner.files]
    # The expected file comes last, and so wins should two sets share one file.
    known = {
        digest: (owner.name, file.name)
        for owner, file in [*everything, (source, published)]
        for digest in (file.gzip_sha256, file.content_sha256)
        if digest is not None
    }
    with path.open("rb") as file:
        of_file = hashlib.file_digest(file, "sha256").hexdigest()
    if of_file in known:
        return known[of_file]
    # What was read is exactly header and data, so the decompressed bytes follow from the array.
    content = hashlib.sha256(struct.pack(">HBB", 0, 0x08, array.ndim))
    content.update(struct.pack(f">{array.ndim}I", *array.shape))
    content.update(np.ascontiguousarray(array).data)
    return known.get(content.hexdigest())


def _foreign(source: PublishedSet, files: list[_ReadFile]) -> str:
    """Names the first file that is a published one of another place; empty where none is."""
    for published, file in zip(source.files, files, strict=True):
        if file.identity is not None and file.identity != (source.name, published.name):
            set_name, file_name = file.identity
            return f"{file.path.name} is {file_name} of {set_name}"
    return ""


def _assemble(source: PublishedSet, place: Path, files: list[_ReadFile]) -> DataSet:
    if unknown := [file.path.name for file in files if file.identity is None]:
        _logger.warning(
            "%s: in %s the checksum of %s is not the published one; using the files as your own",
            source.name,
            place,
            ", ".join(unknown),
        )
    train_images, train_labels, test_images, test_labels = (file.array for file in files)
    try:
        return DataSet(
            name=source.name,
            train_images=train_images[..., np.newaxis],
            train_labels=train_labels.astype(np.int32),
            test_images=test_images[..., np.newaxis],
            test_labels=test_labels.astype(np.int32),
            class_names=source.class_names,
        )
    except DataError as error:
        raise DataError(f"{error} (files of {place})") from None
