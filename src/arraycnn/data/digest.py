"""The digest of a data set's training images, by which a run knows its data wherever they lie."""

import hashlib

import numpy as np

from arraycnn.data.dataset import DataSet
from arraycnn.data.image_source import Images, in_memory, part

_AT_ONCE = 64
"""Images read at a time; the digest does not depend on it."""


def shared_images(one: Images, other: Images) -> int:
    """How many images of ``other`` are in ``one``, to the pixel; 0 where either is not in memory."""
    if not in_memory(one) or not in_memory(other):
        return 0
    known = {
        hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        for image in part(one, slice(None))
    }
    return sum(
        hashlib.blake2b(image.tobytes(), digest_size=16).digest() in known
        for image in part(other, slice(None))
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
            digest.update(np.ascontiguousarray(part(images, slice(start, start + _AT_ONCE))).data)
        digest.update(np.ascontiguousarray(labels).data)
    return digest.hexdigest()
