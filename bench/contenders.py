"""The contenders of bench/gpu.py: the same networks, bytes, order, precision and SGD in each library.

Each is a class ``(net, batch, images, labels, parameters, precision, device)`` with

    epochs(count)      [(seconds, losses of the steps)] of so many further epochs
    predict(images)    probabilities on the host, for uint8 images on the host
    learned()          the parameters as they are now, arrays on the host, in an order of its own
    laid_out(params)   such parameters as `learned` would have them

An epoch's seconds are what passes on a clock: all that is done for it counts, on the host, too.

An epoch ends when its losses are on the host. Data set and labels lie on the device. Precision is of
the products: "fp32" forbids everything below it, "tf32" allows that of tensor cores, "bf16" is each
library's way of mixed precision, with parameters, gradients of parameters and sums in float32. On the
device "cpu" the same code runs without what needs a GPU, to see that it works.
"""

import time

import numpy as np

from nets import LEARNING_RATE, SEED, batches, network
from twins import first_averages, jax_network, jax_step, torch_module


class Contender:
    """What contenders other than ours share: an epoch is an order in, and losses out."""

    def epochs(self, count):
        results = []
        for _ in range(count):
            began = time.perf_counter()
            losses = self.run(batches(self.images, self.batch, self.done))
            results.append((time.perf_counter() - began, losses))
            self.done += 1
        return results


def _clock():
    """A callback that notes when `fit` began and when each epoch had ended, for all that `fit` does."""
    import arraycnn as cnn

    class Clock(cnn.Callback):
        def __init__(self):
            self.ends = [time.perf_counter()]

        def on_epoch(self, record):
            self.ends.append(time.perf_counter())

    return Clock()


class ArrayCNN:
    """This library, by `Model.fit` and `Model.predict` alone."""

    graph = True

    def __init__(self, net, batch, images, labels, parameters, precision, device):
        import arraycnn as cnn

        backend = (
            cnn.NumPy() if device == "cpu" else cnn.CuPy(precision=precision, graph=self.graph)
        )
        self._model = cnn.Model(network(net), images.shape[1:], backend=backend, seed=SEED)
        self._arguments = {"batch_size": batch, "optimizer": cnn.SGD(LEARNING_RATE)}
        self._images, self._labels = images, labels
        self._first = True
        wanted = [array for pair in parameters for array in pair]
        for ours, array in zip(self._model.parameters.values(), wanted, strict=True):
            np.testing.assert_array_equal(ours, array)

    def epochs(self, count):
        # A call of fit records its graphs in its first epoch: that one counts as no other.
        warm = 0 if self._first else 1
        self._first = False
        clock = _clock()
        history = self._model.fit(
            *(self._images, self._labels),
            **{"epochs": count + warm, "callbacks": [clock], **self._arguments},
        )
        clock.ends[-1] = time.perf_counter()  # what ends a training counts for its last epoch
        losses = np.split(history.step_losses, count + warm)
        return list(zip(np.diff(clock.ends), losses, strict=True))[warm:]

    def predict(self, images):
        return self._model.predict(images)

    def learned(self):
        return list(self._model.parameters.values())

    def laid_out(self, params):
        return [array for pair in params for array in pair]


class ArrayCNNEager(ArrayCNN):
    """The same without recording: one kernel after another."""

    graph = False


# -- PyTorch -----------------------------------------------------------------------------------------


