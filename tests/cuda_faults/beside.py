"""Faults of kernels that share a launch."""

TESTS = ("ops/test_cuda_beside.py",)

_FILE = f"{TESTS[0]} -k"
PLACES, ORDER, APART = f"{_FILE} its_place", f"{_FILE} longest", f"{_FILE} dense_layer"

BESIDE, PRODUCTS, DEVICE = "cuda/beside.py", "cuda/products.py", "cuda/device.cuh"
FAULTS = [
    (DEVICE, "{number % wide, number / wide % tall,", "{number % tall, number / wide % tall,", "an index", PLACES),
    (DEVICE, "number / wide % tall, number / wide / tall, tall, wide};", "number / wide, number / wide / tall, tall, wide};", "an index", PLACES),
    (DEVICE, "number / wide / tall, tall, wide};", "number / wide, tall, wide};", "an index", PLACES),
    (DEVICE, "number / wide / tall, tall, wide};", "number / wide / tall, wide, wide};", "a number of parts", PLACES),
    (BESIDE, "else {{ block -= {names[0]};", "else {{", "blocks of another kernel", PLACES),
    (BESIDE, "if (block < {names[0]})", "if (block <= {names[0]})", "a bound", PLACES),
    (BESIDE, "(*start.grid, 1)[:2]", "(1, *start.grid)[:2]", "an axis", PLACES),
    (BESIDE, "max([start.shared for start in starts])", "min([start.shared for start in starts])", "too little shared memory"),
    (BESIDE, "(sum([start.blocks for start in starts]),)", "(max([start.blocks for start in starts]),)", "too few blocks", PLACES),
    (BESIDE, "[start for start in starts if start.blocks]", "list(starts)", "a launch of nothing"),
    (BESIDE, "if len({start.block for start in starts}) > 1:", "if not starts:", "a check"),
    (PRODUCTS, "before += count", "pass", "tiles that share a counter"),
    (PRODUCTS, "return alike and sum(product.counters for product in products) <= COUNTERS", "return alike", "a check"),
    (PRODUCTS, "if chosen.splits > 1 and counters is None:", "if chosen.splits > 1:", "parts added up twice"),
    (PRODUCTS, "key=lambda one: -one[0]", "key=lambda one: one[0]", "the longest last", ORDER),
    (PRODUCTS, "if together and _suit_each_other(products):", "if _suit_each_other(products):", "what nobody asked for", APART),
]  # fmt: skip
