"""JAX: a whole training step, and a pass forward, each jitted; what a step changes is donated."""

import numpy as np

from nets import MOMENTUM, NETS, Order, initial_parameters
from twins import first_averages, jax_loss, jax_network


def peer(net, batch, images, labels):
    import jax

    numpy, forward = jax.numpy, jax_network(jax, net)
    begin, update = _optimizer(jax, net)

    def loss_of(params, averages, pixels, labels):
        logits, averages = forward(params, averages, pixels, True)
        return jax_loss(jax, logits, labels), averages

    def whole_step(params, averages, moments, data, target, indices):
        (loss, averages), gradients = jax.value_and_grad(loss_of, has_aux=True)(
            params, averages, data[indices], target[indices]
        )
        params, moments = update(params, gradients, moments)
        return params, averages, moments, loss

    train = jax.jit(whole_step, donate_argnums=(0, 1, 2))
    infer = jax.jit(lambda params, averages, x: forward(params, averages, x, False)[0])
    params, averages = jax.tree.map(numpy.asarray, (initial_parameters(net), first_averages(net)))
    moments = begin(params)
    data, target = numpy.asarray(images), numpy.asarray(labels)
    order = Order(len(images), batch)

    def step(count):
        nonlocal params, averages, moments
        for indices in order.take(count):
            params, averages, moments, loss = train(
                params, averages, moments, data, target, indices
            )
        return float(loss)

    return step, lambda x: np.asarray(infer(params, averages, x))


def _optimizer(jax, net):
    """(parameters -> moments, (parameters, gradients, moments) -> (parameters, moments))."""
    spec, tree, numpy = NETS[net], jax.tree, jax.numpy

    def zeros(params):
        return tree.map(numpy.zeros_like, params)

    def sgd(params, gradients, moments):
        return tree.map(lambda p, g: p - spec.rate * g, params, gradients), moments

    def momentum(params, gradients, velocity):
        velocity = tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradients)
        return tree.map(lambda p, v: p - spec.rate * v, params, velocity), velocity

    def adam(params, gradients, moments):
        first, second, count = moments
        count = count + 1
        first = tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
        second = tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
        length, correction = spec.rate / (1 - 0.9**count), 1 / (1 - 0.999**count)

        def moved(p, m, v):
            return p - length * m / (numpy.sqrt(v * correction) + 1e-8)

        return tree.map(moved, params, first, second), (first, second, count)

    return {
        "sgd": (lambda params: (), sgd),
        "momentum": (zeros, momentum),
        "adam": (lambda p: (zeros(p), zeros(p), numpy.zeros((), numpy.float32)), adam),
    }[spec.optimizer]
