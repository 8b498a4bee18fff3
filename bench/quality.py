"""How well the recipes learn: a seed after the other, each a JSON file under bench/results/quality.

    python bench/quality.py digits                            # all its seeds that are not there yet
    python bench/quality.py best-mnist --seeds 0,1 --data DIR # with DIR/mnist, DIR/fashion-mnist-sample
    nohup nice -n 19 python bench/quality.py best-mnist &     # what is stopped goes on next time
    python bench/quality.py --table                           # docs/PERFORMANCE.md's, of what is there

Each seed is a training as a user starts it, `arraycnn train` in a process of its own, which measures
the test images once, after the last epoch. A recipe is chosen without them:

    python bench/quality.py best-mnist --held-out --seeds 0
    python bench/quality.py best-mnist --held-out --seeds 0 --change "--augment none"

trains on all but 10,000 training images, which stand where the test images would, so that these are not
even read. A seed is refused whose task had other options when another seed of it was trained.
"""

import argparse
import json
import os
import shlex
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean, median, stdev

import numpy as np

import result_file
from arraycnn import Model
from arraycnn.data import DataSet, load_dataset, split_validation
from arraycnn.storage.run_folder import read_config

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results" / "quality"
DATA = ROOT.parent / "shared" / "data"
RUNS = Path(tempfile.gettempdir()) / "arraycnn-quality"
HELD_OUT = 10_000


@dataclass(frozen=True)
class Task:
    """What is trained, on which data, and the goal: a mean of the test accuracy, of so many seeds."""

    title: str
    options: str
    seeds: int
    goal: float | None = None
    data: str | None = None


FASHION = "--recipe fashion"
TASKS = {
    "digits": Task("digits, the first command", "", 10, 0.989),
    "fashion-900": Task("900 Fashion images", FASHION, 10, None, "fashion-mnist-sample"),
    "fashion-900-plain": Task(
        "the same without augmentation, smoothing and averaging",
        f"{FASHION} --augment none --label-smoothing 0 --ema 0",
        10,
        None,
        "fashion-mnist-sample",
    ),
    "fast-mnist": Task("MNIST, fast-mnist", "--recipe fast-mnist", 10, 0.99, "mnist"),
    "best-mnist": Task("MNIST, best-mnist", "--recipe best-mnist", 5, 0.9965, "mnist"),
}


