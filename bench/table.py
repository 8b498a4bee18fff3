"""README's CPU table, from a JSON of bench/cpu.py: python bench/table.py bench/results/FILE.json"""

import json
import sys
from pathlib import Path
from statistics import median

NETS = {"a": "tutorial's network", "b": "PyTorch's basic MNIST network"}
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


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text())))
