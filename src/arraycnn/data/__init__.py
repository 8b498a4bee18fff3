"""Data sets as checked uint8 arrays: MNIST, Fashion-MNIST, the digits that ship inside, yours."""

from arraycnn.data.dataset import DataSet, split_validation
from arraycnn.data.image_source import ImageSource
from arraycnn.data.loading import DATASETS, load_dataset

__all__ = ["DATASETS", "DataSet", "ImageSource", "load_dataset", "split_validation"]
