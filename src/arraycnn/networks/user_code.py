"""Code of a user's own, in a file that is run: functions that build networks, layers, losses."""

import hashlib
import sys
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any

from arraycnn.errors import InvalidTypeError, InvalidValueError, one_line
from arraycnn.layers import FORMER_LAYERS, LAYERS, Layer
from arraycnn.layers.layer import check_layer
from arraycnn.losses import LOSSES, Loss
from arraycnn.networks.arguments import build, nearest
from arraycnn.storage.user_paths import user_path


@dataclass(frozen=True, eq=False)
class UserCode:
    """What a file defined when it was run; none where there is no file.

    Attributes
    ----------
    path : str
        As it was given.
    sha256 : str or None
        Of the file's bytes, and of nothing that it imports.
    names : mapping
        The file's names and their values.
    """

    path: str = ""
    sha256: str | None = None
    names: Mapping[str, Any] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[type, ...]:
        """The classes of layers, but for those that a model file takes from this library."""
        methods = ("init", "forward", "backward")
        return tuple(kind for kind in self._classes() if all(hasattr(kind, m) for m in methods))

    @property
    def losses(self) -> tuple[type, ...]:
        """The classes of losses, but for those that a model file takes from this library."""
        return tuple(kind for kind in self._classes() if issubclass(kind, Loss))

    def _classes(self) -> list[type]:
        own = FORMER_LAYERS | LAYERS | LOSSES
        found = [value for value in self.names.values() if isinstance(value, type)]
        foreign = [kind for kind in found if kind.__module__.partition(".")[0] != "arraycnn"]
        return [kind for kind in foreign if kind.__name__ not in own]

    @property
    def functions(self) -> list[str]:
        """Those that the file itself defines."""
        own = self.names.get("__name__")
        return [
            name
            for name, value in self.names.items()
            if isinstance(value, FunctionType) and value.__module__ == own
        ]


def run_file(path: str) -> UserCode:
    """Run the Python file ``path``, as ``python FILE`` does but for ``__name__``.

    Its folder is put behind all others that modules are looked for in, so that it may import what
    lies beside it.

    Raises
    ------
    InvalidValueError
        There is no such file, it is no Python, or it fails.
    """
    file = user_path(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        message = f"network file {path}: cannot be read ({error.strerror}); check the path"
        raise InvalidValueError(message) from error
    sha256 = hashlib.sha256(content).hexdigest()
    # A name that no module has; classes are found under it where they are copied.
    module = ModuleType(f"arraycnn_user_{sha256[:16]}")
    module.__file__ = str(file.absolute())
    folder = str(file.absolute().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    sys.modules[module.__name__] = module
    try:
        exec(compile(content, str(file.absolute()), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise InvalidValueError(f"network file {path}: {failure(path, error)}") from error
    return UserCode(path, sha256, dict(module.__dict__))


def network_of(
    code: UserCode, function: str, known: Mapping[str, Any], texts: Iterable[tuple[str, str]]
) -> Layer:
    """The network that ``function`` of the file builds; see `build`.

    Raises InvalidValueError and InvalidTypeError, for all that may be wrong with it.
    """
    where = f"network {code.path}:{function}"
    if function not in code.names:
        message = (
            f"network file {code.path}: has no function {function!r}"
            f"{nearest(function, code.functions)}, it has "
            f"{', '.join(code.functions) or 'none'}"
        )
        raise InvalidValueError(message)
    made = code.names[function]
    if not callable(made):
        message = (
            f"{where}: must be a function that returns a network, got {type(made).__name__}; "
            f"write def {function}(classes): return ..."
        )
        raise InvalidTypeError(message)
    refused = InvalidValueError, InvalidTypeError
    try:
        layer = build(made, where, known, texts)
    except (Exception, SystemExit) as error:
        if isinstance(error, refused) and str(error).startswith(f"{where}: "):
            raise
        raise InvalidValueError(f"{where}: {failure(code.path, error)}") from error
    if layer is None:
        message = f"{where}: must return a network, got None; end it with return"
        raise InvalidTypeError(message)
    try:
        check_layer(where, "what it returns", layer)
    except refused as error:
        raise InvalidTypeError(str(error)) from error
    return layer


def failure(path: str, error: BaseException) -> str:
    """What went wrong in the file, at which line of it."""
    if isinstance(error, SyntaxError) and error.filename == str(user_path(path).absolute()):
        return f"is no Python: line {error.lineno}: {one_line(error.msg)}; correct it"
    own = str(user_path(path).absolute())
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == own]
    place = f" at line {lines[-1]}" if lines else ""
    text = one_line(error) if str(error) else ""
    kind = type(error).__name__
    said = f"{kind}: {text}" if text else kind
    return f"fails{place} ({said}); correct it, --debug shows the traceback"
