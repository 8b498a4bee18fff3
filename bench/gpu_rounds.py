"""The measurement of bench/gpu.py: cell after cell, contenders in turn, each written down at once."""

import json
import tempfile
import time

from gpu_cells import TOLERANCES, name_of
from gpu_gate import disagreement, reference_losses, write_gate
from gpu_lines import lines_of
from gpu_worker import start
from nets import columns_bytes

SECONDS = 0.3  # of a round: enough for a slow step to drown
LONGEST = 300  # seconds that one answer may take, compiling included


class Bench:
    """Measures cell after cell, and writes down each.

    Attributes
    ----------
    result : dict
        What goes into the JSON.
    """

    def __init__(self, options, result, path, folder):
        self._options, self.result, self._path, self._folder = options, result, path, folder
        self._workers = {}
        self._precision = None
        self._passed = {}
        self._began = time.monotonic()
        self._longest = 0.0

    def run(self, wanted):
        """Measure ``wanted`` cells that have not been yet, as far as there is time; those left."""
        left = [cell for cell in wanted if name_of(cell) not in self.result["cells"]]
        while left:
            spent = time.monotonic() - self._began
            limit = self._options.minutes * 60
            if spent + self._longest > limit and spent > 0:
                break
            cell = left[0]
            began = time.monotonic()
            measured = getattr(self, f"_{cell[0]}")(*cell[1:])
            self._longest = max(self._longest, time.monotonic() - began)
            self.result["cells"][name_of(cell)] = measured
            self.result["left"] = [name_of(other) for other in left[1:]]
            self.write()
            print("\n".join(lines_of(name_of(cell), measured, self.result)), flush=True)
            left = left[1:]
        self._close()
        return left

    def write(self):
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".tmp")
        fresh.write_text(json.dumps(self.result, indent=1) + "\n")
        fresh.replace(self._path)

    def _close(self):
        for worker in self._workers.values():
            worker.close()
        self._workers = {}

    def _team(self, precision, names=None):
        """The contenders' workers by name; those that cannot run are noted, once."""
        if precision != self._precision:
            self._close()
            self._precision = precision
        for name in names or self._options.contenders:
            if name in self._workers or name in self.result["not_measured"]:
                continue
            worker = start(self._options, name, precision, self._folder)
            if worker.error:
                self._note(name, worker.error)
                worker.close()
            else:
                self.result["software"].setdefault(name, worker.hello)
                self._workers[name] = worker
        return {name: self._workers[name] for name in names or self._options.contenders
                if name in self._workers}  # fmt: skip

    def _note(self, what, error):
        self.result["not_measured"][what] = error
        print(f"not measured: {what}: {error}", flush=True)

    def _images(self, net, batch):
        return max(1, self._options.images // batch) * batch

    def _train(self, net, precision, batch):
        name, images = name_of(("train", net, precision, batch)), self._images(net, batch)
        expected = reference_losses(self._folder, net, images, batch)
        given = {"net": net, "batch": batch, "images": images, "seconds": SECONDS}
        cell = {}
        ready = {}
        for contender, worker in self._team(precision).items():
            error = self._gate(contender, worker, net, precision)
            if not error:
                first = worker.ask(limit=LONGEST, command="train", **given)
                error = first.get("error") or disagreement(first["losses"], expected, precision)
            if not error:  # once more: what is compiled when something comes again
                error = worker.ask(limit=LONGEST, command="train", **given).get("error")
            if error:
                self._note(f"{contender}, {name}", error)
                continue
            ready[contender] = worker
            cell[contender] = {
                "first_epoch": first["seconds"],
                "losses": first["losses"],
                "rounds": [],
            }
        self._rounds(ready, cell, command="train", **given)
        return {"images": images, "steps": images // batch, "contenders": cell}

    def _gate(self, contender, worker, net, precision):
        """What is wrong with a contender's first epoch, asked once for a network and precision."""
        key, batch = (contender, net, precision), min(self._options.batches)
        if key not in self._passed:
            write_gate(self._folder, net, batch)
            answer = worker.ask(limit=LONGEST, command="gate", net=net, batch=batch)
            self._passed[key] = answer.get("error")
        return self._passed[key]

    def _latency(self, net, precision, batch):
        name = name_of(("latency", net, precision, batch))
        cell, ready, expected = {}, {}, None
        for contender, worker in self._team(precision).items():
            answer = worker.ask(limit=LONGEST, command="predictions", net=net)
            if "error" not in answer:
                expected = expected or answer["probabilities"]
                gaps = zip(answer["probabilities"][0], expected[0], strict=True)
                widest = max(abs(a - b) for a, b in gaps)
                if widest > 10 * TOLERANCES[precision]:
                    answer = {"error": f"its probabilities are {widest:.2g} away from ours"}
            if "error" not in answer:
                answer = worker.ask(limit=LONGEST, command="latency", net=net, seconds=SECONDS)
            if "error" in answer:
                self._note(f"{contender}, {name}", answer["error"])
                continue
            ready[contender], cell[contender] = worker, {"rounds": []}
        self._rounds(ready, cell, command="latency", net=net, seconds=SECONDS)
        return {"contenders": cell}

    def _rounds(self, ready, cell, **command):
        for _ in range(self._options.rounds):
            for contender, worker in list(ready.items()):
                answer = worker.ask(limit=LONGEST, **command)
                if "error" in answer:
                    self._note(contender, answer["error"])
                    del ready[contender]
                else:
                    cell[contender]["rounds"].append(answer["seconds"])

    def _memory(self, net, precision, batch):
        """With one process at a time: what the device has in use over what it had before."""
        from device_memory import DeviceMemory, Peak

        self._close()
        name = name_of(("memory", net, precision, batch))
        cell, images = {}, self._images(net, batch)
        result = {"images": images, "columns": columns_bytes(net, batch), "contenders": cell}
        try:
            on_cpu = self._options.device == "cpu"
            used = (lambda: 0) if on_cpu else DeviceMemory(self.result["bus_id"]).used
        except OSError as error:
            self._note(name, str(error))
            return result
        for contender in self._options.alone:
            before = used()
            workers = self._team(precision, [contender])
            if contender in workers:
                ready = used()
                with Peak(used) as peak:
                    answer = workers[contender].ask(
                        *(LONGEST,),
                        command="train",
                        net=net,
                        batch=batch,
                        images=images,
                        seconds=SECONDS,
                    )
                if "error" in answer:
                    self._note(f"{contender}, {name}", answer["error"])
                else:
                    cell[contender] = {
                        "bytes": peak.bytes - ready,
                        "library_bytes": ready - before,
                    }
            self._close()
        return result

    def _cold(self, net, precision, batch):
        self._close()
        cell = {}
        usable = [c for c in self._options.alone if c not in self.result["not_measured"]]
        for contender in usable:
            with tempfile.TemporaryDirectory() as caches:
                for state in ("empty", "full"):
                    began = time.time()
                    worker = start(self._options, contender, precision, self._folder, caches)
                    given = {"net": net, "batch": batch, "began": began}
                    answer = worker.ask(limit=LONGEST, command="cold", **given)
                    worker.close()
                    if "error" in answer:
                        name = name_of(("cold", net, precision, batch))
                        self._note(f"{contender}, {name}, {state} cache", answer["error"])
                        break
                    cell.setdefault(contender, {})[state] = answer["seconds"]
        return {"contenders": cell}

    def _kernels(self, net, precision, batch):
        name = name_of(("kernels", net, precision, batch))
        worker = self._team(precision, ["arraycnn"]).get("arraycnn")
        if worker is None:
            return {"rows": []}
        if "rates" not in self.result:
            answer = worker.ask(limit=LONGEST, command="rates")
            if "error" in answer:
                self._note("rates of a copy and of products", answer["error"])
                return {"rows": []}
            self.result["rates"] = answer["rates"]
        rates = self.result["rates"]
        answer = worker.ask(limit=LONGEST, command="kernels", net=net, batch=batch, rates=rates)
        if "error" in answer:
            self._note(name, answer["error"])
        return {"rows": answer.get("rows", [])}