class TorchEager(Contender):
    """PyTorch as most people write it, with its fused optimizer and cuDNN's search for algorithms."""

    def __init__(self, net, batch, images, labels, parameters, precision, device):
        import torch

        self._torch = torch
        self._device, self._precision = device, precision
        self.images, self.batch, self.done = len(images), batch, 0
        pin_torch(torch, precision)
        # Tensor cores want channels last; plain float32 arithmetic does not.
        self._layout = torch.contiguous_format if precision == "fp32" else torch.channels_last
        self._net = net
        module = torch_module(torch, net, parameters)
        self._module = module.to(device).to(memory_format=self._layout)
        self._data = self._placed(images).permute(0, 3, 1, 2).contiguous()
        self._target = self._placed(labels.astype(np.int64))
        fused = {"fused": True} if device == "cuda" else {}
        self._optimizer = torch.optim.SGD(self._module.parameters(), LEARNING_RATE, **fused)
        self._steps = self.images // batch
        self._losses = torch.empty(self._steps, device=device)
        self._prepare()

    def _prepare(self):
        """What comes before the first step."""

    def learned(self):
        return [parameter.detach().cpu().numpy() for parameter in self._module.parameters()]

    def laid_out(self, params):
        module = torch_module(self._torch, self._net, params)
        return [parameter.detach().numpy() for parameter in module.parameters()]

    def _placed(self, array):
        return self._torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    def _rescaled(self, pixels):
        return (pixels.float() / 255.0 - 0.5).contiguous(memory_format=self._layout)

    def _autocast(self):
        torch = self._torch
        # Casts of weights that are kept over a step would be recorded once and never again.
        return torch.autocast(
            self._device, torch.bfloat16, enabled=self._precision == "bf16", cache_enabled=False
        )

    def _loss(self, indices):
        with self._autocast():
            logits = self._module(self._rescaled(self._data.index_select(0, indices)))
        target = self._target.index_select(0, indices)
        return self._torch.nn.functional.cross_entropy(logits.float(), target)

    def _step(self, indices):
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._loss(indices)
        loss.backward()
        self._optimizer.step()
        return loss.detach()

    def _trains(self, trains):
        # Only where it is new: a walk over all modules would count for each image.
        if self._module.training != trains:
            self._module.train(trains)

    def run(self, order):
        self._trains(True)
        placed = self._placed(order)
        for number in range(self._steps):
            self._losses[number] = self._step(placed[number])
        return self._losses.cpu().numpy().copy()

    def _probabilities(self, pixels):
        with self._autocast():
            logits = self._module(self._rescaled(pixels.permute(0, 3, 1, 2)))
        return self._torch.softmax(logits.float(), 1)

    def predict(self, images):
        self._trains(False)
        with self._torch.inference_mode():
            return self._probabilities(self._placed(images)).cpu().numpy()


class TorchCompile(TorchEager):
    """torch.compile(mode="reduce-overhead") of batch, network and loss, which records them, too."""

    mode = "reduce-overhead"

    def _prepare(self):
        for array in (self._data, self._target):  # or each replay copies the whole set to its place
            self._torch._dynamo.mark_static_address(array)
        # The compiler takes a minute on a CPU and records nothing there: then it only traces.
        settings = {"backend": "aot_eager"} if self._device == "cpu" else {"mode": self.mode}
        # Each contender is as the only one of its process: of a second size, the compiler would make
        # code for any size, which is slower, and of the ninth none. Should it, that is an error.
        self._torch._dynamo.reset()
        self._torch._dynamo.config.fail_on_recompile_limit_hit = True
        self._loss, self._probabilities = (
            self._torch.compile(function, dynamic=False, **settings)
            for function in (self._loss, self._probabilities)
        )

    def _step(self, indices):
        if self._device == "cuda":
            self._torch.compiler.cudagraph_mark_step_begin()
        return super()._step(indices)


class TorchAutotune(TorchCompile):
    """The same, with products and convolutions chosen by trying each."""

    mode = "max-autotune"


