"""The run folder: one process at a time, and nothing damaged by what comes between."""

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from arraycnn import RunFolderError
from arraycnn.storage.atomic_writes import (
    append_durably,
    remove_durably,
    remove_leftovers,
    write_atomically,
)
from arraycnn.storage.run_folder import RunFolder, read_config, unused

HOLD = """
import sys, time
from pathlib import Path
from arraycnn.storage.run_folder import RunFolder
with RunFolder.open(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "run"
    RunFolder.create(path, {"epochs": 3}).close()
    return path


def refused(action, *said):
    with pytest.raises(RunFolderError) as caught:
        action()
    message = str(caught.value)
    assert message.startswith("run folder ")
    assert "\n" not in message
    for part in said:
        assert part in message, message


# --- one at a time --------------------------------------------------------------------------------


def test_a_folder_in_use_names_its_holder_and_a_killed_one_lets_go(run):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        refused(lambda: RunFolder.open(run), f"is in use by process {process.pid} on", "since 20")
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with RunFolder.open(run):
        refused(lambda: RunFolder.open(run), f"is in use by process {os.getpid()}")
    assert [path.name for path in run.iterdir()] == ["config.json"]
    RunFolder.open(run).close()


def test_a_lock_that_another_process_took_over_is_left_to_it(run):
    first = RunFolder.open(run)
    (run / ".lock").unlink()  # as someone may who takes it for a leftover
    with RunFolder.open(run):
        first.close()
        first.close()
        refused(lambda: RunFolder.open(run), "is in use")


def test_many_processes_never_hold_a_folder_together(run):
    program = """
import os, sys, time
from pathlib import Path
from arraycnn.errors import RunFolderError
from arraycnn.storage.run_folder import RunFolder
path, done = Path(sys.argv[1]), 0
while done < 60:
    try:
        with RunFolder.open(path):
            os.mkdir(path / "inside")  # fails where another is inside
            os.rmdir(path / "inside")
            done += 1
    except RunFolderError:
        pass
