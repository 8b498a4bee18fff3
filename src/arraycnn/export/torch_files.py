"""Weights that PyTorch wrote: pickles, which could run anything, and the way to safetensors."""

import io
import zipfile
from pathlib import Path

from arraycnn.data.file_kinds import kind_of_bytes
from arraycnn.errors import CheckpointError


def check_is_no_torch_file(path: str | Path, content: bytes) -> None:
    """Raise `CheckpointError` where ``content``, of ``path``, is a pickle or a file of PyTorch's.

    Its remedy is a line of Python that makes a safetensors file of a state dict, or of a checkpoint
    that holds one; ``weights_only`` lets PyTorch itself refuse what is more than tensors.
    """
    kind = kind_of_bytes(content[:512], len(content), lambda: _entries(content))
    # A safetensors file may begin with such a length, which a brace follows.
    is_pickle = content[:1] == b"\x80" and b"\2" <= content[1:2] <= b"\5"
    is_pickle = is_pickle and content[8:9] != b"{"
    if not is_pickle and (kind is None or kind.name != "PyTorch"):
        return
    made = Path(path).with_suffix(".safetensors")
    made = made if made != Path(path) else made.with_stem(f"{made.stem}-converted")
    message = (
        f"weights file {path}: must be a safetensors file, is a pickle as PyTorch saves it, which is "
        "never unpickled here; run in Python: import torch, safetensors.torch; "
        f"d = torch.load({str(path)!r}, map_location='cpu', weights_only=True); "
        "d = d.get('model_state_dict', d.get('state_dict', d)); "
        "safetensors.torch.save_file({k: v.clone().contiguous() for k, v in d.items()}, "
        f"{str(made)!r})"
    )
    raise CheckpointError(message)


def _entries(content: bytes) -> list[str]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.namelist()
    except Exception:  # a damaged zip file is still one
        return []