class TorchGraph(TorchEager):
    """A whole step as one CUDA graph, which finds its batch and keeps its loss by itself."""

    unrolled = 1

    def _prepare(self):
        torch = self._torch
        self._order = torch.zeros((self._steps, self.batch), dtype=torch.int32, device=self._device)
        self._cursor = torch.zeros(1, dtype=torch.int64, device=self._device)
        before = {name: part.clone() for name, part in self._module.state_dict().items()}
        self._replays = {
            count: self._recorded(count)
            for count in {self.unrolled, 1}
            if count <= max(self._steps, 1)
        }
        self._module.load_state_dict(before)  # trial steps have moved it
        self._shown = {}

    def _next_step(self):
        loss = self._step(self._order.index_select(0, self._cursor).view(-1))
        self._losses.index_copy_(0, self._cursor, loss.view(1))
        self._cursor.add_(1)

    def _recorded(self, count):
        """What runs the next ``count`` steps."""
        torch = self._torch

        def steps():
            for _ in range(count):
                self._next_step()

        if self._device == "cpu":
            return steps
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                self._cursor.zero_()
                self._next_step()
        torch.cuda.current_stream().wait_stream(aside)
        self._optimizer.zero_grad(set_to_none=True)  # gradients must lie in the graph's own memory
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            steps()
        return graph.replay

    def run(self, order):
        self._trains(True)
        self._order.copy_(self._torch.from_numpy(order))
        self._cursor.zero_()
        left = self._steps
        for count, replay in sorted(self._replays.items(), reverse=True):
            for _ in range(left // count):
                replay()
            left %= count
        return self._losses.cpu().numpy().copy()

    def predict(self, images):
        torch = self._torch
        if self._device == "cpu":
            return super().predict(images)
        self._trains(False)
        if images.shape not in self._shown:
            self._shown[images.shape] = self._recorded_prediction(images)
        static, graph, result = self._shown[images.shape]
        static.copy_(torch.from_numpy(images))
        graph.replay()
        return result.cpu().numpy()

    def _recorded_prediction(self, images):
        torch = self._torch
        static = self._placed(images)
        with torch.inference_mode():
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(3):
                    self._probabilities(static)
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                result = self._probabilities(static)
        return static, graph, result


class TorchGraph16(TorchGraph):
    """Sixteen steps a graph, as many as ours has."""

    unrolled = 16


def pin_torch(torch, precision):
    """Say of every product, once and for all, whether TF32 may stand in for float32."""
    torch.backends.cudnn.benchmark = True
    # The former names: torch.compile reads them, and refuses where the new ones were set.
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


# -- JAX ---------------------------------------------------------------------------------------------


class JaxJit(Contender):
    """A jitted step for each batch; parameters are donated."""

    def __init__(self, net, batch, images, labels, parameters, precision, device):
        import jax

        self._jax = jax
        jax.config.update("jax_default_matmul_precision", JAX_PRECISIONS[precision])
        self.images, self.batch, self.done = len(images), batch, 0
        self._steps = self.images // batch
        params = [[jax.numpy.asarray(array) for array in pair] for pair in parameters]
        self._state = params, jax.tree.map(jax.numpy.asarray, first_averages(net))
        self._data, self._target = jax.numpy.asarray(images), jax.numpy.asarray(labels)
        forward = jax_network(jax, net, precision)
        self._infer = jax.jit(lambda state, x: jax.nn.softmax(forward(*state, x, False)[0]))
        self._build(jax_step(jax, net, precision))

    def _build(self, step):
        def numbered(state, losses, cursor, data, target, order):
            state, loss = step(state, data, target, order[cursor])
            return state, losses.at[cursor].set(loss), cursor + 1

        self._update = self._jax.jit(numbered, donate_argnums=(0, 1, 2))

    def run(self, order):
        numpy = self._jax.numpy
        placed, losses = numpy.asarray(order), numpy.zeros(self._steps)
        cursor = numpy.zeros((), numpy.int32)
        for _ in range(self._steps):
            self._state, losses, cursor = self._update(
                self._state, losses, cursor, self._data, self._target, placed
            )
        return np.asarray(losses)

    def predict(self, images):
        return np.asarray(self._infer(self._state, images))

    def learned(self):
        return [np.asarray(array) for pair in self._state[0] for array in pair]

    def laid_out(self, params):
        return [array for pair in params for array in pair]


class JaxScan(JaxJit):
    """An epoch as one jitted scan."""

    def _build(self, step):
        def epoch(state, data, target, order):
            def body(state, indices):
                return step(state, data, target, indices)

            return self._jax.lax.scan(body, state, order)

        self._epoch = self._jax.jit(epoch, donate_argnums=0)

    def run(self, order):
        self._state, losses = self._epoch(
            self._state, self._data, self._target, self._jax.numpy.asarray(order)
        )
        return np.asarray(losses)


JAX_PRECISIONS = {"fp32": "float32", "tf32": "tensorfloat32", "bf16": "float32"}


CONTENDERS = {
    "arraycnn": ArrayCNN,
    "arraycnn-eager": ArrayCNNEager,
    "torch-eager": TorchEager,
    "torch-compile": TorchCompile,
    "torch-autotune": TorchAutotune,
    "torch-graph": TorchGraph,
    "torch-graph-16": TorchGraph16,
    "jax-jit": JaxJit,
    "jax-scan": JaxScan,
}
LIBRARIES = {name: name.split("-")[0] for name in CONTENDERS}


def describe(name, device):
    """{"library": version, "device": what it computes on}; raises where it cannot be used."""
    library = LIBRARIES[name]
    if library == "arraycnn":
        import arraycnn
        from arraycnn.backends.cuda_probe import probe

        if device == "cpu":
            return {"arraycnn": arraycnn.__version__, "device": "CPU"}
        found = probe(0)  # before CuPy is imported: it says what is missing, and the remedy
        import cupy

        return {
            "arraycnn": arraycnn.__version__,
            "cupy": found.cupy_version,
            "device": found.name,
            "memory": found.memory,
            "bus_id": cupy.cuda.Device(0).pci_bus_id,
            "compute_capability": found.compute_capability,
            "driver_version": found.driver_version,
            "runtime_version": found.runtime_version,
        }
    if library == "torch":
        import torch

        if device == "cpu":
            return {"torch": torch.__version__, "device": "CPU"}
        if not torch.cuda.is_available():
            message = f"torch {torch.__version__} sees no CUDA device"
            raise RuntimeError(message)
        return {
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "device": torch.cuda.get_device_name(),
        }
    import jax

    found = jax.devices()[0]
    if device == "cuda" and found.platform not in ("gpu", "cuda"):
        message = f"jax {jax.__version__} sees no CUDA device"
        raise RuntimeError(message)
    return {"jax": jax.__version__, "device": found.device_kind}
