"""Calls of bench/gpu.py with a limit, on a clock of their own: each ends in time, and all that is
measured is kept; whoever takes too long is stopped, named, and not begun again and again."""

import json
import random
from collections import Counter

import pytest

import gpu
import gpu_record
from fake_contenders import Killed, Machine
from gpu_call import LONGEST, Call
from gpu_cells import cells
from gpu_record import BEGINNINGS, begun
from gpu_rounds import Bench

SMALL = ("--device", "cpu", "--nets", "a,b", "--precisions", "fp32,bf16", "--rounds", "3")
NAMES = ("arraycnn", "torch-compile", "torch-autotune", "jax-jit")
MINUTES = gpu.MINUTES_A_CALL


class Calls:
    """Calls of the same command, one after another."""

    def __init__(self, machine, folder, *more):
        self.machine, self.path, self.folder = machine, folder / "goals.json", folder
        batches = () if "--goals" in more else ("--batches", "64")
        given = (*SMALL, *batches, "--contenders", ",".join(NAMES), "--out", str(self.path))
        self.options = gpu.parse([*given, *more])
        self.options.minutes = MINUTES
        self.wanted = cells(self.options)

    def call(self):
        """The cells that are left; None where the machine has ended the call."""
        began = self.machine.now
        try:
            record = begun(self.options, {"device": "CPU"})
            call = Call(self.options.minutes, clock=self.machine.clock)
            bench = Bench(self.options, record, self.folder, call, start=self.machine.start)
            return bench.run(self.wanted)
        except Killed:
            return None
        finally:
            assert self.machine.now - began <= 60 * MINUTES + 1e-6  # of rounding

    def result(self):
        return json.loads(self.path.read_text()) if self.path.exists() else {"cells": {}}

    def figures(self):
        """{(cell, contender): its rounds or other figures}, whole or not."""
        return {
            (name, contender): measured.get("rounds", measured)
            for name, cell in self.result()["cells"].items()
            for part in ("contenders", "unfinished")
            for contender, measured in cell[part].items()
        }

    def run(self, most, kill_after=None):
        """Until nothing is left; how many calls that took."""
        for number in range(1, most + 1):
            before = self.figures()
            self.machine.kill_after = kill_after
            left = self.call()
            after = self.figures()
            for key, figures in before.items():
                if isinstance(figures, list):
                    assert after[key][: len(figures)] == figures
                else:
                    assert figures.items() <= after[key].items()
            if left == []:
                return number
        pytest.fail(f"{left} are left after {most} calls")


@pytest.fixture(autouse=True)
def beginnings(monkeypatch):
    """How often each contender of a cell is begun: of one commit, whatever is committed meanwhile."""
    times, begin = Counter(), gpu_record.Record.begin

    def counted(record, name, contender):
        times[name, contender] += 1
        begin(record, name, contender)

    monkeypatch.setattr(gpu_record.Record, "begin", counted)
    monkeypatch.setattr(gpu_record, "commit", lambda: "abc")
    yield
    assert max(times.values()) <= BEGINNINGS


def check_all_is_said(calls):
    """Each contender of each cell is measured once and whole, or it is said why it is not."""
    result, seen = calls.result(), []
    assert result["left"] == []
    for name in (" ".join(map(str, cell)) for cell in calls.wanted):
        cell = result["cells"].get(name, {part: {} for part in gpu_record.PARTS})
        wanted = ["arraycnn"] if name.startswith("kernels") else NAMES
        for contender in wanted:
            ended = (
                contender in cell["not_measured"] or cell["stopped"].get(contender) == BEGINNINGS
            )
            assert ended + (contender in cell["contenders"]) <= 1
            away = result["stopped"].get(contender) == BEGINNINGS
            away |= contender in result["not_measured"]
            assert ended or away or contender in cell["contenders"]
            measured = cell["contenders"].get(contender, {})
            if name.startswith(("train", "latency")) and measured:
                assert len(measured["rounds"]) == calls.options.rounds
                seen += measured["rounds"]
    assert len(seen) == len(set(seen))


