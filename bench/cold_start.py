"""From the shell to a trained model of the digits, against what importing PyTorch alone takes."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

TRAIN = (str(Path(sys.executable).parent / "arraycnn"), "train", "--out", "run")
COMMANDS = {
    "import torch": (sys.executable, "-c", "import torch"),
    "arraycnn train": TRAIN,
    "arraycnn train --no-fast": (*TRAIN, "--backend", "numpy", "--no-fast"),
}
WANTED = 0.97
"""Of the test images, for a model to count as trained."""


def cold_start(options):
    """({command: [seconds of each round]}, {command: why it was not measured})."""
    seconds, errors = {name: [] for name in COMMANDS}, {}
    for number in range(options.rounds + 1):
        for name, command in COMMANDS.items():
            passed, error = _run(command)
            if error:
                errors[name] = error
            elif number:  # the first time fills the caches
                seconds[name].append(passed)
    for name, rounds in seconds.items():
        if rounds:
            print(f"cold {name} {median(rounds):.2f} s ({min(rounds):.2f}-{max(rounds):.2f})")
    return {name: rounds for name, rounds in seconds.items() if rounds}, errors


def _run(command):
    """(seconds, what was wrong)."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        passed = time.perf_counter() - began
        if done.returncode:
            return passed, done.stderr.strip().splitlines()[-1]
        summary = Path(folder) / "run" / "summary.json"
        if summary.exists():
            accuracy = json.loads(summary.read_text())["test_accuracy"]
            if accuracy < WANTED:
                return passed, f"{accuracy:.1%} of the test images, not {WANTED:.0%}"
    return passed, None
