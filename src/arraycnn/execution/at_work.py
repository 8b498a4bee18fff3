"""Which layer was at work when an error was raised."""

import traceback

from arraycnn.layers.layer import Context

Path = tuple[str, ...]


def layer_at_work(error: BaseException) -> tuple[Path | None, str | None]:
    """(path, "layer 3, Mine") of the innermost layer in the traceback of ``error`` or of its cause.

    The name is None for a layer that is the whole network, both where no layer was at work.
    """
    path, owner = None, None
    at: BaseException | None = error
    while at is not None:
        for frame, _ in traceback.walk_tb(at.__traceback__):
            contexts = [value for value in frame.f_locals.values() if isinstance(value, Context)]
            layer = frame.f_locals.get("self")
            if contexts and hasattr(layer, "forward"):
                path = contexts[0].path
                owner = f"layer {'.'.join(path)}, {type(layer).__name__}" if path else None
        at = at.__cause__
    return path, owner