def test_one_call_measures_all_where_there_is_time(tmp_path):
    calls = Calls(Machine(lambda *_: 0.01), tmp_path)
    assert calls.call() == []
    check_all_is_said(calls)
    asked = Counter((who, command) for who, command, _ in calls.machine.asked)
    training = sum(cell[0] in ("train", "memory") for cell in calls.wanted)
    trained = sum(cell[0] == "train" for cell in calls.wanted)
    assert asked["arraycnn", "train"] == trained * (calls.options.rounds + 2) + training - trained
    before = calls.path.read_bytes()
    calls.machine.asked.clear()
    assert calls.call() == []
    assert calls.machine.asked == []  # nothing is measured twice
    assert calls.path.read_bytes() == before


def test_rounds_are_in_turn(tmp_path):
    calls = Calls(Machine(lambda *_: 0.01), tmp_path, "--sections", "train", "--nets", "a")
    calls.call()
    asked = [who for who, command, _ in calls.machine.asked if command == "train"]
    each = len(NAMES)
    assert asked[2 * each : 5 * each] == [*NAMES] * 3


def test_the_gate_is_asked_once_whatever_it_says(tmp_path):
    """Of a network, precision and contender: by all its cells, and by all calls."""
    machine = Machine(lambda *_: 20.0)
    machine.errors["jax-jit", "gate"] = "the loss of step 0 is 3"
    calls = Calls(machine, tmp_path, "--sections", "train", "--batches", "64,256")
    assert calls.run(most=20) > 1
    gates = Counter(
        (who, given["net"]) for who, command, given in machine.asked if command == "gate"
    )
    assert gates == {(who, net): 2 for who in NAMES for net in "ab"}  # in two precisions
    check_all_is_said(calls)
    for cell in calls.result()["cells"].values():
        assert cell["not_measured"] == {"jax-jit": "the loss of step 0 is 3"}


def test_who_was_stopped_comes_first(tmp_path):
    """Before who could not be started by the call that stopped it."""
    calls = Calls(Machine(lambda *_: 1.0), tmp_path, "--sections", "train", "--nets", "a")
    calls.machine.errors["arraycnn", "hello"] = "no device"
    calls.machine.seconds = lambda *_: 200.0
    calls.call()
    calls.machine.seconds, calls.machine.errors = (lambda *_: 1.0), {}
    calls.machine.asked.clear()
    calls.run(most=1)
    first = [who for who, command, _ in calls.machine.asked if command == "hello"]
    assert first[:2] == ["torch-compile", "arraycnn"]
    check_all_is_said(calls)


def test_who_takes_too_long_is_named_and_the_others_are_measured(tmp_path):
    def seconds(contender, command):
        return 700 if (contender, command) == ("torch-autotune", "train") else 0.1

    calls = Calls(Machine(seconds), tmp_path, "--sections", "train")
    number = calls.run(most=len(calls.wanted))
    check_all_is_said(calls)
    for cell in calls.result()["cells"].values():
        assert list(cell["contenders"]) == [name for name in NAMES if name != "torch-autotune"]
        assert "took more than" in cell["not_measured"]["torch-autotune"] or (
            cell["stopped"]["torch-autotune"] == BEGINNINGS
        )
    begun_times = Counter(
        (given["net"], who) for who, command, given in calls.machine.asked if command == "train"
    )
    assert number <= len(calls.wanted)
    assert begun_times["a", "torch-autotune"] <= BEGINNINGS * 2


