"""What bench/gpu.py has measured, in a JSON file that is written whenever something is added.

A cell has, by contender,

    contenders      what was measured, whole: figures are made of it alone
    unfinished      what there is of a contender whose measurement was stopped
    stopped         how many calls have begun it and were over before it had ended
    not_measured    why there is nothing
"""

import re
from datetime import date

import result_file
from harness import HERE, commit, digest_of_sources, processor, versions

PACKAGES = ("arraycnn", "numpy", "cupy-cuda13x", "cupy-cuda12x", "torch", "jax")
BEGINNINGS = 2
"""Calls that begin a contender of a cell: the second begins with it, and has all its time for it."""
PARTS = ("contenders", "unfinished", "stopped", "not_measured")


class Record:
    """The result, and the file it is written to; with None nothing is.

    Attributes
    ----------
    result : dict
        What goes into the JSON.
    """

    def __init__(self, result, path):
        self.result, self.path = result, path

    def write(self):
        if self.path is not None:
            result_file.write(self.path, self.result)

    def cell(self, name, **facts):
        """The cell of that name; a new one has ``facts``."""
        return self.result["cells"].setdefault(name, facts | {part: {} for part in PARTS})

    def pending(self, name, contenders):
        """Those that are still to be measured in a cell, who was stopped in it before the others."""
        starts, away = self.result["stopped"], self.result["not_measured"]
        able = [c for c in contenders if c not in away and starts.get(c, 0) < BEGINNINGS]
        if name in away:
            return []
        if name not in self.result["cells"]:
            return able
        cell = self.cell(name)
        times = cell["stopped"]
        ended = cell["contenders"].keys() | cell["not_measured"].keys()
        found = [c for c in able if c not in ended and times.get(c, 0) < BEGINNINGS]
        return sorted(found, key=lambda contender: -times.get(contender, 0))

    def begin(self, name, contender):
        """Note it beforehand: whatever ends the call, it is known what did not end in it."""
        _count(self.cell(name)["stopped"], contender)
        self.write()

    def finish(self, name, contender, measured):
        """It is measured, whole."""
        cell = self.cell(name)
        cell["contenders"][contender] = measured
        self._end(cell, contender)
        cell["unfinished"].pop(contender, None)
        self.write()

    def fail(self, name, contender, error):
        """It has ended without a figure."""
        cell = self.cell(name)
        cell["not_measured"][contender] = error
        self._end(cell, contender)
        _say(f"{contender}, {name}", error)
        self.write()

    def stop(self, name, contender):
        """The call is over before it has ended."""
        times = self.cell(name)["stopped"][contender]
        again = "a later call begins with it" if times < BEGINNINGS else "it is not begun again"
        _say(f"{contender}, {name}", f"stopped by the end of the call; {again}")

    def begin_start(self, contender):
        _count(self.result["stopped"], contender)
        self.write()

    def started(self, contender, software):
        del self.result["stopped"][contender]
        self.result["software"].setdefault(contender, software)

    def fail_start(self, name, contender, error, is_late):
        """It has no process: no cell has it in this call."""
        if not is_late:
            del self.result["stopped"][contender]
            self._end(self.cell(name), contender)
        self.note(contender, error)
        self.write()

    def note(self, what, error):
        """Say once in a call what is not measured in any cell, or of which cell nothing."""
        self.result["not_measured"][what] = error
        _say(what, error)

    def lacks(self):
        """Whether anything is not measured that a call has begun."""
        cells = self.result["cells"].values()
        away = [self.result["not_measured"], *(cell["not_measured"] for cell in cells)]
        return any(away) or any(cell["stopped"] for cell in cells)

    @staticmethod
    def _end(cell, contender):
        cell["stopped"].pop(contender, None)


def _count(times, what):
    times[what] = times.get(what, 0) + 1


def _say(what, error):
    print(f"not measured: {what}: {error}", flush=True)


def begun(options, device):
    """The record of a run that was broken off on this device and commit, or a new one.

    Raises `NoResult` where a file that may be one of such a run cannot be read as one.
    """
    head = {
        "device": device["device"],
        "dry_run": options.device == "cpu",
        "commit": commit(),
        "sources": digest_of_sources(),
        "images": options.images,
        "rounds": options.rounds,
        "contenders": options.contenders,
        "versions": versions(*PACKAGES),
    }
    slug = re.sub(r"[^a-z0-9]+", "-", device["device"].lower()).strip("-")
    path = options.out
    if path is None and options.device == "cuda":
        path = HERE / "results" / f"{slug}-{date.today().isoformat()}.json"
        earlier = sorted((HERE / "results").glob(f"{slug}-*.json"), reverse=True)
    else:
        earlier = [path] if path is not None and path.exists() else []
    for old in earlier:
        found = result_file.read(old)
        if all(found.get(key) == value for key, value in head.items()):
            print(f"goes on from {old}, which has {len(found['cells'])} cells")
            # What could not be started may have been mended since.
            return Record(found | {"not_measured": {}}, old)
    if path is not None and path.exists():
        path = free_name(path)
    fresh = {"date": date.today().isoformat(), "processor": processor(), "software": {}}
    empty = {"cells": {}, "left": [], "gates": {}, "stopped": {}, "not_measured": {}}
    return Record(head | fresh | empty, path)


def free_name(path):
    """A name beside ``path`` that no file has: another run's result is not overwritten."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in range(2, 1000))
    return next(name for name in numbered if not name.exists())
