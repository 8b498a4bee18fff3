"""Training and inference on a CUDA device against PyTorch and JAX: one command, one table, one JSON.

    pip install ".[cuda13]" torch "jax[cuda13]" && python bench/gpu.py
    python bench/gpu.py --nets a --batches 64 --contenders arraycnn,torch-eager
    python bench/gpu.py --minutes 9     # stops in time; the same command goes on where it stopped
    python bench/gpu.py --device cpu --nets a --images 64 --batches 16 --rounds 2     # a dry run

Every contender runs in a process of its own; only one works at a time. Before it is timed, the losses
of its first steps are compared with those of NumPy. Rounds are interleaved (all contenders once, then
again), so that a device's slow moments fall on all; figures are medians over the rounds. Sections:

    train     an epoch, with data set and labels on the device
    latency   one image, from the host and back
    memory    the device's memory that an epoch needs besides the library's own
    cold      from the start of the process to the end of the first step, with empty and full caches
    kernels   each kernel of ours against the rate of a copy or of a large product

Each finished cell is written to bench/results/DEVICE-DATE.json at once. Ends with 2 where no device
answers, and with 3 where cells are left.
"""

import argparse
import json
import os
import re
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from statistics import median

from harness import HERE, Worker, commit, processor, serve, versions
from nets import H200, columns_bytes, floor_seconds

CONTENDERS = (
    *("arraycnn", "arraycnn-eager", "torch-eager", "torch-compile", "torch-graph"),
    *("torch-graph-16", "jax-jit", "jax-scan"),
)
SECTIONS = ("train", "latency", "memory", "cold", "kernels")
FULL = ("train", "kernels")  # in each precision and batch size; the others in the first of each
PACKAGES = ("arraycnn", "numpy", "cupy-cuda13x", "cupy-cuda12x", "torch", "jax")
SECONDS = 0.3  # of a round: enough for a slow step to drown
CHECKED_STEPS = 5
LONGEST = 300  # seconds that one answer may take, compiling included
TOLERANCES = {"fp32": 2e-4, "tf32": 5e-3, "bf16": 3e-2}  # of a loss, relative
NO_DEVICE, LEFT_OVER = 2, 3

# How many times faster than each contender ours is to be.
GOALS = {
    "train a fp32 64": {
        "torch-eager": 40,
        "torch-compile": 8,
        "torch-graph": 5,
        "jax-jit": 10,
        "jax-scan": 5,
        "arraycnn-eager": 20,
    },
    "train a fp32 1024": {
        "torch-eager": 15,
        "torch-compile": 4,
        "torch-graph": 3,
        "jax-jit": 5,
        "jax-scan": 3,
    },
    "train b tf32 64": {
        "torch-eager": 10,
        "torch-compile": 2,
        "torch-graph": 2,
        "jax-jit": 2.5,
        "jax-scan": 2,
    },
    "train b fp32 64": {
        "torch-eager": 4,
        "torch-compile": 1.1,
        "torch-graph": 1.1,
        "jax-jit": 1.2,
        "jax-scan": 1.1,
    },
    "train b bf16 1024": {
        "torch-eager": 2,
        "torch-compile": 1.2,
        "torch-graph": 1.2,
        "jax-jit": 1.2,
        "jax-scan": 1.2,
    },
    "train cifar bf16 512": {
        "torch-eager": 1.5,
        "torch-compile": 1,
        "torch-graph": 1,
        "jax-jit": 1,
        "jax-scan": 1,
    },
    **{
        f"latency {net} fp32 1": {
            "torch-eager": 10,
            "torch-compile": 3,
            "torch-graph": 2,
            "jax-jit": 5,
        }
        for net in "ab"
    },
    "cold a fp32 64": {
        "torch-eager": 1,
        "torch-compile": 10,
        "torch-graph": 1,
        "jax-jit": 5,
        "jax-scan": 5,
    },
}
# How many times its floor a step may take.
FLOOR_GOALS = {"train a fp32 64": 2.0, "train b tf32 256": 2.3}


# -- what is to be measured --------------------------------------------------------------------------


