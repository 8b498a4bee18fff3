"""The peers of bench/cpu.py: the same networks, data, optimizer and precision in each library.

Each peer is a function (network name, batch size, images, labels) -> (step, predict): ``step(k)``
runs k training steps (gather the batch from the uint8 data set, rescale, forward, loss, backward,
plain SGD) and returns the last loss; ``predict(batch)`` returns logits or probabilities on the host
for a uint8 batch.

Networks, of research on this size of problem: "a", the tutorial's (conv 1->8 3x3 without bias,
max-pool 2, dense 1352->10), and "b", PyTorch's basic MNIST net without dropout.
"""

import numpy as np

LEARNING_RATE = 0.01


def order(images, batch_size):
    """The same shuffled batches for every peer: a function step -> indices."""
    permutation = np.random.default_rng(0).permutation(len(images)).astype(np.int32)
    steps = len(images) // batch_size

    def batch(step):
        start = step % steps * batch_size
        return permutation[start : start + batch_size]

    return batch


def arraycnn_peer(backend):
    def build(name, batch_size, images, labels):
        import arraycnn as cnn
        from arraycnn import networks
        from arraycnn.execution import Task
        from arraycnn.training import Carry

        network = {
            "a": networks.scratch(),
            "b": cnn.Sequential(
                cnn.Rescale(),
                cnn.Conv2d(32, 3),
                cnn.ReLU(),
                cnn.Conv2d(64, 3),
                cnn.ReLU(),
                cnn.MaxPool2d(2),
                cnn.Flatten(),
                cnn.Dense(128),
                cnn.ReLU(),
                cnn.Dense(10),
            ),
        }[name]
        optimizer = cnn.SGD(LEARNING_RATE)
        model = cnn.Model(network, images.shape[1:], backend=backend())
        carry = Carry(model._params, model._state, optimizer.init(model._params))
        task = Task(network, optimizer, images, labels, 0, "float32")
        plan = model.backend.training_plan(task, carry)
        batch = order(images, batch_size)
        done = 0

        def step(count):
            nonlocal done
            batches = [batch(number) for number in range(done, done + count)]
            losses, _ = plan.run(done, batches, np.full(count, LEARNING_RATE))
            done += count
            return float(losses[-1])

        inference = model.backend.inference_plan(network, model._params, model._state, "float32")
        return step, inference.predict

    return build


def numpy_peer(threads, fast):
    def backend():
        from arraycnn import NumPy

        return NumPy(threads=threads, fast=fast)

    return arraycnn_peer(backend)


def torch_peer(threads, channels_last=False, compiled=False):
    def build(name, batch_size, images, labels):
        import torch
        from torch import nn
        from torch.nn import functional

        torch.set_num_threads(threads)
        module = {
            "a": lambda: nn.Sequential(
                nn.Conv2d(1, 8, 3, bias=False), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1352, 10)
            ),
            "b": lambda: nn.Sequential(
                nn.Conv2d(1, 32, 3),
                nn.ReLU(),
                nn.Conv2d(32, 64, 3),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Linear(9216, 128),
                nn.ReLU(),
                nn.Linear(128, 10),
            ),
        }[name]()
        layout = torch.channels_last if channels_last else torch.contiguous_format
        module = module.to(memory_format=layout)
        optimizer = torch.optim.SGD(module.parameters(), LEARNING_RATE)
        forward = torch.compile(module) if compiled else module
        data = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        target = torch.from_numpy(labels.astype(np.int64))
        batch = order(images, batch_size)
        done = 0

        def rescaled(x):
            return (x.float() / 255.0 - 0.5).contiguous(memory_format=layout)

        def step(count):
            nonlocal done
            for number in range(done, done + count):
                indices = torch.from_numpy(batch(number))
                optimizer.zero_grad()
                x = rescaled(data.index_select(0, indices))
                loss = functional.cross_entropy(forward(x), target.index_select(0, indices))
                loss.backward()
                optimizer.step()
            done += count
            return loss.item()

        @torch.inference_mode()
        def predict(x):
            return forward(rescaled(torch.from_numpy(x.transpose(0, 3, 1, 2)))).numpy()

        return step, predict

    return build


def jax_peer(threads):
    def build(name, batch_size, images, labels):
        import jax
        from jax import lax
        from jax import numpy as jnp

        keys = jax.random.split(jax.random.key(0), 4)

        def weight(key, *shape):
            return jax.random.normal(key, shape) * 0.05

        params = (
            {
                "w1": weight(keys[0], 3, 3, 1, 8),
                "w2": weight(keys[1], 1352, 10),
                "b2": jnp.zeros(10),
            }
            if name == "a"
            else {
                "w1": weight(keys[0], 3, 3, 1, 32),
                "b1": jnp.zeros(32),
                "w2": weight(keys[1], 3, 3, 32, 64),
                "b2": jnp.zeros(64),
                "w3": weight(keys[2], 9216, 128),
                "b3": jnp.zeros(128),
                "w4": weight(keys[3], 128, 10),
                "b4": jnp.zeros(10),
            }
        )

        def conv(x, w):
            return lax.conv_general_dilated(
                x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )

        def pool(x):
            return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

        def forward(p, x):
            x = x.astype(jnp.float32) / 255.0 - 0.5
            if name == "a":
                return pool(conv(x, p["w1"])).reshape(len(x), -1) @ p["w2"] + p["b2"]
            x = jax.nn.relu(conv(x, p["w1"]) + p["b1"])
            x = jax.nn.relu(conv(x, p["w2"]) + p["b2"])
            x = jax.nn.relu(pool(x).reshape(len(x), -1) @ p["w3"] + p["b3"])
            return x @ p["w4"] + p["b4"]

        def loss_of(p, x, y):
            return -jnp.take_along_axis(jax.nn.log_softmax(forward(p, x)), y[:, None], 1).mean()

        @jax.jit
        def update(p, data, target, indices):
            loss, g = jax.value_and_grad(loss_of)(p, data[indices], target[indices])
            return jax.tree.map(lambda a, b: a - LEARNING_RATE * b, p, g), loss

        data, target = jnp.asarray(images), jnp.asarray(labels)
        infer = jax.jit(forward)
        batch = order(images, batch_size)
        done = 0

        def step(count):
            nonlocal params, done
            for number in range(done, done + count):
                params, loss = update(params, data, target, batch(number))
            done += count
            return float(loss)

        def predict(x):
            return np.asarray(infer(params, x))

        return step, predict

    return build


def peers(threads):
    """Every peer by name."""
    return {
        "arraycnn fast": numpy_peer(threads, fast=True),
        "arraycnn numpy": numpy_peer(threads, fast=False),
        "torch eager": torch_peer(threads),
        "torch channels_last": torch_peer(threads, channels_last=True),
        "torch compile": torch_peer(threads, compiled=True),
        "jax jit": jax_peer(threads),
    }