"""
    processes = [subprocess.Popen([sys.executable, "-c", program, str(run)]) for _ in range(3)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]


# --- beginning and finding a run ------------------------------------------------------------------


def test_a_new_run_writes_its_settings(tmp_path):
    with RunFolder.create(tmp_path / "a" / "b", {"epochs": 3}) as folder:
        assert json.loads((folder.path / "config.json").read_text()) == {"epochs": 3}
        assert folder.read_summary() is None
        folder.write_summary({"done": True})
        assert folder.read_summary() == {"done": True}
        folder.remove_summary()
        folder.remove_summary()
        assert folder.read_summary() is None


def test_a_new_run_needs_an_empty_folder(tmp_path, run):
    (tmp_path / "empty").mkdir()
    RunFolder.create(tmp_path / "empty", {}).close()
    refused(lambda: RunFolder.create(run, {}), "must be new or empty", f"--resume {run}")
    (tmp_path / "file").touch()
    refused(lambda: RunFolder.create(tmp_path / "file", {}), "cannot be written (File exists)")
    refused(lambda: RunFolder.create(tmp_path / "file" / "x", {}), "Not a directory")
    assert sorted(path.name for path in run.iterdir()) == ["config.json"]


def test_what_a_kill_left_is_removed_when_the_run_goes_on(run, tmp_path):
    (run / ".last.npz.123.tmp").write_bytes(b"half")
    RunFolder.open(run).close()
    assert [path.name for path in run.iterdir()] == ["config.json"]
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / ".config.json.7.tmp").write_bytes(b"")
    (begun / ".lock").touch()
    RunFolder.create(begun, {}).close()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is damaged"),
        (b"{", "is damaged"),
        (b"[1]", "no table of names and values"),
        (b"\xff\xff", "is damaged"),
        (b"[" * 100_000, "is damaged"),
    ],
)
def test_a_damaged_config_is_refused(run, content, said):
    (run / "config.json").write_bytes(content)
    refused(lambda: RunFolder.open(run), "config.json", said)
    assert [path.name for path in run.iterdir()] == ["config.json"]


def test_a_folder_without_a_run_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        refused(lambda path=path: RunFolder.open(path), str(path), "holds no run")
    (tmp_path / "config.json").mkdir()
    refused(lambda: read_config(tmp_path), "holds no run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json"]


def test_a_name_that_is_taken_gets_a_number(tmp_path):
    assert unused(tmp_path / "run") == tmp_path / "run"
    for expected in ("run", "run-2", "run-3"):
        assert unused(tmp_path / "run").name == expected
        unused(tmp_path / "run").mkdir()


# --- writing --------------------------------------------------------------------------------------


def test_large_content_arrives_whole_though_the_system_takes_a_part_at_a_time(
    tmp_path, monkeypatch
):
    content = os.urandom(3 * 2**20 + 5)
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:700_001]))
    write_atomically(tmp_path / "file", content)
    append_durably(tmp_path / "file", content)
    assert (tmp_path / "file").read_bytes() == content * 2


def test_two_that_write_one_file_at_once_leave_one_of_both_whole(tmp_path, monkeypatch):
    barrier, fsync = threading.Barrier(2), os.fsync

    def meet(descriptor):
        fsync(descriptor)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            barrier.wait(30)

    monkeypatch.setattr(os, "fsync", meet)
    contents = [b"a" * 2**21, b"b" * 2**21]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda content: write_atomically(tmp_path / "file", content), contents))
    assert (tmp_path / "file").read_bytes() in contents
    assert len(list(tmp_path.iterdir())) == 1


def test_an_append_that_fails_takes_back_what_it_wrote(tmp_path, monkeypatch):
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    with monkeypatch.context() as patch:

        def fail(_):
            raise OSError(5, "Input/output error")

        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="Input/output"):
            append_durably(path, b"two\n")
    assert path.read_bytes() == b"one\n"
    with pytest.raises(FileNotFoundError):
        append_durably(tmp_path / "absent", b"two\n")


def test_names_are_forced_to_disk_when_files_come_and_go(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync

    def note(descriptor):
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    write_atomically(tmp_path / "file", b"x")
    assert synced == [(tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino]
    synced.clear()
    remove_durably(tmp_path / "file")
    assert synced == [tmp_path.stat().st_ino]


def test_leftovers_are_temporary_files_only(tmp_path):
    (tmp_path / ".folder.7.tmp").mkdir()
    for name in (".last.npz.123.tmp", ".a.tmp", "b.7.tmp", ".c", "d"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".a.tmp", ".c", ".folder.7.tmp", "b.7.tmp", "d"]


def test_leftovers_of_a_shared_folder_are_those_that_are_old(tmp_path):
    for name, age in (
        (".a.kernel.1.tmp", 10.0),
        (".b.kernel.2.tmp", 100.0),
        (".c.kernel.3.tmp", 0.0),
    ):
        (tmp_path / name).touch()
        then = time.time() - age
        os.utime(tmp_path / name, (then, then))
    remove_leftovers(tmp_path, seconds=50.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".a.kernel.1.tmp",
        ".c.kernel.3.tmp",
    ]


def test_what_write_atomically_leaves_behind_is_a_leftover(tmp_path, monkeypatch):
    def fail(*paths):
        raise OSError(errno.EIO, "killed here")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        patch.setattr(Path, "unlink", lambda path: None)
        with pytest.raises(OSError, match="killed here"):
            write_atomically(tmp_path / "last.npz", b"x")
    assert len(list(tmp_path.iterdir())) == 1
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_run_is_left_as_it_was(tmp_path):
    for name in ("photo.png", ".photo.png.12.tmp"):
        (tmp_path / name).touch()
    refused(lambda: RunFolder.create(tmp_path, {}), "must be new or empty")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".photo.png.12.tmp", "photo.png"]


def test_what_a_killed_process_left_does_not_fill_a_folder(tmp_path):
    (tmp_path / ".config.json.12.tmp").touch()
    RunFolder.create(tmp_path, {}).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json"]


def test_the_holder_is_named_with_its_time(run, monkeypatch):
    clock = SimpleNamespace(now=lambda: datetime(2026, 12, 31, 23, 59, 59))
    monkeypatch.setattr("arraycnn.storage.folder_lock.datetime", clock)
    with RunFolder.open(run):
        text = (run / ".lock").read_text()
    assert text.startswith(f"process {os.getpid()} on ")
    assert text.endswith(" since 2026-12-31 23:59:59")