def cells(options):
    """(section, net, precision, batch) of each cell: those with a goal first."""
    found = [
        (section, net, precision, batch)
        for section in options.sections
        for net in options.nets
        for precision in (options.precisions if section in FULL else options.precisions[:1])
        for batch in (options.batches if section in FULL else options.batches[:1])
    ]
    found = [(*cell[:3], 1) if cell[0] == "latency" else cell for cell in found]
    wanted = [*GOALS, *FLOOR_GOALS]
    extra = [tuple(goal.split(" ")) for goal in GOALS]
    found += [
        (section, net, precision, int(batch))
        for section, net, precision, batch in extra
        if options.default_batches and section in options.sections and net in options.nets
        and precision in options.precisions
    ]  # fmt: skip

    def place(cell):
        section, _, precision, _ = cell  # contenders are started anew for each precision
        return (
            name_of(cell) not in wanted,
            SECTIONS.index(section),
            options.precisions.index(precision),
        )

    return sorted(dict.fromkeys(found), key=place)


def name_of(cell):
    return " ".join(map(str, cell))


# -- the workers -------------------------------------------------------------------------------------


def start(options, contender, precision, folder, caches=None):
    """``contender`` in its own process.

    With ``caches``, a folder for what it compiles, it imports nothing before it is asked to work.
    """
    environment = os.environ | {
        "JAX_PLATFORMS": options.device,
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "PYTHONWARNINGS": "ignore",
    }
    if caches is not None:
        environment |= {
            "CUPY_CACHE_DIR": f"{caches}/cupy",
            "TORCHINDUCTOR_CACHE_DIR": f"{caches}/inductor",
            "TRITON_CACHE_DIR": f"{caches}/triton",
            "JAX_COMPILATION_CACHE_DIR": f"{caches}/jax",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "CUDA_CACHE_PATH": f"{caches}/cuda",
        }
    command = [
        *(sys.executable, __file__, "--worker", contender, "--device", options.device),
        *("--precisions", precision, "--inputs", str(folder)),
        *(() if caches is None else ("--cold",)),
    ]
    return Worker(command, environment)


def work(contender, precision, device, folder, is_cold):
    """A worker's side: measure what it is asked for."""
    import numpy as np

    import contenders

    built, machine, memo = {}, None, {}

    def inputs(net, count):
        """(images, labels, parameters) as every contender has them."""
        with np.load(folder / f"{net}.npz") as arrays:
            parameters = [
                [arrays[f"{layer} {part}"] for part in range(2) if f"{layer} {part}" in arrays]
                for layer in range(int(arrays["layers"]))
            ]
            return arrays["images"][:count], arrays["labels"][:count], parameters

    def made(net, batch, images):
        key = net, batch, images
        if key not in built:
            built.clear()  # one set and one network at a time on the device
            given = inputs(net, images)
            build = contenders.CONTENDERS[contender]
            built[key] = build(net, batch, *given, precision, device)
        return built[key]

    def train(net, batch, images, seconds):
        trained = made(net, batch, images)
        wanted = 1
        if (net, batch) in memo:
            wanted = max(1, min(1000, round(seconds / memo[net, batch])))
        epochs = trained.epochs(wanted)
        times = [took for took, _ in epochs]
        memo[net, batch] = median(times)
        losses = [float(loss) for loss in epochs[0][1][:CHECKED_STEPS]]
        return {"seconds": median(times), "epochs": wanted, "losses": losses}

    def latency(net, seconds):
        trained, images = made(net, 1, 64), inputs(net, 64)[0]
        times, began = [], time.perf_counter()
        while time.perf_counter() - began < seconds or len(times) < 5:
            image = np.ascontiguousarray(images[len(times) % 64][None])
            start = time.perf_counter()
            result = trained.predict(image)
            times.append(time.perf_counter() - start)
            if not np.isfinite(result).all():
                message = f"a prediction is not finite: {result}"
                raise RuntimeError(message)
        return {"seconds": median(times)}

    def predictions(net):
        trained, images = made(net, 1, 64), inputs(net, 64)[0]
        return {"probabilities": np.asarray(trained.predict(images[:1])).tolist()}

    def rates():
        return {"rates": the_machine().rates()}

    def kernels(net, batch, rates):
        from gpu_kernels import kernel_rows

        return {"rows": kernel_rows(the_machine(), net, batch, precision, rates)}

    def the_machine():
        nonlocal machine
        import gpu_kernels

        machine = machine or (gpu_kernels.OnCPU() if device == "cpu" else gpu_kernels.OnDevice())
        return machine

    def cold(net, batch, began):
        made(net, batch, batch).epochs(1)
        return {"seconds": time.time() - began}

    def hello():
        return {} if is_cold else contenders.describe(contender, device)

    commands = (hello, train, latency, predictions, rates, kernels, cold)
    named = {function.__name__: function for function in commands}
    serve(lambda command, **arguments: named[command](**arguments))


