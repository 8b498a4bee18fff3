"""Remedies for what an array of images or labels may be."""

from collections.abc import Callable
from typing import Any

import numpy as np

import arraycnn as cnn
from arraycnn.data import load_dataset
from remedies import making
from remedies.following import Here, follows

_IMAGES, _LABELS = making.some()
_COLOURS = making.some(channels=3)[0]


def _fit(images: Any = _IMAGES, labels: Any = _LABELS, **given: Any) -> None:
    making.model().fit(images, labels, **given)


def _colour_model() -> cnn.Model:
    return cnn.Model(making.small(), (8, 8, 3))


def _raw_model(channels: int = 1) -> cnn.Model:
    """One that scales nothing itself."""
    return cnn.Model(cnn.Sequential(cnn.Flatten(), cnn.Dense(3)), (8, 8, channels))


def _refused_then(file: str, words: str, wrong: Callable, right: Callable) -> None:
    """A case of two functions: the first is refused, the second, which does as told, is not."""

    @follows(file, words)
    def case(here: Here) -> None:
        with here.refused():
            wrong()
        right()


def _told_code(
    file: str, words: str, before: str, name: str, wrong: Any, use: Callable[[Any], Any]
) -> None:
    """A case in which the message has the code that makes the right array of the wrong one."""

    @follows(file, words)
    def case(here: Here) -> None:
        with here.refused():
            use(wrong)
        use(here.done_as_told(before, **{name: wrong}))


class _Sparse:
    """What SciPy has, as NumPy sees it: one object."""

    def toarray(self) -> np.ndarray:
        return _LABELS


_refused_then(
    "data/array_rules.py",
    "pass its .toarray()",
    lambda: _fit(labels=_Sparse()),
    lambda: _fit(labels=_Sparse().toarray()),
)
_refused_then(
    "data/array_rules.py",
    "pass a NumPy array",
    lambda: _fit(labels=object()),
    lambda: _fit(labels=np.asarray(_LABELS)),
)
_RECORDS = np.array(list(zip(_LABELS, _LABELS, strict=True)), [("id", "i4"), ("class", "i4")])
_refused_then(
    "data/array_rules.py",
    "take the column with the numbers",
    lambda: _fit(labels=_RECORDS),
    lambda: _fit(labels=_RECORDS["class"]),
)
_MASKED = np.ma.masked_equal(_LABELS, 2)


@follows("data/array_rules.py", "give those a value with .filled(value), or leave them out")
def masked_labels(here: Here) -> None:
    with here.refused():
        _fit(labels=_MASKED)
    _fit(labels=_MASKED.filled(0))
    shown = ~np.ma.getmaskarray(_MASKED)
    _fit(_IMAGES[shown], _MASKED[shown])


_MIXED = [_IMAGES[0], making.some(1, 9)[0][0], *_IMAGES[2:]]
_refused_then(
    "data/array_rules.py",
    "bring all to one size",
    lambda: _fit(_MIXED),
    lambda: _fit([image[:8, :8] for image in _MIXED]),
)
_WITH_NONE = [None, *_LABELS[1:].tolist()]


@follows("data/array_rules.py", "leave it out, or give it a number")
def labels_of_which_one_is_none(here: Here) -> None:
    with here.refused():
        _fit(labels=_WITH_NONE)
    _fit(_IMAGES[1:], _WITH_NONE[1:])
    _fit(labels=[0, *_WITH_NONE[1:]])


class _OnDevice:
    """As an array of a library that lies elsewhere."""

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        message = "can't convert device tensor to numpy"
        raise TypeError(message)


_refused_then(
    "data/array_rules.py",
    "copy it to the host as a NumPy array first",
    lambda: _fit(labels=_OnDevice()),
    lambda: _fit(labels=_LABELS.copy()),
)