def main() -> None:
    """Train the seeds that are missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--seeds", help="such as 0,3; all that the task has unless said")
    parser.add_argument("--held-out", action="store_true", help="choose a recipe: see above")
    parser.add_argument("--change", default="", help="options of arraycnn train that differ")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets' folders")
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of the trainings under way")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="print what --results holds")
    args = parser.parse_args()
    if unknown := set(args.tasks) - set(TASKS):
        parser.error(f"{', '.join(unknown)}: is none of {', '.join(TASKS)}")
    if args.held_out and any(TASKS[name].data is None for name in args.tasks):
        parser.error("--held-out: is for tasks whose images are files, got digits")
    if args.table:
        print(table(read(args.results)))
        return
    for name in args.tasks:
        seeds = range(TASKS[name].seeds) if args.seeds is None else map(int, args.seeds.split(","))
        for seed in seeds:
            one = train(name, seed, args)
            print(f"{name} {seed}: {one['accuracy']:.4%}  {one['seconds']:.1f} s", flush=True)


def train(name: str, seed: int, args: argparse.Namespace) -> dict:
    """The result of a seed: read where its file is there, else trained, and written."""
    task = TASKS[name]
    label = name + ("-held-out" if args.held_out else "") + _slug(args.change)
    options = settings(f"{task.options} {args.change}")
    file = args.results / f"{label}-{seed}.json"
    for other in sorted(args.results.glob(f"{label}-[0-9]*.json")):
        found = result_file.read(other)
        if found["options"] != list(options):
            raise SystemExit(
                f"{other}: was trained with other options; delete it, or name a --change"
            )
        if other == file:
            return found
    result_file.check_writable(file)
    run = args.runs / f"{label}-{seed}"
    command = [sys.executable, "-m", "arraycnn", "train", "--backend", "numpy"]
    command += ["--threads", str(args.threads)]
    if (run / "config.json").exists():
        words = ["--resume", str(run)]
    else:
        given = shlex.split(f"{task.options} {args.change}")
        words = [*given, *data_of(task, args), "--seed", str(seed), "--out", str(run)]
    before, load = os.times(), os.getloadavg()[0]
    subprocess.run([*command, *words], check=True)
    after = os.times()
    summary = json.loads((run / "summary.json").read_text())
    model = Model.load(run / "last.npz")
    used = (
        after.children_user - before.children_user + after.children_system - before.children_system
    )
    result = {
        "task": name,
        "seed": seed,
        "held_out": args.held_out,
        "change": args.change,
        "options": list(options),
        "accuracy": summary["test_accuracy"],
        "loss": summary["test_loss"],
        "epochs": summary["epochs"],
        "steps": model.steps_done,
        "parameters": sum(array.size for array in model.parameters.values()),
        "seconds": summary["seconds"],
        # Of the whole process; not known of a training that was stopped between.
        "cpu_seconds": None if words[0] == "--resume" else used,
        "load_before": load,
        "threads": args.threads,
        "finished": time.strftime("%Y-%m-%d"),
        **{key: summary[key] for key in ("commit", "device", "versions")},
        "config": read_config(run),
    }
    result_file.write(file, result | {"config": _portable(result["config"])})
    return result


@cache
def settings(line: str) -> tuple[str, ...]:
    """The options in full, as --show has them, so that a recipe that has changed is seen."""
    options = shlex.split(line)
    if "--recipe" in options:
        shown = [sys.executable, "-m", "arraycnn", "train", *options, "--show"]
        done = subprocess.run(shown, check=True, capture_output=True, text=True)
        options = shlex.split(done.stdout)[2:]
    return tuple(options)


def data_of(task: Task, args: argparse.Namespace) -> list[str]:
    """Options for where the images lie."""
    if task.data is None:
        return []
    folder = args.data / task.data
    if args.held_out:
        folder = held_out(
            load_dataset("mnist" if task.data == "mnist" else "fashion-mnist", folder), args.runs
        )
    return ["--data-dir", str(folder)]


def held_out_count(count: int) -> int:
    """How many of ``count`` training images are held out: 10,000, of few a seventh."""
    return HELD_OUT if count >= 2 * HELD_OUT else count // 7


def held_out(data: DataSet, runs: Path) -> Path:
    """A folder of IDX files, whose test images are training images that are held out."""
    folder = runs / f"{data.name}-held-out"
    folder.mkdir(parents=True, exist_ok=True)
    count = len(data.train_labels)
    kept, others = split_validation(data.train_labels, held_out_count(count) / count, 0)
    for part, chosen in (("train", kept), ("t10k", others)):
        for kind, array in (("images", data.train_images[..., 0]), ("labels", data.train_labels)):
            array = np.asarray(array)[chosen].astype(np.uint8)
            head = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            file = folder / f"{part}-{kind}-idx{array.ndim}-ubyte"
            file.write_bytes(head + array.tobytes())
    return folder


def read(folder: Path) -> list[dict]:
    """All results of a folder, in order."""
    return [result_file.read(path) for path in sorted(folder.glob("*.json"))]


def table(results: list[dict]) -> str:
    """Markdown: of each task the accuracy on the test images, then what was chosen on held-out ones."""
    lines = [
        "| | parameters | seeds | mean | standard deviation | standard error | goal | s | CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    groups: dict[tuple, list[dict]] = {}
    for one in results:
        groups.setdefault((one["held_out"], one["task"], one["change"]), []).append(one)
    for name in TASKS:
        groups.setdefault((False, name, ""), [])  # of which every seed is missing
    order = list(TASKS)
    for (is_held_out, name, change), found in sorted(
        groups.items(), key=lambda item: (item[0][0], order.index(item[0][1]), item[0][2])
    ):
        lines.append(_row(TASKS[name], found, is_held_out, change))
    return "\n".join(lines)


def _row(task: Task, found: list[dict], is_held_out: bool, change: str) -> str:
    accuracies = [one["accuracy"] for one in found]
    spread = stdev(accuracies) if len(found) > 1 else None
    title = (
        task.title
        + (", held-out images" if is_held_out else "")
        + (f", `{change}`" if change else "")
    )
    there = {one["seed"] for one in found}
    missing = [] if is_held_out or change else sorted(set(range(task.seeds)) - there)
    seeds = str(len(found)) + (f" (missing {', '.join(map(str, missing))})" if missing else "")
    if not found:
        return f"| {title} | | 0 (missing all {task.seeds}) | | | | {_percent(task.goal)} | | |"
    used = [one["cpu_seconds"] for one in found if one["cpu_seconds"] is not None]
    goal = "" if is_held_out or change else _percent(task.goal)
    cells = [
        title,
        f"{found[0]['parameters']:,}",
        seeds,
        f"{mean(accuracies):.3%}",
        "" if spread is None else f"{spread:.3%}",
        "" if spread is None else f"{spread / len(found) ** 0.5:.3%}",
        goal,
        f"{median(one['seconds'] for one in found):,.1f}",
        f"{median(used):,.1f}" if used else "",
    ]
    return f"| {' | '.join(cells)} |"


def _percent(goal: float | None) -> str:
    return "" if goal is None else f"{goal:.2%}"


def _slug(change: str) -> str:
    words = "".join(letter if letter.isalnum() else " " for letter in change).split()
    return f"-{'-'.join(words)}" if words else ""


def _portable(config: dict) -> dict:
    """Without the places of this machine."""
    return {name: value for name, value in config.items() if name != "data_dir"}


if __name__ == "__main__":
    try:
        main()
    except result_file.NoResult as error:
        raise SystemExit(str(error)) from error
