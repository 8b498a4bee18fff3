"""Layers that change images while training, and what one of a user's own derives from."""

from arraycnn.layers.augmentation.augmentation import (
    Augmentation,
    Fill,
    as_bytes,
    check_effect,
    check_fill,
    check_probability,
    check_range,
    check_sides,
    check_strength,
    for_each,
    happens,
    is_bytes,
    number_of,
)
from arraycnn.layers.augmentation.cutmix import CutMix
from arraycnn.layers.augmentation.cutout import Cutout
from arraycnn.layers.augmentation.elastic_deformation import ElasticDeformation
from arraycnn.layers.augmentation.horizontal_flip import HorizontalFlip
from arraycnn.layers.augmentation.mixup import Mixup
from arraycnn.layers.augmentation.random_affine import RandomAffine
from arraycnn.layers.augmentation.random_brightness import RandomBrightness
from arraycnn.layers.augmentation.random_contrast import RandomContrast
from arraycnn.layers.augmentation.random_crop import RandomCrop
from arraycnn.layers.augmentation.random_erasing import RandomErasing
from arraycnn.layers.augmentation.random_shift import RandomShift

__all__ = [
    "Augmentation",
    "CutMix",
    "Cutout",
    "ElasticDeformation",
    "Fill",
    "HorizontalFlip",
    "Mixup",
    "RandomAffine",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomErasing",
    "RandomShift",
    "as_bytes",
    "check_effect",
    "check_fill",
    "check_probability",
    "check_range",
    "check_sides",
    "check_strength",
    "for_each",
    "happens",
    "is_bytes",
    "number_of",
]
