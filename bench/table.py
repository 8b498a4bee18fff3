"""docs/PERFORMANCE.md's tables, of what bench/cpu.py or bench/gpu.py wrote: bench/table.py FILE.json"""

import json
import sys
from pathlib import Path
from statistics import median

from nets import NETS as SPECS

NETS = {"a": "tutorial's network", "b": "PyTorch's basic MNIST network"}
GPU_NETS = NETS | {"cifar": "64-128-256 on 32x32x3"}
OURS = {"arraycnn fast": "with numba", "arraycnn numpy": "plain NumPy"}
SMALLEST_SHARE = 0.03
"""Kernels that take less of a step are not named."""


def cpu_tables(result):
    """Markdown of every section that ``result`` has."""
    sections = {
        "Training, images a second:": training_table(result),
        "Inference, images a second:": inference_table(result),
        "Peak memory of a process that trains in batches of 256, MiB:": memory_table(result),
        "Training on several threads, images a second:": threads_table(result),
        "Training in batches of several sizes, microseconds an image:": batches_table(result),
        "Where a training step's time goes, microseconds an image on one thread:": profile_table(
            result
        ),
        "From the shell to a trained model of the digits, seconds:": cold_table(result),
    }
    return "\n\n".join(f"{title}\n\n{table}" for title, table in sections.items() if table)


def training_table(result):
    sgemm = result.get("sgemm_gflops", {}).get(str(result["threads"]))
    rows = []
    for net, batch, rates in _cells(result, "train"):
        fastest = max((median(rates[peer]) for peer in OURS if peer in rates), default=0.0)
        share = f"{fastest * SPECS[net].training_flop / sgemm / 1e9:.0%}" if sgemm else ""
        rows.append([NETS[net], batch, *_against_best(rates, max), share])
    return _table(["network", "batch", *OURS.values(), "best peer", "share of sgemm"], rows)


def inference_table(result):
    rows = [
        [NETS[net], batch, *_against_best(rates, max)]
        for net, batch, rates in _cells(result, "infer")
    ]
    return _table(["network", "batch", *OURS.values(), "best peer"], rows)


def memory_table(result):
    rows = [
        [NETS[cell.split()[0]], *_against_best({name: [mib] for name, mib in peaks.items()}, min)]
        for cell, peaks in result.get("peak_mib", {}).items()
    ]
    return _table(["network", *OURS.values(), "best peer"], rows)


def threads_table(result):
    cells = result.get("threads_images_per_second", {})
    counts = _keys([by_count for peers in cells.values() for by_count in peers.values()])
    rows = []
    for cell, peers in cells.items():
        net, batch = cell.split()
        for peer, by_count in peers.items():
            one = by_count.get("1")
            columns = [_against(by_count.get(count), one) for count in counts]
            rows.append([NETS[net], batch, OURS[peer], *columns])
    return _table(["network", "batch", "kernels", *counts], rows)


def batches_table(result):
    cells = result.get("batches_images_per_second", {})
    sizes = _keys([by_batch for peers in cells.values() for by_batch in peers.values()])
    rows = []
    for net, peers in cells.items():
        for peer, by_batch in peers.items():
            costs = [
                f"{1e6 / median(by_batch[size]):,.1f}" if by_batch.get(size) else ""
                for size in sizes
            ]
            rows.append([NETS[net], OURS[peer], *costs])
    return _table(["network", "kernels", *sizes], rows)


def profile_table(result):
    rows = []
    for cell, peers in result.get("profile", {}).items():
        net, batch = cell.split()
        for peer, found in peers.items():
            total = sum(row["microseconds"] for row in found["rows"])
            parts = sorted(found["rows"], key=lambda row: -row["microseconds"])
            named = [
                f"{row['kernel']} {'x'.join(map(str, row['shape']))} {row['microseconds'] / total:.0%}"
                for row in parts
                if row["microseconds"] >= SMALLEST_SHARE * total
            ]
            step = [f"{found['step']:,.1f}", f"{total:,.1f}", ", ".join(named)]
            rows.append([NETS[net], batch, OURS[peer], *step])
    return _table(["network", "batch", "kernels", "a step", "each kernel alone", "of these"], rows)


def cold_table(result):
    seconds = result.get("cold_seconds", {})
    torch = seconds.get("import torch")
    rows = [[f"`{name}`", _against(rounds, torch, 2)] for name, rounds in seconds.items()]
    return _table(["command", "time"], rows)


def _cells(result, wanted):
    """(net, batch, {peer: rounds}) of the rates of that kind."""
    for cell, rates in result.get("images_per_second", {}).items():
        kind, net, batch = cell.split()
        if kind == wanted:
            yield net, batch, {name: rounds for name, rounds in rates.items() if rounds}


def _against_best(rounds, better):
    """Ours, each with its ratio to the best of the others, and that one."""
    others = {name: median(found) for name, found in rounds.items() if name not in OURS}
    best = better(others, key=others.get, default=None)
    ours = [_against(rounds.get(name), rounds.get(best)) for name in OURS]
    return [*ours, f"{best} {_spread(rounds[best])}" if best else ""]


def _against(rounds, others, digits=0):
    """`_spread` of ``rounds`` and their ratio to ``others``; of either only where it was measured."""
    if not rounds:
        return ""
    ratio = f", {median(rounds) / median(others):.2f}x" if others else ""
    return _spread(rounds, digits) + ratio


def _keys(dicts):
    """Those of all, in order."""
    return list(dict.fromkeys(key for one in dicts for key in one))


def _spread(rounds, digits=0):
    """The median, and the lowest and the highest of several."""
    middle, *ends = (f"{x:,.{digits}f}" for x in (median(rounds), min(rounds), max(rounds)))
    return middle if len(rounds) == 1 else f"{middle} ({ends[0]}-{ends[1]})"


def _table(head, rows):
    """Markdown; nothing where there are no rows."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows else ""


PEERS = {
    "torch-eager": "torch eager",
    "torch-compile": "torch.compile",
    "torch-graph": "torch CUDA graph",
    "jax-jit": "JAX jit",
    "jax-scan": "JAX scan",
}


def gpu_table(result):
    """Markdown: an epoch of training, ours and how many times longer each peer takes."""
    lines = [
        f"| network | products | batch | an epoch | images/s | {' | '.join(PEERS.values())} |",
        "|---" * (5 + len(PEERS)) + "|",
    ]
    for cell, measured in result["cells"].items():
        section, net, precision, batch = cell.split()
        if section != "train":
            continue
        medians = {
            name: median(found["rounds"])
            for name, found in measured["contenders"].items()
            if found["rounds"]
        }
        ours = medians.get("arraycnn")
        if ours is None:
            continue
        ratios = [f"{medians[name] / ours:.2f}x" if name in medians else "" for name in PEERS]
        lines.append(
            f"| {GPU_NETS[net]} | {precision} | {batch} | {ours * 1e3:.2f} ms "
            f"| {measured['images'] / ours:,.0f} | {' | '.join(ratios)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    found = json.loads(Path(sys.argv[1]).read_text())
    if found.get("dry_run"):
        raise SystemExit("a dry run has no figures of a device")
    print(gpu_table(found) if "cells" in found else cpu_tables(found))
