"""Data sets as checked uint8 arrays: MNIST, Fashion-MNIST, and the digits that ship inside."""

from arraycnn.data.dataset import DataSet, split_validation
from arraycnn.data.loading import DATASETS, load_dataset

__all__ = ["DATASETS", "DataSet", "load_dataset", "split_validation"]
