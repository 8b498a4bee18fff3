"""The same network in PyTorch, with the same parameters, on the same images: what to compare with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.export.channels_first import plan
from arraycnn.export.tensors import tensors
from arraycnn.export.torch import definition
from arraycnn.model.model import Model
from arraycnn.optimizers import SGD, Adam, AdamW, Optimizer
from arraycnn.training.batch_loss import has_kernel


class NoTwinError(Exception):
    """Why there is nothing to compare with, in words."""


def torch_step(
    model: Model,
    mode: str,
    optimizer: Optimizer,
    images: np.ndarray,
    labels: np.ndarray,
    batch: int,
) -> Callable[[int], None]:
    """What makes so many steps, or passes, of the network in PyTorch on the CPU, as most write it.

    Raises NoTwinError.
    """
    if find_spec("torch") is None:
        message = "torch is not installed"
        raise NoTwinError(message)
    if model.backend.name == "cupy":
        message = "PyTorch would run on the CPU here, and this does not"
        raise NoTwinError(message)
    if mode == "train" and not has_kernel(model.loss, labels.ndim == 1):
        message = "a loss other than plain cross-entropy of one class an image is not compared"
        raise NoTwinError(message)
    try:
        module = torch_module_of(model)
    except (InvalidTypeError, InvalidValueError) as error:
        raise NoTwinError(str(error)) from error
    return (
        _training(module, optimizer, images, labels, batch)
        if mode == "train"
        else _passes(module, images[:batch])
    )


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Within the block PyTorch, if it is there, computes on so many threads."""
    if find_spec("torch") is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def torch_module_of(model: Model) -> Any:
    import torch

    source, expression = definition(model)
    names: dict[str, Any] = {"torch": torch, "nn": torch.nn, "__name__": "twin"}
    exec(source, names)  # what export_torch writes for the same network
    module = eval(expression, names).to(getattr(torch, model.dtype))
    layout = plan(model.network, model.input_shape)
    arrays = model.parameters | model.state
    weights = {t.key: t.to_torch(arrays[t.name]) for t in tensors(model.network, layout)}
    module.load_state_dict({key: torch.from_numpy(array) for key, array in weights.items()}, False)
    return module


def _training(
    module: Any, optimizer: Optimizer, images: np.ndarray, labels: np.ndarray, batch: int
) -> Callable[[int], None]:
    import torch
    from torch.nn.functional import cross_entropy

    rule = _rule(torch, optimizer, module)
    data = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    target = torch.from_numpy(labels.astype(np.int64))
    indices = torch.arange(batch)

    def run(times: int) -> None:
        module.train()
        for _ in range(times):
            rule.zero_grad()
            outputs = module(data.index_select(0, indices))
            loss = cross_entropy(outputs, target.index_select(0, indices))
            loss.backward()
            rule.step()
        loss.item()

    return run


def _passes(module: Any, images: np.ndarray) -> Callable[[int], None]:
    import torch

    data = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())

    @torch.inference_mode()
    def run(times: int) -> None:
        module.eval()
        for _ in range(times):
            module(data)

    return run


def _rule(torch: Any, optimizer: Optimizer, module: Any) -> Any:
    """The optimizer with its settings, but of a rate of 0 as ours has here."""
    parameters = [one for one in module.parameters() if one.requires_grad]
    if type(optimizer) is SGD:
        nesterov, decay = optimizer.nesterov, optimizer.weight_decay
        return torch.optim.SGD(
            parameters, 0.0, optimizer.momentum, weight_decay=decay, nesterov=nesterov
        )
    if isinstance(optimizer, Adam) and type(optimizer) in (Adam, AdamW):
        rule = getattr(torch.optim, type(optimizer).__name__)
        return rule(parameters, 0.0, optimizer.betas, optimizer.epsilon, optimizer.weight_decay)
    message = f"PyTorch has no {type(optimizer).__name__}"
    raise NoTwinError(message)
