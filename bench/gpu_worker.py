"""A contender of bench/gpu.py in a process of its own: how it is started, and what it answers."""

import os
import sys
import time
from statistics import median

from gpu_gate import CHECKED_STEPS, check, inputs, reference_losses, write_gate
from harness import HERE, Worker, serve


def start(options, contender, precision, folder, caches=None, limit=None):
    """``contender`` in its own process, which has ``limit`` seconds to say what it runs on.

    With ``caches``, a folder for what it compiles, it imports nothing before it is asked to work.
    """
    command = [
        *(sys.executable, str(HERE / "gpu.py"), "--worker", contender, "--device", options.device),
        *("--precisions", precision, "--inputs", str(folder)),
        *(() if caches is None else ("--cold",)),
    ]
    return Worker(command, environment(options.device, folder, caches), limit)


def environment(device, folder, caches=None):
    """A worker's variables: what libraries compile lies in ``caches``, a folder, if one is given.

    Without one it lies where they have it, in the user's home. Where that cannot be written it lies
    in ``folder``, but what the user's own variables name stays there.
    """
    own = os.environ | {
        "JAX_PLATFORMS": device,
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "PYTHONWARNINGS": "ignore",
    }
    if caches is not None:
        jax = {
            "JAX_COMPILATION_CACHE_DIR": f"{caches}/jax",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        return own | jax | _caches(caches)
    home = os.path.expanduser("~")
    if os.path.isdir(home) and os.access(home, os.W_OK):
        return own
    return _caches(f"{folder}/caches") | own


def _caches(folder):
    return {
        "CUPY_CACHE_DIR": f"{folder}/cupy",
        "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
        "TRITON_CACHE_DIR": f"{folder}/triton",
        "CUDA_CACHE_PATH": f"{folder}/cuda",
    }


def work(contender, precision, device, folder, is_cold):
    """A worker's side: measure what it is asked for."""
    import numpy as np

    import contenders

    built, machine, memo = {}, None, {}

    def made(net, batch, images):
        key = net, batch, images
        if key not in built:
            built.clear()  # one set and one network at a time on the device
            given = inputs(folder, net, images)
            build = contenders.CONTENDERS[contender]
            built[key] = build(net, batch, *given, precision, device)
        return built[key]

    def gate(net, batch):
        built.clear()
        write_gate(folder, net, batch)  # here, where it has a limit
        build = contenders.CONTENDERS[contender]
        wrong = check(build, folder, net, batch, precision, device)
        if wrong:
            raise RuntimeError(wrong)
        return {}

    def expected(net, batch, images):
        return {"losses": reference_losses(folder, net, images, batch)}

    def train(net, batch, images, seconds):
        trained = made(net, batch, images)
        wanted = 1
        if (net, batch) in memo:
            wanted = max(1, min(1000, round(seconds / memo[net, batch])))
        epochs = trained.epochs(wanted)
        times = [took for took, _ in epochs]
        memo[net, batch] = median(times)
        losses = [float(loss) for loss in epochs[0][1][:CHECKED_STEPS]]
        return {"seconds": median(times), "epochs": wanted, "losses": losses}

    def latency(net, seconds):
        trained, images = made(net, 1, 16), inputs(folder, net, 16)[0]
        times, began = [], time.perf_counter()
        while time.perf_counter() - began < seconds or len(times) < 5:
            image = np.ascontiguousarray(images[len(times) % 16][None])
            start = time.perf_counter()
            result = trained.predict(image)
            times.append(time.perf_counter() - start)
            if not np.isfinite(result).all():
                message = f"a prediction is not finite: {result}"
                raise RuntimeError(message)
        return {"seconds": median(times)}

    def predictions(net):
        trained, images = made(net, 1, 16), inputs(folder, net, 16)[0]
        return {"probabilities": np.asarray(trained.predict(images[:1])).tolist()}

    def rates():
        return {"rates": the_machine().rates()}

    def kernels(net, batch, rates):
        from gpu_kernels import kernel_rows

        return {"rows": kernel_rows(the_machine(), net, batch, precision, rates)}

    def the_machine():
        nonlocal machine
        import gpu_kernels

        machine = machine or (gpu_kernels.OnCPU() if device == "cpu" else gpu_kernels.OnDevice())
        return machine

    def cold(net, batch, began):
        made(net, batch, batch).epochs(1)
        return {"seconds": time.time() - began}

    def hello():
        return {} if is_cold else contenders.describe(contender, device)

    commands = (hello, gate, expected, train, latency, predictions, rates, kernels, cold)
    named = {function.__name__: function for function in commands}
    serve(lambda command, **arguments: named[command](**arguments))
