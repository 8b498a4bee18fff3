"""A layer forward and backward, and PyTorch's of the same: what tests of layers share."""

import numpy as np

import cases
from arraycnn.layers import (
    Add,
    AvgPool2d,
    BatchNorm2d,
    Concatenate,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
    Softmax,
)
from cases import Case


def forward_and_backward(case: Case, dtype: str):
    """The whole protocol as one function of arrays."""

    def run(params, state, x, dy, seed, step, indices):
        context = case.context(dtype, seed, step, indices)
        y, new_state, residuals = case.layer.forward(params, state, x, context)
        dx, gradients = case.layer.backward(params, residuals, dy, context, need_dx=True)
        none, same = case.layer.backward(params, residuals, dy, context, need_dx=False)
        return y, new_state, dx, gradients, none, same

    return run


def torch_forward(torch, layer, params, state, x, mode):
    """``layer`` of PyTorch on channels-last tensors; ``state`` is changed in place."""
    functional = torch.nn.functional

    def channels_first(function, *arguments, **settings):
        return function(x.permute(0, 3, 1, 2), *arguments, **settings).permute(0, 2, 3, 1)

    def sides(kernel_size, stride, dilation=(1, 1)):
        extent = tuple(
            (k - 1) * d + 1 for k, d in zip(cases.both(kernel_size), dilation, strict=True)
        )
        both = extent, cases.both(stride)
        top, bottom, left, right = cases.padding_of(layer, *both, x.shape[1], x.shape[2])
        return 0, 0, left, right, top, bottom

    match layer:
        case Sequential():
            for position, part in enumerate(layer.layers):
                name = str(position)
                x = torch_forward(torch, part, params[name], state[name], x, mode)
            return x
        case Residual():
            y = torch_forward(torch, layer.body, params["body"], state["body"], x, mode)
            if layer.shortcut is None:
                return x + y
            around = params["shortcut"], state["shortcut"]
            return y + torch_forward(torch, layer.shortcut, *around, x, mode)
        case Concatenate() | Add():
            outputs = [
                torch_forward(torch, part, params[str(n)], state[str(n)], x, mode)
                for n, part in enumerate(layer.layers)
            ]
            return sum(outputs) if type(layer) is Add else torch.cat(outputs, -1)
        case Conv2d():
            dilation = cases.both(layer.dilation)
            x = functional.pad(x, sides(layer.kernel_size, layer.stride, dilation))
            weight = params["weight"].permute(3, 2, 0, 1)
            settings = layer.stride, 0, dilation, layer.groups
            return channels_first(functional.conv2d, weight, params.get("bias"), *settings)
        case MaxPool2d() | AvgPool2d():
            is_max = type(layer) is MaxPool2d
            around = sides(layer.kernel_size, layer.stride or layer.kernel_size)
            x = functional.pad(x, around, value=-np.inf if is_max else 0.0)
            pool = functional.max_pool2d if is_max else functional.avg_pool2d
            return channels_first(pool, layer.kernel_size, layer.stride)
        case GlobalAvgPool2d():
            return functional.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), 1).flatten(1)
        case BatchNorm2d():
            of_rows = lambda function, *given, **settings: function(x, *given, **settings)  # noqa: E731
            return (of_rows if x.ndim == 2 else channels_first)(
                functional.batch_norm,
                *(state["mean"], state["variance"], params["weight"], params["bias"]),
                training=mode == "train",
                momentum=layer.momentum,
                eps=layer.epsilon,
            )
        case Flatten():
            return torch.flatten(x, 1)
        case Dense():
            return functional.linear(x, params["weight"].T, params.get("bias"))
        case ReLU():
            return torch.relu(x)
        case Softmax():
            return torch.softmax(x, -1)
        case Dropout():
            return functional.dropout(x, layer.rate, training=mode == "train")
    return twin_forward(torch, layer, params | state, x, mode)


def twin_forward(torch, layer, arrays, x, mode):
    """The module that ``layer`` names, with ``arrays``, on channels-last images or on rows."""
    twin = layer.torch_module(tuple(x.shape[1:]))
    names = {"torch": torch, "nn": torch.nn}
    exec(twin.source, names)
    module = eval(twin.expression, names).to(x.dtype).train(mode == "train")
    assert set(module.state_dict()) == {twin.names.get(name, name) for name in arrays}
    given = {
        twin.names.get(name, name): array.permute(twin.axes.get(name, tuple(range(array.ndim))))
        for name, array in arrays.items()
    }
    y = torch.func.functional_call(module, given, (x.permute(0, 3, 1, 2) if x.ndim == 4 else x,))
    return y.permute(0, 2, 3, 1) if y.ndim == 4 else y