_refused_then(
    "data/label_rules.py",
    "number the classes from 0",
    lambda: _fit(labels=_LABELS + 0.5),
    lambda: _fit(labels=_LABELS),
)
_told_code(
    "data/label_rules.py",
    "for one-hot labels take numpy.argmax(labels, axis=1)",
    "take ",
    "labels",
    np.eye(3)[_LABELS],
    lambda labels: _fit(labels=labels),
)
_told_code(
    "data/label_rules.py",
    "they count from 1: take labels - 1",
    "take ",
    "labels",
    _LABELS + 1,
    lambda labels: _fit(labels=labels),
)
_told_code(
    "data/label_rules.py",
    "take numpy.ravel(labels)",
    "take ",
    "labels",
    _LABELS[np.newaxis],
    lambda labels: _fit(labels=labels),
)
_refused_then(
    "data/label_rules.py",
    "pass one class number for each image, or have a loss that takes such labels",
    lambda: _fit(labels=np.stack([_LABELS, _LABELS], axis=1)),
    lambda: _fit(labels=_LABELS),
)
_UNKNOWN = np.where(_LABELS == 2, np.nan, _LABELS)
_refused_then(
    "data/label_rules.py",
    "leave out the images without a label",
    lambda: _fit(labels=_UNKNOWN),
    lambda: _fit(_IMAGES[np.isfinite(_UNKNOWN)], _UNKNOWN[np.isfinite(_UNKNOWN)]),
)
_told_code(
    "data/label_rules.py",
    "take numpy.array(labels).astype('int32')",
    "take ",
    "labels",
    [str(label) for label in _LABELS],
    lambda labels: _fit(labels=labels),
)
_WORDS = np.array(["bird", "cat", "dog"])[_LABELS]


@follows(
    "data/label_rules.py",
    "give the model class_names, or take numpy.unique(labels, return_inverse=True)[1]",
)
def labels_that_are_words(here: Here) -> None:
    with here.refused():
        _fit(labels=_WORDS)
    named = cnn.Model(making.small(), (8, 8), class_names=("bird", "cat", "dog"))
    named.fit(_IMAGES, _WORDS)
    code = here.message.rpartition(", or take ")[2]
    _fit(labels=eval(code, {"numpy": np, "labels": _WORDS}))


@follows("data/label_rules.py", "correct the labels or the class names")
def labels_of_unknown_words(here: Here) -> None:
    wrong = np.where(_WORDS == "dog", "dgo", _WORDS)

    def fit(labels: np.ndarray, names: tuple[str, ...]) -> None:
        cnn.Model(making.small(), (8, 8), class_names=names).fit(_IMAGES, labels)

    with here.refused():
        fit(wrong, ("bird", "cat", "dog"))
    fit(_WORDS, ("bird", "cat", "dog"))
    fit(wrong, ("bird", "cat", "dgo"))


_BELOW = np.where(_LABELS == 0, -1, _LABELS)


@follows(
    "data/label_rules.py",
    "leave out the images without a class, and number the others from 0",
)
def labels_of_minus_one(here: Here) -> None:
    with here.refused():
        _fit(labels=_BELOW)
    has = _BELOW >= 0
    _fit(_IMAGES[has], _BELOW[has] - _BELOW[has].min())


@follows("data/label_rules.py", "number them from 0, or have {} outputs")
def labels_beyond_the_outputs(here: Here) -> None:
    labels = np.array([0, 2, 5])[_LABELS]
    with here.refused():
        _fit(labels=labels)
    _fit(labels=np.unique(labels, return_inverse=True)[1])
    outputs = int(here.message.split()[-2])
    cnn.Model(making.small(outputs), (8, 8)).fit(_IMAGES, labels)


_refused_then(
    "data/array_files.py",
    "check how they were selected",
    lambda: _loaded(_IMAGES, _LABELS[:0]),
    lambda: _loaded(*making.some(24)),
)


def _loaded(images: Any, labels: Any) -> None:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        load_dataset(making.write_npz(Path(folder) / "x.npz", images, labels))


