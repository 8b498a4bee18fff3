"""A network's first step in a fresh process: how long it takes, and how far the process grows.

Each peer begins in a process that has loaded its library and the images. From there on counts all:
making the network, tracing, planning, compiling, and the memory of the steps. With empty caches
(`compile`) nothing that was compiled by an earlier process is found.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from cpu_worker import IMAGES, environment, own_cores
from nets import NETS

STEPS = 6
"""Further steps, after which memory has grown as far as it does; the fastest is the steady one."""

CACHES = ("ARRAYCNN_KERNELS", "TORCHINDUCTOR_CACHE_DIR", "XDG_CACHE_HOME", "CACHEDB")


def first_steps(options, empty=False):
    """({"NET BATCH": {peer: what `measure` returns}}, {what: why it was not measured}).

    With ``empty``, each process has caches of its own, in which there is nothing.
    """
    result, errors = {}, {}
    for net in options.nets:
        for batch in options.batches or NETS[net].batches:
            cell = result[f"{net} {batch}"] = {}
            for peer in options.peers:
                found = _in_fresh_process(options, peer, net, batch, empty)
                if "error" in found:
                    errors[f"{peer} {net} {batch}"] = found["error"]
                else:
                    cell[peer] = found
            shown = (f"{p} {f['seconds']:.1f} s {f['mib']:.0f} MiB" for p, f in cell.items())
            print(f"first step {net} {batch}   " + "   ".join(shown), flush=True)
    return result, errors


def compilations(options):
    """`first_steps` with empty caches."""
    return first_steps(options, empty=True)


def _in_fresh_process(options, peer, net, batch, empty):
    python = options.pythons.get(peer, sys.executable)
    command = [python, __file__, peer, str(options.threads), net, str(batch)]
    with tempfile.TemporaryDirectory() as folder:
        own = {name: str(Path(folder) / name) for name in CACHES} if empty else {}
        settings = environment(options.threads) | own
        done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    with suppress(json.JSONDecodeError, IndexError):
        return json.loads(done.stdout.splitlines()[-1])
    return {"error": (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]}


def measure(peer, threads, net, batch):
    """What a first step takes.

    Returns
    -------
    dict
        "seconds" until it is done, but for what "steady", a later step, takes; "mib" that the process
        grew at the most in it and in `STEPS` more; "trace", seconds of tracing and planning once more,
        where the step is traced, else None
    """
    own_cores(threads)
    import peers
    from nets import dataset
    from peer_arraycnn import trace_seconds

    import_module(peers.LIBRARIES[peer])
    images, labels = dataset(net, IMAGES)
    _forget_peak()
    before, began = _status("VmRSS"), time.perf_counter()
    step, _ = peers.peers(threads)[peer](net, batch, images, labels)
    step(1)
    first = time.perf_counter() - began
    steps = []
    for _ in range(STEPS):
        began = time.perf_counter()
        step(1)
        steps.append(time.perf_counter() - began)
    found = {"seconds": first - min(steps), "steady": min(steps)}
    found["mib"] = (_status("VmHWM") - before) / 1024
    if peer in peers.OURS:
        found["trace"] = trace_seconds(peer, threads, net, batch, images, labels)
    return found


def _status(name):
    """A line of /proc/self/status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _forget_peak():
    """Let VmHWM begin anew: what importing took is no part of a step."""
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints comes before no answer
    peer, threads, net, batch = sys.argv[1:]
    found = measure(peer, int(threads), net, int(batch))
    answers.write(json.dumps(found) + "\n")
    answers.flush()
    os._exit(0)  # nothing is left to do, and some libraries take seconds to end
