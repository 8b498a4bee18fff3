"""The networks of `nets.NETS` in PyTorch and JAX: the same layers, with the same parameters.

``parameters`` are `nets.initial_parameters`: for each layer with any, [weight, bias] in the order in
which a network is written (of a residual, its body first). Batch norms begin with running averages
of 0 and 1, and take a tenth of each batch, in all libraries.
"""

import math

import numpy as np

from nets import LEARNING_RATE, NETS, Convolution

NEW_SHARE, EPSILON = 0.1, 1e-5
"""Of batch norm: the share of the new batch, and what is added to the variance."""


# -- PyTorch -----------------------------------------------------------------------------------------


def torch_module(torch, net, parameters):
    """The network as a torch module with ``parameters``, channels first inside."""
    spec = NETS[net]
    return _TorchParts(torch, iter(parameters)).chain(spec.layers, spec.image_shape)[0]


class _TorchParts:
    def __init__(self, torch, given):
        self.torch, self.given = torch, given

    def chain(self, layers, shape):
        """(module, the shape (height, width, channels) or (count,) that it gives)."""
        parts = []
        flattened = None  # the image that has just been flattened
        for kind, *settings in layers:
            if kind == "flatten":
                part, flattened = self.torch.nn.Flatten(), shape
                shape = (math.prod(shape),)
            elif kind == "dense":
                part, shape = self._dense(shape, flattened, *settings)
                flattened = None
            else:
                part, shape = getattr(self, f"_{kind}")(shape, *settings)
            parts.append(part)
        return self.torch.nn.Sequential(*parts), shape

    def _conv(self, shape, *settings):
        conv = Convolution(*settings)
        part = self.torch.nn.Conv2d(
            *(shape[2], conv.filters, conv.kernel),
            stride=conv.stride,
            padding=conv.padding,
            bias=conv.bias,
            groups=conv.groups,
        )
        weight, *biases = next(self.given)
        fill(self.torch, part, weight.transpose(3, 2, 0, 1), biases)
        return part, conv.output_shape(shape)

    def _dense(self, shape, flattened, outputs):
        part = self.torch.nn.Linear(shape[0], outputs)
        weight, *biases = next(self.given)
        if flattened:  # PyTorch flattens in the order C, H, W
            weight = weight.reshape(*flattened, -1).transpose(2, 0, 1, 3).reshape(weight.shape)
        fill(self.torch, part, weight.T, biases)
        return part, (outputs,)

    def _norm(self, shape):
        part = self.torch.nn.BatchNorm2d(shape[2], eps=EPSILON, momentum=NEW_SHARE)
        weight, *biases = next(self.given)
        fill(self.torch, part, weight, biases)
        return part, shape

    def _relu(self, shape):
        return self.torch.nn.ReLU(), shape

    def _swish(self, shape):
        torch = self.torch

        class Swish(torch.nn.Module):  # as a user writes it
            def forward(self, x):
                return x * torch.sigmoid(x)

        return Swish(), shape

    def _pool(self, shape, size=2, stride=2, padding=0):
        after = ((n + 2 * padding - size) // stride + 1 for n in shape[:2])
        return self.torch.nn.MaxPool2d(size, stride, padding), (*after, shape[2])

    def _enlarge(self, shape, filters):
        part = self.torch.nn.ConvTranspose2d(shape[2], filters, 2, 2)
        weight, *biases = next(self.given)
        fill(self.torch, part, weight.transpose(3, 2, 0, 1), biases)
        return part, (2 * shape[0], 2 * shape[1], filters)

    def _beside(self, shape, layers):
        torch = self.torch
        inside, after = self.chain(layers, shape)

        class Beside(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.inside = inside

            def forward(self, x):
                return torch.cat((x, self.inside(x)), 1)

        return Beside(), (*shape[:2], shape[2] + after[2])

    def _average(self, shape):
        return self.torch.nn.AvgPool2d(2), (shape[0] // 2, shape[1] // 2, shape[2])

    def _means(self, shape):
        nn = self.torch.nn
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), shape[2:]

    def _residual(self, shape, body, shortcut):
        inside, after = self.chain(body, shape)
        around = self.chain(shortcut, shape)[0] if shortcut else self.torch.nn.Identity()

        class Residual(self.torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.body, self.shortcut = inside, around

            def forward(self, x):
                return self.body(x) + self.shortcut(x)

        return Residual(), after


def fill(torch, part, weight, biases):
    with torch.no_grad():
        part.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
        for bias in biases:
            part.bias.copy_(torch.from_numpy(bias))


# -- JAX ---------------------------------------------------------------------------------------------


def jax_network(jax, net, precision="fp32"):
    """(parameters, averages, uint8 images, trains) -> (logits, averages).

    ``averages`` are [mean, variance] for each batch norm (`first_averages`).
    """
    numpy = jax.numpy
    inside = numpy.bfloat16 if precision == "bf16" else numpy.float32

    def forward(params, averages, x, trains):
        x = (x.astype(numpy.float32) / 255.0 - 0.5).astype(inside)
        given = iter([[array.astype(inside) for array in pair] for pair in params])
        parts = _JaxParts(jax, given, iter(averages), trains)
        x = parts.chain(x, NETS[net].layers)
        return x.astype(numpy.float32), parts.after

    return forward


def first_averages(net):
    """[(mean, variance)] of each batch norm, before the first step."""
    found = []

    def collect(layers, channels):
        for kind, *settings in layers:
            if kind == "conv":
                channels = settings[0]
            elif kind == "norm":
                found.append((np.zeros(channels, np.float32), np.ones(channels, np.float32)))
            elif kind == "residual":
                inside = collect(settings[0], channels)
                collect(settings[1], channels)
                channels = inside
            elif kind == "beside":
                channels += collect(settings[0], channels)
            elif kind == "enlarge":
                channels = settings[0]
        return channels

    collect(NETS[net].layers, NETS[net].image_shape[2])
    return found


class _JaxParts:
    def __init__(self, jax, given, averages, trains):
        self.jax, self.given, self.averages, self.trains = jax, given, averages, trains
        self.after = []

    def chain(self, x, layers):
        for kind, *settings in layers:
            x = getattr(self, f"_{kind}")(x, *settings)
        return x

    def _conv(self, x, *settings):
        conv = Convolution(*settings)
        weight, *biases = next(self.given)
        sides = conv.padding
        padding = sides.upper() if isinstance(sides, str) else [(sides, sides)] * 2
        x = self.jax.lax.conv_general_dilated(
            *(x, weight, (conv.stride,) * 2, padding),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=conv.groups,
        )
        return self._with(x, biases[0]) if biases else x

    def _with(self, x, bias):
        # In float32, and so its gradient, a sum of thousands: one of bfloat16 loses most of them.
        return (x.astype(self.jax.numpy.float32) + bias).astype(x.dtype)

    def _enlarge(self, x, filters):
        weight, bias = next(self.given)
        order = "NHWC", "HWIO", "NHWC"
        y = self.jax.lax.conv_transpose(
            x, weight, (2, 2), "VALID", dimension_numbers=order, transpose_kernel=True
        )
        return self._with(y, bias)

    def _beside(self, x, layers):
        return self.jax.numpy.concatenate([x, self.chain(x, layers)], axis=3)

    def _dense(self, x, outputs):
        weight, *biases = next(self.given)
        return self._with(x @ weight, biases[0])

    def _norm(self, x):
        weight, bias = next(self.given)
        mean, variance = running = next(self.averages)
        inside, x = x.dtype, x.astype(self.jax.numpy.float32)  # sums, as Flax has them
        if self.trains:
            count = math.prod(x.shape[:3])
            mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
            new = mean, variance * (count / (count - 1))
            running = [
                (1 - NEW_SHARE) * r + NEW_SHARE * n for r, n in zip(running, new, strict=True)
            ]
        self.after.append(tuple(running))
        x = (x - mean) * (weight / self.jax.numpy.sqrt(variance + EPSILON)) + bias
        return x.astype(inside)

    def _relu(self, x):
        return self.jax.nn.relu(x)

    def _swish(self, x):
        return x * self.jax.nn.sigmoid(x)

    def _pool(self, x, size=2, stride=2, padding=0):
        sizes, strides = ((1, n, n, 1) for n in (size, stride))
        around = ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0))
        lax = self.jax.lax
        return lax.reduce_window(x, -self.jax.numpy.inf, lax.max, sizes, strides, around)

    def _average(self, x):
        lax, sizes = self.jax.lax, (1, 2, 2, 1)
        return lax.reduce_window(x, 0.0, lax.add, sizes, sizes, "VALID") / 4.0

    def _means(self, x):
        return x.mean((1, 2))

    def _flatten(self, x):
        return x.reshape(len(x), math.prod(x.shape[1:]))

    def _residual(self, x, body, shortcut):
        inside = self.chain(x, body)
        return inside + (self.chain(x, shortcut) if shortcut else x)


def jax_step(jax, net, precision):
    """((parameters, averages), data, labels, indices) -> (the same, loss): one step of plain SGD."""
    forward = jax_network(jax, net, precision)

    def loss_of(params, averages, pixels, labels):
        logits, averages = forward(params, averages, pixels, True)
        return jax_loss(jax, logits, labels), averages

    gradient = jax.value_and_grad(loss_of, has_aux=True)

    def step(state, data, target, indices):
        params, averages = state
        (loss, averages), gradients = gradient(params, averages, data[indices], target[indices])
        params = jax.tree.map(lambda p, g: p - LEARNING_RATE * g, params, gradients)
        return (params, averages), loss

    return step


def jax_loss(jax, logits, labels):
    """The mean cross-entropy."""
    logits = jax.nn.log_softmax(logits)
    return -jax.numpy.take_along_axis(logits, labels[..., None], -1).mean()
