"""A profile as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arraycnn.profiling.machine import Machine
from arraycnn.profiling.parts import Part, Work

if TYPE_CHECKING:
    from arraycnn.profiling.profile import Profile

_NAMES = {"train": "training step", "infer": "pass forward"}
_HEADER = f"{'us':>10} {'share':>6} {'GFLOP/s':>8} {'GB/s':>7} {'of the machine':>15}  step"
_FIRST = 3
_ENDS = "beginning and end: indices, labels, learning rate, results"


def machine_line(machine: Machine) -> str:
    """What was measured of it."""
    threads = f"{machine.threads} thread{'' if machine.threads == 1 else 's'}"
    return (
        f"the machine, measured now on {threads}: {machine.operations / 1e9:,.1f} GFLOP/s of matrix "
        f"products, {machine.bytes / 1e9:,.1f} GB/s of copies that no cache holds"
    )


def lines_of(profile: Profile) -> list[str]:
    """The totals, the parts, and how both compare."""
    name, images = _NAMES[profile.mode], profile.batch_size
    count = f"{images} image{'' if images == 1 else 's'}"
    rate = f"{images / profile.seconds:,.0f} images/s"
    lines = [f"{name} of {count}: {profile.seconds * 1e6:,.1f} us, {rate}"]
    if profile.torch_seconds is None:
        lines.append(f"not compared with torch: {profile.untwinned}")
    else:
        ratio = profile.torch_seconds / profile.seconds
        lines.append(
            f"the same in torch, in turn with it, in this process: {profile.torch_seconds * 1e6:,.1f} "
            f"us, {images / profile.torch_seconds:,.0f} images/s, {ratio:.2f}x the time"
        )
    if not profile.parts:
        return [*lines, f"parts are not timed: {profile.unparted}"]
    if profile.machine is not None:
        lines.append(machine_line(profile.machine))
    lines += ["", _HEADER]
    for part in profile.parts:
        lines += _of_part(part, profile)
    return [*lines, "", _longest(profile), _sum(profile)]


def _sum(profile: Profile) -> str:
    whole = profile.seconds * profile.parts_images / profile.batch_size
    is_cut = profile.parts_images != profile.batch_size
    count = f" of {profile.parts_images} images" if is_cut else ""
    return (
        f"sum of the parts{count}: {profile.parts_seconds * 1e6:,.1f} us, "
        f"{profile.parts_seconds / whole:.2f} of the {_NAMES[profile.mode]} as it is always run: the "
        "rest is what starts one from Python and on the threads, and what other programs took"
    )


def _longest(profile: Profile) -> str:
    """Where to look first."""
    parts = sorted(profile.parts, key=lambda part: part.seconds, reverse=True)[:_FIRST]
    shares = [f"{_numbers(part)} {part.seconds / _total(profile):.0%}" for part in parts]
    return f"longest: {', '.join(shares)}"


def _total(profile: Profile) -> float:
    return max(profile.parts_seconds, 1e-12)


def _numbers(part: Part) -> str:
    if not part.steps:
        return "beginning and end"
    first, last = part.steps[0].number, part.steps[-1].number
    return f"step {first}" if first == last else f"steps {first} to {last}"


def _of_part(part: Part, profile: Profile) -> list[str]:
    share = f"{part.seconds / _total(profile):6.1%}"
    if len(part.steps) == 1:
        (work,) = part.steps
        return [f"{_rates(part.seconds, share, work, profile.machine)}  {_named(work)}"]
    if not part.steps:
        return [f"{part.seconds * 1e6:10,.1f} {share} {'':32}  {_ENDS}"]
    lines = [
        f"{_rates(part.seconds, share, part, profile.machine)}  {_numbers(part)} as one"
        + (", image by image or side by side, and each alone:" if _are_timed(part) else ":")
    ]
    for work in part.steps:
        rates = " " * 50
        if work.seconds is not None:
            rates = _rates(work.seconds, f"{'|':>6}", work, profile.machine)
        lines.append(f"{rates}  {_named(work)}")
    return lines


def _are_timed(part: Part) -> bool:
    return all(work.seconds is not None for work in part.steps)


def _named(work: Work) -> str:
    where = f"  # {', '.join(work.layers)}" if work.layers else ""
    return f"{work.number:3} {work.what}{where}"


def _rates(seconds: float, share: str, work: Work | Part, machine: Machine | None) -> str:
    took = max(seconds, 1e-12)
    computed = "" if work.operations is None else f"{work.operations / took / 1e9:,.1f}"
    moved = f"{work.bytes / took / 1e9:,.1f}"
    near = ""
    if machine is not None and work.operations is not None:
        least, bound = machine.least_seconds(work.operations, work.bytes)
        near = f"{least / took:.0%} {bound}"
    return f"{seconds * 1e6:10,.1f} {share} {computed:>8} {moved:>7} {near:>15}"