_told_code(
    "data/pixel_rules.py",
    "take numpy.clip(numpy.round(images), 0, 255).astype('uint8')",
    "take ",
    "images",
    np.minimum(_IMAGES + 0.25, 255),
    _fit,
)
_refused_then(
    "data/pixel_rules.py",
    "pass grey values as numbers 0 to 255",
    lambda: _fit(_IMAGES.astype("complex64")),
    lambda: _fit(_IMAGES),
)
_WITH_NAN = np.where(_IMAGES[0, 0, 0, 0] == _IMAGES, np.nan, _IMAGES)
_refused_then(
    "data/pixel_rules.py",
    "remove or repair those images",
    lambda: _fit(_WITH_NAN),
    lambda: _fit(np.nan_to_num(_WITH_NAN)),
)


@follows("data/pixel_rules.py", "scale all of them alike")
def batches_of_two_scales(here: Here) -> None:
    with here.refused():
        making.model().fit([(_IMAGES / 255, _LABELS), (_IMAGES.astype(float), _LABELS)])
    making.model().fit([(_IMAGES / 255, _LABELS), (_IMAGES / 255, _LABELS)])


_refused_then(
    "data/pixel_rules.py",
    "pass them as they were before they were scaled, 0 to 255",
    lambda: _fit((_IMAGES / 255 - 0.5) / 0.25),
    lambda: _fit(_IMAGES),
)
_told_code(
    "data/pixel_rules.py",
    "they have {} bits: take (images >> {}).astype('uint8')",
    "take ",
    "images",
    _IMAGES.astype("uint16") * 16,
    _fit,
)
_told_code(
    "data/pixel_rules.py",
    "where {} is white, take (images / {} * 255).astype('uint8')",
    "take ",
    "images",
    _IMAGES * 4.5,
    _fit,
)

_told_code(
    "data/shape_rules.py",
    "the channels come first: take images.transpose(0, 2, 3, 1)",
    "take ",
    "images",
    _COLOURS.transpose(0, 3, 1, 2),
    lambda images: _colour_model().fit(images, _LABELS),
)
_told_code(
    "data/shape_rules.py",
    "the channels come first: take images.transpose(1, 2, 0)",
    "take ",
    "images",
    _COLOURS[0].transpose(2, 0, 1),
    lambda images: _colour_model().predict(images),
)
_told_code(
    "data/shape_rules.py",
    "they are grey: take numpy.repeat(images.reshape(-1, {}, {}, 1), 3, axis=3)",
    "take ",
    "images",
    _IMAGES,
    lambda images: _colour_model().fit(images, _LABELS),
)
_told_code(
    "data/shape_rules.py",
    "they have colours: for the grey values take ({}).round()",
    "take ",
    "images",
    _COLOURS,
    lambda images: _fit(images),
)
_told_code(
    "data/shape_rules.py",
    "the fourth channel is transparency: pass images[..., :3]",
    "pass ",
    "images",
    making.some(channels=4)[0],
    lambda images: _colour_model().fit(images, _LABELS),
)


@follows(
    "data/shape_rules.py",
    "take images.reshape(-1, {}, {}, {}), or {} where one channel follows the other",
)
def rows_of_colours(here: Here) -> None:
    rows = _COLOURS.reshape(12, -1)
    with here.refused():
        _colour_model().fit(rows, _LABELS)
    first, second = here.message.rpartition("take ")[2].split(", or ")
    one = eval(first, {"images": rows})
    assert np.array_equal(one, _COLOURS)
    by_channel = _COLOURS.transpose(0, 3, 1, 2).reshape(12, -1)
    other = eval(second.partition(" where")[0], {"images": by_channel})
    assert np.array_equal(other, _COLOURS)
    for images in (one, other):
        _colour_model().fit(images, _LABELS)


