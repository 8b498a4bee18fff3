"""The digest of a data set's training images, by which a run knows its data wherever they lie."""

import hashlib

import numpy as np

from arraycnn.data.dataset import DataSet
from arraycnn.data.image_source import Images, ImageSource, rows

_AT_ONCE = 64
"""Images read at a time; the digest does not depend on it."""


def shared_images(one: Images, other: Images) -> int:
    """How many images of ``other`` are in ``one``, to the pixel; 0 where either is not in memory."""
    if isinstance(one, ImageSource) or isinstance(other, ImageSource):
        return 0
    known = {hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in one}
    return sum(
        hashlib.blake2b(image.tobytes(), digest_size=16).digest() in known for image in other
    )


def training_digest(data: DataSet, with_validation: bool) -> str:
    """The SHA-256 of the training images and labels of ``data``, and of its classes.

    ``with_validation`` : whether the set's own validation part, which must be there, is part of it.
    """
    digest = hashlib.sha256(repr((data.train_images.shape, data.class_names)).encode())
    pairs = [(data.train_images, data.train_labels)]
    if with_validation:
        assert data.validation_images is not None
        assert data.validation_labels is not None
        pairs.append((data.validation_images, data.validation_labels))
    for images, labels in pairs:
        for start in range(0, len(labels), _AT_ONCE):
            part = np.arange(start, min(start + _AT_ONCE, len(labels)))
            digest.update(np.ascontiguousarray(rows(images, part)).data)
        digest.update(np.ascontiguousarray(labels).data)
    return digest.hexdigest()
