"""What the kernels of a network take to be compiled for a CUDA device, with empty and with full caches.

    python bench/cuda_cold_start.py                      # (a), (b) and ResNet-20
    python bench/cuda_cold_start.py --nets b --precision tf32 --batch 256

Needs CuPy and NVRTC, no device: a training step is traced and rehearsed as on one, by the same plan,
but its kernels are only compiled, by CuPy's compiler and cache, and never started. Each figure is of
a process of its own, whose imports do not count: the seconds that pass, and those of the processor,
which a busy machine does not change as much. What a device adds, loading modules and running a
step, is not in it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from types import SimpleNamespace

import numpy as np

from arraycnn.ops.cuda.loaded import LoadedKernels
from arraycnn.ops.cuda.unstarted import UnstartedLauncher
from nets import NETS, SEED, network, optimizer


class Compiling(UnstartedLauncher):
    """Compiles the kernels of a rehearsal."""

    def __init__(self, compile_one):
        super().__init__()
        self._kernels = LoadedKernels(compile_one)
        self.seconds, self.busy = 0.0, 0.0
        """Of the rehearsals: that passed, and of the processor."""

    def start(self, file, kernel, grid, block, args, shared):
        self._kernels.get(file, kernel)

    def rehearse(self, work):
        began, busy = time.perf_counter(), time.process_time()
        self._kernels.rehearse(work)
        self.seconds += time.perf_counter() - began
        self.busy += time.process_time() - busy


def cupys_compiler(architecture):
    """CuPy's own, with its cache on disk, for a device that is not there.

    With it, the kernels that were asked for, and those that were in no cache.
    """
    from cupy._core import core
    from cupy.cuda import compiler, nvrtc

    from arraycnn.ops.cuda.cupy import compiler_options
    from arraycnn.ops.cuda.sources import source

    asked, compiled, by_nvrtc = [], [], compiler._compile_using_nvrtc_no_warning

    def noted(*arguments, **keywords):
        compiled.append(arguments)
        return by_nvrtc(*arguments, **keywords)

    compiler._compile_using_nvrtc_no_warning = noted
    unloaded = lambda: SimpleNamespace(  # noqa: E731
        load=lambda code: None, _set_mapping=lambda mapping: None, mapping=Names()
    )
    compiler.function = SimpleNamespace(Module=unloaded)
    target = f"-arch=sm_{architecture}", "cubin"
    compiler._get_arch_for_options_for_nvrtc = lambda _: target

    def compile_one(file, kernel):
        asked.append(kernel)
        ours = compiler_options(nvrtc.getVersion())
        options = core.assemble_cupy_compiler_options(ours)
        return compiler._compile_module_with_cache(
            source(file), options, arch=str(architecture), name_expressions=(kernel,)
        )

    return compile_one, asked, compiled


class Names(dict):
    """Each kernel by its own name."""

    def __missing__(self, kernel):
        return kernel


def measure(net, precision, batch, architecture):
    """How many kernels, and how many were compiled; seconds until all are there, of the processor, and
    of tracing alone."""
    import arraycnn as cnn
    from arraycnn.execution import Task
    from arraycnn.execution.device import DevicePlans
    from arraycnn.training.step import Carry
    from arraycnn.tree import map_leaves

    spec = NETS[net]
    images = np.zeros((batch, *spec.image_shape), np.uint8)
    placement = cnn.NumPy(fast=False)
    model = cnn.Model(network(net), spec.image_shape, backend=placement, seed=SEED)
    compile_one, asked, compiled = cupys_compiler(architecture)

    def rehearsed(launcher):
        params, state = model.trees
        carry = Carry(params, state, optimizer(net).init(params))
        floating = lambda leaf: np.asarray(leaf, "float32" if leaf.dtype.kind == "f" else None)  # noqa: E731
        carry = Carry(*(map_leaves(floating, tree) for tree in carry))
        task = Task(
            model.network, optimizer(net), images, np.zeros(batch, np.int32), SEED, "float32"
        )
        plans = DevicePlans(launcher, precision, "cupy")
        plan = plans.training_plan(placement, task, carry)
        plan.run(0, [np.arange(batch, dtype=np.int32)], np.zeros(1, np.float32))
        return launcher

    trace = rehearsed(
        Compiling(lambda file, kernel: file)
    )  # its code is loaded, and compiles nothing
    full = rehearsed(Compiling(compile_one))
    return {
        "kernels": len(asked),
        "compiled": len(compiled),
        "seconds": full.seconds,
        "busy": full.busy,
        "trace": trace.seconds,
    }


def in_fresh_process(options, net, cache):
    environment = os.environ | {"CUPY_CACHE_DIR": cache}
    given = [net, options.precision, str(options.batch), str(options.architecture)]
    command = [sys.executable, __file__, "--one", *given]
    if options.threads:
        environment |= {"ARRAYCNN_COMPILER_THREADS": str(options.threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{net}: {(done.stderr.strip().splitlines() or ['it ended'])[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nets", default="a,b,resnet20")
    parser.add_argument("--precision", default="tf32", choices=("fp32", "tf32", "bf16"))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument(
        "--architecture", type=int, default=90, help="compute capability, times ten"
    )
    parser.add_argument("--threads", type=int, help="of the compiler; all cores if left out")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        net, precision, batch, architecture = options.one
        threads = os.environ.get("ARRAYCNN_COMPILER_THREADS")
        if threads:
            os.cpu_count = lambda: int(threads)
        print(json.dumps(measure(net, precision, int(batch), int(architecture))))
        return
    print(
        f"{options.precision}, batch {options.batch}, sm_{options.architecture}; compiled, not run"
    )
    for net in options.nets.split(","):
        with tempfile.TemporaryDirectory() as cache:
            empty, full = (in_fresh_process(options, net, cache) for _ in range(2))
        times = [f"{found['seconds']:.2f} s ({found['busy']:.2f})" for found in (empty, full)]
        print(
            f"{NETS[net].title}: {empty['kernels']} kernels, with empty caches {times[0]}, with full "
            f"ones {times[1]}, of which tracing {full['trace']:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
