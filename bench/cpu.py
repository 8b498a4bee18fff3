"""Training and inference on the CPU against PyTorch and JAX: one command, one table, one JSON.

    pip install ".[bench]" && python bench/cpu.py
    python bench/cpu.py --nets a --batches 64 --rounds 3 --peers "arraycnn numpy,torch eager"

Every peer runs in a process of its own with the same number of threads; only one works at a time.
Rounds are interleaved (all peers once, then again), so that a machine's slow moments fall on all;
figures are medians over the rounds, with the lowest and the highest beside them in the JSON.
"""

import argparse
import json
import os
import resource
import sys
import time
from datetime import date
from pathlib import Path
from statistics import median

from harness import HERE, Worker, commit, processor, serve, versions

# Long enough for one slow step to drown, short enough for many rounds.
SECONDS = 0.7


def start(peer, threads):
    """``peer`` in its own process, with so many threads."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}",
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, __file__, "--worker", peer, "--threads", str(threads)]
    if threads < (os.cpu_count() or 1):
        # XLA has no thread setting that holds: the process gets so many cores.
        cores = ",".join(str(c) for c in sorted(os.sched_getaffinity(0))[:threads])
        command = ["taskset", "-c", cores, *command]
    return Worker(command, environment)


def work(peer, threads):
    """The worker's side: answer commands until standard input ends."""
    import numpy as np

    import peers
    from arraycnn.data import load_dataset

    digits = load_dataset("digits")
    # Real pixels in MNIST's size: each digit three times as large, with a margin.
    images = np.repeat(np.repeat(digits.train_images, 3, axis=1), 3, axis=2)
    images = np.ascontiguousarray(np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0))))
    built = {}

    def parts(net, batch):
        if (net, batch) not in built:
            build = peers.peers(threads)[peer]
            built[net, batch] = build(net, batch, images, digits.train_labels)
        return built[net, batch]

    def repeat(function, seconds):
        """(calls, seconds) of as many calls as fill ``seconds``."""
        began = time.perf_counter()
        calls = 0
        while (passed := time.perf_counter() - began) < seconds:
            function()
            calls += 1
        return calls, passed

    def answer(command, net=None, batch=None):
        if command == "hello":
            peers.peers(threads)[peer]("a", 1, images[:2], digits.train_labels[:2])
            return {}
        step, predict = parts(net, batch)
        if command == "warm":
            step(2)
            predict(images[:batch])
            return {}
        if command == "train":
            chunk = max(1, 256 // batch)
            calls, passed = repeat(lambda: step(chunk), SECONDS)
            return {"images_per_second": calls * chunk * batch / passed}
        if command == "infer":
            calls, passed = repeat(lambda: predict(images[:batch]), SECONDS)
            return {"images_per_second": calls * batch / passed}
        return {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}

    serve(answer)


def measure(options, threads):
    """{cell: {peer: [images per second of each round]}} and the errors met."""
    workers = {name: start(name, threads) for name in options.peers}
    errors = {name: worker.error for name, worker in workers.items() if worker.error}
    cells = [("train", net, batch) for net in options.nets for batch in options.batches]
    cells += [("infer", net, batch) for net in options.nets for batch in (1, 1024)]
    rates = {}
    for kind, net, batch in cells:
        usable = {name: worker for name, worker in workers.items() if name not in errors}
        for name, worker in usable.items():
            if error := worker.ask(command="warm", net=net, batch=batch).get("error"):
                errors[f"{name}, {net}, {batch}"] = error
        cell = rates[f"{kind} {net} {batch}"] = {name: [] for name in usable}
        for _ in range(options.rounds):
            for name, worker in usable.items():
                result = worker.ask(command=kind, net=net, batch=batch)
                if "error" not in result:
                    cell[name].append(result["images_per_second"])
        show_row(kind, net, batch, cell)
    for worker in workers.values():
        worker.close()
    return rates, errors


def peak_memory(options, threads):
    """{cell: {peer: MiB}}: the peak of a fresh process that trains nothing but that cell."""
    peaks = {}
    for net in options.nets:
        cell = peaks[f"{net} 256"] = {}
        for name in options.peers:
            worker = start(name, threads)
            if not worker.error:
                worker.ask(command="warm", net=net, batch=256)
                worker.ask(command="train", net=net, batch=256)
                cell[name] = worker.ask(command="memory", net=net, batch=256).get("peak_mib")
            worker.close()
        print(f"peak MiB {net} 256   " + "   ".join(f"{n} {p:.0f}" for n, p in cell.items() if p))
    return peaks


def show_row(kind, net, batch, cell):
    medians = {name: median(rounds) for name, rounds in cell.items() if rounds}
    others = [rate for name, rate in medians.items() if not name.startswith("arraycnn")]
    best = max(others, default=0.0)
    columns = []
    for name, rate in medians.items():
        ratio = f" ({rate / best:.2f}x)" if best and name.startswith("arraycnn") else ""
        columns.append(f"{name} {rate:,.0f}{ratio}")
    print(f"{kind:<6}{net} {batch:>5}   " + "   ".join(columns), flush=True)


def sgemm_gflops(threads):
    """The machine's rate of large float32 products in NumPy, the ceiling of a convolution."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    a = np.random.default_rng(0).random((1536, 1536), dtype=np.float32)
    out = np.empty_like(a)
    rates = []
    with threadpool_limits(threads):
        for _ in range(12):
            began = time.perf_counter()
            np.matmul(a, a, out=out)
            rates.append(2 * 1536**3 / (time.perf_counter() - began) / 1e9)
    return median(rates)


def main():
    import peers

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--nets", default="a,b")
    parser.add_argument("--batches", default="1,64,256,1024")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", default=",".join(peers.peers(1)))
    parser.add_argument("--out", type=Path, help="JSON file; default bench/results/cpu-DATE.json")
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.threads)
        return
    options.nets = options.nets.split(",")
    options.batches = [int(batch) for batch in options.batches.split(",")]
    options.peers = options.peers.split(",")
    print(f"{processor()}, {options.threads} threads, medians of {options.rounds} rounds, images/s")
    print("(in brackets: against the best peer of the cell)")
    rates, errors = measure(options, options.threads)
    result = {
        "date": date.today().isoformat(),
        "commit": commit(),
        "device": processor(),
        "threads": options.threads,
        "rounds": options.rounds,
        "versions": versions("arraycnn", "numpy", "numba", "torch", "jax"),
        "sgemm_gflops": {"1": sgemm_gflops(1), str(options.threads): sgemm_gflops(options.threads)},
        "images_per_second": rates,
        "peak_mib": peak_memory(options, options.threads),
        "errors": errors,
    }
    for name, error in errors.items():
        print(f"not measured: {name}: {error}")
    out = options.out or HERE / "results" / f"cpu-{date.today().isoformat()}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
