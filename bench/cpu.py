r"""Training and inference on the CPU against PyTorch and JAX: one command, one table, one JSON.

    pip install ".[bench]" && python bench/cpu.py
    python bench/cpu.py --only train --nets a --batches 64 --peers "arraycnn numpy,torch eager"
    python bench/cpu.py --only cold            # adds to what was measured before
    python bench/cpu.py --only train,infer,first --nets lenet,relu,norm,average,swish,resnet8,resnet20 \
        --out networks.json
    python bench/cpu.py --only train --nets lenet,relu,norm,resnet8 --out engines.json \
        --peers "arraycnn torch,arraycnn jax,torch eager,torch channels_last,torch compile,jax jit"
    python bench/cpu.py --only train --nets resnet8 --peers "arraycnn fast,tensorflow" \
        --pythons tensorflow=/an/environment/that/has/it/bin/python

Every peer runs in a process of its own with the same number of threads; only one works at a time.
All begin with the same parameters, and their losses are compared before they are timed. Figures are
medians over interleaved rounds; the JSON holds every round. Sections:

    machine   the rate of large products in NumPy (sgemm)
    train     images a second of training
    infer     images a second of inference, one image at a time and 1024
    memory    the peak of a process that trains in batches of 256
    threads   ours on 1, 2, 4, ... threads
    batches   ours in batches of 1 to 4096: the cost of an image must not grow
    profile   where the time of a step of ours goes
    first     what comes before the second step: making, tracing, compiling; growth of the process
    compile   the same with empty caches; only where --only names it
    cold      from the shell to a trained model, against importing PyTorch

Each section is written to the JSON file at once. `python bench/table.py FILE.json` makes the tables.
"""

import argparse
import time
from datetime import date
from pathlib import Path
from statistics import median

import cpu_rates
import result_file
from cold_start import cold_start
from cpu_worker import usable_cores
from first_step import compilations, first_steps
from harness import HERE, commit, processor, versions
from nets import DETAILED, NETS
from peers import ENGINES, OPTIONAL, peers
from result_file import NoResult
from table import cpu_tables

CONDITIONS = ("commit", "device", "threads", "versions")


def sgemm(options):
    """{threads: GFLOP/s}: the machine's rate of large float32 products, a convolution's ceiling."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    size = 1536
    a = np.random.default_rng(0).random((size, size), dtype=np.float32)
    out = np.empty_like(a)
    result = {}
    for threads in sorted({1, options.threads}):
        rates = []
        with threadpool_limits(threads):
            for _ in range(4 * options.rounds):
                began = time.perf_counter()
                np.matmul(a, a, out=out)
                rates.append(2 * size**3 / (time.perf_counter() - began) / 1e9)
        result[str(threads)] = median(rates)
    print(f"sgemm GFLOP/s {result}")
    return result, {}


# For each section: its name in the JSON file, and what measures it.
SECTIONS = {
    "machine": ("sgemm_gflops", sgemm),
    "train": ("images_per_second", cpu_rates.training),
    "infer": ("images_per_second", cpu_rates.inference),
    "memory": ("peak_mib", cpu_rates.memory),
    "threads": ("threads_images_per_second", cpu_rates.threads),
    "batches": ("batches_images_per_second", cpu_rates.batch_sizes),
    "profile": ("profile", cpu_rates.profile),
    "cold": ("cold_seconds", cold_start),
    "first": ("first_step", first_steps),
    "compile": ("first_step_empty_caches", compilations),
}
USUAL = [section for section in SECTIONS if section != "compile"]


def begun(path, conditions):
    """What ``path`` holds already; raises `NoResult` where that has other conditions, or is none."""
    if not path.exists():
        return conditions | {"date": date.today().isoformat(), "errors": {}}
    found = result_file.read(path)
    for name in CONDITIONS:
        if found.get(name) != conditions[name]:
            raise NoResult(f"{path}: is of another {name} ({found.get(name)})")
    return found


def choice(known):
    """An argument type: names of ``known`` between commas."""

    def parse(text):
        names = text.split(",")
        for name in names:
            if name not in known:
                message = f"takes of {', '.join(known)}, got {name!r}"
                raise argparse.ArgumentTypeError(message)
        return names

    return parse


def python_of(text):
    """An argument type: PEER=PYTHON between commas."""
    found = dict(pair.partition("=")[::2] for pair in text.split(","))
    choice(peers(1))(",".join(found))
    for peer, python in found.items():
        if not Path(python).is_file():
            message = f"takes PEER=PYTHON between commas, got {python!r} for {peer}: no such file"
            raise argparse.ArgumentTypeError(message)
    return found


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--only", type=choice(SECTIONS), default=USUAL, help="sections, between commas")
    add("--nets", type=choice(NETS), default=list(DETAILED))
    sizes = "of training, between commas; else those that nets.py names for each network"
    add("--batches", type=lambda text: [int(b) for b in text.split(",")], help=sizes)
    named = [*ENGINES, *OPTIONAL]
    usual = [peer for peer in peers(1) if peer not in named]
    add("--peers", type=choice(peers(1)), default=usual, help=f"all but {', '.join(named)}")
    other = "PEER=PYTHON, between commas: what a peer runs in, where it is another one"
    add("--pythons", type=python_of, default={}, help=other)
    add("--threads", type=int, default=usable_cores())
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, default=0.7, help="of a round: enough for a slow step to drown")
    add("--out", type=Path, default=HERE / "results" / f"cpu-{date.today().isoformat()}.json")
    return parser.parse_args()


def main():
    options = parsed()
    conditions = {
        "commit": commit(),
        "device": processor(),
        "threads": options.threads,
        "versions": versions("arraycnn", "numpy", "llvmlite", "torch", "jax"),
    }
    others = {
        peer: versions(peer, python=options.pythons.get(peer))
        for peer in OPTIONAL
        if peer in options.peers
    }
    try:
        result = begun(options.out, conditions)
        result_file.check_writable(options.out)
    except NoResult as error:
        raise SystemExit(f"{error}; choose another --out") from error
    if others:
        result["optional"] = others
    print(f"{conditions['device']}, {options.threads} threads, {options.rounds} rounds")
    for section in options.only:
        name, measure = SECTIONS[section]
        found, errors = measure(options)
        result[name] = _merged(result.get(name, {}), found)
        kept = {w: why for w, why in result["errors"].items() if not w.startswith(f"{section}: ")}
        result["errors"] = kept | {f"{section}: {what}": why for what, why in errors.items()}
        result["rounds"] = options.rounds
        result_file.write(options.out, result)
    print(f"\n{cpu_tables(result)}\n")
    for what, why in result["errors"].items():
        print(f"not measured: {what}: {why}")
    print(f"written to {options.out}")


def _merged(old, new):
    """``new`` into ``old``, cell by cell: other peers of a cell that was measured before stay."""
    both = {
        key: old[key] | new[key] for key in old.keys() & new.keys() if isinstance(new[key], dict)
    }
    return old | new | both


if __name__ == "__main__":
    main()
