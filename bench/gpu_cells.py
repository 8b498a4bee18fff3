"""What bench/gpu.py measures, in which order, and what it is to find: goals."""

CONTENDERS = (
    *("arraycnn", "arraycnn-eager", "torch-eager", "torch-compile", "torch-autotune"),
    *("torch-graph", "torch-graph-16", "jax-jit", "jax-scan"),
)
SECTIONS = ("train", "latency", "memory", "cold", "kernels")
NETS_MEASURED = ("a", "b", "norm", "resnet20", "cifar")
FULL = ("train", "kernels")  # in each precision and batch size; the others in the first of each
TOLERANCES = {"fp32": 2e-4, "tf32": 5e-3, "bf16": 3e-2}  # of a loss, relative

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
# How many microseconds a step may take on an H200, and how many times its floor.
STEP_GOALS = {
    "train a fp32 64": 9,
    "train b tf32 64": 55,
    "train b tf32 256": 120,
    "train b bf16 1024": 250,
}
FLOOR_GOALS = {"train a fp32 64": 2.0, "train b tf32 256": 2.3, "train resnet20 bf16 128": 4.0}
PREDICTED_GOALS = (*STEP_GOALS, "train resnet20 bf16 128")
"""What bench/roofline.py predicts: measured before all else."""

BESIDE_GOALS = (("train", "norm"), ("train", "resnet20"))
"""What is measured with the goals, though no goal is set."""


def cells(options):
    """(section, net, precision, batch) of each cell: predicted goals, then the others, come first."""
    found = [
        (section, net, precision, batch)
        for section in options.sections
        for net in options.nets
        for precision in (options.precisions if section in FULL else options.precisions[:1])
        for batch in (options.batches if section in FULL else options.batches[:1])
    ]
    found = [(*cell[:3], 1) if cell[0] == "latency" else cell for cell in found]
    wanted = dict.fromkeys([*PREDICTED_GOALS, *FLOOR_GOALS, *GOALS])
    extra = [tuple(goal.split(" ")) for goal in wanted]
    found += [
        (section, net, precision, int(batch))
        for section, net, precision, batch in extra
        if options.default_batches and section in options.sections and net in options.nets
        and precision in options.precisions
    ]  # fmt: skip

    if options.goals:
        found = [cell for cell in found if name_of(cell) in wanted or cell[:2] in BESIDE_GOALS]

    def place(cell):
        section, _, precision, _ = cell  # contenders are started anew for each precision
        return (
            name_of(cell) not in PREDICTED_GOALS,
            name_of(cell) not in wanted,
            SECTIONS.index(section),
            options.precisions.index(precision),
        )

    return sorted(dict.fromkeys(found), key=place)


def name_of(cell):
    return " ".join(map(str, cell))