# -- the measurement ---------------------------------------------------------------------------------


class Bench:
    """Measures cell after cell, and writes down each.

    Attributes
    ----------
    result : dict
        What goes into the JSON.
    """

    def __init__(self, options, result, path, folder):
        self._options, self.result, self._path, self._folder = options, result, path, folder
        self._workers = {}
        self._precision = None
        self._began = time.monotonic()
        self._longest = 0.0

    def run(self, wanted):
        """Measure ``wanted`` cells that have not been yet, as far as there is time; those left."""
        left = [cell for cell in wanted if name_of(cell) not in self.result["cells"]]
        while left:
            spent = time.monotonic() - self._began
            limit = self._options.minutes * 60
            if spent + self._longest > limit and spent > 0:
                break
            cell = left[0]
            began = time.monotonic()
            measured = getattr(self, f"_{cell[0]}")(*cell[1:])
            self._longest = max(self._longest, time.monotonic() - began)
            self.result["cells"][name_of(cell)] = measured
            self.result["left"] = [name_of(other) for other in left[1:]]
            self._write()
            print("\n".join(lines_of(name_of(cell), measured, self.result)), flush=True)
            left = left[1:]
        self._close()
        return left

    def _write(self):
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".tmp")
        fresh.write_text(json.dumps(self.result, indent=1) + "\n")
        fresh.replace(self._path)

    def _close(self):
        for worker in self._workers.values():
            worker.close()
        self._workers = {}

    def _team(self, precision, names=None):
        """The contenders' workers by name; those that cannot run are noted, once."""
        if precision != self._precision:
            self._close()
            self._precision = precision
        for name in names or self._options.contenders:
            if name in self._workers or name in self.result["not_measured"]:
                continue
            worker = start(self._options, name, precision, self._folder)
            if worker.error:
                self._note(name, worker.error)
                worker.close()
            else:
                self.result["software"].setdefault(name, worker.hello)
                self._workers[name] = worker
        return {name: self._workers[name] for name in names or self._options.contenders
                if name in self._workers}  # fmt: skip

    def _note(self, what, error):
        self.result["not_measured"][what] = error
        print(f"not measured: {what}: {error}", flush=True)

    def _images(self, net, batch):
        return max(1, self._options.images // batch) * batch

    def _train(self, net, precision, batch):
        name, images = name_of(("train", net, precision, batch)), self._images(net, batch)
        expected = reference_losses(self._folder, net, images, batch)
        given = {"net": net, "batch": batch, "images": images, "seconds": SECONDS}
        cell = {}
        ready = {}
        for contender, worker in self._team(precision).items():
            first = worker.ask(limit=LONGEST, command="train", **given)
            error = first.get("error") or disagreement(first["losses"], expected, precision)
            if not error:  # once more: what is compiled when something comes again
                error = worker.ask(limit=LONGEST, command="train", **given).get("error")
            if error:
                self._note(f"{contender}, {name}", error)
                continue
            ready[contender] = worker
            cell[contender] = {
                "first_epoch": first["seconds"],
                "losses": first["losses"],
                "rounds": [],
            }
        self._rounds(ready, cell, command="train", **given)
        return {"images": images, "steps": images // batch, "contenders": cell}

    def _latency(self, net, precision, batch):
        name = name_of(("latency", net, precision, batch))
        cell, ready, expected = {}, {}, None
        for contender, worker in self._team(precision).items():
            answer = worker.ask(limit=LONGEST, command="predictions", net=net)
            if "error" not in answer:
                expected = expected or answer["probabilities"]
                gaps = zip(answer["probabilities"][0], expected[0], strict=True)
                widest = max(abs(a - b) for a, b in gaps)
                if widest > 10 * TOLERANCES[precision]:
                    answer = {"error": f"its probabilities are {widest:.2g} away from ours"}
            if "error" not in answer:
                answer = worker.ask(limit=LONGEST, command="latency", net=net, seconds=SECONDS)
            if "error" in answer:
                self._note(f"{contender}, {name}", answer["error"])
                continue
            ready[contender], cell[contender] = worker, {"rounds": []}
        self._rounds(ready, cell, command="latency", net=net, seconds=SECONDS)
        return {"contenders": cell}

    def _rounds(self, ready, cell, **command):
        for _ in range(self._options.rounds):
            for contender, worker in list(ready.items()):
                answer = worker.ask(limit=LONGEST, **command)
                if "error" in answer:
                    self._note(contender, answer["error"])
                    del ready[contender]
                else:
                    cell[contender]["rounds"].append(answer["seconds"])

    def _memory(self, net, precision, batch):
        """With one process at a time: what the device has in use over what it had before."""
        from device_memory import DeviceMemory, Peak

        self._close()
        name = name_of(("memory", net, precision, batch))
        cell, images = {}, self._images(net, batch)
        result = {"images": images, "columns": columns_bytes(net, batch), "contenders": cell}
        try:
            on_cpu = self._options.device == "cpu"
            used = (lambda: 0) if on_cpu else DeviceMemory(self.result["bus_id"]).used
        except OSError as error:
            self._note(name, str(error))
            return result
        for contender in self._options.contenders:
            before = used()
            workers = self._team(precision, [contender])
            if contender in workers:
                ready = used()
                with Peak(used) as peak:
                    answer = workers[contender].ask(
                        *(LONGEST,),
                        command="train",
                        net=net,
                        batch=batch,
                        images=images,
                        seconds=SECONDS,
                    )
                if "error" in answer:
                    self._note(f"{contender}, {name}", answer["error"])
                else:
                    cell[contender] = {
                        "bytes": peak.bytes - ready,
                        "library_bytes": ready - before,
                    }
            self._close()
        return result

    def _cold(self, net, precision, batch):
        self._close()
        cell = {}
        usable = [c for c in self._options.contenders if c not in self.result["not_measured"]]
        for contender in usable:
            with tempfile.TemporaryDirectory() as caches:
                for state in ("empty", "full"):
                    began = time.time()
                    worker = start(self._options, contender, precision, self._folder, caches)
                    given = {"net": net, "batch": batch, "began": began}
                    answer = worker.ask(limit=LONGEST, command="cold", **given)
                    worker.close()
                    if "error" in answer:
                        name = name_of(("cold", net, precision, batch))
                        self._note(f"{contender}, {name}, {state} cache", answer["error"])
                        break
                    cell.setdefault(contender, {})[state] = answer["seconds"]
        return {"contenders": cell}

    def _kernels(self, net, precision, batch):
        name = name_of(("kernels", net, precision, batch))
        worker = self._team(precision, ["arraycnn"]).get("arraycnn")
        if worker is None:
            return {"rows": []}
        if "rates" not in self.result:
            answer = worker.ask(limit=LONGEST, command="rates")
            if "error" in answer:
                self._note("rates of a copy and of products", answer["error"])
                return {"rows": []}
            self.result["rates"] = answer["rates"]
        rates = self.result["rates"]
        answer = worker.ask(limit=LONGEST, command="kernels", net=net, batch=batch, rates=rates)
        if "error" in answer:
            self._note(name, answer["error"])
        return {"rows": answer.get("rows", [])}


def reference_losses(folder, net, images, batch):
    """The losses of the first steps of the first epoch, by NumPy."""
    import numpy as np

    import arraycnn as cnn
    from arraycnn.execution import Task
    from arraycnn.training.step import Carry
    from nets import LEARNING_RATE, NETS, SEED, batches, network

    path = folder / f"losses {net} {images} {batch}.json"
    if not path.exists():
        with np.load(folder / f"{net}.npz") as arrays:
            given, labels = arrays["images"][:images], arrays["labels"][:images]
        model = cnn.Model(network(net), NETS[net].image_shape, seed=SEED)
        optimizer = cnn.SGD(LEARNING_RATE)
        params, state = model.trees
        carry = Carry(params, state, optimizer.init(params))
        task = Task(model.network, optimizer, given, labels, SEED, "float32")
        order = list(batches(images, batch, 0)[:CHECKED_STEPS])
        plan = cnn.NumPy(fast=False).training_plan(task, carry)
        losses, _ = plan.run(0, order, np.full(len(order), LEARNING_RATE))
        path.write_text(json.dumps([float(loss) for loss in losses]))
    return json.loads(path.read_text())


def disagreement(losses, expected, precision):
    """In which step a loss is not that of NumPy, or None."""
    for step, (loss, wanted) in enumerate(zip(losses, expected, strict=True)):
        if not abs(loss - wanted) <= TOLERANCES[precision] * abs(wanted):
            return f"the loss of step {step} is {loss:.6g}, NumPy's is {wanted:.6g}"
    return None


# -- the table ---------------------------------------------------------------------------------------


def lines_of(name, cell, result):
    """The lines of one cell."""
    section, net, precision, batch = name.split(" ")
    if section == "kernels":
        lines = [f"{name}: {sum(row['microseconds'] for row in cell['rows']):.1f} us in all"]
        for row in cell["rows"]:
            shapes = " ".join("x".join(map(str, shape)) for shape in row["shapes"])
            share = f"{row['share']:6.1%} of the rate of a {row['bound']}"
            lines.append(f"   {row['kernel']:28}{row['microseconds']:9.2f} us  {share}   {shapes}")
        return lines
    lines = [name]
    contenders = cell["contenders"]
    ours = figure(section, contenders.get("arraycnn"))
    if section == "memory":
        lines = [f"{name}: the largest columns alone would be {cell['columns'] / 2**20:,.1f} MiB"]
    for contender, measured in contenders.items():
        value = figure(section, measured)
        if value is None:
            continue
        text = f"   {contender:16}{shown(section, value, measured)}"
        if section == "train":
            text += f"{cell['images'] / value:14,.0f} images/s"
            text += f"{value / cell['steps'] * 1e6:10.1f} us a step"
        if contender == "arraycnn":
            text += against_floor(name, net, precision, int(batch), cell, value, result)
        elif ours:
            text += f"   {value / ours:7.2f}x"
            goal = None if result["dry_run"] else GOALS.get(name, {}).get(contender)
            if goal is not None:
                text += f" (goal {goal}x: {'met' if value / ours >= goal else 'missed'})"
        lines.append(text)
    return lines


def figure(section, measured):
    """The number that is compared, or None."""
    if not measured:
        return None
    if section in ("train", "latency"):
        return median(measured["rounds"]) if measured["rounds"] else None
    return measured["bytes"] if section == "memory" else measured["empty"]


def shown(section, value, measured):
    if section == "memory":
        library = measured["library_bytes"] / 2**20
        return f"{value / 2**20:10,.0f} MiB  (and the library {library:,.0f})"
    if section == "cold":
        return f"{value:9.2f} s   {measured.get('full', float('nan')):9.2f} s with full caches"
    if section == "latency":
        return f"{value * 1e6:10.1f} us"
    return f"{value * 1e3:10.2f} ms"


def against_floor(name, net, precision, batch, cell, value, result):
    """How far a step is from the least it can take; known for the H200 alone, else as measured."""
    rates = H200 if "H200" in result["device"] else result.get("rates")
    if not name.startswith("train") or rates is None or result["dry_run"]:
        return ""
    floor = floor_seconds(net, batch, precision, rates)
    times = value / cell["steps"] / floor
    goal = FLOOR_GOALS.get(name)
    mark = "" if goal is None else f" (goal {goal}: {'met' if times <= goal else 'missed'})"
    return f"   {times:5.1f} times the floor of {floor * 1e6:.1f} us{mark}"


# -- the command -------------------------------------------------------------------------------------


def parse(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sections", type=names(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--nets", type=names(("a", "b", "cifar")), default=["a", "b", "cifar"])
    parser.add_argument("--batches", type=numbers)
    parser.add_argument("--precisions", type=names(tuple(TOLERANCES)), default=list(TOLERANCES))
    parser.add_argument("--contenders", type=names(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=7, help="at least 7 for a result to publish")
    parser.add_argument("--images", type=int, default=60_000, help="of an epoch, about")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop in time")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a dry run")
    parser.add_argument(
        "--out", type=Path, help="JSON file; default bench/results/DEVICE-DATE.json"
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--inputs", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cold", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.default_batches = options.batches is None
    options.batches = options.batches or [64, 256, 1024]
    return options


def names(allowed):
    def parsed(text):
        chosen = text.split(",")
        for name in chosen:
            if name not in allowed:
                message = f"takes of {', '.join(allowed)}, got {name!r}"
                raise argparse.ArgumentTypeError(message)
        return chosen

    return parsed


def numbers(text):
    try:
        found = [int(number) for number in text.split(",")]
    except ValueError:
        found = [0]
    if min(found) < 1:
        message = f"takes whole numbers of at least 1, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return found


def begun(options, device):
    """(result, path): a run that was broken off on this device and commit, or a new one."""
    head = {
        "device": device["device"],
        "dry_run": options.device == "cpu",
        "commit": commit(),
        "images": options.images,
        "rounds": options.rounds,
        "contenders": options.contenders,
        "versions": versions(*PACKAGES),
    }
    slug = re.sub(r"[^a-z0-9]+", "-", device["device"].lower()).strip("-")
    path = options.out
    if path is None and options.device == "cuda":
        path = HERE / "results" / f"{slug}-{date.today().isoformat()}.json"
        earlier = sorted((HERE / "results").glob(f"{slug}-*.json"), reverse=True)
    else:
        earlier = [path] if path is not None and path.exists() else []
    for old in earlier:
        found = json.loads(old.read_text())
        if all(found.get(key) == value for key, value in head.items()):
            print(f"goes on from {old}, which has {len(found['cells'])} cells")
            # What could not be measured may have been mended since.
            return found | {"not_measured": {}}, old
    if path is not None and path.exists():
        path = free_name(path)
    fresh = {"date": date.today().isoformat(), "processor": processor(), "software": {}}
    return head | fresh | {"cells": {}, "left": [], "not_measured": {}}, path


def free_name(path):
    """A name beside ``path`` that no file has: another run's result is not overwritten."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in range(2, 1000))
    return next(name for name in numbered if not name.exists())


def write_inputs(options, folder):
    """What every contender is given: the same bytes and first parameters, for each network."""
    import numpy as np

    from nets import dataset, initial_parameters

    for net in options.nets:
        images, labels = dataset(net, options.images)
        parameters = initial_parameters(net)
        arrays = {
            f"{layer} {part}": array
            for layer, pair in enumerate(parameters)
            for part, array in enumerate(pair)
        }
        np.savez(
            folder / f"{net}.npz", images=images, labels=labels, layers=len(parameters), **arrays
        )


def main(arguments=None):
    options = parse(arguments)
    if options.worker:
        work(
            *(options.worker, options.precisions[0], options.device, options.inputs),
            is_cold=options.cold,
        )
        return 0
    options.images = max(options.images, max(options.batches), 64)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        probe = start(options, "arraycnn", "fp32", folder)
        probe.close()
        if probe.error:
            print(f"bench/gpu.py: nothing was measured: {probe.error}", file=sys.stderr)
            return NO_DEVICE
        result, path = begun(options, probe.hello)
        result["bus_id"] = probe.hello.get("bus_id")
        kind = "a dry run, of no device" if result["dry_run"] else result["device"]
        print(f"{kind}; medians of {options.rounds} rounds; ratios are to arraycnn", flush=True)
        write_inputs(options, folder)
        left = Bench(options, result, path, folder).run(cells(options))
    print("nothing is written" if path is None else f"written to {path}")
    if left:
        print(f"{len(left)} cells are left: the same command goes on with {name_of(left[0])}")
    return LEFT_OVER if left else 0


if __name__ == "__main__":
    raise SystemExit(main())
