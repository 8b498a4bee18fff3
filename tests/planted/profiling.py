"""Faults in what says where the time of a step goes."""

COUNTS = "program/test_program_profile.py -k 'operations or bytes or bound or median or mark'"
PARTS = (
    "program/test_program_profile.py -k 'chains or side_by_side or makes_its_gradient or does_what'"
)
COMMAND = "profiling/test_bench_command.py"

FAULTS = [
    ("program/costs.py", "times = 1 + (head.attrs[-1] is True) if is_backward else 1", "times = 2 if is_backward else 1", COUNTS),
    ("program/costs.py", "2 * taps * math.prod(shapes[-1]) * times", "2 * taps * math.prod(shapes[0]) * times", COUNTS),
    ("program/costs.py", "2 * taps * shapes[0][0] * height * width * shapes[1][3]", "2 * taps * shapes[0][0] * height * width", COUNTS),
    ("program/costs.py", "head.size * math.prod(head.attrs[0].kernel_size)", "head.size", COUNTS),
    ("ops/clock.py", "seconds + ticks * self.tick", "ticks * self.tick", COUNTS),
    ("profiling/rounds.py", "median(found)", "max(found)", COUNTS),
    ("profiling/rounds.py", "rounds < FEWEST_ROUNDS or now() < ended", "rounds < FEWEST_ROUNDS", COUNTS),
    ("profiling/machine.py", "if computing > moving else", "if computing < moving else", COUNTS),
    ("profiling/parts.py", "if number in marked or not found:", "if True:", PARTS),
    ("profiling/parts.py", "alone.get(number) if is_one_of_many else None", "None", PARTS),
    ("profiling/parts.py", "number += len(steps)", "number += 1", PARTS),
    ("ops/compiled/clocked.py", "self.clock.begin()", "pass", PARTS),
    ("ops/compiled/clocked.py", "if self._joins:\n            with super().chain", "if not self._joins:\n            with super().chain", PARTS),
    ("ops/compiled/clocked.py", "if self._joins:\n            with super().side", "if not self._joins:\n            with super().side", PARTS),
    ("cli/bench.py", "if training in (None, wanted)", "if training in (None, True)", COMMAND),
    ("cli/bench.py", 'config.get("optimizer")', 'config.get("network")', COMMAND),
    ("cli/bench.py", "except RunFolderError:", "except KeyError:", COMMAND),
    ("profiling/profile.py", "and part.operations is not None", "", COMMAND),
    ("profiling/torch_twin.py", "weight_decay=decay, nesterov", "weight_decay=0.0, nesterov", COMMAND),
    ("profiling/torch_twin.py", "optimizer.epsilon, optimizer.weight_decay", "optimizer.epsilon, 0.0", COMMAND),
]  # fmt: skip
