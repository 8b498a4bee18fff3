"""Kernels that a step starts are loaded together, before it runs as if they had been there."""

import threading
from contextlib import suppress

import pytest

from arraycnn.ops.cuda.loaded import LoadedKernels


class Device:
    """Notes what is loaded and started, in order."""

    def __init__(self):
        self.events = []
        self.kernels = LoadedKernels(self.load)

    def load(self, file, kernel):
        self.events.append(f"load {kernel}")
        return lambda: self.events.append(f"start {kernel}")

    def start(self, *names):
        for name in names:
            function = self.kernels.get("file", name)
            if function is not None:
                function()


@pytest.fixture
def device():
    return Device()


def test_a_kernel_is_loaded_when_it_is_first_asked_for_and_once(device):
    device.start("a", "b", "a")
    assert device.events == ["load a", "start a", "load b", "start b", "start a"]


def test_kernels_of_the_same_name_in_two_files_are_two(device):
    assert device.kernels.get("one", "a") is not device.kernels.get("other", "a")


def test_what_is_there_runs_once(device):
    device.start("a")
    device.events.clear()
    runs = []
    device.kernels.rehearse(lambda: (runs.append(1), device.start("a", "a")))
    assert (len(runs), device.events) == (1, ["start a", "start a"])


def test_what_is_missing_is_loaded_before_anything_after_it_is_started(device):
    device.start("a")
    device.events.clear()
    device.kernels.rehearse(lambda: device.start("a", "b", "a", "c", "b", "d"))
    events = device.events
    assert events[0] == "start a"  # which was there
    assert sorted(events[1:4]) == ["load b", "load c", "load d"]
    assert events[4:] == [f"start {name}" for name in "abacbd"]


def test_all_that_is_missing_is_loaded_at_the_same_time(device, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    together = threading.Barrier(3)
    load = device.load

    def load_together(*key):
        together.wait(timeout=60)  # until three are at it
        return load(*key)

    device.kernels = LoadedKernels(load_together)
    device.kernels.rehearse(lambda: device.start("a", "b", "c"))
    assert device.events[3:] == ["start a", "start b", "start c"]


def test_another_thread_starts_kernels_while_one_only_notes_them(device):
    device.start("a")

    def work():
        device.start("b")
        if device.kernels.are_noted:
            other = threading.Thread(target=device.start, args=("a",))
            other.start()
            other.join()

    device.events.clear()
    device.kernels.rehearse(work)
    assert sorted(device.events) == ["load b", "start a", "start b"]


def test_work_that_handles_errors_of_its_own_handles_none_of_these(device):
    def work():
        with suppress(Exception):
            device.start("a")

    device.kernels.rehearse(work)
    assert device.events == ["load a", "start a"]


@pytest.mark.parametrize("there", ["", "a", "ab"])
def test_what_a_user_wrote_is_called_once_whatever_is_missing(there, device):
    """Be it a kernel that is started after the call."""
    device.start(*there)

    def work():
        device.start("a")
        if device.kernels.calls():
            device.events.append("call")
        device.start("b")

    device.events.clear()
    device.kernels.rehearse(work)
    events = device.events
    assert events.count("call") == 1
    missing = [f"load {name}" for name in "ab" if name not in there]
    assert [event for event in events if event.startswith("load")] == missing
    assert events[-3:] == ["start a", "call", "start b"]


def test_arrays_are_zeros_where_no_kernel_writes_them(device):
    """What a launcher is told by `are_noted`."""
    seen = []
    work = lambda: (seen.append(device.kernels.are_noted), device.start("a"))  # noqa: E731
    device.kernels.rehearse(work)
    device.kernels.rehearse(work)
    assert seen == [False, True, False, False]
    assert not device.kernels.are_noted


def test_an_error_over_numbers_that_nobody_wrote_is_none(device):
    def work():
        device.start("a")
        if device.kernels.are_noted:
            raise ZeroDivisionError
        device.start("b")

    device.kernels.rehearse(work)
    assert device.events == ["load a", "start a", "load b", "start b"]


@pytest.mark.parametrize("names", [(), ("a",)], ids=["before", "after"])
def test_an_error_of_the_work_is_raised(names, device):
    def work():
        device.start(*names)
        raise KeyError

    with pytest.raises(KeyError):
        device.kernels.rehearse(work)
    device.start("c")  # at once, as ever
    assert device.events[-2:] == ["load c", "start c"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_kernel_that_cannot_be_loaded_says_so_and_is_tried_again(error, device):
    faults = [error("of the compiler")]

    def load(file, kernel):
        if kernel == "b" and faults:
            raise faults.pop()
        return device.load(file, kernel)

    device.kernels = LoadedKernels(load)
    with pytest.raises(error, match="of the compiler"):
        device.kernels.rehearse(lambda: device.start("a", "b"))
    assert not any(event.startswith("start") for event in device.events)
    device.kernels.rehearse(lambda: device.start("a", "b"))
    assert device.events[-2:] == ["start a", "start b"]


def test_an_interrupt_leaves_the_thread_as_it_was(device):
    def work():
        device.start("a")
        if device.kernels.are_noted:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        device.kernels.rehearse(work)
    assert not device.kernels.are_noted
    device.start("b")
    assert device.events[-2:] == ["load b", "start b"]
