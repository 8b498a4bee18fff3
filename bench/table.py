"""docs/PERFORMANCE.md's tables, of what bench/cpu.py or bench/gpu.py wrote: bench/table.py FILE.json

The networks "a" and "b" have the tables that go into detail; `networks_table` has those of all others.
"""

import sys
from pathlib import Path
from statistics import median

import result_file
from nets import NETS as SPECS

NETS = {"a": "tutorial's network", "b": "PyTorch's basic MNIST network"}
TITLES = {net: spec.title for net, spec in SPECS.items()} | NETS
GPU_NETS = NETS | {"cifar": "64-128-256 on 32x32x3"}
OURS = {"arraycnn fast": "compiled kernels", "arraycnn numpy": "plain NumPy"}
ENGINES = {"arraycnn torch": "on torch", "arraycnn jax": "on JAX"}
SMALLEST_SHARE = 0.03
"""Kernels that take less of a step are not named."""


def cpu_tables(result):
    """Markdown of every section that ``result`` has."""
    sections = {
        "On the arrays of another library, training, images a second:": engines_table(result),
        "The networks that people train today, training, images a second:": networks_table(
            result, "train"
        ),
        "The same, inference, images a second:": networks_table(result, "infer"),
        "A user's activation against ReLU, in training, images a second:": activation_table(result),
        "Until the first step is done, but for what a later one takes, seconds:": first_table(
            result, "first_step"
        ),
        "The same with empty caches, seconds:": first_table(result, "first_step_empty_caches"),
        "How far a process grows in its first steps, MiB:": growth_table(result),
        "Tracing and planning a step, seconds:": tracing_table(result),
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
        rows.append([TITLES[net], batch, *_against_best(rates, max), share])
    return _table(["network", "batch", *OURS.values(), "best peer", "share of sgemm"], rows)


def inference_table(result):
    rows = [
        [TITLES[net], batch, *_against_best(rates, max)]
        for net, batch, rates in _cells(result, "infer")
    ]
    return _table(["network", "batch", *OURS.values(), "best peer"], rows)


def memory_table(result):
    rows = [
        [TITLES[cell.split()[0]], *_against_best({name: [mib] for name, mib in peaks.items()}, min)]
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
            rows.append([TITLES[net], batch, OURS[peer], *columns])
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
            rows.append([TITLES[net], OURS[peer], *costs])
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
            rows.append([TITLES[net], batch, OURS[peer], *step])
    return _table(["network", "batch", "kernels", "a step", "each kernel alone", "of these"], rows)


def cold_table(result):
    seconds = result.get("cold_seconds", {})
    torch = seconds.get("import torch")
    rows = [[f"`{name}`", _against(rounds, torch, 2)] for name, rounds in seconds.items()]
    return _table(["command", "time"], rows)


def networks_table(result, kind):
    rows = []
    for net, batch, found in _cells(result, kind, SPECS.keys() - NETS.keys()):
        rates = {name: rounds for name, rounds in found.items() if name not in ENGINES}
        if rates.keys().isdisjoint(OURS):
            continue
        others = {name: median(found) for name, found in rates.items() if name not in OURS}
        shown = sorted(others, key=others.get, reverse=True)[1:]  # the first is the best
        listed = ", ".join(f"{name} {others[name]:,.0f}" for name in shown)
        rows.append([TITLES[net], batch, *_against_best(rates, max), listed])
    return _table(["network", "batch", *OURS.values(), "best peer", "the others"], rows)


def engines_table(result):
    """Ours on PyTorch and JAX, each against the best of the network written by hand in it."""
    rows = []
    for net, batch, rates in _cells(result, "train", SPECS):
        columns = []
        for engine in ENGINES:
            library = engine.split()[1]
            hand = {n: found for n, found in rates.items() if n.split()[0] == library}
            best = max(hand, key=lambda name: median(hand[name]), default=None)
            columns.append(_against(rates.get(engine), hand.get(best)))
            columns.append(f"{best} {_spread(hand[best])}" if best else "")
        if not rates.keys().isdisjoint(ENGINES):
            rows.append([TITLES[net], batch, *columns])
    head = [part for name in ENGINES.values() for part in (name, f"{name.split()[1]} by hand")]
    return _table(["network", "batch", *head], rows)


def activation_table(result):
    rows = []
    pairs = zip(*(list(_cells(result, "train", {net})) for net in ("relu", "swish")), strict=False)
    for (_, batch, plain), (_, _, own) in pairs:
        names = [name for name in plain if name in own]
        rows += [
            [OURS.get(n, n), batch, _spread(plain[n]), _against(own[n], plain[n])] for n in names
        ]
    return _table(["library", "batch", "ReLU", "the user's"], rows)


def first_table(result, key):
    rows, peers = [], _keys(result.get(key, {}).values())
    for cell, found in result.get(key, {}).items():
        seconds = [f"{found[p]['seconds']:.2f}" if p in found else "" for p in peers]
        rows.append([*_title(cell), *seconds])
    return _table(["network", "batch", *(OURS.get(peer, peer) for peer in peers)], rows)


def growth_table(result):
    rows = []
    for cell, found in result.get("first_step", {}).items():
        grown = {name: [one["mib"]] for name, one in found.items()}
        torch = {n: g for n, g in grown.items() if n in OURS or n.startswith("torch")}
        rows.append([*_title(cell), *_against_best(torch, min), _listed(grown, torch)])
    return _table(["network", "batch", *OURS.values(), "best of torch", "other libraries"], rows)


def _listed(grown, but):
    return ", ".join(f"{name} {mib:,.0f}" for name, (mib,) in grown.items() if name not in but)


def tracing_table(result):
    rows = []
    for cell, found in result.get("first_step", {}).items():
        traced = {name: one["trace"] for name, one in found.items() if one.get("trace")}
        if traced:
            seconds = [f"{traced[name]:.2f}" if name in traced else "" for name in OURS]
            rows.append([*_title(cell), *seconds])
    return _table(["traced network", "batch", *OURS.values()], rows)


def _title(cell):
    net, batch = cell.split()
    return TITLES[net], batch


def _cells(result, wanted, nets=frozenset(["a", "b"])):
    """(net, batch, {peer: rounds}) of the rates of that kind, of some networks."""
    for cell, rates in result.get("images_per_second", {}).items():
        kind, net, batch = cell.split()
        if kind == wanted and net in nets:
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
    try:
        found = result_file.read(Path(sys.argv[1]))
    except result_file.NoResult as error:
        raise SystemExit(str(error)) from error
    if found.get("dry_run"):
        raise SystemExit("a dry run has no figures of a device")
    print(gpu_table(found) if "cells" in found else cpu_tables(found))
