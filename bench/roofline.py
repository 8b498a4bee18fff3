"""How long a training step takes on an H200 by a model: predicted, not measured.

    python bench/roofline.py                      # all networks, batches and precisions
    python bench/roofline.py --short              # those with a goal: what .ci/run prints
    python bench/roofline.py --nets b --batches 64 --precisions tf32 --kernels    # each kernel, too

The kernels of a step are noted as its plan starts them (launches.py), compiled for sm_90, and run
instruction by instruction for a thread or two (kernel_work.py); roofline_model.py makes microseconds
of that. It takes no device, but the extra cuda-test. Columns: nodes of a step; predicted, in
microseconds; the same where no kernel is quicker than the bytes of its arrays; the floor of the step
(nets.floor_seconds); predicted by floor; the goal.
"""

import argparse

from gpu_cells import FLOOR_GOALS, PREDICTED_GOALS, STEP_GOALS
from kernel_work import works_of
from launches import launches_of_step
from nets import H200, NETS, floor_seconds
from roofline_model import NODE, Work, predicted, with_bytes

CELLS = [
    *[("a", precision, batch) for precision in ("fp32",) for batch in (64, 256, 1024)],
    *[
        ("b", precision, batch)
        for precision in ("fp32", "tf32", "bf16")
        for batch in (64, 256, 1024)
    ],
    *[("cifar", precision, batch) for precision in ("tf32", "bf16") for batch in (64, 512)],
    *[("norm", precision, batch) for precision in ("fp32", "tf32", "bf16") for batch in (64,)],
    *[("resnet20", precision, batch) for precision in ("tf32", "bf16") for batch in (128,)],
]


def cell_of(name: str) -> tuple[str, str, int]:
    """Of the name that bench/gpu.py has for its training."""
    _, net, precision, batch = name.split(" ")
    return net, precision, int(batch)


GOALS = {
    cell_of(name): f"{STEP_GOALS[name]}" if name in STEP_GOALS else f"{FLOOR_GOALS[name]:g} x floor"
    for name in PREDICTED_GOALS
}
"""Microseconds, at most: those of bench/gpu.py, which measures the same cells."""
HEAD = f"{'':22} {'nodes':>5} {'predicted':>9} {'with bytes':>10} {'floor':>7} {'factor':>6}  goal"


def line_of(cell: tuple[str, str, int], works: list[Work]) -> str:
    net, precision, batch = cell
    floor = floor_seconds(net, batch, precision, H200)
    took = predicted(works)
    return (
        f"{net:9} {precision:5} {batch:5d}  {len(works):5d} {took * 1e6:9.1f} "
        f"{with_bytes(works) * 1e6:10.1f} {floor * 1e6:7.1f} {took / floor:6.1f}  "
        f"{GOALS.get(cell, '')}"
    ).rstrip()


def lines_of_kernels(works: list[Work]) -> list[str]:
    """A line for each kernel, the longest first; of several launches the sum."""
    together: dict[Work, int] = {}
    for work in works:
        together[work] = together.get(work, 0) + 1
    rows = sorted(together.items(), key=lambda row: -row[1] * row[0].predicted)
    head = (
        f"    {'predicted':>9} {'floor':>7} {'times':>5} {'blocks':>6} {'issued':>8} {'turns':>5}"
    )
    return [
        head,
        *(
            f"    {times * work.predicted * 1e6:9.1f} {times * (work.floor + NODE) * 1e6:7.1f} "
            f"{times:5d} {work.blocks:6d} {work.issued:8d} {work.turns:5d}  {work.kernel}"
            for work, times in rows
        ),
    ]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="the cells with a goal")
    parser.add_argument("--kernels", action="store_true", help="a line for each kernel")
    parser.add_argument("--nets", nargs="+", choices=list(NETS), help="of these networks")
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "tf32", "bf16"])
    parser.add_argument("--batches", nargs="+", type=int)
    return parser.parse_args(arguments)


def chosen(options: argparse.Namespace) -> list[tuple[str, str, int]]:
    """The cells that are asked for: of the table, or all that are named whole."""
    if options.nets and options.precisions and options.batches:
        return [
            (net, precision, batch)
            for net in options.nets
            for precision in options.precisions
            for batch in options.batches
        ]
    return [
        cell
        for cell in (GOALS if options.short else CELLS)
        if cell[0] in (options.nets or [cell[0]])
        and cell[1] in (options.precisions or [cell[1]])
        and cell[2] in (options.batches or [cell[2]])
    ]


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    print("microseconds of a training step on an H200, predicted by a model, not measured")
    print(HEAD)
    for cell in chosen(options):
        net, precision, batch = cell
        works = works_of(launches_of_step(net, batch, precision))
        print(line_of(cell, works), flush=True)
        if options.kernels:
            print("\n".join(lines_of_kernels(works)), flush=True)


if __name__ == "__main__":
    main()
