"""PyTorch: as most people write it, with channels last, or compiled."""

import numpy as np

from nets import MOMENTUM, NETS, Order, initial_parameters
from twins import torch_module


def peer(threads, net, batch, images, labels, channels_last=False, compiled=False):
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    module = torch_module(torch, net, initial_parameters(net)).to(memory_format=layout)
    rule = _optimizer(torch, net, module)
    forward = torch.compile(module) if compiled else module
    data = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    target = torch.from_numpy(labels.astype(np.int64))
    order = Order(len(images), batch)

    def rescaled(x):
        return (x.float() / 255.0 - 0.5).contiguous(memory_format=layout)

    def step(count):
        if not module.training:
            module.train()
        for batch in order.take(count):
            indices = torch.from_numpy(batch)
            rule.zero_grad()
            x = rescaled(data.index_select(0, indices))
            loss = functional.cross_entropy(forward(x), target.index_select(0, indices))
            loss.backward()
            rule.step()
        return loss.item()

    @torch.inference_mode()
    def predict(x):
        if module.training:
            module.eval()
        return forward(rescaled(torch.from_numpy(x.transpose(0, 3, 1, 2)))).numpy()

    return step, predict


def _optimizer(torch, net, module):
    spec = NETS[net]
    if spec.optimizer == "adam":
        return torch.optim.Adam(module.parameters(), spec.rate)
    momentum = MOMENTUM if spec.optimizer == "momentum" else 0.0
    return torch.optim.SGD(module.parameters(), spec.rate, momentum=momentum)
