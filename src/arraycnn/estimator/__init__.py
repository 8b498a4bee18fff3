"""A `Model` with the interface of scikit-learn, which is imported with this module."""

from arraycnn.estimator.classifier import CNNClassifier

__all__ = ["CNNClassifier"]