def test_a_call_goes_on_after_the_contender_that_the_last_one_measured(tmp_path):
    """Each is ready after 200 s: three do not fit a call, but a call keeps the rounds of two."""

    def seconds(_, command):
        return {"expected": 0.0, "gate": 190.0, "train": 4.0}.get(command, 1.0)

    calls = Calls(Machine(seconds), tmp_path, "--sections", "train", "--nets", "a")
    calls.options.precisions, calls.wanted = ["fp32"], calls.wanted[:1]
    assert calls.call() != []
    (cell,) = calls.result()["cells"].values()
    assert list(cell["contenders"]) == ["arraycnn", "torch-compile"]
    assert cell["stopped"] == {"torch-autotune": 1}
    calls.machine.asked.clear()
    assert calls.call() == []
    assert {who for who, _, _ in calls.machine.asked} == {"torch-autotune", "jax-jit"}
    check_all_is_said(calls)


def test_who_is_ready_too_late_leaves_the_others_their_rounds(tmp_path):
    """The third is ready 30 s before the end, of which the rounds of the first two take 24."""

    def seconds(_, command):
        return {"expected": 0.0, "gate": 151.0, "train": 4.0, "close": 0.0}.get(command, 1.0)

    calls = Calls(Machine(seconds), tmp_path, "--sections", "train", "--nets", "a")
    calls.options.precisions, calls.wanted = ["fp32"], calls.wanted[:1]
    calls.call()
    (cell,) = calls.result()["cells"].values()
    assert list(cell["contenders"]) == ["arraycnn", "torch-compile"]
    assert cell["unfinished"]["torch-autotune"]["rounds"] == []
    calls.run(most=2)
    check_all_is_said(calls)
    assert set(calls.figures()) == {("train a fp32 64", name) for name in NAMES}


def test_rounds_that_outlast_a_call_are_gone_on_with(tmp_path):
    def seconds(_, command):
        return 120.0 if command == "train" else 0.0

    calls = Calls(Machine(seconds), tmp_path, "--sections", "train", "--contenders", "arraycnn")
    calls.options.contenders, calls.wanted = ["arraycnn"], calls.wanted[:1]
    assert calls.call() == calls.wanted
    (cell,) = calls.result()["cells"].values()
    assert len(cell["unfinished"]["arraycnn"]["rounds"]) == 2
    assert cell["contenders"] == {}  # no figure is made of them
    assert calls.call() == []
    (cell,) = calls.result()["cells"].values()
    assert len(cell["contenders"]["arraycnn"]["rounds"]) == 3
    assert cell["unfinished"] == cell["stopped"] == {}


def test_who_does_not_start_is_not_started_by_every_call(tmp_path):
    def seconds(contender, command):
        return 1000 if (contender, command) == ("jax-jit", "hello") else 50

    calls = Calls(Machine(seconds), tmp_path, "--sections", "train")
    calls.run(most=40)
    starts = [
        1 for who, command, _ in calls.machine.asked if (who, command) == ("jax-jit", "hello")
    ]
    assert len(starts) == BEGINNINGS
    assert calls.result()["stopped"]["jax-jit"] == BEGINNINGS


COSTS = (0.0, 0.1, 3.0, 30.0, 130.0, 280.0, LONGEST + 1, 900.0)


@pytest.mark.parametrize("seed", range(10))
def test_whatever_takes_how_long_all_ends(seed, tmp_path):
    rng = random.Random(seed)
    weights = (20, 20, 20, 8, rng.choice((1, 8)), 2, 2, 2)
    fixed = {}

    def seconds(contender, command):
        if rng.random() < 0.1:
            return rng.choices(COSTS, weights)[0]
        return fixed.setdefault((contender, command), rng.choices(COSTS, weights)[0])

    calls = Calls(Machine(seconds), tmp_path)
    calls.run(most=BEGINNINGS * len(NAMES) * len(calls.wanted))
    check_all_is_said(calls)


@pytest.mark.parametrize("kill_after", [1, 2, 3, 7, 20, 100])
def test_a_call_that_the_machine_ends_has_lost_nothing(kill_after, tmp_path):
    calls = Calls(Machine(lambda *_: 1.0), tmp_path)
    calls.run(BEGINNINGS * len(NAMES) * len(calls.wanted), kill_after)
    check_all_is_said(calls)
