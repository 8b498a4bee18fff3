"""The table of bench/gpu.py: the lines of each cell."""

from statistics import median

from gpu_cells import FLOOR_GOALS, GOALS, STEP_GOALS
from nets import H200, floor_seconds


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
    return lines + [f"   {contender:16}stopped" for contender in cell.get("stopped", ())]


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
    is_h200 = "H200" in result["device"]
    rates = H200 if is_h200 else result.get("rates")
    if not name.startswith("train") or rates is None or result["dry_run"]:
        return ""
    step, floor = value / cell["steps"], floor_seconds(net, batch, precision, rates)
    within = _held(step * 1e6, STEP_GOALS.get(name) if is_h200 else None, " us")
    times = f"   {step / floor:5.1f} times the floor of {floor * 1e6:.1f} us"
    return within + times + _held(step / floor, FLOOR_GOALS.get(name), "")


def _held(value, goal, unit):
    return "" if goal is None else f" (goal {goal}{unit}: {'met' if value <= goal else 'missed'})"