_refused_then(
    "data/shape_rules.py",
    "resize them, or make the model with another input_shape",
    lambda: _fit(making.some(12, 9)[0]),
    lambda: making.model(size=9).fit(making.some(12, 9)[0], _LABELS),
)
_refused_then(
    "data/shape_rules.py",
    "check how it was selected",
    lambda: _fit(_IMAGES[:0], _LABELS[:0]),
    lambda: _fit(),
)
_refused_then(
    "data/shape_rules.py",
    "save each image with its rows and columns",
    lambda: _loaded(making.some(24)[0].reshape(24, -1)[:, :50], making.some(24)[1]),
    lambda: _loaded(*making.some(24)),
)
_told_code(
    "data/shape_rules.py",
    "save images.reshape(-1, {}, {})",
    "save ",
    "images",
    making.some(24)[0].reshape(24, -1),
    lambda images: _loaded(images, making.some(24)[1]),
)
_told_code(
    "data/shape_rules.py",
    "save images.reshape(-1, {}, {}, 3), or images.reshape(-1, 3, {}, {}).transpose(0, 2, 3, 1) "
    "where one channel follows the other",
    "save ",
    "images",
    making.some(24, channels=3)[0].reshape(24, -1),
    lambda images: _loaded(images, making.some(24)[1]),
)
_told_code(
    "data/shape_rules.py",
    "save images.transpose(0, 2, 3, 1)",
    "save ",
    "images",
    making.some(24, channels=3)[0].transpose(0, 3, 1, 2),
    lambda images: _loaded(images, making.some(24)[1]),
)

_refused_then(
    "model/image_inputs.py",
    "remove or repair those images",
    lambda: _raw_model().fit(np.where(_IMAGES == 7, np.inf, _IMAGES / 255), _LABELS),
    lambda: _raw_model().fit(_IMAGES / 255, _LABELS),
)
_refused_then(
    "model/image_inputs.py",
    "pass floating numbers, scaled as for the training of the network",
    lambda: _raw_model().fit(_IMAGES.astype("int64") - 300, _LABELS),
    lambda: _raw_model().fit(_IMAGES / 255 - 0.5, _LABELS),
)

_refused_then(
    "model/inputs.py",
    "write validation=(images, labels)",
    lambda: _fit(validation=_IMAGES),
    lambda: _fit(validation=(_IMAGES, _LABELS)),
)
_refused_then(
    "model/inputs.py",
    "take both from the same set",
    lambda: _fit(labels=_LABELS[:5]),
    lambda: _fit(),
)
_refused_then(
    "model/inputs.py",
    "let the iterable give pairs",
    lambda: making.model().fit([_IMAGES, _IMAGES]),
    lambda: making.model().fit([(_IMAGES, _LABELS), (_IMAGES, _LABELS)]),
)


@follows("model/inputs.py", "prepare both in the same way")
def validation_of_another_kind(here: Here) -> None:
    floats = (_IMAGES / 255).astype("float32")
    with here.refused():
        _raw_model().fit(floats, _LABELS, validation=(_IMAGES, _LABELS))
    _raw_model().fit(floats, _LABELS, validation=(floats, _LABELS))


@follows("model/inputs.py", "prepare all in the same way")
def batches_of_two_kinds(here: Here) -> None:
    floats = (_IMAGES / 255).astype("float32")
    with here.refused():
        _raw_model().fit([(floats, _LABELS), (_IMAGES, _LABELS)])
    _raw_model().fit([(floats, _LABELS), (floats, _LABELS)])


_refused_then(
    "model/inputs.py",
    'write class_names=["cat", "dog"]',
    lambda: making.model().evaluate(_IMAGES, _LABELS, class_names="cat, dog, eel"),
    lambda: making.model().evaluate(_IMAGES, _LABELS, class_names=["cat", "dog", "eel"]),
)
_refused_then(
    "model/inputs.py",
    "number them from 0, and give each class a name",
    lambda: making.model().evaluate(_IMAGES, _LABELS + 1, class_names=["cat", "dog", "eel"]),
    lambda: making.model().evaluate(_IMAGES, _LABELS, class_names=["cat", "dog", "eel"]),
)


@follows("data/pixel_rules.py", "where 1 is white, multiply them by 255")
def bits(here: Here) -> None:
    ink = (_IMAGES > 127).astype(np.int64)
    with here.told():
        _fit(np.repeat(ink, 2, 0), np.repeat(_LABELS, 2))
    path = making.write_npz(here.path / "bits.npz", ink.astype(np.uint8), _LABELS)
    with here.told():
        load_dataset(path)
    with here.quiet():
        _fit(ink * 255)
        load_dataset(making.write_npz(here.path / "grey.npz", ink.astype(np.uint8) * 255, _LABELS))
