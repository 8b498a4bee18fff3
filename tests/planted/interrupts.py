"""Faults in where parameters stand once something has ended a training."""

KEPT = "training/test_interrupts.py -k 'source_that_fails and NumPy'"
TORN = "training/test_interrupts.py -k plain_numpy_keeps"
LOGS = "training/test_interrupts.py -k log_of_steps"
SETS = "training/test_interrupts.py -k 'every_kind and iterable'"

FAULTS = [
    ("training/loop.py", "self._keep_whole_steps(before)", "pass", KEPT),
    ("training/loop.py", "if done.torn:", "if False:", TORN),
    ("training/loop.py", "untold=known[len(known) - news :],", "untold=(),", LOGS),
    ("training/loop.py", "self._stand(self.state)\n        self._ask", "self._ask", "training/test_interrupts.py -k on_begin_finds"),
    ("training/loop.py", "        self._tell()\n        if self.ended or", "        if self.ended or", LOGS),
    ("execution/eager.py", "whole=number + 1, carry=carry", "whole=number, carry=carry", KEPT),
    ("execution/recorded.py", "self._torn = not self._launcher.atomic", "self._torn = False", TORN),
    ("execution/recorded.py", "self._progress = replace(progress, tables=tables)", "pass", "training/test_interrupts.py -k compiled_steps"),
    ("execution/thread_pool.py", "            _wait_for(helping)\n", "", "training/test_interrupts.py -k the_pool"),
    ("execution/thread_pool.py", "            continue\n        return", "            return\n        return", "training/test_interrupts.py -k the_pool"),
    ("training/batch_stream.py", "if last.first_step == first_step + len(results):", "if True:", "training/test_interrupts.py -k iterable_that_fails"),
    ("model/model.py", "StreamedTraining(plan, stream, state.course)", "StreamedTraining(plan, stream, course)", SETS),
    ("callbacks/logs.py", "(state.epochs_done + 1, state.told)", "(state.epochs_done + 1, state.step)", LOGS),
    ("training/state.py", '{"untold": [list(step) for step in self.untold]} if self.untold', '{"untold": []} if self.untold', LOGS),
]  # fmt: skip
