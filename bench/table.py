"""README's tables, of what bench/cpu.py or bench/gpu.py wrote: python bench/table.py FILE.json"""

import json
import sys
from pathlib import Path
from statistics import median

NETS = {"a": "tutorial's network", "b": "PyTorch's basic MNIST network"}
GPU_NETS = NETS | {"cifar": "64-128-256 on 32x32x3"}
OURS = ("arraycnn fast", "arraycnn numpy")


def table(result):
    """Markdown: images a second of training, ours against the best peer of each cell."""
    lines = [
        "| network | batch | with numba | plain NumPy | best peer |",
        "|---|---|---|---|---|",
    ]
    for cell, rates in result["images_per_second"].items():
        kind, net, batch = cell.split()
        if kind != "train":
            continue
        medians = {name: median(rounds) for name, rounds in rates.items() if rounds}
        best = max((n for n in medians if n not in OURS), key=medians.get)
        ours = [
            f"{medians[name]:,.0f} ({medians[name] / medians[best]:.2f}x)"
            if name in medians
            else ""
            for name in OURS
        ]
        lines.append(
            f"| {NETS[net]} | {batch} | {' | '.join(ours)} | {best} {medians[best]:,.0f} |"
        )
    return "\n".join(lines)


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
    print(gpu_table(found) if "cells" in found else table(found))
