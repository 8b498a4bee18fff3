"""`Model` with the interface of scikit-learn, which is imported when a class of it is asked for."""

from typing import Any

from arraycnn.errors import MissingPackageError


def __getattr__(name: str) -> Any:
    try:
        if name == "CNNClassifier":
            from arraycnn.estimator.classifier import CNNClassifier

            return CNNClassifier
        if name == "CNNRegressor":
            from arraycnn.estimator.regressor import CNNRegressor

            return CNNRegressor
    except ImportError as missing:
        if (missing.name or "").partition(".")[0] != "sklearn":
            raise
        reason = f'{name}: scikit-learn 1.6 or later is needed, got "{missing}"'
        raise MissingPackageError(f'{reason}; pip install "arraycnn[sklearn]"') from missing
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
