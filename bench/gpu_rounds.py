"""The measurement of bench/gpu.py: cell after cell, contenders in turn, each written down at once.

What a contender does is asked for with a limit, so that the call ends in time (gpu_call.py). Those
that are ready are measured in the time that is kept for them; who was not ready is measured by a
later call (gpu_record.py).
"""

import tempfile
import time
from functools import partial
from itertools import cycle

import gpu_worker
from gpu_call import Failed, Stopped
from gpu_cells import TOLERANCES, name_of
from gpu_gate import disagreement
from gpu_lines import lines_of
from nets import columns_bytes

SECONDS = 0.3  # of a round: enough for a slow step to drown


class NotStarted(Exception):
    """A contender has no process."""

    def __init__(self, error, is_late):
        super().__init__(error)
        self.is_late = is_late


class Bench:
    """Measures cell after cell; ``start`` makes a contender's worker."""

    def __init__(self, options, record, folder, call, start=gpu_worker.start):
        self._options, self._record, self._folder, self._call = options, record, folder, call
        self._start = start
        self._workers = {}
        self._precision = None
        self._expected = {}

    def left(self, wanted):
        """The cells of ``wanted`` that have contenders to be measured."""
        return [cell for cell in wanted if self._pending(name_of(cell))]

    def run(self, wanted):
        """Measure what is left of the ``wanted`` cells, as far as there is time; what is left then."""
        for cell in self._noted(wanted):
            name = name_of(cell)
            before = self._measured(name)
            getattr(self, f"_{cell[0]}")(name, *cell[1:])
            self._noted(wanted)
            if self._measured(name) > before:
                found = self._record.cell(name)
                print("\n".join(lines_of(name, found, self._record.result)), flush=True)
            if self._call.is_over:
                break
        left = self._noted(wanted)
        self._record.write()
        self._close()
        return left

    def _noted(self, wanted):
        left = self.left(wanted)
        self._record.result["left"] = [name_of(cell) for cell in left]
        return left

    def _measured(self, name):
        return len(self._record.result["cells"].get(name, {"contenders": ()})["contenders"])

    def _pending(self, name):
        section = name.split(" ")[0]
        if section == "kernels":
            return self._record.pending(name, ["arraycnn"])
        is_alone = section in ("memory", "cold")
        return self._record.pending(
            name, self._options.alone if is_alone else self._options.contenders
        )

    def _attempt(self, name, contender, work, reserved=0.0):
        """What ``work()`` gives; None where it is not begun, failed or was stopped, which is noted."""
        if not self._call.may_begin(reserved):
            return None
        self._record.begin(name, contender)
        try:
            return work()
        except NotStarted as failed:
            self._record.fail_start(name, contender, str(failed), failed.is_late)
        except Failed as failed:
            self._record.fail(name, contender, str(failed))
        except Stopped:
            self._record.stop(name, contender)
        self._drop_if_ended(contender)
        return None

    # -- workers ---------------------------------------------------------------------------------

    def _worker(self, contender, precision, reserved=0.0):
        """The contender's process, which is started where it has none."""
        if precision != self._precision:
            self._close()
            self._precision = precision
        if contender not in self._workers:
            limit = self._call.limit(reserved)
            self._record.begin_start(contender)
            worker = self._start(self._options, contender, precision, self._folder, limit=limit)
            try:
                self._record.started(contender, self._call.checked(worker.hello, limit))
            except Failed as failed:
                self._end(worker)
                raise NotStarted(str(failed), worker.hello.get("late", False)) from failed
            except Stopped:
                self._end(worker)
                raise
            self._workers[contender] = worker
        return self._workers[contender]

    def _ask(self, contender, precision, reserved=0.0, **command):
        worker = self._worker(contender, precision, reserved)
        return self._call.ask(worker, reserved, **command)

    def _drop_if_ended(self, contender):
        """One that has crashed or took too long is started anew for the next cell."""
        worker = self._workers.get(contender)
        if worker is not None and not worker.is_running:
            self._end(self._workers.pop(contender))

    def _close(self):
        for worker in self._workers.values():
            self._end(worker)
        self._workers = {}

    def _end(self, worker):
        worker.close(limit=self._call.closing())

    # -- sections --------------------------------------------------------------------------------

    def _images(self, batch):
        return max(1, self._options.images // batch) * batch

    def _train(self, name, net, precision, batch):
        images = self._images(batch)
        self._record.cell(name, images=images, steps=images // batch)
        of = {"net": net, "batch": batch, "images": images}
        command = {"command": "train", **of, "seconds": SECONDS}

        def prepared(contender, ask):
            self._pass_gate(contender, net, precision, ask)
            if name not in self._expected:
                self._expected[name] = ask(command="expected", **of)["losses"]
            first = ask(**command)
            wrong = disagreement(first["losses"], self._expected[name], precision)
            if wrong:
                raise Failed(wrong)
            return {"first_epoch": first["seconds"], "losses": first["losses"]}

        self._in_rounds(name, precision, prepared, command)

    def _pass_gate(self, contender, net, precision, ask):
        """Asked once for a network and precision, by whichever call."""
        batch, gates = min(self._options.batches), self._record.result["gates"]
        key = f"{contender}, {net} {precision} {batch}"
        if key not in gates:
            try:
                ask(command="gate", net=net, batch=batch)
                gates[key] = None
            except Failed as failed:
                gates[key] = str(failed)
        if gates[key]:
            raise Failed(gates[key])

    def _latency(self, name, net, precision, batch):
        cell = self._record.cell(name)

        def prepared(_, ask):
            (found,) = ask(command="predictions", net=net)["probabilities"]
            expected = cell.setdefault("probabilities", found)
            widest = max(abs(a - b) for a, b in zip(found, expected, strict=True))
            if widest > 10 * TOLERANCES[precision]:
                message = f"its probabilities are {widest:.2g} away from ours"
                raise Failed(message)
            return {}

        command = {"command": "latency", "net": net, "seconds": SECONDS}
        self._in_rounds(name, precision, prepared, command)

    def _in_rounds(self, name, precision, prepared, command):
        """Have the contenders ready, then measure them in turn."""
        unfinished = self._record.cell(name)["unfinished"]
        ready = {}  # contender: seconds that its rounds take, about

        def made_ready(contender, reserved):
            ask = partial(self._ask, contender, precision, reserved)
            found = prepared(contender, ask)
            began = self._call.clock()
            ask(**command)  # once more: what is compiled when something comes again
            took = self._call.clock() - began + SECONDS
            had = unfinished.setdefault(contender, {**found, "rounds": []})
            seconds = took * (self._options.rounds - len(had["rounds"]))
            if ready:
                self._call.limit(reserved + seconds)  # the others' rounds are not given up for it
            return seconds

        for contender in self._pending(name):
            reserved = sum(ready.values())
            work = partial(made_ready, contender, reserved)
            seconds = self._attempt(name, contender, work, reserved)
            if seconds is not None:
                ready[contender] = seconds
        for contender in cycle(list(ready)):
            if not ready:
                break
            if contender in ready and not self._round(name, contender, precision, command):
                del ready[contender]

    def _round(self, name, contender, precision, command):
        """Add a round; whether another is to follow."""
        measured = self._record.cell(name)["unfinished"][contender]
        try:
            answer = self._ask(contender, precision, **command)
        except Failed as failed:
            self._record.fail(name, contender, str(failed))
        except Stopped:
            self._record.stop(name, contender)
        else:
            measured["rounds"].append(answer["seconds"])
            if len(measured["rounds"]) < self._options.rounds:
                self._record.write()
                return True
            self._record.finish(name, contender, measured)
        self._drop_if_ended(contender)
        return False

    def _memory(self, name, net, precision, batch):
        """With one process at a time: what the device has in use over what it had before."""
        from device_memory import DeviceMemory, Peak

        self._close()
        images = self._images(batch)
        self._record.cell(name, images=images, columns=columns_bytes(net, batch))
        try:
            on_cpu = self._options.device == "cpu"
            used = (lambda: 0) if on_cpu else DeviceMemory(self._record.result["bus_id"]).used
        except OSError as error:
            self._record.note(name, str(error))
            return
        command = {"command": "train", "net": net, "batch": batch, "images": images}

        def measured(contender):
            before = used()
            self._worker(contender, precision)
            ready = used()
            with Peak(used) as peak:
                self._ask(contender, precision, **command, seconds=SECONDS)
            return {"bytes": peak.bytes - ready, "library_bytes": ready - before}

        self._alone(name, measured, afterwards=self._close)

    def _cold(self, name, net, precision, batch):
        self._close()
        unfinished = self._record.cell(name)["unfinished"]

        def seconds(contender, caches):
            began, limit = time.time(), self._call.limit()
            worker = self._start(
                self._options, contender, precision, self._folder, caches=caches, limit=limit
            )
            try:
                self._call.checked(worker.hello, limit)
                given = {"net": net, "batch": batch, "began": began}
                return self._call.ask(worker, command="cold", **given)["seconds"]
            finally:
                self._end(worker)

        def measured(contender):
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as caches:
                empty = seconds(contender, caches)
                found = unfinished.setdefault(contender, {"empty": empty})
                self._record.write()
                return found | {"full": seconds(contender, caches)}

        self._alone(name, measured)

    def _kernels(self, name, net, precision, batch):
        cell = self._record.cell(name, rows=[])

        def measured(contender):
            ask, result = partial(self._ask, contender, precision), self._record.result
            if "rates" not in result:
                result["rates"] = ask(command="rates")["rates"]
            given = {"net": net, "batch": batch, "rates": result["rates"]}
            cell["rows"] = ask(command="kernels", **given)["rows"]
            return {"kernels": len(cell["rows"])}

        self._alone(name, measured)

    def _alone(self, name, measured, afterwards=lambda: None):
        """Measure one contender after another."""
        for contender in self._pending(name):
            found = self._attempt(name, contender, partial(measured, contender))
            if found:
                self._record.finish(name, contender, found)
            afterwards()
