"""Training and inference on a CUDA device against PyTorch and JAX: one command, one table, one JSON.

    pip install ".[cuda13]" torch "jax[cuda13]" && python bench/gpu.py
    python bench/gpu.py --nets a --batches 64 --contenders arraycnn,torch-eager
    python bench/gpu.py --minutes 9     # ends within them; the same command goes on where it stopped
    python bench/gpu.py --plan          # the calls for a device lent for half an hour: goals first
    python bench/gpu.py --dry-run       # all of it on the CPU, smallest sizes; nothing is written

Every contender runs in a process of its own; only one works at a time. Before it is timed, the losses
of its first steps are compared with those of NumPy. Rounds are interleaved (all contenders once, then
again), so that a device's slow moments fall on all; figures are medians over the rounds. With
--minutes, whoever is not ready in time is stopped, and measured by the next call; who is stopped by
two is not begun again. Sections:

    train     an epoch, with data set and labels on the device
    latency   one image, from the host and back
    memory    the device's memory that an epoch needs besides the library's own
    cold      from the start of the process to the end of the first step, with empty and full caches
    kernels   each kernel of ours against the rate of a copy or of a large product

Each contender's result is written to bench/results/DEVICE-DATE.json at once. Ends with 2 where no
device answers or the file cannot be written, and with 3 where cells are left.
"""

import argparse
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from gpu_call import Call, Stopped
from gpu_cells import CONTENDERS, NETS_MEASURED, SECTIONS, TOLERANCES, cells, name_of
from gpu_gate import CHECKED_STEPS, named
from gpu_record import begun
from gpu_rounds import Bench
from gpu_worker import start, work
from result_file import NoResult

NO_DEVICE, LEFT_OVER = 2, 3
SAME_IN_A_DRY_RUN = ("torch-autotune", "torch-graph-16")
"""On the CPU as another contender is: that is run."""


class Nothing(Exception):
    """Why nothing can be measured."""


def parse(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sections", type=names(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--nets", type=names(NETS_MEASURED), default=list(NETS_MEASURED))
    parser.add_argument("--batches", type=numbers)
    parser.add_argument("--precisions", type=names(tuple(TOLERANCES)), default=list(TOLERANCES))
    parser.add_argument("--contenders", type=names(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=7, help="at least 7 for a result to publish")
    parser.add_argument("--images", type=int, default=60_000, help="of an epoch, about")
    parser.add_argument("--minutes", type=minutes, default=float("inf"), help="end within them")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a dry run")
    parser.add_argument(
        "--out", type=Path, help="JSON file; default bench/results/DEVICE-DATE.json"
    )
    parser.add_argument(
        "--goals", action="store_true", help="no cell but what has a goal, and norms"
    )
    parser.add_argument("--plan", action="store_true", help="print the calls for a lent device")
    parser.add_argument(
        "--dry-run", action="store_true", help="all of it on the CPU, smallest sizes"
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--inputs", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cold", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.dry_run:
        options.device, options.out, options.rounds, options.images = "cpu", None, 1, 8
        options.nets, options.batches, options.precisions = ["a"], [4], ["fp32"]
        wanted = [name for name in options.contenders if name not in SAME_IN_A_DRY_RUN]
        options.contenders = [name for name in wanted if can_run(name)]
    options.default_batches = options.batches is None
    options.batches = options.batches or [64, 256, 1024]
    # Each is a process or two: of a dry run, ours shows the way.
    options.alone = options.contenders[:1] if options.dry_run else options.contenders
    if options.goals:
        options.default_batches, options.batches = True, [64]
    return options


def can_run(contender):
    """Whether its library is installed."""
    return find_spec(contender.split("-")[0]) is not None


CALLS, MINUTES_A_CALL = 3, 8.5


def plan():
    """The calls that measure what has goals on a device lent for half an hour, ten minutes a call."""
    together = (
        f"{CALLS} calls of at most {MINUTES_A_CALL} minutes, {CALLS * MINUTES_A_CALL:g} in all"
    )
    call = (
        f"    python bench/gpu.py --goals --rounds 7 --minutes {MINUTES_A_CALL} --out goals.json\n"
    )
    return (
        f"{together}; each adds to goals.json, which has to lie there again before the next:\n"
        f"{call * CALLS}A bare machine lacks packages: bench/carry prepares a folder of wheels for it."
    )


def names(allowed):
    def parsed(text):
        chosen = text.split(",")
        for name in chosen:
            if name not in allowed:
                message = f"takes of {', '.join(allowed)}, got {name!r}"
                raise argparse.ArgumentTypeError(message)
        return chosen

    return parsed


def minutes(text):
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not found > 0:
        message = f"takes a number above 0, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return found


def numbers(text):
    try:
        found = [int(number) for number in text.split(",")]
    except ValueError:
        found = [0]
    if min(found) < 1:
        message = f"takes whole numbers of at least 1, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return found


def write_inputs(options, folder, nets):
    """What every contender is given: the same bytes and first parameters, for each network."""
    import numpy as np

    from nets import dataset, initial_parameters

    for net in nets:
        images, labels = dataset(net, max(options.images, CHECKED_STEPS * min(options.batches)))
        parameters = named(initial_parameters(net))
        np.savez(folder / f"{net}.npz", images=images, labels=labels, **parameters)


def main(arguments=None):
    began = time.monotonic()
    options = parse(arguments)
    call = Call(options.minutes, began)
    if options.plan:
        print(plan())
        return 0
    if options.worker:
        work(
            *(options.worker, options.precisions[0], options.device, options.inputs),
            is_cold=options.cold,
        )
        return 0
    least = 4 if options.dry_run else 64
    options.images = max(options.images, max(options.batches), least)
    with tempfile.TemporaryDirectory() as name:
        try:
            return measure(options, Path(name), call)
        except Nothing as why:
            print(f"bench/gpu.py: nothing was measured: {why}", file=sys.stderr)
            return NO_DEVICE


def measure(options, folder, call):
    """Measure what is left, as far as the call's time goes; the exit code."""
    try:
        probe = start(options, "arraycnn", "fp32", folder, limit=call.limit())
    except Stopped as stopped:
        raise Nothing(stopped) from stopped
    probe.close(call.closing())
    if probe.error:
        raise Nothing(probe.error)
    try:
        record = begun(options, probe.hello)
        record.result["bus_id"] = probe.hello.get("bus_id")
        record.write()  # before any minute is spent: it can be written
    except NoResult as error:
        raise Nothing(f"{error}; choose another --out") from error
    result, path = record.result, record.path
    kind = "a dry run, of no device" if result["dry_run"] else result["device"]
    of = f"commit {result['commit']}" if result["commit"] else "an unknown commit"
    medians = f"medians of {options.rounds} rounds; ratios are to arraycnn"
    print(f"{kind}; of {of}; {medians}", flush=True)
    bench, wanted = Bench(options, record, folder, call), cells(options)
    write_inputs(options, folder, {net for _, net, _, _ in bench.left(wanted)})
    left = bench.run(wanted)
    print("nothing is written" if path is None else f"written to {path}")
    if left:
        print(f"{len(left)} cells are left: the same command goes on with {name_of(left[0])}")
    if options.dry_run and record.lacks():
        return 1
    return LEFT_OVER if left else 0


if __name__ == "__main__":
    raise SystemExit(main())
