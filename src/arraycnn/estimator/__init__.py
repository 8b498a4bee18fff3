"""`Model` with the interface of scikit-learn, which is imported with this package.

`arraycnn` imports it only when somebody asks for one of its classes.
"""

from arraycnn.errors import MissingPackageError

try:
    from arraycnn.estimator.classifier import CNNClassifier as CNNClassifier
    from arraycnn.estimator.regressor import CNNRegressor as CNNRegressor
except ImportError as missing:
    if (missing.name or "").partition(".")[0] != "sklearn":
        raise
    _reason = f'arraycnn.estimator: scikit-learn 1.6 or later is needed, got "{missing}"'
    raise MissingPackageError(f'{_reason}; pip install "arraycnn[sklearn]"') from missing
