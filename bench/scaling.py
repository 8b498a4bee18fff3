"""Strong and weak scaling of a training over ranks of this machine, and a model of many GPUs.

    python bench/scaling.py --out bench/results/scaling-DATE.json    # measures, and prints the tables
    python bench/scaling.py bench/results/scaling-DATE.json          # prints those of a result

Strong: a batch of as many images is shared by more ranks. Weak: it grows with them. Each rank has
one thread. The share of time in sums is that which rank 0 waits for them, others' work included. Each
figure is of the median round.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import result_file
import scaling_model
from harness import commit, processor, versions

RANKS = (1, 2, 4)
NETWORKS = ("basic", "resnet20")
BATCH, STEPS, ROUNDS = 64, 4, 5


def measure(name: str, batch: int) -> dict | None:
    """What rank 0 finds: images a second, and what sums cost; None on others."""
    from arraycnn import SGD, Model, NumPy
    from arraycnn.distributed import MPI
    from arraycnn.distributed.parts import Cut
    from arraycnn.distributed.shares import Share
    from arraycnn.distributed.sums import HostSums
    from arraycnn.execution import Task
    from arraycnn.networks import NETWORKS as KNOWN
    from arraycnn.training.step import Carry

    world = MPI().communicator
    shape = (32, 32, 3)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, *shape), dtype=np.uint8)
    labels = rng.integers(0, 10, batch).astype(np.int32)
    model = Model(KNOWN[name](10), shape, backend=NumPy(threads=1))
    optimizer = SGD(0.01, momentum=0.9)
    params, state = model.trees
    task = Task(model.network, optimizer, images, labels, 0, "float32")
    sums = HostSums(world)
    if world.size > 1:
        task = replace(task, share=Share(Cut(8, world.size), world.rank, sums))
    plan = model.backend.training_plan(task, Carry(params, state, optimizer.init(params)))
    batches, rates = [np.arange(batch, dtype=np.int32)] * STEPS, np.full(STEPS, 0.01)
    plan.run(0, batches, rates)
    rounds = []
    for _ in range(ROUNDS):
        sums.traffic.__init__()
        world.exchange(None)
        began = time.perf_counter()
        plan.run(0, batches, rates)
        rounds.append((time.perf_counter() - began, sums.traffic.seconds))
    seconds, waited = sorted(rounds)[ROUNDS // 2]
    if world.rank:
        return None
    return {
        "images_per_second": batch * STEPS / seconds,
        "bytes_per_step": sums.traffic.bytes / STEPS,
        "messages_per_step": sums.traffic.messages / STEPS,
        "waiting": waited / seconds,
    }


def run_on(ranks: int, name: str, batch: int) -> dict:
    own = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{own}{os.pathsep}{os.environ['PATH']}"}
    worker = [sys.executable, __file__, "--work", name, "--batch", str(batch)]
    command = ["mpiexec", "-n", str(ranks), *worker]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def table(result: dict) -> str:
    machine = result["machine"]
    lines = [f"{machine['cores']} cores, load {machine['load']:.1f} when it began.", ""]
    lines.append(
        "| network | ranks | batch | images/s | of one rank | bytes a step | sums | waiting |"
    )
    lines.append("|" + " --- |" * 8)
    one = {row["network"]: row["images_per_second"] for row in result["rows"] if row["ranks"] == 1}
    for row in result["rows"]:
        rate = row["images_per_second"]
        cells = [row["network"], row["ranks"], row["batch"], f"{rate:,.0f}"]
        cells += [f"{rate / one[row['network']]:.2f}", f"{row['bytes_per_step']:,.0f}"]
        cells += [f"{row['messages_per_step']:.0f}", f"{row['waiting']:.0%}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("result", type=Path, nargs="?")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", choices=NETWORKS)
    parser.add_argument("--batch", type=int, default=BATCH)
    given = parser.parse_args()
    if given.work:
        if (found := measure(given.work, given.batch)) is not None:
            print(json.dumps(found), flush=True)
        return
    if given.result is None:
        if given.out:
            result_file.check_writable(given.out)
        rows = []
        load = os.getloadavg()[0]
        for name in NETWORKS:
            sizes = {(ranks, batch) for ranks in RANKS for batch in (BATCH, BATCH * ranks)}
            for ranks, batch in sorted(sizes, key=lambda pair: (pair[1] != BATCH, pair)):
                found = run_on(ranks, name, batch)
                rows.append({"network": name, "ranks": ranks, "batch": batch, **found})
        machine = {"cores": len(os.sched_getaffinity(0)), "load": load, "device": processor()}
        made = {"commit": commit(), "versions": versions("arraycnn", "numpy", "llvmlite", "mpi4py")}
        result = {"machine": machine, **made, "steps": STEPS, "rounds": ROUNDS, "rows": rows}
        if given.out:
            result_file.write(given.out, result)
    else:
        result = result_file.read(given.result)
    print(table(result), "", scaling_model.table(), sep="\n")


if __name__ == "__main__":
    try:
        main()
    except result_file.NoResult as error:
        raise SystemExit(str(error)) from error
