"""The networks of `nets.NETS` in tinygrad: a training step and a pass forward, each a `TinyJit`."""

import numpy as np

from nets import MOMENTUM, NETS, Convolution, Order, initial_parameters
from twins import EPSILON, NEW_SHARE


def peer(threads, net, batch, images, labels):
    from tinygrad import Tensor, TinyJit, nn

    spec = NETS[net]
    network = _Network(Tensor, nn, net)
    if spec.optimizer == "adam":
        rule = nn.optim.Adam(network.parameters, spec.rate, eps=1e-8)
    else:
        momentum = MOMENTUM if spec.optimizer == "momentum" else 0.0
        rule = nn.optim.SGD(network.parameters, spec.rate, momentum=momentum)
    data = Tensor(images.transpose(0, 3, 1, 2).copy()).realize()
    target = Tensor(labels).realize()
    order = Order(len(images), batch)

    @TinyJit
    def train(indices):
        rule.zero_grad()
        logits = network(data[indices].float() / 255.0 - 0.5)
        loss = logits.sparse_categorical_crossentropy(target[indices]).backward()
        return loss.realize(*rule.schedule_step())

    @TinyJit
    def infer(x):
        return network(x.float() / 255.0 - 0.5).realize()

    def step(count):
        with Tensor.train():
            for indices in order.take(count):
                loss = train(Tensor(indices).realize())
        return loss.item()

    def predict(x):
        with Tensor.train(False):
            return infer(Tensor(x.transpose(0, 3, 1, 2).copy()).realize()).numpy()

    return step, predict


class _Network:
    def __init__(self, tensor, nn, net):
        spec = NETS[net]
        self._tensor, self._nn, self._given = tensor, nn, iter(initial_parameters(net))
        self.parameters = []
        self._run, _ = self._chain(spec.layers, spec.image_shape)

    def __call__(self, x):
        return self._run(x)

    def _fill(self, part, weight, biases):
        part.weight.assign(self._tensor(np.ascontiguousarray(weight))).realize()
        self.parameters.append(part.weight)
        if biases:
            part.bias.assign(self._tensor(biases[0])).realize()
            self.parameters.append(part.bias)
        return part

    def _chain(self, layers, shape):
        """(what computes it, the shape (height, width, channels) or (count,) that it gives)."""
        parts, nn, flattened = [], self._nn, None
        for kind, *settings in layers:
            if kind == "conv":
                conv = Convolution(*settings)
                sides = {"valid": 0, "same": conv.kernel // 2}.get(conv.padding, conv.padding)
                weight, *biases = next(self._given)
                part = nn.Conv2d(
                    *(shape[2], conv.filters, conv.kernel, conv.stride, sides), bias=conv.bias
                )
                parts.append(self._fill(part, weight.transpose(3, 2, 0, 1), biases))
                shape = conv.output_shape(shape)
            elif kind == "norm":
                weight, *biases = next(self._given)
                part = nn.BatchNorm(shape[2], eps=EPSILON, momentum=NEW_SHARE)
                parts.append(self._fill(part, weight, biases))
            elif kind == "relu":
                parts.append(self._tensor.relu)
            elif kind == "swish":
                parts.append(lambda x: x * x.sigmoid())
            elif kind in ("pool", "average"):
                pool = self._tensor.max_pool2d if kind == "pool" else self._tensor.avg_pool2d
                parts.append(pool)
                shape = (shape[0] // 2, shape[1] // 2, shape[2])
            elif kind == "means":
                parts.append(lambda x: x.mean((2, 3)))
                shape = shape[2:]
            elif kind == "flatten":
                parts.append(lambda x: x.flatten(1))
                flattened, shape = shape, (int(np.prod(shape)),)
            elif kind == "dense":
                weight, *biases = next(self._given)
                if flattened:  # it flattens in the order C, H, W
                    weight = weight.reshape(*flattened, -1).transpose(2, 0, 1, 3)
                    weight, flattened = weight.reshape(shape[0], -1), None
                part = nn.Linear(shape[0], settings[0])
                parts.append(self._fill(part, weight.T, biases))
                shape = tuple(settings)
            else:
                parts.append(self._residual(shape, *settings))
                shape = parts[-1].shape
        return (lambda x: x.sequential(parts)), shape

    def _residual(self, shape, body, around):
        inside, after = self._chain(body, shape)
        outside = self._chain(around, shape)[0] if around else lambda x: x

        def residual(x):
            return inside(x) + outside(x)

        residual.shape = after
        return residual
