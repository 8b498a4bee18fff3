"""Faults in trainings of several ranks."""

SAME, PARTNERS, BITS, EAGER, PARTS, TEAM = (
    *(
        f"distributed/test_same_run.py -k '{k}'"
        for k in ("fifty and 3", "partners", "same_bits", "layer")
    ),
    "distributed/test_parts.py",
    "distributed/test_team.py",
)

FAULTS = [
    ("ops/batch_norm.py", "images = x.shape[0] if whole is None else whole.images", "images = x.shape[0]", SAME),
    ("ops/batch_norm.py", "(total,) = whole.totals([xp.sum(x, axis=(0, 1, 2))])", "total = xp.sum(x, axis=(0, 1, 2))", SAME),
    ("ops/batch_norm.py", "(dweight, dbias) if whole is None else whole.totals([dweight, dbias])", "(dweight, dbias)", SAME),
    ("layers/batch_norm.py", "return partial(batch_norm.shared_batch_norm_backward, whole=context.whole)", "return context.ops.batch_norm_backward", SAME),
    ("training/step.py", "return x.shape[0] if context.whole is None else context.whole.images", "return x.shape[0]", SAME),
    ("training/step.py", "lambda path, own: known.get(path, own)", "lambda path, own: own", SAME),
    ("layers/augmentation/mixing.py", "first = np.arange(images) // block * block", "first = 0 * np.arange(images)", PARTS),
    ("layers/augmentation/mixing.py", "ends = np.minimum(first + block, images)", "ends = first + block", PARTS),
    ("layers/augmentation/mixing.py", "x.shape[0] if context.whole is None else context.whole.block", "x.shape[0]", PARTNERS),
    ("distributed/parts.py", "first = sum(counts[:owner]) * self.block", "first = owner * self.block", PARTS),
    ("distributed/parts.py", "return Part(0, 1, images, present=False)", "return Part(0, 1, images)", SAME),
    ("distributed/sums.py", "        if not part.present:\n            together[...] = 0", "        if False:\n            together[...] = 0", PARTS),
    ("distributed/sums.py", "for is_present, row in given if is_present", "for is_present, row in given", BITS),
    ("distributed/sums.py", "for row in found[1:]:", "for row in found[:0:-1]:", PARTS),
    ("distributed/sums.py", "        first += size\n", "        first += 1\n", PARTS),
    ("distributed/turns.py", "sorted(found, key=lambda pair: pair[0])", "found", PARTS),
    ("distributed/agreement.py", "if len({of.get(name) for of in all_facts}) > 1", "if False", TEAM + " -k versions"),
    ("program/collectives.py", "buckets.append([])\n            filled = 0", "buckets.append([])\n            filled = -BUCKET", "distributed/test_collectives.py"),
    ("program/collectives.py", "if o not in tokens) + 0.5", "if True) + 0.5", "distributed/test_collectives.py"),
    ("program/collectives.py", "inputs += [] if last is None else [last]", "", "distributed/test_collectives.py"),
    ("program/collectives.py", "totals[place] = total", "totals[number - 1] = total", "distributed/test_same_run.py -k buckets"),
    ("training/team.py", "[_Silent(period) for period in periods]", "callbacks", TEAM + " -k callbacks_are"),
    ("execution/eager.py", "batch[part.rows]", "batch", EAGER),
    ("execution/recorded.py", "batches = [batch[rows] for batch in batches]", "batches = [batch[: part.size] for batch in batches]", SAME),
    ("distributed/launchers.py", "found.size > 1 and size == 1", "found.size > 1 and size != 1", TEAM + " -k see_each"),
    ("distributed/nccl.py", "        self._stream.wait_event(computed)\n", "", "distributed/test_nccl.py"),
    ("distributed/nccl.py", "get_current_stream().wait_event(summed)", "get_current_stream()", "distributed/test_nccl.py"),
    ("distributed/nccl.py", "self._nccl.NCCL_SUM, self._stream.ptr", "self._nccl.NCCL_SUM, self._cupy.cuda.get_current_stream().ptr", "distributed/test_nccl.py"),
    ("distributed/nccl.py", "if all(communicator.exchange(bool(has))):", "if has:", "distributed/test_nccl.py -k staged"),
]  # fmt: skip
